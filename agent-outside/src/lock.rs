//! The lock: a waybill resolved to digests.
//!
//! In:   what the sources found for a waybill.
//! Out:  `waybill.lock` beside the waybill, and the numbered locks of the home; the newest of
//!       those is in force. A sync that fails leaves it in force.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError};
use gapferry_proto::{Artifact, Digest, FORMAT, KubesprayTree, SiteName};
use serde::{Deserialize, Serialize};

use crate::inputs::{self, Inputs};

/// Why a lock is not taken. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    #[error("cannot read {path}; run `gapferry-outside resolve` first")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    #[error("{path} is not understood; run `gapferry-outside resolve` to make it again")]
    Json { path: Utf8PathBuf, source: serde_json::Error },
    #[error("{path} has format {format}; update this agent")]
    Format { path: Utf8PathBuf, format: u32 },
    #[error("{0} was made from another version of the waybill; run without --locked")]
    Stale(Utf8PathBuf),
    #[error("{0} does not say from which files it was made; run without --locked")]
    NoInputs(Utf8PathBuf),
    #[error(
        "{path} was made from other files; put them back, or run without --locked: {}",
        changes.join(", ")
    )]
    Inputs { path: Utf8PathBuf, changes: Vec<String> },
}

/// A resolved waybill.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub format: u32,
    pub waybill: SiteName,
    /// SHA-256 of the waybill's text.
    pub waybill_sha256: Digest,
    /// Which sites it is for; empty is all of them.
    pub sites: Vec<SiteName>,
    /// How many earlier locks stay part of the snapshot.
    pub keep: u32,
    /// Digests of the files that the waybill names. None in locks of earlier agents, which are
    /// made again before `--locked` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// The Kubespray trees that the artifacts are for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubespray: Vec<KubesprayTree>,
    /// Sorted by kind and name, each once.
    pub artifacts: Vec<Artifact>,
    /// What every system of a target has, so that nothing of it is carried: the relations between
    /// packages that only this meets. None in locks of earlier agents, which did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<Vec<String>>,
}

impl Lock {
    /// Puts a lock together; of two artifacts with one name the later line only adds its reasons,
    /// and a digest where the earlier one has none.
    pub fn new(waybill: &crate::waybill::Waybill, text: &str, found: Vec<Artifact>) -> Self {
        let mut artifacts: Vec<Artifact> = vec![];
        let mut found = found;
        found.sort_by(|a, b| a.key().cmp(&b.key()));
        for artifact in found {
            match artifacts.last_mut() {
                Some(last) if last.key() == artifact.key() => {
                    last.wanted.extend(artifact.wanted);
                    if last.evidence.digest.is_none() && artifact.evidence.digest.is_some() {
                        last.evidence = artifact.evidence;
                    }
                }
                _ => artifacts.push(artifact),
            }
        }
        for artifact in &mut artifacts {
            artifact.wanted.sort();
            artifact.wanted.dedup();
        }
        Self {
            format: FORMAT,
            waybill: waybill.metadata.name.clone(),
            waybill_sha256: Digest::of(text.as_bytes()),
            sites: waybill.spec.sites.clone(),
            keep: waybill.spec.keep,
            inputs: None,
            kubespray: vec![],
            artifacts,
            assumed: None,
        }
    }

    /// Reads a lock.
    ///
    /// # Errors
    ///
    /// [`LockFileError`].
    pub fn read(path: &Utf8Path) -> Result<Self, LockFileError> {
        let bytes = std::fs::read(path)
            .map_err(|source| LockFileError::Read { path: path.to_owned(), source })?;
        let lock: Self = serde_json::from_slice(&bytes)
            .map_err(|source| LockFileError::Json { path: path.to_owned(), source })?;
        if lock.format != FORMAT {
            return Err(LockFileError::Format { path: path.to_owned(), format: lock.format });
        }
        Ok(lock)
    }

