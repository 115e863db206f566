//! Whatever happens to a stick on its way: a refusal, and the generation stays.

use std::{fs, path::Path};

use serde_json::json;
use tests::{Damage, Site, Stick};

use crate::{
    first_transfer::assert_served,
    world::{Goods, World},
};

/// A site that holds round 1, the stick of round 2, and an older stick.
struct Journey {
    world: World,
    old: Stick,
    new: Stick,
}

impl Journey {
    fn new() -> Self {
        let mut world = World::new();
        let old = world.site.carry();
        let before = world.expected.clone();
        world.offer(&Goods::second());
        world.site.outside.sync().unwrap();
        let new = world.site.outside.export().unwrap();
        world.expected = before;
        Self { world, old, new }
    }

    fn site(&self) -> &Site {
        &self.world.site
    }

    /// The stick of round 2 with one file damaged.
    fn damaged(&self, damage: Damage, file: &str, copy: &Path) -> Stick {
        let stick = self.new.copy_to(copy);
        let neighbour = self.new.vouched_files().into_iter().find(|other| other != file);
        let older = self.old.file(file);
        let other = match damage {
            Damage::Foreign if older.exists() => older,
            _ => stick.file(&neighbour.expect("an export has many files")),
        };
        damage.apply(&stick.file(file), &other).unwrap();
        stick
    }
}

#[test]
fn a_damaged_file_is_refused_and_the_generation_stays() {
    let journey = Journey::new();
    let inside = &journey.site().inside;
    let server = inside.serve();
    for file in journey.new.vouched_files() {
        for damage in Damage::ALL {
            // What an earlier try staged whole would make up for the damage.
            let _none = fs::remove_dir_all(inside.agent.home().join("staging"));
            let copy = tempfile::tempdir().unwrap();
            let stick = journey.damaged(damage, &file, copy.path());
            if fs::read(stick.file(&file)).ok() == fs::read(journey.new.file(&file)).ok() {
                continue; // keysets of two exports are the same bytes
            }
            let failure = match inside.import(&stick) {
                Err(failure) => failure,
                Ok(outcome) => panic!("{damage:?} of {file} was applied: {}", outcome.json),
            };
            assert_eq!(failure.exit_code, 3, "{damage:?} of {file}: {failure:?}");
            let refusal = &failure.json()["refusal"];
            assert!(refusal["message"].is_string(), "{damage:?} of {file}: {failure:?}");
            assert_eq!(inside.generation(), 1, "{damage:?} of {file}");
            assert_eq!(server.get("/healthz").status, 200, "{damage:?} of {file}");
        }
    }
    assert_served(&journey.world, &server);
    let outcome = inside.import(&journey.new).expect("the whole stick was refused in the end");
    assert_eq!((&outcome.json["applied"], inside.generation()), (&json!(true), json!(2)));
}

#[test]
fn damage_to_what_helps_the_courier_stops_nobody() {
    let journey = Journey::new();
    for file in ["README.txt", "SHA256SUMS"] {
        for damage in [Damage::FlipBit, Damage::Empty, Damage::Delete] {
            let copy = tempfile::tempdir().unwrap();
            let stick = journey.damaged(damage, file, copy.path());
            let outcome = journey.site().inside.import(&stick);
            outcome.unwrap_or_else(|failure| panic!("{damage:?} of {file}: {failure:?}"));
        }
    }
    assert_eq!(journey.site().inside.generation(), 2);
}

#[test]
fn inspect_names_the_damaged_and_the_missing_pack() {
    let journey = Journey::new();
    let pack = &journey.new.packs()[0];
    for damage in [Damage::FlipBit, Damage::Delete] {
        let copy = tempfile::tempdir().unwrap();
        let stick = journey.damaged(damage, pack, copy.path());
        let path = stick.export.to_str().unwrap();
        let failure = journey.site().outside.agent.run(&["inspect", path]).expect_err(pack);
        let name = Path::new(pack).file_name().unwrap().to_str().unwrap();
        let said = format!("{}{}", failure.stdout, failure.stderr);
        assert!(said.contains(name), "{damage:?}: {said}");
    }
    let whole = journey.new.export.to_str().unwrap();
    journey.site().outside.agent.run(&["inspect", whole]).unwrap();
}

#[test]
fn the_couriers_sums_hold() {
    let journey = Journey::new();
    let mut check = std::process::Command::new("sha256sum");
    check.args(["-c", "SHA256SUMS"]).current_dir(&journey.new.export);
    let finished = tests::process::run(&mut check);
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
}
