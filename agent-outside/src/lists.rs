//! Plain lists: what Kubespray's own scripts print, and what people type.
//!
//! In:   the bytes of a `files.list`, `images.list` or `pkgs.txt`, and the file's name for errors.
//! Out:  its entries in the order of the lines, each once, or every line that is not understood.
//! Pure but for [`read`]. Never shows the text of a URL's line: it may hold a password or a token.
//!
//! | list           | a line                                                                  |
//! |----------------|-------------------------------------------------------------------------|
//! | `files.list`   | `URL`, `URL sha256:…`, or `…  URL` as `sha256sum` prints it             |
//! | `images.list`  | `registry/repository:tag`, also short as `nginx:1.29`, or with a digest |
//! | `pkgs.txt`     | one or more names, also `name:architecture` and `name=version`          |
//!
//! In all of them `#` starts a comment, blank lines count for nothing, lines end in LF or CR LF,
//! and a byte order mark is passed over. A `requirements.txt` goes to pip's rules as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{Digest, SafePath};
use serde::Deserialize;
use url::Url;

use crate::waybill::file_path;

/// Longest list, in bytes: 1 MiB. Kubespray's have 4 KiB.
pub const LIST_LEN_BYTES_MAX: usize = 1 << 20;

/// Longest line of a list, in bytes without its end: 4 KiB, twice what browsers send as a URL.
pub const LIST_LINE_LEN_BYTES_MAX: usize = 4 << 10;

/// Most lines of one list.
pub const LIST_LINES_MAX: usize = 100_000;

/// Most errors that are told of one list: a file of another sort has one on every line.
pub const LIST_ERRORS_MAX: usize = 100;

/// `lists:` of a waybill. Paths are as written, below the waybill's folder.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListsLine {
    /// URLs, as `generate_list.sh` prints them.
    pub files: Option<Utf8PathBuf>,
    /// Image references, as `generate_list.sh` prints them.
    pub images: Option<Utf8PathBuf>,
    /// Whether files without a checksum may come over plain HTTP.
    #[serde(default)]
    pub insecure: bool,
}

/// What a list says of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// Nothing: nobody vouches for the bytes until the caller finds someone.
    None,
    Sha256(Digest),
}

/// A line of a `files.list`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    pub url: Url,
    pub checksum: Checksum,
    /// Counted from 1.
    pub line: u32,
}

/// A line of an `images.list`, or a name of a `pkgs.txt`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameEntry {
    pub name: String,
    /// Counted from 1.
    pub line: u32,
}

/// Why a line, or a whole list, is not taken. Exit code 1.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}{}: {fault}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ListError {
    pub file: String,
    /// None when it is about the whole file.
    pub line: Option<u32>,
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("the list has {0} bytes, more than {LIST_LEN_BYTES_MAX}; split it")]
    ListTooLong(usize),
    #[error("the list has more than {LIST_LINES_MAX} lines; split it")]
    TooManyLines,
    #[error("the list is UTF-16; save it as UTF-8")]
    Utf16,
    #[error("there are more errors than the {LIST_ERRORS_MAX} before this; is it the right file?")]
    MoreErrors,
    #[error("the line has {0} bytes, more than {LIST_LINE_LEN_BYTES_MAX}")]
    LineTooLong(usize),
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("a variable is still in braces; this is the template, take the list made from it")]
    Template,
    #[error("write a URL, and a checksum before or after it if there is one")]
    FileColumns,
    #[error("there is no absolute http or https URL")]
    NoUrl,
    #[error("the URL holds credentials; put them into netrc")]
    Credentials,
    #[error("the URL has a part after '#', which no server sees; leave it out")]
    Fragment,
    #[error(
        "the URL cannot be served inside: its path must be plain segments in UTF-8 below a host"
    )]
    Path,
    #[error("the checksum is not 64 hex digits, with or without \"sha256:\" before them")]
    Checksum,
    #[error("only sha256 checksums are taken; give the file's sha256")]
    Algorithm,
    #[error("line {0} gives the same URL another checksum")]
    TwoChecksums(u32),
    #[error("line {0} has another URL that leads to the same path inside")]
    TwoUrls(u32),
    #[error("write one image reference a line, with its registry")]
    ImageColumns,
    #[error("this is a URL; write the image reference without a scheme")]
    ImageScheme,
    #[error("a list cannot name a layout on disk; write it under `images:` in the waybill")]
    ImageLayout,
    #[error("{0:?} is no image reference")]
    Image(String),
    #[error("{0:?} is no package name")]
    Package(String),
}

