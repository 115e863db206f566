//! Package URLs: the names by which scanners know an artifact.
//!
//! In:   an artifact.
//! Out:  `pkg:deb/debian/socat@1.7.4.4-2?arch=amd64&distro=bookworm` and its kin.
//! Pure. Rules: the purl specification (ECMA-427) and its type definitions; `helm` is a type
//! that tools write though it is not defined yet.

use std::fmt::{self, Write as _};

use gapferry_proto::{
    Artifact, BlobRef, Facts,
    artifact::{
        ChartFacts, DebFacts, FileFacts, ImageFacts, PypiFacts, RpmFacts, YumDocumentFacts,
    },
};

/// The parts of a package URL, not yet escaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purl {
    pub kind: &'static str,
    pub namespace: Option<String>,
    pub name: String,
    pub version: Option<String>,
    /// Sorted by key when written; empty ones are left out.
    pub qualifiers: Vec<(&'static str, String)>,
}

/// The package URL of an artifact.
pub fn of(artifact: &Artifact) -> Purl {
    match &artifact.facts {
        Facts::File(facts) => generic(facts, artifact),
        Facts::Image(facts) => oci(facts),
        Facts::Deb(facts) => deb(facts),
        Facts::Rpm(facts) => rpm(facts),
        Facts::YumDocument(facts) => document(facts, artifact),
        Facts::Pypi(facts) => pypi(facts),
        Facts::Chart(facts) => helm(facts),
    }
}

fn rpm(facts: &RpmFacts) -> Purl {
    let target = facts.target.as_str();
    let vendor = VENDORS.iter().find(|(start, _)| target.starts_with(start));
    Purl {
        kind: "rpm",
        namespace: vendor.map(|(_, vendor)| (*vendor).to_owned()),
        name: facts.package.clone(),
        version: Some(format!("{}-{}", facts.version, facts.release)),
        qualifiers: vec![
            ("arch", facts.architecture.clone()),
            ("epoch", Some(&facts.epoch).filter(|e| *e != "0").cloned().unwrap_or_default()),
        ],
    }
}

/// How the target of a waybill line begins, and the vendor's name in package URLs.
const VENDORS: [(&str, &str); 8] = [
    ("alma", "almalinux"),
    ("amzn", "amazon"),
    ("centos", "centos"),
    ("fedora", "fedora"),
    ("opensuse", "opensuse"),
    ("oracle", "oracle"),
    ("rhel", "redhat"),
    ("rocky", "rocky"),
];

fn document(facts: &YumDocumentFacts, artifact: &Artifact) -> Purl {
    Purl {
        kind: "generic",
        namespace: None,
        name: format!("{}-{}", facts.repository, facts.document),
        version: None,
        qualifiers: vec![(
            "download_url",
            web_url(&artifact.origin).unwrap_or_default().to_owned(),
        )],
    }
}

fn helm(facts: &ChartFacts) -> Purl {
    Purl {
        kind: "helm",
        namespace: None,
        name: facts.chart.clone(),
        version: Some(facts.version.clone()),
        qualifiers: vec![("repository_url", facts.repository.to_string())],
    }
}

fn generic(facts: &FileFacts, artifact: &Artifact) -> Purl {
    let checksum = artifact.blobs.first().map(|blob: &BlobRef| blob.id.to_string());
    Purl {
        kind: "generic",
        namespace: None,
        name: last_segment(facts.path.as_str()).to_owned(),
        version: version_in_path(facts.path.as_str()).map(str::to_owned),
        qualifiers: vec![
            ("checksum", checksum.unwrap_or_default()),
            ("download_url", web_url(&artifact.origin).unwrap_or_default().to_owned()),
        ],
    }
}

