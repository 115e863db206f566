//! Inflates one raw deflate stream.
//!
//! In: a slice that begins with the stream; more may follow. Out: the plain bytes, and where the
//! stream ended. Never hands out more bytes than the caller allows.

use std::io::{self, Write};

use flate2::{Crc, Decompress, FlushDecompress, Status};

const BUFFER_LEN_BYTES: usize = 64 * 1024;

/// What came out of a deflate stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inflated {
    /// Bytes of the stream itself, whatever follows it in the slice.
    pub deflated_len: u64,
    pub plain_len: u64,
    /// The CRC-32 of the plain bytes, as gzip and zip carry it.
    pub crc32: u32,
}

/// Why a deflate stream was not inflated.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    #[error("the deflate stream ends after {after_bytes} bytes, before its last block")]
    Truncated { after_bytes: u64 },

    #[error("the deflate stream is damaged near byte {at_bytes}")]
    Damaged { at_bytes: u64 },

    #[error("the deflate stream holds more than {max_plain_bytes} bytes")]
    TooLong { max_plain_bytes: u64 },

    #[error("cannot write the inflated bytes")]
    Write(#[source] io::Error),
}

/// Inflates the raw deflate stream at the start of `deflated` to `out`.
///
/// Takes 64 KiB of memory beside zlib's own 40 KiB. Ends in [`InflateError::TooLong`] when more
/// than `max_plain_bytes` would come out; at most that many have been written by then.
pub fn inflate(
    deflated: &[u8],
    max_plain_bytes: u64,
    out: &mut dyn Write,
) -> Result<Inflated, InflateError> {
    let mut decoder = Decompress::new(false);
    let mut buffer = vec![0; BUFFER_LEN_BYTES];
    let mut crc = Crc::new();
    let mut rest = deflated;
    loop {
        let (taken, made) = (decoder.total_in(), decoder.total_out());
        let status = decoder
            .decompress(rest, &mut buffer, FlushDecompress::None)
            .map_err(|_| InflateError::Damaged { at_bytes: decoder.total_in() })?;
        rest = &rest[step(taken, decoder.total_in())..];
        let plain = &buffer[..step(made, decoder.total_out())];
        if decoder.total_out() > max_plain_bytes {
            return Err(InflateError::TooLong { max_plain_bytes });
        }
        crc.update(plain);
        out.write_all(plain).map_err(InflateError::Write)?;
        if status == Status::StreamEnd {
            return Ok(Inflated {
                deflated_len: decoder.total_in(),
                plain_len: decoder.total_out(),
                crc32: crc.sum(),
            });
        }
        if decoder.total_in() == taken && decoder.total_out() == made {
            return Err(InflateError::Truncated { after_bytes: taken });
        }
    }
}

/// How far a zlib counter moved in one call: never past the slice that the call was given.
pub(super) fn step(before: u64, now: u64) -> usize {
    usize::try_from(now - before).expect("a call moves by at most the length of its slice")
}
