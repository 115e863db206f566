//! What nodes have installed comes home with the inventory, and the updates that it forces travel.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tests::{
    Site, Upstream,
    fixtures::{AptRepo, Deb, Rpm, YumRepo},
};

/// What is newer than on some node, and what that needs and some node lacks.
const UPDATES_WITH_NEEDS: [&str; 4] = [
    "debian-13/libc6_2.41-1_amd64",
    "debian-13/socat_1.8-2_amd64",
    "rocky-9/libdw-1.0-1.x86_64",
    "rocky-9/strace-6.2-1.x86_64",
];

/// A site whose waybill carries what is newer than its nodes of two targets have.
struct Updated {
    site: Site,
    _upstream: Upstream,
}

impl Updated {
    fn new() -> Self {
        let (site, upstream) = (Site::new(), Upstream::start());
        let repo = AptRepo::new("trixie")
            .with(Deb::new("socat", "1.8-2").depends("libc6 (>= 2.41)"))
            .with(Deb::new("libc6", "2.41-1"))
            .with(Deb::new("bash", "5.2-1"))
            .with(Deb::new("tcpdump", "4.99-1"));
        upstream.put_apt(&repo);
        let system = YumRepo::default()
            .with(Rpm::new("strace", "6.2").requires("libdw"))
            .with(Rpm::new("libdw", "1.0"))
            .with(Rpm::new("bash", "5.1"))
            .with(Rpm::new("words", "3.0"));
        upstream.put_yum("system", &system);
        site.outside.write("upstream.asc", repo.public_key());
        let url = upstream.url();
        site.outside.write_waybill(&format!(
            r#"  apt:
    - {{uri: "{url}/apt", suite: trixie, components: [main], architectures: [amd64],
       signedBy: upstream.asc, target: debian-13, installed: {{site: prod}}}}
  yum:
    - {{baseurl: "{url}/yum/system", arch: x86_64, target: rocky-9, insecure: true,
       installed: {{site: prod, target: el9}}}}
"#
        ));
        Self { site, _upstream: upstream }
    }

