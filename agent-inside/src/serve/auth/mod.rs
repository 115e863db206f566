//! Who a client is, and whether it may read what it asks for.
//!
//! In:   the head of a request, `state/users`, the access rules.
//! Out:  the user behind the request, or a refusal in the words of the protocol asked.
//! Never: a password or its hash in memory longer than it takes, or in any log.
//!
//! # What a hostile client may try
//!
//! | attempt                               | stopped by                                      |
//! |---------------------------------------|-------------------------------------------------|
//! | guessing passwords                    | [`Throttle`]: a second each, ten a minute       |
//! | learning names by the time it takes   | an unknown name costs what a known one does     |
//! | making the server hash all day        | [`AT_ONCE`]; what was right or wrong is known   |
//! | another spelling of a path            | [`Access`] judges the decoded, plain path       |
//! | another name of an image              | [`Access`] judges every name it may mean        |
//! | an old address of the same thing      | [`Auth::admit`] judges both                     |

mod access;
mod throttle;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use camino::Utf8PathBuf;
use data_encoding::BASE64;
use gapferry_common::exit::chain;
use serde_json::json;
use tokio::sync::Semaphore;

use super::tls::Stamp;
use crate::users::{UserName, Users, UsersError};
pub use access::{Access, Verdict};
use throttle::{Mark, Throttle};

/// How many passwords are hashed at once; each takes one core for a quarter of a second.
const AT_ONCE: usize = 2;

/// Most credentials that are known to be right: a site's users, many times over.
const PROVEN_MAX: usize = 1024;

/// Longest `Authorization` that is looked at, in bytes.
const CREDENTIALS_LEN_BYTES_MAX: usize = 1024;

/// How long the answer to a wrong password takes.
const WRONG_PAUSE: Duration = Duration::from_secs(1);

/// What an unknown user's password is compared with: a hash as dear as ours, of nothing that
/// anybody knows.
const NOBODY: &str = "$2y$12$.....................................................";

/// Why a request is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    #[error("a user name and a password are needed here")]
    LoginNeeded,
    #[error("user name or password is wrong")]
    Wrong,
    #[error("this user may not read that")]
    Forbidden,
    #[error("too many wrong passwords came from this address; try again in {wait_s} s")]
    TooMany { wait_s: u64 },
}

/// Users, rules, and what is known of those who tried.
pub struct Auth {
    users_path: Utf8PathBuf,
    users: ArcSwap<Users>,
    seen: Mutex<Option<Stamp>>,
    access: Access,
    /// What is shown beside the question for a password.
    realm: HeaderValue,
    /// Of this run alone, so that marks in memory say nothing to who reads them.
    key: [u8; 32],
    known: Arc<Known>,
    hashing: Arc<Semaphore>,
    wrong_pause: Duration,
}

/// What is known of credentials without hashing them.
#[derive(Default)]
struct Known {
    proven: Mutex<HashSet<Mark>>,
    throttle: Mutex<Throttle>,
}

struct Credentials<'a> {
    name: &'a str,
    password: &'a str,
}

