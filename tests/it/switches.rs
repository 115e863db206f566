//! A switch is one step for every client: nothing fails across it, and nobody gets half of one
//! generation and half of another.

mod goods;
mod rounds;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use goods::{GENERATIONS, World};
use rounds::{Place, Round, apt_debs, dnf_rpms, done};
use serde_json::Value;
use tests::{
    Content, Gate, Site, Upstream,
    clients::{Client, clean},
    fetch,
    fixtures::sha256,
    process,
    site::{Agent, Server},
};

use crate::first_transfer::apt_key;

/// The clients that fetch something here.
const CLIENTS: [Client; 7] = [
    Client::AptGet,
    Client::Dnf,
    Client::Pip,
    Client::Helm,
    Client::Skopeo,
    Client::Crane,
    Client::Curl,
];

/// Forward and back, over one generation and to the next one.
const TURNS: [u64; 6] = [1, 3, 2, 1, 2, 3];

/// Switches, how many more there may be until every client has had enough of them, and how often
/// a client must have come round at least.
const SWITCHES: usize = 50;
const SWITCHES_MAX: usize = 300;
const ROUNDS: usize = 10;

/// A head is dated a second after the one before; apt takes none from further ahead than ten.
const PACE: Duration = Duration::from_millis(900);

/// A running server that can be switched, from any thread.
#[derive(Clone)]
struct Switch {
    agent: Agent,
    url: String,
}

impl Switch {
    fn of(site: &Site, server: &Server) -> Self {
        Self { agent: site.inside.agent.clone(), url: server.url.clone() }
    }

    /// Switches, and returns when the server has.
    fn to(&self, generation: u64) {
        let before = self.activation();
        self.agent.run(&["rollback", &generation.to_string()]).unwrap();
        for _ in 0..1000 {
            if before < self.activation() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not switch");
    }

    fn activation(&self) -> u64 {
        let health = fetch::get(&format!("{}/healthz", self.url)).unwrap().body;
        let health: Value = serde_json::from_slice(&health).unwrap();
        health["activation"].as_u64().unwrap()
    }
}

/// Serves with an access log.
fn serve(site: &Site) -> Server {
    let agent = &site.inside.agent;
    let args = ["serve", "--listen", "127.0.0.1:0", "-o", "json", "--log-format", "json"];
    let mut command = agent.command(&args);
    command.env("GAPFERRY_LOG", "warn,access=info");
    Server::of_command(agent, command)
}

/// Status and path of every request so far.
fn requests(server: &Server) -> Vec<(u64, String)> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let row = |line: Value| {
        let [status, path] = ["status", "path"].map(|name| line["fields"][name].clone());
        (status.as_u64().unwrap(), path.as_str().unwrap().to_owned())
    };
    lines.filter(|line| line["target"] == "access").map(row).collect()
}

/// The requests that were not answered with what was asked for.
fn refused(server: &Server) -> Vec<(u64, String)> {
    let mut requests = requests(server);
    assert!(!requests.is_empty(), "no access log\n{}", server.log());
    requests.retain(|(status, _)| 400 <= *status);
    requests
}

/// The generations that a client saw, a round each.
type Seen = BTreeMap<String, Vec<u64>>;

/// Whether every client came round often, and those that look for what is new saw all there is.
fn is_enough(seen: &Seen, clients: usize) -> bool {
    let all = |(name, seen): (&String, &Vec<u64>)| {
        let kinds = seen.iter().collect::<BTreeSet<_>>().len() as u64;
        ROUNDS <= seen.len() && (name.ends_with(LATE) || kinds == GENERATIONS)
    };
    seen.len() == clients && seen.iter().all(all)
}

/// What the name of a client ends with that never looks for what is new.
const LATE: &str = ", not updated";

/// Every client of this machine by its name; apt and dnf a second time, with what they read once.
fn all_clients(world: &World, place: &Place) -> Vec<(String, Round)> {
    let mut all: Vec<(String, Round)> = Vec::new();
    for client in CLIENTS {
        let name = client.name();
        let Some(round) = place.round(client, world.site.path(name)) else { continue };
        all.push((name.to_owned(), round));
        let late = world.site.path(&format!("{name}-late"));
        fs::create_dir_all(&late).unwrap();
        let late: Round = match client {
            Client::AptGet => {
                let apt = place.apt(&late);
                done(&apt.update());
                Box::new(move || apt_debs(&apt))
            }
            Client::Dnf => {
                let dnf = place.dnf(&late);
                done(&dnf.run(&["makecache"]));
                Box::new(move || dnf_rpms(&dnf))
            }
            _ => continue,
        };
        all.push((format!("{name}{LATE}"), late));
    }
    all
}

/// Has all clients come round while `turn` is called over and over.
fn run_under_switches(world: &World, clients: Vec<(String, Round)>, turn: impl Fn(u64)) -> Seen {
    let (count, stop, seen) = (clients.len(), AtomicBool::new(false), Mutex::new(Seen::new()));
    thread::scope(|scope| {
        let (stop, seen) = (&stop, &seen);
        let runs: Vec<_> = clients
            .into_iter()
            .map(|(name, mut round)| {
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let number = world.generation(&round());
                        seen.lock().unwrap().entry(name.clone()).or_default().push(number);
                    }
                })
            })
            .collect();
        for (number, generation) in TURNS.into_iter().cycle().take(SWITCHES_MAX).enumerate() {
            let has_failed = runs.iter().any(thread::ScopedJoinHandle::is_finished);
            if has_failed || SWITCHES <= number && is_enough(&seen.lock().unwrap(), count) {
                break;
            }
            turn(generation);
        }
        stop.store(true, Ordering::Relaxed);
    });
    seen.into_inner().unwrap()
}

