//! Undoes the Huffman coding of a raw deflate stream, and redoes it bit for bit.
//!
//! In:   a raw deflate stream (RFC 1951) of any encoder, or its puffed form.
//! Out:  its puffed form, in which equal content gives equal bytes, or the deflate stream.
//! Must never accept what zlib refuses, panic, or hold more than the bounds that its
//! functions name.
//!
//! # The puffed form
//!
//! Deltas between two versions are smallest if the plain bytes stand alone and the encoder's
//! choices stand in a column of their own, of fixed width. So there are three parts:
//!
//! | part   | holds                                                                         |
//! |--------|-------------------------------------------------------------------------------|
//! | plain  | the inflated bytes                                                            |
//! | tokens | four bytes a copy: literals before it (0-254), its length less 3, its distance less 1 (little endian; the highest bit says that length 258 is written as symbol 284); 255, 0, 0, 0: 255 literals and no copy |
//! | blocks | for each block its three header bits; stored: padding, length (2 bytes); coded: head if dynamic (`header.rs`), number of literals and copies (4 bytes). At last the padding of the stream |
//!
//! The lengths of plain and tokens follow as `u32`, little endian. Runs of literals reach
//! across blocks, as block limits move where content does not.

mod bits;
mod header;
mod huffman;
mod section;
mod symbols;
mod unwalk;
mod walk;

use std::io::{self, Write};

use bits::OutOfBits;
use huffman::{BadCode, NoSymbol};
use symbols::{COPY_LEN_258_LONG, COPY_LEN_MAX, COPY_LEN_MIN};
use walk::Decisions;

/// The highest bit of a token's distance: [`COPY_LEN_258_LONG`].
const LONG_258: u16 = 1 << 15;
/// In place of a number of literals: this many, and no copy.
const RUN_WITHOUT_COPY: u8 = 255;
const TRAILER_BYTES: usize = 2 * 4;

/// What is wrong with a deflate stream or a puffed stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("the stream ends too soon")]
    Truncated,
    #[error("a block is of the reserved kind")]
    ReservedBlock,
    #[error("the length of a stored block contradicts its complement")]
    StoredLength,
    #[error("a block names more codes than there are symbols")]
    TooManyCodes,
    #[error("the code lengths of a block make no prefix code")]
    BadCodeLengths,
    #[error("a code or symbol has no meaning")]
    Unassigned,
    #[error("a copy starts before the stream")]
    TooFarBack,
    #[error("bits or bytes are left over")]
    LeftOver,
}

/// Why a deflate stream was not puffed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PuffError {
    #[error("deflate stream is damaged")]
    Damaged(#[from] Fault),
    #[error("puffed stream is longer than allowed")]
    TooLong,
}

/// Why a puffed stream was not turned back.
#[derive(Debug, thiserror::Error)]
pub enum UnpuffError {
    #[error("puffed stream is damaged")]
    Damaged(#[from] Fault),
    #[error("cannot write the deflate stream")]
    Write(#[source] io::Error),
}

impl From<OutOfBits> for Fault {
    fn from(OutOfBits: OutOfBits) -> Self {
        Self::Truncated
    }
}

impl From<BadCode> for Fault {
    fn from(BadCode: BadCode) -> Self {
        Self::BadCodeLengths
    }
}

impl From<NoSymbol> for Fault {
    fn from(why: NoSymbol) -> Self {
        match why {
            NoSymbol::OutOfBits => Self::Truncated,
            NoSymbol::Unassigned => Self::Unassigned,
        }
    }
}

/// A deflate stream without its Huffman coding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Puffed {
    pub bytes: Vec<u8>,
    /// Bytes of the input that the deflate stream took; unused bits of the last one are kept.
    pub deflated_len: usize,
}

/// Whether the stream is valid and has at most `blocks_max` blocks. Memory is constant.
pub fn has_few_blocks(deflated: &[u8], blocks_max: usize) -> bool {
    walk::walk(deflated, &mut walk::Blocks { left: blocks_max }).is_ok()
}

/// Puffs the deflate stream at the start of `deflated`; what follows it is not looked at.
///
/// Holds at most twice `max_bytes`, which bounds the puffed stream, and 64 KiB.
pub fn puff(deflated: &[u8], max_bytes: usize) -> Result<Puffed, PuffError> {
    let mut parts = Parts::new(max_bytes)?;
    let deflated_len = walk::walk(deflated, &mut parts)?;
    Ok(Puffed { bytes: parts.join()?, deflated_len })
}

/// Writes the deflate stream that was puffed into `puffed`, and returns its length in bytes.
///
/// Holds 256 KiB whatever the input says. What was written before an error is of no use.
pub fn unpuff(puffed: &[u8], out: &mut dyn Write) -> Result<u64, UnpuffError> {
    unwalk::unwalk(puffed, out)
}

/// The parts of a puffed stream while it grows.
struct Parts {
    plain: Vec<u8>,
    tokens: Vec<u8>,
    blocks: Vec<u8>,
    /// Literals since the last token.
    run: u8,
    /// Literals and copies of this block.
    symbols: u32,
    /// Bytes that may still be added to the parts.
    room: usize,
}

/// Makes room for `more` bytes, doubling as `Vec` does but never past what is allowed.
#[inline]
fn grow(part: &mut Vec<u8>, more: usize, room: &mut usize) -> Result<(), PuffError> {
    *room = room.checked_sub(more).ok_or(PuffError::TooLong)?;
    if part.capacity() - part.len() < more {
        part.reserve_exact(more + part.len().min(*room));
    }
    Ok(())
}

impl Parts {
    fn new(max_bytes: usize) -> Result<Self, PuffError> {
        let room = max_bytes.min(u32::MAX as usize);
        let room = room.checked_sub(TRAILER_BYTES).ok_or(PuffError::TooLong)?;
        let [plain, tokens, blocks] = [const { Vec::new() }; 3];
        Ok(Self { plain, tokens, blocks, run: 0, symbols: 0, room })
    }

