//! Names below the prefixes of the local space: pulled like all others, and pushed to.
//!
//! In:   requests for such names, with the user whose password was right.
//! Out:  answers; what is pushed goes into [`Local`].
//! Never: a write without a user whom the prefix names; a generation; a key.
//!
//! distribution-spec v1.1.1, "Push" and "Content Management": end-4a to end-11 and end-13; of the
//! draft after it the parameter `tag` of a manifest that is pushed by digest.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use gapferry_proto::{BlobRef, limits};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use super::path::{OciDigest, OciPath, Reference, RepoName};
use super::{DIGEST_HEADER, OciError, OciQuery, manifest_type, page_of_tags, send_blob};
use super::{NAMESPACE_HEADER, referrers};
use crate::local::{Local, LocalError, ManifestName, Named, Place, Taken};
use crate::serve::auth::Auth;
use crate::serve::site::{BlobPaths, Site};
use crate::users::UserName;

/// How long a client may pause in the middle of a body.
const PAUSE: Duration = Duration::from_secs(60);

/// How much of an upload is gathered before it is written, in bytes.
const GATHERED_LEN_BYTES: usize = 1 << 20;

/// How much of a refused body is read, in bytes, so that its sender reads the refusal.
const DRAINED_LEN_BYTES: usize = 1 << 20;

/// How many manifests are read into memory at a time.
const MANIFESTS_AT_A_TIME: usize = 16;

/// Most tags that one push of a manifest gives it; the draft asks for at least 10.
const TAGS_AT_A_TIME: usize = 64;

/// The local space as the network sees it.
pub struct Push {
    local: Arc<Local>,
    manifests: Semaphore,
}

/// One request for a name of the local space.
struct Asked<'a> {
    place: Place,
    name: RepoName,
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    /// Who sends it, as [`crate::serve::auth`] found; none without a login.
    user: Option<&'a UserName>,
    /// Who may read what; none where nothing judges, as in tests of the routes alone.
    auth: Option<&'a Arc<Auth>>,
    /// The generations, whose blobs may be taken over; none before the first import.
    site: Option<&'a Site>,
}

