//! One line for each request, at level `info` under the target `access`.
//!
//! In:   the head of a request, then its answer's status, its user, and the bytes that were sent.
//! Out:  one line when the answer has ended or its client has gone.
//! Never: a query, which may hold a secret; a password; more than one short line. Where nobody
//!        listens for the target nothing is made at all.

use std::net::IpAddr;
use std::time::Instant;

use axum::http::{Method, Request, StatusCode, Version};

use crate::users::UserName;

/// Longest path in a line, in bytes: what is longer is no address of ours.
const PATH_LEN_BYTES_MAX: usize = 512;

/// What stands for the status when the client went before there was one, as nginx has it.
const CLIENT_GONE: u16 = 499;

/// A line that is written when it is dropped.
#[derive(Debug)]
pub struct Line {
    began: Instant,
    client: IpAddr,
    method: Method,
    path: String,
    version: Version,
    status: u16,
    user: Option<UserName>,
    pub bytes: u64,
}

impl Line {
    /// Begins a line, if anybody listens.
    pub fn begin<B>(request: &Request<B>, client: IpAddr) -> Option<Self> {
        tracing::enabled!(target: "access", tracing::Level::INFO).then(|| Self {
            began: Instant::now(),
            client: client.to_canonical(),
            method: request.method().clone(),
            path: shown(request.uri().path()),
            version: request.version(),
            status: CLIENT_GONE,
            user: None,
            bytes: 0,
        })
    }

    #[must_use]
    pub fn answered(mut self, status: StatusCode, user: Option<UserName>) -> Self {
        (self.status, self.user) = (status.as_u16(), user);
        self
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { client, method, path, version, status, user, bytes, .. } = self;
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let user = user.as_ref().map_or("-", UserName::as_str);
        tracing::info!(
            target: "access",
            %client, user, %method, path, ?version, status, bytes, ms, "request"
        );
    }
}

/// A path as a request has it is of plain ASCII, so it can be cut anywhere.
fn shown(path: &str) -> String {
    path.chars().take(PATH_LEN_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: tracing::Level, path: &str) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(level);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let request = Request::builder().uri(path).body(()).unwrap();
            let line = Line::begin(&request, "::ffff:10.0.0.5".parse().unwrap());
            if let Some(line) = line {
                let mut line = line.answered(StatusCode::OK, Some("a".parse().unwrap()));
                line.bytes = 7;
            }
        });
        let bytes = written.0.lock().unwrap().clone();
        bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    #[test]
    fn a_line_says_who_asked_for_what_and_no_secret() {
        let lines = written(tracing::Level::INFO, "/files/h/a?token=secret");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let fields = ["client", "user", "method", "path", "status", "bytes", "target"];
        let expected = [
            "10.0.0.5".into(),
            "a".into(),
            "GET".into(),
            "/files/h/a".into(),
            json!(200),
            json!(7),
            "access".into(),
        ];
        assert_eq!(fields.map(|field| line[field].clone()), expected, "{line}");
        assert!(!line.to_string().contains("secret"));
    }

    #[test]
    fn a_line_is_short_and_only_made_where_somebody_listens() {
        let long = format!("/{}", "x".repeat(9000));
        assert_eq!(written(tracing::Level::INFO, &long)[0]["path"].as_str().unwrap().len(), 512);
        assert!(written(tracing::Level::WARN, "/").is_empty());
    }
}
