//! Tests the lists against real trees and against what clusters were seen to pull.
//!
//! `GAPFERRY_KUBESPRAY_DIR` names the folder with `v*.tar.xz`, `oracle/` and `inventories/`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::evidence::evidence_holds;
use super::list::{LINES, List, parse};
use super::*;

/// A tree in memory.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

impl Tree for Files {
    fn read(&self, path: &str) -> Option<String> {
        self.0.get(path).cloned()
    }
}

impl Files {
    fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn unpack(archive: &Path) -> Self {
        let file = std::fs::File::open(archive).unwrap();
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(file));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            if entry.header().entry_type().is_file() && entry.read_to_string(&mut text).is_ok() {
                files.insert(path.split_once('/').unwrap().1.to_owned(), text);
            }
        }
        Self(files)
    }
}

/// A cluster on plain maps: conditions that hold, and variables that name each other.
#[derive(Default)]
struct Plain {
    hosts: BTreeMap<String, (Vec<String>, Option<String>)>,
    holds: BTreeSet<String>,
    variables: BTreeMap<String, String>,
    included: BTreeMap<String, String>,
}

impl Plain {
    fn host(mut self, name: &str, os: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let os = (!os.is_empty()).then(|| os.to_owned());
        self.hosts.insert(name.to_owned(), (groups, os));
        self
    }

    fn holds(mut self, condition: &str) -> Self {
        self.holds.insert(condition.to_owned());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Replaces `{{ name }}`, with `| lower` at most; all else is an error.
    fn render(&self, more: &BTreeMap<String, String>, template: &str) -> Result<String, String> {
        let Some((before, rest)) = template.split_once("{{") else {
            return Ok(template.to_owned());
        };
        let (name, after) = rest.split_once("}}").ok_or("a template without end")?;
        let (name, lower) = match name.trim().strip_suffix("| lower") {
            Some(name) => (name.trim(), true),
            None => (name.trim(), false),
        };
        let value = more.get(name).or_else(|| self.variables.get(name));
        let value = self.render(more, value.ok_or_else(|| format!("{name} is undefined"))?)?;
        let value = if lower { value.to_lowercase() } else { value };
        Ok(format!("{before}{value}{}", self.render(more, after)?))
    }
}

impl Evaluate for Plain {
    fn hosts(&self) -> Vec<String> {
        self.hosts.keys().cloned().collect()
    }

    fn groups(&self, host: &str) -> Vec<String> {
        self.hosts.get(host).unwrap().0.clone()
    }

    fn os(&self, host: &str) -> Option<String> {
        self.hosts.get(host).unwrap().1.clone()
    }

    fn truth(&self, _: &str, _: Option<&str>, expression: &str) -> Result<bool, String> {
        Ok(self.holds.contains(expression))
    }

    fn text(&self, _: &str, _: Option<&str>, template: &str) -> Result<String, String> {
        self.render(&BTreeMap::new(), template)
    }

    fn text_with(
        &self,
        _: &str,
        _: Option<&str>,
        vars: &str,
        template: &str,
    ) -> Result<String, String> {
        self.render(&plain_variables(self.included.get(vars).map_or("", String::as_str)), template)
    }
}

/// The top-level scalars of a YAML file of variables.
fn plain_variables(text: &str) -> BTreeMap<String, String> {
    let all: Option<Value> = serde_saphyr::from_str(text).ok();
    let all = all.as_ref().and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, value)| match value {
        Value::String(text) => Some((name.clone(), text.clone())),
        _ => None,
    })
    .collect()
}

fn lists() -> Vec<List> {
    LINES.iter().map(|(release, text)| parse(release, text).unwrap()).collect()
}

fn by_pip_on(os: &str) -> Admin {
    Admin { runner: Runner::Pip, os: Some(os.to_owned()) }
}