    fn add_block(&mut self, bytes: &[u8]) -> Result<(), PuffError> {
        grow(&mut self.blocks, bytes.len(), &mut self.room)?;
        self.blocks.extend_from_slice(bytes);
        Ok(())
    }

    fn add_token(&mut self, token: [u8; 4]) -> Result<(), PuffError> {
        grow(&mut self.tokens, token.len(), &mut self.room)?;
        self.tokens.extend_from_slice(&token);
        self.run = 0;
        Ok(())
    }

    fn add_plain_copy(&mut self, len: usize, distance: usize) -> Result<(), PuffError> {
        let start = self.plain.len().checked_sub(distance).ok_or(Fault::TooFarBack)?;
        grow(&mut self.plain, len, &mut self.room)?;
        if distance >= len {
            self.plain.extend_from_within(start..start + len);
        } else {
            for at in start..start + len {
                self.plain.push(self.plain[at]);
            }
        }
        Ok(())
    }

    fn join(mut self) -> Result<Vec<u8>, PuffError> {
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        for part in [&self.plain, &self.tokens] {
            let len = u32::try_from(part.len()).map_err(|_| PuffError::TooLong)?;
            trailer.extend(len.to_le_bytes());
        }
        let rest = [self.tokens, self.blocks, trailer];
        self.plain.reserve_exact(rest.iter().map(Vec::len).sum());
        for part in rest {
            self.plain.extend(part);
        }
        Ok(self.plain)
    }
}

impl Decisions for Parts {
    fn block(&mut self, header_bits: u8, head: &[u8]) -> Result<(), PuffError> {
        self.symbols = 0;
        self.add_block(&[header_bits])?;
        self.add_block(head)
    }

    fn stored(&mut self, padding: u8, content: &[u8]) -> Result<(), PuffError> {
        let len = u16::try_from(content.len()).map_err(|_| Fault::StoredLength)?;
        let [low, high] = len.to_le_bytes();
        self.add_block(&[padding, low, high])?;
        grow(&mut self.plain, content.len(), &mut self.room)?;
        self.plain.extend_from_slice(content);
        Ok(())
    }

    #[inline]
    fn literal(&mut self, byte: u8) -> Result<(), PuffError> {
        grow(&mut self.plain, 1, &mut self.room)?;
        self.plain.push(byte);
        self.symbols = self.symbols.checked_add(1).ok_or(PuffError::TooLong)?;
        self.run += 1;
        if self.run == RUN_WITHOUT_COPY {
            self.add_token([self.run, 0, 0, 0])?;
        }
        Ok(())
    }

    #[inline]
    fn copy(&mut self, len: u16, distance_less_1: u16) -> Result<(), PuffError> {
        self.symbols = self.symbols.checked_add(1).ok_or(PuffError::TooLong)?;
        let mark = if len == COPY_LEN_258_LONG { LONG_258 } else { 0 };
        let len = len.min(COPY_LEN_MAX);
        let [len_less_3, _] = (len - COPY_LEN_MIN).to_le_bytes();
        let [low, high] = (distance_less_1 | mark).to_le_bytes();
        self.add_plain_copy(usize::from(len), usize::from(distance_less_1) + 1)?;
        self.add_token([self.run, len_less_3, low, high])
    }

    fn end_of_block(&mut self) -> Result<(), PuffError> {
        self.add_block(&self.symbols.to_le_bytes())
    }

    fn end(&mut self, padding: u8) -> Result<(), PuffError> {
        self.add_block(&[padding])
    }
}

#[cfg(test)]
mod tests;
