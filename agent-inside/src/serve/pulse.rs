//! Signs of life of one connection, and the bodies that give them.
//!
//! In:   requests that begin and end, pieces of bodies that move either way.
//! Out:  the moment at which a connection has been quiet for too long.
//! Never: an end to a transfer that moves, however slowly.
//!
//! What the client's kernel has taken is seen by our kernel alone, so a client that stops reading
//! is found by `TCP_USER_TIMEOUT` ([`super::listen`]). The bound here is for what TCP cannot see:
//! a stream of HTTP/2 that is never given room while its connection lives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::access_log::Line;

/// When a connection moved last, and how much is under way on it.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    /// Milliseconds after `began`.
    moved_ms: AtomicU64,
    under_way: AtomicUsize,
}

impl Pulse {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
        })
    }

    fn beat(&self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A request is under way until what comes back is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.beat();
        UnderWay(Arc::clone(self))
    }

    /// Ends when nothing was under way for `idle`, or nothing that is under way moved for
    /// `stall`.
    pub async fn stops(&self, idle: Duration, stall: Duration) {
        loop {
            let is_idle = self.under_way.load(Ordering::Relaxed) == 0;
            let bound = if is_idle { idle } else { stall };
            let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            let quiet = self.began.elapsed().saturating_sub(moved);
            if bound <= quiet {
                return;
            }
            // Something may end meanwhile, and then the shorter bound counts.
            tokio::time::sleep((bound - quiet).min(idle)).await;
        }
    }
}

/// A request that has not ended.
#[derive(Debug)]
pub struct UnderWay(Arc<Pulse>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.beat();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer: each piece is a sign of life, and counts for the log.
pub struct Sent {
    body: Body,
    under_way: UnderWay,
    line: Option<Line>,
}

impl Sent {
    pub const fn new(body: Body, under_way: UnderWay, line: Option<Line>) -> Self {
        Self { body, under_way, line }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.under_way.0.beat();
            let len = frame.data_ref().map_or(0, Bytes::len);
            if let Some(line) = &mut self.line {
                line.bytes += len as u64;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request: it fails when no piece of it comes for a while.
pub struct Received<B> {
    body: B,
    pulse: Arc<Pulse>,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> Received<B> {
    pub const fn new(body: B, pulse: Arc<Pulse>, patience: Duration) -> Self {
        Self { body, pulse, patience, waiting: None }
    }
}

impl<B> HttpBody for Received<B>
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = None;
            self.pulse.beat();
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures_util::stream;

    use super::*;

    const IDLE: Duration = Duration::from_millis(100);
    const STALL: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(60);

    /// Ten pieces, each so long after the one before.
    fn pieces(pause: Duration) -> Body {
        Body::from_stream(stream::unfold(0, move |n: u64| async move {
            tokio::time::sleep(pause).await;
            (n < 10).then_some((Ok::<_, io::Error>(Bytes::from_static(b"x")), n + 1))
        }))
    }

    #[tokio::test]
    async fn a_connection_stops_soon_after_its_last_request_and_not_during_one() {
        let (pulse, began) = (Pulse::new(), Instant::now());
        pulse.stops(IDLE, LONG).await;
        assert!((IDLE..LONG).contains(&began.elapsed()), "{:?}", began.elapsed());
        let request = pulse.begin();
        let ending = tokio::spawn(async move {
            tokio::time::sleep(IDLE * 3).await;
            drop(request);
        });
        let began = Instant::now();
        pulse.stops(IDLE, LONG).await;
        assert!((IDLE * 3..LONG).contains(&began.elapsed()), "{:?}", began.elapsed());
        ending.await.unwrap();
    }

    #[tokio::test]
    async fn a_transfer_stops_when_nothing_moves_and_not_while_it_is_slow() {
        let pulse = Pulse::new();
        let sent = Sent::new(pieces(IDLE), pulse.begin(), None);
        let began = Instant::now();
        tokio::select! {
            body = to_bytes(Body::new(sent), 100) => assert_eq!(body.unwrap().len(), 10),
            () = pulse.stops(IDLE, STALL) => panic!("it moved all the time"),
        }
        assert!(IDLE * 10 <= began.elapsed());
        let _stalled = Sent::new(Body::empty(), pulse.begin(), None);
        let began = Instant::now();
        pulse.stops(IDLE, STALL).await;
        assert!(STALL - IDLE <= began.elapsed(), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn an_upload_fails_when_no_piece_comes_for_a_while() {
        let received = |pause| Body::new(Received::new(pieces(pause), Pulse::new(), STALL));
        assert_eq!(to_bytes(received(IDLE), 100).await.unwrap().len(), 10);
        assert!(to_bytes(received(LONG), 100).await.is_err());
    }
}
