//! Describes new bytes by a base: copies from it, what to add to them, and what is new.
//!
//! In:   base and new bytes; on the way back the base and three streams.
//! Out:  three [`Streams`]; on the way back exactly the new bytes.
//! The idea is bsdiff's (Colin Percival, "Naive differences of executable code", 2003): most
//! bytes of changed machine code equal the old ones up to addresses, so a copy may be inexact,
//! and the differences are mostly zeros. Must never read outside of the base or write more than
//! was announced, whatever the streams say.

use std::io::{self, Read, Write};

use super::anchors::{self, AnchorSeeds};
use super::index::{INDEXED_LEN_BYTES_MAX, Index, tail};
use super::path::{self, Prices, Segment, Source};
use super::seeds::{Search, Seeds};
use super::{ApplyError, DiffError, Effort, varint};

/// The three streams of a delta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Three numbers a copy: seek (signed, from where the base would go on if it had been read
    /// for every new byte so far), bytes to copy, fresh bytes after it.
    pub control: Vec<u8>,
    /// New less base for all that is copied, as digits from -128 to 127 that carry on within
    /// each copy.
    pub difference: Vec<u8>,
    /// The fresh bytes.
    pub extra: Vec<u8>,
}

/// Describes `new` by `base`.
///
/// Memory, besides the two slices: [`search_memory_bytes`], and up to twice `new` for the
/// streams. Time: linear but for a factor log(base) at positions where
/// nothing fits. Fails when either side has 2 GiB or more.
pub fn diff(base: &[u8], new: &[u8]) -> Result<Streams, DiffError> {
    diff_with(base, new, Effort::Balanced, Change::Light)
}

/// What is taken for granted about a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// What differs in a copy differs by few numbers, over and over: copy wherever possible.
    Light,
    /// What differs has nothing to do with the base: rather send it as it is.
    Heavy,
    /// What differs was written anew, and a letter costs a third of a number.
    Text,
}

/// [`diff`] with a choice between time and size, and of what to expect.
pub fn diff_with(
    base: &[u8],
    new: &[u8],
    effort: Effort,
    change: Change,
) -> Result<Streams, DiffError> {
    if new.len() > INDEXED_LEN_BYTES_MAX {
        return Err(DiffError::NewTooLong { len_bytes: new.len() });
    }
    let (search, prices) = tuning(effort, change);
    let mut writer = StreamWriter::default();
    let mut take = |segment| writer.add(base, new, segment);
    if is_sorted(base.len() as u64, new.len() as u64, effort) {
        let index = Index::new(base)?;
        path::choose(base, new, Seeds::new(&index, base, new, search), prices, &mut take);
    } else if base.len() > INDEXED_LEN_BYTES_MAX {
        return Err(DiffError::BaseTooLong { len_bytes: base.len() });
    } else {
        path::choose(base, new, AnchorSeeds::new(base, new), prices, &mut take);
    }
    writer.flush();
    Ok(writer.streams)
}

/// Most memory for sorted suffixes and the streams beside them: 1.7 GiB, within what an export may
/// have. A base and a new version of 290 MiB each need as much.
const SORTED_MEMORY_BYTES_MAX: u64 = 1740 << 20;

/// Whether the suffixes of a base are sorted; else places are found by anchors.
fn is_sorted(base_len: u64, new_len: u64, effort: Effort) -> bool {
    effort != Effort::Fastest && 4 * base_len + 2 * new_len <= SORTED_MEMORY_BYTES_MAX
}

/// Memory that looking for places takes, in bytes, beside the streams.
pub fn search_memory_bytes(base_len: u64, new_len: u64, effort: Effort) -> u64 {
    if is_sorted(base_len, new_len, effort) {
        4 * base_len + (70 << 20)
    } else {
        anchors::memory_bytes(base_len) + (6 << 20)
    }
}

/// Writes the new bytes that the three streams describe, exactly `new_len_bytes`, or fails.
///
/// Memory: 64 KiB besides the readers. What was written before a failure is part of the new
/// bytes or worthless; the caller compares a digest of the whole.
pub fn apply(
    base: &[u8],
    mut control: impl Read,
    mut difference: impl Read,
    mut extra: impl Read,
    new_len_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), ApplyError> {
    let mut left = new_len_bytes;
    let mut base_at = 0_u64;
    let mut buffer = vec![0; BUFFER_LEN];
    while left > 0 {
        let (seek, copy_len, fresh_len) = read_copy(&mut control)?;
        if copy_len > left || fresh_len > left - copy_len || copy_len == 0 && fresh_len == 0 {
            return Err(ApplyError::TooLong { new_len_bytes });
        }
        left -= copy_len + fresh_len;
        base_at = base_at.checked_add_signed(seek).ok_or(ApplyError::OutsideBase)?;
        let copied = copied(base, base_at, copy_len)?;
        add_copied(copied, &mut difference, &mut buffer, out)?;
        pass_on(fresh_len, &mut extra, &mut buffer, out)?;
        base_at = base_at.saturating_add(copy_len + fresh_len);
    }
    at_end(&mut control)?;
    at_end(&mut difference)?;
    at_end(&mut extra)
}

