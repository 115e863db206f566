//! What refers to an image: signatures, attestations, SBOMs, whatever names it as its subject.
//!
//! In:   an image's tree, and where it comes from.
//! Out:  manifests with a subject, added to that tree; [`Companion`]s, which are found by tag.
//!       What is not there is no failure.
//!
//! Each manifest of the tree is asked for, and then each referrer that was found, [`DEPTH_MAX`]
//! deep: by the referrers API, where a registry lacks that by the tag `sha256-<hex>`
//! (distribution-spec v1.1.1, "Listing Referrers", "Referrers Tag Schema"), and by cosign's tags.
//!
//! # What a hostile registry may try
//!
//! | attempt                                | stopped by                                      |
//! |----------------------------------------|-------------------------------------------------|
//! | a list without end, or one in a circle | `pages`                                         |
//! | referrers of referrers without end     | [`DEPTH_MAX`], `limits::IMAGE_MANIFESTS_MAX`    |
//! | what refers to something else          | [`Search::add`]: the subject must be the one    |
//! | a signature of another image           | `cosign`: the payload names the digest          |
//! | signatures without number              | `limits::SIGNATURES_MAX`                        |

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gapferry_proto::{BlobId, limits};

use super::{
    ImageError,
    cosign::{self, Flaw, Key},
    ground::Ground,
    manifest::{self, Child, Content},
    registry::Raw,
    tree::Tree,
};

/// How far referrers of referrers are followed: a signature of an SBOM of an image.
const DEPTH_MAX: usize = 2;

/// How many manifests are asked for at a time; the client bounds what one host gets.
const LOOKUPS: usize = 8;

/// What a tag beside an image's own holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// The list of a registry without referrers API.
    List,
    Signature,
    Attestation,
    Sbom,
}

impl Scheme {
    const OF_COSIGN: [Self; 3] = [Self::Signature, Self::Attestation, Self::Sbom];

    /// The tag for what refers to `subject`.
    pub fn tag(self, subject: BlobId) -> String {
        let suffix = match self {
            Self::List => "",
            Self::Signature => ".sig",
            Self::Attestation => ".att",
            Self::Sbom => ".sbom",
        };
        format!("sha256-{}{suffix}", subject.hex())
    }

    /// What it is, as the reason for carrying it says.
    pub const fn word(self) -> &'static str {
        match self {
            Self::List => "referrers",
            Self::Signature => "signature",
            Self::Attestation => "attestation",
            Self::Sbom => "SBOM",
        }
    }
}

/// What a tag beside an image's own leads to.
pub struct Companion {
    pub scheme: Scheme,
    pub subject: BlobId,
    pub tree: Tree,
}

/// What was found for one manifest.
struct Find {
    subject: BlobId,
    listed: Vec<Child>,
    tagged: Vec<(Scheme, Raw)>,
}

/// Finds all that refers to the manifests of `tree`.
///
/// # Errors
///
/// [`ImageError::Http`] of a registry that fails rather than lacks, [`ImageError::Subject`],
/// [`ImageError::Endless`], [`ImageError::TooMany`], and as [`Tree::grow`].
pub async fn follow(ground: &Ground<'_>, tree: &mut Tree) -> Result<Vec<Companion>, ImageError> {
    let search =
        Search { ground, has_api: AtomicBool::new(true), listed: ground.listed_referrers()? };
    let mut companions = Vec::new();
    let mut subjects: BTreeSet<BlobId> = tree.manifests.iter().map(|(m, _)| m.id).collect();
    let mut seen = subjects.clone();
    for _ in 0..DEPTH_MAX {
        let mut found = BTreeSet::new();
        let finds = stream::iter(subjects).map(|subject| search.find(subject)).buffered(LOOKUPS);
        let mut finds = std::pin::pin!(finds);
        while let Some(find) = finds.try_next().await? {
            found.extend(search.add(tree, &mut companions, find).await?);
        }
        subjects = found.into_iter().filter(|id| seen.insert(*id)).collect();
    }
    Ok(companions)
}

struct Search<'a> {
    ground: &'a Ground<'a>,
    /// Until a registry says otherwise.
    has_api: AtomicBool,
    /// What a layout lists, by subject.
    listed: HashMap<BlobId, Vec<Child>>,
}

