//! Inflates raw deflate streams (RFC 1951) and makes them again bit for bit.
//!
//! In: slices. Out: the plain bytes; the name of the encoder that made a stream ([`identify`]);
//! or the stream made again ([`replay`]). A stream is made again by running the encoder that made
//! it, or, for encoders not at hand, by preflate with corrections. [`identify`] answers only with
//! what it has seen to give back every byte.
//!
//! The zlib here must be the stock C one: zlib-ng, zlib-rs and miniz make other bytes. `flate2`
//! takes its C backend as soon as its feature `zlib` is on, also when `zlib-rs` is on beside it;
//! `libz-sys` with `static` then builds the zlib that it carries. Only flate2's `zlib-ng`,
//! `zlib-ng-compat` and `cloudflare_zlib` must stay off; the golden streams in the tests would
//! show it.

mod go;
mod inflate;
mod ladder;
mod pigz;
mod preflate;
pub mod puff;
mod zlib;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};

pub use self::go::{GoDeflate, GoLevel};
pub use self::inflate::{InflateError, Inflated, inflate};
pub use self::pigz::Pigz;
pub use self::preflate::memory_bytes as preflate_memory_bytes;
use super::comparing::Comparing;
use crate::budget::Budget;

/// How to make a deflate stream again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// Stock zlib (1.2.13 and 1.3.2 agree): window 15, memory level 8, default strategy, level 1 to 9.
    Zlib { level: u8 },
    /// Go's `compress/flate` up to Go 1.26.
    Go { level: GoLevel },
    /// pigz: blocks of zlib, each with the end of the one before as its dictionary.
    Pigz(Pigz),
    /// preflate with corrections.
    Preflate,
}

/// What a gzip header says of the encoder: its XFL and OS bytes (RFC 1952, section 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hint {
    /// 2: slowest, 4: fastest.
    pub xfl: u8,
    /// 255: unknown, as Go and Python write; 3: Unix, as zlib, gzip and pigz write.
    pub os: u8,
}

/// Why a stream could not be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot make the deflate stream again")]
    Encode(#[source] io::Error),

    #[error("preflate takes at most {max_bytes} bytes of {what}, not {len_bytes}")]
    TooLong { what: &'static str, len_bytes: usize, max_bytes: usize },

    #[error("the corrections for preflate do not belong to these plain bytes")]
    Corrections,
}

impl Replay {
    /// The name that recipes carry.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// Reads a name; none when this build does not know the encoder.
    pub fn parse(id: &str) -> Option<Self> {
        let how = if id == preflate::ID {
            Self::Preflate
        } else if let Some(level) = id.strip_prefix("zlib-1.3/L") {
            Self::Zlib { level: zlib::level(level)? }
        } else if let Some(level) = id.strip_prefix("go-flate-1/L") {
            Self::Go { level: GoLevel::new(level.parse().ok()?)? }
        } else {
            Self::Pigz(Pigz::parse(id)?)
        };
        (how.id() == id).then_some(how)
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zlib { level } => write!(f, "zlib-1.3/L{level}"),
            Self::Go { level } => write!(f, "go-flate-1/L{}", level.number()),
            Self::Pigz(pigz) => write!(f, "{pigz}"),
            Self::Preflate => f.write_str(preflate::ID),
        }
    }
}

/// Finds out how the whole of `deflated`, the stream of `plain`, can be made again.
///
/// Runs the encoders over `plain`, the likeliest first, and stops each at its first wrong byte, so
/// that a wrong one costs a few hundred KiB of `plain` at most. Returns the corrections too, which
/// are empty unless the answer is [`Replay::Preflate`]. What preflate takes is part of `budget`.
pub fn identify(
    plain: &[u8],
    deflated: &[u8],
    hint: Option<Hint>,
    budget: &Budget,
) -> Option<(Replay, Vec<u8>)> {
    if let Some(how) = ladder::encoders(plain.len(), hint).find(|how| remakes(how, plain, deflated))
    {
        return Some((how, Vec::new()));
    }
    let _share = budget.take(preflate::memory_bytes(plain.len() as u64));
    preflate::corrections(plain, deflated).map(|corrections| (Replay::Preflate, corrections))
}

/// Makes the deflate stream of `plain` again and writes it to `out`.
///
/// `corrections` are those that [`identify`] returned; damaged ones, or ones for other plain bytes,
/// are refused before preflate runs, forged ones are not (see `preflate.rs`). The caller checks the digest of the result:
/// other bytes in give other bytes out, not an error.
pub fn replay(
    how: &Replay,
    plain: &[u8],
    corrections: &[u8],
    out: &mut dyn Write,
) -> Result<(), ReplayError> {
    match *how {
        Replay::Preflate => {
            let deflated = preflate::recreate(plain, corrections)?;
            out.write_all(&deflated)
        }
        Replay::Zlib { level } => zlib::deflate(level, plain, out),
        Replay::Go { level } => go_deflate(level, plain, out),
        Replay::Pigz(pigz) => pigz.deflate(plain, out),
    }
    .map_err(ReplayError::Encode)
}

fn go_deflate(level: GoLevel, plain: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = GoDeflate::new(out, level);
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}

fn remakes(how: &Replay, plain: &[u8], deflated: &[u8]) -> bool {
    let mut comparing = Comparing::new(deflated);
    replay(how, plain, &[], &mut comparing).is_ok() && comparing.is_complete()
}
