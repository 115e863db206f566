//! Python packages: requirements, and all that they depend on, from a simple index.
//!
//! In:   a `pypi` line of the waybill.
//! Out:  [`Found`]: for every Python and platform named the file that pip would take there.
//!
//! Each environment has a closure of its own; what is carried is their union. The index vouches
//! for every file by its SHA-256; a file without one is not carried.

pub mod closure;
mod html;
pub mod index;
mod memory;
pub mod metadata;
pub mod project;
mod ranges;
pub mod requirements;
mod sentence;
pub mod settings;
pub mod tags;
pub mod upstream;
pub mod wheel;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{StreamExt, stream};
use gapferry_proto::{
    Artifact, BlobRef, Digest, Facts, Kind, SafePath,
    artifact::{Evidence, Method, PypiFacts},
};
use tokio::task;
use url::{Host, Url};

use self::{
    closure::{Choice, Closure, Known, Need, Roots, Step},
    project::Project,
    requirements::Reading,
    tags::Environment,
    upstream::{Learned, Upstream, UpstreamError},
};
use super::{Failure, Found, Verdict, http::Http};
use crate::waybill::PypiLine;

/// How many requests are under way at once.
const REQUESTS_MAX: usize = 16;

/// Most passes over the closures. Each learns of a further layer of dependencies.
const PASSES_MAX: usize = 1000;

/// Resolves one line of the waybill.
///
/// `base` is the waybill's folder, which relative paths are relative to; `label` is the line's
/// place, `spec.pypi[0]`, for the reasons given with each artifact.
pub async fn resolve(http: &Http, line: &PypiLine, base: &Utf8Path, label: &str) -> Found {
    let mut found = Found::default();
    let environments = environments(line, label, &mut found.failures);
    let roots = roots(line, base, label, &mut found.failures).await;
    let indexes = indexes(line, label, &mut found.failures).await;
    if !found.failures.is_empty() {
        return found; // what is asked for is not understood, so nothing is guessed
    }
    let mut search = Search {
        upstream: Upstream::new(http, indexes, line.insecure),
        known: Known::default(),
        lengths: HashMap::new(),
        broken: BTreeMap::new(),
        impossible: BTreeMap::new(),
    };
    let choices = search.closures(&environments, &roots).await;
    found.artifacts = search.artifacts(choices).await;
    found.artifacts.iter_mut().for_each(|artifact| vouch(artifact, &roots));
    found.failures.extend(search.into_failures());
    found
}

fn environments(line: &PypiLine, label: &str, failures: &mut Vec<Failure>) -> Vec<Environment> {
    let mut environments = Vec::new();
    let mut wrong = BTreeSet::new();
    for python in &line.python {
        for platform in &line.platforms {
            match Environment::new(python, platform) {
                Ok(environment) => environments.push(environment),
                Err(error) => {
                    wrong.insert(error.to_string());
                }
            }
        }
    }
    if line.platforms.is_empty() {
        wrong.insert("name at least one platform, such as manylinux_2_17_x86_64".to_owned());
    }
    failures.extend(wrong.into_iter().map(|error| misconfigured(label, error)));
    environments
}

