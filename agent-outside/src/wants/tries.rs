//! Asks the sources for what is wanted.
//!
//! In:   wants that no line brings, the lines that may answer them.
//! Out:  the artifacts that were found, and why the others were not.
//!
//! Packages are asked for together, a request a line. When that cannot be met, the wants are
//! halved until those that stand in the way stand alone, so that one bad name costs few requests.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use gapferry_common::{
    exit::chain,
    store::{PutError, Store},
};
use gapferry_proto::{
    Artifact, Kind,
    artifact::Method,
    want::{self, Want},
};

use super::{Wishes, along, label, lines};
use crate::{
    expand::Expanded,
    source::{
        Failure, Found, Verdict, apt, file, helm,
        http::Http,
        oci, pypi,
        yum::{
            self,
            artifacts::Yum,
            closure::{Obstacle, Unmet as RpmUnmet},
        },
    },
    waybill::{AptLine, PypiLine, YumLine},
};

/// Most requests to one line: enough to find some ten bad names among a thousand.
const REQUESTS_MAX: usize = 128;

/// The search for all wants of one waybill.
pub struct Tries<'a> {
    http: &'a Http,
    store: &'a Store,
    wishes: &'a Wishes,
    expanded: &'a Expanded,
    base: &'a Utf8Path,
    artifacts: &'a [Artifact],
    pub found: Vec<Artifact>,
    /// Files that rpm packages were looked into for, by artifact.
    pub files: BTreeMap<String, Vec<String>>,
    /// Why a want is not carried, where it is not.
    pub reasons: BTreeMap<Want, String>,
}

/// A line that packages come by.
enum Line {
    Apt(AptLine),
    /// The first is asked; the others are where it may be.
    Yum(Vec<YumLine>),
    Pypi(PypiLine),
}

impl<'a> Tries<'a> {
    pub const fn new(
        http: &'a Http,
        store: &'a Store,
        wishes: &'a Wishes,
        expanded: &'a Expanded,
        base: &'a Utf8Path,
        artifacts: &'a [Artifact],
    ) -> Self {
        Self {
            http,
            store,
            wishes,
            expanded,
            base,
            artifacts,
            found: Vec::new(),
            files: BTreeMap::new(),
            reasons: BTreeMap::new(),
        }
    }

    /// Says why a want is not carried, unless something was said before.
    pub fn leave(&mut self, want: &Want, reason: impl Into<String>) {
        self.reasons.entry(want.clone()).or_insert_with(|| reason.into());
    }

    /// Tries all of `wants`.
    ///
    /// # Errors
    ///
    /// [`PutError`]: the store failed.
    pub async fn all(&mut self, wants: &[&Want]) -> Result<(), PutError> {
        let mut wants = wants.to_vec();
        let lost = &self.wishes.lost.wants;
        for (want, reason) in wants.iter().filter_map(|want| lost.get_key_value(*want)) {
            self.leave_or_keep(want, reason.clone());
        }
        wants.retain(|want| !lost.contains_key(*want));
        for kind in [Kind::Deb, Kind::Rpm, Kind::Pypi] {
            let wants: Vec<&Want> =
                wants.iter().filter(|want| want.kind == kind).copied().collect();
            for line in self.lines(kind) {
                let wants: Vec<&Want> = wants
                    .iter()
                    .filter(|want| lines::is_for(want, line.target()))
                    .copied()
                    .collect();
                self.packages(&line, &wants).await?;
            }
            let met: BTreeSet<Want> =
                want::met(wants.iter().copied(), &self.found).into_iter().cloned().collect();
            for want in wants {
                if met.contains(want) {
                    self.reasons.remove(want);
                } else {
                    self.leave(want, no_line(want));
                }
            }
        }
        for want in wants {
            match want.kind {
                Kind::File => self.file(want).await,
                Kind::Image => self.image(want).await?,
                Kind::Chart => self.chart(want).await?,
                Kind::Deb | Kind::Rpm | Kind::Pypi => {}
            }
        }
        Ok(())
    }

    fn lines(&self, kind: Kind) -> Vec<Line> {
        match kind {
            Kind::Deb => lines::apt(self.expanded).into_iter().map(Line::Apt).collect(),
            Kind::Rpm => lines::yum_sets(self.expanded).into_iter().map(Line::Yum).collect(),
            _ => lines::pypi(self.expanded).into_iter().map(Line::Pypi).collect(),
        }
    }

