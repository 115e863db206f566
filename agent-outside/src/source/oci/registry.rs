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
use url::Url;

use super::{
    ImageError,
    auth::{Tokens, is_loopback},
    manifest::ACCEPT,
    reference::{Image, resolved},
};
use crate::source::http::{Ask, Document, Download, Http, HttpError, Space};

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
#[derive(Clone, Debug)]
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
        let at = |scheme| {
            let url = image.repository_url(scheme).expect("the reference was checked for it");
            Self::at(http, tokens, url)
        };
        let [tls, plain] = [at("https"), at("http")];
        if !tls.is_mirrored() && plain.is_mirrored() {
            return Ok((plain.clone(), plain.root(image, true).await?));
        }
        let may_be_plain = insecure || image.digest.is_some() || is_loopback(&tls.url);
        if tls.is_mirrored() || !may_be_plain {
            return Ok((tls.clone(), tls.root(image, true).await?));
        }
        match tls.root(image, false).await {
            Err(error) if error.is_connect() => {}
            other => return Ok((tls, other?)),
        }
        match plain.root(image, false).await {
            Err(error) if error.is_connect() => Ok((tls.clone(), tls.root(image, true).await?)),
            other => Ok((plain, other?)),
        }
    }

    /// Fetches what `image` names and checks it against every digest that is known.
    async fn root(&self, image: &Image, insist: bool) -> Result<Raw, ImageError> {
        let asked = image.asked();
        let (raw, headers) = self.document(Shelf::Manifests, &asked, insist).await?;
        let actual = Digest::of(&raw.bytes);
        let said = headers.get("docker-content-digest").and_then(|said| said.to_str().ok());
        let said = said.and_then(|said| said.parse().ok());
        match [image.digest, said].into_iter().flatten().find(|expected| *expected != actual) {
            Some(expected) => Err(ImageError::Digest { what: image.name(), expected, actual }),
            None => Ok(raw),
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

    /// Fetches a blob that is as small as a manifest: a config.
    ///
    /// # Errors
    ///
    /// As [`Repository::manifest`].
    pub async fn config(&self, blob: BlobRef) -> Result<Bytes, ImageError> {
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
        let url = self.part(shelf, reference);
        let mut authorization = self.tokens.held(&self.url).await;
        let mut refreshed = false;
        loop {
            let ask = Ask {
                url: &url,
                space: Space::Registry,
                accept: shelf.accept(),
                authorization: authorization.as_ref(),
                insist,
            };
            match self.http.get_with(&ask, limits::OCI_MANIFEST_LEN_BYTES_MAX).await {
                Ok((Document { bytes, content_type, .. }, headers)) => {
                    return Ok((Raw { bytes, media_type: content_type }, headers));
                }
                Err(HttpError::Denied { status: 401, challenge: Some(challenge), .. })
                    if !refreshed =>
                {
                    authorization = Some(self.authorize(&challenge, authorization).await?);
                    refreshed = true;
                }
                Err(error) => return Err(error.into()),
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
        let url = self.part(shelf, &expected.id.to_string());
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

    /// `<repository>/<shelf>/<reference>` at the host that answers for it.
    fn part(&self, shelf: Shelf, reference: &str) -> Url {
        let mut url = self.url.clone();
        if let (false, Some(host)) = (self.is_mirrored(), self.url.host_str()) {
            let answers = resolved(host);
            if answers != host {
                // A name of the library's own replaces one it knows, so it is a host.
                let _ = url.set_host(Some(&answers));
            }
        }
        url.set_path(&format!("{}/{}/{reference}", self.url.path(), shelf.word()));
        url
    }
}
