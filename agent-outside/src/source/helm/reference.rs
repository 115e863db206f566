//! What a waybill line calls a chart.
//!
//! In:   `repo`, `name` and `version` of a [`ChartLine`].
//! Out:  [`Place`]: a classic repository, a registry, or a path.
//! Pure: text only; paths stay as written.

use camino::Utf8PathBuf;
use url::Url;

use super::{
    chart::is_name,
    version::{Constraint, ConstraintError, Version},
};
use crate::waybill::ChartLine;

/// Where a chart comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A classic repository with an `index.yaml`.
    Web { repo: Url, name: String, wish: Wish },
    /// A repository of a registry, `host[:port]/path/name`, whose tags are versions.
    Registry { repository: String, name: String, wish: Wish },
    /// A `.tgz` on disk.
    Archive(Utf8PathBuf),
    /// The folder of a chart, not packed yet.
    Folder(Utf8PathBuf),
}

/// Which version is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// As the waybill writes it; a version written so is taken first.
    pub text: Option<String>,
    pub constraint: Constraint,
}

/// Why a line names no chart. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("{0:?} is no URL of a chart repository")]
    Url(String, #[source] url::ParseError),
    #[error("the repository's URL holds credentials; put them into netrc")]
    UserInfo,
    #[error("{0:?} is no name of a chart")]
    Name(String),
    #[error("name the chart of {0}")]
    Unnamed(String),
    #[error("{0:?} must be oci://host/path without tag or digest; use `version`")]
    Oci(String),
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
}

impl Place {
    /// Reads the place of a line.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`] says how to write it.
    pub fn of(line: &ChartLine) -> Result<Self, ReferenceError> {
        let wish = Wish::parse(line.version.as_deref())?;
        let repo = line.repo.as_str();
        if let Some(path) = repo.strip_prefix("oci://") {
            return registry(repo, path, line.name.as_deref(), wish);
        }
        if !repo.starts_with("https://") && !repo.starts_with("http://") {
            let path = Utf8PathBuf::from(repo);
            let is_archive = matches!(path.extension(), Some("tgz")) || repo.ends_with(".tar.gz");
            return Ok(if is_archive { Self::Archive(path) } else { Self::Folder(path) });
        }
        let url: Url = repo.parse().map_err(|e| ReferenceError::Url(repo.to_owned(), e))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ReferenceError::UserInfo);
        }
        let name = line.name.as_deref().ok_or_else(|| ReferenceError::Unnamed(repo.to_owned()))?;
        Ok(Self::Web { repo: url, name: checked(name)?, wish })
    }
}

impl Wish {
    /// Reads the version of a line.
    ///
    /// # Errors
    ///
    /// [`ConstraintError`].
    pub fn parse(text: Option<&str>) -> Result<Self, ConstraintError> {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        let constraint = Constraint::parse(text.unwrap_or_default())?;
        Ok(Self { text: text.map(str::to_owned), constraint })
    }

    /// Picks of `versions`, newest first, what Helm would take: one written as the waybill writes
    /// it, else the first that the constraint admits.
    pub fn choose<'a, T>(
        &self,
        versions: &'a [T],
        told: impl Fn(&T) -> (&str, &Version),
    ) -> Option<&'a T> {
        let is_written_so = |one: &&T| self.text.as_deref() == Some(told(one).0);
        let is_admitted = |one: &&T| self.constraint.admits(told(one).1);
        versions.iter().find(is_written_so).or_else(|| versions.iter().find(is_admitted))
    }

    /// The tag of a registry that this is, when it is one version and no constraint.
    ///
    /// Helm writes `_` for the `+` that tags cannot have.
    pub fn tag(&self) -> Option<String> {
        let text = self.text.as_deref()?;
        let is_whole = text.split(['-', '+']).next()?.split('.').count() == 3;
        (is_whole && Version::parse(text).is_some()).then(|| text.replace('+', "_"))
    }
}

/// Picks of a registry's tags the one that `wish` takes, with the version that it stands for.
pub fn choose_tag(wish: &Wish, tags: &[String]) -> Option<(String, String)> {
    let versions = newest(tags);
    let (text, _, tag) = wish.choose(&versions, |(text, version, _)| (text, version))?;
    Some(((*tag).clone(), text.clone()))
}

/// The versions that tags stand for, newest first, with their tags. Tags that are no versions are
/// passed over.
pub fn newest(tags: &[String]) -> Vec<(String, Version, &String)> {
    let versions = tags.iter().map(|tag| (tag.replace('_', "+"), tag));
    let mut versions: Vec<_> = versions
        .filter_map(|(text, tag)| Some((text.clone(), Version::parse(&text)?, tag)))
        .collect();
    versions.sort_by(|a, b| b.1.order(&a.1));
    versions
}

