//! INI inventories: sections of hosts, of children and of variables.
//!
//! Values are Python literals where they are such (`True`, `5`, `['a']`), else text; so `true`
//! and `10.0.0.1` stay text, as with Ansible.

use std::collections::BTreeMap;

use super::super::literal::{self, Words};
use super::super::problem::{Place, Problem};
use super::super::value::Val;
use super::{Inventory, range};

/// Reads one file into `inventory`.
pub(super) fn read(inventory: &mut Inventory, file: &str, bytes: &[u8]) -> Result<(), Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::inventory(file, "the file is not UTF-8 text"))?;
    if text.starts_with("$ANSIBLE_VAULT") {
        return Err(Problem::VaultedFile(file.into()));
    }
    let mut reader = Reader { inventory, file, pending: BTreeMap::new() };
    let (mut group, mut kind) = ("ungrouped".to_owned(), Kind::Hosts);
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && section(line).is_some() {
            (group, kind) = reader.section(line, number)?;
            continue;
        }
        match kind {
            Kind::Hosts => reader.host(&group, line, number)?,
            Kind::Vars => reader.variable(&group, line, number)?,
            Kind::Children => reader.child(&group, line, number)?,
        }
    }
    match reader.pending.into_iter().next() {
        Some((name, number)) => {
            Err(Problem::syntax(file, number, format!("group {name} is not defined anywhere")))
        }
        None => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Children,
    Vars,
}

struct Reader<'a> {
    inventory: &'a mut Inventory,
    file: &'a str,
    /// Groups that are spoken of before they are defined, with the line.
    pending: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn fault(&self, number: usize, reason: impl std::fmt::Display) -> Problem {
        Problem::syntax(self.file, number, reason)
    }

    fn section(&mut self, line: &str, number: usize) -> Result<(String, Kind), Problem> {
        let (name, kind) = section(line).unwrap_or_default();
        let kind = match kind {
            "" | "hosts" => Kind::Hosts,
            "children" => Kind::Children,
            "vars" => Kind::Vars,
            other => {
                return Err(self.fault(
                    number,
                    format!("a section is of hosts, children or vars, not {other}"),
                ));
            }
        };
        if kind == Kind::Vars {
            if !self.inventory.groups.contains_key(name) {
                self.pending.entry(name.to_owned()).or_insert(number);
            }
        } else {
            self.pending.remove(name);
            self.inventory.group(name);
        }
        Ok((name.to_owned(), kind))
    }

    fn host(&mut self, group: &str, line: &str, number: usize) -> Result<(), Problem> {
        let mut words = shell_words(line).map_err(|e| self.fault(number, e))?.into_iter();
        let Some(pattern) = words.next() else { return Ok(()) };
        let (hosts, port) = range::expand(&pattern).map_err(|e| self.fault(number, e))?;
        let mut pairs = Vec::new();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(self.fault(number, format!("key=value is expected, not {word}")));
            };
            pairs.push((name.to_owned(), value_of(value)));
        }
        for host in hosts {
            self.inventory.add_host(group, &host, self.file)?;
            let place = || Place::new(self.file, number);
            if let Some(port) = port {
                self.inventory.set_host_var(&host, "ansible_port", Val::Int(port.into()), place());
            }
            for (name, value) in &pairs {
                self.inventory.set_host_var(&host, name, value.clone(), place());
            }
        }
        Ok(())
    }

    fn variable(&mut self, group: &str, line: &str, number: usize) -> Result<(), Problem> {
        let Some((name, value)) = line.split_once('=') else {
            return Err(self.fault(number, format!("key=value is expected, not {line}")));
        };
        let place = Place::new(self.file, number);
        self.inventory.set_group_var(group, name.trim(), value_of(value.trim()), place);
        Ok(())
    }

    fn child(&mut self, group: &str, line: &str, number: usize) -> Result<(), Problem> {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() || name.contains([':', ']', ' ', '\t']) {
            return Err(self.fault(number, format!("the name of a group is expected, not {line}")));
        }
        if !self.inventory.groups.contains_key(name) {
            self.pending.entry(name.to_owned()).or_insert(number);
        }
        self.inventory.add_child(group, name);
        Ok(())
    }
}

/// `[name:kind]`, perhaps with a comment behind it.
fn section(line: &str) -> Option<(&str, &str)> {
    let (inside, after) = line.strip_prefix('[')?.split_once(']')?;
    let after = after.trim();
    if !after.is_empty() && !after.starts_with('#') {
        return None;
    }
    let (name, kind) = inside.split_once(':').unwrap_or((inside, ""));
    let well = !name.is_empty()
        && !name.contains(char::is_whitespace)
        && kind.chars().all(|c| c.is_alphanumeric() || c == '_')
        && (kind.is_empty() != inside.contains(':'));
    // A range of hosts may stand at the start of a line as well.
    let is_range = kind.parse::<u64>().is_ok() || (kind.len() == 1 && name.len() == 1);
    (well && !is_range).then_some((name, kind))
}

fn value_of(text: &str) -> Val {
    literal::parse(text, Words::Python).unwrap_or_else(|| Val::str(text))
}

/// Divides as a POSIX shell does; `#` begins a comment.
fn shell_words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => break, // even within a word, as with Python's shlex
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a quote is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed"),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::Tree;
    use super::*;

    fn parse(text: &str) -> Result<Inventory, Problem> {
        Inventory::parse("hosts.ini", text.as_bytes(), Tree::default())
    }

    #[test]
    fn values_are_literals_of_python_or_text() {
        let text = "[a]\nx n=5 t=true b=True ip=10.0.0.1 s='a b' l=\"['p', 1]\" # comment\n[a:vars]\nv = 'quoted'\nw = no\n";
        let inventory = parse(text).unwrap();
        let host = inventory.hosts.get("x").unwrap();
        let show = |name: &str| {
            let value = &host.get(name).unwrap().value;
            format!("{} {}", value.kind(), value.text())
        };
        assert_eq!(
            ["n", "t", "b", "ip", "s", "l"].map(show),
            [
                "number 5",
                "string true",
                "boolean True",
                "string 10.0.0.1",
                "string a b",
                "list ['p', 1]"
            ]
        );
        let vars = &inventory.groups.get("a").unwrap().vars;
        assert_eq!(vars.get("v").unwrap().value.text(), "quoted");
        assert_eq!(vars.get("w").unwrap().value.text(), "no");
    }

    #[test]
    fn a_child_that_is_defined_nowhere_is_named_with_its_line() {
        let problem = parse("[k8s_cluster:children]\nkube_nodes\n[kube_node]\nx\n").unwrap_err();
        assert_eq!(problem.to_string(), "hosts.ini:2: group kube_nodes is not defined anywhere");
    }

    #[test]
    fn ranges_may_begin_a_line_and_sections_may_end_in_a_comment() {
        let inventory = parse("[kube_node] # workers\n[a:c].site.example\nn[1:2]\n").unwrap();
        let names: Vec<&str> = inventory.host_names.iter().map(|h| &**h).collect();
        assert_eq!(names, ["a.site.example", "b.site.example", "c.site.example", "n1", "n2"]);
    }
}
