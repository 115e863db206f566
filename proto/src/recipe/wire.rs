//! Nodes as they are stored: a map whose name decides which of the other fields it has.

use minicbor::{Decode, Encode, bytes::ByteVec};

use super::{Codec, Coded, Node, Part, Place, Reseal, View};
use crate::{BlobId, ChunkId, limits};

/// A node as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(super) struct NodeWire {
    #[n(0)]
    pub(super) name: String,
    #[n(1)]
    blob: Option<BlobId>,
    #[n(2)]
    pub(super) parts: Option<PartsWire>,
    #[n(3)]
    bytes: Option<ByteVec>,
    /// The nodes that it is made of.
    #[n(4)]
    from: Option<Vec<u32>>,
    /// The node that is the payload, the pool.
    #[n(5)]
    payload: Option<u32>,
    /// Kind and number.
    #[n(6)]
    view: Option<(u8, u32)>,
    #[n(7)]
    len_bytes: Option<u64>,
    #[n(8)]
    decode_memory_bytes: Option<u64>,
    #[n(9)]
    encoders: Option<Vec<(String, u64)>>,
    #[n(10)]
    corrections: Option<u32>,
}

/// Parts by column: one entry of each for every part.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct PartsWire {
    /// 32 bytes each.
    #[n(0)]
    chunks: ByteVec,
    /// Length of the chunk in bytes.
    #[n(1)]
    len_bytes: Vec<u32>,
    /// 0: in a pack; k: in node k - 1.
    #[n(2)]
    nodes: Vec<u32>,
    /// The pack's number, 0 when the part is in a node.
    #[n(3)]
    packs: Vec<u32>,
    /// Offset in the pack's frames or in the node's bytes.
    #[n(4)]
    pub(super) offsets: Vec<u64>,
}

impl NodeWire {
    pub(super) fn of(node: &Node) -> Self {
        let wire = Self { name: node.name().to_owned(), ..Self::default() };
        match node {
            Node::Blob(blob) => Self { blob: Some(*blob), ..wire },
            Node::Concat(parts) => Self { parts: Some(PartsWire::of(parts)), ..wire },
            Node::Bytes(bytes) => Self { bytes: Some(bytes.clone().into()), ..wire },
            Node::View { blob, view, len_bytes } => Self {
                from: Some(vec![*blob]),
                view: Some(view_numbers(*view)),
                len_bytes: Some(*len_bytes),
                ..wire
            },
            Node::Coded(coded) => Self {
                from: Some(coded.bases.clone()),
                payload: Some(coded.payload),
                len_bytes: Some(coded.len_bytes),
                decode_memory_bytes: Some(coded.decode_memory_bytes),
                ..wire
            },
            Node::Reseal(reseal) => Self {
                from: Some(reseal.leaves.clone()),
                payload: Some(reseal.pool),
                len_bytes: Some(reseal.len_bytes),
                decode_memory_bytes: Some(reseal.decode_memory_bytes),
                encoders: Some(reseal.encoders.clone()),
                corrections: reseal.corrections,
                ..wire
            },
        }
    }

    /// A node of that name without any field.
    #[cfg(test)]
    pub(super) fn bare(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The blob of a `blob` node.
    pub(super) fn base(&self) -> Option<BlobId> {
        self.blob.filter(|_| self.name == "blob")
    }

    /// The node; none when its name is unknown.
    pub(super) fn node(&self) -> Result<Option<Node>, &'static str> {
        let node = match self.name.as_str() {
            "blob" => self.blob.map(Node::Blob),
            "concat" => self.parts.as_ref().map(PartsWire::parts).transpose()?.map(Node::Concat),
            "bytes" => self.bytes.as_ref().map(|bytes| Node::Bytes(bytes.to_vec())),
            "view-1" => self.view()?,
            "reseal-1" => self.reseal(),
            name => match Codec::ALL.into_iter().find(|codec| codec.id() == name) {
                Some(codec) => self.coded(codec),
                None => return Ok(None),
            },
        };
        node.map(Some).ok_or("a node lacks its fields")
    }

    fn view(&self) -> Result<Option<Node>, &'static str> {
        let (Some([blob]), Some((kind, number)), Some(len_bytes)) =
            (self.from.as_deref(), self.view, self.len_bytes)
        else {
            return Ok(None);
        };
        let view = match (kind, number) {
            (0, 0) => View::Pool,
            (1, leaf) => View::Leaf(leaf),
            (2, stream) => View::Puffed(stream),
            (3, stream) => View::Sealed(stream),
            _ => return Err("a view is of an unknown kind"),
        };
        Ok(Some(Node::View { blob: *blob, view, len_bytes }))
    }

    fn coded(&self, codec: Codec) -> Option<Node> {
        Some(Node::Coded(Coded {
            codec,
            bases: self.from.clone()?,
            payload: self.payload?,
            len_bytes: self.len_bytes?,
            decode_memory_bytes: self.decode_memory_bytes?,
        }))
    }

    fn reseal(&self) -> Option<Node> {
        Some(Node::Reseal(Reseal {
            pool: self.payload?,
            leaves: self.from.clone()?,
            encoders: self.encoders.clone()?,
            corrections: self.corrections,
            len_bytes: self.len_bytes?,
            decode_memory_bytes: self.decode_memory_bytes?,
        }))
    }
}

const fn view_numbers(view: View) -> (u8, u32) {
    match view {
        View::Pool => (0, 0),
        View::Leaf(leaf) => (1, leaf),
        View::Puffed(stream) => (2, stream),
        View::Sealed(stream) => (3, stream),
    }
}

impl PartsWire {
    fn of(parts: &[Part]) -> Self {
        let places = parts.iter().map(|part| match part.place {
            Place::Pack { pack, offset } => (0, pack, offset),
            Place::Node { node, offset } => (node + 1, 0, offset),
        });
        Self {
            chunks: parts.iter().flat_map(|p| *p.chunk.as_bytes()).collect::<Vec<_>>().into(),
            len_bytes: parts.iter().map(|p| p.len_bytes).collect(),
            nodes: places.clone().map(|p| p.0).collect(),
            packs: places.clone().map(|p| p.1).collect(),
            offsets: places.map(|p| p.2).collect(),
        }
    }

    fn parts(&self) -> Result<Vec<Part>, &'static str> {
        let count = self.len_bytes.len();
        let (chunks, rest) = self.chunks.as_chunks::<32>();
        let columns = [chunks.len(), self.nodes.len(), self.packs.len(), self.offsets.len()];
        if !rest.is_empty() || columns.iter().any(|&len| len != count) {
            return Err("its columns differ in length");
        }
        let part = |i: usize| {
            let place = match self.nodes[i] {
                0 => Place::Pack { pack: self.packs[i], offset: self.offsets[i] },
                k => Place::Node { node: k - 1, offset: self.offsets[i] },
            };
            if !(1..=limits::CHUNK_LEN_BYTES_MAX).contains(&self.len_bytes[i]) {
                return Err("a chunk is empty or too long");
            }
            let chunk = ChunkId::from_bytes(chunks[i]);
            Ok(Part { chunk, len_bytes: self.len_bytes[i], place })
        };
        (0..count).map(part).collect()
    }
}
