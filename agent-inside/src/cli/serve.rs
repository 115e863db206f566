//! `serve`: everything over HTTP, with TLS or without; follows the switch, the users and the
//! certificate.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use gapferry_common::{
    cli::Global,
    exit::{Ended, Exit},
};
use gapferry_proto::{Sequence, Snapshot, want::Want};
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    cli::import::repository_key,
    generation::{Current, State, StateError},
    home::Home,
    local::{Local, Overlap, Prefixes},
    publish,
    serve::{
        self, Access, Activation, App, Auth, BlobPaths, Front, Generation, Listening, Push, Site,
        Tls, WantSink,
    },
    settings::{Listener, Readers, TlsMode},
    site_ca::SiteCa,
    users,
    wants::Wants,
};

/// How often the switch is looked for, and changes of users and certificates.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Address and port; may be repeated [default: `listen` in config.toml, else 0.0.0.0:8080, and
    /// 0.0.0.0:5000 for registry clients]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
}

pub fn run(args: &ServeArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the network runtime")?.block_on(serve(args, home, global))
}

async fn serve(args: &ServeArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let (ca, tls) = tls(home)?;
    let auth = auth(home, tls.is_some())?;
    let mut listeners = Vec::new();
    let mut urls = Vec::new();
    for wanted in wanted(args, home) {
        let socket = TcpListener::bind(&wanted.address).await.with_context(|| {
            format!("cannot listen on {wanted}; `listen` in config.toml says where else")
        })?;
        let tls = tls.clone().filter(|_| !wanted.always_plain);
        let scheme = if tls.is_some() { "https" } else { "http" };
        urls.push(format!("{scheme}://{}", socket.local_addr()?));
        listeners.push(Listening { socket, tls });
    }
    let state = State::of(home.root());
    let app = Arc::new(match push(home, &state, &auth)? {
        Some(push) => app(home, ca)?.with_push(push),
        None => app(home, ca)?,
    });
    let prefixes = home.push_prefixes().clone();
    let shown = show(&app, &state, &prefixes, None)?;
    global.print(&json!({"listening": urls}), || format!("Listening on {}", urls.join(", ")));
    let front = Front::new(Arc::clone(&app), Arc::clone(&auth), home.config().aliases.clone());
    let following = tokio::spawn(follow(Followed { app, auth, tls, state, prefixes }, shown));
    serve::run(front, listeners, ended()).await;
    following.abort();
    Ok(Exit::Done)
}

fn wanted(args: &ServeArgs, home: &Home) -> Vec<Listener> {
    if args.listen.is_empty() {
        return home.config().listen.listeners();
    }
    let given = args.listen.iter().cloned();
    given.map(|address| Listener { address, always_plain: false }).collect()
}

/// The CA to show, and the certificate of the listeners.
fn tls(home: &Home) -> anyhow::Result<(Option<String>, Option<Arc<Tls>>)> {
    let settings = &home.config().tls;
    match settings.mode {
        TlsMode::Off => Ok((None, None)),
        TlsMode::SiteCa => {
            let ca = SiteCa::open(home.root(), home.site())?;
            let (path, facts) = ca.leaf(&names(&settings.names), Timestamp::now())?;
            tracing::info!(names = ?facts.names, until = %facts.not_after, "serving TLS");
            let tls = Tls::load(path.clone(), path)?;
            Ok((Some(ca.pem().to_owned()), Some(Arc::new(tls))))
        }
        TlsMode::Files => {
            let (Some(cert), Some(key)) = (&settings.cert, &settings.key) else {
                let what = "tls.mode = \"files\" in config.toml needs tls.cert and tls.key";
                return Err(Ended::new(Exit::Usage, what).into());
            };
            let (cert, key) = (home.root().join(cert), home.root().join(key));
            let tls = Tls::load(cert, key)
                .map_err(|e| Ended::because(Exit::Usage, "tls in config.toml is of no use", e))?;
            Ok((None, Some(Arc::new(tls))))
        }
    }
}

/// The names of the server's certificate: those of the configuration, else this machine's own;
/// and this machine as it calls itself.
fn names(configured: &[String]) -> Vec<String> {
    let mut names = configured.to_vec();
    if names.is_empty() {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        tracing::warn!(host, "tls.names in config.toml is empty; clients must use this name");
        names.push(host);
    }
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names
}

fn auth(home: &Home, is_tls: bool) -> anyhow::Result<Arc<Auth>> {
    let rules = &home.config().access;
    let path = users::path(home.root());
    let mut access = Access::new(rules);
    if !home.push_prefixes().is_empty() {
        access = access.asking_at_registry();
    }
    let auth = Auth::open(path, access, home.site().as_str())?;
    if auth.has_users() && !is_tls {
        tracing::warn!("there are users and no TLS: their passwords can be read on the network");
    }
    for rule in rules {
        let Readers::Users(readers) = &rule.readers else { continue };
        for user in readers.iter().filter(|user| !auth.knows(user)) {
            tracing::warn!(%user, path = rule.path, "an access rule names a user who is not there");
        }
    }
    Ok(Arc::new(auth))
}

