//! The way from lines to what is carried for them.
//!
//! In:   [`YumLine`]s, the folder of the waybill, this machine's settings.
//! Out:  [`Yum`]: packages and documents as artifacts, and everything that failed.
//!
//! The lines for one target and architecture are one wish: a node has all their repositories, so
//! what a package of one line needs may come from another line's.

use camino::Utf8Path;
use gapferry_proto::{Kind, Target};

use super::{
    artifacts::{self, Yum},
    closure::{Asked, Unmet, installed_of},
    fetch,
    pick::{self, Outcome, Passed, PickError, Repository, Rpm, Wish},
    settings::{self, Source, Variables},
};
use crate::{
    source::{
        Failure, Found, Verdict,
        http::Http,
        installed::{self, ReadError},
    },
    waybill::YumLine,
};

/// The lines for one target and architecture.
#[derive(Debug)]
pub struct Lines<'a> {
    pub wish: Wish,
    /// One for each of what the wish asks, in its order.
    pub lines: Vec<&'a YumLine>,
}

/// What came of a wish.
#[derive(Debug, Default)]
pub struct Resolved {
    pub packages: Vec<Rpm>,
    pub passed: Vec<Passed>,
    /// The repositories, to which packages and documents refer by number.
    pub repositories: Vec<Repository>,
    pub failures: Vec<Failure>,
}

/// A release that is no target.
#[derive(Debug, thiserror::Error)]
#[error("release {release:?} cannot be a folder below /yum/; name a `target`")]
pub struct TargetError {
    release: String,
    source: gapferry_proto::name::NameError,
}

/// Why a line cannot be resolved as written.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error(transparent)]
    Installed(#[from] ReadError),
}

/// Resolves lines: the packages they name, with all that these need on an empty machine.
///
/// `base` is the folder of the waybill, to which files are relative; each line has its label for
/// the reasons (`spec.yum[0]`). All failures are collected; when a repository cannot be read,
/// nothing of its target is closed over, since its packages would seem to be missing.
pub async fn resolve(http: &Http, lines: &[(String, YumLine)], base: &Utf8Path) -> Yum {
    let (wishes, failures) = wishes(lines, base);
    let mut yum = Yum { found: Found { failures, ..Found::default() }, ..Yum::default() };
    for Lines { mut wish, lines } in wishes {
        let (target, arch) = (wish.target.clone(), wish.arch.clone());
        let outcome = async {
            let sources = sources_of_all(&mut wish, &lines, base)?;
            let repositories = fetch::fetch_repositories(http, sources).await?;
            pick_all(http, wish, repositories).await
        };
        let resolved = outcome.await;
        let failed = |failures| Resolved { failures, ..Resolved::default() };
        yum.join(artifacts::of(resolved.unwrap_or_else(failed), base, &target, &arch));
    }
    yum
}

/// What lines ask for, by target and architecture. Of a target of which a line cannot be read
/// nothing is asked.
pub fn wishes<'a>(
    lines: &'a [(String, YumLine)],
    base: &Utf8Path,
) -> (Vec<Lines<'a>>, Vec<Failure>) {
    let (mut wishes, mut failures): (Vec<Lines<'_>>, Vec<Failure>) = (vec![], vec![]);
    let mut broken = vec![];
    for (label, line) in lines {
        let arch = line.arch.clone();
        let target = match target(line) {
            Ok(target) => target,
            Err(error) => {
                failures.push(configuration(label, error));
                continue;
            }
        };
        let asked = match asked(line, base, &target, label) {
            Ok(asked) => asked,
            Err(error) => {
                failures.push(configuration(label, error));
                broken.push((target, arch));
                continue;
            }
        };
        let is_same = |one: &&mut Lines<'_>| (&one.wish.target, &one.wish.arch) == (&target, &arch);
        match wishes.iter_mut().find(is_same) {
            Some(one) => {
                one.wish.asked.push(asked);
                one.lines.push(line);
            }
            None => {
                let wish = Wish { target, arch, asked: vec![asked] };
                wishes.push(Lines { wish, lines: vec![line] });
            }
        }
    }
    let is_broken = |wish: &Wish| broken.iter().any(|(t, a)| (t, a) == (&wish.target, &wish.arch));
    wishes.retain(|one| !is_broken(&one.wish));
    (wishes, failures)
}

/// Picks, at most twice: again with the file lists that the first turn asks for.
async fn pick_all(
    http: &Http,
    wish: Wish,
    mut repositories: Vec<Repository>,
) -> Result<Resolved, Vec<Failure>> {
    let labels: Vec<&str> = wish.asked.iter().map(|asked| asked.label.as_str()).collect();
    let label = labels.join(", ");
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
        | PickError::Place { .. }
        | PickError::Document(_)
        | PickError::Modules { .. }
        | PickError::Elements { .. } => Verdict::Refused,
    }
}

