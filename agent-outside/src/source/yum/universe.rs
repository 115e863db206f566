//! All packages that a line may choose from, and who provides what.
//!
//! In:   packages as `primary` reads them, one repository after another.
//! Out:  a [`Universe`] in which names, capabilities and files are looked up.
//! Pure.
//!
//! Fedora has 70,000 packages with two million relations, so texts are held once and everything
//! else is a number.

mod names;

use std::{cmp::Ordering, collections::HashMap};

use gapferry_proto::Digest;

pub use self::names::{Names, Sym};
use super::evr::{self, Op};

/// The number of a package in its [`Universe`].
pub type Id = usize;

/// What one package says of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Bond {
    Provides,
    Requires,
    Conflicts,
    Obsoletes,
    Recommends,
    Suggests,
    Supplements,
    Enhances,
}

/// How many bonds there are.
pub const BONDS: usize = 8;

impl Bond {
    /// The bond of an element of `primary.xml`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "provides" => Self::Provides,
            "requires" => Self::Requires,
            "conflicts" => Self::Conflicts,
            "obsoletes" => Self::Obsoletes,
            "recommends" => Self::Recommends,
            "suggests" => Self::Suggests,
            "supplements" => Self::Supplements,
            "enhances" => Self::Enhances,
            _ => return None,
        })
    }
}

/// A capability, with the versions of it that are meant. A rich dependency is a name in brackets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Relation {
    pub name: Sym,
    pub op: Op,
    pub evr: Sym,
}

/// The digest that an index names for a package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checksum {
    Sha256(Digest),
    Sha512(Box<[u8; 64]>),
    /// MD5, SHA-1 or nothing that is known: it vouches for nothing.
    Weak(String),
}

/// A package as `primary.xml` has it.
#[derive(Clone, Debug)]
pub struct Package {
    pub name: Sym,
    pub evr: Sym,
    pub arch: Sym,
    /// The source package, to which `updateinfo` and people refer.
    pub source: Sym,
    /// Which of the repositories it is from.
    pub repository: usize,
    pub checksum: Checksum,
    /// `location href`, not checked.
    pub location: Box<str>,
    /// `xml:base` of the location, as split media have it.
    pub location_base: Option<Box<str>>,
    pub len_bytes: u64,
    pub installed_bytes: u64,
    /// Where the header of the file begins and ends, in bytes.
    pub header: Option<(u64, u64)>,
    /// Where its element begins and ends in the plain document, in bytes.
    pub span: (u64, u64),
    /// Whether no client would see it: excluded, or of a module stream that is not enabled.
    pub hidden: bool,
    bonds: [u32; BONDS + 1],
}

/// What `primary` read of one package.
#[derive(Debug)]
pub struct Draft {
    pub package: Package,
    pub relations: [Vec<Relation>; BONDS],
    pub files: Vec<String>,
}

impl Draft {
    /// A package of `repository` of which nothing is known yet.
    pub fn new(repository: usize) -> Self {
        let package = Package {
            name: Sym::EMPTY,
            evr: Sym::EMPTY,
            arch: Sym::EMPTY,
            source: Sym::EMPTY,
            repository,
            checksum: Checksum::Weak(String::new()),
            location: Box::default(),
            location_base: None,
            len_bytes: 0,
            installed_bytes: 0,
            header: None,
            span: (0, 0),
            hidden: false,
            bonds: [0; BONDS + 1],
        };
        Self { package, relations: Default::default(), files: Vec::new() }
    }
}

/// A package that bears a name: by `Provides`, or because a file has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bearer {
    id: u32,
    op: Op,
    evr: Sym,
}

/// All packages of all repositories of a line.
#[derive(Debug, Default)]
pub struct Universe {
    pub names: Names,
    pub packages: Vec<Package>,
    relations: Vec<Relation>,
    /// Paths, one after another, each with its package.
    files: String,
    file_ends: Vec<(u32, u64)>,
    /// By name: where its bearers begin.
    starts: Vec<u32>,
    bearers: Vec<Bearer>,
    by_name: HashMap<Sym, Vec<u32>>,
    /// The order of names in which candidates that are equal otherwise are tried.
    ranks: Vec<u32>,
}

impl Universe {
    /// Puts a package into it. [`Universe::index`] makes it findable.
    pub fn add(&mut self, draft: Draft) -> Id {
        let id = self.packages.len();
        let mut package = draft.package;
        for (number, relations) in draft.relations.iter().enumerate() {
            package.bonds[number] = count(self.relations.len());
            self.relations.extend_from_slice(relations);
        }
        package.bonds[BONDS] = count(self.relations.len());
        self.packages.push(package);
        for path in &draft.files {
            self.add_file(id, path);
        }
        id
    }

