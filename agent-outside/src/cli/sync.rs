//! `sync`: resolve, fetch, verify; then the new lock is in force.

use std::{io, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    cli::{Global, human_bytes},
    durable,
    exit::{Ended, Exit},
    memory,
    store::Store,
};
use gapferry_proto::{BlobId, BlobRef, Kind, want::Want};
use serde_json::json;

use super::{
    LoadedWaybill, exit_of_failures, failure_lines, load_waybill,
    resolve::{http, resolve_now, resolve_without, say_hints},
    say_failures,
    wants::{note, outcome_values, say_outcomes},
};
use crate::{
    expand::expand,
    fetch::{self, Item, Progress, Sink, Source},
    home::Home,
    inputs,
    lock::{self, Lock},
    resolve::{Brought, Resolved},
    source::{Failure, yum},
    wants::Lost,
    waybill::{FileLine, Waybill, file_path},
};

/// How often a lock is made without what was lost, before that ends the sync: upstreams do not
/// change so fast, unless one wants to keep us busy.
const ROUNDS_MAX: usize = 8;

#[derive(Debug, clap::Args)]
pub struct SyncArgs {
    /// The waybill
    #[arg(short, long, value_name = "WAYBILL", default_value = "waybill.yaml")]
    file: Utf8PathBuf,
    /// Fetch what waybill.lock names and resolve nothing
    #[arg(long)]
    locked: bool,
    /// Look up anew what upstream publishes no checksum of and was pinned when first seen, by path
    /// (as `plan` names it) or URL; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "locked")]
    refresh: Vec<String>,
    /// How many blobs are fetched at a time
    #[arg(long, value_name = "N", default_value_t = fetch::JOBS)]
    jobs: usize,
}

pub fn run(args: &SyncArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    memory::watch();
    let began = std::time::Instant::now();
    let loaded = load_waybill(&args.file, home)?;
    let _lock = home.lock()?;
    let store = home.store()?;
    store.clear_temporary()?;
    let mut resolved = locked_or_resolved(args, &loaded, home, global)?;
    let mut fetched = Fetched::default();
    let mut failures = std::mem::take(&mut resolved.failures);
    if failures.is_empty() {
        (fetched, failures) = fetch_all(args, &mut resolved, &loaded, home, &store, global)?;
    }
    let Resolved { lock, wants: outcomes, .. } = resolved;
    say_outcomes(global, &outcomes);
    if failures.is_empty() {
        let locks = home.locks(&lock.waybill);
        lock::put_in_force(&locks, &lock)?;
        lock::remember_place(&locks, &args.file)?;
        note(home, &outcomes)?;
    }
    let lines = failure_lines(&failures);
    say_failures(global, &lines);
    if !failures.is_empty() {
        global.say("The lock that was in force before stays in force.");
    }
    let document = json!({
        "waybill": lock.waybill,
        "resolved": lock.artifacts.len(),
        "fetched": fetched.blobs,
        "fetched_bytes": fetched.bytes,
        "failures": lines,
        "wants": outcome_values(&outcomes),
        "seconds": began.elapsed().as_secs_f64(),
        "peak_memory_bytes": memory::peak_bytes(),
    });
    global.print(&document, || {
        let (count, bytes) = (lock.artifacts.len(), human_bytes(fetched.bytes));
        let end =
            if failures.is_empty() { "" } else { "; not all of it, so no lock is put in force" };
        format!("{count} artifacts; {} blobs, {bytes} fetched and verified{end}", fetched.blobs)
    });
    Ok(exit_of_failures(&failures))
}

fn locked_or_resolved(
    args: &SyncArgs,
    loaded: &LoadedWaybill,
    home: &Home,
    global: &Global,
) -> anyhow::Result<Resolved> {
    if args.locked {
        let lock = Lock::read(&loaded.lock_path)?;
        let now = inputs::of(&loaded.waybill, &loaded.base);
        lock.check(&loaded.lock_path, &loaded.text, &now)?;
        let (failures, hints, wants) = (vec![], vec![], vec![]);
        return Ok(Resolved { lock, failures, hints, wants, brought: Brought::default() });
    }
    global.say(format!("Resolving {} …", args.file));
    let resolved = resolve_now(loaded, home, &args.refresh)?;
    say_hints(global, &resolved.hints);
    Ok(resolved)
}

/// What one sync brought.
#[derive(Default)]
struct Fetched {
    blobs: usize,
    bytes: u64,
}

