//! Renders the documents that servers show of a generation.
//!
//! In:   a [`Snapshot`]; for the signed heads also a date and the site's key.
//! Out:  a [`Tree`] of immutable documents, and the heads of one activation.
//! Pure: no files, no clock; the same snapshot always gives the same bytes.
//!
//! Only what is signed or costly becomes a document. Tag lists, referrers and folder listings
//! are answered from the snapshot itself by [`crate::serve`].

pub mod apt;
pub mod file;
pub mod oci;
pub mod pypi;
mod tree;

use std::collections::BTreeMap;

use gapferry_common::openpgp::sign::{SignError, SiteKey};
use gapferry_proto::{Artifact, BlobId, Facts, SafePath, Snapshot};
use jiff::Timestamp;

use tree::Addresses;
pub use tree::Tree;

/// Why a snapshot cannot be published. It is a decision about the snapshot: nothing has been
/// switched, and only another export helps.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(
        "{first} and {second} would both answer /{address} with different bytes; \
         take one of them out of the waybill"
    )]
    Clash { address: String, first: String, second: String },

    #[error("{artifact}: its {what} cannot stand in a path: {text:?}")]
    Name { artifact: String, what: &'static str, text: String },

    #[error("{artifact}: its paragraph does not fit the package: {problem}")]
    Paragraph { artifact: String, problem: &'static str },

    #[error("{0} is no document of this agent's making; publish the generation again")]
    Document(SafePath),

    #[error("{path} cannot be signed")]
    Sign { path: SafePath, source: SignError },
}

/// Renders the documents of one generation.
///
/// # Errors
///
/// [`PublishError`] names the artifacts that cannot be served, or not beside each other.
pub fn render(snapshot: &Snapshot) -> Result<Tree, PublishError> {
    let mut addresses = Addresses::default();
    for artifact in snapshot.artifacts() {
        for (address, blob) in addresses_of(artifact) {
            addresses.claim(address, blob, &artifact.name)?;
        }
    }
    let mut tree = Tree::default();
    tree.extend(apt::render(snapshot)?);
    tree.extend(pypi::render(snapshot)?);
    Ok(tree)
}

/// Signs the heads of one activation: all that clients must see change with the switch.
///
/// `documents` are those of the generation that becomes current; of them only the
/// `Release.undated` are read, so a caller may leave out the rest. `date` is what DESIGN §11
/// says of it: later than the last activation, not earlier than the snapshot.
///
/// # Errors
///
/// [`PublishError::Document`], [`PublishError::Sign`].
pub fn heads(
    documents: &BTreeMap<SafePath, Vec<u8>>,
    date: Timestamp,
    signer: &SiteKey,
) -> Result<BTreeMap<SafePath, Vec<u8>>, PublishError> {
    apt::heads(documents, date, signer)
}

/// The paths below the server's root at which an artifact is answered, and with what.
pub fn addresses_of(artifact: &Artifact) -> Vec<(String, BlobId)> {
    let first = artifact.blobs[0].id;
    match &artifact.facts {
        Facts::File(facts) => vec![(file::address(facts), first)],
        Facts::Image(facts) => {
            oci::address(facts).map(|address| (address, facts.root)).into_iter().collect()
        }
        Facts::Deb(facts) => vec![(apt::address(facts), first)],
        Facts::Pypi(facts) => vec![(pypi::address(facts), first)],
        // Held and pinned like all others; these trees are not served yet.
        Facts::Rpm(_) | Facts::YumDocument(_) | Facts::Chart(_) => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Artifacts for the tests of publishing and serving.

    use gapferry_proto::artifact::{
        BlobRef, DebFacts, Evidence, FileFacts, ImageFacts, ManifestRef, Method, PypiFacts,
    };
    use gapferry_proto::{Artifact, BlobId, Facts};

    pub fn blob(content: &[u8]) -> BlobRef {
        BlobRef { id: BlobId::of(content), len_bytes: content.len() as u64 }
    }

    pub fn artifact(name: &str, facts: Facts, blobs: Vec<BlobRef>) -> Artifact {
        Artifact {
            name: name.to_owned(),
            facts,
            blobs,
            origin: format!("https://upstream.example/{name}"),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    pub fn file(path: &str, content: &[u8]) -> Artifact {
        let facts = Facts::File(FileFacts { path: path.parse().unwrap() });
        artifact(path, facts, vec![blob(content)])
    }

    /// An image of one manifest, with the other blobs given.
    pub fn image(repository: &str, tag: &str, manifest: &[u8], others: &[&[u8]]) -> Artifact {
        let root = blob(manifest);
        let facts = Facts::Image(ImageFacts {
            repository: repository.parse().unwrap(),
            tag: (!tag.is_empty()).then(|| tag.to_owned()),
            root: root.id,
            manifests: vec![ManifestRef {
                id: root.id,
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            }],
        });
        let blobs = [manifest].iter().chain(others).map(|content| blob(content)).collect();
        let name = match tag {
            "" => format!("{repository}@{}", root.id),
            tag => format!("{repository}:{tag}"),
        };
        artifact(&name, facts, blobs)
    }

    /// A package of `bookworm` in component `main`.
    pub fn deb(suite: &str, package: &str, version: &str, arch: &str, content: &[u8]) -> Artifact {
        let filename = format!("pool/main/{package}_{version}_{arch}.deb");
        let blob = blob(content);
        let paragraph = format!(
            "Package: {package}\nVersion: {version}\nArchitecture: {arch}\nFilename: {filename}\n\
             Size: {}\nSHA256: {}\nDescription: {package}\n",
            blob.len_bytes,
            blob.id.hex()
        );
        let facts = Facts::Deb(DebFacts {
            target: "bookworm".parse().unwrap(),
            suite: suite.to_owned(),
            component: "main".to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
            architecture: arch.to_owned(),
            filename: filename.parse().unwrap(),
            paragraph,
        });
        artifact(&format!("bookworm/{package}_{version}_{arch}"), facts, vec![blob])
    }

    pub fn wheel(project: &str, version: &str, filename: &str, content: &[u8]) -> Artifact {
        let facts = Facts::Pypi(PypiFacts {
            project: project.to_owned(),
            version: version.to_owned(),
            filename: filename.parse().unwrap(),
            requires_python: Some(">=3.9,<4".to_owned()),
            yanked: None,
        });
        artifact(filename, facts, vec![blob(content)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clash(first: Artifact, second: Artifact) -> String {
        render(&Snapshot::of([first, second]).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn two_artifacts_that_would_answer_one_address_differently_are_refused_by_name() {
        let mut other = fixture::file("h/a", b"2");
        other.name = "h/b".to_owned();
        assert_eq!(
            clash(fixture::file("h/a", b"1"), other),
            "h/a and h/b would both answer /files/h/a with different bytes; \
             take one of them out of the waybill"
        );
        let mut other = fixture::image("r.example/pause", "1", b"{\"a\":2}", &[]);
        other.name = "again".to_owned();
        let message = clash(fixture::image("r.example/pause", "1", b"{}", &[]), other);
        assert!(message.contains("/v2/r.example/pause/manifests/1"), "{message}");
    }

    #[test]
    fn one_content_under_two_names_is_no_clash() {
        let mut other = fixture::file("h/a", b"1");
        other.name = "h/b".to_owned();
        assert!(render(&Snapshot::of([fixture::file("h/a", b"1"), other]).unwrap()).is_ok());
    }

    #[test]
    fn an_empty_snapshot_has_an_empty_python_index_and_nothing_else() {
        let tree = render(&Snapshot::default()).unwrap();
        let paths: Vec<_> = tree.documents().keys().map(SafePath::as_str).collect();
        assert_eq!(paths, ["pypi/index.html", "pypi/index.json"]);
    }
}