fn values<'a>(supplement: &'a Supplement, name: &str) -> Vec<&'a str> {
    let named = supplement.items.iter().filter(|item| item.name == name);
    named.map(|item| item.value.as_str()).collect()
}

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("GAPFERRY_KUBESPRAY_DIR").map(PathBuf::from);
    if folder.is_none() {
        println!("not tested: GAPFERRY_KUBESPRAY_DIR does not name the trees");
    }
    folder
}

#[test]
fn every_list_is_whole_and_its_names_are_unique() {
    for (list, (release, _)) in lists().iter().zip(LINES) {
        assert_eq!(list.release, release);
        let mut names = BTreeSet::new();
        for entry in &list.items {
            assert!(names.insert(&entry.name), "{release}: {} stands twice", entry.name);
            assert!(!entry.evidence.is_empty() && entry.why.ends_with('.'), "{}", entry.name);
            let is_chart = entry.kind == Kind::Chart;
            let has_both = entry.repository.is_some() && entry.version.is_some();
            assert!(!is_chart || has_both, "{}", entry.name);
            assert!(entry.vars.is_empty() || entry.role.is_some(), "{}", entry.name);
            let of_hosts = entry.when.is_some() || !entry.groups.is_empty();
            assert!(entry.admin.is_none() || !of_hosts, "{}", entry.name);
        }
        for notice in &list.notices {
            assert!(names.insert(&notice.name), "{release}: {} stands twice", notice.name);
            assert!(!notice.evidence.is_empty() && notice.why.ends_with('.'), "{}", notice.name);
        }
    }
}

#[test]
fn every_piece_of_evidence_stands_in_the_real_trees() {
    let Some(folder) = shared() else { return };
    let mut trees = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(version) = name.strip_suffix(".tar.xz") else { continue };
        let tree = Files::unpack(&path);
        let (list, advice) = list::for_version(version).unwrap();
        assert_eq!(advice, None);
        let of_entries = list.items.iter().map(|entry| (&entry.name, &entry.evidence));
        let of_notices = list.notices.iter().map(|notice| (&notice.name, &notice.evidence));
        let all =
            of_entries.chain(of_notices).flat_map(|(name, all)| all.iter().map(move |e| (name, e)));
        let missing: Vec<_> = all
            .filter(|(_, at)| {
                let text = tree.read(&at.path);
                !text.is_some_and(|text| evidence_holds(&text, at.line, &at.text))
            })
            .collect();
        assert!(missing.is_empty(), "{version}: {missing:#?}");
        println!("{version}: all evidence of list {} found", list.release);
        trees += 1;
    }
    assert!(trees > 0);
}

#[test]
fn an_item_names_every_host_that_pulls_it_when_one_control_plane_asks() {
    let tree = Files::of(&[("galaxy.yml", "version: 2.31.0\n")]);
    let nodes = Plain::default()
        .host("cp", "ubuntu-24.04", &["kube_control_plane", "k8s_cluster"])
        .host("worker", "ubuntu-24.04", &["k8s_cluster"])
        .host("etcd", "ubuntu-24.04", &["etcd"])
        .holds("node_feature_discovery_enabled")
        .variable("node_feature_discovery_image_repo", "registry.example/nfd")
        .variable("node_feature_discovery_image_tag", "v{{ nfd }}")
        .variable("nfd", "1");
    let made = supplement(&tree, &nodes, &by_pip_on("ubuntu-24.04")).unwrap();
    let item = made.items.iter().find(|item| item.name == "node-feature-discovery").unwrap();
    assert_eq!(
        (item.value.as_str(), &item.hosts[..]),
        ("registry.example/nfd:v1", &["cp".to_owned(), "worker".to_owned()][..])
    );
    assert!(item.differs, "this tree holds no evidence");
    let doubt = made.problems.iter().find(|problem| problem.name == item.name).unwrap();
    assert!(!doubt.gap);
    assert!(doubt.message.starts_with("the tree differs here from release line 2.31: "));
    let bootstrap = made.items.iter().find(|item| item.name == "bootstrap-python").unwrap();
    assert_eq!(bootstrap.hosts, ["cp", "etcd", "worker"]);
}

