//! The one way in which a file comes to be: temporary file, hash while writing, fsync, rename,
//! fsync of the folder.
//!
//! A reader sees the old file or the whole new one, also after a power cut. An fsync error is
//! final for that file (the kernel may have dropped its pages), so the file is left behind as a
//! temporary one and the caller starts a new one.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// A durable write that failed; nothing has changed under the final name.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub struct DurableError {
    pub what: &'static str,
    pub path: Utf8PathBuf,
    pub source: io::Error,
}

/// Names the path in an I/O error.
pub fn at(what: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> DurableError {
    let path = path.to_owned();
    move |source| DurableError { what, path, source }
}

/// A file being written under a temporary name, hashed as it grows.
#[derive(Debug)]
pub struct DurableFile {
    temp: NamedTempFile,
    hasher: Sha256,
    len_bytes: u64,
}

impl DurableFile {
    /// Opens a new temporary file in `folder`, which must exist.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the folder is missing, read-only or full.
    pub fn create_in(folder: &Utf8Path) -> Result<Self, DurableError> {
        Self::create_with_mode(folder, 0o644)
    }

    /// As [`DurableFile::create_in`]; the file has its mode before it has a byte.
    fn create_with_mode(folder: &Utf8Path, mode: u32) -> Result<Self, DurableError> {
        let temp = tempfile::Builder::new()
            .prefix(TEMP_PREFIX)
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(folder)
            .map_err(at("create a file in", folder))?;
        Ok(Self { temp, hasher: Sha256::new(), len_bytes: 0 })
    }

    /// What was written so far: SHA-256 and length in bytes.
    pub fn digest(&self) -> (Digest, u64) {
        (Digest::from_bytes(self.hasher.clone().finalize().into()), self.len_bytes)
    }

    /// Opens what was written so far, from its beginning.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn reopen(&self) -> Result<File, DurableError> {
        let path = Utf8Path::from_path(self.temp.path()).unwrap_or(Utf8Path::new("a new file"));
        self.temp.reopen().map_err(at("open", path))
    }

    /// Makes the bytes durable and gives them their name, replacing what had it.
    ///
    /// `to` lies in the folder the file was created in, or on the same file system.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: nothing has changed under `to`; begin again with a new file.
    pub fn finish(self, to: &Utf8Path) -> Result<(), DurableError> {
        check_replaceable(to)?;
        self.temp.as_file().sync_all().map_err(at("sync", to))?;
        self.temp.persist(to).map_err(|e| e.error).map_err(at("rename into", to))?;
        sync_folder(folder_of(to))
    }
}

/// A rename would put a file in the place of a device, as of `/dev/null`, of a pipe, or of a link
/// to one, as `/dev/stdout` is.
fn check_replaceable(to: &Utf8Path) -> Result<(), DurableError> {
    match fs::metadata(to) {
        Ok(meta) if !meta.is_file() => {
            Err(at("replace what is no plain file,", to)(io::ErrorKind::AlreadyExists.into()))
        }
        _ => Ok(()),
    }
}

impl Write for DurableFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.temp.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.len_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.flush()
    }
}

/// How temporary files begin; whoever lists a folder passes them over.
pub const TEMP_PREFIX: &str = ".part-";

/// Writes a whole small file.
///
/// # Errors
///
/// [`DurableError`]: the old file, if any, is still there.
pub fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), DurableError> {
    write_with_mode(path, bytes, 0o644)
}

/// Writes a whole small file that only its owner can read.
///
/// # Errors
///
/// As [`write()`].
pub fn write_secret(path: &Utf8Path, bytes: &[u8]) -> Result<(), DurableError> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    let folder = folder_of(path);
    create_folders(folder)?;
    let mut file = DurableFile::create_with_mode(folder, mode)?;
    file.write_all(bytes).map_err(at("write", path))?;
    file.finish(path)
}

/// Creates a folder and its parents, each made durable in its parent.
///
/// # Errors
///
/// [`DurableError`].
pub fn create_folders(folder: &Utf8Path) -> Result<(), DurableError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    create_folders(parent)?;
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(at("create folder", folder)(e)),
        _ => sync_folder(parent),
    }
}

/// Creates `relative` below a folder of a foreign medium, where no part of it may be a link: what
/// is written to a stick stays on the stick.
///
/// # Errors
///
/// [`DurableError`]; [`io::ErrorKind::NotADirectory`] when a link or a file is in the way.
pub fn create_folders_on(
    root: &Utf8Path,
    relative: &Utf8Path,
) -> Result<Utf8PathBuf, DurableError> {
    let mut folder = root.to_owned();
    for part in relative.components() {
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(meta) if !meta.is_dir() => {
                return Err(at("write below", &folder)(io::ErrorKind::NotADirectory.into()));
            }
            _ => create_folders(&folder)?,
        }
    }
    Ok(folder)
}

