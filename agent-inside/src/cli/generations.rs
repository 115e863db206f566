//! `generations`: what can be served again.

use comfy_table::{Table, presets};
use gapferry_common::{cli::Global, exit::Exit};
use serde_json::json;

use crate::{generation::State, home::Home, pins};

pub fn run(home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let state = State::of(home.root());
    let served = state.current()?.map(|current| current.generation);
    let generations = state.generations()?;
    let pinned = pins::read(home.root())?;
    let document = json!({"served": served, "pinned": pinned, "generations": generations});
    global.print(&document, || {
        let mut table = Table::new();
        let header = ["", "generation", "artifacts", "applied", ""];
        table.load_style(presets::NOTHING).set_header(header);
        for generation in &generations {
            table.add_row([
                if Some(generation.sequence) == served { "*" } else { "" }.to_owned(),
                generation.sequence.to_string(),
                generation.artifacts.to_string(),
                generation.applied.to_string(),
                if pinned.contains(&generation.sequence) { "pinned" } else { "" }.to_owned(),
            ]);
        }
        table.to_string()
    });
    Ok(Exit::Done)
}
