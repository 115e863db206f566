//! The plays and roles of a tree: which roles a play has, and the variables they bring.
//!
//! In:   playbooks/cluster.yml with what it imports, and roles/*/{defaults,vars,meta,tasks}.
//! Out:  plays, layers of variables, tasks as values. Nothing is run.

use std::collections::HashMap;
use std::sync::Arc;

use super::problem::Problem;
use super::tree::Tree;
use super::value::{Dict, Val};
use super::vars::{Layer, files_of, lay_file};
use super::yaml;

/// Deepest chain of roles that depend on each other, and of imported playbooks.
const DEPTH_MAX: usize = 16;

/// One play: where it runs and which roles it has.
#[derive(Debug, Clone)]
pub(crate) struct Play {
    pub hosts: String,
    pub roles: Vec<String>,
    pub tasks: Vec<Val>,
}

/// What a role brings by itself, without those it depends on.
#[derive(Debug, Default)]
pub(crate) struct Role {
    pub defaults: Layer,
    pub vars: Layer,
    /// The roles of its meta/main.yml, with their conditions.
    pub depends_on: Vec<(String, Val)>,
}

/// The plays of the cluster playbook in order.
pub(crate) fn plays(tree: &Tree, problems: &mut Vec<Problem>) -> Vec<Play> {
    let mut out = Vec::new();
    if let Some((path, _)) = tree.first(&["playbooks/cluster.yml", "cluster.yml"]) {
        read_playbook(tree, path, 0, &mut out, problems);
    }
    out
}

fn read_playbook(
    tree: &Tree,
    path: &str,
    depth: usize,
    out: &mut Vec<Play>,
    problems: &mut Vec<Problem>,
) {
    for play in items_of(tree, path, problems) {
        let Val::Map(play) = &play else { continue };
        let import = ["import_playbook", "ansible.builtin.import_playbook"];
        if let Some(Val::Str(file)) = import.iter().find_map(|key| play.get_str(key)) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path =
                if folder.is_empty() { file.to_string() } else { format!("{folder}/{file}") };
            if depth < DEPTH_MAX {
                read_playbook(tree, &path, depth + 1, out, problems);
            }
            continue;
        }
        let list = |key: &str| play.get_str(key).and_then(Val::as_items).unwrap_or_default();
        let hosts = match play.get_str("hosts") {
            Some(Val::List(patterns)) => {
                patterns.iter().map(Val::text).collect::<Vec<_>>().join(",")
            }
            other => other.map(Val::text).unwrap_or_default(),
        };
        let tasks = ["pre_tasks", "tasks", "post_tasks"].iter().flat_map(|key| list(key)).cloned();
        out.push(Play {
            hosts,
            roles: list("roles").iter().filter_map(role_name).collect(),
            tasks: flat_tasks(tasks, 0),
        });
    }
}

/// A role of a play or of a dependency: its name, or a map with a key `role`.
fn role_name(role: &Val) -> Option<String> {
    match role {
        Val::Str(name) => Some(name.to_string()),
        Val::Map(role) => role.get_str("role").or_else(|| role.get_str("name")).map(Val::text),
        _ => None,
    }
}

fn items_of(tree: &Tree, path: &str, problems: &mut Vec<Problem>) -> Vec<Val> {
    let Some(bytes) = tree.get(path) else { return Vec::new() };
    match yaml::parse(path, bytes) {
        Ok(document) => document.value.as_items().unwrap_or_default().to_vec(),
        Err(problem) => {
            problems.push(problem);
            Vec::new()
        }
    }
}

/// The tasks in `roles/ROLE/tasks/FILE` without ending, those of blocks included.
pub(crate) fn tasks(tree: &Tree, role: &str, file: &str, problems: &mut Vec<Problem>) -> Vec<Val> {
    let paths = ["yml", "yaml"].map(|ending| format!("roles/{role}/tasks/{file}.{ending}"));
    let paths = paths.each_ref().map(String::as_str);
    match tree.first(&paths) {
        Some((path, _)) => flat_tasks(items_of(tree, path, problems), 0),
        None => Vec::new(),
    }
}

