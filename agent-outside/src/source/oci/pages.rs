//! The pages of a list that a registry gives in parts: tags, referrers.
//!
//! In:    where a page was asked for, the headers of its response.
//! Out:   where the next page is asked for; an error for a list that comes round or never ends.
//! Never: another host or path than the list began with. Of a link only the query is taken, so it
//!        leads no credentials away, and goes through the same mirror.
//! Pure:  values only.

use std::collections::BTreeSet;

use gapferry_proto::limits;
use reqwest::header::{self, HeaderMap};
use url::Url;

use super::ImageError;
use crate::source::http::Redacted;

/// The pages of one list that were seen.
#[derive(Debug, Default)]
pub struct Pages(BTreeSet<String>);

impl Pages {
    /// Whether no page was turned yet.
    pub fn is_first(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the list of which `url` is a page goes on (distribution-spec v1.1.1, "Listing Tags",
    /// "Listing Referrers"; RFC 8288).
    ///
    /// # Errors
    ///
    /// [`ImageError::Endless`] for a page that was seen before, and after
    /// [`limits::LIST_PAGES_MAX`] pages.
    pub fn next(&mut self, url: &Url, headers: &HeaderMap) -> Result<Option<Url>, ImageError> {
        self.0.insert(url.query().unwrap_or_default().to_owned());
        let all = headers.get_all(header::LINK).iter();
        let Some(link) = all.filter_map(|value| value.to_str().ok()).find_map(next_link) else {
            return Ok(None);
        };
        let query = link.split_once('?').map_or("", |(_, query)| query);
        let mut next = url.clone();
        next.set_query(Some(query.split('#').next().unwrap_or_default()));
        let is_seen = self.0.contains(next.query().unwrap_or_default());
        if is_seen || limits::LIST_PAGES_MAX <= self.0.len() {
            return Err(ImageError::Endless { url: Redacted::of(url) });
        }
        Ok(Some(next))
    }
}

/// The target of the link whose relation is `next`.
fn next_link(value: &str) -> Option<&str> {
    let mut rest = value;
    while let Some((_, opened)) = rest.split_once('<') {
        let (target, after) = opened.split_once('>')?;
        let end = parameters_end(after);
        if after[..end].split(';').any(is_next) {
            return Some(target);
        }
        rest = &after[end..];
    }
    None
}

/// Where the parameters of a link end: at a comma outside quotes.
fn parameters_end(text: &str) -> usize {
    let mut is_quoted = false;
    let end = text.find(|c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    end.unwrap_or(text.len())
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let relations = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("rel")
        && relations.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pages: &mut Pages, url: &str, link: &str) -> Result<Option<String>, ImageError> {
        let url = url.parse().unwrap();
        let headers = HeaderMap::from_iter([(header::LINK, link.parse().unwrap())]);
        Ok(pages.next(&url, &headers)?.map(Into::into))
    }

    #[test]
    fn of_a_link_only_the_query_is_taken() {
        const URL: &str = "https://r.example/v2/a/tags/list?n=2";
        for (link, query) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("n=2&last=b")),
            ("<https://evil.example/other?last=b>; rel=next", Some("last=b")),
            ("<?a>; rel=\"prev\", <?b,c>; title=\"x,y; rel=next\"; REL=\"up Next\"", Some("b,c")),
            ("<?b#c>;rel=next", Some("b")),
            ("<?b>; rel=\"prev\"", None),
            ("<?b; rel=next", None),
            ("?b; rel=next", None),
            ("", None),
        ] {
            let expected = query.map(|query| format!("https://r.example/v2/a/tags/list?{query}"));
            assert_eq!(next(&mut Pages::default(), URL, link).unwrap(), expected, "{link}");
        }
    }

    #[test]
    fn a_list_that_comes_round_or_never_ends_is_refused() {
        let mut pages = Pages::default();
        let second = next(&mut pages, "https://r.example/l", "<?2>; rel=next").unwrap().unwrap();
        for seen in ["<?2>; rel=next", "<l>; rel=next"] {
            let error = next(&mut pages, &second, seen).unwrap_err();
            assert!(matches!(error, ImageError::Endless { .. }), "{error:?}");
        }
        let mut pages = Pages::default();
        let mut url = "https://r.example/l".to_owned();
        for page in 1.. {
            match next(&mut pages, &url, &format!("<?{page}>; rel=next")) {
                Ok(next) => url = next.unwrap(),
                Err(error) => {
                    assert!(matches!(error, ImageError::Endless { .. }), "{error:?}");
                    assert_eq!(page, limits::LIST_PAGES_MAX);
                    break;
                }
            }
        }
    }
}
