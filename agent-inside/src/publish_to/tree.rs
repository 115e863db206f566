//! What a plain file server shows of a generation: which bytes stand at which path.
//!
//! In:   an [`Edition`]: snapshots, the documents and the signed heads of one activation.
//! Out:  [`Item`]s, sorted by rank and path; images are no files, and none of them.
//! Pure: the same edition gives the same items.
//!
//! The paths are those at which `serve` answers, but that Python's pages lie where a server
//! without any rules finds them, `pypi/simple/<project>/index.html`.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use bytes::Bytes;
use camino::Utf8PathBuf;
use gapferry_proto::{Artifact, Digest, Facts, Kind, Sequence, Snapshot, SnapshotId};
use jiff::Timestamp;

use crate::publish;

/// Where the key lies that vouches for the repositories.
const KEY_PATH: &str = "keys/site.asc";

/// One activation, and the generations that are kept beside it.
#[derive(Debug)]
pub struct Edition {
    pub sequence: Sequence,
    pub activation: u64,
    pub activated: Timestamp,
    pub id: SnapshotId,
    pub current: Shown,
    /// Newest first, without the current one.
    pub kept: Vec<Shown>,
    /// The signed heads of the activation.
    pub heads: Vec<Document>,
    /// The armoured public key that vouches for them.
    pub key: String,
}

/// A generation and its documents.
#[derive(Debug, Default)]
pub struct Shown {
    pub snapshot: Snapshot,
    pub documents: Vec<Document>,
}

/// A rendered document on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Below the folder of its generation or activation.
    pub name: String,
    pub content: Content,
}

/// Some bytes, known by digest and length before they are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    pub place: Place,
    pub digest: Digest,
    pub len_bytes: u64,
}

/// Where bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the store, under the content's digest.
    Store,
    File(Utf8PathBuf),
    Memory(Bytes),
}

/// In which order things are published, so that nothing names what is not there yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    /// Packages and files.
    Goods,
    /// Indexes of packages.
    Indexes,
    /// What is signed, and leads to the indexes.
    Heads,
}

/// One file to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Below the root of the server.
    pub path: String,
    pub rank: Rank,
    pub content: Content,
}

impl Content {
    /// Bytes that are in memory.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let (digest, len_bytes) = (Digest::of(&bytes), bytes.len() as u64);
        Self { place: Place::Memory(bytes), digest, len_bytes }
    }
}

/// Plans the files of an edition; of all kinds but images when `only` is empty.
///
/// With `kept`, what is addressed by version or digest stays from the kept generations too, as
/// `serve` has it; where one path has two contents the current generation's is taken.
pub fn plan(edition: &Edition, only: &BTreeSet<Kind>, kept: bool) -> Vec<Item> {
    let wanted = |kind: Kind| only.is_empty() || only.contains(&kind);
    let mut items = Items::default();
    for artifact in edition.current.snapshot.artifacts().filter(|a| wanted(a.kind())) {
        items.add_artifact(artifact);
    }
    for document in edition.current.documents.iter().filter(|d| wanted_path(&d.name, &wanted)) {
        items.add_document(document);
    }
    for head in edition.heads.iter().filter(|head| wanted_path(&head.name, &wanted)) {
        items.add(head.name.clone(), Rank::Heads, head.content.clone());
    }
    if !edition.heads.is_empty() && (wanted(Kind::Deb) || wanted(Kind::Rpm)) {
        let key = Content::of(edition.key.clone().into_bytes());
        items.add(KEY_PATH.to_owned(), Rank::Heads, key);
    }
    for shown in edition.kept.iter().filter(|_| kept) {
        for artifact in shown.snapshot.artifacts().filter(|a| wanted(a.kind())) {
            items.add_artifact(artifact);
        }
        for document in shown.documents.iter().filter(|d| wanted_path(&d.name, &wanted)) {
            items.add_by_digest(document);
        }
    }
    let mut items: Vec<_> = items.0.into_values().collect();
    items.sort_by(|a, b| (a.rank, &a.path).cmp(&(b.rank, &b.path)));
    items
}

/// Files by path; the first to claim one has it.
#[derive(Default)]
struct Items(BTreeMap<String, Item>);

impl Items {
    fn add(&mut self, path: String, rank: Rank, content: Content) {
        if let Entry::Vacant(free) = self.0.entry(path) {
            let path = free.key().clone();
            free.insert(Item { path, rank, content });
        }
    }

    fn add_artifact(&mut self, artifact: &Artifact) {
        if matches!(artifact.facts, Facts::Image(_)) {
            return;
        }
        for (path, id) in publish::addresses_of(artifact) {
            let Some(blob) = artifact.blobs.iter().find(|blob| blob.id == id) else { continue };
            let (digest, len_bytes) = (id.digest(), blob.len_bytes);
            self.add(path, Rank::Goods, Content { place: Place::Store, digest, len_bytes });
        }
    }

    fn add_document(&mut self, document: &Document) {
        let Some(path) = static_path(&document.name) else { return };
        self.add_by_digest(document);
        self.add(path, Rank::Indexes, document.content.clone());
    }

    /// Adds a document under a name that says its digest, if it has one.
    fn add_by_digest(&mut self, document: &Document) {
        if let Some(path) = path_by_digest(&document.name, &document.content.digest) {
            self.add(path, Rank::Goods, document.content.clone());
        }
    }
}

/// Whether a document belongs to a kind that is wanted: its first folder says so.
fn wanted_path(name: &str, wanted: &impl Fn(Kind) -> bool) -> bool {
    match name.split('/').next() {
        Some("apt") => wanted(Kind::Deb),
        Some("yum") => wanted(Kind::Rpm),
        Some("pypi") => wanted(Kind::Pypi),
        Some("helm") => wanted(Kind::Chart),
        Some("files") => wanted(Kind::File),
        _ => true,
    }
}

