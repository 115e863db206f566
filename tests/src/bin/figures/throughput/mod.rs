//! Serving one large blob to one client and to eight, in the clear and over TLS, beside nginx on
//! the same bytes, one server after the other.

mod nginx;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use tests::{
    clients::{Client, clean, find},
    process, tls,
};

use super::{Content, Large, Row, median};
use nginx::{Nginx, Tls};

const RUNS: usize = 5;
const CLIENTS: [usize; 2] = [1, 8];
const GIB: f64 = (1 << 30) as f64;
const SETTINGS: &str =
    "[tls]\nmode = \"files\"\ncert = \"tls/server.crt\"\nkey = \"tls/server.key\"";

/// A URL, and the processes that answer it.
struct Target {
    name: String,
    url: String,
    pids: Vec<u32>,
    runs: Vec<Run>,
}

struct Run {
    seconds: f64,
    cpu_seconds: f64,
}

/// Curl, in a home of its own, and the authority it believes.
struct Curl {
    home: PathBuf,
    authority: Option<PathBuf>,
}

/// # Panics
///
/// When a server that is installed does not serve.
pub fn measure(len_bytes: u64) -> Vec<Row> {
    if !Client::Curl.present() {
        return vec![Row::new("throughput", "absent: curl, the client of this figure", "")];
    }
    let large = Large::new(Content::new(1, len_bytes), true);
    large.site.carry();
    let mut rows = measure_over(&large, len_bytes, None);
    if Client::Openssl.present() {
        let folder = large.site.inside.agent.home().join("tls");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let pair = tls::self_signed(&folder, "server");
        large.site.inside.configure(SETTINGS);
        rows.extend(measure_over(&large, len_bytes, Some(&pair)));
    } else {
        rows.push(Row::new("throughput over TLS", "absent: openssl, for a certificate", ""));
    }
    let how = format!("median of {RUNS}, alternating; curl on the same machine");
    rows.push(Row::new("throughput: runs", how, ""));
    rows
}

/// All servers at once, asked one after the other.
fn measure_over(large: &Large, len_bytes: u64, tls: Option<&Tls>) -> Vec<Row> {
    let curl = Curl::new(large.site.path("curl"), tls.map(|[cert, _]| cert.clone()));
    let server = large.site.inside.serve();
    let blob = format!("{}/v2/demo/large/blobs/sha256:{}", server.url, large.content.sha256());
    let file = format!("{}/files/{}/files/large", server.url, large.upstream.host());
    let nginxes = beside(&large.site.path("nginx"), &file, &curl, tls);
    let mut rows = vec![];
    for clients in CLIENTS {
        let ours = [("/v2", &blob), ("/files", &file)]
            .map(|(name, url)| target(name.to_owned(), url.clone(), vec![server.pid()]));
        let others = nginxes.iter().map(|nginx| {
            let name = format!("nginx, sendfile {}", nginx.sendfile);
            target(name, format!("{}/large", nginx.url), nginx.pids())
        });
        let mut targets: Vec<Target> = ours.into_iter().chain(others).collect();
        for run in 0..=RUNS {
            for target in &mut targets {
                let done = target.run(&curl, clients);
                if run != 0 {
                    target.runs.push(done); // the first only warms the page cache up
                }
            }
        }
        let scheme = if tls.is_some() { "TLS" } else { "HTTP" };
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let gib = (len_bytes * clients as u64) as f64 / GIB;
        rows.extend(report(&targets, gib, &format!("{scheme}, {clients} at once")));
    }
    rows
}

/// nginx with the same bytes in a folder, with sendfile and without; none where it is missing.
fn beside(folder: &Path, file: &str, curl: &Curl, tls: Option<&Tls>) -> Vec<Nginx> {
    if find("nginx").is_none() {
        return vec![];
    }
    fs::create_dir_all(folder).expect("a folder can be made");
    curl.download(file, &folder.join("large"));
    ["on", "off"].map(|sendfile| Nginx::start(folder, sendfile, tls)).into()
}

fn target(name: String, url: String, pids: Vec<u32>) -> Target {
    Target { name, url, pids, runs: vec![] }
}

impl Target {
    /// So many downloads at once, from the start of the first to the end of the last.
    fn run(&self, curl: &Curl, clients: usize) -> Run {
        let before = self.cpu_seconds();
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| curl.download(&self.url, Path::new("/dev/null")));
            }
        });
        let seconds = began.elapsed().as_secs_f64();
        Run { seconds, cpu_seconds: self.cpu_seconds() - before }
    }

    fn cpu_seconds(&self) -> f64 {
        self.pids.iter().filter_map(|&pid| process::cpu_seconds(pid)).sum()
    }

    fn median(&self, value: fn(&Run) -> f64) -> f64 {
        median(&self.runs.iter().map(value).collect::<Vec<_>>())
    }
}

impl Curl {
    fn new(home: PathBuf, authority: Option<PathBuf>) -> Self {
        fs::create_dir_all(&home).expect("a folder can be made");
        Self { home, authority }
    }

    fn download(&self, url: &str, file: &Path) {
        let mut curl = clean("curl", &self.home);
        curl.args(["--fail", "--silent", "--show-error", "--noproxy", "*", "--http1.1"]);
        if let Some(authority) = &self.authority {
            curl.arg("--cacert").arg(authority);
        }
        let finished = process::run(curl.arg("-o").arg(file).arg(url));
        assert_eq!(finished.exit_code, 0, "{url}: {}", finished.stderr);
    }
}

/// A row a server: its speed, beside the better nginx; what a GiB costs it, beside nginx without
/// sendfile; and how many cores it kept busy, which tells whether it or curl was what held up.
fn report(targets: &[Target], gib: f64, how: &str) -> Vec<Row> {
    let speed = |target: &Target| gib / target.median(|run| run.seconds);
    let cpu = |target: &Target| target.median(|run| run.cpu_seconds) / gib;
    let nginxes = || targets.iter().filter(|target| target.name.starts_with("nginx"));
    let best = nginxes().map(speed).fold(0.0, f64::max);
    let copying = nginxes().find(|nginx| nginx.name.ends_with("off")).map(cpu);
    let row = |target: &Target| {
        let speed = speed(target);
        let beside = if best == 0.0 {
            "nginx is absent".to_owned()
        } else {
            format!("{:.2} of the better nginx", speed / best)
        };
        let cost = cpu(target);
        let times = copying.map_or_else(String::new, |nginx| format!(" ({:.2} x)", cost / nginx));
        let busy = target.median(|run| run.cpu_seconds / run.seconds);
        let value =
            format!("{speed:.2} GiB/s, {beside}; {cost:.2} CPU s/GiB{times}; {busy:.2} cores busy");
        let ours = target.name.starts_with('/');
        let promise = if ours { "at least 0.9; at most 2.5 x" } else { "" };
        Row::new(format!("throughput, {how}: {}", target.name), value, promise)
    };
    targets.iter().map(row).collect()
}
