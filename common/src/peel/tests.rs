//! Every kind of container is opened, identified and resealed to the very bytes.

use std::io::Write;

use bytes::Bytes;
use camino::Utf8Path;
use gapferry_proto::limits;

use super::{
    Opened,
    identify::{self, Abilities},
    opener, pool, reseal,
};
use crate::{budget::Budget, scratch::Scratch};

pub(crate) fn scratch() -> (tempfile::TempDir, Scratch) {
    let temp = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(temp.path()).unwrap();
    let scratch = Scratch::new(folder, 1 << 30).unwrap();
    (temp, scratch)
}

fn text(seed: u32, len: usize) -> Vec<u8> {
    let lines = (seed..).map(|n| format!("{n:x} is line {} of {seed}\n", n * 7919 % 10007));
    lines.flat_map(String::into_bytes).take(len).collect()
}

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn deflate(plain: &[u8], level: u32, end: flate2::FlushCompress) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::new(level), false);
    let mut deflated = Vec::with_capacity(plain.len() + 1000);
    compress.compress_vec(plain, &mut deflated, end).unwrap();
    deflated
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(vec![], 6);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(vec![]);
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, bytes) in members {
        let method = if name.ends_with(".stored") {
            ::zip::CompressionMethod::Stored
        } else {
            ::zip::CompressionMethod::Deflated
        };
        let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn deb(data: &[u8]) -> Vec<u8> {
    let mut builder = ::ar::Builder::new(vec![]);
    let control = gzip(&tar(&[("./control", b"Package: x\n")]), 9);
    let members: [(&str, &[u8]); 3] =
        [("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.xz", &xz(data))];
    for (name, bytes) in members {
        let header = ::ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        builder.append(&header, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Opens, identifies, pools and reseals; gives the anatomy and the pool.
fn round_trip(blob: &[u8]) -> (Opened, pool::Pooled, Vec<(String, u64)>) {
    let (_temp, scratch) = scratch();
    let opened =
        opener::open(&Bytes::copy_from_slice(blob), &scratch, &Budget::new(1 << 30)).unwrap();
    let husk = identify::identify(&opened, &Abilities::own(), &Budget::new(1 << 30));
    let stored = identify::Husk::decode(&husk.encode(), &opened).unwrap();
    assert_eq!(husk.encode(), stored.encode());
    let pooled = pool::with_fates(&opened, |stream| husk.fate(stream), &scratch).unwrap();
    let leaves: Vec<Bytes> =
        pooled.leaves.iter().map(|&view| opened.view(view, &scratch).unwrap()).collect();
    let (encoders, corrections) = husk.encoders(&pooled);
    let parts = reseal::Parts {
        pool: &pooled.pool,
        leaves: &leaves,
        encoders: &encoders,
        corrections: &corrections,
        len_bytes: blob.len() as u64,
        memory_bytes: husk.memory_bytes(&opened),
    };
    let mut out = vec![];
    reseal::reseal(&parts, &scratch, &mut out).unwrap();
    assert!(out == blob, "{} bytes differ", blob.len());
    (opened, pooled, encoders)
}

fn names(opened: &Opened) -> Vec<String> {
    let leaves = opened.anatomy().leaves.iter();
    leaves.map(|leaf| String::from_utf8_lossy(&leaf.name).into_owned()).collect()
}

#[test]
fn a_tar_in_a_gzip_is_its_large_members_and_a_small_pool() {
    let large = text(1, 300_000);
    let blob = gzip(&tar(&[("bin/large", &large), ("etc/small", b"small")]), 6);
    let (opened, pooled, encoders) = round_trip(&blob);
    assert_eq!(names(&opened), ["bin/large"]);
    assert_eq!(opened.leaf(0), large);
    assert!(pooled.pool.len() < 8192, "{} bytes of pool", pooled.pool.len());
    assert_eq!(encoders, [("zlib-1.3/L6".to_owned(), 1)]);
}

#[test]
fn a_deb_is_opened_through_ar_xz_and_tar() {
    let large = text(2, 200_000);
    let (opened, _, encoders) = round_trip(&deb(&tar(&[("usr/bin/large", &large)])));
    assert_eq!(names(&opened), ["usr/bin/large"]);
    let ids: Vec<_> = encoders.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["zlib-1.3/L9", "liblzma-5.8/st/p6/crc64"]);
}

#[test]
fn a_zip_leaves_out_what_its_entries_say_already() {
    let large = text(3, 200_000);
    let members: Vec<(String, Vec<u8>)> = (0..200)
        .map(|n| (format!("pkg/module_{n}.py"), text(n, 500 + n as usize)))
        .chain([("pkg/large.py".to_owned(), large), ("pkg/a.stored".to_owned(), text(9, 700))])
        .collect();
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let blob = zip(&members);
    let (opened, pooled, _) = round_trip(&blob);
    assert_eq!(names(&opened), ["pkg/large.py"]);
    let crc = opened.anatomy().streams[1].crc32.to_le_bytes();
    let has_crc = pooled.pool.windows(4).any(|window| window == crc);
    assert!(!has_crc, "a CRC that can be computed travels");
}

#[test]
fn containers_in_containers_are_opened_to_their_depth_and_resealed() {
    let inner = gzip(&tar(&[("layer/large", &text(4, 200_000)), ("x", b"x")]), 9);
    let wheel = zip(&[("a.py", &text(5, 3000)), ("b.py", &text(6, 3000))]);
    let blob = tar(&[("blobs/layer.tar.gz", &inner), ("pkg.whl", &wheel), ("note", b"note")]);
    let (opened, ..) = round_trip(&blob);
    assert_eq!(names(&opened), ["layer/large"]);
    round_trip(&gzip(&blob, 6));
    let mut deep = text(7, 200_000);
    for _ in 0..100 {
        deep = gzip(&deep, 1);
    }
    let (opened, ..) = round_trip(&deep);
    assert!(opened.anatomy().streams.len() <= limits::PEEL_DEPTH_MAX + 1);
    assert!(!opened.anatomy().notes.is_empty(), "what stayed closed is noted");
}

#[test]
fn members_garbage_and_odd_headers_are_kept() {
    let two = [gzip(&text(1, 5000), 6), gzip(&text(2, 200_000), 9)].concat();
    let (opened, ..) = round_trip(&two);
    assert_eq!(opened.anatomy().streams.len(), 3, "the blob and two members");
    for odd in [
        [&two[..], b"trailing garbage"].concat(),
        [&xz(&text(1, 300_000))[..], &[0; 8], &xz(b"second")[..]].concat(),
        two[..two.len() - 3].to_vec(),
        two[..two.len() / 2].to_vec(),
        [&gzip(&text(1, 300_000), 6)[..], &[0x1f, 0x8b, 8, 0, 0]].concat(),
        text(3, 500_000),
        vec![],
        b"\x1f\x8b".to_vec(),
        vec![0; 300_000],
    ] {
        round_trip(&odd);
    }
}

#[test]
fn a_stream_of_an_unknown_encoder_is_puffed_or_stays_as_it_is() {
    // Blocks of two levels in one stream: no encoder writes that.
    let (one, two) = (text(1, 300_000), text(2, 300_000));
    let deflated = [
        deflate(&one, 1, flate2::FlushCompress::Full),
        deflate(&two, 9, flate2::FlushCompress::Finish),
    ]
    .concat();
    let plain = [&one[..], &two].concat();
    let mut blob = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    blob.extend(&deflated);
    blob.extend(crc32fast::hash(&plain).to_le_bytes());
    blob.extend(u32::try_from(plain.len()).unwrap().to_le_bytes());
    let (opened, ..) = round_trip(&blob);
    let (_temp, scratch) = scratch();
    let none = Abilities { codecs: ["puff-1".to_owned()].into(), ..Abilities::own() };
    let husk = identify::identify(&opened, &none, &Budget::new(1 << 30));
    assert_eq!(husk.fate(1), pool::Fate::Puffed);
    let none = Abilities { codecs: [].into(), ..Abilities::own() };
    let husk = husk.restricted(&opened, &none);
    assert_eq!(husk.fate(1), pool::Fate::Sealed);
    let pooled = pool::with_fates(&opened, |stream| husk.fate(stream), &scratch).unwrap();
    assert!(pooled.coded.is_empty());
}

#[test]
fn a_bomb_stays_closed_and_is_noted() {
    let bomb = gzip(&vec![0; 300 << 20], 9);
    let (opened, ..) = round_trip(&bomb);
    assert_eq!(opened.anatomy().streams.len(), 1);
    assert_eq!(opened.anatomy().notes[0].what, "expands further than it may");
    let zeros = gzip(&vec![0; 1 << 20], 9);
    let (opened, ..) = round_trip(&zeros);
    assert_eq!(opened.anatomy().streams.len(), 2, "a MiB of zeros is no bomb");
}

#[test]
fn a_damaged_pool_is_refused_and_never_panics() {
    let blob = gzip(&tar(&[("bin/large", &text(1, 200_000)), ("s", b"small")]), 6);
    let (_temp, scratch) = scratch();
    let opened = opener::open(&blob.clone().into(), &scratch, &Budget::new(1 << 30)).unwrap();
    let pool = pool::of(&opened, &scratch).unwrap();
    let encoders = [("zlib-1.3/L6".to_owned(), 1)];
    let leaves = [opened.leaf(0)];
    for at in 0..pool.len().min(300) {
        for change in [1, 0x10, 0x80, 0xff] {
            let mut bad = pool.to_vec();
            bad[at] ^= change;
            let pool = Bytes::from(bad);
            let parts = reseal::Parts {
                pool: &pool,
                leaves: &leaves,
                encoders: &encoders,
                corrections: &[],
                len_bytes: blob.len() as u64,
                memory_bytes: 64 << 20,
            };
            let mut out = vec![];
            let resealed = reseal::reseal(&parts, &scratch, &mut out);
            assert!(resealed.is_err() || out != blob, "byte {at} ^ {change:#x} changes nothing");
        }
    }
}
