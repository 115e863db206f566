//! Lays variables over each other in Ansible's order, and reads the arguments of `-e`.
//!
//! In:   an inventory with its vars folders, `-e` arguments.
//! Out:  one [`Layer`] for each host: what the inventory says about it.
//!
//! Later wins: group `all` of the file, its other groups (by depth, priority, name),
//! group_vars/all, group_vars of the groups, the host of the file, host_vars. Role defaults lie
//! below, facts, role vars and `-e` above (see [`super::cluster`]).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::inventory::Inventory;
use super::problem::{Place, Problem};
use super::tree::{Tree, read_bounded};
use super::value::Val;
use super::yaml;

/// What a variable is defined as, and where.
#[derive(Debug, Clone)]
pub(crate) struct Def {
    pub value: Val,
    pub place: Place,
}

/// Variables by name.
pub(crate) type Layer = HashMap<Arc<str>, Arc<Def>>;

/// The files that hold the variables called `name` in `folder`: a folder before a file, and of
/// a folder all files, sorted.
pub(crate) fn files_of(tree: &Tree, folder: &str, name: &str) -> Vec<String> {
    for ending in ["", ".yml", ".yaml", ".json"] {
        let path = format!("{folder}/{name}{ending}");
        if tree.get(&path).is_some() {
            return vec![path];
        }
        let mut files = Vec::new();
        folder_files(tree, &path, &mut files);
        if tree.below(&path).next().is_some() {
            return files;
        }
    }
    Vec::new()
}

fn folder_files(tree: &Tree, folder: &str, out: &mut Vec<String>) {
    let names: BTreeSet<(&str, bool)> = tree
        .below(folder)
        .filter_map(|path| path.get(folder.len() + 1..))
        .map(|rest| rest.split_once('/').map_or((rest, false), |(name, _)| (name, true)))
        .collect();
    for (name, is_folder) in names {
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let path = format!("{folder}/{name}");
        if is_folder && ending.is_empty() {
            folder_files(tree, &path, out);
        } else if !is_folder && matches!(ending, "" | "yml" | "yaml" | "json") {
            out.push(path);
        }
    }
}

/// Lays the variables of one file over `layer`; `shown` goes before its path in messages.
pub(crate) fn lay_file(
    tree: &Tree,
    path: &str,
    shown: &str,
    layer: &mut Layer,
    problems: &mut Vec<Problem>,
) {
    let Some(bytes) = tree.get(path) else { return };
    let name = format!("{shown}{path}");
    let read = yaml::parse(&name, bytes).and_then(|mut document| {
        problems.append(&mut document.warnings);
        document.into_dict(&name)
    });
    match read {
        Ok((dict, lines)) => {
            let file: Arc<str> = name.as_str().into();
            for (key, value) in dict.iter() {
                let key: Arc<str> = key.to_val().text().into();
                let line =
                    lines.get(&key).copied().and_then(|l| u32::try_from(l).ok()).unwrap_or(0);
                let place = Place { file: file.clone(), line };
                layer.insert(key, Arc::new(Def { value: value.clone(), place }));
            }
        }
        Err(problem) => problems.push(problem),
    }
}

