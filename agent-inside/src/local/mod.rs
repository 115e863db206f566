//! The local space: what users of the site push for themselves.
//!
//! In:   [`Prefixes`], and what [`crate::serve`] makes of requests whose sender it knows.
//! Out:  blobs in the store, and the small documents of [`documents`] below `state/local`.
//! Never: generations, `state/current`, keys, the import. A switch and a rollback know nothing of
//! this space, and what is pushed reaches nothing but names below its prefix. Of all that answers
//! the network only this writes.
//!
//! Blocking: callers on a network runtime use threads that may block.
//!
//! # Order of writes
//!
//! Blob, then its document, then the manifest that needs it, then the tag. Each is durable before
//! the next begins, so a kill leaves at worst a blob that nothing names, which `sweep` removes.
//! A blob that is put to use is touched first ([`Store::touch`]); a sweep takes none of the last
//! hours, and so never one whose document is about to be written. Besides, a sweep deletes behind
//! a [`Door`] that each change of documents goes through ([`sweep_door`]).

mod aliases;
mod books;
mod change;
pub mod documents;
mod manifest;
mod rules;
mod uploads;
mod usage;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::audit::Audit;
use gapferry_common::durable::{self, DurableError};
use gapferry_common::hashing::Sha512;
use gapferry_common::lock::{Door, HomeLock, Inside, LockError};
use gapferry_common::store::Store;
use gapferry_proto::{BlobId, BlobRef, limits};
use rand_core::{OsRng, RngCore};

pub use aliases::rebuild as rebuild_aliases;
use books::{Books, Full};
use documents::{Places, Repository};
pub use manifest::ManifestError;
#[cfg(test)]
pub use rules::Prefix;
pub use rules::{Overlap, Prefixes};
pub use uploads::Taken;
use uploads::{Arriving, Uploads};
pub use usage::{Usage, usage};

/// Where the local space of a home lies.
pub fn folder(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/local")
}

/// Changes of the documents go through this door together, a sweep of the store alone: what it
/// reads of them there is true until it is done. Makes the folder of a home that never took a push:
/// a server may begin to at any moment.
///
/// # Errors
///
/// [`LockError`].
pub fn sweep_door(folder: &Utf8Path) -> Result<Door, LockError> {
    let made = durable::create_folders(folder);
    made.map_err(|DurableError { path, source, .. }| LockError::Io { path, source })?;
    Door::open(folder.join(documents::LOCKS[1]))
}

/// Whether the documents of what was pushed are not there although the store took pushes, as when
/// `state/local` is not mounted. A server leaves its lock there when it is started.
///
/// # Errors
///
/// [`DurableError`]: nobody can tell.
pub fn is_lost(folder: &Utf8Path, store: &Store) -> Result<bool, DurableError> {
    let lock = folder.join(documents::LOCKS[0]);
    let took_pushes = store.took_uploads()?;
    Ok(took_pushes && !lock.try_exists().map_err(durable::at("look for", &lock))?)
}

/// A digest by which registries name bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Named {
    Sha256(BlobId),
    Sha512(Sha512),
}

impl From<BlobId> for Named {
    fn from(id: BlobId) -> Self {
        Self::Sha256(id)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(id) => fmt::Display::fmt(id, f),
            Self::Sha512(sha512) => fmt::Display::fmt(sha512, f),
        }
    }
}

impl FromStr for Named {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let sha256 = text.parse().map(Self::Sha256);
        sha256.or_else(|_| text.parse().map(Self::Sha512)).map_err(|_| ())
    }
}

/// Why the local space did not do what was asked. Nothing has changed that readers see.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("a name that is pushed to has at most {} bytes", limits::PUSHED_NAME_LEN_BYTES_MAX)]
    NameLong,
    #[error("{0}")]
    Full(Full),
    #[error("too many uploads are open; finish or cancel some")]
    TooManyUploads,
    #[error("there is no such upload; it may have expired, or the server was started anew")]
    UploadUnknown,
    #[error("another request is adding to this upload")]
    UploadBusy,
    #[error("a blob has at most {} bytes", limits::BLOB_LEN_BYTES_MAX)]
    TooLong,
    #[error("the bytes hash to another digest than {0}")]
    OtherDigest(Named),
    #[error("the manifest is not taken: {0}")]
    Manifest(#[from] ManifestError),
    #[error("the manifest needs {0}, which this repository does not hold")]
    NeedUnknown(Named),
    #[error("the manifest gives {named} a length of {said} bytes; it has {found}")]
    NeedLength { named: Named, said: u64, found: u64 },
    #[error("a repository has at most {} tags", limits::TAGS_MAX)]
    TooManyTags,
    #[error("no such manifest or tag is held here")]
    ManifestUnknown,
    #[error("this repository holds no such blob")]
    BlobUnknown,
    #[error("a manifest of this repository needs that blob; delete the manifest first")]
    BlobNeeded,
    #[error(transparent)]
    Durable(DurableError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Why the local space cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another server takes pushes for this home")]
    Lock(#[from] LockError),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// A repository below a prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub repository: String,
    /// Of its prefix.
    at: usize,
}

/// A manifest that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldManifest {
    pub blob: BlobRef,
    pub media_type: String,
    /// The digest by which it was pushed.
    pub digest: String,
}

/// How a manifest is named when it is pushed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestName {
    Tag(String),
    /// With the tags that it shall have as well.
    Digest(Named, Vec<String>),
}

