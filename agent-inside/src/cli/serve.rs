//! `serve`: everything over HTTP; follows the switch.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context;
use gapferry_common::{
    cli::Global,
    exit::{Ended, Exit},
};
use gapferry_proto::Kind;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    cli::import::repository_key,
    generation::{Current, State, StateError},
    home::Home,
    local::{self, Local, Overlap},
    publish,
    serve::{self, Activation, App, BlobPaths, Generation, Passwords, Push, Site, WantSink},
    wants::Wants,
};

/// How often the switch is looked for.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Address and port [default: `listen` in config.toml, else 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

pub fn run(args: &ServeArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the network runtime")?.block_on(serve(args, home, global))
}

async fn serve(args: &ServeArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let address = args.listen.as_ref().unwrap_or(&home.config().listen);
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let state = State::of(home.root());
    let app = Arc::new(match push(home, &state)? {
        Some(push) => app(home)?.with_push(push),
        None => app(home)?,
    });
    let shown = show(&app, &state, None)?;
    let url = format!("http://{}", listener.local_addr()?);
    global.print(&json!({"listening": [url]}), || format!("Listening on {url}"));
    let following = tokio::spawn(follow(Arc::clone(&app), state, shown));
    serve::run(app, vec![listener], ended()).await;
    following.abort();
    Ok(Exit::Done)
}

/// What takes pushes, when something may be pushed.
fn push(home: &Home, state: &State) -> anyhow::Result<Option<Push>> {
    let prefixes = home.push_prefixes();
    if prefixes.is_empty() {
        return Ok(None);
    }
    for generation in state.generations()? {
        let Some(snapshot) = state.snapshot(generation.snapshot)? else { continue };
        let names = publish::oci::repositories(&snapshot);
        if let Some(Overlap { prefix, repository }) = prefixes.overlap(names) {
            let what = format!(
                "config.toml lets users push below {prefix}, but generation {} carries \
                 {repository}; choose another prefix",
                generation.sequence
            );
            return Err(Ended::new(Exit::Usage, what).into());
        }
    }
    let local = Local::open(local::folder(home.root()), home.store()?, prefixes.clone())?;
    Ok(Some(Push::new(Arc::new(local), Arc::new(Passwords::new(home.users())))))
}

fn app(home: &Home) -> anyhow::Result<App> {
    let blobs = BlobPaths::new(home.store()?.root().to_owned());
    let key = repository_key(home)?.public_armoured()?;
    let wants = Box::new(Sink(Wants::open(home.root())?));
    Ok(App::new(home.site().clone(), key, blobs, wants))
}

struct Sink(Wants);

impl WantSink for Sink {
    fn want(&self, kind: Kind, name: &str, _client: Option<IpAddr>) {
        self.0.add(kind, name);
    }
}

/// Looks for a switch for as long as the process lives.
async fn follow(app: Arc<App>, state: State, mut shown: Option<Current>) {
    let mut failed = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        app.expire_uploads();
        let (app, state, last) = (Arc::clone(&app), state.clone(), shown.clone());
        let looked = tokio::task::spawn_blocking(move || show(&app, &state, last.as_ref())).await;
        match looked {
            Ok(Ok(current)) => (shown, failed) = (current, String::new()),
            Ok(Err(error)) if format!("{error:#}") == failed => {} // said before
            Ok(Err(error)) => {
                failed = format!("{error:#}");
                tracing::error!(error = failed, "cannot switch; the generation before is served");
            }
            Err(error) => tracing::error!(%error, "looking for the switch failed"),
        }
    }
}

/// Shows the current generation unless it is shown already; what is shown now.
fn show(app: &App, state: &State, shown: Option<&Current>) -> anyhow::Result<Option<Current>> {
    let current = state.current()?;
    if let Some(current) = current.as_ref().filter(|current| Some(*current) != shown) {
        app.switch(Site::new(activation(state, current)?)?);
        tracing::info!(generation = %current.generation, "switched");
    }
    Ok(current)
}

fn activation(state: &State, current: &Current) -> Result<Activation, StateError> {
    let load = |generation: crate::generation::Generation| {
        let snapshot = state.snapshot(generation.snapshot)?;
        let sequence = generation.sequence;
        let snapshot = snapshot.ok_or(StateError::NoGeneration(sequence))?;
        Ok::<_, StateError>(Generation { sequence, snapshot, documents: state.documents(sequence) })
    };
    let others = state.generations()?.into_iter().filter(|g| g.sequence != current.generation);
    Ok(Activation {
        number: current.activation,
        heads: state.heads(current.activation),
        current: load(state.generation(current.generation)?)?,
        kept: others.map(load).collect::<Result<_, _>>()?,
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
