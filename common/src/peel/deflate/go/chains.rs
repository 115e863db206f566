//! Levels 2 to 9: chains of places with the same hash, and from level 4 on lazy matching.
//!
//! In:   the plain stream, in pieces of any size.
//! Out:  a block for every 16384 tokens.
//! The window is 64 KiB. When it is full, all of it but the last 261 bytes or fewer is matched,
//! then its second half becomes its first. Places before the window are out of reach, even
//! when their distance would not be: when the window moves, matters.
//!
//! Held in memory: the window, chains of 512 and 128 KiB, 64 KiB of tokens.

use std::{io, mem};

use super::block::BlockWriter;
use super::matching::{COPY_LEN_BYTES_MAX, DISTANCE_MAX, boxed, common_prefix, hash};
use super::token::Token;

/// Half of the window, and how far the window moves.
const HALF: u32 = DISTANCE_MAX;
const FULL: u32 = 2 * HALF;
/// The shortest match that is used, in bytes.
const MATCH_MIN: u32 = 4;
/// While more of the stream may come, nothing is matched with fewer bytes ahead.
const LOOKAHEAD_MIN: u32 = MATCH_MIN + COPY_LEN_BYTES_MAX;
/// From here on the window moves before it is filled further.
const MOVE_AT: u32 = FULL - LOOKAHEAD_MIN;
/// A match of [`MATCH_MIN`] bytes is not worth a longer distance.
const SHORT_MATCH_DISTANCE_MAX: u32 = 4096;
const BLOCK_TOKENS_MAX: usize = 1 << 14;
const HASH_BITS: u32 = 17;
/// Where stamps are counted anew.
const BASE_MAX: u32 = 1 << 24;

/// How hard a level tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    pub strategy: Strategy,
    /// A match of this length ends the search, in bytes.
    pub nice: u32,
    /// Places looked at in one search.
    pub tries: u32,
}

/// What is done with a match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// It is taken; the places in it are entered if it has at most `entered_max` bytes.
    Greedy { entered_max: u32 },
    /// It is taken unless the next place has a longer one, which is looked for only if it has
    /// fewer than `good_enough` bytes.
    Lazy { good_enough: u32 },
}

/// The best match of a place; a length of 3 stands for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Match {
    length: u32,
    distance: u32,
}

const NO_MATCH: Match = Match { length: MATCH_MIN - 1, distance: 0 };

/// The matcher of levels 2 to 9.
#[derive(Debug)]
pub struct Chains {
    effort: Effort,
    window: Box<[u8; FULL as usize]>,
    /// How much of the window holds bytes, and how much of that is matched.
    filled: u32,
    at: u32,
    /// Where the open block starts; `None` when that is before the window.
    block_start: Option<u32>,
    /// The stamp of the window's first byte, at least 1: a stamp of 0 is before any window.
    base: u32,
    /// The stamp of the last place with each hash.
    last: Box<[u32; 1 << HASH_BITS]>,
    /// For each place in reach, modulo [`HALF`], the stamp of the one before with its hash.
    before: Box<[u32; HALF as usize]>,
    tokens: Vec<Token>,
    /// The match of the place before `at`, whose byte is `owed` while no token stands for it.
    found: Match,
    owed: bool,
    write_ended: bool,
}

impl Chains {
    pub fn new(effort: Effort) -> Self {
        Self {
            effort,
            window: boxed(0),
            filled: 0,
            at: 0,
            block_start: Some(0),
            base: 1,
            last: boxed(0),
            before: boxed(0),
            tokens: Vec::with_capacity(BLOCK_TOKENS_MAX),
            found: NO_MATCH,
            owed: false,
            write_ended: false,
        }
    }

    pub fn write<W: io::Write>(
        &mut self,
        mut plain: &[u8],
        out: &mut BlockWriter<W>,
    ) -> io::Result<()> {
        while !plain.is_empty() {
            if mem::take(&mut self.write_ended) || self.filled == FULL {
                self.advance(out, LOOKAHEAD_MIN)?;
                if self.at >= MOVE_AT {
                    self.move_window();
                }
            }
            let room = &mut self.window[self.filled as usize..];
            let (piece, rest) = plain.split_at(room.len().min(plain.len()));
            room[..piece.len()].copy_from_slice(piece);
            self.filled += u32::try_from(piece.len()).expect("the window has 65536 bytes");
            plain = rest;
        }
        Ok(())
    }

    /// Marks the end of a write of the original: the window may move before it is full.
    pub fn end_write(&mut self) {
        self.write_ended = true;
    }

