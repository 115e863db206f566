//! Rebuilds one blob from its recipe: what the store holds and what the packs bring.
//!
//! Nodes are made one after the other, the last one into whatever takes the blob. Every chunk is
//! checked against its name and the whole against its SHA-256, so a damaged base or pack never
//! yields a blob. The outside rehearses with this very code.

use std::io::{self, Write};

use bytes::Bytes;
use gapferry_proto::{
    BlobId, ChunkId, Recipe,
    recipe::{Coded, Node, Part, Place, RecipeError, Reseal},
};

use crate::{
    budget::Budget,
    durable::{DurableError, at},
    map,
    pack::ReadError,
    patch::{self, DecodeError},
    peel::{
        PeelError,
        bases::{BaseError, OpenedBlobs},
        encoder::Encoder,
        reseal::{self, ResealError},
    },
    scratch::{self, Scratch},
    store::{PutError, Store},
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
    #[error(transparent)]
    View(PeelError),
    #[error("a view of base blob {base} has {actual} bytes, not {expected}")]
    OtherView { base: BlobId, expected: u64, actual: u64 },
    #[error("a stream of {codec}")]
    Codec { codec: &'static str, source: DecodeError },
    #[error(transparent)]
    Reseal(ResealError),
    #[error("{node} declares {needed} bytes of memory; this site allows {allowed}")]
    Memory { node: &'static str, needed: u64, allowed: u64 },
    #[error("the recipe does not give {expected} but {actual}")]
    OtherBlob { expected: BlobId, actual: BlobId },
    #[error("cannot use scratch space")]
    Scratch(#[source] io::Error),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl RebuildError {
    /// The names of what may be to blame: codecs, or families of encoders that the recipe uses.
    pub fn suspects(&self, recipe: &Recipe) -> Vec<String> {
        match self {
            Self::Codec { codec, .. } => vec![(*codec).to_owned()],
            Self::Reseal(ResealError::Encode { id, .. }) => vec![Encoder::family(id).to_owned()],
            Self::OtherBlob { .. } | Self::Reseal(_) => codecs_of(recipe),
            _ => vec![],
        }
    }

    /// Whether the one suspect refused the work itself; else all that took part are suspects.
    pub const fn names_its_codec(&self) -> bool {
        matches!(self, Self::Codec { .. } | Self::Reseal(ResealError::Encode { .. }))
    }

    /// Whether the scratch space was used up, which others at work may have done.
    pub fn is_scratch_full(&self) -> bool {
        match self {
            Self::Scratch(error) => scratch::is_full(error),
            Self::Durable(error) => error.source.kind() == io::ErrorKind::OutOfMemory,
            _ => false,
        }
    }

    /// Whether this machine is at fault and not the export.
    ///
    /// A blob that needs more scratch space than this site's setting, or more mappings than a
    /// process has, is none: it fails on every try, and travels in chunks the next time.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Scratch(error) => !scratch::is_limit(error),
            // A base that cannot be mapped any more: the same.
            Self::Durable(error) => error.source.kind() != io::ErrorKind::OutOfMemory,
            // The disk's doing too: age reads the head of a pack itself.
            Self::Pack(ReadError::Open(_, age::DecryptError::Io(error))) => {
                error.raw_os_error().is_some()
            }
            // Packs were hashed when they were staged, so a read that fails is the disk's doing.
            Self::Pack(ReadError::Io(_, error)) => !matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::Other
            ),
            _ => false,
        }
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

impl From<BaseError> for RebuildError {
    fn from(error: BaseError) -> Self {
        match error {
            BaseError::Durable(durable) => Self::Durable(durable),
            BaseError::Peel(peel) => peel.into(),
        }
    }
}

impl From<PeelError> for RebuildError {
    fn from(error: PeelError) -> Self {
        match error {
            PeelError::Scratch(source) => Self::Scratch(source),
            other @ PeelError::NoView(_) => Self::View(other),
        }
    }
}

impl From<io::Error> for RebuildError {
    fn from(source: io::Error) -> Self {
        Self::Scratch(source)
    }
}

impl From<ResealError> for RebuildError {
    fn from(error: ResealError) -> Self {
        match error {
            ResealError::Write(source) => Self::Scratch(source),
            other => Self::Reseal(other),
        }
    }
}

/// The families of encoders and the codecs that a recipe uses, each once.
pub fn codecs_of(recipe: &Recipe) -> Vec<String> {
    let nodes = recipe.nodes().unwrap_or_default();
    let mut names: Vec<String> = nodes
        .iter()
        .flat_map(|node| match node {
            Node::Reseal(reseal) => {
                reseal.encoders.iter().map(|(id, _)| Encoder::family(id).to_owned()).collect()
            }
            Node::Coded(coded) => vec![coded.codec.id().to_owned()],
            _ => vec![],
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Where the chunks of an export come from: its packs, or what will become its packs.
pub trait Chunks {
    /// The chunk of the frame at `offset` of `pack`, checked against its name.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: refuse the export.
    fn chunk(&mut self, pack: u32, offset: u64, wanted: ChunkId) -> Result<Vec<u8>, ReadError>;
}

/// What blobs are rebuilt with.
#[derive(Clone, Copy, Debug)]
pub struct Rebuilder<'a> {
    pub store: &'a Store,
    pub opened: &'a OpenedBlobs,
    /// Memory for all rebuilds that run at the same time.
    pub budget: &'a Budget,
    /// The most that one node may declare; one that needs more than the budget runs alone.
    pub node_memory_bytes: u64,
}

impl Rebuilder<'_> {
    /// Rebuilds the blob of `recipe` into the store.
    ///
    /// # Errors
    ///
    /// [`RebuildError`]: what is no fault of this machine means that the export is refused.
    pub fn rebuild(&self, recipe: &Recipe, chunks: &mut dyn Chunks) -> Result<(), RebuildError> {
        self.opened.with_room(RebuildError::is_scratch_full, || {
            let mut writer = self.store.writer()?;
            self.write(recipe, chunks, &mut writer)?;
            Ok(writer.finish(recipe.blob)?)
        })
    }

    /// Writes what `recipe` gives to `out`, whose reader compares the SHA-256.
    ///
    /// # Errors
    ///
    /// [`RebuildError`].
    pub fn write(
        &self,
        recipe: &Recipe,
        chunks: &mut dyn Chunks,
        out: &mut dyn Write,
    ) -> Result<(), RebuildError> {
        let nodes = recipe.nodes()?;
        let (last, before) = nodes.split_last().expect("a checked recipe has a node");
        let mut bench =
            Bench { rebuilder: self, blob: recipe.blob, nodes: &nodes, made: vec![], chunks };
        for node in before {
            let bytes = bench.make(node)?;
            bench.made.push(bytes);
        }
        bench.write(last, out)
    }

    const fn scratch(&self) -> &Scratch {
        self.opened.scratch()
    }
}

/// One recipe being followed.
struct Bench<'a> {
    rebuilder: &'a Rebuilder<'a>,
    blob: BlobId,
    nodes: &'a [Node],
    /// The bytes of the nodes so far.
    made: Vec<Bytes>,
    chunks: &'a mut dyn Chunks,
}

impl Bench<'_> {
    /// The bytes of a node that is not the last.
    fn make(&mut self, node: &Node) -> Result<Bytes, RebuildError> {
        match node {
            Node::Blob(id) => {
                let store = self.rebuilder.store;
                let mapped = map::map(&store.open_blob(*id)?);
                Ok(mapped.map_err(at("map", &store.path(*id)))?)
            }
            Node::Bytes(bytes) => Ok(bytes.clone().into()),
            Node::View { .. } => self.view(node),
            Node::Concat(_) | Node::Coded(_) | Node::Reseal(_) => {
                let mut writer = self.rebuilder.scratch().writer();
                self.write(node, &mut writer)?;
                Ok(writer.finish()?)
            }
        }
    }

    fn write(&mut self, node: &Node, out: &mut dyn Write) -> Result<(), RebuildError> {
        let allowed = self.rebuilder.node_memory_bytes;
        let needed = node.decode_memory_bytes();
        if allowed < needed {
            return Err(RebuildError::Memory { node: node.name(), needed, allowed });
        }
        let _share = self.rebuilder.budget.take(needed);
        match node {
            Node::Concat(parts) => parts.iter().try_for_each(|part| {
                let bytes = self.chunk(part)?;
                Ok(out.write_all(&bytes)?)
            }),
            Node::Coded(coded) => self.decode(coded, out),
            Node::Reseal(reseal) => self.reseal(reseal, out),
            Node::Blob(_) | Node::Bytes(_) | Node::View { .. } => {
                let bytes = self.make(node)?;
                Ok(out.write_all(&bytes)?)
            }
        }
    }

    fn view(&self, node: &Node) -> Result<Bytes, RebuildError> {
        let Node::View { blob, view, len_bytes } = node else {
            return Err(self.inconsistent("a view is none"));
        };
        let Some(Node::Blob(base)) = self.nodes.get(*blob as usize) else {
            return Err(self.inconsistent("a view is of no blob"));
        };
        let Rebuilder { store, opened, budget, .. } = *self.rebuilder;
        let opened = opened.get(store, *base, budget)?;
        let _share = budget.take(opened.view_memory_bytes(*view));
        let bytes = opened.view(*view, self.rebuilder.scratch())?;
        let (base, expected, actual) = (*base, *len_bytes, bytes.len() as u64);
        if actual == expected {
            Ok(bytes)
        } else {
            Err(RebuildError::OtherView { base, expected, actual })
        }
    }

    fn decode(&self, coded: &Coded, out: &mut dyn Write) -> Result<(), RebuildError> {
        let base = self.joined(&coded.bases)?;
        let payload = self.node(coded.payload);
        let memory = coded.decode_memory_bytes;
        let decoded = patch::decode(coded.codec, &base, &payload, coded.len_bytes, memory, out);
        decoded.map_err(|error| match error {
            DecodeError::Write(source) => RebuildError::Scratch(source),
            source => RebuildError::Codec { codec: coded.codec.id(), source },
        })
    }

    /// The bases one after the other, without a copy when there is one.
    fn joined(&self, bases: &[u32]) -> Result<Bytes, RebuildError> {
        let bases: Vec<Bytes> = bases.iter().map(|&base| self.node(base)).collect();
        Ok(self.rebuilder.scratch().joined(&bases)?)
    }

    fn reseal(&self, reseal: &Reseal, out: &mut dyn Write) -> Result<(), RebuildError> {
        let leaves: Vec<Bytes> = reseal.leaves.iter().map(|&leaf| self.node(leaf)).collect();
        let corrections = reseal.corrections.map(|node| self.node(node)).unwrap_or_default();
        let parts = reseal::Parts {
            pool: &self.node(reseal.pool),
            leaves: &leaves,
            encoders: &reseal.encoders,
            corrections: &corrections,
            len_bytes: reseal.len_bytes,
            memory_bytes: reseal.decode_memory_bytes,
        };
        Ok(reseal::reseal(&parts, self.rebuilder.scratch(), out)?)
    }

    fn chunk(&mut self, part: &Part) -> Result<Vec<u8>, RebuildError> {
        let bytes = match part.place {
            Place::Pack { pack, offset } => self.chunks.chunk(pack, offset, part.chunk)?,
            Place::Node { node, offset } => self.chunk_of_node(part, node, offset)?,
        };
        if bytes.len() == part.len_bytes as usize {
            Ok(bytes)
        } else {
            Err(self.inconsistent("a chunk is not as long as the recipe says"))
        }
    }

    fn chunk_of_node(&self, part: &Part, node: u32, offset: u64) -> Result<Vec<u8>, RebuildError> {
        let bytes = self.node(node);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = bytes.get(start..).and_then(|rest| rest.get(..part.len_bytes as usize));
        let base = match self.nodes.get(node as usize) {
            Some(Node::Blob(base)) => *base,
            _ => self.blob,
        };
        match found {
            Some(found) if ChunkId::of(found) == part.chunk => Ok(found.to_vec()),
            _ => Err(RebuildError::Base { base, chunk: part.chunk }),
        }
    }

    /// The bytes of an earlier node; a checked recipe refers to no other.
    fn node(&self, number: u32) -> Bytes {
        self.made.get(number as usize).cloned().unwrap_or_default()
    }

    const fn inconsistent(&self, what: &'static str) -> RebuildError {
        RebuildError::Recipe(RecipeError::Inconsistent { blob: self.blob, what })
    }
}

#[cfg(test)]
mod tests;
