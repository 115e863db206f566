//! From a request to an answer: auth, lookup, ranges, faults; then onto the wire.

use std::{io, ops::Range, time::Duration};

use axum::{
    body::Body as WireBody,
    http::{HeaderMap, Method, Response, header, request::Parts},
};
use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::{StreamExt as _, stream};

use super::{Body, Fault, Resource, Seen, Shelf, fault, pypi};
use crate::fixtures::sha256;

/// What goes out: decided whole before the first byte is sent.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    range: Range<u64>,
    fault: Option<Fault>,
    only_head: bool,
}

impl Shelf {
    /// Decides the answer and notes the request.
    pub(super) fn answer(&mut self, request: &Parts) -> Answer {
        let answer = self.decide(request);
        let text = |name| request.headers.get(name).map(|v| lossy(v.as_bytes()));
        self.seen.push(Seen {
            method: request.method.to_string(),
            path: request.uri.path().to_owned(),
            range: text(header::RANGE),
            authorization: text(header::AUTHORIZATION),
            status: answer.status,
        });
        answer
    }

    fn decide(&mut self, request: &Parts) -> Answer {
        let path = request.uri.path();
        let fault = fault::take(&mut self.rules, path);
        if let Some(Fault::Status(status)) = fault {
            return Answer::of_status(status);
        }
        if let Some(refusal) = self.ask_who(path, &request.headers) {
            return refusal;
        }
        let Some(resource) = self.look_up(path, &request.headers) else {
            return Answer::of_status(404);
        };
        let mut answer = Answer::of_resource(&resource, &request.headers);
        answer.fault = fault;
        answer.only_head = request.method == Method::HEAD;
        answer
    }

    fn look_up(&self, path: &str, headers: &HeaderMap) -> Option<Resource> {
        let json = |text: String| Resource {
            body: Body::Bytes(text.into()),
            media_type: "application/json",
            digest: None,
        };
        match path {
            "/v2/" => Some(json("{}".to_owned())),
            "/token" => Some(json(format!("{{\"token\": {:?}}}", self.token.as_ref()?))),
            _ if path.starts_with("/simple/") => pypi::page(self, path, headers),
            _ => self.resources.get(path).cloned(),
        }
    }

    /// 401 with what to show, unless it was shown.
    fn ask_who(&self, path: &str, headers: &HeaderMap) -> Option<Answer> {
        let shown = headers.get(header::AUTHORIZATION).map(|value| lossy(value.as_bytes()));
        let guard = self.guarded.iter().find(|(prefix, _)| path.starts_with(*prefix));
        let (wanted, challenge) = match (guard, &self.token) {
            (Some((_, login)), _) => {
                (format!("Basic {}", BASE64.encode(login.as_bytes())), "Basic realm=\"x\"".into())
            }
            (None, Some(token)) if path.starts_with("/v2/") => {
                let host =
                    headers.get(header::HOST).map_or_else(String::new, |v| lossy(v.as_bytes()));
                (
                    format!("Bearer {token}"),
                    format!("Bearer realm=\"http://{host}/token\",service=\"harness\""),
                )
            }
            _ => return None,
        };
        if shown.as_deref() == Some(&wanted) {
            return None;
        }
        let mut answer = Answer::of_status(401);
        answer.headers.push(("www-authenticate", challenge));
        Some(answer)
    }
}

impl Answer {
    fn of_status(status: u16) -> Self {
        let body = Bytes::from(format!("HTTP {status}\n"));
        let mut headers = vec![("content-type", "text/plain".to_owned())];
        if [429, 503].contains(&status) {
            headers.push(("retry-after", "1".to_owned()));
        }
        let range = 0..body.len() as u64;
        Self { status, headers, body: Body::Bytes(body), range, fault: None, only_head: false }
    }

