//! `/v2/…`: the OCI distribution API (distribution-spec v1.1.1).
//!
//! What is carried can be pulled and nothing else. Names below a prefix of the local space, when
//! there is one, are answered by [`push`] and never from a generation; all that writes is there.
//!
//! A repository answers to its full name, `registry.k8s.io/pause`; to the name without its
//! registry, `pause`, where that says enough; and to the latter with containerd's `?ns=` saying
//! which registry is meant. It holds what its own images consist of and nothing else.

mod error;
mod path;
mod push;
mod referrers;
mod repository;

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use gapferry_proto::{BlobId, BlobRef, Kind};
use serde::Deserialize;
use serde_json::json;
use url::form_urlencoded;

pub use error::OciError;
pub use path::{OciDigest, OciPath, Reference, RepoName};
pub use push::Push;
pub use repository::Repository;

use super::body::{Address, Sealed, send};
use super::site::BlobPaths;
use super::{App, Ask, ServeError};
use crate::users::UserName;

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

/// `/v2/`: says that this is a registry (end-1). Where pushes are taken it asks who is there:
/// clients decide by this answer whether they log in.
pub async fn any_base(
    State(app): State<Arc<App>>,
    ask: Result<Ask, ServeError>,
    user: Option<Extension<UserName>>,
    method: Method,
) -> Response {
    match (&app.push, ask) {
        (Some(_), _) if user.is_none() => return OciError::Unauthorized.into_response(),
        (None, Err(error)) => return error.into_response(),
        _ => {}
    }
    if let Err(error) = read_only(&method) {
        return error.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        ("docker-distribution-api-version", "registry/2.0"),
    ];
    (headers, "{}").into_response()
}

/// `/v2/<name>/…`
pub async fn any_v2(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    ask: Result<Ask, ServeError>,
    request: Request,
) -> Response {
    let path = path.map_err(|_| OciError::NameInvalid);
    let path = match path.and_then(|Path(path)| OciPath::parse(&path)) {
        Ok(path) => path,
        Err(error) => return refuse(&app, ask, error),
    };
    let query = match query(request.uri()) {
        Ok(query) => query,
        Err(error) => return refuse(&app, ask, error),
    };
    if let Some(push) = &app.push
        && let Some(place) = push.place(&path, query.ns.as_deref(), request.headers())
    {
        let site = ask.as_ref().ok().map(|ask| &*ask.site);
        return push.answer(&app.blobs, path, place, &query, site, request).await;
    }
    match ask {
        Ok(ask) => carried(&app, &ask, path, &query).await.into_response(),
        Err(error) => error.into_response(),
    }
}

/// Says no; before the first import that nothing is there, as all other paths do, unless it may be
/// pushed.
fn refuse(app: &App, ask: Result<Ask, ServeError>, error: OciError) -> Response {
    match (&app.push, ask) {
        (None, Err(nothing)) => nothing.into_response(),
        _ => error.into_response(),
    }
}

fn query(uri: &Uri) -> Result<OciQuery, OciError> {
    let query: Query<OciQuery> = Query::try_from_uri(uri).map_err(|_| OciError::QueryInvalid)?;
    // A registry is one part of a name, and is judged as one.
    let mut query = query.0;
    query.artifact_type = query.artifact_type.filter(|wanted| !wanted.is_empty());
    match query.ns.as_deref().is_some_and(|ns| ns.contains('/')) {
        true => Err(OciError::QueryInvalid),
        false => Ok(query),
    }
}

/// Answers from the generations.
async fn carried(
    app: &App,
    ask: &Ask,
    path: OciPath,
    query: &OciQuery,
) -> Result<Response, OciError> {
    read_only(&ask.method)?;
    let ns = query.ns.as_deref();
    let mut response = match path {
        OciPath::Manifest { repository, reference } => {
            let found = get_manifest(app, ask, &repository, &reference, ns).await;
            if matches!(found, Err(OciError::ManifestUnknown)) {
                let registry = ns.map(|ns| format!("{ns}/")).unwrap_or_default();
                let name = format!("{registry}{}{reference}", repository.as_str());
                app.want(ask, Kind::Image, &name);
            }
            found
        }
        OciPath::Blob { repository, digest } => get_blob(app, ask, &repository, &digest, ns).await,
        OciPath::Tags { repository } => list_tags(ask, &repository, query),
        OciPath::Referrers { repository, subject } => {
            referrers::list(app, ask, &repository, subject, query).await
        }
        OciPath::Upload { .. } => Err(OciError::Unsupported),
    }?;
    if let Some(ns) = ns.and_then(|ns| HeaderValue::from_str(ns).ok()) {
        response.headers_mut().insert(NAMESPACE_HEADER, ns);
    }
    Ok(response)
}

