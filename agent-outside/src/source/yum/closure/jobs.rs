//! What lines ask for, as jobs for the solver: each one package of several candidates.
//!
//! In:   an [`Order`], the universe.
//! Out:  a [`Job`] for each thing to install.
//! Pure.

use std::collections::{BTreeMap, btree_map::Entry};

use gapferry_proto::installed::{List, Package, absent};

use super::{Asked, Order};
use crate::{
    source::yum::{
        comps::Groups,
        evr::{self, Op},
        settings::is_like,
        universe::{Bond, Id, Sym, Universe},
        updateinfo::Advisories,
    },
    waybill::Minimal,
};

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

/// A package of `rpm -qa`, of one architecture.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Installed {
    pub name: String,
    /// `[epoch:]version-release`; rpm leaves the epoch out unless told otherwise.
    pub evr: String,
    pub arch: String,
    /// Whether some node of the targets has none: then none may count on it.
    pub is_absent: bool,
}

/// One thing to install: any of its candidates.
pub struct Job {
    /// Which of the lines asks for it, by number.
    pub line: usize,
    pub entry: String,
    pub reason: String,
    /// Those of the name that was asked for, then those that replace it.
    pub candidates: Vec<Id>,
    /// The name that a client must find.
    pub name: Option<Sym>,
}

impl Installed {
    /// Takes in what another node has.
    fn join(&mut self, other: Self, absent: &str) {
        self.is_absent |= other.is_absent;
        if other.evr != absent && (self.evr == absent || is_lower(&other.evr, &self.evr)) {
            self.evr = other.evr;
        }
    }
}

impl Job {
    /// Leaves of each name and architecture the highest version.
    pub fn keep_best(&mut self, universe: &Universe) {
        let twin = |id: Id| (universe.packages[id].name, universe.packages[id].arch);
        let all = self.candidates.clone();
        let beats = |a: Id, b: Id| twin(a) == twin(b) && universe.compare(a, b).is_gt();
        self.candidates.retain(|id| !all.iter().any(|other| beats(*other, *id)));
    }
}

/// What targets have; of a package that nodes have in several versions the lowest.
pub fn installed_of(list: List) -> Vec<Installed> {
    let absent = absent(list.kind);
    let mut lowest: BTreeMap<(String, String), Installed> = BTreeMap::new();
    for Package { name, version: evr, architecture } in list.packages {
        let arch = architecture.unwrap_or_default();
        let is_absent = evr == absent;
        let new = Installed { name: name.clone(), evr, arch: arch.clone(), is_absent };
        match lowest.entry((name, arch)) {
            Entry::Vacant(place) => drop(place.insert(new)),
            Entry::Occupied(mut place) => place.get_mut().join(new, absent),
        }
    }
    lowest.into_values().collect()
}

/// What an entry of the `packages:` of a line asks for; nothing when nothing has that name.
pub fn named(universe: &Universe, order: &Order<'_>, line: usize, entry: &str) -> Vec<Job> {
    let asked = &order.asked[line];
    let job = |candidates: Vec<Id>| Job {
        line,
        entry: entry.to_owned(),
        reason: format!("{}: {entry}", asked.label),
        name: universe.names.find(entry),
        candidates,
    };
    let many = |names: &mut dyn Iterator<Item = Sym>, is_own: &dyn Fn(Id) -> bool| {
        let found = names.map(|name| by_name(universe, name, is_own));
        found.filter(|ids| !ids.is_empty()).map(job).collect::<Vec<_>>()
    };
    if let Some(group) = entry.strip_prefix('@') {
        let members = order.groups.members.get(group).into_iter().flatten();
        // A client passes over members that no repository has, and takes them from any.
        return many(&mut members.filter_map(|name| universe.names.find(name)), &|_| true);
    }
    let is_own = |id: Id| asked.is_own(universe, id);
    let candidates = candidates(universe, entry, &is_own);
    if !candidates.is_empty() {
        return vec![job(candidates)];
    }
    if entry.contains(['*', '?']) {
        let text = |name: &Sym| universe.names.text(*name).to_owned();
        let mut names: Vec<Sym> = universe.package_names().collect();
        names.retain(|name| is_like(entry, universe.names.text(*name)));
        names.sort_by_cached_key(text);
        return many(&mut names.into_iter(), &is_own);
    }
    Vec::new()
}

