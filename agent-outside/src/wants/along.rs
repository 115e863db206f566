//! What came along with a package of an earlier lock.
//!
//! In:   the package, the artifacts of its lock.
//! Out:  the package and what it needs, as the reasons of that lock tell it.
//! Pure.

use std::collections::BTreeSet;

use gapferry_proto::{Artifact, Facts, Kind};

/// `root`, and all of `lock` that is there because of it: `libpcap0.8` says `tcpdump depends on
/// it`.
pub fn with<'a>(root: &'a Artifact, lock: &'a [Artifact]) -> Vec<&'a Artifact> {
    let mut all = vec![root];
    let mut known: BTreeSet<&str> = [root.name.as_str()].into();
    let mut at = 0;
    while let Some(asker) = all.get(at).and_then(|artifact| package(artifact)) {
        at += 1;
        let begin = format!("{} ", asker.2);
        let is_along = |one: &&Artifact| {
            package(one).is_some_and(|own| (own.0, own.1) == (asker.0, asker.1))
                && one.wanted.iter().any(|reason| reason.starts_with(&begin))
        };
        all.extend(lock.iter().filter(is_along).filter(|one| known.insert(one.name.as_str())));
    }
    all
}

/// The kind of a package, its target, and its name in reasons.
fn package(artifact: &Artifact) -> Option<(Kind, &str, &str)> {
    let (target, name) = match &artifact.facts {
        Facts::Deb(facts) => (facts.target.as_str(), facts.package.as_str()),
        Facts::Rpm(facts) => (facts.target.as_str(), facts.package.as_str()),
        Facts::Pypi(facts) => ("", facts.project.as_str()),
        _ => return None,
    };
    Some((artifact.kind(), target, name))
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        BlobId, BlobRef,
        artifact::{DebFacts, Evidence, Method},
    };

    use super::*;

    fn deb(target: &str, package: &str, reasons: &[&str]) -> Artifact {
        let facts = DebFacts {
            target: target.parse().unwrap(),
            suite: "s".to_owned(),
            component: "main".to_owned(),
            package: package.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            filename: "pool/a.deb".parse().unwrap(),
            paragraph: String::new(),
        };
        Artifact {
            name: format!("{target}/{package}_1_amd64"),
            facts: Facts::Deb(facts),
            blobs: vec![BlobRef { id: BlobId::of(package.as_bytes()), len_bytes: 1 }],
            origin: String::new(),
            evidence: Evidence { method: Method::AptInRelease, by: String::new(), digest: None },
            wanted: reasons.iter().map(|&reason| reason.to_owned()).collect(),
        }
    }

    #[test]
    fn what_a_package_needs_is_found_down_to_the_end_and_in_circles() {
        let lock = [
            deb("t", "a", &["wanted inside: prod asked for a", "c depends on it"]),
            deb("t", "b", &["a depends on it"]),
            deb("t", "c", &["b recommends it"]),
            deb("t", "d", &["ab depends on it"]),
            deb("u", "e", &["a depends on it"]),
        ];
        let names: Vec<&str> = with(&lock[0], &lock).iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["t/a_1_amd64", "t/b_1_amd64", "t/c_1_amd64"]);
    }
}
