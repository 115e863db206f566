//! The race: which bases and which codec make one stream shortest.
//!
//! In:   a stream, the candidates for its bases, how much time may be spent.
//! Out:  an [`Encoding`], or none where the stream is shortest as it is.
//! A cheap probe of each candidate (zstd level 3 with it as prefix) decides which one or two
//! bases are taken; few encoders run, and the shortest payload is kept.

use std::io;

use bytes::Bytes;
use gapferry_common::{
    budget::Budget,
    patch::{self, Effort, prefix},
    scratch::Scratch,
};
use gapferry_proto::{ChunkId, recipe::Codec};

use crate::{
    bases::Kinship,
    encodings::{Encoding, Payload},
};

/// Streams longer than this are not encoded at all without a base: 1 GiB. Their payload would
/// be held in memory.
const HELD_LEN_BYTES_MAX: u64 = 1 << 30;

/// A stream that may be a base, with its bytes.
#[derive(Clone, Debug)]
pub struct Contender {
    pub hash: ChunkId,
    pub kinship: Kinship,
    pub bytes: Bytes,
}

/// A stream to be encoded.
#[derive(Clone, Debug)]
pub struct Runner {
    pub hash: ChunkId,
    pub bytes: Bytes,
    pub is_executable: bool,
    pub contenders: Vec<Contender>,
    /// Whether it is the whole blob, which may travel in chunks as well.
    pub is_blob: bool,
    /// The codecs that the inside can follow.
    pub codecs: Vec<Codec>,
}

/// Encodes a stream as short as `effort` allows, within `budget`.
///
/// # Errors
///
/// The error of the scratch space, where two bases are joined.
pub fn run(
    runner: &Runner,
    effort: Effort,
    budget: &Budget,
    scratch: &Scratch,
) -> io::Result<Option<Encoding>> {
    let is_noise = is_noise(&runner.bytes);
    let mut bases = chosen_bases(runner, effort, budget, is_noise);
    let contents: Vec<Bytes> = bases.iter().map(|base| base.bytes.clone()).collect();
    let joined = scratch.joined(&contents)?;
    let len = runner.bytes.len() as u64;
    let mut codecs = codecs(runner, joined.len() as u64, effort, budget.total_bytes());
    if codecs.is_empty() && !bases.is_empty() {
        // None that takes a base is left to this site.
        bases.clear();
        codecs = self::codecs(runner, 0, effort, budget.total_bytes());
    }
    if bases.is_empty() && is_noise {
        codecs.clear();
    }
    let (mut best, mut best_len) = (None, len);
    for codec in codecs {
        let needs_base = codec != Codec::Xz;
        let base: &[u8] = if needs_base && !bases.is_empty() { &joined } else { &[] };
        let memory_bytes = patch::encode_memory_bytes(codec, base.len() as u64, len, effort);
        let _share = budget.take(memory_bytes);
        let Ok(payload) = patch::encode(codec, base, &runner.bytes, effort) else { continue };
        if (payload.len() as u64) < best_len {
            best_len = payload.len() as u64;
            let bases = bases.iter().filter(|_| needs_base).map(|base| base.hash).collect();
            best = Some(Encoding { codec, bases, payload: Payload::Held(payload.into()) });
        }
    }
    Ok(best)
}

/// What a stream will about take, from probes alone, in bytes.
pub fn estimate(runner: &Runner, budget: &Budget) -> u64 {
    let len = runner.bytes.len() as u64;
    let fitting = runner.contenders.iter().filter(|c| prefix::fits(c.bytes.len() as u64, len));
    let best = fitting.map(|c| probe(&c.bytes, &runner.bytes, budget)).min();
    let alone = probe(&[], &runner.bytes, budget);
    match best.filter(|best| best < &alone) {
        // What suffix sorting makes of a probe: 0.1 on a patch hop, 0.5 on a hard one.
        Some(best) if runner.is_executable => best * 3 / 10,
        Some(best) => best * 7 / 10,
        // What is compressed already stays as it is.
        None if len - len / 64 <= alone => len,
        None => alone * 8 / 10,
    }
}

