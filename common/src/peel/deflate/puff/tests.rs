//! Tests: blocks made by hand, streams of an encoder, and damage.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress};

use super::bits::BitWriter;
use super::walk::{self, Decisions};
use super::{COPY_LEN_MAX, Fault, PuffError, Puffed, UnpuffError, measure, puff_in, unpuff};
use crate::scratch::Scratch;

const ROOM: u64 = 1 << 24;

/// Collects the plain bytes of a stream, as far as it is sound.
#[derive(Default)]
struct Plain(Vec<u8>);

impl Decisions for Plain {
    fn block(&mut self, _: u8, _: &[u8]) -> Result<(), PuffError> {
        Ok(())
    }

    fn stored(&mut self, _: u8, content: &[u8]) -> Result<(), PuffError> {
        self.0.extend_from_slice(content);
        Ok(())
    }

    fn literal(&mut self, byte: u8) -> Result<(), PuffError> {
        self.0.push(byte);
        Ok(())
    }

    fn copy(&mut self, len: u16, distance_less_1: u16) -> Result<(), PuffError> {
        let distance = usize::from(distance_less_1) + 1;
        let start = self.0.len().checked_sub(distance).ok_or(Fault::TooFarBack)?;
        for at in start..start + usize::from(len.min(COPY_LEN_MAX)) {
            self.0.push(self.0[at]);
        }
        Ok(())
    }

    fn end_of_block(&mut self) -> Result<(), PuffError> {
        Ok(())
    }

    fn end(&mut self, _: u8) -> Result<(), PuffError> {
        Ok(())
    }
}

/// Puffs with the stream's own plain bytes, and measures the same.
fn puff(deflated: &[u8], max_bytes: u64) -> Result<Puffed, PuffError> {
    let mut plain = Plain::default();
    let _whole_or_not = walk::walk(deflated, &mut plain);
    let puffed = super::puff(deflated, &plain.0, max_bytes);
    let measured = measure(deflated, plain.0.len() as u64, max_bytes);
    assert_eq!(measured.is_ok(), puffed.is_ok());
    if let (Ok(puffed), Ok(measured)) = (&puffed, measured) {
        let told = (puffed.bytes.len() as u64, puffed.deflated_len);
        assert_eq!((measured.len_bytes, measured.deflated_len), told);
    }
    puffed
}

/// A stream from numbers and their widths; the last byte is filled with zeros.
fn stream(numbers: &[(u64, u32)]) -> Vec<u8> {
    let mut bits = BitWriter::default();
    for &(value, width) in numbers {
        bits.put(value, width);
    }
    let padding = bits.padding_bits();
    bits.put(0, padding);
    bits.whole_bytes().clone()
}

fn unpuffed(puffed: &[u8]) -> Result<Vec<u8>, UnpuffError> {
    let mut out = Vec::new();
    let len = unpuff(puffed, &mut out)?;
    assert_eq!(len, out.len() as u64);
    Ok(out)
}

fn assert_round_trip(deflated: &[u8]) -> Vec<u8> {
    let puffed = puff(deflated, ROOM).unwrap();
    assert_eq!(puffed.deflated_len, deflated.len());
    assert_eq!(unpuffed(&puffed.bytes).unwrap(), deflated);
    let len_bytes = puffed.bytes.len() as u64;
    assert_eq!(puff(deflated, len_bytes).unwrap(), puffed);
    assert!(matches!(puff(deflated, len_bytes - 1), Err(PuffError::TooLong)));
    puffed.bytes.to_vec()
}