    fn of_resource(resource: &Resource, asked: &HeaderMap) -> Self {
        let len = resource.body.len_bytes();
        let mut headers = vec![
            ("content-type", resource.media_type.to_owned()),
            ("accept-ranges", "bytes".to_owned()),
            ("etag", etag(&resource.body)),
        ];
        if let Some(digest) = &resource.digest {
            headers.push(("docker-content-digest", digest.clone()));
        }
        let wanted = asked.get(header::RANGE).and_then(|v| parse_range(v.to_str().ok()?, len));
        let (status, range) = match wanted {
            None => (200, 0..len),
            Some(range) if range.is_empty() => return Self::of_status(416),
            Some(range) => {
                let told = format!("bytes {}-{}/{len}", range.start, range.end - 1);
                headers.push(("content-range", told));
                (206, range)
            }
        };
        let body = resource.body.clone();
        Self { status, headers, body, range, fault: None, only_head: false }
    }

    /// The answer as the server sends it, fault included.
    pub(super) fn send(mut self) -> Response<WireBody> {
        let mut len = self.range.end - self.range.start;
        let mut end_after = None;
        match self.fault {
            Some(Fault::BreakOff { after_bytes }) => end_after = Some(after_bytes.min(len)),
            Some(Fault::TooLong { by_bytes }) => {
                end_after = Some(len);
                len += by_bytes;
            }
            Some(Fault::TooShort { by_bytes }) => {
                len = len.saturating_sub(by_bytes);
                self.range.end = self.range.start + len;
            }
            _ => {}
        }
        let mut response = Response::builder().status(self.status).header("content-length", len);
        for (name, value) in std::mem::take(&mut self.headers) {
            response = response.header(name, value);
        }
        let body = if self.only_head { WireBody::empty() } else { self.wire_body(end_after) };
        response.body(body).expect("statuses and headers are well formed")
    }

    fn wire_body(self, end_after: Option<u64>) -> WireBody {
        let start = self.range.start;
        let range = start..end_after.map_or(self.range.end, |after| start + after);
        let flip = match self.fault {
            Some(Fault::FlipBit { at_byte }) => Some(at_byte),
            _ => None,
        };
        let pace = match self.fault {
            Some(Fault::Slow { bytes_per_second }) => bytes_per_second,
            _ => u64::MAX,
        };
        let mut at = start;
        let pieces = pieces(self.body, range).map(move |piece| {
            let piece = flipped(piece, at, flip);
            at += piece.len() as u64;
            Ok::<_, io::Error>(piece)
        });
        let cut = end_after.map(|_| Err(io::Error::other("the upstream breaks off")));
        let paced = stream::iter(pieces.chain(cut)).then(move |piece| async move {
            if pace != u64::MAX {
                let len = piece.as_ref().map_or(0, Bytes::len) as u64;
                tokio::time::sleep(Duration::from_millis(len * 1000 / pace)).await;
            }
            piece
        });
        WireBody::from_stream(paced)
    }
}

fn pieces(body: Body, range: Range<u64>) -> Box<dyn Iterator<Item = Bytes> + Send> {
    match body {
        Body::Seeded(content) => Box::new(content.pieces(range)),
        Body::Bytes(bytes) => {
            let to = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let all = bytes.slice(to(range.start)..to(range.end));
            let count = all.len().div_ceil(PIECE);
            Box::new((0..count).map(move |i| all.slice(i * PIECE..all.len().min((i + 1) * PIECE))))
        }
    }
}

const PIECE: usize = 16 << 10;

fn flipped(piece: Bytes, at: u64, flip: Option<u64>) -> Bytes {
    let place = flip.and_then(|byte| byte.checked_sub(at)).and_then(|p| usize::try_from(p).ok());
    match place {
        Some(place) if place < piece.len() => {
            let mut bytes = piece.to_vec();
            bytes[place] ^= 1;
            bytes.into()
        }
        _ => piece,
    }
}

fn etag(body: &Body) -> String {
    match body {
        Body::Bytes(bytes) => format!("\"{}\"", sha256(bytes)),
        Body::Seeded(content) => format!("\"seed-{}-{}\"", content.seed, content.len_bytes),
    }
}

/// One range of RFC 9110, section 14.2; `None` is a header to be passed over.
fn parse_range(text: &str, len: u64) -> Option<Range<u64>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    if from.is_empty() {
        return Some(len.saturating_sub(to.parse().ok()?)..len);
    }
    let end = if to.is_empty() { len } else { len.min(to.parse::<u64>().ok()?.saturating_add(1)) };
    let start: u64 = from.parse().ok()?;
    Some(start..end.max(start))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
