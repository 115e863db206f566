//! What is forgotten outside is named outside, with the line that would have brought it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tests::{
    fixtures::{Image, Rpm, YumRepo},
    process,
    site::{Failure, Outcome},
};

use crate::world::World;

/// What `socat` requires of `tcp_wrappers`.
const LIBWRAP: &str = "libwrap.so.0()(64bit)";

/// A world whose waybill also has a chart, which alone names an image, and rpm packages: of one
/// repository for `el8`, of two that complete each other for `el9`.
struct Checked {
    world: World,
    host: String,
}

impl Checked {
    fn new() -> Self {
        let world = World::new();
        let host = world.upstream.host();
        world.upstream.put_image("demo/web", "1.0", &Image::new(b"web"));
        let outside = &world.site.outside;
        let folder = &outside.agent.folder;
        fs::create_dir_all(folder.join("app/templates")).unwrap();
        fs::create_dir_all(folder.join("bin")).unwrap();
        outside.write("app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
        let deployment = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    \
             spec:\n      containers: [{{name: web, image: \"{host}/demo/web:1.0\"}}]\n"
        );
        outside.write("app/templates/web.yaml", &deployment);
        // Stands in for helm, which not every machine has: the chart has nothing to work out.
        let helm = outside.write("bin/helm", format!("#!/bin/sh\necho '{deployment}'\n"));
        fs::set_permissions(helm, fs::Permissions::from_mode(0o755)).unwrap();
        let checked = Self { world, host };
        checked.append("  charts: [{repo: ./app, images: true, insecure: true}]\n");
        checked.add_yum();
        checked.run(&["sync"]).unwrap();
        checked
    }

    fn add_yum(&self) {
        let system = YumRepo::default()
            .with(Rpm::new("socat", "1.7").requires("libwrap.so.0()(64bit)"))
            .with(Rpm::new("tcp_wrappers", "7.6").provides("libwrap.so.0()(64bit)"))
            .with(Rpm::new("words", "3.0").file("/usr/share/dict/words"));
        let third = YumRepo::default()
            .with(Rpm::new("engine", "2.0").requires("socat").requires("/usr/share/dict/words"))
            .with(Rpm::new("socat", "0.1").requires("nothing"));
        let upstream = &self.world.upstream;
        upstream.put_yum("system", &system);
        upstream.put_yum("third", &third);
        self.append("  yum:\n");
        for (name, package, target) in
            [("system", "socat", "el8"), ("system", "socat", "el9"), ("third", "engine", "el9")]
        {
            let url = upstream.url();
            self.append(&format!(
                "    - {{baseurl: \"{url}/yum/{name}\", packages: [{package}], arch: x86_64, \
                 target: {target}, insecure: true}}\n"
            ));
        }
    }

    fn waybill(&self) -> PathBuf {
        self.world.site.outside.agent.folder.join("waybill.yaml")
    }

    fn append(&self, line: &str) {
        let text = fs::read_to_string(self.waybill()).unwrap();
        fs::write(self.waybill(), text + line).unwrap();
    }

    fn run(&self, args: &[&str]) -> Result<Outcome, Failure> {
        let agent = &self.world.site.outside.agent;
        let path = env::var_os("PATH").unwrap_or_default();
        let path = [agent.folder.join("bin")].into_iter().chain(env::split_paths(&path));
        let args = [args, &["-o", "json"]].concat();
        let mut command = agent.command(&args);
        command.env("PATH", env::join_paths(path).unwrap());
        Outcome::of(process::run(&mut command))
    }

    /// What a check says, and how it ended.
    fn check(&self) -> (Value, i32) {
        match self.run(&["check"]) {
            Ok(outcome) => (outcome.json, outcome.exit_code),
            Err(failure) => (failure.json(), failure.exit_code),
        }
    }

    fn lock(&self) -> PathBuf {
        let locks = self.world.site.outside.agent.home().join("locks/test");
        let names = fs::read_dir(locks).unwrap().map(|entry| entry.unwrap().path());
        let is_lock = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "lock");
        names.filter(is_lock).max().unwrap()
    }

    /// Changes the artifacts of the lock, and gives the lock as it was.
    fn change(&self, change: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
        let before = fs::read(self.lock()).unwrap();
        let mut lock: Value = serde_json::from_slice(&before).unwrap();
        change(lock["artifacts"].as_array_mut().unwrap());
        write(&self.lock(), &serde_json::to_vec_pretty(&lock).unwrap());
        before
    }

    /// Forgets the artifacts whose name begins so, and gives the lock as it was.
    fn forget(&self, prefix: &str) -> Vec<u8> {
        self.change(|artifacts| {
            let count = artifacts.len();
            artifacts.retain(|artifact| !artifact["name"].as_str().unwrap().starts_with(prefix));
            assert!(artifacts.len() < count, "nothing begins with {prefix}");
        })
    }

    /// Forgets only the checksum of the artifacts whose name begins so.
    fn forget_checksum(&self, prefix: &str) -> Vec<u8> {
        self.change(|artifacts| {
            for artifact in artifacts {
                if artifact["name"].as_str().unwrap().starts_with(prefix) {
                    artifact["evidence"]["digest"].take();
                }
            }
        })
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_table_of_omissions_all_found() {
    let checked = Checked::new();
    let host = &checked.host;
    checked.world.upstream.take_seen();
    let (said, exit_code) = checked.check();
    assert_eq!((&said["missing"], &said["not_proven"], exit_code), (&json!([]), &json!([]), 0));
    for (forgotten, kind, name, line) in [
        ("debian-13/libwrap0_", "deb", "libwrap0".to_owned(), "packages: [libwrap0]"),
        ("debian-13/socat_", "deb", "socat".to_owned(), ""),
        ("beta-2.0", "pypi", "beta".to_owned(), "packages: [beta]"),
        ("alpha-1.0", "pypi", "alpha".to_owned(), ""),
        (&format!("{host}/demo/app:"), "image", format!("{host}/demo/app:1.0"), ""),
        (&format!("{host}/demo/web:"), "image", format!("{host}/demo/web:1.0"), "images: ["),
        (&format!("{host}/files/tool"), "file", format!("{host}/files/tool"), ""),
        (&format!("checksum of {host}/files"), "file", format!("{host}/files/tool"), ""),
        ("el8/tcp_wrappers-", "rpm", LIBWRAP.to_owned(), "packages: [\"libwrap.so.0()(64bit)\"]"),
        ("el8/socat-", "rpm", "socat".to_owned(), ""),
        ("el9/engine-", "rpm", "engine".to_owned(), ""),
        ("el9/words-", "rpm", "/usr/share/dict/words".to_owned(), ""),
        ("local/app-1.0.0", "chart", "./app".to_owned(), ""),
    ] {
        let before = match forgotten.strip_prefix("checksum of ") {
            Some(prefix) => checked.forget_checksum(prefix),
            None => checked.forget(forgotten),
        };
        let (said, exit_code) = checked.check();
        let missing = said["missing"].as_array().unwrap();
        let [one] = missing.as_slice() else { panic!("{forgotten}: {said}") };
        assert_eq!((&one["kind"], &one["name"]), (&json!(kind), &json!(name)), "{said}");
        assert_eq!(exit_code, 2, "{said}");
        assert_eq!(one["in_waybill"], json!(line.is_empty()), "{said}");
        assert!(one["line"].as_str().unwrap_or_default().contains(line), "{said}");
        write(&checked.lock(), &before);
    }
    assert_eq!(checked.check().1, 0);
    assert_eq!(checked.world.upstream.take_seen(), [], "a check asks nobody");
}

#[test]
fn a_line_that_was_not_synced_is_missing_until_it_is() {
    let checked = Checked::new();
    checked.world.upstream.put("/files/other", "other");
    let sha256 = tests::fixtures::sha256(b"other");
    let url = format!("http://{}/files/other", checked.host);
    let text = fs::read_to_string(checked.waybill()).unwrap();
    let text =
        text.replace("  files: [", &format!("  files: [{{url: \"{url}\", sha256: {sha256}}}, "));
    write(&checked.waybill(), text.as_bytes());
    let (said, exit_code) = checked.check();
    assert_eq!((&said["missing"][0]["in_waybill"], exit_code), (&json!(true), 2), "{said}");
    checked.run(&["sync"]).unwrap();
    let (said, exit_code) = checked.check();
    assert_eq!((&said["missing"], &said["not_proven"], exit_code), (&json!([]), &json!([]), 0));
}

#[test]
fn a_fix_writes_the_line_and_the_next_sync_brings_it() {
    let checked = Checked::new();
    checked.forget("debian-13/libwrap0_");
    checked.forget("el8/tcp_wrappers-");
    checked.append("  # the end\n");
    let failure = checked.run(&["check", "--fix"]).unwrap_err();
    assert_eq!(failure.exit_code, 2, "{failure:?}");
    assert_eq!(failure.json()["fixed"], json!([checked.waybill()]), "{failure:?}");
    let text = fs::read_to_string(checked.waybill()).unwrap();
    for part in ["packages: [libwrap0]", "packages: [\"libwrap.so.0()(64bit)\"]", "# the end"] {
        assert!(text.contains(part), "{text}");
    }
    checked.run(&["sync"]).unwrap();
    let (said, exit_code) = checked.check();
    assert_eq!((&said["missing"], exit_code), (&json!([]), 0));
    let lock: Value = serde_json::from_slice(&fs::read(checked.lock()).unwrap()).unwrap();
    let named = |artifact: &&Value| artifact["name"] == "el8/tcp_wrappers-7.6-1.x86_64";
    let wanted = &lock["artifacts"].as_array().unwrap().iter().find(named).unwrap()["wanted"];
    let expected = json!(["socat requires it", format!("spec.yum[3]: {LIBWRAP}")]);
    assert_eq!(*wanted, expected);
}

#[test]
fn an_export_is_refused_until_each_gap_is_accepted_and_the_inside_is_told() {
    let checked = Checked::new();
    let site = &checked.world.site;
    checked.forget("beta-2.0");
    checked.forget(&format!("{}/files/tool", checked.host));
    let stick = site.outside.stick.to_str().unwrap().to_owned();
    let export = ["export", "--to", &stick];
    let file = format!("file {}/files/tool", checked.host);
    let [one, two] = [["--accept-missing", "beta"], ["--accept-missing", &file]];
    for (accepted, missing) in [(vec![], 2), (one.to_vec(), 1), (two.to_vec(), 1)] {
        let failure = checked.run(&[&export[..], &accepted[..]].concat()).unwrap_err();
        let left = failure.json()["missing"].as_array().map(Vec::len);
        assert_eq!((failure.exit_code, left), (2, Some(missing)), "{failure:?}");
        assert_eq!(fs::read_dir(&stick).unwrap().count(), 0);
    }
    let exported = checked.run(&[&export[..], &one[..], &two[..]].concat()).unwrap().json;
    let gaps = json!([file, "pypi beta"]);
    assert_eq!(exported["accepted_gaps"], gaps, "{exported}");
    let imported = site.inside.agent.run(&["import", exported["path"].as_str().unwrap()]).unwrap();
    assert_eq!(imported.json["accepted_gaps"], gaps, "{:?}", imported.json);
}

#[test]
fn an_artifact_whose_bytes_are_lost_is_left_out_when_that_is_accepted() {
    let checked = Checked::new();
    let lock: Value = serde_json::from_slice(&fs::read(checked.lock()).unwrap()).unwrap();
    let artifacts = lock["artifacts"].as_array().unwrap();
    let tool = artifacts.iter().find(|one| one["kind"] == "file" || one["facts"]["kind"] == "file");
    let id = tool.unwrap()["blobs"][0]["id"].as_str().unwrap()[7..].to_owned();
    let store = checked.world.site.outside.agent.home().join("store/blobs/sha256");
    fs::remove_file(store.join(&id[..2]).join(&id[2..4]).join(&id)).unwrap();
    let (said, exit_code) = checked.check();
    assert_eq!((&said["missing"][0]["kind"], exit_code), (&json!("file"), 2), "{said}");
    let name = said["missing"][0]["name"].as_str().unwrap().to_owned();
    let stick = checked.world.site.outside.stick.to_str().unwrap().to_owned();
    let exported =
        checked.run(&["export", "--to", &stick, "--accept-missing", &name]).unwrap().json;
    let imported =
        checked.world.site.inside.agent.run(&["import", exported["path"].as_str().unwrap()]);
    assert_eq!(imported.unwrap().json["applied"], true);
    assert_eq!(checked.world.site.inside.status()["artifacts"]["file"], 0);
}

#[test]
fn a_route_that_skips_a_minor_release_is_refused() {
    let checked = Checked::new();
    let failure = checked.run(&["check", "--route", "2.29->2.31"]).unwrap_err();
    let missing = &failure.json()["missing"][0];
    assert_eq!((failure.exit_code, &missing["kind"]), (2, &json!("hop")), "{failure:?}");
    let kinds = |failure: &Failure| {
        let said = failure.json();
        let missing = said["missing"].as_array().unwrap().iter();
        missing.map(|one| one["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Without a line that names an inventory nothing tells what a tree asks for.
    assert_eq!(kinds(&failure), ["hop", "tree", "tree"]);
    let trees = ["--tree", "2.29.1=1.33.5", "--tree", "2.30.0=1.34.3", "--tree", "2.31.0=1.35.1"];
    let failure = checked.run(&[&["check", "--route", "2.29,2.30,2.31"], &trees[..]].concat());
    assert_eq!(kinds(&failure.unwrap_err()), ["tree", "tree", "tree"]);
    let failure = checked.run(&["check", "--route", "2.29"]).unwrap_err();
    assert_eq!(failure.exit_code, 1, "{failure:?}");
}
