//! Reads the header of a gzip member (RFC 1952, section 2.3).
//!
//! In: bytes that may begin with a member. Out: how long the header is and what it says of the
//! encoder. What follows, the deflate stream and the trailer of 8 bytes, belongs to the caller, as
//! do further members and bytes after the last one. Never reads past the slice.

pub use super::deflate::Hint;

/// CRC-32 and length, after the deflate stream.
pub const TRAILER_LEN_BYTES: usize = 8;

/// Longest header looked at, in bytes: a name or comment without end is not a header.
const HEADER_LEN_BYTES_MAX: usize = 256 * 1024;

const FIXED_LEN_BYTES: usize = 10;
const DEFLATE: u8 = 8;

// RFC 1952, section 2.3.1. FTEXT, bit 0, changes nothing here.
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// What the header of a member says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Where the deflate stream begins.
    pub len_bytes: usize,
    pub hint: Hint,
}

/// Reads the header at the start of `bytes`; none when it is no whole gzip header.
///
/// Refuses reserved flags, as RFC 1952, section 2.3.1.2, demands. Does not check the header's own
/// CRC: the bytes are kept as they are, and the content proves itself.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..HEADER_LEN_BYTES_MAX).unwrap_or(bytes);
    let &[0x1f, 0x8b, DEFLATE, flags, _, _, _, _, xfl, os] = bytes.first_chunk()? else {
        return None;
    };
    if flags & RESERVED != 0 {
        return None;
    }
    let mut rest = bytes.get(FIXED_LEN_BYTES..)?;
    if flags & FEXTRA != 0 {
        let (len, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    if flags & FNAME != 0 {
        rest = after_zero(rest)?;
    }
    if flags & FCOMMENT != 0 {
        rest = after_zero(rest)?;
    }
    if flags & FHCRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(Header { len_bytes: bytes.len() - rest.len(), hint: Hint { xfl, os } })
}

/// Skips a text that a zero byte ends.
fn after_zero(bytes: &[u8]) -> Option<&[u8]> {
    let zero = bytes.iter().position(|&byte| byte == 0)?;
    bytes.get(zero + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(flags: u8) -> Vec<u8> {
        vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 2, 255]
    }

    #[test]
    fn every_field_of_a_header_is_skipped() {
        let hint = Hint { xfl: 2, os: 255 };
        let plain = [fixed(0), b"deflate".to_vec()].concat();
        assert_eq!(header(&plain), Some(Header { len_bytes: 10, hint }));
        let all = [
            fixed(FHCRC | FEXTRA | FNAME | FCOMMENT),
            vec![3, 0, 9, 9, 9],
            b"name\0comment\0".to_vec(),
            vec![7, 7],
            b"deflate".to_vec(),
        ]
        .concat();
        assert_eq!(header(&all), Some(Header { len_bytes: 30, hint }));
    }

    #[test]
    fn a_header_cut_anywhere_is_none() {
        let all = [fixed(FHCRC | FEXTRA | FNAME | FCOMMENT), b"\x01\0xname\0comment\0ab".to_vec()]
            .concat();
        assert!(header(&all).is_some());
        for end in 0..all.len() {
            assert_eq!(header(&all[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn reserved_flags_other_methods_and_endless_names_are_refused() {
        assert_eq!(header(&fixed(1 << 5)), None);
        let mut stored = fixed(0);
        stored[2] = 7;
        assert_eq!(header(&stored), None);
        let endless = [fixed(FNAME), vec![b'a'; HEADER_LEN_BYTES_MAX], vec![0]].concat();
        assert_eq!(header(&endless), None);
    }
}
