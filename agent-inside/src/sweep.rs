//! Decides which generations leave, and says what leaves with each.
//!
//! In:   the generations that are kept, their lists, what is served, the pins, how many to keep.
//! Out:  a [`Plan`]: each generation that stays, with the reasons, and each that leaves, with the
//!       Kubespray releases that it ends and what nothing else holds.
//! Pure; [`act`] does it.
//!
//! # What an outside may still build on
//!
//! An export names the list that it builds on, and so the inventory after which it was planned.
//! The outside takes no older inventory after a newer one, so later exports build on what was
//! held then or since. All of it stays until an export comes that was planned on a later
//! inventory. After the first inventory, and before an export that builds on anything, that is
//! all there is.

pub mod act;

use std::collections::{BTreeMap, BTreeSet};

use gapferry_proto::{BlobId, Kind, KubesprayTree, Sequence, Snapshot};
use serde::Serialize;

use crate::generation::Generation;

/// A generation with its list.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    pub generation: &'a Generation,
    pub list: &'a Snapshot,
}

/// What the decision is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// All that are kept.
    pub kept: Vec<Listed<'a>>,
    /// Those that an earlier sweep began with.
    pub leaving: Vec<Listed<'a>>,
    /// None before the first import.
    pub served: Option<Sequence>,
    pub pinned: &'a BTreeSet<Sequence>,
    /// How many of the newest stay.
    pub keep: u64,
    /// Whether this site ever said what it holds.
    pub gave_inventory: bool,
    /// What is needed besides: what users pushed, and what an unfinished import made.
    pub roots: &'a BTreeSet<BlobId>,
}

/// Why a generation stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is the one that is served.
    Served,
    /// It is one of the newest.
    Newest,
    Pinned,
    /// The outside may build the next export on it.
    Basis,
}

impl Why {
    /// The word for it in lists.
    const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Newest => "among the newest",
            Self::Pinned => "pinned",
            Self::Basis => "the next export may build on it",
        }
    }
}

/// A generation that stays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stays {
    pub sequence: Sequence,
    pub why: Vec<Why>,
}

impl Stays {
    /// The reasons in one line.
    pub fn reasons(&self) -> String {
        self.why.iter().map(|why| why.word()).collect::<Vec<_>>().join(", ")
    }
}

/// A generation that leaves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Leaves {
    pub sequence: Sequence,
    /// The Kubespray trees that its content was resolved for.
    pub kubespray: Vec<KubesprayTree>,
    /// The releases of Kubespray of which no generation holds the content any more.
    pub ends: Vec<String>,
    /// Artifacts that no generation holds any more.
    pub artifacts: u64,
    /// Length of the blobs that nothing needs any more, in bytes. Those that a later generation
    /// needs as well, which leaves too, count there.
    pub bytes: u64,
}

/// What stays and what leaves, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Plan {
    pub stays: Vec<Stays>,
    pub leaves: Vec<Leaves>,
}

/// Decides.
pub fn plan(facts: &Facts) -> Plan {
    let mut kept = facts.kept.clone();
    kept.sort_by_key(|listed| listed.generation.sequence);
    let stays: Vec<Stays> = stays(facts, &kept);
    let staying: BTreeSet<Sequence> = stays.iter().map(|stays| stays.sequence).collect();
    let (stay, go): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|listed| staying.contains(&listed.generation.sequence));
    let mut remains = Remains::default();
    stay.iter().for_each(|listed| drop(remains.take(*listed)));
    remains.blobs.extend(facts.roots);
    let mut go: Vec<_> = facts.leaving.iter().copied().chain(go).collect();
    go.sort_by_key(|listed| listed.generation.sequence);
    // What several share leaves with the newest of them: it is the last that needs it.
    let mut leaves: Vec<Leaves> = go.into_iter().rev().map(|listed| remains.take(listed)).collect();
    leaves.reverse();
    Plan { stays, leaves }
}

/// `kept` is sorted, oldest first.
fn stays(facts: &Facts, kept: &[Listed]) -> Vec<Stays> {
    let oldest_basis = oldest_basis(kept, facts.gave_inventory);
    let newest = u64::try_from(kept.len()).unwrap_or(u64::MAX).saturating_sub(facts.keep.max(1));
    let reasons = |(number, listed): (u64, &Listed)| {
        let sequence = listed.generation.sequence;
        let reasons = [
            (Why::Served, facts.served == Some(sequence)),
            (Why::Newest, newest <= number),
            (Why::Pinned, facts.pinned.contains(&sequence)),
            (Why::Basis, oldest_basis.is_some_and(|oldest| oldest <= sequence)),
        ];
        let why: Vec<Why> = reasons.into_iter().filter_map(|(why, is)| is.then_some(why)).collect();
        (!why.is_empty()).then_some(Stays { sequence, why })
    };
    (0..).zip(kept).filter_map(reasons).collect()
}

/// The oldest generation that the outside may still build on; none when it knows of none.
fn oldest_basis(kept: &[Listed], gave_inventory: bool) -> Option<Sequence> {
    let mut oldest: Option<Sequence> = None;
    for listed in kept {
        let Some(basis) = listed.generation.basis else { continue };
        // The same list may have been held twice; what came before the basis of an earlier
        // export is not meant.
        let may_be = |earlier: &&Listed| {
            let sequence = earlier.generation.sequence;
            earlier.generation.snapshot == basis
                && oldest <= Some(sequence)
                && sequence < listed.generation.sequence
        };
        if let Some(found) = kept.iter().find(may_be) {
            oldest = Some(found.generation.sequence);
        }
    }
    oldest.or_else(|| gave_inventory.then_some(Sequence(0)))
}

/// What the generations looked at so far hold.
#[derive(Default)]
struct Remains<'a> {
    releases: BTreeSet<&'a str>,
    /// By kind and name the first blob: what an address leads to.
    artifacts: BTreeSet<(Kind, &'a str, Option<BlobId>)>,
    blobs: BTreeSet<BlobId>,
}

impl<'a> Remains<'a> {
    /// Adds a generation; what of it was not there before.
    fn take(&mut self, listed: Listed<'a>) -> Leaves {
        let Generation { sequence, kubespray, .. } = listed.generation;
        let releases = kubespray.iter().map(|tree| tree.version.as_str());
        let ends: Vec<String> =
            releases.filter(|&release| self.releases.insert(release)).map(str::to_owned).collect();
        let keys = listed.list.artifacts().map(|artifact| {
            let (kind, name) = artifact.key();
            (kind, name, artifact.blobs.first().map(|blob| blob.id))
        });
        let artifacts = keys.filter(|&key| self.artifacts.insert(key)).count() as u64;
        let blobs: BTreeMap<BlobId, u64> = listed.list.blobs();
        let new = blobs.into_iter().filter(|&(id, _)| self.blobs.insert(id));
        let bytes = new.fold(0_u64, |sum, (_, len_bytes)| sum.saturating_add(len_bytes));
        Leaves { sequence: *sequence, kubespray: kubespray.clone(), ends, artifacts, bytes }
    }
}

#[cfg(test)]
mod tests;