impl Push {
    pub fn new(local: Arc<Local>) -> Self {
        Self { local, manifests: Semaphore::new(MANIFESTS_AT_A_TIME) }
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
        let (user, auth) =
            (parts.extensions.get::<UserName>(), parts.extensions.get::<Arc<Auth>>());
        let asked = Asked { place, name, method, uri, headers, user, auth, site };
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
                let found = blocking(move || match reference {
                    Reference::Tag(tag) => local.tagged(&place, &tag),
                    Reference::Digest(digest) => local.manifest(&place, &digest.named()?),
                });
                let manifest = found.await?.ok_or(OciError::ManifestUnknown)?;
                let media_type = manifest_type(&manifest.media_type);
                asked.send(blobs, manifest.blob, media_type, &manifest.digest).await
            }
            OciPath::Blob { digest, .. } => {
                let named = digest.named().ok_or(OciError::BlobUnknown)?;
                let blob = blocking(move || local.blob(&place, &named)).await?;
                let blob = blob.ok_or(OciError::BlobUnknown)?;
                let media_type = HeaderValue::from_static("application/octet-stream");
                asked.send(blobs, blob, media_type, &named.to_string()).await
            }
            OciPath::Tags { .. } => {
                let tags = local.tags(&place).ok_or(OciError::NameUnknown)?;
                let last = query.last.as_deref().unwrap_or_default();
                let after = tags.iter().map(String::as_str).filter(|tag| last < *tag);
                page_of_tags(&asked.name, after.collect(), query)
            }
            OciPath::Referrers { subject, .. } => {
                referrers::list_local(local, blobs.clone(), place, subject.named(), query).await
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
        let carried = from.as_ref().and_then(|from| asked.carried(&named, from));
        let mounted = blocking(move || {
            let from = from.as_ref().map(RepoName::as_str);
            match carried.or_else(|| local.find_blob(&named, from, &user)) {
                Some(blob) => local.mount(&place, &user, blob).map(|()| true),
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
        blocking(move || local.finish(&place, &user, taken, &named)).await??;
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
        let pushed = blocking(put).await??;
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
        let (local, place) = (Arc::clone(&self.local), asked.place.clone());
        let text = reference.to_string();
        let deleted = blocking(move || match reference {
            Reference::Tag(tag) => local.delete_tag(&place, &tag),
            Reference::Digest(digest) => {
                let named = digest.named().ok_or(LocalError::ManifestUnknown)?;
                local.delete_manifest(&place, &named)
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
        let (local, place) = (Arc::clone(&self.local), asked.place.clone());
        let named = digest.named().ok_or(OciError::BlobUnknown)?;
        blocking(move || local.delete_blob(&place, &named)).await??;
        tracing::info!(repository = asked.name.as_str(), digest = %named, user, "deleted");
        Ok(StatusCode::ACCEPTED.into_response())
    }
}

impl Asked<'_> {
    async fn send(
        &self,
        blobs: &BlobPaths,
        blob: BlobRef,
        media_type: HeaderValue,
        named: &str,
    ) -> Result<Response, OciError> {
        send_blob(blobs, self.method, self.headers, blob, media_type, named).await
    }

    /// Where an upload goes on. Relative, so that it is right behind any proxy.
    fn upload(&self, id: &str) -> String {
        format!("/v2/{}/blobs/uploads/{id}", self.place.repository)
    }

    /// A blob of a carried repository that this user may read.
    fn carried(&self, named: &Named, from: &RepoName) -> Option<BlobRef> {
        let Named::Sha256(id) = *named else { return None };
        let path = format!("/v2/{}", from.as_str());
        if self.auth.is_some_and(|auth| !auth.may_read(&path, self.user)) {
            return None;
        }
        let mut repositories =
            self.site?.views().iter().flat_map(|view| view.named(from.as_str(), None));
        let len_bytes = repositories.find_map(|repository| repository.blob(&id))?;
        Some(BlobRef { id, len_bytes })
    }

    fn created(&self, kind: &str, named: &Named) -> Response {
        let location = format!("/v2/{}/{kind}/{named}", self.place.repository);
        let headers = [
            (header::LOCATION, plain(&location)),
            (HeaderName::from_static(DIGEST_HEADER), plain(&named.to_string())),
        ];
        (StatusCode::CREATED, headers).into_response()
    }

    /// All values of a parameter.
    fn parameters(&self, wanted: &str) -> Vec<String> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        let values = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            (name == wanted).then_some(value)
        });
        values.collect()
    }

    /// The digest that a parameter gives; one of an algorithm that is not known here is none.
    fn digest(&self, wanted: &str) -> Result<Option<Named>, OciError> {
        let Some(text) = self.parameters(wanted).pop() else { return Ok(None) };
        OciDigest::parse(&text)?.named().map(Some).ok_or(OciError::DigestInvalid)
    }

    /// The tags that a manifest shall have beside the digest it is pushed by.
    fn tags(&self) -> Result<Vec<String>, OciError> {
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
pub(super) fn progress(location: &str, held: u64) -> HeaderMap {
    let id = location.rsplit('/').next().unwrap_or_default();
    let range = format!("0-{}", held.saturating_sub(1));
    HeaderMap::from_iter([
        (header::LOCATION, plain(location)),
        (header::RANGE, plain(&range)),
        (HeaderName::from_static("docker-upload-uuid"), plain(id)),
    ])
}

/// A header's value of names, digests and numbers.
fn plain(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OciError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OciError::Store)
}

/// Writes a body to an upload, gathered into pieces, on threads that may block.
async fn receive(
    mut taken: Taken,
    body: &mut BodyDataStream,
    at_most: Option<u64>,
) -> Result<Taken, OciError> {
    let (mut gathered, mut gathered_len_bytes, mut came) = (Vec::<Bytes>::new(), 0, 0_u64);
    loop {
        let next = tokio::time::timeout(PAUSE, body.next()).await;
        let is_last = !matches!(next, Ok(Some(Ok(_))));
        if let Ok(Some(Ok(bytes))) = &next {
            came = came.saturating_add(bytes.len() as u64);
            if at_most.is_some_and(|at_most| at_most < came) {
                drop(taken.end());
                return Err(OciError::SizeInvalid("more came than was announced".to_owned()));
            }
            gathered_len_bytes += bytes.len();
            gathered.push(bytes.clone());
        }
        if GATHERED_LEN_BYTES <= gathered_len_bytes || (is_last && 0 < gathered_len_bytes) {
            taken = write(taken, std::mem::take(&mut gathered)).await?;
            gathered_len_bytes = 0;
        }
        match next {
            Ok(Some(Ok(_))) => {}
            Ok(None) if at_most.is_some_and(|at_most| came < at_most) => {
                return Err(OciError::SizeInvalid("less came than was announced".to_owned()));
            }
            Ok(None) => return Ok(taken),
            Ok(Some(Err(error))) => {
                return Err(OciError::UploadInvalid(format!("the body broke off: {error}")));
            }
            Err(_) => return Err(OciError::UploadInvalid("the body stood still".to_owned())),
        }
    }
}

/// What does not fit is given up at once, so that it takes no room from others.
async fn write(mut taken: Taken, pieces: Vec<Bytes>) -> Result<Taken, OciError> {
    let written = blocking(move || match pieces.iter().try_for_each(|piece| taken.add(piece)) {
        Ok(()) => Ok(taken),
        Err(error @ (LocalError::Full(_) | LocalError::TooLong)) => {
            drop(taken.end());
            Err(error)
        }
        Err(error) => Err(error),
    });
    Ok(written.await??)
}

/// The whole body of a manifest.
async fn whole(headers: &HeaderMap, body: &mut BodyDataStream) -> Result<Vec<u8>, OciError> {
    let max = limits::OCI_MANIFEST_LEN_BYTES_MAX;
    let too_large = || OciError::TooLarge(format!("a manifest has at most {max} bytes"));
    if content_length(headers).is_some_and(|len_bytes| max < len_bytes) {
        return Err(too_large());
    }
    let mut whole = Vec::new();
    loop {
        match tokio::time::timeout(PAUSE, body.next()).await {
            Ok(None) => return Ok(whole),
            Ok(Some(Ok(bytes))) if (whole.len() + bytes.len()) as u64 <= max => {
                whole.extend_from_slice(&bytes);
            }
            Ok(Some(Ok(_))) => return Err(too_large()),
            Ok(Some(Err(_))) | Err(_) => {
                return Err(OciError::ManifestInvalid("the body broke off".to_owned()));
            }
        }
    }
}

/// Reads some of what is not wanted.
async fn drain(body: &mut BodyDataStream) {
    let reading = async {
        let mut came = 0;
        while let Some(Ok(bytes)) = body.next().await {
            came += bytes.len();
            if DRAINED_LEN_BYTES < came {
                return;
            }
        }
    };
    let _ended = tokio::time::timeout(Duration::from_secs(1), reading).await;
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// First and last byte of a piece of an upload (distribution-spec, "Pushing a blob in chunks":
/// `<start>-<end>`, no unit and no total).
fn content_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, OciError> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let digits = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let range = value.to_str().ok().and_then(|text| {
        let (first, last) = text.trim().split_once('-')?;
        Some((digits(first)?, digits(last)?))
    });
    let wrong = || OciError::UploadInvalid("Content-Range is no <first>-<last>".to_owned());
    range.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_two_numbers() {
        let read = |value: &str| {
            content_range(&HeaderMap::from_iter([(header::CONTENT_RANGE, value.parse().unwrap())]))
        };
        assert_eq!(content_range(&HeaderMap::new()), Ok(None));
        assert_eq!(read("0-1023"), Ok(Some((0, 1023))));
        assert_eq!(read("5-3"), Ok(Some((5, 3))));
        for wrong in ["", "-", "5-", "-5", "a-b", "+1-2", "bytes 0-1/2", "0-1-2", "1"] {
            assert!(matches!(read(wrong), Err(OciError::UploadInvalid(_))), "{wrong}");
        }
        let over = format!("0-{}0", u64::MAX);
        assert!(read(&over).is_err());
    }
}
