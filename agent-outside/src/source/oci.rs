//! Images: from registries, and from layouts on disk.
//!
//! In:   one image line of a waybill.
//! Out:  [`Images`]: the artifact with everything it leads to, and the bytes of its manifests,
//!       which are kept as they came because their digests are their names.
//!
//! # What a hostile registry may try
//!
//! | attempt                               | stopped by                                       |
//! |---------------------------------------|--------------------------------------------------|
//! | other bytes than the digest asked for | [`check`], `Repository::root`                    |
//! | a manifest without end                | `limits::OCI_MANIFEST_LEN_BYTES_MAX`             |
//! | indexes in indexes without end        | [`DEPTH_MAX`], `limits::IMAGE_MANIFESTS_MAX`     |
//! | a document that reads in two ways     | `manifest::parse`                                |
//! | one blob with two lengths             | `Tree::add`                                      |
//! | a realm that collects passwords       | `auth`: https only, as the registry itself       |

pub mod auth;
pub mod layout;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod registry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use camino::Utf8Path;
use gapferry_proto::{
    Artifact, BlobId, BlobRef, Digest, Facts, Kind,
    artifact::{Evidence, ImageFacts, ManifestRef, Method},
    limits,
};

use self::{
    auth::{AuthError, Lookup, Tokens},
    layout::{Layout, LayoutError},
    manifest::{Child, Content, ManifestError},
    platform::{Platform, PlatformError},
    reference::{Image, Place, ReferenceError},
    registry::{Raw, Repository},
};
use super::{
    Failure, Found, Verdict,
    http::{Http, HttpError},
};
use crate::waybill::ImageLine;

/// Most indexes on the way from the root to a manifest.
const DEPTH_MAX: usize = 3;

/// What a line of images leads to.
#[derive(Debug, Default)]
pub struct Images {
    pub found: Found,
    /// The manifests and indexes that were read on the way. They are blobs of the artifacts.
    pub manifests: Vec<(BlobId, Bytes)>,
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("manifest {id} {source}")]
    Manifest { id: BlobId, source: ManifestError },
    #[error("{what} hashes to {actual}, and {expected} is expected")]
    Digest { what: String, expected: Digest, actual: Digest },
    #[error("{id} has {actual} bytes, and {expected} are expected")]
    Length { id: BlobId, expected: u64, actual: u64 },
    #[error("has no {}; it has {has}", list(missing))]
    NoPlatform { missing: Vec<Platform>, has: String },
    #[error("has indexes within indexes more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("has more than {} manifests", limits::IMAGE_MANIFESTS_MAX)]
    TooMany,
}

impl ImageError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Http(error) | Self::Auth(AuthError::Token { source: error, .. }) => {
                error.verdict()
            }
            Self::Reference(_) | Self::Platform(_) | Self::Auth(_) => Verdict::Configuration,
            Self::Layout(LayoutError::Several { .. }) => Verdict::Configuration,
            Self::Layout(LayoutError::Missing { .. } | LayoutError::NoTag { .. })
            | Self::NoPlatform { .. } => Verdict::Missing,
            Self::Layout(LayoutError::Read { .. }) => Verdict::Fault,
            Self::Layout(LayoutError::Length { .. } | LayoutError::Index { .. })
            | Self::Manifest { .. }
            | Self::Digest { .. }
            | Self::Length { .. }
            | Self::TooDeep
            | Self::TooMany => Verdict::Refused,
        }
    }

    /// Whether no connection could be made.
    fn is_connect(&self) -> bool {
        matches!(self, Self::Http(HttpError::Transport { source, .. }) if source.is_connect())
    }
}

/// Resolves one image line. `base` is the waybill's folder, `label` the name of the line.
///
/// A failure is in the result, with the verdict that it means for the run.
pub async fn resolve(http: &Http, line: &ImageLine, base: &Utf8Path, label: &str) -> Images {
    resolve_as(http, line, base, label, auth::logins).await
}

async fn resolve_as(
    http: &Http,
    line: &ImageLine,
    base: &Utf8Path,
    label: &str,
    lookup: Lookup,
) -> Images {
    match image(http, line, base, label, lookup).await {
        Ok((artifact, manifests)) => {
            Images { found: Found { artifacts: vec![artifact], failures: Vec::new() }, manifests }
        }
        Err(error) => {
            let verdict = error.verdict();
            let failure = Failure::new(Kind::Image, &line.reference, verdict, error);
            let found = Found { artifacts: Vec::new(), failures: vec![failure] };
            Images { found, manifests: Vec::new() }
        }
    }
}

