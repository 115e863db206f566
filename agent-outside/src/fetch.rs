//! Fetches the blobs that the store lacks.
//!
//! In:    artifacts from a lock, and which of their blobs are wanted.
//! Out:   blobs in the [`Sink`]; every failure, none of which ends the others.
//! Never: a blob whose bytes do not have its digest.
//!
//! A kill at any moment leaves partial files that the next run goes on with.

mod progress;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    error, fs, io,
    io::{Read as _, Write as _},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{StreamExt as _, stream};
use gapferry_common::openpgp::ring;
use gapferry_proto::{Artifact, BlobId, BlobRef, Digest, Facts, Kind};
use sha2::{Digest as _, Sha256};
use url::Url;

pub use self::progress::{Bar, Progress};
use crate::source::{
    Failure, Verdict,
    helm::{self, HelmError, pick},
    http::{Download, Http, HttpError, Space},
    oci::{
        ImageError,
        auth::{self, Lookup, Tokens},
        layout::Layout,
        registry::{Repository, Shelf},
    },
    yum,
};

/// How many blobs are fetched at a time, unless the user says otherwise.
pub const JOBS: usize = 8;

/// Where fetched blobs go.
pub trait Sink: Send + Sync {
    /// The file in which `id` grows; its folder exists. The same for every run.
    fn partial_path(&self, id: BlobId) -> Utf8PathBuf;

    /// Takes a whole and checked blob: syncs `partial` to disk and renames it into place.
    ///
    /// # Errors
    ///
    /// What the disk says; the partial file stays.
    fn adopt(&self, blob: BlobRef, partial: &Utf8Path) -> io::Result<()>;
}

/// Where a blob is to be had.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    Url(Url),
    /// A repository, `<scheme>://<host>/v2/<repository>`.
    Oci {
        repository: Url,
        shelf: Shelf,
    },
    /// A file of a layout on disk.
    Layout(Utf8PathBuf),
    /// A chart on disk: an archive, or a folder that is packed.
    Chart(Utf8PathBuf),
    /// One key of a key file, by its fingerprint.
    Key(Utf8PathBuf, String),
}

/// A blob that an artifact wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub kind: Kind,
    /// The artifact's name.
    pub name: String,
    pub blob: BlobRef,
    pub source: Source,
}

/// Why a blob cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("its origin {0:?} is none that can be fetched; resolve again")]
    Origin(String),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("cannot pack the chart {path}")]
    Chart { path: Utf8PathBuf, source: Box<HelmError> },
    #[error("{path} has no key {fingerprint} any more; resolve again")]
    Key { path: Utf8PathBuf, fingerprint: String },
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{path} does not exist; resolve again")]
    Missing { path: Utf8PathBuf },
    #[error("{path} hashes to {actual}, and {expected} is expected")]
    Digest { path: Utf8PathBuf, expected: Digest, actual: Digest },
    #[error("cannot write {path}")]
    Write { path: Utf8PathBuf, source: io::Error },
}

impl FetchError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Origin(_) => Verdict::Configuration,
            Self::Http(error) => error.verdict(),
            Self::Image(error) => error.verdict(),
            Self::Chart { source, .. } => source.verdict(),
            Self::Missing { .. } | Self::Key { .. } => Verdict::Missing,
            Self::Digest { .. } => Verdict::Refused,
            Self::Read { .. } | Self::Write { .. } => Verdict::Fault,
        }
    }
}

/// All blobs of an artifact, with where each is to be had. `base` is the folder that a layout's
/// path is relative to, the waybill's.
///
/// # Errors
///
/// [`FetchError::Origin`] when the artifact's origin is no URL or layout.
pub fn items(artifact: &Artifact, base: &Utf8Path) -> Result<Vec<Item>, FetchError> {
    let item =
        |(blob, source)| Item { kind: artifact.kind(), name: artifact.name.clone(), blob, source };
    Ok(sources(artifact, base)?.into_iter().map(item).collect())
}

