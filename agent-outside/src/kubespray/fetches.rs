//! The files that roles fetch through the download role's tasks by themselves.
//!
//! In:   a [`Cluster`] and its rows.
//! Out:  [`RoleDownload`]s: container engines fetch on every node that runs one, whatever the
//!       groups of the entry say (skopeo under CRI-O), and so does etcdctl_etcdutl.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::downloads::as_text;
use super::explain::{Kind, RoleDownload, Row};
use super::host::Host;
use super::jinja::Halt;
use super::problem::Place;
use super::roles::{self, Roles};
use super::value::Val;

/// Deepest chain of roles that depend on each other.
const DEPTH_MAX: usize = 8;

/// The role that the etcd playbook adds where Kubespray runs etcd, or kubeadm does.
const ETCDCTL: (&str, &str) = (
    "etcdctl_etcdutl",
    "('etcd' in group_names and etcd_deployment_type != 'kubeadm') or ('kube_control_plane' in group_names and etcd_deployment_type == 'kubeadm')",
);

/// One way to a role that fetches something: the entry, and all conditions on the way.
struct Fetch {
    role: String,
    entry: String,
    /// Whether the role brings variables of its own.
    has_vars: bool,
    conditions: Vec<Val>,
}

/// The ways to all roles that fetch something by themselves.
pub(crate) struct Fetches<'c> {
    cluster: &'c Cluster,
    fetches: Vec<Fetch>,
    found: BTreeMap<RoleDownload, Vec<String>>,
}

impl<'c> Fetches<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Self {
        let mut roles = Roles::default();
        let mut fetches = Vec::new();
        let engine = [Val::str("deploy_container_engine")];
        walk(cluster, &mut roles, "container-engine", &engine, 0, &mut fetches);
        walk(cluster, &mut roles, ETCDCTL.0, &[Val::str(ETCDCTL.1)], 0, &mut fetches);
        roles.problems.into_iter().for_each(|problem| cluster.note(problem));
        Self { cluster, fetches, found: BTreeMap::new() }
    }

    /// Adds what the roles fetch on one host.
    pub(crate) fn add(&mut self, host: &Host<'_>) {
        for fetch in &self.fetches {
            match fetched(host, fetch) {
                Ok(Some(row)) => {
                    self.found.entry(row).or_default().push(host.name().to_owned());
                }
                Ok(None) => {}
                Err(halt) => {
                    let place = Place { file: format!("roles/{}", fetch.role).into(), line: 0 };
                    self.cluster.note(host.evaluator().problem(&fetch.entry, &place, halt));
                }
            }
        }
    }

    /// One row for each variant, beside the rows of the download role.
    pub(crate) fn rows(self, downloads: &[Row]) -> Vec<RoleDownload> {
        let with_hosts = |(row, hosts)| with_hosts(row, hosts, downloads);
        let mut out: Vec<_> = self.found.into_iter().map(with_hosts).collect();
        out.sort();
        out
    }
}

fn with_hosts(mut row: RoleDownload, mut hosts: Vec<String>, downloads: &[Row]) -> RoleDownload {
    hosts.sort();
    hosts.dedup();
    let covered = |host: &&String| {
        downloads
            .iter()
            .any(|d| d.name == row.name && d.kind == Kind::File && d.hosts.contains(host))
    };
    row.hosts_beyond_downloads = hosts.iter().filter(|host| !covered(host)).cloned().collect();
    row.hosts = hosts;
    row
}

fn walk(
    cluster: &Cluster,
    roles: &mut Roles,
    role: &str,
    on_the_way: &[Val],
    depth: usize,
    out: &mut Vec<Fetch>,
) {
    if depth > DEPTH_MAX {
        return;
    }
    for (other, when) in &roles.get(&cluster.tree, role).depends_on.clone() {
        let mut conditions = on_the_way.to_vec();
        conditions.extend(roles::conditions(Some(when)));
        walk(cluster, roles, other, &conditions, depth + 1, out);
    }
    for task in roles::tasks(&cluster.tree, role, "main", &mut roles.problems) {
        let Some(entry) = entry_of(&task) else { continue };
        let mut conditions = on_the_way.to_vec();
        conditions.extend(roles::conditions(task.as_map().and_then(|t| t.get_str("when"))));
        let own = roles.get(&cluster.tree, role);
        let has_vars = !own.defaults.is_empty() || !own.vars.is_empty();
        out.push(Fetch { role: role.to_owned(), entry, has_vars, conditions });
    }
}

/// `etcd` of a task that includes download_file.yml with
/// `download: {{ download_defaults | combine(downloads.etcd) }}`.
fn entry_of(task: &Val) -> Option<String> {
    let file =
        roles::module(task, "include_tasks").or_else(|| roles::module(task, "import_tasks"))?;
    let file = match file {
        Val::Map(args) => args.get_str("file").map(Val::text)?,
        one => one.text(),
    };
    if !file.ends_with("download_file.yml") {
        return None;
    }
    let download = task.as_map()?.get_str("vars")?.as_map()?.get_str("download")?.text();
    let after = download.split_once("downloads.")?.1;
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
    after.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn fetched(host: &Host<'_>, fetch: &Fetch) -> Result<Option<RoleDownload>, Halt> {
    for condition in &fetch.conditions {
        if !host.evaluator().truth(condition)? {
            return Ok(None);
        }
    }
    let within = fetch.has_vars.then(|| host.with_role(&fetch.role));
    let host = within.as_ref().unwrap_or(host);
    let entry = host.evaluator().expression(&format!("downloads.{}", fetch.entry))?;
    let field = |key: &str| entry.as_map().and_then(|e| e.get_str(key)).and_then(as_text);
    Ok(Some(RoleDownload {
        name: fetch.entry.clone(),
        role: fetch.role.clone(),
        url: field("url"),
        dest: field("dest"),
        checksum: field("checksum"),
        hosts: Vec::new(),
        hosts_beyond_downloads: Vec::new(),
    }))
}
