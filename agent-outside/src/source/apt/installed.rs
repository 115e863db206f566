//! What is installed on targets, as apt compares it.
//!
//! In:   a [`List`] of Debian packages, of one or more nodes.
//! Out:  [`Installed`]: a version by name and architecture; of several the lowest counts.
//! Pure.

use std::collections::{BTreeMap, HashMap};

use debversion::Version;
use gapferry_proto::installed::{List, Package};

/// Packages of targets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Installed {
    /// By name, then by architecture; none where the list does not say it.
    packages: BTreeMap<String, BTreeMap<Option<String>, Version>>,
}

/// A version that dpkg would not take.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} is said to be installed in version {version:?}, which is none of dpkg's")]
pub struct VersionError {
    name: String,
    version: String,
}

impl Installed {
    /// Takes a list.
    ///
    /// # Errors
    ///
    /// [`VersionError`].
    pub fn of(list: &List) -> Result<Self, VersionError> {
        let mut installed = Self::default();
        for Package { name, version, architecture } in &list.packages {
            let parsed = Version::parse_lenient(version)
                .map_err(|_| VersionError { name: name.clone(), version: version.clone() })?;
            installed.add(name, architecture.as_deref(), parsed);
        }
        Ok(installed)
    }

    /// The versions for an architecture, by name.
    pub fn versions(&self, architecture: &str) -> HashMap<String, Version> {
        let fits = |own: &Option<String>| {
            own.as_deref().is_none_or(|own| own == architecture || own == "all")
        };
        let lowest = |versions: &BTreeMap<Option<String>, Version>| {
            versions.iter().filter(|(own, _)| fits(own)).map(|(_, version)| version.clone()).min()
        };
        let packages = self.packages.iter();
        packages.filter_map(|(name, versions)| Some((name.clone(), lowest(versions)?))).collect()
    }

    fn add(&mut self, name: &str, architecture: Option<&str>, version: Version) {
        let versions = self.packages.entry(name.to_owned()).or_default();
        let held =
            versions.entry(architecture.map(str::to_owned)).or_insert_with(|| version.clone());
        if version < *held {
            *held = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, architecture: &str) -> Vec<(String, String)> {
        let list = List::parse(text.as_bytes()).unwrap();
        let versions = Installed::of(&list).unwrap().versions(architecture);
        let mut rows: Vec<_> =
            versions.into_iter().map(|(name, version)| (name, version.to_string())).collect();
        rows.sort();
        rows
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|&(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    #[test]
    fn of_several_nodes_and_of_an_architecture_the_lowest_version_counts() {
        assert_eq!(
            read("a\t1.10\nb 2\na\t1.9\na 1.11\n", "amd64"),
            rows(&[("a", "1.9"), ("b", "2")])
        );
        let columns = "adduser 3.134 all\nlibc6 2.36-9 amd64\nlibc6 2.36-8 i386\n";
        for (architecture, libc) in [("amd64", "2.36-9"), ("i386", "2.36-8")] {
            let expected = rows(&[("adduser", "3.134"), ("libc6", libc)]);
            assert_eq!(read(columns, architecture), expected);
        }
    }
}
