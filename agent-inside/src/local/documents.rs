//! What is written of the local space, and where it lies below `state/local`.
//!
//! ```text
//! <repository>/_tags/<tag>.json
//! <repository>/_manifests/<64 hex digits>.json    lists the blobs that the manifest needs
//! <repository>/_blobs/<64 hex digits>.json
//! _aliases/<128 hex digits>.json                  from a SHA-512 to the blob of the store
//! ```
//!
//! No part of a repository's name begins with an underscore, so none of these is one. Each
//! document is small, primary and written by the durable write; the blobs lie in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError, at};
use gapferry_common::hashing::Sha512;
use gapferry_common::limit;
use gapferry_proto::{BlobId, BlobRef, FORMAT, limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Files beside the folders of the repositories: one server alone, and the door of a sweep.
pub const LOCKS: [&str; 2] = ["lock", "sweep.lock"];

/// A blob that a repository holds.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct BlobDocument {
    pub format: u32,
    pub len_bytes: u64,
    /// Who pushed it.
    pub by: String,
}

/// A manifest that a repository holds.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct ManifestDocument {
    pub format: u32,
    /// The digest by which it was pushed: of SHA-256 or of SHA-512.
    pub digest: String,
    pub media_type: String,
    pub len_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The blobs and manifests that it leads to and that were held when it came.
    pub needs: Vec<BlobRef>,
    pub by: String,
}

/// What a tag leads to.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct TagDocument {
    pub format: u32,
    pub manifest: BlobId,
    /// The digest by which the manifest was pushed.
    pub digest: String,
    pub by: String,
}

/// The blob that has a SHA-512.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct AliasDocument {
    pub format: u32,
    pub sha256: BlobId,
}

/// What one repository holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Repository {
    pub tags: BTreeMap<String, TagDocument>,
    pub manifests: BTreeMap<BlobId, ManifestDocument>,
    pub blobs: BTreeMap<BlobId, BlobDocument>,
}

impl Repository {
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.manifests.is_empty() && self.blobs.is_empty()
    }
}

/// All that was found below `state/local`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    pub repositories: BTreeMap<String, Repository>,
    pub aliases: BTreeMap<Sha512, BlobId>,
    /// Documents that cannot be read.
    pub damaged: Vec<Utf8PathBuf>,
}

/// Where documents lie.
#[derive(Clone, Debug)]
pub struct Places(Utf8PathBuf);

impl Places {
    /// `root` is `state/local` of a home.
    pub const fn below(root: Utf8PathBuf) -> Self {
        Self(root)
    }

    pub fn tag(&self, repository: &str, tag: &str) -> Utf8PathBuf {
        self.0.join(repository).join("_tags").join(format!("{tag}.json"))
    }

    pub fn manifest(&self, repository: &str, id: BlobId) -> Utf8PathBuf {
        self.0.join(repository).join("_manifests").join(format!("{}.json", id.hex()))
    }

    pub fn blob(&self, repository: &str, id: BlobId) -> Utf8PathBuf {
        self.0.join(repository).join("_blobs").join(format!("{}.json", id.hex()))
    }

    pub fn alias(&self, sha512: &Sha512) -> Utf8PathBuf {
        self.0.join("_aliases").join(format!("{}.json", sha512.hex()))
    }

    /// Reads all documents. One that cannot be read is named and keeps no other away.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: a folder cannot be listed.
    pub fn read(&self) -> Result<Found, DurableError> {
        let mut found = Found::default();
        let mut open = vec![(self.0.clone(), String::new())];
        while let Some((folder, repository)) = open.pop() {
            for name in names(&folder)? {
                let path = folder.join(&name);
                if repository.is_empty() && LOCKS.contains(&name.as_str()) && path.is_file() {
                    continue;
                }
                let is_folder = match fs::metadata(&path) {
                    Ok(meta) => meta.is_dir(),
                    Err(_) if is_gone(&path) => continue,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => false, // a link to nothing
                    Err(e) => return Err(at("look at", &path)(e)),
                };
                if !is_folder {
                    found.damaged.push(path);
                } else if name.starts_with('_') {
                    found.read_folder(&path, &name, &repository)?;
                } else if repository.is_empty() {
                    open.push((path, name));
                } else {
                    open.push((path, format!("{repository}/{name}")));
                }
            }
        }
        Ok(found)
    }
}

impl Found {
    fn read_folder(
        &mut self,
        folder: &Utf8Path,
        kind: &str,
        repository: &str,
    ) -> Result<(), DurableError> {
        for name in names(folder)? {
            let path = folder.join(&name);
            let stem = name.strip_suffix(".json").unwrap_or_default();
            let read = match kind {
                "_aliases" => self.add_alias(&path, stem),
                _ => self.add(&path, kind, repository, stem),
            };
            if read.is_none() && !is_gone(&path) {
                self.damaged.push(path);
            }
        }
        Ok(())
    }

    fn add_alias(&mut self, path: &Utf8Path, stem: &str) -> Option<()> {
        let sha512 = format!("sha512:{stem}").parse().ok()?;
        self.aliases.insert(sha512, read::<AliasDocument>(path)?.sha256);
        Some(())
    }

