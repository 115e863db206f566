//! `inventory`: takes back what an inside says it holds.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    audit::Audit,
    cli::Global,
    exit::{Ended, Exit},
    limit,
};
use gapferry_proto::{SiteName, inventory::Inventory, limits};
use serde_json::json;

use crate::{
    confirm::{self, Known},
    home::Home,
    ledger::Ledger,
};

#[derive(Debug, clap::Args)]
pub struct InventoryArgs {
    /// An inventory file, or the medium it lies on
    path: Utf8PathBuf,
}

pub fn run(args: &InventoryArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let files = found(&args.path, home);
    if files.is_empty() {
        let what = format!("{} holds no inventory of a paired site", args.path);
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let (mut taken, mut failed) = (vec![], None);
    for (site, path) in files {
        match take(home, &site, &path) {
            Ok(inventory) => taken.push(inventory),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if taken.is_empty() {
        return failed.map_or(Ok(Exit::Done), Err);
    }
    let document = json!({"inventories": taken.iter().map(summary).collect::<Vec<_>>()});
    global.print(&document, || taken.iter().map(text).collect());
    // What could be taken is taken; the first that could not ends the run.
    failed.map_or(Ok(Exit::Done), Err)
}

/// The file named, or the newest inventory of each paired site on the medium.
fn found(path: &Utf8Path, home: &Home) -> Vec<(SiteName, Utf8PathBuf)> {
    if path.is_file() {
        let said = limit::read_file(path, limits::INVENTORY_LEN_BYTES_MAX)
            .ok()
            .and_then(|bytes| Inventory::parse(&bytes).ok());
        let site = said.map(|inventory| inventory.site).or_else(|| home.sites().pop());
        return site.map(|site| (site, path.to_owned())).into_iter().collect();
    }
    let newest = |site: SiteName| {
        let folder = path.join("gapferry").join(site.as_str());
        let entries = folder.read_dir_utf8().ok()?.flatten();
        let is_inventory = |name: &str| name.starts_with("inventory-") && name.ends_with(".json");
        let newest = entries
            .filter(|e| is_inventory(e.file_name()))
            .map(camino::Utf8DirEntry::into_path)
            .max()?;
        Some((site, newest))
    };
    home.sites().into_iter().filter_map(newest).collect()
}

fn take(home: &Home, site: &SiteName, path: &Utf8Path) -> anyhow::Result<Inventory> {
    let read = |path: &Utf8Path, max| {
        limit::read_file(path, max)
            .map_err(|e| Ended::because(Exit::Usage, format!("cannot read {path}"), e))
    };
    let bytes = read(path, limits::INVENTORY_LEN_BYTES_MAX)?;
    let sig = read(&Utf8PathBuf::from(format!("{path}.sig")), limits::SIGNATURE_LEN_BYTES_MAX)?;
    let ledger = Ledger::open(home.ledger(site), site)?;
    let (_, identity) = ledger.card()?.identity()?;
    let newest = ledger.inventory()?;
    let known = Known { site, identity: &identity, newest: newest.as_ref() };
    let inventory = confirm::check(&known, &bytes, &sig)?;
    Audit::of(home.root()).record("inventory", &summary(&inventory))?;
    ledger.take_inventory(&inventory, &bytes)?;
    Ok(inventory)
}

fn summary(inventory: &Inventory) -> serde_json::Value {
    json!({
        "site": inventory.site,
        "number": inventory.number,
        "sequence": inventory.sequence,
        "generation": inventory.generation,
        "snapshot": inventory.snapshot,
        "damaged": inventory.damaged.len(),
        "wants": inventory.wants,
    })
}

fn text(inventory: &Inventory) -> String {
    let mut text =
        format!("Site {} holds what export {} brought", inventory.site, inventory.sequence);
    if !inventory.damaged.is_empty() {
        text.push_str(&format!("; {} blobs are damaged and travel again", inventory.damaged.len()));
    }
    if !inventory.wants.is_empty() {
        text.push_str(&format!("; its clients lacked {} things:", inventory.wants.len()));
        for want in &inventory.wants {
            text.push_str(&format!("\n  {} {}", want.kind, want.words()));
        }
        text.push_str("\nThe next `gapferry-outside sync` resolves them");
    }
    text + ".\n"
}