/// The one or two bases that a stream is made of.
///
/// The candidate that probes smallest is taken. Beside it stands the next best when the stream
/// is an executable, as programs of one family and toolchain share packages, or when the best is
/// another file and not an older version, as after a change of toolchain. A single candidate of the
/// same name is taken without a probe, but for noise: what is compressed already seldom has
/// anything in common with its older version.
fn chosen_bases<'a>(
    runner: &'a Runner,
    effort: Effort,
    budget: &Budget,
    is_noise: bool,
) -> Vec<&'a Contender> {
    let len = runner.bytes.len() as u64;
    let can_encode = |base_len: u64| {
        let memory_bytes = patch::encode_memory_bytes(Codec::SuffixLzma, base_len, len, effort);
        memory_bytes <= budget.total_bytes()
    };
    let fit = |c: &&Contender| {
        let base_len = c.bytes.len() as u64;
        can_encode(base_len) || prefix::fits(base_len, len)
    };
    let fitting: Vec<_> = runner.contenders.iter().filter(fit).collect();
    let is_named = fitting.iter().all(|c| c.kinship == Kinship::Name);
    if let ([only], true, false) = (&fitting[..], is_named, is_noise) {
        return vec![only];
    }
    // Where no window spans both, names and sketches have to do.
    if let Some(first) = fitting.iter().find(|c| !prefix::fits(c.bytes.len() as u64, len)) {
        return if is_noise { vec![] } else { vec![first] };
    }
    let mut probed: Vec<_> = fitting
        .into_iter()
        .map(|contender| (probe(&contender.bytes, &runner.bytes, budget), contender))
        .collect();
    probed.sort_by_key(|(bytes, _)| *bytes);
    let alone = if probed.is_empty() { 0 } else { probe(&[], &runner.bytes, budget) };
    probed.retain(|(bytes, _)| bytes * 20 < alone * 19);
    let mut bases: Vec<_> = probed.into_iter().map(|(_, contender)| contender).collect();
    let is_version = bases.first().is_some_and(|base| base.kinship == Kinship::Name);
    let is_one_enough = match effort {
        Effort::Smallest => false,
        Effort::Balanced => is_version && !runner.is_executable,
        Effort::Fastest => is_version,
    };
    bases.truncate(if is_one_enough { 1 } else { 2 });
    if !can_encode(bases.iter().map(|base| base.bytes.len() as u64).sum()) {
        bases.truncate(1);
    }
    bases
}

/// Length of `new` with `base` as prefix at level 3, in bytes; a window spans both. Of what is
/// longer than a window its beginning stands for all.
fn probe(base: &[u8], new: &[u8], budget: &Budget) -> u64 {
    let len = new.len() as u64;
    let sample = &new[..new.len().min(PROBE_LEN_BYTES_MAX)];
    let sample_len = sample.len() as u64;
    let _share = budget.take(2 * (base.len() as u64 + sample_len) + (16 << 20));
    let probed = prefix::encode(base, sample, 3).map_or(sample_len, |frame| frame.len() as u64);
    if sample_len == len { probed } else { probed / (sample_len >> 20) * (len >> 20) }
}

/// Longest stream that is probed whole: 256 MiB.
const PROBE_LEN_BYTES_MAX: usize = 256 << 20;

