//! Streams of the original, kept by length and digest for machines without it.

use std::fmt::Write;
use std::path::Path;

use super::inputs::{self, Input, KINDS, Kind};
use super::original::{Original, Request, TOOLCHAINS};
use super::{Summary, deflate};

const GOLDEN: &str = include_str!("../testdata/golden.txt");
const HEAD: &str = "# input level length sha256, by Go's compress/flate; made by \
                    `GAPFERRY_WRITE_GOLDEN=1 cargo test -p gapferry-common the_golden_streams`\n";

fn golden_inputs() -> Vec<Input> {
    let lens = [0, 1, 4, 16, 17, 127, 128, 1000, 65535, 140_000];
    let kinds = KINDS.iter().flat_map(|&kind| lens.map(|len| inputs::input(kind, len, 1)));
    let distances = [4096, 4097, 32506, 32507, 32767, 32768, 32769];
    let repeats = distances.map(|distance| inputs::repeats(distance, 150_000, 2));
    let mixtures = (3..8).map(|seed| inputs::input(Kind::Mixture, 300_000, seed));
    kinds.chain(repeats).chain(mixtures).collect()
}

fn lines(summary: impl Fn(usize, &Input, u8) -> Summary) -> String {
    let mut lines = HEAD.to_owned();
    for (index, input) in golden_inputs().iter().enumerate() {
        for level in 1..=9 {
            writeln!(lines, "{} {level} {}", input.name, summary(index, input, level)).unwrap();
        }
    }
    lines
}

#[test]
fn the_golden_streams_come_out_again() {
    if std::env::var("GAPFERRY_WRITE_GOLDEN").is_ok_and(|value| value == "1") {
        return write_golden();
    }
    let ours = lines(|_, input, level| Summary::of(&deflate(&input.plain, level)));
    for (ours, golden) in ours.lines().zip(GOLDEN.lines()) {
        assert_eq!(ours, golden);
    }
    assert_eq!(ours.len(), GOLDEN.len());
}

/// Writes `testdata/golden.txt` anew from the original.
fn write_golden() {
    let levels: Vec<u8> = (1..=9).collect();
    let inputs = golden_inputs();
    let requests: Vec<Request> =
        inputs.iter().map(|input| Request { input, size: 0, levels: levels.clone() }).collect();
    let go = Original::find(TOOLCHAINS[0]).expect("no go, no golden streams");
    let answers = go.answer(&requests);
    let lines = lines(|index, _, level| answers[index][usize::from(level) - 1]);
    // The name of a source file is relative to the workspace, of which this crate may be a part.
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = crate_folder.ancestors().map(|folder| folder.join(file!())).find(|p| p.exists());
    let golden = here.unwrap().with_file_name("../testdata/golden.txt");
    std::fs::write(golden, lines).unwrap();
}
