//! An export as it lies on a stick.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// One export below the folder that stands for a stick.
#[derive(Clone, Debug)]
pub struct Stick {
    /// What is plugged in: the folder with `gapferry/` in it.
    pub root: PathBuf,
    /// `<root>/gapferry/<site>/<export id>`.
    pub export: PathBuf,
    /// What `export -o json` said.
    pub report: Value,
}

/// Files that help the courier and that no decision depends on.
const COURIERS: [&str; 3] = ["README.txt", "SHA256SUMS", "DONE"];

impl Stick {
    /// The export that `report` tells of, on the stick at `root`.
    pub fn new(root: &Path, site: &str, report: Value) -> Self {
        let id = report["export"].as_str().unwrap_or("no export in the report");
        let export = root.join("gapferry").join(site).join(id);
        Self { root: root.to_owned(), export, report }
    }

    /// A file of the export by its path in there.
    pub fn file(&self, path: &str) -> PathBuf {
        self.export.join(path)
    }

    /// Every file of the export, as sorted paths below its folder.
    ///
    /// # Panics
    ///
    /// When the folder cannot be read.
    pub fn files(&self) -> Vec<String> {
        let mut files = vec![];
        walk(&self.export, &mut |path| {
            let below = path.strip_prefix(&self.export).expect("a walk stays below");
            files.push(below.to_string_lossy().into_owned());
        });
        files.sort();
        files
    }

    /// The files that the inside decides by.
    pub fn vouched_files(&self) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file| !COURIERS.contains(&file.as_str()));
        files
    }

    pub fn packs(&self) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file| file.starts_with("volume-"));
        files
    }

    /// What the courier carries, in bytes.
    pub fn len_bytes(&self) -> u64 {
        let len = |file: &String| fs::metadata(self.file(file)).map_or(0, |meta| meta.len());
        self.files().iter().map(len).sum()
    }

    /// The same stick again, in another folder.
    ///
    /// # Panics
    ///
    /// When it cannot be copied.
    pub fn copy_to(&self, root: &Path) -> Self {
        copy_tree(&self.root, root).expect("a stick can be copied");
        let below = self.export.strip_prefix(&self.root).expect("an export lies on its stick");
        Self { root: root.to_owned(), export: root.join(below), report: self.report.clone() }
    }
}

/// Calls `seen` with every file below `folder`.
///
/// # Panics
///
/// When a folder cannot be read.
pub fn walk(folder: &Path, seen: &mut dyn FnMut(&Path)) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() { walk(&path, seen) } else { seen(&path) }
    }
}

/// Copies a folder with all below it.
///
/// # Errors
///
/// The file system's.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
