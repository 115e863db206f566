//! Opens a blob: finds its containers, coded streams and leaves.
//!
//! In:   the bytes of a blob.
//! Out:  an [`Anatomy`], and the plain bytes of every coded stream in scratch space.
//! Never: a decision that depends on anything but the bytes. What cannot be opened, or expands
//! beyond its bound, stays closed and is noted.

mod entries;
mod unseal;

use std::io;

use bytes::Bytes;
use gapferry_proto::limits;
use unseal::Unsealed;

use super::{
    anatomy::{Anatomy, Coding, Item, ItemPart, Leaf, NOTES_MAX, Note, Source, Stream},
    ar, cpio,
    gzip::{self, Hint},
    member::Member,
    opened::{Opened, PeelError},
    rpm, tar,
};
use crate::{
    budget::Budget,
    scratch::{Scratch, ScratchWriter},
};

/// Longest member name that is kept, in bytes.
const NAME_LEN_BYTES_MAX: usize = 1024;

/// Streams up to this length share one scratch file.
const SHARED_LEN_BYTES_MAX: u64 = 1 << 20;

/// Opens a blob. Costs its decompression; memory is a few MiB and about 500 bytes a member, and
/// what xz needs, which is taken from `budget`: whoever calls holds no share of it.
///
/// # Errors
///
/// [`PeelError::Scratch`]: the scratch space is used up or its disk failed.
pub fn open(blob: &Bytes, scratch: &Scratch, budget: &Budget) -> Result<Opened, PeelError> {
    let mut opener = Opener {
        scratch,
        budget,
        anatomy: Anatomy::default(),
        shared: scratch.writer(),
        own: vec![],
        left_bytes: most_plain_bytes(blob.len() as u64),
    };
    let root = Found { coding: Coding::Identity, parent: 0, offset: 0, hint: None };
    opener.push(root, blob.len() as u64, blob.len() as u64, Source::Parent(0));
    opener.walk_stream(0, blob, 0, b"").map_err(PeelError::Scratch)?;
    let shared = opener.shared.finish().map_err(PeelError::Scratch)?;
    Ok(Opened::new(blob.clone(), shared, opener.own, opener.anatomy))
}

/// A coded stream that was found and not yet opened.
#[derive(Clone, Copy)]
struct Found {
    coding: Coding,
    parent: u32,
    offset: u64,
    hint: Option<Hint>,
}

/// A range of a stream that may be a container.
struct Place<'a> {
    stream: u32,
    bytes: &'a Bytes,
    /// Where the bytes begin in the stream.
    offset: u64,
    depth: usize,
    name: &'a [u8],
}

struct Opener<'a> {
    scratch: &'a Scratch,
    budget: &'a Budget,
    anatomy: Anatomy,
    shared: ScratchWriter,
    own: Vec<Bytes>,
    /// Plain bytes that may still be made; what fails in the end counts too.
    left_bytes: u64,
}

