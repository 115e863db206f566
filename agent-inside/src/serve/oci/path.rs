//! Reads what a path below `/v2/` asks for.
//!
//! In:   a decoded path. Out: an [`OciPath`], or an [`OciError`] with the code clients know.
//! Pure. Repository names hold slashes, so one wildcard route leads here instead of one route a
//! depth.

use std::fmt;

use gapferry_common::hashing::Sha512;
use gapferry_proto::{Digest, limits};

use super::OciError;
use crate::local::Named;
use crate::serve::body::Address;

/// What a path below `/v2/` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OciPath {
    Manifest {
        repository: RepoName,
        reference: Reference,
    },
    Blob {
        repository: RepoName,
        digest: OciDigest,
    },
    Tags {
        repository: RepoName,
    },
    Referrers {
        repository: RepoName,
        subject: OciDigest,
    },
    /// Where pushes go; with an id once they have begun.
    Upload {
        repository: RepoName,
        id: Option<String>,
    },
}

/// The name of a repository, with or without the registry's host before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepoName(String);

/// How a manifest is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    Tag(String),
    Digest(OciDigest),
}

impl Reference {
    pub const fn address(&self) -> Address {
        match self {
            Self::Tag(_) => Address::Name,
            Self::Digest(_) => Address::Digest,
        }
    }
}

/// A well-formed digest. What is carried has SHA-256 alone; what is pushed may have SHA-512; of
/// others nothing is ever held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OciDigest {
    Sha256(Digest),
    Sha512(Sha512),
    Other(String),
}

impl OciPath {
    /// Reads `path`, the part after `/v2/`.
    ///
    /// # Errors
    ///
    /// `NAME_INVALID`, `DIGEST_INVALID`, `MANIFEST_UNKNOWN` for a tag that cannot exist, and
    /// `UNSUPPORTED` for what is no endpoint (distribution-spec v1.1.1, "Endpoints").
    pub fn parse(path: &str) -> Result<Self, OciError> {
        let path = path.trim_end_matches('/');
        let mut back = path.rsplitn(3, '/');
        let (last, verb, name) = (back.next(), back.next(), back.next());
        let (Some(last), Some(verb), Some(name)) = (last, verb, name) else {
            return Err(OciError::NoEndpoint);
        };
        match verb {
            "manifests" => Ok(Self::Manifest {
                repository: RepoName::parse(name)?,
                reference: Reference::parse(last)?,
            }),
            "blobs" if last == "uploads" => {
                Ok(Self::Upload { repository: RepoName::parse(name)?, id: None })
            }
            "uploads" if name.ends_with("/blobs") => {
                let name = name.strip_suffix("/blobs").unwrap_or_default();
                Ok(Self::Upload { repository: RepoName::parse(name)?, id: Some(last.to_owned()) })
            }
            "blobs" => Ok(Self::Blob {
                repository: RepoName::parse(name)?,
                digest: OciDigest::parse(last)?,
            }),
            "tags" if last == "list" => Ok(Self::Tags { repository: RepoName::parse(name)? }),
            "referrers" => Ok(Self::Referrers {
                repository: RepoName::parse(name)?,
                subject: OciDigest::parse(last)?,
            }),
            _ => Err(OciError::NoEndpoint),
        }
    }

    pub const fn repository(&self) -> &RepoName {
        match self {
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. }
            | Self::Upload { repository, .. } => repository,
        }
    }
}

