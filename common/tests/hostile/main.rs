//! Bytes from nowhere, to every decoder of the delta engine.
//!
//! Each target gets its seeds and some thousand mutations of them, the same in every run: no
//! panic, no input that takes long, and memory within the bound that its row states. Bombs are in
//! `bombs.rs`. `common/fuzz` hands the same targets to libFuzzer.
//!
//! Memory is what Rust code and zlib take. liblzma and zstd reserve theirs past this count, within
//! limits of their own: the memory limit of liblzma, the window of zstd.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop where tests would")]

mod bombs;
mod mutations;
mod seeds;
mod targets;

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mutations::{Numbers, mutant};
use peak_alloc::PeakAlloc;
use seeds::Seeds;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Mutants of each target: two seconds for all of them.
const MUTANTS: usize = 20_000;

/// Longest time for one input of a few KiB; far above what any takes, since machines are busy.
const ELAPSED_MAX: Duration = Duration::from_secs(10);

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A decoder, what it begins with, and the most memory that it may take at a time.
struct Row {
    name: &'static str,
    target: fn(&[u8]),
    seeds: fn() -> Seeds,
    peak_bytes: usize,
}

const fn row(
    name: &'static str,
    target: fn(&[u8]),
    seeds: fn() -> Seeds,
    peak_bytes: usize,
) -> Row {
    Row { name, target, seeds, peak_bytes }
}

const ROWS: [Row; 18] = [
    // Columns and their buffers.
    row("suffix", targets::suffix, seeds::suffix, MIB),
    row("prefix", targets::prefix, seeds::prefix, MIB),
    row("lzma", targets::lzma, seeds::lzma, MIB),
    // A base of 140 KiB, its stream in memory, and what is made of it.
    row("recipe", targets::recipe, seeds::recipe, 4 * MIB),
    // A stream of a layout takes some hundred bytes and is written in three.
    row("layout", targets::layout, seeds::layout, MIB),
    // An encoder of 800 KiB, and the stream that it reads.
    row("reseal", targets::reseal, seeds::reseal, 4 * MIB),
    // Twice eight times the input.
    row("puff", targets::puff, seeds::deflated, MIB),
    row("unpuff", targets::unpuff, seeds::puffed, MIB),
    row("inflate", targets::inflate, seeds::deflated, 256 * KIB),
    row("xz", targets::xz, seeds::xz, 256 * KIB),
    row("gzip", targets::gzip, seeds::gzip_headers, 64 * KIB),
    row("tar", targets::tar, seeds::tar, 256 * KIB),
    row("ar", targets::ar, seeds::ar, 256 * KIB),
    row("cpio", targets::cpio, seeds::cpio, 256 * KIB),
    row("rpm", targets::rpm, seeds::rpm, 64 * KIB),
    row("zip", targets::zip, seeds::zip, 256 * KIB),
    row("zip_fill", targets::zip_fill, seeds::zip_fill, 256 * KIB),
    // At each of four depths a stream of up to 1 MiB before it goes to a file, grown by doubling,
    // and all of them once more in the file that they share.
    row("open", targets::open, seeds::open, 16 * MIB),
];

#[test]
fn no_decoder_panics_hangs_or_takes_memory_beyond_its_bound() {
    if std::env::var("GAPFERRY_WRITE_SEEDS").is_ok_and(|value| value == "1") {
        write_seeds();
    }
    let _alone = alone();
    targets::world();
    let mut failures = vec![];
    for row in &ROWS {
        let began = Instant::now();
        let seeds = (row.seeds)();
        let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15);
        let mutants = (0..MUTANTS).map(|_| mutant(&seeds, &mut numbers));
        let worst = seeds.iter().cloned().chain(mutants).map(|input| check(row, &input));
        match worst.collect::<Result<Vec<_>, _>>() {
            Ok(peaks) => {
                let peak = peaks.into_iter().max().unwrap_or(0);
                println!("{}: {peak} of {} bytes, {:?}", row.name, row.peak_bytes, began.elapsed());
            }
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs one input; the memory that it took, or what went wrong and with which bytes.
fn check(row: &Row, input: &[u8]) -> Result<usize, String> {
    let began = Instant::now();
    let (ran, peak) = peak_of(|| panic::catch_unwind(AssertUnwindSafe(|| (row.target)(input))));
    let elapsed = began.elapsed();
    let wrong = if let Err(panicked) = ran {
        said(&*panicked)
    } else if row.peak_bytes < peak {
        format!("{peak} bytes of memory, {} allowed", row.peak_bytes)
    } else if ELAPSED_MAX < elapsed {
        format!("{elapsed:?}")
    } else {
        return Ok(peak);
    };
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(format!("{}: {wrong}: {} bytes: {hex}", row.name, input.len()))
}

fn said(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Runs `work`; the most memory that was in use meanwhile, beyond what was before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let done = work();
    (done, MEMORY.peak_usage().saturating_sub(before))
}

/// Memory is counted for the whole program, so tests that look at it run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fills `common/fuzz/corpus` for cargo-fuzz.
fn write_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for row in &ROWS {
        let folder = corpus.join(row.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (row.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
