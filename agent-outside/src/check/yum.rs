//! Installs what the yum lines name, from nothing but the packages that are carried.
//!
//! In:   the elements of `primary.xml` of the carried packages, by target; from the store the
//!       groups and advisories that travel along, and the headers of packages where something
//!       requires a file.
//! Out:  every entry and requirement that would be unmet.
//!
//! A client inside sees the packages of all lines of its target together, and takes of a name that
//! it is asked for the highest version. Which repository a package came from no longer matters.
//!
//! # What every system has
//!
//! A closure goes down to an empty machine, so nothing is taken for granted, unless a line says
//! that its targets have something (`minimal: core`, `installed`). What such a line leaves unmet
//! right after a lock was made whole is of that sort; the lock keeps it ([`assumed`]), and a check
//! passes over it and over nothing else.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use gapferry_common::store::Store;
use gapferry_proto::{
    Artifact, Facts, Kind, Target,
    artifact::{RpmFacts, YumDocumentFacts},
};

use super::{Ground, Line, Missing, NotProven, Report};
use crate::{
    source::yum::{
        self,
        closure::{Asked, Obstacle, Unmet},
        header,
        pick::Wish,
        resolve::Lines,
        settings,
    },
    waybill::{Minimal, YumLine},
};

mod node;

use self::node::{Lack, Node, Outcome};

/// Tells which of some paths a carried package has.
type Files<'f> = &'f dyn Fn(&Artifact, &BTreeSet<String>) -> BTreeSet<String>;

/// Checks the yum lines of a waybill.
pub fn check(
    ground: &Ground<'_>,
    base: &Utf8Path,
    lines: &[(String, YumLine)],
    report: &mut Report,
) {
    let shelf = Shelf::new(ground.held.artifacts(), ground.store);
    let in_header = |artifact: &Artifact, paths: &BTreeSet<String>| {
        let blob = artifact.blobs.first().and_then(|blob| ground.store.open_blob(blob.id).ok());
        // Bytes that are not here are missing anyway.
        blob.and_then(|file| header::find(file, paths).ok()).unwrap_or_default()
    };
    let (all, failures) = yum::wishes(lines, base);
    report.missing.extend(failures.iter().map(Missing::of_failure));
    for Lines { wish, lines } in &all {
        for part in Part::of(wish) {
            report.count(Kind::Rpm);
            let scene = Scene { ground, base, lines, wish, part: &part };
            let excused = scene.excused();
            match Node::new(&shelf, wish) {
                Ok(mut node) => {
                    let outcome = node.install(&part.asked, &excused, &in_header);
                    scene.report(outcome, &excused, report);
                }
                Err(error) => {
                    let label = part.asked.first().map_or("yum", |asked| asked.label.as_str());
                    report.missing.push(Missing::new(Kind::Rpm, label, "the waybill", error));
                }
            }
        }
    }
}

/// What lines whose targets have something leave unmet among `artifacts`, of which a resolver has
/// just found that nothing is missing: `rocky-9 x86_64: glibc >= 2.34`. `files` are those that the
/// resolver looked up, by artifact. Each once, in no order.
pub fn assumed(
    lines: &[(String, YumLine)],
    base: &Utf8Path,
    artifacts: &[Artifact],
    files: &BTreeMap<String, Vec<String>>,
    store: &Store,
) -> Vec<String> {
    let shelf = Shelf::new(artifacts.iter(), store);
    let looked_up = |artifact: &Artifact, paths: &BTreeSet<String>| {
        let files = files.get(&artifact.name).into_iter().flatten();
        files.filter(|path| paths.contains(*path)).cloned().collect()
    };
    let mut assumed = BTreeSet::new();
    for Lines { wish, .. } in yum::wishes(lines, base).0 {
        for part in Part::of(&wish).into_iter().filter(|part| part.has_something) {
            let Ok(mut node) = Node::new(&shelf, &wish) else { continue };
            let outcome = node.install(&part.asked, &BTreeSet::new(), &looked_up);
            let entries = outcome.unknown.iter().map(|(_, entry)| entry);
            let relations = outcome.lacks.values().flatten().map(|lack| &lack.relation);
            assumed.extend(entries.chain(relations).map(|what| key(&wish, what)));
        }
    }
    assumed.into_iter().collect()
}

/// As locks keep what every system has.
fn key(wish: &Wish, what: &str) -> String {
    format!("{}{what}", prefix(wish))
}

fn prefix(wish: &Wish) -> String {
    format!("{} {}: ", wish.target, wish.arch)
}

/// What is carried, by target.
struct Shelf<'a> {
    packages: BTreeMap<&'a Target, Vec<(&'a Artifact, &'a RpmFacts)>>,
    documents: BTreeMap<&'a Target, Vec<(&'a Artifact, &'a YumDocumentFacts)>>,
    store: &'a Store,
}

