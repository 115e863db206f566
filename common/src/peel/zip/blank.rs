//! Takes the derived fields out of a zip's skeleton, and puts them back.
//!
//! In:   the text (the archive without its entries' contents), where each content stood, and
//!       the [`Facts`] about each content.
//! Out:  the text with each derived field replaced by its difference from the computed value,
//!       which is zero in an ordinary archive; or, the other way, the field itself.
//! Never: changes the length of a text. [`blank`] says yes only after [`fill`] has given the
//!       very text again.
//!
//! Both sides walk the text in the same way, by what is never blanked: signatures, flags, names
//! and lengths of names. A local header is the next place where its signature stands; it belongs
//! to an entry when it ends at the entry's cut, and is otherwise of an entry left out (empty,
//! encrypted, another method), whose own fields stay. Records of the central directory find
//! their local header by order, then by name; those that find none, or two, stay as they are.
//! Fields that are all ones stay too: zip64 has the number, in an extra field that stays.

use std::collections::HashMap;

use super::super::member::slice_at;
use super::{CENTRAL, Central, DESCRIBED, DESCRIPTOR, LOCAL, Local, end_record_at};

/// What is known of one entry's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    pub crc32: u32,
    pub plain_len_bytes: u64,
    pub stored_len_bytes: u64,
}

/// Why the fields of a text cannot be computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ZipError {
    #[error("zip text has {cuts} cuts and facts about {facts} entries")]
    FactsPerCut { cuts: usize, facts: usize },
    #[error("cut {index} of the zip text is at the end of no local header")]
    CutWithoutHeader { index: usize },
    #[error("zip text has no end of central directory record")]
    NoEndRecord,
}

/// Takes out every field that [`fill`] computes; true when `fill` gives the very text again.
///
/// Otherwise, as when a difference is all ones, the text is left as it was. Linear in the text;
/// holds two copies of it meanwhile.
pub fn blank(text: &mut Vec<u8>, cuts: &[u64], facts: &[Facts]) -> bool {
    let Ok(fields) = Fields::of(text, cuts, facts) else { return false };
    let mut blanked = text.clone();
    fields.take_out(&mut blanked);
    let mut filled = blanked.clone();
    if fill(&mut filled, cuts, facts).is_err() || filled != *text {
        return false;
    }
    *text = blanked;
    true
}

/// Puts the fields back that [`blank`] took out. Linear in the text.
///
/// # Errors
///
/// When the text does not have the shape that `blank` requires; it is then unchanged.
pub fn fill(text: &mut [u8], cuts: &[u64], facts: &[Facts]) -> Result<(), ZipError> {
    let fields = Fields::of(text, cuts, facts)?;
    fields.put_back(text);
    Ok(())
}

/// A number in the text, and what it is by the facts.
struct Field {
    at: usize,
    width: usize,
    computed: u64,
    /// Whether the field counts from where the central directory's offset counts from.
    based: bool,
}

impl Field {
    fn read(&self, text: &[u8]) -> u64 {
        let mut number = [0; 8];
        if let Some(field) = slice_at(text, self.at, self.width) {
            number[..self.width].copy_from_slice(field);
        }
        u64::from_le_bytes(number)
    }

    /// Replaces the field by `change` of it, unless it is all ones.
    fn replace(&self, text: &mut [u8], change: impl Fn(u64) -> u64) {
        let number = change(self.read(text)).to_le_bytes();
        match text.get_mut(self.at..self.at + self.width) {
            Some(field) if field.iter().any(|&byte| byte != 0xff) => {
                field.copy_from_slice(&number[..self.width]);
            }
            _ => {}
        }
    }
}

/// Every field that can be computed, in no order that matters.
struct Fields {
    list: Vec<Field>,
    /// The offset of the central directory, from which the others' base is known.
    directory_offset: Field,
}

