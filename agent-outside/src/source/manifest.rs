//! The images that a Kubernetes manifest names, such as Argo CD's `install.yaml`.
//!
//! In:   a file of a waybill that holds manifests.
//! Out:  [`ManifestImages`]: an image line each, for what the manifest pulls for certain; hints
//!       for the rest.

use gapferry_proto::{Digest, Kind};

use super::{
    Failure, Verdict,
    file::Asked,
    helm::images::manifest::images_of_manifest,
    http::{Http, HttpError, Redacted},
};
use crate::waybill::ImageLine;

/// Longest manifest that is read, in bytes: 16 MiB. Argo CD's has 2.
const MANIFEST_LEN_BYTES_MAX: u64 = 16 << 20;

/// What one manifest names.
#[derive(Debug, Default)]
pub struct ManifestImages {
    /// Each with what wants it.
    pub lines: Vec<(String, ImageLine)>,
    pub hints: Vec<String>,
    pub failures: Vec<Failure>,
}

/// Why a manifest's images are not known.
#[derive(Debug, thiserror::Error)]
enum ManifestError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("it hashes to {actual}, and {expected} is expected")]
    Digest { expected: Digest, actual: Digest },
    #[error("it is not UTF-8")]
    Text,
}

impl ManifestError {
    const fn verdict(&self) -> Verdict {
        match self {
            Self::Http(error) => error.verdict(),
            Self::Digest { .. } | Self::Text => Verdict::Refused,
        }
    }
}

/// Reads a manifest, checks it, and lists its images.
pub async fn images(http: &Http, file: &Asked) -> ManifestImages {
    let mut images = ManifestImages::default();
    let text = match read(http, file).await {
        Ok(text) => text,
        Err(error) => {
            let name = Redacted::of(&file.url).to_string();
            images.failures.push(Failure::new(Kind::Image, name, error.verdict(), error));
            return images;
        }
    };
    let found = images_of_manifest(&text);
    images.hints.extend(found.unread.into_iter().map(|what| format!("{}: {what}", file.label)));
    for row in found.rows {
        let label = format!("{}, {}", file.label, row.place);
        if row.proven {
            let line = ImageLine {
                reference: row.reference,
                named: None,
                platforms: vec![],
                insecure: file.insecure,
            };
            images.lines.push((label, line));
        } else {
            images.hints.push(format!("{label}: {}", row.reference));
        }
    }
    images
}

async fn read(http: &Http, file: &Asked) -> Result<String, ManifestError> {
    let document = http.get(&file.url, None, MANIFEST_LEN_BYTES_MAX).await?;
    let actual = Digest::of(&document.bytes);
    match file.expected {
        Some((expected, _)) if expected != actual => {
            Err(ManifestError::Digest { expected, actual })
        }
        _ => String::from_utf8(document.bytes.into()).map_err(|_| ManifestError::Text),
    }
}
