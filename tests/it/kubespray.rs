//! A Kubespray tree and an inventory become all that a cluster needs inside.
//!
//! The tree is a small one of our own; its files, images and packages are stand-ins from a local
//! server, with checksums and addresses given by extra variables.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;
use tests::{
    Site, Upstream,
    fixtures::{AptRepo, Deb, Image, sha256},
};

const PACKAGES: [&str; 5] = ["conntrack", "curl", "iputils-ping", "ipvsadm", "python3-minimal"];

/// The images below `k8s/` that the tree asks for.
const IMAGES: [(&str, &str); 6] = [
    ("kube-apiserver", "v1.34.0"),
    ("kube-controller-manager", "v1.34.0"),
    ("kube-proxy", "v1.34.0"),
    ("kube-scheduler", "v1.34.0"),
    ("static", "2-r7"),
    ("static-lean", "2-r7"),
];

fn small_tree() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-outside/testdata/kubespray");
    Path::new(folder).canonicalize().expect("the small tree is here").display().to_string()
}

/// An upstream that has all that the small tree asks for.
fn upstream(repo: &AptRepo) -> Upstream {
    let upstream = Upstream::start();
    for (path, bytes) in files() {
        upstream.put(path, bytes);
    }
    for (name, tag) in IMAGES {
        upstream.put_image(&format!("k8s/{name}"), tag, &Image::new(name.as_bytes()));
    }
    upstream.put_image("kubespray/kubespray", "v9.9.0", &Image::new(b"runner"));
    upstream.put_apt(repo);
    upstream
}

fn files() -> [(&'static str, &'static [u8]); 4] {
    [
        ("/files/etcd-v3.5.26-amd64.tar.gz", b"etcd 3.5"),
        ("/files/v1.34.0/amd64/kubelet", b"kubelet"),
        // A role fetches it on workers, where the entry of the list names the control plane.
        ("/files/skopeo-amd64", b"skopeo"),
        ("/kubernetes-sigs/kubespray/archive/refs/tags/v9.9.0.tar.gz", b"the playbooks"),
    ]
}

fn repository() -> AptRepo {
    let mut repo = AptRepo::new("trixie");
    repo.debs = PACKAGES.map(|name| Deb::new(name, "1.0-1")).into();
    repo
}

/// A site whose waybill has one Kubespray line; `kubelet` is the checksum that it expects.
fn site(upstream: &Upstream, repo: &AptRepo, kubelet: &str) -> Site {
    let site = Site::new();
    let (url, host, folder) = (upstream.url(), upstream.host(), small_tree());
    let extra = format!(
        "mirror: {url}\nkube_image_repo: {host}/k8s\nkubelet_checksums:\n  amd64:\n    \
         1.34.0: sha256:{kubelet}\netcd_checksums:\n  amd64:\n    3.5.26: sha256:{}\nskopeo_checksums:\n  amd64:\n    1.20.0: sha256:{}\n",
        sha256(b"etcd 3.5"),
        sha256(b"skopeo"),
    );
    site.outside.write("extra.yml", extra);
    site.outside.write("upstream.asc", repo.public_key());
    let config = site.outside.agent.home().join("config.toml");
    let mut text = std::fs::read_to_string(&config).unwrap_or_default();
    for from in ["https://github.com", "https://quay.io"] {
        write!(text, "\n[[mirror]]\nfrom = \"{from}\"\nto = \"{url}\"\n").unwrap();
    }
    std::fs::write(&config, text).unwrap();
    site.outside.write_waybill(&format!(
        r#"  kubespray:
    - tree: {folder}/tree
      inventory: {folder}/inventory/hosts.ini
      extraVars: [extra.yml]
      nodes: [{{os: debian-13, arch: amd64}}]
      runner: image
      repositories:
        debian-13: {{apt: [{{uri: "{url}/apt", suite: trixie, signedBy: upstream.asc}}]}}
"#
    ));
    site
}

#[test]
fn a_tree_and_an_inventory_lead_to_all_that_a_cluster_needs() {
    let repo = repository();
    let upstream = upstream(&repo);
    let site = site(&upstream, &repo, &sha256(b"kubelet"));
    site.carry();
    let status = site.inside.status();
    let count = |kind: &str| status["artifacts"][kind].as_u64().unwrap_or_default();
    let (packages, images) = (PACKAGES.len() as u64, IMAGES.len() as u64 + 1);
    assert_eq!((count("file"), count("image"), count("deb")), (4, images, packages), "{status}");
    let server = site.inside.serve();
    let host = upstream.host();
    let kubelet = server.get(&format!("/files/{host}/files/v1.34.0/amd64/kubelet"));
    assert_eq!((kubelet.status, kubelet.body.as_slice()), (200, &b"kubelet"[..]));
    let source = "/files/github.com/kubernetes-sigs/kubespray/archive/refs/tags/v9.9.0.tar.gz";
    assert_eq!(server.get(source).body, b"the playbooks");
    assert_eq!(server.get("/v2/k8s/kube-proxy/manifests/v1.34.0").status, 200);
    assert_eq!(server.get("/v2/kubespray/kubespray/manifests/v9.9.0").status, 200);
}

