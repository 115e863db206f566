//! What differs between two generations, artifact by artifact, in the words of the approval list.
//!
//! In:   two snapshots, the one to compare with and the one to compare.
//! Out:  a [`Diff`]: a row for each artifact that is not the same in both, and the sums.
//! Pure.
//!
//! A name with other bytes than before is told apart from one of which only the facts changed: of
//! the former both contents are kept, by digest, and by name the generation that is served wins.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use gapferry_common::{
    change::Change,
    cli::{human_bytes, plain},
};
use gapferry_proto::{Artifact, Digest, Kind, Snapshot};
use serde::Serialize;

/// The rows that differ, sorted by kind and name, and the sums of all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diff {
    pub sums: Sums,
    pub rows: Vec<Row>,
}

/// How many artifacts there are of each sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sums {
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub kept: u64,
    /// Those of the changed ones that are one name with two contents.
    pub two_contents: u64,
}

/// One artifact that is not the same in both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    pub change: Change,
    pub kind: Kind,
    /// The artifact's name, with its version or tag; unique in its kind.
    pub name: String,
    /// Of its first blob: the file, or the image's index or manifest.
    pub digest: Option<Digest>,
    /// The digest before, when that changed.
    pub was: Option<Digest>,
    /// What changed: `bytes`, `facts`, `origin`, `evidence`.
    pub differs: Vec<&'static str>,
    /// Whether this name has one content in the one generation and another in the other.
    pub two_contents: bool,
    /// Length of its blobs, in bytes; other rows may share some.
    pub bytes: u64,
}

impl Diff {
    /// Compares `old` with `new` by kind and name.
    pub fn new(old: &Snapshot, new: &Snapshot) -> Self {
        let [old, new] = [old, new].map(|snapshot| {
            snapshot.artifacts().map(|a| (a.key(), a)).collect::<BTreeMap<_, &Artifact>>()
        });
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        let row = |key: (Kind, &str)| Row::of(old.get(&key).copied(), new.get(&key).copied());
        let mut rows: Vec<Row> = keys.into_iter().filter_map(row).collect();
        let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
        let of = |change| count(&|row| row.change == change);
        let sums = Sums {
            added: of(Change::Added),
            changed: of(Change::Changed),
            removed: of(Change::Removed),
            kept: of(Change::Kept),
            two_contents: count(&|row| row.two_contents),
        };
        rows.retain(|row| row.change != Change::Kept);
        Self { sums, rows }
    }

    /// A line a row, under it the digests, and the sums.
    pub fn text(&self) -> String {
        let width = |cell: fn(&Row) -> String| {
            self.rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or_default()
        };
        let name_width = width(|row| plain(&row.name));
        let mut text = String::new();
        for row in &self.rows {
            let (name, bytes) = (plain(&row.name), human_bytes(row.bytes));
            line(
                &mut text,
                &format!("{:7}  {:5}  {name:name_width$}  {bytes:>9}", row.change, row.kind),
            );
            details(&mut text, row);
        }
        if !self.rows.is_empty() {
            text.push('\n');
        }
        let Sums { added, changed, removed, kept, two_contents } = self.sums;
        text + &format!(
            "{added} added, {changed} changed, {removed} removed, {kept} kept; \
             two contents under {two_contents} names"
        )
    }
}

impl Row {
    fn of(old: Option<&Artifact>, new: Option<&Artifact>) -> Option<Self> {
        let (change, differs) = Change::of(old, new)?;
        let artifact = new.or(old)?;
        let digest = first(artifact);
        let was = old.and_then(first).filter(|was| Some(*was) != digest);
        Some(Self {
            change,
            kind: artifact.kind(),
            name: artifact.name.clone(),
            digest,
            was,
            two_contents: was.is_some(),
            differs,
            bytes: len_bytes(artifact),
        })
    }
}

fn first(artifact: &Artifact) -> Option<Digest> {
    artifact.blobs.first().map(|blob| blob.id.digest())
}

/// Length of the blobs, each once.
fn len_bytes(artifact: &Artifact) -> u64 {
    let once: BTreeSet<_> = artifact.blobs.iter().collect();
    once.into_iter().fold(0, |sum, blob| sum.saturating_add(blob.len_bytes))
}

fn details(text: &mut String, row: &Row) {
    match (row.was, row.digest) {
        (Some(was), Some(digest)) => {
            line(text, "    two contents under this name");
            line(text, &format!("    was      {was}"));
            line(text, &format!("    digest   {digest}"));
        }
        (_, Some(digest)) => line(text, &format!("    digest   {digest}")),
        _ => {}
    }
    if !row.differs.is_empty() {
        line(text, &format!("    differs  {}", row.differs.join(", ")));
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        BlobId, BlobRef, Facts,
        artifact::{Evidence, FileFacts, Method},
    };

    use super::*;

    fn file(name: &str, content: &str, origin: &str) -> Artifact {
        let id = BlobId::of(content.as_bytes());
        Artifact {
            name: name.to_owned(),
            facts: Facts::File(FileFacts { path: name.parse().unwrap() }),
            blobs: vec![BlobRef { id, len_bytes: content.len() as u64 }],
            origin: origin.to_owned(),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    fn snapshot(files: &[(&str, &str, &str)]) -> Snapshot {
        Snapshot::of(files.iter().map(|(name, content, origin)| file(name, content, origin)))
            .unwrap()
    }

    fn digest(content: &str) -> Option<Digest> {
        Some(Digest::of(content.as_bytes()))
    }

    #[test]
    fn one_name_with_two_contents_is_told_apart_from_one_with_another_origin() {
        let old = snapshot(&[("h/gone", "1", "o"), ("h/moved", "2", "o"), ("h/two", "3", "o")]);
        let new = snapshot(&[("h/moved", "2", "p"), ("h/new", "4", "o"), ("h/two", "55", "o")]);
        let row = |change, name: &str, content, differs: &[&'static str]| Row {
            change,
            kind: Kind::File,
            name: name.to_owned(),
            digest: digest(content),
            was: None,
            differs: differs.to_vec(),
            two_contents: false,
            bytes: content.len() as u64,
        };
        let two = Row {
            was: digest("3"),
            two_contents: true,
            ..row(Change::Changed, "h/two", "55", &["bytes"])
        };
        let expected = Diff {
            sums: Sums { added: 1, changed: 2, removed: 1, kept: 0, two_contents: 1 },
            rows: vec![
                row(Change::Removed, "h/gone", "1", &[]),
                row(Change::Changed, "h/moved", "2", &["origin"]),
                row(Change::Added, "h/new", "4", &[]),
                two,
            ],
        };
        assert_eq!(Diff::new(&old, &new), expected);
    }

    #[test]
    fn what_is_the_same_counts_and_has_no_row() {
        let same = snapshot(&[("h/a", "1", "o"), ("h/b", "2", "o")]);
        let sums = Sums { kept: 2, ..Sums::default() };
        assert_eq!(Diff::new(&same, &same), Diff { sums, rows: vec![] });
    }

    #[test]
    fn the_text_names_both_contents() {
        let [old, new] = ["1", "22"].map(|content| snapshot(&[("h/a", content, "o")]));
        let [was, is] = ["1", "22"].map(|content| Digest::of(content.as_bytes()));
        let expected = format!(
            "changed  file   h/a        2 B\n    two contents under this name\n    was      {was}\n    \
             digest   {is}\n    differs  bytes\n\n0 added, 1 changed, 0 removed, 0 kept; two \
             contents under 1 names"
        );
        assert_eq!(Diff::new(&old, &new).text(), expected);
    }
}
