//! What some places want of whoever asks: a client certificate, a user and password; and an
//! authority of their own that vouches for them.
//!
//! In:    PEM files, a login, the URLs below which they count.
//! Out:   [`Access`], which [`Http::with_access`] takes.
//! Never: a certificate or a login for another scheme, host, port or path than those named, also
//!        when a server sends us there.

use std::{error::Error, fs::File, io, io::Read as _, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use reqwest::{
    Client, Response,
    header::{HeaderValue, LOCATION},
    redirect::{Action, Attempt, Policy},
};
use url::Url;

use super::{
    Http, basic, client_builder,
    redirects::{check_redirect, follow},
};

/// Longest file of certificates or of a key, in bytes: 1 MiB. An entitlement of Red Hat has some
/// 10 KiB, a bundle of all authorities 250.
const PEM_LEN_BYTES_MAX: u64 = 1 << 20;

/// Files for TLS, each in PEM.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsFiles {
    /// The only authorities that may vouch for the server.
    pub ca: Option<Utf8PathBuf>,
    pub certificate: Option<Utf8PathBuf>,
    /// Left out where the file of the certificate holds the key too.
    pub key: Option<Utf8PathBuf>,
}

/// Why files are of no use for TLS. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("cannot read {path}, which {setting} names")]
    Read { setting: &'static str, path: Utf8PathBuf, source: io::Error },
    #[error("{path}, which {setting} names, has more than {PEM_LEN_BYTES_MAX} bytes")]
    TooLong { setting: &'static str, path: Utf8PathBuf },
    #[error("{path}, which {setting} names, holds no {what} in PEM")]
    Lacking { setting: &'static str, path: Utf8PathBuf, what: &'static str },
    #[error(
        "the key in {path}, which {setting} names, is encrypted; give one without a passphrase"
    )]
    Encrypted { setting: &'static str, path: Utf8PathBuf },
    #[error("sslclientkey names {0}, and sslclientcert names nothing")]
    KeyAlone(Utf8PathBuf),
    #[error("{what} cannot be used together")]
    Client { what: String, source: reqwest::Error },
}

/// What counts below some URLs.
#[derive(Clone)]
pub struct Access {
    roots: Vec<Url>,
    login: Option<HeaderValue>,
    tls: Option<Presented>,
}

/// A client with TLS files of its own, and their names, for errors.
#[derive(Clone)]
pub(super) struct Presented {
    pub client: Client,
    /// Whether it presents a certificate, or only trusts another authority.
    pub has_certificate: bool,
    pub what: Arc<str>,
}

impl Http {
    /// What `files` and `login` give below `roots`; reads the files.
    ///
    /// # Errors
    ///
    /// [`AccessError`] names setting and file.
    pub fn access(
        &self,
        roots: Vec<Url>,
        files: &TlsFiles,
        login: Option<(&str, &str)>,
    ) -> Result<Access, AccessError> {
        let tls = (*files != TlsFiles::default()).then(|| self.presented(files)).transpose()?;
        Ok(Access { roots, login: login.map(|(user, password)| basic(user, password)), tls })
    }

    /// The same client, which also knows what is wanted in some places.
    #[must_use]
    pub fn with_access(&self, access: impl IntoIterator<Item = Access>) -> Self {
        let all: Vec<Access> = self.access.iter().cloned().chain(access).collect();
        Self { access: all.into(), ..self.clone() }
    }

    /// What counts for `url`: the access with the longest root that it is below.
    pub(super) fn access_of(&self, url: &Url) -> Option<&Access> {
        let within = |access: &Access| {
            let roots = access.roots.iter().filter(|root| is_below(url, root));
            roots.map(|root| root.path().len()).max()
        };
        let known = self.access.iter().filter_map(|access| Some((within(access)?, access)));
        known.max_by_key(|(len, _)| *len).map(|(_, access)| access)
    }

    fn presented(&self, files: &TlsFiles) -> Result<Presented, AccessError> {
        let what: Arc<str> = named(files).into();
        let failed =
            |source: reqwest::Error| AccessError::Client { what: what.to_string(), source };
        let mut builder = client_builder(&self.inner.network).redirect(Policy::custom(stay));
        if let Some(path) = &files.ca {
            let pem = sections("sslcacert", path, "CERTIFICATE", "certificate")?;
            let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(failed)?;
            builder = builder.tls_certs_only(found);
        }
        match (&files.certificate, &files.key) {
            (None, None) => {}
            (None, Some(key)) => return Err(AccessError::KeyAlone(key.clone())),
            (Some(certificate), key) => {
                let pem = sections("sslclientcert", certificate, "CERTIFICATE", "certificate")?;
                let (setting, path) = match key {
                    Some(key) => ("sslclientkey", key),
                    None => ("sslclientcert", certificate),
                };
                let pem = pem + &sections(setting, path, "PRIVATE KEY", "private key")?;
                let identity = reqwest::Identity::from_pem(pem.as_bytes()).map_err(failed)?;
                builder = builder.identity(identity);
            }
        }
        let has_certificate = files.certificate.is_some();
        Ok(Presented { client: builder.build().map_err(failed)?, has_certificate, what })
    }
}

