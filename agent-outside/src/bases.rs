//! Bases: which streams a new stream may be made of.
//!
//! In:   every stream that the inside holds or that this export brings, with names and sketches.
//! Out:  for one new stream, the few that are worth a probe: those of the same name, and those
//!       whose content looks alike.
//! Pure: no files. A stream may build only on what comes before it, so there are no circles.

use std::{cmp::Reverse, collections::HashMap};

use gapferry_proto::{BlobId, ChunkId, recipe::View};

use crate::leaves::LeafFacts;

/// A stream of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafRef {
    pub blob: BlobId,
    pub view: View,
}

/// A stream that may be a base, in the order in which the inside has them.
#[derive(Clone, Debug)]
pub struct Entry {
    pub leaf: LeafRef,
    pub facts: LeafFacts,
    /// What the blob belongs to, without versions: `image/registry.k8s.io/kube-apiserver`.
    pub family: String,
    /// Whether later streams may build on it.
    pub is_base: bool,
}

/// Why a stream is worth a probe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kinship {
    /// The same member of the same artifact, or the same file name.
    Name,
    /// Other content in common.
    Sketch,
}

/// A stream worth a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its place in the catalogue.
    pub entry: usize,
    pub kinship: Kinship,
    /// Features in common.
    pub shared: usize,
}

/// Most candidates by name, and most by sketch.
const BY_NAME_MAX: usize = 3;
const BY_SKETCH_MAX: usize = 2;

/// A feature that more streams have than this says nothing.
const COMMON_MAX: usize = 64;

/// Of so many streams of one name (`cve/#.json`) the newest are looked at, and those with content
/// in common.
const NAMED_MAX: usize = 64;

/// All streams that may be bases.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_hash: HashMap<ChunkId, usize>,
    by_name: HashMap<String, Vec<usize>>,
    by_feature: HashMap<u64, Vec<u32>>,
    by_blob: HashMap<BlobId, Vec<usize>>,
}

impl Catalogue {
    /// Adds a stream after all that are there; its place.
    pub fn add(&mut self, entry: Entry) -> usize {
        let place = self.entries.len();
        self.by_blob.entry(entry.leaf.blob).or_default().push(place);
        if entry.is_base {
            self.list(&entry, place);
        }
        self.entries.push(entry);
        place
    }

    /// Lets later streams find a base.
    fn list(&mut self, entry: &Entry, place: usize) {
        self.by_hash.entry(entry.facts.hash).or_insert(place);
        for name in names(entry) {
            self.by_name.entry(name).or_default().push(place);
        }
        let number = u32::try_from(place).expect("fewer than 2^32 streams");
        for &feature in &entry.facts.features {
            let places = self.by_feature.entry(feature).or_default();
            if places.len() <= COMMON_MAX {
                places.push(number);
            }
        }
    }