/// The codecs that may win, in balance with their time and within the memory.
fn codecs(runner: &Runner, base_len: u64, effort: Effort, memory_bytes: u64) -> Vec<Codec> {
    let len = runner.bytes.len() as u64;
    let mut codecs = if 0 < base_len {
        codecs_with_base(runner, effort)
    } else if patch::LONG_LEN_BYTES < len {
        let in_chunks = runner.is_blob || HELD_LEN_BYTES_MAX < len;
        if in_chunks { vec![] } else { vec![Codec::ZstdPrefix] }
    } else if effort == Effort::Fastest {
        vec![Codec::ZstdPrefix]
    } else {
        vec![Codec::Xz]
    };
    codecs.retain(|codec| {
        runner.codecs.contains(codec)
            && patch::encode_memory_bytes(*codec, base_len, len, effort) <= memory_bytes
            && (*codec != Codec::ZstdPrefix || base_len == 0 || prefix::fits(base_len, len))
    });
    if codecs.is_empty() && 0 < base_len && prefix::fits(base_len, len) {
        codecs.extend(runner.codecs.contains(&Codec::ZstdPrefix).then_some(Codec::ZstdPrefix));
    }
    within_time(codecs, base_len, len, effort)
}

/// The codecs that may win with a base, the likeliest first. zstd wins on texts alone.
fn codecs_with_base(runner: &Runner, effort: Effort) -> Vec<Codec> {
    match effort {
        Effort::Fastest => vec![Codec::SuffixLzma],
        Effort::Balanced if runner.is_executable => vec![Codec::SuffixLzma],
        Effort::Balanced => vec![Codec::SuffixLzma, Codec::ZstdPrefix],
        Effort::Smallest => vec![Codec::SuffixLzma, Codec::ZstdPrefix, Codec::Xz],
    }
}

/// The first of `codecs`, and each further one while all together take no longer than one stream
/// is worth. By estimates, not by a clock: the same export is made on every machine.
fn within_time(codecs: Vec<Codec>, base_len: u64, len: u64, effort: Effort) -> Vec<Codec> {
    let time_ms_max = match effort {
        Effort::Fastest => 0,
        Effort::Balanced => BALANCED_TIME_MS_MAX,
        Effort::Smallest => u64::MAX,
    };
    let mut time_ms: u64 = 0;
    let mut is_worth = |codec: &Codec| {
        let is_first = time_ms == 0;
        time_ms += patch::encode_time_ms(*codec, base_len, len, effort).max(1);
        is_first || time_ms <= time_ms_max
    };
    codecs.into_iter().take_while(|codec| is_worth(codec)).collect()
}

/// What one stream is worth in `balanced` beyond its first codec: 10 seconds of one core. That is
/// zstd -19 over a text of 8 MiB after its suffixes were sorted.
const BALANCED_TIME_MS_MAX: u64 = 10_000;

