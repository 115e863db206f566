//! Connections over real sockets: what is slow, what never ends, what is no HTTP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use gapferry_common::durable;
use tokio::sync::oneshot;

use super::*;
use crate::serve::listen::{Listening, Patience, run_patiently};
use crate::settings::Aliases;

/// A server on a port of its own, until it is dropped.
struct Served {
    address: SocketAddr,
    _site: TestSite,
    _end: oneshot::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

fn serve(site: TestSite, patience: Patience, tls: Option<Arc<Tls>>) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let users = site.root().join("users");
    let auth = Arc::new(Auth::open(users, Access::default(), "prod").unwrap());
    let front = Front::new(Arc::clone(&site.app), auth, Aliases::default());
    let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = socket.local_addr().unwrap();
    let (end, ending) = oneshot::channel();
    runtime.spawn(run_patiently(front, vec![Listening { socket, tls }], patience, async {
        let _ = ending.await;
    }));
    Served { address, _site: site, _end: end, _runtime: runtime }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// All that comes back for some bytes, and how long it took.
    fn answer(&self, bytes: &[u8]) -> (String, Duration) {
        let (mut socket, began) = (self.connect(), Instant::now());
        socket.write_all(bytes).unwrap();
        let mut all = Vec::new();
        let _reset = read_all(&mut socket, &mut all);
        (String::from_utf8_lossy(&all).into_owned(), began.elapsed())
    }
}

fn read_all(socket: &mut TcpStream, all: &mut Vec<u8>) -> io::Result<usize> {
    let read = socket.read_to_end(all);
    let is_hung = |e: &io::Error| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!read.as_ref().is_err_and(is_hung), "the connection was never closed");
    read
}

const QUICK: Duration = Duration::from_millis(400);

/// What takes so long was never going to end: no other bound is shorter.
const HUNG: Duration = Duration::from_secs(8);

fn site_with(len: usize) -> TestSite {
    let site = TestSite::empty();
    let content = vec![7; len];
    site.put(&content);
    site.switch(&[&[fixture::file("h/a", &content)]]);
    site
}

fn tls(site: &TestSite) -> Arc<Tls> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = site.root().join("tls.pem");
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
    durable::write_secret(&path, pem.as_bytes()).unwrap();
    Arc::new(Tls::load(path.clone(), path).unwrap())
}

#[test]
fn a_head_that_does_not_end_and_a_connection_that_idles_are_closed() {
    let served = serve(site_with(1), Patience { head: QUICK, ..Patience::default() }, None);
    for bytes in [&b""[..], b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: "] {
        let (answer, took) = served.answer(bytes);
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!((QUICK..HUNG).contains(&took), "{took:?}");
    }
    let (answer, took) = served.answer(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(answer.contains("200 OK"), "{answer}");
    assert!((QUICK..HUNG).contains(&took), "{took:?}");
}

#[test]
fn a_head_that_is_too_long_gets_a_status_and_an_end() {
    let served = serve(site_with(1), Patience::default(), None);
    let long = "a".repeat(100_000);
    let many = "x: y\r\n".repeat(150);
    for (request, status) in [
        (format!("GET /files/{long} HTTP/1.1\r\nhost: a\r\n\r\n"), "414"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\nconnection: close\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), "431"),
        ("\u{1}\u{2}nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let (answer, _) = served.answer(request.as_bytes());
        let first = answer.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("HTTP/1.1 {status}")), "{first}");
    }
}

#[test]
fn a_client_that_takes_nothing_is_left_and_one_that_is_slow_is_served() {
    const LEN: usize = 24 << 20;
    let still = Duration::from_secs(1);
    let served = serve(site_with(LEN), Patience { still, ..Patience::default() }, None);
    let ask = || {
        let mut socket = served.connect();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 << 10).unwrap();
        socket
            .write_all(b"GET /files/h/a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        socket
    };
    let mut dead = ask();
    let (mut slow, began) = (ask(), Instant::now());
    let (mut piece, mut got) = (vec![0; 1 << 20], 0);
    loop {
        let len = slow.read(&mut piece).unwrap();
        if len == 0 {
            break;
        }
        got += len;
        let pace = Duration::from_secs_f64(got as f64 / (6 << 20) as f64);
        std::thread::sleep(pace.saturating_sub(began.elapsed()));
    }
    assert!(LEN < got && still * 3 < began.elapsed(), "{got} bytes in {:?}", began.elapsed());
    let mut all = Vec::new();
    let read = read_all(&mut dead, &mut all);
    assert!(all.len() < LEN, "{read:?}, {} bytes", all.len());
}

#[test]
fn a_port_of_tls_answers_plain_http_in_plain_words_and_waits_for_nobody() {
    let site = site_with(1);
    let tls = tls(&site);
    let patience = Patience { handshake: QUICK, ..Patience::default() };
    let served = serve(site, patience, Some(tls));
    let (answer, _) = served.answer(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert_eq!(body, "this port speaks TLS; ask for https:// there\n");
    for bytes in [&b""[..], b"\x16\x03\x01"] {
        let (answer, took) = served.answer(bytes);
        assert!(answer.is_empty() && (QUICK..HUNG).contains(&took), "{answer} {took:?}");
    }
}
