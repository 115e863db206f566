//! What only wants ask for, and upstream names and does not give.
//!
//! In:   the failures of a fetch, the lock that it was for, the artifacts of its lines.
//! Out:  [`Lost`]: what the next lock of the same sync leaves out, each with the sentence that
//!       says why.
//! Pure. Only what upstream lacks or gives wrongly is lost: after a fault that may pass, or when
//! this machine is set up wrongly, a want that is carried stays carried.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_common::exit::chain;
use gapferry_proto::{
    Artifact, BlobId, BlobRef,
    want::{self, Want},
};

use crate::source::{Failure, Verdict};

/// Blobs, and wants, that nobody gives.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    pub blobs: BTreeMap<BlobId, String>,
    /// Wants whose artifacts were lost twice: an upstream may name other blobs each time.
    pub wants: BTreeMap<Want, String>,
    once: BTreeSet<Want>,
}

impl Lost {
    /// Takes note of `failures` to fetch what `lock` names, when all of them are of what no line
    /// asks for and upstream does not give; whether there is anything to note.
    pub fn learn(
        &mut self,
        failures: &[Failure],
        lock: &[Artifact],
        of_lines: &[Artifact],
        asked: &[&Want],
        is_held: &dyn Fn(&BlobRef) -> bool,
    ) -> bool {
        let of_lines: BTreeSet<_> = of_lines.iter().map(Artifact::key).collect();
        let mut found = vec![];
        for failure in failures {
            let key = (failure.kind, failure.name.as_str());
            let is_gone = matches!(failure.verdict, Verdict::Missing | Verdict::Refused);
            let artifact = lock.iter().find(|artifact| artifact.key() == key);
            match artifact.filter(|_| is_gone && !of_lines.contains(&key)) {
                Some(artifact) => found.push((artifact, failure)),
                None => return false,
            }
        }
        let mut is_new = false;
        for (artifact, failure) in found {
            let (kind, name) = artifact.key();
            let why = format!("{kind} {name} cannot be fetched: {}", chain(&*failure.error));
            for blob in artifact.blobs.iter().filter(|blob| !is_held(blob)) {
                is_new |= self.blobs.insert(blob.id, why.clone()).is_none();
            }
            for want in want::met(asked.iter().copied(), [artifact]) {
                if !self.once.insert(want.clone()) {
                    self.wants.insert(want.clone(), why.clone());
                }
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        Facts, Kind,
        artifact::{Evidence, FileFacts, Method},
    };

    use super::*;

    fn file(name: &str, content: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            facts: Facts::File(FileFacts { path: name.parse().unwrap() }),
            blobs: vec![BlobRef { id: BlobId::of(content.as_bytes()), len_bytes: 1 }],
            origin: String::new(),
            evidence: Evidence { method: Method::Transport, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    fn failure(name: &str, verdict: Verdict) -> Failure {
        Failure::new(Kind::File, name, verdict, "404")
    }

    #[test]
    fn only_what_upstream_does_not_give_and_no_line_asks_for_is_lost() {
        let (line, lock) = ([file("h/line", "l")], [file("h/line", "l"), file("h/want", "w")]);
        for (name, verdict, is_lost) in [
            ("h/want", Verdict::Missing, true),
            ("h/want", Verdict::Refused, true),
            ("h/want", Verdict::Fault, false),
            ("h/want", Verdict::Configuration, false),
            ("h/line", Verdict::Missing, false),
            ("h/none", Verdict::Missing, false),
        ] {
            let mut lost = Lost::default();
            let failures = [failure("h/want", Verdict::Missing), failure(name, verdict)];
            let learnt = lost.learn(&failures, &lock, &line, &[], &|_| false);
            assert_eq!((learnt, lost.blobs.len()), (is_lost, usize::from(is_lost)), "{verdict:?}");
        }
        assert!(!Lost::default().learn(&[], &lock, &line, &[], &|_| false));
    }

    #[test]
    fn a_want_that_is_given_other_blobs_each_time_is_lost_by_its_name() {
        let want = Want::new(Kind::File, "h.example/a", None, None).unwrap();
        let mut lost = Lost::default();
        for (content, by_name) in [("1", false), ("2", true)] {
            let failures = [failure("h.example/a", Verdict::Missing)];
            let lock = [file("h.example/a", content)];
            assert!(lost.learn(&failures, &lock, &[], &[&want], &|_| false));
            assert_eq!(lost.wants.contains_key(&want), by_name, "{content}");
        }
    }
}
