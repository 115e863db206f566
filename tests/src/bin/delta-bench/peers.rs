//! The tools to measure against, each as its users would run it.
//!
//! In:   a hop.
//! Out:  for each tool the bytes to carry, what they cost to make and to apply; a tool that is
//!       not installed is named and left out.

mod pairs;
mod stores;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::{
    clients::{clean, find},
    fixtures::sha256,
};

use crate::{artifact::Hop, measure::Cost, peel::peel};

/// A tool, and what it is given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    Casync,
    Restic,
    Borg,
    Zstd,
    ZstdPeeled,
    HdiffPatch,
    HdiffPatchPeeled,
    Bsdiff,
    BsdiffPeeled,
    Rsync,
}

/// What a tool needed for a hop.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Figure {
    pub bytes: u64,
    pub make: Cost,
    pub apply: Cost,
}

impl Peer {
    pub const ALL: [Self; 10] = [
        Self::Casync,
        Self::Restic,
        Self::Borg,
        Self::Zstd,
        Self::ZstdPeeled,
        Self::HdiffPatch,
        Self::HdiffPatchPeeled,
        Self::Bsdiff,
        Self::BsdiffPeeled,
        Self::Rsync,
    ];

    /// The head of its column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Casync => "casync",
            Self::Restic => "restic",
            Self::Borg => "borg",
            Self::Zstd => "zstd --patch-from",
            Self::ZstdPeeled => "zstd, peeled",
            Self::HdiffPatch => "HDiffPatch",
            Self::HdiffPatchPeeled => "HDiffPatch, peeled",
            Self::Bsdiff => "bsdiff",
            Self::BsdiffPeeled => "bsdiff, peeled",
            Self::Rsync => "rsync literal",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Casync => "casync",
            Self::Restic => "restic",
            Self::Borg => "borg",
            Self::Zstd | Self::ZstdPeeled => "zstd",
            Self::HdiffPatch | Self::HdiffPatchPeeled => "python3",
            Self::Bsdiff | Self::BsdiffPeeled => "bsdiff",
            Self::Rsync => "rsync",
        }
    }

    const fn is_peeled(self) -> bool {
        matches!(self, Self::ZstdPeeled | Self::HdiffPatchPeeled | Self::BsdiffPeeled)
    }

    /// Why the machine cannot run it; none when it can.
    fn absence(self, scratch: &Path) -> Option<String> {
        let name = self.program();
        if find(name).is_none() {
            return Some(format!("{}: no {name} on this machine", self.name()));
        }
        let mut python = clean("python3", scratch);
        let is_hdiff = matches!(self, Self::HdiffPatch | Self::HdiffPatchPeeled);
        let lacks = is_hdiff
            && !python.args(["-c", "import hdiffpatch"]).output().is_ok_and(|o| o.status.success());
        lacks.then(|| format!("{}: this machine's python3 has no hdiffpatch", self.name()))
    }
}

impl Figure {
    pub fn json(&self) -> Value {
        json!({"bytes": self.bytes, "make": self.make.json(), "apply": self.apply.json()})
    }

    /// Both one after the other.
    pub fn and(self, next: &Self) -> Self {
        Self {
            bytes: self.bytes + next.bytes,
            make: self.make.and(next.make),
            apply: self.apply.and(next.apply),
        }
    }

    pub fn none() -> Self {
        Self { bytes: 0, make: Cost::default(), apply: Cost::default() }
    }
}

/// A figure, or why there is none.
pub type Outcome = Result<Figure, String>;

/// The tools that this machine has, and what they were seen to do.
#[derive(Debug)]
pub struct Peers {
    pub present: Vec<Peer>,
    /// A sentence for each tool that is not there.
    pub absent: Vec<String>,
    /// Figures by tool, old and new content: many forms hide the same tar.
    known: HashMap<(Peer, String, String), Outcome>,
}

impl Peers {
    /// Looks for every tool. bsdiff stands in for HDiffPatch where that is missing: its way of
    /// looking for matches is the same, and slower.
    ///
    /// # Errors
    ///
    /// No temporary folder.
    pub fn look() -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let (mut present, mut absent) = (vec![], vec![]);
        for peer in Peer::ALL {
            let stood_in = matches!(peer, Peer::Bsdiff | Peer::BsdiffPeeled)
                && present.contains(&Peer::HdiffPatch);
            match peer.absence(scratch.path()) {
                _ if stood_in => {}
                Some(sentence) => absent.push(sentence),
                None => present.push(peer),
            }
        }
        Ok(Self { present, absent, known: HashMap::new() })
    }

    /// No tool at all.
    pub fn none() -> Self {
        Self { present: vec![], absent: vec![], known: HashMap::new() }
    }

    /// What one tool needs for a hop.
    pub fn measure(&mut self, peer: Peer, hop: &Hop) -> Outcome {
        self.try_measure(peer, hop).unwrap_or_else(|error| Err(format!("{error:#}")))
    }

    fn try_measure(&mut self, peer: Peer, hop: &Hop) -> anyhow::Result<Outcome> {
        let mut parts = vec![];
        for pair in &hop.pairs {
            parts.extend(pair.parts()?);
        }
        let scratch = tempfile::tempdir()?;
        match peer {
            Peer::Casync => stores::casync(&parts, scratch.path()).map(Ok),
            Peer::Restic => stores::restic(&parts, scratch.path()).map(Ok),
            Peer::Borg => stores::borg(&parts, scratch.path()).map(Ok),
            _ => self.each(peer, &parts, scratch.path()),
        }
    }

    /// The sum over all parts, each against its own old one.
    fn each(
        &mut self,
        peer: Peer,
        parts: &[(Option<PathBuf>, PathBuf)],
        scratch: &Path,
    ) -> anyhow::Result<Outcome> {
        let mut sum = Figure::none();
        for (old, new) in parts {
            let old = old.as_deref().map_or(Ok(vec![]), |old| content(peer, old))?;
            let new = content(peer, new)?;
            if old == new {
                continue;
            }
            let key = (peer, sha256(&old), sha256(&new));
            let outcome = match self.known.get(&key) {
                Some(known) => known.clone(),
                None => pairs::measure(peer, &old, &new, scratch)?,
            };
            self.known.insert(key, outcome.clone());
            match outcome {
                Ok(figure) => sum = sum.and(&figure),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(sum))
    }
}

/// What a tool gets to see of a file.
fn content(peer: Peer, path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !peer.is_peeled() {
        return Ok(bytes);
    }
    let plain = peel(&bytes).with_context(|| format!("cannot peel {}", path.display()))?;
    Ok(plain.unwrap_or(bytes))
}
