use std::io::{Cursor, Write as _};

use ::zip::ZipWriter;
use ::zip::write::SimpleFileOptions;

use super::super::member::Member;
use super::super::member::tests::{assert_apart, damaged};
use super::*;

/// By Python's zipfile into a pipe: every entry has a descriptor, also those without content.
const BY_PYTHON_PIPED: &str = "\
504b03041400080008000000210000000000000000000000000008000000706b672f612e7079cb48cdc9c957c8a03b09\
00504b07082ffaf8480b00000078000000504b0304140008000000000021000000000000000000000000000400000070\
6b672f504b0708000000000000000000000000504b030414000800000000002100000000000000000000000000090000\
00706b672f656d707479504b0708000000000000000000000000504b0304140008000000000021000000000000000000\
00000000010000006278504b07088316dc8c0100000001000000504b01021403140008000800000021002ffaf8480b00\
000078000000080000000000000000000000800100000000706b672f612e7079504b0102140314000800000000002100\
000000000000000000000000040000000000000000000000800141000000706b672f504b010214031400080000000000\
2100000000000000000000000000090000000000000000000000800173000000706b672f656d707479504b0102140314\
0008000000000021008316dc8c01000000010000000100000000000000000000008001aa00000062504b050600000000\
04000400ce000000da0000000000";

/// By Python's zipfile behind `#!python\n`: offsets count from the start of the file.
const BY_PYTHON_APPENDED: &str = "\
2321707974686f6e0a504b0304140000000800000021002ffaf8480b0000007800000008000000706b672f612e7079cb\
48cdc9c957c8a03b0900504b03041400000000000000210000000000000000000000000004000000706b672f504b0304\
1400000000000000210000000000000000000000000009000000706b672f656d707479504b0304140000000000000021\
008316dc8c0100000001000000010000006278504b01021403140000000800000021002ffaf8480b0000007800000008\
0000000000000000000000800109000000706b672f612e7079504b010214031400000000000000210000000000000000\
000000000004000000000000000000000080013a000000706b672f504b01021403140000000000000021000000000000\
0000000000000009000000000000000000000080015c000000706b672f656d707479504b010214031400000000000000\
21008316dc8c010000000100000001000000000000000000000080018300000062504b05060000000004000400ce0000\
00a30000000000";

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The way an entry's CRC and lengths follow its content.
#[derive(Clone, Copy, PartialEq)]
enum Descriptor {
    No,
    Plain,
    Signed,
    PlainWide,
    SignedWide,
}

const DESCRIPTORS: [Descriptor; 5] = [
    Descriptor::No,
    Descriptor::Plain,
    Descriptor::Signed,
    Descriptor::PlainWide,
    Descriptor::SignedWide,
];

/// A stored entry, to be written by hand.
#[derive(Clone)]
struct Part {
    name: &'static str,
    content: Vec<u8>,
    flags: u16,
    method: u16,
    descriptor: Descriptor,
}

fn part(name: &'static str, content: &str) -> Part {
    let content = content.as_bytes().to_vec();
    Part { name, content, flags: 0, method: 0, descriptor: Descriptor::No }
}

impl Part {
    fn crc32(&self) -> u32 {
        self.content.iter().fold(0x8765_4321, |crc, &byte| crc.wrapping_mul(31) ^ u32::from(byte))
    }

    /// What a local header and a central record have in common.
    fn common(&self, here: bool) -> Vec<u8> {
        let len_bytes = u32::try_from(self.content.len()).unwrap();
        let described = self.descriptor != Descriptor::No;
        let flags = self.flags | if described { DESCRIBED } else { 0 };
        let numbers = if here { [self.crc32(), len_bytes, len_bytes] } else { [0; 3] };
        let mut bytes = [20, flags, self.method, 0, 33].map(u16::to_le_bytes).concat();
        bytes.extend(numbers.map(u32::to_le_bytes).concat());
        bytes.extend(u16::try_from(self.name.len()).unwrap().to_le_bytes());
        bytes
    }

    fn local(&self) -> Vec<u8> {
        let fixed = self.common(self.descriptor == Descriptor::No);
        let extra = [2, 0, 7, 7];
        let (crc32, len) = (self.crc32().to_le_bytes(), self.content.len() as u64);
        let long = len.to_le_bytes();
        let lengths = match self.descriptor {
            Descriptor::No => vec![],
            Descriptor::Plain | Descriptor::Signed => [&crc32, &long[..4], &long[..4]].concat(),
            _ => [&crc32[..], &long, &long].concat(),
        };
        let signed = matches!(self.descriptor, Descriptor::Signed | Descriptor::SignedWide);
        let signature = if signed { DESCRIPTOR } else { &[] };
        let name = self.name.as_bytes();
        [LOCAL, &fixed, &extra[..2], name, &extra[2..], &self.content, signature, &lengths].concat()
    }