    /// Matches what is left and writes the last block.
    pub fn finish<W: io::Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        self.advance(out, 1)?;
        if self.owed {
            self.tokens.push(Token::literal(self.window[self.at as usize - 1]));
            self.owed = false;
        }
        if self.tokens.is_empty() { Ok(()) } else { self.write_block(out) }
    }

    /// Matches as long as there are `lookahead_min` bytes ahead.
    fn advance<W: io::Write>(
        &mut self,
        out: &mut BlockWriter<W>,
        lookahead_min: u32,
    ) -> io::Result<()> {
        while self.filled - self.at >= lookahead_min {
            match self.effort.strategy {
                Strategy::Greedy { entered_max } => self.step_greedy(entered_max),
                Strategy::Lazy { good_enough } => self.step_lazy(good_enough),
            }
            if self.tokens.len() == BLOCK_TOKENS_MAX {
                self.write_block(out)?;
            }
        }
        Ok(())
    }

    /// Takes the best match here, or a literal.
    fn step_greedy(&mut self, entered_max: u32) {
        let last = self.enter(self.at);
        let best = self.find(last);
        if best.length < MATCH_MIN {
            self.tokens.push(Token::literal(self.window[self.at as usize]));
            self.at += 1;
            return;
        }
        self.tokens.push(Token::copy(best.length, best.distance));
        if best.length <= entered_max {
            self.enter_all(self.at + 1, self.at + best.length);
        }
        self.at += best.length;
    }

    /// Takes the match of the place before unless the one here is longer.
    fn step_lazy(&mut self, good_enough: u32) {
        let last = self.enter(self.at);
        let earlier = mem::replace(&mut self.found, NO_MATCH);
        if earlier.length < good_enough && earlier.length < self.filled - self.at {
            self.found = self.find(last);
        }
        if earlier.length >= MATCH_MIN && self.found.length <= earlier.length {
            self.tokens.push(Token::copy(earlier.length, earlier.distance));
            let end = self.at + earlier.length - 1;
            self.enter_all(self.at + 1, end);
            self.at = end;
            self.found = NO_MATCH;
            self.owed = false;
        } else {
            if self.owed {
                self.tokens.push(Token::literal(self.window[self.at as usize - 1]));
            }
            self.at += 1;
            self.owed = true;
        }
    }

    /// Enters a place and returns the stamp of the last one with its hash.
    ///
    /// A place with fewer than four bytes ahead has no hash: it is not entered, and the stamp
    /// is 0.
    #[inline]
    fn enter(&mut self, at: u32) -> u32 {
        if at + MATCH_MIN > self.filled {
            return 0;
        }
        let four = self.window[at as usize..].first_chunk();
        let slot = hash(four.map_or(0, |four| u32::from_be_bytes(*four)), HASH_BITS);
        let last = mem::replace(&mut self.last[slot], at + self.base);
        self.before[(at % HALF) as usize] = last;
        last
    }

    fn enter_all(&mut self, from: u32, to: u32) {
        for at in from..to {
            self.enter(at);
        }
    }

    /// Finds the longest match here, and the nearest of that length, from `last` on back.
    fn find(&self, last: u32) -> Match {
        let at = self.at;
        let length_max = COPY_LEN_BYTES_MAX.min(self.filled - at);
        let nice = self.effort.nice.min(length_max);
        let here = &self.window[at as usize..(at + length_max) as usize];
        let in_reach = self.base + at.saturating_sub(HALF);
        let mut best = NO_MATCH;
        let mut stamp = last;
        for _ in 0..self.effort.tries {
            if stamp < in_reach {
                break;
            }
            let place = stamp - self.base;
            let distance = at - place;
            let there = &self.window[place as usize..][..here.len()];
            if there.get(best.length as usize) == here.get(best.length as usize) {
                let length = common_prefix(there, here);
                let worth = length > MATCH_MIN || distance <= SHORT_MATCH_DISTANCE_MAX;
                if length > best.length && worth {
                    best = Match { length, distance };
                    if length >= nice {
                        break;
                    }
                }
            }
            if distance == HALF {
                break; // its entry in the chain is overwritten by this place's own
            }
            stamp = self.before[(place % HALF) as usize];
        }
        best
    }

    /// Writes the tokens so far as a block.
    fn write_block<W: io::Write>(&mut self, out: &mut BlockWriter<W>) -> io::Result<()> {
        let end = self.at - u32::from(self.owed);
        let plain = self.block_start.map(|start| &self.window[start as usize..end as usize]);
        out.write_smallest(&self.tokens, plain)?;
        self.tokens.clear();
        self.block_start = Some(end);
        Ok(())
    }

    /// Makes the second half of the window its first.
    fn move_window(&mut self) {
        self.window.copy_within(HALF as usize.., 0);
        self.at -= HALF;
        self.filled -= HALF;
        self.block_start = self.block_start.and_then(|start| start.checked_sub(HALF));
        self.base += HALF;
        if self.base > BASE_MAX {
            let passed = self.base - 1;
            for stamp in self.last.iter_mut().chain(self.before.iter_mut()) {
                *stamp = stamp.saturating_sub(passed);
            }
            self.base = 1;
        }
    }
}
