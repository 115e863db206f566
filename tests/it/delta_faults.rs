//! A codec or an encoder that gives a wrong byte: the rehearsal sees it outside, the inside
//! refuses and asks for the blob raw, and what was good stays.
//!
//! Builds with debug assertions alone have such faults; in others these tests pass over.

use std::{fs, io::Write as _, process::Command, slice};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tests::{
    Content, Site, Stick, Upstream,
    fixtures::deb::{gzip, xz},
    process,
    site::{Agent, Failure, Outcome},
};

use crate::delta::{ask_for_files, assert_files_served, blob_id, changed, held, program, text};

/// Has the agent's codecs of that name, and no other, give a wrong byte.
const FAULT: &str = "GAPFERRY_FAULT";

#[test]
fn a_wrong_byte_of_any_codec_is_caught_by_the_rehearsal_and_the_blob_travels_raw() {
    for case in cases() {
        let codec = case.codec;
        let journey = Journey::new(case);
        let faulty = journey.export(Some(codec));
        let fallen = faulty.report["fallback_raw"].as_array().unwrap();
        let named: Vec<&Value> = fallen.iter().map(|fallen| &fallen["blob"]).collect();
        assert_eq!(named, [&json!(journey.victim())], "{codec}: {:?}", faulty.report);
        let why = fallen[0]["why"].as_str().unwrap();
        assert!(why.starts_with("the rehearsal failed"), "{codec}: {why}");
        journey.site.inside.import(&faulty).unwrap();
        journey.assert_new_served();
    }
}

#[test]
fn a_blob_that_fails_inside_is_refused_by_name_and_comes_raw_while_the_good_ones_stay() {
    for case in cases() {
        let codec = case.codec;
        let journey = Journey::new(case);
        let (site, victim) = (&journey.site, journey.victim());
        let stick = journey.export(None);
        assert_eq!(stick.report["fallback_raw"], json!([]), "{codec}");

        journey.assert_refused(&stick);
        let told = site.inside.inventory(&site.outside.stick).unwrap().json;
        let failed = told["failed"].as_array().unwrap();
        assert!(failed.contains(&json!({"blob": victim, "codec": codec})), "{codec}: {failed:?}");
        assert!(failed.iter().all(|failed| failed["blob"] == json!(victim)), "{failed:?}");
        site.outside.inventory(&site.outside.stick).unwrap();

        let healing = journey.export(None);
        let asked = json!([{"blob": victim, "why": "it failed inside before"}]);
        assert_eq!(healing.report["fallback_raw"], asked, "{codec}");
        let outcome = journey.import(&healing, Some(codec)).unwrap();
        let told = (&outcome.json["applied"], &outcome.json["rebuilt"]);
        assert_eq!(told, (&json!(true), &json!(1)), "{codec}: the good blob was held");
        journey.assert_new_served();
        let told = site.inside.inventory(&site.outside.stick).unwrap().json;
        assert_eq!(told["failed"], json!([]), "{codec}");
    }
}

#[test]
fn a_blob_for_which_a_site_has_too_little_scratch_space_is_refused_by_name_and_comes_raw() {
    let journey = Journey::new(Case::new("zlib-1.3", None, gzip(&text(1, 60_000))));
    let (site, victim) = (&journey.site, journey.victim());
    site.inside.configure("scratch_bytes = 1000000");
    let stick = journey.export(None);

    let failure = journey.import(&stick, None).unwrap_err();
    assert_eq!(failure.exit_code, 3, "{failure:?}");
    let refusal = failure.json()["refusal"].clone();
    assert_eq!((&refusal["code"], &refusal["needed"]), (&json!("rebuild"), &json!([victim])));
    assert!(refusal["message"].as_str().unwrap().contains("scratch space"), "{refusal}");
    assert_eq!(held(&site.inside, slice::from_ref(&journey.bystander)), 1, "the good one stays");

    let told = site.inside.inventory(&site.outside.stick).unwrap().json;
    assert_eq!(told["failed"], json!([{"blob": victim}]));
    site.outside.inventory(&site.outside.stick).unwrap();
    journey.import(&journey.export(None), None).unwrap();
    journey.assert_new_served();
}

/// A file that a codec is needed for.
struct Case {
    /// The codec, or the family of the encoder.
    codec: &'static str,
    effort: &'static str,
    /// What the inside holds of it already.
    old: Option<Vec<u8>>,
    new: Vec<u8>,
}

impl Case {
    const fn new(codec: &'static str, old: Option<Vec<u8>>, new: Vec<u8>) -> Self {
        Self { codec, effort: "balanced", old, new }
    }
}

/// One for each codec and encoder that this machine has the means for.
fn cases() -> Vec<Case> {
    let (plain, tool) = (text(1, 10_000), program(2));
    let mut cases = vec![
        Case::new("xz-1", None, plain.clone()),
        Case { effort: "fastest", ..Case::new("zstd-prefix-1", None, plain.clone()) },
        Case::new("zlib-1.3", None, gzip(&plain)),
        Case::new("liblzma-5.8", Some(xz(&plain)), xz(&changed(&plain))),
        Case::new("suffix-lzma-1", Some(tool.clone()), changed(&tool)),
        Case::new("puff-1", Some(flushed(&plain)), flushed(&changed(&plain))),
    ];
    let by_gnu = |plain: &[u8]| packed(&["gzip", "-n", "-6", "-c"], plain);
    // Each member has corrections of its own, which are packed together.
    let members = (10..30).map(|seed| by_gnu(&text(seed, 2_000)));
    let made = [
        ("preflate-0.7.6", by_gnu(&plain)),
        ("preflate-0.7.6", members.collect::<Option<Vec<_>>>().map(|members| members.concat())),
        ("pigz-1", packed(&["pigz", "-n", "-6", "-p", "2", "-c"], &plain)),
        ("go-flate-1", packed_by_go(&plain)),
    ];
    for (codec, new) in made {
        match new {
            Some(new) => cases.push(Case::new(codec, None, new)),
            None => println!("skipped: no program here makes streams of {codec}"),
        }
    }
    cases
}

