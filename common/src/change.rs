//! What became of an artifact between two lists, in the words that both agents use.

use std::fmt;

use gapferry_proto::{
    Artifact,
    artifact::{Evidence, Method},
};
use serde::Serialize;

/// What becomes of an artifact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Its name is new.
    Added,
    /// Its name is known; its bytes, what is known of it, where it comes from or who vouches for
    /// it is other than before.
    Changed,
    Removed,
    Kept,
}

impl Change {
    /// What became of an artifact of which these are the earlier and the later form, and in which
    /// they differ; none when there is neither.
    pub fn of(old: Option<&Artifact>, new: Option<&Artifact>) -> Option<(Self, Vec<&'static str>)> {
        match (old, new) {
            (None, None) => None,
            (None, Some(_)) => Some((Self::Added, vec![])),
            (Some(_), None) => Some((Self::Removed, vec![])),
            (Some(old), Some(new)) => {
                let differs = differences(old, new);
                let change = if differs.is_empty() { Self::Kept } else { Self::Changed };
                Some((change, differs))
            }
        }
    }

    /// The word for it in documents.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Kept => "kept",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Reasons do not count: another line may want the same thing.
fn differences(old: &Artifact, new: &Artifact) -> Vec<&'static str> {
    let parts = [
        ("bytes", old.blobs != new.blobs),
        ("facts", old.facts != new.facts),
        ("origin", old.origin != new.origin),
        ("evidence", !is_same_evidence(&old.evidence, &new.evidence)),
    ];
    parts.into_iter().filter_map(|(word, is_other)| is_other.then_some(word)).collect()
}

/// The digest stands among the bytes already, and a line of the waybill may have moved.
fn is_same_evidence(old: &Evidence, new: &Evidence) -> bool {
    old.method == new.method && (old.method == Method::Waybill || old.by == new.by)
}
