//! The little of HTML that a simple index is made of: start tags and their attributes.
//!
//! In:   the text of a page.
//! Out:  its `a` and `base` elements, in order, with attributes unescaped.
//! Pure. Comments are skipped; what is no tag is text; a page that ends inside a tag is cut off.

/// A start tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// In lower case.
    pub name: String,
    /// Names in lower case; an attribute without a value has an empty one.
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    /// The first attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(n, value)| (n == name).then_some(value.as_str()))
    }
}

/// The page ends inside a tag or a comment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutOff;

/// Lists the `a` and `base` start tags of a page.
///
/// # Errors
///
/// [`CutOff`] when the page ends in the middle of one.
pub fn tags(page: &str) -> Result<Vec<Tag>, CutOff> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = &comment[comment.find("-->").ok_or(CutOff)? + 3..];
            continue;
        }
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let tag;
        (tag, rest) = start_tag(rest)?;
        if matches!(tag.name.as_str(), "a" | "base") {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn start_tag(text: &str) -> Result<(Tag, &str), CutOff> {
    let end = text.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
    let (name, mut rest) = text.split_at(end.ok_or(CutOff)?);
    let mut tag = Tag { name: name.to_ascii_lowercase(), attributes: Vec::new() };
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((tag, after));
        }
        let attribute;
        (attribute, rest) = read_attribute(rest)?;
        tag.attributes.push(attribute);
    }
}

fn read_attribute(text: &str) -> Result<((String, String), &str), CutOff> {
    // A stray '=' first belongs to the name (HTML, "before attribute name state").
    let from = usize::from(text.starts_with('='));
    let end = text[from..]
        .find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/' | '='))
        .ok_or(CutOff)?;
    let (name, rest) = text.split_at(from + end);
    let name = name.to_ascii_lowercase();
    let Some(value) = rest.trim_ascii_start().strip_prefix('=') else {
        return Ok(((name, String::new()), rest));
    };
    let value = value.trim_ascii_start();
    for quote in ['"', '\''] {
        if let Some(quoted) = value.strip_prefix(quote) {
            let (value, after) = quoted.split_once(quote).ok_or(CutOff)?;
            return Ok(((name, unescape(value)), after));
        }
    }
    let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').ok_or(CutOff)?;
    Ok(((name, unescape(&value[..end])), &value[end..]))
}

/// Replaces the character references that indexes use; others stay as they are.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // Names are short: a page of ampersands alone must not be searched to its end for each.
        let end = rest.bytes().take(12).position(|b| b == b';');
        let known = end.and_then(|end| Some((end + 1, reference(&rest[1..end])?)));
        let (taken, c) = known.unwrap_or((1, '&'));
        out.push(c);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<char> {
    let number = match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let number = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    char::from_u32(number.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str, attributes: &[(&str, &str)]) -> Tag {
        let attributes = attributes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Tag { name: name.to_owned(), attributes: attributes.collect() }
    }

    #[test]
    fn attributes_come_quoted_in_any_way_and_unescaped() {
        let page = "<!DOCTYPE html><p>1 < 2<!-- <a href=no> --><A HREF=\"x&amp;y\"\n data-yanked \
                    data-requires-python='&gt;=3.8,&#60;4&#x2c;&bogus;'  b=c/ >t</a><base href=z>";
        let expected = [
            tag(
                "a",
                &[
                    ("href", "x&y"),
                    ("data-yanked", ""),
                    ("data-requires-python", ">=3.8,<4,&bogus;"),
                    ("b", "c/"),
                ],
            ),
            tag("base", &[("href", "z")]),
        ];
        assert_eq!(tags(page).unwrap(), expected);
    }

    #[test]
    fn a_page_that_ends_inside_a_tag_is_cut_off() {
        for bad in
            ["<a", "<a href", "<a href=", "<a href=\"x", "<a href='x\"", "<!-- x", "<a href=x"]
        {
            assert_eq!(tags(bad), Err(CutOff), "{bad}");
        }
    }

    #[test]
    fn odd_pages_are_read_without_end_or_panic() {
        assert_eq!(tags("<a =x=y></a>").unwrap(), [tag("a", &[("=x", "y")])]);
        assert_eq!(tags("&<&>< a><ä<").unwrap(), []);
        assert_eq!(unescape("&&;&#x110000;&#;&lt"), "&&;&#x110000;&#;&lt");
        assert_eq!(tags(&"<".repeat(100_000)).unwrap(), []);
    }
}
