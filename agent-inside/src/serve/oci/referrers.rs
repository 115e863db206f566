//! `GET /v2/<name>/referrers/<digest>` (end-12): signatures and attestations of an image.
//!
//! They are found by the `subject` of the manifests that the repository carries, read once for
//! each generation. What came as a tag (`sha256-<hex>`) is a tag here too.
//!
//! A list shows the annotations of every referrer, of which each may have megabytes, so it comes in
//! pages, each with a `Link` to the next (distribution-spec v1.1.1, "Listing Referrers").

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gapferry_proto::{BlobId, Digest, limits};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::form_urlencoded;

use super::{OciDigest, OciError, OciQuery, RepoName, Repository};
use crate::local::{HeldManifest, Local, Place};
use crate::serve::site::{BlobPaths, Site};
use crate::serve::{App, Ask};

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_HEADER: &str = "oci-filters-applied";

/// How many lists are made at a time: each reads up to [`limits::REFERRERS_READ_MAX`] manifests.
const LISTS_AT_A_TIME: usize = 4;

static LISTS: Semaphore = Semaphore::const_new(LISTS_AT_A_TIME);

/// Room for the pages that clients have not taken yet, in KiB: some short ones always fit beside
/// long ones, and whoever takes long ones slowly fills it alone until he is left.
static ROOM: Semaphore = Semaphore::const_new(ROOM_KIB);

const ROOM_KIB: usize = limits::REFERRERS_PAGES_LEN_BYTES_MAX >> 10;

/// A manifest that names a subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Referrer {
    subject: Digest,
    manifest: BlobId,
}

/// A manifest that may stand in a list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    /// By which clients know it.
    digest: String,
    media_type: String,
    id: BlobId,
}

/// A part of a list, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Page {
    descriptors: Vec<String>,
    /// After which digest the next page begins; none when this is the last.
    last: Option<String>,
}

/// How much there is to a page. A descriptor that is longer stands alone.
#[derive(Clone, Copy)]
struct Bounds {
    len_bytes_max: usize,
    read_max: usize,
    read_len_bytes_max: usize,
}

const BOUNDS: Bounds = Bounds {
    len_bytes_max: limits::REFERRERS_PAGE_LEN_BYTES_MAX,
    read_max: limits::REFERRERS_READ_MAX,
    read_len_bytes_max: limits::REFERRERS_READ_LEN_BYTES_MAX,
};

