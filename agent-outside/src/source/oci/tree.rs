//! All that a manifest or an index leads to, and which platforms it has.
//!
//! In:   a root, where its manifests are read, the platforms wished for.
//! Out:  [`Tree`]: manifests in the order in which they were reached, configs and layers.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use gapferry_proto::{BlobId, BlobRef, artifact::ManifestRef, limits};

use super::{
    ImageError,
    ground::Ground,
    list,
    manifest::{self, Child, Content},
    platform::{self, Platform},
    registry::Raw,
};

/// Most indexes on the way from the root to a manifest.
pub const DEPTH_MAX: usize = 3;

/// All that an image's root leads to.
#[derive(Default)]
pub struct Tree {
    /// The root first. Each once.
    pub manifests: Vec<(ManifestRef, Raw)>,
    /// Configs and layers. Each once.
    pub leaves: Vec<BlobRef>,
    lengths: HashMap<BlobId, u64>,
}

impl Tree {
    /// Follows `root` to everything that `wishes` take.
    ///
    /// # Errors
    ///
    /// [`ImageError`]: a document that cannot be had or is not understood,
    /// [`ImageError::NoPlatform`], [`ImageError::TooDeep`], [`ImageError::TooMany`].
    pub async fn grow(
        ground: &Ground<'_>,
        root: Raw,
        wishes: &[Platform],
    ) -> Result<Self, ImageError> {
        let mut tree = Self::default();
        let mut answers = Answers::default();
        tree.follow(ground, root, wishes, &mut answers).await?;
        answers.check(wishes)?;
        Ok(tree)
    }

    /// Adds `raw` and everything that it leads to.
    ///
    /// # Errors
    ///
    /// As [`Tree::grow`].
    pub async fn join(&mut self, ground: &Ground<'_>, raw: Raw) -> Result<(), ImageError> {
        self.follow(ground, raw, &[], &mut Answers::default()).await
    }

    async fn follow(
        &mut self,
        ground: &Ground<'_>,
        root: Raw,
        wishes: &[Platform],
        answers: &mut Answers,
    ) -> Result<(), ImageError> {
        let mut open = VecDeque::from([(root, 0)]);
        while let Some((raw, depth)) = open.pop_front() {
            let children = match self.add(raw)? {
                None => continue,
                Some(Content::Index(children)) => children,
                Some(Content::Manifest(blobs)) => {
                    if depth == 0 && !wishes.is_empty() {
                        answers.take_config(ground, &blobs, wishes).await?;
                    }
                    blobs.into_iter().try_for_each(|blob| self.add_leaf(blob))?;
                    continue;
                }
            };
            if depth == DEPTH_MAX {
                return Err(ImageError::TooDeep);
            }
            for child in answers.take_index(&children, wishes) {
                if limits::IMAGE_MANIFESTS_MAX <= self.manifests.len() + open.len() {
                    return Err(ImageError::TooMany);
                }
                let bytes = ground.manifest(child.blob).await?;
                let media_type = Some(child.media_type.clone());
                open.push_back((Raw { bytes, media_type }, depth + 1));
            }
        }
        Ok(())
    }

    /// Adds a manifest, and nothing that it leads to; none when it is there already.
    ///
    /// # Errors
    ///
    /// [`ImageError::Manifest`].
    pub fn add(&mut self, raw: Raw) -> Result<Option<Content>, ImageError> {
        let blob = raw.blob();
        if self.lengths.insert(blob.id, blob.len_bytes).is_some() {
            return Ok(None);
        }
        let (content, media_type) = manifest::parse(&raw.bytes, raw.media_type.as_deref())
            .map_err(|source| ImageError::Manifest { id: blob.id, source })?;
        self.manifests.push((ManifestRef { id: blob.id, media_type }, raw));
        Ok(Some(content))
    }

    fn add_leaf(&mut self, blob: BlobRef) -> Result<(), ImageError> {
        match self.lengths.insert(blob.id, blob.len_bytes) {
            None => {
                self.leaves.push(blob);
                Ok(())
            }
            Some(known) if known == blob.len_bytes => Ok(()),
            Some(expected) => {
                Err(ImageError::Length { id: blob.id, expected, actual: blob.len_bytes })
            }
        }
    }

    /// The manifest or index that all of it began with.
    pub fn root(&self) -> BlobRef {
        self.manifests[0].1.blob()
    }

    /// Whether this blob is part of it.
    pub fn has(&self, id: BlobId) -> bool {
        self.lengths.contains_key(&id)
    }

    /// Every blob: manifests, then configs and layers.
    pub fn blobs(&self) -> Vec<BlobRef> {
        self.manifests.iter().map(|(_, raw)| raw.blob()).chain(self.leaves.clone()).collect()
    }

    /// The bytes of its manifests.
    pub fn kept(self) -> Vec<(BlobId, Bytes)> {
        self.manifests.into_iter().map(|(manifest, raw)| (manifest.id, raw.bytes)).collect()
    }
}

/// Which platforms an image has, and which wishes they answer.
#[derive(Default)]
struct Answers {
    offered: BTreeSet<Platform>,
    answered: BTreeSet<Platform>,
    /// Whether the image is one for all platforms, such as a chart.
    has_none: bool,
}

impl Answers {
    fn take_index<'a>(&mut self, children: &'a [Child], wishes: &[Platform]) -> Vec<&'a Child> {
        let known = children.iter().filter(|child| child.attests.is_none());
        self.offered.extend(known.filter_map(|child| child.platform.clone()));
        let (chosen, answered) = platform::choose(children, wishes);
        self.answered.extend(answered);
        chosen
    }

    /// Looks into the config of an image without index, so that the wrong one stays here.
    async fn take_config(
        &mut self,
        ground: &Ground<'_>,
        blobs: &[BlobRef],
        wishes: &[Platform],
    ) -> Result<(), ImageError> {
        let max = limits::OCI_MANIFEST_LEN_BYTES_MAX;
        let platform = match blobs.first().filter(|config| config.len_bytes <= max) {
            Some(config) => manifest::config_platform(&ground.small_blob(*config).await?),
            None => None,
        };
        self.has_none = platform.is_none();
        let takes = |wish: &&Platform| platform.as_ref().is_some_and(|offered| wish.takes(offered));
        self.answered.extend(wishes.iter().filter(takes).cloned());
        self.offered.extend(platform);
        Ok(())
    }

    fn check(&self, wishes: &[Platform]) -> Result<(), ImageError> {
        let missing = wishes.iter().filter(|wish| !self.answered.contains(wish));
        let missing: Vec<_> = missing.cloned().collect();
        if missing.is_empty() || self.has_none {
            return Ok(());
        }
        let has = list(&self.offered.iter().cloned().collect::<Vec<_>>());
        Err(ImageError::NoPlatform { missing, has })
    }
}
