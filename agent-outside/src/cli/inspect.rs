//! `inspect`: reads an export without keys: what it says of itself, and what of it is there.

use std::{fs::File, io::Read};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    cli::{Global, human_bytes},
    durable,
    exit::{Ended, Exit},
    hashing, limit,
};
use gapferry_proto::{
    Envelope,
    envelope::{FileRef, pack_path},
    limits,
    signature::{Namespace, parse_signature, verified_signer},
};
use serde_json::json;

#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// An export folder, or a medium with one
    dir: Utf8PathBuf,
}

pub fn run(args: &InspectArgs, global: &Global) -> anyhow::Result<Exit> {
    let folder = export_folder(&args.dir)?;
    let path = folder.join("envelope.json");
    let bytes = limit::read_file(&path, limits::ENVELOPE_LEN_BYTES_MAX)
        .map_err(|e| Ended::because(Exit::Usage, format!("cannot read {path}"), e))?;
    let envelope = Envelope::parse(&bytes)
        .map_err(|e| Ended::because(Exit::Refused, format!("{path} is not accepted"), e))?;
    let signers = signers(&folder, &bytes);
    let (missing, damaged) = look(&folder, &envelope);
    let whole = missing.is_empty() && damaged.is_empty() && !signers.is_empty();
    let document = json!({
        "envelope": envelope,
        "signers": signers,
        "missing": missing,
        "damaged": damaged,
        "done": folder.join("DONE").is_file(),
    });
    global.print(&document, || {
        let mut text = format!(
            "Export     {}\nSite       {}\nSequence   {}, epoch {}\nBasis      {}\nSnapshot   {}\n\
             Artifacts  {}, {} new\nCarries    {} for {} as published\n",
            envelope.export,
            envelope.site,
            envelope.sequence,
            envelope.epoch,
            envelope.basis.map_or_else(|| "nothing".to_owned(), |basis| basis.to_string()),
            envelope.snapshot,
            envelope.totals.artifacts,
            envelope.totals.artifacts_new,
            human_bytes(envelope.totals.export_bytes),
            human_bytes(envelope.totals.published_bytes_new),
        );
        for signer in &signers {
            text += &format!("Signed by  {signer}\n");
        }
        for (word, paths) in [("Missing", &missing), ("Damaged", &damaged)] {
            for path in paths {
                text += &format!("{word:10} {path}\n");
            }
        }
        if signers.is_empty() {
            text += "Signed by  nobody: no good signature lies in signatures/\n";
        }
        text + if whole { "Every pack is there and whole." } else { "Copy the export again." }
    });
    Ok(if whole { Exit::Done } else { Exit::Incomplete })
}

/// The folder itself, or the newest export on a medium.
fn export_folder(dir: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    if dir.join("envelope.json").is_file() {
        return Ok(dir.to_owned());
    }
    let mut found = vec![];
    let sites = dir.join("gapferry");
    for site in durable::names_in(&sites).unwrap_or_default() {
        for export in durable::names_in(&sites.join(&site)).unwrap_or_default() {
            let folder = sites.join(&site).join(&export);
            if folder.join("envelope.json").is_file() {
                found.push((export, folder));
            }
        }
    }
    found.sort();
    match found.pop() {
        Some((_, folder)) => Ok(folder),
        None => Err(Ended::new(Exit::Usage, format!("{dir} holds no export")).into()),
    }
}

/// Who signed the envelope; whether that key may, only the site knows.
fn signers(folder: &Utf8Path, envelope: &[u8]) -> Vec<String> {
    let folder = folder.join("signatures");
    let names = durable::names_in(&folder).unwrap_or_default();
    let signer = |name: &String| {
        let max = limits::SIGNATURE_LEN_BYTES_MAX;
        let text = limit::read_file(&folder.join(name), max).ok()?;
        let sig = parse_signature(&text).ok()?;
        Some(verified_signer(&sig, Namespace::Envelope, envelope)?.to_string())
    };
    names.iter().take(limits::SIGNATURES_MAX).filter_map(signer).collect()
}

/// Hashes every file that the envelope names.
fn look(folder: &Utf8Path, envelope: &Envelope) -> (Vec<String>, Vec<String>) {
    let packs = envelope.packs().map(|(v, pack)| (pack_path(v, pack.index), pack.file));
    let manifest = std::iter::once(("manifest.age".to_owned(), envelope.manifest));
    let (mut missing, mut damaged) = (vec![], vec![]);
    for (path, expected) in manifest.chain(packs) {
        match hash(&folder.join(&path), expected) {
            None => missing.push(path),
            Some(found) if found != expected => damaged.push(path),
            Some(_) => {}
        }
    }
    (missing, damaged)
}

/// None when it is no plain file. Reads one byte more than expected at most.
fn hash(path: &Utf8Path, expected: FileRef) -> Option<FileRef> {
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?.take(expected.bytes.saturating_add(1));
    let (sha256, bytes) = hashing::hash(&mut file).ok()?;
    Some(FileRef { bytes, sha256 })
}