impl Opener<'_> {
    fn push(&mut self, found: Found, sealed: u64, len_bytes: u64, source: Source) -> u32 {
        self.anatomy.streams.push(Stream {
            coding: found.coding,
            parent: found.parent,
            offset: found.offset,
            sealed_len_bytes: sealed,
            len_bytes,
            crc32: 0,
            hint: found.hint,
            is_zip: false,
            items: vec![],
            source,
        });
        u32::try_from(self.anatomy.streams.len() - 1).expect("streams are bounded")
    }

    fn note(&mut self, what: &'static str, offset: u64) {
        if self.anatomy.notes.len() < NOTES_MAX {
            self.anatomy.notes.push(Note { what, offset });
        }
    }

    fn is_full(&self) -> bool {
        limits::PEEL_MEMBERS_MAX <= self.anatomy.streams.len() + self.anatomy.leaves.len()
    }

    /// Finds the items of a whole stream.
    fn walk_stream(
        &mut self,
        stream: u32,
        bytes: &Bytes,
        depth: usize,
        name: &[u8],
    ) -> io::Result<()> {
        let mut items = vec![];
        self.walk(&Place { stream, bytes, offset: 0, depth, name }, &mut items)?;
        self.anatomy.streams[stream as usize].items = items;
        Ok(())
    }

    fn walk(&mut self, place: &Place<'_>, items: &mut Vec<Item>) -> io::Result<()> {
        if limits::PEEL_DEPTH_MAX <= place.depth || self.is_full() {
            if looks_coded(place.bytes) {
                self.note("nested too deep, or too many members", place.offset);
            }
        } else if self.walk_container(place, items)? {
            return Ok(());
        }
        self.leaf(place, items);
        Ok(())
    }

    /// False when it is no container that can be opened.
    fn walk_container(&mut self, place: &Place<'_>, items: &mut Vec<Item>) -> io::Result<bool> {
        let bytes = &place.bytes[..];
        if bytes.starts_with(&[0x1f, 0x8b]) {
            return self.walk_gzip(place, items);
        }
        if bytes.starts_with(b"\xfd7zXZ\0") {
            return self.walk_xz(place, items);
        }
        if let Some(payload) = rpm::payload_offset(bytes) {
            let payload = (payload as u64).min(bytes.len() as u64);
            self.walk_range(place, payload, bytes.len() as u64 - payload, place.name, items)?;
            return Ok(true);
        }
        let members =
            ar::members(bytes).or_else(|| cpio::members(bytes)).or_else(|| tar::members(bytes));
        if let Some(members) = members {
            self.walk_members(place, &members, items)?;
            return Ok(true);
        }
        self.walk_zip(place, items)
    }

    fn walk_members(
        &mut self,
        place: &Place<'_>,
        members: &[Member<'_>],
        items: &mut Vec<Item>,
    ) -> io::Result<()> {
        for member in members {
            if self.is_full() {
                self.note("too many members", place.offset + member.offset);
                break;
            }
            self.walk_range(place, member.offset, member.len_bytes, &member.name, items)?;
        }
        Ok(())
    }

    fn walk_range(
        &mut self,
        place: &Place<'_>,
        offset: u64,
        len_bytes: u64,
        name: &[u8],
        items: &mut Vec<Item>,
    ) -> io::Result<()> {
        let bytes = slice(place.bytes, offset, len_bytes);
        let inner = Place {
            stream: place.stream,
            bytes: &bytes,
            offset: place.offset + offset,
            depth: place.depth + 1,
            name,
        };
        self.walk(&inner, items)
    }

    /// A stream without members, or a member: a leaf when it is long, else skeleton.
    fn leaf(&mut self, place: &Place<'_>, items: &mut Vec<Item>) {
        let len_bytes = place.bytes.len() as u64;
        if len_bytes < limits::LEAF_LEN_BYTES_MIN {
            return;
        }
        let number = u32::try_from(self.anatomy.leaves.len()).expect("leaves are bounded");
        let name = place.name[..place.name.len().min(NAME_LEN_BYTES_MAX)].to_vec();
        let (stream, offset) = (place.stream, place.offset);
        self.anatomy.leaves.push(Leaf { stream, offset, len_bytes, name });
        items.push(Item { offset, len_bytes, part: ItemPart::Leaf(number) });
    }

    /// One member after the other; what follows the last is skeleton.
    fn walk_gzip(&mut self, place: &Place<'_>, items: &mut Vec<Item>) -> io::Result<bool> {
        let (mut at, before) = (0, items.len());
        while let Some(header) = gzip::header(&place.bytes[at.min(place.bytes.len())..]) {
            let start = at + header.len_bytes;
            let found = Found {
                coding: Coding::Deflate,
                parent: place.stream,
                offset: place.offset + start as u64,
                hint: Some(header.hint),
            };
            let coded = place.bytes.slice(start.min(place.bytes.len())..);
            let Some(taken) = self.open_coded(found, &coded, place, items)? else { break };
            at = start + taken + gzip::TRAILER_LEN_BYTES;
            if self.is_full() {
                break;
            }
        }
        Ok(before < items.len())
    }

    /// One stream after the other, with the zeros that may stand between them.
    fn walk_xz(&mut self, place: &Place<'_>, items: &mut Vec<Item>) -> io::Result<bool> {
        let (mut at, before) = (0, items.len());
        while place.bytes[at..].starts_with(b"\xfd7zXZ\0") && !self.is_full() {
            let offset = place.offset + at as u64;
            let found = Found { coding: Coding::Xz, parent: place.stream, offset, hint: None };
            let coded = place.bytes.slice(at..);
            let Some(taken) = self.open_coded(found, &coded, place, items)? else { break };
            at += taken;
            at += place.bytes[at..].iter().take_while(|&&byte| byte == 0).count();
        }
        Ok(before < items.len())
    }

    /// Opens a coded stream and finds what is in it; how many coded bytes it took, none when it
    /// stays closed.
    fn open_coded(
        &mut self,
        found: Found,
        coded: &Bytes,
        place: &Place<'_>,
        items: &mut Vec<Item>,
    ) -> io::Result<Option<usize>> {
        let Some(unsealed) = self.unseal(found, coded)? else { return Ok(None) };
        let taken = usize::try_from(unsealed.sealed_len_bytes).expect("it is part of a slice");
        let number = self.keep(found, &unsealed)?;
        let len_bytes = unsealed.sealed_len_bytes;
        items.push(Item { offset: found.offset, len_bytes, part: ItemPart::Stream(number) });
        self.walk_stream(number, &unsealed.plain, place.depth + 1, place.name)?;
        Ok(Some(taken))
    }

    /// Gives the plain bytes of a stream a place where they stay.
    fn keep(&mut self, found: Found, unsealed: &Unsealed) -> io::Result<u32> {
        let len_bytes = unsealed.plain.len() as u64;
        let source = if len_bytes <= SHARED_LEN_BYTES_MAX {
            let start = self.shared.len_bytes();
            io::Write::write_all(&mut self.shared, &unsealed.plain)?;
            Source::Shared(start)
        } else {
            self.own.push(unsealed.plain.clone());
            Source::Own(self.own.len() - 1)
        };
        let number = self.push(found, unsealed.sealed_len_bytes, len_bytes, source);
        self.anatomy.streams[number as usize].crc32 = unsealed.crc32;
        Ok(number)
    }
}

/// The most that may come out of so many coded bytes.
pub(super) fn most_plain_bytes(coded_len_bytes: u64) -> u64 {
    let most = coded_len_bytes.saturating_mul(limits::PEEL_EXPANSION_MAX);
    most.saturating_add(limits::PEEL_EXPANSION_FREE_BYTES).min(limits::PEEL_PLAIN_LEN_BYTES_MAX)
}

fn slice(bytes: &Bytes, offset: u64, len_bytes: u64) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(offset)..at(offset.saturating_add(len_bytes)))
}

fn looks_coded(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8]) || bytes.starts_with(b"\xfd7zXZ\0")
}
