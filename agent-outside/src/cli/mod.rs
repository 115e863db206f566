//! The command line: one file a subcommand, each of which loads, plans, acts and reports.

mod check;
mod explain;
mod export;
mod init;
mod inspect;
mod inventory;
mod pair;
mod plan;
mod resolve;
mod scrub;
mod stages;
mod status;
mod store;
mod sync;
mod wants;

use std::process::ExitCode;

use anyhow::Context;
use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};
use gapferry_common::{
    cli::Global,
    config::ConfigError,
    exit::{Ended, Exit, chain},
};
use gapferry_proto::{SiteName, card::CardError};

use crate::{
    carrier::stick::StickError,
    confirm::InventoryRefusal,
    delta::DeltaError,
    home::{BINARY, Home},
    ledger::{LedgerError, installed_folder},
    lock::LockFileError,
    resolve::NotPinned,
    seal::ExportError,
    snapshot::UnionError,
    source::{Failure, Verdict, http::NetworkError},
    waybill::WaybillError,
};

/// Brings everything a Kubespray site needs to where it has no network.
#[derive(Debug, Parser)]
#[command(name = BINARY, version, about)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, a store, a configuration and an example waybill
    Init(init::InitArgs),
    /// Learn a site from its card
    Pair(pair::PairArgs),
    /// Turn the waybill into digests; fetch nothing else
    Resolve(resolve::ResolveArgs),
    /// Resolve, fetch and verify everything the waybill names
    Sync(sync::SyncArgs),
    /// Simulate the consumers inside: is anything missing?
    Check(check::CheckArgs),
    /// Show what an export would carry
    Plan(plan::PlanArgs),
    /// Write an export to a medium
    Export(export::ExportArgs),
    /// Show of what an artifact is made inside, what of it travels and why
    Explain(explain::ExplainArgs),
    /// Read an export without keys
    Inspect(inspect::InspectArgs),
    /// Take back what an inside says it holds
    Inventory(inventory::InventoryArgs),
    /// List what sites asked for in vain, and dismiss what shall not be carried
    Wants(wants::WantsArgs),
    /// Show what this outside holds and knows
    Status,
    /// List the sites that are paired
    Sites,
    /// Look into the store
    Store(store::StoreArgs),
    /// Read every blob again and name what is damaged
    Scrub(scrub::ScrubArgs),
}

/// Parses the command line, runs it and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _closed = e.print();
            return if e.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    cli.global.start_logging();
    let result = run(&cli);
    cli.global.end(result, exit_of)
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let global = &cli.global;
    if let Command::Init(args) = &cli.command {
        return init::run(args, global);
    }
    if let Command::Inspect(args) = &cli.command {
        return inspect::run(args, global);
    }
    if let Command::Resolve(resolve::ResolveArgs { question: Some(question), .. }) = &cli.command {
        return resolve::answer(question, global);
    }
    let home = Home::open(global.home(BINARY)?)?;
    match &cli.command {
        Command::Init(_) | Command::Inspect(_) => unreachable!("ran above, without a home"),
        Command::Pair(args) => pair::run(args, &home, global),
        Command::Resolve(args) => resolve::run(args, &home, global),
        Command::Sync(args) => sync::run(args, &home, global),
        Command::Check(args) => check::run(args, &home, global),
        Command::Plan(args) => plan::run(args, &home, global),
        Command::Export(args) => export::run(args, &home, global),
        Command::Explain(args) => explain::run(args, &home, global),
        Command::Store(args) => store::run(args, &home, global),
        Command::Inventory(args) => inventory::run(args, &home, global),
        Command::Wants(args) => wants::run(args, &home, global),
        Command::Status => status::run(&home, global),
        Command::Sites => status::sites(&home, global),
        Command::Scrub(args) => scrub::run(args, &home, global),
    }
}

/// The exit code of an error that reached the top.
fn exit_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(exit_of_cause).unwrap_or(Exit::Fault)
}

