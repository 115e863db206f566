//! The headers that say what a body is.
//!
//! In:   the headers of a response.
//! Out:  lengths, ranges and media types; none where a header is absent or not understood.
//! Pure: values only.

use reqwest::header::{self, HeaderMap, HeaderValue};

/// Asks for a range, `bytes=0-9`.
pub fn range_header(range: String) -> HeaderMap {
    let range = HeaderValue::try_from(range).expect("digits are a header's value");
    HeaderMap::from_iter([(header::RANGE, range)])
}

/// A `Content-Range` of bytes (RFC 9110, section 14.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentRange {
    /// Zero when the range could not be satisfied.
    pub start: u64,
    pub total: Option<u64>,
}

/// The range that a response gives.
pub fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    parse_content_range(headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let start = match range {
        "*" => 0,
        range => range.split_once('-')?.0.parse().ok()?,
    };
    Some(ContentRange { start, total })
}

/// The length that a response promises, in bytes.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type of a response, in lower case and without parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_as_rfc_9110_writes_them() {
        for (value, expected) in [
            ("bytes 5-9/10", Some(ContentRange { start: 5, total: Some(10) })),
            ("bytes 5-9/*", Some(ContentRange { start: 5, total: None })),
            ("bytes */10", Some(ContentRange { start: 0, total: Some(10) })),
            ("bytes 5-9", None),
            ("items 5-9/10", None),
            ("bytes x-9/10", None),
            ("bytes 5-9/99999999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(value), expected, "{value}");
        }
    }
}
