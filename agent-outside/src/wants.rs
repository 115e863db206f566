//! Wants: what sites asked for, resolved as if a line of the waybill asked.
//!
//! In:   the [`Asked`] of the sites that a waybill is for, the waybill's own lines.
//! Out:  [`Granted`]: artifacts that join the lock, and for each want what came of it.
//!
//! ```text
//! inventory -> book (ledger) -> lines (which line may answer) -> tries (sources) -> lock
//! ```
//!
//! A want comes from whatever node asked, so it widens nothing that the waybill trusts: packages
//! come from the repositories of its lines, images and files from hosts that its lines name, with
//! their keys and their `require`. What no line answers stays unresolved, with the line to write;
//! it never keeps a sync from being done, nor does a blob that upstream names and does not give.

mod along;
pub mod book;
mod consumers;
mod lines;
mod lost;
mod tries;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use gapferry_common::store::{PutError, Store};
use gapferry_proto::{
    Artifact, Kind, SiteName,
    want::{self, Want},
};

use self::tries::Tries;
pub use self::{
    consumers::{Consumers, consumers},
    lost::Lost,
};
use crate::{expand::Expanded, source::http::Http};

/// Most wants that one sync tries: some ten seconds of requests where all are images.
const WANTS_TRIED_MAX: usize = 1000;

/// A want and the sites that have it.
pub type Asked = BTreeMap<Want, BTreeSet<SiteName>>;

/// What sites ask of a waybill.
#[derive(Debug, Default)]
pub struct Wishes {
    pub asked: Asked,
    /// What the lock in force carries: what upstream no longer gives stays carried as it was.
    pub previous: Vec<Artifact>,
    /// What an upstream names and does not give.
    pub lost: Lost,
}

/// What came of a want.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub want: Want,
    pub sites: BTreeSet<SiteName>,
    /// Why it is not carried; none when it is.
    pub reason: Option<String>,
    /// Whether a line of the waybill brings it anyway.
    pub by_line: bool,
}

/// What joins a lock.
#[derive(Debug, Default)]
pub struct Granted {
    pub artifacts: Vec<Artifact>,
    pub outcomes: Vec<Outcome>,
    /// Files that rpm packages were looked into for, by artifact.
    pub files: BTreeMap<String, Vec<String>>,
}

/// Resolves wants with the lines of a waybill, after whose own `artifacts` were found.
///
/// An artifact that a line has already, or one whose name a line gives to other bytes, is the
/// line's.
///
/// # Errors
///
/// [`PutError`]: the store failed.
pub async fn grant(
    http: &Http,
    store: &Store,
    wishes: &Wishes,
    expanded: &Expanded,
    base: &Utf8Path,
    artifacts: &[Artifact],
) -> Result<Granted, PutError> {
    let asked = &wishes.asked;
    let mut granted = Granted::default();
    if asked.is_empty() {
        return Ok(granted);
    }
    let held = want::met(asked.keys(), artifacts);
    let open: Vec<&Want> = asked.keys().filter(|want| !held.contains(want)).collect();
    let mut tries = Tries::new(http, store, wishes, expanded, base, artifacts);
    let (tried, late) = open.split_at(open.len().min(WANTS_TRIED_MAX));
    tries.all(tried).await?;
    for want in late {
        let what = format!("more than {WANTS_TRIED_MAX} things are wanted; dismiss some");
        tries.leave(want, what);
    }
    let Tries { found, reasons, files, .. } = tries;
    granted.files = files;
    granted.artifacts = joined(artifacts, found);
    granted.outcomes = asked
        .iter()
        .map(|(want, sites)| Outcome {
            want: want.clone(),
            sites: sites.clone(),
            reason: reasons.get(want).cloned(),
            by_line: held.contains(want),
        })
        .collect();
    Ok(granted)
}

/// What was found and no line has under another digest, each name once.
fn joined(lines: &[Artifact], found: Vec<Artifact>) -> Vec<Artifact> {
    let mut first: BTreeMap<(Kind, String), Artifact> = BTreeMap::new();
    for artifact in lines {
        first.insert((artifact.kind(), artifact.name.clone()), artifact.clone());
    }
    let mut joined = vec![];
    for artifact in found {
        let key = (artifact.kind(), artifact.name.clone());
        let there = first.entry(key).or_insert_with(|| artifact.clone());
        if there.blobs == artifact.blobs {
            joined.push(artifact);
        }
    }
    joined
}

/// What the reasons of a want begin with: `wanted inside: prod, lab asked for`.
fn label(sites: &BTreeSet<SiteName>) -> String {
    let names: Vec<&str> = sites.iter().map(SiteName::as_str).collect();
    format!("wanted inside: {} asked for", names.join(", "))
}

#[cfg(test)]
mod tests;
