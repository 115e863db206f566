//! Serving a thousand small blobs to many clients at once, beside other registries.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client as Http;
use tests::{Site, Upstream, clients::find, fetch, fixtures::Image, process};
use tokio::task::JoinSet;

use super::{Row, median};

const BLOBS: u64 = 1_000;
const BLOB_LEN_BYTES: usize = 64 << 10;
const CONNECTIONS: usize = 64;
const RUNS: usize = 5;
const REPOSITORY: &str = "demo/small";

/// A registry that holds the blobs.
struct Target {
    name: &'static str,
    url: String,
    pid: u32,
    runs: Vec<Run>,
}

struct Run {
    per_second: f64,
    p99_ms: f64,
    cpu_seconds: f64,
}

/// # Panics
///
/// When a registry that is installed does not do what a registry does.
pub fn measure() -> Vec<Row> {
    let (upstream, site, image) = (Upstream::start(), Site::new(), image());
    upstream.put_image(REPOSITORY, "1.0", &image);
    let host = upstream.host();
    site.outside.write_waybill(&format!(
        "  images: [{{ref: \"{host}/{REPOSITORY}:1.0\", platforms: [linux/amd64, linux/arm64], insecure: true}}]\n"
    ));
    site.carry();
    let server = site.inside.serve();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let mut targets = vec![target("ours", server.url.clone(), server.pid())];
    let others: Vec<Other> =
        Other::ALL.iter().filter_map(|&kind| Other::start(&site, kind)).collect();
    for other in &others {
        runtime.block_on(other.fill(&image));
        targets.push(target(other.name, other.url.clone(), other.child.id()));
    }
    let digests: Arc<Vec<String>> = Arc::new(image.blobs.keys().cloned().collect());
    for run in 0..=RUNS {
        for target in &mut targets {
            let done = runtime.block_on(read_all(&target.url, target.pid, &digests));
            if run != 0 {
                target.runs.push(done); // the first only warms the page cache up
            }
        }
    }
    report(&targets)
}

fn target(name: &'static str, url: String, pid: u32) -> Target {
    Target { name, url, pid, runs: vec![] }
}

fn image() -> Image {
    let blob = |seed| tests::Content::new(seed, BLOB_LEN_BYTES as u64).bytes();
    Image::of_tars(&(0..BLOBS).map(blob).collect::<Vec<_>>())
}

/// Every blob once, over a fixed number of connections.
async fn read_all(url: &str, pid: u32, digests: &Arc<Vec<String>>) -> Run {
    let next = Arc::new(AtomicUsize::new(0));
    let cpu = process::cpu_seconds(pid).unwrap_or(0.0);
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, digests, url) = (Arc::clone(&next), Arc::clone(digests), url.to_owned());
        clients.spawn(async move {
            let http = http();
            let mut took_ms = vec![];
            while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let asked = Instant::now();
                let url = format!("{url}/v2/{REPOSITORY}/blobs/{digest}");
                let answer = http.get(url).send().await.expect("an answer");
                assert_eq!(answer.status(), 200, "{digest}");
                answer.bytes().await.expect("a whole body");
                took_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
            }
            took_ms
        });
    }
    let mut took_ms: Vec<f64> = clients.join_all().await.concat();
    let seconds = began.elapsed().as_secs_f64();
    took_ms.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let per_second = took_ms.len() as f64 / seconds;
    Run {
        per_second,
        p99_ms: took_ms[took_ms.len() * 99 / 100],
        cpu_seconds: process::cpu_seconds(pid).unwrap_or(0.0) - cpu,
    }
}

/// A client with one connection, which it keeps.
fn http() -> Http {
    Http::builder().no_proxy().pool_max_idle_per_host(1).build().expect("a plain client")
}

fn report(targets: &[Target]) -> Vec<Row> {
    let of = |target: &Target, value: fn(&Run) -> f64| {
        median(&target.runs.iter().map(value).collect::<Vec<_>>())
    };
    let ours = of(&targets[0], |run| run.per_second);
    let row = |target: &Target| {
        let (speed, p99) = (of(target, |run| run.per_second), of(target, |run| run.p99_ms));
        let cpu = of(target, |run| run.cpu_seconds);
        let value = format!(
            "{speed:.0} blobs/s (ours is {:.2} times that), p99 {p99:.1} ms, {cpu:.2} CPU s",
            ours / speed
        );
        let promise =
            if target.name == "ours" { "" } else { "ours at least 2 times, p99 no worse" };
        Row::new(format!("small blobs: {}", target.name), value, promise)
    };
    let mut rows: Vec<Row> = targets.iter().map(row).collect();
    let what = format!(
        "{BLOBS} of 64 KiB and two configs, {CONNECTIONS} connections, median of {RUNS}, alternating"
    );
    rows.push(Row::new("small blobs: runs", what, ""));
    rows
}

/// Another registry, ended when dropped.
struct Other {
    name: &'static str,
    url: String,
    child: Child,
}

impl Other {
    /// Name, program and the part of its settings that is its own.
    const ALL: &[(&str, &str)] =
        &[("distribution 3", "registry3"), ("docker-registry 2.8", "docker-registry")];

    /// None when it is not installed.
    fn start(site: &Site, (name, program): (&'static str, &str)) -> Option<Self> {
        let path = find(program)?;
        let folder = site.path(program);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let port = process::free_port();
        let settings = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            folder.display()
        );
        let file = folder.join("config.yml");
        fs::write(&file, settings).expect("a file can be written");
        let mut registry = Command::new(path);
        registry.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        registry.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = registry.spawn().expect("the registry can be started");
        let url = format!("http://127.0.0.1:{port}");
        for _ in 0..200 {
            if fetch::get(&format!("{url}/v2/")).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { name, url, child })
    }

    /// Pushes every blob, each in one piece.
    async fn fill(&self, image: &Image) {
        let http = http();
        for (digest, bytes) in &image.blobs {
            let begin = format!("{}/v2/{REPOSITORY}/blobs/uploads/", self.url);
            let begun = http.post(begin).send().await.expect("an answer");
            let location = begun.headers()["location"].to_str().expect("an address").to_owned();
            let sign = if location.contains('?') { '&' } else { '?' };
            let put = http.put(format!("{location}{sign}digest={digest}")).body(bytes.clone());
            let answer = put.send().await.expect("an answer");
            assert_eq!(answer.status(), 201, "{}: {digest}", self.name);
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
