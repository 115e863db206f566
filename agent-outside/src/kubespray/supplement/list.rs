//! Reads the lists: one TOML file a release line of Kubespray.
//!
//! In:   a version; the lists are part of the program.
//! Out:  the list for that version's line, or a [`Refusal`] when it is older than all of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Evidence, Kind, Proof, Refusal};

/// The lists, oldest line first.
pub(super) const LINES: [(&str, &str); 4] = [
    ("2.28", include_str!("2.28.toml")),
    ("2.29", include_str!("2.29.toml")),
    ("2.30", include_str!("2.30.toml")),
    ("2.31", include_str!("2.31.toml")),
];

/// What one release line pulls beyond `downloads`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub release: String,
    pub ansible: Ansible,
    /// Names of systems that are packaged alike, by a common name that `os` may use.
    pub families: BTreeMap<String, Vec<String>>,
    #[serde(rename = "item")]
    pub items: Vec<Entry>,
    #[serde(rename = "notice")]
    pub notices: Vec<Notice>,
}

/// What runs the playbooks of a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ansible {
    pub core: String,
    pub python: Vec<String>,
}

/// One entry of a list; texts are Jinja templates unless `admin` is set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub name: String,
    pub kind: Kind,
    /// Set for the admin node's needs: how the playbooks are run when it is wanted.
    pub admin: Option<Wanted>,
    /// Package names and the like may be several, with spaces between.
    pub value: String,
    pub repository: Option<String>,
    pub version: Option<String>,
    pub checksum: Option<String>,
    #[serde(default)]
    pub images: bool,
    /// An Ansible condition; none is always.
    pub when: Option<String>,
    /// Hosts whose variables decide: in any of these groups; empty is all hosts.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Hosts that then need it; empty is those that decided.
    #[serde(default)]
    pub pulls: Vec<String>,
    pub role: Option<String>,
    /// Files in the role's `vars`, of which the role includes the first that exists.
    #[serde(default)]
    pub vars: Vec<String>,
    /// Systems it concerns; empty is all.
    #[serde(default)]
    pub os: Vec<String>,
    pub why: String,
    pub evidence: Vec<Evidence>,
    pub proof: Proof,
}

/// Which way of running the playbooks wants an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wanted {
    Always,
    Image,
    Pip,
}

/// Something that no list can hold; said when its condition holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notice {
    pub name: String,
    pub when: String,
    #[serde(default)]
    pub groups: Vec<String>,
    pub role: Option<String>,
    pub why: String,
    pub evidence: Vec<Evidence>,
}

impl List {
    /// Whether a system is one of those named; none named is any.
    ///
    /// `ubuntu` and `ubuntu-24` name `ubuntu-24.04`, but `fedora` does not name
    /// `fedora-coreos-42`; `el-9` names release 9 of the whole family.
    pub fn concerns(&self, named: &[String], os: &str) -> bool {
        named.is_empty() || named.iter().any(|one| self.names(one, os))
    }

    fn names(&self, one: &str, os: &str) -> bool {
        let (name, release) = one.split_once('-').unwrap_or((one, ""));
        let Some(members) = self.families.get(name) else { return is_release_of(one, os) };
        members.iter().any(|member| match release {
            "" => is_release_of(member, os),
            release => is_release_of(&format!("{member}-{release}"), os),
        })
    }
}

impl TryFrom<(String, String)> for Evidence {
    type Error = String;

    fn try_from((place, text): (String, String)) -> Result<Self, String> {
        let wrong = || format!("{place:?} is not path:line");
        let (path, line) = place.rsplit_once(':').ok_or_else(wrong)?;
        let line = line.parse().map_err(|_| wrong())?;
        if text.is_empty() {
            return Err(format!("{place:?} has no words to look for"));
        }
        Ok(Self { path: path.to_owned(), line, text })
    }
}

