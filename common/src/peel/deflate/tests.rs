use super::super::{gzip, sample};
use super::*;

fn identify(plain: &[u8], deflated: &[u8], hint: Option<Hint>) -> Option<(Replay, Vec<u8>)> {
    super::identify(plain, deflated, hint, &Budget::new(1 << 30))
}

/// Splits a gzip file of one member made by a real tool into hint, deflate stream and plain bytes.
fn open(file: &[u8]) -> (Hint, &[u8], Vec<u8>) {
    let header = gzip::header(file).unwrap();
    let body = &file[header.len_bytes..];
    let mut plain = Vec::new();
    let inflated = inflate(body, 1 << 20, &mut plain).unwrap();
    let (deflated, trailer) = body.split_at(usize::try_from(inflated.deflated_len).unwrap());
    let mut expected = inflated.crc32.to_le_bytes().to_vec();
    expected.extend(u32::try_from(inflated.plain_len).unwrap().to_le_bytes());
    assert_eq!(trailer, expected);
    (header.hint, deflated, plain)
}

fn made(how: &Replay, plain: &[u8], corrections: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    replay(how, plain, corrections, &mut out).unwrap();
    out
}

fn plain_samples() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"x".to_vec(),
        sample::words(100 * 1024),
        sample::words(128 * 1024),
        [sample::words(300_000), sample::noise(200_000), vec![0; 400_000]].concat(),
    ]
}

#[test]
fn names_read_back_and_no_other_spelling_does() {
    let ids =
        ["zlib-1.3/L1", "zlib-1.3/L9", "go-flate-1/L6", "pigz-1/zlib-1.3/L6", "preflate-0.7.6"];
    for id in ids {
        assert_eq!(Replay::parse(id).unwrap().id(), id);
    }
    for id in ["", "zlib-1.3/L0", "zlib-1.3/L10", "zlib-1.3/L+6", "zlib-1.4/L6", "go-flate-1/L06"] {
        assert_eq!(Replay::parse(id), None, "{id}");
    }
}

#[test]
fn a_stream_of_zlib_is_known_by_its_level() {
    for plain in plain_samples() {
        for level in 1..=9 {
            let deflated = made(&Replay::Zlib { level }, &plain, &[]);
            let (found, corrections) = identify(&plain, &deflated, None).unwrap();
            assert!(matches!(found, Replay::Zlib { .. }), "{found:?}");
            assert!(made(&found, &plain, &corrections) == deflated, "level {level}");
        }
    }
    let plain = sample::words(300_000);
    for level in [1, 2, 3, 4, 5, 6, 9] {
        let how = Replay::Zlib { level };
        let deflated = made(&how, &plain, &[]);
        assert_eq!(identify(&plain, &deflated, None), Some((how, Vec::new())));
    }
}

#[test]
fn a_stream_of_pigz_comes_back_and_inflates() {
    for plain in plain_samples() {
        for id in ["pigz-1/zlib-1.3/L6", "pigz-1/zlib-1.3/L9/i", "pigz-1/zlib-1.3/L1"] {
            let deflated = made(&Replay::parse(id).unwrap(), &plain, &[]);
            let mut inflated = Vec::new();
            inflate(&deflated, 1 << 20, &mut inflated).unwrap();
            assert!(inflated == plain, "{id}");
            let (found, corrections) = identify(&plain, &deflated, None).unwrap();
            assert!(corrections.is_empty());
            assert!(made(&found, &plain, &[]) == deflated, "{id} as {found:?}");
        }
    }
}

