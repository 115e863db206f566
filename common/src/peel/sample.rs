//! Bytes for tests: the same in every run.

/// A small generator of pseudo-random numbers (xorshift64*).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number).unwrap() % end
    }
}

/// Words in lines, somewhat like text.
pub(crate) fn words(len: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(7);
    let lexicon: Vec<Vec<u8>> = (0..900)
        .map(|_| (0..2 + numbers.below(9)).map(|_| b'a' + byte(numbers.below(26))).collect())
        .collect();
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        let rank = numbers.below(30) * numbers.below(30);
        text.extend_from_slice(&lexicon[rank]);
        text.push(if numbers.below(11) == 0 { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}

/// Bytes that cannot be made smaller.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(11);
    (0..len).map(|_| byte(numbers.below(256))).collect()
}

/// `count` copies of `bytes`, each with one to three bytes changed, or cut, or lengthened.
pub(crate) fn mutations(bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut numbers = Numbers::new(13);
    (0..count).map(move |_| {
        let mut mutant = bytes.to_vec();
        match numbers.below(6) {
            0 => mutant.truncate(numbers.below(bytes.len())),
            1 => mutant.insert(numbers.below(bytes.len()), byte(numbers.below(256))),
            _ => {
                for _ in 0..=numbers.below(3) {
                    // Half of the changes fall into the first 64 bytes, where the headers are.
                    let end = if numbers.below(2) == 0 { bytes.len().min(64) } else { bytes.len() };
                    mutant[numbers.below(end)] ^= 1 << numbers.below(8);
                }
            }
        }
        mutant
    })
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}