fn registry(
    repo: &str,
    path: &str,
    name: Option<&str>,
    wish: Wish,
) -> Result<Place, ReferenceError> {
    let wrong = || ReferenceError::Oci(repo.to_owned());
    let path = path.trim_end_matches('/');
    let (host, below) = path.split_once('/').unwrap_or((path, ""));
    if host.is_empty() || path.contains('@') || below.contains([':', '?', '#']) {
        return Err(wrong());
    }
    let (repository, name) = match (name, below.rsplit('/').next()) {
        (Some(name), _) => (format!("{path}/{}", checked(name)?), name.to_owned()),
        (None, Some(last)) if !last.is_empty() => (path.to_owned(), checked(last)?),
        (None, _) => return Err(wrong()),
    };
    Ok(Place::Registry { repository, name, wish })
}

fn checked(name: &str) -> Result<String, ReferenceError> {
    if is_name(name) { Ok(name.to_owned()) } else { Err(ReferenceError::Name(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(repo: &str, name: Option<&str>, version: Option<&str>) -> ChartLine {
        ChartLine {
            repo: repo.to_owned(),
            name: name.map(str::to_owned),
            version: version.map(str::to_owned),
            images: false,
            platforms: Vec::new(),
            values: Vec::new(),
            set: Vec::new(),
            kube_version: None,
            api_versions: Vec::new(),
            namespace: None,
            keyring: None,
            insecure: false,
        }
    }

    fn wish(text: &str) -> Wish {
        Wish::parse(Some(text)).unwrap()
    }

    #[test]
    fn a_line_names_a_repository_a_registry_or_a_path() {
        let newest = Wish::parse(None).unwrap();
        let web = Place::Web {
            repo: "https://c.example/charts".parse().unwrap(),
            name: "a".to_owned(),
            wish: wish("~1.2"),
        };
        let registry = |repository: &str| Place::Registry {
            repository: repository.to_owned(),
            name: "a".to_owned(),
            wish: newest.clone(),
        };
        for (repo, name, version, place) in [
            ("https://c.example/charts", Some("a"), Some(" ~1.2"), web),
            ("oci://r.example:5000/charts", Some("a"), None, registry("r.example:5000/charts/a")),
            ("oci://r.example/charts/a/", None, None, registry("r.example/charts/a")),
            ("charts/a-1.0.0.tgz", None, None, Place::Archive("charts/a-1.0.0.tgz".into())),
            ("../charts/a", None, None, Place::Folder("../charts/a".into())),
        ] {
            assert_eq!(Place::of(&line(repo, name, version)).unwrap(), place, "{repo}");
        }
    }

    #[test]
    fn a_line_that_names_no_chart_says_how_to_write_it() {
        for (repo, name, version) in [
            ("https://", Some("a"), None),
            ("https://u:CANARY@c.example", Some("a"), None),
            ("https://c.example", None, None),
            ("https://c.example", Some("../a"), None),
            ("https://c.example", Some("a/b"), None),
            ("https://c.example", Some("a"), Some("newest")),
            ("oci://r.example", None, None),
            ("oci://r.example/a:1.0.0", None, None),
            ("oci://r.example/a@sha256:00", None, None),
        ] {
            let error = Place::of(&line(repo, name, version)).unwrap_err();
            assert!(!error.to_string().contains("CANARY"), "{error}");
        }
    }

    #[test]
    fn only_a_whole_version_is_a_tag() {
        for (text, tag) in [
            ("1.2.3", Some("1.2.3")),
            ("v1.2.3-rc.1+b", Some("v1.2.3-rc.1_b")),
            ("1.2", None),
            ("~1.2.3", None),
            ("1.2.x", None),
        ] {
            assert_eq!(wish(text).tag().as_deref(), tag, "{text}");
        }
    }

    #[test]
    fn of_a_registrys_tags_the_newest_that_is_admitted_is_taken() {
        let tags = ["latest", "1.9.0", "1.10.0_b", "v2.0.0-rc.1", "sha256-00.sig"];
        let tags = tags.map(str::to_owned);
        let tag = |text| choose_tag(&wish(text), &tags).map(|(tag, _)| tag);
        let chosen = ("1.10.0_b".to_owned(), "1.10.0+b".to_owned());
        assert_eq!(choose_tag(&wish("1"), &tags), Some(chosen));
        assert_eq!(choose_tag(&Wish::parse(None).unwrap(), &tags[3..]), None);
        assert_eq!(tag("1.10.0+b").as_deref(), Some("1.10.0_b"));
        assert_eq!(tag("2").as_deref(), None);
        assert_eq!(tag(">=2-0").as_deref(), Some("v2.0.0-rc.1"));
    }
}