#[test]
fn the_tree_is_named_in_plan_export_and_status_and_a_rollback_brings_it_back() {
    let repo = repository();
    let upstream = upstream(&repo);
    let site = site(&upstream, &repo, &sha256(b"kubelet"));
    site.outside.sync().unwrap();
    let plan = site.outside.plan().unwrap().json["kubespray"].clone();
    assert_eq!(plan[0]["version"], "9.9.0", "{plan}");
    let stick = site.carry();
    assert_eq!(stick.report["kubespray"], plan);
    assert_eq!(site.inside.status()["kubespray"], plan);

    let url = upstream.url();
    let kubelet = format!("{url}/files/v1.34.0/amd64/kubelet");
    site.outside.write_waybill(&format!(
        "  keep: 0\n  files: [{{url: \"{kubelet}\", sha256: {}}}]\n",
        sha256(b"kubelet")
    ));
    site.carry();
    assert_eq!(site.inside.status()["kubespray"], serde_json::json!([]));
    site.inside.rollback(1).unwrap();
    assert_eq!(site.inside.status()["kubespray"], plan);
}

#[test]
fn a_lock_notices_another_tree_inventory_and_extra_variables() {
    let repo = repository();
    let upstream = upstream(&repo);
    let site = site(&upstream, &repo, &sha256(b"kubelet"));
    let folder = site.outside.agent.folder.clone();
    let mut copy = std::process::Command::new("cp");
    let copied = tests::process::run(copy.args(["-r", &small_tree(), "."]).current_dir(&folder));
    assert_eq!(copied.exit_code, 0, "{}", copied.stderr);
    let waybill = std::fs::read_to_string(folder.join("waybill.yaml")).unwrap();
    site.outside.write("waybill.yaml", waybill.replace(&small_tree(), "./kubespray"));
    site.outside.sync().unwrap();
    let locked = || site.outside.agent.run(&["sync", "--locked", "-f", "waybill.yaml"]);
    locked().unwrap();
    for (path, named) in [
        ("kubespray/tree/roles/download/notes.yml", "./kubespray/tree"),
        ("kubespray/inventory/group_vars/all/main.yml", "./kubespray/inventory/hosts.ini"),
        ("extra.yml", "extra.yml"),
    ] {
        let before = std::fs::read(folder.join(path)).ok();
        std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        let more = [before.clone().unwrap_or_default(), b"\n# a note\n".to_vec()].concat();
        site.outside.write(path, more);
        let refused = locked().expect_err("another input was taken");
        assert_eq!(refused.exit_code, 1, "{refused:?}");
        assert!(refused.stderr.contains(&format!("{named} (changed)")), "{refused:?}");
        match before {
            Some(bytes) => drop(site.outside.write(path, bytes)),
            None => std::fs::remove_file(folder.join(path)).unwrap(),
        }
    }
    locked().unwrap();
}

#[test]
fn a_file_that_is_not_what_kubespray_says_is_refused() {
    let repo = repository();
    let upstream = upstream(&repo);
    let site = site(&upstream, &repo, &sha256(b"another kubelet"));
    let failure = site.outside.sync().expect_err("a kubelet with a wrong checksum was taken");
    assert_eq!(failure.exit_code, 3, "{failure:?}");
    assert!(failure.stderr.contains("kubelet"), "{failure:?}");
}

#[test]
fn every_problem_of_an_inventory_is_told_at_once() {
    let repo = repository();
    let upstream = upstream(&repo);
    let site = site(&upstream, &repo, &sha256(b"kubelet"));
    site.outside.write("extra.yml", "mirror: \"{{ nowhere }}\"\nkube_image_repo: \"{{ lost }}\"\n");
    let failure = site.outside.sync().expect_err("variables without a value were taken");
    assert_eq!(failure.exit_code, 1, "{failure:?}");
    for variable in ["nowhere", "lost"] {
        assert!(failure.stderr.contains(variable), "{variable}: {failure:?}");
    }
}

#[test]
fn the_question_needs_no_home_and_prints_rows_for_other_tools() {
    let site = Site::new();
    let folder = small_tree();
    let nodes = site.outside.write("nodes.json", r#"{"nodes": [{"os": "debian-13"}]}"#);
    let (tree, inventory) = (format!("{folder}/tree"), format!("{folder}/inventory/hosts.ini"));
    let nodes = nodes.display().to_string();
    let args = ["resolve", "kubespray", &tree, "-i", &inventory, "--nodes", &nodes, "--explain"];
    let outcome = site.outside.agent.run(&args).unwrap();
    let rows = outcome.json.as_array().expect("a list of rows");
    let etcd: Vec<&Value> = rows.iter().filter(|row| row["name"] == "etcd").collect();
    assert_eq!(etcd.len(), 2, "{etcd:?}");
    assert_eq!(etcd[0]["hosts"], serde_json::json!(["cp"]));
    assert!(rows.iter().any(|row| row["kind"] == "package" && row["name"] == "conntrack"));
    assert!(rows.iter().any(|row| row["kind"] == "source"));
}
