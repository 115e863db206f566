//! Asks simple indexes for pages, metadata and lengths.
//!
//! In:   the indexes and what the closure needs to know.
//! Out:  [`Project`]s and [`Requirements`], each checked against the index's digest where the
//!       whole of it was fetched.
//! Thin: every decision about bytes is made in `index`, `metadata` and `ranges`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use gapferry_proto::{
    Digest,
    limits::{
        PYPI_PAGE_LEN_BYTES_MAX, PYPI_WHOLE_LEN_BYTES_MAX, WHEEL_DIRECTORY_LEN_BYTES_MAX,
        WHEEL_METADATA_LEN_BYTES_MAX,
    },
};
use pep508_rs::PackageName;
use tokio::{sync::Semaphore, task};
use url::Url;

use super::{
    index::{self, IndexFile, Offer, Page, PageError},
    is_plain_http,
    metadata::{self, Look, MetadataError, Requirements},
    plain,
    project::Project,
    ranges::Sparse,
    wheel::{Archive, Form},
};
use crate::source::{
    Verdict,
    http::{Http, HttpError, Space},
};

/// First fetch from a wheel's end, in bytes; it doubles with each further one. The directory
/// of most wheels fits.
const STEP_LEN_BYTES: u64 = 64 << 10;

/// Longest single range asked for, in bytes.
const STEP_LEN_BYTES_MAX: u64 = 8 << 20;

/// Most fetches from one wheel: its directory, its METADATA, and room for odd orders.
const FETCHES_MAX: u32 = 32;

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("cannot get the page of {name} from {index}")]
    Page { name: PackageName, index: String, source: Box<HttpError> },
    #[error("the page of {name} in {index} cannot be used")]
    Parse { name: PackageName, index: String, source: PageError },
    #[error(
        "{url} answers over plain http, so nobody vouches for its hashes; use https, or accept it with `insecure: true`"
    )]
    Plain { url: String },
    #[error("cannot get {what} of {filename}")]
    File { what: &'static str, filename: String, source: Box<HttpError> },
    #[error("{what} of {filename} hashes to {actual}, but the index says {expected}")]
    Digest { what: &'static str, filename: String, expected: Digest, actual: Digest },
    #[error("{filename} has {actual} bytes, but the index says {expected}")]
    Length { filename: String, expected: u64, actual: u64 },
    #[error("the metadata of {filename} could not be read: the task that reads it broke off")]
    BrokeOff { filename: String, source: task::JoinError },
}

impl UpstreamError {
    /// What it means for the run.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Page { source, .. } | Self::File { source, .. } => source.verdict(),
            Self::Plain { .. } => Verdict::Configuration,
            Self::Parse { source: PageError::MediaType(_) | PageError::Version(_), .. } => {
                Verdict::Configuration
            }
            Self::Digest { .. } | Self::Length { .. } => Verdict::Refused,
            Self::Parse { .. } | Self::BrokeOff { .. } => Verdict::Fault,
        }
    }
}

/// What was learned of one file.
#[derive(Debug)]
pub struct Learned {
    /// An error is a reason to take another version.
    pub requirements: Result<Requirements, String>,
    /// When it became known on the way.
    pub len_bytes: Option<u64>,
}

/// The indexes of one waybill line.
#[derive(Debug)]
pub struct Upstream<'a> {
    http: &'a Http,
    indexes: Vec<Url>,
    insecure: bool,
    /// Indexes of which a page came without TLS, as they are shown: they vouch for nothing.
    unvouched: Mutex<BTreeSet<String>>,
    /// Whole distributions are held one at a time.
    whole: Arc<Semaphore>,
}

impl<'a> Upstream<'a> {
    /// Takes the indexes, the strongest first.
    pub fn new(http: &'a Http, indexes: Vec<Url>, insecure: bool) -> Self {
        let (unvouched, whole) = (Mutex::default(), Arc::new(Semaphore::new(1)));
        Self { http, indexes, insecure, unvouched, whole }
    }

    /// Whether all that came from an index came over TLS, so that it vouches for its digests.
    pub fn is_vouching(&self, index: &str) -> bool {
        !self.unvouched.lock().unwrap_or_else(PoisonError::into_inner).contains(index)
    }

