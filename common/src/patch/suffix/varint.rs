//! Writes and reads numbers in as few bytes as they need (LEB128: seven bits a byte, low first).
//!
//! In and out: `u64`, and `i64` folded onto it (0, -1, 1, -2, … become 0, 1, 2, 3, …).
//! Must never read more than ten bytes for one number.

use std::io::{self, Read};

/// Appends `n`.
pub fn put(out: &mut Vec<u8>, mut n: u64) {
    loop {
        let low = n.to_le_bytes()[0];
        n >>= 7;
        if n == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends `n`, folded.
pub fn put_signed(out: &mut Vec<u8>, n: i64) {
    put(out, fold(n));
}

/// Reads one number; `None` at a clean end.
///
/// Fails when the bytes end inside a number or when it does not fit 64 bits.
pub fn get(from: &mut impl Read) -> io::Result<Option<u64>> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let low = u64::from(byte[0] & 0x7f);
        if shift == 63 && byte[0] > 1 {
            break;
        }
        n |= low << shift;
        if byte[0] < 0x80 {
            return Ok(Some(n));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a number has more than 64 bits"))
}

/// The sign becomes the lowest bit.
pub fn fold(n: i64) -> u64 {
    (n.cast_unsigned() << 1) ^ (n >> 63).cast_unsigned()
}

/// The inverse of [`fold`].
pub fn unfold(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size_come_back() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, n);
            assert_eq!(get(&mut bytes.as_slice()).unwrap(), Some(n));
            assert_eq!(fold(unfold(n)), n);
        }
        assert_eq!([0, -1, 1, i64::MIN].map(fold), [0, 1, 2, u64::MAX]);
    }

    #[test]
    fn an_unfinished_or_overlong_number_is_refused() {
        assert_eq!(get(&mut [].as_slice()).unwrap(), None);
        assert!(get(&mut [0x80].as_slice()).is_err());
        assert!(get(&mut [0xff; 11].as_slice()).is_err());
        assert!(
            get(&mut [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2].as_slice()).is_err()
        );
    }
}