impl Access {
    /// The same files without the login, below other URLs: mirrors that a list names.
    #[must_use]
    pub fn elsewhere(&self, roots: Vec<Url>) -> Self {
        Self { roots, login: None, tls: self.tls.clone() }
    }

    pub(super) fn login(&self) -> Option<HeaderValue> {
        self.login.clone()
    }

    pub(super) const fn tls(&self) -> Option<&Presented> {
        self.tls.as_ref()
    }
}

/// Whether an error says that one side of a TLS connection refused the other's certificate: no
/// second try mends that.
pub fn is_refused_by_tls(error: &reqwest::Error) -> bool {
    is_tls_alert(error) || causes(error).any(|cause| cause.contains("invalid peer certificate"))
}

/// Whether an error is an alert with which the server ended a TLS connection.
pub fn is_tls_alert(error: &reqwest::Error) -> bool {
    let is_alert =
        |cause: String| cause.contains("received fatal alert") && !cause.contains("InternalError");
    causes(error).any(is_alert)
}

/// An error and its causes as text: their types are those of a library behind reqwest.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = String> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source()).map(ToString::to_string)
}

/// Where a response sends us whose redirect a client with a certificate did not follow.
pub(super) fn sent_elsewhere(response: &Response) -> Option<Url> {
    let status = response.status();
    let location = response.headers().get(LOCATION).filter(|_| status.is_redirection())?;
    response.url().join(location.to_str().ok()?).ok()
}

/// Follows redirects within the server that got the certificate; any other server is asked by a
/// client that has none.
fn stay(attempt: Attempt<'_>) -> Action {
    let first = attempt.previous().first();
    if first.is_some_and(|first| first.origin() == attempt.url().origin()) {
        return follow(attempt);
    }
    match check_redirect(attempt.previous(), attempt.url()) {
        Ok(()) => attempt.stop(),
        Err(rule) => attempt.error(rule),
    }
}

fn is_below(url: &Url, root: &Url) -> bool {
    let rest = url.path().strip_prefix(root.path());
    let is_whole = |rest: &str| rest.is_empty() || rest.starts_with('/');
    url.origin() == root.origin()
        && rest.is_some_and(|rest| root.path().ends_with('/') || is_whole(rest))
}

/// The files, each with its setting.
fn named(files: &TlsFiles) -> String {
    let settings = [
        ("sslclientcert", &files.certificate),
        ("sslclientkey", &files.key),
        ("sslcacert", &files.ca),
    ];
    let named = settings.into_iter().filter_map(|(setting, path)| Some((setting, path.as_ref()?)));
    named.map(|(setting, path)| format!("{setting} {path}")).collect::<Vec<_>>().join(", ")
}

/// The sections of a PEM file (RFC 7468) whose label ends with `label`. Entitlements hold others
/// beside them, which are no TLS's business.
fn sections(
    setting: &'static str,
    path: &Utf8Path,
    label: &'static str,
    what: &'static str,
) -> Result<String, AccessError> {
    let text = read(setting, path)?;
    let (mut found, mut inside) = (String::new(), None);
    for line in text.lines().map(str::trim) {
        let between = |begin: &str| line.strip_prefix(begin)?.strip_suffix("-----");
        if let Some(began) = between("-----BEGIN ") {
            if began == "ENCRYPTED PRIVATE KEY" && began.ends_with(label) {
                return Err(AccessError::Encrypted { setting, path: path.to_owned() });
            }
            inside = began.ends_with(label).then_some(began);
        }
        if inside.is_some() {
            if line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED") {
                return Err(AccessError::Encrypted { setting, path: path.to_owned() });
            }
            found.push_str(line);
            found.push('\n');
        }
        if between("-----END ").is_some() {
            inside = None;
        }
    }
    if found.is_empty() {
        return Err(AccessError::Lacking { setting, path: path.to_owned(), what });
    }
    Ok(found)
}

