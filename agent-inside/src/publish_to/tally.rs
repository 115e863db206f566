//! What became of everything that was to be published.
//!
//! In:   outcomes, from many tasks at once.
//! Out:  a [`Report`], and a bar on a terminal.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use gapferry_common::exit;
use indicatif::ProgressBar;
use serde::Serialize;

use super::http::PushError;

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// What was pushed, or with `--dry-run` would be.
    pub pushed: Vec<Pushed>,
    pub bytes_pushed: u64,
    /// How many things were there already.
    pub present: u64,
    pub failures: Vec<Failure>,
    /// Whether the server stopped answering on the way.
    pub gone: bool,
}

/// One thing that was pushed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Pushed {
    pub what: String,
    pub bytes: u64,
}

/// One thing that was not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Failure {
    pub what: String,
    pub message: String,
}

/// Counts while tasks run.
#[derive(Debug)]
pub struct Tally {
    report: Mutex<Report>,
    gone: AtomicBool,
    bar: ProgressBar,
}

/// How one thing ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Pushed,
    /// It was there already.
    Present,
}

impl Tally {
    pub fn new(bar: ProgressBar) -> Self {
        Self { report: Mutex::default(), gone: AtomicBool::new(false), bar }
    }

    /// Notes how `what` ended; whether it is there now.
    pub fn note(&self, what: &str, bytes: u64, ended: Result<Outcome, PushError>) -> bool {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok(Outcome::Pushed) => {
                report.bytes_pushed += bytes;
                report.pushed.push(Pushed { what: what.to_owned(), bytes });
            }
            Ok(Outcome::Present) => report.present += 1,
            Err(error) => {
                let message = exit::chain(&error);
                tracing::debug!(what, message, "not published");
                report.failures.push(Failure { what: what.to_owned(), message });
                return false;
            }
        }
        drop(report);
        self.bar.inc(bytes);
        true
    }

    /// Notes that the server no longer answers: what is left is not tried.
    pub fn lose(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub fn has_failures(&self) -> bool {
        !self.report.lock().unwrap_or_else(PoisonError::into_inner).failures.is_empty()
    }

    /// Bytes that were pushed so far.
    pub fn bytes_pushed(&self) -> u64 {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).bytes_pushed
    }

    pub fn expect(&self, len_bytes: u64) {
        self.bar.set_length(len_bytes);
    }

    /// Ends the run; everything is sorted by name.
    pub fn finish(self) -> Report {
        self.bar.finish_and_clear();
        let mut report = self.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.pushed.sort();
        report.failures.sort();
        report.gone = self.gone.into_inner();
        report
    }
}
