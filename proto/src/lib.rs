//! What the bytes that cross the gap mean.
//!
//! Both agents, on whatever day they were built, agree on this crate alone: names and digests,
//! artifacts and snapshots, envelopes, manifests, packs, keysets, cards and inventories. Every
//! parser takes bytes and every bound stands in [`limits`].
//!
//! Never here: files, sockets, clocks, threads, async. `FORMAT.md` beside this crate is the
//! contract in words.

pub mod artifact;
pub mod card;
mod cbor;
pub mod digest;
pub mod envelope;
pub mod installed;
pub mod inventory;
pub mod keyset;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod pack;
pub mod recipe;
pub mod signature;
pub mod snapshot;
pub mod want;

pub use artifact::{Artifact, BlobRef, Facts, Kind};
pub use digest::{ArtifactId, BlobId, ChunkId, Digest, SnapshotId};
pub use envelope::Envelope;
pub use manifest::{KubesprayTree, Manifest};
pub use name::{ExportId, SafePath, Sequence, SiteName, Target};
pub use recipe::Recipe;
pub use snapshot::{Entry, Snapshot};

/// The version of all formats in this crate, written into every document.
pub const FORMAT: u32 = 1;
