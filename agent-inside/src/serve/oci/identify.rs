//! Who sends a request.
//!
//! [`Identify`] is all that [`super::push`] knows of passwords. [`Passwords`] reads a file as
//! htpasswd writes it, with bcrypt.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use camino::Utf8PathBuf;
use data_encoding::BASE64;
use gapferry_common::limit;
use gapferry_proto::Digest;

/// Says who sends a request. May take its time, as bcrypt does: callers use a thread that may
/// block.
pub trait Identify: Send + Sync {
    /// The name of the user whose password stands in the headers; none when it is wrong, or when
    /// there is none.
    fn identify(&self, headers: &HeaderMap) -> Option<String>;
}

/// Longest file of users that is read, in bytes: some ten thousand.
const USERS_LEN_BYTES_MAX: u64 = 1 << 20;

/// Most logins that are remembered.
const REMEMBERED_MAX: usize = 1024;

/// The hash of a password that nobody knows; checked for users that there are none of, so that
/// both take as long.
const NOBODY: &str = "$2y$10$WkugrWzf0mJh6Sm59Vi46e5i9Ee9THMYkzcinWkje0gYvWXWKCmwO";

/// A file of users, one `name:hash` a line, read again when it changes.
pub struct Passwords {
    path: Utf8PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    changed: Option<(SystemTime, u64)>,
    hashes: HashMap<String, String>,
    /// SHA-256 of name and password that were right: bcrypt takes a good part of a second.
    right: HashMap<Digest, String>,
}

impl Passwords {
    pub fn new(path: Utf8PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// The hash of `name`, or the name itself when this login was right before.
    fn look_up(&self, login: &Digest, name: &str) -> Result<String, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let meta = self.path.metadata().ok();
        let changed = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        if known.changed != changed || changed.is_none() {
            let bytes = limit::read_file(&self.path, USERS_LEN_BYTES_MAX).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
            let hashes = lines.map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect();
            *known = Known { changed, hashes, right: HashMap::new() };
        }
        match known.right.get(login) {
            Some(name) => Ok(name.clone()),
            None => Err(known.hashes.get(name).cloned().unwrap_or_else(|| NOBODY.to_owned())),
        }
    }

    fn remember(&self, login: Digest, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if REMEMBERED_MAX <= known.right.len() {
            known.right.clear();
        }
        known.right.insert(login, name.to_owned());
    }
}

impl Identify for Passwords {
    fn identify(&self, headers: &HeaderMap) -> Option<String> {
        let (name, password) = basic(headers)?;
        let login = Digest::of(format!("{}:{name}{password}", name.len()).as_bytes());
        let hash = match self.look_up(&login, &name) {
            Ok(name) => return Some(name),
            Err(hash) => hash,
        };
        if !bcrypt::verify(password, &hash).unwrap_or(false) {
            return None;
        }
        self.remember(login, &name);
        Some(name)
    }
}

/// Name and password of a request (RFC 7617). An empty name is nobody's: some clients send one
/// when they have no login.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim().as_bytes()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    (!name.is_empty()).then(|| (name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn login(name: &str, password: &str) -> HeaderMap {
        let encoded = BASE64.encode(format!("{name}:{password}").as_bytes());
        headers(&format!("Basic {encoded}"))
    }

    #[test]
    fn a_password_is_right_until_its_file_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("users")).unwrap();
        let passwords = Passwords::new(path.clone());
        assert_eq!(passwords.identify(&login("ci", "secret")), None);
        let hash = bcrypt::hash("secret", 4).unwrap();
        std::fs::write(&path, format!("# users\nother:x\nci:{hash}\n")).unwrap();
        for _ in 0..2 {
            assert_eq!(passwords.identify(&login("ci", "secret")), Some("ci".to_owned()));
        }
        for (name, password) in [("ci", "secre"), ("ci", ""), ("other", "x"), ("nobody", "secret")]
        {
            assert_eq!(passwords.identify(&login(name, password)), None, "{name}:{password}");
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(passwords.identify(&login("ci", "secret")), None);
    }

    #[test]
    fn nobodys_hash_is_one_that_is_worked_out_like_all_others() {
        assert!(matches!(bcrypt::verify("x", NOBODY), Ok(false)));
    }

    #[test]
    fn what_is_no_basic_login_is_nobody() {
        for value in
            ["", "Basic", "Basic ", "Basic !!", "Bearer Y2k6cw==", "Basic Y2k=", "Basic Og=="]
        {
            assert_eq!(basic(&headers(value)), None, "{value}");
        }
        assert_eq!(basic(&headers("basic Y2k6YTpi")), Some(("ci".to_owned(), "a:b".to_owned())));
        assert_eq!(basic(&HeaderMap::new()), None);
    }
}
