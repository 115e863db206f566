//! Applies a verified export: base check, rebuild, render, sign, switch.
//!
//! In:   a [`VerifiedExport`] whose packs are staged.
//! Out:  a new generation that is served; or a [`Refusal`] or a fault, after which what is
//!       served and trusted is as before. Blobs that were rebuilt stay: the next try goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use camino::Utf8Path;
use gapferry_common::{
    budget::Budget,
    durable::{self, DurableError, at},
    keys::Identity,
    map,
    openpgp::sign::SiteKey,
    pack::PackReader,
    peel::bases::OpenedBlobs,
    rebuild::{self, RebuildError, Rebuilder},
    scratch::Scratch,
    store::Store,
};
use gapferry_proto::{
    BlobId, BlobRef, FORMAT, Recipe, SafePath, Sequence, Snapshot, inventory::Failed, limits,
};
use jiff::{Timestamp, ToSpan};
use rayon::prelude::*;

use crate::{
    generation::{Current, Generation, State, StateError},
    local::{Overlap, Prefixes},
    publish::{self, Held, PublishError},
    schedule::{self, Ended},
    verify::{self, NotRebuilt, Refusal, VerifiedExport},
};

/// Documents by their path below the folder of their generation or activation.
type Documents = BTreeMap<SafePath, Vec<u8>>;

/// How applying can fail.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A decision. Exit code 3.
    #[error("export refused")]
    Refused(#[from] Refusal),
    /// A fault of this machine: the same import may pass on a second try. Exit code 4.
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error("cannot rebuild blob {blob}")]
    Rebuild { blob: BlobId, source: RebuildError },
    #[error("the repository heads cannot be signed")]
    Sign(#[source] PublishError),
    #[error("the documents of the generation cannot be made")]
    Publish(#[source] PublishError),
}

/// What an import takes beside decoding: manifest and snapshots, short streams in memory, buffers.
const OTHER_MEMORY_BYTES: u64 = 192 << 20;

/// What an import did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    pub sequence: Sequence,
    pub rebuilt: u64,
    pub bytes_written: u64,
}

/// What applying works with.
pub struct Applier<'a> {
    pub state: &'a State,
    pub store: &'a Store,
    pub identity: &'a Identity,
    pub repository_key: &'a SiteKey,
    /// Where plain streams lie while blobs are rebuilt, and the most of them, in bytes.
    pub scratch: &'a Utf8Path,
    pub scratch_bytes: u64,
    /// The names that are pushed to, of which none may be carried.
    pub push: &'a Prefixes,
    /// The clock, read once at the edge, for the record; nothing is decided by it.
    pub now: Timestamp,
}

