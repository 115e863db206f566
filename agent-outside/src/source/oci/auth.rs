//! How a registry is shown who asks.
//!
//! In:    the challenge of a 401, the auth files and helpers of docker and podman.
//! Out:   the value of an `Authorization` header, kept for the repository it was given for.
//! Never: a password over plain HTTP, except to this machine or to a mirror that the
//!        configuration names; a secret in an error.

use std::collections::HashMap;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use gapferry_common::challenge::{Challenge, parse_challenges, parse_token};
use gapferry_proto::limits;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use url::Url;

use super::reference::resolved;
use crate::source::http::{Ask, Http, HttpError, Redacted, Space, basic};

/// Looks a registry up in what the user has logged in to.
pub type Lookup = fn(&str) -> Result<Option<DockerCredential>, AuthError>;

/// Why a registry's challenge cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the credentials for {0} are damaged; log in again with docker or podman")]
    Damaged(String),
    #[error("{registry} asks for credentials; log in with docker or podman")]
    NoCredentials { registry: String },
    #[error(
        "the login for {registry} is an identity token, which is not understood; \
         log in with a user and a password"
    )]
    IdentityToken { registry: String },
    #[error("{registry} asks for credentials in a way that is not understood")]
    Challenge { registry: String },
    #[error("{registry} sends its tokens from {realm}, which is not https")]
    PlainRealm { registry: String, realm: Redacted },
    #[error("the token server of {registry} does not give a token")]
    Token { registry: String, source: HttpError },
    #[error("the token server {realm} answers something that is no token")]
    NoToken { realm: Redacted },
}

/// The headers that repositories have given tokens for.
pub struct Tokens {
    lookup: Lookup,
    /// By the URL of the repository.
    held: Mutex<HashMap<Url, HeaderValue>>,
}

impl Tokens {
    pub fn new(lookup: Lookup) -> Self {
        Self { lookup, held: Mutex::default() }
    }

    /// The header that `repository` last took.
    pub async fn held(&self, repository: &Url) -> Option<HeaderValue> {
        self.held.lock().await.get(repository).cloned()
    }

    /// Answers a challenge of `repository` for a request that was sent with `stale`.
    ///
    /// # Errors
    ///
    /// [`AuthError`] says what to do about the login.
    pub async fn answer(
        &self,
        http: &Http,
        repository: &Url,
        challenge: &str,
        stale: Option<&HeaderValue>,
    ) -> Result<HeaderValue, AuthError> {
        let mut held = self.held.lock().await;
        if let Some(newer) = held.get(repository).filter(|newer| Some(*newer) != stale) {
            return Ok(newer.clone()); // another request was faster
        }
        let target = http.target(repository, Space::Registry);
        let registry = target.authority().to_owned();
        let trusted = target.scheme() == "https"
            || is_loopback(&target)
            || http.is_mirrored(repository, Space::Registry);
        let login = if trusted { self.login(&registry).await? } else { None };
        let header = match (parse_challenges(challenge).into_iter().next(), login) {
            (Some(Challenge::Basic), Some((user, password))) => basic(&user, &password),
            (Some(Challenge::Basic), None) => return Err(AuthError::NoCredentials { registry }),
            (Some(bearer), login) => {
                let realm = realm_url(&bearer, &target, &registry, repository)?;
                token(http, &realm, login, &registry).await?
            }
            (None, _) => return Err(AuthError::Challenge { registry }),
        };
        held.insert(repository.clone(), header.clone());
        Ok(header)
    }

    /// The user and password for a registry.
    async fn login(&self, registry: &str) -> Result<Option<(String, String)>, AuthError> {
        let (lookup, name) = (self.lookup, registry.to_owned());
        let found = tokio::task::spawn_blocking(move || lookup(&name)).await;
        match found.map_err(|_| AuthError::Damaged(registry.to_owned()))?? {
            None => Ok(None),
            Some(DockerCredential::UsernamePassword(user, password)) => Ok(Some((user, password))),
            Some(DockerCredential::IdentityToken(_)) => {
                Err(AuthError::IdentityToken { registry: registry.to_owned() })
            }
        }
    }
}

