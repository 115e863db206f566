//! Damages inputs: the same damage in every run.
//!
//! In: seeds. Out: mutants of them: bits flipped, ends cut off, parts of two joined, lengths
//! overwritten by extremes, in binary and in digits.

/// Pseudo-random numbers from a fixed start (Marsaglia's xorshift64).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A place in `len` bytes; every second one among the first 64, where headers are.
    fn place(&mut self, len: usize) -> usize {
        let end = if self.below(2) == 0 { len.min(64) } else { len };
        self.below(end)
    }
}

/// Fields that decoders take for lengths.
const EXTREMES: [&[u8]; 14] = [
    &[0; 8],
    &[0xff; 8],
    &[0xff; 4],
    &[0xff; 2],
    &[0x7f; 4],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80; 10],
    b"77777777777",
    b"9999999999",
    b"FFFFFFFF",
    b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
];

/// One seed with one damage, or with up to four.
pub fn mutant(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(2) * numbers.below(4) {
        damage(&mut bytes, seeds, numbers);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.place(bytes.len());
    let end = (at + 1 + numbers.below(64)).min(bytes.len());
    match numbers.below(10) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let part = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, part);
        }
        3 => {
            let other = &seeds[numbers.below(seeds.len())];
            bytes.truncate(at);
            bytes.extend(&other[numbers.below(other.len())..]);
        }
        4 | 5 => {
            let extreme = EXTREMES[numbers.below(EXTREMES.len())];
            bytes.iter_mut().skip(at).zip(extreme).for_each(|(byte, &new)| *byte = new);
        }
        6 => {
            let new = numbers.byte();
            bytes.insert(at, new);
        }
        7 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = numbers.byte()),
        _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << numbers.below(8)),
    }
}
