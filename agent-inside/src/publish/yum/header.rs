//! The header of an rpm package: which files it has, and its latest changes.
//!
//! In:   the bytes of a package.
//! Out:  [`Header`]; or nothing when they are no package. `filelists.xml` and `other.xml` are
//!       made of it, so that neither has to cross the gap.
//! Pure. Every offset and count is checked against what is there.
//!
//! Layout: "RPM V4 package file format"; the tags: `rpmtag.h`.

/// Longest header that is read, in bytes: 256 MiB, rpm's own bound.
const HEADER_LEN_BYTES_MAX: usize = 256 << 20;
const LEAD_LEN_BYTES: usize = 96;
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
/// Changes that `other.xml` keeps of each package, as `createrepo_c` does.
const CHANGES_MAX: usize = 10;

const FILE_MODES: u32 = 1030;
const FILE_FLAGS: u32 = 1037;
const CHANGE_TIME: u32 = 1080;
const CHANGE_NAME: u32 = 1081;
const CHANGE_TEXT: u32 = 1082;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;

const TYPE_INT16: u32 = 3;
const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;
const TYPE_STRINGS: u32 = 8;

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
    if !package.starts_with(b"\xed\xab\xee\xdb") {
        return None;
    }
    let signature = Table::at(package, LEAD_LEN_BYTES)?;
    let table = Table::at(package, signature.end.checked_next_multiple_of(8)?)?;
    Some(Header { files: files(&table), changes: changes(&table) })
}

fn files(table: &Table<'_>) -> Vec<(String, Sort)> {
    let folders = table.texts(DIR_NAMES);
    let (modes, flags) = (table.numbers(FILE_MODES), table.numbers(FILE_FLAGS));
    let places = table.numbers(DIR_INDEXES);
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
    table.texts(BASE_NAMES).into_iter().enumerate().filter_map(of).collect()
}

fn changes(table: &Table<'_>) -> Vec<Change> {
    let (names, texts) = (table.texts(CHANGE_NAME), table.texts(CHANGE_TEXT));
    let changes = table.numbers(CHANGE_TIME).into_iter().zip(names).zip(texts);
    let changes = changes.map(|((second, author), text)| Change { author, second, text });
    let mut changes: Vec<_> = changes.take(CHANGES_MAX).collect();
    changes.reverse();
    changes
}

/// A header as it lies in the package: entries of 16 bytes, then what they point to.
struct Table<'a> {
    entries: &'a [u8],
    store: &'a [u8],
    end: usize,
}

impl<'a> Table<'a> {
    fn at(package: &'a [u8], at: usize) -> Option<Self> {
        let intro = package.get(at..at.checked_add(16)?)?;
        if !intro.starts_with(HEADER_MAGIC) {
            return None;
        }
        let count = usize::try_from(number(intro, 8)?).ok()?;
        let len_bytes = usize::try_from(number(intro, 12)?).ok()?;
        let store_at = (at + 16).checked_add(count.checked_mul(16)?)?;
        let end = store_at.checked_add(len_bytes)?;
        if HEADER_LEN_BYTES_MAX < end - at {
            return None;
        }
        let entries = package.get(at + 16..store_at)?;
        Some(Self { entries, store: package.get(store_at..end)?, end })
    }

    /// Type, count and bytes of what a tag points to; the bytes go on to the end of the store.
    fn find(&self, tag: u32) -> Option<(u32, usize, &'a [u8])> {
        let entry = self.entries.chunks_exact(16).find(|entry| number(entry, 0) == Some(tag))?;
        let offset = usize::try_from(number(entry, 8)?).ok()?;
        let count = usize::try_from(number(entry, 12)?).ok()?;
        Some((number(entry, 4)?, count, self.store.get(offset..)?))
    }

    /// The numbers of a tag, as many as are there.
    fn numbers(&self, tag: u32) -> Vec<u32> {
        match self.find(tag) {
            Some((TYPE_INT32, count, bytes)) => {
                bytes.chunks_exact(4).take(count).filter_map(|four| number(four, 0)).collect()
            }
            Some((TYPE_INT16, count, bytes)) => {
                let two = |two: &[u8]| Some(u32::from(u16::from_be_bytes(*two.first_chunk()?)));
                bytes.chunks_exact(2).take(count).filter_map(two).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The texts of a tag, as many as are there; each ends with a zero.
    fn texts(&self, tag: u32) -> Vec<String> {
        let Some((TYPE_STRING | TYPE_STRINGS, count, bytes)) = self.find(tag) else {
            return Vec::new();
        };
        let Some(last) = bytes.iter().rposition(|&byte| byte == 0) else { return Vec::new() };
        let texts = bytes[..last].split(|&byte| byte == 0).take(count);
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
pub mod tests {
    use super::*;

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
        [HEADER_MAGIC, &[0; 4], &be(tags.len()), &be(store.len()), &entries, &store].concat()
    }

    /// A package with a file, a folder and a ghost, and two changes.
    pub fn package() -> Vec<u8> {
        let mut bytes = b"\xed\xab\xee\xdb".to_vec();
        bytes.resize(LEAD_LEN_BYTES, 0);
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
