//! The stick: any folder that a person carries.
//!
//! Each file is written as `*.part`, made durable and renamed; the envelope comes last. Then
//! everything is read back past the page cache and hashed again, and only then `DONE` appears.

use std::{
    fs::File,
    io::{self, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{self, DurableError, at},
    hashing,
};
use gapferry_proto::{Digest, SiteName};
use rustix::fs::{Advice, fadvise, statvfs};

/// Why an export is not on the medium.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    #[error("{folder} has room for {free} bytes; the export needs {needed}")]
    NoRoom { folder: Utf8PathBuf, free: u64, needed: u64 },
    #[error("{folder} is no folder; mount the medium first")]
    NoFolder { folder: Utf8PathBuf },
    #[error("the sealed export is damaged at {path}; remove its folder and export again")]
    SpoolDamaged { path: Utf8PathBuf },
    #[error("{path} reads back otherwise than it was written; use another medium")]
    ReadsBackOtherwise { path: Utf8PathBuf },
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// Copies the sealed export at `from` to `<to>/gapferry/<site>/<export id>`; that folder.
///
/// Files that are there already with the right bytes are not written again, so a copy that was
/// interrupted continues.
///
/// # Errors
///
/// [`StickError`]: `DONE` is not there, and the same command may be run again.
pub fn copy(from: &Utf8Path, to: &Utf8Path, site: &SiteName) -> Result<Utf8PathBuf, StickError> {
    check_folder(to)?;
    let export = from.file_name().expect("a sealed export has a name");
    let below = Utf8Path::new("gapferry").join(site.as_str()).join(export);
    let folder = to.join(&below);
    let mut files = durable::files_below(from)?;
    files.sort_by_key(|path| path == "envelope.json");
    check_room(from, to, &folder, &files)?;
    let sums_path = from.join("SHA256SUMS");
    let sums = std::fs::read_to_string(&sums_path).map_err(at("read", &sums_path))?;
    durable::create_folders_on(to, &below)?;
    durable::remove(&folder.join("DONE"))?;
    let mut written = vec![];
    for path in files {
        let (source, target) = (from.join(&path), folder.join(&path));
        let digest = hash_file(&source)?;
        if path != "SHA256SUMS" && !sums.contains(&format!("{}  {path}\n", digest.hex())) {
            return Err(StickError::SpoolDamaged { path: source });
        }
        if !(is_plain(&target) && hash_file(&target)? == digest) {
            durable::create_folders_on(&folder, durable::folder_of(&path))?;
            copy_file(&source, &target)?;
        }
        written.push((target, digest));
    }
    for (path, digest) in &written {
        if read_back(path)? != *digest {
            return Err(StickError::ReadsBackOtherwise { path: path.clone() });
        }
    }
    durable::write(&folder.join("DONE"), format!("{export}\n").as_bytes())?;
    Ok(folder)
}

/// Whether there is a folder at all, which is asked before anything is sealed for it.
///
/// # Errors
///
/// [`StickError::NoFolder`].
pub fn check_folder(to: &Utf8Path) -> Result<(), StickError> {
    if to.is_dir() { Ok(()) } else { Err(StickError::NoFolder { folder: to.to_owned() }) }
}

fn check_room(
    from: &Utf8Path,
    to: &Utf8Path,
    folder: &Utf8Path,
    files: &[Utf8PathBuf],
) -> Result<(), StickError> {
    let mut needed = 0;
    for path in files {
        let len = |path: &Utf8Path| path.metadata().map(|meta| meta.len());
        let there = len(&folder.join(path)).unwrap_or(0);
        let source = from.join(path);
        needed += len(&source).map_err(at("read", &source))?.saturating_sub(there);
    }
    let stat = statvfs(to.as_std_path()).map_err(io::Error::from).map_err(at("look at", to))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some FUSE file systems report no free space at all; writing will tell.
    if free != 0 && free < needed {
        return Err(StickError::NoRoom { folder: to.to_owned(), free, needed });
    }
    Ok(())
}

fn copy_file(from: &Utf8Path, to: &Utf8Path) -> Result<(), DurableError> {
    let part = Utf8PathBuf::from(format!("{to}.part"));
    durable::remove(&part)?;
    let mut source = File::open(from).map_err(at("open", from))?;
    let mut target = File::create_new(&part).map_err(at("create", &part))?;
    hashing::copy(&mut source, &mut target).map_err(at("write", &part))?;
    target.flush().and_then(|()| target.sync_all()).map_err(at("sync", &part))?;
    durable::rename(&part, to)
}

/// A file, and no link to one.
fn is_plain(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file())
}

fn hash_file(path: &Utf8Path) -> Result<Digest, DurableError> {
    let hashed = File::open(path).and_then(|mut file| hashing::hash(&mut file));
    hashed.map(|(digest, _)| digest).map_err(at("read", path))
}

/// Hashes what the medium has, not what the page cache remembers.
fn read_back(path: &Utf8Path) -> Result<Digest, DurableError> {
    let file = File::open(path).map_err(at("open", path))?;
    file.sync_all().map_err(at("sync", path))?;
    // Advice: a file system that ignores it is read through the cache, as before.
    let _ignored = fadvise(&file, 0, None, Advice::DontNeed);
    hash_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (tempfile::TempDir, Utf8PathBuf, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let from = root.join("000001-00000000");
        for (path, content) in [("envelope.json", "e"), ("volume-001/pack-000001.age", "p")] {
            durable::write(&from.join(path), content.as_bytes()).unwrap();
        }
        durable::write(&from.join("SHA256SUMS"), crate::seal::sums(&from).unwrap().as_bytes())
            .unwrap();
        let to = root.join("stick");
        std::fs::create_dir(&to).unwrap();
        (temp, from, to)
    }

    #[test]
    fn an_export_lies_under_its_site_and_is_done() {
        let (_temp, from, to) = sealed();
        let folder = copy(&from, &to, &"prod".parse().unwrap()).unwrap();
        assert_eq!(folder, to.join("gapferry/prod/000001-00000000"));
        let files = durable::files_below(&folder).unwrap();
        assert_eq!(files, ["DONE", "SHA256SUMS", "envelope.json", "volume-001/pack-000001.age"]);
    }

    #[test]
    fn a_damaged_copy_is_made_good_by_the_same_command() {
        let (_temp, from, to) = sealed();
        let site = "prod".parse().unwrap();
        let pack = copy(&from, &to, &site).unwrap().join("volume-001/pack-000001.age");
        std::fs::write(&pack, b"x").unwrap();
        copy(&from, &to, &site).unwrap();
        assert_eq!(std::fs::read(&pack).unwrap(), b"p");
    }

    #[test]
    fn a_sealed_export_that_rotted_is_not_given_out() {
        let (_temp, from, to) = sealed();
        std::fs::write(from.join("volume-001/pack-000001.age"), b"x").unwrap();
        let failed = copy(&from, &to, &"prod".parse().unwrap()).unwrap_err();
        assert!(matches!(failed, StickError::SpoolDamaged { .. }), "{failed}");
    }

    #[test]
    fn a_medium_that_is_not_mounted_is_named() {
        let (_temp, from, to) = sealed();
        let failed = copy(&from, &to.join("missing"), &"prod".parse().unwrap()).unwrap_err();
        assert!(matches!(failed, StickError::NoFolder { .. }), "{failed}");
    }
}
