//! The pool of a blob: everything in it that is no leaf.
//!
//! A pool is the layout (where which stream and leaf begins) and after it the text of every
//! stream: headers, padding, small members. Two versions of a wheel have pools that are mostly
//! equal, so that 20,000 members cost one delta. `FORMAT.md`, section 10.

use std::io::{self, Write};

use bytes::Bytes;
use gapferry_proto::{limits, recipe::View};

use super::{
    Opened,
    anatomy::{Coding, Item, ItemPart},
    zip::{self, Facts},
};
use crate::scratch::Scratch;

/// A tag ends a stream, or says what its next item is.
const END: u8 = 0;
const LEAF: u8 = 1;
const CODED: u8 = 2;
const IDENTITY: u8 = 3;
/// Added to the tag of a stream, or alone for the blob: a zip whose computable fields are zero.
const BLANKED: u8 = 0x10;

/// Streams inside streams: each level of [`limits::PEEL_DEPTH_MAX`], and a zip's entries in each.
const DEPTH_MAX: usize = 2 * limits::PEEL_DEPTH_MAX + 2;

/// What becomes of a coded stream when its blob is made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// An encoder gives it from its plain bytes.
    Open,
    /// It is made of its puffed bytes.
    Puffed,
    /// It travels as it is.
    Sealed,
}

/// A pool and the leaves beside it, in the order of the layout.
#[derive(Clone, Debug)]
pub struct Pooled {
    pub pool: Bytes,
    pub leaves: Vec<View>,
    /// The coded streams that the layout has, in its order.
    pub coded: Vec<u32>,
}

/// The pool of a blob with every stream open: what bases are made of.
///
/// # Errors
///
/// The error of the scratch space.
pub fn of(opened: &Opened, scratch: &Scratch) -> io::Result<Bytes> {
    Ok(with_fates(opened, |_| Fate::Open, scratch)?.pool)
}

/// The pool of a blob whose coded streams have the given fates.
///
/// # Errors
///
/// The error of the scratch space.
pub fn with_fates(
    opened: &Opened,
    fate: impl Fn(u32) -> Fate,
    scratch: &Scratch,
) -> io::Result<Pooled> {
    let mut writer = Writer {
        opened,
        fate: &fate,
        tags: vec![],
        numbers: vec![],
        texts: vec![],
        leaves: vec![],
        coded: vec![],
    };
    writer.stream(0, 0);
    let pool = scratch.stream(|to| writer.write(to))?;
    Ok(Pooled { pool, leaves: writer.leaves, coded: writer.coded })
}

struct Writer<'a> {
    opened: &'a Opened,
    fate: &'a dyn Fn(u32) -> Fate,
    tags: Vec<u8>,
    numbers: Vec<u8>,
    /// The text of each stream, in pieces.
    texts: Vec<Vec<Bytes>>,
    leaves: Vec<View>,
    coded: Vec<u32>,
}

