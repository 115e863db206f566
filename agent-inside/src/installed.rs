//! What the nodes of this site have installed, by target, as a person hands it in.
//!
//! In:   the outputs of `dpkg-query -W` or `rpm -qa` of the nodes of a target.
//! Out:  `state/installed/<target>.txt`, one list a target in its one form; the inventory names
//!       each by its digest, and the medium carries them beside it.
//!
//! Which node has what stays inside: a list is what the nodes of a target have together, and of
//! which of these packages some node has none.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{self, DurableError, at},
    limit,
};
use gapferry_proto::{
    Digest, Target,
    installed::{InstalledError, List},
    inventory::InstalledList,
    limits,
};

/// Why what was handed in is not kept. Exit code 1, but for a disk that fails.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("{from} does not say what is installed")]
    Content { from: Utf8PathBuf, source: InstalledError },
    #[error(
        "the lists of all nodes have more than {} bytes together",
        limits::INSTALLED_LEN_BYTES_MAX
    )]
    TooLong,
    #[error(
        "lists of {} targets are kept already; drop one with `gapferry-inside installed --forget`",
        limits::INSTALLED_TARGETS_MAX
    )]
    TooMany,
    #[error(
        "a list of {other} is kept already, and on many media {target} is the same file; call the \
         nodes by one name, or drop it with `gapferry-inside installed --forget {other}`"
    )]
    SameFile { target: Target, other: Target },
    #[error(
        "the lists of all targets have more than {} bytes together; drop one with \
         `gapferry-inside installed --forget`",
        limits::INSTALLED_SUM_BYTES_MAX
    )]
    SumTooLong,
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// A list that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub target: Target,
    pub bytes: Vec<u8>,
}

impl Kept {
    /// As the inventory names it.
    pub fn named(&self) -> InstalledList {
        let sha256 = Digest::of(&self.bytes);
        InstalledList { target: self.target.clone(), bytes: self.bytes.len() as u64, sha256 }
    }
}

/// Joins what nodes have, each with where it was read from.
///
/// # Errors
///
/// [`KeepError::Content`] names the line; [`KeepError::TooLong`].
pub fn join(outputs: &[(Utf8PathBuf, Vec<u8>)]) -> Result<List, KeepError> {
    let content = |from: &Utf8Path| {
        let from = from.to_owned();
        move |source| KeepError::Content { from, source }
    };
    let mut joined: Option<List> = None;
    for (from, bytes) in outputs {
        let list = List::parse(bytes).map_err(content(from))?;
        match &mut joined {
            Some(all) => all.join(list).map_err(content(from))?,
            None => joined = Some(list),
        }
    }
    let from = Utf8PathBuf::from("nothing");
    let joined = joined.ok_or(KeepError::Content { from, source: InstalledError::Empty })?;
    if limits::INSTALLED_LEN_BYTES_MAX < joined.to_string().len() as u64 {
        return Err(KeepError::TooLong);
    }
    Ok(joined)
}

/// Keeps the list of a target in place of the one before. The caller holds the lock of the home.
///
/// # Errors
///
/// [`KeepError`]: what was kept before is as it was.
pub fn keep(home: &Utf8Path, target: &Target, list: &List) -> Result<(), KeepError> {
    let kept = names(home)?;
    if limits::INSTALLED_TARGETS_MAX <= kept.len() && !kept.contains(target) {
        return Err(KeepError::TooMany);
    }
    let is_same =
        |other: &&Target| *other != target && other.as_str().eq_ignore_ascii_case(target.as_str());
    if let Some(other) = kept.iter().find(is_same) {
        return Err(KeepError::SameFile { target: target.clone(), other: other.clone() });
    }
    let text = list.to_string();
    let others = kept.iter().filter(|other| *other != target).map(|other| path(home, other));
    let len_bytes =
        |path: Utf8PathBuf| path.metadata().map(|found| found.len()).map_err(at("read", &path));
    let others_bytes: u64 = others.map(len_bytes).sum::<Result<u64, DurableError>>()?;
    if limits::INSTALLED_SUM_BYTES_MAX < others_bytes + text.len() as u64 {
        return Err(KeepError::SumTooLong);
    }
    Ok(durable::write(&path(home, target), text.as_bytes())?)
}

