//! Encodings that were made before: a folder that may be thrown away.
//!
//! An encoding is found again by what decided it: the stream, the bases that were looked at and
//! the effort. So `plan --exact` works for the export after it, and an export that was stopped
//! goes on where it was.

use std::{
    fs::File,
    io::{self, Write},
    time::SystemTime,
};

use bytes::Bytes;
use camino::Utf8PathBuf;
use gapferry_common::{
    durable::{self, DurableError, at},
    map,
};
use gapferry_proto::{ChunkId, recipe::Codec};

/// How an encoding was made, and its payload.
#[derive(Clone, Debug)]
pub struct Encoding {
    pub codec: Codec,
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
                let found = decode(&file.map_err(at("read", path))?).flatten();
                let damaged = || at("read", path)(io::ErrorKind::InvalidData.into());
                found.ok_or_else(damaged)?.payload.bytes()
            }
        }
    }

    /// Takes it out of the folder: it was wrong.
    pub fn discard(&self) {
        if let Self::Kept { path, .. } = self
            && let Err(error) = durable::remove(path)
        {
            tracing::warn!(%error, "a wrong encoding stays");
        }
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Encodings {
    folder: Utf8PathBuf,
    keep_bytes: u64,
}

/// Bytes that are kept from one run to the next: 8 GiB, some dozens of exports.
const KEEP_BYTES: u64 = 8 << 30;

impl Encodings {
    /// # Errors
    ///
    /// [`DurableError`]: the folder cannot be made.
    pub fn open(folder: Utf8PathBuf) -> Result<Self, DurableError> {
        durable::create_folders(&folder)?;
        Ok(Self { folder, keep_bytes: KEEP_BYTES })
    }

    /// What was found for `key`: an encoding, or that the stream travels as it is. A damaged file
    /// counts as none.
    pub fn get(&self, key: ChunkId) -> Option<Option<Encoding>> {
        let path = self.path(key);
        let file = File::open(&path).ok()?;
        // What is used last is kept longest; whether that can be told changes nothing else.
        let _told = file.set_modified(SystemTime::now());
        let found = decode(&map::map(&file).ok()?)?;
        Some(found.map(|encoding| {
            let payload = Payload::Kept { path, len_bytes: encoding.payload.len_bytes() };
            Encoding { payload, ..encoding }
        }))
    }

    /// Keeps what was found and gives it back as it lies there; where the disk is full or fails,
    /// as it was given.
    pub fn put(&self, key: ChunkId, found: Option<Encoding>) -> Option<Encoding> {
        match self.write(key, found.as_ref()) {
            Ok(()) => self.get(key).unwrap_or(found),
            Err(error) => {
                tracing::warn!(%error, "an encoding is not kept");
                found
            }
        }
    }

    /// Nothing is synced: a file that a power cut left damaged counts as none.
    fn write(&self, key: ChunkId, found: Option<&Encoding>) -> Result<(), DurableError> {
        let path = self.path(key);
        let payload =
            found.map_or_else(|| Ok(Bytes::new()), |encoding| encoding.payload.bytes())?;
        let body = head(found);
        let sum = sum(&body, &payload);
        let temp = tempfile::NamedTempFile::new_in(&self.folder);
        let mut temp = temp.map_err(at("create a file in", &self.folder))?;
        for bytes in [sum.as_bytes(), &body[..], &payload] {
            temp.write_all(bytes).map_err(at("write", &path))?;
        }
        temp.persist(&path).map(|_| ()).map_err(|error| at("rename", &path)(error.error))
    }

    /// Removes the least lately used until the rest is small enough, but nothing that was used
    /// since `began`: the export after `plan --exact` needs all of it.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn trim(&self, began: SystemTime) -> Result<(), DurableError> {
        let mut files = vec![];
        for entry in self.folder.read_dir_utf8().map_err(at("list", &self.folder))? {
            let entry = entry.map_err(at("list", &self.folder))?;
            let meta = entry.metadata().map_err(at("read", entry.path()))?;
            files.push((meta.modified().ok(), meta.len(), entry.path().to_owned()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|file| file.1).sum();
        for (used, len_bytes, path) in files {
            if total <= self.keep_bytes || used.is_some_and(|used| began <= used) {
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

/// Codec, or 0 (1), number of bases (1), 32 bytes a base.
fn head(found: Option<&Encoding>) -> Vec<u8> {
    let Some(encoding) = found else { return vec![0, 0] };
    let place = Codec::ALL.iter().position(|known| *known == encoding.codec);
    let codec = 1 + place.expect("all codecs are listed");
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
fn decode(file: &Bytes) -> Option<Option<Encoding>> {
    let (codec, count) = (*file.get(32)?, usize::from(*file.get(33)?));
    let end = 34 + 32 * count;
    let bases = file.get(34..end)?.as_chunks::<32>().0;
    let payload = file.slice(end..);
    let found = match codec.checked_sub(1) {
        None => None,
        Some(place) => Some(Encoding {
            codec: *Codec::ALL.get(usize::from(place))?,
            bases: bases.iter().map(|hash| ChunkId::from_bytes(*hash)).collect(),
            payload: Payload::Held(payload.clone()),
        }),
    };
    (file.get(..32)? == sum(&head(found.as_ref()), &payload).as_bytes()).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let (codec, bases) = (Codec::ZstdPrefix, vec![ChunkId::of(b"base")]);
        let held = Payload::Held(payload.clone());
        encodings.put(key, Some(Encoding { codec, bases: bases.clone(), payload: held }));
        let found = encodings.get(key).unwrap().unwrap();
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

    fn encoding(len: usize) -> Encoding {
        let payload = Payload::Held(vec![7; len].into());
        Encoding { codec: Codec::Xz, bases: vec![], payload }
    }

    #[test]
    fn that_a_stream_travels_as_it_is_is_remembered_without_its_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let encodings = Encodings::open(folder).unwrap();
        assert!(encodings.put(ChunkId::of(b"noise"), None).is_none());
        assert!(matches!(encodings.get(ChunkId::of(b"noise")), Some(None)));
    }

    #[test]
    fn the_least_lately_used_are_trimmed_and_none_of_this_run() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let encodings = Encodings { folder, keep_bytes: 2500 };
        let keys = [b"a", b"b", b"c"].map(|name| ChunkId::of(name));
        let held = |encodings: &Encodings| keys.map(|key| encodings.path(key).exists());
        let began = SystemTime::now();
        for (age, key) in (1..).zip(keys) {
            encodings.put(key, Some(encoding(1000)));
            let file = File::open(encodings.path(key)).unwrap();
            file.set_modified(began - Duration::from_secs(60 * age)).unwrap();
        }
        encodings.get(keys[2]);
        encodings.trim(began).unwrap();
        assert_eq!(held(&encodings), [true, false, true], "c was used since");
        encodings.get(keys[0]);
        let small = Encodings { keep_bytes: 0, ..encodings };
        small.trim(began).unwrap();
        assert_eq!(held(&small), [true, false, true]);
        small.trim(SystemTime::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(held(&small), [false; 3]);
    }

    #[test]
    fn more_encodings_are_at_hand_than_a_process_may_map_files() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let encodings = Encodings::open(folder).unwrap();
        encodings.put(ChunkId::of(b"key"), Some(encoding(5000)));
        let get = |_| encodings.get(ChunkId::of(b"key")).flatten();
        let many: Vec<Encoding> = (0..70_000).map_while(get).collect();
        assert_eq!(many.len(), 70_000);
        assert_eq!(many.last().unwrap().payload.bytes().unwrap(), [7; 5000][..]);
    }
}
