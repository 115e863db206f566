//! Rpm packages cross the gap, and a real dnf takes them from the inside as from upstream.

use std::{fs, path::Path, thread, time::Duration};

use serde_json::json;
use tests::{
    Site, Upstream,
    clients::{Client, Dnf},
    fixtures::sha256,
    process::Finished,
    rpm::{Rpm, Signer, YumRepo},
    site::Server,
};

use crate::first_transfer::apt_key;

const MODULES: &str = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: words\n  \
    stream: \"1\"\n  version: 1\n  context: c1\n  arch: x86_64\n  summary: Words\n  \
    description: >-\n    Words\n  license:\n    module: [MIT]\n  artifacts:\n    rpms:\n    \
    - words-0:1.0-1.noarch\n...\n---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  \
    module: words\n  stream: \"1\"\n...\n";

const ADVISORIES: &str = "<updates><update from=\"v\" status=\"final\" type=\"security\" \
    version=\"1\"><id>A-1</id><title>t</title><issued date=\"2026-01-01 00:00:00\"/>\
    <severity>Important</severity><description>d</description><pkglist>\
    <collection short=\"c\"><name>n</name><package name=\"app\" version=\"1.0\" release=\"1\" \
    epoch=\"0\" arch=\"noarch\" src=\"s\"><filename>app-1.0-1.noarch.rpm</filename></package>\
    </collection></pkglist></update></updates>";

/// An upstream with two repositories, and a site that one target of is supplied from both.
pub struct World {
    upstream: Upstream,
    pub site: Site,
    pub signer: Signer,
    base: YumRepo,
    extra: YumRepo,
}

impl World {
    /// None where a client that makes or takes packages is missing.
    fn new() -> Option<Self> {
        Self::made_by("createrepo_c", Client::Dnf)
    }

    /// None where `client` is missing, or what makes packages for it.
    pub fn for_client(client: Client) -> Option<Self> {
        Self::made_by("createrepo_c", client)
    }

    fn made_by(createrepo: &'static str, client: Client) -> Option<Self> {
        let usable = [client, Client::Rpm, Client::Gpg].map(Client::usable);
        if usable.contains(&false) {
            return None;
        }
        let site = Site::new();
        let mut base = YumRepo::new(&site.path("base"));
        base.group = Some("core".to_owned());
        base.createrepo = createrepo;
        if createrepo == "createrepo_c" {
            MODULES.clone_into(&mut base.modules);
            ADVISORIES.clone_into(&mut base.advisories);
        }
        let mut extra = YumRepo::new(&site.path("extra"));
        extra.group = Some("more".to_owned());
        extra.createrepo = createrepo;
        let signer = Signer::new(&site.path("signer"));
        let world = Self { upstream: Upstream::start(), site, signer, base, extra };
        world.offer("1.0");
        let words = Rpm::new("words", "1.0").file("/usr/share/words/list");
        world.base.build(
            &[Rpm::new("app", "1.0").requires("/usr/share/words/list"), words],
            &world.signer,
        );
        world.extra.build(&[Rpm::new("tool+x", "1.0")], &world.signer);
        world.put();
        Some(world)
    }

    /// Asks for `version` of the application, and for what the other repository has.
    fn offer(&self, version: &str) {
        let url = self.upstream.url();
        self.site.outside.write("vendor.asc", self.signer.public_key());
        let line = |root: &str, package: &str| {
            format!(
                "    - {{baseurl: \"{url}/{root}\", packages: [\"{package}\"], arch: x86_64, \
                 releasever: \"9\", target: el9, gpgKey: vendor.asc, repoGpgcheck: true}}\n"
            )
        };
        let lines = line("base", &format!("app-{version}")) + &line("extra", "tool+x");
        self.site.outside.write_waybill(&format!("  yum:\n{lines}"));
    }

    /// Carries a second round, in which there is a newer application.
    pub fn carry_second(&self) {
        self.base.build(&[Rpm::new("app", "2.0")], &self.signer);
        self.put();
        self.offer("2.0");
        self.site.carry();
    }

    fn put(&self) {
        self.base.put(&self.upstream, "/base");
        self.extra.put(&self.upstream, "/extra");
    }

    fn dnf(&self, server: &Server, folder: &Path) -> Dnf {
        let keys = [apt_key(server), self.signer.public_key()];
        Dnf::new(folder, &format!("{}/yum/el9", server.url), &[&keys[0], &keys[1]])
    }
}

