//! Peels a blob into its husk and the plain streams under it.
//!
//! The only husk so far is `raw`: the blob is its own single stream. A further husk is a file
//! in this folder, a row in [`Husk`], and a node in `FORMAT.md`, section 4.

/// What lies around the plain streams of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Husk {
    /// Nothing: the blob is one plain stream.
    Raw,
}

/// A blob without its husk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peeled {
    pub husk: Husk,
    /// Where each plain stream lies in the blob, in bytes: offset and length.
    pub streams: Vec<(u64, u64)>,
}

/// Peels a blob of `len_bytes`.
pub fn peel(len_bytes: u64) -> Peeled {
    Peeled { husk: Husk::Raw, streams: vec![(0, len_bytes)] }
}

/// The names of the recipe nodes that this build can follow, for cards and inventories.
pub fn codecs() -> Vec<String> {
    ["blob", "concat"].map(str::to_owned).to_vec()
}
