//! Packs the folder of a chart.
//!
//! In:   a folder on disk.
//! Out:  its files as Helm would take them; a `.tgz` that is the same wherever it is made.
//! Never: a file that a link leads to, or one that `.helmignore` leaves out.

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::{Compression, GzBuilder};

use super::{archive::Files, bounds, ignore::Rules};

/// Why a folder is not packed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{0} has a name that is not UTF-8")]
    Name(String),
    #[error("{0} is a link; put what it leads to in its place")]
    Link(Utf8PathBuf),
    #[error("{path} has {len_bytes} bytes, more than {max}")]
    TooLong { path: Utf8PathBuf, len_bytes: u64, max: u64 },
    #[error("{0} holds more than a chart may")]
    TooMuch(Utf8PathBuf),
    #[error(".helmignore has a pattern that Helm does not take: {0:?}")]
    Pattern(String),
}

/// Reads the files of a chart's folder.
///
/// # Errors
///
/// [`FolderError`] names the file.
pub fn read_folder(folder: &Utf8Path) -> Result<Files, FolderError> {
    let read = |path: &Utf8Path| {
        fs::read(path).map_err(|source| FolderError::Read { path: path.to_owned(), source })
    };
    let ignore = folder.join(".helmignore");
    let rules = if ignore.exists() { read(&ignore)? } else { Vec::new() };
    let rules = Rules::parse(&String::from_utf8_lossy(&rules)).map_err(FolderError::Pattern)?;
    let (mut files, mut left) = (Files::new(), bounds::CHART_PLAIN_LEN_BYTES_MAX);
    let mut open = vec![String::new()];
    let mut entries = 0;
    while let Some(below) = open.pop() {
        for (name, kind, len_bytes) in listed(&folder.join(&below))? {
            entries += 1;
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if rules.leave_out(&path, kind.is_dir()) {
                continue;
            }
            let full = folder.join(&path);
            if kind.is_dir() {
                open.push(path);
                continue;
            } else if kind.is_symlink() {
                return Err(FolderError::Link(full));
            } else if !kind.is_file() {
                continue; // opening a pipe would wait for ever
            }
            let max = bounds::MEMBER_LEN_BYTES_MAX;
            if max < len_bytes {
                return Err(FolderError::TooLong { path: full, len_bytes, max });
            }
            let room = left.checked_sub(len_bytes).filter(|_| entries <= bounds::MEMBERS_MAX);
            left = room.ok_or_else(|| FolderError::TooMuch(folder.to_owned()))?;
            files.insert(path, read(&full)?);
        }
    }
    Ok(files)
}

fn listed(folder: &Utf8Path) -> Result<Vec<(String, fs::FileType, u64)>, FolderError> {
    let failed = |source| FolderError::Read { path: folder.to_owned(), source };
    let mut listed = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let len_bytes = if kind.is_file() { entry.metadata().map_err(failed)?.len() } else { 0 };
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| FolderError::Name(name.to_string_lossy().into_owned()))?;
        listed.push((name, kind, len_bytes));
    }
    Ok(listed)
}

/// Packs files below a folder called `name`.
///
/// The bytes depend on names and contents alone: sorted, mode 644, no owner, no time. They are
/// those of stock zlib at level 6.
///
/// # Errors
///
/// A name or a path that leaves its folder.
pub fn pack(name: &str, files: &Files) -> io::Result<Vec<u8>> {
    let gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::new(6));
    let mut tar = tar::Builder::new(gzip);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, format!("{name}/{path}"), content.as_slice())?;
    }
    tar.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::helm::chart::Chart;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        for (file, text) in [
            ("Chart.yaml", "name: a\nversion: 1.0.0"),
            ("templates/a.yaml", "x"),
            ("templates/.swp", "x"),
            ("charts/b/Chart.yaml", "name: b\nversion: 1.0.0"),
            ("ci/secret", "x"),
            (".helmignore", "# own\n/ci/\n"),
        ] {
            fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            fs::write(path.join(file), text).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn a_folder_is_packed_the_same_each_time_and_opens_again() {
        let (_dir, path) = folder();
        let files = read_folder(&path).unwrap();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, [".helmignore", "Chart.yaml", "charts/b/Chart.yaml", "templates/a.yaml"]);
        let packed = pack("a", &files).unwrap();
        assert_eq!(packed, pack("a", &read_folder(&path).unwrap()).unwrap());
        assert_eq!(Chart::open(&packed).unwrap(), Chart::of_files(files).unwrap());
    }

    #[test]
    fn a_packed_chart_is_these_bytes() {
        let files = [("Chart.yaml".to_owned(), b"name: a\nversion: 1.0.0\n".to_vec())].into();
        let digest = gapferry_proto::Digest::of(&pack("a", &files).unwrap()).to_string();
        assert_eq!(digest, PACKED);
        assert!(pack("../a", &files).is_err());
    }

    const PACKED: &str = "sha256:8d54540ee2abc1aac904a2828c2a9e229400d808c732a80c0fe191a9a0b9b51a";

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_followed_and_a_pipe_not_opened() {
        let (_dir, path) = folder();
        std::os::unix::fs::symlink("/etc/hostname", path.join("templates/b.yaml")).unwrap();
        assert!(matches!(read_folder(&path), Err(FolderError::Link(_))));
        assert!(matches!(read_folder(&path.join("none")), Err(FolderError::Read { .. })));
    }
}
