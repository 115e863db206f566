//! Chooses how a block is written, as Go does, and writes it.
//!
//! In:   the tokens of a block, and the bytes they stand for.
//! Out:  a stored, fixed or dynamic block, never marked as the last; at the end, an empty
//!       stored block that is.
//! Go weighs blocks in two ways. At levels 2 to 9 the smallest of the three is taken, a stored
//! one only when it is smaller than both. At level 1 a block is dynamic, unless a stored one
//! would be less than 17/16 of its size; there the extra bits of copies are not counted.
//!
//! Held in memory: at most one written block (about 100 KiB) and the bytes not yet drained.

use std::io;

use super::bits::BitWriter;
use super::header::Header;
use super::huffman::{Code, assign_codes, number_codes, total_bits};
use super::token::{
    Coded, DISTANCES, END_OF_BLOCK, FIRST_LENGTH, Kind, LENGTH_EXTRA_BITS, LITERALS, Token,
    distance_extra_bits,
};

/// The longest stored block, in bytes.
const STORED_LEN_BYTES_MAX: usize = 65535;

/// The longest code for literals, lengths and distances, in bits.
const LEN_BITS_MAX: usize = 15;

/// A code for each literal and length, and one for each distance.
#[derive(Debug)]
struct Codes {
    literals: [Code; LITERALS],
    distances: [Code; DISTANCES],
}

/// How often each symbol of a block occurs.
#[derive(Debug)]
struct Frequencies {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

/// A writer of blocks on top of a writer of bytes.
#[derive(Debug)]
pub struct BlockWriter<W> {
    bits: BitWriter<W>,
    fixed: Codes,
}

impl<W: io::Write> BlockWriter<W> {
    pub fn new(out: W) -> Self {
        Self { bits: BitWriter::new(out), fixed: Codes::fixed() }
    }

    /// Writes a block of levels 2 to 9 in its smallest form.
    ///
    /// `plain` is what `tokens` stand for, or `None` when the start of it is no longer at hand
    /// and the block cannot be stored.
    pub fn write_smallest(&mut self, tokens: &[Token], plain: Option<&[u8]>) -> io::Result<()> {
        let frequencies = Frequencies::of_tokens(tokens);
        let dynamic = Codes::for_block(&frequencies);
        let header = dynamic.header(&frequencies);
        let dynamic_bits = header.size_bits() + dynamic.size_bits(&frequencies);
        let fixed_bits = 3 + self.fixed.size_bits(&frequencies);
        let coded_bits = dynamic_bits.min(fixed_bits) + frequencies.extra_bits();
        match plain {
            Some(plain)
                if plain.len() <= STORED_LEN_BYTES_MAX && stored_bits(plain) < coded_bits =>
            {
                self.put_stored(plain, false);
            }
            _ if dynamic_bits < fixed_bits => {
                header.write(&mut self.bits);
                put_tokens(&mut self.bits, tokens, &dynamic);
            }
            _ => {
                self.bits.put(0b010, 3);
                put_tokens(&mut self.bits, tokens, &self.fixed);
            }
        }
        self.bits.drain()
    }

    /// Writes a block of level 1: dynamic, unless storing costs little more.
    ///
    /// `plain` is at most [`STORED_LEN_BYTES_MAX`] long.
    pub fn write_dynamic(&mut self, tokens: &[Token], plain: &[u8]) -> io::Result<()> {
        self.write_worthwhile(&Frequencies::of_tokens(tokens), plain, |bits, codes| {
            put_tokens(bits, tokens, codes);
        })
    }

    /// Writes a block of level 1 without copies: dynamic, unless storing costs little more.
    ///
    /// `plain` is at most [`STORED_LEN_BYTES_MAX`] long.
    pub fn write_literals(&mut self, plain: &[u8]) -> io::Result<()> {
        self.write_worthwhile(&Frequencies::of_literals(plain), plain, |bits, codes| {
            for &byte in plain {
                put_code(bits, codes.literals[usize::from(byte)]);
            }
            put_code(bits, codes.literals[END_OF_BLOCK]);
        })
    }

    /// Writes a stored block of at most [`STORED_LEN_BYTES_MAX`].
    pub fn write_stored(&mut self, plain: &[u8]) -> io::Result<()> {
        self.put_stored(plain, false);
        self.bits.drain()
    }

    /// Ends the stream with an empty stored block and returns the byte stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.put_stored(&[], true);
        self.bits.finish()
    }

    /// Passes a flush on, without what is held back here.
    pub fn flush_out(&mut self) -> io::Result<()> {
        self.bits.flush_out()
    }

    fn write_worthwhile(
        &mut self,
        frequencies: &Frequencies,
        plain: &[u8],
        put_symbols: impl FnOnce(&mut BitWriter<W>, &Codes),
    ) -> io::Result<()> {
        let codes = Codes::for_block(frequencies);
        let header = codes.header(frequencies);
        let dynamic_bits = header.size_bits() + codes.size_bits(frequencies);
        if stored_bits(plain) < dynamic_bits + dynamic_bits / 16 {
            self.put_stored(plain, false);
        } else {
            header.write(&mut self.bits);
            put_symbols(&mut self.bits, &codes);
        }
        self.bits.drain()
    }

