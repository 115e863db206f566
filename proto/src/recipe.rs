//! Recipes: how the inside makes one blob of what it holds and what an export brings.
//!
//! A recipe is a flat table of nodes; the last one is the blob. A node refers to earlier nodes
//! by their number only, so no depth has to be bounded. `FORMAT.md`, section 4.

use minicbor::{Decode, Encode, bytes::ByteVec};

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

/// A node as it is stored: its name decides which of the other fields it has.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
struct NodeWire {
    #[n(0)]
    name: String,
    #[n(1)]
    blob: Option<BlobId>,
    #[n(2)]
    parts: Option<PartsWire>,
}

/// Parts by column: one entry of each for every part.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
struct PartsWire {
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
    offsets: Vec<u64>,
}

/// A node that this agent understands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// `blob`: the bytes of a blob that the inside holds.
    Blob(BlobId),
    /// `concat`: chunks one after the other.
    Concat(Vec<Part>),
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
        let mut nodes = Vec::new();
        for (number, wire) in self.nodes.iter().enumerate() {
            nodes.push(match (wire.name.as_str(), wire.blob, &wire.parts) {
                ("blob", Some(blob), None) => Node::Blob(blob),
                ("concat", None, Some(parts)) => {
                    Node::Concat(parts.parts(number as u64).map_err(wrong)?)
                }
                ("blob" | "concat", ..) => return Err(wrong("a node lacks its fields")),
                (name, ..) => {
                    let name = name.to_owned();
                    return Err(RecipeError::UnknownNode { blob: self.blob, name });
                }
            });
        }
        match nodes.last() {
            Some(Node::Concat(parts)) if total_len(parts) == self.len_bytes => Ok(nodes),
            Some(Node::Concat(_)) => Err(wrong("its parts do not add up to its length")),
            Some(Node::Blob(_)) => Err(wrong("it renames another blob")),
            None => Err(wrong("it has no node")),
        }
    }
}

impl NodeWire {
    fn of(node: &Node) -> Self {
        match node {
            Node::Blob(blob) => Self { name: "blob".into(), blob: Some(*blob), parts: None },
            Node::Concat(parts) => {
                Self { name: "concat".into(), blob: None, parts: Some(PartsWire::of(parts)) }
            }
        }
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

    /// The parts of node `number`.
    fn parts(&self, number: u64) -> Result<Vec<Part>, &'static str> {
        let count = self.len_bytes.len();
        let (chunks, rest) = self.chunks.as_chunks::<32>();
        let columns = [chunks.len(), self.nodes.len(), self.packs.len(), self.offsets.len()];
        if !rest.is_empty() || columns.iter().any(|&len| len != count) {
            return Err("its columns differ in length");
        }
        let part = |i: usize| {
            let place = match self.nodes[i] {
                0 => Place::Pack { pack: self.packs[i], offset: self.offsets[i] },
                k if u64::from(k) <= number => Place::Node { node: k - 1, offset: self.offsets[i] },
                _ => return Err("a node refers to itself or to a later one"),
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

fn total_len(parts: &[Part]) -> u64 {
    parts.iter().map(|part| u64::from(part.len_bytes)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(place: Place) -> Part {
        Part { chunk: ChunkId::of(b"c"), len_bytes: 5, place }
    }

    fn recipe(nodes: &[Node], len_bytes: u64) -> Recipe {
        Recipe::new(BlobId::of(b"b"), len_bytes, nodes)
    }

    fn what(recipe: &Recipe) -> &'static str {
        match recipe.nodes() {
            Err(RecipeError::Inconsistent { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_recipe_keeps_its_nodes_over_the_wire() {
        let nodes = [
            Node::Blob(BlobId::of(b"old")),
            Node::Concat(vec![
                part(Place::Node { node: 0, offset: 7 }),
                part(Place::Pack { pack: 3, offset: 1 << 33 }),
            ]),
        ];
        let bytes = crate::cbor::encode(&recipe(&nodes, 10));
        let read: Recipe = crate::cbor::decode(&bytes).unwrap();
        assert_eq!(read.nodes().unwrap(), nodes);
    }

    #[test]
    fn an_empty_blob_is_a_concat_of_nothing() {
        assert_eq!(recipe(&[Node::Concat(vec![])], 0).nodes(), Ok(vec![Node::Concat(vec![])]));
    }

    #[test]
    fn an_unknown_node_is_refused_by_its_name() {
        let mut newer = recipe(&[Node::Concat(vec![])], 0);
        newer.nodes[0].name = "gzip/go-flate-1/L6".to_owned();
        let expected =
            RecipeError::UnknownNode { blob: newer.blob, name: "gzip/go-flate-1/L6".to_owned() };
        assert_eq!(newer.nodes(), Err(expected));
    }

    #[test]
    fn a_node_cannot_refer_to_itself_or_forward() {
        let own = Node::Concat(vec![part(Place::Node { node: 0, offset: 0 })]);
        assert_eq!(what(&recipe(&[own], 5)), "a node refers to itself or to a later one");
    }

    #[test]
    fn the_parts_add_up_and_the_columns_agree() {
        let one = Node::Concat(vec![part(Place::Pack { pack: 1, offset: 0 })]);
        assert_eq!(
            what(&recipe(std::slice::from_ref(&one), 6)),
            "its parts do not add up to its length"
        );
        assert_eq!(what(&recipe(&[], 0)), "it has no node");
        assert_eq!(what(&recipe(&[Node::Blob(BlobId::of(b"x"))], 0)), "it renames another blob");
        let mut short = recipe(&[one], 5);
        short.nodes[0].parts.as_mut().unwrap().offsets.clear();
        assert_eq!(what(&short), "its columns differ in length");
    }

    #[test]
    fn a_chunk_is_accepted_up_to_its_bound_and_not_beyond() {
        let of_len = |len_bytes| {
            let part = Part { len_bytes, ..part(Place::Pack { pack: 1, offset: 0 }) };
            recipe(&[Node::Concat(vec![part])], u64::from(len_bytes)).nodes().is_ok()
        };
        let max = limits::CHUNK_LEN_BYTES_MAX;
        assert_eq!([0, 1, max, max + 1].map(of_len), [false, true, true, false]);
    }
}
