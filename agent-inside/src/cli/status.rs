//! `status`: what is served and trusted.

use std::collections::BTreeSet;

use gapferry_common::{
    cli::{Global, human_bytes},
    durable::at,
    exit::Exit,
};
use gapferry_proto::{Kind, KubesprayTree, Sequence};
use serde_json::json;

use crate::{
    generation::{State, StateError},
    home::Home,
    pins, wants,
};

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
        "trusted": home.publisher_card().is_file(),
    });
    global.print(&document, || {
        let Some(current) = &current else {
            return format!("Site {}: nothing was imported yet", home.site());
        };
        let counts: Vec<_> = Kind::ALL.map(|kind| format!("{} {kind}", artifacts[&kind])).into();
        let tree = |tree: &KubesprayTree| {
            format!("Kubespray  {} (tree {})\n", tree.version, &tree.tree.hex()[..12])
        };
        let trees: Vec<_> = kubespray.iter().map(tree).collect();
        let rolled = if current.generation < current.sequence { ", rolled back" } else { "" };
        format!(
            "Site       {}\nServes     generation {}{rolled} (export {} was the last applied)\n\
             Artifacts  {}\n{}Kept       {}\nStore      {}\nWants      {wants}",
            home.site(),
            current.generation,
            current.sequence,
            counts.join(", "),
            trees.concat(),
            kept(&generations, &pinned),
            human_bytes(bytes_stored),
        )
    });
    Ok(Exit::Done)
}

/// `1 (pinned), 4, 5`.
fn kept(generations: &BTreeSet<Sequence>, pinned: &BTreeSet<Sequence>) -> String {
    let word = |sequence: &Sequence| match pinned.contains(sequence) {
        true => format!("{sequence} (pinned)"),
        false => sequence.to_string(),
    };
    generations.iter().map(word).collect::<Vec<_>>().join(", ")
}