/// The version is the digest: a tag names other bytes tomorrow.
fn oci(facts: &ImageFacts) -> Purl {
    let repository = facts.repository.as_str();
    Purl {
        kind: "oci",
        namespace: None,
        name: last_segment(repository).to_lowercase(),
        version: Some(facts.root.to_string()),
        qualifiers: vec![
            ("repository_url", repository.to_owned()),
            ("tag", facts.tag.clone().unwrap_or_default()),
        ],
    }
}

fn deb(facts: &DebFacts) -> Purl {
    // `bookworm-updates` and `stable/updates` belong to `bookworm` and `stable`.
    let distro = facts.suite.split(['-', '/']).next().unwrap_or_default();
    let is_ubuntu = facts.target.as_str().starts_with("ubuntu") || UBUNTU.contains(&distro);
    Purl {
        kind: "deb",
        namespace: Some(if is_ubuntu { "ubuntu" } else { "debian" }.to_owned()),
        name: facts.package.to_lowercase(),
        version: Some(facts.version.clone()),
        qualifiers: vec![("arch", facts.architecture.clone()), ("distro", distro.to_owned())],
    }
}

/// Suites of Ubuntu that are or will be supported; all others count as Debian's.
const UBUNTU: [&str; 9] =
    ["bionic", "focal", "jammy", "noble", "oracular", "plucky", "questing", "resolute", "devel"];

fn pypi(facts: &PypiFacts) -> Purl {
    Purl {
        kind: "pypi",
        namespace: None,
        name: facts.project.clone(),
        version: Some(facts.version.clone()),
        qualifiers: vec![("file_name", facts.filename.to_string())],
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for segment in self.namespace.iter().flat_map(|namespace| namespace.split('/')) {
            write!(f, "/{}", Escaped(segment))?;
        }
        write!(f, "/{}", Escaped(&self.name))?;
        if let Some(version) = self.version.as_deref().filter(|version| !version.is_empty()) {
            write!(f, "@{}", Escaped(version))?;
        }
        let mut qualifiers: Vec<_> =
            self.qualifiers.iter().filter(|(_, v)| !v.is_empty()).collect();
        qualifiers.sort();
        for (i, (key, value)) in qualifiers.into_iter().enumerate() {
            write!(f, "{}{key}={}", if i == 0 { '?' } else { '&' }, Escaped(value))?;
        }
        Ok(())
    }
}

/// All but letters, digits, `.`, `-`, `_`, `~` and `:` as `%` and two hex digits.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// `origin` when it is a plain URL of the web, and not a folder of this machine.
pub fn web_url(origin: &str) -> Option<&str> {
    let is_url = origin.starts_with("https://") || origin.starts_with("http://");
    let is_plain = origin.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    (is_url && is_plain).then_some(origin)
}

/// What follows the last slash.
pub fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The version that a file's path shows, `v1.35.4`: in its name, or else in the nearest folder.
/// The host does not count.
pub fn version_in_path(path: &str) -> Option<&str> {
    let (_, below) = path.split_once('/')?;
    below.rsplit('/').find_map(version_in_segment)
}

