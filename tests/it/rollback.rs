//! Back to an earlier generation: every document follows, the sequence does not go back.

use std::fs;

use serde_json::{Value, json};
use tests::{
    fetch,
    fixtures::sha256,
    site::{Failure, Server},
};

use crate::{
    first_transfer::deb_file,
    world::{Goods, World},
};

/// A site at its second generation.
fn at_two() -> World {
    let mut world = World::new();
    world.site.carry();
    world.offer(&Goods::second());
    world.site.carry();
    world
}

/// File, newest socat and newest alpha as the server shows them.
fn shown(world: &World, server: &Server) -> (String, String, Vec<String>) {
    let tool = server.get(&format!("/files/{}/files/tool", world.upstream.host()));
    let deb = deb_file(server, "debian-13", "trixie", "socat");
    let accept = [("accept", "application/vnd.pypi.simple.v1+json")];
    let page = fetch::get_with(&format!("{}/pypi/simple/alpha/", server.url), &accept).unwrap();
    let page: Value = serde_json::from_slice(&page.body).unwrap();
    let names = page["files"].as_array().unwrap().iter();
    let mut names: Vec<String> =
        names.map(|file| file["filename"].as_str().unwrap().to_owned()).collect();
    names.sort();
    (sha256(&tool.body), sha256(&deb), names)
}

#[test]
fn every_document_follows_a_rollback() {
    let world = at_two();
    let inside = &world.site.inside;
    let goods = Goods::first();
    inside.rollback(1).unwrap();
    let status = inside.status();
    assert_eq!((&status["generation"], &status["sequence"]), (&json!(1), &json!(2)), "{status}");
    let expected = (
        sha256(&goods.tool),
        sha256(&goods.debs[0].make()),
        vec!["alpha-1.0-py3-none-any.whl".to_owned()],
    );
    assert_eq!(shown(&world, &inside.serve()), expected);
    inside.rollback(2).unwrap();
    let (tool, deb, _) = shown(&world, &inside.serve());
    let goods = Goods::second();
    assert_eq!((tool, deb), (sha256(&goods.tool), sha256(&goods.debs[0].make())));
}

#[test]
fn a_rollback_reaches_a_running_server() {
    let world = at_two();
    let server = world.site.inside.serve();
    let wanted = sha256(&Goods::first().tool);
    assert_ne!(shown(&world, &server).0, wanted);
    world.site.inside.rollback(1).unwrap();
    for _ in 0..100 {
        if shown(&world, &server).0 == wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the server did not switch\n{}", server.log());
}

#[test]
fn an_inventory_after_a_rollback_does_not_go_back() {
    let mut world = at_two();
    world.site.inside.rollback(1).unwrap();
    world.site.inventory_home().unwrap();
    let folder = world.site.outside.stick.join("gapferry/prod");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = names.filter(|path| path.extension().is_some_and(|end| end == "json")).max();
    let inventory: Value = serde_json::from_slice(&fs::read(newest.unwrap()).unwrap()).unwrap();
    assert_eq!((&inventory["generation"], &inventory["sequence"]), (&json!(1), &json!(2)));
    world.offer(&Goods::first());
    let third = world.site.carry();
    assert_eq!((&third.report["basis"], &third.report["sequence"]), (&json!(2), &json!(3)));
    assert_eq!(world.site.inside.generation(), 3);
}

#[test]
fn a_generation_that_is_not_kept_cannot_be_gone_back_to() {
    let world = at_two();
    let failure: Failure = world.site.inside.rollback(7).expect_err("there is no generation 7");
    assert!([1, 3].contains(&failure.exit_code), "{failure:?}");
    assert_eq!(world.site.inside.generation(), 2);
}

#[test]
fn generations_lists_what_is_kept_and_marks_what_is_served() {
    let world = at_two();
    let listed = world.site.inside.agent.run(&["generations"]).unwrap().json;
    let text = listed.to_string();
    assert!(text.contains("\"sequence\":1") && text.contains("\"sequence\":2"), "{text}");
}
