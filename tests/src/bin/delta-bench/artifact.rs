//! What crosses in one hop: files and images, each with the one that went before it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::Value;
use tests::stick::walk;

/// Some artifacts of one family that move to their next version together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    pub name: String,
    pub pairs: Vec<Pair>,
}

/// A new artifact, and the one before it; none in a first seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub old: Option<Artifact>,
    pub new: Artifact,
}

/// An artifact as it is published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Artifact {
    File(PathBuf),
    /// An image as an OCI layout folder with the tag `bench`.
    Image(PathBuf),
}

impl Artifact {
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Image(path) => path,
        }
    }

    /// The name of the file or folder.
    pub fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// All that is published of it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn published_bytes(&self) -> anyhow::Result<u64> {
        match self {
            Self::File(path) => len_bytes(path),
            Self::Image(folder) => Ok(folder_len_bytes(&folder.join("blobs"))),
        }
    }

    /// The large files that it is made of: itself, or the layers of an image in their order.
    ///
    /// # Errors
    ///
    /// An image that cannot be read.
    pub fn parts(&self) -> anyhow::Result<Vec<PathBuf>> {
        match self {
            Self::File(path) => Ok(vec![path.clone()]),
            Self::Image(folder) => layers(folder),
        }
    }
}

impl Pair {
    /// Each new part beside the old one in the same place.
    ///
    /// # Errors
    ///
    /// An image that cannot be read.
    pub fn parts(&self) -> anyhow::Result<Vec<(Option<PathBuf>, PathBuf)>> {
        let old = self.old.as_ref().map_or(Ok(vec![]), Artifact::parts)?;
        let new = self.new.parts()?.into_iter().enumerate();
        Ok(new.map(|(at, part)| (old.get(at).cloned(), part)).collect())
    }
}

/// The layers that the image's only manifest names.
fn layers(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        folder.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    };
    let index = read_json(&folder.join("index.json"))?;
    let manifest = read_json(&blob(&index["manifests"][0]))?;
    let layers = manifest["layers"].as_array().context("a manifest lists its layers")?;
    Ok(layers.iter().map(blob).collect())
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))
}

/// The length of a file.
///
/// # Errors
///
/// It is not there.
pub fn len_bytes(path: &Path) -> anyhow::Result<u64> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(meta.len())
}

/// The length of all files below a folder.
pub fn folder_len_bytes(folder: &Path) -> u64 {
    let mut sum = 0;
    walk(folder, &mut |path| sum += fs::metadata(path).map_or(0, |meta| meta.len()));
    sum
}
