//! Repositories that want a client certificate get it, for documents and packages, and nobody else.

use std::path::Path;

use tests::{Site, Tls, fixtures::sha256, process, site::Outcome};

const PACKAGES: [(&str, &str); 2] =
    [("alpha", "Packages/alpha-1-1.x86_64.rpm"), ("beta", "away/beta-1-1.x86_64.rpm")];

/// Puts a repository below `repo/`; its second package lies on the other server.
fn put_repository(tls: &Tls) {
    let mut elements = String::new();
    for (name, place) in PACKAGES {
        tls.put(&format!("repo/{place}"), name);
        elements += &format!(
            "<package type=\"rpm\"><name>{name}</name><arch>x86_64</arch>\
             <version epoch=\"0\" ver=\"1\" rel=\"1\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum>\
             <size package=\"{}\" installed=\"9\" archive=\"9\"/><location href=\"{place}\"/>\
             <format><rpm:sourcerpm>{name}.src.rpm</rpm:sourcerpm><rpm:provides>\
             <rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"1\" rel=\"1\"/>\
             </rpm:provides></format></package>",
            sha256(name.as_bytes()),
            name.len(),
        );
    }
    let primary = format!(
        "<?xml version=\"1.0\"?><metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"2\">{elements}</metadata>"
    );
    let list = format!(
        "<?xml version=\"1.0\"?><repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\
         <revision>1</revision><data type=\"primary\"><checksum type=\"sha256\">{}</checksum>\
         <location href=\"repodata/primary.xml\"/><size>{}</size></data></repomd>",
        sha256(primary.as_bytes()),
        primary.len(),
    );
    tls.put("repo/repodata/primary.xml", primary);
    tls.put("repo/repodata/repomd.xml", list);
}

fn write_waybill(site: &Site, tls: &Tls, more: &str) {
    site.outside.write_waybill(&format!(
        "  yum: [{{baseurl: \"{}/repo/\", packages: [alpha, beta], arch: x86_64, \
         releasever: \"9\"{more}}}]\n",
        tls.guarded
    ));
}

fn files(tls: &Tls, certificate: &str, key: &str) -> String {
    let path = |name: &str| tls.file(name).display().to_string();
    format!(
        ", sslcacert: {}, sslclientcert: {}, sslclientkey: {}",
        path("ca.pem"),
        path(certificate),
        path(key)
    )
}

/// Runs the outside, which trusts the authority for whatever has no `sslcacert`.
fn run(site: &Site, authority: &Path, args: &[&str]) -> Result<Outcome, tests::site::Failure> {
    let args = [args, &["-f", "waybill.yaml", "-o", "json"]].concat();
    Outcome::of(process::run(site.outside.agent.command(&args).env("CURL_CA_BUNDLE", authority)))
}

#[test]
fn a_certificate_opens_documents_and_packages_and_is_not_shown_to_others() {
    let Some(tls) = Tls::start() else { return };
    put_repository(&tls);
    let site = Site::new();
    write_waybill(&site, &tls, &files(&tls, "client.pem", "client.key"));
    let synced = run(&site, &tls.file("ca.pem"), &["sync"]).unwrap();
    assert_eq!((&synced.json["resolved"], &synced.json["fetched"]), (&2.into(), &2.into()));

    let elsewhere = Site::new();
    for name in ["waybill.yaml", "waybill.lock"] {
        let bytes = std::fs::read(site.outside.agent.folder.join(name)).unwrap();
        elsewhere.outside.write(name, bytes);
    }
    let locked = run(&elsewhere, &tls.file("ca.pem"), &["sync", "--locked"]).unwrap();
    assert_eq!(locked.json["fetched"], 2, "packages of a lock want the certificate too");
}

#[test]
fn a_wrong_or_missing_certificate_is_named_with_its_file_and_setting() {
    let Some(tls) = Tls::start() else { return };
    put_repository(&tls);
    let site = Site::new();
    let path = |name: &str| tls.file(name).display().to_string();
    let only_ca = format!(", sslcacert: {}", path("ca.pem"));
    let stranger = format!("check sslclientcert {}", path("stranger.pem"));
    let gone = format!("cannot read {}, which sslclientkey names", path("gone.key"));
    let cross = format!("sslclientkey {}", path("stranger.key"));
    for (more, said) in [
        (only_ca, "name it in `sslclientcert` and `sslclientkey`"),
        (files(&tls, "stranger.pem", "stranger.key"), &stranger),
        (files(&tls, "client.pem", "gone.key"), &gone),
        (files(&tls, "client.pem", "stranger.key"), &cross),
        (files(&tls, "openssl.cnf", "client.key"), "which sslclientcert names, holds no"),
        (files(&tls, "client.pem", "client.key").replace("/ca.pem", "/other.pem"), "no TLS with"),
    ] {
        write_waybill(&site, &tls, &more);
        let failure = run(&site, &tls.file("ca.pem"), &["sync"]).expect_err("it was taken");
        assert_eq!(failure.exit_code, 1, "{more}: {failure:?}");
        assert!(failure.stderr.contains(said), "{said:?} is not in {failure:?}");
    }
}

#[test]
fn a_pinned_file_stays_until_it_is_refreshed_by_name() {
    let Some(tls) = Tls::start() else { return };
    let site = Site::new();
    let host = tls.open.trim_start_matches("https://").to_owned();
    tls.put("tool", "one");
    site.outside.write("files.list", format!("{}/tool\n", tls.open));
    site.outside.write_waybill("  lists: {files: files.list}\n");
    let sync = |more: &[&str]| run(&site, &tls.file("ca.pem"), &[&["sync"], more].concat());
    let blob = || {
        let lock = std::fs::read(site.outside.agent.folder.join("waybill.lock")).unwrap();
        let lock: serde_json::Value = serde_json::from_slice(&lock).unwrap();
        assert_eq!(lock["artifacts"][0]["evidence"]["method"], "transport");
        lock["artifacts"][0]["blobs"][0]["id"].as_str().unwrap().replace("sha256:", "")
    };
    let name = format!("{host}/tool");
    let early = sync(&["--refresh", &name]).expect_err("nothing was pinned yet");
    assert_eq!(early.exit_code, 1, "{early:?}");
    sync(&[]).unwrap();
    tls.put("tool", "two!");
    sync(&[]).unwrap();
    assert_eq!(blob(), sha256(b"one"), "a pinned file stays what it was");
    let slip = sync(&["--refresh", "tool"]).expect_err("no file has this name");
    assert_eq!(slip.exit_code, 1, "{slip:?}");
    assert!(slip.stderr.contains(&format!("pinned are {name}")), "{slip:?}");
    let both = sync(&["--refresh", &name, "--locked"]).expect_err("they exclude each other");
    assert_eq!(both.exit_code, 1, "{both:?}");
    assert_eq!(sync(&["--refresh", &name]).unwrap().json["fetched"], 1);
    assert_eq!(blob(), sha256(b"two!"));
    sync(&["--locked"]).unwrap();
}