    /// Gets what all indexes have of a project; one that none has is empty.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`] of the first index that fails other than by not having it.
    pub async fn project(&self, name: &PackageName) -> Result<Project, UpstreamError> {
        let mut pages = Vec::new();
        for index in &self.indexes {
            pages.extend(self.page(index, name).await?);
        }
        Ok(Project::new(name, pages))
    }

    async fn page(&self, index: &Url, name: &PackageName) -> Result<Option<Page>, UpstreamError> {
        let shown = plain(index);
        let url = project_url(index, name);
        let got = self.http.get(&url, Some(index::ACCEPT), PYPI_PAGE_LEN_BYTES_MAX).await;
        let document = match got {
            Ok(document) => document,
            Err(HttpError::NotFound { .. }) => return Ok(None),
            Err(source) => {
                let source = Box::new(source);
                return Err(UpstreamError::Page { name: name.clone(), index: shown, source });
            }
        };
        if !self.insecure && is_plain_http(&document.url) {
            return Err(UpstreamError::Plain { url: plain(&document.url) });
        }
        if !self.http.is_tls(&url, Space::Web) || document.url.scheme() != "https" {
            let mut unvouched = self.unvouched.lock().unwrap_or_else(PoisonError::into_inner);
            unvouched.insert(shown.clone());
        }
        let media_type = document.content_type.as_deref();
        index::parse(&document.bytes, media_type, &document.url, &shown)
            .map(Some)
            .map_err(|source| UpstreamError::Parse { name: name.clone(), index: shown, source })
    }

    /// Learns what a file depends on: from the index's metadata file, else from the wheel's end,
    /// else from the whole of it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]; a distribution that is damaged itself is in [`Learned`].
    pub async fn learn(
        &self,
        name: &PackageName,
        file: &IndexFile,
        form: &Form,
    ) -> Result<Learned, UpstreamError> {
        if let Some(bytes) = self.offered(file).await? {
            let requirements = metadata::requirements(&bytes);
            return Ok(learned(requirements, None));
        }
        match form {
            Form::Source(archive) => self.whole_source(file, *archive).await,
            Form::Wheel { .. } => self.wheel(name, file).await,
        }
    }

    /// The metadata file beside a distribution (PEP 658), when it is offered and there.
    async fn offered(&self, file: &IndexFile) -> Result<Option<Bytes>, UpstreamError> {
        const WHAT: &str = "the metadata";
        let Offer::Yes(expected) = file.metadata else { return Ok(None) };
        let mut url = file.url.clone();
        url.set_path(&format!("{}.metadata", file.url.path()));
        match self.http.get(&url, None, WHEEL_METADATA_LEN_BYTES_MAX).await {
            Ok(document) => {
                expected.map_or(Ok(()), |expected| check(WHAT, file, expected, &document.bytes))?;
                Ok(Some(document.bytes))
            }
            Err(HttpError::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed(WHAT, file, source)),
        }
    }

    async fn wheel(&self, name: &PackageName, file: &IndexFile) -> Result<Learned, UpstreamError> {
        let Some(len_bytes) = self.ranged_len(file).await? else {
            return self.whole_wheel(name, file).await;
        };
        let mut sparse = Sparse::new(len_bytes);
        let mut step = STEP_LEN_BYTES;
        for _ in 0..FETCHES_MAX {
            let at = match metadata::look_into_wheel(&sparse, name) {
                Ok(Look::Found(bytes)) => {
                    return Ok(learned(metadata::requirements(&bytes), Some(len_bytes)));
                }
                Err(error) => return Ok(learned(Err(error), Some(len_bytes))),
                Ok(Look::Needs(at)) => at,
            };
            let range = sparse.missing_around(at, step);
            let start = range.start;
            let Some((bytes, _)) = self
                .http
                .get_range(&file.url, range)
                .await
                .map_err(|source| failed("a part", file, source))?
            else {
                return self.whole_wheel(name, file).await;
            };
            sparse.fill(start, bytes);
            if WHEEL_DIRECTORY_LEN_BYTES_MAX < sparse.held_bytes() {
                break;
            }
            step = (2 * step).min(STEP_LEN_BYTES_MAX);
        }
        let endless = MetadataError::Archive("its directory has no end".to_owned());
        Ok(learned(Err(endless), Some(len_bytes)))
    }

