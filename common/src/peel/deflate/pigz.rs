//! Deflates as pigz does with several processors, and with one.
//!
//! In: plain bytes, level, block length. Out: a raw deflate stream. pigz runs zlib over blocks of
//! 128 KiB (option `-b`), gives each the last 32 KiB before it as dictionary (not with `-i`), and
//! fills every block but the last up to a whole byte: with empty static blocks of 10 bits when an
//! even number of bits stands open, else with an empty stored block (as pigz 2.6 does). The
//! number of processors does not change the output.

use std::fmt;
use std::io::{self, Write};

use flate2::{Compress, FlushCompress};

use super::zlib;

/// pigz's own block length, in bytes.
pub(super) const BLOCK_LEN_BYTES: u32 = 128 * 1024;
/// Longest block taken: a block's output is held in memory.
const BLOCK_LEN_BYTES_MAX: u32 = 1 << 29;
const DICTIONARY_LEN_BYTES: usize = 32 * 1024;

/// An empty stored block after its three header bits and their padding.
const STORED_EMPTY: [u8; 4] = [0, 0, 0xff, 0xff];

/// What pigz was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pigz {
    /// 1 to 9. Level 11, zopfli, is not among them.
    pub level: u8,
    /// In bytes; a multiple of 1 KiB.
    pub block_len_bytes: u32,
    /// `-i`: blocks without a dictionary.
    pub independent: bool,
}

impl fmt::Display for Pigz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pigz-1/zlib-1.3/L{}", self.level)?;
        if self.independent {
            f.write_str("/i")?;
        }
        if self.block_len_bytes != BLOCK_LEN_BYTES {
            write!(f, "/b{}", self.block_len_bytes)?;
        }
        Ok(())
    }
}

impl Pigz {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(id: &str) -> Option<Self> {
        let mut parts = id.strip_prefix("pigz-1/zlib-1.3/L")?.split('/');
        let level = zlib::level(parts.next()?)?;
        let mut pigz = Self { level, block_len_bytes: BLOCK_LEN_BYTES, independent: false };
        for part in parts {
            match part.strip_prefix('b') {
                Some(len) => pigz.block_len_bytes = len.parse().ok().filter(is_block_len)?,
                None => pigz.independent = part == "i",
            }
        }
        (pigz.to_string() == id).then_some(pigz)
    }

    /// Deflates all of `plain`; takes 300 KiB and one deflated block of memory.
    pub(super) fn deflate(&self, plain: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let mut encoder = zlib::encoder(self.level);
        let mut rest = plain;
        let mut before: &[u8] = &[];
        let block_len = usize::try_from(self.block_len_bytes).map_err(io::Error::other)?;
        while rest.len() > block_len {
            let (block, after) = rest.split_at(block_len);
            self.prime(&mut encoder, before)?;
            out.write_all(&self.open_block(&mut encoder, block)?)?;
            encoder.reset();
            rest = after;
            before = &plain[..plain.len() - rest.len()];
        }
        self.prime(&mut encoder, before)?;
        zlib::pump(&mut encoder, rest, FlushCompress::Finish, out)
    }

    /// Gives the end of what came before the block to the encoder as its dictionary.
    fn prime(&self, encoder: &mut Compress, before: &[u8]) -> io::Result<()> {
        if !self.independent && !before.is_empty() {
            let start = before.len().saturating_sub(DICTIONARY_LEN_BYTES);
            encoder.set_dictionary(&before[start..])?;
        }
        Ok(())
    }

    /// Deflates a block that is not the last and fills it up to a whole byte.
    fn open_block(&self, encoder: &mut Compress, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut deflated = Vec::new();
        zlib::pump(encoder, block, FlushCompress::Partial, &mut deflated)?;
        zlib::pump(encoder, &[], FlushCompress::Finish, &mut deflated)?;
        let open_bits = cut_after_data(&mut deflated)
            .ok_or_else(|| io::Error::other("zlib ended a block in an unknown way"))?;
        self.fill_up(&mut deflated, open_bits);
        Ok(deflated)
    }

    /// Adds what pigz adds after `open_bits` (0 to 7) bits of a last byte.
    fn fill_up(&self, deflated: &mut Vec<u8>, open_bits: u32) {
        if self.independent || open_bits % 2 == 1 {
            // Three header bits, all zero, open a new byte when fewer than three are free.
            if open_bits == 0 || open_bits > 5 {
                deflated.push(0);
            }
            deflated.extend(STORED_EMPTY);
            if self.independent {
                deflated.push(0);
                deflated.extend(STORED_EMPTY);
            }
            return;
        }
        let mut at = open_bits;
        while !at.is_multiple_of(8) {
            push_static_empty(deflated, at % 8);
            at += 10;
        }
    }
}

fn is_block_len(len: &u32) -> bool {
    (1024..=BLOCK_LEN_BYTES_MAX).contains(len) && len.is_multiple_of(1024)
}

/// Cuts off the two empty static blocks that a partial flush and the end put behind the data.
///
/// zlib does not say how many bits stand open after a block, so this finds it from the end: the
/// last bit set is the second of the final block's header (1 1 0), and before that header lie the
/// 10 bits of the flush. Returns how many bits of the last byte are data, 0 for a whole byte.
fn cut_after_data(deflated: &mut Vec<u8>) -> Option<u32> {
    let last = deflated.iter().rposition(|&byte| byte != 0)?;
    let top_bit = u64::from(7 - deflated.get(last)?.leading_zeros());
    let data_bits = (u64::try_from(last).ok()? * 8 + top_bit).checked_sub(11)?;
    let open_bits = u32::try_from(data_bits % 8).ok()?;
    deflated.truncate(usize::try_from(data_bits.div_ceil(8)).ok()?);
    if open_bits != 0
        && let Some(byte) = deflated.last_mut()
    {
        *byte &= (1 << open_bits) - 1;
    }
    Some(open_bits)
}

/// Appends an empty static block: bits 0 1 0 and seven zeros, at an even number of open bits.
fn push_static_empty(deflated: &mut Vec<u8>, open_bits: u32) {
    let bits = 0b10_u16 << open_bits;
    let [low, high] = bits.to_le_bytes();
    if open_bits == 0 {
        deflated.push(low);
    } else if let Some(byte) = deflated.last_mut() {
        *byte |= low;
    }
    deflated.push(high);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pigz_read_back_and_no_other_spelling_does() {
        for id in ["pigz-1/zlib-1.3/L6", "pigz-1/zlib-1.3/L9/i", "pigz-1/zlib-1.3/L1/i/b1048576"] {
            assert_eq!(Pigz::parse(id).unwrap().to_string(), id);
        }
        for id in [
            "pigz-1/zlib-1.3/L0",
            "pigz-1/zlib-1.3/L06",
            "pigz-1/zlib-1.3/L6/",
            "pigz-1/zlib-1.3/L6/b131072",
            "pigz-1/zlib-1.3/L6/b0",
            "pigz-1/zlib-1.3/L6/b1025",
            "pigz-1/zlib-1.3/L6/b1048576/i",
        ] {
            assert_eq!(Pigz::parse(id), None, "{id}");
        }
    }
}