    /// Asks a line for packages, all that the same sites want at once.
    async fn packages(&mut self, line: &Line, wants: &[&Want]) -> Result<(), PutError> {
        let mut open: BTreeMap<String, Vec<&Want>> = BTreeMap::new();
        for want in wants {
            open.entry(self.label(want)).or_default().push(want);
        }
        let mut open: Vec<(String, Vec<&Want>)> = open.into_iter().collect();
        let mut requests = 0;
        while let Some((label, group)) = open.pop() {
            if REQUESTS_MAX <= requests {
                let what = "too many wants cannot be had, so that this one was not tried";
                group.iter().for_each(|want| self.leave(want, what));
                continue;
            }
            requests += 1;
            let Yum { found, files, .. } =
                line.ask(self.http, self.store, self.base, &label, &group).await?;
            self.files.extend(files);
            let grave = found.failures.iter().find(|failure| !is_unknown(failure));
            let is_hopeless = grave.is_some_and(|failure| {
                matches!(failure.verdict, Verdict::Fault | Verdict::Configuration)
                    && !matches!(line, Line::Pypi(_))
            });
            let grave = grave.map(|failure| chain(&*failure.error));
            if let Some(reason) = grave.or_else(|| self.lost(&found.artifacts)) {
                if !is_hopeless && 1 < group.len() {
                    let (one, other) = group.split_at(group.len() / 2);
                    open.push((label.clone(), one.to_vec()));
                    open.push((label, other.to_vec()));
                    continue;
                }
                group.iter().for_each(|want| self.leave_or_keep(want, reason.clone()));
                continue;
            }
            for failure in &found.failures {
                let reason = chain(&*failure.error);
                let named = group.iter().filter(|want| line.entry(want) == failure.name);
                let named: Vec<&Want> = named.copied().collect();
                named.into_iter().for_each(|want| self.leave(want, reason.clone()));
            }
            self.take(&label, found.artifacts);
        }
        Ok(())
    }

    /// A file has no checksum, so that TLS must vouch for it.
    async fn file(&mut self, want: &Want) {
        let label = self.label(want);
        let asked = match lines::file(want, self.artifacts, &label) {
            Ok(asked) => asked,
            Err(reason) => return self.leave(want, reason),
        };
        let previous = self.previous(want);
        let known = |origin: &str| {
            let of_origin = previous.iter().find(|artifact| artifact.origin == origin);
            of_origin.and_then(|artifact| artifact.blobs.first().copied())
        };
        let found = file::resolve(self.http, &[asked], known).await;
        let is_vouched = |artifact: &Artifact| artifact.evidence.method == Method::Transport;
        if let Some(failure) = found.failures.first() {
            let reason = format!("{}; write {}", chain(&*failure.error), lines::file_line(want));
            self.leave_or_keep(want, reason);
        } else if let Some(reason) = self.lost(&found.artifacts) {
            self.leave_or_keep(want, reason);
        } else if !found.artifacts.iter().all(is_vouched) {
            let line = lines::file_line(want);
            let what = "nobody gives its checksum and it does not come over TLS";
            self.leave(want, format!("{what}; write {line}"));
        } else {
            self.take(&label, found.artifacts);
        }
    }

    async fn image(&mut self, want: &Want) -> Result<(), PutError> {
        let label = self.label(want);
        let line = match lines::image(want, self.expanded, self.artifacts) {
            Ok(line) => line,
            Err(reason) => {
                self.leave(want, reason);
                return Ok(());
            }
        };
        let images = oci::resolve(self.http, &line, self.base, &label).await;
        let failed = images.found.failures.first().map(|failure| chain(&*failure.error));
        if let Some(reason) = failed.or_else(|| self.lost(&images.found.artifacts)) {
            self.leave_or_keep(want, reason);
            return Ok(());
        }
        for (_, bytes) in &images.manifests {
            self.store.put(bytes)?;
        }
        self.take(&label, images.found.artifacts);
        Ok(())
    }

    async fn chart(&mut self, want: &Want) -> Result<(), PutError> {
        let label = self.label(want);
        let lines = match lines::charts(want, self.expanded) {
            Ok(lines) => lines,
            Err(reason) => {
                self.leave(want, reason);
                return Ok(());
            }
        };
        let mut reason = String::new();
        for line in lines {
            let charts = helm::resolve(self.http, &line, self.base, &label).await;
            let failed = charts.found.failures.first().map(|failure| chain(&*failure.error));
            if let Some(said) = failed.or_else(|| self.lost(&charts.found.artifacts)) {
                reason = if reason.is_empty() { said } else { format!("{reason}; {said}") };
                continue;
            }
            for (_, bytes) in &charts.kept {
                self.store.put(bytes)?;
            }
            self.take(&label, charts.found.artifacts);
            return Ok(());
        }
        self.leave_or_keep(want, reason);
        Ok(())
    }

