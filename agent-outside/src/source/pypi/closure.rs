//! The closure of requirements: which version of what, for one environment.
//!
//! In:   the user's requirements and what is [`Known`] of projects so far.
//! Out:  a [`Step`]: the [`Choice`]s, or what must be known first, or why it cannot be.
//! Pure: a caller fetches all that a step needs and asks again, so the end depends on what the
//! indexes have and not on the order in which it arrived.
//!
//! # How a version is found
//!
//! A round takes the newest version that meets all that was asked for so far, breadth first. If
//! a later requirement rules out a version already taken, the requirement is remembered and the
//! next round starts with it. If nothing is left, the version of one asker is banned, the last
//! one first, and the rounds go on. There are at most [`ROUNDS_MAX`]. A found closure always
//! meets every requirement; now and then another closure with newer versions exists.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use gapferry_proto::Digest;
use pep440_rs::{Version, VersionSpecifier, VersionSpecifiers};
use pep508_rs::{ExtraName, PackageName, VersionOrUrl};

use super::{
    index::IndexFile,
    memory::{Memory, Stuck},
    metadata::{self, Requirement, Requirements},
    project::{Project, contains, pins},
    requirements::Stated,
    tags::Environment,
    wheel::Form,
};

/// Most rounds before a closure is given up. Real conflicts are settled in a few.
pub const ROUNDS_MAX: usize = 200;

/// What the indexes have told so far.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub projects: BTreeMap<PackageName, Project>,
    /// By the digest of the distribution; an error is a reason to take another version.
    pub requirements: HashMap<Digest, Result<Requirements, String>>,
}

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    pub stated: Vec<Stated>,
    pub prereleases: bool,
}

/// How far the closure is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Done(Vec<Choice>),
    Needs(Vec<Need>),
    Impossible(Vec<Impossible>),
}

/// Something that must be known before the closure can go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    Project(PackageName),
    Requirements(PackageName, Box<(IndexFile, Form)>),
}

/// One file that the closure takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    pub name: PackageName,
    pub version: Version,
    pub file: IndexFile,
    /// Who asks for it, in sentences.
    pub wanted: BTreeSet<String>,
}

/// A project for which no version will do. Exit code 2.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Impossible {
    pub name: PackageName,
    pub sentence: String,
}

/// One requirement and who has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    pub specifiers: VersionSpecifiers,
    pub extras: Vec<ExtraName>,
    pub hashes: Vec<Digest>,
    pub by: Asker,
}

/// Who asks for a project.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Asker {
    /// The waybill: place and requirement.
    Root {
        at: String,
        text: String,
    },
    /// A constraints file; it bounds versions and asks for nothing.
    Constraint {
        at: String,
    },
    Dist(PackageName, Version),
}

impl Ask {
    fn new(requirement: &Requirement, hashes: Vec<Digest>, by: Asker) -> Self {
        let specifiers = match &requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.clone(),
            _ => VersionSpecifiers::empty(),
        };
        Self { specifiers, extras: requirement.extras.clone(), hashes, by }
    }

    pub(super) fn accepts(&self, version: &Version) -> bool {
        contains(&self.specifiers, version)
    }

    fn accepts_file(&self, digest: &Digest) -> bool {
        self.hashes.is_empty() || self.hashes.contains(digest)
    }

    fn wanted(&self) -> Option<String> {
        match &self.by {
            Asker::Root { at, text } => Some(format!("{at}: {text}")),
            Asker::Constraint { .. } => None,
            Asker::Dist(name, version) => Some(format!("{name} {version} depends on it")),
        }
    }
}

/// The search in one environment, from step to step.
#[derive(Debug)]
pub struct Closure<'a> {
    environment: &'a Environment,
    roots: &'a Roots,
    memory: Memory,
    rounds: usize,
}

impl<'a> Closure<'a> {
    /// Begins with the user's requirements.
    pub fn new(environment: &'a Environment, roots: &'a Roots) -> Self {
        Self { environment, roots, memory: Memory::default(), rounds: 0 }
    }

    /// Goes as far as what is `known` reaches.
    pub fn step(&mut self, known: &Known) -> Step {
        while self.rounds < ROUNDS_MAX {
            let mut round = Round::new(known, self.environment, self.roots, &self.memory);
            let end = round.run();
            if !round.needs.is_empty() {
                return Step::Needs(round.needs); // nothing is ruled out on half of the facts
            }
            self.rounds += 1;
            match end {
                Ok(()) if self.memory.hopeless.is_empty() => return Step::Done(round.choices()),
                Ok(()) => {
                    return Step::Impossible(self.memory.hopeless.values().cloned().collect());
                }
                Err(Halt::Conflict(name, ask)) => self.memory.remember(name, *ask),
                Err(Halt::Unusable(name, version, reason)) => {
                    self.memory.ban(name, version, reason);
                }
                Err(Halt::Stuck(name)) => {
                    let stuck = round.stuck(&name);
                    self.memory.unstick(&stuck, name);
                }
            }
        }
        Step::Impossible(self.give_up())
    }