impl<'a> Shelf<'a> {
    fn new(artifacts: impl Iterator<Item = &'a Artifact>, store: &'a Store) -> Self {
        let mut shelf = Self { packages: BTreeMap::new(), documents: BTreeMap::new(), store };
        for artifact in artifacts {
            match &artifact.facts {
                Facts::Rpm(facts) => {
                    shelf.packages.entry(&facts.target).or_default().push((artifact, facts));
                }
                Facts::YumDocument(facts) => {
                    shelf.documents.entry(&facts.target).or_default().push((artifact, facts));
                }
                _ => {}
            }
        }
        shelf
    }
}

/// The lines of a wish whose targets have something, or those whose targets have nothing.
struct Part {
    asked: Vec<Asked>,
    /// By number of `asked`: the number of the line.
    numbers: Vec<usize>,
    has_something: bool,
}

impl Part {
    fn of(wish: &Wish) -> Vec<Self> {
        let part = |has_something: bool| {
            let lines = wish.asked.iter().enumerate();
            let fits = |(_, asked): &(usize, &Asked)| {
                has_something == (asked.minimal != Minimal::None || asked.installed.is_some())
            };
            // What targets have is not carried, so a client meets it nowhere among the packages.
            let bare = |(number, asked): (usize, &Asked)| {
                (number, Asked { minimal: Minimal::None, ..asked.clone() })
            };
            let (numbers, asked): (Vec<_>, Vec<_>) = lines.filter(fits).map(bare).unzip();
            Self { asked, numbers, has_something }
        };
        [part(false), part(true)].into_iter().filter(|part| !part.asked.is_empty()).collect()
    }
}

/// What a report draws on.
struct Scene<'a> {
    ground: &'a Ground<'a>,
    base: &'a Utf8Path,
    lines: &'a [&'a YumLine],
    wish: &'a Wish,
    part: &'a Part,
}

impl Scene<'_> {
    /// What the lock says every system of the target has.
    fn excused(&self) -> BTreeSet<String> {
        let prefix = prefix(self.wish);
        let known = self.ground.assumed.iter().flatten().filter(|_| self.part.has_something);
        known.filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn report(&self, outcome: Outcome, excused: &BTreeSet<String>, report: &mut Report) {
        report.assumed.extend(outcome.passed.iter().map(|what| key(self.wish, what)));
        for (number, entry) in outcome.unknown {
            if excused.contains(&entry) {
                report.assumed.insert(key(self.wish, &entry));
                continue;
            }
            let reason = format!("{} {} would not have it", self.wish.target, self.wish.arch);
            let line = Line::yum(self.line(number), std::slice::from_ref(&entry));
            let missing = Missing::new(Kind::Rpm, entry, self.label(number), reason);
            report.missing.push(missing.asked_for(line));
        }
        for (name, lacks) in outcome.lacks {
            self.lack(name, &lacks, report);
        }
        for unmet in outcome.stuck {
            self.stuck(&unmet, report);
        }
    }

    /// Something that carried packages require and that nothing carried provides.
    fn lack(&self, name: String, lacks: &[Lack], report: &mut Report) {
        let Some(Lack { asker, relation }) = lacks.first() else { return };
        let more = match lacks.len() {
            1 => String::new(),
            count => format!(" (and {} like it)", count - 1),
        };
        let Wish { target, arch, .. } = self.wish;
        let reason =
            format!("{asker} requires {relation}{more}, and {target} {arch} would not have it");
        if self.part.has_something && self.ground.assumed.is_none() {
            let reason = format!(
                "{reason}, unless every system has it: an earlier agent made the lock, so run \
                 `gapferry-outside sync`"
            );
            report.not_proven.push(NotProven::new(Kind::Rpm, name, asker, reason));
            return;
        }
        let entry = std::slice::from_ref(&name);
        let line = self.only_line().map(|line| Line::yum(line, entry));
        // Which of several repositories has it, only upstream knows; a sync finds it by itself.
        let in_waybill = line.is_none();
        let missing = Missing::new(Kind::Rpm, &*name, asker, reason);
        report.missing.push(Missing { line, in_waybill, ..missing });
    }

    /// Something that cannot be installed though nothing is missing.
    fn stuck(&self, unmet: &Unmet, report: &mut Report) {
        let (entry, label) = (unmet.entry(), self.label(unmet.line));
        let reason = unmet.to_string();
        if matches!(unmet.obstacle, Obstacle::TooHard { .. }) {
            report.not_proven.push(NotProven::new(Kind::Rpm, entry, label, reason));
        } else {
            report.missing.push(Missing::new(Kind::Rpm, entry, label, reason));
        }
    }

    fn label(&self, number: usize) -> &str {
        self.part.asked.get(number).map_or("yum", |asked| asked.label.as_str())
    }

    fn line(&self, number: usize) -> &YumLine {
        let number = self.part.numbers.get(number).copied().unwrap_or_default();
        self.lines[number]
    }

    /// A line of the part, when all lines of the target mean the same repositories.
    fn only_line(&self) -> Option<&YumLine> {
        let first = self.line(0);
        let place = |line: &YumLine| {
            let named = settings::named_source(line, self.base).ok().flatten();
            (named.map(|source| source.id), line.repos.clone())
        };
        self.lines.iter().all(|line| place(line) == place(first)).then_some(first)
    }
}
