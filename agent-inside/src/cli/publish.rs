//! `publish`: pushes the current generation into servers that the site has already.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Context;
use gapferry_common::{
    audit::Audit,
    cli::{Global, human_bytes},
    exit::{Ended, Exit},
    store::Store,
};
use gapferry_proto::{Facts, Kind, Snapshot};
use serde_json::{Value, json};

use crate::{
    cli::import::repository_key,
    generation::{Current, Generation, Hold, State},
    home::Home,
    publish::{
        Held as _, pypi,
        wheel::{self, METADATA},
    },
    publish_to::{self, Content, Destination, Document, Edition, How, Report, Shown},
};

/// Most lines of a list on a terminal; `-o json` has all.
const LINES_MAX: usize = 20;

/// How much is pushed at a time, unless the user says otherwise.
const JOBS: usize = 4;

/// The help of `--to`; as a comment its brackets would be links.
const TO: &str = "Where to: registry://HOST[:PORT][/PREFIX], dir:/PATH, s3://BUCKET[/PREFIX], \
                  or https://HOST/… for HTTP PUT";

#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    #[arg(long, value_name = "DEST", help = TO)]
    to: String,
    /// Ask what is there already, say what would be pushed, and push nothing
    #[arg(long)]
    dry_run: bool,
    /// Publish this kind alone; may stand several times
    #[arg(long, value_name = "KIND", value_parser = kind)]
    only: Vec<Kind>,
    /// Leave the upstream registry out of the names of images: PREFIX/pause, not
    /// PREFIX/registry.k8s.io/pause
    #[arg(long)]
    without_host: bool,
    /// Speak to the server without TLS
    #[arg(long)]
    plain_http: bool,
    /// How much is pushed at a time
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: usize,
}

fn kind(word: &str) -> Result<Kind, String> {
    let words: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
    let known = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    known.ok_or_else(|| format!("use one of {}", words.join(", ")))
}

pub fn run(args: &PublishArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let to = Destination::parse(&args.to, args.plain_http)?;
    let how = How {
        only: args.only.iter().copied().collect(),
        dry_run: args.dry_run,
        with_host: !args.without_host,
        jobs: args.jobs.max(1),
    };
    check_kinds(&to, &how.only)?;
    let state = State::of(home.root());
    let Some(current) = state.current()? else {
        return Err(Ended::new(Exit::Usage, "nothing was imported yet").into());
    };
    let store = home.store()?;
    let key = repository_key(home)?.public_armoured()?;
    // A sweep waits for the end of this.
    let holds = state.hold_all()?;
    let edition = edition(&state, &store, &current, &holds, key)?;
    let audit = Audit::of(home.root());
    if !how.dry_run {
        let facts = json!({"to": to.shown(), "sequence": edition.sequence});
        audit.record("publishing", &facts)?;
    }
    let (began, bar) = (Instant::now(), bar(global));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the network runtime")?;
    let report = runtime.block_on(publish_to::publish(&edition, &store, &to, &how, bar))?;
    if !how.dry_run {
        audit.record("published", &facts(&edition, &to, &report))?;
    }
    show(global, &edition, &to, &how, &report, began);
    Ok(match (report.failures.is_empty(), report.gone) {
        (true, _) => Exit::Done,
        (false, false) => Exit::Incomplete,
        (false, true) => Exit::Fault,
    })
}

/// A registry takes images and nothing else; no other server takes them.
fn check_kinds(to: &Destination, only: &BTreeSet<Kind>) -> anyhow::Result<()> {
    let is_registry = matches!(to, Destination::Registry(_));
    let fits = |kind: &Kind| (*kind == Kind::Image) == is_registry;
    match only.iter().find(|kind| !fits(kind)) {
        Some(kind) if is_registry => {
            let message = format!("a registry takes images alone, and no {kind}");
            Err(Ended::new(Exit::Usage, message).into())
        }
        Some(_) => {
            let message = "images go into a registry alone: --to registry://…";
            Err(Ended::new(Exit::Usage, message).into())
        }
        None => Ok(()),
    }
}

