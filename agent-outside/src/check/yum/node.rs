//! A node that has nothing but what is carried for it.
//!
//! In:   the carried packages of one target and architecture.
//! Out:  [`Outcome`]: what cannot be installed on it, and what is lacking.
//! Pure but for the store, from which groups, advisories and headers are read when needed.
//!
//! First everything is installed as a client would. What cannot be is installed once more, with
//! every requirement excused that nothing carried can meet: what is then required in vain is what
//! is lacking, all of it in one turn.

use std::collections::{BTreeMap, BTreeSet};

use gapferry_common::store::Store;
use gapferry_proto::{Artifact, artifact::RpmFacts, limits};

use super::{Files, Shelf};
use crate::source::{
    unpack::Packing,
    yum::{
        closure::{self, Asked, Closure, Obstacle, Order, Unmet},
        comps::Groups,
        pick::{self, Wish},
        primary,
        rich::{self, Atom},
        rules::{Excused, Habits},
        universe::{Id, Relation, Universe},
        unpack,
        updateinfo::Advisories,
    },
};

/// A simulated node.
pub struct Node<'a> {
    universe: Universe,
    /// By number of the universe's packages.
    carried: Vec<&'a Artifact>,
    habits: Habits,
    groups: Groups,
    advisories: Advisories,
    /// Paths of which is known already which packages have them.
    looked_up: BTreeSet<String>,
}

/// What came of an installation.
#[derive(Default)]
pub struct Outcome {
    /// Entries that nothing carried goes by, with the number of their line.
    pub unknown: Vec<(usize, String)>,
    /// What carried packages require in vain, by what would have to be named.
    pub lacks: BTreeMap<String, Vec<Lack>>,
    /// What cannot be installed for other reasons.
    pub stuck: Vec<Unmet>,
    /// Requirements that are excused and came up.
    pub passed: BTreeSet<String>,
}

/// A requirement that is not met.
pub struct Lack {
    /// The package, as people write it.
    pub asker: String,
    pub relation: String,
}

impl<'a> Node<'a> {
    /// A node of the target of a wish.
    ///
    /// # Errors
    ///
    /// A sentence, when something carried is not understood.
    pub fn new(shelf: &Shelf<'a>, wish: &Wish) -> Result<Self, String> {
        let multilib = pick::second_architectures(&wish.arch, &wish.asked);
        let is_for = |facts: &RpmFacts| {
            let own = &facts.architecture;
            *own == wish.arch || own == "noarch" || multilib.contains(own)
        };
        let all = shelf.packages.get(&wish.target).into_iter().flatten();
        let mut universe = Universe::default();
        let mut carried = vec![];
        for (artifact, facts) in all.filter(|(_, facts)| is_for(facts)) {
            let element = format!("<metadata>{}</metadata>", facts.element);
            let read = primary::read(element.as_bytes(), 0, |_| true, &mut universe);
            if !matches!(read, Ok(1)) {
                return Err(format!("what upstream says of {} is not understood", artifact.name));
            }
            carried.push(*artifact);
        }
        for path in wish.asked.iter().flat_map(|asked| &asked.named).filter(|e| e.starts_with('/'))
        {
            universe.names.intern(path); // so that it is found though nothing requires it
        }
        universe.index();
        let habits = Habits { multilib, best: true, ..Habits::default() };
        let (mut groups, mut advisories) = (Groups::default(), Advisories::default());
        if wish.asked.iter().flat_map(|asked| &asked.named).any(|entry| entry.starts_with('@')) {
            read(shelf, wish, "group", |document| groups.read(document))?;
        }
        if wish.asked.iter().any(|asked| asked.security) {
            read(shelf, wish, "updateinfo", |document| advisories.read(document))?;
        }
        let looked_up = BTreeSet::new();
        Ok(Self { universe, carried, habits, groups, advisories, looked_up })
    }

    /// Installs what is asked for; relations of `excused` need not be met.
    pub fn install(
        &mut self,
        asked: &[Asked],
        excused: &BTreeSet<String>,
        files: Files<'_>,
    ) -> Outcome {
        let closure = self.close(asked, Excused::These(excused.clone()), files);
        let mut outcome = Outcome::default();
        let relations = closure.lacks.iter().map(|(_, relation)| *relation);
        outcome.passed = relations.map(|r| self.universe.relation_words(r)).collect();
        for unmet in closure.unmet {
            match unmet.obstacle {
                Obstacle::Unknown { entry } => outcome.unknown.push((unmet.line, entry)),
                _ => outcome.stuck.push(unmet),
            }
        }
        if !outcome.stuck.is_empty() {
            self.look_closer(asked, excused, files, &mut outcome);
        }
        outcome
    }