/// Whether a stream gets no shorter by itself, as what is compressed already.
fn is_noise(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(4 << 20)];
    zstd::bulk::compress(sample, 1)
        .is_ok_and(|short| sample.len() - sample.len() / 64 < short.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::tests::noise;

    static BUDGET: Budget = Budget::new(1 << 30);

    fn text(seed: u8, lines: usize) -> Vec<u8> {
        let numbers = noise(seed, 4 * lines);
        let line = |four: &[u8; 4]| {
            let number = u32::from_le_bytes(*four);
            format!("the ledger of the harbour says {number:08x}\n")
        };
        numbers.as_chunks().0.iter().map(line).collect::<String>().into_bytes()
    }

    fn contender(bytes: Vec<u8>) -> Contender {
        Contender { hash: ChunkId::of(&bytes), kinship: Kinship::Name, bytes: bytes.into() }
    }

    fn runner(bytes: Vec<u8>, contenders: Vec<Contender>, codecs: &[Codec]) -> Runner {
        Runner {
            hash: ChunkId::of(&bytes),
            bytes: bytes.into(),
            is_executable: false,
            contenders,
            is_blob: true,
            codecs: codecs.to_vec(),
        }
    }

    fn raced(runner: &Runner) -> Option<Encoding> {
        let temp = tempfile::tempdir().unwrap();
        let folder = camino::Utf8Path::from_path(temp.path()).unwrap();
        let scratch = Scratch::new(folder, 1 << 30).unwrap();
        run(runner, Effort::Balanced, &BUDGET, &scratch).unwrap()
    }

    #[test]
    fn a_stream_is_made_of_its_older_version() {
        let old = contender(text(1, 5000));
        let new = [&old.bytes[..], b"and one more line\n"].concat();
        let found = raced(&runner(new, vec![old.clone()], &Codec::ALL)).unwrap();
        assert_eq!(found.bases, [old.hash]);
        assert!(found.payload.len_bytes() < 200, "{}", found.payload.len_bytes());
    }

    #[test]
    fn without_a_codec_that_takes_a_base_a_stream_is_packed_by_itself() {
        let (old, new) = (contender(text(1, 5000)), text(2, 5000));
        let found = raced(&runner(new, vec![old], &[Codec::Xz])).unwrap();
        assert_eq!((found.codec, found.bases), (Codec::Xz, vec![]));
    }

    #[test]
    fn a_stream_without_a_base_is_encoded_without_one() {
        // Together they are longer than a window, so that zstd cannot take the base.
        let old = contender(vec![b'a'; 200 << 20]);
        let new = [&text(1, 100)[..], &vec![b'b'; 60 << 20]].concat();
        let runner = runner(new, vec![old], &[Codec::ZstdPrefix]);
        let temp = tempfile::tempdir().unwrap();
        let folder = camino::Utf8Path::from_path(temp.path()).unwrap();
        let scratch = Scratch::new(folder, 1 << 30).unwrap();
        let found = run(&runner, Effort::Fastest, &BUDGET, &scratch).unwrap().unwrap();
        assert_eq!((found.codec, found.bases), (Codec::ZstdPrefix, vec![]));
        let mut out = vec![];
        let (payload, len_bytes) = (found.payload.bytes().unwrap(), runner.bytes.len() as u64);
        prefix::decode(&[], &payload, len_bytes, 1 << 30, &mut out).unwrap();
        assert!(out == runner.bytes);
    }

    #[test]
    fn noise_is_made_of_its_older_version_only_where_they_have_something_in_common() {
        let (old, other) = (noise(1, 1 << 20), noise(2, 1 << 20));
        let alone = raced(&runner(other.clone(), vec![contender(old.clone())], &Codec::ALL));
        assert!(alone.is_none());
        let half = [&old[..1 << 19], &other[..1 << 19]].concat();
        let found = raced(&runner(half, vec![contender(old)], &Codec::ALL)).unwrap();
        assert!((1 << 19..600_000).contains(&found.payload.len_bytes()));
    }

    #[test]
    fn an_estimate_is_near_what_comes_of_it() {
        let old = contender(text(1, 20_000));
        let changed = [&text(1, 10_000)[..], &text(3, 10_000)].concat();
        for (stream, contenders) in [
            (changed, vec![old]),
            (text(1, 20_000), vec![]),
            (noise(1, 1 << 20), vec![contender(noise(2, 1 << 20))]),
        ] {
            let runner = runner(stream, contenders, &Codec::ALL);
            let exact = raced(&runner).map_or(runner.bytes.len() as u64, |e| e.payload.len_bytes());
            let estimate = estimate(&runner, &BUDGET);
            assert!((exact / 2..2 * exact).contains(&estimate), "{estimate} for {exact}");
        }
    }

    #[test]
    fn a_second_codec_runs_where_both_are_worth_their_time() {
        let codecs = [Codec::SuffixLzma, Codec::ZstdPrefix];
        let worth = |mib: u64, effort| within_time(codecs.to_vec(), mib << 20, mib << 20, effort);
        assert_eq!(worth(8, Effort::Balanced), codecs);
        assert_eq!(worth(20, Effort::Balanced), codecs[..1]);
        assert_eq!(worth(200, Effort::Smallest), codecs);
        assert_eq!(worth(1, Effort::Fastest), codecs[..1]);
        assert_eq!(within_time(vec![], 1, 1, Effort::Balanced), []);
    }
}
