//! What the container walkers have in common: one member's place, and how numbers are read.
//!
//! In:   places in a byte slice, as a container declares them.
//! Out:  [`Member`]s, and numbers only where the field holds nothing else.
//! Never: reserves memory by a declared number, or decides anything by a name.

use std::borrow::Cow;

/// How many members one walk reports at most; what follows them stays skeleton.
pub const MEMBERS_MAX: usize = 1_000_000;

/// How much of a name is kept.
pub const NAME_LEN_BYTES_MAX: usize = 1024;

/// One member's content in a stream.
///
/// Members without content are never reported: there is nothing of theirs to find.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member<'a> {
    /// As the container has it, cut at [`NAME_LEN_BYTES_MAX`]; finds bases, decides nothing.
    pub name: Cow<'a, [u8]>,
    pub offset: u64,
    pub len_bytes: u64,
}

impl<'a> Member<'a> {
    pub(super) fn new(name: &'a [u8], offset: usize, content: &[u8]) -> Self {
        Self { name: cut(name).into(), offset: offset as u64, len_bytes: content.len() as u64 }
    }
}

/// The part of `name` that is kept.
pub(super) fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_LEN_BYTES_MAX)]
}

/// The `len_bytes` bytes from `offset`, if they are there.
pub(super) fn slice_at(bytes: &[u8], offset: usize, len_bytes: usize) -> Option<&[u8]> {
    bytes.get(offset..offset.checked_add(len_bytes)?)
}

/// The content of a declared length from `offset`, if it is there.
pub(super) fn content_at(bytes: &[u8], offset: usize, len_bytes: u64) -> Option<&[u8]> {
    slice_at(bytes, offset, usize::try_from(len_bytes).ok()?)
}

/// `field` up to its first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// Reads a field of digits and nothing else; an empty one is 0.
pub(super) fn digits(field: &[u8], radix: u32) -> Option<u64> {
    field.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

/// Reads a field of digits that ends at a NUL and may stand among spaces; an empty one is 0.
pub(super) fn padded_digits(field: &[u8], radix: u32) -> Option<u64> {
    digits(until_nul(field).trim_ascii(), radix)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Hands `check` 20,000 damaged copies of `seeds`, the same ones each time.
    pub fn damaged(seeds: &[Vec<u8>], check: impl Fn(&[u8])) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (below.max(1) as u64)).unwrap()
        };
        for case in 0..20_000 {
            let mut bytes = seeds[case % seeds.len()].clone();
            for _ in 0..=random(6) {
                let (at, other) = (random(bytes.len()), random(bytes.len()));
                match random(6) {
                    0 => bytes.truncate(at),
                    1 => bytes.rotate_left(at),
                    2 => bytes.extend_from_within(at.min(other)..),
                    3 => bytes
                        .get_mut(at..)
                        .unwrap_or_default()
                        .iter_mut()
                        .take(4)
                        .for_each(|b| *b = 0xff),
                    4 if at < bytes.len() => bytes[at] = b'0' + u8::try_from(random(10)).unwrap(),
                    _ if at < bytes.len() => bytes[at] = u8::try_from(random(256)).unwrap(),
                    _ => {}
                }
            }
            check(&bytes);
        }
    }

    /// Requires `members` to lie in order and apart, inside `bytes`.
    pub fn assert_apart(bytes: &[u8], members: &[Member<'_>]) {
        let mut end = 0;
        for member in members {
            assert!(end <= member.offset && 0 < member.len_bytes, "{member:?} after {end}");
            assert!(member.name.len() <= NAME_LEN_BYTES_MAX);
            end = member.offset.checked_add(member.len_bytes).unwrap();
        }
        assert!(end <= bytes.len() as u64);
    }

    /// The names and contents of `members`, as text.
    pub fn contents(bytes: &[u8], members: &[Member<'_>]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let content =
            |m: &Member<'_>| content_at(bytes, usize::try_from(m.offset).unwrap(), m.len_bytes);
        members.iter().map(|m| (text(&m.name), text(content(m).unwrap()))).collect()
    }

    /// Pairs of text, owned, to compare with [`contents`].
    pub fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, content)| (name.to_owned(), content.to_owned())).collect()
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        let read = |field: &[u8]| padded_digits(field, 8);
        assert_eq!(
            [
                read(b"0000017\0"),
                read(b"  17 \0xx"),
                read(b""),
                read(b"+7"),
                read(b"18"),
                read(b"1 7")
            ],
            [Some(15), Some(15), Some(0), None, None, None]
        );
        assert_eq!(padded_digits(b"99999999999999999999", 10), None);
    }
}
