//! Reads what a pushed manifest is and what it needs.
//!
//! In:   the bytes as they came and their `Content-Type`. Out: a [`Manifest`]. Pure.
//!
//! The bytes are stored as they are. Nothing of them is kept in memory but digests and types, so
//! a manifest of any shape costs at most some times its length.

use gapferry_proto::limits;
use serde::Deserialize;

use super::Named;

const IMAGE_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Parts of the media types of layers that a registry need not hold: image-spec v1.1.1,
/// "Non-Distributable Layers", and Docker's word for them.
const ELSEWHERE: [&str; 2] = [".nondistributable.", ".rootfs.foreign."];

/// Why bytes are no manifest that this registry takes.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("it is no JSON document of a manifest: {0}")]
    Json(serde_json::Error),
    #[error("it is nested deeper than {} levels", limits::PUSHED_MANIFEST_DEPTH_MAX)]
    Deep,
    #[error("neither it nor its Content-Type says what it is")]
    NoType,
    #[error("it says {inside:?} of itself, and its Content-Type {outside:?}")]
    OtherType { inside: String, outside: String },
    #[error("manifests of type {0:?} are not taken")]
    UnknownType(String),
    #[error("its schemaVersion is not 2")]
    OtherSchema,
    #[error("it is both image and index")]
    BothKinds,
    #[error("its {0} is missing")]
    Lacks(&'static str),
    #[error("{0:?} is no digest of SHA-256 or SHA-512")]
    Digest(String),
}

/// What is known of a manifest after reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    pub media_type: String,
    /// What it refers to; that need not be there.
    pub subject: Option<Named>,
    pub needs: Vec<Need>,
}

/// A blob or manifest that a manifest leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    pub named: Named,
    pub len_bytes: u64,
    /// Whether it may lie elsewhere.
    pub is_elsewhere: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
}

/// Reads a manifest; `content_type` is the header without its parameters.
///
/// # Errors
///
/// [`ManifestError`].
pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    if limits::PUSHED_MANIFEST_DEPTH_MAX < depth(bytes) {
        return Err(ManifestError::Deep);
    }
    let document: Document = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    let media_type = media_type(&document, content_type)?;
    if document.schema_version != 2 {
        return Err(ManifestError::OtherSchema);
    }
    let is_index = INDEX_TYPES.contains(&media_type.as_str());
    let Document { config, layers, manifests, subject, .. } = document;
    let needs = match (is_index, config, layers, manifests) {
        (true, None, None, Some(manifests)) => manifests,
        (true, None, None, None) => return Err(ManifestError::Lacks("list of manifests")),
        (false, Some(config), Some(mut layers), None) => {
            layers.insert(0, config);
            layers
        }
        (false, None, _, None) => return Err(ManifestError::Lacks("config")),
        (false, _, None, None) => return Err(ManifestError::Lacks("list of layers")),
        (true, ..) | (false, _, _, Some(_)) => return Err(ManifestError::BothKinds),
    };
    Ok(Manifest {
        media_type,
        subject: subject.map(|subject| named(&subject)).transpose()?,
        needs: needs.iter().map(need).collect::<Result<_, _>>()?,
    })
}

fn media_type(document: &Document, outside: Option<&str>) -> Result<String, ManifestError> {
    let media_type = match (document.media_type.as_deref(), outside) {
        (Some(inside), Some(outside)) if inside != outside => {
            let (inside, outside) = (inside.to_owned(), outside.to_owned());
            return Err(ManifestError::OtherType { inside, outside });
        }
        (inside, outside) => inside.or(outside).ok_or(ManifestError::NoType)?,
    };
    if IMAGE_TYPES.contains(&media_type) || INDEX_TYPES.contains(&media_type) {
        return Ok(media_type.to_owned());
    }
    Err(ManifestError::UnknownType(media_type.chars().take(200).collect()))
}

fn need(descriptor: &Descriptor) -> Result<Need, ManifestError> {
    let media_type = descriptor.media_type.as_deref().unwrap_or_default();
    Ok(Need {
        named: named(descriptor)?,
        len_bytes: descriptor.size,
        is_elsewhere: ELSEWHERE.iter().any(|part| media_type.contains(part)),
    })
}

