//! Where artifacts come from: one file a kind, pure parsers above thin fetchers.
//!
//! In:   the lines of a waybill.
//! Out:  [`Found`]: artifacts with their digests, and everything that could not be found.
//!
//! A source never ends at the first failure: the user hears of all of them at once.

pub mod apt;
pub mod file;
pub mod helm;
pub mod http;
pub mod installed;
pub mod manifest;
pub mod oci;
pub mod pypi;
pub mod unpack;
pub mod yum;

use gapferry_proto::{Artifact, Kind};

/// What a source found for its lines, and what it could not find.
#[derive(Debug, Default)]
pub struct Found {
    pub artifacts: Vec<Artifact>,
    pub failures: Vec<Failure>,
}

/// One thing that could not be had, with the sentence that says what to do.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub name: String,
    pub verdict: Verdict,
    pub error: Box<dyn std::error::Error + Send + Sync>,
}

/// What a failure means for the run; each has its exit code (DESIGN, exit codes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A fault that may pass: 429, 5xx, a broken connection. Exit code 4.
    Fault,
    /// The configuration is at fault: 401, 403, a wrong key file. Exit code 1.
    Configuration,
    /// It does not exist as asked for: 404, a requirement that cannot be met. Exit code 2.
    Missing,
    /// Upstream's word and its bytes disagree, or a signature is bad. Exit code 3.
    Refused,
}

impl Failure {
    /// Puts a failure on the list.
    pub fn new(
        kind: Kind,
        name: impl Into<String>,
        verdict: Verdict,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, name: name.into(), verdict, error: error.into() }
    }
}
