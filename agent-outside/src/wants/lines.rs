//! Which lines of a waybill may answer a want.
//!
//! In:   a want, the lines that the waybill means.
//! Out:  lines that ask for the want and nothing else, or the sentence that says what to write.
//! Pure.

use gapferry_proto::{
    Artifact, Facts, Kind, Target,
    want::{self, Want},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    expand::Expanded,
    source::{file::Asked as FileAsked, helm},
    waybill::{AptLine, ChartLine, ImageLine, PypiLine, YumLine},
};

/// The apt lines of one target, without what they ask for, each repository once.
pub fn apt(expanded: &Expanded) -> Vec<AptLine> {
    let bare = expanded.apt.iter().map(|(_, line)| AptLine {
        packages: vec![],
        list: None,
        // Without it all updates would be asked for, not those of security alone.
        security: line.security && line.installed.is_some(),
        ..line.clone()
    });
    distinct(bare)
}

/// The yum lines, without what they ask for, each repository once.
pub fn yum(expanded: &Expanded) -> Vec<YumLine> {
    let bare = expanded.yum.iter().map(|(_, line)| YumLine {
        packages: vec![],
        security: false,
        no_updates: true,
        from_all: true,
        ..line.clone()
    });
    distinct(bare)
}

/// The yum lines for each that says something of its own of its targets: a line to ask, then those
/// whose repositories complete it, for what a package of one needs may be in another.
pub fn yum_sets(expanded: &Expanded) -> Vec<Vec<YumLine>> {
    let bare = yum(expanded);
    let nodes = |line: &YumLine| (yum_target(line).map(str::to_owned), line.arch.clone());
    let says = |line: &YumLine| (line.weak, line.minimal, line.installed.clone());
    let mut sets: Vec<Vec<YumLine>> = vec![];
    for first in &bare {
        let is_same =
            |set: &Vec<YumLine>| nodes(&set[0]) == nodes(first) && says(&set[0]) == says(first);
        if sets.iter().any(is_same) {
            continue;
        }
        let others = bare.iter().filter(|other| *other != first && nodes(other) == nodes(first));
        let others = others.map(|other| YumLine {
            weak: first.weak,
            minimal: first.minimal,
            installed: first.installed.clone(),
            ..other.clone()
        });
        sets.push([first.clone()].into_iter().chain(others).collect());
    }
    sets
}

/// The Pythons and indexes of the pypi lines, without what they ask for, each once.
pub fn pypi(expanded: &Expanded) -> Vec<PypiLine> {
    let bare = expanded.pypi.iter().map(|(_, line)| PypiLine {
        requirements: None,
        packages: vec![],
        ..line.clone()
    });
    distinct(bare)
}

fn distinct<T: PartialEq>(lines: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = vec![];
    for line in lines {
        if !all.contains(&line) {
            all.push(line);
        }
    }
    all
}

/// Whether a line is for the nodes that want something.
pub fn is_for(want: &Want, target: Option<&str>) -> bool {
    want.target.as_deref().is_none_or(|wanted| Some(wanted) == target)
}

/// The target of an apt line, as its artifacts have it.
pub fn apt_target(line: &AptLine) -> Option<&str> {
    Some(line.target.as_ref().map_or(line.suite.as_str(), Target::as_str))
}

/// The target of a yum line, as its artifacts have it; none when this machine's dnf says it.
pub fn yum_target(line: &YumLine) -> Option<&str> {
    line.target.as_ref().map(Target::as_str).or(line.releasever.as_deref())
}

/// How a package of a suite is asked for; a constraint is left to the index.
pub fn deb_entry(want: &Want) -> String {
    let version = want.version.as_ref().filter(|version| is_one(version));
    version.map_or_else(|| want.name.clone(), |version| format!("{}={version}", want.name))
}

/// How an rpm package is asked for; a constraint is left to the repository.
pub fn rpm_entry(want: &Want) -> String {
    let version = want.version.as_ref().filter(|version| is_one(version));
    version.map_or_else(|| want.name.clone(), |version| format!("{}-{version}", want.name))
}

/// The requirement (PEP 508) of a want.
pub fn requirement(want: &Want) -> String {
    match &want.version {
        None => want.name.clone(),
        Some(version) if is_one(version) => format!("{}=={version}", want.name),
        Some(constraint) => format!("{}{constraint}", want.name),
    }
}

/// Whether a text is a version and no constraint.
fn is_one(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_alphanumeric()) && !version.contains([',', ' ', '*'])
}

/// The image that is wanted, asked for as the waybill asks for its like.
///
/// # Errors
///
/// The line to write, when no line takes images from that registry.
pub fn image(
    want: &Want,
    expanded: &Expanded,
    artifacts: &[Artifact],
) -> Result<ImageLine, String> {
    let named: Vec<&str> = artifacts.iter().filter_map(repository).collect();
    let reference = full_name(&want.name, &named).ok_or_else(|| {
        let name = &want.name;
        format!(
            "no image of the waybill is from that registry; write `images: [{{ref: \"{name}\"}}]`"
        )
    })?;
    let own = repository_of(&reference);
    let registry = registry_of(&reference);
    let of = |line: &&ImageLine| line.named.is_none() && !line.reference.starts_with("oci:");
    let lines: Vec<&ImageLine> = expanded.images.iter().map(|(_, line)| line).filter(of).collect();
    let like = lines.iter().find(|line| repository_of(&line.reference) == own);
    if let Some(like) = like {
        return Ok(ImageLine { reference, ..(**like).clone() });
    }
    let mut platforms: Vec<String> = lines.iter().flat_map(|line| line.platforms.clone()).collect();
    platforms.sort();
    platforms.dedup();
    if lines.iter().any(|line| line.platforms.is_empty()) {
        platforms.clear();
    }
    let insecure =
        lines.iter().any(|line| line.insecure && registry_of(&line.reference) == registry);
    Ok(ImageLine { platforms, insecure, ..ImageLine::of(reference) })
}

