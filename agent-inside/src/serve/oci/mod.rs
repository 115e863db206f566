//! `/v2/…`: the pull half of the OCI distribution API (distribution-spec v1.1.1).
//!
//! A repository answers to its full name, `registry.k8s.io/pause`; to the name without its
//! registry, `pause`, where that says enough; and to the latter with containerd's `?ns=` saying
//! which registry is meant. It holds what its own images consist of and nothing else.

mod error;
mod path;
mod referrers;
mod repository;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use gapferry_proto::{BlobId, Digest, Kind};
use serde::Deserialize;
use serde_json::json;

pub use error::OciError;
pub use path::{OciDigest, OciPath, Reference, RepoName};
pub use repository::Repository;

use super::body::{Sealed, send};
use super::{App, Ask};

const DIGEST_HEADER: &str = "docker-content-digest";
const NAMESPACE_HEADER: &str = "oci-namespace";

/// Most tags in one answer, also when the client asks for more or says nothing.
const TAGS_MAX: usize = 10_000;

/// What may follow the question mark.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct OciQuery {
    /// The registry that containerd means.
    ns: Option<String>,
    /// Most tags to list.
    n: Option<String>,
    /// The tag after which to begin.
    last: Option<String>,
    artifact_type: Option<String>,
}

/// `/v2/`: says that this is a registry (end-1).
pub async fn any_base(ask: Ask) -> Result<Response, OciError> {
    read_only(&ask)?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        ("docker-distribution-api-version", "registry/2.0"),
    ];
    Ok((headers, "{}").into_response())
}

/// `/v2/<name>/…`
pub async fn any_v2(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    query: Result<Query<OciQuery>, QueryRejection>,
    ask: Ask,
) -> Result<Response, OciError> {
    read_only(&ask)?;
    let Query(query) = query.map_err(|_| OciError::QueryInvalid)?;
    let ns = query.ns.as_deref();
    let mut response = match OciPath::parse(&path)? {
        OciPath::Manifest { repository, reference } => {
            let found = get_manifest(&app, &ask, &repository, &reference, ns).await;
            if matches!(found, Err(OciError::ManifestUnknown)) {
                let registry = ns.map(|ns| format!("{ns}/")).unwrap_or_default();
                let name = format!("{registry}{}{reference}", repository.as_str());
                app.want(&ask, Kind::Image, &name);
            }
            found
        }
        OciPath::Blob { repository, digest } => get_blob(&app, &ask, &repository, digest, ns).await,
        OciPath::Tags { repository } => list_tags(&ask, &repository, &query),
        OciPath::Referrers { repository, subject } => {
            referrers::list(&app, &ask, &repository, subject, &query).await
        }
        OciPath::Upload { .. } => Err(OciError::Unsupported),
    }?;
    if let Some(ns) = ns.and_then(|ns| HeaderValue::from_str(ns).ok()) {
        response.headers_mut().insert(NAMESPACE_HEADER, ns);
    }
    Ok(response)
}

fn read_only(ask: &Ask) -> Result<(), OciError> {
    match ask.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(OciError::Unsupported),
    }
}