#[test]
fn two_entries_that_come_to_one_image_are_one_item() {
    let tree = Files::of(&[("galaxy.yml", "version: 2.31.0\n")]);
    let mut nodes = Plain::default()
        .host("cp", "debian-12", &["kube_control_plane", "k8s_cluster"])
        .holds("cinder_csi_enabled")
        .holds("gcp_pd_csi_enabled");
    for name in ["csi_attacher_image_tag", "cinder_csi_attacher_image_tag"] {
        nodes = nodes.variable(name, "v4");
    }
    let nodes = nodes.variable("csi_attacher_image_repo", "registry.example/attacher");
    let made = supplement(&tree, &nodes, &by_pip_on("debian-12")).unwrap();
    let found = made.items.iter().filter(|item| item.value == "registry.example/attacher:v4");
    let found: Vec<_> = found.map(|item| (item.name.as_str(), item.evidence.len())).collect();
    assert_eq!(found, [("cinder-csi-attacher", 2)]);
}

#[test]
fn a_value_that_cannot_be_evaluated_is_a_gap() {
    let tree = Files::of(&[("galaxy.yml", "version: 2.31.0\n")]);
    let nodes = Plain::default()
        .host("cp", "rocky-9", &["kube_control_plane"])
        .holds("node_feature_discovery_enabled");
    let made = supplement(&tree, &nodes, &by_pip_on("rocky-9")).unwrap();
    let gap = made.problems.iter().find(|p| p.name == "node-feature-discovery").unwrap();
    let message = "node_feature_discovery_image_repo is undefined";
    assert_eq!((gap.gap, gap.host.as_deref(), gap.message.as_str()), (true, Some("cp"), message));
    assert_eq!(values(&made, "node-feature-discovery"), [""; 0]);
}

#[test]
fn a_host_of_unknown_system_is_a_gap() {
    let tree = Files::of(&[("galaxy.yml", "version: 2.31.0\n")]);
    let nodes = Plain::default().host("n", "", &["kube_node"]);
    let made = supplement(&tree, &nodes, &by_pip_on("rocky-9")).unwrap();
    assert!(made.problems.iter().any(|p| p.gap && p.host.as_deref() == Some("n")));
    assert_eq!(values(&made, "bootstrap-python"), [""; 0]);
}

#[test]
fn a_role_takes_the_first_file_of_variables_that_the_tree_has() {
    let path = "roles/kubernetes-apps/helm/vars/redhat.yml";
    let tree = Files::of(&[("galaxy.yml", "version: 2.31.0\n"), (path, "")]);
    let mut nodes = Plain::default()
        .host("cp", "rocky-9", &["kube_control_plane"])
        .holds("helm_enabled")
        .variable("ansible_distribution", "Rocky")
        .variable("ansible_distribution_version", "9.6")
        .variable("ansible_distribution_major_version", "9")
        .variable("ansible_distribution_release", "Blue Onyx")
        .variable("ansible_os_family", "RedHat");
    nodes.included.insert(path.to_owned(), "pyyaml_package: python3-pyyaml".to_owned());
    let made = supplement(&tree, &nodes, &by_pip_on("rocky-9")).unwrap();
    assert_eq!(values(&made, "helm-pyyaml"), ["python3-pyyaml"]);
    nodes.variables.insert("ansible_os_family".to_owned(), "Other".to_owned());
    let made = supplement(&tree, &nodes, &by_pip_on("rocky-9")).unwrap();
    assert_eq!(values(&made, "helm-pyyaml"), [""; 0]);
    assert!(made.problems.iter().all(|problem| problem.name != "helm-pyyaml"));
    nodes.variables.remove("ansible_os_family");
    let made = supplement(&tree, &nodes, &by_pip_on("rocky-9")).unwrap();
    let gap = made.problems.iter().find(|problem| problem.name == "helm-pyyaml").unwrap();
    assert_eq!((gap.gap, gap.message.as_str()), (true, "ansible_os_family is undefined"));
}

