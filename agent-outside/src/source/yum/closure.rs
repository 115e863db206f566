//! What must be carried so that what the lines of one target name can be installed on an empty
//! machine.
//!
//! In:   the [`Universe`] of all repositories of these lines, an [`Order`].
//! Out:  the packages to carry, each with why, and what cannot be met.
//! Pure: no network, no clock; the same input gives the same choice.
//!
//! # Where the closure begins and ends
//!
//! It holds what `dnf --installroot=EMPTY install` would install: everything, down to `glibc`
//! and `filesystem`. With `minimal: core` it leaves out what the mandatory packages of the group
//! `core` lead to, or fourteen well-known packages where no repository has that group.
//!
//! # Together and alone
//!
//! All that is named is solved together, so that one node can have it all, and each entry alone,
//! so that a node that gets only that one finds what a client would choose for it. Both are
//! carried; they differ by a few packages. When things cannot be installed together, each alone
//! is enough: two named packages need not end on the same node.
//!
//! Lines that say different things of their targets (`weak`, `minimal`, `installed`) are not
//! solved together, but all of them draw on the repositories of all.

mod jobs;
mod unmet;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use self::jobs::Job;
pub use self::{
    jobs::{Installed, installed_of},
    unmet::{Obstacle, Unmet},
};
use super::{
    comps::Groups,
    evr::{self, Op},
    filelists,
    rich::{self, Rich},
    rules::{Excused, Habits, Rules},
    solver,
    universe::{Bond, Id, Relation, Sym, Universe},
    updateinfo::Advisories,
};
use crate::waybill::Minimal;

/// Most entries that are also solved alone.
const ALONE_MAX: usize = 1000;

/// Most reasons that are kept for one package.
const REASONS_MAX: usize = 8;

/// What one line asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// The line, for the reasons (`spec.yum[0]`).
    pub label: String,
    /// The entries of `packages:`.
    pub named: Vec<String>,
    /// Which repositories these are asked from, by number; `None` is all. What they need may come
    /// from any.
    pub from: Option<BTreeSet<usize>>,
    /// Module streams that are enabled, `name:stream`.
    pub modules: Vec<String>,
    pub weak: bool,
    pub minimal: Minimal,
    /// What targets have, where the line says so.
    pub installed: Option<Vec<Installed>>,
    /// Whether nothing of it is updated.
    pub no_updates: bool,
    /// Whether security updates are asked for.
    pub security: bool,
}

/// What the lines of one target ask of the closure.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub asked: &'a [Asked],
    pub groups: &'a Groups,
    pub advisories: &'a Advisories,
}

/// What to carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Closure {
    /// Why each package is wanted.
    pub carried: BTreeMap<Id, BTreeSet<String>>,
    /// Sorted, each once.
    pub unmet: Vec<Unmet>,
    /// Paths that something requires and `primary.xml` does not list: with these looked up in
    /// `filelists.xml` the closure must be made anew.
    pub paths: BTreeSet<String>,
    /// Requirements of what was chosen that are not met, where [`Habits::excused`] lets them pass.
    pub lacks: BTreeSet<(Id, Relation)>,
}

impl Asked {
    /// Whether what both name may end on one machine.
    fn goes_with(&self, other: &Self) -> bool {
        (self.weak, self.minimal) == (other.weak, other.minimal)
            && self.installed == other.installed
    }

    /// Whether a package is from where its own packages are asked from.
    fn is_own(&self, universe: &Universe, id: Id) -> bool {
        let is_from = |from: &BTreeSet<usize>| from.contains(&universe.packages[id].repository);
        self.from.as_ref().is_none_or(is_from)
    }
}

/// Closes over an order. `look_up` says whether paths can still be looked up.
pub fn close(universe: &Universe, habits: &Habits, order: &Order<'_>, look_up: bool) -> Closure {
    let mut closure = Closure::default();
    let mut left: Vec<usize> = (0..order.asked.len()).collect();
    while let Some(first) = left.first().map(|number| &order.asked[*number]) {
        let fits = |number: &usize| first.goes_with(&order.asked[*number]);
        let (set, rest): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(fits);
        close_set(universe, habits, order, &set, look_up, &mut closure);
        left = rest;
    }
    closure.unmet.sort();
    closure.unmet.dedup();
    closure
}

