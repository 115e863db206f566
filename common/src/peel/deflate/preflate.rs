//! Makes streams of unknown encoders again: a model of deflate and corrections to it.
//!
//! In: a whole deflate stream and its plain bytes, or plain bytes and corrections. Out:
//! corrections, or the stream. The corrections are bound to this version of preflate: they travel,
//! and are never archived. Works in memory, and on whole streams only: preflate offers to work in
//! pieces, guesses its parameters from the first, and fails on later ones, of zlib's own streams
//! too.
//!
//! Corrections that do not belong to the plain bytes can send preflate 0.7.6 into making blocks
//! without end, in memory, and it offers no way to stop it. So corrections carry a CRC-32 of both,
//! checked before preflate sees them. That stops damage and mix-ups. It does not stop someone who
//! forges corrections on purpose: take them from signed recipes only, and cap the memory of the
//! program that runs this.
//!
//! Each block takes preflate some time and some hundred bytes of memory, so a hostile stream of
//! megabytes of empty blocks would keep it busy for minutes: streams with more blocks than an
//! encoder makes of so many plain bytes are not tried.
//!
//! preflate panics on some streams. A panic is caught and counts as a refusal. Its message stays
//! off stderr through a panic hook that is set once, at first use: it is silent on a thread that
//! is inside preflate and passes everything else to the hook that was there before.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use flate2::Crc;
use preflate_rs::{PreflateConfig, preflate_whole_deflate_stream, recreate_whole_deflate_stream};

use super::{ReplayError, puff};

/// The name in recipes; the version is that of the dependency.
pub(super) const ID: &str = "preflate-0.7.6";

/// Longest plain stream, in bytes: what [`memory_bytes`] says of it is what a site allows. A
/// program of 74 MB takes 190 MB outside and 200 MB inside, at 25 to 35 MB/s. Archives of programs
/// by `tar -z` are as long. What resealing takes besides has to fit too.
const PLAIN_LEN_BYTES_MAX: usize = 100 << 20;

/// Blocks that a stream may have however short it is.
const BLOCKS_FREE: usize = 64;

/// Plain bytes that a block has on average at least: encoders make blocks of some ten thousand.
const BLOCK_PLAIN_LEN_BYTES_MIN: usize = 1024;

/// Literals and copies that a stream may have however short it is. Beyond, it has at most one for
/// each second plain byte: preflate takes four bytes for each, which is what [`memory_bytes`] has
/// beside the plain bytes and the stream.
const SYMBOLS_FREE: usize = 1 << 20;

/// Corrections pay only while they are at most this part of the stream.
const CORRECTIONS_DIVISOR: usize = 8;

/// Memory for a stream of so many plain bytes: all of it, its tokens, and what comes out.
pub const fn memory_bytes(plain_len_bytes: u64) -> u64 {
    4_u64.saturating_mul(plain_len_bytes).saturating_add(16 << 20)
}

/// Finds the corrections for the whole of `deflated`, and checks that they give it back.
///
/// None when preflate fails, the corrections exceed an eighth of the stream, or the stream is no
/// longer one that [`recreate`] takes.
pub(super) fn corrections(plain: &[u8], deflated: &[u8]) -> Option<Vec<u8>> {
    let blocks_max = BLOCKS_FREE + plain.len() / BLOCK_PLAIN_LEN_BYTES_MIN;
    let symbols_max = SYMBOLS_FREE + plain.len() / 2;
    if plain.is_empty()
        || plain.len() > PLAIN_LEN_BYTES_MAX
        || !puff::has_at_most(deflated, blocks_max, symbols_max)
    {
        return None;
    }
    let config = PreflateConfig {
        plain_text_limit: plain.len(),
        verify_compression: false, // done below, through the code that the other side runs
        ..PreflateConfig::default()
    };
    let (found, text) = quietly(|| preflate_whole_deflate_stream(deflated, &config).ok())?;
    let is_whole = found.compressed_size == deflated.len() && text.text() == plain;
    drop((text, found.blocks));
    let corrections = seal(plain, found.corrections);
    let pays = corrections.len() <= deflated.len() / CORRECTIONS_DIVISOR;
    let is_proved = is_whole && pays && recreate(plain, &corrections).ok()? == deflated;
    is_proved.then_some(corrections)
}

/// Makes a stream again from its plain bytes and corrections; in memory, about twice `plain`.
pub(super) fn recreate(plain: &[u8], corrections: &[u8]) -> Result<Vec<u8>, ReplayError> {
    check_len("plain bytes", plain.len(), PLAIN_LEN_BYTES_MAX)?;
    // No stream is much longer than its plain bytes: deflate can store them.
    check_len("corrections", corrections.len(), plain.len() / CORRECTIONS_DIVISOR + 1024)?;
    let unsealed = unseal(plain, corrections).ok_or(ReplayError::Corrections)?;
    quietly(|| recreate_whole_deflate_stream(plain, unsealed).ok()).ok_or(ReplayError::Corrections)
}

/// Appends the CRC-32 of plain bytes and corrections, little-endian.
fn seal(plain: &[u8], mut corrections: Vec<u8>) -> Vec<u8> {
    let crc = crc32(plain, &corrections);
    corrections.extend(crc.to_le_bytes());
    corrections
}

/// Takes the CRC-32 off; none when corrections or plain bytes are not those that were sealed.
fn unseal<'a>(plain: &[u8], corrections: &'a [u8]) -> Option<&'a [u8]> {
    let (unsealed, crc) = corrections.split_last_chunk()?;
    (u32::from_le_bytes(*crc) == crc32(plain, unsealed)).then_some(unsealed)
}

fn crc32(plain: &[u8], corrections: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(plain);
    crc.update(corrections);
    crc.sum()
}

fn check_len(what: &'static str, len_bytes: usize, max_bytes: usize) -> Result<(), ReplayError> {
    if len_bytes > max_bytes {
        return Err(ReplayError::TooLong { what, len_bytes, max_bytes });
    }
    Ok(())
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it is a silent `None`.
fn quietly<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
    IS_QUIET.set(true);
    // Nothing that a panic could leave half done outlives `work`: it works on its own copies.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(false);
    done.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_silent_none_and_later_ones_are_heard_again() {
        assert_eq!(quietly(|| -> Option<u8> { panic!("not to be seen") }), None);
        assert!(!IS_QUIET.get());
        assert_eq!(quietly(|| Some(1)), Some(1));
    }

    #[test]
    fn too_many_corrections_and_too_much_plain_are_refused_before_any_work() {
        assert!(matches!(recreate(&[0; 80], &[0; 1035]), Err(ReplayError::TooLong { .. })));
        let long = vec![0; PLAIN_LEN_BYTES_MAX + 1];
        assert!(matches!(recreate(&long, &[]), Err(ReplayError::TooLong { .. })));
    }
}
