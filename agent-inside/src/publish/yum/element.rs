//! The `package` element of upstream's `primary.xml`, which travels with each package.
//!
//! In:   the element as upstream wrote it, and what the snapshot says of the package.
//! Out:  the element with its location below our own root; or why it does not fit.
//! Pure. An element is taken only if it can stand in a document: tags that close, known entities,
//! no declaration. Comments and what is meant for other programs stay as they are, and say nothing.
//! Whoever signed the export vouches for the rest.

use std::collections::BTreeMap;
use std::ops::Range;

use gapferry_proto::artifact::{BlobRef, RpmFacts};
use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesRef, BytesStart, Event},
};

/// Most tags within each other; real elements have four.
const DEPTH_MAX: usize = 16;

const TORN: &str = "it is no whole element";

/// The children that say which package this is; each may stand there once.
const TOLD: [&str; 6] = ["name", "arch", "version", "checksum", "size", "location"];

/// A child of the element.
#[derive(Default)]
struct Child {
    attributes: BTreeMap<String, String>,
    text: String,
    /// Where its tag stands in the element.
    tag: Range<usize>,
}

/// The element as our `primary.xml` has it: its location is the path at which we serve it, and
/// nothing leads to another server.
///
/// # Errors
///
/// Why it would tear the document, or lead clients to other bytes than ours.
pub fn placed(facts: &RpmFacts, blob: BlobRef) -> Result<String, &'static str> {
    let element = facts.element.trim();
    let children = read(element)?;
    let text = |name: &str| children.get(name).map(|child| child.text.trim());
    let of = |name: &str, attribute: &str| {
        let value = children.get(name).and_then(|child| child.attributes.get(attribute));
        value.map_or("", String::as_str)
    };
    if text("name") != Some(&*facts.package) || text("arch") != Some(&*facts.architecture) {
        return Err("it names another package or architecture");
    }
    let same_epoch = number(of("version", "epoch")) == number(&facts.epoch);
    let same = of("version", "ver") == facts.version && of("version", "rel") == facts.release;
    if !same_epoch || !same {
        return Err("it names another version");
    }
    let hex = text("checksum").ok_or("it names no checksum")?.to_lowercase();
    if of("checksum", "type") != "sha256" || hex != blob.id.hex() {
        return Err("it names another SHA-256");
    }
    if of("size", "package").parse() != Ok(blob.len_bytes) {
        return Err("it names another size");
    }
    let Range { start, end } = children.get("location").ok_or("it names no location")?.tag;
    let href = escaped(facts.location.as_str());
    let close = if element[..end].ends_with("/>") { "/>" } else { ">" };
    Ok(format!("{}<location href=\"{href}\"{close}{}", &element[..start], &element[end..]))
}

/// An epoch; none is 0.
fn number(epoch: &str) -> Option<u64> {
    if epoch.is_empty() { Some(0) } else { epoch.parse().ok() }
}

