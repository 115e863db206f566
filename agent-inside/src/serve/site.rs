//! What servers see: one activation, indexed by address.
//!
//! In:   an [`Activation`] as the importer left it on disk.
//! Out:  a [`Site`] that answers "which bytes stand at this address?" without touching a disk.
//! Never: keys, verification, writing. A request holds the site it began with until it ends.
//!
//! Whatever is addressed by version or digest is looked up in the current generation, then in
//! the kept ones, newest first: upgrading a cluster takes days, and its nodes go forward and back.
//! So are indexes by hash: a rollback may come from any of them, and a client in the middle of an
//! update still finds what the head that it read lists.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::artifact::{BlobRef, DebFacts, ImageFacts};
use gapferry_proto::want::Want;
use gapferry_proto::{Artifact, Digest, Facts, Kind, Sequence, Snapshot, limits};

use super::body::Loaded;
use super::helm::Charts;
use super::oci::Repository;
use super::yum::{self, Repositories};
use crate::{generation::Hold, publish};

/// One generation on disk.
#[derive(Debug)]
pub struct Generation {
    pub sequence: Sequence,
    pub snapshot: Snapshot,
    /// The folder of its documents.
    pub documents: Utf8PathBuf,
}

/// What the last switch made current.
#[derive(Debug)]
pub struct Activation {
    pub number: u64,
    /// The folder of this activation's signed heads.
    pub heads: Utf8PathBuf,
    pub current: Generation,
    /// Newest first, without the current one.
    pub kept: Vec<Generation>,
    /// They keep every sweep from what is shown, as long as anybody shows it.
    pub holds: Vec<Hold>,
}

/// Why an activation cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("cannot read {path}; roll back, or import the export again")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{0} is not of this agent's making; roll back, or import the export again")]
    Document(Utf8PathBuf),
}

/// Where the blobs of the store lie.
#[derive(Clone, Debug)]
pub struct BlobPaths(Utf8PathBuf);

impl BlobPaths {
    /// `root` is the folder that holds `blobs/`.
    pub const fn new(root: Utf8PathBuf) -> Self {
        Self(root)
    }

    /// The file that holds a blob: `blobs/sha256/ab/cd/<64 hex digits>`.
    pub fn path(&self, digest: &Digest) -> Utf8PathBuf {
        let hex = digest.hex();
        self.0.join("blobs/sha256").join(&hex[..2]).join(&hex[2..4]).join(&hex)
    }
}

/// A file on disk whose digest and length are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    pub path: Utf8PathBuf,
    pub digest: Digest,
    pub len_bytes: u64,
}

/// One generation, indexed by address.
#[derive(Debug, Default)]
pub struct View {
    /// By `<host>/<path>`; sorted, so that a folder is a range.
    files: BTreeMap<String, BlobRef>,
    /// By `<registry host>/<repository>`.
    pub(super) repositories: BTreeMap<String, Repository>,
    /// From a repository without its host to all that are called so.
    hostless: HashMap<String, Vec<String>>,
    /// By `<target>/<path below the repository root>`.
    pool: HashMap<String, BlobRef>,
    /// By file name.
    distributions: HashMap<String, BlobRef>,
    /// The Python projects, by their normalised names.
    projects: HashSet<String>,
    /// The apt indexes, by `<target>/dists/…`.
    indexes: HashMap<String, Document>,
    pub(super) yum: Repositories,
    pub(super) charts: Charts,
    documents: Utf8PathBuf,
}

/// Whether something that is not held was asked for before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    First,
    Again,
    TooMany,
}

/// One activation as servers see it.
#[derive(Debug)]
pub struct Site {
    pub sequence: Sequence,
    pub activation: u64,
    pub count_by_kind: BTreeMap<Kind, u64>,
    pub bytes: u64,
    /// The targets that have an apt repository.
    pub apt_targets: BTreeSet<String>,
    /// The targets that have a yum repository, each with the fingerprints of the keys that may sign
    /// its packages.
    pub yum_targets: BTreeMap<String, BTreeSet<String>>,
    /// Host and path of each chart repository.
    pub chart_repositories: BTreeSet<String>,
    /// Current first.
    views: Vec<View>,
    /// The signed heads, by `<target>/dists/<suite>/<name>`.
    heads: HashMap<String, Loaded>,
    /// By `<target>/repodata/<name>`.
    pub(super) yum_heads: HashMap<String, Loaded>,
    _holds: Vec<Hold>,
    asked: Mutex<HashSet<Want>>,
}

