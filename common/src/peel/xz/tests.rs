use super::super::sample;
use super::*;

fn identify(plain: &[u8], xz: &[u8], memory_bytes: u64) -> Option<XzReplay> {
    super::identify(plain, xz, memory_bytes, &Budget::new(MEMORY))
}

const MEMORY: u64 = 1 << 30;

fn made(id: &str, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    replay(&XzReplay::parse(id).unwrap(), plain, &mut out).unwrap();
    out
}

fn decoded(xz: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let (xz_len, plain_len) = decode(xz, 1 << 30, MEMORY, &mut plain).unwrap();
    assert_eq!((xz_len, plain_len), (xz.len() as u64, plain.len() as u64));
    plain
}

#[test]
fn names_read_back_and_no_other_spelling_does() {
    for id in [
        "liblzma-5.8/mt/p6/crc64",
        "liblzma-5.8/st/p9e/crc32",
        "liblzma-5.8/st/p0/none",
        "liblzma-5.8/mt/p2/sha256/b1000000",
    ] {
        assert_eq!(XzReplay::parse(id).unwrap().id(), id);
    }
    for id in [
        "",
        "liblzma-5.8/mt/p6",
        "liblzma-5.8/mt/p10/crc64",
        "liblzma-5.8/mt/p06/crc64",
        "liblzma-5.8/mt/p6ee/crc64",
        "liblzma-5.8/st/p6/crc64/b5",
        "liblzma-5.8/mt/p6/crc64/b0",
        "liblzma-5.8/mt/p6/crc64/b4294967297",
        "liblzma-5.8/mt/p6/crc64/b5/x",
        "liblzma-5.6/mt/p6/crc64",
    ] {
        assert_eq!(XzReplay::parse(id), None, "{id}");
    }
}

#[test]
fn files_of_real_tools_are_known() {
    let files: [(&[u8], &str); 3] = [
        (include_bytes!("../testdata/t4-6.xz"), "liblzma-5.8/mt/p6/crc64"),
        (include_bytes!("../testdata/t4-1-blocks.xz"), "liblzma-5.8/mt/p1/crc64/b16384"),
        (include_bytes!("../testdata/t1-9e.xz"), "liblzma-5.8/st/p9e/crc64"),
    ];
    for (file, id) in files {
        let plain = decoded(file);
        assert_eq!(identify(&plain, file, MEMORY).unwrap().id(), id);
        assert!(made(id, &plain) == file, "{id}");
    }
}

#[test]
fn every_framing_preset_and_check_is_known() {
    let plain = [sample::words(600_000), sample::noise(50_000)].concat();
    for id in [
        "liblzma-5.8/st/p0/none",
        "liblzma-5.8/st/p1e/crc32",
        "liblzma-5.8/st/p4/sha256",
        "liblzma-5.8/st/p5/crc64",
        "liblzma-5.8/mt/p3e/crc32",
        "liblzma-5.8/mt/p6/crc64",
        "liblzma-5.8/mt/p0/none/b65536",
        "liblzma-5.8/mt/p8/crc64",
    ] {
        let xz = made(id, &plain);
        assert!(decoded(&xz) == plain, "{id}");
        let found = identify(&plain, &xz, MEMORY).unwrap();
        assert!(made(&found.id(), &plain) == xz, "{id} as {found}");
    }
}

