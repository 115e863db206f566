//! `status` and `sites`: what this outside holds and knows.

use gapferry_common::{
    cli::{Global, human_bytes},
    durable::at,
    exit::Exit,
};
use serde_json::{Value, json};

use crate::{home::Home, ledger::Ledger, lock};

pub fn run(home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let store = home.store()?;
    let (mut blobs, mut bytes) = (0_u64, 0);
    for blob in store.blobs() {
        bytes += blob.map_err(at("list", store.root()))?.len_bytes;
        blobs += 1;
    }
    let mut waybills = vec![];
    for name in home.waybills() {
        let locks = lock::in_force(&home.locks(&name))?;
        let artifacts = locks.first().map_or(0, |lock| lock.artifacts.len());
        waybills.push(json!({"name": name, "artifacts": artifacts, "locks": locks.len()}));
    }
    let insecure_root = home.root().join("keys/root-insecure").exists();
    let document = json!({
        "home": home.root(),
        "blobs": blobs,
        "bytes_stored": bytes,
        "waybills": waybills,
        "sites": site_values(home)?,
        "insecure_root": insecure_root,
    });
    global.print(&document, || {
        let mut text =
            format!("Home      {}\nStore     {blobs} blobs, {}\n", home.root(), human_bytes(bytes));
        for waybill in &waybills {
            text += &format!(
                "Waybill   {}: {} artifacts\n",
                word(&waybill["name"]),
                waybill["artifacts"]
            );
        }
        text += &document["sites"]
            .as_array()
            .map_or_else(String::new, |s| s.iter().map(site_text).collect());
        if insecure_root {
            text +=
                "Warning   the root key lies in this home, unprotected: for demonstrations only\n";
        }
        text
    });
    Ok(Exit::Done)
}

pub fn sites(home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let sites = site_values(home)?;
    global.print(&json!({"sites": sites}), || sites.iter().map(site_text).collect());
    Ok(Exit::Done)
}

fn site_values(home: &Home) -> anyhow::Result<Vec<Value>> {
    let mut sites = vec![];
    for site in home.sites() {
        let ledger = Ledger::open(home.ledger(&site), &site)?;
        let inventory = ledger.inventory()?;
        let open = ledger.records()?.iter().filter(|record| !record.confirmed).count();
        sites.push(json!({
            "site": site,
            "sequence": inventory.as_ref().map(|i| i.sequence),
            "snapshot": inventory.as_ref().and_then(|i| i.snapshot),
            "inventory": inventory.as_ref().map(|i| i.number),
            "wants": inventory.map_or(0, |i| i.wants.len()),
            "wants_unresolved": super::wants::unresolved_at(home, &ledger)?,
            "unconfirmed_exports": open,
        }));
    }
    Ok(sites)
}

fn site_text(site: &Value) -> String {
    let name = word(&site["site"]);
    let mut text = match site["sequence"].as_u64() {
        Some(sequence) => format!(
            "Site      {name}: holds what export {sequence} brought, {} exports unconfirmed\n",
            site["unconfirmed_exports"]
        ),
        None => format!("Site      {name}: no inventory has come back yet\n"),
    };
    let unresolved = site["wants_unresolved"].as_array().map_or(0, Vec::len);
    if 0 < unresolved {
        text += &format!(
            "Wants     {name}: {unresolved} unresolved; `gapferry-outside wants {name}` says why\n"
        );
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
