//! What goes into a registry: which blobs, manifests and tags, in which repositories.
//!
//! In:   a snapshot, a prefix, and whether the upstream host stands in the names.
//! Out:  [`Shipment`]: every blob once with all repositories that need it, and every image.
//! Pure: the same snapshot gives the same shipment. What manifests lead to is read by
//!       [`Head::read`], and [`children_first`] orders them.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_proto::artifact::{BlobRef, ImageFacts, ManifestRef};
use gapferry_proto::{Artifact, BlobId, Digest, Facts, Snapshot};
use serde::{Deserialize, Serialize};

/// Why a snapshot's images cannot stand in one registry. Exit code 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShipmentError {
    #[error(
        "{first} and {second} would both be {repository}:{tag} with different content; \
         publish without --without-host"
    )]
    Clash { repository: String, tag: String, first: String, second: String },
}

/// All that a registry gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shipment {
    /// Layers and configs.
    pub blobs: Vec<Layer>,
    pub images: Vec<Image>,
}

/// A layer or a config, and where it is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    pub blob: BlobRef,
    /// The image that is named when it fails.
    pub image: String,
    /// Sorted, each once, at least one.
    pub repositories: Vec<String>,
}

/// One image in its repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The artifact's name.
    pub name: String,
    pub repository: String,
    pub blobs: Vec<BlobId>,
    pub manifests: Vec<ManifestRef>,
    pub root: BlobId,
    pub tag: Option<String>,
}

/// Plans what a registry gets.
///
/// # Errors
///
/// [`ShipmentError::Clash`]: two images of different registries would have one name.
pub fn plan(snapshot: &Snapshot, prefix: &str, with_host: bool) -> Result<Shipment, ShipmentError> {
    let mut needed: BTreeMap<BlobId, (BlobRef, &str, BTreeSet<String>)> = BTreeMap::new();
    let mut tags: BTreeMap<(String, String), (&str, BlobId)> = BTreeMap::new();
    let mut images = Vec::new();
    for artifact in snapshot.artifacts() {
        let Facts::Image(facts) = &artifact.facts else { continue };
        let image = image(artifact, facts, prefix, with_host);
        for blob in artifact.blobs.iter().filter(|blob| image.blobs.contains(&blob.id)) {
            let entry = needed.entry(blob.id);
            let layer = entry.or_insert_with(|| (*blob, &artifact.name, BTreeSet::new()));
            layer.2.insert(image.repository.clone());
        }
        if let Some(tag) = &image.tag {
            let key = (image.repository.clone(), tag.clone());
            let (first, root) = *tags.entry(key).or_insert((&artifact.name, image.root));
            if root != image.root {
                let (repository, tag) = (image.repository.clone(), tag.clone());
                let (first, second) = (first.to_owned(), artifact.name.clone());
                return Err(ShipmentError::Clash { repository, tag, first, second });
            }
        }
        images.push(image);
    }
    let blobs = needed.into_values().map(|(blob, image, repositories)| Layer {
        blob,
        image: image.to_owned(),
        repositories: repositories.into_iter().collect(),
    });
    Ok(Shipment { blobs: blobs.collect(), images })
}

fn image(artifact: &Artifact, facts: &ImageFacts, prefix: &str, with_host: bool) -> Image {
    let is_manifest = |id: &BlobId| facts.manifests.iter().any(|manifest| manifest.id == *id);
    let ids = artifact.blobs.iter().map(|blob| blob.id);
    Image {
        name: artifact.name.clone(),
        repository: repository(facts.repository.as_str(), prefix, with_host),
        blobs: ids.filter(|id| !is_manifest(id)).collect(),
        manifests: facts.manifests.clone(),
        root: facts.root,
        tag: facts.tag.clone(),
    }
}

/// The name that a repository gets. A port cannot stand in one, so `host:5000` is `host_5000`.
fn repository(full: &str, prefix: &str, with_host: bool) -> String {
    let (host, path) = full.split_once('/').unwrap_or(("", full));
    let host = host.replace(':', "_").to_ascii_lowercase();
    let parts = [prefix, if with_host { &host } else { "" }, path];
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/")
}

/// What of a manifest matters to whoever pushes it (image-spec v1.1.1).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    #[serde(default)]
    manifests: Option<Vec<Pointer>>,
    subject: Option<Pointer>,
    config: Option<Pointer>,
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pointer {
    media_type: Option<String>,
    digest: String,
}

/// A descriptor as a list of referrers has it (image-spec v1.1.1, "Content Descriptors").
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Head {
    /// Reads a manifest or an index; one of an older format leads nowhere.
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// The manifest that this one is about.
    pub fn subject(&self) -> Option<BlobId> {
        self.subject.as_ref().and_then(|subject| subject.digest.parse().ok())
    }

    /// The manifests that shall be there before this one.
    pub fn before(&self) -> Vec<BlobId> {
        let children = self.manifests.iter().flatten();
        let children = children.filter_map(|child| child.digest.parse().ok());
        children.chain(self.subject()).collect()
    }

    /// The descriptor of this manifest in a list of referrers.
    pub fn descriptor(self, id: BlobId, media_type: &str, size: u64) -> Descriptor {
        let config = self.config.and_then(|config| config.media_type);
        Descriptor {
            media_type: media_type.to_owned(),
            digest: id.digest(),
            size,
            artifact_type: self.artifact_type.filter(|t| !t.is_empty()).or(config),
            annotations: self.annotations.unwrap_or_default(),
        }
    }
}

