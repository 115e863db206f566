//! Finds where a piece of new bytes occurs in the base, longest first.
//!
//! In:   the base, once; then positions in the new bytes.
//! Out:  places in the base that share the longest run with the new bytes from there on.
//! Pure: no files, no clock; the answer depends on the two slices only.
//!
//! A suffix array of the base is searched between two marks of a table over the first bytes, so
//! that the upper steps of the binary search, the ones that miss the cache, are one look-up.

use std::cmp::Ordering;

use libsais::SuffixArrayConstruction;

use super::DiffError;

/// Longest base that can be indexed: positions are signed 32-bit numbers.
pub const INDEXED_LEN_BYTES_MAX: usize = (1 << 31) - 1;

/// A search compares at most this many bytes; suffixes alike for longer count as equal.
///
/// Bounds the work of one search on periodic content.
const COMPARED_LEN_BYTES_MAX: usize = 2048;

/// From this length of the base on, three bytes lead to a bucket instead of two.
const THREE_BYTE_KEYS_FROM: usize = 4 << 20;

/// The sorted suffixes of a base.
///
/// Memory: 4 bytes for each byte of the base, and a table of 256 KiB, or of 64 MiB when the base
/// has 4 MiB or more.
pub struct Index<'a> {
    base: &'a [u8],
    suffixes: Vec<i32>,
    buckets: Vec<u32>,
    key_len: usize,
}

/// A place in the base and how many bytes from there are those looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub at: usize,
    pub len: usize,
}

impl<'a> Index<'a> {
    /// Sorts the suffixes of `base`, in linear time (about 5 to 15 MB a second).
    pub fn new(base: &'a [u8]) -> Result<Self, DiffError> {
        if base.len() > INDEXED_LEN_BYTES_MAX {
            return Err(DiffError::BaseTooLong { len_bytes: base.len() });
        }
        let suffixes = if base.is_empty() {
            Vec::new()
        } else {
            SuffixArrayConstruction::for_text(base)
                .in_owned_buffer32()
                .single_threaded()
                .run()
                .map_err(|_| DiffError::Sort)?
                .into_vec()
        };
        let key_len = if base.len() < THREE_BYTE_KEYS_FROM { 2 } else { 3 };
        Ok(Self { base, suffixes, buckets: count_keys(base, key_len), key_len })
    }

    /// The place in the sorted order where `wanted` belongs, and the longest match beside it.
    ///
    /// `None` when not even the first two or three bytes occur in the base.
    pub fn search(&self, wanted: &[u8]) -> Option<(usize, Found)> {
        let key = key_at(wanted, self.key_len)?;
        let mut low = usize_of(*self.buckets.get(key)?);
        let mut high = usize_of(*self.buckets.get(key + 1)?);
        if low == high {
            return None;
        }
        let wanted = wanted.get(..COMPARED_LEN_BYTES_MAX).unwrap_or(wanted);
        let (mut same_low, mut same_high) = (0, 0);
        let mut best = Found::default();
        let mut rank = low;
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.place(middle);
            let suffix = self.base.get(at..).unwrap_or_default();
            let known = Ord::min(same_low, same_high);
            let len = known + common_prefix(tail(suffix, known), tail(wanted, known));
            if len > best.len {
                best = Found { at, len };
                rank = middle;
            }
            match suffix.get(len).cmp(&wanted.get(len)) {
                _ if len == wanted.len() => break,
                Ordering::Less => (low, same_low) = (middle + 1, len),
                Ordering::Equal | Ordering::Greater => (high, same_high) = (middle, len),
            }
        }
        (best.len >= self.key_len).then_some((rank, best))
    }

    /// The place of the suffix with this rank in the sorted order; 0 beyond the end.
    pub fn place(&self, rank: usize) -> usize {
        self.suffixes.get(rank).map_or(0, |&at| usize::try_from(at).unwrap_or(0))
    }

    /// How many suffixes there are.
    pub fn ranks(&self) -> usize {
        self.suffixes.len()
    }
}

/// How many bytes two slices share from their start.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut same = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let unlike = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if unlike != 0 {
            return same + usize_of(unlike.trailing_zeros() / 8);
        }
        same += 8;
    }
    let rest = tail(a, same).iter().zip(tail(b, same));
    same + rest.take_while(|(x, y)| x == y).count()
}

/// `bytes` from `start` on; nothing when `start` is beyond the end.
pub fn tail(bytes: &[u8], start: usize) -> &[u8] {
    bytes.get(start..).unwrap_or_default()
}

/// Widens; every target this product is built for has pointers of 32 bits or more.
pub fn usize_of(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The first rank of each key, and at its end the number of suffixes.
///
/// A suffix shorter than a key counts as if zeros followed: it sorts before all others with
/// that key, so the ranks stay in order.
fn count_keys(base: &[u8], key_len: usize) -> Vec<u32> {
    let mut starts = vec![0_u32; (1 << (8 * key_len)) + 1];
    let mask = (1 << (8 * key_len)) - 1;
    let mut key = 0_usize;
    let padded = base.iter().chain(std::iter::repeat_n(&0, key_len - 1));
    for (at, &byte) in padded.enumerate() {
        key = (key << 8 | usize::from(byte)) & mask;
        if at + 1 >= key_len
            && let Some(count) = starts.get_mut(key + 1)
        {
            *count += 1;
        }
    }
    let mut total = 0;
    for start in &mut starts {
        total += *start;
        *start = total;
    }
    starts
}

fn key_at(bytes: &[u8], key_len: usize) -> Option<usize> {
    let key = bytes.get(..key_len)?;
    Some(key.iter().fold(0, |key, &byte| key << 8 | usize::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_of_the_base_is_found_wherever_it_lies() {
        let base = b"the gap, the ferry, the gap ferry, t";
        let index = Index::new(base).unwrap();
        let found = |wanted: &[u8]| index.search(wanted).map(|(_, found)| found);
        assert_eq!(found(b"the gap ferry!"), Some(Found { at: 20, len: 13 }));
        assert_eq!(found(b"ferry, the x"), Some(Found { at: 13, len: 11 }));
        assert_eq!(found(b"zz"), None);
        assert_eq!(found(b"t"), None);
    }

    #[test]
    fn every_position_finds_the_length_a_plain_search_finds() {
        let base: Vec<u8> = (0..600_u32).map(|i| (i * i / 7 % 5).to_le_bytes()[0]).collect();
        let new: Vec<u8> = (0..600_u32).map(|i| (i * i / 11 % 5).to_le_bytes()[0]).collect();
        let index = Index::new(&base).unwrap();
        for at in 0..new.len() {
            let plain = (0..base.len()).map(|b| common_prefix(&base[b..], &new[at..])).max();
            let found = index.search(&new[at..]).map_or(0, |(_, found)| found.len);
            assert_eq!(found, plain.filter(|&len| len >= 2).unwrap_or(0), "at {at}");
        }
    }
}
