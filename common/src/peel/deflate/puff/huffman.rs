//! Canonical Huffman codes of deflate (RFC 1951, section 3.2.2).
//!
//! In:   the code length of every symbol, 0 to 15 bits.
//! Out:  a [`Decoder`] or an [`Encoder`]; lengths that zlib would refuse are refused.

use super::bits::{BitReader, BitWriter, OutOfBits};

const CODE_BITS_MAX: usize = 15;
/// Codes up to this length are found with one look; longer ones are rare.
const LOOK_BITS: u32 = 11;

/// The code lengths are no prefix code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadCode;

/// Which incomplete codes are let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Incomplete {
    Refused,
    /// A single code of one bit, or no code at all: what zlib accepts for distances, and
    /// for literals when end-of-block stands alone.
    Single,
}

/// Why no symbol could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoSymbol {
    OutOfBits,
    Unassigned,
}

impl From<OutOfBits> for NoSymbol {
    fn from(OutOfBits: OutOfBits) -> Self {
        Self::OutOfBits
    }
}

fn count_lengths(lengths: &[u8]) -> [u16; CODE_BITS_MAX + 1] {
    let mut counts = [0; CODE_BITS_MAX + 1];
    for &length in lengths {
        counts[usize::from(length & 15)] += 1;
    }
    counts[0] = 0;
    counts
}

fn check_complete(counts: &[u16; 16], incomplete: Incomplete) -> Result<(), BadCode> {
    let mut left = 1_i32;
    for &count in &counts[1..] {
        left = left * 2 - i32::from(count);
        if left < 0 {
            return Err(BadCode);
        }
    }
    let longer_than_one = counts[2..].iter().any(|&count| count != 0);
    if left > 0 && (incomplete == Incomplete::Refused || longer_than_one) {
        return Err(BadCode);
    }
    Ok(())
}

/// The first code of every length.
fn first_codes(counts: &[u16; 16]) -> [u16; 16] {
    let mut first = [0; 16];
    for bits in 1..16 {
        // Fits: a code that is not over-subscribed stays below 2^15.
        first[bits] = (first[bits - 1] + counts[bits - 1]) << 1;
    }
    first
}

/// Calls `each(symbol, code with its first bit lowest, bits)` for every symbol in use.
fn each_code(lengths: &[u8], counts: &[u16; 16], mut each: impl FnMut(u16, u16, u8)) {
    let mut next = first_codes(counts);
    for (symbol, &length) in (0_u16..).zip(lengths) {
        if length != 0 {
            let code = &mut next[usize::from(length & 15)];
            each(symbol, code.reverse_bits() >> (16 - length), length);
            *code = code.wrapping_add(1); // past the last code of 15 bits nothing is read
        }
    }
}

/// Turns codes into symbols.
pub(super) struct Decoder {
    /// By the next bits: symbol * 16 + bits, or 0 for a longer or an unassigned code.
    look: Box<[u16; 1 << LOOK_BITS]>,
    counts: [u16; CODE_BITS_MAX + 1],
    /// Symbols in the order of their codes.
    by_code: Vec<u16>,
}

impl Decoder {
    /// Takes at most 288 lengths of at most 15.
    pub(super) fn new(lengths: &[u8], incomplete: Incomplete) -> Result<Self, BadCode> {
        let counts = count_lengths(lengths);
        check_complete(&counts, incomplete)?;
        let mut look = Box::new([0; 1 << LOOK_BITS]);
        each_code(lengths, &counts, |symbol, code, bits| {
            if u32::from(bits) <= LOOK_BITS {
                let entry = symbol << 4 | u16::from(bits);
                for at in (usize::from(code)..look.len()).step_by(1 << bits) {
                    look[at] = entry;
                }
            }
        });
        let mut by_code: Vec<u16> = Vec::with_capacity(lengths.len());
        for bits in 1..=15 {
            let of_bits = (0_u16..).zip(lengths).filter(|&(_, &length)| length == bits);
            by_code.extend(of_bits.map(|(symbol, _)| symbol));
        }
        Ok(Self { look, counts, by_code })
    }

    /// Takes one symbol; `bits` must have been refilled.
    #[inline]
    pub(super) fn take(&self, bits: &mut BitReader<'_>) -> Result<u16, NoSymbol> {
        let [low, high, ..] = bits.held().to_le_bytes();
        let at = u16::from_le_bytes([low, high]) & ((1 << LOOK_BITS) - 1);
        let entry = self.look[usize::from(at)];
        if entry == 0 {
            return self.take_long(bits);
        }
        bits.skip(u32::from(entry & 15))?;
        Ok(entry >> 4)
    }

    #[cold]
    fn take_long(&self, bits: &mut BitReader<'_>) -> Result<u16, NoSymbol> {
        let held = bits.held();
        let (mut code, mut first, mut before) = (0_u32, 0_u32, 0_u32);
        for length in 1..=15_u32 {
            code = code << 1 | u32::from(held >> (length - 1) & 1 == 1);
            let count = u32::from(self.counts[length as usize]);
            if code < first + count {
                bits.skip(length)?;
                let at = (before + code - first) as usize;
                return self.by_code.get(at).copied().ok_or(NoSymbol::Unassigned);
            }
            before += count;
            first = (first + count) << 1;
        }
        // An end of input is told apart only where it cannot be a code at all.
        bits.clone().skip(15)?;
        Err(NoSymbol::Unassigned)
    }
}

/// Turns symbols into codes.
pub(super) struct Encoder {
    /// By symbol: the code with its first bit lowest, and its length; 0 bits: no code.
    codes: [(u16, u8); 288],
}

impl Encoder {
    /// Takes at most 288 lengths of at most 15.
    pub(super) fn new(lengths: &[u8], incomplete: Incomplete) -> Result<Self, BadCode> {
        let counts = count_lengths(lengths);
        check_complete(&counts, incomplete)?;
        let mut codes = [(0, 0); 288];
        each_code(lengths, &counts, |symbol, code, bits| {
            if let Some(slot) = codes.get_mut(usize::from(symbol)) {
                *slot = (code, bits);
            }
        });
        Ok(Self { codes })
    }

    /// Writes the code of `symbol`, if it has one.
    #[inline]
    pub(super) fn put(&self, symbol: u16, bits: &mut BitWriter) -> Result<(), BadCode> {
        let &(code, width) = self.codes.get(usize::from(symbol)).ok_or(BadCode)?;
        if width == 0 {
            return Err(BadCode);
        }
        bits.put(u64::from(code), u32::from(width));
        Ok(())
    }
}