/// Orders manifests so that each comes after those that shall be there before it.
///
/// What is not among them is passed over. Digests cannot lead in a circle; should a list claim
/// so, each manifest still comes once.
pub fn children_first(manifests: &[(BlobId, Vec<BlobId>)]) -> Vec<BlobId> {
    let before: BTreeMap<_, _> = manifests.iter().map(|(id, ids)| (*id, ids)).collect();
    let mut ordered = Vec::with_capacity(manifests.len());
    let mut seen = BTreeSet::new();
    for (id, _) in manifests {
        let mut open = vec![(*id, false)];
        while let Some((id, is_last)) = open.pop() {
            if is_last {
                ordered.push(id);
            } else if let Some(ids) = before.get(&id).filter(|_| seen.insert(id)) {
                open.push((id, true));
                open.extend(ids.iter().rev().map(|id| (*id, false)));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::fixture;

    fn names(prefix: &str, with_host: bool) -> Vec<String> {
        let images = [
            fixture::image("registry.k8s.io/pause", "3.10", b"{}", &[b"layer"]),
            fixture::image("127.0.0.1:5000/demo/app", "1", b"{\"a\":1}", &[b"layer"]),
        ];
        let shipment = plan(&Snapshot::of(images).unwrap(), prefix, with_host).unwrap();
        assert_eq!(shipment.blobs.len(), 1, "the layer that both share is planned once");
        shipment.blobs[0].repositories.clone()
    }

    #[test]
    fn names_have_the_upstream_host_inside_unless_it_is_left_out() {
        assert_eq!(names("", true), ["127.0.0.1_5000/demo/app", "registry.k8s.io/pause"]);
        assert_eq!(names("site/a", true)[1], "site/a/registry.k8s.io/pause");
        assert_eq!(names("site", false), ["site/demo/app", "site/pause"]);
    }

    #[test]
    fn an_image_is_its_blobs_its_manifests_and_its_tag() {
        let image = fixture::image("r.example/pause", "1", b"{}", &[b"config", b"layer"]);
        let shipment = plan(&Snapshot::of([image]).unwrap(), "", true).unwrap();
        let [image] = &shipment.images[..] else { unreachable!() };
        assert_eq!(image.repository, "r.example/pause");
        assert_eq!(image.tag.as_deref(), Some("1"));
        assert_eq!(image.root, BlobId::of(b"{}"));
        assert_eq!(image.blobs, [BlobId::of(b"config"), BlobId::of(b"layer")]);
        let ids: Vec<_> = image.manifests.iter().map(|manifest| manifest.id).collect();
        assert_eq!(ids, [BlobId::of(b"{}")]);
    }

    #[test]
    fn two_images_that_would_have_one_name_are_refused_before_anything_is_pushed() {
        let images = || {
            [
                fixture::image("a.example/app", "1", b"{}", &[]),
                fixture::image("b.example/app", "1", b"{\"a\":1}", &[]),
            ]
        };
        assert!(plan(&Snapshot::of(images()).unwrap(), "", true).is_ok());
        assert_eq!(
            plan(&Snapshot::of(images()).unwrap(), "", false).unwrap_err().to_string(),
            "a.example/app:1 and b.example/app:1 would both be app:1 with different content; \
             publish without --without-host"
        );
    }

    #[test]
    fn children_and_subjects_come_before_what_names_them() {
        let [index, amd64, arm64, signature, other] =
            [b"index".as_slice(), b"amd64", b"arm64", b"signature", b"other"].map(BlobId::of);
        let head = |json: String| Head::read(json.as_bytes()).before();
        let of_index = head(format!(
            r#"{{"manifests":[{{"digest":"{amd64}"}},{{"digest":"{arm64}"}},{{"digest":"{other}"}}]}}"#
        ));
        let of_signature = head(format!(r#"{{"subject":{{"digest":"{index}"}}}}"#));
        let manifests =
            [(signature, of_signature), (index, of_index), (arm64, vec![]), (amd64, vec![])];
        assert_eq!(children_first(&manifests), [amd64, arm64, index, signature]);
    }

    #[test]
    fn a_list_that_leads_in_a_circle_names_each_once() {
        let [a, b] = [b"a", b"b"].map(|bytes| BlobId::of(bytes));
        assert_eq!(children_first(&[(a, vec![b]), (b, vec![a, b])]), [b, a]);
    }

    #[test]
    fn what_is_no_manifest_leads_nowhere() {
        for bytes in [&b"[]"[..], b"", b"{\"subject\":{\"digest\":\"md5:1\"}}", b"\xff"] {
            assert_eq!(Head::read(bytes).before(), []);
        }
    }
}