    pub fn entry(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    /// The entry of a stream; of a puffed one, that of what is inside it.
    pub fn find(&self, leaf: LeafRef) -> Option<&Entry> {
        let places = self.by_blob.get(&leaf.blob)?;
        let entries = || places.iter().map(|&place| &self.entries[place]);
        entries().find(|entry| entry.leaf.view == leaf.view).or_else(|| match leaf.view {
            View::Puffed(stream) => entries().find(|entry| entry.facts.stream == stream),
            _ => None,
        })
    }

    /// An earlier stream with the same bytes.
    pub fn same(&self, place: usize) -> Option<usize> {
        let facts = &self.entries[place].facts;
        let same = self.by_hash.get(&facts.hash).copied().filter(|&same| same < place)?;
        (self.entries[same].facts.len_bytes == facts.len_bytes).then_some(same)
    }

    /// The streams worth a probe for the one at `place`, all of them before it, the likeliest
    /// first.
    pub fn candidates(&self, place: usize) -> Vec<Candidate> {
        let target = &self.entries[place];
        let shared = self.shared(place);
        let candidate = |entry: usize, kinship| {
            let shared = shared.get(&entry).copied().unwrap_or(0);
            Candidate { entry, kinship, shared }
        };
        let mut found: Vec<Candidate> = vec![];
        for name in names(target) {
            let mut named: Vec<_> = self
                .named(&name, place, &shared)
                .filter(|&entry| self.entries[entry].leaf.blob != target.leaf.blob)
                .map(|entry| candidate(entry, Kinship::Name))
                .collect();
            // The most in common first; of equals the one nearest in length, then the newest.
            let len_bytes = |entry: usize| self.entries[entry].facts.len_bytes;
            let gap = |c: &Candidate| len_bytes(c.entry).abs_diff(target.facts.len_bytes);
            named.sort_by_key(|c| (Reverse(c.shared), gap(c), Reverse(c.entry)));
            found.extend(named.into_iter().take(BY_NAME_MAX));
        }
        let mut alike: Vec<_> =
            shared.keys().map(|&entry| candidate(entry, Kinship::Sketch)).collect();
        alike.sort_by_key(|c| Reverse((c.shared, c.entry)));
        found.extend(alike.into_iter().take(BY_NAME_MAX + BY_SKETCH_MAX));
        self.distinct(&found)
    }

    /// The streams of a name before `place`: those with content in common, and the newest.
    fn named<'a>(
        &'a self,
        name: &str,
        place: usize,
        shared: &'a HashMap<usize, usize>,
    ) -> impl Iterator<Item = usize> + 'a {
        let all = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let before = &all[..all.partition_point(|&entry| entry < place)];
        let (old, newest) = before.split_at(before.len().saturating_sub(NAMED_MAX));
        let alike = shared.keys().filter(|entry| old.binary_search(entry).is_ok());
        alike.chain(newest).copied()
    }

    /// How many features each earlier stream has in common with the one at `place`.
    fn shared(&self, place: usize) -> HashMap<usize, usize> {
        let mut shared = HashMap::new();
        for feature in &self.entries[place].facts.features {
            let places = self.by_feature.get(feature).filter(|places| places.len() <= COMMON_MAX);
            for &entry in places.into_iter().flatten() {
                if (entry as usize) < place {
                    *shared.entry(entry as usize).or_insert(0) += 1;
                }
            }
        }
        shared
    }

    /// Each content once, at most so many of a kinship.
    fn distinct(&self, found: &[Candidate]) -> Vec<Candidate> {
        let mut kept: Vec<Candidate> = vec![];
        for candidate in found {
            let hash = self.entries[candidate.entry].facts.hash;
            let is_new = kept.iter().all(|k| self.entries[k.entry].facts.hash != hash);
            let most = if candidate.kinship == Kinship::Name { BY_NAME_MAX } else { BY_SKETCH_MAX };
            if is_new && kept.iter().filter(|k| k.kinship == candidate.kinship).count() < most {
                kept.push(*candidate);
            }
        }
        kept
    }
}

/// The names under which a stream is found, the closest first.
fn names(entry: &Entry) -> Vec<String> {
    let kind = match entry.leaf.view {
        View::Pool => return vec![format!("{} pool", entry.family)],
        // What is puffed here may be open there.
        View::Leaf(_) | View::Puffed(_) => "leaf",
        View::Sealed(_) => "sealed",
    };
    let path = without_versions(&entry.facts.name);
    let file = path.rsplit('/').next().unwrap_or_default();
    let mut names = vec![format!("{} {kind} {path}", entry.family)];
    if !file.is_empty() {
        names.push(format!("{kind} {file}"));
    }
    names
}

/// A name with `#` for every run of digits and what joins them: `a-1.2.tgz` is `a#tgz`.
pub fn without_versions(name: &str) -> String {
    let mut plain = String::new();
    let mut run = String::new();
    for c in name.chars() {
        if c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | '+' | '~') {
            run.push(c);
        } else {
            end_run(&mut plain, &mut run);
            plain.push(c);
        }
    }
    end_run(&mut plain, &mut run);
    plain
}

