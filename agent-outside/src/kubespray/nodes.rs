//! What Ansible would gather from each machine, told by OS and architecture.
//!
//! In:   a map `nodes` of hosts, or a list with an optional default (see [`Nodes`]).
//! Out:  facts such as `ansible_distribution`, for the templates that ask.
//! Facts that only the machine knows (addresses, memory, environment) are left undefined.

use std::collections::HashMap;
use std::sync::Arc;

use super::jinja::made;
use super::problem::Problem;
use super::value::{Dict, Key, Val};
use super::vars::Layer;
use super::yaml;

/// The OS and the architecture of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub os: String,
    pub arch: String,
}

/// The machines of an inventory; `default` stands for those that are not named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nodes {
    pub default: Option<Node>,
    pub by_host: HashMap<String, Node>,
}

impl Nodes {
    /// Reads a file that has a key `nodes`, or is what that key would hold: a map from host to
    /// `{os, arch}`, or a list of `{host, os, arch}` where one item may lack `host`.
    ///
    /// # Errors
    ///
    /// [`Problem::Syntax`] or [`Problem::Node`].
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let document = yaml::parse(file, bytes)?;
        let value =
            document.value.as_map().and_then(|d| d.get_str("nodes")).unwrap_or(&document.value);
        let mut nodes = Self::default();
        match value {
            Val::Map(hosts) => {
                for (host, node) in hosts.iter() {
                    let host = host.to_val().text();
                    nodes.by_host.insert(host.clone(), node_of(&host, node)?);
                }
            }
            Val::List(items) => {
                for item in items.iter() {
                    let host = item.as_map().and_then(|d| d.get_str("host")).map(Val::text);
                    let node = node_of(host.as_deref().unwrap_or("(default)"), item)?;
                    match host {
                        Some(host) => _ = nodes.by_host.insert(host, node),
                        None => nodes.default = Some(node),
                    }
                }
            }
            _ => return Err(Problem::syntax(file, 1, "a map or list of nodes is expected")),
        }
        Ok(nodes)
    }

    /// What is known about a host.
    pub fn of(&self, host: &str) -> Option<&Node> {
        self.by_host.get(host).or(self.default.as_ref())
    }
}

fn node_of(host: &str, value: &Val) -> Result<Node, Problem> {
    let field = |name: &str| {
        value
            .as_map()
            .and_then(|d| d.get_str(name))
            .filter(|v| !matches!(v, Val::None))
            .map(Val::text)
    };
    match (field("os"), field("arch")) {
        (Some(os), arch) => Ok(Node { os, arch: arch.unwrap_or_else(|| "amd64".to_owned()) }),
        (None, _) => Err(Problem::Node { host: host.into(), reason: "its os is missing".into() }),
    }
}

/// What Ansible calls an OS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Os {
    pub distribution: &'static str,
    pub version: String,
    pub release: &'static str,
    pub family: &'static str,
    pub pkg_mgr: &'static str,
}

impl Os {
    fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or_default()
    }
}

/// The name before the version, Ansible's `distribution`, `os_family` and `pkg_mgr`.
const SYSTEMS: [(&str, &str, &str, &str); 24] = [
    ("ubuntu", "Ubuntu", "Debian", "apt"),
    ("debian", "Debian", "Debian", "apt"),
    ("rocky", "Rocky", "RedHat", "dnf"),
    ("rockylinux", "Rocky", "RedHat", "dnf"),
    ("almalinux", "AlmaLinux", "RedHat", "dnf"),
    ("alma", "AlmaLinux", "RedHat", "dnf"),
    ("rhel", "RedHat", "RedHat", "dnf"),
    ("centos-stream", "CentOS", "RedHat", "dnf"),
    ("centos", "CentOS", "RedHat", "dnf"),
    ("oraclelinux", "OracleLinux", "RedHat", "dnf"),
    ("oracle", "OracleLinux", "RedHat", "dnf"),
    ("ol", "OracleLinux", "RedHat", "dnf"),
    ("fedora", "Fedora", "RedHat", "dnf"),
    ("fedora-coreos", "Fedora", "RedHat", "atomic_container"),
    ("opensuse-leap", "openSUSE Leap", "Suse", "zypper"),
    ("opensuse-tumbleweed", "openSUSE Tumbleweed", "Suse", "zypper"),
    ("sles", "SLES", "Suse", "zypper"),
    ("amzn", "Amazon", "RedHat", "dnf"),
    ("amazonlinux", "Amazon", "RedHat", "dnf"),
    ("flatcar", "Flatcar", "Flatcar", "unknown"),
    ("openeuler", "openEuler", "RedHat", "dnf"),
    ("kylin", "Kylin Linux Advanced Server", "RedHat", "dnf"),
    ("uos", "Uos", "Debian", "apt"),
    ("uos-server", "UnionTech", "UnionTech", "dnf"),
];

