//! What is installed on targets, as apt compares it.
//!
//! In:   a [`List`] of Debian packages, of one or more nodes.
//! Out:  [`Installed`]: a version by name and architecture; of several the lowest counts; and what
//!       only some of the nodes have.
//! Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use debversion::Version;
use gapferry_proto::{
    Kind,
    installed::{List, Package, absent},
};

/// Packages of targets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Installed {
    /// By name, then by architecture; none where the list does not say it.
    packages: BTreeMap<String, BTreeMap<Option<String>, Held>>,
}

/// One package of one architecture.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Held {
    /// None where the list only says that it is absent.
    lowest: Option<Version>,
    /// Whether some node has none.
    is_absent: bool,
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
            let of_name = installed.packages.entry(name.clone()).or_default();
            let held = of_name.entry(architecture.clone()).or_default();
            if version == absent(list.kind) {
                held.is_absent = true;
            } else {
                let lowest = held.lowest.take().map_or(parsed.clone(), |old| old.min(parsed));
                held.lowest = Some(lowest);
            }
        }
        Ok(installed)
    }

    /// The versions for an architecture, by name; 0 where no node has any.
    pub fn versions(&self, architecture: &str) -> HashMap<String, Version> {
        let lowest = |name: &str| {
            let versions = self.fitting(name, architecture).filter_map(|held| held.lowest.clone());
            versions.min().or_else(|| Version::parse_lenient(absent(Kind::Deb)).ok())
        };
        self.names(architecture).filter_map(|name| Some((name.clone(), lowest(name)?))).collect()
    }

    /// The packages of an architecture that some node has not: none may count on them.
    pub fn absent(&self, architecture: &str) -> HashSet<String> {
        let lacks = |name: &&String| self.fitting(name, architecture).any(|held| held.is_absent);
        self.names(architecture).filter(lacks).cloned().collect()
    }

    fn names(&self, architecture: &str) -> impl Iterator<Item = &String> {
        self.packages.keys().filter(move |name| self.fitting(name, architecture).next().is_some())
    }

    fn fitting(&self, name: &str, architecture: &str) -> impl Iterator<Item = &Held> {
        let fits = move |own: &Option<String>| {
            own.as_deref().is_none_or(|own| own == architecture || own == "all")
        };
        let held = self.packages.get(name).into_iter().flatten();
        held.filter(move |(own, _)| fits(own)).map(|(_, held)| held)
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

    #[test]
    fn what_some_node_has_not_is_held_by_its_lowest_version_and_is_absent() {
        let list = List::parse(b"a 0 amd64\na 2 amd64\nb 1 amd64\nc 0 i386\nc 1 i386\nd 0 all\n");
        let installed = Installed::of(&list.unwrap()).unwrap();
        let absent = |architecture| {
            let mut names: Vec<_> = installed.absent(architecture).into_iter().collect();
            names.sort();
            names
        };
        assert_eq!((absent("amd64"), absent("i386")), (names("a d"), names("c d")));
        let versions = installed.versions("amd64");
        let told = ["a", "b", "c", "d"].map(|name| versions.get(name).map(ToString::to_string));
        assert_eq!(told, [Some("2"), Some("1"), None, Some("0")].map(|v| v.map(str::to_owned)));
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
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
