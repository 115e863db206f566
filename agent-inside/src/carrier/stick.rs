//! The stick: foreign media, opened below one folder and nowhere else.
//!
//! Nothing here is parsed or believed; files are handed on as bytes or as open files.

use std::{fs::File, io};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std::{ambient_authority, fs_utf8::Dir};
use gapferry_common::limit::LimitReader;
use gapferry_proto::{ExportId, SiteName, limits};

/// Why a medium cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct StickError {
    path: Utf8PathBuf,
    source: io::Error,
}

/// One folder of an export on one medium.
#[derive(Debug)]
pub struct ExportFolder {
    dir: Dir,
    path: Utf8PathBuf,
}

/// An export, perhaps spread over several media.
#[derive(Debug)]
pub struct Found {
    /// The name of its folder, by which the folders of one export are put together.
    pub name: String,
    /// Whether the user named this folder itself.
    pub named: bool,
    pub folders: Vec<ExportFolder>,
}

/// Finds the exports for `site` on the paths given: export folders, media, or the folders of a
/// medium in which they lie.
///
/// Sorted by sequence. What is not an export is passed over.
///
/// # Errors
///
/// [`StickError`]: a path cannot be read.
pub fn find(paths: &[Utf8PathBuf], site: &SiteName) -> Result<Vec<Found>, StickError> {
    let mut found: Vec<Found> = vec![];
    for path in paths {
        let dir = open(path)?;
        if dir.exists("envelope.json") || dir.exists("volume-001") {
            let name = path.file_name().unwrap_or("export").to_owned();
            add(&mut found, name, true, ExportFolder { dir, path: path.clone() });
            continue;
        }
        let below = |folder: &str| Utf8Path::new(folder).join(site.as_str());
        for folder in [below("gapferry"), below("."), ".".into()] {
            let Ok(exports) = dir.open_dir(&folder) else { continue };
            for name in names(&exports, &path.join(&folder))? {
                if name.parse::<ExportId>().is_err() {
                    continue;
                }
                let path = path.join(&folder).join(&name);
                let opened = exports.open_dir(&name);
                let dir = opened.map_err(|source| StickError { path: path.clone(), source })?;
                add(&mut found, name, false, ExportFolder { dir, path });
            }
        }
    }
    found.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    Ok(found)
}

fn open(path: &Utf8Path) -> Result<Dir, StickError> {
    let opened = Dir::open_ambient_dir(path, ambient_authority());
    opened.map_err(|source| StickError { path: path.to_owned(), source })
}

fn add(found: &mut Vec<Found>, name: String, named: bool, folder: ExportFolder) {
    match found.iter_mut().find(|export| export.name == name) {
        Some(export) => {
            export.folders.push(folder);
            export.named |= named;
        }
        None => found.push(Found { name, named, folders: vec![folder] }),
    }
}

fn names(dir: &Dir, path: &Utf8Path) -> Result<Vec<String>, StickError> {
    let failed = |source| StickError { path: path.to_owned(), source };
    let mut names = vec![];
    for entry in dir.entries().map_err(failed)?.take(limits::FOLDER_NAMES_MAX) {
        // A name that is not UTF-8 is none of ours.
        names.extend(entry.map_err(failed)?.file_name().ok());
    }
    names.sort();
    Ok(names)
}

