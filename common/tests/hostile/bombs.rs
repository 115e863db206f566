//! Blobs made to expand, to nest or to multiply: they stay closed, are noted, and come back.
//!
//! A quine (a gzip that holds itself) is not here: to the opener it is a gzip nested without end,
//! and the gzip a hundred deep here is closed by the same rule, at the fourth depth.

use bytes::Bytes;
use camino::Utf8Path;
use gapferry_common::{
    budget::Budget,
    peel::{
        Opened, anatomy,
        identify::{self, Abilities},
        opener, pool, reseal,
    },
    scratch::Scratch,
};
use gapferry_proto::limits;

use super::{MIB, alone, peak_of, seeds, targets};

/// Plain bytes of a bomb: 64 MiB of zeros, 1000 to 7000 for each coded one.
const ZEROS: usize = 64 * MIB;

const TOO_FAR: &str = "expands further than it may";

/// Scratch space of 1 GiB, while the folder lives.
fn scratch() -> (tempfile::TempDir, Scratch) {
    let temp = tempfile::tempdir().unwrap();
    let scratch = Scratch::new(Utf8Path::from_path(temp.path()).unwrap(), 1 << 30).unwrap();
    (temp, scratch)
}

/// Opens a blob within so much memory and makes it again of its parts; it must come back.
fn survives(blob: Vec<u8>, peak_bytes: usize) -> Opened {
    let (_temp, scratch) = scratch();
    let blob = Bytes::from(blob);
    let opened = opens(&blob, &scratch, peak_bytes);
    let (resealed, peak) = peak_of(|| resealed(&opened, &scratch));
    assert!(resealed == blob, "the blob does not come back");
    let peak = peak.saturating_sub(blob.len()); // of what came back
    assert!(peak <= peak_bytes, "resealing took {peak} bytes of memory, {peak_bytes} allowed");
    opened
}

fn opens(blob: &Bytes, scratch: &Scratch, peak_bytes: usize) -> Opened {
    let (opened, peak) = peak_of(|| opener::open(blob, scratch, &Budget::new(1 << 30)).unwrap());
    assert!(peak <= peak_bytes, "opening took {peak} bytes of memory, {peak_bytes} allowed");
    targets::assert_well_opened(&opened);
    opened
}

/// Identifies, pools and reseals.
fn resealed(opened: &Opened, scratch: &Scratch) -> Vec<u8> {
    let husk = identify::identify(opened, &Abilities::own(), &Budget::new(1 << 30));
    let pooled = pool::with_fates(opened, |stream| husk.fate(stream), scratch).unwrap();
    let leaves = pooled.leaves.iter().map(|&view| opened.view(view, scratch).unwrap());
    let leaves: Vec<Bytes> = leaves.collect();
    let (encoders, corrections) = husk.encoders(&pooled);
    let (pool, corrections) = (&pooled.pool, &corrections[..]);
    let len_bytes = opened.blob().len() as u64;
    let parts = reseal::Parts {
        pool,
        leaves: &leaves,
        encoders: &encoders,
        corrections,
        len_bytes,
        memory_bytes: husk.memory_bytes(opened),
    };
    let mut out = Vec::with_capacity(opened.blob().len());
    reseal::reseal(&parts, scratch, &mut out).unwrap();
    out
}

fn notes(opened: &Opened) -> Vec<&'static str> {
    opened.anatomy().notes.iter().map(|note| note.what).collect()
}

#[test]
fn a_gzip_or_xz_of_zeros_stays_closed_with_a_note() {
    let _alone = alone();
    let zeros = vec![0; ZEROS];
    for bomb in [seeds::gzip(&zeros, 9), seeds::xz_as("liblzma-5.8/st/p0/crc32", &zeros)] {
        let opened = survives(bomb, 2 * MIB);
        assert_eq!(opened.anatomy().streams.len(), 1, "the blob itself");
        assert_eq!(notes(&opened), [TOO_FAR]);
    }
}

#[test]
fn a_zip_keeps_its_bombs_closed_and_opens_the_rest() {
    let _alone = alone();
    let zeros = vec![0; ZEROS];
    let bomb = seeds::zip_of(&[("a", b"harmless"), ("zeros", &zeros), ("b", b"harmless")]);
    let opened = survives(bomb, 4 * MIB);
    let streams = &opened.anatomy().streams;
    let codings: Vec<_> = streams.iter().map(|stream| stream.coding).collect();
    let expected = [anatomy::Coding::Identity, anatomy::Coding::Deflate];
    assert_eq!(codings, [expected, expected].concat(), "the blob, a, zeros as they are, b");
    assert_eq!(notes(&opened), [TOO_FAR]);
}