/// The bytes of a list, at most one more than a list may have.
///
/// # Errors
///
/// What the disk says.
pub fn read(path: &Utf8Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(LIST_LEN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a `files.list`; the same URL twice is one entry.
///
/// # Errors
///
/// Every line that is not understood, at most [`LIST_ERRORS_MAX`] and one more.
pub fn files(file: &str, bytes: &[u8]) -> Result<Vec<FileEntry>, Vec<ListError>> {
    let mut entries: Vec<FileEntry> = vec![];
    let mut places: BTreeMap<SafePath, usize> = BTreeMap::new();
    each_line(file, bytes, |line, text| {
        let entry = file_entry(line, text)?;
        let path = file_path(&entry.url).ok_or(Fault::Path)?;
        match places.get(&path).and_then(|&place| entries.get_mut(place)) {
            Some(first) => merge(first, &entry),
            None => {
                places.insert(path, entries.len());
                entries.push(entry);
                Ok(())
            }
        }
    })?;
    Ok(entries)
}

/// Reads an `images.list`; the same reference twice is one entry, and a short name stays short.
///
/// # Errors
///
/// As [`files`].
pub fn images(file: &str, bytes: &[u8]) -> Result<Vec<NameEntry>, Vec<ListError>> {
    names(file, bytes, |text| {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default();
        if words.next().is_some() {
            return Err(Fault::ImageColumns);
        }
        check_image(word)
    })
}

/// Reads a `pkgs.txt`; the same name twice is one entry.
///
/// # Errors
///
/// As [`files`].
pub fn packages(file: &str, bytes: &[u8]) -> Result<Vec<NameEntry>, Vec<ListError>> {
    names(file, bytes, |text| text.split_whitespace().try_for_each(check_package))
}

/// Collects the words of lines that pass `check`. Neither images nor packages have a `#` in
/// their names, so a comment may follow without a space.
fn names(
    file: &str,
    bytes: &[u8],
    check: impl Fn(&str) -> Result<(), Fault>,
) -> Result<Vec<NameEntry>, Vec<ListError>> {
    let mut entries = vec![];
    let mut known = BTreeSet::new();
    each_line(file, bytes, |line, text| {
        let text = text.split('#').next().unwrap_or_default();
        check(text)?;
        for name in text.split_whitespace() {
            if known.insert(name.to_owned()) {
                entries.push(NameEntry { name: name.to_owned(), line });
            }
        }
        Ok(())
    })?;
    Ok(entries)
}

/// Hands each line that says something to `take`, without comment and outer white space.
fn each_line(
    file: &str,
    bytes: &[u8],
    mut take: impl FnMut(u32, &str) -> Result<(), Fault>,
) -> Result<(), Vec<ListError>> {
    let error = |line, fault| ListError { file: file.to_owned(), line, fault };
    check_whole(bytes).map_err(|fault| vec![error(None, fault)])?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut errors = vec![];
    for (number, line) in (1u32..).zip(bytes.split(|&b| b == b'\n')) {
        let taken = line_text(line).and_then(|text| match text {
            "" => Ok(()),
            _ if text.contains("{{") || text.contains("{%") => Err(Fault::Template),
            text => take(number, text),
        });
        let Err(fault) = taken else { continue };
        if errors.len() == LIST_ERRORS_MAX {
            errors.push(error(None, Fault::MoreErrors));
            break;
        }
        errors.push(error(Some(number), fault));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_whole(bytes: &[u8]) -> Result<(), Fault> {
    if LIST_LEN_BYTES_MAX < bytes.len() {
        return Err(Fault::ListTooLong(bytes.len()));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Fault::Utf16);
    }
    let ends = bytes.iter().filter(|&&b| b == b'\n').count();
    let open = usize::from(bytes.last().is_some_and(|&b| b != b'\n'));
    if LIST_LINES_MAX < ends + open { Err(Fault::TooManyLines) } else { Ok(()) }
}

/// The line up to a `#` that stands first or after white space: a URL may hold one.
fn line_text(line: &[u8]) -> Result<&str, Fault> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if LIST_LINE_LEN_BYTES_MAX < line.len() {
        return Err(Fault::LineTooLong(line.len()));
    }
    let text = str::from_utf8(line).map_err(|_| Fault::NotUtf8)?;
    let comment = text
        .match_indices('#')
        .find(|&(at, _)| text[..at].chars().next_back().is_none_or(char::is_whitespace));
    Ok(comment.map_or(text, |(at, _)| &text[..at]).trim())
}

fn file_entry(line: u32, text: &str) -> Result<FileEntry, Fault> {
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    let (url, checksum) = match *words {
        [url] => (url, None),
        // The star is the mark of `sha256sum --binary`.
        [sum, url] if url.contains("://") => (url.strip_prefix('*').unwrap_or(url), Some(sum)),
        [url, sum] => (url, Some(sum)),
        _ => return Err(Fault::FileColumns),
    };
    let checksum = checksum.map_or(Ok(Checksum::None), parse_checksum)?;
    Ok(FileEntry { url: parse_url(url)?, checksum, line })
}

fn parse_url(word: &str) -> Result<Url, Fault> {
    let url: Url = word.parse().map_err(|_| Fault::NoUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Fault::NoUrl);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::Credentials);
    }
    if url.fragment().is_some() { Err(Fault::Fragment) } else { Ok(url) }
}

