//! Serves the current generation to the nodes of the site.
//!
//! In:   an [`Activation`] as the importer left it, and HTTP requests.
//! Out:  bytes of the store and of the generation's documents; wants for what is not held.
//! Never: keys, the import, anything that writes, but for a want and for one room: `oci::push` takes
//! what users push into [`crate::local`], where `config.toml` allows it, and reaches nothing else.
//! The switch is one pointer, [`App::switch`]; a request that began before it ends on the generation
//! it began with, and for some seconds so does a client that reads several documents in turn
//! ([`recent`]).
//!
//! # What a hostile client may try
//!
//! | attempt                       | stopped by                                             |
//! |-------------------------------|--------------------------------------------------------|
//! | a path out of the folder      | addresses are looked up, never joined; `SafePath`      |
//! | a blob of another repository  | `Repository::blobs`                                    |
//! | headers without end, or slow  | `listen`, `front`: bounds and a timeout                |
//! | a body that is never read     | `listen`: TCP's own timeout; `pulse`                   |
//! | passwords by the thousand     | `auth`                                                 |
//! | connections without end       | `limits::CONNECTIONS_MAX`                              |
//! | pushes without a login        | `oci::push`: only users that `auth` knows are let in   |
//! | pushes without end            | the quota of its prefix, `limits::UPLOADS_MAX`         |
//! | memory, by lists or documents | `oci::referrers`: pages, room; `shared`: one copy      |
//! | names to fill the wants with  | `limits::WANTS_MAX`, `limits::NAME_LEN_BYTES_MAX`      |

mod access_log;
mod alias;
mod apt;
mod auth;
mod body;
mod conditional;
mod error;
mod files;
mod front;
mod health;
mod helm;
mod listen;
mod oci;
mod pulse;
mod pypi;
mod recent;
mod shared;
mod site;
mod status;
mod tls;
mod wants;
mod yum;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::{HeaderMap, Method, request::Parts};
use axum::routing::{any, get, post};
use gapferry_proto::want::Want;
use gapferry_proto::{Kind, SiteName};
use tower_http::catch_panic::CatchPanicLayer;

pub use auth::{Access, Auth};
pub use error::ServeError;
pub use front::Front;
pub use listen::{Listening, run};
pub use oci::Push;
use recent::{Connection, Recent};
use shared::Shared;
use site::Asked;
pub use site::{Activation, BlobPaths, Generation, Site};
pub use tls::Tls;

/// Takes note of what clients asked for and this site does not hold. Must return at once: it is
/// called while the client waits.
pub trait WantSink: Send + Sync {
    /// Notes a want as a client wrote it; what names nothing that could be wanted is passed over.
    fn want(&self, want: Want, client: Option<String>);

    /// What is wanted now, for people.
    fn all(&self) -> Vec<Want>;
}

/// What every request sees.
pub struct App {
    /// None before the first import.
    site: ArcSwapOption<Site>,
    recent: Recent,
    blobs: BlobPaths,
    name: SiteName,
    /// The armoured public key that vouches for the repositories.
    key: String,
    /// The certificate, in PEM, of the CA that vouches for this server.
    ca: Option<String>,
    wants: Box<dyn WantSink>,
    /// None when nothing may be pushed.
    push: Option<Push>,
    shared: Shared,
}

impl App {
    /// Makes a server's state that holds no generation yet.
    pub fn new(name: SiteName, key: String, blobs: BlobPaths, wants: Box<dyn WantSink>) -> Self {
        Self {
            site: ArcSwapOption::empty(),
            recent: Recent::default(),
            blobs,
            name,
            key,
            ca: None,
            wants,
            push: None,
            shared: Shared::default(),
        }
    }

    /// Shows the CA that vouches for this server at `/keys/ca.pem`.
    #[must_use]
    pub fn with_ca(mut self, pem: String) -> Self {
        self.ca = Some(pem);
        self
    }

    /// Takes pushes.
    #[must_use]
    pub fn with_push(mut self, push: Push) -> Self {
        self.push = Some(push);
        self
    }

    /// Forgets what nobody goes on with: sites that were replaced, and uploads.
    pub fn expire(&self) {
        self.recent.forget(Instant::now());
        if let Some(push) = &self.push {
            push.expire_uploads();
        }
    }

    /// Makes `site` current for every request from now on, but for what [`recent`] says. A site of
    /// the same activation is no switch: it only lost generations, whose sweep waits for the old one.
    pub fn switch(&self, site: Site) {
        let replaced = self.site.load_full();
        if let Some(replaced) = replaced.filter(|old| old.activation != site.activation) {
            self.recent.replace(replaced, Instant::now());
        }
        self.site.store(Some(Arc::new(site)));
        self.shared.forget();
    }

    /// The site that the client of this request goes on with, when it reads documents in turn.
    /// `document` is one of them if that site or the current one has it, as `is_in` says: names that
    /// nothing has would fill the memory of a connection.
    fn in_turn(&self, ask: &Ask, document: &str, is_in: impl Fn(&Site) -> bool) -> Arc<Site> {
        let site = self.goes_on(ask, None);
        match is_in(&site) || is_in(&ask.site) {
            true => self.goes_on(ask, Some(document)),
            false => site,
        }
    }

    /// The site that the client goes on with when it asks for this document, or for what never
    /// changes.
    fn goes_on(&self, ask: &Ask, document: Option<&str>) -> Arc<Site> {
        match &ask.connection {
            Some(connection) => {
                self.recent.in_turn(connection, document, &ask.site, Instant::now())
            }
            None => Arc::clone(&ask.site),
        }
    }

    /// Hands a want on, once for each name between two switches.
    fn want(&self, ask: &Ask, kind: Kind, name: &str) {
        let want = Want { kind, name: name.to_owned(), version: None, target: None };
        self.note(ask, want, ask.client.map(|address| address.to_string()));
    }

    /// As [`App::want`]; says no when so many are noted that this one is not.
    fn note(&self, ask: &Ask, want: Want, client: Option<String>) -> bool {
        let asked = ask.site.asked(&want);
        if asked == Asked::First {
            tracing::info!(kind = %want.kind, name = want.name, client, "asked for, not held");
            self.wants.want(want, client);
        }
        asked != Asked::TooMany
    }
}

/// What a handler needs of a request, and the site it is answered from.
pub struct Ask {
    method: Method,
    headers: HeaderMap,
    query: Option<String>,
    client: Option<IpAddr>,
    connection: Option<Connection>,
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
            connection: parts.extensions.get().cloned(),
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
        .route("/wants", post(wants::post_want))
        .route("/keys/ca.pem", get(status::get_ca))
        .route("/files/", get(files::get_root))
        .route("/files/{*path}", get(files::get_file))
        .route("/v2", any(oci::any_base))
        .route("/v2/", any(oci::any_base))
        .route("/v2/{*path}", any(oci::any_v2))
        .route("/apt/{target}/{*path}", get(apt::get_apt))
        .route("/yum/{target}/{*path}", get(yum::get_yum))
        .route("/helm/{*path}", get(helm::get_helm))
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
