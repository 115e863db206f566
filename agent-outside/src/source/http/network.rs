//! How this machine reaches the world: `[network]` and `[[mirror]]` of `config.toml`.
//!
//! In:   settings as read.
//! Out:  [`Mirrors`], which say where a URL is really asked for; extra certificates.
//! Pure: all but [`environment_certificates`].

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use url::Url;

use super::{Redacted, Space};

/// Longest bundle of certificates read, in bytes: 16 MiB, some thousand roots.
const CERTIFICATES_LEN_BYTES_MAX: u64 = 16 << 20;

/// The variables that name a bundle of certificates beside `SSL_CERT_FILE`, which the platform's
/// verifier reads by itself.
const CERTIFICATE_VARIABLES: [&str; 3] = ["REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"];

/// Settings of the network. Every one has a default.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Where something is asked for in place of its origin. In `config.toml` these are the
    /// tables `[[mirror]]`; whoever reads that file puts them here.
    pub mirrors: Vec<Mirror>,
    /// How often a request is tried that may still succeed.
    pub tries: u32,
    /// The first wait between tries, in milliseconds; each further one is twice as long.
    pub retry_base_ms: u64,
    /// How many requests one host serves at a time.
    pub per_host: usize,
    /// The netrc file; left out: `NETRC`, else `~/.netrc`.
    pub netrc: Option<Utf8PathBuf>,
    pub connect_timeout_ms: u64,
    /// The longest silence within a response, in milliseconds.
    pub read_timeout_ms: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            tries: 5,
            retry_base_ms: 1_000,
            per_host: 8,
            netrc: None,
            connect_timeout_ms: 20_000,
            read_timeout_ms: 60_000,
        }
    }
}

/// What begins with `from` is asked for at `to`; the artifact keeps its origin.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    pub from: Url,
    pub to: Url,
}

