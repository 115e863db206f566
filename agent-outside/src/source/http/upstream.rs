//! A small upstream that answers as a test says, on this machine only.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use url::Url;

use super::{Http, Network, credentials::Credentials};

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    /// How often the same method and path were asked for before.
    pub nth: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A server on a free port that stops with the test.
pub struct Upstream {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    pub async fn start(answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let router = Router::new().fallback(move |request: Request| {
            let path = request.uri().path_and_query().unwrap().to_string();
            let key = format!("{} {path}", request.method());
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(key).or_default();
            let (method, headers) = (request.method().clone(), request.headers().clone());
            let one = Seen { method, path, headers, nth: *count };
            *count += 1;
            log.lock().unwrap().push(one.clone());
            let response = answer(&one);
            async move { response }
        });
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, task }
    }

    pub fn at(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.url.authority()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client without credentials that waits a millisecond between its tries.
pub fn client(network: Network) -> Http {
    let network = Network { retry_base_ms: 1, ..network };
    Http::with_credentials(&network, Credentials::default()).unwrap()
}

/// `bytes`, or the part of them that `Range` asks for, as a good server gives it.
pub fn ranged(seen: &Seen, bytes: &[u8]) -> Response {
    let etag = (header::ETAG, "\"one\"".to_owned());
    let stale = seen.header("if-range").is_some_and(|tag| tag != "\"one\"");
    let Some(range) = seen.header("range").filter(|_| !stale) else {
        return ([etag], bytes.to_vec()).into_response();
    };
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
    if start >= bytes.len() {
        let range = (header::CONTENT_RANGE, format!("bytes */{}", bytes.len()));
        return (StatusCode::RANGE_NOT_SATISFIABLE, [range]).into_response();
    }
    let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    let headers = [etag, (header::CONTENT_RANGE, range)];
    (StatusCode::PARTIAL_CONTENT, headers, bytes[start..end].to_vec()).into_response()
}

/// A response that promises `len` bytes and breaks off after `bytes`.
pub fn broken(bytes: &[u8], len: usize) -> Response {
    let first = stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    let cut = stream::once(async {
        // The server drops what it has not sent yet when a body fails.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err("the line is cut")
    });
    let body = Body::from_stream(first.chain(cut));
    ([(header::CONTENT_LENGTH, len)], body).into_response()
}

/// A response of unknown length.
pub fn chunked(bytes: &[u8]) -> Response {
    let pieces = [Ok::<_, Infallible>(Bytes::copy_from_slice(bytes))];
    Body::from_stream(stream::iter(pieces)).into_response()
}
