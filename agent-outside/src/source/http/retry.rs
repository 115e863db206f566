//! What is tried again, and when.
//!
//! In:   a failed request: its status, its `Retry-After`, how the connection broke.
//! Out:  [`Failed`], and [`Waits`] that sleep before the next try or give the error back.
//! Pure: all but the sleeping.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::Timestamp;
use reqwest::{
    StatusCode,
    header::{self, HeaderMap},
};

use super::{HttpError, Network, Redacted, is_refused_by_tls};

/// Longest `Retry-After` that is waited for: 120 s. A server that asks for more is busy for this
/// run; the next `sync` goes on where this one ends.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// Longest wait of our own.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How often and how patiently to try.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    tries: u32,
    base: Duration,
}

/// One failed try.
#[derive(Debug)]
pub struct Failed {
    pub error: HttpError,
    again: Again,
}

#[derive(Debug, PartialEq, Eq)]
enum Again {
    Never,
    Later,
    /// When the server asks to be asked again.
    After(Duration),
}

impl Retry {
    pub fn new(network: &Network) -> Self {
        Self { tries: network.tries.max(1), base: Duration::from_millis(network.retry_base_ms) }
    }

    /// The waits of one request.
    pub fn waits(&self) -> Waits {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(self.base)
            .with_max_delay(WAIT_MAX)
            .with_max_times(self.tries as usize - 1)
            .with_jitter()
            .build();
        Waits { backoff, tried: 0 }
    }
}

/// The waits between the tries of one request.
#[derive(Debug)]
pub struct Waits {
    backoff: ExponentialBackoff,
    tried: u32,
}

impl Waits {
    /// Sleeps until the next try.
    ///
    /// # Errors
    ///
    /// The error of `failed`, when another try is of no use or none is left.
    pub async fn wait(&mut self, failed: Failed) -> Result<(), HttpError> {
        self.tried += 1;
        let wait = match (&failed.again, self.backoff.next()) {
            (Again::Never, _) | (_, None) => return Err(self.last(failed.error)),
            (Again::Later, Some(wait)) => wait,
            (Again::After(asked), Some(_)) => *asked,
        };
        tracing::info!(error = %failed.error, wait_ms = wait.as_millis(), "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn last(&self, mut error: HttpError) -> HttpError {
        if let HttpError::Busy { tries, .. } = &mut error {
            *tries = self.tried;
        }
        error
    }
}

impl Failed {
    /// A failure that another try does not mend.
    pub const fn lasting(error: HttpError) -> Self {
        Self { error, again: Again::Never }
    }

    /// A failure that may pass.
    pub const fn passing(error: HttpError) -> Self {
        Self { error, again: Again::Later }
    }

    /// A request that got no response.
    pub fn sending(url: Redacted, source: reqwest::Error, insist: bool) -> Self {
        let source = source.without_url();
        if source.is_redirect() {
            Self::lasting(HttpError::Redirect { url, source })
        } else if source.is_builder() || !insist || is_refused_by_tls(&source) {
            Self::lasting(HttpError::Transport { url, source })
        } else {
            Self::passing(HttpError::Transport { url, source })
        }
    }

    /// A connection that one side's certificate was not good enough for.
    pub fn handshake(url: Redacted, what: &Arc<str>, source: reqwest::Error) -> Self {
        let (what, source) = (Arc::clone(what), source.without_url());
        Self::lasting(HttpError::Handshake { url, what, source })
    }

    /// A body that broke off.
    pub fn body(url: Redacted, source: reqwest::Error) -> Self {
        Self::passing(HttpError::Transport { url, source: source.without_url() })
    }

    /// A response that is no success.
    pub fn status(url: Redacted, status: StatusCode, headers: &HeaderMap) -> Self {
        let code = status.as_u16();
        match code {
            404 | 410 => Self::lasting(HttpError::NotFound { url, status: code }),
            401 | 403 | 407 => Self::lasting(HttpError::Denied {
                url,
                status: code,
                challenge: challenge(headers),
            }),
            408 | 429 | 500..=599 => {
                let again = headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| retry_after(value.to_str().ok()?, Timestamp::now()))
                    .map_or(Again::Later, Again::After);
                Self { error: HttpError::Busy { url, status: code, tries: 1 }, again }
            }
            _ => Self::lasting(HttpError::Status { url, status: code }),
        }
    }
}

/// All challenges of a response, in one list.
fn challenge(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::WWW_AUTHENTICATE);
    let all: Vec<_> = all.iter().filter_map(|value| value.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// How long a `Retry-After` asks to wait: seconds or an HTTP date (RFC 9110, section 10.2.3), at
/// most [`RETRY_AFTER_MAX`].
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
            Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_two_minutes() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("86400", Some(120)),
            ("Sun, 22 Nov 2026 10:00:30 GMT", Some(30)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("Sun, 22 Nov 2126 09:00:00 GMT", None), // that day is a Friday
            ("-3", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for (status, again) in [
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (410, false),
            (416, false),
        ] {
            let url = Redacted::of(&"https://mirror.lan/a".parse().unwrap());
            let code = StatusCode::from_u16(status).unwrap();
            let failed = Failed::status(url, code, &HeaderMap::new());
            assert_eq!(failed.again == Again::Later, again, "{status}");
        }
    }
}
