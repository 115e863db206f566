//! One stream from its bases, both ways: the codecs of recipes.
//!
//! A row here is an encoder outside, a decoder inside and a [`Codec`] in recipes. Whoever calls
//! joins the bases, decides which codec is worth its time and checks what comes out by its hash.

pub mod prefix;
pub mod suffix;
pub mod whole;

use std::io::{self, Read, Write};

use gapferry_proto::recipe::Codec;
pub use suffix::Effort;

use crate::fault;

/// Why a payload does not give its stream.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Suffix(suffix::ApplyError),
    #[error("the payload is damaged")]
    Damaged(#[source] io::Error),
    #[error("the payload does not give the length that the recipe says")]
    Length,
    /// A fault of this machine.
    #[error("cannot write the stream")]
    Write(#[source] io::Error),
}

/// Why a stream was not encoded by a codec; another one may do.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error(transparent)]
    Suffix(#[from] suffix::DiffError),
    #[error("zstd")]
    Zstd(#[source] io::Error),
    #[error("xz")]
    Xz(#[from] liblzma::stream::Error),
}

/// Encodes `new` from `base`.
///
/// # Errors
///
/// [`EncodeError`]: it is too long for the codec, or there is not enough memory.
pub fn encode(
    codec: Codec,
    base: &[u8],
    new: &[u8],
    effort: Effort,
) -> Result<Vec<u8>, EncodeError> {
    match codec {
        Codec::SuffixLzma => Ok(suffix::encode(base, new, effort)?),
        Codec::ZstdPrefix => prefix::encode(base, new, zstd_level(new.len() as u64, effort))
            .map_err(EncodeError::Zstd),
        Codec::Xz => Ok(whole::pack(new, effort)?),
    }
}

/// Memory that encoding takes, in bytes, besides mapped files.
pub fn encode_memory_bytes(codec: Codec, base_len: u64, new_len: u64, effort: Effort) -> u64 {
    match codec {
        // The index and the streams; after it is gone, the streams and their packing.
        Codec::SuffixLzma => {
            let search = suffix::search_memory_bytes(base_len, new_len, effort) + 2 * new_len;
            search.max(2 * new_len + lzma_memory_bytes(new_len))
        }
        Codec::ZstdPrefix if LONG_LEN_BYTES < new_len => (2 << 28) + new_len / 2,
        Codec::ZstdPrefix => 6 * (base_len + new_len).min(1 << 28) + (64 << 20),
        Codec::Xz => lzma_memory_bytes(new_len),
    }
}

/// About how long encoding takes on one core, in milliseconds, from release builds in 2026.
///
/// Only compared with other such estimates: which codecs run must not depend on the machine.
pub const fn encode_time_ms(codec: Codec, base_len: u64, new_len: u64, effort: Effort) -> u64 {
    let nanoseconds = match (codec, effort) {
        (Codec::SuffixLzma, Effort::Fastest) => 10 * base_len + 50 * new_len,
        (Codec::SuffixLzma, _) => 100 * base_len + 250 * new_len,
        (Codec::ZstdPrefix, _) if zstd_level(new_len, effort) < 19 => 40 * new_len,
        (Codec::ZstdPrefix | Codec::Xz, _) => 800 * new_len,
    };
    nanoseconds / 1_000_000
}

/// What LZMA takes: some eleven times its dictionary, which covers the bytes up to 64 MiB.
fn lzma_memory_bytes(len: u64) -> u64 {
    (11 * len.next_power_of_two()).min(700 << 20) + (16 << 20)
}

/// Streams longer than this are packed in haste: 256 MiB. At level 19 they would take minutes.
pub const LONG_LEN_BYTES: u64 = 256 << 20;

const fn zstd_level(new_len: u64, effort: Effort) -> i32 {
    match effort {
        _ if LONG_LEN_BYTES < new_len => 6,
        Effort::Fastest => 9,
        Effort::Smallest | Effort::Balanced => 19,
    }
}

/// Memory that decoding takes, in bytes, besides mapped files.
pub fn decode_memory_bytes(codec: Codec, payload: &[u8], base_len: u64, new_len: u64) -> u64 {
    let buffers = 1 << 20;
    buffers
        + match codec {
            Codec::SuffixLzma => {
                suffix::decode_memory_bytes(payload, new_len).expect("it was just encoded")
            }
            Codec::ZstdPrefix => prefix::decode_memory_bytes(base_len, new_len),
            Codec::Xz => whole::decode_memory_bytes(new_len),
        }
}

/// Decodes a payload into exactly `len_bytes`.
///
/// # Errors
///
/// [`DecodeError`]: all but [`DecodeError::Write`] mean that the export is refused.
pub fn decode(
    codec: Codec,
    base: &[u8],
    payload: &[u8],
    len_bytes: u64,
    memory_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), DecodeError> {
    fault::through(codec.id(), out, |out| match codec {
        Codec::SuffixLzma => {
            suffix::decode(base, payload, len_bytes, memory_bytes, out).map_err(|error| match error
            {
                suffix::ApplyError::Write(source) => DecodeError::Write(source),
                other => DecodeError::Suffix(other),
            })
        }
        Codec::ZstdPrefix => prefix::decode(base, payload, len_bytes, memory_bytes, out),
        Codec::Xz => {
            let reader = whole::reader(payload, memory_bytes);
            copy_exactly(reader.map_err(|e| DecodeError::Damaged(e.into()))?, len_bytes, out)
        }
    })
}

/// Copies `from`, which must have exactly `len_bytes`.
fn copy_exactly(
    mut from: impl Read,
    len_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), DecodeError> {
    let mut left = len_bytes;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = from.read(&mut buffer).map_err(DecodeError::Damaged)?;
        if n == 0 {
            break;
        }
        left = left.checked_sub(n as u64).ok_or(DecodeError::Length)?;
        out.write_all(&buffer[..n]).map_err(DecodeError::Write)?;
    }
    if left == 0 { Ok(()) } else { Err(DecodeError::Length) }
}