/// Point releases and code names where Ansible reports more than the usual name says.
const RELEASES: [(&str, &str, &str, &str); 20] = [
    ("Ubuntu", "20.04", "20.04", "focal"),
    ("Ubuntu", "22.04", "22.04", "jammy"),
    ("Ubuntu", "24.04", "24.04", "noble"),
    ("Ubuntu", "26.04", "26.04", "resolute"),
    ("Debian", "11", "11.11", "bullseye"),
    ("Debian", "12", "12.11", "bookworm"),
    ("Debian", "13", "13.1", "trixie"),
    ("Rocky", "8", "8.10", "Green Obsidian"),
    ("Rocky", "9", "9.6", "Blue Onyx"),
    ("Rocky", "10", "10.0", "Red Quartz"),
    ("AlmaLinux", "8", "8.10", "Cerulean Leopard"),
    ("AlmaLinux", "9", "9.6", "Sage Margay"),
    ("AlmaLinux", "10", "10.0", "Purple Lion"),
    ("RedHat", "8", "8.10", "Ootpa"),
    ("RedHat", "9", "9.6", "Plow"),
    ("RedHat", "10", "10.0", "Coughlan"),
    ("OracleLinux", "9", "9.6", "NA"),
    // Systems that roll are named without a version; no condition of Kubespray asks for theirs.
    ("Flatcar", "", "4152.2.0", "NA"),
    ("Fedora", "", "42", "NA"),
    ("openSUSE Tumbleweed", "", "20250901", "NA"),
];

/// The facts behind a name such as `ubuntu-24.04`, `rocky-9` or `opensuse-leap-15.6`.
pub fn system(name: &str) -> Option<Os> {
    let lower = name.to_ascii_lowercase();
    let (_, system, version) = SYSTEMS
        .iter()
        .filter_map(|system| {
            let rest = lower.strip_prefix(system.0)?;
            let version = if rest.is_empty() { rest } else { rest.strip_prefix(['-', ':', ' '])? };
            let plain = version.chars().next().is_none_or(|c| c.is_ascii_digit() || c == 'v');
            plain.then_some((system.0.len(), system, version))
        })
        .max_by_key(|(len, _, _)| *len)?;
    let (_, distribution, family, mut pkg_mgr) = *system;
    if version.is_empty()
        && !matches!(system.0, "fedora-coreos" | "flatcar" | "opensuse-tumbleweed")
    {
        return None;
    }
    let known = RELEASES.iter().find(|(d, v, _, _)| *d == distribution && *v == version);
    let major: u32 = version.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0);
    match distribution {
        "Fedora" if pkg_mgr == "dnf" && major >= 41 => pkg_mgr = "dnf5",
        "Amazon" if major == 2 => pkg_mgr = "yum",
        "CentOS" | "RedHat" | "OracleLinux" if major == 7 => pkg_mgr = "yum",
        _ => {}
    }
    let version = match distribution {
        "Kylin Linux Advanced Server" => version.to_ascii_uppercase(),
        _ => known.map_or(version, |(_, _, full, _)| full).to_owned(),
    };
    Some(Os {
        distribution,
        version,
        release: known.map_or("NA", |(_, _, _, r)| r),
        family,
        pkg_mgr,
    })
}

/// Ansible's name of an architecture (`x86_64` for `amd64`).
pub fn machine(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "arm" | "armhf" => "armv7l",
        other => other,
    }
}

