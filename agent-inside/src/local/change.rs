//! Changes of the local space: each document durable before what builds on it.
//!
//! Whatever changes documents holds [`Local::changing`] from its first look to its last write;
//! readers see a change once it is on disk.

use std::collections::BTreeSet;
use std::io::Write;

use gapferry_common::durable;
use gapferry_common::hashing::Sha512;
use gapferry_common::store::PutError;
use gapferry_proto::{BlobId, BlobRef, FORMAT, limits};
use serde_json::json;

use super::books::Full;
use super::documents::{
    self, AliasDocument, BlobDocument, ManifestDocument, Repository, TagDocument,
};
use super::manifest::{self, Need};
use super::uploads::Taken;
use super::{Local, LocalError, ManifestName, Named, Place, Pushed, check_name};

impl Local {
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
        let _changing = self.changing()?;
        if !self.store.holds(&blob) {
            return Err(LocalError::UploadUnknown); // a sweep came in between
        }
        self.remember_alias(named, id)?;
        self.add_blob(place, user, blob, |new| arriving.settle(new))
    }

    /// Gives a repository a blob that the store holds already; whether it does.
    ///
    /// # Errors
    ///
    /// [`LocalError`].
    pub fn mount(&self, place: &Place, user: &str, blob: BlobRef) -> Result<bool, LocalError> {
        check_name(place)?;
        let _changing = self.changing()?;
        if !self.store.holds(&blob) {
            return Ok(false);
        }
        if let Err(error) = self.store.touch(blob.id) {
            // No sweep is at work before the document is written, and by that it stays.
            tracing::warn!(%error, "a blob that was put to use looks as old as it was");
        }
        self.add_blob(place, user, blob, |new| match new {
            Some(blob) => self.books.hold(place.at, blob),
            None => Ok(()),
        })?;
        Ok(true)
    }

    fn add_blob(
        &self,
        place: &Place,
        user: &str,
        blob: BlobRef,
        count: impl FnOnce(Option<BlobRef>) -> Result<(), Full>,
    ) -> Result<(), LocalError> {
        let BlobRef { id, len_bytes } = blob;
        let path = self.places.blob(&place.repository, id);
        let known = self.known_blob(place, id).filter(|held| held.len_bytes == len_bytes);
        count(known.is_none().then_some(blob))?;
        if known.as_ref().is_some_and(|known| documents::stands(&path, known)) {
            return Ok(());
        }
        let document = BlobDocument { format: FORMAT, len_bytes, by: user.to_owned() };
        let written = documents::write(&path, &document);
        if known.is_none() && written.is_err() {
            self.books.drop_blob(place.at, id);
        }
        written?;
        let mut held = self.held_mut();
        let repository = held.repositories.entry(place.repository.clone()).or_default();
        repository.blobs.insert(id, document);
        Ok(())
    }

    fn known_blob(&self, place: &Place, id: BlobId) -> Option<BlobDocument> {
        self.held().repositories.get(&place.repository)?.blobs.get(&id).cloned()
    }

    /// Remembers by which blob a SHA-512 is answered, before anything is named by it.
    fn remember_alias(&self, named: &Named, id: BlobId) -> Result<(), LocalError> {
        let Named::Sha512(sha512) = named else { return Ok(()) };
        let (path, document) =
            (self.places.alias(sha512), AliasDocument { format: FORMAT, sha256: id });
        let is_known = self.held().aliases.get(sha512) == Some(&id);
        if !is_known || !documents::stands(&path, &document) {
            documents::write(&path, &document)?;
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
        let _changing = self.changing()?;
        let needs = self.needs(place, &manifest.needs)?;
        self.check_tags(place, &tags)?;
        let facts = json!({
            "user": user,
            "repository": place.repository,
            "digest": digest.to_string(),
            "tags": tags,
            "bytes": needs.iter().fold(bytes.len() as u64, |sum, need| sum + need.len_bytes),
        });
        self.audit.record("pushing", &facts)?;
        let blob = self.store_manifest(place, id, bytes)?;
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
        self.audit.record("pushed", &facts)?;
        Ok(Pushed { digest, subject: manifest.subject })
    }

    /// Stores the bytes of a manifest, for which there must be room: nothing counts later what a
    /// full prefix refuses.
    fn store_manifest(
        &self,
        place: &Place,
        id: BlobId,
        bytes: &[u8],
    ) -> Result<BlobRef, LocalError> {
        let len_bytes = bytes.len() as u64;
        let repository = &place.repository;
        let is_known =
            self.held().repositories.get(repository).is_some_and(|r| r.manifests.contains_key(&id));
        let room = if is_known { 0 } else { len_bytes };
        self.books.reserve(place.at, room)?;
        let stored = self.write_blob(id, bytes);
        self.books.release(place.at, room);
        stored
    }

    fn write_blob(&self, id: BlobId, bytes: &[u8]) -> Result<BlobRef, LocalError> {
        let mut upload = self.store.upload()?;
        upload.write_all(bytes).map_err(durable::at("write", "a manifest".into()))?;
        upload.finish(id).map_err(|error| match error {
            PutError::OtherBlob { expected, .. } => LocalError::OtherDigest(expected.into()),
            PutError::Durable(error) => error.into(),
        })
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
        let path = self.places.manifest(name, blob.id);
        if known.as_ref() == Some(&document) && documents::stands(&path, &document) {
            return Ok(());
        }
        if known.is_none() {
            self.books.hold(place.at, blob)?;
        }
        let written = documents::write(&path, &document);
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
    pub fn delete_tag(&self, place: &Place, user: &str, tag: &str) -> Result<(), LocalError> {
        let _changing = self.changing()?;
        if !self
            .held()
            .repositories
            .get(&place.repository)
            .is_some_and(|r| r.tags.contains_key(tag))
        {
            return Err(LocalError::ManifestUnknown);
        }
        self.audited_delete(place, user, tag, &[], || self.remove_tag(place, tag))
    }

    /// `tags` go with what is deleted.
    fn audited_delete(
        &self,
        place: &Place,
        user: &str,
        reference: &str,
        tags: &[String],
        delete: impl FnOnce() -> Result<(), LocalError>,
    ) -> Result<(), LocalError> {
        let repository = &place.repository;
        let facts =
            json!({"user": user, "repository": repository, "reference": reference, "tags": tags});
        self.audit.record("deleting", &facts)?;
        delete()?;
        Ok(self.audit.record("deleted", &facts)?)
    }

    fn remove_tag(&self, place: &Place, tag: &str) -> Result<(), LocalError> {
        let name = &place.repository;
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
    pub fn delete_manifest(
        &self,
        place: &Place,
        user: &str,
        named: &Named,
    ) -> Result<(), LocalError> {
        let _changing = self.changing()?;
        let name = &place.repository;
        let held = self.held();
        let id = held.resolve(named).ok_or(LocalError::ManifestUnknown)?;
        let repository =
            held.repositories.get(name).filter(|held| held.manifests.contains_key(&id));
        let tags = repository.ok_or(LocalError::ManifestUnknown)?.tags.iter();
        let leading = tags.filter(|(_, document)| document.manifest == id);
        let tags: Vec<String> = leading.map(|(tag, _)| tag.clone()).collect();
        drop(held);
        self.audited_delete(place, user, &named.to_string(), &tags, || {
            for tag in &tags {
                self.remove_tag(place, tag)?;
            }
            documents::remove(&self.places.manifest(name, id))?;
            self.forget(place, |repository| drop(repository.manifests.remove(&id)));
            self.books.drop_blob(place.at, id);
            self.drop_aliases(id)
        })
    }

    /// Forgets a blob. Its bytes leave with the next sweep, if nothing else needs them.
    ///
    /// # Errors
    ///
    /// [`LocalError::BlobUnknown`], [`LocalError::BlobNeeded`].
    pub fn delete_blob(&self, place: &Place, user: &str, named: &Named) -> Result<(), LocalError> {
        let _changing = self.changing()?;
        let name = &place.repository;
        let held = self.held();
        let id = held.resolve(named).ok_or(LocalError::BlobUnknown)?;
        let repository = held.repositories.get(name).filter(|held| held.blobs.contains_key(&id));
        let mut manifests = repository.ok_or(LocalError::BlobUnknown)?.manifests.values();
        if manifests.any(|manifest| manifest.needs.iter().any(|need| need.id == id)) {
            return Err(LocalError::BlobNeeded);
        }
        drop(held);
        self.audited_delete(place, user, &format!("blob {named}"), &[], || {
            documents::remove(&self.places.blob(name, id))?;
            self.forget(place, |repository| drop(repository.blobs.remove(&id)));
            self.books.drop_blob(place.at, id);
            self.drop_aliases(id)
        })
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
