//! Accepts connections, with TLS or without, and ends them in order.
//!
//! In:   listening sockets, what answers requests, and a future that ends when the server shall.
//! Out:  nothing, once every request under way has ended or its grace is over.
//!
//! A head that does not end, a handshake that does not begin and a connection that idles are
//! closed within half a minute. A transfer is closed only when it does not move at all: TCP's own
//! timeout counts from the last byte that the client's kernel took, so that one byte in five
//! minutes is enough.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use gapferry_proto::limits;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::access_log::Line;
use super::front::{Front, Peer};
use super::pulse::{Pulse, Received, Sent};
use super::recent::Connection;
use super::tls::{H2, Tls};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A TLS handshake.
    pub handshake: Duration,
    /// The head of a request; also the longest that a kept connection idles.
    pub head: Duration,
    /// A client that takes no byte of what was sent, or sends none of what it announced.
    pub still: Duration,
    /// A stream of HTTP/2 that is given no room while its connection lives.
    pub stalled: Duration,
    /// Requests under way after the end was asked for.
    pub grace: Duration,
    /// The goodbye of a connection that is closed.
    pub goodbye: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            still: Duration::from_secs(300),
            stalled: Duration::from_secs(3600),
            grace: Duration::from_secs(30),
            goodbye: Duration::from_secs(2),
        }
    }
}

/// How long to wait when no connection can be accepted, as when the process has no file
/// descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most requests under way on one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;

/// Most bytes of one answer that HTTP/2 holds ready: as many as one read of the store gives.
const SEND_LEN_BYTES: usize = 256 << 10;

/// How often a connection of HTTP/2 is asked whether anybody is there.
const PING: Duration = Duration::from_secs(30);

/// The first byte of every TLS connection: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// What a client is told that speaks HTTP where TLS is spoken.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 45\r\nConnection: close\r\n\r\nthis port speaks TLS; ask for https:// there\n";

/// A socket that listens, and whether it speaks TLS.
pub struct Listening {
    pub socket: TcpListener,
    pub tls: Option<Arc<Tls>>,
}

/// Answers on all `listeners` until `shutdown` ends.
pub async fn run(
    front: Front,
    listeners: Vec<Listening>,
    shutdown: impl Future<Output = ()> + Send,
) {
    run_patiently(front, listeners, Patience::default(), shutdown).await;
}

/// As [`run`], with other bounds.
pub async fn run_patiently(
    front: Front,
    listeners: Vec<Listening>,
    patience: Patience,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let (end, ending) = watch::channel(());
    let mut accepting = JoinSet::new();
    for listening in listeners {
        let front = front.clone();
        let server = Server { front, tls: listening.tls, patience, ending: ending.clone() };
        accepting.spawn(accept(listening.socket, server, Arc::clone(&places)));
    }
    drop(ending);
    shutdown.await;
    accepting.abort_all();
    while accepting.join_next().await.is_some() {}
    end.send_replace(());
    if tokio::time::timeout(patience.grace, end.closed()).await.is_err() {
        tracing::warn!("some transfers were cut off at the end of their grace");
    }
}

/// What every connection of one listener needs.
#[derive(Clone)]
struct Server {
    front: Front,
    tls: Option<Arc<Tls>>,
    patience: Patience,
    ending: watch::Receiver<()>,
}

async fn accept(listener: TcpListener, server: Server, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, client)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    if let Err(error) = server.serve(socket, client).await {
                        tracing::debug!(%client, %error, "connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Server {
    async fn serve(self, socket: TcpStream, address: SocketAddr) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let still_ms = u32::try_from(self.patience.still.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&socket, still_ms)?;
        let Some(tls) = &self.tls else {
            let peer = Peer { address, is_tls: false };
            return self.serve_http1(socket, peer).await.map_err(io::Error::other);
        };
        let acceptor = tls.acceptor();
        let shaken = tokio::time::timeout(self.patience.handshake, async {
            let mut first = [0];
            if socket.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
                let mut socket = socket;
                socket.write_all(PLAIN_HTTP.as_bytes()).await?;
                return Err(io::Error::other("plain HTTP where TLS is spoken"));
            }
            acceptor.accept(socket).await
        });
        let stream = shaken.await.map_err(io::Error::from)??;
        let peer = Peer { address, is_tls: true };
        let served = match stream.get_ref().1.alpn_protocol() == Some(H2) {
            true => self.serve_http2(stream, peer).await,
            false => self.serve_http1(stream, peer).await,
        };
        served.map_err(io::Error::other)
    }

    async fn serve_http1<S>(self, stream: S, peer: Peer) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pulse = Pulse::new();
        let (front, patience, beating) = (self.front, self.patience, Arc::clone(&pulse));
        let connection = Connection::default();
        let service = hyper::service::service_fn(move |request| {
            let (front, connection) = (front.clone(), connection.clone());
            answer(front, request, peer, connection, Arc::clone(&beating), patience)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience.head)
            .serve_connection(TokioIo::new(stream), service);
        let close = |connection: Pin<&mut http1::Connection<_, _>>| connection.graceful_shutdown();
        drive(connection, close, &pulse, patience, self.ending).await
    }

    async fn serve_http2<S>(self, stream: S, peer: Peer) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pulse = Pulse::new();
        let (front, patience, beating) = (self.front, self.patience, Arc::clone(&pulse));
        let connection = Connection::default();
        let service = hyper::service::service_fn(move |request| {
            let (front, connection) = (front.clone(), connection.clone());
            answer(front, request, peer, connection, Arc::clone(&beating), patience)
        });
        let headers_max = u32::try_from(limits::HEADERS_LEN_BYTES_MAX).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(headers_max)
            .max_send_buf_size(SEND_LEN_BYTES)
            .keep_alive_interval(PING)
            .serve_connection(TokioIo::new(stream), service);
        let close =
            |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
        drive(connection, close, &pulse, patience, self.ending).await
    }
}

/// Sees a connection to its end: its own, the server's, or that of patience.
async fn drive<C>(
    connection: C,
    close: impl Fn(Pin<&mut C>),
    pulse: &Pulse,
    patience: Patience,
    mut ending: watch::Receiver<()>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        _ = ending.changed() => {
            close(connection.as_mut());
            connection.await
        }
        () = pulse.stops(patience.head, patience.stalled) => {
            close(connection.as_mut());
            tokio::time::timeout(patience.goodbye, connection).await.unwrap_or(Ok(()))
        }
    }
}

async fn answer(
    front: Front,
    request: hyper::Request<Incoming>,
    peer: Peer,
    connection: Connection,
    pulse: Arc<Pulse>,
    patience: Patience,
) -> Result<hyper::Response<Sent>, Infallible> {
    let under_way = pulse.begin();
    let line = Line::begin(&request, peer.address.ip());
    let mut request: Request =
        request.map(|body| Body::new(Received::new(body, pulse, patience.still)));
    request.extensions_mut().insert(connection);
    let response: Response = front.answer(request, peer).await;
    let user = response.extensions().get().cloned();
    let line = line.map(|line| line.answered(response.status(), user));
    Ok(response.map(|body| Sent::new(body, under_way, line)))
}
