//! The header of an rpm package, as far as it tells which files the package has.
//!
//! In:   the package, the paths that something requires.
//! Out:  those of them that it has.
//! Never: reads the payload, or more of the header than its limits.
//!
//! `primary.xml` lists few files and `filelists.xml` does not travel, but the header of each
//! package that travels has them all.
//!
//! Layout: "RPM V3/V4 package file format": a lead, the signature header padded to 8 bytes, the
//! main header. A header is an index of entries of 16 bytes (tag, type, offset, count), then a
//! store.

use std::{
    collections::BTreeSet,
    io::{self, Read},
};

const LEAD_LEN_BYTES: u64 = 96;
const LEAD_MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
const ENTRY_LEN_BYTES: u64 = 16;

/// Most entries of a header, as rpm has it: 2^16. Real ones have about a hundred.
const ENTRIES_MAX: u64 = 1 << 16;

/// Longest store of a header, in bytes: 64 MiB, twenty times that of a package of 50,000 files.
const STORE_LEN_BYTES_MAX: u64 = 64 << 20;

/// Tags and types of rpm's `rpmtag.h`.
const TAG_OLD_FILE_NAMES: u32 = 1027;
const TAG_DIR_INDEXES: u32 = 1116;
const TAG_BASE_NAMES: u32 = 1117;
const TAG_DIR_NAMES: u32 = 1118;
const TYPE_INT32: u32 = 4;
const TYPE_STRINGS: u32 = 8;

/// Why a header is not read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is no rpm package: {0}")]
    Malformed(&'static str),
}

/// The paths among `paths` that the package has.
///
/// # Errors
///
/// [`HeaderError`].
pub fn find(
    mut package: impl Read,
    paths: &BTreeSet<String>,
) -> Result<BTreeSet<String>, HeaderError> {
    let lead = take(&mut package, LEAD_LEN_BYTES)?;
    if !lead.starts_with(LEAD_MAGIC) {
        return Err(HeaderError::Malformed("it has no lead"));
    }
    let signature = Header::read(&mut package)?;
    let len_bytes = signature.store.len() as u64;
    take(&mut package, len_bytes.next_multiple_of(8) - len_bytes)?;
    let header = Header::read(&mut package)?;
    let old = header.strings(TAG_OLD_FILE_NAMES)?;
    let mut found: BTreeSet<String> =
        old.filter(|path| paths.contains(*path)).map(str::to_owned).collect();
    let folders: Vec<&str> = header.strings(TAG_DIR_NAMES)?.collect();
    for (name, folder) in header.strings(TAG_BASE_NAMES)?.zip(header.numbers(TAG_DIR_INDEXES)?) {
        let folder = usize::try_from(folder).ok().and_then(|folder| folders.get(folder));
        let folder = folder.ok_or(HeaderError::Malformed("a file is in no folder"))?;
        let path = format!("{folder}{name}");
        if paths.contains(&path) {
            found.insert(path);
        }
    }
    Ok(found)
}

/// A header: its index and its store.
struct Header {
    index: Vec<u8>,
    store: Vec<u8>,
}

impl Header {
    fn read(from: &mut impl Read) -> Result<Self, HeaderError> {
        let intro = take(from, 16)?;
        let number = |at: usize| number(&intro, at).map(u64::from);
        let (Some(entries), Some(len_bytes)) = (number(8), number(12)) else {
            return Err(HeaderError::Malformed("it ends inside a header"));
        };
        if !intro.starts_with(HEADER_MAGIC) {
            return Err(HeaderError::Malformed("it has no header"));
        }
        if ENTRIES_MAX < entries || STORE_LEN_BYTES_MAX < len_bytes {
            return Err(HeaderError::Malformed("its header is too long"));
        }
        Ok(Self { index: take(from, entries * ENTRY_LEN_BYTES)?, store: take(from, len_bytes)? })
    }

    /// Where the values of a tag begin, and how many there are; none without the tag.
    fn values(&self, tag: u32, kind: u32) -> Result<(&[u8], usize), HeaderError> {
        let entries = self.index.chunks_exact(16);
        let Some(entry) = entries.into_iter().find(|entry| number(entry, 0) == Some(tag)) else {
            return Ok((&[], 0));
        };
        let field = |at| number(entry, at).and_then(|n| usize::try_from(n).ok());
        let values = field(8).and_then(|offset| self.store.get(offset..));
        match (number(entry, 4), values, field(12)) {
            (Some(own), Some(values), Some(count)) if own == kind && count <= values.len() => {
                Ok((values, count))
            }
            _ => Err(HeaderError::Malformed("an entry of its header is wrong")),
        }
    }

    fn strings(&self, tag: u32) -> Result<impl Iterator<Item = &str>, HeaderError> {
        let (values, count) = self.values(tag, TYPE_STRINGS)?;
        let texts = values.split(|byte| *byte == 0).take(count);
        // A name that is not UTF-8 is none that metadata could ask for.
        Ok(texts.map(|text| std::str::from_utf8(text).unwrap_or_default()))
    }

    fn numbers(&self, tag: u32) -> Result<impl Iterator<Item = u32>, HeaderError> {
        let (values, count) = self.values(tag, TYPE_INT32)?;
        Ok(values.chunks_exact(4).take(count).filter_map(|bytes| number(bytes, 0)))
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
pub mod tests {
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
        bytes.extend(header(&[(1000, 6, 1, b"sig\0")]));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        [&bytes[..], main, b"payload"].concat()
    }

    /// A package that has files, as far as its header.
    pub fn package(files: &[&str]) -> Vec<u8> {
        let (mut folders, mut names, mut indexes) = (vec![], vec![], vec![]);
        for (number, path) in files.iter().enumerate() {
            let (folder, name) = path.rsplit_once('/').unwrap();
            folders.extend(format!("{folder}/\0").bytes());
            names.extend(format!("{name}\0").bytes());
            indexes.extend(u32::try_from(number).unwrap().to_be_bytes());
        }
        let count = u32::try_from(files.len()).unwrap();
        framed(&header(&[
            (TAG_DIR_INDEXES, TYPE_INT32, count, &indexes),
            (TAG_BASE_NAMES, TYPE_STRINGS, count, &names),
            (TAG_DIR_NAMES, TYPE_STRINGS, count, &folders),
        ]))
    }

    fn found(package: &[u8], paths: &[&str]) -> Result<Vec<String>, HeaderError> {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        find(package, &paths).map(|found| found.into_iter().collect())
    }

    #[test]
    fn files_that_are_asked_for_are_found_in_the_header() {
        let bytes = package(&["/usr/share/a", "/usr/lib/b"]);
        assert_eq!(found(&bytes, &["/usr/lib/b", "/usr/lib/a"]).unwrap(), ["/usr/lib/b"]);
        let old = framed(&header(&[(TAG_OLD_FILE_NAMES, TYPE_STRINGS, 2, b"/a\0/b\0")]));
        assert_eq!(found(&old, &["/b", "/c"]).unwrap(), ["/b"]);
        assert_eq!(found(&framed(&header(&[])), &["/b"]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn damaged_headers_are_errors_and_never_panic() {
        let good = package(&["/usr/share/a"]);
        let end = good.len() - b"payload".len();
        for len in 0..end {
            assert!(found(&good[..len], &["/usr/share/a"]).is_err(), "{len}");
        }
        for at in 0..end {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                let _any = found(&bytes, &["/usr/share/a"]);
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
            assert_eq!(found(&framed(&intro.concat()), &["/a"]).is_ok(), fine, "{entries} {store}");
        }
    }
}
