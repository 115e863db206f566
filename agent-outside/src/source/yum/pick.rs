//! Turns the packages to carry into what is recorded and fetched of them.
//!
//! In:   the documents of all repositories, checked; what the lines of one target ask for.
//! Out:  [`Outcome`]: a package each with its place, digest and reasons; or which repositories'
//!       `filelists.xml` must be had first.
//! Pure: no network, no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use camino::Utf8PathBuf;
use gapferry_common::openpgp::ring::PublicKey;
use gapferry_proto::{SafePath, Target, artifact::RpmFacts, limits};
use url::Url;

use super::{
    closure::{self, Asked, Closure, Order, Unmet},
    comps::Groups,
    evr::{self, Op},
    filelists,
    modules::{Filter, Modules, ModulesError},
    primary,
    repomd::{DocumentError, Repomd},
    rules::{Excused, Habits},
    settings::{self, Source},
    universe::{Checksum, Id, Universe},
    updateinfo::Advisories,
};

/// Documents that nodes want as they are, besides the packages.
const PASSED: [&str; 3] = ["group", "modules", "updateinfo"];

/// A repository whose list was checked.
#[derive(Clone, Debug)]
pub struct Repository {
    pub source: Source,
    /// The root that answered, with its closing slash.
    pub root: Url,
    pub vouched: Vouched,
    pub repomd: Repomd,
    /// By type, the documents that were fetched; packed, and checked against `repomd`.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// The keys that may sign it and its packages, each with its file.
    pub keys: Vec<(Utf8PathBuf, PublicKey)>,
}

/// Who vouches for a repository's list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Vouched {
    /// The fingerprint of the key that signed it.
    Key(String),
    /// The metalink, fetched over TLS, that names its digest.
    Metalink(Url),
    /// The host it was fetched from, over TLS.
    Tls(Url),
    Nobody,
}

/// What the lines for nodes of one target and architecture ask for. They complete each other.
#[derive(Clone, Debug)]
pub struct Wish {
    pub target: Target,
    pub arch: String,
    pub asked: Vec<Asked>,
}

/// What came of a wish.
#[derive(Debug)]
pub enum Outcome {
    Picked(Picked),
    /// These repositories' `filelists` must be fetched; then pick again.
    Files(Vec<usize>),
}

/// What is carried for a wish.
#[derive(Debug, Default)]
pub struct Picked {
    pub packages: Vec<Rpm>,
    /// Documents that travel along as they are.
    pub passed: Vec<Passed>,
    pub unmet: Vec<Unmet>,
    /// Packages of the closure whose entry is not acceptable.
    pub refused: Vec<PickError>,
}

/// A package to carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rpm {
    /// `<target>/<name>-[epoch:]version-release.arch`.
    pub name: String,
    pub facts: RpmFacts,
    pub checksum: Checksum,
    pub len_bytes: u64,
    /// Where upstream has it; the repository's own credentials are not in it.
    pub url: Url,
    /// Which of the repositories it is from.
    pub repository: usize,
    pub wanted: Vec<String>,
    /// Files that something requires of it and its element does not list.
    pub files: Vec<String>,
}

/// A document that travels along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    /// `group`, `modules` or `updateinfo`.
    pub kind: String,
    pub repository: usize,
    pub url: Url,
    pub checksum: Checksum,
    pub bytes: Vec<u8>,
}

