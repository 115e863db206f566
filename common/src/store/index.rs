//! The derived index: which blob has which chunk, in SQLite.
//!
//! Losing it costs time only: `scrub --reindex` makes it again from the blobs.

use std::{fs::File, io};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{BlobId, BlobRef, ChunkId};
use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use crate::{cut, durable::DurableError};

/// Why the index cannot be used; it can be removed and made again.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the index at {path} failed; remove it and run `scrub --reindex`")]
    Sql { path: Utf8PathBuf, source: rusqlite::Error },
    #[error("cannot read blob {0}")]
    Read(BlobId, #[source] io::Error),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    db: Connection,
    path: Utf8PathBuf,
}

/// The layout of the index. A new number drops all tables: nothing in them is primary.
const VERSION: i64 = 3;

const SCHEMA: &str = "
    DROP TABLE IF EXISTS chunks; DROP TABLE IF EXISTS leaves; DROP TABLE IF EXISTS husks;
    DROP TABLE IF EXISTS blobs;
    CREATE TABLE blobs (
        number    INTEGER PRIMARY KEY,
        id        BLOB NOT NULL UNIQUE,
        len_bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE chunks (
        chunk     BLOB NOT NULL,
        blob      INTEGER NOT NULL REFERENCES blobs(number),
        offset    INTEGER NOT NULL,
        len_bytes INTEGER NOT NULL,
        PRIMARY KEY (chunk, blob, offset)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE leaves (
        id     BLOB PRIMARY KEY,
        leaves BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE husks (
        id   BLOB PRIMARY KEY,
        husk BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;";

/// Tables of one plan; they die with the connection and spill to disk when large.
const PLAN_SCHEMA: &str = "
    CREATE TEMP TABLE IF NOT EXISTS basis (blob INTEGER PRIMARY KEY) STRICT;
    CREATE TEMP TABLE IF NOT EXISTS placed (
        chunk BLOB PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    DELETE FROM temp.basis; DELETE FROM temp.placed;";

const FORGET_SCHEMA: &str = "
    CREATE TEMP TABLE IF NOT EXISTS gone (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
    DELETE FROM temp.gone;";

/// Each table is gone through once, however many blobs are forgotten.
const FORGET: &str = "
    DELETE FROM chunks WHERE blob IN
        (SELECT number FROM blobs WHERE id IN (SELECT id FROM temp.gone));
    DELETE FROM blobs WHERE id IN (SELECT id FROM temp.gone);
    DELETE FROM leaves WHERE id IN (SELECT id FROM temp.gone);
    DELETE FROM husks WHERE id IN (SELECT id FROM temp.gone);";

impl Index {
    /// Opens or makes the index of `store`.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn open(store: &Store) -> Result<Self, IndexError> {
        let path = Self::path(store);
        let open = || {
            let db = Connection::open(&path)?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.pragma_update(None, "temp_store", "FILE")?;
            // The chunks of a blob go with it; SQLite would look for them through the whole table,
            // once for each blob that is forgotten.
            db.pragma_update(None, "foreign_keys", false)?;
            let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version != VERSION {
                db.execute_batch(SCHEMA)?;
                db.pragma_update(None, "user_version", VERSION)?;
            }
            Ok(db)
        };
        match open() {
            Ok(db) => Ok(Self { db, path }),
            Err(source) => Err(IndexError::Sql { path, source }),
        }
    }

    /// Whether the chunks of a blob are known.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn knows(&self, id: BlobId) -> Result<bool, IndexError> {
        self.number(id).map(|number| number.is_some())
    }

    /// Cuts a held blob and remembers its chunks, unless they are known.
    ///
    /// # Errors
    ///
    /// [`IndexError`].
    pub fn learn(&mut self, store: &Store, blob: BlobRef) -> Result<(), IndexError> {
        if self.knows(blob.id)? {
            return Ok(());
        }
        let file = store.open_blob(blob.id)?;
        let chunks = chunks_of(blob.id, file)?;
        self.record(blob, &chunks)
    }

    /// Remembers the chunks of a blob: name, offset and length of each.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn record(
        &mut self,
        blob: BlobRef,
        chunks: &[(ChunkId, u64, u32)],
    ) -> Result<(), IndexError> {
        let write = |db: &mut Connection| {
            let tx = db.transaction()?;
            tx.prepare_cached("INSERT OR IGNORE INTO blobs (id, len_bytes) VALUES (?1, ?2)")?
                .execute(params![blob.id.as_bytes(), blob.len_bytes.cast_signed()])?;
            let number: i64 = tx.query_row(
                "SELECT number FROM blobs WHERE id = ?1",
                [blob.id.as_bytes()],
                |row| row.get(0),
            )?;
            {
                let mut insert =
                    tx.prepare_cached("INSERT OR IGNORE INTO chunks VALUES (?1, ?2, ?3, ?4)")?;
                for (chunk, offset, len) in chunks {
                    let offset = offset.cast_signed();
                    insert.execute(params![chunk.as_bytes(), number, offset, len])?;
                }
            }
            tx.commit()
        };
        write(&mut self.db).map_err(|source| self.sql(source))
    }

    /// Begins a plan: the blobs that the inside holds, nothing placed yet.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn begin_plan(
        &mut self,
        basis: impl IntoIterator<Item = BlobId>,
    ) -> Result<(), IndexError> {
        let write = |db: &mut Connection| {
            db.execute_batch(PLAN_SCHEMA)?;
            let tx = db.transaction()?;
            {
                let mut insert = tx.prepare_cached(
                    "INSERT OR IGNORE INTO temp.basis SELECT number FROM blobs WHERE id = ?1",
                )?;
                for id in basis {
                    insert.execute([id.as_bytes()])?;
                }
            }
            tx.commit()
        };
        write(&mut self.db).map_err(|source| self.sql(source))
    }

    /// Where the basis has a chunk: a blob and an offset in it.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn in_basis(&self, chunk: ChunkId) -> Result<Option<(BlobId, u64)>, IndexError> {
        let find = || {
            self.db
                .prepare_cached(
                    "SELECT b.id, c.offset FROM chunks c
                     JOIN temp.basis ON temp.basis.blob = c.blob JOIN blobs b ON b.number = c.blob
                     WHERE c.chunk = ?1 LIMIT 1",
                )?
                .query_row([chunk.as_bytes()], |row| {
                    Ok((BlobId::from_bytes(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
                })
                .optional()
        };
        find().map_err(|source| self.sql(source))
    }

    /// Remembers in which pack of this plan a chunk stands.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn place(&self, chunk: ChunkId, pack: u32, offset: u64) -> Result<(), IndexError> {
        let write = || {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO temp.placed VALUES (?1, ?2, ?3)")?
                .execute(params![chunk.as_bytes(), pack, offset.cast_signed()])
        };
        write().map(|_| ()).map_err(|source| self.sql(source))
    }

    /// In which pack of this plan a chunk stands.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn placed(&self, chunk: ChunkId) -> Result<Option<(u32, u64)>, IndexError> {
        let find = || {
            self.db
                .prepare_cached("SELECT pack, offset FROM temp.placed WHERE chunk = ?1")?
                .query_row([chunk.as_bytes()], |row| {
                    Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
                })
                .optional()
        };
        find().map_err(|source| self.sql(source))
    }

    /// What was found out about the leaves of a blob.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn leaves(&self, id: BlobId) -> Result<Option<Vec<u8>>, IndexError> {
        self.document("SELECT leaves FROM leaves WHERE id = ?1", id)
    }

    /// Remembers what was found out about the leaves of a blob.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn record_leaves(&self, id: BlobId, leaves: &[u8]) -> Result<(), IndexError> {
        self.record_document("INSERT OR REPLACE INTO leaves VALUES (?1, ?2)", id, leaves)
    }

    /// Which encoders were found for the coded streams of a blob.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn husk(&self, id: BlobId) -> Result<Option<Vec<u8>>, IndexError> {
        self.document("SELECT husk FROM husks WHERE id = ?1", id)
    }

    /// Remembers which encoders were found for the coded streams of a blob.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn record_husk(&self, id: BlobId, husk: &[u8]) -> Result<(), IndexError> {
        self.record_document("INSERT OR REPLACE INTO husks VALUES (?1, ?2)", id, husk)
    }

    fn document(&self, sql: &str, id: BlobId) -> Result<Option<Vec<u8>>, IndexError> {
        let find =
            || self.db.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional();
        find().map_err(|source| self.sql(source))
    }

    fn record_document(&self, sql: &str, id: BlobId, bytes: &[u8]) -> Result<(), IndexError> {
        let write = || self.db.prepare_cached(sql)?.execute(params![id.as_bytes(), bytes]);
        write().map(|_| ()).map_err(|source| self.sql(source))
    }

    /// Forgets blobs, their chunks and their leaves, all or none.
    ///
    /// # Errors
    ///
    /// [`IndexError::Sql`].
    pub fn forget(&mut self, ids: impl IntoIterator<Item = BlobId>) -> Result<(), IndexError> {
        let mut ids = ids.into_iter().peekable();
        if ids.peek().is_none() {
            return Ok(());
        }
        let write = |db: &mut Connection| {
            db.execute_batch(FORGET_SCHEMA)?;
            let tx = db.transaction()?;
            for id in ids {
                tx.prepare_cached("INSERT OR IGNORE INTO temp.gone VALUES (?1)")?
                    .execute([id.as_bytes()])?;
            }
            tx.execute_batch(FORGET)?;
            tx.commit()
        };
        write(&mut self.db).map_err(|source| self.sql(source))
    }

    /// Whether a store has an index.
    pub fn exists(store: &Store) -> bool {
        Self::path(store).exists()
    }

    fn path(store: &Store) -> Utf8PathBuf {
        store.root().join("index.sqlite")
    }

    /// Removes the index of a store; the next [`Index::open`] makes an empty one.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn remove(store: &Store) -> Result<(), DurableError> {
        for suffix in ["", "-wal", "-shm"] {
            let path: &Utf8Path = &store.root().join(format!("index.sqlite{suffix}"));
            crate::durable::remove(path)?;
        }
        Ok(())
    }

    fn number(&self, id: BlobId) -> Result<Option<i64>, IndexError> {
        let find = || {
            self.db
                .prepare_cached("SELECT number FROM blobs WHERE id = ?1")?
                .query_row([id.as_bytes()], |row| row.get(0))
                .optional()
        };
        find().map_err(|source| self.sql(source))
    }

    fn sql(&self, source: rusqlite::Error) -> IndexError {
        IndexError::Sql { path: self.path.clone(), source }
    }
}

