//! What one round of the closure learned for the next.
//!
//! In:   the dead end that a round ran into.
//! Out:  versions that are banned, requirements that hold from the start, projects given up.
//! Pure. Each dead end bans a version, drops a stale requirement once, or gives a project up,
//! so the rounds end.

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::Version;
use pep508_rs::PackageName;

use super::closure::{Ask, Asker, Impossible};

/// Carried from round to round.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Requirements that ruled out a version that had been taken before they were met.
    pub remembered: BTreeMap<PackageName, Vec<Ask>>,
    /// Given up, with the sentence that says why.
    pub hopeless: BTreeMap<PackageName, Impossible>,
    banned: BTreeMap<(PackageName, Version), String>,
    dropped: BTreeSet<(PackageName, Asker)>,
}

/// A dead end.
#[derive(Debug)]
pub(super) struct Stuck {
    pub taken: BTreeMap<PackageName, Version>,
    /// A version whose ban may help.
    pub blame: Option<(PackageName, Version)>,
    pub impossible: Impossible,
}

impl Memory {
    /// Lets a requirement hold from the start of the next round.
    pub fn remember(&mut self, name: PackageName, ask: Ask) {
        self.remembered.entry(name).or_default().push(ask);
    }

    /// Never takes a version again, and forgets what it asked for.
    pub fn ban(&mut self, name: PackageName, version: Version, reason: String) {
        let by = Asker::Dist(name.clone(), version.clone());
        for asks in self.remembered.values_mut() {
            asks.retain(|ask| ask.by != by);
        }
        self.banned.insert((name, version), reason);
    }

    /// Whether a version is banned.
    pub fn is_banned(&self, name: &PackageName, version: &Version) -> bool {
        self.reason(name, version).is_some()
    }

    /// Why a version is banned.
    pub fn reason(&self, name: &PackageName, version: &Version) -> Option<&str> {
        self.banned.get(&(name.clone(), version.clone())).map(String::as_str)
    }

    /// Changes something, so that the next round ends elsewhere.
    pub fn unstick(&mut self, stuck: &Stuck, name: PackageName) {
        if self.drop_stale(stuck, &name) {
            return;
        }
        if let Some((asker, version)) = stuck.blame.clone() {
            self.ban(asker, version, format!("asks for a version of {name} that cannot be had"));
        } else {
            self.hopeless.insert(name, stuck.impossible.clone());
        }
    }

    /// Forgets what versions ask for that are no longer taken. Each is forgotten once only,
    /// since one that comes back is meant.
    fn drop_stale(&mut self, stuck: &Stuck, name: &PackageName) -> bool {
        let Some(asks) = self.remembered.get_mut(name) else { return false };
        let before = asks.len();
        asks.retain(|ask| {
            let Asker::Dist(by, version) = &ask.by else { return true };
            stuck.taken.get(by) == Some(version)
                || !self.dropped.insert((name.clone(), ask.by.clone()))
        });
        asks.len() < before
    }
}
