//! What must be carried so that the packages named can be installed.
//!
//! In:   the [`Universe`] of one architecture, the names a line asks for.
//! Out:  the packages to carry, each with why, and what cannot be met.
//! Pure: no network, no clock; the same input gives the same choice.
//!
//! # Where the closure ends
//!
//! It follows `Depends` and `Pre-Depends` all the way down, and ends at what every Debian system
//! has: packages that are `Essential: yes` or `Priority: required` and all that these depend on
//! (the minimal install of a release). Those are carried only when a line names them.
//!
//! # Which package meets a relation
//!
//! Of alternatives, one that is there already; else the first that some package meets. Of several
//! packages: one of that very name in its highest version that fits, else the provider of the
//! highest priority. When the version already chosen does not fit, one that fits is carried
//! beside it: two named packages need not end on the same node. Conflicts are not looked at, for
//! the same reason.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use debian_control::{
    lossy::{Relation, Relations},
    relations::VersionConstraint,
};
use debversion::Version;

use super::packages::{Bearer, Id, Package, Universe};

/// A package that a line names: `name`, `name=version`, `name:arch` or `name:arch=version`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// As written.
    pub entry: String,
    pub name: String,
    pub architecture: Option<String>,
    pub version: Option<String>,
}

/// What to carry for one architecture.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Closure {
    /// Why each package is wanted.
    pub carried: BTreeMap<Id, BTreeSet<String>>,
    pub unmet: Vec<Unmet>,
}

/// Why a package cannot be carried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Unmet {
    #[error("no suite of this line has {entry} for {architecture}; check the name and version")]
    Unknown { entry: String, architecture: String },
    #[error(
        "{asker} depends on {relation}, which no suite of this line has; \
         add the suite or component that does"
    )]
    Relation { asker: String, relation: String },
    #[error("the {field} of {asker} is not understood: {what}")]
    Malformed { asker: String, field: &'static str, what: String },
}

impl Named {
    /// Takes an entry of `packages:` apart.
    pub fn parse(entry: &str) -> Self {
        let (name, version) = match entry.split_once('=') {
            Some((name, version)) => (name, Some(version.trim().to_owned())),
            None => (entry, None),
        };
        let (name, architecture) = match name.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture.trim().to_owned())),
            None => (name, None),
        };
        Self { entry: entry.to_owned(), name: name.trim().to_owned(), architecture, version }
    }
}

/// Closes over the packages named for `architecture`; `label` is the line that names them.
pub fn close(universe: &Universe<'_>, architecture: &str, named: &[Named], label: &str) -> Closure {
    let mut walk = Walk::new(universe, architecture);
    for entry in
        named.iter().filter(|n| n.architecture.as_deref().is_none_or(|a| a == architecture))
    {
        match walk.find_named(entry) {
            Some(id) => walk.carry(id, format!("{label}: {}", entry.entry)),
            None => walk.closure.unmet.push(Unmet::Unknown {
                entry: entry.entry.clone(),
                architecture: architecture.to_owned(),
            }),
        }
    }
    walk.run();
    walk.closure.unmet.sort();
    walk.closure.unmet.dedup();
    walk.closure
}

/// A closure on its way.
struct Walk<'u, 'a> {
    universe: &'u Universe<'a>,
    architecture: &'u str,
    /// What every system has.
    base: BTreeSet<Id>,
    closure: Closure,
    open: VecDeque<Id>,
}

impl<'u, 'a> Walk<'u, 'a> {
    /// Begins with what every system has.
    fn new(universe: &'u Universe<'a>, architecture: &'u str) -> Self {
        let open = VecDeque::new();
        let closure = Closure::default();
        let mut walk = Self { universe, architecture, base: BTreeSet::new(), closure, open };
        for (id, package) in universe.packages.iter().enumerate().filter(|(_, p)| p.base) {
            if walk.highest(universe.bearers(package.name).iter().filter(|b| b.real)) == Some(id) {
                walk.carry(id, String::new());
            }
        }
        walk.run();
        walk.base = std::mem::take(&mut walk.closure).carried.into_keys().collect();
        walk
    }

    /// Follows the relations of every package that is carried.
    fn run(&mut self) {
        while let Some(id) = self.open.pop_front() {
            for field in ["Pre-Depends", "Depends"] {
                self.follow(id, field);
            }
        }
    }

    fn carry(&mut self, id: Id, reason: String) {
        if !self.closure.carried.contains_key(&id) {
            self.open.push_back(id);
        }
        self.closure.carried.entry(id).or_default().insert(reason);
    }

    fn follow(&mut self, id: Id, field: &'static str) {
        let asker = self.universe.packages[id];
        let Some(text) = asker.field(field) else { return };
        let relations: Relations = match text.parse() {
            Ok(relations) => relations,
            Err(what) => {
                let asker = asker.words();
                self.closure.unmet.push(Unmet::Malformed { asker, field, what });
                return;
            }
        };
        for alternatives in &relations.0 {
            let here = |r: &&Relation| is_for(r, self.architecture);
            let alternatives: Vec<&Relation> = alternatives.iter().filter(here).collect();
            if !alternatives.is_empty() {
                self.meet(&asker, &alternatives);
            }
        }
    }

