//! What deltas are made with: the race of every stream, with the bytes of its candidates.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use gapferry_common::{
    budget::Budget,
    patch::Effort,
    peel::{
        PeelError,
        bases::OpenedBlobs,
        identify::Abilities,
        pool::{self, Fate},
    },
    store::Store,
};
use gapferry_proto::{
    BlobId, ChunkId,
    recipe::{Codec, View},
};
use rayon::prelude::*;

use super::{
    Base, Carried, DeltaError, Each, Stage,
    prepare::{Prepared, Target},
};
use crate::{
    bases::{Catalogue, LeafRef},
    encodings::{Encoding, Encodings},
    race::{self, Contender, Runner},
    rehearse::Raw,
};

/// What deltas are made with, on all cores.
pub struct Tools<'a> {
    pub store: &'a Store,
    pub encodings: Encodings,
    pub opened: OpenedBlobs,
    pub effort: Effort,
    pub abilities: Abilities,
    /// Blobs that travel raw: they failed inside before.
    pub raw: BTreeSet<BlobId>,
    /// Blobs that were hashed, and whether they are what they should be.
    pub(super) sound: Mutex<BTreeMap<BlobId, bool>>,
    pub(super) budget: Budget,
}

impl Tools<'_> {
    /// What a blob will about take, in bytes, from cached encodings and probes.
    pub(super) fn estimate(
        &self,
        prepared: &Prepared,
        catalogue: &Catalogue,
    ) -> Result<u64, DeltaError> {
        let published_bytes = prepared.blob.len_bytes;
        if prepared.raw.is_some() {
            return Ok(published_bytes);
        }
        let one = |target| {
            let estimate = || self.estimate_one(prepared, target, catalogue);
            self.opened.with_room(DeltaError::is_scratch_full, estimate)
        };
        let streams = prepared.targets.iter().map(one);
        let streams: u64 = streams.sum::<Result<_, DeltaError>>()?;
        Ok((streams + prepared.corrections_len_bytes()).min(published_bytes))
    }

    fn estimate_one(
        &self,
        prepared: &Prepared,
        target: &Target,
        catalogue: &Catalogue,
    ) -> Result<u64, DeltaError> {
        if catalogue.same(target.entry).is_some() {
            return Ok(0);
        }
        let runner = self.runner(prepared, target, catalogue)?.0;
        match self.encodings.get(self.key(&runner)) {
            Some(Some(found)) => Ok(found.payload.len_bytes()),
            Some(None) => Ok(target.len_bytes),
            None => Ok(race::estimate(&runner, &self.budget)),
        }
    }

    /// Why a blob travels raw before anything is encoded.
    pub(super) fn raw_from_the_start(&self, blob: BlobId, reseal_memory_bytes: u64) -> Option<Raw> {
        if self.raw.contains(&blob) {
            return Some(Raw::Asked);
        }
        let is_able = self.can_open() && reseal_memory_bytes <= self.abilities.decode_memory_bytes;
        (!is_able).then_some(Raw::Unable)
    }

    /// Races all streams of blobs that do not travel raw, two at once on two cores.
    pub(super) fn race(
        &self,
        prepared: &[Prepared],
        catalogue: &Catalogue,
        each: Each<'_>,
    ) -> Result<BTreeMap<usize, Carried>, DeltaError> {
        let (raw, prepared): (Vec<_>, Vec<_>) = prepared.iter().partition(|p| p.raw.is_some());
        raw.iter().for_each(|raw| each(Stage::Encode, &raw.blob));
        let left: Vec<AtomicUsize> =
            prepared.iter().map(|p| AtomicUsize::new(p.targets.len())).collect();
        let targets = prepared.iter().zip(&left);
        let targets: Vec<_> = targets
            .flat_map(|(p, left)| p.targets.iter().map(move |target| (target, p, left)))
            .collect();
        targets
            .par_iter()
            .with_max_len(1)
            .map(|(target, prepared, left)| {
                let race = || self.race_one(prepared, target, catalogue);
                let carried = self.opened.with_room(DeltaError::is_scratch_full, race)?;
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    each(Stage::Encode, &prepared.blob);
                }
                Ok((target.entry, carried))
            })
            .collect()
    }

    fn race_one(
        &self,
        prepared: &Prepared,
        target: &Target,
        catalogue: &Catalogue,
    ) -> Result<Carried, DeltaError> {
        if let Some(same) = catalogue.same(target.entry) {
            let same = catalogue.entry(same);
            let base = Base { leaf: same.leaf, len_bytes: same.facts.len_bytes };
            return Ok(Carried::Same(base));
        }
        let (runner, leaves) = self.runner(prepared, target, catalogue)?;
        let key = self.key(&runner);
        let encoding = match self.encodings.get(key) {
            Some(found) => found,
            None => {
                let scratch = self.opened.scratch();
                let raced = race::run(&runner, self.effort, &self.budget, scratch)?;
                self.encodings.put(key, raced)
            }
        };
        Ok(carried(encoding, &runner, &leaves))
    }

    /// A stream with its bytes and those of its candidates; where each candidate is.
    fn runner(
        &self,
        prepared: &Prepared,
        target: &Target,
        catalogue: &Catalogue,
    ) -> Result<(Runner, Vec<Base>), DeltaError> {
        let entry = catalogue.entry(target.entry);
        let (mut contenders, mut leaves) = (vec![], vec![]);
        for candidate in catalogue.candidates(target.entry) {
            let base = catalogue.entry(candidate.entry);
            let Some(leaf) = base_for(entry.leaf.view, base.leaf, base.facts.stream) else {
                continue;
            };
            if leaf != base.leaf && leaf.blob == entry.leaf.blob {
                continue; // another view of the blob that is being made
            }
            if leaves.iter().any(|known: &Base| known.leaf == leaf) {
                continue; // two leaves of one puffed stream are it twice
            }
            let Some(bytes) = self.bytes(leaf)? else { continue };
            let is_as_listed = leaf == base.leaf;
            let hash = if is_as_listed { base.facts.hash } else { ChunkId::of(&bytes) };
            leaves.push(Base { leaf, len_bytes: bytes.len() as u64 });
            contenders.push(Contender { hash, kinship: candidate.kinship, bytes });
        }
        let bytes = self.stream(prepared, target)?;
        let (hash, is_executable) = (entry.facts.hash, entry.facts.is_executable);
        let (is_blob, codecs) = (target.is_blob, self.codecs());
        Ok((Runner { hash, bytes, is_executable, contenders, is_blob, codecs }, leaves))
    }

    /// The bytes of a stream of a new blob.
    ///
    /// # Errors
    ///
    /// [`DeltaError`].
    pub(super) fn stream(&self, prepared: &Prepared, target: &Target) -> Result<Bytes, DeltaError> {
        let opened = self.opened.get(self.store, prepared.blob.id, &self.budget)?;
        let scratch = self.opened.scratch();
        if target.view == View::Pool && !prepared.closed.is_empty() {
            let fate = |stream| prepared.closed.get(&stream).copied().unwrap_or(Fate::Open);
            return Ok(pool::with_fates(&opened, fate, scratch)?.pool);
        }
        Ok(opened.view(target.view, scratch)?)
    }

    /// The bytes of a stream that may be a base; none when there is no such view, as of a puffed xz
    /// stream, or when the blob rotted here.
    fn bytes(&self, leaf: LeafRef) -> Result<Option<Bytes>, DeltaError> {
        let opened = self.opened.get(self.store, leaf.blob, &self.budget)?;
        if !self.is_sound(leaf.blob, opened.blob()) {
            return Ok(None);
        }
        match opened.view(leaf.view, self.opened.scratch()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(PeelError::NoView(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a blob hashes to its name; each is read once.
    fn is_sound(&self, id: BlobId, blob: &[u8]) -> bool {
        let known = |sound: &Mutex<BTreeMap<BlobId, bool>>| {
            sound.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
        };
        known(&self.sound).unwrap_or_else(|| {
            let is_sound = BlobId::of(blob) == id;
            self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert(id, is_sound);
            is_sound
        })
    }

    /// The codecs that the inside can follow.
    fn codecs(&self) -> Vec<Codec> {
        let listed = |codec: &Codec| self.abilities.codecs.contains(codec.id());
        Codec::ALL.into_iter().filter(listed).collect()
    }

    /// Whether the inside can follow more than chunks.
    fn can_open(&self) -> bool {
        let nodes = ["bytes", "view-1", "reseal-1"];
        nodes.iter().all(|&node| self.abilities.codecs.contains(node))
    }

    /// What decides an encoding.
    fn key(&self, runner: &Runner) -> ChunkId {
        let mut hasher = blake3::Hasher::new();
        let Runner { codecs, is_blob, .. } = runner;
        hasher.update(format!("race-4 {:?} {codecs:?} {is_blob}", self.effort).as_bytes());
        hasher.update(runner.hash.as_bytes());
        for contender in &runner.contenders {
            hasher.update(format!("{:?}", contender.kinship).as_bytes());
            hasher.update(contender.hash.as_bytes());
        }
        ChunkId::from_bytes(hasher.finalize().into())
    }
}

/// The view of a base that a stream of that view can be made of: what is puffed of what is
/// puffed, what is plain of what is plain.
fn base_for(target: View, base: LeafRef, stream: u32) -> Option<LeafRef> {
    match (target, base.view) {
        (View::Sealed(_), _) => None,
        (View::Puffed(_), View::Puffed(_)) => Some(base),
        (View::Puffed(_), View::Leaf(_)) if stream != 0 => {
            Some(LeafRef { view: View::Puffed(stream), ..base })
        }
        (View::Puffed(_), _) | (_, View::Puffed(_) | View::Sealed(_)) => None,
        _ => Some(base),
    }
}

fn carried(found: Option<Encoding>, runner: &Runner, leaves: &[Base]) -> Carried {
    let place = |hash: &ChunkId| runner.contenders.iter().position(|c| c.hash == *hash);
    let coded = |Encoding { codec, bases, payload }: Encoding| {
        let bases = bases.iter().map(|hash| place(hash).map(|place| leaves[place]));
        Some(Carried::Coded { codec, bases: bases.collect::<Option<_>>()?, payload })
    };
    found.and_then(coded).unwrap_or(Carried::Raw { len_bytes: runner.bytes.len() as u64 })
}
