//! Reads manifests and indexes. Their bytes are kept as they are; only a copy is parsed.
//!
//! In:   the bytes of a document, the media type its server or descriptor gave.
//! Out:  [`Content`]: what the document leads to.
//! Pure: bytes only.

use gapferry_proto::{BlobId, BlobRef, Digest, limits};
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageManifest};
use serde::{Deserialize, de::IgnoredAny};

use super::platform::Platform;

/// The media type of an index, and of a registry's list of referrers.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a registry is told that we read.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The annotation by which `BuildKit` ties an attestation to the manifest it speaks of.
const ATTESTS: &str = "vnd.docker.reference.digest";

/// What a document leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    Index(Vec<Child>),
    /// Config first, then layers.
    Manifest(Vec<BlobRef>),
}

/// One entry of an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Child {
    pub blob: BlobRef,
    pub media_type: String,
    pub platform: Option<Platform>,
    /// The manifest that this one is an attestation of.
    pub attests: Option<BlobId>,
    /// The name of the reference, in the index of a layout.
    pub tag: Option<String>,
}

/// Why a document is not one we carry.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("is no JSON of a manifest or an index")]
    Json(#[source] serde_json::Error),
    #[error("is not understood")]
    Spec(#[source] oci_spec::OciSpecError),
    #[error("has schema version {0}; only version 2 is carried")]
    SchemaVersion(u64),
    #[error("is a manifest and an index at once")]
    Ambiguous,
    #[error("is neither a manifest nor an index")]
    Neither,
    #[error("names {0:?}; only sha256 is carried")]
    Digest(String),
    #[error("says that {id} has {len_bytes} bytes, more than {max}")]
    Length { id: BlobId, len_bytes: u64, max: u64 },
}

/// Enough of a document to see what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// What a document says of itself, beside what it leads to (image-spec v1.1.1, "Image Manifest").
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// What it refers to.
    pub subject: Option<BlobId>,
    /// Its artifact type; of one that says none, the media type of its config.
    pub artifact_type: Option<String>,
}

impl Child {
    /// Whether it says that it is a document that we carry.
    pub fn is_carried(&self) -> bool {
        self.is_index() || matches!(self.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether this is an index itself.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }
}

/// Reads a document; also its media type: `given`, when that is one of a manifest, else what the
/// document itself says.
///
/// # Errors
///
/// [`ManifestError`]: the image is refused. A document that could be read in two ways is one
/// (CVE-2021-41190).
pub fn parse(bytes: &[u8], given: Option<&str>) -> Result<(Content, String), ManifestError> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if shape.schema_version != 2 {
        return Err(ManifestError::SchemaVersion(shape.schema_version));
    }
    let is_manifest = shape.config.is_some() || shape.layers.is_some();
    let (content, known, usual) = match (shape.manifests.is_some(), is_manifest) {
        (true, true) => return Err(ManifestError::Ambiguous),
        (false, false) => return Err(ManifestError::Neither),
        (true, false) => (Content::Index(children(bytes)?), [OCI_INDEX, DOCKER_INDEX], OCI_INDEX),
        (false, true) => {
            (Content::Manifest(blobs(bytes)?), [OCI_MANIFEST, DOCKER_MANIFEST], OCI_MANIFEST)
        }
    };
    let said = [given, shape.media_type.as_deref()];
    let said = said.into_iter().flatten().find(|said| known.contains(said));
    Ok((content, said.unwrap_or(usual).to_owned()))
}

/// Reads the `index.json` of a layout, or any index.
///
/// # Errors
///
/// As [`parse`].
pub fn children(bytes: &[u8]) -> Result<Vec<Child>, ManifestError> {
    let index = ImageIndex::from_reader(bytes).map_err(ManifestError::Spec)?;
    index.manifests().iter().map(child).collect()
}

/// Reads the index in which a registry lists referrers. Some write `null` for an empty list.
///
/// # Errors
///
/// As [`parse`].
pub fn listed(bytes: &[u8]) -> Result<Vec<Child>, ManifestError> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if shape.manifests.is_some() { children(bytes) } else { Ok(Vec::new()) }
}

/// What a document says of itself; nothing when it is no such document.
pub fn role(bytes: &[u8]) -> Role {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Head {
        subject: Option<Pointer>,
        artifact_type: Option<String>,
        config: Option<Pointer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Pointer {
        media_type: Option<String>,
        digest: String,
    }
    let Head { subject, artifact_type, config } = serde_json::from_slice(bytes).unwrap_or_default();
    let artifact_type = artifact_type.filter(|text| !text.is_empty());
    Role {
        subject: subject.and_then(|subject| subject.digest.parse().ok()),
        artifact_type: artifact_type.or_else(|| config?.media_type),
    }
}

/// The platform that an image's config names; none when it is another document.
pub fn config_platform(bytes: &[u8]) -> Option<Platform> {
    #[derive(Deserialize)]
    struct Config {
        os: String,
        architecture: String,
        variant: Option<String>,
    }
    let config: Config = serde_json::from_slice(bytes).ok()?;
    let Config { os, architecture, variant } = config;
    (!os.is_empty() && !architecture.is_empty()).then_some(Platform { os, architecture, variant })
}

fn child(descriptor: &Descriptor) -> Result<Child, ManifestError> {
    let annotation = |key| descriptor.annotations().as_ref()?.get(key);
    let platform = descriptor.platform().as_ref().map(|platform| Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    });
    Ok(Child {
        blob: blob(descriptor, limits::OCI_MANIFEST_LEN_BYTES_MAX)?,
        media_type: descriptor.media_type().to_string(),
        platform,
        attests: annotation(ATTESTS).and_then(|digest| digest.parse().ok()),
        tag: annotation(ANNOTATION_REF_NAME).cloned(),
    })
}

