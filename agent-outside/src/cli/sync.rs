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
use gapferry_proto::{BlobId, BlobRef, Kind};
use serde_json::json;

use super::{
    LoadedWaybill, exit_of_failures, failure_lines, load_waybill,
    resolve::{http, resolve_now, say_hints},
    say_failures,
    wants::{note, outcome_values, say_outcomes},
};
use crate::{
    expand::expand,
    fetch::{self, Item, Progress, Sink, Source},
    home::Home,
    inputs,
    lock::{self, Lock},
    source::{Failure, yum},
    wants::Outcome,
    waybill::{FileLine, Waybill, file_path},
};

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
    let began = std::time::Instant::now();
    let loaded = load_waybill(&args.file, home)?;
    let _lock = home.lock()?;
    let store = home.store()?;
    store.clear_temporary()?;
    let (lock, mut failures, outcomes) = locked_or_resolved(args, &loaded, home, global)?;
    let mut fetched = Fetched::default();
    if failures.is_empty() {
        durable::write(&loaded.lock_path, &lock.encode())?;
        (fetched, failures) = fetch_lacking(args, &lock, &loaded, home, &store, global)?;
    }
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
        format!("{count} artifacts; {} blobs, {bytes} fetched and verified", fetched.blobs)
    });
    Ok(exit_of_failures(&failures))
}

fn locked_or_resolved(
    args: &SyncArgs,
    loaded: &LoadedWaybill,
    home: &Home,
    global: &Global,
) -> anyhow::Result<(Lock, Vec<Failure>, Vec<Outcome>)> {
    if args.locked {
        let lock = Lock::read(&loaded.lock_path)?;
        let now = inputs::of(&loaded.waybill, &loaded.base);
        lock.check(&loaded.lock_path, &loaded.text, &now)?;
        return Ok((lock, vec![], vec![]));
    }
    global.say(format!("Resolving {} …", args.file));
    let resolved = resolve_now(loaded, home, &args.refresh)?;
    say_hints(global, &resolved.hints);
    say_outcomes(global, &resolved.wants);
    Ok((resolved.lock, resolved.failures, resolved.wants))
}

/// What one sync brought.
#[derive(Default)]
struct Fetched {
    blobs: usize,
    bytes: u64,
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
