//! The inbox: takes an export off its media into private staging, hashing in the same pass.
//!
//! In:   export folders on foreign media.
//! Out:  the plain files in memory; then every pack and the manifest staged, each with the
//!       length and SHA-256 that the verified envelope gives. Only what is staged is parsed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
};

use camino::Utf8Path;
use gapferry_common::{
    durable::{self, DurableError, DurableFile, at},
    hashing,
    keys::Identity,
    pack::{self, staged_name},
};
use gapferry_proto::{
    Digest, Manifest,
    envelope::{FileRef, pack_path},
    limits,
};

use crate::{
    carrier::stick::{ExportFolder, Found, StickError},
    verify::{Presented, PresentedKeyset, Refusal, VerifiedEnvelope},
};

/// How staging can fail.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// A decision: bring the export again.
    #[error("export refused")]
    Refused(#[from] Refusal),
    /// A fault of this machine or of the medium.
    #[error(transparent)]
    Stick(#[from] StickError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A fault of this machine: it was hashed when it was staged.
    #[error("cannot read the manifest again")]
    Manifest(#[source] io::Error),
}

/// Reads the plain files of an export; the first medium that has one gives it.
///
/// # Errors
///
/// [`Refusal::FilesMissing`]: there is no envelope; [`StickError`]: the medium failed.
pub fn present(found: &Found) -> Result<Presented, InboxError> {
    let envelope = first(found, "envelope.json", limits::ENVELOPE_LEN_BYTES_MAX)?;
    let envelope =
        envelope.ok_or_else(|| Refusal::FilesMissing(vec!["envelope.json".to_owned()]))?;
    let mut signatures = vec![];
    for name in all_names(found, "signatures", limits::SIGNATURES_MAX, is_signature)? {
        let path = format!("signatures/{name}");
        signatures.extend(first(found, &path, limits::SIGNATURE_LEN_BYTES_MAX)?);
    }
    Ok(Presented { envelope, signatures, keysets: keysets(found)? })
}

/// Keysets by version with their signatures: `000001.json`, `000001.<fingerprint>.sig`.
fn keysets(found: &Found) -> Result<Vec<PresentedKeyset>, InboxError> {
    let max = limits::KEYSETS_MAX * (limits::SIGNATURES_MAX + 1);
    let ours = |name: &str| {
        let rest = name.split_once('.').filter(|(v, _)| is_version(v)).map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest == "json" || is_signature(rest))
    };
    let mut by_version: BTreeMap<String, PresentedKeyset> = BTreeMap::new();
    let mut left = limits::KEYSETS_LEN_BYTES_MAX;
    for name in all_names(found, "keysets", max, ours)? {
        let path = format!("keysets/{name}");
        let Some((version, rest)) = name.split_once('.') else { continue };
        let max = if rest == "json" {
            limits::KEYSET_LEN_BYTES_MAX
        } else {
            limits::SIGNATURE_LEN_BYTES_MAX
        };
        let Some(bytes) = first(found, &path, max.min(left))? else { continue };
        left -= bytes.len() as u64;
        let entry = by_version.entry(version.to_owned()).or_default();
        if rest == "json" {
            entry.bytes = bytes;
        } else {
            entry.signatures.push(bytes);
        }
    }
    Ok(by_version.into_values().filter(|keyset| !keyset.bytes.is_empty()).collect())
}

/// `<64 hex digits>.sig`; what else lies there (`._x.sig`, `x.sig.part`) is not ours.
fn is_signature(name: &str) -> bool {
    let fingerprint = name.strip_suffix(".sig");
    fingerprint.is_some_and(|hex| format!("sha256:{hex}").parse::<Digest>().is_ok())
}

fn is_version(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit())
}

