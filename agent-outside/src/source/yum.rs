//! Rpm packages: from lines of the waybill to packages that upstream vouches for.
//!
//! In:   [`YumLine`](crate::waybill::YumLine)s, this machine's dnf settings where one leaves the
//!       place out.
//! Out:  the packages named with all that they need on an empty machine, and all that is missing.
//!
//! ```text
//! settings -> fetch (mirrors -> repomd -> documents) -> universe -> closure (rules, solver) -> pick
//! ```
//!
//! The chain of trust: a key, a metalink or TLS vouches for `repomd.xml`; that names the digest
//! of each document; `primary.xml` names the digest of each package. Nothing is believed before
//! the step above it was checked.

pub mod artifacts;
pub mod closure;
pub mod comps;
pub mod evr;
pub mod fetch;
pub mod filelists;
pub mod header;
pub mod mirrors;
pub mod modules;
pub mod pick;
pub mod primary;
pub mod reach;
pub mod repomd;
pub mod resolve;
pub mod rich;
pub mod rules;
#[cfg(test)]
pub mod samples;
pub mod settings;
pub mod solver;
pub mod universe;
pub mod unpack;
pub mod updateinfo;
pub mod xml;

pub use reach::reach;
pub use resolve::{resolve, target, wishes};
