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
//! hours, and so never one whose document is about to be written.

mod aliases;
mod books;
pub mod documents;
mod manifest;
mod rules;
mod uploads;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError};
use gapferry_common::hashing::Sha512;
use gapferry_common::lock::{HomeLock, LockError};
use gapferry_common::store::{PutError, Store};
use gapferry_proto::{BlobId, BlobRef, FORMAT, limits};
use rand_core::{OsRng, RngCore};

pub use aliases::rebuild as rebuild_aliases;
use books::{Books, Full};
use documents::{AliasDocument, BlobDocument, ManifestDocument, Places, Repository, TagDocument};
pub use manifest::ManifestError;
use manifest::Need;
pub use rules::{Overlap, Prefixes};
pub use uploads::Taken;
use uploads::{Arriving, Uploads};

/// Where the local space of a home lies.
pub fn folder(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/local")
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
    /// What stands on disk, for readers. Never locked while anything is written.
    held: RwLock<Held>,
    _only: HomeLock,
}

#[derive(Debug, Default)]
struct Held {
    repositories: HashMap<String, Repository>,
    aliases: HashMap<Sha512, BlobId>,
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
    /// Opens the space at `root`, which is [`folder`] of the home, and drops uploads that a
    /// killed server left.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(root: Utf8PathBuf, store: Store, prefixes: Prefixes) -> Result<Self, OpenError> {
        durable::create_folders(&root)?;
        let only = HomeLock::take(&root)?;
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
            held: RwLock::new(held),
            _only: only,
        })
    }

    /// Where a repository lies in this space, if its name is below a prefix.
    pub fn place(&self, repository: &str) -> Option<Place> {
        let at = self.prefixes.position(repository)?;
        Some(Place { repository: repository.to_owned(), at })
    }

    /// Whether `user` may push there.
    pub fn may_push(&self, place: &Place, user: &str) -> bool {
        self.prefixes.all()[place.at].users.iter().any(|named| named == user)
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.books.reserve(place.at, 0)?;
        let arriving = Arriving::new(self.store.upload()?, place.at, Arc::clone(&self.books));
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

    /// Ends an upload: what arrived becomes a blob of the repository if it has that digest, and
    /// is nothing otherwise.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub fn finish(
        &self,
        place: &Place,
        user: &str,
        taken: Taken,
        named: &Named,
    ) -> Result<(), LocalError> {
        let mut arriving = taken.end();
        let upload = arriving.take_upload();
        let id = match named {
            Named::Sha256(id) => *id,
            Named::Sha512(sha512) if upload.sha512()? == *sha512 => upload.digest().0.into(),
            Named::Sha512(_) => return Err(LocalError::OtherDigest(*named)),
        };
        let blob = upload.finish(id).map_err(|error| match error {
            PutError::OtherBlob { .. } => LocalError::OtherDigest(*named),
            PutError::Durable(error) => error.into(),
        })?;
        let _changing = self.changing();
        self.remember_alias(named, id)?;
        self.add_blob(place, user, blob, |new| arriving.settle(new))
    }

    /// Gives a repository a blob that the store holds already.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub fn mount(&self, place: &Place, user: &str, blob: BlobRef) -> Result<(), LocalError> {
        check_name(place)?;
        let _changing = self.changing();
        self.store.touch(blob.id)?;
        self.add_blob(place, user, blob, |new| match new {
            Some(blob) => self.books.hold(place.at, blob),
            None => Ok(()),
        })
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

    fn add_blob(
        &self,
        place: &Place,
        user: &str,
        blob: BlobRef,
        count: impl FnOnce(Option<BlobRef>) -> Result<(), Full>,
    ) -> Result<(), LocalError> {
        let is_held = self.held().repositories.get(&place.repository).is_some_and(|repository| {
            repository.blobs.get(&blob.id).is_some_and(|held| held.len_bytes == blob.len_bytes)
        });
        count((!is_held).then_some(blob))?;
        if is_held {
            return Ok(());
        }
        let BlobRef { id, len_bytes } = blob;
        let document = BlobDocument { format: FORMAT, len_bytes, by: user.to_owned() };
        let written = documents::write(&self.places.blob(&place.repository, id), &document);
        written.inspect_err(|_| self.books.drop_blob(place.at, id))?;
        let mut held = self.held_mut();
        let repository = held.repositories.entry(place.repository.clone()).or_default();
        repository.blobs.insert(id, document);
        Ok(())
    }

    /// Remembers by which blob a SHA-512 is answered, before anything is named by it.
    fn remember_alias(&self, named: &Named, id: BlobId) -> Result<(), LocalError> {
        let Named::Sha512(sha512) = named else { return Ok(()) };
        if self.held().aliases.get(sha512) != Some(&id) {
            let document = AliasDocument { format: FORMAT, sha256: id };
            documents::write(&self.places.alias(sha512), &document)?;
            self.held_mut().aliases.insert(*sha512, id);
        }
        Ok(())
    }

    /// Takes a manifest whose blobs are there, and has its tags lead to it.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub fn put_manifest(
        &self,
        place: &Place,
        user: &str,
        bytes: &[u8],
        content_type: Option<&str>,
        name: ManifestName,
    ) -> Result<Pushed, LocalError> {
        use std::io::Write;
        check_name(place)?;
        let id = BlobId::of(bytes);
        let (digest, tags) = match name {
            ManifestName::Tag(tag) => (Named::from(id), vec![tag]),
            ManifestName::Digest(named, tags) => (named, tags),
        };
        if digest != Named::from(id) && digest != Named::Sha512(Sha512::of(bytes)) {
            return Err(LocalError::OtherDigest(digest));
        }
        let manifest = manifest::read(bytes, content_type)?;
        let _changing = self.changing();
        let needs = self.needs(place, &manifest.needs)?;
        self.check_tags(place, &tags)?;
        let mut upload = self.store.upload()?;
        upload.write_all(bytes).map_err(durable::at("write", "a manifest".into()))?;
        let blob = upload.finish(id).map_err(|error| match error {
            PutError::OtherBlob { .. } => LocalError::OtherDigest(digest),
            PutError::Durable(error) => error.into(),
        })?;
        self.remember_alias(&digest, id)?;
        let document = ManifestDocument {
            format: FORMAT,
            digest: digest.to_string(),
            media_type: manifest.media_type,
            len_bytes: blob.len_bytes,
            subject: manifest.subject.map(|subject| subject.to_string()),
            needs,
            by: user.to_owned(),
        };
        self.add_manifest(place, blob, document)?;
        for tag in tags {
            self.add_tag(place, user, id, &digest, tag)?;
        }
        Ok(Pushed { digest, subject: manifest.subject })
    }

    /// What a manifest leads to, as far as it is held. All of it must be, but for what lies
    /// elsewhere by its nature and below prefixes that allow it.
    fn needs(&self, place: &Place, needs: &[Need]) -> Result<Vec<BlobRef>, LocalError> {
        let may_lack = self.prefixes.all()[place.at].allow_missing;
        let mut found = BTreeSet::new();
        for need in needs {
            let blob = self.blob(place, &need.named);
            let blob = blob.or_else(|| Some(self.manifest(place, &need.named)?.blob));
            match blob {
                Some(BlobRef { len_bytes, .. }) if len_bytes != need.len_bytes => {
                    let (named, said) = (need.named, need.len_bytes);
                    return Err(LocalError::NeedLength { named, said, found: len_bytes });
                }
                Some(blob) => {
                    found.insert(blob);
                }
                None if may_lack || need.is_elsewhere => {}
                None => return Err(LocalError::NeedUnknown(need.named)),
            }
        }
        Ok(found.into_iter().collect())
    }

    fn check_tags(&self, place: &Place, tags: &[String]) -> Result<(), LocalError> {
        let held = self.held();
        let repository = held.repositories.get(&place.repository);
        let count = repository.map_or(0, |repository| repository.tags.len());
        if tags.len() + count <= limits::TAGS_MAX { Ok(()) } else { Err(LocalError::TooManyTags) }
    }

    fn add_manifest(
        &self,
        place: &Place,
        blob: BlobRef,
        document: ManifestDocument,
    ) -> Result<(), LocalError> {
        let name = &place.repository;
        let known =
            self.held().repositories.get(name).and_then(|r| r.manifests.get(&blob.id).cloned());
        if known.as_ref() == Some(&document) {
            return Ok(());
        }
        if known.is_none() {
            self.books.hold(place.at, blob)?;
        }
        let written = documents::write(&self.places.manifest(name, blob.id), &document);
        if known.is_none() && written.is_err() {
            self.books.drop_blob(place.at, blob.id);
        }
        written?;
        let mut held = self.held_mut();
        held.repositories.entry(name.clone()).or_default().manifests.insert(blob.id, document);
        Ok(())
    }

    fn add_tag(
        &self,
        place: &Place,
        user: &str,
        manifest: BlobId,
        digest: &Named,
        tag: String,
    ) -> Result<(), LocalError> {
        let name = &place.repository;
        let is_new =
            self.held().repositories.get(name).is_none_or(|held| !held.tags.contains_key(&tag));
        if is_new {
            self.books.hold_document(place.at)?;
        }
        let (digest, by) = (digest.to_string(), user.to_owned());
        let document = TagDocument { format: FORMAT, manifest, digest, by };
        let written = documents::write(&self.places.tag(name, &tag), &document);
        if is_new && written.is_err() {
            self.books.drop_document(place.at);
        }
        written?;
        self.held_mut().repositories.entry(name.clone()).or_default().tags.insert(tag, document);
        Ok(())
    }

    /// Forgets a tag; its manifest stays.
    ///
    /// # Errors
    ///
    /// [`LocalError::ManifestUnknown`].
    pub fn delete_tag(&self, place: &Place, tag: &str) -> Result<(), LocalError> {
        let _changing = self.changing();
        self.remove_tag(place, tag)
    }

    fn remove_tag(&self, place: &Place, tag: &str) -> Result<(), LocalError> {
        let name = &place.repository;
        if self.held().repositories.get(name).is_none_or(|held| !held.tags.contains_key(tag)) {
            return Err(LocalError::ManifestUnknown);
        }
        documents::remove(&self.places.tag(name, tag))?;
        self.forget(place, |repository| drop(repository.tags.remove(tag)));
        self.books.drop_document(place.at);
        Ok(())
    }

    /// Forgets a manifest, and before it the tags that lead to it.
    ///
    /// # Errors
    ///
    /// [`LocalError::ManifestUnknown`].
    pub fn delete_manifest(&self, place: &Place, named: &Named) -> Result<(), LocalError> {
        let _changing = self.changing();
        let name = &place.repository;
        let held = self.held();
        let id = held.resolve(named).ok_or(LocalError::ManifestUnknown)?;
        let repository =
            held.repositories.get(name).filter(|held| held.manifests.contains_key(&id));
        let tags = repository.ok_or(LocalError::ManifestUnknown)?.tags.iter();
        let leading = tags.filter(|(_, document)| document.manifest == id);
        let tags: Vec<String> = leading.map(|(tag, _)| tag.clone()).collect();
        drop(held);
        for tag in tags {
            self.remove_tag(place, &tag)?;
        }
        documents::remove(&self.places.manifest(name, id))?;
        self.forget(place, |repository| drop(repository.manifests.remove(&id)));
        self.books.drop_blob(place.at, id);
        self.drop_aliases(id)
    }

    /// Forgets a blob. Its bytes leave with the next sweep, if nothing else needs them.
    ///
    /// # Errors
    ///
    /// [`LocalError::BlobUnknown`], [`LocalError::BlobNeeded`].
    pub fn delete_blob(&self, place: &Place, named: &Named) -> Result<(), LocalError> {
        let _changing = self.changing();
        let name = &place.repository;
        let held = self.held();
        let id = held.resolve(named).ok_or(LocalError::BlobUnknown)?;
        let repository = held.repositories.get(name).filter(|held| held.blobs.contains_key(&id));
        let mut manifests = repository.ok_or(LocalError::BlobUnknown)?.manifests.values();
        if manifests.any(|manifest| manifest.needs.iter().any(|need| need.id == id)) {
            return Err(LocalError::BlobNeeded);
        }
        drop(held);
        documents::remove(&self.places.blob(name, id))?;
        self.forget(place, |repository| drop(repository.blobs.remove(&id)));
        self.books.drop_blob(place.at, id);
        self.drop_aliases(id)
    }

    fn forget(&self, place: &Place, forget: impl FnOnce(&mut Repository)) {
        let mut held = self.held_mut();
        let Some(repository) = held.repositories.get_mut(&place.repository) else { return };
        forget(repository);
        if repository.is_empty() {
            held.repositories.remove(&place.repository);
        }
    }

    /// Forgets the SHA-512 of what no repository holds any more.
    fn drop_aliases(&self, id: BlobId) -> Result<(), LocalError> {
        let held = self.held();
        let mut repositories = held.repositories.values();
        if repositories.any(|held| held.blobs.contains_key(&id) || held.manifests.contains_key(&id))
        {
            return Ok(());
        }
        let names: Vec<Sha512> =
            held.aliases.iter().filter(|(_, of)| **of == id).map(|(name, _)| *name).collect();
        drop(held);
        for sha512 in names {
            documents::remove(&self.places.alias(&sha512))?;
            self.held_mut().aliases.remove(&sha512);
        }
        Ok(())
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
