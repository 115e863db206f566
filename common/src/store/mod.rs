//! The store: whole blobs by SHA-256, and a derived index beside them.
//!
//! A blob is a file that never changes; an admin can run `sha256sum` on it and a damaged index
//! loses nothing. `index` holds what would be slow to find again: which blob has which chunk.
//! `upload` takes in what comes over a network while an import may be at work beside it.

pub mod index;
mod layout;
pub mod scrub;
pub mod sweep;
mod upload;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{BlobId, BlobRef};

pub use index::{Index, IndexError};
pub use upload::Upload;

use crate::{
    durable::{self, DurableError, DurableFile, at},
    hashing,
};

/// Why a blob was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The bytes are not what they should be.
    #[error("{expected} hashes to {actual}")]
    OtherBlob { expected: BlobId, actual: BlobId },
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// The blobs of one home.
#[derive(Clone, Debug)]
pub struct Store {
    root: Utf8PathBuf,
}

impl Store {
    /// Opens the store below `root`, making its folders when they are not there.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the home cannot be written.
    pub fn open(root: impl Into<Utf8PathBuf>) -> Result<Self, DurableError> {
        let store = Self { root: root.into() };
        durable::create_folders(&store.incoming())?;
        Ok(store)
    }

    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// Where a blob lies, whether or not it is held.
    pub fn path(&self, id: BlobId) -> Utf8PathBuf {
        self.root.join(layout::blob_path(id))
    }

    /// Where blobs grow before they have their name; on the same file system.
    pub fn incoming(&self) -> Utf8PathBuf {
        self.root.join("blobs/incoming")
    }

    /// Whether a blob of that name and length is there. Its bytes are not read.
    pub fn holds(&self, blob: &BlobRef) -> bool {
        fs::metadata(self.path(blob.id)).is_ok_and(|meta| meta.len() == blob.len_bytes)
    }

    /// Opens a held blob for reading.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: it is not held, or the disk failed.
    pub fn open_blob(&self, id: BlobId) -> Result<File, DurableError> {
        let path = self.path(id);
        File::open(&path).map_err(at("open", &path))
    }

    /// Reads a whole small blob of at most `max_bytes`.
    ///
    /// # Errors
    ///
    /// As [`Store::open_blob`].
    pub fn read(&self, id: BlobId, max_bytes: u64) -> Result<Vec<u8>, DurableError> {
        let path = self.path(id);
        crate::limit::read_file(&path, max_bytes).map_err(at("read", &path))
    }

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    ///
    /// [`PutError::Durable`].
    pub fn put(&self, bytes: &[u8]) -> Result<BlobId, PutError> {
        let blob = BlobRef { id: BlobId::of(bytes), len_bytes: bytes.len() as u64 };
        if !self.holds(&blob) {
            let mut writer = self.writer()?;
            writer.write_all(bytes).map_err(at("write a blob in", &self.root))?;
            writer.finish(blob.id)?;
        }
        Ok(blob.id)
    }

    /// Starts a blob whose bytes come in pieces.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn writer(&self) -> Result<BlobWriter<'_>, DurableError> {
        Ok(BlobWriter { store: self, file: DurableFile::create_in(&self.incoming())? })
    }

    /// Takes a file that lies in [`Store::incoming`], after hashing it.
    ///
    /// # Errors
    ///
    /// [`PutError::OtherBlob`]: the file is left where it is.
    pub fn adopt(&self, expected: BlobId, file: &Utf8Path) -> Result<(), PutError> {
        let mut opened = File::open(file).map_err(at("open", file))?;
        let (digest, _) = hashing::hash(&mut opened).map_err(at("read", file))?;
        if digest != expected.digest() {
            return Err(PutError::OtherBlob { expected, actual: digest.into() });
        }
        opened.sync_all().map_err(at("sync", file))?;
        let path = self.path(expected);
        durable::create_folders(path.parent().expect("a blob lies in a folder"))?;
        Ok(durable::rename(file, &path)?)
    }

    /// Gives a file the name that its bytes hash to.
    fn name(&self, file: DurableFile, expected: BlobId) -> Result<BlobRef, PutError> {
        let (digest, len_bytes) = file.digest();
        if digest != expected.digest() {
            return Err(PutError::OtherBlob { expected, actual: digest.into() });
        }
        let path = self.path(expected);
        durable::create_folders(path.parent().expect("a blob lies in a folder"))?;
        file.finish(&path)?;
        Ok(BlobRef { id: expected, len_bytes })
    }

    /// Whether the blob is held and hashes to its name. Reads it whole.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the disk failed while reading; a missing blob is `false`.
    pub fn verify(&self, blob: &BlobRef) -> Result<bool, DurableError> {
        if !self.holds(blob) {
            return Ok(false);
        }
        let path = self.path(blob.id);
        let hashed = File::open(&path).and_then(|mut file| hashing::hash(&mut file));
        let (digest, len_bytes) = hashed.map_err(at("read", &path))?;
        Ok(digest == blob.id.digest() && len_bytes == blob.len_bytes)
    }

    /// Every blob file with its length in bytes, by folder; the files are not read.
    pub fn blobs(&self) -> impl Iterator<Item = io::Result<BlobRef>> {
        layout::walk(&self.root.join("blobs/sha256"))
    }

    /// Removes what a killed process left half written.
    ///
    /// The caller holds the home's lock.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn clear_temporary(&self) -> Result<(), DurableError> {
        durable::clear_temporary(&self.incoming())
    }
}

