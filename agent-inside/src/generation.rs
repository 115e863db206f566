//! Generations: applied snapshots, and the one document that says which of them is served.
//!
//! `state/current` is replaced by one rename. It holds the generation that is served and all
//! that is trusted, so a switch and its trust are one commit.

mod leave;

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError, at};
use gapferry_proto::{
    Digest, ExportId, FORMAT, KubesprayTree, Sequence, Snapshot, SnapshotId, limits,
    snapshot::SnapshotError,
};
use jiff::Timestamp;
pub use leave::{Hold, Leaving};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why the state cannot be read. A fault: restore the home from its backup.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{path} is damaged")]
    Json { path: Utf8PathBuf, source: serde_json::Error },
    #[error("{path} is damaged")]
    Snapshot { path: Utf8PathBuf, source: SnapshotError },
    #[error("{path} no longer hashes to its name")]
    OtherSnapshot { path: Utf8PathBuf },
    #[error("{path} has format {format}; it is of a newer agent, which is needed to read it")]
    Format { path: Utf8PathBuf, format: u32 },
    #[error("generation {0} is not kept; `gapferry-inside generations` lists those that are")]
    NoGeneration(Sequence),
    #[error("{path} is the document of generation {sequence}; restore it from the backup")]
    OtherGeneration { path: Utf8PathBuf, sequence: Sequence },
    #[error("the list of generation {0} is gone; restore the home from its backup")]
    ListGone(Sequence),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// What is served and what is trusted.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Current {
    pub format: u32,
    /// The generation that is served.
    pub generation: Sequence,
    /// The snapshot of that generation.
    pub snapshot: SnapshotId,
    /// Counts the switches, rollbacks included.
    pub activation: u64,
    /// When the heads of this activation were signed; each is later than the one before.
    pub activated: Timestamp,
    pub epoch: u64,
    /// The last sequence applied. A rollback does not change it.
    pub sequence: Sequence,
    /// The last export applied.
    pub export: ExportId,
    pub envelope_sha256: Digest,
    pub keyset_version: u64,
    pub keyset_sha256: Digest,
}

/// One applied snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Generation {
    pub sequence: Sequence,
    pub snapshot: SnapshotId,
    /// What the export built on: the outside knew that this site holds it.
    #[serde(default)]
    pub basis: Option<SnapshotId>,
    pub export: ExportId,
    pub applied: Timestamp,
    pub artifacts: u64,
    /// The Kubespray trees that the snapshot was resolved for, as the manifest names them.
    #[serde(default)]
    pub kubespray: Vec<KubesprayTree>,
}

/// The state below one home.
#[derive(Clone, Debug)]
pub struct State {
    root: Utf8PathBuf,
}

impl State {
    pub fn of(home: &Utf8Path) -> Self {
        Self { root: home.to_owned() }
    }

    /// The document that decides what is served.
    pub fn current_path(&self) -> Utf8PathBuf {
        self.root.join("state/current")
    }

