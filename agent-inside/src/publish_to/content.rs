//! Reads contents piece by piece, checking them on the way.
//!
//! In:   a [`Content`], the store.
//! Out:  a stream of its bytes, which breaks before its last piece when they are not those that
//!       its digest names: no server gets the whole of a damaged blob.
//! Never: more than one piece of a file in memory.

use std::io::{self, Write as _};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{Stream, stream};
use gapferry_common::{
    durable::{self, DurableError},
    hashing::{self, HashingWriter},
    store::Store,
};
use gapferry_proto::{BlobId, Digest};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom},
};

use super::tree::{Content, Document, Place};

/// How much is read at once, in bytes: 256 KiB.
const PIECE_LEN_BYTES: u64 = 256 << 10;

impl Content {
    /// The file that holds it; none when it is in memory.
    pub fn path(&self, store: &Store) -> Option<Utf8PathBuf> {
        match &self.place {
            Place::Store => Some(store.path(BlobId::from(self.digest))),
            Place::File(path) => Some(path.clone()),
            Place::Memory(_) => None,
        }
    }

    /// Whether it can be read, and has the length that it shall have.
    ///
    /// # Errors
    ///
    /// It is not there, or its length is another.
    pub fn check(&self, store: &Store) -> io::Result<()> {
        let Some(path) = self.path(store) else { return Ok(()) };
        match path.metadata()?.len() == self.len_bytes {
            true => Ok(()),
            false => Err(damaged(&path)),
        }
    }

    /// All bytes, checked.
    pub async fn stream(&self, store: &Store) -> io::Result<Pieces> {
        match self.path(store) {
            None => self.in_memory(0, self.len_bytes),
            Some(path) => Pieces::open(path, 0, self.len_bytes, Some(self.digest)).await,
        }
    }

    /// The bytes from `from` on, `len_bytes` of them, unchecked.
    pub async fn part(&self, store: &Store, from: u64, len_bytes: u64) -> io::Result<Pieces> {
        match self.path(store) {
            None => self.in_memory(from, len_bytes),
            Some(path) => Pieces::open(path, from, len_bytes, None).await,
        }
    }

    fn in_memory(&self, from: u64, len_bytes: u64) -> io::Result<Pieces> {
        let Place::Memory(bytes) = &self.place else { return Err(io::ErrorKind::NotFound.into()) };
        let range = usize::try_from(from).ok().zip(usize::try_from(from + len_bytes).ok());
        let range = range.filter(|(_, to)| *to <= bytes.len());
        let (from, to) = range.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Pieces { from: Source::Memory(bytes.slice(from..to)) })
    }
}

/// Bytes on their way, a piece at a time.
pub struct Pieces {
    from: Source,
}

enum Source {
    Memory(Bytes),
    File(Box<Reading>),
}

struct Reading {
    file: File,
    path: Utf8PathBuf,
    left_bytes: u64,
    hasher: HashingWriter<io::Sink>,
    digest: Option<Digest>,
}

impl Pieces {
    async fn open(
        path: Utf8PathBuf,
        from: u64,
        left_bytes: u64,
        digest: Option<Digest>,
    ) -> io::Result<Self> {
        let mut file = File::open(&path).await?;
        if from != 0 {
            file.seek(SeekFrom::Start(from)).await?;
        }
        let hasher = HashingWriter::new(io::sink());
        let reading = Reading { file, path, left_bytes, hasher, digest };
        Ok(Self { from: Source::File(Box::new(reading)) })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// The disk failed, or the bytes are not those that the digest names.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match &mut self.from {
            Source::Memory(bytes) => Ok(Some(std::mem::take(bytes)).filter(|b| !b.is_empty())),
            Source::File(reading) => reading.next().await,
        }
    }

    /// The pieces as a stream, for the body of a request.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold(self, |mut pieces| async move {
            Ok(pieces.next().await?.map(|piece| (piece, pieces)))
        })
    }
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left_bytes == 0 {
            return Ok(None);
        }
        let len_bytes = self.left_bytes.min(PIECE_LEN_BYTES);
        let mut piece = vec![0; usize::try_from(len_bytes).map_err(io::Error::other)?];
        let read = self.file.read_exact(&mut piece).await;
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(&self.path),
            _ => error,
        })?;
        self.left_bytes -= len_bytes;
        if let Some(expected) = self.digest {
            self.hasher.write_all(&piece)?;
            if self.left_bytes == 0 {
                let whole = std::mem::replace(&mut self.hasher, HashingWriter::new(io::sink()));
                if whole.finish().1 != expected {
                    return Err(damaged(&self.path));
                }
            }
        }
        Ok(Some(piece.into()))
    }
}

/// What stands in for bytes that are not those of their name.
fn damaged(path: &Utf8Path) -> io::Error {
    let message = format!("{path} is damaged; `gapferry-inside scrub` names all that are");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Every document below `folder`, with its digest.
///
/// # Errors
///
/// [`DurableError`]: the folder is missing, or a document cannot be read.
pub fn read_documents(folder: &Utf8Path) -> Result<Vec<Document>, DurableError> {
    let names = durable::files_below(folder)?;
    let document = |name: Utf8PathBuf| {
        let path = folder.join(&name);
        let read = std::fs::File::open(&path).and_then(|mut file| hashing::hash(&mut file));
        let (digest, len_bytes) = read.map_err(durable::at("read", &path))?;
        let content = Content { place: Place::File(path), digest, len_bytes };
        Ok(Document { name: name.into_string(), content })
    };
    names.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(Utf8Path::from_path(temp.path()).unwrap()).unwrap();
        (temp, store)
    }

    fn held(store: &Store, bytes: &[u8]) -> Content {
        let id = store.put(bytes).unwrap();
        Content { place: Place::Store, digest: id.digest(), len_bytes: bytes.len() as u64 }
    }

    async fn all(mut pieces: Pieces) -> io::Result<Vec<Vec<u8>>> {
        let mut read = Vec::new();
        while let Some(piece) = pieces.next().await? {
            read.push(piece.to_vec());
        }
        Ok(read)
    }

    #[tokio::test]
    async fn a_blob_is_read_in_pieces_and_by_part() {
        let (_temp, store) = store();
        let bytes: Vec<u8> = (0..600_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        for content in [held(&store, &bytes), Content::of(bytes.clone())] {
            let pieces = all(content.stream(&store).await.unwrap()).await.unwrap();
            assert_eq!(pieces.concat(), bytes);
            let part = all(content.part(&store, 300_000, 10).await.unwrap()).await.unwrap();
            assert_eq!(part.concat(), bytes[300_000..300_010]);
        }
        let empty = held(&store, b"");
        assert_eq!(all(empty.stream(&store).await.unwrap()).await.unwrap(), [[0; 0]; 0]);
    }

    #[tokio::test]
    async fn a_damaged_blob_breaks_off_before_its_last_piece() {
        let (_temp, store) = store();
        let bytes = vec![7; 300_000];
        let content = held(&store, &bytes);
        let path = content.path(&store).unwrap();
        for damage in [[vec![8], bytes[1..].to_vec()].concat(), bytes[1..].to_vec()] {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &damage).unwrap();
            let mut pieces = content.stream(&store).await.unwrap();
            assert!(pieces.next().await.is_ok());
            let error = pieces.next().await.unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
    }
}
