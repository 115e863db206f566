//! A disk that fills up inside: the old generation is served, and `status` tells why.

use std::{
    fs::{self, File, FileTimes},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tests::{Content, Inside, disk::SmallDisk, fixtures::sha256};

use crate::{
    first_transfer::assert_served,
    world::{Goods, World},
};

/// The first try has this much room, and each further one an eighth more.
const ROOM_BYTES_MIN: u64 = 128 << 10;
const ROOM_BYTES_MAX: u64 = 64 << 20;

#[test]
fn wherever_a_disk_fills_up_the_old_generation_is_served_and_status_tells_why() {
    let mut world = World::new();
    let Some(disk) = SmallDisk::mount(&world.site.path("small")) else { return };
    let first = world.site.carry();
    let old = world.expected.clone();
    let inside = world.site.copy_of_inside("small");
    world.offer(&Goods::second());
    world.site.outside.sync().unwrap();
    let stick = world.site.outside.export().unwrap();

    let server = inside.serve();
    let (mut room_bytes, mut failures) = (ROOM_BYTES_MIN, 0);
    let applied = loop {
        assert!(room_bytes < ROOM_BYTES_MAX, "the import never had room enough");
        disk.leave(room_bytes);
        let failed = match inside.import(&stick) {
            Ok(applied) => break applied,
            Err(failed) => failed,
        };
        assert_eq!(failed.exit_code, 4, "{failed:?}");
        assert!(failed.stderr.contains("No space left on device"), "{failed:?}");
        for (path, digest) in &old {
            assert_eq!(sha256(&server.get(path).body), *digest, "{path} with {room_bytes} free");
        }
        let status = inside.status();
        assert_eq!(status["generation"], 1, "{status}");
        // A disk without room for a word about it tells that the import did not end.
        let ended = status["last_import"]["ended"].as_str().unwrap_or_default();
        match ended {
            "failed" => assert!(status["last_import"]["message"].to_string().contains("No space")),
            other => assert_eq!(other, "not", "{status}"),
        }
        if failures == 0 {
            let again = inside.import(&first).expect("it was applied before");
            assert_eq!(again.json["applied"], false);
            let still = &inside.status()["last_import"];
            assert_eq!(still, &status["last_import"], "an older stick wiped what is to be done");
        }
        failures += 1;
        room_bytes += room_bytes / 8;
    };
    assert!(2 < failures, "the disk was never full");
    assert_eq!(applied.json["applied"], true);
    assert_eq!(inside.status()["last_import"]["ended"], "applied");
    let events = audit_lines(&inside); // each line of which is whole
    assert_eq!(events.last().unwrap()["event"], "applied");
    drop(server);
    assert_served(&world, &inside.serve());
}

/// A blob that nothing needs, as old as a day.
fn unneeded(inside: &Inside, seed: u64) -> PathBuf {
    let bytes = Content::new(seed, 300_000).bytes();
    let digest = sha256(&bytes);
    let folder = inside.agent.home().join("store/blobs/sha256").join(&digest[..2]);
    let path = folder.join(&digest[2..4]).join(&digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    File::open(&path).unwrap().set_times(FileTimes::new().set_modified(yesterday)).unwrap();
    path
}

fn audit_lines(inside: &Inside) -> Vec<Value> {
    let log = fs::read_to_string(inside.agent.home().join("state/audit.log")).unwrap();
    let lines = log.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Fills the last page of the audit log, so that a line more needs a page more.
fn fill_last_page(inside: &Inside) {
    let path = inside.agent.home().join("state/audit.log");
    let mut log = fs::read(&path).unwrap();
    log.resize(log.len().next_multiple_of(64 << 10), b'\n');
    fs::write(&path, log).unwrap();
}

#[test]
fn a_sweep_makes_room_on_a_disk_that_has_none() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world.site.path("small")) else { return };
    world.site.carry();
    let inside = world.site.copy_of_inside("small");
    let blobs = [1, 2, 3].map(|seed| unneeded(&inside, seed));
    inside.agent.run(&["scrub", "--reindex"]).unwrap();
    let index = inside.agent.home().join("store/index.sqlite");
    assert!(index.exists());
    let before = audit_lines(&inside);
    fill_last_page(&inside);
    disk.leave(0);

    let swept = inside.agent.run(&["sweep"]).expect("the sweep had no room");
    assert_eq!(swept.json["removed"], json!({"blobs": 3, "bytes": 900_000}));
    assert!(blobs.iter().all(|path| !path.exists()));
    assert!(!index.exists(), "it knows blobs that are gone");
    let after = audit_lines(&inside);
    let [swept] = &after[before.len()..] else { panic!("{after:?}") };
    let [event, leaves, removed] = ["event", "leaves", "removed"].map(|field| &swept[field]);
    let expected = (&json!("swept"), &json!([]), &json!({"blobs": 3, "bytes": 900_000}));
    assert_eq!((event, leaves, removed), expected);
    assert_served(&world, &inside.serve());
    inside.agent.run(&["scrub", "--reindex"]).unwrap();
    assert!(index.exists());
}
