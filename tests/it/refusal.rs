//! What the agents say no to, with which exit code, and that nothing is half applied.

use std::fs;

use serde_json::{Value, json};
use tests::{Content, Site, Stick, Upstream, fixtures::Wheel, fixtures::sha256};

use crate::world::{Goods, World};

/// A site that asks for one small file, and the upstream that has it.
fn small() -> (Upstream, Site) {
    let (upstream, site) = (Upstream::start(), Site::new());
    ask_for(&upstream, &site, 1);
    (upstream, site)
}

/// Asks for another file.
fn ask_for(upstream: &Upstream, site: &Site, seed: u64) {
    let content = Content::new(seed, 10_000);
    upstream.put_content("/files/tool", content);
    let (url, sha256) = (upstream.url(), content.sha256());
    site.outside.write_waybill(&format!(
        "  keep: 0\n  files: [{{url: \"{url}/files/tool\", sha256: {sha256}}}]\n"
    ));
}

/// An export that was planned on whatever the outside knew before.
fn export(upstream: &Upstream, site: &Site, seed: u64) -> Stick {
    ask_for(upstream, site, seed);
    site.outside.sync().unwrap();
    site.outside.export().unwrap()
}

/// `import` of a stick that shall be refused: its refusal.
fn refusal(inside: &tests::Inside, stick: &Stick) -> Value {
    let before = inside.generation();
    let failure = inside.import(stick).expect_err("the export was applied");
    assert_eq!(failure.exit_code, 3, "{failure:?}");
    assert_eq!(inside.generation(), before);
    let refusal = failure.json()["refusal"].clone();
    assert!(refusal["code"].is_string() && refusal["message"].is_string(), "{failure:?}");
    refusal
}

#[test]
fn an_older_export_is_refused_after_a_newer() {
    let (upstream, site) = small();
    let first = site.carry();
    export(&upstream, &site, 2);
    site.carry();
    refusal(&site.inside, &first);
    assert_eq!(site.inside.generation(), 2);
}

#[test]
fn the_same_export_again_changes_nothing_and_is_no_failure() {
    let (_upstream, site) = small();
    let stick = site.carry();
    let before = site.inside.status();
    let outcome = site.inside.import(&stick).unwrap();
    assert_eq!(outcome.json["applied"], false, "{}", outcome.json);
    assert_eq!(site.inside.status(), before);
}

#[test]
fn an_export_for_another_site_is_refused() {
    let (_upstream, site) = small();
    let east = site.another_inside("east");
    site.outside.sync().unwrap();
    let stick = site.outside.export_for("prod").unwrap();
    refusal(&east, &stick);
    assert_eq!(east.generation(), Value::Null);
    site.inside.import(&stick).unwrap();
}

#[test]
fn an_export_of_another_publisher_is_refused() {
    let (_upstream, site) = small();
    site.outside.sync().unwrap();
    let stick = site.outside.export().unwrap();
    refusal(&Site::new().inside, &stick);
}

#[test]
fn two_exports_on_one_inventory_apply_in_order() {
    let (upstream, site) = small();
    site.carry();
    let [second, third] = [2, 3].map(|seed| export(&upstream, &site, seed));
    let numbers = |stick: &Stick| (stick.report["basis"].clone(), stick.report["sequence"].clone());
    assert_eq!(numbers(&second), (json!(1), json!(2)));
    assert_eq!(numbers(&third), (json!(1), json!(3)));
    site.inside.import(&second).unwrap();
    site.inside.import(&third).unwrap();
    assert_eq!(site.inside.generation(), 3);
}

#[test]
fn the_later_of_two_exports_applies_alone_and_the_earlier_not_after_it() {
    let (upstream, site) = small();
    site.carry();
    let [second, third] = [2, 3].map(|seed| export(&upstream, &site, seed));
    site.inside.import(&third).unwrap();
    assert_eq!(site.inside.generation(), 3);
    refusal(&site.inside, &second);
    assert_eq!(site.inside.status()["sequence"], 3);
}

#[test]
fn an_export_on_what_the_inside_never_had_is_refused() {
    let (upstream, site) = small();
    let fresh = site.copy_of_inside("fresh");
    site.carry();
    let stick = export(&upstream, &site, 2);
    let refusal = refusal(&fresh, &stick);
    assert!(refusal["needed"] != Value::Null, "{refusal}");
}

