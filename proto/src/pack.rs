//! Packs and the frames in them, in the clear.
//!
//! A pack is a 16-byte head and frames one after the other; a frame is a 44-byte head and one
//! encoded chunk. `FORMAT.md`, section 5.

use crate::{ChunkId, limits};

/// The first 16 bytes of every pack: magic and format version.
pub const PACK_HEAD: [u8; 16] = *b"gapferry-pack\0\0\x01";

/// Length of a frame's head, in bytes.
pub const FRAME_HEAD_LEN_BYTES: usize = 44;

/// Why bytes are no pack of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("the pack does not begin as a pack of format 1")]
    NotAPack,
    #[error("the frame uses the unknown encoding {0}; update this agent")]
    UnknownEncoding(u8),
    #[error("the frame claims {0} bytes, more than a chunk may have")]
    TooLong(u32),
    #[error("the frame's reserved bytes are not zero")]
    Reserved,
}

/// How the bytes of a chunk stand in a frame. A row here is an encoder outside and a decoder
/// inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// As they are: what does not get shorter.
    Raw,
    /// One zstd frame (RFC 8878) without a dictionary.
    Zstd,
}

impl Encoding {
    const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    pub encoding: Encoding,
    /// Length of the chunk.
    pub len_bytes: u32,
    /// Length of what follows the head.
    pub stored_len_bytes: u32,
    pub chunk: ChunkId,
}

impl FrameHead {
    /// Encoding (1), zero (3), length (4, little endian), stored length (4), chunk (32).
    pub fn encode(&self) -> [u8; FRAME_HEAD_LEN_BYTES] {
        let mut head = [0; FRAME_HEAD_LEN_BYTES];
        head[0] = self.encoding.number();
        head[4..8].copy_from_slice(&self.len_bytes.to_le_bytes());
        head[8..12].copy_from_slice(&self.stored_len_bytes.to_le_bytes());
        head[12..].copy_from_slice(self.chunk.as_bytes());
        head
    }

    /// Reads a head and checks both lengths against the longest chunk.
    ///
    /// # Errors
    ///
    /// [`PackError`]: the pack is damaged, or made by a newer agent.
    pub fn decode(head: &[u8; FRAME_HEAD_LEN_BYTES]) -> Result<Self, PackError> {
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let encoding = match head[0] {
            0 => Encoding::Raw,
            1 => Encoding::Zstd,
            other => return Err(PackError::UnknownEncoding(other)),
        };
        if head[1..4] != [0; 3] {
            return Err(PackError::Reserved);
        }
        let (len_bytes, stored_len_bytes) = (u32_at(4), u32_at(8));
        let longest = len_bytes.max(stored_len_bytes);
        if limits::CHUNK_LEN_BYTES_MAX < longest {
            return Err(PackError::TooLong(longest));
        }
        let chunk = ChunkId::from_bytes(std::array::from_fn(|i| head[12 + i]));
        Ok(Self { encoding, len_bytes, stored_len_bytes, chunk })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(len_bytes: u32) -> FrameHead {
        FrameHead {
            encoding: Encoding::Zstd,
            len_bytes,
            stored_len_bytes: 3,
            chunk: ChunkId::of(b"chunk"),
        }
    }

    #[test]
    fn a_frame_head_has_44_bytes_and_reads_back() {
        let bytes = head(0x0102).encode();
        assert_eq!(bytes[..12], [1, 0, 0, 0, 2, 1, 0, 0, 3, 0, 0, 0]);
        assert_eq!(FrameHead::decode(&bytes), Ok(head(0x0102)));
    }

    #[test]
    fn a_length_is_checked_on_both_sides_of_its_bound() {
        let max = limits::CHUNK_LEN_BYTES_MAX;
        assert_eq!(FrameHead::decode(&head(max).encode()), Ok(head(max)));
        assert_eq!(FrameHead::decode(&head(max + 1).encode()), Err(PackError::TooLong(max + 1)));
        let stored = FrameHead { stored_len_bytes: max + 1, ..head(1) };
        assert_eq!(FrameHead::decode(&stored.encode()), Err(PackError::TooLong(max + 1)));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let mut bytes = head(1).encode();
        bytes[0] = 9;
        assert_eq!(FrameHead::decode(&bytes), Err(PackError::UnknownEncoding(9)));
        bytes[0] = 0;
        bytes[2] = 1;
        assert_eq!(FrameHead::decode(&bytes), Err(PackError::Reserved));
    }
}
