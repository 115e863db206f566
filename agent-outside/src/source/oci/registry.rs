//! One repository of a registry.
//!
//! In:   an image's name, the client, the tokens held so far.
//! Out:  manifests as bytes, and blobs into partial files.
//!
//! Plain HTTP is used only to this machine, through a mirror that the configuration names, where
//! a digest vouches for the bytes, or where the waybill line says `insecure: true`; and only
//! after TLS could not be had.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use camino::Utf8Path;
use gapferry_proto::{BlobId, BlobRef, Digest, limits};
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::{
    ImageError,
    auth::{Tokens, is_loopback},
    manifest::{self, ACCEPT, Child, OCI_INDEX},
    pages::Pages,
    reference::{Image, resolved},
};
use crate::source::http::{Ask, Document, Download, Http, HttpError, Redacted, Space};

/// Which half of a repository holds a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shelf {
    Manifests,
    Blobs,
}

impl Shelf {
    const fn word(self) -> &'static str {
        match self {
            Self::Manifests => "manifests",
            Self::Blobs => "blobs",
        }
    }

    const fn accept(self) -> Option<&'static str> {
        match self {
            Self::Manifests => Some(ACCEPT),
            Self::Blobs => None,
        }
    }
}

/// A repository that can be asked.
#[derive(Clone)]
pub struct Repository<'a> {
    http: &'a Http,
    tokens: &'a Tokens,
    /// `<scheme>://<host>/v2/<repository>`.
    pub url: Url,
}

/// A manifest or an index as it came.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    pub bytes: Bytes,
    pub media_type: Option<String>,
}

impl Raw {
    pub fn blob(&self) -> BlobRef {
        BlobRef { id: BlobId::of(&self.bytes), len_bytes: self.bytes.len() as u64 }
    }
}

impl<'a> Repository<'a> {
    /// The repository at `url`.
    pub const fn at(http: &'a Http, tokens: &'a Tokens, url: Url) -> Self {
        Self { http, tokens, url }
    }

    /// Finds the scheme under which an image's registry answers, and fetches its root.
    ///
    /// # Errors
    ///
    /// [`ImageError`] as [`Repository::root`].
    pub async fn reach(
        http: &'a Http,
        tokens: &'a Tokens,
        image: &Image,
        insecure: bool,
    ) -> Result<(Self, Raw), ImageError> {
        let tries = Self::tries(http, tokens, image, insecure);
        let last = tries.len() - 1;
        for (repository, insist) in &tries[..last] {
            match repository.root(image, *insist).await {
                Err(error) if error.is_connect() => {}
                other => return Ok((repository.clone(), other?)),
            }
        }
        let (repository, insist) = &tries[last];
        Ok((repository.clone(), repository.root(image, *insist).await?))
    }

    /// The tags of an image's repository, under the scheme with which its registry answers.
    ///
    /// # Errors
    ///
    /// [`ImageError::Http`], [`ImageError::Endless`], [`ImageError::TooManyTags`],
    /// [`ImageError::List`].
    pub async fn reach_tags(
        http: &'a Http,
        tokens: &'a Tokens,
        image: &Image,
        insecure: bool,
    ) -> Result<Vec<String>, ImageError> {
        let tries = Self::tries(http, tokens, image, insecure);
        let last = tries.len() - 1;
        for (repository, insist) in &tries[..last] {
            match repository.tags(*insist).await {
                Err(error) if error.is_connect() => {}
                other => return other,
            }
        }
        let (repository, insist) = &tries[last];
        repository.tags(*insist).await
    }

    /// Where an image's registry may answer, best first, and whether to insist on a connection.
    fn tries(
        http: &'a Http,
        tokens: &'a Tokens,
        image: &Image,
        insecure: bool,
    ) -> Vec<(Self, bool)> {
        let at = |scheme| {
            let url = image.repository_url(scheme).expect("the reference was checked for it");
            Self::at(http, tokens, url)
        };
        let [tls, plain] = [at("https"), at("http")];
        if !tls.is_mirrored() && plain.is_mirrored() {
            return vec![(plain, true)];
        }
        let may_be_plain = insecure || image.digest.is_some() || is_loopback(&tls.url);
        if tls.is_mirrored() || !may_be_plain {
            return vec![(tls, true)];
        }
        vec![(tls.clone(), false), (plain, false), (tls, true)]
    }

    /// Fetches what `image` names and checks it against every digest that is known.
    async fn root(&self, image: &Image, insist: bool) -> Result<Raw, ImageError> {
        let asked = image.asked();
        let (raw, headers) = self.document(Shelf::Manifests, &asked, insist).await?;
        check_digests(&raw, &headers, image.digest, || image.name())?;
        Ok(raw)
    }

