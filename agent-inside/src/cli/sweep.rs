//! `sweep`: takes the content of old generations out of the store.

use std::{
    io,
    num::NonZeroU32,
    time::{Duration, SystemTime},
};

use gapferry_common::{
    audit::Audit,
    cli::{Global, human_bytes},
    durable::DurableError,
    exit::{Exit, chain},
};
use gapferry_proto::{Sequence, limits};
use serde_json::json;

use crate::{
    generation::State,
    home::Home,
    sweep::{
        self, Leaves, Plan,
        act::{Done, Sweeper},
    },
};

/// How long servers and other commands are waited for that show a generation that leaves.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// How many of the newest generations stay [default: `keep` in config.toml, else 3]
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroU32>,
    /// Say what would leave and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &SweepArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let (state, store) = (State::of(home.root()), home.store()?);
    let sweeper = Sweeper {
        home: home.root(),
        state: &state,
        store: &store,
        patience: PATIENCE,
        now: SystemTime::now(),
    };
    let found = sweeper.look()?;
    let keep = args.keep.unwrap_or_else(|| home.keep());
    let plan = sweep::plan(&found.facts(keep.get().into()));
    let done = match args.dry_run {
        true => sweeper.foresee(&found, &plan)?,
        false => {
            let audit = Audit::of(home.root());
            begin(&audit, &plan, global)?;
            let done = sweeper.sweep(&found, &plan)?;
            let facts =
                json!({"leaves": plan.leaves, "removed": done.removed, "shown": done.shown});
            audit.record("swept", &facts)?;
            done
        }
    };
    let document = json!({
        "dry_run": args.dry_run,
        "leaves": plan.leaves,
        "stays": plan.stays,
        "removed": done.removed,
        "young": done.young,
        "shown": done.shown,
    });
    global.print(&document, || text(&plan, &done, args.dry_run));
    Ok(if done.shown.is_empty() { Exit::Done } else { Exit::Incomplete })
}

/// Writes down what shall leave. On a full disk it is told instead, and written down at the end: a
/// sweep is what makes room.
fn begin(audit: &Audit, plan: &Plan, global: &Global) -> Result<(), DurableError> {
    match audit.record("sweeping", &json!({"leaves": plan.leaves})) {
        Err(error) if error.source.kind() == io::ErrorKind::StorageFull => {
            global.say(format!("{}; the sweep goes on, to make room", chain(&error)));
            Ok(())
        }
        recorded => recorded,
    }
}

fn text(plan: &Plan, done: &Done, dry_run: bool) -> String {
    let mut lines = vec![];
    for stays in &plan.stays {
        lines.push(format!("stays   generation {}: {}", stays.sequence, stays.reasons()));
    }
    lines.extend(plan.leaves.iter().map(leaves_text));
    let (blobs, bytes) = (done.removed.blobs, human_bytes(done.removed.bytes));
    lines.push(match dry_run {
        true => format!("{blobs} blobs would be removed, {bytes}."),
        false => format!("{blobs} blobs were removed, {bytes}."),
    });
    if 0 < done.young.blobs {
        lines.push(format!(
            "{} blobs that nothing needs, {}, are younger than {} hours, or dated in the future: \
             they are still here, and a later sweep takes them.",
            done.young.blobs,
            human_bytes(done.young.bytes),
            limits::SWEEP_SPARES_SECONDS / 3600
        ));
    }
    lines.extend(done.shown.iter().map(shown_text));
    lines.join("\n")
}

fn leaves_text(leaves: &Leaves) -> String {
    let Leaves { sequence, artifacts, bytes, .. } = leaves;
    let ends = match leaves.ends.as_slice() {
        [] => String::new(),
        releases => format!("; ends Kubespray {}", releases.join(", ")),
    };
    format!("leaves  generation {sequence}: {artifacts} artifacts, {}{ends}", human_bytes(*bytes))
}

fn shown_text(sequence: &Sequence) -> String {
    format!(
        "Generation {sequence} is in no list any more, but a server or another command still \
         shows it; its content leaves with the next sweep."
    )
}
