//! Real artifacts cross the gap, end to end, twice.
//!
//! In:   this machine's pip and apt with their own settings, or packages made here.
//! Out:  every step as a user would type it, and a table at the end.

mod back;
mod round;
mod show;
mod supply;

use std::path::Path;

use anyhow::Context as _;
use clap::Parser;
use tests::{Inside, Outside, Upstream, agents, clients, site::Environment};

use crate::{
    round::{Crossing, Row},
    show::{say, step},
    supply::Supply,
};

#[derive(Debug, Parser)]
#[command(name = "cargo demo", about = "Carries real packages across an air gap, twice")]
struct Args {
    /// Leave the homes of both agents and the stick, and print what to try next
    #[arg(long)]
    keep: bool,
    /// Ask no network: make small, real packages instead
    #[arg(long)]
    offline: bool,
    /// How many rounds to carry
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    rounds: u8,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    say("Building both agents.");
    agents::folder();
    for client in clients::absent() {
        say(&format!("This machine has no {}: its part is fetched by plain HTTP.", client.name()));
    }
    let folder = tempfile::Builder::new().prefix("gapferry-demo-").tempdir()?;
    let rows = cross(&args, folder.path())?;
    println!("\n{}", round::table(&rows));
    if let [first, .., last] = rows.as_slice() {
        say(&format!(
            "Round {} carries {} of what round 1 carried.",
            rows.len(),
            show::percent(last.carried_bytes, first.carried_bytes)
        ));
    }
    if args.keep {
        let folder = folder.keep();
        show::what_next(&folder);
    }
    Ok(())
}

fn cross(args: &Args, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let upstream = Upstream::start();
    let outside = Outside::new(folder, "prod", Environment::Machine);
    let inside = Inside::new(folder, "prod", Environment::Machine);
    meet(&outside, &inside)?;
    let supply = Supply::choose(args.offline, &upstream, folder);
    let mut crossing = Crossing { upstream, outside, inside, supply };
    let rows = (1..=args.rounds)
        .map(|number| crossing.carry(number).with_context(|| format!("round {number} failed")))
        .collect::<anyhow::Result<_>>()?;
    show::census(&crossing.outside.agent)?;
    Ok(rows)
}

/// Both agents get their keys and learn to trust each other.
fn meet(outside: &Outside, inside: &Inside) -> anyhow::Result<()> {
    std::fs::create_dir_all(&outside.stick)?;
    let site_card = inside.agent.folder.join("prod.card").display().to_string();
    let card = outside.card().display().to_string();
    say("Both agents get their keys and learn to trust each other by two cards.");
    step(&outside.agent, &["init", "--card", &card, "--insecure-root-in-home"])?;
    step(&inside.agent, &["init", "--site", "prod", "--card", &site_card])?;
    step(&outside.agent, &["pair", &site_card, "--yes"])?;
    step(&inside.agent, &["trust", &card, "--yes"])?;
    Ok(())
}
