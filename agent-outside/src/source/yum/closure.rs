//! What must be carried so that what a line names can be installed on an empty machine.
//!
//! In:   the [`Universe`] of a line, an [`Order`].
//! Out:  the packages to carry, each with why, and what cannot be met.
//! Pure: no network, no clock; the same input gives the same choice.
//!
//! # Where the closure begins and ends
//!
//! It holds what `dnf --installroot=EMPTY install` would install: everything, down to `glibc`
//! and `filesystem`. With `minimal: core` it leaves out what the mandatory packages of the group
//! `core` lead to, or of [`CORE`] where no repository has that group.
//!
//! # Together and alone
//!
//! All that is named is solved together, so that one node can have it all, and each entry alone,
//! so that a node that gets only that one finds what a client would choose for it. Both are
//! carried; they differ by a few packages. When things cannot be installed together, each alone
//! is enough: two named packages need not end on the same node.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    comps::Groups,
    evr::{self, Op},
    filelists,
    rich::{self, Rich},
    rules::{Habits, Rules, Why},
    settings::is_like,
    solver::{self, Stuck},
    universe::{Bond, Id, Relation, Sym, Universe},
    updateinfo::Advisories,
};
use crate::waybill::Minimal;

/// What every system of the rpm family begins with, where no group says so.
const CORE: [&str; 14] = [
    "audit",
    "basesystem",
    "bash",
    "coreutils",
    "dnf",
    "filesystem",
    "glibc",
    "iproute",
    "kbd",
    "passwd",
    "rpm",
    "setup",
    "systemd",
    "util-linux",
];

/// Most entries that are also solved alone.
const ALONE_MAX: usize = 1000;

/// Most reasons that are kept for one package.
const REASONS_MAX: usize = 8;

/// Most sentences that tell why something cannot be installed.
const BECAUSE_MAX: usize = 6;

/// A package of `rpm -qa`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Installed {
    pub name: String,
    /// `[epoch:]version-release`; rpm leaves the epoch out unless told otherwise.
    pub evr: String,
    pub arch: String,
}

/// What a line asks of the closure.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The entries of `packages:`.
    pub named: &'a [String],
    pub minimal: Minimal,
    pub groups: &'a Groups,
    /// What targets have, where the line says so.
    pub installed: Option<&'a [Installed]>,
    /// Advisories, where security updates are asked for.
    pub security: Option<&'a Advisories>,
    /// The line, for the reasons (`spec.yum[0]`).
    pub label: &'a str,
}

/// What to carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Closure {
    /// Why each package is wanted.
    pub carried: BTreeMap<Id, BTreeSet<String>>,
    pub unmet: Vec<Unmet>,
    /// Paths that something requires and `primary.xml` does not list: with these looked up in
    /// `filelists.xml` the closure must be made anew.
    pub paths: BTreeSet<String>,
}

/// Why an entry cannot be carried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Unmet {
    #[error("no repository of this line has {entry}; check the name, version and architecture")]
    Unknown { entry: String },
    #[error("{entry} cannot be installed on an empty machine: {}", because.join("; "))]
    Impossible { entry: String, because: Vec<String> },
    #[error("{entry} is too hard to resolve; name the packages that it shall choose")]
    TooHard { entry: String },
}

/// One thing to install: any of its candidates.
struct Job {
    entry: String,
    reason: String,
    /// Those of the name that was asked for, then those that replace it.
    candidates: Vec<Id>,
    /// The name that a client must find.
    name: Option<Sym>,
}

/// Reads the output of `rpm -qa`; lines that are no package, such as keys, are passed over.
pub fn parse_installed(text: &str) -> Vec<Installed> {
    let read = |line: &str| {
        let (rest, arch) = line.trim().rsplit_once('.')?;
        let (rest, release) = rest.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        let word = |text: &str| !text.is_empty() && !text.contains([' ', '(', '/']);
        (word(name) && word(arch)).then(|| Installed {
            name: name.to_owned(),
            evr: format!("{version}-{release}"),
            arch: arch.to_owned(),
        })
    };
    text.lines().filter_map(read).collect()
}

