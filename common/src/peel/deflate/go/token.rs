//! What matching hands to block writing: literals and copies, and their symbols.
//!
//! In:   bytes, or lengths of 3 to 258 with distances of 1 to 32768.
//! Out:  a [`Token`] of four bytes; the symbol and the extra bits of its length and distance.
//! Pure: tables and shifts. Source: RFC 1951, section 3.2.5.

/// Symbols of the literal and length alphabet: 256 bytes, the end of a block, 29 lengths.
pub const LITERALS: usize = 286;
/// Symbols of the distance alphabet.
pub const DISTANCES: usize = 30;
/// The symbol that ends a block.
pub const END_OF_BLOCK: usize = 256;
/// The symbol of the shortest length.
pub const FIRST_LENGTH: usize = 257;

/// The shortest length that deflate can write, in bytes.
const LENGTH_MIN: u32 = 3;

/// Extra bits of each length symbol.
pub const LENGTH_EXTRA_BITS: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// Shortest length of each length symbol, less [`LENGTH_MIN`].
const LENGTH_BASE: [u8; 29] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128,
    160, 192, 224, 255,
];

/// The length symbol, from 0, of each length less [`LENGTH_MIN`].
const LENGTH_SYMBOL: [u8; 256] = length_symbols();

const fn length_symbols() -> [u8; 256] {
    let mut symbols = [0; 256];
    let mut length = 0;
    let mut symbol: u8 = 0;
    while length < 256 {
        if (symbol as usize) < 28 && length >= LENGTH_BASE[symbol as usize + 1] as usize {
            symbol += 1;
        }
        symbols[length] = symbol;
        length += 1;
    }
    symbols
}

/// A literal or a copy, packed: bit 31 marks a copy, whose bits 15 to 22 hold the length less
/// 3 and bits 0 to 14 the distance less 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(u32);

const COPY: u32 = 1 << 31;
const LENGTH_SHIFT: u32 = 15;
const DISTANCE_MASK: u32 = (1 << LENGTH_SHIFT) - 1;

/// A length or a distance as it is written: a symbol, then `extra_bits` bits of `extra`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coded {
    /// Counted from 0 for distances and from [`FIRST_LENGTH`] for lengths.
    pub symbol: usize,
    pub extra: u32,
    pub extra_bits: u32,
}

/// A [`Token`] taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Literal(u8),
    Copy { length: Coded, distance: Coded },
}

impl Token {
    pub fn literal(byte: u8) -> Self {
        Self(u32::from(byte))
    }

    /// A copy of `length` bytes, 3 to 258, from `distance` bytes back, 1 to 32768.
    pub fn copy(length: u32, distance: u32) -> Self {
        Self(COPY | (length - LENGTH_MIN) << LENGTH_SHIFT | (distance - 1))
    }

    #[inline]
    pub fn kind(self) -> Kind {
        let [low, ..] = self.0.to_le_bytes();
        if self.0 & COPY == 0 {
            return Kind::Literal(low);
        }
        let [length, ..] = (self.0 >> LENGTH_SHIFT).to_le_bytes();
        Kind::Copy { length: code_length(length), distance: code_distance(self.0 & DISTANCE_MASK) }
    }
}

/// Codes a length, given less [`LENGTH_MIN`].
#[inline]
fn code_length(length: u8) -> Coded {
    let index = usize::from(LENGTH_SYMBOL[usize::from(length)]);
    Coded {
        symbol: FIRST_LENGTH + index,
        extra: u32::from(length - LENGTH_BASE[index]),
        extra_bits: u32::from(LENGTH_EXTRA_BITS[index]),
    }
}

/// Codes a distance, given less 1.
///
/// From 4 on, each power of two has two symbols, told apart by the bit below the highest.
#[inline]
fn code_distance(distance: u32) -> Coded {
    if distance < 4 {
        return Coded { symbol: distance as usize, extra: 0, extra_bits: 0 };
    }
    let extra_bits = distance.ilog2() - 1;
    Coded {
        symbol: (2 * extra_bits + (distance >> extra_bits)) as usize,
        extra: distance & ((1 << extra_bits) - 1),
        extra_bits,
    }
}

/// Extra bits of a distance symbol.
pub fn distance_extra_bits(symbol: usize) -> usize {
    (symbol / 2).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(length: [u32; 3], distance: [u32; 3]) -> Kind {
        let coded = |[symbol, extra, extra_bits]: [u32; 3]| Coded {
            symbol: symbol as usize,
            extra,
            extra_bits,
        };
        Kind::Copy { length: coded(length), distance: coded(distance) }
    }

    #[test]
    fn lengths_and_distances_at_the_ends_of_their_ranges_get_the_symbols_of_the_rfc() {
        assert_eq!(Token::literal(255).kind(), Kind::Literal(255));
        assert_eq!(Token::copy(3, 1).kind(), copy([257, 0, 0], [0, 0, 0]));
        assert_eq!(Token::copy(10, 4).kind(), copy([264, 0, 0], [3, 0, 0]));
        assert_eq!(Token::copy(12, 6).kind(), copy([265, 1, 1], [4, 1, 1]));
        assert_eq!(Token::copy(257, 24577).kind(), copy([284, 30, 5], [29, 0, 13]));
        assert_eq!(Token::copy(258, 32768).kind(), copy([285, 0, 0], [29, 8191, 13]));
    }
}
