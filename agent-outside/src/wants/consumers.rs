//! The lines that granted wants stand for: who wants a package is a consumer like any line.
//!
//! In:   wants that were granted, the lines that may answer them, what is carried.
//! Out:  [`Consumers`]: lines that ask for these wants, for the nodes that have something for them.
//! Pure.
//!
//! A want is granted as soon as one line answers it. So only those targets and architectures count
//! of which something is carried under its name; of several lines for one of them the one that
//! takes most of its targets for granted.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_proto::{
    Artifact, Facts, Kind, Target,
    want::{self, Want},
};

use super::lines;
use crate::{
    expand::Expanded,
    source::yum,
    waybill::{AptLine, InstalledAt, PypiLine, YumLine},
};

/// Lines as [`Expanded`] has them, each with its label.
#[derive(Debug, Default)]
pub struct Consumers {
    pub apt: Vec<(String, AptLine)>,
    pub yum: Vec<(String, YumLine)>,
    /// By want: one line for each Python and platform, of which one is enough.
    pub pypi: Vec<(Want, Vec<(String, PypiLine)>)>,
}

/// Finds the lines of granted wants; `label` is what they are called.
pub fn consumers<'a>(
    wants: &[Want],
    label: &str,
    expanded: &Expanded,
    artifacts: impl IntoIterator<Item = &'a Artifact>,
) -> Consumers {
    let mut consumers = Consumers::default();
    if wants.is_empty() {
        return consumers;
    }
    let shelf = Shelf::new(wants, artifacts);
    let mut seen = BTreeSet::new();
    for line in
        granting(lines::apt(expanded), |line| is_bare(line.minimal, line.installed.as_ref()))
    {
        let Ok(target) = line.target() else { continue };
        for arch in &line.architectures {
            let names = shelf.held(Kind::Deb, &target, &[arch.as_str(), "all"], lines::deb_entry);
            if !names.is_empty() && seen.insert((Kind::Deb, target.clone(), arch.clone())) {
                let architectures = vec![arch.clone()];
                let line = AptLine { packages: names, architectures, ..line.clone() };
                consumers.apt.push((label.to_owned(), line));
            }
        }
    }
    for line in
        granting(lines::yum(expanded), |line| is_bare(line.minimal, line.installed.as_ref()))
    {
        let Ok(target) = yum::target(&line) else { continue };
        let names =
            shelf.held(Kind::Rpm, &target, &[line.arch.as_str(), "noarch"], lines::rpm_entry);
        if !names.is_empty() && seen.insert((Kind::Rpm, target, line.arch.clone())) {
            consumers.yum.push((label.to_owned(), YumLine { packages: names, ..line }));
        }
    }
    let python = lines::pypi(expanded);
    for want in wants.iter().filter(|want| want.kind == Kind::Pypi && shelf.has(want)) {
        let lines = python.iter().flat_map(|line| environments(line, want, label));
        consumers.pypi.push((want.clone(), lines.collect()));
    }
    consumers
}

/// Whether a line takes nothing of its targets for granted.
fn is_bare<M: Copy + Default + PartialEq>(minimal: M, installed: Option<&InstalledAt>) -> bool {
    minimal == M::default() && installed.is_none()
}

/// Lines in their order, those first that take something of their targets for granted.
fn granting<L>(mut lines: Vec<L>, is_bare: impl Fn(&L) -> bool) -> Vec<L> {
    lines.sort_by_key(is_bare);
    lines
}

/// A line for one Python and platform each.
fn environments(line: &PypiLine, want: &Want, label: &str) -> Vec<(String, PypiLine)> {
    let packages = vec![lines::requirement(want)];
    let pairs = line.python.iter().flat_map(|p| line.platforms.iter().map(move |on| (p, on)));
    let one = |(python, platform): (&String, &String)| PypiLine {
        packages: packages.clone(),
        python: vec![python.clone()],
        platforms: vec![platform.clone()],
        ..line.clone()
    };
    pairs.map(|pair| (label.to_owned(), one(pair))).collect()
}

/// What is carried under the names of wants.
struct Shelf<'w, 'a> {
    by_want: BTreeMap<&'w Want, Vec<&'a Artifact>>,
}

impl<'w, 'a> Shelf<'w, 'a> {
    fn new(wants: &'w [Want], artifacts: impl IntoIterator<Item = &'a Artifact>) -> Self {
        let mut by_want: BTreeMap<&Want, Vec<&Artifact>> = BTreeMap::new();
        for artifact in artifacts {
            let Some(package) = package(&artifact.facts) else { continue };
            // What only provides the name was asked for by a line, under its own.
            let is_named = |want: &&Want| {
                let rest = want.name.strip_prefix(package).filter(|_| want.kind == artifact.kind());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '-', '.']))
            };
            for want in want::met(wants.iter().filter(is_named), [artifact]) {
                by_want.entry(want).or_default().push(artifact);
            }
        }
        Self { by_want }
    }

    fn has(&self, want: &Want) -> bool {
        self.by_want.contains_key(want)
    }

    /// The wants of a kind of which a target has something for one of these architectures, as its
    /// lines ask for them.
    fn held(
        &self,
        kind: Kind,
        target: &Target,
        architectures: &[&str],
        entry: fn(&Want) -> String,
    ) -> Vec<String> {
        let is_here = |artifact: &&Artifact| {
            let place = match &artifact.facts {
                Facts::Deb(facts) => Some((&facts.target, facts.architecture.as_str())),
                Facts::Rpm(facts) => Some((&facts.target, facts.architecture.as_str())),
                _ => None,
            };
            place.is_some_and(|(own, arch)| own == target && architectures.contains(&arch))
        };
        let of_kind = self.by_want.iter().filter(|(want, _)| want.kind == kind);
        let here = of_kind.filter(|(want, artifacts)| {
            let asked = want.name.split_once(':').map(|(_, arch)| arch);
            let fits = kind != Kind::Deb || asked.is_none_or(|arch| architectures.contains(&arch));
            fits && artifacts.iter().any(&is_here)
        });
        here.map(|(want, _)| entry(want)).collect()
    }
}

fn package(facts: &Facts) -> Option<&str> {
    match facts {
        Facts::Deb(facts) => Some(&facts.package),
        Facts::Rpm(facts) => Some(&facts.package),
        Facts::Pypi(facts) => Some(&facts.project),
        _ => None,
    }
}
