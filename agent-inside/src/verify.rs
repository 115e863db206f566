//! Decides whether an export may be applied.
//!
//! In:   an export's plain files as they came off the medium, what this site trusts.
//! Out:  a [`VerifiedEnvelope`], then a [`VerifiedExport`], the only thing [`crate::apply`]
//!       takes; or a [`Refusal`].
//! Pure: no files, no network, no clock.
//!
//! # What a hostile medium may try
//!
//! | attempt                          | stopped by                                              |
//! |----------------------------------|---------------------------------------------------------|
//! | an envelope of another publisher | `check_signers`, with keys walked from the pinned root  |
//! | one key signing twice            | `count_signers` counts distinct keys                    |
//! | a forked keyset                  | `walk_keysets` compares the hash that was trusted       |
//! | an older export again            | `check_order`                                           |
//! | an export for another site       | `check_site`; and it could not be decrypted             |
//! | a manifest of another export     | `verify_manifest` compares every shared field           |
//! | a manifest without end           | `limits::MANIFEST_LEN_BYTES_MAX`, before any parsing    |
//! | packs swapped or damaged         | not here: [`crate::inbox`] hashes what it stages        |
//! | a base that rotted               | not here: [`crate::apply`] hashes it again              |

use std::collections::BTreeSet;

use gapferry_common::{pack::OpenError, peel::encoder::Encoder, rebuild::RebuildError};
use gapferry_proto::{
    BlobId, Digest, Envelope, Manifest, Recipe, Sequence, SiteName, Snapshot, SnapshotId,
    envelope::EnvelopeError,
    inventory::Failed,
    keyset::{KeysetError, Role, TrustedKeyset},
    limits,
    manifest::ManifestError,
    recipe::{Node, RecipeError},
    signature::{Namespace, SignatureError, parse_signature},
    snapshot::SnapshotError,
};
use jiff::Timestamp;
use ssh_key::SshSig;

use crate::{generation::Current, publish::PublishError};

/// Why an export was not applied. When one is returned, what is served and trusted is as before.
/// Exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Keyset(#[from] KeysetError),
    #[error("the export brings no keyset; copy the whole folder again")]
    NoKeyset,
    #[error("keyset {version} of the export is not the one that this site trusts")]
    ForkedKeyset { version: u64 },
    #[error("the export's keysets end at {found}; this site trusts {trusted} already")]
    OldKeyset { trusted: u64, found: u64 },
    #[error("the envelope was made under keyset {named}, but the export brings {found}")]
    OtherKeyset { named: u64, found: u64 },
    #[error("export {sequence} is signed by {valid} of the {threshold} keys it needs")]
    TooFewSigners { sequence: Sequence, valid: usize, threshold: u32 },
    #[error("export {sequence} is for site {found}; this is {site}")]
    OtherSite { sequence: Sequence, site: SiteName, found: SiteName },
    #[error("export {sequence} is of epoch {found}; the keyset in force has epoch {trusted}")]
    OtherEpoch { sequence: Sequence, trusted: u64, found: u64 },
    #[error("export {sequence} is not newer than {applied}, which was applied before")]
    NotNewer { sequence: Sequence, applied: Sequence },
    #[error("missing from the medium: {}; copy them again", .0.join(", "))]
    FilesMissing(Vec<String>),
    #[error("damaged on the medium: {}; copy them again", .0.join(", "))]
    FilesDamaged(Vec<String>),
    #[error("the manifest cannot be opened with this site's key")]
    Sealed(#[source] OpenError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the manifest is of another export than the envelope: {0} differs")]
    OtherManifest(&'static str),
    #[error(
        "export {sequence} builds on snapshot {basis}, which this site never held; send it an inventory"
    )]
    BasisNotKept { sequence: Sequence, basis: SnapshotId },
    #[error("export {sequence} builds on {} blobs that are missing or damaged; send out an inventory", missing.len())]
    BasisNotHeld { sequence: Sequence, missing: Vec<BlobId> },
    #[error("the difference does not fit its basis")]
    Difference(#[source] SnapshotError),
    #[error("the difference leads to {found}, not to {named} as the envelope says")]
    OtherSnapshot { named: SnapshotId, found: SnapshotId },
    #[error("the export brings {} blobs too few", .0.len())]
    BlobsMissing(Vec<BlobId>),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error("the recipe of {0} fits neither the snapshot nor the bases that the export names")]
    StrayRecipe(BlobId),
    #[error(
        "{} blobs cannot be rebuilt, first {} with {}; send out an inventory, and the next export carries them raw",
        .0.blobs, .0.first, .0.codecs
    )]
    Rebuild(#[source] Box<NotRebuilt>),
    #[error("the recipe of {blob} uses encoder {id}, which this agent does not know; update it")]
    UnknownEncoder { blob: BlobId, id: String },
    #[error("the recipe of {blob} needs {needed} bytes of memory; this site allows {allowed}")]
    Memory { blob: BlobId, needed: u64, allowed: u64 },
    #[error(
        "it brings {repository}, but names below {prefix} are pushed to at this site; \
         take the prefix out of config.toml, or the image out of the waybill"
    )]
    PushPrefix { prefix: String, repository: String },
    #[error("the artifacts cannot be served together")]
    Publish(#[from] PublishError),
}