/// The blobs of an artifact, with where each is to be had.
///
/// # Errors
///
/// As [`items`].
pub fn sources(artifact: &Artifact, base: &Utf8Path) -> Result<Vec<(BlobRef, Source)>, FetchError> {
    let origin = || FetchError::Origin(artifact.origin.clone());
    let blobs = artifact.blobs.iter().copied();
    if let Facts::Chart(_) = &artifact.facts {
        return chart(artifact, base).ok_or_else(origin);
    }
    if let Facts::YumDocument(facts) = &artifact.facts
        && let Some(fingerprint) = facts.key()
    {
        let path = base.join(artifact.origin.strip_prefix("file:").ok_or_else(origin)?);
        let source = |blob| (blob, Source::Key(path.clone(), fingerprint.to_owned()));
        return Ok(blobs.map(source).collect());
    }
    let Facts::Image(image) = &artifact.facts else {
        let url: Url = artifact.origin.parse().map_err(|_| origin())?;
        return Ok(blobs.map(|blob| (blob, Source::Url(url.clone()))).collect());
    };
    if let Some(dir) = artifact.origin.strip_prefix("oci:") {
        let layout = Layout { dir: base.join(dir) };
        return Ok(blobs.map(|blob| (blob, Source::Layout(layout.path(blob.id)))).collect());
    }
    let (repository, _) = artifact.origin.rsplit_once("/manifests/").ok_or_else(origin)?;
    let repository: Url = repository.parse().map_err(|_| origin())?;
    let source = |blob: BlobRef| {
        let is_manifest = image.manifests.iter().any(|manifest| manifest.id == blob.id);
        let shelf = if is_manifest { Shelf::Manifests } else { Shelf::Blobs };
        (blob, Source::Oci { repository: repository.clone(), shelf })
    };
    Ok(blobs.map(source).collect())
}

/// The archive of a chart, and its provenance file beside it; none when the origin is neither a URL
/// nor a path.
fn chart(artifact: &Artifact, base: &Utf8Path) -> Option<Vec<(BlobRef, Source)>> {
    let (archive, beside) = match artifact.origin.strip_prefix("file:") {
        Some(path) => (Source::Chart(base.join(path)), None),
        None => {
            let url: Url = artifact.origin.parse().ok()?;
            let beside = Source::Url(pick::provenance_url(&url));
            (Source::Url(url), Some(beside))
        }
    };
    let sources = std::iter::once(archive).chain(beside);
    let all: Vec<_> = artifact.blobs.iter().copied().zip(sources).collect();
    (all.len() == artifact.blobs.len()).then_some(all)
}

/// Fetches what is `wanted`, `jobs` blobs at a time, each blob once though several artifacts name
/// it: then every source is tried before it counts as a failure, which each of them has.
pub async fn fetch(
    http: &Http,
    wanted: Vec<Item>,
    into: Arc<dyn Sink>,
    jobs: usize,
    progress: &Progress,
) -> Vec<Failure> {
    let tokens = Tokens::new(auth::logins as Lookup);
    let mut by_blob: BTreeMap<BlobId, Vec<Item>> = BTreeMap::new();
    for item in wanted {
        by_blob.entry(item.blob.id).or_default().push(item);
    }
    progress.expect(by_blob.values().map(|items| items[0].blob.len_bytes).sum());
    let run = Run { http, tokens: &tokens, into, progress };
    let fetched = stream::iter(by_blob.into_values().map(|items| run.one(items)));
    let failures = fetched.buffer_unordered(jobs.max(1)).collect::<Vec<_>>().await;
    progress.finish();
    let mut failures: Vec<_> = failures.into_iter().flatten().collect();
    failures.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    failures
}

/// What all downloads of one run share.
struct Run<'a> {
    http: &'a Http,
    tokens: &'a Tokens,
    into: Arc<dyn Sink>,
    progress: &'a Progress,
}

