//! `scrub`: reads every blob again and names what is damaged; `--reindex` makes the index anew.

use gapferry_common::{
    cli::Global,
    durable,
    exit::Exit,
    store::{Index, scrub},
};

use crate::home::Home;

#[derive(Debug, clap::Args)]
pub struct ScrubArgs {
    /// Make the index again from the blobs
    #[arg(long)]
    reindex: bool,
}

pub fn run(args: &ScrubArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let store = home.store()?;
    let report = scrub::scrub(&store, |_| ())?;
    let mut index = Index::open(&store)?;
    for &id in &report.damaged {
        // What is damaged is fetched again by the next `sync`.
        durable::remove(&store.path(id))?;
        index.forget([id])?;
    }
    drop(index);
    if args.reindex {
        scrub::reindex(&store)?;
    }
    global.print(&report, || {
        let mut text = format!("{} blobs read, {} damaged", report.blobs, report.damaged.len());
        for id in &report.damaged {
            text += &format!("\n  {id} was removed; `sync` fetches it again");
        }
        text
    });
    Ok(if report.damaged.is_empty() { Exit::Done } else { Exit::Incomplete })
}
