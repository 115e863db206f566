//! Serving one large blob, beside nginx on the same bytes, one after the other.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tests::{
    clients::{Client, clean, find},
    fetch, process,
};

use super::{Content, Large, Row, median};

const RUNS: usize = 5;
const GIB: f64 = (1 << 30) as f64;

/// A URL, and the process that answers it.
struct Target {
    name: String,
    url: String,
    pid: u32,
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
}

pub fn measure(len_bytes: u64) -> Vec<Row> {
    if !Client::Curl.present() {
        return vec![Row::new("throughput", "absent: curl, the client of this figure", "")];
    }
    let large = Large::new(Content::new(1, len_bytes), true);
    large.site.carry();
    let server = large.site.inside.serve();
    let host = large.upstream.host();
    let blob = format!("/v2/demo/large/blobs/sha256:{}", large.content.sha256());
    let target = |name: &str, url: String, pid| Target {
        name: name.to_owned(),
        url,
        pid,
        seconds: vec![],
        cpu_seconds: vec![],
    };
    let files = format!("{}/files/{host}/files/large", server.url);
    let mut targets = vec![
        target("/v2", format!("{}{blob}", server.url), server.pid()),
        target("/files", files.clone(), server.pid()),
    ];
    let nginxes: Vec<Nginx> = if find("nginx").is_some() {
        let folder = large.site.path("nginx");
        fs::create_dir_all(&folder).expect("a folder can be made");
        download(&files, &folder.join("large"), &folder);
        ["on", "off"].map(|sendfile| Nginx::start(&folder, sendfile)).into()
    } else {
        vec![]
    };
    for nginx in &nginxes {
        let name = format!("nginx, sendfile {}", nginx.sendfile);
        targets.push(target(&name, format!("{}/large", nginx.url), nginx.child.id()));
    }
    let home = large.site.path("curl");
    fs::create_dir_all(&home).expect("a folder can be made");
    for run in 0..=RUNS {
        for target in &mut targets {
            target.run(&home, run == 0);
        }
    }
    report(&targets, len_bytes)
}

impl Target {
    /// One download; the first only warms the page cache up.
    fn run(&mut self, home: &Path, warm_up: bool) {
        let before = process::cpu_seconds(self.pid).unwrap_or(0.0);
        let began = Instant::now();
        download(&self.url, Path::new("/dev/null"), home);
        if !warm_up {
            self.seconds.push(began.elapsed().as_secs_f64());
            self.cpu_seconds.push(process::cpu_seconds(self.pid).unwrap_or(0.0) - before);
        }
    }
}

fn report(targets: &[Target], len_bytes: u64) -> Vec<Row> {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let gib = len_bytes as f64 / GIB;
    let speed = |target: &Target| gib / median(&target.seconds);
    let nginx = targets.iter().filter(|t| t.name.starts_with("nginx")).map(speed);
    let best = nginx.fold(0.0, f64::max);
    let mut rows: Vec<Row> = targets
        .iter()
        .map(|target| {
            let cpu = median(&target.cpu_seconds) / gib;
            let ratio = if best == 0.0 {
                "nginx is absent".to_owned()
            } else {
                format!("{:.2} of the better nginx", speed(target) / best)
            };
            let promise = if target.name.starts_with('/') { "at least 0.9" } else { "" };
            let value = format!("{:.2} GiB/s, {ratio}, {cpu:.2} CPU s/GiB", speed(target));
            Row::new(format!("throughput: {}", target.name), value, promise)
        })
        .collect();
    rows.push(Row::new("throughput: runs", format!("median of {RUNS}, alternating"), ""));
    rows
}

fn download(url: &str, file: &Path, home: &Path) {
    let mut curl = clean("curl", home);
    curl.args(["--fail", "--silent", "--show-error", "--noproxy", "*", "-o"]).arg(file).arg(url);
    let finished = process::run(&mut curl);
    assert_eq!(finished.exit_code, 0, "{url}: {}", finished.stderr);
}

/// nginx on a folder, ended when dropped.
struct Nginx {
    url: String,
    sendfile: &'static str,
    child: Child,
}

impl Nginx {
    fn start(folder: &Path, sendfile: &'static str) -> Self {
        let port = process::free_port();
        let dir = folder.display();
        let settings = format!(
            "daemon off; master_process off; pid {dir}/pid-{sendfile}; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off; sendfile {sendfile}; client_body_temp_path {dir}/t1;\n\
             proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4;\n\
             scgi_temp_path {dir}/t5;\n\
             server {{ listen 127.0.0.1:{port}; root {dir}; }} }}\n"
        );
        let file = folder.join(format!("nginx-{sendfile}.conf"));
        fs::write(&file, settings).expect("a file can be written");
        let program = find("nginx").expect("looked for before");
        let mut nginx = Command::new(program);
        nginx.arg("-p").arg(folder).arg("-c").arg(&file);
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = nginx.spawn().expect("nginx can be started");
        let url = format!("http://127.0.0.1:{port}");
        for _ in 0..100 {
            if fetch::head(&format!("{url}/large")).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { url, sendfile, child }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
