//! How a line is told that something it asks for cannot be.
//!
//! In:   the rules that cannot hold together, as the solver found them.
//! Out:  sentences.
//! Pure.

use super::jobs::Job;
use crate::source::yum::{
    rules::{Rules, Why},
    solver::Stuck,
};

/// Most sentences that tell why something cannot be installed.
const BECAUSE_MAX: usize = 6;

/// Something that a line asks for and that cannot be carried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("{obstacle}")]
pub struct Unmet {
    /// Which of the lines asks for it, by number.
    pub line: usize,
    pub obstacle: Obstacle,
}

/// Why an entry cannot be carried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Obstacle {
    #[error("no repository of this line has {entry}; check the name, version and architecture")]
    Unknown { entry: String },
    #[error("{entry} cannot be installed on an empty machine: {}", because.join("; "))]
    Impossible { entry: String, because: Vec<String> },
    #[error("{entry} is too hard to resolve; name the packages that it shall choose")]
    TooHard { entry: String },
}

impl Unmet {
    /// The entry of `packages:`, or the package that is to be updated.
    pub fn entry(&self) -> &str {
        match &self.obstacle {
            Obstacle::Unknown { entry }
            | Obstacle::Impossible { entry, .. }
            | Obstacle::TooHard { entry } => entry,
        }
    }
}

/// Tells why a job cannot be done.
pub fn obstacle(rules: &Rules<'_>, job: &Job, stuck: Stuck) -> Obstacle {
    let entry = job.entry.clone();
    let Stuck::Impossible(whys) = stuck else { return Obstacle::TooHard { entry } };
    // What is missing says more than what cannot be together.
    let (missing, others): (Vec<Why>, Vec<Why>) = whys.into_iter().partition(
        |why| matches!(why, Why::Requires(_, relation) if rules.providers(*relation).is_empty()),
    );
    let sentences = missing.iter().chain(&others).map(|why| sentence(rules, *why));
    Obstacle::Impossible { entry, because: sentences.take(BECAUSE_MAX).collect() }
}

fn sentence(rules: &Rules<'_>, why: Why) -> String {
    let universe = rules.universe;
    let words = |relation| universe.relation_words(relation);
    match why {
        Why::Requires(id, relation) => {
            let note = match rules.malformed.get(&(id, relation)) {
                Some(error) => format!(", which is not understood: {error}"),
                None if rules.providers(relation).is_empty() => {
                    ", which no repository of its lines has".to_owned()
                }
                None => String::new(),
            };
            format!("{} requires {}{note}", universe.words(id), words(relation))
        }
        Why::Conflicts(id, relation) => {
            format!("{} conflicts with {}", universe.words(id), words(relation))
        }
        Why::Obsoletes(id, relation) => {
            format!("{} obsoletes {}", universe.words(id), words(relation))
        }
        Why::Name(a, b) => {
            format!("{} and {} bear one name", universe.words(a), universe.words(b))
        }
        Why::Asked | Why::Learnt => String::new(),
    }
}