impl Writer<'_> {
    fn stream(&mut self, number: u32, tag: u8) {
        let content = self.opened.content(number);
        let stream = &self.opened.anatomy().streams[number as usize];
        let gaps = gaps(&content, &stream.items);
        let blanked = if stream.is_zip { self.blanked(number, &gaps) } else { None };
        self.tags.push(tag | if blanked.is_some() { BLANKED } else { 0 });
        let text = self.texts.len();
        self.texts.push(vec![]);
        let mut open_gap = 0;
        for (item, gap) in stream.items.iter().zip(&gaps) {
            self.texts[text].push(gap.clone());
            open_gap += gap.len() as u64;
            let sealed = self.opened.anatomy().streams.get(match item.part {
                ItemPart::Stream(child) => child as usize,
                ItemPart::Leaf(_) => usize::MAX,
            });
            match (item.part, sealed.map(|s| s.coding)) {
                (ItemPart::Leaf(leaf), _) => {
                    self.leaf(&mut open_gap, View::Leaf(leaf), item.len_bytes);
                }
                (ItemPart::Stream(child), Some(Coding::Identity)) => {
                    self.gap(&mut open_gap);
                    self.stream(child, IDENTITY);
                }
                (ItemPart::Stream(child), _) => self.child(&mut open_gap, text, child),
            }
        }
        let last = gaps.last().cloned().unwrap_or_default();
        open_gap += last.len() as u64;
        self.texts[text].push(last);
        if let Some(blanked) = blanked {
            self.texts[text] = vec![blanked];
        }
        self.gap(&mut open_gap);
        self.tags.push(END);
    }

    /// A coded stream, by its fate.
    fn child(&mut self, open_gap: &mut u64, text: usize, child: u32) {
        match (self.fate)(child) {
            Fate::Open => {
                self.gap(open_gap);
                self.coded.push(child);
                self.stream(child, CODED);
            }
            Fate::Puffed => {
                self.gap(open_gap);
                self.coded.push(child);
                self.tags.push(CODED);
                let inner = self.texts.len();
                self.texts.push(vec![]);
                let mut open_gap = 0;
                match self.opened.puffed_len_bytes(child).unwrap_or(0) {
                    len if limits::LEAF_LEN_BYTES_MIN <= len => {
                        self.leaf(&mut open_gap, View::Puffed(child), len);
                    }
                    len => {
                        open_gap += len;
                        self.texts[inner].push(self.opened.short_puffed(child, len));
                    }
                }
                self.gap(&mut open_gap);
                self.tags.push(END);
            }
            Fate::Sealed => {
                let sealed = self.opened.sealed(child);
                let len_bytes = sealed.len() as u64;
                if limits::LEAF_LEN_BYTES_MIN <= len_bytes {
                    self.leaf(open_gap, View::Sealed(child), len_bytes);
                } else {
                    *open_gap += len_bytes;
                    self.texts[text].push(sealed);
                }
            }
        }
    }

    fn leaf(&mut self, open_gap: &mut u64, view: View, len_bytes: u64) {
        self.gap(open_gap);
        self.tags.push(LEAF);
        put_varint(&mut self.numbers, len_bytes);
        self.leaves.push(view);
    }

    fn gap(&mut self, open_gap: &mut u64) {
        put_varint(&mut self.numbers, std::mem::take(open_gap));
    }

    /// The text of a zip with zeros for what can be computed; none when that does not give it
    /// again, or when an entry stays closed.
    fn blanked(&self, number: u32, gaps: &[Bytes]) -> Option<Bytes> {
        let streams = &self.opened.anatomy().streams;
        let mut facts = vec![];
        for item in &streams[number as usize].items {
            let ItemPart::Stream(child) = item.part else { return None };
            let entry = &streams[child as usize];
            if entry.coding != Coding::Identity && (self.fate)(child) != Fate::Open {
                return None;
            }
            facts.push(Facts {
                crc32: entry.crc32,
                plain_len_bytes: entry.len_bytes,
                stored_len_bytes: entry.sealed_len_bytes,
            });
        }
        let cuts = cuts(gaps.iter().map(|gap| gap.len() as u64));
        if limits::BLANKED_LEN_BYTES_MAX < *cuts.last()? {
            return None;
        }
        let mut text = gaps.concat();
        zip::blank(&mut text, &cuts[..facts.len()], &facts).then(|| text.into())
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = vec![];
        put_varint(&mut head, self.tags.len() as u64);
        put_varint(&mut head, self.numbers.len() as u64);
        to.write_all(&head)?;
        to.write_all(&self.tags)?;
        to.write_all(&self.numbers)?;
        self.texts.iter().flatten().try_for_each(|piece| to.write_all(piece))
    }
}

/// What stands before each item and after the last.
fn gaps(content: &Bytes, items: &[Item]) -> Vec<Bytes> {
    let at = |offset: u64| usize::try_from(offset).expect("it is part of a mapped stream");
    let mut gaps = vec![];
    let mut end = 0;
    for item in items {
        gaps.push(content.slice(at(end)..at(item.offset)));
        end = item.offset + item.len_bytes;
    }
    gaps.push(content.slice(at(end)..));
    gaps
}

/// Where in a text each gap ends.
pub(super) fn cuts(gaps: impl Iterator<Item = u64>) -> Vec<u64> {
    gaps.scan(0, |end, gap| {
        *end += gap;
        Some(*end)
    })
    .collect()
}

/// Why bytes are no pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is inconsistent: {0}")]
pub struct PoolError(&'static str);

/// A layout that was read from a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The blob itself first; a stream comes before those that it holds.
    pub streams: Vec<Laid>,
    /// The lengths of the leaves, in order.
    pub leaves: Vec<u64>,
}

/// One stream of a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Laid {
    /// Whether an encoder makes it.
    pub is_coded: bool,
    pub is_blanked: bool,
    /// Each item with the length of the text before it.
    pub items: Vec<(u64, ItemPart)>,
    /// The length of the text after the last item.
    pub tail: u64,
    /// Where its text begins in the pool, and its length.
    pub text: (u64, u64),
}

