//! Documents that are read or unpacked once and shared by all who ask at the same time.
//!
//! In:   what a document is made of, and how.
//! Out:  its bytes; one copy of them in memory, however many clients take it slowly.
//! Never: more than a few made at a time; more kept than [`limits::SHARED_LEN_BYTES_MAX`].
//!
//! What is kept never changes while a generation is served; a switch forgets all of it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::limits;
use tokio::sync::Semaphore;

use super::body::Loaded;

/// How many documents are made at a time.
const MADE_AT_A_TIME: usize = 4;

/// The documents of one server that are in memory.
#[derive(Debug)]
pub struct Shared {
    kept: Arc<Mutex<Kept>>,
    turns: Arc<Semaphore>,
    /// One for each document that is made just now, so that no two make the same.
    makers: Mutex<HashMap<Utf8PathBuf, Weak<Maker>>>,
}

type Maker = tokio::sync::Mutex<()>;

impl Default for Shared {
    fn default() -> Self {
        let turns = Arc::new(Semaphore::new(MADE_AT_A_TIME));
        Self { kept: Arc::default(), turns, makers: Mutex::default() }
    }
}

/// By the file that each is made of.
#[derive(Debug, Default)]
struct Kept {
    documents: HashMap<Utf8PathBuf, Loaded>,
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
    ) -> io::Result<Option<Loaded>> {
        if let Some(known) = self.known(path) {
            return Ok(Some(known));
        }
        let maker = self.maker(path).lock_owned().await;
        if let Some(known) = self.known(path) {
            return Ok(Some(known)); // another made it while this one waited
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
        let (kept, path) = (Arc::clone(&self.kept), path.to_owned());
        let age = lock(&kept).age;
        // To its end, also when the client has gone: so no more are made at a time than may be.
        let making = tokio::task::spawn_blocking(move || {
            let _until_it_is_kept = (turn, maker);
            let made = make(&path)?.map(Loaded::of);
            Ok(made.map(|document| lock(&kept).keep(path, document, age)))
        });
        making.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }

    /// Forgets all documents.
    pub fn forget(&self) {
        let mut kept = lock(&self.kept);
        *kept = Kept { age: kept.age + 1, ..Kept::default() };
    }

    fn known(&self, path: &Utf8Path) -> Option<Loaded> {
        lock(&self.kept).documents.get(path).cloned()
    }

    fn maker(&self, path: &Utf8Path) -> Arc<Maker> {
        let mut makers = lock(&self.makers);
        makers.retain(|_, maker| 0 < maker.strong_count());
        let known = makers.get(path).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let maker = Arc::default();
            makers.insert(path.to_owned(), Arc::downgrade(&maker));
            maker
        })
    }
}

impl Kept {
    /// Keeps a document that was begun at `age`; the one copy that everybody is to have.
    fn keep(&mut self, path: Utf8PathBuf, document: Loaded, age: u64) -> Loaded {
        let len_bytes = path.as_str().len() + document.len_bytes();
        if age != self.age || limits::SHARED_LEN_BYTES_MAX < len_bytes {
            return document;
        }
        if let Some(known) = self.documents.get(&path) {
            return known.clone();
        }
        if limits::SHARED_LEN_BYTES_MAX - len_bytes < self.len_bytes {
            self.documents.clear();
            self.len_bytes = 0;
        }
        self.len_bytes += len_bytes;
        self.documents.insert(path, document.clone());
        document
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let loaded = |content: &'static [u8]| Some(Loaded::of(content));
        assert_eq!(get("a", Some(b"1")).await, loaded(b"1"));
        assert_eq!(get("a", Some(b"2")).await, loaded(b"1"));
        assert_eq!(get("b", None).await, None);
        assert_eq!(get("b", Some(b"3")).await, loaded(b"3"));
        assert_eq!(made.load(Ordering::SeqCst), 3);
        shared.forget();
        assert_eq!(get("a", Some(b"2")).await, loaded(b"2"));
        let failed = shared.get("c".into(), |_| Err(io::Error::other("no"))).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(get("c", Some(b"4")).await, loaded(b"4"));
    }

    #[tokio::test]
    async fn many_who_ask_at_once_for_one_document_have_one_made_and_counted() {
        let (shared, made) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
        let get = |path: &'static str| {
            let made = Arc::clone(&made);
            shared.get(path.into(), move |_| {
                made.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(50));
                Ok(Some(Bytes::from_static(b"document")))
            })
        };
        let asked = (0..40).map(|number| get(if number % 2 == 0 { "a" } else { "b" }));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.unwrap(), Some(Loaded::of(&b"document"[..])));
        }
        assert_eq!(made.load(Ordering::SeqCst), 2);
        let kept = lock(&shared.kept);
        assert_eq!((kept.documents.len(), kept.len_bytes), (2, 2 * "adocument".len()));
        drop(shared.maker("c".into()));
        assert_eq!(lock(&shared.makers).len(), 1, "what is made is forgotten");
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_nothing_of_before_the_last_switch() {
        let mut kept = Kept::default();
        let max = limits::SHARED_LEN_BYTES_MAX;
        let document = |len: usize| Loaded::of(vec![0; len]);
        kept.keep("a".into(), document(max - 1), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (max, 1));
        kept.keep("b".into(), document(max), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (max, 1), "longer than all may be");
        kept.keep("c".into(), document(1), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (2, 1));
        kept.keep("c".into(), document(1), 0);
        assert_eq!((kept.len_bytes, kept.documents.len()), (2, 1), "it is counted once");
        kept.keep("d".into(), document(1), 1);
        assert_eq!((kept.len_bytes, kept.documents.len()), (2, 1));
    }
}
