//! `diff`: what differs between two generations.

use gapferry_common::{cli::Global, exit::Exit};
use gapferry_proto::{Sequence, Snapshot};
use serde_json::json;

use crate::{
    diff::Diff,
    generation::{State, StateError},
    home::Home,
};

#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The generation to compare with
    #[arg(value_name = "A")]
    from: u64,
    /// The generation to compare
    #[arg(value_name = "B")]
    to: u64,
}

pub fn run(args: &DiffArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let state = State::of(home.root());
    let (from, to) = (Sequence(args.from), Sequence(args.to));
    let diff = Diff::new(&list(&state, from)?, &list(&state, to)?);
    let document = json!({"from": from, "to": to, "sums": diff.sums, "rows": diff.rows});
    global.print(&document, || diff.text());
    Ok(Exit::Done)
}

fn list(state: &State, sequence: Sequence) -> Result<Snapshot, StateError> {
    state.list(&state.generation(sequence)?)
}
