//! The files of one Kubespray tree that matter for a resolution, in memory.
//!
//! In:   an unpacked folder, a tarball (.tar, .tar.gz, .tar.xz) or a tag of a local clone.
//! Out:  a [`Tree`]: text files by their path below the root, and a digest over them.
//! Never runs anything of the tree, never writes, never follows a link out of it.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Component, Path};
use std::process::{Command, Stdio};
use std::sync::Arc;

use gapferry_proto::Digest;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::yaml::YAML_LEN_BYTES_MAX;

/// Most bytes that the files of a tree may have together: 64 MiB. Kubespray's have 3 MiB.
const TREE_LEN_BYTES_MAX: u64 = 64 << 20;

/// Most files that are kept; Kubespray has about 1200.
const TREE_FILES_MAX: usize = 20_000;

/// Most entries of a tarball or folder that are looked at.
const TREE_ENTRIES_MAX: usize = 200_000;

/// Files beside the folders that are kept.
const TOP_FILES: [&str; 6] =
    ["Dockerfile", "README.md", "ansible.cfg", "cluster.yml", "galaxy.yml", "requirements.txt"];

/// A Kubespray tree: relative path (with `/`) to content.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, Arc<[u8]>>,
    len_bytes: u64,
}

impl Tree {
    /// Reads an unpacked folder, or a tarball if `path` is a file.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`] or [`Problem::TooLarge`]; [`Problem::NotKubespray`] if there is no
    /// `roles` folder in it.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let tree = if path.is_dir() {
            Self::from_folder(path)?
        } else {
            let file = std::fs::File::open(path).map_err(|e| unreadable(path, &e))?;
            Self::from_tarball(&path.to_string_lossy(), file)?
        };
        tree.check(&path.to_string_lossy())
    }

    /// Reads the tree that `tag` (or any commit) of the clone at `path` holds, by `git archive`.
    ///
    /// # Errors
    ///
    /// As [`Tree::open`], and [`Problem::Read`] with what git said.
    pub fn from_clone(path: &Path, tag: &str) -> Result<Self, Problem> {
        let name = format!("{} at {tag}", path.display());
        let fault =
            |reason: &str| Problem::Read { file: name.as_str().into(), reason: reason.into() };
        if tag.starts_with('-') {
            return Err(fault("a tag does not begin with a dash"));
        }
        let mut child = Command::new("git")
            .args(["archive", "--format=tar", tag])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| fault(&e.to_string()))?;
        let tree = match child.stdout.take() {
            Some(mut stdout) => {
                let tree = Self::from_tar(&name, &mut stdout);
                // What git pads the archive with; without a reader it would end in an error.
                let padding = std::io::copy(&mut stdout.take(1 << 20), &mut std::io::sink());
                tree.and_then(|tree| padding.map(|_| tree).map_err(|e| fault(&e.to_string())))
            }
            None => Err(fault("git gives no output")),
        };
        let status = child.wait().map_err(|e| fault(&e.to_string()))?;
        let tree = tree?;
        if !status.success() {
            return Err(fault("git archive failed: is there such a tag?"));
        }
        tree.check(&name)
    }

    fn from_folder(root: &Path) -> Result<Self, Problem> {
        let mut tree = Self::default();
        // Only what a tree has: any other folder may be as large as a disk.
        let folders = ["roles", "playbooks", "group_vars", "host_vars"].map(|name| root.join(name));
        let mut folders: Vec<_> = folders.into_iter().filter(|path| path.is_dir()).collect();
        let mut seen = 0;
        for name in TOP_FILES {
            let path = root.join(name);
            if path.is_file() {
                tree.add(name.to_owned(), &read_bounded(&path)?)?;
            }
        }
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e))? {
                seen += 1;
                if seen > TREE_ENTRIES_MAX {
                    return Err(too_large(&root.to_string_lossy(), TREE_ENTRIES_MAX as u64));
                }
                let entry = entry.map_err(|e| unreadable(&folder, &e))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
                if kind.is_dir() && entry.file_name() != ".git" {
                    folders.push(path);
                } else if kind.is_file()
                    && let Some(name) = path.strip_prefix(root).ok().and_then(relative)
                    && matters(&name)
                {
                    let bytes = std::fs::read(&path).map_err(|e| unreadable(&path, &e))?;
                    tree.add(name, &bytes)?;
                }
            }
        }
        Ok(tree)
    }

    /// Reads a tarball, compressed or not, by its first bytes.
    ///
    /// A folder that all entries share, as in released tarballs, is taken for the root.
    pub fn from_tarball(name: &str, mut file: impl Read) -> Result<Self, Problem> {
        let mut head = [0_u8; 6];
        let mut len = 0;
        while let Some(rest) = head.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read(rest).map_err(|e| broken(name, &e))? {
                0 => break,
                n => len += n,
            }
        }
        let whole = head.get(..len).unwrap_or_default().chain(file);
        match head {
            [0x1f, 0x8b, ..] => Self::from_tar(name, flate2::read::MultiGzDecoder::new(whole)),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                Self::from_tar(name, liblzma::read::XzDecoder::new_multi_decoder(whole))
            }
            _ => Self::from_tar(name, whole),
        }
    }

    fn from_tar(name: &str, file: impl Read) -> Result<Self, Problem> {
        // A bomb is cut off here; the bound on kept bytes is checked besides.
        let bounded = BufReader::new(file.take(16 * TREE_LEN_BYTES_MAX));
        let mut archive = tar::Archive::new(bounded);
        let mut entries = Vec::new();
        let mut kept_bytes: u64 = 0;
        for (seen, entry) in archive.entries().map_err(|e| broken(name, &e))?.enumerate() {
            let mut entry = entry.map_err(|e| broken(name, &e))?;
            if seen > TREE_ENTRIES_MAX {
                return Err(too_large(name, TREE_ENTRIES_MAX as u64));
            }
            let path = entry.path().map_err(|e| broken(name, &e))?;
            let Some(path) = relative(&path).filter(|_| entry.header().entry_type().is_file())
            else {
                continue;
            };
            let base = path.split_once('/').map_or(path.as_str(), |(_, rest)| rest);
            if !matters(&path) && !matters(base) {
                continue;
            }
            kept_bytes = kept_bytes.saturating_add(entry.size());
            if kept_bytes > TREE_LEN_BYTES_MAX {
                return Err(too_large(name, TREE_LEN_BYTES_MAX));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| broken(name, &e))?;
            entries.push((path, bytes));
        }
        Self::rooted(entries)
    }

    fn rooted(entries: Vec<(String, Vec<u8>)>) -> Result<Self, Problem> {
        let root = entries
            .iter()
            .find_map(|(path, _)| path.split_once("/roles/").map(|(root, _)| root.to_owned()))
            .filter(|root| {
                !root.contains('/') && !entries.iter().any(|(p, _)| p.starts_with("roles/"))
            });
        let mut tree = Self::default();
        for (path, bytes) in entries {
            let path = match &root {
                Some(root) => path.strip_prefix(root.as_str()).and_then(|p| p.strip_prefix('/')),
                None => Some(path.as_str()),
            };
            if let Some(path) = path.filter(|path| matters(path)) {
                tree.add(path.to_owned(), &bytes)?;
            }
        }
        Ok(tree)
    }

    /// Adds a file, for trees that come from elsewhere.
    ///
    /// # Errors
    ///
    /// [`Problem::TooLarge`] when a bound is reached.
    pub fn add(&mut self, path: String, bytes: &[u8]) -> Result<(), Problem> {
        self.len_bytes += bytes.len() as u64;
        if self.len_bytes > TREE_LEN_BYTES_MAX {
            return Err(too_large("the tree", TREE_LEN_BYTES_MAX));
        }
        if self.files.len() >= TREE_FILES_MAX {
            return Err(too_large("the number of files of the tree", TREE_FILES_MAX as u64));
        }
        self.files.insert(path, bytes.into());
        Ok(())
    }

    fn check(self, name: &str) -> Result<Self, Problem> {
        if self.files.keys().any(|path| path.starts_with("roles/")) {
            Ok(self)
        } else {
            Err(Problem::NotKubespray(name.into(), "roles folder"))
        }
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(AsRef::as_ref)
    }

    /// The first of `paths` that exists.
    pub fn first<'p>(&self, paths: &[&'p str]) -> Option<(&'p str, &[u8])> {
        paths.iter().find_map(|path| self.get(path).map(|bytes| (*path, bytes)))
    }

    /// The paths below a folder, sorted; `folder` without a slash at its end.
    pub fn below<'t>(&'t self, folder: &str) -> impl Iterator<Item = &'t str> {
        let start = format!("{folder}/");
        self.files
            .range(start.clone()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&start))
    }

    /// All paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// SHA-256 over the files that a resolution can read: for each, sorted by path, the length
    /// of its path, the path, the length of its content and the content.
    ///
    /// A folder, its tarball and its clone have the same digest.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for (path, bytes) in &self.files {
            for part in [path.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Digest::from_bytes(hash.finalize().into())
    }
}

