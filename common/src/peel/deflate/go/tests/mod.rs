//! Our streams beside those of the original.

mod golden;
mod inputs;
mod original;
mod writes;

use std::io::Write;

use sha2::{Digest, Sha256};

use super::{GoDeflate, GoLevel};

/// A stream by its length in bytes and its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Summary {
    len_bytes: usize,
    sha256: [u8; 32],
}

impl Summary {
    fn of(stream: &[u8]) -> Self {
        Self { len_bytes: stream.len(), sha256: Sha256::digest(stream).into() }
    }
}

/// `length sha256`, as golden files have it.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.len_bytes)?;
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Deflates as the original does when it is given all in one write.
fn deflate(plain: &[u8], level: u8) -> Vec<u8> {
    let mut out = GoDeflate::new(Vec::new(), GoLevel::new(level).unwrap());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

/// Deflates as the original does when it is given writes of `size` bytes.
fn deflate_in_writes(plain: &[u8], level: u8, size: usize) -> Vec<u8> {
    let mut out = GoDeflate::new(Vec::new(), GoLevel::new(level).unwrap());
    for piece in plain.chunks(size) {
        out.write_all(piece).unwrap();
        out.end_write();
    }
    out.finish().unwrap()
}
