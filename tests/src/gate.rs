//! A gate before a server: it lets everything through, and holds one request back until
//! something has been done.
//!
//! In:   the server's address; part of a path, and what to do before that request goes on.
//! Out:  an address for clients. Each of their connections is one connection to the server.
//!
//! For requests without a body over plain HTTP/1.1.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A running gate; it ends with the value.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    plan: Arc<Plan>,
    ended: Arc<AtomicBool>,
}

#[derive(Default)]
struct Plan(Mutex<Option<Step>>);

struct Step {
    part: String,
    /// How many such requests go through before.
    pass: usize,
    action: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plan").finish_non_exhaustive()
    }
}

impl Gate {
    /// Opens a gate before the server at `host`, `127.0.0.1:PORT`.
    ///
    /// # Panics
    ///
    /// When that is no address, or the machine has no port to give.
    pub fn before(host: &str) -> Self {
        let server: SocketAddr = host.parse().expect("an address and a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let gate = Self { address, plan: Arc::default(), ended: Arc::default() };
        let (plan, ended) = (Arc::clone(&gate.plan), Arc::clone(&gate.ended));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let plan = Arc::clone(&plan);
                // A connection that breaks is the client's to tell.
                thread::spawn(move || pass(client, server, &plan));
            }
        });
        gate
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does `action` before the `nth` request from now on, counted from 1, whose path contains
    /// `part`.
    pub fn before_request(&self, part: &str, nth: usize, action: impl FnOnce() + Send + 'static) {
        let step = Step { part: part.to_owned(), pass: nth - 1, action: Box::new(action) };
        *self.plan.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
    }

    /// Whether such a request has come.
    pub fn is_done(&self) -> bool {
        self.plan.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _wake = TcpStream::connect(self.address);
    }
}

impl Plan {
    /// Other requests wait meanwhile.
    fn reach(&self, path: &str) {
        let mut plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |step: &mut Step| {
            let (fits, due) = (path.contains(&step.part), step.pass == 0);
            step.pass -= usize::from(fits && !due);
            fits && due
        };
        if let Some(step) = plan.take_if(is_due) {
            (step.action)();
        }
    }
}

fn pass(client: TcpStream, server: SocketAddr, plan: &Plan) -> io::Result<()> {
    let mut to_server = TcpStream::connect(server)?;
    to_server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (mut from_server, mut to_client) = (to_server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _broken = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Write)
    });
    let (mut from_client, mut line) = (BufReader::new(client), String::new());
    while 0 < from_client.read_line(&mut line)? {
        if let Some(path) = path(&line) {
            plan.reach(path);
        }
        to_server.write_all(line.as_bytes())?;
        line.clear();
    }
    to_server.shutdown(Shutdown::Write)
}

/// The path of a request line; none of any other line of a head.
fn path(line: &str) -> Option<&str> {
    let (_, path) = line.trim_end().strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fetch, upstream::Upstream};

    #[test]
    fn a_request_waits_until_the_step_before_it_is_done() {
        let upstream = Arc::new(Upstream::start());
        upstream.put("/a", "old");
        upstream.put("/b", "old");
        let gate = Gate::before(&upstream.host());
        let changed = Arc::clone(&upstream);
        gate.before_request("/b", 2, move || changed.put("/b", "new"));
        let body = |path: &str| fetch::get(&format!("{}{path}", gate.url())).unwrap().body;
        for path in ["/a", "/b"] {
            assert_eq!((body(path), gate.is_done()), (b"old".to_vec(), false));
        }
        assert_eq!((body("/b"), gate.is_done()), (b"new".to_vec(), true));
    }
}
