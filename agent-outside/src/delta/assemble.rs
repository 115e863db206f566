//! Puts the recipe of one blob together from what carries its streams.

use std::collections::BTreeMap;

use bytes::Bytes;
use gapferry_common::{encode, pack::WriteError, patch};
use gapferry_proto::{
    BlobId, ChunkId, Recipe, limits,
    pack::{Encoding, FrameHead},
    recipe::{Codec, Coded, Node, Part, Place, Reseal, View},
};

use super::{
    Base, Carried, DeltaError, Frames, Tools,
    prepare::{Prepared, Target},
};
use crate::bases::LeafRef;

/// Payloads up to this length stand in the recipe itself.
const INLINE_LEN_BYTES_MAX: usize = 160;

/// Places payloads in frames of at most a chunk's length.
pub struct Payloads<'a> {
    frames: &'a mut dyn Frames,
    /// Bytes of payloads that stand in the recipe.
    pub inline_bytes: u64,
}

impl<'a> Payloads<'a> {
    pub fn new(frames: &'a mut dyn Frames) -> Self {
        Self { frames, inline_bytes: 0 }
    }

    /// Places a payload as it is.
    fn place(&mut self, payload: &Bytes) -> Result<Node, WriteError> {
        if payload.len() <= INLINE_LEN_BYTES_MAX {
            self.inline_bytes += payload.len() as u64;
            return Ok(Node::Bytes(payload.to_vec()));
        }
        self.concat(payload, |piece| {
            let len_bytes = u32::try_from(piece.len()).expect("a piece is no longer than a chunk");
            let (encoding, chunk) = (Encoding::Raw, ChunkId::of(&piece));
            (FrameHead { encoding, len_bytes, stored_len_bytes: len_bytes, chunk }, piece)
        })
    }

    /// Places a stream that no codec made shorter, each piece compressed where that helps.
    fn place_plain(&mut self, stream: &Bytes) -> Result<Node, WriteError> {
        if stream.len() <= INLINE_LEN_BYTES_MAX {
            return self.place(stream);
        }
        self.concat(stream, |piece| {
            let (head, stored) = encode::encode(ChunkId::of(&piece), &piece);
            let is_shorter = head.encoding != Encoding::Raw;
            (head, if is_shorter { stored.into() } else { piece })
        })
    }

    fn concat(
        &mut self,
        bytes: &Bytes,
        frame: impl Fn(Bytes) -> (FrameHead, Bytes),
    ) -> Result<Node, WriteError> {
        let pieces = bytes.chunks(limits::CHUNK_LEN_BYTES_MAX as usize);
        let parts = pieces.map(|piece| {
            let (head, stored) = frame(bytes.slice_ref(piece));
            let (pack, offset) = self.frames.append(&head, stored)?;
            let FrameHead { chunk, len_bytes, .. } = head;
            Ok(Part { chunk, len_bytes, place: Place::Pack { pack, offset } })
        });
        Ok(Node::Concat(parts.collect::<Result<_, WriteError>>()?))
    }
}

/// One recipe as it grows.
pub struct Assembler<'a> {
    tools: &'a Tools<'a>,
    prepared: &'a Prepared,
    carried: &'a BTreeMap<usize, Carried>,
    nodes: Vec<Node>,
    blobs: BTreeMap<BlobId, u32>,
    leaves: BTreeMap<LeafRef, u32>,
}

impl<'a> Assembler<'a> {
    pub fn new(
        tools: &'a Tools<'a>,
        prepared: &'a Prepared,
        carried: &'a BTreeMap<usize, Carried>,
    ) -> Self {
        let (blobs, leaves) = (BTreeMap::new(), BTreeMap::new());
        Self { tools, prepared, carried, nodes: vec![], blobs, leaves }
    }

