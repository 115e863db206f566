//! A server that takes files by HTTP PUT: Nexus and Artifactory, WebDAV, nginx with `dav_methods`.
//!
//! In:    a base URL; user and password in it, or in netrc.
//! Out:   files below it.
//! Never: a password in an error or to another host.

use std::str::FromStr as _;

use gapferry_proto::Digest;
use netrc::Netrc;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use super::files::{FileServer, Held, content_type};
use super::http::{Ask, Client, Load, PushError, shown, unexpected};
use super::registry::basic;
use super::tree::Content;

const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum-sha256");

const HINT: &str = "check the user and the password in netrc, and what they may write";

/// What stands in a path as it is: RFC 3986, "unreserved", the slash, and the colon before the
/// port of an upstream.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A server, and the login it is shown.
pub struct Web {
    client: Client,
    base: Url,
    authorization: Option<HeaderValue>,
}

impl Web {
    /// The server at `base`, with the login in it or in netrc.
    ///
    /// # Errors
    ///
    /// [`PushError::DamagedLogin`]: netrc is not understood.
    pub fn new(client: Client, mut base: Url) -> Result<Self, PushError> {
        let authorization = match login(&base) {
            Some((user, password)) => Some(basic(&user, &password)),
            None => from_netrc(&base)?,
        };
        // A base with a host can have its user info taken away.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        Ok(Self { client, base, authorization })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let below = utf8_percent_encode(path, PATH);
        url.set_path(&format!("{}{below}", self.base.path()));
        url
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Response, PushError> {
        let response = self.client.ask(ask, self.authorization.as_ref()).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(refused(&response)),
            StatusCode::FORBIDDEN if ask.method == Method::PUT => Err(refused(&response)),
            _ => Ok(response),
        }
    }

    /// Makes the folders above a path (RFC 4918, section 9.3), outermost first. Which of them
    /// were there already is of no interest: the file itself tells.
    async fn make_folders(&self, path: &str) -> Result<(), PushError> {
        let method = Method::from_bytes(b"MKCOL").expect("a word is a method");
        for (at, _) in path.match_indices('/') {
            let ask = Ask::new(method.clone(), self.url(&path[..=at]));
            self.send(&ask).await?;
        }
        Ok(())
    }
}

impl FileServer for Web {
    async fn held(&self, path: &str) -> Result<Option<Held>, PushError> {
        let response = self.send(&Ask::new(Method::HEAD, self.url(path))).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let headers = response.headers();
        let len_bytes = text(headers, &header::CONTENT_LENGTH).and_then(|len| len.parse().ok());
        Ok(len_bytes.map(|len_bytes| Held { len_bytes, digest: digest(headers) }))
    }

    async fn get(&self, path: &str, len_bytes_max: usize) -> Result<Option<Vec<u8>>, PushError> {
        let response = self.send(&Ask::new(Method::GET, self.url(path))).await?;
        match response.status() {
            StatusCode::OK => Client::read(response, len_bytes_max).await.map(Some),
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => Ok(None),
            _ => Err(unexpected(response).await),
        }
    }

    async fn put(&self, path: &str, content: &Content) -> Result<(), PushError> {
        content.check(&self.client.store).map_err(|source| PushError::Read { source })?;
        let ask = Ask::new(Method::PUT, self.url(path))
            .with(header::CONTENT_TYPE, content_type(path))
            .with(CHECKSUM, &content.digest.hex())
            .carrying(Load::Whole(content));
        let mut response = self.send(&ask).await?;
        // WebDAV's word for a folder that is missing (RFC 4918, section 9.7.1).
        if response.status() == StatusCode::CONFLICT {
            self.make_folders(path).await?;
            response = self.send(&ask).await?;
        }
        if response.status().is_success() { Ok(()) } else { Err(unexpected(response).await) }
    }

    async fn is_gone(&self) -> bool {
        let ask = Ask::new(Method::HEAD, self.base.clone());
        let asked = self.client.ask_once(&ask, self.authorization.as_ref()).await;
        asked.is_err_and(|failed| failed.error.is_transport())
    }
}

fn refused(response: &Response) -> PushError {
    let status = response.status().as_u16();
    PushError::Denied { url: shown(response.url()), status, hint: HINT }
}

/// The SHA-256 that a server says: in a header of its own, or as the strong entity tag.
fn digest(headers: &HeaderMap) -> Option<Digest> {
    let named = text(headers, &CHECKSUM).and_then(sha256);
    named.or_else(|| {
        text(headers, &header::ETAG)?.strip_prefix('"')?.strip_suffix('"').and_then(sha256)
    })
}

fn sha256(text: &str) -> Option<Digest> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    Digest::from_str(&format!("sha256:{hex}")).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The user info of a URL, as it was meant.
fn login(url: &Url) -> Option<(String, String)> {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().unwrap_or_default();
    let has_login = !url.username().is_empty() || url.password().is_some();
    has_login.then(|| (plain(url.username()), plain(password)))
}

/// What netrc has for the host; its entry `default` is for nobody in particular.
fn from_netrc(url: &Url) -> Result<Option<HeaderValue>, PushError> {
    let Some(file) = Netrc::get_file() else { return Ok(None) };
    // The parser's error may quote a password, so it goes no further.
    let registry = file.display().to_string();
    let netrc = Netrc::from_file(&file).map_err(|_| PushError::DamagedLogin { registry })?;
    let Some(host) = url.host_str().filter(|host| *host != "default") else { return Ok(None) };
    let with_port = url.port().and_then(|port| netrc.hosts.get(&format!("{host}:{port}")));
    let entry = with_port.or_else(|| netrc.hosts.get(host));
    Ok(entry.map(|entry| basic(&entry.login, &entry.password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_a_sha256_in_its_own_header_or_as_entity_tag() {
        let digest_of = |name: HeaderName, value: &str| {
            digest(&[(name, value.parse().unwrap())].into_iter().collect())
        };
        let abc = Digest::of(b"abc");
        let hex = abc.hex();
        assert_eq!(digest_of(CHECKSUM, &hex.to_uppercase()), Some(abc));
        assert_eq!(digest_of(header::ETAG, &format!("\"{hex}\"")), Some(abc));
        assert_eq!(digest_of(header::ETAG, &format!("\"sha256:{hex}\"")), Some(abc));
        for other in ["\"5f-6\"", &format!("W/\"{hex}\""), "\"\""] {
            assert_eq!(digest_of(header::ETAG, other), None, "{other}");
        }
    }

    #[test]
    fn user_info_is_what_was_meant() {
        let url = "https://a%40b:p%2Fq@nexus.lan/".parse().unwrap();
        assert_eq!(login(&url), Some(("a@b".to_owned(), "p/q".to_owned())));
        assert_eq!(login(&"https://nexus.lan/".parse().unwrap()), None);
    }
}
