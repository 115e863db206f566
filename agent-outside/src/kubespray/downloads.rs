//! What the download role would fetch on each host.
//!
//! In:   a [`Cluster`].
//! Out:  how each host of the download play sees each entry of `downloads` and each kubeadm
//!       image. The conditions are those of the tree's own roles/download/tasks/main.yml.

use std::sync::Arc;

use super::cluster::Cluster;
use super::explain::{Kind, Row, Seen};
use super::host::Host;
use super::jinja::{Evaluator, Halt};
use super::problem::{Place, Problem};
use super::roles;
use super::value::{Dict, Key, Val};

/// Where the download role's tasks stand.
const TASKS: &str = "roles/download/tasks/main.yml";

/// The task that fetches one entry: its variables and conditions.
struct Task {
    vars: Arc<Dict>,
    when: Vec<Val>,
}

/// What the download role does: where its play runs, and the task that fetches one entry.
pub(crate) struct Downloading<'c> {
    cluster: &'c Cluster,
    task: Task,
    images: Dict,
}

impl<'c> Downloading<'c> {
    /// Finds the task; `kubeadm` are the lines that kubeadm would print.
    pub(crate) fn new(cluster: &'c Cluster, kubeadm: &[String]) -> Option<Self> {
        let mut problems = Vec::new();
        let task = task(cluster, &mut problems);
        problems.into_iter().for_each(|problem| cluster.note(problem));
        if task.is_none() {
            let what = "task of the role download that loops over downloads";
            cluster.note(Problem::NotKubespray("the tree".into(), what));
        }
        Some(Self { cluster, task: task?, images: kubeadm_entries(kubeadm) })
    }

    /// How one host sees each entry, kubeadm's images included.
    pub(crate) fn seen_by(&self, host: &Host<'_>) -> Vec<Seen> {
        let mut out = Vec::new();
        for (name, value) in entries(host).iter().chain(self.images.iter()) {
            match look(host, &self.task, name, value) {
                Ok(seen) => {
                    if seen.acts {
                        doubt(host, name, &seen.row);
                    }
                    out.push(seen);
                }
                Err(halt) => {
                    let place = host.place("downloads").cloned();
                    let place = place.unwrap_or_else(|| Place::new(TASKS, 0));
                    let name = format!("downloads.{}", name.to_val().text());
                    self.cluster.note(host.evaluator().problem(&name, &place, halt));
                }
            }
        }
        out
    }
}

fn task(cluster: &Cluster, problems: &mut Vec<Problem>) -> Option<Task> {
    let tasks = roles::tasks(&cluster.tree, "download", "main", problems);
    tasks.iter().filter_map(Val::as_map).find_map(|task| {
        let looped = task.get_str("loop").is_some_and(|l| l.text().contains("downloads"));
        let Some(Val::Map(vars)) = task.get_str("vars") else { return None };
        let when = roles::conditions(task.get_str("when"));
        (looped && vars.get_str("download").is_some()).then(|| Task { vars: vars.clone(), when })
    })
}

/// The evaluated entries of `downloads`; each that fails is a problem of its own.
fn entries(host: &Host<'_>) -> Dict {
    let ev = host.evaluator();
    let Some(def) = host.env().vars.get("downloads") else {
        let place = Place::new("roles/kubespray_defaults/defaults", 0);
        let reason = "no file of the tree defines it".to_owned();
        host.cluster().note(ev.problem("downloads", &place, Halt::Fault(reason)));
        return Dict::default();
    };
    // A list, a text and so on fail below as one.
    let Val::Map(raw) = &def.value else {
        return match ev.variable("downloads") {
            Ok(Val::Map(dict)) => (*dict).clone(),
            Ok(other) => {
                let reason = format!("a map is expected, not a {}", other.kind());
                host.cluster().note(ev.problem("downloads", &def.place, Halt::Fault(reason)));
                Dict::default()
            }
            Err(halt) => {
                host.cluster().note(ev.problem("downloads", &def.place, halt));
                Dict::default()
            }
        };
    };
    let mut out = Dict::default();
    for (name, value) in raw.iter() {
        match host.evaluator().template(value) {
            Ok(value) => _ = out.insert(name.clone(), value),
            Err(halt) => {
                let name = format!("downloads.{}", name.to_val().text());
                host.cluster().note(ev.problem(&name, &def.place, halt));
            }
        }
    }
    out
}

