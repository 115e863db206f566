//! `plan`: what an export would carry, how large by kind, and why.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use gapferry_common::{
    cli::{Global, human_bytes},
    exit::Exit,
    memory,
    patch::Effort,
    store::{Index, Store},
};
use gapferry_proto::{Artifact, BlobId, SiteName, Snapshot, SnapshotId};
use serde_json::{Value, json};

use crate::{
    delta::{
        Counted, Engine,
        report::{ArtifactReport, BlobReport},
    },
    home::Home,
    ledger::Ledger,
    plan::{self, Plan},
    snapshot,
};

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The site; may be left out when there is only one
    #[arg(long)]
    site: Option<SiteName>,
    /// Encode everything, so that sizes are no estimates; the export after it uses that
    #[arg(long)]
    exact: bool,
    /// How much time may be spent to save bytes
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
}

pub fn run(args: &PlanArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let began = std::time::Instant::now();
    let site = super::chosen_site(home, args.site.as_ref())?;
    let ledger = Ledger::open(home.ledger(&site), &site)?;
    let _lock = home.lock()?;
    let wanted = snapshot::of_site(home, &site)?;
    let plan = plan::plan(&ledger.basis()?, &wanted);
    let reports = reports(home, &ledger, &plan, args.effort, args.exact)?;
    let export_bytes: u64 = reports.iter().map(|report| report.carried_bytes).sum();
    let new: Vec<_> = wanted.artifacts().filter_map(|artifact| New::of(artifact, &plan)).collect();
    let document = json!({
        "export": null,
        "site": site,
        "basis": plan.basis_sequence,
        "basis_snapshot": plan.basis,
        "snapshot": plan.snapshot,
        "sequence": ledger.next_sequence()?,
        "artifacts_new": plan.totals.artifacts_new,
        "published_bytes_new": plan.totals.published_bytes_new,
        "export_bytes": export_bytes,
        "estimated": !args.exact,
        "volumes": [],
        "by_kind": plan.by_kind,
        "new": new.iter().map(New::document).collect::<Vec<_>>(),
        "removed": plan.difference.removed.len(),
        "artifacts": artifacts(&wanted, &reports),
        "fallback_raw": raw_blobs(&reports),
        "seconds": began.elapsed().as_secs_f64(),
        "peak_memory_bytes": memory::peak_bytes(),
    });
    global.print(&document, || {
        let basis = basis_text(plan.basis);
        let about = if args.exact { "" } else { "About " };
        let carried = human_bytes(export_bytes);
        let shown = new.iter().take(SHOWN_MAX).map(New::text).collect::<String>();
        let rest = match new.len().saturating_sub(SHOWN_MAX) {
            0 => String::new(),
            rest => format!("  … and {rest} more; -o json lists all\n"),
        };
        format!("{shown}{rest}\n{}\n{about}{carried} to carry to {site}, {basis}.", table(&plan))
    });
    Ok(Exit::Done)
}

/// How many new artifacts the text names.
const SHOWN_MAX: usize = 50;

/// An artifact that travels, and why: a line of the list that people approve.
struct New<'a> {
    artifact: &'a Artifact,
    published_bytes: u64,
}

impl<'a> New<'a> {
    /// None when the inside has all of it.
    fn of(artifact: &'a Artifact, plan: &Plan) -> Option<Self> {
        let lacking = artifact.blobs.iter().filter(|blob| !plan.held.contains_key(&blob.id));
        let published_bytes = lacking.map(|blob| blob.len_bytes).reduce(|a, b| a + b)?;
        Some(Self { artifact, published_bytes })
    }

    fn document(&self) -> Value {
        json!({
            "kind": self.artifact.kind(),
            "name": self.artifact.name,
            "published_bytes": self.published_bytes,
            "origin": self.artifact.origin,
            "wanted": self.artifact.wanted,
        })
    }

    fn text(&self) -> String {
        let (kind, name) = self.artifact.key();
        let why = self.artifact.wanted.first().map_or("", String::as_str);
        format!("{kind:6} {:>10}  {name}  ({why})\n", human_bytes(self.published_bytes))
    }
}

/// What becomes of each new blob: encoded into the cache that `export` uses, or estimated from
/// that cache and probes.
pub fn reports(
    home: &Home,
    ledger: &Ledger,
    plan: &Plan,
    effort: Effort,
    is_exact: bool,
) -> anyhow::Result<Vec<BlobReport>> {
    let store = home.store()?;
    let mut index = Index::open(&store)?;
    let mut engine = engine(home, ledger, &store, &mut index, effort)?;
    if is_exact {
        return Ok(engine.make(plan, &mut Counted::default(), |_| ())?.reports);
    }
    Ok(engine.estimate(plan)?)
}

/// An engine for what the site can follow; what failed there travels raw.
pub fn engine<'a>(
    home: &Home,
    ledger: &Ledger,
    store: &'a Store,
    index: &'a mut Index,
    effort: Effort,
) -> anyhow::Result<Engine<'a>> {
    let mut engine = Engine::new(store, index, &home.places(), effort, ledger.abilities()?)?;
    engine.tools.raw = ledger.failed()?;
    Ok(engine)
}

/// The reports by artifact, those alone that have a new blob.
pub fn artifacts(wanted: &Snapshot, reports: &[BlobReport]) -> Vec<ArtifactReport> {
    let mut by_blob: BTreeMap<BlobId, BlobReport> =
        reports.iter().map(|report| (report.blob, report.clone())).collect();
    wanted.artifacts().filter_map(|artifact| ArtifactReport::of(artifact, &mut by_blob)).collect()
}

/// The blobs that travel raw because their rehearsal or an earlier import failed.
pub fn raw_blobs(reports: &[BlobReport]) -> Vec<Value> {
    let fallen = reports.iter().filter(|report| report.is_fallback);
    fallen.map(|report| json!({"blob": report.blob, "why": report.raw})).collect()
}

/// The plan's sums as people read them.
pub fn table(plan: &Plan) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["kind", "artifacts", "new", "published"]);
    for (kind, sum) in &plan.by_kind {
        table.add_row([
            kind.to_string(),
            sum.artifacts.to_string(),
            sum.artifacts_new.to_string(),
            human_bytes(sum.published_bytes_new),
        ]);
    }
    table
}

/// What an export builds on, in words.
pub fn basis_text(basis: Option<SnapshotId>) -> String {
    match basis {
        Some(id) => format!("building on what the inside holds ({})", &id.hex()[..8]),
        None => "building on nothing: no inventory has come back yet".to_owned(),
    }
}
