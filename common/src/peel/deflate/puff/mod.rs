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

use std::io::{self, BufWriter, Write};

use bits::OutOfBits;
use bytes::Bytes;
use huffman::{BadCode, NoSymbol};
use symbols::{COPY_LEN_258_LONG, COPY_LEN_MAX, COPY_LEN_MIN};
use walk::Decisions;

use crate::scratch::{Scratch, ScratchWriter};

/// The highest bit of a token's distance: [`COPY_LEN_258_LONG`].
const LONG_258: u16 = 1 << 15;
/// In place of a number of literals: this many, and no copy.
const RUN_WITHOUT_COPY: u8 = 255;
const TRAILER_LEN: usize = 2 * 4;
const TRAILER_BYTES: u64 = TRAILER_LEN as u64;

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
    #[error("it does not give as many plain bytes as there are")]
    OtherPlain,
}

/// Why a deflate stream was not puffed.
#[derive(Debug, thiserror::Error)]
pub enum PuffError {
    #[error("deflate stream is damaged")]
    Damaged(#[from] Fault),
    #[error("puffed stream is longer than allowed")]
    TooLong,
    #[error("cannot write the puffed stream")]
    Write(#[source] io::Error),
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
    pub bytes: Bytes,
    /// Bytes of the input that the deflate stream took; unused bits of the last one are kept.
    pub deflated_len: usize,
}

/// How long a puffed stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    pub len_bytes: u64,
    pub deflated_len: usize,
}

/// Whether the stream is valid and has at most so many blocks, and so many literals and copies.
/// Memory is constant.
pub fn has_at_most(deflated: &[u8], blocks: usize, symbols: usize) -> bool {
    walk::walk(deflated, &mut walk::Most { blocks, symbols }).is_ok()
}

/// Puffs the deflate stream at the start of `deflated`, whose plain bytes are `plain`; what follows
/// it is not looked at.
///
/// Holds at most `max_bytes`, which bounds the puffed stream, twice, and 64 KiB. The plain bytes
/// are not compared, only counted: others lead to another stream.
///
/// # Errors
///
/// [`PuffError`]: it stays as it is.
pub fn puff(deflated: &[u8], plain: &[u8], max_bytes: u64) -> Result<Puffed, PuffError> {
    let (parts, deflated_len) = parts(deflated, plain.len() as u64, max_bytes, vec![], vec![])?;
    let trailer = parts.trailer()?;
    let bytes = [plain, &parts.tokens.out, &parts.blocks.out, &trailer].concat().into();
    Ok(Puffed { bytes, deflated_len })
}

/// [`puff`] in scratch space: memory is some 3 MiB.
///
/// # Errors
///
/// [`PuffError`]; [`PuffError::Write`] is that of the scratch space.
pub fn puff_in(
    scratch: &Scratch,
    deflated: &[u8],
    plain: &[u8],
    max_bytes: u64,
) -> Result<Puffed, PuffError> {
    let part = || BufWriter::with_capacity(PART_LEN_BYTES, scratch.writer());
    let (parts, deflated_len) = parts(deflated, plain.len() as u64, max_bytes, part(), part())?;
    let trailer = parts.trailer()?;
    let finish = |part: Counted<BufWriter<ScratchWriter>>| {
        part.out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    let [tokens, blocks] = [finish(parts.tokens), finish(parts.blocks)];
    let bytes = scratch.stream(|to| {
        let parts = [plain, &tokens?, &blocks?, &trailer];
        parts.into_iter().try_for_each(|part| to.write_all(part))
    });
    Ok(Puffed { bytes: bytes.map_err(PuffError::Write)?, deflated_len })
}

/// How long [`puff`] would make a stream of so many plain bytes. Memory is constant.
///
/// # Errors
///
/// [`PuffError`].
pub fn measure(deflated: &[u8], plain_len: u64, max_bytes: u64) -> Result<Measured, PuffError> {
    let (parts, deflated_len) = parts(deflated, plain_len, max_bytes, io::sink(), io::sink())?;
    let grown = parts.tokens.len_bytes + parts.blocks.len_bytes;
    Ok(Measured { len_bytes: plain_len + grown + TRAILER_BYTES, deflated_len })
}

/// Bytes of a part that are held before they go to scratch space.
const PART_LEN_BYTES: usize = 64 << 10;

/// Writes the deflate stream that was puffed into `puffed`, and returns its length in bytes.
///
/// Holds 256 KiB whatever the input says. What was written before an error is of no use.
pub fn unpuff(puffed: &[u8], out: &mut dyn Write) -> Result<u64, UnpuffError> {
    unwalk::unwalk(puffed, out)
}

/// Walks a stream and writes what comes beside its plain bytes.
fn parts<W: Write>(
    deflated: &[u8],
    plain_len: u64,
    max_bytes: u64,
    tokens: W,
    blocks: W,
) -> Result<(Parts<W>, usize), PuffError> {
    let room = max_bytes.min(u64::from(u32::MAX)).checked_sub(plain_len + TRAILER_BYTES);
    let mut parts = Parts {
        plain_len,
        at: 0,
        tokens: Counted { out: tokens, len_bytes: 0 },
        blocks: Counted { out: blocks, len_bytes: 0 },
        run: 0,
        symbols: 0,
        room: room.ok_or(PuffError::TooLong)?,
    };
    let deflated_len = walk::walk(deflated, &mut parts)?;
    Ok((parts, deflated_len))
}

/// The parts of a puffed stream beside the plain one, while they grow.
struct Parts<W> {
    plain_len: u64,
    /// Plain bytes so far.
    at: u64,
    tokens: Counted<W>,
    blocks: Counted<W>,
    /// Literals since the last token.
    run: u8,
    /// Literals and copies of this block.
    symbols: u32,
    /// Bytes that may still be added to the parts.
    room: u64,
}

/// A writer, and how many bytes it took.
struct Counted<W> {
    out: W,
    len_bytes: u64,
}

impl<W: Write> Parts<W> {
    #[inline]
    fn take_room(&mut self, len: usize) -> Result<(), PuffError> {
        self.room = self.room.checked_sub(len as u64).ok_or(PuffError::TooLong)?;
        Ok(())
    }

    fn add_block(&mut self, bytes: &[u8]) -> Result<(), PuffError> {
        self.take_room(bytes.len())?;
        self.blocks.write(bytes)
    }

    #[inline]
    fn add_token(&mut self, token: [u8; 4]) -> Result<(), PuffError> {
        self.take_room(token.len())?;
        self.run = 0;
        self.tokens.write(&token)
    }

    /// Counts plain bytes.
    #[inline]
    fn pass(&mut self, len: usize) -> Result<(), PuffError> {
        self.at += len as u64;
        if self.plain_len < self.at { Err(Fault::OtherPlain.into()) } else { Ok(()) }
    }

    /// The lengths of plain and tokens.
    fn trailer(&self) -> Result<[u8; TRAILER_LEN], PuffError> {
        let len = |len: u64| u32::try_from(len).map_err(|_| PuffError::TooLong);
        let [a, b, c, d] = len(self.plain_len)?.to_le_bytes();
        let [e, f, g, h] = len(self.tokens.len_bytes)?.to_le_bytes();
        Ok([a, b, c, d, e, f, g, h])
    }
}

impl<W: Write> Counted<W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), PuffError> {
        self.len_bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(PuffError::Write)
    }
}

