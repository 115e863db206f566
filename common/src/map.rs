//! Our own immutable files as slices of memory: the one place with `unsafe`.
//!
//! In:   an open file that nobody changes any more: a blob of the store, or a scratch file
//!       without a name that only this process has open.
//! Out:  [`Bytes`], which keep the mapping alive as long as a slice of it is in use.
//! Never: a file of a foreign medium, nor one that still grows.

#![allow(unsafe_code)]

use std::{fs::File, io};

use bytes::Bytes;
use memmap2::Mmap;

/// Maps a whole file. Costs no memory of our own: the kernel reads pages as they are used.
///
/// # Errors
///
/// The error of the kernel, as for a file that is no plain file.
pub fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new()); // an empty mapping is an error
    }
    // SAFETY: the slice must not change while it is mapped. A blob is written under another name
    // and renamed once its hash is right; no code of ours opens it for writing again. A scratch
    // file has no name and is not written after this. Whoever truncates a blob in spite of that
    // stops this process (SIGBUS) before it can use wrong bytes, and what is made of changed
    // bytes fails its SHA-256.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_mapping_outlives_its_file_and_may_be_empty() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(map(&file).unwrap(), Bytes::new());
        file.write_all(b"plain bytes").unwrap();
        let bytes = map(&file).unwrap();
        drop(file);
        assert_eq!(bytes.slice(6..), b"bytes"[..]);
    }
}
