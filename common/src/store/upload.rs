//! A blob that comes over a network, in as many pieces and as slowly as its sender likes.
//!
//! It grows in a folder of its own, `blobs/uploads`: an import clears `blobs/incoming` of what
//! killed processes left, and must not take an upload that is under way for such.

use std::{
    fs::{File, FileTimes},
    io::{self, Write},
    time::SystemTime,
};

use camino::Utf8PathBuf;
use gapferry_proto::{BlobId, BlobRef, Digest};

use super::{PutError, Store};
use crate::{
    durable::{self, DurableError, DurableFile, at},
    hashing::Sha512,
};

/// A blob on its way into the store. Dropped unfinished it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    file: DurableFile,
}

impl Store {
    /// Starts an empty upload.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn upload(&self) -> Result<Upload, DurableError> {
        let folder = self.uploads();
        durable::create_folders(&folder)?;
        Ok(Upload { store: self.clone(), file: DurableFile::create_in(&folder)? })
    }

    /// Removes what uploads of a killed process left, and leaves their folder. The caller is the
    /// only one who takes them.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn clear_uploads(&self) -> Result<(), DurableError> {
        let folder = self.uploads();
        durable::create_folders(&folder)?;
        for entry in folder.read_dir_utf8().map_err(at("list", &folder))? {
            durable::remove(entry.map_err(at("list", &folder))?.path())?;
        }
        Ok(())
    }

    /// Whether anybody ever took uploads into this store: [`Store::clear_uploads`] comes before.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: nobody can tell.
    pub fn took_uploads(&self) -> Result<bool, DurableError> {
        let folder = self.uploads();
        folder.try_exists().map_err(at("look for", &folder))
    }

    /// Says that a blob was put to use just now: a sweep spares what is younger than it.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: it is not held, or the disk failed.
    pub fn touch(&self, id: BlobId) -> Result<(), DurableError> {
        let path = self.path(id);
        let now = FileTimes::new().set_modified(SystemTime::now());
        let touched = File::open(&path).and_then(|file| file.set_times(now));
        touched.map_err(at("touch", &path))
    }

    fn uploads(&self) -> Utf8PathBuf {
        self.root.join("blobs/uploads")
    }
}

impl Upload {
    /// SHA-256 and length in bytes of what came so far.
    pub fn digest(&self) -> (Digest, u64) {
        self.file.digest()
    }

    /// SHA-512 of what came so far. Reads it again.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn sha512(&self) -> Result<Sha512, DurableError> {
        let mut file = self.file.reopen()?;
        Sha512::read(&mut file).map_err(at("read an upload in", &self.store.uploads()))
    }

    /// Gives the blob its name, if its bytes hash to it.
    ///
    /// # Errors
    ///
    /// [`PutError::OtherBlob`]: nothing is stored.
    pub fn finish(self, expected: BlobId) -> Result<BlobRef, PutError> {
        self.store.name(self.file, expected)
    }
}

impl Write for Upload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        let store = Store::open(root).unwrap();
        (temp, store)
    }

    #[test]
    fn an_upload_becomes_a_blob_only_under_its_own_name() {
        let (_temp, store) = store();
        let mut upload = store.upload().unwrap();
        upload.write_all(b"ab").unwrap();
        upload.write_all(b"c").unwrap();
        assert_eq!(upload.digest(), (Digest::of(b"abc"), 3));
        assert_eq!(upload.sha512().unwrap(), Sha512::of(b"abc"));
        let blob = upload.finish(BlobId::of(b"abc")).unwrap();
        assert!(store.verify(&blob).unwrap());
        let mut upload = store.upload().unwrap();
        upload.write_all(b"other").unwrap();
        assert!(matches!(upload.finish(BlobId::of(b"true")), Err(PutError::OtherBlob { .. })));
        assert_eq!(store.blobs().count(), 1);
    }

    #[test]
    fn an_upload_outlives_the_clearing_before_an_import_and_leaves_nothing_when_dropped() {
        let (_temp, store) = store();
        assert!(!store.took_uploads().unwrap());
        let mut upload = store.upload().unwrap();
        assert!(store.took_uploads().unwrap());
        upload.write_all(b"abc").unwrap();
        store.clear_temporary().unwrap();
        upload.finish(BlobId::of(b"abc")).unwrap();
        drop(store.upload().unwrap());
        std::fs::write(store.uploads().join("left"), b"by a killed process").unwrap();
        store.clear_uploads().unwrap();
        assert_eq!(store.uploads().read_dir_utf8().unwrap().count(), 0);
    }

    #[test]
    fn a_touched_blob_is_young_again() {
        let (_temp, store) = store();
        let id = store.put(b"abc").unwrap();
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        File::open(store.path(id)).unwrap().set_times(old).unwrap();
        store.touch(id).unwrap();
        let modified = store.path(id).metadata().unwrap().modified().unwrap();
        assert!(SystemTime::UNIX_EPOCH < modified);
        assert!(store.touch(BlobId::of(b"other")).is_err());
    }
}
