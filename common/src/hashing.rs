//! Hashing on the way through.

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use gapferry_proto::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512 as Hasher512};

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

/// A name that registries also give to bytes: SHA-512. The store never uses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha512([u8; 64]);

/// Why a text is no [`Sha512`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not \"sha512:\" and 128 lower-case hex digits")]
pub struct ParseSha512Error(String);

impl Sha512 {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Hasher512::digest(bytes).into())
    }

    /// Hashes all of `from`.
    ///
    /// # Errors
    ///
    /// The first error of reading.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut hasher = Hasher512::new();
        let mut buffer = vec![0; BUFFER_LEN_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The 128 hex digits alone, for file names.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha512:{}", self.hex())
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha512 {
    type Err = ParseSha512Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let hex = text.strip_prefix("sha512:")?.as_bytes();
            let digit = |b: u8| match b {
                b'0'..=b'9' => Some(b - b'0'),
                b'a'..=b'f' => Some(b - b'a' + 10),
                _ => None,
            };
            if hex.len() != 128 {
                return None;
            }
            let mut bytes = [0; 64];
            for (byte, pair) in bytes.iter_mut().zip(hex.chunks(2)) {
                *byte = digit(pair[0])? << 4 | digit(pair[1])?;
            }
            Some(Self(bytes))
        };
        parsed().ok_or_else(|| ParseSha512Error(text.to_owned()))
    }
}

impl TryFrom<String> for Sha512 {
    type Error = ParseSha512Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha512> for String {
    fn from(sha512: Sha512) -> Self {
        sha512.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sha512_prints_as_registries_write_it_and_reads_back() {
        let abc = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(Sha512::of(b"abc").to_string(), abc);
        assert_eq!(Sha512::read(&mut &b"abc"[..]).unwrap(), abc.parse().unwrap());
        for wrong in ["", "sha512:", "sha512:00", &abc.to_uppercase(), &abc.replace("dd", "dg")] {
            assert!(wrong.parse::<Sha512>().is_err(), "{wrong}");
        }
    }
}
