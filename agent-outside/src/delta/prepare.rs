//! Opens blobs and lists their streams: what the inside has, then what has to travel.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use gapferry_common::{
    patch,
    peel::{
        Opened,
        identify::{self, Husk},
        pool::{self, Fate, Pooled},
    },
};
use gapferry_proto::{
    BlobId, BlobRef,
    recipe::{Codec, View},
};
use rayon::prelude::*;

use super::{DeltaError, Each, Engine, Stage, Tools};
use crate::{
    bases::{Catalogue, Entry, LeafRef},
    leaves::{self, LeafFacts},
    plan::Plan,
    rehearse::Raw,
};

/// How many blobs are opened before their facts are written to the index.
const BATCH: usize = 64;

/// A new blob, opened and listed.
#[derive(Debug)]
pub struct Prepared {
    pub blob: BlobRef,
    /// What has to travel, or is there already: large leaves first, the pool last.
    pub targets: Vec<Target>,
    /// The views of the leaves in the order of the layout.
    pub leaves: Vec<View>,
    /// Whether the only leaf is the whole blob, so that there is nothing to reseal.
    pub is_leaf: bool,
    pub encoders: Vec<(String, u64)>,
    pub corrections: Bytes,
    /// The corrections as an xz file, where that is shorter: those of many streams repeat
    /// preflate's parameters.
    pub packed_corrections: Option<Bytes>,
    /// Memory that resealing takes inside.
    pub reseal_memory_bytes: u64,
    /// Coded streams that do not stand open in the pool, and how they stand.
    pub closed: BTreeMap<u32, Fate>,
    /// What stayed closed and why, for people.
    pub notes: Vec<&'static str>,
    /// Why it travels raw whatever its streams cost: none of them is encoded then.
    pub raw: Option<Raw>,
}

impl Prepared {
    /// How many coded streams no encoder gives again: they stay as they are.
    pub fn sealed_streams(&self) -> u64 {
        self.closed.values().filter(|fate| **fate == Fate::Sealed).count() as u64
    }

    /// Bytes that travel for the corrections.
    pub fn corrections_len_bytes(&self) -> u64 {
        self.packed_corrections.as_ref().unwrap_or(&self.corrections).len() as u64
    }
}

/// One stream of a new blob.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its place in the catalogue.
    pub entry: usize,
    pub view: View,
    pub len_bytes: u64,
    /// Whether it is the whole blob.
    pub is_blob: bool,
}

/// A new blob before its streams have a place in the catalogue.
struct Listed {
    prepared: Prepared,
    facts: Vec<LeafFacts>,
    husk: Vec<u8>,
    /// For the index: the blob as a base.
    as_base: Vec<u8>,
}

/// Opens every new blob; what the inside holds comes first in the catalogue.
///
/// # Errors
///
/// [`DeltaError`].
pub fn all(
    engine: &mut Engine<'_>,
    plan: &Plan,
    each: Each<'_>,
) -> Result<(Vec<Prepared>, Catalogue), DeltaError> {
    let mut catalogue = Catalogue::default();
    if plan.new_blobs.is_empty() {
        return Ok((vec![], catalogue));
    }
    let mut listed = list(engine, plan, each)?;
    let wanted = wanted_features(&mut listed);
    for (blob, facts) in held(engine, plan, &wanted)? {
        add(&mut catalogue, blob, facts, plan, |_| true);
    }
    // The largest first: a program that is the first of a new toolchain is the base of the rest.
    listed.sort_by_key(|listed| {
        let largest = listed.facts.iter().map(|facts| facts.len_bytes).max();
        std::cmp::Reverse(largest.unwrap_or(0))
    });
    let place = |listed: Listed| {
        let Listed { mut prepared, facts, .. } = listed;
        // A pool with closed streams is no view of the blob.
        let is_base = |view| view != View::Pool || prepared.closed.is_empty();
        let places = add(&mut catalogue, prepared.blob.id, facts.clone(), plan, is_base);
        let targets = facts.iter().zip(places).map(|(facts, entry)| Target {
            entry,
            view: facts.view,
            len_bytes: facts.len_bytes,
            is_blob: prepared.is_leaf,
        });
        prepared.targets = targets.collect();
        prepared
    };
    let prepared = listed.into_iter().map(place).collect();
    Ok((prepared, catalogue))
}

