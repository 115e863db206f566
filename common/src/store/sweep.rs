//! Sweep: finds the blobs that nothing needs, and takes them out.
//!
//! What is needed is the caller's to say, completely: a blob that it leaves out is gone. Who may
//! put blobs to use meanwhile is kept out by the caller's locks; that a blob is young spares it in
//! any case.

use std::{collections::BTreeSet, fs, io, time::SystemTime};

use gapferry_proto::{BlobId, BlobRef};
use serde::Serialize;

use super::{Index, IndexError, Store};
use crate::durable::{self, DurableError, at};

/// Blobs that nothing needs, by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unneeded {
    pub old: Vec<BlobRef>,
    /// Written or put to use so lately that somebody may be about to need them.
    pub young: Vec<BlobRef>,
}

/// How many blobs, and their length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sum {
    pub blobs: u64,
    pub bytes: u64,
}

impl Sum {
    pub fn of<'a>(blobs: impl IntoIterator<Item = &'a BlobRef>) -> Self {
        blobs.into_iter().fold(Self::default(), |sum, blob| Self {
            blobs: sum.blobs + 1,
            bytes: sum.bytes.saturating_add(blob.len_bytes),
        })
    }
}

/// Finds the blobs of `store` that are not `needed`; those last written or touched at
/// `young_from` or later are young.
///
/// # Errors
///
/// [`DurableError`]: the store cannot be listed.
pub fn find(
    store: &Store,
    needed: &BTreeSet<BlobId>,
    young_from: SystemTime,
) -> Result<Unneeded, DurableError> {
    let mut unneeded = Unneeded::default();
    for blob in store.blobs() {
        let blob = blob.map_err(at("list", store.root()))?;
        if needed.contains(&blob.id) {
            continue;
        }
        match is_old(store, blob.id, young_from)? {
            true => unneeded.old.push(blob),
            false => unneeded.young.push(blob),
        }
    }
    Ok(unneeded)
}

/// Takes blobs out of the index, before any of them leaves the store. That the index does not know
/// a blob costs time and no more, so an index that cannot be written, as on a full disk, is removed
/// whole, and why is given back.
///
/// # Errors
///
/// [`DurableError`]: nor can it be removed.
pub fn forget(store: &Store, blobs: &[BlobRef]) -> Result<Option<IndexError>, DurableError> {
    if !Index::exists(store) {
        return Ok(None);
    }
    let ids = blobs.iter().map(|blob| blob.id);
    match Index::open(store).and_then(|mut index| index.forget(ids)) {
        Ok(()) => Ok(None),
        Err(error) => Index::remove(store).map(|()| Some(error)),
    }
}

/// Takes blobs out of the store that the index does not know any more; what is young by now stays.
///
/// # Errors
///
/// [`DurableError`]: those that are gone are gone, the rest is there; run it again.
pub fn remove(
    store: &Store,
    blobs: &[BlobRef],
    young_from: SystemTime,
) -> Result<Sum, DurableError> {
    let mut removed = vec![];
    for blob in blobs {
        if is_old(store, blob.id, young_from)? {
            durable::remove(&store.path(blob.id))?;
            removed.push(*blob);
        }
    }
    Ok(Sum::of(&removed))
}

/// A blob that is gone by now is not old: there is nothing to remove.
fn is_old(store: &Store, id: BlobId, young_from: SystemTime) -> Result<bool, DurableError> {
    let path = store.path(id);
    match fs::metadata(&path).and_then(|meta| meta.modified()) {
        Ok(modified) => Ok(modified < young_from),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(at("look at", &path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, FileTimes},
        time::Duration,
    };

    use camino::Utf8PathBuf;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn put(store: &Store, bytes: &[u8], age: i64) -> BlobRef {
        let id = store.put(bytes).unwrap();
        let seconds = Duration::from_secs(age.unsigned_abs());
        let time = if age < 0 { NOW + seconds } else { NOW - seconds };
        let times = FileTimes::new().set_modified(time);
        File::open(store.path(id)).unwrap().set_times(times).unwrap();
        BlobRef { id, len_bytes: bytes.len() as u64 }
    }

    #[test]
    fn what_is_needed_or_young_stays_and_the_index_agrees() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        let [needed, old] = [put(&store, b"needed", 9), put(&store, b"old", 9)];
        let [touched, future] = [put(&store, b"touched", 0), put(&store, b"future", -9)];
        let mut index = Index::open(&store).unwrap();
        index.learn(&store, needed).unwrap();
        index.learn(&store, old).unwrap();
        let mut unneeded = find(&store, &[needed.id].into(), NOW).unwrap();
        unneeded.young.sort_by_key(|blob| blob.len_bytes);
        let expected = Unneeded { old: vec![old], young: vec![future, touched] };
        assert_eq!(unneeded, expected);
        assert!(forget(&store, &[old, touched]).unwrap().is_none());
        let removed = remove(&store, &[old, touched], NOW).unwrap();
        assert_eq!(removed, Sum { blobs: 1, bytes: 3 });
        let there = [needed, old, touched, future].map(|blob| store.holds(&blob));
        assert_eq!(there, [true, false, true, true]);
        assert_eq!([needed, old].map(|blob| index.knows(blob.id).unwrap()), [true, false]);
        assert_eq!(remove(&store, &[old], NOW).unwrap(), Sum::default());
    }

    #[test]
    fn a_store_without_an_index_gets_none() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        let old = put(&store, b"old", 9);
        assert!(forget(&store, &[old]).unwrap().is_none());
        assert_eq!(remove(&store, &[old], NOW).unwrap(), Sum { blobs: 1, bytes: 3 });
        assert!(!Index::exists(&store));
    }

    #[test]
    fn an_index_that_cannot_be_written_is_removed_and_the_next_one_is_empty() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        let old = put(&store, b"old", 9);
        fs::write(store.root().join("index.sqlite"), b"no database").unwrap();
        let failed = forget(&store, &[old]).unwrap();
        assert!(matches!(failed, Some(IndexError::Sql { .. })), "{failed:?}");
        assert!(!Index::exists(&store));
        assert!(!Index::open(&store).unwrap().knows(old.id).unwrap());
    }
}
