//! A response whose body is not read yet.
//!
//! In:   what a server answered. Out:  its body, bounded; or what its status means.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::{HttpError, Redacted, headers::content_length, retry::Failed};

/// A response whose body is not read yet, with its place among the requests to its host.
pub struct Answer {
    pub response: Response,
    /// What was asked, after mirrors, for errors.
    pub redacted: Redacted,
    /// The files of the certificate that was presented, for errors.
    pub presented: Option<Arc<str>>,
    pub _place: OwnedSemaphorePermit,
}

impl Answer {
    /// This response, when its status is one of success.
    pub fn successful(self) -> Result<Self, Failed> {
        let status = self.response.status();
        if status.is_success() {
            return Ok(self);
        }
        // 400 is how nginx refuses a certificate, 403 how others do.
        if let (Some(what), 400 | 403) = (&self.presented, status.as_u16()) {
            let (what, status) = (Arc::clone(what), status.as_u16());
            let url = self.redacted;
            return Err(Failed::lasting(HttpError::Certificate { url, status, what }));
        }
        Err(Failed::status(self.redacted, status, self.response.headers()))
    }

    /// The whole body, of at most `max` bytes.
    pub async fn body(mut self, max: u64) -> Result<Bytes, Failed> {
        let too_long = |url: &Redacted| HttpError::TooLong { url: url.clone(), max };
        if content_length(self.response.headers()).is_some_and(|len_bytes| max < len_bytes) {
            return Err(Failed::lasting(too_long(&self.redacted)));
        }
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if max < (body.len() + piece.len()) as u64 {
                return Err(Failed::lasting(too_long(&self.redacted)));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// The next piece of the body.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failed> {
        self.response.chunk().await.map_err(|e| Failed::body(self.redacted.clone(), e))
    }
}
