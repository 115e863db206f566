//! Plain files: a URL and the digest that somebody gives it.
//!
//! In:   [`Asked`]: the file lines of a waybill, of lists, of Kubespray.
//! Out:  one artifact a file, with the length its server gives; nothing is kept yet.

use futures_util::{StreamExt as _, stream};
use gapferry_proto::{
    Artifact, BlobId, BlobRef, Digest, Facts, Kind,
    artifact::{Evidence, FileFacts, Method},
    limits,
};
use url::Url;

use super::{
    Failure, Found, Verdict,
    http::{Http, HttpError, Measured, Redacted, Space},
};
use crate::waybill::{FileLine, file_path};

/// A file that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub url: Url,
    /// Its digest, and who says it; none where nobody does.
    pub expected: Option<(Digest, Method)>,
    /// Its SHA-512 as Kubespray gives it, where it gives no SHA-256.
    pub sha512: Option<[u8; 64]>,
    /// Which line wants it.
    pub label: String,
    /// Whether plain HTTP may be used though no digest vouches for the bytes.
    pub insecure: bool,
}

impl Asked {
    /// The file of a waybill's line.
    pub fn of_line(index: usize, line: &FileLine) -> Self {
        Self {
            url: line.url.clone(),
            expected: Some((line.sha256.0, Method::Waybill)),
            sha512: None,
            label: format!("spec.files[{index}]"),
            insecure: false,
        }
    }
}

/// How many servers are asked at a time.
const JOBS: usize = 8;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{0} holds credentials; put them into netrc")]
    UserInfo(Redacted),
    #[error(
        "{0} cannot be served: its path must be plain segments in UTF-8 below an http or https host"
    )]
    Path(Redacted),
    #[error("{0} has no checksum and is not fetched over TLS; give its sha256")]
    Unvouched(Redacted),
    #[error("{0} has another SHA-512 than Kubespray's checksums say")]
    Sha512(Redacted),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl FileError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::UserInfo(_) | Self::Path(_) | Self::Unvouched(_) => Verdict::Configuration,
            Self::Sha512(_) => Verdict::Refused,
            Self::Http(error) => error.verdict(),
        }
    }
}

/// Resolves all files; artifacts and failures stand in their order.
///
/// A file that nobody gives a digest is read to its end, over TLS alone, unless `known` has the
/// blob that was seen at its origin before: it stays what it was. A URL with a query is none to pin
/// by, since the origin leaves it out.
pub async fn resolve(
    http: &Http,
    files: &[Asked],
    known: impl Fn(&str) -> Option<BlobRef>,
) -> Found {
    let resolving = stream::iter(files.iter().map(|asked| file(http, asked, &known)));
    let results: Vec<_> = resolving.buffered(JOBS).collect().await;
    let mut found = Found::default();
    for (result, asked) in results.into_iter().zip(files) {
        match result {
            Ok(artifact) => found.artifacts.push(artifact),
            Err(error) => {
                let name = Redacted::of(&asked.url).to_string();
                found.failures.push(Failure::new(Kind::File, name, error.verdict(), error));
            }
        }
    }
    found
}

async fn file(
    http: &Http,
    asked: &Asked,
    known: &impl Fn(&str) -> Option<BlobRef>,
) -> Result<Artifact, FileError> {
    let mut url = asked.url.clone();
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FileError::UserInfo(Redacted::of(&url)));
    }
    let path = matches!(url.scheme(), "http" | "https").then(|| file_path(&url)).flatten();
    let path = path.ok_or_else(|| FileError::Path(Redacted::of(&url)))?;
    let (blob, method) = match asked.expected {
        Some((digest, method)) => {
            let len_bytes = length(http, &url, digest).await?;
            (BlobRef { id: BlobId::from(digest), len_bytes }, method)
        }
        None => unnamed(http, asked, &url, known).await?,
    };
    let by = match method {
        Method::Transport => {
            http.target(&url, Space::Web).host_str().unwrap_or_default().to_owned()
        }
        _ => asked.label.clone(),
    };
    let digest = asked.expected.map(|(digest, _)| digest);
    Ok(Artifact {
        name: path.to_string(),
        facts: Facts::File(FileFacts { path }),
        blobs: vec![blob],
        wanted: vec![format!("{}: {}", asked.label, Redacted::of(&url))],
        origin: origin(url),
        evidence: Evidence { method, by, digest },
    })
}

/// A file without a SHA-256: its bytes as they are now or were when they were pinned, and who
/// vouches for them. A mirror without TLS vouches for nothing.
async fn unnamed(
    http: &Http,
    asked: &Asked,
    url: &Url,
    known: &impl Fn(&str) -> Option<BlobRef>,
) -> Result<(BlobRef, Method), FileError> {
    if let Some(sha512) = asked.sha512 {
        let measured = http.measure(url).await?;
        if measured.sha512 != sha512 {
            return Err(FileError::Sha512(Redacted::of(url)));
        }
        return Ok((blob(&measured), Method::Kubespray));
    }
    if url.scheme() != "https" && !asked.insecure {
        return Err(FileError::Unvouched(Redacted::of(url)));
    }
    let method = if http.is_tls(url, Space::Web) { Method::Transport } else { Method::Unverified };
    let pinned = url.query().is_none().then(|| known(url.as_str())).flatten();
    match pinned.filter(|_| method == Method::Transport) {
        Some(pinned) => Ok((pinned, method)),
        None => Ok((blob(&http.measure(url).await?), method)),
    }
}

fn blob(measured: &Measured) -> BlobRef {
    BlobRef { id: BlobId::from(measured.digest), len_bytes: measured.len_bytes }
}

