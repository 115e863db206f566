//! `scrub`: reads every blob again; what is damaged goes into the next inventory.

use gapferry_common::{audit::Audit, cli::Global, exit::Exit, store::scrub};

use crate::{
    home::Home,
    local::{self, documents::Places},
};

#[derive(Debug, clap::Args)]
pub struct ScrubArgs {
    /// Make the index again from the blobs
    #[arg(long)]
    reindex: bool,
}

pub fn run(args: &ScrubArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let store = home.store()?;
    let mut report = scrub::scrub(&store, |_| ())?;
    let folder = local::folder(home.root());
    let pushed = Places::below(folder.clone()).read()?.roots();
    if !report.damaged.is_empty() {
        // Served no more: no client gets rotten bytes, and the inventory says it is lacking. What
        // was pushed again since it was read is whole.
        let door = local::sweep_door(&folder)?;
        let _alone = door.alone()?;
        report.damaged = scrub::remove_damaged(&store, &report.damaged)?;
    }
    if !report.damaged.is_empty() {
        Audit::of(home.root()).record("damaged", &report)?;
    }
    if args.reindex {
        scrub::reindex(&store)?;
        local::rebuild_aliases(&folder, &store, &local::sweep_door(&folder)?)?;
    }
    global.print(&report, || {
        let mut text = format!("{} blobs read, {} damaged", report.blobs, report.damaged.len());
        for &id in &report.damaged {
            let again = match pushed.contains(&id) {
                true => "push it again, if no export brings it",
                false => "the next export brings it again",
            };
            text += &format!("\n  {id} was removed; {again}");
        }
        text
    });
    Ok(if report.damaged.is_empty() { Exit::Done } else { Exit::Incomplete })
}
