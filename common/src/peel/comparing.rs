//! A writer that holds what an encoder makes against the bytes it should make.
//!
//! In: the output of an encoder, in any pieces. Out: nothing, or an error at the first difference,
//! so that a wrong encoder stops within its first block. Keeps no copy of what it is given.

use std::io;

/// Fails at the first byte that is not the expected one.
pub(crate) struct Comparing<'a> {
    expected: &'a [u8],
    at: usize,
}

impl<'a> Comparing<'a> {
    pub(crate) fn new(expected: &'a [u8]) -> Self {
        Self { expected, at: 0 }
    }

    /// Bytes found equal so far.
    pub(crate) fn equal_bytes(&self) -> usize {
        self.at
    }

    /// Whether every expected byte has been written.
    pub(crate) fn is_complete(&self) -> bool {
        self.at == self.expected.len()
    }
}

impl io::Write for Comparing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.at.checked_add(bytes.len());
        let expected = end.and_then(|end| self.expected.get(self.at..end));
        if expected != Some(bytes) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the streams differ"));
        }
        self.at += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn equal_bytes_pass_in_any_pieces_and_the_first_difference_stops() {
        let mut writer = Comparing::new(b"abcdef");
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"").unwrap();
        writer.write_all(b"cd").unwrap();
        assert!(writer.write_all(b"eX").is_err());
        assert_eq!((writer.equal_bytes(), writer.is_complete()), (4, false));
        writer.write_all(b"ef").unwrap();
        assert!(writer.is_complete());
        assert!(writer.write_all(b"g").is_err());
    }
}
