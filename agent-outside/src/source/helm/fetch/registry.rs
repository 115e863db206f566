//! A chart of a registry: its tag, its archive, its provenance.

use std::path::PathBuf;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    limit,
    openpgp::verify::{self, Keyring},
};
use gapferry_proto::BlobRef;
use tokio::task;
use url::Url;

use super::{Charts, Held, HelmError};
use crate::{
    source::{
        helm::{
            bounds,
            chart::Chart,
            oci::ChartManifest,
            pick::PickError,
            prov::Provenance,
            reference::{Wish, choose_tag, newest},
        },
        http::Http,
        oci::{
            self,
            auth::{self, Lookup, Tokens},
            registry::{Repository, Shelf},
        },
    },
    waybill::{ChartLine, ImageLine},
};

/// A chart of a registry is carried as the image that it is there, so that `helm pull oci://`
/// finds it inside; `oci` resolves it.
#[expect(clippy::too_many_arguments, reason = "one call, of one line's parts")]
pub(super) async fn registry(
    charts: &mut Charts,
    http: &Http,
    line: &ChartLine,
    base: &Utf8Path,
    repository: &str,
    name: &str,
    wish: &Wish,
    keyring: Option<&Keyring>,
    wanted: &str,
) -> Result<Held, HelmError> {
    let (tag, version) = tag(http, line, repository, name, wish).await?;
    let image =
        ImageLine { insecure: line.insecure, ..ImageLine::of(format!("{repository}:{tag}")) };
    let mut resolved = oci::resolve(http, &image, base, wanted).await;
    if let Some(failure) = resolved.found.failures.pop() {
        charts.found.failures.push(failure);
    }
    let Some(artifact) = resolved.found.artifacts.first() else {
        return Err(HelmError::Told); // the failure of `oci` says why
    };
    let root = resolved.manifests.first().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
    let manifest = ChartManifest::parse(&root)?;
    let url = artifact.origin.rsplit_once("/manifests/").and_then(|(url, _)| url.parse().ok());
    let url: Url = url.ok_or_else(|| HelmError::Name(artifact.origin.clone()))?;
    let tokens = Tokens::new(auth::logins as Lookup);
    let from = Repository::at(http, &tokens, url);
    let archive = blob(&from, manifest.archive, bounds::CHART_LEN_BYTES_MAX).await?;
    let bytes = archive.clone();
    let chart = task::spawn_blocking(move || Chart::open(&bytes)).await??;
    chart.check(Some(name), Some(&version))?;
    match (keyring, manifest.provenance) {
        (Some(_), None) => return Err(HelmError::Unsigned),
        (None, _) => {}
        (Some(keyring), Some(provenance)) => {
            let bytes = blob(&from, provenance, bounds::PROVENANCE_LEN_BYTES_MAX).await?;
            let verified =
                verify::verify_cleartext(keyring, &bytes).map_err(HelmError::Signature)?;
            let (name, version) = (&chart.meta.name, &chart.meta.version);
            let file = format!("{name}-{version}.tgz");
            let read = Provenance::of_text(&verified.text)?;
            read.check(name, version, &file, manifest.archive.id.digest())?;
        }
    }
    Ok(Held { artifacts: resolved.found.artifacts, kept: resolved.manifests, archive, chart })
}

/// The tag that `wish` takes, and the version that it stands for. A registry is asked for its tags
/// only where the wish is no whole version.
async fn tag(
    http: &Http,
    line: &ChartLine,
    repository: &str,
    name: &str,
    wish: &Wish,
) -> Result<(String, String), HelmError> {
    if let (Some(tag), Some(version)) = (wish.tag(), &wish.text) {
        return Ok((tag, version.clone()));
    }
    let asked = ImageLine { insecure: line.insecure, ..ImageLine::of(repository) };
    let tags = oci::tags(http, &asked).await?;
    choose_tag(wish, &tags).ok_or_else(|| {
        let wanted = wish.text.clone().unwrap_or_else(|| "that is a release".to_owned());
        let newest = newest(&tags).into_iter().take(5).map(|(version, ..)| version).collect();
        PickError::NoVersion { name: name.to_owned(), wanted, newest }.into()
    })
}

async fn blob(from: &Repository<'_>, blob: BlobRef, max: u64) -> Result<Bytes, HelmError> {
    let dir = tempfile::tempdir().map_err(|e| HelmError::Read("a temporary folder".into(), e))?;
    let path = Utf8PathBuf::from_path_buf(dir.path().join("blob"))
        .map_err(|path: PathBuf| HelmError::Name(path.display().to_string()))?;
    from.download(Shelf::Blobs, blob, &path, &|_| {}).await?;
    let bytes = limit::read_file(&path, max).map_err(|source| HelmError::Read(path, source))?;
    Ok(bytes.into())
}
