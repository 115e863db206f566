//! Nothing that is needed leaves, wherever a sweep is stopped.

use std::{fs::File, fs::FileTimes};

use gapferry_common::{durable, lock::HomeLock};
use gapferry_proto::{
    Artifact, BlobRef, Facts as Kind,
    artifact::{Evidence, FileFacts, Method},
};

use super::*;
use crate::{
    generation::tests::{current, kept},
    local::documents,
};

/// A home at generation 3, each of which holds one file; a fourth was never switched to.
struct Home {
    _temp: tempfile::TempDir,
    root: Utf8PathBuf,
    state: State,
    store: Store,
}

impl Home {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        let (state, store) = (State::of(&root), Store::open(root.join("store")).unwrap());
        let home = Self { _temp: temp, root, state, store };
        for sequence in 1..=4 {
            kept(&home.state, sequence, &list(&home.put(sequence)));
        }
        home.state.switch(&current(3)).unwrap();
        home
    }

    /// An old blob that no other number has.
    fn put(&self, number: u64) -> BlobRef {
        let bytes = format!("blob {number}");
        let id = self.store.put(bytes.as_bytes()).unwrap();
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        File::open(self.store.path(id)).unwrap().set_times(old).unwrap();
        BlobRef { id, len_bytes: bytes.len() as u64 }
    }

    fn sweeper(&self) -> Sweeper<'_> {
        Sweeper {
            home: &self.root,
            state: &self.state,
            store: &self.store,
            patience: Duration::ZERO,
            now: SystemTime::now(),
        }
    }

    fn sweep(&self) -> Result<Done, SweepError> {
        let sweeper = self.sweeper();
        let found = sweeper.look()?;
        sweeper.sweep(&found, &super::super::plan(&found.facts(1)))
    }

    fn held(&self) -> Vec<u64> {
        let is_held = |number: &u64| {
            let id = BlobId::of(format!("blob {number}").as_bytes());
            self.store.path(id).exists()
        };
        (1..=9).filter(is_held).collect()
    }

    fn push(&self, number: u64) -> Utf8PathBuf {
        let BlobRef { id, len_bytes } = self.put(number);
        let path = Places::below(local::folder(&self.root)).blob("apps/x", id);
        let document = documents::BlobDocument { format: 1, len_bytes, by: "ci".to_owned() };
        documents::write(&path, &document).unwrap();
        path
    }
}

fn list(blob: &BlobRef) -> Snapshot {
    let file = Artifact {
        name: "h/a".to_owned(),
        facts: Kind::File(FileFacts { path: "h/a".parse().unwrap() }),
        blobs: vec![*blob],
        origin: String::new(),
        evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
        wanted: vec![],
    };
    Snapshot::of([file]).unwrap()
}

#[test]
fn what_was_pushed_and_what_an_unfinished_import_made_stays() {
    let home = Home::new();
    home.push(7);
    home.put(8);
    let done = home.sweep().unwrap();
    assert_eq!(done.removed, Sum { blobs: 3, bytes: 18 });
    assert_eq!(home.held(), [3, 4, 7], "4 was written and never switched to");
}

#[test]
fn what_somebody_shows_keeps_its_content_until_he_lets_go() {
    let home = Home::new();
    let shown = home.state.hold(Sequence(2)).unwrap().unwrap();
    assert_eq!(home.sweep().unwrap().shown, [Sequence(2)]);
    assert_eq!(home.held(), [2, 3, 4]);
    assert_eq!(home.sweep().unwrap().shown, [Sequence(2)], "its document is hidden already");
    assert_eq!(home.held(), [2, 3, 4]);
    drop(shown);
    assert_eq!(home.sweep().unwrap().shown, []);
    assert_eq!(home.held(), [3, 4]);
    assert!(home.state.leaving().unwrap().is_empty());
}

#[test]
fn wherever_a_sweep_was_killed_the_next_one_finishes_it() {
    for steps in 0..=3 {
        let home = Home::new();
        let sweeper = home.sweeper();
        let found = sweeper.look().unwrap();
        let plan = super::super::plan(&found.facts(1));
        let staying = found.staying(&plan, &[]);
        if 1 <= steps {
            home.state.retire(&[Sequence(1), Sequence(2)][..steps.min(2)]).unwrap();
        }
        if 2 <= steps {
            sweeper.remove_blobs(&found.needed(&staying)).unwrap();
        }
        if 3 <= steps {
            let stay = staying.iter().map(|listed| listed.generation).chain(&found.unapplied);
            home.state.clear_documents(stay).unwrap();
        }
        let again = sweeper.look().unwrap();
        let again = super::super::plan(&again.facts(1));
        let leaves: Vec<u64> = again.leaves.iter().map(|leaves| leaves.sequence.0).collect();
        assert_eq!(leaves, [1, 2], "after {steps} steps");
        home.sweep().unwrap();
        assert_eq!(home.held(), [3, 4], "after {steps} steps");
        assert!(home.state.leaving().unwrap().is_empty(), "after {steps} steps");
        let lists = std::fs::read_dir(home.root.join("snapshots")).unwrap().count();
        assert_eq!((home.state.generations().unwrap().len(), lists), (1, 2));
    }
}

