//! `/v2/`, the pulling half of the OCI distribution specification 1.1.

use serde_json::json;

use crate::fixtures::{Image, oci::INDEX};

use super::{Body, Resource};

/// Everything that pulling `image` from `repository` asks for, by path.
pub(super) fn resources(repository: &str, tag: &str, image: &Image) -> Vec<(String, Resource)> {
    let resource = |bytes: &[u8], media_type, digest: &str| Resource {
        body: Body::Bytes(bytes.to_vec().into()),
        media_type,
        digest: Some(digest.to_owned()),
    };
    let mut all = vec![];
    for (digest, bytes) in &image.blobs {
        let found = resource(bytes, "application/octet-stream", digest);
        all.push((format!("/v2/{repository}/blobs/{digest}"), found));
    }
    for (digest, (media_type, bytes)) in &image.manifests {
        let found = resource(bytes, media_type, digest);
        if *digest == image.root {
            all.push((format!("/v2/{repository}/manifests/{tag}"), found.clone()));
        }
        all.push((format!("/v2/{repository}/manifests/{digest}"), found));
    }
    all
}

/// The lists of what refers to each manifest of `subject`: one artifact refers to its root. A
/// registry with this API has a list for whatever it is asked.
pub(super) fn referrers(
    repository: &str,
    subject: &Image,
    artifact_type: &str,
    referrer: &Image,
) -> Vec<(String, Resource)> {
    let (media_type, bytes) = &referrer.manifests[&referrer.root];
    let listed = json!({
        "mediaType": media_type, "digest": referrer.root, "size": bytes.len(),
        "artifactType": artifact_type,
    });
    let list = |digest: &String| {
        let listed = if *digest == subject.root { vec![&listed] } else { vec![] };
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
        let body = Body::Bytes(index.to_string().into());
        let path = format!("/v2/{repository}/referrers/{digest}");
        (path, Resource { body, media_type: INDEX, digest: None })
    };
    subject.manifests.keys().chain([&referrer.root]).map(list).collect()
}
