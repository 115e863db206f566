//! Decodes one coded stream into scratch space, within its bounds.

use std::io;

use bytes::Bytes;

use super::{Found, Opener, most_plain_bytes};
use crate::{
    peel::{anatomy::Coding, deflate, xz},
    scratch::ScratchWriter,
};

/// Memory that unpacking xz may take when a blob is opened: 128 MiB, as `xz -9` needs 65.
const XZ_MEMORY_BYTES: u64 = 128 << 20;

/// A coded stream that was decoded.
pub(super) struct Unsealed {
    pub plain: Bytes,
    pub sealed_len_bytes: u64,
    pub crc32: u32,
}

/// Why a coded stream stays closed.
enum Closed {
    Invalid,
    Bomb,
    Scratch(io::Error),
}

impl Opener<'_> {
    /// Decodes into scratch space; none when it is not valid or expands too far.
    pub(super) fn unseal(&mut self, found: Found, coded: &Bytes) -> io::Result<Option<Unsealed>> {
        let most = most_plain_bytes(coded.len() as u64).min(self.left_bytes);
        let mut to = self.scratch.writer();
        let decoded = match found.coding {
            Coding::Deflate => decoded_deflate(coded, most, &mut to),
            Coding::Xz => {
                // Any block may have a larger dictionary than the first.
                let _share = self.budget.take(XZ_MEMORY_BYTES);
                decoded_xz(coded, most, &mut to)
            }
            Coding::Identity => unreachable!("identity is not decoded"),
        };
        self.left_bytes -= to.len_bytes();
        let (sealed_len_bytes, crc32) = match decoded {
            Ok(taken) => taken,
            Err(Closed::Invalid) => return Ok(None),
            Err(Closed::Bomb) => {
                self.note("expands further than it may", found.offset);
                return Ok(None);
            }
            Err(Closed::Scratch(e)) => return Err(e),
        };
        if most_plain_bytes(sealed_len_bytes) < to.len_bytes() {
            self.note("expands further than it may", found.offset);
            return Ok(None);
        }
        Ok(Some(Unsealed { plain: to.finish()?, sealed_len_bytes, crc32 }))
    }
}

fn decoded_deflate(coded: &[u8], most: u64, to: &mut ScratchWriter) -> Result<(u64, u32), Closed> {
    match deflate::inflate(coded, most, to) {
        Ok(inflated) => Ok((inflated.deflated_len, inflated.crc32)),
        Err(deflate::InflateError::TooLong { .. }) => Err(Closed::Bomb),
        Err(deflate::InflateError::Write(e)) => Err(Closed::Scratch(e)),
        Err(_) => Err(Closed::Invalid),
    }
}

fn decoded_xz(coded: &[u8], most: u64, to: &mut ScratchWriter) -> Result<(u64, u32), Closed> {
    match xz::decode(coded, most, XZ_MEMORY_BYTES, to) {
        Ok((xz_len, _)) => Ok((xz_len, 0)),
        Err(xz::XzError::TooLong { .. }) => Err(Closed::Bomb),
        Err(xz::XzError::Write(e)) => Err(Closed::Scratch(e)),
        Err(_) => Err(Closed::Invalid),
    }
}
