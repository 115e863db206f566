//! Puts a blob together again: pool, leaves, and the encoders of its coded streams.
//!
//! In:   the bytes of pool and leaves, the names of the encoders, corrections.
//! Out:  the blob, in order, to a writer; whoever writes it compares its SHA-256.
//! Memory is what the largest encoder declares; streams that are neither one leaf nor one text
//! are made in scratch space first.

use std::io::{self, Write};

use bytes::Bytes;

use super::{
    anatomy::ItemPart,
    encoder::{EncodeError, Encoder},
    pool::{self, Laid, Layout, PoolError},
    zip::{self, Facts, ZipError},
};
use crate::scratch::{Scratch, ScratchWriter};

/// Why a blob was not put together.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("a zip's fields cannot be computed")]
    Zip(#[from] ZipError),
    #[error("encoder {id}")]
    Encode { id: String, source: EncodeError },
    #[error("the recipe does not fit its pool: {0}")]
    Recipe(&'static str),
    /// A fault of this machine.
    #[error("cannot write")]
    Write(#[from] io::Error),
}

impl ResealError {
    /// Whether this machine is at fault and not the export.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Write(_))
    }
}

/// A blob in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub pool: &'a Bytes,
    /// In the order of the layout.
    pub leaves: &'a [Bytes],
    /// For the coded streams in order: name, and how many in a row.
    pub encoders: &'a [(String, u64)],
    /// Of the encoders that take some, in order: a length and the bytes.
    pub corrections: &'a [u8],
}

/// Writes the blob of `parts` to `out`.
///
/// # Errors
///
/// [`ResealError`].
pub fn reseal(
    parts: &Parts<'_>,
    scratch: &Scratch,
    out: &mut dyn Write,
) -> Result<(), ResealError> {
    let layout = Layout::read(parts.pool)?;
    let lens: Vec<u64> = parts.leaves.iter().map(|leaf| leaf.len() as u64).collect();
    if layout.leaves != lens {
        return Err(ResealError::Recipe("a leaf is missing or has another length"));
    }
    let encoders = assign(&layout, parts)?;
    let sealer = Sealer { layout: &layout, parts, encoders, scratch };
    sealer.write(0, out)
}

/// Corrections as recipes carry them.
pub fn join_corrections<'a>(corrections: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = vec![];
    for bytes in corrections {
        pool::put_varint(&mut joined, bytes.len() as u64);
        joined.extend_from_slice(bytes);
    }
    joined
}

/// Which encoder makes a stream, and with which corrections.
struct Assigned<'a> {
    encoder: Encoder,
    corrections: &'a [u8],
}

/// Gives each coded stream of the layout its encoder; none for the others.
fn assign<'a>(
    layout: &Layout,
    parts: &Parts<'a>,
) -> Result<Vec<Option<Assigned<'a>>>, ResealError> {
    let mut corrections = parts.corrections;
    let mut runs = parts.encoders.iter();
    let (mut encoder, mut left) = (None, 0);
    let mut assigned = vec![];
    for stream in &layout.streams {
        if !stream.is_coded {
            assigned.push(None);
            continue;
        }
        while left == 0 {
            let (id, count) = runs.next().ok_or(ResealError::Recipe("too few encoders"))?;
            encoder = Encoder::parse(id);
            left = *count;
        }
        left -= 1;
        let encoder = encoder.clone().ok_or(ResealError::Recipe("an encoder is unknown"))?;
        let mut own: &[u8] = &[];
        if encoder.takes_corrections() {
            let len = pool::get_varint(&mut corrections)?;
            own = pool::take(&mut corrections, len)?;
        }
        assigned.push(Some(Assigned { encoder, corrections: own }));
    }
    if left != 0 || runs.next().is_some() || !corrections.is_empty() {
        return Err(ResealError::Recipe("too many encoders or corrections"));
    }
    Ok(assigned)
}

struct Sealer<'a> {
    layout: &'a Layout,
    parts: &'a Parts<'a>,
    encoders: Vec<Option<Assigned<'a>>>,
    scratch: &'a Scratch,
}

