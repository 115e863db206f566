//! HTTP as a good citizen: retries, Retry-After, mirrors, credentials, ranges, bounds.
//!
//! Signatures only in this commit's neighbourhood; see the module's users.

use bytes::Bytes;
use url::Url;

/// A client that all sources share; cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {}

/// A small document, whole.
#[derive(Clone, Debug)]
pub struct Document {
    pub bytes: Bytes,
    /// The media type without parameters.
    pub content_type: Option<String>,
    /// After redirects: what relative links are relative to.
    pub url: Url,
}

/// Why a request failed, after all tries.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{url} does not exist (HTTP {status})")]
    NotFound { url: Redacted, status: u16 },
    #[error(
        "{url} asks for credentials (HTTP {status}); put them into netrc or docker's auth file"
    )]
    Denied { url: Redacted, status: u16 },
    #[error("{url} answered HTTP {status} {tries} times")]
    Busy { url: Redacted, status: u16, tries: u32 },
    #[error("{url} answered HTTP {status}")]
    Status { url: Redacted, status: u16 },
    #[error("{url} has more than {max} bytes")]
    TooLong { url: Redacted, max: u64 },
    #[error("cannot fetch {url}")]
    Transport { url: Redacted, source: reqwest::Error },
}

/// A URL without user, password and query values, safe to print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redacted(String);

impl HttpError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> super::Verdict {
        match self {
            Self::NotFound { .. } => super::Verdict::Missing,
            Self::Denied { .. } => super::Verdict::Configuration,
            Self::TooLong { .. } => super::Verdict::Refused,
            Self::Busy { .. } | Self::Status { .. } | Self::Transport { .. } => {
                super::Verdict::Fault
            }
        }
    }
}

impl Http {
    /// Fetches a whole document of at most `len_bytes_max` bytes.
    pub async fn get(
        &self,
        _url: &Url,
        _accept: Option<&str>,
        _len_bytes_max: u64,
    ) -> Result<Document, HttpError> {
        unimplemented!()
    }

    /// Fetches `range` of a resource; also its total length in bytes where the server says it.
    /// `None` when the server does not serve ranges.
    pub async fn get_range(
        &self,
        _url: &Url,
        _range: std::ops::Range<u64>,
    ) -> Result<Option<(Bytes, u64)>, HttpError> {
        unimplemented!()
    }
}

impl std::fmt::Display for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