fn read_only(method: &Method) -> Result<(), OciError> {
    match *method {
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
        Reference::Digest(_) => return Err(OciError::ManifestUnknown),
    };
    let repositories = repositories(ask, repository, ns);
    let manifest = repositories.iter().find_map(|repository| repository.manifest(&id));
    let manifest = manifest.ok_or(OciError::ManifestUnknown)?;
    let blob = BlobRef { id, len_bytes: manifest.len_bytes };
    let content_type = manifest_type(&manifest.media_type);
    let (method, headers) = (&ask.method, &ask.headers);
    let address = reference.address();
    send_blob(&app.blobs, method, headers, blob, address, content_type, &id.to_string()).await
}

fn manifest_type(media_type: &str) -> HeaderValue {
    HeaderValue::from_str(media_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
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
    digest: &OciDigest,
    ns: Option<&str>,
) -> Result<Response, OciError> {
    let OciDigest::Sha256(digest) = digest else { return Err(OciError::BlobUnknown) };
    let repositories = repositories(ask, repository, ns);
    let id = BlobId::from(*digest);
    let len_bytes = repositories.iter().find_map(|repository| repository.blob(&id));
    let blob = BlobRef { id, len_bytes: len_bytes.ok_or(OciError::BlobUnknown)? };
    let content_type = HeaderValue::from_static("application/octet-stream");
    let (method, headers) = (&ask.method, &ask.headers);
    let (address, named) = (Address::Digest, digest.to_string());
    send_blob(&app.blobs, method, headers, blob, address, content_type, &named).await
}

/// Sends a blob under the digest that the client knows it by.
async fn send_blob(
    blobs: &BlobPaths,
    method: &Method,
    headers: &HeaderMap,
    blob: BlobRef,
    address: Address,
    content_type: HeaderValue,
    named: &str,
) -> Result<Response, OciError> {
    let sealed = Sealed::of_blob(blobs, blob, address, content_type);
    let mut response = send(method, headers, sealed).await.map_err(|error| {
        error.log();
        OciError::Store
    })?;
    let value = HeaderValue::from_str(named).expect("a digest is plain ASCII");
    response.headers_mut().insert(DIGEST_HEADER, value);
    Ok(response)
}

/// `GET /v2/<name>/tags/list` (end-8a, 8b): sorted, after `last`, at most `n`.
fn list_tags(ask: &Ask, name: &RepoName, query: &OciQuery) -> Result<Response, OciError> {
    let ns = query.ns.as_deref();
    let mut views = ask.site.views().iter().map(|view| view.named(name.as_str(), ns));
    let repositories = views.find(|named| !named.is_empty()).ok_or(OciError::NameUnknown)?;
    let last = query.last.as_deref();
    let mut tags: Vec<&str> = repositories.iter().flat_map(|r| r.tags_after(last)).collect();
    tags.sort_unstable();
    tags.dedup();
    page_of_tags(name, tags, query)
}

/// The first `n` of the tags after `last`, and a link to the next page.
fn page_of_tags(
    name: &RepoName,
    mut tags: Vec<&str>,
    query: &OciQuery,
) -> Result<Response, OciError> {
    let n = match &query.n {
        None => TAGS_MAX,
        Some(n) => n.parse::<usize>().map_err(|_| OciError::PageInvalid)?.min(TAGS_MAX),
    };
    let is_cut = 0 < n && n < tags.len();
    tags.truncate(n);
    let body = json!({ "name": name.as_str(), "tags": tags }).to_string();
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let (true, Some(last)) = (is_cut, tags.last()) {
        let mut next = form_urlencoded::Serializer::new(String::new());
        next.append_pair("n", &n.to_string()).append_pair("last", last);
        next.extend_pairs(query.ns.iter().map(|ns| ("ns", ns)));
        let (name, next) = (name.as_str(), next.finish());
        let link = format!("</v2/{name}/tags/list?{next}>; rel=\"next\"");
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
