//! Decides which packages are installed together: the decisions that dnf's libsolv makes.
//!
//! In:   [`Rules`], the packages asked for.
//! Out:  the packages of one installation, or the rules that cannot hold together.
//! Pure; the same input gives the same decisions.
//!
//! Clauses are propagated and conflicts learnt from (CDCL). What makes it agree with a client is
//! the order of decisions, in `policy`, and the stages: what was asked for, requirements with
//! one best candidate, requirements with several, then what is recommended or supplements; last,
//! choices are taken back that a later decision made needless.

mod policy;
mod stages;

use std::collections::BTreeSet;

use super::{
    rules::{Clause, Lit, Rules, Why},
    universe::Id,
};

/// Most conflicts before the search ends; real repositories have fewer than a hundred.
const CONFLICTS_MAX: usize = 20_000;

/// Why there is no installation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// These cannot hold together.
    Impossible(Vec<Why>),
    /// The search took more than [`CONFLICTS_MAX`] turns.
    TooHard,
}

/// A choice between packages, of which another may turn out to be there anyway.
struct Branch {
    level: i32,
    taken: Id,
    others: Vec<Id>,
}

/// A search on its way.
pub struct Solver<'r, 'u> {
    rules: &'r Rules<'u>,
    clauses: Vec<Clause>,
    /// By package: the level at which it was installed, negative where it was ruled out.
    levels: Vec<i32>,
    /// By package: the clause that decided it.
    reasons: Vec<Option<u32>>,
    trail: Vec<Lit>,
    propagated: usize,
    level: i32,
    /// By literal: the clauses that watch it.
    watches: Vec<Vec<u32>>,
    branches: Vec<Branch>,
    /// Choices that were taken back once, so that they are not again.
    reconsidered: BTreeSet<(Id, Id)>,
    conflicts: usize,
    recommended: Vec<bool>,
    suggested: Vec<bool>,
    advised: usize,
}

/// Finds the installation of one package of each of `asked`, each a list of candidates.
///
/// # Errors
///
/// [`Stuck`].
pub fn solve(rules: &Rules<'_>, asked: &[Vec<Id>]) -> Result<Vec<Id>, Stuck> {
    let mut solver = Solver::new(rules, asked);
    let first_job = rules.clauses.len();
    solver.run(first_job..first_job + asked.len())?;
    let mut chosen: Vec<Id> =
        solver.trail.iter().filter(|lit| lit.is_yes()).map(|lit| lit.id()).collect();
    chosen.sort_unstable();
    Ok(chosen)
}

impl<'r, 'u> Solver<'r, 'u> {
    fn new(rules: &'r Rules<'u>, asked: &[Vec<Id>]) -> Self {
        let packages = rules.universe.packages.len();
        let mut clauses = rules.clauses.clone();
        clauses.extend(asked.iter().map(|candidates| Clause {
            literals: candidates.iter().map(|id| Lit::yes(*id)).collect(),
            why: Why::Asked,
        }));
        let mut solver = Self {
            rules,
            clauses,
            levels: vec![0; packages],
            reasons: vec![None; packages],
            trail: Vec::new(),
            propagated: 0,
            level: 1,
            watches: vec![Vec::new(); packages * 2],
            branches: Vec::new(),
            reconsidered: BTreeSet::new(),
            conflicts: 0,
            recommended: vec![false; packages],
            suggested: vec![false; packages],
            advised: 0,
        };
        for number in 0..solver.clauses.len() {
            solver.watch(number);
        }
        solver
    }

    /// Whether a literal holds; `None` while that is open.
    fn value(&self, lit: Lit) -> Option<bool> {
        match self.levels[lit.id()] {
            0 => None,
            level => Some((0 < level) == lit.is_yes()),
        }
    }

    fn is_there(&self, id: Id) -> bool {
        0 < self.levels[id]
    }

    fn is_open(&self, id: Id) -> bool {
        self.levels[id] == 0
    }

    fn watch(&mut self, number: usize) {
        if let [first, second, ..] = self.clauses[number].literals[..] {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.watches[first.slot()].push(number);
            self.watches[second.slot()].push(number);
        }
    }

    /// Decides the clauses of one literal, and all that follows.
    fn assert_units(&mut self) -> Result<(), Stuck> {
        for number in 0..self.clauses.len() {
            match self.clauses[number].literals[..] {
                [] => return Err(self.impossible(number)),
                [lit] => match self.value(lit) {
                    Some(true) => {}
                    Some(false) => return Err(self.impossible(number)),
                    None => self.assign(lit, Some(number)),
                },
                _ => {}
            }
        }
        self.propagate().map_or(Ok(()), |conflict| Err(self.impossible(conflict)))
    }

    fn assign(&mut self, lit: Lit, reason: Option<usize>) {
        self.levels[lit.id()] = if lit.is_yes() { self.level } else { -self.level };
        self.reasons[lit.id()] = reason.and_then(|number| u32::try_from(number).ok());
        self.trail.push(lit);
    }

