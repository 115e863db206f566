//! The envelope: the plain, signed head of an export. `FORMAT.md`, section 2.

use serde::{Deserialize, Serialize};

use crate::{Digest, ExportId, Sequence, SiteName, SnapshotId, limits};

/// Why bytes are no envelope that this agent may follow.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the envelope has {0} bytes, more than {max}", max = limits::ENVELOPE_LEN_BYTES_MAX)]
    TooLong(u64),
    #[error("the envelope cannot be read")]
    Json(#[source] serde_json::Error),
    #[error("the export has format {0}; update this agent")]
    Format(u32),
    #[error("the export needs {0:?}, which this agent does not know; update it")]
    Critical(String),
    #[error("the export needs agent {0} or later; update this one")]
    Agent(String),
    #[error("the envelope is inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// The envelope as JSON. Unknown fields are passed over unless `critical` names them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Envelope {
    pub format: u32,
    pub export: ExportId,
    pub site: SiteName,
    pub epoch: u64,
    pub sequence: Sequence,
    pub keyset_version: u64,
    pub keyset_sha256: Digest,
    /// The snapshot the export builds on; null builds on nothing.
    pub basis: Option<SnapshotId>,
    /// The snapshot the export leads to.
    pub snapshot: SnapshotId,
    pub manifest: FileRef,
    pub volumes: Vec<Volume>,
    pub totals: Totals,
    /// The oldest agent that can apply the export.
    pub minimum_agent: String,
    /// RFC 3339. Dates the heads of repositories inside; nothing else is decided by it.
    pub created: String,
    /// Names of fields that a reader must know.
    #[serde(default)]
    pub critical: Vec<String>,
}

/// Length and digest of a file of the export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct FileRef {
    pub bytes: u64,
    pub sha256: Digest,
}

/// What goes onto one medium.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Volume {
    /// From 1.
    pub index: u32,
    pub packs: Vec<PackRef>,
}

/// One pack; its number counts through all volumes, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct PackRef {
    pub index: u32,
    #[serde(flatten)]
    pub file: FileRef,
}

/// Sums for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub struct Totals {
    /// Artifacts of the resulting snapshot.
    pub artifacts: u64,
    /// Artifacts that the basis lacks.
    pub artifacts_new: u64,
    /// Their length as upstream publishes them, in bytes.
    pub published_bytes_new: u64,
    /// All packs and the manifest, in bytes.
    pub export_bytes: u64,
}

impl Envelope {
    /// Reads an envelope; nothing is trusted yet.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`]: the export is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let len = bytes.len() as u64;
        if limits::ENVELOPE_LEN_BYTES_MAX < len {
            return Err(EnvelopeError::TooLong(len));
        }
        let head: Head = serde_json::from_slice(bytes).map_err(EnvelopeError::Json)?;
        if head.format != crate::FORMAT {
            return Err(EnvelopeError::Format(head.format));
        }
        if let Some(field) = head.critical.into_iter().find(|f| !KNOWN.contains(&f.as_str())) {
            return Err(EnvelopeError::Critical(field));
        }
        let envelope: Self = serde_json::from_slice(bytes).map_err(EnvelopeError::Json)?;
        envelope.check()?;
        Ok(envelope)
    }

    /// The bytes to sign and store.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("an envelope is plain JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Every pack with the number of its volume.
    pub fn packs(&self) -> impl Iterator<Item = (u32, &PackRef)> {
        self.volumes.iter().flat_map(|v| v.packs.iter().map(move |p| (v.index, p)))
    }

    /// Refuses an envelope that needs a later agent than `version`.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Agent`].
    pub fn check_agent(&self, version: &str) -> Result<(), EnvelopeError> {
        match (release(&self.minimum_agent), release(version)) {
            (Some(needed), Some(ours)) if needed <= ours => Ok(()),
            _ => Err(EnvelopeError::Agent(self.minimum_agent.clone())),
        }
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        let wrong = |what| Err(EnvelopeError::Inconsistent(what));
        if self.sequence.0 == 0 {
            return wrong("its sequence is zero");
        }
        if self.export != ExportId::new(self.sequence, &self.snapshot) {
            return wrong("its id does not follow from its sequence and snapshot");
        }
        if self.volumes.iter().zip(1..).any(|(volume, index)| volume.index != index) {
            return wrong("its volumes are not numbered from 1");
        }
        if self.packs().zip(1..).any(|((_, pack), index)| pack.index != index) {
            return wrong("its packs are not numbered from 1");
        }
        if limits::MANIFEST_SEALED_LEN_BYTES_MAX < self.manifest.bytes {
            return wrong("its manifest is too long");
        }
        if self.packs().any(|(_, pack)| limits::PACK_LEN_BYTES_MAX < pack.file.bytes) {
            return wrong("a pack is too long");
        }
        Ok(())
    }
}

