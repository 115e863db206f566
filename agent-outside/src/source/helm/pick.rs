//! Decides what a line of a classic repository fetches.
//!
//! In:   the place of a line, the repository's index and where it was found.
//! Out:  [`Pick`]: version, URLs and digest of one archive.
//! Pure: values only.

use gapferry_proto::Digest;
use url::Url;

use super::{
    index::{Entry, Index},
    reference::Wish,
    version::Version,
};

/// One archive to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pick {
    pub name: String,
    /// As upstream writes it.
    pub version: String,
    pub app_version: Option<String>,
    /// Where upstream has it: Helm takes the first, the others are its mirrors.
    pub urls: Vec<Url>,
    /// Upstream's word for its bytes, where it gives one.
    pub digest: Option<Digest>,
    /// When upstream says that it was made, as it writes it.
    pub created: Option<String>,
    pub deprecated: bool,
}

/// Why an index leads to no archive.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    #[error("the repository has no chart {name}{}", close(near))]
    NoChart { name: String, near: Vec<String> },
    #[error("{name} has no version {wanted}; its newest are {}", newest.join(", "))]
    NoVersion { name: String, wanted: String, newest: Vec<String> },
    #[error("{name} {version} has no URL to fetch it from")]
    NoUrl { name: String, version: String },
    #[error("{name} {version} has {digest:?} for a digest, which is no SHA-256")]
    Digest { name: String, version: String, digest: String },
}

fn close(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; it has {}", near.join(", ")) }
}

/// Picks a version of `name`. `repo` is what relative URLs are relative to.
///
/// # Errors
///
/// [`PickError::NoChart`], [`PickError::NoVersion`]: it does not exist as asked for.
/// The others: upstream's index is at fault.
pub fn pick(index: &Index, repo: &Url, name: &str, wish: &Wish) -> Result<Pick, PickError> {
    let entries = index.charts.get(name).ok_or_else(|| PickError::NoChart {
        name: name.to_owned(),
        near: index.charts.keys().filter(|known| is_near(known, name)).take(5).cloned().collect(),
    })?;
    let entry = wish.choose(entries, told).ok_or_else(|| PickError::NoVersion {
        name: name.to_owned(),
        wanted: wish.text.clone().unwrap_or_else(|| "that is a release".to_owned()),
        newest: entries.iter().take(5).map(|entry| entry.text.clone()).collect(),
    })?;
    let urls: Vec<Url> = entry.urls.iter().filter_map(|url| join(repo, url)).collect();
    if urls.is_empty() {
        let version = entry.text.clone();
        return Err(PickError::NoUrl { name: name.to_owned(), version });
    }
    Ok(Pick {
        name: name.to_owned(),
        version: entry.text.clone(),
        app_version: entry.app_version.clone(),
        urls,
        digest: digest(name, entry)?,
        created: entry.created.clone(),
        deprecated: entry.deprecated,
    })
}

fn told(entry: &Entry) -> (&str, &Version) {
    (&entry.text, &entry.version)
}

/// Where the index of a repository is; its query stays.
pub fn index_url(repo: &Url) -> Url {
    below(repo, "index.yaml")
}

/// Where the provenance file of an archive is.
pub fn provenance_url(archive: &Url) -> Url {
    let mut url = archive.clone();
    url.set_path(&format!("{}.prov", archive.path()));
    url
}

/// `url` as the index writes it, absolute or below the repository; only http and https.
///
/// Helm keeps the repository's query on a relative URL, for repositories whose query is a token.
fn join(repo: &Url, url: &str) -> Option<Url> {
    let joined = match Url::parse(url) {
        Ok(absolute) => absolute,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            let mut joined = folder(repo).join(url).ok()?;
            joined.set_query(repo.query());
            joined
        }
        Err(_) => return None,
    };
    let is_plain = joined.username().is_empty() && joined.password().is_none();
    (is_plain && matches!(joined.scheme(), "http" | "https")).then_some(joined)
}

fn below(repo: &Url, file: &str) -> Url {
    let mut url = folder(repo);
    url.set_path(&format!("{}{file}", url.path()));
    url
}

fn folder(repo: &Url) -> Url {
    let mut url = repo.clone();
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", repo.path()));
    }
    url
}

/// The digest of an entry: 64 hex digits of either case, with or without `sha256:`.
fn digest(name: &str, entry: &Entry) -> Result<Option<Digest>, PickError> {
    let Some(text) = &entry.digest else { return Ok(None) };
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    format!("sha256:{hex}").parse().map(Some).map_err(|_| PickError::Digest {
        name: name.to_owned(),
        version: entry.text.clone(),
        digest: text.chars().take(80).collect(),
    })
}

