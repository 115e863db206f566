//! Reads what an xz stream says of its encoder (The .xz File Format 1.2.1).
//!
//! In: one whole stream. Out: check, dictionary, whether block headers carry sizes, and the length
//! of the blocks. CRCs are not checked: whatever follows from these bytes is proved on all of them.

use super::{BLOCK_LEN_BYTES_MAX, Framing, Preset, XzCheck, XzReplay};

const STREAM_HEADER_LEN_BYTES: usize = 12;
const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";
const LZMA2: u64 = 0x21;

/// Bits of the block flags, section 3.1.2.
const MORE_FILTERS: u8 = 0b0000_0011;
const RESERVED: u8 = 0b0011_1100;
const HAS_COMPRESSED_SIZE: u8 = 0x40;
const HAS_UNCOMPRESSED_SIZE: u8 = 0x80;

/// An xz stream that liblzma's ready-made encoders may have written.
pub(super) struct Frame<'a> {
    check: XzCheck,
    /// None for a stream without blocks.
    block: Option<FirstBlock>,
    /// What follows the first block's header: its LZMA2 chunks, and the rest of the stream.
    pub(super) first_block: &'a [u8],
}

#[derive(Clone, Copy)]
struct FirstBlock {
    dictionary_bytes: u64,
    has_sizes: bool,
    plain_len: u64,
    is_only: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn read(xz: &'a [u8]) -> Option<Self> {
        let (header, body) = xz.split_first_chunk::<STREAM_HEADER_LEN_BYTES>()?;
        let check = match header.strip_prefix(&MAGIC)? {
            [0, 0, ..] => XzCheck::None,
            [0, 1, ..] => XzCheck::Crc32,
            [0, 4, ..] => XzCheck::Crc64,
            [0, 10, ..] => XzCheck::Sha256,
            _ => return None,
        };
        let (&header_size, after_size) = body.split_first()?;
        if header_size == 0 {
            return Some(Self { check, block: None, first_block: &[] }); // the index begins
        }
        let header_len = (usize::from(header_size) + 1) * 4; // section 3.1.1
        let (dictionary_bytes, has_sizes) = block_header(after_size.get(..header_len - 5)?)?;
        let (plain_len, is_only) = first_record(xz)?;
        Some(Self {
            check,
            block: Some(FirstBlock { dictionary_bytes, has_sizes, plain_len, is_only }),
            first_block: body.get(header_len..)?,
        })
    }

    /// The settings that fit the headers, the likeliest first.
    pub(super) fn candidates(&self, plain_len: usize) -> impl Iterator<Item = XzReplay> + use<> {
        // Without a block the preset leaves no trace, and neither does the framing.
        let (framing, dictionary_bytes) = match self.block {
            None => (Some(Framing::SingleThreaded), 8 << 20),
            Some(block) => (block.framing(plain_len), block.dictionary_bytes),
        };
        let check = self.check;
        framing.into_iter().flat_map(move |framing| {
            Preset::of_dictionary(dictionary_bytes).map(move |preset| XzReplay {
                framing,
                preset,
                check,
            })
        })
    }

    /// The part of the plain stream that the first block holds.
    pub(super) fn first_plain<'p>(&self, plain: &'p [u8]) -> &'p [u8] {
        let len = self.block.and_then(|block| usize::try_from(block.plain_len).ok());
        plain.get(..len.unwrap_or(0)).unwrap_or(plain)
    }
}

impl FirstBlock {
    fn framing(&self, plain_len: usize) -> Option<Framing> {
        let plain_len = u64::try_from(plain_len).ok()?;
        let usual_len = (3 * self.dictionary_bytes).max(1 << 20); // `lzma_mt_block_size`
        match (self.has_sizes, self.is_only) {
            (false, true) => Some(Framing::SingleThreaded),
            (false, false) => None,
            (true, true) if plain_len <= usual_len => {
                Some(Framing::MultiThreaded { block_len_bytes: 0 })
            }
            (true, false) if self.plain_len == usual_len => {
                Some(Framing::MultiThreaded { block_len_bytes: 0 })
            }
            (true, _) if (1..=BLOCK_LEN_BYTES_MAX).contains(&self.plain_len) => {
                Some(Framing::MultiThreaded { block_len_bytes: self.plain_len })
            }
            (true, _) => None,
        }
    }
}

/// Dictionary and presence of sizes, from a block header without its size byte and CRC.
fn block_header(header: &[u8]) -> Option<(u64, bool)> {
    let (&flags, mut rest) = header.split_first()?;
    if flags & (MORE_FILTERS | RESERVED) != 0 {
        return None;
    }
    let has_sizes = match flags & (HAS_COMPRESSED_SIZE | HAS_UNCOMPRESSED_SIZE) {
        0 => false,
        both if both == HAS_COMPRESSED_SIZE | HAS_UNCOMPRESSED_SIZE => true,
        _ => return None, // liblzma's encoders write both or none
    };
    if has_sizes {
        number(&mut rest)?;
        number(&mut rest)?;
    }
    if number(&mut rest)? != LZMA2 || number(&mut rest)? != 1 {
        return None;
    }
    Some((dictionary(*rest.first()?)?, has_sizes))
}

/// The dictionary size that an LZMA2 property byte stands for (section 5.3.1).
fn dictionary(bits: u8) -> Option<u64> {
    match bits {
        0..40 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
        40 => Some(u64::from(u32::MAX)),
        _ => None,
    }
}

/// The plain length of the first block, and whether it is the only one, from the index at the end.
fn first_record(xz: &[u8]) -> Option<(u64, bool)> {
    let (before, footer) = xz.split_last_chunk::<12>()?;
    let &[_, _, _, _, b0, b1, b2, b3, _, _, y, z] = footer;
    if [y, z] != FOOTER_MAGIC {
        return None;
    }
    let index_len = (u64::from(u32::from_le_bytes([b0, b1, b2, b3])) + 1) * 4; // section 2.1.2.2
    let start = before.len().checked_sub(usize::try_from(index_len).ok()?)?;
    let (&0, mut index) = before.get(start..)?.split_first()? else {
        return None;
    };
    let count = number(&mut index)?;
    let _unpadded_len = number(&mut index)?;
    let plain_len = number(&mut index)?;
    Some((plain_len, count == 1))
}

/// Takes a multibyte integer (section 1.2) off the front.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_up_to_nine_bytes_are_read() {
        let mut bytes: &[u8] = &[0x05, 0x80, 0x01, 0xff];
        assert_eq!((number(&mut bytes), number(&mut bytes)), (Some(5), Some(128)));
        assert_eq!(number(&mut bytes), None);
        let mut longest: &[u8] = &[[0xff; 8].as_slice(), &[0x7f]].concat();
        assert_eq!(number(&mut longest), Some(u64::MAX >> 1));
        let mut endless: &[u8] = &[0xff; 12];
        assert_eq!(number(&mut endless), None);
    }

    #[test]
    fn a_property_byte_stands_for_a_dictionary() {
        let sizes = [(0, 4096), (1, 6144), (22, 8 << 20), (28, 64 << 20), (39, 3 << 30)];
        for (bits, size) in sizes {
            assert_eq!(dictionary(bits), Some(size), "{bits}");
        }
        assert_eq!(dictionary(41), None);
    }
}
