//! `primary.xml`: the packages of a repository with their relations.
//!
//! In:   the document as it is unpacked.
//! Out:  packages in a [`Universe`]; of some packages, the element itself.
//! Pure; the document is never held whole.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use data_encoding::HEXLOWER_PERMISSIVE;
use gapferry_proto::Digest;

use super::{
    evr::{self, Op},
    universe::{Bond, Checksum, Draft, Relation, Sym, Universe},
    xml::{Item, Tag, Xml, XmlError},
};

/// Most packages of one repository: 2^20, fifteen times Fedora.
const PACKAGES_MAX: usize = 1 << 20;

/// Most relations and files of one package: 2^20. Kernels have 50,000.
const ENTRIES_MAX: usize = 1 << 20;

/// Most relations and files of all packages: 2^26, thirty times Fedora.
const ENTRIES_ALL_MAX: usize = 1 << 26;

/// Longest element that is carried with a package, in bytes: 4 MiB.
const ELEMENT_LEN_BYTES_MAX: u64 = 4 << 20;

/// Reads the packages of repository number `repository` whose architecture `wanted` accepts.
///
/// # Errors
///
/// [`XmlError`]; the universe then holds a part and must not be used.
pub fn read(
    document: impl BufRead,
    repository: usize,
    wanted: impl Fn(&str) -> bool,
    universe: &mut Universe,
) -> Result<usize, XmlError> {
    let mut xml = Xml::begin(document, "metadata")?;
    let (mut packages, mut entries) = (0, 0);
    loop {
        let start = xml.position();
        match xml.item()? {
            Item::Open(tag) if tag.name() == "package" => {
                packages += 1;
                limit(packages, PACKAGES_MAX, "packages")?;
                let mut draft = Draft::new(repository);
                let arch = read_package(&mut xml, universe, &mut draft)?;
                if !wanted(&arch) {
                    continue;
                }
                draft.package.span = (start, xml.position());
                entries += draft.files.len() + draft.relations.iter().map(Vec::len).sum::<usize>();
                limit(entries, ENTRIES_ALL_MAX, "relations and files")?;
                universe.add(draft);
            }
            Item::Open(_) => xml.skip()?,
            Item::Close => {}
            Item::End => return Ok(packages),
        }
    }
}

/// The elements of packages, verbatim, by the spans that [`read`] found; of the same document.
///
/// # Errors
///
/// An I/O error, when the document cannot be unpacked or is shorter.
pub fn elements(
    mut document: impl BufRead,
    spans: impl IntoIterator<Item = (u64, u64)>,
) -> io::Result<BTreeMap<(u64, u64), String>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let sorted: std::collections::BTreeSet<_> = spans.into_iter().collect();
    let mut found = BTreeMap::new();
    let mut at = 0;
    for (start, end) in sorted {
        let len = end.checked_sub(start).filter(|len| *len <= ELEMENT_LEN_BYTES_MAX);
        let len = len.ok_or_else(|| bad("an element is too long"))?;
        let gap = start.checked_sub(at).ok_or_else(|| bad("two elements overlap"))?;
        if io::copy(&mut (&mut document).take(gap), &mut io::sink())? != gap {
            return Err(bad("it is shorter than before"));
        }
        let mut element = String::new();
        (&mut document).take(len).read_to_string(&mut element)?;
        let element = element.trim_start();
        if !element.starts_with('<') || !element.ends_with('>') {
            return Err(bad("it is other than before"));
        }
        found.insert((start, end), element.to_owned());
        at = end;
    }
    Ok(found)
}

fn limit(count: usize, max: usize, what: &'static str) -> Result<(), XmlError> {
    if count <= max { Ok(()) } else { Err(XmlError::TooMany { what, max }) }
}

/// Reads one package to its end and returns its architecture.
fn read_package(
    xml: &mut Xml<impl BufRead>,
    universe: &mut Universe,
    draft: &mut Draft,
) -> Result<String, XmlError> {
    let (outside, mut arch, mut bond) = (xml.depth() - 1, String::new(), None);
    while outside < xml.depth() {
        let Item::Open(tag) = xml.item()? else { continue };
        let package = &mut draft.package;
        match tag.name() {
            "entry" => {
                if let Some(bond) = bond {
                    let relations = &mut draft.relations[bond as usize];
                    read_entry(&tag, universe, bond, relations)?;
                    limit(relations.len(), ENTRIES_MAX, "relations of one package")?;
                }
            }
            "file" => {
                draft.files.push(xml.text()?);
                limit(draft.files.len(), ENTRIES_MAX, "files of one package")?;
            }
            "name" => package.name = universe.names.intern(xml.text()?.trim()),
            "arch" => xml.text()?.trim().clone_into(&mut arch),
            "version" => package.evr = read_version(&tag, universe)?,
            "checksum" => {
                let kind = tag.attribute("type")?.unwrap_or_default();
                package.checksum = read_checksum(&kind, xml.text()?.trim());
            }
            "size" => (package.len_bytes, package.installed_bytes) = read_size(&tag)?,
            "location" => {
                tag.attributes(|name, value| match name {
                    "href" => package.location = value.into(),
                    "xml:base" => package.location_base = Some(value.into()),
                    _ => {}
                })?;
            }
            "header-range" => package.header = read_range(&tag)?,
            "sourcerpm" => package.source = universe.names.intern(xml.text()?.trim()),
            "format" => {}
            name => match Bond::parse(name) {
                Some(known) => bond = Some(known),
                None => xml.skip()?,
            },
        }
    }
    if draft.package.name == Sym::EMPTY || draft.package.evr == Sym::EMPTY || arch.is_empty() {
        return Err(XmlError::value(
            "a package lacks its name, version or architecture",
            universe.names.text(draft.package.name),
        ));
    }
    draft.package.arch = universe.names.intern(&arch);
    Ok(arch)
}