fn edition(
    state: &State,
    store: &Store,
    current: &Current,
    held: &[(Generation, Hold)],
    key: String,
) -> anyhow::Result<Edition> {
    let others = held.iter().filter(|(g, _)| g.sequence != current.generation);
    let kept = others.map(|(generation, _)| shown(state, generation)).collect::<Result<_, _>>()?;
    let mut now = shown(state, &state.generation(current.generation)?)?;
    now.documents.extend(wheel_metadata(&now.snapshot, store)?);
    let is_signed =
        |facts: &Facts| matches!(facts, Facts::Deb(_) | Facts::Rpm(_) | Facts::YumDocument(_));
    let has_heads = now.snapshot.artifacts().any(|artifact| is_signed(&artifact.facts));
    let folder = state.heads(current.activation);
    let heads = match folder.exists() {
        true => publish_to::read_documents(&folder)?,
        false if has_heads => {
            let message = format!("{folder} is gone; roll back, or import the export again");
            return Err(Ended::new(Exit::Fault, message).into());
        }
        false => Vec::new(),
    };
    Ok(Edition {
        sequence: current.generation,
        activation: current.activation,
        activated: current.activated,
        id: current.snapshot,
        current: now,
        kept,
        heads,
        key,
    })
}

fn shown(state: &State, generation: &Generation) -> anyhow::Result<Shown> {
    let sequence = generation.sequence;
    let snapshot = state.list(generation)?;
    let documents = publish_to::read_documents(&state.documents(sequence))?;
    Ok(Shown { snapshot, documents })
}

/// What the wheels of a snapshot say of themselves: the pages of the index name it, and `serve`
/// reads it as it is asked for.
fn wheel_metadata(snapshot: &Snapshot, store: &Store) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for artifact in snapshot.artifacts() {
        let Facts::Pypi(facts) = &artifact.facts else { continue };
        let id = artifact.blobs[0].id;
        let wheel = store.open(id).with_context(|| format!("cannot read {}", artifact.name))?;
        if let Some(metadata) = wheel::metadata(&wheel) {
            let name = format!("{}{METADATA}", pypi::address(facts));
            documents.push(Document { name, content: Content::of(metadata) });
        }
    }
    Ok(documents)
}

fn bar(global: &Global) -> indicatif::ProgressBar {
    if global.quiet {
        return indicatif::ProgressBar::hidden();
    }
    let style = "publishing {bar:40} {bytes}/{total_bytes} {eta}";
    let style = indicatif::ProgressStyle::with_template(style).expect("the template is fixed");
    indicatif::ProgressBar::new(0).with_style(style)
}

/// What the audit log keeps of a run.
fn facts(edition: &Edition, to: &Destination, report: &Report) -> Value {
    json!({
        "to": to.shown(),
        "sequence": edition.sequence,
        "activation": edition.activation,
        "pushed": report.pushed.len(),
        "bytes_pushed": report.bytes_pushed,
        "failures": report.failures.len(),
    })
}

fn show(
    global: &Global,
    edition: &Edition,
    to: &Destination,
    how: &How,
    report: &Report,
    began: Instant,
) {
    let images = edition.current.snapshot.count_by_kind()[&Kind::Image];
    let left_out = if matches!(to, Destination::Registry(_)) { 0 } else { images };
    let document = json!({
        "to": to.shown(),
        "sequence": edition.sequence,
        "activation": edition.activation,
        "dry_run": how.dry_run,
        "pushed": report.pushed,
        "bytes_pushed": report.bytes_pushed,
        "present": report.present,
        "failures": report.failures,
        "images_left_out": left_out,
        "seconds": began.elapsed().as_secs_f64(),
    });
    global.print(&document, || text(edition, to, how, report, left_out));
}

fn text(edition: &Edition, to: &Destination, how: &How, report: &Report, left_out: u64) -> String {
    let mut text = String::new();
    if how.dry_run {
        let lines = report.pushed.iter().map(|p| format!("{} ({})", p.what, human_bytes(p.bytes)));
        list(&mut text, lines);
    }
    let failures = report.failures.iter().map(|f| format!("failed: {}: {}", f.what, f.message));
    list(&mut text, failures);
    let would = if how.dry_run { "would be pushed" } else { "pushed" };
    let _ = write!(
        text,
        "Generation {} to {}: {} {would} ({}), {} there already, {} failed.",
        edition.sequence,
        to.shown(),
        report.pushed.len(),
        human_bytes(report.bytes_pushed),
        report.present,
        report.failures.len(),
    );
    if left_out != 0 && how.only.is_empty() {
        let _ = write!(text, "\n{left_out} images are left out: they go to --to registry://….");
    }
    if !report.failures.is_empty() {
        text.push_str("\nWhat was pushed stays; run it again to go on.");
    }
    text
}

fn list(text: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(LINES_MAX);
    for line in lines.take(LINES_MAX) {
        let _ = writeln!(text, "{line}");
    }
    if more != 0 {
        let _ = writeln!(text, "… and {more} more; -o json has all");
    }
}