    /// Fetches what `tag` leads to; none when there is no such tag. Asks whether it is there
    /// first, since registries that count pulls count only what is fetched.
    ///
    /// # Errors
    ///
    /// [`ImageError::Http`], [`ImageError::Digest`].
    pub async fn tagged(&self, tag: &str) -> Result<Option<Raw>, ImageError> {
        let url = self.part(&format!("manifests/{tag}"));
        match absent(self.ask(&url, Some(ACCEPT), true, None).await) {
            Ok(None) => return Ok(None),
            // Some answer so for what they do not have; they gave the image itself.
            Err(ImageError::Http(HttpError::Denied { status: 403, url, .. })) => {
                tracing::warn!(%url, "taken as absent (HTTP 403)");
                return Ok(None);
            }
            // Some servers know no HEAD.
            Ok(Some(_)) | Err(ImageError::Http(HttpError::Status { .. })) => {}
            Err(error) => return Err(error),
        }
        let given = absent(self.document(Shelf::Manifests, tag, true).await)?;
        let Some((raw, headers)) = given else { return Ok(None) };
        check_digests(&raw, &headers, None, || tag.to_owned())?;
        Ok(Some(raw))
    }

    /// What the referrers API lists for `subject` (distribution-spec v1.1.1, end-12a); none when
    /// this registry lacks it.
    ///
    /// # Errors
    ///
    /// [`ImageError::Http`], [`ImageError::Endless`], [`ImageError::TooMany`],
    /// [`ImageError::Listed`].
    pub async fn referrers(&self, subject: BlobId) -> Result<Option<Vec<Child>>, ImageError> {
        let mut url = self.part(&format!("referrers/{subject}"));
        let mut found = Vec::new();
        let mut pages = Pages::default();
        loop {
            let max = Some(limits::OCI_MANIFEST_LEN_BYTES_MAX);
            let (raw, headers) = match self.ask(&url, Some(OCI_INDEX), true, max).await {
                Err(ImageError::Http(error)) if pages.is_first() && lacks(&error) => {
                    return Ok(None);
                }
                other => other?,
            };
            // A registry that has it says so by the type; others answer with a page for people.
            if pages.is_first() && raw.media_type.as_deref() != Some(OCI_INDEX) {
                return Ok(None);
            }
            found.extend(manifest::listed(&raw.bytes).map_err(|source| {
                let url = Redacted::of(&url);
                ImageError::Listed { url, source }
            })?);
            if limits::IMAGE_MANIFESTS_MAX < found.len() {
                return Err(ImageError::TooMany);
            }
            match pages.next(&url, &headers)? {
                Some(next) => url = next,
                None => return Ok(Some(found)),
            }
        }
    }

