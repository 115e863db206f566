//! Scratch space: streams that are too long for memory, in files without a name.
//!
//! What is written comes back as [`Bytes`]. The space is given back when the last slice is
//! dropped, by the kernel also after a kill. All files of one [`Scratch`] together stay within
//! its limit. Short streams stay in memory, as many as a small allowance holds.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    durable::{self, DurableError},
    map,
};

/// Streams up to this length stay in memory: a wheel has thousands of them, one after the other.
const MEMORY_LEN_BYTES_MAX: usize = 1 << 20;

/// Finished streams in memory together: 48 MiB. The rest goes into files.
const MEMORY_TOTAL_BYTES_MAX: u64 = 48 << 20;

/// Whether an error means that scratch space, the disk that it is on, or the number of mappings
/// that a process may have is used up: what others at work hold may be missing.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, QuotaExceeded, StorageFull};
    matches!(error.kind(), QuotaExceeded | StorageFull | OutOfMemory)
}

/// Whether an error is a limit of this machine's settings, which another try meets again, and not
/// that of a disk.
pub fn is_limit(error: &io::Error) -> bool {
    let is_own = error.kind() == io::ErrorKind::QuotaExceeded && error.raw_os_error().is_none();
    is_own || error.kind() == io::ErrorKind::OutOfMemory
}

/// A folder for scratch files, with a limit on their bytes.
#[derive(Clone, Debug)]
pub struct Scratch {
    folder: Utf8PathBuf,
    space: Arc<Space>,
}

#[derive(Debug)]
struct Space {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    memory_bytes: AtomicU64,
}

impl Scratch {
    /// Uses `folder`, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the folder cannot be made.
    pub fn new(folder: &Utf8Path, limit_bytes: u64) -> Result<Self, DurableError> {
        durable::create_folders(folder)?;
        let space = Arc::new(Space {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
        });
        Ok(Self { folder: folder.to_owned(), space })
    }

    /// Bytes in scratch files now.
    pub fn used_bytes(&self) -> u64 {
        self.space.used_bytes.load(Ordering::Relaxed)
    }

    /// Starts a stream.
    pub fn writer(&self) -> ScratchWriter {
        ScratchWriter { scratch: self.clone(), memory: vec![], file: None, len_bytes: 0 }
    }

    /// Writes a whole stream by `write`.
    ///
    /// # Errors
    ///
    /// The error of `write`, or of the disk.
    pub fn stream<E: From<io::Error>>(
        &self,
        write: impl FnOnce(&mut ScratchWriter) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        let mut writer = self.writer();
        write(&mut writer)?;
        Ok(writer.finish()?)
    }

    /// One stream after the other; a single one is not copied.
    ///
    /// # Errors
    ///
    /// The error of the disk.
    pub fn joined(&self, streams: &[Bytes]) -> io::Result<Bytes> {
        match streams {
            [] => Ok(Bytes::new()),
            [one] => Ok(one.clone()),
            several => self.stream(|to| several.iter().try_for_each(|stream| to.write_all(stream))),
        }
    }
}

/// A stream that grows in memory first and in a file later.
#[derive(Debug)]
pub struct ScratchWriter {
    scratch: Scratch,
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
    len_bytes: u64,
}

impl ScratchWriter {
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The stream as it was written.
    ///
    /// # Errors
    ///
    /// The error of the disk.
    pub fn finish(mut self) -> io::Result<Bytes> {
        let len_bytes = self.memory.len() as u64;
        if self.file.is_none() && self.scratch.space.take_memory(len_bytes) {
            let bytes = Bytes::from(std::mem::take(&mut self.memory));
            let space = Arc::clone(&self.scratch.space);
            return Ok(Bytes::from_owner(Held { bytes, space, len_bytes, is_file: false }));
        }
        if self.file.is_none() {
            self.begin_file()?;
        }
        let file = self.file.take().expect("it was begun above");
        // From here on what is held gives the space back and no longer this writer.
        let len_bytes = std::mem::take(&mut self.len_bytes);
        let space = Arc::clone(&self.scratch.space);
        let mut held = Held { bytes: Bytes::new(), space, len_bytes, is_file: true };
        held.bytes = map::map(&file.into_inner().map_err(io::IntoInnerError::into_error)?)?;
        Ok(Bytes::from_owner(held))
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let file = tempfile::tempfile_in(&self.scratch.folder)?;
        let writer = BufWriter::with_capacity(MEMORY_LEN_BYTES_MAX / 4, file);
        self.scratch.space.take(self.memory.len() as u64)?;
        // From here on dropping this writer gives the space back.
        let memory = std::mem::take(&mut self.memory);
        self.file.insert(writer).write_all(&memory)
    }
}