fn first(found: &Found, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, StickError> {
    for folder in &found.folders {
        if let Some(bytes) = folder.read(path, max_bytes)? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The names in a folder over all media that are ours, at most `max` of them.
fn all_names(
    found: &Found,
    folder: &str,
    max: usize,
    ours: impl Fn(&str) -> bool,
) -> Result<Vec<String>, StickError> {
    let mut names = vec![];
    for medium in &found.folders {
        names.extend(medium.names(folder)?);
    }
    names.retain(|name| ours(name));
    names.sort();
    names.dedup();
    names.truncate(max);
    Ok(names)
}

/// Copies every pack and the manifest into `staging`, hashing on the way.
///
/// What is staged already with the right bytes is not copied again, so an import that was killed
/// continues.
///
/// # Errors
///
/// [`Refusal::FilesMissing`] or [`Refusal::FilesDamaged`] with the names of all such files;
/// [`InboxError::Durable`]: staging failed or is full.
pub fn stage(
    found: &Found,
    envelope: &VerifiedEnvelope,
    staging: &Utf8Path,
    mut each: impl FnMut(u64),
) -> Result<(), InboxError> {
    durable::create_folders(staging)?;
    durable::clear_temporary(staging)?;
    let plain = envelope.envelope();
    let packs = plain
        .packs()
        .map(|(volume, pack)| (pack_path(volume, pack.index), staged_name(pack.index), pack.file));
    let manifest = ("manifest.age".to_owned(), "manifest.age".to_owned(), plain.manifest);
    let (mut missing, mut damaged) = (vec![], vec![]);
    for (path, name, expected) in std::iter::once(manifest).chain(packs) {
        match stage_file(found, &path, &staging.join(name), expected)? {
            Staged::Good => each(expected.bytes),
            Staged::Missing => missing.push(path),
            Staged::Damaged => damaged.push(path),
        }
    }
    refuse(missing, damaged)
}

/// Hashes every pack and the manifest where they lie, staging nothing.
///
/// # Errors
///
/// As [`stage`].
pub fn check(found: &Found, envelope: &VerifiedEnvelope) -> Result<(), InboxError> {
    let plain = envelope.envelope();
    let packs = plain.packs().map(|(v, pack)| (pack_path(v, pack.index), pack.file));
    let (mut missing, mut damaged) = (vec![], vec![]);
    for (path, expected) in
        std::iter::once(("manifest.age".to_owned(), plain.manifest)).chain(packs)
    {
        let mut outcome = Staged::Missing;
        for folder in &found.folders {
            let Some(file) = folder.open(&path)? else { continue };
            let hashed = hashing::hash(&mut file.take(expected.bytes + 1)).ok();
            if hashed == Some((expected.sha256, expected.bytes)) {
                outcome = Staged::Good;
                break;
            }
            outcome = Staged::Damaged;
        }
        match outcome {
            Staged::Good => {}
            Staged::Missing => missing.push(path),
            Staged::Damaged => damaged.push(path),
        }
    }
    refuse(missing, damaged)
}

/// Damage is told before absence: a torn copy often has both.
fn refuse(missing: Vec<String>, damaged: Vec<String>) -> Result<(), InboxError> {
    if !damaged.is_empty() {
        return Err(Refusal::FilesDamaged(damaged).into());
    }
    if !missing.is_empty() {
        return Err(Refusal::FilesMissing(missing).into());
    }
    Ok(())
}

enum Staged {
    Good,
    Missing,
    Damaged,
}

/// Stages one file from the first medium that has it whole.
fn stage_file(
    found: &Found,
    path: &str,
    to: &Utf8Path,
    expected: FileRef,
) -> Result<Staged, InboxError> {
    if is_staged(to, expected)? {
        return Ok(Staged::Good);
    }
    let mut outcome = Staged::Missing;
    for folder in &found.folders {
        match copy(folder, path, to, expected)? {
            Staged::Good => return Ok(Staged::Good),
            Staged::Damaged => outcome = Staged::Damaged,
            Staged::Missing => {}
        }
    }
    Ok(outcome)
}

fn is_staged(path: &Utf8Path, expected: FileRef) -> Result<bool, DurableError> {
    if !path.metadata().is_ok_and(|meta| meta.len() == expected.bytes) {
        return Ok(false);
    }
    let hashed = File::open(path).and_then(|mut file| hashing::hash(&mut file));
    Ok(hashed.map_err(at("read", path))?.0 == expected.sha256)
}

fn copy(
    folder: &ExportFolder,
    path: &str,
    to: &Utf8Path,
    expected: FileRef,
) -> Result<Staged, InboxError> {
    let Some(file) = folder.open(path)? else { return Ok(Staged::Missing) };
    let mut staged = DurableFile::create_in(to.parent().expect("staging has a folder"))?;
    // One byte more than expected, so that a longer file is seen to be longer.
    let mut from = file.take(expected.bytes + 1);
    let mut buffer = vec![0; hashing::BUFFER_LEN_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => staged.write_all(&buffer[..n]).map_err(at("write", to))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                // A medium that cannot be read any more is a damaged medium.
                tracing::warn!(path = %folder.path().join(path), error = %e, "cannot be read");
                return Ok(Staged::Damaged);
            }
        }
    }
    if staged.digest() != (expected.sha256, expected.bytes) {
        return Ok(Staged::Damaged);
    }
    staged.finish(to)?;
    Ok(Staged::Good)
}

/// Opens and decodes the staged manifest.
///
/// # Errors
///
/// [`Refusal::Sealed`], [`Refusal::Manifest`].
pub fn manifest(staging: &Utf8Path, identity: &Identity) -> Result<Manifest, InboxError> {
    let path = staging.join("manifest.age");
    let file = File::open(&path).map_err(at("open", &path))?;
    open_manifest(file, identity)
}

/// Opens and decodes the manifest where it lies, for a look at an export that stages nothing.
///
/// The bytes are read once, and hashed before they are opened.
///
/// # Errors
///
/// As [`manifest`]; [`Refusal::FilesMissing`] when no medium has it whole.
pub fn manifest_on(
    found: &Found,
    envelope: &VerifiedEnvelope,
    identity: &Identity,
) -> Result<Manifest, InboxError> {
    let expected = envelope.envelope().manifest;
    for folder in &found.folders {
        let bytes = folder.read("manifest.age", expected.bytes)?.unwrap_or_default();
        if Digest::of(&bytes) == expected.sha256 {
            return open_manifest(&bytes[..], identity);
        }
    }
    Err(Refusal::FilesMissing(vec!["manifest.age".to_owned()]).into())
}

fn open_manifest(sealed: impl Read, identity: &Identity) -> Result<Manifest, InboxError> {
    let opened = pack::read_sealed(sealed, identity, limits::MANIFEST_LEN_BYTES_MAX);
    let bytes = opened.map_err(|error| match error.into_fault() {
        Ok(fault) => InboxError::Manifest(fault),
        Err(refusal) => Refusal::Sealed(refusal).into(),
    })?;
    Ok(Manifest::decode(&bytes).map_err(Refusal::from)?)
}
