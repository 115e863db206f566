//! The delta: which bytes of the new blobs travel, and the recipe of each blob.
//!
//! In:   new blobs in order, the store, the index with the basis and what was placed so far.
//! Out:  frames, in order, to a [`Frames`]; a [`Recipe`] for each blob.
//!
//! A chunk that the basis has, or that an earlier blob of the same export brought, does not
//! travel again. Memory is one batch of chunks.

use std::collections::BTreeMap;

use gapferry_common::{
    cut::{self, Cut},
    encode::{self, Effort},
    pack::{PackWriter, WriteError},
    peel,
    store::{Index, IndexError, Store},
};
use gapferry_proto::{
    BlobId, BlobRef, ChunkId, Recipe,
    pack::{FRAME_HEAD_LEN_BYTES, FrameHead},
    recipe::{Node, Part, Place},
};
use rayon::prelude::*;

use crate::plan::Plan;

/// How many chunks are encoded at once: at most 8 MiB, on average 2 MiB.
const BATCH: usize = 32;

/// Why a delta cannot be made. A fault of this machine.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    #[error("blob {0} is not in the store; run `gapferry-outside sync`")]
    NotHeld(BlobId),
    #[error("blob {0} is damaged; run `gapferry-outside scrub` and then `sync`")]
    Damaged(BlobId),
    #[error("cannot read blob {0}")]
    Read(BlobId, #[source] std::io::Error),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Durable(#[from] gapferry_common::durable::DurableError),
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

/// Begins a delta on what the inside holds.
///
/// When something travels, base blobs that the store has and the index lacks are cut first, as
/// after the index was lost: that costs reading them once.
///
/// # Errors
///
/// [`DeltaError::Index`].
pub fn begin(store: &Store, index: &mut Index, plan: &Plan) -> Result<(), DeltaError> {
    if !plan.new_blobs.is_empty() {
        for (&id, &len_bytes) in &plan.held {
            let blob = BlobRef { id, len_bytes };
            if !index.knows(id)? && store.holds(&blob) {
                index.learn(store, blob)?;
            }
        }
    }
    Ok(index.begin_plan(plan.held.keys().copied())?)
}

/// Makes the recipes of `blobs`; `each` is told of every blob that is done.
///
/// # Errors
///
/// [`DeltaError`].
pub fn make(
    store: &Store,
    index: &mut Index,
    blobs: &[BlobRef],
    effort: Effort,
    frames: &mut dyn Frames,
    mut each: impl FnMut(&BlobRef),
) -> Result<Vec<Recipe>, DeltaError> {
    let mut recipes = Vec::with_capacity(blobs.len());
    for &blob in blobs {
        recipes.push(BlobDelta::new(blob, effort).make(store, index, frames)?);
        each(&blob);
    }
    Ok(recipes)
}

/// The blobs that recipes take bytes from, each once, with lengths from `held`.
pub fn bases(recipes: &[Recipe], held: &BTreeMap<BlobId, u64>) -> Vec<BlobRef> {
    let nodes = recipes.iter().filter_map(|recipe| recipe.nodes().ok()).flatten();
    let used: std::collections::BTreeSet<BlobId> = nodes
        .filter_map(|node| match node {
            Node::Blob(blob) => Some(blob),
            Node::Concat(_) => None,
        })
        .collect();
    used.into_iter().filter_map(|id| Some(BlobRef { id, len_bytes: *held.get(&id)? })).collect()
}

/// The recipe of one blob as it grows.
struct BlobDelta {
    blob: BlobRef,
    effort: Effort,
    nodes: Vec<Node>,
    node_of: BTreeMap<BlobId, u32>,
    parts: Vec<Part>,
    chunks: Vec<(ChunkId, u64, u32)>,
    hasher: gapferry_common::hashing::HashingWriter<std::io::Sink>,
}

impl BlobDelta {
    fn new(blob: BlobRef, effort: Effort) -> Self {
        Self {
            blob,
            effort,
            nodes: vec![],
            node_of: BTreeMap::new(),
            parts: vec![],
            chunks: vec![],
            hasher: gapferry_common::hashing::HashingWriter::new(std::io::sink()),
        }
    }

    fn make(
        mut self,
        store: &Store,
        index: &mut Index,
        frames: &mut dyn Frames,
    ) -> Result<Recipe, DeltaError> {
        if !store.holds(&self.blob) {
            return Err(DeltaError::NotHeld(self.blob.id));
        }
        let peeled = peel::peel(self.blob.len_bytes);
        debug_assert_eq!(peeled.husk, peel::Husk::Raw, "the one husk there is");
        let mut cuts = cut::cut(store.open_blob(self.blob.id)?);
        loop {
            let batch: Result<Vec<_>, _> = cuts.by_ref().take(BATCH).collect();
            let batch = batch.map_err(|e| DeltaError::Read(self.blob.id, e))?;
            if batch.is_empty() {
                break;
            }
            self.take(&batch, index, frames)?;
        }
        self.finish(index)
    }

    /// Encodes what is new in a batch on all cores, then places every chunk in order.
    fn take(
        &mut self,
        batch: &[Cut],
        index: &Index,
        frames: &mut dyn Frames,
    ) -> Result<(), DeltaError> {
        let known: Vec<_> =
            batch.iter().map(|cut| known(index, cut.id)).collect::<Result<_, _>>()?;
        let effort = self.effort;
        let encoded: Vec<_> = batch
            .par_iter()
            .zip(&known)
            .map(|(cut, known)| known.is_none().then(|| encode::encode(cut.id, &cut.bytes, effort)))
            .collect();
        for ((cut, known), encoded) in batch.iter().zip(known).zip(encoded) {
            std::io::Write::write_all(&mut self.hasher, &cut.bytes).expect("a sink takes all");
            let place = match (known, encoded) {
                (Some(Known::Basis(blob, offset)), _) => {
                    Place::Node { node: self.node(blob), offset }
                }
                (Some(Known::Placed(pack, offset)), _) => Place::Pack { pack, offset },
                (None, frame) => place_new(index, frames, cut.id, frame)?,
            };
            let len_bytes = u32::try_from(cut.bytes.len()).expect("a chunk has at most 256 KiB");
            self.parts.push(Part { chunk: cut.id, len_bytes, place });
            self.chunks.push((cut.id, cut.offset, len_bytes));
        }
        Ok(())
    }

    /// The node of a base blob.
    fn node(&mut self, blob: BlobId) -> u32 {
        *self.node_of.entry(blob).or_insert_with(|| {
            self.nodes.push(Node::Blob(blob));
            u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 bases")
        })
    }

    fn finish(mut self, index: &mut Index) -> Result<Recipe, DeltaError> {
        let (_, digest, len_bytes) = self.hasher.finish();
        if digest != self.blob.id.digest() || len_bytes != self.blob.len_bytes {
            return Err(DeltaError::Damaged(self.blob.id));
        }
        index.record(self.blob, &self.chunks)?;
        self.nodes.push(Node::Concat(self.parts));
        Ok(Recipe::new(self.blob.id, self.blob.len_bytes, &self.nodes))
    }
}

enum Known {
    Basis(BlobId, u64),
    Placed(u32, u64),
}

fn known(index: &Index, chunk: ChunkId) -> Result<Option<Known>, IndexError> {
    if let Some((blob, offset)) = index.in_basis(chunk)? {
        return Ok(Some(Known::Basis(blob, offset)));
    }
    Ok(index.placed(chunk)?.map(|(pack, offset)| Known::Placed(pack, offset)))
}

/// Places a chunk that was new when its batch began; its twin in the batch may be placed by now.
fn place_new(
    index: &Index,
    frames: &mut dyn Frames,
    chunk: ChunkId,
    frame: Option<(FrameHead, Vec<u8>)>,
) -> Result<Place, DeltaError> {
    if let Some((pack, offset)) = index.placed(chunk)? {
        return Ok(Place::Pack { pack, offset });
    }
    let (head, stored) = frame.expect("what is not known was encoded");
    let (pack, offset) = frames.append(&head, &stored)?;
    index.place(chunk, pack, offset)?;
    Ok(Place::Pack { pack, offset })
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    struct Bench {
        _temp: tempfile::TempDir,
        store: Store,
        index: Index,
    }

    fn bench() -> Bench {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        let index = Index::open(&store).unwrap();
        Bench { _temp: temp, store, index }
    }

    impl Bench {
        fn put(&self, bytes: &[u8]) -> BlobRef {
            BlobRef { id: self.store.put(bytes).unwrap(), len_bytes: bytes.len() as u64 }
        }

        fn make(&mut self, basis: &[BlobRef], blobs: &[BlobRef]) -> (u64, Vec<Recipe>) {
            for &blob in basis {
                self.index.learn(&self.store, blob).unwrap();
            }
            self.index.begin_plan(basis.iter().map(|b| b.id)).unwrap();
            let mut counted = Counted::default();
            let effort = Effort::Fastest;
            let (store, index) = (&self.store, &mut self.index);
            let recipes = make(store, index, blobs, effort, &mut counted, |_| ()).unwrap();
            (counted.bytes, recipes)
        }
    }

    /// Bytes that do not compress, different for every seed.
    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut state = u64::from(seed) + 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn what_the_basis_has_does_not_travel() {
        let mut bench = bench();
        let old = noise(1, 2 << 20);
        let new = [&old[..], &noise(2, 1000)].concat();
        let basis = [bench.put(&old)];
        let blob = bench.put(&new);
        let (bytes, recipes) = bench.make(&basis, &[blob]);
        assert!(bytes < 300 << 10, "{bytes} bytes travel for 1000 new ones");
        let held = BTreeMap::from([(basis[0].id, basis[0].len_bytes)]);
        assert_eq!(bases(&recipes, &held), basis);
    }

    #[test]
    fn a_chunk_travels_once_in_an_export_even_within_one_batch() {
        let mut bench = bench();
        let twin = noise(3, 300 << 10);
        let one = bench.put(&twin);
        let two = bench.put(&[&twin[..], b"tail"].concat());
        let (alone, _) = bench.make(&[], &[one]);
        let (both, _) = bench.make(&[], &[one, two]);
        assert!(both < alone + (256 << 10), "{both} of {alone}");
        let zeros = bench.put(&vec![0; 4 << 20]);
        let (bytes, recipes) = bench.make(&[], &[zeros]);
        assert!(bytes < 200, "{bytes} bytes for sixteen equal chunks");
        assert!(recipes[0].nodes().is_ok());
    }

    #[test]
    fn a_rotten_blob_is_noticed_before_it_travels() {
        let mut bench = bench();
        let blob = bench.put(b"good");
        std::fs::write(bench.store.path(blob.id), b"evil").unwrap();
        bench.index.begin_plan([]).unwrap();
        let (store, index) = (&bench.store, &mut bench.index);
        let failed = make(store, index, &[blob], Effort::Fastest, &mut Counted::default(), |_| ());
        assert!(matches!(failed, Err(DeltaError::Damaged(id)) if id == blob.id));
    }
}