    /// Checks that the lock at `path` was made from this text of the waybill and from the files
    /// `now`.
    ///
    /// # Errors
    ///
    /// [`LockFileError::Stale`], [`LockFileError::NoInputs`], [`LockFileError::Inputs`].
    pub fn check(&self, path: &Utf8Path, text: &str, now: &Inputs) -> Result<(), LockFileError> {
        if self.waybill_sha256 != Digest::of(text.as_bytes()) {
            return Err(LockFileError::Stale(path.to_owned()));
        }
        let then = self.inputs.as_ref().ok_or_else(|| LockFileError::NoInputs(path.to_owned()))?;
        let changes = inputs::changes(then, now);
        if changes.is_empty() {
            return Ok(());
        }
        Err(LockFileError::Inputs { path: path.to_owned(), changes })
    }

    /// Whether both lead to the same bytes under the same names.
    fn carries_as(&self, other: &Self) -> bool {
        let carried = |lock: &Self| -> Vec<_> {
            let named = lock.artifacts.iter();
            named.map(|a| (a.kind(), a.name.clone(), a.blobs.clone())).collect()
        };
        carried(self) == carried(other)
    }

    /// The lock as a file that diffs line by line.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a lock is plain JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// Puts `lock` in force in `folder`, unless the newest lock there says the same. One that carries
/// the same for other reasons takes the newest's place, so that it drives no earlier one out.
///
/// # Errors
///
/// [`DurableError`]: the old lock stays in force.
pub fn put_in_force(folder: &Utf8Path, lock: &Lock) -> Result<(), DurableError> {
    let numbered = numbered(folder);
    let newest = numbered.last().and_then(|(_, path)| Lock::read(path).ok());
    if newest.as_ref() == Some(lock) {
        return Ok(());
    }
    let is_renewed = newest.is_some_and(|newest| newest.carries_as(lock));
    let number = numbered.last().map_or(1, |(number, _)| number + u64::from(!is_renewed));
    durable::write(&folder.join(format!("{number:06}.lock")), &lock.encode())
}

/// The lock in force and the earlier ones that it keeps, newest first.
///
/// # Errors
///
/// [`LockFileError`].
pub fn in_force(folder: &Utf8Path) -> Result<Vec<Lock>, LockFileError> {
    let numbered = numbered(folder);
    let mut paths = numbered.iter().rev().map(|(_, path)| path);
    let Some(newest) = paths.next().map(|path| Lock::read(path)).transpose()? else {
        return Ok(vec![]);
    };
    let earlier = paths.take(newest.keep as usize).map(|path| Lock::read(path));
    let earlier = earlier.collect::<Result<Vec<_>, _>>()?;
    Ok(std::iter::once(newest).chain(earlier).collect())
}

/// Remembers where the waybill of `folder` lies, so that it can be checked again.
///
/// # Errors
///
/// [`DurableError`].
pub fn remember_place(folder: &Utf8Path, waybill: &Utf8Path) -> Result<(), DurableError> {
    let absolute = camino::absolute_utf8(waybill).unwrap_or_else(|_| waybill.to_owned());
    if place(folder).as_deref() == Some(&absolute) {
        return Ok(());
    }
    durable::write(&folder.join(PLACE), absolute.as_str().as_bytes())
}

/// Where the waybill lay that the lock in force was made from.
pub fn place(folder: &Utf8Path) -> Option<Utf8PathBuf> {
    std::fs::read_to_string(folder.join(PLACE)).ok().map(Utf8PathBuf::from)
}

/// The file beside the locks that says where their waybill lies.
const PLACE: &str = "waybill.path";

fn numbered(folder: &Utf8Path) -> Vec<(u64, Utf8PathBuf)> {
    let Ok(entries) = folder.read_dir_utf8() else { return vec![] };
    let number = |name: &str| name.strip_suffix(".lock")?.parse().ok();
    let mut locks: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((number(entry.file_name())?, entry.path().to_owned())))
        .collect();
    locks.sort();
    locks
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        BlobId, BlobRef, Facts,
        artifact::{Evidence, FileFacts, Method},
    };

    use super::*;

    fn lock(sha: &str, keep: u32) -> Lock {
        Lock {
            format: 1,
            waybill: "prod".parse().unwrap(),
            waybill_sha256: Digest::of(sha.as_bytes()),
            sites: vec![],
            keep,
            inputs: None,
            kubespray: vec![],
            artifacts: vec![file(sha)],
            assumed: None,
        }
    }

    fn file(content: &str) -> Artifact {
        Artifact {
            name: "h/a".to_owned(),
            facts: Facts::File(FileFacts { path: "h/a".parse().unwrap() }),
            blobs: vec![BlobRef { id: BlobId::of(content.as_bytes()), len_bytes: 1 }],
            origin: String::new(),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    #[test]
    fn a_lock_that_carries_the_same_drives_no_earlier_one_out() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temp.path()).unwrap();
        let inputs = |text: &str| Some([("a".to_owned(), Digest::of(text.as_bytes()))].into());
        let renewed = Lock { inputs: inputs("2"), ..lock("2", 1) };
        for lock in [lock("1", 1), lock("2", 1), renewed.clone()] {
            put_in_force(folder, &lock).unwrap();
        }
        assert_eq!(in_force(folder).unwrap(), [renewed, lock("1", 1)]);
    }

    #[test]
    fn a_lock_made_from_other_files_or_by_an_older_agent_is_not_taken() {
        let path = Utf8Path::new("w.lock");
        let inputs = |text: &str| Inputs::from([("a".to_owned(), Digest::of(text.as_bytes()))]);
        let made = Lock { inputs: Some(inputs("1")), ..lock("text", 1) };
        let check = |lock: &Lock, text: &str, now: &Inputs| {
            lock.check(path, text, now).err().map(|error| error.to_string())
        };
        assert_eq!(check(&made, "text", &inputs("1")), None);
        let other = "w.lock was made from other files; put them back, or run without --locked: \
            a (changed)";
        assert_eq!(check(&made, "text", &inputs("2")).as_deref(), Some(other));
        assert!(check(&made, "text", &Inputs::new()).unwrap().contains("a (gone"));
        assert!(check(&made, "texts", &inputs("1")).unwrap().contains("another version"));
        let old = serde_json::to_value(lock("text", 1)).unwrap();
        assert!(old.get("inputs").is_none());
        let old: Lock = serde_json::from_value(old).unwrap();
        assert!(check(&old, "text", &inputs("1")).unwrap().contains("does not say"));
    }

    #[test]
    fn the_newest_lock_is_in_force_with_as_many_earlier_ones_as_it_keeps() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temp.path()).unwrap();
        assert_eq!(in_force(folder).unwrap(), []);
        for (sha, keep) in [("1", 1), ("2", 1), ("2", 1), ("3", 1)] {
            put_in_force(folder, &lock(sha, keep)).unwrap();
        }
        assert_eq!(in_force(folder).unwrap(), [lock("3", 1), lock("2", 1)]);
        put_in_force(folder, &lock("4", 0)).unwrap();
        assert_eq!(in_force(folder).unwrap(), [lock("4", 0)]);
    }

    #[test]
    fn a_lock_of_another_format_or_with_unknown_keys_is_not_taken() {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(temp.path()).unwrap().join("x.lock");
        std::fs::write(&path, Lock { format: 9, ..lock("1", 1) }.encode()).unwrap();
        assert!(matches!(Lock::read(&path), Err(LockFileError::Format { format: 9, .. })));
        std::fs::write(&path, b"{\"format\": 1, \"strange\": 2}").unwrap();
        assert!(matches!(Lock::read(&path), Err(LockFileError::Json { .. })));
    }
}
