//! Fetches one blob into a partial file that survives a kill at any moment.
//!
//! In:    a URL, the digest and length that its bytes must have, the path of the partial file.
//! Out:   the file, whole and hashed; or an error, and the file as far as it came.
//! Never: more bytes on disk than the length says.
//!
//! Beside the partial file stands `<partial>.etag` with the strong `ETag` of the response that
//! began it, so that a server may refuse to go on with another file. Without one we go on all the
//! same: the digest decides.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{BlobRef, Digest};
use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{self, File},
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
};
use url::Url;

use super::{
    Answer, Ask, Http, HttpError, Redacted, Space,
    headers::{content_length, content_range, range_header},
    retry::Failed,
};

/// A try that brought as many bytes as this starts the count of tries anew: a line that drops
/// every hour must not end a download of a day. The length bounds how often.
const PROGRESS_LEN_BYTES: u64 = 1 << 20;

/// Longest `ETag` remembered, in bytes.
const ETAG_LEN_BYTES_MAX: usize = 1 << 10;

/// One blob to fetch.
#[derive(Clone, Copy)]
pub struct Download<'a> {
    pub url: &'a Url,
    pub space: Space,
    pub accept: Option<&'a str>,
    pub authorization: Option<&'a HeaderValue>,
    /// Where the bytes go; what an earlier run left there is gone on with.
    pub partial: &'a Utf8Path,
    pub expected: BlobRef,
    /// Told how many bytes are there, after each piece; may go back when a file begins anew.
    pub on_bytes: &'a (dyn Fn(u64) + Send + Sync),
}

impl Http {
    /// Fetches a blob; when this returns, the partial file is the blob. It is not synced to disk.
    ///
    /// # Errors
    ///
    /// [`HttpError::Digest`] and [`HttpError::Length`]: upstream's word and its bytes disagree,
    /// and the partial file is gone. After any other error it stays, and the same call goes on.
    pub async fn download(&self, download: &Download<'_>) -> Result<(), HttpError> {
        let mut partial = Partial::open(download).await?;
        loop {
            self.complete(download, &mut partial).await?;
            let actual = partial.digest();
            let expected = download.expected.id.digest();
            if actual == expected {
                return partial.close().await;
            }
            if !partial.patched || partial.second {
                partial.remove().await?;
                let url = Redacted::of(download.url);
                return Err(HttpError::Digest { url, expected, actual });
            }
            tracing::info!(url = %Redacted::of(download.url), "a resumed file is damaged");
            partial.begin_anew().await?;
            partial.second = true;
        }
    }

    /// Adds to the partial file until it has its length.
    async fn complete(
        &self,
        download: &Download<'_>,
        partial: &mut Partial,
    ) -> Result<(), HttpError> {
        let mut waits = self.waits();
        (download.on_bytes)(partial.held);
        while partial.held < download.expected.len_bytes {
            let before = partial.held;
            let Err(failed) = self.stretch(download, partial).await else { continue };
            partial.flush().await?;
            if matches!(failed.error, HttpError::Length { .. }) {
                partial.remove().await?;
            }
            if PROGRESS_LEN_BYTES <= partial.held.saturating_sub(before) {
                waits = self.waits();
            }
            if let Err(error) = waits.wait(failed).await {
                if partial.held == 0 {
                    partial.remove().await?; // nothing to go on with
                }
                return Err(error);
            }
        }
        partial.flush().await
    }

    /// Makes one request for what is missing and writes what comes.
    async fn stretch(&self, download: &Download<'_>, partial: &mut Partial) -> Result<(), Failed> {
        let ask = Ask {
            space: download.space,
            accept: download.accept,
            authorization: download.authorization,
            ..Ask::web(download.url)
        };
        let answer = self.send(Method::GET, &ask, partial.resume_headers()).await?;
        if answer.response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // The server's file ends before ours: ours began with another one.
            partial.begin_anew().await.map_err(Failed::lasting)?;
            let failed = answer.successful().err().map(|failed| failed.error);
            return Err(Failed::passing(failed.expect("416 is no success")));
        }
        let mut answer = answer.successful()?;
        check_total(&answer, download)?;
        partial.accept(&answer).await?;
        while let Some(piece) = answer.piece().await? {
            let held = partial.held + piece.len() as u64;
            if download.expected.len_bytes < held {
                return Err(Failed::lasting(length_error(&answer, download, held)));
            }
            partial.write(&piece).await.map_err(Failed::lasting)?;
            (download.on_bytes)(held);
        }
        if partial.held < download.expected.len_bytes {
            return Err(Failed::passing(HttpError::Short {
                url: answer.redacted,
                expected: download.expected.len_bytes,
                actual: partial.held,
            }));
        }
        Ok(())
    }
}

/// Refuses a response whose length is not the one expected, before its body.
fn check_total(answer: &Answer, download: &Download<'_>) -> Result<(), Failed> {
    let headers = answer.response.headers();
    let total = match answer.response.status() {
        StatusCode::PARTIAL_CONTENT => content_range(headers).and_then(|range| range.total),
        _ => content_length(headers),
    };
    match total.filter(|total| *total != download.expected.len_bytes) {
        Some(actual) => Err(Failed::lasting(length_error(answer, download, actual))),
        None => Ok(()),
    }
}

