//! Makes the aliases again: which blob of the store answers to which SHA-512.

use std::collections::BTreeMap;
use std::fs::File;

use camino::Utf8Path;
use gapferry_common::durable::{DurableError, at};
use gapferry_common::hashing::Sha512;
use gapferry_common::store::Store;
use gapferry_proto::{BlobId, FORMAT};

use super::documents::{self, AliasDocument, Places};

/// Hashes everything that was pushed and writes an alias for each blob; removes those that lead
/// to nothing. Their number. `root` is [`super::folder`] of a home.
///
/// # Errors
///
/// [`DurableError`].
pub fn rebuild(root: &Utf8Path, store: &Store) -> Result<usize, DurableError> {
    let places = Places::below(root.to_owned());
    let found = places.read()?;
    let mut aliases: BTreeMap<Sha512, BlobId> = BTreeMap::new();
    for id in found.roots() {
        let path = store.path(id);
        if path.is_file() {
            let read = File::open(&path).and_then(|mut file| Sha512::read(&mut file));
            aliases.insert(read.map_err(at("read", &path))?, id);
        }
    }
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
