//! Python distributions: the simple index, as HTML and as JSON.
//!
//! In:   the wheels and source distributions of a snapshot, and the bytes of the wheels.
//! Out:  `pypi/index.{html,json}` and `pypi/project/<project>.{html,json}`.
//! Pure: the same distributions give the same bytes.
//!
//! Simple repository API, versions 1.0 (PEP 503, 691) and 1.1 (PEP 700: sizes and versions), with
//! the metadata of wheels (PEP 658; named as PEP 714 says, which knows of clients that stumble
//! over the old name in JSON). The links are relative, so that the index works under whatever
//! name the site gives its server.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use askama::Template;
use gapferry_proto::artifact::PypiFacts;
use gapferry_proto::{Artifact, BlobId, Digest, Facts, SafePath, Snapshot};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{Held, PublishError, wheel};

/// What stands in a link as it is: RFC 3986, "unreserved".
const LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The version of the simple repository API that we answer with.
const API_VERSION: &str = "1.1";

/// One file of a project.
struct Distribution<'a> {
    facts: &'a PypiFacts,
    link: String,
    blob: BlobId,
    len_bytes: u64,
    /// Of the metadata that is served beside a wheel.
    metadata: Option<Digest>,
}

#[derive(Template)]
#[template(path = "pypi_index.html")]
struct IndexPage<'a> {
    projects: &'a [&'a str],
}

#[derive(Template)]
#[template(path = "pypi_project.html")]
struct ProjectPage<'a> {
    project: &'a str,
    files: &'a [Distribution<'a>],
}

/// The path below the server's root at which a distribution is served.
pub fn address(facts: &PypiFacts) -> String {
    format!("pypi/packages/{}", facts.filename)
}

/// The one spelling of a project's name: lower case, runs of `-_.` as one dash (PEP 503).
pub fn normalise(project: &str) -> String {
    let mut name = String::with_capacity(project.len());
    for c in project.chars() {
        match c {
            '-' | '_' | '.' if name.ends_with('-') => {}
            '-' | '_' | '.' => name.push('-'),
            c => name.push(c.to_ascii_lowercase()),
        }
    }
    name
}

/// Whether `project` is a normalised name: PEP 508's letters, digits and inner dashes.
pub fn is_normal(project: &str) -> bool {
    (1..=128).contains(&project.len())
        && project.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !project.starts_with('-')
        && !project.ends_with('-')
        && !project.contains("--")
}

/// Refuses a project or file name that cannot stand in the index.
///
/// # Errors
///
/// [`PublishError::Name`].
pub fn check(artifact: &Artifact, facts: &PypiFacts) -> Result<(), PublishError> {
    check_names(&artifact.name, facts)
}

/// Renders the index and the page of every project.
///
/// # Errors
///
/// [`PublishError::Name`], [`PublishError::Read`].
pub fn render(
    snapshot: &Snapshot,
    held: &dyn Held,
) -> Result<Vec<(SafePath, Vec<u8>)>, PublishError> {
    let mut projects: BTreeMap<&str, Vec<Distribution<'_>>> = BTreeMap::new();
    for artifact in snapshot.artifacts() {
        let Facts::Pypi(facts) = &artifact.facts else { continue };
        check(artifact, facts)?;
        let blob = artifact.blobs[0];
        let metadata = metadata(facts, blob.id, held)
            .map_err(|source| PublishError::Read { artifact: artifact.name.clone(), source })?;
        projects.entry(&facts.project).or_default().push(Distribution {
            link: utf8_percent_encode(facts.filename.as_str(), LINK).to_string(),
            facts,
            blob: blob.id,
            len_bytes: blob.len_bytes,
            metadata,
        });
    }
    let names: Vec<_> = projects.keys().copied().collect();
    let mut documents = vec![
        (path("pypi/index.html"), page(&IndexPage { projects: &names })),
        (path("pypi/index.json"), index_json(&names)),
    ];
    for (project, mut files) in projects {
        files.sort_by_key(|file| &file.facts.filename);
        let html = page(&ProjectPage { project, files: &files });
        documents.push((path(&format!("pypi/project/{project}.html")), html));
        let json = project_json(project, &files);
        documents.push((path(&format!("pypi/project/{project}.json")), json));
    }
    Ok(documents)
}

