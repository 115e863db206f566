//! What a site shall hold: the union of the locks in force that are for it.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_proto::{
    Artifact, Facts, Kind, KubesprayTree, SiteName, Snapshot, limits, snapshot::SnapshotError,
};

use crate::{
    home::Home,
    lock::{self, Lock, LockFileError},
};

/// Why no snapshot can be made.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    #[error(transparent)]
    Lock(#[from] LockFileError),
    #[error("no waybill is for site {0}; write one and run `gapferry-outside sync`")]
    NoWaybill(SiteName),
    #[error("the waybills do not fit together")]
    Snapshot(#[from] SnapshotError),
    #[error(
        "site {0} has {1} Kubespray trees, more than {max}; drop some lines",
        max = limits::KUBESPRAY_TREES_MAX
    )]
    Trees(SiteName, usize),
    #[error("{kind} {name} differs between the waybills {one} and {other}")]
    Disagree { kind: Kind, name: String, one: SiteName, other: SiteName },
}

/// Reads the locks that are for `site` and joins them.
///
/// # Errors
///
/// [`UnionError`].
pub fn of_site(home: &Home, site: &SiteName) -> Result<Snapshot, UnionError> {
    union(locks_of_site(home, site)?)
}

/// The Kubespray trees that the snapshot of `site` was resolved for, each once.
///
/// # Errors
///
/// As [`locks_of_site`], and [`UnionError::Trees`].
pub fn trees_of_site(home: &Home, site: &SiteName) -> Result<Vec<KubesprayTree>, UnionError> {
    let locks = locks_of_site(home, site)?.into_iter().flatten();
    let trees: BTreeSet<KubesprayTree> = locks.flat_map(|lock| lock.kubespray).collect();
    if limits::KUBESPRAY_TREES_MAX < trees.len() {
        return Err(UnionError::Trees(site.clone(), trees.len()));
    }
    Ok(trees.into_iter().collect())
}

/// The locks in force that are for `site`: those of each waybill, newest first.
///
/// # Errors
///
/// [`UnionError::Lock`], [`UnionError::NoWaybill`].
pub fn locks_of_site(home: &Home, site: &SiteName) -> Result<Vec<Vec<Lock>>, UnionError> {
    let mut waybills = vec![];
    for name in home.waybills() {
        let locks = lock::in_force(&home.locks(&name))?;
        let is_for_site = |newest: &Lock| is_for(&newest.waybill, &newest.sites, site, home);
        if locks.first().is_some_and(is_for_site) {
            waybills.push(locks);
        }
    }
    if waybills.is_empty() {
        return Err(UnionError::NoWaybill(site.clone()));
    }
    Ok(waybills)
}

/// A waybill is for the sites it names, for those whose configuration names it, or for all when
/// neither says anything.
pub fn is_for(waybill: &SiteName, sites: &[SiteName], site: &SiteName, home: &Home) -> bool {
    let configured = home.config().site.get(site).map(|s| &s.waybills).filter(|w| !w.is_empty());
    match configured {
        Some(waybills) => waybills.contains(waybill),
        None => sites.is_empty() || sites.contains(site),
    }
}

/// Joins waybills, each with its locks newest first. Within one waybill the newest lock wins; of a
/// document of a yum repository that of the first waybill.
///
/// # Errors
///
/// [`UnionError::Disagree`]: two waybills give one name to different bytes.
pub fn union(waybills: Vec<Vec<Lock>>) -> Result<Snapshot, UnionError> {
    let mut joined: BTreeMap<(Kind, String), (SiteName, Artifact)> = BTreeMap::new();
    for locks in waybills {
        let mut own: BTreeMap<(Kind, String), (SiteName, Artifact)> = BTreeMap::new();
        for lock in locks {
            for artifact in lock.artifacts {
                let key = (artifact.kind(), artifact.name.clone());
                own.entry(key).or_insert_with(|| (lock.waybill.clone(), artifact));
            }
        }
        for (key, (waybill, artifact)) in own {
            join(&mut joined, key, waybill, artifact)?;
        }
    }
    Ok(Snapshot::of(joined.into_values().map(|(_, artifact)| artifact))?)
}

fn join(
    joined: &mut BTreeMap<(Kind, String), (SiteName, Artifact)>,
    key: (Kind, String),
    waybill: SiteName,
    artifact: Artifact,
) -> Result<(), UnionError> {
    let Some((one, there)) = joined.get_mut(&key) else {
        joined.insert(key, (waybill, artifact));
        return Ok(());
    };
    // Groups, modules and advisories change by the day: two waybills that were resolved at two
    // times need not agree about them.
    let may_differ = matches!(artifact.facts, Facts::YumDocument(_));
    if there.blobs != artifact.blobs && !may_differ {
        let (kind, name) = key;
        return Err(UnionError::Disagree { kind, name, one: one.clone(), other: waybill });
    }
    there.wanted.extend(artifact.wanted);
    there.wanted.sort();
    there.wanted.dedup();
    Ok(())
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        BlobId, BlobRef, Digest,
        artifact::{Evidence, FileFacts, Method, YumDocumentFacts},
    };

    use super::*;

    fn file(name: &str, content: &str) -> Artifact {
        Artifact {
            name: name.to_owned(),
            facts: Facts::File(FileFacts { path: name.parse().unwrap() }),
            blobs: vec![BlobRef { id: BlobId::of(content.as_bytes()), len_bytes: 1 }],
            origin: String::new(),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![content.to_owned()],
        }
    }

    fn lock(waybill: &str, artifacts: Vec<Artifact>) -> Lock {
        Lock {
            format: 1,
            waybill: waybill.parse().unwrap(),
            waybill_sha256: Digest::of(b""),
            sites: vec![],
            keep: 1,
            inputs: None,
            kubespray: vec![],
            artifacts,
            assumed: None,
        }
    }

    #[test]
    fn an_earlier_lock_adds_what_the_newest_no_longer_names() {
        let newest = lock("prod", vec![file("h/a", "new"), file("h/b", "2")]);
        let earlier = lock("prod", vec![file("h/a", "old"), file("h/c", "3")]);
        let expected = [file("h/a", "new"), file("h/b", "2"), file("h/c", "3")];
        assert_eq!(union(vec![vec![newest, earlier]]).unwrap(), Snapshot::of(expected).unwrap());
    }

    #[test]
    fn of_a_yum_document_that_changed_between_two_syncs_the_first_waybill_has_the_word() {
        let groups = |content: &str| {
            let facts = YumDocumentFacts {
                target: "el9".parse().unwrap(),
                repository: "r".to_owned(),
                document: "group".to_owned(),
                architecture: "x86_64".to_owned(),
            };
            Artifact { facts: Facts::YumDocument(facts), ..file("el9/r/x86_64/group", content) }
        };
        let waybill = |name: &str| vec![lock(name, vec![groups(name)])];
        let joined = union(vec![waybill("one"), waybill("two")]).unwrap();
        let wanted = ["one", "two"].map(str::to_owned).to_vec();
        assert_eq!(joined, Snapshot::of([Artifact { wanted, ..groups("one") }]).unwrap());
    }

    #[test]
    fn two_waybills_may_share_an_artifact_but_not_disagree_about_it() {
        let one = || vec![lock("one", vec![file("h/a", "1")])];
        let shared = union(vec![one(), vec![lock("two", vec![file("h/a", "1")])]]).unwrap();
        assert_eq!(shared.entries().len(), 1);
        let refused = union(vec![one(), vec![lock("two", vec![file("h/a", "2")])]]).unwrap_err();
        assert_eq!(refused.to_string(), "file h/a differs between the waybills one and two");
    }
}