impl From<Evidence> for (String, String) {
    fn from(evidence: Evidence) -> Self {
        (format!("{}:{}", evidence.path, evidence.line), evidence.text)
    }
}

/// Chooses the list for a version, with a sentence when it is not of the same line.
///
/// # Errors
/// When the version is not understood, or older than every list.
pub(super) fn for_version(version: &str) -> Result<(List, Option<String>), Refusal> {
    let wanted = line_of(version).ok_or_else(|| Refusal::Version(version.to_owned()))?;
    let known = LINES.iter().rfind(|(release, _)| line_of(release) <= Some(wanted));
    let Some((release, text)) = known else {
        let oldest = LINES.first().map_or("", |(release, _)| release).to_owned();
        return Err(Refusal::TooOld { version: version.to_owned(), oldest });
    };
    let list = parse(release, text)?;
    let advice = (line_of(release) != Some(wanted)).then(|| {
        format!("kubespray {version} is newer than {release}, the newest release whose needs are known; its list is used")
    });
    Ok((list, advice))
}

/// Reads one of the built-in lists.
pub(super) fn parse(release: &'static str, text: &str) -> Result<List, Refusal> {
    toml::from_str(text).map_err(|source| Refusal::List { release, source: Box::new(source) })
}

/// The first two numbers of a version.
fn line_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v').unwrap_or(version).split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether `os` is `name`, or a release of it.
fn is_release_of(name: &str, os: &str) -> bool {
    match os.strip_prefix(name) {
        Some("") => true,
        Some(rest) => match rest.strip_prefix('-') {
            Some(release) => release.starts_with(|c: char| c.is_ascii_digit()),
            None => rest.starts_with('.'),
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_release_uses_the_list_of_its_line() {
        for version in ["2.30.0", "v2.30.7", "2.30.0-ours.1"] {
            let (list, advice) = for_version(version).unwrap();
            assert_eq!((list.release.as_str(), advice), ("2.30", None));
        }
    }

    #[test]
    fn a_newer_tree_gets_the_newest_list_and_hears_so() {
        let (list, advice) = for_version("2.40.1").unwrap();
        assert_eq!(list.release, "2.31");
        assert_eq!(
            advice.unwrap(),
            "kubespray 2.40.1 is newer than 2.31, the newest release whose needs are known; its list is used"
        );
    }

    #[test]
    fn an_older_tree_is_refused() {
        assert_eq!(
            for_version("2.27.1").unwrap_err().to_string(),
            "kubespray 2.27.1 is older than 2.28, the oldest release whose needs are known"
        );
        assert!(matches!(for_version("master"), Err(Refusal::Version(_))));
    }

    #[test]
    fn a_name_means_its_releases_and_a_family_its_members() {
        let (list, _) = for_version("2.31.0").unwrap();
        let concerns = |named: &str, os: &str| list.concerns(&[named.to_owned()], os);
        assert!(concerns("ubuntu", "ubuntu-24.04"));
        assert!(concerns("debian-12", "debian-12.11"));
        assert!(!concerns("debian-1", "debian-12"));
        assert!(concerns("flatcar", "flatcar"));
        assert!(!concerns("fedora", "fedora-coreos-42"));
        assert!(concerns("fedora-coreos", "fedora-coreos-42"));
        assert!(concerns("el-9", "rocky-9") && concerns("el", "almalinux-10"));
        assert!(!concerns("el-9", "rocky-10"));
        assert!(list.concerns(&[], "anything"));
    }

    #[test]
    fn evidence_says_path_line_and_words() {
        let good = Evidence::try_from(("a/b.yml:7".to_owned(), "x".to_owned())).unwrap();
        assert_eq!(good, Evidence { path: "a/b.yml".into(), line: 7, text: "x".into() });
        assert!(Evidence::try_from(("a/b.yml".to_owned(), "x".to_owned())).is_err());
        assert!(Evidence::try_from(("a/b.yml:7".to_owned(), String::new())).is_err());
    }
}
