//! Wants: what clients of a site asked for and did not get, and which artifacts meet them.
//!
//! In:   names as clients give them, and artifacts.
//! Out:  a [`Want`] whose name is written in one way, and [`met`]: the wants that are none any more.
//! Pure: both agents ask the same question, inside of a snapshot, outside of a lock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Artifact, Facts, Kind, SafePath, Target, artifact::ImageFacts, limits};

/// One thing that a client asked for and the inside did not hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize)]
pub struct Want {
    pub kind: Kind,
    /// A file as `<host>/<path>`, an image by its reference, a chart as `[<repository>/]<chart>`,
    /// all others by the name of the package.
    pub name: String,
    /// One version, or a constraint such as `>=2,<3`; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The nodes that want it, as in `/apt/<target>/`; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Why a text names nothing that could be wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WantError {
    #[error("{0:?} is no kind; use file, image, deb, rpm, pypi or chart")]
    Kind(String),
    #[error("{name:?} is no {kind}: {rule}")]
    Name { kind: Kind, name: String, rule: &'static str },
    #[error("{0:?} is no version")]
    Version(String),
    #[error("{0:?} is no target; it is the word after /apt/ or /yum/")]
    Target(String),
}

impl Want {
    /// Makes a want of what a person or a client wrote; the name is brought into its one form.
    ///
    /// # Errors
    ///
    /// [`WantError`] says how such a thing is named.
    pub fn new(
        kind: Kind,
        name: &str,
        version: Option<&str>,
        target: Option<&str>,
    ) -> Result<Self, WantError> {
        let name = name.trim();
        let (rule, named) = match kind {
            Kind::File => ("write <host>/<path>, without https://", file(name)),
            Kind::Image => ("write host/repository:tag", image(name)),
            Kind::Deb => ("write the package's name, or name:architecture", deb(name)),
            Kind::Rpm => ("write a package's name, or what it provides", rpm(name)),
            Kind::Pypi => ("write the project's name", project(name)),
            Kind::Chart => ("write the chart's name, or <repository>/<chart>", chart(name)),
        };
        let named = named.filter(|name| name.len() <= limits::NAME_LEN_BYTES_MAX);
        let named = named.ok_or_else(|| WantError::Name { kind, name: name.to_owned(), rule })?;
        let version = version.map(str::trim).filter(|text| !text.is_empty());
        if let Some(version) = version.filter(|text| !is_version(text)) {
            return Err(WantError::Version(version.to_owned()));
        }
        let target = target.map(str::trim).filter(|text| !text.is_empty());
        if let Some(target) = target.filter(|text| text.parse::<Target>().is_err()) {
            return Err(WantError::Target(target.to_owned()));
        }
        let (version, target) = (version.map(str::to_owned), target.map(str::to_owned));
        Ok(Self { kind, name: named, version, target })
    }

    /// The same want with its name in its one form.
    ///
    /// # Errors
    ///
    /// As [`Want::new`].
    pub fn checked(&self) -> Result<Self, WantError> {
        Self::new(self.kind, &self.name, self.version.as_deref(), self.target.as_deref())
    }

