//! Fetches charts, checks them, and finds their images.
//!
//! In:   a [`ChartLine`] of a waybill.
//! Out:  [`Charts`]: the artifacts, the bytes that were read on the way, and hints on images.
//!
//! Thin on purpose: what bytes mean is decided in `index`, `pick`, `chart`, `prov` and `images`.

mod registry;
mod search;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    limit,
    openpgp::verify::{self, Keyring, VerifyError},
};
use gapferry_proto::{
    Artifact, BlobId, BlobRef, Digest, Facts, Kind, SafePath,
    artifact::{ChartFacts, Evidence, Method},
    limits,
};
use tokio::task;
use url::Url;

use self::registry::registry;
pub use self::search::images_of;
use super::{
    bounds,
    chart::{Chart, ChartError},
    entry,
    images::{Images, Row},
    index::{Index, IndexError},
    oci::OciError,
    pack::{FolderError, pack, read_folder},
    pick::{self, Pick, PickError},
    prov::{Provenance, ProvenanceError},
    reference::{Place, ReferenceError, Wish},
    render::RenderError,
    yaml::YamlError,
};
use crate::{
    source::{
        Failure, Found, Verdict,
        http::{Http, HttpError, Redacted, Space},
        oci::{self, ImageError, auth::is_loopback},
    },
    waybill::{ChartLine, ImageLine, place},
};

/// What a line of charts leads to.
#[derive(Debug, Default)]
pub struct Charts {
    pub found: Found,
    /// Archives, provenance files and image manifests that were read: blobs of the artifacts.
    pub kept: Vec<(BlobId, Bytes)>,
    /// Images that the chart may pull, and nobody can tell; the user may add them to the waybill.
    pub hints: Vec<Row>,
    /// What could not be searched for images.
    pub unread: Vec<String>,
}

