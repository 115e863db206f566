//! Base blobs that were opened, each once for as many recipes as need it.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use gapferry_proto::BlobId;

use super::{Opened, PeelError, opener};
use crate::{budget::Budget, durable::DurableError, map, scratch::Scratch, store::Store};

/// Why a base blob cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Peel(#[from] PeelError),
}

/// Opened blobs by name; the least recently used are closed when scratch space gets short.
#[derive(Debug)]
pub struct OpenedBlobs {
    scratch: Scratch,
    /// Scratch bytes above which blobs are closed before another one is opened.
    keep_bytes: u64,
    /// The least recently used first.
    blobs: Mutex<Vec<(BlobId, Slot)>>,
    /// Held together by those who work beside each other, alone by who needs all the space.
    turn: RwLock<()>,
}

/// Most blobs that are kept open: each has a mapping or two, and its anatomy in memory.
const OPENED_MAX: usize = 32;

/// Filled by the first who needs the blob; others wait.
type Slot = Arc<Mutex<Option<Opened>>>;

impl OpenedBlobs {
    pub const fn new(scratch: Scratch, keep_bytes: u64) -> Self {
        Self { scratch, keep_bytes, blobs: Mutex::new(vec![]), turn: RwLock::new(()) }
    }

    pub const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// A blob of `store`, opened; what unpacking it takes is part of `budget`.
    ///
    /// # Errors
    ///
    /// [`BaseError`]: it is not held, or the scratch space is used up.
    pub fn get(&self, store: &Store, id: BlobId, budget: &Budget) -> Result<Opened, BaseError> {
        let slot = self.slot(id);
        let mut opened = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened {
            return Ok(opened.clone());
        }
        let path = store.path(id);
        let blob = map::map(&store.open_blob(id)?).map_err(crate::durable::at("map", &path))?;
        Ok(opened.insert(opener::open(&blob, &self.scratch, budget)?).clone())
    }

    /// Does `work` beside others; when it finds the scratch space used up, does it again alone,
    /// with every blob closed. So a blob fails only when the space is too small for it by itself,
    /// however many cores work at once.
    ///
    /// `work` must not call this itself, nor wait for others that do.
    ///
    /// # Errors
    ///
    /// Those of `work`; `is_full` says which of them mean that the space is used up.
    pub fn with_room<T, E>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let beside = self.turn.read().unwrap_or_else(PoisonError::into_inner);
        match work() {
            Err(error) if is_full(&error) => {}
            ended => return ended,
        }
        drop(beside);
        let _alone = self.turn.write().unwrap_or_else(PoisonError::into_inner);
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        work()
    }

    fn slot(&self, id: BlobId) -> Slot {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = blobs.iter().position(|(known, _)| *known == id) {
            let entry = blobs.remove(place);
            let slot = Arc::clone(&entry.1);
            blobs.push(entry);
            return slot;
        }
        while (self.keep_bytes < self.scratch.used_bytes() && !blobs.is_empty())
            || OPENED_MAX <= blobs.len()
        {
            blobs.remove(0);
        }
        let slot = Slot::default();
        blobs.push((id, Arc::clone(&slot)));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write as _},
        sync::Barrier,
    };

    use camino::Utf8Path;

    use super::*;
    use crate::scratch;

    fn opened(limit_bytes: u64) -> (tempfile::TempDir, OpenedBlobs) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temp.path()).unwrap();
        let scratch = Scratch::new(folder, limit_bytes).unwrap();
        (temp, OpenedBlobs::new(scratch, limit_bytes))
    }

    fn stream(opened: &OpenedBlobs, len_bytes: usize) -> io::Result<usize> {
        let zeros = vec![0; len_bytes];
        let stream = opened.scratch().stream(|to| to.write_all(&zeros))?;
        Ok(stream.len())
    }

    #[test]
    fn work_that_fits_alone_and_not_beside_others_is_done_once_they_have_ended() {
        let (_temp, opened) = opened(10 << 20);
        let both_hold_space = Barrier::new(2);
        let work = || {
            let mut is_first = true;
            opened.with_room(scratch::is_full, || {
                let held = opened.scratch().stream(|to| to.write_all(&vec![0; 4 << 20]))?;
                if std::mem::take(&mut is_first) {
                    both_hold_space.wait();
                }
                Ok::<_, io::Error>(held.len() + stream(&opened, 4 << 20)?)
            })
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            assert_eq!(work().unwrap(), 8 << 20);
            assert_eq!(other.join().unwrap().unwrap(), 8 << 20);
        });
        assert_eq!(opened.scratch().used_bytes(), 0);
    }

    #[test]
    fn work_that_does_not_fit_alone_fails_at_its_second_try_and_other_errors_at_once() {
        let (_temp, opened) = opened(10 << 20);
        let mut tries = 0;
        let full = opened.with_room(scratch::is_full, || {
            tries += 1;
            stream(&opened, 11 << 20)
        });
        assert_eq!((full.unwrap_err().kind(), tries), (io::ErrorKind::QuotaExceeded, 2));
        let other = opened.with_room(scratch::is_full, || {
            tries += 1;
            Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))
        });
        assert_eq!((other.unwrap_err().kind(), tries), (io::ErrorKind::NotFound, 3));
    }
}
