//! Plans an export: what the snapshot has that the basis lacks.
//!
//! In:   a snapshot and a basis.
//! Out:  a [`Plan`]: the difference, the blobs that travel, the artifacts they belong to.
//! Pure: depends on nothing else, so the same plan is made again after a kill.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_proto::{
    Artifact, BlobId, BlobRef, Facts, Kind, KubesprayTree, Sequence, Snapshot, SnapshotId,
    envelope::Totals, snapshot::Difference,
};
use serde::Serialize;

use crate::{bases::without_versions, ledger::Basis};

/// What an export has to bring.
#[derive(Clone, Debug)]
pub struct Plan {
    pub basis: Option<SnapshotId>,
    /// The sequence that the basis is of, for people.
    pub basis_sequence: Option<Sequence>,
    pub snapshot: SnapshotId,
    pub difference: Difference,
    /// Blobs that the basis lacks, in the order in which they are made: by kind and name.
    pub new_blobs: Vec<BlobRef>,
    /// Blobs that may be built upon, with their lengths in bytes.
    pub held: BTreeMap<BlobId, u64>,
    /// What each blob belongs to, without versions: where older versions are looked for.
    pub families: BTreeMap<BlobId, String>,
    /// Kind and name of the artifact that each blob belongs to, for people.
    pub names: BTreeMap<BlobId, String>,
    /// The place of each held blob among the artifacts: later ones are newer.
    pub order: BTreeMap<BlobId, usize>,
    /// Blobs of the basis that nothing may build on.
    pub damaged: Vec<BlobId>,
    pub by_kind: BTreeMap<Kind, KindSum>,
    pub totals: Totals,
    /// What is missing and accepted by name; a plan alone accepts nothing.
    pub accepted_gaps: Vec<String>,
    /// The Kubespray trees that the snapshot was resolved for.
    pub kubespray: Vec<KubesprayTree>,
}

/// Sums for one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct KindSum {
    /// Artifacts of the resulting snapshot.
    pub artifacts: u64,
    /// Artifacts with a blob that the basis lacks.
    pub artifacts_new: u64,
    /// Length of those blobs as upstream publishes them, in bytes.
    pub published_bytes_new: u64,
}

/// Plans the way from `basis` to `snapshot`.
pub fn plan(basis: &Basis, snapshot: &Snapshot) -> Plan {
    let held = basis.held();
    let mut planned: BTreeSet<BlobId> = BTreeSet::new();
    let mut new_blobs = vec![];
    let mut by_kind: BTreeMap<Kind, KindSum> = BTreeMap::new();
    for artifact in snapshot.artifacts() {
        let sum = by_kind.entry(artifact.kind()).or_default();
        sum.artifacts += 1;
        let lacking: Vec<_> =
            artifact.blobs.iter().filter(|b| !held.contains_key(&b.id)).copied().collect();
        sum.artifacts_new += u64::from(!lacking.is_empty());
        for blob in lacking {
            if planned.insert(blob.id) {
                sum.published_bytes_new += blob.len_bytes;
                new_blobs.push(blob);
            }
        }
    }
    let total = |of: fn(&KindSum) -> u64| by_kind.values().map(of).sum();
    let totals = Totals {
        artifacts: total(|s| s.artifacts),
        artifacts_new: total(|s| s.artifacts_new),
        published_bytes_new: total(|s| s.published_bytes_new),
        export_bytes: 0,
    };
    let difference = snapshot.difference_from(&basis.snapshot);
    Plan {
        basis: basis.id,
        basis_sequence: basis.sequence,
        snapshot: snapshot.id(),
        difference,
        new_blobs,
        held,
        families: families(basis.snapshot.artifacts().chain(snapshot.artifacts())),
        names: names(basis.snapshot.artifacts().chain(snapshot.artifacts())),
        order: order(&basis.snapshot),
        damaged: basis.damaged.clone(),
        by_kind,
        totals,
        accepted_gaps: vec![],
        kubespray: vec![],
    }
}

fn families<'a>(artifacts: impl Iterator<Item = &'a Artifact>) -> BTreeMap<BlobId, String> {
    let mut families = BTreeMap::new();
    for artifact in artifacts {
        let name = match &artifact.facts {
            Facts::File(facts) => without_versions(facts.path.as_str()),
            Facts::Image(facts) => facts.repository.to_string(),
            Facts::Deb(facts) => without_versions(&facts.package),
            Facts::Rpm(facts) => facts.package.clone(),
            Facts::YumDocument(facts) => format!("{} {}", facts.repository, facts.document),
            Facts::Pypi(facts) => facts.project.clone(),
            Facts::Chart(facts) => facts.chart.clone(),
        };
        for blob in &artifact.blobs {
            families.entry(blob.id).or_insert_with(|| format!("{} {name}", artifact.kind()));
        }
    }
    families
}

fn names<'a>(artifacts: impl Iterator<Item = &'a Artifact>) -> BTreeMap<BlobId, String> {
    let mut names = BTreeMap::new();
    for artifact in artifacts {
        let (kind, name) = artifact.key();
        for blob in &artifact.blobs {
            names.entry(blob.id).or_insert_with(|| format!("{kind} {name}"));
        }
    }
    names
}

fn order(snapshot: &Snapshot) -> BTreeMap<BlobId, usize> {
    let blobs = snapshot.artifacts().flat_map(|artifact| &artifact.blobs);
    blobs.enumerate().map(|(place, blob)| (blob.id, place)).collect()
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        Artifact, Facts,
        artifact::{Evidence, FileFacts, Method},
    };

    use super::*;

    fn blob(content: &str) -> BlobRef {
        BlobRef { id: BlobId::of(content.as_bytes()), len_bytes: content.len() as u64 }
    }

    fn file(name: &str, content: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            facts: Facts::File(FileFacts { path: name.parse().unwrap() }),
            blobs: vec![blob(content)],
            origin: String::new(),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    fn basis(files: &[(&str, &str)], damaged: &[&str]) -> Basis {
        let snapshot = Snapshot::of(files.iter().map(|(n, c)| file(n, c))).unwrap();
        let damaged = damaged.iter().map(|c| blob(c).id).collect();
        Basis { id: Some(snapshot.id()), sequence: Some(Sequence(1)), snapshot, damaged }
    }

    #[test]
    fn a_blob_that_is_held_or_already_planned_does_not_travel() {
        let wanted = [file("h/a", "old"), file("h/b", "fresh"), file("h/c", "fresh")];
        let plan = plan(&basis(&[("h/a", "old")], &[]), &Snapshot::of(wanted).unwrap());
        assert_eq!(plan.new_blobs, [blob("fresh")]);
        let sum = KindSum { artifacts: 3, artifacts_new: 2, published_bytes_new: 5 };
        assert_eq!(plan.by_kind, BTreeMap::from([(Kind::File, sum)]));
    }

    #[test]
    fn a_damaged_blob_travels_again_and_nothing_builds_on_it() {
        let files = [("h/a", "rotten"), ("h/b", "good")];
        let basis = basis(&files, &["rotten"]);
        let plan = plan(&basis, &basis.snapshot);
        assert_eq!(plan.new_blobs, [blob("rotten")]);
        assert_eq!(plan.held.into_keys().collect::<Vec<_>>(), [blob("good").id]);
    }

    #[test]
    fn no_change_plans_nothing() {
        let basis = basis(&[("h/a", "1")], &[]);
        let plan = plan(&basis, &basis.snapshot);
        assert_eq!((plan.new_blobs, plan.difference), (vec![], Difference::default()));
    }
}