    fn put_stored(&mut self, plain: &[u8], last: bool) {
        let len = u16::try_from(plain.len()).expect("no caller stores more than 65535 bytes");
        self.bits.put(u32::from(last), 3);
        self.bits.put_bytes(&len.to_le_bytes());
        self.bits.put_bytes(&(!len).to_le_bytes());
        self.bits.put_bytes(plain);
    }
}

impl Frequencies {
    fn of_tokens(tokens: &[Token]) -> Self {
        let mut frequencies = Self { literals: [0; LITERALS], distances: [0; DISTANCES] };
        for token in tokens {
            match token.kind() {
                Kind::Literal(byte) => frequencies.literals[usize::from(byte)] += 1,
                Kind::Copy { length, distance } => {
                    frequencies.literals[length.symbol] += 1;
                    frequencies.distances[distance.symbol] += 1;
                }
            }
        }
        frequencies.close()
    }

    fn of_literals(plain: &[u8]) -> Self {
        let mut frequencies = Self { literals: [0; LITERALS], distances: [0; DISTANCES] };
        for &byte in plain {
            frequencies.literals[usize::from(byte)] += 1;
        }
        frequencies.close()
    }

    /// Counts the end of the block, and one distance when there is none: its alphabet may not
    /// be empty. Go counts that one in every size, also in the fixed one.
    fn close(mut self) -> Self {
        self.literals[END_OF_BLOCK] = 1;
        if self.distances == [0; DISTANCES] {
            self.distances[0] = 1;
        }
        self
    }

    /// Extra bits of all lengths and distances: the same in fixed and dynamic blocks.
    fn extra_bits(&self) -> usize {
        let lengths = self.literals[FIRST_LENGTH..]
            .iter()
            .zip(LENGTH_EXTRA_BITS)
            .map(|(&count, extra_bits)| count as usize * usize::from(extra_bits));
        let distances = self
            .distances
            .iter()
            .enumerate()
            .map(|(symbol, &count)| count as usize * distance_extra_bits(symbol));
        lengths.chain(distances).sum()
    }
}

impl Codes {
    /// The fixed codes of RFC 1951, section 3.2.6, without the symbols that never occur.
    fn fixed() -> Self {
        let mut lengths = [8; LITERALS + 2];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        let mut literals = [Code::default(); LITERALS + 2];
        number_codes(&lengths, &mut literals);
        let mut codes = Self::none();
        codes.literals.copy_from_slice(&literals[..LITERALS]);
        number_codes(&[5; DISTANCES], &mut codes.distances);
        codes
    }

    fn for_block(frequencies: &Frequencies) -> Self {
        let mut codes = Self::none();
        assign_codes(&frequencies.literals, LEN_BITS_MAX, &mut codes.literals);
        assign_codes(&frequencies.distances, LEN_BITS_MAX, &mut codes.distances);
        codes
    }

    fn none() -> Self {
        Self { literals: [Code::default(); LITERALS], distances: [Code::default(); DISTANCES] }
    }

    /// The head that describes these codes, up to the last symbol of either kind that occurs.
    fn header(&self, frequencies: &Frequencies) -> Header {
        Header::new(
            &self.literals[..used(&frequencies.literals)],
            &self.distances[..used(&frequencies.distances)],
        )
    }

    /// The size of all symbols in bits, without extra bits.
    fn size_bits(&self, frequencies: &Frequencies) -> usize {
        total_bits(&frequencies.literals, &self.literals)
            + total_bits(&frequencies.distances, &self.distances)
    }
}

/// One more than the last symbol that occurs.
fn used(frequencies: &[u32]) -> usize {
    frequencies.iter().rposition(|&frequency| frequency != 0).map_or(0, |last| last + 1)
}

/// The size Go expects of a stored block: its head counts as five whole bytes.
fn stored_bits(plain: &[u8]) -> usize {
    8 * (plain.len() + 5)
}

fn put_tokens<W: io::Write>(bits: &mut BitWriter<W>, tokens: &[Token], codes: &Codes) {
    for token in tokens {
        match token.kind() {
            Kind::Literal(byte) => put_code(bits, codes.literals[usize::from(byte)]),
            Kind::Copy { length, distance } => {
                put_coded(bits, &codes.literals, length);
                put_coded(bits, &codes.distances, distance);
            }
        }
    }
    put_code(bits, codes.literals[END_OF_BLOCK]);
}

fn put_coded<W: io::Write>(bits: &mut BitWriter<W>, codes: &[Code], coded: Coded) {
    put_code(bits, codes[coded.symbol]);
    bits.put(coded.extra, coded.extra_bits);
}

fn put_code<W: io::Write>(bits: &mut BitWriter<W>, code: Code) {
    bits.put(u32::from(code.bits), u32::from(code.len_bits));
}
