//! What lies where in a blob: coded streams, and members that are leaves of their own.
//!
//! [`super::opener`] finds it; everybody else only reads it.

use super::gzip::Hint;

/// What lies where.
#[derive(Clone, Debug, Default)]
pub struct Anatomy {
    /// The blob itself first; a stream comes before those that it holds.
    pub streams: Vec<Stream>,
    /// In the order in which they stand.
    pub leaves: Vec<Leaf>,
    /// What stayed closed, for people; at most [`NOTES_MAX`].
    pub notes: Vec<Note>,
}

/// How many notes are kept.
pub const NOTES_MAX: usize = 100;

/// Something that stayed closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    pub what: &'static str,
    /// Where it begins in its stream, in bytes.
    pub offset: u64,
}

/// A stream of plain bytes.
#[derive(Clone, Debug)]
pub struct Stream {
    pub coding: Coding,
    /// The stream that holds it; its own number for the blob.
    pub parent: u32,
    /// Where its coded bytes stand in the parent, in bytes.
    pub offset: u64,
    pub sealed_len_bytes: u64,
    pub len_bytes: u64,
    /// CRC-32 of its plain bytes, where a zip's entry needs it.
    pub crc32: u32,
    /// What a gzip header says of the encoder.
    pub hint: Option<Hint>,
    /// Whether it is a zip whose entries are its items, one for one.
    pub is_zip: bool,
    /// What is not skeleton, in order and without overlap.
    pub items: Vec<Item>,
    pub(super) source: Source,
}

/// How a stream stands in its parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// As it is: the blob itself, an entry of a zip, a zip in a tar.
    Identity,
    Deflate,
    Xz,
}

/// A part of a stream that is no skeleton.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    pub offset: u64,
    pub len_bytes: u64,
    pub part: ItemPart,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemPart {
    Leaf(u32),
    Stream(u32),
}

/// A large member, or a large stream without members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    pub stream: u32,
    pub offset: u64,
    pub len_bytes: u64,
    /// As the container has it; for people and for finding bases.
    pub name: Vec<u8>,
}

/// Where the plain bytes of a stream are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// From this offset of the parent's.
    Parent(u64),
    /// From this offset of the shared file.
    Shared(u64),
    /// A file of its own.
    Own(usize),
}

impl Stream {
    pub(super) const fn source(&self) -> Source {
        self.source
    }
}