impl<W: Write> Decisions for Parts<W> {
    fn block(&mut self, header_bits: u8, head: &[u8]) -> Result<(), PuffError> {
        self.symbols = 0;
        self.add_block(&[header_bits])?;
        self.add_block(head)
    }

    fn stored(&mut self, padding: u8, content: &[u8]) -> Result<(), PuffError> {
        let len = u16::try_from(content.len()).map_err(|_| Fault::StoredLength)?;
        let [low, high] = len.to_le_bytes();
        self.add_block(&[padding, low, high])?;
        self.pass(content.len())
    }

    #[inline]
    fn literal(&mut self, _: u8) -> Result<(), PuffError> {
        self.pass(1)?;
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
        if self.at <= u64::from(distance_less_1) {
            return Err(Fault::TooFarBack.into());
        }
        self.pass(usize::from(len))?;
        self.add_token([self.run, len_less_3, low, high])
    }

    fn end_of_block(&mut self) -> Result<(), PuffError> {
        self.add_block(&self.symbols.to_le_bytes())
    }

    fn end(&mut self, padding: u8) -> Result<(), PuffError> {
        self.add_block(&[padding])?;
        if self.at == self.plain_len { Ok(()) } else { Err(Fault::OtherPlain.into()) }
    }
}

#[cfg(test)]
mod tests;