fn flat_tasks(tasks: impl IntoIterator<Item = Val>, depth: usize) -> Vec<Val> {
    let mut out = Vec::new();
    for task in tasks {
        match task.as_map().and_then(|t| t.get_str("block")).and_then(Val::as_items) {
            Some(block) if depth < DEPTH_MAX => {
                let when = task.as_map().and_then(|t| t.get_str("when"));
                let inner = flat_tasks(block.iter().cloned(), depth + 1);
                out.extend(inner.into_iter().map(|task| with_condition(task, when)));
            }
            Some(_) => {}
            None => out.push(task),
        }
    }
    out
}

/// A block's condition holds for each of its tasks.
fn with_condition(task: Val, when: Option<&Val>) -> Val {
    let (Some(when), Val::Map(dict)) = (when, &task) else { return task };
    let mut all = conditions(Some(when));
    all.extend(conditions(dict.get_str("when")));
    let mut dict: Dict = (**dict).clone();
    dict.insert(super::value::Key::Str("when".into()), Val::list(all));
    Val::map(dict)
}

/// The conditions of a `when`: one or a list.
pub(crate) fn conditions(when: Option<&Val>) -> Vec<Val> {
    match when {
        None => Vec::new(),
        Some(Val::List(all)) => all.to_vec(),
        Some(one) => vec![one.clone()],
    }
}

/// A module's arguments, under its short or its full name.
pub(crate) fn module<'t>(task: &'t Val, name: &str) -> Option<&'t Val> {
    let task = task.as_map()?;
    ["", "ansible.builtin.", "ansible.legacy."]
        .iter()
        .find_map(|collection| task.get_str(&format!("{collection}{name}")))
}

/// Reads what a role brings.
pub(crate) fn read(tree: &Tree, role: &str, problems: &mut Vec<Problem>) -> Role {
    let mut out = Role::default();
    for (part, layer) in [("defaults", &mut out.defaults), ("vars", &mut out.vars)] {
        for path in files_of(tree, &format!("roles/{role}/{part}"), "main") {
            lay_file(tree, &path, "", layer, problems);
        }
    }
    for path in files_of(tree, &format!("roles/{role}/meta"), "main") {
        let Some(bytes) = tree.get(&path) else { continue };
        match yaml::parse(&path, bytes) {
            Ok(document) => {
                let meta = document.value.as_map();
                let roles = meta.and_then(|m| m.get_str("dependencies")).and_then(Val::as_items);
                out.depends_on = roles
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|role| {
                        let when = role.as_map().and_then(|r| r.get_str("when"));
                        Some((role_name(role)?, when.cloned().unwrap_or(Val::Bool(true))))
                    })
                    .collect();
            }
            Err(problem) => problems.push(problem),
        }
    }
    out
}

/// Roles that have been read.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    known: HashMap<String, Arc<Role>>,
    pub problems: Vec<Problem>,
}

impl Roles {
    pub(crate) fn get(&mut self, tree: &Tree, role: &str) -> Arc<Role> {
        if let Some(known) = self.known.get(role) {
            return known.clone();
        }
        let read = Arc::new(read(tree, role, &mut self.problems));
        self.known.insert(role.to_owned(), read.clone());
        read
    }

    /// Lays the variables of a role over two layers, those that it depends on first.
    pub(crate) fn lay(&mut self, tree: &Tree, role: &str, defaults: &mut Layer, vars: &mut Layer) {
        self.lay_at(tree, role, defaults, vars, 0);
    }

    fn lay_at(
        &mut self,
        tree: &Tree,
        role: &str,
        defaults: &mut Layer,
        vars: &mut Layer,
        depth: usize,
    ) {
        if depth > DEPTH_MAX {
            return;
        }
        let role = self.get(tree, role);
        for (other, _) in &role.depends_on {
            self.lay_at(tree, other, defaults, vars, depth + 1);
        }
        defaults.extend(role.defaults.iter().map(|(k, v)| (k.clone(), v.clone())));
        vars.extend(role.vars.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
}
