//! Requests to a server that takes what is published.
//!
//! In:    a request that can be made again: method, URL, headers, content.
//! Out:   the response, after as many tries as are of use; or [`PushError`].
//! Never: user info or the values of a query in an error; a redirect followed with a password.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use gapferry_common::store::Store;
use reqwest::{
    Body, Method, Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use url::Url;

use super::tree::Content;

/// How often a request is tried that may still succeed.
const TRIES: usize = 5;

/// The first wait between tries; each further one is twice as long.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Longest `Retry-After` that is waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest silence before and within a response. Registries hash a large blob before they
/// answer the request that ends it.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest answer that is read, in bytes: 4 MiB, a manifest or a list of referrers.
pub const ANSWER_LEN_BYTES_MAX: usize = 4 << 20;

/// Longest part of a server's own words that is repeated, in bytes.
const SAID_LEN_BYTES_MAX: usize = 300;

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("{url} refuses the login (HTTP {status}); {hint}")]
    Denied { url: String, status: u16, hint: &'static str },
    #[error("{registry} asks for a login; log in with docker or podman")]
    NoLogin { registry: String },
    #[error("the login for {registry} is damaged; log in again with docker or podman")]
    DamagedLogin { registry: String },
    #[error(
        "the login for {registry} is an identity token, which is not understood; log in with a user and a password"
    )]
    IdentityToken { registry: String },
    #[error("{registry} asks for a login in a way that is not understood")]
    Challenge { registry: String },
    #[error("{url} leads to {to}, which is not https")]
    Insecure { url: String, to: String },
    #[error("{url} answered HTTP {status}{said}")]
    Status { url: String, status: u16, said: String },
    #[error("{url} answered something that is not understood: {what}")]
    Answer { url: String, what: &'static str },
    #[error("{url} leads elsewhere; name the final address")]
    Redirect { url: String },
    #[error("cannot reach {url}")]
    Transport { url: String, source: reqwest::Error },
    #[error("cannot read what is published")]
    Read { source: std::io::Error },
    #[error("cannot lay it in the folder")]
    Write { source: std::io::Error },
    #[cfg(feature = "s3")]
    #[error("the object store refuses")]
    Store { source: object_store::Error },
    #[error("not tried: the server no longer answers")]
    Gone,
    #[error("{0}")]
    Parts(String),
    #[error("this machine's certificates or proxy variables are not understood")]
    Client { source: reqwest::Error },
}

impl PushError {
    /// Whether nobody can push anything before somebody changes a setting.
    pub const fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. }
                | Self::NoLogin { .. }
                | Self::DamagedLogin { .. }
                | Self::IdentityToken { .. }
                | Self::Challenge { .. }
                | Self::Insecure { .. }
                | Self::Redirect { .. }
        )
    }

    /// Whether the server may be gone altogether.
    pub const fn is_transport(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            #[cfg(feature = "s3")]
            Self::Store { source } => matches!(source, object_store::Error::Generic { .. }),
            _ => false,
        }
    }
}

/// What a request carries.
#[derive(Clone, Copy)]
pub enum Load<'a> {
    Nothing,
    Whole(&'a Content),
    Part { content: &'a Content, from: u64, len_bytes: u64 },
}

/// A request that can be made again.
pub struct Ask<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub load: Load<'a>,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), load: Load::Nothing }
    }

    /// # Panics
    ///
    /// When `value` is no header's value; callers pass numbers, digests and fixed words.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    #[must_use]
    pub fn carrying(mut self, load: Load<'a>) -> Self {
        self.load = load;
        self
    }
}

/// One failed try.
pub struct Failed {
    pub error: PushError,
    again: Again,
}

enum Again {
    Never,
    Later,
    After(Duration),
}

impl Failed {
    pub const fn lasting(error: PushError) -> Self {
        Self { error, again: Again::Never }
    }

    pub const fn passing(error: PushError) -> Self {
        Self { error, again: Again::Later }
    }
}

/// An HTTP client, and the store whose contents it sends.
pub struct Client {
    http: reqwest::Client,
    pub store: Store,
}

impl Client {
    /// # Errors
    ///
    /// [`PushError::Client`].
    pub fn new(store: Store) -> Result<Self, PushError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("gapferry-inside/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        Ok(Self { http: http.map_err(|source| PushError::Client { source })?, store })
    }

