//! Base blobs that were opened, each once for as many recipes as need it.

use std::sync::{Arc, Mutex, PoisonError};

use gapferry_proto::BlobId;

use super::{Opened, PeelError, opener};
use crate::{durable::DurableError, map, scratch::Scratch, store::Store};

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
}

/// Most blobs that are kept open: each has a mapping or two, and its anatomy in memory.
const OPENED_MAX: usize = 32;

/// Filled by the first who needs the blob; others wait.
type Slot = Arc<Mutex<Option<Opened>>>;

impl OpenedBlobs {
    pub const fn new(scratch: Scratch, keep_bytes: u64) -> Self {
        Self { scratch, keep_bytes, blobs: Mutex::new(vec![]) }
    }

    pub const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// A blob of `store`, opened.
    ///
    /// # Errors
    ///
    /// [`BaseError`]: it is not held, or the scratch space is used up.
    pub fn get(&self, store: &Store, id: BlobId) -> Result<Opened, BaseError> {
        let slot = self.slot(id);
        let mut opened = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened {
            return Ok(opened.clone());
        }
        let path = store.path(id);
        let blob = map::map(&store.open_blob(id)?).map_err(crate::durable::at("map", &path))?;
        Ok(opened.insert(opener::open(&blob, &self.scratch)?).clone())
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
