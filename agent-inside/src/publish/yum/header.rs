//! The header of an rpm package: which files it has, and its latest changes.
//!
//! In:   the bytes of a package.
//! Out:  [`Header`]; or nothing when they are no package. `filelists.xml` and `other.xml` are
//!       made of it, so that neither has to cross the gap.
//! Pure.

use gapferry_common::rpm;

/// Changes that `other.xml` keeps of each package, as `createrepo_c` does.
const CHANGES_MAX: usize = 10;

/// Tags of rpm's `rpmtag.h`.
const FILE_MODES: u32 = 1030;
const FILE_FLAGS: u32 = 1037;
const CHANGE_TIME: u32 = 1080;
const CHANGE_NAME: u32 = 1081;
const CHANGE_TEXT: u32 = 1082;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;

/// What a file of a package is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    File,
    Folder,
    /// Named by the package and not in it.
    Ghost,
}

/// One change, as the packager wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub author: String,
    /// Seconds since 1970.
    pub second: u32,
    pub text: String,
}

/// What a package says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    pub files: Vec<(String, Sort)>,
    /// The latest, oldest first.
    pub changes: Vec<Change>,
}

/// Reads the header of a package.
pub fn read(package: &[u8]) -> Option<Header> {
    let header = rpm::Header::of_package(package).ok()?;
    Some(Header { files: files(&header), changes: changes(&header) })
}

fn files(header: &rpm::Header) -> Vec<(String, Sort)> {
    let folders = texts(header, DIR_NAMES);
    let (modes, flags) = (numbers(header, FILE_MODES), numbers(header, FILE_FLAGS));
    let places = numbers(header, DIR_INDEXES);
    let of = |(at, name): (usize, String)| {
        let folder = folders.get(usize::try_from(*places.get(at)?).ok()?)?;
        let is_folder = modes.get(at).is_some_and(|mode| mode & 0o170_000 == 0o040_000);
        let is_ghost = flags.get(at).is_some_and(|flags| flags & 64 != 0);
        let sort = match (is_folder, is_ghost) {
            (true, _) => Sort::Folder,
            (false, true) => Sort::Ghost,
            (false, false) => Sort::File,
        };
        Some((format!("{folder}{name}"), sort))
    };
    texts(header, BASE_NAMES).into_iter().enumerate().filter_map(of).collect()
}

fn changes(header: &rpm::Header) -> Vec<Change> {
    let (names, texts) = (texts(header, CHANGE_NAME), texts(header, CHANGE_TEXT));
    let changes = numbers(header, CHANGE_TIME).into_iter().zip(names).zip(texts);
    let changes = changes.map(|((second, author), text)| Change { author, second, text });
    let mut changes: Vec<_> = changes.take(CHANGES_MAX).collect();
    changes.reverse();
    changes
}

/// The numbers of a tag; a tag that is damaged has none.
fn numbers(header: &rpm::Header, tag: u32) -> Vec<u32> {
    header.numbers(tag).map(Iterator::collect).unwrap_or_default()
}

/// The texts of a tag; a tag that is damaged has none.
fn texts(header: &rpm::Header, tag: u32) -> Vec<String> {
    let Ok(texts) = header.texts(tag) else { return Vec::new() };
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const TYPE_INT16: u32 = 3;
    const TYPE_INT32: u32 = 4;
    const TYPE_STRINGS: u32 = 8;

    /// A header of these tags, each with its type, count and bytes.
    fn table(tags: &[(u32, u32, usize, &[u8])]) -> Vec<u8> {
        let be = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let (mut entries, mut store) = (Vec::new(), Vec::new());
        for (tag, sort, count, bytes) in tags {
            entries.extend(
                [tag.to_be_bytes(), sort.to_be_bytes(), be(store.len()), be(*count)].concat(),
            );
            store.extend(*bytes);
        }
        [b"\x8e\xad\xe8\x01", &[0; 4], &be(tags.len()), &be(store.len()), &entries[..], &store]
            .concat()
    }

    /// A package with a file, a folder and a ghost, and two changes.
    pub fn package() -> Vec<u8> {
        let mut bytes = b"\xed\xab\xee\xdb".to_vec();
        bytes.resize(96, 0);
        bytes.extend(table(&[(1000, TYPE_INT32, 1, &[0; 4]), (62, 7, 1, b"x")]));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(table(&[
            (FILE_MODES, TYPE_INT16, 3, b"\x81\xa4\x41\xed\x81\xa4"),
            (FILE_FLAGS, TYPE_INT32, 3, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64]),
            (CHANGE_TIME, TYPE_INT32, 2, &[0, 0, 0, 9, 0, 0, 0, 5]),
            (CHANGE_NAME, TYPE_STRINGS, 2, b"B <b@x>\0A\0"),
            (CHANGE_TEXT, TYPE_STRINGS, 2, b"- new\0- old\0"),
            (DIR_INDEXES, TYPE_INT32, 3, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            (BASE_NAMES, TYPE_STRINGS, 3, b"words\0dict\0&log\0"),
            (DIR_NAMES, TYPE_STRINGS, 2, b"/usr/share/\0/usr/share/dict/\0"),
        ]));
        bytes.extend(b"payload");
        bytes
    }

    #[test]
    fn a_package_says_its_files_and_its_latest_changes() {
        let change = |author: &str, second, text: &str| Change {
            author: author.to_owned(),
            second,
            text: text.to_owned(),
        };
        let expected = Header {
            files: vec![
                ("/usr/share/dict/words".to_owned(), Sort::File),
                ("/usr/share/dict".to_owned(), Sort::Folder),
                ("/usr/share/&log".to_owned(), Sort::Ghost),
            ],
            changes: vec![change("A", 5, "- old"), change("B <b@x>", 9, "- new")],
        };
        assert_eq!(read(&package()), Some(expected));
    }

    #[test]
    fn damaged_packages_say_less_and_never_stop_the_agent() {
        let whole = package();
        assert_eq!(read(b"not an rpm"), None);
        for len in 0..whole.len() - 7 {
            assert_eq!(read(&whole[..len]), None, "{len}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                read(&damaged);
            }
        }
    }
}
