//! Reads the manifest of a chart in a registry.
//!
//! In:   the bytes of the manifest.
//! Out:  [`ChartManifest`]: config, archive and provenance.
//! Pure: bytes only. The manifest's own digest is checked by who fetched it.

use gapferry_proto::{BlobId, BlobRef, Digest};
use serde::Deserialize;

use super::bounds;

/// The media types of charts (Helm, `pkg/registry`).
pub const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
pub const ARCHIVE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
pub const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
/// The media type of archives before Helm 3.7.
const ARCHIVE_OLD: &str = "application/tar+gzip";

/// Why a manifest leads to no chart.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("the manifest is no JSON of one")]
    Json(#[source] serde_json::Error),
    #[error("this is an index, not a chart")]
    Index,
    #[error("this is no chart: its config is {0:?}")]
    Config(String),
    #[error("the chart's manifest names {count} archives")]
    Archives { count: usize },
    #[error("the chart's manifest names {0:?}; only sha256 is carried")]
    Digest(String),
    #[error("the chart's manifest says that {id} has {len_bytes} bytes, more than {max}")]
    Length { id: BlobId, len_bytes: u64, max: u64 },
}

/// What a chart's manifest leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChartManifest {
    pub config: BlobRef,
    pub archive: BlobRef,
    pub provenance: Option<BlobRef>,
}

impl ChartManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// [`OciError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(OciError::Json)?;
        if manifest.manifests.is_some() {
            return Err(OciError::Index);
        }
        let config = manifest.config.ok_or_else(|| OciError::Config(String::new()))?;
        if config.media_type != CONFIG {
            return Err(OciError::Config(config.media_type));
        }
        let is_archive =
            |layer: &&Descriptor| layer.media_type == ARCHIVE || layer.media_type == ARCHIVE_OLD;
        let archives: Vec<_> = manifest.layers.iter().filter(is_archive).collect();
        let [archive] = archives[..] else {
            return Err(OciError::Archives { count: archives.len() });
        };
        let provenance = manifest.layers.iter().find(|layer| layer.media_type == PROVENANCE);
        let provenance = provenance.map(|layer| layer.blob(bounds::PROVENANCE_LEN_BYTES_MAX));
        Ok(Self {
            config: config.blob(bounds::MEMBER_LEN_BYTES_MAX)?,
            archive: archive.blob(bounds::CHART_LEN_BYTES_MAX)?,
            provenance: provenance.transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl Descriptor {
    fn blob(&self, max: u64) -> Result<BlobRef, OciError> {
        let digest: Digest =
            self.digest.parse().map_err(|_| OciError::Digest(self.digest.clone()))?;
        let (id, len_bytes) = (BlobId::from(digest), self.size);
        if max < len_bytes {
            return Err(OciError::Length { id, len_bytes, max });
        }
        Ok(BlobRef { id, len_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64) -> String {
        let digest = Digest::of(media_type.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }

    fn manifest(config: &str, layers: &[String]) -> String {
        let (config, layers) = (layer(config, 3), layers.join(","));
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#)
    }

    fn blob(media_type: &str, len_bytes: u64) -> BlobRef {
        BlobRef { id: BlobId::of(media_type.as_bytes()), len_bytes }
    }

    #[test]
    fn a_charts_manifest_leads_to_its_archive_and_provenance() {
        let text = manifest(CONFIG, &[layer(PROVENANCE, 2), layer(ARCHIVE, 1)]);
        let expected = ChartManifest {
            config: blob(CONFIG, 3),
            archive: blob(ARCHIVE, 1),
            provenance: Some(blob(PROVENANCE, 2)),
        };
        assert_eq!(ChartManifest::parse(text.as_bytes()).unwrap(), expected);
        let old = manifest(CONFIG, &[layer(ARCHIVE_OLD, 1)]);
        let old = ChartManifest::parse(old.as_bytes()).unwrap();
        assert_eq!((old.archive, old.provenance), (blob(ARCHIVE_OLD, 1), None));
    }

    #[test]
    fn what_is_no_chart_is_refused() {
        let archive = layer(ARCHIVE, 1);
        for (text, said) in [
            ("<html>".to_owned(), "no JSON"),
            (r#"{"manifests":[]}"#.to_owned(), "an index"),
            ("{}".to_owned(), "its config is \"\""),
            (manifest("application/vnd.oci.image.config.v1+json", &[]), "no chart"),
            (manifest(CONFIG, &[]), "names 0 archives"),
            (manifest(CONFIG, &[archive.clone(), archive]), "names 2 archives"),
            (manifest(CONFIG, &[layer(ARCHIVE, 1 << 40)]), "more than"),
            (manifest(CONFIG, &[layer(ARCHIVE, 1)]).replace("sha256:", "sha512:"), "only sha256"),
        ] {
            let error = ChartManifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