fn exit_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    let is = |yes: bool, exit| yes.then_some(exit);
    None.or(cause.downcast_ref::<Ended>().map(|ended| ended.exit))
        .or(is(cause.is::<ConfigError>() || cause.is::<WaybillError>(), Exit::Usage))
        .or(is(cause.is::<NetworkError>(), Exit::Usage))
        .or(is(cause.is::<LockFileError>() || cause.is::<CardError>(), Exit::Usage))
        .or(is(cause.is::<UnionError>() || cause.is::<NotPinned>(), Exit::Usage))
        .or(is(cause.is::<InventoryRefusal>(), Exit::Refused))
        .or(is(matches!(cause.downcast_ref(), Some(LedgerError::NotPaired(_))), Exit::Usage))
        .or(is(matches!(cause.downcast_ref(), Some(ExportError::NoKeyset)), Exit::Usage))
        .or(is(
            matches!(
                cause.downcast_ref(),
                Some(ExportError::Delta(DeltaError::NotHeld(_) | DeltaError::Damaged(_)))
            ) || matches!(
                cause.downcast_ref(),
                Some(DeltaError::NotHeld(_) | DeltaError::Damaged(_))
            ),
            Exit::Incomplete,
        ))
        .or(is(
            matches!(
                cause.downcast_ref(),
                Some(StickError::NoRoom { .. } | StickError::NoFolder { .. })
            ),
            Exit::Usage,
        ))
}

/// The exit code of a run with failures: the gravest of them.
fn exit_of_failures(failures: &[Failure]) -> Exit {
    match failures.iter().map(|failure| failure.verdict).max() {
        None => Exit::Done,
        Some(Verdict::Fault) => Exit::Fault,
        Some(Verdict::Configuration) => Exit::Usage,
        Some(Verdict::Missing) => Exit::Incomplete,
        Some(Verdict::Refused) => Exit::Refused,
    }
}

/// A failure as results show it.
#[derive(serde::Serialize)]
struct FailureLine {
    kind: gapferry_proto::Kind,
    name: String,
    verdict: Verdict,
    error: String,
}

fn failure_lines(failures: &[Failure]) -> Vec<FailureLine> {
    let line = |failure: &Failure| FailureLine {
        kind: failure.kind,
        name: failure.name.clone(),
        verdict: failure.verdict,
        error: chain(&*failure.error),
    };
    failures.iter().map(line).collect()
}

fn say_failures(global: &Global, lines: &[FailureLine]) {
    if lines.is_empty() {
        return;
    }
    global.say(format!("{} could not be had:", lines.len()));
    for line in lines {
        global.say(format!("  {} {}: {}", line.kind, line.name, line.error));
    }
}

/// The site that a command is about: the one named, or the only one there is.
fn chosen_site(home: &Home, named: Option<&SiteName>) -> anyhow::Result<SiteName> {
    match (named, home.sites().as_slice()) {
        (Some(site), _) => Ok(site.clone()),
        (None, [site]) => Ok(site.clone()),
        (None, []) => {
            let what = "no site is paired; run `gapferry-outside pair SITE.card`";
            Err(Ended::new(Exit::Usage, what).into())
        }
        (None, sites) => {
            let names: Vec<_> = sites.iter().map(SiteName::as_str).collect();
            let what = format!("name one of the sites with --site: {}", names.join(", "));
            Err(Ended::new(Exit::Usage, what).into())
        }
    }
}

/// A waybill with its text and the folder that its paths are relative to.
struct LoadedWaybill {
    waybill: crate::waybill::Waybill,
    text: String,
    path: Utf8PathBuf,
    base: Utf8PathBuf,
    lock_path: Utf8PathBuf,
}

fn load_waybill(path: &Utf8PathBuf, home: &Home) -> anyhow::Result<LoadedWaybill> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Ended::because(Exit::Usage, format!("cannot read the waybill {path}; name it with -f"), e)
    })?;
    let mut waybill = crate::waybill::Waybill::parse(&text).with_context(|| path.to_string())?;
    waybill.spec.bind(&|site| installed_folder(&home.ledger(site)));
    let base = path.parent().filter(|p| !p.as_str().is_empty()).map_or(".".into(), Into::into);
    let lock_path = path.with_extension("lock");
    Ok(LoadedWaybill { waybill, text, path: path.clone(), base, lock_path })
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok(runtime.context("cannot start the network runtime")?.block_on(future))
}

/// Asks a yes-or-no question on the terminal; without one the answer must be `--yes`.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() {
        let what = "nobody is at the terminal to compare the words; compare them and pass --yes";
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let asked = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
    asked.context("cannot ask on the terminal")
}
