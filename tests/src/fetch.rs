//! A plain HTTP client: no proxies, no retries, no cleverness.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use data_encoding::HEXLOWER;
use reqwest::{Client, Method, Response};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header by its lower-case name; a missing one reads as empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }
}

/// Fetches a URL.
///
/// # Errors
///
/// The connection fails or breaks off; any status is an answer.
pub fn get(url: &str) -> reqwest::Result<Answer> {
    get_with(url, &[])
}

/// Fetches a URL with further headers.
///
/// # Errors
///
/// As [`get`].
pub fn get_with(url: &str, headers: &[(&str, &str)]) -> reqwest::Result<Answer> {
    ask(Method::GET, url, headers)
}

/// Asks for the head of a URL.
///
/// # Errors
///
/// As [`get`].
pub fn head(url: &str) -> reqwest::Result<Answer> {
    ask(Method::HEAD, url, &[])
}

/// Length in bytes and SHA-256 in hex of what a URL gives, without holding it.
///
/// # Errors
///
/// As [`get`]; also any status but 200.
pub fn sha256(url: &str) -> reqwest::Result<(u64, String)> {
    let (runtime, client) = shared();
    runtime.block_on(async {
        let mut response = client.get(url).send().await?.error_for_status()?;
        let (mut hasher, mut len) = (Sha256::new(), 0);
        while let Some(piece) = response.chunk().await? {
            hasher.update(&piece);
            len += piece.len() as u64;
        }
        Ok((len, HEXLOWER.encode(&hasher.finalize())))
    })
}

fn ask(method: Method, url: &str, headers: &[(&str, &str)]) -> reqwest::Result<Answer> {
    let (runtime, client) = shared();
    runtime.block_on(async {
        let mut request = client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        whole(request.send().await?).await
    })
}

async fn whole(response: Response) -> reqwest::Result<Answer> {
    let status = response.status().as_u16();
    let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or("").to_owned();
    let headers = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
    let body = response.bytes().await?.to_vec();
    Ok(Answer { status, headers, body })
}

fn shared() -> &'static (Runtime, Client) {
    static SHARED: OnceLock<(Runtime, Client)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = Client::builder().no_proxy().connect_timeout(Duration::from_secs(10));
        (runtime, client.build().expect("a client"))
    })
}
