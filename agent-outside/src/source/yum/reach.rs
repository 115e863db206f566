//! What repositories want of whoever asks: client certificates, logins.
//!
//! In:   the lines of a waybill, this machine's dnf settings, the files that they name.
//! Out:  a client that shows each repository what it wants, for its documents and its packages.

use camino::Utf8Path;
use gapferry_proto::Kind;
use url::Url;

use super::{
    fetch::fetch_roots,
    resolve::sources,
    settings::{Place, Source},
};
use crate::{
    source::{
        Failure, Verdict,
        http::{Access, AccessError, Http, TlsFiles},
    },
    waybill::YumLine,
};

/// A client for one repository.
pub struct Reach {
    pub http: Http,
    access: Option<Access>,
}

impl Reach {
    /// Reads the files that the repository's settings name.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn new(http: &Http, source: &Source) -> Result<Self, AccessError> {
        if source.login.is_none() && source.tls == TlsFiles::default() {
            return Ok(Self { http: http.clone(), access: None });
        }
        let own = match &source.place {
            Place::Roots(roots) => roots.clone(),
            Place::Mirrorlist(url) | Place::Metalink(url) => vec![url.clone()],
        };
        let login = source.login.as_ref().map(|(user, password)| (&**user, &**password));
        let access = http.access(own, &source.tls, login)?;
        Ok(Self { http: http.with_access([access.clone()]), access: Some(access) })
    }

    /// The client that also knows the mirrors of the repository's list. They get the certificate
    /// and not the login, since a list may name anybody.
    pub fn with_mirrors(&self, source: &Source, roots: &[Url]) -> Http {
        match (&source.place, &self.access) {
            (Place::Mirrorlist(_) | Place::Metalink(_), Some(access)) => {
                self.http.with_access([access.elsewhere(roots.to_vec())])
            }
            _ => self.http.clone(),
        }
    }
}

/// A client for the packages of all `lines`; `base` is the waybill's folder.
///
/// Of the repositories that want something, lists of mirrors are fetched anew. What is wrong with
/// the files is in the failures; settings that cannot be read give nothing, and the packages then
/// fail by themselves if they need them.
pub async fn reach(
    http: &Http,
    lines: &[(String, YumLine)],
    base: &Utf8Path,
) -> (Http, Vec<Failure>) {
    reach_from(Utf8Path::new("/"), http, lines, base).await
}

async fn reach_from(
    root: &Utf8Path,
    http: &Http,
    lines: &[(String, YumLine)],
    base: &Utf8Path,
) -> (Http, Vec<Failure>) {
    let (mut http, mut failures) = (http.clone(), Vec::new());
    let mut known: Vec<Source> = Vec::new();
    for (label, line) in lines {
        let found = sources(root, line, base).unwrap_or_else(|error| {
            tracing::warn!(label, %error, "no settings of repositories");
            Vec::new()
        });
        for source in found {
            if known.contains(&source) {
                continue;
            }
            match reach_one(&http, &source).await {
                Ok(reached) => http = reached,
                Err(e) => {
                    let id = source.id.clone();
                    failures.push(Failure::new(Kind::Rpm, id, Verdict::Configuration, e));
                }
            }
            known.push(source);
        }
    }
    (http, failures)
}

async fn reach_one(http: &Http, source: &Source) -> Result<Http, AccessError> {
    let reach = Reach::new(http, source)?;
    if reach.access.is_none() || matches!(source.place, Place::Roots(_)) {
        return Ok(reach.http);
    }
    Ok(match fetch_roots(&reach.http, source).await {
        Ok((roots, _)) => reach.with_mirrors(source, &roots),
        Err(error) => {
            tracing::warn!(id = source.id, %error, "no list of mirrors");
            reach.http
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse as _};

    use super::*;
    use crate::source::http::{
        Network, basic,
        upstream::{Upstream, client},
    };

    fn line(text: &str) -> (String, YumLine) {
        ("spec.yum[0]".to_owned(), serde_saphyr::from_str(text).unwrap())
    }

    /// A machine whose dnf has these repositories.
    fn machine(repositories: &str) -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        std::fs::create_dir_all(root.join("etc/yum.repos.d")).unwrap();
        std::fs::write(root.join("etc/yum.repos.d/a.repo"), repositories).unwrap();
        (dir, root)
    }

    #[tokio::test]
    async fn a_login_of_a_repo_file_opens_packages_too_and_a_mirror_does_not_see_it() {
        let mirror = Upstream::start(|_| "abc".into_response()).await;
        let list = mirror.at("/m/").to_string();
        let upstream =
            Upstream::start(move |seen| match (seen.path.as_str(), seen.header("authorization")) {
                (_, None) => StatusCode::UNAUTHORIZED.into_response(),
                ("/list", _) => list.clone().into_response(),
                _ => "abc".into_response(),
            })
            .await;
        let login = "username=u\npassword=p\n";
        let (_dir, root) = machine(&format!(
            "[a]\nbaseurl={}\n{login}[b]\nmirrorlist={}\n{login}",
            upstream.at("/r"),
            upstream.at("/list?x=1"),
        ));
        let http = client(Network::default());
        let lines = [line("{packages: [x], arch: x86_64}"), line("{packages: [y], arch: x86_64}")];
        let (reached, failures) = reach_from(&root, &http, &lines, &root).await;
        assert!(failures.is_empty(), "{failures:?}");
        reached.get(&upstream.at("/r/Packages/x.rpm"), None, 9).await.unwrap();
        reached.get(&mirror.at("/m/Packages/y.rpm"), None, 9).await.unwrap();
        assert!(reached.get(&upstream.at("/other"), None, 9).await.is_err());
        assert!(mirror.seen().iter().all(|seen| seen.header("authorization").is_none()));
        let shown = basic("u", "p");
        let shown = shown.to_str().unwrap();
        let seen = upstream.seen();
        let asked = |path: &str| seen.iter().filter(|seen| seen.path == path).collect::<Vec<_>>();
        assert_eq!(asked("/r/Packages/x.rpm")[0].header("authorization"), Some(shown));
        assert_eq!(asked("/list?x=1").len(), 1, "one repository is asked once");
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_read_is_a_failure_with_file_and_setting() {
        let (_dir, root) =
            machine("[a]\nbaseurl=https://r.example/\nsslclientcert=/none/a.pem\n[b]\nenabled=0\n");
        let http = client(Network::default());
        let lines = [line("{packages: [x], arch: x86_64, repos: [a]}")];
        let (_, failures) = reach_from(&root, &http, &lines, &root).await;
        assert_eq!((failures.len(), failures[0].verdict), (1, Verdict::Configuration));
        let said = "cannot read /none/a.pem, which sslclientcert names";
        assert_eq!(failures[0].error.to_string(), said);
        // Settings that are none give nothing and keep nothing away.
        let (_, failures) = reach_from(&root.join("none"), &http, &lines, &root).await;
        assert!(failures.is_empty());
    }
}
