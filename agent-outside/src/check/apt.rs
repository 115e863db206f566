//! Installs what the apt lines name, from nothing but the packages that are carried.
//!
//! In:   the paragraphs of the carried packages, by target.
//! Out:  every package and relation that would be unmet.
//!
//! # What every system has
//!
//! A resolver ends its closure at packages that every system has, and those are not carried. So
//! right after a lock was made whole, all that its closure leaves unmet is of that sort; the lock
//! keeps those relations ([`assumed`]), and a check passes over them and over no others.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use gapferry_proto::{Artifact, Facts, Kind, Target, artifact::DebFacts};

use super::{Ground, Line, Missing, NotProven, Report};
use crate::{
    source::apt::{
        self,
        closure::{self, Unmet},
        packages::Universe,
    },
    waybill::AptLine,
};

/// Checks the apt lines of a waybill.
pub fn check(
    ground: &Ground<'_>,
    base: &Utf8Path,
    lines: &[(String, AptLine)],
    report: &mut Report,
) {
    let shelf = Shelf::new(ground.held.artifacts());
    for (label, line) in lines {
        let Simulated { unmet, errors, closures } = simulate(&shelf, line, base, label);
        let error = |error| Missing::new(Kind::Deb, &**label, "the waybill", error);
        report.missing.extend(errors.into_iter().map(error));
        (0..closures).for_each(|_| report.count(Kind::Deb));
        for one in unmet {
            one.report(ground, line, label, report);
        }
    }
}

/// What the closures of `lines` leave unmet among `artifacts`, of which a resolver has just found
/// that nothing is missing: `debian-13 amd64: libc6 (>= 2.36)`. Sorted, each once.
pub fn assumed(
    lines: &[(String, AptLine)],
    base: &Utf8Path,
    artifacts: &[Artifact],
) -> Vec<String> {
    let shelf = Shelf::new(artifacts.iter());
    let mut assumed = BTreeSet::new();
    for (label, line) in lines {
        let simulated = simulate(&shelf, line, base, label);
        assumed.extend(simulated.unmet.iter().filter_map(One::key));
    }
    assumed.into_iter().collect()
}

/// The carried packages by target.
struct Shelf<'a>(BTreeMap<&'a Target, Vec<&'a DebFacts>>);

impl<'a> Shelf<'a> {
    fn new(artifacts: impl Iterator<Item = &'a Artifact>) -> Self {
        let mut shelf: BTreeMap<&Target, Vec<&DebFacts>> = BTreeMap::new();
        for artifact in artifacts {
            if let Facts::Deb(facts) = &artifact.facts {
                shelf.entry(&facts.target).or_default().push(facts);
            }
        }
        Self(shelf)
    }
}

/// What came of one line.
#[derive(Default)]
struct Simulated {
    unmet: Vec<One>,
    errors: Vec<String>,
    closures: usize,
}

/// One thing that is unmet at a target.
struct One {
    target: Target,
    architecture: String,
    unmet: Unmet,
}

fn simulate(shelf: &Shelf<'_>, line: &AptLine, base: &Utf8Path, label: &str) -> Simulated {
    let mut simulated = Simulated::default();
    let target = line.target.clone().or_else(|| line.suite.parse().ok());
    let Some(target) = target else {
        simulated.errors.push(format!("suite {:?} cannot be a folder below /apt/", line.suite));
        return simulated;
    };
    let request = match apt::request(line, base, label) {
        Ok(request) => request,
        Err(errors) => {
            simulated.errors = errors;
            return simulated;
        }
    };
    let carried = shelf.0.get(&target).map_or(&[][..], Vec::as_slice);
    for architecture in &line.architectures {
        let of_architecture =
            |facts: &&&DebFacts| facts.architecture == *architecture || facts.architecture == "all";
        let texts = carried.iter().filter(of_architecture);
        let texts = texts.map(|facts| (0, facts.filename.as_str(), facts.paragraph.as_str()));
        match Universe::parse(texts, architecture) {
            Ok(universe) => {
                simulated.closures += 1;
                // Which suite a package came from no longer matters.
                let closure = closure::close(&universe, architecture, &request, &|_| true);
                let one = |unmet| One {
                    target: target.clone(),
                    architecture: architecture.clone(),
                    unmet,
                };
                simulated.unmet.extend(closure.unmet.into_iter().map(one));
            }
            Err(error) => simulated.errors.push(error.to_string()),
        }
    }
    simulated
}

impl One {
    /// As locks keep it; only a relation can be of what every system has.
    fn key(&self) -> Option<String> {
        let Unmet::Relation { relation, .. } = &self.unmet else { return None };
        Some(format!("{} {}: {relation}", self.target, self.architecture))
    }

    fn report(self, ground: &Ground<'_>, line: &AptLine, label: &str, report: &mut Report) {
        let key = self.key();
        let nodes = format!("{} {}", self.target, self.architecture);
        let add = |name: &str| Line::apt(line, &self.architecture, &[name.to_owned()]);
        let (name, by, reason) = match self.unmet {
            Unmet::Unknown { entry, .. } => {
                let reason = format!("{nodes} would not have it");
                let line = add(&entry);
                report.missing.push(Missing::new(Kind::Deb, entry, label, reason).asked_for(line));
                return;
            }
            Unmet::Malformed { asker, field, what } => {
                let reason = format!("its {field} is not understood: {what}");
                report.missing.push(Missing::new(Kind::Deb, asker, label, reason));
                return;
            }
            Unmet::Conflict { package, asker, relation } => {
                let reason = format!(
                    "{asker} depends on {relation}, and all of {nodes} that meet it conflict"
                );
                report.missing.push(Missing::new(Kind::Deb, package, &asker, reason));
                return;
            }
            Unmet::Relation { asker, relation } => {
                let name = relation.split([' ', '(', ':', '|']).next().unwrap_or_default();
                let reason =
                    format!("{asker} depends on {relation}, and {nodes} would not have it");
                (name.to_owned(), asker, reason)
            }
        };
        match (&ground.assumed, key) {
            (Some(assumed), Some(key)) if assumed.contains(&key) => {
                report.assumed.insert(key);
            }
            (None, _) => report.not_proven.push(NotProven::new(
                Kind::Deb,
                name,
                &by,
                format!("{reason}, unless every system has it: an earlier agent made the lock, so run `gapferry-outside sync`"),
            )),
            _ => {
                let line = add(&name);
                report.missing.push(Missing::new(Kind::Deb, name, &by, reason).with_line(line));
            }
        }
    }
}
