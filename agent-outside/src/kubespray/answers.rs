//! Answers the questions of the supplement from a cluster and its tree.

use super::cluster::Cluster;
use super::host::Host;
use super::supplement::{self, Evaluate};
use super::tree::Tree;

impl supplement::Tree for Tree {
    fn read(&self, path: &str) -> Option<String> {
        self.get(path).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
    }
}

impl Evaluate for Cluster {
    fn hosts(&self) -> Vec<String> {
        self.inventory.host_names.iter().map(ToString::to_string).collect()
    }

    fn groups(&self, host: &str) -> Vec<String> {
        self.groups_by_host.get(host).into_iter().flatten().map(ToString::to_string).collect()
    }

    fn os(&self, host: &str) -> Option<String> {
        self.nodes.of(host).map(|node| node.os.clone())
    }

    fn truth(&self, host: &str, role: Option<&str>, expression: &str) -> Result<bool, String> {
        self.asked(host, role)?.truth(expression).map_err(|problem| problem.to_string())
    }

    fn text(&self, host: &str, role: Option<&str>, template: &str) -> Result<String, String> {
        self.asked(host, role)?.text(template).map_err(|problem| problem.to_string())
    }

    fn text_with(
        &self,
        host: &str,
        role: Option<&str>,
        vars: &str,
        template: &str,
    ) -> Result<String, String> {
        let host = self.asked(host, role)?.with_vars(vars);
        host.text(template).map_err(|problem| problem.to_string())
    }
}

impl Cluster {
    fn asked(&self, host: &str, role: Option<&str>) -> Result<Host<'_>, String> {
        let found = self.host(host).ok_or_else(|| format!("there is no host {host}"))?;
        Ok(match role {
            Some(role) => found.with_role(role),
            None => found,
        })
    }
}
