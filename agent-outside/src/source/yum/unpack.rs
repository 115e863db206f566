//! Opens the documents of a repository: gzip, xz, zstd or plain.
//!
//! In:   bytes that were checked against `repomd.xml`, how long they may become.
//! Out:  the plain document as a stream.
//! Pure; the plain document is never held whole.

use std::io::{self, BufRead, BufReader, Read};

use gapferry_proto::limits;

use crate::source::unpack::{self, Packing};

/// How much is unpacked at a time, in bytes.
const BLOCK_LEN_BYTES: usize = 128 << 10;

/// Opens a document of at most `plain_len_bytes_max` bytes.
///
/// # Errors
///
/// An I/O error, at once or while reading.
pub fn open<'a>(
    packing: Packing,
    bytes: &'a [u8],
    plain_len_bytes_max: u64,
) -> io::Result<impl BufRead + use<'a>> {
    let inner = unpack::reader(packing, bytes)?;
    let left = plain_len_bytes_max.min(limits::INDEX_PLAIN_LEN_BYTES_MAX);
    Ok(BufReader::with_capacity(BLOCK_LEN_BYTES, Bounded { inner, left }))
}

/// Ends a document that becomes longer than it may.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than it may")
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_document_unpacks_to_its_bound_and_not_beyond() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(b"<metadata/>").unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(b"<metadata/>").unwrap();
        for (name, bytes) in [
            ("a/primary.xml", b"<metadata/>".to_vec()),
            ("a/primary.xml.gz", gz.finish().unwrap()),
            ("a/primary.xml.xz", xz.finish().unwrap()),
            ("a/primary.xml.zst", zstd::encode_all(&b"<metadata/>"[..], 3).unwrap()),
        ] {
            let packing = Packing::of_name(name).unwrap();
            let read = |max| {
                let mut text = String::new();
                open(packing, &bytes, max)
                    .and_then(|mut r| r.read_to_string(&mut text))
                    .map(|_| text)
            };
            assert_eq!(read(11).unwrap(), "<metadata/>", "{name}");
            assert!(read(10).is_err(), "{name}");
        }
        for name in ["a/primary.xml.bz2", "primary.sqlite.xz/..", "primary.xml.zck", "primary"] {
            assert_eq!(Packing::of_name(name), None, "{name}");
        }
        let mut junk = Vec::new();
        let mut opened = open(Packing::Gzip, b"junk", 100).unwrap();
        assert!(opened.read_to_end(&mut junk).is_err());
    }
}
