//! How a request can fail, and what that means for the run.

use std::{io, sync::Arc};

use camino::Utf8PathBuf;
use gapferry_proto::Digest;

use super::{Redacted, is_tls_alert};
use crate::source::Verdict;

/// Why a request failed, after all tries.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{url} does not exist (HTTP {status})")]
    NotFound { url: Redacted, status: u16 },
    #[error(
        "{url} asks for credentials (HTTP {status}); put them into netrc or docker's auth file"
    )]
    Denied {
        url: Redacted,
        status: u16,
        /// `WWW-Authenticate`, when it was given.
        challenge: Option<String>,
    },
    #[error("{url} answered HTTP {status} {tries} times")]
    Busy { url: Redacted, status: u16, tries: u32 },
    #[error("{url} answered HTTP {status}")]
    Status { url: Redacted, status: u16 },
    #[error("{url} has more than {max} bytes")]
    TooLong { url: Redacted, max: u64 },
    #[error("cannot fetch {url}")]
    Transport { url: Redacted, source: reqwest::Error },
    #[error("{url} does not take the client certificate (HTTP {status}); check {what}")]
    Certificate { url: Redacted, status: u16, what: Arc<str> },
    #[error("no TLS with {url} by the given certificates; check {what}")]
    Handshake { url: Redacted, what: Arc<str>, source: reqwest::Error },
    #[error("{url} leads to where this agent does not follow; name the final URL or a mirror")]
    Redirect { url: Redacted, source: reqwest::Error },
    #[error("{url} breaks off after {actual} of {expected} bytes")]
    Short { url: Redacted, expected: u64, actual: u64 },
    #[error("{url} has {actual} bytes or more, and {expected} are expected")]
    Length { url: Redacted, expected: u64, actual: u64 },
    #[error("{url} hashes to {actual}, and {expected} is expected")]
    Digest { url: Redacted, expected: Digest, actual: Digest },
    #[error("cannot write {path}")]
    Write { path: Utf8PathBuf, source: io::Error },
}

impl HttpError {
    /// Whether this is what servers say to who presents no client certificate though they want
    /// one: nginx a status, others an alert of TLS.
    pub fn may_want_certificate(&self) -> bool {
        match self {
            Self::Status { status: 400, .. } => true,
            Self::Transport { source, .. } | Self::Handshake { source, .. } => is_tls_alert(source),
            _ => false,
        }
    }

    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::NotFound { .. } => Verdict::Missing,
            Self::Denied { .. }
            | Self::Redirect { .. }
            | Self::Certificate { .. }
            | Self::Handshake { .. } => Verdict::Configuration,
            Self::TooLong { .. } | Self::Length { .. } | Self::Digest { .. } => Verdict::Refused,
            Self::Busy { .. }
            | Self::Status { .. }
            | Self::Transport { .. }
            | Self::Short { .. }
            | Self::Write { .. } => Verdict::Fault,
        }
    }
}
