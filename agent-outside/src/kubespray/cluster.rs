//! Brings tree, inventory, `-e` and machines together, and answers questions for one host.
//!
//! In:   a [`Tree`], an [`Inventory`], extra variables, [`Nodes`].
//! Out:  a [`Cluster`]; from it a [`Host`], which evaluates templates as Ansible would there.
//! Variables are evaluated when asked for and kept; nothing outside is asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::host::Host;
use super::inventory::Inventory;
use super::jinja::{Env, Others, made};
use super::nodes::{self, Nodes};
use super::problem::{Place, Problem};
use super::roles::{self, Play, Roles};
use super::tree::Tree;
use super::value::{Dict, Key, Val};
use super::vars::{self, Layer};

/// A tree and an inventory that were read together.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) tree: Arc<Tree>,
    pub(crate) inventory: Inventory,
    pub(crate) plays: Vec<Play>,
    pub(crate) nodes: Nodes,
    native: bool,
    pub(crate) groups_by_host: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    host_layers: HashMap<Arc<str>, Layer>,
    facts: HashMap<Arc<str>, Layer>,
    extra: Layer,
    /// `groups`, `hostvars` and what else is the same on every host.
    magic: Layer,
    roles: RefCell<Roles>,
    scopes: RefCell<HashMap<Scope, Arc<(Layer, Layer)>>>,
    envs: RefCell<Envs>,
    pub(crate) problems: RefCell<BTreeSet<Problem>>,
    pub(crate) fuel: Cell<u64>,
}

/// What is known of each host in each scope.
type Envs = HashMap<(Arc<str>, Scope), Arc<Env>>;

/// Whose variables count besides those of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Scope {
    /// The roles of the play.
    pub play: Vec<String>,
    /// The role that the task stands in, and those that stand around it.
    pub task: Vec<String>,
    /// Files of the tree that `include_vars` has read, in order.
    pub included: Vec<String>,
    /// Whether facts are known that an earlier play sets.
    pub facts_set: bool,
}

impl Others for Cluster {
    fn env_of(&self, host: &str) -> Option<Arc<Env>> {
        let scope = Scope { facts_set: true, ..Scope::default() };
        self.host_layers.contains_key(host).then(|| self.env(host, &scope))
    }

    fn hosts(&self) -> Vec<Arc<str>> {
        self.inventory.host_names.clone()
    }
}

impl Cluster {
    /// Reads everything that is needed to answer; `base` is where `-e @FILE` is looked for.
    ///
    /// Problems of single files are kept for [`Cluster::problems`].
    ///
    /// # Errors
    ///
    /// What leaves nothing to evaluate: a tree that is not Kubespray's or too old, arguments
    /// that Ansible refuses, groups in a circle.
    pub fn new(
        tree: Arc<Tree>,
        inventory: Inventory,
        extra: &[String],
        base: &Path,
        nodes: Nodes,
    ) -> Result<Self, Problem> {
        check_release(&tree)?;
        let (extra, warnings) = vars::extra(extra, base)?;
        let mut problems = Vec::new();
        let plays = roles::plays(&tree, &mut problems);
        let mut cluster = Self {
            native: is_native(&tree),
            tree,
            inventory,
            plays,
            nodes,
            groups_by_host: HashMap::new(),
            host_layers: HashMap::new(),
            facts: HashMap::new(),
            extra,
            magic: Layer::default(),
            roles: RefCell::default(),
            scopes: RefCell::default(),
            envs: RefCell::default(),
            problems: RefCell::default(),
            fuel: Cell::new(0),
        };
        cluster.problems.borrow_mut().extend(warnings);
        cluster.read_vars(&mut problems);
        cluster.problems.borrow_mut().extend(problems);
        cluster.add_dynamic_groups()?;
        Ok(cluster)
    }