impl Write for ScratchWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_all(buf)?;
        Ok(buf.len())
    }

    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + buf.len() <= MEMORY_LEN_BYTES_MAX {
            self.memory.extend_from_slice(buf);
            self.len_bytes += buf.len() as u64;
            return Ok(());
        }
        if self.file.is_none() {
            self.begin_file()?;
        }
        self.scratch.space.take(buf.len() as u64)?;
        self.len_bytes += buf.len() as u64;
        self.file.as_mut().expect("it was begun above").write_all(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ScratchWriter {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.scratch.space.give_back(self.len_bytes);
        }
    }
}

/// A finished stream, which gives its space back.
struct Held {
    bytes: Bytes,
    space: Arc<Space>,
    len_bytes: u64,
    is_file: bool,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_file {
            self.space.give_back(self.len_bytes);
        } else {
            self.space.memory_bytes.fetch_sub(self.len_bytes, Ordering::Relaxed);
        }
    }
}

impl Space {
    fn take(&self, len_bytes: u64) -> io::Result<()> {
        let used = self.used_bytes.fetch_add(len_bytes, Ordering::Relaxed) + len_bytes;
        if self.limit_bytes < used {
            self.give_back(len_bytes);
            let what = format!("scratch space of {} bytes is used up", self.limit_bytes);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        }
        Ok(())
    }

    /// Whether a stream of that length may stay in memory.
    fn take_memory(&self, len_bytes: u64) -> bool {
        let used = self.memory_bytes.fetch_add(len_bytes, Ordering::Relaxed) + len_bytes;
        if MEMORY_TOTAL_BYTES_MAX < used {
            self.memory_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn give_back(&self, len_bytes: u64) {
        self.used_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(limit_bytes: u64) -> (tempfile::TempDir, Scratch) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temp.path()).unwrap().join("scratch");
        let scratch = Scratch::new(&folder, limit_bytes).unwrap();
        (temp, scratch)
    }

    fn write(scratch: &Scratch, bytes: &[u8]) -> io::Result<Bytes> {
        scratch.stream(|to| bytes.chunks(100_000).try_for_each(|piece| to.write_all(piece)))
    }

    #[test]
    fn a_stream_comes_back_whole_from_memory_and_from_a_file() {
        let (_temp, scratch) = scratch(8 << 20);
        for len in [0, 1, MEMORY_LEN_BYTES_MAX, MEMORY_LEN_BYTES_MAX + 1, 3 << 20] {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            assert_eq!(write(&scratch, &bytes).unwrap(), bytes);
        }
        assert_eq!(scratch.used_bytes(), 0, "all of it was dropped");
    }

    #[test]
    fn short_streams_go_into_files_when_memory_has_its_share() {
        let (_temp, scratch) = scratch(1 << 30);
        let short = vec![1; MEMORY_LEN_BYTES_MAX];
        let held: Vec<_> = (0..60).map(|_| write(&scratch, &short).unwrap()).collect();
        assert_eq!(scratch.used_bytes(), 12 << 20, "48 of 60 MiB are in memory");
        assert!(held.iter().all(|bytes| *bytes == short));
        drop(held);
        assert_eq!(scratch.used_bytes(), 0);
        assert_eq!(scratch.space.memory_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_limit_holds_for_all_files_together_and_space_comes_back() {
        let (temp, scratch) = scratch(5 << 20);
        let long = vec![7; 3 << 20];
        let held = write(&scratch, &long).unwrap();
        assert_eq!(scratch.used_bytes(), 3 << 20);
        let full = write(&scratch, &long).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
        let slice = held.slice(1..2);
        drop(held);
        assert_eq!(scratch.used_bytes(), 3 << 20, "a slice still needs it");
        drop(slice);
        assert!(write(&scratch, &long).is_ok());
        assert_eq!(scratch.used_bytes(), 0);
        assert_eq!(std::fs::read_dir(temp.path().join("scratch")).unwrap().count(), 0);
    }
}