impl Sealer<'_> {
    fn laid(&self, stream: u32) -> &Laid {
        &self.layout.streams[stream as usize]
    }

    fn text(&self, stream: u32) -> Bytes {
        let at = |offset: u64| usize::try_from(offset).expect("a layout fits its pool");
        let (start, len) = self.laid(stream).text;
        self.parts.pool.slice(at(start)..at(start + len))
    }

    /// Writes the plain bytes of a stream.
    fn write(&self, stream: u32, out: &mut dyn Write) -> Result<(), ResealError> {
        let laid = self.laid(stream);
        if laid.is_blanked {
            return self.write_zip(stream, out);
        }
        let text = self.text(stream);
        let mut rest = &text[..];
        for &(gap, part) in &laid.items {
            out.write_all(pool::take(&mut rest, gap)?)?;
            match part {
                ItemPart::Leaf(leaf) => out.write_all(&self.parts.leaves[leaf as usize])?,
                ItemPart::Stream(child) => self.write_child(child, out)?,
            }
        }
        Ok(out.write_all(rest)?)
    }

    /// Writes a stream as it stands in its parent.
    fn write_child(&self, child: u32, out: &mut dyn Write) -> Result<(), ResealError> {
        match &self.encoders[child as usize] {
            None => self.write(child, out),
            Some(assigned) => self.encode(assigned, &self.content(child)?, out),
        }
    }

    fn encode(
        &self,
        assigned: &Assigned<'_>,
        content: &[u8],
        out: &mut dyn Write,
    ) -> Result<(), ResealError> {
        let Assigned { encoder, corrections } = assigned;
        let encoded = encoder.encode(content, corrections, out);
        encoded.map_err(|source| ResealError::Encode { id: encoder.id(), source })
    }

    /// The plain bytes of a stream, without a copy where they are one leaf or all text.
    fn content(&self, stream: u32) -> Result<Bytes, ResealError> {
        let laid = self.laid(stream);
        match (&laid.items[..], laid.is_blanked) {
            ([], false) => Ok(self.text(stream)),
            ([(0, ItemPart::Leaf(leaf))], false) if laid.tail == 0 => {
                Ok(self.parts.leaves[*leaf as usize].clone())
            }
            _ => self.scratch.stream(|to| self.write(stream, to)),
        }
    }

    /// A zip whose headers say what its entries are: these are made first.
    fn write_zip(&self, stream: u32, out: &mut dyn Write) -> Result<(), ResealError> {
        let laid = self.laid(stream);
        let mut sealed = self.scratch.writer();
        let mut facts = vec![];
        for &(_, part) in &laid.items {
            let ItemPart::Stream(entry) = part else {
                return Err(ResealError::Recipe("an entry of a zip is no stream"));
            };
            facts.push(self.write_entry(entry, &mut sealed)?);
        }
        let sealed = sealed.finish()?;
        let mut text = self.text(stream).to_vec();
        let cuts = pool::cuts(laid.items.iter().map(|item| item.0));
        zip::fill(&mut text, &cuts, &facts)?;
        let (mut text, mut sealed) = (&text[..], &sealed[..]);
        for (&(gap, _), fact) in laid.items.iter().zip(&facts) {
            out.write_all(pool::take(&mut text, gap)?)?;
            out.write_all(pool::take(&mut sealed, fact.stored_len_bytes)?)?;
        }
        Ok(out.write_all(text)?)
    }

    fn write_entry(&self, entry: u32, sealed: &mut ScratchWriter) -> Result<Facts, ResealError> {
        let content = self.content(entry)?;
        let before = sealed.len_bytes();
        match &self.encoders[entry as usize] {
            None => sealed.write_all(&content)?,
            Some(assigned) => self.encode(assigned, &content, sealed)?,
        }
        Ok(Facts {
            crc32: crc32fast::hash(&content),
            plain_len_bytes: content.len() as u64,
            stored_len_bytes: sealed.len_bytes() - before,
        })
    }
}
