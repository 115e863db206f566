//! Finds the files of a tar archive (V7, ustar, GNU, PAX).
//!
//! In:   the bytes of one stream.
//! Out:  where each regular file's content lies; headers, long names, PAX records, padding and
//!       whatever follows the last file are skeleton.
//! Never: reads past what is there, or gives another answer for the same bytes.
//!
//! Sources: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual,
//! "Basic Tar Format" and "Storing Sparse Files".

use std::borrow::Cow;

use super::member::{
    MEMBERS_MAX, Member, content_at, cut, digits, padded_digits, slice_at, until_nul,
};

const BLOCK_LEN_BYTES: usize = 512;

/// Finds the regular files of a tar archive, or gives `None` when it begins with no header.
///
/// Ends at the first block that is no header, or at a content cut off. A link, directory or
/// device that declares a length has a content only when no header, end block or end follows it.
pub fn members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut header = Header::at(bytes, 0)?;
    let mut found = Vec::new();
    let mut global = Overrides::default();
    let mut next = Overrides::default();
    let mut at = 0;
    while found.len() < MEMBERS_MAX {
        let own = header.extends_next();
        let declared = if own { None } else { next.len_bytes.or(global.len_bytes) };
        let from = header.content_offset(bytes, at);
        let len_bytes = declared.unwrap_or(header.len_bytes);
        let none = header.may_lack_content() && ends_at(bytes, from);
        let Some(content) = content_at(bytes, from, if none { 0 } else { len_bytes }) else {
            break;
        };
        match header.kind {
            b'L' => next.name = Some(until_nul(content)),
            b'x' | b'X' => next.read(content),
            b'g' => global.read(content),
            b'0' | 0 | b'7' | b'S' if !content.is_empty() => {
                let name = match next.name.or(global.name) {
                    Some(long) => cut(long).into(),
                    None => header.name(),
                };
                found.push(Member { name, ..Member::new(b"", from, content) });
            }
            _ => {}
        }
        if !own {
            next = Overrides::default();
        }
        at = from + content.len().next_multiple_of(BLOCK_LEN_BYTES);
        match Header::at(bytes, at) {
            Some(following) => header = following,
            None => break,
        }
    }
    Some(found)
}

/// A block whose checksum and length are right.
struct Header<'a> {
    block: &'a [u8],
    kind: u8,
    len_bytes: u64,
}

impl<'a> Header<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let block = slice_at(bytes, at, BLOCK_LEN_BYTES)?;
        if !checksum_is_right(block) {
            return None;
        }
        Some(Self { block, kind: block[156], len_bytes: number(&block[124..136])? })
    }

    /// Whether this entry says something about the next one and is none itself.
    fn extends_next(&self) -> bool {
        matches!(self.kind, b'L' | b'K' | b'x' | b'X' | b'g')
    }

    /// Whether this is a link, device, directory or pipe, whose length may mean nothing.
    fn may_lack_content(&self) -> bool {
        matches!(self.kind, b'1'..=b'6')
    }

    /// Where the content begins: behind the sparse maps that follow a header of the old GNU kind.
    fn content_offset(&self, bytes: &[u8], at: usize) -> usize {
        let mut from = at + BLOCK_LEN_BYTES;
        let mut more = self.kind == b'S' && self.block[482] != 0;
        while more && let Some(map) = slice_at(bytes, from, BLOCK_LEN_BYTES) {
            from += BLOCK_LEN_BYTES;
            more = map[504] != 0;
        }
        from
    }

    /// The name, with the prefix that only POSIX headers have.
    fn name(&self) -> Cow<'a, [u8]> {
        let (name, prefix) = (until_nul(&self.block[..100]), until_nul(&self.block[345..500]));
        if self.block[257..263] == *b"ustar\0" && !prefix.is_empty() {
            [prefix, b"/", name].concat().into()
        } else {
            name.into()
        }
    }
}

/// Whether an entry without content may end at `at`: a header, a block of zeros or the end.
fn ends_at(bytes: &[u8], at: usize) -> bool {
    let Some(block) = slice_at(bytes, at, BLOCK_LEN_BYTES) else { return true };
    block.iter().all(|&byte| byte == 0) || Header::at(bytes, at).is_some()
}

/// Compares the checksum, which old writers summed over signed bytes.
fn checksum_is_right(block: &[u8]) -> bool {
    let Some(stored) = padded_digits(&block[148..156], 8) else { return false };
    let counted = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
    let unsigned: u64 = counted.clone().map(|&byte| u64::from(byte)).sum();
    let signed: i64 = counted.map(|&byte| i64::from(byte.cast_signed())).sum();
    stored == unsigned || i64::try_from(stored) == Ok(signed)
}

/// Reads a length: octal digits, or base-256 when the first bit is set; never a negative one.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, rest @ ..] => rest
            .iter()
            .try_fold(0_u64, |number, &byte| Some(number.checked_mul(256)? | u64::from(byte))),
        [0x81..=0xff, ..] => None,
        _ => padded_digits(field, 8),
    }
}

/// What long names and PAX records put in place of header fields.
#[derive(Default)]
struct Overrides<'a> {
    name: Option<&'a [u8]>,
    len_bytes: Option<u64>,
}

impl<'a> Overrides<'a> {
    /// Takes `path` and `size` from PAX records; ends at the first that is malformed.
    fn read(&mut self, mut records: &'a [u8]) {
        while let Some((keyword, value, rest)) = pax_record(records) {
            match keyword {
                b"path" => self.name = Some(value).filter(|value| !value.is_empty()),
                b"size" if value.is_empty() => self.len_bytes = None,
                b"size" => self.len_bytes = digits(value, 10).or(self.len_bytes),
                _ => {}
            }
            records = rest;
        }
    }
}

/// Splits the first record, `"%d %s=%s\n"`, off `records`: keyword, value, the rest.
fn pax_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|&byte| byte == b' ')?;
    let len_bytes = usize::try_from(digits(&records[..space], 10)?).ok()?;
    let record = records.get(space + 1..len_bytes)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[len_bytes..]))
}

#[cfg(test)]
mod tests;