#[test]
fn noise_and_short_streams_come_back() {
    let noise = sample::noise(300_000);
    for plain in [&noise[..0], &noise[..1], &noise] {
        for id in ["liblzma-5.8/st/p6/crc64", "liblzma-5.8/mt/p6/crc64"] {
            let xz = made(id, plain);
            let found = identify(plain, &xz, MEMORY).unwrap();
            assert!(made(&found.id(), plain) == xz, "{id} as {found}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    let plain = sample::words(500_000);
    let how = XzReplay::parse("liblzma-5.8/mt/p1/crc64/b65536").unwrap();
    let mut encoder = how.threaded(65_536).threads(4).encoder().unwrap();
    let mut out = Vec::new();
    pump(&mut encoder, &plain, Action::Finish, &mut out).unwrap();
    assert!(out == made(&how.id(), &plain));
}

#[test]
fn a_preset_that_needs_too_much_memory_is_not_tried() {
    let plain = sample::words(20_000);
    let how = XzReplay::parse("liblzma-5.8/mt/p6/crc64").unwrap();
    let xz = made(&how.id(), &plain);
    assert_eq!(identify(&plain, &xz, how.memory_bytes()), Some(how));
    assert_eq!(identify(&plain, &xz, how.memory_bytes() - 1), None);
}

#[test]
fn filters_and_dictionaries_of_no_preset_are_unknown() {
    let plain = sample::words(20_000);
    let mut options = LzmaOptions::new_preset(6).unwrap();
    let mut usual = Filters::new();
    usual.x86().lzma2(&options);
    options.dict_size(3 << 20);
    let mut odd = Filters::new();
    odd.lzma2(&options);
    for filters in [usual, odd] {
        let mut encoder = Stream::new_stream_encoder(&filters, Check::Crc64).unwrap();
        let mut xz = Vec::new();
        pump(&mut encoder, &plain, Action::Finish, &mut xz).unwrap();
        assert!(decoded(&xz) == plain);
        assert_eq!(identify(&plain, &xz, MEMORY), None);
    }
}

#[test]
fn what_follows_the_stream_is_left_alone() {
    let plain = sample::words(20_000);
    let xz = made("liblzma-5.8/st/p6/crc64", &plain);
    let longer = [&xz[..], &[0; 4], &xz[..]].concat();
    let mut out = Vec::new();
    let lens = decode(&longer, 20_000, MEMORY, &mut out).unwrap();
    assert_eq!(lens, (xz.len() as u64, 20_000));
    assert!(out == plain);
    assert_eq!(identify(&plain, &longer, MEMORY), None);
}

#[test]
fn a_bomb_ends_at_the_limit_and_a_large_dictionary_at_the_memory() {
    let bomb = made("liblzma-5.8/mt/p0/crc32", &vec![0; 100_000_000]);
    for limit in [0, 1, 1_000_000, 99_999_999] {
        let mut out = Vec::new();
        let error = decode(&bomb, limit, MEMORY, &mut out).unwrap_err();
        assert!(matches!(error, XzError::TooLong { max_plain_bytes } if max_plain_bytes == limit));
        assert!(out.len() as u64 <= limit);
    }
    let large = made("liblzma-5.8/st/p9/crc32", b"small");
    let error = decode(&large, 100, 32 << 20, &mut io::sink()).unwrap_err();
    assert!(matches!(error, XzError::Memory { .. }));
}

#[test]
fn a_stream_cut_anywhere_is_truncated() {
    let xz = made("liblzma-5.8/st/p0/crc64", &sample::words(3000));
    for end in 0..xz.len() {
        let error = decode(&xz[..end], 3000, MEMORY, &mut io::sink()).unwrap_err();
        assert!(matches!(error, XzError::Truncated { .. }), "cut at {end}: {error}");
        assert_eq!(identify(&sample::words(3000), &xz[..end], MEMORY), None);
    }
}

#[test]
fn damaged_streams_end_in_an_answer() {
    let plain = sample::words(2500);
    let whole = made("liblzma-5.8/mt/p0/crc64/b1024", &plain);
    for mutant in sample::mutations(&whole, 4000) {
        let mut out = Vec::new();
        if decode(&mutant, 20_000, 4 << 20, &mut out).is_err() {
            assert!(out.len() <= 20_000);
        }
        // The proof is on all bytes, so a damaged stream is no encoder's.
        assert!(identify(&plain, &mutant, 16 << 20).is_none() || mutant == whole);
    }
}
