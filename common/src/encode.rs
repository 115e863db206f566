//! The table of encoders: how a chunk is made shorter, and longer again.

use gapferry_proto::{
    ChunkId,
    pack::{Encoding, FrameHead},
};

/// The zstd level of a chunk that a probe at level 1 has found worth it.
const ZSTD_LEVEL: i32 = 9;

/// Why a frame does not give its chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the frame of chunk {0} does not decode to {1} bytes")]
    Length(ChunkId, u32),
    #[error("the frame of chunk {chunk} decodes to {actual}")]
    Hash { chunk: ChunkId, actual: ChunkId },
}

/// Encodes a chunk: zstd where that is shorter, else as it is.
pub fn encode(chunk: ChunkId, bytes: &[u8]) -> (FrameHead, Vec<u8>) {
    let zstd = |level| zstd::bulk::compress(bytes, level).expect("zstd has memory for a chunk");
    // Level 1 tells compressed content from plain at 500 MB/s; the rest is mostly compressed.
    let worth_it = zstd(1).len() < bytes.len() - bytes.len() / 64;
    let short = if worth_it { zstd(ZSTD_LEVEL) } else { vec![] };
    let (encoding, stored) = if worth_it && short.len() < bytes.len() {
        (Encoding::Zstd, short)
    } else {
        (Encoding::Raw, bytes.to_vec())
    };
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a chunk has at most 256 KiB");
    let head = FrameHead { encoding, len_bytes: len(bytes), stored_len_bytes: len(&stored), chunk };
    (head, stored)
}

/// Gives the chunk of a frame, exactly as long as its head says, and checks its name.
///
/// # Errors
///
/// [`DecodeError`]: the frame is damaged or forged; nothing of it may be used.
pub fn decode(head: &FrameHead, stored: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let wrong_len = || DecodeError::Length(head.chunk, head.len_bytes);
    let bytes = match head.encoding {
        Encoding::Raw => stored.to_vec(),
        Encoding::Zstd => {
            zstd::bulk::decompress(stored, head.len_bytes as usize).map_err(|_| wrong_len())?
        }
    };
    if bytes.len() != head.len_bytes as usize {
        return Err(wrong_len());
    }
    match ChunkId::of(&bytes) {
        actual if actual == head.chunk => Ok(bytes),
        actual => Err(DecodeError::Hash { chunk: head.chunk, actual }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8]) -> (FrameHead, Vec<u8>) {
        encode(ChunkId::of(bytes), bytes)
    }

    #[test]
    fn text_gets_shorter_and_noise_stays_as_it_is() {
        let text = b"all the same words ".repeat(100);
        let mut noise = vec![0; 2000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for (bytes, encoding) in [(&text, Encoding::Zstd), (&noise, Encoding::Raw)] {
            let (head, stored) = encoded(bytes);
            assert_eq!(head.encoding, encoding);
            assert_eq!(decode(&head, &stored).unwrap(), *bytes);
        }
    }

    #[test]
    fn a_frame_that_lies_about_its_length_or_content_is_refused() {
        let (head, stored) = encoded(&b"words ".repeat(100));
        for len_bytes in [head.len_bytes - 1, head.len_bytes + 1] {
            let liar = FrameHead { len_bytes, ..head };
            assert!(matches!(decode(&liar, &stored), Err(DecodeError::Length(..))), "{len_bytes}");
        }
        let other = FrameHead { chunk: ChunkId::of(b"other"), ..head };
        assert!(matches!(decode(&other, &stored), Err(DecodeError::Hash { .. })));
        assert!(decode(&head, &stored[..stored.len() / 2]).is_err());
    }

    #[test]
    fn a_bomb_ends_at_the_length_its_head_declares() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        let head = FrameHead {
            encoding: Encoding::Zstd,
            len_bytes: 1000,
            stored_len_bytes: u32::try_from(bomb.len()).unwrap(),
            chunk: ChunkId::of(b""),
        };
        assert_eq!(decode(&head, &bomb), Err(DecodeError::Length(head.chunk, 1000)));
    }
}