/// Where a rendered document is shown; none for heads that wait for their date.
fn static_path(name: &str) -> Option<String> {
    if name.ends_with(".undated") {
        return None;
    }
    let Some(page) = name.strip_prefix("pypi/") else { return Some(name.to_owned()) };
    if let Some((project, end)) = page.strip_prefix("project/").and_then(|p| p.rsplit_once('.')) {
        return Some(format!("pypi/simple/{project}/index.{end}"));
    }
    match page {
        "index.html" | "index.json" => Some(format!("pypi/simple/{page}")),
        _ => Some(name.to_owned()),
    }
}

/// The path that names a document's digest: of an apt index by hash (Debian repository format,
/// "indices acquisition via hashsums"), of yum's metadata, which are named so at once.
fn path_by_digest(name: &str, digest: &Digest) -> Option<String> {
    let (folder, file) = name.rsplit_once('/')?;
    if name.ends_with(".undated") {
        None
    } else if name.starts_with("apt/") {
        Some(format!("{folder}/by-hash/SHA256/{}", digest.hex()))
    } else {
        file.starts_with(&digest.hex()).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use gapferry_proto::BlobId;

    use super::*;
    use crate::publish::fixture;

    fn document(name: &str, text: &str) -> Document {
        Document { name: name.to_owned(), content: Content::of(text.to_owned()) }
    }

    fn edition() -> Edition {
        let current = [
            fixture::file("h.example/a", b"new"),
            fixture::deb("bookworm", "socat", "2", "amd64", b"socat 2"),
            fixture::wheel("a", "1", "a-1.tar.gz", b"a"),
            fixture::image("r.example/pause", "1", b"{}", &[]),
        ];
        let old = [
            fixture::file("h.example/a", b"old"),
            fixture::deb("bookworm", "socat", "1", "amd64", b"socat 1"),
        ];
        let packages = "apt/bookworm/dists/bookworm/main/binary-amd64/Packages";
        let repodata = format!("yum/el9/repodata/{}-primary.xml.gz", Digest::of(b"old yum").hex());
        Edition {
            sequence: Sequence(2),
            activation: 3,
            activated: "2026-11-22T00:00:00Z".parse().unwrap(),
            id: SnapshotId::of(b"s"),
            current: Shown {
                snapshot: Snapshot::of(current).unwrap(),
                documents: vec![
                    document(packages, "new"),
                    document("apt/bookworm/dists/bookworm/Release.undated", "undated"),
                    document("pypi/index.html", "all"),
                    document("pypi/project/a.html", "page"),
                    document("pypi/project/a.json", "{}"),
                ],
            },
            kept: vec![Shown {
                snapshot: Snapshot::of(old).unwrap(),
                documents: vec![
                    document(packages, "old"),
                    document(&repodata, "old yum"),
                    document("pypi/project/gone.html", "gone"),
                ],
            }],
            heads: vec![document("apt/bookworm/dists/bookworm/InRelease", "signed")],
            key: "key".to_owned(),
        }
    }

    fn paths(only: &[Kind], kept: bool) -> Vec<String> {
        let only = only.iter().copied().collect();
        plan(&edition(), &only, kept).into_iter().map(|item| item.path).collect()
    }

    #[test]
    fn goods_come_first_then_indexes_then_heads() {
        let folder = "apt/bookworm/dists/bookworm";
        let by_hash =
            format!("{folder}/main/binary-amd64/by-hash/SHA256/{}", Digest::of(b"new").hex());
        let expected = [
            &*by_hash,
            "apt/bookworm/pool/main/socat_2_amd64.deb",
            "files/h.example/a",
            "pypi/packages/a-1.tar.gz",
            "apt/bookworm/dists/bookworm/main/binary-amd64/Packages",
            "pypi/simple/a/index.html",
            "pypi/simple/a/index.json",
            "pypi/simple/index.html",
            "apt/bookworm/dists/bookworm/InRelease",
            "keys/site.asc",
        ];
        assert_eq!(paths(&[], false), expected);
    }

    #[test]
    fn what_kept_generations_have_by_version_or_digest_stays_and_their_pages_go() {
        let with = paths(&[], true);
        let without = paths(&[], false);
        let mut more: Vec<_> = with.into_iter().filter(|path| !without.contains(path)).collect();
        more.sort();
        let [old, yum] = [b"old".as_slice(), b"old yum"].map(|bytes| Digest::of(bytes).hex());
        let expected = [
            format!("apt/bookworm/dists/bookworm/main/binary-amd64/by-hash/SHA256/{old}"),
            "apt/bookworm/pool/main/socat_1_amd64.deb".to_owned(),
            format!("yum/el9/repodata/{yum}-primary.xml.gz"),
        ];
        assert_eq!(more, expected);
    }

    #[test]
    fn where_a_path_has_two_contents_the_current_generation_wins() {
        let items = plan(&edition(), &BTreeSet::new(), true);
        let file = items.iter().find(|item| item.path == "files/h.example/a").unwrap();
        assert_eq!(file.content.digest, BlobId::of(b"new").digest());
    }

    #[test]
    fn one_kind_alone_brings_its_own_documents_and_no_others() {
        assert_eq!(paths(&[Kind::File], false), ["files/h.example/a"]);
        let python = ["pypi/packages/a-1.tar.gz", "pypi/simple/a/index.html"];
        assert_eq!(paths(&[Kind::Pypi], false)[..2], python);
        assert_eq!(paths(&[Kind::Image], false), [""; 0]);
    }
}