/// Fetches what the lock names. What only wants ask for and nobody gives is left, with all that
/// was to come along for it: then the lock is made again, and the rest goes on.
fn fetch_all(
    args: &SyncArgs,
    resolved: &mut Resolved,
    loaded: &LoadedWaybill,
    home: &Home,
    store: &Store,
    global: &Global,
) -> anyhow::Result<(Fetched, Vec<Failure>)> {
    let (mut fetched, mut lost) = (Fetched::default(), Lost::default());
    let mut rounds = 0;
    loop {
        let lock = &resolved.lock;
        durable::write(&loaded.lock_path, &lock.encode())?;
        let (more, failures) = fetch_lacking(args, lock, loaded, home, store, global)?;
        fetched.blobs += more.blobs;
        fetched.bytes += more.bytes;
        rounds += 1;
        let is_last = args.locked || ROUNDS_MAX <= rounds;
        if is_last || !learn(&mut lost, &failures, resolved, store) {
            return Ok((fetched, failures));
        }
        resolve_without(lost.clone(), resolved, loaded, home)?;
    }
}

fn learn(lost: &mut Lost, failures: &[Failure], resolved: &Resolved, store: &Store) -> bool {
    let granted = resolved.wants.iter().filter(|one| one.reason.is_none() && !one.by_line);
    let asked: Vec<&Want> = granted.map(|outcome| &outcome.want).collect();
    let of_lines = &resolved.brought.artifacts;
    lost.learn(failures, &resolved.lock.artifacts, of_lines, &asked, &|blob| store.holds(blob))
}

fn fetch_lacking(
    args: &SyncArgs,
    lock: &Lock,
    loaded: &LoadedWaybill,
    home: &Home,
    store: &Store,
    global: &Global,
) -> anyhow::Result<(Fetched, Vec<Failure>)> {
    let mut lacking: Vec<Item> = vec![];
    let in_force = lock::in_force(&home.locks(&lock.waybill))?;
    let kept = in_force.iter().filter(|earlier| *earlier != lock).take(lock.keep as usize);
    let earlier = kept.flat_map(|earlier| &earlier.artifacts);
    for artifact in lock.artifacts.iter().chain(earlier) {
        let mut items = fetch::items(artifact, &loaded.base).map_err(|e| {
            Ended::because(Exit::Usage, format!("{} cannot be fetched", artifact.name), e)
        })?;
        items.retain(|item| !store.holds(&item.blob));
        lacking.extend(items.into_iter().map(|item| with_query(item, &loaded.waybill)));
    }
    let mut wanted: Vec<BlobRef> = lacking.iter().map(|item| item.blob).collect();
    wanted.sort();
    wanted.dedup();
    let progress = if global.quiet { Progress::silent() } else { Progress::on_terminal() };
    let (http, sink) = (http(home)?, Arc::new(StoreSink(store.clone())));
    // Repositories of rpm packages may want a certificate or a login for each file.
    let has_rpm = lacking.iter().any(|item| item.kind == Kind::Rpm);
    let lines = if has_rpm { expand(&loaded.waybill, &loaded.base).yum } else { vec![] };
    let failures = super::block_on(async {
        let (http, mut failures) = yum::reach(&http, &lines, &loaded.base).await;
        failures.extend(fetch::fetch(&http, lacking, sink, args.jobs, &progress).await);
        failures
    })?;
    // The word of the store counts, not that nothing failed.
    let there: Vec<_> = wanted.iter().filter(|blob| store.holds(blob)).collect();
    let fetched =
        Fetched { blobs: there.len(), bytes: there.iter().map(|blob| blob.len_bytes).sum() };
    Ok((fetched, failures))
}

/// A file is fetched from the very URL of its waybill line, whose query no lock remembers.
fn with_query(mut item: Item, waybill: &Waybill) -> Item {
    let of_line = |line: &&FileLine| line.sha256.0 == item.blob.id.digest();
    if let Source::Url(url) = &mut item.source {
        let asked = waybill.spec.files.iter().filter(of_line).map(|line| &line.url);
        let same = |asked: &&url::Url| file_path(asked) == file_path(url);
        if let Some(asked) = asked.into_iter().find(same) {
            *url = asked.clone();
        }
    }
    item
}

/// Downloads grow in the store's own `incoming` folder, so that adopting is a rename.
struct StoreSink(Store);

impl Sink for StoreSink {
    fn partial_path(&self, id: BlobId) -> Utf8PathBuf {
        self.0.incoming().join(format!("{}.partial", id.hex()))
    }

    fn adopt(&self, blob: BlobRef, partial: &Utf8Path) -> io::Result<()> {
        self.0.adopt(blob.id, partial).map_err(io::Error::other)
    }
}
