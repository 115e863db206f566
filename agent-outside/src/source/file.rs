//! Plain files: a URL and the digest that the waybill gives it.
//!
//! In:   the file lines of a waybill.
//! Out:  one artifact a line, with the length its server gives; nothing is kept yet.

use futures_util::{StreamExt as _, stream};
use gapferry_proto::{
    Artifact, BlobId, BlobRef, Digest, Facts, Kind,
    artifact::{Evidence, FileFacts, Method},
    limits,
};
use url::Url;

use super::{
    Failure, Found, Verdict,
    http::{Http, HttpError, Redacted},
};
use crate::waybill::{FileLine, file_path};

/// How many servers are asked at a time.
const JOBS: usize = 8;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{0} holds credentials; put them into netrc")]
    UserInfo(Redacted),
    #[error("{0} cannot be served: its path must be plain segments below an http or https host")]
    Path(Redacted),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl FileError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::UserInfo(_) | Self::Path(_) => Verdict::Configuration,
            Self::Http(error) => error.verdict(),
        }
    }
}

/// Resolves all file lines; artifacts and failures stand in the order of the lines.
pub async fn resolve(http: &Http, lines: &[FileLine]) -> Found {
    let files = stream::iter(lines.iter().enumerate().map(|(i, line)| file(http, i, line)));
    let results: Vec<_> = files.buffered(JOBS).collect().await;
    let mut found = Found::default();
    for (result, line) in results.into_iter().zip(lines) {
        match result {
            Ok(artifact) => found.artifacts.push(artifact),
            Err(error) => {
                let name = Redacted::of(&line.url).to_string();
                found.failures.push(Failure::new(Kind::File, name, error.verdict(), error));
            }
        }
    }
    found
}

async fn file(http: &Http, index: usize, line: &FileLine) -> Result<Artifact, FileError> {
    let mut url = line.url.clone();
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FileError::UserInfo(Redacted::of(&url)));
    }
    let path = matches!(url.scheme(), "http" | "https").then(|| file_path(&url)).flatten();
    let path = path.ok_or_else(|| FileError::Path(Redacted::of(&url)))?;
    let len_bytes = length(http, &url, line.sha256.0).await?;
    let label = format!("spec.files[{index}]");
    Ok(Artifact {
        name: path.to_string(),
        facts: Facts::File(FileFacts { path }),
        blobs: vec![BlobRef { id: BlobId::from(line.sha256.0), len_bytes }],
        wanted: vec![format!("{label}: {}", Redacted::of(&url))],
        origin: origin(url),
        evidence: Evidence { method: Method::Waybill, by: label, digest: Some(line.sha256.0) },
    })
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
            (len_bytes, actual) if actual == expected => Ok(len_bytes),
            (_, actual) => Err(HttpError::Digest { url: Redacted::of(url), expected, actual }),
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
        let found = resolve(&client(Network::default()), &lines).await;

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
