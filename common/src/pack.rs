//! Writes frames into encrypted packs, and reads a frame back from wherever it stands.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
};

use age::stream::{StreamReader, StreamWriter};
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{
    ChunkId, Digest,
    envelope::{FileRef, PackRef, pack_path},
    pack::{FRAME_HEAD_LEN_BYTES, FrameHead, PACK_HEAD, PackError},
};

use crate::{
    durable::{self, DurableError, DurableFile, at},
    encode::{self, DecodeError},
    hashing::HashingWriter,
    keys::Identity,
    rebuild::Chunks,
    seal::{self, Recipients, SealError},
    store,
};

/// Why a pack cannot be written. A fault of this machine.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Why a frame cannot be read: the pack is damaged or forged.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("pack {0} cannot be opened with this site's key")]
    Open(u32, #[source] age::DecryptError),
    #[error("pack {0} ends early or is damaged")]
    Io(u32, #[source] io::Error),
    #[error("pack {0} is not understood")]
    Pack(u32, #[source] PackError),
    #[error("pack {0} is damaged")]
    Decode(u32, #[source] DecodeError),
    #[error("pack {pack} has chunk {found} where {wanted} should be")]
    OtherChunk { pack: u32, wanted: ChunkId, found: ChunkId },
}

/// Writes the packs of one volume, each closed at about `target_bytes` of frames.
pub struct PackWriter<'a> {
    folder: &'a Utf8Path,
    volume: u32,
    recipients: &'a Recipients,
    target_bytes: u64,
    open: Option<OpenPack>,
    done: Vec<PackRef>,
}

struct OpenPack {
    stream: StreamWriter<HashingWriter<BufWriter<DurableFile>>>,
    index: u32,
    len_bytes: u64,
}

impl<'a> PackWriter<'a> {
    /// Writes below `folder`, which is the folder of the export.
    pub fn new(
        folder: &'a Utf8Path,
        volume: u32,
        recipients: &'a Recipients,
        target_bytes: u64,
    ) -> Self {
        Self { folder, volume, recipients, target_bytes, open: None, done: vec![] }
    }

    /// Appends a frame; the pack's number and the frame's offset in its plain bytes.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: the disk failed or is full.
    pub fn append(&mut self, head: &FrameHead, stored: &[u8]) -> Result<(u32, u64), WriteError> {
        if self.open.as_ref().is_some_and(|open| self.target_bytes <= open.len_bytes) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let open = self.open.as_mut().expect("it was opened above");
        let place = (open.index, open.len_bytes);
        let written =
            open.stream.write_all(&head.encode()).and_then(|()| open.stream.write_all(stored));
        written.map_err(at("write pack in", self.folder))?;
        open.len_bytes += (FRAME_HEAD_LEN_BYTES + stored.len()) as u64;
        Ok(place)
    }

    /// Closes the last pack; all packs that were written.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn finish(mut self) -> Result<Vec<PackRef>, WriteError> {
        self.close()?;
        Ok(self.done)
    }

    fn begin(&self) -> Result<OpenPack, WriteError> {
        let index = u32::try_from(self.done.len()).expect("fewer than 2^32 packs") + 1;
        let path = self.folder.join(pack_path(self.volume, index));
        let parent = path.parent().expect("a pack lies in its volume");
        durable::create_folders(parent)?;
        let file = BufWriter::with_capacity(256 << 10, DurableFile::create_in(parent)?);
        let mut stream = self.recipients.encrypt(HashingWriter::new(file))?;
        stream.write_all(&PACK_HEAD).map_err(at("write", &path))?;
        Ok(OpenPack { stream, index, len_bytes: PACK_HEAD.len() as u64 })
    }

    fn close(&mut self) -> Result<(), WriteError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let path = self.folder.join(pack_path(self.volume, open.index));
        let hashing = open.stream.finish().map_err(at("write", &path))?;
        let (buffered, sha256, bytes) = hashing.finish();
        let file = buffered.into_inner().map_err(io::IntoInnerError::into_error);
        file.map_err(at("write", &path))?.finish(&path)?;
        self.done.push(PackRef { index: open.index, file: FileRef { bytes, sha256 } });
        Ok(())
    }
}

/// Packs and encrypts a document into `path`; its length and digest.
///
/// # Errors
///
/// [`WriteError`].
pub fn write_sealed(
    path: &Utf8Path,
    bytes: &[u8],
    recipients: &Recipients,
) -> Result<FileRef, WriteError> {
    let packed = zstd::bulk::compress(bytes, DOCUMENT_ZSTD_LEVEL).map_err(at("pack", path))?;
    let mut sealed = Vec::new();
    let mut stream = recipients.encrypt(&mut sealed)?;
    let written = stream.write_all(&packed).and_then(|()| stream.finish().map(|_| ()));
    written.map_err(at("encrypt", path))?;
    durable::write(path, &sealed)?;
    Ok(FileRef { bytes: sealed.len() as u64, sha256: Digest::of(&sealed) })
}

