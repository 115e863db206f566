//! Inventories: what the inside says it holds and wants. `FORMAT.md`, section 8.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use crate::want::Want;
use crate::{BlobId, Digest, Sequence, SiteName, SnapshotId, Target, limits};

/// Why bytes are no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error("the inventory has more than {max} bytes", max = limits::INVENTORY_LEN_BYTES_MAX)]
    TooLong,
    #[error("the inventory cannot be read")]
    Json(#[source] serde_json::Error),
    #[error("the inventory has format {0}; update this agent")]
    Format(u32),
    #[error(
        "the inventory names more than {} lists of packages, too long ones, or one target twice",
        limits::INSTALLED_TARGETS_MAX
    )]
    Lists,
    #[error("the inventory needs {0:?}, which this agent does not know; update it")]
    Critical(String),
}

/// The short form as JSON: enough for an outside that has the snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Inventory {
    pub format: u32,
    pub site: SiteName,
    /// Counts the inventories of this site, so that an older one is known as such.
    pub number: u64,
    /// The sequence whose generation is served; differs from `sequence` after a rollback.
    pub generation: Option<Sequence>,
    /// The newest snapshot whose blobs are all held; null before the first import.
    pub snapshot: Option<SnapshotId>,
    pub epoch: u64,
    /// The last sequence applied; zero before the first import.
    pub sequence: Sequence,
    /// Blobs of the snapshot that are missing or no longer hash to their names.
    #[serde(default)]
    pub damaged: Vec<BlobId>,
    /// Blobs that the last import could not rebuild, and what they were made with. The next
    /// export carries them raw and without those codecs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// What was asked for and could not be served.
    #[serde(default)]
    pub wants: Vec<Want>,
    /// What nodes have installed, by target: the lists lie beside the inventory, so that it stays
    /// short enough for a code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub installed: Vec<InstalledList>,
    /// Codecs that the inside can follow, by id.
    #[serde(default)]
    pub codecs: Vec<String>,
    /// Memory that one rebuild may use, in bytes.
    pub decode_memory_bytes: u64,
    #[serde(default)]
    pub critical: Vec<String>,
}

/// A blob whose recipe gave other bytes, or none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub struct Failed {
    pub blob: BlobId,
    /// The node or encoder that is to blame; none when it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
}

/// A list of packages that lies beside the inventory; `installed::List` reads it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct InstalledList {
    pub target: Target,
    pub bytes: u64,
    pub sha256: Digest,
}

impl InstalledList {
    /// The name of the list beside an inventory file: `inventory-000004.debian-13.txt` beside
    /// `inventory-000004.json`.
    pub fn file_name(&self, inventory: &str) -> String {
        let stem = inventory.strip_suffix(".json").unwrap_or(inventory);
        format!("{stem}.{}.txt", self.target)
    }
}

impl Inventory {
    /// Reads an inventory; nothing is trusted yet.
    ///
    /// # Errors
    ///
    /// [`InventoryError`]: ask the inside for another.
    pub fn parse(bytes: &[u8]) -> Result<Self, InventoryError> {
        if limits::INVENTORY_LEN_BYTES_MAX < bytes.len() as u64 {
            return Err(InventoryError::TooLong);
        }
        let inventory: Self = serde_json::from_slice(bytes).map_err(InventoryError::Json)?;
        if inventory.format != crate::FORMAT {
            return Err(InventoryError::Format(inventory.format));
        }
        if let Some(field) = inventory.critical.first() {
            return Err(InventoryError::Critical(field.clone()));
        }
        let is_long = |list: &InstalledList| limits::INSTALLED_LEN_BYTES_MAX < list.bytes;
        let lists = &inventory.installed;
        let is_too_much = || {
            let targets: BTreeSet<_> = lists.iter().map(|list| &list.target).collect();
            let sum_bytes: u64 = lists.iter().map(|list| list.bytes).sum();
            targets.len() < lists.len() || limits::INSTALLED_SUM_BYTES_MAX < sum_bytes
        };
        if limits::INSTALLED_TARGETS_MAX < lists.len() || lists.iter().any(is_long) || is_too_much()
        {
            return Err(InventoryError::Lists);
        }
        Ok(inventory)
    }

    /// The bytes to sign and store.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("an inventory is plain JSON");
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn list(bytes: u64) -> InstalledList {
        let target = "debian-13".parse().unwrap();
        InstalledList { target, bytes, sha256: Digest::of(b"libc6\t2.36-9") }
    }

    fn inventory() -> Inventory {
        Inventory {
            format: 1,
            site: "prod".parse().unwrap(),
            number: 4,
            generation: Some(Sequence(2)),
            snapshot: Some(SnapshotId::of(b"s")),
            epoch: 1,
            sequence: Sequence(3),
            damaged: vec![BlobId::of(b"d")],
            failed: vec![Failed { blob: BlobId::of(b"f"), codec: Some("zlib-1.3".into()) }],
            wants: vec![Want::new(Kind::Deb, "socat", Some("1.8"), None).unwrap()],
            installed: vec![list(9)],
            codecs: vec!["blob".into(), "concat".into()],
            decode_memory_bytes: 512 << 20,
            critical: vec![],
        }
    }

    #[test]
    fn an_inventory_reads_back() {
        assert_eq!(Inventory::parse(&inventory().encode()).unwrap(), inventory());
    }

    #[test]
    fn a_list_lies_beside_its_inventory_and_too_many_too_long_or_doubled_ones_are_refused() {
        let name = list(1).file_name("inventory-000004.json");
        assert_eq!(name, "inventory-000004.debian-13.txt");
        let (max, sum_max) = (limits::INSTALLED_LEN_BYTES_MAX, limits::INSTALLED_SUM_BYTES_MAX);
        let of = |installed| Inventory::parse(&Inventory { installed, ..inventory() }.encode());
        let several = |count: u64, bytes| -> Vec<InstalledList> {
            let target = |number| format!("t{number}").parse().unwrap();
            (0..count)
                .map(|number| InstalledList { target: target(number), ..list(bytes) })
                .collect()
        };
        let targets_max = limits::INSTALLED_TARGETS_MAX as u64;
        assert!(of(several(targets_max, 1)).is_ok());
        assert!(of(several(sum_max / max, max)).is_ok());
        for lists in [
            several(targets_max + 1, 1),
            several(1, max + 1),
            several(sum_max / max + 1, max),
            vec![list(1), list(1)],
        ] {
            assert!(matches!(of(lists), Err(InventoryError::Lists)));
        }
    }

    #[test]
    fn what_is_newer_and_critical_is_refused() {
        let newer = Inventory { format: 2, ..inventory() };
        assert!(matches!(Inventory::parse(&newer.encode()), Err(InventoryError::Format(2))));
        let critical = Inventory { critical: vec!["leaves".into()], ..inventory() };
        assert!(matches!(Inventory::parse(&critical.encode()), Err(InventoryError::Critical(_))));
    }
}