/// Closes over an order. `look_up` says whether paths can still be looked up.
pub fn close(universe: &Universe, habits: &Habits, order: &Order<'_>, look_up: bool) -> Closure {
    let mut closure = Closure::default();
    let mut jobs = Vec::new();
    for entry in order.named {
        if entry == "*" {
            carry_all(universe, order, &mut closure);
            continue;
        }
        let found = jobs_of(universe, order, entry);
        if found.is_empty() && !(look_up && entry.starts_with('/')) {
            closure.unmet.push(Unmet::Unknown { entry: entry.clone() });
        }
        jobs.extend(found);
    }
    jobs.extend(updates(universe, order));
    let core = core_jobs(universe, order);
    let asked = jobs.iter().chain(&core).flat_map(|job| &job.candidates).copied();
    let rules = Rules::new(universe, habits, asked);
    if look_up {
        closure.paths = unlisted_paths(&rules, order.named);
        if !closure.paths.is_empty() {
            return closure;
        }
    }
    let mut chosen = solve_all(&rules, &jobs, &mut closure.unmet);
    chosen.extend(replaced(universe, &jobs, &chosen));
    let held = held(&rules, &core, order);
    explain(&rules, &jobs, &chosen, &held, &mut closure.carried);
    closure.unmet.sort();
    closure.unmet.dedup();
    closure
}

/// Carries the highest version of everything that clients see.
fn carry_all(universe: &Universe, order: &Order<'_>, closure: &mut Closure) {
    for name in universe.package_names() {
        let mut best: BTreeMap<Sym, Id> = BTreeMap::new();
        for id in universe.named(name) {
            let highest = best.entry(universe.packages[id].arch).or_insert(id);
            if universe.compare(id, *highest) == Ordering::Greater {
                *highest = id;
            }
        }
        for id in best.into_values() {
            closure.carried.entry(id).or_default().insert(format!("{}: *", order.label));
        }
    }
}

/// What an entry of `packages:` asks for; nothing when nothing has that name.
fn jobs_of(universe: &Universe, order: &Order<'_>, entry: &str) -> Vec<Job> {
    let job = |candidates: Vec<Id>| Job {
        entry: entry.to_owned(),
        reason: format!("{}: {entry}", order.label),
        name: universe.names.find(entry),
        candidates,
    };
    let many = |names: &mut dyn Iterator<Item = Sym>| {
        let found = names.map(|name| by_name(universe, name));
        found.filter(|ids| !ids.is_empty()).map(job).collect::<Vec<_>>()
    };
    if let Some(group) = entry.strip_prefix('@') {
        let members = order.groups.members.get(group).into_iter().flatten();
        // A client passes over members that no repository has.
        return many(&mut members.filter_map(|name| universe.names.find(name)));
    }
    let candidates = candidates(universe, entry);
    if !candidates.is_empty() {
        return vec![job(candidates)];
    }
    if entry.contains(['*', '?']) {
        let text = |name: &Sym| universe.names.text(*name).to_owned();
        let mut names: Vec<Sym> = universe.package_names().collect();
        names.retain(|name| is_like(entry, universe.names.text(*name)));
        names.sort_by_cached_key(text);
        return many(&mut names.into_iter());
    }
    Vec::new()
}

/// The packages that an entry may mean: by name, by name and more, by what they provide.
fn candidates(universe: &Universe, entry: &str) -> Vec<Id> {
    if let Some(name) = universe.names.find(entry) {
        let named = by_name(universe, name);
        if !named.is_empty() {
            return named;
        }
    }
    for (at, _) in entry.match_indices(['.', '-']) {
        let (Some(name), rest) = (universe.names.find(&entry[..at]), &entry[at..]) else {
            continue;
        };
        let exact: Vec<Id> =
            universe.named(name).filter(|id| is_meant(universe, *id, rest)).collect();
        if !exact.is_empty() {
            return exact;
        }
    }
    let words: Vec<&str> = entry.split_whitespace().collect();
    let (text, op, evr) = match words[..] {
        [name, sign, evr] => (name, Op::from_sign(sign).unwrap_or_default(), evr::plain(evr)),
        _ => (entry, Op::Any, String::new()),
    };
    let found = universe.names.find(text);
    found.map_or_else(Vec::new, |name| universe.providers_within(name, (op, &evr)))
}

