use std::os::unix::fs::MetadataExt as _;

use indicatif::ProgressBar;

use super::*;
use crate::publish_to::tally::Report;
use crate::publish_to::tree::Rank;

struct World {
    _temp: tempfile::TempDir,
    store: Store,
    folder: Utf8PathBuf,
}

fn world() -> World {
    let temp = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(temp.path()).unwrap().to_owned();
    let store = Store::open(path.join("store")).unwrap();
    World { _temp: temp, store, folder: path.join("www") }
}

impl World {
    fn blob(&self, path: &str, bytes: &[u8]) -> Item {
        let digest = self.store.put(bytes).unwrap().digest();
        let content = Content { place: Place::Store, digest, len_bytes: bytes.len() as u64 };
        Item { path: path.to_owned(), rank: Rank::Goods, content }
    }

    fn publish(&self, name: &str, items: &[Item]) -> Report {
        let folder = Folder::open(&self.folder, false).unwrap().unwrap();
        let tally = Tally::new(ProgressBar::hidden());
        folder.lay(name, items, &self.store, false, &tally).unwrap();
        if !tally.has_failures() {
            folder.switch(name).unwrap();
        }
        tally.finish()
    }

    fn names(&self) -> Vec<String> {
        let entries = self.folder.join(GENERATIONS).read_dir_utf8().unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_owned()).collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }
}

#[test]
fn blobs_are_links_to_the_store_and_documents_are_files() {
    let world = world();
    let page = Item {
        path: "pypi/simple/index.html".to_owned(),
        rank: Rank::Indexes,
        content: Content::of("page"),
    };
    let report = world.publish("1-1", &[world.blob("files/h/a", b"a"), page]);
    assert_eq!((report.pushed.len(), report.failures.len()), (2, 0), "{report:?}");
    let file = world.folder.join("current/files/h/a");
    let inode = |path: &Utf8Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&file), inode(&world.store.path(gapferry_proto::BlobId::of(b"a"))));
    let page = world.folder.join("current/pypi/simple/index.html");
    assert_eq!(std::fs::read(page).unwrap(), b"page");
}

#[test]
fn a_second_run_lays_nothing_and_heals_what_is_gone() {
    let world = world();
    let items = [world.blob("a/b", b"1"), world.blob("a/c", b"22")];
    world.publish("1-1", &items);
    let again = world.publish("1-1", &items);
    assert_eq!((again.pushed.len(), again.present), (0, 2));
    std::fs::remove_file(world.folder.join("current/a/c")).unwrap();
    let healed = world.publish("1-1", &items);
    assert_eq!((healed.pushed.len(), healed.present), (1, 1));
}

#[test]
fn the_generation_before_stays_and_older_ones_go() {
    let world = world();
    for (name, bytes) in [("1-1", b"1"), ("2-2", b"2"), ("1-3", b"1"), ("3-4-deb", b"3")] {
        world.publish(name, &[world.blob("a", bytes)]);
    }
    assert_eq!(world.names(), ["1-3", "3-4-deb"]);
    assert_eq!(std::fs::read(world.folder.join("current/a")).unwrap(), b"3");
}

#[test]
fn nothing_is_shown_that_is_not_whole_and_the_rest_goes_on_later() {
    let world = world();
    world.publish("1-1", &[world.blob("a", b"old")]);
    let lost = world.blob("b", b"lost");
    let path = world.store.path(gapferry_proto::BlobId::of(b"lost"));
    std::fs::remove_file(path).unwrap();
    let items = [world.blob("a", b"new"), lost];
    let report = world.publish("2-2", &items);
    assert_eq!(report.failures[0].what, "b");
    assert_eq!(std::fs::read(world.folder.join("current/a")).unwrap(), b"old");
    assert_eq!(world.names(), [".part-2-2", "1-1"]);
    world.store.put(b"lost").unwrap();
    let report = world.publish("2-2", &items);
    assert_eq!((report.pushed.len(), report.present), (1, 1), "{report:?}");
    assert_eq!(std::fs::read(world.folder.join("current/b")).unwrap(), b"lost");
}

#[test]
fn no_link_leads_out_of_the_folder() {
    let world = world();
    world.publish("1-1", &[world.blob("a/b", b"1")]);
    let elsewhere = world.folder.parent().unwrap().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let inner = world.folder.join(GENERATIONS).join("1-1/c");
    std::os::unix::fs::symlink(&elsewhere, inner).unwrap();
    let report = world.publish("1-1", &[world.blob("c/d", b"2")]);
    assert_eq!(report.failures.len(), 1, "{report:?}");
    let bad = world.folder.with_file_name("bad");
    std::fs::create_dir_all(&bad).unwrap();
    std::os::unix::fs::symlink(&elsewhere, bad.join(GENERATIONS)).unwrap();
    assert!(matches!(Folder::open(&bad, false), Err(FolderError::Shape { .. })));
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn what_is_not_ours_is_neither_replaced_nor_removed() {
    let world = world();
    std::fs::create_dir_all(world.folder.join(GENERATIONS).join("theirs")).unwrap();
    world.publish("1-1", &[world.blob("a", b"1")]);
    assert_eq!(world.names(), ["1-1", "theirs"]);
    std::fs::remove_file(world.folder.join(CURRENT)).unwrap();
    std::fs::create_dir(world.folder.join(CURRENT)).unwrap();
    assert!(matches!(Folder::open(&world.folder, false), Err(FolderError::Shape { .. })));
}

#[test]
fn one_run_at_a_time_and_a_dry_one_makes_nothing() {
    let world = world();
    assert!(Folder::open(&world.folder, true).unwrap().is_none());
    assert!(!world.folder.exists());
    let _held = Folder::open(&world.folder, false).unwrap();
    assert!(matches!(Folder::open(&world.folder, false), Err(FolderError::Held(_))));
}

#[test]
fn a_generation_is_known_by_its_name() {
    let marked = ["1-2-0123456789ab", "1-2-0123456789ab-deb+pypi", ".part-1-2-0123456789ab"];
    for name in ["1-1", "12-345", ".part-1-2", "1-2-deb+pypi"].into_iter().chain(marked) {
        assert!(is_generation(name), "{name}");
    }
    for name in ["theirs", "1", "1-", "-1", "1-2-3", "1-a", ".lock", "1-1/x", "1-2-0123-deb"] {
        assert!(!is_generation(name), "{name}");
    }
}
