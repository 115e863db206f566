//! `resolve`: waybill to `waybill.lock`.

mod kubespray;

use camino::Utf8PathBuf;
use gapferry_common::{cli::Global, durable, exit::Exit};
use serde_json::json;

use super::{
    LoadedWaybill, exit_of_failures, failure_lines, load_waybill, say_failures,
    wants::{asked, outcome_values, say_outcomes},
};
use crate::{
    home::Home,
    lock,
    resolve::{self, NotPinned, Resolved},
    source::http::Http,
    wants::{Lost, Wishes},
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ResolveArgs {
    #[command(subcommand)]
    pub question: Option<Question>,
    /// The waybill
    #[arg(short, long, value_name = "WAYBILL", default_value = "waybill.yaml")]
    file: Utf8PathBuf,
    /// Write no lock
    #[arg(long)]
    dry_run: bool,
}

/// Questions that need no waybill and no home.
#[derive(Debug, clap::Subcommand)]
pub enum Question {
    /// Show what Kubespray will ask for, and why
    Kubespray(kubespray::KubesprayArgs),
}

/// Answers a question.
pub fn answer(question: &Question, global: &Global) -> anyhow::Result<Exit> {
    match question {
        Question::Kubespray(args) => kubespray::run(args, global),
    }
}

pub fn run(args: &ResolveArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let loaded = load_waybill(&args.file, home)?;
    let _lock = home.lock()?;
    let resolved = resolve_now(&loaded, home, &[])?;
    if resolved.failures.is_empty() && !args.dry_run {
        durable::write(&loaded.lock_path, &resolved.lock.encode())?;
    }
    let failures = failure_lines(&resolved.failures);
    say_failures(global, &failures);
    say_hints(global, &resolved.hints);
    say_outcomes(global, &resolved.wants);
    let count = resolved.lock.artifacts.len();
    let bytes: u64 =
        resolved.lock.artifacts.iter().flat_map(|a| &a.blobs).map(|b| b.len_bytes).sum();
    let document = json!({
        "waybill": loaded.waybill.metadata.name,
        "resolved": count,
        "bytes": bytes,
        "failures": failures,
        "not_proven": resolved.hints,
        "wants": outcome_values(&resolved.wants),
    });
    global.print(&document, || {
        let bytes = gapferry_common::cli::human_bytes(bytes);
        if resolved.failures.is_empty() {
            format!("{count} artifacts, {bytes}; {}", loaded.lock_path)
        } else {
            format!("{count} artifacts, {bytes}; no lock was written")
        }
    });
    Ok(exit_of_failures(&resolved.failures))
}

/// Names what is doubtful, and the images that charts may pull and that nothing proves.
pub fn say_hints(global: &Global, hints: &[String]) {
    if !hints.is_empty() {
        global.say("Doubtful or not proven, and not carried unless a line names it:");
        hints.iter().for_each(|hint| global.say(format!("  {hint}")));
    }
}

/// Asks all sources; pinned files that `refresh` names are looked up anew.
pub fn resolve_now(
    loaded: &LoadedWaybill,
    home: &Home,
    refresh: &[String],
) -> anyhow::Result<Resolved> {
    let store = home.store()?;
    let http = http(home)?;
    let LoadedWaybill { waybill, text, base, .. } = loaded;
    let in_force = lock::in_force(&home.locks(&waybill.metadata.name))?;
    let known = match in_force.first() {
        Some(lock) => resolve::known(lock, refresh)?,
        None => refresh.first().map_or(Ok(resolve::Known::new()), |name| {
            Err(NotPinned { name: name.clone(), pinned: vec![] })
        })?,
    };
    let wishes = wishes(loaded, home, Lost::default())?;
    let resolving = resolve::resolve(&http, &store, waybill, text, base, &known, &wishes);
    Ok(super::block_on(resolving)??)
}

/// Makes the lock again without what only wants ask for and nobody gives.
pub fn resolve_without(
    lost: Lost,
    resolved: &mut Resolved,
    loaded: &LoadedWaybill,
    home: &Home,
) -> anyhow::Result<()> {
    let (store, http) = (home.store()?, http(home)?);
    let LoadedWaybill { waybill, text, base, .. } = loaded;
    let wishes = wishes(loaded, home, lost)?;
    let locking = resolved.brought.lock(&http, &store, waybill, text, base, &wishes);
    let (lock, wants) = super::block_on(locking)??;
    (resolved.lock, resolved.wants) = (lock, wants);
    Ok(())
}

fn wishes(loaded: &LoadedWaybill, home: &Home, lost: Lost) -> anyhow::Result<Wishes> {
    let in_force = lock::in_force(&home.locks(&loaded.waybill.metadata.name))?;
    let previous = in_force.into_iter().next().map(|lock| lock.artifacts).unwrap_or_default();
    Ok(Wishes { asked: asked(home, &loaded.waybill)?, previous, lost })
}

/// The client with this home's mirrors.
pub fn http(home: &Home) -> anyhow::Result<Http> {
    let mut network = home.config().network.clone();
    network.mirrors.extend(home.config().mirror.iter().cloned());
    Ok(Http::new(&network)?)
}