/// The children of the element that [`TOLD`] lists, by name.
fn read(element: &str) -> Result<BTreeMap<String, Child>, &'static str> {
    if !element.chars().all(is_character) {
        return Err("it has a character that XML does not allow");
    }
    let mut reader = Reader::from_str(element);
    reader.config_mut().check_comments = true;
    let mut children = BTreeMap::<String, Child>::new();
    let mut open: Vec<String> = Vec::new();
    let mut is_over = false;
    loop {
        let from = position(&reader)?;
        let event = reader.read_event().map_err(|_| TORN)?;
        let tag = from..position(&reader)?;
        if is_over && !matches!(event, Event::Eof) {
            return Err(TORN);
        }
        match event {
            Event::Start(start) => {
                begin(&mut children, &open, &start, tag)?;
                open.push(start.name().into_inner().to_owned());
            }
            Event::Empty(start) => begin(&mut children, &open, &start, tag)?,
            Event::End(_) => {
                open.pop();
                is_over = open.is_empty();
            }
            Event::Text(text) => add(&mut children, &open, &text.xml10_content())?,
            Event::CData(text) => add(&mut children, &open, &text.xml10_content())?,
            Event::Comment(_) => {}
            Event::PI(instruction) if is_target(instruction.target()) => {}
            Event::GeneralRef(reference) => {
                let c = meant(&reference).ok_or("it has an entity that is not known")?;
                add(&mut children, &open, c.encode_utf8(&mut [0; 4]))?;
            }
            Event::Eof if is_over => return Ok(children),
            Event::Eof => return Err(TORN),
            _ => return Err("it has more than tags and text"),
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> Result<usize, &'static str> {
    usize::try_from(reader.buffer_position()).map_err(|_| TORN)
}

/// Takes note of a tag that opens or stands alone.
fn begin(
    children: &mut BTreeMap<String, Child>,
    open: &[String],
    start: &BytesStart<'_>,
    tag: Range<usize>,
) -> Result<(), &'static str> {
    let name = start.name().into_inner();
    if open.is_empty() && name != "package" {
        return Err(TORN);
    }
    if DEPTH_MAX <= open.len() {
        return Err("its tags stand too deep");
    }
    let mut attributes = BTreeMap::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| TORN)?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|_| "it has an entity that is not known")?;
        if attribute.value.contains('<') {
            return Err("it has more than tags and text");
        }
        attributes.insert(attribute.key.into_inner().to_owned(), value.into_owned());
    }
    if open.len() == 1 && TOLD.contains(&name) {
        let child = Child { attributes, text: String::new(), tag };
        // Some clients take the first, others the last.
        if children.insert(name.to_owned(), child).is_some() {
            return Err("it says one thing twice");
        }
    }
    Ok(())
}

/// Adds text to the child that is open.
fn add(
    children: &mut BTreeMap<String, Child>,
    open: &[String],
    text: &str,
) -> Result<(), &'static str> {
    match open {
        [] if !text.trim().is_empty() => Err(TORN),
        [_, name] => {
            if let Some(child) = children.get_mut(name) {
                child.text.push_str(text);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a processing instruction may be called so (XML 1.0, production 17).
fn is_target(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_inner)
        && !name.eq_ignore_ascii_case("xml")
}

/// The character that a reference stands for.
fn meant(reference: &BytesRef<'_>) -> Option<char> {
    match reference.resolve_char_ref() {
        Ok(Some(c)) => Some(c).filter(|c| is_character(*c)),
        Ok(None) => resolve_xml_entity(reference)?.chars().next(),
        Err(_) => None,
    }
}

/// XML 1.0, production 2.
pub fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
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
    fn an_element_is_read_as_clients_read_it() {
        let (good, blob) = rpm();
        for (old, new) in [
            ("<name>a-b<", "<name><![CDATA[a-b]]><"),
            ("<name>a-b<", "<name>a<!-- <name>x</name> -->-b<"),
            ("<name>a-b<", "<?php <name>x</name> ?><name>a-b<"),
            ("package=\"3\"", "package=\"003\""),
        ] {
            let facts = RpmFacts { element: good.element.replace(old, new), ..good.clone() };
            assert_ne!(facts.element, good.element);
            let placed = placed(&facts, blob).unwrap();
            assert!(placed.contains(new), "{placed}");
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
            ("<name>a-b<", "<name><![CDATA[a]]><", "it names another package or architecture"),
            (
                "<name>a-b<",
                "<!--<name>a-b</name>--><name>a<",
                "it names another package or architecture",
            ),
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
            good.element.replace("<name>", "<name><!-- <x> -- -->"),
            good.element.replace("<name>", "<name><!-- <x>"),
            good.element.replace("<name>", "<name><![CDATA[<x>"),
            format!("<![CDATA[x]]>{}", good.element),
            format!("{}<!-- x -->", good.element),
            good.element.replace("<name>", "<name>&x;"),
            good.element.replace("<name>", "<name>\u{1}"),
            good.element.replace("<name>", "<?xml version='1.0'?><name>"),
            good.element.replace("<name>", "<?XML x?><name>"),
            good.element.replace("<name>", "<??><name>"),
            good.element.replace("</name>", "</nam>"),
            good.element.replace("<format/>", &"<x>".repeat(100)),
            format!("{}<", good.element),
        ] {
            let facts = RpmFacts { element: bad.clone(), ..good.clone() };
            assert!(placed(&facts, blob).is_err(), "{bad}");
        }
    }
}
