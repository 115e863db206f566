//! The approval list: what a site gets, row by row, for the people who say yes or no.
//!
//! In:   the artifacts that the inside holds and those that it shall hold.
//! Out:  an [`Approval`]: a row for each artifact of either, and their sums; as text, as CSV, as
//!       JSON by serialising it, and as an SPDX document.
//! Pure, and the same for the same artifacts in any order.

pub mod csv;
pub mod purl;
pub mod spdx;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use gapferry_common::change::Change;
use gapferry_proto::{Artifact, BlobRef, Digest, Facts, Kind, artifact::Method};
use serde::Serialize;

/// All rows, sorted by kind and name, and their sums.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Approval {
    pub sums: Sums,
    pub rows: Vec<Row>,
}

/// How many rows there are of each sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sums {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub kept: u64,
    /// Length of all blobs that come in, each once, as upstream publishes them, in bytes.
    pub bytes_entering: u64,
}

/// One artifact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    pub change: Change,
    pub kind: Kind,
    /// The artifact's name, unique in its kind.
    pub name: String,
    /// What upstream calls it, without version.
    pub package: String,
    /// None when nothing tells it.
    pub version: Option<String>,
    pub origin: String,
    /// Of its first blob: the file, or the image's index or manifest.
    pub digest: Option<Digest>,
    /// The digest before, when that changed.
    pub was: Option<Digest>,
    /// What changed: `bytes`, `facts`, `origin`, `evidence`.
    pub differs: Vec<&'static str>,
    pub licence: Option<String>,
    /// How upstream's word for the digest was checked.
    pub verified: Method,
    /// Who vouched for it.
    pub by: String,
    /// Length of its blobs as upstream publishes them, in bytes; other rows may share some.
    pub bytes: u64,
    pub purl: String,
    pub why: Vec<String>,
    /// Where the last segment is the name of its file.
    #[serde(skip)]
    file_name: String,
}

impl Approval {
    /// Compares `old` with `new` by kind and name. What `licence` knows is taken as it is.
    pub fn new<'a>(
        old: impl IntoIterator<Item = &'a Artifact>,
        new: impl IntoIterator<Item = &'a Artifact>,
        licence: impl Fn(&Artifact) -> Option<String>,
    ) -> Self {
        let old: BTreeMap<_, _> = old.into_iter().map(|a| (a.key(), a)).collect();
        let new: BTreeMap<_, _> = new.into_iter().map(|a| (a.key(), a)).collect();
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        let row =
            |key: (Kind, &str)| Row::of(old.get(&key).copied(), new.get(&key).copied(), &licence);
        let rows: Vec<Row> = keys.into_iter().filter_map(row).collect();
        let count = |change| rows.iter().filter(|row| row.change == change).count() as u64;
        let held: BTreeSet<_> = old.values().flat_map(|a| &a.blobs).map(|b| b.id).collect();
        let wanted: BTreeMap<_, _> =
            new.values().flat_map(|a| &a.blobs).map(|b| (b.id, b.len_bytes)).collect();
        let entering = wanted.iter().filter(|(id, _)| !held.contains(*id));
        let sums = Sums {
            added: count(Change::Added),
            changed: count(Change::Changed),
            removed: count(Change::Removed),
            kept: count(Change::Kept),
            bytes_entering: entering.fold(0, |sum, (_, &len)| sum.saturating_add(len)),
        };
        Self { sums, rows }
    }
}

impl Row {
    /// None when there is neither.
    fn of(
        old: Option<&Artifact>,
        new: Option<&Artifact>,
        licence: impl Fn(&Artifact) -> Option<String>,
    ) -> Option<Self> {
        let artifact = new.or(old)?;
        let (change, differs) = Change::of(old, new)?;
        let (package, version, file_name) = title(artifact);
        let digest = artifact.blobs.first().map(|blob| blob.id.digest());
        let before = old.and_then(|old| old.blobs.first()).map(|blob| blob.id.digest());
        Some(Self {
            change,
            kind: artifact.kind(),
            name: artifact.name.clone(),
            package,
            version,
            origin: artifact.origin.clone(),
            digest,
            was: before.filter(|_| before != digest),
            differs,
            licence: licence(artifact),
            verified: artifact.evidence.method,
            by: artifact.evidence.by.clone(),
            bytes: len_bytes(&artifact.blobs),
            purl: purl::of(artifact).to_string(),
            why: artifact.wanted.clone(),
            file_name,
        })
    }

    /// How upstream was verified, as a sentence.
    pub fn proof(&self) -> String {
        let by = &self.by;
        match self.verified {
            Method::Waybill if self.origin.starts_with("file:") => {
                format!("a file of the bastion ({by})")
            }
            Method::Waybill => format!("the waybill names its digest ({by})"),
            Method::AptInRelease => format!("an InRelease signed by {by} leads to its digest"),
            Method::PypiIndex => format!("the index {by} names its digest"),
            Method::OciDigest => format!("the registry names its digest ({by})"),
            Method::YumRepomd => format!("a repomd.xml signed by {by} leads to its digest"),
            Method::HelmIndex => format!("the index {by} names its digest"),
            Method::HelmProvenance => format!("a provenance file signed by {by} names its digest"),
            Method::Kubespray => format!("Kubespray's checksums name its digest ({by})"),
            Method::Transport => format!("TLS to {by} alone; upstream publishes no digest"),
            Method::Unverified => {
                "NOT VERIFIED: nothing that was checked vouches for it".to_owned()
            }
        }
    }
}

/// The method's word, as JSON has it.
const fn method_word(method: Method) -> &'static str {
    match method {
        Method::Waybill => "waybill",
        Method::AptInRelease => "apt-in-release",
        Method::PypiIndex => "pypi-index",
        Method::OciDigest => "oci-digest",
        Method::YumRepomd => "yum-repomd",
        Method::HelmIndex => "helm-index",
        Method::HelmProvenance => "helm-provenance",
        Method::Kubespray => "kubespray",
        Method::Transport => "transport",
        Method::Unverified => "unverified",
    }
}

/// What upstream calls it, its version, and where its file's name stands.
fn title(artifact: &Artifact) -> (String, Option<String>, String) {
    match &artifact.facts {
        Facts::File(facts) => {
            let path = facts.path.as_str();
            let version = purl::version_in_path(path).map(str::to_owned);
            (purl::last_segment(path).to_owned(), version, path.to_owned())
        }
        Facts::Image(facts) => {
            (facts.repository.to_string(), facts.tag.clone(), facts.repository.to_string())
        }
        Facts::Deb(facts) => {
            (facts.package.clone(), Some(facts.version.clone()), facts.filename.to_string())
        }
        Facts::Rpm(facts) => {
            let version = format!("{}-{}", facts.version, facts.release);
            (facts.package.clone(), Some(version), facts.location.to_string())
        }
        Facts::YumDocument(facts) => {
            (format!("{}/{}", facts.repository, facts.document), None, artifact.name.clone())
        }
        Facts::Pypi(facts) => {
            (facts.project.clone(), Some(facts.version.clone()), facts.filename.to_string())
        }
        Facts::Chart(facts) => {
            (facts.chart.clone(), Some(facts.version.clone()), facts.filename.to_string())
        }
    }
}

/// Length of the blobs, each once.
fn len_bytes(blobs: &[BlobRef]) -> u64 {
    let once: BTreeSet<&BlobRef> = blobs.iter().collect();
    once.into_iter().fold(0, |sum, blob| sum.saturating_add(blob.len_bytes))
}
