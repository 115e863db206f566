//! What both matchers share: limits, the hash, and the comparison of two places.
//!
//! In:   bytes.
//! Out:  table slots and match lengths.
//! Pure.

/// The longest distance, in bytes.
pub const DISTANCE_MAX: u32 = 1 << 15;
/// The longest copy, in bytes.
pub const COPY_LEN_BYTES_MAX: u32 = 258;

/// The slot of four bytes in a table of `1 << table_bits`.
#[inline]
pub fn hash(bytes: u32, table_bits: u32) -> usize {
    (bytes.wrapping_mul(0x1e35_a7bd) >> (32 - table_bits)) as usize
}

/// How many bytes are the same at the start of both, up to the shorter one.
#[inline]
pub fn common_prefix(a: &[u8], b: &[u8]) -> u32 {
    let (a_words, a_rest) = a.as_chunks();
    let (b_words, _) = b.as_chunks();
    let mut same = 0;
    for (&a_word, &b_word) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(a_word) ^ u64::from_le_bytes(b_word);
        if difference != 0 {
            return same + difference.trailing_zeros() / 8;
        }
        same += 8;
    }
    let b_rest = b.get(same as usize..).unwrap_or(&[]);
    let a_rest = if a_words.len() <= b_words.len() { a_rest } else { &a[same as usize..] };
    for (a_byte, b_byte) in a_rest.iter().zip(b_rest) {
        if a_byte != b_byte {
            break;
        }
        same += 1;
    }
    same
}

/// An array on the heap that was never on the stack.
pub fn boxed<T: Copy, const N: usize>(value: T) -> Box<[T; N]> {
    vec![value; N].into_boxed_slice().try_into().ok().expect("the vector has N elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_prefix_ends_at_the_first_difference_or_with_the_shorter_side() {
        let long = *b"0123456789abcdefghijklmnopqrstuvwxyz";
        for len in 0..long.len() {
            let mut other = long;
            other[len] = b'!';
            assert_eq!(common_prefix(&long, &other), u32::try_from(len).unwrap());
            assert_eq!(common_prefix(&long, &long[..len]), u32::try_from(len).unwrap());
            assert_eq!(common_prefix(&long[..len], &long), u32::try_from(len).unwrap());
        }
    }
}
