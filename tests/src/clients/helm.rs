//! helm with settings and caches of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{clean, find};
use crate::process::{self, Finished};

/// helm in a folder of its own.
#[derive(Clone, Debug)]
pub struct Helm {
    folder: PathBuf,
}

impl Helm {
    /// What helm is called here.
    pub fn program() -> Option<&'static str> {
        ["helm3", "helm"].into_iter().find(|name| find(name).is_some())
    }

    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        Self { folder: folder.to_owned() }
    }

    /// Runs helm; paths may be relative to its folder.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let mut helm = clean(Self::program().unwrap_or("helm"), &self.folder);
        for name in ["CACHE", "CONFIG", "DATA"] {
            helm.env(format!("HELM_{name}_HOME"), self.folder.join(name));
        }
        process::run(helm.args(arguments))
    }
}
