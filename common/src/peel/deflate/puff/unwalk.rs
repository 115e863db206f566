//! Writes the deflate stream again from its puffed form.
//!
//! In:   a puffed stream, from whoever. Out: the deflate stream, to a writer.
//! Must never trust a number in it: every part is read from its front until it ends.

use std::io::Write;

use super::bits::BitWriter;
use super::header::{CodeLengths, unpuff_head};
use super::huffman::{Encoder, Incomplete};
use super::section::Section;
use super::symbols::{
    COPY_LEN_258_LONG, COPY_LEN_MAX, COPY_LEN_MIN, END_OF_BLOCK, distance_symbol, length_symbol,
};
use super::{Fault, LONG_258, RUN_WITHOUT_COPY, TRAILER_LEN, UnpuffError};

const WRITE_BYTES: usize = 64 * 1024;

/// What is left of the parts of a puffed stream, and where the copies stand.
struct Rest<'a> {
    plain: &'a [u8],
    at: usize,
    tokens: Section<'a>,
    blocks: Section<'a>,
    /// Literals before the next copy or token.
    run: usize,
    /// Length less 3 and marked distance of the copy after the run, if one follows.
    copy: Option<(u8, u16)>,
}

/// A writer of bits and how many bytes went through it.
struct Sink<'a> {
    bits: BitWriter,
    out: &'a mut dyn Write,
    written: u64,
}

impl Sink<'_> {
    fn write_out(&mut self, bytes_min: usize) -> Result<(), UnpuffError> {
        let bytes = self.bits.whole_bytes();
        if bytes.len() >= bytes_min {
            self.out.write_all(bytes).map_err(UnpuffError::Write)?;
            self.written += bytes.len() as u64;
            bytes.clear();
        }
        Ok(())
    }

    fn put_padding(&mut self, padding: u8) -> Result<(), Fault> {
        let bits = self.bits.padding_bits();
        if padding >> bits != 0 {
            return Err(Fault::LeftOver);
        }
        self.bits.put(u64::from(padding), bits);
        Ok(())
    }
}

pub(super) fn unwalk(puffed: &[u8], out: &mut dyn Write) -> Result<u64, UnpuffError> {
    let mut rest = Rest::new(puffed)?;
    let mut sink = Sink { bits: BitWriter::default(), out, written: 0 };
    loop {
        let [header_bits] = rest.blocks.take_array()?;
        sink.bits.put(u64::from(header_bits & 7), 3);
        match header_bits {
            0 | 1 => rest.write_stored(&mut sink)?,
            2 | 3 => {
                let (literals, distances) = CodeLengths::fixed();
                rest.write_coded(&literals, &distances, &mut sink)?;
            }
            4 | 5 => {
                let lengths = unpuff_head(&mut rest.blocks, &mut sink.bits)?;
                let (literals, distances) = lengths.split()?;
                rest.write_coded(literals, distances, &mut sink)?;
            }
            _ => return Err(Fault::ReservedBlock.into()),
        }
        sink.write_out(WRITE_BYTES)?;
        if header_bits & 1 == 1 {
            break;
        }
    }
    let [padding] = rest.blocks.take_array()?;
    sink.put_padding(padding)?;
    rest.check_used_up()?;
    sink.write_out(0)?;
    Ok(sink.written)
}

impl<'a> Rest<'a> {
    fn new(puffed: &'a [u8]) -> Result<Self, Fault> {
        let (parts, trailer) = puffed.split_last_chunk::<TRAILER_LEN>().ok_or(Fault::Truncated)?;
        let (mut parts, mut trailer) = (Section(parts), Section(trailer));
        let mut part = || {
            let len = usize::try_from(trailer.take_u32()?).map_err(|_| Fault::Truncated)?;
            parts.take(len)
        };
        let (plain, tokens) = (part()?, Section(part()?));
        Ok(Self { plain, at: 0, tokens, blocks: parts, run: 0, copy: None })
    }

    fn check_used_up(&self) -> Result<(), Fault> {
        let used_up =
            self.at == self.plain.len() && self.tokens.is_empty() && self.blocks.is_empty();
        if used_up && self.copy.is_none() { Ok(()) } else { Err(Fault::LeftOver) }
    }