/// The packages that an entry may mean: by name, by name and more, by what they provide.
fn candidates(universe: &Universe, entry: &str, is_own: &dyn Fn(Id) -> bool) -> Vec<Id> {
    if let Some(name) = universe.names.find(entry) {
        let named = by_name(universe, name, is_own);
        if !named.is_empty() {
            return named;
        }
    }
    for (at, _) in entry.match_indices(['.', '-']) {
        let (Some(name), rest) = (universe.names.find(&entry[..at]), &entry[at..]) else {
            continue;
        };
        let is_meant = |id: &Id| is_own(*id) && is_meant(universe, *id, rest);
        let exact: Vec<Id> = universe.named(name).filter(is_meant).collect();
        if !exact.is_empty() {
            return exact;
        }
    }
    let words: Vec<&str> = entry.split_whitespace().collect();
    let (text, op, evr) = match words[..] {
        [name, sign, evr] => (name, Op::from_sign(sign).unwrap_or_default(), evr::plain(evr)),
        _ => (entry, Op::Any, String::new()),
    };
    let Some(name) = universe.names.find(text) else { return Vec::new() };
    let mut found = universe.providers_within(name, (op, &evr));
    found.retain(|id| is_own(*id));
    found
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

/// The packages of a name among the own ones, and those of any repository that replace them, as
/// clients take a name.
fn by_name(universe: &Universe, name: Sym, is_own: &dyn Fn(Id) -> bool) -> Vec<Id> {
    let mut ids: Vec<Id> = universe.named(name).filter(|id| is_own(*id)).collect();
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

/// Newer versions of what the targets of a line have, and what security advisories bring.
pub fn updates(universe: &Universe, order: &Order<'_>, line: usize) -> Vec<Job> {
    let asked = &order.asked[line];
    let advisories = asked.security.then_some(order.advisories);
    match (&asked.installed, advisories) {
        _ if asked.no_updates => Vec::new(),
        (Some(installed), advisories) => {
            let newer = |held| newer(universe, asked, held, advisories);
            let job = |(held, candidates, reason): (&Installed, _, _)| Job {
                line,
                entry: held.name.clone(),
                reason,
                candidates,
                name: None,
            };
            installed.iter().filter_map(newer).map(job).collect()
        }
        (None, Some(advisories)) => fixes(universe, asked, line, advisories),
        (None, None) => Vec::new(),
    }
}

/// What newer versions there are of a package that targets have, and why they are wanted.
fn newer<'a>(
    universe: &Universe,
    asked: &Asked,
    held: &'a Installed,
    advisories: Option<&Advisories>,
) -> Option<(&'a Installed, Vec<Id>, String)> {
    let name = universe.names.find(&held.name)?;
    let is_meant = |id: &Id| {
        let package = &universe.packages[*id];
        let arch = universe.names.text(package.arch);
        (arch == held.arch || arch == "noarch" || held.arch == "noarch")
            && is_newer(universe.names.text(package.evr), &held.evr)
            && asked.is_own(universe, *id)
    };
    let candidates: Vec<Id> = universe.named(name).filter(is_meant).collect();
    let why = match advisories {
        Some(all) => {
            let advisory = all.newer(&held.name, &held.arch, Some(&held.evr))?;
            format!("{}: security, {advisory}", asked.label)
        }
        None => format!("{}: newer than what is installed", asked.label),
    };
    (!candidates.is_empty()).then_some((held, candidates, why))
}

/// What security advisories bring.
fn fixes(universe: &Universe, asked: &Asked, line: usize, advisories: &Advisories) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, arch) in advisories.fixes.keys() {
        let Some(sym) = universe.names.find(name) else { continue };
        let is_meant = |id: &Id| {
            universe.names.text(universe.packages[*id].arch) == arch && asked.is_own(universe, *id)
        };
        let candidates: Vec<Id> = universe.named(sym).filter(is_meant).collect();
        let advisory = advisories.newer(name, arch, None).unwrap_or_default();
        if !candidates.is_empty() {
            let reason = format!("{}: security, {advisory}", asked.label);
            jobs.push(Job { line, entry: name.clone(), reason, candidates, name: None });
        }
    }
    jobs
}

/// Whether a version is newer than one of `rpm -qa`, whose epoch may be missing.
fn is_newer(evr: &str, held: &str) -> bool {
    if held.contains(':') {
        return evr::compare(evr, held).is_gt();
    }
    evr::compare(&without_epoch(evr), held).is_gt()
}

/// Whether one version of `rpm -qa` is below another. An epoch that only one has does not count.
fn is_lower(evr: &str, other: &str) -> bool {
    if evr.contains(':') == other.contains(':') {
        return evr::compare(evr, other).is_lt();
    }
    evr::compare(&without_epoch(evr), &without_epoch(other)).is_lt()
}

fn without_epoch(evr: &str) -> String {
    let (_, version, release) = evr::split(evr);
    evr::join("", version, release)
}

/// What every target has before anything is installed.
pub fn core(universe: &Universe, minimal: Minimal, groups: &Groups) -> Vec<Job> {
    if minimal == Minimal::None {
        return Vec::new();
    }
    let names: Vec<&str> = match groups.mandatory.get("core") {
        Some(members) => members.iter().map(String::as_str).collect(),
        None => CORE.to_vec(),
    };
    let job = |name: &str| {
        let candidates = by_name(universe, universe.names.find(name)?, &|_| true);
        let (entry, reason) = (name.to_owned(), String::new());
        let job = Job { line: 0, entry, reason, candidates, name: None };
        (!job.candidates.is_empty()).then_some(job)
    };
    names.into_iter().filter_map(job).collect()
}
