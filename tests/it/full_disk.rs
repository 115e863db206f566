//! A disk that fills up inside: the old generation is served, and `status` tells why.

use tests::{disk::SmallDisk, fixtures::sha256};

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
    world.site.carry();
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
        failures += 1;
        room_bytes += room_bytes / 8;
    };
    assert!(2 < failures, "the disk was never full");
    assert_eq!(applied.json["applied"], true);
    assert_eq!(inside.status()["last_import"]["ended"], "applied");
    drop(server);
    assert_served(&world, &inside.serve());
}
