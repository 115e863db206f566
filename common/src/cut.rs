//! Cuts a plain stream into chunks where its content says so.
//!
//! `FastCDC` v2020, 16/64/256 KiB, normalisation level 1; BLAKE3 names. Cut points are part of
//! the format: a chunk is found again only where both sides cut alike. `FORMAT.md`, section 5.

use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;
use gapferry_proto::{ChunkId, limits};

const MIN_BYTES: usize = 16 << 10;
const AVERAGE_BYTES: usize = 64 << 10;
const MAX_BYTES: usize = limits::CHUNK_LEN_BYTES_MAX as usize;

/// One chunk with its bytes.
#[derive(Debug)]
pub struct Cut {
    pub id: ChunkId,
    /// Where it begins in the stream, in bytes.
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// The chunks of `stream` in order. Memory is two chunks of the greatest length.
pub fn cut(stream: impl Read) -> impl Iterator<Item = io::Result<Cut>> {
    StreamCDC::new(stream, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES).map(|chunk| {
        let chunk = chunk.map_err(io::Error::from)?;
        Ok(Cut { id: ChunkId::of(&chunk.data), offset: chunk.offset, bytes: chunk.data })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random and never change.
    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
        out
    }

    fn offsets(bytes: &[u8]) -> Vec<u64> {
        cut(bytes).map(|c| c.unwrap().offset).collect()
    }

    #[test]
    fn the_cut_points_of_a_known_stream_never_change() {
        let expected: Vec<u64> = include_str!("../testdata/cut-points-1MiB.txt")
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(offsets(&noise(1 << 20)), expected);
    }

    #[test]
    fn chunks_join_to_the_stream_and_keep_to_their_bounds() {
        let bytes = noise(3 << 20);
        let chunks: Vec<_> = cut(&bytes[..]).map(Result::unwrap).collect();
        assert_eq!(chunks.iter().flat_map(|c| c.bytes.clone()).collect::<Vec<_>>(), bytes);
        assert!(chunks.iter().all(|c| c.bytes.len() <= MAX_BYTES && c.id == ChunkId::of(&c.bytes)));
        assert_eq!(offsets(&vec![0; 1 << 20]).len(), 4, "zeros are cut at the greatest length");
    }

    #[test]
    fn an_insertion_moves_only_the_cuts_near_it() {
        let old = noise(2 << 20);
        let new = [&old[..100], b"inserted", &old[100..]].concat();
        let ids = |bytes: &[u8]| {
            cut(bytes).map(|c| c.unwrap().id).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(ids(&new).difference(&ids(&old)).count() <= 2);
    }

    #[test]
    fn nothing_has_no_chunks() {
        assert_eq!(offsets(b""), Vec::<u64>::new());
    }
}
