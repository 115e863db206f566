//! Level 1: one table of recent places, no chains, no second thoughts.
//!
//! In:   the plain stream, in pieces of any size.
//! Out:  a block for every 65535 bytes, the same whatever the pieces were.
//! Matches may begin in the block before. The longer nothing matches, the further apart the
//! places are that are looked at. The rules are those of Snappy's compressor, which Go took.
//!
//! Held in memory: 96 KiB of plain bytes, a table of 128 KiB, 256 KiB of tokens.

use std::io;

use super::block::BlockWriter;
use super::matching::{COPY_LEN_BYTES_MAX, DISTANCE_MAX, boxed, common_prefix, hash};
use super::token::Token;

/// Bytes of the block before that are kept.
const HISTORY: usize = DISTANCE_MAX as usize;
/// Bytes of a block: as many as can be stored.
const BLOCK: u32 = 65535;
const TABLE_BITS: u32 = 14;
/// A last block below this is not searched for matches.
const SEARCHED_MIN: usize = 128;
/// A last block up to this is stored.
const STORED_MAX: usize = 16;
/// No match begins in the last bytes of a block.
const MARGIN: u32 = 15;
/// Where positions are counted anew; about every 2 GiB.
const POSITION_MAX: u32 = (1 << 31) - 1 - 2 * BLOCK;

/// A place in the plain stream.
#[derive(Clone, Copy, Default, Debug)]
struct Place {
    /// The four bytes there.
    bytes: u32,
    /// Counted like [`Fast::position`].
    position: u32,
}

/// The matcher of level 1.
#[derive(Debug)]
pub struct Fast {
    /// The end of the block before, then the block being filled.
    window: Box<[u8; HISTORY + BLOCK as usize]>,
    filled: usize,
    table: Box<[Place; 1 << TABLE_BITS]>,
    /// The position of the block's first byte. The first block does not begin at 0, so that a
    /// place never written is too far away.
    position: u32,
    tokens: Vec<Token>,
}

impl Fast {
    pub fn new() -> Self {
        Self {
            window: boxed(0),
            filled: 0,
            table: boxed(Place::default()),
            position: BLOCK,
            tokens: Vec::with_capacity(BLOCK as usize),
        }
    }

    pub fn write<W: io::Write>(
        &mut self,
        mut plain: &[u8],
        out: &mut BlockWriter<W>,
    ) -> io::Result<()> {
        while !plain.is_empty() {
            if self.filled == BLOCK as usize {
                self.write_block(out)?;
            }
            let room = &mut self.window[HISTORY + self.filled..];
            let (piece, rest) = plain.split_at(room.len().min(plain.len()));
            room[..piece.len()].copy_from_slice(piece);
            self.filled += piece.len();
            plain = rest;
        }
        Ok(())
    }

    /// Writes the last block.
    pub fn finish<W: io::Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        match self.filled {
            0 => Ok(()),
            1..=STORED_MAX => out.write_stored(self.block()),
            SEARCHED_MIN.. => self.write_block(out),
            _ => out.write_literals(self.block()),
        }
    }

    fn block(&self) -> &[u8] {
        &self.window[HISTORY..HISTORY + self.filled]
    }

    /// Searches a block of at least [`SEARCHED_MIN`] bytes and writes it.
    fn write_block<W: io::Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        self.tokens.clear();
        self.search();
        let block = &self.window[HISTORY..HISTORY + self.filled];
        if self.tokens.len() > block.len() - block.len() / 16 {
            out.write_literals(block)?;
        } else {
            out.write_dynamic(&self.tokens, block)?;
        }
        self.window.copy_within(self.filled..self.filled + HISTORY, 0);
        self.filled = 0;
        Ok(())
    }

    /// Turns the block into tokens.
    fn search(&mut self) {
        if self.position >= POSITION_MAX {
            self.rebase();
        }
        let end = u32::try_from(self.filled).expect("a block has at most 65535 bytes");
        let limit = end - MARGIN;
        let mut done = 0;
        let mut start = 0;
        while let Some((mut at, mut distance)) = self.find(start, limit) {
            self.push_literals(done, at);
            loop {
                let length = self.match_length(at, distance, end);
                self.tokens.push(Token::copy(length, distance));
                at += length;
                done = at;
                if at >= limit {
                    break;
                }
                self.replace(at - 1);
                match self.look(at) {
                    Some(next) => distance = next,
                    None => break,
                }
            }
            if at >= limit {
                break;
            }
            start = at + 1;
        }
        self.push_literals(done, end);
        self.position += end;
    }

    /// Finds the next match from `start` on: where it is and how far back it leads.
    fn find(&mut self, start: u32, limit: u32) -> Option<(u32, u32)> {
        let mut at = start;
        let mut strides = 32;
        loop {
            let stride = strides / 32;
            strides += stride;
            if at + stride > limit {
                return None;
            }
            if let Some(distance) = self.look(at) {
                return Some((at, distance));
            }
            at += stride;
        }
    }

    /// Enters `at` into the table; the distance to the place it displaces, if that matches.
    #[inline]
    fn look(&mut self, at: u32) -> Option<u32> {
        let (here, before) = self.replace(at);
        let distance = here.position - before.position;
        (distance <= DISTANCE_MAX && here.bytes == before.bytes).then_some(distance)
    }

    #[inline]
    fn replace(&mut self, at: u32) -> (Place, Place) {
        let from = HISTORY + at as usize;
        let bytes = self.window[from..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let here = Place { bytes, position: self.position + at };
        let slot = &mut self.table[hash(bytes, TABLE_BITS)];
        (here, std::mem::replace(slot, here))
    }

    /// The length of a match of which four bytes are known.
    fn match_length(&self, at: u32, distance: u32, end: u32) -> u32 {
        let stop = HISTORY + end.min(at + COPY_LEN_BYTES_MAX) as usize;
        let here = HISTORY + at as usize + 4;
        let there = here - distance as usize;
        4 + common_prefix(&self.window[here..stop], &self.window[there..stop])
    }

    fn push_literals(&mut self, from: u32, to: u32) {
        let bytes = &self.window[HISTORY + from as usize..HISTORY + to as usize];
        self.tokens.extend(bytes.iter().map(|&byte| Token::literal(byte)));
    }

    /// Counts positions anew, with all that is in reach kept at its distance.
    fn rebase(&mut self) {
        let base = DISTANCE_MAX + 1;
        for place in self.table.iter_mut() {
            place.position = (place.position + base).saturating_sub(self.position);
        }
        self.position = base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deflate(position: u32, plain: &[u8]) -> Vec<u8> {
        let mut fast = Fast { position, ..Fast::new() };
        let mut out = BlockWriter::new(Vec::new());
        fast.write(plain, &mut out).unwrap();
        fast.finish(&mut out).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn counting_positions_anew_does_not_change_the_stream() {
        let plain: Vec<u8> =
            (0..400_000u32).flat_map(|n| (n % 9973 * (n % 7)).to_le_bytes()).collect();
        let expected = deflate(BLOCK, &plain);
        for before in [0, 1, BLOCK, 2 * BLOCK, 3 * BLOCK - 1] {
            assert!(deflate(POSITION_MAX - before, &plain) == expected, "{before} bytes before");
        }
    }
}