/// Asks podman's and docker's files and helpers.
///
/// # Errors
///
/// [`AuthError::Damaged`] when an entry cannot be read. A helper that fails has no entry: that
/// is how helpers say so, and what they print may hold a secret.
pub fn logins(registry: &str) -> Result<Option<DockerCredential>, AuthError> {
    // docker keeps the registry whose host has another name under the URL of its first version
    let host = registry.split(':').next().unwrap_or_default();
    let legacy = (resolved(host) != host).then(|| resolved(host));
    let key = legacy.map_or_else(|| registry.to_owned(), |host| format!("https://{host}/v1/"));
    for found in [docker_credential::get_podman_credential, docker_credential::get_credential] {
        match found(&key) {
            Ok(credential) => return Ok(Some(credential)),
            Err(
                CredentialRetrievalError::CredentialDecodingError
                | CredentialRetrievalError::CredentialMismatchError,
            ) => return Err(AuthError::Damaged(registry.to_owned())),
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                tracing::debug!(helper, registry, "the credential helper has no entry");
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Whether `url` leads to this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Where the token is asked for.
fn realm_url(
    challenge: &Challenge,
    target: &Url,
    registry: &str,
    repository: &Url,
) -> Result<Url, AuthError> {
    let unknown = || AuthError::Challenge { registry: registry.to_owned() };
    let Challenge::Bearer { realm, service, scope } = challenge else { return Err(unknown()) };
    let mut realm: Url = realm.parse().map_err(|_| unknown())?;
    if realm.scheme() != "https" && (realm.scheme() != "http" || target.scheme() == "https") {
        let realm = Redacted::of(&realm);
        return Err(AuthError::PlainRealm { registry: registry.to_owned(), realm });
    }
    let path = repository.path().trim_start_matches("/v2/");
    let scope = scope.clone().unwrap_or_else(|| format!("repository:{path}:pull"));
    if let Some(service) = service {
        realm.query_pairs_mut().append_pair("service", service);
    }
    realm.query_pairs_mut().append_pair("scope", &scope);
    Ok(realm)
}

/// Fetches a token; without a login an anonymous one.
async fn token(
    http: &Http,
    realm: &Url,
    login: Option<(String, String)>,
    registry: &str,
) -> Result<HeaderValue, AuthError> {
    let login = login.map(|(user, password)| basic(&user, &password));
    let ask = Ask { space: Space::Registry, authorization: login.as_ref(), ..Ask::web(realm) };
    let (document, _) = http
        .get_with(&ask, limits::REGISTRY_TOKEN_LEN_BYTES_MAX)
        .await
        .map_err(|source| AuthError::Token { registry: registry.to_owned(), source })?;
    bearer_of(&document.bytes).ok_or_else(|| AuthError::NoToken { realm: Redacted::of(realm) })
}

fn bearer_of(bytes: &[u8]) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", parse_token(bytes)?)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: text(service), scope: text(scope) }
    }

    #[test]
    fn a_token_is_read_under_both_names_and_marked_secret() {
        for json in [r#"{"token":"t"}"#, r#"{"access_token":"t"}"#] {
            let header = bearer_of(json.as_bytes()).unwrap();
            assert_eq!(header.to_str().unwrap(), "Bearer t");
            assert!(header.is_sensitive());
        }
        for bad in ["{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, "<html>"] {
            assert_eq!(bearer_of(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_registry_behind_tls_does_not_lead_to_a_realm_without() {
        let [tls, plain]: [Url; 2] =
            ["https://r.lan/v2/a/b", "http://r.lan/v2/a/b"].map(|url| url.parse().unwrap());
        let challenge = bearer("http://t.lan/token?x=1", Some("s"), None);
        assert!(realm_url(&challenge, &tls, "r.lan", &tls).is_err());
        let realm = realm_url(&challenge, &plain, "r.lan", &plain).unwrap();
        let expected = "http://t.lan/token?x=1&service=s&scope=repository%3Aa%2Fb%3Apull";
        assert_eq!(realm.as_str(), expected);
        let odd = bearer("file:///etc/passwd", None, None);
        assert!(realm_url(&odd, &plain, "r.lan", &plain).is_err());
    }
}