/// A manifest of a million artifacts takes some seconds at this level.
const DOCUMENT_ZSTD_LEVEL: i32 = 12;

/// Why a sealed document was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("it cannot be decrypted with this identity")]
    Sealed(#[from] age::DecryptError),
    #[error("it cannot be unpacked, or is longer than {max_bytes} bytes")]
    Packed { max_bytes: u64, source: io::Error },
}

impl OpenError {
    /// The error of the disk that the document lies on; none when the document is to blame.
    pub fn into_fault(self) -> Result<io::Error, Self> {
        match self {
            Self::Sealed(age::DecryptError::Io(error)) if error.raw_os_error().is_some() => {
                Ok(error)
            }
            Self::Packed { source, .. } if source.raw_os_error().is_some() => Ok(source),
            other => Err(other),
        }
    }
}

/// Opens a document of [`write_sealed`], of at most `max_bytes`.
///
/// # Errors
///
/// [`OpenError`]: it is not for this identity, or was written wrong.
pub fn read_sealed(
    from: impl Read,
    identity: &Identity,
    max_bytes: u64,
) -> Result<Vec<u8>, OpenError> {
    let opened = seal::decrypt(from, identity)?;
    let plain = zstd::stream::read::Decoder::new(opened);
    let read = plain.and_then(|plain| store::read_limited(plain, max_bytes));
    read.map_err(|source| OpenError::Packed { max_bytes, source })
}

/// Reads frames out of staged packs; keeps one pack open.
pub struct PackReader<'a> {
    folder: Utf8PathBuf,
    identity: &'a Identity,
    open: Option<Open>,
}

/// A pack that is being read.
struct Open {
    pack: u32,
    /// Its plain bytes: age's reader does not take an offset beyond them.
    len_bytes: u64,
    stream: StreamReader<File>,
}

impl<'a> PackReader<'a> {
    /// Reads `pack-NNNNNN.age` files of `folder`.
    pub fn new(folder: impl Into<Utf8PathBuf>, identity: &'a Identity) -> Self {
        Self { folder: folder.into(), identity, open: None }
    }

    /// Memory is two chunks; frames in order cost no seek worth naming.
    fn read(&mut self, pack: u32, offset: u64, wanted: ChunkId) -> Result<Vec<u8>, ReadError> {
        let Open { len_bytes, stream, .. } = self.open_pack(pack)?;
        let failed = |e| ReadError::Io(pack, e);
        if *len_bytes < offset.saturating_add(FRAME_HEAD_LEN_BYTES as u64) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        stream.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut head = [0; FRAME_HEAD_LEN_BYTES];
        stream.read_exact(&mut head).map_err(failed)?;
        let head = FrameHead::decode(&head).map_err(|e| ReadError::Pack(pack, e))?;
        if head.chunk != wanted {
            return Err(ReadError::OtherChunk { pack, wanted, found: head.chunk });
        }
        let mut stored = vec![0; head.stored_len_bytes as usize];
        stream.read_exact(&mut stored).map_err(failed)?;
        encode::decode(&head, &stored).map_err(|e| ReadError::Decode(pack, e))
    }

    fn open_pack(&mut self, pack: u32) -> Result<&mut Open, ReadError> {
        if self.open.as_ref().is_none_or(|open| open.pack != pack) {
            let path = self.folder.join(staged_name(pack));
            let file = File::open(&path).map_err(|e| ReadError::Io(pack, e))?;
            let opened = seal::decrypt(file, self.identity);
            let mut stream = opened.map_err(|e| ReadError::Open(pack, e))?;
            let mut head = [0; PACK_HEAD.len()];
            stream.read_exact(&mut head).map_err(|e| ReadError::Io(pack, e))?;
            if head != PACK_HEAD {
                return Err(ReadError::Pack(pack, PackError::NotAPack));
            }
            let len_bytes = stream.seek(SeekFrom::End(0)).map_err(|e| ReadError::Io(pack, e))?;
            self.open = Some(Open { pack, len_bytes, stream });
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }
}

impl Chunks for PackReader<'_> {
    fn chunk(&mut self, pack: u32, offset: u64, wanted: ChunkId) -> Result<Vec<u8>, ReadError> {
        let chunk = self.read(pack, offset, wanted);
        if chunk.is_err() {
            // What age's reader holds after damage would spoil chunks that are whole.
            self.open = None;
        }
        chunk
    }
}