    /// Tells that a package has a file.
    pub fn add_file(&mut self, id: Id, path: &str) {
        self.files.push_str(path);
        self.file_ends.push((count(id), self.files.len() as u64));
    }

    /// Makes all packages that are not hidden findable.
    pub fn index(&mut self) {
        self.by_name.clear();
        let mut pairs: Vec<(Sym, Bearer)> = Vec::new();
        for (id, package) in self.packages.iter().enumerate().filter(|(_, p)| !p.hidden) {
            let id = count(id);
            self.by_name.entry(package.name).or_default().push(id);
            pairs.extend(self.relations_of(package, Bond::Provides).iter().map(|relation| {
                (relation.name, Bearer { id, op: relation.op, evr: relation.evr })
            }));
        }
        let mut start = 0;
        for (id, end) in &self.file_ends {
            let end = usize::try_from(*end).unwrap_or(usize::MAX);
            let name = self.files.get(start..end).and_then(|path| self.names.find(path));
            start = end;
            let shown = self.packages.get(*id as usize).is_some_and(|p| !p.hidden);
            if let Some(name) = name.filter(|_| shown) {
                pairs.push((name, Bearer { id: *id, op: Op::Any, evr: Sym::EMPTY }));
            }
        }
        pairs.sort_by_key(|(name, bearer)| (*name, bearer.id));
        self.starts = vec![0; self.names.count() + 1];
        for (name, _) in &pairs {
            self.starts[name.index() + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.bearers = pairs.into_iter().map(|(_, bearer)| bearer).collect();
        self.ranks = names::ranks(self);
    }

    /// The relations of one sort that a package has.
    pub fn bonds(&self, id: Id, bond: Bond) -> &[Relation] {
        self.packages.get(id).map_or(&[], |package| self.relations_of(package, bond))
    }

    fn relations_of(&self, package: &Package, bond: Bond) -> &[Relation] {
        let (start, end) = (package.bonds[bond as usize], package.bonds[bond as usize + 1]);
        self.relations.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The packages of a name, in the order of the repositories.
    pub fn named(&self, name: Sym) -> impl Iterator<Item = Id> + '_ {
        self.by_name.get(&name).into_iter().flatten().map(|id| *id as usize)
    }

    /// All names of packages.
    pub fn package_names(&self) -> impl Iterator<Item = Sym> + '_ {
        self.by_name.keys().copied()
    }

    /// The packages that meet a plain relation, each once, by number.
    pub fn providers(&self, relation: Relation) -> Vec<Id> {
        self.providers_within(relation.name, (relation.op, self.names.text(relation.evr)))
    }

    /// The packages that provide some version of a name within a range.
    pub fn providers_within(&self, name: Sym, wanted: (Op, &str)) -> Vec<Id> {
        let at = name.index();
        let (Some(start), Some(end)) = (self.starts.get(at), self.starts.get(at + 1)) else {
            return Vec::new();
        };
        let bearers = self.bearers.get(*start as usize..*end as usize).unwrap_or_default();
        let mut ids: Vec<Id> = bearers
            .iter()
            .filter(|bearer| evr::overlap((bearer.op, self.names.text(bearer.evr)), wanted))
            .map(|bearer| bearer.id as usize)
            .collect();
        ids.dedup();
        ids
    }

    /// The packages that go by the very name and version of a relation, as `Obsoletes` means it.
    pub fn namesakes(&self, relation: Relation) -> impl Iterator<Item = Id> + '_ {
        let wanted = (relation.op, self.names.text(relation.evr));
        self.named(relation.name).filter(move |id| {
            let own = self.names.text(self.packages[*id].evr);
            evr::overlap((Op::Equal, own), wanted)
        })
    }

    /// The order of two packages by version.
    pub fn compare(&self, a: Id, b: Id) -> Ordering {
        let evr = |id: Id| self.packages.get(id).map_or("", |p| self.names.text(p.evr));
        evr::compare(evr(a), evr(b))
    }

    /// The place of a name in the order of trial.
    pub fn rank(&self, name: Sym) -> u32 {
        self.ranks.get(name.index()).copied().unwrap_or(u32::MAX)
    }

    /// A package as people write it: `name-[epoch:]version-release.arch`.
    pub fn words(&self, id: Id) -> String {
        self.packages.get(id).map_or_else(String::new, |package| {
            let text = |sym| self.names.text(sym);
            format!("{}-{}.{}", text(package.name), text(package.evr), text(package.arch))
        })
    }

    /// A relation as people write it.
    pub fn relation_words(&self, relation: Relation) -> String {
        let name = self.names.text(relation.name);
        if relation.op == Op::Any {
            return name.to_owned();
        }
        format!("{name} {} {}", relation.op.sign(), self.names.text(relation.evr))
    }
}

/// A count as a number of 32 bits: `primary` bounds what is counted far below.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
