//! `gapferry-outside`: the agent on the connected bastion.

mod approval;
mod bases;
mod carrier;
mod census;
mod check;
mod chunks;
mod cli;
mod collisions;
mod confirm;
mod delta;
mod encodings;
mod expand;
mod fetch;
mod home;
mod inputs;
mod kubespray;
mod leaves;
mod ledger;
mod licence;
mod lists;
mod lock;
mod plan;
mod race;
mod rehearse;
mod resolve;
mod route;
mod seal;
mod sketch;
mod snapshot;
mod source;
mod wants;
mod waybill;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
