//! The symbols of deflate and what they stand for (RFC 1951, sections 3.2.5 to 3.2.7).
//!
//! In and out: lengths of 3 to 258 bytes and distances of 1 to 32768 bytes, and the symbols
//! with extra bits that stand for them. Nothing else is ever returned.

pub(super) const END_OF_BLOCK: u16 = 256;
pub(super) const COPY_LEN_MIN: u16 = 3;
pub(super) const COPY_LEN_MAX: u16 = 258;
/// Stands for 258 written as symbol 284 with extra bits 31, which says the same as 285.
pub(super) const COPY_LEN_258_LONG: u16 = 259;

/// In which order the lengths of the code length code are stored.
pub(super) const CODE_LENGTH_ORDER: [usize; 19] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// By symbol less 257: the least length and the number of extra bits.
const LENGTHS: [(u16, u8); 29] = {
    let mut table = [(258, 0); 29];
    let (mut symbol, mut base) = (0_u8, 3_u16);
    while symbol < 28 {
        let extra = if symbol < 8 { 0 } else { (symbol - 4) / 4 };
        table[symbol as usize] = (base, extra);
        base += 1 << extra;
        symbol += 1;
    }
    table
};

/// By symbol: the least distance less 1, and the number of extra bits.
const DISTANCES: [(u16, u8); 30] = {
    let mut table = [(0, 0); 30];
    let (mut symbol, mut base) = (0_u8, 0_u16);
    while symbol < 30 {
        let extra = if symbol < 4 { 0 } else { (symbol - 2) / 2 };
        table[symbol as usize] = (base, extra);
        base = base.wrapping_add(1 << extra);
        symbol += 1;
    }
    table
};

/// By length less 3: its symbol less 257.
const LENGTH_SYMBOLS: [u8; 257] = {
    let mut table = [28; 257];
    let mut symbol = 0_u8;
    while symbol < 28 {
        let mut at = (LENGTHS[symbol as usize].0 - 3) as usize;
        let end = at + (1 << LENGTHS[symbol as usize].1);
        while at < end && at < 255 {
            table[at] = symbol;
            at += 1;
        }
        symbol += 1;
    }
    table[256] = 27;
    table
};

/// The least length and the extra bits of a literal/length symbol from 257 on.
#[inline]
pub(super) fn length_of(symbol: u16) -> Option<(u16, u8)> {
    LENGTHS.get(usize::from(symbol.checked_sub(257)?)).copied()
}

/// The least distance less 1, and the extra bits of a distance symbol.
#[inline]
pub(super) fn distance_of(symbol: u16) -> Option<(u16, u8)> {
    DISTANCES.get(usize::from(symbol)).copied()
}

/// Symbol, extra value and extra bits of a length of 3 to 259 ([`COPY_LEN_258_LONG`]).
#[inline]
pub(super) fn length_symbol(len: u16) -> Option<(u16, u16, u8)> {
    let at = len.checked_sub(COPY_LEN_MIN)?;
    let symbol = *LENGTH_SYMBOLS.get(usize::from(at))?;
    let (base, extra) = LENGTHS[usize::from(symbol)];
    let value = if len == COPY_LEN_258_LONG { 31 } else { len - base };
    Some((u16::from(symbol) + 257, value, extra))
}

/// Symbol, extra value and extra bits of a distance less 1, if it is below 32768.
#[inline]
pub(super) fn distance_symbol(distance_less_1: u16) -> Option<(u16, u16, u8)> {
    if distance_less_1 < 4 {
        return Some((distance_less_1, 0, 0));
    }
    let top = 15 - distance_less_1.leading_zeros();
    let half = distance_less_1 >> (top - 1) & 1;
    let symbol = u16::try_from(top).ok()? * 2 + half;
    let (base, extra) = distance_of(symbol)?;
    Some((symbol, distance_less_1 - base, extra))
}
