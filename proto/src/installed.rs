//! What nodes have installed: the lists that come home beside an inventory. `FORMAT.md`, section 8.
//!
//! In:   what dpkg or rpm wrote on one or more nodes, one output after the other.
//! Out:  a [`List`]: packages of one kind, sorted, each once; and the one form it is written in.
//! Pure: both agents read the same, the inside what a person hands in, the outside also a file that
//!       a waybill names.
//!
//! | line                                  | from                                                  |
//! |---------------------------------------|-------------------------------------------------------|
//! | `libc6:amd64<TAB>2.36-9`              | `dpkg-query -W`                                       |
//! | `libc6 2.36-9 amd64`                  | `dpkg-query -Wf '${Package} ${Version} ${Architecture}\n'` |
//! | `ii  libc6:amd64  2.36-9  amd64  …`   | `dpkg -l`; only what is installed counts              |
//! | `bash-5.1.8-6.el9.x86_64`             | `rpm -qa`; also with an epoch before the version      |
//!
//! Blank lines and those that begin with `#` count for nothing. A list is rpm's when no line has
//! a second word.
//!
//! Of several nodes the list says what some have and others do not: such a package stands in it
//! with the version [`absent`], too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{Kind, limits};

/// The version that says of a package that some nodes do not have it.
pub const fn absent(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Deb) { "0" } else { "0-0" }
}

/// Packages of nodes of one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List {
    /// [`Kind::Deb`] or [`Kind::Rpm`].
    pub kind: Kind,
    /// Never empty. Several nodes may have one package in several versions.
    pub packages: BTreeSet<Package>,
}

/// One package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Package {
    pub name: String,
    /// Of rpm `[epoch:]version-release`; rpm leaves the epoch out unless told otherwise.
    pub version: String,
    /// None where dpkg was not asked.
    pub architecture: Option<String>,
}

/// Why a text does not tell what is installed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InstalledError {
    #[error(
        "line {line} is not understood: {text:?}; write the list with `dpkg-query -W` or `rpm -qa` \
         on a node"
    )]
    Line { line: usize, text: String },
    #[error("it lists no package; write it with `dpkg-query -W` or `rpm -qa` on a node")]
    Empty,
    #[error("it has more than {max} bytes", max = limits::INSTALLED_LEN_BYTES_MAX)]
    TooLong,
    #[error("it is no text")]
    NotText,
    #[error("one list has {one} packages and another {other}; nodes of one target have one kind")]
    Kinds { one: Kind, other: Kind },
}

impl List {
    /// Reads what dpkg or rpm wrote.
    ///
    /// # Errors
    ///
    /// [`InstalledError`]: the first line that is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, InstalledError> {
        if limits::INSTALLED_LEN_BYTES_MAX < bytes.len() as u64 {
            return Err(InstalledError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| InstalledError::NotText)?;
        let lines = || text.lines().enumerate().filter(|(_, line)| !is_nothing(line));
        let has_words = |line: &str| 1 < line.split_whitespace().count();
        let kind = if lines().any(|(_, line)| has_words(line)) { Kind::Deb } else { Kind::Rpm };
        let read = if kind == Kind::Deb { dpkg } else { rpm };
        let mut packages = BTreeSet::new();
        for (number, line) in lines() {
            let entry = read(line).ok_or_else(|| InstalledError::Line {
                line: number + 1,
                text: line.chars().take(80).collect(),
            })?;
            if let Entry::Package(package) = entry {
                packages.insert(package);
            }
        }
        if packages.is_empty() { Err(InstalledError::Empty) } else { Ok(Self { kind, packages }) }
    }

    /// Adds what another node of the target has; what only one of the two has is [`absent`] too.
    ///
    /// # Errors
    ///
    /// [`InstalledError::Kinds`].
    pub fn join(&mut self, other: Self) -> Result<(), InstalledError> {
        if self.kind != other.kind {
            return Err(InstalledError::Kinds { one: self.kind, other: other.kind });
        }
        let lacking = other.lacking(self).chain(self.lacking(&other)).collect::<Vec<_>>();
        self.packages.extend(other.packages);
        self.packages.extend(lacking);
        Ok(())
    }

    /// What `other` has and these nodes do not, as [`absent`].
    fn lacking(&self, other: &Self) -> impl Iterator<Item = Package> {
        let mut own: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
        for Package { name, architecture, .. } in &self.packages {
            own.entry(name).or_default().insert(architecture.as_deref());
        }
        // One output may tell the architecture of a package that another is silent about.
        let has = move |package: &Package| {
            let Some(known) = own.get(package.name.as_str()) else { return false };
            let architecture = package.architecture.as_deref();
            architecture.is_none() || known.contains(&architecture) || known.contains(&None)
        };
        let version = absent(self.kind);
        let lacking = other.packages.iter().filter(move |package| !has(package));
        lacking.map(move |package| Package { version: version.to_owned(), ..package.clone() })
    }
}