/// The folder that a path lies in; `.` for a bare name.
pub fn folder_of(path: &Utf8Path) -> &Utf8Path {
    match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        Some(_) => Utf8Path::new("."),
        None => path,
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
///
/// [`DurableError`].
pub fn sync_folder(folder: &Utf8Path) -> Result<(), DurableError> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    match synced {
        // FUSE file systems of sticks refuse to sync a folder; their rename is all there is.
        Err(e) if matches!(e.raw_os_error(), Some(22 | 95)) => Ok(()),
        other => other.map_err(at("sync folder", folder)),
    }
}

/// Renames a finished folder into place.
///
/// # Errors
///
/// [`DurableError`]: nothing has changed under `to`.
pub fn rename(from: &Utf8Path, to: &Utf8Path) -> Result<(), DurableError> {
    fs::rename(from, to).map_err(at("rename into", to))?;
    sync_folder(folder_of(to))
}

/// Removes a file or a whole folder if it is there.
///
/// # Errors
///
/// [`DurableError`].
pub fn remove(path: &Utf8Path) -> Result<(), DurableError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes the files of a folder that a killed process left half written.
///
/// # Errors
///
/// [`DurableError`]: the folder is missing, or one cannot be removed.
pub fn clear_temporary(folder: &Utf8Path) -> Result<(), DurableError> {
    for entry in folder.read_dir_utf8().map_err(at("list", folder))? {
        let entry = entry.map_err(at("list", folder))?;
        if entry.file_name().starts_with(TEMP_PREFIX) {
            remove(entry.path())?;
        }
    }
    Ok(())
}

/// The names in a folder, sorted, without hidden and temporary ones.
///
/// # Errors
///
/// [`DurableError`]: the folder is missing or cannot be read.
pub fn names_in(folder: &Utf8Path) -> Result<Vec<String>, DurableError> {
    let mut names = vec![];
    for entry in folder.read_dir_utf8().map_err(at("list", folder))? {
        let name = entry.map_err(at("list", folder))?.file_name().to_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The files below a folder at any depth, relative to it, sorted by folder.
///
/// # Errors
///
/// As [`names_in`].
pub fn files_below(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, DurableError> {
    let mut files = vec![];
    for name in names_in(folder)? {
        if folder.join(&name).is_dir() {
            let below = files_below(&folder.join(&name))?;
            files.extend(below.into_iter().map(|path| Utf8Path::new(&name).join(path)));
        } else {
            files.push(name.into());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        (temp, path)
    }

    #[test]
    fn a_write_replaces_the_file_whole_and_leaves_nothing_else() {
        let (_temp, folder) = folder();
        let path = folder.join("a/b/current");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        let of = ["x", "/x", "/", "a/x"].map(|path| folder_of(Utf8Path::new(path)).as_str());
        assert_eq!(of, [".", "/", "/", "a"]);
    }

    #[test]
    fn what_is_written_to_a_medium_stays_on_it() {
        let (_temp, folder) = folder();
        let stick = folder.join("stick");
        fs::create_dir_all(folder.join("elsewhere")).unwrap();
        fs::create_dir_all(&stick).unwrap();
        assert_eq!(create_folders_on(&stick, "a/b".into()).unwrap(), stick.join("a/b"));
        std::os::unix::fs::symlink("../elsewhere", stick.join("gapferry")).unwrap();
        assert!(create_folders_on(&stick, "gapferry/prod".into()).is_err());
        assert_eq!(fs::read_dir(folder.join("elsewhere")).unwrap().count(), 0);
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_alone() {
        let (_temp, folder) = folder();
        write_secret(&folder.join("key"), b"s").unwrap();
        let mode = fs::metadata(folder.join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_hashed_while_it_is_written() {
        let (_temp, folder) = folder();
        let mut file = DurableFile::create_in(&folder).unwrap();
        file.write_all(b"ab").unwrap();
        file.write_all(b"c").unwrap();
        assert_eq!(file.digest(), (Digest::of(b"abc"), 3));
    }

    #[test]
    fn what_is_no_plain_file_is_not_replaced() {
        let (_temp, folder) = folder();
        let socket = folder.join("socket");
        let _open = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(write(&socket, b"x").is_err());
        assert!(!fs::metadata(&socket).unwrap().is_file());
    }

    #[test]
    fn a_dropped_write_leaves_the_old_file_and_no_temporary_one() {
        let (_temp, folder) = folder();
        write(&folder.join("x"), b"old").unwrap();
        let mut file = DurableFile::create_in(&folder).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(folder.join("x")).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
