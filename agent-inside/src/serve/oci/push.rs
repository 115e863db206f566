//! Names below the prefixes of the local space: pulled like all others, and pushed to.
//!
//! In:   requests for such names, with the user whose password was right.
//! Out:  answers; what is pushed goes into [`Local`].
//! Never: a write without a user whom the prefix names; a generation; a key.
//!
//! distribution-spec v1.1.1, "Push" and "Content Management": end-4a to end-11 and end-13; of the
//! draft after it the parameter `tag` of a manifest that is pushed by digest.

mod asked;
mod body;

use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use self::asked::{Asked, plain};
use self::body::{content_length, content_range, drain, receive, whole};
use super::path::{OciDigest, OciPath, Reference, RepoName};
use super::{NAMESPACE_HEADER, OciError, OciQuery, manifest_type, page_of_tags, referrers};
use crate::local::{Local, LocalError, ManifestName, Named, Place, Taken, Usage};
use crate::serve::auth::Auth;
use crate::serve::body::Address;
use crate::serve::site::{BlobPaths, Site};
use crate::users::UserName;

pub(super) use self::asked::progress;

/// How many manifests are read into memory at a time.
const MANIFESTS_AT_A_TIME: usize = 16;

/// How many changes may wait for a sweep, each on a thread of its own; pulls need such threads too.
const CHANGES_AT_A_TIME: usize = 16;

/// The local space as the network sees it.
pub struct Push {
    local: Arc<Local>,
    /// Who may read what, for blobs that are taken over from carried repositories.
    auth: Arc<Auth>,
    manifests: Semaphore,
    changes: Arc<Semaphore>,
}

impl Push {
    pub fn new(local: Arc<Local>, auth: Arc<Auth>) -> Self {
        let manifests = Semaphore::new(MANIFESTS_AT_A_TIME);
        Self { local, auth, manifests, changes: Arc::new(Semaphore::new(CHANGES_AT_A_TIME)) }
    }

    /// What lies below each prefix.
    pub fn usage(&self) -> Vec<Usage> {
        self.local.usage()
    }

    pub fn expire_uploads(&self) {
        self.local.expire_uploads();
    }

