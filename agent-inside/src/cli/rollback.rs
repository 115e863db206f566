//! `rollback`: serves an earlier generation again, or a later one after that.

use gapferry_common::{
    audit::Audit,
    cli::Global,
    exit::{Ended, Exit},
};
use gapferry_proto::Sequence;
use jiff::Timestamp;
use serde_json::json;

use crate::{
    apply::Applier,
    cli::import::repository_key,
    generation::{Current, State},
    home::Home,
};

#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The generation to serve [default: the one before the current]
    #[arg(value_name = "SEQ")]
    sequence: Option<u64>,
}

pub fn run(args: &RollbackArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let state = State::of(home.root());
    let Some(last) = state.current()? else {
        return Err(Ended::new(Exit::Usage, "nothing was imported yet").into());
    };
    let sequence = match args.sequence {
        Some(sequence) => Sequence(sequence),
        None => before(&state, &last)?,
    };
    let applier = Applier {
        state: &state,
        store: &home.store()?,
        identity: &home.age_identity()?,
        repository_key: &repository_key(home)?,
        scratch: &home.scratch(),
        scratch_bytes: home.scratch_bytes(),
        push: home.push_prefixes(),
        now: Timestamp::now(),
    };
    let audit = Audit::of(home.root());
    audit.record("rolling-back", &json!({"from": last.generation, "to": sequence}))?;
    let current = match applier.roll_to(&last, sequence) {
        Ok(current) => current,
        Err(error) => {
            let error = anyhow::Error::from(error);
            let facts = json!({"to": sequence, "message": format!("{error:#}")});
            audit.record("not-rolled-back", &facts)?;
            return Err(error);
        }
    };
    let facts = json!({"from": last.generation, "to": sequence, "activation": current.activation});
    audit.record("rolled-back", &facts)?;
    let document = json!({
        "from": last.generation,
        "generation": current.generation,
        "sequence": current.sequence,
        "activated": current.activated,
    });
    global.print(&document, || {
        format!("Generation {sequence} is served; exports after {} still apply.", current.sequence)
    });
    Ok(Exit::Done)
}

fn before(state: &State, last: &Current) -> anyhow::Result<Sequence> {
    let earlier = state.generations()?.into_iter().map(|g| g.sequence);
    earlier
        .into_iter()
        .find(|&sequence| sequence < last.generation)
        .ok_or_else(|| Ended::new(Exit::Usage, "there is no generation before this one").into())
}