    fn central(&self, offset: usize) -> Vec<u8> {
        let offset = u32::try_from(offset).unwrap().to_le_bytes();
        [CENTRAL, &[20, 0], &self.common(true), &[0; 12], &offset, self.name.as_bytes()].concat()
    }
}

/// Local entries in the order of `parts`, central records in `order`.
fn zip(parts: &[Part], order: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for part in parts {
        offsets.push(bytes.len());
        bytes.extend(part.local());
    }
    let records: Vec<_> = order.iter().map(|&i| parts[i].central(offsets[i])).collect();
    with_directory(&bytes, &records)
}

fn with_directory(locals: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let directory = records.concat();
    let count = u16::try_from(records.len()).unwrap().to_le_bytes();
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let numbers = [number(directory.len()), number(locals.len())].concat();
    [locals, &directory, END, &[0; 4], &count, &count, &numbers, &[0; 2]].concat()
}

fn names(bytes: &[u8]) -> Vec<String> {
    let found = entries(bytes).unwrap();
    found.into_iter().map(|entry| String::from_utf8(entry.name.to_vec()).unwrap()).collect()
}

/// The text, the cuts and the facts of a zip.
fn skeleton(bytes: &[u8]) -> (Vec<u8>, Vec<u64>, Vec<Facts>) {
    let (mut text, mut cuts, mut facts, mut at) = (vec![], vec![], vec![], 0);
    for entry in entries(bytes).unwrap() {
        let from = usize::try_from(entry.offset).unwrap();
        text.extend(&bytes[at..from]);
        cuts.push(text.len() as u64);
        facts.push(Facts {
            crc32: entry.crc32,
            plain_len_bytes: entry.plain_len_bytes,
            stored_len_bytes: entry.len_bytes,
        });
        at = from + usize::try_from(entry.len_bytes).unwrap();
    }
    text.extend(&bytes[at..]);
    (text, cuts, facts)
}

/// The blanked text of a zip; `fill` must turn it into the text.
fn blanked(bytes: &[u8]) -> Vec<u8> {
    let (text, cuts, facts) = skeleton(bytes);
    let mut blanked = text.clone();
    assert!(blank(&mut blanked, &cuts, &facts));
    let mut filled = blanked.clone();
    assert_eq!(fill(&mut filled, &cuts, &facts), Ok(()));
    assert!(filled == text);
    blanked
}

/// A zip by the zip crate, all of whose contents begin with `start`.
fn by_zip(start: &str) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let deflated =
        SimpleFileOptions::default().compression_method(::zip::CompressionMethod::Deflated);
    let stored = SimpleFileOptions::default().compression_method(::zip::CompressionMethod::Stored);
    writer.add_directory("pkg/", stored).unwrap();
    for (name, options) in [("pkg/a.py", deflated), ("pkg/b", stored)] {
        writer.start_file(name, options).unwrap();
        writer.write_all(format!("{start} and then the same").as_bytes()).unwrap();
    }
    writer.start_file("pkg/zip64", stored.large_file(true)).unwrap();
    writer.write_all(b"content that stays in the text").unwrap();
    writer.start_file("pkg/empty", stored).unwrap();
    writer.set_comment("a comment").unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn entries_by_the_zip_crate_are_found_with_what_the_directory_says() {
    let bytes = by_zip("one one one one");
    let mut archive = ::zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
    let mut expected = Vec::new();
    for (index, name) in [(1, "pkg/a.py"), (2, "pkg/b")] {
        let file = archive.by_index_raw(index).unwrap();
        assert_eq!(file.name().unwrap(), name);
        expected.push(Entry {
            name: name.as_bytes(),
            offset: file.data_start().unwrap(),
            len_bytes: file.compressed_size(),
            method: if index == 1 { Method::Deflated } else { Method::Stored },
            plain_len_bytes: file.size(),
            crc32: file.crc32(),
        });
    }
    assert_eq!(entries(&bytes).unwrap(), expected);
}

#[test]
fn other_contents_leave_the_same_blanked_text() {
    assert_eq!(blanked(&by_zip("one")), blanked(&by_zip("eleven, twelve")));
    for descriptor in DESCRIPTORS {
        let with = |contents: [&str; 3]| {
            let names = ["a", "b/", "c"].into_iter().zip(contents);
            let parts = names.map(|(name, content)| Part { descriptor, ..part(name, content) });
            zip(&parts.collect::<Vec<_>>(), &[0, 1, 2])
        };
        assert_eq!(blanked(&with(["1", "", "3"])), blanked(&with(["longer", "", "content"])));
    }
}