fn length_error(answer: &Answer, download: &Download<'_>, actual: u64) -> HttpError {
    let expected = download.expected.len_bytes;
    HttpError::Length { url: answer.redacted.clone(), expected, actual }
}

/// The file that a blob grows in, and the hash of what it holds.
struct Partial {
    path: Utf8PathBuf,
    file: File,
    hasher: Sha256,
    held: u64,
    etag: Option<HeaderValue>,
    /// Whether its bytes come from more than one response.
    patched: bool,
    /// Whether it began anew because its digest was wrong.
    second: bool,
}

impl Partial {
    /// Opens what an earlier run left, or a new file. A file that is too long begins anew.
    async fn open(download: &Download<'_>) -> Result<Self, HttpError> {
        let path = download.partial.to_owned();
        let failed = |source| HttpError::Write { path: path.clone(), source };
        let options = fs::File::options().read(true).write(true).create(true).to_owned();
        let file = options.open(&path).await.map_err(failed)?.into_std().await;
        let hashed = tokio::task::spawn_blocking(move || {
            let mut file = file;
            hash_prefix(&mut file).map(|(hasher, held)| (file, hasher, held))
        });
        let (file, hasher, held) =
            hashed.await.map_err(std::io::Error::other).and_then(|done| done).map_err(failed)?;
        let etag = fs::read(etag_path(&path)).await.ok();
        let mut partial = Self {
            file: File::from_std(file),
            hasher,
            held,
            etag: etag.and_then(|bytes| strong_etag(HeaderValue::from_bytes(&bytes).ok()?)),
            patched: held > 0,
            second: false,
            path,
        };
        if download.expected.len_bytes < held {
            partial.begin_anew().await?;
        }
        Ok(partial)
    }

    /// What asks for the bytes that are missing (RFC 9110, sections 13.1.5 and 14.2).
    fn resume_headers(&self) -> HeaderMap {
        if self.held == 0 {
            return HeaderMap::new();
        }
        let mut headers = range_header(format!("bytes={}-", self.held));
        if let Some(etag) = &self.etag {
            headers.insert(header::IF_RANGE, etag.clone());
        }
        headers
    }

    /// Gets ready for the body of `answer`: goes on, or begins anew when the whole file comes.
    async fn accept(&mut self, answer: &Answer) -> Result<(), Failed> {
        let response = &answer.response;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let start = content_range(response.headers()).map(|range| range.start);
            if self.held > 0 && start == Some(self.held) {
                self.patched = true;
                return Ok(());
            }
            self.begin_anew().await.map_err(Failed::lasting)?;
            let status = response.status().as_u16();
            return Err(Failed::passing(HttpError::Status {
                url: answer.redacted.clone(),
                status,
            }));
        }
        self.begin_anew().await.map_err(Failed::lasting)?;
        let etag = response.headers().get(header::ETAG).cloned().and_then(strong_etag);
        if let Some(etag) = &etag {
            let path = etag_path(&self.path);
            let written = fs::write(&path, etag.as_bytes()).await;
            written.map_err(|source| Failed::lasting(HttpError::Write { path, source }))?;
        }
        self.etag = etag;
        Ok(())
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), HttpError> {
        self.hasher.update(piece);
        self.held += piece.len() as u64;
        self.file.write_all(piece).await.map_err(|source| self.failed(source))
    }

    /// Hands everything written to the system, which keeps it when this program is killed.
    async fn flush(&mut self) -> Result<(), HttpError> {
        self.file.flush().await.map_err(|source| self.failed(source))
    }

    async fn begin_anew(&mut self) -> Result<(), HttpError> {
        self.flush().await?;
        self.file.set_len(0).await.map_err(|source| self.failed(source))?;
        self.file.rewind().await.map_err(|source| self.failed(source))?;
        self.hasher = Sha256::new();
        self.held = 0;
        self.patched = false;
        self.forget_etag().await
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    async fn close(mut self) -> Result<(), HttpError> {
        self.flush().await?;
        self.forget_etag().await
    }

    async fn remove(&mut self) -> Result<(), HttpError> {
        self.forget_etag().await?;
        gone(fs::remove_file(&self.path).await).map_err(|source| self.failed(source))
    }

    async fn forget_etag(&mut self) -> Result<(), HttpError> {
        self.etag = None;
        let path = etag_path(&self.path);
        gone(fs::remove_file(&path).await).map_err(|source| HttpError::Write { path, source })
    }

    fn failed(&self, source: std::io::Error) -> HttpError {
        HttpError::Write { path: self.path.clone(), source }
    }
}

/// Hashes all of `file`; its position is then its end.
fn hash_prefix(file: &mut std::fs::File) -> std::io::Result<(Sha256, u64)> {
    let mut hasher = Sha256::new();
    let mut held = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher, held)),
            n => {
                hasher.update(&buffer[..n]);
                held += n as u64;
            }
        }
    }
}

fn etag_path(partial: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{partial}.etag"))
}

/// The tag, when it stands for these very bytes.
fn strong_etag(etag: HeaderValue) -> Option<HeaderValue> {
    let bytes = etag.as_bytes();
    let strong = bytes.len() <= ETAG_LEN_BYTES_MAX && bytes.starts_with(b"\"");
    strong.then_some(etag)
}

/// Takes "there was none" for "there is none now".
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