impl Refusal {
    /// A word for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "envelope",
            Self::Signature(_) => "signature",
            Self::Keyset(_)
            | Self::NoKeyset
            | Self::ForkedKeyset { .. }
            | Self::OldKeyset { .. }
            | Self::OtherKeyset { .. } => "keyset",
            Self::TooFewSigners { .. } => "signers",
            Self::OtherSite { .. } => "other-site",
            Self::OtherEpoch { .. } => "epoch",
            Self::NotNewer { .. } => "not-newer",
            Self::FilesMissing(_) => "files-missing",
            Self::FilesDamaged(_) => "files-damaged",
            Self::Sealed(_) => "sealed",
            Self::Manifest(_) | Self::OtherManifest(_) => "manifest",
            Self::BasisNotKept { .. } | Self::BasisNotHeld { .. } => "basis",
            Self::Difference(_) | Self::OtherSnapshot { .. } | Self::BlobsMissing(_) => "snapshot",
            Self::Recipe(_) | Self::StrayRecipe(_) => "recipe",
            Self::Rebuild(_) => "rebuild",
            Self::UnknownEncoder { .. } => "encoder",
            Self::Memory { .. } => "memory",
            Self::PushPrefix { .. } => "push-prefix",
            Self::Publish(_) => "publish",
        }
    }

    /// What has to be sent for the export to be applied: files of it, or blobs.
    pub fn needed(&self) -> Vec<String> {
        match self {
            Self::FilesMissing(files) | Self::FilesDamaged(files) => files.clone(),
            Self::BasisNotHeld { missing: blobs, .. } | Self::BlobsMissing(blobs) => {
                blobs.iter().map(ToString::to_string).collect()
            }
            Self::Rebuild(not_rebuilt) => {
                let blobs: BTreeSet<_> =
                    not_rebuilt.failed.iter().map(|failed| failed.blob).collect();
                blobs.iter().map(ToString::to_string).collect()
            }
            _ => vec![],
        }
    }
}

/// Blobs that could not be rebuilt; those that could are kept.
#[derive(Debug, thiserror::Error)]
#[error("{first}")]
pub struct NotRebuilt {
    /// Number of blobs.
    pub blobs: usize,
    pub first: BlobId,
    /// What is to blame for the first, for people.
    pub codecs: String,
    /// Each blob with each codec that may be to blame.
    pub failed: Vec<Failed>,
    pub source: RebuildError,
}

/// The plain files of an export, whole and not yet believed.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    pub envelope: Vec<u8>,
    pub signatures: Vec<Vec<u8>>,
    /// By version, from 1.
    pub keysets: Vec<PresentedKeyset>,
}

/// A keyset and its signature files, not yet believed.
#[derive(Clone, Debug, Default)]
pub struct PresentedKeyset {
    pub bytes: Vec<u8>,
    pub signatures: Vec<Vec<u8>>,
}

/// What this site believes before it looks at an export.
#[derive(Clone, Debug)]
pub struct Trusted<'a> {
    pub site: &'a SiteName,
    /// The root keys of the publisher's card.
    pub root: &'a Role,
    /// SHA-256 of the first keyset, from the publisher's card.
    pub first_keyset: Digest,
    pub current: Option<&'a Current>,
    /// The version of this agent.
    pub agent: &'a str,
}

/// An envelope that the publisher signed for this site, newer than what was applied.
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope {
    envelope: Envelope,
    hash: Digest,
    keyset: TrustedKeyset,
    created: Timestamp,
}

/// What a signed envelope is to this site.
#[derive(Clone, Debug)]
pub enum Standing {
    New(Box<VerifiedEnvelope>),
    /// The very export that was applied last.
    Applied(Box<Envelope>),
}

