//! Finds the entries of a zip archive (wheels, jars).
//!
//! In:   the bytes of one stream.
//! Out:  where each entry's stored content lies and what the central directory says of it; the
//!       rest is skeleton, whose derived fields [`blank`] takes out and [`fill`] puts back.
//! Never: reads past what is there, or reports bytes twice: entries that overlap are left out,
//!       so an archive that contains itself or shares one kernel brings nothing.
//!
//! Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.4.

mod blank;
#[cfg(test)]
mod tests;

pub use self::blank::{Facts, ZipError, blank, fill};

use super::member::{MEMBERS_MAX, content_at, cut, slice_at};

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

const END_LEN_BYTES: usize = 22;

/// Flag bit 0, 6 or 13: encrypted, strongly encrypted, masked.
const ENCRYPTED: u16 = 0x2041;
/// Flag bit 3: CRC and lengths follow the content.
const DESCRIBED: u16 = 0x0008;

/// How the content of an entry is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Stored,
    Deflated,
}

/// One entry's content; lengths and CRC are what the central directory declares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// As the central directory has it, cut like the name of a [`super::member::Member`].
    pub name: &'a [u8],
    pub offset: u64,
    /// As stored.
    pub len_bytes: u64,
    pub method: Method,
    /// Declared and not to be trusted: a bomb declares what it likes.
    pub plain_len_bytes: u64,
    pub crc32: u32,
}

/// Finds the entries of a zip archive, sorted by offset, or gives `None` when it is none.
///
/// The central directory must stand right before its end record; bytes may stand before the
/// archive. Left out, so skeleton: entries whose stored length is 0, that are encrypted, have a
/// method other than stored and deflated, have zip64 lengths, or overlap another entry. An
/// archive whose central directory needs zip64 is `None`.
pub fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let end_at = end_record_at(bytes)?;
    let number = |at: usize| usize::try_from(short_u32(bytes, at)?).ok();
    let directory_at = end_at.checked_sub(number(end_at + 12)?)?;
    let before = directory_at.checked_sub(number(end_at + 16)?)?;
    let mut ranges = Vec::new();
    let mut at = directory_at;
    while ranges.len() < MEMBERS_MAX
        && let Some(record) = Central::at(&bytes[..end_at], at)
    {
        ranges.extend(range(&bytes[..directory_at], before, &record));
        at = record.end;
    }
    if at == directory_at && directory_at != end_at {
        return None;
    }
    Some(apart(ranges))
}

/// A content's start and end, with the entry if it is of a kind that is reported.
type Range<'a> = (usize, usize, Option<Entry<'a>>);

/// Where the content of `record` lies, in `bytes` up to the central directory.
fn range<'a>(bytes: &[u8], before: usize, record: &Central<'a>) -> Option<Range<'a>> {
    let local = Local::at(bytes, before.checked_add(usize::try_from(record.local_offset).ok()?)?)?;
    let content = content_at(bytes, local.end, u64::from(record.stored_len_bytes))?;
    if content.is_empty() {
        return None;
    }
    Some((local.end, local.end + content.len(), record.entry(local.end)))
}

/// Keeps the entries whose contents share no byte with any other.
fn apart(mut ranges: Vec<Range<'_>>) -> Vec<Entry<'_>> {
    ranges.sort_by_key(|&(from, to, _)| (from, to));
    let starts: Vec<_> =
        ranges.iter().skip(1).map(|&(from, ..)| from).chain([usize::MAX]).collect();
    let mut taken = 0;
    let mut kept = Vec::new();
    for ((from, to, entry), next) in ranges.into_iter().zip(starts) {
        if taken <= from && to <= next {
            kept.extend(entry);
        }
        taken = taken.max(to);
    }
    kept
}

/// A local file header, APPNOTE 4.3.7.
struct Local<'a> {
    flags: u16,
    stored_len_bytes: u32,
    name: &'a [u8],
    /// Where the content begins.
    end: usize,
}

impl<'a> Local<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let fixed = slice_at(bytes, at, 30)?;
        if !fixed.starts_with(LOCAL) {
            return None;
        }
        let name = slice_at(bytes, at + 30, usize::from(u16_at(fixed, 26)?))?;
        let extra = slice_at(bytes, at + 30 + name.len(), usize::from(u16_at(fixed, 28)?))?;
        Some(Self {
            flags: u16_at(fixed, 6)?,
            stored_len_bytes: u32_at(fixed, 18)?,
            name,
            end: at + 30 + name.len() + extra.len(),
        })
    }
}

/// A record of the central directory, APPNOTE 4.3.12.
struct Central<'a> {
    flags: u16,
    method: u16,
    crc32: u32,
    stored_len_bytes: u32,
    plain_len_bytes: u32,
    local_offset: u32,
    name: &'a [u8],
    end: usize,
}

impl<'a> Central<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let fixed = slice_at(bytes, at, 46)?;
        if !fixed.starts_with(CENTRAL) {
            return None;
        }
        let name = slice_at(bytes, at + 46, usize::from(u16_at(fixed, 28)?))?;
        let more = usize::from(u16_at(fixed, 30)?) + usize::from(u16_at(fixed, 32)?);
        let more = slice_at(bytes, at + 46 + name.len(), more)?;
        Some(Self {
            flags: u16_at(fixed, 8)?,
            method: u16_at(fixed, 10)?,
            crc32: u32_at(fixed, 16)?,
            stored_len_bytes: u32_at(fixed, 20)?,
            plain_len_bytes: u32_at(fixed, 24)?,
            local_offset: u32_at(fixed, 42)?,
            name,
            end: at + 46 + name.len() + more.len(),
        })
    }

    /// The entry whose content begins at `offset`, if it is of a kind that is reported.
    fn entry(&self, offset: usize) -> Option<Entry<'a>> {
        let method = match self.method {
            0 if self.plain_len_bytes == self.stored_len_bytes => Method::Stored,
            8 => Method::Deflated,
            _ => return None,
        };
        let zip64 = self.stored_len_bytes == u32::MAX || self.plain_len_bytes == u32::MAX;
        if zip64 || self.flags & ENCRYPTED != 0 {
            return None;
        }
        Some(Entry {
            name: cut(self.name),
            offset: offset as u64,
            len_bytes: u64::from(self.stored_len_bytes),
            method,
            plain_len_bytes: u64::from(self.plain_len_bytes),
            crc32: self.crc32,
        })
    }
}

/// Where the end record begins: the last one whose comment ends with the archive.
fn end_record_at(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LEN_BYTES)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| {
        bytes[at..].starts_with(END) && u16_at(bytes, at + 20).map(usize::from) == Some(last - at)
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

/// Like [`u32_at`], and `None` where the field says that zip64 has the number.
fn short_u32(bytes: &[u8], at: usize) -> Option<u32> {
    u32_at(bytes, at).filter(|&number| number != u32::MAX)
}
