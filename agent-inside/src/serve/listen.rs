//! Accepts connections and ends them in order.
//!
//! In:   listening sockets, the state, and a future that ends when the server shall.
//! Out:  nothing, once every request under way has ended or its grace is over.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::{Router, response::Response};
use gapferry_proto::limits;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::App;

/// How long a client may take for the head of a request, in milliseconds: also the longest
/// that a kept connection idles.
const HEAD_TIMEOUT_MS: u64 = 60_000;

/// How long requests under way may take after the end was asked for, in milliseconds.
const GRACE_MS: u64 = 30_000;

/// How long to wait when no connection can be accepted, as when the process has no file
/// descriptor left, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Serves `app` on all `listeners` until `shutdown` ends. Plain HTTP/1.1.
pub async fn run(
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let router = super::router(app);
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let (end, ending) = watch::channel(());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (router, places, ending) = (router.clone(), Arc::clone(&places), ending.clone());
        accepting.spawn(accept(listener, router, places, ending));
    }
    drop(ending);
    shutdown.await;
    accepting.abort_all();
    while accepting.join_next().await.is_some() {}
    end.send_replace(());
    let all_ended = end.closed();
    if tokio::time::timeout(Duration::from_millis(GRACE_MS), all_ended).await.is_err() {
        tracing::warn!("some transfers were cut off at the end of their grace");
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    ending: watch::Receiver<()>,
) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, client)) => {
                let connection = serve(socket, client, router.clone(), ending.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

async fn serve(
    socket: TcpStream,
    client: SocketAddr,
    router: Router,
    mut ending: watch::Receiver<()>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%client, %error, "connection was gone before it was served");
        return;
    }
    let service =
        hyper::service::service_fn(move |request| answer(router.clone(), request, client));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS))
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%client, %error, "connection ended early");
    }
}

async fn answer(
    router: Router,
    request: hyper::Request<hyper::body::Incoming>,
    client: SocketAddr,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(client));
    router.oneshot(request).await
}
