//! Texts that stand in a universe many times, each held once.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{BONDS, Bond, Universe};

/// A text's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sym(u32);

impl Sym {
    /// The empty text, in any [`Names`].
    pub const EMPTY: Self = Self(0);

    /// The number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All texts.
#[derive(Debug)]
pub struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Default for Names {
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        Self { texts: vec![empty.clone()], numbers: HashMap::from([(empty, 0)]) }
    }
}

impl Names {
    /// The number of a text, new or known.
    pub fn intern(&mut self, text: &str) -> Sym {
        if let Some(known) = self.numbers.get(text) {
            return Sym(*known);
        }
        let number = super::count(self.texts.len());
        let text: Arc<str> = Arc::from(text);
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        Sym(number)
    }

    /// The number of a text that is known.
    pub fn find(&self, text: &str) -> Option<Sym> {
        self.numbers.get(text).copied().map(Sym)
    }

    /// The text of a number.
    pub fn text(&self, sym: Sym) -> &str {
        self.texts.get(sym.index()).map_or("", |text| text)
    }

    /// How many texts there are, the empty one among them.
    pub fn count(&self) -> usize {
        self.texts.len()
    }
}

/// The order in which candidates that no rule tells apart are tried: names of the first
/// repository first, in it those that its packages use most, then by their letters.
///
/// libsolv tries them in the order of its string table, which its cache files sort like this;
/// so a client without other reasons takes the same package.
pub fn ranks(universe: &Universe) -> Vec<u32> {
    let mut uses = vec![(usize::MAX, 0_u32); universe.names.count()];
    let mut seen = HashSet::new();
    let mut note = |sym: Sym, repository: usize| {
        if let Some((first, count)) = uses.get_mut(sym.index()) {
            if *first == usize::MAX {
                *first = repository;
            }
            if *first == repository {
                *count = count.saturating_add(1);
            }
        }
    };
    for (id, package) in universe.packages.iter().enumerate() {
        for sym in [package.name, package.evr, package.arch] {
            note(sym, package.repository);
        }
        for bond in bonds() {
            for relation in universe.bonds(id, bond) {
                if relation.evr == Sym::EMPTY {
                    note(relation.name, package.repository);
                } else if seen.insert(*relation) {
                    note(relation.name, package.repository);
                    note(relation.evr, package.repository);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..universe.names.count()).collect();
    order.sort_by_cached_key(|at| {
        let (first, count) = uses[*at];
        (first, Reverse(count), universe.names.texts[*at].clone())
    });
    let mut ranks = vec![0; order.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = super::count(rank);
    }
    ranks
}

fn bonds() -> [Bond; BONDS] {
    [
        Bond::Provides,
        Bond::Requires,
        Bond::Conflicts,
        Bond::Obsoletes,
        Bond::Recommends,
        Bond::Suggests,
        Bond::Supplements,
        Bond::Enhances,
    ]
}
