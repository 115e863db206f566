//! Where a generation is published to.
//!
//! In:   what stands behind `--to`.
//! Out:  a [`Destination`], or the rule that the text breaks.
//! Pure: nothing is asked for or opened.

use camino::Utf8PathBuf;
use url::Url;

/// A server, or the folder of one, that the site has already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// A folder that a plain web server shows.
    Folder(Utf8PathBuf),
    /// An OCI registry.
    Registry(RegistryPlace),
    /// A bucket of an S3-compatible object store.
    Bucket { bucket: String, prefix: String, plain_http: bool },
    /// A server that takes files by HTTP PUT; the path ends with a slash.
    Web(Url),
}

/// Where in a registry images go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistryPlace {
    /// `<scheme>://<host>[:<port>]`.
    pub base: Url,
    /// In front of every repository's name; empty or without slashes at its ends.
    pub prefix: String,
}

/// Why a text names no destination. Exit code 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("{0:?} names no destination; use registry://…, dir:…, s3://… or https://…")]
    Unknown(String),
    #[error("{0:?} is not understood; it looks like {1}")]
    Shape(String, &'static str),
    #[error(
        "{0:?} cannot stand in the name of a repository; use a-z, 0-9 and '.', '_', '-' between them"
    )]
    Repository(String),
    #[error("leave user and password out of registry://…; log in with docker or podman")]
    Login,
    #[error("{0} is plain HTTP; --plain-http allows it")]
    Plain(String),
}

impl Destination {
    /// Parses what stands behind `--to`.
    ///
    /// # Errors
    ///
    /// [`DestinationError`] says how it should look.
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, DestinationError> {
        let unknown = || DestinationError::Unknown(without_login(text));
        if let Some(path) = text.strip_prefix("dir:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(DestinationError::Shape(text.to_owned(), "dir:/srv/mirror"));
            }
            return Ok(Self::Folder(path.into()));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
        match scheme {
            "registry" => registry(rest, plain_http).map(Self::Registry),
            "s3" => bucket(text, rest, plain_http),
            "https" | "http" => web(text, plain_http),
            _ => Err(unknown()),
        }
    }

    /// The destination as it may be printed: without user and password.
    pub fn shown(&self) -> String {
        match self {
            Self::Folder(path) => format!("dir:{path}"),
            Self::Registry(place) => {
                let host = place.base.authority();
                let slash = if place.prefix.is_empty() { "" } else { "/" };
                format!("registry://{host}{slash}{}", place.prefix)
            }
            Self::Bucket { bucket, prefix, .. } if prefix.is_empty() => format!("s3://{bucket}"),
            Self::Bucket { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}"),
            Self::Web(url) => without_login(url.as_str()),
        }
    }
}

fn registry(rest: &str, plain_http: bool) -> Result<RegistryPlace, DestinationError> {
    const SHAPE: &str = "registry://registry.lan:5000/prefix";
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if host.contains('@') {
        return Err(DestinationError::Login);
    }
    let shape = || DestinationError::Shape(format!("registry://{rest}"), SHAPE);
    let scheme = if plain_http { "http" } else { "https" };
    let base: Url = format!("{scheme}://{host}").parse().map_err(|_| shape())?;
    if host.is_empty() || base.path() != "/" || base.query().is_some() || base.fragment().is_some()
    {
        return Err(shape());
    }
    let prefix = prefix.trim_end_matches('/').to_owned();
    if !prefix.is_empty() && !is_repository(&prefix) {
        return Err(DestinationError::Repository(prefix));
    }
    Ok(RegistryPlace { base, prefix })
}

fn bucket(text: &str, rest: &str, plain_http: bool) -> Result<Destination, DestinationError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/').to_owned();
    let is_path = prefix.is_empty() || prefix.parse::<gapferry_proto::SafePath>().is_ok();
    let is_name = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if bucket.is_empty() || !is_name || !is_path {
        return Err(DestinationError::Shape(text.to_owned(), "s3://bucket/prefix"));
    }
    Ok(Destination::Bucket { bucket: bucket.to_owned(), prefix, plain_http })
}

fn web(text: &str, plain_http: bool) -> Result<Destination, DestinationError> {
    let shape = || DestinationError::Shape(without_login(text), "https://nexus.lan/repository/raw");
    let mut url: Url = text.parse().map_err(|_| shape())?;
    if url.query().is_some() || url.fragment().is_some() || !url.has_host() {
        return Err(shape());
    }
    if url.scheme() == "http" && !plain_http {
        return Err(DestinationError::Plain(without_login(text)));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(Destination::Web(url))
}

/// Whether `name` is a repository's: distribution-spec v1.1.1, "Pulling manifests".
pub fn is_repository(name: &str) -> bool {
    name.len() <= 255 && name.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    if !ends.into_iter().all(|end| end.is_some_and(|b| is_word(*b))) {
        return false;
    }
    let runs = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let mut between = runs.filter(|run| !run.is_empty());
    between.all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

/// A text that may be a URL, without what stands before its `@`.
fn without_login(text: &str) -> String {
    match (text.find("://"), text.find('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}{}", &text[..scheme + 3], &text[at + 1..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_destination_is_read_and_shown() {
        for (text, shown) in [
            ("dir:/srv/mirror", "dir:/srv/mirror"),
            ("dir:///srv/mirror", "dir:/srv/mirror"),
            ("registry://registry.lan", "registry://registry.lan"),
            ("registry://registry.lan:5000/site/a/", "registry://registry.lan:5000/site/a"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("https://nexus.lan/repository/raw", "https://nexus.lan/repository/raw/"),
            ("https://u:CANARY@nexus.lan", "https://nexus.lan/"),
        ] {
            assert_eq!(Destination::parse(text, false).unwrap().shown(), shown, "{text}");
        }
    }

    #[test]
    fn what_names_no_destination_is_refused_and_no_password_is_repeated() {
        for text in [
            "",
            "/srv",
            "dir:",
            "ftp://a",
            "registry://",
            "registry://u:CANARY@r.lan",
            "registry://r.lan/Upper",
            "registry://r.lan/a//b",
            "registry://r.lan/a?x=1",
            "s3://",
            "s3://b/../a",
            "s3://b@c",
            "http://nexus.lan",
            "https://nexus.lan/?x=1",
            "https://u:CANARY@nexus.lan/#a",
            "ftp://u:CANARY@a",
        ] {
            let error = Destination::parse(text, false).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{text}: {error}");
        }
        assert!(Destination::parse("http://nexus.lan", true).is_ok());
    }

    #[test]
    fn a_registry_speaks_tls_unless_the_user_says_otherwise() {
        for (plain_http, base) in [(false, "https://r.lan:5000/"), (true, "http://r.lan:5000/")] {
            let parsed = Destination::parse("registry://r.lan:5000", plain_http).unwrap();
            let Destination::Registry(place) = parsed else { unreachable!() };
            assert_eq!(place.base.as_str(), base);
        }
    }

    #[test]
    fn a_repository_has_the_names_that_registries_take() {
        for good in ["a", "a/b.c", "a__b", "a---b", "127.0.0.1_5000/demo", "registry.k8s.io/pause"]
        {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "A", "a/", "/a", "a//b", "a:1", "a..b", "a___b", "-a", "a.", "a b"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }
}
