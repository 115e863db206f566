//! Serves the current generation to the nodes of the site.
//!
//! In:   an [`Activation`] as the importer left it, and HTTP requests.
//! Out:  bytes of the store and of the generation's documents; wants for what is not held.
//! Never: keys, the import, anything that writes, but for one room: `oci::push` takes what
//! users push into [`crate::local`], where `config.toml` allows it, and reaches nothing else. The
//! switch is one pointer, [`App::switch`]; a request that began before it ends on the generation
//! it began with.
//!
//! # What a hostile client may try
//!
//! | attempt                       | stopped by                                             |
//! |-------------------------------|--------------------------------------------------------|
//! | a path out of the folder      | addresses are looked up, never joined; `SafePath`      |
//! | a blob of another repository  | `Repository::blobs`                                    |
//! | headers without end, or slow  | `listen`: hyper's bounds and a timeout                 |
//! | connections without end       | `limits::CONNECTIONS_MAX`                              |
//! | pushes without a login        | `oci::push`: every write asks `Identify` first         |
//! | pushes without end            | the quota of its prefix, `limits::UPLOADS_MAX`         |
//! | names to fill the wants with  | `limits::WANTS_MAX`, `limits::NAME_LEN_BYTES_MAX`      |

mod apt;
mod body;
mod conditional;
mod error;
mod files;
mod health;
mod listen;
mod oci;
mod pypi;
mod site;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::{HeaderMap, Method, request::Parts};
use axum::routing::{any, get};
use gapferry_proto::{Kind, SiteName};
use tower_http::catch_panic::CatchPanicLayer;

pub use error::ServeError;
pub use listen::run;
pub use oci::{Passwords, Push};
pub use site::{Activation, BlobPaths, Generation, Site};

/// Takes note of what clients asked for and this site does not hold. Must return at once: it is
/// called while the client waits.
pub trait WantSink: Send + Sync {
    fn want(&self, kind: Kind, name: &str, client: Option<IpAddr>);
}

/// What every request sees.
pub struct App {
    /// None before the first import.
    site: ArcSwapOption<Site>,
    blobs: BlobPaths,
    name: SiteName,
    /// The armoured public key that vouches for the repositories.
    key: String,
    wants: Box<dyn WantSink>,
    /// None when nothing may be pushed.
    push: Option<Push>,
}

impl App {
    /// Makes a server's state that holds no generation yet.
    pub fn new(name: SiteName, key: String, blobs: BlobPaths, wants: Box<dyn WantSink>) -> Self {
        Self { site: ArcSwapOption::empty(), blobs, name, key, wants, push: None }
    }

    /// Takes pushes.
    #[must_use]
    pub fn with_push(mut self, push: Push) -> Self {
        self.push = Some(push);
        self
    }

    /// Forgets uploads to which nothing is added any more.
    pub fn expire_uploads(&self) {
        if let Some(push) = &self.push {
            push.expire_uploads();
        }
    }

    /// Makes `site` current for every request from now on.
    pub fn switch(&self, site: Site) {
        self.site.store(Some(Arc::new(site)));
    }

    /// Hands a want on, once for each name between two switches.
    fn want(&self, ask: &Ask, kind: Kind, name: &str) {
        if ask.site.first_asked(kind, name) {
            tracing::info!(%kind, name, client = ?ask.client, "asked for, not held");
            self.wants.want(kind, name, ask.client);
        }
    }
}

/// What a handler needs of a request, and the site it is answered from.
pub struct Ask {
    method: Method,
    headers: HeaderMap,
    query: Option<String>,
    client: Option<IpAddr>,
    site: Arc<Site>,
}

impl FromRequestParts<Arc<App>> for Ask {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ServeError> {
        Ok(Self {
            method: parts.method.clone(),
            headers: parts.headers.clone(),
            query: parts.uri.query().map(str::to_owned),
            client: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
            site: app.site.load_full().ok_or(ServeError::NothingImported)?,
        })
    }
}

/// All routes. HEAD is answered wherever GET is.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(status::get_status))
        .route("/healthz", get(health::get_health))
        .route("/keys/site.asc", get(status::get_key))
        .route("/files/", get(files::get_root))
        .route("/files/{*path}", get(files::get_file))
        .route("/v2", any(oci::any_base))
        .route("/v2/", any(oci::any_base))
        .route("/v2/{*path}", any(oci::any_v2))
        .route("/apt/{target}/{*path}", get(apt::get_apt))
        .route("/pypi/simple", get(pypi::to_index))
        .route("/pypi/simple/", get(pypi::get_index))
        .route("/pypi/simple/{project}", get(pypi::to_project))
        .route("/pypi/simple/{project}/", get(pypi::get_project))
        .route("/pypi/packages/{filename}", get(pypi::get_distribution))
        .fallback(not_found)
        .layer(CatchPanicLayer::new())
        .with_state(app)
}

async fn not_found(_: Ask) -> ServeError {
    ServeError::NotFound("anything there; / says what it serves".to_owned())
}

#[cfg(test)]
mod tests;