fn chunks_of(id: BlobId, file: File) -> Result<Vec<(ChunkId, u64, u32)>, IndexError> {
    cut::cut(file)
        .map(|cut| {
            let cut = cut.map_err(|e| IndexError::Read(id, e))?;
            let len = u32::try_from(cut.bytes.len()).expect("a chunk has at most 256 KiB");
            Ok((cut.id, cut.offset, len))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8PathBuf::from_path_buf(temp.path().into()).unwrap()).unwrap();
        (temp, store)
    }

    fn put(store: &Store, bytes: &[u8]) -> BlobRef {
        BlobRef { id: store.put(bytes).unwrap(), len_bytes: bytes.len() as u64 }
    }

    #[test]
    fn a_chunk_is_found_in_the_basis_alone() {
        let (_temp, store) = store();
        let mut index = Index::open(&store).unwrap();
        let [held, other] = [put(&store, b"held"), put(&store, b"other")];
        for blob in [held, other] {
            index.learn(&store, blob).unwrap();
        }
        index.begin_plan([held.id, BlobId::of(b"never seen")]).unwrap();
        assert_eq!(index.in_basis(ChunkId::of(b"held")).unwrap(), Some((held.id, 0)));
        assert_eq!(index.in_basis(ChunkId::of(b"other")).unwrap(), None);
        index.begin_plan([other.id]).unwrap();
        assert_eq!(index.in_basis(ChunkId::of(b"held")).unwrap(), None);
    }

    #[test]
    fn a_chunk_keeps_its_first_place_until_the_next_plan() {
        let (_temp, store) = store();
        let mut index = Index::open(&store).unwrap();
        index.begin_plan([]).unwrap();
        let chunk = ChunkId::of(b"c");
        index.place(chunk, 1, 16).unwrap();
        index.place(chunk, 2, 99).unwrap();
        assert_eq!(index.placed(chunk).unwrap(), Some((1, 16)));
        index.begin_plan([]).unwrap();
        assert_eq!(index.placed(chunk).unwrap(), None);
    }

    #[test]
    fn a_lost_index_is_made_again_from_the_blobs() {
        let (_temp, store) = store();
        let blob = put(&store, b"held");
        Index::open(&store).unwrap().learn(&store, blob).unwrap();
        Index::remove(&store).unwrap();
        let mut index = Index::open(&store).unwrap();
        assert!(!index.knows(blob.id).unwrap());
        index.learn(&store, blob).unwrap();
        assert!(index.knows(blob.id).unwrap());
        index.forget([blob.id]).unwrap();
        assert!(!index.knows(blob.id).unwrap());
    }

    #[test]
    fn what_is_forgotten_takes_its_chunks_along_and_no_others() {
        let (_temp, store) = store();
        let mut index = Index::open(&store).unwrap();
        let [a, b, stays] = [&b"a"[..], b"b", b"stays"].map(|bytes| put(&store, bytes));
        for blob in [a, b, stays] {
            // Each has its own chunk, and one that all have.
            let chunks = [(ChunkId::of(blob.id.as_bytes()), 0, 1), (ChunkId::of(b"all"), 1, 1)];
            index.record(blob, &chunks).unwrap();
            index.record_leaves(blob.id, b"leaves").unwrap();
            index.record_husk(blob.id, b"husk").unwrap();
        }
        index.forget([]).unwrap();
        index.forget([a.id, b.id, a.id, BlobId::of(b"never seen")]).unwrap();
        let known = [a, b, stays].map(|blob| {
            let [leaves, husk] =
                [index.leaves(blob.id), index.husk(blob.id)].map(|found| found.unwrap().is_some());
            (index.knows(blob.id).unwrap(), leaves, husk)
        });
        assert_eq!(known, [(false, false, false), (false, false, false), (true, true, true)]);
        let chunks = |db: &Connection| -> i64 {
            db.query_row("SELECT count(*) FROM chunks", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(chunks(&index.db), 2);
        index.forget([stays.id]).unwrap();
        assert_eq!(chunks(&index.db), 0);
    }

    #[test]
    fn no_table_is_gone_through_for_each_blob_that_is_forgotten() {
        let (_temp, store) = store();
        let index = Index::open(&store).unwrap();
        let keys: bool =
            index.db.pragma_query_value(None, "foreign_keys", |row| row.get(0)).unwrap();
        assert!(!keys);
        index.db.execute_batch(FORGET_SCHEMA).unwrap();
        for statement in FORGET.split_terminator(';') {
            let mut plan = index.db.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(steps.iter().all(|step| !step.contains("CORRELATED")), "{steps:?}");
        }
    }
}