impl Site {
    /// Indexes an activation. Reads its heads and the lists of its indexes, nothing else.
    ///
    /// # Errors
    ///
    /// [`SiteError`] names the file that is missing or damaged.
    pub fn new(activation: Activation) -> Result<Self, SiteError> {
        let Activation { number, heads, current, kept, holds } = activation;
        let mut views = vec![View::new(&current)?];
        for generation in &kept {
            views.push(View::new(generation)?);
        }
        Ok(Self {
            sequence: current.sequence,
            activation: number,
            count_by_kind: current.snapshot.count_by_kind(),
            bytes: current.snapshot.blobs().values().sum(),
            apt_targets: apt_targets(&current.snapshot),
            yum_targets: yum::keys_by_target(&current.snapshot),
            chart_repositories: chart_repositories(&current.snapshot),
            heads: read_heads(&heads, &current.snapshot)?,
            yum_heads: yum::heads(&heads, &current.snapshot)?,
            views,
            _holds: holds,
            asked: Mutex::default(),
        })
    }

    fn current(&self) -> &View {
        &self.views[0]
    }

    pub(super) fn views(&self) -> &[View] {
        &self.views
    }

    /// The folder of the documents of the current generation.
    pub(super) fn documents(&self) -> &Utf8Path {
        &self.current().documents
    }

    /// The file at `<host>/<path>`.
    pub fn file(&self, path: &str) -> Option<BlobRef> {
        self.views.iter().find_map(|view| view.files.get(path).copied())
    }

    /// What lies directly in a folder of files of the current generation, folders with a slash
    /// at their end. `folder` is empty for the root and has no slash at its end.
    pub fn folder(&self, folder: &str) -> Vec<(String, Option<u64>)> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut children = Vec::new();
        let mut from = prefix.clone();
        let files = &self.current().files;
        while let Some((path, blob)) = files.range(from..).next() {
            let Some(rest) = path.strip_prefix(&prefix) else { break };
            if let Some((child, _)) = rest.split_once('/') {
                children.push((format!("{child}/"), None));
                from = format!("{prefix}{child}0"); // '0' follows '/': past the whole folder
            } else {
                children.push((rest.to_owned(), Some(blob.len_bytes)));
                from = format!("{path}\0");
            }
        }
        children.sort();
        children.dedup();
        children
    }

    /// The distribution of this file name.
    pub fn distribution(&self, filename: &str) -> Option<BlobRef> {
        self.views.iter().find_map(|view| view.distributions.get(filename).copied())
    }

    /// Whether the current generation has a page for this Python project.
    pub fn has_project(&self, project: &str) -> bool {
        self.current().projects.contains(project)
    }

    /// The page of a Python project, or the list of all; of the current generation.
    pub fn pypi_page(&self, project: Option<&str>, suffix: &str) -> Utf8PathBuf {
        let folder = self.current().documents.join("pypi");
        match project {
            None => folder.join(format!("index.{suffix}")),
            Some(project) => folder.join(format!("project/{project}.{suffix}")),
        }
    }

    /// The package at `<target>/<path>`.
    pub fn deb(&self, path: &str) -> Option<BlobRef> {
        self.views.iter().find_map(|view| view.pool.get(path).copied())
    }

    /// The signed head at `<target>/dists/<suite>/<name>`.
    pub fn head(&self, path: &str) -> Option<Loaded> {
        self.heads.get(path).cloned()
    }

    /// The apt index at `<target>/dists/…` of the current generation.
    pub fn index(&self, path: &str) -> Option<&Document> {
        self.current().indexes.get(path)
    }

    /// The apt index with this digest in the folder `<target>/dists/…/binary-<arch>`.
    pub fn index_by_hash(&self, folder: &str, digest: &Digest) -> Option<&Document> {
        let mut forms = self.views.iter().flat_map(|view| {
            ["", ".gz", ".xz"]
                .iter()
                .filter_map(|suffix| view.indexes.get(&format!("{folder}/Packages{suffix}")))
        });
        forms.find(|document| document.digest == *digest)
    }

    /// Whether a want is new since the switch; no more are when too many are noted already.
    pub(super) fn asked(&self, want: &Want) -> Asked {
        let mut asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if asked.contains(want) {
            return Asked::Again;
        }
        if limits::NAME_LEN_BYTES_MAX < want.name.len() || limits::WANTS_MAX <= asked.len() {
            return Asked::TooMany;
        }
        asked.insert(want.clone());
        Asked::First
    }
}

impl View {
    fn new(generation: &Generation) -> Result<Self, SiteError> {
        let mut view = Self {
            documents: generation.documents.clone(),
            yum: Repositories::new(&generation.snapshot, &generation.documents)?,
            charts: Charts::new(&generation.snapshot),
            ..Self::default()
        };
        let mut suites = HashSet::new();
        for artifact in generation.snapshot.artifacts() {
            if let Facts::Deb(facts) = &artifact.facts {
                suites.extend(publish::apt::suite_folders(facts));
            }
            view.add(artifact);
        }
        for suite in suites {
            view.add_indexes(&suite)?;
        }
        Ok(view)
    }

