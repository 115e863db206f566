//! A codec that goes wrong, for tests of what happens then.
//!
//! In a build with debug assertions the codec or encoder that `GAPFERRY_FAULT` names writes one
//! wrong byte wherever it is followed, in a rehearsal as in an import. A release build has
//! nothing of it.

use std::io::{self, Write};

/// Calls `write` with `out`, spoilt when `codec` is the one that shall go wrong.
///
/// # Errors
///
/// The error of `write`.
pub fn through<E>(
    codec: &str,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    if cfg!(debug_assertions) && std::env::var("GAPFERRY_FAULT").is_ok_and(|named| named == codec) {
        return write(&mut Spoilt { out, is_spoilt: false });
    }
    write(out)
}

/// Flips one bit of the first byte.
struct Spoilt<'a> {
    out: &'a mut dyn Write,
    is_spoilt: bool,
}

impl Write for Spoilt<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match buf.first() {
            Some(first) if !self.is_spoilt => {
                self.out.write_all(&[first ^ 1])?;
                self.is_spoilt = true;
                Ok(1)
            }
            _ => self.out.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
