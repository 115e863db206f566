//! The original itself, in several releases, on the same inputs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{self, Command};

use super::inputs::{self, Input, KINDS, Kind, Random};
use super::{Summary, deflate, deflate_in_writes};

/// Releases to compare with; a Go from 1.21 on fetches those it is not.
pub const TOOLCHAINS: [&str; 3] = ["go1.26.8", "go1.24.13", "go1.21.13"];

/// What Go writes as level -1.
const DEFAULT: u8 = 255;

/// An input to be deflated by the original in writes of `size` bytes, or 0 for one.
pub struct Request<'a> {
    pub input: &'a Input,
    pub size: u32,
    pub levels: Vec<u8>,
}

/// A release that was found.
pub struct Original(&'static str);

impl Original {
    /// Finds or fetches a release.
    pub fn find(toolchain: &'static str) -> Option<Self> {
        let output = Self(toolchain).go().arg("version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        version.split(' ').any(|word| word == toolchain).then_some(Self(toolchain))
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.env("GOTOOLCHAIN", self.0).env_remove("GO111MODULE");
        go.current_dir(std::env::temp_dir());
        go
    }

    /// One summary for each request and level.
    pub fn answer(&self, requests: &[Request]) -> Vec<Vec<Summary>> {
        let folder = Folder::new(self.0);
        let program = folder.0.join("deflate.go");
        fs::write(&program, include_str!("../testdata/deflate.go")).unwrap();
        let asked = folder.0.join("asked");
        fs::write(&asked, requests.iter().flat_map(Request::encode).collect::<Vec<u8>>()).unwrap();
        let mut run = self.go();
        run.arg("run").arg(&program).stdin(File::open(&asked).unwrap());
        let output = run.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (records, rest) = output.stdout.as_chunks::<36>();
        assert!(rest.is_empty());
        let mut summaries = records.iter().map(|record| {
            let (len_bytes, sha256) = record.split_at(4);
            let len_bytes = u32::from_le_bytes(len_bytes.try_into().unwrap());
            Summary { len_bytes: len_bytes as usize, sha256: sha256.try_into().unwrap() }
        });
        requests
            .iter()
            .map(|request| summaries.by_ref().take(request.levels.len()).collect())
            .collect()
    }
}

impl Request<'_> {
    fn encode(&self) -> Vec<u8> {
        let number = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
        [
            &number(self.input.plain.len()),
            self.size.to_le_bytes().as_slice(),
            &number(self.levels.len()),
            &self.levels,
            &self.input.plain,
        ]
        .concat()
    }

    fn ours(&self) -> Vec<Summary> {
        let plain = &self.input.plain;
        let stream = |&level: &u8| {
            let level = if level == DEFAULT { 6 } else { level };
            match self.size {
                0 => deflate(plain, level),
                size => deflate_in_writes(plain, level, size as usize),
            }
        };
        self.levels.iter().map(|level| Summary::of(&stream(level))).collect()
    }
}

/// A folder of its own for a run, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("deflate-{}-{name}-{:?}", process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(unique);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The releases at hand; says which are not, and fails when none is and clients are required.
pub fn originals() -> Vec<Original> {
    if Command::new("go").arg("version").output().is_err() {
        println!("skipped: no go");
    }
    let found: Vec<Original> = TOOLCHAINS
        .into_iter()
        .filter_map(|toolchain| {
            let original = Original::find(toolchain);
            if original.is_none() {
                println!("skipped: no {toolchain}");
            }
            original
        })
        .collect();
    let required = std::env::var("GAPFERRY_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(!found.is_empty() || !required, "go is missing, and GAPFERRY_REQUIRE_CLIENTS=1");
    found
}

/// Compares our streams with those of every release at hand.
pub fn compare(requests: &[Request]) {
    let originals = originals();
    if originals.is_empty() {
        return;
    }
    let ours: Vec<_> = requests.iter().map(Request::ours).collect();
    for original in originals {
        let theirs = original.answer(requests);
        for ((request, ours), theirs) in requests.iter().zip(&ours).zip(&theirs) {
            let Request { input, size, levels } = request;
            let context = format!("{} {} in writes of {size}, {levels:?}", original.0, input.name);
            assert_eq!(ours, theirs, "{context}");
        }
        assert_eq!(theirs.len(), requests.len());
        println!("compared: {}, {} inputs", original.0, requests.len());
    }
}

/// Lengths around every limit: stored and searched blocks, tokens of a block, the window and
/// the place where it moves.
fn lens() -> Vec<usize> {
    let mut lens: Vec<usize> = (0..=20).collect();
    for around in [128, 258, 16384, 32507, 32768, 65275, 65535, 98042, 98304, 131_070] {
        lens.extend(around - 2..=around + 2);
    }
    lens
}

fn all_inputs() -> Vec<Input> {
    let mut all = Vec::new();
    for (len, seed) in lens().into_iter().zip(100..) {
        all.extend(KINDS.map(|kind| inputs::input(kind, len, seed)));
    }
    let powers = (0..16).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    let distances = powers.chain(32505..32510).chain(32766..32771).filter(|&distance| distance > 0);
    all.extend(
        distances.zip(300..).map(|(distance, seed)| inputs::repeats(distance, 140_000, seed)),
    );
    let mut random = Random::new(7);
    for seed in 400..520 {
        all.push(inputs::input(Kind::Mixture, random.below(150_000), seed));
    }
    let program = fs::read("/proc/self/exe").unwrap_or_default();
    for (index, slice) in program.chunks(100_000).take(25).enumerate() {
        all.push(Input { name: format!("program-{index}"), plain: slice.to_vec() });
    }
    all
}

#[test]
fn every_release_makes_the_same_streams() {
    let inputs = all_inputs();
    assert!(inputs.len() >= 500);
    let requests: Vec<Request> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| Request {
            input,
            size: 0,
            levels: if index % 3 == 0 { (1..=9).collect() } else { vec![DEFAULT, 1, 9] },
        })
        .collect();
    compare(&requests);
}

/// Long enough for the window to move hundreds of times, and for stamps to be counted anew.
#[test]
fn every_release_makes_the_same_long_streams() {
    let program = fs::read("/proc/self/exe").unwrap_or_default();
    let inputs = [
        inputs::input(Kind::Mixture, 18_000_000, 600),
        inputs::input(Kind::Text, 3_000_000, 601),
        inputs::input(Kind::Run, 9_000_000, 602),
        inputs::input(Kind::Noise, 2_000_000, 603),
        Input { name: "program".to_owned(), plain: program },
    ];
    let requests: Vec<Request> = inputs
        .iter()
        .map(|input| Request { input, size: 0, levels: vec![DEFAULT, 1, 9] })
        .collect();
    compare(&requests);
}
