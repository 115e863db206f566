//! How a generation leaves: out of the list, then out of the hands of those who show it, then its
//! content.
//!
//! Whoever shows generations holds each by a shared lock on its document. A sweep gives the
//! document a hidden name, by which it is in no list any more, and takes no content before the
//! last one who holds it has let go. The hidden document goes last, so a sweep that was killed
//! finds what it had begun.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError, at};
use gapferry_proto::Sequence;

use super::{Generation, State, StateError, read_json};

/// While it lives, no sweep takes the content of a generation.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// A generation that is in no list any more and whose content is still there.
#[derive(Debug)]
pub struct Leaving {
    pub generation: Generation,
    document: File,
    path: Utf8PathBuf,
}

impl Leaving {
    /// Whether nobody shows it any more; true for ever after.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the file system has no locks, so nobody can tell.
    pub fn is_let_go(&self) -> Result<bool, DurableError> {
        match self.document.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(at("lock", &self.path)(error)),
        }
    }

    /// Forgets the generation, of which nothing is left.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn forget(self) -> Result<(), DurableError> {
        durable::remove(&self.path)
    }
}

/// How the document of a generation that leaves is named.
const LEAVING_PREFIX: &str = ".leaving-";

impl State {
    /// Holds a generation; none when it is not kept, or leaves just now.
    ///
    /// # Errors
    ///
    /// [`StateError::Durable`]: its document cannot be read.
    pub fn hold(&self, sequence: Sequence) -> Result<Option<Hold>, StateError> {
        let path = self.generation_path(sequence);
        let document = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(at("open", &path))?,
        };
        if matches!(document.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return Ok(None);
        }
        // Without locks on this file system a sweep stops, so nothing has to be held.
        let is_there = document.metadata().map_err(at("look at", &path))?.nlink() != 0;
        Ok(is_there.then_some(Hold(document)))
    }

    /// Holds every generation that is kept, newest first.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn hold_all(&self) -> Result<Vec<(Generation, Hold)>, StateError> {
        let mut held = vec![];
        for generation in self.generations()? {
            if let Some(hold) = self.hold(generation.sequence)? {
                held.push((generation, hold));
            }
        }
        Ok(held)
    }

    /// The generations that are kept, as [`State::generations`], without reading any of them.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn sequences(&self) -> Result<BTreeSet<Sequence>, StateError> {
        let applied = self.applied()?;
        let sequences = numbers_in(&self.root.join("generations"), ".json")?;
        Ok(sequences.range(..=applied.0).copied().map(Sequence).collect())
    }

    /// As [`State::unapplied`], without reading any of them.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub(super) fn unapplied_sequences(&self) -> Result<BTreeSet<Sequence>, StateError> {
        let applied = self.applied()?;
        let sequences = numbers_in(&self.root.join("generations"), ".json")?;
        Ok(sequences.into_iter().map(Sequence).filter(|sequence| applied < *sequence).collect())
    }

    fn applied(&self) -> Result<Sequence, StateError> {
        Ok(self.current()?.map_or(Sequence(0), |current| current.sequence))
    }

    /// Generations that an import wrote and never switched to: it was killed, and may be run again.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn unapplied(&self) -> Result<Vec<Generation>, StateError> {
        let mut unapplied = vec![];
        for sequence in self.unapplied_sequences()? {
            unapplied.extend(self.read_generation(sequence)?);
        }
        Ok(unapplied)
    }

    /// Takes generations out of the list, durably. Their content stays.
    ///
    /// # Errors
    ///
    /// [`StateError::Durable`].
    pub fn retire(&self, sequences: &[Sequence]) -> Result<(), StateError> {
        for &sequence in sequences {
            durable::rename(&self.generation_path(sequence), &self.leaving_path(sequence))?;
        }
        Ok(())
    }

    /// The generations that were taken out of the list, and of which content may be there.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn leaving(&self) -> Result<Vec<Leaving>, StateError> {
        let folder = self.root.join("generations");
        let mut leaving = vec![];
        for name in all_names_in(&folder)? {
            let number = name.strip_prefix(LEAVING_PREFIX).and_then(|name| number(name, ".json"));
            if number.is_none() {
                continue;
            }
            let path = folder.join(name);
            let document = File::open(&path).map_err(at("open", &path))?;
            if let Some(generation) = read_json(&path)? {
                leaving.push(Leaving { generation, document, path });
            }
        }
        leaving.sort_by_key(|leaving| leaving.generation.sequence);
        Ok(leaving)
    }

    /// Removes documents and lists of all generations but those that `stay`, and the heads of
    /// activations before the last two. No import is at work.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn clear_documents<'a>(
        &self,
        stay: impl IntoIterator<Item = &'a Generation>,
    ) -> Result<(), StateError> {
        let stay: Vec<&Generation> = stay.into_iter().collect();
        // What has a higher number was never applied, and may be a folder of the admin.
        let applied = self.applied()?;
        for &number in numbers_in(&self.root.join("trees"), "")?.range(..=applied.0) {
            if stay.iter().all(|generation| generation.sequence.0 != number) {
                durable::remove(&self.documents(Sequence(number)))?;
            }
        }
        let folder = self.root.join("snapshots");
        for name in all_names_in(&folder)? {
            let path = folder.join(&name);
            let is_needed =
                stay.iter().any(|generation| self.snapshot_path(generation.snapshot) == path);
            if !is_needed && !name.starts_with('.') && name.ends_with(".cbor") {
                durable::remove(&path)?;
            }
        }
        let last = self.current()?.map_or(0, |current| current.activation);
        for number in numbers_in(&self.root.join("heads"), "")? {
            if number + 1 < last {
                durable::remove(&self.heads(number))?;
            }
        }
        Ok(())
    }

    fn leaving_path(&self, sequence: Sequence) -> Utf8PathBuf {
        self.root.join(format!("generations/{LEAVING_PREFIX}{:06}.json", sequence.0))
    }
}

