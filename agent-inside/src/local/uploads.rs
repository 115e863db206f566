//! Uploads that are under way: bounded in number, counted against the quota, and forgotten when
//! nothing comes any more.
//!
//! An upload is taken out while a request adds to it and put back after, also when the request
//! ends in the middle: what arrived is there, and the client goes on from it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gapferry_common::durable::{DurableError, at};
use gapferry_common::store::Upload;
use gapferry_proto::{BlobRef, limits};

use super::books::{Books, Full};
use super::{LocalError, Place};

/// How long an upload waits for its next piece.
pub const IDLE: Duration = Duration::from_secs(60 * 60);

/// All uploads that are under way.
#[derive(Debug, Default)]
pub struct Uploads(Mutex<HashMap<String, Slot>>);

#[derive(Debug)]
struct Slot {
    repository: String,
    user: String,
    touched: Instant,
    len_bytes: u64,
    /// None while a request has it.
    arriving: Option<Arriving>,
}

/// The bytes of one upload.
#[derive(Debug)]
pub struct Arriving {
    /// None once it is finished.
    upload: Option<Upload>,
    at: usize,
    reserved: u64,
    books: Arc<Books>,
}

/// An upload that one request has. Dropped, it is put back.
#[derive(Debug)]
pub struct Taken {
    id: String,
    uploads: Arc<Uploads>,
    arriving: Option<Arriving>,
}

impl Arriving {
    /// `reserved` bytes of room are kept already: for the document of what arrives.
    pub const fn new(upload: Upload, at: usize, reserved: u64, books: Arc<Books>) -> Self {
        Self { upload: Some(upload), at, reserved, books }
    }

    fn len_bytes(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.digest().1)
    }

    /// The bytes, to be stored while this keeps their room.
    pub fn take_upload(&mut self) -> Upload {
        self.upload.take().expect("an upload is finished once")
    }

    /// Turns the room that was kept into the room of what is held now, if it was not held before.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn settle(mut self, blob: Option<BlobRef>) -> Result<(), Full> {
        let reserved = std::mem::take(&mut self.reserved);
        self.books.settle(self.at, reserved, blob)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.books.release(self.at, self.reserved);
    }
}

impl Uploads {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an upload under a new id.
    ///
    /// # Errors
    ///
    /// [`LocalError::TooManyUploads`].
    pub fn begin(
        &self,
        id: &str,
        place: &Place,
        user: &str,
        arriving: Arriving,
    ) -> Result<(), LocalError> {
        let mut open = self.open();
        if limits::UPLOADS_MAX <= open.len() {
            return Err(LocalError::TooManyUploads);
        }
        let (repository, user) = (place.repository.clone(), user.to_owned());
        let touched = Instant::now();
        let slot = Slot { repository, user, touched, len_bytes: 0, arriving: Some(arriving) };
        open.insert(id.to_owned(), slot);
        Ok(())
    }

    /// Takes an upload of this repository and user out.
    ///
    /// # Errors
    ///
    /// [`LocalError::UploadUnknown`], [`LocalError::UploadBusy`].
    pub fn take(
        self: &Arc<Self>,
        id: &str,
        place: &Place,
        user: &str,
    ) -> Result<Taken, LocalError> {
        let mut open = self.open();
        let slot = open.get_mut(id).filter(|slot| slot.is_of(place, user));
        let slot = slot.ok_or(LocalError::UploadUnknown)?;
        let arriving = slot.arriving.take().ok_or(LocalError::UploadBusy)?;
        Ok(Taken { id: id.to_owned(), uploads: Arc::clone(self), arriving: Some(arriving) })
    }

    /// How many bytes of an upload have arrived.
    ///
    /// # Errors
    ///
    /// [`LocalError::UploadUnknown`].
    pub fn len_bytes(&self, id: &str, place: &Place, user: &str) -> Result<u64, LocalError> {
        let open = self.open();
        let slot = open.get(id).filter(|slot| slot.is_of(place, user));
        slot.map(|slot| slot.len_bytes).ok_or(LocalError::UploadUnknown)
    }

    /// Forgets uploads to which nothing was added for [`IDLE`] before `now`.
    pub fn expire(&self, now: Instant) {
        let kept = |slot: &mut Slot| {
            slot.arriving.is_none() || now.saturating_duration_since(slot.touched) < IDLE
        };
        self.open().retain(|_, slot| kept(slot));
    }
}

impl Slot {
    fn is_of(&self, place: &Place, user: &str) -> bool {
        self.repository == place.repository && self.user == user
    }
}

impl Taken {
    pub fn id(&self) -> &str {
        &self.id
    }

    fn arriving(&mut self) -> &mut Arriving {
        self.arriving.as_mut().expect("it is given away only with the whole")
    }

    /// How many bytes have arrived.
    pub fn len_bytes(&self) -> u64 {
        self.arriving.as_ref().map_or(0, Arriving::len_bytes)
    }

    /// Adds a piece, within the quota.
    ///
    /// # Errors
    ///
    /// [`LocalError::Full`]; [`LocalError::TooLong`]; [`LocalError::Durable`], after which some
    /// of it may have been added.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), LocalError> {
        let len_bytes = piece.len() as u64;
        if limits::BLOB_LEN_BYTES_MAX < self.len_bytes().saturating_add(len_bytes) {
            return Err(LocalError::TooLong);
        }
        let arriving = self.arriving();
        arriving.books.reserve(arriving.at, len_bytes).map_err(LocalError::Full)?;
        arriving.reserved += len_bytes;
        let upload = arriving.upload.as_mut().expect("it is taken only at the end");
        let written = upload.write_all(piece);
        Ok(written.map_err(at("write", "an upload".into()))?)
    }

    /// Ends the upload: it is under way no more.
    pub fn end(mut self) -> Arriving {
        self.uploads.open().remove(&self.id);
        self.arriving.take().expect("it is given away only with the whole")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let len_bytes = self.len_bytes();
        let Some(arriving) = self.arriving.take() else { return };
        if let Some(slot) = self.uploads.open().get_mut(&self.id) {
            (slot.touched, slot.len_bytes) = (Instant::now(), len_bytes);
            slot.arriving = Some(arriving);
        }
    }
}

/// For the error of a full quota where no [`Taken`] is at hand.
impl From<Full> for LocalError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<DurableError> for LocalError {
    fn from(error: DurableError) -> Self {
        Self::Durable(error)
    }
}
