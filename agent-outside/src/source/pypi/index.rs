//! One project's page in a simple index, in either of its forms.
//!
//! In:   the bytes of a page, its media type and the URL it was found at.
//! Out:  a [`Page`]: the files with their SHA-256, and how many had none.
//! Pure. HTML is PEP 503 with PEP 592, 629, 658 and 714; JSON is PEP 691 with PEP 700.

use std::collections::HashMap;

use gapferry_proto::{Digest, SafePath};
use serde::Deserialize;
use url::Url;

use super::html;

/// What is asked for: JSON before HTML, since it has lengths.
pub const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
    application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

/// The files of one project.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    pub files: Vec<IndexFile>,
    /// How many files have no SHA-256, and so cannot be carried.
    pub without_digest: usize,
}

/// One file as the index offers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexFile {
    pub filename: SafePath,
    /// Without fragment.
    pub url: Url,
    /// The index that vouches for the digest, without credentials.
    pub index: String,
    pub digest: Digest,
    pub requires_python: Option<String>,
    /// The reason for withdrawing it; empty when none is given.
    pub yanked: Option<String>,
    pub metadata: Offer,
    pub len_bytes: Option<u64>,
}

/// Whether `<url>.metadata` is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    No,
    Yes(Option<Digest>),
}

/// Why bytes are no page of a simple index.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the page is neither HTML nor JSON of a simple index, but {0:?}")]
    MediaType(String),
    #[error("the page is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    #[error("the page ends in the middle of a tag")]
    CutOff,
    #[error("the page is not understood")]
    Json(#[source] serde_json::Error),
    #[error("the page is of version {0} of the simple API; this agent reads version 1")]
    Version(String),
}

/// Reads a page.
///
/// A file with an odd name or address is left out, as if the index did not have it.
///
/// # Errors
///
/// [`PageError`]: the index, or something between it and us, is at fault.
pub fn parse(
    bytes: &[u8],
    media_type: Option<&str>,
    url: &Url,
    index: &str,
) -> Result<Page, PageError> {
    match media_type.unwrap_or("text/html").to_ascii_lowercase().as_str() {
        "application/vnd.pypi.simple.v1+json" | "application/json" => json(bytes, url, index),
        "application/vnd.pypi.simple.v1+html" | "text/html" => html(bytes, url, index),
        other => Err(PageError::MediaType(other.to_owned())),
    }
}

/// What either form says of a file.
struct Said<'a> {
    href: &'a str,
    filename: Option<&'a str>,
    sha256: Option<&'a str>,
    requires_python: Option<&'a str>,
    yanked: Option<&'a str>,
    metadata: Offer,
    len_bytes: Option<u64>,
}

impl Page {
    fn push(&mut self, base: &Url, index: &str, said: &Said<'_>) {
        let Some((url, fragment)) = address(base, said.href) else { return };
        let named = said.filename.map_or_else(|| last_segment(&url), |name| Some(name.to_owned()));
        let Some(filename) = named.and_then(|name| filename(&name)) else { return };
        let Some(digest) = sha256(said.sha256.or_else(|| fragment_sha256(&fragment))) else {
            self.without_digest += 1;
            return;
        };
        self.files.push(IndexFile {
            filename,
            url,
            index: index.to_owned(),
            digest,
            requires_python: said.requires_python.filter(|s| !s.is_empty()).map(str::to_owned),
            yanked: said.yanked.map(str::to_owned),
            metadata: said.metadata,
            len_bytes: said.len_bytes,
        });
    }
}

fn html(bytes: &[u8], url: &Url, index: &str) -> Result<Page, PageError> {
    let text = std::str::from_utf8(bytes).map_err(PageError::Text)?;
    let tags = html::tags(text).map_err(|html::CutOff| PageError::CutOff)?;
    let base = tags.iter().find(|tag| tag.name == "base").and_then(|tag| tag.attribute("href"));
    let base = base.and_then(|href| url.join(href).ok()).unwrap_or_else(|| url.clone());
    let mut page = Page::default();
    for tag in tags.iter().filter(|tag| tag.name == "a") {
        let Some(href) = tag.attribute("href") else { continue };
        let offer = ["data-core-metadata", "data-dist-info-metadata"];
        let said = Said {
            href,
            filename: None,
            sha256: None,
            requires_python: tag.attribute("data-requires-python"),
            yanked: tag.attribute("data-yanked"),
            metadata: offer.into_iter().find_map(|name| tag.attribute(name)).map_or(
                Offer::No,
                |value| match value {
                    "false" => Offer::No,
                    value => Offer::Yes(sha256(value.strip_prefix("sha256="))),
                },
            ),
            len_bytes: None,
        };
        page.push(&base, index, &said);
    }
    Ok(page)
}

