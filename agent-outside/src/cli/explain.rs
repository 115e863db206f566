//! `explain`: of what one artifact is made inside, what of it travels, and why.

use std::collections::BTreeMap;

use gapferry_common::{
    cli::Global,
    exit::{Ended, Exit},
    patch::Effort,
};
use gapferry_proto::{Artifact, BlobId, BlobRef, ExportId, Kind, SiteName, Snapshot};
use serde::Serialize;
use serde_json::json;

use super::{plan, stages::Stages};
use crate::{
    delta::report::BlobReport,
    home::Home,
    ledger::Ledger,
    plan::{self as planner, Plan},
    snapshot,
};

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Name of the artifact, as `plan` lists it, or a part of it
    artifact: String,
    /// The site; may be left out when there is only one
    #[arg(long)]
    site: Option<SiteName>,
    /// How much time may be spent to save bytes
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
}

pub fn run(args: &ExplainArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let site = super::chosen_site(home, args.site.as_ref())?;
    let ledger = Ledger::open(home.ledger(&site), &site)?;
    let _lock = home.lock()?;
    let wanted = snapshot::of_site(home, &site)?;
    let found = named(&wanted, &args.artifact)?;
    let plan = planner::plan(&ledger.basis()?, &wanted);
    let stages = Stages::new(global, plan.totals.published_bytes_new);
    let reports = reports(args, home, &ledger, &plan, &found, &stages)?;
    stages.finish();
    let explained: Vec<_> = found.iter().map(|one| Explained::of(one, &plan, &reports)).collect();
    global.print(&json!({"artifacts": explained}), || {
        explained.iter().map(Explained::text).collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::Done)
}

/// An artifact, blob by blob.
#[derive(Serialize)]
struct Explained<'a> {
    kind: Kind,
    name: &'a str,
    blobs: Vec<Blob<'a>>,
}

#[derive(Serialize)]
struct Blob<'a> {
    blob: BlobId,
    len_bytes: u64,
    /// Whether the inside holds it.
    held: bool,
    /// The export that brought it; none for one that is planned.
    export: Option<&'a ExportId>,
    report: Option<&'a BlobReport>,
}

/// What is known of each blob, and the export that it comes from.
type Reports = BTreeMap<BlobId, (Option<ExportId>, BlobReport)>;

impl<'a> Explained<'a> {
    fn of(artifact: &'a Artifact, plan: &Plan, reports: &'a Reports) -> Self {
        let (kind, name) = artifact.key();
        let blob = |blob: &BlobRef| {
            let found = reports.get(&blob.id);
            Blob {
                blob: blob.id,
                len_bytes: blob.len_bytes,
                held: plan.held.contains_key(&blob.id),
                export: found.and_then(|(export, _)| export.as_ref()),
                report: found.map(|(_, report)| report),
            }
        };
        Self { kind, name, blobs: artifact.blobs.iter().map(blob).collect() }
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{} {}", self.kind, self.name)];
        for blob in &self.blobs {
            if blob.held {
                let by = blob.export.map(|export| format!(", brought by {export}"));
                let by = by.unwrap_or_default();
                lines.push(format!("  {}: {} bytes, held inside{by}", blob.blob, blob.len_bytes));
            }
            let report = blob.report.map(BlobReport::lines).unwrap_or_default();
            lines.extend(report.into_iter().map(|line| format!("  {line}")));
        }
        lines.join("\n")
    }
}

/// The artifact of that very name, or all whose name has it as a part.
fn named<'a>(wanted: &'a Snapshot, name: &str) -> anyhow::Result<Vec<&'a Artifact>> {
    let exact: Vec<_> = wanted.artifacts().filter(|artifact| artifact.name == name).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let found: Vec<_> =
        wanted.artifacts().filter(|artifact| artifact.name.contains(name)).collect();
    if found.is_empty() {
        let what = format!("no artifact of this site is named {name:?}; `plan -o json` lists them");
        return Err(Ended::new(Exit::Usage, what).into());
    }
    Ok(found)
}

/// What became of the blobs of `found`: in the export that is planned now, else in the first one
/// that brought them.
fn reports(
    args: &ExplainArgs,
    home: &Home,
    ledger: &Ledger,
    plan: &Plan,
    found: &[&Artifact],
    stages: &Stages,
) -> anyhow::Result<Reports> {
    let mut reports = Reports::new();
    for record in ledger.records()? {
        let earlier = ledger.reports(&record.export)?;
        for report in earlier {
            reports.entry(report.blob).or_insert_with(|| (Some(record.export.clone()), report));
        }
    }
    let is_planned = |blob: &BlobId| plan.new_blobs.iter().any(|new| new.id == *blob);
    let mut blobs = found.iter().flat_map(|artifact| &artifact.blobs);
    if blobs.any(|blob| is_planned(&blob.id)) {
        let made = plan::reports(home, ledger, plan, args.effort, true, stages)?;
        reports.extend(made.into_iter().map(|report| (report.blob, (None, report))));
    }
    Ok(reports)
}
