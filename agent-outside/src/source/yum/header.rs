//! Which of the files that something requires an rpm package has.
//!
//! In:   the package, the paths that something requires.
//! Out:  those of them that it has.
//!
//! `primary.xml` lists few files and `filelists.xml` does not travel, but the header of each
//! package that travels has them all.

use std::{collections::BTreeSet, io::Read};

use gapferry_common::rpm::{Header, HeaderError};

/// Tags of rpm's `rpmtag.h`.
const TAG_OLD_FILE_NAMES: u32 = 1027;
const TAG_DIR_INDEXES: u32 = 1116;
const TAG_BASE_NAMES: u32 = 1117;
const TAG_DIR_NAMES: u32 = 1118;

/// The paths among `paths` that the package has.
///
/// # Errors
///
/// [`HeaderError`].
pub fn find(package: impl Read, paths: &BTreeSet<String>) -> Result<BTreeSet<String>, HeaderError> {
    let header = Header::of_package(package)?;
    // A name that is not UTF-8 is none that metadata could ask for.
    let texts = |tag| {
        let texts = header.texts(tag)?;
        Ok(texts.map(|text| std::str::from_utf8(text).unwrap_or_default()))
    };
    let old = texts(TAG_OLD_FILE_NAMES)?;
    let mut found: BTreeSet<String> =
        old.filter(|path| paths.contains(*path)).map(str::to_owned).collect();
    let folders: Vec<&str> = texts(TAG_DIR_NAMES)?.collect();
    for (name, folder) in texts(TAG_BASE_NAMES)?.zip(header.numbers(TAG_DIR_INDEXES)?) {
        let folder = usize::try_from(folder).ok().and_then(|folder| folders.get(folder));
        let folder = folder.ok_or(HeaderError::Malformed("a file is in no folder"))?;
        let path = format!("{folder}{name}");
        if paths.contains(&path) {
            found.insert(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const TYPE_INT32: u32 = 4;
    const TYPE_STRINGS: u32 = 8;

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
        [b"\x8e\xad\xe8\x01", &[0; 4], &count, &len, &index[..], &store].concat()
    }

    fn framed(main: &[u8]) -> Vec<u8> {
        let mut bytes = b"\xed\xab\xee\xdb".to_vec();
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
    fn a_damaged_package_is_an_error() {
        let good = package(&["/usr/share/a"]);
        for len in 0..good.len() - b"payload".len() {
            assert!(found(&good[..len], &["/usr/share/a"]).is_err(), "{len}");
        }
    }
}