/// Closes over lines, by number, that say the same of their targets.
fn close_set(
    universe: &Universe,
    habits: &Habits,
    order: &Order<'_>,
    set: &[usize],
    look_up: bool,
    closure: &mut Closure,
) {
    let mut jobs = Vec::new();
    for number in set {
        let asked = &order.asked[*number];
        for entry in asked.named.iter().filter(|entry| *entry != "*") {
            let found = jobs::named(universe, order, *number, entry);
            if found.is_empty() && look_up && is_unlisted(entry) {
                closure.paths.insert(entry.clone());
            } else if found.is_empty() {
                let obstacle = Obstacle::Unknown { entry: entry.clone() };
                closure.unmet.push(Unmet { line: *number, obstacle });
            }
            jobs.extend(found);
        }
        if asked.named.iter().any(|entry| entry == "*") {
            carry_all(universe, asked, &mut closure.carried);
        }
        jobs.extend(jobs::updates(universe, order, *number));
    }
    if habits.best {
        jobs.iter_mut().for_each(|job| job.keep_best(universe));
    }
    let Some(first) = set.first().map(|number| &order.asked[*number]) else { return };
    let core = jobs::core(universe, first.minimal, order.groups);
    let habits = Habits { weak: first.weak, ..habits.clone() };
    let reached = jobs.iter().chain(&core).flat_map(|job| &job.candidates).copied();
    let rules = Rules::new(universe, &habits, reached);
    if look_up {
        closure.paths.extend(unlisted_paths(&rules));
        if !closure.paths.is_empty() {
            return;
        }
    }
    let solutions = solutions(&rules, &jobs, &mut closure.unmet);
    closure.lacks.extend(solutions.iter().flat_map(|solution| lacks(&rules, solution)));
    let mut chosen: BTreeSet<Id> = solutions.into_iter().flatten().collect();
    chosen.extend(replaced(universe, &jobs, &chosen));
    let held = held(&rules, &core, first.installed.as_deref().unwrap_or_default());
    explain(&rules, &jobs, &chosen, &held, &mut closure.carried);
}

/// Carries the highest version of everything that clients see.
fn carry_all(universe: &Universe, asked: &Asked, carried: &mut BTreeMap<Id, BTreeSet<String>>) {
    for name in universe.package_names() {
        let mut best: BTreeMap<Sym, Id> = BTreeMap::new();
        for id in universe.named(name).filter(|id| asked.is_own(universe, *id)) {
            let highest = best.entry(universe.packages[id].arch).or_insert(id);
            if universe.compare(id, *highest) == Ordering::Greater {
                *highest = id;
            }
        }
        for id in best.into_values() {
            carried.entry(id).or_default().insert(format!("{}: *", asked.label));
        }
    }
}

/// The packages that all nodes of the targets have already.
fn held(rules: &Rules<'_>, core: &[Job], installed: &[Installed]) -> BTreeSet<Id> {
    let universe = rules.universe;
    let asked: Vec<Vec<Id>> = core.iter().map(|job| job.candidates.clone()).collect();
    let mut held: BTreeSet<Id> = BTreeSet::new();
    if !core.is_empty() {
        held.extend(solver::solve(rules, &asked).unwrap_or_default());
    }
    for one in installed.iter().filter(|one| !one.is_absent) {
        let Some(name) = universe.names.find(&one.name) else { continue };
        held.extend(universe.named(name).filter(|id| {
            let package = &universe.packages[*id];
            let evr = universe.names.text(package.evr);
            let (_, version, release) = evr::split(evr);
            universe.names.text(package.arch) == one.arch
                && (evr == one.evr || evr::join("", version, release) == one.evr)
        }));
    }
    held
}

/// Solves all jobs together and each alone.
fn solutions(rules: &Rules<'_>, jobs: &[Job], unmet: &mut Vec<Unmet>) -> Vec<Vec<Id>> {
    let asked: Vec<Vec<Id>> = jobs.iter().map(|job| job.candidates.clone()).collect();
    let together = solver::solve(rules, &asked);
    let count = match (&together, jobs.len()) {
        (Ok(_), 1) => 0,
        (Ok(_), all) => all.min(ALONE_MAX),
        (Err(_), all) => all,
    };
    let mut solutions: Vec<Vec<Id>> = together.into_iter().collect();
    for (job, candidates) in jobs.iter().zip(&asked).take(count) {
        match solver::solve(rules, std::slice::from_ref(candidates)) {
            Ok(ids) => solutions.push(ids),
            Err(stuck) => {
                unmet.push(Unmet { line: job.line, obstacle: unmet::obstacle(rules, job, stuck) });
            }
        }
    }
    solutions
}

