//! What the inside can follow, and which of its codecs are left out because they failed there.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_common::peel::identify::Abilities;
use gapferry_proto::{BlobId, inventory::Inventory, limits};

use super::{Ledger, LedgerError};

/// How far back failures of codecs are looked at. One that fails now and then is one that another
/// processor or library gives otherwise: it stays off for as many inventories, or every second
/// export would be refused.
const FAILURES_LOOKED_AT: usize = 10;

/// The codecs that an inventory says failed.
fn failed_codecs(inventory: &Inventory) -> BTreeSet<&str> {
    inventory.failed.iter().filter_map(|failed| failed.codec.as_deref()).collect()
}

impl Ledger {
    /// What the inside can follow, as its newest inventory says, or its card before the first;
    /// less the encoders that failed there: in the last import, or in several of the last
    /// [`FAILURES_LOOKED_AT`] inventories that agents of the same abilities sent.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn abilities(&self) -> Result<Abilities, LedgerError> {
        let inventories = self.newest_inventories(FAILURES_LOOKED_AT)?;
        let Some(newest) = inventories.first() else {
            let card = self.card()?;
            return Ok(Abilities {
                codecs: card.codecs.unwrap_or_default().into_iter().collect(),
                decode_memory_bytes: card
                    .decode_memory_bytes
                    .unwrap_or(limits::DECODE_MEMORY_BYTES),
            });
        };
        let mut codecs: BTreeSet<String> = newest.codecs.iter().cloned().collect();
        let mut same: Vec<&Inventory> =
            inventories.iter().filter(|one| one.codecs == newest.codecs).collect();
        // One failure is told until the next import.
        same.dedup_by_key(|one| &one.failed);
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for codec in same.into_iter().flat_map(failed_codecs) {
            *times.entry(codec).or_insert(0) += 1;
        }
        let last = failed_codecs(newest);
        let times = |codec: &str| times.get(codec).copied().unwrap_or(0);
        codecs.retain(|codec| !last.contains(codec.as_str()) && times(codec) < 2);
        Ok(Abilities { codecs, decode_memory_bytes: newest.decode_memory_bytes })
    }

    /// Blobs that the inside could not rebuild: the next export carries them raw.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn failed(&self) -> Result<BTreeSet<BlobId>, LedgerError> {
        let failed = self.inventory()?.map(|inventory| inventory.failed).unwrap_or_default();
        Ok(failed.into_iter().map(|failed| failed.blob).collect())
    }
}

#[cfg(test)]
mod tests {
    use gapferry_proto::inventory::Failed;

    use super::{
        super::tests::{inventory, ledger, take},
        *,
    };

    #[test]
    fn a_codec_is_off_after_a_failure_and_stays_off_after_a_second_one() {
        let (_temp, ledger) = ledger();
        let has_zlib = |number, failed: &[&str], codecs: &[&str]| {
            let failed = failed.iter().map(|name| Failed {
                blob: BlobId::of(name.as_bytes()),
                codec: Some("zlib-1.3".to_owned()),
            });
            let codecs = codecs.iter().map(|&codec| codec.to_owned());
            let inventory = Inventory {
                failed: failed.collect(),
                codecs: codecs.collect(),
                ..inventory(number, number, None)
            };
            take(&ledger, &inventory);
            ledger.abilities().unwrap().codecs.contains("zlib-1.3")
        };
        let (old, new) = (["concat", "zlib-1.3"], ["concat", "new-1", "zlib-1.3"]);
        assert!(has_zlib(1, &[], &old));
        assert!(!has_zlib(2, &["a"], &old));
        assert!(!has_zlib(3, &["a"], &old), "the same failure, told again");
        assert!(has_zlib(4, &[], &old));
        assert!(!has_zlib(5, &["b"], &old));
        assert!(!has_zlib(6, &[], &old), "it failed twice");
        assert!(has_zlib(7, &[], &new), "another build of the inside");
    }
}
