//! Resolves a waybill: asks every source, joins what they found, lists what they did not.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use camino::Utf8Path;
use futures_util::{StreamExt as _, stream};
use gapferry_common::store::{PutError, Store};
use gapferry_proto::{Artifact, BlobId, BlobRef, Facts, Kind, KubesprayTree, artifact::Method};

use crate::{
    check,
    expand::{Expanded, expand},
    inputs::{self, Inputs},
    lock::Lock,
    source::{Failure, Found, Verdict, apt, file, helm, http::Http, manifest, oci, pypi, yum},
    wants::{self, Granted, Outcome, Wishes},
    waybill::Waybill,
};

/// How many images are resolved at a time.
const IMAGES_AT_ONCE: usize = 8;

/// A waybill with its digests, and what stands in its way.
#[derive(Debug)]
pub struct Resolved {
    pub lock: Lock,
    pub failures: Vec<Failure>,
    /// Images that a chart may pull and that nothing proves; the user may name them.
    pub hints: Vec<String>,
    /// What came of the wants of the sites.
    pub wants: Vec<Outcome>,
    pub brought: Brought,
}

/// What the lines of a waybill brought, before any want.
#[derive(Debug, Default)]
pub struct Brought {
    expanded: Expanded,
    pub artifacts: Vec<Artifact>,
    trees: Vec<KubesprayTree>,
    inputs: Inputs,
    /// Files that rpm packages were looked into for, by artifact.
    files: BTreeMap<String, Vec<String>>,
    /// Whether nothing that a line asks for is missing.
    is_whole: bool,
}

/// Files that were pinned when they were first seen, by origin: where upstream publishes no digest,
/// a file stays what it was.
pub type Known = BTreeMap<String, BlobRef>;

/// A name that is to be looked up anew and that nothing pinned has. Exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("no file is pinned as {name}; {}", list(pinned))]
pub struct NotPinned {
    pub name: String,
    pub pinned: Vec<String>,
}

/// The pinned files of a lock, but those that `refresh` names by path or URL; what nobody vouched
/// for is none.
///
/// # Errors
///
/// [`NotPinned`]: a slip of the pen would leave the old file in place.
pub fn known(lock: &Lock, refresh: &[String]) -> Result<Known, NotPinned> {
    let files = lock.artifacts.iter().filter(|artifact| artifact.kind() == Kind::File);
    let pinned = files.filter(|file| file.evidence.method == Method::Transport);
    let pinned: Vec<&Artifact> = pinned.collect();
    let is_called = |file: &Artifact, name: &String| file.name == *name || file.origin == *name;
    if let Some(name) = refresh.iter().find(|name| !pinned.iter().any(|f| is_called(f, name))) {
        let pinned = pinned.iter().map(|file| file.name.clone()).collect();
        return Err(NotPinned { name: name.clone(), pinned });
    }
    let stay = pinned.into_iter().filter(|file| !refresh.iter().any(|name| is_called(file, name)));
    Ok(stay.filter_map(|file| Some((file.origin.clone(), *file.blobs.first()?))).collect())
}

/// At most ten names.
fn list(pinned: &[String]) -> String {
    if pinned.is_empty() {
        return "no file is pinned at all".to_owned();
    }
    let rest = if 10 < pinned.len() { ", …" } else { "" };
    format!("pinned are {}{rest}", pinned[..pinned.len().min(10)].join(", "))
}

