//! Takes the long runs of zeros out of a stream, and puts them back.
//!
//! In:   bytes that are mostly zeros; on the way back a reader for each column.
//! Out:  three columns; on the way back the same bytes, as a reader.
//! Short runs stay where they are: there they help to foretell the bytes around them. Without
//! the long ones there is a tenth of the bytes to pack, and what repeats lies closer together.
//! Must never hold more than its reader asks for.

use std::io::{self, Read};

use super::varint;

/// What a stream is taken apart into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Everything but the long runs.
    pub literals: Vec<u8>,
    /// How many literals come before each long run, and after the last one.
    pub literal_lens: Vec<u8>,
    /// The length of each long run, less the shortest there is.
    pub zero_lens: Vec<u8>,
}

/// Takes out the runs of `zero_len_min` or more zeros.
pub fn split(bytes: &[u8], zero_len_min: usize) -> Columns {
    let mut columns = Columns::default();
    let (mut start, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        if byte != 0 {
            at += 1;
            continue;
        }
        let end = at + zeros(&bytes[at..]);
        if end - at >= zero_len_min {
            columns.literals.extend_from_slice(&bytes[start..at]);
            varint::put(&mut columns.literal_lens, (at - start) as u64);
            varint::put(&mut columns.zero_lens, (end - at - zero_len_min) as u64);
            start = end;
        }
        at = end;
    }
    columns.literals.extend_from_slice(&bytes[start..]);
    varint::put(&mut columns.literal_lens, (bytes.len() - start) as u64);
    columns
}

/// How many zeros `bytes` begins with.
pub fn zeros(bytes: &[u8]) -> usize {
    let words = bytes.as_chunks::<8>().0.iter().take_while(|word| **word == [0; 8]).count() * 8;
    words + bytes[words..].iter().take_while(|&&byte| byte == 0).count()
}

/// Reads what [`split`] took apart.
pub struct Joined<L, M, Z> {
    pub literals: L,
    pub literal_lens: M,
    pub zero_lens: Z,
    pub zero_len_min: u64,
    literals_left: u64,
    zeros_left: u64,
}

impl<L: Read, M: Read, Z: Read> Joined<L, M, Z> {
    pub fn new(literals: L, literal_lens: M, zero_lens: Z, zero_len_min: u64) -> Self {
        let (literals_left, zeros_left) = (0, 0);
        Self { literals, literal_lens, zero_lens, zero_len_min, literals_left, zeros_left }
    }

    /// Reads the lengths that come next; false at the end of all columns.
    fn next_lens(&mut self) -> io::Result<bool> {
        let Some(literal_len) = varint::get(&mut self.literal_lens)? else {
            let left = self.literals.read(&mut [0])? + self.zero_lens.read(&mut [0])?;
            return if left == 0 { Ok(false) } else { Err(io::ErrorKind::InvalidData.into()) };
        };
        self.literals_left = literal_len;
        self.zeros_left = match varint::get(&mut self.zero_lens)? {
            Some(len) => len.saturating_add(self.zero_len_min),
            None => 0,
        };
        Ok(true)
    }
}

impl<L: Read, M: Read, Z: Read> Read for Joined<L, M, Z> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.literals_left == 0 && self.zeros_left == 0 {
            if !self.next_lens()? {
                return Ok(0);
            }
        }
        if self.literals_left > 0 {
            let len = at_most(self.literals_left, buffer.len());
            self.literals.read_exact(&mut buffer[..len])?;
            self.literals_left -= len as u64;
            return Ok(len);
        }
        let len = at_most(self.zeros_left, buffer.len());
        buffer[..len].fill(0);
        self.zeros_left -= len as u64;
        Ok(len)
    }
}

fn at_most(n: u64, len: usize) -> usize {
    usize::try_from(n).map_or(len, |n| Ord::min(n, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(columns: &Columns, zero_len_min: u64) -> io::Result<Vec<u8>> {
        let Columns { literals, literal_lens, zero_lens } = columns;
        let mut bytes = Vec::new();
        Joined::new(&literals[..], &literal_lens[..], &zero_lens[..], zero_len_min)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn short_runs_stay_and_long_ones_become_numbers() {
        let columns = split(&[0, 0, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 9], 3);
        let expected = Columns {
            literals: vec![7, 0, 0, 8, 9],
            literal_lens: vec![0, 4, 1],
            zero_lens: vec![2, 0],
        };
        assert_eq!(columns, expected);
    }

    #[test]
    fn every_pattern_comes_back() {
        for pattern in 0..1_u32 << 12 {
            let bytes: Vec<u8> = (0..12).map(|bit| (pattern >> bit & 1).to_le_bytes()[0]).collect();
            for min in [1, 2, 5] {
                assert_eq!(joined(&split(&bytes, min), min as u64).unwrap(), bytes);
            }
        }
        assert!(joined(&split(&[], 4), 4).unwrap().is_empty());
    }

    #[test]
    fn literals_or_runs_that_no_length_mentions_are_refused() {
        let columns = Columns { literals: vec![1, 2], literal_lens: vec![1], zero_lens: vec![] };
        assert!(joined(&columns, 4).is_err());
        let columns = Columns { literals: vec![], literal_lens: vec![], zero_lens: vec![1] };
        assert!(joined(&columns, 4).is_err());
    }
}