    fn write_stored(&mut self, sink: &mut Sink<'_>) -> Result<(), UnpuffError> {
        let [padding, low, high] = self.blocks.take_array()?;
        sink.put_padding(padding)?;
        let len = u16::from_le_bytes([low, high]);
        sink.bits.put(u64::from(len) | u64::from(!len) << 16, 32);
        let end = self.at + usize::from(len);
        let content = self.plain.get(self.at..end).ok_or(Fault::Truncated)?;
        sink.bits.whole_bytes().extend_from_slice(content);
        self.at = end;
        Ok(())
    }

    fn write_coded(
        &mut self,
        literals: &[u8],
        distances: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<(), UnpuffError> {
        let literals = Encoder::new(literals, Incomplete::Single).map_err(Fault::from)?;
        let distances = Encoder::new(distances, Incomplete::Single).map_err(Fault::from)?;
        let mut left = usize::try_from(self.blocks.take_u32()?).map_err(|_| Fault::Truncated)?;
        while left > 0 {
            if self.run > 0 {
                let taken = self.run.min(left).min(WRITE_BYTES / 4);
                self.write_literals(taken, &literals, &mut sink.bits)?;
                left -= taken;
            } else if let Some(copy) = self.copy.take() {
                self.write_copy(copy, &literals, &distances, &mut sink.bits)?;
                left -= 1;
            } else {
                self.next_token()?;
                continue;
            }
            if sink.bits.held_bytes() >= WRITE_BYTES {
                sink.write_out(WRITE_BYTES)?;
            }
        }
        literals.put(END_OF_BLOCK, &mut sink.bits).map_err(Fault::from)?;
        Ok(())
    }

    /// After the last token come literals only.
    #[inline]
    fn next_token(&mut self) -> Result<(), Fault> {
        if self.tokens.is_empty() {
            self.run = usize::MAX;
            return Ok(());
        }
        let [run, len_less_3, low, high] = self.tokens.take_array()?;
        self.run = usize::from(run);
        self.copy =
            (run != RUN_WITHOUT_COPY).then_some((len_less_3, u16::from_le_bytes([low, high])));
        if run == RUN_WITHOUT_COPY && [len_less_3, low, high] != [0; 3] {
            return Err(Fault::LeftOver);
        }
        Ok(())
    }

    #[inline]
    fn write_literals(
        &mut self,
        len: usize,
        literals: &Encoder,
        bits: &mut BitWriter,
    ) -> Result<(), Fault> {
        let end = self.at + len;
        for &byte in self.plain.get(self.at..end).ok_or(Fault::Truncated)? {
            literals.put(u16::from(byte), bits)?;
        }
        self.run -= len;
        self.at = end;
        Ok(())
    }

    #[inline]
    fn write_copy(
        &mut self,
        (len_less_3, marked_distance): (u8, u16),
        literals: &Encoder,
        distances: &Encoder,
        bits: &mut BitWriter,
    ) -> Result<(), Fault> {
        let len = u16::from(len_less_3) + COPY_LEN_MIN;
        let end = self.at + usize::from(len);
        if end > self.plain.len() {
            return Err(Fault::Truncated);
        }
        let distance = marked_distance & !LONG_258;
        if usize::from(distance) >= self.at {
            return Err(Fault::TooFarBack);
        }
        let written_len = match marked_distance & LONG_258 {
            0 => len,
            _ if len == COPY_LEN_MAX => COPY_LEN_258_LONG,
            _ => return Err(Fault::Unassigned),
        };
        let (symbol, value, extra) = length_symbol(written_len).ok_or(Fault::Unassigned)?;
        literals.put(symbol, bits)?;
        bits.put(u64::from(value), u32::from(extra));
        let (symbol, value, extra) = distance_symbol(distance).ok_or(Fault::Unassigned)?;
        distances.put(symbol, bits)?;
        bits.put(u64::from(value), u32::from(extra));
        self.at = end;
        Ok(())
    }
}
