//! A blob that was opened: its anatomy, and the bytes of every stream and leaf.

use std::io::{self, Write as _};

use bytes::Bytes;
use gapferry_proto::{limits, recipe::View};

use super::{
    anatomy::{Anatomy, Source},
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
                let puffed = self.puffed(stream).ok_or(PeelError::NoView(view))?;
                Ok(scratch.stream(|to| to.write_all(&puffed))?)
            }
            _ => Err(PeelError::NoView(view)),
        }
    }

    /// Memory that making a view takes for a while, in bytes, beside mapped files.
    pub fn view_memory_bytes(&self, view: View) -> u64 {
        let streams = &self.anatomy.streams;
        match view {
            // The puffed form, and once more while its parts are joined.
            View::Puffed(stream) => {
                let sealed = streams.get(stream as usize).map_or(0, |found| found.sealed_len_bytes);
                2 * puffed_len_bytes_max(sealed.min(PUFF_LEN_BYTES_MAX))
            }
            // The text of a zip before and after its fields are blanked.
            View::Pool if streams.iter().any(|stream| stream.is_zip) => {
                2 * limits::BLANKED_LEN_BYTES_MAX.min(self.blob.len() as u64)
            }
            View::Pool | View::Leaf(_) | View::Sealed(_) => 0,
        }
    }

    /// A deflate stream with its Huffman coding undone; none when that gives too much.
    pub fn puffed(&self, stream: u32) -> Option<Bytes> {
        let sealed = self.sealed(stream);
        if sealed.len() as u64 > PUFF_LEN_BYTES_MAX {
            return None;
        }
        let most = usize::try_from(puffed_len_bytes_max(sealed.len() as u64)).ok()?;
        let puffed = puff::puff(&sealed, most).ok()?;
        (puffed.deflated_len == sealed.len()).then(|| puffed.bytes.into())
    }
}

/// Longest deflate stream that is puffed, in bytes: 32 MiB. What comes out is held in memory and
/// is up to eight times as long.
pub const PUFF_LEN_BYTES_MAX: u64 = 32 << 20;

const fn puffed_len_bytes_max(sealed_len_bytes: u64) -> u64 {
    8 * sealed_len_bytes + 4096
}

fn part(bytes: &Bytes, start: u64, len_bytes: u64) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).expect("it is part of a mapped stream");
    bytes.slice(at(start)..at(start + len_bytes))
}
