//! Where the sizes of writes matter, and where not.

use std::io::{self, Write};

use super::inputs::{self, Input, Kind, Random};
use super::original::{Request, compare};
use super::{GoDeflate, GoLevel, deflate, deflate_in_writes};

/// Noise in which what comes again does so just within reach.
fn far_repeats() -> Input {
    inputs::repeats(32768, 600_000, 11)
}

/// Noise, and at the place where the window may move a match that it moves out of reach.
fn match_where_the_window_moves() -> Input {
    let Input { mut plain, .. } = inputs::input(Kind::Noise, 65274, 16);
    plain.extend_from_within(32506..32906);
    plain.extend(inputs::input(Kind::Noise, 40_000, 17).plain);
    Input { name: "match-where-the-window-moves".to_owned(), plain }
}

#[test]
fn our_stream_is_the_same_whatever_pieces_it_comes_in() {
    let Input { plain, .. } = inputs::input(Kind::Mixture, 300_000, 12);
    for level in 1..=9 {
        let mut random = Random::new(13);
        let mut out = GoDeflate::new(Vec::new(), GoLevel::new(level).unwrap());
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.below(9000).min(rest.len()));
            out.write_all(piece).unwrap();
            rest = after;
        }
        assert!(out.finish().unwrap() == deflate(&plain, level));
    }
}

#[test]
fn writes_that_end_at_multiples_of_512_bytes_are_as_good_as_one() {
    let plain = far_repeats().plain;
    for level in 1..=9 {
        for size in [512, 1536, 8192, 32768] {
            assert!(deflate_in_writes(&plain, level, size) == deflate(&plain, level));
        }
    }
}

#[test]
fn other_writes_may_change_the_stream_except_at_level_1() {
    let plain = match_where_the_window_moves().plain;
    let changed = |level| deflate_in_writes(&plain, level, 1) != deflate(&plain, level);
    let expected = [false, true, true, true, true, true, true, true, true];
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8, 9].map(changed), expected);
}

#[test]
fn every_release_moves_the_window_where_ours_does() {
    let mixture = inputs::input(Kind::Mixture, 600_000, 14);
    let inputs = [match_where_the_window_moves(), far_repeats(), mixture];
    let sizes = [1, 7, 261, 262, 512, 777, 4096, 32767, 32768, 65275, 65535];
    let requests: Vec<Request> = inputs
        .iter()
        .flat_map(|input| sizes.map(|size| Request { input, size, levels: (1..=9).collect() }))
        .collect();
    compare(&requests);
}

/// Takes `left` bytes, then fails.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_whose_output_failed_cannot_be_finished() {
    let Input { plain, .. } = inputs::input(Kind::Noise, 300_000, 15);
    for level in [1, 6] {
        let mut out = GoDeflate::new(Full { left: 70_000 }, GoLevel::new(level).unwrap());
        let error = out.write_all(&plain).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(out.write(b"more").unwrap_err().kind(), io::ErrorKind::Other);
        assert_eq!(out.finish().err().map(|error| error.kind()), Some(io::ErrorKind::Other));
    }
}