fn end_run(plain: &mut String, run: &mut String) {
    if run.contains(|c: char| c.is_ascii_digit()) {
        plain.push('#');
    } else {
        plain.push_str(run);
    }
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(blob: &str, view: View, family: &str, name: &str, features: &[u64]) -> Entry {
        Entry {
            leaf: LeafRef { blob: BlobId::of(blob.as_bytes()), view },
            family: family.to_owned(),
            is_base: true,
            facts: LeafFacts {
                view,
                stream: 0,
                len_bytes: 1 << 20,
                hash: ChunkId::of(format!("{blob}{view:?}").as_bytes()),
                name: name.to_owned(),
                is_executable: true,
                features: features.to_vec(),
            },
        }
    }

    fn catalogue(entries: Vec<Entry>) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for entry in entries {
            catalogue.add(entry);
        }
        catalogue
    }

    #[test]
    fn a_version_is_no_part_of_a_name() {
        let same = |a: &str, b: &str| without_versions(a) == without_versions(b);
        assert!(same("containerd-2.2.1-linux-amd64.tar.gz", "containerd-2.10-linux-amd64.tar.gz"));
        assert!(same("usr/lib/libssl.so.3", "usr/lib/libssl.so.1.1"));
        assert!(!same("usr/bin/ctr", "usr/bin/runc"));
        assert_eq!(without_versions("plain-name.txt"), "plain-name.txt");
    }

    #[test]
    fn the_same_name_comes_first_and_what_looks_alike_after_it() {
        let leaf = View::Leaf(0);
        let catalogue = catalogue(vec![
            entry("old", leaf, "file/runc", "runc-1.2", &[1, 2]),
            entry("other", leaf, "file/ctr", "ctr", &[1, 2, 3, 4]),
            entry("alien", leaf, "file/x", "x", &[9]),
            entry("new", leaf, "file/runc", "runc-1.3", &[1, 2, 3, 4]),
            entry("later", leaf, "file/y", "y", &[1, 2, 3, 4]),
        ]);
        let expected = [
            Candidate { entry: 0, kinship: Kinship::Name, shared: 2 },
            Candidate { entry: 1, kinship: Kinship::Sketch, shared: 4 },
        ];
        assert_eq!(catalogue.candidates(3), expected);
        assert_eq!(catalogue.candidates(0), []);
    }

    #[test]
    fn the_same_file_in_another_artifact_is_found_by_its_name() {
        let catalogue = catalogue(vec![
            entry("deb", View::Leaf(0), "deb/runc", "./usr/bin/runc", &[]),
            entry("pool", View::Pool, "deb/runc", "", &[]),
            entry("image", View::Leaf(4), "image/tools", "usr/bin/runc", &[]),
        ]);
        let expected = [Candidate { entry: 0, kinship: Kinship::Name, shared: 0 }];
        assert_eq!(catalogue.candidates(2), expected);
    }

    #[test]
    fn of_very_many_of_one_name_the_newest_and_the_alike_are_looked_at() {
        let leaf = View::Leaf(0);
        let one = |n: usize, features: &[u64]| {
            entry(&format!("blob {n}"), leaf, "file/cve", &format!("cve-{n}.json"), features)
        };
        let mut entries: Vec<Entry> = (0..1000).map(|n| one(n, &[])).collect();
        entries[3] = one(3, &[1, 2]);
        entries.push(one(1000, &[1, 2]));
        let found: Vec<usize> =
            catalogue(entries).candidates(1000).iter().map(|candidate| candidate.entry).collect();
        assert_eq!(found, [3, 999, 998]);
    }

    #[test]
    fn the_same_bytes_are_found_whatever_their_names() {
        let mut twin = entry("old", View::Leaf(0), "file/a", "a", &[]);
        twin.leaf.blob = BlobId::of(b"twin");
        let catalogue = catalogue(vec![entry("old", View::Leaf(0), "file/b", "b", &[]), twin]);
        assert_eq!(catalogue.same(1), Some(0));
        assert_eq!(catalogue.same(0), None);
    }
}