impl Fields {
    fn of(text: &[u8], cuts: &[u64], facts: &[Facts]) -> Result<Self, ZipError> {
        if cuts.len() != facts.len() {
            return Err(ZipError::FactsPerCut { cuts: cuts.len(), facts: facts.len() });
        }
        let end_at = end_record_at(text).ok_or(ZipError::NoEndRecord)?;
        let mut walk = Walk { text, end_at, cuts, facts, headers: Vec::new(), list: Vec::new() };
        let (directory_at, removed) = walk.local_headers()?;
        let directory_end = walk.central_records(directory_at);
        walk.number(end_at + 12, 4, (directory_end - directory_at) as u64);
        let computed = removed.wrapping_add(directory_at as u64);
        let directory_offset = Field { at: end_at + 16, width: 4, computed, based: false };
        Ok(Self { list: walk.list, directory_offset })
    }

    fn take_out(&self, text: &mut [u8]) {
        self.directory_offset
            .replace(text, |number| number.wrapping_sub(self.directory_offset.computed));
        let base = self.base(text);
        for field in &self.list {
            field.replace(text, |number| number.wrapping_sub(field.value(base)));
        }
    }

    fn put_back(&self, text: &mut [u8]) {
        let base = self.base(text);
        for field in &self.list {
            field.replace(text, |number| number.wrapping_add(field.value(base)));
        }
        self.directory_offset
            .replace(text, |number| number.wrapping_add(self.directory_offset.computed));
    }

    /// What offsets in a blanked text are off by: bytes before the archive that it does not count.
    fn base(&self, blanked: &[u8]) -> u64 {
        self.directory_offset.read(blanked)
    }
}

impl Field {
    fn value(&self, base: u64) -> u64 {
        if self.based { self.computed.wrapping_add(base) } else { self.computed }
    }
}

/// A local header that the walk came by.
struct Seen<'a> {
    name: &'a [u8],
    /// Where it begins in the archive.
    offset: u64,
    facts: Option<Facts>,
}

/// A walk over one text, from its start to its end record.
struct Walk<'a> {
    text: &'a [u8],
    end_at: usize,
    cuts: &'a [u64],
    facts: &'a [Facts],
    headers: Vec<Seen<'a>>,
    list: Vec<Field>,
}

impl<'a> Walk<'a> {
    /// Goes over the local headers; gives where the central directory begins, and how many bytes
    /// of contents are missing before it.
    fn local_headers(&mut self) -> Result<(usize, u64), ZipError> {
        let (mut at, mut index, mut removed) = (0, 0, 0_u64);
        loop {
            let cut = match self.cuts.get(index) {
                Some(&cut) => Some(self.inside(cut).ok_or(ZipError::CutWithoutHeader { index })?),
                None => None,
            };
            let limit = cut.unwrap_or(self.end_at);
            let Some(found) = self.next_signature(at, limit, cut.is_none()) else {
                return match cut {
                    Some(_) => Err(ZipError::CutWithoutHeader { index }),
                    None => Ok((self.end_at, removed)),
                };
            };
            let Some(local) = Local::at(&self.text[..limit], found) else {
                if Central::at(&self.text[..limit], found).is_some() {
                    return Ok((found, removed));
                }
                at = found + 4;
                continue;
            };
            let facts = self.facts.get(index).filter(|_| cut == Some(local.end)).copied();
            let offset = removed.wrapping_add(found as u64);
            self.headers.push(Seen { name: local.name, offset, facts });
            at = match facts {
                Some(facts) => {
                    index += 1;
                    removed = removed.wrapping_add(facts.stored_len_bytes);
                    self.entry(found, &local, facts)
                }
                None => self.past_left_out(&local, limit).unwrap_or(found + 4),
            };
        }
    }

    /// A cut as a place in the text before the end record.
    fn inside(&self, cut: u64) -> Option<usize> {
        usize::try_from(cut).ok().filter(|&cut| cut <= self.end_at)
    }

