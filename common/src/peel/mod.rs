//! Peels a blob into its plain streams, and reseals it bit for bit.
//!
//! Nearly every artifact is compressed, so that equal content has unequal bytes. Here a blob is
//! opened: gzip, xz, zip, ar, tar, cpio and rpm, to depth four. [`opener`] finds what lies where,
//! [`pool`] writes down everything that is no large member, [`identify`] finds the encoder that
//! gives each compressed stream again, and [`reseal`] runs it.
//!
//! What is found depends on the bytes of the blob and on nothing else, since both agents must
//! find the same. `FORMAT.md`, section 10.

pub mod anatomy;
pub mod ar;
pub mod bases;
mod comparing;
pub mod cpio;
pub mod deflate;
pub mod encoder;
pub mod gzip;
pub mod identify;
pub mod member;
mod opened;
pub mod opener;
pub mod pool;
pub mod reseal;
pub mod rpm;
#[cfg(test)]
mod sample;
pub mod tar;
#[cfg(test)]
mod tests;
pub mod xz;
pub mod zip;

use gapferry_proto::recipe::Codec;
pub use opened::{Opened, PeelError};

/// The names of the recipe nodes and encoders that this build can follow, for cards and
/// inventories.
pub fn codecs() -> Vec<String> {
    let nodes = ["blob", "concat", "bytes", "view-1", "reseal-1"];
    let coded = Codec::ALL.iter().map(|codec| codec.id());
    nodes.into_iter().chain(coded).chain(encoder::FAMILIES).map(str::to_owned).collect()
}