/// The first run of numbers with dots between, with a `v` before it and a `-rc.1` after it when
/// they are there.
fn version_in_segment(segment: &str) -> Option<&str> {
    let is_inside = |at: usize| segment[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    let starts = segment.match_indices(|c: char| c.is_ascii_digit() || c == 'v');
    starts.filter(|&(at, _)| !is_inside(at)).find_map(|(at, _)| {
        let rest = segment.get(at..)?;
        let mark = usize::from(rest.starts_with('v'));
        let digits = dotted_len(rest.get(mark..)?)?;
        rest.get(..mark + digits + prerelease_len(rest.get(mark + digits..)?))
    })
}

/// Length of `1.35.4` at the start of `text`; None without a dot or when a letter follows, as
/// in `1.2.3k`.
fn dotted_len(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let run = text.get(..end)?.trim_end_matches('.');
    let is_plain = run.contains('.') && run.split('.').all(|number| !number.is_empty());
    let is_followed = text[run.len()..].starts_with(|c: char| c.is_ascii_alphabetic());
    (is_plain && !is_followed).then_some(run.len())
}

/// Length of `-rc.1`, `-alpha.2` or `-beta3` at the start of `text`.
fn prerelease_len(text: &str) -> usize {
    for word in ["-rc", "-alpha", "-beta"] {
        let Some(rest) = text.strip_prefix(word) else { continue };
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits != 0 {
            return text.len() - rest.len() + digits;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_its_version_in_the_name_or_the_nearest_folder() {
        for (path, version) in [
            ("dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubelet", Some("v1.35.4")),
            ("github.com/x/runc/releases/download/v1.4.2/runc.amd64", Some("v1.4.2")),
            ("get.helm.sh/helm-v3.18.4-linux-amd64.tar.gz", Some("v3.18.4")),
            ("storage.googleapis.com/cri-o/artifacts/cri-o.amd64.v1.35.0.tar.gz", Some("v1.35.0")),
            (
                "storage.googleapis.com/gvisor/releases/release/20260323.0/x86_64/runsc",
                Some("20260323.0"),
            ),
            ("github.com/x/crun/releases/download/1.17/crun-1.17-linux-amd64", Some("1.17")),
            (
                "github.com/x/youki/releases/download/v0.5.7/youki-0.5.7-x86_64-gnu.tar.gz",
                Some("0.5.7"),
            ),
            ("github.com/x/y/archive/v2.32.0-rc.1.tar.gz", Some("v2.32.0-rc.1")),
            ("10.0.0.1:8080/a/kubelet", None),
            ("h.example/x86_64/manylinux_2_17/a..b/1.2.3k/v/1./é1.2é", Some("1.2")),
            ("h.example/python3.11/64", None),
            ("1.2.3", None),
        ] {
            assert_eq!(version_in_path(path), version, "{path}");
        }
    }

    #[test]
    fn rpms_and_charts_have_package_urls() {
        let facts = |target: &str, package: &str, epoch: &str| RpmFacts {
            target: target.parse().unwrap(),
            repository: "appstream".to_owned(),
            package: package.to_owned(),
            epoch: epoch.to_owned(),
            version: "1.4.7".to_owned(),
            release: "4.el9".to_owned(),
            architecture: "x86_64".to_owned(),
            source: String::new(),
            location: "p.rpm".parse().unwrap(),
            modular: false,
            element: String::new(),
        };
        for (target, epoch, expected) in [
            ("rocky-9", "0", "pkg:rpm/rocky/bind@1.4.7-4.el9?arch=x86_64"),
            ("rhel-9", "32", "pkg:rpm/redhat/bind@1.4.7-4.el9?arch=x86_64&epoch=32"),
            ("nodes", "0", "pkg:rpm/bind@1.4.7-4.el9?arch=x86_64"),
        ] {
            assert_eq!(rpm(&facts(target, "bind", epoch)).to_string(), expected);
        }
        let chart = ChartFacts {
            repository: "helm.cilium.io".parse().unwrap(),
            chart: "cilium".to_owned(),
            version: "1.19.3".to_owned(),
            app_version: None,
            filename: "cilium-1.19.3.tgz".parse().unwrap(),
            metadata: None,
        };
        let expected = "pkg:helm/cilium@1.19.3?repository_url=helm.cilium.io";
        assert_eq!(helm(&chart).to_string(), expected);
    }

    #[test]
    fn what_means_something_in_a_package_url_is_escaped() {
        let purl = Purl {
            kind: "deb",
            namespace: Some("a/b c".to_owned()),
            name: "g++@?#".to_owned(),
            version: Some("1:2~3+é".to_owned()),
            qualifiers: vec![("z", "&=".to_owned()), ("e", String::new()), ("a", "1".to_owned())],
        };
        let written = "pkg:deb/a/b%20c/g%2B%2B%40%3F%23@1:2~3%2B%C3%A9?a=1&z=%26%3D";
        assert_eq!(purl.to_string(), written);
    }
}
