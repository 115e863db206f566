//! Before an upgrade leaves, every release on its way has all that Kubespray asks for there.
//!
//! Two releases of the small tree of our own stand for Kubespray's: 9.8 with Kubernetes 1.34 and
//! 9.9 with 1.35, each with requirements of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tests::{
    Site, Upstream,
    fixtures::{AptRepo, Deb, Image, Wheel, sha256},
    site::{Failure, Outcome},
};

const IMAGES: [(&str, &[&str]); 6] = [
    ("k8s/kube-apiserver", &["v1.34.0", "v1.35.4"]),
    ("k8s/kube-controller-manager", &["v1.34.0", "v1.35.4"]),
    ("k8s/kube-proxy", &["v1.34.0", "v1.35.4"]),
    ("k8s/kube-scheduler", &["v1.34.0", "v1.35.4"]),
    ("k8s/static", &["2-r7"]),
    ("k8s/static-lean", &["2-r7"]),
];

const FILES: [(&str, &str); 6] = [
    ("etcd-v3.5.26-amd64.tar.gz", "etcd 3.5"),
    ("etcd-v3.6.10-amd64.tar.gz", "etcd 3.6"),
    ("v1.34.0/amd64/kubelet", "kubelet 1.34"),
    ("v1.35.4/amd64/kubelet", "kubelet 1.35"),
    ("crds.yaml", "kind: List"),
    ("skopeo-amd64", "skopeo"),
];

/// The hops that the releases of the route are needed for.
const HOPS: [&str; 2] = ["9.8→9.9 current", "9.8→9.9 target"];

/// A site on its way from 9.8 to 9.9.
struct Upgrade {
    upstream: Upstream,
    site: Site,
}

impl Upgrade {
    fn new() -> Self {
        let upgrade = Self { upstream: Upstream::start(), site: Site::new() };
        upgrade.trees();
        upgrade.offer();
        upgrade.settings();
        upgrade
    }

    fn folder(&self) -> &Path {
        &self.site.outside.agent.folder
    }

    fn trees(&self) {
        let small =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-outside/testdata/kubespray"));
        copy(&small.join("inventory"), &self.folder().join("inventory"));
        for (release, ansible) in [("9.8", "1.0"), ("9.9", "2.0")] {
            let tree = self.folder().join(format!("kubespray-{release}.0"));
            copy(&small.join("tree"), &tree);
            let galaxy = format!("namespace: example\nname: small\nversion: {release}.0\n");
            fs::write(tree.join("galaxy.yml"), galaxy).unwrap();
            fs::write(tree.join("requirements.txt"), format!("ansible=={ansible}\n")).unwrap();
            let mut archive = tar::Builder::new(GzEncoder::new(vec![], Compression::fast()));
            archive.append_dir_all(tree.file_name().unwrap(), &tree).unwrap();
            let archive = archive.into_inner().unwrap().finish().unwrap();
            let path = "/kubernetes-sigs/kubespray/archive/refs/tags";
            self.upstream.put(&format!("{path}/v{release}.0.tar.gz"), archive);
        }
    }

    fn offer(&self) {
        for (name, text) in FILES {
            self.upstream.put(&format!("/files/{name}"), text);
        }
        for (name, tags) in IMAGES {
            for tag in tags {
                self.upstream.put_image(name, tag, &Image::new(format!("{name}:{tag}").as_bytes()));
            }
        }
        for release in ["9.8", "9.9"] {
            let runner = Image::new(release.as_bytes());
            self.upstream.put_image("kubespray/kubespray", &format!("v{release}.0"), &runner);
        }
        for (project, version) in [
            ("ansible", "1.0"),
            ("ansible", "2.0"),
            ("pip", "1"),
            ("setuptools", "1"),
            ("wheel", "1"),
        ] {
            self.upstream.put_pypi(Wheel::new(project, version).make());
        }
        let mut repo = AptRepo::new("trixie");
        let packages = ["conntrack", "curl", "iputils-ping", "ipvsadm", "python3-minimal"];
        repo.debs = packages.map(|name| Deb::new(name, "1.0-1")).into();
        self.upstream.put_apt(&repo);
        self.site.outside.write("upstream.asc", repo.public_key());
    }