impl Applier<'_> {
    /// Applies `export` from its staged packs; `each` is told of every blob that is done.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    pub fn apply(
        &self,
        export: &VerifiedExport,
        staging: &Utf8Path,
        each: impl Fn(u64) + Sync,
    ) -> Result<Applied, ApplyError> {
        let basis = basis_of(export, self.state)?;
        let snapshot = verify::resulting_snapshot(export, &basis)?;
        self.check_names(&snapshot)?;
        publish::check(&snapshot).map_err(Refusal::from)?;
        verify::check_recipes(export, &basis, &snapshot)?;
        self.check_bases(export)?;
        let (rebuilt, bytes_written) = self.rebuild(export, staging, each)?;
        self.check_held(&snapshot)?;
        let documents = self.render(&snapshot)?;
        self.keep(export, &snapshot, &documents)?;
        self.activate(export, &documents)?;
        Ok(Applied { sequence: export.manifest.sequence, rebuilt, bytes_written })
    }

    /// No image is carried under a name that users of this site push to.
    fn check_names(&self, snapshot: &Snapshot) -> Result<(), Refusal> {
        match self.push.overlap(publish::oci::repositories(snapshot)) {
            Some(Overlap { prefix, repository }) => Err(Refusal::PushPrefix { prefix, repository }),
            None => Ok(()),
        }
    }

    /// Every base blob is held and hashes to its name.
    fn check_bases(&self, export: &VerifiedExport) -> Result<(), ApplyError> {
        let mut bases = export.manifest.bases.clone();
        bases.sort_by_key(|blob| blob.id);
        bases.dedup();
        let verified: Vec<_> =
            bases.par_iter().map(|blob| self.store.verify(blob)).collect::<Result<_, _>>()?;
        let missing: Vec<BlobId> =
            bases.iter().zip(verified).filter(|(_, good)| !good).map(|(b, _)| b.id).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refusal::BasisNotHeld { sequence: export.manifest.sequence, missing }.into())
    }

    /// Rebuilds every blob that is not held yet, on all cores; their number and length in bytes.
    ///
    /// A blob that fails keeps no other away: what is good stays, and all that failed is named.
    fn rebuild(
        &self,
        export: &VerifiedExport,
        staging: &Utf8Path,
        each: impl Fn(u64) + Sync,
    ) -> Result<(u64, u64), ApplyError> {
        let recipes = &export.manifest.recipes;
        let scratch = Scratch::new(self.scratch, self.scratch_bytes)?;
        let opened = OpenedBlobs::new(scratch, self.scratch_bytes / 2);
        let budget = Budget::new(limits::DECODE_MEMORY_BYTES - OTHER_MEMORY_BYTES);
        let rebuilder = Rebuilder {
            store: self.store,
            opened: &opened,
            budget: &budget,
            node_memory_bytes: limits::DECODE_MEMORY_BYTES,
        };
        let (rebuilt, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let (proven, failures) = (Mutex::new(BTreeSet::new()), Mutex::new(vec![]));
        let reader = || PackReader::new(staging, self.identity);
        let threads = rayon::current_num_threads();
        schedule::run(&before(recipes), threads, reader, |packs, number| {
            let recipe = &recipes[number];
            match self.rebuild_one(&rebuilder, recipe, packs)? {
                Ok(is_new) => {
                    if is_new {
                        let mut proven = proven.lock().unwrap_or_else(PoisonError::into_inner);
                        proven.extend(rebuild::codecs_of(recipe));
                    }
                    rebuilt.fetch_add(u64::from(is_new), Ordering::Relaxed);
                    bytes.fetch_add(if is_new { recipe.len_bytes } else { 0 }, Ordering::Relaxed);
                    each(recipe.len_bytes);
                    Ok(Ended::Done)
                }
                Err(source) => {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push((recipe, source));
                    Ok::<_, ApplyError>(Ended::Failed)
                }
            }
        })?;
        let proven = proven.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        match not_rebuilt(failures, &proven) {
            Some(not_rebuilt) => Err(Refusal::Rebuild(Box::new(not_rebuilt)).into()),
            None => Ok((rebuilt.into_inner(), bytes.into_inner())),
        }
    }

    /// False when the blob is held already, as after an import that was killed. The inner error
    /// is no fault of this machine.
    fn rebuild_one(
        &self,
        rebuilder: &Rebuilder<'_>,
        recipe: &Recipe,
        packs: &mut PackReader<'_>,
    ) -> Result<Result<bool, RebuildError>, ApplyError> {
        if self.store.verify(&BlobRef { id: recipe.blob, len_bytes: recipe.len_bytes })? {
            return Ok(Ok(false));
        }
        match rebuilder.rebuild(recipe, packs) {
            Ok(()) => Ok(Ok(true)),
            Err(source) if source.is_fault() => {
                Err(ApplyError::Rebuild { blob: recipe.blob, source })
            }
            Err(source) => Ok(Err(source)),
        }
    }

    /// Last look before the switch: every blob of the snapshot lies there in its length.
    fn check_held(&self, snapshot: &Snapshot) -> Result<(), ApplyError> {
        let lacking = snapshot
            .blobs()
            .into_iter()
            .filter(|&(id, len_bytes)| !self.store.holds(&BlobRef { id, len_bytes }));
        let lacking: Vec<_> = lacking.map(|(id, _)| id).collect();
        if lacking.is_empty() { Ok(()) } else { Err(Refusal::BlobsMissing(lacking).into()) }
    }

    fn render(&self, snapshot: &Snapshot) -> Result<Documents, ApplyError> {
        match publish::render(snapshot, self.store) {
            Ok(tree) => Ok(tree.into_documents()),
            Err(fault @ PublishError::Read { .. }) => Err(ApplyError::Publish(fault)),
            Err(decision) => Err(Refusal::from(decision).into()),
        }
    }

    /// Writes the generation and its documents; nothing of it is served yet.
    fn keep(
        &self,
        export: &VerifiedExport,
        snapshot: &Snapshot,
        documents: &Documents,
    ) -> Result<(), ApplyError> {
        let sequence = export.manifest.sequence;
        self.state.drop_unapplied()?;
        write_documents(&self.state.documents(sequence), documents)?;
        let generation = Generation {
            sequence,
            snapshot: export.manifest.snapshot,
            basis: export.manifest.basis,
            export: export.manifest.export.clone(),
            applied: self.now,
            artifacts: snapshot.entries().len() as u64,
            kubespray: export.manifest.kubespray.clone(),
        };
        Ok(self.state.keep(&generation, snapshot)?)
    }

    fn activate(&self, export: &VerifiedExport, documents: &Documents) -> Result<(), ApplyError> {
        let last = self.state.current()?;
        let (activation, activated) = next_activation(last.as_ref(), export.envelope.created());
        let keyset = export.envelope.keyset();
        let current = Current {
            format: FORMAT,
            generation: export.manifest.sequence,
            snapshot: export.manifest.snapshot,
            activation,
            activated,
            epoch: export.manifest.epoch,
            sequence: export.manifest.sequence,
            export: export.manifest.export.clone(),
            envelope_sha256: export.envelope.hash(),
            keyset_version: keyset.keyset().version,
            keyset_sha256: keyset.hash(),
        };
        self.switch(&current, documents)
    }

    /// Signs the heads of an activation, then switches to it in one step.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]: the generation before is still served.
    fn switch(&self, current: &Current, documents: &Documents) -> Result<(), ApplyError> {
        let heads = publish::heads(documents, current.activated, self.repository_key);
        let heads = heads.map_err(ApplyError::Sign)?;
        write_documents(&self.state.heads(current.activation), &heads)?;
        Ok(self.state.switch(current)?)
    }

    /// Serves a kept generation again; sequence and trust stay as they are.
    ///
    /// # Errors
    ///
    /// [`StateError::NoGeneration`], or a fault; the generation before is still served.
    pub fn roll_to(&self, last: &Current, sequence: Sequence) -> Result<Current, ApplyError> {
        let generation = self.state.generation(sequence)?;
        let snapshot = self.state.list(&generation)?;
        self.check_names(&snapshot)?;
        self.check_held(&snapshot)?;
        let documents = read_documents(&self.state.documents(sequence))?;
        let (activation, activated) = next_activation(Some(last), last.activated);
        let current = Current {
            generation: sequence,
            snapshot: generation.snapshot,
            activation,
            activated,
            ..last.clone()
        };
        self.switch(&current, &documents)?;
        Ok(current)
    }
}

