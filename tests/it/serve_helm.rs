//! Charts cross the gap, and a real helm takes them from the inside as from upstream.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tests::{
    Site, Upstream,
    clients::{Client, Helm},
    fixtures::sha256,
    process::Finished,
    rpm::Signer,
};

/// What Chart.yaml may say, with what is hard to write in YAML.
const CHART: &str = "apiVersion: v2\nname: web\nversion: VERSION\nappVersion: \"1.10\"\n\
    description: |\n  Serves \"pages\"\n  of all: sorts # really\ntype: application\n\
    kubeVersion: \">=1.25.0-0\"\nhome: https://web.example\nicon: https://web.example/i.png\n\
    keywords: [web, \"2\", yes]\nsources: [https://s.example]\n\
    maintainers:\n- {name: Zoë, email: z@web.example}\n\
    annotations:\n  web.example/kind: \"true\"\n  web.example/notes: |\n    - one\n    - two\n\
    dependencies:\n- name: db\n  version: ^1\n  condition: db.on\n  tags: [t]\n  \
    import-values: [x, {child: a, parent: b}]\n";

/// An upstream repository with the signed versions of one chart, and a site supplied from it.
struct World {
    upstream: Upstream,
    site: Site,
    helm: Helm,
    folder: PathBuf,
    public: PathBuf,
    secret: PathBuf,
}

impl World {
    /// None where helm or gpg is missing.
    fn new() -> Option<Self> {
        if [Client::Helm, Client::Gpg].map(Client::usable).contains(&false) {
            return None;
        }
        let site = Site::new();
        let (public, secret) = Signer::new(&site.path("signer")).keyrings();
        let folder = site.path("charts");
        fs::create_dir_all(&folder).unwrap();
        let helm = Helm::new(&site.path("helm-upstream"));
        Some(Self { upstream: Upstream::start(), site, helm, folder, public, secret })
    }

