//! How a registry is shown who publishes.
//!
//! In:    the challenge of a 401, the auth files and helpers of docker and podman.
//! Out:   the value of an `Authorization` header, kept for the scope it was given for.
//! Never: a password to another host than the registry and the token server it names, and to
//!        none without TLS unless `--plain-http` says so; a secret in an error.

use std::collections::HashMap;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use gapferry_common::challenge::{Challenge, parse_challenges, parse_token};
use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderValue},
};
use tokio::sync::Mutex;
use url::Url;

use crate::publish_to::http::{ANSWER_LEN_BYTES_MAX, Ask, Client, PushError, shown, unexpected};

/// In place of a scope: a user and a password are shown for each.
const BASIC: &str = "basic";

const HINT: &str = "check the login that docker or podman keeps for it, and what it may push";

/// What a registry has been shown and has given.
pub struct Gate {
    base: Url,
    /// By scope; under [`BASIC`] what is shown for each.
    held: Mutex<HashMap<String, HeaderValue>>,
}

impl Gate {
    pub fn new(base: Url) -> Self {
        Self { base, held: Mutex::default() }
    }

    /// The header that was last taken for `scope`.
    pub async fn held(&self, scope: &str) -> Option<HeaderValue> {
        let held = self.held.lock().await;
        held.get(scope).or_else(|| held.get(BASIC)).cloned()
    }

    /// Answers the 401 of a request that was sent with `stale`.
    ///
    /// # Errors
    ///
    /// [`PushError`] says what to do about the login.
    pub async fn answer(
        &self,
        client: &Client,
        denied: Response,
        scope: &str,
        stale: Option<&HeaderValue>,
    ) -> Result<HeaderValue, PushError> {
        let mut held = self.held.lock().await;
        let newest = held.get(scope).or_else(|| held.get(BASIC));
        if let Some(newer) = newest.filter(|newer| Some(*newer) != stale) {
            return Ok(newer.clone()); // another request was faster
        }
        let registry = self.base.authority().to_owned();
        let values = denied.headers().get_all(header::WWW_AUTHENTICATE);
        let values: Vec<_> = values.iter().filter_map(|value| value.to_str().ok()).collect();
        let login = login(&registry).await?;
        let challenge = parse_challenges(&values.join(", ")).into_iter().next();
        let (scope, header) = match (challenge, login) {
            (Some(Challenge::Basic), _) if stale.is_some() => return Err(refused(&denied)),
            (Some(Challenge::Basic), Some(login)) => (BASIC, basic(&login.0, &login.1)),
            (Some(Challenge::Basic), None) => return Err(PushError::NoLogin { registry }),
            (Some(bearer), login) => {
                let realm = self.realm(&bearer, scope)?;
                (scope, token(client, realm, login, &registry).await?)
            }
            (None, _) => return Err(PushError::Challenge { registry }),
        };
        held.insert(scope.to_owned(), header.clone());
        Ok(header)
    }

    /// Where the token is asked for.
    fn realm(&self, challenge: &Challenge, scope: &str) -> Result<Url, PushError> {
        let registry = self.base.authority().to_owned();
        let unknown = || PushError::Challenge { registry: registry.clone() };
        let Challenge::Bearer { realm, service, .. } = challenge else { return Err(unknown()) };
        let mut realm: Url = realm.parse().map_err(|_| unknown())?;
        if !may_follow(&self.base, &realm) {
            return Err(PushError::Insecure { url: shown(&self.base), to: shown(&realm) });
        }
        if let Some(service) = service {
            realm.query_pairs_mut().append_pair("service", service);
        }
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            realm.query_pairs_mut().append_pair("scope", scope);
        }
        Ok(realm)
    }
}

/// What is thrown when a login was shown and is not enough.
pub fn refused(response: &Response) -> PushError {
    PushError::Denied { url: shown(response.url()), status: response.status().as_u16(), hint: HINT }
}

