//! A Helm chart in two versions, written in code.
//!
//! In:   a version.
//! Out:  the chart as Helm publishes it: packaged by helm itself, or the same tar with Helm's
//!       header by Go's gzip.

mod content;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    golang::{Program, append},
    gzip::{Encoder, Gzip},
    measure::{command, run},
};

use content::{CHART, files};

/// Both versions of the chart, the older first.
pub const VERSIONS: [&str; 2] = ["1.19.200", "1.19.201"];

/// The chart in a version, by Go's gzip; made when it is not there.
///
/// # Errors
///
/// The encoder is not there.
pub fn by_go(corpus: &Path, gzip: &Gzip, version: &str) -> anyhow::Result<PathBuf> {
    let folder = corpus.join("charts/go");
    fs::create_dir_all(&folder)?;
    let target = folder.join(format!("{CHART}-{version}.tgz"));
    if !target.exists() {
        let mut tar = tar::Builder::new(vec![]);
        for (name, text) in files(version) {
            append(&mut tar, &format!("{CHART}/{name}"), 0o644, text.as_bytes())?;
        }
        let plain = folder.join(format!("{CHART}-{version}.tar"));
        fs::write(&plain, tar.into_inner()?)?;
        gzip.compress(Encoder::Helm, &plain, &target)?;
    }
    Ok(target)
}

/// The chart in a version, by `helm package`; made when it is not there.
///
/// # Errors
///
/// helm cannot be built.
pub fn by_helm(corpus: &Path, helm: &Program, version: &str) -> anyhow::Result<PathBuf> {
    let folder = corpus.join("charts/helm");
    let target = folder.join(format!("{CHART}-{version}.tgz"));
    if !target.exists() {
        let program = helm.binary(corpus)?.display().to_string();
        let source = folder.join(version).join(CHART);
        for (name, text) in files(version) {
            let file = source.join(name);
            fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
            fs::write(file, text)?;
        }
        run(command(&program, ["package", "--destination"]).arg(&folder).arg(&source))?;
    }
    Ok(target)
}
