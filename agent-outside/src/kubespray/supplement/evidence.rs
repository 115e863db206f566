//! Looks evidence up in the tree at hand.
//!
//! In:   what was collected, with the places that say why.
//! Out:  the same, with `differs` set and a problem for each place that does not say so here.
//!
//! A list is made from one release of its line; patch releases move lines a little, forks may
//! drop or change them. Only what was collected is looked up.

use std::collections::BTreeMap;

use super::apply::Collected;
use super::{Evidence, Tree};

/// How far from its line the words may stand.
const NEAR_LINES: usize = 40;

/// Whether the fragment stands at the line (counted from 1) or within 40 lines of it.
pub fn evidence_holds(tree_file_text: &str, line: u32, fragment: &str) -> bool {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let first = line.saturating_sub(NEAR_LINES + 1);
    let near = tree_file_text.lines().skip(first).take(line.saturating_add(NEAR_LINES) - first);
    near.into_iter().any(|text| text.contains(fragment))
}

/// Marks the items whose evidence is not in this tree, and says so.
pub(super) fn check(tree: &dyn Tree, release: &str, collected: &mut Collected) {
    let mut witness = Witness { tree, texts: BTreeMap::new() };
    let mut doubts = Vec::new();
    for item in collected.items.values_mut() {
        for place in item.evidence.iter().filter(|place| !witness.confirms(place)) {
            item.differs = true;
            doubts.push((item.name.clone(), place.clone()));
        }
    }
    for (name, places) in &collected.noticed {
        let unsaid = places.iter().filter(|place| !witness.confirms(place));
        doubts.extend(unsaid.map(|place| (name.clone(), place.clone())));
    }
    for (name, Evidence { path, line, text }) in doubts {
        collected.advise(
            &name,
            None,
            format!("the tree differs here from release line {release}: {path}:{line} does not say {text:?}"),
        );
    }
}

/// The tree's files, each read once.
struct Witness<'a> {
    tree: &'a dyn Tree,
    texts: BTreeMap<String, Option<String>>,
}

impl Witness<'_> {
    fn confirms(&mut self, place: &Evidence) -> bool {
        if !self.texts.contains_key(&place.path) {
            self.texts.insert(place.path.clone(), self.tree.read(&place.path));
        }
        let text = self.texts.get(&place.path).and_then(Option::as_deref);
        text.is_some_and(|text| evidence_holds(text, place.line, &place.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_stand_forty_lines_away_and_no_further() {
        let text = |at: usize| format!("{}image: x\n{}", "a\n".repeat(at - 1), "b\n".repeat(9));
        assert!(evidence_holds(&text(100), 100, "image:"));
        assert!(evidence_holds(&text(100), 60, "image:"));
        assert!(evidence_holds(&text(100), 140, "image:"));
        assert!(!evidence_holds(&text(100), 59, "image:"));
        assert!(!evidence_holds(&text(100), 141, "image:"));
        assert!(!evidence_holds(&text(100), 100, "tag:"));
        assert!(evidence_holds(&text(1), 0, "image:"));
        assert!(!evidence_holds("", u32::MAX, "image:"));
    }
}
