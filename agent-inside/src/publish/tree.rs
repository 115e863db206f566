//! The documents of one generation, and who answers which address.

use std::collections::{BTreeMap, btree_map::Entry};

use gapferry_proto::{BlobId, SafePath};

use super::PublishError;

/// The immutable documents of one generation, by their path below its folder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    documents: BTreeMap<SafePath, Vec<u8>>,
}

impl Tree {
    /// Every document, sorted by path.
    #[cfg(test)]
    pub const fn documents(&self) -> &BTreeMap<SafePath, Vec<u8>> {
        &self.documents
    }

    /// Gives the documents away, to be written.
    pub fn into_documents(self) -> BTreeMap<SafePath, Vec<u8>> {
        self.documents
    }

    pub(super) fn extend(&mut self, documents: impl IntoIterator<Item = (SafePath, Vec<u8>)>) {
        self.documents.extend(documents);
    }
}

/// Which artifact answers which address, so that no two answer one with different bytes.
#[derive(Default)]
pub(super) struct Addresses(BTreeMap<String, (BlobId, String)>);

impl Addresses {
    /// Notes that `artifact` answers `address` with `blob`.
    ///
    /// # Errors
    ///
    /// [`PublishError::Clash`]: another artifact answers it with other bytes.
    pub(super) fn claim(
        &mut self,
        address: String,
        blob: BlobId,
        artifact: &str,
    ) -> Result<(), PublishError> {
        match self.0.entry(address) {
            Entry::Occupied(held) if held.get().0 != blob => Err(PublishError::Clash {
                address: held.key().clone(),
                first: held.get().1.clone(),
                second: artifact.to_owned(),
            }),
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(free) => {
                free.insert((blob, artifact.to_owned()));
                Ok(())
            }
        }
    }
}
