//! Artifacts: the named things that a site asks for, and what is known of each.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{BlobId, Digest, SafePath, Target};

/// What sort of thing an artifact is. The same word is the name of a file at every station.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File,
    Image,
    Deb,
    Rpm,
    Pypi,
    Chart,
}

impl Kind {
    /// All kinds, in the order in which lists show them.
    pub const ALL: [Self; 6] =
        [Self::File, Self::Image, Self::Deb, Self::Rpm, Self::Pypi, Self::Chart];

    /// The word for this kind in documents and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Image => "image",
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Pypi => "pypi",
            Self::Chart => "chart",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A named thing that the inside shall serve, with where it comes from and why it is wanted.
///
/// `FORMAT.md`, section 3.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct Artifact {
    /// Unique among the artifacts of its kind in one snapshot.
    #[n(0)]
    pub name: String,
    /// What only this kind has.
    #[n(1)]
    pub facts: Facts,
    /// Its bytes. The first is the artifact itself; an image's index or manifest comes first,
    /// then all that it leads to.
    #[n(2)]
    pub blobs: Vec<BlobRef>,
    /// Where upstream has it, without credentials.
    #[n(3)]
    pub origin: String,
    /// How upstream's word for the digest was checked.
    #[n(4)]
    pub evidence: Evidence,
    /// Why it is wanted: waybill lines, or the artifacts that depend on it.
    #[n(5)]
    pub wanted: Vec<String>,
}

impl Artifact {
    /// The kind of this artifact.
    pub const fn kind(&self) -> Kind {
        match self.facts {
            Facts::File(_) => Kind::File,
            Facts::Image(_) => Kind::Image,
            Facts::Deb(_) => Kind::Deb,
            Facts::Rpm(_) | Facts::YumDocument(_) => Kind::Rpm,
            Facts::Pypi(_) => Kind::Pypi,
            Facts::Chart(_) => Kind::Chart,
        }
    }

    /// Kind and name: unique in a snapshot, and the order of a snapshot.
    pub fn key(&self) -> (Kind, &str) {
        (self.kind(), &self.name)
    }
}

/// A blob and its length.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize, Encode, Decode,
)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct BlobRef {
    #[n(0)]
    pub id: BlobId,
    #[n(1)]
    pub len_bytes: u64,
}

/// What only one kind of artifact has.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Facts {
    #[n(0)]
    File(#[n(0)] FileFacts),
    #[n(1)]
    Image(#[n(0)] ImageFacts),
    #[n(2)]
    Deb(#[n(0)] DebFacts),
    #[n(3)]
    Rpm(#[n(0)] RpmFacts),
    #[n(4)]
    Pypi(#[n(0)] PypiFacts),
    #[n(5)]
    Chart(#[n(0)] ChartFacts),
    #[n(6)]
    YumDocument(#[n(0)] YumDocumentFacts),
}

/// A plain file. The artifact's name is its path.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct FileFacts {
    /// `<original host[:port]>/<path>`, as `wget -x` names it.
    #[n(0)]
    pub path: SafePath,
}

/// A container image. The artifact's name is its reference, `registry.k8s.io/pause:3.10.1`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct ImageFacts {
    /// `<registry host[:port]>/<repository>`.
    #[n(0)]
    pub repository: SafePath,
    /// The tag, when the image was asked for by tag.
    #[n(1)]
    pub tag: Option<String>,
    /// The index or manifest that the reference leads to.
    #[n(2)]
    pub root: BlobId,
    /// Which of the artifact's blobs are manifests or indexes.
    #[n(3)]
    pub manifests: Vec<ManifestRef>,
}

/// One manifest or index of an image.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct ManifestRef {
    #[n(0)]
    pub id: BlobId,
    /// As upstream's `Content-Type` or the descriptor says, without parameters.
    #[n(1)]
    pub media_type: String,
}

/// A Debian package. The artifact's name is `<target>/<package>_<version>_<architecture>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct DebFacts {
    /// The nodes it is for; the first segment below `/apt/`.
    #[n(0)]
    pub target: Target,
    /// The suite of the upstream repository.
    #[n(1)]
    pub suite: String,
    /// The component of the upstream repository.
    #[n(2)]
    pub component: String,
    #[n(3)]
    pub package: String,
    #[n(4)]
    pub version: String,
    /// `amd64`, `all` …
    #[n(5)]
    pub architecture: String,
    /// Upstream's path below the repository root.
    #[n(6)]
    pub filename: SafePath,
    /// The paragraph of upstream's `Packages`, verbatim, without the blank line after it.
    #[n(7)]
    pub paragraph: String,
}

/// An rpm package. The artifact's name is
/// `<target>/<package>-[<epoch>:]<version>-<release>.<architecture>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct RpmFacts {
    /// The nodes it is for; the first segment below `/yum/`.
    #[n(0)]
    pub target: Target,
    /// The id of the upstream repository.
    #[n(1)]
    pub repository: String,
    #[n(2)]
    pub package: String,
    #[n(3)]
    pub epoch: String,
    #[n(4)]
    pub version: String,
    #[n(5)]
    pub release: String,
    /// `x86_64`, `noarch` …
    #[n(6)]
    pub architecture: String,
    /// The file name of the source package; empty when upstream does not say it.
    #[n(7)]
    pub source: String,
    /// Upstream's path below the repository root.
    #[n(8)]
    pub location: SafePath,
    /// Whether it belongs to a module stream.
    #[n(9)]
    pub modular: bool,
    /// The `package` element of upstream's `primary.xml`, verbatim.
    #[n(10)]
    pub element: String,
}

/// A document of a yum repository that travels as it is. The artifact's name is
/// `<target>/<repository>/<architecture>/<document>`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct YumDocumentFacts {
    #[n(0)]
    pub target: Target,
    /// The id of the upstream repository.
    #[n(1)]
    pub repository: String,
    /// The type in upstream's `repomd.xml`: `modules`, `updateinfo`, `group`; or
    /// `key-<fingerprint>` for a key that may sign packages, one armoured block.
    #[n(2)]
    pub document: String,
    /// The architecture whose nodes it is for, `x86_64`.
    #[n(3)]
    pub architecture: String,
}

