//! Packages and documents as artifacts, with who vouches for them.
//!
//! In:   what the lines of a target resolved to.
//! Out:  [`Yum`]: artifacts, and the bytes of the documents, which are read already.
//! Pure: values only.

use std::collections::BTreeMap;

use bytes::Bytes;
use camino::Utf8Path;
use gapferry_common::openpgp::ring::PublicKey;
use gapferry_proto::{
    Artifact, BlobId, BlobRef, Facts, Kind, Target,
    artifact::{Evidence, Method, YumDocumentFacts},
};

use super::{
    pick::{Passed, Repository, Rpm, Vouched},
    resolve::Resolved,
    universe::Checksum,
};
use crate::source::{Failure, Found, Verdict, http::Redacted};

/// What lines of rpm packages lead to.
#[derive(Debug, Default)]
pub struct Yum {
    pub found: Found,
    /// Documents that travel along, which were read on the way. They are blobs of the artifacts.
    pub kept: Vec<(BlobId, Bytes)>,
    /// By artifact: files that another package requires of it, where its element does not list
    /// them.
    pub files: BTreeMap<String, Vec<String>>,
}

impl Yum {
    /// Adds what other lines lead to.
    pub fn join(&mut self, other: Self) {
        self.found.artifacts.extend(other.found.artifacts);
        self.found.failures.extend(other.found.failures);
        self.kept.extend(other.kept);
        self.files.extend(other.files);
    }
}

/// Why a package cannot be carried.
#[derive(Debug, thiserror::Error)]
#[error("its repository gives a SHA-512 alone, and blobs are named by SHA-256; leave it out")]
struct NoSha256;

/// Turns what was resolved for nodes of `target` and `architecture` into artifacts.
///
/// Paths below `base`, the folder of the waybill, are recorded as relative to it.
pub fn of(resolved: Resolved, base: &Utf8Path, target: &Target, architecture: &str) -> Yum {
    let Resolved { packages, passed, repositories, failures } = resolved;
    let mut yum = Yum { found: Found { failures, ..Found::default() }, ..Yum::default() };
    for mut rpm in packages {
        let files = std::mem::take(&mut rpm.files);
        if !files.is_empty() {
            yum.files.insert(rpm.name.clone(), files);
        }
        match package(&rpm, &repositories[rpm.repository]) {
            Some(artifact) => yum.found.artifacts.push(artifact),
            None => {
                let failure = Failure::new(Kind::Rpm, rpm.name, Verdict::Refused, NoSha256);
                yum.found.failures.push(failure);
            }
        }
    }
    for document in passed {
        let artifact =
            of_document(&document, &repositories[document.repository], target, architecture);
        yum.kept.push((artifact.blobs[0].id, document.bytes.into()));
        yum.found.artifacts.push(artifact);
    }
    for repository in &repositories {
        for (path, key) in &repository.keys {
            let path = path.strip_prefix(base).unwrap_or(path);
            let artifact = of_key(key, path, repository, target, architecture);
            yum.kept.push((artifact.blobs[0].id, key.armoured.clone().into()));
            yum.found.artifacts.push(artifact);
        }
    }
    yum
}

fn package(rpm: &Rpm, repository: &Repository) -> Option<Artifact> {
    let Checksum::Sha256(digest) = rpm.checksum else { return None };
    Some(Artifact {
        name: rpm.name.clone(),
        facts: Facts::Rpm(rpm.facts.clone()),
        blobs: vec![BlobRef { id: digest.into(), len_bytes: rpm.len_bytes }],
        origin: rpm.url.to_string(),
        evidence: Evidence { digest: Some(digest), ..evidence(repository) },
        wanted: rpm.wanted.clone(),
    })
}

fn of_document(
    document: &Passed,
    repository: &Repository,
    target: &Target,
    architecture: &str,
) -> Artifact {
    let id = BlobId::of(&document.bytes);
    let facts = YumDocumentFacts {
        target: target.clone(),
        repository: repository.source.id.clone(),
        document: document.kind.clone(),
        architecture: architecture.to_owned(),
    };
    Artifact {
        name: format!("{target}/{}/{architecture}/{}", facts.repository, facts.document),
        facts: Facts::YumDocument(facts),
        blobs: vec![BlobRef { id, len_bytes: document.bytes.len() as u64 }],
        origin: document.url.to_string(),
        evidence: evidence(repository),
        wanted: vec![format!("packages of {}", repository.source.id)],
    }
}

/// A key by which nodes check packages. The waybill, or this machine's own settings, name its file.
fn of_key(
    key: &PublicKey,
    path: &Utf8Path,
    repository: &Repository,
    target: &Target,
    architecture: &str,
) -> Artifact {
    let id = BlobId::of(key.armoured.as_bytes());
    let facts = YumDocumentFacts {
        target: target.clone(),
        repository: repository.source.id.clone(),
        document: YumDocumentFacts::of_key(&key.fingerprint),
        architecture: architecture.to_owned(),
    };
    let by = format!("the key file {path}");
    Artifact {
        name: format!("{target}/{}/{architecture}/{}", facts.repository, facts.document),
        facts: Facts::YumDocument(facts),
        blobs: vec![BlobRef { id, len_bytes: key.armoured.len() as u64 }],
        origin: format!("file:{path}"),
        evidence: Evidence { method: Method::Waybill, by, digest: Some(id.digest()) },
        wanted: vec![format!("packages of {}", repository.source.id)],
    }
}

fn evidence(repository: &Repository) -> Evidence {
    let (method, by) = match &repository.vouched {
        Vouched::Key(fingerprint) => (Method::YumRepomd, fingerprint.clone()),
        Vouched::Metalink(url) | Vouched::Tls(url) => {
            (Method::Transport, Redacted::of(url).to_string())
        }
        Vouched::Nobody => (Method::Unverified, Redacted::of(&repository.root).to_string()),
    };
    Evidence { method, by, digest: None }
}
