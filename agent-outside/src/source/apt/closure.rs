//! What must be carried so that the packages asked for can be installed.
//!
//! In:   the [`Universe`] of one architecture, the [`Request`] of a line.
//! Out:  the packages to carry, each with why, and what cannot be met.
//! Pure: no network, no clock; the same input gives the same choice.
//!
//! # Where the closure ends
//!
//! It follows `Pre-Depends` and `Depends` (and `Recommends`, where the line says so) all the way
//! down to `libc6`, as `apt-get install` does on an empty target. With [`Minimal::Required`] it
//! ends at the minimal install of the release: packages that are `Essential: yes` or `Priority:
//! required`, and all that these depend on, are carried only when a line names them. With an
//! `installed` file it ends at what that file lists and no node lacks.
//!
//! # Which package meets a relation
//!
//! What apt would take, see `solve`: no two packages of a set conflict. Where the packages of a
//! line cannot all be installed on one node, those that stand in the way make up a set of their
//! own, so that each of them can be installed on some node. Where a package that is named would
//! bring others when it is installed by itself, these are carried too. A package that cannot be
//! installed at all is carried with what can be had, and told of.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{
    installed::Installed,
    offers::{Offers, There},
    packages::{Id, Package, Universe},
    relations::Relation,
    select::{self, Root},
    solve::{Outcome, solve},
};
use crate::waybill::apt::Minimal;

/// Most candidates that are tried for one line and architecture; whole suites need some 100,000.
const STEPS_MAX: usize = 3_000_000;

/// Most candidates that are tried for packages each by itself: some thousand packages.
const ALONE_STEPS_MAX: usize = 500_000;

/// A package that a line names: `name`, `name=version`, `name:arch` or `name:arch=version`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// As written.
    pub entry: String,
    pub name: String,
    pub architecture: Option<String>,
    pub version: Option<String>,
}

/// What a line asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub named: Vec<Named>,
    /// Whether every package of the suites is asked for.
    pub all: bool,
    /// Whether `Recommends` count.
    pub recommends: bool,
    pub minimal: Minimal,
    /// Whether security suites are asked for: all of them, or their updates of `installed`.
    pub security: bool,
    pub installed: Option<Installed>,
    /// The line, for the reasons.
    pub label: String,
}

/// What to carry for one architecture.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Closure {
    /// Why each package is wanted.
    pub carried: BTreeMap<Id, BTreeSet<String>>,
    pub unmet: Vec<Unmet>,
}

/// Why a package cannot be carried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Unmet {
    #[error("no suite of this line has {entry} for {architecture}; check the name and version")]
    Unknown { entry: String, architecture: String },
    #[error(
        "{asker} depends on {relation}, which no suite of this line has; \
         add the suite or component that does"
    )]
    Relation { asker: String, relation: String },
    #[error(
        "{package} cannot be installed: {asker} depends on {relation}, and all that meet it \
         conflict with other packages that it needs; leave it out or name another version"
    )]
    Conflict { package: String, asker: String, relation: String },
    #[error("the {field} of {asker} is not understood: {what}")]
    Malformed { asker: String, field: &'static str, what: String },
}

impl Named {
    /// Takes an entry of `packages:` apart.
    pub fn parse(entry: &str) -> Self {
        let (name, version) = match entry.split_once('=') {
            Some((name, version)) => (name, Some(version.trim().to_owned())),
            None => (entry, None),
        };
        let (name, architecture) = match name.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture.trim().to_owned())),
            None => (name, None),
        };
        Self { entry: entry.to_owned(), name: name.trim().to_owned(), architecture, version }
    }

    /// Whether it is asked for on an architecture.
    pub fn is_for(&self, architecture: &str) -> bool {
        self.architecture.as_deref().is_none_or(|own| own == architecture)
    }
}

