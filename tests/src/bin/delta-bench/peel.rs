//! Peels a published file by hand, as a sceptic would before he tries a delta.
//!
//! In:   the bytes of a file.
//! Out:  what lies below gzip, zip and Debian packages: tars and members, one after the other;
//!       none where there is nothing to peel.
//!
//! It shares nothing with the product's own peeling and cannot go back.

use std::io::{Cursor, Read as _};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

/// The plain content of a gzip, a zip, an xz or an ar; none for any other file.
///
/// # Errors
///
/// The file is damaged.
pub fn peel(bytes: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let plain = match bytes {
        [0x1f, 0x8b, ..] => gunzip(bytes).context("not a whole gzip"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unxz(bytes).context("not a whole xz"),
        [b'P', b'K', 3, 4, ..] => unzip(bytes).context("not a whole zip"),
        _ if bytes.starts_with(b"!<arch>\n") => members(bytes),
        _ => return Ok(None),
    };
    plain.map(Some)
}

fn gunzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut plain = vec![];
    MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

fn unxz(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut plain = vec![];
    XzDecoder::new_multi_decoder(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

/// Each entry, in the order of the directory.
fn unzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes))?;
    let mut plain = vec![];
    for at in 0..zip.len() {
        zip.by_index(at)?.read_to_end(&mut plain)?;
    }
    Ok(plain)
}

/// The members of an ar, each peeled in turn.
fn members(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = ar::Archive::new(bytes);
    let mut plain = vec![];
    while let Some(member) = archive.next_entry() {
        let mut member_bytes = vec![];
        member.context("not a whole ar")?.read_to_end(&mut member_bytes)?;
        plain.extend(peel(&member_bytes)?.unwrap_or(member_bytes));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use ::tests::fixtures::{Deb, Wheel};

    use super::*;

    #[test]
    fn a_package_and_a_wheel_lie_open_and_a_binary_already_does() {
        let deb = Deb::new("socat", "1.8").payload(b"a payload in there".repeat(9));
        let has = |plain: &[u8]| plain.windows(18).any(|window| window == b"a payload in there");
        assert!(has(&peel(&deb.make()).unwrap().unwrap()));
        let wheel = Wheel::new("alpha", "1.0").payload(b"a payload in there".repeat(9)).make();
        assert!(has(&peel(&wheel.bytes).unwrap().unwrap()));
        assert_eq!(peel(b"\x7fELF").unwrap(), None);
    }
}
