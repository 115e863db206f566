//! Turns the packages to carry into artifacts.
//!
//! In:   the texts of all indexes, the names a line asks for.
//! Out:  [`Found`]: an artifact a package, and everything that cannot be had.
//! Pure: no network, no clock.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_proto::{
    Artifact, BlobRef, Facts, Kind, SafePath, Target,
    artifact::{DebFacts, Evidence, Method},
    limits,
};

use super::{
    closure::{self, Request, Unmet},
    fetch::{self, Text},
    packages::{Package, Universe},
    release::parse_sha256,
};
use crate::source::{Failure, Found, Verdict};

/// Why a package of a signed index is not carried.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    #[error("the {field} of {package} is missing or not acceptable: {value:?}")]
    Field { package: String, field: &'static str, value: Option<String> },
    #[error(
        "two indexes name different bytes for {package}; \
         one of the sources is not what it claims: leave one out"
    )]
    Disagreement { package: String },
    #[error(
        "no Release of its suites calls itself security; \
         name a suite such as bookworm-security, or leave out `security: true`"
    )]
    NoSecurity,
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub target: Target,
    pub architectures: Vec<String>,
    pub request: Request,
}

/// Closes over a wish, architecture by architecture, and collects the artifacts.
pub fn pick(wish: &Wish, texts: &[Text]) -> Found {
    let mut found = Found::default();
    let mut artifacts: BTreeMap<String, Artifact> = BTreeMap::new();
    let label = || wish.request.label.clone();
    if wish.request.security && !texts.iter().any(|text| text.security) {
        let (verdict, error) = (Verdict::Configuration, PickError::NoSecurity);
        found.failures.push(Failure::new(Kind::Deb, label(), verdict, error));
        return found;
    }
    for architecture in &wish.architectures {
        let read = texts
            .iter()
            .enumerate()
            .filter(|(_, text)| text.architecture == *architecture || text.architecture == "all")
            .map(|(number, text)| (number, text.path.as_str(), text.text.as_str()));
        match Universe::parse(read, architecture) {
            Ok(universe) => {
                pick_from(
                    &universe,
                    architecture,
                    wish,
                    texts,
                    &mut artifacts,
                    &mut found.failures,
                );
            }
            Err(e) => {
                found.failures.push(Failure::new(Kind::Deb, label(), Verdict::Refused, e));
            }
        }
    }
    found.artifacts = artifacts.into_values().collect();
    found
}

fn pick_from(
    universe: &Universe<'_>,
    architecture: &str,
    wish: &Wish,
    texts: &[Text],
    artifacts: &mut BTreeMap<String, Artifact>,
    failures: &mut Vec<Failure>,
) {
    let is_security = |package: &Package<'_>| texts[package.text].security;
    let closure = closure::close(universe, architecture, &wish.request, &is_security);
    failures.extend(closure.unmet.into_iter().map(unmet));
    for (id, wanted) in closure.carried {
        let package = &universe.packages[id];
        let made = check_twins(universe, package)
            .and_then(|()| artifact(package, &texts[package.text], &wish.target, wanted))
            .and_then(|artifact| put(artifacts, artifact));
        if let Err(e) = made {
            failures.push(Failure::new(Kind::Deb, package.words(), Verdict::Refused, e));
        }
    }
}

fn unmet(unmet: Unmet) -> Failure {
    let (name, verdict) = match &unmet {
        Unmet::Unknown { entry, .. } => (entry.clone(), Verdict::Missing),
        Unmet::Relation { relation, .. } => (relation.clone(), Verdict::Missing),
        Unmet::Conflict { package, .. } => (package.clone(), Verdict::Missing),
        Unmet::Malformed { asker, .. } => (asker.clone(), Verdict::Refused),
    };
    Failure::new(Kind::Deb, name, verdict, unmet)
}

/// Checks that all indexes agree on the bytes of a package of one name, version and architecture.
fn check_twins(universe: &Universe<'_>, package: &Package<'_>) -> Result<(), PickError> {
    let digest = package.field("SHA256");
    let mut twins = universe
        .bearers(package.name)
        .iter()
        .filter(|bearer| bearer.real)
        .map(|bearer| &universe.packages[bearer.id])
        .filter(|p| (p.version, p.architecture) == (package.version, package.architecture));
    if twins.all(|twin| twin.field("SHA256") == digest) {
        return Ok(());
    }
    Err(PickError::Disagreement { package: package.words() })
}

/// Puts an artifact beside those of other architectures; packages for `all` meet themselves.
fn put(artifacts: &mut BTreeMap<String, Artifact>, new: Artifact) -> Result<(), PickError> {
    let Some(held) = artifacts.get_mut(&new.name) else {
        artifacts.insert(new.name.clone(), new);
        return Ok(());
    };
    if held.blobs != new.blobs {
        return Err(PickError::Disagreement { package: new.name });
    }
    held.wanted.extend(new.wanted);
    held.wanted.sort();
    held.wanted.dedup();
    Ok(())
}

fn artifact(
    package: &Package<'_>,
    text: &Text,
    target: &Target,
    wanted: BTreeSet<String>,
) -> Result<Artifact, PickError> {
    let bad = |field, value: Option<&str>| PickError::Field {
        package: package.words(),
        field,
        value: value.map(str::to_owned),
    };
    for (field, value) in [
        ("Package", package.name),
        ("Version", package.version),
        ("Architecture", package.architecture),
    ] {
        if !is_word(value) {
            return Err(bad(field, Some(value)));
        }
    }
    let name = format!("{target}/{}_{}_{}", package.name, package.version, package.architecture);
    let read = |field| package.field(field);
    let (path, hex, size) = (read("Filename"), read("SHA256"), read("Size"));
    let filename = path.and_then(parse_filename).ok_or_else(|| bad("Filename", path))?;
    let digest = hex.and_then(parse_sha256).ok_or_else(|| bad("SHA256", hex))?;
    let len_bytes = size.and_then(parse_len).ok_or_else(|| bad("Size", size))?;
    let origin = format!("{}/{filename}", fetch::root_of(&text.source.uri));
    let facts = DebFacts {
        target: target.clone(),
        suite: text.source.suite.clone(),
        component: text.component.clone(),
        package: package.name.to_owned(),
        version: package.version.to_owned(),
        architecture: package.architecture.to_owned(),
        filename,
        paragraph: package.paragraph.to_owned(),
    };
    Ok(Artifact {
        name,
        facts: Facts::Deb(facts),
        blobs: vec![BlobRef { id: digest.into(), len_bytes }],
        origin,
        evidence: Evidence {
            method: if text.signer == fetch::NOBODY {
                Method::Unverified
            } else {
                Method::AptInRelease
            },
            by: text.signer.clone(),
            digest: Some(digest),
        },
        wanted: wanted.into_iter().collect(),
    })
}

/// Whether a text may be part of an artifact's name.
fn is_word(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._~:".contains(&b);
    (1..=256).contains(&text.len()) && text.bytes().all(allowed)
}

/// Reads `Filename`; some tools write `./` before it.
fn parse_filename(text: &str) -> Option<SafePath> {
    text.strip_prefix("./").unwrap_or(text).parse().ok()
}

fn parse_len(text: &str) -> Option<u64> {
    text.parse().ok().filter(|len| *len <= limits::BLOB_LEN_BYTES_MAX)
}

#[cfg(test)]
mod tests;