/// Whether `.arch`, `-version`, `-version-release` or either with `.arch` is that of a package.
fn is_meant(universe: &Universe, id: Id, rest: &str) -> bool {
    let package = &universe.packages[id];
    let (evr, arch) = (universe.names.text(package.evr), universe.names.text(package.arch));
    let rest = match rest.strip_suffix(arch).and_then(|rest| rest.strip_suffix('.')) {
        Some("") => return true,
        Some(rest) => rest,
        None => rest,
    };
    let Some(asked) = rest.strip_prefix('-') else { return false };
    let (epoch, version, release) = evr::split(evr);
    let asked = match asked.split_once(':') {
        Some((wanted, _)) if wanted != epoch => return false,
        Some((_, asked)) => asked,
        None => asked,
    };
    asked == version
        || asked.strip_prefix(version).and_then(|r| r.strip_prefix('-')) == Some(release)
}

/// The packages of a name and those that replace them, as clients take a name.
fn by_name(universe: &Universe, name: Sym) -> Vec<Id> {
    let mut ids: Vec<Id> = universe.named(name).collect();
    if ids.is_empty() {
        return ids;
    }
    for (id, package) in universe.packages.iter().enumerate() {
        let mut obsoletes = universe.bonds(id, Bond::Obsoletes).iter();
        let replaces = package.name != name
            && !package.hidden
            && obsoletes.any(|r| r.name == name && universe.namesakes(*r).next().is_some());
        if replaces {
            ids.push(id);
        }
    }
    ids
}

/// Newer versions of what targets have, and what security advisories bring.
fn updates(universe: &Universe, order: &Order<'_>) -> Vec<Job> {
    let mut jobs = Vec::new();
    let Some(installed) = order.installed else {
        let Some(advisories) = order.security else { return jobs };
        for (name, arch) in advisories.fixes.keys() {
            let Some(sym) = universe.names.find(name) else { continue };
            let arch_of = |id: &Id| universe.names.text(universe.packages[*id].arch) == arch;
            let candidates: Vec<Id> = universe.named(sym).filter(arch_of).collect();
            let advisory = advisories.newer(name, arch, None).unwrap_or_default();
            if !candidates.is_empty() {
                let reason = format!("{}: security, {advisory}", order.label);
                jobs.push(Job { entry: name.clone(), reason, candidates, name: None });
            }
        }
        return jobs;
    };
    for held in installed {
        let Some(sym) = universe.names.find(&held.name) else { continue };
        let newer = |id: &Id| {
            let package = &universe.packages[*id];
            let arch = universe.names.text(package.arch);
            (arch == held.arch || arch == "noarch" || held.arch == "noarch")
                && is_newer(universe.names.text(package.evr), &held.evr)
        };
        let candidates: Vec<Id> = universe.named(sym).filter(newer).collect();
        let advisory = order.security.map(|all| all.newer(&held.name, &held.arch, Some(&held.evr)));
        if candidates.is_empty() || advisory == Some(None) {
            continue;
        }
        let reason = match advisory.flatten() {
            Some(id) => format!("{}: security, {id}", order.label),
            None => format!("{}: newer than what is installed", order.label),
        };
        jobs.push(Job { entry: held.name.clone(), reason, candidates, name: None });
    }
    jobs
}

/// Whether a version is newer than one of `rpm -qa`, whose epoch may be missing.
fn is_newer(evr: &str, held: &str) -> bool {
    if held.contains(':') {
        return evr::compare(evr, held).is_gt();
    }
    let (_, version, release) = evr::split(evr);
    evr::compare(&evr::join("", version, release), held).is_gt()
}