/// The entries that prep_kubeadm_images.yml makes of the lines that kubeadm prints.
fn kubeadm_entries(lines: &[String]) -> Dict {
    let kept = lines.iter().filter(|l| !l.contains("coredns") && !l.contains("pause"));
    let entry = |line: &String| {
        let name = line.rsplit('/').next().unwrap_or(line);
        let name = name.split(':').next().unwrap_or(name);
        let (repo, tag) = line.rsplit_once(':').unwrap_or((line, line));
        let pairs = [
            ("enabled", Val::Bool(true)),
            ("container", Val::Bool(true)),
            ("repo", Val::str(repo)),
            ("tag", Val::str(tag)),
            ("groups", Val::strings(&["k8s_cluster"])),
        ];
        let value: Dict = pairs.into_iter().map(|(k, v)| (Key::Str(k.into()), v)).collect();
        (Key::Str(format!("kubeadm_{name}").into()), Val::map(value))
    };
    kept.map(entry).collect()
}

fn look(host: &Host<'_>, task: &Task, name: &Key, value: &Val) -> Result<Seen, Halt> {
    let name = name.to_val();
    let item = [(Key::Str("key".into()), name.clone()), (Key::Str("value".into()), value.clone())];
    let mut locals = vec![("item".to_owned(), Val::map(item.into_iter().collect()))];
    let ev = |locals: &Vec<(String, Val)>| -> Evaluator<'_> {
        host.evaluator().with_locals(locals.iter().cloned())
    };
    for (variable, value) in task.vars.iter() {
        let value = ev(&locals).template(value)?;
        locals.push((variable.to_val().text(), value));
    }
    let ev = ev(&locals);
    let (mut enabled, mut acts) = (true, true);
    for condition in &task.when {
        let says_enabled =
            matches!(condition.as_str(), Some("download.enabled" | "item.value.enabled"));
        // Ansible stops at the first condition that does not hold; `enabled` is asked for all the same.
        if acts || says_enabled {
            let holds = ev.truth(condition)?;
            acts &= holds;
            enabled &= holds || !says_enabled;
        }
    }
    let of = |name: &str| locals.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    let Some(Val::Map(download)) = of("download") else {
        return Err(Halt::Fault("the entry is not a map".into()));
    };
    let file = of("include_file").map(Val::text).unwrap_or_default();
    let row = row(&name.text(), download, file.contains("container"), enabled)?;
    Ok(Seen { host: host.name().to_owned(), row, acts })
}

/// Notices an override of a URL that leads to another kind of file than this release fetches:
/// the checksum of the release belongs to the latter.
fn doubt(host: &Host<'_>, name: &Key, row: &Row) {
    let Some(url) = &row.url else { return };
    let raw =
        host.env().vars.get("downloads").and_then(|def| def.value.as_map()?.get(name).cloned());
    let raw =
        raw.and_then(|entry| entry.as_map()?.get_str("url").map(Val::text)).unwrap_or_default();
    let inner = raw.trim().strip_prefix("{{").and_then(|r| r.strip_suffix("}}"));
    let Some(variable) = inner.map(str::trim) else { return };
    let Some(default) = host.overridden(variable) else { return };
    let Ok(usual) = host.evaluator().template(&default) else { return };
    let usual = usual.text();
    let (found, expected) = (ending(url), ending(&usual));
    if let (true, Some(place)) = (found != expected, host.place(variable)) {
        let reason = format!(
            "{variable} leads to a file {} where this release fetches one {}, which its checksum belongs to",
            shown(found),
            shown(expected)
        );
        host.cluster().note(Problem::Doubtful { place: place.clone(), reason: reason.into() });
    }
}

fn shown(ending: &str) -> String {
    if ending.is_empty() { "without ending".to_owned() } else { format!("ending in {ending}") }
}

/// The ending that says what a URL leads to.
fn ending(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let endings = [
        (".tar.gz", ".tar.gz"),
        (".tgz", ".tar.gz"),
        (".tar.xz", ".tar.xz"),
        (".tar.zst", ".tar.zst"),
        (".zip", ".zip"),
        (".yaml", ".yaml"),
        (".yml", ".yaml"),
    ];
    endings.iter().find(|(end, _)| path.ends_with(end)).map_or("", |(_, name)| name)
}

fn row(name: &str, download: &Dict, is_container: bool, enabled: bool) -> Result<Row, Halt> {
    let groups = match download.get_str("groups") {
        Some(Val::List(groups)) => groups.iter().map(Val::text).collect(),
        _ => return Err(Halt::Fault("the entry has no list of groups".into())),
    };
    let field =
        |key: &str, wanted: bool| download.get_str(key).filter(|_| wanted).and_then(as_text);
    Ok(Row {
        name: name.to_owned(),
        kind: if is_container { Kind::Container } else { Kind::File },
        enabled,
        groups,
        url: field("url", !is_container),
        dest: field("dest", !is_container),
        checksum: field("checksum", true),
        repo: field("repo", is_container),
        tag: field("tag", is_container),
        hosts: Vec::new(),
    })
}

/// Nothing, an empty text and the text `None` all say that there is nothing.
pub(crate) fn as_text(value: &Val) -> Option<String> {
    let text = value.text();
    (!matches!(value, Val::None) && !text.is_empty() && text != "None").then_some(text)
}
