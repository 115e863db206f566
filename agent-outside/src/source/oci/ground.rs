//! Where an image's manifests are read: a registry, or a layout on disk.
//!
//! In:   digests, tags.
//! Out:  bytes that have the digest asked for; what is not there is none where that is no failure.

use std::collections::HashMap;

use bytes::Bytes;
use camino::Utf8PathBuf;
use gapferry_proto::{BlobId, BlobRef, artifact::Method};

use super::{
    ImageError,
    auth::is_loopback,
    layout::{Layout, LayoutError},
    manifest::Child,
    registry::{Raw, Repository, absent},
    tree::Tree,
};
use crate::source::http::{Http, Space};

/// Where a tree's manifests are read.
pub enum Ground<'a> {
    Registry(Repository<'a>),
    Layout {
        layout: Layout,
        /// The layout's folder as the waybill writes it.
        dir: Utf8PathBuf,
    },
}

impl Ground<'_> {
    /// Whether what is found by a name, not by a digest, is the registry's own word: over TLS, on
    /// this machine, by a mirror of the configuration's.
    pub fn is_vouched(&self, http: &Http) -> bool {
        match self {
            Self::Registry(repository) => {
                let url = &repository.url;
                url.scheme() == "https"
                    || is_loopback(url)
                    || http.is_mirrored(url, Space::Registry)
            }
            Self::Layout { .. } => true,
        }
    }

    /// How what is found by a name is vouched for: the registry's word counts over TLS alone, a
    /// layout is the user's own.
    pub fn method(&self, http: &Http) -> Method {
        match self {
            Self::Registry(repository) if !http.is_tls(&repository.url, Space::Registry) => {
                Method::Unverified
            }
            _ => Method::OciDigest,
        }
    }

    /// As [`Repository::manifest`].
    pub async fn manifest(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        match self {
            Self::Registry(repository) => repository.manifest(blob).await,
            Self::Layout { layout, .. } => layout.manifest(blob),
        }
    }

    /// As [`Repository::small_blob`].
    pub async fn small_blob(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        match self {
            Self::Registry(repository) => repository.small_blob(blob).await,
            Self::Layout { layout, .. } => layout.manifest(blob),
        }
    }

    /// A manifest that a list of referrers names; none when it is gone, since such lists outlive
    /// what they list.
    ///
    /// # Errors
    ///
    /// As [`Ground::manifest`].
    pub async fn listed(&self, blob: BlobRef) -> Result<Option<Bytes>, ImageError> {
        absent(self.manifest(blob).await)
    }

    /// What `tag` leads to; none when there is no such tag.
    ///
    /// # Errors
    ///
    /// As [`Repository::tagged`] and [`Layout::root`].
    pub async fn tagged(&self, tag: &str) -> Result<Option<Raw>, ImageError> {
        match self {
            Self::Registry(repository) => repository.tagged(tag).await,
            Self::Layout { layout, .. } => match layout.root(Some(tag)) {
                Err(ImageError::Layout(LayoutError::NoTag { .. })) => Ok(None),
                other => other.map(Some),
            },
        }
    }

    /// What a layout lists as referrers, by subject; nothing of a registry, which is asked.
    ///
    /// # Errors
    ///
    /// As [`Layout::referrers`].
    pub fn listed_referrers(&self) -> Result<HashMap<BlobId, Vec<Child>>, ImageError> {
        match self {
            Self::Registry(_) => Ok(HashMap::new()),
            Self::Layout { layout, .. } => layout.referrers(),
        }
    }

    /// Where a manifest is, as an artifact's origin says it.
    pub fn origin(&self, asked: &str) -> String {
        match self {
            Self::Registry(repository) => format!("{}/manifests/{asked}", repository.url),
            Self::Layout { dir, .. } => format!("oci:{dir}"),
        }
    }

    /// Checks that the configs and layers of `tree` are there, where that costs nothing.
    ///
    /// # Errors
    ///
    /// As [`Layout::check_blob`].
    pub fn check(&self, tree: &Tree) -> Result<(), ImageError> {
        match self {
            Self::Registry(_) => Ok(()),
            Self::Layout { layout, .. } => {
                tree.leaves.iter().try_for_each(|blob| layout.check_blob(*blob))?;
                Ok(())
            }
        }
    }
}