    /// What was carried for a want stays carried when its upstream does not give it now.
    fn leave_or_keep(&mut self, want: &Want, reason: String) {
        let kept: Vec<Artifact> = self.previous(want).into_iter().cloned().collect();
        if kept.is_empty() {
            self.leave(want, reason);
        }
        self.found.extend(kept);
    }

    /// What the lock in force has for a want, with what came along, where none of it is lost.
    fn previous(&self, want: &Want) -> Vec<&'a Artifact> {
        let previous = &self.wishes.previous;
        let is_met = |artifact: &&Artifact| !want::met([want], [*artifact]).is_empty();
        let sets = previous.iter().filter(is_met).map(|root| along::with(root, previous));
        let whole = sets.filter(|set| self.lost(set.iter().copied()).is_none());
        let by_key = whole.flatten().map(|artifact| (artifact.key(), artifact));
        by_key.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Why something of `artifacts` is not to be had.
    fn lost<'b>(&self, artifacts: impl IntoIterator<Item = &'b Artifact>) -> Option<String> {
        let mut blobs = artifacts.into_iter().flat_map(|artifact| &artifact.blobs);
        blobs.find_map(|blob| self.wishes.lost.blobs.get(&blob.id).cloned())
    }

    fn take(&mut self, label: &str, artifacts: Vec<Artifact>) {
        let begin = format!("{label}: ");
        for mut artifact in artifacts {
            for reason in &mut artifact.wanted {
                if let Some(rest) = reason.strip_prefix(&begin) {
                    *reason = format!("{label} {rest}");
                }
            }
            self.found.push(artifact);
        }
    }

    fn label(&self, want: &Want) -> String {
        self.wishes.asked.get(want).map(label).unwrap_or_default()
    }
}

impl Line {
    /// Asks for wants and nothing else; what was read on the way goes into the store. Only yum
    /// lines have more than what was found.
    async fn ask(
        &self,
        http: &Http,
        store: &Store,
        base: &Utf8Path,
        label: &str,
        wants: &[&Want],
    ) -> Result<Yum, PutError> {
        let alone = |found: Found| Yum { found, ..Yum::default() };
        let packages: Vec<String> = wants.iter().map(|want| self.entry(want)).collect();
        match self {
            Self::Apt(line) => {
                let line = AptLine { packages, ..line.clone() };
                Ok(alone(apt::resolve(http, &line, base, label).await))
            }
            Self::Yum(lines) => {
                let mut lines: Vec<(String, YumLine)> =
                    lines.iter().map(|line| (label.to_owned(), line.clone())).collect();
                lines[0].1.packages = packages;
                let found = yum::resolve(http, &lines, base).await;
                for (_, bytes) in &found.kept {
                    store.put(bytes)?;
                }
                Ok(found)
            }
            Self::Pypi(line) => {
                let line = PypiLine { packages, ..line.clone() };
                Ok(alone(pypi::resolve(http, &line, base, label).await))
            }
        }
    }

    fn entry(&self, want: &Want) -> String {
        match self {
            Self::Apt(_) => lines::deb_entry(want),
            Self::Yum(_) => lines::rpm_entry(want),
            Self::Pypi(_) => lines::requirement(want),
        }
    }

    fn target(&self) -> Option<&str> {
        match self {
            Self::Apt(line) => lines::apt_target(line),
            Self::Yum(lines) => lines::yum_target(&lines[0]),
            Self::Pypi(_) => None,
        }
    }
}

/// Whether a failure says that a package is not there, which spoils nothing for the others.
fn is_unknown(failure: &Failure) -> bool {
    let apt = failure.error.downcast_ref::<apt::closure::Unmet>();
    let yum = failure.error.downcast_ref::<RpmUnmet>();
    matches!(apt, Some(apt::closure::Unmet::Unknown { .. }))
        || matches!(yum, Some(RpmUnmet { obstacle: Obstacle::Unknown { .. }, .. }))
}

fn no_line(want: &Want) -> String {
    let lines = match want.kind {
        Kind::Deb => "apt",
        Kind::Rpm => "yum",
        _ => "pypi",
    };
    let target = want.target.as_ref().map(|target| format!(" is for {target}")).unwrap_or_default();
    let end = if target.is_empty() { " gives it" } else { "" };
    format!("no {lines} line of the waybill{target}{end}; write one")
}
