//! Decides, host by host, which entries of a list a cluster needs.
//!
//! In:   a list, the tree (which role files exist), the evaluator.
//! Out:  items merged over hosts, and problems, in a [`Collected`].
//!
//! An entry whose condition or value cannot be evaluated is a gap, never left out silently.

use std::collections::{BTreeMap, BTreeSet};

use super::list::{Entry, List, Notice};
use super::{Evaluate, Evidence, Item, Kind, Problem, Tree};

/// Items and problems so far.
#[derive(Default)]
pub(super) struct Collected {
    pub items: BTreeMap<Key, Item>,
    pub problems: Vec<Problem>,
    /// Evidence of the notices that were given, by name.
    pub noticed: Vec<(String, Vec<Evidence>)>,
}

/// What makes two items the same; also their order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    kind: Kind,
    value: String,
    version: Option<String>,
    repository: Option<String>,
    checksum: Option<String>,
    admin: bool,
}

/// An entry's texts, evaluated.
pub(super) struct Values {
    pub value: String,
    pub repository: Option<String>,
    pub version: Option<String>,
    pub checksum: Option<String>,
}

impl Collected {
    /// Notes something worth knowing.
    pub fn advise(&mut self, name: &str, host: Option<&str>, message: String) {
        self.problem(name, host, false, message);
    }

    /// Notes that something may be missing; the same words once, for the first host.
    pub fn gap(&mut self, name: &str, host: Option<&str>, message: String) {
        self.problem(name, host, true, message);
    }

    fn problem(&mut self, name: &str, host: Option<&str>, gap: bool, message: String) {
        if !self.problems.iter().any(|known| known.name == name && known.message == message) {
            let host = host.map(str::to_owned);
            self.problems.push(Problem { name: name.to_owned(), host, gap, message });
        }
    }

    /// Adds an item, or hosts and evidence to the one that is the same.
    pub fn add(&mut self, entry: &Entry, values: Values, hosts: &BTreeSet<String>) {
        self.add_with(entry, values, hosts, entry.evidence.clone());
    }

    /// Like [`Collected::add`], with evidence of the caller's.
    pub fn add_with(
        &mut self,
        entry: &Entry,
        values: Values,
        hosts: &BTreeSet<String>,
        evidence: Vec<Evidence>,
    ) {
        let Values { value, repository, version, checksum } = values;
        let admin = entry.admin.is_some();
        let item = Item {
            kind: entry.kind,
            name: entry.name.clone(),
            value,
            repository,
            version,
            checksum,
            images: entry.images || entry.kind == Kind::Manifest,
            hosts: hosts.iter().cloned().collect(),
            admin,
            why: entry.why.clone(),
            evidence,
            proof: entry.proof,
            differs: false,
        };
        match self.items.entry(key_of(&item)) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(item)),
            std::collections::btree_map::Entry::Occupied(mut known) => merge(known.get_mut(), item),
        }
    }
}

/// Evaluates every entry and notice that is about the cluster's hosts.
pub(super) fn nodes(list: &List, tree: &dyn Tree, nodes: &dyn Evaluate, collected: &mut Collected) {
    let hosts: Vec<Host> = nodes.hosts().into_iter().map(|name| Host::new(name, nodes)).collect();
    for host in hosts.iter().filter(|host| host.os.is_none()) {
        let message = "its system is not known: what only some systems need is left out".to_owned();
        collected.gap(&format!("host {}", host.name), Some(&host.name), message);
    }
    for entry in list.items.iter().filter(|entry| entry.admin.is_none()) {
        for host in hosts.iter().filter(|host| host.decides(list, entry)) {
            match values_on(tree, nodes, entry, host) {
                Ok(Some(values)) => collect(entry, values, &hosts, host, collected),
                Ok(None) => {}
                Err(message) => collected.gap(&entry.name, Some(&host.name), message),
            }
        }
    }
    for notice in &list.notices {
        for host in hosts.iter().filter(|host| host.is_in(&notice.groups)) {
            give(notice, nodes, host, collected);
        }
    }
}

/// A host and what entries ask of it.
struct Host {
    name: String,
    groups: Vec<String>,
    os: Option<String>,
}

impl Host {
    fn new(name: String, nodes: &dyn Evaluate) -> Self {
        let (groups, os) = (nodes.groups(&name), nodes.os(&name));
        Self { name, groups, os }
    }

    fn is_in(&self, groups: &[String]) -> bool {
        groups.is_empty() || groups.iter().any(|group| self.groups.contains(group))
    }

    fn decides(&self, list: &List, entry: &Entry) -> bool {
        let concerned = match &self.os {
            Some(os) => list.concerns(&entry.os, os),
            None => entry.os.is_empty(),
        };
        concerned && self.is_in(&entry.groups)
    }
}

