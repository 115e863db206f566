//! `inventory`: takes back what an inside says it holds.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    audit::Audit,
    cli::Global,
    exit::{Ended, Exit},
    limit,
};
use gapferry_proto::{
    SiteName, Target,
    inventory::{InstalledList, Inventory},
    limits,
};
use serde_json::{Value, json};

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
            Ok(one) => taken.push(one),
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

/// An inventory that was taken, and what came with it.
struct Taken {
    inventory: Inventory,
    lists: Vec<Came>,
}

/// What came of a list of packages that an inventory names.
struct Came {
    named: InstalledList,
    /// Why it is not taken; then an earlier one stays.
    reason: Option<String>,
}

fn take(home: &Home, site: &SiteName, path: &Utf8Path) -> anyhow::Result<Taken> {
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
    let (contents, lists) = lists(&inventory, path, &ledger);
    let taken = Taken { inventory, lists };
    Audit::of(home.root()).record("inventory", &summary(&taken))?;
    ledger.keep_installed(&contents, &taken.inventory.installed)?;
    ledger.take_inventory(&taken.inventory, &bytes)?;
    Ok(taken)
}

/// Reads the lists beside an inventory that are not known yet.
fn lists(
    inventory: &Inventory,
    path: &Utf8Path,
    ledger: &Ledger,
) -> (Vec<(Target, Vec<u8>)>, Vec<Came>) {
    let (mut contents, mut lists) = (vec![], vec![]);
    for named in inventory.installed.iter().cloned() {
        let mut reason = None;
        if ledger.installed_digest(&named.target) != Some(named.sha256) {
            let beside = path.with_file_name(named.file_name(path.file_name().unwrap_or_default()));
            match limit::read_file(&beside, named.bytes) {
                Ok(bytes) => match confirm::check_list(&named, &bytes) {
                    Ok(_) => contents.push((named.target.clone(), bytes)),
                    Err(error) => reason = Some(format!("{beside} is not taken: {error}")),
                },
                Err(error) => reason = Some(format!("cannot read {beside}: {error}")),
            }
        }
        lists.push(Came { named, reason });
    }
    (contents, lists)
}

fn summary(Taken { inventory, lists }: &Taken) -> Value {
    let list = |came: &Came| {
        let mut value = serde_json::to_value(&came.named).expect("it is plain JSON");
        value["reason"] = json!(came.reason);
        value
    };
    json!({
        "site": inventory.site,
        "number": inventory.number,
        "sequence": inventory.sequence,
        "generation": inventory.generation,
        "snapshot": inventory.snapshot,
        "damaged": inventory.damaged.len(),
        "wants": inventory.wants,
        "installed": lists.iter().map(list).collect::<Vec<_>>(),
    })
}

fn text(Taken { inventory, lists }: &Taken) -> String {
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
    text.push_str(".\n");
    for Came { named, reason } in lists {
        let target = &named.target;
        text.push_str(&match reason {
            None => format!("What nodes of {target} have installed is known.\n"),
            Some(reason) => format!(
                "What nodes of {target} have installed did not come along, and what was known \
                 before counts: {reason}\n"
            ),
        });
    }
    text
}
