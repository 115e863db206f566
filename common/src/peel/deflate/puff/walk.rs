//! Walks a raw deflate stream and names each decision of its encoder.
//!
//! In:   a raw deflate stream (RFC 1951) with anything behind it.
//! Out:  calls to a [`Decisions`], in the order of the stream, and the stream's length.
//! Must never accept what zlib refuses, nor touch bytes behind the final block.

use super::bits::BitReader;
use super::header::{CodeLengths, puff_head};
use super::huffman::{Decoder, Incomplete};
use super::symbols::{COPY_LEN_258_LONG, COPY_LEN_MAX, END_OF_BLOCK, distance_of, length_of};
use super::{Fault, PuffError};

/// What a walk reports to.
pub(super) trait Decisions {
    /// A block starts: its three header bits, and the puffed head of a dynamic block.
    fn block(&mut self, header_bits: u8, head: &[u8]) -> Result<(), PuffError>;
    /// The content of a stored block, and the bits before its length.
    fn stored(&mut self, padding: u8, content: &[u8]) -> Result<(), PuffError>;
    fn literal(&mut self, byte: u8) -> Result<(), PuffError>;
    /// A copy of 3 to 258 bytes, or [`COPY_LEN_258_LONG`].
    fn copy(&mut self, len: u16, distance_less_1: u16) -> Result<(), PuffError>;
    fn end_of_block(&mut self) -> Result<(), PuffError>;
    /// The bits after the final block.
    fn end(&mut self, padding: u8) -> Result<(), PuffError>;
}

/// Counts blocks, literals and copies, and fails beyond so many.
pub(super) struct Most {
    pub(super) blocks: usize,
    pub(super) symbols: usize,
}

impl Decisions for Most {
    fn block(&mut self, _: u8, _: &[u8]) -> Result<(), PuffError> {
        self.blocks = self.blocks.checked_sub(1).ok_or(PuffError::TooLong)?;
        Ok(())
    }

    fn stored(&mut self, _: u8, _: &[u8]) -> Result<(), PuffError> {
        Ok(())
    }

    fn literal(&mut self, _: u8) -> Result<(), PuffError> {
        self.symbols = self.symbols.checked_sub(1).ok_or(PuffError::TooLong)?;
        Ok(())
    }

    fn copy(&mut self, _: u16, _: u16) -> Result<(), PuffError> {
        self.literal(0)
    }

    fn end_of_block(&mut self) -> Result<(), PuffError> {
        Ok(())
    }

    fn end(&mut self, _: u8) -> Result<(), PuffError> {
        Ok(())
    }
}

/// Walks all blocks and returns the number of bytes they take.
pub(super) fn walk(deflated: &[u8], decisions: &mut impl Decisions) -> Result<usize, PuffError> {
    let mut bits = BitReader::new(deflated);
    loop {
        let [header_bits, _] = bits.take(3).map_err(Fault::from)?.to_le_bytes();
        match header_bits >> 1 {
            0 => walk_stored(&mut bits, header_bits, decisions)?,
            1 => {
                decisions.block(header_bits, &[])?;
                let (literals, distances) = CodeLengths::fixed();
                walk_coded(&mut bits, &literals, &distances, decisions)?;
            }
            2 => {
                let mut head = Vec::with_capacity(3 + 19 + 316);
                let lengths = puff_head(&mut bits, &mut head)?;
                let (literals, distances) = lengths.split()?;
                decisions.block(header_bits, &head)?;
                walk_coded(&mut bits, literals, distances, decisions)?;
            }
            _ => return Err(Fault::ReservedBlock.into()),
        }
        if header_bits & 1 == 1 {
            decisions.end(bits.take_padding().map_err(Fault::from)?)?;
            return Ok(bits.position());
        }
    }
}

fn walk_stored(
    bits: &mut BitReader<'_>,
    header_bits: u8,
    decisions: &mut impl Decisions,
) -> Result<(), PuffError> {
    decisions.block(header_bits, &[])?;
    let padding = bits.take_padding().map_err(Fault::from)?;
    let len = bits.take(16).map_err(Fault::from)?;
    let inverted = bits.take(16).map_err(Fault::from)?;
    if len != !inverted {
        return Err(Fault::StoredLength.into());
    }
    let content = bits.take_bytes(usize::from(len)).map_err(Fault::from)?;
    decisions.stored(padding, content)
}

fn walk_coded(
    bits: &mut BitReader<'_>,
    literals: &[u8],
    distances: &[u8],
    decisions: &mut impl Decisions,
) -> Result<(), PuffError> {
    let literals = Decoder::new(literals, Incomplete::Single).map_err(Fault::from)?;
    let distances = Decoder::new(distances, Incomplete::Single).map_err(Fault::from)?;
    loop {
        bits.refill(); // 48 bits hold the longest copy: 15 + 5 + 15 + 13
        let symbol = literals.take(bits).map_err(Fault::from)?;
        let [byte, 0] = symbol.to_le_bytes() else {
            if symbol == END_OF_BLOCK {
                return decisions.end_of_block();
            }
            let (len, distance_less_1) = take_copy(symbol, &distances, bits)?;
            decisions.copy(len, distance_less_1)?;
            continue;
        };
        decisions.literal(byte)?;
    }
}

#[inline]
fn take_copy(
    symbol: u16,
    distances: &Decoder,
    bits: &mut BitReader<'_>,
) -> Result<(u16, u16), Fault> {
    let (base, extra) = length_of(symbol).ok_or(Fault::Unassigned)?;
    let mut len = base + bits.take_held(u32::from(extra))?;
    if len == COPY_LEN_MAX && extra != 0 {
        len = COPY_LEN_258_LONG;
    }
    let symbol = distances.take(bits)?;
    let (base, extra) = distance_of(symbol).ok_or(Fault::Unassigned)?;
    Ok((len, base + bits.take_held(u32::from(extra))?))
}