impl Layout {
    /// Reads the layout of a pool.
    ///
    /// # Errors
    ///
    /// [`PoolError`]: refuse the export; also when it has more than `streams_max` streams.
    pub fn read(pool: &[u8], streams_max: usize) -> Result<Self, PoolError> {
        let mut rest = pool;
        let tags_len = get_varint(&mut rest)?;
        let numbers_len = get_varint(&mut rest)?;
        let tags = take(&mut rest, tags_len)?;
        let numbers = take(&mut rest, numbers_len)?;
        let streams_max = streams_max.min(limits::PEEL_MEMBERS_MAX);
        let layout = Self { streams: vec![], leaves: vec![] };
        let mut reader = Reader { tags, numbers, streams_max, layout };
        let root = reader.tag()?;
        if root & !BLANKED != 0 {
            return Err(PoolError("it does not begin with the blob"));
        }
        reader.stream(root, 0)?;
        if !reader.tags.is_empty() || !reader.numbers.is_empty() {
            return Err(PoolError("something follows the layout"));
        }
        let mut layout = reader.layout;
        layout.place_texts((pool.len() - rest.len()) as u64, pool.len() as u64)?;
        Ok(layout)
    }

    fn place_texts(&mut self, start: u64, end: u64) -> Result<(), PoolError> {
        let wrong = PoolError("its texts do not add up");
        let mut at = start;
        for stream in &mut self.streams {
            let gaps = stream.items.iter().map(|item| item.0);
            let len = gaps.chain([stream.tail]).try_fold(0_u64, u64::checked_add).ok_or(wrong)?;
            if stream.is_blanked && limits::BLANKED_LEN_BYTES_MAX < len {
                return Err(PoolError("the text of a zip is too long"));
            }
            stream.text = (at, len);
            at = at.checked_add(len).ok_or(wrong)?;
        }
        if at == end { Ok(()) } else { Err(wrong) }
    }
}

struct Reader<'a> {
    tags: &'a [u8],
    numbers: &'a [u8],
    streams_max: usize,
    layout: Layout,
}

impl Reader<'_> {
    fn tag(&mut self) -> Result<u8, PoolError> {
        let (&tag, rest) = self.tags.split_first().ok_or(PoolError("its tags end early"))?;
        self.tags = rest;
        Ok(tag)
    }

    fn stream(&mut self, tag: u8, depth: usize) -> Result<u32, PoolError> {
        if DEPTH_MAX < depth || self.streams_max < self.layout.streams.len() {
            return Err(PoolError("it has too many streams"));
        }
        let number = self.layout.streams.len();
        self.layout.streams.push(Laid {
            is_coded: tag & !BLANKED == CODED,
            is_blanked: tag & BLANKED != 0,
            items: vec![],
            tail: 0,
            text: (0, 0),
        });
        loop {
            // The gap of a child comes before the child's own numbers.
            let gap = get_varint(&mut self.numbers)?;
            let part = match self.tag()? {
                END => {
                    self.layout.streams[number].tail = gap;
                    return Ok(u32::try_from(number).expect("streams are bounded"));
                }
                LEAF => self.leaf()?,
                tag if matches!(tag & !BLANKED, CODED | IDENTITY) => {
                    ItemPart::Stream(self.stream(tag, depth + 1)?)
                }
                _ => return Err(PoolError("it has an unknown tag")),
            };
            self.layout.streams[number].items.push((gap, part));
        }
    }

    fn leaf(&mut self) -> Result<ItemPart, PoolError> {
        if limits::PEEL_MEMBERS_MAX < self.layout.leaves.len() {
            return Err(PoolError("it has too many leaves"));
        }
        let len_bytes = get_varint(&mut self.numbers)?;
        self.layout.leaves.push(len_bytes);
        let number = self.layout.leaves.len() - 1;
        Ok(ItemPart::Leaf(u32::try_from(number).expect("leaves are bounded")))
    }
}

/// Appends a number, seven bits a byte, the lowest first.
pub(super) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while 0x7f < value {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push((value & 0x7f) as u8);
}

/// Takes a number that [`put_varint`] wrote.
pub(super) fn get_varint(from: &mut &[u8]) -> Result<u64, PoolError> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = from.split_first().ok_or(PoolError("its numbers end early"))?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(PoolError("a number is too long"))
}

pub(super) fn take<'a>(from: &mut &'a [u8], len: u64) -> Result<&'a [u8], PoolError> {
    let len = usize::try_from(len).map_err(|_| PoolError("a length is too long"))?;
    let (taken, rest) = from.split_at_checked(len).ok_or(PoolError("it ends early"))?;
    *from = rest;
    Ok(taken)
}
