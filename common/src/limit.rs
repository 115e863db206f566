//! A reader that ends in an error when there is more than there may be.

use std::io::{self, Read};

/// Passes at most `left` bytes; one more is an error, not an end.
#[derive(Debug)]
pub struct LimitReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> LimitReader<R> {
    /// Allows `max_bytes` in all.
    pub const fn new(inner: R, max_bytes: u64) -> Self {
        Self { inner, left: max_bytes }
    }
}

impl<R: Read> Read for LimitReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room =
            buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX).saturating_add(1));
        let n = self.inner.read(&mut buf[..room])?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than it may be")),
        }
    }
}

/// Reads a whole file of at most `max_bytes`.
///
/// # Errors
///
/// The error of opening or reading, or [`io::ErrorKind::FileTooLarge`].
pub fn read_file(path: &camino::Utf8Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into()); // opening a pipe would wait for ever
    }
    let mut bytes = Vec::new();
    LimitReader::new(std::fs::File::open(path)?, max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_passes_at_its_length_and_not_one_byte_later() {
        let read = |max| {
            let mut all = Vec::new();
            LimitReader::new(&b"12345"[..], max).read_to_end(&mut all).map(|_| all)
        };
        assert_eq!(read(4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(5).unwrap(), b"12345");
        assert_eq!(read(6).unwrap(), b"12345");
    }
}
