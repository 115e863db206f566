//! uv, the second installer for Python.

use std::path::Path;

use super::{clean, find};
use crate::process::{self, Finished};

/// Runs `uv pip` with the index at `<server>/pypi/simple/` and nothing else: no settings, no
/// cache, no interpreter that it would have to download.
pub fn uv_pip(server: &str, arguments: &[&str], folder: &Path) -> Finished {
    let index = format!("{server}/pypi/simple/");
    let mut uv = clean("uv", folder);
    uv.args(["--no-config", "--no-cache", "--no-python-downloads", "--color=never", "pip"]);
    uv.args(arguments).args(["--index-url", &index, "--python"]);
    process::run(uv.arg(find("python3").unwrap_or_default()))
}