#[test]
fn entries_that_share_one_kernel_are_left_out() {
    let _alone = alone();
    let one = seeds::zip_of(&[("kernel", &vec![0; MIB])]);
    let directory = one.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let end = one.len() - 22;
    let records = one[directory..end].repeat(1000);
    let mut bomb = [&one[..directory], &records, &one[end..]].concat();
    let at = bomb.len() - 22;
    bomb[at + 8..at + 10].copy_from_slice(&1000_u16.to_le_bytes());
    bomb[at + 10..at + 12].copy_from_slice(&1000_u16.to_le_bytes());
    bomb[at + 12..at + 16].copy_from_slice(&u32::try_from(records.len()).unwrap().to_le_bytes());
    let opened = survives(bomb, 2 * MIB);
    assert_eq!(opened.anatomy().streams.len(), 1, "the blob itself");
}

#[test]
fn a_gzip_a_hundred_deep_is_opened_to_its_depth() {
    let _alone = alone();
    let mut deep = seeds::text(7, 200_000);
    for _ in 0..100 {
        deep = seeds::gzip(&deep, 1);
    }
    let opened = survives(deep, 16 * MIB);
    assert_eq!(opened.anatomy().streams.len(), limits::PEEL_DEPTH_MAX + 1);
    assert_eq!(notes(&opened), ["nested too deep, or too many members"]);
}

/// A million files of one byte would be a tar of 1 GiB, so the million stands in an ar.
#[test]
fn a_million_tiny_members_are_skeleton() {
    let _alone = alone();
    let member = [&seeds::ar_header("m/", 1)[..], b"x\n"].concat();
    let ar = [b"!<arch>\n", &member.repeat(1_100_000)[..]].concat();
    let opened = survives(ar, 128 * MIB); // 64 bytes for each, while they are walked
    assert_eq!(opened.anatomy().streams.len(), 1, "the blob itself");
    assert_eq!(opened.anatomy().leaves, []);

    let file = &seeds::tar_of(&[("m", b"x")])[..1024];
    let opened = survives(file.repeat(100_000), 16 * MIB);
    assert_eq!(opened.anatomy().streams.len(), 1, "the blob itself");
}

#[test]
fn a_zip_of_twenty_thousand_entries_comes_back() {
    let _alone = alone();
    // An entry takes some 1100 bytes while its zip is written, and none of it is its content.
    let opened = survives(zip_of_tiny(20_000), 32 * MIB);
    assert_eq!(opened.anatomy().streams.len(), 20_001);
    assert!(opened.anatomy().streams[0].is_zip);
}

#[test]
fn more_entries_than_a_blob_may_have_stay_closed_with_a_note() {
    let _alone = alone();
    let (_temp, scratch) = scratch();
    let count = limits::PEEL_MEMBERS_MAX / 2 + 1;
    let zip = zip_of_tiny(u32::try_from(count).unwrap());
    let two = Bytes::from(seeds::tar_of(&[("first.zip", &zip), ("second.zip", &zip)]));
    drop(zip);
    let opened = opens(&two, &scratch, 384 * MIB); // 500 bytes for each entry
    assert_eq!(opened.anatomy().streams.len(), count + 2, "the tar, the first zip, its entries");
    assert_eq!(notes(&opened), ["too many members"]);
}

/// A zip of so many stored entries of one byte and one name.
fn zip_of_tiny(count: u32) -> Vec<u8> {
    let one = seeds::zip_of(&[("e.stored", b"x")]);
    let directory = one.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let end = one.len() - 22;
    let local = &one[..directory];
    let mut zip = local.repeat(usize::try_from(count).unwrap());
    let start = u32::try_from(zip.len()).unwrap();
    for number in 0..count {
        let record = zip.len();
        zip.extend(&one[directory..end]);
        let offset = number * u32::try_from(local.len()).unwrap();
        zip[record + 42..record + 46].copy_from_slice(&offset.to_le_bytes());
    }
    let len = u32::try_from(zip.len()).unwrap() - start;
    zip.extend(&one[end..end + 12]); // the counts wrap, and nobody looks at them
    zip.extend([len.to_le_bytes(), start.to_le_bytes()].concat());
    zip.extend([0, 0]);
    zip
}

#[test]
fn gzip_members_without_number_come_back() {
    let _alone = alone();
    let opened = survives(seeds::gzip(b"", 6).repeat(20_000), 16 * MIB);
    assert_eq!(opened.anatomy().streams.len(), 20_001);
}