    /// Makes a request until it is answered with something that another try does not change.
    ///
    /// # Errors
    ///
    /// [`PushError::Transport`], [`PushError::Status`] after all tries; [`PushError::Read`].
    pub async fn ask(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, PushError> {
        let mut waits = Waits::new();
        loop {
            match self.ask_once(ask, authorization).await {
                Ok(response) => return Ok(response),
                Err(failed) => waits.wait(failed).await?,
            }
        }
    }

    /// Makes a request once.
    ///
    /// # Errors
    ///
    /// A failure that says whether to try again.
    pub async fn ask_once(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failed> {
        let mut request =
            self.http.request(ask.method.clone(), ask.url.clone()).headers(ask.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some((body, len_bytes)) = self.body(ask.load).await? {
            request = request.header(header::CONTENT_LENGTH, len_bytes).body(body);
        }
        let url = shown(&ask.url);
        let sent = request.send().await;
        let response = sent.map_err(|source| {
            let source = source.without_url();
            if let Some(source) = read_error(&source) {
                return Failed::lasting(PushError::Read { source });
            }
            Failed::passing(PushError::Transport { url: url.clone(), source })
        })?;
        let status = response.status();
        if !matches!(status.as_u16(), 408 | 429 | 500..=599)
            || status == StatusCode::NOT_IMPLEMENTED
        {
            return Ok(response);
        }
        let again = retry_after(response.headers()).map_or(Again::Later, Again::After);
        Err(Failed { error: unexpected(response).await, again })
    }

    /// The whole of an answer of at most `len_bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// [`PushError::Transport`], [`PushError::Answer`].
    pub async fn read(mut response: Response, len_bytes_max: usize) -> Result<Vec<u8>, PushError> {
        let url = shown(response.url());
        let mut bytes = Vec::new();
        loop {
            let piece = response.chunk().await.map_err(|source| {
                let source = source.without_url();
                PushError::Transport { url: url.clone(), source }
            })?;
            let Some(piece) = piece else { return Ok(bytes) };
            if len_bytes_max < bytes.len() + piece.len() {
                return Err(PushError::Answer { url, what: "it has no end" });
            }
            bytes.extend(piece);
        }
    }

    async fn body(&self, load: Load<'_>) -> Result<Option<(Body, u64)>, Failed> {
        let (pieces, len_bytes) = match load {
            Load::Nothing => return Ok(None),
            Load::Whole(content) => (content.stream(&self.store).await, content.len_bytes),
            Load::Part { content, from, len_bytes } => {
                (content.part(&self.store, from, len_bytes).await, len_bytes)
            }
        };
        let pieces = pieces.map_err(|source| Failed::lasting(PushError::Read { source }))?;
        Ok(Some((Body::wrap_stream(pieces.into_stream()), len_bytes)))
    }
}

/// The waits between the tries of one request.
pub struct Waits(ExponentialBackoff);

impl Waits {
    pub fn new() -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(WAIT_MIN).with_max_delay(WAIT_MAX);
        Self(builder.with_max_times(TRIES - 1).with_jitter().build())
    }

    /// Sleeps until the next try.
    ///
    /// # Errors
    ///
    /// The error of `failed`, when another try is of no use or none is left.
    pub async fn wait(&mut self, failed: Failed) -> Result<(), PushError> {
        let wait = match (failed.again, self.0.next()) {
            (Again::Never, _) | (_, None) => return Err(failed.error),
            (Again::Later, Some(wait)) => wait,
            (Again::After(asked), Some(_)) => asked,
        };
        tracing::info!(error = %failed.error, wait_ms = wait.as_millis(), "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The error for a response that was not asked for, with the first of what the server says.
pub async fn unexpected(response: Response) -> PushError {
    let (url, status) = (shown(response.url()), response.status().as_u16());
    if (300..400).contains(&status) {
        return PushError::Redirect { url };
    }
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("json") || value.starts_with("text/plain"));
    let said = match Client::read(response, ANSWER_LEN_BYTES_MAX).await {
        Ok(bytes) if is_text && !bytes.is_empty() => {
            let said = String::from_utf8_lossy(&bytes[..bytes.len().min(SAID_LEN_BYTES_MAX)]);
            let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            format!(": {}", said.trim())
        }
        _ => String::new(),
    };
    PushError::Status { url, status, said }
}

/// A URL without user, password and query.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3), at most [`RETRY_AFTER_MAX`]; a date is
/// passed over, since clocks behind a gap may be anything.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What the disk said, when a request failed because its content could not be read.
fn read_error(error: &reqwest::Error) -> Option<std::io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        if let Some(io) = source.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::InvalidData
            && io.to_string().contains("is damaged")
        {
            return Some(std::io::Error::new(io.kind(), io.to_string()));
        }
        cause = source.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        let url = "https://u:CANARY@r.lan:5000/v2/a/blobs/uploads/1?_state=CANARY".parse().unwrap();
        assert_eq!(shown(&url), "https://r.lan:5000/v2/a/blobs/uploads/1");
    }

    #[test]
    fn a_server_may_ask_for_two_minutes_and_not_for_more() {
        for (value, seconds) in [("7", Some(7)), ("86400", Some(120)), ("soon", None), ("-1", None)]
        {
            let headers = [(header::RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
