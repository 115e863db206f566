//! Makes length-limited Huffman codes, with Go's choice among equally good ones.
//!
//! In:   how often each symbol occurs, and the longest code allowed, in bits.
//! Out:  a [`Code`] for each symbol, canonical as RFC 1951, section 3.2.2 wants it.
//! Pure. The lengths come from package-merge (Larmore and Hirschberg 1990); what makes them
//! Go's are three rules: symbols of equal frequency are taken in their own order, a package
//! goes before a symbol of the same weight, and one or two symbols get one bit each.

/// The longest code of any alphabet, in bits.
const LEN_BITS_MAX: usize = 15;

/// The code of a symbol, ready to be written lowest bit first; a length of 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Code {
    pub bits: u16,
    pub len_bits: u8,
}

/// Gives every symbol that occurs a code of at most `limit_bits`, in place.
///
/// `frequencies` and `codes` have the same length, at most 286; `limit_bits` is at most 15 and
/// enough for that many symbols.
pub fn assign_codes(frequencies: &[u32], limit_bits: usize, codes: &mut [Code]) {
    codes.fill(Code::default());
    let mut symbols: Vec<(u32, usize)> = frequencies
        .iter()
        .enumerate()
        .filter(|&(_, &frequency)| frequency != 0)
        .map(|(symbol, &frequency)| (frequency, symbol))
        .collect();
    if symbols.len() <= 2 {
        for (bits, &(_, symbol)) in (0..).zip(&symbols) {
            codes[symbol] = Code { bits, len_bits: 1 };
        }
        return;
    }
    symbols.sort_unstable();
    let weights: Vec<u32> = symbols.iter().map(|&(weight, _)| weight).collect();
    let counts = count_lengths(&weights, limit_bits);
    let mut rarest = symbols.len();
    let mut lengths = vec![0; codes.len()];
    for (len_bits, &count) in (0..).zip(&counts) {
        for &(_, symbol) in &symbols[rarest - count..rarest] {
            lengths[symbol] = len_bits;
        }
        rarest -= count;
    }
    number_codes(&lengths, codes);
}

/// How many bits all symbols take under `codes`, without extra bits.
pub fn total_bits(frequencies: &[u32], codes: &[Code]) -> usize {
    frequencies
        .iter()
        .zip(codes)
        .map(|(&frequency, code)| frequency as usize * usize::from(code.len_bits))
        .sum()
}

/// Numbers the codes of each length in the order of their symbols.
pub fn number_codes(lengths: &[u8], codes: &mut [Code]) {
    let mut counts = [0u16; LEN_BITS_MAX + 1];
    for &len_bits in lengths.iter().filter(|&&len_bits| len_bits != 0) {
        counts[usize::from(len_bits)] += 1;
    }
    let mut next = [0u16; LEN_BITS_MAX + 1];
    for len_bits in 1..=LEN_BITS_MAX {
        next[len_bits] = (next[len_bits - 1] + counts[len_bits - 1]) << 1;
    }
    for (code, &len_bits) in codes.iter_mut().zip(lengths) {
        if len_bits != 0 {
            let next = &mut next[usize::from(len_bits)];
            *code = Code { bits: next.reverse_bits() >> (16 - len_bits), len_bits };
            *next += 1;
        }
    }
}

/// How many of at least three symbols get a code of each length.
///
/// `weights` rises. The rows of package-merge run from the longest length (first) to one bit
/// (last); a row holds the symbols and the packages of two from the row before, by weight. The
/// first 2n - 2 items of the last row are taken, and of each row before it the items that the
/// packages taken stand for: a symbol's length is the number of rows it was taken from.
fn count_lengths(weights: &[u32], limit_bits: usize) -> [usize; LEN_BITS_MAX + 1] {
    let rows = limit_bits.min(weights.len() - 1);
    let mut is_symbol: Vec<Vec<bool>> = Vec::with_capacity(rows);
    let mut row = Vec::new();
    for _ in 0..rows {
        let (merged, kinds) = merge_row(weights, &row);
        row = merged;
        is_symbol.push(kinds);
    }
    let mut counts = [0; LEN_BITS_MAX + 1];
    let mut taken = 2 * weights.len() - 2;
    let mut as_long = None;
    for (len_bits, kinds) in is_symbol.iter().rev().enumerate() {
        let symbols = kinds.iter().take(taken).filter(|&&is_symbol| is_symbol).count();
        if let Some(as_long) = as_long.replace(symbols) {
            counts[len_bits] = as_long - symbols;
        }
        taken = 2 * (taken - symbols);
    }
    counts[rows] = as_long.unwrap_or(0);
    counts
}

/// Merges the symbols with the packages of `longer`, and tells which items are symbols.
fn merge_row(weights: &[u32], longer: &[u32]) -> (Vec<u32>, Vec<bool>) {
    let mut packages = longer.chunks_exact(2).map(|pair| pair[0] + pair[1]).peekable();
    let mut symbols = weights.iter().copied().peekable();
    let len = weights.len() + longer.len() / 2;
    let (mut row, mut kinds) = (Vec::with_capacity(len), Vec::with_capacity(len));
    loop {
        let symbol_is_next = match (symbols.peek(), packages.peek()) {
            (Some(symbol), Some(package)) => symbol < package,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return (row, kinds),
        };
        row.extend(if symbol_is_next { symbols.next() } else { packages.next() });
        kinds.push(symbol_is_next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(frequencies: &[u32], limit_bits: usize) -> Vec<u8> {
        let mut codes = vec![Code::default(); frequencies.len()];
        assign_codes(frequencies, limit_bits, &mut codes);
        codes.iter().map(|code| code.len_bits).collect()
    }

    #[test]
    fn one_or_two_symbols_get_one_bit_each() {
        assert_eq!(lengths(&[0, 7, 0], 15), [0, 1, 0]);
        assert_eq!(lengths(&[9, 0, 1], 15), [1, 0, 1]);
    }

    #[test]
    fn codes_of_one_length_are_numbered_in_the_order_of_their_symbols() {
        let mut codes = [Code::default(); 4];
        assign_codes(&[1, 4, 2, 1], 15, &mut codes);
        let expected = [(0b011, 3), (0b0, 1), (0b01, 2), (0b111, 3)];
        assert_eq!(codes, expected.map(|(bits, len_bits)| Code { bits, len_bits }));
    }

    #[test]
    fn a_limit_shortens_the_longest_codes() {
        assert_eq!(lengths(&[1, 1, 2, 4, 8, 16], 15), [5, 5, 4, 3, 2, 1]);
        assert_eq!(lengths(&[1, 1, 2, 4, 8, 16], 4), [4, 4, 4, 4, 2, 1]);
        assert_eq!(lengths(&[1; 5], 3), [3, 3, 2, 2, 2]);
    }
}