/// PEP 691. Unknown keys are passed over: the API grows by them.
#[derive(Deserialize)]
struct JsonPage {
    #[serde(default)]
    meta: JsonMeta,
    files: Vec<JsonFile>,
}

#[derive(Deserialize, Default)]
struct JsonMeta {
    #[serde(rename = "api-version")]
    api_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: HashMap<String, String>,
    requires_python: Option<String>,
    #[serde(default)]
    yanked: Option<Flag<String>>,
    #[serde(default)]
    core_metadata: Option<Flag<HashMap<String, String>>>,
    #[serde(default)]
    dist_info_metadata: Option<Flag<HashMap<String, String>>>,
    size: Option<u64>,
}

/// A boolean, or a value that also means true.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag<T> {
    Plain(bool),
    Value(T),
}

fn json(bytes: &[u8], url: &Url, index: &str) -> Result<Page, PageError> {
    let read: JsonPage = serde_json::from_slice(bytes).map_err(PageError::Json)?;
    if let Some(version) = read.meta.api_version.filter(|v| v.split('.').next() != Some("1")) {
        return Err(PageError::Version(version));
    }
    let mut page = Page::default();
    for file in &read.files {
        let hash =
            |hashes: &HashMap<String, String>| sha256(hashes.get("sha256").map(String::as_str));
        let said = Said {
            href: &file.url,
            filename: Some(&file.filename),
            sha256: file.hashes.get("sha256").map(String::as_str),
            requires_python: file.requires_python.as_deref(),
            yanked: match &file.yanked {
                None | Some(Flag::Plain(false)) => None,
                Some(Flag::Plain(true)) => Some(""),
                Some(Flag::Value(reason)) => Some(reason),
            },
            metadata: match file.core_metadata.as_ref().or(file.dist_info_metadata.as_ref()) {
                None | Some(Flag::Plain(false)) => Offer::No,
                Some(Flag::Plain(true)) => Offer::Yes(None),
                Some(Flag::Value(hashes)) => Offer::Yes(hash(hashes)),
            },
            len_bytes: file.size,
        };
        page.push(url, index, &said);
    }
    Ok(page)
}

/// The address without its fragment, and the fragment.
fn address(base: &Url, href: &str) -> Option<(Url, String)> {
    let mut url = base.join(href.trim()).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    let fragment = url.fragment().unwrap_or_default().to_owned();
    url.set_fragment(None);
    Some((url, fragment))
}

fn fragment_sha256(fragment: &str) -> Option<&str> {
    fragment.split('&').find_map(|part| part.strip_prefix("sha256="))
}

fn sha256(hex: Option<&str>) -> Option<Digest> {
    format!("sha256:{}", hex?.to_ascii_lowercase()).parse().ok()
}

fn last_segment(url: &Url) -> Option<String> {
    let encoded = url.path_segments()?.next_back()?;
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%').then(|| after.get(..2)).flatten();
        let octet = hex.and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex).ok());
        rest = if octet.is_some() { &after[2..] } else { after };
        decoded.push(octet.map_or(byte, |octet| octet[0]));
    }
    String::from_utf8(decoded).ok()
}