#[test]
fn derived_fields_become_zero() {
    let bytes = zip(&[part("a", "content")], &[0]);
    let local = [&b"PK\x03\x04\x14\0\0\0\0\0\0\0\x21\0"[..], &[0; 12], b"\x01\0\x02\0a\x07\x07"];
    let central =
        [&b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\x21\0"[..], &[0; 12], b"\x01\0", &[0; 16], b"a"];
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &[0; 10]];
    assert_eq!(blanked(&bytes), [local.concat(), central.concat(), end.concat()].concat());
}

#[test]
fn zips_by_python_are_blanked_whether_piped_or_appended() {
    for (hex, fields) in [(BY_PYTHON_PIPED, 29), (BY_PYTHON_APPENDED, 30)] {
        let bytes = unhex(hex);
        assert_eq!(names(&bytes), ["pkg/a.py", "b"]);
        let (text, ..) = skeleton(&bytes);
        let changed = text.iter().zip(blanked(&bytes)).filter(|&(&old, new)| old != new).count();
        assert_eq!(changed, fields);
    }
}

#[test]
fn offsets_may_count_from_the_archive_or_from_bytes_before_it() {
    let bytes = zip(&[part("a", "1"), part("empty/", ""), part("b", "2")], &[0, 1, 2]);
    let moved = [&b"MZ stub PK\x03\x04 with a signature of its own"[..], &bytes].concat();
    let places =
        |bytes: &[u8]| entries(bytes).unwrap().into_iter().map(|e| e.offset).collect::<Vec<_>>();
    let before = (moved.len() - bytes.len()) as u64;
    assert_eq!(places(&moved), places(&bytes).iter().map(|at| at + before).collect::<Vec<_>>());
    let (moved, unmoved) = (blanked(&moved), blanked(&bytes));
    let differ = unmoved.iter().rev().zip(moved.iter().rev()).filter(|(a, b)| a != b).count();
    assert_eq!(differ, 4, "only the offset of the directory says that the archive was moved");
}

#[test]
fn a_directory_in_another_order_finds_its_headers_by_name() {
    let parts = [part("a", "1"), part("b", "2"), part("c", "3"), part("d/", "")];
    let others = [part("a", "123"), part("b", "45"), part("c", "6"), part("d/", "")];
    let order = [2, 3, 0, 1];
    assert_eq!(names(&zip(&parts, &order)), ["a", "b", "c"]);
    assert_eq!(blanked(&zip(&parts, &order)), blanked(&zip(&others, &order)));
}

#[test]
fn names_that_stand_twice_are_told_apart_by_order_only() {
    let parts = [part("a", "1"), part("a", "2"), part("b", "3")];
    let others = [part("a", "123"), part("a", "45"), part("b", "6")];
    assert_eq!(blanked(&zip(&parts, &[0, 1, 2])), blanked(&zip(&others, &[0, 1, 2])));
    assert_ne!(blanked(&zip(&parts, &[2, 1, 0])), blanked(&zip(&others, &[2, 1, 0])));
}

#[test]
fn entries_left_out_stay_in_the_text_with_their_fields() {
    let parts = [
        part("a", "1"),
        Part { flags: 1, ..part("encrypted", "secret") },
        Part { method: 14, ..part("lzma", "other") },
        Part { method: 14, descriptor: Descriptor::Signed, ..part("piped lzma", "other") },
        part("b", "2"),
    ];
    let bytes = zip(&parts, &[0, 1, 2, 3, 4]);
    assert_eq!(names(&bytes), ["a", "b"]);
    let text = String::from_utf8_lossy(&blanked(&bytes)).into_owned();
    assert_eq!(text.matches("other").count() + text.matches("secret").count(), 3);
}

#[test]
fn entries_that_overlap_are_left_out() {
    let inner = part("inner", "kernel").local();
    let outer = Part { content: inner.clone(), ..part("outer", "") };
    let last = part("last", "3");
    let locals = [outer.local(), last.local()].concat();
    let inner_at = 30 + outer.name.len() + 2;
    let last_at = outer.local().len();
    let records =
        [outer.central(0), part("inner", "kernel").central(inner_at), last.central(last_at)];
    let bytes = with_directory(&locals, &records);
    assert_eq!(names(&bytes), ["last"]);
    let twice = [last.central(last_at), last.central(last_at)];
    assert_eq!(names(&with_directory(&locals, &twice)), Vec::<String>::new());
    blanked(&bytes);
}

