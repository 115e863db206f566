//! What stays, what leaves, and what an outside is promised.

use gapferry_proto::{
    Artifact, BlobRef, Digest, ExportId, SnapshotId,
    artifact::{Evidence, FileFacts, Method},
};

use super::*;

fn file(name: &str, content: &str) -> Artifact {
    Artifact {
        name: name.to_owned(),
        facts: gapferry_proto::Facts::File(FileFacts { path: name.parse().unwrap() }),
        blobs: vec![BlobRef { id: blob(content), len_bytes: content.len() as u64 }],
        origin: String::new(),
        evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
        wanted: vec![],
    }
}

fn blob(content: &str) -> BlobId {
    BlobId::of(content.as_bytes())
}

fn list(files: &[(&str, &str)]) -> Snapshot {
    Snapshot::of(files.iter().map(|(name, content)| file(name, content))).unwrap()
}

/// The list that holds one file of its own.
fn own(n: u64) -> Snapshot {
    list(&[("h/own", &"x".repeat(usize::try_from(n).unwrap()))])
}

fn tree(version: &str) -> KubesprayTree {
    KubesprayTree { version: version.to_owned(), tree: Digest::of(version.as_bytes()) }
}

/// Generations with their lists, oldest first.
struct Site {
    generations: Vec<(Generation, Snapshot)>,
    pinned: BTreeSet<Sequence>,
    served: Sequence,
    gave_inventory: bool,
    roots: BTreeSet<BlobId>,
}

impl Site {
    /// One generation after the other, each with its list and what it was built on.
    fn new(generations: Vec<(Snapshot, Option<SnapshotId>)>) -> Self {
        let generations: Vec<_> = (1..)
            .map(Sequence)
            .zip(generations)
            .map(|(sequence, (list, basis))| {
                let generation = Generation {
                    sequence,
                    snapshot: list.id(),
                    basis,
                    export: ExportId::new(sequence, &list.id()),
                    applied: "2026-11-22T00:00:00Z".parse().unwrap(),
                    artifacts: list.entries().len() as u64,
                    kubespray: vec![],
                };
                (generation, list)
            })
            .collect();
        let served = Sequence(generations.len() as u64);
        let (pinned, roots) = (BTreeSet::new(), BTreeSet::new());
        Self { generations, pinned, served, gave_inventory: false, roots }
    }

    /// Five generations with lists of their own, each built on the list of another.
    fn five(bases: [Option<u64>; 5]) -> Self {
        let basis = |n| own(n).id();
        Self::new((1..).zip(bases).map(|(n, on)| (own(n), on.map(basis))).collect())
    }

    fn plan_of(&self, keep: u64, leaving: &[Sequence]) -> Plan {
        let listed = |is_leaving: bool| {
            let generations = self.generations.iter().rev();
            let listed = generations.map(|(generation, list)| Listed { generation, list });
            listed
                .filter(|l| leaving.contains(&l.generation.sequence) == is_leaving)
                .collect::<Vec<_>>()
        };
        plan(&Facts {
            kept: listed(false),
            leaving: listed(true),
            served: Some(self.served),
            pinned: &self.pinned,
            keep,
            gave_inventory: self.gave_inventory,
            roots: &self.roots,
        })
    }

    /// The generations that stay, with the reasons.
    fn stays(&self, keep: u64) -> Vec<(u64, Vec<Why>)> {
        let plan = self.plan_of(keep, &[]);
        plan.stays.into_iter().map(|stays| (stays.sequence.0, stays.why)).collect()
    }

    fn staying(&self, keep: u64) -> Vec<u64> {
        self.stays(keep).into_iter().map(|(sequence, _)| sequence).collect()
    }
}

#[test]
fn the_newest_the_served_and_the_pinned_stay() {
    let mut site = Site::five([None; 5]);
    assert_eq!(site.staying(3), [3, 4, 5]);
    assert_eq!(site.staying(9), [1, 2, 3, 4, 5]);
    site.served = Sequence(1);
    site.pinned = BTreeSet::from([Sequence(3), Sequence(77)]);
    let expected = [
        (1, vec![Why::Served]),
        (3, vec![Why::Pinned]),
        (4, vec![Why::Newest]),
        (5, vec![Why::Newest]),
    ];
    assert_eq!(site.stays(2), expected);
    assert_eq!(site.staying(0), [1, 3, 5], "the newest stays whatever is said");
}