/// The variables of every host that the inventory and its vars folders define.
///
/// `adjacent` holds group_vars and host_vars beside the playbook, which win over those beside
/// the inventory.
pub(crate) fn of_hosts(
    inventory: &Inventory,
    adjacent: &Tree,
    problems: &mut Vec<Problem>,
) -> HashMap<Arc<str>, Layer> {
    let shown = format!("{}/", inventory.folder);
    let mut read = |kind: &str, name: &str| -> [Layer; 2] {
        let sources = [(&inventory.beside, shown.as_str()), (adjacent, "")];
        sources.map(|(tree, shown)| {
            let mut layer = Layer::default();
            for path in files_of(tree, kind, name) {
                lay_file(tree, &path, shown, &mut layer, problems);
            }
            layer
        })
    };
    let group_files: HashMap<Arc<str>, [Layer; 2]> =
        inventory.group_names.iter().map(|name| (name.clone(), read("group_vars", name))).collect();
    let none = [Layer::default(), Layer::default()];
    let all: Arc<str> = "all".into();
    let groups_by_host = inventory.groups_by_host();
    let mut out = HashMap::new();
    for host in &inventory.host_names {
        let mut layer = Layer::default();
        let mut lay = |over: &Layer| layer.extend(over.iter().map(|(k, v)| (k.clone(), v.clone())));
        let groups = inventory.by_precedence(groups_by_host.get(host).into_iter().flatten());
        let of_group = |name: &Arc<str>| group_files.get(name).unwrap_or(&none);
        for group in std::iter::once(&all).chain(&groups) {
            inventory.groups.get(group).into_iter().for_each(|g| lay(&g.vars));
        }
        of_group(&all).iter().for_each(&mut lay);
        for source in 0..2 {
            groups.iter().filter_map(|g| of_group(g).get(source)).for_each(&mut lay);
        }
        inventory.hosts.get(host).into_iter().for_each(&mut lay);
        read("host_vars", host).iter().for_each(&mut lay);
        out.insert(host.clone(), layer);
    }
    out
}

/// Reads the arguments of `-e`, in order: `key=value …` gives text, `{…}` YAML or JSON, and
/// `@FILE` is read relative to `base`.
///
/// # Errors
///
/// The first argument that Ansible would refuse too.
pub(crate) fn extra(arguments: &[String], base: &Path) -> Result<(Layer, Vec<Problem>), Problem> {
    let mut layer = Layer::default();
    let mut warnings = Vec::new();
    for argument in arguments {
        let fault = |reason: &str| Problem::ExtraVars {
            argument: argument.as_str().into(),
            reason: reason.into(),
        };
        let shown = format!("-e {argument}");
        if let Some(file) = argument.strip_prefix('@') {
            let bytes = read_bounded(&base.join(file))?;
            let mut document = yaml::parse(file, &bytes)?;
            warnings.append(&mut document.warnings);
            lay_document(document, file, &mut layer)?;
        } else if argument.starts_with(['/', '.']) {
            return Err(fault("a file is written with @ before its name"));
        } else if argument.starts_with(['{', '[']) {
            lay_document(yaml::parse(&shown, argument.as_bytes())?, &shown, &mut layer)?;
        } else {
            for word in quoted_words(argument).map_err(fault)? {
                let Some((name, value)) = word.split_once('=') else {
                    return Err(fault("key=value is expected"));
                };
                let place = Place::new(&shown, 0);
                let value = Val::str(unquoted(value.trim()));
                layer.insert(name.trim().into(), Arc::new(Def { value, place }));
            }
        }
    }
    Ok((layer, warnings))
}

fn lay_document(document: yaml::Document, name: &str, layer: &mut Layer) -> Result<(), Problem> {
    let (dict, lines) = document.into_dict(name)?;
    for (key, value) in dict.iter() {
        let key: Arc<str> = key.to_val().text().into();
        let place = Place::new(name, lines.get(&key).copied().unwrap_or(0));
        layer.insert(key, Arc::new(Def { value: value.clone(), place }));
    }
    Ok(())
}

