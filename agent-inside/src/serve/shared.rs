//! Documents that are read or unpacked once and shared by all who ask at the same time.
//!
//! In:   what a document is made of, and how.
//! Out:  its bytes; one copy of them in memory, however many clients take it slowly.
//! Never: more than a few made at a time; more kept than [`limits::SHARED_LEN_BYTES_MAX`].
//!
//! What is kept never changes while a generation is served; a switch forgets all of it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::limits;
use tokio::sync::Semaphore;

/// How many documents are made at a time.
const MADE_AT_A_TIME: usize = 4;

/// The documents of one server that are in memory.
#[derive(Debug)]
pub struct Shared {
    kept: Arc<Mutex<Kept>>,
    turns: Arc<Semaphore>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { kept: Arc::default(), turns: Arc::new(Semaphore::new(MADE_AT_A_TIME)) }
    }
}

/// By the file that each is made of.
#[derive(Debug, Default)]
struct Kept {
    documents: HashMap<Utf8PathBuf, Bytes>,
    len_bytes: usize,
    /// How often all was forgotten.
    age: u64,
}

impl Shared {
    /// The document that `make` makes of the file at `path`, if it has one; that it has none is
    /// not remembered, or whoever guesses names would drive out what others ask for.
    ///
    /// # Errors
    ///
    /// What `make` fails with; it is tried again by the next who asks.
    pub async fn get(
        &self,
        path: &Utf8Path,
        make: impl FnOnce(&Utf8Path) -> io::Result<Option<Bytes>> + Send + 'static,
    ) -> io::Result<Option<Bytes>> {
        if let Some(known) = self.known(path) {
            return Ok(Some(known));
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
        if let Some(known) = self.known(path) {
            return Ok(Some(known)); // another made it while this one waited
        }
        let (kept, path) = (Arc::clone(&self.kept), path.to_owned());
        let age = lock(&kept).age;
        // To its end, also when the client has gone: so no more are made at a time than may be.
        let making = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let made = make(&path)?;
            if let Some(bytes) = &made {
                lock(&kept).keep(path, bytes, age);
            }
            Ok(made)
        });
        making.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }

    /// Forgets all documents.
    pub fn forget(&self) {
        let mut kept = lock(&self.kept);
        *kept = Kept { age: kept.age + 1, ..Kept::default() };
    }

    fn known(&self, path: &Utf8Path) -> Option<Bytes> {
        lock(&self.kept).documents.get(path).cloned()
    }
}

impl Kept {
    /// Keeps a document that was begun at `age`.
    fn keep(&mut self, path: Utf8PathBuf, document: &Bytes, age: u64) {
        let len_bytes = path.as_str().len() + document.len();
        if age != self.age || limits::SHARED_LEN_BYTES_MAX < len_bytes {
            return;
        }
        if limits::SHARED_LEN_BYTES_MAX - len_bytes < self.len_bytes {
            self.documents.clear();
            self.len_bytes = 0;
        }
        self.len_bytes += len_bytes;
        self.documents.insert(path, document.clone());
    }
}

/// Reads a document; none where there is no such file, also where a file stands in the place of a
/// folder.
///
/// # Errors
///
/// What the disk says.
pub fn read(path: &Utf8Path) -> io::Result<Option<Bytes>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_document_is_made_once_and_shared_until_all_is_forgotten() {
        let (shared, made) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
        let get = async |path: &str, content: Option<&'static [u8]>| {
            let made = Arc::clone(&made);
            let make = move |_: &Utf8Path| {
                made.fetch_add(1, Ordering::SeqCst);
                Ok(content.map(Bytes::from_static))
            };
            shared.get(path.into(), make).await.unwrap()
        };
        assert_eq!(get("a", Some(b"1")).await.as_deref(), Some(&b"1"[..]));
        assert_eq!(get("a", Some(b"2")).await.as_deref(), Some(&b"1"[..]));
        assert_eq!(get("b", None).await, None);
        assert_eq!(get("b", Some(b"3")).await.as_deref(), Some(&b"3"[..]));
        assert_eq!(made.load(Ordering::SeqCst), 3);
        shared.forget();
        assert_eq!(get("a", Some(b"2")).await.as_deref(), Some(&b"2"[..]));
        let failed = shared.get("c".into(), |_| Err(io::Error::other("no"))).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(get("c", Some(b"4")).await.as_deref(), Some(&b"4"[..]));
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_nothing_of_before_the_last_switch() {
        let mut kept = Kept::default();
        let max = limits::SHARED_LEN_BYTES_MAX;
        let document = |len: usize| Bytes::from(vec![0; len]);
        kept.keep("a".into(), &document(max - 1), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (max, 1));
        kept.keep("b".into(), &document(max), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (max, 1), "longer than all may be");
        kept.keep("c".into(), &document(1), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (2, 1));
        kept.keep("d".into(), &document(1), 1);
        assert_eq!((kept.len_bytes, kept.documents.len()), (2, 1));
    }
}
