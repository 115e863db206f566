//! `export`: plans, seals into the ledger, copies to the medium.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    audit::Audit,
    cli::{Global, human_bytes},
    exit::Exit,
    memory,
    patch::Effort,
    seal::Recipients,
    store::Index,
};
use gapferry_proto::{Digest, Envelope, SiteName, Snapshot};
use serde_json::{Value, json};

use super::{
    check::{Simulated, missing_text, simulate},
    plan::{artifacts, basis_text, engine, raw_blobs, table},
    stages::Stages,
};
use crate::{
    carrier::stick,
    check::{Missing, Report, bytes},
    collisions::{self, Collision},
    delta::Made,
    home::Home,
    ledger::{Basis, Ledger, Record},
    plan::{self, Plan},
    seal::{self, InForce, Sealed, Sealer},
    snapshot,
};

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The site; may be left out when there is only one
    #[arg(long)]
    site: Option<SiteName>,
    /// The medium, or any folder
    #[arg(long, value_name = "DIR")]
    to: Utf8PathBuf,
    /// How much time may be spent to save bytes
    #[arg(long, value_enum, default_value_t)]
    effort: Effort,
    /// Build on nothing, as for a site that lost its store
    #[arg(long)]
    full: bool,
    /// Carry what there is though NAME is missing; may be given several times
    #[arg(long, value_name = "NAME")]
    accept_missing: Vec<String>,
    /// Plan, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &ExportArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    memory::watch();
    let began = std::time::Instant::now();
    let site = super::chosen_site(home, args.site.as_ref())?;
    let ledger = Ledger::open(home.ledger(&site), &site)?;
    let _lock = home.lock()?;
    let basis = if args.full { Basis::default() } else { ledger.basis()? };
    let Simulated { report, snapshot: mut wanted, .. } = simulate(home, &site, &basis, None, None)?;
    let (gaps, missing) = report.accept(&args.accept_missing);
    say_unknown(global, &report, &args.accept_missing);
    if !gaps.is_empty() {
        wanted = bytes::without(&wanted, &gaps, &basis.held(), &home.store()?)?;
    }
    let mut plan = plan::plan(&basis, &wanted);
    plan.accepted_gaps = gaps.into_iter().collect();
    plan.kubespray = snapshot::trees_of_site(home, &site)?;
    let collisions = collisions::of(&wanted);
    if args.dry_run {
        return dry_run(global, &ledger, &plan, &missing, &collisions);
    }
    if !missing.is_empty() || collisions::is_refused(&collisions) {
        return Ok(refused(global, &site, &report, &missing, &collisions));
    }
    stick::check_folder(&args.to)?;
    let sealed = sealed(args, home, global, &ledger, &plan, &wanted)?;
    global.say(format!("Copying to {} …", args.to));
    let folder = stick::copy(&sealed.folder, &args.to, &site)?;
    let reports = ledger.reports(&sealed.envelope.export)?;
    let mut document = document(&sealed, &plan, &folder, began.elapsed().as_secs_f64());
    document["artifacts"] = json!(artifacts(&wanted, &reports));
    document["fallback_raw"] = json!(raw_blobs(&reports));
    document["not_proven"] = json!(report.not_proven);
    document["collisions"] = json!(collisions);
    if !report.not_proven.is_empty() {
        let count = report.not_proven.len();
        global.say(format!(
            "{count} things could not be proven; `gapferry-outside check` lists them."
        ));
    }
    global.print(&document, || {
        let text = text(&sealed.envelope, &plan, &folder, args.full);
        format!("{}{text}", collisions::text(&collisions))
    });
    Ok(Exit::Done)
}

/// Shows the plan, and what would keep it from being exported.
fn dry_run(
    global: &Global,
    ledger: &Ledger,
    plan: &Plan,
    missing: &[&Missing],
    collisions: &[Collision],
) -> anyhow::Result<Exit> {
    let document = json!({
        "site": ledger.site(),
        "missing": missing,
        "collisions": collisions,
        "accepted_gaps": plan.accepted_gaps,
        "kubespray": plan.kubespray,
        "basis": plan.basis_sequence,
        "sequence": ledger.next_sequence()?,
        "artifacts_new": plan.totals.artifacts_new,
        "published_bytes_new": plan.totals.published_bytes_new,
        "by_kind": plan.by_kind,
    });
    global.print(&document, || {
        let missing = missing_text(missing, ledger.site());
        format!("{missing}{}{}", collisions::text(collisions), table(plan))
    });
    Ok(exit(missing, collisions))
}

/// How what is missing and what collides end a run: something missing is told first, for it has to
/// be brought or accepted whatever becomes of the rest.
fn exit(missing: &[&Missing], collisions: &[Collision]) -> Exit {
    match (missing.is_empty(), collisions::is_refused(collisions)) {
        (false, _) => Exit::Incomplete,
        (true, true) => Exit::Refused,
        (true, false) => Exit::Done,
    }
}

/// Lists what keeps an export from being made.
fn refused(
    global: &Global,
    site: &SiteName,
    report: &Report,
    missing: &[&Missing],
    collisions: &[Collision],
) -> Exit {
    let document = json!({
        "site": site,
        "missing": missing,
        "not_proven": report.not_proven,
        "collisions": collisions,
    });
    global.print(&document, || {
        let list = format!("{}{}", missing_text(missing, site), collisions::text(collisions));
        let advice = match missing.is_empty() {
            true => "",
            false => " Add it, or accept each by name: --accept-missing NAME",
        };
        format!("{list}Nothing was exported.{advice}")
    });
    exit(missing, collisions)
}