    /// Problems found so far, warnings among them (see [`Problem::is_warning`]).
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.borrow_mut();
        problems.extend(std::mem::take(&mut self.roles.borrow_mut().problems));
        problems.extend(self.inventory.warnings.iter().cloned());
        problems.iter().cloned().collect()
    }

    pub(crate) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().insert(problem);
    }

    /// Whether it is told what machine a host is.
    pub(crate) fn has_facts(&self, host: &str) -> bool {
        self.facts.contains_key(host)
    }

    /// Gives up what was evaluated for a host; asking again evaluates again.
    pub(crate) fn forget(&self, host: &Arc<str>) {
        self.envs.borrow_mut().retain(|(name, _), _| name != host);
    }

    /// `kube_version` as the first machine of the control plane sees it.
    pub fn kube_version(&self) -> Option<String> {
        let mut control = self.inventory.members("kube_control_plane");
        control.sort();
        let host = self.host(control.iter().find(|host| self.has_facts(host))?)?;
        host.text("{{ kube_version }}").ok()
    }

    /// One host, seen from the play that downloads.
    pub fn host(&self, name: &str) -> Option<Host<'_>> {
        let play = self.play_with("download").map(|p| p.roles.clone());
        let play = play.unwrap_or_else(|| vec!["kubespray_defaults".into(), "download".into()]);
        self.host_in(
            name,
            Scope { play, task: vec!["download".into()], facts_set: true, ..Scope::default() },
        )
    }

    pub(crate) fn host_in(&self, name: &str, scope: Scope) -> Option<Host<'_>> {
        let (name, _) = self.host_layers.get_key_value(name)?;
        Some(Host::new(self, name.clone(), scope))
    }

    pub(crate) fn play_with(&self, role: &str) -> Option<&Play> {
        self.plays.iter().find(|play| play.roles.iter().any(|r| r == role))
    }

    /// The hosts that a play's pattern names, in Ansible's order.
    pub(crate) fn matching(&self, pattern: &str) -> Vec<Arc<str>> {
        let mut out: Vec<Arc<str>> = Vec::new();
        for part in pattern.split([':', ',']).map(str::trim) {
            let named = |name: &str| match self.inventory.hosts.get_key_value(name) {
                Some((host, _)) => vec![host.clone()],
                None => self.inventory.members(name),
            };
            if let Some(name) = part.strip_prefix('!') {
                let without = named(name);
                out.retain(|host| !without.contains(host));
            } else if let Some(name) = part.strip_prefix('&') {
                let within = named(name);
                out.retain(|host| within.contains(host));
            } else {
                out.extend(named(part));
            }
        }
        let mut seen = BTreeSet::new();
        out.retain(|host| seen.insert(host.clone()));
        out
    }

    pub(crate) fn read_vars(&mut self, problems: &mut Vec<Problem>) {
        let mut adjacent = Tree::default();
        for folder in ["group_vars", "host_vars"] {
            for path in self.tree.below(folder) {
                // Ansible reads them beside the playbook; a tree of that size is within bounds.
                let bytes = self.tree.get(path).unwrap_or_default();
                problems.extend(adjacent.add(path.to_owned(), bytes).err());
            }
        }
        self.host_layers = vars::of_hosts(&self.inventory, &adjacent, problems);
        self.groups_by_host = self.inventory.groups_by_host();
        self.facts.clear();
        for host in &self.inventory.host_names {
            match self.facts_of(host) {
                Ok(facts) => _ = self.facts.insert(host.clone(), facts),
                Err(problem) => problems.push(problem),
            }
        }
        self.magic = self.magic_layer();
        self.scopes.borrow_mut().clear();
        self.envs.borrow_mut().clear();
    }

    fn facts_of(&self, host: &Arc<str>) -> Result<Layer, Problem> {
        let Some(node) = self.nodes.of(host) else {
            let reason = "its OS and architecture are not told (nodes)".into();
            return Err(Problem::Node { host: host.clone(), reason });
        };
        let layer = self.host_layers.get(host);
        let address = layer
            .and_then(|vars| vars.get("ip").or_else(|| vars.get("ansible_host")))
            .and_then(|def| def.value.as_str())
            .filter(|text| text.parse::<std::net::Ipv4Addr>().is_ok());
        let mut facts = nodes::facts(host, node, address)?;
        // bootstrap_os includes such a file for systems without a package manager.
        for name in ["fedora-coreos", "flatcar"].iter().filter(|name| node.os.starts_with(**name)) {
            let path = format!("roles/bootstrap_os/vars/{name}.yml");
            vars::lay_file(&self.tree, &path, "", &mut facts, &mut Vec::new());
        }
        Ok(facts)
    }

    fn magic_layer(&self) -> Layer {
        let mut groups = Dict::default();
        let mut names: Vec<_> = self.inventory.group_names.iter().collect();
        names.sort_by_key(|name| ***name != *"all");
        for name in names {
            let members = self.inventory.members(name);
            groups.insert(
                Key::Str(name.clone()),
                Val::list(members.into_iter().map(Val::Str).collect()),
            );
        }
        let everyone = Val::list(self.inventory.host_names.iter().cloned().map(Val::Str).collect());
        let pairs = [
            ("groups", Val::map(groups)),
            ("hostvars", Val::HostVars),
            ("omit", Val::str("__omit_place_holder__")),
            ("playbook_dir", Val::str("playbooks")),
            ("inventory_dir", Val::str(&self.inventory.folder)),
            ("inventory_file", Val::str(&self.inventory.file)),
            ("ansible_check_mode", Val::Bool(false)),
            ("ansible_play_hosts", everyone.clone()),
            ("ansible_play_hosts_all", everyone.clone()),
            ("ansible_play_batch", everyone.clone()),
            ("play_hosts", everyone),
        ];
        pairs.into_iter().map(|(name, value)| (name.into(), made(value))).collect()
    }

    /// The variables of a host in a scope, lowest precedence first.
    pub(crate) fn env(&self, host: &str, scope: &Scope) -> Arc<Env> {
        let name: Arc<str> = host.into();
        let key = (name.clone(), scope.clone());
        if let Some(known) = self.envs.borrow().get(&key) {
            return known.clone();
        }
        let scoped = self.scope_layers(scope);
        let mut vars = scoped.0.clone();
        let mut lay = |over: &Layer| vars.extend(over.iter().map(|(k, v)| (k.clone(), v.clone())));
        self.host_layers.get(host).into_iter().for_each(&mut lay);
        self.facts.get(host).into_iter().for_each(&mut lay);
        lay(&scoped.1);
        if scope.facts_set {
            lay(&self.set_facts(host));
        }
        for path in &scope.included {
            let (mut included, mut problems) = (Layer::default(), Vec::new());
            vars::lay_file(&self.tree, path, "", &mut included, &mut problems);
            problems.into_iter().for_each(|problem| self.note(problem));
            lay(&included);
        }
        lay(&self.extra);
        lay(&self.magic);
        let groups = self.groups_by_host.get(host).into_iter().flatten().cloned();
        let short = host.split('.').next().unwrap_or(host);
        lay(&Layer::from([
            ("inventory_hostname".into(), made(Val::str(host))),
            ("inventory_hostname_short".into(), made(Val::str(short))),
            ("group_names".into(), made(Val::list(groups.map(Val::Str).collect()))),
        ]));
        let env = Arc::new(Env::new(name, vars, self.native));
        self.envs.borrow_mut().insert(key, env.clone());
        env
    }

    pub(crate) fn scope_layers(&self, scope: &Scope) -> Arc<(Layer, Layer)> {
        if let Some(known) = self.scopes.borrow().get(scope) {
            return known.clone();
        }
        let (mut defaults, mut vars) = (Layer::default(), Layer::default());
        for role in scope.play.iter().chain(&scope.task) {
            self.roles.borrow_mut().lay(&self.tree, role, &mut defaults, &mut vars);
        }
        let layers = Arc::new((defaults, vars));
        self.scopes.borrow_mut().insert(scope.clone(), layers.clone());
        layers
    }

    /// The facts that roles/network_facts sets, with the variables of its tasks.
    fn set_facts(&self, host: &str) -> Layer {
        let mut layer = Layer::default();
        let file: Arc<str> = "roles/network_facts/tasks".into();
        for task in roles::tasks(&self.tree, "network_facts", "main", &mut Vec::new()) {
            let Some(Val::Map(facts)) = roles::module(&task, "set_fact") else { continue };
            let when = roles::conditions(task.as_map().and_then(|t| t.get_str("when")));
            let unless_set = |name: &str| {
                when.is_empty()
                    || when.iter().all(|c| c.text().trim() == format!("{name} is not defined"))
            };
            let vars = task.as_map().and_then(|t| t.get_str("vars")).and_then(Val::as_map);
            let mut names = facts.iter().map(|(key, _)| key.to_val().text());
            if !names.all(|name: String| name == "cacheable" || unless_set(&name)) {
                continue;
            }
            for (name, value) in vars.into_iter().chain([&**facts]).flat_map(Dict::iter) {
                let name: Arc<str> = name.to_val().text().into();
                let is_set = self.host_layers.get(host).is_some_and(|l| l.contains_key(&name));
                if &*name != "cacheable" && (when.is_empty() || !is_set) {
                    let place = Place { file: file.clone(), line: 0 };
                    layer.insert(name, Arc::new(vars::Def { value: value.clone(), place }));
                }
            }
        }
        layer
    }
}

