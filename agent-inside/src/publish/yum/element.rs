//! The `package` element of upstream's `primary.xml`, which travels with each package.
//!
//! In:   the element as upstream wrote it, and what the snapshot says of the package.
//! Out:  the element with its location below our own root; or why it does not fit.
//! Pure. Only as much XML is read as an element needs that stands in a document: tags that
//! close, known entities, no declaration. Whoever signed the export vouches for the rest.

use gapferry_proto::artifact::{BlobRef, RpmFacts};

/// Most tags within each other; real elements have four.
const DEPTH_MAX: usize = 16;

/// What stands between `<` and `>`.
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
    closes: bool,
    empty: bool,
    /// Where it stands in the element.
    from: usize,
    to: usize,
}

/// What the element says of its package.
#[derive(Default)]
struct Said<'a> {
    name: Option<&'a str>,
    architecture: Option<&'a str>,
    version: Option<&'a str>,
    checksum: Option<(&'a str, &'a str)>,
    size: Option<&'a str>,
    /// Place and attributes of the location, and whether its tag closes itself.
    location: Option<(usize, usize, bool)>,
}

/// The element as our `primary.xml` has it: its location is the path at which we serve it, and
/// nothing leads to another server.
///
/// # Errors
///
/// Why it would tear the document, or lead clients to other bytes than ours.
pub fn placed(facts: &RpmFacts, blob: BlobRef) -> Result<String, &'static str> {
    let element = facts.element.trim();
    let said = read(element)?;
    let is = |said: Option<&str>, value: &str| said.map(unescaped).as_deref() == Some(value);
    let of = |attributes: Option<&str>, name: &str| {
        unescaped(attribute(attributes.unwrap_or_default(), name).unwrap_or_default())
    };
    if !is(said.name, &facts.package) || !is(said.architecture, &facts.architecture) {
        return Err("it names another package or architecture");
    }
    let (epoch, version) = (of(said.version, "epoch"), of(said.version, "ver"));
    let same_epoch = number(&epoch) == number(&facts.epoch);
    if !same_epoch || version != facts.version || of(said.version, "rel") != facts.release {
        return Err("it names another version");
    }
    let (attributes, hex) = said.checksum.ok_or("it names no checksum")?;
    if attribute(attributes, "type") != Some("sha256") || hex.to_lowercase() != blob.id.hex() {
        return Err("it names another SHA-256");
    }
    if of(said.size, "package") != blob.len_bytes.to_string() {
        return Err("it names another size");
    }
    let (from, to, empty) = said.location.ok_or("it names no location")?;
    let href = escaped(facts.location.as_str());
    let end = if empty { "/>" } else { ">" };
    Ok(format!("{}<location href=\"{href}\"{end}{}", &element[..from], &element[to..]))
}

/// An epoch; none is 0.
fn number(epoch: &str) -> Option<u64> {
    if epoch.is_empty() { Some(0) } else { epoch.parse().ok() }
}

fn read(element: &str) -> Result<Said<'_>, &'static str> {
    let torn = "it is no whole element";
    let mut said = Said::default();
    let mut open: Vec<Tag<'_>> = Vec::new();
    let mut at = 0;
    while let Some(tag) = next_tag(element, at)? {
        check_text(&element[at..tag.from])?;
        if open.is_empty() && (at != 0 || tag.from != 0 || tag.name != "package") {
            return Err(torn);
        }
        at = tag.to;
        if tag.closes {
            let opened = open.pop().filter(|opened| opened.name == tag.name).ok_or(torn)?;
            if open.len() == 1 {
                said.take(&opened, element[opened.to..tag.from].trim())?;
            }
        } else if tag.empty {
            if open.len() == 1 {
                said.take(&tag, "")?;
            }
        } else if open.len() < DEPTH_MAX {
            open.push(tag);
        } else {
            return Err("its tags stand too deep");
        }
    }
    if open.is_empty() && at == element.len() && at != 0 { Ok(said) } else { Err(torn) }
}

impl<'a> Said<'a> {
    /// Takes note of a child of the element.
    fn take(&mut self, tag: &Tag<'a>, text: &'a str) -> Result<(), &'static str> {
        let before = match tag.name {
            "name" => self.name.replace(text).is_some(),
            "arch" => self.architecture.replace(text).is_some(),
            "version" => self.version.replace(tag.attributes).is_some(),
            "checksum" => self.checksum.replace((tag.attributes, text)).is_some(),
            "size" => self.size.replace(tag.attributes).is_some(),
            "location" => self.location.replace((tag.from, tag.to, tag.empty)).is_some(),
            _ => false,
        };
        // Some clients take the first, others the last.
        if before { Err("it says one thing twice") } else { Ok(()) }
    }
}

