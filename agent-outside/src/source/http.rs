//! HTTP as a good citizen: retries, Retry-After, mirrors, credentials, ranges, bounds.
//!
//! In:    URLs, and how this machine reaches the world ([`Network`]).
//! Out:   small documents, ranges and lengths; [`Http::download`] fills a resumable file.
//! Never: a user, a password or the value of a query in an error or a log.

mod access;
mod answer;
mod credentials;
mod download;
mod error;
mod headers;
mod network;
mod redact;
mod redirects;
mod retry;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod upstream;

use std::{collections::HashMap, fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use gapferry_proto::{Digest, limits};
use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
    redirect,
};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

pub use self::{
    access::{Access, AccessError, TlsFiles, is_refused_by_tls, is_tls_alert},
    credentials::basic,
    download::Download,
    error::HttpError,
    network::{Mirror, Network, NetworkError},
    redact::Redacted,
};
use self::{
    answer::Answer,
    credentials::Credentials,
    headers::{content_length, content_range, media_type, range_header},
    network::Mirrors,
    retry::{Failed, Retry, Waits},
};

/// A client that all sources share; cheap to clone.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
    access: Arc<[Access]>,
}

struct Inner {
    network: Network,
    client: reqwest::Client,
    mirrors: Mirrors,
    credentials: Credentials,
    retry: Retry,
    per_host: usize,
    hosts: std::sync::Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A small document, whole.
#[derive(Clone, Debug)]
pub struct Document {
    pub bytes: Bytes,
    /// The media type without parameters.
    pub content_type: Option<String>,
    /// After redirects: what relative links are relative to. When a mirror answered, where the
    /// original has it.
    pub url: Url,
}

/// Whose rules a URL follows: they decide how a mirror and credentials are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// Any URL; netrc is asked for credentials.
    Web,
    /// Below `/v2/` of an OCI registry: a mirror's path goes behind `/v2`, and credentials come
    /// from the registry's own exchange.
    Registry,
}

/// One GET.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub url: &'a Url,
    pub space: Space,
    pub accept: Option<&'a str>,
    pub authorization: Option<&'a HeaderValue>,
    /// Whether a connection that cannot be made is tried again.
    pub insist: bool,
}

impl<'a> Ask<'a> {
    /// A plain GET of `url`.
    pub const fn web(url: &'a Url) -> Self {
        Self { url, space: Space::Web, accept: None, authorization: None, insist: true }
    }
}

/// What was read to its end and not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    pub len_bytes: u64,
    pub digest: Digest,
    pub sha512: [u8; 64],
}

impl Http {
    /// Makes the client: system proxies, the system's certificates and those the environment
    /// names, netrc.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] names the file or setting to mend; exit code 1.
    pub fn new(network: &Network) -> Result<Self, NetworkError> {
        Self::with_credentials(network, Credentials::load(network.netrc.as_deref())?)
    }