    /// Where in the local space the name of a path lies, if it does. `ns` is the registry that a
    /// client means: this one, when it is the host that was asked, or one of a prefix.
    pub(super) fn place(
        &self,
        path: &OciPath,
        ns: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Place> {
        let name = path.repository().as_str();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match ns {
            Some(ns) if Some(ns) != host => {
                let name = RepoName::parse(&format!("{ns}/{name}")).ok()?;
                self.local.place(name.as_str())
            }
            _ => self.local.place(name),
        }
    }

    /// Answers a request for a name that lies at `place`.
    pub(super) async fn answer(
        &self,
        blobs: &BlobPaths,
        path: OciPath,
        place: Place,
        query: &OciQuery,
        site: Option<&Site>,
        request: Request,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let mut body = body.into_data_stream();
        let name = path.repository().clone();
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let user = parts.extensions.get::<UserName>();
        let asked = Asked { place, name, method, uri, headers, user, site };
        let answer = match (&path, method.as_str()) {
            (OciPath::Upload { .. }, _) | (_, "PUT" | "DELETE") => {
                self.change(&asked, path, &mut body).await
            }
            (_, "GET" | "HEAD") => self.read(blobs, &asked, path, query).await,
            _ => Err(OciError::Method("GET, HEAD, PUT, DELETE")),
        };
        if answer.is_err() {
            drain(&mut body).await;
        }
        let mut response = answer.into_response();
        if let Some(ns) = query.ns.as_ref().and_then(|ns| HeaderValue::from_str(ns).ok()) {
            response.headers_mut().insert(NAMESPACE_HEADER, ns);
        }
        response
    }

    async fn read(
        &self,
        blobs: &BlobPaths,
        asked: &Asked<'_>,
        path: OciPath,
        query: &OciQuery,
    ) -> Result<Response, OciError> {
        let (local, place) = (Arc::clone(&self.local), asked.place.clone());
        match path {
            OciPath::Manifest { reference, .. } => {
                let address = reference.address();
                let found = blocking(move || match reference {
                    Reference::Tag(tag) => local.tagged(&place, &tag),
                    Reference::Digest(digest) => local.manifest(&place, &digest.named()?),
                });
                let manifest = found.await?.ok_or(OciError::ManifestUnknown)?;
                let media_type = manifest_type(&manifest.media_type);
                asked.send(blobs, manifest.blob, address, media_type, &manifest.digest).await
            }
            OciPath::Blob { digest, .. } => {
                let named = digest.named().ok_or(OciError::BlobUnknown)?;
                let blob = blocking(move || local.blob(&place, &named)).await?;
                let blob = blob.ok_or(OciError::BlobUnknown)?;
                let media_type = HeaderValue::from_static("application/octet-stream");
                let (address, named) = (Address::Digest, named.to_string());
                asked.send(blobs, blob, address, media_type, &named).await
            }
            OciPath::Tags { .. } => {
                let tags = local.tags(&place).ok_or(OciError::NameUnknown)?;
                let last = query.last.as_deref().unwrap_or_default();
                let after = tags.iter().map(String::as_str).filter(|tag| last < *tag);
                page_of_tags(&asked.name, after.collect(), query)
            }
            OciPath::Referrers { subject, .. } => {
                let blobs = blobs.clone();
                referrers::list_local(local, blobs, place, &asked.name, subject, query).await
            }
            OciPath::Upload { .. } => Err(OciError::NoEndpoint),
        }
    }

    /// Whatever writes, and the state of an upload: for users of the prefix alone.
    async fn change(
        &self,
        asked: &Asked<'_>,
        path: OciPath,
        body: &mut BodyDataStream,
    ) -> Result<Response, OciError> {
        let user = asked.user.ok_or(OciError::Unauthorized)?.to_string();
        if !self.local.may_push(&asked.place, &user) {
            return Err(OciError::Denied(format!("{user} may not push to that name")));
        }
        match (path, asked.method.as_str()) {
            (OciPath::Upload { id: None, .. }, "POST") => self.begin(asked, user, body).await,
            (OciPath::Upload { id: None, .. }, _) => Err(OciError::Method("POST")),
            (OciPath::Upload { id: Some(id), .. }, "GET" | "HEAD") => {
                self.progress(asked, &user, &id)
            }
            (OciPath::Upload { id: Some(id), .. }, "PATCH") => {
                let taken = self.add(asked, &user, &id, body).await?;
                let location = asked.upload(taken.id());
                Ok((StatusCode::ACCEPTED, progress(&location, taken.len_bytes())).into_response())
            }
            (OciPath::Upload { id: Some(id), .. }, "PUT") => {
                let digest = asked.digest("digest")?.ok_or(OciError::DigestInvalid)?;
                let taken = self.add(asked, &user, &id, body).await?;
                self.finish(asked, user, taken, digest).await
            }
            (OciPath::Upload { id: Some(id), .. }, "DELETE") => {
                drop(self.local.take(&asked.place, &user, &id)?.end());
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            (OciPath::Upload { .. }, _) => Err(OciError::Method("GET, HEAD, PATCH, PUT, DELETE")),
            (OciPath::Manifest { reference, .. }, "PUT") => {
                self.put_manifest(asked, user, reference, body).await
            }
            (OciPath::Manifest { reference, .. }, _) => {
                self.delete_manifest(asked, user, reference).await
            }
            (OciPath::Blob { digest, .. }, "DELETE") => self.delete_blob(asked, user, digest).await,
            _ => Err(OciError::Method("GET, HEAD")),
        }
    }

    /// `POST /v2/<name>/blobs/uploads/` (end-4a, 4b, 11): begins an upload, takes a whole blob,
    /// or takes one over from another repository.
    async fn begin(
        &self,
        asked: &Asked<'_>,
        user: String,
        body: &mut BodyDataStream,
    ) -> Result<Response, OciError> {
        if let Some(named) = asked.digest("mount")? {
            let from =
                asked.parameters("from").pop().map(|from| RepoName::parse(&from)).transpose()?;
            if let Some(response) = self.mount(asked, &user, named, from).await? {
                return Ok(response);
            }
        }
        let digest = asked.digest("digest")?;
        let (local, place, by) = (Arc::clone(&self.local), asked.place.clone(), user.clone());
        let id = blocking(move || local.begin(&place, &by)).await??;
        let Some(digest) = digest else {
            return Ok((StatusCode::ACCEPTED, progress(&asked.upload(&id), 0)).into_response());
        };
        match self.add(asked, &user, &id, body).await {
            Ok(taken) => self.finish(asked, user, taken, digest).await,
            Err(error) => {
                let taken = self.local.take(&asked.place, &user, &id);
                drop(taken.map(Taken::end));
                Err(error)
            }
        }
    }

    async fn mount(
        &self,
        asked: &Asked<'_>,
        user: &str,
        named: Named,
        from: Option<RepoName>,
    ) -> Result<Option<Response>, OciError> {
        let (local, place, user) = (Arc::clone(&self.local), asked.place.clone(), user.to_owned());
        let carried = from.as_ref().and_then(|from| asked.carried(&self.auth, &named, from));
        let mounted = self.changing(move || {
            let from = from.as_ref().map(RepoName::as_str);
            match carried.or_else(|| local.find_blob(&named, from, &user)) {
                Some(blob) => local.mount(&place, &user, blob),
                None => Ok(false),
            }
        });
        Ok(mounted.await??.then(|| asked.created("blobs", &named)))
    }

    /// `GET /v2/<name>/blobs/uploads/<id>` (end-13): how much has arrived.
    fn progress(&self, asked: &Asked<'_>, user: &str, id: &str) -> Result<Response, OciError> {
        let held = self.local.arrived(&asked.place, user, id)?;
        Ok((StatusCode::NO_CONTENT, progress(&asked.upload(id), held)).into_response())
    }

    /// Adds the body of a request to an upload (end-5, end-6). What came before a body broke off
    /// stays; the client asks how much that is.
    async fn add(
        &self,
        asked: &Asked<'_>,
        user: &str,
        id: &str,
        body: &mut BodyDataStream,
    ) -> Result<Taken, OciError> {
        let piece = content_range(asked.headers)?;
        let len_bytes = content_length(asked.headers);
        let taken = self.local.take(&asked.place, user, id)?;
        let mut at_most = len_bytes;
        if let Some((first, last)) = piece {
            let held = taken.len_bytes();
            if first != held || last < first {
                return Err(OciError::OutOfOrder { location: asked.upload(id), held });
            }
            let said = (last - first).saturating_add(1);
            if len_bytes.is_some_and(|len_bytes| len_bytes != said) {
                let text = "Content-Range and Content-Length differ".to_owned();
                return Err(OciError::SizeInvalid(text));
            }
            at_most = Some(said);
        }
        receive(taken, body, at_most).await
    }

    /// Ends an upload: a blob, or nothing.
    async fn finish(
        &self,
        asked: &Asked<'_>,
        user: String,
        taken: Taken,
        named: Named,
    ) -> Result<Response, OciError> {
        let (local, place) = (Arc::clone(&self.local), asked.place.clone());
        self.changing(move || local.finish(&place, &user, taken, &named)).await??;
        Ok(asked.created("blobs", &named))
    }

    /// `PUT /v2/<name>/manifests/<reference>` (end-7).
    async fn put_manifest(
        &self,
        asked: &Asked<'_>,
        user: String,
        reference: Reference,
        body: &mut BodyDataStream,
    ) -> Result<Response, OciError> {
        let tags = asked.tags()?;
        let name = match reference {
            Reference::Tag(tag) => ManifestName::Tag(tag),
            Reference::Digest(digest) => {
                ManifestName::Digest(digest.named().ok_or(OciError::DigestInvalid)?, tags.clone())
            }
        };
        let _one = self.manifests.acquire().await.map_err(|_| OciError::Store)?;
        let bytes = whole(asked.headers, body).await?;
        let content_type = asked.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = content_type.and_then(|text| text.split(';').next());
        let content_type = content_type.map(|text| text.trim().to_owned());
        let (local, place, by) = (Arc::clone(&self.local), asked.place.clone(), user.clone());
        let put = move || local.put_manifest(&place, &by, &bytes, content_type.as_deref(), name);
        let pushed = self.changing(put).await??;
        tracing::info!(repository = asked.name.as_str(), digest = %pushed.digest, user, "pushed");
        let mut response = asked.created("manifests", &pushed.digest);
        let headers = response.headers_mut();
        if let Some(subject) = pushed.subject {
            headers.insert("oci-subject", plain(&subject.to_string()));
        }
        for tag in tags {
            headers.append("oci-tag", plain(&tag));
        }
        Ok(response)
    }

    /// `DELETE /v2/<name>/manifests/<reference>` (end-9): a tag alone, or a manifest with its tags.
    async fn delete_manifest(
        &self,
        asked: &Asked<'_>,
        user: String,
        reference: Reference,
    ) -> Result<Response, OciError> {
        let (local, place, by) = (Arc::clone(&self.local), asked.place.clone(), user.clone());
        let text = reference.to_string();
        let deleted = self.changing(move || match reference {
            Reference::Tag(tag) => local.delete_tag(&place, &by, &tag),
            Reference::Digest(digest) => {
                let named = digest.named().ok_or(LocalError::ManifestUnknown)?;
                local.delete_manifest(&place, &by, &named)
            }
        });
        deleted.await??;
        tracing::info!(repository = asked.name.as_str(), reference = text, user, "deleted");
        Ok(StatusCode::ACCEPTED.into_response())
    }

    /// `DELETE /v2/<name>/blobs/<digest>` (end-10).
    async fn delete_blob(
        &self,
        asked: &Asked<'_>,
        user: String,
        digest: OciDigest,
    ) -> Result<Response, OciError> {
        let (local, place, by) = (Arc::clone(&self.local), asked.place.clone(), user.clone());
        let named = digest.named().ok_or(OciError::BlobUnknown)?;
        self.changing(move || local.delete_blob(&place, &by, &named)).await??;
        tracing::info!(repository = asked.name.as_str(), digest = %named, user, "deleted");
        Ok(StatusCode::ACCEPTED.into_response())
    }

    /// Does what changes documents, which may have to wait for a sweep. It counts until it is
    /// done, also when its client is gone.
    async fn changing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OciError> {
        let changes = Arc::clone(&self.changes).acquire_owned();
        let one = changes.await.map_err(|_| OciError::Store)?;
        blocking(move || {
            let done = work();
            drop(one);
            done
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OciError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OciError::Store)
}