/// Why a chart cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Pick(#[from] PickError),
    #[error(transparent)]
    Chart(#[from] ChartError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot pack {0}")]
    Pack(Utf8PathBuf, #[source] std::io::Error),
    #[error("cannot read {0}")]
    Read(Utf8PathBuf, #[source] std::io::Error),
    #[error("{0} {1}")]
    Values(Utf8PathBuf, #[source] YamlError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Manifest(#[from] OciError),
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    #[error("the signature of the provenance file does not count")]
    Signature(#[source] VerifyError),
    #[error("the line names a keyring, and the chart has no provenance file")]
    Unsigned,
    #[error("{0} is plain http, where anybody can change the bytes; use https or `insecure: true`")]
    Plain(Redacted),
    #[error("{what} hashes to {actual}, and the index says {expected}")]
    Digest { what: Redacted, expected: Digest, actual: Digest },
    #[error("{0} is not in charts/; run `helm dependency update` in the chart's folder")]
    Missing(String),
    #[error("{0:?} cannot be served; use plain path segments")]
    Name(String),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("the registry did not give it")]
    Told,
    #[error("the work ended early")]
    Ended(#[from] task::JoinError),
}

impl HelmError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Http(error) => error.verdict(),
            Self::Image(error) => error.verdict(),
            Self::Pick(PickError::NoChart { .. } | PickError::NoVersion { .. }) => Verdict::Missing,
            Self::Reference(_)
            | Self::Folder(_)
            | Self::Pack(..)
            | Self::Read(..)
            | Self::Values(..)
            | Self::Plain(_)
            | Self::Told
            | Self::Missing(_)
            | Self::Name(_)
            | Self::Render(_) => Verdict::Configuration,
            Self::Ended(_) => Verdict::Fault,
            Self::Index(_)
            | Self::Pick(_)
            | Self::Chart(_)
            | Self::Manifest(_)
            | Self::Provenance(_)
            | Self::Signature(_)
            | Self::Unsigned
            | Self::Digest { .. } => Verdict::Refused,
        }
    }
}

/// A chart whose bytes are here and checked.
struct Held {
    artifacts: Vec<Artifact>,
    kept: Vec<(BlobId, Bytes)>,
    archive: Bytes,
    chart: Chart,
}

/// Resolves one line. `base` is the waybill's folder, `label` names the line in the reasons.
///
/// A failure is in the result; a chart whose images cannot be found is not carried half.
pub async fn resolve(http: &Http, line: &ChartLine, base: &Utf8Path, label: &str) -> Charts {
    let mut charts = Charts::default();
    let name = line.name.clone().unwrap_or_else(|| line.repo.clone());
    let wanted = format!("{label}: {name}");
    if let Err(error) = resolve_into(&mut charts, http, line, base, &wanted).await {
        charts.found.artifacts.clear();
        charts.kept.clear();
        if !matches!(error, HelmError::Told) {
            let verdict = error.verdict();
            charts.found.failures.push(Failure::new(Kind::Chart, name, verdict, error));
        }
    }
    charts
}

async fn resolve_into(
    charts: &mut Charts,
    http: &Http,
    line: &ChartLine,
    base: &Utf8Path,
    wanted: &str,
) -> Result<(), HelmError> {
    let keyring = keyring(line, base)?;
    let held = match Place::of(line)? {
        Place::Web { repo, name, wish } => {
            web(http, line, &repo, &name, &wish, keyring.as_ref(), wanted).await?
        }
        Place::Registry { repository, name, wish } => {
            registry(charts, http, line, base, &repository, &name, &wish, keyring.as_ref(), wanted)
                .await?
        }
        Place::Archive(path) => archive(line, base, &path, wanted).await?,
        Place::Folder(path) => folder(base, &path, wanted).await?,
    };
    if line.images {
        let images = images(line, base, &held).await?;
        charts.unread = images.unread;
        for row in images.rows {
            if row.proven {
                image(charts, http, line, base, &row, &held.chart).await;
            } else {
                charts.hints.push(row);
            }
        }
    }
    charts.found.artifacts.extend(held.artifacts);
    charts.kept.extend(held.kept);
    Ok(())
}

fn keyring(line: &ChartLine, base: &Utf8Path) -> Result<Option<Keyring>, HelmError> {
    let Some(file) = &line.keyring else { return Ok(None) };
    let path = base.join(file);
    let bytes = limit::read_file(&path, limits::KEYRING_LEN_BYTES_MAX)
        .map_err(|source| HelmError::Read(path, source))?;
    Keyring::parse(&bytes).map(Some).map_err(HelmError::Signature)
}

/// A chart of a classic repository.
async fn web(
    http: &Http,
    line: &ChartLine,
    repo: &Url,
    name: &str,
    wish: &Wish,
    keyring: Option<&Keyring>,
    wanted: &str,
) -> Result<Held, HelmError> {
    // A signed provenance file vouches for the bytes however they came.
    let may_be_plain = line.insecure || keyring.is_some();
    check_plain(http, repo, may_be_plain)?;
    let index_url = pick::index_url(repo);
    let index = http.get(&index_url, None, bounds::INDEX_LEN_BYTES_MAX).await?;
    let index = task::spawn_blocking(move || Index::parse(&index.bytes)).await??;
    let pick = pick::pick(&index, repo, name, wish)?;
    let (url, archive) = first(http, &pick).await?;
    if pick.digest.is_none() {
        check_plain(http, &url, may_be_plain)?;
    }
    let actual = Digest::of(&archive);
    if let Some(expected) = pick.digest.filter(|expected| *expected != actual) {
        return Err(HelmError::Digest { what: Redacted::of(&url), expected, actual });
    }
    let provenance_url = pick::provenance_url(&url);
    let given = http.get(&provenance_url, None, bounds::PROVENANCE_LEN_BYTES_MAX).await;
    let file = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let (provenance, signer) = match (given, keyring) {
        (Ok(document), keyring) => {
            let signer = check_provenance(&document.bytes, keyring, &pick, file, actual)?;
            (Some(document.bytes), signer)
        }
        // Many servers answer 403 for what they do not have, so any answer counts as none.
        (Err(HttpError::NotFound { .. }), Some(_)) => return Err(HelmError::Unsigned),
        (Err(error), Some(_)) => return Err(error.into()),
        (Err(_), None) => (None, None),
    };
    let bytes = archive.clone();
    let chart = task::spawn_blocking(move || Chart::open(&bytes)).await??;
    chart.check(Some(name), Some(&pick.version))?;
    let evidence = evidence(http, signer, &index_url, &url, pick.digest);
    let origin = Redacted::of(&url).to_string();
    let repository = served_as(repo)?;
    let created = pick.created.as_deref();
    held(&repository, chart, archive, provenance, origin, evidence, created, wanted)
}

/// Who vouches for a chart. What comes without TLS vouches for nothing: neither for the digests of
/// an index, nor for where it says that archives are.
fn evidence(
    http: &Http,
    signer: Option<String>,
    index: &Url,
    archive: &Url,
    digest: Option<Digest>,
) -> Evidence {
    let is_tls = |url: &Url| http.is_tls(url, Space::Web);
    let shown = |url: &Url| Redacted::of(url).to_string();
    let (method, by) = match (signer, digest) {
        (Some(fingerprint), _) => (Method::HelmProvenance, fingerprint),
        (None, Some(_)) if is_tls(index) => (Method::HelmIndex, shown(index)),
        (None, None) if is_tls(index) && is_tls(archive) => (Method::Transport, shown(archive)),
        (None, Some(_)) => (Method::Unverified, shown(index)),
        (None, None) => (Method::Unverified, shown(archive)),
    };
    Evidence { method, by, digest }
}

/// Refuses plain http unless it leads to this machine, to a mirror of the configuration's, or
/// the line accepts it.
fn check_plain(http: &Http, url: &Url, may_be_plain: bool) -> Result<(), HelmError> {
    let is_fine = url.scheme() == "https"
        || may_be_plain
        || is_loopback(url)
        || http.is_mirrored(url, Space::Web);
    if is_fine { Ok(()) } else { Err(HelmError::Plain(Redacted::of(url))) }
}

/// The archive at the first URL that has it.
async fn first(http: &Http, pick: &Pick) -> Result<(Url, Bytes), HelmError> {
    let mut failed = None;
    for url in &pick.urls {
        match http.get(url, None, bounds::CHART_LEN_BYTES_MAX).await {
            Ok(document) => return Ok((url.clone(), document.bytes)),
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    Err(failed.expect("a pick has a URL, and each was tried").into())
}

/// Checks a provenance file; the fingerprint of its signer, where a keyring was asked.
fn check_provenance(
    bytes: &[u8],
    keyring: Option<&Keyring>,
    pick: &Pick,
    file: &str,
    actual: Digest,
) -> Result<Option<String>, HelmError> {
    let (provenance, signer) = match keyring {
        Some(keyring) => {
            let verified =
                verify::verify_cleartext(keyring, bytes).map_err(HelmError::Signature)?;
            (Provenance::of_text(&verified.text)?, verified.fingerprints.into_iter().next())
        }
        None => (Provenance::of_unverified(bytes)?, None),
    };
    provenance.check(&pick.name, &pick.version, file, actual)?;
    Ok(signer)
}

async fn archive(
    line: &ChartLine,
    base: &Utf8Path,
    path: &Utf8Path,
    wanted: &str,
) -> Result<Held, HelmError> {
    let full = base.join(path);
    let (bytes, chart) = task::spawn_blocking(move || archive_on_disk(&full)).await??;
    chart.check(line.name.as_deref(), line.version.as_deref())?;
    local(chart, bytes, path, wanted)
}

async fn folder(base: &Utf8Path, path: &Utf8Path, wanted: &str) -> Result<Held, HelmError> {
    let full = base.join(path);
    let (bytes, chart) = task::spawn_blocking(move || archive_on_disk(&full)).await??;
    local(chart, bytes, path, wanted)
}

/// The archive of a chart on this machine's disk, as it is or packed from its folder; the same
/// bytes each time. Blocks.
///
/// # Errors
///
/// [`HelmError`].
pub fn archive_on_disk(path: &Utf8Path) -> Result<(Bytes, Chart), HelmError> {
    if !path.is_dir() {
        let bytes = limit::read_file(path, bounds::CHART_LEN_BYTES_MAX);
        let bytes = bytes.map_err(|source| HelmError::Read(path.to_owned(), source))?;
        let chart = Chart::open(&bytes)?;
        return Ok((bytes.into(), chart));
    }
    let files = read_folder(path)?;
    let chart = Chart::of_files(files.clone())?;
    if let Some(missing) = chart.missing().first() {
        return Err(HelmError::Missing(missing.name.clone()));
    }
    let packed = pack(&chart.meta.name, &files);
    let bytes = packed.map_err(|source| HelmError::Pack(path.to_owned(), source))?;
    Ok((bytes.into(), chart))
}

/// A chart from this machine's disk: whoever wrote the waybill vouches for it.
fn local(chart: Chart, bytes: Bytes, path: &Utf8Path, wanted: &str) -> Result<Held, HelmError> {
    let digest = Some(Digest::of(&bytes));
    let evidence = Evidence { method: Method::Waybill, by: wanted.to_owned(), digest };
    let below: SafePath = "local".parse().expect("a plain word is a path");
    held(&below, chart, bytes, None, format!("file:{path}"), evidence, None, wanted)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one artifact")]
fn held(
    repository: &SafePath,
    chart: Chart,
    archive: Bytes,
    provenance: Option<Bytes>,
    origin: String,
    evidence: Evidence,
    created: Option<&str>,
    wanted: &str,
) -> Result<Held, HelmError> {
    let whole = |bytes: &Bytes| BlobRef { id: BlobId::of(bytes), len_bytes: bytes.len() as u64 };
    let meta = &chart.meta;
    let file = format!("{}-{}.tgz", meta.name, meta.version);
    let filename: SafePath = file.parse().map_err(|_| HelmError::Name(file.clone()))?;
    let parts = std::iter::once(archive.clone()).chain(provenance);
    let kept: Vec<_> = parts.map(|bytes| (BlobId::of(&bytes), bytes)).collect();
    let artifact = Artifact {
        name: format!("{repository}/{}-{}", meta.name, meta.version),
        facts: Facts::Chart(ChartFacts {
            repository: repository.clone(),
            chart: meta.name.clone(),
            version: meta.version.clone(),
            filename,
            app_version: meta.app_version.clone(),
            metadata: entry::of(&chart.files, created),
        }),
        blobs: kept.iter().map(|(_, bytes)| whole(bytes)).collect(),
        origin,
        evidence,
        wanted: vec![wanted.to_owned()],
    };
    Ok(Held { artifacts: vec![artifact], kept, archive, chart })
}

/// What a repository is called below `/helm/`: its host and path.
///
/// # Errors
///
/// [`HelmError::Name`].
pub fn served_as(repo: &Url) -> Result<SafePath, HelmError> {
    let wrong = || HelmError::Name(Redacted::of(repo).to_string());
    place(repo).ok_or_else(wrong)?.trim_end_matches('/').parse().map_err(|_| wrong())
}

async fn images(line: &ChartLine, base: &Utf8Path, held: &Held) -> Result<Images, HelmError> {
    let (line, base) = (line.clone(), base.to_owned());
    let (archive, chart) = (held.archive.clone(), held.chart.clone());
    task::spawn_blocking(move || images_of(&line, &base, &archive, &chart)).await?
}

/// Resolves one proven image.
async fn image(
    charts: &mut Charts,
    http: &Http,
    line: &ChartLine,
    base: &Utf8Path,
    row: &Row,
    chart: &Chart,
) {
    let image = ImageLine {
        platforms: line.platforms.clone(),
        insecure: line.insecure,
        ..ImageLine::of(&row.reference)
    };
    let label = format!("chart {} {}, {}", chart.meta.name, chart.meta.version, row.place);
    let resolved = oci::resolve(http, &image, base, &label).await;
    charts.found.artifacts.extend(resolved.found.artifacts);
    charts.found.failures.extend(resolved.found.failures);
    charts.kept.extend(resolved.manifests);
}