/// The one form a list is written in: a line a package, as [`List::parse`] reads it.
impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Package { name, version, architecture } in &self.packages {
            match (self.kind, architecture) {
                (Kind::Deb, Some(architecture)) => {
                    writeln!(f, "{name}\t{version}\t{architecture}")?;
                }
                (Kind::Deb, None) => writeln!(f, "{name}\t{version}")?,
                (_, architecture) => {
                    writeln!(
                        f,
                        "{name}-{version}.{}",
                        architecture.as_deref().unwrap_or_default()
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// What a line says.
enum Entry {
    Package(Package),
    /// A package that is known and not installed, or a key.
    Nothing,
}

/// Whether a line is blank, a comment, or of the heading of `dpkg -l`.
fn is_nothing(line: &str) -> bool {
    line.trim().is_empty()
        || ["Desired=", "|", "+++-", "#"].iter().any(|start| line.starts_with(start))
}

fn dpkg(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [state, rest @ ..] if 3 <= rest.len() && is_state(state) => match rest {
            [name, version, architecture, ..] if is_installed(state) => {
                deb(name, version, Some(architecture))
            }
            _ => Some(Entry::Nothing),
        },
        [name, version, architecture] => deb(name, version, Some(architecture)),
        [name, version] => deb(name, version, None),
        [name] if is_of_rpm(name) => None,
        [name] if is_word(name, "+-._:") => Some(Entry::Nothing), // known to dpkg, not installed
        _ => None,
    }
}

fn deb(name: &str, version: &str, architecture: Option<&str>) -> Option<Entry> {
    let (name, own) = match name.split_once(':') {
        Some((name, own)) => (name, Some(own)),
        None => (name, None),
    };
    let architecture = architecture.or(own);
    let is_version = is_word(version, "+-.~:") && version.contains(|c: char| c.is_ascii_digit());
    let is_whole = is_word(name, "+-._") && architecture.is_none_or(|own| is_word(own, "-"));
    (is_version && is_whole).then(|| {
        Entry::Package(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.map(str::to_owned),
        })
    })
}

fn rpm(line: &str) -> Option<Entry> {
    let line = line.trim();
    if line.starts_with("gpg-pubkey-") {
        return Some(Entry::Nothing);
    }
    let (rest, architecture) = line.rsplit_once('.')?;
    let (rest, release) = rest.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    let is_whole = is_word(name, "+-._")
        && is_word(version, "+._:~^%{}")
        && is_word(release, "+._~^%{}")
        && is_word(architecture, "_");
    is_whole.then(|| {
        Entry::Package(Package {
            name: name.to_owned(),
            version: format!("{version}-{release}"),
            architecture: Some(architecture.to_owned()),
        })
    })
}

/// Whether a word is a line of `rpm -qa`, such as no package of Debian is called:
/// `bash-5.1.8-6.el9.x86_64`.
fn is_of_rpm(word: &str) -> bool {
    const ARCHITECTURES: [&str; 8] =
        ["x86_64", "noarch", "aarch64", "i686", "i386", "ppc64le", "s390x", "armv7hl"];
    let is_ours = |(_, architecture): (&str, &str)| ARCHITECTURES.contains(&architecture);
    word.rsplit_once('.').is_some_and(is_ours) && rpm(word).is_some()
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

fn is_word(word: &str, others: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && word.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        List::parse(text.as_bytes()).unwrap().to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn all_outputs_of_dpkg_are_read_and_written_in_one_form() {
        let query = "libc6:amd64\t2.36-9\nadduser\t3.134\nlibc6:i386\t2.36-9\nold:amd64\t\n";
        let expected = ["adduser\t3.134", "libc6\t2.36-9\tamd64", "libc6\t2.36-9\ti386"];
        assert_eq!(rows(query), expected);
        let columns = "# node1\nlibc6 2.36-9 amd64\n\nadduser 3.134 all\nlibc6 2.36-8 amd64\n";
        let expected = ["adduser\t3.134\tall", "libc6\t2.36-8\tamd64", "libc6\t2.36-9\tamd64"];
        assert_eq!(rows(columns), expected);
        let list = "Desired=Unknown/Install/Remove/Purge/Hold\n\
            | Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend\n\
            |/ Err?=(none)/Reinst-required (Status,Err: uppercase=bad)\n\
            ||/ Name        Version  Architecture Description\n\
            +++-===========-========-============-=======\n\
            ii  adduser     3.134    all          add and remove users\n\
            hi  libc6:amd64 2.36-9   amd64        GNU C Library\n\
            rc  gone        1        amd64        only its settings\n";
        assert_eq!(rows(list), ["adduser\t3.134\tall", "libc6\t2.36-9\tamd64"]);
        assert_eq!(rows("ii\t2.0-1\nii 1.8-1 amd64\n"), ["ii\t1.8-1\tamd64", "ii\t2.0-1"]);
    }

    #[test]
    fn the_output_of_rpm_is_read_with_and_without_an_epoch_and_keys_are_none() {
        let text = "gpg-pubkey-5a6340b3-6229229e\nvim-minimal-2:8.2-1.el9.x86_64\n\
                    bash-5.1.8-6.el9.x86_64\ntzdata-2024a-1.el9.noarch\n";
        let expected = [
            "bash-5.1.8-6.el9.x86_64",
            "tzdata-2024a-1.el9.noarch",
            "vim-minimal-2:8.2-1.el9.x86_64",
        ];
        assert_eq!(rows(text), expected);
        assert_eq!(List::parse(text.as_bytes()).unwrap().kind, Kind::Rpm);
    }

    #[test]
    fn what_is_written_is_read_to_the_same() {
        for text in ["b:amd64 2-1\na 1:1~rc1 all\nc 1\n", "b-1-1.x86_64\na-1:2^x-1.el9.noarch\n"] {
            let list = List::parse(text.as_bytes()).unwrap();
            assert_eq!(List::parse(list.to_string().as_bytes()).unwrap(), list);
        }
    }

    #[test]
    fn what_one_of_three_nodes_lacks_stands_in_their_list_as_absent() {
        let joined = |texts: [&str; 3]| {
            let [mut list, two, three] = texts.map(|text| List::parse(text.as_bytes()).unwrap());
            list.join(two).unwrap();
            list.join(three).unwrap();
            assert_eq!(List::parse(list.to_string().as_bytes()).unwrap(), list);
            list.to_string()
        };
        let debs =
            ["a 1 amd64\nb 1 all\nc 1 amd64\n", "a\t1\nb\t1\nc:i386\t1\n", "a 2\nc 1 amd64\n"];
        let expected = "a\t1\na\t1\tamd64\na\t2\nb\t0\nb\t0\tall\nb\t1\nb\t1\tall\n\
            c\t0\tamd64\nc\t0\ti386\nc\t1\tamd64\nc\t1\ti386\n";
        assert_eq!(joined(debs), expected);
        let rpms = ["a-1-1.noarch\n", "a-2-1.noarch\nb-1-1.x86_64\n", "a-1-1.noarch\n"];
        let expected = "a-1-1.noarch\na-2-1.noarch\nb-0-0.x86_64\nb-1-1.x86_64\n";
        assert_eq!(joined(rpms), expected);
    }

    #[test]
    fn another_sort_of_file_is_refused_with_its_line() {
        for (text, line) in [
            ("a 1\n<html> of some page\n", 2),
            ("<html>\n", 1),
            ("bash-5.1-1.x86_64\nbash\n", 2),
            ("a one\n", 1),
            ("a 1 amd64\na ../1\n", 2),
            ("a 1\nbash-5.1.8-6.el9.x86_64\n", 2),
            ("a\n", 1),
            ("a(b)-1-1.x86_64\n", 1),
        ] {
            let error = List::parse(text.as_bytes()).unwrap_err();
            assert!(
                matches!(error, InstalledError::Line { line: at, .. } if at == line),
                "{error}"
            );
        }
        for text in ["", "\n# nothing\n", "gpg-pubkey-1-1\n"] {
            assert_eq!(List::parse(text.as_bytes()).unwrap_err(), InstalledError::Empty, "{text}");
        }
        assert_eq!(List::parse(b"a\xff 1").unwrap_err(), InstalledError::NotText);
    }

    #[test]
    fn nodes_of_one_target_have_packages_of_one_kind() {
        let mut list = List::parse(b"a 1\n").unwrap();
        list.join(List::parse(b"a 2\nb 1\n").unwrap()).unwrap();
        assert_eq!(list.to_string(), "a\t1\na\t2\nb\t0\nb\t1\n");
        let error = list.join(List::parse(b"a-1-1.noarch\n").unwrap()).unwrap_err();
        assert_eq!(error, InstalledError::Kinds { one: Kind::Deb, other: Kind::Rpm });
    }
}
