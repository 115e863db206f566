//! One file a promise. Everything runs against the real agents; see `tests/src` for the harness.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop where tests would")]

mod check;
mod closures;
mod conformance;
mod damage;
mod delta;
#[cfg(debug_assertions)] // faults are only in such builds
mod delta_faults;
mod first_transfer;
mod heal;
mod help;
mod kubespray;
mod power_cut;
mod push;
mod refusal;
mod rollback;
mod secrets;
mod upstream_faults;
mod world;
