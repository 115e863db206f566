//! `wants`: what sites asked for in vain, what became of it, and what shall not be carried.

use std::collections::BTreeSet;

use comfy_table::{Table, presets};
use gapferry_common::{
    audit::Audit,
    cli::Global,
    exit::{Ended, Exit},
};
use gapferry_proto::{SiteName, Snapshot, want};
use serde_json::{Value, json};

use crate::{
    home::Home,
    ledger::Ledger,
    lock, snapshot,
    wants::{
        Asked, Outcome,
        book::{Row, State},
    },
    waybill::Waybill,
};

#[derive(Debug, clap::Args)]
pub struct WantsArgs {
    /// The site; all when left out
    site: Option<SiteName>,
    /// Carry what is called so no more, and pass it over from now on; NAME or 'KIND NAME'
    #[arg(long, value_name = "NAME")]
    dismiss: Vec<String>,
    /// Take a dismissal back
    #[arg(long, value_name = "NAME")]
    restore: Vec<String>,
}

pub fn run(args: &WantsArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let sites = match &args.site {
        Some(site) => vec![site.clone()],
        None => home.sites(),
    };
    let is_change = !args.dismiss.is_empty() || !args.restore.is_empty();
    if is_change {
        change(args, &sites, home)?;
    }
    let mut listed = vec![];
    for site in &sites {
        listed.push((site, rows(home, &Ledger::open(home.ledger(site), site)?)?));
    }
    let value = |(site, rows): &(&SiteName, Vec<Row>)| json!({"site": site, "wants": rows});
    let document = json!({"sites": listed.iter().map(value).collect::<Vec<_>>()});
    global.print(&document, || {
        let mut text = table(&listed);
        if is_change {
            text.push_str("\nThe next `gapferry-outside sync` takes that into account.");
        }
        text
    });
    Ok(Exit::Done)
}

/// Dismisses and restores at every site; a name that no site wants is an error, and nothing is
/// changed.
fn change(args: &WantsArgs, sites: &[SiteName], home: &Home) -> anyhow::Result<()> {
    let _lock = home.lock()?;
    let mut books = vec![];
    for site in sites {
        let ledger = Ledger::open(home.ledger(site), site)?;
        let book = ledger.book()?;
        books.push((ledger, book));
    }
    let dismissed = args.dismiss.iter().map(|name| (name, true));
    let restored = args.restore.iter().map(|name| (name, false));
    for (name, dismissed) in dismissed.chain(restored) {
        let count: usize = books.iter_mut().map(|(_, book)| book.dismiss(name, dismissed)).sum();
        if count == 0 {
            let what = format!("no site wants {name}; `gapferry-outside wants` lists what is");
            return Err(Ended::new(Exit::Usage, what).into());
        }
    }
    let facts = json!({"sites": sites, "dismissed": args.dismiss, "restored": args.restore});
    Audit::of(home.root()).record("wants", &facts)?;
    for (ledger, book) in books {
        ledger.write_book(&book)?;
    }
    Ok(())
}

/// What the sites of a waybill want of it: all that no other waybill of theirs brings.
pub fn asked(home: &Home, waybill: &Waybill) -> anyhow::Result<Asked> {
    let mut asked = Asked::new();
    let name = &waybill.metadata.name;
    for site in home.sites() {
        let is_open = home.config().site.get(&site).is_none_or(|config| config.wants);
        if !is_open || !snapshot::is_for(name, &waybill.spec.sites, &site, home) {
            continue;
        }
        let book = Ledger::open(home.ledger(&site), &site)?.book()?;
        let mut others = vec![];
        for other in home.waybills().into_iter().filter(|other| other != name) {
            let newest = lock::in_force(&home.locks(&other))?.into_iter().next();
            others.extend(newest.filter(|lock| snapshot::is_for(&other, &lock.sites, &site, home)));
        }
        let artifacts = others.iter().flat_map(|lock| &lock.artifacts);
        let met = want::met(book.open(), artifacts);
        for want in book.open().filter(|want| !met.contains(want)) {
            asked.entry(want.clone()).or_default().insert(site.clone());
        }
    }
    Ok(asked)
}

