//! Hashing on the way through.

use std::io::{self, Read, Write};

use gapferry_proto::Digest;
use sha2::{Digest as _, Sha256};

/// How much is read at once, in bytes.
pub const BUFFER_LEN_BYTES: usize = 256 << 10;

/// A writer that hashes and counts what it passes on.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    len_bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), len_bytes: 0 }
    }

    /// The writer, with SHA-256 and length in bytes of all that passed.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_bytes(self.hasher.finalize().into()), self.len_bytes)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.len_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Copies all of `from` into `to`; SHA-256 and length in bytes.
///
/// # Errors
///
/// The first error of either side.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(Digest, u64)> {
    let mut to = HashingWriter::new(to);
    let mut buffer = vec![0; BUFFER_LEN_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let (_, digest, len_bytes) = to.finish();
    Ok((digest, len_bytes))
}

/// SHA-256 and length in bytes of all of `from`.
///
/// # Errors
///
/// The first error of reading.
pub fn hash(from: &mut impl Read) -> io::Result<(Digest, u64)> {
    copy(from, &mut io::sink())
}
