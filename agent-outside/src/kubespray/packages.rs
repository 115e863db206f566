//! The OS packages that roles/system_packages installs on each host.
//!
//! In:   a [`Cluster`].
//! Out:  rows of kind `package`: the union of a first run and of later ones, where facts of an
//!       earlier run (`main_access_ip`) are known and bring further packages in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cluster::{Cluster, Scope};
use super::explain::{Kind, Row};
use super::host::Host;
use super::jinja::Halt;
use super::problem::Place;
use super::roles;
use super::value::Val;

/// The role, and the one that imports it.
const ROLE: &str = "system_packages";
const AROUND: &str = "bootstrap_os";

/// The tasks of the role, and the packages found so far with the hosts that install them.
pub(crate) struct Packages<'c> {
    cluster: &'c Cluster,
    roles: Vec<String>,
    tasks: Vec<Val>,
    hosts: BTreeSet<Arc<str>>,
    found: BTreeMap<String, BTreeSet<String>>,
}

impl<'c> Packages<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Self {
        let play = cluster.play_with(AROUND).or_else(|| cluster.play_with(ROLE));
        let mut problems = Vec::new();
        let tasks = roles::tasks(&cluster.tree, ROLE, "main", &mut problems);
        problems.into_iter().for_each(|problem| cluster.note(problem));
        let hosts = play.map(|play| cluster.matching(&play.hosts)).unwrap_or_default();
        let roles = play.map(|play| play.roles.clone()).unwrap_or_default();
        let (hosts, found) = (hosts.into_iter().collect(), BTreeMap::new());
        Self { cluster, roles, tasks, hosts, found }
    }

    /// Adds what one host installs, if its play runs there.
    pub(crate) fn add(&mut self, name: &Arc<str>) {
        for facts_set in [false, true] {
            let (play, task) = (self.roles.clone(), vec![ROLE.to_owned()]);
            let scope = Scope { play, task, facts_set, ..Scope::default() };
            let host = self.cluster.host_in(name, scope).filter(|_| self.hosts.contains(name));
            let Some(host) = host else { continue };
            for task in &self.tasks {
                match installed(&host, task) {
                    Ok(packages) => packages.into_iter().for_each(|package| {
                        self.found.entry(package).or_default().insert(name.to_string());
                    }),
                    Err(halt) => {
                        let task = task.as_map().and_then(|t| t.get_str("name")).map(Val::text);
                        let place = Place::new("roles/system_packages/tasks/main.yml", 0);
                        let task = task.unwrap_or_default();
                        self.cluster.note(host.evaluator().problem(&task, &place, halt));
                    }
                }
            }
        }
    }

    /// One row for each package.
    pub(crate) fn rows(self) -> impl Iterator<Item = Row> {
        self.found.into_iter().map(|(name, hosts)| row(name, hosts))
    }
}

fn installed(host: &Host<'_>, task: &Val) -> Result<Vec<String>, Halt> {
    let managers = ["package", "apt", "dnf", "yum", "zypper"];
    let (Some(module), Some(dict)) =
        (managers.iter().find_map(|name| roles::module(task, name)), task.as_map())
    else {
        return Ok(Vec::new());
    };
    let (Some(module), ev) = (module.as_map(), host.evaluator()) else { return Ok(Vec::new()) };
    let items = match dict.get_str("loop").or_else(|| dict.get_str("with_items")) {
        Some(items) => match ev.template(items)? {
            Val::List(items) => items.iter().cloned().map(Some).collect(),
            one => vec![Some(one)],
        },
        None => vec![None],
    };
    let when = Val::list(roles::conditions(dict.get_str("when")));
    let mut out = Vec::new();
    for item in items {
        let ev = host.evaluator().with_locals(item.map(|item| ("item".to_owned(), item)));
        let Some(name) = module.get_str("name").or_else(|| module.get_str("pkg")) else { continue };
        if !ev.truth(&when)? {
            continue;
        }
        let state = module.get_str("state").map(|state| ev.template(state)).transpose()?;
        if state.is_some_and(|state| matches!(state.as_str(), Some("absent" | "removed"))) {
            continue;
        }
        match ev.template(name)? {
            Val::List(names) => out.extend(names.iter().map(Val::text)),
            one => out.extend(one.text().split(',').map(|n| n.trim().to_owned())),
        }
    }
    out.retain(|name| !name.is_empty());
    Ok(out)
}

fn row(name: String, hosts: BTreeSet<String>) -> Row {
    Row {
        name,
        kind: Kind::Package,
        enabled: true,
        groups: Vec::new(),
        url: None,
        dest: None,
        checksum: None,
        repo: None,
        tag: None,
        hosts: hosts.into_iter().collect(),
    }
}
