//! `gapferry-outside`: the agent on the connected bastion.

mod carrier;
mod cli;
mod confirm;
mod delta;
mod fetch;
mod home;
mod ledger;
mod lock;
mod plan;
mod resolve;
mod seal;
mod snapshot;
mod source;
mod waybill;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
