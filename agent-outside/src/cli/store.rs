//! `store census`: for every blob, which encoders give its compressed streams again.

use gapferry_common::{
    cli::{Global, human_bytes},
    durable::at,
    exit::Exit,
    store::Index,
};
use serde::Serialize;
use serde_json::json;

use super::stages::Stages;
use crate::{
    census::{self, Census, RAW},
    delta::Stage,
    home::Home,
};

#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, clap::Subcommand)]
enum StoreCommand {
    /// Show which encoders give the compressed streams of the store again; with -o json for each
    /// blob
    Census,
}

pub fn run(args: &StoreArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    match args.command {
        StoreCommand::Census => census(home, global),
    }
}

fn census(home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let store = home.store()?;
    let mut index = Index::open(&store)?;
    let blobs: Vec<_> =
        store.blobs().collect::<Result<_, _>>().map_err(at("list", store.root()))?;
    let stages = Stages::new(global, blobs.iter().map(|blob| blob.len_bytes).sum());
    let each = |blob: &_| stages.tell(Stage::Open, blob);
    let found = census::of(&store, &mut index, &home.places(), &blobs, &each)?;
    stages.finish();
    let sums = sums(&found);
    let document = json!({"blobs": found, "by_rung": sums});
    global.print(&document, || text(&sums));
    Ok(Exit::Done)
}

/// Sums for one family of encoders, or for what stays closed.
#[derive(Debug, Default, Serialize)]
struct Sum {
    rung: String,
    streams: u64,
    sealed_bytes: u64,
    plain_bytes: u64,
    corrections_bytes: u64,
    seconds: f64,
}

fn sums(found: &[Census]) -> Vec<Sum> {
    let mut sums = std::collections::BTreeMap::<&str, Sum>::new();
    for stream in found.iter().flat_map(|census| &census.streams) {
        let sum = sums.entry(&stream.rung).or_default();
        sum.streams += stream.count;
        sum.sealed_bytes += stream.sealed_bytes;
        sum.plain_bytes += stream.plain_bytes;
        sum.corrections_bytes += stream.corrections_bytes;
        sum.seconds += stream.seconds;
    }
    let named = |(rung, sum): (&str, Sum)| Sum { rung: rung.to_owned(), ..sum };
    sums.into_iter().map(named).collect()
}

fn text(sums: &[Sum]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "encoder",
        "streams",
        "compressed",
        "plain",
        "corrections",
        "seconds to find",
    ]);
    for sum in sums {
        table.add_row([
            if sum.rung == RAW { "none: they stay closed".to_owned() } else { sum.rung.clone() },
            sum.streams.to_string(),
            human_bytes(sum.sealed_bytes),
            human_bytes(sum.plain_bytes),
            human_bytes(sum.corrections_bytes),
            format!("{:.1}", sum.seconds),
        ]);
    }
    table.to_string()
}
