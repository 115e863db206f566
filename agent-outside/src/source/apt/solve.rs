//! Finds packages that can be installed together.
//!
//! In:   the [`Offers`] of one architecture, what a target has, the packages that are asked for.
//! Out:  an [`Outcome`]: one version each of them and of all they need, or what stands in the way.
//! Pure: no network, no clock; the same input gives the same choice.
//!
//! Decides as apt does: all that is asked for first, then what each needs, to its end, the first
//! candidate that nothing installed conflicts with. Where apt would give up or remove something,
//! this goes back to the latest choice that had a part in the conflict and takes its next
//! candidate (conflict-directed backjumping), so it finds a set whenever there is one; after
//! `steps` candidates it stops, so no index can keep it busy for ever. Nothing
//! recurses: chains of dependencies are as long as upstream likes.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use super::{
    offers::{Needs, Offers, There, fits},
    packages::{Bearer, Id},
    relations::Relation,
};

/// How a search ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// These can be installed together.
    Solved(BTreeSet<Id>),
    /// They cannot. `root` is the number of one that had a part in it.
    Stuck { root: usize, asker: Option<Id>, relation: String },
    /// Too many steps.
    Unknown,
}

/// Searches for packages to install: one candidate of each of `roots`, and what they need.
///
/// `steps` is how many more candidates may be tried.
pub fn solve(
    offers: &Offers<'_, '_>,
    there: &There,
    roots: &[&[Id]],
    steps: &mut usize,
) -> Outcome {
    let mut search = Search::new(offers, there, roots);
    match search.run(steps) {
        Ok(()) => Outcome::Solved(search.chosen.values().map(|chosen| chosen.id).collect()),
        Err(outcome) => outcome,
    }
}

/// A package that is to be installed.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    id: Id,
    decision: usize,
}

/// One choice, and how to take it back.
#[derive(Debug)]
struct Decision {
    /// The choice of the package that needs this one; none for roots.
    asker: Option<usize>,
    root: Option<usize>,
    candidates: Vec<Id>,
    next: usize,
    chosen: Option<Id>,
    /// Whether nothing need be chosen.
    soft: bool,
    /// Earlier choices that kept candidates from being taken.
    culprits: BTreeSet<usize>,
    /// What is left to do after it.
    todo: Option<usize>,
    todos_len: usize,
}

/// Something to do, and what after it; a list that shares its tail, so that going back is free.
#[derive(Clone, Copy, Debug)]
struct Todo {
    what: What,
    rest: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Choose the candidate of a root.
    Root(usize),
    /// Look at what the chosen candidate of a root needs.
    Follow(usize),
    /// Meet a relation of a package, counted over hard, soft and against.
    Meet { id: Id, decision: usize, number: usize },
}

struct Search<'s, 'u, 'a> {
    offers: &'s Offers<'u, 'a>,
    there: &'s There,
    roots: &'s [&'s [Id]],
    chosen: HashMap<&'a str, Chosen>,
    /// Who conflicts with a name.
    against: HashMap<&'a str, Vec<Id>>,
    decisions: Vec<Decision>,
    todos: Vec<Todo>,
    todo: Option<usize>,
    /// The first dead end, and the first root that it led back to.
    dead_end: Option<(Option<Id>, String)>,
    blamed: Option<usize>,
}