    /// The tags of this repository (distribution-spec v1.1.1, end-8).
    async fn tags(&self, insist: bool) -> Result<Vec<String>, ImageError> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let mut url = self.part("tags/list");
        url.set_query(Some("n=1000"));
        let mut found = Vec::new();
        let mut pages = Pages::default();
        loop {
            let max = Some(limits::TAGS_LEN_BYTES_MAX);
            let (raw, headers) = self.ask(&url, None, insist, max).await?;
            let list: List = serde_json::from_slice(&raw.bytes).map_err(|source| {
                let url = Redacted::of(&url);
                ImageError::List { url, source }
            })?;
            found.extend(list.tags.unwrap_or_default());
            if limits::TAGS_MAX < found.len() {
                return Err(ImageError::TooManyTags);
            }
            match pages.next(&url, &headers)? {
                Some(next) => url = next,
                None => return Ok(found),
            }
        }
    }

    /// Fetches the manifest or index `blob`.
    ///
    /// # Errors
    ///
    /// [`ImageError::Http`]; [`ImageError::Digest`] and [`ImageError::Length`] when the registry
    /// gives something else.
    pub async fn manifest(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        self.small(Shelf::Manifests, blob).await
    }

    /// Fetches a blob that is as small as a manifest: a config, a signed payload.
    ///
    /// # Errors
    ///
    /// As [`Repository::manifest`].
    pub async fn small_blob(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
        self.small(Shelf::Blobs, blob).await
    }

    async fn small(&self, shelf: Shelf, blob: BlobRef) -> Result<Bytes, ImageError> {
        let (raw, _) = self.document(shelf, &blob.id.to_string(), true).await?;
        super::check(&raw.bytes, blob)?;
        Ok(raw.bytes)
    }

    async fn document(
        &self,
        shelf: Shelf,
        reference: &str,
        insist: bool,
    ) -> Result<(Raw, HeaderMap), ImageError> {
        let url = self.part(&format!("{}/{reference}", shelf.word()));
        let max = Some(limits::OCI_MANIFEST_LEN_BYTES_MAX);
        self.ask(&url, shelf.accept(), insist, max).await
    }

    /// Fetches a document of at most `len_bytes_max` bytes; of none, only its headers.
    async fn ask(
        &self,
        url: &Url,
        accept: Option<&str>,
        insist: bool,
        len_bytes_max: Option<u64>,
    ) -> Result<(Raw, HeaderMap), ImageError> {
        let mut authorization = self.tokens.held(&self.url).await;
        let mut refreshed = false;
        loop {
            let authorized = authorization.as_ref();
            let ask =
                Ask { url, space: Space::Registry, accept, authorization: authorized, insist };
            let answered = match len_bytes_max {
                Some(max) => self.http.get_with(&ask, max).await.map(|(document, headers)| {
                    let Document { bytes, content_type, .. } = document;
                    (Raw { bytes, media_type: content_type }, headers)
                }),
                None => self.http.head(&ask).await.map(|headers| (Raw::default(), headers)),
            };
            match answered {
                Err(HttpError::Denied { status: 401, challenge: Some(challenge), .. })
                    if !refreshed =>
                {
                    authorization = Some(self.authorize(&challenge, authorization).await?);
                    refreshed = true;
                }
                other => return Ok(other?),
            }
        }
    }

    /// Fetches a blob into `partial`, going on with what is there. A token that ends on the way
    /// is renewed.
    ///
    /// # Errors
    ///
    /// As [`Http::download`], and [`ImageError::Auth`].
    pub async fn download(
        &self,
        shelf: Shelf,
        expected: BlobRef,
        partial: &Utf8Path,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), ImageError> {
        let url = self.part(&format!("{}/{}", shelf.word(), expected.id));
        let mut authorization = self.tokens.held(&self.url).await;
        let held = AtomicU64::new(0);
        let on_bytes = |bytes| {
            held.store(bytes, Ordering::Relaxed);
            on_bytes(bytes);
        };
        let mut refreshed_at = None;
        loop {
            let download = Download {
                url: &url,
                space: Space::Registry,
                accept: shelf.accept(),
                authorization: authorization.as_ref(),
                partial,
                expected,
                on_bytes: &on_bytes,
            };
            let denied = match self.http.download(&download).await {
                Err(denied @ HttpError::Denied { status: 401, .. }) => denied,
                other => return other.map_err(ImageError::from),
            };
            let now = Some(held.load(Ordering::Relaxed));
            match &denied {
                HttpError::Denied { challenge: Some(challenge), .. } if refreshed_at < now => {
                    authorization = Some(self.authorize(challenge, authorization).await?);
                    refreshed_at = now;
                }
                _ => return Err(denied.into()),
            }
        }
    }

    async fn authorize(
        &self,
        challenge: &str,
        stale: Option<HeaderValue>,
    ) -> Result<HeaderValue, ImageError> {
        Ok(self.tokens.answer(self.http, &self.url, challenge, stale.as_ref()).await?)
    }

    fn is_mirrored(&self) -> bool {
        self.http.is_mirrored(&self.url, Space::Registry)
    }

    /// `<repository>/<rest>` at the host that answers for it.
    fn part(&self, rest: &str) -> Url {
        let mut url = self.url.clone();
        if let (false, Some(host)) = (self.is_mirrored(), self.url.host_str()) {
            let answers = resolved(host);
            if answers != host {
                // A name of the library's own replaces one it knows, so it is a host.
                let _ = url.set_host(Some(&answers));
            }
        }
        url.set_path(&format!("{}/{rest}", self.url.path()));
        url
    }
}

/// Takes what does not exist for none.
///
/// # Errors
///
/// Every other failure.
pub fn absent<T>(given: Result<T, ImageError>) -> Result<Option<T>, ImageError> {
    match given {
        Err(ImageError::Http(HttpError::NotFound { .. })) => Ok(None),
        other => other.map(Some),
    }
}

/// Checks a document against the digest asked for and the one that the registry says.
fn check_digests(
    raw: &Raw,
    headers: &HeaderMap,
    asked: Option<Digest>,
    what: impl Fn() -> String,
) -> Result<(), ImageError> {
    let actual = Digest::of(&raw.bytes);
    let said = headers.get("docker-content-digest").and_then(|said| said.to_str().ok());
    let said = said.and_then(|said| said.parse().ok());
    match [asked, said].into_iter().flatten().find(|expected| *expected != actual) {
        Some(expected) => Err(ImageError::Digest { what: what(), expected, actual }),
        None => Ok(()),
    }
}

/// Whether a registry answers as one that has no referrers API. The specification has 404 for
/// that; registries give what they give for a path that they do not know.
const fn lacks(error: &HttpError) -> bool {
    matches!(
        error,
        HttpError::NotFound { .. }
            | HttpError::Redirect { .. }
            | HttpError::Denied { status: 403, .. }
            | HttpError::Status { status: 300..=399 | 400 | 405 | 406 | 415, .. }
            | HttpError::Busy { status: 501, .. }
    )
}