#[test]
fn a_switch_that_no_list_can_hold_is_said() {
    let tree = Files::of(&[("galaxy.yml", "version: 2.30.0\n")]);
    let nodes = Plain::default().host("n", "debian-12", &["kube_node"]).holds("system_upgrade");
    let made = supplement(&tree, &nodes, &by_pip_on("debian-12")).unwrap();
    assert!(made.problems.iter().any(|p| p.gap && p.name == "system-upgrade"));
}

#[test]
fn the_admin_node_gets_an_interpreter_that_runs_this_release() {
    let python = |version: &str, os: &str| {
        let tree = Files::of(&[("galaxy.yml", &format!("version: {version}\n"))]);
        let made = supplement(&tree, &Plain::default(), &by_pip_on(os)).unwrap();
        let brought = made.items.iter().find(|item| item.name.starts_with("admin-python"));
        let version = brought.and_then(|item| item.version.clone());
        assert!(version.is_none() || made.python.contains(version.as_ref().unwrap()));
        let told =
            made.problems.iter().any(|p| p.message.contains("run the playbooks from the image"));
        assert_eq!(told, version.is_none());
        version
    };
    assert_eq!(python("2.30.0", "ubuntu-22.04").as_deref(), Some("3.10"));
    assert_eq!(python("2.31.0", "ubuntu-22.04").as_deref(), Some("3.11"));
    assert_eq!(python("2.31.0", "debian-13").as_deref(), Some("3.13"));
    assert_eq!(python("2.30.0", "debian-13"), None);
    assert_eq!(python("2.28.1", "rocky-9.6").as_deref(), Some("3.11"));
    assert_eq!(python("2.31.0", "debian-11"), None);
}

#[test]
fn a_runner_from_the_image_needs_no_python() {
    let tree = Files::of(&[("galaxy.yml", "version: '2.31.0'\n")]);
    let admin = Admin { runner: Runner::Image, os: Some("rocky-9".to_owned()) };
    let made = supplement(&tree, &Plain::default(), &admin).unwrap();
    let found: Vec<_> = made.items.iter().map(|item| item.value.as_str()).collect();
    let source = "https://github.com/kubernetes-sigs/kubespray/archive/refs/tags/v2.31.0.tar.gz";
    assert_eq!(found, ["quay.io/kubespray/kubespray:v2.31.0", "git", "podman", source]);
}

/// What case b switches on, in the words of the lists.
const CASE_B: [&str; 6] = [
    "kube_network_plugin == 'cilium' or cilium_deploy_additionally",
    "kubelet_csr_approver_enabled",
    "helm_enabled",
    "local_path_provisioner_enabled",
    "node_feature_discovery_enabled",
    "cert_manager_enabled",
];

/// Items that the cases do not list: the admin node's own tools, which no tree pins.
const ADMIN_TOOLS: [&str; 11] = [
    "git",
    "openssh-client",
    "pip",
    "podman",
    "python3",
    "python3-pip",
    "python3-venv",
    "rsync",
    "setuptools",
    "sshpass",
    "wheel",
];

fn seen_cluster(folder: &Path, tag: &str, case: &str, tree: &Files) -> Plain {
    let oracle = std::fs::read_to_string(folder.join(format!("oracle/{tag}-{case}.json"))).unwrap();
    let oracle: Value = serde_json::from_str(&oracle).unwrap();
    let mut nodes = Plain::default();
    for (name, host) in oracle["hosts"].as_object().unwrap() {
        let groups = host["groups"].as_array().unwrap().iter();
        let groups: Vec<&str> = groups.filter_map(Value::as_str).collect();
        nodes = nodes.host(name, host["os"].as_str().unwrap(), &groups);
    }
    if case == "b" {
        nodes.holds.extend(CASE_B.map(str::to_owned));
    }
    for (path, text) in &tree.0 {
        if path.starts_with("roles/kubespray_defaults/defaults/")
            || path.ends_with("/kubelet-csr-approver/defaults/main.yml")
            || path.ends_with("/local_path_provisioner/defaults/main.yml")
        {
            nodes.variables.extend(plain_variables(text));
        }
        if path.contains("/vars/") {
            nodes.included.insert(path.clone(), text.clone());
        }
    }
    // The control plane of both cases is Ubuntu.
    nodes
        .variable("ansible_distribution", "Ubuntu")
        .variable("ansible_distribution_version", "24.04")
        .variable("ansible_distribution_major_version", "24")
        .variable("ansible_distribution_release", "noble")
        .variable("ansible_os_family", "Debian")
}