/// A name that nothing missing has is told, since it may be a slip of the pen.
fn say_unknown(global: &Global, report: &Report, names: &[String]) {
    let is_unknown = |name: &&String| !report.missing.iter().any(|one| one.is_called(name));
    for name in names.iter().filter(is_unknown) {
        global.say(format!("--accept-missing {name}: nothing of that name is missing"));
    }
}

/// The sealed export for `plan`: the one that lies in the ledger already, or a new one.
fn sealed(
    args: &ExportArgs,
    home: &Home,
    global: &Global,
    ledger: &Ledger,
    plan: &Plan,
    wanted: &Snapshot,
) -> anyhow::Result<Sealed> {
    let card = ledger.card()?;
    let recipients = card.recipients()?;
    let keysets = InForce::read(home.keysets())?;
    let store = home.store()?;
    let mut index = Index::open(&store)?;
    let mut engine = engine(home, ledger, &store, &mut index, args.effort)?;
    let cargo = seal::cargo(plan, &keysets, recipients, &engine);
    if let Some((folder, envelope)) = already_sealed(ledger, cargo)? {
        return Ok(Sealed { folder, envelope, made: None });
    }
    let sealer = Sealer {
        site: ledger.site(),
        sequence: ledger.next_sequence()?,
        keysets: &keysets,
        publisher: &home.publisher_key()?,
        recipients: &Recipients::parse(recipients)?,
        created: jiff::Timestamp::now().to_string(),
    };
    let about = json!({"site": ledger.site(), "sequence": sealer.sequence});
    Audit::of(home.root()).record("sealing", &about)?;
    let stages = Stages::new(global, plan.totals.published_bytes_new);
    let each = |stage, blob: &_| stages.tell(stage, blob);
    let sealed = sealer.seal(plan, &mut engine, &ledger.exports(), &each)?;
    stages.finish();
    let record = Record {
        export: sealed.envelope.export.clone(),
        sequence: sealed.envelope.sequence,
        basis: plan.basis,
        snapshot: plan.snapshot,
        cargo,
        confirmed: false,
    };
    let reports = sealed.made.as_ref().map_or(&[][..], |made: &Made| &made.reports);
    ledger.write_reports(&record.export, reports)?;
    ledger.record(&record, wanted)?;
    Audit::of(home.root()).record("sealed", &record)?;
    Ok(sealed)
}

/// The last export, when it carries the same and still lies there.
fn already_sealed(
    ledger: &Ledger,
    cargo: Digest,
) -> anyhow::Result<Option<(Utf8PathBuf, Envelope)>> {
    let records = ledger.records()?;
    let Some(last) = records.last().filter(|r| !r.confirmed) else { return Ok(None) };
    if last.cargo != cargo {
        return Ok(None);
    }
    let folder = ledger.export_folder(&last.export);
    // One that rotted is made again, under the next sequence.
    if !seal::is_whole(&folder) {
        return Ok(None);
    }
    let envelope = std::fs::read(folder.join("envelope.json")).ok();
    let envelope = envelope.and_then(|bytes| Envelope::parse(&bytes).ok());
    Ok(envelope.map(|envelope| (folder, envelope)))
}

fn document(sealed: &Sealed, plan: &Plan, folder: &Utf8Path, seconds: f64) -> Value {
    let envelope = &sealed.envelope;
    let volumes: Vec<_> = envelope
        .volumes
        .iter()
        .map(|volume| {
            let bytes: u64 = volume.packs.iter().map(|pack| pack.file.bytes).sum();
            let path = folder.join(format!("volume-{:03}", volume.index));
            json!({"index": volume.index, "path": path, "bytes": bytes, "packs": volume.packs})
        })
        .collect();
    json!({
        "export": envelope.export,
        "path": folder,
        "site": envelope.site,
        "basis": plan.basis_sequence,
        "basis_snapshot": envelope.basis,
        "snapshot": envelope.snapshot,
        "sequence": envelope.sequence,
        "artifacts_new": envelope.totals.artifacts_new,
        "published_bytes_new": envelope.totals.published_bytes_new,
        "export_bytes": envelope.totals.export_bytes,
        "volumes": volumes,
        "by_kind": plan.by_kind,
        "accepted_gaps": plan.accepted_gaps,
        "kubespray": plan.kubespray,
        "seconds": seconds,
        "seconds_by_stage": sealed.made.as_ref().map(|made| made.seconds),
        "peak_memory_bytes": memory::peak_bytes(),
    })
}

fn text(envelope: &Envelope, plan: &Plan, folder: &Utf8Path, is_full: bool) -> String {
    let packs = match envelope.packs().count() {
        0 => "no pack".to_owned(),
        1 => "one pack".to_owned(),
        count => format!("{count} packs"),
    };
    format!(
        "{table}\nExport {id} carries {bytes} in {packs}, {basis}.\n{folder}\n\
         Read back and checked: the medium is safe to remove.",
        table = table(plan),
        id = envelope.export,
        bytes = human_bytes(envelope.totals.export_bytes),
        basis = basis_text(envelope.basis, is_full),
    )
}
