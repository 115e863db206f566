//! The manifest: what an export changes and how every new blob is made. `FORMAT.md`, section 4.

use minicbor::{Decode, Encode, bytes::ByteVec};
use serde::{Deserialize, Serialize};

use crate::{
    ArtifactId, BlobRef, Digest, Entry, ExportId, Recipe, Sequence, SiteName, SnapshotId, cbor,
    limits,
    snapshot::{Difference, SnapshotError},
};

/// Why bytes are no manifest that this agent may follow.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest cannot be decoded")]
    Decode(#[source] minicbor::decode::Error),
    /// Made by a newer agent: update this one first.
    #[error("the manifest needs field {0}, which this agent does not know; update it")]
    CriticalField(u32),
    #[error("the manifest has {0} bytes, more than {max}", max = limits::MANIFEST_LEN_BYTES_MAX)]
    TooLong(u64),
    #[error(
        "the manifest names {0} Kubespray trees, more than {max}",
        max = limits::KUBESPRAY_TREES_MAX
    )]
    TooManyTrees(usize),
    #[error("the manifest names a Kubespray tree of version {0:?}")]
    Version(String),
    #[error("the manifest holds a bad artifact")]
    Artifact(#[from] SnapshotError),
}

/// The highest field number that this agent knows.
const FIELD_MAX: u32 = 13;

/// What stands in `manifest.age`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// Numbers of fields that a reader must know to apply the export rightly.
    #[n(0)]
    pub critical: Vec<u32>,
    #[n(1)]
    pub export: ExportId,
    #[n(2)]
    pub site: SiteName,
    #[n(3)]
    pub epoch: u64,
    #[n(4)]
    pub sequence: Sequence,
    /// The snapshot that the difference is from; none is the empty one.
    #[n(5)]
    pub basis: Option<SnapshotId>,
    /// The snapshot that the difference leads to.
    #[n(6)]
    pub snapshot: SnapshotId,
    #[n(7)]
    added: Vec<ByteVec>,
    #[n(8)]
    removed: Vec<ArtifactId>,
    /// One for each blob that the basis lacks, in the order in which they are made.
    #[n(9)]
    pub recipes: Vec<Recipe>,
    /// Every blob that a recipe takes bytes from, with its length.
    #[n(10)]
    pub bases: Vec<BlobRef>,
    /// What was missing outside and accepted by name.
    #[n(11)]
    pub accepted_gaps: Vec<String>,
    /// Hash of the list that people approved.
    #[n(12)]
    pub approval: Option<Digest>,
    /// The Kubespray trees that the resulting snapshot was resolved for, sorted.
    #[n(13)]
    #[cbor(default)]
    pub kubespray: Vec<KubesprayTree>,
}

/// A Kubespray tree that artifacts were resolved for.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize, Encode, Decode,
)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct KubesprayTree {
    /// As its `galaxy.yml` says, `2.30.0`.
    #[n(0)]
    pub version: String,
    /// SHA-256 over the files that a resolution can read. `FORMAT.md`, section 4.
    #[n(1)]
    pub tree: Digest,
}

impl KubesprayTree {
    /// Whether the version is one that people can be shown.
    fn is_plain(&self) -> bool {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".+-_~".contains(&b);
        let len = self.version.len();
        (1..=limits::KUBESPRAY_VERSION_LEN_BYTES_MAX).contains(&len)
            && self.version.bytes().all(is_plain)
    }
}

/// What a manifest says besides the difference.
#[derive(Clone, Debug)]
pub struct ManifestHead {
    pub export: ExportId,
    pub site: SiteName,
    pub epoch: u64,
    pub sequence: Sequence,
    pub basis: Option<SnapshotId>,
    pub snapshot: SnapshotId,
}

impl Manifest {
    /// Puts a manifest together.
    pub fn new(
        head: ManifestHead,
        difference: &Difference,
        recipes: Vec<Recipe>,
        bases: Vec<BlobRef>,
    ) -> Self {
        Self {
            critical: vec![],
            export: head.export,
            site: head.site,
            epoch: head.epoch,
            sequence: head.sequence,
            basis: head.basis,
            snapshot: head.snapshot,
            added: difference.added.iter().map(|e| e.bytes().to_vec().into()).collect(),
            removed: difference.removed.clone(),
            recipes,
            bases,
            accepted_gaps: vec![],
            approval: None,
            kubespray: vec![],
        }
    }

