//! Finds the two agents, building them first.
//!
//! In:   the workspace, `CARGO`, `CARGO_TARGET_DIR`; or `GAPFERRY_BIN_DIR` with both binaries.
//! Out:  the paths of `gapferry-outside` and `gapferry-inside`, in the profile that the harness
//!       itself was built in.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The agent on the bastion.
pub fn outside() -> PathBuf {
    folder().join("gapferry-outside")
}

/// The agent on the admin node.
pub fn inside() -> PathBuf {
    folder().join("gapferry-inside")
}

/// The folder of both binaries; builds them on the first call of a process.
///
/// # Panics
///
/// When they cannot be built: then no test means anything.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| env::var_os("GAPFERRY_BIN_DIR").map_or_else(build, PathBuf::from))
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate stands in its workspace")
}

fn build() -> PathBuf {
    let folder = profile_folder();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--quiet"]);
    cargo.args(["-p", "gapferry-outside", "-p", "gapferry-inside"]);
    cargo.args(["--profile", profile(&folder)]);
    if let Some(target) = folder.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the agents cannot be built: {status}");
    folder
}

/// `<target>/<profile>`: where this very program lies, or one above for tests (`deps`).
fn profile_folder() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it lies");
    let folder = program.parent().expect("a file lies in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("deps lies in the profile's folder").to_owned()
    } else {
        folder.to_owned()
    }
}

/// Cargo calls the folder of the profile `dev` "debug", and each other one by its name.
fn profile(folder: &Path) -> &str {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_folder() {
        assert_eq!(profile(Path::new("/t/debug")), "dev");
        assert_eq!(profile(Path::new("/t/release")), "release");
        assert!(workspace().join("Cargo.lock").exists());
    }
}
