//! A stream as a zstd frame whose prefix is its base.
//!
//! Wins on text, and where base and stream have little in common. Anybody can open one:
//! `zstd -d --patch-from=BASE --long=31`.

use std::io::{self, Write};

use gapferry_proto::limits;
use zstd::stream::{raw::CParameter, read::Decoder, write::Encoder};

use super::{DecodeError, copy_exactly};

/// Smallest window, as its logarithm: 128 KiB; a smaller one saves nothing.
const WINDOW_LOG_MIN: u32 = 17;

/// Smallest window that zstd knows, as its logarithm.
const WINDOW_LOG_LEAST: u32 = 10;

/// The window that spans a base and the stream after it, as its logarithm.
fn window_log(base_len: u64, len: u64) -> u32 {
    let span = base_len.saturating_add(len).max(1);
    let log = u64::BITS - (span - 1).leading_zeros();
    log.clamp(WINDOW_LOG_MIN, limits::ZSTD_WINDOW_LOG_MAX)
}

/// Whether a window can span the whole base and the stream after it.
pub fn fits(base_len: u64, len: u64) -> bool {
    base_len.saturating_add(len) <= 1 << limits::ZSTD_WINDOW_LOG_MAX
}

/// Memory that decoding takes, in bytes: the window and some.
pub fn decode_memory_bytes(base_len: u64, len: u64) -> u64 {
    (1 << window_log(base_len, len)) + (4 << 20)
}

/// Encodes `new` with `base` as prefix.
///
/// Takes some six times the window in memory at level 19, twice at level 3.
///
/// # Errors
///
/// The error of zstd, for want of memory.
pub fn encode(base: &[u8], new: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::with_ref_prefix(Vec::new(), level, base)?;
    encoder
        .set_parameter(CParameter::WindowLog(window_log(base.len() as u64, new.len() as u64)))?;
    encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
    encoder.include_contentsize(true)?;
    encoder.include_checksum(false)?;
    encoder.set_pledged_src_size(Some(new.len() as u64))?;
    encoder.write_all(new)?;
    encoder.finish()
}

/// Decodes a frame of [`encode`] into exactly `len_bytes`, with a window of at most
/// `memory_bytes`.
///
/// # Errors
///
/// [`DecodeError`].
pub fn decode(
    base: &[u8],
    frame: &[u8],
    len_bytes: u64,
    memory_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), DecodeError> {
    let log = memory_bytes.checked_ilog2().unwrap_or(0);
    let log = log.clamp(WINDOW_LOG_LEAST, limits::ZSTD_WINDOW_LOG_MAX);
    let mut decoder = Decoder::with_ref_prefix(frame, base).map_err(DecodeError::Damaged)?;
    decoder.window_log_max(log).map_err(DecodeError::Damaged)?;
    copy_exactly(decoder, len_bytes, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(lines: std::ops::Range<u32>) -> Vec<u8> {
        lines.map(|n| format!("line {n} of a text\n")).collect::<String>().into_bytes()
    }

    fn decoded(base: &[u8], frame: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![];
        decode(base, frame, len as u64, 1 << 28, &mut out).map(|()| out)
    }

    #[test]
    fn a_stream_near_its_base_gets_very_short_and_comes_back() {
        let (base, new) = (numbered(0..20_000), numbered(5..20_000));
        for level in [3, 19] {
            let frame = encode(&base, &new, level).unwrap();
            assert!(frame.len() < 200, "{} bytes at level {level}", frame.len());
            assert_eq!(decoded(&base, &frame, new.len()).unwrap(), new);
        }
        assert!(decoded(&[], &encode(&[], &[], 19).unwrap(), 0).unwrap().is_empty());
    }

    #[test]
    fn a_frame_that_needs_a_larger_window_than_is_allowed_is_refused() {
        let new = numbered(0..100_000);
        let frame = encode(&[], &new, 3).unwrap();
        let mut out = vec![];
        let refused = decode(&[], &frame, new.len() as u64, 1 << 16, &mut out);
        assert!(matches!(refused, Err(DecodeError::Damaged(_))), "{refused:?}");
        decode(&[], &frame, new.len() as u64, 1 << 22, &mut out).unwrap();
    }

    #[test]
    fn a_frame_gives_its_length_or_nothing_more() {
        let (base, new) = (numbered(0..1000), numbered(7..1000));
        let frame = encode(&base, &new, 3).unwrap();
        for len in [0, new.len() - 1, new.len() + 1] {
            let failed = decoded(&base, &frame, len);
            assert!(matches!(failed, Err(DecodeError::Length)), "{len}: {failed:?}");
        }
        assert!(decoded(&base, &frame[..frame.len() / 2], new.len()).is_err());
        let other_base = decoded(&numbered(0..990), &frame, new.len());
        assert!(other_base.is_err() || other_base.unwrap() != new);
    }
}
