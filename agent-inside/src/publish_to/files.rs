//! Publishes files one by one to a server that keeps them: indexes after goods, heads last.
//!
//! In:   [`Item`]s in the order of their rank, a [`FileServer`].
//! Out:  every file there; `current.json` after all others, once nothing is missing.
//! Never: an index that names what could not be pushed; a deletion.
//!
//! Most servers say no SHA-256 of what they hold, and equal lengths are not enough: two signed
//! heads have the same. So a list beside the files, [`OBJECTS`], says what was pushed under each
//! path. It is kept up while a run goes on, so that one that was cut off goes on near its end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, stream};
use gapferry_proto::Digest;
use serde_json::json;

use super::http::PushError;
use super::tally::{Outcome, Tally};
use super::tree::{Content, Edition, Item, Rank};

/// What was pushed under each path.
const OBJECTS: &str = ".gapferry/objects.json";

/// Which activation is whole.
const CURRENT: &str = "current.json";

/// Longest list that is read back, in bytes: 256 MiB, more than a million files.
const OBJECTS_LEN_BYTES_MAX: usize = 256 << 20;

/// How many files are pushed before the list is considered again.
const BATCH: usize = 32;

/// How much is pushed for each file on the list, in bytes, before it is written again: what a
/// line of it takes. So the list never costs more than the files.
const LINE_LEN_BYTES: u64 = 256;

/// What a server says of a file without giving it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub len_bytes: u64,
    pub digest: Option<Digest>,
}

/// A server that takes files one by one.
pub trait FileServer {
    /// What stands at a path; none when nothing does.
    async fn held(&self, path: &str) -> Result<Option<Held>, PushError>;

    /// The whole of what stands at a path, at most `len_bytes_max`; none when nothing does.
    async fn get(&self, path: &str, len_bytes_max: usize) -> Result<Option<Vec<u8>>, PushError>;

    /// Puts a file at a path, in place of what stands there.
    async fn put(&self, path: &str, content: &Content) -> Result<(), PushError>;

    /// Whether nobody answers any more.
    async fn is_gone(&self) -> bool;
}

/// A run: the server, and what is known to be on it.
pub struct Files<S> {
    server: S,
    dry_run: bool,
    known: Mutex<BTreeMap<String, Digest>>,
}

impl<S: FileServer> Files<S> {
    /// Reads what is known to be on the server.
    ///
    /// # Errors
    ///
    /// [`PushError`]: nobody answers, or the login is refused.
    pub async fn reach(server: S, dry_run: bool) -> Result<Self, PushError> {
        let known = server.get(OBJECTS, OBJECTS_LEN_BYTES_MAX).await?.unwrap_or_default();
        // What is not understood is of somebody else, or was cut off: then all is pushed anew.
        let known = serde_json::from_slice(&known).unwrap_or_default();
        Ok(Self { server, dry_run, known: Mutex::new(known) })
    }

    /// Pushes everything; failures are noted and end nothing but what leads to them.
    ///
    /// # Errors
    ///
    /// [`PushError`]: the login does not allow it, and nothing more was tried.
    pub async fn push(
        &self,
        items: &[Item],
        edition: &Edition,
        jobs: usize,
        tally: &Tally,
    ) -> Result<(), PushError> {
        tally.expect(items.iter().map(|item| item.content.len_bytes).sum());
        for rank in [Rank::Goods, Rank::Indexes, Rank::Heads] {
            let of_rank: Vec<_> = items.iter().filter(|item| item.rank == rank).collect();
            self.push_rank(&of_rank, jobs, tally).await?;
            if tally.has_failures() && rank != Rank::Heads {
                let message = "not published, since what they lead to is not all there";
                let failed = Err(PushError::Parts(message.to_owned()));
                tally.note("indexes and heads", 0, failed);
                return Ok(());
            }
        }
        if !tally.has_failures() {
            let current = Item {
                path: CURRENT.to_owned(),
                rank: Rank::Heads,
                content: Content::of(current(edition)),
            };
            self.push_rank(&[&current], 1, tally).await?;
        }
        Ok(())
    }