fn parse_checksum(word: &str) -> Result<Checksum, Fault> {
    let word = word.to_ascii_lowercase();
    let (algorithm, hex) = word.split_once(':').unwrap_or(("sha256", &word));
    let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit());
    match (algorithm, hex.len()) {
        // Lengths of MD5, SHA-1, SHA-384 and SHA-512.
        (_, 32 | 40 | 96 | 128) if is_hex => Err(Fault::Algorithm),
        ("sha256", _) => {
            format!("sha256:{hex}").parse().map(Checksum::Sha256).map_err(|_| Fault::Checksum)
        }
        _ => Err(Fault::Checksum),
    }
}

fn merge(first: &mut FileEntry, again: &FileEntry) -> Result<(), Fault> {
    if first.url != again.url {
        return Err(Fault::TwoUrls(first.line));
    }
    match (first.checksum, again.checksum) {
        (_, Checksum::None) => {}
        (Checksum::None, known) => first.checksum = known,
        (one, other) if one == other => {}
        _ => return Err(Fault::TwoChecksums(first.line)),
    }
    Ok(())
}

fn check_image(word: &str) -> Result<(), Fault> {
    if word.contains("://") {
        return Err(Fault::ImageScheme);
    }
    if word.starts_with("oci:") {
        return Err(Fault::ImageLayout);
    }
    if is_name(word, b"._-/:@") { Ok(()) } else { Err(Fault::Image(word.to_owned())) }
}

fn check_package(word: &str) -> Result<(), Fault> {
    if is_name(word, b"._-+~^:=") { Ok(()) } else { Err(Fault::Package(word.to_owned())) }
}

fn is_name(word: &str, also: &[u8]) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
}

#[cfg(test)]
mod tests;