    /// The recipe, with its payloads placed.
    ///
    /// # Errors
    ///
    /// [`DeltaError`]: a payload cannot be read again, or not be written.
    pub fn assemble(mut self, payloads: &mut Payloads<'_>) -> Result<Recipe, DeltaError> {
        let prepared = self.prepared;
        for target in &prepared.targets {
            let own = LeafRef { blob: prepared.blob.id, view: target.view };
            let carried = &self.carried[&target.entry];
            let node = self.stream(target, carried, payloads)?;
            self.leaves.insert(own, node);
        }
        if !prepared.is_leaf {
            self.reseal(payloads)?;
        }
        Ok(Recipe::new(prepared.blob.id, prepared.blob.len_bytes, &self.nodes))
    }

    /// The node of one stream.
    fn stream(
        &mut self,
        target: &Target,
        carried: &Carried,
        payloads: &mut Payloads<'_>,
    ) -> Result<u32, DeltaError> {
        let len_bytes = target.len_bytes;
        match carried {
            Carried::Same(base) => Ok(self.base(*base)),
            Carried::Raw { .. } => {
                let read = || self.tools.stream(self.prepared, target);
                let bytes = self.tools.opened.with_room(DeltaError::is_scratch_full, read)?;
                let node = payloads.place_plain(&bytes)?;
                Ok(self.push(node))
            }
            Carried::Coded { codec, bases, payload } => {
                let nodes: Vec<u32> = bases.iter().map(|base| self.base(*base)).collect();
                let base_len = bases.iter().map(|base| base.len_bytes).sum();
                let payload = payload.bytes()?;
                Ok(self.coded(*codec, nodes, base_len, &payload, len_bytes, payloads)?)
            }
        }
    }

    fn coded(
        &mut self,
        codec: Codec,
        bases: Vec<u32>,
        base_len: u64,
        payload: &Bytes,
        len_bytes: u64,
        payloads: &mut Payloads<'_>,
    ) -> Result<u32, WriteError> {
        let payload_node = payloads.place(payload)?;
        let payload_node = self.push(payload_node);
        let decode_memory_bytes = patch::decode_memory_bytes(codec, payload, base_len, len_bytes);
        let payload = payload_node;
        Ok(self.push(Node::Coded(Coded { codec, bases, payload, len_bytes, decode_memory_bytes })))
    }

    /// The node of a base: a stream of this very recipe, or a view of a blob.
    fn base(&mut self, base: Base) -> u32 {
        let Base { leaf, len_bytes } = base;
        if let Some(&node) = self.leaves.get(&leaf) {
            return node;
        }
        let blob = match self.blobs.get(&leaf.blob) {
            Some(&blob) => blob,
            None => self.push(Node::Blob(leaf.blob)),
        };
        self.blobs.insert(leaf.blob, blob);
        let node = self.push(Node::View { blob, view: leaf.view, len_bytes });
        self.leaves.insert(leaf, node);
        node
    }

    fn reseal(&mut self, payloads: &mut Payloads<'_>) -> Result<(), WriteError> {
        let prepared = self.prepared;
        let corrections = match (&prepared.packed_corrections, prepared.corrections.len()) {
            (_, 0) => None,
            (Some(packed), len) => {
                Some(self.coded(Codec::Xz, vec![], 0, packed, len as u64, payloads)?)
            }
            (None, _) => {
                let node = payloads.place(&prepared.corrections)?;
                Some(self.push(node))
            }
        };
        let node = |view| self.leaves[&LeafRef { blob: prepared.blob.id, view }];
        let reseal = Reseal {
            pool: node(View::Pool),
            leaves: prepared.leaves.iter().map(|&view| node(view)).collect(),
            encoders: prepared.encoders.clone(),
            corrections,
            len_bytes: prepared.blob.len_bytes,
            decode_memory_bytes: prepared.reseal_memory_bytes,
        };
        self.push(Node::Reseal(reseal));
        Ok(())
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
    }
}

/// The payload bytes of a recipe before they have their places, by chunk.
#[derive(Debug, Default)]
pub struct Held(pub BTreeMap<ChunkId, (FrameHead, Bytes)>);

impl Frames for Held {
    fn append(&mut self, head: &FrameHead, stored: Bytes) -> Result<(u32, u64), WriteError> {
        self.0.entry(head.chunk).or_insert((*head, stored));
        Ok((1, 0))
    }
}