    /// Packs and signs a version, and offers the repository with it.
    fn offer(&self, version: &str) {
        let source = self.site.path("web");
        let sub = source.join("charts/db");
        for (folder, chart) in [
            (&source, CHART.replace("VERSION", version)),
            (&sub, "apiVersion: v2\nname: db\nversion: 1.0.0\n".to_owned()),
        ] {
            fs::create_dir_all(folder.join("templates")).unwrap();
            fs::write(folder.join("Chart.yaml"), chart).unwrap();
        }
        let (folder, secret) = (text(&self.folder), text(&self.secret));
        let sign = ["--sign", "--key", "Vendor", "--keyring", secret];
        done(self.helm.run(&[&["package", text(&source), "-d", folder], &sign[..]].concat()));
        done(self.helm.run(&["repo", "index", folder]));
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            self.upstream.put(&format!("/stable/{name}"), fs::read(&path).unwrap());
        }
    }

    /// Asks for these versions.
    fn ask(&self, versions: &[&str]) {
        let url = self.upstream.url();
        self.site.outside.write("public.gpg", fs::read(&self.public).unwrap());
        let lines: String = versions
            .iter()
            .map(|version| {
                format!(
                    "    - {{repo: \"{url}/stable\", name: web, version: \"{version}\", \
                     keyring: public.gpg}}\n"
                )
            })
            .collect();
        self.site.outside.write_waybill(&format!("  charts:\n{lines}"));
    }

    /// Where the inside serves the repository, below its root.
    fn path(&self) -> String {
        format!("/helm/{}/stable", self.upstream.host())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn done(finished: Finished) -> String {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

/// The versions of the chart that helm finds.
fn versions(helm: &Helm) -> Vec<String> {
    done(helm.run(&["repo", "update"]));
    let found = done(helm.run(&["search", "repo", "site/", "-l", "--devel", "-o", "json"]));
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    found.iter().map(|chart| chart["version"].as_str().unwrap().to_owned()).collect()
}

/// An index as helm itself writes it, without the time at which it did.
fn rewritten(helm: &Helm, folder: &Path, index: &[u8]) -> String {
    fs::create_dir_all(folder).unwrap();
    let given = folder.join("given.yaml");
    fs::write(&given, index).unwrap();
    done(helm.run(&["repo", "index", text(folder), "--merge", text(&given)]));
    let written = fs::read_to_string(folder.join("index.yaml")).unwrap();
    let lines = written.lines().filter(|line| !line.starts_with("generated:"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn helm_finds_pulls_and_verifies_what_crossed() {
    let Some(world) = World::new() else { return };
    world.offer("1.0.0");
    world.offer("1.1.0+b.1");
    world.ask(&["1.0.0", "1.1.0+b.1"]);
    world.site.carry();
    assert_eq!(world.site.inside.status()["artifacts"]["chart"], 2);
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let helm = Helm::new(folder.path());
    let repository = format!("{}{}", server.url, world.path());
    done(helm.run(&["repo", "add", "site", &repository]));
    assert_eq!(versions(&helm), ["1.1.0+b.1", "1.0.0"]);
    let found = done(helm.run(&["search", "repo", "site/web", "-o", "json"]));
    let expected = json!([{
        "name": "site/web", "version": "1.1.0+b.1", "app_version": "1.10",
        "description": "Serves \"pages\" of all: sorts # really ",
    }]);
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
    for version in ["1.0.0", "1.1.0+b.1"] {
        let keyring = text(&world.public);
        let verified = ["--verify", "--keyring", keyring, "--version", version];
        done(helm.run(&[&["pull", "site/web"], &verified[..]].concat()));
        let name = format!("web-{version}.tgz");
        let upstreams = fs::read(world.folder.join(&name)).unwrap();
        assert_eq!(sha256(&fs::read(folder.path().join(&name)).unwrap()), sha256(&upstreams));
    }
    let foreign = Signer::new(&world.site.path("foreign")).keyrings().0;
    let pull = ["pull", "site/web", "--verify", "--keyring", text(&foreign)];
    assert_ne!(helm.run(&pull).exit_code, 0, "a chart that another key signed");
}

#[test]
fn the_index_says_what_helms_own_index_said() {
    let Some(world) = World::new() else { return };
    world.offer("1.0.0");
    world.ask(&["1.0.0"]);
    world.site.carry();
    let server = world.site.inside.serve();
    let ours = server.get(&format!("{}/index.yaml", world.path())).body;
    let upstreams = fs::read(world.folder.join("index.yaml")).unwrap();
    let [ours, upstreams] = [("ours", &ours), ("theirs", &upstreams)]
        .map(|(name, index)| rewritten(&world.helm, &world.site.path(name), index));
    assert_eq!(ours, upstreams);
    assert!(ours.contains("web.example/notes"), "{ours}");
}

#[test]
fn a_chart_stays_after_a_switch_and_helm_sees_the_older_index_after_a_rollback() {
    let Some(world) = World::new() else { return };
    world.offer("1.0.0");
    world.ask(&["1.0.0"]);
    world.site.carry();
    world.offer("2.0.0");
    world.ask(&["2.0.0"]);
    world.site.carry();
    let folder = tempfile::tempdir().unwrap();
    let helm = Helm::new(folder.path());
    {
        let server = world.site.inside.serve();
        done(helm.run(&["repo", "add", "site", &format!("{}{}", server.url, world.path())]));
        assert_eq!(versions(&helm)[0], "2.0.0");
        assert_eq!(server.get(&format!("{}/web-1.0.0.tgz", world.path())).status, 200);
        assert_eq!(server.get(&format!("{}/web-3.0.0.tgz", world.path())).status, 404);
    }
    world.site.inside.rollback(1).unwrap();
    let server = world.site.inside.serve();
    let repository = format!("{}{}", server.url, world.path());
    done(helm.run(&["repo", "add", "--force-update", "site", &repository]));
    assert_eq!(versions(&helm), ["1.0.0"]);
    let wants = fs::read_to_string(world.site.inside.agent.home().join("state/wants.log"));
    let name = format!("{}/stable/web-3.0.0", world.upstream.host());
    let wants = wants.unwrap();
    let wanted = format!("{{\"kind\":\"chart\",\"name\":\"{name}\",\"client\":\"127.0.0.1\",");
    assert!(wants.starts_with(&wanted) && wants.lines().count() == 1, "{wants}");
}