impl Auth {
    /// Reads the users at `users_path`; no file is no users.
    ///
    /// # Errors
    ///
    /// [`UsersError`].
    pub fn open(users_path: Utf8PathBuf, access: Access, site: &str) -> Result<Self, UsersError> {
        let mut key = [0; 32];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut key).expect("the system gives random bytes once it has started");
        let seen = Mutex::new(Stamp::of(&users_path));
        let users = Users::load(&users_path)?;
        warn_of_passed_over(&users, &users_path);
        let realm = format!("Basic realm=\"Gapferry site {site}\", charset=\"UTF-8\"");
        Ok(Self {
            users: ArcSwap::from_pointee(users),
            users_path,
            seen,
            access,
            realm: HeaderValue::from_str(&realm).expect("names of sites are plain ASCII"),
            key,
            known: Arc::default(),
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
            wrong_pause: WRONG_PAUSE,
        })
    }

    /// Whether anybody can log in.
    pub fn has_users(&self) -> bool {
        !self.users.load().is_empty()
    }

    pub fn knows(&self, user: &UserName) -> bool {
        self.users.load().hash(user.as_str()).is_some()
    }

    /// Whether `user` may read at a path, as [`Access::verdict`] has it.
    pub fn may_read(&self, path: &str, user: Option<&UserName>) -> bool {
        self.access.verdict(path, None, user) == Verdict::Permitted
    }

    /// Reads the users again if their file changed. A file that cannot be read leaves them as
    /// they were.
    pub fn reload(&self) {
        let now = Stamp::of(&self.users_path);
        let mut seen = lock(&self.seen);
        if *seen == now {
            return;
        }
        *seen = now;
        match Users::load(&self.users_path) {
            Ok(users) => {
                tracing::info!(count = users.names().count(), "users were read anew");
                warn_of_passed_over(&users, &self.users_path);
                self.users.store(Arc::new(users));
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "the changed users are not used; the old ones stay");
            }
        }
    }

    /// The user behind a request, if it names one, when it may read at all the addresses that the
    /// request stands for.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub async fn admit(
        &self,
        addresses: &[&Uri],
        headers: &HeaderMap,
        client: Option<IpAddr>,
    ) -> Result<Option<UserName>, Denied> {
        let user = self.identify(headers, client).await?;
        let verdict = |uri: &&Uri| self.access.verdict(uri.path(), uri.query(), user.as_ref());
        match addresses.iter().map(verdict).max().unwrap_or(Verdict::LoginNeeded) {
            Verdict::Permitted => Ok(user),
            Verdict::LoginNeeded => Err(Denied::LoginNeeded),
            Verdict::Forbidden => Err(Denied::Forbidden),
        }
    }

    /// Who a request says it is from, once the password proved it; none when it says nothing.
    /// Where there are no users, nobody is asked and what is said is not heard.
    ///
    /// # Errors
    ///
    /// [`Denied::Wrong`] after [`WRONG_PAUSE`], [`Denied::TooMany`].
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        client: Option<IpAddr>,
    ) -> Result<Option<UserName>, Denied> {
        let Some(value) = headers.get(header::AUTHORIZATION).filter(|_| self.has_users()) else {
            return Ok(None);
        };
        let Some(text) = decode_basic(value)? else { return Ok(None) };
        let (name, password) = text.split_once(':').ok_or(Denied::Wrong)?;
        if name.is_empty() && password.is_empty() {
            return Ok(None); // so skopeo says that it has no login
        }
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.verify(Credentials { name, password }, client).await.map(Some)
    }

    async fn verify(&self, given: Credentials<'_>, client: IpAddr) -> Result<UserName, Denied> {
        let users = self.users.load_full();
        let known = users.hash(given.name);
        let hash: Arc<str> = known.map_or_else(|| NOBODY.into(), Arc::clone);
        let mark = self.mark(&given, &hash);
        if let Some(is_right) = self.known.of(client, &mark)? {
            return self.end(is_right, &given).await;
        }
        let place = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Denied::Wrong)?;
        // Others from there may have been answered while this one waited.
        if let Some(is_right) = self.known.of(client, &mark)? {
            drop(place);
            return self.end(is_right, &given).await;
        }
        let (password, is_user) = (given.password.to_owned(), known.is_some());
        let known = Arc::clone(&self.known);
        // To its end, also when the client has gone; noted before another one is hashed.
        let hashed = tokio::task::spawn_blocking(move || {
            let is_right = bcrypt::verify(password, &hash).unwrap_or(false) && is_user;
            known.note(client, mark, is_right);
            drop(place);
            is_right
        });
        let is_right = hashed.await.unwrap_or(false);
        if !is_right {
            let name: String = given.name.chars().take(64).collect();
            tracing::warn!(%client, name, "a wrong password or an unknown user");
        }
        self.end(is_right, &given).await
    }

    async fn end(&self, is_right: bool, given: &Credentials<'_>) -> Result<UserName, Denied> {
        if is_right && let Ok(name) = given.name.parse() {
            return Ok(name);
        }
        tokio::time::sleep(self.wrong_pause).await;
        Err(Denied::Wrong)
    }

    /// A credential as it is remembered. It covers the hash, so a new password, or another user
    /// of the same name, is looked at again.
    fn mark(&self, given: &Credentials<'_>, hash: &str) -> Mark {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [given.name, given.password, hash] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The answer to a request for `path` that is not admitted.
    pub fn refuse(&self, denied: Denied, path: &str) -> Response {
        let status = match denied {
            Denied::LoginNeeded | Denied::Wrong => StatusCode::UNAUTHORIZED,
            Denied::Forbidden => StatusCode::FORBIDDEN,
            Denied::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        };
        let mut response = if path == "/v2" || path.starts_with("/v2/") {
            registry_error(status, denied)
        } else {
            (status, format!("{denied}\n")).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, self.realm.clone());
        }
        if let Denied::TooMany { wait_s } = denied {
            headers.insert(header::RETRY_AFTER, wait_s.into());
        }
        response
    }
}

impl Known {
    /// Whether a credential is right, if that is known.
    ///
    /// A right one waits too: who guesses must not learn at once which guess was right.
    fn of(&self, client: IpAddr, mark: &Mark) -> Result<Option<bool>, Denied> {
        let (throttle, now) = (lock(&self.throttle), Instant::now());
        if throttle.is_wrong(client, mark, now) {
            return Ok(Some(false));
        }
        if let Some(wait) = throttle.wait(client, now) {
            return Err(Denied::TooMany { wait_s: wait.as_secs().max(1) });
        }
        Ok(lock(&self.proven).contains(mark).then_some(true))
    }

    fn note(&self, client: IpAddr, mark: Mark, is_right: bool) {
        if !is_right {
            lock(&self.throttle).note(client, mark, Instant::now());
            return;
        }
        let mut proven = lock(&self.proven);
        if PROVEN_MAX <= proven.len() {
            proven.clear();
        }
        proven.insert(mark);
    }
}

/// A refusal as registry clients read it (distribution-spec v1.1.1, "Error Codes").
fn registry_error(status: StatusCode, denied: Denied) -> Response {
    let code = match denied {
        Denied::LoginNeeded | Denied::Wrong => "UNAUTHORIZED",
        Denied::Forbidden => "DENIED",
        Denied::TooMany { .. } => "TOOMANYREQUESTS",
    };
    let body = json!({ "errors": [{ "code": code, "message": denied.to_string() }] });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        ("docker-distribution-api-version", "registry/2.0"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// `NAME:PASSWORD` of a Basic `Authorization` (RFC 7617); none of another scheme.
fn decode_basic(value: &HeaderValue) -> Result<Option<String>, Denied> {
    if CREDENTIALS_LEN_BYTES_MAX < value.len() {
        return Err(Denied::Wrong);
    }
    let value = value.to_str().map_err(|_| Denied::Wrong)?;
    let (scheme, encoded) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let decoded = BASE64.decode(encoded.trim().as_bytes()).map_err(|_| Denied::Wrong)?;
    String::from_utf8(decoded).map(Some).map_err(|_| Denied::Wrong)
}

fn warn_of_passed_over(users: &Users, path: &Utf8PathBuf) {
    if !users.passed_over.is_empty() {
        let lines = &users.passed_over;
        tracing::warn!(%path, ?lines, "lines that are no user with a bcrypt hash are passed over");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
