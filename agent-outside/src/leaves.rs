//! What is known of the streams of a blob: which there are, their hashes, names and sketches.
//!
//! Derived: found by opening the blob, kept in the index, found again when the index is lost.

use gapferry_common::{
    peel::{Opened, PeelError},
    scratch::Scratch,
};
use gapferry_proto::{ChunkId, recipe::View};
use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::sketch;

/// One stream that may be a base, or that may travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeafFacts {
    pub view: View,
    /// The coded stream that holds it, by number; 0 is the blob.
    pub stream: u32,
    pub len_bytes: u64,
    /// BLAKE3 of the whole stream.
    pub hash: ChunkId,
    /// The member's name as its container has it.
    pub name: String,
    pub is_executable: bool,
    /// [`sketch::features`].
    pub features: Vec<u64>,
}

/// A [`LeafFacts`] as the derived index keeps it.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    /// None: the pool.
    #[n(0)]
    leaf: Option<u32>,
    #[n(1)]
    stream: u32,
    #[n(2)]
    len_bytes: u64,
    #[n(3)]
    hash: ChunkId,
    #[n(4)]
    name: String,
    #[n(5)]
    is_executable: bool,
    /// Eight bytes each, little endian.
    #[n(6)]
    features: ByteVec,
}

/// The facts of one stream with these bytes.
pub fn facts(opened: &Opened, view: View, bytes: &[u8]) -> LeafFacts {
    let anatomy = opened.anatomy();
    let (stream, name) = match view {
        View::Pool => (0, String::new()),
        View::Puffed(stream) | View::Sealed(stream) => {
            let inner = anatomy.leaves.iter().find(|leaf| leaf.stream == stream);
            let name = inner.map(|leaf| String::from_utf8_lossy(&leaf.name).into_owned());
            (stream, name.unwrap_or_default())
        }
        View::Leaf(leaf) => {
            let leaf = &anatomy.leaves[leaf as usize];
            (leaf.stream, String::from_utf8_lossy(&leaf.name).into_owned())
        }
    };
    LeafFacts {
        view,
        stream,
        len_bytes: bytes.len() as u64,
        hash: ChunkId::of(bytes),
        name,
        is_executable: is_executable(bytes),
        features: sketch::features(bytes),
    }
}

/// The pool and the leaves of a blob with every stream open: what it offers as a base.
///
/// # Errors
///
/// [`PeelError`]: the scratch space is used up.
pub fn of_base(opened: &Opened, scratch: &Scratch) -> Result<Vec<LeafFacts>, PeelError> {
    let count = u32::try_from(opened.anatomy().leaves.len()).expect("leaves are bounded");
    let views = std::iter::once(View::Pool).chain((0..count).map(View::Leaf));
    views.map(|view| Ok(facts(opened, view, &opened.view(view, scratch)?))).collect()
}

/// ELF, PE and Mach-O begin so.
fn is_executable(bytes: &[u8]) -> bool {
    let magics: [&[u8]; 5] =
        [b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];
    magics.iter().any(|magic| bytes.starts_with(magic))
}

/// Facts for the index.
pub fn encode(leaves: &[LeafFacts]) -> Vec<u8> {
    let wire = |leaf: &LeafFacts| Wire {
        leaf: match leaf.view {
            View::Leaf(number) => Some(number),
            View::Pool | View::Puffed(_) | View::Sealed(_) => None,
        },
        stream: leaf.stream,
        len_bytes: leaf.len_bytes,
        hash: leaf.hash,
        name: leaf.name.clone(),
        is_executable: leaf.is_executable,
        features: leaf.features.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<_>>().into(),
    };
    let wires: Vec<_> = leaves.iter().map(wire).collect();
    minicbor::to_vec(wires).expect("writing to a Vec does not fail")
}

/// Facts from the index; none when another build wrote them.
pub fn decode(bytes: &[u8]) -> Option<Vec<LeafFacts>> {
    let wires: Vec<Wire> = minicbor::decode(bytes).ok()?;
    let facts = |wire: Wire| LeafFacts {
        view: wire.leaf.map_or(View::Pool, View::Leaf),
        stream: wire.stream,
        len_bytes: wire.len_bytes,
        hash: wire.hash,
        name: wire.name,
        is_executable: wire.is_executable,
        features: wire.features.as_chunks().0.iter().map(|f| u64::from_le_bytes(*f)).collect(),
    };
    Some(wires.into_iter().map(facts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_keep_over_the_index() {
        let leaf = |view, stream, is_executable| LeafFacts {
            view,
            stream,
            len_bytes: 7,
            hash: ChunkId::of(b"x"),
            name: "usr/bin/runc".to_owned(),
            is_executable,
            features: vec![1, u64::MAX],
        };
        let leaves = [leaf(View::Pool, 0, false), leaf(View::Leaf(3), 2, true)];
        assert_eq!(decode(&encode(&leaves)).unwrap(), leaves);
        assert_eq!(decode(b"\xff"), None);
    }
}