impl Held for Store {
    fn open(&self, id: BlobId) -> io::Result<Bytes> {
        let file = self.open_blob(id).map_err(io::Error::other)?;
        map::map(&file)
    }
}

/// For each recipe the earlier ones whose blobs it builds on.
fn before(recipes: &[Recipe]) -> Vec<Vec<usize>> {
    let mut made = BTreeMap::new();
    let mut before = vec![];
    for (number, recipe) in recipes.iter().enumerate() {
        before.push(recipe.bases().filter_map(|base| made.get(&base).copied()).collect());
        made.insert(recipe.blob, number);
    }
    before
}

/// What failed, for the refusal; none when nothing did. A codec that gave another blob of this
/// import is not to blame.
fn not_rebuilt(
    failures: Vec<(&Recipe, RebuildError)>,
    proven: &BTreeSet<String>,
) -> Option<NotRebuilt> {
    let suspects = |recipe: &Recipe, source: &RebuildError| {
        let mut suspects = source.suspects(recipe);
        suspects.retain(|codec| source.names_its_codec() || !proven.contains(codec));
        suspects
    };
    let named = failures.iter().flat_map(|(recipe, source)| {
        let blob = recipe.blob;
        let suspects = suspects(recipe, source);
        let codecs: Vec<Option<String>> = match suspects.is_empty() {
            true => vec![None],
            false => suspects.into_iter().map(Some).collect(),
        };
        codecs.into_iter().map(move |codec| Failed { blob, codec })
    });
    let failed: Vec<Failed> = named.collect();
    let blobs = failures.len();
    let (recipe, source) = failures.into_iter().next()?;
    let codecs = match &suspects(recipe, &source)[..] {
        [] => "no codec to blame".to_owned(),
        suspects => suspects.join(", "),
    };
    Some(NotRebuilt { blobs, first: recipe.blob, codecs, failed, source })
}