impl Run<'_> {
    /// Fetches one blob for all the artifacts that want it.
    async fn one(&self, items: Vec<Item>) -> Vec<Failure> {
        let bar = self.progress.start(&items[0].name, items[0].blob.len_bytes);
        let mut first = None;
        let mut tried: Vec<&Source> = Vec::new();
        for item in &items {
            if tried.contains(&&item.source) {
                continue;
            }
            tried.push(&item.source);
            match self.from(item, &bar).await {
                Ok(()) => {
                    bar.finish();
                    return Vec::new();
                }
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        bar.finish();
        let error = Arc::new(first.expect("a group has an item, and its source was tried"));
        let failure = |item: &Item| {
            let shared: Box<dyn error::Error + Send + Sync> = Box::new(Arc::clone(&error));
            Failure::new(item.kind, &item.name, error.verdict(), shared)
        };
        items.iter().map(failure).collect()
    }

    /// Fetches a blob from one source and hands it over.
    async fn from(&self, item: &Item, bar: &Bar) -> Result<(), FetchError> {
        let (blob, partial) = (item.blob, self.into.partial_path(item.blob.id));
        let on_bytes = |held| bar.at(held);
        match &item.source {
            Source::Url(url) => {
                let download = Download {
                    url,
                    space: Space::Web,
                    accept: None,
                    authorization: None,
                    partial: &partial,
                    expected: blob,
                    on_bytes: &on_bytes,
                };
                self.http.download(&download).await?;
            }
            Source::Oci { repository, shelf } => {
                let repository = Repository::at(self.http, self.tokens, repository.clone());
                repository.download(*shelf, blob, &partial, &on_bytes).await?;
            }
            Source::Layout(path) => {
                let (path, partial) = (path.clone(), partial.clone());
                blocking(&path.clone(), move || copy(&path, &partial, blob)).await?;
                bar.at(blob.len_bytes);
            }
            Source::Chart(path) => {
                let (path, partial) = (path.clone(), partial.clone());
                blocking(&path.clone(), move || pack(&path, &partial, blob)).await?;
                bar.at(blob.len_bytes);
            }
            Source::Key(path, fingerprint) => {
                let (path, fingerprint) = (path.clone(), fingerprint.clone());
                let partial = partial.clone();
                let from = path.clone();
                let pick = move || pick_key(&path, fingerprint, &partial, blob);
                blocking(&from, pick).await?;
                bar.at(blob.len_bytes);
            }
        }
        let into = Arc::clone(&self.into);
        let failed = partial.clone();
        blocking(&failed.clone(), move || {
            into.adopt(blob, &partial).map_err(|source| FetchError::Write { path: failed, source })
        })
        .await
    }
}

/// Runs what waits for a disk where it does not keep sockets waiting.
async fn blocking(
    path: &Utf8Path,
    work: impl FnOnce() -> Result<(), FetchError> + Send + 'static,
) -> Result<(), FetchError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(FetchError::Write { path: path.to_owned(), source: io::Error::other(e) })
    })
}

/// Writes the archive of a chart on disk and checks its digest.
fn pack(path: &Utf8Path, partial: &Utf8Path, blob: BlobRef) -> Result<(), FetchError> {
    let (bytes, _) = helm::archive_on_disk(path)
        .map_err(|source| FetchError::Chart { path: path.to_owned(), source: Box::new(source) })?;
    write(&bytes, path, partial, blob)
}

/// Writes one key of a key file and checks its digest.
fn pick_key(
    path: &Utf8Path,
    fingerprint: String,
    partial: &Utf8Path,
    blob: BlobRef,
) -> Result<(), FetchError> {
    let bytes = yum::fetch::read_key_file(path)
        .map_err(|source| FetchError::Read { path: path.to_owned(), source })?;
    let keys = ring::keys(&bytes).unwrap_or_default();
    match keys.into_iter().find(|key| key.fingerprint == fingerprint) {
        Some(key) => write(key.armoured.as_bytes(), path, partial, blob),
        None => Err(FetchError::Key { path: path.to_owned(), fingerprint }),
    }
}

/// Writes what was made of `path`, if it is the blob.
fn write(
    bytes: &[u8],
    path: &Utf8Path,
    partial: &Utf8Path,
    blob: BlobRef,
) -> Result<(), FetchError> {
    let (expected, actual) = (blob.id.digest(), Digest::of(bytes));
    if expected != actual {
        return Err(FetchError::Digest { path: path.to_owned(), expected, actual });
    }
    let unwritten = |source| FetchError::Write { path: partial.to_owned(), source };
    fs::write(partial, bytes).map_err(unwritten)
}

/// Copies a file of a layout, at most `blob.len_bytes` of it, and checks its digest.
fn copy(path: &Utf8Path, partial: &Utf8Path, blob: BlobRef) -> Result<(), FetchError> {
    let unread = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FetchError::Missing { path: path.to_owned() },
        _ => FetchError::Read { path: path.to_owned(), source },
    };
    let unwritten = |source| FetchError::Write { path: partial.to_owned(), source };
    let mut from = fs::File::open(path).map_err(unread)?.take(blob.len_bytes + 1);
    let mut to = fs::File::create(partial).map_err(unwritten)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = from.read(&mut buffer).map_err(unread)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).map_err(unwritten)?;
    }
    let (expected, actual) = (blob.id.digest(), Digest::from_bytes(hasher.finalize().into()));
    if expected == actual {
        return Ok(());
    }
    fs::remove_file(partial).map_err(unwritten)?;
    Err(FetchError::Digest { path: path.to_owned(), expected, actual })
}
