//! YAML inventories: groups with `hosts`, `vars` and `children`.

use super::super::problem::{Place, Problem};
use super::super::value::{Dict, Val};
use super::super::yaml;
use super::{Inventory, range};

/// Deepest nesting of children.
const DEPTH_MAX: usize = 60;

/// Reads one file into `inventory`.
pub(super) fn read(inventory: &mut Inventory, file: &str, bytes: &[u8]) -> Result<(), Problem> {
    let document = yaml::parse(file, bytes)?;
    let Val::Map(groups) = &document.value else {
        return Err(Problem::inventory(file, "a map of groups is expected"));
    };
    inventory.warnings.extend(document.warnings);
    let mut reader = Reader { inventory, file };
    if let Some(Val::Map(meta)) = groups.get_str("_meta") {
        // The form that `ansible-inventory --list` prints.
        return reader.listing(groups, meta);
    }
    for (name, group) in groups.iter() {
        let name = name.to_val().text();
        let line = document.lines.get(name.as_str()).copied().unwrap_or(0);
        reader.group(&name, group, line, 0)?;
    }
    Ok(())
}

struct Reader<'a> {
    inventory: &'a mut Inventory,
    file: &'a str,
}

impl Reader<'_> {
    fn fault(&self, line: usize, reason: impl std::fmt::Display) -> Problem {
        Problem::syntax(self.file, line, reason)
    }

    /// A section of a group; plain text stands for a key without value.
    fn section<'v>(
        &self,
        group: &'v Dict,
        key: &str,
        line: usize,
    ) -> Result<Vec<(String, &'v Val)>, Problem> {
        match group.get_str(key) {
            None | Some(Val::None) => Ok(Vec::new()),
            Some(Val::Map(dict)) => Ok(dict.iter().map(|(k, v)| (k.to_val().text(), v)).collect()),
            Some(Val::Str(name)) => Ok(vec![(name.to_string(), &Val::None)]),
            Some(other) => {
                Err(self.fault(line, format!("{key} of a group is a map, not a {}", other.kind())))
            }
        }
    }

    fn group(&mut self, name: &str, group: &Val, line: usize, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(self.fault(line, "groups are nested too deeply"));
        }
        self.inventory.group(name);
        let group = match group {
            Val::Map(group) => group,
            Val::None => return Ok(()),
            other => {
                return Err(
                    self.fault(line, format!("group {name} is a map, not a {}", other.kind()))
                );
            }
        };
        if let Some((key, _)) = group
            .iter()
            .find(|(key, _)| !matches!(key.to_val().text().as_str(), "hosts" | "vars" | "children"))
        {
            let key = key.to_val().text();
            let reason =
                format!("group {name} has the unknown key {key}, which Ansible leaves out");
            let place = Place::new(self.file, line);
            self.inventory.warnings.push(Problem::Doubtful { place, reason: reason.into() });
        }
        for (variable, value) in self.section(group, "vars", line)? {
            let place = Place::new(self.file, line);
            self.inventory.set_group_var(name, &variable, value.clone(), place);
        }
        for (child, value) in self.section(group, "children", line)? {
            self.group(&child, value, line, depth + 1)?;
            self.inventory.add_child(name, &child);
        }
        for (pattern, vars) in self.section(group, "hosts", line)? {
            self.hosts(name, &pattern, vars, line)?;
        }
        Ok(())
    }

    fn hosts(
        &mut self,
        group: &str,
        pattern: &str,
        vars: &Val,
        line: usize,
    ) -> Result<(), Problem> {
        let (hosts, port) = range::expand(pattern).map_err(|e| self.fault(line, e))?;
        let vars = match vars {
            Val::Map(vars) => Some(vars),
            Val::None => None,
            other => {
                return Err(self.fault(
                    line,
                    format!("host {pattern} has a map of variables, not a {}", other.kind()),
                ));
            }
        };
        for host in hosts {
            self.inventory.add_host(group, &host, self.file)?;
            let place = || Place::new(self.file, line);
            if let Some(port) = port {
                self.inventory.set_host_var(&host, "ansible_port", Val::Int(port.into()), place());
            }
            for (name, value) in vars.iter().flat_map(|vars| vars.iter()) {
                let name = name.to_val().text();
                self.inventory.set_host_var(&host, &name, value.clone(), place());
            }
        }
        Ok(())
    }

    fn listing(&mut self, groups: &Dict, meta: &Dict) -> Result<(), Problem> {
        for (name, group) in groups.iter() {
            let (name, group) = (name.to_val().text(), group.as_map());
            let Some(group) = group.filter(|_| name != "_meta") else { continue };
            self.inventory.group(&name);
            for host in group.get_str("hosts").and_then(Val::as_items).unwrap_or_default() {
                self.inventory.add_host(&name, &host.text(), self.file)?;
            }
            for child in group.get_str("children").and_then(Val::as_items).unwrap_or_default() {
                self.inventory.add_child(&name, &child.text());
            }
            for (variable, value) in self.section(group, "vars", 0)? {
                let place = Place::new(self.file, 0);
                self.inventory.set_group_var(&name, &variable, value.clone(), place);
            }
        }
        let hosts = meta.get_str("hostvars").and_then(Val::as_map);
        for (host, vars) in hosts.iter().flat_map(|hosts| hosts.iter()) {
            let host = host.to_val().text();
            for (name, value) in vars.as_map().iter().flat_map(|vars| vars.iter()) {
                let place = Place::new(self.file, 0);
                self.inventory.set_host_var(&host, &name.to_val().text(), value.clone(), place);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::Tree;
    use super::*;

    fn parse(text: &str) -> Result<Inventory, Problem> {
        Inventory::parse("hosts.yml", text.as_bytes(), Tree::default())
    }

    #[test]
    fn hosts_ranges_vars_and_children_are_read() {
        let text = "all:\n  vars: {v: yes}\n  children:\n    a:\n      hosts:\n        n[1:2]:\n        m: {ip: 1.2.3.4}\n    b: {children: {a: }}\n";
        let inventory = parse(text).unwrap();
        let names: Vec<&str> = inventory.host_names.iter().map(|h| &**h).collect();
        assert_eq!(names, ["n1", "n2", "m"]);
        assert_eq!(inventory.members("b").len(), 3);
        assert_eq!(
            inventory.groups.get("all").unwrap().vars.get("v").unwrap().value.text(),
            "True"
        );
        assert_eq!(inventory.hosts.get("m").unwrap().get("ip").unwrap().value.text(), "1.2.3.4");
    }

    #[test]
    fn what_ansible_inventory_prints_is_read_too() {
        let text = r#"{"_meta": {"hostvars": {"x": {"p": 1}}}, "all": {"children": ["a"]}, "a": {"hosts": ["x"]}}"#;
        let inventory = parse(text).unwrap();
        assert_eq!(inventory.members("all").len(), 1);
        assert_eq!(inventory.hosts.get("x").unwrap().get("p").unwrap().value.text(), "1");
    }

    #[test]
    fn a_group_that_is_no_map_is_named_with_its_line() {
        let problem = parse("all:\n  hosts: {x: }\nb: [y]\n").unwrap_err();
        assert_eq!(problem.to_string(), "hosts.yml:3: group b is a map, not a list");
    }
}