/// The snapshot that the export builds on.
///
/// # Errors
///
/// [`Refusal::BasisNotKept`], or [`ApplyError::State`] when the kept list is damaged.
pub fn basis_of(export: &VerifiedExport, state: &State) -> Result<Snapshot, ApplyError> {
    let Some(basis) = export.manifest.basis else { return Ok(Snapshot::default()) };
    let sequence = export.manifest.sequence;
    Ok(state.snapshot(basis)?.ok_or(Refusal::BasisNotKept { sequence, basis })?)
}

/// Each activation is dated as the export is, but later than the one before: apt keeps the newer
/// of two lists that it has seen. This machine's clock has no say.
fn next_activation(last: Option<&Current>, created: Timestamp) -> (u64, Timestamp) {
    match last {
        None => (1, created),
        Some(last) => (last.activation + 1, created.max(last.activated + 1.second())),
    }
}

/// Writes documents below `folder`, which appears whole or not at all.
fn write_documents(folder: &Utf8Path, documents: &Documents) -> Result<(), DurableError> {
    let name = folder.file_name().expect("a folder of documents has a name");
    let parent = folder.parent().expect("a folder of documents has a parent");
    let part = parent.join(format!(".part-{name}"));
    durable::remove(&part)?;
    durable::create_folders(&part)?;
    for (path, bytes) in documents {
        durable::write(&part.join(path.as_str()), bytes)?;
    }
    durable::remove(folder)?;
    durable::rename(&part, folder)
}

/// Reads the documents of a kept generation, as they were written when it was applied.
fn read_documents(folder: &Utf8Path) -> Result<Documents, DurableError> {
    let mut documents = Documents::new();
    for path in durable::files_below(folder)? {
        let whole = folder.join(&path);
        let bytes = std::fs::read(&whole).map_err(at("read", &whole))?;
        if let Ok(path) = path.as_str().parse() {
            documents.insert(path, bytes);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::tests::current;

    #[test]
    fn an_activation_is_dated_after_the_one_before_even_when_the_clock_went_back() {
        let last = current(1);
        let earlier = last.activated - 3.hours();
        let later = last.activated + 3.hours();
        assert_eq!(next_activation(None, earlier), (1, earlier));
        assert_eq!(next_activation(Some(&last), later), (2, later));
        assert_eq!(next_activation(Some(&last), earlier), (2, last.activated + 1.second()));
    }
}
