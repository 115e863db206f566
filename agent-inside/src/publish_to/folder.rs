//! Publishes into a folder that a plain web server shows.
//!
//! In:   [`Item`]s, the store, the folder.
//! Out:  `.generations/<name>/` with every file, by hard links to the store where that can be;
//!       then `current`, a link to it, is replaced by one rename.
//! Never: a file outside the folder, whatever links lie in it; a switch to what is not whole.
//!
//! A run that was cut off goes on where it ended: files have their names only when they are
//! whole. The generation that was shown before stays, for clients in the middle of it; older ones
//! go.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std::{
    ambient_authority,
    fs_utf8::{Dir, OpenOptions},
};
use gapferry_common::store::Store;

use super::http::PushError;
use super::tally::{Outcome, Tally};
use super::tree::{Content, Item, Place};

/// Where the generations lie.
const GENERATIONS: &str = ".generations";

/// The link to the one that is shown.
const CURRENT: &str = "current";

/// How a file begins that is not whole, and how a generation does.
const PART: &str = ".part-";

/// Why a folder cannot be published into.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path}: {what}")]
    Shape { path: Utf8PathBuf, what: &'static str },
    #[error("another gapferry publishes into {0}; wait for it to end")]
    Held(Utf8PathBuf),
    #[error("cannot {what} {path}")]
    Io { what: &'static str, path: Utf8PathBuf, source: io::Error },
}

/// A folder to publish into.
pub struct Folder {
    path: Utf8PathBuf,
    root: Dir,
    generations: Option<Dir>,
    /// Held as long as this lives; none in a dry run.
    lock: Option<std::fs::File>,
}

impl Folder {
    /// Opens the folder, and makes it unless the run is dry.
    ///
    /// # Errors
    ///
    /// [`FolderError`]: it cannot be made, is in use, or holds something else where ours goes.
    pub fn open(path: &Utf8Path, dry_run: bool) -> Result<Option<Self>, FolderError> {
        let at = |what| {
            let path = path.to_owned();
            move |source| FolderError::Io { what, path, source }
        };
        if dry_run && !path.exists() {
            return Ok(None);
        }
        if !dry_run {
            std::fs::create_dir_all(path).map_err(at("make"))?;
        }
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(at("open"))?;
        let mut folder = Self { path: path.to_owned(), root, generations: None, lock: None };
        folder.check_current()?;
        if !dry_run {
            let made = folder.root.create_dir(GENERATIONS);
            allow(made, io::ErrorKind::AlreadyExists).map_err(at("write in"))?;
        }
        folder.generations = folder.open_generations()?;
        if let (false, Some(generations)) = (dry_run, &folder.generations) {
            folder.lock = Some(lock(generations, path)?);
        }
        Ok(Some(folder))
    }

    fn check_current(&self) -> Result<(), FolderError> {
        match self.root.symlink_metadata(CURRENT) {
            Ok(meta) if !meta.is_symlink() => Err(FolderError::Shape {
                path: self.path.join(CURRENT),
                what: "it is no link, so it is not ours to replace; choose another folder",
            }),
            _ => Ok(()),
        }
    }

    fn open_generations(&self) -> Result<Option<Dir>, FolderError> {
        let path = self.path.join(GENERATIONS);
        match self.root.symlink_metadata(GENERATIONS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(meta) if !meta.is_dir() => {
                let what = "it is no folder; choose another place";
                return Err(FolderError::Shape { path, what });
            }
            _ => {}
        }
        let opened = self.root.open_dir(GENERATIONS);
        opened.map(Some).map_err(|source| FolderError::Io { what: "open", path, source })
    }

    /// Lays the files of generation `name`; each failure is noted and ends nothing else.
    ///
    /// # Errors
    ///
    /// [`FolderError`]: the generation's folder cannot be made.
    pub fn lay(
        &self,
        name: &str,
        items: &[Item],
        store: &Store,
        dry_run: bool,
        tally: &Tally,
    ) -> Result<(), FolderError> {
        tally.expect(items.iter().map(|item| item.content.len_bytes).sum());
        let Some(target) = self.generation(name, dry_run)? else {
            note_all(items, tally);
            return Ok(());
        };
        let held = Dir::open_ambient_dir(store.root(), ambient_authority());
        let held = held.map_err(|source| {
            let path = store.root().to_owned();
            FolderError::Io { what: "open", path, source }
        })?;
        let mut layer = Layer { target, held, store, folders: Utf8PathBuf::new() };
        for item in items {
            let laid = match layer.has(item) {
                true => Ok(Outcome::Present),
                false => layer.bring(item, dry_run).map(|()| Outcome::Pushed),
            };
            tally.note(&item.path, item.content.len_bytes, laid);
        }
        Ok(())
    }

    /// The folder of a generation, finished or not; none when there is none and the run is dry.
    fn generation(&self, name: &str, dry_run: bool) -> Result<Option<Dir>, FolderError> {
        let Some(generations) = &self.generations else { return Ok(None) };
        let part = format!("{PART}{name}");
        for name in [name, &part] {
            match generations.symlink_metadata(name) {
                Ok(meta) if meta.is_dir() => return self.opened(generations, name).map(Some),
                Ok(_) => {
                    let path = self.path.join(GENERATIONS).join(name);
                    return Err(FolderError::Shape { path, what: "it is no folder; remove it" });
                }
                Err(_) => {}
            }
        }
        if dry_run {
            return Ok(None);
        }
        generations.create_dir(&part).map_err(self.at("make", &part))?;
        self.opened(generations, &part).map(Some)
    }

    fn opened(&self, generations: &Dir, name: &str) -> Result<Dir, FolderError> {
        generations.open_dir(name).map_err(self.at("open", name))
    }

    /// Makes the generation durable, shows it, and removes those that are two or more older.
    ///
    /// # Errors
    ///
    /// [`FolderError`]; unless the rename of `current` came to pass, the old one is shown.
    pub fn switch(&self, name: &str) -> Result<bool, FolderError> {
        let Some(generations) = &self.generations else { return Ok(false) };
        self.sync().map_err(self.at("sync", name))?;
        let part = format!("{PART}{name}");
        if generations.symlink_metadata(&part).is_ok() {
            generations.rename(&part, generations, name).map_err(self.at("name", name))?;
        }
        let before = self.root.read_link_contents(CURRENT).ok();
        let shown = Utf8Path::new(GENERATIONS).join(name);
        let is_new = before.as_ref() != Some(&shown);
        if is_new {
            let link = format!("{PART}{CURRENT}");
            allow(self.root.remove_file(&link), io::ErrorKind::NotFound)
                .map_err(self.at("remove", &link))?;
            self.root.symlink_contents(&shown, &link).map_err(self.at("make", &link))?;
            self.root.rename(&link, &self.root, CURRENT).map_err(self.at("replace", CURRENT))?;
        }
        self.sync().map_err(self.at("sync", CURRENT))?;
        if is_new {
            let before = before.as_deref().and_then(Utf8Path::file_name);
            self.sweep(generations, &[Some(name), before])?;
        }
        Ok(is_new)
    }

    /// Makes durable what was laid: the file system as a whole, for that is one call.
    fn sync(&self) -> io::Result<()> {
        match &self.lock {
            Some(file) => Ok(rustix::fs::syncfs(file)?),
            None => Ok(()),
        }
    }

    /// Removes every generation but those to keep; nothing that is not named as one.
    fn sweep(&self, generations: &Dir, keep: &[Option<&str>]) -> Result<(), FolderError> {
        for entry in generations.entries().map_err(self.at("list", ""))? {
            let entry = entry.map_err(self.at("list", ""))?;
            let name = entry.file_name().map_err(self.at("list", ""))?;
            let is_kept = keep.contains(&Some(&*name));
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_kept && is_folder && is_generation(&name) {
                generations.remove_dir_all(&name).map_err(self.at("remove", &name))?;
            }
        }
        Ok(())
    }

    fn at(&self, what: &'static str, name: &str) -> impl Fn(io::Error) -> FolderError + use<> {
        let path = self.path.join(GENERATIONS).join(name);
        move |source| FolderError::Io { what, path: path.clone(), source }
    }
}

/// Notes that every item would be pushed.
pub fn note_all(items: &[Item], tally: &Tally) {
    for item in items {
        tally.note(&item.path, item.content.len_bytes, Ok(Outcome::Pushed));
    }
}

/// Takes the lock of a folder's generations.
fn lock(generations: &Dir, path: &Utf8Path) -> Result<std::fs::File, FolderError> {
    let failed = |source| FolderError::Io { what: "lock", path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let opened = generations.open_with(".lock", options.create(true).write(true));
    let file = opened.map_err(failed)?.into_std();
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(FolderError::Held(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Whether a name is one of ours: `12-34`, `12-34-deb+pypi`, and the same while it grows.
fn is_generation(name: &str) -> bool {
    let name = name.strip_prefix(PART).unwrap_or(name);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = name.splitn(3, '-');
    let [sequence, activation] = [parts.next(), parts.next()].map(Option::unwrap_or_default);
    let is_kinds = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'+');
    let is_mark = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_rest = |text: &str| match text.split_once('-') {
        Some((mark, kinds)) => is_mark(mark) && is_kinds(kinds),
        None => is_mark(text) || is_kinds(text),
    };
    is_number(sequence) && is_number(activation) && parts.next().is_none_or(is_rest)
}

/// Lays files into the folder of one generation.
struct Layer<'a> {
    target: Dir,
    /// The root of the store.
    held: Dir,
    store: &'a Store,
    /// The folder that was made last, so that it is not made for each of its files.
    folders: Utf8PathBuf,
}

impl Layer<'_> {
    /// Whether an item lies there already: its generation's name says that it is the same.
    fn has(&self, item: &Item) -> bool {
        let meta = self.target.symlink_metadata(&item.path);
        meta.is_ok_and(|meta| meta.is_file() && meta.len() == item.content.len_bytes)
    }

    fn bring(&mut self, item: &Item, dry_run: bool) -> Result<(), PushError> {
        item.content.check(self.store).map_err(|source| PushError::Read { source })?;
        let laid = if dry_run { Ok(()) } else { self.lay(item) };
        laid.map_err(|source| PushError::Write { source })
    }

    fn lay(&mut self, item: &Item) -> io::Result<()> {
        let path = Utf8Path::new(&item.path);
        let folder = path.parent().unwrap_or(Utf8Path::new(""));
        if folder != self.folders {
            self.target.create_dir_all(folder)?;
            folder.clone_into(&mut self.folders);
        }
        if self.target.symlink_metadata(path).is_ok() {
            self.target.remove_file(path)?; // of another length: not what it should be
        }
        if let Place::Store = item.content.place {
            match self.link(item) {
                Err(error) if may_copy(&error) => {}
                linked => return linked,
            }
        }
        self.copy(item)
    }

    fn link(&self, item: &Item) -> io::Result<()> {
        let path = self.store.path(item.content.digest.into());
        let below = path.strip_prefix(self.store.root()).map_err(io::Error::other)?;
        self.held.hard_link(below, &self.target, &item.path)
    }

    /// Copies under another name first: a file has its own only when it is whole.
    fn copy(&self, item: &Item) -> io::Result<()> {
        let path = Utf8Path::new(&item.path);
        let part = path.with_file_name(format!("{PART}{}", short(path)));
        let mut to = self.target.create(&part)?;
        copy(&item.content, self.store, &mut to)?;
        self.target.rename(&part, &self.target, path)
    }
}

/// A name for a file that is not whole; names may be as long as a file system has them.
fn short(path: &Utf8Path) -> String {
    gapferry_proto::Digest::of(path.as_str().as_bytes()).hex()[..16].to_owned()
}

fn copy(content: &Content, store: &Store, to: &mut impl io::Write) -> io::Result<()> {
    let (digest, _) = match (&content.place, content.path(store)) {
        (Place::Memory(bytes), _) => {
            gapferry_common::hashing::copy(&mut io::Cursor::new(bytes), to)?
        }
        (_, Some(path)) => gapferry_common::hashing::copy(&mut std::fs::File::open(path)?, to)?,
        (_, None) => return Err(io::ErrorKind::NotFound.into()),
    };
    if digest == content.digest {
        return Ok(());
    }
    let message = format!("{digest} was read where {} is kept; run scrub", content.digest);
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Whether a link failed in a way that a copy does not: another file system, one without links,
/// or too many of them.
fn may_copy(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
    )
}

fn allow(done: io::Result<()>, kind: io::ErrorKind) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == kind => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
