//! The payload `suffix-lzma-1`: a delta as one piece of bytes.
//!
//! In:   base and new bytes; on the way back the base and the payload.
//! Out:  the payload; on the way back the new bytes, written as they come.
//! Must never write more than was announced, and never use more memory than it was given.
//!
//! # Format
//!
//! All numbers are varints. First the length of the shortest run of zeros taken out of the
//! difference, then for each of the seven columns its plain length and twice its packed length,
//! plus one if it is packed as a `.lzma` file (else it is stored as it is). The packed columns
//! follow in the same order and end where the payload ends.
//!
//! | column       | content                                                              |
//! |--------------|----------------------------------------------------------------------|
//! | seeks        | of each copy, folded: see [`Streams::control`]                       |
//! | copy lengths | of each copy                                                         |
//! | fresh lengths| after each copy                                                      |
//! | literals     | the difference without its long runs of zeros: see [`super::runs`]   |
//! | literal lens | between those runs                                                   |
//! | zero lens    | of those runs                                                        |
//! | extra        | the fresh bytes                                                      |

use std::io::{self, BufReader, Read, Write};

use super::lzma::{self, Packing};
use super::runs::{self, Joined};
use super::streams::{self, Change, Streams};
use super::{ApplyError, DiffError, Effort, varint};

/// Describes `new` by `base` in one piece.
///
/// Memory: as [`streams::diff`], and for each stream in turn 10.5 times its dictionary, which is
/// at most 64 MiB; both never at once. Time doubles where [`Change::Heavy`] is tried as well.
pub fn encode(base: &[u8], new: &[u8], effort: Effort) -> Result<Vec<u8>, DiffError> {
    let first = if is_text(new) { Change::Text } else { Change::Light };
    let mut best = encode_as(base, new, effort, first)?;
    let others: &[Change] = match (effort, first) {
        (Effort::Smallest, _) => &[Change::Light, Change::Heavy, Change::Text],
        (Effort::Balanced, Change::Light) if new.len() / HEAVY_FROM < best.len() => {
            &[Change::Heavy]
        }
        (Effort::Balanced | Effort::Fastest, _) => &[],
    };
    for &change in others.iter().filter(|change| **change != first) {
        let other = encode_as(base, new, effort, change)?;
        if other.len() < best.len() {
            best = other;
        }
    }
    Ok(best)
}

/// Whether nine tenths of the bytes are printable, in samples from all over: texts with the headers
/// of their archive among them.
fn is_text(bytes: &[u8]) -> bool {
    let step = (bytes.len() / SAMPLES).max(SAMPLE_LEN_BYTES);
    let (mut printable, mut all) = (0, 0);
    for from in (0..bytes.len()).step_by(step) {
        let sample = &bytes[from..bytes.len().min(from + SAMPLE_LEN_BYTES)];
        let is_printable = |byte: &&u8| matches!(**byte, b' '..=b'~' | b'\n' | b'\t' | b'\r');
        printable += sample.iter().filter(is_printable).count();
        all += sample.len();
    }
    all / 10 * 9 < printable
}

/// How many samples are looked at, and how long each is.
const SAMPLES: usize = 256;
const SAMPLE_LEN_BYTES: usize = 4096;

/// A payload larger than this part of the new bytes is tried once more as [`Change::Heavy`]: on a
/// patch hop of a Go program that saves 7 %.
const HEAVY_FROM: usize = 40;

fn encode_as(
    base: &[u8],
    new: &[u8],
    effort: Effort,
    change: Change,
) -> Result<Vec<u8>, DiffError> {
    let Streams { control, difference, extra } = streams::diff_with(base, new, effort, change)?;
    let settings = Settings::of(effort);
    let [seeks, copy_lens, fresh_lens] = control_columns(&control);
    let runs = runs::split(&difference, settings.zero_len_min);
    drop(difference);
    let columns = [
        (seeks, settings.numbers),
        (copy_lens, settings.numbers),
        (fresh_lens, settings.numbers),
        (runs.literals, settings.literals),
        (runs.literal_lens, settings.numbers),
        (runs.zero_lens, settings.numbers),
        (extra, settings.extra),
    ];
    let mut payload = Vec::new();
    let mut packed_columns = Vec::new();
    varint::put(&mut payload, settings.zero_len_min as u64);
    for (plain, packing) in columns {
        let packed = lzma::pack(&plain, packing)?;
        let is_packed = packed.len() < plain.len();
        let stored = if is_packed { &packed } else { &plain };
        varint::put(&mut payload, plain.len() as u64);
        varint::put(&mut payload, (stored.len() as u64) << 1 | u64::from(is_packed));
        packed_columns.extend_from_slice(stored);
    }
    payload.extend_from_slice(&packed_columns);
    Ok(payload)
}

/// Writes the new bytes that `payload` describes, exactly `new_len_bytes`, or fails.
///
/// Memory: at most `memory_bytes`, and 200 KiB. Speed: some hundred MB of new bytes a second.
pub fn decode(
    base: &[u8],
    payload: &[u8],
    new_len_bytes: u64,
    memory_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), ApplyError> {
    let (zero_len_min, columns) = read_header(payload, new_len_bytes)?;
    let asked_bytes = columns.iter().map(Column::memory_bytes).sum();
    if asked_bytes > memory_bytes {
        return Err(ApplyError::TooMuchMemory { asked_bytes, memory_bytes });
    }
    let [seeks, copy_lens, fresh_lens, literals, literal_lens, zero_lens, extra] = columns;
    let control = Interleaved {
        columns: [seeks.open()?, copy_lens.open()?, fresh_lens.open()?],
        turn: 0,
        number: Vec::new(),
        read: 0,
    };
    let difference =
        Joined::new(literals.open()?, literal_lens.open()?, zero_lens.open()?, zero_len_min);
    streams::apply(base, control, difference, extra.open()?, new_len_bytes, out)
}