fn core_jobs(universe: &Universe, order: &Order<'_>) -> Vec<Job> {
    if order.minimal == Minimal::None {
        return Vec::new();
    }
    let names: Vec<&str> = match order.groups.mandatory.get("core") {
        Some(members) => members.iter().map(String::as_str).collect(),
        None => CORE.to_vec(),
    };
    let job = |name: &str| {
        let candidates = by_name(universe, universe.names.find(name)?);
        let (entry, reason) = (name.to_owned(), String::new());
        (!candidates.is_empty()).then_some(Job { entry, reason, candidates, name: None })
    };
    names.into_iter().filter_map(job).collect()
}

/// The packages that targets have already.
fn held(rules: &Rules<'_>, core: &[Job], order: &Order<'_>) -> BTreeSet<Id> {
    let universe = rules.universe;
    let asked: Vec<Vec<Id>> = core.iter().map(|job| job.candidates.clone()).collect();
    let mut held: BTreeSet<Id> = BTreeSet::new();
    if !core.is_empty() {
        held.extend(solver::solve(rules, &asked).unwrap_or_default());
    }
    for one in order.installed.unwrap_or_default() {
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

/// Solves all jobs together and each alone; what was chosen altogether.
fn solve_all(rules: &Rules<'_>, jobs: &[Job], unmet: &mut Vec<Unmet>) -> BTreeSet<Id> {
    let asked: Vec<Vec<Id>> = jobs.iter().map(|job| job.candidates.clone()).collect();
    let together = solver::solve(rules, &asked);
    let mut chosen: BTreeSet<Id> = BTreeSet::new();
    let count = match (&together, jobs.len()) {
        (Ok(_), 1) => 0,
        (Ok(_), all) => all.min(ALONE_MAX),
        (Err(_), all) => all,
    };
    for (job, candidates) in jobs.iter().zip(&asked).take(count) {
        match solver::solve(rules, std::slice::from_ref(candidates)) {
            Ok(ids) => chosen.extend(ids),
            Err(stuck) => unmet.push(unmet_of(rules, job, stuck)),
        }
    }
    chosen.extend(together.unwrap_or_default());
    chosen
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

fn unmet_of(rules: &Rules<'_>, job: &Job, stuck: Stuck) -> Unmet {
    let entry = job.entry.clone();
    let Stuck::Impossible(whys) = stuck else { return Unmet::TooHard { entry } };
    // What is missing says more than what cannot be together.
    let (missing, others): (Vec<Why>, Vec<Why>) = whys.into_iter().partition(
        |why| matches!(why, Why::Requires(_, relation) if rules.providers(*relation).is_empty()),
    );
    let sentences = missing.iter().chain(&others).map(|why| sentence(rules, *why));
    Unmet::Impossible { entry, because: sentences.take(BECAUSE_MAX).collect() }
}

fn sentence(rules: &Rules<'_>, why: Why) -> String {
    let universe = rules.universe;
    let words = |relation| universe.relation_words(relation);
    match why {
        Why::Requires(id, relation) => {
            let note = match rules.malformed.get(&(id, relation)) {
                Some(error) => format!(", which is not understood: {error}"),
                None if rules.providers(relation).is_empty() => {
                    ", which no repository of this line has".to_owned()
                }
                None => String::new(),
            };
            format!("{} requires {}{note}", universe.words(id), words(relation))
        }
        Why::Conflicts(id, relation) => {
            format!("{} conflicts with {}", universe.words(id), words(relation))
        }
        Why::Obsoletes(id, relation) => {
            format!("{} obsoletes {}", universe.words(id), words(relation))
        }
        Why::Name(a, b) => {
            format!("{} and {} bear one name", universe.words(a), universe.words(b))
        }
        Why::Asked | Why::Learnt => String::new(),
    }
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

/// Paths that are named, or that something reached requires, and no package is known to have.
fn unlisted_paths(rules: &Rules<'_>, named: &[String]) -> BTreeSet<String> {
    let universe = rules.universe;
    let mut paths = BTreeSet::new();
    let mut note = |path: &str| {
        let known = universe
            .names
            .find(path)
            .is_some_and(|name| !universe.providers_within(name, (Op::Any, "")).is_empty());
        if path.starts_with('/') && !filelists::is_primary(path) && !known {
            paths.insert(path.to_owned());
        }
    };
    for entry in named {
        note(entry);
    }
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
