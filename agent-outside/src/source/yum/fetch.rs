//! Fetches a repository: its list, what vouches for it, then the documents that it names.
//!
//! In:   [`Source`]s, the keys on disk.
//! Out:  [`Repository`]s whose documents were checked.
//!
//! Thin on purpose: what bytes mean is decided in `repomd`, `mirrors` and `pick`.

use std::{collections::BTreeMap, io::Read};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{StreamExt, stream};
use gapferry_common::openpgp::{
    ring::{self, PublicKey},
    verify::{self, Keyring, VerifyError},
};
use gapferry_proto::{Digest, Kind, limits};
use sha2::{Digest as _, Sha512};
use url::Url;

use super::{
    mirrors::{self, Metalink},
    pick::{Repository, Vouched},
    reach::Reach,
    repomd::{DocumentError, Repomd},
    settings::{Place, Source},
    universe::Checksum,
    xml::XmlError,
};
use crate::source::{
    Failure, Verdict,
    http::{AccessError, Http, HttpError, Space},
};

/// Repositories at a time: mirrors ask their users to be modest.
const REQUESTS_MAX: usize = 4;

/// Most mirrors that are tried.
const MIRRORS_TRIED_MAX: usize = 5;

/// Documents that a closure needs or that travel along; `filelists` is fetched on demand.
const DOCUMENTS: [&str; 4] = ["primary", "group", "modules", "updateinfo"];

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Http(HttpError),
    #[error("cannot read the key file {path}")]
    KeyFile { path: Utf8PathBuf, source: std::io::Error },
    #[error("cannot use the keys of {path}")]
    Keys { path: Utf8PathBuf, source: VerifyError },
    #[error("the signature of its repomd.xml does not count; check `gpgKey` or use another mirror")]
    Signature(#[source] VerifyError),
    #[error(
        "its repomd.xml is not signed, and `repoGpgcheck` demands that; use another mirror, or `metalink`"
    )]
    Unsigned,
    #[error(
        "nothing vouches for it: no signature, no TLS; use https, or accept any bytes with `insecure: true`"
    )]
    Unvouched,
    #[error(
        "its repomd.xml is not the one that the metalink names; the mirror is behind: try again later"
    )]
    Stale,
    #[error("its list of mirrors is not understood")]
    Mirrors(#[source] XmlError),
    #[error("its list of mirrors is empty; check `releasever` and `arch`")]
    NoMirrors,
    #[error("its repomd.xml is not understood")]
    Repomd(#[source] XmlError),
    #[error(transparent)]
    Document(DocumentError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("it may want a client certificate: name it in `sslclientcert` and `sslclientkey`")]
    ClientCertificate(#[source] HttpError),
}

impl FetchError {
    /// What the failure means for the run.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Http(e) => e.verdict(),
            Self::KeyFile { .. }
            | Self::Keys { .. }
            | Self::Access(_)
            | Self::ClientCertificate(_) => Verdict::Configuration,
            Self::NoMirrors => Verdict::Missing,
            Self::Stale => Verdict::Fault,
            Self::Signature(_)
            | Self::Unsigned
            | Self::Unvouched
            | Self::Mirrors(_)
            | Self::Repomd(_)
            | Self::Document(_) => Verdict::Refused,
        }
    }
}

