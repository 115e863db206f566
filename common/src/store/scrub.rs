//! Scrub: re-hashes every blob and names what is damaged; makes the index again.

use gapferry_proto::{BlobId, BlobRef};
use serde::Serialize;

use super::{Index, IndexError, Store};
use crate::durable::{DurableError, at};

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
}
