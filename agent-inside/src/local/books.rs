//! How much lies below each prefix, and that it stays within its quota.
//!
//! A blob counts once below a prefix, however many repositories hold it; each document counts
//! [`limits::PUSHED_DOCUMENT_LEN_BYTES`]. What is still arriving counts as well.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::{Mutex, PoisonError};

use gapferry_proto::{BlobId, BlobRef, limits};

/// There is no room for what shall be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the quota of {quota} bytes is used up")]
pub struct Full {
    pub quota: u64,
}

/// One book a prefix, in the order of the prefixes.
#[derive(Debug)]
pub struct Books(Mutex<Vec<Book>>);

#[derive(Debug, Default)]
struct Book {
    quota: u64,
    /// Each blob with its length and how many repositories hold it.
    blobs: HashMap<BlobId, (u64, u64)>,
    bytes: u64,
    arriving: u64,
}

impl Book {
    fn room(&self, bytes: u64) -> Result<(), Full> {
        let used = self.bytes.saturating_add(self.arriving).saturating_add(bytes);
        if used <= self.quota { Ok(()) } else { Err(Full { quota: self.quota }) }
    }
}

impl Books {
    pub fn new(quotas: impl IntoIterator<Item = u64>) -> Self {
        let books = quotas.into_iter().map(|quota| Book { quota, ..Book::default() });
        Self(Mutex::new(books.collect()))
    }

    fn with<T>(&self, at: usize, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[at])
    }

    /// Makes room for bytes that arrive.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn reserve(&self, at: usize, bytes: u64) -> Result<(), Full> {
        self.with(at, |book| {
            book.room(bytes)?;
            book.arriving += bytes;
            Ok(())
        })
    }

    /// Gives room back that was reserved.
    pub fn release(&self, at: usize, bytes: u64) {
        self.with(at, |book| book.arriving = book.arriving.saturating_sub(bytes));
    }

    /// Counts a blob that one more repository holds, and its document.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing is counted.
    pub fn hold(&self, at: usize, blob: BlobRef) -> Result<(), Full> {
        self.with(at, |book| hold(book, blob))
    }

    /// Gives reserved room back and counts what came into it, with nobody between the two.
    ///
    /// # Errors
    ///
    /// [`Full`]: the room is given back and nothing is counted.
    pub fn settle(&self, at: usize, bytes: u64, blob: Option<BlobRef>) -> Result<(), Full> {
        self.with(at, |book| {
            book.arriving = book.arriving.saturating_sub(bytes);
            blob.map_or(Ok(()), |blob| hold(book, blob))
        })
    }

    /// As [`Books::hold`] for what is there already, room or not: a quota may have been lowered.
    pub fn hold_known(&self, at: usize, blob: BlobRef) {
        self.with(at, |book| count(book, blob));
    }

    /// Counts the document of a tag.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn hold_document(&self, at: usize) -> Result<(), Full> {
        self.with(at, |book| {
            book.room(limits::PUSHED_DOCUMENT_LEN_BYTES)?;
            book.bytes += limits::PUSHED_DOCUMENT_LEN_BYTES;
            Ok(())
        })
    }

    /// As [`Books::hold_document`] for what is there already.
    pub fn hold_known_document(&self, at: usize) {
        self.with(at, |book| {
            book.bytes = book.bytes.saturating_add(limits::PUSHED_DOCUMENT_LEN_BYTES);
        });
    }

    /// Counts a document that is no more.
    pub fn drop_document(&self, at: usize) {
        self.with(at, |book| {
            book.bytes = book.bytes.saturating_sub(limits::PUSHED_DOCUMENT_LEN_BYTES);
        });
    }

    /// Counts that one repository less holds a blob.
    pub fn drop_blob(&self, at: usize, id: BlobId) {
        self.with(at, |book| {
            let Entry::Occupied(mut held) = book.blobs.entry(id) else { return };
            let (len_bytes, holders) = held.get_mut();
            let mut freed = limits::PUSHED_DOCUMENT_LEN_BYTES;
            *holders -= 1;
            if *holders == 0 {
                freed += *len_bytes;
                held.remove();
            }
            book.bytes = book.bytes.saturating_sub(freed);
        });
    }

    /// Bytes that are held and arriving.
    pub fn used(&self, at: usize) -> (u64, u64) {
        self.with(at, |book| (book.bytes, book.arriving))
    }
}

fn hold(book: &mut Book, blob: BlobRef) -> Result<(), Full> {
    let is_new = !book.blobs.contains_key(&blob.id);
    let bytes = if is_new { blob.len_bytes } else { 0 };
    book.room(bytes.saturating_add(limits::PUSHED_DOCUMENT_LEN_BYTES))?;
    count(book, blob);
    Ok(())
}

fn count(book: &mut Book, blob: BlobRef) {
    let (_, holders) = book.blobs.entry(blob.id).or_insert_with(|| {
        book.bytes = book.bytes.saturating_add(blob.len_bytes);
        (blob.len_bytes, 0)
    });
    *holders += 1;
    book.bytes = book.bytes.saturating_add(limits::PUSHED_DOCUMENT_LEN_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: u64 = limits::PUSHED_DOCUMENT_LEN_BYTES;

    fn blob(content: &[u8]) -> BlobRef {
        BlobRef { id: BlobId::of(content), len_bytes: content.len() as u64 }
    }

    #[test]
    fn a_blob_counts_once_and_is_free_when_its_last_holder_is_gone() {
        let books = Books::new([DOCUMENT * 2 + 3]);
        books.hold(0, blob(b"abc")).unwrap();
        books.hold(0, blob(b"abc")).unwrap();
        assert_eq!(books.used(0), (DOCUMENT * 2 + 3, 0));
        assert_eq!(books.hold(0, blob(b"")), Err(Full { quota: DOCUMENT * 2 + 3 }));
        books.drop_blob(0, blob(b"abc").id);
        assert_eq!(books.used(0), (DOCUMENT + 3, 0));
        books.drop_blob(0, blob(b"abc").id);
        books.drop_blob(0, blob(b"abc").id);
        assert_eq!(books.used(0), (0, 0));
    }

    #[test]
    fn what_arrives_has_room_to_the_last_byte_and_no_further() {
        let books = Books::new([10, 0]);
        books.reserve(0, 4).unwrap();
        books.reserve(0, 6).unwrap();
        assert_eq!(books.reserve(0, 1), Err(Full { quota: 10 }));
        assert_eq!(books.reserve(0, u64::MAX), Err(Full { quota: 10 }));
        books.release(0, 6);
        books.reserve(0, 5).unwrap();
        assert_eq!(books.used(0), (0, 9));
        assert_eq!(books.reserve(1, 1), Err(Full { quota: 0 }));
    }

    #[test]
    fn a_lowered_quota_keeps_what_is_there() {
        let books = Books::new([1]);
        books.hold_known(0, blob(b"abc"));
        assert_eq!(books.used(0), (DOCUMENT + 3, 0));
        assert!(books.hold_document(0).is_err());
    }
}
