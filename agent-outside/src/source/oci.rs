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
//! | indexes in indexes without end        | `tree::DEPTH_MAX`, `limits::IMAGE_MANIFESTS_MAX` |
//! | a document that reads in two ways     | `manifest::parse`                                |
//! | one blob with two lengths             | `Tree::add`                                      |
//! | a realm that collects passwords       | `auth`: https only, as the registry itself       |
//! | anything beside the image             | `referrers` has a table of its own               |

pub mod auth;
mod cosign;
mod ground;
pub mod layout;
pub mod manifest;
mod pages;
pub mod platform;
pub mod reference;
mod referrers;
pub mod registry;
#[cfg(test)]
mod tests;
mod tree;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::limit;
use gapferry_proto::{
    Artifact, BlobId, BlobRef, Digest, Facts, Kind,
    artifact::{Evidence, ImageFacts, Method},
    limits,
};

use self::{
    auth::{AuthError, Lookup, Tokens},
    cosign::{Flaw, Key, KeyError},
    ground::Ground,
    layout::{Layout, LayoutError},
    manifest::ManifestError,
    platform::{Platform, PlatformError},
    reference::{Image, Place, ReferenceError},
    registry::Repository,
    tree::Tree,
};
use super::{
    Failure, Found, Verdict,
    http::{Http, HttpError, Redacted},
};
use crate::waybill::ImageLine;

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
    #[error("has indexes within indexes more than {} deep", tree::DEPTH_MAX)]
    TooDeep,
    #[error("has more than {} manifests", limits::IMAGE_MANIFESTS_MAX)]
    TooMany,
    #[error("{id} is listed as a referrer of {subject} and does not name it")]
    Subject { id: BlobId, subject: BlobId },
    #[error("{url} goes on without end, or in a circle")]
    Endless { url: Redacted },
    #[error("{url} {source}")]
    Listed { url: Redacted, source: ManifestError },
    #[error("{url} is no list of tags")]
    List { url: Redacted, source: serde_json::Error },
    #[error("has more than {} tags", limits::TAGS_MAX)]
    TooManyTags,
    #[error("cannot read {path}")]
    KeyFile { path: Utf8PathBuf, source: std::io::Error },
    #[error("{path} {source}")]
    Key { path: Utf8PathBuf, source: KeyError },
    #[error("has no cosign signature of the required key; it has {}", all(flaws))]
    Unsigned { flaws: Vec<Flaw> },
}

impl ImageError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Http(error) | Self::Auth(AuthError::Token { source: error, .. }) => {
                error.verdict()
            }
            Self::Reference(_)
            | Self::Platform(_)
            | Self::Auth(_)
            | Self::KeyFile { .. }
            | Self::Key { .. } => Verdict::Configuration,
            Self::Layout(LayoutError::Several { .. }) => Verdict::Configuration,
            Self::Layout(LayoutError::Missing { .. } | LayoutError::NoTag { .. })
            | Self::NoPlatform { .. } => Verdict::Missing,
            Self::Layout(LayoutError::Read { .. }) => Verdict::Fault,
            Self::Layout(LayoutError::Length { .. } | LayoutError::Index { .. })
            | Self::Manifest { .. }
            | Self::Digest { .. }
            | Self::Length { .. }
            | Self::TooDeep
            | Self::TooMany
            | Self::Subject { .. }
            | Self::Endless { .. }
            | Self::Listed { .. }
            | Self::List { .. }
            | Self::TooManyTags
            | Self::Unsigned { .. } => Verdict::Refused,
        }
    }

    /// Whether no connection could be made.
    fn is_connect(&self) -> bool {
        matches!(self, Self::Http(HttpError::Transport { source, .. }) if source.is_connect())
    }
}

/// Resolves one image line. `base` is the waybill's folder, `label` the name of the line.
///
/// The image comes first, then what is found beside it by tag. A failure is in the result, with
/// the verdict that it means for the run.
pub async fn resolve(http: &Http, line: &ImageLine, base: &Utf8Path, label: &str) -> Images {
    resolve_as(http, line, base, label, auth::logins).await
}

