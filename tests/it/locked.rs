//! `sync --locked` takes a lock only with the files that it was made from, and needs nothing else.

use std::{fs, path::Path, process::Command};

use tests::{Site, Upstream, fixtures::sha256, process};

/// The archive of a chart `signed`, and a provenance file that speaks of it.
fn signed_chart(folder: &Path) -> (Vec<u8>, String) {
    fs::create_dir_all(folder.join("signed")).unwrap();
    let meta = "apiVersion: v2\nname: signed\nversion: 1.0.0\n";
    fs::write(folder.join("signed/Chart.yaml"), meta).unwrap();
    let mut tar = Command::new("tar");
    let packed = process::run(tar.args(["czf", "signed.tgz", "signed"]).current_dir(folder));
    assert_eq!(packed.exit_code, 0, "{}", packed.stderr);
    let archive = fs::read(folder.join("signed.tgz")).unwrap();
    let provenance = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{meta}\n...\nfiles:\n  \
         signed-1.0.0.tgz: sha256:{}\n-----BEGIN PGP SIGNATURE-----\n\nwsB=\n\
         -----END PGP SIGNATURE-----\n",
        sha256(&archive)
    );
    (archive, provenance)
}

/// A site with a list, a chart of a repository and one of a folder, and the upstream of both.
fn prepared() -> (Upstream, Site) {
    let (upstream, site) = (Upstream::start(), Site::new());
    let (archive, provenance) = signed_chart(&site.path("made"));
    let index = format!(
        "apiVersion: v1\nentries:\n  signed:\n    - {{name: signed, version: 1.0.0, \
         urls: [signed-1.0.0.tgz], digest: {}}}\n",
        sha256(&archive)
    );
    upstream.put("/charts/index.yaml", index.into_bytes());
    upstream.put("/charts/signed-1.0.0.tgz", archive);
    upstream.put("/charts/signed-1.0.0.tgz.prov", provenance.into_bytes());
    upstream.put("/tool", &b"tool"[..]);
    write_inputs(&site, &upstream);
    (upstream, site)
}

fn write_inputs(site: &Site, upstream: &Upstream) {
    let own = site.outside.agent.folder.join("own/templates");
    fs::create_dir_all(own).unwrap();
    site.outside.write("own/Chart.yaml", "apiVersion: v2\nname: own\nversion: 2.0.0\n");
    site.outside.write("own/templates/a.yaml", "a: 1\n");
    let tool = format!("{}  {}/tool\n", sha256(b"tool"), upstream.url());
    site.outside.write("files.list", tool);
    site.outside.write_waybill(&format!(
        "  lists: {{files: files.list}}\n  charts:\n    \
         - {{repo: \"{}/charts\", name: signed, version: 1.0.0}}\n    - {{repo: ./own}}\n",
        upstream.url()
    ));
}

const LOCKED: [&str; 4] = ["sync", "--locked", "-f", "waybill.yaml"];

#[test]
fn an_empty_store_gets_all_of_a_lock_again() {
    let (upstream, site) = prepared();
    site.outside.sync().unwrap();
    let lock = fs::read(site.outside.agent.folder.join("waybill.lock")).unwrap();

    let empty = Site::new();
    write_inputs(&empty, &upstream);
    empty.outside.write("waybill.lock", lock);
    let locked = empty.outside.agent.run(&LOCKED).unwrap();
    // The tool, the archive with its provenance, and the chart that lies here.
    assert_eq!(locked.json["fetched"], 4, "{}", locked.json);
    let stick = empty.outside.export().unwrap();
    empty.inside.import(&stick).unwrap();
    assert_eq!(empty.inside.status()["artifacts"]["chart"], 2);
}

#[test]
fn a_lock_is_refused_with_the_list_of_what_changed() {
    let (_upstream, site) = prepared();
    site.outside.sync().unwrap();
    site.outside.agent.run(&LOCKED).unwrap();
    let list = fs::read_to_string(site.outside.agent.folder.join("files.list")).unwrap();
    site.outside.write("files.list", format!("# another comment\n{list}"));
    site.outside.write("own/templates/a.yaml", "a: 2\n");
    let refused = site.outside.agent.run(&LOCKED).expect_err("changed files were taken");
    assert_eq!(refused.exit_code, 1, "{refused:?}");
    for said in ["./own (changed)", "files.list (changed)"] {
        assert!(refused.stderr.contains(said), "{said} is not in {refused:?}");
    }
    fs::remove_file(site.outside.agent.folder.join("files.list")).unwrap();
    let gone = site.outside.agent.run(&LOCKED).expect_err("a list that is gone was taken");
    assert!(gone.stderr.contains("files.list (gone"), "{gone:?}");
    site.outside.write("files.list", list);
    site.outside.write("own/templates/a.yaml", "a: 1\n");
    site.outside.agent.run(&LOCKED).unwrap();
}

#[test]
fn a_lock_that_names_no_inputs_is_made_again() {
    let (_upstream, site) = prepared();
    site.outside.sync().unwrap();
    let path = site.outside.agent.folder.join("waybill.lock");
    let mut lock: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    lock.as_object_mut().unwrap().remove("inputs");
    fs::write(&path, lock.to_string()).unwrap();
    let refused = site.outside.agent.run(&LOCKED).expect_err("an older lock was taken");
    assert_eq!(refused.exit_code, 1, "{refused:?}");
    assert!(refused.stderr.contains("run without --locked"), "{refused:?}");
    site.outside.sync().unwrap();
    site.outside.agent.run(&LOCKED).unwrap();
}
