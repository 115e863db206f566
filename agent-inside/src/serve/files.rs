//! `/files/<original host[:port]>/<path>`: plain files, named as `wget -x` names them, and a
//! listing of each folder.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Redirect, Response};
use gapferry_proto::{Kind, SafePath};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::body::{Address, Sealed, send};
use super::error::{ServeError, page};
use super::{App, Ask};

/// What stands in a link as it is: RFC 3986, "unreserved", and the slash after a folder.
pub const LINK: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

#[derive(Template)]
#[template(path = "listing.html")]
struct Listing<'a> {
    folder: &'a str,
    entries: Vec<ListingEntry>,
}

struct ListingEntry {
    link: String,
    name: String,
    len_bytes: Option<u64>,
}

/// `GET /files/`
pub async fn get_root(ask: Ask) -> Response {
    listing(&ask, "")
}

/// `GET /files/<host>/<path>`: the file, or what lies in the folder of that name.
pub async fn get_file(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    ask: Ask,
) -> Result<Response, ServeError> {
    let (path, is_folder) = match path.strip_suffix('/') {
        Some(folder) => (folder, true),
        None => (path.as_str(), false),
    };
    let path = path.parse::<SafePath>().map_err(|_| ServeError::BadPath)?;
    if !is_folder && let Some(response) = file(&app, &ask, path.as_str()).await {
        return response;
    }
    let is_held = !ask.site.folder(path.as_str()).is_empty();
    match (is_held, is_folder) {
        (true, true) => Ok(listing(&ask, path.as_str())),
        (true, false) => {
            let folder = utf8_percent_encode(path.as_str(), LINK);
            Ok(Redirect::permanent(&format!("/files/{folder}/")).into_response())
        }
        (false, _) => {
            app.want(&ask, Kind::File, path.as_str());
            Err(ServeError::NotFound(format!("file {path}")))
        }
    }
}

/// The file at `path`. What was `%3F` upstream is a question mark in a file's name, and a client
/// may ask for it with one: so a name with the query comes first.
async fn file(app: &App, ask: &Ask, path: &str) -> Option<Result<Response, ServeError>> {
    let with_query = ask.query.as_ref().map(|query| format!("{path}?{query}"));
    let blob = with_query.and_then(|path| ask.site.file(&path)).or_else(|| ask.site.file(path))?;
    let sealed = Sealed::of_blob(&app.blobs, blob, Address::Name, content_type(path));
    Some(send(&ask.method, &ask.headers, sealed).await)
}

fn listing(ask: &Ask, folder: &str) -> Response {
    let entries = ask.site.folder(folder).into_iter().map(|(name, len_bytes)| ListingEntry {
        link: utf8_percent_encode(&name, LINK).to_string(),
        name,
        len_bytes,
    });
    page(&Listing { folder, entries: entries.collect() })
}

/// The type of a file by its name. Nothing carried is ever shown as a page of this server, so
/// HTML and SVG are plain text; and a `.gz` is a file, never an encoding.
pub fn content_type(path: &str) -> HeaderValue {
    let suffix = path.rsplit(['.', '/']).next().unwrap_or_default();
    HeaderValue::from_static(match suffix {
        "gz" | "tgz" => "application/gzip",
        "xz" | "txz" => "application/x-xz",
        "zst" => "application/zstd",
        "bz2" => "application/x-bzip2",
        "zip" | "whl" => "application/zip",
        "tar" => "application/x-tar",
        "deb" => "application/vnd.debian.binary-package",
        "rpm" => "application/x-rpm",
        "json" => "application/json",
        "yaml" | "yml" => "application/yaml",
        "txt" | "md" | "html" | "htm" | "svg" | "sh" | "asc" | "sha256" | "sha256sum" => {
            "text/plain; charset=utf-8"
        }
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_type_of_its_name_and_none_is_a_page() {
        for (path, expected) in [
            ("h/a.tar.gz", "application/gzip"),
            ("h/a.html", "text/plain; charset=utf-8"),
            ("h.gz/kubeadm", "application/octet-stream"),
            ("h/a.whl", "application/zip"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }
}
