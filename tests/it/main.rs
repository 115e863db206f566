//! One file a promise. Everything runs against the real agents; see `tests/src` for the harness.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop where tests would")]

mod certificates;
mod check;
mod closures;
mod collisions;
mod conformance;
mod damage;
mod delta;
#[cfg(debug_assertions)] // faults are only in such builds
mod delta_faults;
mod first_transfer;
mod full_disk;
mod heal;
mod help;
mod installed;
mod kubespray;
mod locked;
mod power_cut;
mod publish_to;
mod push;
mod refusal;
mod rollback;
mod route;
mod secrets;
mod serve_ansible;
mod serve_helm;
mod serve_nodes;
mod serve_pypi;
mod serve_signed;
mod serve_tls;
mod serve_yum;
mod serve_zypper;
mod sweep;
mod switches;
mod upstream_faults;
mod wants;
mod world;
