//! `GET /v2/<name>/referrers/<digest>` (end-12): signatures and attestations of an image.
//!
//! They are found by the `subject` of the manifests that the repository carries, read once for
//! each generation. What came as a tag (`sha256-<hex>`) is a tag here too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gapferry_proto::{BlobId, Digest, limits};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{OciDigest, OciError, OciQuery, RepoName, Repository};
use crate::local::{Local, Named, Place};
use crate::serve::site::{BlobPaths, Site};
use crate::serve::{App, Ask};

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_HEADER: &str = "oci-filters-applied";

/// A manifest that names a subject.
#[derive(Debug)]
pub struct Referrer {
    subject: Digest,
    descriptor: Descriptor,
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
    let (site, blobs, name) = (Arc::clone(&ask.site), app.blobs.clone(), name.clone());
    let ns = query.ns.clone();
    let find = move || find(&site, &blobs, &name, ns.as_deref(), &subject);
    let found = tokio::task::spawn_blocking(find).await.map_err(|_| OciError::Store)?;
    Ok(answer(found?, query))
}

/// Lists what refers to `subject` of what was pushed; empty when nothing does, also in a
/// repository that is not there yet.
pub async fn list_local(
    local: Arc<Local>,
    blobs: BlobPaths,
    place: Place,
    subject: Option<Named>,
    query: &OciQuery,
) -> Result<Response, OciError> {
    let find = move || {
        let manifests = subject.map(|subject| local.referrers(&place, &subject));
        let read = manifests.unwrap_or_default().into_iter().filter_map(|manifest| {
            let bytes = read_manifest(&blobs, &manifest.blob.id)?;
            Some(head(&bytes, &manifest.digest, &manifest.media_type)?.1)
        });
        read.collect()
    };
    let found = tokio::task::spawn_blocking(find).await.map_err(|_| OciError::Store)?;
    Ok(answer(found, query))
}

fn answer(mut descriptors: Vec<Descriptor>, query: &OciQuery) -> Response {
    if let Some(wanted) = &query.artifact_type {
        descriptors.retain(|d| d.artifact_type.as_ref() == Some(wanted));
    }
    let body = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors });
    let mut response = ([(header::CONTENT_TYPE, INDEX_TYPE)], body.to_string()).into_response();
    if query.artifact_type.is_some() {
        let filter = HeaderValue::from_static("artifactType");
        response.headers_mut().insert(FILTERS_HEADER, filter);
    }
    response
}

fn find(
    site: &Site,
    blobs: &BlobPaths,
    name: &RepoName,
    ns: Option<&str>,
    subject: &OciDigest,
) -> Result<Vec<Descriptor>, OciError> {
    let views = site.views().iter();
    let repositories: Vec<_> = views.flat_map(|view| view.named(name.as_str(), ns)).collect();
    if repositories.is_empty() {
        return Err(OciError::NameUnknown);
    }
    let OciDigest::Sha256(subject) = subject else { return Ok(Vec::new()) };
    let mut found = BTreeMap::new();
    for repository in repositories {
        let referrers = repository.referrers.get_or_init(|| read_all(repository, blobs));
        for referrer in referrers.iter().filter(|referrer| referrer.subject == *subject) {
            let digest = referrer.descriptor.digest.clone();
            found.entry(digest).or_insert_with(|| referrer.descriptor.clone());
        }
    }
    Ok(found.into_values().collect())
}

fn read_all(repository: &Repository, blobs: &BlobPaths) -> Vec<Referrer> {
    let manifests = repository.manifests().iter();
    let read = manifests.filter_map(|(id, manifest)| {
        let bytes = read_manifest(blobs, id)?;
        referrer(&bytes, &id.to_string(), &manifest.media_type)
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

/// Reads whether a manifest refers to another.
fn referrer(bytes: &[u8], digest: &str, media_type: &str) -> Option<Referrer> {
    let read = head(bytes, digest, media_type)?;
    let subject = read.0?.parse().ok()?;
    Some(Referrer { subject, descriptor: read.1 })
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
    use super::*;

    #[test]
    fn a_manifest_with_a_subject_is_a_referrer_of_its_artifact_type_else_of_its_config() {
        let subject = Digest::of(b"image");
        let of = |json: String| {
            let digest = Digest::of(json.as_bytes()).to_string();
            referrer(json.as_bytes(), &digest, "m").map(|r| (r.subject, r.descriptor.artifact_type))
        };
        let config = format!(r#""config":{{"mediaType":"c","digest":"{subject}"}}"#);
        let named = format!(r#""subject":{{"mediaType":"m","digest":"{subject}"}}"#);
        assert_eq!(
            of(format!(r#"{{"artifactType":"a",{config},{named}}}"#)),
            Some((subject, Some("a".to_owned())))
        );
        assert_eq!(of(format!("{{{config},{named}}}")), Some((subject, Some("c".to_owned()))));
        assert_eq!(of(format!("{{{named}}}")), Some((subject, None)));
        for other in [format!("{{{config}}}"), "{}".to_owned(), "[]".to_owned(), String::new()] {
            assert_eq!(of(other.clone()), None, "{other}");
        }
    }
}