    /// Where the next local header, or central record if `central`, may begin.
    fn next_signature(&self, at: usize, limit: usize, central: bool) -> Option<usize> {
        let stands = |four: &[u8]| four == LOCAL || (central && four == CENTRAL);
        Some(at + self.text.get(at..limit)?.windows(4).position(stands)?)
    }

    /// Lists the fields of an entry's header or descriptor; gives where the walk goes on.
    fn entry(&mut self, header_at: usize, local: &Local<'_>, facts: Facts) -> usize {
        if local.flags & DESCRIBED == 0 {
            self.crc_and_lengths(header_at + 14, 4, facts);
            return local.end;
        }
        let Some((fields_at, width)) = self.descriptor(local.end) else { return local.end };
        self.crc_and_lengths(fields_at, width, facts);
        fields_at + 4 + 2 * width
    }

    /// Where the fields of the descriptor at `at` begin, and how wide its lengths are.
    ///
    /// APPNOTE 4.3.9 leaves both the signature and the width open: what follows decides.
    fn descriptor(&self, at: usize) -> Option<(usize, usize)> {
        let follows = |at: usize| {
            let four = slice_at(&self.text[..self.end_at], at, 4);
            four.is_some_and(|four| four == LOCAL || four == CENTRAL)
        };
        if follows(at) {
            return None;
        }
        let signed = slice_at(self.text, at, 4) == Some(DESCRIPTOR);
        let starts = if signed { [Some(at + 4), Some(at)] } else { [Some(at), None] };
        let shapes = starts.into_iter().flatten().flat_map(|start| [(start, 4), (start, 8)]);
        shapes.into_iter().find(|&(start, width)| follows(start + 4 + 2 * width))
    }

    /// Where the walk goes on behind the header of an entry left out, whose content is here;
    /// `None` when its length leads to no further signature.
    fn past_left_out(&self, local: &Local<'_>, limit: usize) -> Option<usize> {
        let end = local.end.checked_add(usize::try_from(local.stored_len_bytes).ok()?)?;
        self.text.get(end..limit)?.starts_with(b"PK").then_some(end)
    }

    /// Goes over the central directory; gives where its last record ends.
    fn central_records(&mut self, directory_at: usize) -> usize {
        let text = &self.text[..self.end_at];
        let mut by_name = None;
        let (mut at, mut expected) = (directory_at, 0);
        while let Some(record) = Central::at(text, at) {
            let in_order = self.headers.get(expected).is_some_and(|seen| seen.name == record.name);
            let position = if in_order {
                Some(expected)
            } else {
                let names = by_name.get_or_insert_with(|| positions(&self.headers));
                names.get(record.name).copied().flatten()
            };
            if let Some(position) = position {
                expected = position + 1;
                let Seen { offset, facts, .. } = self.headers[position];
                if let Some(facts) = facts {
                    self.crc_and_lengths(at + 16, 4, facts);
                }
                self.list.push(Field { at: at + 42, width: 4, computed: offset, based: true });
            }
            at = record.end;
        }
        at
    }

    fn crc_and_lengths(&mut self, at: usize, width: usize, facts: Facts) {
        self.number(at, 4, u64::from(facts.crc32));
        self.number(at + 4, width, facts.stored_len_bytes);
        self.number(at + 4 + width, width, facts.plain_len_bytes);
    }

    fn number(&mut self, at: usize, width: usize, computed: u64) {
        self.list.push(Field { at, width, computed, based: false });
    }
}

/// Where each name stands among the headers; `None` for one that stands twice.
fn positions<'a>(headers: &[Seen<'a>]) -> HashMap<&'a [u8], Option<usize>> {
    let mut positions = HashMap::new();
    for (position, seen) in headers.iter().enumerate() {
        positions.entry(seen.name).and_modify(|twice| *twice = None).or_insert(Some(position));
    }
    positions
}
