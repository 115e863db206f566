//! `plan`: what an export would carry, how large by kind, and why.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use comfy_table::{Table, presets};
use gapferry_common::{
    cli::{Global, human_bytes},
    durable,
    exit::Exit,
    memory,
    patch::Effort,
    store::{Index, Store},
};
use gapferry_proto::{Artifact, BlobId, SiteName, Snapshot, SnapshotId};
use serde_json::{Value, json};

use super::stages::Stages;
use crate::{
    approval::{
        self, Approval,
        spdx::{self, About},
    },
    collisions,
    delta::{
        Counted, Engine,
        report::{ArtifactReport, BlobReport},
    },
    home::Home,
    ledger::Ledger,
    licence,
    plan::{self, Plan},
    snapshot,
};

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The site; may be left out when there is only one
    #[arg(long)]
    site: Option<SiteName>,
    /// Encode everything, so that sizes are no estimates but those of the packs' content, to which
    /// the manifest and the encryption come; the export after it uses what was encoded
    #[arg(long)]
    exact: bool,
    /// How much time may be spent to save bytes
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
    /// Write the approval list as CSV to this file
    #[arg(long, value_name = "FILE")]
    csv: Option<Utf8PathBuf>,
    /// Write what the site shall hold as an SPDX 2.3 document (JSON) to this file
    #[arg(long, value_name = "FILE")]
    sbom: Option<Utf8PathBuf>,
}

pub fn run(args: &PlanArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    memory::watch();
    let began = std::time::Instant::now();
    let site = super::chosen_site(home, args.site.as_ref())?;
    let ledger = Ledger::open(home.ledger(&site), &site)?;
    let _lock = home.lock()?;
    let wanted = snapshot::of_site(home, &site)?;
    let plan = plan::plan(&ledger.basis()?, &wanted);
    let approval = approval(home, &ledger.basis()?.snapshot, &wanted)?;
    write_approval(args, &approval, &site, plan.snapshot)?;
    if !plan.new_blobs.is_empty() {
        global.say(format!(
            "Looking into {} new blobs. The first time, each is opened and its encoder is looked for, \
             which for xz takes as long as compressing it …",
            plan.new_blobs.len()
        ));
    }
    let stages = Stages::new(global, plan.totals.published_bytes_new);
    let reports = reports(home, &ledger, &plan, args.effort, args.exact, &stages)?;
    stages.finish();
    let export_bytes: u64 = reports.iter().map(|report| report.carried_bytes).sum();
    let wants = super::wants::unresolved(&ledger, &wanted)?;
    let collisions = collisions::of(&wanted);
    let mut counted = BTreeSet::new();
    let new = wanted.artifacts().filter_map(|artifact| New::of(artifact, &plan, &mut counted));
    let new: Vec<_> = new.collect();
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
        "kubespray": snapshot::trees_of_site(home, &site)?,
        "removed": plan.difference.removed.len(),
        "wants": wants,
        "collisions": collisions,
        "approval": approval,
        "artifacts": artifacts(&wanted, &reports),
        "fallback_raw": raw_blobs(&reports),
        "seconds": began.elapsed().as_secs_f64(),
        "peak_memory_bytes": memory::peak_bytes(),
    });
    global.print(&document, || {
        let basis = basis_text(plan.basis, false);
        let about = if args.exact { "" } else { "About " };
        let carried = human_bytes(export_bytes);
        let list = approval::text::text(&approval, false);
        let wants = super::wants::unresolved_text(&wants);
        let notes = format!("{}{wants}", collisions::text(&collisions));
        format!("{list}\n{}\n{notes}{about}{carried} to carry to {site}, {basis}.", table(&plan))
    });
    Ok(Exit::Done)
}

/// The list that people approve: what enters, changes and leaves, against what the inside holds.
fn approval(home: &Home, held: &Snapshot, wanted: &Snapshot) -> anyhow::Result<Approval> {
    let store = home.store()?;
    let licence = |artifact: &Artifact| licence::of(artifact, &store);
    Ok(Approval::new(held.artifacts(), wanted.artifacts(), licence))
}

/// Writes the forms of the list that were asked for.
fn write_approval(
    args: &PlanArgs,
    approval: &Approval,
    site: &SiteName,
    snapshot: SnapshotId,
) -> anyhow::Result<()> {
    if let Some(path) = &args.csv {
        durable::write(path, approval::csv::csv(approval).as_bytes())?;
    }
    if let Some(path) = &args.sbom {
        let name = site.to_string();
        let about = About {
            name: &name,
            snapshot,
            created: jiff::Timestamp::now(),
            tool: concat!("gapferry-outside-", env!("CARGO_PKG_VERSION")),
        };
        durable::write(path, &spdx::document(approval, &about).encode())?;
    }
    Ok(())
}

/// An artifact that travels, and why.
struct New<'a> {
    artifact: &'a Artifact,
    published_bytes: u64,
}

impl<'a> New<'a> {
    /// None when the inside has all of it. A blob of two artifacts counts for the first.
    fn of(artifact: &'a Artifact, plan: &Plan, counted: &mut BTreeSet<BlobId>) -> Option<Self> {
        let lacking = artifact.blobs.iter().filter(|blob| !plan.held.contains_key(&blob.id));
        let lens = lacking.map(|blob| if counted.insert(blob.id) { blob.len_bytes } else { 0 });
        let published_bytes = lens.reduce(|a, b| a + b)?;
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
}

/// What becomes of each new blob: encoded into the cache that `export` uses, or estimated from
/// that cache and probes.
pub fn reports(
    home: &Home,
    ledger: &Ledger,
    plan: &Plan,
    effort: Effort,
    is_exact: bool,
    stages: &Stages,
) -> anyhow::Result<Vec<BlobReport>> {
    let store = home.store()?;
    let mut index = Index::open(&store)?;
    let mut engine = engine(home, ledger, &store, &mut index, effort)?;
    let each = |stage, blob: &_| stages.tell(stage, blob);
    if is_exact {
        return Ok(engine.make(plan, &mut Counted::default(), &each)?.reports);
    }
    Ok(engine.estimate(plan, &each)?)
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
pub fn basis_text(basis: Option<SnapshotId>, is_full: bool) -> String {
    match basis {
        Some(id) => format!("building on what the inside holds ({})", &id.hex()[..8]),
        None if is_full => "building on nothing, as --full asks".to_owned(),
        None => "building on nothing: no inventory has come back yet".to_owned(),
    }
}