#[test]
fn an_envelope_that_was_edited_is_refused() {
    let (_upstream, site) = small();
    site.outside.sync().unwrap();
    let stick = site.outside.export().unwrap();
    let path = stick.file("envelope.json");
    let whole = fs::read(&path).unwrap();
    let edits: [(&str, Value); 3] =
        [("critical", json!(["parity"])), ("sequence", json!(9)), ("format", json!(2))];
    for (field, value) in edits {
        let mut envelope: Value = serde_json::from_slice(&whole).unwrap();
        envelope[field] = value;
        fs::write(&path, envelope.to_string()).unwrap();
        refusal(&site.inside, &stick);
    }
    fs::write(&path, whole).unwrap();
    site.inside.import(&stick).unwrap();
}

#[test]
fn verify_says_the_same_as_import_and_changes_nothing() {
    let (_upstream, site) = small();
    site.outside.sync().unwrap();
    let stick = site.outside.export().unwrap();
    let verify = |stick: &Stick| site.inside.agent.run(&["verify", stick.export.to_str().unwrap()]);
    let before = site.inside.status();
    verify(&stick).unwrap();
    assert_eq!(site.inside.status(), before);
    let pack = stick.file(&stick.packs()[0]);
    tests::Damage::FlipBit.apply(&pack, &pack).unwrap();
    assert_eq!(verify(&stick).expect_err("damage was not seen").exit_code, 3);
}

#[test]
fn a_waybill_with_a_wrong_key_is_named_by_line_and_column() {
    let site = Site::new();
    site.outside.write_waybill("  files: []\n  fles: []\n");
    let failure = site.outside.sync().expect_err("a wrong key was passed over");
    assert_eq!(failure.exit_code, 1, "{failure:?}");
    assert!(failure.stderr.contains("fles"), "{failure:?}");
    assert!(failure.stderr.contains('6'), "no line: {failure:?}");
}

#[test]
fn a_requirement_that_cannot_be_met_is_incomplete() {
    let mut world = World::new();
    let mut goods = Goods::first();
    goods.requirement = "alpha==9.9";
    world.offer(&goods);
    let failure = world.site.outside.sync().expect_err("there is no alpha 9.9");
    assert_eq!(failure.exit_code, 2, "{failure:?}");
    let failures = failure.json()["failures"].clone();
    assert_eq!(failures.as_array().map(Vec::len), Some(1), "{failure:?}");
    assert_eq!(failures[0]["kind"], "pypi", "{failure:?}");
    assert!(failures[0]["error"].as_str().unwrap().contains("alpha"), "{failure:?}");
}

#[test]
fn a_dependency_that_cannot_be_met_is_incomplete_and_all_failures_are_listed() {
    let mut world = World::new();
    let mut goods = Goods::first();
    goods.wheels[0] = Wheel::new("alpha", "1.0").requires("gamma>=1").make();
    goods.debs[0].depends = "libnone (>= 1)".to_owned();
    world.offer(&goods);
    let failure = world.site.outside.sync().expect_err("nobody has gamma and libnone");
    assert_eq!(failure.exit_code, 2, "{failure:?}");
    for name in ["gamma", "libnone"] {
        assert!(failure.stdout.contains(name), "{name}: {failure:?}");
    }
}

#[test]
fn a_failed_sync_leaves_the_old_lock_in_force() {
    let (upstream, site) = small();
    site.carry();
    site.outside.write_waybill(&format!(
        "  files: [{{url: \"{}/files/none\", sha256: {}}}]\n",
        upstream.url(),
        sha256(b"none")
    ));
    assert_eq!(site.outside.sync().expect_err("there is none").exit_code, 2);
    let plan = site.outside.plan().unwrap().json;
    assert_eq!(plan["artifacts_new"], 0, "{plan}");
}

#[test]
fn wrong_usage_is_told_apart() {
    let site = Site::new();
    for args in [&["export"][..], &["nonsense"], &["plan", "--site", "nobody"]] {
        let failure = site.outside.agent.run(args).expect_err("it was done");
        assert_eq!(failure.exit_code, 1, "{args:?}: {failure:?}");
    }
}