#[test]
fn contents_and_headers_must_lie_before_the_directory() {
    let a = part("a", "1");
    let long = Part { content: vec![b'x'; 99], ..part("a", "") };
    for record in [
        long.central(0),
        a.central(1),
        a.central(40),
        a.central(usize::try_from(u32::MAX).unwrap()),
    ] {
        assert_eq!(entries(&with_directory(&a.local(), &[record])), Some(vec![]));
    }
}

#[test]
fn what_does_not_end_as_a_zip_is_none() {
    let bytes = zip(&[part("a", "1")], &[0]);
    assert_eq!(entries(&[&bytes[..], b"!"].concat()), None);
    assert_eq!(entries(&bytes[..bytes.len() - 1]), None);
    assert_eq!(entries(b""), None);
    for field in [bytes.len() - 10, bytes.len() - 6] {
        let mut zip64 = bytes.clone();
        zip64[field..field + 4].fill(0xff);
        assert_eq!(entries(&zip64), None);
    }
    assert_eq!(entries(&with_directory(b"", &[])), Some(vec![]));
    assert_eq!(blanked(&with_directory(b"", &[])), with_directory(b"", &[]));
}

#[test]
fn a_text_of_another_shape_is_left_as_it_was() {
    let (text, cuts, facts) = skeleton(&zip(&[part("a", "1"), part("b", "2")], &[0, 1]));
    let refused = |cuts: &[u64], facts: &[Facts], text: &[u8], expected: ZipError| {
        let mut copy = text.to_vec();
        assert!(!blank(&mut copy, cuts, facts));
        assert_eq!(fill(&mut copy, cuts, facts), Err(expected));
        assert!(copy == text);
    };
    refused(&cuts, &facts[1..], &text, ZipError::FactsPerCut { cuts: 2, facts: 1 });
    refused(&cuts, &facts, &text[1..], ZipError::CutWithoutHeader { index: 0 });
    refused(&[cuts[1], cuts[0]], &facts, &text, ZipError::CutWithoutHeader { index: 1 });
    refused(&[cuts[0], u64::MAX], &facts, &text, ZipError::CutWithoutHeader { index: 1 });
    refused(&cuts, &facts, &text[..text.len() - 1], ZipError::NoEndRecord);
}

#[test]
fn fields_that_disagree_with_the_facts_come_back_all_the_same() {
    let (text, cuts, mut facts) = skeleton(&by_zip("one"));
    facts[0].crc32 = facts[0].crc32.wrapping_add(5);
    facts[1].stored_len_bytes += 7;
    let mut other = text.clone();
    assert!(blank(&mut other, &cuts, &facts));
    fill(&mut other, &cuts, &facts).unwrap();
    assert!(other == text);
}

#[test]
fn as_many_entries_as_a_zip_may_have_in_reverse_order_take_no_square_of_their_number() {
    let mut locals = Vec::new();
    let mut records = Vec::new();
    for index in 0..65_000 {
        let name: &'static str = format!("package/module_{index}.py").leak();
        records.push(part(name, "content").central(locals.len()));
        locals.extend(part(name, "content").local());
    }
    records.reverse();
    let (mut text, cuts, facts) = skeleton(&with_directory(&locals, &records));
    assert_eq!(cuts.len(), 65_000);
    assert!(blank(&mut text, &cuts, &facts));
}

#[test]
fn damaged_zips_give_ranges_in_order_and_texts_that_come_back() {
    let parts = DESCRIPTORS.map(|descriptor| Part { descriptor, ..part("name", "content") });
    let seeds = [by_zip("one"), zip(&parts, &[0, 1, 2, 3, 4]), unhex(BY_PYTHON_PIPED)];
    damaged(&seeds, |bytes| {
        let Some(found) = entries(bytes) else { return };
        let members = found.iter().map(|entry| {
            let Entry { name, offset, len_bytes, .. } = *entry;
            Member { name: name.into(), offset, len_bytes }
        });
        assert_apart(bytes, &members.collect::<Vec<_>>());
        let (text, cuts, facts) = skeleton(bytes);
        let mut other = text.clone();
        if blank(&mut other, &cuts, &facts) {
            fill(&mut other, &cuts, &facts).unwrap();
        }
        assert!(other == text);
    });
}

#[test]
fn damaged_texts_are_filled_or_refused() {
    let (text, cuts, facts) = skeleton(&by_zip("one"));
    damaged(&[text], |text| {
        let mut filled = text.to_vec();
        if fill(&mut filled, &cuts, &facts).is_err() {
            assert!(filled == text);
        }
    });
}
