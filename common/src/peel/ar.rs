//! Finds the members of an ar archive (`.deb`, `.a`).
//!
//! In:   the bytes of one stream.
//! Out:  where each member's content lies; the rest is skeleton.
//! Never: reads past what is there, or gives another answer for the same bytes.
//!
//! Layout: `ar(5)`; a header has 60 bytes, contents begin at even offsets. The name tables of
//! GNU (`/`, `//`) count as members, and BSD's `#1/` names stay part of the content.

use super::member::{MEMBERS_MAX, Member, content_at, cut, digits, padded_digits, slice_at};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_LEN_BYTES: usize = 60;

/// Finds the members of an ar archive, or gives `None` when `bytes` does not begin as one.
///
/// Ends at the first thing that is no header, or whose content is cut off.
pub fn members(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let mut found = Vec::new();
    let mut long_names: &[u8] = &[];
    let mut at = MAGIC.len();
    while found.len() < MEMBERS_MAX
        && let Some((field, content)) = member_at(bytes, at)
    {
        if field == b"//" {
            long_names = content;
        }
        let offset = at + HEADER_LEN_BYTES;
        if !content.is_empty() {
            found.push(Member::new(name(field, content, long_names), offset, content));
        }
        at = offset + content.len() + content.len() % 2;
    }
    Some(found)
}

/// The name field and the content of the member whose header begins at `at`.
fn member_at(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let header = slice_at(bytes, at, HEADER_LEN_BYTES)?;
    if !header.ends_with(b"`\n") {
        return None;
    }
    let len_bytes = padded_digits(&header[48..58], 10)?;
    Some((header[..16].trim_ascii_end(), content_at(bytes, at + HEADER_LEN_BYTES, len_bytes)?))
}

/// The name that `field` stands for; `field` itself where it leads nowhere.
fn name<'a>(field: &'a [u8], content: &'a [u8], long_names: &'a [u8]) -> &'a [u8] {
    let place = |digits_from: &[u8]| usize::try_from(digits(digits_from, 10)?).ok();
    if let Some(len_bytes) = field.strip_prefix(b"#1/") {
        let long = place(len_bytes).and_then(|len_bytes| content.get(..len_bytes));
        return long.map_or(field, super::member::until_nul);
    }
    match field.strip_prefix(b"/") {
        Some([] | b"/") => field,
        Some(offset) => {
            // Cut first: a table of names without ends would be read for every member.
            let long = place(offset).and_then(|offset| long_names.get(offset..)).map(cut);
            long.and_then(|long| long.split(|&byte| byte == b'\n').next())
                .map_or(field, without_slash)
        }
        None => without_slash(field),
    }
}

fn without_slash(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::super::member::{
        NAME_LEN_BYTES_MAX,
        tests::{assert_apart, contents, damaged, pairs},
    };
    use super::*;

    fn deb() -> Vec<u8> {
        let mut builder = ::ar::Builder::new(Vec::new());
        for (name, content) in
            [("debian-binary", "2.0\n"), ("control.tar", "odd"), ("data.tar", "even")]
        {
            let header = ::ar::Header::new(name.into(), content.len() as u64);
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn library() -> Vec<u8> {
        let names = ["a.o", "a_very_long_name_of_an_object.o"].map(|name| name.as_bytes().to_vec());
        let mut builder = ::ar::GnuBuilder::new(Vec::new(), names.to_vec());
        for name in names {
            builder.append(&::ar::Header::new(name, 3), &b"obj"[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn header(name: &str, len_bytes: &str) -> Vec<u8> {
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{len_bytes:<10}`\n", 0, 0, 0, 644).into_bytes()
    }

    #[test]
    fn a_table_of_names_without_ends_is_not_read_for_every_member() {
        let table = vec![b'a'; 4 << 20];
        let members_len = 40_000;
        let mut bytes = [MAGIC, &header("//", &table.len().to_string()), &table].concat();
        for _ in 0..members_len {
            bytes.extend(header("/0", "2"));
            bytes.extend(b"xy");
        }
        let found = members(&bytes).unwrap();
        assert_eq!(found.len(), members_len + 1);
        assert!(found.iter().skip(1).all(|member| *member.name == table[..NAME_LEN_BYTES_MAX]));
    }

    #[test]
    fn members_of_a_deb_are_found_at_their_places() {
        let bytes = deb();
        let member = |name: &'static [u8], offset, len_bytes| Member {
            name: name.into(),
            offset,
            len_bytes,
        };
        let expected = [
            member(b"debian-binary", 68, 4),
            member(b"control.tar", 132, 3),
            member(b"data.tar", 196, 4),
        ];
        assert_eq!(members(&bytes).unwrap(), expected);
    }

    #[test]
    fn long_names_of_gnu_come_from_the_table() {
        let bytes = library();
        let found = contents(&bytes, &members(&bytes).unwrap());
        assert_eq!(found[0].0, "//");
        assert_eq!(
            found[1..],
            pairs(&[("a.o", "obj"), ("a_very_long_name_of_an_object.o", "obj")])
        );
    }

    #[test]
    fn long_names_of_bsd_stay_in_the_content() {
        let bytes = [MAGIC, &header("#1/8", "11"), b"long.o\0\0abc\n"].concat();
        let found = contents(&bytes, &members(&bytes).unwrap());
        assert_eq!(found, pairs(&[("long.o", "long.o\0\0abc")]));
    }

    #[test]
    fn names_that_lead_nowhere_are_kept_as_they_are() {
        let bytes = [MAGIC, &header("/99", "2"), b"ab", &header("#1/9", "2"), b"cd"].concat();
        let found = contents(&bytes, &members(&bytes).unwrap());
        assert_eq!(found, pairs(&[("/99", "ab"), ("#1/9", "cd")]));
    }

    #[test]
    fn the_walk_ends_at_garbage_and_at_a_member_cut_off() {
        let whole = [MAGIC, &header("a/", "2"), b"ab"].concat();
        let expected = pairs(&[("a", "ab")]);
        for tail in [
            b"garbage ".repeat(9),
            header("b/", "1"),
            header("b/", "-1"),
            header("b/", "9999999999"),
        ] {
            let bytes = [&whole[..], &tail].concat();
            assert_eq!(contents(&bytes, &members(&bytes).unwrap()), expected);
        }
        assert_eq!(members(b"!<thin>\n"), None);
        assert_eq!(members(MAGIC), Some(vec![]));
    }

    #[test]
    fn damaged_archives_give_ranges_in_order_and_inside() {
        damaged(&[deb(), library()], |bytes| {
            assert_apart(bytes, &members(bytes).unwrap_or_default());
        });
    }
}
