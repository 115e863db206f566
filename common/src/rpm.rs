//! The header of an rpm package: what it says of itself, tag by tag.
//!
//! In:   a package, as far as its headers.
//! Out:  [`Header`], whose tags give texts and numbers.
//! Never: reads the payload, or more of a header than its limits. Every offset and count is
//!        checked against what is there.
//!
//! Layout: "RPM V3/V4 package file format": a lead, the signature header padded to 8 bytes, the
//! main header. A header is an index of entries of 16 bytes (tag, type, offset, count), then a
//! store. Tags and types: `rpmtag.h`.

use std::io::{self, Read};

use gapferry_proto::limits;

const LEAD_LEN_BYTES: u64 = 96;
const LEAD_MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
const ENTRY_LEN_BYTES: u64 = 16;

const TYPE_INT16: u32 = 3;
const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;
const TYPE_STRINGS: u32 = 8;

/// Why a header is not read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is no rpm package: {0}")]
    Malformed(&'static str),
}

/// The main header of a package: its index and its store.
#[derive(Clone, Debug)]
pub struct Header {
    index: Vec<u8>,
    store: Vec<u8>,
}

impl Header {
    /// Reads the main header of a package.
    ///
    /// # Errors
    ///
    /// [`HeaderError`].
    pub fn of_package(mut package: impl Read) -> Result<Self, HeaderError> {
        let lead = take(&mut package, LEAD_LEN_BYTES)?;
        if !lead.starts_with(LEAD_MAGIC) {
            return Err(HeaderError::Malformed("it has no lead"));
        }
        let signature = Self::read(&mut package)?;
        let len_bytes = signature.store.len() as u64;
        take(&mut package, len_bytes.next_multiple_of(8) - len_bytes)?;
        Self::read(&mut package)
    }

    fn read(from: &mut impl Read) -> Result<Self, HeaderError> {
        let intro = take(from, 16)?;
        let number = |at: usize| number(&intro, at).map(u64::from);
        let (Some(entries), Some(len_bytes)) = (number(8), number(12)) else {
            return Err(HeaderError::Malformed("it ends inside a header"));
        };
        if !intro.starts_with(HEADER_MAGIC) {
            return Err(HeaderError::Malformed("it has no header"));
        }
        if limits::RPM_HEADER_ENTRIES_MAX < entries
            || limits::RPM_HEADER_STORE_LEN_BYTES_MAX < len_bytes
        {
            return Err(HeaderError::Malformed("its header is too long"));
        }
        Ok(Self { index: take(from, entries * ENTRY_LEN_BYTES)?, store: take(from, len_bytes)? })
    }

    /// The texts of a tag, each without the zero that ends it; none without the tag.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Malformed`]: its entry leads out of the header, or is of no texts.
    pub fn texts(&self, tag: u32) -> Result<impl Iterator<Item = &[u8]>, HeaderError> {
        let (values, count, _) = self.values(tag, &[TYPE_STRING, TYPE_STRINGS])?;
        Ok(values.split(|byte| *byte == 0).take(count))
    }

    /// The numbers of a tag; none without the tag.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Malformed`]: its entry leads out of the header, or is of no numbers.
    pub fn numbers(&self, tag: u32) -> Result<impl Iterator<Item = u32>, HeaderError> {
        let (values, count, kind) = self.values(tag, &[TYPE_INT16, TYPE_INT32])?;
        let width = if kind == TYPE_INT16 { 2 } else { 4 };
        let value = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        Ok(values.chunks_exact(width).take(count).map(value))
    }