#[test]
fn files_of_real_tools_are_known() {
    let files: [(&[u8], &str); 5] = [
        (include_bytes!("../testdata/zlib-9.gz"), "zlib-1.3/L9"),
        (include_bytes!("../testdata/pigz-6.gz"), "pigz-1/zlib-1.3/L6"),
        (include_bytes!("../testdata/pigz-9i.gz"), "pigz-1/zlib-1.3/L9/i"),
        (include_bytes!("../testdata/gnu-6.gz"), "preflate-0.7.6"),
        (include_bytes!("../testdata/gnu-9.gz"), "preflate-0.7.6"),
    ];
    for (file, id) in files {
        let (hint, deflated, plain) = open(file);
        for hint in [None, Some(hint), Some(Hint { xfl: 4, os: 255 })] {
            let (how, corrections) = identify(&plain, deflated, hint).unwrap();
            assert_eq!(how.id(), id);
            assert_eq!(corrections.is_empty(), how != Replay::Preflate);
            assert!(made(&how, &plain, &corrections) == deflated, "{id}");
        }
    }
}

#[test]
fn a_stream_that_no_encoder_makes_is_unknown() {
    let plain = sample::words(5000);
    let mut stored = vec![1];
    stored.extend(5000_u16.to_le_bytes());
    stored.extend((!5000_u16).to_le_bytes());
    stored.extend(&plain);
    let longer = [made(&Replay::Zlib { level: 6 }, &plain, &[]), vec![0]].concat();
    assert_eq!(identify(&plain, &longer, None), None);
    assert_eq!(identify(&sample::words(4999), &stored, None), None);
}

#[test]
fn what_follows_the_stream_is_left_alone() {
    let plain = sample::words(70_000);
    let deflated = made(&Replay::Zlib { level: 6 }, &plain, &[]);
    let longer = [&deflated[..], &sample::noise(500)].concat();
    let mut out = Vec::new();
    let inflated = inflate(&longer, 70_000, &mut out).unwrap();
    assert_eq!(inflated.deflated_len, deflated.len() as u64);
    assert!(out == plain);
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let bomb = made(&Replay::Zlib { level: 9 }, &vec![0; 100_000_000], &[]);
    for limit in [0, 1, 1_000_000, 99_999_999] {
        let mut out = Vec::new();
        let error = inflate(&bomb, limit, &mut out).unwrap_err();
        assert!(
            matches!(error, InflateError::TooLong { max_plain_bytes } if max_plain_bytes == limit)
        );
        assert!(out.len() as u64 <= limit);
    }
    assert!(inflate(&bomb, 100_000_000, &mut io::sink()).is_ok());
}

#[test]
fn a_stream_cut_anywhere_is_truncated() {
    let deflated = made(&Replay::Zlib { level: 6 }, &sample::words(3000), &[]);
    for end in 0..deflated.len() {
        let error = inflate(&deflated[..end], 3000, &mut io::sink()).unwrap_err();
        assert!(matches!(error, InflateError::Truncated { .. }), "cut at {end}: {error}");
    }
}

#[test]
fn damaged_streams_end_in_an_answer() {
    let plain = sample::words(2500);
    let whole = made(&Replay::Zlib { level: 6 }, &plain, &[]);
    for mutant in sample::mutations(&whole, 4000) {
        let mut out = Vec::new();
        let Ok(inflated) = inflate(&mutant, 20_000, &mut out) else {
            assert!(out.len() <= 20_000);
            continue;
        };
        let deflated = &mutant[..usize::try_from(inflated.deflated_len).unwrap()];
        if let Some((how, corrections)) = identify(&out, deflated, None) {
            assert!(made(&how, &out, &corrections) == deflated);
        }
        assert!(identify(&plain, &mutant, None).is_none_or(|_| mutant == whole || out == plain));
    }
}

#[test]
fn damaged_corrections_and_corrections_of_other_bytes_are_refused() {
    let (_, deflated, mut plain) = open(include_bytes!("../testdata/gnu-6.gz"));
    let (how, corrections) = identify(&plain, deflated, None).unwrap();
    let refused = |plain: &[u8], corrections: &[u8]| {
        let mut out = Vec::new();
        let error = replay(&how, plain, corrections, &mut out).unwrap_err();
        out.is_empty() && matches!(error, ReplayError::Corrections)
    };
    for mutant in sample::mutations(&corrections, 3000) {
        assert!(mutant == corrections || refused(&plain, &mutant));
    }
    plain[100] ^= 1;
    assert!(refused(&plain, &corrections));
}
