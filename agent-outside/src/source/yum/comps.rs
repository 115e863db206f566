//! `comps.xml`: groups of packages.
//!
//! In:   the document as it is unpacked.
//! Out:  for each group, the packages that a client installs for it.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
};

use super::xml::{Item, Xml, XmlError};

/// Most packages of all groups: 2^18.
const MEMBERS_MAX: usize = 1 << 18;

/// Groups by their id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups {
    /// Mandatory and default packages: what `dnf group install` takes.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// Mandatory packages alone.
    pub mandatory: BTreeMap<String, BTreeSet<String>>,
}

impl Groups {
    /// Adds the groups of a document; a group of two repositories has the packages of both.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn read(&mut self, document: impl BufRead) -> Result<(), XmlError> {
        let mut xml = Xml::begin(document, "comps")?;
        let (mut group, mut count) = (None, 0);
        loop {
            match xml.item()? {
                Item::Open(tag) => match tag.name() {
                    "group" => group = Some(String::new()),
                    "id" => {
                        let id = xml.text()?.trim().to_owned();
                        if let Some(group) = &mut group {
                            *group = id;
                        }
                    }
                    "packagelist" => {}
                    "packagereq" => {
                        count += 1;
                        if MEMBERS_MAX < count {
                            return Err(XmlError::TooMany { what: "members", max: MEMBERS_MAX });
                        }
                        let kind = tag.attribute("type")?;
                        let name = xml.text()?.trim().to_owned();
                        if let Some(group) = &group {
                            self.put(group, kind.as_deref().unwrap_or("mandatory"), name);
                        }
                    }
                    _ => xml.skip()?,
                },
                Item::Close if xml.depth() == 1 => group = None,
                Item::Close => {}
                Item::End => return Ok(()),
            }
        }
    }

    fn put(&mut self, group: &str, kind: &str, name: String) {
        if kind == "mandatory" {
            self.mandatory.entry(group.to_owned()).or_default().insert(name.clone());
        }
        if matches!(kind, "mandatory" | "default") {
            self.members.entry(group.to_owned()).or_default().insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_what_is_mandatory_and_default() {
        let text = "<!DOCTYPE comps PUBLIC '-//X//DTD Comps//EN' 'comps.dtd'><comps><group><id>core</id><name xml:lang=\"de\">Kern</name>\
            <packagelist><packagereq type=\"mandatory\">bash</packagereq>\
            <packagereq type=\"default\">vim-minimal</packagereq>\
            <packagereq type=\"optional\">zsh</packagereq></packagelist></group>\
            <environment><id>e</id><grouplist><groupid>core</groupid></grouplist></environment></comps>";
        let mut groups = Groups::default();
        groups.read(text.as_bytes()).unwrap();
        let set = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<BTreeSet<_>>();
        let expected = Groups {
            members: [("core".to_owned(), set(&["bash", "vim-minimal"]))].into(),
            mandatory: [("core".to_owned(), set(&["bash"]))].into(),
        };
        assert_eq!(groups, expected);
    }
}
