//! Seals an export: packs, manifest, envelope, signature, and what a courier reads.
//!
//! In:   a [`Plan`] and who it is for.
//! Out:  a finished folder below the site's ledger, kept until an inventory confirms it.
//!
//! The folder is made under another name and renamed when it is whole, so a kill leaves either
//! a sealed export or nothing that counts. Encryption is not repeatable: once a sequence has a
//! sealed export, that one is used again.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{self, DurableError, at},
    keys::{KeyError, SigningKey},
    pack::{self, PackWriter, WriteError},
    seal::{Recipients, SealError},
};
use gapferry_proto::{
    Digest, Envelope, ExportId, FORMAT, Manifest, Sequence, SiteName,
    envelope::{FileRef, PackRef, Totals, Volume},
    keyset::{Keyset, KeysetError},
    limits,
    manifest::ManifestHead,
    signature::Namespace,
};

use crate::{
    delta::{self, DeltaError, Each, Engine, Made, Tools},
    plan::Plan,
};

/// Why an export cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Delta(#[from] DeltaError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the home's own keyset {0} is damaged")]
    Keyset(Utf8PathBuf, #[source] KeysetError),
    #[error("the home has no keyset; run `gapferry-outside init`")]
    NoKeyset,
}

/// The keyset in force, as it lies in the home.
#[derive(Debug)]
pub struct InForce {
    keyset: Keyset,
    hash: Digest,
    folder: Utf8PathBuf,
}

impl InForce {
    /// Reads the newest keyset of `folder`.
    ///
    /// # Errors
    ///
    /// [`ExportError::NoKeyset`], [`ExportError::Keyset`].
    pub fn read(folder: Utf8PathBuf) -> Result<Self, ExportError> {
        let names = durable::names_in(&folder)?;
        let newest = names.iter().rfind(|name| name.ends_with(".json"));
        let path = folder.join(newest.ok_or(ExportError::NoKeyset)?);
        let bytes = std::fs::read(&path).map_err(at("read", &path))?;
        let keyset = Keyset::parse(&bytes).map_err(|e| ExportError::Keyset(path, e))?;
        Ok(Self { keyset, hash: Digest::of(&bytes), folder })
    }
}

/// What decides the bytes of an export besides its sequence: the blobs that travel, those that they
/// may not build on, the gaps that are accepted, the Kubespray trees, what the inside can follow,
/// the keyset in force, and who may open it. While it stays the same, a sealed export may be used
/// again.
pub fn cargo(plan: &Plan, keysets: &InForce, recipients: &[String], engine: &Engine<'_>) -> Digest {
    let mut text = format!("{:?} {} {}\n", plan.basis, plan.snapshot, keysets.hash);
    let Tools { effort, abilities, raw, .. } = &engine.tools;
    text.push_str(&format!("{effort:?} {abilities:?} {raw:?}\n"));
    for line in recipients {
        text.push_str(&format!("{line}\n"));
    }
    for gap in &plan.accepted_gaps {
        text.push_str(&format!("accepted {gap:?}\n"));
    }
    for tree in &plan.kubespray {
        text.push_str(&format!("kubespray {:?} {}\n", tree.version, tree.tree));
    }
    for id in plan.new_blobs.iter().map(|blob| &blob.id).chain(&plan.damaged) {
        text.push_str(&format!("{id}\n"));
    }
    Digest::of(text.as_bytes())
}

/// Everything that an export is made with.
pub struct Sealer<'a> {
    pub site: &'a SiteName,
    pub sequence: Sequence,
    pub keysets: &'a InForce,
    pub publisher: &'a SigningKey,
    pub recipients: &'a Recipients,
    /// For people; decides nothing.
    pub created: String,
}

/// A sealed export.
#[derive(Debug)]
pub struct Sealed {
    pub folder: Utf8PathBuf,
    pub envelope: Envelope,
    /// None when it was sealed in an earlier run.
    pub made: Option<Made>,
}

/// What was written into packs and manifest.
struct Cargo {
    manifest: FileRef,
    packs: Vec<PackRef>,
    made: Made,
}