#[test]
fn where_nobody_can_say_what_is_needed_nothing_leaves() {
    let home = Home::new();
    let document = home.push(7);
    std::fs::write(&document, b"{").unwrap();
    let stopped = home.sweep().unwrap_err();
    assert!(matches!(stopped, SweepError::Pushed(path) if path == document));
    assert_eq!(home.state.generations().unwrap().len(), 3);
    std::fs::remove_file(&document).unwrap();
    let list = home.state.generation(Sequence(3)).unwrap().snapshot;
    std::fs::remove_file(home.root.join(format!("snapshots/{}.cbor", list.hex()))).unwrap();
    let stopped = home.sweep().unwrap_err();
    assert!(matches!(stopped, SweepError::State(StateError::ListGone(Sequence(3)))));
    assert_eq!(home.held(), [1, 2, 3, 4, 7]);
}

/// The document of a generation.
fn document(home: &Home, sequence: u64) -> Utf8PathBuf {
    home.root.join(format!("generations/{sequence:06}.json"))
}

fn assert_stopped(home: &Home, is_why: impl FnOnce(&SweepError) -> bool) {
    let before = durable::files_below(&home.root).unwrap();
    let stopped = home.sweep().unwrap_err();
    assert!(is_why(&stopped), "{stopped:?}");
    assert_eq!(durable::files_below(&home.root).unwrap(), before);
}

#[test]
fn where_generations_got_lost_nothing_leaves() {
    let home = Home::new();
    std::fs::remove_file(document(&home, 3)).unwrap();
    assert_stopped(&home, |why| matches!(why, SweepError::Gone(Sequence(3))));
    std::fs::remove_dir_all(home.root.join("generations")).unwrap();
    assert_stopped(&home, |why| matches!(why, SweepError::Gone(Sequence(3))));
    std::fs::write(home.root.join("generations"), b"a file").unwrap();
    assert_stopped(&home, |why| matches!(why, SweepError::State(StateError::Durable(_))));

    let home = Home::new();
    home.state.switch(&Current { generation: Sequence(1), ..current(3) }).unwrap();
    std::fs::remove_file(document(&home, 1)).unwrap();
    assert_stopped(&home, |why| matches!(why, SweepError::Gone(Sequence(1))));

    let home = Home::new();
    pins::write(&home.root, [Sequence(1), Sequence(9)].into()).unwrap();
    std::fs::remove_file(document(&home, 1)).unwrap();
    assert_stopped(&home, |why| matches!(why, SweepError::PinnedGone(Sequence(1))));
    pins::write(&home.root, [Sequence(9)].into()).unwrap();
    home.sweep().unwrap();
    assert_eq!(home.held(), [3, 4]);
}

#[test]
fn copies_beside_the_documents_use_up_no_place_among_the_newest() {
    let home = Home::new();
    for copy in ["000003.json.bak", "3.json"] {
        std::fs::copy(document(&home, 3), home.root.join("generations").join(copy)).unwrap();
    }
    let sweeper = home.sweeper();
    let found = sweeper.look().unwrap();
    sweeper.sweep(&found, &super::super::plan(&found.facts(2))).unwrap();
    assert_eq!(home.held(), [2, 3, 4]);
}

#[test]
fn where_what_was_pushed_is_not_mounted_nothing_leaves() {
    let home = Home::new();
    home.push(7);
    home.store.clear_uploads().unwrap(); // a server begins to take pushes
    let folder = local::folder(&home.root);
    let lock = HomeLock::take(&folder).unwrap();
    assert_eq!(home.sweep().unwrap().removed.blobs, 2);
    drop(lock);
    std::fs::rename(&folder, folder.with_extension("away")).unwrap();
    let is_gone = |why: &SweepError| matches!(why, SweepError::PushedGone(path) if *path == folder);
    assert_stopped(&home, is_gone);
    std::fs::create_dir(&folder).unwrap();
    assert_stopped(&home, is_gone);
    assert_eq!(home.held(), [3, 4, 7]);
}

#[test]
fn an_index_that_cannot_be_written_keeps_no_blob() {
    let home = Home::new();
    std::fs::write(home.store.root().join("index.sqlite"), b"no database").unwrap();
    home.sweep().unwrap();
    assert_eq!(home.held(), [3, 4]);
    assert!(!home.store.root().join("index.sqlite").exists());
}
