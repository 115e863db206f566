//! Searches a chart for its images: rendered where there is a helm, else guessed.

use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::limit;

use super::HelmError;
use crate::{
    source::helm::{
        bounds,
        chart::Chart,
        images::{Images, guess::images_of_chart, manifest::images_of_manifest, values},
        render::{self, Rendering},
        yaml::{self, Value},
    },
    waybill::ChartLine,
};

/// The images of a chart: proven by rendering where there is a helm, else guessed. Blocks.
///
/// # Errors
///
/// [`HelmError`]: values that cannot be read, a chart that does not render.
pub fn images_of(
    line: &ChartLine,
    base: &Utf8Path,
    archive: &[u8],
    chart: &Chart,
) -> Result<Images, HelmError> {
    let base = std::path::absolute(base)
        .ok()
        .and_then(|path| Utf8PathBuf::from_path_buf(path).ok())
        .unwrap_or_else(|| base.to_owned());
    let values: Vec<Utf8PathBuf> = line.values.iter().map(|file| base.join(file)).collect();
    match render::find_helm(std::env::var_os("PATH").as_deref()) {
        Some(helm) => rendered(&helm, line, &values, archive),
        None => guessed(line, &values, chart),
    }
}

fn rendered(
    helm: &Utf8Path,
    line: &ChartLine,
    values: &[Utf8PathBuf],
    archive: &[u8],
) -> Result<Images, HelmError> {
    let failed = |source| HelmError::Read("a temporary folder".into(), source);
    let dir = tempfile::tempdir().map_err(failed)?;
    let path = Utf8PathBuf::from_path_buf(dir.path().join("chart.tgz"))
        .map_err(|path: PathBuf| HelmError::Name(path.display().to_string()))?;
    std::fs::write(&path, archive).map_err(failed)?;
    let text = render::render(
        helm,
        &Rendering {
            release: "release",
            archive: &path,
            values,
            set: &line.set,
            kube_version: line.kube_version.as_deref(),
            api_versions: &line.api_versions,
            namespace: line.namespace.as_deref(),
        },
    )?;
    Ok(images_of_manifest(&text))
}

fn guessed(line: &ChartLine, files: &[Utf8PathBuf], chart: &Chart) -> Result<Images, HelmError> {
    let mut overlays: Vec<Value> = Vec::new();
    for file in files {
        let bytes = limit::read_file(file, bounds::VALUES_LEN_BYTES_MAX)
            .map_err(|source| HelmError::Read(file.clone(), source))?;
        overlays.push(yaml::document(&bytes).map_err(|e| HelmError::Values(file.clone(), e))?);
    }
    overlays.extend(line.set.iter().filter_map(|setting| values::of_setting(setting)));
    let mut images = images_of_chart(chart, &overlays);
    images.unread.push("there is no helm on PATH, so the chart was searched without it".to_owned());
    Ok(images)
}
