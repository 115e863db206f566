//! The ledger of one site: its card, the exports made for it, the inventories it gave back.
//!
//! What the inside is known to hold follows from the newest inventory alone, never from what
//! was sent.

mod abilities;

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError};
use gapferry_proto::{
    BlobId, Digest, ExportId, Sequence, SiteName, Snapshot, SnapshotId, Target,
    card::{CardError, SiteCard},
    inventory::{InstalledList, Inventory, InventoryError},
    snapshot::SnapshotError,
};
use serde::{Deserialize, Serialize};

use crate::{delta::report::BlobReport, wants::book::Book};

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("site {0} is not paired; run `gapferry-outside pair {0}.card`")]
    NotPaired(SiteName),
    #[error("the card of site {site} cannot be used")]
    Card { site: SiteName, source: CardError },
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    #[error("{path} is damaged")]
    Record { path: Utf8PathBuf, source: serde_json::Error },
    #[error("{path} is damaged")]
    Inventory { path: Utf8PathBuf, source: InventoryError },
    #[error("{path} is damaged")]
    Snapshot { path: Utf8PathBuf, source: SnapshotError },
    #[error("{path} no longer hashes to its name")]
    OtherSnapshot { path: Utf8PathBuf },
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// One export as the ledger remembers it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Record {
    pub export: ExportId,
    pub sequence: Sequence,
    pub basis: Option<SnapshotId>,
    pub snapshot: SnapshotId,
    /// What decides its bytes: the blobs that travel, the keyset, the recipients.
    pub cargo: Digest,
    /// Whether an inventory said that the inside has applied it.
    pub confirmed: bool,
}

/// What the inside is known to hold.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    pub id: Option<SnapshotId>,
    /// The sequence whose application the inventory confirms.
    pub sequence: Option<Sequence>,
    pub snapshot: Snapshot,
    pub damaged: Vec<BlobId>,
}

impl Basis {
    /// The blobs that may be built upon, with their lengths in bytes.
    pub fn held(&self) -> BTreeMap<BlobId, u64> {
        let damaged: BTreeSet<&BlobId> = self.damaged.iter().collect();
        let mut held = self.snapshot.blobs();
        held.retain(|id, _| !damaged.contains(id));
        held
    }
}

/// The ledger of a paired site.
#[derive(Clone, Debug)]
pub struct Ledger {
    site: SiteName,
    folder: Utf8PathBuf,
}

impl Ledger {
    /// Opens the ledger of a site that was paired.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NotPaired`].
    pub fn open(folder: Utf8PathBuf, site: &SiteName) -> Result<Self, LedgerError> {
        if !folder.join("site.card").is_file() {
            return Err(LedgerError::NotPaired(site.clone()));
        }
        Ok(Self { site: site.clone(), folder })
    }

    /// Pairs a site: keeps its card as it came.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Durable`].
    pub fn pair(folder: Utf8PathBuf, site: &SiteName, card: &[u8]) -> Result<Self, LedgerError> {
        durable::write(&folder.join("site.card"), card)?;
        Self::open(folder, site)
    }

    pub const fn site(&self) -> &SiteName {
        &self.site
    }

    /// The site's card.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Read`], [`LedgerError::Card`].
    pub fn card(&self) -> Result<SiteCard, LedgerError> {
        let bytes = read(&self.folder.join("site.card"))?;
        let card = SiteCard::parse(&bytes);
        card.map_err(|source| LedgerError::Card { site: self.site.clone(), source })
    }

    /// Remembers what an export was made of.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Durable`].
    pub fn write_reports(
        &self,
        export: &ExportId,
        reports: &[BlobReport],
    ) -> Result<(), LedgerError> {
        let bytes = serde_json::to_vec(reports).expect("a report is plain JSON");
        Ok(durable::write(&self.report_path(export), &bytes)?)
    }