const BUFFER_LEN: usize = 1 << 15;

fn read_copy(control: &mut impl Read) -> Result<(i64, u64, u64), ApplyError> {
    let mut number = || match varint::get(control) {
        Ok(Some(n)) => Ok(n),
        Ok(None) => Err(ApplyError::EndsEarly),
        Err(source) => Err(ApplyError::from_read(source)),
    };
    Ok((varint::unfold(number()?), number()?, number()?))
}

fn copied(base: &[u8], at: u64, len: u64) -> Result<&[u8], ApplyError> {
    if len == 0 {
        return Ok(&[]);
    }
    let start = usize::try_from(at).map_err(|_| ApplyError::OutsideBase)?;
    let len = usize::try_from(len).map_err(|_| ApplyError::OutsideBase)?;
    base.get(start..).and_then(|base| base.get(..len)).ok_or(ApplyError::OutsideBase)
}

fn add_copied(
    copied: &[u8],
    difference: &mut impl Read,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> Result<(), ApplyError> {
    let mut carry = 0;
    for part in copied.chunks(BUFFER_LEN) {
        let buffer = &mut buffer[..part.len()];
        difference.read_exact(buffer).map_err(ApplyError::from_read)?;
        carry = add(buffer, part, carry);
        out.write_all(buffer).map_err(ApplyError::Write)?;
    }
    Ok(())
}

/// Appends `new` less `old` as digits from -128 to 127, each carrying into the next.
///
/// An address that moved by 64 is then 64 wherever it lies, and one that moved by -64 is one
/// digit as well, whether or not its lower bytes wrap.
fn subtract(new: &[u8], old: &[u8], difference: &mut Vec<u8>) {
    let mut carry = 0_i16;
    difference.extend(new.iter().zip(old).map(|(&new, &old)| {
        let whole = i16::from(new) - i16::from(old) + carry;
        let digit = whole.to_le_bytes()[0];
        carry = (whole - i16::from(digit.cast_signed())) >> 8;
        digit
    }));
}

/// Adds `old` to the digits in `sum`, with the carry from before; returns the carry after.
fn add(sum: &mut [u8], old: &[u8], mut carry: i16) -> i16 {
    let (sum_words, sum_rest) = sum.as_chunks_mut::<8>();
    let (old_words, old_rest) = old.as_chunks::<8>();
    for (sum, old) in sum_words.iter_mut().zip(old_words) {
        if carry == 0 && *sum == [0; 8] {
            *sum = *old;
        } else {
            carry = add_bytes(sum, old, carry);
        }
    }
    add_bytes(sum_rest, old_rest, carry)
}

fn add_bytes(sum: &mut [u8], old: &[u8], mut carry: i16) -> i16 {
    for (sum, &old) in sum.iter_mut().zip(old) {
        let digit = i16::from(sum.cast_signed());
        let new = (i16::from(old) - carry + digit).to_le_bytes()[0];
        carry = (i16::from(new) - i16::from(old) + carry - digit) >> 8;
        *sum = new;
    }
    carry
}

fn pass_on(
    mut left: u64,
    extra: &mut impl Read,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> Result<(), ApplyError> {
    while left > 0 {
        let len = usize::try_from(left).map_or(BUFFER_LEN, |left| Ord::min(left, BUFFER_LEN));
        let buffer = &mut buffer[..len];
        extra.read_exact(buffer).map_err(ApplyError::from_read)?;
        out.write_all(buffer).map_err(ApplyError::Write)?;
        left -= len as u64;
    }
    Ok(())
}

/// Refuses bytes that no copy asked for: two payloads for one result are one too many.
fn at_end(stream: &mut impl Read) -> Result<(), ApplyError> {
    match io::copy(&mut stream.take(1), &mut io::sink()) {
        Ok(0) => Ok(()),
        Ok(_) => Err(ApplyError::BytesLeft),
        Err(source) => Err(ApplyError::from_read(source)),
    }
}

#[derive(Default)]
struct StreamWriter {
    streams: Streams,
    shift: isize,
    pending: Option<Pending>,
}

/// A copy whose fresh bytes are still to be counted.
struct Pending {
    seek: i64,
    copy_len: u64,
    fresh_len: u64,
}

impl StreamWriter {
    fn add(&mut self, base: &[u8], new: &[u8], segment: Segment) {
        let len = segment.len as u64;
        let part = &tail(new, segment.start)[..segment.len];
        match segment.source {
            Source::Fresh => {
                self.streams.extra.extend_from_slice(part);
                let empty = Pending { seek: 0, copy_len: 0, fresh_len: 0 };
                self.pending.get_or_insert(empty).fresh_len += len;
            }
            Source::Base { shift } => {
                self.flush();
                let old =
                    segment.start.checked_add_signed(shift).map_or(&[][..], |at| tail(base, at));
                subtract(part, old, &mut self.streams.difference);
                let seek = (shift - self.shift) as i64;
                self.pending = Some(Pending { seek, copy_len: len, fresh_len: 0 });
                self.shift = shift;
            }
        }
    }

    fn flush(&mut self) {
        if let Some(pending) = self.pending.take() {
            varint::put_signed(&mut self.streams.control, pending.seek);
            varint::put(&mut self.streams.control, pending.copy_len);
            varint::put(&mut self.streams.control, pending.fresh_len);
        }
    }
}

/// What effort and kind of change mean for the search and for the choice. Measured on Go
/// programs.
fn tuning(effort: Effort, change: Change) -> (Search, Prices) {
    let light = Prices {
        equal: 4,
        equal_after: 4,
        unequal: 6 * 64,
        unequal_again: 4 * 64,
        unequal_alike: 64,
        unequal_long: 4 * 64,
        fresh: 5 * 64,
        copy: 18 * 64,
        copy_distance_bit: 32,
        fresh_start: 8 * 64,
        ahead: 64,
        behind: 64,
    };
    let prices = match change {
        Change::Light => light,
        Change::Heavy => Prices { equal_after: 16, unequal_long: 6 * 64, fresh: 4 * 64, ..light },
        // Tuned on two versions of ansible-core; docs/DELTA.md says what it saves on ansible.
        Change::Text => Prices {
            equal: 8,
            equal_after: 16,
            unequal: 7 * 64,
            unequal_again: 350,
            unequal_alike: 350,
            unequal_long: 9 * 64,
            fresh: 150,
            copy_distance_bit: 48,
            fresh_start: 4 * 64,
            ..light
        },
    };
    let neighbours = match effort {
        Effort::Fastest => 0,
        Effort::Balanced => 4,
        Effort::Smallest => 8,
    };
    (Search { gain_min: 3, neighbours, run_passed_over: 32 }, prices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(base: &[u8], streams: &Streams, new_len_bytes: u64) -> Result<Vec<u8>, ApplyError> {
        let Streams { control, difference, extra } = streams;
        let mut out = Vec::new();
        apply(base, &control[..], &difference[..], &extra[..], new_len_bytes, &mut out)?;
        Ok(out)
    }

    #[test]
    fn an_address_moved_by_a_constant_differs_by_the_same_digits_wherever_it_lies() {
        for moved in [-64_i32, 64, 5000, -5000] {
            let digits = |address: i32| {
                let mut digits = Vec::new();
                let moved = (address + moved).to_le_bytes();
                subtract(&moved, &address.to_le_bytes(), &mut digits);
                digits
            };
            assert!(
                [0x0001_0000, 0x0001_ffff, 0x1234_5678]
                    .iter()
                    .all(|&a| digits(a) == digits(0x2345))
            );
        }
    }

    #[test]
    fn every_pair_of_digits_is_added_back() {
        for old in 0..=u16::MAX {
            for new in [0_u16, 1, 127, 128, 255, 256, 0x7fff, 0x8000, 0xff80, u16::MAX] {
                let (new, old) = (new.to_le_bytes(), old.to_le_bytes());
                let mut sum = Vec::new();
                subtract(&new, &old, &mut sum);
                add(&mut sum, &old, 0);
                assert_eq!(sum, new);
            }
        }
    }

    #[test]
    fn equal_bytes_are_one_copy_without_a_difference() {
        let bytes = b"the same on both sides of the gap";
        let expected =
            Streams { control: vec![0, 33, 0], difference: vec![0; 33], extra: Vec::new() };
        assert_eq!(diff(bytes, bytes).unwrap(), expected);
    }

    #[test]
    fn a_copy_outside_of_the_base_is_refused() {
        let streams = |control: &[u8]| Streams {
            control: control.to_vec(),
            difference: vec![0; 8],
            extra: vec![0; 8],
        };
        let refused = |control: &[u8]| applied(b"base", &streams(control), 8).unwrap_err();
        assert!(matches!(refused(&[0, 5, 3]), ApplyError::OutsideBase));
        assert!(matches!(refused(&[1, 4, 4]), ApplyError::OutsideBase)); // seek -1
        assert!(matches!(refused(&[2, 4, 4]), ApplyError::OutsideBase)); // seek 1
        assert!(matches!(refused(&[0, 4, 5]), ApplyError::TooLong { new_len_bytes: 8 }));
        assert!(matches!(refused(&[0, 0, 0]), ApplyError::TooLong { new_len_bytes: 8 }));
        assert!(matches!(refused(&[0, 4, 3]), ApplyError::EndsEarly));
        assert!(matches!(refused(&[0, 4, 4]), ApplyError::BytesLeft));
    }
}