#[test]
fn what_the_last_export_built_on_stays_and_all_since() {
    let site = Site::five([None, Some(1), Some(2), Some(2), Some(3)]);
    assert_eq!(site.staying(1), [3, 4, 5]);
    let expected = (5, vec![Why::Served, Why::Newest, Why::Basis]);
    assert_eq!(site.stays(1).pop(), Some(expected));
}

#[test]
fn a_full_export_takes_no_promise_back() {
    let site = Site::five([None, Some(1), Some(2), None, None]);
    assert_eq!(site.staying(1), [2, 3, 4, 5]);
}

#[test]
fn after_an_inventory_all_stays_until_an_export_builds_on_one() {
    let mut site = Site::five([None; 5]);
    site.gave_inventory = true;
    assert_eq!(site.staying(1), [1, 2, 3, 4, 5]);
    let mut site = Site::five([None, None, None, None, Some(4)]);
    site.gave_inventory = true;
    assert_eq!(site.staying(1), [4, 5]);
}

#[test]
fn a_list_that_came_back_is_a_basis_where_it_is_nearest() {
    let [a, b, c] = [1, 2, 3].map(own);
    let (on_a, on_b) = (Some(a.id()), Some(b.id()));
    let round = vec![(a.clone(), None), (b.clone(), on_a), (a.clone(), on_b), (c.clone(), on_a)];
    assert_eq!(Site::new(round).staying(1), [3, 4]);
    // Both built on the first: the inventory that says `b` may be on its way.
    let ahead = vec![(a.clone(), None), (b, on_a), (a, on_a), (c, on_a)];
    assert_eq!(Site::new(ahead).staying(1), [1, 2, 3, 4]);
}

#[test]
fn a_list_that_came_later_is_no_basis_of_what_was_there_before() {
    let [a, b, c] = [1, 2, 3].map(own);
    let on_a = Some(a.id());
    let mut site = Site::new(vec![(b, on_a), (c, None), (a, None)]);
    site.gave_inventory = true;
    assert_eq!(site.staying(1), [1, 2, 3], "nobody knows what the inventory said since");
}

#[test]
fn what_leaves_is_named_and_counted_once() {
    let lists = [
        list(&[("h/all", "all"), ("h/one", "1"), ("h/pushed", "pushed")]),
        list(&[("h/all", "all"), ("h/two", "22"), ("h/both", "four")]),
        list(&[("h/all", "all"), ("h/three", "333"), ("h/both", "four")]),
        list(&[("h/all", "all"), ("h/three", "3333")]),
    ];
    let mut site = Site::new(lists.into_iter().map(|list| (list, None)).collect());
    site.roots = BTreeSet::from([blob("pushed")]);
    for (at, versions) in [(0, &["2.29.0"][..]), (1, &["2.30.0"]), (2, &["2.30.0", "2.31.0"])] {
        site.generations[at].0.kubespray = versions.iter().map(|version| tree(version)).collect();
    }
    site.generations[3].0.kubespray = vec![tree("2.31.0")];
    let leaves = |sequence, trees: &[&str], ends: &[&str], artifacts, bytes| Leaves {
        sequence: Sequence(sequence),
        kubespray: trees.iter().map(|version| tree(version)).collect(),
        ends: ends.iter().map(|&end| end.to_owned()).collect(),
        artifacts,
        bytes,
    };
    let expected = Plan {
        stays: vec![Stays { sequence: Sequence(4), why: vec![Why::Served, Why::Newest] }],
        leaves: vec![
            leaves(1, &["2.29.0"], &["2.29.0"], 2, 1),
            leaves(2, &["2.30.0"], &[], 1, 2),
            leaves(3, &["2.30.0", "2.31.0"], &["2.30.0"], 2, 7),
        ],
    };
    assert_eq!(site.plan_of(1, &[]), expected);
    assert_eq!(site.plan_of(1, &[Sequence(2)]), expected, "an earlier sweep began with it");
}

#[test]
fn what_an_earlier_sweep_began_with_leaves_even_if_it_would_stay() {
    let site = Site::five([None; 5]);
    let plan = site.plan_of(4, &[Sequence(2)]);
    let leaves: Vec<u64> = plan.leaves.iter().map(|leaves| leaves.sequence.0).collect();
    let stays: Vec<u64> = plan.stays.iter().map(|stays| stays.sequence.0).collect();
    assert_eq!((stays, leaves), (vec![1, 3, 4, 5], vec![2]));
}
