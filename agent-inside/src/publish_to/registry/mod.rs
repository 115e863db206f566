//! Publishes images into any OCI registry (distribution-spec v1.1.1, "Push").
//!
//! In:   a [`Shipment`], the store.
//! Out:  blobs, manifests and tags in the registry, bit for bit; what is there by digest is
//!       passed over. An image gets its tag last, and only when all of it is there.
//! Never: a tag that leads to something that is not whole; a deletion.

mod auth;
mod referrers;
mod repository;
mod upload;

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures_util::{StreamExt as _, stream};
use gapferry_common::store::Store;
use gapferry_proto::{BlobId, limits};
use reqwest::{Method, StatusCode};

use auth::Gate;
pub use auth::basic;
use repository::Repository;

use super::How;
use super::dest::RegistryPlace;
use super::http::{Ask, Client, PushError, unexpected};
use super::images::{Head, Image, Layer, Shipment, children_first};
use super::tally::Tally;
use super::tree::{Content, Place};

/// A registry that takes images.
pub struct Registry {
    client: Client,
    gate: Gate,
    place: RegistryPlace,
    dry_run: bool,
    /// Blobs that could not be pushed, by repository: images that need them get no tag.
    lacking: Mutex<BTreeSet<(String, BlobId)>>,
}

impl Registry {
    /// Reaches a registry, and shows it the login it asks for.
    ///
    /// # Errors
    ///
    /// [`PushError`]: nobody answers, or the login is refused.
    pub async fn reach(store: Store, place: &RegistryPlace, how: &How) -> Result<Self, PushError> {
        let registry = Self {
            client: Client::new(store)?,
            gate: Gate::new(place.base.clone()),
            place: place.clone(),
            dry_run: how.dry_run,
            lacking: Mutex::default(),
        };
        registry.greet().await?;
        Ok(registry)
    }

