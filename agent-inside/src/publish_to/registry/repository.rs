//! One repository of a registry: what it has, and what it is given.

use gapferry_proto::Digest;
use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderName},
};
use url::Url;

use super::{Registry, upload};
use crate::publish_to::http::{
    ANSWER_LEN_BYTES_MAX, Ask, Client, Load, PushError, shown, unexpected,
};
use crate::publish_to::tally::Outcome;
use crate::publish_to::tree::Content;

pub const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A repository, by its name in this registry.
#[derive(Clone, Copy)]
pub struct Repository<'a> {
    pub registry: &'a Registry,
    pub name: &'a str,
}

impl Repository<'_> {
    /// `<base>/v2/<name>/<rest>`
    pub fn url(&self, rest: &str) -> Url {
        let mut url = self.registry.place.base.clone();
        url.set_path(&format!("/v2/{}/{rest}", self.name));
        url
    }

    pub async fn send(&self, ask: &Ask<'_>) -> Result<Response, PushError> {
        self.registry.send(ask, &self.scope(None)).await
    }

    /// What a token must allow: to push here and, for a mount, to pull from `from`.
    pub fn scope(&self, from: Option<&str>) -> String {
        let from = from.map(|from| format!(" repository:{from}:pull")).unwrap_or_default();
        format!("repository:{}:pull,push{from}", self.name)
    }

    /// Brings a blob, unless it is there: by a mount from `holder`, a repository of the same
    /// registry that has it, or by its bytes.
    ///
    /// # Errors
    ///
    /// [`PushError`] after all tries.
    pub async fn push_blob(
        &self,
        content: &Content,
        holder: Option<&str>,
    ) -> Result<Outcome, PushError> {
        if self.has_blob(&content.digest).await? {
            return Ok(Outcome::Present);
        }
        let store = &self.registry.client.store;
        content.check(store).map_err(|source| PushError::Read { source })?;
        if self.registry.dry_run {
            return Ok(Outcome::Pushed);
        }
        upload::upload(*self, content, holder).await?;
        Ok(Outcome::Pushed)
    }

    /// `HEAD /v2/<name>/blobs/<digest>` (end-2). A registry that leads elsewhere has it.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, PushError> {
        let ask = Ask::new(Method::HEAD, self.url(&format!("blobs/{digest}")));
        let response = self.send(&ask).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() || status.is_redirection() => Ok(true),
            _ => Err(unexpected(response).await),
        }
    }

    /// Brings a manifest under a digest or a tag (end-7), unless it is there.
    ///
    /// # Errors
    ///
    /// [`PushError`] after all tries, or when the registry took other bytes.
    pub async fn push_manifest(
        &self,
        reference: &str,
        content: &Content,
        media_type: &str,
    ) -> Result<Outcome, PushError> {
        let url = self.url(&format!("manifests/{reference}"));
        if self.has_manifest(&url, &content.digest, media_type).await? {
            return Ok(Outcome::Present);
        }
        if self.registry.dry_run {
            return Ok(Outcome::Pushed);
        }
        let ask = Ask::new(Method::PUT, url)
            .with(header::CONTENT_TYPE, media_type)
            .carrying(Load::Whole(content));
        let response = self.send(&ask).await?;
        if !response.status().is_success() {
            return Err(unexpected(response).await);
        }
        match digest_of(&response) {
            Some(said) if said != content.digest => {
                let url = shown(response.url());
                Err(PushError::Answer { url, what: "it keeps the manifest under another digest" })
            }
            _ => Ok(Outcome::Pushed),
        }
    }

    /// `HEAD /v2/<name>/manifests/<reference>` (end-3). Some registries say no digest there; then
    /// the bytes are fetched.
    async fn has_manifest(
        &self,
        url: &Url,
        digest: &Digest,
        media_type: &str,
    ) -> Result<bool, PushError> {
        let ask = |method| Ask::new(method, url.clone()).with(header::ACCEPT, media_type);
        let response = self.send(&ask(Method::HEAD)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(false),
            StatusCode::OK => {}
            // An image of another media type stands under that tag.
            StatusCode::NOT_ACCEPTABLE => return Ok(false),
            _ => return Err(unexpected(response).await),
        }
        if let Some(said) = digest_of(&response) {
            return Ok(said == *digest);
        }
        let bytes = Client::read(self.send(&ask(Method::GET)).await?, ANSWER_LEN_BYTES_MAX).await?;
        Ok(Digest::of(&bytes) == *digest)
    }
}

fn digest_of(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST)?.to_str().ok()?.parse().ok()
}
