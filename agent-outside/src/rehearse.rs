//! The dress rehearsal: every recipe is followed once, by the very code that the inside runs,
//! before anything is sealed.
//!
//! In:   what carries the streams of every new blob.
//! Out:  for each blob nothing, or why it has to travel raw.
//! The basis is modelled by the blobs that a recipe may name: those that the inside holds, and
//! those that earlier recipes make.

use std::{collections::BTreeMap, io};

use gapferry_common::{
    budget::Budget,
    encode,
    hashing::HashingWriter,
    pack::ReadError,
    rebuild::{Chunks, RebuildError, Rebuilder},
};
use gapferry_proto::{BlobId, ChunkId, Recipe};
use rayon::prelude::*;

use crate::{
    delta::{
        Carried, DeltaError, Each, Stage, Tools,
        assemble::{Assembler, Held, Payloads},
        prepare::Prepared,
    },
    plan::Plan,
};

/// Why a blob travels raw.
#[derive(Clone, Debug)]
pub enum Raw {
    /// It failed inside before.
    Asked,
    /// The inside is of a build that follows chunks alone, or has too little memory to reseal it.
    Unable,
    /// Nothing was gained by opening it.
    NoGain,
    /// A recipe of it does not give it: a fault of an encoder or of this machine.
    Failed(String),
}

/// Rehearses all recipes, two at once on two cores.
///
/// # Errors
///
/// [`DeltaError`]: a fault of this machine.
pub fn all(
    tools: &Tools<'_>,
    plan: &Plan,
    prepared: &[Prepared],
    carried: &BTreeMap<usize, Carried>,
    each: Each<'_>,
) -> Result<Vec<Option<Raw>>, DeltaError> {
    let budget = Budget::new(tools.abilities.decode_memory_bytes);
    let mut order = BTreeMap::new();
    for (number, prepared) in prepared.iter().enumerate() {
        order.insert(prepared.blob.id, number);
    }
    let may_use = |number: usize, base: BlobId| {
        plan.held.contains_key(&base) || order.get(&base).is_some_and(|&earlier| earlier < number)
    };
    prepared
        .par_iter()
        .enumerate()
        .with_max_len(1)
        .map(|(number, prepared)| {
            let raw = one(tools, &budget, prepared, carried, |base| may_use(number, base))?;
            each(Stage::Rehearse, &prepared.blob);
            Ok(raw)
        })
        .collect()
}

/// Nothing, or why a blob has to travel raw.
fn one(
    tools: &Tools<'_>,
    budget: &Budget,
    prepared: &Prepared,
    carried: &BTreeMap<usize, Carried>,
    may_use: impl Fn(BlobId) -> bool,
) -> Result<Option<Raw>, DeltaError> {
    if prepared.raw.is_some() {
        return Ok(prepared.raw.clone());
    }
    if gains_nothing(prepared, carried) {
        return Ok(Some(Raw::NoGain));
    }
    let mut held = Held::default();
    let assembler = Assembler::new(tools, prepared, carried);
    let recipe = assembler.assemble(&mut Payloads::new(&mut held))?;
    if recipe.bases().any(|base| !may_use(base)) {
        return Ok(Some(Raw::Failed("it builds on what is not there".to_owned())));
    }
    let is_full = DeltaError::is_scratch_full;
    tools.opened.with_room(is_full, || follow(tools, budget, &recipe, &held))
}

/// Whether a blob in chunks is about as short: a stream that no encoder shortened is nearly all
/// of it.
fn gains_nothing(prepared: &Prepared, carried: &BTreeMap<usize, Carried>) -> bool {
    let payload = |entry| carried.get(entry).map_or(0, Carried::payload_len_bytes);
    let total: u64 = prepared.targets.iter().map(|target| payload(&target.entry)).sum();
    let total = total + prepared.corrections_len_bytes();
    prepared.blob.len_bytes - prepared.blob.len_bytes / 64 <= total && 4096 < total
}

fn follow(
    tools: &Tools<'_>,
    budget: &Budget,
    recipe: &Recipe,
    held: &Held,
) -> Result<Option<Raw>, DeltaError> {
    let (store, opened) = (tools.store, &tools.opened);
    let node_memory_bytes = budget.total_bytes();
    let rebuilder = Rebuilder { store, opened, budget, node_memory_bytes };
    let mut out = HashingWriter::new(io::sink());
    match rebuilder.write(recipe, &mut Rehearsal(held), &mut out) {
        Err(RebuildError::Scratch(error)) => return Err(error.into()),
        Err(RebuildError::Durable(error)) => return Err(error.into()),
        Err(error) => return Ok(Some(Raw::Failed(error.to_string()))),
        Ok(()) => {}
    }
    let (_, digest, len_bytes) = out.finish();
    let is_same = digest == recipe.blob.digest() && len_bytes == recipe.len_bytes;
    Ok((!is_same).then(|| Raw::Failed(format!("its recipe gives {digest}"))))
}

/// Chunks that have no place in a pack yet.
struct Rehearsal<'a>(&'a Held);

impl Chunks for Rehearsal<'_> {
    fn chunk(&mut self, pack: u32, _: u64, wanted: ChunkId) -> Result<Vec<u8>, ReadError> {
        let missing = || ReadError::Io(pack, io::ErrorKind::NotFound.into());
        let (head, stored) = self.0.0.get(&wanted).ok_or_else(missing)?;
        encode::decode(head, stored).map_err(|e| ReadError::Decode(pack, e))
    }
}