    /// What an export was made of; nothing for one that an older agent made.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn reports(&self, export: &ExportId) -> Result<Vec<BlobReport>, LedgerError> {
        let path = self.report_path(export);
        if !path.is_file() {
            return Ok(vec![]);
        }
        let parsed = serde_json::from_slice(&read(&path)?);
        parsed.map_err(|source| LedgerError::Record { path, source })
    }

    fn report_path(&self, export: &ExportId) -> Utf8PathBuf {
        self.folder.join("reports").join(format!("{export}.json"))
    }

    /// Where the sealed exports lie.
    pub fn exports(&self) -> Utf8PathBuf {
        self.folder.join("exports")
    }

    /// The folder of one sealed export.
    pub fn export_folder(&self, export: &ExportId) -> Utf8PathBuf {
        self.exports().join(export.as_str())
    }

    /// Every export that was sealed, by sequence.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Read`], [`LedgerError::Record`].
    pub fn records(&self) -> Result<Vec<Record>, LedgerError> {
        let mut records = vec![];
        for path in files_in(&self.folder.join("records"))? {
            let parsed = serde_json::from_slice(&read(&path)?);
            records.push(parsed.map_err(|source| LedgerError::Record { path, source })?);
        }
        records.sort_by_key(|record: &Record| record.sequence);
        Ok(records)
    }

    /// Remembers an export and the snapshot it leads to.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Durable`].
    pub fn record(&self, record: &Record, snapshot: &Snapshot) -> Result<(), LedgerError> {
        durable::write(&self.snapshot_path(record.snapshot), &snapshot.encode())?;
        self.write_record(record)
    }

    fn write_record(&self, record: &Record) -> Result<(), LedgerError> {
        let path = self.folder.join("records").join(format!("{}.json", record.export));
        let bytes = serde_json::to_vec_pretty(record).expect("a record is plain JSON");
        Ok(durable::write(&path, &bytes)?)
    }

    /// The newest inventory.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Read`], [`LedgerError::Inventory`].
    pub fn inventory(&self) -> Result<Option<Inventory>, LedgerError> {
        Ok(self.newest_inventories(1)?.pop())
    }

    /// At most so many inventories, the newest first; older ones that cannot be read are passed
    /// over.
    fn newest_inventories(&self, most: usize) -> Result<Vec<Inventory>, LedgerError> {
        let files = files_in(&self.folder.join("inventories"))?;
        let mut parsed = files.into_iter().rev().take(most).map(|path| {
            let parsed = Inventory::parse(&read(&path)?);
            parsed.map_err(|source| LedgerError::Inventory { path, source })
        });
        let newest = parsed.next().transpose()?;
        Ok(newest.into_iter().chain(parsed.flatten()).collect())
    }

    /// Keeps a verified inventory, and drops the sealed packs of the exports that it confirms.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn take_inventory(&self, inventory: &Inventory, bytes: &[u8]) -> Result<(), LedgerError> {
        let name = format!("inventories/{:012}.json", inventory.number);
        durable::write(&self.folder.join(name), bytes)?;
        let mut book = self.book()?;
        book.take(&inventory.wants);
        self.write_book(&book)?;
        for mut record in self.records()? {
            if record.sequence <= inventory.sequence && !record.confirmed {
                record.confirmed = true;
                self.write_record(&record)?;
            }
            if record.confirmed {
                durable::remove(&self.export_folder(&record.export))?;
            }
        }
        Ok(())
    }

    /// Where the lists of what nodes have installed lie, `<target>.txt`.
    pub fn installed_folder(&self) -> Utf8PathBuf {
        installed_folder(&self.folder)
    }

    /// The digest of the list of a target, if one is kept.
    pub fn installed_digest(&self, target: &Target) -> Option<Digest> {
        let path = self.installed_folder().join(format!("{target}.txt"));
        std::fs::read(path).ok().map(|bytes| Digest::of(&bytes))
    }

    /// Keeps lists that came with an inventory, and drops those of targets that it does not name.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Durable`].
    pub fn keep_installed(
        &self,
        lists: &[(Target, Vec<u8>)],
        named: &[InstalledList],
    ) -> Result<(), LedgerError> {
        let folder = self.installed_folder();
        for (target, bytes) in lists {
            durable::write(&folder.join(format!("{target}.txt")), bytes)?;
        }
        let is_named = |path: &Utf8PathBuf| {
            named.iter().any(|list| path.file_stem() == Some(list.target.as_str()))
        };
        for path in files_in(&folder)?.into_iter().filter(|path| !is_named(path)) {
            durable::remove(&path)?;
        }
        Ok(())
    }

    /// What the site wants.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn book(&self) -> Result<Book, LedgerError> {
        let path = self.folder.join("wants.json");
        if !path.is_file() {
            // An agent before this one kept no book.
            let mut book = Book::default();
            book.take(&self.inventory()?.map(|inventory| inventory.wants).unwrap_or_default());
            return Ok(book);
        }
        let parsed = serde_json::from_slice(&read(&path)?);
        parsed.map_err(|source| LedgerError::Record { path, source })
    }

    /// Keeps what the site wants.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Durable`].
    pub fn write_book(&self, book: &Book) -> Result<(), LedgerError> {
        let bytes = serde_json::to_vec_pretty(book).expect("a book is plain JSON");
        Ok(durable::write(&self.folder.join("wants.json"), &bytes)?)
    }

    /// What the newest inventory says the inside holds; nothing when there is none, or when it
    /// names a snapshot that this outside never made.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn basis(&self) -> Result<Basis, LedgerError> {
        let Some(inventory) = self.inventory()? else { return Ok(Basis::default()) };
        let Some(id) = inventory.snapshot else { return Ok(Basis::default()) };
        let path = self.snapshot_path(id);
        if !path.is_file() {
            tracing::warn!(snapshot = %id, "the inside holds a snapshot unknown here; all travels");
            return Ok(Basis::default());
        }
        let bytes = read(&path)?;
        if SnapshotId::of(&bytes) != id {
            return Err(LedgerError::OtherSnapshot { path });
        }
        let snapshot = Snapshot::decode(&bytes);
        let snapshot = snapshot.map_err(|source| LedgerError::Snapshot { path, source })?;
        Ok(Basis {
            id: Some(id),
            sequence: Some(inventory.sequence),
            snapshot,
            damaged: inventory.damaged,
        })
    }

    /// The sequence of the next export: above every one made here or applied inside.
    ///
    /// # Errors
    ///
    /// [`LedgerError`].
    pub fn next_sequence(&self) -> Result<Sequence, LedgerError> {
        let made = self.records()?.last().map_or(Sequence(0), |record| record.sequence);
        let applied = self.inventory()?.map_or(Sequence(0), |inventory| inventory.sequence);
        Ok(made.max(applied).next())
    }

    fn snapshot_path(&self, id: SnapshotId) -> Utf8PathBuf {
        self.folder.join("snapshots").join(format!("{}.cbor", id.hex()))
    }
}