/// Drops the list of a target; whether there was one. The caller holds the lock of the home.
///
/// # Errors
///
/// [`DurableError`].
pub fn forget(home: &Utf8Path, target: &Target) -> Result<bool, DurableError> {
    let is_kept = path(home, target).is_file();
    if is_kept {
        durable::remove(&path(home, target))?;
    }
    Ok(is_kept)
}

/// Every list, by target.
///
/// # Errors
///
/// [`DurableError`].
pub fn all(home: &Utf8Path) -> Result<Vec<Kept>, DurableError> {
    let read = |target: Target| {
        let path = path(home, &target);
        let bytes = limit::read_file(&path, limits::INSTALLED_LEN_BYTES_MAX);
        Ok(Kept { target, bytes: bytes.map_err(at("read", &path))? })
    };
    names(home)?.into_iter().map(read).collect()
}

/// The targets of which a list is kept, sorted.
fn names(home: &Utf8Path) -> Result<Vec<Target>, DurableError> {
    let folder = folder(home);
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let names = durable::names_in(&folder)?;
    let mut targets: Vec<Target> =
        names.iter().filter_map(|name| name.strip_suffix(".txt")?.parse().ok()).collect();
    targets.sort();
    Ok(targets)
}

fn path(home: &Utf8Path, target: &Target) -> Utf8PathBuf {
    folder(home).join(format!("{target}.txt"))
}

fn folder(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        (temp, home)
    }

    fn outputs(texts: &[&str]) -> Vec<(Utf8PathBuf, Vec<u8>)> {
        let output = |(number, text): (usize, &&str)| {
            (Utf8PathBuf::from(format!("node{number}")), text.as_bytes().to_vec())
        };
        texts.iter().enumerate().map(output).collect()
    }

    #[test]
    fn the_nodes_of_a_target_have_one_list_and_a_later_one_takes_its_place() {
        let (_temp, home) = home();
        let target: Target = "debian-13".parse().unwrap();
        assert!(all(&home).unwrap().is_empty());
        for (texts, expected) in [
            (&["b\t2\na\t1\n", "a 1.1 amd64\n"][..], "a\t1\na\t1.1\tamd64\nb\t0\nb\t2\n"),
            (&["c 1\n"][..], "c\t1\n"),
        ] {
            keep(&home, &target, &join(&outputs(texts)).unwrap()).unwrap();
            let [kept] = &all(&home).unwrap()[..] else { panic!("one target") };
            assert_eq!(String::from_utf8(kept.bytes.clone()).unwrap(), expected);
            let named = kept.named();
            assert_eq!((named.target, named.bytes), (target.clone(), expected.len() as u64));
            assert_eq!(named.sha256, Digest::of(expected.as_bytes()));
        }
        assert!(forget(&home, &target).unwrap());
        assert!(!forget(&home, &target).unwrap());
        assert!(all(&home).unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_told_with_its_file_and_number() {
        let error = join(&outputs(&["a 1\n", "a 1\n<html> of a page\n"])).unwrap_err();
        let KeepError::Content { from, source: InstalledError::Line { line: 2, .. } } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(from, "node1");
        let mixed = join(&outputs(&["a 1\n", "a-1-1.noarch\n"])).unwrap_err();
        assert!(matches!(mixed, KeepError::Content { source: InstalledError::Kinds { .. }, .. }));
    }

    #[test]
    fn so_many_targets_are_kept_and_no_more() {
        let (_temp, home) = home();
        let list = List::parse(b"a 1\n").unwrap();
        let target = |number: usize| format!("t{number}").parse::<Target>().unwrap();
        for number in 0..limits::INSTALLED_TARGETS_MAX {
            keep(&home, &target(number), &list).unwrap();
        }
        let late = target(limits::INSTALLED_TARGETS_MAX);
        assert!(matches!(keep(&home, &late, &list), Err(KeepError::TooMany)));
        keep(&home, &target(0), &list).unwrap();
    }

    #[test]
    fn targets_that_differ_by_case_alone_are_one_file_on_many_media() {
        let (_temp, home) = home();
        let list = List::parse(b"a-1-1.noarch\n").unwrap();
        keep(&home, &"el9".parse().unwrap(), &list).unwrap();
        let same = keep(&home, &"EL9".parse().unwrap(), &list).unwrap_err();
        assert!(matches!(same, KeepError::SameFile { .. }), "{same}");
        keep(&home, &"el9".parse().unwrap(), &list).unwrap();
    }
}
