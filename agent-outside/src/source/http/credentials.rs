//! Credentials that belong to a host: netrc, and the user info of a URL.
//!
//! In:    `NETRC`, `~/.netrc` or the file the configuration names.
//! Out:   the value of an `Authorization` header that is marked as secret.
//! Never: in a `Debug` output; the netrc entry `default` is not used, since it would send a
//!        password to every host that a page links to.

use camino::Utf8Path;
use data_encoding::BASE64;
use netrc::Netrc;
use reqwest::header::HeaderValue;
use url::Url;

use super::NetworkError;

/// What netrc says.
#[derive(Default)]
pub struct Credentials(Netrc);

impl Credentials {
    /// Reads `file`, or else the netrc file that this user has, if any.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Netrc`] when there is a file that cannot be read or understood.
    pub fn load(file: Option<&Utf8Path>) -> Result<Self, NetworkError> {
        let Some(path) = file.map(|f| f.as_std_path().to_owned()).or_else(Netrc::get_file) else {
            return Ok(Self::default());
        };
        // The parser's error may quote a password, so it goes no further.
        Netrc::from_file(&path)
            .map(Self)
            .map_err(|_| NetworkError::Netrc { path: path.display().to_string() })
    }

    /// The header for the host of `url`, `host:port` before `host`.
    pub fn of(&self, url: &Url) -> Option<HeaderValue> {
        let host = url.host_str().filter(|host| *host != "default")?;
        let with_port = url.port().and_then(|port| self.0.hosts.get(&format!("{host}:{port}")));
        let entry = with_port.or_else(|| self.0.hosts.get(host))?;
        Some(basic(&entry.login, &entry.password))
    }
}

/// Moves the user info of `url` into a header.
pub fn take_from(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let plain = |text: &str| percent_decoded(text);
    let header = basic(&plain(url.username()), &plain(url.password().unwrap_or_default()));
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(header)
}

/// A `Basic` authorization (RFC 7617), marked as secret.
pub fn basic(user: &str, password: &str) -> HeaderValue {
    let value = format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()));
    let mut value = HeaderValue::try_from(value).expect("base64 is a header's value");
    value.set_sensitive(true);
    value
}

/// User info as it was meant; a query in the same encoding is the parser that `url` has for it.
fn percent_decoded(text: &str) -> String {
    let query = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netrc(text: &str) -> Credentials {
        Credentials(text.parse().unwrap())
    }

    fn of(credentials: &Credentials, url: &str) -> Option<String> {
        let header = credentials.of(&url.parse().unwrap())?;
        assert!(header.is_sensitive());
        Some(header.to_str().unwrap().to_owned())
    }

    #[test]
    fn netrc_gives_credentials_to_the_hosts_it_names_alone() {
        let file = netrc(
            "machine mirror.lan login u password p\n\
             machine mirror.lan:8443 login v password q\n\
             default login w password r\n",
        );
        let expected = basic("u", "p").to_str().unwrap().to_owned();
        assert_eq!(of(&file, "https://mirror.lan/a"), Some(expected));
        let expected = basic("v", "q").to_str().unwrap().to_owned();
        assert_eq!(of(&file, "https://mirror.lan:8443/a"), Some(expected));
        assert_eq!(of(&file, "https://other.lan/a"), None);
        assert_eq!(of(&file, "https://default/a"), None);
    }

    #[test]
    fn user_info_becomes_a_header_and_leaves_the_url() {
        let mut url: Url = "https://a%40b:p%2Fq+r&s=@mirror.lan/x".parse().unwrap();
        assert_eq!(take_from(&mut url), Some(basic("a@b", "p/q+r&s=")));
        assert_eq!(url.as_str(), "https://mirror.lan/x");
        assert_eq!(take_from(&mut url), None);
    }

    #[test]
    fn a_netrc_that_is_not_understood_is_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("netrc");
        std::fs::write(&path, "machine a login u CANARY p\n").unwrap();
        let error = Credentials::load(Some(&path)).err().unwrap();
        assert_eq!(format!("{error}"), format!("netrc file {path} is not understood"));
        assert!(!format!("{error:?}").contains("CANARY"));
    }
}
