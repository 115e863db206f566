//! Inputs made from seeds, the same on every machine.

/// An input and what to call it.
pub struct Input {
    pub name: String,
    pub plain: Vec<u8>,
}

/// A xorshift generator (Marsaglia 2003).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }
}

/// What an input is made of.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One byte again and again.
    Run,
    /// All bytes equally often.
    Noise,
    /// Few bytes much more often than the others, without repeats by design.
    Skewed,
    /// Words of a small language.
    Text,
    /// Stretches of all of these, and copies from up to 40000 bytes back.
    Mixture,
}

pub const KINDS: [Kind; 5] = [Kind::Run, Kind::Noise, Kind::Skewed, Kind::Text, Kind::Mixture];

/// Makes an input of `len` bytes.
pub fn input(kind: Kind, len: usize, seed: u64) -> Input {
    let mut plain = Vec::with_capacity(len);
    extend(&mut plain, kind, len, &mut Random::new(seed));
    Input { name: format!("{kind:?}-{len}-{seed}").to_lowercase(), plain }
}

/// Noise in which 300 bytes come again at `distance`, in several places.
pub fn repeats(distance: usize, len: usize, seed: u64) -> Input {
    let mut random = Random::new(seed);
    let mut plain = Vec::with_capacity(len);
    while plain.len() < len {
        let again = plain.len() >= distance && random.below(3) == 0;
        for _ in 0..=random.below(300) {
            plain.push(if again { plain[plain.len() - distance] } else { random.byte() });
        }
    }
    plain.truncate(len);
    Input { name: format!("repeats-{distance}-{len}-{seed}"), plain }
}

fn extend(plain: &mut Vec<u8>, kind: Kind, len: usize, random: &mut Random) {
    let end = plain.len() + len;
    match kind {
        Kind::Run => plain.resize(end, random.byte()),
        Kind::Noise => plain.resize_with(end, || random.byte()),
        Kind::Skewed => {
            plain.resize_with(end, || random.byte() & random.byte() & random.byte());
        }
        Kind::Text => extend_text(plain, end, random),
        Kind::Mixture => extend_mixture(plain, end, random),
    }
}

fn extend_text(plain: &mut Vec<u8>, end: usize, random: &mut Random) {
    let words: Vec<Vec<u8>> = (0..400)
        .map(|_| (0..=random.below(9)).map(|_| b'a' + random.byte() % 26).collect())
        .collect();
    while plain.len() < end {
        let rank = random.below(20) * random.below(20);
        plain.extend_from_slice(&words[rank]);
        plain.push(if random.below(12) == 0 { b'\n' } else { b' ' });
    }
    plain.truncate(end);
}

fn extend_mixture(plain: &mut Vec<u8>, end: usize, random: &mut Random) {
    while plain.len() < end {
        let scale = [8, 40, 400, 4000, 20000][random.below(5)];
        let len = (1 + random.below(scale)).min(end - plain.len());
        match random.below(8) {
            0 => extend(plain, Kind::Run, len, random),
            1 => extend(plain, Kind::Noise, len, random),
            2 => extend(plain, Kind::Skewed, len, random),
            3 => extend(plain, Kind::Text, len, random),
            _ if plain.is_empty() => plain.push(random.byte()),
            _ => {
                let distance = 1 + random.below(plain.len().min(40_000));
                (0..len.min(600)).for_each(|_| plain.push(plain[plain.len() - distance]));
            }
        }
    }
    plain.truncate(end);
}
