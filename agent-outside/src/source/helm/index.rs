//! Reads the `index.yaml` of a classic chart repository.
//!
//! In:   its bytes.
//! Out:  [`Index`]: the versions of each chart, newest first.
//! Pure: bytes only. Odd fields are passed over as Helm does; what cannot be used is left out.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    bounds,
    version::Version,
    yaml::{self, YamlError},
};

/// Why bytes are no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("index.yaml {0}")]
    Yaml(#[from] YamlError),
    #[error("index.yaml is empty")]
    Empty,
    #[error("index.yaml has no apiVersion, so Helm would not read it either")]
    NoApiVersion,
}

/// The charts of a repository.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    /// Newest first by the order of versions; of equal ones, the first in the file.
    pub charts: BTreeMap<String, Vec<Entry>>,
}

/// One version of a chart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// As upstream writes it, `v1.14.4`.
    pub text: String,
    pub version: Version,
    pub app_version: Option<String>,
    /// Absolute, or relative to the repository.
    pub urls: Vec<String>,
    /// As upstream writes it; nothing says yet that it is a digest.
    pub digest: Option<String>,
    pub created: Option<String>,
    pub deprecated: bool,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    ///
    /// [`IndexError`]: nothing of the repository can be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let file: Option<File> = if bytes.trim_ascii_start().starts_with(b"{") {
            json(bytes)?
        } else {
            yaml::read(bytes, bounds::INDEX_LEN_BYTES_MAX, bounds::INDEX_NODES_MAX)?
        };
        let file = file.ok_or(IndexError::Empty)?;
        if file.api_version.0.is_none() {
            return Err(IndexError::NoApiVersion);
        }
        let charts = file.entries.unwrap_or_default().into_iter();
        Ok(Self { charts: charts.map(|(name, raw)| (name, entries(raw))).collect() })
    }
}

/// Reads an index that is written as JSON; what is none may still be YAML in braces.
fn json(bytes: &[u8]) -> Result<Option<File>, YamlError> {
    let (len_bytes, max) = (bytes.len() as u64, bounds::INDEX_LEN_BYTES_MAX);
    if max < len_bytes {
        return Err(YamlError::TooLong { len_bytes, max });
    }
    match serde_json::from_slice(bytes) {
        Ok(file) => Ok(Some(file)),
        Err(_) => yaml::read(bytes, max, bounds::INDEX_NODES_MAX),
    }
}

fn entries(raw: Listed) -> Vec<Entry> {
    let mut entries: Vec<Entry> = raw.0.into_iter().filter_map(entry).collect();
    entries.sort_by(|a, b| b.version.order(&a.version));
    entries
}

fn entry(raw: Option<Raw>) -> Option<Entry> {
    let raw = raw?;
    let text = raw.version.0?;
    Some(Entry {
        version: Version::parse(&text)?,
        text,
        app_version: raw.app_version.0,
        urls: raw.urls.0,
        digest: raw.digest.0.filter(|digest| !digest.is_empty()),
        created: raw.created.0,
        deprecated: raw.deprecated.0.as_deref() == Some("true"),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    api_version: Lossy,
    #[serde(default)]
    entries: Option<BTreeMap<String, Listed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    version: Lossy,
    #[serde(default)]
    app_version: Lossy,
    #[serde(default)]
    urls: Texts,
    #[serde(default)]
    digest: Lossy,
    #[serde(default)]
    created: Lossy,
    #[serde(default)]
    deprecated: Lossy,
}

/// A list of entries; anything else counts as an empty one.
#[derive(Default)]
struct Listed(Vec<Option<Raw>>);

/// A list of texts, or one text alone; anything else in it is passed over.
#[derive(Default)]
struct Texts(Vec<String>);

/// A scalar as text; anything else counts as left out.
#[derive(Default)]
struct Lossy(Option<String>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Vec<Option<Raw>>>::deserialize(deserializer)?.map_or_else(Self::default, Self))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(Loose)? {
            Read::Scalar(text) => Self(vec![text]),
            Read::List(texts) => Self(texts),
            Read::Nothing => Self::default(),
        })
    }
}

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(Loose)? {
            Read::Scalar(text) => Self(Some(text)),
            Read::List(_) | Read::Nothing => Self(None),
        })
    }
}

/// What a field holds, whatever its type.
enum Read {
    Nothing,
    Scalar(String),
    List(Vec<String>),
}

struct Loose;

