//! The head of a dynamic block: the code lengths and how the encoder wrote them (RFC 1951,
//! section 3.2.7).
//!
//! In and out: the bits of the head, or its puffed form, which is bytes: HLIT, HDIST, HCLEN,
//! the lengths of the code length code as stored, and one byte for each symbol of that code.
//! Both directions refuse what zlib refuses.
//!
//! A symbol's byte is 0-15: that length; 16-19: the last length 3-6 times; 20-27: no code
//! 3-10 times; 28-155: no code 11-138 times.

use super::Fault;
use super::bits::{BitReader, BitWriter};
use super::huffman::{Decoder, Encoder, Incomplete};
use super::section::Section;
use super::symbols::{CODE_LENGTH_ORDER, END_OF_BLOCK};

const HLIT_MAX: u8 = 29; // 286 codes
const HDIST_MAX: u8 = 29; // 30 codes
const LENGTHS_MAX: usize = 286 + 30;

/// The code lengths of a block.
pub(super) struct CodeLengths {
    lengths: [u8; LENGTHS_MAX],
    literal_codes: usize,
    all_codes: usize,
    known: usize,
}

impl CodeLengths {
    fn new(hlit: u8, hdist: u8) -> Result<Self, Fault> {
        if hlit > HLIT_MAX || hdist > HDIST_MAX {
            return Err(Fault::TooManyCodes);
        }
        let literal_codes = usize::from(hlit) + 257;
        let all_codes = literal_codes + usize::from(hdist) + 1;
        Ok(Self { lengths: [0; LENGTHS_MAX], literal_codes, all_codes, known: 0 })
    }

    /// The lengths of a fixed block (RFC 1951, section 3.2.6).
    pub(super) fn fixed() -> ([u8; 288], [u8; 32]) {
        let mut literals = [8; 288];
        literals[144..256].fill(9);
        literals[256..280].fill(7);
        (literals, [5; 32])
    }

    fn is_full(&self) -> bool {
        self.known == self.all_codes
    }

    fn push(&mut self, step: u8) -> Result<(), Fault> {
        let (length, times) = match step {
            0..=15 => (step, 1),
            16..=19 => {
                let last = self.known.checked_sub(1).ok_or(Fault::BadCodeLengths)?;
                (self.lengths[last], usize::from(step) - 13)
            }
            20..=27 => (0, usize::from(step) - 17),
            28..=155 => (0, usize::from(step) - 17),
            156.. => return Err(Fault::BadCodeLengths),
        };
        let end = self.known + times;
        if end > self.all_codes {
            return Err(Fault::BadCodeLengths);
        }
        self.lengths[self.known..end].fill(length);
        self.known = end;
        Ok(())
    }

    /// Literal/length code lengths and distance code lengths.
    pub(super) fn split(&self) -> Result<(&[u8], &[u8]), Fault> {
        let (literals, distances) = self.lengths[..self.all_codes].split_at(self.literal_codes);
        if literals[usize::from(END_OF_BLOCK)] == 0 {
            return Err(Fault::BadCodeLengths);
        }
        Ok((literals, distances))
    }
}

/// Symbol, extra value and extra bits of a step.
fn step_symbol(step: u8) -> (u16, u8, u32) {
    match step {
        0..=15 => (u16::from(step), 0, 0),
        16..=19 => (16, step - 16, 2),
        20..=27 => (17, step - 20, 3),
        28.. => (18, step - 28, 7),
    }
}

fn read_step(decoder: &Decoder, bits: &mut BitReader<'_>) -> Result<u8, Fault> {
    bits.refill();
    let symbol = decoder.take(bits)?;
    let (first, extra_bits) = match symbol {
        16 => (16, 2),
        17 => (20, 3),
        18 => (28, 7),
        length => (length, 0),
    };
    let [step, _] = (first + bits.take_held(extra_bits)?).to_le_bytes(); // at most 155
    Ok(step)
}

fn take_byte(bits: &mut BitReader<'_>, width: u32) -> Result<u8, Fault> {
    let [byte, _] = bits.take(width)?.to_le_bytes();
    Ok(byte)
}

/// Takes the head from `bits` and appends its puffed form to `puffed`.
pub(super) fn puff_head(
    bits: &mut BitReader<'_>,
    puffed: &mut Vec<u8>,
) -> Result<CodeLengths, Fault> {
    let (hlit, hdist) = (take_byte(bits, 5)?, take_byte(bits, 5)?);
    let hclen = take_byte(bits, 4)?;
    let mut known = CodeLengths::new(hlit, hdist)?;
    puffed.extend([hlit, hdist, hclen]);
    let mut code_lengths = [0; 19];
    for &at in &CODE_LENGTH_ORDER[..usize::from(hclen) + 4] {
        code_lengths[at] = take_byte(bits, 3)?;
        puffed.push(code_lengths[at]);
    }
    let decoder = Decoder::new(&code_lengths, Incomplete::Refused)?;
    while !known.is_full() {
        let step = read_step(&decoder, bits)?;
        known.push(step)?;
        puffed.push(step);
    }
    Ok(known)
}

/// Takes a puffed head and writes its bits.
pub(super) fn unpuff_head(
    puffed: &mut Section<'_>,
    bits: &mut BitWriter,
) -> Result<CodeLengths, Fault> {
    let [hlit, hdist, hclen] = puffed.take_array()?;
    let mut known = CodeLengths::new(hlit, hdist)?;
    if hclen > 15 {
        return Err(Fault::TooManyCodes);
    }
    bits.put(u64::from(hlit) | u64::from(hdist) << 5 | u64::from(hclen) << 10, 14);
    let mut code_lengths = [0; 19];
    for &at in &CODE_LENGTH_ORDER[..usize::from(hclen) + 4] {
        let [length] = puffed.take_array()?;
        if length > 7 {
            return Err(Fault::BadCodeLengths);
        }
        code_lengths[at] = length;
        bits.put(u64::from(length), 3);
    }
    let encoder = Encoder::new(&code_lengths, Incomplete::Refused)?;
    while !known.is_full() {
        let [step] = puffed.take_array()?;
        known.push(step)?;
        let (symbol, extra, extra_bits) = step_symbol(step);
        encoder.put(symbol, bits)?;
        bits.put(u64::from(extra), extra_bits);
    }
    Ok(known)
}