/// The item that a row of `beyond_downloads` asks for; an error says why it is none of ours.
fn find<'a>(made: &'a Supplement, row: &Value) -> Result<&'a Item, &'static str> {
    let (kind, what) = (row["kind"].as_str().unwrap(), row["what"].as_str().unwrap());
    let item = |wanted: Kind, fits: &dyn Fn(&Item) -> bool| {
        let found = made.items.iter().find(|item| item.kind == wanted && fits(item));
        Ok(found.unwrap_or_else(|| panic!("no item for {what}")))
    };
    match kind {
        "os-repositories" => Err("settings of the node, nothing to carry"),
        "os-packages" if what.starts_with("the list") => Err("system_packages: the resolver's"),
        "os-packages" => item(Kind::Package, &|item| item.value == what && !item.admin),
        "python" => item(Kind::Python, &|item| item.value == what && item.admin),
        "source" => item(Kind::Source, &|item| {
            let parts = (item.repository.as_deref().unwrap(), item.version.as_deref().unwrap());
            what == format!("{} at {}", parts.0, parts.1)
        }),
        "chart" => item(Kind::Chart, &|item| {
            let start = format!("{} {}, from ", item.value, item.version.as_deref().unwrap());
            what.starts_with(&start) && what.contains(item.repository.as_deref().unwrap())
        }),
        "image" => match what.strip_prefix("the image that chart ") {
            Some(rest) => {
                item(Kind::Chart, &|item| item.images && rest == format!("{} names", item.value))
            }
            None => item(Kind::Image, &|item| item.value == what),
        },
        other => panic!("a row of kind {other}"),
    }
}

#[test]
fn all_that_clusters_a_and_b_were_seen_to_pull_is_named_and_nothing_else() {
    let Some(folder) = shared() else { return };
    for tag in ["v2.30.0", "v2.31.0"] {
        let archive = folder.join(format!("{tag}.tar.xz"));
        let beyond = folder.join(format!("oracle/{tag}-beyond-downloads.json"));
        let (true, Ok(beyond)) = (archive.exists(), std::fs::read_to_string(beyond)) else {
            println!("not tested: {tag} is not there");
            continue;
        };
        let tree = Files::unpack(&archive);
        let beyond: Value = serde_json::from_str(&beyond).unwrap();
        for case in ["a", "b"] {
            let nodes = seen_cluster(&folder, tag, case, &tree);
            let admin = Admin { runner: Runner::Both, os: Some("ubuntu-24.04".to_owned()) };
            let made = supplement(&tree, &nodes, &admin).unwrap();
            assert_eq!(made.problems, []);
            let rows = beyond["beyond_downloads"].as_array().unwrap().iter();
            let mut asked = BTreeSet::new();
            for row in rows.filter(|row| row["cases"].as_array().unwrap().contains(&case.into())) {
                match find(&made, row) {
                    Ok(item) => {
                        println!("{tag} {case}: {} = {} {:?}", row["what"], item.name, item.hosts);
                        asked.insert(item.value.as_str());
                    }
                    Err(why) => println!("{tag} {case}: {} stays out: {why}", row["what"]),
                }
            }
            let surplus: Vec<&Item> =
                made.items.iter().filter(|item| !asked.contains(item.value.as_str())).collect();
            assert!(
                surplus.iter().all(|item| item.admin && ADMIN_TOOLS.contains(&item.value.as_str())),
                "{surplus:#?}"
            );
            println!("{tag} {case}: {} items, {} of them tools", made.items.len(), surplus.len());
        }
    }
}
