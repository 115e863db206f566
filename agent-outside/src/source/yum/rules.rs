//! What must hold so that packages can be installed together, as clauses for the solver.
//!
//! In:   a [`Universe`], the packages that may be asked for.
//! Out:  [`Rules`]: everything that these can lead to, and a clause for each thing that must hold.
//! Pure; the same input gives the same clauses in the same order.
//!
//! The order matters: where a choice is open, the solver meets clauses in this order, as libsolv
//! does (later packages first, then by the candidates).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    rc::Rc,
};

use super::{
    rich::{self, Resolved, Rich, RichError},
    universe::{Bond, Id, Relation, Universe},
};

/// A package that is installed or, when negative, is not; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lit(i32);

impl Lit {
    /// The package is installed.
    pub fn yes(id: Id) -> Self {
        Self(i32::try_from(id + 1).unwrap_or(i32::MAX))
    }

    /// The package is not installed.
    pub fn no(id: Id) -> Self {
        Self(-Self::yes(id).0)
    }

    /// The other one.
    pub const fn not(self) -> Self {
        Self(-self.0)
    }

    /// Whether it is about being installed.
    pub const fn is_yes(self) -> bool {
        0 < self.0
    }

    /// Its package.
    pub const fn id(self) -> Id {
        self.0.unsigned_abs() as usize - 1
    }

    /// A number for tables, from 0.
    pub const fn slot(self) -> usize {
        self.id() * 2 + self.is_yes() as usize
    }
}

/// Why a clause is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    Requires(Id, Relation),
    Conflicts(Id, Relation),
    Obsoletes(Id, Relation),
    /// One name, two packages.
    Name(Id, Id),
    /// The user asked for it.
    Asked,
    /// The solver concluded it.
    Learnt,
}

/// A clause: one of its literals must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clause {
    pub literals: Vec<Lit>,
    pub why: Why,
}

/// Which requirements need not be met.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Excused {
    #[default]
    Nothing,
    /// These relations, as people write them: what every system has.
    These(BTreeSet<String>),
    /// All that nothing in the universe can meet.
    Unmeetable,
}

/// How a closure is made.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// Whether `Recommends` and `Supplements` are followed, as clients do unless told otherwise.
    pub weak: bool,
    /// Architectures that stand beside the first one (`i686` on `x86_64`).
    pub multilib: Vec<String>,
    /// The rank of each repository, as `priority=` says; the lowest is asked first.
    pub priorities: Vec<u32>,
    /// Whether of a name that is asked for the highest version alone will do.
    pub best: bool,
    pub excused: Excused,
}

/// Clauses for all that the packages asked for can lead to.
pub struct Rules<'u> {
    pub universe: &'u Universe,
    pub habits: &'u Habits,
    pub clauses: Vec<Clause>,
    /// Everything that may come to be installed.
    pub reached: BTreeSet<Id>,
    /// Relations that are not understood.
    pub malformed: BTreeMap<(Id, Relation), RichError>,
    providers: RefCell<HashMap<Relation, Rc<[Id]>>>,
}

impl<'u> Rules<'u> {
    /// Collects what `asked` can lead to.
    pub fn new(
        universe: &'u Universe,
        habits: &'u Habits,
        asked: impl Iterator<Item = Id>,
    ) -> Self {
        let mut rules = Self {
            universe,
            habits,
            clauses: Vec::new(),
            reached: BTreeSet::new(),
            malformed: BTreeMap::new(),
            providers: RefCell::default(),
        };
        rules.reach(asked);
        rules.forbid();
        for clause in &mut rules.clauses {
            clause.literals.sort_unstable();
            clause.literals.dedup();
        }
        rules.clauses.sort_by(|a, b| a.literals.cmp(&b.literals));
        rules.clauses.dedup_by(|a, b| a.literals == b.literals);
        rules
    }