impl RpmFacts {
    /// What a site has of its own at the place of the package, which cannot be served there.
    pub fn in_the_way(&self) -> Option<&'static str> {
        let location = self.location.as_str();
        let key = location.strip_prefix("keys/").and_then(|name| name.strip_suffix(".asc"));
        if location.starts_with("repodata/") {
            Some("the repository's own metadata")
        } else if key.is_some_and(is_fingerprint) {
            Some("the repository's keys")
        } else {
            None
        }
    }
}

impl YumDocumentFacts {
    /// The type of a document that is a key.
    pub fn of_key(fingerprint: &str) -> String {
        format!("{KEY}{fingerprint}")
    }

    /// The fingerprint, in lower-case hex, of the key that the document is; none of all others.
    pub fn key(&self) -> Option<&str> {
        self.document.strip_prefix(KEY).filter(|text| is_fingerprint(text))
    }
}

fn is_fingerprint(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (40..=64).contains(&text.len()) && text.bytes().all(hex)
}

/// What the type of a document begins with that is a key.
const KEY: &str = "key-";

/// A Helm chart. The artifact's name is `<repository>/<chart>-<version>`.
///
/// The archive is the first blob; a provenance file, if there is one, the second.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct ChartFacts {
    /// Host and path of the upstream repository; the segments below `/helm/`.
    #[n(0)]
    pub repository: SafePath,
    #[n(1)]
    pub chart: String,
    #[n(2)]
    pub version: String,
    #[n(3)]
    pub app_version: Option<String>,
    /// `<chart>-<version>.tgz`.
    #[n(4)]
    pub filename: SafePath,
    /// What the index of a repository says of it besides `urls` and `digest`: `Chart.yaml` and,
    /// where upstream's index has it, `created`; one JSON object of at most
    /// [`limits::CHART_METADATA_LEN_BYTES_MAX`](crate::limits::CHART_METADATA_LEN_BYTES_MAX).
    #[n(5)]
    pub metadata: Option<String>,
}

/// A wheel or a source distribution. The artifact's name is its file name.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct PypiFacts {
    /// The project, normalised as PEP 503 says.
    #[n(0)]
    pub project: String,
    #[n(1)]
    pub version: String,
    #[n(2)]
    pub filename: SafePath,
    /// The index's `requires-python`, not escaped.
    #[n(3)]
    pub requires_python: Option<String>,
    /// The reason upstream gives for withdrawing it; empty when it gives none.
    #[n(4)]
    pub yanked: Option<String>,
}

/// How the digest of an artifact was vouched for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct Evidence {
    #[n(0)]
    pub method: Method,
    /// Who vouched: a key's fingerprint, an index's URL.
    #[n(1)]
    pub by: String,
    /// The digest as upstream gave it.
    #[n(2)]
    pub digest: Option<Digest>,
}

/// The ways of vouching for a digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize, Serialize, Encode, Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Method {
    /// The waybill itself names the digest.
    #[n(0)]
    Waybill,
    /// A signed `InRelease` leads to it.
    #[n(1)]
    AptInRelease,
    /// The simple index names its hash.
    #[n(2)]
    PypiIndex,
    /// The reference, or the manifest that the registry gave for it, names its digest.
    #[n(3)]
    OciDigest,
    /// Nobody vouches for it: the waybill accepts any bytes, or what names its digest came without
    /// TLS and without a signature, from this machine or from a mirror of the configuration.
    #[n(4)]
    Unverified,
    /// A signed `repomd.xml` leads to it.
    #[n(5)]
    YumRepomd,
    /// The index of a chart repository names its digest.
    #[n(6)]
    HelmIndex,
    /// A chart's signed provenance file names its digest.
    #[n(7)]
    HelmProvenance,
    /// The checksums in a Kubespray tree name it.
    #[n(8)]
    Kubespray,
    /// Its origin gave it over TLS and publishes no digest; the lock keeps the one first seen.
    #[n(9)]
    Transport,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_key_when_its_type_has_a_fingerprint() {
        let key = |document: &str| {
            let facts = YumDocumentFacts {
                target: "el9".parse().unwrap(),
                repository: "baseos".to_owned(),
                document: document.to_owned(),
                architecture: "x86_64".to_owned(),
            };
            facts.key().map(str::to_owned)
        };
        let fingerprint = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(key(&YumDocumentFacts::of_key(fingerprint)).as_deref(), Some(fingerprint));
        for other in
            ["group", "key-", "key-../../x", &format!("key-{}", "A".repeat(40)), fingerprint]
        {
            assert_eq!(key(other), None, "{other}");
        }
    }
}
