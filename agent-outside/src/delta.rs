//! The delta: which bytes of the new blobs travel, and the recipe of each blob.
//!
//! In:   a plan, the store, what the inside can follow.
//! Out:  a recipe and a report for each blob; frames, in order, to a [`Frames`].
//!
//! Every blob is opened into streams (`prepare`), every stream is raced (`race`), every recipe
//! is followed once by the inside's own code (`rehearse`), and only then its bytes are placed.
//! What fails there travels raw, in chunks.

pub mod assemble;
pub mod prepare;
pub mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use assemble::{Assembler, Payloads};
use bytes::Bytes;
use camino::Utf8PathBuf;
use gapferry_common::{
    budget::Budget,
    durable::DurableError,
    pack::{PackWriter, WriteError},
    patch::Effort,
    peel::{PeelError, bases::BaseError, bases::OpenedBlobs, identify::Abilities},
    scratch::Scratch,
    store::{Index, IndexError, Store},
};
use gapferry_proto::{
    BlobId, BlobRef, ChunkId, Recipe,
    pack::{FRAME_HEAD_LEN_BYTES, FrameHead},
    recipe::{Codec, View},
};
use prepare::{Prepared, Target};
use rayon::prelude::*;
use report::BlobReport;

use crate::{
    bases::{Catalogue, LeafRef},
    chunks,
    encodings::{Encoding, Encodings},
    plan::Plan,
    race::{self, Contender, Runner},
    rehearse,
};

/// Why a delta cannot be made. A fault of this machine.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    #[error("blob {0} is not in the store; run `gapferry-outside sync`")]
    NotHeld(BlobId),
    #[error("blob {0} is damaged; run `gapferry-outside scrub` and then `sync`")]
    Damaged(BlobId),
    #[error("cannot read blob {0}")]
    Read(BlobId, #[source] std::io::Error),
    #[error("cannot use scratch space; free some, or set scratch_bytes in config.toml")]
    Scratch(#[from] std::io::Error),
    #[error(transparent)]
    Peel(#[from] PeelError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl From<BaseError> for DeltaError {
    fn from(error: BaseError) -> Self {
        match error {
            BaseError::Durable(durable) => Self::Durable(durable),
            BaseError::Peel(peel) => Self::Peel(peel),
        }
    }
}

/// Where frames go: into packs, or only into a sum.
pub trait Frames {
    /// Takes a frame; its pack and offset there.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    fn append(&mut self, head: &FrameHead, stored: &[u8]) -> Result<(u32, u64), WriteError>;
}

impl Frames for PackWriter<'_> {
    fn append(&mut self, head: &FrameHead, stored: &[u8]) -> Result<(u32, u64), WriteError> {
        PackWriter::append(self, head, stored)
    }
}

/// Counts frames for an estimate.
#[derive(Debug, Default)]
pub struct Counted {
    pub bytes: u64,
}

impl Frames for Counted {
    fn append(&mut self, _: &FrameHead, stored: &[u8]) -> Result<(u32, u64), WriteError> {
        self.bytes += (FRAME_HEAD_LEN_BYTES + stored.len()) as u64;
        Ok((1, self.bytes))
    }
}

/// Memory for all encoders together: 2 GiB less what the rest of the program needs.
const ENCODE_MEMORY_BYTES: u64 = 1900 << 20;

/// Makes deltas.
pub struct Engine<'a> {
    pub tools: Tools<'a>,
    pub index: &'a mut Index,
}

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
    sound: Mutex<BTreeMap<BlobId, bool>>,
    budget: Budget,
}

/// Where an engine keeps what may be thrown away.
#[derive(Clone, Debug)]
pub struct Places {
    pub scratch: Utf8PathBuf,
    pub scratch_bytes: u64,
    pub encodings: Utf8PathBuf,
}

/// What was made of a plan.
#[derive(Debug, Default)]
pub struct Made {
    /// In the order in which the inside follows them.
    pub recipes: Vec<Recipe>,
    pub reports: Vec<BlobReport>,
    pub seconds: Seconds,
}

/// Where the time went, by the wall.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Seconds {
    /// Opening blobs and finding their encoders.
    pub census: f64,
    /// Choosing bases and encoding.
    pub encode: f64,
    pub rehearse: f64,
}

/// A stream that something is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    pub leaf: LeafRef,
    pub len_bytes: u64,
}

/// What carries one stream.
#[derive(Clone, Debug)]
pub enum Carried {
    /// It is there already.
    Same(Base),
    Coded {
        codec: Codec,
        bases: Vec<Base>,
        payload: Bytes,
    },
    /// As it is.
    Raw(Bytes),
}

impl Carried {
    /// Bytes that travel for it, without frames and recipe.
    pub fn payload_len_bytes(&self) -> u64 {
        match self {
            Self::Same(_) => 0,
            Self::Coded { payload, .. } | Self::Raw(payload) => payload.len() as u64,
        }
    }
}

impl<'a> Engine<'a> {
    /// # Errors
    ///
    /// [`DurableError`]: the folders cannot be made.
    pub fn new(
        store: &'a Store,
        index: &'a mut Index,
        places: &Places,
        effort: Effort,
        abilities: Abilities,
    ) -> Result<Self, DurableError> {
        let scratch = Scratch::new(&places.scratch, places.scratch_bytes)?;
        let tools = Tools {
            store,
            encodings: Encodings::open(places.encodings.clone())?,
            opened: OpenedBlobs::new(scratch, places.scratch_bytes / 2),
            effort,
            abilities,
            raw: BTreeSet::new(),
            sound: Mutex::new(BTreeMap::new()),
            budget: Budget::new(ENCODE_MEMORY_BYTES),
        };
        Ok(Self { tools, index })
    }

