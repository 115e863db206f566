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
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
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
    scratch::{self, Scratch},
    store::{Index, IndexError, Store},
};
use gapferry_proto::{
    BlobId, BlobRef, Recipe,
    pack::{FRAME_HEAD_LEN_BYTES, FrameHead},
    recipe::Codec,
};
use prepare::Prepared;
use rayon::prelude::*;
use report::BlobReport;
pub use tools::Tools;

use crate::{
    bases::{Catalogue, LeafRef},
    chunks,
    encodings::{Encodings, Payload},
    plan::Plan,
    rehearse::{self, Raw},
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

impl DeltaError {
    /// Whether the scratch space was used up, which others at work may have done.
    pub fn is_scratch_full(&self) -> bool {
        match self {
            Self::Scratch(error) | Self::Peel(PeelError::Scratch(error)) => scratch::is_full(error),
            _ => false,
        }
    }
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
    fn append(&mut self, head: &FrameHead, stored: Bytes) -> Result<(u32, u64), WriteError>;
}

impl Frames for PackWriter<'_> {
    fn append(&mut self, head: &FrameHead, stored: Bytes) -> Result<(u32, u64), WriteError> {
        PackWriter::append(self, head, &stored)
    }
}

/// Counts frames for an estimate.
#[derive(Debug, Default)]
pub struct Counted {
    pub bytes: u64,
}

impl Frames for Counted {
    fn append(&mut self, _: &FrameHead, stored: Bytes) -> Result<(u32, u64), WriteError> {
        self.bytes += (FRAME_HEAD_LEN_BYTES + stored.len()) as u64;
        Ok((1, self.bytes))
    }
}

/// What is done with every new blob, one stage after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Opening it and finding its encoders.
    Open,
    /// Encoding its streams, or probing them for an estimate.
    Encode,
    Rehearse,
}

/// Who is told of each blob that a stage is done with.
pub type Each<'a> = &'a (dyn Fn(Stage, &BlobRef) + Sync);

/// Memory for all encoders together: 2 GiB less what the rest of the program needs.
pub const ENCODE_MEMORY_BYTES: u64 = 1900 << 20;

/// Makes deltas.
pub struct Engine<'a> {
    pub tools: Tools<'a>,
    pub index: &'a mut Index,
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
        payload: Payload,
    },
    /// As it is.
    Raw {
        len_bytes: u64,
    },
}

impl Carried {
    /// Bytes that travel for it, without frames and recipe.
    pub fn payload_len_bytes(&self) -> u64 {
        match self {
            Self::Same(_) => 0,
            Self::Coded { payload, .. } => payload.len_bytes(),
            Self::Raw { len_bytes } => *len_bytes,
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

    /// Makes the recipes of `plan` and writes their frames.
    ///
    /// # Errors
    ///
    /// [`DeltaError`].
    pub fn make(
        &mut self,
        plan: &Plan,
        frames: &mut dyn Frames,
        each: Each<'_>,
    ) -> Result<Made, DeltaError> {
        let (started, began) = (SystemTime::now(), Instant::now());
        let (prepared, catalogue) = prepare::all(self, plan, each)?;
        let census = began.elapsed();
        let began = Instant::now();
        let carried = self.tools.race(&prepared, &catalogue, each)?;
        let encode = began.elapsed();
        let began = Instant::now();
        let failed = rehearse::all(&self.tools, plan, &prepared, &carried, each)?;
        let rehearse = began.elapsed();
        self.discard_failed(&prepared, &carried, &failed)?;
        let mut made = self.place(plan, &prepared, &catalogue, &carried, failed, frames)?;
        let seconds = |d: Duration| d.as_secs_f64();
        let (census, encode, rehearse) = (seconds(census), seconds(encode), seconds(rehearse));
        made.seconds = Seconds { census, encode, rehearse };
        if let Err(error) = self.tools.encodings.trim(started) {
            tracing::warn!(%error, "encodings that are not needed stay");
        }
        Ok(made)
    }

    /// What `plan` will about carry, in bytes: cached encodings, else probes.
    ///
    /// # Errors
    ///
    /// [`DeltaError`].
    pub fn estimate(&mut self, plan: &Plan, each: Each<'_>) -> Result<Vec<BlobReport>, DeltaError> {
        let (prepared, catalogue) = prepare::all(self, plan, each)?;
        let report = |prepared: &Prepared| {
            let bytes = self.tools.estimate(prepared, &catalogue)?;
            each(Stage::Encode, &prepared.blob);
            Ok(BlobReport::estimated(prepared, bytes))
        };
        prepared.par_iter().with_max_len(1).map(report).collect()
    }

    /// Forgets how blobs were opened and encoded that failed their rehearsal: it was found on this
    /// machine, and may have been its fault.
    fn discard_failed(
        &mut self,
        prepared: &[Prepared],
        carried: &BTreeMap<usize, Carried>,
        failed: &[Option<Raw>],
    ) -> Result<(), IndexError> {
        let failed = prepared.iter().zip(failed);
        let failed: Vec<_> =
            failed.filter(|(_, raw)| matches!(raw, Some(Raw::Failed(_)))).collect();
        let targets = failed.iter().flat_map(|(prepared, _)| &prepared.targets);
        for carried in targets.filter_map(|target| carried.get(&target.entry)) {
            if let Carried::Coded { payload, .. } = carried {
                payload.discard();
            }
        }
        self.index.forget(failed.iter().map(|(prepared, _)| prepared.blob.id))
    }

    /// Places what every recipe needs; what failed its rehearsal travels raw.
    fn place(
        &mut self,
        plan: &Plan,
        prepared: &[Prepared],
        catalogue: &Catalogue,
        carried: &BTreeMap<usize, Carried>,
        failed: Vec<Option<Raw>>,
        frames: &mut dyn Frames,
    ) -> Result<Made, DeltaError> {
        let mut made = Made::default();
        chunks::begin(self.tools.store, self.index, plan, failed.iter().any(Option::is_some))?;
        for (prepared, failed) in prepared.iter().zip(failed) {
            let mut counted = Tally { frames: &mut *frames, bytes: 0 };
            let (recipe, inline_bytes) = if failed.is_some() {
                let (store, blob) = (self.tools.store, prepared.blob);
                (chunks::make(store, self.index, blob, &mut counted)?, 0)
            } else {
                let mut payloads = Payloads::new(&mut counted);
                let assembler = Assembler::new(&self.tools, prepared, carried);
                let recipe = assembler.assemble(&mut payloads)?;
                (recipe, payloads.inline_bytes)
            };
            let bytes = counted.bytes + inline_bytes;
            made.reports.push(BlobReport::new(prepared, plan, catalogue, carried, failed, bytes));
            made.recipes.push(recipe);
        }
        Ok(made)
    }
}

/// Counts the frames of one blob on their way.
struct Tally<'a> {
    frames: &'a mut dyn Frames,
    bytes: u64,
}

impl Frames for Tally<'_> {
    fn append(&mut self, head: &FrameHead, stored: Bytes) -> Result<(u32, u64), WriteError> {
        self.bytes += (FRAME_HEAD_LEN_BYTES + stored.len()) as u64;
        self.frames.append(head, stored)
    }
}

/// The blobs that recipes take bytes from and that they do not make themselves, each once, with
/// lengths from `held`.
pub fn bases(recipes: &[Recipe], held: &BTreeMap<BlobId, u64>) -> Vec<BlobRef> {
    let used: BTreeSet<BlobId> = recipes.iter().flat_map(Recipe::bases).collect();
    used.into_iter().filter_map(|id| Some(BlobRef { id, len_bytes: *held.get(&id)? })).collect()
}