/// Fields of an envelope that `critical` may name.
const KNOWN: [&str; 15] = [
    "format",
    "export",
    "site",
    "epoch",
    "sequence",
    "keyset_version",
    "keyset_sha256",
    "basis",
    "snapshot",
    "manifest",
    "volumes",
    "totals",
    "minimum_agent",
    "created",
    "critical",
];

/// What is read first, so that a newer format is refused as such and not as bad JSON.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    critical: Vec<String>,
}

/// `1.2.3` of `1.2.3-dev`.
fn release(version: &str) -> Option<[u32; 3]> {
    let numbers = version.split('-').next()?.split('.').map(str::parse);
    numbers.collect::<Result<Vec<u32>, _>>().ok()?.try_into().ok()
}

/// The name of pack `index` below its volume's folder.
pub fn pack_path(volume: u32, index: u32) -> String {
    format!("volume-{volume:03}/pack-{index:06}.age")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        let snapshot = SnapshotId::of(b"new");
        let file = FileRef { bytes: 5, sha256: Digest::of(b"p") };
        Envelope {
            format: 1,
            export: ExportId::new(Sequence(3), &snapshot),
            site: "prod".parse().unwrap(),
            epoch: 1,
            sequence: Sequence(3),
            keyset_version: 1,
            keyset_sha256: Digest::of(b"k"),
            basis: None,
            snapshot,
            manifest: file,
            volumes: vec![Volume { index: 1, packs: vec![PackRef { index: 1, file }] }],
            totals: Totals::default(),
            minimum_agent: "0.1.0".to_owned(),
            created: "2026-11-22T00:00:00Z".to_owned(),
            critical: vec![],
        }
    }

    #[test]
    fn an_envelope_reads_back() {
        assert_eq!(Envelope::parse(&envelope().encode()).unwrap(), envelope());
    }

    #[test]
    fn an_unknown_field_is_passed_over_unless_it_is_critical() {
        let mut value = serde_json::to_value(envelope()).unwrap();
        value["parity"] = serde_json::json!([1]);
        assert_eq!(Envelope::parse(value.to_string().as_bytes()).unwrap(), envelope());
        value["critical"] = serde_json::json!(["basis", "parity"]);
        let refused = Envelope::parse(value.to_string().as_bytes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            r#"the export needs "parity", which this agent does not know; update it"#
        );
    }

    #[test]
    fn a_newer_format_is_named_even_when_the_rest_is_strange() {
        let refused = Envelope::parse(br#"{"format": 2, "cargo": 1}"#).unwrap_err();
        assert!(matches!(refused, EnvelopeError::Format(2)), "{refused}");
    }

    #[test]
    fn a_later_agent_is_demanded_by_number() {
        let needs = |v: &str| Envelope { minimum_agent: v.to_owned(), ..envelope() };
        assert!(needs("0.1.0").check_agent("0.1.0-dev").is_ok());
        assert!(needs("0.9.0").check_agent("0.10.0").is_ok());
        assert!(needs("0.2.0").check_agent("0.1.9").is_err());
        assert!(needs("what").check_agent("0.1.9").is_err());
    }

    #[test]
    fn an_inconsistent_envelope_is_refused() {
        let mut zero = envelope();
        zero.sequence = Sequence(0);
        let mut renamed = envelope();
        renamed.sequence = Sequence(4);
        let mut gap = envelope();
        gap.volumes[0].packs[0].index = 2;
        let mut long = envelope();
        long.volumes[0].packs[0].file.bytes = limits::PACK_LEN_BYTES_MAX + 1;
        let mut endless = envelope();
        endless.manifest.bytes = u64::MAX;
        for bad in [zero, renamed, gap, long, endless] {
            let refused = Envelope::parse(&bad.encode()).unwrap_err();
            assert!(matches!(refused, EnvelopeError::Inconsistent(_)), "{refused}");
        }
    }
}
