//! What a wheel says of itself: its `METADATA`, which indexes offer beside it (PEP 658).
//!
//! In:   the bytes of a wheel.
//! Out:  the bytes of the one `<name>-<version>.dist-info/METADATA` in it, or nothing.
//! Pure. What the wheel declares is checked; a bomb ends at the bound.

use std::io::Read;

use gapferry_common::{
    limit::LimitReader,
    peel::zip::{Entry, Method, entries},
};
use gapferry_proto::limits;

/// What goes after a wheel's name for its metadata.
pub const METADATA: &str = ".metadata";

/// The metadata of a wheel; none when it is no wheel, has none, or has two.
pub fn metadata(wheel: &[u8]) -> Option<Vec<u8>> {
    let found = entries(wheel)?.into_iter().filter(|entry| is_metadata(entry.name));
    let [entry] = &found.collect::<Vec<_>>()[..] else { return None };
    content(wheel, entry)
}

fn is_metadata(name: &[u8]) -> bool {
    let folder = name.strip_suffix(b".dist-info/METADATA");
    folder.is_some_and(|folder| !folder.is_empty() && !folder.contains(&b'/'))
}

fn content(wheel: &[u8], entry: &Entry) -> Option<Vec<u8>> {
    if limits::WHEEL_METADATA_LEN_BYTES_MAX < entry.plain_len_bytes {
        return None;
    }
    let from = usize::try_from(entry.offset).ok()?;
    let to = from.checked_add(usize::try_from(entry.len_bytes).ok()?)?;
    let stored = wheel.get(from..to)?;
    let mut plain = Vec::new();
    match entry.method {
        Method::Stored => plain.extend(stored),
        Method::Deflated => {
            let decoder = flate2::read::DeflateDecoder::new(stored);
            LimitReader::new(decoder, entry.plain_len_bytes).read_to_end(&mut plain).ok()?;
        }
    }
    (plain.len() as u64 == entry.plain_len_bytes).then_some(plain)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Write as _;

    /// A zip of these entries, deflated, without checksums: nobody here looks at them.
    pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let short = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
        let long = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(content).unwrap();
            let packed = encoder.finish().unwrap();
            let at = bytes.len();
            let facts = [
                &[20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
                &long(packed.len()),
                &long(content.len()),
                &short(name.len()),
                &[0, 0],
            ]
            .concat();
            bytes.extend([b"PK\x03\x04", &facts[..], name.as_bytes(), &packed].concat());
            let rest = [&[0; 10][..], &long(at), name.as_bytes()].concat();
            directory.extend([b"PK\x01\x02\x14\x00", &facts[..], &rest].concat());
        }
        let at = bytes.len();
        bytes.extend(&directory);
        let count = short(files.len());
        let end =
            [b"PK\x05\x06\0\0\0\0", &count[..], &count, &long(directory.len()), &long(at), &[0, 0]];
        bytes.extend(end.concat());
        bytes
    }

    #[test]
    fn a_wheel_gives_its_own_metadata_and_no_other() {
        let wheel = zip(&[
            ("a/__init__.py", b"x"),
            ("a/b.dist-info/METADATA", b"Name: other"),
            ("a-1.dist-info/METADATA", b"Name: a"),
            ("a-1.dist-info/RECORD", b"x"),
        ]);
        assert_eq!(metadata(&wheel).as_deref(), Some(&b"Name: a"[..]));
    }

    #[test]
    fn what_has_no_metadata_of_its_own_gives_none() {
        let two = zip(&[("a.dist-info/METADATA", b"a"), ("b.dist-info/METADATA", b"b")]);
        for bytes in [two, zip(&[("a/METADATA", b"a")]), b"no zip".to_vec(), Vec::new()] {
            assert_eq!(metadata(&bytes), None);
        }
    }

    #[test]
    fn a_damaged_wheel_never_stops_the_agent() {
        let wheel = zip(&[("a-1.dist-info/METADATA", b"Name: a")]);
        for at in 0..wheel.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = wheel.clone();
                damaged[at] = byte;
                metadata(&damaged);
            }
        }
    }
}
