//! What rots inside comes again from the outside.

use std::fs;

use tests::fixtures::sha256;

use crate::{
    first_transfer::assert_served,
    world::{Goods, World},
};

#[test]
fn a_blob_that_rotted_is_named_and_healed_by_the_next_export() {
    let world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    let digest = sha256(&Goods::first().tool);
    let blob = inside.agent.home().join(format!(
        "store/blobs/sha256/{}/{}/{digest}",
        &digest[..2],
        &digest[2..4]
    ));
    fs::write(&blob, b"rotten").unwrap();
    let found = inside.agent.run(&["scrub"]).expect_err("the rot was not seen");
    assert_eq!(found.exit_code, 2, "{found:?}");
    assert!(found.stdout.contains(&digest), "{found:?}");
    assert!(!blob.exists(), "rotten bytes would still be served");

    world.site.inventory_home().unwrap();
    let healing = world.site.carry();
    assert_eq!(healing.report["artifacts_new"], 1, "{:?}", healing.report);
    assert_eq!(sha256(&fs::read(&blob).unwrap()), digest);
    assert_served(&world, &world.site.inside.serve());
}

#[test]
fn an_index_that_was_lost_is_made_again_and_the_next_export_is_as_small() {
    let mut world = World::new();
    let first = world.site.carry();
    let home = world.site.outside.agent.home();
    for suffix in ["", "-wal", "-shm"] {
        let _none = fs::remove_file(home.join(format!("store/index.sqlite{suffix}")));
    }
    let unchanged = world.site.carry();
    assert_eq!(unchanged.packs(), Vec::<String>::new(), "{:?}", unchanged.report);
    world.offer(&Goods::second());
    let second = world.site.carry();
    assert!(second.len_bytes() < first.len_bytes() * 3 / 4, "{:?}", second.report);
}

#[test]
fn a_base_that_rotted_in_its_length_is_told_by_the_next_inventory_and_healed() {
    let mut world = World::new();
    world.site.carry();
    let digest = sha256(&Goods::first().tool);
    let blob = world.site.inside.agent.home().join(format!(
        "store/blobs/sha256/{}/{}/{digest}",
        &digest[..2],
        &digest[2..4]
    ));
    let mut bytes = fs::read(&blob).unwrap();
    bytes.fill(7);
    fs::write(&blob, &bytes).unwrap();

    world.offer(&Goods::second());
    world.site.outside.sync().unwrap();
    let stick = world.site.outside.export().unwrap();
    let refused = world.site.inside.import(&stick).expect_err("it was built on a rotten base");
    assert_eq!(refused.json()["refusal"]["code"], "basis", "{refused:?}");
    world.site.inventory_home().unwrap();
    world.site.carry();
    assert_served(&world, &world.site.inside.serve());
}

#[test]
fn a_half_copied_export_keeps_no_later_one_away() {
    let mut world = World::new();
    world.site.carry();
    world.offer(&Goods::second());
    world.site.outside.sync().unwrap();
    let torn = world.site.outside.export().unwrap();
    fs::remove_file(torn.file("envelope.json")).unwrap();
    world.offer(&Goods::first());
    world.site.outside.sync().unwrap();
    world.site.outside.export().unwrap();
    let stick = world.site.outside.stick.to_str().unwrap();
    let outcome = world.site.inside.agent.run(&["import", stick]).unwrap();
    assert_eq!((&outcome.json["applied"], &outcome.json["sequence"]), (&true.into(), &3.into()));
}
