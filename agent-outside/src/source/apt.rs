//! Debian packages: from a line of the waybill to artifacts that upstream's key vouches for.
//!
//! In:   an [`AptLine`], this machine's apt settings where it leaves `uri` out.
//! Out:  [`Found`]: the packages named and what they depend on, and all that is missing.
//!
//! ```text
//! settings -> fetch (InRelease -> release -> Packages) -> packages -> select -> closure -> pick
//!                                                         installed ^   offers, solve ^
//! ```
//!
//! The chain of trust: a key chosen by the user signs `Release`, `Release` names the SHA-256 of
//! each index, an index names the SHA-256 of each package. So plain HTTP is fine. Nothing is
//! believed before the step above it was checked.

pub mod closure;
mod fetch;
mod installed;
mod offers;
pub mod packages;
mod pick;
mod relations;
mod release;
mod select;
mod settings;
mod solve;

use camino::Utf8Path;
use gapferry_proto::{Kind, Target};
use jiff::Timestamp;

use self::{
    closure::{Named, Request},
    installed::{Installed, VersionError},
    pick::Wish,
    settings::{Keys, SettingsError, Source},
};
use super::{
    Failure, Found, Verdict,
    http::Http,
    installed::{self as installed_at, ReadError},
};
use crate::{
    lists::{self, ListError},
    waybill::AptLine,
};

/// Where apt keeps its settings (apt.conf(5), `Dir::Etc`).
const SETTINGS: &str = "/etc/apt";

