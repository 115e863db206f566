//! Finds the members of a cpio archive (the payload of an rpm, an initramfs).
//!
//! In:   the bytes of one stream.
//! Out:  where each regular file's content lies; the rest is skeleton.
//! Never: reads past what is there, or gives another answer for the same bytes.
//!
//! Formats: `newc` (070701), `crc` (070702) and `odc` (070707), as in `cpio(5)`. Headers of the
//! stripped kind that rpm writes for large files (`07070X`) carry no length: the walk ends there.

use super::member::{MEMBERS_MAX, Member, content_at, digits, slice_at};

const TYPE_MASK: u64 = 0o170_000;
const REGULAR: u64 = 0o100_000;

/// Finds the regular files of a cpio archive, or gives `None` when `bytes` begins with no header.
///
/// Ends at `TRAILER!!!`, at the first thing that is no header, or at a content cut off.
pub fn members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut record = record_at(bytes, 0)?;
    let mut found = Vec::new();
    while found.len() < MEMBERS_MAX && record.name != b"TRAILER!!!" {
        if record.mode & TYPE_MASK == REGULAR && !record.content.is_empty() {
            found.push(Member::new(record.name, record.content_at, record.content));
        }
        match record_at(bytes, record.end) {
            Some(next) => record = next,
            None => break,
        }
    }
    Some(found)
}

/// One header with what it leads to.
struct Record<'a> {
    mode: u64,
    name: &'a [u8],
    content_at: usize,
    content: &'a [u8],
    /// Where the next header begins.
    end: usize,
}

/// Where the fields of a header lie.
struct Shape {
    radix: u32,
    len_bytes: usize,
    mode: (usize, usize),
    name_len: (usize, usize),
    content_len: (usize, usize),
    /// Names and contents begin and end at multiples of this.
    align: usize,
}

const NEWC: Shape = Shape {
    radix: 16,
    len_bytes: 110,
    mode: (14, 22),
    name_len: (94, 102),
    content_len: (54, 62),
    align: 4,
};

const ODC: Shape = Shape {
    radix: 8,
    len_bytes: 76,
    mode: (18, 24),
    name_len: (59, 65),
    content_len: (65, 76),
    align: 1,
};

fn record_at(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let shape = match slice_at(bytes, at, 6)? {
        b"070701" | b"070702" => &NEWC,
        b"070707" => &ODC,
        _ => return None,
    };
    let header = slice_at(bytes, at, shape.len_bytes)?;
    let number = |(from, to): (usize, usize)| digits(&header[from..to], shape.radix);
    let name_at = at + shape.len_bytes;
    let name = content_at(bytes, name_at, number(shape.name_len)?)?;
    let from = (name_at + name.len()).checked_next_multiple_of(shape.align)?;
    let content = content_at(bytes, from, number(shape.content_len)?)?;
    Some(Record {
        mode: number(shape.mode)?,
        name: name.strip_suffix(b"\0")?,
        content_at: from,
        content,
        end: (from + content.len()).checked_next_multiple_of(shape.align)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::{assert_apart, contents, damaged, pairs};
    use super::*;

    fn newc(magic: &str, mode: u32, name: &str, content: &str) -> Vec<u8> {
        let (len, name_len) = (content.len(), name.len() + 1);
        let head = format!("{magic}{0:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{len:08X}", 0, 1);
        let mut bytes =
            format!("{head}{0:08x}{0:08x}{0:08x}{0:08x}{name_len:08x}{0:08x}{name}\0", 0)
                .into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn odc(mode: u32, name: &str, content: &str) -> Vec<u8> {
        let (len, name_len) = (content.len(), name.len() + 1);
        let head =
            format!("070707{0:06o}{0:06o}{mode:06o}{0:06o}{0:06o}{1:06o}{0:06o}{0:011o}", 0, 1);
        format!("{head}{name_len:06o}{len:011o}{name}\0{content}").into_bytes()
    }

    fn rpm_payload() -> Vec<u8> {
        [
            newc("070701", 0o040_755, "./usr", ""),
            newc("070701", 0o100_644, "./usr/a", "hello"),
            newc("070702", 0o120_777, "./usr/link", "target"),
            newc("070702", 0o100_644, "./usr/long", "0123456789abcdef!"),
            newc("070701", 0, "TRAILER!!!", ""),
        ]
        .concat()
    }

    fn old() -> Vec<u8> {
        [odc(0o100_644, "a", "odd"), odc(0o100_644, "b", "more"), odc(0, "TRAILER!!!", "")].concat()
    }

    #[test]
    fn regular_files_of_a_payload_are_found_at_their_places() {
        let bytes = rpm_payload();
        let member = |name: &'static [u8], offset, len_bytes| Member {
            name: name.into(),
            offset,
            len_bytes,
        };
        let expected = [member(b"./usr/a", 236, 5), member(b"./usr/long", 500, 17)];
        assert_eq!(members(&bytes).unwrap(), expected);
        assert_eq!(
            contents(&bytes, &members(&bytes).unwrap()),
            pairs(&[("./usr/a", "hello"), ("./usr/long", "0123456789abcdef!")])
        );
    }

    #[test]
    fn the_old_portable_format_has_no_padding() {
        let bytes = old();
        let expected = pairs(&[("a", "odd"), ("b", "more")]);
        assert_eq!(contents(&bytes, &members(&bytes).unwrap()), expected);
    }

    #[test]
    fn the_walk_ends_at_the_trailer_a_stripped_header_or_a_file_cut_off() {
        let a = newc("070701", 0o100_644, "a", "aaaa");
        let b = newc("070701", 0o100_644, "b", "bbbb");
        let trailer = newc("070701", 0, "TRAILER!!!", "");
        let mut nameless = b.clone();
        nameless[94..102].copy_from_slice(b"00000000");
        let mut endless = b.clone();
        endless[54..62].copy_from_slice(b"ffffffff");
        for tail in [
            [&trailer[..], &b].concat(),
            b"07070X00000000".to_vec(),
            nameless,
            endless,
            b[..115].to_vec(),
        ] {
            let bytes = [&a[..], &tail].concat();
            assert_eq!(contents(&bytes, &members(&bytes).unwrap()), pairs(&[("a", "aaaa")]));
        }
        assert_eq!(members(b"07070X00000000"), None);
    }

    #[test]
    fn damaged_archives_give_ranges_in_order_and_inside() {
        damaged(&[rpm_payload(), old()], |bytes| {
            assert_apart(bytes, &members(bytes).unwrap_or_default());
        });
    }
}