/// The tags of the repository that a line names.
///
/// # Errors
///
/// [`ImageError`]; a layout on disk is not asked.
pub async fn tags(http: &Http, line: &ImageLine) -> Result<Vec<String>, ImageError> {
    match Place::of(line)? {
        Place::Registry(image) => {
            let tokens = Tokens::new(auth::logins as Lookup);
            Repository::reach_tags(http, &tokens, &image, line.insecure).await
        }
        Place::Layout { .. } => Ok(Vec::new()),
    }
}

async fn resolve_as(
    http: &Http,
    line: &ImageLine,
    base: &Utf8Path,
    label: &str,
    lookup: Lookup,
) -> Images {
    match image(http, line, base, label, lookup).await {
        Ok(images) => images,
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
) -> Result<Images, ImageError> {
    let wishes = line.platforms.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
    let key = key(line, base)?;
    let tokens = Tokens::new(lookup);
    let (image, ground, root) = match Place::of(line)? {
        Place::Registry(image) => {
            let (repository, root) =
                Repository::reach(http, &tokens, &image, line.insecure).await?;
            (image, Ground::Registry(repository), root)
        }
        Place::Layout { dir, tag, image } => {
            let layout = Layout { dir: base.join(&dir) };
            let root = layout.root(tag.as_deref())?;
            (image, Ground::Layout { layout, dir }, root)
        }
    };
    let mut tree = Tree::grow(&ground, root, &wishes).await?;
    let companions = if line.referrers && (line.insecure || ground.is_vouched(http)) {
        referrers::follow(&ground, &mut tree).await?
    } else {
        Vec::new()
    };
    let origin = ground.origin(&image.asked());
    let by_name = ground.method(http);
    let mut method = if image.digest.is_some() { Method::OciDigest } else { by_name };
    let mut by = origin.clone();
    if let Some((path, key)) = key {
        referrers::verify(&ground, &key, &tree, &companions).await?;
        by = format!("{origin}, signed with {path}");
        method = Method::OciDigest;
    }
    ground.check(&tree)?;
    let wanted = format!("{label}: {}", line.reference);
    let mut images = Images::default();
    images.found.artifacts.push(artifact(&image, origin, (method, by), wanted, &tree));
    images.manifests.extend(tree.kept());
    for one in companions {
        ground.check(&one.tree)?;
        let tag = one.scheme.tag(one.subject);
        let origin = ground.origin(&tag);
        let wanted = format!("{} of {}", one.scheme.word(), image.name());
        let beside = Image { tag: Some(tag), digest: None, ..image.clone() };
        let by = origin.clone();
        images.found.artifacts.push(artifact(&beside, origin, (by_name, by), wanted, &one.tree));
        images.manifests.extend(one.tree.kept());
    }
    Ok(images)
}

/// The key that must have signed a line's image, and the file as the waybill names it.
fn key(line: &ImageLine, base: &Utf8Path) -> Result<Option<(Utf8PathBuf, Key)>, ImageError> {
    let Some(require) = &line.require else { return Ok(None) };
    let path = base.join(&require.cosign_key);
    let pem = match limit::read_file(&path, limits::PUBLIC_KEY_LEN_BYTES_MAX) {
        Ok(pem) => pem,
        Err(source) => return Err(ImageError::KeyFile { path, source }),
    };
    let key = Key::parse(&pem).map_err(|source| ImageError::Key { path, source })?;
    Ok(Some((require.cosign_key.clone(), key)))
}

fn artifact(
    image: &Image,
    origin: String,
    (method, by): (Method, String),
    wanted: String,
    tree: &Tree,
) -> Artifact {
    let root = tree.root().id;
    Artifact {
        name: image.name(),
        facts: Facts::Image(ImageFacts {
            repository: image.path().expect("the reference was checked for it"),
            tag: image.tag.clone(),
            root,
            manifests: tree.manifests.iter().map(|(manifest, _)| manifest.clone()).collect(),
        }),
        blobs: tree.blobs(),
        evidence: Evidence { method, by, digest: Some(root.digest()) },
        origin,
        wanted: vec![wanted],
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

/// What is wrong with signatures, the same once.
fn all(flaws: &[Flaw]) -> String {
    let mut all: Vec<_> = flaws.iter().map(Flaw::to_string).collect();
    all.sort();
    all.dedup();
    all.truncate(5);
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