impl ExportFolder {
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Opens a file of the export; none when it is not there.
    ///
    /// # Errors
    ///
    /// [`StickError`]: the medium failed, or the path leads out of the folder.
    pub fn open(&self, path: &str) -> Result<Option<File>, StickError> {
        // Opening a pipe would wait for ever; only plain files are ours.
        if self.dir.metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Ok(None);
        }
        match self.dir.open(path) {
            Ok(file) => Ok(Some(file.into_std())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StickError { path: self.path.join(path), source }),
        }
    }

    /// Reads a whole file of at most `max_bytes`; none when it is not there or longer.
    ///
    /// # Errors
    ///
    /// As [`ExportFolder::open`].
    pub fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, StickError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut bytes = vec![];
        match io::Read::read_to_end(&mut LimitReader::new(file, max_bytes), &mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => Ok(None),
            Err(source) => Err(StickError { path: self.path.join(path), source }),
        }
    }

    /// The names in a folder of the export, sorted; none when it is not there.
    ///
    /// # Errors
    ///
    /// [`StickError`].
    pub fn names(&self, folder: &str) -> Result<Vec<String>, StickError> {
        match self.dir.open_dir(folder) {
            Ok(dir) => names(&dir, &self.path.join(folder)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(source) => Err(StickError { path: self.path.join(folder), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn stick() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        (temp, path)
    }

    fn export(stick: &Utf8Path, name: &str) -> Utf8PathBuf {
        let folder = stick.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("envelope.json"), name).unwrap();
        folder
    }

    fn found_names(paths: &[Utf8PathBuf]) -> Vec<(String, usize)> {
        let found = find(paths, &"prod".parse().unwrap()).unwrap();
        found.into_iter().map(|f| (f.name, f.folders.len())).collect()
    }

    #[test]
    fn exports_are_found_on_a_medium_by_sequence_and_what_is_not_ours_is_passed_over() {
        let (_temp, stick) = stick();
        for name in ["prod/000010-00000000", "prod/000009-00000000", "lab/000011-00000000"] {
            export(&stick, &format!("gapferry/{name}"));
        }
        fs::create_dir_all(stick.join("gapferry/prod/holiday photos")).unwrap();
        fs::write(stick.join("gapferry/prod/inventory-000001.json"), b"{}").unwrap();
        let expected = [("000009-00000000".to_owned(), 1), ("000010-00000000".to_owned(), 1)];
        assert_eq!(found_names(&[stick]), expected);
    }

    #[test]
    fn an_export_is_found_from_each_folder_above_it() {
        let (_temp, stick) = stick();
        export(&stick, "gapferry/prod/000009-00000000");
        for path in ["", "gapferry", "gapferry/prod", "gapferry/prod/000009-00000000"] {
            let expected = [("000009-00000000".to_owned(), 1)];
            assert_eq!(found_names(&[stick.join(path)]), expected, "{path}");
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_no_file() {
        let (_temp, stick) = stick();
        let folder = export(&stick, "000001-00000000");
        fs::create_dir(folder.join("manifest.age")).unwrap();
        let found = find(&[folder], &"prod".parse().unwrap()).unwrap();
        assert_eq!(found[0].folders[0].read("manifest.age", 9).unwrap(), None);
    }

    #[test]
    fn one_export_on_two_media_is_one_export() {
        let (_temp, root) = stick();
        let one = export(&root, "one/000009-00000000");
        let two = export(&root, "two/gapferry/prod/000009-00000000");
        let paths = [one, two.ancestors().nth(3).unwrap().to_owned()];
        assert_eq!(found_names(&paths), [("000009-00000000".to_owned(), 2)]);
    }

    #[test]
    fn a_link_cannot_lead_out_of_the_export() {
        let (_temp, root) = stick();
        fs::write(root.join("secret"), b"secret").unwrap();
        let folder = export(&root, "000001-00000000");
        std::os::unix::fs::symlink(root.join("secret"), folder.join("manifest.age")).unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("README.txt")).unwrap();
        let found = find(&[folder], &"prod".parse().unwrap()).unwrap();
        for path in ["manifest.age", "README.txt", "../secret"] {
            assert!(found[0].folders[0].read(path, 100).is_err(), "{path}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let (_temp, root) = stick();
        let folder = export(&root, "000001-00000000");
        let found = find(&[folder], &"prod".parse().unwrap()).unwrap();
        let read = |max| found[0].folders[0].read("envelope.json", max).unwrap();
        assert_eq!(read(14), None);
        assert_eq!(read(15), Some(b"000001-00000000".to_vec()));
    }
}