/// Writes into the ledgers what a sync made of the wants.
pub fn note(home: &Home, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let sites: BTreeSet<&SiteName> = outcomes.iter().flat_map(|outcome| &outcome.sites).collect();
    for site in sites {
        let ledger = Ledger::open(home.ledger(site), site)?;
        let mut book = ledger.book()?;
        book.settle(outcomes);
        ledger.write_book(&book)?;
    }
    Ok(())
}

/// Outcomes as results show them.
pub fn outcome_values(outcomes: &[Outcome]) -> Vec<Value> {
    let value = |outcome: &Outcome| {
        let mut value = serde_json::to_value(&outcome.want).expect("a want is plain JSON");
        value["sites"] = json!(outcome.sites);
        value["reason"] = json!(outcome.reason);
        value["state"] =
            json!(if outcome.reason.is_none() { State::Resolved } else { State::Unresolved });
        value
    };
    outcomes.iter().map(value).collect()
}

/// Says which wants were resolved, and why the others were not.
pub fn say_outcomes(global: &Global, outcomes: &[Outcome]) {
    for Outcome { want, sites, reason, by_line } in outcomes.iter().filter(|one| !one.by_line) {
        let names: Vec<&str> = sites.iter().map(SiteName::as_str).collect();
        let (kind, words, sites) = (want.kind, want.words(), names.join(", "));
        match reason {
            None if *by_line => {}
            None => global.say(format!("{sites} asked for {kind} {words}: carried")),
            Some(reason) => {
                global.say(format!("{sites} asked for {kind} {words}, not carried: {reason}"));
            }
        }
    }
}

/// The wants of a site that nothing it shall hold meets.
pub fn unresolved(ledger: &Ledger, snapshot: &Snapshot) -> anyhow::Result<Vec<Row>> {
    let rows = ledger.book()?.rows(snapshot.artifacts());
    Ok(rows.into_iter().filter(|row| row.state == State::Unresolved).collect())
}

/// As [`unresolved`], for what the locks in force say.
pub fn unresolved_at(home: &Home, ledger: &Ledger) -> anyhow::Result<Vec<Row>> {
    let rows = rows(home, ledger)?;
    Ok(rows.into_iter().filter(|row| row.state == State::Unresolved).collect())
}

/// Unresolved wants as a plan shows them.
pub fn unresolved_text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |row: &Row| {
        let reason = row.reason.as_deref().unwrap_or_default();
        format!("  {} {}: {reason}\n", row.want.kind, row.want.words())
    };
    let lines: String = rows.iter().map(line).collect();
    format!("Wanted inside, and not carried:\n{lines}\n")
}

fn rows(home: &Home, ledger: &Ledger) -> anyhow::Result<Vec<Row>> {
    let book = ledger.book()?;
    if book.entries.is_empty() {
        return Ok(vec![]);
    }
    // No waybill is for the site yet, or two disagree: `plan` says so.
    let snapshot = snapshot::of_site(home, ledger.site()).unwrap_or_default();
    Ok(book.rows(snapshot.artifacts()))
}

fn table(listed: &[(&SiteName, Vec<Row>)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["site", "kind", "wanted", "state", "why"]);
    for (site, rows) in listed {
        for row in rows {
            let state = match row.state {
                State::Resolved => "resolved",
                State::Unresolved => "unresolved",
                State::Dismissed => "dismissed",
            };
            let reason = row.reason.clone().unwrap_or_default();
            let (kind, words) = (row.want.kind.to_string(), row.want.words());
            table.add_row([site.to_string(), kind, words, state.to_owned(), reason]);
        }
    }
    if table.is_empty() { "No site wants anything.".to_owned() } else { table.to_string() }
}
