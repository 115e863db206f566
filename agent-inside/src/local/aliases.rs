//! Makes the aliases again: which blob of the store answers to which SHA-512.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use camino::Utf8Path;
use gapferry_common::durable::{DurableError, at};
use gapferry_common::hashing::Sha512;
use gapferry_common::lock::Door;
use gapferry_common::store::Store;
use gapferry_proto::{BlobId, FORMAT};

use super::LocalError;
use super::documents::{self, AliasDocument, Places};

/// Hashes everything that was pushed and writes an alias for each blob; removes those that lead
/// to nothing. Their number. `root` is [`super::folder`] of a home, `door` its
/// [`super::sweep_door`]: what was pushed while the rest was hashed is hashed behind it.
///
/// # Errors
///
/// [`LocalError::Durable`], [`LocalError::Lock`].
pub fn rebuild(root: &Utf8Path, store: &Store, door: &Door) -> Result<usize, LocalError> {
    let places = Places::below(root.to_owned());
    let mut hashed = BTreeMap::new();
    hash(store, places.read()?.roots(), &mut hashed)?;
    let _alone = door.alone()?;
    let found = places.read()?;
    let roots = found.roots();
    hashed.retain(|id, _| roots.contains(id));
    hash(store, roots, &mut hashed)?;
    let aliases: BTreeMap<Sha512, BlobId> =
        hashed.into_iter().map(|(id, sha512)| (sha512, id)).collect();
    for sha512 in found.aliases.keys().filter(|sha512| !aliases.contains_key(sha512)) {
        documents::remove(&places.alias(sha512))?;
    }
    for (sha512, &sha256) in &aliases {
        if found.aliases.get(sha512) != Some(&sha256) {
            let document = AliasDocument { format: FORMAT, sha256 };
            documents::write(&places.alias(sha512), &document)?;
        }
    }
    Ok(aliases.len())
}

/// Adds the SHA-512 of those blobs that are held and not hashed yet.
fn hash(
    store: &Store,
    ids: BTreeSet<BlobId>,
    hashed: &mut BTreeMap<BlobId, Sha512>,
) -> Result<(), DurableError> {
    for id in ids {
        let path = store.path(id);
        if !hashed.contains_key(&id) && path.is_file() {
            let read = File::open(&path).and_then(|mut file| Sha512::read(&mut file));
            hashed.insert(id, read.map_err(at("read", &path))?);
        }
    }
    Ok(())
}
