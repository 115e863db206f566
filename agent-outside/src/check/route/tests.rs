use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use camino::Utf8PathBuf;
use gapferry_common::store::Store;
use gapferry_proto::Snapshot;
use serde_json::Value;

use super::{
    super::{Held, Wanted},
    *,
};
use crate::waybill::{Waybill, file_path};

fn releases(text: &str) -> Vec<Release> {
    text.parse::<Route>().unwrap().releases().to_vec()
}

fn lacking(name: &str, needed_by: &str) -> Missing {
    Missing::new(Kind::File, name, needed_by, "it is not there")
}

#[test]
fn a_release_is_the_target_of_a_hop_and_where_the_next_one_begins() {
    let releases = releases("2.29,2.30.1,2.31");
    let hops: Vec<_> = (0..3).map(|i| hop(&releases, i)).collect();
    let expected =
        ["2.29→2.30.1 current", "2.29→2.30.1 target, 2.30.1→2.31 current", "2.30.1→2.31 target"];
    assert_eq!(hops, expected);
}

#[test]
fn what_is_told_already_only_gets_its_hops() {
    let told = |hop: Option<&str>, needed_by: &str| Missing {
        hop: hop.map(str::to_owned),
        ..lacking("h/a", needed_by)
    };
    let mut all = vec![told(None, "line 0"), told(None, "line 1")];
    add(&mut all, lacking("h/a", "line 1"), "one");
    add(&mut all, lacking("h/a", "line 1"), "two");
    add(&mut all, lacking("h/a", "line 1"), "two");
    add(&mut all, lacking("h/a", "lines 0 and 1"), "three");
    add(&mut all, lacking("h/b", "line 1"), "two");
    let other = Missing { hop: Some("two".to_owned()), ..lacking("h/b", "line 1") };
    assert_eq!(all, [told(Some("three"), "line 0"), told(Some("one, two"), "line 1"), other]);
}

/// What is missing on a route when nothing is carried, as kind and name with the hops.
fn on_empty_ground(waybill: &str, route: &str) -> Vec<Missing> {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
    let (store, nothing) = (Store::open(root).unwrap(), Snapshot::of([]).unwrap());
    let held = Held::new(&nothing, &nothing);
    let ground = Ground {
        held,
        store: &store,
        inside: BTreeMap::new(),
        assumed: Some(BTreeSet::new()),
        wanted: Wanted::default(),
    };
    let waybill = Waybill::parse(waybill).unwrap();
    let order = Order { waybill: &waybill, base: folder.path().try_into().unwrap() };
    let asked = Asked { route: route.parse().unwrap(), trees: vec![], kubes: vec![] };
    let mut report = super::super::check(&ground, &[order]);
    check(&ground, &[order], &asked, &mut report).unwrap();
    report.missing
}

/// The names of files and images on which some host acts, as real Ansible says.
fn acted_on(oracle: &Path) -> BTreeSet<(String, String)> {
    let oracle: Value = serde_json::from_slice(&std::fs::read(oracle).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = oracle["downloads"].as_array().unwrap().iter();
    let acting = rows.filter(|row| row["hosts"].as_array().is_some_and(|hosts| !hosts.is_empty()));
    acting
        .map(|row| match row["kind"].as_str() {
            Some("file") => {
                let path = file_path(&text(&row["url"]).parse().unwrap()).unwrap();
                ("file".to_owned(), path.to_string())
            }
            _ => ("image".to_owned(), format!("{}:{}", text(&row["repo"]), text(&row["tag"]))),
        })
        .collect()
}

#[test]
fn each_hop_misses_all_that_real_ansible_would_fetch_for_its_own_tree() {
    let Some(folder) = std::env::var_os("GAPFERRY_KUBESPRAY_DIR").map(PathBuf::from) else {
        eprintln!("skipped: GAPFERRY_KUBESPRAY_DIR is not set");
        return;
    };
    let line = |version: &str| {
        let dir = folder.display();
        format!(
            "    - {{tree: \"{dir}/v{version}.tar.xz\", inventory: \"{dir}/inventories/b/hosts.yml\", \
             runner: pip, nodes: [{{host: node1, os: ubuntu-24.04}}, {{host: node2, os: ubuntu-24.04}}, \
             {{os: debian-12}}]}}\n"
        )
    };
    let head =
        "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n  kubespray:\n";
    let waybill = format!("{head}{}{}", line("2.30.0"), line("2.31.0"));
    let missing = on_empty_ground(&waybill, "2.29→2.30→2.31");
    let trees: Vec<_> = missing.iter().filter(|one| one.kind == "tree").map(|m| &m.name).collect();
    assert_eq!(trees, ["kubespray 2.29"]);
    for (version, own_hop) in [("2.30.0", "2.29→2.30 target"), ("2.31.0", "2.30→2.31 target")] {
        let here = |one: &&Missing| one.hop.as_ref().is_some_and(|hop| hop.contains(own_hop));
        let named: BTreeSet<_> = missing
            .iter()
            .filter(here)
            .map(|one| (one.kind.to_owned(), one.name.clone()))
            .collect();
        let oracle = acted_on(&folder.join(format!("oracle/v{version}-b.json")));
        let left: Vec<_> = oracle.difference(&named).collect();
        assert!(left.is_empty() && 20 < oracle.len(), "{version}: {left:?}");
        assert!(named.contains(&("pypi".to_owned(), "ansible".to_owned())), "{named:?}");
    }
}
