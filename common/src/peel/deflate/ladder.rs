//! The order in which encoders are tried.
//!
//! In: the length of the plain stream and what its gzip header says. Out: encoders, the likeliest
//! first. A hint moves encoders and drops none: headers are often written by someone else.

use super::pigz::{BLOCK_LEN_BYTES, Pigz};
use super::{GoLevel, Hint, Replay};

const OS_UNKNOWN: u8 = 255;
const XFL_SLOWEST: u8 = 2;
const XFL_FASTEST: u8 = 4;

/// Every real encoder of this build, the likeliest first; preflate is not among them.
pub(super) fn encoders(plain_len: usize, hint: Option<Hint>) -> impl Iterator<Item = Replay> {
    let zlib = |level| Replay::Zlib { level };
    let go = |level| GoLevel::new(level).map(|level| Replay::Go { level });
    let mut order: Vec<Replay> = [Some(zlib(6)), go(6), Some(zlib(9)), Some(zlib(1)), go(1), go(9)]
        .into_iter()
        .flatten()
        .chain([5, 7, 8, 4, 3, 2].map(zlib))
        .chain(pigz(plain_len))
        .collect();
    if let Some(hint) = hint {
        order.sort_by_key(|how| unlikelihood(how, hint)); // stable: what is equal keeps its order
    }
    order.into_iter()
}

/// What pigz can have made and plain zlib cannot: streams of more than one block.
fn pigz(plain_len: usize) -> impl Iterator<Item = Replay> {
    let levels: &[u8] =
        if plain_len > BLOCK_LEN_BYTES as usize { &[6, 9, 1, 5, 7, 8, 4, 3, 2] } else { &[] };
    levels.iter().flat_map(|&level| {
        [false, true].map(|independent| {
            Replay::Pigz(Pigz { level, block_len_bytes: BLOCK_LEN_BYTES, independent })
        })
    })
}

/// 0 when the hint names this encoder, more the less it fits.
fn unlikelihood(how: &Replay, hint: Hint) -> u8 {
    let (is_go, level) = match how {
        Replay::Go { level } => (true, level.number()),
        Replay::Zlib { level } | Replay::Pigz(Pigz { level, .. }) => (false, *level),
        Replay::Preflate => (false, 0),
    };
    let wrong_level = match hint.xfl {
        XFL_SLOWEST => level != 9,
        XFL_FASTEST => level != 1,
        _ => false,
    };
    let wrong_family = hint.os == OS_UNKNOWN && !is_go;
    u8::from(wrong_level) * 2 + u8::from(wrong_family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(count: usize, hint: Option<Hint>) -> Vec<String> {
        encoders(0, hint).take(count).map(|how| how.id()).collect()
    }

    #[test]
    fn without_a_hint_zlib_and_go_take_turns() {
        let expected = [
            "zlib-1.3/L6",
            "go-flate-1/L6",
            "zlib-1.3/L9",
            "zlib-1.3/L1",
            "go-flate-1/L1",
            "go-flate-1/L9",
            "zlib-1.3/L5",
        ];
        assert_eq!(first(7, None), expected);
        assert_eq!(first(7, Some(Hint { xfl: 0, os: 3 })), expected);
    }

    #[test]
    fn a_hint_puts_the_encoder_it_names_first() {
        let go = Hint { xfl: 0, os: 255 };
        assert_eq!(first(2, Some(go)), ["go-flate-1/L6", "go-flate-1/L1"]);
        let go_fastest = Hint { xfl: 4, os: 255 };
        assert_eq!(first(3, Some(go_fastest)), ["go-flate-1/L1", "zlib-1.3/L1", "go-flate-1/L6"]);
        let slowest = Hint { xfl: 2, os: 3 };
        assert_eq!(first(3, Some(slowest)), ["zlib-1.3/L9", "go-flate-1/L9", "zlib-1.3/L6"]);
    }

    #[test]
    fn pigz_is_tried_only_when_there_is_more_than_one_block() {
        let is_pigz = |how: &Replay| matches!(how, Replay::Pigz(_));
        assert_eq!(encoders(131_072, None).filter(is_pigz).count(), 0);
        assert_eq!(encoders(131_073, None).filter(is_pigz).count(), 18);
    }
}
