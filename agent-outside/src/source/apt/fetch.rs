//! Fetches a source: its signed `Release`, then the indexes that `Release` vouches for.
//!
//! In:   [`Source`]s, the architectures wanted, the keys on disk, the time now.
//! Out:  the plain [`Text`] of each index, with who signed for it.
//!
//! Thin on purpose: what bytes mean is decided in `release` and `packages`.

use camino::Utf8Path;
use futures_util::{StreamExt, stream};
use gapferry_common::openpgp::verify::{self, Keyring, VerifyError};
use gapferry_proto::{Kind, limits};
use jiff::Timestamp;
use url::Url;

use super::{
    packages::{self, IndexError},
    release::{Index, Release, ReleaseError},
    settings::{self, SettingsError, Source},
};
use crate::source::{
    Failure, Verdict,
    http::{Document, Http, HttpError},
};

/// Requests at a time: mirrors ask their users to be modest.
const REQUESTS_MAX: usize = 4;

/// What stands for a key where the waybill accepts any bytes.
pub const NOBODY: &str = "nobody (`insecure: true`)";

/// The plain text of one index.
#[derive(Clone, Debug)]
pub struct Text {
    pub source: Source,
    pub component: String,
    /// The architecture asked for, or `all`.
    pub architecture: String,
    /// For messages: suite and path.
    pub path: String,
    /// Fingerprint of the key that signed `Release`.
    pub signer: String,
    /// Whether `Release` calls the suite security.
    pub security: bool,
    pub text: String,
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Settings(SettingsError),
    #[error(transparent)]
    Http(HttpError),
    #[error("the signature of its Release does not count; check `signedBy` or use another mirror")]
    Signature(#[source] VerifyError),
    #[error(
        "it is not signed: neither InRelease nor Release.gpg exists; \
         accept any bytes with `insecure: true`, or use another mirror"
    )]
    Unsigned,
    #[error("its Release is not UTF-8")]
    NotText,
    #[error(transparent)]
    Release(ReleaseError),
    #[error(transparent)]
    Index(IndexError),
    #[error("unpacking ended early")]
    Ended(#[source] tokio::task::JoinError),
}

impl FetchError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Settings(_) => Verdict::Configuration,
            Self::Http(e) => e.verdict(),
            Self::Release(ReleaseError::NoIndex { .. }) => Verdict::Missing,
            Self::Ended(_) => Verdict::Fault,
            Self::Signature(_)
            | Self::Unsigned
            | Self::NotText
            | Self::Release(_)
            | Self::Index(_) => Verdict::Refused,
        }
    }
}

/// A source whose `Release` is verified.
struct Vouched {
    source: Source,
    release: Release,
    signer: String,
}

/// Fetches every index of `sources` that `architectures` need; `root` is `/etc/apt`.
///
/// All failures are collected.
pub async fn fetch_texts(
    http: &Http,
    sources: Vec<Source>,
    architectures: &[String],
    root: &Utf8Path,
    now: Timestamp,
) -> Result<Vec<Text>, Vec<Failure>> {
    let releases = stream::iter(sources)
        .map(|source| async move {
            let read = fetch_release(http, &source, root, now).await;
            let failed = |e| failure(&source, e);
            let (release, signer) = read.map_err(failed)?;
            Ok(Vouched { source, release, signer })
        })
        .buffered(REQUESTS_MAX)
        .collect::<Vec<_>>()
        .await;
    let vouched = all_or_failures(releases)?;
    let wanted = vouched.iter().flat_map(|v| wanted_indexes(v, architectures));
    let texts = stream::iter(wanted.collect::<Vec<_>>())
        .map(|(vouched, component, architecture)| async move {
            fetch_index(http, vouched, component, architecture)
                .await
                .map_err(|e| failure(&vouched.source, e))
        })
        .buffered(REQUESTS_MAX)
        .collect::<Vec<_>>()
        .await;
    all_or_failures(texts)
}

fn all_or_failures<T>(results: Vec<Result<T, Failure>>) -> Result<Vec<T>, Vec<Failure>> {
    let mut good = Vec::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(good) } else { Err(failures) }
}

fn failure(source: &Source, error: FetchError) -> Failure {
    let name = format!("{} {}", root_of(&source.uri), source.suite);
    Failure::new(Kind::Deb, name, error.verdict(), error)
}

/// Component and architecture of each index to fetch.
fn wanted_indexes<'v>(
    vouched: &'v Vouched,
    architectures: &'v [String],
) -> Vec<(&'v Vouched, &'v str, &'v str)> {
    let served = &vouched.source.architectures;
    let mut wanted = Vec::new();
    for component in &vouched.source.components {
        for architecture in architectures {
            if served.is_empty() || served.contains(architecture) {
                wanted.push((vouched, component.as_str(), architecture.as_str()));
            }
        }
        if vouched.release.separate_all && vouched.release.index(component, "all").is_ok() {
            wanted.push((vouched, component.as_str(), "all"));
        }
    }
    wanted
}

async fn fetch_release(
    http: &Http,
    source: &Source,
    root: &Utf8Path,
    now: Timestamp,
) -> Result<(Release, String), FetchError> {
    let keyring = settings::read_keyring(root, &source.keys).map_err(FetchError::Settings)?;
    let (text, signer) = match keyring {
        Some(keyring) => fetch_signed(http, source, &keyring).await?,
        None => (text_of(get_release(http, source, "Release").await?)?, NOBODY.to_owned()),
    };
    Ok((Release::parse(&text, now).map_err(FetchError::Release)?, signer))
}

