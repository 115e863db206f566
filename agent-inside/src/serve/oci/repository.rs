//! What one repository holds. Pure but for the referrers, which it remembers once they are read.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;

use gapferry_proto::BlobId;
use gapferry_proto::artifact::{BlobRef, ImageFacts};

use super::referrers::Referrer;

/// One repository of one registry in one generation.
#[derive(Debug, Default)]
pub struct Repository {
    tags: BTreeMap<String, BlobId>,
    manifests: BTreeMap<BlobId, Manifest>,
    /// Every blob of its images, manifests included, with its length in bytes.
    blobs: BTreeMap<BlobId, u64>,
    /// Every manifest with a subject; read from the store when first asked for.
    pub(super) referrers: OnceLock<Vec<Referrer>>,
}

/// What is known of a manifest without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    pub media_type: String,
    pub len_bytes: u64,
}

impl Repository {
    /// Adds one image.
    pub fn add(&mut self, facts: &ImageFacts, blobs: &[BlobRef]) {
        self.blobs.extend(blobs.iter().map(|blob| (blob.id, blob.len_bytes)));
        for manifest in &facts.manifests {
            let Some(len_bytes) = self.blobs.get(&manifest.id).copied() else { continue };
            let media_type = manifest.media_type.clone();
            self.manifests.insert(manifest.id, Manifest { media_type, len_bytes });
        }
        if let Some(tag) = &facts.tag {
            self.tags.insert(tag.clone(), facts.root);
        }
    }

    /// What a tag leads to.
    pub fn tag(&self, tag: &str) -> Option<BlobId> {
        self.tags.get(tag).copied()
    }

    /// The tags after `last`, sorted.
    pub fn tags_after(&self, last: Option<&str>) -> impl Iterator<Item = &str> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.tags.range::<str, _>((from, Bound::Unbounded)).map(|(tag, _)| tag.as_str())
    }

    pub fn manifest(&self, id: &BlobId) -> Option<&Manifest> {
        self.manifests.get(id)
    }

    pub fn manifests(&self) -> &BTreeMap<BlobId, Manifest> {
        &self.manifests
    }

    /// The length in bytes of a blob that this repository holds.
    pub fn blob(&self, id: &BlobId) -> Option<u64> {
        self.blobs.get(id).copied()
    }
}
