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
    peel::{PeelError, bases::OpenedBlobs, identify::Abilities},
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
        let streams = prepared.targets.iter().map(|target| self.estimate_one(target, catalogue));
        let streams: u64 = streams.sum::<Result<_, DeltaError>>()?;
        Ok((streams + prepared.corrections.len() as u64).min(published_bytes))
    }

    fn estimate_one(&self, target: &Target, catalogue: &Catalogue) -> Result<u64, DeltaError> {
        if catalogue.same(target.entry).is_some() {
            return Ok(0);
        }
        let runner = self.runner(target, catalogue)?.0;
        match self.encodings.get(self.key(&runner)) {
            Some(found) => Ok(found.payload.len_bytes()),
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
                let race = || self.race_one(target, catalogue);
                let carried = self.opened.with_room(DeltaError::is_scratch_full, race)?;
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    each(Stage::Encode, &prepared.blob);
                }
                Ok((target.entry, carried))
            })
            .collect()
    }

    fn race_one(&self, target: &Target, catalogue: &Catalogue) -> Result<Carried, DeltaError> {
        if let Some(same) = catalogue.same(target.entry) {
            let same = catalogue.entry(same);
            let base = Base { leaf: same.leaf, len_bytes: same.facts.len_bytes };
            return Ok(Carried::Same(base));
        }
        let (runner, leaves) = self.runner(target, catalogue)?;
        let key = self.key(&runner);
        let encoding = match self.encodings.get(key) {
            Some(found) => found,
            None => {
                let scratch = self.opened.scratch();
                let raced = race::run(&runner, self.effort, &self.budget, scratch)?;
                // Raw too: its bytes would keep a whole scratch file until the end.
                self.encodings.put(key, raced)
            }
        };
        Ok(carried(encoding, &runner, &leaves))
    }

    /// A stream with its bytes and those of its candidates; where each candidate is.
    fn runner(
        &self,
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
            let Some(bytes) = self.bytes(leaf)? else { continue };
            let is_as_listed = leaf == base.leaf;
            let hash = if is_as_listed { base.facts.hash } else { ChunkId::of(&bytes) };
            leaves.push(Base { leaf, len_bytes: bytes.len() as u64 });
            contenders.push(Contender { hash, kinship: candidate.kinship, bytes });
        }
        let bytes = self.bytes(entry.leaf)?.unwrap_or_default();
        let (hash, is_executable) = (entry.facts.hash, entry.facts.is_executable);
        // The pool of a blob with closed streams is no view of it.
        let bytes = target.pool.clone().unwrap_or(bytes);
        let (is_blob, codecs) = (target.is_blob, self.codecs());
        Ok((Runner { hash, bytes, is_executable, contenders, is_blob, codecs }, leaves))
    }

    /// The bytes of a stream; none when there is no such view, as of a puffed xz stream, or when
    /// the blob rotted here.
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
        hasher.update(format!("race-2 {:?} {codecs:?} {is_blob}", self.effort).as_bytes());
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

fn carried(encoding: Encoding, runner: &Runner, leaves: &[Base]) -> Carried {
    let place = |hash: &ChunkId| runner.contenders.iter().position(|c| c.hash == *hash);
    let bases = encoding.bases.iter().map(|hash| place(hash).map(|place| leaves[place]));
    match (encoding.codec, bases.collect::<Option<Vec<_>>>()) {
        (Some(codec), Some(bases)) => Carried::Coded { codec, bases, payload: encoding.payload },
        _ => Carried::Raw(encoding.payload),
    }
}
