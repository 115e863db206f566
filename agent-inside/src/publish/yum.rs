//! Rpm packages: one repository for each target.
//!
//! In:   the packages of a snapshot, each with upstream's element of `primary.xml`, and the
//!       documents that travel along; the bytes of both.
//! Out:  `yum/<target>/repodata/<SHA-256>-….gz`, or `….zst`: `primary`, `filelists` and `other`,
//!       and of what was carried, groups, modules and advisories; and [`UNDATED`], the head but
//!       for its dates; from that the signed heads.
//! Pure: the same packages give the same bytes, whatever order they come in.
//!
//! The repositories that a target is supplied from are merged, so that a node needs one of its
//! own. Everything is packed by gzip, which every dnf, yum and zypper reads, since a `repomd.xml`
//! can name one file of a sort only; by zstd where the groups, modules and advisories that came
//! from upstream were packed so, for then the nodes of the target read it.

mod element;
mod header;
mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use gapferry_common::openpgp::sign::SiteKey;
use gapferry_proto::artifact::{BlobRef, RpmFacts};
use gapferry_proto::{Artifact, Digest, Facts, SafePath, Snapshot, Target, limits};
use jiff::Timestamp;

use self::element::escaped;
use self::header::{Header, Sort as FileSort};
use self::merge::Sort;
use super::packing::{Packing, gzip, unpacked, zstd};
use super::{Held, PublishError, path};

/// The name of the document that becomes `repomd.xml` once it has a date.
pub const UNDATED: &str = "repomd.undated";

/// The names of the heads, all in `repodata`.
pub const HEADS: [&str; 3] = ["repomd.xml", "repomd.xml.asc", "repomd.xml.key"];

const COMMON: &str = "http://linux.duke.edu/metadata/common";
const RPM: &str = "http://linux.duke.edu/metadata/rpm";
const REPO: &str = "http://linux.duke.edu/metadata/repo";
const FILELISTS: &str = "http://linux.duke.edu/metadata/filelists";
const OTHER: &str = "http://linux.duke.edu/metadata/other";

/// One document that a `repomd.xml` lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Below the root of the repository, `repodata/…`.
    pub path: SafePath,
    pub digest: Digest,
    pub len_bytes: u64,
}

/// What one target is supplied with.
#[derive(Default)]
struct Supply<'a> {
    packages: Vec<(&'a Artifact, &'a RpmFacts)>,
    documents: BTreeMap<Sort, Vec<&'a Artifact>>,
}

/// The path below the server's root at which a package is served.
pub fn address(facts: &RpmFacts) -> String {
    format!("yum/{}/{}", facts.target, facts.location)
}

/// The path below the server's root at which a key is served that may sign packages.
pub fn key_address(target: &Target, fingerprint: &str) -> String {
    format!("yum/{target}/keys/{fingerprint}.asc")
}

/// The folder of a target's metadata: `yum/<target>/repodata`.
pub fn folder(target: &Target) -> String {
    format!("yum/{target}/repodata")
}

/// The target whose repository an artifact belongs to.
pub const fn target(artifact: &Artifact) -> Option<&Target> {
    match &artifact.facts {
        Facts::Rpm(facts) => Some(&facts.target),
        Facts::YumDocument(facts) => Some(&facts.target),
        _ => None,
    }
}

/// Refuses a package whose element would tear the index or lead clients to other bytes.
///
/// # Errors
///
/// [`PublishError::Element`].
pub fn check(artifact: &Artifact, facts: &RpmFacts) -> Result<(), PublishError> {
    let element = |problem| PublishError::Element { artifact: artifact.name.clone(), problem };
    if facts.in_the_way().is_some() {
        return Err(element("it stands among the repository's own metadata or keys"));
    }
    element::placed(facts, artifact.blobs[0]).map(drop).map_err(element)
}

