//! Installs what the pypi lines name, from nothing but the distributions that are carried.
//!
//! In:   the carried wheels and source distributions, whose metadata is read from the store.
//! Out:  for every Python and platform what pip would not find.

use std::{collections::BTreeMap, io::BufReader};

use camino::Utf8Path;
use gapferry_common::store::Store;
use gapferry_proto::{
    Artifact, Facts, Kind, artifact::PypiFacts, limits::PYPI_WHOLE_LEN_BYTES_MAX, want::Want,
};
use pep508_rs::PackageName;
use url::Url;

use super::{Ground, Line, Missing, NotProven, Report};
use crate::{
    source::pypi::{
        closure::{Choice, Closure, Impossible, Known, Need, Roots, Step},
        index::{IndexFile, Offer, Page},
        metadata::{self, Requirements},
        project::Project,
        requirements::Reading,
        tags::Environment,
        wheel::Form,
    },
    waybill::PypiLine,
};

/// Most passes over one closure. Each learns of a further layer of dependencies.
const PASSES_MAX: usize = 1000;

/// Checks the pypi lines of a waybill.
pub fn check(
    ground: &Ground<'_>,
    base: &Utf8Path,
    lines: &[(String, PypiLine)],
    report: &mut Report,
) {
    if lines.is_empty() {
        return;
    }
    let mut shelf = Shelf::new(ground);
    for (label, line) in lines {
        let mut reading = Reading::default();
        line.packages.iter().for_each(|text| reading.line(text, label));
        if let Some(file) = &line.requirements {
            reading.file(&base.join(file));
        }
        let (environments, wrong) = environments(line);
        let errors = reading.errors.iter().map(ToString::to_string).chain(wrong);
        let errors = errors.map(|error| Missing::new(Kind::Pypi, &**label, "the waybill", error));
        let before = report.missing.len();
        report.missing.extend(errors);
        if report.missing.len() != before {
            continue; // what is asked for is not understood, so nothing is guessed
        }
        let roots = Roots { stated: reading.stated, prereleases: reading.prereleases };
        shelf.line(line, label, &environments, &roots, report);
    }
}

/// Checks what a want of the site asks for: `lines` has one for each Python and platform. One that
/// gets it is enough, for so it was granted; what another would miss on the way is not proven.
pub fn check_want(
    ground: &Ground<'_>,
    base: &Utf8Path,
    want: &Want,
    lines: &[(String, PypiLine)],
    report: &mut Report,
) {
    let (mut missing, mut is_had) = (vec![], false);
    for line in lines {
        let mut own = Report::default();
        check(ground, base, std::slice::from_ref(line), &mut own);
        own.checked.iter().for_each(|(kind, count)| {
            *report.checked.entry(kind).or_default() += count;
        });
        report.not_proven.extend(own.not_proven);
        is_had |= own.missing.is_empty();
        missing.extend(own.missing);
    }
    if !is_had {
        report.missing.extend(missing);
        return;
    }
    let on_the_way = missing.into_iter().filter(|one| one.name != want.name);
    report.not_proven.extend(on_the_way.map(|one| {
        let reason = format!("{}; another Python has it", one.reason);
        NotProven { kind: one.kind, name: one.name, needed_by: one.needed_by, reason }
    }));
}

