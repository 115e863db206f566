//! Pulls images: each reference by tag or digest, for each platform, down to the last blob.
//!
//! In:   the images that a waybill means, the manifests in the store.
//! Out:  references that lead nowhere, platforms that are not carried, blobs that are lacking.

use std::collections::BTreeSet;

use gapferry_common::store::Store;
use gapferry_proto::{Artifact, BlobId, Facts, Kind, artifact::ImageFacts, limits};

use super::{Ground, Held, Line, Missing, NotProven, Report};
use crate::{
    source::oci::{
        manifest::{self, Content},
        platform::{self, Platform},
        reference::{Image, Place},
    },
    waybill::ImageLine,
};

/// Checks the images of a waybill.
pub fn check(ground: &Ground<'_>, images: &[(String, ImageLine)], report: &mut Report) {
    for (label, line) in images {
        report.count(Kind::Image);
        let Err(absent) = pull_for(ground, line, true) else { continue };
        let missing = Missing::new(Kind::Image, absent.name, label, absent.reason);
        report.missing.push(missing.asked_for(Line::image(line)));
    }
}

/// Why a reference cannot be pulled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absent {
    /// The full name of the image.
    pub name: String,
    pub reason: String,
}

/// Pulls one image for the platforms that `line` names; without one, for those that are carried.
///
/// # Errors
///
/// [`Absent`] with the reason.
pub fn pull(ground: &Ground<'_>, line: &ImageLine) -> Result<(), Absent> {
    pull_for(ground, line, false)
}

/// `every`: a line without platforms asks for each one that the image has.
fn pull_for(ground: &Ground<'_>, line: &ImageLine, every: bool) -> Result<(), Absent> {
    let absent = |name: &str, reason: String| Absent { name: name.to_owned(), reason };
    let image = match Place::of(line).map_err(|e| absent(&line.reference, e.to_string()))? {
        Place::Registry(image) | Place::Layout { image, .. } => image,
    };
    let name = image.name();
    let Some((artifact, facts)) = find(&ground.held, &image) else {
        return Err(absent(&name, ground.held.absent(Kind::Image, &name).to_owned()));
    };
    let wishes: Result<Vec<Platform>, _> = line.platforms.iter().map(|text| text.parse()).collect();
    let wishes = wishes.map_err(|e| absent(&name, e.to_string()))?;
    if wishes.is_empty() && !every {
        return Ok(());
    }
    let root = image.digest.map_or(facts.root, BlobId::from);
    let lacking = lacking(ground.store, artifact, facts, root, &wishes);
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Err(absent(&name, format!("the site would not have it for {}", lacking.join(", "))))
}

/// The artifact that a reference leads to. A digest counts wherever it is in the repository.
fn find<'a>(held: &Held<'a>, image: &Image) -> Option<(&'a Artifact, &'a ImageFacts)> {
    let path = image.path()?;
    let fits = |(_, facts): &&(&'a Artifact, &'a ImageFacts)| match image.digest {
        Some(digest) => facts.manifests.iter().any(|manifest| manifest.id.digest() == digest),
        None => facts.tag == image.tag,
    };
    held.images(path.as_str()).iter().find(fits).copied()
}

/// The platforms asked for that `root` does not lead to; without a wish all that it names.
fn lacking(
    store: &Store,
    artifact: &Artifact,
    facts: &ImageFacts,
    root: BlobId,
    wishes: &[Platform],
) -> Vec<Platform> {
    let carried: BTreeSet<BlobId> = artifact.blobs.iter().map(|blob| blob.id).collect();
    let (mut offered, mut answered) = (BTreeSet::new(), BTreeSet::new());
    let mut is_index = false;
    for manifest in &facts.manifests {
        // The root, and the indexes that it leads to.
        let Some(Content::Index(children)) = content(store, manifest.id) else { continue };
        is_index = is_index || manifest.id == root;
        for child in children.iter().filter(|child| child.attests.is_none()) {
            let Some(platform) = &child.platform else { continue };
            offered.insert(platform.clone());
            if carried.contains(&child.blob.id) {
                let taken = wishes.iter().filter(|wish| wish.takes(platform));
                answered.extend(taken.cloned());
                answered.insert(platform.clone());
            }
        }
    }
    if is_index {
        let asked = if wishes.is_empty() { offered } else { wishes.iter().cloned().collect() };
        return asked.difference(&answered).cloned().collect();
    }
    single(store, root, wishes)
}

/// The wishes that an image without index does not answer. One of no platform is for all.
fn single(store: &Store, root: BlobId, wishes: &[Platform]) -> Vec<Platform> {
    let Some(Content::Manifest(blobs)) = content(store, root) else { return vec![] };
    let max = limits::OCI_MANIFEST_LEN_BYTES_MAX;
    let config = blobs.first().filter(|config| config.len_bytes <= max);
    let config = config.and_then(|config| store.read(config.id, max).ok());
    let Some(offered) = config.and_then(|bytes| manifest::config_platform(&bytes)) else {
        return vec![];
    };
    wishes.iter().filter(|wish| !wish.takes(&offered)).cloned().collect()
}

/// What a manifest leads to; none when it is not here or not understood.
fn content(store: &Store, id: BlobId) -> Option<Content> {
    let bytes = store.read(id, limits::OCI_MANIFEST_LEN_BYTES_MAX).ok()?;
    Some(manifest::parse(&bytes, None).ok()?.0)
}

/// Checks that the manifests of every image lead only to blobs that are carried with it.
pub fn check_trees(ground: &Ground<'_>, report: &mut Report) {
    for artifact in ground.held.artifacts() {
        let Facts::Image(facts) = &artifact.facts else { continue };
        let wanted = artifact.wanted.first().map_or("a lock", String::as_str);
        let carried: BTreeSet<BlobId> = artifact.blobs.iter().map(|blob| blob.id).collect();
        for manifest in &facts.manifests {
            let reason = match content(ground.store, manifest.id) {
                None => {
                    let reason = format!("manifest {} cannot be read here", manifest.id);
                    let row = NotProven::new(Kind::Image, &*artifact.name, wanted, reason);
                    report.not_proven.push(row);
                    continue;
                }
                Some(Content::Manifest(blobs)) => {
                    let lacking = blobs.iter().find(|blob| !carried.contains(&blob.id));
                    lacking.map(|blob| format!("{} is not carried", blob.id))
                }
                // Not every platform is wanted, but one is.
                Some(Content::Index(children)) => {
                    let (all, _) = platform::choose(&children, &[]);
                    let is_empty = !all.iter().any(|child| carried.contains(&child.blob.id));
                    (is_empty && !all.is_empty()).then(|| "no platform of it is carried".to_owned())
                }
            };
            let Some(reason) = reason else { continue };
            let reason = format!("manifest {}: {reason}", manifest.id);
            let missing = Missing::new(Kind::Image, &*artifact.name, wanted, reason);
            report.missing.push(Missing { in_waybill: true, ..missing });
        }
    }
}
