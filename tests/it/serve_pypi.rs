//! Installers that take only what they have a digest for, and look at metadata before wheels.

use std::{fs, thread, time::Duration};

use tests::{
    clients::{self, Client},
    fixtures::PypiFile,
    process::Finished,
    site::Server,
};

use crate::world::{Goods, World};

const WHEELS: [&str; 2] = ["alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"];

/// The digests of [`WHEELS`].
fn digests() -> Vec<String> {
    Goods::first().wheels.iter().map(PypiFile::sha256).collect()
}

fn ok(finished: &Finished) {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
}

/// The files below `/pypi/packages/` that were asked for, each once, sorted. A request stands in
/// the log a moment after its client has all of it, so `last` is waited for.
fn packages_asked(server: &Server, last: &str) -> Vec<String> {
    for _ in 0..100 {
        let asked = server.asked();
        let mut names: Vec<String> = asked
            .iter()
            .filter_map(|asked| Some(asked.split_once("/pypi/packages/")?.1.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        if names.iter().any(|name| name == last) {
            return names;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{last} was not asked for: {:#?}", server.asked());
}

#[test]
fn uv_resolves_by_metadata_alone_and_installs_what_has_the_digests() {
    if !Client::Uv.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve_with_access_log();
    let folder = tempfile::tempdir().unwrap();
    let uv = |arguments: &[&str]| clients::uv_pip(&server.url, arguments, folder.path());
    fs::write(folder.path().join("wanted.in"), "alpha==1.0\n").unwrap();
    ok(&uv(&["compile", "--generate-hashes", "wanted.in", "-o", "wanted.txt"]));
    let metadata = WHEELS.map(|wheel| format!("{wheel}.metadata"));
    assert_eq!(packages_asked(&server, &metadata[1]), metadata, "metadata, and no wheel");
    let wanted = fs::read_to_string(folder.path().join("wanted.txt")).unwrap();
    let digests = digests();
    for digest in &digests {
        assert!(wanted.contains(&format!("--hash=sha256:{digest}")), "{wanted}");
    }

    let install = ["install", "--require-hashes", "-r", "wanted.txt", "--target"];
    ok(&uv(&[&install[..], &["taken"]].concat()));
    for module in ["alpha", "beta"] {
        assert!(folder.path().join("taken").join(module).join("__init__.py").is_file());
    }
    let wrong = wanted.replace(&digests[1], &"0".repeat(64));
    fs::write(folder.path().join("wanted.txt"), wrong).unwrap();
    let refused = uv(&[&install[..], &["refused"]].concat());
    assert_ne!(refused.exit_code, 0, "a wheel with another digest was installed");
    assert!(refused.stderr.contains("beta"), "{}", refused.stderr);
}

#[test]
fn pip_takes_only_what_has_the_digests() {
    if !Client::Pip.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wanted.txt");
    let pip = |digests: [&str; 2]| {
        let [alpha, beta] = digests;
        let lines = format!("alpha==1.0 --hash=sha256:{alpha}\nbeta==2.0 --hash=sha256:{beta}\n");
        fs::write(&path, lines).unwrap();
        let wanted = ["--require-hashes", "-r", path.to_str().unwrap()];
        clients::pip_download(&server.url, &wanted, folder.path())
    };
    let digests = digests();
    let refused = pip([&digests[0], &"0".repeat(64)]);
    assert_ne!(refused.exit_code, 0, "a wheel with another digest was taken");
    ok(&pip([&digests[0], &digests[1]]));
    for wheel in WHEELS {
        assert!(folder.path().join(wheel).is_file(), "{wheel}");
    }
}