    /// Name, version and target as people read them: `socat 1.8 for debian-13`.
    pub fn words(&self) -> String {
        let version = self.version.as_ref().map(|text| format!(" {text}")).unwrap_or_default();
        let target = self.target.as_ref().map(|text| format!(" for {text}")).unwrap_or_default();
        format!("{}{version}{target}", self.name)
    }
}

/// Reads the word of a kind.
///
/// # Errors
///
/// [`WantError::Kind`].
pub fn kind(word: &str) -> Result<Kind, WantError> {
    let found = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    found.ok_or_else(|| WantError::Kind(word.to_owned()))
}

/// Whether a text is a server's name, as the first segment of a file or an image can be one.
pub fn is_host(text: &str) -> bool {
    let name = text.split(':').next().unwrap_or_default();
    let may_be = text == "localhost" || text.contains(['.', ':']);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    may_be
        && (1..=255).contains(&text.len())
        && text.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The wants of `wants` that one of `artifacts` meets.
///
/// Costs one look at each artifact's names; a constraint that is not understood counts as not met.
pub fn met<'w, 'a>(
    wants: impl IntoIterator<Item = &'w Want>,
    artifacts: impl IntoIterator<Item = &'a Artifact>,
) -> BTreeSet<&'w Want> {
    let mut open: BTreeMap<(Kind, &str), Vec<&'w Want>> = BTreeMap::new();
    for want in wants {
        open.entry((want.kind, &want.name)).or_default().push(want);
    }
    let mut met = BTreeSet::new();
    if open.is_empty() {
        return met;
    }
    for artifact in artifacts {
        let kind = artifact.kind();
        for Name { text, versions } in names(artifact) {
            let Some(wants) = open.get(&(kind, text.as_str())) else { continue };
            let fits = |want: &&&Want| {
                let fits_target = match (&want.target, target(&artifact.facts)) {
                    (Some(wanted), Some(target)) => wanted == target.as_str(),
                    _ => true,
                };
                let fits_version = want.version.as_ref().is_none_or(|wanted| {
                    versions.iter().any(|version| is_admitted(kind, wanted, version))
                });
                fits_target && fits_version
            };
            met.extend(wants.iter().filter(fits).copied());
        }
    }
    met
}

/// A name by which an artifact may be wanted, and what its version is called under it.
struct Name {
    text: String,
    versions: Vec<String>,
}

impl Name {
    fn any(text: impl Into<String>) -> Self {
        Self { text: text.into(), versions: vec![] }
    }
}

fn names(artifact: &Artifact) -> Vec<Name> {
    match &artifact.facts {
        Facts::File(facts) => vec![Name::any(facts.path.as_str())],
        Facts::Image(facts) => image_names(facts),
        Facts::Deb(facts) => {
            let versions = vec![facts.version.clone()];
            let qualified = format!("{}:{}", facts.package, facts.architecture);
            let own = [facts.package.clone(), qualified];
            let own = own.map(|text| Name { text, versions: versions.clone() });
            own.into_iter().chain(deb_provides(&facts.paragraph).map(Name::any)).collect()
        }
        Facts::Rpm(facts) => {
            let evr = format!("{}-{}", facts.version, facts.release);
            let with_epoch = format!("{}:{evr}", facts.epoch);
            let versions = vec![facts.version.clone(), evr.clone(), with_epoch];
            let (name, arch) = (&facts.package, &facts.architecture);
            let full = format!("{name}-{evr}");
            let whole = [format!("{full}.{arch}"), full, format!("{name}-{}", facts.version)];
            let own = [name.clone(), format!("{name}.{arch}")];
            let own = own.map(|text| Name { text, versions: versions.clone() });
            let provided = rpm_provides(&facts.element).map(Name::any);
            own.into_iter().chain(whole.map(Name::any)).chain(provided).collect()
        }
        Facts::YumDocument(_) => vec![],
        Facts::Pypi(facts) => {
            vec![Name { text: facts.project.clone(), versions: vec![facts.version.clone()] }]
        }
        Facts::Chart(facts) => {
            let names = [facts.chart.clone(), format!("{}/{}", facts.repository, facts.chart)];
            let versions = vec![facts.version.clone()];
            names.map(|text| Name { text, versions: versions.clone() }).into()
        }
    }
}

/// With the registry and without it, by tag and by every digest.
fn image_names(facts: &ImageFacts) -> Vec<Name> {
    let full = facts.repository.as_str();
    let short = full.split_once('/').map(|(_, short)| short);
    let digests = facts.manifests.iter().map(|manifest| manifest.id).chain([facts.root]);
    let mut ends: Vec<String> = digests.map(|id| format!("@{id}")).collect();
    ends.extend(facts.tag.as_ref().map(|tag| format!(":{tag}")));
    let names = [Some(full), short].into_iter().flatten();
    names.flat_map(|name| ends.iter().map(move |end| Name::any(format!("{name}{end}")))).collect()
}

const fn target(facts: &Facts) -> Option<&Target> {
    match facts {
        Facts::Deb(facts) => Some(&facts.target),
        Facts::Rpm(facts) => Some(&facts.target),
        _ => None,
    }
}

/// The names in `Provides` of a paragraph of `Packages` (deb-control(5)).
fn deb_provides(paragraph: &str) -> impl Iterator<Item = &str> {
    let lines = paragraph.lines().filter_map(|line| line.strip_prefix("Provides:"));
    lines.flat_map(|line| line.split(',')).filter_map(|one| one.split_whitespace().next())
}

/// The names in `rpm:provides` of an element of `primary.xml`.
fn rpm_provides(element: &str) -> impl Iterator<Item = &str> {
    let after = element.split_once("<rpm:provides>").map_or("", |(_, after)| after);
    let provides = after.split_once("</rpm:provides>").map_or("", |(provides, _)| provides);
    provides.split(" name=\"").skip(1).filter_map(|rest| rest.split('"').next())
}

/// Whether `version` is what a want's version says.
fn is_admitted(kind: Kind, wanted: &str, version: &str) -> bool {
    if wanted == version {
        return true;
    }
    match kind {
        Kind::Deb | Kind::File | Kind::Image => false,
        Kind::Rpm | Kind::Pypi | Kind::Chart => {
            wanted.split(',').all(|clause| is_met(clause.trim(), version) == Some(true))
        }
    }
}

/// Whether a version of plain numbers meets one clause; none when either is more than that.
fn is_met(clause: &str, version: &str) -> Option<bool> {
    const SIGNS: [&str; 8] = ["==", "!=", ">=", "<=", "~=", ">", "<", "="];
    let sign = SIGNS.into_iter().find(|sign| clause.starts_with(sign)).unwrap_or_default();
    let text = clause[sign.len()..].trim();
    let own = numbers(version)?;
    if let Some(prefix) = text.strip_suffix(".*") {
        let is_below = own.starts_with(&numbers(prefix)?);
        return matches!(sign, "==" | "!=").then_some(is_below == (sign == "=="));
    }
    let wanted = numbers(text)?;
    let len = own.len().max(wanted.len());
    let padded = |numbers: &[u64]| {
        let mut padded = numbers.to_vec();
        padded.resize(len, 0);
        padded
    };
    let order = padded(&own).cmp(&padded(&wanted));
    Some(match sign {
        "" | "=" | "==" => order.is_eq(),
        "!=" => order.is_ne(),
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        "<" => order.is_lt(),
        _ => order.is_ge() && own.starts_with(wanted.split_last()?.1),
    })
}

/// `v1.2.3` as numbers; none when it is more than plain numbers.
fn numbers(text: &str) -> Option<Vec<u64>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    text.split('.').map(|part| part.parse().ok()).collect()
}