    /// The length of a file whose server gives ranges of it.
    async fn ranged_len(&self, file: &IndexFile) -> Result<Option<u64>, UpstreamError> {
        let first = self.http.get_range(&file.url, 0..1).await;
        let Some((_, actual)) = first.map_err(|source| failed("the length", file, source))? else {
            return Ok(None);
        };
        match file.len_bytes {
            Some(expected) if expected != actual => {
                let filename = file.filename.to_string();
                Err(UpstreamError::Length { filename, expected, actual })
            }
            _ => Ok(Some(actual)),
        }
    }

    /// The length of a file, as the index or its server says it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::File`].
    pub async fn len_bytes(&self, file: &IndexFile) -> Result<u64, UpstreamError> {
        if let Some(len_bytes) = file.len_bytes {
            return Ok(len_bytes);
        }
        if let Some(len_bytes) = self.ranged_len(file).await? {
            return Ok(len_bytes);
        }
        let _one = self.whole.acquire().await;
        Ok(self.whole(file).await?.len() as u64)
    }

    async fn whole_wheel(
        &self,
        name: &PackageName,
        file: &IndexFile,
    ) -> Result<Learned, UpstreamError> {
        let _one = self.whole.acquire().await;
        let bytes = self.whole(file).await?;
        let len_bytes = bytes.len() as u64;
        let name = name.clone();
        let mut sparse = Sparse::new(len_bytes);
        sparse.fill(0, bytes);
        apart(file, len_bytes, move || match metadata::look_into_wheel(&sparse, &name)? {
            Look::Found(bytes) => metadata::requirements(&bytes),
            Look::Needs(_) => Err(MetadataError::Archive("it ends too early".to_owned())),
        })
        .await
    }

    async fn whole_source(
        &self,
        file: &IndexFile,
        archive: Archive,
    ) -> Result<Learned, UpstreamError> {
        let _one = self.whole.acquire().await;
        let bytes = self.whole(file).await?;
        let len_bytes = bytes.len() as u64;
        apart(file, len_bytes, move || metadata::from_source(&bytes, archive)).await
    }

    async fn whole(&self, file: &IndexFile) -> Result<Bytes, UpstreamError> {
        const WHAT: &str = "the whole";
        let got = self.http.get(&file.url, None, PYPI_WHOLE_LEN_BYTES_MAX).await;
        let bytes = got.map_err(|source| failed(WHAT, file, source))?.bytes;
        check(WHAT, file, file.digest, &bytes)?;
        Ok(bytes)
    }
}

/// Unpacks off the threads that answer sockets.
async fn apart(
    file: &IndexFile,
    len_bytes: u64,
    read: impl FnOnce() -> Result<Requirements, MetadataError> + Send + 'static,
) -> Result<Learned, UpstreamError> {
    let read = task::spawn_blocking(read).await;
    let filename = || file.filename.to_string();
    let read = read.map_err(|source| UpstreamError::BrokeOff { filename: filename(), source })?;
    Ok(learned(read, Some(len_bytes)))
}

fn learned(requirements: Result<Requirements, MetadataError>, len_bytes: Option<u64>) -> Learned {
    Learned { requirements: requirements.map_err(|error| error.to_string()), len_bytes }
}

fn failed(what: &'static str, file: &IndexFile, source: HttpError) -> UpstreamError {
    let source = Box::new(source);
    UpstreamError::File { what, filename: file.filename.to_string(), source }
}

fn check(
    what: &'static str,
    file: &IndexFile,
    expected: Digest,
    bytes: &[u8],
) -> Result<(), UpstreamError> {
    let actual = Digest::of(bytes);
    if actual == expected {
        return Ok(());
    }
    Err(UpstreamError::Digest { what, filename: file.filename.to_string(), expected, actual })
}

/// `<index>/<normalised project>/`, with its slash (PEP 503).
fn project_url(index: &Url, name: &PackageName) -> Url {
    let mut url = index.clone();
    url.set_path(&format!("{}/{name}/", index.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_its_page_below_the_index_with_or_without_a_slash() {
        let name = "Foo.Bar".parse().unwrap();
        for index in ["https://x.example/simple", "https://x.example/simple//"] {
            let url = project_url(&index.parse().unwrap(), &name);
            assert_eq!(url.as_str(), "https://x.example/simple/foo-bar/");
        }
    }
}
