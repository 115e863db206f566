//! Groups, hosts and their variables, as the inventory's files say.
//!
//! In:   an inventory: an INI or YAML file, a folder of such, or a list `host,host`; and the
//!       group_vars and host_vars folders beside it.
//! Out:  an [`Inventory`]: the graph of groups with depths, and the texts of the vars folders.
//! Never runs an inventory script or plugin: those are refused by name.

mod ini;
mod range;
mod yaml;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gapferry_proto::Digest;

use super::problem::{Place, Problem};
use super::tree::{Tree, read_bounded};
use super::value::Val;
use super::vars::{Def, Layer};

/// Most hosts and most groups that are read.
const HOSTS_MAX: usize = 20_000;

/// Most entries of the vars folders that are looked at, and how deep they may be nested.
const VARS_ENTRIES_MAX: usize = 20_000;
const VARS_DEPTH_MAX: usize = 8;

/// What kubespray's ansible.cfg leaves out of inventory folders (and Ansible by itself).
const IGNORED_ENDINGS: [&str; 10] =
    ["~", ".orig", ".bak", ".ini", ".cfg", ".retry", ".pyc", ".pyo", ".creds", ".gpg"];

#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub vars: Layer,
    pub priority: i64,
    pub depth: usize,
    pub children: Vec<Arc<str>>,
    pub hosts: Vec<Arc<str>>,
}

/// An inventory: who is in which group, and what is said about them.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    pub(crate) groups: HashMap<Arc<str>, Group>,
    /// In the order in which they are first named.
    pub(crate) group_names: Vec<Arc<str>>,
    pub(crate) hosts: HashMap<Arc<str>, Layer>,
    pub(crate) host_names: Vec<Arc<str>>,
    /// The files of group_vars and host_vars beside the inventory.
    pub(crate) beside: Tree,
    /// The digests of the files that name hosts and groups, in the order in which they were read.
    files: Vec<(String, Digest)>,
    /// The folder and the file, for `inventory_dir` and `inventory_file`.
    pub(crate) folder: String,
    pub(crate) file: String,
    pub(crate) warnings: Vec<Problem>,
}