/// The URL without its query, which may hold a token: it stays in the waybill alone.
fn origin(mut url: Url) -> String {
    url.set_query(None);
    url.into()
}

/// The file's length in bytes. A server that does not say it is read to the end.
async fn length(http: &Http, url: &Url, expected: Digest) -> Result<u64, HttpError> {
    let max = limits::BLOB_LEN_BYTES_MAX;
    match http.length(url).await? {
        Some(len_bytes) if len_bytes <= max => Ok(len_bytes),
        Some(_) => Err(HttpError::TooLong { url: Redacted::of(url), max }),
        None => match http.measure(url).await? {
            Measured { len_bytes, digest, .. } if digest == expected => Ok(len_bytes),
            Measured { digest: actual, .. } => {
                Err(HttpError::Digest { url: Redacted::of(url), expected, actual })
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse};

    use super::*;
    use crate::{
        source::http::{
            Network,
            upstream::{Upstream, chunked, client, ranged},
        },
        waybill::HexDigest,
    };

    fn line(url: &Url, bytes: &[u8]) -> FileLine {
        FileLine { url: url.clone(), sha256: HexDigest(Digest::of(bytes)) }
    }

    fn bare(url: Url, insecure: bool) -> Asked {
        let label = "files.list:1".to_owned();
        Asked { url, expected: None, sha512: None, label, insecure }
    }

    #[tokio::test]
    async fn a_file_without_a_digest_is_taken_with_leave_and_never_pinned_without_tls() {
        let upstream = Upstream::start(|seen| ranged(seen, b"abc")).await;
        let files = [bare(upstream.at("/a"), false), bare(upstream.at("/b"), true)];
        let http = client(Network::default());
        let found = resolve(&http, &files, |_| None).await;
        assert!(found.failures[0].error.to_string().contains("has no checksum"));
        let blob = BlobRef { id: BlobId::of(b"abc"), len_bytes: 3 };
        assert_eq!(found.artifacts.len(), 1);
        assert_eq!(found.artifacts[0].blobs, [blob]);
        assert_eq!(found.artifacts[0].evidence.method, Method::Unverified);
        let before = BlobRef { id: BlobId::of(b"before"), len_bytes: 6 };
        let again = resolve(&http, &files[1..], |_| Some(before)).await;
        assert_eq!(again.artifacts[0].blobs, [blob]);
    }

    #[tokio::test]
    async fn a_sha512_vouches_for_a_file_without_a_sha256() {
        use sha2::{Digest as _, Sha512};
        let upstream = Upstream::start(|seen| ranged(seen, b"abc")).await;
        let asked = |bytes: &[u8]| Asked {
            sha512: Some(Sha512::digest(bytes).into()),
            ..bare(upstream.at("/a"), false)
        };
        let files = [asked(b"abc"), asked(b"abd")];
        let found = resolve(&client(Network::default()), &files, |_| None).await;
        assert_eq!(found.artifacts.len(), 1);
        assert_eq!(found.artifacts[0].evidence.method, Method::Kubespray);
        assert_eq!(found.failures[0].verdict, Verdict::Refused);
    }

    #[tokio::test]
    async fn files_have_the_waybills_digest_and_the_servers_length() {
        let upstream = Upstream::start(|seen| match (seen.path.as_str(), seen.method.as_str()) {
            ("/nohead", "HEAD") => StatusCode::METHOD_NOT_ALLOWED.into_response(),
            ("/chunked" | "/lying", _) => chunked(b"abc"),
            ("/gone", _) => StatusCode::NOT_FOUND.into_response(),
            _ => ranged(seen, b"abc"),
        })
        .await;
        let with_user: Url = upstream.url.as_str().replace("//", "//u:CANARY@").parse().unwrap();
        let lines = [
            line(&upstream.at("/a/b.bin?x=1"), b"abc"),
            line(&upstream.at("/nohead"), b"abc"),
            line(&upstream.at("/chunked"), b"abc"),
            line(&upstream.at("/lying"), b"abd"),
            line(&upstream.at("/gone"), b"abc"),
            line(&with_user.join("/a").unwrap(), b"abc"),
            line(&upstream.at("/"), b"abc"),
        ];
        let asked: Vec<_> =
            lines.iter().enumerate().map(|(i, line)| Asked::of_line(i, line)).collect();
        let found = resolve(&client(Network::default()), &asked, |_| None).await;

        let host = upstream.authority();
        let blobs = vec![BlobRef { id: BlobId::of(b"abc"), len_bytes: 3 }];
        let first = Artifact {
            name: format!("{host}/a/b.bin"),
            facts: Facts::File(FileFacts { path: format!("{host}/a/b.bin").parse().unwrap() }),
            blobs: blobs.clone(),
            origin: upstream.at("/a/b.bin").into(),
            evidence: Evidence {
                method: Method::Waybill,
                by: "spec.files[0]".to_owned(),
                digest: Some(Digest::of(b"abc")),
            },
            wanted: vec![format!("spec.files[0]: http://{host}/a/b.bin?x=…")],
        };
        assert_eq!(found.artifacts[0], first);
        assert_eq!(found.artifacts.len(), 3);
        assert!(found.artifacts.iter().all(|artifact| artifact.blobs == blobs));
        let verdicts: Vec<_> = found.failures.iter().map(|failure| failure.verdict).collect();
        let configuration = Verdict::Configuration;
        assert_eq!(verdicts, [Verdict::Refused, Verdict::Missing, configuration, configuration]);
        assert!(!format!("{:?}", found.failures).contains("CANARY"));
    }
}
