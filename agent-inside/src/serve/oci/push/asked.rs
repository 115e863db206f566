//! One request for a name of the local space, and the headers of its answer.
//!
//! In:   method, address, headers, and whose password was right.
//! Out:  what its parameters say; where its client goes on.
//! Never: a blob of a carried repository that the user may not read.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use gapferry_proto::BlobRef;
use percent_encoding::percent_decode_str;

use crate::local::{Named, Place};
use crate::serve::auth::Auth;
use crate::serve::body::Address;
use crate::serve::oci::path::{OciDigest, Reference, RepoName};
use crate::serve::oci::{DIGEST_HEADER, OciError, send_blob};
use crate::serve::site::{BlobPaths, Site};
use crate::users::UserName;

/// Most tags that one push of a manifest gives it; the draft asks for at least 10.
const TAGS_AT_A_TIME: usize = 64;

/// One request for a name of the local space.
pub struct Asked<'a> {
    pub place: Place,
    pub name: RepoName,
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    /// Who sends it, as [`crate::serve::auth`] found; none without a login.
    pub user: Option<&'a UserName>,
    /// The generations, whose blobs may be taken over; none before the first import.
    pub site: Option<&'a Site>,
}

impl Asked<'_> {
    pub async fn send(
        &self,
        blobs: &BlobPaths,
        blob: BlobRef,
        address: Address,
        media_type: HeaderValue,
        named: &str,
    ) -> Result<Response, OciError> {
        send_blob(blobs, self.method, self.headers, blob, address, media_type, named).await
    }

    /// Where an upload goes on. Relative, so that it is right behind any proxy.
    pub fn upload(&self, id: &str) -> String {
        format!("/v2/{}/blobs/uploads/{id}", self.place.repository)
    }

    /// A blob of a carried repository that this user may read.
    pub fn carried(&self, auth: &Auth, named: &Named, from: &RepoName) -> Option<BlobRef> {
        let Named::Sha256(id) = *named else { return None };
        if !auth.may_read(&format!("/v2/{}", from.as_str()), self.user) {
            return None;
        }
        let mut repositories =
            self.site?.views().iter().flat_map(|view| view.named(from.as_str(), None));
        let len_bytes = repositories.find_map(|repository| repository.blob(&id))?;
        Some(BlobRef { id, len_bytes })
    }

    pub fn created(&self, kind: &str, named: &Named) -> Response {
        let location = format!("/v2/{}/{kind}/{named}", self.place.repository);
        let headers = [
            (header::LOCATION, plain(&location)),
            (HeaderName::from_static(DIGEST_HEADER), plain(&named.to_string())),
        ];
        (StatusCode::CREATED, headers).into_response()
    }

    /// All values of a parameter.
    pub fn parameters(&self, wanted: &str) -> Vec<String> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let values = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            (name == wanted).then_some(value)
        });
        values.collect()
    }

    /// The digest that a parameter gives; one of an algorithm that is not known here is none.
    pub fn digest(&self, wanted: &str) -> Result<Option<Named>, OciError> {
        let Some(text) = self.parameters(wanted).pop() else { return Ok(None) };
        OciDigest::parse(&text)?.named().map(Some).ok_or(OciError::DigestInvalid)
    }

    /// The tags that a manifest shall have beside the digest it is pushed by.
    pub fn tags(&self) -> Result<Vec<String>, OciError> {
        let tags = self.parameters("tag");
        if TAGS_AT_A_TIME < tags.len() {
            return Err(OciError::QueryInvalid);
        }
        let tags = tags.iter().map(|tag| match Reference::parse(tag) {
            Ok(Reference::Tag(tag)) => Ok(tag),
            _ => Err(OciError::QueryInvalid),
        });
        tags.collect()
    }
}

/// The headers that say how far an upload is.
pub fn progress(location: &str, held: u64) -> HeaderMap {
    let id = location.rsplit('/').next().unwrap_or_default();
    let range = format!("0-{}", held.saturating_sub(1));
    HeaderMap::from_iter([
        (header::LOCATION, plain(location)),
        (header::RANGE, plain(&range)),
        (HeaderName::from_static("docker-upload-uuid"), plain(id)),
    ])
}

/// A header's value of names, digests and numbers.
pub fn plain(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
