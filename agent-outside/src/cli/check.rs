//! `check`: what the consumers of a site would miss, and the lines that would add it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    cli::Global,
    durable,
    exit::{Ended, Exit},
};
use gapferry_proto::{Digest, SiteName, Snapshot};
use serde_json::json;

use super::{LoadedWaybill, load_waybill};
use crate::{
    check::{
        self, Ground, Held, Line, Missing, NotProven, Order, Report, Wanted, fix, route::Asked,
    },
    collisions::{self, Collision},
    home::Home,
    ledger::{Basis, Ledger},
    lock::{self, Lock},
    route::{KubeVersion, Release, Route},
    snapshot,
};

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The site; may be left out when there is only one
    #[arg(long)]
    site: Option<SiteName>,
    /// A waybill, in place of the one of its name that was synced last
    #[arg(short, long, value_name = "WAYBILL")]
    file: Option<Utf8PathBuf>,
    /// Write the lines that are missing into the waybill
    #[arg(long)]
    fix: bool,
    /// Check every hop of an upgrade, as 2.29,2.30,2.31
    #[arg(long, value_name = "RELEASES")]
    route: Option<String>,
    /// Where the Kubespray tree of a release is that no waybill names, as 2.30=./kubespray#v2.30.0;
    /// or which Kubernetes a release sets up, as 2.30=1.34.3
    #[arg(long = "tree", value_name = "RELEASE=TREE", requires = "route")]
    trees: Vec<String>,
}

pub fn run(args: &CheckArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let began = std::time::Instant::now();
    let site = super::chosen_site(home, args.site.as_ref())?;
    let ledger = Ledger::open(home.ledger(&site), &site)?;
    let asked = args.route.as_deref().map(|text| asked(text, &args.trees)).transpose()?;
    let _lock = home.lock()?;
    let basis = ledger.basis()?;
    let simulated = simulate(home, &site, &basis, args.file.as_ref(), asked.as_ref())?;
    let Simulated { report, snapshot, orders } = simulated;
    let collisions = collisions::of(&snapshot);
    let fixed = if args.fix { fixed(&report, &orders)? } else { vec![] };
    let releases = asked.iter().flat_map(|asked| asked.route.releases());
    let releases: Vec<String> = releases.map(ToString::to_string).collect();
    let document = json!({
        "site": site,
        "waybills": orders.iter().map(|one| &one.waybill.metadata.name).collect::<Vec<_>>(),
        "missing": report.missing,
        "not_proven": report.not_proven,
        "checked": report.checked,
        "assumed": report.assumed,
        "collisions": collisions,
        "route": releases,
        "fixed": fixed,
        "seconds": began.elapsed().as_secs_f64(),
    });
    global.print(&document, || text(&report, &site, &fixed, &collisions));
    Ok(match (report.missing.is_empty(), collisions::is_refused(&collisions)) {
        (false, _) => Exit::Incomplete,
        (true, true) => Exit::Refused,
        (true, false) => Exit::Done,
    })
}

/// What a simulation gave, and what it was about.
pub struct Simulated {
    pub report: Report,
    /// What the site shall hold.
    pub snapshot: Snapshot,
    orders: Vec<LoadedWaybill>,
}

/// Simulates the consumers of a site that holds `basis`, and each release of a route; `file` stands
/// for the waybill of its name.
pub fn simulate(
    home: &Home,
    site: &SiteName,
    basis: &Basis,
    file: Option<&Utf8PathBuf>,
    route: Option<&Asked>,
) -> anyhow::Result<Simulated> {
    let locks = snapshot::locks_of_site(home, site)?;
    let (orders, lost) = orders(home, &locks, file)?;
    let assumed = assumed(&locks);
    let snapshot = snapshot::union(locks)?;
    let store = home.store()?;
    let ground = Ground {
        held: Held::new(&snapshot, &basis.snapshot),
        store: &store,
        inside: basis.held(),
        assumed,
        wanted: wanted(home, site)?,
    };
    let all: Vec<Order<'_>> =
        orders.iter().map(|one| Order { waybill: &one.waybill, base: &one.base }).collect();
    let mut report = check::check(&ground, &all);
    report.not_proven.extend(lost);
    if let Some(asked) = route {
        check::route::check(&ground, &all, asked, &mut report).map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Ended::new(Exit::Usage, all.join("; "))
        })?;
    }
    Ok(Simulated { report, snapshot, orders })
}

/// What the site wanted and got, unless it is to be carried no more.
fn wanted(home: &Home, site: &SiteName) -> anyhow::Result<Wanted> {
    let is_open = home.config().site.get(site).is_none_or(|config| config.wants);
    let book = Ledger::open(home.ledger(site), site)?.book()?;
    let wants = book.granted().filter(|_| is_open).cloned().collect();
    Ok(Wanted { label: format!("wanted inside: {site}"), wants })
}

/// The waybills of the locks, from where they were synced, and those that are no longer there.
fn orders(
    home: &Home,
    locks: &[Vec<Lock>],
    file: Option<&Utf8PathBuf>,
) -> anyhow::Result<(Vec<LoadedWaybill>, Vec<NotProven>)> {
    let mut orders: Vec<LoadedWaybill> =
        file.map(|path| load_waybill(path, home)).transpose()?.into_iter().collect();
    let mut lost = vec![];
    for lock in locks.iter().filter_map(|locks| locks.first()) {
        if orders.iter().any(|one| one.waybill.metadata.name == lock.waybill) {
            continue;
        }
        match loaded(home, &lock.waybill)? {
            Some(one) => {
                if Digest::of(one.text.as_bytes()) != lock.waybill_sha256 {
                    let reason = "it was changed after the last sync; run `gapferry-outside sync`";
                    lost.push(about(&lock.waybill, reason));
                }
                orders.push(one);
            }
            None => {
                let reason = "its file is not where it was synced, so that its lines are not \
                    checked; name it with -f, or sync it where it is now";
                lost.push(about(&lock.waybill, reason));
            }
        }
    }
    Ok((orders, lost))
}