/// Divides at white space outside quotes and outside `{{ }}`; quotes stay.
fn quoted_words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut braces) = (None, 0_i32);
    let mut before = ' ';
    for c in text.chars() {
        match quote {
            Some(q) if c == q && before != '\\' => quote = None,
            None if matches!(c, '\'' | '"') && before != '\\' => quote = Some(c),
            None if c == '{' => braces += 1,
            None if c == '}' => braces -= 1,
            _ => {}
        }
        if c.is_whitespace() && quote.is_none() && braces <= 0 {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
        before = c;
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn unquoted(text: &str) -> &str {
    ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.add((*path).to_owned(), text.as_bytes()).unwrap();
        }
        tree
    }

    fn show(layer: &Layer) -> Vec<String> {
        let mut out: Vec<_> = layer
            .iter()
            .map(|(name, def)| {
                format!("{name}={} {} {}", def.value.text(), def.value.kind(), def.place)
            })
            .collect();
        out.sort();
        out
    }

    #[test]
    fn a_folder_wins_over_a_file_of_the_same_name() {
        let files = [
            ("group_vars/all/b.yml", ""),
            ("group_vars/all/a/x", ""),
            ("group_vars/all/c.ini", ""),
            ("group_vars/all.yml", ""),
        ];
        assert_eq!(
            files_of(&tree(&files), "group_vars", "all"),
            ["group_vars/all/a/x", "group_vars/all/b.yml"]
        );
    }

    #[test]
    fn variables_lie_over_each_other_in_the_order_of_ansible() {
        let ini = "[all:vars]\nv1=file_all\nv2=file_all\nv3=file_all\nv4=file_all\nv5=file_all\nv6=file_all\n\
                   [k:vars]\nv2=file_k\nv3=file_k\nv4=file_k\nv5=file_k\nv6=file_k\n\
                   [k:children]\na\nb\n[a]\nx v5=file_host v6=file_host\n[b]\nx\n";
        let beside = tree(&[
            ("group_vars/all.yml", "v3: vars_all\nv4: vars_all\nw: all\n"),
            ("group_vars/k/1.yml", "v4: vars_k\nw: k\nz: k\n"),
            ("group_vars/a.yml", "w: a\nz: a\n"),
            ("group_vars/b.yml", "z: b\n"),
            ("host_vars/x.yml", "v6: host_vars\n"),
        ]);
        let inventory = Inventory::parse("hosts.ini", ini.as_bytes(), beside).unwrap();
        let mut problems = Vec::new();
        let layers = of_hosts(&inventory, &Tree::default(), &mut problems);
        let value = |name: &str| layers.get("x").unwrap().get(name).unwrap().value.text();
        assert_eq!(
            ["v1", "v2", "v3", "v4", "v5", "v6", "w", "z"].map(value),
            ["file_all", "file_k", "vars_all", "vars_k", "file_host", "host_vars", "a", "b"]
        );
        assert_eq!(problems, []);
    }

    #[test]
    fn a_priority_turns_the_order_of_equally_deep_groups() {
        let ini = "[a]\nx\n[b]\nx\n[a:vars]\nansible_group_priority=10\nv=a\n[b:vars]\nv=b\n";
        let inventory = Inventory::parse("hosts.ini", ini.as_bytes(), Tree::default()).unwrap();
        let layers = of_hosts(&inventory, &Tree::default(), &mut Vec::new());
        assert_eq!(layers.get("x").unwrap().get("v").unwrap().value.text(), "a");
    }

    #[test]
    fn extra_variables_are_text_unless_they_are_yaml() {
        let arguments = ["a=false b='x y' c={{ a }}/d", "{a2: false, n: 1.30}", "{\"a3\": [true]}"];
        let (layer, _) = extra(&arguments.map(str::to_owned), Path::new(".")).unwrap();
        assert_eq!(
            show(&layer),
            [
                "a2=False boolean -e {a2: false, n: 1.30}:1",
                "a3=[True] list -e {\"a3\": [true]}",
                "a=false string -e a=false b='x y' c={{ a }}/d",
                "b=x y string -e a=false b='x y' c={{ a }}/d",
                "c={{ a }}/d string -e a=false b='x y' c={{ a }}/d",
                "n=1.3 number -e {a2: false, n: 1.30}:1",
            ]
        );
    }

    #[test]
    fn an_argument_that_ansible_refuses_is_refused() {
        let refused =
            |argument: &str| extra(&[argument.to_owned()], Path::new(".")).unwrap_err().to_string();
        assert_eq!(
            refused("./x.yml"),
            "argument -e ./x.yml: a file is written with @ before its name"
        );
        assert_eq!(refused("novalue"), "argument -e novalue: key=value is expected");
        assert!(refused("@/does/not/exist").starts_with("cannot read /does/not/exist: "));
    }
}
