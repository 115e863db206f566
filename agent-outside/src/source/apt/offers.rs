//! What packages need, and which packages meet it.
//!
//! In:   the [`Universe`] of one architecture.
//! Out:  the [`Needs`] of a package; of a relation everything that meets it, the best first.
//! Pure: no network, no clock. A package is taken apart once, when first asked for.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use debversion::Version;

use super::{
    closure::Unmet,
    packages::{Bearer, Id, Package, Universe},
    relations::{self, Group, Relation},
};

/// The relations of one package.
#[derive(Debug, Default)]
pub struct Needs<'a> {
    /// `Pre-Depends`, then `Depends`.
    pub hard: Vec<Group<'a>>,
    /// `Recommends`; empty unless they count.
    pub soft: Vec<Group<'a>>,
    /// `Conflicts` and `Breaks`.
    pub against: Vec<Relation<'a>>,
}

/// What a target has before anything is installed.
#[derive(Debug, Default)]
pub struct There {
    /// Packages of the universe.
    pub ids: HashSet<Id>,
    /// Versions by name: what a target says of itself.
    pub installed: HashMap<String, Version>,
    /// Names of these that only some nodes of the target have: they meet nothing, and may be in the
    /// way.
    pub absent: HashSet<String>,
}

/// A universe, read as far as somebody asked.
#[derive(Debug)]
pub struct Offers<'u, 'a> {
    pub universe: &'u Universe<'a>,
    pub architecture: &'u str,
    recommends: bool,
    needs: RefCell<HashMap<Id, Rc<Needs<'a>>>>,
    malformed: RefCell<BTreeSet<Unmet>>,
}

impl<'u, 'a> Offers<'u, 'a> {
    pub fn new(universe: &'u Universe<'a>, architecture: &'u str, recommends: bool) -> Self {
        let (needs, malformed) = (RefCell::default(), RefCell::default());
        Self { universe, architecture, recommends, needs, malformed }
    }

    pub fn package(&self, id: Id) -> &'u Package<'a> {
        &self.universe.packages[id]
    }

    /// The relations of a package. A field that is not understood counts as empty, and stands in
    /// [`Offers::malformed`].
    pub fn needs(&self, id: Id) -> Rc<Needs<'a>> {
        if let Some(known) = self.needs.borrow().get(&id) {
            return Rc::clone(known);
        }
        let mut needs = Needs::default();
        for field in ["Pre-Depends", "Depends"] {
            needs.hard.extend(self.groups(id, field));
        }
        if self.recommends {
            needs.soft = self.groups(id, "Recommends");
        }
        for field in ["Conflicts", "Breaks"] {
            needs.against.extend(self.groups(id, field).into_iter().flatten());
        }
        let needs = Rc::new(needs);
        self.needs.borrow_mut().insert(id, Rc::clone(&needs));
        needs
    }

    /// The fields that were not understood.
    pub fn malformed(&self) -> Vec<Unmet> {
        self.malformed.borrow().iter().cloned().collect()
    }

    /// Everything that goes by the name of a relation and meets the rest of it.
    pub fn fitting<'r>(
        &self,
        relation: &'r Relation<'_>,
    ) -> impl Iterator<Item = Id> + use<'u, 'a, 'r> {
        let (universe, architecture) = (self.universe, self.architecture);
        let bearers = universe.bearers(relation.name).iter();
        bearers
            .filter(move |b| fits(relation, b, &universe.packages[b.id], architecture))
            .map(|bearer| bearer.id)
    }

    /// What meets a group, in the order in which apt tries it.
    ///
    /// Alternatives as they are written; of each the package of that very name, its highest
    /// version first; then those that provide the name.
    pub fn candidates(&self, group: &[Relation<'_>]) -> Vec<Id> {
        let mut all = Vec::new();
        for relation in group {
            let fitting: Vec<Id> = self.fitting(relation).collect();
            let is_real = |id: &Id| self.package(*id).name == relation.name;
            let (real, mut providers): (Vec<Id>, Vec<Id>) = fitting.into_iter().partition(is_real);
            all.extend(self.by_version(&real));
            providers.sort_by_key(|&id| self.rank(id));
            all.extend(providers);
        }
        let mut known = HashSet::new();
        all.retain(|&id| known.insert((self.package(id).name, self.package(id).version)));
        all
    }

    /// Whether what a target has meets a relation. What is replaced does not count.
    pub fn is_there(
        &self,
        there: &There,
        relation: &Relation<'_>,
        replaced: impl Fn(&str) -> bool,
    ) -> bool {
        let unbound = relation.bound.is_none();
        let name = |id: Id| self.package(id).name;
        let held = |id: &Id| there.ids.contains(id) && !replaced(name(*id));
        if !there.ids.is_empty() && self.fitting(relation).any(|id| held(&id)) {
            return true;
        }
        if there.installed.is_empty() {
            return false;
        }
        let is_everywhere = |name: &str| !there.absent.contains(name) && !replaced(name);
        let own = there.installed.get(relation.name).filter(|_| is_everywhere(relation.name));
        // Which names an installed package provides is not known; those of its other versions are.
        let provides = |id: Id| there.installed.contains_key(name(id)) && is_everywhere(name(id));
        own.is_some_and(|version| relation.admits(Some(version)))
            || (unbound && self.fitting(relation).any(provides))
    }

    fn groups(&self, id: Id, field: &'static str) -> Vec<Group<'a>> {
        let package = self.package(id);
        let Some(text) = package.field(field) else { return Vec::new() };
        relations::parse(text, self.architecture).unwrap_or_else(|what| {
            let asker = package.words();
            self.malformed.borrow_mut().insert(Unmet::Malformed { asker, field, what });
            Vec::new()
        })
    }

    fn by_version(&self, ids: &[Id]) -> Vec<Id> {
        let version = |id: &Id| self.package(*id).parsed_version();
        let mut all: Vec<_> = ids.iter().filter_map(|id| Some((version(id)?, *id))).collect();
        all.sort_by(|one, other| other.0.cmp(&one.0));
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// The lower, the rather a provider is taken: apt's `CompareProviders`, and before all of it
    /// whether it is the version that apt would take of that package.
    fn rank(&self, id: Id) -> (bool, bool, bool, usize, Id) {
        let package = self.package(id);
        let newest = self.universe.highest(self.universe.named(package.name));
        let is_newest = newest.is_some_and(|n| self.package(n).version == package.version);
        let important = package.says("Important") || package.says("Protected");
        (!is_newest, !package.says("Essential"), !important, priority(package), id)
    }
}

/// Whether what bears the name of a relation meets the rest of it. A bare `Provides` meets no
/// version (Debian policy, section 7.5); `:any` asks for `Multi-Arch: allowed`.
pub fn fits(
    relation: &Relation<'_>,
    bearer: &Bearer<'_>,
    package: &Package<'_>,
    architecture: &str,
) -> bool {
    let qualified = match relation.qualifier {
        None => true,
        Some("any") => package.field("Multi-Arch") == Some("allowed"),
        Some(asked) => asked == architecture || asked == "native",
    };
    if !qualified || relation.bound.is_none() {
        return qualified;
    }
    let version = bearer.version.and_then(|version| Version::parse_lenient(version).ok());
    relation.admits(version.as_ref())
}

/// The rank of a package's priority; the lower, the rather it is taken.
fn priority(package: &Package<'_>) -> usize {
    let order = ["required", "important", "standard", "optional"];
    let priority = package.field("Priority").unwrap_or_default();
    order.iter().position(|word| *word == priority).unwrap_or(order.len())
}