/// The name of a pack in the staging folder of the inside, whatever volume it came on.
pub fn staged_name(pack: u32) -> String {
    format!("pack-{pack:06}.age")
}

#[cfg(test)]
mod tests {
    use gapferry_proto::pack::Encoding;

    use super::*;

    struct Packs {
        _temp: tempfile::TempDir,
        folder: Utf8PathBuf,
        site: Identity,
        refs: Vec<PackRef>,
        places: Vec<(ChunkId, u32, u64)>,
    }

    /// Three chunks in packs that close after every frame but never before one.
    fn packs(target_bytes: u64) -> Packs {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        let site = Identity::generate();
        let recipients = Recipients::parse(&[site.recipient()]).unwrap();
        let mut writer = PackWriter::new(&folder, 1, &recipients, target_bytes);
        let mut places = vec![];
        for content in ["one", "two", "three"] {
            let id = ChunkId::of(content.as_bytes());
            let (head, stored) = encode::encode(id, content.as_bytes());
            let (pack, offset) = writer.append(&head, &stored).unwrap();
            places.push((id, pack, offset));
        }
        let refs = writer.finish().unwrap();
        Packs { _temp: temp, folder, site, refs, places }
    }

    #[test]
    fn every_chunk_is_found_where_it_was_put_in_any_order() {
        let packs = packs(1);
        assert_eq!(packs.refs.iter().map(|p| p.index).collect::<Vec<_>>(), [1, 2, 3]);
        let mut reader = PackReader::new(packs.folder.join("volume-001"), &packs.site);
        for &(id, pack, offset) in packs.places.iter().rev() {
            assert_eq!(ChunkId::of(&reader.chunk(pack, offset, id).unwrap()), id);
        }
    }

    #[test]
    fn a_pack_is_as_long_and_hashes_as_its_reference_says() {
        let packs = packs(1 << 20);
        let bytes = std::fs::read(packs.folder.join("volume-001/pack-000001.age")).unwrap();
        let file = FileRef { bytes: bytes.len() as u64, sha256: Digest::of(&bytes) };
        assert_eq!(packs.refs, [PackRef { index: 1, file }]);
    }

    #[test]
    fn an_offset_beyond_a_pack_is_refused_and_what_follows_is_read() {
        let packs = packs(1 << 20);
        let (id, pack, offset) = packs.places[2];
        let mut reader = PackReader::new(packs.folder.join("volume-001"), &packs.site);
        for beyond in [60_000, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX] {
            let failed = reader.chunk(pack, beyond, id).unwrap_err();
            let ReadError::Io(1, error) = failed else { panic!("{failed}") };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{beyond}");
        }
        assert_eq!(reader.chunk(pack, offset, id).unwrap(), b"three");
    }

    #[test]
    fn damage_in_one_part_of_a_pack_spoils_no_other_part() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        let site = Identity::generate();
        let recipients = Recipients::parse(&[site.recipient()]).unwrap();
        let mut writer = PackWriter::new(&folder, 1, &recipients, 1 << 20);
        // Each as long as one of age's own chunks of 64 KiB.
        let places = [1, 2, 3, 4].map(|byte| {
            let id = ChunkId::of(&[byte; 65_536]);
            let head = FrameHead {
                encoding: Encoding::Raw,
                len_bytes: 65_536,
                stored_len_bytes: 65_536,
                chunk: id,
            };
            (id, writer.append(&head, &[byte; 65_536]).unwrap())
        });
        writer.finish().unwrap();
        let path = folder.join("volume-001/pack-000001.age");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let mut reader = PackReader::new(folder.join("volume-001"), &site);
        let read = places.map(|(id, (pack, offset))| reader.chunk(pack, offset, id).is_ok());
        assert_eq!(read, [false, false, true, true], "the damage is where the first two meet");
    }

    #[test]
    fn another_chunk_another_key_and_a_damaged_pack_are_told_apart() {
        let packs = packs(1 << 20);
        let (id, pack, offset) = packs.places[1];
        let volume = packs.folder.join("volume-001");
        let mut reader = PackReader::new(&volume, &packs.site);
        let other = reader.chunk(pack, packs.places[0].2, id).unwrap_err();
        assert!(matches!(other, ReadError::OtherChunk { .. }), "{other}");

        let stranger = Identity::generate();
        let foreign = PackReader::new(&volume, &stranger).chunk(pack, offset, id).unwrap_err();
        assert!(matches!(foreign, ReadError::Open(1, _)), "{foreign}");

        let path = volume.join("pack-000001.age");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let damaged = PackReader::new(&volume, &packs.site).chunk(pack, offset, id).unwrap_err();
        assert!(matches!(damaged, ReadError::Io(1, _)), "{damaged}");
    }
}