/// What the packages of a solution require in vain.
fn lacks(rules: &Rules<'_>, solution: &[Id]) -> Vec<(Id, Relation)> {
    if rules.habits.excused == Excused::Nothing {
        return Vec::new(); // a solution meets everything
    }
    let there: BTreeSet<Id> = solution.iter().copied().collect();
    let of = |id: Id| rules.universe.bonds(id, Bond::Requires).iter().map(move |r| (id, *r));
    let mut all: Vec<(Id, Relation)> = solution.iter().copied().flat_map(of).collect();
    all.retain(|(_, relation)| !rules.holds(*relation, &|id| there.contains(&id)));
    all
}

/// Packages that something else replaces: a client takes the other one, but only when it finds the
/// name that it is asked for. What these need is not carried.
fn replaced(universe: &Universe, jobs: &[Job], chosen: &BTreeSet<Id>) -> Vec<Id> {
    let mut found = Vec::new();
    for job in jobs.iter().filter(|job| job.candidates.iter().any(|id| chosen.contains(id))) {
        let named = |id: &&Id| Some(universe.packages[**id].name) == job.name;
        let own = job.candidates.iter().filter(named);
        if !own.clone().any(|id| chosen.contains(id)) {
            found.extend(own.copied().max_by(|a, b| universe.compare(*a, *b)));
        }
    }
    found
}

/// Puts what was chosen and is not held into `carried`, each with its reasons.
fn explain(
    rules: &Rules<'_>,
    jobs: &[Job],
    chosen: &BTreeSet<Id>,
    held: &BTreeSet<Id>,
    carried: &mut BTreeMap<Id, BTreeSet<String>>,
) {
    let universe = rules.universe;
    let mut reasons: BTreeMap<Id, BTreeSet<String>> = BTreeMap::new();
    for job in jobs {
        for id in job.candidates.iter().filter(|id| chosen.contains(id)) {
            reasons.entry(*id).or_default().insert(job.reason.clone());
        }
    }
    for id in chosen {
        let asker = universe.names.text(universe.packages[*id].name);
        for (bond, verb) in [(Bond::Requires, "requires"), (Bond::Recommends, "recommends")] {
            for relation in universe.bonds(*id, bond) {
                for other in rules.providers(*relation).iter().filter(|o| chosen.contains(o)) {
                    let list = reasons.entry(*other).or_default();
                    if other != id && list.len() < REASONS_MAX {
                        list.insert(format!("{asker} {verb} it"));
                    }
                }
            }
        }
    }
    for id in chosen.difference(held) {
        let list = carried.entry(*id).or_default();
        list.extend(reasons.remove(id).unwrap_or_default());
        if list.is_empty() {
            list.insert("it supplements what is carried".to_owned());
        }
    }
}

/// Whether a text is a path that `primary.xml` does not list.
fn is_unlisted(path: &str) -> bool {
    path.starts_with('/') && !filelists::is_primary(path)
}

/// Paths that something reached requires, and no package is known to have.
fn unlisted_paths(rules: &Rules<'_>) -> BTreeSet<String> {
    let universe = rules.universe;
    let mut paths = BTreeSet::new();
    let mut note = |path: &str| {
        let is_had = |name| !universe.providers_within(name, (Op::Any, "")).is_empty();
        if is_unlisted(path) && !universe.names.find(path).is_some_and(is_had) {
            paths.insert(path.to_owned());
        }
    };
    for id in &rules.reached {
        for Relation { name, .. } in universe.bonds(*id, Bond::Requires) {
            let text = universe.names.text(*name);
            if text.starts_with('(') {
                let rich: Result<Rich<_>, _> = rich::parse(text);
                let _ = rich.map(|rich| rich.map(&mut |atom| note(atom.name)));
            } else {
                note(text);
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests;