    /// Meets one relation: by what is there, else by the best package there is.
    fn meet(&mut self, asker: &Package<'_>, alternatives: &[&Relation]) {
        let held = alternatives.iter().find_map(|relation| {
            self.fitting(relation).find(|b| self.is_held(b.id)).map(|bearer| bearer.id)
        });
        let choice = held.or_else(|| alternatives.iter().find_map(|relation| self.best(relation)));
        match choice {
            Some(id)
                if self.base.contains(&id) || self.universe.packages[id].name == asker.name => {}
            Some(id) => self.carry(id, format!("{} depends on it", asker.name)),
            None => {
                let words: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
                let relation = words.join(" | ");
                self.closure.unmet.push(Unmet::Relation { asker: asker.words(), relation });
            }
        }
    }

    fn is_held(&self, id: Id) -> bool {
        self.base.contains(&id) || self.closure.carried.contains_key(&id)
    }

    /// Everything that meets a relation.
    fn fitting<'r>(
        &self,
        relation: &'r Relation,
    ) -> impl Iterator<Item = &'u Bearer<'a>> + use<'u, 'a, 'r> {
        let (universe, architecture) = (self.universe, self.architecture);
        universe
            .bearers(&relation.name)
            .iter()
            .filter(move |b| fits(relation, b, &universe.packages[b.id], architecture))
    }

    fn best(&self, relation: &Relation) -> Option<Id> {
        let package = |bearer: &Bearer<'_>| &self.universe.packages[bearer.id];
        self.highest(self.fitting(relation).filter(|b| b.real)).or_else(|| {
            let rank = |b: &&Bearer<'_>| (priority(package(b)), package(b).name);
            let name = self.fitting(relation).min_by_key(rank).map(|b| package(b).name)?;
            self.highest(self.fitting(relation).filter(|b| package(b).name == name))
        })
    }

    /// The package of the highest version; the first of equals.
    fn highest<'b>(&self, bearers: impl Iterator<Item = &'b Bearer<'a>>) -> Option<Id>
    where
        'a: 'b,
    {
        let versions =
            bearers.filter_map(|b| Some((self.universe.packages[b.id].parsed_version()?, b.id)));
        let first_highest = |best: (Version, Id), next: (Version, Id)| {
            if best.0 < next.0 { next } else { best }
        };
        versions.reduce(first_highest).map(|(_, id)| id)
    }

    fn find_named(&self, named: &Named) -> Option<Id> {
        let version = named.version.as_deref();
        let asked = self.universe.bearers(&named.name).iter().filter(|b| {
            b.real && version.is_none_or(|v| v == self.universe.packages[b.id].version)
        });
        self.highest(asked)
    }
}

/// Whether a relation counts for an architecture (Debian policy, section 7.1).
fn is_for(relation: &Relation, architecture: &str) -> bool {
    let Some(list) = &relation.architectures else { return true };
    let names = |word: &str| word == architecture || word == "any" || word == "linux-any";
    if list.iter().any(|word| word.starts_with('!')) {
        return !list.iter().filter_map(|word| word.strip_prefix('!')).any(names);
    }
    list.iter().any(|word| names(word))
}

/// Whether what bears the name of a relation meets the rest of it. A bare `Provides` meets no
/// version (Debian policy, section 7.5); `:any` asks for `Multi-Arch: allowed`.
fn fits(
    relation: &Relation,
    bearer: &Bearer<'_>,
    package: &Package<'_>,
    architecture: &str,
) -> bool {
    let qualified = match relation.archqual.as_deref() {
        None => true,
        Some("any") => package.field("Multi-Arch").as_deref() == Some("allowed"),
        Some(asked) => asked == architecture || asked == "native",
    };
    let Some((constraint, wanted)) = &relation.version else { return qualified };
    let Some(Ok(version)) = bearer.version.map(Version::parse_lenient) else { return false };
    qualified
        && match constraint {
            VersionConstraint::LessThan => version < *wanted,
            VersionConstraint::LessThanEqual => version <= *wanted,
            VersionConstraint::Equal => version == *wanted,
            VersionConstraint::GreaterThanEqual => version >= *wanted,
            VersionConstraint::GreaterThan => version > *wanted,
        }
}

/// The rank of a package's priority; the lower, the rather it is taken.
fn priority(package: &Package<'_>) -> usize {
    let order = ["required", "important", "standard", "optional"];
    let priority = package.field("Priority").unwrap_or_default();
    order.iter().position(|word| *word == priority).unwrap_or(order.len())
}

#[cfg(test)]
mod tests;
