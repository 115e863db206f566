//! Recipes: how the inside makes one blob of what it holds and what an export brings.
//!
//! A recipe is a flat table of nodes; the last one is the blob. A node refers to earlier nodes
//! by their number only, so no depth has to be bounded. `FORMAT.md`, section 4.

mod wire;

use minicbor::{Decode, Encode};
use wire::NodeWire;

use crate::{BlobId, ChunkId, limits};

/// Why a recipe cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The export was made by a newer agent: update this one first.
    #[error("recipe of {blob} uses the unknown node {name:?}; update this agent")]
    UnknownNode { blob: BlobId, name: String },
    #[error("recipe of {blob} is inconsistent: {what}")]
    Inconsistent { blob: BlobId, what: &'static str },
}

/// How one blob is made.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Recipe {
    #[n(0)]
    pub blob: BlobId,
    #[n(1)]
    pub len_bytes: u64,
    #[n(2)]
    nodes: Vec<NodeWire>,
}

/// A node that this agent understands. Numbers are places of earlier nodes in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// `blob`: the bytes of a blob that the inside holds or that an earlier recipe makes.
    Blob(BlobId),
    /// `concat`: chunks one after the other.
    Concat(Vec<Part>),
    /// `bytes`: a few bytes that stand in the recipe itself.
    Bytes(Vec<u8>),
    /// `view-1`: one stream that is found when a `blob` node is peeled.
    View { blob: u32, view: View, len_bytes: u64 },
    /// A stream that a codec makes of its bases and a payload.
    Coded(Coded),
    /// `reseal-1`: the blob, made of its pool and its leaves.
    Reseal(Reseal),
}

/// Which stream of a peeled blob is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum View {
    /// Layout, skeletons and small members.
    Pool,
    /// The leaf of that number.
    Leaf(u32),
    /// The coded stream of that number with its Huffman coding undone.
    Puffed(u32),
    /// The coded stream of that number as it stands.
    Sealed(u32),
}

/// What turns bases and a payload into a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Codec {
    /// `suffix-lzma-1`: copies from the bases with differences; one or two bases.
    SuffixLzma,
    /// `zstd-prefix-1`: a zstd frame whose prefix is the bases, one after the other.
    ZstdPrefix,
    /// `xz-1`: an xz file, without base.
    Xz,
}

impl Codec {
    pub const ALL: [Self; 3] = [Self::SuffixLzma, Self::ZstdPrefix, Self::Xz];

    /// The name of its node.
    pub const fn id(self) -> &'static str {
        match self {
            Self::SuffixLzma => "suffix-lzma-1",
            Self::ZstdPrefix => "zstd-prefix-1",
            Self::Xz => "xz-1",
        }
    }
}

/// A stream made by a codec.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coded {
    pub codec: Codec,
    /// At most [`limits::RECIPE_BASES_MAX`] nodes, joined in this order.
    pub bases: Vec<u32>,
    /// The node that is the payload.
    pub payload: u32,
    /// The stream has exactly this length.
    pub len_bytes: u64,
    /// Memory that decoding takes, besides mapped files.
    pub decode_memory_bytes: u64,
}

/// A blob put together again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reseal {
    /// The node that is the pool.
    pub pool: u32,
    /// The nodes that are the leaves, in order.
    pub leaves: Vec<u32>,
    /// For the coded streams in order: name of the encoder, and how many in a row it made.
    pub encoders: Vec<(String, u64)>,
    /// The node that holds the corrections of those encoders that need some.
    pub corrections: Option<u32>,
    pub len_bytes: u64,
    pub decode_memory_bytes: u64,
}

/// One chunk of a `concat` node, and where its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub chunk: ChunkId,
    pub len_bytes: u32,
    pub place: Place,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A frame that begins `offset` bytes into the plain bytes of a pack of this export.
    Pack { pack: u32, offset: u64 },
    /// `offset` bytes into a node before this one.
    Node { node: u32, offset: u64 },
}