    /// `GET /v2/` (end-1).
    async fn greet(&self) -> Result<(), PushError> {
        let url = self.place.base.join("/v2/").expect("a fixed path fits every base");
        let response = self.send(&Ask::new(Method::GET, url), "").await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            _ => Err(unexpected(response).await),
        }
    }

    /// Pushes everything; each failure is noted and ends nothing else.
    pub async fn push(&self, shipment: &Shipment, jobs: usize, tally: &Tally) {
        tally.expect(shipment.blobs.iter().map(|layer| layer.blob.len_bytes).sum());
        let layers = shipment.blobs.iter().map(|layer| self.push_layer(layer, tally));
        stream::iter(layers).buffer_unordered(jobs).collect::<Vec<()>>().await;
        let images = shipment.images.iter().map(|image| self.push_image(image, tally));
        stream::iter(images).buffer_unordered(jobs).collect::<Vec<()>>().await;
        let carried = referrers::by_repository(&shipment.images, &self.client.store);
        for (repository, subjects) in carried {
            for (subject, descriptors) in subjects {
                let what = format!("{repository}: referrers of {subject}");
                let repository = Repository { registry: self, name: &repository };
                let listed = self.guard(tally, repository.list(subject, &descriptors)).await;
                // A registry that lists them by itself was given nothing, and had nothing.
                match listed {
                    Ok(None) => {}
                    Ok(Some((outcome, len_bytes))) => {
                        tally.note(&what, len_bytes, Ok(outcome));
                    }
                    Err(error) => {
                        tally.note(&what, 0, Err(error));
                    }
                }
            }
        }
    }

    /// Brings one blob to all repositories that need it: once by its bytes, then by name.
    async fn push_layer(&self, layer: &Layer, tally: &Tally) {
        let (digest, len_bytes) = (layer.blob.id.digest(), layer.blob.len_bytes);
        let content = Content { place: Place::Store, digest, len_bytes };
        let mut holder: Option<&str> = None;
        for name in &layer.repositories {
            let repository = Repository { registry: self, name };
            let ended = self.guard(tally, repository.push_blob(&content, holder)).await;
            let what = format!("{name}@{digest} of {}", layer.image);
            if tally.note(&what, len_bytes, ended) {
                holder = Some(name);
            } else {
                let mut lacking =
                    self.lacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                lacking.insert((name.clone(), layer.blob.id));
            }
        }
    }

    /// Brings the manifests of an image, children first, and then its tag.
    async fn push_image(&self, image: &Image, tally: &Tally) {
        let lacking = {
            let lacking = self.lacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let lacks = |id: &&BlobId| lacking.contains(&(image.repository.clone(), **id));
            image.blobs.iter().filter(lacks).count()
        };
        if lacking != 0 {
            let message = format!("not tagged: {lacking} of its blobs could not be pushed");
            tally.note(&image.name, 0, Err(PushError::Parts(message)));
            return;
        }
        let ended = self.guard(tally, self.push_manifests(image, tally)).await;
        if let Err(error) = ended {
            tally.note(&image.name, 0, Err(error));
        }
    }

    async fn push_manifests(&self, image: &Image, tally: &Tally) -> Result<(), PushError> {
        let repository = Repository { registry: self, name: &image.repository };
        let mut before = Vec::new();
        for manifest in &image.manifests {
            let bytes = read_manifest(&self.client.store, manifest.id)?;
            before.push((manifest.id, Head::read(&bytes).before()));
        }
        for id in children_first(&before) {
            let known = image.manifests.iter().find(|manifest| manifest.id == id);
            let Some(manifest) = known else { continue };
            let bytes = read_manifest(&self.client.store, id)?;
            let len_bytes = bytes.len() as u64;
            let what = format!("{}@{id}", image.repository);
            let reference = id.to_string();
            let content = Content::of(bytes);
            let outcome =
                repository.push_manifest(&reference, &content, &manifest.media_type).await?;
            tally.note(&what, len_bytes, Ok(outcome));
        }
        let root = image.manifests.iter().find(|manifest| manifest.id == image.root);
        let (Some(tag), Some(root)) = (&image.tag, root) else { return Ok(()) };
        if referrers::is_list(tag) {
            return Ok(()); // merged with what the registry has, below
        }
        let content = Content::of(read_manifest(&self.client.store, root.id)?);
        let outcome = repository.push_manifest(tag, &content, &root.media_type).await?;
        tally.note(&format!("{}:{tag}", image.repository), 0, Ok(outcome));
        Ok(())
    }

    /// Runs one step unless the registry is gone, and finds out whether it is when the step could
    /// not reach it.
    async fn guard<T>(
        &self,
        tally: &Tally,
        step: impl Future<Output = Result<T, PushError>>,
    ) -> Result<T, PushError> {
        if tally.is_gone() {
            return Err(PushError::Gone);
        }
        let ended = step.await;
        if ended.as_ref().is_err_and(PushError::is_transport) && self.is_gone().await {
            tally.lose();
        }
        ended
    }

    async fn is_gone(&self) -> bool {
        let url = self.place.base.join("/v2/").expect("a fixed path fits every base");
        let asked = self.client.ask_once(&Ask::new(Method::GET, url), None).await;
        asked.is_err_and(|failed| failed.error.is_transport())
    }

    /// Makes a request with the login that `scope` takes, asking for it when needed. A token that
    /// ends on the way is renewed once.
    async fn send(&self, ask: &Ask<'_>, scope: &str) -> Result<reqwest::Response, PushError> {
        let mut header = self.gate.held(scope).await;
        let mut renewed = false;
        loop {
            let response = self.client.ask(ask, header.as_ref()).await?;
            match response.status() {
                StatusCode::UNAUTHORIZED if !renewed => {
                    let stale = header.as_ref();
                    let newer = self.gate.answer(&self.client, response, scope, stale).await?;
                    header = Some(newer);
                    renewed = true;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(auth::refused(&response));
                }
                _ => return Ok(response),
            }
        }
    }
}

/// The bytes of a manifest in the store, checked.
fn read_manifest(store: &Store, id: BlobId) -> Result<Vec<u8>, PushError> {
    let bytes = store
        .read(id, limits::OCI_MANIFEST_LEN_BYTES_MAX)
        .map_err(|error| PushError::Read { source: std::io::Error::other(error) })?;
    if BlobId::of(&bytes) != id {
        let path = store.path(id);
        let message = format!("{path} is damaged; `gapferry-inside scrub` names all that are");
        return Err(PushError::Read { source: std::io::Error::other(message) });
    }
    Ok(bytes)
}