#[test]
fn fifty_switches_under_all_clients_fail_nothing_and_mix_nothing() {
    let world = World::new();
    let server = serve(&world.site);
    let place = Place::new(&world, &server.url, &apt_key(&server));
    let clients = all_clients(&world, &place);
    let (count, switch) = (clients.len(), Switch::of(&world.site, &server));
    let is_required = env::var("GAPFERRY_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(0 < count || !is_required, "no client was there to be disturbed");
    let seen = run_under_switches(&world, clients, |generation| {
        switch.to(generation);
        thread::sleep(PACE);
    });
    assert!(is_enough(&seen, count), "{seen:?}");
    for (name, seen) in seen.iter().filter(|(name, _)| name.ends_with(LATE)) {
        assert_eq!(BTreeSet::from_iter(seen), BTreeSet::from([&GENERATIONS]), "{name}");
    }
    assert!(SWITCHES as u64 + GENERATIONS <= switch.activation());
    assert_eq!(refused(&server), []);
}

#[test]
fn a_switch_between_any_two_requests_of_a_client_changes_nothing_for_it() {
    let world = World::new();
    let server = serve(&world.site);
    let gate = Gate::before(server.host());
    let place = Place::new(&world, &gate.url(), &apt_key(&server));
    let switch = Switch::of(&world.site, &server);
    // dnf reads the head and its signature twice: to see whether they changed, and to keep them.
    let cases = [
        (Client::AptGet, 1, "/by-hash/"),
        (Client::AptGet, 1, "/pool/"),
        (Client::Dnf, 2, "/repomd.xml.asc"),
        (Client::Dnf, 1, "-primary.xml"),
        (Client::Dnf, 1, ".rpm"),
        (Client::Pip, 1, "/simple/beta/"),
        (Client::Pip, 1, ".whl"),
        (Client::Helm, 1, ".tgz"),
        (Client::Skopeo, 1, "/manifests/sha256:"),
        (Client::Skopeo, 1, "/blobs/"),
    ];
    for (number, (client, nth, part)) in cases.into_iter().enumerate() {
        let (from, to) = if number % 2 == 0 { (1, GENERATIONS) } else { (GENERATIONS, 2) };
        let home = world.site.path(&format!("home-{number}"));
        let Some(mut round) = place.round(client, home) else { continue };
        // dnf takes the key on its first round, and begins anew with it.
        switch.to(to);
        assert_eq!(world.generation(&round()), to, "{client:?} {part}, before");
        switch.to(from);
        let switching = switch.clone();
        gate.before_request(part, nth, move || switching.to(to));
        let asked = requests(&server).len();
        let got = world.generation(&round());
        let asked = &requests(&server)[asked..];
        assert_eq!(got, from, "{client:?} {part}: {asked:#?}");
        assert!(gate.is_done(), "{client:?} never asked for {part}");
        assert_eq!(world.generation(&round()), to, "{client:?} {part}, afterwards");
    }
    assert_eq!(refused(&server), []);
}

#[test]
fn a_download_that_began_before_a_switch_ends_on_the_generation_it_began_with() {
    // More than the kernel takes from the server for a client that does not read.
    const LEN_BYTES: u64 = 12 << 20;
    if !Client::Curl.usable() {
        return;
    }
    let (upstream, site) = (Upstream::start(), Site::new());
    let [old, new] = [Content::new(1, LEN_BYTES), Content::new(2, 1 << 20)];
    for content in [old, new] {
        upstream.put_content("/files/large", content);
        let (url, sha256) = (upstream.url(), content.sha256());
        let line = format!("  files: [{{url: \"{url}/files/large\", sha256: {sha256}}}]\n");
        site.outside.write_waybill(&line);
        site.carry();
    }
    let server = serve(&site);
    let (switch, taken) = (Switch::of(&site, &server), site.path("taken"));
    let url = format!("{}/files/{}/files/large", server.url, upstream.host());
    switch.to(1);
    let mut curl = clean("curl", &site.path(""));
    curl.args(["--fail", "--silent", "--show-error", "--noproxy", "*", "--limit-rate", "2M"]);
    let curl = process::start(curl.args(["-o", "taken", &url]));
    let len = || fs::metadata(&taken).map_or(0, |meta| meta.len());
    while len() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    curl.signal("STOP");
    switch.to(2);
    assert!((1..LEN_BYTES).contains(&len()), "the download ended before the switch");
    curl.signal("CONT");
    done(&curl.finish());
    let got = fs::read(&taken).unwrap();
    assert_eq!((got.len() as u64, sha256(&got)), (LEN_BYTES, old.sha256()));
    assert_eq!(fetch::sha256(&url).unwrap(), (new.len_bytes, new.sha256()));
    assert_eq!(refused(&server), []);
}