impl Search<'_> {
    /// Asks for what refers to one manifest.
    async fn find(&self, subject: BlobId) -> Result<Find, ImageError> {
        let mut schemes = Scheme::OF_COSIGN.to_vec();
        let listed = match self.list(subject).await? {
            Some(listed) => listed,
            None => {
                schemes.insert(0, Scheme::List);
                Vec::new()
            }
        };
        let mut tagged = Vec::new();
        for scheme in schemes {
            let raw = self.ground.tagged(&scheme.tag(subject)).await?;
            // Some registries take `sha256-<hex>` for the digest, and give the subject itself.
            let raw = raw.filter(|raw| raw.blob().id != subject);
            tagged.extend(raw.map(|raw| (scheme, raw)));
        }
        Ok(Find { subject, listed, tagged })
    }

    /// What the referrers API lists, or a layout; none where a registry lacks the API.
    async fn list(&self, subject: BlobId) -> Result<Option<Vec<Child>>, ImageError> {
        let Ground::Registry(repository) = self.ground else {
            return Ok(Some(self.listed.get(&subject).cloned().unwrap_or_default()));
        };
        if !self.has_api.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let listed = repository.referrers(subject).await?;
        if listed.is_none() {
            self.has_api.store(false, Ordering::Relaxed);
        }
        Ok(listed)
    }

    /// Takes in what was found, and returns what may have referrers itself.
    async fn add(
        &self,
        tree: &mut Tree,
        companions: &mut Vec<Companion>,
        find: Find,
    ) -> Result<Vec<BlobId>, ImageError> {
        let Find { subject, listed, tagged } = find;
        let mut found = self.join(tree, subject, listed).await?;
        for (scheme, raw) in tagged {
            let mut own = Tree::default();
            if scheme == Scheme::List {
                let Ok((Content::Index(children), _)) =
                    manifest::parse(&raw.bytes, raw.media_type.as_deref())
                else {
                    continue; // what is no index is no list of referrers
                };
                if children.is_empty() {
                    continue;
                }
                own.add(raw)?;
                found.extend(self.join(&mut own, subject, children).await?);
            } else {
                found.push(raw.blob().id);
                own.join(self.ground, raw).await?;
            }
            companions.push(Companion { scheme, subject, tree: own });
            let of_companions = companions.iter().map(|one| one.tree.manifests.len());
            check_room(tree.manifests.len() + of_companions.sum::<usize>())?;
        }
        Ok(found)
    }

    /// Adds `listed`, which a list names as referrers of `subject`.
    async fn join(
        &self,
        tree: &mut Tree,
        subject: BlobId,
        listed: Vec<Child>,
    ) -> Result<Vec<BlobId>, ImageError> {
        let mut found = Vec::new();
        for child in listed {
            let id = child.blob.id;
            if tree.has(id) {
                continue;
            }
            if !child.is_carried() {
                tracing::warn!(%id, media_type = child.media_type, "a referrer is not understood");
                continue;
            }
            check_room(tree.manifests.len() + 1)?;
            let Some(bytes) = self.ground.listed(child.blob).await? else {
                tracing::warn!(%id, "a listed referrer does not exist");
                continue;
            };
            if manifest::role(&bytes).subject != Some(subject) {
                return Err(ImageError::Subject { id, subject });
            }
            tree.join(self.ground, Raw { bytes, media_type: Some(child.media_type) }).await?;
            found.push(id);
        }
        Ok(found)
    }
}

fn check_room(manifests: usize) -> Result<(), ImageError> {
    if limits::IMAGE_MANIFESTS_MAX < manifests { Err(ImageError::TooMany) } else { Ok(()) }
}

/// Checks that one of the signatures of the root of `tree` was made by `key`.
///
/// # Errors
///
/// [`ImageError::Unsigned`] with what is wrong with those that there are; as
/// [`Ground::small_blob`].
pub async fn verify(
    ground: &Ground<'_>,
    key: &Key,
    tree: &Tree,
    companions: &[Companion],
) -> Result<(), ImageError> {
    let image = tree.root().id;
    let mut flaws: Vec<Flaw> = Vec::new();
    let mut payloads: HashMap<BlobId, Bytes> = HashMap::new();
    for claim in signatures(image, tree, companions).flat_map(|raw| cosign::claims(&raw.bytes)) {
        if let Err(flaw) = claim.check_length() {
            flaws.push(flaw);
            continue;
        }
        let payload = match payloads.get(&claim.payload.id) {
            Some(payload) => payload.clone(),
            None if limits::SIGNATURES_MAX <= payloads.len() => break,
            None => ground.small_blob(claim.payload).await?,
        };
        payloads.insert(claim.payload.id, payload.clone());
        match key.check(&payload, &claim.signature, image.digest()) {
            Ok(()) => return Ok(()),
            Err(flaw) => flaws.push(flaw),
        }
    }
    Err(ImageError::Unsigned { flaws })
}

/// The manifests of cosign's signatures of `image`: the one under its tag, and the referrers.
fn signatures<'a>(
    image: BlobId,
    tree: &'a Tree,
    companions: &'a [Companion],
) -> impl Iterator<Item = &'a Raw> {
    let is_tagged = move |one: &&Companion| one.subject == image && one.scheme == Scheme::Signature;
    let tagged = companions.iter().filter(is_tagged).map(|one| &one.tree.manifests[0].1);
    let trees = std::iter::once(tree).chain(companions.iter().map(|one| &one.tree));
    let referring = trees.flat_map(|tree| &tree.manifests).map(|(_, raw)| raw).filter(move |raw| {
        let role = manifest::role(&raw.bytes);
        role.subject == Some(image) && role.artifact_type.as_deref() == Some(cosign::ARTIFACT_TYPE)
    });
    tagged.chain(referring)
}