fn about(waybill: &SiteName, reason: &str) -> NotProven {
    let (name, needed_by) = (waybill.to_string(), "its lock".to_owned());
    NotProven { kind: "waybill", name, needed_by, reason: reason.to_owned() }
}

/// The waybill of a name: where it was synced, else in the current folder.
fn loaded(home: &Home, name: &SiteName) -> anyhow::Result<Option<LoadedWaybill>> {
    if let Some(path) = lock::place(&home.locks(name)).filter(|path| path.is_file()) {
        let loaded = load_waybill(&path, home)?;
        // The file may be another waybill's by now.
        return Ok(Some(loaded).filter(|one| one.waybill.metadata.name == *name));
    }
    let here = Utf8PathBuf::from("waybill.yaml");
    let loaded = if here.is_file() { load_waybill(&here, home).ok() } else { None };
    Ok(loaded.filter(|one| one.waybill.metadata.name == *name))
}

/// What the newest locks say every system has; none when one of them does not say.
fn assumed(locks: &[Vec<Lock>]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for lock in locks.iter().filter_map(|of_waybill| of_waybill.first()) {
        all.extend(lock.assumed.as_ref()?.iter().cloned());
    }
    Some(all)
}

/// Writes the lines into the waybills they belong to; where each was written.
fn fixed(report: &Report, orders: &[LoadedWaybill]) -> anyhow::Result<Vec<Utf8PathBuf>> {
    let mut lines: BTreeMap<usize, Vec<Line>> = BTreeMap::new();
    for missing in report.missing.iter().filter(|missing| !missing.in_waybill) {
        let Some(line) = &missing.line else { continue };
        let named = missing.waybill.as_ref();
        let place = orders.iter().position(|one| named == Some(&one.waybill.metadata.name));
        let all = lines.entry(place.unwrap_or(0)).or_default();
        if !all.contains(line) {
            all.push(line.clone());
        }
    }
    let mut written = vec![];
    for (place, lines) in lines {
        let Some(order) = orders.get(place) else { continue };
        let beside = order.lock_path.with_extension("fix.yaml");
        let (path, text) = match fix::insert(&order.text, &lines) {
            Some(text) => (order.path.clone(), text),
            None => (beside, fix::alone(&lines)),
        };
        write(&path, &text)?;
        written.push(path);
    }
    Ok(written)
}

/// A waybill may be a link to where it is under version control.
fn write(path: &Utf8Path, text: &str) -> anyhow::Result<()> {
    let real = path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
    durable::write(&real, text.as_bytes()).with_context(|| format!("cannot write {path}"))
}

/// A route and its trees, as typed.
fn asked(text: &str, trees: &[String]) -> anyhow::Result<Asked> {
    let route: Route = text.parse().map_err(|e| Ended::because(Exit::Usage, "--route", e))?;
    let mut asked = Asked { route, trees: vec![], kubes: vec![] };
    for text in trees {
        let wrong = || format!("--tree {text}: write RELEASE=TREE, as 2.30=./kubespray#v2.30.0");
        let (release, what) = text
            .split_once('=')
            .filter(|(_, what)| !what.is_empty())
            .ok_or_else(|| Ended::new(Exit::Usage, wrong()))?;
        let release: Release =
            release.parse().map_err(|e| Ended::because(Exit::Usage, wrong(), e))?;
        match what.parse::<KubeVersion>() {
            Ok(kube) => asked.kubes.push((release, kube)),
            Err(_) => asked.trees.push((release, what.to_owned())),
        }
    }
    Ok(asked)
}

fn text(
    report: &Report,
    site: &SiteName,
    fixed: &[Utf8PathBuf],
    collisions: &[Collision],
) -> String {
    let mut text = missing_text(&report.missing.iter().collect::<Vec<_>>(), site);
    if !report.not_proven.is_empty() {
        text.push_str("Not proven:\n");
        for NotProven { kind, name, needed_by, reason } in &report.not_proven {
            text.push_str(&format!("  {kind} {name} ({needed_by}): {reason}\n"));
        }
    }
    text.push_str(&collisions::text(collisions));
    for path in fixed {
        text.push_str(&format!("Lines written to {path}"));
        let is_beside = path.as_str().ends_with(".fix.yaml");
        text.push_str(if is_beside {
            "; put them into the waybill, then sync\n"
        } else {
            "; sync\n"
        });
    }
    let checked: Vec<String> =
        report.checked.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let checked = if checked.is_empty() { "nothing".to_owned() } else { checked.join(", ") };
    text.push_str(&format!("Simulated at {site}: {checked}; {} missing", report.missing.len()));
    if !report.assumed.is_empty() {
        let count = report.assumed.len();
        text.push_str(&format!("; {count} relations are met by what every system has"));
    }
    text
}

/// What is missing, with the lines that would add it.
pub fn missing_text(missing: &[&Missing], site: &SiteName) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let mut text = format!("Missing at {site}:\n");
    for one in missing {
        let Missing { kind, name, needed_by, reason, line, in_waybill, hop, .. } = one;
        let hop = hop.as_ref().map(|hop| format!("{hop}; ")).unwrap_or_default();
        text.push_str(&format!("  {kind} {name} ({hop}{needed_by}): {reason}\n"));
        match line {
            _ if *in_waybill => text.push_str("    run `gapferry-outside sync`\n"),
            Some(line) => text.push_str(&format!("    {line}\n")),
            None => {}
        }
    }
    text
}