/// Adds the streams of a blob; those that are no view of it as the inside will open it are listed
/// and are no bases.
fn add(
    catalogue: &mut Catalogue,
    blob: BlobId,
    facts: Vec<LeafFacts>,
    plan: &Plan,
    is_base: impl Fn(View) -> bool,
) -> Vec<usize> {
    let family = plan.families.get(&blob).cloned().unwrap_or_default();
    let entry = |facts: LeafFacts| {
        let leaf = LeafRef { blob, view: facts.view };
        let is_base = is_base(facts.view);
        catalogue.add(Entry { leaf, facts, family: family.clone(), is_base })
    };
    facts.into_iter().map(entry).collect()
}

/// The streams of what the inside holds, from the index; what it lacks is opened.
///
/// Of their features those in `wanted` are kept: no other leads from a new stream to a base, and
/// all of a large site's would take more memory than its export may.
fn held(
    engine: &Engine<'_>,
    plan: &Plan,
    wanted: &HashSet<u64>,
) -> Result<Vec<(BlobId, Vec<LeafFacts>)>, DeltaError> {
    let mut known = vec![];
    let mut unknown = vec![];
    for (&id, &len_bytes) in &plan.held {
        // What was dropped or rotted here is no base, though the inside holds it.
        if !engine.tools.store.holds(&BlobRef { id, len_bytes }) {
            continue;
        }
        match engine.index.leaves(id)?.and_then(|bytes| leaves::decode(&bytes)) {
            Some(facts) => known.push((id, restricted(facts, wanted))),
            None => unknown.push(id),
        }
    }
    let Tools { store, opened, budget, .. } = &engine.tools;
    for batch in unknown.chunks(BATCH) {
        let facts: Vec<_> = batch
            .par_iter()
            .with_max_len(1)
            .map(|&id| {
                opened.with_room(DeltaError::is_scratch_full, || {
                    Ok((id, leaves::of_base(&opened.get(store, id, budget)?, opened.scratch())?))
                })
            })
            .collect::<Result<_, DeltaError>>()?;
        for (id, facts) in &facts {
            engine.index.record_leaves(*id, &leaves::encode(facts))?;
        }
        known.extend(facts.into_iter().map(|(id, facts)| (id, restricted(facts, wanted))));
    }
    known.sort_by_key(|(id, _)| plan.order.get(id).copied());
    Ok(known)
}

/// Most features of all new streams together: some 80 bytes each.
const FEATURES_MAX: usize = 4 << 20;

/// The features of the new streams; where there are too many, every stream loses the same part of
/// its own: the larger ones, which are as good as drawn by lot.
fn wanted_features(listed: &mut [Listed]) -> HashSet<u64> {
    let count = |listed: &[Listed]| {
        listed.iter().flat_map(|one| &one.facts).map(|facts| facts.features.len()).sum::<usize>()
    };
    let mut limit = u64::MAX;
    while FEATURES_MAX < count(listed) {
        limit /= 2;
        for facts in listed.iter_mut().flat_map(|one| &mut one.facts) {
            facts.features.retain(|feature| *feature < limit);
        }
    }
    listed.iter().flat_map(|one| &one.facts).flat_map(|facts| &facts.features).copied().collect()
}

fn restricted(mut facts: Vec<LeafFacts>, wanted: &HashSet<u64>) -> Vec<LeafFacts> {
    for one in &mut facts {
        one.features.retain(|feature| wanted.contains(feature));
        one.features.shrink_to_fit();
    }
    facts
}

/// Opens the new blobs and finds their encoders, many at once.
fn list(engine: &Engine<'_>, plan: &Plan, each: Each<'_>) -> Result<Vec<Listed>, DeltaError> {
    let mut all = vec![];
    for batch in plan.new_blobs.chunks(BATCH) {
        let husks: Vec<_> =
            batch.iter().map(|blob| engine.index.husk(blob.id)).collect::<Result<_, _>>()?;
        let tools = &engine.tools;
        let mut listed: Vec<Listed> = batch
            .par_iter()
            .zip(&husks)
            .with_max_len(1)
            .map(|(blob, husk)| {
                let list = || list_one(tools, *blob, husk.as_deref());
                let listed = tools.opened.with_room(DeltaError::is_scratch_full, list)?;
                each(Stage::Open, blob);
                Ok(listed)
            })
            .collect::<Result<_, DeltaError>>()?;
        for (listed, husk) in listed.iter_mut().zip(husks) {
            let id = listed.prepared.blob.id;
            let [found, as_base] = [&mut listed.husk, &mut listed.as_base].map(std::mem::take);
            if husk.is_none() {
                engine.index.record_husk(id, &found)?;
            }
            engine.index.record_leaves(id, &as_base)?;
        }
        all.extend(listed);
    }
    Ok(all)
}

