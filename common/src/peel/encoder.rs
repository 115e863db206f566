//! The encoders that give a coded stream again, and their names in recipes.
//!
//! A further encoder is a row here and a file in `deflate/` or beside it. Names are versioned:
//! what an encoder writes never changes under its name.

use std::io::Write;

use super::{
    deflate::{self, Replay, puff},
    xz::{self, XzReplay},
};
use crate::fault;

/// How names of encoders begin, for cards and inventories: what stands before the first `/`.
pub const FAMILIES: [&str; 6] =
    ["zlib-1.3", "go-flate-1", "pigz-1", "preflate-0.7.6", "puff-1", "liblzma-5.8"];

/// The name of [`Encoder::Puff`].
const PUFF: &str = "puff-1";

/// Makes a coded stream of its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encoder {
    /// Runs a deflate encoder over plain bytes.
    Deflate(Replay),
    /// Runs liblzma over plain bytes.
    Xz(XzReplay),
    /// Does the Huffman coding of puffed bytes.
    Puff,
}

/// Why a stream was not made again.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error(transparent)]
    Deflate(#[from] deflate::ReplayError),
    #[error(transparent)]
    Xz(#[from] xz::XzReplayError),
    #[error(transparent)]
    Puff(#[from] puff::UnpuffError),
}

impl Encoder {
    /// The name in recipes.
    pub fn id(&self) -> String {
        match self {
            Self::Deflate(replay) => replay.id(),
            Self::Xz(replay) => replay.id(),
            Self::Puff => PUFF.to_owned(),
        }
    }

    /// The encoder of that name; none when this build has no such one.
    pub fn parse(id: &str) -> Option<Self> {
        if id == PUFF {
            return Some(Self::Puff);
        }
        Replay::parse(id).map(Self::Deflate).or_else(|| XzReplay::parse(id).map(Self::Xz))
    }

    /// The family of an encoder's name.
    pub fn family(id: &str) -> &str {
        id.split('/').next().unwrap_or(id)
    }

    /// Whether it takes corrections beside the plain bytes.
    pub const fn takes_corrections(&self) -> bool {
        matches!(self, Self::Deflate(Replay::Preflate))
    }

    /// Memory that making a stream takes, besides mapped files.
    pub fn memory_bytes(&self, content_len_bytes: u64) -> u64 {
        match self {
            Self::Deflate(Replay::Preflate) => deflate::preflate_memory_bytes(content_len_bytes),
            // Blocks are made one by one, and written when they are whole.
            Self::Deflate(Replay::Pigz(pigz)) => 2 * u64::from(pigz.block_len_bytes) + (4 << 20),
            Self::Deflate(_) | Self::Puff => 4 << 20,
            Self::Xz(replay) => replay.memory_bytes(),
        }
    }

    /// Makes the coded stream of `content`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: the writer failed, or corrections or puffed bytes are damaged.
    pub fn encode(
        &self,
        content: &[u8],
        corrections: &[u8],
        out: &mut dyn Write,
    ) -> Result<(), EncodeError> {
        fault::through(Self::family(&self.id()), out, |out| {
            match self {
                Self::Deflate(replay) => deflate::replay(replay, content, corrections, out)?,
                Self::Xz(replay) => xz::replay(replay, content, out)?,
                Self::Puff => {
                    puff::unpuff(content, out)?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_belongs_to_a_family_that_is_announced() {
        for id in ["zlib-1.3/L6", "go-flate-1/L1", "preflate-0.7.6", "puff-1"] {
            assert_eq!(Encoder::parse(id).unwrap().id(), id);
            assert!(FAMILIES.contains(&Encoder::family(id)), "{id}");
        }
        for id in ["", "zlib-1.4/L6", "go-flate-1/L0", "zlib-1.3/L6x", "puff-2"] {
            assert_eq!(Encoder::parse(id), None, "{id}");
        }
    }
}
