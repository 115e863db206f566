//! `status`: what is served and trusted.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_common::{
    cli::{Global, human_bytes},
    durable::at,
    exit::Exit,
};
use gapferry_proto::{Facts, Kind, KubesprayTree, Sequence, Snapshot};
use serde::Serialize;
use serde_json::json;

use crate::{
    generation::{State, StateError},
    home::Home,
    last_import::{self, LastImport},
    local::{self, Usage},
    pins, wants,
};

/// What stands below `/yum/` for one target.
#[derive(Default, Serialize)]
struct YumTree {
    packages: u64,
    /// Fingerprints of the keys that may sign them.
    keys: BTreeSet<String>,
}

pub fn run(home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let state = State::of(home.root());
    let current = state.current()?;
    let snapshot = match &current {
        Some(current) => state.snapshot(current.snapshot)?.unwrap_or_default(),
        None => gapferry_proto::Snapshot::default(),
    };
    let kubespray = match &current {
        Some(current) => match state.generation(current.generation) {
            Ok(generation) => generation.kubespray,
            Err(StateError::NoGeneration(_)) => vec![],
            Err(e) => return Err(e.into()),
        },
        None => vec![],
    };
    let store = home.store()?;
    let mut bytes_stored = 0;
    for blob in store.blobs() {
        bytes_stored += blob.map_err(at("list", store.root()))?.len_bytes;
    }
    let (generations, pinned) = (state.sequences()?, pins::read(home.root())?);
    let artifacts = snapshot.count_by_kind();
    let wants = wants::unmet(wants::read(home.root())?, &snapshot).len();
    let last_import = last_import::read(home.root());
    let (yum, charts) = (yum(&snapshot), charts(&snapshot));
    let pushed = local::usage(home.root(), home.push_prefixes())?;
    let document = json!({
        "site": home.site(),
        "sequence": current.as_ref().map_or(0, |c| c.sequence.0),
        "generation": current.as_ref().map(|c| c.generation),
        "snapshot": current.as_ref().map(|c| c.snapshot),
        "activated": current.as_ref().map(|c| c.activated),
        "epoch": current.as_ref().map(|c| c.epoch),
        "keyset": current.as_ref().map(|c| c.keyset_version),
        "artifacts": artifacts,
        "kubespray": kubespray,
        "generations": generations,
        "pinned": pinned,
        "bytes_stored": bytes_stored,
        "wants": wants,
        "yum": yum,
        "helm": charts,
        "pushed": pushed,
        "trusted": home.publisher_card().is_file(),
        "last_import": last_import,
    });
    global.print(&document, || {
        let open = last_import.as_ref().and_then(LastImport::sentence);
        let open = open.map(|sentence| format!("\nImport     {sentence}")).unwrap_or_default();
        let Some(current) = &current else {
            return format!("Site {}: nothing was imported yet{open}", home.site());
        };
        let counts: Vec<_> = Kind::ALL.map(|kind| format!("{} {kind}", artifacts[&kind])).into();
        let tree = |tree: &KubesprayTree| {
            format!("Kubespray  {} (tree {})\n", tree.version, &tree.tree.hex()[..12])
        };
        let trees: Vec<_> = kubespray.iter().map(tree).collect();
        let rolled = if current.generation < current.sequence { ", rolled back" } else { "" };
        format!(
            "Site       {}\nServes     generation {}{rolled} (export {} was the last applied)\n\
             Artifacts  {}\n{}{}Kept       {}\nStore      {}\nWants      {wants}{open}",
            home.site(),
            current.generation,
            current.sequence,
            counts.join(", "),
            trees.concat(),
            trees_text(&yum, &charts, &pushed),
            kept(&generations, &pinned),
            human_bytes(bytes_stored),
        )
    });
    Ok(Exit::Done)
}

fn yum(snapshot: &Snapshot) -> BTreeMap<String, YumTree> {
    let mut trees = BTreeMap::<String, YumTree>::new();
    for artifact in snapshot.artifacts() {
        match &artifact.facts {
            Facts::Rpm(facts) => trees.entry(facts.target.to_string()).or_default().packages += 1,
            Facts::YumDocument(facts) => {
                let tree = trees.entry(facts.target.to_string()).or_default();
                tree.keys.extend(facts.key().map(str::to_owned));
            }
            _ => {}
        }
    }
    trees
}

/// How many charts each repository has.
fn charts(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let mut repositories = BTreeMap::new();
    for artifact in snapshot.artifacts() {
        if let Facts::Chart(facts) = &artifact.facts {
            *repositories.entry(facts.repository.to_string()).or_default() += 1;
        }
    }
    repositories
}

/// A line for each repository of packages and charts, and for each prefix that is pushed to.
fn trees_text(
    yum: &BTreeMap<String, YumTree>,
    charts: &BTreeMap<String, u64>,
    pushed: &[Usage],
) -> String {
    let yum = yum.iter().map(|(target, YumTree { packages, keys })| {
        format!("Yum        /yum/{target}/: {packages} packages, {} keys\n", keys.len())
    });
    let charts = charts.iter();
    let charts = charts.map(|(name, count)| format!("Helm       /helm/{name}/: {count} charts\n"));
    let pushed = pushed.iter().map(|usage| {
        let Usage { prefix, repositories, manifests, tags, bytes, quota_bytes } = usage;
        let (bytes, quota) = (human_bytes(*bytes), human_bytes(*quota_bytes));
        format!(
            "Pushed     {prefix}: {repositories} repositories, {manifests} manifests, {tags} tags, \
             {bytes} of {quota}\n"
        )
    });
    yum.chain(charts).chain(pushed).collect()
}

/// `1 (pinned), 4, 5`.
fn kept(generations: &BTreeSet<Sequence>, pinned: &BTreeSet<Sequence>) -> String {
    let word = |sequence: &Sequence| match pinned.contains(sequence) {
        true => format!("{sequence} (pinned)"),
        false => sequence.to_string(),
    };
    generations.iter().map(word).collect::<Vec<_>>().join(", ")
}
