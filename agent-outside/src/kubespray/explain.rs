//! The rows that `resolve kubespray --explain` prints.

use std::collections::BTreeMap;

use serde::Serialize;
#[cfg(test)]
use serde_json::{Value as Json, json};

use super::problem::Problem;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Container,
    File,
    Package,
}

/// One variant of one entry; see the README's table of `--explain`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Row {
    pub name: String,
    pub kind: Kind,
    pub enabled: bool,
    pub groups: Vec<String>,
    pub url: Option<String>,
    pub dest: Option<String>,
    pub checksum: Option<String>,
    pub repo: Option<String>,
    pub tag: Option<String>,
    /// The hosts that act on it, sorted.
    pub hosts: Vec<String>,
}

/// A file that a role fetches by itself, on `hosts`, whatever the groups of its entry say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RoleDownload {
    pub name: String,
    pub role: String,
    pub url: Option<String>,
    pub dest: Option<String>,
    pub checksum: Option<String>,
    pub hosts: Vec<String>,
    /// Those of `hosts` that the row of the same name leaves out.
    pub hosts_beyond_downloads: Vec<String>,
}

/// What a cluster asks for.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Downloads and packages, sorted by name.
    pub rows: Vec<Row>,
    pub role_downloads: Vec<RoleDownload>,
    /// The images that `kubeadm config images list` would print, those filtered out included.
    pub kubeadm_images: Vec<String>,
    /// All problems found; without one that is no warning the rows are complete.
    pub problems: Vec<Problem>,
}

impl Resolved {
    /// The rows as the JSON list that `--explain -o json` prints first.
    #[cfg(test)]
    pub fn to_json(&self) -> Json {
        json!(self.rows)
    }

    /// Whether nothing but warnings was found.
    pub fn is_complete(&self) -> bool {
        self.problems.iter().all(Problem::is_warning)
    }
}

/// How one host sees an entry: the row without hosts, and whether the host acts.
#[derive(Debug)]
pub(crate) struct Seen {
    pub host: String,
    pub row: Row,
    pub acts: bool,
}

/// Merges what hosts see: equal rows become one; a variant on which no host acts stays only
/// where no variant has a host, and then once, as `first` sees it.
pub(crate) fn merge(seen: Vec<Seen>, first: &str) -> Vec<Row> {
    let mut names: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for one in seen {
        names.entry(one.row.name.clone()).or_default().push(one);
    }
    let mut out = Vec::new();
    for seen in names.into_values() {
        let mut variants: BTreeMap<Row, Vec<String>> = BTreeMap::new();
        for one in seen.iter().filter(|one| one.acts) {
            variants.entry(one.row.clone()).or_default().push(one.host.clone());
        }
        if variants.is_empty() {
            let one = seen.iter().find(|one| one.host == first).or(seen.first());
            out.extend(one.map(|one| one.row.clone()));
        }
        for (mut row, mut hosts) in variants {
            hosts.sort();
            row.hosts = hosts;
            out.push(row);
        }
    }
    out.sort();
    out
}