/// Memory that decoding a payload takes, in bytes; its readers' buffers of 200 KiB come on top.
///
/// # Errors
///
/// [`ApplyError::Header`]: it is no payload.
pub fn decode_memory_bytes(payload: &[u8], new_len_bytes: u64) -> Result<u64, ApplyError> {
    let (_, columns) = read_header(payload, new_len_bytes)?;
    Ok(columns.iter().map(Column::memory_bytes).sum())
}

/// How many columns a payload has.
const COLUMNS: usize = 7;

/// No column has more bytes than this for each new byte: ten for a number, of which there is at
/// most one for each new byte and one more.
const PLAIN_FACTOR_MAX: u64 = 10;

/// What a reader needs beside its dictionary.
const READER_LEN_BYTES: u64 = 128 << 10;

/// One column of a payload, not yet opened.
#[derive(Clone, Copy, Default)]
struct Column<'a> {
    plain_len: u64,
    is_packed: bool,
    bytes: &'a [u8],
}

impl<'a> Column<'a> {
    fn memory_bytes(&self) -> u64 {
        if self.is_packed {
            READER_LEN_BYTES + lzma::asked_dictionary_len_bytes(self.bytes)
        } else {
            0
        }
    }

    /// A reader that gives at most one byte more than announced, so that a lie shows.
    fn open(self) -> Result<BufReader<Box<dyn Read + 'a>>, ApplyError> {
        let limit = self.plain_len.saturating_add(1);
        let reader: Box<dyn Read + 'a> = if self.is_packed {
            Box::new(lzma::reader(self.bytes, self.memory_bytes())?.take(limit))
        } else {
            Box::new(self.bytes)
        };
        Ok(BufReader::new(reader))
    }
}

fn read_header(
    payload: &[u8],
    new_len_bytes: u64,
) -> Result<(u64, [Column<'_>; COLUMNS]), ApplyError> {
    let mut rest = payload;
    let mut number = || match varint::get(&mut rest) {
        Ok(Some(n)) => Ok(n),
        Ok(None) | Err(_) => Err(ApplyError::Header),
    };
    let zero_len_min = number()?;
    let mut columns = [Column::default(); COLUMNS];
    let mut packed_lens = [0; COLUMNS];
    for (column, packed_len) in columns.iter_mut().zip(&mut packed_lens) {
        column.plain_len = number()?;
        let packed = number()?;
        column.is_packed = packed & 1 == 1;
        *packed_len = packed >> 1;
        let plain_len_max = new_len_bytes.saturating_add(1).saturating_mul(PLAIN_FACTOR_MAX);
        if column.plain_len > plain_len_max || !column.is_packed && *packed_len != column.plain_len
        {
            return Err(ApplyError::Header);
        }
    }
    for (column, packed_len) in columns.iter_mut().zip(packed_lens) {
        let packed_len = usize::try_from(packed_len).map_err(|_| ApplyError::Header)?;
        let (bytes, after) = rest.split_at_checked(packed_len).ok_or(ApplyError::Header)?;
        column.bytes = bytes;
        rest = after;
    }
    if rest.is_empty() { Ok((zero_len_min, columns)) } else { Err(ApplyError::Header) }
}

/// Sorts the numbers of a control stream into its three columns.
fn control_columns(mut control: &[u8]) -> [Vec<u8>; 3] {
    let mut columns = [const { Vec::new() }; 3];
    let mut turn = 0;
    while let Ok(Some(n)) = varint::get(&mut control) {
        varint::put(&mut columns[turn], n);
        turn = (turn + 1) % 3;
    }
    columns
}

/// Reads three columns as one control stream.
struct Interleaved<R> {
    columns: [R; 3],
    turn: usize,
    number: Vec<u8>,
    read: usize,
}

impl<R: Read> Interleaved<R> {
    /// 0, the end, if the other columns end with the first.
    fn at_end(&mut self) -> io::Result<usize> {
        for column in &mut self.columns {
            if column.read(&mut [0])? != 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(0)
    }
}

impl<R: Read> Read for Interleaved<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.number.len() {
            self.number.clear();
            self.read = 0;
            match varint::get(&mut self.columns[self.turn])? {
                Some(n) => varint::put(&mut self.number, n),
                None if self.turn == 0 => return self.at_end(),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            self.turn = (self.turn + 1) % 3;
        }
        let len = (&self.number[self.read..]).read(buffer)?;
        self.read += len;
        Ok(len)
    }
}

/// What an effort means for the columns. Measured on Go programs.
struct Settings {
    zero_len_min: usize,
    numbers: Packing,
    literals: Packing,
    extra: Packing,
}

impl Settings {
    fn of(effort: Effort) -> Self {
        let longest = Packing::with_nice_len(273);
        let (zero_len_min, packing) = match effort {
            Effort::Fastest => (16, Packing::hasty()),
            Effort::Balanced => (32, longest),
            Effort::Smallest => (64, longest),
        };
        Self { zero_len_min, numbers: packing, literals: packing, extra: packing }
    }
}

#[cfg(test)]
mod tests;