    /// Tells of what is stuck what it lacks.
    fn look_closer(
        &mut self,
        asked: &[Asked],
        excused: &BTreeSet<String>,
        files: Files<'_>,
        outcome: &mut Outcome,
    ) {
        let named = |number: usize| {
            let own = outcome.stuck.iter().filter(|unmet| unmet.line == number);
            own.map(|unmet| unmet.entry().to_owned()).collect()
        };
        let again = |(number, asked): (usize, &Asked)| Asked {
            label: asked.label.clone(),
            named: named(number),
            weak: asked.weak,
            ..Asked::default()
        };
        let again: Vec<Asked> = asked.iter().enumerate().map(again).collect();
        let closure = self.close(&again, Excused::Unmeetable, files);
        for (id, relation) in closure.lacks {
            let words = self.universe.relation_words(relation);
            if excused.contains(&words) {
                outcome.passed.insert(words);
            } else {
                let lack = Lack { asker: self.universe.words(id), relation: words };
                outcome.lacks.entry(self.entry(relation)).or_default().push(lack);
            }
        }
        if !(outcome.lacks.is_empty() && closure.unmet.is_empty()) {
            outcome.stuck = closure.unmet;
        }
    }

    fn close(&mut self, asked: &[Asked], excused: Excused, files: Files<'_>) -> Closure {
        let habits = Habits { excused, ..self.habits.clone() };
        let close = |node: &Self, look_up| {
            let order = Order { asked, groups: &node.groups, advisories: &node.advisories };
            closure::close(&node.universe, &habits, &order, look_up)
        };
        let closure = close(self, true);
        if closure.paths.is_empty() {
            return closure;
        }
        let paths: BTreeSet<String> = closure.paths.difference(&self.looked_up).cloned().collect();
        if !paths.is_empty() {
            self.look_up(&paths, files);
        }
        self.looked_up.extend(paths);
        close(self, false)
    }

    fn look_up(&mut self, paths: &BTreeSet<String>, files: Files<'_>) {
        for path in paths {
            self.universe.names.intern(path);
        }
        for (id, artifact) in self.carried.iter().enumerate() {
            for path in files(artifact, paths) {
                self.universe.add_file(id, &path);
            }
        }
        self.universe.index();
    }

    /// What a line would name so that a relation is met: of a rich one the part that is lacking.
    fn entry(&self, relation: Relation) -> String {
        let text = self.universe.names.text(relation.name);
        if !text.starts_with('(') {
            return text.to_owned();
        }
        let mut atoms: Vec<(bool, String)> = vec![];
        let _ = rich::parse(text).map(|rich| {
            rich.map(&mut |atom| atoms.push((self.is_there(atom), atom.name.to_owned())))
        });
        let lacking = atoms.iter().find(|(is_there, _)| !is_there).or_else(|| atoms.first());
        lacking.map_or_else(|| text.to_owned(), |(_, name)| name.clone())
    }

    fn is_there(&self, atom: &Atom<'_>) -> bool {
        let evr = crate::source::yum::evr::plain(atom.evr);
        let providers = |name| -> Vec<Id> { self.universe.providers_within(name, (atom.op, &evr)) };
        self.universe.names.find(atom.name).is_some_and(|name| !providers(name).is_empty())
    }
}

/// Reads the documents of a kind that travel along for a wish.
fn read<E: std::fmt::Display>(
    shelf: &Shelf<'_>,
    wish: &Wish,
    kind: &str,
    mut each: impl FnMut(&mut dyn std::io::BufRead) -> Result<(), E>,
) -> Result<(), String> {
    let all = shelf.documents.get(&wish.target).into_iter().flatten();
    for (artifact, facts) in all {
        if facts.document != kind || facts.architecture != wish.arch {
            continue;
        }
        let bytes = bytes(shelf.store, artifact)?;
        let fail = |e: &dyn std::fmt::Display| format!("{} is not understood: {e}", artifact.name);
        let packing = Packing::of_name(&artifact.origin).unwrap_or(Packing::Plain);
        let opened = unpack::open(packing, &bytes, limits::INDEX_PLAIN_LEN_BYTES_MAX);
        each(&mut opened.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
    }
    Ok(())
}

fn bytes(store: &Store, artifact: &Artifact) -> Result<Vec<u8>, String> {
    let blob = artifact.blobs.first();
    let read = blob.map(|blob| store.read(blob.id, limits::INDEX_LEN_BYTES_MAX));
    match read {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(e)) => Err(format!("{} cannot be read: {e}", artifact.name)),
        None => Err(format!("{} has no bytes", artifact.name)),
    }
}
