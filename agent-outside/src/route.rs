//! A route: the Kubespray releases that a site goes through, one after the other.
//!
//! In:   `2.29→2.30→2.31` as typed, and the trees at hand with the Kubernetes each sets up.
//! Out:  a [`Route`]; its [`Stop`]s, each with its own trees; every hop that breaks a rule.
//! Pure: opens no tree. `check::route` does, and asks for all that they need.
//!
//! The rules: Kubespray's `docs/operations/upgrades.md` forbids to skip a minor release, patch
//! releases may be skipped; Kubernetes' version skew policy forbids to skip a minor release of
//! the control plane, and kubeadm does not go back.

use std::{fmt, str::FromStr};

/// Longest route, in bytes as typed.
pub const ROUTE_LEN_BYTES_MAX: usize = 1024;

/// Most releases of one route: ten years of Kubespray.
pub const ROUTE_STOPS_MAX: usize = 32;

/// A Kubespray release. Without patch it stands for any tree of its minor release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Release {
    pub major: u16,
    pub minor: u16,
    pub patch: Option<u16>,
}

/// A Kubernetes version, `1.35.4`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KubeVersion {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

/// Releases in the order in which a site takes them; the first is where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    releases: Vec<Release>,
}

/// A tree at hand, with one inventory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Where it is, for people.
    pub place: String,
    pub release: Release,
    /// The inventory: a cluster keeps its own from release to release.
    pub cluster: String,
    /// `kube_version` as this tree and its inventory set it; none when that cannot be told.
    pub kube: Option<KubeVersion>,
}

/// One release of a route with the trees that belong to it, one a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stop<'t> {
    pub release: Release,
    /// All of one release.
    pub trees: Vec<&'t Tree>,
}

/// Why a text is no version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no {1}")]
pub struct VersionError(String, &'static str);

/// Why a text is no route, or trees do not belong to one. Exit code 1.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    #[error("the route has more than {ROUTE_LEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the route has more than {ROUTE_STOPS_MAX} releases")]
    TooManyStops,
    #[error(
        "a route has two releases or more, as 2.29,2.30; quote it when you write `->`, \
         since the shell takes `>` for itself"
    )]
    TooFewStops,
    #[error("the route cannot be read")]
    Version(#[from] VersionError),
    #[error("{release} may be {one} or {other}; write its patch release in the route")]
    TwoTrees { release: Release, one: String, other: String },
    #[error("--tree {release}={place} cannot be used: {reason}")]
    Unusable { release: Release, place: String, reason: String },
}

/// A hop that a rule forbids. Exit code 2: the list says what to add.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{from} → {to}: {rule}")]
pub struct Break {
    /// Counted from 1.
    pub hop: usize,
    pub from: Release,
    pub to: Release,
    pub rule: Rule,
}

/// What a hop may not do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rule {
    #[error("the route stays where it is; leave one out, or write patch releases")]
    Repeated,
    #[error("the route goes back, which Kubespray does not")]
    Descending,
    #[error("the major release changes, and no rule says how")]
    Major,
    #[error("skips {}; Kubespray upgrades one minor release at a time", Listed(.0))]
    Skipped(Vec<Release>),
    #[error("Kubernetes goes from {0} back to {1}; set kube_version to {0} or newer")]
    KubeFalls(KubeVersion, KubeVersion),
    #[error(
        "Kubernetes goes from {from} to {to}, which skips {major}.{next}; \
         set kube_version to a {major}.{next} release",
        major = from.major, next = u32::from(from.minor) + 1
    )]
    KubeSkips { from: KubeVersion, to: KubeVersion },
    #[error("which Kubernetes {0} sets up is not known; say it with --tree {0}=KUBERNETES")]
    KubeUnknown(Release),
}

impl Route {
    /// The releases, two at least.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Gives each release its own trees; trees off the route are passed over.
    ///
    /// # Errors
    ///
    /// Every release that two trees of different patch releases may be meant by.
    pub fn with_trees<'t>(&self, trees: &'t [Tree]) -> Result<Vec<Stop<'t>>, Vec<RouteError>> {
        let mut stops = vec![];
        let mut errors = vec![];
        for &release in &self.releases {
            let fitting: Vec<&Tree> =
                trees.iter().filter(|tree| release.takes(tree.release)).collect();
            let other = |one: &&Tree| fitting.iter().find(|tree| tree.release != one.release);
            match fitting.first().and_then(|one| Some((one, other(one)?))) {
                Some((one, other)) => errors.push(RouteError::TwoTrees {
                    release,
                    one: one.place.clone(),
                    other: other.place.clone(),
                }),
                None => stops.push(Stop { release, trees: fitting }),
            }
        }
        if errors.is_empty() { Ok(stops) } else { Err(errors) }
    }
}