/// One segment of a path, since it becomes the name of an artifact.
fn filename(name: &str) -> Option<SafePath> {
    name.parse().ok().filter(|path: &SafePath| !path.as_str().contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const INDEX: &str = "https://index.example/simple/";

    fn read(page: &str, media_type: Option<&str>) -> Result<Page, PageError> {
        let url = Url::parse("https://user:pw@index.example/simple/foo/").unwrap();
        parse(page.as_bytes(), media_type, &url, INDEX)
    }

    fn file(filename: &str, url: &str) -> IndexFile {
        IndexFile {
            filename: filename.parse().unwrap(),
            url: url.parse().unwrap(),
            index: INDEX.to_owned(),
            digest: Digest::of(b"abc"),
            requires_python: None,
            yanked: None,
            metadata: Offer::No,
            len_bytes: None,
        }
    }

    #[test]
    fn an_html_page_gives_files_with_all_that_it_says_of_them() {
        let page = format!(
            "<html><body><h1>foo</h1>\
             <a href='../../packages/foo-1%2Blocal-py3-none-any.whl#sha256={HASH}' \
                data-requires-python='&gt;=3.8' data-yanked='bad build' \
                data-dist-info-metadata='sha256={HASH}'>foo</a>\
             <a href='https://files.example/foo-1.tar.gz#egg=foo&amp;sha256={upper}' data-yanked \
                data-core-metadata='true'>foo</a>",
            upper = HASH.to_uppercase(),
        );
        let wheel = IndexFile {
            requires_python: Some(">=3.8".to_owned()),
            yanked: Some("bad build".to_owned()),
            metadata: Offer::Yes(Some(Digest::of(b"abc"))),
            ..file(
                "foo-1+local-py3-none-any.whl",
                "https://user:pw@index.example/packages/foo-1%2Blocal-py3-none-any.whl",
            )
        };
        let source = IndexFile {
            yanked: Some(String::new()),
            metadata: Offer::Yes(None),
            ..file("foo-1.tar.gz", "https://files.example/foo-1.tar.gz")
        };
        let expected = Page { files: vec![wheel, source], without_digest: 0 };
        assert_eq!(read(&page, Some("text/html")).unwrap(), expected);
        assert_eq!(read(&page, None).unwrap(), expected);
    }

    #[test]
    fn a_json_page_gives_files_with_all_that_it_says_of_them() {
        let page = format!(
            r#"{{"meta": {{"api-version": "1.4", "x": 1}}, "name": "foo", "versions": ["1"], "files": [
              {{"filename": "foo-1-py3-none-any.whl", "url": "a/foo-1-py3-none-any.whl", "size": 3,
                "hashes": {{"sha256": "{HASH}", "md5": "0"}}, "requires-python": ">=3.8",
                "yanked": "bad", "core-metadata": {{"sha256": "{HASH}"}}, "provenance": null}},
              {{"filename": "foo-1.tar.gz", "url": "https://files.example/foo-1.tar.gz",
                "hashes": {{"sha256": "{HASH}"}}, "requires-python": null, "yanked": false,
                "dist-info-metadata": true}}]}}"#
        );
        let wheel = IndexFile {
            requires_python: Some(">=3.8".to_owned()),
            yanked: Some("bad".to_owned()),
            metadata: Offer::Yes(Some(Digest::of(b"abc"))),
            len_bytes: Some(3),
            ..file(
                "foo-1-py3-none-any.whl",
                "https://user:pw@index.example/simple/foo/a/foo-1-py3-none-any.whl",
            )
        };
        let source = IndexFile {
            metadata: Offer::Yes(None),
            ..file("foo-1.tar.gz", "https://files.example/foo-1.tar.gz")
        };
        assert_eq!(
            read(&page, Some("application/vnd.pypi.simple.v1+json")).unwrap(),
            Page { files: vec![wheel, source], without_digest: 0 }
        );
    }

    #[test]
    fn a_base_element_moves_relative_links() {
        let page =
            format!("<base href='https://cdn.example/d/'><a href='foo-1.zip#sha256={HASH}'>");
        let expected = file("foo-1.zip", "https://cdn.example/d/foo-1.zip");
        assert_eq!(read(&page, None).unwrap().files, [expected]);
    }

    #[test]
    fn only_sha256_counts() {
        let page = "<a href='foo-1.zip'>x</a><a href='foo-2.zip#md5=00'>x</a>\
                    <a href='foo-3.zip#sha256=00'>x</a>";
        assert_eq!(read(page, None).unwrap(), Page { files: vec![], without_digest: 3 });
    }

    #[test]
    fn hostile_names_and_addresses_are_left_out() {
        for href in [
            "a/..%2f..%2fetc%2fpasswd",
            "%2e%2e",
            "x%00y.whl",
            "file:///etc/passwd",
            "x\\y%5cz",
            "javascript:alert(1)",
            "http://",
            "//",
            "%ff.whl",
            "d/",
        ] {
            let page = format!("<a href='{href}#sha256={HASH}'>");
            assert_eq!(read(&page, None).unwrap(), Page::default(), "{href}");
        }
        for name in ["../x.whl", "/x.whl", "a/b.whl", "", "a\\nb"] {
            let page = format!(
                r#"{{"files": [{{"filename": "{name}", "url": "x", "hashes": {{"sha256": "{HASH}"}}}}]}}"#
            );
            let page = read(&page, Some("application/json")).unwrap();
            assert_eq!(page, Page::default(), "{name}");
        }
    }

    #[test]
    fn what_is_no_page_is_an_error_that_says_why() {
        let json = Some("application/vnd.pypi.simple.v1+json");
        for (page, media_type, expected) in [
            ("<a href='x", None, "the page ends in the middle of a tag"),
            ("{}", json, "the page is not understood"),
            ("{\"files\": [", json, "the page is not understood"),
            (
                "{\"meta\": {\"api-version\": \"2.0\"}, \"files\": []}",
                json,
                "the page is of version 2.0 of the simple API; this agent reads version 1",
            ),
            (
                "x",
                Some("image/png"),
                "the page is neither HTML nor JSON of a simple index, but \"image/png\"",
            ),
        ] {
            assert_eq!(read(page, media_type).unwrap_err().to_string(), expected);
        }
    }
}