    /// Follows all decisions; the clause that cannot hold, when there is one.
    fn propagate(&mut self) -> Option<usize> {
        while let Some(lit) = self.trail.get(self.propagated).copied() {
            self.propagated += 1;
            let gone = lit.not();
            let mut watching = std::mem::take(&mut self.watches[gone.slot()]);
            let mut kept = 0;
            let mut conflict = None;
            for at in 0..watching.len() {
                let number = watching[at];
                let moved = conflict.is_none() && self.rewatch(number as usize, gone);
                if moved {
                    continue;
                }
                watching[kept] = number;
                kept += 1;
                let first = self.clauses[number as usize].literals[0];
                match self.value(first) {
                    _ if conflict.is_some() => {}
                    Some(true) => {}
                    Some(false) => conflict = Some(number as usize),
                    None => self.assign(first, Some(number as usize)),
                }
            }
            watching.truncate(kept);
            self.watches[gone.slot()].append(&mut watching);
            if conflict.is_some() {
                return conflict;
            }
        }
        None
    }

    /// Finds another literal to watch than `gone`; otherwise puts the last hope first.
    fn rewatch(&mut self, number: usize, gone: Lit) -> bool {
        if self.clauses[number].literals[0] == gone {
            self.clauses[number].literals.swap(0, 1);
        }
        if self.value(self.clauses[number].literals[0]) == Some(true) {
            return false;
        }
        let literals = &self.clauses[number].literals;
        let Some(at) = (2..literals.len()).find(|at| self.value(literals[*at]) != Some(false))
        else {
            return false;
        };
        let literals = &mut self.clauses[number].literals;
        literals.swap(1, at);
        let slot = literals[1].slot();
        self.watches[slot].push(u32::try_from(number).unwrap_or(u32::MAX));
        true
    }

    /// Decides a literal and all that follows; learns from each conflict until there is none.
    fn decide(&mut self, lit: Lit) -> Result<(), Stuck> {
        self.level += 1;
        self.assign(lit, None);
        while let Some(conflict) = self.propagate() {
            self.conflicts += 1;
            if CONFLICTS_MAX < self.conflicts {
                return Err(Stuck::TooHard);
            }
            if self.level == 1 {
                return Err(self.impossible(conflict));
            }
            let (learnt, level) = self.learn(conflict);
            self.revert(level);
            let first = learnt[0];
            let number = self.clauses.len();
            self.clauses.push(Clause { literals: learnt, why: Why::Learnt });
            self.watch(number);
            self.assign(first, Some(number));
        }
        Ok(())
    }

    /// The clause that a conflict teaches, and the level at which it decides its first literal.
    fn learn(&self, conflict: usize) -> (Vec<Lit>, i32) {
        let mut seen = vec![false; self.levels.len()];
        let (mut open, mut learnt) = (0, Vec::new());
        let (mut clause, mut at) = (Some(conflict), self.trail.len());
        let mut uip = None;
        loop {
            let literals = clause.map_or(&[][..], |number| &self.clauses[number].literals);
            for lit in literals {
                let level = self.levels[lit.id()].abs();
                if Some(lit.id()) == uip || std::mem::replace(&mut seen[lit.id()], true) {
                    continue;
                }
                if level == self.level {
                    open += 1;
                } else if 1 < level {
                    learnt.push(*lit);
                }
            }
            let lit = loop {
                at -= 1; // a literal of this level was seen, so the trail holds one
                if seen[self.trail[at].id()] && self.levels[self.trail[at].id()].abs() == self.level
                {
                    break self.trail[at];
                }
            };
            open -= 1;
            uip = Some(lit.id());
            if open == 0 {
                learnt.insert(0, lit.not());
                break;
            }
            clause = self.reasons[lit.id()].map(|number| number as usize);
        }
        let level_of = |lit: &Lit| self.levels[lit.id()].abs();
        let level = learnt[1..].iter().map(level_of).max().unwrap_or(1);
        if let Some(at) = (1..learnt.len()).find(|at| level_of(&learnt[*at]) == level) {
            learnt.swap(1, at);
        }
        (learnt, level)
    }

    /// Takes back all decisions above a level.
    fn revert(&mut self, level: i32) {
        while let Some(lit) = self.trail.last() {
            if self.levels[lit.id()].abs() <= level {
                break;
            }
            self.levels[lit.id()] = 0;
            self.reasons[lit.id()] = None;
            self.trail.pop();
        }
        self.propagated = self.trail.len();
        self.level = level;
        self.branches.retain(|branch| branch.level < level);
        if self.trail.len() < self.advised {
            self.forget_advice();
        }
    }

    /// The rules that a conflict without any decision rests on.
    fn impossible(&self, conflict: usize) -> Stuck {
        let mut seen = vec![false; self.clauses.len()];
        let (mut open, mut whys) = (vec![conflict], Vec::new());
        while let Some(number) = open.pop() {
            if std::mem::replace(&mut seen[number], true) {
                continue;
            }
            whys.push(self.clauses[number].why);
            for lit in &self.clauses[number].literals {
                open.extend(self.reasons[lit.id()].map(|number| number as usize));
            }
        }
        whys.retain(|why| !matches!(why, Why::Learnt | Why::Asked));
        whys.sort();
        whys.dedup();
        Stuck::Impossible(whys)
    }
}
