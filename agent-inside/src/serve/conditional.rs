//! Which part of a document a request wants, if any.
//!
//! In:   the request's headers and what the document is. Out: a [`Wanted`]. Pure.
//!
//! RFC 9110, sections 13 (conditional requests) and 14 (range requests).

use axum::http::{HeaderMap, HeaderName, Method, header};
use gapferry_proto::Digest;
use jiff::Timestamp;

/// Which part of a document a request wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    Whole,
    /// `len_bytes` bytes from `from` on; never empty.
    Part {
        from: u64,
        len_bytes: u64,
    },
    /// The client has it already: 304.
    Nothing,
    /// The range lies outside, or is no range: 416.
    Outside,
}

/// What a client can compare its own copy with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validators {
    pub etag: String,
    pub modified: String,
}

impl Validators {
    /// The validators of the document with this digest.
    ///
    /// The artifact has no date of its own, and one of a file on disk would differ between two
    /// servers of one site. So the date is drawn from the digest (2001 to 2017): the same bytes
    /// always have the same date, other bytes another.
    pub fn of(digest: &Digest) -> Self {
        let [a, b, c, d, ..] = *digest.as_bytes();
        let second = 978_307_200 + i64::from(u32::from_be_bytes([a, b, c, d]) >> 3);
        let modified = Timestamp::from_second(second)
            .expect("2001 and 17 years are well inside")
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        Self { etag: format!("\"{digest}\""), modified }
    }
}

impl Wanted {
    /// Decides what a request for a document of `len_bytes` bytes gets.
    ///
    /// `If-Modified-Since` counts only when it is exactly our date: ours are no times, so none
    /// is later than another.
    pub fn of(
        method: &Method,
        headers: &HeaderMap,
        validators: &Validators,
        len_bytes: u64,
    ) -> Self {
        if has_current(headers, validators) {
            return Self::Nothing;
        }
        match one(headers, &header::RANGE) {
            Some(range) if method == Method::GET && range_counts(headers, validators) => {
                Self::range(range, len_bytes)
            }
            _ => Self::Whole,
        }
    }

    /// Several ranges and other units than bytes are ignored, as section 14.2 allows.
    fn range(range: &str, len_bytes: u64) -> Self {
        let Some(range) = range.trim().strip_prefix("bytes=") else { return Self::Whole };
        if range.contains(',') {
            return Self::Whole;
        }
        let Some((first, last)) = range.split_once('-') else { return Self::Outside };
        let number = |text: &str| -> Option<Option<u64>> {
            match text.trim() {
                "" => Some(None),
                digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                    Some(Some(digits.parse().unwrap_or(u64::MAX)))
                }
                _ => None,
            }
        };
        match (number(first), number(last)) {
            (Some(Some(from)), Some(last)) if from < len_bytes => {
                let last = last.unwrap_or(u64::MAX).min(len_bytes - 1);
                Self::part(from, last)
            }
            (Some(None), Some(Some(suffix))) if 0 < suffix && 0 < len_bytes => {
                Self::part(len_bytes.saturating_sub(suffix), len_bytes - 1)
            }
            _ => Self::Outside,
        }
    }

    const fn part(from: u64, last: u64) -> Self {
        if last < from {
            return Self::Outside;
        }
        Self::Part { from, len_bytes: last - from + 1 }
    }
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn has_current(headers: &HeaderMap, validators: &Validators) -> bool {
    if let Some(list) = one(headers, &header::IF_NONE_MATCH) {
        return list
            .split(',')
            .map(|etag| etag.trim().trim_start_matches("W/"))
            .any(|etag| etag == "*" || etag == validators.etag);
    }
    one(headers, &header::IF_MODIFIED_SINCE) == Some(&validators.modified)
}

fn range_counts(headers: &HeaderMap, validators: &Validators) -> bool {
    one(headers, &header::IF_RANGE)
        .is_none_or(|copy| copy == validators.etag || copy == validators.modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(headers: &[(HeaderName, &str)], len_bytes: u64) -> Wanted {
        let map = headers.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect();
        Wanted::of(&Method::GET, &map, &Validators::of(&Digest::of(b"abc")), len_bytes)
    }

    fn range(range: &str) -> Wanted {
        wanted(&[(header::RANGE, range)], 4000)
    }

    const fn part(from: u64, len_bytes: u64) -> Wanted {
        Wanted::Part { from, len_bytes }
    }

    #[test]
    fn a_range_is_cut_to_the_document() {
        assert_eq!(range("bytes=500-1499"), part(500, 1000));
        assert_eq!(range("bytes=500-"), part(500, 3500));
        assert_eq!(range("bytes=-500"), part(3500, 500));
        assert_eq!(range("bytes=-5000"), part(0, 4000));
        assert_eq!(range("bytes=2000-5000"), part(2000, 2000));
        assert_eq!(range("bytes=0-0"), part(0, 1));
        assert_eq!(range("bytes=0-99999999999999999999999"), part(0, 4000));
    }

    #[test]
    fn a_range_outside_of_the_document_or_out_of_order_is_not_satisfied() {
        for bad in ["500-0", "4000-", "5000-10000", "-0", "-", "a-b", "1", "", "--1", "+1-2"] {
            assert_eq!(range(&format!("bytes={bad}")), Wanted::Outside, "{bad}");
        }
        assert_eq!(wanted(&[(header::RANGE, "bytes=0-")], 0), Wanted::Outside);
        assert_eq!(wanted(&[(header::RANGE, "bytes=-1")], 0), Wanted::Outside);
    }

    #[test]
    fn other_units_and_several_ranges_give_the_whole() {
        assert_eq!(range("lines=1-2"), Wanted::Whole);
        assert_eq!(range("bytes=0-1,5-6"), Wanted::Whole);
    }

    #[test]
    fn a_copy_with_our_etag_or_our_date_is_current() {
        let Validators { etag, modified } = Validators::of(&Digest::of(b"abc"));
        for (name, value) in [
            (header::IF_NONE_MATCH, etag.as_str()),
            (header::IF_NONE_MATCH, "*"),
            (header::IF_NONE_MATCH, &format!("\"x\", W/{etag}")),
            (header::IF_MODIFIED_SINCE, &modified),
        ] {
            assert_eq!(wanted(&[(name, value)], 9), Wanted::Nothing, "{value}");
        }
        let other = [(header::IF_NONE_MATCH, "\"x\""), (header::IF_MODIFIED_SINCE, &*modified)];
        assert_eq!(wanted(&other, 9), Wanted::Whole);
        let later = [(header::IF_MODIFIED_SINCE, "Sun, 22 Nov 2026 21:42:03 GMT")];
        assert_eq!(wanted(&later, 9), Wanted::Whole);
    }

    #[test]
    fn a_range_of_another_copy_gives_the_whole() {
        let Validators { etag, modified } = Validators::of(&Digest::of(b"abc"));
        for (copy, expected) in [
            (etag.as_str(), part(1, 2)),
            (&modified, part(1, 2)),
            ("\"other\"", Wanted::Whole),
            (&format!("W/{etag}"), Wanted::Whole),
        ] {
            let headers = [(header::RANGE, "bytes=1-2"), (header::IF_RANGE, copy)];
            assert_eq!(wanted(&headers, 9), expected, "{copy}");
        }
    }

    #[test]
    fn the_date_is_drawn_from_the_digest() {
        let date = Validators::of(&Digest::of(b"abc")).modified;
        assert_eq!(date, "Fri, 24 May 2013 02:07:19 GMT");
    }
}
