//! How documents are packed: gzip for what is written, and what upstreams use for what is read.
//!
//! Pure: the same bytes give the same bytes every day.

use std::io::{self, Read, Write as _};

use gapferry_common::limit::LimitReader;
use gapferry_proto::limits;

/// Compresses without name and time, so that the same bytes come out every day.
pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(9));
    encoder.write_all(plain).expect("writing to a Vec does not fail");
    encoder.finish().expect("writing to a Vec does not fail")
}

/// Compresses as `createrepo_c` does where it uses zstd.
pub fn zstd(plain: &[u8]) -> Vec<u8> {
    const LEVEL: i32 = 10;
    zstd::bulk::compress(plain, LEVEL).expect("memory takes all")
}

/// How a document is packed, by its first bytes; none when it is plain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Packing {
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let begins =
            |(begin, packing): &(&[u8], Self)| bytes.starts_with(begin).then_some(*packing);
        [(GZIP, Self::Gzip), (XZ, Self::Xz), (ZSTD, Self::Zstd)].iter().find_map(begins)
    }
}

const GZIP: &[u8] = b"\x1f\x8b";
const XZ: &[u8] = b"\xfd7zXZ\0";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// The plain form of a document, by its first bytes: gzip, xz, zstd, or plain already.
///
/// # Errors
///
/// It is damaged, or its plain form has more than `len_bytes_max` bytes.
pub fn unpacked(bytes: &[u8], len_bytes_max: u64) -> io::Result<Vec<u8>> {
    let reader: Box<dyn Read + '_> = match Packing::of(bytes) {
        Some(Packing::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Some(Packing::Xz) => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                limits::INDEX_UNPACK_MEMORY_BYTES_MAX,
                liblzma::stream::CONCATENATED,
            )?;
            Box::new(liblzma::read::XzDecoder::new_stream(bytes, stream))
        }
        Some(Packing::Zstd) => {
            let mut decoder = zstd::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX - 1)?;
            Box::new(decoder)
        }
        None => Box::new(bytes),
    };
    let mut plain = Vec::new();
    LimitReader::new(reader, len_bytes_max).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_unpacked_to_its_bound_and_not_beyond() {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(b"<comps/>").unwrap();
        for packed in
            [b"<comps/>".to_vec(), gzip(b"<comps/>"), xz.finish().unwrap(), zstd(b"<comps/>")]
        {
            assert_eq!(unpacked(&packed, 8).unwrap(), b"<comps/>");
            assert!(unpacked(&packed, 7).is_err());
        }
        assert!(unpacked(b"\x1f\x8bjunk", 100).is_err());
        assert_eq!(unpacked(b"", 0).unwrap(), b"");
    }

    #[test]
    fn a_gzip_has_no_time() {
        assert_eq!(gzip(b"x")[4..8], [0; 4]);
    }
}