    /// What is served; nothing before the first import.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn current(&self) -> Result<Option<Current>, StateError> {
        let path = self.current_path();
        match read_json::<Current>(&path)? {
            Some(current) if current.format != FORMAT => {
                Err(StateError::Format { path, format: current.format })
            }
            current => Ok(current),
        }
    }

    /// The switch: one rename.
    ///
    /// # Errors
    ///
    /// [`StateError::Durable`]: the old document is still there.
    pub fn switch(&self, current: &Current) -> Result<(), StateError> {
        write_json(&self.current_path(), current)
    }

    /// Every generation that was applied and is kept, newest first.
    ///
    /// One that is written but was never switched to, as after a kill, is none of them.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn generations(&self) -> Result<Vec<Generation>, StateError> {
        let mut generations = vec![];
        for sequence in self.sequences()?.into_iter().rev() {
            generations.extend(self.read_generation(sequence)?); // none: it leaves just now
        }
        Ok(generations)
    }

    /// The document of a generation, applied or not.
    fn read_generation(&self, sequence: Sequence) -> Result<Option<Generation>, StateError> {
        let path = self.generation_path(sequence);
        match read_json::<Generation>(&path)? {
            Some(Generation { sequence: other, .. }) if other != sequence => {
                Err(StateError::OtherGeneration { path, sequence: other })
            }
            generation => Ok(generation),
        }
    }

    /// The generation of `sequence`.
    ///
    /// # Errors
    ///
    /// [`StateError::NoGeneration`].
    pub fn generation(&self, sequence: Sequence) -> Result<Generation, StateError> {
        let applied = self.current()?.is_some_and(|current| sequence <= current.sequence);
        let read = self.read_generation(sequence)?;
        read.filter(|_| applied).ok_or(StateError::NoGeneration(sequence))
    }

    /// Keeps a generation; it is not served by this.
    ///
    /// # Errors
    ///
    /// [`StateError::Durable`].
    pub fn keep(&self, generation: &Generation, snapshot: &Snapshot) -> Result<(), StateError> {
        durable::write(&self.snapshot_path(generation.snapshot), &snapshot.encode())?;
        write_json(&self.generation_path(generation.sequence), generation)
    }

    /// Removes generations above what was applied: an import was killed before its switch.
    ///
    /// Were they left, the next import would lift the sequence above them and they would count
    /// as applied.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn drop_unapplied(&self) -> Result<(), StateError> {
        for sequence in self.unapplied_sequences()? {
            durable::remove(&self.generation_path(sequence))?;
        }
        Ok(())
    }

    /// A snapshot that is kept as a list, or none.
    ///
    /// # Errors
    ///
    /// [`StateError`]: the list is damaged.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, StateError> {
        let path = self.snapshot_path(id);
        let read = gapferry_common::limit::read_file(&path, limits::MANIFEST_LEN_BYTES_MAX);
        let bytes = match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(at("read", &path))?,
        };
        if SnapshotId::of(&bytes) != id {
            return Err(StateError::OtherSnapshot { path });
        }
        let decoded = Snapshot::decode(&bytes);
        decoded.map(Some).map_err(|source| StateError::Snapshot { path, source })
    }

    /// The list of a generation.
    ///
    /// # Errors
    ///
    /// [`StateError`]: it is gone or damaged.
    pub fn list(&self, generation: &Generation) -> Result<Snapshot, StateError> {
        let list = self.snapshot(generation.snapshot)?;
        list.ok_or(StateError::ListGone(generation.sequence))
    }

    /// Where the documents of a generation lie.
    pub fn documents(&self, sequence: Sequence) -> Utf8PathBuf {
        self.root.join(format!("trees/{:06}", sequence.0))
    }

    /// Where the signed heads of an activation lie.
    pub fn heads(&self, activation: u64) -> Utf8PathBuf {
        self.root.join(format!("heads/{activation:06}"))
    }

    fn generation_path(&self, sequence: Sequence) -> Utf8PathBuf {
        self.root.join(format!("generations/{:06}.json", sequence.0))
    }

    fn snapshot_path(&self, id: SnapshotId) -> Utf8PathBuf {
        self.root.join(format!("snapshots/{}.cbor", id.hex()))
    }
}

/// Reads a document of the state; none when it is not there.
///
/// # Errors
///
/// [`StateError::Json`], [`StateError::Durable`].
pub fn read_json<T: DeserializeOwned>(path: &Utf8Path) -> Result<Option<T>, StateError> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(at("read", path))?,
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| StateError::Json { path: path.to_owned(), source })
}