/// Why the network's settings are of no use. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("netrc file {path} is not understood")]
    Netrc { path: String },
    #[error("mirror {url}: {rule}")]
    Mirror { url: Redacted, rule: &'static str },
    #[error("cannot read the certificates in {path}, which {variable} names")]
    Certificates { variable: &'static str, path: Utf8PathBuf, source: io::Error },
    #[error("{path}, which {variable} names, holds no certificates in PEM")]
    NoCertificates { variable: &'static str, path: Utf8PathBuf },
    #[error("cannot set up HTTP; check the system's certificates and proxy variables")]
    Client { source: reqwest::Error },
}

/// The mirrors, checked.
#[derive(Debug)]
pub struct Mirrors(Vec<Mirror>);

impl Mirrors {
    /// Checks that every mirror is a pair of HTTP prefixes.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Mirror`] says which rule one of them breaks.
    pub fn new(mirrors: &[Mirror]) -> Result<Self, NetworkError> {
        for mirror in mirrors {
            for (url, may_have_user) in [(&mirror.from, false), (&mirror.to, true)] {
                let rule = if !matches!(url.scheme(), "http" | "https") {
                    "use an http or https URL"
                } else if url.query().is_some() || url.fragment().is_some() {
                    "leave out '?' and '#'"
                } else if !may_have_user && (!url.username().is_empty() || url.password().is_some())
                {
                    "credentials belong into netrc"
                } else {
                    continue;
                };
                return Err(NetworkError::Mirror { url: Redacted::of(url), rule });
            }
        }
        Ok(Self(mirrors.to_vec()))
    }

    /// Where `url` is asked for: the mirror with the longest prefix, else `url` itself.
    pub fn apply(&self, url: &Url, space: Space) -> Url {
        self.of(url, space).map_or_else(
            || url.clone(),
            |mirror| moved(url, &mirror.from, &mirror.to, space).expect("the prefix was found"),
        )
    }

    /// Whether some mirror takes `url`.
    pub fn has(&self, url: &Url, space: Space) -> bool {
        self.of(url, space).is_some()
    }

    /// Where the original has what `answered` is, when `asked` went to a mirror.
    pub fn back(&self, asked: &Url, answered: &Url, space: Space) -> Url {
        self.of(asked, space)
            .and_then(|mirror| moved(answered, &mirror.to, &mirror.from, space))
            .unwrap_or_else(|| answered.clone())
    }

    fn of(&self, url: &Url, space: Space) -> Option<&Mirror> {
        self.0
            .iter()
            .filter(|mirror| moved(url, &mirror.from, &mirror.to, space).is_some())
            .max_by_key(|mirror| mirror.from.path().trim_end_matches('/').len())
    }
}

/// `url` with its prefix `from` replaced by `to`, or none when it has another prefix.
fn moved(url: &Url, from: &Url, to: &Url, space: Space) -> Option<Url> {
    let place = |url: &Url| {
        (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
    };
    if place(url) != place(from) {
        return None;
    }
    let rest = url.path().strip_prefix(&prefix(from, space))?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let mut target = to.clone();
    target.set_path(&format!("{}{rest}", prefix(to, space)));
    target.set_query(url.query());
    target.set_fragment(url.fragment());
    Some(target)
}

/// The path that a prefix stands for: a registry's names begin behind `/v2`.
fn prefix(url: &Url, space: Space) -> String {
    let path = url.path().trim_end_matches('/');
    match space {
        Space::Web => path.to_owned(),
        Space::Registry => format!("/v2{}", path.strip_prefix("/v2").unwrap_or(path)),
    }
}

/// The certificates that Python's and curl's variables name.
///
/// # Errors
///
/// [`NetworkError::Certificates`], [`NetworkError::NoCertificates`]: name the file to mend.
pub fn environment_certificates() -> Result<Vec<reqwest::Certificate>, NetworkError> {
    let mut all = Vec::new();
    for variable in CERTIFICATE_VARIABLES {
        let Some(path) = std::env::var(variable).ok().filter(|path| !path.is_empty()) else {
            continue;
        };
        let path = Utf8PathBuf::from(path);
        if !path.is_dir() {
            all.extend(certificates(variable, &path)?);
        }
    }
    Ok(all)
}

fn certificates(
    variable: &'static str,
    path: &Utf8Path,
) -> Result<Vec<reqwest::Certificate>, NetworkError> {
    let failed = |source| NetworkError::Certificates { variable, path: path.to_owned(), source };
    if CERTIFICATES_LEN_BYTES_MAX < fs::metadata(path).map_err(failed)?.len() {
        return Err(failed(io::Error::other("the file has more than 16 MiB")));
    }
    let pem = fs::read(path).map_err(failed)?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(NetworkError::NoCertificates { variable, path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(pairs: &[(&str, &str)]) -> Mirrors {
        let mirror = |(from, to): &(&str, &str)| Mirror {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        Mirrors::new(&pairs.iter().map(mirror).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_mirror_takes_what_begins_with_its_prefix() {
        let mirrors = mirrors(&[
            ("https://dl.example", "http://mirror.lan/dl.example/"),
            ("https://dl.example/release/", "http://fast.lan"),
        ]);
        for (url, target) in [
            ("https://dl.example/a/b?x=1", "http://mirror.lan/dl.example/a/b?x=1"),
            ("https://dl.example/release/c", "http://fast.lan/c"),
            ("https://dl.example/released", "http://mirror.lan/dl.example/released"),
            ("http://dl.example/a", "http://dl.example/a"),
            ("https://dl.example:8443/a", "https://dl.example:8443/a"),
            ("https://dl.example.org/a", "https://dl.example.org/a"),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(mirrors.apply(&url, Space::Web).as_str(), target);
            let there = target.parse().unwrap();
            assert_eq!(mirrors.back(&url, &there, Space::Web), url, "{target}");
        }
    }

    #[test]
    fn a_mirror_of_a_registry_has_its_path_behind_v2() {
        let mirrors = mirrors(&[
            ("https://registry.example", "http://127.0.0.1:5001/some/prefix"),
            ("https://registry.example/team", "https://other.lan"),
        ]);
        for (url, target) in [
            (
                "https://registry.example/v2/a/b/manifests/1",
                "http://127.0.0.1:5001/v2/some/prefix/a/b/manifests/1",
            ),
            ("https://registry.example/v2/team/b/blobs/x", "https://other.lan/v2/b/blobs/x"),
        ] {
            assert_eq!(mirrors.apply(&url.parse().unwrap(), Space::Registry).as_str(), target);
        }
    }

    #[test]
    fn a_mirror_that_is_no_pair_of_prefixes_is_refused() {
        for (from, to) in [
            ("ftp://a.lan", "https://b.lan"),
            ("https://a.lan/?x=1", "https://b.lan"),
            ("https://u:CANARY@a.lan", "https://b.lan"),
            ("https://a.lan", "file:///srv"),
        ] {
            let mirror = Mirror { from: from.parse().unwrap(), to: to.parse().unwrap() };
            let error = Mirrors::new(&[mirror]).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
        }
    }

    #[test]
    fn settings_have_defaults_and_know_no_other_keys() {
        assert_eq!(toml::from_str::<Network>("").unwrap(), Network::default());
        let read: Network = toml::from_str("tries = 2\nper_host = 3").unwrap();
        assert_eq!(read, Network { tries: 2, per_host: 3, ..Network::default() });
        assert!(toml::from_str::<Network>("retries = 2").is_err());
    }
}