/// Renders the documents of every target.
///
/// # Errors
///
/// [`PublishError::Element`], [`PublishError::Merge`], [`PublishError::Read`].
pub fn render(
    snapshot: &Snapshot,
    held: &dyn Held,
) -> Result<Vec<(SafePath, Vec<u8>)>, PublishError> {
    let mut targets: BTreeMap<&Target, Supply<'_>> = BTreeMap::new();
    for artifact in snapshot.artifacts() {
        match &artifact.facts {
            Facts::Rpm(facts) => {
                targets.entry(&facts.target).or_default().packages.push((artifact, facts));
            }
            Facts::YumDocument(facts) => {
                if let Some(sort) = Sort::of(&facts.document) {
                    let documents = &mut targets.entry(&facts.target).or_default().documents;
                    documents.entry(sort).or_default().push(artifact);
                }
            }
            _ => {}
        }
    }
    let mut documents = Vec::new();
    for (target, supply) in targets {
        documents.extend(render_target(target, &supply, held)?);
    }
    Ok(documents)
}

fn render_target(
    target: &Target,
    supply: &Supply<'_>,
    held: &dyn Held,
) -> Result<Vec<(SafePath, Vec<u8>)>, PublishError> {
    let mut list = List { folder: folder(target), ..List::default() };
    let form = form(supply, held)?;
    list.add("primary", "primary.xml", &primary(&supply.packages)?, form);
    let (filelists, other) = headers(&supply.packages, held)?;
    list.add("filelists", "filelists.xml", filelists.as_bytes(), form);
    list.add("other", "other.xml", other.as_bytes(), form);
    for (&sort, artifacts) in &supply.documents {
        let plain = merged(sort, artifacts, held)?;
        match sort {
            Sort::Group => {
                list.add("group", sort.file(), &plain, Form::Plain);
                if form == Form::Gzip {
                    list.add("group_gz", sort.file(), &plain, form);
                }
            }
            Sort::Modules => list.add("modules", sort.file(), &plain, form),
            Sort::UpdateInfo => list.add("updateinfo", sort.file(), &plain, form),
        }
    }
    Ok(list.finish())
}

/// How a document is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Plain,
    Gzip,
    Zstd,
}

impl Form {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    fn pack(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => plain.to_vec(),
            Self::Gzip => gzip(plain),
            Self::Zstd => zstd(plain),
        }
    }
}

/// zstd where upstream packs by it alone what it packs, so that no client of the target is served
/// what it cannot read: dnf of EL8 knows gzip and xz.
fn form(supply: &Supply<'_>, held: &dyn Held) -> Result<Form, PublishError> {
    let mut packings = BTreeSet::new();
    for artifact in supply.documents.values().flatten() {
        let bytes = held.open(artifact.blobs[0].id).map_err(|e| read_error(artifact, e))?;
        packings.extend(Packing::of(&bytes));
    }
    let is_zstd = packings == BTreeSet::from([Packing::Zstd]);
    Ok(if is_zstd { Form::Zstd } else { Form::Gzip })
}

/// The documents of one repository, and what its head says of them.
#[derive(Default)]
struct List {
    folder: String,
    documents: Vec<(SafePath, Vec<u8>)>,
    entries: String,
}

impl List {
    fn add(&mut self, sort: &str, file: &str, plain: &[u8], form: Form) {
        let (bytes, file) = (form.pack(plain), format!("{file}{}", form.suffix()));
        let packed = form != Form::Plain;
        let (digest, open) = (Digest::of(&bytes).hex(), Digest::of(plain).hex());
        let (len, open_len) = (bytes.len(), plain.len());
        let mut entry = format!(
            "  <data type=\"{sort}\">\n    <checksum type=\"sha256\">{digest}</checksum>\n"
        );
        if packed {
            entry += &format!("    <open-checksum type=\"sha256\">{open}</open-checksum>\n");
        }
        entry += &format!(
            "    <location href=\"repodata/{digest}-{file}\"/>\n    {NO_TIME}\n    \
             <size>{len}</size>\n"
        );
        if packed {
            entry += &format!("    <open-size>{open_len}</open-size>\n");
        }
        self.entries += &entry;
        self.entries += "  </data>\n";
        self.documents.push((path(&format!("{}/{digest}-{file}", self.folder)), bytes));
    }

