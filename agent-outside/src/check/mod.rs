//! Simulates the consumers of a site: what would be missing inside.
//!
//! In:   what the site shall hold, what it holds now, the waybills, the store.
//! Out:  a [`Report`]: what is missing, why, and the line of a waybill that would add it.
//! Never: the network. What only upstream knows stands among what is not proven.
//!
//! One file a consumer: `oci` pulls images, `apt`, `yum` and `pypi` install what the lines name
//! from nothing but what is carried, `helm` renders charts and reads manifests, `file` asks for
//! every URL. A Kubespray tree is played by all of them, for `expand` turns it into their lines; so
//! is what the site wanted and got, for `wants` does.
//! `route` plays every Kubespray release of an upgrade.
//!
//! What a client sees after the import is the new snapshot alone. What the inside holds now
//! counts for bytes, not for names: an artifact that the snapshot lacks is served no longer.

pub mod apt;
pub mod bytes;
pub mod file;
pub mod fix;
pub mod helm;
pub mod line;
pub mod oci;
pub mod pypi;
pub mod route;
pub mod yum;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use gapferry_common::{exit::chain, store::Store};
use gapferry_proto::{
    Artifact, BlobId, Facts, Kind, SiteName, Snapshot,
    artifact::ImageFacts,
    want::{self, Want},
};
use serde::Serialize;

pub use self::line::Line;
use crate::{
    expand::{Expanded, expand},
    source::Failure,
    wants::{Consumers, consumers},
    waybill::Waybill,
};

/// Something that a consumer would ask for in vain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Missing {
    /// The word of its [`Kind`], or `hop`.
    pub kind: &'static str,
    /// By this it is accepted (`export --accept-missing NAME`).
    pub name: String,
    pub needed_by: String,
    pub reason: String,
    /// The line of a waybill that would add it.
    pub line: Option<Line>,
    /// Whether the waybill has that line already, so that `sync` brings it.
    pub in_waybill: bool,
    /// The waybill it belongs to; none where nothing tells.
    pub waybill: Option<SiteName>,
    /// The hops of a route that need it: `2.30→2.31 target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
}

/// Something that a consumer may ask for, and nobody can tell without the user.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct NotProven {
    pub kind: &'static str,
    pub name: String,
    pub needed_by: String,
    pub reason: String,
}

/// What came of a check.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Sorted, each once.
    pub missing: Vec<Missing>,
    /// Sorted, each once.
    pub not_proven: Vec<NotProven>,
    /// How much was simulated: references, URLs, closures, charts, by kind.
    pub checked: BTreeMap<&'static str, u64>,
    /// What every system is taken to have: relations of packages that are not carried for this
    /// reason, each once.
    pub assumed: BTreeSet<String>,
}

/// A waybill and the folder that its paths are relative to.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub waybill: &'a Waybill,
    pub base: &'a Utf8Path,
}

/// What all consumers draw on.
#[derive(Debug)]
pub struct Ground<'a> {
    pub held: Held<'a>,
    pub store: &'a Store,
    /// Blobs that the inside has already.
    pub inside: BTreeMap<BlobId, u64>,
    /// What every system has, as the locks say it; none when a lock of an earlier agent does not.
    pub assumed: Option<BTreeSet<String>>,
    pub wanted: Wanted,
}

/// What the site asked for by itself and a sync found.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Who asks: `wanted inside: prod`.
    pub label: String,
    pub wants: Vec<Want>,
}

/// The snapshot by name.
#[derive(Debug, Default)]
pub struct Held<'a> {
    by_key: BTreeMap<(Kind, &'a str), &'a Artifact>,
    images: BTreeMap<&'a str, Vec<(&'a Artifact, &'a ImageFacts)>>,
    /// What the inside holds now, by kind and name.
    before: BTreeMap<(Kind, &'a str), &'a Artifact>,
}

/// Checks everything.
pub fn check(ground: &Ground<'_>, orders: &[Order<'_>]) -> Report {
    let mut report = Report::default();
    for order in orders {
        let from = report.missing.len();
        order.check(ground, &mut report);
        let name = &order.waybill.metadata.name;
        for missing in report.missing.iter_mut().skip(from) {
            missing.waybill = Some(name.clone());
        }
    }
    check_wants(ground, &mut report);
    oci::check_trees(ground, &mut report);
    bytes::check(ground, &mut report);
    helm::check_manifests(ground, &mut report);
    report.settle();
    report
}

/// Asks for every want that was granted, of whatever kind.
fn check_wants(ground: &Ground<'_>, report: &mut Report) {
    let Wanted { label, wants } = &ground.wanted;
    let met = want::met(wants, ground.held.artifacts());
    for want in wants.iter().filter(|want| !met.contains(want)) {
        let reason = "the site asked for it, the last sync found it, and no lock in force has it";
        let missing = Missing::new(want.kind, &*want.name, label, reason);
        report.missing.push(Missing { in_waybill: true, ..missing });
    }
}