/// An envelope with its manifest, every pack staged and hashed.
#[derive(Clone, Debug)]
pub struct VerifiedExport {
    pub envelope: VerifiedEnvelope,
    pub manifest: Manifest,
}

impl VerifiedEnvelope {
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// SHA-256 of the envelope's bytes.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// When the export was made, by the bastion's clock.
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    pub const fn keyset(&self) -> &TrustedKeyset {
        &self.keyset
    }
}

/// Keysets from the pinned root, then the envelope's signatures, then site, epoch and sequence.
///
/// # Errors
///
/// [`Refusal`].
pub fn verify_envelope(presented: &Presented, trusted: &Trusted) -> Result<Standing, Refusal> {
    let keyset = walk_keysets(&presented.keysets, trusted)?;
    let envelope = check_signers(presented, &keyset)?;
    check_site(&envelope, trusted)?;
    let hash = Digest::of(&presented.envelope);
    if trusted.current.is_some_and(|c| c.envelope_sha256 == hash && c.sequence == envelope.sequence)
    {
        return Ok(Standing::Applied(Box::new(envelope)));
    }
    check_order(&envelope, &keyset, trusted)?;
    envelope.check_agent(trusted.agent)?;
    let created = check_created(&envelope.created)?;
    Ok(Standing::New(Box::new(VerifiedEnvelope { envelope, hash, keyset, created })))
}

/// When the export was made, by the bastion's clock. A date at the end of time would leave none
/// after it for the next activation.
fn check_created(text: &str) -> Result<Timestamp, Refusal> {
    let year_2200 = Timestamp::constant(7_258_118_400, 0);
    let wrong = EnvelopeError::Inconsistent("its date is no timestamp of RFC 3339 before 2200");
    text.parse().ok().filter(|created| *created < year_2200).ok_or(Refusal::Envelope(wrong))
}

fn walk_keysets(keysets: &[PresentedKeyset], trusted: &Trusted) -> Result<TrustedKeyset, Refusal> {
    let mut walked = keysets.iter();
    let first = walked.next().ok_or(Refusal::NoKeyset)?;
    if Digest::of(&first.bytes) != trusted.first_keyset {
        return Err(Refusal::ForkedKeyset { version: 1 });
    }
    let mut keyset =
        TrustedKeyset::first(&first.bytes, &parse_all(&first.signatures)?, trusted.root)?;
    check_fork(&keyset, trusted)?;
    for next in walked {
        keyset = keyset.then(&next.bytes, &parse_all(&next.signatures)?)?;
        check_fork(&keyset, trusted)?;
    }
    let found = keyset.keyset().version;
    match trusted.current {
        Some(current) if found < current.keyset_version => {
            Err(Refusal::OldKeyset { trusted: current.keyset_version, found })
        }
        _ => Ok(keyset),
    }
}

/// The keyset of the version that was trusted must be the very keyset that was trusted.
fn check_fork(keyset: &TrustedKeyset, trusted: &Trusted) -> Result<(), Refusal> {
    let version = keyset.keyset().version;
    let forked = trusted
        .current
        .is_some_and(|c| c.keyset_version == version && c.keyset_sha256 != keyset.hash());
    if forked { Err(Refusal::ForkedKeyset { version }) } else { Ok(()) }
}

fn check_signers(presented: &Presented, keyset: &TrustedKeyset) -> Result<Envelope, Refusal> {
    let sigs = parse_all(&presented.signatures)?;
    let role = &keyset.keyset().publisher;
    let (valid, threshold) = role.signers(&sigs, Namespace::Envelope, &presented.envelope);
    // Parsed before the count is judged only to name the sequence; nothing else is used of it.
    let envelope = Envelope::parse(&presented.envelope)?;
    if (valid as u64) < u64::from(threshold) {
        return Err(Refusal::TooFewSigners { sequence: envelope.sequence, valid, threshold });
    }
    let (named, found) = (envelope.keyset_version, keyset.keyset().version);
    if named != found || envelope.keyset_sha256 != keyset.hash() {
        return Err(Refusal::OtherKeyset { named, found });
    }
    Ok(envelope)
}

fn check_site(envelope: &Envelope, trusted: &Trusted) -> Result<(), Refusal> {
    if envelope.site == *trusted.site {
        return Ok(());
    }
    let (site, found) = (trusted.site.clone(), envelope.site.clone());
    Err(Refusal::OtherSite { sequence: envelope.sequence, site, found })
}