fn repository(artifact: &Artifact) -> Option<&str> {
    match &artifact.facts {
        Facts::Image(facts) => Some(facts.repository.as_str()),
        _ => None,
    }
}

/// The reference with a registry that the waybill knows. Nodes that ask without one, or by the
/// name of their own server, mean a repository that is carried, or Docker's.
fn full_name(name: &str, repositories: &[&str]) -> Option<String> {
    let is_known = |host: &str| {
        repositories.iter().any(|one| one.split_once('/').map(|(h, _)| h) == Some(host))
    };
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    if want::is_host(first) && is_known(first) {
        return Some(name.to_owned());
    }
    let short = if want::is_host(first) { rest } else { name };
    let of = repository_of(short);
    let mut full: Vec<&str> = repositories
        .iter()
        .filter(|one| one.split_once('/').is_some_and(|(_, path)| path == of))
        .copied()
        .collect();
    full.sort_unstable();
    full.dedup();
    match full[..] {
        [one] => {
            let host = one.split_once('/').map(|(host, _)| host)?;
            Some(format!("{host}/{short}"))
        }
        // What a runtime means by a name without registry (distribution/reference, "familiar").
        [] if short == name && is_known("docker.io") => {
            let library = if name.contains('/') { "" } else { "library/" };
            Some(format!("docker.io/{library}{name}"))
        }
        _ => None,
    }
}

/// A reference without tag and digest.
fn repository_of(reference: &str) -> &str {
    let path = reference.split('@').next().unwrap_or(reference);
    let last = path.rfind('/').map_or(0, |at| at + 1);
    path[last..].find(':').map_or(path, |colon| &path[..last + colon])
}

fn registry_of(reference: &str) -> &str {
    reference.split_once('/').map_or("", |(host, _)| host)
}

/// The file that is wanted, by https.
///
/// # Errors
///
/// The line to write, when no line takes files from that host.
pub fn file(want: &Want, artifacts: &[Artifact], label: &str) -> Result<FileAsked, String> {
    let host = want.name.split('/').next().unwrap_or_default();
    let is_of = |artifact: &Artifact| {
        artifact.kind() == Kind::File && artifact.name.split('/').next() == Some(host)
    };
    let url = file_url(want);
    if !artifacts.iter().any(is_of) {
        let write = file_line(want);
        return Err(format!("no file of the waybill is from {host}; write {write}"));
    }
    let url = url.parse().map_err(|_| format!("{url} is no URL; write {}", file_line(want)))?;
    Ok(FileAsked { url, expected: None, sha512: None, label: label.to_owned(), insecure: false })
}

/// The line of a waybill that would carry a file.
pub fn file_line(want: &Want) -> String {
    format!("`files: [{{url: \"{}\", sha256: …}}]`", file_url(want))
}

/// What a URL would take for more than a part of its path, in a name as servers read it. Some
/// servers read a plus as a blank.
const DECODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'+').add(b'"');

fn file_url(want: &Want) -> String {
    format!("https://{}", utf8_percent_encode(&want.name, DECODED))
}

/// The lines to ask for a chart, the likeliest first.
///
/// # Errors
///
/// The line to write, when the waybill takes no charts from anywhere that it may come from.
pub fn charts(want: &Want, expanded: &Expanded) -> Result<Vec<ChartLine>, String> {
    let (place, name) = match want.name.rsplit_once('/') {
        Some((place, name)) => (Some(place), name),
        None => (None, want.name.as_str()),
    };
    let is_from = |line: &ChartLine| {
        let Some(place) = place else { return true };
        let bare = line.repo.trim_start_matches("oci://").trim_end_matches('/');
        let web = line.repo.parse().ok().and_then(|url| helm::served_as(&url).ok());
        bare == place || web.is_some_and(|served| served.as_str() == place)
    };
    let version = want.version.clone();
    let mut lines: Vec<(bool, ChartLine)> = vec![];
    for (_, line) in &expanded.charts {
        let is_own = line.name.as_deref() == Some(name);
        let is_web = line.repo.contains("://") && line.name.is_some();
        if !is_from(line) || !is_web {
            continue;
        }
        let asked = ChartLine { version: version.clone(), ..line.clone() };
        let asked = if is_own { asked } else { other_chart(&asked, name) };
        if !lines.iter().any(|(_, one)| *one == asked) {
            lines.push((is_own, asked));
        }
    }
    lines.sort_by_key(|(is_own, _)| !is_own);
    if lines.is_empty() {
        let repo = place.map_or("…".to_owned(), |place| format!("https://{place}"));
        let line = format!("`charts: [{{repo: \"{repo}\", name: {name}, version: …}}]`");
        return Err(format!("no chart of the waybill is from there; write {line}"));
    }
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Another chart of the same repository, to which the values of a line do not belong.
fn other_chart(line: &ChartLine, name: &str) -> ChartLine {
    ChartLine { name: Some(name.to_owned()), values: vec![], set: vec![], ..line.clone() }
}
