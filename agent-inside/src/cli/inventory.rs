//! `inventory`: what this site holds and wants, signed, for the way back.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    cli::Global,
    durable,
    exit::{Ended, Exit},
};
use gapferry_proto::{BlobRef, inventory::Inventory, signature::Namespace};
use serde_json::json;

use crate::{
    generation::State,
    home::Home,
    installed::{self, Kept},
    inventory::{self, Facts, file_name},
    wants,
};

#[derive(Debug, clap::Args)]
pub struct InventoryArgs {
    /// The medium, or any folder
    #[arg(long, value_name = "PATH")]
    to: Utf8PathBuf,
}

pub fn run(args: &InventoryArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    if !args.to.is_dir() {
        let what = format!("{} is no folder; mount the medium first", args.to);
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let _lock = home.lock()?;
    let lists = installed::all(home.root())?;
    let inventory = take(home, &lists)?;
    let bytes = inventory.encode();
    let signature = home.identity_key()?.sign(Namespace::Inventory, &bytes);
    let below = Utf8Path::new("gapferry").join(home.site().as_str());
    let folder = durable::create_folders_on(&args.to, &below)?;
    let path = folder.join(file_name(inventory.number));
    for (list, named) in lists.iter().zip(&inventory.installed) {
        durable::write(&folder.join(named.file_name(&file_name(inventory.number))), &list.bytes)?;
    }
    durable::write(&Utf8PathBuf::from(format!("{path}.sig")), signature.as_bytes())?;
    durable::write(&path, &bytes)?;
    let document = json!({
        "path": path,
        "number": inventory.number,
        "sequence": inventory.sequence,
        "snapshot": inventory.snapshot,
        "damaged": inventory.damaged,
        "failed": inventory.failed,
        "wants": inventory.wants,
        "installed": inventory.installed,
    });
    global.print(&document, || {
        let lists = inventory.installed.iter().map(|list| list.target.as_str());
        let lists: Vec<&str> = lists.collect();
        let lists = match lists.len() {
            0 => String::new(),
            _ => format!(", lists of packages of {}", lists.join(", ")),
        };
        format!(
            "{path}\nHolds export {}, {} blobs damaged, {} wants{lists}. Take it to the bastion.",
            inventory.sequence,
            inventory.damaged.len(),
            inventory.wants.len()
        )
    });
    Ok(Exit::Done)
}

fn take(home: &Home, lists: &[Kept]) -> anyhow::Result<Inventory> {
    let state = State::of(home.root());
    let current = state.current()?;
    let newest = match &current {
        Some(current) => Some(state.generation(current.sequence)?.snapshot),
        None => None,
    };
    let store = home.store()?;
    let snapshot = newest.map(|id| state.snapshot(id)).transpose()?.flatten().unwrap_or_default();
    let suspects = inventory::read_suspects(home.root());
    let mut damaged = vec![];
    for (id, len_bytes) in snapshot.blobs() {
        let blob = BlobRef { id, len_bytes };
        if !store.holds(&blob) || (suspects.contains(&id) && !store.verify(&blob)?) {
            damaged.push(id);
        }
    }
    let facts = Facts {
        site: home.site(),
        number: next_number(home.root())?,
        current: current.as_ref(),
        newest,
        damaged,
        failed: inventory::read_failed(home.root()),
        wants: wants::unmet(wants::read(home.root())?, &snapshot)
            .into_iter()
            .map(|noted| noted.want)
            .collect(),
        installed: lists.iter().map(Kept::named).collect(),
    };
    Ok(inventory::of(facts))
}

/// Counts up, durably, before the inventory is given out.
fn next_number(home: &Utf8Path) -> anyhow::Result<u64> {
    let path = inventory::count_path(home);
    let last = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse()?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0_u64,
        Err(e) => return Err(durable::at("read", &path)(e).into()),
    };
    durable::write(&path, format!("{}\n", last + 1).as_bytes())?;
    Ok(last + 1)
}
