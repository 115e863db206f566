//! Unpacks the documents of repositories: gzip, xz, zstd or plain.
//!
//! In:   bytes, and how they are packed.
//! Out:  the plain bytes as a stream without end: whoever reads says how much is too much.

use std::io::{self, Read};

use gapferry_proto::limits;

/// How a document is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    /// The packing that a file name says; `None` for one that is not read (bzip2, zchunk).
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next().unwrap_or(name);
        match name.rsplit_once('.')?.1 {
            "xml" | "yaml" => Some(Self::Plain),
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A reader of the plain bytes. Memory: at most what `limits` allow for an index.
///
/// # Errors
///
/// When the decoder cannot be made; what is damaged shows while reading.
pub fn reader(packing: Packing, bytes: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match packing {
        Packing::Plain => Box::new(bytes),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Packing::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                limits::INDEX_UNPACK_MEMORY_BYTES_MAX,
                liblzma::stream::CONCATENATED,
            )?;
            Box::new(liblzma::read::XzDecoder::new_stream(bytes, stream))
        }
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX - 1)?;
            Box::new(decoder)
        }
    })
}