impl<'s, 'u, 'a> Search<'s, 'u, 'a> {
    fn new(offers: &'s Offers<'u, 'a>, there: &'s There, roots: &'s [&'s [Id]]) -> Self {
        let mut search = Self {
            offers,
            there,
            roots,
            chosen: HashMap::new(),
            against: HashMap::new(),
            decisions: Vec::new(),
            todos: Vec::new(),
            todo: None,
            dead_end: None,
            blamed: None,
        };
        for root in (0..roots.len()).rev() {
            search.push(What::Follow(root));
        }
        for root in (0..roots.len()).rev() {
            search.push(What::Root(root));
        }
        search
    }

    fn push(&mut self, what: What) {
        self.todos.push(Todo { what, rest: self.todo });
        self.todo = Some(self.todos.len() - 1);
    }

    fn run(&mut self, steps: &mut usize) -> Result<(), Outcome> {
        while let Some(Todo { what, rest }) = self.todo.map(|at| self.todos[at]) {
            self.todo = rest;
            match what {
                What::Root(root) => self.choose_root(root, steps)?,
                What::Follow(root) => {
                    let name = self.roots[root].first().map(|&id| self.offers.package(id).name);
                    if let Some(&Chosen { id, decision }) = name.and_then(|n| self.chosen.get(n)) {
                        self.push(What::Meet { id, decision, number: 0 });
                    }
                }
                What::Meet { id, decision, number } => self.meet(id, decision, number, steps)?,
            }
        }
        Ok(())
    }

    fn choose_root(&mut self, root: usize, steps: &mut usize) -> Result<(), Outcome> {
        let candidates = self.roots[root].to_vec();
        let is_chosen = |id: &Id| {
            self.chosen.get(self.offers.package(*id).name).is_some_and(|chosen| chosen.id == *id)
        };
        if candidates.iter().any(is_chosen) {
            return Ok(());
        }
        self.decide(None, Some(root), candidates, false, steps, String::new)
    }

    /// Meets one relation of a package, and puts the next on the list.
    fn meet(
        &mut self,
        id: Id,
        decision: usize,
        number: usize,
        steps: &mut usize,
    ) -> Result<(), Outcome> {
        let needs = self.offers.needs(id);
        let (hard, soft) = (needs.hard.len(), needs.hard.len() + needs.soft.len());
        let Some(group) = needs.hard.iter().chain(&needs.soft).nth(number) else {
            return self.make_room(id, decision, number - soft, &needs, steps);
        };
        self.push(What::Meet { id, decision, number: number + 1 });
        if group.iter().any(|relation| self.is_met(relation)) {
            return Ok(());
        }
        let candidates = self.offers.candidates(group);
        let words = || {
            let words: Vec<String> = group.iter().map(ToString::to_string).collect();
            words.join(" | ")
        };
        self.decide(Some(decision), None, candidates, hard <= number, steps, words)
    }

    /// Has another version of an installed package come along when a package breaks the installed
    /// one. Where there is none, the target has to decide.
    fn make_room(
        &mut self,
        id: Id,
        decision: usize,
        number: usize,
        needs: &Needs<'a>,
        steps: &mut usize,
    ) -> Result<(), Outcome> {
        let Some(relation) = needs.against.get(number) else { return Ok(()) };
        if self.there.installed.is_empty() {
            return Ok(());
        }
        let number = needs.hard.len() + needs.soft.len() + number + 1;
        self.push(What::Meet { id, decision, number });
        let broken = self.there.installed.get(relation.name).is_some_and(|installed| {
            relation.admits(Some(installed)) && !self.chosen.contains_key(relation.name)
        });
        if !broken || relation.name == self.offers.package(id).name {
            return Ok(());
        }
        let fitting: BTreeSet<Id> = self.offers.fitting(relation).collect();
        let others = self.offers.universe.named(relation.name).filter(|id| !fitting.contains(id));
        let newest = self.offers.universe.highest(others).into_iter().collect();
        self.decide(Some(decision), None, newest, true, steps, String::new)
    }

    fn is_met(&self, relation: &Relation<'_>) -> bool {
        let is_chosen = |id: Id| {
            self.chosen.get(self.offers.package(id).name).is_some_and(|chosen| chosen.id == id)
        };
        self.offers.fitting(relation).any(is_chosen)
            || self.offers.is_there(self.there, relation, |name| self.chosen.contains_key(name))
    }

    fn decide(
        &mut self,
        asker: Option<usize>,
        root: Option<usize>,
        candidates: Vec<Id>,
        soft: bool,
        steps: &mut usize,
        words: impl FnOnce() -> String,
    ) -> Result<(), Outcome> {
        let (culprits, todo, todos_len) = (BTreeSet::new(), self.todo, self.todos.len());
        self.decisions.push(Decision {
            asker,
            root,
            candidates,
            next: 0,
            chosen: None,
            soft,
            culprits,
            todo,
            todos_len,
        });
        if self.take_next(steps)? {
            return Ok(());
        }
        if self.dead_end.is_none() {
            let asker = asker.and_then(|asker| self.decisions[asker].chosen);
            self.dead_end = Some((asker, words()));
        }
        self.go_back(steps)
    }

    /// Takes the next candidate of the latest decision; false when there is none.
    fn take_next(&mut self, steps: &mut usize) -> Result<bool, Outcome> {
        let number = self.decisions.len() - 1;
        loop {
            let decision = &mut self.decisions[number];
            let Some(&id) = decision.candidates.get(decision.next) else {
                return Ok(decision.soft);
            };
            decision.next += 1;
            *steps = steps.checked_sub(1).ok_or(Outcome::Unknown)?;
            let obstacles = self.obstacles(id);
            if obstacles.is_empty() {
                self.place(id, number);
                return Ok(true);
            }
            self.decisions[number].culprits.extend(obstacles);
        }
    }

    /// Goes back to the latest decision that had a part in a dead end.
    fn go_back(&mut self, steps: &mut usize) -> Result<(), Outcome> {
        while let Some(dead) = self.decisions.pop() {
            let mut culprits = dead.culprits;
            culprits.extend(dead.asker);
            if dead.root.is_some() && self.blamed.is_none() {
                self.blamed = dead.root;
            }
            let Some(back) = culprits.pop_last() else { break };
            while back + 1 < self.decisions.len() {
                self.undo();
                self.decisions.pop();
            }
            self.undo();
            self.decisions[back].culprits.extend(culprits);
            if self.take_next(steps)? {
                self.blamed = None;
                return Ok(());
            }
        }
        let (asker, relation) = self.dead_end.take().unwrap_or_default();
        Err(Outcome::Stuck { root: self.blamed.unwrap_or_default(), asker, relation })
    }

    /// The decisions that keep a package from being installed.
    fn obstacles(&self, id: Id) -> BTreeSet<usize> {
        let package = self.offers.package(id);
        let mut obstacles = BTreeSet::new();
        obstacles.extend(self.chosen.get(package.name).map(|chosen| chosen.decision));
        for relation in &self.offers.needs(id).against {
            for other in self.offers.fitting(relation) {
                let name = self.offers.package(other).name;
                let chosen = self.chosen.get(name).filter(|chosen| chosen.id == other);
                obstacles.extend(chosen.filter(|_| name != package.name).map(|c| c.decision));
            }
        }
        let own = Bearer { id, version: Some(package.version), real: true };
        obstacles.extend(self.opponents(package.name, own));
        for provided in package.provided() {
            let bearer = Bearer { id, version: provided.version, real: false };
            obstacles.extend(self.opponents(provided.name, bearer));
        }
        obstacles
    }

    /// The decisions for packages that conflict with what bears a name.
    fn opponents(&self, name: &str, bearer: Bearer<'_>) -> Vec<usize> {
        let package = self.offers.package(bearer.id);
        let conflicts = |needs: &Rc<Needs<'a>>| {
            let of_name = |relation: &&Relation<'_>| relation.name == name;
            let mut relations = needs.against.iter().filter(of_name);
            relations.any(|relation| fits(relation, &bearer, package, self.offers.architecture))
        };
        let mut found = Vec::new();
        for &owner in self.against.get(name).map_or(&[][..], Vec::as_slice) {
            let owner_name = self.offers.package(owner).name;
            if owner_name != package.name && conflicts(&self.offers.needs(owner)) {
                found.extend(self.chosen.get(owner_name).map(|chosen| chosen.decision));
            }
        }
        found
    }

    fn place(&mut self, id: Id, decision: usize) {
        self.decisions[decision].chosen = Some(id);
        self.chosen.insert(self.offers.package(id).name, Chosen { id, decision });
        for relation in &self.offers.needs(id).against {
            self.against.entry(relation.name).or_default().push(id);
        }
        if self.decisions[decision].root.is_none() {
            self.push(What::Meet { id, decision, number: 0 });
        }
    }

    /// Takes back the choice of the latest decision.
    fn undo(&mut self) {
        let Some(decision) = self.decisions.last_mut() else { return };
        self.todo = decision.todo;
        self.todos.truncate(decision.todos_len);
        let Some(id) = decision.chosen.take() else { return };
        self.chosen.remove(self.offers.package(id).name);
        for relation in &self.offers.needs(id).against {
            if let Some(owners) = self.against.get_mut(relation.name) {
                owners.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests;