/// The numbers by which things are named in a folder, with this ending; other names are not ours.
fn numbers_in(folder: &Utf8Path, ending: &str) -> Result<BTreeSet<u64>, DurableError> {
    Ok(all_names_in(folder)?.iter().filter_map(|name| number(name, ending)).collect())
}

/// The number of a name that is written as we write it.
fn number(name: &str, ending: &str) -> Option<u64> {
    let stem = name.strip_suffix(ending)?;
    let number: u64 = stem.parse().ok()?;
    (format!("{number:06}") == stem).then_some(number)
}

/// All names in a folder, hidden ones among them; none when there is no such folder. One that is
/// there and cannot be listed is an error: what it holds would count as gone.
fn all_names_in(folder: &Utf8Path) -> Result<Vec<String>, DurableError> {
    let is_gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    if fs::symlink_metadata(folder).is_err_and(|e| is_gone(&e)) {
        return Ok(vec![]);
    }
    let mut names = vec![];
    for entry in folder.read_dir_utf8().map_err(at("list", folder))? {
        names.push(entry.map_err(at("list", folder))?.file_name().to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use gapferry_proto::Snapshot;

    use super::super::tests::{current, kept, state};
    use super::*;

    fn sequences(state: &State) -> Vec<u64> {
        let listed: Vec<_> = state.generations().unwrap().iter().map(|g| g.sequence).collect();
        let named: Vec<_> = state.sequences().unwrap().into_iter().rev().collect();
        assert_eq!(listed, named);
        listed.into_iter().map(|sequence| sequence.0).collect()
    }

    #[test]
    fn a_generation_that_was_taken_out_of_the_list_stays_until_nobody_shows_it() {
        let (_temp, state) = state();
        for sequence in 1..=3 {
            kept(&state, sequence, &Snapshot::default());
        }
        state.switch(&current(2)).unwrap();
        assert_eq!(sequences(&state), [2, 1]);
        let unapplied: Vec<_> = state.unapplied().unwrap().iter().map(|g| g.sequence.0).collect();
        assert_eq!(unapplied, [3]);

        let shown = state.hold(Sequence(1)).unwrap().unwrap();
        state.retire(&[Sequence(1)]).unwrap();
        assert_eq!(sequences(&state), [2]);
        assert!(matches!(state.generation(Sequence(1)), Err(StateError::NoGeneration(_))));
        assert!(state.hold(Sequence(1)).unwrap().is_none());
        let leaving = state.leaving().unwrap().pop().unwrap();
        assert_eq!(leaving.generation.sequence, Sequence(1));
        assert!(!leaving.is_let_go().unwrap());
        drop(shown);
        assert!(leaving.is_let_go().unwrap());
        leaving.forget().unwrap();
        assert!(state.leaving().unwrap().is_empty());
    }

    #[test]
    fn documents_and_lists_go_that_nothing_names() {
        let (_temp, state) = state();
        state.switch(&current(2)).unwrap();
        let stays = kept(&state, 2, &Snapshot::default());
        for folder in [Sequence(1), Sequence(2)].map(|sequence| state.documents(sequence)) {
            durable::write(&folder.join("pypi/index.html"), b"x").unwrap();
        }
        let lost = state.snapshot_path(gapferry_proto::SnapshotId::of(b"other"));
        durable::write(&lost, b"x").unwrap();
        let foreign = ["notes", "20261129", "1"]
            .map(|name| state.documents(Sequence(1)).with_file_name(name));
        foreign.iter().for_each(|path| durable::write(&path.join("x"), b"x").unwrap());
        state.clear_documents([&stays]).unwrap();
        let there = [state.documents(Sequence(1)), state.documents(Sequence(2)), lost]
            .map(|path| path.exists());
        assert_eq!(there, [false, true, false]);
        assert!(foreign.iter().all(|path| path.exists()));
        assert_eq!(state.list(&stays).unwrap(), Snapshot::default());
    }
}
