//! Deflates bit for bit as Go's `compress/flate` does.
//!
//! In:   a plain stream and a [`GoLevel`].
//! Out:  the deflate stream (RFC 1951) that a Go `flate.Writer` makes of it, up to `Close`.
//!
//! Layers of container images are mostly made by Go programs, so this stream, not any valid
//! one, is what a blob is rebuilt from.
//!
//! # Which releases of Go
//!
//! Go 1.15 to 1.26; Go 1.27 has another encoder. Go 1.7 to 1.14 differ in two rare cases, both
//! at level 1:
//!
//! * after 1 GiB they forget the block before; since then this is at 2 GiB, and nothing in
//!   reach is forgotten;
//! * a block with hardly any copies is weighed with a count left over from an earlier block,
//!   and may be stored where it now is coded, or the other way.
//!
//! # Which calls of `Write`
//!
//! At level 1 the sizes of the writes do not matter. At levels 2 to 9 they do, very seldom: the
//! window moves when 262 or fewer of its 65536 bytes are still to be matched. When exactly 262
//! are, it moves at once if a write ended before it was full, and else one token later, which
//! matters if that token is a copy from more than 32506 bytes back.
//!
//! What is made here, in whatever pieces the bytes come, is the stream of one long write. It is
//! also that of any writes that end at multiples of 512 bytes. For others,
//! [`GoDeflate::end_write`] tells where the writes of the original ended.

mod bits;
mod block;
mod chains;
mod fast;
mod header;
mod huffman;
mod matching;
#[cfg(test)]
mod tests;
mod token;

use std::io;

use block::BlockWriter;
use chains::{Chains, Effort, Strategy};
use fast::Fast;

/// A level of Go's encoder, 1 to 9.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GoLevel(u8);

impl GoLevel {
    /// What Go calls `BestSpeed`.
    pub const BEST_SPEED: Self = Self(1);
    /// What Go calls `DefaultCompression`, and writes -1.
    pub const DEFAULT: Self = Self(6);
    /// What Go calls `BestCompression`.
    pub const BEST_COMPRESSION: Self = Self(9);

    /// Makes a level of 1 to 9.
    pub fn new(level: u8) -> Option<Self> {
        (1..=9).contains(&level).then_some(Self(level))
    }

    /// The number of this level.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// A writer that deflates as Go does.
///
/// Holds a bounded amount of memory, whatever the stream: about 1 MiB at levels 2 to 9, and
/// 768 KiB at level 1. `out` gets pieces of 32 KiB and more.
///
/// # Errors
///
/// Those of `out` alone. After one, every further call fails too.
#[derive(Debug)]
pub struct GoDeflate<W: io::Write> {
    matcher: Matcher,
    out: BlockWriter<W>,
    failed: bool,
}

#[derive(Debug)]
enum Matcher {
    Fast(Fast),
    Chains(Chains),
}

impl<W: io::Write> GoDeflate<W> {
    /// Starts a stream.
    pub fn new(out: W, level: GoLevel) -> Self {
        let matcher = match effort(level) {
            None => Matcher::Fast(Fast::new()),
            Some(effort) => Matcher::Chains(Chains::new(effort)),
        };
        Self { matcher, out: BlockWriter::new(out), failed: false }
    }

    /// Marks that a call of `Write` ended here in the original.
    ///
    /// Needed only to reproduce a stream whose writes did not end at multiples of 512 bytes,
    /// and then for each of them; see the head of this module.
    pub fn end_write(&mut self) {
        if let Matcher::Chains(chains) = &mut self.matcher {
            chains.end_write();
        }
    }

    /// Ends the stream and returns what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.check()?;
        match &mut self.matcher {
            Matcher::Fast(fast) => fast.finish(&mut self.out)?,
            Matcher::Chains(chains) => chains.finish(&mut self.out)?,
        }
        self.out.finish()
    }

    fn check(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write of this deflate stream failed"));
        }
        Ok(())
    }
}

impl<W: io::Write> io::Write for GoDeflate<W> {
    /// Takes all of `plain`.
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.check()?;
        let written = match &mut self.matcher {
            Matcher::Fast(fast) => fast.write(plain, &mut self.out),
            Matcher::Chains(chains) => chains.write(plain, &mut self.out),
        };
        self.failed = written.is_err();
        written.map(|()| plain.len())
    }

    /// Flushes `out` only: what is still to be deflated stays here, or the stream would differ.
    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.out.flush_out()
    }
}

/// How hard each level tries; level 1 goes its own way.
fn effort(level: GoLevel) -> Option<Effort> {
    let greedy = |entered_max, nice, tries| Effort {
        strategy: Strategy::Greedy { entered_max },
        nice,
        tries,
    };
    let lazy =
        |good_enough, nice, tries| Effort { strategy: Strategy::Lazy { good_enough }, nice, tries };
    match level.number() {
        2 => Some(greedy(5, 16, 8)),
        3 => Some(greedy(6, 32, 32)),
        4 => Some(lazy(4, 16, 16)),
        5 => Some(lazy(16, 32, 32)),
        6 => Some(lazy(16, 128, 128)),
        7 => Some(lazy(32, 128, 256)),
        8 => Some(lazy(128, 258, 1024)),
        9 => Some(lazy(258, 258, 4096)),
        _ => None,
    }
}
