//! What is installed on targets, as dpkg tells it.
//!
//! In:   the output of `dpkg-query -W`, of `dpkg -l`, or columns of name, version, architecture.
//! Out:  [`Installed`]: a version by name and architecture.
//! Pure: no files. The outputs of several nodes may stand in one file: the lowest version counts.
//!
//! | line                                  | from                                                  |
//! |---------------------------------------|-------------------------------------------------------|
//! | `libc6:amd64<TAB>2.36-9`              | `dpkg-query -W`                                       |
//! | `libc6 2.36-9 amd64`                  | `dpkg-query -Wf '${Package} ${Version} ${Architecture}\n'` |
//! | `ii  libc6:amd64  2.36-9  amd64  …`   | `dpkg -l`; only what is installed counts              |

use std::collections::{BTreeMap, HashMap};

use debversion::Version;

/// Packages of targets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Installed {
    /// By name, then by architecture; none where the file does not say it.
    packages: BTreeMap<String, BTreeMap<Option<String>, Version>>,
}

/// Why a file does not tell what is installed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InstalledError {
    #[error(
        "line {line} is not understood: {text:?}; write the file with `dpkg-query -W` on a target"
    )]
    Line { line: usize, text: String },
    #[error("it lists no package; write it with `dpkg-query -W` on a target")]
    Empty,
}

impl Installed {
    /// Reads what dpkg wrote.
    ///
    /// # Errors
    ///
    /// [`InstalledError`]: the first line that is not understood.
    pub fn parse(text: &str) -> Result<Self, InstalledError> {
        let mut installed = Self::default();
        for (number, line) in text.lines().enumerate() {
            let entry = Entry::parse(line).ok_or_else(|| InstalledError::Line {
                line: number + 1,
                text: line.chars().take(80).collect(),
            })?;
            if let Entry::Package { name, architecture, version } = entry {
                installed.add(name, architecture, version);
            }
        }
        if installed.packages.is_empty() { Err(InstalledError::Empty) } else { Ok(installed) }
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

/// What a line says.
#[derive(PartialEq, Eq, Debug)]
enum Entry<'a> {
    Package {
        name: &'a str,
        architecture: Option<&'a str>,
        version: Version,
    },
    /// A heading, or a package that is not installed.
    Nothing,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let heading = ["Desired=", "|", "+++-", "#"].iter().any(|start| line.starts_with(start));
        if heading || line.trim().is_empty() {
            return Some(Self::Nothing);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [state, rest @ ..] if 3 <= rest.len() && is_state(state) => match rest {
                [name, version, architecture, ..] if is_installed(state) => {
                    Self::package(name, version, Some(architecture))
                }
                _ => Some(Self::Nothing),
            },
            [name, version, architecture] => Self::package(name, version, Some(architecture)),
            [name, version] => Self::package(name, version, None),
            [name] if is_name(name) => Some(Self::Nothing), // known to dpkg, not installed
            _ => None,
        }
    }

    fn package(name: &'a str, version: &str, architecture: Option<&'a str>) -> Option<Self> {
        let (name, own) = match name.split_once(':') {
            Some((name, own)) => (name, Some(own)),
            None => (name, None),
        };
        let version = Version::parse_lenient(version).ok()?;
        let architecture = architecture.or(own);
        (is_name(name) && architecture.is_none_or(is_name)).then_some(Self::Package {
            name,
            architecture,
            version,
        })
    }
}

/// The first column of `dpkg -l`: what is desired, what is, and an `R` where all is not well.
fn is_state(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|c| "uihrp".contains(c))
        && letters.next().is_some_and(|c| "nicurUFHWt".contains(c))
        && letters.next().is_none_or(|c| c == 'R')
        && word.len() <= 3
}

/// Whether the files of a package are there: not when only its settings are left.
fn is_installed(state: &str) -> bool {
    state.chars().nth(1).is_some_and(|c| "iUFWt".contains(c))
}

fn is_name(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
    word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, architecture: &str) -> Vec<(String, String)> {
        let versions = Installed::parse(text).unwrap().versions(architecture);
        let mut rows: Vec<_> =
            versions.into_iter().map(|(name, version)| (name, version.to_string())).collect();
        rows.sort();
        rows
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|&(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    #[test]
    fn all_three_outputs_of_dpkg_say_the_same() {
        let query = "adduser\t3.134\nlibc6:amd64\t2.36-9\nlibc6:i386\t2.36-9\nold:amd64\t\n";
        let columns = "adduser 3.134 all\nlibc6 2.36-9 amd64\nlibc6 2.36-8 i386\n";
        let list = "Desired=Unknown/Install/Remove/Purge/Hold\n\
            | Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend\n\
            |/ Err?=(none)/Reinst-required (Status,Err: uppercase=bad)\n\
            ||/ Name        Version  Architecture Description\n\
            +++-===========-========-============-=======\n\
            ii  adduser     3.134    all          add and remove users\n\
            hi  libc6:amd64 2.36-9   amd64        GNU C Library\n\
            rc  gone        1        amd64        only its settings\n";
        let expected = rows(&[("adduser", "3.134"), ("libc6", "2.36-9")]);
        for text in [query, columns, list] {
            assert_eq!(read(text, "amd64"), expected, "{text}");
        }
        assert_eq!(read(columns, "i386"), rows(&[("adduser", "3.134"), ("libc6", "2.36-8")]));
    }

    #[test]
    fn of_several_nodes_the_lowest_version_counts() {
        assert_eq!(
            read("a\t1.10\nb 2\na\t1.9\na 1.11\n", "amd64"),
            rows(&[("a", "1.9"), ("b", "2")])
        );
    }

    #[test]
    fn a_package_that_is_called_as_a_state_is_a_package() {
        assert_eq!(read("ii\t2.0-1\nii 1.8-1 amd64\n", "amd64"), rows(&[("ii", "1.8-1")]));
    }

    #[test]
    fn another_sort_of_file_is_refused_with_its_line() {
        let error = Installed::parse("a 1\n<html> of some page\n").unwrap_err();
        let text = "<html> of some page".to_owned();
        assert_eq!(error, InstalledError::Line { line: 2, text });
        for text in ["", "\n", "a\n"] {
            assert_eq!(Installed::parse(text).unwrap_err(), InstalledError::Empty, "{text}");
        }
    }
}
