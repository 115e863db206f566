//! Snapshots: all artifacts that the inside shall hold at one sequence number.
//!
//! An entry keeps the bytes it was decoded from, so an agent that does not know a newer field
//! still stores, hashes and passes on exactly what was signed. `FORMAT.md`, section 3.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;

use crate::{Artifact, ArtifactId, BlobId, Facts, Kind, SnapshotId, cbor, limits};

/// Why bytes are no snapshot, or a difference does not fit one.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("artifact cannot be decoded")]
    Artifact(#[source] minicbor::decode::Error),
    #[error("snapshot cannot be decoded")]
    Snapshot(#[source] minicbor::decode::Error),
    #[error("artifact name has {0} bytes, more than {max}", max = limits::NAME_LEN_BYTES_MAX)]
    NameTooLong(usize),
    #[error("artifact {0} names no blob")]
    NoBlob(String),
    #[error("artifact {0} names a blob of {1} bytes, more than {max}", max = limits::BLOB_LEN_BYTES_MAX)]
    BlobTooLong(String, u64),
    #[error("{0} {1} stands twice")]
    Twice(Kind, String),
    #[error("the difference removes artifact {0}, which the basis lacks")]
    RemovesUnknown(ArtifactId),
    #[error("one blob is given two lengths: {0}")]
    TwoLengths(BlobId),
}

/// An artifact together with the bytes that were signed for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    artifact: Artifact,
    bytes: Vec<u8>,
}

impl Entry {
    /// Encodes an artifact of our own making.
    pub fn new(artifact: Artifact) -> Self {
        Self { bytes: cbor::encode(&artifact), artifact }
    }

    /// Decodes an entry and checks its bounds.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] names what is wrong with the artifact.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, SnapshotError> {
        let artifact: Artifact = cbor::decode(&bytes).map_err(SnapshotError::Artifact)?;
        if limits::NAME_LEN_BYTES_MAX < artifact.name.len() {
            return Err(SnapshotError::NameTooLong(artifact.name.len()));
        }
        if artifact.blobs.is_empty() {
            return Err(SnapshotError::NoBlob(artifact.name));
        }
        if let Some(blob) = artifact.blobs.iter().find(|b| limits::BLOB_LEN_BYTES_MAX < b.len_bytes)
        {
            return Err(SnapshotError::BlobTooLong(artifact.name, blob.len_bytes));
        }
        Ok(Self { artifact, bytes })
    }

    pub const fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The bytes as they were signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn id(&self) -> ArtifactId {
        ArtifactId::of(&self.bytes)
    }
}

/// All artifacts at one sequence number, sorted by kind and name, each name once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    entries: Vec<Entry>,
}

/// What turns one snapshot into another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    pub added: Vec<Entry>,
    pub removed: Vec<ArtifactId>,
}

impl Snapshot {
    /// Sorts `entries` and checks that no name stands twice.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Twice`], [`SnapshotError::TwoLengths`].
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, SnapshotError> {
        entries.sort_by(|a, b| a.artifact.key().cmp(&b.artifact.key()));
        if let Some(pair) = entries.windows(2).find(|p| p[0].artifact.key() == p[1].artifact.key())
        {
            let (kind, name) = pair[0].artifact.key();
            return Err(SnapshotError::Twice(kind, name.to_owned()));
        }
        let snapshot = Self { entries };
        snapshot.checked_blobs()?;
        Ok(snapshot)
    }

    /// Makes a snapshot of artifacts of our own.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::new`].
    pub fn of(artifacts: impl IntoIterator<Item = Artifact>) -> Result<Self, SnapshotError> {
        Self::new(artifacts.into_iter().map(Entry::new).collect())
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.entries.iter().map(Entry::artifact)
    }

    /// Every blob of the snapshot once, with its length in bytes.
    pub fn blobs(&self) -> BTreeMap<BlobId, u64> {
        self.artifacts().flat_map(|a| &a.blobs).map(|b| (b.id, b.len_bytes)).collect()
    }

    /// How many artifacts there are of each kind, also of the kinds there are none of. What only
    /// describes a repository (groups, modules, advisories, keys) is no package and is not counted.
    pub fn count_by_kind(&self) -> BTreeMap<Kind, u64> {
        let mut counts: BTreeMap<_, _> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        let describes = |artifact: &&Artifact| matches!(artifact.facts, Facts::YumDocument(_));
        for artifact in self.artifacts().filter(|artifact| !describes(artifact)) {
            *counts.entry(artifact.kind()).or_default() += 1;
        }
        counts
    }

    /// The name of this snapshot.
    pub fn id(&self) -> SnapshotId {
        SnapshotId::of(&self.encode())
    }

