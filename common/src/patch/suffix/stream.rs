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
mod tests {
    use super::*;

    const EFFORTS: [Effort; 3] = [Effort::Fastest, Effort::Balanced, Effort::Smallest];
    const MEMORY: u64 = 64 << 20;

    /// Numbers from a fixed start (Marsaglia's xorshift64).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % end as u64).unwrap()
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
        }
    }

    fn decoded(base: &[u8], payload: &[u8], len: usize) -> Result<Vec<u8>, ApplyError> {
        let mut out = Vec::new();
        let result = decode(base, payload, len as u64, MEMORY, &mut out);
        assert!(out.len() <= len, "{} bytes of {len}", out.len());
        result.map(|()| out)
    }

    fn assert_comes_back(base: &[u8], new: &[u8]) -> usize {
        let mut len = 0;
        for effort in EFFORTS {
            let payload = encode(base, new, effort).unwrap();
            assert!(decoded(base, &payload, new.len()).unwrap() == new, "{effort:?}");
            len = payload.len();
        }
        len
    }

    /// A table of 4-byte addresses among other bytes, as programs have them.
    fn program(numbers: &mut Numbers, moved: u32) -> Vec<u8> {
        let mut fixed = Numbers(99);
        let mut bytes = Vec::new();
        for _ in 0..numbers.below(400) + 2000 {
            let address = u32::try_from(fixed.below(1 << 22)).unwrap() + moved;
            bytes.extend_from_slice(&address.to_le_bytes());
            let len = fixed.below(24);
            bytes.extend(fixed.bytes(len));
        }
        bytes
    }

    #[test]
    fn nothing_something_and_the_same_come_back() {
        let bytes = Numbers(1).bytes(5000);
        for (base, new) in [(&[][..], &[][..]), (&[], &bytes), (&bytes, &[]), (&bytes, &bytes)] {
            assert_comes_back(base, new);
        }
        for len in 0..20 {
            assert_comes_back(&bytes[..len], &bytes[3..20]);
            assert_comes_back(&bytes[3..20], &bytes[..len]);
        }
    }

    #[test]
    fn moved_blocks_cost_a_copy_each_and_not_their_length() {
        let base = Numbers(2).bytes(60_000);
        let inserted = [&base[..20_000], b"in between", &base[20_000..]].concat();
        let deleted = [&base[..30_000], &base[31_000..]].concat();
        let swapped = [&base[40_000..], &base[..40_000]].concat();
        for new in [inserted, deleted, swapped] {
            let len = assert_comes_back(&base, &new);
            assert!(len < 150, "{len}");
        }
    }

    #[test]
    fn programs_with_moved_addresses_come_back() {
        let mut numbers = Numbers(3);
        for moved in [0, 64, 4096, 70_000] {
            let (base, new) = (program(&mut numbers, 1000), program(&mut numbers, moved + 1000));
            assert_comes_back(&base, &new);
        }
    }

    #[test]
    fn a_text_that_was_written_in_again_takes_less_than_as_a_program() {
        let mut numbers = Numbers(7);
        let words: Vec<String> = (0..400)
            .map(|_| {
                let len = 3 + numbers.below(6);
                numbers.bytes(len).iter().map(|byte| char::from(b'a' + byte % 26)).collect()
            })
            .collect();
        let mut line = || {
            let line: Vec<&str> = (0..9).map(|_| &*words[numbers.below(400)]).collect();
            line.join(" ") + "\n"
        };
        let lines: Vec<String> = (0..3000).map(|_| line()).collect();
        let changed: Vec<String> = (0..)
            .zip(&lines)
            .map(|(n, old)| if n % 7 == 3 { line() } else { old.clone() })
            .collect();
        let (base, new) = (lines.concat().into_bytes(), changed.concat().into_bytes());
        assert!(is_text(&new) && !is_text(&program(&mut Numbers(3), 64)));
        assert_comes_back(&base, &new);
        let as_program = encode_as(&base, &new, Effort::Balanced, Change::Heavy).unwrap();
        let as_text = encode(&base, &new, Effort::Balanced).unwrap();
        let most = as_program.len() / 100 * 98;
        assert!(as_text.len() < most, "{} of {}", as_text.len(), as_program.len());
    }

    #[test]
    fn random_edits_come_back() {
        let mut numbers = Numbers(4);
        for _ in 0..60 {
            let len = numbers.below(3000) + 1;
            let base: Vec<u8> = numbers.bytes(len).iter().map(|byte| byte % 7).collect();
            let mut new = base.clone();
            for _ in 0..numbers.below(12) {
                let at = numbers.below(new.len());
                let len = numbers.below(40);
                let bytes = numbers.bytes(len);
                let end = Ord::min(at + numbers.below(40), new.len());
                new.splice(at..end, bytes);
                new.push(1);
            }
            assert_comes_back(&base, &new);
        }
    }

    #[test]
    fn long_runs_and_periods_take_linear_time() {
        let zeros = vec![0; 8 << 20];
        let mut changed = zeros.clone();
        changed[5_000_000] = 1;
        let period: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 13).to_le_bytes()[0]).collect();
        let mut broken = period.clone();
        for at in (0..broken.len()).step_by(1000) {
            broken[at] = 77;
        }
        for (base, new) in
            [(&zeros, &changed), (&changed, &zeros), (&period, &broken), (&broken, &period)]
        {
            let payload = encode(base, new, Effort::Balanced).unwrap();
            assert!(&decoded(base, &payload, new.len()).unwrap() == new);
            assert!(payload.len() < 20_000, "{}", payload.len());
        }
    }

    #[test]
    fn damaged_payloads_are_refused_or_lead_to_as_many_bytes() {
        let mut numbers = Numbers(5);
        let base = program(&mut numbers, 1000);
        let mut new = program(&mut numbers, 1064);
        new.splice(300..300, b"something new".repeat(9));
        let payload = encode(&base, &new, Effort::Balanced).unwrap();
        for case in 0..20_000 {
            let mut damaged = payload.clone();
            for _ in 0..numbers.below(3) + 1 {
                let end = if case % 2 == 0 { 40 } else { damaged.len() };
                let at = numbers.below(end);
                damaged[at] = numbers.bytes(1)[0];
            }
            if let Ok(out) = decoded(&base, &damaged, new.len()) {
                assert_eq!(out.len(), new.len());
            }
        }
    }

    #[test]
    fn a_payload_cut_anywhere_is_refused() {
        let base = Numbers(6).bytes(2000);
        let new =
            [&base[500..], b"new at the end of it".repeat(4).as_slice(), &base[..500]].concat();
        let payload = encode(&base, &new, Effort::Balanced).unwrap();
        for len in 0..payload.len() {
            assert!(decoded(&base, &payload[..len], new.len()).is_err(), "{len}");
        }
        let longer = [&payload[..], &[0]].concat();
        assert!(matches!(decoded(&base, &longer, new.len()), Err(ApplyError::Header)));
        for len in [0, 1, new.len() - 1, new.len() + 1] {
            assert!(decoded(&base, &payload, len).is_err(), "{len}");
        }
    }

    #[test]
    fn a_dictionary_beyond_the_memory_allowed_is_refused_before_it_is_reserved() {
        let new = b"again and ".repeat(5000);
        let payload = encode(&[], &new, Effort::Balanced).unwrap();
        let mut out = Vec::new();
        let result = decode(&[], &payload, new.len() as u64, 100_000, &mut out);
        assert!(matches!(result, Err(ApplyError::TooMuchMemory { memory_bytes: 100_000, .. })));
        assert!(out.is_empty());
    }

    #[test]
    fn the_golden_payload_decodes_to_the_same_bytes_for_ever() {
        let (base, new) = golden();
        assert_eq!(decoded(&base, GOLDEN, new.len()).unwrap(), new);
    }

    fn golden() -> (Vec<u8>, Vec<u8>) {
        let base: Vec<u8> = (0..600_u32).flat_map(|n| (n * 7919 + 3).to_le_bytes()).collect();
        let moved: Vec<u8> =
            (0..600_u32).flat_map(|n| (n * 7919 + 3 + n / 200 * 200).to_le_bytes()).collect();
        let new = [
            &moved[1000..],
            b"Gapferry carries it over the gap. ".repeat(3).as_slice(),
            &moved[..1000],
        ]
        .concat();
        (base, new)
    }

    const GOLDEN: &[u8] = &[
        64, 3, 6, 4, 8, 2, 4, 191, 12, 93, 4, 8, 2, 4, 102, 119, 0, 187, 23, 248, 10, 232, 7, 102,
        0, 3, 0, 16, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 23, 13, 236, 58, 187, 95, 49,
        222, 21, 129, 184, 205, 228, 37, 115, 140, 255, 30, 188, 249, 83, 34, 97, 140, 239, 93,
        127, 255, 253, 46, 112, 0, 247, 10, 200, 1, 225, 5, 3, 0, 16, 0, 0, 255, 255, 255, 255,
        255, 255, 255, 255, 0, 35, 153, 13, 91, 29, 173, 109, 141, 132, 180, 79, 62, 46, 139, 235,
        191, 247, 186, 226, 200, 82, 217, 153, 229, 4, 118, 81, 171, 131, 227, 81, 96, 104, 252,
        85, 221, 47, 161, 113, 203, 255, 254, 37, 224, 0,
    ];
}