/// Whether a resolution may ask for the file: what Ansible itself reads, and templates.
fn matters(path: &str) -> bool {
    let known = TOP_FILES.contains(&path)
        || ["roles/", "playbooks/", "group_vars/", "host_vars/"]
            .iter()
            .any(|f| path.starts_with(f));
    let is_used = !path.split('/').any(|part| matches!(part, "molecule" | "tests"));
    known && is_used && !path.ends_with(".pyc")
}

fn relative(path: &Path) -> Option<String> {
    let mut out = String::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => {
                if !out.is_empty() {
                    out.push('/');
                }
                out.push_str(name.to_str()?);
            }
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(out)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    broken(&path.to_string_lossy(), error)
}

fn broken(name: &str, error: &std::io::Error) -> Problem {
    Problem::Read { file: name.into(), reason: error.to_string().into() }
}

fn too_large(name: &str, bound: u64) -> Problem {
    Problem::TooLarge { what: name.into(), bound }
}

/// Reads a small file of an inventory or an argument, at most the size of a YAML file.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, Problem> {
    let file = std::fs::File::open(path).map_err(|e| unreadable(path, &e))?;
    let mut bytes = Vec::new();
    let bound = YAML_LEN_BYTES_MAX as u64;
    file.take(bound + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 > bound {
        return Err(too_large(&path.to_string_lossy(), bound));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tarball(prefix: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in [("roles/a/defaults/main.yml", "x: 1\n"), ("README.md", "no")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, format!("{prefix}{path}"), text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tarball_with_a_folder_around_it_is_the_same_tree() {
        let plain = Tree::from_tarball("t", tarball("").as_slice()).unwrap();
        let released = Tree::from_tarball("t", tarball("kubespray-2.30.0/").as_slice()).unwrap();
        assert_eq!(plain.paths().collect::<Vec<_>>(), ["README.md", "roles/a/defaults/main.yml"]);
        assert_eq!(plain.digest(), released.digest());
    }

    #[test]
    fn what_is_not_kubespray_is_one_clear_error() {
        let tree = Tree::from_tarball("t", [0_u8; 1024].as_slice()).unwrap();
        assert_eq!(
            tree.check("t").unwrap_err().to_string(),
            "t is not a Kubespray tree: it has no roles folder"
        );
    }
}