/// A manifest that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    pub digest: Named,
    pub subject: Option<Named>,
}

/// The local space of one home. There is one for a home at a time.
#[derive(Debug)]
pub struct Local {
    places: Places,
    store: Store,
    prefixes: Prefixes,
    books: Arc<Books>,
    uploads: Arc<Uploads>,
    /// Held while documents change, so that what one change looks at no other changes.
    changing: Mutex<()>,
    /// Who pushed and who deleted, written before it is done and after.
    audit: Audit,
    door: Door,
    /// What stands on disk, for readers. Never locked while anything is written.
    held: RwLock<Held>,
    _only: HomeLock,
}

#[derive(Debug, Default)]
struct Held {
    repositories: HashMap<String, Repository>,
    aliases: HashMap<Sha512, BlobId>,
}

/// One change of documents; in this order they are let go.
struct Changing<'a> {
    _door: Inside<'a>,
    _only: MutexGuard<'a, ()>,
}

impl Held {
    fn resolve(&self, named: &Named) -> Option<BlobId> {
        match named {
            Named::Sha256(id) => Some(*id),
            Named::Sha512(sha512) => self.aliases.get(sha512).copied(),
        }
    }
}

impl Local {
    /// Opens the space of a home, and drops uploads that a killed server left.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(home: &Utf8Path, store: Store, prefixes: Prefixes) -> Result<Self, OpenError> {
        let (root, audit) = (folder(home), Audit::of(home));
        durable::create_folders(&root)?;
        let only = HomeLock::take(&root)?;
        let door = sweep_door(&root)?;
        store.clear_uploads()?;
        let places = Places::below(root);
        let found = places.read()?;
        for path in &found.damaged {
            tracing::error!(%path, "this document of what was pushed is damaged and passed over");
        }
        let books = Books::new(prefixes.all().iter().map(|prefix| prefix.quota.0));
        for (name, repository) in &found.repositories {
            if let Some(at) = prefixes.position(name) {
                count_known(&books, at, repository);
            }
        }
        let held = Held {
            repositories: found.repositories.into_iter().collect(),
            aliases: found.aliases.into_iter().collect(),
        };
        Ok(Self {
            places,
            store,
            prefixes,
            books: Arc::new(books),
            uploads: Arc::default(),
            changing: Mutex::default(),
            audit,
            door,
            held: RwLock::new(held),
            _only: only,
        })
    }

    /// Where a repository lies in this space, if its name is below a prefix and each part of it
    /// can be a folder.
    pub fn place(&self, repository: &str) -> Option<Place> {
        if !repository.split('/').all(rules::is_part) {
            return None;
        }
        let at = self.prefixes.position(repository)?;
        Some(Place { repository: repository.to_owned(), at })
    }

    /// Whether `user` may push there.
    pub fn may_push(&self, place: &Place, user: &str) -> bool {
        self.prefixes.all()[place.at].users.iter().any(|named| named == user)
    }

    /// What lies below each prefix.
    pub fn usage(&self) -> Vec<Usage> {
        usage::count(&self.prefixes, &self.books, &self.held().repositories)
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> Result<Changing<'_>, LocalError> {
        let only = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Changing { _door: self.door.together()?, _only: only })
    }

    /// The manifest of that digest, if the repository holds it.
    pub fn manifest(&self, place: &Place, named: &Named) -> Option<HeldManifest> {
        let held = self.held();
        let id = held.resolve(named)?;
        let document = held.repositories.get(&place.repository)?.manifests.get(&id)?;
        let blob = BlobRef { id, len_bytes: document.len_bytes };
        let (media_type, digest) = (document.media_type.clone(), named.to_string());
        drop(held);
        self.store.holds(&blob).then_some(HeldManifest { blob, media_type, digest })
    }

    /// The manifest that a tag leads to.
    pub fn tagged(&self, place: &Place, tag: &str) -> Option<HeldManifest> {
        let held = self.held();
        let tag = held.repositories.get(&place.repository)?.tags.get(tag)?.clone();
        drop(held);
        let manifest = self.manifest(place, &tag.manifest.into())?;
        Some(HeldManifest { digest: tag.digest, ..manifest })
    }

    /// The blob of that digest, if the repository holds it.
    pub fn blob(&self, place: &Place, named: &Named) -> Option<BlobRef> {
        let held = self.held();
        let id = held.resolve(named)?;
        let document = held.repositories.get(&place.repository)?.blobs.get(&id)?;
        let blob = BlobRef { id, len_bytes: document.len_bytes };
        drop(held);
        self.store.holds(&blob).then_some(blob)
    }

    /// All tags of a repository, sorted; none when there is no such repository.
    pub fn tags(&self, place: &Place) -> Option<Vec<String>> {
        let held = self.held();
        Some(held.repositories.get(&place.repository)?.tags.keys().cloned().collect())
    }

    /// The manifests of a repository that refer to `subject`.
    pub fn referrers(&self, place: &Place, subject: &Named) -> Vec<HeldManifest> {
        let held = self.held();
        let wanted = held.resolve(subject);
        let refers = |text: &String| {
            let Ok(named) = text.parse::<Named>() else { return false };
            named == *subject || (wanted.is_some() && held.resolve(&named) == wanted)
        };
        let Some(repository) = held.repositories.get(&place.repository) else { return vec![] };
        let manifests = repository.manifests.iter();
        let referring =
            manifests.filter(|(_, document)| document.subject.as_ref().is_some_and(refers));
        let found = referring.map(|(&id, document)| HeldManifest {
            blob: BlobRef { id, len_bytes: document.len_bytes },
            media_type: document.media_type.clone(),
            digest: document.digest.clone(),
        });
        found.collect()
    }

    /// Begins an upload; its id.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub fn begin(&self, place: &Place, user: &str) -> Result<String, LocalError> {
        check_name(place)?;
        self.expire_uploads();
        let reserved = limits::PUSHED_DOCUMENT_LEN_BYTES;
        let upload = self.store.upload()?;
        self.books.reserve(place.at, reserved)?;
        let arriving = Arriving::new(upload, place.at, reserved, Arc::clone(&self.books));
        let mut random = [0; 16];
        OsRng.fill_bytes(&mut random);
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.uploads.begin(&id, place, user, arriving)?;
        Ok(id)
    }

    /// Takes an upload out, to add to it or to end it; dropped, it is put back.
    ///
    /// # Errors
    ///
    /// [`LocalError::UploadUnknown`], [`LocalError::UploadBusy`].
    pub fn take(&self, place: &Place, user: &str, id: &str) -> Result<Taken, LocalError> {
        self.uploads.take(id, place, user)
    }

    /// How many bytes of an upload have arrived.
    ///
    /// # Errors
    ///
    /// [`LocalError::UploadUnknown`].
    pub fn arrived(&self, place: &Place, user: &str, id: &str) -> Result<u64, LocalError> {
        self.uploads.len_bytes(id, place, user)
    }

    /// Forgets uploads to which nothing is added any more.
    pub fn expire_uploads(&self) {
        self.uploads.expire(Instant::now());
    }

    /// The blob of that digest in any repository that `user` may push to, or in `from` alone.
    pub fn find_blob(&self, named: &Named, from: Option<&str>, user: &str) -> Option<BlobRef> {
        let names: Vec<String> = match from {
            Some(from) => vec![from.to_owned()],
            None => self.held().repositories.keys().cloned().collect(),
        };
        let places = names.iter().filter_map(|name| self.place(name));
        let mut allowed = places.filter(|place| self.may_push(place, user));
        allowed.find_map(|place| self.blob(&place, named))
    }
}

fn check_name(place: &Place) -> Result<(), LocalError> {
    let fits = place.repository.len() <= limits::PUSHED_NAME_LEN_BYTES_MAX;
    if fits { Ok(()) } else { Err(LocalError::NameLong) }
}

fn count_known(books: &Books, at: usize, repository: &Repository) {
    for (&id, blob) in &repository.blobs {
        books.hold_known(at, BlobRef { id, len_bytes: blob.len_bytes });
    }
    for (&id, manifest) in &repository.manifests {
        books.hold_known(at, BlobRef { id, len_bytes: manifest.len_bytes });
    }
    for _ in &repository.tags {
        books.hold_known_document(at);
    }
}

#[cfg(test)]
mod tests;