    fn give_up(&self) -> Vec<Impossible> {
        let roots = self.roots.stated.iter().filter(|stated| !stated.constraint);
        let given_up = roots.map(|stated| Impossible {
            name: stated.requirement.name.clone(),
            sentence: format!(
                "{}: {} leads to requirements that contradict each other for {}; no way out was found in {ROUNDS_MAX} attempts, so pin more versions",
                stated.at, stated.requirement, self.environment.label
            ),
        });
        given_up.collect()
    }
}

/// Why a round cannot go on.
enum Halt {
    /// A version already taken does not meet this.
    Conflict(PackageName, Box<Ask>),
    /// A version turns out to be of no use.
    Unusable(PackageName, Version, String),
    /// No version is left.
    Stuck(PackageName),
}

/// One walk over the closure.
pub(super) struct Round<'a> {
    known: &'a Known,
    pub(super) environment: &'a Environment,
    prereleases: bool,
    memory: &'a Memory,
    asks: BTreeMap<PackageName, Vec<Ask>>,
    taken: BTreeMap<PackageName, Taken<'a>>,
    queue: VecDeque<PackageName>,
    needs: Vec<Need>,
}

#[derive(Clone, Copy)]
struct Taken<'a> {
    version: &'a Version,
    file: &'a IndexFile,
    form: &'a Form,
}

impl<'a> Round<'a> {
    fn new(
        known: &'a Known,
        environment: &'a Environment,
        roots: &Roots,
        memory: &'a Memory,
    ) -> Self {
        let mut round = Self {
            known,
            environment,
            prereleases: roots.prereleases,
            memory,
            asks: BTreeMap::new(),
            taken: BTreeMap::new(),
            queue: VecDeque::new(),
            needs: Vec::new(),
        };
        for stated in &roots.stated {
            let Stated { requirement, hashes, at, constraint } = stated;
            if !round.applies(requirement, &[]) {
                continue;
            }
            let text = requirement.to_string();
            let by = if *constraint {
                Asker::Constraint { at: format!("{at}: {text}") }
            } else {
                round.queue.push_back(requirement.name.clone());
                Asker::Root { at: at.clone(), text }
            };
            let ask = Ask::new(requirement, hashes.clone(), by);
            round.asks.entry(requirement.name.clone()).or_default().push(ask);
        }
        round
    }

    /// Whether a marker holds at any point that the environment stands for.
    fn applies(&self, requirement: &Requirement, extras: &[ExtraName]) -> bool {
        self.environment.markers().any(|point| requirement.marker.evaluate(point, extras))
    }

    fn run(&mut self) -> Result<(), Halt> {
        while let Some(name) = self.queue.pop_front() {
            if self.memory.hopeless.contains_key(&name) {
                continue;
            }
            let known = self.known;
            let Some(project) = known.projects.get(&name) else {
                self.need(Need::Project(name));
                continue;
            };
            if !self.taken.contains_key(&name) {
                let taken = self.pick(&name, project, None);
                let taken = taken.ok_or_else(|| Halt::Stuck(name.clone()))?;
                self.taken.insert(name.clone(), taken);
            }
            self.expand(&name)?;
        }
        Ok(())
    }

    fn need(&mut self, need: Need) {
        if !self.needs.contains(&need) {
            self.needs.push(need);
        }
    }

