//! `/yum/<target>/…`: one repository for each target.
//!
//! The head shows the current generation. What it lists is named by its hash, and that of every
//! kept one is there too, and so are the packages: a client in the middle of an update never sees a
//! half-changed repository.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::Response;
use bytes::Bytes;
use camino::Utf8Path;
use gapferry_proto::artifact::BlobRef;
use gapferry_proto::{Facts, Kind, SafePath, Snapshot, Target};

use super::body::{Address, Loaded, Sealed, send, send_loaded};
use super::error::ServeError;
use super::files::content_type;
use super::site::{Document, Site, SiteError};
use super::{App, Ask};
use crate::publish;

/// What the name of a head's signature ends with.
const SIGNATURE: &str = ".asc";

/// The repositories of one generation, by `<target>/<path>`.
#[derive(Debug, Default)]
pub(super) struct Repositories {
    /// Packages, and the keys that may sign them.
    packages: HashMap<String, BlobRef>,
    documents: HashMap<String, Document>,
}

impl Repositories {
    /// Learns from the heads which documents there are. `trees` is the folder of the generation.
    pub(super) fn new(snapshot: &Snapshot, trees: &Utf8Path) -> Result<Self, SiteError> {
        let mut repositories = Self::default();
        for artifact in snapshot.artifacts() {
            if publish::yum::target(artifact).is_some() {
                for (address, _) in publish::addresses_of(artifact) {
                    let place = address.trim_start_matches("yum/").to_owned();
                    repositories.packages.entry(place).or_insert(artifact.blobs[0]);
                }
            }
        }
        for target in targets(snapshot) {
            let root = trees.join("yum").join(target.to_string());
            let path = root.join("repodata").join(publish::yum::UNDATED);
            let Some(head) = read(&path)? else { continue };
            let listed = std::str::from_utf8(&head).ok().and_then(publish::yum::listed);
            for entry in listed.ok_or(SiteError::Document(path))? {
                let document = Document {
                    path: root.join(entry.path.as_str()),
                    digest: entry.digest,
                    len_bytes: entry.len_bytes,
                };
                repositories.documents.insert(format!("{target}/{}", entry.path), document);
            }
        }
        Ok(repositories)
    }
}

/// The signed heads of an activation, by `<target>/repodata/<name>`.
pub(super) fn heads(
    folder: &Utf8Path,
    snapshot: &Snapshot,
) -> Result<HashMap<String, Loaded>, SiteError> {
    let mut heads = HashMap::new();
    for target in targets(snapshot) {
        for name in publish::yum::HEADS {
            let path = folder.join(publish::yum::folder(target)).join(name);
            if let Some(bytes) = read(&path)? {
                heads.insert(format!("{target}/repodata/{name}"), Loaded::of(bytes));
            }
        }
    }
    Ok(heads)
}

fn targets(snapshot: &Snapshot) -> BTreeSet<&Target> {
    snapshot.artifacts().filter_map(publish::yum::target).collect()
}

/// The targets of a snapshot, each with the fingerprints of the keys that may sign its packages.
pub(super) fn keys_by_target(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<String>> {
    let mut targets = BTreeMap::<String, BTreeSet<String>>::new();
    for artifact in snapshot.artifacts() {
        let Some(target) = publish::yum::target(artifact) else { continue };
        let keys = targets.entry(target.to_string()).or_default();
        if let Facts::YumDocument(facts) = &artifact.facts {
            keys.extend(facts.key().map(str::to_owned));
        }
    }
    targets
}

/// None when it is not there: an agent that served no rpm packages wrote the generation.
fn read(path: &Utf8Path) -> Result<Option<Bytes>, SiteError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SiteError::Read { path: path.to_owned(), source }),
    }
}

impl Site {
    /// The package or key at `<target>/<path>`.
    fn rpm(&self, path: &str) -> Option<BlobRef> {
        self.views().iter().find_map(|view| view.yum.packages.get(path).copied())
    }

    /// The document at `<target>/repodata/<hash>-<name>`.
    fn repodata(&self, path: &str) -> Option<&Document> {
        self.views().iter().find_map(|view| view.yum.documents.get(path))
    }
}

/// `GET /yum/<target>/<path>`
pub async fn get_yum(
    State(app): State<Arc<App>>,
    Path((target, path)): Path<(String, String)>,
    ask: Ask,
) -> Result<Response, ServeError> {
    let target = target.parse::<Target>().map_err(|_| ServeError::BadPath)?;
    // Clients join the root of a repository and a path with one slash more than needed.
    let path = path.trim_start_matches('/').parse::<SafePath>().map_err(|_| ServeError::BadPath)?;
    let place = format!("{target}/{path}");
    if let Some(head) = head(&app, &ask, &place) {
        return Ok(send_loaded(&ask.headers, head, head_type(&place)));
    }
    if let Some(document) = ask.site.repodata(&place) {
        let sealed = Sealed::of_document(document, Address::Digest, content_type(&place));
        return send(&ask.method, &ask.headers, sealed).await;
    }
    let Some(blob) = ask.site.rpm(&place) else {
        if let Some(name) = package(&place) {
            app.want(&ask, Kind::Rpm, &name);
        }
        return Err(ServeError::NotFound(format!("/yum/{place}")));
    };
    let sealed = Sealed::of_blob(&app.blobs, blob, Address::Name, content_type(&place));
    send(&ask.method, &ask.headers, sealed).await
}

/// The head at `place`, or the signature there: that of the head which this client read last,
/// though a switch came between the two.
fn head(app: &App, ask: &Ask, place: &str) -> Option<Loaded> {
    let Some(client) = ask.client else { return ask.site.yum_heads.get(place).cloned() };
    let now = Instant::now();
    if let Some(signed) = place.strip_suffix(SIGNATURE) {
        let site = app.recent.site_of_head(client, signed, now);
        return site.as_ref().unwrap_or(&ask.site).yum_heads.get(place).cloned();
    }
    let head = ask.site.yum_heads.get(place)?.clone();
    if place.ends_with(".xml") {
        app.recent.read_head(client, place, ask.site.activation, now);
    }
    Some(head)
}

fn head_type(place: &str) -> HeaderValue {
    HeaderValue::from_static(if place.ends_with(".xml") { "application/xml" } else { "text/plain" })
}

/// `<target>/<name>-<version>-<release>.<arch>` of the path of a package; none for what is none.
fn package(place: &str) -> Option<String> {
    let (target, path) = place.split_once('/')?;
    let file = path.rsplit('/').next()?.strip_suffix(".rpm")?;
    (!file.is_empty()).then(|| format!("{target}/{file}"))
}
