//! `pin`: keeps a generation from every sweep, until the pin is taken off.

use gapferry_common::{audit::Audit, cli::Global, exit::Exit};
use gapferry_proto::Sequence;
use serde_json::json;

use crate::{generation::State, home::Home, pins};

#[derive(Debug, clap::Args)]
pub struct PinArgs {
    /// The generation to keep, by its number in `generations`
    #[arg(value_name = "SEQ")]
    sequence: u64,
    /// Take the pin off again
    #[arg(long)]
    off: bool,
}

pub fn run(args: &PinArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let sequence = Sequence(args.sequence);
    let mut pinned = pins::read(home.root())?;
    let changed = if args.off {
        pinned.remove(&sequence)
    } else {
        State::of(home.root()).generation(sequence)?;
        pinned.insert(sequence)
    };
    if changed {
        let event = if args.off { "unpinned" } else { "pinned" };
        Audit::of(home.root()).record(event, &json!({"generation": sequence}))?;
        pins::write(home.root(), pinned.clone())?;
    }
    let document = json!({"generation": sequence, "changed": changed, "pinned": pinned});
    global.print(&document, || match (args.off, changed) {
        (false, true) => format!("Generation {sequence} is pinned: no sweep takes it."),
        (false, false) => format!("Generation {sequence} was pinned before."),
        (true, true) => format!("Generation {sequence} is not pinned any more."),
        (true, false) => format!("Generation {sequence} was not pinned."),
    });
    Ok(Exit::Done)
}