fn misconfigured(
    label: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Failure {
    Failure::new(Kind::Pypi, label, Verdict::Configuration, error)
}

async fn roots(
    line: &PypiLine,
    base: &Utf8Path,
    label: &str,
    failures: &mut Vec<Failure>,
) -> Roots {
    let mut reading = Reading::default();
    for text in &line.packages {
        reading.line(text, label);
    }
    if let Some(file) = &line.requirements {
        let path: Utf8PathBuf = base.join(file);
        let label = label.to_owned();
        let read = task::spawn_blocking(move || {
            reading.file(&path);
            // A requirement of a file is one of the line that names the file.
            for stated in reading.stated.iter_mut().filter(|stated| !stated.at.starts_with(&label))
            {
                stated.at = format!("{label}, {}", stated.at);
            }
            reading
        });
        reading = match read.await {
            Ok(reading) => reading,
            Err(error) => {
                failures.push(Failure::new(Kind::Pypi, file.as_str(), Verdict::Fault, error));
                return Roots::default();
            }
        };
    }
    failures.extend(reading.errors.into_iter().map(|error| misconfigured(label, error)));
    Roots { stated: reading.stated, prereleases: reading.prereleases }
}

async fn indexes(line: &PypiLine, label: &str, failures: &mut Vec<Failure>) -> Vec<Url> {
    let indexes = match &line.index {
        Some(index) => vec![index.clone()],
        None => match task::spawn_blocking(settings::of_this_machine).await {
            Ok(Ok(indexes)) => indexes.0,
            Ok(Err(error)) => {
                failures.push(misconfigured(label, error));
                return Vec::new();
            }
            Err(error) => {
                failures.push(Failure::new(Kind::Pypi, label, Verdict::Fault, error));
                return Vec::new();
            }
        },
    };
    let plain_ones = indexes.iter().filter(|index| !line.insecure && is_plain_http(index));
    failures.extend(
        plain_ones.map(|index| misconfigured(label, UpstreamError::Plain { url: plain(index) })),
    );
    indexes
}

/// Everything that one line learns, over all environments.
struct Search<'a> {
    upstream: Upstream<'a>,
    known: Known,
    lengths: HashMap<Digest, u64>,
    /// By what could not be asked, so that each is told once.
    broken: BTreeMap<String, UpstreamError>,
    impossible: BTreeMap<String, closure::Impossible>,
}

/// An answer of an index.
enum Answer {
    Project(Result<Project, UpstreamError>),
    Learned(Digest, Result<Learned, UpstreamError>),
}

impl Search<'_> {
    /// Finds the closure of every environment; those that fail are left out and told of.
    async fn closures(&mut self, environments: &[Environment], roots: &Roots) -> Vec<Choice> {
        let mut choices = Vec::new();
        let mut open: Vec<Closure<'_>> =
            environments.iter().map(|environment| Closure::new(environment, roots)).collect();
        for _ in 0..PASSES_MAX {
            let mut needs: Vec<Need> = Vec::new();
            open.retain_mut(|closure| {
                match closure.step(&self.known) {
                    Step::Done(done) => choices.extend(done),
                    Step::Impossible(impossible) => {
                        let told = impossible.into_iter().map(|i| (i.sentence.clone(), i));
                        self.impossible.extend(told);
                    }
                    Step::Needs(new) => {
                        let mut new: Vec<Need> =
                            new.into_iter().filter(|need| !needs.contains(need)).collect();
                        needs.append(&mut new);
                        return true;
                    }
                }
                false
            });
            needs.retain(|need| !self.broken.contains_key(&key(need)));
            if needs.is_empty() {
                break;
            }
            self.answer(needs).await;
        }
        choices
    }

    async fn answer(&mut self, needs: Vec<Need>) {
        let upstream = &self.upstream;
        let answers = stream::iter(needs).map(|need| async move {
            let answer = match &need {
                Need::Project(name) => Answer::Project(upstream.project(name).await),
                Need::Requirements(name, file) => {
                    let (file, form) = &**file;
                    Answer::Learned(file.digest, upstream.learn(name, file, form).await)
                }
            };
            (need, answer)
        });
        let mut answers = answers.buffer_unordered(REQUESTS_MAX);
        while let Some((need, answer)) = answers.next().await {
            let error = match (&need, answer) {
                (Need::Project(name), Answer::Project(Ok(project))) => {
                    self.known.projects.insert(name.clone(), project);
                    continue;
                }
                (_, Answer::Learned(digest, Ok(learned))) => {
                    self.known.requirements.insert(digest, learned.requirements);
                    self.lengths.extend(learned.len_bytes.map(|len| (digest, len)));
                    continue;
                }
                (_, Answer::Project(Ok(_))) => continue,
                (_, Answer::Project(Err(error)) | Answer::Learned(_, Err(error))) => error,
            };
            self.broken.insert(key(&need), error);
        }
    }

    /// Makes artifacts of the choices of all environments, each file once.
    async fn artifacts(&mut self, choices: Vec<Choice>) -> Vec<Artifact> {
        let mut files: BTreeMap<SafePath, Choice> = BTreeMap::new();
        for choice in choices {
            files
                .entry(choice.file.filename.clone())
                .and_modify(|held| held.wanted.extend(choice.wanted.iter().cloned()))
                .or_insert(choice);
        }
        let (upstream, lengths) = (&self.upstream, &self.lengths);
        let sized = stream::iter(files.into_values()).map(|choice| async move {
            let len_bytes = match lengths.get(&choice.file.digest) {
                Some(&len_bytes) => Ok(len_bytes),
                None => upstream.len_bytes(&choice.file).await,
            };
            (choice, len_bytes)
        });
        let sized: Vec<_> = sized.buffered(REQUESTS_MAX).collect().await;
        let mut artifacts = Vec::new();
        for (choice, len_bytes) in sized {
            match len_bytes {
                Ok(len_bytes) => {
                    let is_vouched = upstream.is_vouching(&choice.file.index);
                    artifacts.push(artifact(choice, len_bytes, is_vouched));
                }
                Err(error) => {
                    self.broken.insert(choice.file.filename.to_string(), error);
                }
            }
        }
        artifacts
    }

    fn into_failures(self) -> impl Iterator<Item = Failure> {
        let impossible = self.impossible.into_values().map(|impossible| {
            let name = impossible.name.to_string();
            Failure::new(Kind::Pypi, name, Verdict::Missing, impossible)
        });
        let broken = self.broken.into_iter().map(|(name, error)| {
            let verdict = error.verdict();
            Failure::new(Kind::Pypi, name, verdict, error)
        });
        impossible.chain(broken)
    }
}

