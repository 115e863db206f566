//! Keeps signatures and attestations findable.
//!
//! A registry with the referrers API lists by itself what has a subject. For any other, a tag
//! `sha256-<hex>` leads to an index of them, which whoever pushes keeps up (distribution-spec
//! v1.1.1, "Pushing Manifests with Subject" and "Referrers Tag Schema"). What is listed there
//! already stays listed.

use std::collections::BTreeMap;

use gapferry_common::store::Store;
use gapferry_proto::{BlobId, Digest};
use reqwest::{
    Method, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::{Value, json};

use super::{read_manifest, repository::Repository};
use crate::publish_to::http::{ANSWER_LEN_BYTES_MAX, Ask, Client, PushError, unexpected};
use crate::publish_to::images::{Descriptor, Head, Image};
use crate::publish_to::tally::Outcome;
use crate::publish_to::tree::Content;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What refers to what, by repository and subject.
pub type Referrers = BTreeMap<String, BTreeMap<BlobId, Vec<Value>>>;

/// Whether a tag is the one that lists the referrers of a digest.
pub fn is_list(tag: &str) -> bool {
    subject_of(tag).is_some()
}

fn subject_of(tag: &str) -> Option<BlobId> {
    format!("sha256:{}", tag.strip_prefix("sha256-")?).parse().ok()
}

fn tag_of(subject: BlobId) -> String {
    format!("sha256-{}", subject.hex())
}

/// Collects what refers to something: manifests with a subject, and lists that came as tags.
/// A manifest that cannot be read was a failure before.
pub fn by_repository(images: &[Image], store: &Store) -> Referrers {
    let mut found = Referrers::new();
    for image in images {
        let mut add = |subject, descriptors: Vec<Value>| {
            let listed = found.entry(image.repository.clone()).or_default();
            merge(listed.entry(subject).or_default(), descriptors);
        };
        for manifest in &image.manifests {
            let Ok(bytes) = read_manifest(store, manifest.id) else { continue };
            let head = Head::read(&bytes);
            if let Some(subject) = head.subject() {
                let descriptor: Descriptor =
                    head.descriptor(manifest.id, &manifest.media_type, bytes.len() as u64);
                add(subject, vec![json!(descriptor)]);
            }
            let tag = image.tag.as_deref().filter(|_| manifest.id == image.root);
            if let Some(subject) = tag.and_then(subject_of) {
                add(subject, listed(&bytes));
            }
        }
    }
    found
}

/// The descriptors of an index, as they stand there.
fn listed(bytes: &[u8]) -> Vec<Value> {
    let index: Value = serde_json::from_slice(bytes).unwrap_or_default();
    index["manifests"].as_array().cloned().unwrap_or_default()
}

/// Adds the descriptors that are not listed yet, by digest; whether any was.
fn merge(listed: &mut Vec<Value>, more: Vec<Value>) -> bool {
    let before = listed.len();
    for descriptor in more {
        if !listed.iter().any(|known| known["digest"] == descriptor["digest"]) {
            listed.push(descriptor);
        }
    }
    before < listed.len()
}

impl Repository<'_> {
    /// Sees to it that `descriptors` are found as referrers of `subject`; none when the registry
    /// lists them by itself.
    ///
    /// # Errors
    ///
    /// [`PushError`] after all tries.
    pub async fn list(
        &self,
        subject: BlobId,
        descriptors: &[Value],
    ) -> Result<Option<(Outcome, u64)>, PushError> {
        if self.lists_referrers(subject).await? {
            return Ok(None);
        }
        let tag = tag_of(subject);
        let url = self.url(&format!("manifests/{tag}"));
        let response = self.send(&Ask::new(Method::GET, url).with(header::ACCEPT, INDEX)).await?;
        let mut all = match response.status() {
            StatusCode::NOT_FOUND | StatusCode::NOT_ACCEPTABLE => Vec::new(),
            StatusCode::OK => listed(&Client::read(response, ANSWER_LEN_BYTES_MAX).await?),
            _ => return Err(unexpected(response).await),
        };
        if !merge(&mut all, descriptors.to_vec()) {
            return Ok(Some((Outcome::Present, 0)));
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
        let content = Content::of(index.to_string().into_bytes());
        let outcome = self.push_manifest(&tag, &content, INDEX).await?;
        Ok(Some((outcome, content.len_bytes)))
    }

    /// `GET /v2/<name>/referrers/<digest>` (end-12a): whether this registry answers it. One that
    /// does says so by the type; others answer with an error or a page for people.
    async fn lists_referrers(&self, subject: BlobId) -> Result<bool, PushError> {
        let digest: Digest = subject.digest();
        let url = self.url(&format!("referrers/{digest}"));
        let response = self.send(&Ask::new(Method::GET, url).with(header::ACCEPT, INDEX)).await?;
        let is_index = |value: &HeaderValue| value.as_bytes().starts_with(INDEX.as_bytes());
        let has_type = response.headers().get(header::CONTENT_TYPE).is_some_and(is_index);
        Ok(response.status() == StatusCode::OK && has_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapferry_proto::artifact::ManifestRef;

    #[test]
    fn a_tag_lists_the_referrers_of_the_digest_in_it_and_no_other_tag_does() {
        let subject = BlobId::of(b"image");
        assert_eq!(subject_of(&tag_of(subject)), Some(subject));
        for tag in ["1.0", "sha256-abc", &format!("{}.sig", tag_of(subject))] {
            assert!(!is_list(tag), "{tag}");
        }
    }

    #[test]
    fn what_is_listed_stays_and_what_is_new_is_added_once() {
        let [a, b] = ["a", "b"].map(|digest| json!({"digest": digest, "size": 1}));
        let mut all = vec![a.clone()];
        assert!(merge(&mut all, vec![a.clone(), b.clone(), b.clone()]));
        assert_eq!(all, [a.clone(), b.clone()]);
        assert!(!merge(&mut all, vec![b, a]));
    }

    #[test]
    fn referrers_are_found_by_their_subject_and_in_lists_that_came_as_tags() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(camino::Utf8Path::from_path(temp.path()).unwrap()).unwrap();
        let subject = BlobId::of(b"image");
        let signature = format!(
            r#"{{"artifactType":"x/sig","subject":{{"mediaType":"m","digest":"{subject}"}}}}"#
        );
        let list = r#"{"manifests":[{"digest":"sha256:older"}]}"#;
        let image = |bytes: &str, tag: Option<String>| {
            let root = store.put(bytes.as_bytes()).unwrap();
            let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
            Image {
                name: "n".to_owned(),
                repository: "r".to_owned(),
                blobs: vec![],
                manifests: vec![ManifestRef { id: root, media_type }],
                root,
                tag,
            }
        };
        let images = [image(&signature, None), image(list, Some(tag_of(subject)))];
        let found = by_repository(&images, &store);
        let listed = &found["r"][&subject];
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0]["artifactType"], "x/sig");
        assert_eq!(listed[0]["digest"], BlobId::of(signature.as_bytes()).to_string());
        assert_eq!(listed[1]["digest"], "sha256:older");
    }
}