    fn settings(&self) {
        let (url, host) = (self.upstream.url(), self.upstream.host());
        let outside = &self.site.outside;
        let sum = |at: usize| format!("sha256:{}", sha256(FILES[at].1.as_bytes()));
        outside.write(
            "extra.yml",
            format!(
                "mirror: {url}\nkube_image_repo: {host}/k8s\nkubelet_checksums:\n  amd64:\n    \
                 1.34.0: {}\n    1.35.4: {}\netcd_checksums:\n  amd64:\n    3.6.10: {}\n    \
                 3.5.26: {}\nskopeo_checksums: {{amd64: {{1.20.0: {}}}}}\n\
                 plain_checksums: {{no_arch: {{1.10: {}}}}}\n",
                sum(2),
                sum(3),
                sum(1),
                sum(0),
                sum(5),
                sum(4)
            ),
        );
        let pip = outside.agent.user_home().join(".config/pip");
        fs::create_dir_all(&pip).unwrap();
        let index = format!("[global]\nindex-url = {url}/simple/\n");
        fs::write(pip.join("pip.conf"), index).unwrap();
        let config = outside.agent.home().join("config.toml");
        let mut text = fs::read_to_string(&config).unwrap_or_default();
        for from in ["https://github.com", "https://quay.io"] {
            text += &format!("\n[[mirror]]\nfrom = \"{from}\"\nto = \"{url}\"\n");
        }
        fs::write(&config, text).unwrap();
    }

    /// A `kubespray:` line.
    fn line(&self, release: &str, kube: &str) -> String {
        let url = self.upstream.url();
        format!(
            "    - tree: kubespray-{release}.0\n      inventory: inventory/hosts.ini\n      \
             extraVars: [extra.yml, kube_version={kube}]\n      \
             nodes: [{{os: debian-13, arch: amd64}}]\n      insecure: true\n      \
             repositories:\n        debian-13: {{apt: [{{uri: \"{url}/apt\", suite: trixie, \
             signedBy: upstream.asc}}]}}\n"
        )
    }

    fn sync(&self, keep: u32, lines: &[String]) {
        let spec = format!("  keep: {keep}\n  kubespray:\n{}", lines.concat());
        self.site.outside.write_waybill(&spec);
        self.site.outside.sync().unwrap();
    }

    fn run(&self, args: &[&str]) -> Result<Outcome, Failure> {
        self.site.outside.agent.run(&[&["check", "--route", "9.8→9.9"], args].concat())
    }

    /// What is missing, as hop, kind and name; and how it ended.
    fn missing(&self, args: &[&str]) -> (Vec<[String; 3]>, i32) {
        let (said, exit_code) = match self.run(args) {
            Ok(outcome) => (outcome.json, outcome.exit_code),
            Err(failure) => (failure.json(), failure.exit_code),
        };
        let row = |row: &Value| {
            ["hop", "kind", "name"].map(|key| row[key].as_str().unwrap_or_default().to_owned())
        };
        let missing = said["missing"].as_array().unwrap_or_else(|| panic!("{said}"));
        (missing.iter().map(row).collect(), exit_code)
    }

