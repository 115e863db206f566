//! Which of several candidates a client takes.
//!
//! In:   candidates that meet one requirement, what is installed so far.
//! Out:  the best of them first, those that are out of the question gone.
//!
//! | step                | takes                                                             |
//! |---------------------|-------------------------------------------------------------------|
//! | repository          | those of the best `priority=`                                     |
//! | architecture        | none of a second architecture beside one of the first             |
//! | version             | the highest of each name; none that another candidate obsoletes   |
//! | recommended         | those that something installed recommends, or that supplement it  |
//! | order               | no older version first; the higher version of a common capability |
//! |                     | first; what is suggested first; else as [`Universe::rank`] says   |

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    super::{
        evr::{self, Op},
        universe::{Bond, Sym, Universe},
    },
    Id, Solver,
};

/// How far candidates are weighed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// To take the first.
    Choose,
    /// To see whether there is a choice.
    Look,
    /// Everything that is recommended, of all sorts together.
    Recommend,
}

impl Solver<'_, '_> {
    /// Leaves the candidates that a client would consider, the one it takes first.
    pub fn weigh(&mut self, candidates: &mut Vec<Id>, mode: Mode) {
        self.keep_best_repository(candidates);
        self.keep_first_architecture(candidates);
        self.keep_best_versions(candidates);
        if candidates.len() < 2 || mode == Mode::Recommend {
            return;
        }
        self.keep_recommended(candidates);
        if 1 < candidates.len() && mode == Mode::Choose {
            self.order(candidates);
        }
    }

    /// Puts candidates that all get installed into the order in which that happens.
    pub fn order(&mut self, candidates: &mut [Id]) {
        let universe = self.rules.universe;
        candidates.sort_by_key(|id| is_outdated(universe, *id));
        sort_by_common_capability(universe, candidates);
        self.take_advice();
        candidates.sort_by_key(|id| !self.suggested[*id] && !self.adds_to(*id, Bond::Enhances));
    }

    fn keep_best_repository(&self, candidates: &mut Vec<Id>) {
        let priority = |id: Id| {
            let repository = self.rules.universe.packages[id].repository;
            self.rules.habits.priorities.get(repository).copied().unwrap_or(u32::MAX)
        };
        let best = candidates.iter().map(|id| priority(*id)).min();
        candidates.retain(|id| Some(priority(*id)) == best);
    }

    fn keep_first_architecture(&self, candidates: &mut Vec<Id>) {
        let universe = self.rules.universe;
        let extra = |id: Id| {
            let arch = universe.names.text(universe.packages[id].arch);
            self.rules.habits.multilib.iter().any(|m| m == arch)
        };
        if candidates.iter().any(|id| !extra(*id)) {
            candidates.retain(|id| !extra(*id));
        }
    }

    /// Of each name the highest version, by the rank of names; then none that is obsolete.
    fn keep_best_versions(&self, candidates: &mut Vec<Id>) {
        let universe = self.rules.universe;
        let name = |id: Id| universe.packages[id].name;
        candidates.sort_by(|a, b| {
            let by_name = universe.rank(name(*a)).cmp(&universe.rank(name(*b)));
            by_name.then_with(|| universe.compare(*b, *a)).then(a.cmp(b))
        });
        candidates.dedup_by_key(|id| name(*id));
        let obsoletes = |a: Id, b: Id| {
            universe
                .bonds(a, Bond::Obsoletes)
                .iter()
                .any(|relation| universe.namesakes(*relation).any(|id| id == b))
        };
        let all = candidates.clone();
        candidates.retain(|id| {
            !all.iter().any(|by| by != id && obsoletes(*by, *id) && !obsoletes(*id, *by))
        });
    }

    fn keep_recommended(&mut self, candidates: &mut Vec<Id>) {
        self.take_advice();
        let good = |id: &Id| self.recommended[*id] || self.adds_to(*id, Bond::Supplements);
        let kept: Vec<Id> = candidates.iter().copied().filter(good).collect();
        if !kept.is_empty() {
            *candidates = kept;
        }
    }

    /// Whether a package supplements or enhances what is installed.
    pub fn adds_to(&self, id: Id, bond: Bond) -> bool {
        let there = |id: Id| self.is_there(id);
        self.rules.universe.bonds(id, bond).iter().any(|r| self.rules.holds(*r, &there))
    }

    /// Notes what the packages installed since the last time recommend and suggest.
    pub fn take_advice(&mut self) {
        while let Some(lit) = self.trail.get(self.advised).copied() {
            self.advised += 1;
            if !lit.is_yes() {
                continue;
            }
            for relation in self.rules.universe.bonds(lit.id(), Bond::Recommends) {
                for id in self.rules.providers(*relation).iter() {
                    self.recommended[*id] = true;
                }
            }
            for relation in self.rules.universe.bonds(lit.id(), Bond::Suggests) {
                for id in self.rules.providers(*relation).iter() {
                    self.suggested[*id] = true;
                }
            }
        }
    }

    /// Whether something that is installed recommends a package.
    pub fn is_recommended(&self, id: Id) -> bool {
        self.recommended[id]
    }

    /// Begins anew with the advice of what is installed.
    pub fn forget_advice(&mut self) {
        self.advised = 0;
        self.recommended.fill(false);
        self.suggested.fill(false);
    }
}

/// Whether there is a higher version of the same name and architecture.
fn is_outdated(universe: &Universe, id: Id) -> bool {
    let arch = universe.packages[id].arch;
    let mut namesakes = universe.named(universe.packages[id].name);
    namesakes
        .any(|other| universe.packages[other].arch == arch && universe.compare(other, id).is_gt())
}

/// Moves candidates back that provide a lower version of something that others provide too.
fn sort_by_common_capability(universe: &Universe, candidates: &mut [Id]) {
    let mut shared: BTreeMap<Sym, Vec<(usize, Op, &str)>> = BTreeMap::new();
    for (at, id) in candidates.iter().enumerate() {
        for relation in universe.bonds(*id, Bond::Provides) {
            let evr = universe.names.text(relation.evr);
            let counts = match relation.op {
                Op::Equal => !looks_like_a_hash(evr),
                Op::Less | Op::LessEqual => true,
                Op::Any | Op::Greater | Op::GreaterEqual => false,
            };
            if counts {
                shared.entry(relation.name).or_default().push((at, relation.op, evr));
            }
        }
    }
    let mut badness = vec![0_usize; candidates.len()];
    for entries in shared.values_mut() {
        entries.sort_by(by_version);
        let mut bad = 0;
        for pair in 0..entries.len() {
            let (at, ..) = entries[pair];
            if let Some(before) = pair.checked_sub(1).map(|before| entries[before]) {
                let lower = by_version(&before, &entries[pair]).is_lt();
                bad += usize::from(before.0 != at && lower);
            }
            badness[at] += bad;
        }
    }
    let mut order: Vec<(usize, Id)> = badness.into_iter().zip(candidates.iter().copied()).collect();
    order.sort_by_key(|(bad, _)| *bad);
    for (slot, (_, id)) in candidates.iter_mut().zip(order) {
        *slot = id;
    }
}

/// The higher version first; of equals, the one that does not reach it last.
fn by_version(a: &(usize, Op, &str), b: &(usize, Op, &str)) -> Ordering {
    let below = |op: Op| op == Op::Less;
    evr::compare_loosely(b.2, a.2).then(below(a.1).cmp(&below(b.1)))
}

fn looks_like_a_hash(evr: &str) -> bool {
    4 <= evr.len() && evr.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
