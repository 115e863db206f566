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

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError, at};
use gapferry_common::hashing::Sha512;
use gapferry_common::limit;
use gapferry_proto::{BlobId, BlobRef, FORMAT, limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
                if !path.is_dir() {
                    continue; // the lock
                }
                if name.starts_with('_') {
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
            if read.is_none() {
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
        let held = self.repositories.entry(repository.to_owned()).or_default();
        let id = || format!("sha256:{stem}").parse::<BlobId>().ok();
        match kind {
            "_tags" => held.tags.insert(stem.to_owned(), read(path)?).map_or((), drop),
            "_manifests" => held.manifests.insert(id()?, read(path)?).map_or((), drop),
            "_blobs" => held.blobs.insert(id()?, read(path)?).map_or((), drop),
            _ => return None,
        }
        Some(())
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

/// Bounded by what a manifest of the greatest length can need.
fn read<T: DeserializeOwned + Format>(path: &Utf8Path) -> Option<T> {
    let bytes = limit::read_file(path, 4 * limits::OCI_MANIFEST_LEN_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|document: &T| document.format() == FORMAT)
}

/// What every document begins with.
trait Format {
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

/// The names in a folder, without those of temporary files; none when there is no folder.
fn names(folder: &Utf8Path) -> Result<Vec<String>, DurableError> {
    if !folder.try_exists().map_err(at("look for", folder))? {
        return Ok(vec![]);
    }
    durable::names_in(folder)
}