fn environments(line: &PypiLine) -> (Vec<Environment>, Vec<String>) {
    let pairs =
        line.python.iter().flat_map(|python| line.platforms.iter().map(move |p| (python, p)));
    let (mut environments, mut wrong) = (vec![], vec![]);
    for (python, platform) in pairs {
        match Environment::new(python, platform) {
            Ok(environment) => environments.push(environment),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    (environments, wrong)
}

/// An index of what is carried, and what was learned of it.
struct Shelf<'a> {
    store: &'a Store,
    pages: BTreeMap<PackageName, Page>,
    known: Known,
    /// Files whose requirements could not be read, and why.
    unread: BTreeMap<String, String>,
}

impl<'a> Shelf<'a> {
    fn new(ground: &Ground<'a>) -> Self {
        let mut pages: BTreeMap<PackageName, Page> = BTreeMap::new();
        for artifact in ground.held.artifacts() {
            let Facts::Pypi(facts) = &artifact.facts else { continue };
            let Ok(name) = facts.project.parse() else { continue };
            pages.entry(name).or_default().files.extend(offered(artifact, facts));
        }
        Self { store: ground.store, pages, known: Known::default(), unread: BTreeMap::new() }
    }

    fn line(
        &mut self,
        line: &PypiLine,
        label: &str,
        environments: &[Environment],
        roots: &Roots,
        report: &mut Report,
    ) {
        let mut impossible: BTreeMap<PackageName, Vec<Impossible>> = BTreeMap::new();
        for environment in environments {
            report.count(Kind::Pypi);
            match self.close(&mut Closure::new(environment, roots)) {
                Ok(choices) => report.not_proven.extend(self.to_build(&choices, label)),
                Err(found) => found.into_iter().for_each(|one| {
                    impossible.entry(one.name.clone()).or_default().push(one);
                }),
            }
        }
        for (name, all) in impossible {
            report.missing.extend(missing(line, label, roots, &name, &all));
        }
    }

    fn close(&mut self, closure: &mut Closure<'_>) -> Result<Vec<Choice>, Vec<Impossible>> {
        for _ in 0..PASSES_MAX {
            match closure.step(&self.known) {
                Step::Done(choices) => return Ok(choices),
                Step::Impossible(impossible) => return Err(impossible),
                Step::Needs(needs) => needs.into_iter().for_each(|need| self.answer(need)),
            }
        }
        Ok(vec![]) // each pass answers a need, and there are not so many distributions
    }

    fn answer(&mut self, need: Need) {
        match need {
            Need::Project(name) => {
                let pages = self.pages.remove(&name).into_iter().collect();
                let project = Project::new(&name, pages);
                self.known.projects.insert(name, project);
            }
            Need::Requirements(name, file) => {
                let (file, form) = *file;
                let read = read(self.store, &name, &file, &form);
                let requirements = read.unwrap_or_else(|reason| {
                    self.unread.insert(file.filename.to_string(), reason);
                    vec![]
                });
                self.known.requirements.insert(file.digest, Ok(requirements));
            }
        }
    }

    /// What is to be built on a node, and what could not be read.
    fn to_build(&self, choices: &[Choice], label: &str) -> Vec<NotProven> {
        let row = |choice: &Choice| {
            let name = choice.file.filename.as_str();
            let reason = match self.unread.get(name) {
                Some(reason) => format!("what it depends on cannot be read: {reason}"),
                None if name.ends_with(".whl") => return None,
                None => "what building it takes is not known: no wheel of it is carried".to_owned(),
            };
            Some(NotProven::new(Kind::Pypi, name, label, reason))
        };
        choices.iter().filter_map(row).collect()
    }
}

fn missing(
    line: &PypiLine,
    label: &str,
    roots: &Roots,
    name: &PackageName,
    all: &[Impossible],
) -> Option<Missing> {
    let first = all.first()?;
    let mut reason = format!("from what the site would have: {}", first.sentence);
    if let further @ 1.. = all.len() - 1 {
        reason.push_str(&format!("; and so for {further} further environments"));
    }
    let missing = Missing::new(Kind::Pypi, name.to_string(), label, reason);
    let mut stated = roots.stated.iter().filter(|stated| !stated.constraint);
    Some(match stated.find(|stated| stated.requirement.name == *name) {
        Some(stated) => missing.asked_for(Line::pypi(line, &[stated.requirement.to_string()])),
        None => missing.with_line(Line::pypi(line, &[name.to_string()])),
    })
}

/// A carried file as an index would offer it.
fn offered(artifact: &Artifact, facts: &PypiFacts) -> Option<IndexFile> {
    let blob = artifact.blobs.first()?;
    let nowhere = || Url::parse("file:///").expect("a plain URL");
    Some(IndexFile {
        filename: facts.filename.clone(),
        url: artifact.origin.parse().unwrap_or_else(|_| nowhere()),
        index: String::new(),
        digest: blob.id.digest(),
        requires_python: facts.requires_python.clone(),
        yanked: facts.yanked.clone(),
        metadata: Offer::No,
        len_bytes: Some(blob.len_bytes),
    })
}

/// What a carried file depends on.
fn read(
    store: &Store,
    name: &PackageName,
    file: &IndexFile,
    form: &Form,
) -> Result<Requirements, String> {
    let id = file.digest.into();
    match form {
        Form::Wheel { .. } => {
            let blob = store.open_blob(id).map_err(|_| "its bytes are not here".to_owned())?;
            let bytes = metadata::from_wheel(BufReader::new(blob), name);
            bytes.and_then(|bytes| metadata::requirements(&bytes)).map_err(|e| e.to_string())
        }
        Form::Source(archive) => {
            let bytes = store.read(id, PYPI_WHOLE_LEN_BYTES_MAX);
            let bytes = bytes.map_err(|_| "its bytes are not here, or too many".to_owned())?;
            metadata::from_source(&bytes, *archive).map_err(|e| e.to_string())
        }
    }
}