fn check_order(
    envelope: &Envelope,
    keyset: &TrustedKeyset,
    trusted: &Trusted,
) -> Result<(), Refusal> {
    let (sequence, found, ours) = (envelope.sequence, envelope.epoch, keyset.keyset().epoch);
    if found != ours {
        return Err(Refusal::OtherEpoch { sequence, trusted: ours, found });
    }
    match trusted.current {
        Some(current) if found < current.epoch => {
            Err(Refusal::OtherEpoch { sequence, trusted: current.epoch, found })
        }
        Some(current) if sequence <= current.sequence => {
            Err(Refusal::NotNewer { sequence, applied: current.sequence })
        }
        _ => Ok(()),
    }
}

fn parse_all(sigs: &[Vec<u8>]) -> Result<Vec<SshSig>, SignatureError> {
    sigs.iter().map(|sig| parse_signature(sig)).collect()
}

/// The manifest must speak of the same export as the envelope, field for field.
///
/// # Errors
///
/// [`Refusal::OtherManifest`].
pub fn verify_manifest(
    envelope: VerifiedEnvelope,
    manifest: Manifest,
) -> Result<VerifiedExport, Refusal> {
    let plain = &envelope.envelope;
    let equal = [
        ("the export id", manifest.export == plain.export),
        ("the site", manifest.site == plain.site),
        ("the epoch", manifest.epoch == plain.epoch),
        ("the sequence", manifest.sequence == plain.sequence),
        ("the basis", manifest.basis == plain.basis),
        ("the snapshot", manifest.snapshot == plain.snapshot),
    ];
    match equal.into_iter().find(|(_, equal)| !equal) {
        Some((field, _)) => Err(Refusal::OtherManifest(field)),
        None => Ok(VerifiedExport { envelope, manifest }),
    }
}

/// The snapshot that the export leads to from `basis`.
///
/// # Errors
///
/// [`Refusal::Difference`], [`Refusal::OtherSnapshot`].
pub fn resulting_snapshot(export: &VerifiedExport, basis: &Snapshot) -> Result<Snapshot, Refusal> {
    let difference = export.manifest.difference()?;
    let snapshot = basis.changed_by(difference).map_err(Refusal::Difference)?;
    match (export.manifest.snapshot, snapshot.id()) {
        (named, found) if named == found => Ok(snapshot),
        (named, found) => Err(Refusal::OtherSnapshot { named, found }),
    }
}

/// Every recipe is one that this agent can follow, for a blob that the snapshot has in that
/// length, from bases that the manifest lists or that an earlier recipe makes; and no blob is
/// left out.
///
/// # Errors
///
/// [`Refusal::Recipe`], [`Refusal::StrayRecipe`], [`Refusal::BlobsMissing`].
pub fn check_recipes(
    export: &VerifiedExport,
    basis: &Snapshot,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let (wanted, held) = (snapshot.blobs(), basis.blobs());
    let bases: BTreeSet<BlobId> = export.manifest.bases.iter().map(|blob| blob.id).collect();
    let mut brought = BTreeSet::new();
    for recipe in &export.manifest.recipes {
        check_nodes(recipe)?;
        let listed = recipe.bases().all(|base| bases.contains(&base) || brought.contains(&base));
        if !listed || wanted.get(&recipe.blob) != Some(&recipe.len_bytes) {
            return Err(Refusal::StrayRecipe(recipe.blob));
        }
        brought.insert(recipe.blob);
    }
    let lacking = wanted.into_keys();
    let lacking: Vec<_> =
        lacking.filter(|id| !brought.contains(id) && !held.contains_key(id)).collect();
    if lacking.is_empty() { Ok(()) } else { Err(Refusal::BlobsMissing(lacking)) }
}

/// Every encoder is known and no node needs more memory than this site allows.
fn check_nodes(recipe: &Recipe) -> Result<(), Refusal> {
    let blob = recipe.blob;
    for node in recipe.nodes()? {
        let (needed, allowed) = (node.decode_memory_bytes(), limits::DECODE_MEMORY_BYTES);
        if allowed < needed {
            return Err(Refusal::Memory { blob, needed, allowed });
        }
        let Node::Reseal(reseal) = node else { continue };
        let unknown = reseal.encoders.into_iter().find(|(id, _)| Encoder::parse(id).is_none());
        if let Some((id, _)) = unknown {
            return Err(Refusal::UnknownEncoder { blob, id });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
