//! Chooses, byte by byte, which place of the base the new bytes are described by.
//!
//! In:   base, new bytes, and the seeds in order.
//! Out:  [`Segment`]s that cover the new bytes without a gap, cheapest in estimated bits.
//! Pure: no files, no clock. Never names a byte outside of the base.
//!
//! Every place worth trying is a lane: a fixed distance between new bytes and base. One more lane
//! stands for bytes sent as they are. All lanes walk forward together and pay for each byte; a
//! lane that is dearer than "the best lane so far, and change over" takes up that past instead.
//! Seeds open their lane some bytes early, so a copy may begin before the run that found it.

use super::index::{common_prefix, tail};
use super::seeds::Seed;

/// Estimated costs, in 1/64 bit.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// A copied byte that is equal to the base.
    pub equal: u64,
    /// A copied byte that is not, after one that was.
    pub unequal: u64,
    /// A copied byte that is not, after another that was not.
    pub unequal_again: u64,
    /// A copied byte that is equal to the base, after one that was not.
    pub equal_after: u64,
    /// A copied byte that differs as one in the same place of an entry before.
    pub unequal_alike: u64,
    /// A copied byte that is not equal, after four or more: no address is as long.
    pub unequal_long: u64,
    /// A byte sent as it is.
    pub fresh: u64,
    /// A copy, wherever it begins.
    pub copy: u64,
    /// Each bit of the distance to where the last copy would have gone on.
    pub copy_distance_bit: u64,
    /// A stretch of bytes sent as they are.
    pub fresh_start: u64,
    /// Bytes before a seed at which its lane opens.
    pub ahead: usize,
    /// Bytes after a seed for which its lane stays open without being the best.
    pub behind: usize,
}

/// A stretch of the new bytes and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub start: usize,
    pub len: usize,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The base, this far from the position in the new bytes.
    Base { shift: isize },
    /// Nowhere: the bytes are sent.
    Fresh,
}

/// At most this many lanes are open at once; seeds beyond take the place of the dearest.
const LANES_MAX: usize = 24;

/// Changes of lane that are kept open; beyond, the best past is taken as decided.
const STEPS_MAX: usize = 1 << 16;

/// Hands the cheapest segments to `take`, in order.
///
/// Memory: a few MiB, whatever the lengths.
pub fn choose(
    base: &[u8],
    new: &[u8],
    seeds: impl Iterator<Item = Seed>,
    prices: Prices,
    take: &mut dyn FnMut(Segment),
) {
    let mut walk = Walk {
        base,
        new,
        prices,
        lanes: vec![Lane::first(Source::Fresh), Lane::first(Source::Base { shift: 0 })],
        best: 0,
        at: 0,
        steps: Vec::new(),
    };
    let mut seeds = seeds.peekable();
    while walk.at < new.len() {
        while let Some(seed) = seeds.next_if(|seed| seed.new_at <= walk.at + prices.ahead) {
            walk.open(seed);
        }
        let next = seeds.peek().map_or(new.len(), |seed| seed.new_at - prices.ahead);
        walk.forward(Ord::min(next, new.len()));
        if walk.steps.len() > STEPS_MAX {
            walk.decide(take);
        }
    }
    walk.decide(take);
    let last = &walk.lanes[walk.best];
    if last.start < new.len() {
        take(Segment { start: last.start, len: new.len() - last.start, source: last.source });
    }
}

/// One way to describe the new bytes at hand, with the cheapest past that leads to it.
struct Lane {
    source: Source,
    /// The distance the next copy is measured from.
    shift: isize,
    cost: u64,
    /// Bytes in a row that were not equal, up to here.
    unequal_run: usize,
    /// Where this lane was taken up.
    start: usize,
    /// The steps before, if any.
    past: Option<usize>,
    /// The step for this lane from `start` on, once another lane builds on it.
    step: Option<usize>,
    closes_at: usize,
}

impl Lane {
    fn first(source: Source) -> Self {
        let (shift, start) = (0, 0);
        let unequal_run = 0;
        Self { source, shift, cost: 0, unequal_run, start, past: None, step: None, closes_at: 0 }
    }
}

/// A lane was taken up at `start`.
struct Step {
    start: usize,
    source: Source,
    past: Option<usize>,
}

struct Walk<'a> {
    base: &'a [u8],
    new: &'a [u8],
    prices: Prices,
    /// The first is always the one for fresh bytes.
    lanes: Vec<Lane>,
    best: usize,
    at: usize,
    steps: Vec<Step>,
}