/// A page that is on its way, and the room that it takes until the last of it is sent.
struct Sending {
    text: String,
    _room: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// A descriptor as the answer lists it (image-spec v1.1.1, "Content Descriptors").
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What of a manifest matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    subject: Option<Pointer>,
    artifact_type: Option<String>,
    config: Option<Pointer>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pointer {
    media_type: Option<String>,
    digest: String,
}

/// Lists what refers to `subject`, in every generation; empty when nothing does, 404 only for a
/// repository that is not held.
pub async fn list(
    app: &App,
    ask: &Ask,
    name: &RepoName,
    subject: OciDigest,
    query: &OciQuery,
) -> Result<Response, OciError> {
    let (site, blobs, called) = (Arc::clone(&ask.site), app.blobs.clone(), name.clone());
    let (ns, wanted) = (query.ns.clone(), subject.clone());
    let find = move |blobs: &BlobPaths| find(&site, blobs, &called, ns.as_deref(), &wanted);
    answer(blobs, name, &subject, query, find).await
}

/// Lists what refers to `subject` of what was pushed; empty when nothing does, also in a
/// repository that is not there yet.
pub async fn list_local(
    local: Arc<Local>,
    blobs: BlobPaths,
    place: Place,
    name: &RepoName,
    subject: OciDigest,
    query: &OciQuery,
) -> Result<Response, OciError> {
    let named = subject.named();
    let find = move |_: &BlobPaths| {
        let manifests = named.map(|named| local.referrers(&place, &named)).unwrap_or_default();
        let candidate = |manifest: HeldManifest| Candidate {
            digest: manifest.digest,
            media_type: manifest.media_type,
            id: manifest.blob.id,
        };
        Ok(manifests.into_iter().map(candidate).collect())
    };
    answer(blobs, name, &subject, query, find).await
}

/// Makes the page that `query` asks for, when it is its turn, and to its end even if the client
/// goes away: so no more run than [`LISTS_AT_A_TIME`]. The turn ends when there is room for the page.
async fn answer(
    blobs: BlobPaths,
    name: &RepoName,
    subject: &OciDigest,
    query: &OciQuery,
    find: impl FnOnce(&BlobPaths) -> Result<Vec<Candidate>, OciError> + Send + 'static,
) -> Result<Response, OciError> {
    let turn = LISTS.acquire().await.map_err(|_| OciError::Store)?;
    let (last, artifact_type) = (query.last.clone(), query.artifact_type.clone());
    let make = move || {
        let candidates = find(&blobs)?;
        let read = |id: &BlobId| read_manifest(&blobs, id);
        let page = page(candidates, last.as_deref(), artifact_type.as_deref(), BOUNDS, read);
        Ok::<_, OciError>((turn, page.last.clone(), text(&page)))
    };
    let made = tokio::task::spawn_blocking(make).await.map_err(|_| OciError::Store)?;
    let (_turn, last, text) = made?;
    let page = when_there_is_room(&ROOM, text).await?;
    Ok(respond(page, last, name, subject, query))
}

async fn when_there_is_room(room: &'static Semaphore, text: String) -> Result<Bytes, OciError> {
    let len_kib = (text.len() >> 10).saturating_add(1).min(ROOM_KIB);
    let taken = room.acquire_many(u32::try_from(len_kib).unwrap_or(u32::MAX)).await;
    Ok(Bytes::from_owner(Sending { text, _room: taken.map_err(|_| OciError::Store)? }))
}

/// The candidates after `last` that have the artifact type, as many as fit, sorted by digest.
fn page(
    mut candidates: Vec<Candidate>,
    last: Option<&str>,
    artifact_type: Option<&str>,
    bounds: Bounds,
    read: impl Fn(&BlobId) -> Option<Vec<u8>>,
) -> Page {
    candidates.sort();
    candidates.dedup_by(|a, b| a.digest == b.digest);
    candidates.retain(|candidate| last.is_none_or(|last| last < candidate.digest.as_str()));
    let (mut page, mut len_bytes, mut read_len_bytes) = (Page::default(), 0, 0);
    let mut before: Option<&Candidate> = None;
    for (number, candidate) in candidates.iter().enumerate() {
        let may_read = number < bounds.read_max && read_len_bytes < bounds.read_len_bytes_max;
        let described = may_read.then(|| {
            let bytes = read(&candidate.id)?;
            read_len_bytes += bytes.len();
            let descriptor = head(&bytes, &candidate.digest, &candidate.media_type)?.1;
            let fits = artifact_type.is_none_or(|t| descriptor.artifact_type.as_deref() == Some(t));
            fits.then(|| json!(descriptor).to_string())
        });
        let text = match described {
            Some(Some(text)) => text,
            Some(None) => {
                before = Some(candidate);
                continue;
            }
            None => return Page { last: before.map(|last| last.digest.clone()), ..page },
        };
        len_bytes += text.len();
        if bounds.len_bytes_max < len_bytes && !page.descriptors.is_empty() {
            return Page { last: before.map(|last| last.digest.clone()), ..page };
        }
        page.descriptors.push(text);
        before = Some(candidate);
    }
    page
}

/// The page as an image index.
fn text(page: &Page) -> String {
    let manifests = page.descriptors.join(",");
    format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX_TYPE}\",\"manifests\":[{manifests}]}}")
}