/// Why a repository or a package of it is not used.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    #[error("the {field} of {package} is missing or not acceptable: {value:?}")]
    Field { package: String, field: &'static str, value: String },
    #[error(
        "{package} has the place {location}, where a site has {what}; leave it out with `exclude`"
    )]
    Place { package: String, location: SafePath, what: &'static str },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("cannot use the modules of repository {id}")]
    Modules { id: String, source: ModulesError },
    #[error("cannot use the modules of these lines")]
    Streams(#[source] ModulesError),
    #[error("cannot unpack primary.xml of repository {id} again")]
    Elements { id: String, source: io::Error },
}

/// Closes over a wish and collects what is to be carried.
///
/// # Errors
///
/// [`PickError`], when a document cannot be read: a closure over a part would be wrong.
pub fn pick(wish: &Wish, repositories: &[Repository]) -> Result<Outcome, PickError> {
    let habits = habits(wish, repositories);
    let filter = filter(wish, repositories)?;
    let mut universe = Universe::default();
    for (number, repository) in repositories.iter().enumerate() {
        let accepts = |arch: &str| {
            arch == wish.arch || arch == "noarch" || habits.multilib.iter().any(|m| m == arch)
        };
        read(repository, "primary", |document| {
            primary::read(document, number, accepts, &mut universe)
        })?;
    }
    hide(&mut universe, repositories, &filter);
    for path in wish.asked.iter().flat_map(|asked| &asked.named).filter(|e| e.starts_with('/')) {
        universe.names.intern(path); // so that its files are findable though nothing requires it
    }
    universe.index();
    let (groups, advisories) = (groups(repositories)?, advisories(wish, repositories)?);
    let order = Order { asked: &wish.asked, groups: &groups, advisories: &advisories };
    let mut closure = closure::close(&universe, &habits, &order, true);
    let paths = std::mem::take(&mut closure.paths);
    if !paths.is_empty() {
        let lacking = lacking_filelists(repositories);
        if !lacking.is_empty() {
            return Ok(Outcome::Files(lacking));
        }
        learn_files(&mut universe, repositories, &paths)?;
        closure = closure::close(&universe, &habits, &order, false);
    }
    let closure = Closure { paths, ..closure };
    collect(wish, repositories, &universe, &filter, closure).map(Outcome::Picked)
}

/// Weak dependencies are each line's own choice.
fn habits(wish: &Wish, repositories: &[Repository]) -> Habits {
    Habits {
        weak: true,
        multilib: second_architectures(&wish.arch, &wish.asked),
        priorities: repositories.iter().map(|r| r.source.priority).collect(),
        best: false,
        excused: Excused::Nothing,
    }
}

/// Architectures that stand beside the first one, where an entry names one.
pub fn second_architectures(arch: &str, asked: &[Asked]) -> Vec<String> {
    let second: &[&str] = if arch == "x86_64" { &["i686", "i586", "i486", "i386"] } else { &[] };
    let mut named = asked.iter().flat_map(|asked| &asked.named);
    let is_asked = named.any(|entry| second.iter().any(|arch| entry.ends_with(arch)));
    second.iter().filter(|_| is_asked).map(|&arch| arch.to_owned()).collect()
}

/// Reads a document of a repository, when it was fetched.
fn read<T>(
    repository: &Repository,
    kind: &str,
    each: impl FnOnce(&mut dyn io::BufRead) -> Result<T, super::xml::XmlError>,
) -> Result<Option<T>, PickError> {
    let (Some(document), Some(bytes)) =
        (repository.repomd.documents.get(kind), repository.documents.get(kind))
    else {
        return Ok(None);
    };
    let path = document.location.clone();
    let read = each(&mut document.open(bytes)?);
    read.map(Some).map_err(|source| DocumentError::Xml { path, source }.into())
}

fn groups(repositories: &[Repository]) -> Result<Groups, PickError> {
    let mut groups = Groups::default();
    for repository in repositories {
        read(repository, "group", |document| groups.read(document))?;
    }
    Ok(groups)
}

fn advisories(wish: &Wish, repositories: &[Repository]) -> Result<Advisories, PickError> {
    let mut advisories = Advisories::default();
    let is_asked = |number: &usize| {
        let of_it = |asked: &Asked| asked.from.as_ref().is_none_or(|from| from.contains(number));
        wish.asked.iter().any(|asked| asked.security && of_it(asked))
    };
    for (_, repository) in repositories.iter().enumerate().filter(|(number, _)| is_asked(number)) {
        read(repository, "updateinfo", |document| advisories.read(document))?;
    }
    Ok(advisories)
}

fn filter(wish: &Wish, repositories: &[Repository]) -> Result<Filter, PickError> {
    let mut modules = Modules::default();
    for repository in repositories {
        let (Some(document), Some(bytes)) =
            (repository.repomd.documents.get("modules"), repository.documents.get("modules"))
        else {
            continue;
        };
        let mut text = String::new();
        let path = document.location.clone();
        document
            .open(bytes)?
            .read_to_string(&mut text)
            .map_err(|source| DocumentError::Unpack { path, source })?;
        let id = repository.source.id.clone();
        modules.read(&text).map_err(|source| PickError::Modules { id, source })?;
    }
    let enabled: Vec<String> = wish.asked.iter().flat_map(|a| &a.modules).cloned().collect();
    modules.filter(&enabled, &wish.arch).map_err(PickError::Streams)
}

/// Hides what the settings exclude and what belongs to streams that are not enabled.
fn hide(universe: &mut Universe, repositories: &[Repository], filter: &Filter) {
    for id in 0..universe.packages.len() {
        let Some(repository) = repositories.get(universe.packages[id].repository) else { continue };
        let source = &repository.source;
        let (name, nevra) = (name_of(universe, id), full_name(universe, id));
        let words = universe.words(id);
        let arch = universe.names.text(universe.packages[id].arch);
        let dotted = format!("{name}.{arch}");
        let fits = |pattern: &String| {
            [name, &dotted, &words, &nevra].iter().any(|text| settings::is_like(pattern, text))
        };
        let hidden = source.exclude.iter().any(fits)
            || !(source.include.is_empty() || source.include.iter().any(fits))
            || filter.hides(name, &nevra, source.module_hotfixes);
        universe.packages[id].hidden = hidden;
    }
}

fn name_of(universe: &Universe, id: Id) -> &str {
    universe.names.text(universe.packages[id].name)
}

/// `name-epoch:version-release.arch`, as modules name their packages.
fn full_name(universe: &Universe, id: Id) -> String {
    let package = &universe.packages[id];
    let (epoch, version, release) = evr::split(universe.names.text(package.evr));
    let arch = universe.names.text(package.arch);
    format!("{}-{epoch}:{version}-{release}.{arch}", name_of(universe, id))
}

fn lacking_filelists(repositories: &[Repository]) -> Vec<usize> {
    let lacks = |r: &Repository| {
        r.repomd.documents.contains_key("filelists") && !r.documents.contains_key("filelists")
    };
    (0..repositories.len()).filter(|number| lacks(&repositories[*number])).collect()
}

fn learn_files(
    universe: &mut Universe,
    repositories: &[Repository],
    paths: &BTreeSet<String>,
) -> Result<(), PickError> {
    for path in paths {
        universe.names.intern(path);
    }
    for (number, repository) in repositories.iter().enumerate() {
        let found = read(repository, "filelists", |document| filelists::find(document, paths))?;
        let found = found.unwrap_or_default();
        for id in 0..universe.packages.len() {
            let package = &universe.packages[id];
            let pkgid = match &package.checksum {
                Checksum::Sha256(digest) => digest.hex(),
                Checksum::Sha512(digest) => data_encoding::HEXLOWER.encode(&digest[..]),
                Checksum::Weak(_) => continue,
            };
            if package.repository == number {
                for path in found.get(&pkgid).into_iter().flatten() {
                    universe.add_file(id, path);
                }
            }
        }
    }
    universe.index();
    Ok(())
}

fn collect(
    wish: &Wish,
    repositories: &[Repository],
    universe: &Universe,
    filter: &Filter,
    closure: Closure,
) -> Result<Picked, PickError> {
    let mut picked = Picked { unmet: closure.unmet, ..Picked::default() };
    let has = |id: Id, path: &str| {
        let name = universe.names.find(path);
        name.is_some_and(|name| universe.providers_within(name, (Op::Any, "")).contains(&id))
    };
    let mut packages: BTreeMap<String, Rpm> = BTreeMap::new();
    for (number, repository) in repositories.iter().enumerate() {
        let here = |id: &Id| universe.packages[*id].repository == number;
        let ids: Vec<Id> = closure.carried.keys().copied().filter(here).collect();
        let mut elements = elements(repository, ids.iter().map(|id| universe.packages[*id].span))?;
        for id in ids {
            let element = elements.remove(&universe.packages[id].span).unwrap_or_default();
            match rpm(wish, universe, id, repository, element) {
                Ok(mut rpm) => {
                    rpm.facts.modular = filter.is_modular(&full_name(universe, id));
                    rpm.wanted = closure.carried[&id].iter().cloned().collect();
                    rpm.files =
                        closure.paths.iter().filter(|path| has(id, path)).cloned().collect();
                    // Of twins in two repositories the first is as good as the other.
                    packages.entry(rpm.name.clone()).or_insert(rpm);
                }
                Err(e) => picked.refused.push(e),
            }
        }
        picked.passed.extend(passed(number, repository));
    }
    picked.packages = packages.into_values().collect();
    Ok(picked)
}

fn elements(
    repository: &Repository,
    spans: impl Iterator<Item = (u64, u64)>,
) -> Result<BTreeMap<(u64, u64), String>, PickError> {
    let id = || repository.source.id.clone();
    let (Some(document), Some(bytes)) =
        (repository.repomd.documents.get("primary"), repository.documents.get("primary"))
    else {
        return Ok(BTreeMap::new());
    };
    primary::elements(document.open(bytes)?, spans)
        .map_err(|source| PickError::Elements { id: id(), source })
}

fn passed(number: usize, repository: &Repository) -> Vec<Passed> {
    let of = |kind: &&str| {
        let document = repository.repomd.documents.get(*kind)?;
        Some(Passed {
            kind: (*kind).to_owned(),
            repository: number,
            url: repository.root.join(document.location.as_str()).ok()?,
            checksum: document.checksum.clone(),
            bytes: repository.documents.get(*kind)?.clone(),
        })
    };
    PASSED.iter().filter_map(of).collect()
}

fn rpm(
    wish: &Wish,
    universe: &Universe,
    id: Id,
    repository: &Repository,
    element: String,
) -> Result<Rpm, PickError> {
    let package = &universe.packages[id];
    let text = |sym| universe.names.text(sym).to_owned();
    let words = universe.words(id);
    let bad = |field, value: &str| {
        let value = value.chars().take(200).collect();
        PickError::Field { package: words.clone(), field, value }
    };
    let (name, arch) = (text(package.name), text(package.arch));
    let (epoch, version, release) = evr::split(universe.names.text(package.evr));
    for (field, value) in
        [("name", &*name), ("version", version), ("release", release), ("arch", &*arch)]
    {
        if !is_word(value) {
            return Err(bad(field, value));
        }
    }
    if !epoch.bytes().all(|b| b.is_ascii_digit()) || 10 < epoch.len() {
        return Err(bad("epoch", epoch));
    }
    if let Checksum::Weak(kind) = &package.checksum {
        return Err(bad("checksum", kind));
    }
    if limits::BLOB_LEN_BYTES_MAX < package.len_bytes {
        return Err(bad("size", &package.len_bytes.to_string()));
    }
    let href = package.location.strip_prefix("./").unwrap_or(&package.location);
    let location: SafePath = href.parse().map_err(|_| bad("location", href))?;
    let root = match package.location_base.as_deref().filter(|base| base.contains("://")) {
        Some(base) => web_url(base).ok_or_else(|| bad("location", base))?,
        None => repository.root.clone(),
    };
    let facts = RpmFacts {
        target: wish.target.clone(),
        repository: repository.source.id.clone(),
        package: name,
        epoch: epoch.to_owned(),
        version: version.to_owned(),
        release: release.to_owned(),
        architecture: arch,
        source: text(package.source),
        modular: false,
        element,
        location,
    };
    if let Some(what) = facts.in_the_way() {
        return Err(PickError::Place { package: words, location: facts.location, what });
    }
    Ok(Rpm {
        name: format!("{}/{words}", wish.target),
        url: join(&root, &facts.location).ok_or_else(|| bad("location", href))?,
        facts,
        checksum: package.checksum.clone(),
        len_bytes: package.len_bytes,
        repository: package.repository,
        wanted: Vec::new(),
        files: Vec::new(),
    })
}

/// A file below a root; `+`, `%` and `#` in its name are part of the name.
fn join(root: &Url, path: &SafePath) -> Option<Url> {
    let mut url = root.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(path.as_str().split('/'));
    Some(url)
}

fn web_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// Whether a text may be part of an artifact's name.
fn is_word(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._~^".contains(&b);
    (1..=256).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