fn metadata(facts: &PypiFacts, blob: BlobId, held: &dyn Held) -> io::Result<Option<Digest>> {
    if !facts.filename.as_str().ends_with(".whl") {
        return Ok(None);
    }
    Ok(wheel::metadata(&held.open(blob)?).map(|bytes| Digest::of(&bytes)))
}

fn page(page: &impl Template) -> Vec<u8> {
    page.render().expect("the templates call nothing that can fail").into_bytes()
}

fn index_json(projects: &[&str]) -> Vec<u8> {
    let projects: Vec<_> = projects.iter().map(|name| json!({ "name": name })).collect();
    json!({ "meta": { "api-version": API_VERSION }, "projects": projects }).to_string().into_bytes()
}

fn project_json(project: &str, files: &[Distribution<'_>]) -> Vec<u8> {
    let versions: BTreeSet<_> = files.iter().map(|file| &file.facts.version).collect();
    let files: Vec<_> = files.iter().map(file_json).collect();
    json!({
        "meta": { "api-version": API_VERSION },
        "name": project,
        "versions": versions,
        "files": files,
    })
    .to_string()
    .into_bytes()
}

fn file_json(file: &Distribution<'_>) -> serde_json::Value {
    let mut value = json!({
        "filename": file.facts.filename,
        "url": format!("../../packages/{}", file.link),
        "hashes": { "sha256": file.blob.hex() },
        "size": file.len_bytes,
    });
    if let Some(requires) = &file.facts.requires_python {
        value["requires-python"] = json!(requires);
    }
    if let Some(digest) = file.metadata {
        value["core-metadata"] = json!({ "sha256": digest.hex() });
    }
    match file.facts.yanked.as_deref() {
        None => {}
        Some("") => value["yanked"] = json!(true),
        Some(reason) => value["yanked"] = json!(reason),
    }
    value
}

fn check_names(artifact: &str, facts: &PypiFacts) -> Result<(), PublishError> {
    let bad = |what, text: &str| PublishError::Name {
        artifact: artifact.to_owned(),
        what,
        text: text.to_owned(),
    };
    if !is_normal(&facts.project) {
        return Err(bad("project", &facts.project));
    }
    if facts.filename.as_str().contains('/') {
        return Err(bad("file name", facts.filename.as_str()));
    }
    Ok(())
}

fn path(text: &str) -> SafePath {
    text.parse().expect("project names were checked: letters, digits and dashes, 128 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::fixture::{HeldBytes, wheel};
    use crate::publish::wheel::tests::zip;

    const METADATA: &[u8] = b"Metadata-Version: 2.1\nName: netaddr\n";

    /// A wheel with metadata.
    fn new() -> Vec<u8> {
        zip(&[("netaddr-1!1.0+x.dist-info/METADATA", METADATA)])
    }

    fn held() -> HeldBytes {
        HeldBytes::of(&[&new(), b"no wheel"])
    }

    fn documents() -> BTreeMap<SafePath, Vec<u8>> {
        let mut yanked = wheel("netaddr", "0.9.0", "netaddr-0.9.0.tar.gz", b"old");
        let Facts::Pypi(facts) = &mut yanked.facts else { unreachable!() };
        facts.yanked = Some("leaks \"<keys>\"".to_owned());
        let local = wheel("netaddr", "1!1.0+x", "netaddr-1!1.0+x-py3-none-any.whl", &new());
        let odd = wheel("b", "1", "b-1-py3-none-any.whl", b"no wheel");
        let artifacts = [yanked, local, odd, wheel("a", "1", "a-1.tar.gz", b"a")];
        render(&Snapshot::of(artifacts).unwrap(), &held()).unwrap().into_iter().collect()
    }

    fn text(path: &str) -> String {
        String::from_utf8(documents()[&path.parse().unwrap()].clone()).unwrap()
    }

    #[test]
    fn a_project_page_names_every_file_with_hash_python_and_yanking() {
        let old = BlobId::of(b"old").hex();
        let new = BlobId::of(&new()).hex();
        let metadata = Digest::of(METADATA).hex();
        assert_eq!(
            text("pypi/project/netaddr.html"),
            format!(
                "<!DOCTYPE html>\n<html>\n<head>\n\
                 <meta charset=\"utf-8\">\n\
                 <meta name=\"pypi:repository-version\" content=\"1.1\">\n\
                 <title>netaddr</title>\n</head>\n<body>\n<h1>netaddr</h1>\n\
                 <a href=\"../../packages/netaddr-0.9.0.tar.gz#sha256={old}\" \
                 data-requires-python=\"&#62;=3.9,&#60;4\" \
                 data-yanked=\"leaks &#34;&#60;keys&#62;&#34;\">netaddr-0.9.0.tar.gz</a><br>\n\
                 <a href=\"../../packages/netaddr-1%211.0%2Bx-py3-none-any.whl#sha256={new}\" \
                 data-core-metadata=\"sha256={metadata}\" \
                 data-dist-info-metadata=\"sha256={metadata}\" \
                 data-requires-python=\"&#62;=3.9,&#60;4\">netaddr-1!1.0+x-py3-none-any.whl</a><br>\n\
                 </body>\n</html>"
            )
        );
    }

    #[test]
    fn the_json_of_a_project_has_sizes_and_versions() {
        let value: serde_json::Value =
            serde_json::from_str(&text("pypi/project/netaddr.json")).unwrap();
        assert_eq!(
            value,
            json!({
                "meta": {"api-version": "1.1"},
                "name": "netaddr",
                "versions": ["0.9.0", "1!1.0+x"],
                "files": [
                    {
                        "filename": "netaddr-0.9.0.tar.gz",
                        "url": "../../packages/netaddr-0.9.0.tar.gz",
                        "hashes": {"sha256": BlobId::of(b"old").hex()},
                        "size": 3,
                        "requires-python": ">=3.9,<4",
                        "yanked": "leaks \"<keys>\"",
                    },
                    {
                        "filename": "netaddr-1!1.0+x-py3-none-any.whl",
                        "url": "../../packages/netaddr-1%211.0%2Bx-py3-none-any.whl",
                        "hashes": {"sha256": BlobId::of(&new()).hex()},
                        "size": new().len(),
                        "requires-python": ">=3.9,<4",
                        "core-metadata": {"sha256": Digest::of(METADATA).hex()},
                    },
                ],
            })
        );
    }

    #[test]
    fn the_index_lists_every_project_once() {
        assert_eq!(
            text("pypi/index.json"),
            r#"{"meta":{"api-version":"1.1"},"projects":[{"name":"a"},{"name":"b"},{"name":"netaddr"}]}"#
        );
        let html = text("pypi/index.html");
        assert!(html.contains("<a href=\"a/\">a</a><br>\n<a href=\"b/\">b</a><br>\n"), "{html}");
        assert!(!text("pypi/project/b.html").contains("metadata"), "it is no wheel");
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (written, normal) in
            [("Jinja2", "jinja2"), ("ruamel.yaml_clib", "ruamel-yaml-clib"), ("a-_.b", "a-b")]
        {
            assert_eq!(normalise(written), normal);
            assert!(is_normal(normal), "{normal}");
        }
        for bad in ["", "A", "-a", "a-", "a--b", "a/b", "..", "é", &"a".repeat(129)] {
            assert!(!is_normal(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_project_or_file_that_leaves_its_folder_is_refused() {
        let render = |artifact| render(&Snapshot::of([artifact]).unwrap(), &held());
        let failure = render(wheel("../a", "1", "a-1.tar.gz", b"a")).unwrap_err();
        assert!(matches!(failure, PublishError::Name { what: "project", .. }), "{failure}");
        let failure = render(wheel("a", "1", "b/a-1.tar.gz", b"a")).unwrap_err();
        assert!(matches!(failure, PublishError::Name { what: "file name", .. }), "{failure}");
    }
}