fn named(descriptor: &Descriptor) -> Result<Named, ManifestError> {
    let digest = &descriptor.digest;
    digest.parse().map_err(|()| ManifestError::Digest(digest.chars().take(200).collect()))
}

/// How deep the brackets of a text of JSON nest, those in strings left out.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use gapferry_proto::BlobId;

    use super::*;

    fn need(content: &[u8], is_elsewhere: bool) -> Need {
        let len_bytes = content.len() as u64;
        Need { named: BlobId::of(content).into(), len_bytes, is_elsewhere }
    }

    fn descriptor(media_type: &str, content: &[u8]) -> String {
        let (digest, size) = (BlobId::of(content), content.len());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }

    fn image(more: &str) -> String {
        let config = descriptor("c", b"config");
        let layers = [
            descriptor("application/vnd.oci.image.layer.v1.tar", b"layer"),
            descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar", b"other"),
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"base"),
        ];
        let layers = layers.join(",");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{more}}}"#)
    }

    #[test]
    fn an_image_needs_its_config_and_layers_but_not_those_that_lie_elsewhere() {
        let subject = descriptor("m", b"subject");
        let text = image(&format!(r#","subject":{subject}"#));
        let expected = Manifest {
            media_type: IMAGE_TYPES[0].to_owned(),
            subject: Some(BlobId::of(b"subject").into()),
            needs: vec![
                need(b"config", false),
                need(b"layer", false),
                need(b"other", true),
                need(b"base", true),
            ],
        };
        assert_eq!(read(text.as_bytes(), Some(IMAGE_TYPES[0])).unwrap(), expected);
    }

    #[test]
    fn an_index_needs_its_manifests_and_says_itself_what_it_is() {
        let manifest = descriptor(IMAGE_TYPES[0], b"manifest");
        let media_type = INDEX_TYPES[0];
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{manifest}],"x":[[]]}}"#
        );
        let read = read(text.as_bytes(), None).unwrap();
        assert_eq!(read.media_type, media_type);
        assert_eq!((read.subject, read.needs), (None, vec![need(b"manifest", false)]));
    }

    #[test]
    fn what_is_no_manifest_of_a_known_kind_is_refused_with_its_reason() {
        let typed = |media_type: &str| image(&format!(r#","mediaType":"{media_type}""#));
        let deep = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            image(&format!(r#","x":{open}{close}"#))
        };
        let image_type = Some(IMAGE_TYPES[0]);
        assert!(read(deep(limits::PUSHED_MANIFEST_DEPTH_MAX - 1).as_bytes(), image_type).is_ok());
        for (text, content_type, expected) in [
            (String::new(), image_type, "JSON"),
            ("[]".to_owned(), image_type, "JSON"),
            (deep(limits::PUSHED_MANIFEST_DEPTH_MAX), image_type, "deeper"),
            ("[".repeat(4 << 20), image_type, "deeper"),
            (image(""), None, "neither"),
            (typed(IMAGE_TYPES[0]), Some(IMAGE_TYPES[1]), "says"),
            (typed("text/plain"), None, "not taken"),
            (image(""), Some(INDEX_TYPES[0]), "both"),
            (image(r#","manifests":[]"#), image_type, "both"),
            (image(r#","layers":[]"#), image_type, "JSON"),
            (r#"{"schemaVersion":1}"#.to_owned(), image_type, "schemaVersion"),
            (r#"{"schemaVersion":2}"#.to_owned(), image_type, "config"),
            (r#"{"schemaVersion":2}"#.to_owned(), Some(INDEX_TYPES[1]), "list of manifests"),
            (image("").replace("sha256:", "md5:"), image_type, "digest"),
            (image("").replace("\"size\":5", "\"size\":-5"), image_type, "JSON"),
        ] {
            let error = read(text.as_bytes(), content_type).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}: {expected}");
        }
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(depth(br#"{"a\"[[":"[{","b":[1,{}]}"#), 3);
        assert_eq!(depth(b"]]]][["), 2);
    }
}