    /// Decodes a manifest, and says no to one that needs what this agent does not know.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]: the export is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let len = bytes.len() as u64;
        if limits::MANIFEST_LEN_BYTES_MAX < len {
            return Err(ManifestError::TooLong(len));
        }
        let manifest: Self = cbor::decode(bytes).map_err(ManifestError::Decode)?;
        if let Some(&field) = manifest.critical.iter().find(|&&field| FIELD_MAX < field) {
            return Err(ManifestError::CriticalField(field));
        }
        let trees = &manifest.kubespray;
        if limits::KUBESPRAY_TREES_MAX < trees.len() {
            return Err(ManifestError::TooManyTrees(trees.len()));
        }
        match trees.iter().find(|tree| !tree.is_plain()) {
            Some(tree) => Err(ManifestError::Version(tree.version.chars().take(80).collect())),
            None => Ok(manifest),
        }
    }

    /// The bytes of the manifest.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// The difference from the basis.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Artifact`]: an artifact breaks a bound.
    pub fn difference(&self) -> Result<Difference, ManifestError> {
        let added = self.added.iter().map(|bytes| Entry::decode(bytes.to_vec()));
        Ok(Difference { added: added.collect::<Result<_, _>>()?, removed: self.removed.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let snapshot = SnapshotId::of(b"new");
        let head = ManifestHead {
            export: ExportId::new(Sequence(2), &snapshot),
            site: "prod".parse().unwrap(),
            epoch: 1,
            sequence: Sequence(2),
            basis: Some(SnapshotId::of(b"old")),
            snapshot,
        };
        Manifest::new(head, &Difference::default(), vec![], vec![])
    }

    #[test]
    fn a_manifest_reads_back() {
        assert_eq!(Manifest::decode(&manifest().encode()).unwrap(), manifest());
    }

    #[test]
    fn kubespray_trees_are_few_and_their_versions_plain() {
        let named = |version: &str, count| {
            let tree = KubesprayTree { version: version.to_owned(), tree: Digest::of(b"tree") };
            Manifest { kubespray: vec![tree; count], ..manifest() }
        };
        let (trees_max, len_max) =
            (limits::KUBESPRAY_TREES_MAX, limits::KUBESPRAY_VERSION_LEN_BYTES_MAX);
        for (version, count) in [("2.31.0", trees_max), (&*"2".repeat(len_max), 1)] {
            let manifest = named(version, count);
            assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        }
        let decode = |manifest: Manifest| Manifest::decode(&manifest.encode()).unwrap_err();
        let many = decode(named("2.31.0", trees_max + 1));
        assert!(matches!(many, ManifestError::TooManyTrees(n) if n == trees_max + 1), "{many}");
        for version in ["", "2\u{1b}[2J", "2 0", &"2".repeat(len_max + 1)] {
            let odd = decode(named(version, 1));
            assert!(matches!(odd, ManifestError::Version(_)), "{version}: {odd}");
        }
    }

    #[test]
    fn a_manifest_of_an_agent_that_names_no_tree_is_read() {
        let mut bytes = manifest().encode();
        assert_eq!(&bytes[bytes.len() - 2..], [0x0d, 0x80], "field 13, an empty array");
        bytes.truncate(bytes.len() - 2);
        bytes[0] -= 1;
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
    }

    #[test]
    fn an_unknown_field_is_passed_over_unless_it_is_critical() {
        let mut bytes = manifest().encode();
        bytes[0] += 1; // one more pair in the map
        bytes.extend([0x18, 77, 0xf5]);
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());

        let mut critical = Manifest { critical: vec![7, 77], ..manifest() }.encode();
        critical[0] += 1;
        critical.extend([0x18, 77, 0xf5]);
        let refused = Manifest::decode(&critical).unwrap_err();
        assert!(matches!(refused, ManifestError::CriticalField(77)), "{refused}");
    }

    #[test]
    fn a_declared_length_without_bytes_reserves_nothing() {
        let vast = [0xa1, 0x07, 0x9b, 0, 0, 1, 0, 0, 0, 0, 0]; // field 7: an array of 2^40
        assert!(matches!(Manifest::decode(&vast), Err(ManifestError::Decode(_))));
    }
}