/// Why a line cannot be resolved as written.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("suite {suite:?} cannot be a folder below /apt/; name a `target`")]
    Target { suite: String, source: gapferry_proto::name::NameError },
    #[error("{entry} asks for an architecture that `architectures` does not list; add it")]
    Architecture { entry: String },
    #[error("cannot read {path}")]
    Read { path: camino::Utf8PathBuf, source: std::io::Error },
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Installed(#[from] ReadError),
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// Resolves one line: the packages it names, with their dependencies, for each architecture.
///
/// `base` is the folder of the waybill, to which `signedBy` is relative; `label` names the line
/// in the reasons (`spec.apt[0]`). Where the closure ends is told in `closure`.
///
/// All failures are collected; when an index cannot be read, nothing is closed over, since every
/// package of that index would seem to be missing.
pub async fn resolve(http: &Http, line: &AptLine, base: &Utf8Path, label: &str) -> Found {
    let root = Utf8Path::new(SETTINGS);
    let outcome = async {
        let packages = packages(line, base).map_err(|errors| {
            errors.into_iter().map(|error| line_failure(label, error)).collect::<Vec<_>>()
        })?;
        let mut wish = wish(line, &packages, label).map_err(|e| vec![line_failure(label, e)])?;
        wish.request.installed = installed(line, base).map_err(|e| vec![line_failure(label, e)])?;
        let sources = sources(root, line, base).map_err(|e| vec![line_failure(label, e)])?;
        let now = Timestamp::now();
        let texts = fetch::fetch_texts(http, sources, &line.architectures, root, now).await?;
        tokio::task::spawn_blocking(move || pick::pick(&wish, &texts))
            .await
            .map_err(|e| vec![Failure::new(Kind::Deb, label, Verdict::Fault, e)])
    };
    outcome.await.unwrap_or_else(|failures| Found { artifacts: Vec::new(), failures })
}

/// What a line asks for, with the files that it names read; all that is wrong as sentences.
pub fn request(line: &AptLine, base: &Utf8Path, label: &str) -> Result<Request, Vec<String>> {
    let told = |errors: Vec<LineError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let packages = packages(line, base).map_err(told)?;
    let wish = wish(line, &packages, label).map_err(|error| told(vec![error]))?;
    let installed = installed(line, base).map_err(|error| told(vec![error]))?;
    Ok(Request { installed, ..wish.request })
}

fn line_failure(label: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(Kind::Deb, label, Verdict::Configuration, error)
}

/// The packages that a line names, and those of its list.
fn packages(line: &AptLine, base: &Utf8Path) -> Result<Vec<String>, Vec<LineError>> {
    let mut packages = line.packages.clone();
    if let Some(list) = &line.list {
        let path = base.join(list);
        let bytes = lists::read(&path)
            .map_err(|source| vec![LineError::Read { path: path.clone(), source }])?;
        let entries = lists::packages(list.as_str(), &bytes)
            .map_err(|errors| errors.into_iter().map(LineError::List).collect::<Vec<_>>())?;
        packages.extend(entries.into_iter().map(|entry| entry.name));
    }
    Ok(packages)
}

/// What is installed on the targets of a line, as far as it says.
fn installed(line: &AptLine, base: &Utf8Path) -> Result<Option<Installed>, LineError> {
    let Some(at) = &line.installed else { return Ok(None) };
    let list = installed_at::read(at, base, &target(line)?, Kind::Deb)?;
    Ok(Some(Installed::of(&list)?))
}

fn target(line: &AptLine) -> Result<Target, LineError> {
    line.target().map_err(|source| LineError::Target { suite: line.suite.clone(), source })
}

/// What a line asks for, checked, but for what is installed.
fn wish(line: &AptLine, packages: &[String], label: &str) -> Result<Wish, LineError> {
    let target = target(line)?;
    let named = packages.iter().filter(|entry| *entry != "*").map(|entry| Named::parse(entry));
    let named: Vec<Named> = named.collect();
    let unknown = named
        .iter()
        .find(|n| n.architecture.as_ref().is_some_and(|a| !line.architectures.contains(a)));
    if let Some(Named { entry, .. }) = unknown {
        return Err(LineError::Architecture { entry: entry.clone() });
    }
    let architectures = line.architectures.clone();
    let request = Request {
        named,
        all: packages.iter().any(|entry| entry == "*"),
        recommends: line.recommends,
        minimal: line.minimal,
        security: line.security,
        installed: None,
        label: label.to_owned(),
    };
    Ok(Wish { target, architectures, request })
}

/// The sources of a line. `insecure: true` without a key file means that nobody's key is asked.
fn sources(root: &Utf8Path, line: &AptLine, base: &Utf8Path) -> Result<Vec<Source>, SettingsError> {
    let mut sources = match &line.uri {
        Some(uri) => vec![settings::named_source(line, uri, base)],
        None => settings::own_sources(root, line, base)?,
    };
    if line.insecure && line.signed_by.is_none() {
        for source in &mut sources {
            source.keys = Keys::Anyone;
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> AptLine {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn a_line_with_a_uri_takes_its_own_suite_main_and_key_file() {
        let line = line(
            "{uri: \"https://m.example/d\", suite: stable, architectures: [amd64], \
             packages: [a], signedBy: keys/a.gpg}",
        );
        let expected = Source {
            uri: "https://m.example/d".parse().unwrap(),
            suite: "stable".to_owned(),
            components: vec!["main".to_owned()],
            architectures: Vec::new(),
            keys: Keys::Files(vec!["/waybills/keys/a.gpg".into()]),
        };
        let sources = sources(Utf8Path::new("/none"), &line, Utf8Path::new("/waybills"));
        assert_eq!(sources.unwrap(), [expected]);
    }

    #[test]
    fn nobodys_key_is_asked_only_where_the_line_says_insecure() {
        for (extra, keys) in [
            ("insecure: true", Keys::Anyone),
            ("insecure: true, signedBy: k", Keys::Files(vec!["/w/k".into()])),
            ("insecure: false", Keys::Trusted { fingerprints: Vec::new() }),
        ] {
            let line = line(&format!(
                "{{uri: \"http://m.example/d\", suite: s, architectures: [amd64], packages: [a], {extra}}}"
            ));
            let sources = sources(Utf8Path::new("/none"), &line, Utf8Path::new("/w")).unwrap();
            assert_eq!(sources[0].keys, keys, "{extra}");
        }
    }

    #[test]
    fn a_star_is_no_name_but_the_whole_suite() {
        let line = line("{suite: s, architectures: [amd64], packages: ['*', a]}");
        let request = wish(&line, &line.packages, "l").unwrap().request;
        let names: Vec<_> = request.named.iter().map(|named| named.name.as_str()).collect();
        assert_eq!((request.all, names), (true, vec!["a"]));
    }

    #[test]
    fn the_target_is_the_suite_unless_it_is_named() {
        let text = "suite: a/updates, architectures: [amd64], packages: [\"a:arm64\"]";
        let unnamed = line(&format!("{{{text}}}"));
        let error = wish(&unnamed, &unnamed.packages, "l").unwrap_err();
        assert!(matches!(error, LineError::Target { .. }), "{error}");
        let named = line(&format!("{{{text}, target: a}}"));
        let error = wish(&named, &named.packages, "l").unwrap_err();
        assert!(matches!(error, LineError::Architecture { .. }), "{error}");
    }
}