fn blobs(bytes: &[u8]) -> Result<Vec<BlobRef>, ManifestError> {
    let manifest = ImageManifest::from_reader(bytes).map_err(ManifestError::Spec)?;
    let all = std::iter::once(manifest.config()).chain(manifest.layers());
    all.map(|descriptor| blob(descriptor, limits::BLOB_LEN_BYTES_MAX)).collect()
}

/// The blob of a descriptor, of at most `max` bytes.
fn blob(descriptor: &Descriptor, max: u64) -> Result<BlobRef, ManifestError> {
    let text = descriptor.digest().as_ref();
    let digest: Digest = text.parse().map_err(|_| ManifestError::Digest(text.to_owned()))?;
    let (id, len_bytes) = (BlobId::from(digest), descriptor.size());
    if max < len_bytes {
        return Err(ManifestError::Length { id, len_bytes, max });
    }
    Ok(BlobRef { id, len_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn manifest(digest: &str, size: u64) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{OF_ABC}","size":3}},
            "layers":[{{"mediaType":"y","digest":"{digest}","size":{size},"urls":["a"]}}]}}"#
        )
    }

    #[test]
    fn a_manifest_leads_to_its_config_and_layers() {
        let abc = BlobRef { id: BlobId::of(b"abc"), len_bytes: 3 };
        let (content, media_type) = parse(manifest(OF_ABC, 3).as_bytes(), None).unwrap();
        assert_eq!((content, &*media_type), (Content::Manifest(vec![abc, abc]), OCI_MANIFEST));
        let given = Some(DOCKER_MANIFEST);
        assert_eq!(parse(manifest(OF_ABC, 3).as_bytes(), given).unwrap().1, DOCKER_MANIFEST);
        let given = Some("application/json");
        assert_eq!(parse(manifest(OF_ABC, 3).as_bytes(), given).unwrap().1, OCI_MANIFEST);
    }

    #[test]
    fn an_index_leads_to_its_children() {
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{DOCKER_INDEX}","manifests":[
            {{"mediaType":"{DOCKER_MANIFEST}","digest":"{OF_ABC}","size":3,
              "platform":{{"os":"linux","architecture":"arm","variant":"v7"}},
              "annotations":{{"{ATTESTS}":"{OF_ABC}","{ANNOTATION_REF_NAME}":"1.0"}}}}]}}"#
        );
        let child = Child {
            blob: BlobRef { id: BlobId::of(b"abc"), len_bytes: 3 },
            media_type: DOCKER_MANIFEST.to_owned(),
            platform: Some("linux/arm/v7".parse().unwrap()),
            attests: Some(BlobId::of(b"abc")),
            tag: Some("1.0".to_owned()),
        };
        let expected = (Content::Index(vec![child]), DOCKER_INDEX.to_owned());
        assert_eq!(parse(json.as_bytes(), None).unwrap(), expected);
    }

    #[test]
    fn a_document_says_what_it_refers_to_and_what_it_is() {
        let pointer = |media_type| format!(r#"{{"mediaType":"{media_type}","digest":"{OF_ABC}"}}"#);
        let role_of = |text: &str| {
            let Role { subject, artifact_type } = role(text.as_bytes());
            (subject == Some(BlobId::of(b"abc")), artifact_type)
        };
        let (subject, config) = (pointer("s"), pointer("c"));
        for (text, refers, artifact_type) in [
            (format!(r#"{{"subject":{subject},"artifactType":"a"}}"#), true, Some("a")),
            (format!(r#"{{"config":{config},"artifactType":""}}"#), false, Some("c")),
            (format!(r#"{{"subject":{subject}}}"#).replace("sha256", "sha512"), false, None),
            ("[]".to_owned(), false, None),
        ] {
            assert_eq!(role_of(&text), (refers, artifact_type.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn a_list_of_referrers_may_be_null() {
        for empty in
            [r#"{"schemaVersion":2,"manifests":null}"#, r#"{"schemaVersion":2,"manifests":[]}"#]
        {
            assert_eq!(listed(empty.as_bytes()).unwrap(), []);
        }
        assert!(listed(b"<html>").is_err());
    }

    #[test]
    fn what_is_not_one_clear_document_of_sha256_is_refused() {
        let max = limits::BLOB_LEN_BYTES_MAX;
        assert!(parse(manifest(OF_ABC, max).as_bytes(), None).is_ok());
        for (json, said) in [
            (manifest(OF_ABC, max + 1), "more than"),
            (manifest(&format!("sha512:{}", "0".repeat(128)), 3), "only sha256"),
            (manifest("sha256:00", 3), ""),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "schema version 1"),
            (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(), "at once"),
            (r#"{"schemaVersion":2}"#.to_owned(), "neither"),
            ("<html>".to_owned(), "no JSON"),
        ] {
            let error = parse(json.as_bytes(), None).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