fn read(setting: &'static str, path: &Utf8Path) -> Result<String, AccessError> {
    let failed = |source| AccessError::Read { setting, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PEM_LEN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if PEM_LEN_BYTES_MAX < bytes.len() as u64 {
        return Err(AccessError::TooLong { setting, path: path.to_owned() });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use axum::{
        http::{StatusCode, header},
        response::IntoResponse as _,
    };

    use super::*;
    use crate::source::http::{
        HttpError, Network,
        upstream::{Upstream, client},
    };

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> Utf8PathBuf {
        let path = Utf8Path::from_path(dir.path()).unwrap().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn a_login_counts_below_its_roots_alone_and_is_not_passed_on() {
        let other = Upstream::start(|_| "abc".into_response()).await;
        let away = other.at("/a").to_string().replace("127.0.0.1", "localhost");
        let upstream = Upstream::start(move |seen| match seen.path.as_str() {
            "/r/away" => (StatusCode::FOUND, [(header::LOCATION, away.clone())]).into_response(),
            _ => "abc".into_response(),
        })
        .await;
        let http = client(Network::default());
        let root = vec![upstream.at("/r/")];
        let access = http.access(root, &TlsFiles::default(), Some(("u", "p"))).unwrap();
        let http = http.with_access([access]);
        for path in ["/r/a", "/rb", "/r/away"] {
            http.get(&upstream.at(path), None, 9).await.unwrap();
        }
        let shown = basic("u", "p");
        let shown = |seen: &crate::source::http::upstream::Seen| {
            seen.header("authorization") == Some(shown.to_str().unwrap())
        };
        assert_eq!(upstream.seen().iter().map(shown).collect::<Vec<_>>(), [true, false, true]);
        assert!(other.seen()[0].header("authorization").is_none());
    }

    #[tokio::test]
    async fn of_two_roots_the_longer_counts() {
        let upstream = Upstream::start(|_| "abc".into_response()).await;
        let http = client(Network::default());
        let access = |root: &str, user| {
            let root = vec![upstream.at(root)];
            http.access(root, &TlsFiles::default(), Some((user, "p"))).unwrap()
        };
        let both = http.with_access([access("/a/b/", "long"), access("/a/", "short")]);
        for path in ["/a/b/c", "/a/c"] {
            both.get(&upstream.at(path), None, 9).await.unwrap();
        }
        let seen = upstream.seen();
        let shown: Vec<_> = seen.iter().map(|seen| seen.header("authorization").unwrap()).collect();
        assert_eq!(shown, [basic("long", "p"), basic("short", "p")]);
    }

    #[test]
    fn files_that_are_of_no_use_are_named_with_their_setting() {
        let dir = tempfile::tempdir().unwrap();
        let certificate =
            file(&dir, "c", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n");
        let key = file(&dir, "k", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n");
        let old = file(&dir, "o", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");
        let bad = file(&dir, "b", "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n");
        let long = file(&dir, "l", &"x".repeat((1 << 20) + 1));
        let none = Utf8PathBuf::from("/none/here");
        let http = client(Network::default());
        for (certificate, key, ca, said) in [
            (Some(&none), None, None, "cannot read /none/here, which sslclientcert names"),
            (Some(&certificate), Some(&none), None, "/none/here, which sslclientkey names"),
            (Some(&certificate), Some(&key), None, "is encrypted"),
            (Some(&certificate), Some(&old), None, "is encrypted"),
            (Some(&certificate), None, None, "which sslclientcert names, holds no private key"),
            (Some(&key), Some(&key), None, "which sslclientcert names, holds no certificate"),
            (Some(&long), None, None, "has more than 1048576 bytes"),
            (None, Some(&key), None, "sslclientcert names nothing"),
            (Some(&certificate), Some(&bad), None, "cannot be used together"),
            (None, None, Some(&key), "which sslcacert names, holds no certificate"),
        ] {
            let files =
                TlsFiles { ca: ca.cloned(), certificate: certificate.cloned(), key: key.cloned() };
            let error = http.access(vec![], &files, None).err().expect("the files were taken");
            assert!(error.to_string().contains(said), "{error} lacks {said:?}");
        }
    }

    #[tokio::test]
    async fn what_a_server_says_to_a_certificate_names_its_files() {
        let upstream = Upstream::start(|_| StatusCode::FORBIDDEN.into_response()).await;
        let http = client(Network::default());
        let what: Arc<str> = "sslclientcert /c".into();
        let tls = Some(Presented { client: Client::new(), has_certificate: true, what });
        let http = http.with_access([Access { roots: vec![upstream.at("/")], login: None, tls }]);
        let error = http.get(&upstream.at("/a"), None, 9).await.unwrap_err();
        assert!(matches!(error, HttpError::Certificate { status: 403, .. }), "{error}");
        assert!(error.to_string().ends_with("check sslclientcert /c"), "{error}");
    }
}
