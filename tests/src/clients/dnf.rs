//! dnf with a state of its own, which knows one repository and installs into a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::clean;
use crate::process::{self, Finished};

/// dnf for a target of its own.
#[derive(Clone, Debug)]
pub struct Dnf {
    folder: PathBuf,
}

impl Dnf {
    /// Sets dnf up in `folder` for the repository at `uri`. Its metadata must be signed, and its
    /// packages too, each by one of the armoured `keys`.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn new(folder: &Path, uri: &str, keys: &[&str]) -> Self {
        let dir = folder.display();
        let mut urls = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            fs::write(folder.join(format!("{number}.asc")), key).expect("a file can be written");
            urls.push(format!("file://{dir}/{number}.asc"));
        }
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        Self::with_key_urls(folder, uri, &urls)
    }

    /// As [`Dnf::new`], with keys that it fetches itself.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn with_key_urls(folder: &Path, uri: &str, urls: &[&str]) -> Self {
        for sub in ["repos", "cache", "persist", "log", "vars", "root", "taken"] {
            fs::create_dir_all(folder.join(sub)).expect("a folder can be made");
        }
        let (dir, urls) = (folder.display(), urls.join(" "));
        let settings = format!(
            "[main]\nreposdir={dir}/repos\ncachedir={dir}/cache\npersistdir={dir}/persist\n\
             logdir={dir}/log\nvarsdir={dir}/vars\nmodule_platform_id=platform:el9\nretries=1\n\
             [site]\nname=site\nbaseurl={uri}\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey={urls}\n"
        );
        fs::write(folder.join("dnf.conf"), settings).expect("a file can be written");
        Self { folder: folder.to_owned() }
    }

    /// The root that it installs into.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Where `download` puts packages.
    pub fn taken(&self) -> PathBuf {
        self.folder.join("taken")
    }

    /// Runs a command of dnf.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut dnf = clean("dnf", &self.folder);
        dnf.arg("-c").arg(self.folder.join("dnf.conf")).arg("--installroot").arg(self.root());
        dnf.args(["-y", "--releasever=9", "--forcearch=x86_64"]);
        dnf.arg("--disableplugin=versionlock,local");
        process::run(dnf.args(arguments))
    }
}
