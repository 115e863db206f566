//! Walks through the new bytes and names the places of the base worth trying.
//!
//! In:   an [`Index`] of the base and the new bytes.
//! Out:  [`Seed`]s in the order of the new bytes: "from here on, the base from there on is alike".
//!
//! Looks up every position where nothing fits, but only the start of each run that is alike
//! where the last seed still fits: a better place shows itself at the next run at the latest.

use super::index::{Index, common_prefix, tail};

/// A stretch of the new bytes found in the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// First byte alike, in the new bytes.
    pub new_at: usize,
    /// Where the base has it.
    pub base_at: usize,
    /// Bytes alike.
    pub len: usize,
}

/// How eagerly places are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Bytes that a place must match beyond what the last one does.
    pub gain_min: usize,
    /// Neighbours in sorted order, each side, that are weighed against the longest match.
    pub neighbours: usize,
    /// A run of this length on the last place is passed over without a look-up.
    pub run_passed_over: usize,
}

/// Yields the seeds one by one.
pub struct Seeds<'a> {
    index: &'a Index<'a>,
    base: &'a [u8],
    new: &'a [u8],
    search: Search,
    at: usize,
    /// What to add to a position in the new bytes to come to the last place.
    shift: isize,
}

/// Bytes of context before and after a match that decide between neighbours.
const CONTEXT_LEN: usize = 32;

/// How far a run may lie behind bytes that differ for a look-up to wait for it.
const NEAR: usize = 8;

impl<'a> Seeds<'a> {
    pub fn new(index: &'a Index<'a>, base: &'a [u8], new: &'a [u8], search: Search) -> Self {
        Self { index, base, new, search, at: 0, shift: 0 }
    }

    /// The base from the last place on, as seen from `at`; empty outside of the base.
    fn fitted(&self, at: usize) -> &'a [u8] {
        at.checked_add_signed(self.shift).map_or(&[], |place| tail(self.base, place))
    }

    /// Of the matches about as long as the longest, the one whose surroundings fit best.
    fn choose(&self, rank: usize, longest: Seed) -> Seed {
        let first = rank.saturating_sub(self.search.neighbours);
        let end = Ord::min(rank + self.search.neighbours + 1, self.index.ranks());
        let wanted = tail(self.new, longest.new_at);
        let mut best = (self.surroundings(longest), longest);
        for rank in first..end {
            let base_at = self.index.place(rank);
            let len = common_prefix(
                tail(self.base, base_at),
                wanted.get(..longest.len).unwrap_or(wanted),
            );
            if len < longest.len {
                continue;
            }
            let seed = Seed { base_at, ..longest };
            let score = self.surroundings(seed);
            let nearer = self.distance(seed) < self.distance(best.1);
            if score > best.0 || score == best.0 && nearer {
                best = (score, seed);
            }
        }
        best.1
    }

    fn surroundings(&self, seed: Seed) -> usize {
        let back = CONTEXT_LEN.min(seed.new_at).min(seed.base_at);
        let before = alike(
            window(self.new, seed.new_at - back, back),
            window(self.base, seed.base_at - back, back),
        );
        let (new_end, base_end) = (seed.new_at + seed.len, seed.base_at + seed.len);
        before
            + alike(
                window(self.new, new_end, CONTEXT_LEN),
                window(self.base, base_end, CONTEXT_LEN),
            )
    }

    fn distance(&self, seed: Seed) -> usize {
        seed.new_at
            .checked_add_signed(self.shift)
            .map_or(usize::MAX, |fit| fit.abs_diff(seed.base_at))
    }

    /// Looks up `at`: a seed if a place is better than the last one, else where to look next.
    fn look_up(&mut self, run: usize) -> Option<Seed> {
        let wanted = tail(self.new, self.at);
        let (rank, found) = self.index.search(wanted)?;
        if found.len <= run {
            return None;
        }
        let score = alike(
            wanted.get(..found.len).unwrap_or_default(),
            self.fitted(self.at).get(..found.len).unwrap_or(self.fitted(self.at)),
        );
        if found.len < score + self.search.gain_min {
            return None;
        }
        let longest = Seed { new_at: self.at, base_at: found.at, len: found.len };
        let mut seed = self.choose(rank, longest);
        seed.len += common_prefix(
            tail(self.base, seed.base_at + seed.len),
            tail(self.new, seed.new_at + seed.len),
        );
        Some(seed)
    }
}

impl Iterator for Seeds<'_> {
    type Item = Seed;

    fn next(&mut self) -> Option<Seed> {
        while self.at < self.new.len() {
            let fitted = self.fitted(self.at);
            let mut run = common_prefix(fitted, tail(self.new, self.at));
            if run == 0
                && let Some(wait) = next_run(fitted, tail(self.new, self.at))
            {
                self.at += wait;
                run = common_prefix(tail(fitted, wait), tail(self.new, self.at));
            }
            if run >= self.search.run_passed_over {
                self.at += run;
                continue;
            }
            if let Some(seed) = self.look_up(run) {
                self.at += seed.len;
                self.shift = signed(seed.base_at) - signed(seed.new_at);
                return Some(seed);
            }
            self.at += Ord::max(run, 1);
        }
        None
    }
}

/// Positions are below 2 GiB, see [`super::index::INDEXED_LEN_BYTES_MAX`].
fn signed(at: usize) -> isize {
    at.cast_signed()
}

/// How many bytes ahead, if near, four bytes in a row are alike.
fn next_run(a: &[u8], b: &[u8]) -> Option<usize> {
    let near = NEAR + 4;
    let (a, b) = (a.get(..near)?, b.get(..near)?);
    (1..NEAR).find(|&ahead| window(a, ahead, 4) == window(b, ahead, 4))
}

fn window(bytes: &[u8], start: usize, len: usize) -> &[u8] {
    let rest = tail(bytes, start);
    rest.get(..len).unwrap_or(rest)
}

/// How many bytes of two slices are equal, place by place.
fn alike(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).filter(|(x, y)| x == y).count()
}
