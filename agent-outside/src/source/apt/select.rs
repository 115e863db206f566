//! Which packages a line asks for, before anything is closed over.
//!
//! In:   the [`Universe`] of one architecture, the [`Request`] of a line.
//! Out:  [`Asked`]: the roots of the closure, what is carried as it is, and what does not exist.
//! Pure: no network, no clock.
//!
//! | the line says                    | it asks for                                                |
//! |----------------------------------|------------------------------------------------------------|
//! | `packages: [a, b=1]`             | these, with what they need                                 |
//! | `packages: ["*"]`                | the highest version of each name; suites are closed        |
//! | `security: true`                 | the highest version of each name of the security suites    |
//! | `installed: FILE`                | what is newer than what is installed, with what that needs |
//! | `security: true, installed: FILE`| the same of security suites alone                          |

use std::collections::{HashMap, HashSet};

use debversion::Version;

use super::{
    closure::{Named, Request, Unmet},
    packages::{Id, Package, Universe},
};

/// One package that is asked for, with what it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// Never empty.
    pub candidates: Vec<Id>,
    /// Whether a user may install it alone, not only with the others of the line.
    pub alone: bool,
    pub reason: String,
}

/// What a line asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    pub roots: Vec<Root>,
    /// Packages that are carried without a look at what they need.
    pub alone: Vec<(Id, String)>,
    pub unmet: Vec<Unmet>,
}

/// Finds the packages that a line asks for. With `installed`, those that all nodes have in the same
/// version are left out.
pub fn select(
    universe: &Universe<'_>,
    architecture: &str,
    request: &Request,
    is_security: &dyn Fn(&Package<'_>) -> bool,
) -> Asked {
    let installed = request.installed.as_ref().map(|installed| installed.versions(architecture));
    let whole = request.all || request.security || installed.is_some();
    let absent = request.installed.as_ref().map(|installed| installed.absent(architecture));
    let held = Held { universe, installed, absent: absent.unwrap_or_default() };
    let mut asked = Asked::default();
    for named in request.named.iter().filter(|named| named.is_for(architecture)) {
        asked.take_named(&held, named, architecture, &request.label);
    }
    let mut names: Vec<&str> = universe.names().filter(|_| whole).collect();
    names.sort_unstable();
    for name in names {
        let all = universe.highest(universe.named(name)).filter(|&id| request.all && !held.has(id));
        asked.alone.extend(all.map(|id| (id, format!("{}: *", request.label))));
        let counts = |id: &Id| !request.security || is_security(&universe.packages[*id]);
        if let Some(id) = universe.highest(universe.named(name).filter(counts)) {
            asked.take_newest(&held, id, request);
        }
    }
    asked
}

/// What targets have, where a line says it.
struct Held<'u, 'a> {
    universe: &'u Universe<'a>,
    installed: Option<HashMap<String, Version>>,
    /// What only some of them have.
    absent: HashSet<String>,
}

impl Held<'_, '_> {
    fn version(&self, id: Id) -> Option<&Version> {
        self.installed.as_ref()?.get(self.universe.packages[id].name)
    }

    fn has(&self, id: Id) -> bool {
        let package = &self.universe.packages[id];
        let held = self.version(id).filter(|_| !self.absent.contains(package.name));
        held.is_some_and(|held| package.parsed_version().as_ref() == Some(held))
    }
}

impl Asked {
    fn take_named(&mut self, held: &Held<'_, '_>, named: &Named, architecture: &str, label: &str) {
        let entry = named.entry.clone();
        match find(held.universe, named) {
            Some(id) if held.has(id) => {}
            Some(id) => {
                let reason = format!("{label}: {entry}");
                self.roots.push(Root { candidates: vec![id], alone: true, reason });
            }
            None => {
                let architecture = architecture.to_owned();
                self.unmet.push(Unmet::Unknown { entry, architecture });
            }
        }
    }

    /// Takes the newest package of a name, as an update or as one of a security suite.
    fn take_newest(&mut self, held: &Held<'_, '_>, id: Id, request: &Request) {
        let label = &request.label;
        let newest = held.universe.packages[id].parsed_version();
        match held.version(id) {
            Some(old) if newest.is_some_and(|new| *old < new) => {
                let reason = format!("{label}: newer than {old}, which is installed");
                self.roots.push(Root { candidates: vec![id], alone: false, reason });
            }
            None if request.security && held.installed.is_none() => {
                self.alone.push((id, format!("{label}: security")));
            }
            _ => {}
        }
    }
}

fn find(universe: &Universe<'_>, named: &Named) -> Option<Id> {
    let version = named.version.as_deref();
    let fits = |id: &Id| version.is_none_or(|version| version == universe.packages[*id].version);
    universe.highest(universe.named(&named.name).filter(fits))
}
