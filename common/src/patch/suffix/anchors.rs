//! Finds places worth trying by marks at even distances in the base.
//!
//! In:   the base and the new bytes.
//! Out:  [`Seed`]s in the order of the new bytes, as [`super::seeds`] gives them.
//! Pure: no files, no clock; the answer depends on the two slices only.
//!
//! Where a suffix array of the base takes too long or too much memory. Every 8th place of a base
//! up to 256 MiB is an anchor, every 64th of one of 2 GiB: whatever both sides share over 19 bytes
//! or more (75 there) holds one, and is then followed both ways. What is shorter may be missed.

use super::index::{common_prefix, tail};
use super::seeds::Seed;

/// Bytes that an anchor covers.
const ANCHOR_LEN: usize = 12;

/// Bytes from one anchor to the next, where their number is no reason for more.
const STEP_MIN: usize = 8;

/// Most anchors: 2^25. Their table has twice as many places of four bytes.
const ANCHORS_MAX: usize = 1 << 25;

/// Places of the table that are looked at for one anchor; content made to collide costs no more.
const PROBES_MAX: usize = 64;

/// A run of this length on the last place is passed over without a look-up.
const RUN_PASSED_OVER: usize = 12;

/// Bytes that a place must match beyond what the last one does.
const GAIN_MIN: usize = 6;

/// Memory that the anchors of a base take, in bytes.
pub fn memory_bytes(base_len: u64) -> u64 {
    let most = ANCHORS_MAX as u64;
    4 * (2 * (base_len / STEP_MIN as u64).clamp(1, most)).next_power_of_two()
}

/// Yields the seeds one by one.
pub struct AnchorSeeds<'a> {
    base: &'a [u8],
    new: &'a [u8],
    /// Bytes from one anchor to the next.
    step: usize,
    /// Numbers of anchors plus one, by their hash; 0 is an empty place.
    table: Vec<u32>,
    at: usize,
    /// The end of the last seed: nothing before it is looked at again.
    done: usize,
    /// What to add to a position in the new bytes to come to the last place.
    shift: isize,
}

impl<'a> AnchorSeeds<'a> {
    /// Takes [`memory_bytes`] and some seconds a GiB of the base.
    pub fn new(base: &'a [u8], new: &'a [u8]) -> Self {
        let step = STEP_MIN * base.len().div_ceil(STEP_MIN * ANCHORS_MAX).max(1);
        let anchors = (base.len() / step).max(1);
        let mut seeds = Self {
            base,
            new,
            step,
            table: vec![0; (2 * anchors).next_power_of_two()],
            at: 0,
            done: 0,
            shift: 0,
        };
        for number in 0..anchors {
            seeds.set(number);
        }
        seeds
    }

    /// Puts an anchor into the table. Of equal ones the first stays, and none that is one byte
    /// over and over, as padding is.
    fn set(&mut self, number: usize) {
        let Some(anchor) = anchor_at(self.base, number * self.step) else { return };
        if anchor.iter().all(|byte| *byte == anchor[0]) {
            return;
        }
        let mask = self.table.len() - 1;
        let first = hash(anchor);
        for place in (first..first.saturating_add(PROBES_MAX)).map(|place| place & mask) {
            if self.table[place] == 0 {
                let number = u32::try_from(number + 1).expect("there are at most 2^25 anchors");
                self.table[place] = number;
                return;
            }
            if anchor_at(self.base, self.base_at(place)) == Some(anchor) {
                return;
            }
        }
    }

    /// Where the anchor in a place of the table lies.
    fn base_at(&self, place: usize) -> usize {
        super::index::usize_of(self.table[place] - 1) * self.step
    }

    /// The anchor that is equal to the new bytes from `at` on.
    fn find(&self, at: usize) -> Option<usize> {
        let wanted = anchor_at(self.new, at)?;
        let mask = self.table.len() - 1;
        let first = hash(wanted);
        let places = (first..first.saturating_add(PROBES_MAX)).map(|place| place & mask);
        let taken = places.take_while(|&place| self.table[place] != 0);
        let mut found = taken.map(|place| self.base_at(place));
        found.find(|&base_at| anchor_at(self.base, base_at) == Some(wanted))
    }