    /// The packages that meet a relation; for a rich one, all that it names.
    pub fn providers(&self, relation: Relation) -> Rc<[Id]> {
        if let Some(known) = self.providers.borrow().get(&relation) {
            return known.clone();
        }
        let found: Rc<[Id]> = match self.rich(relation) {
            None => self.universe.providers(relation).into(),
            Some(rich) => {
                let clauses = rich.ok().and_then(|rich| rich.clauses(true)).unwrap_or_default();
                let ids = clauses.into_iter().flatten().filter(|(_, there)| *there);
                ids.map(|(id, _)| id).collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        self.providers.borrow_mut().insert(relation, found.clone());
        found
    }

    /// A relation as a tree, when it is rich.
    pub fn rich(&self, relation: Relation) -> Option<Result<Resolved, RichError>> {
        let text = self.universe.names.text(relation.name);
        text.starts_with('(').then(|| {
            Ok(rich::parse(text)?.map(&mut |atom| {
                let names = &self.universe.names;
                let (Some(name), Some(evr)) =
                    (names.find(atom.name), names.find(&super::evr::plain(atom.evr)))
                else {
                    return self.unknown(atom);
                };
                self.universe.providers(Relation { name, op: atom.op, evr })
            }))
        })
    }

    /// The packages that meet an atom whose version no package has.
    fn unknown(&self, atom: &rich::Atom<'_>) -> Vec<Id> {
        let Some(name) = self.universe.names.find(atom.name) else { return Vec::new() };
        self.universe.providers_within(name, (atom.op, &super::evr::plain(atom.evr)))
    }

    /// Clauses of a relation of a package; each needs one of its literals.
    pub fn clauses_of(&self, relation: Relation, asked: bool) -> Result<Vec<Vec<Lit>>, RichError> {
        let rich = match self.rich(relation) {
            Some(rich) => rich?,
            None => Rich::Atom(self.providers(relation).to_vec()),
        };
        let clauses = rich.clauses(asked).ok_or(RichError::Large)?;
        let lit = |(id, there)| if there { Lit::yes(id) } else { Lit::no(id) };
        Ok(clauses.into_iter().map(|clause| clause.into_iter().map(lit).collect()).collect())
    }

    /// Follows requirements, and what is recommended, to their end.
    fn reach(&mut self, asked: impl Iterator<Item = Id>) {
        let mut open: VecDeque<Id> = asked.collect();
        loop {
            while let Some(id) = open.pop_front() {
                if !self.reached.insert(id) {
                    continue;
                }
                for relation in self.universe.bonds(id, Bond::Requires) {
                    for mut clause in self.required(id, *relation) {
                        open.extend(clause.iter().filter(|lit| lit.is_yes()).map(|lit| lit.id()));
                        clause.push(Lit::no(id));
                        self.put(clause, Why::Requires(id, *relation));
                    }
                }
                if self.habits.weak {
                    for relation in self.universe.bonds(id, Bond::Recommends) {
                        open.extend(self.providers(*relation).iter());
                    }
                }
            }
            if self.habits.weak {
                open.extend(self.supplements());
            }
            if open.is_empty() {
                return;
            }
        }
    }

    /// Packages that come by themselves when something that is reached is there.
    fn supplements(&self) -> Vec<Id> {
        let there = |id: Id| self.reached.contains(&id);
        (0..self.universe.packages.len())
            .filter(|id| !there(*id) && !self.universe.packages[*id].hidden)
            .filter(|id| {
                let relations = self.universe.bonds(*id, Bond::Supplements);
                relations.iter().any(|relation| self.holds(*relation, &there))
            })
            .collect()
    }

    /// Whether a relation holds where `there` says what is there.
    pub fn holds(&self, relation: Relation, there: &impl Fn(Id) -> bool) -> bool {
        match self.rich(relation) {
            None => self.providers(relation).iter().any(|id| there(*id)),
            Some(rich) => rich.is_ok_and(|rich| rich.holds(there)),
        }
    }

    /// The clauses of a requirement, less what is excused.
    fn required(&mut self, id: Id, relation: Relation) -> Vec<Vec<Lit>> {
        match &self.habits.excused {
            Excused::These(all) if all.contains(&self.universe.relation_words(relation)) => {
                Vec::new()
            }
            Excused::Nothing | Excused::These(_) => self.note(id, relation, true),
            Excused::Unmeetable => {
                let mut clauses = self.note(id, relation, true);
                clauses.retain(|clause| clause.iter().any(|lit| lit.is_yes()));
                clauses
            }
        }
    }

    fn note(&mut self, id: Id, relation: Relation, asked: bool) -> Vec<Vec<Lit>> {
        self.clauses_of(relation, asked).unwrap_or_else(|error| {
            self.malformed.insert((id, relation), error);
            // What is not understood cannot be met, and forbids nothing.
            if asked { vec![Vec::new()] } else { Vec::new() }
        })
    }

    fn put(&mut self, literals: Vec<Lit>, why: Why) {
        self.clauses.push(Clause { literals, why });
    }

    /// Adds what cannot be together: conflicts, what is obsolete, two packages of one name.
    fn forbid(&mut self) {
        let universe = self.universe;
        for id in self.reached.clone() {
            for relation in universe.bonds(id, Bond::Conflicts) {
                for mut clause in self.note(id, *relation, false) {
                    // A package does not conflict with itself (rpm).
                    let known = |lit: &Lit| lit.is_yes() || self.reached.contains(&lit.id());
                    if clause.contains(&Lit::no(id)) || !clause.iter().all(known) {
                        continue;
                    }
                    clause.push(Lit::no(id));
                    self.put(clause, Why::Conflicts(id, *relation));
                }
            }
            for relation in universe.bonds(id, Bond::Obsoletes) {
                for other in universe.namesakes(*relation) {
                    let named = universe.packages[other].name == universe.packages[id].name;
                    if !named && self.reached.contains(&other) {
                        let clause = vec![Lit::no(id), Lit::no(other)];
                        self.put(clause, Why::Obsoletes(id, *relation));
                    }
                }
            }
            for other in universe.named(universe.packages[id].name) {
                if id < other && self.reached.contains(&other) && !self.side_by_side(id, other) {
                    self.put(vec![Lit::no(id), Lit::no(other)], Why::Name(id, other));
                }
            }
        }
    }

    /// Whether two packages of one name can be installed together: of two architectures.
    fn side_by_side(&self, a: Id, b: Id) -> bool {
        let arch = |id: Id| self.universe.names.text(self.universe.packages[id].arch);
        let extra = |arch: &str| self.habits.multilib.iter().any(|m| m == arch);
        arch(a) != "noarch" && arch(b) != "noarch" && extra(arch(a)) != extra(arch(b))
    }
}
