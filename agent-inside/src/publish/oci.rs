//! Container images: stored manifests are served as they are, so there is no document to render.

use gapferry_proto::artifact::ImageFacts;
use gapferry_proto::{Facts, Snapshot};

/// The path below the server's root at which an image's tag is answered; none for an image that
/// is carried by digest alone, since a digest cannot clash.
pub fn address(facts: &ImageFacts) -> Option<String> {
    facts.tag.as_ref().map(|tag| format!("v2/{}/manifests/{tag}", facts.repository))
}

/// The repositories of a snapshot's images, each as often as it has images.
pub fn repositories(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    snapshot.artifacts().filter_map(|artifact| match &artifact.facts {
        Facts::Image(facts) => Some(facts.repository.as_str()),
        _ => None,
    })
}
