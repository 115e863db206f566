//! A file of which only some ranges are here.
//!
//! In:   ranges of bytes as they arrive.
//! Out:  `Read + Seek` over them; what a reader touched and was not here, it remembers.
//! Pure: a caller fetches what the [`Reader`] missed and lets the reader start again.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use bytes::Bytes;

/// A file of known length with holes.
#[derive(Clone, Debug)]
pub struct Sparse {
    len_bytes: u64,
    /// By offset; parts may overlap.
    parts: BTreeMap<u64, Bytes>,
}

impl Sparse {
    /// A file that is all hole.
    pub const fn new(len_bytes: u64) -> Self {
        Self { len_bytes, parts: BTreeMap::new() }
    }

    /// How much of it is here.
    pub fn held_bytes(&self) -> u64 {
        self.parts.values().map(|part| part.len() as u64).sum()
    }

    /// Fills a part of the hole; what lies behind the end of the file is dropped.
    pub fn fill(&mut self, offset: u64, mut bytes: Bytes) {
        let room = usize::try_from(self.len_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        bytes.truncate(room);
        if self.parts.get(&offset).is_none_or(|held| held.len() < bytes.len()) {
            self.parts.insert(offset, bytes);
        }
    }

    /// A reader from the start.
    pub const fn reader<'a>(&'a self, missed: &'a Cell<Option<u64>>) -> Reader<'a> {
        Reader { file: self, at: 0, missed }
    }

    /// The bytes from `at` to the end of the parts that hold it.
    fn from(&self, at: u64) -> Option<&[u8]> {
        self.parts.range(..=at).rev().find_map(|(&offset, part)| {
            let from = usize::try_from(at - offset).ok()?;
            part.get(from..).filter(|rest| !rest.is_empty())
        })
    }

    /// What to fetch after a reader missed the byte at `at`: about `step` bytes around it,
    /// none of which is here.
    pub fn missing_around(&self, at: u64, step: u64) -> Range<u64> {
        let held_behind = self.parts.range(at..).next().map_or(self.len_bytes, |(&o, _)| o);
        let held_before = self.parts.range(..at).map(|(&o, part)| o + part.len() as u64).max();
        if held_behind - at < step {
            // Directories are read back to front: more of what lies before will be asked for.
            let start = held_behind.saturating_sub(step).max(held_before.unwrap_or(0));
            return start.min(at)..held_behind;
        }
        at..at + step
    }
}

/// Reads a [`Sparse`] file and notes the first byte that it lacked.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a Sparse,
    at: u64,
    missed: &'a Cell<Option<u64>>,
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.file.len_bytes <= self.at {
            return Ok(0);
        }
        let Some(bytes) = self.file.from(self.at) else {
            if self.missed.get().is_none() {
                self.missed.set(Some(self.at));
            }
            return Err(io::Error::other("not fetched yet"));
        };
        let len = bytes.len().min(out.len());
        out[..len].copy_from_slice(&bytes[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.len_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Sparse {
        let mut file = Sparse::new(10);
        file.fill(2, Bytes::from_static(b"cde"));
        file.fill(5, Bytes::from_static(b"f"));
        file.fill(8, Bytes::from_static(b"ij and more"));
        file
    }

    #[test]
    fn what_is_here_is_read_across_parts_and_the_first_hole_is_noted() {
        let (file, missed) = (file(), Cell::new(None));
        let mut reader = file.reader(&missed);
        let mut bytes = [0; 4];
        reader.seek(SeekFrom::Start(2)).unwrap();
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!((&bytes, missed.get()), (b"cdef", None));
        reader.read_exact(&mut bytes).unwrap_err();
        reader.seek(SeekFrom::Start(0)).unwrap();
        reader.read_exact(&mut bytes).unwrap_err();
        assert_eq!(missed.get(), Some(6));
    }

    #[test]
    fn the_end_is_the_end_of_the_file() {
        let (file, missed) = (file(), Cell::new(None));
        let mut reader = file.reader(&missed);
        let mut rest = Vec::new();
        reader.seek(SeekFrom::End(-2)).unwrap();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!((rest.as_slice(), missed.get()), (b"ij".as_slice(), None));
        reader.seek(SeekFrom::Start(u64::MAX)).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        reader.seek(SeekFrom::Current(1)).unwrap_err();
        reader.seek(SeekFrom::End(-11)).unwrap_err();
        assert_eq!((file.held_bytes(), file.len_bytes), (6, 10));
    }

    #[test]
    fn a_hole_is_asked_for_without_what_is_here() {
        assert_eq!(file().missing_around(6, 1), 6..7);
        assert_eq!(file().missing_around(7, 100), 6..8);
        assert_eq!(file().missing_around(0, 100), 0..2);
        assert_eq!(Sparse::new(10).missing_around(9, 4), 6..10);
        assert_eq!(Sparse::new(10).missing_around(3, 4), 3..7);
    }
}
