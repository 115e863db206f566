//! What an address leads to: of this server, or of the upstream that it stands for.
//!
//! In:   a word of a message.
//! Out:  a want, when the word is a URL of something that could be carried.
//! Pure.

use gapferry_proto::{
    Kind,
    want::{self, Want},
};
use percent_encoding::percent_decode_str;

/// Where this server keeps what has names of its own; an index there is no want.
const OWN: [&str; 6] = ["files/", "apt/", "yum/", "pypi/", "helm/", "wants"];

/// The want that a URL stands for.
pub fn want_of(word: &str) -> Option<Want> {
    let word = word.trim_matches(|c: char| "\"'<>()[],;".contains(c));
    let (host, path, query) = parts(word.trim_end_matches(':'))?;
    let make = |kind, name: &str, version, target| Want::new(kind, name, version, target).ok();
    if let Some(file) = path.strip_prefix("files/").filter(|path| is_below_host(path)) {
        return make(Kind::File, file, None, None);
    }
    if let Some(rest) = path.strip_prefix("v2/") {
        return image(rest, &query);
    }
    if let Some(project) = path.strip_prefix("pypi/simple/") {
        return make(Kind::Pypi, project.trim_end_matches('/'), None, None);
    }
    let target = ["apt/", "yum/"].into_iter().find_map(|root| path.strip_prefix(root));
    let target = target.and_then(|rest| rest.split('/').next());
    let name = path.rsplit('/').next().unwrap_or_default();
    if let Some(stem) = name.strip_suffix(".deb") {
        let mut fields = stem.split('_');
        return make(Kind::Deb, fields.next()?, fields.next(), target);
    }
    if let Some(package) = name.strip_suffix(".rpm") {
        return make(Kind::Rpm, package, None, target);
    }
    if let Some(stem) = name.strip_suffix(".whl") {
        let mut fields = stem.split('-');
        return make(Kind::Pypi, fields.next()?, fields.next(), None);
    }
    if let Some(below) = path.strip_prefix("helm/").and_then(|path| path.strip_suffix(".tgz")) {
        let (stem, version) = chart(below)?;
        return make(Kind::Chart, stem, Some(version), None);
    }
    if OWN.into_iter().any(|root| path.starts_with(root)) {
        return None;
    }
    make(Kind::File, &format!("{host}/{path}"), None, None)
}

/// What a chart repository at a URL is called: `<host>/<path>` of the upstream.
pub fn chart_repository(word: &str) -> Option<String> {
    let (host, path, _) = parts(word)?;
    let path = path.trim_end_matches('/');
    match path.strip_prefix("helm/") {
        Some(upstream) if upstream.split('/').next().is_some_and(want::is_host) => {
            Some(upstream.to_owned())
        }
        _ if path.is_empty() => Some(host),
        _ => Some(format!("{host}/{path}")),
    }
}

/// The reference without the host of this server: `admin:5000/quay.io/a/b:1` is `quay.io/a/b:1`.
pub fn without_our_host(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, rest)) if want::is_host(host) && is_below_host(rest) => rest,
        _ => reference,
    }
}

fn is_below_host(path: &str) -> bool {
    path.split_once('/').is_some_and(|(host, _)| want::is_host(host))
}

/// Host, path without the first slash, and query, all decoded.
fn parts(word: &str) -> Option<(String, String, String)> {
    let rest = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://"))?;
    let rest = rest.split('#').next().unwrap_or(rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.contains('@') {
        return None; // whoever has a password there finds it by the waybill
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    Some((host.to_ascii_lowercase(), decoded(path)?, decoded(query)?))
}

fn image(path: &str, query: &str) -> Option<Want> {
    let (name, reference) = path.split_once("/manifests/")?;
    let registry = query.split('&').find_map(|pair| pair.strip_prefix("ns="));
    let registry = registry.map(|registry| format!("{registry}/")).unwrap_or_default();
    let sign = if reference.contains(':') { '@' } else { ':' };
    Want::new(Kind::Image, &format!("{registry}{name}{sign}{reference}"), None, None).ok()
}

/// `host/cilium-1.19.3` as name and version: the version begins with the first digit after a dash.
fn chart(stem: &str) -> Option<(&str, &str)> {
    let name = stem.rfind('/').map_or(0, |at| at + 1);
    let mut dashes = stem[name..].match_indices('-').map(|(at, _)| name + at);
    let is_version = |at: &usize| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let at = dashes.find(is_version)?;
    Some((&stem[..at], &stem[at + 1..]))
}
