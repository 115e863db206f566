//! Finds where the payload of an rpm package begins.
//!
//! In:   the bytes of one package.
//! Out:  the offset of the (compressed) payload; everything before it is skeleton.
//! Never: looks into the headers; their lengths are enough.
//!
//! Layout: "RPM V3/V4 package file format": a lead, the signature header padded to 8 bytes, the
//! main header, the payload.

use super::member::slice_at;

const LEAD_LEN_BYTES: usize = 96;
const LEAD_MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
const INDEX_ENTRY_LEN_BYTES: usize = 16;

/// Where the payload begins, or `None` when `bytes` is no whole lead and two headers.
pub fn payload_offset(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(LEAD_MAGIC) {
        return None;
    }
    let signature_end = header_end(bytes, LEAD_LEN_BYTES)?;
    header_end(bytes, signature_end.checked_next_multiple_of(8)?)
}

/// Where the header that begins at `at` ends, if it ends inside `bytes`.
fn header_end(bytes: &[u8], at: usize) -> Option<usize> {
    let intro = slice_at(bytes, at, 16)?;
    if !intro.starts_with(HEADER_MAGIC) {
        return None;
    }
    let number = |from: usize| {
        let field = intro.get(from..)?.first_chunk()?;
        usize::try_from(u32::from_be_bytes(*field)).ok()
    };
    let index_len_bytes = number(8)?.checked_mul(INDEX_ENTRY_LEN_BYTES)?;
    let rest = slice_at(bytes, at + 16, index_len_bytes.checked_add(number(12)?)?)?;
    Some(at + 16 + rest.len())
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::damaged;
    use super::*;

    fn header(entries: u8, data_len: u8) -> Vec<u8> {
        let intro = [HEADER_MAGIC, &[0; 4], &[0, 0, 0, entries], &[0, 0, 0, data_len]].concat();
        [intro, vec![7; usize::from(entries) * 16 + usize::from(data_len)]].concat()
    }

    fn package() -> Vec<u8> {
        let mut bytes = LEAD_MAGIC.to_vec();
        bytes.resize(LEAD_LEN_BYTES, 0);
        bytes.extend(header(1, 5));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(header(2, 3));
        bytes.extend(b"payload");
        bytes
    }

    #[test]
    fn the_payload_follows_lead_signature_padding_and_header() {
        let bytes = package();
        assert_eq!(payload_offset(&bytes), Some(96 + 40 + 51));
        assert_eq!(&bytes[96 + 40 + 51..], b"payload");
    }

    #[test]
    fn a_package_without_a_payload_ends_where_it_would_begin() {
        let bytes = package();
        assert_eq!(payload_offset(&bytes[..187]), Some(187));
        assert_eq!(payload_offset(&bytes[..186]), None);
    }

    #[test]
    fn a_header_longer_than_the_package_is_none() {
        let mut bytes = package();
        bytes[104..112].fill(0xff);
        assert_eq!(payload_offset(&bytes), None);
        assert_eq!(payload_offset(b"!<arch>\n"), None);
    }

    #[test]
    fn damaged_packages_give_an_offset_inside() {
        damaged(&[package()], |bytes| {
            assert!(payload_offset(bytes).unwrap_or(0) <= bytes.len());
        });
    }
}