    fn with_credentials(network: &Network, credentials: Credentials) -> Result<Self, NetworkError> {
        let client = client_builder(network)
            .redirect(redirect::Policy::custom(redirects::follow))
            .tls_certs_merge(network::environment_certificates()?)
            .build()
            .map_err(|e| NetworkError::Client { source: e.without_url() })?;
        let inner = Inner {
            network: network.clone(),
            client,
            mirrors: Mirrors::new(&network.mirrors)?,
            credentials,
            retry: Retry::new(network),
            per_host: network.per_host.max(1),
            hosts: std::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), access: Arc::default() })
    }

    /// Fetches a whole document of at most `len_bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// [`HttpError`] after all tries; [`HttpError::verdict`] says what it means.
    pub async fn get(
        &self,
        url: &Url,
        accept: Option<&str>,
        len_bytes_max: u64,
    ) -> Result<Document, HttpError> {
        let ask = Ask { accept, ..Ask::web(url) };
        Ok(self.get_with(&ask, len_bytes_max).await?.0)
    }

    /// Fetches a whole document as `ask` says, with the headers of the response.
    ///
    /// # Errors
    ///
    /// As [`Http::get`].
    pub async fn get_with(
        &self,
        ask: &Ask<'_>,
        len_bytes_max: u64,
    ) -> Result<(Document, HeaderMap), HttpError> {
        let mut waits = self.waits();
        loop {
            match self.try_get(ask, len_bytes_max).await {
                Ok(found) => return Ok(found),
                Err(failed) => waits.wait(failed).await?,
            }
        }
    }

    /// The headers of a resource, without fetching it.
    ///
    /// # Errors
    ///
    /// As [`Http::get`].
    pub async fn head(&self, ask: &Ask<'_>) -> Result<HeaderMap, HttpError> {
        let mut waits = self.waits();
        loop {
            let answered = self.send(Method::HEAD, ask, HeaderMap::new()).await;
            match answered.and_then(Answer::successful) {
                Ok(answer) => return Ok(answer.response.headers().clone()),
                Err(failed) => waits.wait(failed).await?,
            }
        }
    }

    async fn try_get(
        &self,
        ask: &Ask<'_>,
        len_bytes_max: u64,
    ) -> Result<(Document, HeaderMap), Failed> {
        let answer = self.send(Method::GET, ask, HeaderMap::new()).await?.successful()?;
        let headers = answer.response.headers().clone();
        let url = self.inner.mirrors.back(ask.url, answer.response.url(), ask.space);
        let bytes = answer.body(len_bytes_max).await?;
        Ok((Document { bytes, content_type: media_type(&headers), url }, headers))
    }

    /// Fetches `range` of a resource; also its total length in bytes where the server says it.
    /// `None` when the server does not serve ranges.
    ///
    /// # Errors
    ///
    /// As [`Http::get`].
    pub async fn get_range(
        &self,
        url: &Url,
        range: Range<u64>,
    ) -> Result<Option<(Bytes, u64)>, HttpError> {
        let mut waits = self.waits();
        loop {
            match self.try_get_range(url, range.clone()).await {
                Ok(found) => return Ok(found),
                Err(failed) => waits.wait(failed).await?,
            }
        }
    }

    async fn try_get_range(
        &self,
        url: &Url,
        range: Range<u64>,
    ) -> Result<Option<(Bytes, u64)>, Failed> {
        let Some(last) = range.end.checked_sub(1).filter(|last| range.start <= *last) else {
            return Ok(None);
        };
        let headers = range_header(format!("bytes={}-{last}", range.start));
        let answer = self.send(Method::GET, &Ask::web(url), headers).await?.successful()?;
        let Some(given) = content_range(answer.response.headers()) else { return Ok(None) };
        let partial = answer.response.status() == StatusCode::PARTIAL_CONTENT;
        let Some(total) = given.total.filter(|_| partial && given.start == range.start) else {
            return Ok(None);
        };
        let expected = range.end.min(total).saturating_sub(range.start);
        let redacted = answer.redacted.clone();
        let bytes = answer.body(expected).await?;
        let actual = bytes.len() as u64;
        if actual < expected {
            return Err(Failed::passing(HttpError::Short { url: redacted, expected, actual }));
        }
        Ok(Some((bytes, total)))
    }

    /// The length of a resource in bytes, without fetching it; `None` when the server does not
    /// say.
    ///
    /// # Errors
    ///
    /// As [`Http::get`].
    pub async fn length(&self, url: &Url) -> Result<Option<u64>, HttpError> {
        if let Ok(Some(len_bytes)) = self.length_by(Method::HEAD, url).await {
            return Ok(Some(len_bytes));
        }
        self.length_by(Method::GET, url).await // a server may know no HEAD
    }

    async fn length_by(&self, method: Method, url: &Url) -> Result<Option<u64>, HttpError> {
        let mut waits = self.waits();
        loop {
            match self.try_length(method.clone(), url).await {
                Ok(len_bytes) => return Ok(len_bytes),
                Err(failed) => waits.wait(failed).await?,
            }
        }
    }

    async fn try_length(&self, method: Method, url: &Url) -> Result<Option<u64>, Failed> {
        let ranged = method == Method::GET;
        let headers = if ranged { range_header("bytes=0-0".to_owned()) } else { HeaderMap::new() };
        let answer = self.send(method, &Ask::web(url), headers).await?;
        let total = content_range(answer.response.headers()).and_then(|range| range.total);
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if total.is_some() => {
                Ok(total)
            }
            _ => Ok(content_length(answer.successful()?.response.headers())),
        }
    }

    /// The length and the digest of a resource whose server does not say its length: all of it is
    /// read, and nothing kept.
    ///
    /// # Errors
    ///
    /// As [`Http::get`].
    pub async fn measure(&self, url: &Url) -> Result<Measured, HttpError> {
        let mut waits = self.waits();
        loop {
            match self.try_measure(url).await {
                Ok(measured) => return Ok(measured),
                Err(failed) => waits.wait(failed).await?,
            }
        }
    }

    async fn try_measure(&self, url: &Url) -> Result<Measured, Failed> {
        let sent = self.send(Method::GET, &Ask::web(url), HeaderMap::new()).await?;
        let mut answer = sent.successful()?;
        let (mut sha256, mut sha512) = (Sha256::new(), Sha512::new());
        let (mut len_bytes, max) = (0, limits::BLOB_LEN_BYTES_MAX);
        while let Some(piece) = answer.piece().await? {
            len_bytes += piece.len() as u64;
            if max < len_bytes {
                return Err(Failed::lasting(HttpError::TooLong { url: answer.redacted, max }));
            }
            sha256.update(&piece);
            sha512.update(&piece);
        }
        let digest = Digest::from_bytes(sha256.finalize().into());
        Ok(Measured { len_bytes, digest, sha512: sha512.finalize().into() })
    }

    /// Where `url` is really asked for, without credentials; other than `url` when a mirror
    /// takes it.
    pub fn target(&self, url: &Url, space: Space) -> Url {
        let mut target = self.inner.mirrors.apply(url, space);
        credentials::take_from(&mut target);
        target
    }

    /// Whether a mirror takes `url`.
    pub fn is_mirrored(&self, url: &Url, space: Space) -> bool {
        self.inner.mirrors.has(url, space)
    }

    /// Whether what is asked for at `url` comes over TLS: from a mirror as its own URL says.
    pub fn is_tls(&self, url: &Url, space: Space) -> bool {
        self.inner.mirrors.apply(url, space).scheme() == "https"
    }

    fn waits(&self) -> Waits {
        self.inner.retry.waits()
    }

    /// Sends one request and returns its response, whatever its status.
    async fn send(
        &self,
        method: Method,
        ask: &Ask<'_>,
        mut headers: HeaderMap,
    ) -> Result<Answer, Failed> {
        let mut target = self.inner.mirrors.apply(ask.url, ask.space);
        let in_url = credentials::take_from(&mut target);
        let access = self.access_of(&target);
        let authorization = match (ask.authorization, in_url, ask.space) {
            (Some(given), ..) => Some(given.clone()),
            (None, Some(in_url), _) => Some(in_url),
            (None, None, Space::Web) => {
                let login = access.and_then(Access::login);
                login.or_else(|| self.inner.credentials.of(&target))
            }
            (None, None, Space::Registry) => None,
        };
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        if let Some(accept) = ask.accept.and_then(|accept| HeaderValue::from_str(accept).ok()) {
            headers.insert(header::ACCEPT, accept);
        }
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let redacted = Redacted::of(&target);
        let place = self.place(&target).await;
        tracing::debug!(url = %redacted, %method, "request");
        let tls = access.and_then(Access::tls);
        let url = &redacted;
        match self.exchange(method, target, headers, tls, url, ask.insist).await {
            Ok((response, presented)) => {
                Ok(Answer { response, redacted, presented, _place: place })
            }
            Err(failed) => Err(failed),
        }
    }

    /// The response of `target`, and the files of the certificate that it was shown, if any.
    async fn exchange(
        &self,
        method: Method,
        mut target: Url,
        mut headers: HeaderMap,
        tls: Option<&access::Presented>,
        url: &Redacted,
        insist: bool,
    ) -> Result<(Response, Option<Arc<str>>), Failed> {
        if let Some(access::Presented { client, has_certificate, what }) = tls {
            let request = client.request(method.clone(), target).headers(headers.clone());
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) if is_refused_by_tls(&error) => {
                    return Err(Failed::handshake(url.clone(), what, error));
                }
                Err(error) => return Err(Failed::sending(url.clone(), error, insist)),
            };
            let Some(elsewhere) = access::sent_elsewhere(&response) else {
                return Ok((response, has_certificate.then(|| Arc::clone(what))));
            };
            headers.remove(header::AUTHORIZATION);
            target = elsewhere;
        }
        let request = self.inner.client.request(method, target).headers(headers);
        match request.send().await {
            Ok(response) => Ok((response, None)),
            Err(error) => Err(Failed::sending(url.clone(), error, insist)),
        }
    }

    /// Waits for a place among the requests to the host of `url`.
    async fn place(&self, url: &Url) -> OwnedSemaphorePermit {
        let host = url.authority().to_owned();
        let places = {
            let mut hosts =
                self.inner.hosts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.inner.per_host));
            hosts.entry(host).or_insert_with(new).clone()
        };
        places.acquire_owned().await.expect("the semaphores of hosts are never closed")
    }
}

/// What all clients have in common.
fn client_builder(network: &Network) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("gapferry/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_millis(network.connect_timeout_ms))
        .read_timeout(Duration::from_millis(network.read_timeout_ms))
        .referer(false)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive() // it holds credentials
    }
}