/// Writes a document of the state.
///
/// # Errors
///
/// [`StateError::Durable`]: the one before, if any, is still there.
pub fn write_json(path: &Utf8Path, value: &impl Serialize) -> Result<(), StateError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("state is plain JSON");
    bytes.push(b'\n');
    Ok(durable::write(path, &bytes)?)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The state after export `sequence` of epoch 1 was applied.
    pub fn current(sequence: u64) -> Current {
        let snapshot = SnapshotId::of(b"s");
        Current {
            format: 1,
            generation: Sequence(sequence),
            snapshot,
            activation: 1,
            activated: "2026-11-22T00:00:00Z".parse().unwrap(),
            epoch: 1,
            sequence: Sequence(sequence),
            export: ExportId::new(Sequence(sequence), &snapshot),
            envelope_sha256: Digest::of(b"envelope"),
            keyset_version: 1,
            keyset_sha256: Digest::of(b"keyset"),
        }
    }

    pub fn state() -> (tempfile::TempDir, State) {
        let temp = tempfile::tempdir().unwrap();
        let state = State::of(Utf8Path::from_path(temp.path()).unwrap());
        (temp, state)
    }

    /// Keeps generation `sequence`, which holds `snapshot`.
    pub fn kept(state: &State, sequence: u64, snapshot: &Snapshot) -> Generation {
        let sequence = Sequence(sequence);
        let generation = Generation {
            sequence,
            snapshot: snapshot.id(),
            basis: None,
            export: ExportId::new(sequence, &snapshot.id()),
            applied: "2026-11-22T00:00:00Z".parse().unwrap(),
            artifacts: snapshot.entries().len() as u64,
            kubespray: vec![],
        };
        state.keep(&generation, snapshot).unwrap();
        generation
    }

    #[test]
    fn nothing_is_served_before_the_first_switch() {
        let (_temp, state) = state();
        assert_eq!(state.current().unwrap(), None);
        state.switch(&current(3)).unwrap();
        assert_eq!(state.current().unwrap(), Some(current(3)));
    }

    #[test]
    fn generations_are_listed_newest_first_with_their_snapshots() {
        let (_temp, state) = state();
        let snapshot = Snapshot::default();
        for sequence in [2, 10, 1] {
            kept(&state, sequence, &snapshot);
        }
        assert_eq!(state.generations().unwrap(), [], "nothing was switched to yet");
        state.switch(&current(9)).unwrap();
        let sequences: Vec<_> = state.generations().unwrap().iter().map(|g| g.sequence.0).collect();
        assert_eq!(sequences, [2, 1], "10 was written and never switched to");
        state.drop_unapplied().unwrap();
        state.switch(&current(11)).unwrap();
        assert_eq!(state.generations().unwrap().len(), 2, "10 came back to life");
        assert_eq!(state.snapshot(snapshot.id()).unwrap(), Some(snapshot));
        assert_eq!(state.snapshot(SnapshotId::of(b"other")).unwrap(), None);
        assert!(matches!(state.generation(Sequence(7)), Err(StateError::NoGeneration(_))));
    }

    #[test]
    fn what_an_admin_put_beside_the_documents_is_no_generation() {
        let (_temp, state) = state();
        let kept = kept(&state, 5, &Snapshot::default());
        state.switch(&current(5)).unwrap();
        let [document, other] = [5, 4].map(|n| state.generation_path(Sequence(n)));
        for copy in ["000005.json.bak", "5.json", "+00005.json", "0000005.json", "notes.json"] {
            std::fs::copy(&document, document.with_file_name(copy)).unwrap();
        }
        assert_eq!(state.generations().unwrap(), [kept]);
        state.drop_unapplied().unwrap();
        std::fs::copy(&document, &other).unwrap();
        let refused = state.generations().unwrap_err();
        assert!(
            matches!(&refused, StateError::OtherGeneration { path, sequence: Sequence(5) } if *path == other),
            "{refused:?}"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_a_fault_and_not_an_empty_one() {
        let (_temp, state) = state();
        assert_eq!(state.generations().unwrap(), [], "there is none yet");
        state.switch(&current(5)).unwrap();
        std::fs::write(state.root.join("generations"), b"a file").unwrap();
        assert!(state.generations().is_err());
        assert!(state.sequences().is_err());
        assert!(state.unapplied().is_err());
        assert!(state.leaving().is_err());
        std::fs::remove_file(state.root.join("generations")).unwrap();
        std::os::unix::fs::symlink("nowhere", state.root.join("generations")).unwrap();
        assert!(state.generations().is_err());
        assert!(state.leaving().is_err());
    }

    #[test]
    fn a_damaged_document_is_a_fault_and_not_a_fresh_start() {
        let (_temp, state) = state();
        state.switch(&current(3)).unwrap();
        std::fs::write(state.current_path(), b"{").unwrap();
        assert!(matches!(state.current(), Err(StateError::Json { .. })));
    }
}