impl Walk<'_> {
    fn open(&mut self, seed: Seed) {
        let shift = seed.base_at.cast_signed() - seed.new_at.cast_signed();
        let source = Source::Base { shift };
        let closes_at = seed.new_at + seed.len + self.prices.behind;
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.source == source) {
            lane.closes_at = Ord::max(lane.closes_at, closes_at);
            return;
        }
        if self.lanes.len() == LANES_MAX {
            self.close_dearest();
        }
        let mut lane = Lane { shift, closes_at, cost: u64::MAX, ..Lane::first(source) };
        let past = self.step_of_best();
        change_over(&mut lane, &self.lanes[self.best], past, self.at, self.prices);
        self.lanes.push(lane);
    }

    fn close_dearest(&mut self) {
        let dearest =
            (1..self.lanes.len()).filter(|&n| n != self.best).max_by_key(|&n| self.lanes[n].cost);
        if let Some(dearest) = dearest {
            self.lanes.remove(dearest);
            self.best -= usize::from(dearest < self.best);
        }
    }

    /// The step that the best lane is on.
    fn step_of_best(&mut self) -> usize {
        let lane = &mut self.lanes[self.best];
        *lane.step.get_or_insert_with(|| {
            self.steps.push(Step { start: lane.start, source: lane.source, past: lane.past });
            self.steps.len() - 1
        })
    }

    /// Walks on, at most to `end`: over a run that the best lane has, else over one byte.
    fn forward(&mut self, end: usize) {
        let new = &self.new[self.at..Ord::max(end, self.at + 1)];
        let run = match self.lanes[self.best].source {
            Source::Base { shift } => common_prefix(self.base_at(shift), new),
            Source::Fresh => 0,
        };
        let new = &new[..Ord::max(run, 1)];
        for n in 0..self.lanes.len() {
            let (cost, unequal_run) = self.price(n, new);
            self.lanes[n].cost += cost;
            self.lanes[n].unequal_run = unequal_run;
        }
        self.at += new.len();
        self.compare();
    }

    fn base_at(&self, shift: isize) -> &[u8] {
        self.at.checked_add_signed(shift).map_or(&[], |at| tail(self.base, at))
    }

    /// What lane `n` pays for the bytes ahead, and whether the last of them is unequal.
    fn price(&self, n: usize, new: &[u8]) -> (u64, usize) {
        let prices = self.prices;
        let lane = &self.lanes[n];
        let Source::Base { shift } = lane.source else {
            return (prices.fresh * new.len() as u64, 0);
        };
        let Some(base) = self.base_at(shift).get(..new.len()) else {
            return (u64::from(u32::MAX), 0);
        };
        if n == self.best && new.len() > 1 {
            let first = if lane.unequal_run > 0 { prices.equal_after } else { 0 };
            return (prices.equal * new.len() as u64 + first, 0);
        }
        let (mut cost, mut run) = (0, lane.unequal_run);
        for (n, (old, new)) in base.iter().zip(new).enumerate() {
            cost += match run {
                0 if old == new => prices.equal,
                _ if old == new => prices.equal_after,
                _ if self.differed_before(n, shift, new.wrapping_sub(*old)) => prices.unequal_alike,
                0 => prices.unequal,
                1..4 => prices.unequal_again,
                _ => prices.unequal_long,
            };
            run = if old == new { 0 } else { run + 1 };
        }
        (cost, run)
    }

    /// Whether an entry or two of a table before the `n`th byte ahead has the same difference.
    fn differed_before(&self, n: usize, shift: isize, difference: u8) -> bool {
        [4, 8, 16, 24].iter().any(|&back| {
            let at = (self.at + n).checked_sub(back);
            let new = at.and_then(|at| self.new.get(at));
            let old =
                at.and_then(|at| at.checked_add_signed(shift)).and_then(|at| self.base.get(at));
            new.zip(old).is_some_and(|(new, old)| new.wrapping_sub(*old) == difference)
        })
    }

    /// Finds the best lane, lets others build on it where that is cheaper, closes what is spent.
    fn compare(&mut self) {
        let cheapest = (0..self.lanes.len()).min_by_key(|&n| self.lanes[n].cost);
        self.best = cheapest.unwrap_or(0);
        let past = self.step_of_best();
        let best = self.lanes.swap_remove(self.best);
        for lane in &mut self.lanes {
            change_over(lane, &best, past, self.at, self.prices);
        }
        self.lanes.push(best);
        let last = self.lanes.len() - 1;
        self.lanes.swap(self.best, last);
        let mut n = 1;
        while n < self.lanes.len() {
            let lane = &self.lanes[n];
            if n != self.best && lane.start == self.at && lane.closes_at <= self.at {
                let last = self.lanes.len() - 1;
                self.lanes.swap_remove(n);
                if self.best == last {
                    self.best = n;
                }
            } else {
                n += 1;
            }
        }
    }

    /// Takes the past of the best lane as decided, hands it out and forgets all others.
    fn decide(&mut self, take: &mut dyn FnMut(Segment)) {
        let best = &self.lanes[self.best];
        let mut end = best.start;
        let mut past = best.past;
        let mut segments = Vec::new();
        while let Some(step) = past.and_then(|n| self.steps.get(n)) {
            segments.push(Segment {
                start: step.start,
                len: end - step.start,
                source: step.source,
            });
            (end, past) = (step.start, step.past);
        }
        segments.into_iter().rev().filter(|segment| segment.len > 0).for_each(take);
        self.steps.clear();
        for lane in &mut self.lanes {
            (lane.past, lane.step) = (None, None);
        }
        let past = self.step_of_best();
        let best = self.lanes.swap_remove(self.best);
        for lane in &mut self.lanes {
            lane.cost = u64::MAX;
            change_over(lane, &best, past, self.at, self.prices);
        }
        self.lanes.push(best);
        let last = self.lanes.len() - 1;
        self.lanes.swap(self.best, last);
    }
}

/// Lets `lane` build on `best` from `at` on if that is cheaper than its own past.
fn change_over(lane: &mut Lane, best: &Lane, past: usize, at: usize, prices: Prices) {
    let price = match lane.source {
        Source::Fresh => prices.fresh_start,
        Source::Base { shift } => {
            let bits = usize::BITS - shift.abs_diff(best.shift).leading_zeros();
            prices.copy + prices.copy_distance_bit * u64::from(bits)
        }
    };
    if best.cost + price >= lane.cost {
        return;
    }
    lane.cost = best.cost + price;
    lane.start = at;
    lane.past = Some(past);
    lane.step = None;
    lane.unequal_run = 0;
    if lane.source == Source::Fresh {
        lane.shift = best.shift;
    }
}
