//! podman with a storage of its own, which pulls through a mirror.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::clean;
use crate::process::{self, Finished};

/// podman in a folder of its own.
#[derive(Clone, Debug)]
pub struct Podman {
    folder: PathBuf,
}

impl Podman {
    /// Sets podman up in `folder` with one mirror for `registry`, without TLS; the registry itself
    /// leads nowhere, so that what the mirror lacks is not found elsewhere.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn new(folder: &Path, registry: &str, mirror: &str) -> Self {
        let write = |name: &str, text: &str| {
            fs::create_dir_all(folder).expect("a folder can be made");
            fs::write(folder.join(name), text).expect("a file can be written");
        };
        write(
            "registries.conf",
            &format!(
                "unqualified-search-registries = []\n[[registry]]\nprefix = \"{registry}\"\n\
                 location = \"127.0.0.1:1\"\ninsecure = true\n[[registry.mirror]]\n\
                 location = \"{mirror}\"\ninsecure = true\n"
            ),
        );
        write("policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}");
        Self { folder: folder.to_owned() }
    }

    pub fn pull(&self, reference: &str) -> Finished {
        self.run(&["pull", "--signature-policy", "policy.json", reference])
    }

    /// The digest that an image which was pulled has upstream.
    pub fn digest(&self, reference: &str) -> String {
        let format = "--format={{.Digest}}";
        self.run(&["image", "inspect", format, reference]).stdout.trim().to_owned()
    }

    /// Forgets all images.
    pub fn clear(&self) -> Finished {
        self.run(&["image", "rm", "--all", "--force"])
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let dir = |name: &str| self.folder.join(name);
        let mut podman = clean("podman", &self.folder);
        podman.env("CONTAINERS_REGISTRIES_CONF", dir("registries.conf"));
        podman.args(["--storage-driver=vfs", "--events-backend=none", "--root"]).arg(dir("root"));
        podman.arg("--runroot").arg(dir("run")).arg("--tmpdir").arg(dir("tmp"));
        process::run(podman.args(arguments))
    }
}