    fn finish(mut self) -> Vec<(SafePath, Vec<u8>)> {
        let head = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"{REPO}\" \
             xmlns:rpm=\"{RPM}\">\n  {NO_REVISION}\n{}</repomd>\n",
            self.entries
        );
        self.documents.push((path(&format!("{}/{UNDATED}", self.folder)), head.into_bytes()));
        self.documents
    }
}

/// What stands in the undated head where the dated one has the activation's second.
const NO_TIME: &str = "<timestamp/>";
const NO_REVISION: &str = "<revision/>";

/// The elements as upstream wrote them, but for their places.
fn primary(packages: &[(&Artifact, &RpmFacts)]) -> Result<Vec<u8>, PublishError> {
    let count = packages.len();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <metadata xmlns=\"{COMMON}\" xmlns:rpm=\"{RPM}\" packages=\"{count}\">\n"
    );
    for (artifact, facts) in packages {
        let placed = element::placed(facts, artifact.blobs[0]).map_err(|problem| {
            PublishError::Element { artifact: artifact.name.clone(), problem }
        })?;
        text.push_str(&placed);
        text.push('\n');
    }
    text.push_str("</metadata>\n");
    Ok(text.into_bytes())
}

/// `filelists.xml` and `other.xml`, of what the packages themselves say.
fn headers(
    packages: &[(&Artifact, &RpmFacts)],
    held: &dyn Held,
) -> Result<(String, String), PublishError> {
    let head = |root: &str, name: &str| {
        let count = packages.len();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{root} xmlns=\"{name}\" packages=\"{count}\">\n"
        )
    };
    let mut filelists = head("filelists", FILELISTS);
    let mut other = head("otherdata", OTHER);
    for (artifact, facts) in packages {
        let blob = artifact.blobs[0];
        let bytes = held.open(blob.id).map_err(|source| read_error(artifact, source))?;
        let header = header::read(&bytes).unwrap_or_default();
        let begin = begin(facts, blob);
        filelists += &format!("{begin}{}</package>\n", files(&header));
        other += &format!("{begin}{}</package>\n", changes(&header));
    }
    filelists.push_str("</filelists>\n");
    other.push_str("</otherdata>\n");
    Ok((filelists, other))
}

fn read_error(artifact: &Artifact, source: std::io::Error) -> PublishError {
    PublishError::Read { artifact: artifact.name.clone(), source }
}

fn begin(facts: &RpmFacts, blob: BlobRef) -> String {
    let epoch = if facts.epoch.is_empty() { "0" } else { &facts.epoch };
    format!(
        "<package pkgid=\"{}\" name=\"{}\" arch=\"{}\">\
         <version epoch=\"{}\" ver=\"{}\" rel=\"{}\"/>\n",
        blob.id.hex(),
        escaped(&facts.package),
        escaped(&facts.architecture),
        escaped(epoch),
        escaped(&facts.version),
        escaped(&facts.release),
    )
}

fn files(header: &Header) -> String {
    let mut text = String::new();
    for (name, sort) in &header.files {
        let attribute = match sort {
            FileSort::File => "",
            FileSort::Folder => " type=\"dir\"",
            FileSort::Ghost => " type=\"ghost\"",
        };
        writeln!(text, "<file{attribute}>{}</file>", escaped(name))
            .expect("writing to a String does not fail");
    }
    text
}

fn changes(header: &Header) -> String {
    let mut text = String::new();
    for change in &header.changes {
        let (author, second) = (escaped(&change.author), change.second);
        let said = escaped(&change.text);
        writeln!(text, "<changelog author=\"{author}\" date=\"{second}\">{said}</changelog>")
            .expect("writing to a String does not fail");
    }
    text
}