pub fn done(finished: Finished) -> String {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

/// The packages that dnf sees after it looked for newer metadata.
fn seen(dnf: &Dnf) -> Vec<String> {
    let names = done(dnf.run(&["-q", "--refresh", "repoquery", "--qf", "%{name}-%{version}"]));
    names.lines().map(str::to_owned).collect()
}

/// The second that stands in the head.
pub fn revision(server: &Server) -> i64 {
    let head = server.get("/yum/el9/repodata/repomd.xml");
    let text = String::from_utf8(head.body).unwrap();
    let (_, rest) = text.split_once("<revision>").unwrap();
    rest.split_once('<').unwrap().0.parse().unwrap()
}

/// Waits until a running server shows a head later than `before`.
pub fn wait_for_switch(server: &Server, before: i64) -> i64 {
    for _ in 0..100 {
        let now = revision(server);
        if before < now {
            return now;
        }
        assert_eq!(now, before, "a head went back");
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the server did not switch\n{}", server.log());
}

#[test]
fn dnf_installs_after_the_next_import_what_its_log_said_it_lacks() {
    let Some(world) = World::new() else { return };
    let spare = [Rpm::new("tool+x", "1.0"), Rpm::new("spare", "1.0")];
    world.extra.build(&spare, &world.signer);
    world.put();
    world.site.carry();
    let (inside, outside) = (&world.site.inside, &world.site.outside);
    let server = inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let dnf = world.dnf(&server, folder.path());
    let failed = dnf.run(&["install", "spare"]);
    assert_eq!(failed.exit_code, 1, "{}", failed.stdout);
    let log = inside.agent.folder.join("dnf.log");
    fs::write(&log, failed.stdout + &failed.stderr).unwrap();
    let told = inside.agent.run(&["want", "--from-log", log.to_str().unwrap()]).unwrap().json;
    assert_eq!(told["wants"], json!([{"kind": "rpm", "name": "spare", "state": "new"}]));
    world.site.inventory_home().unwrap();
    outside.sync().unwrap();
    let plan = outside.plan().unwrap().json;
    let new: Vec<_> = plan["new"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(new, ["el9/spare-1.0-1.noarch"]);
    let before = revision(&server);
    inside.import(&outside.export().unwrap()).unwrap();
    wait_for_switch(&server, before);
    done(dnf.run(&["--refresh", "install", "spare"]));
    assert_eq!(installed(&dnf, "spare"), "spare-1.0");
}

/// Name and version of a package, as the root's own database has it.
fn installed(dnf: &Dnf, package: &str) -> String {
    done(dnf.run(&["-q", "repoquery", "--installed", "--qf", "%{name}-%{version}", package]))
        .trim()
        .to_owned()
}

#[test]
fn dnf_installs_from_the_inside_what_two_upstreams_signed() {
    let Some(world) = World::new() else { return };
    world.site.carry();
    let status = world.site.inside.status();
    assert_eq!(status["artifacts"]["rpm"], 3, "documents and keys are no packages: {status}");
    let yum = json!({"el9": {"packages": 3, "keys": [world.signer.fingerprint()]}});
    assert_eq!(status["yum"], yum);
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let dnf = world.dnf(&server, folder.path());
    done(dnf.run(&["makecache"]));
    assert_eq!(seen(&dnf), ["app-1.0", "tool+x-1.0", "words-1.0"]);
    let listed = done(dnf.run(&["-q", "repoquery", "-l", "words"]));
    assert_eq!(listed, "/usr/share/words/file\n/usr/share/words/list\n");
    let changes = done(dnf.run(&["-q", "repoquery", "--changelogs", "app"]));
    assert!(changes.contains("- Came to 1.0"), "{changes}");
    let groups = done(dnf.run(&["group", "list"]));
    assert!(groups.contains("core") && groups.contains("more"), "{groups}");
    let modules = done(dnf.run(&["module", "list"]));
    assert!(modules.contains("words") && modules.contains("[d]"), "{modules}");
    done(dnf.run(&["install", "app", "tool+x"]));
    for path in ["usr/share/app/file", "usr/share/words/list", "usr/share/tool+x/file"] {
        assert!(dnf.root().join(path).is_file(), "{path}");
    }
    let advisories = done(dnf.run(&["updateinfo", "list", "--all"]));
    assert!(advisories.contains("A-1"), "{advisories}");
}

#[test]
fn dnf_reads_metadata_that_are_packed_as_upstream_packs_its_own() {
    if !Client::Createrepo1.usable() {
        return;
    }
    let Some(world) = World::made_by("createrepo_c1", Client::Dnf) else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    let head = String::from_utf8(server.get("/yum/el9/repodata/repomd.xml").body).unwrap();
    assert_eq!(head.matches(".zst\"/>").count(), 3, "primary, filelists, other: {head}");
    assert!(!head.contains(".gz"), "{head}");
    let folder = tempfile::tempdir().unwrap();
    let dnf = world.dnf(&server, folder.path());
    assert_eq!(seen(&dnf), ["app-1.0", "tool+x-1.0", "words-1.0"]);
    let groups = done(dnf.run(&["group", "list"]));
    assert!(groups.contains("core") && groups.contains("more"), "{groups}");
    done(dnf.run(&["install", "app", "tool+x"]));
}

#[test]
fn dnf_knows_no_key_but_those_that_the_inside_serves() {
    let Some(world) = World::new() else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    let (url, fingerprint) = (&server.url, world.signer.fingerprint());
    let vendor = format!("{url}/yum/el9/keys/{fingerprint}.asc");
    let page = String::from_utf8(server.get("/").body).unwrap();
    assert!(page.contains(&format!("gpgkey={url}/keys/site.asc {vendor}")), "{page}");
    let key = server.get(&format!("/yum/el9/keys/{fingerprint}.asc"));
    assert_eq!(String::from_utf8(key.body).unwrap(), world.signer.public_key());

    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (site, uri) = (format!("{url}/keys/site.asc"), format!("{url}/yum/el9"));
    let dnf = Dnf::with_key_urls(folders[0].path(), &uri, &[&site, &vendor]);
    done(dnf.run(&["install", "app", "tool+x"]));
    assert!(dnf.root().join("usr/share/tool+x/file").is_file());
    let without = Dnf::with_key_urls(folders[1].path(), &uri, &[&site]);
    done(without.run(&["makecache"]));
    assert_ne!(without.run(&["install", "app"]).exit_code, 0, "packages of an unknown key");
}

#[test]
fn a_key_that_the_store_lost_is_taken_from_its_file_again() {
    let Some(world) = World::new() else { return };
    let outside = &world.site.outside;
    outside.sync().unwrap();
    let blob = sha256(world.signer.public_key().as_bytes());
    let store = outside.agent.home().join("store/blobs/sha256").join(&blob[..2]).join(&blob[2..4]);
    fs::remove_file(store.join(&blob)).unwrap();
    outside.agent.run(&["sync", "-f", "waybill.yaml", "--locked"]).unwrap();
    assert!(store.join(&blob).is_file());
}

#[test]
fn dnf_takes_packages_bit_for_bit_and_refuses_what_another_key_signed() {
    let Some(world) = World::new() else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let dnf = world.dnf(&server, folder.path());
    let taken = dnf.taken();
    done(dnf.run(&["download", "--destdir", taken.to_str().unwrap(), "app", "tool+x"]));
    for (root, name) in [("base", "app-1.0-1"), ("extra", "tool+x-1.0-1")] {
        let path = format!("{root}/repo/Packages/{name}.noarch.rpm");
        let upstreams = fs::read(world.site.path(&path)).unwrap();
        let ours = fs::read(taken.join(format!("{name}.noarch.rpm"))).unwrap();
        assert_eq!(sha256(&ours), sha256(&upstreams), "{name}");
    }
    let foreign = Signer::new(&world.site.path("foreign")).public_key();
    let uri = format!("{}/yum/el9", server.url);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let site_key = apt_key(&server);
    let no_metadata = Dnf::new(folders[0].path(), &uri, &[&foreign]);
    assert_ne!(no_metadata.run(&["makecache"]).exit_code, 0, "metadata of an unknown key");
    let no_packages = Dnf::new(folders[1].path(), &uri, &[&site_key, &foreign]);
    done(no_packages.run(&["makecache"]));
    assert_ne!(no_packages.run(&["install", "tool+x"]).exit_code, 0, "packages of another key");
}

#[test]
fn dnf_sees_the_older_packages_after_a_rollback_and_the_newer_again() {
    let Some(world) = World::new() else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let dnf = world.dnf(&server, folder.path());
    let older = ["app-1.0", "tool+x-1.0", "words-1.0"];
    assert_eq!(seen(&dnf), older);
    let first = revision(&server);

    world.carry_second();
    let second = wait_for_switch(&server, first);
    // A client that has not looked again takes what its old metadata name.
    let taken = dnf.taken();
    done(dnf.run(&["download", "--destdir", taken.to_str().unwrap(), "words"]));
    let newer = seen(&dnf);
    assert!(newer.contains(&"app-2.0".to_owned()), "{newer:?}");

    world.site.inside.rollback(1).unwrap();
    let third = wait_for_switch(&server, second);
    assert_eq!(seen(&dnf), older);
    world.site.inside.rollback(2).unwrap();
    wait_for_switch(&server, third);
    assert_eq!(seen(&dnf), newer);
    done(dnf.run(&["install", "app-2.0"]));
}

#[test]
fn a_package_that_is_not_held_is_wanted() {
    let Some(world) = World::new() else { return };
    world.site.carry();
    let server = world.site.inside.serve();
    assert_eq!(server.get("/yum/el9/Packages/strace-6.1-1.el9.x86_64.rpm").status, 404);
    let wants = fs::read_to_string(world.site.inside.agent.home().join("state/wants.log"));
    let wants = wants.unwrap();
    let wanted =
        "{\"kind\":\"rpm\",\"name\":\"el9/strace-6.1-1.el9.x86_64\",\"client\":\"127.0.0.1\",";
    assert!(wants.starts_with(wanted) && wants.lines().count() == 1, "{wants}");
}
