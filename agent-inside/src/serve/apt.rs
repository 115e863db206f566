//! `/apt/<target>/…`: one repository for each target.
//!
//! The heads and plain names show the current generation. By hash, the indexes of every kept one are
//! there too, and so are the packages: a client in the middle of an update never sees a
//! half-changed repository (Debian wiki, "`DebianRepository/Format`", Acquire-By-Hash).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::Response;
use gapferry_proto::{Digest, SafePath, Target};

use super::body::{Address, Sealed, send, send_loaded};
use super::error::ServeError;
use super::files::content_type;
use super::site::{Document, Site};
use super::{App, Ask};

/// `GET /apt/<target>/<path>`
pub async fn get_apt(
    State(app): State<Arc<App>>,
    Path((target, path)): Path<(String, String)>,
    ask: Ask,
) -> Result<Response, ServeError> {
    let target = target.parse::<Target>().map_err(|_| ServeError::BadPath)?;
    // A flat repository's paragraphs begin their file names so, and apt asks as it is told.
    let path = path.trim_start_matches("./");
    let path = path.parse::<SafePath>().map_err(|_| ServeError::BadPath)?;
    let path = format!("{target}/{path}");
    let changes = |site: &Site| site.head(&path).is_some() || site.index(&path).is_some();
    let site = app.in_turn(&ask, &path, changes);
    // A client with several connections may know of what only the current generation has.
    if let Some(head) = site.head(&path).or_else(|| ask.site.head(&path)) {
        return Ok(send_loaded(&ask.headers, head, HeaderValue::from_static("text/plain")));
    }
    if let Some(index) = index(&site, &path).or_else(|| index(&ask.site, &path)) {
        let address = if by_hash(&path).is_some() { Address::Digest } else { Address::Name };
        let sealed = Sealed::of_document(index, address, content_type(index.path.as_str()));
        return send(&ask.method, &ask.headers, sealed).await;
    }
    let blob = site.deb(&path).or_else(|| ask.site.deb(&path));
    let blob = blob.ok_or(ServeError::NotFound(format!("/apt/{path}")))?;
    let sealed = Sealed::of_blob(&app.blobs, blob, Address::Name, content_type(&path));
    send(&ask.method, &ask.headers, sealed).await
}

fn index<'s>(site: &'s Site, path: &str) -> Option<&'s Document> {
    match by_hash(path) {
        Some((folder, hex)) => {
            let digest: Digest = format!("sha256:{hex}").parse().ok()?;
            site.index_by_hash(folder, &digest)
        }
        None => site.index(path),
    }
}

/// Folder and hash of an index that is asked for by its hash.
fn by_hash(path: &str) -> Option<(&str, &str)> {
    path.split_once("/by-hash/SHA256/")
}