impl<'de> Visitor<'de> for Loose {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Read, E> {
        Ok(Read::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Read, E> {
        Ok(Read::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Read, E> {
        Ok(Read::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Read, E> {
        Ok(Read::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Read, E> {
        Ok(Read::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Read, E> {
        Ok(Read::Scalar(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Read, A::Error> {
        let mut texts = Vec::new();
        while let Some(Lossy(item)) = seq.next_element()? {
            texts.extend(item);
        }
        Ok(Read::List(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Read::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn an_index_lists_each_charts_versions_newest_first() {
        let text = "apiVersion: v1\ngenerated: 2026-01-01\nentries:\n  a:\n  \
            - {name: a, version: 1.9.0, urls: [a-1.9.0.tgz], maintainers: [{name: x}]}\n  \
            - {name: a, version: v1.10.0, appVersion: 2, urls: ['https://c.example/a.tgz'],\n     \
               digest: 0a, created: 2026-01-01T00:00:00Z, deprecated: true}\n  b: []\n";
        let old = Entry {
            text: "1.9.0".to_owned(),
            version: version("1.9.0"),
            app_version: None,
            urls: vec!["a-1.9.0.tgz".to_owned()],
            digest: None,
            created: None,
            deprecated: false,
        };
        let new = Entry {
            text: "v1.10.0".to_owned(),
            version: version("1.10.0"),
            app_version: Some("2".to_owned()),
            urls: vec!["https://c.example/a.tgz".to_owned()],
            digest: Some("0a".to_owned()),
            created: Some("2026-01-01T00:00:00Z".to_owned()),
            deprecated: true,
        };
        let charts = [("a".to_owned(), vec![new, old]), ("b".to_owned(), Vec::new())].into();
        assert_eq!(Index::parse(text.as_bytes()).unwrap(), Index { charts });
    }

    #[test]
    fn json_is_read_as_yaml_is() {
        let json = br#" {"apiVersion":"v1","entries":{"a":[{"version":"1.0.0","urls":["u"]}]}}"#;
        let yaml = b"apiVersion: v1\nentries: {a: [{version: 1.0.0, urls: [u]}]}";
        assert_eq!(Index::parse(json).unwrap(), Index::parse(yaml).unwrap());
        let braces = b"{apiVersion: v1, entries: {a: [{version: 1.0.0, urls: [u]}]}}";
        assert_eq!(Index::parse(braces).unwrap(), Index::parse(yaml).unwrap());
    }

    #[test]
    fn entries_with_odd_fields_are_read_and_those_of_no_use_are_left_out() {
        let text = "apiVersion: v1\nentries:\n  a:\n  - null\n  - {name: a}\n  \
            - {version: latest, urls: [x]}\n  \
            - {version: 1.5, urls: yy, digest: {a: b}, appVersion: [1], created: null}\n  \
            - {version: [1], urls: [x]}\n  - {version: 1.2.3, urls: [[x], {a: b}, z]}\n  b: null\n";
        let index = Index::parse(text.as_bytes()).unwrap();
        let told = |entry: &Entry| (entry.text.clone(), entry.urls.clone());
        let told: Vec<_> = index.charts["a"].iter().map(told).collect();
        let expected = [("1.5", "yy"), ("1.2.3", "z")];
        assert_eq!(told, expected.map(|(v, url)| (v.to_owned(), vec![url.to_owned()])));
        assert!(index.charts["b"].is_empty());
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let long = vec![b' '; 21 << 20];
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &(b'b'..b'j')
                .map(|c| {
                    let (c, p) = (char::from(c), char::from(c - 1));
                    format!("{c}: &{c} [{}*{p}]\n", format!("*{p},").repeat(8))
                })
                .collect::<String>()
            + "apiVersion: v1\nentries: {x: *i}\n";
        let deep = format!("apiVersion: v1\nentries: {}", "[".repeat(100_000));
        for (bytes, said) in [
            (long.as_slice(), "more than"),
            (b"", "empty"),
            (b"<html>", "not understood"),
            (b"entries: {}", "no apiVersion"),
            (b"\xff\xfe", "not UTF-8"),
            (laughs.as_bytes(), "not understood"),
            (deep.as_bytes(), "not understood"),
        ] {
            let error = Index::parse(bytes).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn one_line_as_long_as_an_index_may_be_ends_in_an_answer() {
        let room = usize::try_from(bounds::INDEX_LEN_BYTES_MAX).unwrap();
        let tail = "']}]}}";
        let mut line = "{apiVersion: v1, entries: {a: [{version: 1.0.0, urls: ['".to_owned();
        line.push_str(&"u".repeat(room - line.len() - tail.len()));
        line.push_str(tail);
        assert_eq!(Index::parse(line.as_bytes()).unwrap().charts["a"].len(), 1);
    }
}
