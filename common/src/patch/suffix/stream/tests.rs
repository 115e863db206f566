use super::*;

const EFFORTS: [Effort; 3] = [Effort::Fastest, Effort::Balanced, Effort::Smallest];
const MEMORY: u64 = 64 << 20;

/// Numbers from a fixed start (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

fn decoded(base: &[u8], payload: &[u8], len: usize) -> Result<Vec<u8>, ApplyError> {
    let mut out = Vec::new();
    let result = decode(base, payload, len as u64, MEMORY, &mut out);
    assert!(out.len() <= len, "{} bytes of {len}", out.len());
    result.map(|()| out)
}

fn assert_comes_back(base: &[u8], new: &[u8]) -> usize {
    let mut len = 0;
    for effort in EFFORTS {
        let payload = encode(base, new, effort).unwrap();
        assert!(decoded(base, &payload, new.len()).unwrap() == new, "{effort:?}");
        len = payload.len();
    }
    len
}

/// A table of 4-byte addresses among other bytes, as programs have them.
fn program(numbers: &mut Numbers, moved: u32) -> Vec<u8> {
    let mut fixed = Numbers(99);
    let mut bytes = Vec::new();
    for _ in 0..numbers.below(400) + 2000 {
        let address = u32::try_from(fixed.below(1 << 22)).unwrap() + moved;
        bytes.extend_from_slice(&address.to_le_bytes());
        let len = fixed.below(24);
        bytes.extend(fixed.bytes(len));
    }
    bytes
}

#[test]
fn nothing_something_and_the_same_come_back() {
    let bytes = Numbers(1).bytes(5000);
    for (base, new) in [(&[][..], &[][..]), (&[], &bytes), (&bytes, &[]), (&bytes, &bytes)] {
        assert_comes_back(base, new);
    }
    for len in 0..20 {
        assert_comes_back(&bytes[..len], &bytes[3..20]);
        assert_comes_back(&bytes[3..20], &bytes[..len]);
    }
}

#[test]
fn moved_blocks_cost_a_copy_each_and_not_their_length() {
    let base = Numbers(2).bytes(60_000);
    let inserted = [&base[..20_000], b"in between", &base[20_000..]].concat();
    let deleted = [&base[..30_000], &base[31_000..]].concat();
    let swapped = [&base[40_000..], &base[..40_000]].concat();
    for new in [inserted, deleted, swapped] {
        let len = assert_comes_back(&base, &new);
        assert!(len < 150, "{len}");
    }
}

#[test]
fn programs_with_moved_addresses_come_back() {
    let mut numbers = Numbers(3);
    for moved in [0, 64, 4096, 70_000] {
        let (base, new) = (program(&mut numbers, 1000), program(&mut numbers, moved + 1000));
        assert_comes_back(&base, &new);
    }
}

#[test]
fn a_text_that_was_written_in_again_takes_less_than_as_a_program() {
    let mut numbers = Numbers(7);
    let words: Vec<String> = (0..400)
        .map(|_| {
            let len = 3 + numbers.below(6);
            numbers.bytes(len).iter().map(|byte| char::from(b'a' + byte % 26)).collect()
        })
        .collect();
    let mut line = || {
        let line: Vec<&str> = (0..9).map(|_| &*words[numbers.below(400)]).collect();
        line.join(" ") + "\n"
    };
    let lines: Vec<String> = (0..3000).map(|_| line()).collect();
    let changed: Vec<String> =
        (0..).zip(&lines).map(|(n, old)| if n % 7 == 3 { line() } else { old.clone() }).collect();
    let (base, new) = (lines.concat().into_bytes(), changed.concat().into_bytes());
    assert!(is_text(&new) && !is_text(&program(&mut Numbers(3), 64)));
    assert_comes_back(&base, &new);
    let as_program = encode_as(&base, &new, Effort::Balanced, Change::Heavy).unwrap();
    let as_text = encode(&base, &new, Effort::Balanced).unwrap();
    let most = as_program.len() / 100 * 98;
    assert!(as_text.len() < most, "{} of {}", as_text.len(), as_program.len());
}

#[test]
fn random_edits_come_back() {
    let mut numbers = Numbers(4);
    for _ in 0..60 {
        let len = numbers.below(3000) + 1;
        let base: Vec<u8> = numbers.bytes(len).iter().map(|byte| byte % 7).collect();
        let mut new = base.clone();
        for _ in 0..numbers.below(12) {
            let at = numbers.below(new.len());
            let len = numbers.below(40);
            let bytes = numbers.bytes(len);
            let end = Ord::min(at + numbers.below(40), new.len());
            new.splice(at..end, bytes);
            new.push(1);
        }
        assert_comes_back(&base, &new);
    }
}