    fn lock(&self) -> PathBuf {
        let locks = self.site.outside.agent.home().join("locks/test");
        let names = fs::read_dir(locks).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|end| end == "lock")).max().unwrap()
    }

    /// Forgets the artifacts whose name has this in it, and gives the lock as it was.
    fn forget(&self, part: &str) -> Vec<u8> {
        let before = fs::read(self.lock()).unwrap();
        let mut lock: Value = serde_json::from_slice(&before).unwrap();
        let artifacts = lock["artifacts"].as_array_mut().unwrap();
        let count = artifacts.len();
        artifacts.retain(|artifact| !artifact["name"].as_str().unwrap().contains(part));
        assert!(artifacts.len() < count, "nothing has {part} in its name");
        fs::write(self.lock(), serde_json::to_vec_pretty(&lock).unwrap()).unwrap();
        before
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn row(hop: &str, kind: &str, name: &str) -> [String; 3] {
    [hop, kind, name].map(str::to_owned)
}

#[test]
fn what_any_release_of_a_route_asks_for_is_missed_by_name_and_hop() {
    let upgrade = Upgrade::new();
    upgrade.sync(0, &[upgrade.line("9.8", "1.34.0"), upgrade.line("9.9", "1.35.4")]);
    assert_eq!(upgrade.missing(&[]), (vec![], 0));
    let host = upgrade.upstream.host();
    // An image is asked for by all lines together, anything else by each line.
    let both = &*HOPS.join(", ");
    let table: [(&str, &[&str], &str, String); 8] = [
        (
            "v1.34.0/amd64/kubelet",
            &HOPS[..1],
            "file",
            format!("{host}/files/v1.34.0/amd64/kubelet"),
        ),
        (
            "v1.35.4/amd64/kubelet",
            &HOPS[1..],
            "file",
            format!("{host}/files/v1.35.4/amd64/kubelet"),
        ),
        ("kube-proxy:v1.34.0", &HOPS[..1], "image", format!("{host}/k8s/kube-proxy:v1.34.0")),
        ("kubespray:v9.9.0", &HOPS[1..], "image", "quay.io/kubespray/kubespray:v9.9.0".to_owned()),
        ("ansible-1.0", &HOPS[..1], "pypi", "ansible".to_owned()),
        ("ansible-2.0", &HOPS[1..], "pypi", "ansible".to_owned()),
        ("static:2-r7", &[both], "image", format!("{host}/k8s/static:2-r7")),
        ("conntrack", &HOPS, "deb", "conntrack".to_owned()),
    ];
    for (forgotten, hops, kind, name) in table {
        let before = upgrade.forget(forgotten);
        let rows: Vec<_> = hops.iter().map(|hop| row(hop, kind, &name)).collect();
        assert_eq!(upgrade.missing(&[]), (rows, 2), "{forgotten}");
        fs::write(upgrade.lock(), before).unwrap();
    }
}

#[test]
fn a_release_whose_tree_is_nowhere_is_named_with_what_to_do() {
    let upgrade = Upgrade::new();
    upgrade.sync(0, &[upgrade.line("9.9", "1.35.4")]);
    let failure = upgrade.run(&[]).unwrap_err();
    let said = failure.json();
    assert_eq!((said["missing"].as_array().map(Vec::len), failure.exit_code), (Some(1), 2));
    assert_eq!(
        said["missing"][0],
        json!({
            "kind": "tree", "name": "kubespray 9.8", "needed_by": "the route",
            "reason": "no tree of it is at hand, so nothing that it asks for is checked: add a \
                       `kubespray:` line with it and sync, or name it with --tree 9.8=PATH",
            "line": null, "in_waybill": false, "waybill": null, "hop": HOPS[0],
        })
    );
    let skipped = upgrade.run(&["--tree", "9.8=1.33.0"]).unwrap_err().json();
    let kinds: Vec<_> = skipped["missing"].as_array().unwrap().iter().map(|m| &m["kind"]).collect();
    assert_eq!(kinds, ["hop", "tree"], "{skipped}");
}

#[test]
fn a_tree_on_the_command_line_is_asked_with_the_nearest_line() {
    let upgrade = Upgrade::new();
    upgrade.sync(0, &[upgrade.line("9.9", "1.35.4")]);
    let tree = ["--tree", "9.8=kubespray-9.8.0", "--tree", "9.8=1.34.0"];
    let (missing, exit_code) = upgrade.missing(&tree);
    let host = upgrade.upstream.host();
    let archive = "github.com/kubernetes-sigs/kubespray/archive/refs/tags/v9.8.0.tar.gz";
    let image = |name: &str| format!("{host}/k8s/{name}:v1.34.0");
    let expected = [
        ("file", archive.to_owned()),
        ("file", format!("{host}/files/etcd-v3.5.26-amd64.tar.gz")),
        ("file", format!("{host}/files/v1.34.0/amd64/kubelet")),
        ("image", image("kube-apiserver")),
        ("image", image("kube-controller-manager")),
        ("image", image("kube-proxy")),
        ("image", image("kube-scheduler")),
        ("image", "quay.io/kubespray/kubespray:v9.8.0".to_owned()),
        ("pypi", "ansible".to_owned()),
        ("tree", "kubespray 9.8.0".to_owned()),
    ];
    let mut expected = expected.map(|(kind, name)| row(HOPS[0], kind, &name));
    expected.sort();
    let mut sorted = missing;
    sorted.sort();
    assert_eq!((sorted.as_slice(), exit_code), (&expected[..], 2));
    for wrong in ["9.8=kubespray-9.9.0", "9.8=nowhere", "9.8", "x=kubespray-9.8.0"] {
        let failure = upgrade.run(&["--tree", wrong]).unwrap_err();
        assert_eq!(failure.exit_code, 1, "{wrong}: {failure:?}");
    }
}

#[test]
fn a_kept_lock_brings_the_tree_of_its_release_along() {
    let upgrade = Upgrade::new();
    upgrade.sync(0, &[upgrade.line("9.8", "1.34.0")]);
    upgrade.sync(1, &[upgrade.line("9.9", "1.35.4")]);
    assert_eq!(upgrade.missing(&["--tree", "9.8=1.34.0"]), (vec![], 0));
    // The line of 9.9 says 1.35.4, of which 9.8 would need more than it brought.
    let (missing, exit_code) = upgrade.missing(&[]);
    assert_eq!((missing, exit_code), (vec![], 0));
}
