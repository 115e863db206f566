//! Packs and unpacks one stream as a `.lzma` file (LZMA_Alone, as `xz --format=lzma` has it).
//!
//! In:   bytes and what kind they are; on the way back the packed bytes.
//! Out:  the packed bytes, with the end marker and no length; on the way back a reader.
//! Must never use more memory for reading than it was given.

use std::io::Read;

use liblzma::read::XzDecoder;
use liblzma::stream::{Action, LzmaOptions, MatchFinder, Mode, Status, Stream};

use super::{ApplyError, DiffError};

/// Largest dictionary written.
pub const DICTIONARY_LEN_BYTES_MAX: u64 = 64 << 20;

/// How a stream is packed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    pub literal_context_bits: u32,
    pub literal_position_bits: u32,
    pub position_bits: u32,
    pub nice_len: u32,
    pub depth: u32,
    pub finder: MatchFinder,
    pub mode: Mode,
}

impl Packing {
    /// For bytes without a period: the binary tree finder and the optimal parser.
    pub const fn with_nice_len(nice_len: u32) -> Self {
        Self {
            literal_context_bits: 3,
            literal_position_bits: 0,
            position_bits: 0,
            nice_len,
            depth: 0,
            finder: MatchFinder::BinaryTree4,
            mode: Mode::Normal,
        }
    }

    /// Takes a third of the time and leaves some 7 % more.
    pub const fn hasty() -> Self {
        Self { finder: MatchFinder::HashChain4, ..Self::with_nice_len(64) }
    }
}

/// Packs `bytes`.
///
/// Memory: about 10.5 times the dictionary, which is the smallest power of two that covers
/// `bytes`, at most 64 MiB.
pub fn pack(bytes: &[u8], packing: Packing) -> Result<Vec<u8>, DiffError> {
    let mut options = LzmaOptions::new_preset(6).map_err(DiffError::Pack)?;
    options
        .dict_size(dictionary_len_bytes(bytes.len()))
        .literal_context_bits(packing.literal_context_bits)
        .literal_position_bits(packing.literal_position_bits)
        .position_bits(packing.position_bits)
        .nice_len(packing.nice_len)
        .depth(packing.depth)
        .match_finder(packing.finder)
        .mode(packing.mode);
    let mut stream = Stream::new_lzma_encoder(&options).map_err(DiffError::Pack)?;
    let mut packed = Vec::with_capacity(1 << 12);
    loop {
        let read = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(read..).unwrap_or_default();
        let status =
            stream.process_vec(rest, &mut packed, Action::Finish).map_err(DiffError::Pack)?;
        if status == Status::StreamEnd {
            return Ok(packed);
        }
        packed.reserve(packed.len());
    }
}

/// Unpacks as it is read. Fails when more than `memory_bytes` would be needed.
pub fn reader(packed: &[u8], memory_bytes: u64) -> Result<impl Read, ApplyError> {
    let stream = Stream::new_lzma_decoder(memory_bytes).map_err(ApplyError::Unpack)?;
    Ok(XzDecoder::new_stream(packed, stream))
}

/// The dictionary that the header of a packed stream asks for; 0 without a header.
pub fn asked_dictionary_len_bytes(packed: &[u8]) -> u64 {
    match packed.get(1..5) {
        Some(&[a, b, c, d]) => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => 0,
    }
}

fn dictionary_len_bytes(len: usize) -> u32 {
    let len = u64::try_from(len).unwrap_or(u64::MAX).clamp(4096, DICTIONARY_LEN_BYTES_MAX);
    u32::try_from(len.next_power_of_two()).unwrap_or(1 << 26)
}