/// The documents of one sort as one; what two repositories have alike is taken once.
fn merged(sort: Sort, artifacts: &[&Artifact], held: &dyn Held) -> Result<Vec<u8>, PublishError> {
    let mut by_blob: BTreeMap<_, &Artifact> = BTreeMap::new();
    for artifact in artifacts {
        by_blob.entry(artifact.blobs[0].id).or_insert(artifact);
    }
    let mut distinct: Vec<&Artifact> = by_blob.into_values().collect();
    distinct.sort_by_key(|artifact| &artifact.name);
    let mut plain = Vec::new();
    for artifact in &distinct {
        let bytes = held.open(artifact.blobs[0].id).map_err(|e| read_error(artifact, e))?;
        let unpacked = unpacked(&bytes, limits::YUM_DOCUMENT_PLAIN_LEN_BYTES_MAX);
        plain.push(unpacked.map_err(|_| PublishError::Merge {
            artifact: artifact.name.clone(),
            problem: "it is damaged, or too long once unpacked",
        })?);
    }
    merge::join(sort, &plain).map_err(|(number, problem)| PublishError::Merge {
        artifact: distinct.get(number).map(|artifact| artifact.name.clone()).unwrap_or_default(),
        problem,
    })
}

/// Every head among `documents`, dated: revision and times are the activation's second.
///
/// # Errors
///
/// [`PublishError::Document`]: an undated head is not of our making.
pub fn repomd(
    documents: &BTreeMap<SafePath, Vec<u8>>,
    date: Timestamp,
) -> Result<BTreeMap<SafePath, String>, PublishError> {
    let mut heads = BTreeMap::new();
    for (place, folder, text) in super::undated(documents, UNDATED) {
        let ours = text.filter(|text| listed(text).is_some());
        let text = ours.ok_or_else(|| PublishError::Document(place.clone()))?;
        let second = date.as_second();
        let text = text
            .replace(NO_REVISION, &format!("<revision>{second}</revision>"))
            .replace(NO_TIME, &format!("<timestamp>{second}</timestamp>"));
        heads.insert(path(&format!("{folder}repomd.xml")), text);
    }
    Ok(heads)
}

pub(super) fn heads(
    documents: &BTreeMap<SafePath, Vec<u8>>,
    date: Timestamp,
    signer: &SiteKey,
) -> Result<BTreeMap<SafePath, Vec<u8>>, PublishError> {
    let mut heads = BTreeMap::new();
    for (place, text) in repomd(documents, date)? {
        let sign = |source| PublishError::Sign { path: place.clone(), source };
        let detached = signer.detached_sign(text.as_bytes(), date).map_err(sign)?;
        let key = signer.public_armoured().map_err(sign)?;
        heads.insert(path(&format!("{place}.asc")), detached.into_bytes());
        heads.insert(path(&format!("{place}.key")), key.into_bytes());
        heads.insert(place, text.into_bytes());
    }
    Ok(heads)
}

/// What a head, dated or not, lists; none when it is not of our making.
pub fn listed(head: &str) -> Option<Vec<Listed>> {
    let between = |entry: &str, from: &str, to: &str| {
        let (_, rest) = entry.split_once(from)?;
        Some(rest.split_once(to)?.0.to_owned())
    };
    let mut entries = head.split("<data type=\"");
    entries.next().filter(|before| before.contains("<repomd "))?;
    let read = |entry: &str| {
        let digest = between(entry, "<checksum type=\"sha256\">", "</checksum>")?;
        Some(Listed {
            path: between(entry, "<location href=\"", "\"/>")?.parse().ok()?,
            digest: format!("sha256:{digest}").parse().ok()?,
            len_bytes: between(entry, "<size>", "</size>")?.parse().ok()?,
        })
    };
    entries.map(read).collect()
}

#[cfg(test)]
mod tests;