    fn add(&mut self, path: &Utf8Path, kind: &str, repository: &str, stem: &str) -> Option<()> {
        let id = || format!("sha256:{stem}").parse::<BlobId>().ok();
        match kind {
            "_tags" => {
                let document = read(path)?;
                self.held(repository).tags.insert(stem.to_owned(), document);
            }
            "_manifests" => {
                let (id, document) = (id()?, read(path)?);
                self.held(repository).manifests.insert(id, document);
            }
            "_blobs" => {
                let (id, document) = (id()?, read(path)?);
                self.held(repository).blobs.insert(id, document);
            }
            _ => return None,
        }
        Some(())
    }

    fn held(&mut self, repository: &str) -> &mut Repository {
        self.repositories.entry(repository.to_owned()).or_default()
    }

    /// Every blob that must stay in the store for what was pushed.
    pub fn roots(&self) -> BTreeSet<BlobId> {
        let repositories = self.repositories.values();
        let ids = repositories.flat_map(|repository| {
            let needs = repository.manifests.values().flat_map(|manifest| &manifest.needs);
            let manifests = repository.manifests.keys().copied();
            let named = manifests.chain(needs.map(|need| need.id));
            named.chain(repository.blobs.keys().copied()).collect::<Vec<_>>()
        });
        ids.collect()
    }
}

/// Writes a document.
///
/// # Errors
///
/// [`DurableError`]: the one before, if any, is still there.
pub fn write(path: &Utf8Path, document: &impl Serialize) -> Result<(), DurableError> {
    let mut bytes = serde_json::to_vec(document).expect("documents are plain JSON");
    bytes.push(b'\n');
    durable::write(path, &bytes)
}

/// Removes a document, durably.
///
/// # Errors
///
/// [`DurableError`].
pub fn remove(path: &Utf8Path) -> Result<(), DurableError> {
    durable::remove(path)?;
    match durable::folder_of(path) {
        folder if folder.is_dir() => durable::sync_folder(folder),
        _ => Ok(()),
    }
}

/// Whether a document lies there as it is in memory: somebody may have removed or damaged it.
pub fn stands<T: DeserializeOwned + Format + PartialEq>(path: &Utf8Path, document: &T) -> bool {
    read::<T>(path).as_ref() == Some(document)
}

/// Whether nothing has that name; a link to nothing has it.
fn is_gone(path: &Utf8Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// Bounded by what a manifest of the greatest length can need.
fn read<T: DeserializeOwned + Format>(path: &Utf8Path) -> Option<T> {
    let bytes = limit::read_file(path, 4 * limits::OCI_MANIFEST_LEN_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|document: &T| document.format() == FORMAT)
}

/// What every document begins with.
pub trait Format {
    fn format(&self) -> u32;
}

macro_rules! has_format {
    ($($document:ty),*) => {
        $(impl Format for $document {
            fn format(&self) -> u32 {
                self.format
            }
        })*
    };
}

has_format!(BlobDocument, ManifestDocument, TagDocument, AliasDocument);

/// The names in a folder, without those of temporary files; none when there is no folder. One that
/// is there and cannot be listed is an error: what it names would count as never pushed.
fn names(folder: &Utf8Path) -> Result<Vec<String>, DurableError> {
    if is_gone(folder) { Ok(vec![]) } else { durable::names_in(folder) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temp.path()).unwrap().join("local");
        (temp, Places::below(root))
    }

    #[test]
    fn the_locks_are_passed_over_and_whatever_else_is_no_folder_is_damaged() {
        let (_temp, places) = places();
        let root = places.0.clone();
        assert_eq!(places.read().unwrap(), Found::default(), "nothing was ever pushed");
        fs::create_dir_all(root.join("apps/x")).unwrap();
        for lock in LOCKS {
            fs::write(root.join(lock), b"").unwrap();
        }
        assert_eq!(places.read().unwrap(), Found::default());
        let mut damaged =
            ["apps/lock", "apps/x/_blobs", "stray"].map(|name| root.join(name)).to_vec();
        damaged.iter().for_each(|path| fs::write(path, b"").unwrap());
        damaged.push(root.join("apps/unmounted"));
        symlink("nowhere", &damaged[3]).unwrap();
        let mut found = places.read().unwrap();
        found.damaged.sort();
        damaged.sort();
        assert_eq!(found, Found { damaged, ..Found::default() });
    }

    #[test]
    fn a_document_that_is_a_link_to_nothing_is_damaged_and_not_gone() {
        let (_temp, places) = places();
        let path = places.blob("apps/x", BlobId::of(b"x"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("nowhere", &path).unwrap();
        assert_eq!(places.read().unwrap(), Found { damaged: vec![path], ..Found::default() });
    }

    #[test]
    fn a_space_that_cannot_be_listed_is_a_fault_and_not_an_empty_one() {
        let (_temp, places) = places();
        symlink("nowhere", &places.0).unwrap();
        assert!(places.read().is_err());
        fs::remove_file(&places.0).unwrap();
        fs::write(&places.0, b"").unwrap();
        assert!(places.read().is_err());
    }
}
