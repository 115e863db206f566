//! Works out what Kubespray will ask for, without Ansible.
//!
//! In:   a Kubespray tree, an inventory, `-e` arguments and what the machines are.
//! Out:  [`Resolved`]: one row for each variant of each download, image and OS package, and
//!       every problem found; and hosts, which evaluate any further template.
//! Never fetches, never runs a playbook, script or lookup, never guesses: what only the machine
//! with Ansible knows is a problem that names the variable to give with `-e`.
//!
//! The way: [`tree`] and [`inventory`] read; [`vars`] and [`roles`] lay variables over each
//! other; [`jinja`] evaluates them for one host of a [`cluster`]; [`downloads`], [`kubeadm`],
//! [`packages`] and [`fetches`] ask; [`explain`] merges what hosts see into rows.
//! [`supplement`] adds what Kubespray's own list forgets; [`answers`] evaluates for it.

mod answers;
#[cfg(test)]
mod behaviour;
mod cluster;
mod downloads;
mod dynamic_groups;
mod explain;
mod fetches;
mod host;
mod inventory;
mod jinja;
mod kubeadm;
mod literal;
pub mod nodes;
#[cfg(test)]
mod oracles;
mod packages;
mod problem;
pub mod question;
mod roles;
pub mod supplement;
mod tree;
mod value;
mod vars;
mod yaml;

pub use cluster::{Cluster, release};
pub use explain::{Kind, Resolved, Row};
pub use inventory::Inventory;
pub use nodes::{Node, Nodes};
pub use problem::Problem;
pub use tree::Tree;

/// Resolves everything that the cluster's plays download and install.
///
/// Takes some ten milliseconds for a few hosts and grows with their number; problems of all
/// hosts and entries are collected.
pub fn resolve(cluster: &Cluster) -> Resolved {
    let kubeadm_images = kubeadm::images(cluster);
    let downloading = downloads::Downloading::new(cluster, &kubeadm_images);
    let play = cluster.play_with("download");
    let acting = play.map(|play| cluster.matching(&play.hosts)).unwrap_or_default();
    let (mut fetches, mut packages) =
        (fetches::Fetches::new(cluster), packages::Packages::new(cluster));
    let mut seen = Vec::new();
    for name in cluster.inventory.host_names.iter().filter(|name| cluster.has_facts(name)) {
        if acting.contains(name)
            && let (Some(downloading), Some(host)) = (&downloading, cluster.host(name))
        {
            seen.extend(downloading.seen_by(&host));
            fetches.add(&host);
        }
        packages.add(name);
        cluster.forget(name);
    }
    let mut control = cluster.inventory.members("kube_control_plane");
    control.sort();
    let mut rows = explain::merge(seen, control.first().map_or("", |host| &**host));
    let role_downloads = fetches.rows(&rows);
    rows.extend(packages.rows());
    Resolved { rows, role_downloads, kubeadm_images, problems: cluster.problems() }
}