/// The facts of one host as variables, `ansible_facts` among them.
///
/// # Errors
///
/// [`Problem::Node`] for an OS that is not known.
pub(crate) fn facts(host: &str, node: &Node, address: Option<&str>) -> Result<Layer, Problem> {
    let reason =
        || format!("the OS {} is not known; use a name such as ubuntu-24.04 or rocky-9", node.os);
    let os = system(&node.os)
        .ok_or_else(|| Problem::Node { host: host.into(), reason: reason().into() })?;
    let machine = machine(&node.arch);
    let short = host.split('.').next().unwrap_or(host);
    let text = Val::str;
    let map = |pairs: Vec<(&str, Val)>| {
        Val::map(pairs.into_iter().map(|(k, v)| (Key::Str(k.into()), v)).collect::<Dict>())
    };
    let mut default_ipv4 = vec![("interface", text("eth0"))];
    default_ipv4.extend(address.map(|a| ("address", text(a))));
    let all_facts = vec![
        ("architecture", text(machine)),
        ("machine", text(machine)),
        ("userspace_architecture", text(machine)),
        ("system", text("Linux")),
        ("distribution", text(os.distribution)),
        ("distribution_version", text(&os.version)),
        ("distribution_major_version", text(os.major())),
        ("distribution_release", text(os.release)),
        ("lsb", map(vec![("codename", text(os.release)), ("release", text(&os.version))])),
        ("os_family", text(os.family)),
        ("pkg_mgr", text(os.pkg_mgr)),
        ("service_mgr", text("systemd")),
        ("hostname", text(short)),
        ("nodename", text(host)),
        ("fqdn", text(host)),
        ("selinux", map(vec![("status", text("disabled"))])),
        ("default_ipv4", map(default_ipv4)),
        ("default_ipv6", map(vec![])),
    ];
    let mut layer: Layer = all_facts
        .iter()
        .map(|(name, value)| (format!("ansible_{name}").into(), made(value.clone())))
        .collect();
    layer.insert("ansible_facts".into(), made(map(all_facts)));
    let python: Arc<str> = "discovered_interpreter_python".into();
    layer.insert(python, made(text("/usr/bin/python3")));
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(name: &str) -> String {
        system(name).map_or("none".into(), |o| {
            format!("{}/{}/{}/{}", o.distribution, o.version, o.family, o.pkg_mgr)
        })
    }

    #[test]
    fn systems_are_called_as_ansible_calls_them() {
        assert_eq!(show("ubuntu-24.04"), "Ubuntu/24.04/Debian/apt");
        assert_eq!(show("debian-12"), "Debian/12.11/Debian/apt");
        assert_eq!(show("rocky-9"), "Rocky/9.6/RedHat/dnf");
        assert_eq!(show("rhel-9.4"), "RedHat/9.4/RedHat/dnf");
        assert_eq!(show("centos-stream-10"), "CentOS/10/RedHat/dnf");
        assert_eq!(show("opensuse-leap-15.6"), "openSUSE Leap/15.6/Suse/zypper");
        assert_eq!(show("fedora-42"), "Fedora/42/RedHat/dnf5");
        assert_eq!(show("fedora-coreos-42"), "Fedora/42/RedHat/atomic_container");
        assert_eq!(show("kylin-v10"), "Kylin Linux Advanced Server/V10/RedHat/dnf");
        assert_eq!(show("flatcar"), "Flatcar/4152.2.0/Flatcar/unknown");
        assert_eq!(show("windows-11"), "none");
        assert_eq!(show("ubuntu"), "none");
    }

    #[test]
    fn nodes_are_a_map_or_a_list_with_a_default() {
        let map = Nodes::parse("n", b"nodes: {a: {os: rocky-9, arch: arm64}}").unwrap();
        assert_eq!(map.of("a").unwrap(), &Node { os: "rocky-9".into(), arch: "arm64".into() });
        assert_eq!(map.of("b"), None);
        let list = Nodes::parse("n", b"- {os: debian-12, arch: amd64}\n- {host: b, os: rocky-9}\n")
            .unwrap();
        assert_eq!(list.of("a").unwrap().os, "debian-12");
        assert_eq!(list.of("b").unwrap().arch, "amd64");
    }
}
