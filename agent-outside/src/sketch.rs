//! Sketches: a few features of a stream, by which streams with common content are found.
//!
//! A gear hash runs over every position; hashes with twelve zero bits at the top are features,
//! about 244 a MiB. They depend on the 64 bytes before them alone, so equal content has equal
//! features wherever it stands. Costs about 700 MB/s.

/// Which hashes are features: one in 4096.
const FEATURE_BITS: u32 = 12;

/// Most features that are kept of one stream, the smallest ones, so that two streams keep the
/// same of those that they share.
const FEATURES_MAX: usize = 4096;

/// The features of `bytes`, sorted and distinct.
pub fn features(bytes: &[u8]) -> Vec<u64> {
    let mut hash = 0_u64;
    let mut features = vec![];
    for &byte in bytes {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(byte)]);
        if hash >> (u64::BITS - FEATURE_BITS) == 0 {
            features.push(mixed(hash));
            if features.len() == 2 * FEATURES_MAX {
                keep_smallest(&mut features); // a run of one byte may be all features
            }
        }
    }
    keep_smallest(&mut features);
    features
}

fn keep_smallest(features: &mut Vec<u64>) {
    features.sort_unstable();
    features.dedup();
    features.truncate(FEATURES_MAX);
}

static GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = mixed(i as u64 + 1);
        i += 1;
    }
    table
}

/// The finaliser of `SplitMix64`: spreads the bits of a number over all of it.
const fn mixed(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many features two sketches share.
    fn shared(a: &[u64], b: &[u64]) -> usize {
        a.iter().filter(|feature| b.binary_search(feature).is_ok()).count()
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| mixed(seed << 32 | i).to_le_bytes()[0]).collect()
    }

    #[test]
    fn common_content_has_common_features_wherever_it_stands() {
        let common = noise(1, 1 << 20);
        let a = features(&[&noise(2, 1 << 18)[..], &common].concat());
        let b = features(&[&common[..], &noise(3, 1 << 17)].concat());
        let of_common = features(&common).len();
        assert!((200..300).contains(&of_common), "{of_common} features a MiB");
        assert!(of_common - 5 < shared(&a, &b), "{} of {of_common}", shared(&a, &b));
        assert_eq!(shared(&features(&noise(2, 1 << 20)), &features(&noise(3, 1 << 20))), 0);
    }

    #[test]
    fn nothing_and_monotony_have_hardly_any_features() {
        assert_eq!(features(b""), Vec::<u64>::new());
        assert!(features(&vec![0; 1 << 20]).len() <= 1);
    }
}
