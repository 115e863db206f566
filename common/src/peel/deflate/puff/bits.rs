//! Reads and writes bits in deflate's order: the lowest bit of each byte comes first.
//!
//! In:   bytes, or numbers with their width in bits (RFC 1951, section 3.1.1).
//! Out:  numbers, or bytes. Never reads past its input: bits beyond the end are zero when
//!       looked at, and an error when taken.

/// The input ended before the bits that were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OutOfBits;

/// Takes numbers of up to 16 bits from bytes.
#[derive(Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    next_byte: usize,
    held: u64,
    held_bits: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next_byte: 0, held: 0, held_bits: 0 }
    }

    /// Holds at least 48 bits afterwards, unless the input ends before.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.held_bits >= 48 {
            return;
        }
        let next = self.bytes.get(self.next_byte..).and_then(<[u8]>::first_chunk::<8>);
        if let Some(next) = next {
            self.held |= u64::from_le_bytes(*next) << self.held_bits;
            let bytes = (63 - self.held_bits) / 8;
            self.next_byte += bytes as usize;
            self.held_bits += bytes * 8;
            // What was shifted in above `held_bits` comes again with the next refill.
            self.held &= (1 << self.held_bits) - 1;
        } else {
            self.refill_slowly();
        }
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.held_bits < 56 {
            let Some(&byte) = self.bytes.get(self.next_byte) else { return };
            self.held |= u64::from(byte) << self.held_bits;
            self.held_bits += 8;
            self.next_byte += 1;
        }
    }

    /// The next bits without taking them; those that are not held are zero.
    #[inline]
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Takes `bits` (at most 48) that a [`BitReader::refill`] brought and a look showed.
    #[inline]
    pub(super) fn skip(&mut self, bits: u32) -> Result<(), OutOfBits> {
        self.held_bits = self.held_bits.checked_sub(bits).ok_or(OutOfBits)?;
        self.held >>= bits;
        Ok(())
    }

    /// Takes a number of `bits` (at most 16) that a [`BitReader::refill`] brought.
    #[inline]
    pub(super) fn take_held(&mut self, bits: u32) -> Result<u16, OutOfBits> {
        let [low, high, ..] = (self.held & ((1 << bits) - 1)).to_le_bytes();
        self.skip(bits)?;
        Ok(u16::from_le_bytes([low, high]))
    }

    /// Takes a number of `bits` (at most 16).
    pub(super) fn take(&mut self, bits: u32) -> Result<u16, OutOfBits> {
        self.refill();
        self.take_held(bits)
    }

    /// Takes the bits up to the next byte boundary.
    pub(super) fn take_padding(&mut self) -> Result<u8, OutOfBits> {
        let [padding, _] = self.take(self.held_bits % 8)?.to_le_bytes();
        Ok(padding)
    }

    /// Takes whole bytes; only on a byte boundary.
    pub(super) fn take_bytes(&mut self, len: usize) -> Result<&'a [u8], OutOfBits> {
        let start = self.position();
        let end = start.checked_add(len).ok_or(OutOfBits)?;
        let taken = self.bytes.get(start..end).ok_or(OutOfBits)?;
        *self = Self { bytes: self.bytes, next_byte: end, held: 0, held_bits: 0 };
        Ok(taken)
    }

    /// Bytes touched so far, the one in use included.
    pub(super) fn position(&self) -> usize {
        self.next_byte - (self.held_bits / 8) as usize
    }
}

/// Gathers bits into bytes.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    held_bits: u32,
}

impl BitWriter {
    /// Appends the low `bits` (at most 48) of `value`, whose higher bits are zero.
    #[inline]
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        if self.held_bits + bits > 63 {
            self.flush_bytes();
        }
        self.held |= value << self.held_bits;
        self.held_bits += bits;
    }

    #[inline]
    fn flush_bytes(&mut self) {
        let whole = self.held_bits / 8;
        self.bytes.extend_from_slice(&self.held.to_le_bytes()[..whole as usize]);
        self.held >>= whole * 8; // at most 56, as at most 63 bits are held
        self.held_bits %= 8;
    }

    /// Bits missing to the next byte boundary.
    pub(super) fn padding_bits(&self) -> u32 {
        (8 - self.held_bits % 8) % 8
    }

    /// Bytes gathered so far, less up to eight that are still held as bits.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The whole bytes gathered so far, for the caller to take away and clear.
    pub(super) fn whole_bytes(&mut self) -> &mut Vec<u8> {
        self.flush_bytes();
        &mut self.bytes
    }
}