/// A blob on its way into the store.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a Store,
    file: DurableFile,
}

impl BlobWriter<'_> {
    /// Gives the blob its name if its bytes hash to it.
    ///
    /// # Errors
    ///
    /// [`PutError::OtherBlob`]: nothing is stored.
    pub fn finish(self, expected: BlobId) -> Result<(), PutError> {
        self.store.name(self.file, expected).map(drop)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a range of a blob.
///
/// # Errors
///
/// The error of seeking or reading; [`io::ErrorKind::UnexpectedEof`] beyond the end.
pub fn read_at(file: &File, offset: u64, len_bytes: u32) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; len_bytes as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Reads all of a stream that is at most `max_bytes` long.
///
/// # Errors
///
/// The error of reading, or [`io::ErrorKind::FileTooLarge`].
pub fn read_limited(from: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    crate::limit::LimitReader::new(from, max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
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

    fn blob(bytes: &[u8]) -> BlobRef {
        BlobRef { id: BlobId::of(bytes), len_bytes: bytes.len() as u64 }
    }

    #[test]
    fn a_blob_lies_whole_under_its_name() {
        let (_temp, store) = store();
        store.put(b"abc").unwrap();
        let path = store.root().join(
            "blobs/sha256/ba/78/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        assert_eq!(fs::read(path).unwrap(), b"abc");
        assert!(store.verify(&blob(b"abc")).unwrap());
        let held: Vec<_> = store.blobs().map(Result::unwrap).collect();
        assert_eq!(held, [blob(b"abc")]);
    }

    #[test]
    fn bytes_that_hash_to_another_name_are_not_stored() {
        let (_temp, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"forged").unwrap();
        let refused = writer.finish(BlobId::of(b"true")).unwrap_err();
        assert!(matches!(refused, PutError::OtherBlob { .. }), "{refused}");
        assert_eq!(store.blobs().count(), 0);
        assert_eq!(fs::read_dir(store.incoming()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_adopted_only_under_its_own_name() {
        let (_temp, store) = store();
        let partial = store.incoming().join("x.partial");
        fs::write(&partial, b"abc").unwrap();
        assert!(matches!(
            store.adopt(BlobId::of(b"other"), &partial),
            Err(PutError::OtherBlob { .. })
        ));
        store.adopt(BlobId::of(b"abc"), &partial).unwrap();
        assert!(store.holds(&blob(b"abc")) && !partial.exists());
    }

    #[test]
    fn a_rotten_or_missing_blob_does_not_verify() {
        let (_temp, store) = store();
        assert!(!store.verify(&blob(b"abc")).unwrap());
        store.put(b"abc").unwrap();
        fs::write(store.path(BlobId::of(b"abc")), b"abd").unwrap();
        assert!(!store.verify(&blob(b"abc")).unwrap());
    }

    #[test]
    fn what_a_killed_process_left_is_cleared_and_partial_downloads_stay() {
        let (_temp, store) = store();
        fs::write(store.incoming().join(".part-x"), b"half").unwrap();
        fs::write(store.incoming().join("y.partial"), b"half").unwrap();
        store.clear_temporary().unwrap();
        assert_eq!(fs::read_dir(store.incoming()).unwrap().count(), 1);
    }
}