impl RepoName {
    /// Reads a name as distribution-spec v1.1.1, "Pulling manifests", writes it; the first
    /// segment may also be a host with a port.
    pub(super) fn parse(name: &str) -> Result<Self, OciError> {
        let mut segments = name.split('/');
        let first = segments.next().unwrap_or_default();
        let fits = name.len() <= limits::NAME_LEN_BYTES_MAX
            && (is_name_segment(first) || is_host_with_port(first))
            && segments.all(is_name_segment);
        if fits { Ok(Self(name.to_owned())) } else { Err(OciError::NameInvalid) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, OciError> {
        if text.contains(':') {
            return OciDigest::parse(text).map(Self::Digest);
        }
        let mut bytes = text.bytes();
        let fits = text.len() <= 128
            && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fits { Ok(Self::Tag(text.to_owned())) } else { Err(OciError::ManifestUnknown) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => fmt::Display::fmt(digest, f),
            Self::Sha512(digest) => fmt::Display::fmt(digest, f),
            Self::Other(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl OciDigest {
    /// Reads a digest as image-spec v1.1.1, "Digests", writes it.
    pub(super) fn parse(text: &str) -> Result<Self, OciError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(OciError::DigestInvalid)?;
        if algorithm == "sha256" {
            return text.parse().map(Self::Sha256).map_err(|_| OciError::DigestInvalid);
        }
        if algorithm == "sha512" {
            return text.parse().map(Self::Sha512).map_err(|_| OciError::DigestInvalid);
        }
        let fits = text.len() <= limits::NAME_LEN_BYTES_MAX
            && algorithm.split(['+', '.', '_', '-']).all(is_lower_alphanumeric)
            && !encoded.is_empty()
            && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"=_-".contains(&b));
        if fits { Ok(Self::Other(text.to_owned())) } else { Err(OciError::DigestInvalid) }
    }

    /// The digest, when what is pushed can have it.
    pub(super) fn named(&self) -> Option<Named> {
        match self {
            Self::Sha256(digest) => Some(Named::Sha256((*digest).into())),
            Self::Sha512(digest) => Some(Named::Sha512(*digest)),
            Self::Other(_) => None,
        }
    }
}

fn is_lower_alphanumeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_name_segment(segment: &str) -> bool {
    let separators = segment.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    !segment.starts_with(['.', '_', '-'])
        && !segment.ends_with(['.', '_', '-'])
        && !segment.is_empty()
        && separators
            .into_iter()
            .all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_host_with_port(segment: &str) -> bool {
    segment.split_once(':').is_some_and(|(host, port)| {
        is_name_segment(host) && (1..=5).contains(&port.len()) && port.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(name: &str) -> RepoName {
        RepoName(name.to_owned())
    }

    #[test]
    fn a_path_is_read_from_its_end() {
        let digest = Digest::of(b"abc");
        let table = [
            (
                "registry.k8s.io/etcd/etcd/manifests/v3.5".to_owned(),
                OciPath::Manifest {
                    repository: repo("registry.k8s.io/etcd/etcd"),
                    reference: Reference::Tag("v3.5".to_owned()),
                },
            ),
            (
                format!("pause/manifests/{digest}"),
                OciPath::Manifest {
                    repository: repo("pause"),
                    reference: Reference::Digest(OciDigest::Sha256(digest)),
                },
            ),
            (
                format!("registry.k8s.io/etcd/etcd/blobs/{digest}"),
                OciPath::Blob {
                    repository: repo("registry.k8s.io/etcd/etcd"),
                    digest: OciDigest::Sha256(digest),
                },
            ),
            (
                format!("a/blobs/sha512:{}", "0".repeat(128)),
                OciPath::Blob {
                    repository: repo("a"),
                    digest: OciDigest::Sha512(
                        format!("sha512:{}", "0".repeat(128)).parse().unwrap(),
                    ),
                },
            ),
            (
                "localhost:5000/manifests/tags/list".to_owned(),
                OciPath::Tags { repository: repo("localhost:5000/manifests") },
            ),
            (
                format!("a__b/c---d/referrers/{digest}"),
                OciPath::Referrers {
                    repository: repo("a__b/c---d"),
                    subject: OciDigest::Sha256(digest),
                },
            ),
            ("a/blobs/uploads/".to_owned(), OciPath::Upload { repository: repo("a"), id: None }),
            (
                "a/blobs/blobs/uploads/17".to_owned(),
                OciPath::Upload { repository: repo("a/blobs"), id: Some("17".to_owned()) },
            ),
        ];
        for (path, expected) in table {
            assert_eq!(OciPath::parse(&path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_name_digest_or_endpoint_is_refused_with_its_code() {
        let table = [
            ("", OciError::NoEndpoint),
            ("a", OciError::NoEndpoint),
            ("manifests/v1", OciError::NoEndpoint),
            ("a/tags/set", OciError::NoEndpoint),
            ("A/manifests/v1", OciError::NameInvalid),
            ("a//b/manifests/v1", OciError::NameInvalid),
            ("../a/manifests/v1", OciError::NameInvalid),
            ("a.-b/manifests/v1", OciError::NameInvalid),
            ("a___b/manifests/v1", OciError::NameInvalid),
            ("host:99999/a/manifests/v1", OciError::NameInvalid),
            ("a/b:5000/manifests/v1", OciError::NameInvalid),
            ("a/manifests/.v1", OciError::ManifestUnknown),
            ("a/manifests/sha256:abc", OciError::DigestInvalid),
            ("a/blobs/abc", OciError::DigestInvalid),
            ("a/blobs/sha512:00", OciError::DigestInvalid),
            ("a/blobs/SHA256:00", OciError::DigestInvalid),
            ("a/referrers/nothing", OciError::DigestInvalid),
        ];
        for (path, expected) in table {
            assert_eq!(OciPath::parse(path).unwrap_err(), expected, "{path}");
        }
        let long = format!("{}/manifests/v1", "a".repeat(limits::NAME_LEN_BYTES_MAX + 1));
        assert_eq!(OciPath::parse(&long).unwrap_err(), OciError::NameInvalid);
    }
}
