//! `gapferry-inside`: the agent on the admin node, where there is no network.

mod apply;
mod carrier;
mod cli;
mod diff;
mod generation;
mod home;
mod inbox;
mod installed;
mod inventory;
mod last_import;
mod local;
mod pins;
mod publish;
mod publish_to;
mod schedule;
mod serve;
mod settings;
mod site_ca;
mod sweep;
mod trust;
mod users;
mod verify;
mod wants;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
