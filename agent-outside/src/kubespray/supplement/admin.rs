//! Names what the machine needs that runs the playbooks.
//!
//! In:   a list's entries for the admin node, the tree's version and requirements.txt.
//! Out:  items with `admin` set, and problems, in a [`Collected`].
//!
//! No variables of the inventory count here: `{version}` and `{requirements}` stand for what the
//! tree says.

use std::collections::BTreeSet;

use super::apply::{Collected, Values};
use super::list::{Entry, List, Wanted};
use super::{Admin, Evidence, Kind, Runner, Tree};

/// Entries whose name starts so bring an interpreter.
const INTERPRETER: &str = "admin-python";
const REQUIREMENTS: &str = "requirements.txt";

/// Collects the entries for the admin node.
pub(super) fn apply(
    list: &List,
    tree: &dyn Tree,
    version: &str,
    admin: &Admin,
    collected: &mut Collected,
) {
    let entries = list.items.iter().filter(|entry| is_wanted(entry, admin.runner));
    for entry in entries.filter(|entry| concerns(list, entry, admin)) {
        match entry.value.as_str() {
            "{requirements}" => requirements(entry, tree, collected),
            _ => plain(entry, version, collected),
        }
    }
    if admin.os.is_none() {
        let message = "its system is not known: interpreter, ssh and the like are left out";
        collected.gap("admin node", None, message.to_owned());
    } else if admin.runner != Runner::Image {
        check_interpreter(list, admin, collected);
    }
}

fn is_wanted(entry: &Entry, runner: Runner) -> bool {
    match entry.admin {
        None => false,
        Some(Wanted::Always) => true,
        Some(Wanted::Image) => runner != Runner::Pip,
        Some(Wanted::Pip) => runner != Runner::Image,
    }
}

fn concerns(list: &List, entry: &Entry, admin: &Admin) -> bool {
    match &admin.os {
        Some(os) => list.concerns(&entry.os, os),
        None => entry.os.is_empty(),
    }
}

/// Adds an entry whose texts need nothing but the version.
fn plain(entry: &Entry, version: &str, collected: &mut Collected) {
    let fill = |text: &str| text.replace("{version}", version);
    let values: Vec<&str> = match entry.kind {
        Kind::Package => entry.value.split_ascii_whitespace().collect(),
        _ => vec![&entry.value],
    };
    for value in values {
        let values = Values {
            value: fill(value),
            repository: entry.repository.as_deref().map(fill),
            version: entry.version.as_deref().map(fill),
            checksum: entry.checksum.clone(),
        };
        collected.add(entry, values, &BTreeSet::new());
    }
}

/// Adds each requirement of the tree, with its own line as evidence.
fn requirements(entry: &Entry, tree: &dyn Tree, collected: &mut Collected) {
    let Some(text) = tree.read(REQUIREMENTS) else {
        collected.gap(&entry.name, None, format!("the tree has no {REQUIREMENTS}"));
        return;
    };
    for (line, number) in text.lines().zip(1u32..) {
        let requirement = bare(line);
        if requirement.starts_with('-') {
            let message = format!("{REQUIREMENTS}:{number}: {requirement:?} is not followed");
            collected.gap(&entry.name, None, message);
            continue;
        }
        if requirement.is_empty() {
            continue;
        }
        let said =
            Evidence { path: REQUIREMENTS.to_owned(), line: number, text: requirement.to_owned() };
        let value = requirement.to_owned();
        let values = Values { value, repository: None, version: None, checksum: None };
        collected.add_with(entry, values, &BTreeSet::new(), vec![said]);
    }
}

/// A line of requirements.txt without comment, hashes and continuation.
fn bare(line: &str) -> &str {
    let line = line.trim().trim_end_matches('\\').trim_end();
    if line.starts_with('#') || line.starts_with("--hash=") {
        return "";
    }
    let line = line.split_once(" #").map_or(line, |(bare, _)| bare);
    line.split_once(" --").map_or(line, |(bare, _)| bare).trim_end()
}

/// Says when the admin node's own repositories have no interpreter that runs the playbooks.
fn check_interpreter(list: &List, admin: &Admin, collected: &mut Collected) {
    if collected.items.values().any(|item| item.admin && item.name.starts_with(INTERPRETER)) {
        return;
    }
    let message = format!(
        "no package of {} is known to bring a Python that runs Ansible ({}): run the playbooks from the image",
        admin.os.as_deref().unwrap_or_default(),
        list.ansible.python.join(", "),
    );
    collected.gap("admin node", None, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_read_without_what_pip_alone_understands() {
        assert_eq!(bare("ansible==11.13.0"), "ansible==11.13.0");
        assert_eq!(bare("  netaddr==1.3.0  # for ipaddr"), "netaddr==1.3.0");
        assert_eq!(bare("a==1 --hash=sha256:00 \\"), "a==1");
        assert_eq!(bare("    --hash=sha256:00"), "");
        assert_eq!(bare("# words"), "");
        assert_eq!(bare("b; python_version < \"3.12\" \\"), "b; python_version < \"3.12\"");
        assert_eq!(bare("-r other.txt"), "-r other.txt");
    }
}