fn list_one(tools: &Tools<'_>, blob: BlobRef, husk: Option<&[u8]>) -> Result<Listed, DeltaError> {
    if !tools.store.holds(&blob) {
        return Err(DeltaError::NotHeld(blob.id));
    }
    let opened = tools.opened.get(tools.store, blob.id, &tools.budget)?;
    if BlobId::of(opened.blob()) != blob.id {
        return Err(DeltaError::Damaged(blob.id));
    }
    let scratch = tools.opened.scratch();
    let husk = husk.and_then(|bytes| Husk::decode(bytes, &opened));
    let own = identify::Abilities::own();
    let husk = husk.unwrap_or_else(|| identify::identify(&opened, &own, &tools.budget));
    let encoded = husk.encode();
    let husk = husk.restricted(&opened, &tools.abilities);
    let pooled = pool::with_fates(&opened, |stream| husk.fate(stream), scratch)?;
    let as_base = leaves::of_base(&opened, scratch)?;
    let (encoders, corrections) = husk.encoders(&pooled);
    let reseal_memory_bytes = husk.memory_bytes(&opened);
    let is_leaf = matches!(pooled.leaves[..], [view] if is_whole(&opened, view));
    let facts = facts(&opened, &pooled, &as_base, is_leaf, tools)?;
    let numbers = (0..).zip(&husk.streams);
    let fates = numbers.filter_map(|(number, found)| Some((number, found.as_ref()?.fate)));
    let closed = fates.filter(|(_, fate)| *fate != Fate::Open).collect();
    let prepared = Prepared {
        blob,
        targets: vec![],
        leaves: pooled.leaves,
        is_leaf,
        encoders,
        packed_corrections: packed(&corrections, tools),
        corrections: corrections.into(),
        closed,
        reseal_memory_bytes,
        notes: opened.anatomy().notes.iter().map(|note| note.what).collect(),
        raw: tools.raw_from_the_start(blob.id, reseal_memory_bytes),
    };
    Ok(Listed { prepared, facts, husk: encoded, as_base: leaves::encode(&as_base) })
}

fn packed(corrections: &[u8], tools: &Tools<'_>) -> Option<Bytes> {
    if corrections.is_empty() || !tools.abilities.codecs.contains(Codec::Xz.id()) {
        return None;
    }
    let len_bytes = corrections.len() as u64;
    let memory_bytes = patch::encode_memory_bytes(Codec::Xz, 0, len_bytes, tools.effort);
    let _share = tools.budget.take(memory_bytes);
    let packed = patch::encode(Codec::Xz, &[], corrections, tools.effort).ok()?;
    (packed.len() < corrections.len()).then(|| packed.into())
}

/// Whether a leaf is the blob itself.
fn is_whole(opened: &Opened, view: View) -> bool {
    let View::Leaf(leaf) = view else { return false };
    let leaf = &opened.anatomy().leaves[leaf as usize];
    (leaf.stream, leaf.offset, leaf.len_bytes) == (0, 0, opened.blob().len() as u64)
}

/// The streams that have to travel: large leaves first, the pool last.
fn facts(
    opened: &Opened,
    pooled: &Pooled,
    as_base: &[LeafFacts],
    is_leaf: bool,
    tools: &Tools<'_>,
) -> Result<Vec<LeafFacts>, DeltaError> {
    let mut facts = vec![];
    for &view in &pooled.leaves {
        let known = as_base.iter().find(|known| known.view == view);
        facts.push(match known {
            Some(known) => known.clone(),
            None => {
                let bytes = opened.view(view, tools.opened.scratch())?;
                let mut own = leaves::facts(opened, view, &bytes);
                // Found by what is inside it: features of puffed bytes are those of no base.
                let inner = as_base.iter().filter(|known| known.stream == own.stream);
                if let Some(inner) = inner.max_by_key(|known| known.len_bytes) {
                    own.features.clone_from(&inner.features);
                }
                own
            }
        });
    }
    facts.sort_by_key(|facts| std::cmp::Reverse(facts.len_bytes));
    if !is_leaf {
        facts.push(leaves::facts(opened, View::Pool, &pooled.pool));
    }
    Ok(facts)
}