/// Resolves every line of `waybill`, whose text is `text` and whose folder is `base`.
///
/// Image manifests are read to find what they lead to; they go into the store at once, nothing
/// else is fetched.
///
/// # Errors
///
/// [`PutError`]: the store failed. What upstreams did wrong stands in the failures.
pub async fn resolve(
    http: &Http,
    store: &Store,
    waybill: &Waybill,
    text: &str,
    base: &Utf8Path,
    known: &Known,
    wishes: &Wishes,
) -> Result<Resolved, PutError> {
    // Before they are read for the answer: what changes meanwhile is then noticed later.
    let inputs = inputs::of(waybill, base);
    let mut expanded = expand(waybill, base);
    let failures = std::mem::take(&mut expanded.failures);
    let hints = std::mem::take(&mut expanded.hints);
    let trees = std::mem::take(&mut expanded.trees);
    let Expanded { files, images, manifests, charts, apt, yum, pypi, .. } = &expanded;
    let mut all = Joined { failures, hints, ..Joined::default() };
    all.take(file::resolve(http, files, |origin| known.get(origin).copied()).await);
    let resolving = stream::iter(images.iter())
        .map(|(label, line)| oci::resolve(http, line, base, label))
        .buffered(IMAGES_AT_ONCE);
    for images in resolving.collect::<Vec<_>>().await {
        all.take_images(store, images)?;
    }
    for manifest in manifests {
        let images = manifest::images(http, manifest).await;
        all.failures.extend(images.failures);
        all.hints.extend(images.hints);
        for (label, line) in &images.lines {
            all.take_images(store, oci::resolve(http, line, base, label).await)?;
        }
    }
    for (label, line) in charts {
        let charts = helm::resolve(http, line, base, label).await;
        for (_, bytes) in &charts.kept {
            store.put(bytes)?;
        }
        all.take(charts.found);
        let hint = |row: helm::images::Row| format!("{label}: {} ({})", row.reference, row.place);
        all.hints.extend(charts.hints.into_iter().map(hint));
        all.hints.extend(charts.unread);
    }
    let mut rpms = yum::resolve(http, yum, base).await;
    for (_, bytes) in &rpms.kept {
        store.put(bytes)?;
    }
    all.take(rpms.found);
    for (label, line) in apt {
        all.take(apt::resolve(http, line, base, label).await);
    }
    for (label, line) in pypi {
        all.take(pypi::resolve(http, line, base, label).await);
    }
    let Joined { artifacts, mut failures, hints } = all;
    let artifacts = joined_documents(joined_images(artifacts));
    failures.extend(disagreements(&artifacts));
    let files = std::mem::take(&mut rpms.files);
    let is_whole = failures.is_empty();
    let brought = Brought { expanded, artifacts, trees, inputs, files, is_whole };
    let (lock, wants) = brought.lock(http, store, waybill, text, base, wishes).await?;
    Ok(Resolved { lock, failures, hints, wants, brought })
}

impl Brought {
    /// Makes a lock of what the lines brought and what sites want beside it.
    ///
    /// # Errors
    ///
    /// [`PutError`]: the store failed.
    pub async fn lock(
        &self,
        http: &Http,
        store: &Store,
        waybill: &Waybill,
        text: &str,
        base: &Utf8Path,
        wishes: &Wishes,
    ) -> Result<(Lock, Vec<Outcome>), PutError> {
        let granted = wants::grant(http, store, wishes, &self.expanded, base, &self.artifacts);
        let Granted { artifacts: found, outcomes, mut files } = granted.await?;
        let artifacts = joined_images(self.artifacts.iter().cloned().chain(found).collect());
        let mut lock = Lock::new(waybill, text, artifacts);
        lock.inputs = Some(self.inputs.clone());
        lock.kubespray.clone_from(&self.trees);
        lock.kubespray.sort();
        lock.kubespray.dedup();
        if self.is_whole {
            // Nothing is missing, so what the carried packages alone leave unmet every system has.
            let granted = outcomes.iter().filter(|outcome| outcome.reason.is_none());
            let granted: Vec<_> = granted.map(|outcome| outcome.want.clone()).collect();
            let wanted = wants::consumers(&granted, "wants", &self.expanded, &lock.artifacts);
            let Expanded { apt, yum, .. } = &self.expanded;
            files.extend(self.files.clone());
            let mut assumed = vec![];
            for lines in [apt, &wanted.apt] {
                assumed.extend(check::apt::assumed(lines, base, &lock.artifacts));
            }
            for lines in [yum, &wanted.yum] {
                let artifacts = &lock.artifacts;
                assumed.extend(check::yum::assumed(lines, base, artifacts, &files, store));
            }
            assumed.sort();
            assumed.dedup();
            lock.assumed = Some(assumed);
        }
        Ok((lock, outcomes))
    }
}

/// Artifacts of one image are one: a line and a chart may want other platforms of the same index.
fn joined_images(artifacts: Vec<Artifact>) -> Vec<Artifact> {
    let mut joined: Vec<Artifact> = vec![];
    let mut places: HashMap<(String, BlobId), usize> = HashMap::new();
    for artifact in artifacts {
        let Facts::Image(facts) = &artifact.facts else {
            joined.push(artifact);
            continue;
        };
        match places.entry((artifact.name.clone(), facts.root)) {
            Entry::Vacant(place) => {
                place.insert(joined.len());
                joined.push(artifact);
            }
            Entry::Occupied(place) => join_image(&mut joined[*place.get()], artifact),
        }
    }
    joined
}

/// A document of a yum repository that changed between two requests is the first of them, for the
/// reasons of all.
fn joined_documents(artifacts: Vec<Artifact>) -> Vec<Artifact> {
    let mut joined: Vec<Artifact> = vec![];
    let mut places: HashMap<String, usize> = HashMap::new();
    for artifact in artifacts {
        if !matches!(artifact.facts, Facts::YumDocument(_)) {
            joined.push(artifact);
            continue;
        }
        match places.entry(artifact.name.clone()) {
            Entry::Vacant(place) => {
                place.insert(joined.len());
                joined.push(artifact);
            }
            Entry::Occupied(place) => joined[*place.get()].wanted.extend(artifact.wanted),
        }
    }
    joined
}

