//! Wheels, from the index that this machine's pip is set to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::measure::{command, run};

/// Wheels are taken as for this Python, wherever the bench runs.
const PYTHON: &str = "3.13";
const PLATFORMS: [&str; 2] = ["manylinux_2_34_x86_64", "any"];

/// A wheel of a project; fetched when `folder` has none of that version.
///
/// # Errors
///
/// pip's: the version is not to be had.
pub fn wheel(folder: &Path, project: &str, version: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let prefix = format!("{}-{version}-", project.replace('-', "_"));
    if let Some(wheel) = find(folder, &prefix) {
        return Ok(wheel);
    }
    let part = tempfile::tempdir_in(folder)?;
    let mut pip = command("python3", ["-m", "pip", "download", "--no-deps", "--no-input"]);
    pip.args(["--only-binary", ":all:", "--python-version", PYTHON, "--dest"]).arg(part.path());
    for platform in PLATFORMS {
        pip.args(["--platform", platform]);
    }
    run(pip.arg(format!("{project}=={version}")))?;
    let fetched = find(part.path(), &prefix).context("pip left no wheel")?;
    let wheel = folder.join(fetched.file_name().unwrap_or_default());
    fs::rename(fetched, &wheel)?;
    Ok(wheel)
}

/// The first file of `folder` whose name starts with `prefix`.
pub fn find(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let fits = |path: &PathBuf| {
        path.is_file()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    entries.filter(fits).min()
}