/// A gzip file of so many blocks that no encoder is looked for: every tenth line is flushed.
fn flushed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(vec![], Compression::new(6));
    for (number, line) in (1..).zip(plain.split_inclusive(|&byte| byte == b'\n')) {
        encoder.write_all(line).unwrap();
        if number % 10 == 0 {
            encoder.flush().unwrap();
        }
    }
    encoder.finish().unwrap()
}

/// What a program of this machine makes of a file; none when there is no such program.
fn packed(command: &[&str], plain: &[u8]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain");
    fs::write(&path, plain).unwrap();
    let (program, args) = command.split_first()?;
    let output = Command::new(program).args(args).arg(&path).output().ok()?;
    assert!(output.status.success(), "{command:?}: {output:?}");
    Some(output.stdout)
}

/// The newest Go whose encoder is known, as the second number of its version.
const GO_MINOR_MAX: u32 = 26;

/// A gzip file as Go makes it; none when there is no Go here, or only a newer one.
fn packed_by_go(plain: &[u8]) -> Option<Vec<u8>> {
    let version = Command::new("go").args(["env", "GOVERSION"]).output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let minor = version.trim().strip_prefix("go1.")?.split(|c: char| !c.is_ascii_digit()).next()?;
    if GO_MINOR_MAX < minor.parse::<u32>().ok()? {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let [source, path] = ["main.go", "plain"].map(|name| folder.path().join(name));
    fs::write(&source, GO_GZIP).unwrap();
    fs::write(&path, plain).unwrap();
    let mut go = Command::new("go");
    go.current_dir(folder.path()).env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
    let output = go.arg("run").arg(&source).arg(&path).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

const GO_GZIP: &str = r#"package main

import (
	"compress/gzip"
	"os"
)

func main() {
	plain, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	w := gzip.NewWriter(os.Stdout)
	if _, err := w.Write(plain); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
}
"#;

/// A site that holds round 1 and asks for round 2: a file for the codec, and one in chunks, which
/// no codec touches.
struct Journey {
    upstream: Upstream,
    site: Site,
    case: Case,
    anchor: Vec<u8>,
    bystander: Vec<u8>,
}

impl Journey {
    fn new(case: Case) -> Self {
        let [anchor, bystander] = [7, 8].map(|seed| Content::new(seed, 300_000).bytes());
        let (upstream, site) = (Upstream::start(), Site::new());
        let journey = Self { upstream, site, case, anchor, bystander };
        ask_for_files(&journey.upstream, &journey.site, &journey.old_files());
        journey.site.carry();
        ask_for_files(&journey.upstream, &journey.site, &journey.new_files());
        journey.site.outside.sync().unwrap();
        journey
    }

    fn old_files(&self) -> Vec<(&str, &[u8])> {
        let old = self.case.old.iter().map(|old| ("victim", &old[..]));
        old.chain([("anchor", &self.anchor[..])]).collect()
    }

    fn new_files(&self) -> Vec<(&str, &[u8])> {
        vec![
            ("anchor", &self.anchor[..]),
            ("bystander", &self.bystander[..]),
            ("victim", &self.case.new[..]),
        ]
    }

    /// The name of the blob that the codec is needed for.
    fn victim(&self) -> String {
        blob_id(&self.case.new)
    }

    fn export(&self, fault: Option<&str>) -> Stick {
        let outside = &self.site.outside;
        let to = outside.stick.to_str().unwrap();
        let args = ["export", "--site", "prod", "--effort", self.case.effort, "--to", to];
        let outcome = run(&outside.agent, &args, fault).unwrap();
        Stick::new(&outside.stick, "prod", outcome.json)
    }

    fn import(&self, stick: &Stick, fault: Option<&str>) -> Result<Outcome, Failure> {
        run(&self.site.inside.agent, &["import", stick.export.to_str().unwrap()], fault)
    }

    /// With the codec at fault the export is refused, round 1 is still served, and the blob that
    /// is good stays.
    fn assert_refused(&self, stick: &Stick) {
        let (inside, codec, victim) = (&self.site.inside, self.case.codec, self.victim());
        let failure = self.import(stick, Some(codec)).expect_err(codec);
        assert_eq!(failure.exit_code, 3, "{failure:?}");
        let refusal = failure.json()["refusal"].clone();
        let told = (&refusal["code"], &refusal["needed"]);
        assert_eq!(told, (&json!("rebuild"), &json!([victim])), "{codec}: {failure:?}");
        let message = refusal["message"].as_str().unwrap();
        assert!(message.contains(&victim) && message.contains(codec), "{message}");
        assert_eq!(inside.generation(), 1, "{codec}");
        assert_files_served(&self.upstream, &self.site, &self.old_files());
        let [good, bad] =
            [&self.bystander, &self.case.new].map(|blob| held(inside, slice::from_ref(blob)));
        assert_eq!((good, bad), (1, 0), "{codec}: the good blob stays, the bad one never is");
    }

    fn assert_new_served(&self) {
        assert_files_served(&self.upstream, &self.site, &self.new_files());
    }
}

/// Runs an agent with `-o json`, with a codec at fault or none.
fn run(agent: &Agent, args: &[&str], fault: Option<&str>) -> Result<Outcome, Failure> {
    let mut command = agent.command(&[args, &["-o", "json"]].concat());
    command.envs(fault.map(|codec| (FAULT, codec)));
    Outcome::of(process::run(&mut command))
}
