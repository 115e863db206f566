//! Describes new bytes by bytes the other side holds, as small as may be.
//!
//! In:   a base (one old version, or several put together by the caller) and the new bytes.
//! Out:  a payload; on the other side the same new bytes from the same base and the payload.
//! Pure: no files, no network, no clock; the payload depends on base, new bytes and effort only.
//!
//! [`streams`] finds what to copy ([`index`] and [`seeds`], or [`anchors`]; [`path`]), [`stream`] lays it out in
//! columns ([`runs`], [`varint`]), [`lzma`] packs them. Whoever decodes compares a digest of what
//! came out: a payload for another base decodes to other bytes.

use std::io;

pub mod anchors;
pub mod index;
pub mod lzma;
pub mod path;
pub mod runs;
pub mod seeds;
pub mod stream;
pub mod streams;
pub mod varint;

pub use stream::{decode, decode_memory_bytes, encode};
pub use streams::search_memory_bytes;

/// How much time a smaller payload is worth. The way back takes the same time for all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Effort {
    Smallest,
    #[default]
    Balanced,
    Fastest,
}

/// Why a delta was not made.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("the base has {len_bytes} bytes, 2 GiB or more")]
    BaseTooLong { len_bytes: usize },
    #[error("the new version has {len_bytes} bytes, 2 GiB or more")]
    NewTooLong { len_bytes: usize },
    #[error("the suffixes of the base cannot be sorted")]
    Sort,
    #[error("a column of the delta cannot be packed")]
    Pack(#[source] liblzma::stream::Error),
}

/// Why a delta did not lead to the new bytes.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the header of the delta is damaged")]
    Header,
    #[error("the delta needs {asked_bytes} bytes of memory, of which {memory_bytes} are allowed")]
    TooMuchMemory { asked_bytes: u64, memory_bytes: u64 },
    #[error("the delta does not describe {new_len_bytes} bytes")]
    TooLong { new_len_bytes: u64 },
    #[error("a copy lies outside of the base")]
    OutsideBase,
    #[error("a column of the delta ends early")]
    EndsEarly,
    #[error("a column of the delta has bytes that nothing asks for")]
    BytesLeft,
    #[error("a column of the delta cannot be unpacked")]
    Unpack(#[source] liblzma::stream::Error),
    #[error("a column of the delta cannot be read")]
    Read(#[source] io::Error),
    #[error("the new bytes cannot be written")]
    Write(#[source] io::Error),
}

impl ApplyError {
    fn from_read(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::EndsEarly,
            _ => Self::Read(source),
        }
    }
}