fn file(name: &str) -> Option<String> {
    let path: SafePath = name.parse().ok()?;
    let (host, _) = name.split_once('/')?;
    is_host(host).then(|| path.to_string())
}

fn image(name: &str) -> Option<String> {
    let name = name.strip_prefix("docker://").unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    let (path, digest) = match name.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => (name, None),
    };
    if !name.bytes().all(allowed) || path.parse::<SafePath>().is_err() {
        return None;
    }
    let last = path.rsplit('/').next().unwrap_or(path);
    let is_alone = !path.contains('/') && is_host(path) && !path.contains(':');
    if last.starts_with(':') || last.ends_with(':') || is_alone {
        return None;
    }
    match digest {
        Some(digest) => digest.parse::<crate::Digest>().ok().map(|_| name.to_owned()),
        None if last.contains(':') => Some(name.to_owned()),
        None => Some(format!("{name}:latest")),
    }
}

fn deb(name: &str) -> Option<String> {
    let (package, architecture) = name.split_once(':').unwrap_or((name, "any"));
    let is_word = |text: &str, others: &[u8]| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || others.contains(&b))
    };
    (2 <= package.len() && is_word(package, b"+-.") && is_word(architecture, b"-"))
        .then(|| name.to_owned())
}

fn rpm(name: &str) -> Option<String> {
    let may_begin = |c: char| c.is_ascii_alphanumeric() || "/_(".contains(c);
    // No groups and no patterns: a node asks for one thing.
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"*?[]".contains(&b);
    (name.starts_with(may_begin) && name.bytes().all(is_plain)).then(|| name.to_owned())
}

/// PEP 503: runs of `-`, `_` and `.` are one dash, letters are lower case.
fn project(name: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    if !name.bytes().all(allowed) || !is_edge(name.bytes().next()) || !is_edge(name.bytes().last())
    {
        return None;
    }
    let words: Vec<&str> = name.split(['-', '_', '.']).filter(|word| !word.is_empty()).collect();
    Some(words.join("-").to_ascii_lowercase())
}

fn chart(name: &str) -> Option<String> {
    let path: SafePath = name.parse().ok()?;
    let last = name.rsplit('/').next().unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    last.bytes().all(allowed).then(|| path.to_string())
}

/// Versions and constraints of all kinds: visible ASCII and single blanks.
fn is_version(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

#[cfg(test)]
mod tests;
