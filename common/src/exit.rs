//! Exit codes: what a script learns of a run.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// It did what it was asked to.
    Done = 0,
    /// The command line, a configuration or a document the user wrote is wrong.
    Usage = 1,
    /// Something is missing; the list says what.
    Incomplete = 2,
    /// A decision: what was shown is not accepted.
    Refused = 3,
    /// A fault of a machine or a network; a second try may pass.
    Fault = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error and its causes in one line; a cause that its error already ends with is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let message = source.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = source.source();
    }
    text
}

/// An error that carries its exit code through `anyhow`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Ended {
    pub exit: Exit,
    pub message: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Ended {
    /// Ends with `exit` and one sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), source: None }
    }

    /// Ends with `exit` because of `source`.
    pub fn because(
        exit: Exit,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { exit, message: message.into(), source: Some(source.into()) }
    }
}
