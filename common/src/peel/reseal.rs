//! Puts a blob together again: pool, leaves, and the encoders of its coded streams.
//!
//! In:   the bytes of pool and leaves, the names of the encoders, corrections.
//! Out:  the blob, in order, to a writer; whoever writes it compares its SHA-256.
//! Memory is what the largest encoder declares; streams that are neither one leaf nor one text
//! are made in scratch space first.

use std::{
    cell::Cell,
    io::{self, Write},
};

use bytes::Bytes;

use super::{
    anatomy::ItemPart,
    encoder::{EncodeError, Encoder},
    opener,
    pool::{self, Laid, Layout, PoolError},
    zip::{self, Facts, ZipError},
};
use crate::scratch::Scratch;

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
    #[error("encoder {id} needs {needed} bytes of memory; the recipe declares {declared}")]
    Memory { id: String, needed: u64, declared: u64 },
    #[error("its streams are longer than those of a blob of its length may be")]
    TooLong,
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
    /// The length of the blob.
    pub len_bytes: u64,
    /// What its encoders may use.
    pub memory_bytes: u64,
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
    let layout = Layout::read(parts.pool, streams_max(parts.memory_bytes))?;
    let lens: Vec<u64> = parts.leaves.iter().map(|leaf| leaf.len() as u64).collect();
    if layout.leaves != lens {
        return Err(ResealError::Recipe("a leaf is missing or has another length"));
    }
    let encoders = assign(&layout, parts)?;
    let left_bytes = Cell::new(opener::most_plain_bytes(parts.len_bytes));
    let sealer = Sealer { layout: &layout, parts, encoders, scratch, left_bytes };
    let whole = Cell::new(parts.len_bytes);
    let mut metered = Metered::new(out, &whole);
    let written = sealer.write(0, &mut metered);
    metered.why(written)
}

/// Memory that [`reseal`] takes beside the encoders, for a blob of so many streams.
pub const fn own_memory_bytes(streams: usize) -> u64 {
    OWN_MEMORY_BYTES + streams as u64 * STREAM_MEMORY_BYTES
}

/// The most streams for which so much memory is enough.
fn streams_max(memory_bytes: u64) -> usize {
    let streams = memory_bytes.saturating_sub(OWN_MEMORY_BYTES) / STREAM_MEMORY_BYTES;
    usize::try_from(streams).unwrap_or(usize::MAX)
}

/// What is taken whatever the blob.
const OWN_MEMORY_BYTES: u64 = 16 << 20;

/// What each stream takes: its place in the layout, and in a zip its facts and its text.
const STREAM_MEMORY_BYTES: u64 = 1200;

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
    /// Bytes that may still be made in scratch space: streams inside streams multiply.
    left_bytes: Cell<u64>,
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
        let (needed, declared) =
            (encoder.memory_bytes(content.len() as u64), self.parts.memory_bytes);
        if declared < needed {
            return Err(ResealError::Memory { id: encoder.id(), needed, declared });
        }
        let mut noting = Noting { out, failed: None };
        let encoded = encoder.encode(content, corrections, &mut noting);
        match (encoded, noting.failed) {
            (_, Some(failed)) => Err(failed.into()),
            (Err(source), None) => Err(ResealError::Encode { id: encoder.id(), source }),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Makes a stream in scratch space.
    fn stream(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ResealError>,
    ) -> Result<Bytes, ResealError> {
        let mut to = self.scratch.writer();
        let mut metered = Metered::new(&mut to, &self.left_bytes);
        let written = write(&mut metered);
        metered.why(written)?;
        Ok(to.finish()?)
    }

    /// The plain bytes of a stream, without a copy where they are one leaf or all text.
    fn content(&self, stream: u32) -> Result<Bytes, ResealError> {
        let laid = self.laid(stream);
        match (&laid.items[..], laid.is_blanked) {
            ([], false) => Ok(self.text(stream)),
            ([(0, ItemPart::Leaf(leaf))], false) if laid.tail == 0 => {
                Ok(self.parts.leaves[*leaf as usize].clone())
            }
            _ => self.stream(|to| self.write(stream, to)),
        }
    }

    /// A zip whose headers say what its entries are: these are made first.
    fn write_zip(&self, stream: u32, out: &mut dyn Write) -> Result<(), ResealError> {
        let laid = self.laid(stream);
        let mut facts = vec![];
        let sealed = self.stream(|to| {
            let mut sealed = Counting { out: to, len_bytes: 0 };
            for &(_, part) in &laid.items {
                let ItemPart::Stream(entry) = part else {
                    return Err(ResealError::Recipe("an entry of a zip is no stream"));
                };
                facts.push(self.write_entry(entry, &mut sealed)?);
            }
            Ok(())
        })?;
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

    fn write_entry(&self, entry: u32, sealed: &mut Counting<'_>) -> Result<Facts, ResealError> {
        let content = self.content(entry)?;
        let before = sealed.len_bytes;
        match &self.encoders[entry as usize] {
            None => sealed.write_all(&content)?,
            Some(assigned) => self.encode(assigned, &content, sealed)?,
        }
        Ok(Facts {
            crc32: crc32fast::hash(&content),
            plain_len_bytes: content.len() as u64,
            stored_len_bytes: sealed.len_bytes - before,
        })
    }
}

/// Passes on at most so many bytes.
struct Metered<'a> {
    out: &'a mut dyn Write,
    left_bytes: &'a Cell<u64>,
    is_over: bool,
}

impl<'a> Metered<'a> {
    const fn new(out: &'a mut dyn Write, left_bytes: &'a Cell<u64>) -> Self {
        Self { out, left_bytes, is_over: false }
    }

    /// The result of writing, or that it was too much.
    fn why(&self, written: Result<(), ResealError>) -> Result<(), ResealError> {
        if self.is_over { Err(ResealError::TooLong) } else { written }
    }
}

impl Write for Metered<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left_bytes.get().checked_sub(buf.len() as u64) else {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left_bytes.set(left);
        self.out.write_all(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Remembers why a write failed: a full disk is no fault of an encoder.
struct Noting<'a> {
    out: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl Write for Noting<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf).inspect_err(|error| {
            self.failed = Some(io::Error::new(error.kind(), error.to_string()));
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Counts what it passes on.
struct Counting<'a> {
    out: &'a mut dyn Write,
    len_bytes: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.len_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