async fn image(
    http: &Http,
    line: &ImageLine,
    base: &Utf8Path,
    label: &str,
    lookup: Lookup,
) -> Result<(Artifact, Vec<(BlobId, Bytes)>), ImageError> {
    let wishes = line.platforms.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
    let tokens = Tokens::new(lookup);
    let (image, origin, tree) = match Place::of(line)? {
        Place::Registry(image) => {
            let (repository, root) =
                Repository::reach(http, &tokens, &image, line.insecure).await?;
            let origin = format!("{}/manifests/{}", repository.url, image.asked());
            let tree = Tree::grow(&Ground::Registry(repository), root, &wishes).await?;
            (image, origin, tree)
        }
        Place::Layout { dir, tag, image } => {
            let layout = Layout { dir: base.join(&dir) };
            let root = layout.root(tag.as_deref())?;
            let tree = Tree::grow(&Ground::Layout(layout.clone()), root, &wishes).await?;
            tree.leaves.iter().try_for_each(|blob| layout.check_blob(*blob))?;
            (image, format!("oci:{dir}"), tree)
        }
    };
    let wanted = format!("{label}: {}", line.reference);
    Ok((artifact(&image, origin, wanted, &tree), tree.kept()))
}

fn artifact(image: &Image, origin: String, wanted: String, tree: &Tree) -> Artifact {
    let root = tree.manifests[0].1.blob();
    let manifests = tree.manifests.iter();
    Artifact {
        name: image.name(),
        facts: Facts::Image(ImageFacts {
            repository: image.path().expect("the reference was checked for it"),
            tag: image.tag.clone(),
            root: root.id,
            manifests: manifests.clone().map(|(manifest, _)| manifest.clone()).collect(),
        }),
        blobs: manifests.map(|(_, raw)| raw.blob()).chain(tree.leaves.iter().copied()).collect(),
        evidence: Evidence {
            method: Method::OciDigest,
            by: origin.clone(),
            digest: Some(root.id.digest()),
        },
        origin,
        wanted: vec![wanted],
    }
}

/// Where a tree's manifests are read.
enum Ground<'a> {
    Registry(Repository<'a>),
    Layout(Layout),
}

impl Ground<'_> {
    async fn manifest(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        match self {
            Self::Registry(repository) => repository.manifest(blob).await,
            Self::Layout(layout) => layout.manifest(blob),
        }
    }

    async fn config(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        match self {
            Self::Registry(repository) => repository.config(blob).await,
            Self::Layout(layout) => layout.manifest(blob),
        }
    }
}

/// All that an image's root leads to.
#[derive(Default)]
struct Tree {
    /// The root first. Each once.
    manifests: Vec<(ManifestRef, Raw)>,
    /// Configs and layers. Each once.
    leaves: Vec<BlobRef>,
    lengths: HashMap<BlobId, u64>,
}

impl Tree {
    /// Follows `root` to everything that `wishes` take.
    async fn grow(ground: &Ground<'_>, root: Raw, wishes: &[Platform]) -> Result<Self, ImageError> {
        let mut tree = Self::default();
        let mut answers = Answers::default();
        let mut open = VecDeque::from([(root, 0)]);
        while let Some((raw, depth)) = open.pop_front() {
            let children = match tree.add(raw)? {
                None => continue,
                Some(Content::Index(children)) => children,
                Some(Content::Manifest(blobs)) => {
                    if depth == 0 && !wishes.is_empty() {
                        answers.take_config(ground, &blobs, wishes).await?;
                    }
                    blobs.into_iter().try_for_each(|blob| tree.add_leaf(blob))?;
                    continue;
                }
            };
            if depth == DEPTH_MAX {
                return Err(ImageError::TooDeep);
            }
            for child in answers.take_index(&children, wishes) {
                if limits::IMAGE_MANIFESTS_MAX <= tree.manifests.len() + open.len() {
                    return Err(ImageError::TooMany);
                }
                let bytes = ground.manifest(child.blob).await?;
                let media_type = Some(child.media_type.clone());
                open.push_back((Raw { bytes, media_type }, depth + 1));
            }
        }
        answers.check(wishes)?;
        Ok(tree)
    }

    /// Adds a manifest; none when it is there already.
    fn add(&mut self, raw: Raw) -> Result<Option<Content>, ImageError> {
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

    fn kept(self) -> Vec<(BlobId, Bytes)> {
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
            Some(config) => manifest::config_platform(&ground.config(*config).await?),
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

/// Checks the bytes of a manifest or a config against what leads to it.
fn check(bytes: &[u8], blob: BlobRef) -> Result<(), ImageError> {
    let (expected, actual) = (blob.id.digest(), Digest::of(bytes));
    if expected != actual {
        return Err(ImageError::Digest {
            what: format!("the answer for {}", blob.id),
            expected,
            actual,
        });
    }
    let actual = bytes.len() as u64;
    if actual != blob.len_bytes {
        return Err(ImageError::Length { id: blob.id, expected: blob.len_bytes, actual });
    }
    Ok(())
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platforms".to_owned();
    }
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}
