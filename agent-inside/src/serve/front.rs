//! What stands before all routes: bounds on the head, old addresses, the login.
//!
//! In:   one request and where it came from. Out:  its answer.
//! Never: a route that a request reaches without having been judged, but for `/healthz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use gapferry_proto::limits;
use tower::ServiceExt;

use super::alias::{self, Alias};
use super::auth::Auth;
use super::body::keep_private;
use super::{App, router};
use crate::settings::Aliases;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub is_tls: bool,
}

/// How this request's client has to begin an address of this server.
#[derive(Clone, Copy, Debug)]
pub struct Scheme(pub &'static str);

/// Everything that answers requests.
#[derive(Clone)]
pub struct Front {
    app: Arc<App>,
    auth: Arc<Auth>,
    aliases: Arc<Aliases>,
    router: Router,
}

impl Front {
    pub fn new(app: Arc<App>, auth: Arc<Auth>, aliases: Aliases) -> Self {
        Self { router: router(Arc::clone(&app)), app, auth, aliases: Arc::new(aliases) }
    }

    /// Answers one request. The user it is from stands in the extensions of the request that the
    /// routes see, and in those of the answer.
    pub async fn answer(&self, mut request: Request, peer: Peer) -> Response {
        if let Some(status) = too_long(request.uri(), request.headers()) {
            return (status, "this is longer than any address or head of this server\n")
                .into_response();
        }
        name_host(&mut request);
        if request.uri().path() != "/healthz" {
            let meant = self.alias(request.uri());
            let mut addresses = vec![request.uri()];
            addresses.extend(meant.as_ref().and_then(|meant| meant.as_ref().ok()));
            let client = Some(peer.address.ip());
            match self.auth.admit(&addresses, request.headers(), client).await {
                Ok(Some(user)) => drop(request.extensions_mut().insert(user)),
                Ok(None) => {}
                Err(denied) => return self.auth.refuse(denied, request.uri().path()),
            }
            match meant {
                Some(Ok(uri)) => *request.uri_mut() = uri,
                Some(Err(to)) => return to.into_response(),
                None => {}
            }
        }
        let user = request.extensions().get().cloned();
        request.extensions_mut().insert(ConnectInfo(peer.address));
        request.extensions_mut().insert(Scheme(if peer.is_tls { "https" } else { "http" }));
        let Ok(mut response) = self.router.clone().oneshot(request).await;
        if let Some(user) = user {
            keep_private(response.headers_mut());
            response.extensions_mut().insert::<crate::users::UserName>(user);
        }
        response
    }

    /// The address that an old one means, or where its client is sent.
    fn alias(&self, uri: &Uri) -> Option<Result<Uri, Redirect>> {
        let site = self.app.site.load();
        match alias::resolve(&self.aliases, site.as_deref()?, uri.path())? {
            Alias::Sent(to) => Some(Err(Redirect::permanent(&to))),
            Alias::Same(path) => {
                let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let mut parts = uri.clone().into_parts();
                parts.path_and_query = Some(PathAndQuery::try_from(path + &query).ok()?);
                Uri::from_parts(parts).ok().map(Ok)
            }
        }
    }
}

/// Has the host stand where HTTP/1.1 has it: HTTP/2 names it in the address alone (RFC 9113,
/// section 8.3.1).
fn name_host(request: &mut Request) {
    let authority = request.uri().authority().map(Authority::as_str);
    let host = authority.and_then(|authority| authority.rsplit('@').next());
    let host = host.and_then(|host| HeaderValue::from_str(host).ok());
    if let (Some(host), false) = (host, request.headers().contains_key(header::HOST)) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// The status of a head that is longer than it may be.
fn too_long(uri: &Uri, headers: &HeaderMap) -> Option<StatusCode> {
    let uri = uri.path().len() + uri.query().map_or(0, str::len);
    if limits::URI_LEN_BYTES_MAX < uri {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let is_long = limits::HEADERS_LEN_BYTES_MAX < headers.sum();
    is_long.then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}