    /// The base from the last place on, as seen from `at`; empty outside of the base.
    fn fitted(&self, at: usize) -> &'a [u8] {
        at.checked_add_signed(self.shift).map_or(&[], |place| tail(self.base, place))
    }

    /// The whole stretch around an anchor, if it is better than the last place.
    fn look_up(&self) -> Option<Seed> {
        let base_at = self.find(self.at)?;
        if self.at.checked_add_signed(self.shift) == Some(base_at) {
            return None;
        }
        let new_before = self.new[self.done..self.at].iter().rev();
        let before = new_before.zip(self.base[..base_at].iter().rev());
        let back = before.take_while(|(new, base)| new == base).count();
        let (new_at, base_at) = (self.at - back, base_at - back);
        let len = common_prefix(tail(self.base, base_at), tail(self.new, new_at));
        let stretch = &self.new[new_at..new_at + len];
        let alike = stretch.iter().zip(self.fitted(new_at)).filter(|(x, y)| x == y).count();
        (len >= alike + GAIN_MIN).then_some(Seed { new_at, base_at, len })
    }
}

impl Iterator for AnchorSeeds<'_> {
    type Item = Seed;

    fn next(&mut self) -> Option<Seed> {
        while self.at < self.new.len() {
            let run = common_prefix(self.fitted(self.at), tail(self.new, self.at));
            if run >= RUN_PASSED_OVER {
                self.at += run;
                continue;
            }
            if let Some(seed) = self.look_up() {
                self.at = seed.new_at + seed.len;
                self.done = self.at;
                self.shift = seed.base_at.cast_signed() - seed.new_at.cast_signed();
                return Some(seed);
            }
            self.at += 1;
        }
        None
    }
}

fn anchor_at(bytes: &[u8], at: usize) -> Option<&[u8; ANCHOR_LEN]> {
    tail(bytes, at).first_chunk()
}

/// Spreads an anchor over all bits; the constants are odd and otherwise of no meaning.
fn hash(anchor: &[u8; ANCHOR_LEN]) -> usize {
    let mut word = [0; 16];
    word[..ANCHOR_LEN].copy_from_slice(anchor);
    let folded = u128::from_le_bytes(word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let [.., a, b, c, d, e, f, g, h] = folded.to_le_bytes();
    let high = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    usize::try_from(high ^ high >> 29).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which no twelve in a row stand anywhere else.
    fn unlike(words: std::ops::Range<u64>) -> Vec<u8> {
        words.flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
    }

    #[test]
    fn what_moved_is_found_whole_and_both_ways() {
        let base = unlike(0..250);
        let (head, tail) = (&base[..611], &base[803..]);
        let new = [tail, b"#", head].concat();
        let expected = [
            Seed { new_at: 0, base_at: 803, len: tail.len() },
            Seed { new_at: tail.len() + 1, base_at: 0, len: head.len() },
        ];
        assert_eq!(AnchorSeeds::new(&base, &new).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn equal_bytes_in_their_place_need_no_seed() {
        let base = unlike(0..250);
        assert_eq!(AnchorSeeds::new(&base, &base).next(), None);
        assert_eq!(AnchorSeeds::new(&[], &base).next(), None);
        assert_eq!(AnchorSeeds::new(&base, &[]).next(), None);
        assert_eq!(AnchorSeeds::new(&[0; 100], &[0; 64]).next(), None);
    }

    #[test]
    fn the_table_is_as_large_as_was_said() {
        for base_len in [0, 1, 31, 32, 4096, 100_000] {
            let table = AnchorSeeds::new(&vec![7; base_len], b"").table.len() as u64 * 4;
            assert_eq!(table, memory_bytes(base_len as u64), "{base_len}");
        }
        assert_eq!(memory_bytes(u64::MAX), 1 << 28);
    }
}
