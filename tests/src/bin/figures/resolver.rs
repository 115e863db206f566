//! One resolution of a real Kubespray tree, beside real Ansible on the same question.
//!
//! In:   `GAPFERRY_KUBESPRAY_DIR` with `v*.tar.xz` and `inventories/b`; tar with xz;
//!       `ansible-playbook` where `PATH` has it.
//! Out:  rows of seconds, the ratio, and how many answers of both are equal.
//!
//! Ansible gets the plays that lead to the download role and no more: the groups that Kubespray
//! makes, its defaults, and one task a host that evaluates `downloads` as a whole. It need not
//! find out what a machine is, nor the packages and kubeadm's images, which the resolver does
//! besides.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tests::{
    agents,
    clients::{clean, find},
    process::{self, Finished},
};

use super::{Row, median};

const RUNS: usize = 7;
const ANSIBLE_RUNS: usize = 3;
const CASE: &str = "inventories/b";
const PROMISE: &str = "at most 200 ms";

const PLAYBOOK: &str = r#"
- name: The groups that Kubespray makes
  hosts: all
  gather_facts: false
  connection: local
  roles: [dynamic_groups]

- name: What the download role is about to do
  hosts: k8s_cluster:etcd
  gather_facts: false
  connection: local
  roles: [kubespray_defaults]
  tasks:
"#;

/// The task that is timed: it evaluates, and tells nobody.
const EVALUATE: &str = r#"    - ansible.builtin.set_fact:
        answer: "{{ downloads | to_json }}"
"#;

/// The task that tells the answer of each host, for the comparison.
const TELL: &str = r#"    - ansible.builtin.copy:
        content: "{{ downloads | to_json }}"
        dest: "{{ answers }}/{{ inventory_hostname }}.json"
"#;

/// A tree, unpacked, and the inventory that it is asked with.
struct Question {
    folder: tempfile::TempDir,
    release: String,
    tree: PathBuf,
    case: PathBuf,
    /// The file that `-i` names.
    inventory: PathBuf,
}

pub fn measure() -> Vec<Row> {
    let Some(folder) = env::var_os("GAPFERRY_KUBESPRAY_DIR").map(PathBuf::from) else {
        return vec![Row::new("resolver", "skipped: GAPFERRY_KUBESPRAY_DIR is not set", PROMISE)];
    };
    let entries = fs::read_dir(&folder).expect("GAPFERRY_KUBESPRAY_DIR is a folder");
    let mut trees: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    trees.retain(|path| path.to_string_lossy().ends_with(".tar.xz"));
    trees.sort();
    trees.iter().flat_map(|tree| Question::new(tree, &folder).measure()).collect()
}

impl Question {
    fn new(archive: &Path, kubespray: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut tar = clean("tar", folder.path());
        let finished = process::run(tar.arg("-xJf").arg(archive));
        assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
        let entries = fs::read_dir(folder.path()).expect("a folder can be read");
        let mut trees = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let tree = trees.find(|path| path.join("roles").is_dir()).expect("a tree has roles");
        let case = kubespray.join(CASE);
        let inventory =
            case.join(read(&case.join("case.json"))["inventory"].as_str().unwrap_or(""));
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_end_matches(".tar.xz").to_owned();
        Self { folder, release, tree, case, inventory }
    }

    fn measure(&self) -> Vec<Row> {
        let name = format!("resolver: {}, {CASE}", self.release);
        let ours: Vec<Finished> = (0..RUNS).map(|_| self.ours()).collect();
        let each: Vec<f64> = ours.iter().map(|run| run.seconds).collect();
        let (seconds, fastest) =
            (median(&each), each.iter().copied().fold(f64::INFINITY, f64::min));
        let (middle, fastest) = (seconds * 1e3, fastest * 1e3);
        let value = format!("{middle:.0} ms, median of {RUNS}; the fastest {fastest:.0} ms");
        let mut rows = vec![Row::new(&name, value, PROMISE)];
        if find("ansible-playbook").is_none() {
            rows.push(Row::new(name, "absent: ansible-playbook", ""));
            return rows;
        }
        let theirs: Result<Vec<f64>, String> =
            (0..ANSIBLE_RUNS).map(|_| self.theirs(EVALUATE)).collect();
        let theirs = theirs.and_then(|seconds| self.theirs(TELL).map(|_| seconds));
        let value = match theirs {
            Err(error) => format!("ansible-playbook failed: {error}"),
            Ok(theirs) => {
                let theirs = median(&theirs);
                let rows = ours.first().and_then(|run| serde_json::from_str(&run.stdout).ok());
                let (equal, all) = self.compared(&rows.unwrap_or(Value::Null));
                format!(
                    "{theirs:.2} s, {:.0} times ours, median of {ANSIBLE_RUNS}; {equal} of {all} \
                     answers equal",
                    theirs / seconds
                )
            }
        };
        rows.push(Row::new(format!("{name}, {}", self.version()), value, ""));
        rows
    }

