//! Encodings that were made before: a folder that may be thrown away.
//!
//! An encoding is found again by what decided it: the stream, the bases that were looked at and
//! the effort. So `plan --exact` works for the export after it, and an export that was stopped
//! goes on where it was.

use std::{
    fs::File,
    io::{self, Write},
};

use bytes::Bytes;
use camino::Utf8PathBuf;
use gapferry_common::{
    durable::{self, DurableError, DurableFile, at},
    map,
};
use gapferry_proto::{ChunkId, recipe::Codec};

/// How an encoding was made, and its payload.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// None: the stream as it is.
    pub codec: Option<Codec>,
    /// Hashes of the bases, in order.
    pub bases: Vec<ChunkId>,
    pub payload: Payload,
}

/// The bytes of an encoding.
///
/// What lies in the folder is mapped when it is asked for and no longer than it is used: a process
/// has some 65,000 mappings, and an export may have more streams.
#[derive(Clone, Debug)]
pub enum Payload {
    Held(Bytes),
    Kept { path: Utf8PathBuf, len_bytes: u64 },
}

impl Payload {
    pub const fn len_bytes(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Kept { len_bytes, .. } => *len_bytes,
        }
    }

    /// The bytes; those in the folder are compared with their sum.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the file is gone or damaged since it was found; run the export again.
    pub fn bytes(&self) -> Result<Bytes, DurableError> {
        match self {
            Self::Held(bytes) => Ok(bytes.clone()),
            Self::Kept { path, .. } => {
                let file = File::open(path).and_then(|file| map::map(&file));
                let encoding = decode(&file.map_err(at("read", path))?);
                let damaged = || at("read", path)(io::ErrorKind::InvalidData.into());
                encoding.ok_or_else(damaged)?.payload.bytes()
            }
        }
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Encodings {
    folder: Utf8PathBuf,
}

/// Bytes that are kept from one run to the next: 8 GiB, some dozens of exports.
const KEEP_BYTES: u64 = 8 << 30;

impl Encodings {
    /// # Errors
    ///
    /// [`DurableError`]: the folder cannot be made.
    pub fn open(folder: Utf8PathBuf) -> Result<Self, DurableError> {
        durable::create_folders(&folder)?;
        Ok(Self { folder })
    }

    /// An encoding that was made for `key`; a damaged one counts as none.
    pub fn get(&self, key: ChunkId) -> Option<Encoding> {
        let path = self.path(key);
        let file = map::map(&File::open(&path).ok()?).ok()?;
        let encoding = decode(&file)?;
        let payload = Payload::Kept { path, len_bytes: encoding.payload.len_bytes() };
        Some(Encoding { payload, ..encoding })
    }

    /// Keeps an encoding and gives it back as it lies there; where the disk is full or fails, as
    /// it was given.
    pub fn put(&self, key: ChunkId, encoding: Encoding) -> Encoding {
        match self.write(key, &encoding) {
            Ok(()) => self.get(key).unwrap_or(encoding),
            Err(error) => {
                tracing::warn!(%error, "an encoding is not kept");
                encoding
            }
        }
    }

    fn write(&self, key: ChunkId, encoding: &Encoding) -> Result<(), DurableError> {
        let path = self.path(key);
        let payload = encoding.payload.bytes()?;
        let mut file = DurableFile::create_in(&self.folder)?;
        let body = head(encoding);
        let sum = sum(&body, &payload);
        for bytes in [sum.as_bytes(), &body[..], &payload] {
            file.write_all(bytes).map_err(at("write", &path))?;
        }
        file.finish(&path)
    }

    /// Removes the oldest until the rest is small enough.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn trim(&self) -> Result<(), DurableError> {
        let mut files = vec![];
        for entry in self.folder.read_dir_utf8().map_err(at("list", &self.folder))? {
            let entry = entry.map_err(at("list", &self.folder))?;
            let meta = entry.metadata().map_err(at("read", entry.path()))?;
            files.push((meta.modified().ok(), meta.len(), entry.path().to_owned()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|file| file.1).sum();
        for (_, len_bytes, path) in files {
            if total <= KEEP_BYTES {
                break;
            }
            durable::remove(&path)?;
            total -= len_bytes;
        }
        Ok(())
    }

    fn path(&self, key: ChunkId) -> Utf8PathBuf {
        self.folder.join(key.to_string().replace(':', "-"))
    }
}

/// Codec (1), number of bases (1), 32 bytes a base.
fn head(encoding: &Encoding) -> Vec<u8> {
    let codec = encoding.codec.map_or(0, |codec| {
        1 + Codec::ALL.iter().position(|known| *known == codec).expect("all codecs are listed")
    });
    let number = |n: usize| u8::try_from(n).expect("few codecs and bases");
    let mut head = vec![number(codec), number(encoding.bases.len())];
    for base in &encoding.bases {
        head.extend_from_slice(base.as_bytes());
    }
    head
}

fn sum(head: &[u8], payload: &[u8]) -> ChunkId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head).update(payload);
    ChunkId::from_bytes(hasher.finalize().into())
}

/// What a file holds; none when it is damaged.
fn decode(file: &Bytes) -> Option<Encoding> {
    let (codec, count) = (*file.get(32)?, usize::from(*file.get(33)?));
    let end = 34 + 32 * count;
    let bases = file.get(34..end)?.as_chunks::<32>().0;
    let payload = file.slice(end..);
    let encoding = Encoding {
        codec: match codec {
            0 => None,
            n => Some(*Codec::ALL.get(usize::from(n) - 1)?),
        },
        bases: bases.iter().map(|hash| ChunkId::from_bytes(*hash)).collect(),
        payload: Payload::Held(payload.clone()),
    };
    let is_whole = file.get(..32)? == sum(&head(&encoding), &payload).as_bytes();
    is_whole.then_some(encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_found_again_and_a_damaged_one_is_none() {
        for payload in [&b"payload"[..], &[7; 5000]] {
            found_again(&Bytes::from_static(payload));
        }
    }

    fn found_again(payload: &Bytes) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().join("encodings")).unwrap();
        let encodings = Encodings::open(folder).unwrap();
        let key = ChunkId::of(b"key");
        assert!(encodings.get(key).is_none());
        let (codec, bases) = (Some(Codec::ZstdPrefix), vec![ChunkId::of(b"base")]);
        let held = Payload::Held(payload.clone());
        encodings.put(key, Encoding { codec, bases: bases.clone(), payload: held });
        let found = encodings.get(key).unwrap();
        assert_eq!((found.codec, found.bases), (codec, bases));
        assert_eq!(found.payload.len_bytes(), payload.len() as u64);
        assert_eq!(found.payload.bytes().unwrap(), *payload);
        let path = encodings.path(key);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(encodings.get(key).is_none());
        assert!(found.payload.bytes().is_err(), "it is compared again when it is used");
    }

    #[test]
    fn more_encodings_are_at_hand_than_a_process_may_map_files() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let encodings = Encodings::open(folder).unwrap();
        let bytes = Bytes::from_static(&[7; 5000]);
        let encoding =
            Encoding { codec: None, bases: vec![], payload: Payload::Held(bytes.clone()) };
        encodings.put(ChunkId::of(b"key"), encoding);
        let get = |_| encodings.get(ChunkId::of(b"key"));
        let many: Vec<Encoding> = (0..70_000).map_while(get).collect();
        assert_eq!(many.len(), 70_000);
        assert_eq!(many.last().unwrap().payload.bytes().unwrap(), bytes);
    }
}