/// Whether somebody who wrote `name` may have meant `known`.
fn is_near(known: &str, name: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
    let (known, name) = (plain(known), plain(name));
    known.contains(&name) || name.contains(&known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn index(entries: &str) -> Index {
        Index::parse(format!("apiVersion: v1\nentries: {entries}").as_bytes()).unwrap()
    }

    fn picked(index: &Index, name: &str, version: Option<&str>) -> Result<Pick, PickError> {
        let repo = "https://c.example/charts?t=1".parse().unwrap();
        pick(index, &repo, name, &Wish::parse(version).unwrap())
    }

    #[test]
    fn a_pick_has_absolute_urls_and_the_digest_of_the_index() {
        let index = index(&format!(
            "{{a: [{{version: v1.2.0, appVersion: '3', digest: 'sha256:{OF_ABC}', \
             created: '2026-11-24T10:00:00Z', \
             urls: [a-1.2.0.tgz, 'https://m.example/a.tgz', '/x/a.tgz', 'ftp://m.example/a']}}]}}"
        ));
        let urls = [
            "https://c.example/charts/a-1.2.0.tgz?t=1",
            "https://m.example/a.tgz",
            "https://c.example/x/a.tgz?t=1",
        ];
        let expected = Pick {
            name: "a".to_owned(),
            version: "v1.2.0".to_owned(),
            app_version: Some("3".to_owned()),
            urls: urls.map(|url| url.parse().unwrap()).to_vec(),
            digest: Some(Digest::of(b"abc")),
            created: Some("2026-11-24T10:00:00Z".to_owned()),
            deprecated: false,
        };
        let pick = picked(&index, "a", Some("1.x")).unwrap();
        assert_eq!(pick, expected);
        assert_eq!(
            provenance_url(&pick.urls[0]).as_str(),
            "https://c.example/charts/a-1.2.0.tgz.prov?t=1"
        );
    }

    #[test]
    fn the_version_is_the_one_that_helm_would_take() {
        let versions = ["2.0.0-rc.1", "1.9.0", "1.10.0", "v1.10.1", "0.9"];
        let versions = versions.map(|v| format!("{{version: '{v}', urls: [u]}}")).join(", ");
        let index = index(&format!("{{a: [{versions}]}}"));
        for (wish, version) in [
            (None, "v1.10.1"),
            (Some("1.10.0"), "1.10.0"),
            (Some("1.10.1"), "v1.10.1"),
            (Some("v1.10.1"), "v1.10.1"),
            (Some("2.0.0-rc.1"), "2.0.0-rc.1"),
            (Some("<1.10"), "1.9.0"),
            (Some("0.9.x"), "0.9"),
            (Some(">0-0"), "2.0.0-rc.1"),
        ] {
            assert_eq!(picked(&index, "a", wish).unwrap().version, version, "{wish:?}");
        }
    }

    #[test]
    fn what_the_index_does_not_have_is_told_with_what_it_has() {
        let index = index(
            "{a-b: [{version: 1.0.0, urls: [u]}], c: [{version: 1.0.0}], \
             d: [{version: 1.0.0, urls: [u], digest: 0abc}], e: [], \
             f: [{version: 1.0.0, urls: [u], digest: 'sha512:00'}]}",
        );
        for (name, wish, said) in [
            ("a_b", None, "the repository has no chart a_b; it has a-b"),
            ("zz", None, "the repository has no chart zz"),
            ("a-b", Some("2"), "a-b has no version 2; its newest are 1.0.0"),
            ("e", None, "e has no version that is a release; its newest are "),
            ("c", None, "c 1.0.0 has no URL to fetch it from"),
            ("d", None, "d 1.0.0 has \"0abc\" for a digest, which is no SHA-256"),
            ("f", None, "f 1.0.0 has \"sha512:00\" for a digest, which is no SHA-256"),
        ] {
            assert_eq!(picked(&index, name, wish).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn the_index_is_below_the_repository_whether_or_not_it_ends_in_a_slash() {
        for (repo, expected) in [
            ("https://c.example", "https://c.example/index.yaml"),
            ("https://c.example/a", "https://c.example/a/index.yaml"),
            ("https://c.example/a/?t=1#f", "https://c.example/a/index.yaml?t=1"),
        ] {
            assert_eq!(index_url(&repo.parse().unwrap()).as_str(), expected);
        }
    }
}
