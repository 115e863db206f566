//! Writes bits, lowest first, to a byte stream.
//!
//! In:   bit groups and codes of up to 16 bits, stored bytes.
//! Out:  whole bytes, held back until [`BitWriter::drain`] finds enough of them.
//! Only draining can fail, so a block is written without a thought of errors. What is held
//! back is bounded by the caller: it drains after every block.

use std::io;

/// Bytes held back before they are handed on.
const DRAIN_LEN_BYTES: usize = 32 << 10;

/// A writer of bits on top of a writer of bytes.
#[derive(Debug)]
pub struct BitWriter<W> {
    out: W,
    bytes: Vec<u8>,
    /// The `count` lowest bits are still to be written; all others are 0.
    bits: u64,
    count: u32,
}

impl<W: io::Write> BitWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, bytes: Vec::with_capacity(2 * DRAIN_LEN_BYTES), bits: 0, count: 0 }
    }

    /// Writes the `count` bits of `value`, at most 16; the bits above them must be 0.
    #[inline]
    pub fn put(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << self.count;
        self.count += count;
        if self.count >= 48 {
            self.bytes.extend_from_slice(&self.bits.to_le_bytes()[..6]);
            self.bits >>= 48;
            self.count -= 48;
        }
    }

    /// Fills the last byte with 0 bits.
    pub fn align(&mut self) {
        let held = self.count.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.bits.to_le_bytes()[..held]);
        self.bits = 0;
        self.count = 0;
    }

    /// Writes whole bytes, after filling the last one.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.align();
        self.bytes.extend_from_slice(bytes);
    }

    /// Hands on what is held back, when it is worth a call.
    pub fn drain(&mut self) -> io::Result<()> {
        if self.bytes.len() < DRAIN_LEN_BYTES {
            return Ok(());
        }
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Passes a flush on, without what is held back here.
    pub fn flush_out(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Fills the last byte, hands on everything and returns the byte stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.align();
        self.out.write_all(&self.bytes)?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_fill_bytes_from_the_lowest_and_stored_bytes_start_a_new_one() {
        let mut bits = BitWriter::new(Vec::new());
        bits.put(0b101, 3);
        bits.put(0xffff, 16);
        bits.put_bytes(&[0xaa]);
        bits.put(1, 1);
        assert_eq!(bits.finish().unwrap(), [0b1111_1101, 0xff, 0b111, 0xaa, 1]);
    }
}
