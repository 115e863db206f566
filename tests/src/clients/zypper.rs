//! zypper with a root of its own, which knows one repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::clean;
use crate::process::{self, Finished};

/// zypper for a target of its own.
#[derive(Clone, Debug)]
pub struct Zypper {
    folder: PathBuf,
}

impl Zypper {
    /// Sets zypper up in `folder` for the repository at `uri`. Its metadata must be signed, and
    /// its packages too, each by one of the armoured `keys`: nobody is there to be asked about
    /// other ones.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written, or rpm does not take a key.
    pub fn new(folder: &Path, uri: &str, keys: &[&str]) -> Self {
        let zypper = Self { folder: folder.to_owned() };
        let repos = zypper.root().join("etc/zypp/repos.d");
        fs::create_dir_all(&repos).expect("a folder can be made");
        let source = format!(
            "[site]\nname=site\nenabled=1\nautorefresh=0\nbaseurl={uri}\ntype=rpm-md\n\
             gpgcheck=1\nrepo_gpgcheck=1\npkg_gpgcheck=1\n"
        );
        fs::write(repos.join("site.repo"), source).expect("a file can be written");
        for key in keys {
            let file = folder.join("key.asc");
            fs::write(&file, key).expect("a file can be written");
            let mut rpmkeys = clean("rpmkeys", folder);
            let told =
                process::run(rpmkeys.arg("--root").arg(zypper.root()).arg("--import").arg(file));
            assert_eq!(told.exit_code, 0, "{}", told.stderr);
        }
        zypper
    }

    /// The root that it installs into.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Runs a command of zypper.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut zypper = clean("zypper", &self.folder);
        zypper.arg("--root").arg(self.root()).args(["--non-interactive", "--releasever=9"]);
        process::run(zypper.args(arguments))
    }
}