#[test]
fn long_runs_and_periods_take_linear_time() {
    let zeros = vec![0; 8 << 20];
    let mut changed = zeros.clone();
    changed[5_000_000] = 1;
    let period: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 13).to_le_bytes()[0]).collect();
    let mut broken = period.clone();
    for at in (0..broken.len()).step_by(1000) {
        broken[at] = 77;
    }
    for (base, new) in
        [(&zeros, &changed), (&changed, &zeros), (&period, &broken), (&broken, &period)]
    {
        let payload = encode(base, new, Effort::Balanced).unwrap();
        assert!(&decoded(base, &payload, new.len()).unwrap() == new);
        assert!(payload.len() < 20_000, "{}", payload.len());
    }
}

#[test]
fn damaged_payloads_are_refused_or_lead_to_as_many_bytes() {
    let mut numbers = Numbers(5);
    let base = program(&mut numbers, 1000);
    let mut new = program(&mut numbers, 1064);
    new.splice(300..300, b"something new".repeat(9));
    let payload = encode(&base, &new, Effort::Balanced).unwrap();
    for case in 0..20_000 {
        let mut damaged = payload.clone();
        for _ in 0..numbers.below(3) + 1 {
            let end = if case % 2 == 0 { 40 } else { damaged.len() };
            let at = numbers.below(end);
            damaged[at] = numbers.bytes(1)[0];
        }
        if let Ok(out) = decoded(&base, &damaged, new.len()) {
            assert_eq!(out.len(), new.len());
        }
    }
}

#[test]
fn a_payload_cut_anywhere_is_refused() {
    let base = Numbers(6).bytes(2000);
    let new = [&base[500..], b"new at the end of it".repeat(4).as_slice(), &base[..500]].concat();
    let payload = encode(&base, &new, Effort::Balanced).unwrap();
    for len in 0..payload.len() {
        assert!(decoded(&base, &payload[..len], new.len()).is_err(), "{len}");
    }
    let longer = [&payload[..], &[0]].concat();
    assert!(matches!(decoded(&base, &longer, new.len()), Err(ApplyError::Header)));
    for len in [0, 1, new.len() - 1, new.len() + 1] {
        assert!(decoded(&base, &payload, len).is_err(), "{len}");
    }
}

#[test]
fn a_dictionary_beyond_the_memory_allowed_is_refused_before_it_is_reserved() {
    let new = b"again and ".repeat(5000);
    let payload = encode(&[], &new, Effort::Balanced).unwrap();
    let mut out = Vec::new();
    let result = decode(&[], &payload, new.len() as u64, 100_000, &mut out);
    assert!(matches!(result, Err(ApplyError::TooMuchMemory { memory_bytes: 100_000, .. })));
    assert!(out.is_empty());
}

#[test]
fn the_golden_payload_decodes_to_the_same_bytes_for_ever() {
    let (base, new) = golden();
    assert_eq!(decoded(&base, GOLDEN, new.len()).unwrap(), new);
}

fn golden() -> (Vec<u8>, Vec<u8>) {
    let base: Vec<u8> = (0..600_u32).flat_map(|n| (n * 7919 + 3).to_le_bytes()).collect();
    let moved: Vec<u8> =
        (0..600_u32).flat_map(|n| (n * 7919 + 3 + n / 200 * 200).to_le_bytes()).collect();
    let new = [
        &moved[1000..],
        b"Gapferry carries it over the gap. ".repeat(3).as_slice(),
        &moved[..1000],
    ]
    .concat();
    (base, new)
}

const GOLDEN: &[u8] = &[
    64, 3, 6, 4, 8, 2, 4, 191, 12, 93, 4, 8, 2, 4, 102, 119, 0, 187, 23, 248, 10, 232, 7, 102, 0,
    3, 0, 16, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 23, 13, 236, 58, 187, 95, 49, 222,
    21, 129, 184, 205, 228, 37, 115, 140, 255, 30, 188, 249, 83, 34, 97, 140, 239, 93, 127, 255,
    253, 46, 112, 0, 247, 10, 200, 1, 225, 5, 3, 0, 16, 0, 0, 255, 255, 255, 255, 255, 255, 255,
    255, 0, 35, 153, 13, 91, 29, 173, 109, 141, 132, 180, 79, 62, 46, 139, 235, 191, 247, 186, 226,
    200, 82, 217, 153, 229, 4, 118, 81, 171, 131, 227, 81, 96, 104, 252, 85, 221, 47, 161, 113,
    203, 255, 254, 37, 224, 0,
];