    /// Every file, by `<host>/<path>`.
    pub(super) fn file_paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    fn add(&mut self, artifact: &Artifact) {
        let first = artifact.blobs[0];
        match &artifact.facts {
            Facts::File(facts) => {
                self.files.insert(facts.path.to_string(), first);
            }
            Facts::Image(facts) => self.add_image(facts, &artifact.blobs),
            Facts::Deb(DebFacts { target, filename, .. }) => {
                self.pool.insert(format!("{target}/{filename}"), first);
            }
            Facts::Pypi(facts) => {
                self.distributions.insert(facts.filename.to_string(), first);
                self.projects.insert(facts.project.clone());
            }
            // In `yum` and `charts`.
            Facts::Rpm(_) | Facts::YumDocument(_) | Facts::Chart(_) => {}
        }
    }

    fn add_image(&mut self, facts: &ImageFacts, blobs: &[BlobRef]) {
        let name = facts.repository.as_str();
        if !self.repositories.contains_key(name)
            && let Some((_, hostless)) = name.split_once('/')
        {
            self.hostless.entry(hostless.to_owned()).or_default().push(name.to_owned());
        }
        self.repositories.entry(name.to_owned()).or_default().add(facts, blobs);
    }

    /// The repositories that a client may mean by `name`: the one of registry `ns` when the
    /// client says which registry it wants, else the one of that full name, else all that are
    /// called so in whatever registry.
    pub(super) fn named(&self, name: &str, ns: Option<&str>) -> Vec<&Repository> {
        let full = ns.and_then(|ns| self.repositories.get(&format!("{ns}/{name}")));
        if let Some(repository) = full.or_else(|| self.repositories.get(name)) {
            return vec![repository];
        }
        match (ns, self.hostless.get(name)) {
            (None, Some(names)) => names.iter().map(|name| &self.repositories[name]).collect(),
            _ => Vec::new(),
        }
    }

    /// Learns from a suite's list which indexes there are and what they hash to.
    fn add_indexes(&mut self, suite: &str) -> Result<(), SiteError> {
        let folder = self.documents.join(suite);
        let path = folder.join(publish::apt::UNDATED);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| SiteError::Read { path: path.clone(), source })?;
        let listed = publish::apt::listed(&text).ok_or(SiteError::Document(path))?;
        let below_apt = suite.trim_start_matches("apt/");
        for entry in listed {
            let document = Document {
                path: folder.join(entry.path.as_str()),
                digest: entry.digest,
                len_bytes: entry.len_bytes,
            };
            self.indexes.insert(format!("{below_apt}/{}", entry.path), document);
        }
        Ok(())
    }
}

/// The targets that packages of Debian's kind are for.
fn apt_targets(snapshot: &Snapshot) -> BTreeSet<String> {
    let target = |artifact: &Artifact| match &artifact.facts {
        Facts::Deb(facts) => Some(facts.target.to_string()),
        _ => None,
    };
    snapshot.artifacts().filter_map(target).collect()
}

fn chart_repositories(snapshot: &Snapshot) -> BTreeSet<String> {
    let repository = |artifact: &Artifact| match &artifact.facts {
        Facts::Chart(facts) => Some(facts.repository.to_string()),
        _ => None,
    };
    snapshot.artifacts().filter_map(repository).collect()
}

fn read_heads(
    folder: &Utf8Path,
    snapshot: &Snapshot,
) -> Result<HashMap<String, Loaded>, SiteError> {
    let mut heads = HashMap::new();
    let mut seen = HashSet::new();
    for artifact in snapshot.artifacts() {
        let Facts::Deb(facts) = &artifact.facts else { continue };
        for suite in publish::apt::suite_folders(facts) {
            if seen.insert(suite.clone()) {
                read_head(folder, &suite, &mut heads)?;
            }
        }
    }
    Ok(heads)
}

/// Reads the three forms of a suite's head.
fn read_head(
    folder: &Utf8Path,
    suite: &str,
    heads: &mut HashMap<String, Loaded>,
) -> Result<(), SiteError> {
    for name in ["Release", "InRelease", "Release.gpg"] {
        let path = folder.join(suite).join(name);
        let bytes = std::fs::read(&path).map_err(|source| SiteError::Read { path, source })?;
        let place = format!("{}/{name}", suite.trim_start_matches("apt/"));
        heads.insert(place, Loaded::of(bytes));
    }
    Ok(())
}
