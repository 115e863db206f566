//! Looks whether the bytes of everything are at hand: here, or inside already.
//!
//! In:   the snapshot, the store, what the inside holds.
//! Out:  the artifacts of which blobs are nowhere. One look at the disk a blob.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_common::store::Store;
use gapferry_proto::{Artifact, BlobId, BlobRef, Snapshot, snapshot::SnapshotError};

use super::{Ground, Missing, Report};

/// Checks every blob of the snapshot. No bytes are read; `scrub` does that.
pub fn check(ground: &Ground<'_>, report: &mut Report) {
    for artifact in ground.held.artifacts() {
        let Some(blob) = lacking(artifact, &ground.inside, ground.store) else { continue };
        let wanted = artifact.wanted.first().map_or("a lock", String::as_str);
        let reason = format!("{} is neither in the store nor inside", blob.id);
        let missing = Missing::new(artifact.kind(), &*artifact.name, wanted, reason);
        report.missing.push(Missing { in_waybill: true, ..missing });
    }
}

/// The snapshot without the artifacts that are accepted as missing and whose bytes are nowhere:
/// nothing could make them inside.
///
/// # Errors
///
/// None: a part of a snapshot is one.
pub fn without(
    snapshot: &Snapshot,
    gaps: &BTreeSet<String>,
    inside: &BTreeMap<BlobId, u64>,
    store: &Store,
) -> Result<Snapshot, SnapshotError> {
    let is_gap = |artifact: &Artifact| {
        gaps.contains(&format!("{} {}", artifact.kind(), artifact.name))
            && lacking(artifact, inside, store).is_some()
    };
    let kept = snapshot.entries().iter().filter(|entry| !is_gap(entry.artifact()));
    Snapshot::new(kept.cloned().collect())
}

/// The first blob of an artifact that is neither here nor inside.
fn lacking<'a>(
    artifact: &'a Artifact,
    inside: &BTreeMap<BlobId, u64>,
    store: &Store,
) -> Option<&'a BlobRef> {
    artifact.blobs.iter().find(|blob| !inside.contains_key(&blob.id) && !store.holds(blob))
}
