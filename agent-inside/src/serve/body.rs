//! Sends documents whose digest and length are known: the one way bytes leave the store.
//!
//! In:   a file of the store or of a generation, and the request. Out: a response.
//!
//! What the page cache holds is read at once (`RWF_NOWAIT`), with no change of threads; what it
//! does not hold is read on a thread that may block. Buffers go back to the body they came from,
//! so a transfer of any length touches the same megabyte of memory.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use camino::Utf8PathBuf;
use futures_util::stream;
use gapferry_proto::{BlobRef, Digest};
use rustix::io::{ReadWriteFlags, preadv2};

use super::conditional::{Validators, Wanted};
use super::error::ServeError;
use super::site::{BlobPaths, Document};

/// Bytes of one read: measured on loopback, 256 KiB still fits the processor's cache together
/// with the socket's own copy; smaller ones cost system calls, larger ones cost memory.
const READ_LEN_BYTES: usize = 256 << 10;

/// Bytes at a path, whose digest and length are known.
#[derive(Clone, Debug)]
pub struct Sealed {
    path: Utf8PathBuf,
    digest: Digest,
    len_bytes: u64,
    content_type: HeaderValue,
    address: Address,
}

impl Sealed {
    pub fn of_blob(
        blobs: &BlobPaths,
        blob: BlobRef,
        address: Address,
        content_type: HeaderValue,
    ) -> Self {
        let (digest, len_bytes) = (blob.id.digest(), blob.len_bytes);
        Self { path: blobs.path(&digest), digest, len_bytes, content_type, address }
    }

    pub fn of_document(document: &Document, address: Address, content_type: HeaderValue) -> Self {
        let Document { path, digest, len_bytes } = document.clone();
        Self { path, digest, len_bytes, content_type, address }
    }
}

/// What the client called a document by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// After a switch it may be of other bytes, so a cache has to ask each time. Left to itself it
    /// would take our dates for times, and what is years old for good for months.
    Name,
    /// It is of these bytes and no others.
    Digest,
}

impl Address {
    const fn cache_control(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Name => "no-cache",
            Self::Digest => "max-age=31536000, immutable",
        })
    }
}

/// A small document that is in memory, with its digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    bytes: Bytes,
    digest: Digest,
}

impl Loaded {
    /// Takes as long as hashing does.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), bytes }
    }

    pub const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Answers a GET or HEAD for `sealed`.
///
/// # Errors
///
/// [`ServeError::Store`]: the file is missing, or has another length than the index says.
pub async fn send(
    method: &Method,
    headers: &HeaderMap,
    sealed: Sealed,
) -> Result<Response, ServeError> {
    let validators = Validators::of(&sealed.digest);
    let wanted = Wanted::of(method, headers, &validators, sealed.len_bytes);
    let (status, from, len_bytes) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0, sealed.len_bytes),
        Wanted::Part { from, len_bytes } => (StatusCode::PARTIAL_CONTENT, from, len_bytes),
        Wanted::Nothing => {
            return Ok(short(StatusCode::NOT_MODIFIED, &validators, sealed.address));
        }
        Wanted::Outside => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let mut response = short(status, &validators, sealed.address);
            let range = header_value(&format!("bytes */{}", sealed.len_bytes));
            response.headers_mut().insert(header::CONTENT_RANGE, range);
            return Ok(response);
        }
    };
    let file = open(sealed.path, sealed.len_bytes).await?;
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => blob_body(file, from, len_bytes),
    };
    let mut response = (status, body).into_response();
    describe(response.headers_mut(), &validators, sealed.address);
    response.headers_mut().insert(header::CONTENT_TYPE, sealed.content_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, len_bytes.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{}", from + len_bytes - 1, sealed.len_bytes);
        response.headers_mut().insert(header::CONTENT_RANGE, header_value(&range));
    }
    Ok(response)
}

/// Answers with a document that is in memory already, by its name. Ranges of it are not cut.
pub fn send_loaded(headers: &HeaderMap, document: Loaded, content_type: HeaderValue) -> Response {
    let validators = Validators::of(&document.digest);
    let len_bytes = document.bytes.len() as u64;
    if Wanted::of(&Method::HEAD, headers, &validators, len_bytes) == Wanted::Nothing {
        return short(StatusCode::NOT_MODIFIED, &validators, Address::Name);
    }
    let mut response = document.bytes.into_response();
    describe(response.headers_mut(), &validators, Address::Name);
    response.headers_mut().remove(header::ACCEPT_RANGES);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Keeps what a user was shown out of the caches that others share.
pub fn keep_private(headers: &mut HeaderMap) {
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let value = match said {
        Some(said) if said.contains("no-store") => return,
        Some(said) => header_value(&format!("private, {said}")),
        None => HeaderValue::from_static("private"),
    };
    headers.insert(header::CACHE_CONTROL, value);
}

fn short(status: StatusCode, validators: &Validators, address: Address) -> Response {
    let mut response = status.into_response();
    describe(response.headers_mut(), validators, address);
    response
}

fn describe(headers: &mut HeaderMap, validators: &Validators, address: Address) {
    headers.insert(header::CACHE_CONTROL, address.cache_control());
    headers.insert(header::ETAG, header_value(&validators.etag));
    headers.insert(header::LAST_MODIFIED, header_value(&validators.modified));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A header's value of our own making.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digests, dates and numbers are plain ASCII")
}

async fn open(path: Utf8PathBuf, len_bytes: u64) -> Result<File, ServeError> {
    let opened = path.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let file = File::open(&opened)?;
        let found = file.metadata()?.len();
        if found == len_bytes {
            return Ok(file);
        }
        let problem = format!("has {found} bytes instead of {len_bytes}; run scrub");
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    });
    let opened = opening.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    opened.map_err(ServeError::store(path))
}

/// Streams `len_bytes` bytes of `file` from `from` on. A read that fails ends the connection, so
/// that no client takes what it has for the whole.
pub fn blob_body(file: File, from: u64, len_bytes: u64) -> Body {
    let reading =
        Reading { file: Arc::new(file), at: from, end: from + len_bytes, spare: Arc::default() };
    Body::from_stream(stream::try_unfold(reading, async |mut reading| {
        let bytes = reading.next().await.inspect_err(|error| {
            tracing::error!(%error, "cannot read the store in the middle of a transfer");
        })?;
        Ok::<_, io::Error>(bytes.map(|bytes| (bytes, reading)))
    }))
}

/// A transfer that is under way.
struct Reading {
    file: Arc<File>,
    at: u64,
    end: u64,
    spare: Arc<Spare>,
}

/// Buffers that the socket is done with.
type Spare = Mutex<Vec<Vec<u8>>>;

/// A buffer that goes back to its transfer when the socket is done with it.
struct Lent {
    buffer: Vec<u8>,
    home: Arc<Spare>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let left = self.end - self.at;
        if left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(READ_LEN_BYTES);
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_else(|| vec![0; want]);
        let now = &mut [IoSliceMut::new(&mut buffer[..want])];
        let got = match preadv2(&*self.file, now, self.at, ReadWriteFlags::NOWAIT) {
            Ok(got) if 0 < got => got,
            _ => {
                let (file, at) = (Arc::clone(&self.file), self.at);
                let read = move || file.read_exact_at(&mut buffer[..want], at).map(|()| buffer);
                buffer = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
                want
            }
        };
        self.at += got as u64;
        let lent = Lent { buffer, home: Arc::clone(&self.spare) };
        Ok(Some(Bytes::from_owner(lent).slice(..got)))
    }
}
