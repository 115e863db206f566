//! `updateinfo.xml`: advisories, of which those on security are asked for.
//!
//! In:   the document as it is unpacked.
//! Out:  the packages that some security advisory brings, with their advisories.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
};

use super::{
    evr,
    xml::{Item, Xml, XmlError},
};

/// Most packages of security advisories: 2^20.
const PACKAGES_MAX: usize = 1 << 20;

/// What security advisories bring.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Advisories {
    /// By name and architecture: each version that an advisory brings, and that advisory's id.
    pub fixes: BTreeMap<(String, String), BTreeSet<(String, String)>>,
}

impl Advisories {
    /// Adds the security advisories of a document.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn read(&mut self, document: impl BufRead) -> Result<(), XmlError> {
        let mut xml = Xml::begin(document, "updates")?;
        let (mut id, mut security, mut count) = (String::new(), false, 0);
        loop {
            match xml.item()? {
                Item::Open(tag) => match tag.name() {
                    "update" => {
                        security = tag.attribute("type")?.as_deref() == Some("security");
                        id.clear();
                    }
                    "id" if xml.depth() == 3 => xml.text()?.trim().clone_into(&mut id),
                    "package" if security => {
                        count += 1;
                        if PACKAGES_MAX < count {
                            return Err(XmlError::TooMany { what: "packages", max: PACKAGES_MAX });
                        }
                        let mut parts = [const { String::new() }; 5];
                        tag.attributes(|key, value| {
                            let keys = ["name", "arch", "epoch", "version", "release"];
                            if let Some(at) = keys.iter().position(|k| *k == key) {
                                parts[at] = value.into_owned();
                            }
                        })?;
                        xml.skip()?;
                        let [name, arch, epoch, version, release] = parts;
                        let evr = evr::join(&epoch, &version, &release);
                        self.fixes.entry((name, arch)).or_default().insert((evr, id.clone()));
                    }
                    "pkglist" | "collection" => {}
                    _ => xml.skip()?,
                },
                Item::Close => {}
                Item::End => return Ok(()),
            }
        }
    }

    /// An advisory that brings something newer than `held` for a package, or anything at all
    /// when nothing is held.
    pub fn newer(&self, name: &str, arch: &str, held: Option<&str>) -> Option<&str> {
        let fixes = self.fixes.get(&(name.to_owned(), arch.to_owned()))?;
        let newer =
            |(evr, _): &&(String, String)| held.is_none_or(|held| evr::compare(evr, held).is_gt());
        fixes.iter().find(newer).map(|(_, id)| id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_advisories_bring_versions_and_others_do_not() {
        let update = |kind: &str, id: &str, version: &str| {
            format!(
                "<update from=\"a\" status=\"final\" type=\"{kind}\" version=\"1\"><id>{id}</id>\
                 <title>t</title><references><reference id=\"CVE-1\"/></references><pkglist>\
                 <collection short=\"c\"><name>n</name><package name=\"bash\" version=\"{version}\" \
                 release=\"1\" epoch=\"0\" arch=\"x86_64\" src=\"s\"><filename>f</filename></package>\
                 </collection></pkglist></update>"
            )
        };
        let text = format!(
            "<updates>{}{}{}</updates>",
            update("security", "A-1", "5"),
            update("bugfix", "A-2", "9"),
            update("security", "A-3", "6")
        );
        let mut advisories = Advisories::default();
        advisories.read(text.as_bytes()).unwrap();
        let pair = |evr: &str, id: &str| (evr.to_owned(), id.to_owned());
        let key = ("bash".to_owned(), "x86_64".to_owned());
        let fixes = BTreeSet::from([pair("5-1", "A-1"), pair("6-1", "A-3")]);
        assert_eq!(advisories.fixes, BTreeMap::from([(key, fixes)]));
        assert_eq!(advisories.newer("bash", "x86_64", Some("5-1")), Some("A-3"));
        assert_eq!(advisories.newer("bash", "x86_64", Some("6-1")), None);
        assert_eq!(advisories.newer("bash", "x86_64", None), Some("A-1"));
        assert_eq!(advisories.newer("zsh", "x86_64", None), None);
    }
}
