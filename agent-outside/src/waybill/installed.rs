//! `installed:` of an `apt` or `yum` line: where it is said what targets have.

use std::fmt;

use camino::Utf8PathBuf;
use gapferry_proto::{SiteName, Target};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A file, or what the inside of a site said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InstalledAt {
    /// The output of `dpkg-query -W` or `rpm -qa` of one or more nodes.
    File(Utf8PathBuf),
    /// What came home with the site's inventory.
    Site(SiteList),
}

/// The list of a site's inventory.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteList {
    pub site: SiteName,
    /// Left out: the target of the line.
    pub target: Option<Target>,
    /// The folder of the home that holds the site's lists; no waybill says it.
    #[serde(skip)]
    pub folder: Option<Utf8PathBuf>,
}

impl SiteList {
    /// The target whose list is meant in a line for the target `own`.
    pub fn target<'a>(&'a self, own: &'a Target) -> &'a Target {
        self.target.as_ref().unwrap_or(own)
    }

    /// Where the list of a line for the target `own` lies; none before a home is known.
    pub fn path(&self, own: &Target) -> Option<Utf8PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.txt", self.target(own))))
    }
}

impl<'de> Deserialize<'de> for InstalledAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathOrSite)
    }
}

/// By hand, so that an unknown key is named with its line.
struct PathOrSite;

impl<'de> Visitor<'de> for PathOrSite {
    type Value = InstalledAt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file, or {site: NAME}")
    }

    fn visit_str<E>(self, text: &str) -> Result<InstalledAt, E> {
        Ok(InstalledAt::File(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InstalledAt, A::Error> {
        SiteList::deserialize(MapAccessDeserializer::new(map)).map(InstalledAt::Site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_site_are_read_and_an_unknown_key_is_refused() {
        let read = |text: &str| serde_saphyr::from_str::<InstalledAt>(text);
        assert_eq!(read("nodes.txt").unwrap(), InstalledAt::File("nodes.txt".into()));
        let site = |target: Option<&str>| SiteList {
            site: "prod".parse().unwrap(),
            target: target.map(|text| text.parse().unwrap()),
            folder: None,
        };
        assert_eq!(read("{site: prod}").unwrap(), InstalledAt::Site(site(None)));
        let named = site(Some("el9"));
        assert_eq!(read("{site: prod, target: el9}").unwrap(), InstalledAt::Site(named.clone()));
        let error = read("{site: prod, release: el9}").unwrap_err().to_string();
        assert!(error.contains("release"), "{error}");
        assert!(read("{target: el9}").is_err());

        let own: Target = "rocky-9".parse().unwrap();
        let at = |list: SiteList| SiteList { folder: Some("/home/lists".into()), ..list };
        assert_eq!(site(None).path(&own), None);
        assert_eq!(at(site(None)).path(&own).unwrap(), "/home/lists/rocky-9.txt");
        assert_eq!(at(named).path(&own).unwrap(), "/home/lists/el9.txt");
    }
}