/// What a need is called on the list of failures.
fn key(need: &Need) -> String {
    match need {
        Need::Project(name) => name.to_string(),
        Need::Requirements(_, file) => file.0.filename.to_string(),
    }
}

/// What comes without TLS vouches for nothing: an index may have been changed on its way here.
fn artifact(choice: Choice, len_bytes: u64, is_vouched: bool) -> Artifact {
    let Choice { name, version, file, wanted } = choice;
    let method = if is_vouched { Method::PypiIndex } else { Method::Unverified };
    Artifact {
        name: file.filename.to_string(),
        facts: Facts::Pypi(PypiFacts {
            project: name.to_string(),
            version: version.to_string(),
            filename: file.filename,
            requires_python: file.requires_python,
            yanked: file.yanked,
        }),
        blobs: vec![BlobRef { id: file.digest.into(), len_bytes }],
        origin: plain(&file.url),
        evidence: Evidence { method, by: file.index, digest: Some(file.digest) },
        wanted: wanted.into_iter().collect(),
    }
}

/// A file that a requirement names by its hash is vouched for, whatever its index is worth.
fn vouch(artifact: &mut Artifact, roots: &Roots) {
    let Some(digest) = artifact.evidence.digest else { return };
    let by = roots.stated.iter().find(|stated| stated.hashes.contains(&digest));
    if let (Method::Unverified, Some(stated)) = (artifact.evidence.method, by) {
        let (method, by) = (Method::Waybill, stated.at.clone());
        artifact.evidence = Evidence { method, by, digest: Some(digest) };
    }
}

/// A URL without user, password and fragment.
fn plain(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    // Both fail only for URLs that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Whether what a URL leads to may be changed on its way here.
fn is_plain_http(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() != "https" && !is_local
}

#[cfg(test)]
mod tests;