    /// A file that an admin has of a node.
    fn node(&self, name: &str, text: &str) -> String {
        let path = self.site.inside.agent.folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Hands in what nodes have; the targets that are known then.
    fn say(&self, target: &str, files: &[&str]) -> Value {
        let args = [&["installed", target], files].concat();
        self.site.inside.agent.run(&args).unwrap().json["installed"].clone()
    }

    /// Takes the next inventory; what came of its lists.
    fn lists(&self) -> Value {
        self.site.inside.inventory(&self.site.outside.stick).unwrap();
        let taken = self.site.outside.inventory(&self.site.outside.stick).unwrap().json;
        taken["inventories"][0]["installed"].clone()
    }

    fn carried(&self) -> Vec<String> {
        self.site.outside.sync().unwrap();
        let path = self.site.outside.agent.folder.join("waybill.lock");
        let lock: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let names = lock["artifacts"].as_array().unwrap().iter();
        let names = names.map(|artifact| artifact["name"].as_str().unwrap().to_owned());
        names.filter(|name| !name.contains("/127.")).collect()
    }

    fn on_stick(&self, name: &str) -> PathBuf {
        self.site.outside.stick.join("gapferry/prod").join(name)
    }
}

#[test]
fn what_nodes_have_comes_home_and_only_what_is_newer_travels() {
    let world = Updated::new();
    let failed = world.site.outside.sync().unwrap_err();
    assert_eq!(failed.exit_code, 1, "{failed:?}");
    for target in ["debian-13", "el9"] {
        let expected = format!(
            "site prod has not said what its nodes of {target} have; run `gapferry-inside \
             installed {target} FILE` there, and take its next inventory"
        );
        assert!(failed.stderr.contains(&expected), "{failed:?}");
    }

    let node1 = world.node("node1", "socat:amd64\t1.8-1\nlibc6:amd64\t2.36-9\nbash\t5.2-1\n");
    let node2 = world.node("node2", "ii  socat  1.8-2  amd64  newer than that of node1\n");
    let rpms = world.node("rpms", "strace-6.1-1.x86_64\nbash-5.1-1.x86_64\ngpg-pubkey-1-1\n");
    world.say("debian-13", &[&node1, &node2]);
    let known = world.say("el9", &[&rpms]);
    let packages: Vec<_> =
        known.as_array().unwrap().iter().map(|list| list["packages"].as_u64()).collect();
    assert_eq!(packages, [Some(4), Some(2)]);
    let bad = world.node("bad", "bash\t5.2-1\n<html> of some page\n");
    let failed = world.site.inside.agent.run(&["installed", "debian-13", &node1, &bad]);
    let failed = failed.unwrap_err();
    assert_eq!(failed.exit_code, 1, "{failed:?}");
    assert!(failed.stderr.contains("bad does not say what is installed: line 2"), "{failed:?}");

    let lists = world.lists();
    assert_eq!((&lists[0]["target"], &lists[0]["reason"]), (&json!("debian-13"), &Value::Null));
    assert_eq!((&lists[1]["target"], &lists[1]["reason"]), (&json!("el9"), &Value::Null));
    let written = fs::read_to_string(world.on_stick("inventory-000001.debian-13.txt")).unwrap();
    let expected = "bash\t0\nbash\t5.2-1\nlibc6\t0\tamd64\nlibc6\t2.36-9\tamd64\n\
                    socat\t1.8-1\tamd64\nsocat\t1.8-2\tamd64\n";
    assert_eq!(written, expected);
    assert_eq!(world.carried(), UPDATES_WITH_NEEDS);
    let check = world.site.outside.agent.run(&["check"]).unwrap().json;
    assert_eq!(check["missing"], json!([]), "{check}");
}

#[test]
fn what_one_of_two_nodes_lacks_is_carried_when_an_update_needs_it() {
    let world = Updated::new();
    let node1 = world.node("node1", "socat\t1.8-1\nlibc6\t2.41-1\n");
    let node2 = world.node("node2", "socat\t1.8-1\n");
    world.say("debian-13", &[&node1, &node2]);
    let one = world.node("one", "strace-6.1-1.x86_64\n");
    let other = world.node("other", "strace-6.1-1.x86_64\nlibdw-1.0-1.x86_64\n");
    let known = world.say("el9", &[&one, &other]);
    let packages: Vec<_> =
        known.as_array().unwrap().iter().map(|list| list["packages"].as_u64()).collect();
    assert_eq!(packages, [Some(2), Some(2)], "what some node lacks is no package");
    world.lists();
    assert_eq!(world.carried(), UPDATES_WITH_NEEDS);

    world.say("debian-13", &[&node1]);
    world.say("el9", &[&other]);
    world.lists();
    let expected = ["debian-13/socat_1.8-2_amd64", "rocky-9/strace-6.2-1.x86_64"];
    assert_eq!(world.carried(), expected, "all nodes that are known have the rest");
}

#[test]
fn a_list_that_did_not_come_along_leaves_the_one_before_and_the_inventory_is_taken() {
    let world = Updated::new();
    let rpms = world.node("rpms", "bash-5.1-1.x86_64\n");
    world.say("el9", &[&rpms]);
    let old = world.node("old", "socat\t1.8-1\nlibc6\t2.41-1\n");
    world.say("debian-13", &[&old]);
    world.lists();
    assert_eq!(world.carried(), ["debian-13/socat_1.8-2_amd64"]);

    let new = world.node("new", "bash\t5.1-1\n");
    world.say("debian-13", &[&new]);
    world.site.inside.inventory(&world.site.outside.stick).unwrap();
    let list = world.on_stick("inventory-000002.debian-13.txt");
    for damage in ["changed", "lost"] {
        match damage {
            "changed" => fs::write(&list, "bash\t5.0-1\n").unwrap(),
            _ => fs::remove_file(&list).unwrap(),
        }
        let taken = world.site.outside.inventory(&world.site.outside.stick).unwrap().json;
        let reason = &taken["inventories"][0]["installed"][0]["reason"];
        assert!(reason.as_str().unwrap().contains("inventory-000002.debian-13.txt"), "{taken}");
        assert_eq!(taken["inventories"][0]["installed"][1]["reason"], Value::Null, "{taken}");
        assert_eq!(world.carried(), ["debian-13/socat_1.8-2_amd64"], "{damage}");
    }
    let lists = world.lists();
    assert_eq!(lists[0]["reason"], Value::Null, "the next inventory brings it again");
    assert_eq!(world.carried(), ["debian-13/bash_5.2-1_amd64"]);

    // A lock says which lists it was made from.
    let newer = world.node("newer", "bash\t5.2-1\n");
    world.say("debian-13", &[&newer]);
    world.lists();
    let locked = ["sync", "-f", "waybill.yaml", "--locked"];
    let failed = world.site.outside.agent.run(&locked).unwrap_err();
    assert!(failed.stderr.contains("installed at prod debian-13 (changed)"), "{failed:?}");
    // And what the inside forgets, the outside does.
    world.site.inside.agent.run(&["installed", "--forget", "debian-13"]).unwrap();
    assert_eq!(world.lists().as_array().unwrap().len(), 1);
    assert_eq!(world.site.outside.sync().unwrap_err().exit_code, 1);
}
