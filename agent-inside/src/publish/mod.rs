//! Renders the documents that servers show of a generation.
//!
//! In:   a [`Snapshot`], and the bytes of what it holds; for the signed heads also a date and the
//!       site's key.
//! Out:  a [`Tree`] of immutable documents, and the heads of one activation.
//! Pure: no files of its own, no clock; the same snapshot always gives the same bytes.
//!
//! Only what is signed or costly becomes a document. Tag lists, referrers and folder listings
//! are answered from the snapshot itself by [`crate::serve`].

pub mod apt;
pub mod file;
pub mod helm;
pub mod oci;
mod packing;
pub mod pypi;
mod tree;
pub mod wheel;
pub mod yum;

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
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

    #[error("{artifact}: its element does not fit the package: {problem}")]
    Element { artifact: String, problem: &'static str },

    #[error("{artifact}: what is said of its chart does not fit: {problem}")]
    Chart { artifact: String, problem: &'static str },

    #[error("{artifact} cannot be served: {problem}")]
    Merge { artifact: String, problem: &'static str },

    /// A fault of this machine, and no decision.
    #[error("the bytes of {artifact} cannot be read")]
    Read { artifact: String, source: io::Error },

    #[error("{0} is no document of this agent's making; publish the generation again")]
    Document(SafePath),

    #[error("{path} cannot be signed")]
    Sign { path: SafePath, source: SignError },
}

/// The bytes of what a snapshot holds: some documents say what stands in packages.
pub trait Held {
    /// The bytes of a blob.
    ///
    /// # Errors
    ///
    /// It is not held, or the disk failed.
    fn open(&self, id: BlobId) -> io::Result<Bytes>;
}

/// Decides whether the artifacts can be served, and beside each other; nothing of them need be
/// held yet.
///
/// # Errors
///
/// [`PublishError`] names the artifacts that cannot.
pub fn check(snapshot: &Snapshot) -> Result<(), PublishError> {
    let mut addresses = Addresses::default();
    for artifact in snapshot.artifacts() {
        // Two repositories may give one key with other signatures on it: the first is served.
        if !matches!(artifact.facts, Facts::YumDocument(_)) {
            for (address, blob) in addresses_of(artifact) {
                addresses.claim(address, blob, &artifact.name)?;
            }
        }
        match &artifact.facts {
            Facts::Deb(facts) => apt::check(artifact, facts)?,
            Facts::Rpm(facts) => yum::check(artifact, facts)?,
            Facts::Pypi(facts) => pypi::check(artifact, facts)?,
            Facts::Chart(facts) => helm::check(artifact, facts)?,
            Facts::File(_) | Facts::Image(_) | Facts::YumDocument(_) => {}
        }
    }
    Ok(())
}

/// Renders the documents of one generation, all of whose blobs are held.
///
/// # Errors
///
/// As [`check`]; [`PublishError::Merge`]; [`PublishError::Read`].
pub fn render(snapshot: &Snapshot, held: &dyn Held) -> Result<Tree, PublishError> {
    check(snapshot)?;
    let mut tree = Tree::default();
    tree.extend(apt::render(snapshot)?);
    tree.extend(yum::render(snapshot, held)?);
    tree.extend(pypi::render(snapshot, held)?);
    tree.extend(helm::render(snapshot)?);
    Ok(tree)
}

/// Signs the heads of one activation: all that clients must see change with the switch.
///
/// `documents` are those of the generation that becomes current; of them only the
/// undated heads are read, so a caller may leave out the rest. `date` is what DESIGN §11
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
    let mut heads = apt::heads(documents, date, signer)?;
    heads.extend(yum::heads(documents, date, signer)?);
    Ok(heads)
}

/// The heads called `name` among `documents` that wait for their date: each with its folder, which
/// ends with a slash, and its text, if it is text.
fn undated<'a>(
    documents: &'a BTreeMap<SafePath, Vec<u8>>,
    name: &'static str,
) -> impl Iterator<Item = (&'a SafePath, &'a str, Option<&'a str>)> {
    documents.iter().filter_map(move |(path, bytes)| {
        let folder = path.as_str().strip_suffix(name).filter(|folder| folder.ends_with('/'))?;
        Some((path, folder, std::str::from_utf8(bytes).ok()))
    })
}