    /// The newest version that meets all that is asked for, with its file.
    fn pick(
        &self,
        name: &PackageName,
        project: &'a Project,
        except: Option<&Version>,
    ) -> Option<Taken<'a>> {
        let asks: Vec<&Ask> = self.asks_for(name).collect();
        let pinned = asks.iter().any(|ask| pins(&ask.specifiers));
        let prereleases = self.prereleases
            || asks.iter().any(|ask| ask.specifiers.iter().any(VersionSpecifier::any_prerelease));
        let mut last_resort = None;
        for release in &project.releases {
            let version = &release.version;
            if Some(version) == except
                || self.memory.is_banned(name, version)
                || !asks.iter().all(|ask| ask.accepts(version))
            {
                continue;
            }
            let hashed = |digest: &Digest| asks.iter().all(|ask| ask.accepts_file(digest));
            let Some((file, form)) = release.best(self.environment, pinned, hashed) else {
                continue;
            };
            let taken = Taken { version, file, form };
            if prereleases || !version.any_prerelease() {
                return Some(taken);
            }
            last_resort.get_or_insert(taken);
        }
        last_resort
    }

    /// All that is asked for in this round, and what earlier rounds remember.
    pub(super) fn asks_for(&self, name: &PackageName) -> impl Iterator<Item = &Ask> {
        let remembered = self.memory.remembered.get(name);
        self.asks.get(name).into_iter().flatten().chain(remembered.into_iter().flatten())
    }

    /// Asks for all that a taken version depends on.
    fn expand(&mut self, name: &PackageName) -> Result<(), Halt> {
        let Taken { version, file, form } = self.taken[name];
        let known = self.known;
        let unusable = |reason| Halt::Unusable(name.clone(), version.clone(), reason);
        let requirements = match known.requirements.get(&file.digest) {
            None => {
                let file = Box::new((file.clone(), form.clone()));
                self.need(Need::Requirements(name.clone(), file));
                return Ok(());
            }
            Some(Err(reason)) => return Err(unusable(reason.clone())),
            Some(Ok(requirements)) => requirements,
        };
        let asks = self.asks.get(name).into_iter().flatten();
        let extras: Vec<ExtraName> = asks.flat_map(|ask| ask.extras.iter().cloned()).collect();
        for requirement in requirements {
            if !self.applies(requirement, &extras) {
                continue;
            }
            metadata::check_servable(requirement).map_err(|e| unusable(e.to_string()))?;
            let by = Asker::Dist(name.clone(), version.clone());
            self.ask(&requirement.name, Ask::new(requirement, Vec::new(), by))?;
        }
        Ok(())
    }

    fn ask(&mut self, name: &PackageName, ask: Ask) -> Result<(), Halt> {
        let asks = self.asks.entry(name.clone()).or_default();
        if asks.contains(&ask) {
            return Ok(());
        }
        let more_extras =
            ask.extras.iter().any(|extra| !asks.iter().any(|ask| ask.extras.contains(extra)));
        asks.push(ask.clone());
        match self.taken.get(name) {
            Some(taken) if !ask.accepts(taken.version) => {
                Err(Halt::Conflict(name.clone(), Box::new(ask)))
            }
            Some(_) if !more_extras => Ok(()),
            _ => {
                self.queue.push_back(name.clone());
                Ok(())
            }
        }
    }

    fn choices(&self) -> Vec<Choice> {
        let choices = self.taken.iter().map(|(name, taken)| Choice {
            name: name.clone(),
            version: taken.version.clone(),
            file: taken.file.clone(),
            wanted: self.asks.get(name).into_iter().flatten().filter_map(Ask::wanted).collect(),
        });
        choices.collect()
    }

    /// What must be known to get out of a dead end.
    fn stuck(&self, name: &PackageName) -> Stuck {
        let taken = self.taken.iter().map(|(name, taken)| (name.clone(), taken.version.clone()));
        Stuck {
            taken: taken.collect(),
            blame: self.blame(name),
            impossible: Impossible { name: name.clone(), sentence: self.sentence(name) },
        }
    }

    /// The nearest asker that has another version to offer, the last one first.
    fn blame(&self, name: &PackageName) -> Option<(PackageName, Version)> {
        if self.known.projects.get(name).is_none_or(|project| project.releases.is_empty()) {
            return None; // an index that lacks a project is to be told so, not worked around
        }
        let mut seen = BTreeSet::from([name]);
        let mut open = VecDeque::from([name]);
        while let Some(name) = open.pop_front() {
            let asks: Vec<&Ask> = self.asks_for(name).collect();
            for ask in asks.into_iter().rev() {
                let Asker::Dist(asker, version) = &ask.by else { continue };
                let others = self.known.projects.get(asker);
                if others.and_then(|p| self.pick(asker, p, Some(version))).is_some() {
                    return Some((asker.clone(), version.clone()));
                }
                if seen.insert(asker) {
                    open.push_back(asker);
                }
            }
        }
        None
    }

    /// Says why no version of a project will do.
    fn sentence(&self, name: &PackageName) -> String {
        let mut asked: Vec<String> = Vec::new();
        for ask in self.asks_for(name) {
            let spec = format!("{name}{}", ask.specifiers);
            let said = match &ask.by {
                Asker::Root { at, text } => format!("{at} asks for {text}"),
                Asker::Constraint { at } => format!("{at} bounds it"),
                Asker::Dist(by, version) => format!("{by} {version} depends on {spec}"),
            };
            if !asked.contains(&said) {
                asked.push(said);
            }
        }
        let nothing = Project::default();
        let project = self.known.projects.get(name).unwrap_or(&nothing);
        let there = super::sentence::versions(self, name, project);
        format!("{}, which cannot be had for {}: {there}", asked.join("; "), self.environment.label)
    }

    /// Why one version of a project is not taken; `None` when what is asked for excludes it.
    pub(super) fn obstacle(&self, name: &PackageName, version: &Version) -> Option<String> {
        if !self.asks_for(name).all(|ask| ask.accepts(version)) {
            return None;
        }
        Some(match self.memory.reason(name, version) {
            Some(reason) => format!("{version}: {reason}"),
            None => format!("{version} has no file for it"),
        })
    }
}