/// The entry's texts on a host, or none if the host does not ask for it.
fn values_on(
    tree: &dyn Tree,
    nodes: &dyn Evaluate,
    entry: &Entry,
    host: &Host,
) -> Result<Option<Values>, String> {
    let role = entry.role.as_deref();
    if let Some(when) = &entry.when
        && !nodes.truth(&host.name, role, when)?
    {
        return Ok(None);
    }
    let vars = first_found(tree, nodes, entry, host)?;
    if vars.is_none() && !entry.vars.is_empty() {
        return Ok(None); // the role knows nothing for this system
    }
    let text = |template: &str| match &vars {
        Some(vars) => nodes.text_with(&host.name, role, vars, template),
        None => nodes.text(&host.name, role, template),
    };
    let optional = |template: &Option<String>| -> Result<Option<String>, String> {
        let text = template.as_deref().map(text).transpose()?;
        Ok(text.as_deref().map(one_line).filter(|text| !text.is_empty()))
    };
    Ok(Some(Values {
        value: one_line(&text(&entry.value)?),
        repository: optional(&entry.repository)?,
        version: optional(&entry.version)?,
        checksum: optional(&entry.checksum)?,
    }))
}

/// The first of the entry's files that the tree has, as Ansible's `with_first_found` picks it.
///
/// A name that cannot be evaluated (a fact nobody told) is passed over, but is an error when no
/// other name leads to a file.
fn first_found(
    tree: &dyn Tree,
    nodes: &dyn Evaluate,
    entry: &Entry,
    host: &Host,
) -> Result<Option<String>, String> {
    let role = entry.role.as_deref();
    let mut unknown = None;
    for name in &entry.vars {
        match nodes.text(&host.name, role, name) {
            Ok(name) => {
                let path = format!("roles/{}/vars/{name}", role.unwrap_or_default());
                if tree.read(&path).is_some() {
                    return Ok(Some(path));
                }
            }
            Err(message) => unknown = unknown.or(Some(message)),
        }
    }
    unknown.map_or(Ok(None), Err)
}

/// Puts an entry's values among the items, for the hosts that pull it.
fn collect(
    entry: &Entry,
    values: Values,
    hosts: &[Host],
    decided: &Host,
    collected: &mut Collected,
) {
    let pulls = |host: &&Host| match entry.pulls.as_slice() {
        [] => host.name == decided.name,
        groups => host.is_in(groups),
    };
    let pullers = hosts.iter().filter(pulls).map(|host| host.name.clone()).collect();
    match entry.kind {
        Kind::Package => {
            for package in values.value.split_ascii_whitespace() {
                let repository = values.repository.clone();
                let version = values.version.clone();
                let one = Values { value: package.to_owned(), repository, version, checksum: None };
                collected.add(entry, one, &pullers);
            }
        }
        _ if values.value.is_empty() => {
            let message = format!("{} comes to nothing", entry.value);
            collected.gap(&entry.name, Some(&decided.name), message);
        }
        Kind::Chart => {
            let value = chart_name(&values.value).to_owned();
            collected.add(entry, Values { value, ..values }, &pullers);
        }
        _ => collected.add(entry, values, &pullers),
    }
}

/// Gives a notice if its condition holds on the host.
fn give(notice: &Notice, nodes: &dyn Evaluate, host: &Host, collected: &mut Collected) {
    match nodes.truth(&host.name, notice.role.as_deref(), &notice.when) {
        Ok(true) => {
            collected.gap(&notice.name, Some(&host.name), notice.why.clone());
            if !collected.noticed.iter().any(|(name, _)| *name == notice.name) {
                collected.noticed.push((notice.name.clone(), notice.evidence.clone()));
            }
        }
        Ok(false) => {}
        Err(message) => collected.gap(&notice.name, Some(&host.name), message),
    }
}

/// A chart's name without the local name of its repository; a URL stays whole.
fn chart_name(reference: &str) -> &str {
    if reference.contains("://") {
        return reference;
    }
    reference.rsplit_once('/').map_or(reference, |(_, name)| name)
}

/// Folds line ends and runs of spaces, as YAML's folded texts leave them.
fn one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn key_of(item: &Item) -> Key {
    Key {
        kind: item.kind,
        value: item.value.clone(),
        version: item.version.clone(),
        repository: item.repository.clone(),
        checksum: item.checksum.clone(),
        admin: item.admin,
    }
}

/// Two entries, or one on two hosts, that come to the same thing.
fn merge(known: &mut Item, more: Item) {
    let hosts: BTreeSet<String> = known.hosts.drain(..).chain(more.hosts).collect();
    known.hosts = hosts.into_iter().collect();
    known.images |= more.images;
    known.proof = known.proof.min(more.proof);
    for place in more.evidence {
        if !known.evidence.contains(&place) {
            known.evidence.push(place);
        }
    }
}
