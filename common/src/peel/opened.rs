//! A blob that was opened: its anatomy, and the bytes of every stream and leaf.

use std::io;

use bytes::Bytes;
use gapferry_proto::{limits, recipe::View};

use super::{
    anatomy::{Anatomy, Coding, Source},
    deflate::puff,
    pool,
};
use crate::scratch::Scratch;

/// Why a blob cannot be opened, or one of its streams cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PeelError {
    /// A fault of this machine.
    #[error("scratch space")]
    Scratch(#[source] io::Error),
    /// No agent of ours asks for it: the export is refused.
    #[error("the blob has no {0:?}")]
    NoView(View),
}

impl From<io::Error> for PeelError {
    fn from(error: io::Error) -> Self {
        Self::Scratch(error)
    }
}

/// A blob and its plain streams. A clone costs nothing.
#[derive(Clone, Debug)]
pub struct Opened {
    blob: Bytes,
    shared: Bytes,
    own: Vec<Bytes>,
    anatomy: std::sync::Arc<Anatomy>,
}

impl Opened {
    pub(super) fn new(blob: Bytes, shared: Bytes, own: Vec<Bytes>, anatomy: Anatomy) -> Self {
        Self { blob, shared, own, anatomy: std::sync::Arc::new(anatomy) }
    }

    pub const fn blob(&self) -> &Bytes {
        &self.blob
    }

    pub fn anatomy(&self) -> &Anatomy {
        &self.anatomy
    }

    /// The plain bytes of a stream.
    pub fn content(&self, stream: u32) -> Bytes {
        let found = &self.anatomy.streams[stream as usize];
        let (from, start) = match found.source() {
            Source::Own(number) => (self.own[number].clone(), 0),
            Source::Shared(start) => (self.shared.clone(), start),
            Source::Parent(_) if stream == 0 => (self.blob.clone(), 0),
            Source::Parent(start) => (self.content(found.parent), start),
        };
        part(&from, start, found.len_bytes)
    }

    /// The coded bytes of a stream.
    pub fn sealed(&self, stream: u32) -> Bytes {
        let found = &self.anatomy.streams[stream as usize];
        part(&self.content(found.parent), found.offset, found.sealed_len_bytes)
    }

    /// The bytes of a leaf.
    pub fn leaf(&self, leaf: u32) -> Bytes {
        let found = &self.anatomy.leaves[leaf as usize];
        part(&self.content(found.stream), found.offset, found.len_bytes)
    }

    /// The bytes that a recipe's view means.
    ///
    /// # Errors
    ///
    /// [`PeelError::NoView`]: the blob has no such leaf or stream, or it is no deflate stream.
    pub fn view(&self, view: View, scratch: &Scratch) -> Result<Bytes, PeelError> {
        let is_leaf = |leaf: u32| (leaf as usize) < self.anatomy.leaves.len();
        let is_stream = |stream: u32| (stream as usize) < self.anatomy.streams.len();
        match view {
            View::Pool => Ok(pool::of(self, scratch)?),
            View::Leaf(leaf) if is_leaf(leaf) => Ok(self.leaf(leaf)),
            View::Sealed(stream) if is_stream(stream) => Ok(self.sealed(stream)),
            View::Puffed(stream) if is_stream(stream) => {
                self.puffed(stream, scratch)?.ok_or(PeelError::NoView(view))
            }
            _ => Err(PeelError::NoView(view)),
        }
    }

    /// Memory that making a view takes for a while, in bytes, beside mapped files.
    pub fn view_memory_bytes(&self, view: View) -> u64 {
        let streams = &self.anatomy.streams;
        match view {
            // The text of a zip before and after its fields are blanked.
            View::Pool if streams.iter().any(|stream| stream.is_zip) => {
                2 * limits::BLANKED_LEN_BYTES_MAX.min(self.blob.len() as u64)
            }
            View::Pool | View::Leaf(_) | View::Puffed(_) | View::Sealed(_) => 0,
        }
    }

    /// How long a deflate stream is with its Huffman coding undone; none when that gives too much,
    /// or the stream is none.
    pub fn puffed_len_bytes(&self, stream: u32) -> Option<u64> {
        let found = &self.anatomy.streams[stream as usize];
        if found.coding != Coding::Deflate || PUFF_LEN_BYTES_MAX < found.sealed_len_bytes {
            return None;
        }
        let most = puffed_len_bytes_max(found.sealed_len_bytes);
        let measured = puff::measure(&self.sealed(stream), found.len_bytes, most).ok()?;
        let is_whole = measured.deflated_len as u64 == found.sealed_len_bytes;
        is_whole.then_some(measured.len_bytes)
    }

    /// The same in memory, for one that is short.
    pub(super) fn short_puffed(&self, stream: u32, len_bytes: u64) -> Bytes {
        let (sealed, plain) = (self.sealed(stream), self.content(stream));
        puff::puff(&sealed, &plain, len_bytes).map(|puffed| puffed.bytes).unwrap_or_default()
    }

    /// A deflate stream with its Huffman coding undone, where [`Self::puffed_len_bytes`] says that
    /// it can be.
    ///
    /// # Errors
    ///
    /// [`PeelError::Scratch`].
    pub fn puffed(&self, stream: u32, scratch: &Scratch) -> Result<Option<Bytes>, PeelError> {
        let Some(len_bytes) = self.puffed_len_bytes(stream) else { return Ok(None) };
        let (sealed, plain) = (self.sealed(stream), self.content(stream));
        match puff::puff_in(scratch, &sealed, &plain, len_bytes) {
            Ok(puffed) => Ok(Some(puffed.bytes)),
            Err(puff::PuffError::Write(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}

/// Longest deflate stream that is puffed, in bytes: 1 GiB. What comes out lies in scratch space and
/// is up to eight times as long, at most 4 GiB.
const PUFF_LEN_BYTES_MAX: u64 = 1 << 30;

const fn puffed_len_bytes_max(sealed_len_bytes: u64) -> u64 {
    8 * sealed_len_bytes + 4096
}

fn part(bytes: &Bytes, start: u64, len_bytes: u64) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).expect("it is part of a mapped stream");
    bytes.slice(at(start)..at(start + len_bytes))
}
