//! The inventory: what this site holds and wants, signed, for the way back.
//!
//! Pure: facts in, a document out; `cli` reads the facts and writes the file.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{self, DurableError},
    peel,
};
use gapferry_proto::{
    BlobId, FORMAT, Sequence, SiteName, SnapshotId,
    inventory::{Failed, InstalledList, Inventory, Want},
    limits,
};

use crate::generation::Current;

/// What goes into an inventory.
#[derive(Debug)]
pub struct Facts<'a> {
    pub site: &'a SiteName,
    pub number: u64,
    pub current: Option<&'a Current>,
    /// The snapshot of the last sequence applied; after a rollback not the one that is served.
    pub newest: Option<SnapshotId>,
    pub damaged: Vec<BlobId>,
    pub failed: Vec<Failed>,
    pub wants: Vec<Want>,
    pub installed: Vec<InstalledList>,
}

/// Puts the inventory together.
pub fn of(facts: Facts) -> Inventory {
    Inventory {
        format: FORMAT,
        site: facts.site.clone(),
        number: facts.number,
        generation: facts.current.map(|current| current.generation),
        snapshot: facts.newest,
        epoch: facts.current.map_or(0, |current| current.epoch),
        sequence: facts.current.map_or(Sequence(0), |current| current.sequence),
        damaged: facts.damaged,
        failed: facts.failed,
        wants: facts.wants,
        installed: facts.installed,
        codecs: peel::codecs(),
        decode_memory_bytes: limits::DECODE_MEMORY_BYTES,
        critical: vec![],
    }
}

/// Remembers blobs that an import found lacking, one a line.
///
/// # Errors
///
/// [`DurableError`].
pub fn write_suspects(home: &Utf8Path, blobs: &[BlobId]) -> Result<(), DurableError> {
    let lines: String = blobs.iter().map(|blob| format!("{blob}\n")).collect();
    durable::write(&home.join(SUSPECTS), lines.as_bytes())
}

/// The blobs whose bytes an inventory looks at, and not their length alone.
pub fn read_suspects(home: &Utf8Path) -> BTreeSet<BlobId> {
    let text = std::fs::read_to_string(home.join(SUSPECTS)).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Remembers blobs that an import could not rebuild; none after one that could.
///
/// # Errors
///
/// [`DurableError`].
pub fn write_failed(home: &Utf8Path, failed: &[Failed]) -> Result<(), DurableError> {
    if failed.is_empty() {
        return durable::remove(&home.join(FAILED));
    }
    let bytes = serde_json::to_vec_pretty(failed).expect("it is plain JSON");
    durable::write(&home.join(FAILED), &bytes)
}

/// The blobs that the last import could not rebuild.
pub fn read_failed(home: &Utf8Path) -> Vec<Failed> {
    let bytes = std::fs::read(home.join(FAILED)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Where the number of the last inventory stands; there is no such file before the first.
pub fn count_path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/inventories")
}

const FAILED: &str = "state/failed.json";

const SUSPECTS: &str = "state/suspects";

/// The name of the file on the medium.
pub fn file_name(number: u64) -> String {
    format!("inventory-{number:06}.json")
}
