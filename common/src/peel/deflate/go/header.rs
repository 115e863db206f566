//! The head of a dynamic block: the lengths of its codes, themselves run-length and Huffman
//! coded.
//!
//! In:   the literal codes and the distance codes in use.
//! Out:  a [`Header`] that knows its size and writes itself.
//! Runs cross from literals to distances. Source: RFC 1951, section 3.2.7.

use std::io;

use super::bits::BitWriter;
use super::huffman::{Code, assign_codes, total_bits};

/// Symbols of the code length alphabet.
const SYMBOLS: usize = 19;
/// The longest code of that alphabet, in bits.
const LEN_BITS_MAX: usize = 7;
/// The order in which the lengths of that alphabet are written.
const ORDER: [usize; SYMBOLS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Repeats the length before it 3 to 6 times.
const REPEAT: u8 = 16;
/// Repeats a length of 0 for 3 to 10 times.
const ZEROS: u8 = 17;
/// Repeats a length of 0 for 11 to 138 times.
const MANY_ZEROS: u8 = 18;

/// A length, or a run of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Item {
    symbol: u8,
    /// The length of the run, less the shortest that `symbol` can stand for.
    extra: u32,
}

/// The head of a dynamic block, ready to be weighed and written.
#[derive(Debug)]
pub struct Header {
    literals: usize,
    distances: usize,
    items: Vec<Item>,
    codes: [Code; SYMBOLS],
    /// Lengths of `codes` that are written, in [`ORDER`].
    written: usize,
    size_bits: usize,
}

impl Header {
    /// Describes `literals`, 257 to 286 codes, and `distances`, 1 to 30 codes.
    pub fn new(literals: &[Code], distances: &[Code]) -> Self {
        let items = run_lengths(literals.iter().chain(distances).map(|code| code.len_bits));
        let mut frequencies = [0; SYMBOLS];
        let mut extra_bits = 0;
        for item in &items {
            frequencies[usize::from(item.symbol)] += 1;
            extra_bits += item.extra_bits() as usize;
        }
        let mut codes = [Code::default(); SYMBOLS];
        assign_codes(&frequencies, LEN_BITS_MAX, &mut codes);
        let unused = ORDER.iter().rev().take_while(|&&symbol| frequencies[symbol] == 0).count();
        let written = (SYMBOLS - unused).max(4);
        let size_bits = 3 + 5 + 5 + 4 + 3 * written + total_bits(&frequencies, &codes) + extra_bits;
        let (literals, distances) = (literals.len(), distances.len());
        Self { literals, distances, items, codes, written, size_bits }
    }

    /// The size in bits, with the three that open the block.
    pub fn size_bits(&self) -> usize {
        self.size_bits
    }

    /// Opens a dynamic block that is not the last.
    pub fn write<W: io::Write>(&self, bits: &mut BitWriter<W>) {
        let count = |count: usize, least: usize| u32::try_from(count - least).unwrap_or(0);
        bits.put(0b100, 3);
        bits.put(count(self.literals, 257), 5);
        bits.put(count(self.distances, 1), 5);
        bits.put(count(self.written, 4), 4);
        for &symbol in &ORDER[..self.written] {
            bits.put(u32::from(self.codes[symbol].len_bits), 3);
        }
        for item in &self.items {
            let code = self.codes[usize::from(item.symbol)];
            bits.put(u32::from(code.bits), u32::from(code.len_bits));
            bits.put(item.extra, item.extra_bits());
        }
    }
}

impl Item {
    fn extra_bits(self) -> u32 {
        match self.symbol {
            REPEAT => 2,
            ZEROS => 3,
            MANY_ZEROS => 7,
            _ => 0,
        }
    }
}

/// Writes lengths as runs: the longest run that fits, as long as three or more are left.
fn run_lengths(lengths: impl Iterator<Item = u8>) -> Vec<Item> {
    let mut lengths = lengths.peekable();
    let mut items = Vec::new();
    while let Some(length) = lengths.next() {
        let mut count = 1;
        while lengths.next_if_eq(&length).is_some() {
            count += 1;
        }
        if length == 0 {
            take_runs(&mut items, &mut count, MANY_ZEROS, 11, 138);
            take_runs(&mut items, &mut count, ZEROS, 3, 10);
        } else {
            items.push(Item { symbol: length, extra: 0 });
            count -= 1;
            take_runs(&mut items, &mut count, REPEAT, 3, 6);
        }
        items.extend((0..count).map(|_| Item { symbol: length, extra: 0 }));
    }
    items
}

/// Takes runs of `least` to `most` from `count`.
fn take_runs(items: &mut Vec<Item>, count: &mut u32, symbol: u8, least: u32, most: u32) {
    while *count >= least {
        let run = most.min(*count);
        items.push(Item { symbol, extra: run - least });
        *count -= run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_greedily_and_what_is_too_short_is_spelled_out() {
        let lengths = [[0; 149].as_slice(), &[5; 9], &[0; 3], &[4, 4]].concat();
        let expected =
            [(18, 127), (18, 0), (5, 0), (16, 3), (5, 0), (5, 0), (17, 0), (4, 0), (4, 0)];
        let items = expected.map(|(symbol, extra)| Item { symbol, extra });
        assert_eq!(run_lengths(lengths.into_iter()), items);
    }
}
