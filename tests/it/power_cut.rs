//! Killed at any moment, then the same command again: the same state as without.

use std::time::Duration;

use tests::{Content, Site, process, site::Agent};

use crate::{
    first_transfer::{assert_served, served},
    world::{Goods, World},
};

/// Runs a command with ever later power cuts until it comes to its end by itself.
pub fn cut_until_done(agent: &Agent, args: &[&str]) -> u32 {
    let args = [args, &["-o", "json"]].concat();
    let mut cuts = 0;
    for attempt in 0_u64.. {
        let delay = Duration::from_millis(1 + attempt.pow(3));
        let finished = process::start(&mut agent.command(&args)).finish_within(delay);
        match finished.exit_code {
            -9 => cuts += 1,
            0 => break,
            code => panic!("{args:?} ended with {code} after {cuts} cuts: {}", finished.stderr),
        }
    }
    cuts
}

/// What a site comes to when nothing goes wrong.
struct Calm {
    world: World,
    site: Site,
    goods: Goods,
}

impl Calm {
    /// A site that holds round 1 and asks for round 2; its twin went the whole way unharmed.
    fn new() -> Self {
        let mut goods = Goods::first();
        let mut world = World::new();
        let twin = world.twin(&goods);
        world.site.carry();
        twin.carry();
        goods.tool = Content::new(41, 24 << 20).bytes();
        world.offer(&goods);
        world.site.carry();
        world.write_waybill(&twin, &goods);
        Self { world, site: twin, goods }
    }

    fn assert_same(&self) {
        let inside = &self.site.inside;
        let [ours, theirs] = [inside, &self.world.site.inside].map(tests::Inside::status);
        for field in ["snapshot", "generation", "sequence", "artifacts"] {
            assert_eq!(ours[field], theirs[field], "{field}");
        }
        assert_eq!(served(inside, &self.world), served(&self.world.site.inside, &self.world));
        assert_served(&self.world, &inside.serve());
        assert_eq!(self.goods.tool.len(), 24 << 20);
    }
}

#[test]
fn a_power_cut_during_sync_changes_nothing_in_the_end() {
    let calm = Calm::new();
    calm.world.upstream.fault("/files/", tests::Fault::Slow { bytes_per_second: 64 << 20 });
    let cuts = cut_until_done(&calm.site.outside.agent, &["sync", "-f", "waybill.yaml"]);
    assert!(0 < cuts);
    calm.site.carry();
    calm.assert_same();
}

#[test]
fn a_power_cut_during_export_changes_nothing_in_the_end() {
    let calm = Calm::new();
    let outside = &calm.site.outside;
    outside.sync().unwrap();
    let to = outside.stick.to_str().unwrap();
    let cuts = cut_until_done(&outside.agent, &["export", "--site", "prod", "--to", to]);
    assert!(0 < cuts);
    let finished = outside.export();
    let stick = finished.expect("an export after power cuts failed");
    calm.site.inside.import(&stick).unwrap();
    calm.site.inventory_home().unwrap();
    let [ours, theirs] = [&calm.site.inside, &calm.world.site.inside].map(tests::Inside::status);
    assert_eq!(ours["snapshot"], theirs["snapshot"]);
    assert_served(&calm.world, &calm.site.inside.serve());
}

#[test]
fn a_power_cut_during_import_changes_nothing_in_the_end() {
    let calm = Calm::new();
    calm.site.outside.sync().unwrap();
    let stick = calm.site.outside.export().unwrap();
    let export = stick.export.to_str().unwrap();
    let cuts = cut_until_done(&calm.site.inside.agent, &["import", export]);
    assert!(0 < cuts);
    calm.assert_same();
}

#[test]
fn between_two_power_cuts_the_inside_serves_the_old_or_the_new_and_nothing_else() {
    let calm = Calm::new();
    calm.site.outside.sync().unwrap();
    let stick = calm.site.outside.export().unwrap();
    let export = stick.export.to_str().unwrap();
    let path = format!("/files/{}/files/tool", calm.world.upstream.host());
    let allowed =
        [&Goods::first().tool, &calm.goods.tool].map(|tool| tests::fixtures::sha256(tool));
    for delay_ms in [5, 20, 50, 100, 200, 400] {
        let mut import = calm.site.inside.agent.command(&["import", export]);
        process::start(&mut import).finish_within(Duration::from_millis(delay_ms));
        let answer = calm.site.inside.serve().get(&path);
        assert_eq!(answer.status, 200, "{delay_ms} ms");
        assert!(allowed.contains(&tests::fixtures::sha256(&answer.body)), "{delay_ms} ms");
    }
    calm.site.inside.import(&stick).unwrap();
    calm.assert_same();
}
