//! Rebuilds one blob from its recipe: what the store holds and what the packs bring.
//!
//! Every chunk is checked against its name and the whole against its SHA-256, so a damaged base
//! or pack never yields a blob.

use std::{
    fs::File,
    io::{self, Write},
};

use gapferry_proto::{
    BlobId, ChunkId, Recipe,
    recipe::{Node, Part, Place, RecipeError},
};

use crate::{
    durable::{DurableError, at},
    pack::{PackReader, ReadError},
    store::{self, PutError, Store},
};

/// Why a blob was not rebuilt; nothing of it is in the store.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Pack(#[from] ReadError),
    #[error("base blob {base} does not have chunk {chunk} where the recipe says")]
    Base { base: BlobId, chunk: ChunkId },
    #[error("the recipe does not give {expected} but {actual}")]
    OtherBlob { expected: BlobId, actual: BlobId },
    #[error("cannot read base blob {base}")]
    ReadBase { base: BlobId, source: io::Error },
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl RebuildError {
    /// Whether this machine is at fault and not the export.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::ReadBase { .. } | Self::Durable(_))
    }
}

impl From<PutError> for RebuildError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::OtherBlob { expected, actual } => Self::OtherBlob { expected, actual },
            PutError::Durable(durable) => Self::Durable(durable),
        }
    }
}

/// Rebuilds the blob of `recipe` into `store`. Memory is one chunk.
///
/// # Errors
///
/// [`RebuildError`]: what is no fault of this machine means that the export is refused.
pub fn rebuild(
    recipe: &Recipe,
    store: &Store,
    packs: &mut PackReader<'_>,
) -> Result<(), RebuildError> {
    let nodes = recipe.nodes()?;
    let mut bases = Bases { store, nodes: &nodes, open: None };
    let mut writer = store.writer()?;
    if let Some(Node::Concat(parts)) = nodes.last() {
        for part in parts {
            let bytes = chunk(recipe.blob, part, &mut bases, packs)?;
            writer.write_all(&bytes).map_err(at("write a blob in", store.root()))?;
        }
    }
    Ok(writer.finish(recipe.blob)?)
}

/// The base blobs of one recipe, of which one is open at a time: a recipe may name thousands.
struct Bases<'a> {
    store: &'a Store,
    nodes: &'a [Node],
    open: Option<(u32, File)>,
}

impl Bases<'_> {
    /// The base blob that is node `node`; none when that is no blob.
    fn file(&mut self, node: u32) -> Result<Option<(BlobId, &File)>, DurableError> {
        let Some(Node::Blob(id)) = self.nodes.get(node as usize) else { return Ok(None) };
        if self.open.as_ref().is_none_or(|(open, _)| *open != node) {
            self.open = Some((node, self.store.open_blob(*id)?));
        }
        Ok(self.open.as_ref().map(|(_, file)| (*id, file)))
    }
}

fn chunk(
    blob: BlobId,
    part: &Part,
    bases: &mut Bases<'_>,
    packs: &mut PackReader<'_>,
) -> Result<Vec<u8>, RebuildError> {
    let inconsistent = |what| RebuildError::from(RecipeError::Inconsistent { blob, what });
    let bytes = match part.place {
        Place::Pack { pack, offset } => packs.chunk(pack, offset, part.chunk)?,
        Place::Node { node, offset } => {
            let base = bases.file(node)?;
            let (base, file) = base.ok_or_else(|| inconsistent("a concat node is no base"))?;
            let wrong = RebuildError::Base { base, chunk: part.chunk };
            match store::read_at(file, offset, part.len_bytes) {
                Ok(bytes) if ChunkId::of(&bytes) == part.chunk => bytes,
                Ok(_) => return Err(wrong),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(wrong),
                Err(source) => return Err(RebuildError::ReadBase { base, source }),
            }
        }
    };
    if bytes.len() != part.len_bytes as usize {
        return Err(inconsistent("a chunk is not as long as the recipe says"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use crate::{
        encode::{self, Effort},
        keys::Identity,
        pack::PackWriter,
        seal::Recipients,
    };

    struct Bench {
        _temp: tempfile::TempDir,
        store: Store,
        site: Identity,
        root: Utf8PathBuf,
    }

    fn bench() -> Bench {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let store = Store::open(root.join("store")).unwrap();
        Bench { _temp: temp, store, site: Identity::generate(), root }
    }

    impl Bench {
        fn pack(&self, bytes: &[u8]) -> Place {
            let recipients = Recipients::parse(&[self.site.recipient()]).unwrap();
            let mut writer = PackWriter::new(&self.root, 1, &recipients, 1 << 20);
            let (head, stored) = encode::encode(ChunkId::of(bytes), bytes, Effort::Fastest);
            let (pack, offset) = writer.append(&head, &stored).unwrap();
            writer.finish().unwrap();
            Place::Pack { pack, offset }
        }

        fn rebuild(&self, recipe: &Recipe) -> Result<(), RebuildError> {
            let mut packs = PackReader::new(self.root.join("volume-001"), &self.site);
            rebuild(recipe, &self.store, &mut packs)
        }
    }

    fn part(bytes: &[u8], place: Place) -> Part {
        Part { chunk: ChunkId::of(bytes), len_bytes: u32::try_from(bytes.len()).unwrap(), place }
    }

    fn recipe(blob: &[u8], nodes: &[Node]) -> Recipe {
        Recipe::new(BlobId::of(blob), blob.len() as u64, nodes)
    }

    #[test]
    fn a_blob_is_made_of_a_base_and_a_pack() {
        let bench = bench();
        let base = bench.store.put(b"old bytes").unwrap();
        let parts = vec![
            part(b"old ", Place::Node { node: 0, offset: 0 }),
            part(b"new", bench.pack(b"new")),
        ];
        let recipe = recipe(b"old new", &[Node::Blob(base), Node::Concat(parts)]);
        bench.rebuild(&recipe).unwrap();
        assert_eq!(bench.store.read(BlobId::of(b"old new"), 100).unwrap(), b"old new");
    }

    #[test]
    fn a_rotten_base_gives_no_blob() {
        let bench = bench();
        let base = bench.store.put(b"old bytes").unwrap();
        std::fs::write(bench.store.path(base), b"odd bytes").unwrap();
        let parts = vec![part(b"old ", Place::Node { node: 0, offset: 0 })];
        let failed = bench.rebuild(&recipe(b"old ", &[Node::Blob(base), Node::Concat(parts)]));
        assert!(matches!(failed, Err(RebuildError::Base { .. })), "{failed:?}");
    }

    #[test]
    fn a_recipe_that_gives_another_blob_stores_nothing() {
        let bench = bench();
        let parts = vec![part(b"evil", bench.pack(b"evil"))];
        let failed = bench.rebuild(&recipe(b"good", &[Node::Concat(parts)]));
        assert!(matches!(failed, Err(RebuildError::OtherBlob { .. })), "{failed:?}");
        assert_eq!(bench.store.blobs().count(), 0);
    }

    #[test]
    fn an_empty_blob_is_rebuilt_of_nothing() {
        let bench = bench();
        bench.rebuild(&recipe(b"", &[Node::Concat(vec![])])).unwrap();
        assert_eq!(bench.store.read(BlobId::of(b""), 0).unwrap(), b"");
    }
}