/// The next tag from `at` on; none when only text is left.
fn next_tag(element: &str, at: usize) -> Result<Option<Tag<'_>>, &'static str> {
    let Some(from) = element[at..].find('<').map(|found| at + found) else { return Ok(None) };
    let mut quote = None;
    let end = element[from..].char_indices().find(|&(_, c)| match (quote, c) {
        (None, '"' | '\'') => {
            quote = Some(c);
            false
        }
        (Some(open), c) => {
            if open == c {
                quote = None;
            }
            false
        }
        (None, c) => c == '>',
    });
    let to = from + end.ok_or("a tag does not end")?.0 + 1;
    let inner = &element[from + 1..to - 1];
    let (inner, closes) = match inner.strip_prefix('/') {
        Some(inner) => (inner, true),
        None => (inner, false),
    };
    let (inner, empty) = match inner.strip_suffix('/') {
        Some(inner) => (inner, true),
        None => (inner, false),
    };
    let (name, attributes) =
        inner.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((inner, ""));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    if name.is_empty() || !name.bytes().all(is_name) || inner.contains('<') {
        return Err("it has more than tags and text");
    }
    check_text(attributes)?;
    Ok(Some(Tag { name, attributes, closes, empty, from, to }))
}

/// Refuses characters and entities that a document cannot have.
fn check_text(text: &str) -> Result<(), &'static str> {
    if text.chars().any(|c| !is_character(c)) {
        return Err("it has a character that XML does not allow");
    }
    let known = |rest: &str| {
        let name = rest.split_once(';').map(|(name, _)| name);
        name.is_some_and(|name| entity(name).is_some())
    };
    let mut entities = text.split('&').skip(1);
    if entities.all(known) { Ok(()) } else { Err("it has an entity that is not known") }
}

/// XML 1.0, production 2.
pub fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn entity(name: &str) -> Option<char> {
    let number =
        |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            let found =
                digits.strip_prefix('x').map_or_else(|| number(digits, 10), |hex| number(hex, 16));
            found.filter(|c| is_character(*c))
        }
    }
}

/// The value of an attribute, as written.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes.trim_start();
    while let Some((found, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, next) = after[1..].split_once(quote)?;
        if found.trim() == name {
            return Some(value);
        }
        rest = next.trim_start();
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').unwrap_or((part, ""));
        plain.extend(entity(name));
        plain.push_str(rest);
    }
    plain
}

/// `text` as the value of an attribute or as text; what XML does not allow becomes a question
/// mark.
pub fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => written.push_str("&amp;"),
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '"' => written.push_str("&quot;"),
            c if is_character(c) => written.push(c),
            _ => written.push('?'),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::fixture;
    use gapferry_proto::Facts;

    fn rpm() -> (RpmFacts, BlobRef) {
        let artifact = fixture::rpm("el9", "a-b", "1.0", b"rpm");
        let Facts::Rpm(facts) = artifact.facts else { unreachable!() };
        (facts, artifact.blobs[0])
    }

    #[test]
    fn an_element_leads_to_our_own_path_and_to_no_other_server() {
        let (mut facts, blob) = rpm();
        facts.location = "Packages/a&b-1.0-1.noarch.rpm".parse().unwrap();
        let given = facts.element.clone();
        for (old, new) in [
            ("<location href=\"Packages/a-b-1.0-1.noarch.rpm\"/>", ""),
            (
                "<location href=\"Packages/a-b-1.0-1.noarch.rpm\"/>",
                "<location xml:base='https://e.example/' href='x>.rpm'></location>",
            ),
        ] {
            facts.element = given.replace(old, if new.is_empty() { old } else { new });
            let placed = placed(&facts, blob).unwrap();
            assert!(
                placed.contains("<location href=\"Packages/a&amp;b-1.0-1.noarch.rpm\""),
                "{placed}"
            );
            assert!(!placed.contains("e.example"), "{placed}");
        }
    }

    #[test]
    fn an_element_that_lies_about_its_package_is_refused() {
        let (good, blob) = rpm();
        placed(&good, blob).unwrap();
        let hex = blob.id.hex();
        for (old, new, expected) in [
            ("<name>a-b<", "<name>a<", "it names another package or architecture"),
            ("<arch>noarch<", "<arch>i686<", "it names another package or architecture"),
            ("epoch=\"0\"", "epoch=\"1\"", "it names another version"),
            ("ver=\"1.0\"", "ver=\"1.1\"", "it names another version"),
            ("type=\"sha256\"", "type=\"md5\"", "it names another SHA-256"),
            (&*hex, "00", "it names another SHA-256"),
            ("package=\"3\"", "package=\"4\"", "it names another size"),
            ("<location ", "<place ", "it names no location"),
            ("<format/>", "<location href=\"x\"/>", "it says one thing twice"),
        ] {
            let facts = RpmFacts { element: good.element.replace(old, new), ..good.clone() };
            assert_eq!(placed(&facts, blob), Err(expected), "{new}");
        }
    }

    #[test]
    fn an_element_that_would_tear_the_document_is_refused() {
        let (good, blob) = rpm();
        for bad in [
            String::new(),
            "text".to_owned(),
            format!("{0}{0}", good.element),
            format!("<x/>{}", good.element),
            good.element.replace("</package>", "</package></metadata>"),
            good.element.replace("</package>", ""),
            good.element.replace("<name>", "<name><!-- <x> -->"),
            good.element.replace("<name>", "<name>&x;"),
            good.element.replace("<name>", "<name>\u{1}"),
            good.element.replace("<name>", "<?php?><name>"),
            good.element.replace("</name>", "</nam>"),
            good.element.replace("<format/>", &"<x>".repeat(100)),
            format!("{}<", good.element),
        ] {
            let facts = RpmFacts { element: bad.clone(), ..good.clone() };
            assert!(placed(&facts, blob).is_err(), "{bad}");
        }
    }
}
