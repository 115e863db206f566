//! Scrub: re-hashes every blob and names what is damaged; makes the index again.

use std::{fs, io};

use gapferry_proto::{BlobId, BlobRef};
use serde::Serialize;

use super::{Index, IndexError, Store};
use crate::durable::{self, DurableError, at};

/// What a scrub found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub blobs: u64,
    pub bytes: u64,
    /// Blobs whose bytes no longer hash to their names.
    pub damaged: Vec<BlobId>,
}

/// Reads every blob of `store`; `each` is told of every one that was read.
///
/// # Errors
///
/// [`DurableError`]: the disk failed; what it failed on is named.
pub fn scrub(store: &Store, mut each: impl FnMut(&BlobRef)) -> Result<Report, DurableError> {
    let mut report = Report::default();
    for blob in store.blobs() {
        let blob = blob.map_err(at("list", store.root()))?;
        if !store.verify(&blob)? {
            report.damaged.push(blob.id);
        }
        report.blobs += 1;
        report.bytes += blob.len_bytes;
        each(&blob);
    }
    Ok(report)
}

/// Removes those of these blobs that are damaged still: they may have come anew since they were
/// read. Those that were. Who may put blobs into the store meanwhile is kept out by the caller's
/// locks.
///
/// # Errors
///
/// [`DurableError`]: those that are gone are gone.
pub fn remove_damaged(store: &Store, damaged: &[BlobId]) -> Result<Vec<BlobId>, DurableError> {
    let mut removed = vec![];
    for &id in damaged {
        let path = store.path(id);
        let len_bytes = match fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(at("look at", &path)(e)),
        };
        if !store.verify(&BlobRef { id, len_bytes })? {
            durable::remove(&path)?;
            removed.push(id);
        }
    }
    Ok(removed)
}

/// Makes the index again from the blobs.
///
/// # Errors
///
/// [`IndexError`].
pub fn reindex(store: &Store) -> Result<(), IndexError> {
    Index::remove(store)?;
    let mut index = Index::open(store)?;
    for blob in store.blobs() {
        index.learn(store, blob.map_err(at("list", store.root()))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn a_scrub_names_the_rotten_blob_and_counts_all() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        let rotten = store.put(b"abc").unwrap();
        store.put(b"good").unwrap();
        std::fs::write(store.path(rotten), b"abd").unwrap();
        let report = scrub(&store, |_| ()).unwrap();
        assert_eq!(report, Report { blobs: 2, bytes: 7, damaged: vec![rotten] });
    }

    #[test]
    fn a_blob_that_came_anew_since_it_was_read_is_not_removed() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        let [rotten, again, gone] =
            [&b"rotten"[..], b"again", b"gone"].map(|bytes| store.put(bytes).unwrap());
        for id in [rotten, again, gone] {
            std::fs::write(store.path(id), b"abd").unwrap();
        }
        let report = scrub(&store, |_| ()).unwrap();
        std::fs::remove_file(store.path(gone)).unwrap();
        store.put(b"again").unwrap();
        assert_eq!(remove_damaged(&store, &report.damaged).unwrap(), [rotten]);
        let held: Vec<BlobId> = store.blobs().map(|blob| blob.unwrap().id).collect();
        assert_eq!(held, [again]);
    }
}
