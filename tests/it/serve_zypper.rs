//! zypper takes from the inside what dnf takes, with every signature checked.

use std::fs;

use tests::{
    clients::{Client, Zypper},
    rpm::Signer,
    site::Server,
};

use crate::{
    first_transfer::apt_key,
    serve_yum::{World, done, revision, wait_for_switch},
};

/// The packages that zypper sees after it looked for newer metadata, as `name version`.
fn seen(zypper: &Zypper) -> Vec<String> {
    done(zypper.run(&["refresh"]));
    let table = done(zypper.run(&["search", "--details", "--type", "package"]));
    let rows = table.lines().skip_while(|line| !line.starts_with("--")).skip(1);
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some(format!("{} {}", cells.get(1)?, cells.get(3)?))
    };
    let mut rows: Vec<String> = rows.filter_map(row).collect();
    rows.sort();
    rows
}

fn uri(server: &Server) -> String {
    format!("{}/yum/el9", server.url)
}

#[test]
fn zypper_installs_from_the_inside_and_follows_a_rollback() {
    let Some(world) = World::for_client(Client::Zypper) else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let keys = [apt_key(&server), world.signer.public_key()];
    let zypper = Zypper::new(folder.path(), &uri(&server), &[&keys[0], &keys[1]]);
    let older = ["app 1.0-1", "tool+x 1.0-1", "words 1.0-1"];
    assert_eq!(seen(&zypper), older);
    // The application wants a file of words. zypper reads no lists of files and knows those of
    // installed packages alone, here as from upstream.
    done(zypper.run(&["install", "words", "tool+x"]));
    done(zypper.run(&["install", "app"]));
    for (path, text) in [
        ("usr/share/app/file", "app 1.0\n"),
        ("usr/share/words/list", "words 1.0\n"),
        ("usr/share/tool+x/file", "tool+x 1.0\n"),
    ] {
        assert_eq!(fs::read_to_string(zypper.root().join(path)).unwrap(), text);
    }

    let first = revision(&server);
    world.carry_second();
    let second = wait_for_switch(&server, first);
    assert!(seen(&zypper).contains(&"app 2.0-1".to_owned()));
    world.site.inside.rollback(1).unwrap();
    let third = wait_for_switch(&server, second);
    assert_eq!(seen(&zypper), older);
    world.site.inside.rollback(2).unwrap();
    wait_for_switch(&server, third);
    done(zypper.run(&["refresh"]));
    done(zypper.run(&["update", "app"]));
    assert_eq!(fs::read_to_string(zypper.root().join("usr/share/app/file")).unwrap(), "app 2.0\n");
}

#[test]
fn zypper_refuses_what_another_key_signed() {
    let Some(world) = World::for_client(Client::Zypper) else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    let foreign = Signer::new(&world.site.path("foreign")).public_key();
    let site_key = apt_key(&server);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let no_metadata = Zypper::new(folders[0].path(), &uri(&server), &[&foreign]);
    assert_ne!(no_metadata.run(&["refresh"]).exit_code, 0, "metadata of an unknown key");
    let no_packages = Zypper::new(folders[1].path(), &uri(&server), &[&site_key, &foreign]);
    done(no_packages.run(&["refresh"]));
    let refused = no_packages.run(&["install", "tool+x"]);
    assert_ne!(refused.exit_code, 0, "a package of another key: {}", refused.stdout);
    assert!(!no_packages.root().join("usr/share/tool+x/file").exists());
}