/// `GET /v2/<name>/manifests/<reference>` (end-3): the bytes as upstream gave them.
async fn get_manifest(
    app: &App,
    ask: &Ask,
    repository: &RepoName,
    reference: &Reference,
    ns: Option<&str>,
) -> Result<Response, OciError> {
    let id = match reference {
        Reference::Tag(tag) => by_tag(ask, repository, tag, ns)?,
        Reference::Digest(OciDigest::Sha256(digest)) => BlobId::from(*digest),
        Reference::Digest(OciDigest::Other(_)) => return Err(OciError::ManifestUnknown),
    };
    let repositories = repositories(ask, repository, ns);
    let manifest = repositories.iter().find_map(|repository| repository.manifest(&id));
    let manifest = manifest.ok_or(OciError::ManifestUnknown)?;
    let content_type = HeaderValue::from_str(&manifest.media_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    send_blob(app, ask, id.digest(), manifest.len_bytes, content_type).await
}

/// The manifest that a tag leads to, in the first generation that has the tag.
fn by_tag(
    ask: &Ask,
    repository: &RepoName,
    tag: &str,
    ns: Option<&str>,
) -> Result<BlobId, OciError> {
    for view in ask.site.views() {
        let mut ids: Vec<_> = view
            .named(repository.as_str(), ns)
            .iter()
            .filter_map(|repository| repository.tag(tag))
            .collect();
        ids.sort();
        ids.dedup();
        match ids[..] {
            [] => {}
            [id] => return Ok(id),
            _ => return Err(OciError::Ambiguous),
        }
    }
    Err(OciError::ManifestUnknown)
}

/// `GET /v2/<name>/blobs/<digest>` (end-2): 200 with the bytes, or 404 `BLOB_UNKNOWN`, also for
/// a blob that only another repository holds.
async fn get_blob(
    app: &App,
    ask: &Ask,
    repository: &RepoName,
    digest: OciDigest,
    ns: Option<&str>,
) -> Result<Response, OciError> {
    let OciDigest::Sha256(digest) = digest else { return Err(OciError::BlobUnknown) };
    let repositories = repositories(ask, repository, ns);
    let len_bytes =
        repositories.iter().find_map(|repository| repository.blob(&BlobId::from(digest)));
    let len_bytes = len_bytes.ok_or(OciError::BlobUnknown)?;
    let content_type = HeaderValue::from_static("application/octet-stream");
    send_blob(app, ask, digest, len_bytes, content_type).await
}

async fn send_blob(
    app: &App,
    ask: &Ask,
    digest: Digest,
    len_bytes: u64,
    content_type: HeaderValue,
) -> Result<Response, OciError> {
    let sealed = Sealed { path: app.blobs.path(&digest), digest, len_bytes, content_type };
    let mut response = send(&ask.method, &ask.headers, sealed).await.map_err(|error| {
        error.log();
        OciError::Store
    })?;
    let value = HeaderValue::from_str(&digest.to_string()).expect("a digest is plain ASCII");
    response.headers_mut().insert(DIGEST_HEADER, value);
    Ok(response)
}

/// `GET /v2/<name>/tags/list` (end-8a, 8b): sorted, after `last`, at most `n`.
fn list_tags(ask: &Ask, name: &RepoName, query: &OciQuery) -> Result<Response, OciError> {
    let n = match &query.n {
        None => TAGS_MAX,
        Some(n) => n.parse::<usize>().map_err(|_| OciError::PageInvalid)?.min(TAGS_MAX),
    };
    let ns = query.ns.as_deref();
    let mut views = ask.site.views().iter().map(|view| view.named(name.as_str(), ns));
    let repositories = views.find(|named| !named.is_empty()).ok_or(OciError::NameUnknown)?;
    let last = query.last.as_deref();
    let mut tags: Vec<&str> = repositories.iter().flat_map(|r| r.tags_after(last)).collect();
    tags.sort_unstable();
    tags.dedup();
    let is_cut = 0 < n && n < tags.len();
    tags.truncate(n);
    let body = json!({ "name": name.as_str(), "tags": tags }).to_string();
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let (true, Some(last)) = (is_cut, tags.last()) {
        let ns = ns.map(|ns| format!("&ns={ns}")).unwrap_or_default();
        let link = format!("</v2/{}/tags/list?n={n}&last={last}{ns}>; rel=\"next\"", name.as_str());
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// The repositories of that name in every generation, current first.
fn repositories<'a>(ask: &'a Ask, name: &RepoName, ns: Option<&str>) -> Vec<&'a Repository> {
    ask.site.views().iter().flat_map(|view| view.named(name.as_str(), ns)).collect()
}