    /// Where the values of a tag begin, how many there are and of which type; none without it.
    fn values(&self, tag: u32, kinds: &[u32]) -> Result<(&[u8], usize, u32), HeaderError> {
        let mut entries = self.index.chunks_exact(16);
        let Some(entry) = entries.find(|entry| number(entry, 0) == Some(tag)) else {
            return Ok((&[], 0, 0));
        };
        let field = |at| number(entry, at).and_then(|n| usize::try_from(n).ok());
        let values = field(8).and_then(|offset| self.store.get(offset..));
        match (number(entry, 4), values, field(12)) {
            (Some(kind), Some(values), Some(count))
                if kinds.contains(&kind) && count <= values.len() =>
            {
                Ok((values, count, kind))
            }
            _ => Err(HeaderError::Malformed("an entry of its header is wrong")),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

/// Reads exactly so many bytes; room is made as they come.
fn take(from: &mut impl Read, len_bytes: u64) -> Result<Vec<u8>, HeaderError> {
    let mut bytes = Vec::new();
    from.take(len_bytes).read_to_end(&mut bytes).map_err(HeaderError::Read)?;
    if (bytes.len() as u64) < len_bytes {
        return Err(HeaderError::Malformed("it ends inside a header"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of entries: tag, type, count and the bytes of the values.
    fn header(entries: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut store) = (vec![], vec![]);
        for (tag, kind, count, bytes) in entries {
            let offset = u32::try_from(store.len()).unwrap();
            [*tag, *kind, offset, *count].iter().for_each(|n| index.extend(n.to_be_bytes()));
            store.extend_from_slice(bytes);
        }
        let count = u32::try_from(entries.len()).unwrap().to_be_bytes();
        let len = u32::try_from(store.len()).unwrap().to_be_bytes();
        [HEADER_MAGIC, &[0; 4], &count, &len, &index, &store].concat()
    }

    fn framed(main: &[u8]) -> Vec<u8> {
        let mut bytes = LEAD_MAGIC.to_vec();
        bytes.resize(96, 0);
        bytes.extend(header(&[(1000, TYPE_STRING, 1, b"sig\0")]));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        [&bytes[..], main, b"payload"].concat()
    }

    fn package() -> Vec<u8> {
        framed(&header(&[
            (1, TYPE_INT16, 2, b"\x81\xa4\x41\xed"),
            (2, TYPE_INT32, 1, &[0, 0, 0, 9]),
            (3, TYPE_STRINGS, 2, b"a\0bc\0"),
        ]))
    }

    fn said(package: &[u8]) -> Result<(Vec<u32>, Vec<Vec<u8>>), HeaderError> {
        let header = Header::of_package(package)?;
        let numbers = header.numbers(1)?.chain(header.numbers(2)?).collect();
        Ok((numbers, header.texts(3)?.map(<[u8]>::to_vec).collect()))
    }

    #[test]
    fn tags_give_numbers_of_both_widths_and_texts() {
        let expected = (vec![0x81a4, 0x41ed, 9], vec![b"a".to_vec(), b"bc".to_vec()]);
        assert_eq!(said(&package()).unwrap(), expected);
        assert_eq!(said(&framed(&header(&[]))).unwrap(), (vec![], vec![]));
        assert!(said(&framed(&header(&[(1, TYPE_STRING, 1, b"x\0")]))).is_err(), "of another type");
        assert!(said(&framed(&header(&[(3, TYPE_STRINGS, 9, b"x\0")]))).is_err(), "too many");
    }

    #[test]
    fn damaged_headers_are_errors_and_never_panic() {
        let good = package();
        let end = good.len() - b"payload".len();
        for len in 0..end {
            assert!(said(&good[..len]).is_err(), "{len}");
        }
        for at in 0..end {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                let _any = said(&bytes);
            }
        }
        for (entries, store, fine) in [
            (0, 0, true),
            (1 << 16, 0, false), // announced and not there
            ((1 << 16) + 1, 0, false),
            (0, u32::MAX, false),
        ] {
            let intro =
                [HEADER_MAGIC, &[0; 4], &u32::to_be_bytes(entries), &u32::to_be_bytes(store)];
            assert_eq!(said(&framed(&intro.concat())).is_ok(), fine, "{entries} {store}");
        }
    }
}
