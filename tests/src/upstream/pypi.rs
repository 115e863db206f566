//! `/simple/`, as PEP 503 (HTML), 691 (JSON) and 714 (metadata beside the file) say.

use axum::http::{HeaderMap, header};
use serde_json::json;

use super::{Body, Resource, Shelf};
use crate::fixtures::{PypiFile, sha256};

const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// How the index shows itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switches {
    /// JSON to clients that ask for it.
    pub json: bool,
    /// METADATA beside each file.
    pub metadata: bool,
    /// A digest for each file.
    pub hashes: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { json: true, metadata: true, hashes: true }
    }
}

/// Where a file stands.
pub(super) fn path(file: &PypiFile) -> String {
    format!("/packages/{}", file.filename)
}

/// The page of a project; projects without a file have none.
pub(super) fn page(shelf: &Shelf, path: &str, headers: &HeaderMap) -> Option<Resource> {
    let project = path.strip_prefix("/simple/")?.trim_end_matches('/');
    let files: Vec<&PypiFile> =
        shelf.pypi.iter().filter(|file| normalized(&file.project) == project).collect();
    if files.is_empty() {
        return None;
    }
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (media_type, text) = if shelf.switches.json && accept.contains(JSON) {
        (JSON, json_page(project, &files, shelf.switches))
    } else {
        ("text/html; charset=utf-8", html_page(&files, shelf.switches))
    };
    Some(Resource { body: Body::Bytes(text.into()), media_type, digest: None })
}

fn json_page(project: &str, files: &[&PypiFile], switches: Switches) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            let mut row = json!({
                "filename": file.filename,
                "url": format!("../..{}", path(file)),
                "hashes": if switches.hashes { json!({"sha256": file.sha256()}) } else { json!({}) },
                "requires-python": file.requires_python,
                "yanked": false,
            });
            if switches.metadata {
                row["core-metadata"] = json!({"sha256": sha256(&file.metadata)});
            }
            row
        })
        .collect();
    json!({"meta": {"api-version": "1.0"}, "name": project, "files": files}).to_string()
}

fn html_page(files: &[&PypiFile], switches: Switches) -> String {
    let mut page = "<!DOCTYPE html>\n<html><body>\n".to_owned();
    for file in files {
        let hash =
            if switches.hashes { format!("#sha256={}", file.sha256()) } else { String::new() };
        let mut attributes = String::new();
        if let Some(python) = &file.requires_python {
            let escaped = python.replace('<', "&lt;").replace('>', "&gt;");
            attributes += &format!(" data-requires-python=\"{escaped}\"");
        }
        if switches.metadata {
            attributes += &format!(" data-core-metadata=\"sha256={}\"", sha256(&file.metadata));
        }
        let (path, name) = (path(file), &file.filename);
        page += &format!("<a href=\"../..{path}{hash}\"{attributes}>{name}</a><br>\n");
    }
    page + "</body></html>\n"
}

/// PEP 503: lower case, runs of `-`, `_` and `.` as one `-`.
fn normalized(project: &str) -> String {
    let parts = project.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}