/// Adds the manifests and blobs of `other` that `image` lacks.
fn join_image(image: &mut Artifact, other: Artifact) {
    let lacking = other.blobs.into_iter().filter(|blob| !image.blobs.contains(blob));
    let lacking: Vec<BlobRef> = lacking.collect();
    image.blobs.extend(lacking);
    image.wanted.extend(other.wanted);
    if let (Facts::Image(own), Facts::Image(facts)) = (&mut image.facts, other.facts) {
        let lacking =
            facts.manifests.into_iter().filter(|manifest| !own.manifests.contains(manifest));
        let lacking: Vec<_> = lacking.collect();
        own.manifests.extend(lacking);
    }
}

/// Two lines may ask for one artifact, but not for different bytes under one name.
fn disagreements(artifacts: &[Artifact]) -> Vec<Failure> {
    let mut first: BTreeMap<_, &Artifact> = BTreeMap::new();
    let mut failures = vec![];
    for artifact in artifacts {
        let known = *first.entry(artifact.key()).or_insert(artifact);
        if known.blobs != artifact.blobs {
            let (one, other) = (known.wanted.join(", "), artifact.wanted.join(", "));
            let what = format!("{one} and {other} give this name different bytes; drop one");
            let (kind, name) = artifact.key();
            failures.push(Failure::new(kind, name, Verdict::Configuration, what));
        }
    }
    failures
}

#[derive(Default)]
struct Joined {
    artifacts: Vec<Artifact>,
    failures: Vec<Failure>,
    hints: Vec<String>,
}

impl Joined {
    /// Takes an image; its manifests go into the store at once.
    fn take_images(&mut self, store: &Store, images: oci::Images) -> Result<(), PutError> {
        for (_, bytes) in &images.manifests {
            store.put(bytes)?;
        }
        self.take(images.found);
        Ok(())
    }

    fn take(&mut self, found: Found) {
        self.artifacts.extend(found.artifacts);
        self.failures.extend(found.failures);
    }
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        Digest,
        artifact::{Evidence, FileFacts, YumDocumentFacts},
    };

    use super::*;

    fn file(name: &str, method: Method) -> Artifact {
        Artifact {
            name: name.to_owned(),
            facts: Facts::File(FileFacts { path: name.parse().unwrap() }),
            blobs: vec![BlobRef { id: BlobId::of(name.as_bytes()), len_bytes: 1 }],
            origin: format!("https://{name}"),
            evidence: Evidence { method, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    #[test]
    fn a_yum_document_that_changed_between_two_requests_is_no_disagreement() {
        let document = |content: &str| {
            let facts = YumDocumentFacts {
                target: "el9".parse().unwrap(),
                repository: "r".to_owned(),
                document: "updateinfo".to_owned(),
                architecture: "x86_64".to_owned(),
            };
            Artifact {
                name: "el9/r/x86_64/updateinfo".to_owned(),
                facts: Facts::YumDocument(facts),
                wanted: vec![content.to_owned()],
                ..file(content, Method::Transport)
            }
        };
        let joined = joined_documents(vec![document("1"), document("2")]);
        let wanted = ["1", "2"].map(str::to_owned).to_vec();
        assert_eq!(joined, [Artifact { wanted, ..document("1") }]);
        assert_eq!(disagreements(&joined).len(), 0);
        let other = Artifact { name: "h/a".to_owned(), ..file("h/b", Method::Transport) };
        assert_eq!(disagreements(&[file("h/a", Method::Transport), other]).len(), 1);
    }

    #[test]
    fn a_pin_is_lifted_by_path_or_url_and_a_name_that_has_none_is_told() {
        let lock = Lock {
            format: 1,
            waybill: "w".parse().unwrap(),
            waybill_sha256: Digest::of(b""),
            sites: vec![],
            keep: 1,
            inputs: None,
            kubespray: vec![],
            artifacts: vec![
                file("h/a", Method::Transport),
                file("h/b", Method::Transport),
                file("h/c", Method::Waybill),
            ],
            assumed: None,
        };
        let known = |refresh: &[&str]| {
            let refresh: Vec<String> = refresh.iter().map(|&name| name.to_owned()).collect();
            known(&lock, &refresh).map(|known| known.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(known(&[]).unwrap(), ["https://h/a", "https://h/b"]);
        assert_eq!(known(&["h/a"]).unwrap(), ["https://h/b"]);
        assert_eq!(known(&["https://h/b", "h/a"]).unwrap(), Vec::<String>::new());
        let said = known(&["h/a", "h/c"]).unwrap_err().to_string();
        assert_eq!(said, "no file is pinned as h/c; pinned are h/a, h/b");
    }
}