    /// An array of byte strings, one an entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = minicbor::Encoder::new(Vec::new());
        e.array(self.entries.len() as u64).expect("writing to a Vec does not fail");
        for entry in &self.entries {
            e.bytes(&entry.bytes).expect("writing to a Vec does not fail");
        }
        e.into_writer()
    }

    /// Decodes a stored snapshot.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]: the file is damaged; its name no longer equals its hash.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let entries: Vec<ByteVec> = cbor::decode(bytes).map_err(SnapshotError::Snapshot)?;
        Self::new(entries.into_iter().map(|b| Entry::decode(b.into())).collect::<Result<_, _>>()?)
    }

    /// What turns `basis` into this snapshot.
    pub fn difference_from(&self, basis: &Self) -> Difference {
        let held: BTreeMap<_, _> = basis.entries.iter().map(|e| (e.id(), ())).collect();
        let wanted: BTreeMap<_, _> = self.entries.iter().map(|e| (e.id(), e)).collect();
        Difference {
            added: self.entries.iter().filter(|e| !held.contains_key(&e.id())).cloned().collect(),
            removed: held.into_keys().filter(|id| !wanted.contains_key(id)).collect(),
        }
    }

    /// The snapshot that `difference` makes of this one.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]: the difference was made from another basis.
    pub fn changed_by(&self, difference: Difference) -> Result<Self, SnapshotError> {
        let mut kept: BTreeMap<_, _> = self.entries.iter().map(|e| (e.id(), e.clone())).collect();
        for id in &difference.removed {
            kept.remove(id).ok_or(SnapshotError::RemovesUnknown(*id))?;
        }
        Self::new(kept.into_values().chain(difference.added).collect())
    }

    fn checked_blobs(&self) -> Result<(), SnapshotError> {
        let mut lens = BTreeMap::new();
        for blob in self.artifacts().flat_map(|a| &a.blobs) {
            if *lens.entry(blob.id).or_insert(blob.len_bytes) != blob.len_bytes {
                return Err(SnapshotError::TwoLengths(blob.id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{BlobRef, Evidence, FileFacts, Method};

    fn file(name: &str, content: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            facts: Facts::File(FileFacts { path: name.parse().unwrap() }),
            blobs: vec![BlobRef {
                id: BlobId::of(content.as_bytes()),
                len_bytes: content.len() as u64,
            }],
            origin: format!("https://{name}"),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    fn snapshot(files: &[(&str, &str)]) -> Snapshot {
        Snapshot::of(files.iter().map(|(name, content)| file(name, content))).unwrap()
    }

    #[test]
    fn a_snapshot_has_one_name_whatever_order_its_artifacts_come_in() {
        let ab = snapshot(&[("h/a", "1"), ("h/b", "2")]);
        assert_eq!(ab.id(), snapshot(&[("h/b", "2"), ("h/a", "1")]).id());
        assert_ne!(ab.id(), snapshot(&[("h/a", "1")]).id());
        assert_eq!(Snapshot::decode(&ab.encode()).unwrap(), ab);
    }

    #[test]
    fn a_difference_turns_the_basis_into_the_snapshot() {
        let basis = snapshot(&[("h/gone", "1"), ("h/same", "2"), ("h/new", "3")]);
        let wanted = snapshot(&[("h/same", "2"), ("h/new", "4"), ("h/more", "5")]);
        let difference = wanted.difference_from(&basis);
        let added: Vec<_> = difference.added.iter().map(|e| e.artifact().name.as_str()).collect();
        assert_eq!((added, difference.removed.len()), (vec!["h/more", "h/new"], 2));
        assert_eq!(basis.changed_by(difference).unwrap(), wanted);
    }

    #[test]
    fn a_difference_does_not_fit_another_basis() {
        let difference = snapshot(&[]).difference_from(&snapshot(&[("h/a", "1")]));
        let failure = snapshot(&[("h/b", "1")]).changed_by(difference).unwrap_err();
        assert!(matches!(failure, SnapshotError::RemovesUnknown(_)), "{failure}");
    }

    #[test]
    fn a_name_stands_once_and_a_blob_has_one_length() {
        let twice = Snapshot::of([file("h/a", "1"), file("h/a", "2")]).unwrap_err();
        assert!(matches!(twice, SnapshotError::Twice(Kind::File, _)), "{twice}");
        let mut liar = file("h/b", "1");
        liar.blobs[0].len_bytes = 7;
        let lengths = Snapshot::of([file("h/a", "1"), liar]).unwrap_err();
        assert!(matches!(lengths, SnapshotError::TwoLengths(_)), "{lengths}");
    }

    #[test]
    fn fields_of_a_newer_agent_are_kept_though_not_understood() {
        let known = cbor::encode(&file("h/a", "1"));
        assert_eq!(known[0], 0xa6, "a map of six fields");
        let mut newer = known.clone();
        newer[0] = 0xa7;
        newer.extend([0x18, 99, 0x63, b'n', b'e', b'w']);
        let entry = Entry::decode(newer.clone()).unwrap();
        assert_eq!((entry.artifact(), entry.bytes()), (&file("h/a", "1"), &newer[..]));
        let snapshot = Snapshot::new(vec![entry]).unwrap();
        assert_eq!(Snapshot::decode(&snapshot.encode()).unwrap().id(), snapshot.id());
    }

    #[test]
    fn a_truncated_or_padded_snapshot_is_refused_at_every_length() {
        let bytes = snapshot(&[("h/a", "1"), ("h/b", "2")]).encode();
        for len in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..len]).is_err(), "{len} bytes were taken");
        }
        assert!(Snapshot::decode(&[&bytes[..], b"\0"].concat()).is_err());
    }
}
