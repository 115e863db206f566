//! Names what a Kubespray cluster pulls that Kubespray's own `downloads` list forgets.
//!
//! In:   a tree (by path), the evaluator of its variables for each host, the admin node's needs.
//! Out:  a [`Supplement`]: items with the hosts that need them, why, and where the tree says so;
//!       and what could not be decided, or cannot be listed at all.
//! Pure: it opens and fetches nothing; files come from [`Tree`], values from [`Evaluate`].
//!
//! What is wanted stands in one TOML file a release line beside this module, not in code. Each
//! piece of evidence there is looked up again in the tree at hand, so a fork or a patch release
//! that differs is said, never silently believed. Not here: `system_packages` and kubeadm's
//! images.

mod admin;
mod apply;
mod evidence;
mod list;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Files of a Kubespray tree, by their path inside it (`roles/…/main.yml`, with `/`).
pub trait Tree {
    /// The file's text, or none if the tree has no such file or it is not text.
    fn read(&self, path: &str) -> Option<String>;
}

/// What Kubespray's variables come to, host by host.
///
/// `role` is a path below `roles/`: the defaults of that role, and of those its `meta/main.yml`
/// depends on, count beside Kubespray's own. An error is one sentence that names the variable.
pub trait Evaluate {
    /// Every host of the inventory, each once.
    fn hosts(&self) -> Vec<String>;

    /// The groups that hold the host, dynamic ones (`k8s_cluster`) included.
    fn groups(&self, host: &str) -> Vec<String>;

    /// The host's system, as a waybill writes it: `ubuntu-24.04`, `rocky-9`, `flatcar`.
    fn os(&self, host: &str) -> Option<String>;

    /// Whether an Ansible condition (`when`) holds on the host.
    fn truth(&self, host: &str, role: Option<&str>, expression: &str) -> Result<bool, String>;

    /// What a Jinja template renders to on the host.
    fn text(&self, host: &str, role: Option<&str>, template: &str) -> Result<String, String>;

    /// Like [`Evaluate::text`], after `include_vars` of one more file of the tree.
    ///
    /// `vars` is its path in the tree; its variables win over all but extra variables.
    fn text_with(
        &self,
        host: &str,
        role: Option<&str>,
        vars: &str,
        template: &str,
    ) -> Result<String, String>;
}

/// What an item is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file by URL.
    File,
    /// A container image.
    Image,
    /// A Helm chart.
    Chart,
    /// A package of the hosts' system.
    Package,
    /// A requirement for pip.
    Python,
    /// Source code, as an archive.
    Source,
    /// A file by URL whose images have to come along, found when it is read.
    Manifest,
}

/// How sure it is that a cluster pulls the item.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub enum Proof {
    /// The tree's own text says so.
    #[serde(rename = "repository")]
    Repository,
    /// A chart that the tree installs says so.
    #[serde(rename = "chart")]
    Chart,
    /// Known, but neither the tree nor a chart says so.
    #[serde(rename = "not proven")]
    NotProven,
}

/// How the playbooks are to be run inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// Either way shall work.
    Both,
    /// From upstream's image.
    Image,
    /// From a virtual environment on the admin node.
    Pip,
}

/// The machine inside that runs the playbooks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    pub runner: Runner,
    /// Its system, as [`Evaluate::os`] writes it.
    pub os: Option<String>,
}

/// A place in the tree that says an item is wanted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(try_from = "(String, String)", into = "(String, String)")]
pub struct Evidence {
    pub path: String,
    /// Counted from 1, in the release that the list was made from.
    pub line: u32,
    /// Words that stand at that line, or near it in another patch release.
    pub text: String,
}

/// One thing to carry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Item {
    pub kind: Kind,
    /// Name in the list, for messages; several items may share it.
    pub name: String,
    /// URL, image reference, chart name, package name (with a version where Kubespray asks for
    /// one, in the words of apt or dnf) or requirement.
    pub value: String,
    /// The repository of a chart or package, where Kubespray names one.
    pub repository: Option<String>,
    /// The version of a chart, of the source, or of the interpreter that an item brings or needs.
    pub version: Option<String>,
    /// The digest that the tree holds for it: an algorithm, a colon, hex digits.
    pub checksum: Option<String>,
    /// Whether the images that the chart or manifest names have to be taken from it.
    pub images: bool,
    /// Hosts that need it, sorted; empty for what the admin node needs.
    pub hosts: Vec<String>,
    /// Whether the admin node needs it.
    pub admin: bool,
    pub why: String,
    pub evidence: Vec<Evidence>,
    pub proof: Proof,
    /// Whether some of the evidence does not stand in this tree.
    pub differs: bool,
}

/// Something that the items do not say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Problem {
    /// The entry of the list, or what else it is about.
    pub name: String,
    /// The first host it was met on, if it is about hosts.
    pub host: Option<String>,
    /// Whether something may be missing from the items; else it is advice.
    pub gap: bool,
    pub message: String,
}

/// All that `downloads` forgets, for one tree and inventory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Supplement {
    /// The tree's version, as its `galaxy.yml` says.
    pub version: String,
    /// The release line whose list was used: `2.31`.
    pub release: String,
    /// The ansible-core range that the playbooks accept.
    pub ansible_core: String,
    /// The Python releases that run it, oldest first.
    pub python: Vec<String>,
    /// Sorted by kind, then value.
    pub items: Vec<Item>,
    /// Sorted, each once.
    pub problems: Vec<Problem>,
}

/// Why there is no supplement for a tree.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the tree has no galaxy.yml with a version: it is no Kubespray tree")]
    NoVersion,
    #[error("kubespray version {0:?} is not understood")]
    Version(String),
    #[error("kubespray {version} is older than {oldest}, the oldest release whose needs are known")]
    TooOld { version: String, oldest: String },
    #[error("the built-in list of kubespray {release} is damaged")]
    List { release: &'static str, source: Box<toml::de::Error> },
}

/// Names what the cluster and the admin node need beyond `downloads`.
///
/// Cost: one evaluation for each entry and host it concerns (about a hundred entries).
///
/// # Errors
/// When the tree's version is not known or older than the oldest list. A newer tree gets the
/// newest list and a problem that says so.
pub fn supplement(
    tree: &dyn Tree,
    nodes: &dyn Evaluate,
    admin: &Admin,
) -> Result<Supplement, Refusal> {
    let version = version_of(tree).ok_or(Refusal::NoVersion)?;
    let (list, advice) = list::for_version(&version)?;
    let mut collected = apply::Collected::default();
    if let Some(message) = advice {
        collected.advise("kubespray", None, message);
    }
    apply::nodes(&list, tree, nodes, &mut collected);
    admin::apply(&list, tree, &version, admin, &mut collected);
    evidence::check(tree, &list.release, &mut collected);
    let problems: BTreeSet<Problem> = collected.problems.into_iter().collect();
    Ok(Supplement {
        version,
        release: list.release,
        ansible_core: list.ansible.core,
        python: list.ansible.python,
        items: collected.items.into_values().collect(),
        problems: problems.into_iter().collect(),
    })
}

/// The version in the tree's `galaxy.yml`.
fn version_of(tree: &dyn Tree) -> Option<String> {
    let text = tree.read("galaxy.yml")?;
    let version = text.lines().find_map(|line| line.strip_prefix("version:"))?;
    let version = version.trim().trim_matches(['"', '\'']);
    (!version.is_empty()).then(|| version.to_owned())
}