impl Inventory {
    /// Reads what `-i` names.
    ///
    /// # Errors
    ///
    /// The first fault of a file, with its line; [`Problem::Inventory`] if no host is found.
    pub fn open(argument: &str) -> Result<Self, Problem> {
        let mut inventory = Self::empty();
        let path = Path::new(argument);
        if !path.exists() && argument.contains(',') {
            inventory.host_list(argument)?;
        } else if path.is_dir() {
            inventory.folder = path.to_string_lossy().trim_end_matches('/').to_owned();
            inventory.read_folder(path, 0)?;
            inventory.read_vars(path)?;
        } else {
            let folder = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
                _ => PathBuf::from("."),
            };
            inventory.folder = folder.to_string_lossy().into_owned();
            inventory.file = argument.to_owned();
            inventory.read_file(path)?;
            inventory.read_vars(&folder)?;
        }
        inventory.finish(argument)
    }

    /// Parses one file that is in memory, with its vars folders (paths such as
    /// `group_vars/all.yml`), for callers that have no folder.
    ///
    /// # Errors
    ///
    /// As [`Inventory::open`].
    #[cfg(test)]
    pub fn parse(name: &str, bytes: &[u8], beside: Tree) -> Result<Self, Problem> {
        let mut inventory = Self { beside, ..Self::empty() };
        inventory.folder = ".".to_owned();
        inventory.file = name.to_owned();
        inventory.read_bytes(name, bytes)?;
        inventory.finish(name)
    }

    /// SHA-256 over all that was read: a line for each file, then the digest of the vars folders.
    pub fn digest(&self) -> Digest {
        let files = self.files.iter().map(|(name, digest)| format!("{digest} {name:?}\n"));
        Digest::of(format!("{}{}", files.collect::<String>(), self.beside.digest()).as_bytes())
    }

    fn empty() -> Self {
        let mut inventory = Self::default();
        inventory.group("all");
        inventory.group("ungrouped");
        inventory
    }

    fn host_list(&mut self, argument: &str) -> Result<(), Problem> {
        self.file = argument.to_owned();
        for name in argument.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            self.add_host("ungrouped", name, argument)?;
        }
        Ok(())
    }

    fn read_folder(&mut self, folder: &Path, depth: usize) -> Result<(), Problem> {
        let name = folder.to_string_lossy();
        if depth > VARS_DEPTH_MAX {
            return Err(Problem::inventory(&name, "folders are nested too deeply"));
        }
        let mut ignored = None;
        for entry in list(folder)? {
            let path = folder.join(&entry);
            if entry.starts_with('.')
                || matches!(entry.as_str(), "group_vars" | "host_vars" | "vars_plugins")
                || matches!(entry.as_str(), "artifacts" | "credentials")
            {
                continue;
            }
            if IGNORED_ENDINGS.iter().any(|ending| entry.ends_with(ending)) {
                ignored = Some(entry);
            } else if path.is_dir() {
                self.read_folder(&path, depth + 1)?;
            } else {
                self.file = path.to_string_lossy().into_owned();
                self.read_file(&path)?;
            }
        }
        match ignored {
            Some(entry) if depth == 0 && self.host_names.is_empty() => Err(Problem::inventory(
                &name,
                format!(
                    "no hosts; Kubespray's ansible.cfg leaves {entry} out of folders, so name it with -i {name}/{entry}"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Problem> {
        let bytes = read_bounded(path)?;
        let below = path.strip_prefix(&self.folder).unwrap_or(path);
        self.files.push((below.to_string_lossy().into_owned(), Digest::of(&bytes)));
        self.read_bytes(&path.to_string_lossy(), &bytes)
    }

    fn read_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        if bytes.starts_with(b"#!") {
            return Err(Problem::inventory(
                name,
                "scripts are not run; save what it prints (ansible-inventory --list --yaml) and name that file",
            ));
        }
        let ending = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        match ending {
            "yml" | "yaml" | "json" => yaml::read(self, name, bytes),
            "" => {
                let mut attempt = self.clone();
                match yaml::read(&mut attempt, name, bytes) {
                    Ok(()) => {
                        *self = attempt;
                        Ok(())
                    }
                    Err(problem @ Problem::VaultedFile(_)) => Err(problem),
                    Err(_) => ini::read(self, name, bytes),
                }
            }
            "toml" => {
                Err(Problem::inventory(name, "TOML inventories are not supported; use YAML or INI"))
            }
            _ => ini::read(self, name, bytes),
        }
    }

    /// Keeps the texts of group_vars and host_vars below `folder`; follows links.
    fn read_vars(&mut self, folder: &Path) -> Result<(), Problem> {
        let mut seen = 0;
        let mut queue: Vec<(PathBuf, String, usize)> = ["group_vars", "host_vars"]
            .iter()
            .map(|name| (folder.join(name), (*name).to_owned(), 0))
            .filter(|(path, _, _)| path.is_dir())
            .collect();
        while let Some((path, name, depth)) = queue.pop() {
            for entry in list(&path)? {
                seen += 1;
                let (path, name) = (path.join(&entry), format!("{name}/{entry}"));
                if seen > VARS_ENTRIES_MAX || depth > VARS_DEPTH_MAX {
                    return Err(Problem::TooLarge {
                        what: name.into(),
                        bound: VARS_ENTRIES_MAX as u64,
                    });
                }
                if entry.starts_with('.') || entry.ends_with('~') {
                    continue;
                }
                if path.is_dir() {
                    queue.push((path, name, depth + 1));
                } else if path.is_file() {
                    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
                    if depth == 0 || matches!(ending, "" | "yml" | "yaml" | "json") {
                        self.beside.add(name, &read_bounded(&path)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn group(&mut self, name: &str) -> &mut Group {
        if !self.groups.contains_key(name) {
            self.group_names.push(name.into());
        }
        self.groups.entry(name.into()).or_default()
    }

    pub(crate) fn add_host(&mut self, group: &str, host: &str, file: &str) -> Result<(), Problem> {
        if self.hosts.len() >= HOSTS_MAX || self.groups.len() >= HOSTS_MAX {
            return Err(Problem::TooLarge { what: file.into(), bound: HOSTS_MAX as u64 });
        }
        let host: Arc<str> = host.into();
        if !self.hosts.contains_key(&host) {
            self.host_names.push(host.clone());
            self.hosts.insert(host.clone(), Layer::default());
        }
        let group = self.group(group);
        if !group.hosts.contains(&host) {
            group.hosts.push(host);
        }
        Ok(())
    }

    pub(crate) fn add_child(&mut self, parent: &str, child: &str) {
        self.group(child);
        let parent = self.group(parent);
        if !parent.children.iter().any(|c| &**c == child) {
            parent.children.push(child.into());
        }
    }

    pub(crate) fn set_group_var(&mut self, group: &str, name: &str, value: Val, place: Place) {
        let group = self.group(group);
        if name == "ansible_group_priority" {
            group.priority = match &value {
                Val::Str(s) => s.trim().parse().unwrap_or(1),
                other => other.whole().unwrap_or(1),
            };
            return;
        }
        group.vars.insert(name.into(), Arc::new(Def { value, place }));
    }

    pub(crate) fn set_host_var(&mut self, host: &str, name: &str, value: Val, place: Place) {
        if let Some(vars) = self.hosts.get_mut(host) {
            vars.insert(name.into(), Arc::new(Def { value, place }));
        }
    }

    /// Puts what has no parent below `all`, and computes depths.
    fn finish(mut self, argument: &str) -> Result<Self, Problem> {
        if self.host_names.is_empty() {
            return Err(Problem::inventory(argument, "it names no host"));
        }
        self.settle(argument)?;
        Ok(self)
    }

    /// To be called again when groups have been added.
    pub(crate) fn settle(&mut self, argument: &str) -> Result<(), Problem> {
        let children: HashSet<Arc<str>> =
            self.groups.values().flat_map(|g| g.children.iter().cloned()).collect();
        for name in self.group_names.clone() {
            if &*name != "all" && !children.contains(&name) {
                self.add_child("all", &name);
            }
        }
        self.depths(argument)?;
        let grouped: HashSet<Arc<str>> = self
            .groups
            .iter()
            .filter(|(name, _)| !matches!(&***name, "all" | "ungrouped"))
            .flat_map(|(_, g)| g.hosts.iter().cloned())
            .collect();
        let names = self.host_names.clone();
        let ungrouped = self.group("ungrouped");
        ungrouped.hosts.retain(|host| !grouped.contains(host));
        for host in names {
            if !grouped.contains(&host) && !ungrouped.hosts.contains(&host) {
                ungrouped.hosts.push(host);
            }
        }
        Ok(())
    }

    /// The longest way from `all` to each group.
    fn depths(&mut self, argument: &str) -> Result<(), Problem> {
        let mut parents_left: HashMap<Arc<str>, usize> = HashMap::new();
        for child in self.groups.values().flat_map(|g| &g.children) {
            *parents_left.entry(child.clone()).or_default() += 1;
        }
        let mut ready: VecDeque<Arc<str>> = self
            .group_names
            .iter()
            .filter(|name| !parents_left.contains_key(*name))
            .cloned()
            .collect();
        for group in self.groups.values_mut() {
            group.depth = 0;
        }
        let mut done = 0;
        while let Some(name) = ready.pop_front() {
            done += 1;
            let Some(group) = self.groups.get(&name) else { continue };
            let (depth, children) = (group.depth, group.children.clone());
            for child in children {
                if let Some(group) = self.groups.get_mut(&child) {
                    group.depth = group.depth.max(depth + 1);
                }
                if let Some(left) = parents_left.get_mut(&child) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push_back(child);
                    }
                }
            }
        }
        if done < self.groups.len() {
            return Err(Problem::inventory(
                argument,
                "groups are children of each other in a circle",
            ));
        }
        Ok(())
    }

    /// The hosts of a group and of all groups below it, in Ansible's order.
    pub(crate) fn members(&self, group: &str) -> Vec<Arc<str>> {
        let mut out: Vec<Arc<str>> = Vec::new();
        let mut seen_hosts = HashSet::new();
        let mut seen = HashSet::from([Arc::<str>::from(group)]);
        let mut queue = VecDeque::from([Arc::<str>::from(group)]);
        while let Some(name) = queue.pop_front() {
            let Some(group) = self.groups.get(&name) else { continue };
            out.extend(group.hosts.iter().filter(|h| seen_hosts.insert((*h).clone())).cloned());
            queue.extend(group.children.iter().filter(|c| seen.insert((*c).clone())).cloned());
        }
        out
    }

    /// The groups of each host, parents included, `all` left out; sorted by name.
    pub(crate) fn groups_by_host(&self) -> HashMap<Arc<str>, BTreeSet<Arc<str>>> {
        let mut out: HashMap<Arc<str>, BTreeSet<Arc<str>>> =
            self.host_names.iter().map(|h| (h.clone(), BTreeSet::new())).collect();
        for name in self.group_names.iter().filter(|name| &***name != "all") {
            for host in self.members(name) {
                out.entry(host).or_default().insert(name.clone());
            }
        }
        out
    }

    /// Groups in the order in which their variables are laid over each other.
    pub(crate) fn by_precedence<'g>(
        &self,
        groups: impl IntoIterator<Item = &'g Arc<str>>,
    ) -> Vec<Arc<str>> {
        let mut out: Vec<_> = groups
            .into_iter()
            .filter_map(|name| self.groups.get(name).map(|g| (g.depth, g.priority, name.clone())))
            .collect();
        out.sort();
        out.into_iter().map(|(_, _, name)| name).collect()
    }
}

/// The names in a folder, sorted.
fn list(folder: &Path) -> Result<Vec<String>, Problem> {
    let fault = |e: std::io::Error| Problem::Read {
        file: folder.to_string_lossy().into(),
        reason: e.to_string().into(),
    };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        out.extend(entry.map_err(fault)?.file_name().into_string());
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Inventory, Problem> {
        Inventory::parse("hosts.ini", text.as_bytes(), Tree::default())
    }

    #[test]
    fn a_group_without_parent_is_below_all_and_depth_is_the_longest_way() {
        let inventory = parse("[a]\nx\n[b:children]\na\n[c:children]\nb\na\n[d]\ny\n").unwrap();
        let depth = |name: &str| inventory.groups.get(name).unwrap().depth;
        assert_eq!(["all", "a", "b", "c", "d"].map(depth), [0, 3, 2, 1, 1]);
        let groups = inventory.groups_by_host();
        let names: Vec<&str> = groups.get("x").unwrap().iter().map(|g| &**g).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(
            inventory.by_precedence(groups.get("x").unwrap()),
            ["c", "b", "a"].map(Arc::from)
        );
    }

    #[test]
    fn groups_in_a_circle_are_refused() {
        let problem = parse("[a:children]\nb\n[b:children]\na\n[c]\nx\n").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "inventory hosts.ini: groups are children of each other in a circle"
        );
    }

    #[test]
    fn a_script_is_refused() {
        let problem = Inventory::parse("inv", b"#!/bin/sh\n", Tree::default()).unwrap_err();
        assert!(problem.to_string().starts_with("inventory inv: scripts are not run"));
    }
}