/// Fetches the list and the documents of each source; all failures are collected.
pub async fn fetch_repositories(
    http: &Http,
    sources: Vec<Source>,
) -> Result<Vec<Repository>, Vec<Failure>> {
    let fetched = stream::iter(sources)
        .map(|source| async move {
            let id = source.id.clone();
            let fetched = fetch_one(http, source).await;
            fetched.map_err(|e| Failure::new(Kind::Rpm, id, e.verdict(), e))
        })
        .buffered(REQUESTS_MAX)
        .collect::<Vec<_>>()
        .await;
    let (mut repositories, mut failures) = (Vec::new(), Vec::new());
    for result in fetched {
        match result {
            Ok(repository) => repositories.push(repository),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(repositories) } else { Err(failures) }
}

/// Fetches `filelists` for the repositories of these numbers.
pub async fn fetch_filelists(
    http: &Http,
    repositories: &mut [Repository],
    lacking: &[usize],
) -> Result<(), Vec<Failure>> {
    let mut failures = Vec::new();
    for number in lacking {
        let Some(repository) = repositories.get_mut(*number) else { continue };
        match fetch_filelist(http, repository).await {
            Ok(bytes) => {
                repository.documents.extend(bytes.map(|b| ("filelists".to_owned(), b)));
            }
            Err(e) => {
                let id = repository.source.id.clone();
                failures.push(Failure::new(Kind::Rpm, id, e.verdict(), e));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

async fn fetch_filelist(
    http: &Http,
    repository: &Repository,
) -> Result<Option<Vec<u8>>, FetchError> {
    let Repository { source, root, repomd, .. } = repository;
    let http = Reach::new(http, source)?.with_mirrors(source, std::slice::from_ref(root));
    fetch_document(&http, root, repomd, "filelists").await
}

/// Tries the mirrors of a source, best first, until one has all its documents.
async fn fetch_one(http: &Http, source: Source) -> Result<Repository, FetchError> {
    let (keyring, keys) = read_keys(&source.trust.keys)?;
    let reach = Reach::new(http, &source)?;
    let (roots, metalink) = fetch_roots(&reach.http, &source).await?;
    let http = &reach.with_mirrors(&source, &roots);
    let mut last = FetchError::NoMirrors;
    for root in roots.into_iter().take(MIRRORS_TRIED_MAX) {
        match fetch_from(http, &source, &root, keyring.as_ref(), metalink.as_ref()).await {
            Ok((vouched, repomd, documents)) => {
                return Ok(Repository { source, root, vouched, repomd, documents, keys });
            }
            Err(FetchError::Http(e))
                if source.tls.certificate.is_none() && e.may_want_certificate() =>
            {
                last = FetchError::ClientCertificate(e);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The roots of a source, and the metalink that vouches for its list. `http` knows what the source
/// wants of whoever asks.
pub async fn fetch_roots(
    http: &Http,
    source: &Source,
) -> Result<(Vec<Url>, Option<(Url, Metalink)>), FetchError> {
    let get = async |url: &Url| {
        http.get(url, None, mirrors::LEN_BYTES_MAX).await.map_err(FetchError::Http)
    };
    match &source.place {
        Place::Roots(roots) => Ok((roots.clone(), None)),
        Place::Mirrorlist(url) => Ok((mirrors::parse_mirrorlist(&get(url).await?.bytes), None)),
        Place::Metalink(url) => {
            let bytes = get(url).await?.bytes;
            let metalink = mirrors::parse_metalink(&bytes).map_err(FetchError::Mirrors)?;
            let roots = metalink.roots.clone();
            Ok((roots, Some((url.clone(), metalink))))
        }
    }
}

type Fetched = (Vouched, Repomd, BTreeMap<String, Vec<u8>>);

/// Fetches a repository from one of its roots.
async fn fetch_from(
    http: &Http,
    source: &Source,
    root: &Url,
    keyring: Option<&Keyring>,
    metalink: Option<&(Url, Metalink)>,
) -> Result<Fetched, FetchError> {
    let url = below(root, "repodata/repomd.xml");
    let list =
        http.get(&url, None, limits::RELEASE_LEN_BYTES_MAX).await.map_err(FetchError::Http)?.bytes;
    if metalink.is_some_and(|(_, metalink)| !is_named(&list, &metalink.sums)) {
        return Err(FetchError::Stale);
    }
    let signer = match keyring {
        Some(keyring) => fetch_signer(http, root, &list, keyring).await?,
        None => None,
    };
    if signer.is_none() && source.trust.signed_list {
        return Err(FetchError::Unsigned);
    }
    let metalink = metalink.map(|(url, _)| url);
    let vouched = vouched(http, source, root, signer, metalink)?;
    let repomd = Repomd::parse(&list).map_err(FetchError::Repomd)?;
    let mut documents = BTreeMap::new();
    for kind in DOCUMENTS {
        let bytes = fetch_document(http, root, &repomd, kind).await?;
        documents.extend(bytes.map(|bytes| (kind.to_owned(), bytes)));
    }
    Ok((vouched, repomd, documents))
}

/// Who vouches for a list that came from `root`.
///
/// TLS counts for where it really came from. What a mirror of the configuration's gives without is
/// taken, as everywhere, and vouched for by nobody.
fn vouched(
    http: &Http,
    source: &Source,
    root: &Url,
    signer: Option<String>,
    metalink: Option<&Url>,
) -> Result<Vouched, FetchError> {
    let is_tls = |url: &Url| http.is_tls(url, Space::Web);
    let is_named_tls = |url: &Url| url.scheme() == "https";
    // A mirror of a list that anybody may have written vouches for itself alone.
    let is_trusted = |is: &dyn Fn(&Url) -> bool| match &source.place {
        Place::Roots(_) => is(root),
        Place::Mirrorlist(url) | Place::Metalink(url) => is(root) && is(url),
    };
    match (signer, metalink) {
        (Some(key), _) => Ok(Vouched::Key(key)),
        (None, Some(url)) if is_tls(url) => Ok(Vouched::Metalink(url.clone())),
        (None, _) if is_trusted(&is_tls) => Ok(Vouched::Tls(root.clone())),
        (None, Some(url)) if is_named_tls(url) => Ok(Vouched::Nobody),
        (None, _) if is_trusted(&is_named_tls) || source.trust.anyone => Ok(Vouched::Nobody),
        (None, _) => Err(FetchError::Unvouched),
    }
}

/// The fingerprint of the key that signed a list; `None` when it is not signed at all.
async fn fetch_signer(
    http: &Http,
    root: &Url,
    list: &[u8],
    keyring: &Keyring,
) -> Result<Option<String>, FetchError> {
    let url = below(root, "repodata/repomd.xml.asc");
    let signature = match http.get(&url, None, limits::SIGNATURE_LEN_BYTES_MAX).await {
        Ok(document) => document.bytes,
        Err(HttpError::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(FetchError::Http(e)),
    };
    let fingerprints =
        verify::verify_detached(keyring, list, &signature).map_err(FetchError::Signature)?;
    Ok(fingerprints.into_iter().next())
}

async fn fetch_document(
    http: &Http,
    root: &Url,
    repomd: &Repomd,
    kind: &str,
) -> Result<Option<Vec<u8>>, FetchError> {
    let Some(document) = repomd.documents.get(kind) else { return Ok(None) };
    let max = document.len_bytes_max().map_err(FetchError::Document)?;
    let url = below(root, document.location.as_str());
    let bytes = http.get(&url, None, max).await.map_err(FetchError::Http)?.bytes;
    document.check(&bytes).map_err(FetchError::Document)?;
    Ok(Some(bytes.into()))
}

fn is_named(bytes: &[u8], sums: &[Checksum]) -> bool {
    sums.iter().any(|sum| match sum {
        Checksum::Sha256(digest) => Digest::of(bytes) == *digest,
        Checksum::Sha512(digest) => Sha512::digest(bytes)[..] == digest[..],
        Checksum::Weak(_) => false,
    })
}

fn below(root: &Url, path: &str) -> Url {
    let mut url = root.clone();
    let folder = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{folder}/{path}"));
    url
}

/// Key files as what may vouch, `None` when there are none, and as the keys that travel along.
type Keys = (Option<Keyring>, Vec<(Utf8PathBuf, PublicKey)>);

fn read_keys(paths: &[Utf8PathBuf]) -> Result<Keys, FetchError> {
    let (mut keyring, mut single) = (Keyring::default(), Vec::<(Utf8PathBuf, PublicKey)>::new());
    for path in paths {
        let bytes = read_key_file(path)
            .map_err(|source| FetchError::KeyFile { path: path.clone(), source })?;
        let unusable = |source| FetchError::Keys { path: path.clone(), source };
        keyring.join(Keyring::parse(&bytes).map_err(unusable)?);
        for key in ring::keys(&bytes).map_err(unusable)? {
            if !single.iter().any(|(_, known)| known.fingerprint == key.fingerprint) {
                single.push((path.clone(), key));
            }
        }
    }
    Ok(((!paths.is_empty()).then_some(keyring), single))
}

/// Reads at most one byte more than a keyring may have; `Keyring::parse` refuses that one.
pub fn read_key_file(path: &Utf8Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(limits::KEYRING_LEN_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{
        http::{Mirror, Network, TlsFiles, upstream::client},
        yum::settings::{PRIORITY, Trust},
    };

    fn source(place: Place, anyone: bool) -> Source {
        Source {
            id: "a".to_owned(),
            place,
            trust: Trust { keys: Vec::new(), signed_list: false, anyone },
            tls: TlsFiles::default(),
            priority: PRIORITY,
            exclude: Vec::new(),
            include: Vec::new(),
            module_hotfixes: false,
            login: None,
        }
    }

    #[test]
    fn tls_vouches_where_it_was_and_a_mirror_without_it_for_nothing() {
        let url = |text: &str| -> Url { text.parse().unwrap() };
        let mirror = |from, to| Mirror { from: url(from), to: url(to) };
        let http = client(Network {
            mirrors: vec![
                mirror("https://plain.example", "http://mirror.lan"),
                mirror("https://safe.example", "https://mirror.lan"),
            ],
            ..Network::default()
        });
        let tls = |text: &str| Some(Vouched::Tls(url(text)));
        let roots = |text: &str| Place::Roots(vec![url(text)]);
        let (own, plain) = ("https://r.example/", "https://plain.example/");
        let list = |text: &str| Place::Mirrorlist(url(text));
        for (place, root, metalink, anyone, expected) in [
            (roots(own), own, None, false, tls(own)),
            (
                roots("https://safe.example/"),
                "https://safe.example/",
                None,
                false,
                tls("https://safe.example/"),
            ),
            (roots(plain), plain, None, false, Some(Vouched::Nobody)),
            (roots("http://r.example/"), "http://r.example/", None, false, None),
            (roots("http://r.example/"), "http://r.example/", None, true, Some(Vouched::Nobody)),
            (list(own), own, None, false, tls(own)),
            (list("http://l.example/"), own, None, false, None),
            (list(plain), own, None, false, Some(Vouched::Nobody)),
            (
                Place::Metalink(url(own)),
                "http://m.example/",
                Some(own),
                false,
                Some(Vouched::Metalink(url(own))),
            ),
            (
                Place::Metalink(url(plain)),
                "http://m.example/",
                Some(plain),
                false,
                Some(Vouched::Nobody),
            ),
            (
                Place::Metalink(url("http://l.example/")),
                own,
                Some("http://l.example/"),
                false,
                None,
            ),
        ] {
            let metalink = metalink.map(url);
            let source = source(place, anyone);
            let said = vouched(&http, &source, &url(root), None, metalink.as_ref()).ok();
            assert_eq!(said, expected, "{root} {:?}", source.place);
            let signed = vouched(&http, &source, &url(root), Some("f".to_owned()), None).unwrap();
            assert_eq!(signed, Vouched::Key("f".to_owned()));
        }
    }
}