/// The hops that break a rule, of Kubespray or of Kubernetes. Releases without a tree are held to
/// the rules of Kubespray alone.
pub fn breaks(stops: &[Stop<'_>]) -> Vec<Break> {
    let mut breaks = vec![];
    for (i, pair) in stops.windows(2).enumerate() {
        let [from, to] = pair else { continue };
        let (from_release, to_release) = (from.exact(), to.exact());
        let mut rules = Vec::from_iter(release_rule(from_release, to_release));
        rules.extend(kube_rules(from, to));
        breaks.extend(rules.into_iter().map(|rule| Break {
            hop: i + 1,
            from: from_release,
            to: to_release,
            rule,
        }));
    }
    breaks
}

impl Stop<'_> {
    /// The release of the trees, which has a patch number.
    pub fn exact(&self) -> Release {
        self.trees.first().map_or(self.release, |tree| tree.release)
    }
}

fn release_rule(from: Release, to: Release) -> Option<Rule> {
    if from.major != to.major {
        return Some(if to < from { Rule::Descending } else { Rule::Major });
    }
    if from.minor == to.minor {
        return match (from.patch, to.patch) {
            (Some(one), Some(other)) if one < other => None,
            (Some(one), Some(other)) if other < one => Some(Rule::Descending),
            _ => Some(Rule::Repeated),
        };
    }
    if to.minor < from.minor {
        return Some(Rule::Descending);
    }
    let skipped = from.minor.saturating_add(1)..to.minor;
    let release = |minor| Release { major: from.major, minor, patch: None };
    (!skipped.is_empty())
        .then(|| Rule::Skipped(skipped.take(SKIPPED_SHOWN_MAX).map(release).collect()))
}

/// Most releases that are named as skipped; a mistyped route may skip thousands.
const SKIPPED_SHOWN_MAX: usize = 8;

/// What each cluster does to its Kubernetes; one that has another inventory than before is compared
/// with all that were there.
fn kube_rules(from: &Stop<'_>, to: &Stop<'_>) -> Vec<Rule> {
    let mut rules = vec![];
    for new in &to.trees {
        let has_own = from.trees.iter().any(|old| old.cluster == new.cluster);
        for old in from.trees.iter().filter(|old| !has_own || old.cluster == new.cluster) {
            rules.extend(kube_rule(old, new).filter(|rule| !rules.contains(rule)));
        }
    }
    rules
}

fn kube_rule(from: &Tree, to: &Tree) -> Option<Rule> {
    let Some(old) = from.kube else { return Some(Rule::KubeUnknown(from.release)) };
    let Some(new) = to.kube else { return Some(Rule::KubeUnknown(to.release)) };
    if new < old {
        return Some(Rule::KubeFalls(old, new));
    }
    let is_one_step = old.major == new.major && new.minor <= old.minor.saturating_add(1);
    (!is_one_step).then_some(Rule::KubeSkips { from: old, to: new })
}

impl Release {
    /// Whether a tree of release `exact` is meant.
    pub fn takes(self, exact: Self) -> bool {
        (self.major, self.minor) == (exact.major, exact.minor)
            && (self.patch.is_none() || self.patch == exact.patch)
    }
}

impl FromStr for Route {
    type Err = RouteError;

    /// Reads releases with `→`, `->` or `,` between them.
    fn from_str(text: &str) -> Result<Self, RouteError> {
        if ROUTE_LEN_BYTES_MAX < text.len() {
            return Err(RouteError::TooLong);
        }
        let plain = text.replace("->", ",").replace('→', ",");
        let words: Vec<&str> = plain.split(',').map(str::trim).collect();
        // `2.29->2.30` without quotes arrives as `2.29-`.
        if words.len() < 2 || text.trim_end().ends_with('-') {
            return Err(RouteError::TooFewStops);
        }
        if ROUTE_STOPS_MAX < words.len() {
            return Err(RouteError::TooManyStops);
        }
        let releases = words.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { releases })
    }
}

impl FromStr for Release {
    type Err = VersionError;

    /// Reads `2.31`, `2.31.0` or the tag `v2.31.0`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        match numbers(text).as_deref() {
            Some(&[major, minor]) => Ok(Self { major, minor, patch: None }),
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch: Some(patch) }),
            _ => Err(VersionError(text.to_owned(), "Kubespray release such as 2.31 or v2.31.0")),
        }
    }
}

impl FromStr for KubeVersion {
    type Err = VersionError;

    /// Reads `1.35.4` or `v1.35.4`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        match numbers(text).as_deref() {
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(VersionError(text.to_owned(), "Kubernetes version such as 1.35.4")),
        }
    }
}

/// Up to three plain decimal numbers with dots between them, after an optional `v`.
fn numbers(text: &str) -> Option<Vec<u16>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let number = |word: &str| {
        let is_plain = (1..=5).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
        is_plain.then(|| word.parse().ok()).flatten()
    };
    text.splitn(4, '.').map(number).collect()
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        match patch {
            Some(patch) => write!(f, "{major}.{minor}.{patch}"),
            None => write!(f, "{major}.{minor}"),
        }
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, release) in self.releases.iter().enumerate() {
            write!(f, "{}{release}", if i == 0 { "" } else { " → " })?;
        }
        Ok(())
    }
}

/// Releases with commas between them.
struct Listed<'a>(&'a [Release]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, release) in self.0.iter().enumerate() {
            write!(f, "{}{release}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
