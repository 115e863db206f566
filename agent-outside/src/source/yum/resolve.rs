//! The way from a line to what is carried for it.
//!
//! In:   a [`YumLine`], the folder of the waybill, this machine's settings.
//! Out:  [`Resolved`]: packages, documents that travel along, and everything that failed.

use camino::Utf8Path;
use gapferry_proto::{Kind, Target};

use super::{
    artifacts::{self, Yum},
    closure::{Installed, Unmet, parse_installed},
    fetch,
    pick::{self, Outcome, Passed, PickError, Repository, Rpm, Wish},
    settings::{self, Source, Variables},
};
use crate::{
    source::{Failure, Found, Verdict, http::Http},
    waybill::YumLine,
};

/// Longest output of `rpm -qa`, in bytes: 16 MiB, some 300,000 packages.
const INSTALLED_LEN_BYTES_MAX: u64 = 16 << 20;

/// What came of a line.
#[derive(Debug, Default)]
pub struct Resolved {
    pub packages: Vec<Rpm>,
    pub passed: Vec<Passed>,
    /// The repositories, to which packages and documents refer by number.
    pub repositories: Vec<Repository>,
    pub failures: Vec<Failure>,
}

/// Why a line cannot be resolved as written.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("release {release:?} cannot be a folder below /yum/; name a `target`")]
    Target { release: String, source: gapferry_proto::name::NameError },
    #[error("cannot read {path}")]
    Read { path: camino::Utf8PathBuf, source: std::io::Error },
    #[error("{path} is too long for the output of `rpm -qa`")]
    TooLong { path: camino::Utf8PathBuf },
}

/// Resolves one line: the packages it names, with all that they need on an empty machine.
///
/// `base` is the folder of the waybill, to which files are relative; `label` names the line in
/// the reasons (`spec.yum[0]`). All failures are collected; when a repository cannot be read,
/// nothing is closed over, since its packages would seem to be missing.
pub async fn resolve(http: &Http, line: &YumLine, base: &Utf8Path, label: &str) -> Yum {
    let wish = match wish(line, base, label) {
        Ok(wish) => wish,
        Err(error) => {
            let failures = vec![configuration(label, error)];
            return Yum { found: Found { failures, ..Found::default() }, ..Yum::default() };
        }
    };
    let target = wish.target.clone();
    let outcome = async {
        let sources = sources(Utf8Path::new("/"), line, base);
        let sources = sources.map_err(|e| vec![configuration(label, e)])?;
        let repositories = fetch::fetch_repositories(http, sources).await?;
        pick_all(http, wish, repositories).await
    };
    let resolved = outcome.await;
    let failed = |failures| Resolved { failures, ..Resolved::default() };
    artifacts::of(resolved.unwrap_or_else(failed), &target, &line.arch)
}

/// Picks, at most twice: again with the file lists that the first turn asks for.
async fn pick_all(
    http: &Http,
    wish: Wish,
    mut repositories: Vec<Repository>,
) -> Result<Resolved, Vec<Failure>> {
    let label = wish.label.clone();
    let fault = |e| vec![Failure::new(Kind::Rpm, label.clone(), Verdict::Fault, e)];
    let refused = |e: PickError| {
        let verdict = verdict_of(&e);
        vec![Failure::new(Kind::Rpm, label.clone(), verdict, e)]
    };
    loop {
        let (wished, held) = (wish.clone(), repositories);
        let turn = tokio::task::spawn_blocking(move || {
            let outcome = pick::pick(&wished, &held);
            (held, outcome)
        });
        let (held, outcome) = turn.await.map_err(fault)?;
        repositories = held;
        match outcome.map_err(refused)? {
            Outcome::Files(lacking) => {
                fetch::fetch_filelists(http, &mut repositories, &lacking).await?;
            }
            Outcome::Picked(picked) => {
                let mut failures: Vec<Failure> = picked.unmet.into_iter().map(unmet).collect();
                failures.extend(
                    picked
                        .refused
                        .into_iter()
                        .map(|e| Failure::new(Kind::Rpm, label.clone(), verdict_of(&e), e)),
                );
                let (packages, passed) = (picked.packages, picked.passed);
                return Ok(Resolved { packages, passed, repositories, failures });
            }
        }
    }
}

const fn verdict_of(error: &PickError) -> Verdict {
    match error {
        PickError::Streams(_) => Verdict::Configuration,
        PickError::Field { .. }
        | PickError::Document(_)
        | PickError::Modules { .. }
        | PickError::Elements { .. } => Verdict::Refused,
    }
}

fn unmet(unmet: Unmet) -> Failure {
    let (Unmet::Unknown { entry } | Unmet::Impossible { entry, .. } | Unmet::TooHard { entry }) =
        &unmet;
    Failure::new(Kind::Rpm, entry.clone(), Verdict::Missing, unmet)
}

fn configuration(label: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(Kind::Rpm, label, Verdict::Configuration, error)
}

/// The repositories that a line means; `root` is `/`.
///
/// # Errors
///
/// [`settings::SettingsError`].
pub fn sources(
    root: &Utf8Path,
    line: &YumLine,
    base: &Utf8Path,
) -> Result<Vec<Source>, settings::SettingsError> {
    match settings::named_source(line, base)? {
        Some(source) => Ok(vec![source]),
        None => settings::own_sources(root, line, base),
    }
}

/// What a line asks for, checked.
fn wish(line: &YumLine, base: &Utf8Path, label: &str) -> Result<Wish, LineError> {
    let installed = line.installed.as_ref().map(|path| read_installed(&base.join(path)));
    Ok(Wish {
        target: target(line)?,
        arch: line.arch.clone(),
        named: line.packages.clone(),
        weak: line.weak,
        modules: line.modules.clone(),
        minimal: line.minimal,
        security: line.security,
        installed: installed.transpose()?,
        label: label.to_owned(),
    })
}

/// The folder below `/yum/`: as named, else the release.
fn target(line: &YumLine) -> Result<Target, LineError> {
    if let Some(target) = &line.target {
        return Ok(target.clone());
    }
    let own = || Variables::own(Utf8Path::new("/"), line).ok()?.0.remove("releasever");
    let release = line.releasever.clone().or_else(own).unwrap_or_default();
    release.parse().map_err(|source| LineError::Target { release, source })
}

fn read_installed(path: &Utf8Path) -> Result<Vec<Installed>, LineError> {
    use std::io::Read as _;
    let fail = |source| LineError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(INSTALLED_LEN_BYTES_MAX + 1).read_to_string(&mut text).map_err(fail)?;
    if INSTALLED_LEN_BYTES_MAX < text.len() as u64 {
        return Err(LineError::TooLong { path: path.to_owned() });
    }
    Ok(parse_installed(&text))
}