    fn ours(&self) -> Finished {
        let mut agent = clean(&agents::outside().display().to_string(), self.folder.path());
        agent.args(["resolve", "kubespray"]).arg(&self.tree).arg("-i").arg(&self.inventory);
        agent.arg("--nodes").arg(self.case.join("case.json")).args(["--explain", "-o", "json"]);
        let finished = process::run(&mut agent);
        assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
        finished
    }

    /// Seconds, or why Ansible gave up.
    fn theirs(&self, task: &str) -> Result<f64, String> {
        let folder = self.folder.path();
        let answers = folder.join("answers");
        fs::create_dir_all(&answers).expect("a folder can be made");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("a file can be written");
            path
        };
        let playbook = write("ask.yml", &format!("{PLAYBOOK}{task}"));
        let nodes = &read(&self.case.join("case.json"))["nodes"];
        let machines = write("machines.json", &machines(nodes).to_string());
        let mut ansible = clean("ansible-playbook", folder);
        ansible.env("ANSIBLE_CONFIG", self.tree.join("ansible.cfg"));
        ansible.env("ANSIBLE_ROLES_PATH", self.tree.join("roles"));
        ansible.env("ANSIBLE_HOME", folder.join("home")).env("LC_ALL", "C.UTF-8");
        ansible.envs([("ANSIBLE_CACHE_PLUGIN", "memory"), ("ANSIBLE_GATHERING", "explicit")]);
        ansible.env("ANSIBLE_CALLBACKS_ENABLED", "default");
        ansible.arg("-i").arg(&self.inventory).arg("-i").arg(machines);
        ansible.arg("-e").arg(format!("answers={}", answers.display())).arg(playbook);
        let finished = process::run(&mut ansible);
        match finished.exit_code {
            0 => Ok(finished.seconds),
            _ => {
                let is_telling = |line: &&str| line.contains("FAILED") || line.contains("ERROR");
                let said = finished.stderr + &finished.stdout;
                let line = said.lines().find(is_telling).unwrap_or("it does not say why");
                Err(line.chars().take(200).collect())
            }
        }
    }

    /// Of what hosts act on, by host: equal addresses, and all.
    fn compared(&self, rows: &Value) -> (usize, usize) {
        let mut answers: BTreeMap<String, Value> = BTreeMap::new();
        let (mut equal, mut all) = (0, 0);
        for row in rows.as_array().into_iter().flatten() {
            let (name, kind) = (text(&row["name"]), text(&row["kind"]));
            let keys: &[&str] = match kind {
                "file" => &["url", "checksum"],
                "container" if !name.starts_with("kubeadm_") => &["repo", "tag"],
                _ => continue,
            };
            for host in row["hosts"].as_array().into_iter().flatten().map(text) {
                let path = self.folder.path().join(format!("answers/{host}.json"));
                let answer = answers.entry(host.to_owned()).or_insert_with(|| read(&path));
                let same = |key: &&str| plain(&row[*key]) == plain(&answer[name][*key]);
                all += 1;
                equal += usize::from(keys.iter().all(same));
            }
        }
        (equal, all)
    }

    fn version(&self) -> String {
        let finished = process::run(clean("ansible-playbook", self.folder.path()).arg("--version"));
        let line = finished.stdout.lines().next().unwrap_or_default();
        let version = line.split_once('[').map_or(line, |(_, version)| version);
        format!("Ansible {}", version.trim_end_matches(']'))
    }
}

/// An inventory that says what Ansible would find out on each machine.
fn machines(nodes: &Value) -> Value {
    let mut hosts = serde_json::Map::new();
    for (host, node) in nodes.as_object().into_iter().flatten() {
        let os = text(&node["os"]);
        let (name, release) = os.split_once('-').unwrap_or((os, ""));
        let (distribution, family, packages) = match name {
            "ubuntu" => ("Ubuntu", "Debian", "apt"),
            "debian" => ("Debian", "Debian", "apt"),
            _ => ("Rocky", "RedHat", "dnf"),
        };
        let architecture = if node["arch"] == "arm64" { "aarch64" } else { "x86_64" };
        let facts = json!({
            "ansible_distribution": distribution,
            "ansible_distribution_version": release,
            "ansible_distribution_major_version": release.split('.').next(),
            "ansible_os_family": family,
            "ansible_pkg_mgr": packages,
            "ansible_architecture": architecture,
            "ansible_system": "Linux",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        });
        hosts.insert(host.clone(), facts);
    }
    json!({"all": {"hosts": hosts}})
}

/// The value as text; Ansible has the empty text for nothing.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace("null", "")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}