/// A path of our own making; what goes into it was checked before.
fn path(text: &str) -> SafePath {
    text.parse().expect("it is made of checked names, which are short enough")
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
        Facts::Rpm(facts) => vec![(yum::address(facts), first)],
        Facts::Pypi(facts) => vec![(pypi::address(facts), first)],
        Facts::Chart(facts) => {
            let names = ["", helm::PROVENANCE].map(|end| format!("{}{end}", helm::address(facts)));
            names.into_iter().zip(artifact.blobs.iter().map(|blob| blob.id)).collect()
        }
        Facts::YumDocument(facts) => {
            let key = facts.key().map(|key| (yum::key_address(&facts.target, key), first));
            key.into_iter().collect()
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Artifacts for the tests of publishing and serving.

    use std::collections::HashMap;
    use std::io;

    use bytes::Bytes;
    use gapferry_proto::artifact::{
        BlobRef, ChartFacts, DebFacts, Evidence, FileFacts, ImageFacts, ManifestRef, Method,
        PypiFacts, RpmFacts, YumDocumentFacts,
    };
    use gapferry_proto::{Artifact, BlobId, Facts};

    use super::Held;

    /// Blobs in memory.
    #[derive(Default)]
    pub struct HeldBytes(HashMap<BlobId, Bytes>);

    impl HeldBytes {
        pub fn of(contents: &[&[u8]]) -> Self {
            let blob = |content: &&[u8]| (BlobId::of(content), Bytes::copy_from_slice(content));
            Self(contents.iter().map(blob).collect())
        }
    }

    impl Held for HeldBytes {
        fn open(&self, id: BlobId) -> io::Result<Bytes> {
            self.0.get(&id).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

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

    /// A package of release 1 for every architecture.
    pub fn rpm(target: &str, package: &str, version: &str, content: &[u8]) -> Artifact {
        let location = format!("Packages/{package}-{version}-1.noarch.rpm");
        let blob = blob(content);
        let element = format!(
            "<package type=\"rpm\">\n  <name>{package}</name>\n  <arch>noarch</arch>\n  \
             <version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\n  \
             <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum>\n  \
             <size package=\"{}\" installed=\"1\" archive=\"1\"/>\n  \
             <location href=\"{location}\"/>\n  <format/>\n</package>",
            blob.id.hex(),
            blob.len_bytes
        );
        let facts = Facts::Rpm(RpmFacts {
            target: target.parse().unwrap(),
            repository: "baseos".to_owned(),
            package: package.to_owned(),
            epoch: "0".to_owned(),
            version: version.to_owned(),
            release: "1".to_owned(),
            architecture: "noarch".to_owned(),
            source: String::new(),
            location: location.parse().unwrap(),
            modular: false,
            element,
        });
        artifact(&format!("{target}/{package}-{version}-1.noarch"), facts, vec![blob])
    }

    pub fn yum_document(
        target: &str,
        repository: &str,
        document: &str,
        content: &[u8],
    ) -> Artifact {
        let facts = Facts::YumDocument(YumDocumentFacts {
            target: target.parse().unwrap(),
            repository: repository.to_owned(),
            document: document.to_owned(),
            architecture: "x86_64".to_owned(),
        });
        let name = format!("{target}/{repository}/x86_64/{document}");
        artifact(&name, facts, vec![blob(content)])
    }

    pub fn chart(repository: &str, chart: &str, version: &str, content: &[u8]) -> Artifact {
        let facts = Facts::Chart(ChartFacts {
            repository: repository.parse().unwrap(),
            chart: chart.to_owned(),
            version: version.to_owned(),
            app_version: Some("9".to_owned()),
            filename: format!("{chart}-{version}.tgz").parse().unwrap(),
            metadata: None,
        });
        artifact(&format!("{repository}/{chart}-{version}"), facts, vec![blob(content)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clash(first: Artifact, second: Artifact) -> String {
        check(&Snapshot::of([first, second]).unwrap()).unwrap_err().to_string()
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
        let mut charts = [fixture::chart("c", "a", "1", b"a"), fixture::chart("c", "b", "1", b"a")];
        let [first, second] = &mut charts;
        first.blobs.push(fixture::blob(b"signed"));
        second.blobs.push(fixture::blob(b"signed by another"));
        let Facts::Chart(facts) = &mut second.facts else { unreachable!() };
        facts.filename = "a-1.tgz".parse().unwrap();
        let [first, second] = charts;
        let message = clash(first, second);
        assert!(message.contains("/helm/c/a-1.tgz.prov"), "{message}");
    }

    #[test]
    fn one_content_under_two_names_is_no_clash() {
        let mut other = fixture::file("h/a", b"1");
        other.name = "h/b".to_owned();
        assert!(check(&Snapshot::of([fixture::file("h/a", b"1"), other]).unwrap()).is_ok());
    }

    #[test]
    fn an_empty_snapshot_has_an_empty_python_index_and_nothing_else() {
        let tree = render(&Snapshot::default(), &fixture::HeldBytes::default()).unwrap();
        let paths: Vec<_> = tree.documents().keys().map(SafePath::as_str).collect();
        assert_eq!(paths, ["pypi/index.html", "pypi/index.json"]);
    }
}