/// What takes pushes, when something may be pushed.
fn push(home: &Home, state: &State, auth: &Arc<Auth>) -> anyhow::Result<Option<Push>> {
    let prefixes = home.push_prefixes();
    if prefixes.is_empty() {
        return Ok(None);
    }
    for generation in state.generations()? {
        let Some(snapshot) = state.snapshot(generation.snapshot)? else { continue };
        check_overlap(prefixes, generation.sequence, &snapshot)?;
    }
    let local = Local::open(home.root(), home.store()?, prefixes.clone())?;
    Ok(Some(Push::new(Arc::new(local), Arc::clone(auth))))
}

/// Refuses a generation that carries names to which users push.
fn check_overlap(
    prefixes: &Prefixes,
    sequence: Sequence,
    snapshot: &Snapshot,
) -> anyhow::Result<()> {
    let names = publish::oci::repositories(snapshot);
    let Some(Overlap { prefix, repository }) = prefixes.overlap(names) else { return Ok(()) };
    let what = format!(
        "config.toml lets users push below {prefix}, but generation {sequence} carries \
         {repository}; choose another prefix"
    );
    Err(Ended::new(Exit::Usage, what).into())
}

fn app(home: &Home, ca: Option<String>) -> anyhow::Result<App> {
    let blobs = BlobPaths::new(home.store()?.root().to_owned());
    let key = repository_key(home)?.public_armoured()?;
    let wants = Box::new(Sink(Wants::open(home.root())?));
    let app = App::new(home.site().clone(), key, blobs, wants);
    Ok(match ca {
        Some(pem) => app.with_ca(pem),
        None => app,
    })
}

struct Sink(Wants);

impl WantSink for Sink {
    fn want(&self, want: Want, client: Option<String>) {
        let Ok(want) = want.checked() else { return };
        if let Err(error) = self.0.add(want, client, Timestamp::now()) {
            tracing::warn!(%error, "a want could not be written");
        }
    }

    fn all(&self) -> Vec<Want> {
        self.0.all()
    }
}

/// What changes under a running server.
#[derive(Clone)]
struct Followed {
    app: Arc<App>,
    auth: Arc<Auth>,
    tls: Option<Arc<Tls>>,
    state: State,
    prefixes: Prefixes,
}

/// What a server shows: what is current, and the generations that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shown {
    current: Current,
    kept: BTreeSet<Sequence>,
}

impl Followed {
    fn look(&self, shown: Option<&Shown>) -> anyhow::Result<Option<Shown>> {
        self.auth.reload();
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        show(&self.app, &self.state, &self.prefixes, shown)
    }
}

/// Looks for a switch and for sweeps for as long as the process lives.
async fn follow(followed: Followed, mut shown: Option<Shown>) {
    let mut failed = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        followed.app.expire();
        let (followed, last) = (followed.clone(), shown.clone());
        let looked = tokio::task::spawn_blocking(move || followed.look(last.as_ref())).await;
        match looked {
            Ok(Ok(now)) => (shown, failed) = (now, String::new()),
            Ok(Err(error)) if format!("{error:#}") == failed => {} // said before
            Ok(Err(error)) => {
                failed = format!("{error:#}");
                tracing::error!(error = failed, "cannot switch; the generation before is served");
            }
            Err(error) => tracing::error!(%error, "looking for the switch failed"),
        }
    }
}

/// Shows the current generation and those that are kept, unless they are shown already; what is
/// shown now. A generation that a sweep took out of the list is let go by this.
fn show(
    app: &App,
    state: &State,
    prefixes: &Prefixes,
    shown: Option<&Shown>,
) -> anyhow::Result<Option<Shown>> {
    let Some(current) = state.current()? else { return Ok(None) };
    let now = Shown { current, kept: state.sequences()? };
    if shown == Some(&now) {
        return Ok(Some(now));
    }
    let activation = activation(state, &now.current)?;
    // An import looks at the prefixes when it begins; they may be others by now.
    check_overlap(prefixes, activation.current.sequence, &activation.current.snapshot)?;
    app.switch(Site::new(activation)?);
    let kept: Vec<u64> = now.kept.iter().map(|sequence| sequence.0).collect();
    tracing::info!(generation = %now.current.generation, ?kept, "switched");
    Ok(Some(now))
}

fn activation(state: &State, current: &Current) -> Result<Activation, StateError> {
    let (mut now, mut kept, mut holds) = (None, vec![], vec![]);
    for (generation, hold) in state.hold_all()? {
        let (sequence, snapshot) = (generation.sequence, state.list(&generation)?);
        let shown = Generation { sequence, snapshot, documents: state.documents(sequence) };
        holds.push(hold);
        match sequence == current.generation {
            true => now = Some(shown),
            false => kept.push(shown),
        }
    }
    Ok(Activation {
        number: current.activation,
        heads: state.heads(current.activation),
        current: now.ok_or(StateError::NoGeneration(current.generation))?,
        kept,
        holds,
    })
}

/// Ends on SIGINT or SIGTERM.
async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