    async fn push_rank(
        &self,
        items: &[&Item],
        jobs: usize,
        tally: &Tally,
    ) -> Result<(), PushError> {
        let mut saved_at = tally.bytes_pushed();
        let mut is_saved = true;
        for batch in items.chunks(BATCH) {
            let pushing = batch.iter().map(|item| self.push_item(item, tally));
            let ended = stream::iter(pushing).buffer_unordered(jobs).collect::<Vec<_>>().await;
            is_saved &= !ended.iter().any(|ended| matches!(ended, Ok(Outcome::Pushed)));
            let fatal = ended.into_iter().filter_map(Result::err).next();
            let pushed = tally.bytes_pushed() - saved_at;
            let is_due = LINE_LEN_BYTES * self.known().len() as u64 <= pushed;
            if !is_saved && (is_due || fatal.is_some()) {
                self.save().await?;
                (saved_at, is_saved) = (tally.bytes_pushed(), true);
            }
            if let Some(fatal) = fatal {
                return Err(fatal);
            }
        }
        if is_saved { Ok(()) } else { self.save().await }
    }

    /// Pushes one file; its failure is noted, and returned only when no other can fare better.
    async fn push_item(&self, item: &Item, tally: &Tally) -> Result<Outcome, PushError> {
        if tally.is_gone() {
            tally.note(&item.path, 0, Err(PushError::Gone));
            return Ok(Outcome::Present);
        }
        let ended = self.bring(item).await;
        match ended {
            Err(error) if error.is_configuration() => Err(error),
            Err(error) => {
                if error.is_transport() && self.server.is_gone().await {
                    tally.lose();
                }
                tally.note(&item.path, 0, Err(error));
                Ok(Outcome::Present)
            }
            Ok(outcome) => {
                tally.note(&item.path, item.content.len_bytes, Ok(outcome));
                Ok(outcome)
            }
        }
    }

    async fn bring(&self, item: &Item) -> Result<Outcome, PushError> {
        let held = self.server.held(&item.path).await?;
        let known = self.known().get(&item.path).copied();
        if held.is_some_and(|held| is_same(&item.content, held, known)) {
            self.known().insert(item.path.clone(), item.content.digest);
            return Ok(Outcome::Present);
        }
        if !self.dry_run {
            self.server.put(&item.path, &item.content).await?;
            self.known().insert(item.path.clone(), item.content.digest);
        }
        Ok(Outcome::Pushed)
    }

