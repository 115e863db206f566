//! The entries of a zip, each a stream of its own.

use std::io;

use gapferry_proto::limits;

use super::{Found, Opener, Place, slice};
use crate::peel::{
    anatomy::{Coding, Item, ItemPart, Source},
    zip,
};

impl Opener<'_> {
    /// A zip that is a whole stream has its entries as items; elsewhere it becomes a stream first.
    pub(super) fn walk_zip(
        &mut self,
        place: &Place<'_>,
        items: &mut Vec<Item>,
    ) -> io::Result<bool> {
        let Some(entries) = zip::entries(place.bytes).filter(|entries| !entries.is_empty()) else {
            return Ok(false);
        };
        if limits::PEEL_MEMBERS_MAX < self.anatomy.streams.len() + entries.len() {
            self.note("too many members", place.offset);
            return Ok(false);
        }
        let stream = &self.anatomy.streams[place.stream as usize];
        if stream.len_bytes != place.bytes.len() as u64 {
            let number = self.identity(place.stream, place.offset, place.bytes.len() as u64, items);
            let mut inner = vec![];
            self.walk_entries(number, place, &entries, &mut inner)?;
            self.anatomy.streams[number as usize].items = inner;
        } else {
            self.walk_entries(place.stream, place, &entries, items)?;
        }
        Ok(true)
    }

    fn walk_entries(
        &mut self,
        stream: u32,
        place: &Place<'_>,
        entries: &[zip::Entry<'_>],
        items: &mut Vec<Item>,
    ) -> io::Result<()> {
        let mut is_zip = true;
        for entry in entries {
            is_zip &= self.walk_entry(stream, place, entry, items)?;
        }
        self.anatomy.streams[stream as usize].is_zip = is_zip;
        Ok(())
    }

    /// Whether the entry is what its header says.
    fn walk_entry(
        &mut self,
        stream: u32,
        place: &Place<'_>,
        entry: &zip::Entry<'_>,
        items: &mut Vec<Item>,
    ) -> io::Result<bool> {
        let coded = slice(place.bytes, entry.offset, entry.len_bytes);
        let inner = Place { name: entry.name, ..*place };
        if entry.method == zip::Method::Deflated {
            let found =
                Found { coding: Coding::Deflate, parent: stream, offset: entry.offset, hint: None };
            let number = self.anatomy.streams.len();
            if let Some(taken) = self.open_coded(found, &coded, &inner, items)? {
                let opened = &self.anatomy.streams[number];
                return Ok(taken as u64 == entry.len_bytes
                    && opened.crc32 == entry.crc32
                    && opened.len_bytes == entry.plain_len_bytes);
            }
        }
        let number = self.identity(stream, entry.offset, entry.len_bytes, items);
        let crc32 = crc32fast::hash(&coded);
        self.anatomy.streams[number as usize].crc32 = crc32;
        let mut own = vec![];
        self.leaf(&Place { stream: number, bytes: &coded, offset: 0, ..inner }, &mut own);
        self.anatomy.streams[number as usize].items = own;
        Ok(entry.method == zip::Method::Stored
            && crc32 == entry.crc32
            && entry.len_bytes == entry.plain_len_bytes)
    }

    /// A stream that stands in its parent as it is.
    fn identity(&mut self, parent: u32, offset: u64, len_bytes: u64, items: &mut Vec<Item>) -> u32 {
        let found = Found { coding: Coding::Identity, parent, offset, hint: None };
        let number = self.push(found, len_bytes, len_bytes, Source::Parent(offset));
        items.push(Item { offset, len_bytes, part: ItemPart::Stream(number) });
        number
    }
}