impl Node {
    /// The name that stands for the node in recipes, cards and inventories.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Blob(_) => "blob",
            Self::Concat(_) => "concat",
            Self::Bytes(_) => "bytes",
            Self::View { .. } => "view-1",
            Self::Coded(coded) => coded.codec.id(),
            Self::Reseal(_) => "reseal-1",
        }
    }

    /// The nodes that it refers to.
    pub fn from(&self) -> Vec<u32> {
        match self {
            Self::Blob(_) | Self::Bytes(_) => vec![],
            Self::Concat(parts) => {
                let nodes = parts.iter().filter_map(|part| match part.place {
                    Place::Node { node, .. } => Some(node),
                    Place::Pack { .. } => None,
                });
                nodes.collect()
            }
            Self::View { blob, .. } => vec![*blob],
            Self::Coded(coded) => [&coded.bases[..], &[coded.payload]].concat(),
            Self::Reseal(reseal) => {
                let rest = std::iter::once(reseal.pool).chain(reseal.corrections);
                reseal.leaves.iter().copied().chain(rest).collect()
            }
        }
    }

    /// The length of its bytes; of a blob it is not known here.
    pub fn len_bytes(&self) -> Option<u64> {
        match self {
            Self::Blob(_) => None,
            Self::Concat(parts) => Some(parts.iter().map(|part| u64::from(part.len_bytes)).sum()),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::View { len_bytes, .. } => Some(*len_bytes),
            Self::Coded(coded) => Some(coded.len_bytes),
            Self::Reseal(reseal) => Some(reseal.len_bytes),
        }
    }

    /// Memory that making it takes, besides mapped files.
    pub const fn decode_memory_bytes(&self) -> u64 {
        match self {
            Self::Coded(coded) => coded.decode_memory_bytes,
            Self::Reseal(reseal) => reseal.decode_memory_bytes,
            _ => 0,
        }
    }
}

impl Recipe {
    /// The recipe of `blob` from `nodes`, the last of which is the blob.
    pub fn new(blob: BlobId, len_bytes: u64, nodes: &[Node]) -> Self {
        Self { blob, len_bytes, nodes: nodes.iter().map(NodeWire::of).collect() }
    }

    /// The nodes, each checked to be known and to refer only to what comes before it.
    ///
    /// # Errors
    ///
    /// * [`RecipeError::UnknownNode`]: update the agent.
    /// * [`RecipeError::Inconsistent`]: no agent of ours writes this; the export is refused.
    pub fn nodes(&self) -> Result<Vec<Node>, RecipeError> {
        let wrong = |what| RecipeError::Inconsistent { blob: self.blob, what };
        if limits::RECIPE_NODES_MAX < self.nodes.len() {
            return Err(wrong("too many nodes"));
        }
        let mut nodes: Vec<Node> = Vec::new();
        for wire in &self.nodes {
            let node = wire.node().map_err(wrong)?;
            let node = node.ok_or_else(|| RecipeError::UnknownNode {
                blob: self.blob,
                name: wire.name().to_owned(),
            })?;
            check_node(&node, &nodes).map_err(wrong)?;
            nodes.push(node);
        }
        match nodes.last() {
            None => Err(wrong("it has no node")),
            Some(Node::Blob(_)) => Err(wrong("it renames another blob")),
            Some(last) if last.len_bytes() == Some(self.len_bytes) => Ok(nodes),
            Some(_) => Err(wrong("its last node has another length")),
        }
    }

    /// The blobs that it takes bytes from.
    pub fn bases(&self) -> impl Iterator<Item = BlobId> {
        self.nodes.iter().filter_map(NodeWire::base)
    }
}

/// A node may refer to what stands `before` it, and only to what it can use.
fn check_node(node: &Node, before: &[Node]) -> Result<(), &'static str> {
    if node.from().iter().any(|&number| before.len() <= number as usize) {
        return Err("a node refers to itself or to a later one");
    }
    if node.len_bytes().is_some_and(|len_bytes| limits::BLOB_LEN_BYTES_MAX < len_bytes) {
        return Err("a node is longer than any blob");
    }
    let is = |number: u32, of: fn(&Node) -> bool| before.get(number as usize).is_some_and(of);
    let is_packed = |number| is(number, |n| matches!(n, Node::Concat(_) | Node::Bytes(_)));
    match node {
        Node::Bytes(bytes) if limits::RECIPE_BYTES_LEN_MAX < bytes.len() => {
            Err("too many bytes stand in the recipe itself")
        }
        Node::View { blob, .. } if !is(*blob, |n| matches!(n, Node::Blob(_))) => {
            Err("a view is of no blob")
        }
        Node::Coded(coded) if limits::RECIPE_BASES_MAX < coded.bases.len() => {
            Err("a stream has too many bases")
        }
        Node::Coded(coded) if !is_packed(coded.payload) => Err("a payload is none"),
        Node::Reseal(reseal) if reseal.corrections.is_some_and(|n| is(n, is_blob)) => {
            Err("corrections are a blob")
        }
        _ => Ok(()),
    }
}

fn is_blob(node: &Node) -> bool {
    matches!(node, Node::Blob(_))
}

#[cfg(test)]
mod tests;