fn read_entry(
    tag: &Tag,
    universe: &mut Universe,
    bond: Bond,
    relations: &mut Vec<Relation>,
) -> Result<(), XmlError> {
    let (mut name, mut op, mut parts) = (None, Op::Any, [const { String::new() }; 3]);
    tag.attributes(|key, value| match key {
        "name" => name = Some(value.into_owned()),
        "flags" => op = Op::from_flags(&value),
        "epoch" => value.as_ref().clone_into(&mut parts[0]),
        "ver" => value.as_ref().clone_into(&mut parts[1]),
        "rel" => value.as_ref().clone_into(&mut parts[2]),
        _ => {}
    })?;
    let Some(name) = name else { return Err(XmlError::Attribute("entry".to_owned())) };
    // What rpm itself must be able to do; a client has that.
    if bond == Bond::Requires && name.starts_with("rpmlib(") {
        return Ok(());
    }
    let name = universe.names.intern(&name);
    let evr = if op == Op::Any {
        Sym::EMPTY
    } else {
        universe.names.intern(&evr::join(&parts[0], &parts[1], &parts[2]))
    };
    relations.push(Relation { name, op, evr });
    Ok(())
}

fn read_version(tag: &Tag, universe: &mut Universe) -> Result<Sym, XmlError> {
    let mut parts = [const { String::new() }; 3];
    tag.attributes(|key, value| match key {
        "epoch" => value.as_ref().clone_into(&mut parts[0]),
        "ver" => value.as_ref().clone_into(&mut parts[1]),
        "rel" => value.as_ref().clone_into(&mut parts[2]),
        _ => {}
    })?;
    Ok(universe.names.intern(&evr::join(&parts[0], &parts[1], &parts[2])))
}

fn read_size(tag: &Tag) -> Result<(u64, u64), XmlError> {
    let mut sizes = (None, Some(0));
    tag.attributes(|key, value| match key {
        "package" => sizes.0 = value.parse().ok(),
        "installed" => sizes.1 = value.parse().ok(),
        _ => {}
    })?;
    match sizes {
        (Some(package), Some(installed)) => Ok((package, installed)),
        _ => Err(XmlError::Attribute("size".to_owned())),
    }
}

fn read_range(tag: &Tag) -> Result<Option<(u64, u64)>, XmlError> {
    let mut range = (None, None);
    tag.attributes(|key, value| match key {
        "start" => range.0 = value.parse().ok(),
        "end" => range.1 = value.parse().ok(),
        _ => {}
    })?;
    Ok(range.0.zip(range.1).filter(|(start, end)| start < end))
}

/// Reads a digest of either case.
pub fn read_checksum(kind: &str, hex: &str) -> Checksum {
    let weak = || Checksum::Weak(kind.chars().take(40).collect());
    let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else { return weak() };
    match kind {
        "sha256" => bytes
            .try_into()
            .map_or_else(|_| weak(), |bytes| Checksum::Sha256(Digest::from_bytes(bytes))),
        "sha512" => {
            bytes.try_into().map_or_else(|_| weak(), |bytes| Checksum::Sha512(Box::new(bytes)))
        }
        _ => weak(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::yum::samples;

    #[test]
    fn packages_are_read_and_found_again_verbatim() {
        let packages = [("a-1-1.x86_64", "requires: b"), ("b-1-1.noarch", ""), ("c-1-1.src", "")];
        let text = samples::primary(&packages);
        let mut universe = Universe::default();
        let count = read(text.as_bytes(), 0, |arch| arch != "src", &mut universe).unwrap();
        assert_eq!((count, universe.packages.len()), (3, 2));
        let spans: Vec<_> = universe.packages.iter().map(|p| p.span).collect();
        let found = elements(text.as_bytes(), spans.iter().copied()).unwrap();
        for (span, (nevra, lines)) in spans.iter().zip(packages) {
            assert_eq!(found[span], samples::element(nevra, lines).trim());
        }
        let short = &text[..text.len() / 2];
        assert!(elements(short.as_bytes(), spans.iter().copied()).is_err());
        assert!(elements(&[0xff; 4096][..], spans.iter().copied()).is_err());
        assert!(elements(text.as_bytes(), [(5, 2)]).is_err());
        assert!(elements(text.as_bytes(), [(0, u64::MAX)]).is_err());
    }

    #[test]
    fn elements_in_any_order_and_unknown_ones_are_read() {
        let text = "<metadata><note><package/></note><package type=\"rpm\"><format>\
            <rpm:requires><rpm:entry name=\"b\" flags=\"GE\" epoch=\"0\" ver=\"1\" pre=\"1\"/>\
            <rpm:entry name=\"rpmlib(X)\" flags=\"LE\" ver=\"4\"/></rpm:requires><odd><file>/no</file></odd>\
            <file type=\"dir\">/etc/a&amp;b</file></format><version ver=\"1\" rel=\"2\" epoch=\"\"/>\
            <arch>noarch</arch><name>a</name></package></metadata>";
        let mut universe = Universe::default();
        assert_eq!(read(text.as_bytes(), 0, |_| true, &mut universe).unwrap(), 1);
        universe.names.intern("/etc/a&b");
        universe.index();
        assert_eq!(universe.words(0), "a-1-2.noarch");
        let requires = universe.bonds(0, Bond::Requires);
        let words: Vec<_> = requires.iter().map(|r| universe.relation_words(*r)).collect();
        assert_eq!(words, ["b >= 1"]);
        let path = universe.names.find("/etc/a&b").unwrap();
        assert_eq!(universe.providers_within(path, (Op::Any, "")), [0]);
        assert_eq!(universe.packages[0].checksum, Checksum::Weak(String::new()));
    }
}
