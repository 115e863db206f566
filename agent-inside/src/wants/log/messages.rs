//! The sentences with which each client says that a thing is not there.
//!
//! In:   one line, without colours.
//! Out:  the wants that it tells of; most lines tell of none.
//! Pure.

use gapferry_proto::{Kind, want::Want};

use super::address;

/// Takes a want and the program that said it.
pub type Take<'a> = dyn FnMut(Want, &'static str) + 'a;

/// Reads a line of whatever client.
pub fn read(line: &str, take: &mut Take<'_>) {
    apt(line, take);
    dnf(line, take);
    zypper(line, take);
    helm(line, take);
    image(line, take);
    pip(line, take);
    if is_not_found(line) {
        line.split_whitespace().filter_map(address::want_of).for_each(|want| take(want, "http"));
    }
}

/// Whether a line says 404.
pub fn is_not_found(line: &str) -> bool {
    const SAYINGS: [&str; 8] = [
        "404 Not Found",
        "404  Not Found",
        "HTTP Error 404",
        "Status code: 404",
        "status code 404",
        "status code: 404",
        "returned error: 404",
        ": 404",
    ];
    SAYINGS.into_iter().any(|saying| line.contains(saying))
        || line.contains("_UNKNOWN")
        || line.contains("404 File not found")
}

fn apt(line: &str, take: &mut Take<'_>) {
    let mut deb = |entry: &str, version: Option<&str>| {
        let (name, own) = entry.split_once('=').unwrap_or((entry, ""));
        let version = version.or(Some(own));
        Want::new(Kind::Deb, name, version, None).into_iter().for_each(|want| take(want, "apt"));
    };
    if let Some(rest) = after(line, "Unable to locate package ") {
        deb(word(rest), None);
    }
    if let Some(rest) = after(line, "E: Version '")
        && let Some((version, rest)) = rest.split_once("' for '")
        && let Some((name, _)) = rest.split_once("' was not found")
    {
        deb(name, Some(version));
    }
    if let Some(name) = between(line, "Package '", "' has no installation candidate") {
        deb(name, None);
    }
    if let Some((relations, _)) = line.split_once(" but it is not installable")
        && let Some(relation) = after(relations, "Depends: ")
    {
        deb(word(relation), None);
    }
    // Ansible's module says it in its own words.
    if let Some(name) = between(line, "No package matching '", "' is available") {
        deb(name, None);
    }
    if let Some(entry) = after(line, "no available installation candidate for ") {
        deb(word(entry), None);
    }
}

fn dnf(line: &str, take: &mut Take<'_>) {
    let mut rpm = |name: &str, version: Option<&str>| {
        Want::new(Kind::Rpm, name, version, None).into_iter().for_each(|want| take(want, "dnf"));
    };
    if let Some(rest) = after(line, "No match for argument: ") {
        rpm(word(rest), None);
    }
    if let Some(rest) = after(line, "Unable to find a match: ") {
        rest.split_whitespace().for_each(|name| rpm(name, None));
    }
    if let Some(name) = between(line, "No package ", " available") {
        rpm(name, None);
    }
    if let Some(capability) = between(line, "nothing provides ", " needed by ") {
        let capability = capability.trim_matches('\'');
        let (name, version) = capability.split_once(' ').unwrap_or((capability, ""));
        rpm(name, Some(version));
    }
}

fn zypper(line: &str, take: &mut Take<'_>) {
    let names = [
        between(line, "No provider of '", "' found"),
        between(line, "Package '", "' not found"),
        between(line, "'", "' not found in package names"),
    ];
    for name in names.into_iter().flatten() {
        let end = name.find([' ', '=', '<', '>']).unwrap_or(name.len());
        let (name, version) = name.split_at(end);
        let want = Want::new(Kind::Rpm, name, Some(version), None);
        want.into_iter().for_each(|want| take(want, "zypper"));
    }
}