impl Order<'_> {
    fn check(&self, ground: &Ground<'_>, report: &mut Report) {
        let expanded = expand(self.waybill, self.base);
        let Wanted { label, wants } = &ground.wanted;
        let Consumers { apt, yum, pypi } =
            consumers(wants, label, &expanded, ground.held.artifacts());
        self.play(ground, expanded, report);
        apt::check(ground, self.base, &apt, report);
        yum::check(ground, self.base, &yum, report);
        for (want, lines) in &pypi {
            pypi::check_want(ground, self.base, want, lines, report);
        }
    }

    /// Plays the consumers of what was expanded.
    fn play(&self, ground: &Ground<'_>, expanded: Expanded, report: &mut Report) {
        let Expanded { files, images, charts, apt, yum, pypi, failures, hints, .. } = expanded;
        report.missing.extend(failures.iter().map(Missing::of_failure));
        file::check(ground, &files, report);
        oci::check(ground, &images, report);
        helm::check(ground, self.base, &charts, report);
        apt::check(ground, self.base, &apt, report);
        yum::check(ground, self.base, &yum, report);
        pypi::check(ground, self.base, &pypi, report);
        let name = self.waybill.metadata.name.as_str();
        let hint = |reason| NotProven {
            kind: "waybill",
            name: name.to_owned(),
            needed_by: "its lines".to_owned(),
            reason,
        };
        report.not_proven.extend(hints.into_iter().map(hint));
    }
}

impl<'a> Held<'a> {
    /// Sorts a snapshot, and what the inside holds before it.
    pub fn new(snapshot: &'a Snapshot, before: &'a Snapshot) -> Self {
        let mut held = Self::default();
        for artifact in snapshot.artifacts() {
            held.by_key.insert(artifact.key(), artifact);
            if let Facts::Image(facts) = &artifact.facts {
                held.images.entry(facts.repository.as_str()).or_default().push((artifact, facts));
            }
        }
        held.before = before.artifacts().map(|artifact| (artifact.key(), artifact)).collect();
        held
    }

    pub fn artifacts(&self) -> impl Iterator<Item = &'a Artifact> {
        self.by_key.values().copied()
    }

    /// What it shall hold, then what it holds now.
    pub fn all(&self) -> impl Iterator<Item = &'a Artifact> {
        self.by_key.values().chain(self.before.values()).copied()
    }

    pub fn get(&self, kind: Kind, name: &str) -> Option<&'a Artifact> {
        self.by_key.get(&(kind, name)).copied()
    }

    /// The images of one repository.
    pub fn images(&self, repository: &str) -> &[(&'a Artifact, &'a ImageFacts)] {
        self.images.get(repository).map_or(&[], Vec::as_slice)
    }

    /// What to say of something that is not there: whether it was there until now.
    fn absent(&self, kind: Kind, name: &str) -> &'static str {
        if self.before.contains_key(&(kind, name)) {
            "the inside has it now, and would no longer after this export"
        } else {
            "the site would not have it"
        }
    }
}

impl Missing {
    fn new(
        kind: Kind,
        name: impl Into<String>,
        needed_by: &str,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind: kind.word(),
            name: name.into(),
            needed_by: needed_by.to_owned(),
            reason: reason.into(),
            line: None,
            in_waybill: false,
            waybill: None,
            hop: None,
        }
    }

    /// Something that a line would add.
    fn with_line(self, line: Line) -> Self {
        Self { line: Some(line), ..self }
    }

    /// Something that the waybill names already.
    fn asked_for(self, line: Line) -> Self {
        Self { line: Some(line), in_waybill: true, ..self }
    }

    /// A part of a waybill that cannot be read, so that nothing of it is simulated.
    fn of_failure(failure: &Failure) -> Self {
        Self::new(failure.kind, &*failure.name, "the waybill", chain(&*failure.error))
    }

    /// As gaps are accepted and recorded: kind and name.
    pub fn gap(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Whether it is meant by a name that the user accepts.
    pub fn is_called(&self, name: &str) -> bool {
        name == self.name || name == self.gap()
    }
}

impl NotProven {
    fn new(
        kind: Kind,
        name: impl Into<String>,
        needed_by: &str,
        reason: impl Into<String>,
    ) -> Self {
        let (name, needed_by) = (name.into(), needed_by.to_owned());
        Self { kind: kind.word(), name, needed_by, reason: reason.into() }
    }
}

impl Report {
    fn count(&mut self, kind: Kind) {
        *self.checked.entry(kind.word()).or_default() += 1;
    }

    /// Sorts; what several lines miss for the same reason is told once.
    fn settle(&mut self) {
        self.missing.sort();
        self.missing.dedup();
        self.not_proven.sort();
        self.not_proven.dedup();
    }

    /// Divides what is missing: the gaps that `names` accept, and what is left.
    pub fn accept(&self, names: &[String]) -> (BTreeSet<String>, Vec<&Missing>) {
        let is_accepted = |one: &&Missing| names.iter().any(|name| one.is_called(name));
        let (accepted, left): (Vec<_>, Vec<_>) = self.missing.iter().partition(is_accepted);
        (accepted.into_iter().map(Missing::gap).collect(), left)
    }
}

#[cfg(test)]
mod tests;
