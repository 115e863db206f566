//! The stages of a search, in the order in which a client goes through them.

use std::{collections::BTreeSet, ops::Range};

use super::{
    super::{
        rules::{Lit, Why},
        universe::{Bond, Relation},
    },
    Branch, Id, Solver, Stuck,
    policy::Mode,
};

/// Most choices that are taken back.
const SECOND_THOUGHTS_MAX: usize = 1000;

impl Solver<'_, '_> {
    /// Goes through all stages until nothing is left to decide; `jobs` are the clauses of what
    /// was asked for.
    pub fn run(&mut self, jobs: Range<usize>) -> Result<(), Stuck> {
        self.assert_units()?;
        let mut second_thoughts = 0;
        loop {
            if !self.meet_jobs(jobs.clone())? || !self.meet_requirements()? {
                continue;
            }
            if self.rules.habits.weak && self.follow_advice()? {
                continue;
            }
            if second_thoughts < SECOND_THOUGHTS_MAX && self.think_again()? {
                second_thoughts += 1;
                continue;
            }
            return Ok(());
        }
    }

    /// The undecided packages of which one must be installed now; empty when there is no need.
    fn candidates(&self, number: usize) -> Vec<Id> {
        let mut open = Vec::new();
        for lit in &self.clauses[number].literals {
            match self.value(*lit) {
                Some(true) => return Vec::new(),
                Some(false) => {}
                None if lit.is_yes() => open.push(lit.id()),
                None => return Vec::new(),
            }
        }
        open
    }

    /// Installs the best of some candidates; whether no earlier decision was taken back.
    fn install(&mut self, mut candidates: Vec<Id>) -> Result<bool, Stuck> {
        self.weigh(&mut candidates, Mode::Choose);
        let Some((first, others)) = candidates.split_first() else { return Ok(true) };
        let level = self.level;
        if !others.is_empty() {
            self.branches.push(Branch { level, taken: *first, others: others.to_vec() });
        }
        self.decide(Lit::yes(*first))?;
        Ok(level < self.level)
    }

    fn meet_jobs(&mut self, jobs: Range<usize>) -> Result<bool, Stuck> {
        for number in jobs {
            let candidates = self.candidates(number);
            if !candidates.is_empty() && !self.install(candidates)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Meets requirements, first those with one candidate worth taking, then all others.
    fn meet_requirements(&mut self) -> Result<bool, Stuck> {
        let begin = self.level;
        let (mut at, mut idle) = (0, 0);
        let (mut postponed, mut choosing) = (None, false);
        loop {
            if self.clauses.len() <= idle {
                let Some(first) = postponed.filter(|_| !choosing) else { return Ok(true) };
                (at, idle, choosing) = (first, 0, true);
            }
            if self.clauses.len() <= at {
                at = 0;
            }
            let number = at;
            (at, idle) = (at + 1, idle + 1);
            if self.clauses[number].why == Why::Asked {
                continue;
            }
            let mut candidates = self.candidates(number);
            if candidates.is_empty() {
                continue;
            }
            if 1 < candidates.len() && !choosing {
                self.weigh(&mut candidates, Mode::Look);
                if 1 < candidates.len() {
                    postponed.get_or_insert(number);
                    continue;
                }
            }
            self.install(candidates)?;
            if self.level < begin {
                return Ok(false);
            }
            idle = 0;
        }
    }

    /// Installs what supplements, then what is recommended; whether there was any.
    fn follow_advice(&mut self) -> Result<bool, Stuck> {
        let mut advised: BTreeSet<Id> = BTreeSet::new();
        let installed: Vec<Id> =
            self.trail.iter().filter(|lit| lit.is_yes()).map(|lit| lit.id()).collect();
        for id in &installed {
            for relation in self.rules.universe.bonds(*id, Bond::Recommends) {
                advised.extend(self.wanted_of(*relation));
            }
        }
        let is_new = |id: &Id| self.is_open(*id) && self.adds_to(*id, Bond::Supplements);
        let supplements: Vec<Id> = self.rules.reached.iter().copied().filter(is_new).collect();
        advised.extend(supplements.iter().copied());
        if advised.is_empty() {
            return Ok(false);
        }
        let mut best: Vec<Id> = advised.into_iter().collect();
        self.weigh(&mut best, Mode::Recommend);
        let mut supplements: Vec<Id> =
            supplements.into_iter().filter(|id| best.contains(id)).collect();
        self.order(&mut supplements);
        for id in supplements {
            if self.is_open(id) && !self.try_to_install(id)? {
                return Ok(true);
            }
        }
        for id in installed {
            for relation in self.rules.universe.bonds(id, Bond::Recommends) {
                let mut candidates = self.wanted_of(*relation);
                candidates.retain(|id| best.contains(id));
                if !candidates.is_empty() && !self.install(candidates)? {
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    fn try_to_install(&mut self, id: Id) -> Result<bool, Stuck> {
        let level = self.level;
        self.decide(Lit::yes(id))?;
        Ok(level < self.level)
    }

    /// The undecided packages that meet a recommendation which nothing meets yet.
    fn wanted_of(&self, relation: Relation) -> Vec<Id> {
        let mut wanted = Vec::new();
        for clause in self.rules.clauses_of(relation, true).unwrap_or_default() {
            let met = clause.iter().any(|lit| {
                if lit.is_yes() { self.is_there(lit.id()) } else { !self.is_there(lit.id()) }
            });
            if !met {
                let open = |lit: &&Lit| lit.is_yes() && self.is_open(lit.id());
                wanted.extend(clause.iter().filter(open).map(|lit| lit.id()));
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Takes the earliest choice back whose alternative is installed by now; whether there is one.
    fn think_again(&mut self) -> Result<bool, Stuck> {
        self.take_advice();
        let mut found = None;
        for (number, branch) in self.branches.iter().enumerate().rev() {
            let untried = |id: &&Id| !self.reconsidered.contains(&(branch.taken, **id));
            let later = branch.others.iter().find(|id| branch.level < self.levels[**id]);
            let advised = |id: Id| self.is_recommended(id) || self.adds_to(id, Bond::Supplements);
            let better = || {
                let standing = self.levels[branch.taken] == branch.level + 1;
                let others = branch.others.iter();
                let mut others = others.filter(|id| self.is_open(**id) || !self.is_there(**id));
                others.find(|id| advised(**id)).filter(|_| standing && !advised(branch.taken))
            };
            if let Some(id) = later.or_else(better).filter(untried) {
                found = Some((number, *id));
            }
        }
        let Some((number, id)) = found else { return Ok(false) };
        let branch = self.branches.swap_remove(number);
        self.reconsidered.insert((branch.taken, id));
        let others: Vec<Id> = branch.others.into_iter().filter(|other| *other != id).collect();
        self.revert(branch.level);
        if self.is_open(id) {
            if !others.is_empty() {
                self.branches.push(Branch { level: branch.level, taken: id, others });
            }
            self.decide(Lit::yes(id))?;
        }
        Ok(true)
    }
}