fn fault(deflated: &[u8]) -> Fault {
    match puff(deflated, ROOM) {
        Err(PuffError::Damaged(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// A code with its first bit highest, as the specification writes it.
fn code(value: u16, width: u32) -> (u64, u32) {
    (u64::from(value.reverse_bits() >> (16 - width)), width)
}

const FIXED_FINAL: (u64, u32) = (0b011, 3);
const FIXED_END: (u64, u32) = (0, 7);

fn fixed_literal(byte: u8) -> (u64, u32) {
    assert!(byte < 144);
    code(0x30 + u16::from(byte), 8)
}

/// Heads with two literal codes (65 and end-of-block, one bit each) and given distance steps.
fn dynamic(steps: &[(u64, u32)], hdist: u64) -> Vec<(u64, u32)> {
    // Code length code: 0, 1, 16, 17, 18: 3, 2, 3, 2, 2 bits: codes 1, 17, 18, 0, 16.
    let mut numbers = vec![(0b101, 3), (0, 5), (hdist, 5), (14, 4)];
    for length in [3, 2, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] {
        numbers.push((length, 3));
    }
    numbers.extend_from_slice(steps);
    numbers
}

fn zero() -> (u64, u32) {
    code(0b110, 3)
}
fn one() -> (u64, u32) {
    code(0b00, 2)
}
fn zeros(times: u64) -> [(u64, u32); 2] {
    [code(0b10, 2), (times - 11, 7)]
}
fn few_zeros(times: u64) -> [(u64, u32); 2] {
    [code(0b01, 2), (times - 3, 3)]
}
fn again(times: u64) -> [(u64, u32); 2] {
    [code(0b111, 3), (times - 3, 2)]
}

fn steps(parts: &[&[(u64, u32)]]) -> Vec<(u64, u32)> {
    parts.concat()
}

#[test]
fn an_empty_fixed_block_round_trips() {
    assert_round_trip(&stream(&[FIXED_FINAL, FIXED_END]));
}

#[test]
fn the_plain_part_holds_the_inflated_bytes() {
    // "abc", a copy of 5 bytes from 3 back, "d".
    let numbers = [
        FIXED_FINAL,
        fixed_literal(b'a'),
        fixed_literal(b'b'),
        fixed_literal(b'c'),
        code(3, 7),
        code(2, 5),
        fixed_literal(b'd'),
        FIXED_END,
    ];
    let puffed = assert_round_trip(&stream(&numbers));
    assert!(puffed.starts_with(b"abcabcabd"));
}

#[test]
fn padding_that_is_not_zero_is_kept() {
    // Stored, then fixed and final, with ones wherever bits are unused.
    let mut bytes = vec![0b1111_1000, 2, 0, 0xfd, 0xff, b'h', b'i'];
    bytes.extend([0b0000_0011, 0b1111_1100]);
    assert_round_trip(&bytes);
    bytes[8] = 0b1010_1000;
    assert_round_trip(&bytes);
}

#[test]
fn bytes_behind_the_final_block_are_not_taken() {
    let mut bytes = stream(&[FIXED_FINAL, fixed_literal(b'x'), FIXED_END]);
    let len = bytes.len();
    bytes.extend([0xff; 20]);
    let puffed = puff(&bytes, ROOM).unwrap();
    assert_eq!(puffed.deflated_len, len);
    assert_eq!(unpuffed(&puffed.bytes).unwrap(), bytes[..len]);
}

#[test]
fn both_ways_to_write_a_length_of_258_are_told_apart() {
    let with = |length: &[(u64, u32)]| {
        let start = [FIXED_FINAL, fixed_literal(b'a')];
        stream(&steps(&[&start, length, &[code(0, 5), FIXED_END]]))
    };
    let short = assert_round_trip(&with(&[code(0b1100_0101, 8)]));
    let long = assert_round_trip(&with(&[code(0b1100_0100, 8), (31, 5)]));
    assert_ne!(short, long);
}

#[test]
fn the_way_code_lengths_are_written_is_kept() {
    let end = [one(), zero(), code(1, 1)];
    let in_long_runs = steps(&[&zeros(65), &[one()], &zeros(138), &zeros(52), &end]);
    let in_short_runs =
        steps(&[&zeros(62), &few_zeros(3), &[one()], &zeros(138), &zeros(46), &again(6), &end]);
    let first = assert_round_trip(&stream(&dynamic(&in_long_runs, 0)));
    let second = assert_round_trip(&stream(&dynamic(&in_short_runs, 0)));
    assert_ne!(first, second);
}

#[test]
fn no_distance_code_and_a_single_one_are_valid() {
    let literals = steps(&[&zeros(65), &[one()], &zeros(138), &zeros(52), &[one()]]);
    let none = steps(&[&literals, &[zero(), code(0, 1), code(1, 1)]]);
    let single = steps(&[&literals, &[one(), code(0, 1), code(1, 1)]]);
    let two_of_three = steps(&[&literals, &[one(), one(), one(), code(1, 1)]]);
    assert_round_trip(&stream(&dynamic(&none, 0)));
    assert_round_trip(&stream(&dynamic(&single, 0)));
    assert_eq!(fault(&stream(&dynamic(&two_of_three, 2))), Fault::BadCodeLengths);
}

#[test]
fn what_zlib_refuses_is_refused() {
    assert_eq!(fault(&[0b111]), Fault::ReservedBlock);
    assert_eq!(fault(&[1, 1, 0, 0, 0, 0]), Fault::StoredLength);
    assert_eq!(fault(&[]), Fault::Truncated);
    let before_start = [FIXED_FINAL, code(1, 7), code(0, 5), FIXED_END];
    assert_eq!(fault(&stream(&before_start)), Fault::TooFarBack);
    let unassigned_length = [FIXED_FINAL, code(0b1100_0110, 8), FIXED_END];
    assert_eq!(fault(&stream(&unassigned_length)), Fault::Unassigned);
    let unassigned_distance =
        [FIXED_FINAL, fixed_literal(b'a'), code(1, 7), code(30, 5), FIXED_END];
    assert_eq!(fault(&stream(&unassigned_distance)), Fault::Unassigned);
    assert_eq!(fault(&stream(&[(0b101, 3), (30, 5), (0, 5), (0, 4)])), Fault::TooManyCodes);
    let repeat_of_nothing = dynamic(&again(3), 0);
    assert_eq!(fault(&stream(&repeat_of_nothing)), Fault::BadCodeLengths);
    let past_the_end = steps(&[&zeros(138), &zeros(138)]);
    assert_eq!(fault(&stream(&dynamic(&past_the_end, 0))), Fault::BadCodeLengths);
    let without_end = steps(&[&[one(), one()], &zeros(138), &zeros(117), &[zero(), zero()]]);
    assert_eq!(fault(&stream(&dynamic(&without_end[..], 0))), Fault::BadCodeLengths);
}

/// Marsaglia's xorshift, so that every run sees the same cases.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % bound
    }
    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

fn deflated(plain: &[u8], level: u32, flush: FlushCompress, every: usize) -> Vec<u8> {
    let mut encoder = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(plain.len() * 2 + 4096);
    for piece in plain.chunks(every) {
        encoder.compress_vec(piece, &mut out, flush).unwrap();
    }
    encoder.compress_vec(&[], &mut out, FlushCompress::Finish).unwrap();
    assert_eq!(encoder.total_in(), plain.len() as u64);
    out
}

fn varied_inputs() -> Vec<Vec<u8>> {
    let mut random = Random(0x1234_5678_9abc_def1);
    let noise: Vec<u8> = (0..150_000).map(|_| random.byte()).collect();
    let words: Vec<String> = (0..40_000).map(|_| format!("word{} ", random.below(900))).collect();
    let mut records = Vec::new();
    for number in 0_u32..30_000 {
        records.extend((number * 24).to_le_bytes());
        records.extend([0x48, 0x8b, random.byte() & 7, 0xe8]);
    }
    let text = words.concat().into_bytes();
    vec![Vec::new(), vec![b'a'; 200_000], [noise.clone(), text.clone()].concat(), text, records]
}

#[test]
fn streams_of_every_level_and_flush_round_trip() {
    for plain in varied_inputs() {
        for level in 0..=9 {
            for flush in [FlushCompress::None, FlushCompress::Sync, FlushCompress::Full] {
                let puffed = assert_round_trip(&deflated(&plain, level, flush, 30_000));
                assert!(puffed.starts_with(&plain));
            }
        }
    }
}

/// Streams of few bytes that have all kinds of blocks.
fn small_streams() -> Vec<Vec<u8>> {
    let plain: Vec<u8> = (0_u8..90).flat_map(|n| [n / 3, b'a' + n % 7, 3, 3, n]).collect();
    let mut streams: Vec<_> =
        [0, 1, 6].map(|level| deflated(&plain, level, FlushCompress::Sync, 150)).to_vec();
    streams.push(deflated(&plain, 9, FlushCompress::None, 1000));
    streams
}

#[test]
fn a_long_stream_is_puffed_in_scratch_space_as_in_memory() {
    let temp = tempfile::tempdir().unwrap();
    let folder = camino::Utf8Path::from_path(temp.path()).unwrap();
    let plain: Vec<u8> = varied_inputs().concat().repeat(3);
    let deflated = deflated(&plain, 6, FlushCompress::Sync, 30_000);
    let room = 8 * deflated.len() as u64 + 4096;
    let in_memory = super::puff(&deflated, &plain, room).unwrap();
    let scratch = Scratch::new(folder, 64 << 20).unwrap();
    let in_scratch = puff_in(&scratch, &deflated, &plain, room).unwrap();
    assert_eq!(in_scratch, in_memory);
    assert!(scratch.used_bytes() >= in_memory.bytes.len() as u64);
    drop(in_scratch);
    assert_eq!(scratch.used_bytes(), 0);
    let full = puff_in(&Scratch::new(folder, 1 << 20).unwrap(), &deflated, &plain, room);
    assert!(matches!(full, Err(PuffError::Write(_))), "{full:?}");
}

#[test]
fn plain_bytes_of_another_length_are_refused() {
    for deflated in small_streams() {
        let mut plain = Plain::default();
        walk::walk(&deflated, &mut plain).unwrap();
        for other in [&plain.0[1..], &[&plain.0[..], b"x"].concat()] {
            let refused = super::puff(&deflated, other, ROOM).unwrap_err();
            assert!(matches!(refused, PuffError::Damaged(Fault::OtherPlain)), "{refused}");
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_refused() {
    for deflated in small_streams() {
        for cut in 0..deflated.len() {
            assert_eq!(fault(&deflated[..cut]), Fault::Truncated, "cut at {cut}");
        }
        let puffed = assert_round_trip(&deflated);
        for cut in 0..puffed.len() {
            unpuffed(&puffed[..cut]).unwrap_err();
        }
    }
}

/// What is accepted must come back the same; all else must be an error.
fn puff_whatever(bytes: &[u8]) {
    const ROOM: u64 = 1 << 16;
    if let Ok(puffed) = puff(bytes, ROOM) {
        assert!(puffed.bytes.len() as u64 <= ROOM);
        assert_eq!(unpuffed(&puffed.bytes).unwrap(), bytes[..puffed.deflated_len]);
    }
}

#[test]
fn damaged_bits_never_cause_more_than_an_error() {
    let mut random = Random(42);
    let pairs: Vec<_> = small_streams().into_iter().map(|d| (assert_round_trip(&d), d)).collect();
    for round in 0..20_000 {
        let (puffed, deflated) = &pairs[round % pairs.len()];
        for (bytes, is_deflated) in [(deflated, true), (puffed, false)] {
            let mut bytes = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            if is_deflated { puff_whatever(&bytes) } else { drop(unpuffed(&bytes)) }
        }
    }
}

#[test]
fn random_bytes_never_cause_more_than_an_error() {
    let mut random = Random(7);
    for _ in 0..20_000 {
        let len = random.below(400);
        let bytes: Vec<u8> = (0..len).map(|_| random.byte()).collect();
        puff_whatever(&bytes);
        drop(unpuffed(&bytes));
        let mut with_small_trailer = bytes;
        for _ in 0..2 {
            with_small_trailer.extend([random.byte() % 64, 0, 0, 0]);
        }
        drop(unpuffed(&with_small_trailer));
    }
}

#[test]
fn a_writer_that_fails_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let puffed = puff(&stream(&[FIXED_FINAL, FIXED_END]), ROOM).unwrap();
    assert!(matches!(unpuff(&puffed.bytes, &mut Full), Err(UnpuffError::Write(_))));
}