    /// Makes the recipes of `plan` and writes their frames; `each` is told of every blob whose
    /// streams are encoded.
    ///
    /// # Errors
    ///
    /// [`DeltaError`].
    pub fn make(
        &mut self,
        plan: &Plan,
        frames: &mut dyn Frames,
        each: impl Fn(&BlobRef) + Sync,
    ) -> Result<Made, DeltaError> {
        let began = Instant::now();
        let (prepared, catalogue) = prepare::all(self, plan)?;
        let census = began.elapsed();
        let began = Instant::now();
        let carried = self.tools.race(&prepared, &catalogue, each)?;
        let encode = began.elapsed();
        let mut made = self.place(plan, &prepared, &catalogue, &carried, frames)?;
        let seconds = |d: Duration| d.as_secs_f64();
        made.seconds = Seconds { census: seconds(census), encode: seconds(encode), ..made.seconds };
        self.tools.encodings.trim()?;
        Ok(made)
    }

    /// What `plan` will about carry, in bytes: cached encodings, else probes.
    ///
    /// # Errors
    ///
    /// [`DeltaError`].
    pub fn estimate(&mut self, plan: &Plan) -> Result<Vec<BlobReport>, DeltaError> {
        let (prepared, catalogue) = prepare::all(self, plan)?;
        let tools = &self.tools;
        let estimates: Vec<Vec<u64>> = prepared
            .par_iter()
            .map(|p| p.targets.iter().map(|t| tools.estimate_one(t, &catalogue)).collect())
            .collect::<Result<_, _>>()?;
        let reports = prepared.iter().zip(estimates).map(|(prepared, bytes)| {
            let sum = bytes.iter().sum::<u64>().min(prepared.blob.len_bytes);
            BlobReport::estimated(prepared, sum)
        });
        Ok(reports.collect())
    }

    /// Rehearses every recipe, then places what it needs; what fails travels raw.
    fn place(
        &mut self,
        plan: &Plan,
        prepared: &[Prepared],
        catalogue: &Catalogue,
        carried: &BTreeMap<usize, Carried>,
        frames: &mut dyn Frames,
    ) -> Result<Made, DeltaError> {
        let began = Instant::now();
        let rehearsed = rehearse::all(&self.tools, plan, prepared, carried)?;
        let rehearse = began.elapsed().as_secs_f64();
        let mut made =
            Made { seconds: Seconds { rehearse, ..Seconds::default() }, ..Made::default() };
        chunks::begin(self.tools.store, self.index, plan, rehearsed.iter().any(Option::is_some))?;
        for (prepared, failed) in prepared.iter().zip(rehearsed) {
            let mut counted = Tally { frames: &mut *frames, bytes: 0 };
            let recipe = match &failed {
                Some(_) => chunks::make(self.tools.store, self.index, prepared.blob, &mut counted)?,
                None => Assembler::new(prepared, carried).assemble(&mut Payloads(&mut counted))?,
            };
            let bytes = counted.bytes;
            made.reports.push(BlobReport::new(prepared, catalogue, carried, failed, bytes));
            made.recipes.push(recipe);
        }
        Ok(made)
    }
}

impl Tools<'_> {
    fn estimate_one(&self, target: &Target, catalogue: &Catalogue) -> Result<u64, DeltaError> {
        if catalogue.same(target.entry).is_some() {
            return Ok(0);
        }
        let runner = self.runner(target, catalogue)?.0;
        match self.encodings.get(self.key(&runner)) {
            Some(found) => Ok(found.payload.len() as u64),
            None => Ok(race::estimate(&runner, &self.budget)),
        }
    }

    /// Races all streams, two at once on two cores.
    fn race(
        &self,
        prepared: &[Prepared],
        catalogue: &Catalogue,
        each: impl Fn(&BlobRef) + Sync,
    ) -> Result<BTreeMap<usize, Carried>, DeltaError> {
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
                let carried = self.race_one(target, catalogue)?;
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    each(&prepared.blob);
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
                self.encodings.put(key, &raced)
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
        let opened = self.opened.get(self.store, leaf.blob)?;
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
    pub fn can_open(&self) -> bool {
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

/// Counts the frames of one blob on their way.
struct Tally<'a> {
    frames: &'a mut dyn Frames,
    bytes: u64,
}

impl Frames for Tally<'_> {
    fn append(&mut self, head: &FrameHead, stored: &[u8]) -> Result<(u32, u64), WriteError> {
        self.bytes += (FRAME_HEAD_LEN_BYTES + stored.len()) as u64;
        self.frames.append(head, stored)
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

/// The blobs that recipes take bytes from and that they do not make themselves, each once, with
/// lengths from `held`.
pub fn bases(recipes: &[Recipe], held: &BTreeMap<BlobId, u64>) -> Vec<BlobRef> {
    let used: BTreeSet<BlobId> = recipes.iter().flat_map(Recipe::bases).collect();
    used.into_iter().filter_map(|id| Some(BlobRef { id, len_bytes: *held.get(&id)? })).collect()
}