/// Fetches `InRelease`, or `Release` and `Release.gpg` where there is none.
async fn fetch_signed(
    http: &Http,
    source: &Source,
    keyring: &Keyring,
) -> Result<(String, String), FetchError> {
    let (text, fingerprints) = match get_release(http, source, "InRelease").await {
        Ok(document) => {
            let verified = verify::verify_cleartext(keyring, &document.bytes)
                .map_err(FetchError::Signature)?;
            (verified.text, verified.fingerprints)
        }
        Err(FetchError::Http(HttpError::NotFound { .. })) => {
            let release = get_release(http, source, "Release").await?;
            let url = release_url(source, "Release.gpg");
            let signature = match http.get(&url, None, limits::SIGNATURE_LEN_BYTES_MAX).await {
                Ok(document) => document.bytes,
                Err(HttpError::NotFound { .. }) => return Err(FetchError::Unsigned),
                Err(e) => return Err(FetchError::Http(e)),
            };
            let fingerprints = verify::verify_detached(keyring, &release.bytes, &signature)
                .map_err(FetchError::Signature)?;
            (text_of(release)?, fingerprints)
        }
        Err(e) => return Err(e),
    };
    Ok((text, fingerprints.into_iter().next().ok_or(FetchError::Unsigned)?))
}

async fn get_release(http: &Http, source: &Source, name: &str) -> Result<Document, FetchError> {
    let url = release_url(source, name);
    http.get(&url, None, limits::RELEASE_LEN_BYTES_MAX).await.map_err(FetchError::Http)
}

fn text_of(document: Document) -> Result<String, FetchError> {
    String::from_utf8(document.bytes.into()).map_err(|_| FetchError::NotText)
}

async fn fetch_index(
    http: &Http,
    vouched: &Vouched,
    component: &str,
    architecture: &str,
) -> Result<Text, FetchError> {
    let source = &vouched.source;
    let index = vouched.release.index(component, architecture).map_err(FetchError::Release)?;
    let bytes = get_index(http, vouched, &index).await.map_err(FetchError::Http)?.bytes;
    let path = format!("{} {}", source.suite, index.path);
    let text = tokio::task::spawn_blocking(move || packages::open_index(&index, &bytes))
        .await
        .map_err(FetchError::Ended)?
        .map_err(FetchError::Index)?;
    Ok(Text {
        source: source.clone(),
        component: component.to_owned(),
        architecture: architecture.to_owned(),
        path,
        signer: vouched.signer.clone(),
        security: vouched.release.security,
        text,
    })
}

/// Fetches an index by its hash, where it stays while a mirror changes, else by its name.
async fn get_index(http: &Http, vouched: &Vouched, index: &Index) -> Result<Document, HttpError> {
    let len = index.listed.len_bytes;
    if vouched.release.by_hash {
        let url = release_url(&vouched.source, &by_hash(index));
        match http.get(&url, None, len).await {
            Err(HttpError::NotFound { .. }) => {}
            answer => return answer,
        }
    }
    http.get(&release_url(&vouched.source, index.path.as_str()), None, len).await
}

/// `<folder>/by-hash/SHA256/<hex>` (Debian wiki, "DebianRepository/Format", Acquire-By-Hash).
fn by_hash(index: &Index) -> String {
    let folder = index.path.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/by-hash/SHA256/{}", index.listed.digest.hex())
}

/// A file below `dists/<suite>/`, with the credentials that the settings may hold.
fn release_url(source: &Source, file: &str) -> Url {
    let mut url = source.uri.clone();
    let root = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{root}/dists/{}/{file}", source.suite.trim_matches('/')));
    url
}

/// The root of a repository without credentials, query and closing slash.
pub fn root_of(uri: &Url) -> String {
    let mut url = uri.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot hold credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use gapferry_proto::Digest;

    use super::*;
    use crate::source::{
        apt::{release::Listed, settings::Keys},
        unpack::Packing,
    };

    #[test]
    fn urls_keep_credentials_for_the_request_and_lose_them_for_the_record() {
        let source = Source {
            uri: "https://user:secret@m.example:8443/debian/?token=x".parse().unwrap(),
            suite: "bookworm/updates".to_owned(),
            components: Vec::new(),
            architectures: Vec::new(),
            keys: Keys::Anyone,
        };
        let url = release_url(&source, "InRelease");
        assert_eq!(url.path(), "/debian/dists/bookworm/updates/InRelease");
        assert_eq!(url.password(), Some("secret"));
        assert_eq!(root_of(&source.uri), "https://m.example:8443/debian");
    }

    #[test]
    fn an_index_is_asked_for_by_its_hash() {
        let index = Index {
            path: "main/binary-amd64/Packages.xz".parse().unwrap(),
            packing: Packing::Xz,
            listed: Listed { digest: Digest::of(b"abc"), len_bytes: 3 },
            plain_len_bytes_max: 3,
        };
        assert_eq!(
            by_hash(&index),
            format!("main/binary-amd64/by-hash/SHA256/{}", Digest::of(b"abc").hex())
        );
    }
}
