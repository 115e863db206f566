//! An OCI image layout on disk (image-spec v1.1, "Image Layout").
//!
//! In:   a folder, and the tag of one of its images.
//! Out:  manifests as bytes, checked against their digests; where its blobs are.

use std::{collections::HashMap, fs::File, io, io::Read as _};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{BlobId, BlobRef, limits};

use super::{
    ImageError,
    manifest::{self, Child, ManifestError},
    registry::Raw,
};

/// Most entries of an `index.json` that are searched for referrers.
const LAYOUT_MANIFESTS_MAX: usize = 16 * limits::IMAGE_MANIFESTS_MAX;

/// A layout's folder.
#[derive(Clone, Debug)]
pub struct Layout {
    pub dir: Utf8PathBuf,
}

/// Why a layout does not give an image.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{path} does not exist")]
    Missing { path: Utf8PathBuf },
    #[error("{path} has {actual} bytes, and {expected} are expected")]
    Length { path: Utf8PathBuf, expected: u64, actual: u64 },
    #[error("{path} {source}")]
    Index { path: Utf8PathBuf, source: ManifestError },
    #[error("{dir} has no image {tag:?}; it has {has}")]
    NoTag { dir: Utf8PathBuf, tag: String, has: String },
    #[error("{dir} has {count} images; name one of its tags, oci:DIR:TAG; it has {has}")]
    Several { dir: Utf8PathBuf, count: usize, has: String },
}

impl Layout {
    /// The entry of `index.json` that `tag` names; without a tag, its only one.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] names the file, or the tags there are.
    pub fn entry(&self, tag: Option<&str>) -> Result<Child, LayoutError> {
        pick(self.children()?, tag, &self.dir)
    }

    fn children(&self) -> Result<Vec<Child>, LayoutError> {
        let path = self.dir.join("index.json");
        let bytes = read(&path, limits::OCI_MANIFEST_LEN_BYTES_MAX)?;
        manifest::children(&bytes).map_err(|source| LayoutError::Index { path, source })
    }

    /// What of `index.json` refers to something, by what it refers to. Reads every manifest that
    /// is there.
    ///
    /// # Errors
    ///
    /// As [`Layout::manifest`]; [`ImageError::TooMany`].
    pub fn referrers(&self) -> Result<HashMap<BlobId, Vec<Child>>, ImageError> {
        let mut found: HashMap<BlobId, Vec<Child>> = HashMap::new();
        let children = self.children()?;
        if LAYOUT_MANIFESTS_MAX < children.len() {
            return Err(ImageError::TooMany);
        }
        for child in children {
            let bytes = match self.manifest(child.blob) {
                Err(ImageError::Layout(LayoutError::Missing { .. })) => continue,
                other => other?,
            };
            if let Some(subject) = manifest::role(&bytes).subject {
                found.entry(subject).or_default().push(child);
            }
        }
        Ok(found)
    }

    /// A manifest or an index.
    ///
    /// # Errors
    ///
    /// [`ImageError::Layout`] when it cannot be read, [`ImageError::Digest`] when it is damaged.
    pub fn manifest(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        let bytes = read(&self.path(blob.id), limits::OCI_MANIFEST_LEN_BYTES_MAX)?;
        super::check(&bytes, blob)?;
        Ok(bytes.into())
    }

    /// The root of the image `tag`.
    ///
    /// # Errors
    ///
    /// As [`Layout::entry`] and [`Layout::manifest`].
    pub fn root(&self, tag: Option<&str>) -> Result<Raw, ImageError> {
        let entry = self.entry(tag)?;
        let bytes = self.manifest(entry.blob)?;
        Ok(Raw { bytes, media_type: Some(entry.media_type) })
    }

    /// Checks that a blob is there and has its length; its digest is checked when it is fetched.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Missing`], [`LayoutError::Length`].
    pub fn check_blob(&self, blob: BlobRef) -> Result<(), LayoutError> {
        let path = self.path(blob.id);
        let actual = open(&path)?.1;
        if actual == blob.len_bytes {
            return Ok(());
        }
        Err(LayoutError::Length { path, expected: blob.len_bytes, actual })
    }

    /// Where a blob is.
    pub fn path(&self, id: BlobId) -> Utf8PathBuf {
        self.dir.join("blobs/sha256").join(id.hex())
    }
}

fn pick(children: Vec<Child>, tag: Option<&str>, dir: &Utf8Path) -> Result<Child, LayoutError> {
    let tags: Vec<_> = children.iter().filter_map(|child| child.tag.clone()).collect();
    let has = if tags.is_empty() { "no tags".to_owned() } else { tags.join(", ") };
    let named = children.into_iter().filter(|child| tag.is_none() || child.tag.as_deref() == tag);
    let mut found: Vec<_> = named.collect();
    found.dedup_by_key(|child| child.blob.id);
    match (found.pop(), found.len(), tag) {
        (Some(only), 0, _) => Ok(only),
        (None, _, Some(tag)) => {
            Err(LayoutError::NoTag { dir: dir.to_owned(), tag: tag.to_owned(), has })
        }
        (_, others, _) => {
            let count = if has == "no tags" && others == 0 { 0 } else { others + 1 };
            Err(LayoutError::Several { dir: dir.to_owned(), count, has })
        }
    }
}

fn open(path: &Utf8Path) -> Result<(File, u64), LayoutError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LayoutError::Missing { path: path.to_owned() },
        _ => LayoutError::Read { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(failed)?;
    let len_bytes = file.metadata().map_err(failed)?.len();
    Ok((file, len_bytes))
}

fn read(path: &Utf8Path, max: u64) -> Result<Vec<u8>, LayoutError> {
    let (file, actual) = open(path)?;
    if max < actual {
        return Err(LayoutError::Length { path: path.to_owned(), expected: max, actual });
    }
    let mut bytes = Vec::new();
    let failed = |source| LayoutError::Read { path: path.to_owned(), source };
    file.take(max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
