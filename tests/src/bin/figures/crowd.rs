//! A site of many artifacts and many clients: how soon it serves, what a switch costs whoever
//! asks in that moment, and what open connections weigh.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tests::{Site, Upstream, fetch, process};

use super::{Row, unchanged};

const CONNECTIONS: usize = 1_000;
const ASKERS: usize = 4;
/// Files of one waybill: the reader of YAML takes some 50,000.
const WAYBILL_MAX: u64 = 40_000;

/// # Panics
///
/// When an answer is neither of the old generation nor of the new one.
pub fn measure(artifacts: u64) -> Vec<Row> {
    let (upstream, site) = (Upstream::start(), Site::new());
    let waybill = unchanged::waybill(&upstream, 0..artifacts.min(WAYBILL_MAX));
    site.outside.write_waybill(&waybill);
    for from in (WAYBILL_MAX..artifacts).step_by(usize::try_from(WAYBILL_MAX).expect("it fits")) {
        sync_more(&site, &upstream, from..artifacts.min(from + WAYBILL_MAX));
    }
    site.carry();
    let began = Instant::now();
    let server = site.inside.serve();
    let first = format!("{}/files/{}/files/0", server.url, upstream.host());
    assert_eq!(fetch::get(&first).map(|answer| answer.status).ok(), Some(200));
    let start = began.elapsed();
    let name = format!("{artifacts} artifacts");
    let mut rows = vec![Row::new(
        format!("{name}: start to first answer"),
        format!("{:.2} s", start.as_secs_f64()),
        "within 2 s",
    )];
    rows.push(connections(&server.url, server.pid()));
    upstream.put("/files/late", "late");
    let url = upstream.url();
    let sha256 = tests::fixtures::sha256(b"late");
    site.outside.write_waybill(&format!(
        "{waybill}    - {{url: \"{url}/files/late\", sha256: {sha256}}}\n"
    ));
    let longest = longest_answer_while(&first, || {
        site.carry();
        let late = format!("{}/files/{}/files/late", server.url, upstream.host());
        let deadline = Instant::now() + Duration::from_secs(60);
        while fetch::get(&late).map(|answer| answer.status).ok() != Some(200) {
            assert!(Instant::now() < deadline, "the server does not follow the switch");
        }
    });
    rows.push(Row::new(
        format!("{name}: longest answer while an import switches"),
        format!("{:.0} ms", longest.as_secs_f64() * 1000.0),
        "at most 100 ms",
    ));
    rows
}

/// Syncs a further waybill of the same site.
fn sync_more(site: &Site, upstream: &Upstream, artifacts: Range<u64>) {
    let name = format!("more-{}", artifacts.start);
    let head = format!("apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {{name: {name}}}\n");
    let text = format!("{head}spec:\n  sites: [prod]\n{}", unchanged::waybill(upstream, artifacts));
    let file = format!("{name}.yaml");
    site.outside.write(&file, text);
    site.outside.agent.run(&["sync", "-f", &file]).expect("sync failed");
}

/// What the server weighs while a thousand connections are open, each of which was answered.
fn connections(url: &str, pid: u32) -> Row {
    let host = url.trim_start_matches("http://");
    let open: Vec<TcpStream> = (0..CONNECTIONS).filter_map(|_| ask(host).ok()).collect();
    let memory = process::anonymous_memory_bytes(pid).unwrap_or(0);
    Row::new(
        format!("{} open connections: anonymous memory", open.len()),
        format!("{} MB", memory / 1_000_000),
        "at most 150 MB",
    )
}

fn ask(host: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(host)?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut head = [0; 64];
    stream.read_exact(&mut head)?;
    Ok(stream)
}

/// The longest that any of several clients waits for an answer while `work` is done.
fn longest_answer_while(url: &str, work: impl FnOnce()) -> Duration {
    let is_over = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..ASKERS)
        .map(|_| {
            let (is_over, url) = (Arc::clone(&is_over), url.to_owned());
            thread::spawn(move || {
                let mut longest = Duration::ZERO;
                while !is_over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    assert_eq!(fetch::get(&url).map(|answer| answer.status).ok(), Some(200));
                    longest = longest.max(asked.elapsed());
                }
                longest
            })
        })
        .collect();
    work();
    is_over.store(true, Ordering::Relaxed);
    let longest = askers.into_iter().map(|asker| asker.join().expect("every request answered"));
    longest.max().unwrap_or_default()
}