/// Whether a registry at `base` may lead to `url`: never from TLS to plain HTTP.
pub fn may_follow(base: &Url, url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && base.scheme() == "http")
}

/// The user and password for a registry.
async fn login(registry: &str) -> Result<Option<(String, String)>, PushError> {
    let name = registry.to_owned();
    let found = tokio::task::spawn_blocking(move || logins(&name)).await;
    match found.map_err(|_| PushError::DamagedLogin { registry: registry.to_owned() })?? {
        None => Ok(None),
        Some(DockerCredential::UsernamePassword(user, password)) => Ok(Some((user, password))),
        Some(DockerCredential::IdentityToken(_)) => {
            Err(PushError::IdentityToken { registry: registry.to_owned() })
        }
    }
}

/// Asks podman's and docker's files and helpers. A helper that fails has no entry: that is how
/// helpers say so, and what they print may hold a secret.
fn logins(registry: &str) -> Result<Option<DockerCredential>, PushError> {
    for found in [docker_credential::get_podman_credential, docker_credential::get_credential] {
        match found(registry) {
            Ok(credential) => return Ok(Some(credential)),
            Err(
                CredentialRetrievalError::CredentialDecodingError
                | CredentialRetrievalError::CredentialMismatchError,
            ) => return Err(PushError::DamagedLogin { registry: registry.to_owned() }),
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                tracing::debug!(helper, registry, "the credential helper has no entry");
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// A `Basic` authorization (RFC 7617), marked as secret.
pub fn basic(user: &str, password: &str) -> HeaderValue {
    let text = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
    let value = HeaderValue::try_from(format!("Basic {text}"));
    let mut value = value.expect("base64 is a header's value");
    value.set_sensitive(true);
    value
}

/// Fetches a token; without a login an anonymous one.
async fn token(
    client: &Client,
    realm: Url,
    login: Option<(String, String)>,
    registry: &str,
) -> Result<HeaderValue, PushError> {
    let login = login.map(|(user, password)| basic(&user, &password));
    let response = client.ask(&Ask::new(Method::GET, realm), login.as_ref()).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED if login.is_none() => {
            return Err(PushError::NoLogin { registry: registry.to_owned() });
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(refused(&response)),
        _ => return Err(unexpected(response).await),
    }
    let url = shown(response.url());
    let no_token = || PushError::Answer { url: url.clone(), what: "it holds no token" };
    bearer_of(&Client::read(response, ANSWER_LEN_BYTES_MAX).await?).ok_or_else(no_token)
}

fn bearer_of(bytes: &[u8]) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", parse_token(bytes)?)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(base: &str, realm: &str) -> Result<String, PushError> {
        let gate = Gate::new(base.parse().unwrap());
        let challenge = Challenge::Bearer {
            realm: realm.to_owned(),
            service: Some("s".to_owned()),
            scope: None,
        };
        gate.realm(&challenge, "repository:a/b:pull,push repository:c:pull").map(String::from)
    }

    #[test]
    fn a_token_is_asked_for_with_every_scope_and_never_from_tls_to_plain() {
        assert_eq!(
            realm("https://r.lan", "https://t.lan/token?x=1").unwrap(),
            "https://t.lan/token?x=1&service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush\
             &scope=repository%3Ac%3Apull"
        );
        assert!(realm("http://r.lan", "http://t.lan").is_ok());
        for bad in ["http://t.lan", "file:///etc/passwd", "not a URL"] {
            assert!(realm("https://r.lan", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_read_under_both_names_and_marked_secret() {
        for json in [r#"{"token":"t"}"#, r#"{"access_token":"t"}"#] {
            let header = bearer_of(json.as_bytes()).unwrap();
            assert_eq!(header.to_str().unwrap(), "Bearer t");
            assert!(header.is_sensitive());
        }
        for bad in ["{}", r#"{"token":""}"#, "<html>"] {
            assert_eq!(bearer_of(bad.as_bytes()), None, "{bad}");
        }
    }
}
