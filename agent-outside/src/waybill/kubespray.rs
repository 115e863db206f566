//! The `kubespray` lines of a waybill.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::Deserialize;

use super::{AptLine, YumLine};
use crate::kubespray::supplement::Runner;

/// A Kubespray tree with an inventory, and what its machines are.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KubesprayLine {
    /// A folder, a tarball, or `CLONE#TAG`.
    pub tree: String,
    /// The inventory file, or its folder.
    pub inventory: Utf8PathBuf,
    /// Files of variables, or `name=value` as `-e` takes it.
    #[serde(default)]
    pub extra_vars: Vec<String>,
    /// What the machines are; the one without a host stands for all that are not named.
    #[serde(default)]
    pub nodes: Vec<NodeLine>,
    /// How the playbooks are run inside.
    #[serde(default = "both")]
    pub runner: Runner,
    /// The machine that runs them.
    pub admin: Option<MachineLine>,
    /// Where the packages of each system come from, by its name in `nodes`; a system that is not
    /// named takes what this machine's own apt or dnf is set to.
    #[serde(default)]
    pub repositories: BTreeMap<String, RepositoryLines>,
    /// The Python releases of the admin node; those that the pinned Ansible runs on when left out.
    #[serde(default)]
    pub python: Vec<String>,
    /// Whether plain HTTP may be used for images that no digest vouches for.
    #[serde(default)]
    pub insecure: bool,
}

impl KubesprayLine {
    /// The rule that one of its repositories breaks; packages and architectures are not theirs to
    /// say.
    pub fn broken_rule(&self) -> Option<&'static str> {
        let is_unsigned =
            |line: &AptLine| line.uri.is_some() && line.signed_by.is_none() && !line.insecure;
        let broken = |lines: &RepositoryLines| {
            let apt = lines.apt.iter().any(is_unsigned).then_some(
                "name the key file in signedBy, or accept any bytes with `insecure: true`",
            );
            let yum = |line: &YumLine| {
                let (arch, packages) = ("any".to_owned(), vec!["any".to_owned()]);
                YumLine { arch, packages, ..line.clone() }.broken_rule()
            };
            apt.or_else(|| lines.yum.iter().find_map(yum))
        };
        self.repositories.values().find_map(broken)
    }
}

const fn both() -> Runner {
    Runner::Both
}

/// What one machine is, or what all others are.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeLine {
    pub host: Option<String>,
    /// `ubuntu-24.04`, `rocky-9` …
    pub os: String,
    #[serde(default = "amd64")]
    pub arch: String,
}

/// A machine that is in no inventory.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineLine {
    pub os: String,
    #[serde(default = "amd64")]
    pub arch: String,
}

fn amd64() -> String {
    "amd64".to_owned()
}

/// The repositories of one system; their `packages` are those that Kubespray asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryLines {
    #[serde(default)]
    pub apt: Vec<AptLine>,
    #[serde(default)]
    pub yum: Vec<YumLine>,
}