impl Sealer<'_> {
    /// Seals `plan` into `exports/<id>`; the folder, the envelope, and what was made.
    ///
    /// # Errors
    ///
    /// [`ExportError`]: nothing was sealed.
    pub fn seal(
        &self,
        plan: &Plan,
        engine: &mut Engine<'_>,
        exports: &Utf8Path,
        each: Each<'_>,
    ) -> Result<Sealed, ExportError> {
        let id = ExportId::new(self.sequence, &plan.snapshot);
        let part = exports.join(format!(".part-{id}"));
        durable::remove(&part)?;
        durable::create_folders(&part)?;
        let cargo = self.write_cargo(plan, &id, engine, &part, each)?;
        let envelope = self.envelope(plan, id, cargo.manifest, cargo.packs);
        self.write_heads(&part, &envelope)?;
        let folder = exports.join(envelope.export.as_str());
        durable::remove(&folder)?;
        durable::rename(&part, &folder)?;
        Ok(Sealed { folder, envelope, made: Some(cargo.made) })
    }

    fn write_cargo(
        &self,
        plan: &Plan,
        id: &ExportId,
        engine: &mut Engine<'_>,
        part: &Utf8Path,
        each: Each<'_>,
    ) -> Result<Cargo, ExportError> {
        let mut writer = PackWriter::new(part, 1, self.recipients, limits::PACK_LEN_BYTES_TARGET);
        let mut made = engine.make(plan, &mut writer, each)?;
        let packs = writer.finish()?;
        let recipes = std::mem::take(&mut made.recipes);
        let bases = delta::bases(&recipes, &plan.held);
        let head = ManifestHead {
            export: id.clone(),
            site: self.site.clone(),
            epoch: self.keysets.keyset.epoch,
            sequence: self.sequence,
            basis: plan.basis,
            snapshot: plan.snapshot,
        };
        let mut manifest = Manifest::new(head, &plan.difference, recipes, bases);
        manifest.accepted_gaps.clone_from(&plan.accepted_gaps);
        manifest.kubespray.clone_from(&plan.kubespray);
        let manifest = manifest.encode();
        let manifest = pack::write_sealed(&part.join("manifest.age"), &manifest, self.recipients)?;
        Ok(Cargo { manifest, packs, made })
    }

    fn envelope(
        &self,
        plan: &Plan,
        export: ExportId,
        manifest: FileRef,
        packs: Vec<PackRef>,
    ) -> Envelope {
        let packed: u64 = packs.iter().map(|pack| pack.file.bytes).sum();
        let volumes = if packs.is_empty() { vec![] } else { vec![Volume { index: 1, packs }] };
        Envelope {
            format: FORMAT,
            export,
            site: self.site.clone(),
            epoch: self.keysets.keyset.epoch,
            sequence: self.sequence,
            keyset_version: self.keysets.keyset.version,
            keyset_sha256: self.keysets.hash,
            basis: plan.basis,
            snapshot: plan.snapshot,
            manifest,
            volumes,
            totals: Totals { export_bytes: packed + manifest.bytes, ..plan.totals },
            minimum_agent: "0.1.0".to_owned(),
            created: self.created.clone(),
            critical: vec![],
        }
    }

    /// Envelope, signature, keysets, the courier's page and the sums of all of it.
    fn write_heads(&self, part: &Utf8Path, envelope: &Envelope) -> Result<(), ExportError> {
        let bytes = envelope.encode();
        durable::write(&part.join("envelope.json"), &bytes)?;
        let signature = self.publisher.sign(Namespace::Envelope, &bytes);
        let name = format!("signatures/{}.sig", self.publisher.public().fingerprint());
        durable::write(&part.join(name), signature.as_bytes())?;
        for name in durable::names_in(&self.keysets.folder)? {
            let path = self.keysets.folder.join(&name);
            let bytes = std::fs::read(&path).map_err(at("read", &path))?;
            durable::write(&part.join("keysets").join(name), &bytes)?;
        }
        durable::write(&part.join("README.txt"), courier_page(envelope).as_bytes())?;
        durable::write(&part.join("SHA256SUMS"), sums(part)?.as_bytes())?;
        Ok(())
    }
}

/// Every file of the export but the sums themselves, as `sha256sum -c` reads them.
///
/// # Errors
///
/// [`ExportError::Durable`].
pub fn sums(folder: &Utf8Path) -> Result<String, ExportError> {
    let mut lines = String::new();
    let files = durable::files_below(folder)?;
    for path in files.into_iter().filter(|path| path != "SHA256SUMS") {
        let whole = folder.join(&path);
        let hashed = std::fs::File::open(&whole)
            .and_then(|mut file| gapferry_common::hashing::hash(&mut file));
        let (digest, _) = hashed.map_err(at("read", &whole))?;
        lines.push_str(&format!("{}  {path}\n", digest.hex()));
    }
    Ok(lines)
}

/// Whether a sealed export still is what its sums say, with no file missing or added.
pub fn is_whole(folder: &Utf8Path) -> bool {
    let said = std::fs::read_to_string(folder.join("SHA256SUMS"));
    matches!((said, sums(folder)), (Ok(said), Ok(found)) if said == found)
}

/// What the courier reads.
fn courier_page(envelope: &Envelope) -> String {
    let packs = envelope.packs().count();
    format!(
        "This folder is a Gapferry export for the site \"{site}\".\n\
         \n\
         Number      {sequence}\n\
         Contents    {packs} packs and a manifest, encrypted; only the site can read them\n\
         \n\
         To carry it: copy the folder {export} with everything in it, with any tool.\n\
         To check it: run  sha256sum -c SHA256SUMS  in this folder, on any machine.\n\
         To hand it over: run  gapferry-inside import PATH  on the site's admin node, where\n\
         PATH is this folder or the medium it lies on.\n\
         \n\
         A file that is damaged or lost cannot do harm: the site refuses the export and says\n\
         what is missing. Nothing here needs to be kept secret; nothing here may be changed.\n",
        site = envelope.site,
        sequence = envelope.sequence,
        export = envelope.export,
    )
}