    async fn save(&self) -> Result<(), PushError> {
        if self.dry_run {
            return Ok(());
        }
        let list = serde_json::to_vec(&*self.known()).unwrap_or_default();
        self.server.put(OBJECTS, &Content::of(list)).await
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a server holds a content: by the digest it says, else by the one that was pushed.
fn is_same(content: &Content, held: Held, known: Option<Digest>) -> bool {
    held.len_bytes == content.len_bytes && held.digest.or(known) == Some(content.digest)
}

/// The document that says which activation is whole.
fn current(edition: &Edition) -> Vec<u8> {
    let document = json!({
        "sequence": edition.sequence,
        "activation": edition.activation,
        "activated": edition.activated,
        "snapshot": edition.id,
    });
    document.to_string().into_bytes()
}

/// The type of a file by its path: what is for people and programs to read says so.
pub fn content_type(path: &str) -> &'static str {
    let is_ours = path.starts_with("pypi/simple/") || path == CURRENT || path == OBJECTS;
    match path.rsplit('.').next() {
        Some("html") if is_ours => "text/html",
        Some("json") if is_ours => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressBar;

    use super::*;
    use crate::publish_to::tally::Report;
    use crate::publish_to::tree::Shown;

    /// A server in memory that says no digests, and refuses some paths.
    #[derive(Default)]
    struct Memory {
        files: Mutex<BTreeMap<String, Vec<u8>>>,
        puts: Mutex<Vec<String>>,
        refused: Option<&'static str>,
    }

    impl FileServer for &Memory {
        async fn held(&self, path: &str) -> Result<Option<Held>, PushError> {
            let files = self.files.lock().unwrap();
            let file = files.get(path);
            Ok(file.map(|bytes| Held { len_bytes: bytes.len() as u64, digest: None }))
        }

        async fn get(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, PushError> {
            Ok(self.files.lock().unwrap().get(path).cloned())
        }

        async fn put(&self, path: &str, content: &Content) -> Result<(), PushError> {
            if self.refused == Some(path) {
                return Err(PushError::Parts("full".to_owned()));
            }
            let super::super::tree::Place::Memory(bytes) = &content.place else { unreachable!() };
            self.files.lock().unwrap().insert(path.to_owned(), bytes.to_vec());
            self.puts.lock().unwrap().push(path.to_owned());
            Ok(())
        }

        async fn is_gone(&self) -> bool {
            false
        }
    }

    fn items(head: &'static str) -> Vec<Item> {
        let item = |path: &str, rank, text: &'static str| Item {
            path: path.to_owned(),
            rank,
            content: Content::of(text),
        };
        vec![
            item("pool/a.deb", Rank::Goods, "a"),
            item("dists/Packages", Rank::Indexes, "packages"),
            item("dists/InRelease", Rank::Heads, head),
        ]
    }

    async fn push(server: &Memory, items: &[Item], dry_run: bool) -> Report {
        let edition = Edition {
            sequence: gapferry_proto::Sequence(1),
            activation: 1,
            activated: "2026-11-22T00:00:00Z".parse().unwrap(),
            id: gapferry_proto::SnapshotId::of(b"s"),
            current: Shown::default(),
            kept: vec![],
            heads: vec![],
            key: String::new(),
        };
        let tally = Tally::new(ProgressBar::hidden());
        let files = Files::reach(server, dry_run).await.unwrap();
        files.push(items, &edition, 2, &tally).await.unwrap();
        tally.finish()
    }

    #[tokio::test]
    async fn goods_go_before_indexes_heads_after_and_the_pointer_last() {
        let server = Memory::default();
        let report = push(&server, &items("1"), false).await;
        assert_eq!(report.pushed.len(), 4);
        let mut puts = server.puts.lock().unwrap().clone();
        puts.retain(|path| path != OBJECTS);
        assert_eq!(puts, ["pool/a.deb", "dists/Packages", "dists/InRelease", CURRENT]);
    }

    #[tokio::test]
    async fn a_second_run_pushes_nothing_and_a_head_of_equal_length_all_the_same() {
        let server = Memory::default();
        push(&server, &items("1"), false).await;
        server.puts.lock().unwrap().clear();
        let again = push(&server, &items("1"), false).await;
        assert_eq!((again.pushed.len(), again.present), (0, 4));
        assert_eq!(*server.puts.lock().unwrap(), [""; 0]);
        let newer = push(&server, &items("2"), false).await;
        assert_eq!(newer.pushed.len(), 1, "{newer:?}");
        assert_eq!(server.files.lock().unwrap()["dists/InRelease"], b"2");
    }

    #[tokio::test]
    async fn no_index_is_published_when_something_it_leads_to_is_missing() {
        let server = Memory { refused: Some("pool/a.deb"), ..Memory::default() };
        let report = push(&server, &items("1"), false).await;
        let failed: Vec<_> = report.failures.iter().map(|failure| &*failure.what).collect();
        assert_eq!(failed, ["indexes and heads", "pool/a.deb"]);
        assert!(!server.files.lock().unwrap().contains_key(CURRENT));
    }

    #[tokio::test]
    async fn a_dry_run_says_what_it_would_push_and_pushes_nothing() {
        let server = Memory::default();
        let report = push(&server, &items("1"), true).await;
        assert_eq!(report.pushed.len(), 4);
        assert_eq!(*server.puts.lock().unwrap(), [""; 0]);
    }

    #[test]
    fn the_digest_that_a_server_says_outweighs_what_was_pushed() {
        let content = Content::of("abc");
        let held = |len_bytes, digest| Held { len_bytes, digest };
        let (same, other) = (Some(content.digest), Some(Digest::of(b"other")));
        for (held, known, expected) in [
            (held(3, same), other, true),
            (held(3, other), same, false),
            (held(3, None), same, true),
            (held(3, None), None, false),
            (held(4, None), same, false),
        ] {
            assert_eq!(is_same(&content, held, known), expected, "{held:?} {known:?}");
        }
    }
}
