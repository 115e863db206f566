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

/// Finds the packages that a line asks for. With `installed`, those that targets have in the same
/// version are left out.
pub fn select(
    universe: &Universe<'_>,
    architecture: &str,
    request: &Request,
    is_security: &dyn Fn(&Package<'_>) -> bool,
) -> Asked {
    let mut asked = Asked::default();
    let label = &request.label;
    let installed = request.installed.as_ref().map(|installed| installed.versions(architecture));
    let version = |name: &str| installed.as_ref().and_then(|versions| versions.get(name));
    let is_there = |id: Id| {
        let package = &universe.packages[id];
        version(package.name).is_some_and(|old| package.parsed_version().as_ref() == Some(old))
    };
    for named in request.named.iter().filter(|named| named.is_for(architecture)) {
        match find(universe, named) {
            Some(id) if is_there(id) => {}
            Some(id) => {
                let reason = format!("{label}: {}", named.entry);
                asked.roots.push(Root { candidates: vec![id], alone: true, reason });
            }
            None => asked.unmet.push(Unmet::Unknown {
                entry: named.entry.clone(),
                architecture: architecture.to_owned(),
            }),
        }
    }
    let whole = request.all || request.security || installed.is_some();
    let mut names: Vec<&str> = universe.names().filter(|_| whole).collect();
    names.sort_unstable();
    for name in names {
        let all = universe.highest(universe.named(name)).filter(|_| request.all);
        asked.alone.extend(all.filter(|&id| !is_there(id)).map(|id| (id, format!("{label}: *"))));
        let counts = |id: &Id| !request.security || is_security(&universe.packages[*id]);
        let Some(id) = universe.highest(universe.named(name).filter(counts)) else { continue };
        match version(name) {
            Some(old) if universe.packages[id].parsed_version().is_some_and(|new| *old < new) => {
                let reason = format!("{label}: newer than {old}, which is installed");
                asked.roots.push(Root { candidates: vec![id], alone: false, reason });
            }
            None if request.security && installed.is_none() => {
                asked.alone.push((id, format!("{label}: security")));
            }
            _ => {}
        }
    }
    asked
}

fn find(universe: &Universe<'_>, named: &Named) -> Option<Id> {
    let version = named.version.as_deref();
    let fits = |id: &Id| version.is_none_or(|version| version == universe.packages[*id].version);
    universe.highest(universe.named(&named.name).filter(fits))
}
