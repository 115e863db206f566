//! The command line: one file a subcommand, each of which loads, plans, acts and reports.

mod ca;
mod diff;
mod generations;
mod import;
mod init;
mod installed;
mod inventory;
mod pin;
mod publish;
mod rollback;
mod scrub;
mod serve;
mod status;
mod sweep;
mod trust;
mod users;
mod verify;
mod want;
mod wants;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gapferry_common::{
    cli::Global,
    config::ConfigError,
    exit::{Ended, Exit},
};
use gapferry_proto::{card::CardError, want::WantError};

use crate::{
    apply::ApplyError,
    generation::StateError,
    home::{BINARY, Home},
    installed::KeepError,
    publish_to::{DestinationError, FolderError, PublishToError, PushError},
    site_ca::CaError,
    trust::TrustError,
    users::{PasswordError, UserNameError},
    verify::Refusal,
};

/// Takes in what the outside sends, and serves it to the site.
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
    /// Make this site's identity and its card
    Init(init::InitArgs),
    /// Pin the publisher whose exports this site takes
    Trust(trust::TrustArgs),
    /// Verify, rebuild, apply and switch to what a medium brings
    Import(import::ImportArgs),
    /// Check an export and change nothing
    Verify(verify::VerifyArgs),
    /// Serve the current generation over HTTP
    Serve(serve::ServeArgs),
    /// Print the certificate of this site's CA, which clients must know with TLS
    Ca(ca::CaArgs),
    /// Who may log in
    Users(users::UsersArgs),
    /// Write what this site holds and wants, for the way back
    Inventory(inventory::InventoryArgs),
    /// Say what a client could not find, so that the next export brings it
    Want(want::WantArgs),
    /// List what was asked for and is not held
    Wants(wants::WantsArgs),
    /// Say what nodes have installed, so that the outside can carry what is newer
    Installed(installed::InstalledArgs),
    /// Show what is served and trusted
    Status,
    /// List the generations that are kept
    Generations,
    /// Show what differs between two generations: added, changed, removed
    Diff(diff::DiffArgs),
    /// Keep a generation from every sweep
    Pin(pin::PinArgs),
    /// Serve an earlier generation again
    Rollback(rollback::RollbackArgs),
    /// Push the current generation into servers that the site has already
    Publish(publish::PublishArgs),
    /// Take the content of old generations out of the store
    Sweep(sweep::SweepArgs),
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
    if let Command::Want(want::WantArgs { callback_plugin: true, .. }) = &cli.command {
        return Ok(want::print_plugin());
    }
    let home = Home::open(global.home(BINARY)?)?;
    match &cli.command {
        Command::Init(_) => unreachable!("ran above, without a home"),
        Command::Trust(args) => trust::run(args, &home, global),
        Command::Import(args) => import::run(args, &home, global),
        Command::Verify(args) => verify::run(args, &home, global),
        Command::Serve(args) => serve::run(args, &home, global),
        Command::Ca(args) => ca::run(args, &home, global),
        Command::Users(args) => users::run(args, &home, global),
        Command::Inventory(args) => inventory::run(args, &home, global),
        Command::Want(args) => want::run(args, &home, global),
        Command::Wants(args) => wants::run(args, &home, global),
        Command::Installed(args) => installed::run(args, &home, global),
        Command::Status => status::run(&home, global),
        Command::Generations => generations::run(&home, global),
        Command::Diff(args) => diff::run(args, &home, global),
        Command::Pin(args) => pin::run(args, &home, global),
        Command::Rollback(args) => rollback::run(args, &home, global),
        Command::Publish(args) => publish::run(args, &home, global),
        Command::Sweep(args) => sweep::run(args, &home, global),
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
        .or(is(cause.is::<Refusal>(), Exit::Refused))
        .or(is(cause.is::<ConfigError>() || cause.is::<CardError>(), Exit::Usage))
        .or(is(cause.is::<WantError>(), Exit::Usage))
        .or(cause.downcast_ref().map(|kept| match kept {
            KeepError::Durable(_) => Exit::Fault,
            _ => Exit::Usage,
        }))
        .or(cause.downcast_ref().map(|trust| match trust {
            TrustError::Read { .. } => Exit::Fault,
            _ => Exit::Usage,
        }))
        .or(is(cause.is::<DestinationError>(), Exit::Usage))
        .or(is(cause.downcast_ref().is_some_and(is_publish_setting), Exit::Usage))
        .or(is(matches!(cause.downcast_ref(), Some(CaError::Name(_))), Exit::Usage))
        .or(is(cause.is::<PasswordError>() || cause.is::<UserNameError>(), Exit::Usage))
        .or(is(cause.downcast_ref().is_some_and(is_no_generation), Exit::Usage))
        .or(is(
            matches!(cause.downcast_ref(), Some(ApplyError::State(e)) if is_no_generation(e)),
            Exit::Usage,
        ))
}

const fn is_no_generation(error: &StateError) -> bool {
    matches!(error, StateError::NoGeneration(_))
}

/// Whether somebody must change a setting or a login before anything can be published.
const fn is_publish_setting(error: &PublishToError) -> bool {
    match error {
        PublishToError::Push(error) => {
            error.is_configuration() || matches!(error, PushError::Client { .. })
        }
        PublishToError::Folder(error) => matches!(error, FolderError::Shape { .. }),
        PublishToError::Shipment(_) => true,
        #[cfg(not(feature = "s3"))]
        PublishToError::NoBuckets => true,
    }
}

/// Asks a yes-or-no question on the terminal; without one the answer must be `--yes`.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    use std::io::IsTerminal;

    use anyhow::Context;
    if !std::io::stdin().is_terminal() {
        let what = "nobody is at the terminal to compare the words; compare them and pass --yes";
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let asked = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
    asked.context("cannot ask on the terminal")
}