/// Closes over what a line asks for, for `architecture`. `is_security` says whether a package is
/// from a security suite.
pub fn close(
    universe: &Universe<'_>,
    architecture: &str,
    request: &Request,
    is_security: &dyn Fn(&Package<'_>) -> bool,
) -> Closure {
    let offers = Offers::new(universe, architecture, request.recommends);
    let mut steps = STEPS_MAX;
    let there = there(&offers, request, &mut steps);
    let asked = select::select(universe, architecture, request, is_security);
    let mut closure = Closure { unmet: asked.unmet, ..Closure::default() };
    for (id, reason) in asked.alone {
        closure.carried.entry(id).or_default().insert(reason);
    }
    let mut open: Vec<&Root> = asked.roots.iter().collect();
    while !open.is_empty() {
        let (set, rest) = next_set(&offers, &there, open, &mut steps, &mut closure.unmet);
        closure.add(&offers, &there, &set);
        open = rest;
    }
    let mut steps = ALONE_STEPS_MAX;
    for root in asked.roots.iter().filter(|root| root.alone && 1 < asked.roots.len()) {
        if let Outcome::Solved(set) = solve(&offers, &there, &[&root.candidates], &mut steps) {
            closure.add(&offers, &there, &set);
        }
    }
    for root in &asked.roots {
        let carried = root.candidates.iter().find(|id| closure.carried.contains_key(id));
        if let Some(&id) = carried {
            closure.carried.entry(id).or_default().insert(root.reason.clone());
        }
    }
    closure.unmet.extend(offers.malformed());
    closure.unmet.sort();
    closure.unmet.dedup();
    closure
}

/// What the targets of a line have.
fn there(offers: &Offers<'_, '_>, request: &Request, steps: &mut usize) -> There {
    let universe = offers.universe;
    if let Some(installed) = &request.installed {
        let absent = installed.absent(offers.architecture);
        let installed = installed.versions(offers.architecture);
        let is_same = |id: &Id| {
            let package = &universe.packages[*id];
            let held = installed.get(package.name).filter(|_| !absent.contains(package.name));
            held.is_some_and(|v| package.parsed_version().as_ref() == Some(v))
        };
        let ids = (0..universe.packages.len()).filter(is_same).collect();
        return There { ids, installed, absent };
    }
    let mut there = There::default();
    if request.minimal == Minimal::Required {
        let base = Offers::new(universe, offers.architecture, false);
        let bases = universe.packages.iter().filter(|package| package.base);
        let highest = bases.filter_map(|p| universe.highest(universe.named(p.name)));
        let required: Vec<Id> = highest.filter(|id| universe.packages[*id].base).collect();
        let roots: Vec<&[Id]> = required.chunks(1).collect();
        there.ids = match solve(&base, &there, &roots, steps) {
            Outcome::Solved(set) => set.into_iter().collect(),
            _ => walk(&base, &there, &required).0.into_iter().collect(),
        };
    }
    there
}

/// The largest set that some of `open` can be installed as, and those of `open` left for others.
fn next_set<'r>(
    offers: &Offers<'_, '_>,
    there: &There,
    mut open: Vec<&'r Root>,
    steps: &mut usize,
    unmet: &mut Vec<Unmet>,
) -> (BTreeSet<Id>, Vec<&'r Root>) {
    let mut rest = Vec::new();
    loop {
        let roots: Vec<&[Id]> = open.iter().map(|root| root.candidates.as_slice()).collect();
        let stuck = match solve(offers, there, &roots, steps) {
            Outcome::Solved(set) => {
                rest.reverse();
                return (set, rest);
            }
            Outcome::Stuck { root, .. } if 1 < open.len() => {
                rest.push(open.remove(root));
                continue;
            }
            Outcome::Stuck { asker, relation, .. } => Some((asker, relation)),
            Outcome::Unknown => None,
        };
        // What cannot be installed, or is too hard to tell.
        let roots: Vec<Id> =
            open.iter().filter_map(|root| root.candidates.first().copied()).collect();
        let (set, missing) = walk(offers, there, &roots);
        if let (true, Some((asker, relation)), Some(root)) =
            (missing.is_empty(), stuck, open.first())
        {
            let words = |id: Id| offers.package(id).words();
            let package = root.candidates.first().map_or_else(String::new, |&id| words(id));
            let asker = asker.map_or_else(|| package.clone(), words);
            unmet.push(Unmet::Conflict { package, asker, relation });
        }
        unmet.extend(missing);
        rest.reverse();
        return (set, rest);
    }
}

/// Follows relations without a look at conflicts, and tells of those that nothing meets.
fn walk(offers: &Offers<'_, '_>, there: &There, roots: &[Id]) -> (BTreeSet<Id>, Vec<Unmet>) {
    let mut set: BTreeSet<Id> = roots.iter().copied().collect();
    let mut open: VecDeque<Id> = roots.iter().copied().collect();
    let mut unmet = Vec::new();
    while let Some(id) = open.pop_front() {
        let needs = offers.needs(id);
        for (group, soft) in with_softness(&needs.hard, &needs.soft) {
            let held = |relation: &Relation<'_>| {
                offers.fitting(relation).any(|id| set.contains(&id))
                    || offers.is_there(there, relation, |_| false)
            };
            if group.iter().any(held) {
                continue;
            }
            match offers.candidates(group).first() {
                Some(&found) => {
                    set.insert(found);
                    open.push_back(found);
                }
                None if soft => {}
                None => {
                    let words: Vec<String> = group.iter().map(ToString::to_string).collect();
                    let (asker, relation) = (offers.package(id).words(), words.join(" | "));
                    unmet.push(Unmet::Relation { asker, relation });
                }
            }
        }
    }
    (set, unmet)
}

fn with_softness<'g, T>(hard: &'g [T], soft: &'g [T]) -> impl Iterator<Item = (&'g T, bool)> {
    hard.iter().map(|group| (group, false)).chain(soft.iter().map(|group| (group, true)))
}

impl Closure {
    /// Adds a set of packages that are installed together, with who of them needs whom.
    fn add(&mut self, offers: &Offers<'_, '_>, there: &There, set: &BTreeSet<Id>) {
        let mut by_name: HashMap<&str, Id> = HashMap::new();
        for &id in set {
            by_name.insert(offers.package(id).name, id);
            self.carried.entry(id).or_default();
        }
        for &id in set {
            let (needs, name) = (offers.needs(id), offers.package(id).name);
            for (group, soft) in with_softness(&needs.hard, &needs.soft) {
                let held = group
                    .iter()
                    .find_map(|relation| offers.fitting(relation).find(|id| set.contains(id)));
                let Some(held) = held.filter(|&held| offers.package(held).name != name) else {
                    continue;
                };
                let verb = if soft { "recommends" } else { "depends on" };
                let reasons = self.carried.entry(held).or_default();
                reasons.insert(format!("{name} {verb} it"));
            }
            for relation in &needs.against {
                let broken = there.installed.get(relation.name);
                let newer = by_name.get(relation.name).filter(|&&other| other != id);
                if let (true, Some(&newer)) =
                    (broken.is_some_and(|v| relation.admits(Some(v))), newer)
                {
                    let reasons = self.carried.entry(newer).or_default();
                    reasons.insert(format!("{name} breaks the one that is installed"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
