//! The book of wants of one site: what it asked for, what is carried for it, what was dismissed.
//!
//! In:   the wants of an inventory, what a sync made of them, what the user dismisses.
//! Out:  what to resolve, and a list with states for people.
//! Pure: the ledger reads and writes the book.
//!
//! An inside no longer lists what it got. So a want that was granted stays in the book until it is
//! dismissed: like a line of the waybill, it goes on asking.

use std::collections::BTreeSet;

use gapferry_proto::{
    Artifact, limits,
    want::{self, Want},
};
use serde::{Deserialize, Serialize};

use super::Outcome;

/// All that is known of a site's wants. Sorted, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub struct Book {
    pub entries: Vec<Entry>,
}

/// One want.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub want: Want,
    /// Whether a sync found it, so that it is asked for from then on.
    #[serde(default)]
    pub granted: bool,
    #[serde(default)]
    pub dismissed: bool,
    /// What the last sync said that could not resolve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a want.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Resolved,
    Unresolved,
    Dismissed,
}

/// A want as lists show it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub want: Want,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Book {
    /// Takes the wants of a newer inventory: new ones are added, and those that were never granted
    /// and that the inside no longer has are dropped. What names nothing is passed over.
    pub fn take(&mut self, wants: &[Want]) {
        let wants = wants.iter().take(limits::WANTS_MAX).filter_map(|want| want.checked().ok());
        let wants: BTreeSet<Want> = wants.collect();
        self.entries
            .retain(|entry| entry.granted || entry.dismissed || wants.contains(&entry.want));
        let known: BTreeSet<Want> = self.entries.iter().map(|entry| entry.want.clone()).collect();
        let new = wants.into_iter().filter(|want| !known.contains(want));
        self.entries.extend(new.map(|want| Entry {
            want,
            granted: false,
            dismissed: false,
            reason: None,
        }));
        self.entries.sort_by(|a, b| a.want.cmp(&b.want));
    }

    /// What the next sync resolves.
    pub fn open(&self) -> impl Iterator<Item = &Want> {
        self.entries.iter().filter(|entry| !entry.dismissed).map(|entry| &entry.want)
    }

    /// What the last sync found, and is carried.
    pub fn granted(&self) -> impl Iterator<Item = &Want> {
        let is_carried =
            |entry: &&Entry| entry.granted && !entry.dismissed && entry.reason.is_none();
        self.entries.iter().filter(is_carried).map(|entry| &entry.want)
    }

    /// Notes what a sync made of the wants.
    pub fn settle(&mut self, outcomes: &[Outcome]) {
        for entry in &mut self.entries {
            if let Some(outcome) = outcomes.iter().find(|outcome| outcome.want == entry.want) {
                entry.granted |= outcome.reason.is_none() && !outcome.by_line;
                entry.reason.clone_from(&outcome.reason);
            }
        }
    }

    /// Dismisses the wants called `name` or `KIND NAME`, or takes that back; how many those were.
    pub fn dismiss(&mut self, name: &str, dismissed: bool) -> usize {
        let mut count = 0;
        for entry in &mut self.entries {
            let is_called = name == entry.want.name
                || name.split_once(' ') == Some((entry.want.kind.word(), &entry.want.name));
            if is_called {
                entry.dismissed = dismissed;
                // Taken back, it is asked for only if the inside still lacks it or a sync finds it.
                entry.granted &= !dismissed;
                count += 1;
            }
        }
        count
    }

    /// Every want with what became of it at a site that shall hold `artifacts`.
    pub fn rows<'a>(&self, artifacts: impl IntoIterator<Item = &'a Artifact>) -> Vec<Row> {
        const NOT_TRIED: &str = "not tried yet; run `gapferry-outside sync`";
        let held = want::met(self.open(), artifacts);
        let row = |entry: &Entry| {
            let is_held = held.contains(&entry.want) || (entry.granted && entry.reason.is_none());
            let (state, reason) = match (entry.dismissed, is_held) {
                (true, _) => (State::Dismissed, None),
                (false, true) => (State::Resolved, None),
                (false, false) => {
                    let reason = entry.reason.clone().unwrap_or_else(|| NOT_TRIED.to_owned());
                    (State::Unresolved, Some(reason))
                }
            };
            Row { want: entry.want.clone(), state, reason }
        };
        self.entries.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use gapferry_proto::Kind;

    use super::*;

    fn want(name: &str) -> Want {
        Want::new(Kind::Deb, name, None, None).unwrap()
    }

    fn outcome(name: &str, reason: Option<&str>) -> Outcome {
        let reason = reason.map(str::to_owned);
        Outcome { want: want(name), sites: BTreeSet::new(), reason, by_line: false }
    }

    fn states(book: &Book) -> Vec<(String, State)> {
        let rows = book.rows(iter::empty());
        rows.into_iter().map(|row| (row.want.name, row.state)).collect()
    }

    #[test]
    fn what_was_granted_is_asked_for_until_it_is_dismissed() {
        let mut book = Book::default();
        book.take(&[want("socat"), want("nosuch")]);
        let untried = book.rows(iter::empty());
        assert!(untried[0].reason.as_ref().unwrap().contains("not tried yet"));
        book.settle(&[outcome("socat", None), outcome("nosuch", Some("no suite has it"))]);
        let expected = [("nosuch", State::Unresolved), ("socat", State::Resolved)];
        let owned = |rows: &[(&str, State)]| -> Vec<(String, State)> {
            rows.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
        };
        assert_eq!(states(&book), owned(&expected));
        assert_eq!(book.granted().collect::<Vec<_>>(), [&want("socat")]);
        // The next inventory lists neither: one was carried, the other forgotten inside.
        book.take(&[]);
        assert_eq!(states(&book), owned(&expected[1..]));
        assert_eq!(book.dismiss("deb socat", true), 1);
        book.take(&[want("socat")]);
        assert_eq!(states(&book), owned(&[("socat", State::Dismissed)]));
        assert_eq!(book.open().count(), 0);
        assert_eq!((book.dismiss("socat", false), book.dismiss("other", true)), (1, 0));
        assert_eq!(book.open().count(), 1);
    }

    #[test]
    fn a_want_that_names_nothing_is_passed_over() {
        let mut book = Book::default();
        let bad = Want { name: "--option".to_owned(), ..want("aa") };
        book.take(&[bad, want("aa"), want("aa")]);
        assert_eq!(book.open().collect::<Vec<_>>(), [&want("aa")]);
    }
}