fn unmet(unmet: Unmet) -> Failure {
    Failure::new(Kind::Rpm, unmet.entry().to_owned(), Verdict::Missing, unmet)
}

fn configuration(label: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(Kind::Rpm, label, Verdict::Configuration, error)
}

/// The repositories of all lines, each once; the wish learns which of them are whose.
fn sources_of_all(
    wish: &mut Wish,
    lines: &[&YumLine],
    base: &Utf8Path,
) -> Result<Vec<Source>, Vec<Failure>> {
    let (mut all, mut failures): (Vec<Source>, Vec<Failure>) = (vec![], vec![]);
    for (asked, line) in wish.asked.iter_mut().zip(lines) {
        let mut number_of = |source: Source| {
            let known = all.iter().position(|other| *other == source);
            known.unwrap_or_else(|| {
                all.push(source);
                all.len() - 1
            })
        };
        match sources(Utf8Path::new("/"), line, base) {
            Ok(own) => {
                let own = own.into_iter().map(&mut number_of).collect();
                asked.from = (!line.from_all).then_some(own);
            }
            Err(error) => failures.push(configuration(&asked.label, error)),
        }
    }
    if failures.is_empty() { Ok(all) } else { Err(failures) }
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

/// What a line asks for, of any repository.
fn asked(
    line: &YumLine,
    base: &Utf8Path,
    target: &Target,
    label: &str,
) -> Result<Asked, LineError> {
    let list = line.installed.as_ref().map(|at| installed::read(at, base, target, Kind::Rpm));
    let list = list.transpose()?;
    Ok(Asked {
        label: label.to_owned(),
        named: line.packages.clone(),
        from: None,
        modules: line.modules.clone(),
        weak: line.weak,
        minimal: line.minimal,
        installed: list.map(installed_of),
        no_updates: line.no_updates,
        security: line.security,
    })
}

/// The folder below `/yum/`: as named, else the release.
///
/// # Errors
///
/// [`TargetError`]: neither can be one.
pub fn target(line: &YumLine) -> Result<Target, TargetError> {
    if let Some(target) = &line.target {
        return Ok(target.clone());
    }
    let own = || Variables::own(Utf8Path::new("/"), line).ok()?.0.remove("releasever");
    let release = line.releasever.clone().or_else(own).unwrap_or_default();
    release.parse().map_err(|source| TargetError { release, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubespray_asks_for_is_asked_from_the_repositories_of_all_lines() {
        let (label, first) = line("target: el9, packages: [a], baseurl: 'https://m.example/one'");
        let lines = vec![
            (label, YumLine { from_all: true, ..first }),
            line("target: el9, baseurl: 'https://m.example/two'"),
        ];
        let mut wishes = wishes(&lines, Utf8Path::new("/none")).0;
        let Lines { wish, lines } = &mut wishes[0];
        let sources = sources_of_all(wish, lines, Utf8Path::new("/w")).unwrap();
        let from: Vec<_> = wish.asked.iter().map(|asked| asked.from.clone()).collect();
        assert_eq!((sources.len(), from), (2, vec![None, Some([1].into())]));
    }

    fn line(text: &str) -> (String, YumLine) {
        let line = serde_saphyr::from_str(&format!("{{arch: x86_64, {text}}}")).unwrap();
        (text.to_owned(), line)
    }

    #[test]
    fn lines_of_one_target_and_architecture_are_one_wish() {
        let lines = vec![
            line("target: el9, packages: [a], baseurl: 'https://m.example/one'"),
            line("target: el8, packages: [b], baseurl: 'https://m.example/one'"),
            line("releasever: el9, packages: [c], baseurl: 'https://m.example/two'"),
            line("target: el9, packages: [d], baseurl: 'https://m.example/one'"),
            line("releasever: 'a//b', packages: [e]"),
            line("target: el7, installed: none.txt"),
            line("target: el7, packages: [f]"),
        ];
        let (wishes, failures) = wishes(&lines, Utf8Path::new("/none"));
        let labels: Vec<_> = failures.iter().map(|failure| failure.name.clone()).collect();
        assert_eq!(labels, [lines[4].0.clone(), lines[5].0.clone()]);
        let mut told = vec![];
        for Lines { mut wish, lines } in wishes {
            let sources = sources_of_all(&mut wish, &lines, Utf8Path::new("/w")).unwrap();
            let ids: Vec<_> = sources.iter().map(|source| source.id.as_str()).collect();
            told.push(format!("{}: {}", wish.target, ids.join(" ")));
            for asked in wish.asked {
                told.push(format!("{} {:?}", asked.named.join(" "), asked.from.unwrap()));
            }
        }
        let expected = [
            "el9: m.example/one m.example/two",
            "a {0}",
            "c {1}",
            "d {0}",
            "el8: m.example/one",
            "b {0}",
        ];
        assert_eq!(told, expected);
    }
}