fn respond(
    page: Bytes,
    last: Option<String>,
    name: &RepoName,
    subject: &OciDigest,
    query: &OciQuery,
) -> Response {
    let mut response = ([(header::CONTENT_TYPE, INDEX_TYPE)], page).into_response();
    let headers = response.headers_mut();
    if query.artifact_type.is_some() {
        headers.insert(FILTERS_HEADER, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = last {
        let mut next = form_urlencoded::Serializer::new(String::new());
        next.append_pair("last", &last);
        for (key, value) in [("artifactType", &query.artifact_type), ("ns", &query.ns)] {
            next.extend_pairs(value.iter().map(|value| (key, value)));
        }
        let (name, next) = (name.as_str(), next.finish());
        let link = format!("</v2/{name}/referrers/{subject}?{next}>; rel=\"next\"");
        headers.extend(HeaderValue::from_str(&link).ok().map(|link| (header::LINK, link)));
    }
    response
}

fn find(
    site: &Site,
    blobs: &BlobPaths,
    name: &RepoName,
    ns: Option<&str>,
    subject: &OciDigest,
) -> Result<Vec<Candidate>, OciError> {
    let views = site.views().iter();
    let repositories: Vec<_> = views.flat_map(|view| view.named(name.as_str(), ns)).collect();
    if repositories.is_empty() {
        return Err(OciError::NameUnknown);
    }
    let OciDigest::Sha256(subject) = subject else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for repository in repositories {
        let referrers = repository.referrers.get_or_init(|| read_all(repository, blobs));
        for referrer in referrers.iter().filter(|referrer| referrer.subject == *subject) {
            let id = referrer.manifest;
            let Some(manifest) = repository.manifest(&id) else { continue };
            let (digest, media_type) = (id.to_string(), manifest.media_type.clone());
            found.push(Candidate { digest, media_type, id });
        }
    }
    Ok(found)
}

/// Which of a repository's manifests have a subject; of what they say nothing else is kept.
fn read_all(repository: &Repository, blobs: &BlobPaths) -> Vec<Referrer> {
    let read = repository.manifests().keys().filter_map(|id| {
        let (subject, _) = head(&read_manifest(blobs, id)?, "", "")?;
        Some(Referrer { subject: subject?.parse().ok()?, manifest: *id })
    });
    read.collect()
}

/// The bytes of a manifest; none when the store has lost it, which `scrub` reports.
fn read_manifest(blobs: &BlobPaths, id: &BlobId) -> Option<Vec<u8>> {
    let path = blobs.path(&id.digest());
    let read = || {
        let mut bytes = Vec::new();
        let file = File::open(&path)?;
        file.take(limits::OCI_MANIFEST_LEN_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    };
    read().inspect_err(|error| tracing::error!(%path, %error, "cannot read a manifest")).ok()
}

/// A manifest as a list of referrers shows it, with the digest of its subject.
fn head(bytes: &[u8], digest: &str, media_type: &str) -> Option<(Option<String>, Descriptor)> {
    let head: Head = serde_json::from_slice(bytes).ok()?;
    let config = head.config.and_then(|config| config.media_type);
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_owned(),
        size: bytes.len() as u64,
        artifact_type: head.artifact_type.filter(|t| !t.is_empty()).or(config),
        annotations: head.annotations.unwrap_or_default(),
    };
    Some((head.subject.map(|subject| subject.digest), descriptor))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_manifest_with_a_subject_is_of_its_artifact_type_else_of_its_config() {
        let of = |json: &str| {
            let (subject, descriptor) = head(json.as_bytes(), "d", "m")?;
            Some((subject, descriptor.artifact_type))
        };
        let some = |text: &str| Some(text.to_owned());
        let config = r#""config":{"mediaType":"c","digest":"x"}"#;
        let named = r#""subject":{"mediaType":"m","digest":"s"}"#;
        let both = format!(r#"{{"artifactType":"a",{config},{named}}}"#);
        assert_eq!(of(&both), Some((some("s"), some("a"))));
        assert_eq!(of(&format!("{{{config},{named}}}")), Some((some("s"), some("c"))));
        assert_eq!(of(&format!("{{{named}}}")), Some((some("s"), None)));
        assert_eq!(of(&format!("{{{config}}}")), Some((None, some("c"))));
        for other in ["[]", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    /// Four manifests, `a` to `d`, of which `b` cannot be read and `c` is of another type.
    fn pages(artifact_type: Option<&str>, bounds: Bounds) -> Vec<Vec<String>> {
        let manifest = |name: &str| match name {
            "b" => None,
            "c" => Some(br#"{"artifactType":"other"}"#.to_vec()),
            _ => Some(br#"{"artifactType":"t"}"#.to_vec()),
        };
        let id = |name: &str| BlobId::of(name.as_bytes());
        let names = ["d", "a", "c", "b"];
        let candidates = names.map(|name| Candidate {
            digest: name.to_owned(),
            media_type: "m".to_owned(),
            id: id(name),
        });
        let read = |wanted: &BlobId| {
            let name = names.iter().find(|name| id(name) == *wanted)?;
            manifest(name)
        };
        let (mut pages, mut last) = (vec![], None);
        loop {
            let made = page(candidates.to_vec(), last.as_deref(), artifact_type, bounds, read);
            let digest = |text: &String| {
                let descriptor: serde_json::Value = serde_json::from_str(text).unwrap();
                descriptor["digest"].as_str().unwrap().to_owned()
            };
            pages.push(made.descriptors.iter().map(digest).collect());
            last = made.last;
            if last.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn a_page_waits_until_those_before_it_have_been_taken() {
        static SMALL: Semaphore = Semaphore::const_new(3);
        let send = |len: usize| when_there_is_room(&SMALL, "x".repeat(len)).now_or_never();
        let long = send(1500).unwrap().unwrap();
        let short = send(1).unwrap().unwrap();
        assert_eq!((long.len(), short.len()), (1500, 1));
        assert!(send(1).is_none());
        let (sent, rest) = (long.slice(..1000), long.slice(1000..));
        drop((long, sent));
        assert!(send(1).is_none(), "some of it has to be sent yet");
        drop(rest);
        assert!(send(1500).is_some());
    }

    #[test]
    fn a_list_comes_in_pages_of_bounded_length_and_work() {
        let len = json!({"mediaType": "m", "digest": "a", "size": 20, "artifactType": "t"});
        let len = len.to_string().len();
        let bounds = |len_bytes_max, read_max| Bounds {
            len_bytes_max,
            read_max,
            read_len_bytes_max: usize::MAX,
        };
        let whole = [["a", "c", "d"]];
        let longer = json!({"mediaType": "m", "digest": "c", "size": 24, "artifactType": "other"});
        let all = 2 * len + longer.to_string().len();
        assert_eq!(pages(None, bounds(all, 4)), whole);
        assert_eq!(pages(None, bounds(all - 1, 4)), [vec!["a", "c"], vec!["d"]]);
        assert_eq!(pages(None, bounds(0, 4)), [["a"], ["c"], ["d"]], "one at least");
        assert_eq!(pages(None, bounds(all, 3)), [vec!["a", "c"], vec!["d"]]);
        assert_eq!(pages(None, bounds(all, 2)), [vec!["a"], vec!["c", "d"]]);
        assert_eq!(pages(Some("t"), bounds(2 * len, 4)), [["a", "d"]]);
        assert_eq!(pages(Some("t"), bounds(len, 4)), [["a"], ["d"]]);
        let reading = |read_len_bytes_max| Bounds { read_len_bytes_max, ..bounds(all, 4) };
        assert_eq!(
            pages(None, reading(20)),
            [vec!["a"], vec!["c"], vec!["d"]],
            "the length of one"
        );
        assert_eq!(pages(None, reading(21)), [vec!["a", "c"], vec!["d"]], "and begins the next");
        let nothing = Vec::<&str>::new();
        assert_eq!(pages(Some("none"), bounds(all, 2)), [nothing.clone(), nothing]);
    }
}