fn helm(line: &str, take: &mut Take<'_>) {
    let mut chart = |name: &str, version: &str| {
        Want::new(Kind::Chart, name, Some(version), None)
            .into_iter()
            .for_each(|want| take(want, "helm"));
    };
    if let Some(rest) = after(line, "chart \"")
        && let Some((name, rest)) = rest.split_once('"')
        && let Some((what, place)) = rest.split_once(" not found in ")
    {
        let version = after(what, "matching ").or_else(|| between(what, "version \"", "\""));
        let repository = address::chart_repository(word(place));
        let name = repository.map_or_else(|| name.to_owned(), |place| format!("{place}/{name}"));
        chart(&name, version.unwrap_or_default());
    }
    if let Some(rest) = after(line, "failed to download \"")
        && let Some((name, rest)) = rest.split_once('"')
        && !name.contains("://")
    {
        // The name that somebody gave the repository says nothing outside.
        let name = name.rsplit('/').next().unwrap_or(name);
        chart(name, between(rest, "at version \"", "\"").unwrap_or_default());
    }
}

fn image(line: &str, take: &mut Take<'_>) {
    const SAYINGS: [&str; 6] =
        ["not found", "NotFound", "manifest unknown", "name unknown", "404", "_UNKNOWN"];
    if !SAYINGS.into_iter().any(|saying| line.contains(saying)) {
        return;
    }
    let mut image = |name: &str| {
        let name = address::without_our_host(name);
        let want = Want::new(Kind::Image, name, None, None);
        want.into_iter().for_each(|want| take(want, "containerd"));
    };
    let quoted = ["ailed to pull image \"", "pull and unpack image \"", "resolve reference \""];
    for name in quoted.into_iter().filter_map(|begin| between(line, begin, "\"")) {
        image(name);
    }
    if let Some((tag, rest)) = after(line, "reading manifest ").and_then(|r| r.split_once(" in "))
        && let Some((repository, _)) = rest.split_once(": ")
    {
        let sign = if tag.contains(':') { '@' } else { ':' };
        image(&format!("{repository}{sign}{tag}"));
    }
    if let Some(name) = between(line, "manifest for ", " not found") {
        image(name);
    }
}

/// pip, and uv, which says the same in sentences.
fn pip(line: &str, take: &mut Take<'_>) {
    let mut found = |requirement: &str, client| {
        let end = requirement.find(|c: char| " [=<>!~;(".contains(c)).unwrap_or(requirement.len());
        let (name, mut rest) = requirement.split_at(end);
        if rest.starts_with('[') {
            rest = after(rest, "]").unwrap_or_default(); // extras
        }
        let version = rest.split([';', '(']).next().unwrap_or_default().replace(' ', "");
        let is_one = version.starts_with("==") && !version.contains([',', '*']);
        let version = if is_one { version.trim_start_matches('=') } else { &version };
        let want = Want::new(Kind::Pypi, name, Some(version), None);
        want.into_iter().for_each(|want| take(want, client));
    };
    if let Some(rest) = after(line, "No matching distribution found for ") {
        found(rest, "pip");
    } else if let Some(rest) = after(line, "find a version that satisfies the requirement ") {
        found(rest.split(" (from").next().unwrap_or(rest), "pip");
    }
    if let Some((words, _)) = line.split_once(" was not found in the package registry") {
        found(words.rsplit(' ').next().unwrap_or(words), "uv");
    }
    for begin in ["there is no version of ", "there are no versions of "] {
        if let Some(rest) = after(line, begin) {
            found(word(rest), "uv");
        }
    }
    if line.contains(" available and you require ")
        && let Some(rest) = after(line, " available and you require ")
    {
        found(rest.split([',']).next().unwrap_or(rest), "uv");
    }
}

/// What follows `begin`.
fn after<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.split_once(begin).map(|(_, rest)| rest)
}

/// What stands between `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    after(text, begin)?.split_once(end).map(|(middle, _)| middle)
}

/// The first word, without the marks that end a sentence.
fn word(text: &str) -> &str {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.trim_end_matches(['.', ',', ';', '\'', '"'])
}