/// Where the lists of packages of a site lie, whose ledger is `ledger`.
pub fn installed_folder(ledger: &Utf8Path) -> Utf8PathBuf {
    ledger.join("installed")
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, LedgerError> {
    std::fs::read(path).map_err(|source| LedgerError::Read { path: path.to_owned(), source })
}

/// The finished files of a folder by name; none when there is no folder.
fn files_in(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, LedgerError> {
    let failed = |source| LedgerError::Read { path: folder.to_owned(), source };
    let entries = match folder.read_dir_utf8() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        other => other.map_err(failed)?,
    };
    let mut files = vec![];
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().starts_with('.') {
            files.push(entry.path().to_owned());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn ledger() -> (tempfile::TempDir, Ledger) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        let ledger = Ledger::pair(folder, &"prod".parse().unwrap(), b"card").unwrap();
        (temp, ledger)
    }

    pub fn inventory(number: u64, sequence: u64, snapshot: Option<SnapshotId>) -> Inventory {
        Inventory {
            format: 1,
            site: "prod".parse().unwrap(),
            number,
            generation: None,
            snapshot,
            epoch: 1,
            sequence: Sequence(sequence),
            damaged: vec![],
            failed: vec![],
            wants: vec![],
            installed: vec![],
            codecs: vec![],
            decode_memory_bytes: 0,
            critical: vec![],
        }
    }

    pub fn take(ledger: &Ledger, inventory: &Inventory) {
        ledger.take_inventory(inventory, &inventory.encode()).unwrap();
    }

    #[test]
    fn what_was_sent_is_no_basis_until_an_inventory_says_so() {
        let (_temp, ledger) = ledger();
        let snapshot = Snapshot::default();
        let record = Record {
            export: ExportId::new(Sequence(1), &snapshot.id()),
            sequence: Sequence(1),
            basis: None,
            snapshot: snapshot.id(),
            cargo: Digest::of(b"cargo"),
            confirmed: false,
        };
        ledger.record(&record, &snapshot).unwrap();
        assert_eq!(ledger.basis().unwrap().id, None);
        assert_eq!(ledger.next_sequence().unwrap(), Sequence(2));

        std::fs::create_dir_all(ledger.export_folder(&record.export)).unwrap();
        take(&ledger, &inventory(1, 1, Some(snapshot.id())));
        assert_eq!(ledger.basis().unwrap().id, Some(snapshot.id()));
        assert_eq!(ledger.records().unwrap(), [Record { confirmed: true, ..record.clone() }]);
        assert!(!ledger.export_folder(&record.export).exists(), "confirmed packs are dropped");
    }

    #[test]
    fn lists_are_kept_by_target_until_an_inventory_no_longer_names_them() {
        let (_temp, ledger) = ledger();
        let target = |text: &str| text.parse::<Target>().unwrap();
        let named = |text: &str| InstalledList {
            target: target(text),
            bytes: 4,
            sha256: Digest::of(b"a\t1\n"),
        };
        let list = |text: &str| (target(text), b"a\t1\n".to_vec());
        let (one, other) = ("debian-13", "el9");
        ledger.keep_installed(&[list(one), list(other)], &[named(one), named(other)]).unwrap();
        assert_eq!(ledger.installed_digest(&target(other)), Some(Digest::of(b"a\t1\n")));
        // The list of `el9` did not come along, and the older one stays.
        ledger.keep_installed(&[], &[named(other)]).unwrap();
        let kept = [one, other].map(|text| ledger.installed_digest(&target(text)).is_some());
        assert_eq!(kept, [false, true]);
    }

    #[test]
    fn the_next_sequence_is_above_what_the_inside_applied() {
        let (_temp, ledger) = ledger();
        take(&ledger, &inventory(9, 41, None));
        assert_eq!(ledger.next_sequence().unwrap(), Sequence(42));
    }

    #[test]
    fn a_snapshot_never_made_here_is_no_basis() {
        let (_temp, ledger) = ledger();
        take(&ledger, &inventory(1, 1, Some(SnapshotId::of(b"elsewhere"))));
        assert_eq!(ledger.basis().unwrap().id, None);
    }
}
