//! A blob in chunks: how it travels when nothing was gained by opening it.
//!
//! A chunk that the basis has, or that an earlier blob of the same export brought, does not
//! travel again. Memory is one batch of chunks.

use std::collections::BTreeMap;

use gapferry_common::{
    cut::{self, Cut},
    encode,
    store::{Index, IndexError, Store},
};
use gapferry_proto::{
    BlobId, BlobRef, ChunkId, Recipe,
    pack::FrameHead,
    recipe::{Node, Part, Place},
};
use rayon::prelude::*;

use crate::{
    delta::{DeltaError, Frames},
    plan::Plan,
};

/// How many chunks are encoded at once: at most 8 MiB, on average 2 MiB.
const BATCH: usize = 32;

/// Begins a delta on what the inside holds.
///
/// When some blob travels in chunks, base blobs that the store has and the index lacks are cut
/// first, as after the index was lost: that costs reading them once.
///
/// # Errors
///
/// [`DeltaError::Index`].
pub fn begin(
    store: &Store,
    index: &mut Index,
    plan: &Plan,
    is_needed: bool,
) -> Result<(), DeltaError> {
    if is_needed {
        for (&id, &len_bytes) in &plan.held {
            let blob = BlobRef { id, len_bytes };
            if !index.knows(id)? && store.holds(&blob) {
                index.learn(store, blob)?;
            }
        }
    }
    Ok(index.begin_plan(plan.held.keys().copied())?)
}

/// Makes the recipe of a blob in chunks, and places its frames.
///
/// # Errors
///
/// [`DeltaError`].
pub fn make(
    store: &Store,
    index: &mut Index,
    blob: BlobRef,
    frames: &mut dyn Frames,
) -> Result<Recipe, DeltaError> {
    BlobDelta::new(blob).make(store, index, frames)
}

/// The recipe of one blob as it grows.
struct BlobDelta {
    blob: BlobRef,
    nodes: Vec<Node>,
    node_of: BTreeMap<BlobId, u32>,
    parts: Vec<Part>,
    chunks: Vec<(ChunkId, u64, u32)>,
    hasher: gapferry_common::hashing::HashingWriter<std::io::Sink>,
}

impl BlobDelta {
    fn new(blob: BlobRef) -> Self {
        Self {
            blob,
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
        let encoded: Vec<_> = batch
            .par_iter()
            .zip(&known)
            .map(|(cut, known)| known.is_none().then(|| encode::encode(cut.id, &cut.bytes)))
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
    let (pack, offset) = frames.append(&head, stored.into())?;
    index.place(chunk, pack, offset)?;
    Ok(Place::Pack { pack, offset })
}

#[cfg(test)]
pub mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use crate::delta::{Counted, bases};

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
            let (store, index) = (&self.store, &mut self.index);
            let made = blobs.iter().map(|&blob| make(store, index, blob, &mut counted).unwrap());
            let recipes = made.collect();
            (counted.bytes, recipes)
        }
    }

    /// Bytes that do not compress, different for every seed.
    pub fn noise(seed: u8, len: usize) -> Vec<u8> {
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
        let failed = make(store, index, blob, &mut Counted::default());
        assert!(matches!(failed, Err(DeltaError::Damaged(id)) if id == blob.id));
    }
}