/// Refuses trees that are not Kubespray's or hold what is not read here.
fn check_release(tree: &Tree) -> Result<(), Problem> {
    if !tree.paths().any(|path| path.starts_with("roles/download/")) {
        return Err(Problem::NotKubespray("the tree".into(), "roles/download"));
    }
    let folder = "roles/kubespray_defaults/defaults/main";
    if tree.below(folder).next().is_none() {
        let version = release(tree).unwrap_or_else(|| "of this tree".into());
        let reason = format!("{folder} is missing");
        return Err(Problem::Unsupported { version: version.into(), reason: reason.into() });
    }
    Ok(())
}

/// The version in galaxy.yml, such as `2.30.0`.
pub fn release(tree: &Tree) -> Option<String> {
    let document = yaml_of(tree, "galaxy.yml")?;
    document.as_map()?.get_str("version").map(Val::text)
}

/// Whether the tree asks for an Ansible whose templates keep types (core 2.19 and later).
fn is_native(tree: &Tree) -> bool {
    let minimal = yaml_of(tree, "playbooks/ansible_version.yml").and_then(|plays| {
        let plays = plays.as_items()?;
        let vars = plays.iter().find_map(|play| {
            play.as_map()?.get_str("vars")?.as_map()?.get_str("minimal_ansible_version").cloned()
        })?;
        Some(vars.text())
    });
    let number = |part: Option<&str>| part.and_then(|p| p.parse::<u32>().ok()).unwrap_or(0);
    minimal.is_some_and(|version| {
        let mut parts = version.split('.');
        (number(parts.next()), number(parts.next())) >= (2, 19)
    })
}

fn yaml_of(tree: &Tree, path: &str) -> Option<Val> {
    super::yaml::parse(path, tree.get(path)?).ok().map(|document| document.value)
}
