//! Versions and constraints as Helm reads them.
//!
//! In:   texts of an index, a chart, a waybill line.
//! Out:  [`Version`] with its order; [`Constraint`], which a version meets or not.
//! Pure: text only. Helm reads both with `Masterminds/semver` 3.5, whose decisions these are:
//!       they differ from Cargo's in wildcards, in `0.x` ranges and in what asks for pre-releases.

use std::{cmp::Ordering, fmt, iter};

use super::bounds;

/// Why a text is no constraint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is no version and no constraint such as \"~1.2\" or \">=1.2 <2\"")]
pub struct ConstraintError {
    text: String,
}

/// A version, perhaps written with a `v` or with parts left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version(semver::Version);

impl Version {
    /// Reads `1.2.3`, `v1.2.3-rc.1+build`, `1.2`; none when it is no version.
    pub fn parse(text: &str) -> Option<Self> {
        if bounds::VERSION_LEN_BYTES_MAX < text.len() {
            return None;
        }
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = cut(text, '+');
        let (core, pre) = cut(text, '-');
        let mut numbers = [0; 3];
        let mut parts = core.split('.');
        for (i, number) in numbers.iter_mut().enumerate() {
            match parts.next() {
                Some(part) => *number = digits(part)?,
                None if 0 < i => break,
                None => return None,
            }
        }
        if parts.next().is_some() {
            return None;
        }
        let [major, minor, patch] = numbers;
        Some(Self(semver::Version {
            major,
            minor,
            patch,
            pre: given(pre, |pre| semver::Prerelease::new(pre).ok())?,
            build: given(build, |build| semver::BuildMetadata::new(build).ok())?,
        }))
    }

    /// Whether this is a pre-release.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// The order of versions; what stands behind `+` does not count.
    pub fn order(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What follows `-` or `+`: nothing when the sign is missing, refused when it is empty or wrong.
fn given<T: Default>(text: Option<&str>, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    match text {
        Some("") => None,
        Some(text) => read(text),
        None => Some(T::default()),
    }
}

/// Alternatives, of which a version must meet one: in each, all comparisons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constraint(Vec<Vec<Comparison>>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Comparison {
    operator: Operator,
    version: Version,
    open: Open,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// From which part on a version of a constraint is left open: `1.2` and `1.2.x` from the patch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    Nothing,
    Patch,
    Minor,
    Everything,
}

/// Longest first, so that `>=` is not read as `>`.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

impl Constraint {
    /// Reads a constraint; an empty one is met by every release.
    ///
    /// # Errors
    ///
    /// [`ConstraintError`].
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let wrong = || ConstraintError { text: text.chars().take(80).collect() };
        if bounds::CONSTRAINT_LEN_BYTES_MAX < text.len() {
            return Err(wrong());
        }
        if text.trim().is_empty() {
            return Self::parse("*");
        }
        let groups: Vec<&str> = text.split("||").collect();
        if bounds::CONSTRAINT_GROUPS_MAX < groups.len() {
            return Err(wrong());
        }
        let groups = groups.into_iter().map(|group| comparisons(group).ok_or_else(wrong));
        groups.collect::<Result<_, _>>().map(Self)
    }

    /// Whether `version` meets it. A pre-release meets only an alternative that names one.
    pub fn admits(&self, version: &Version) -> bool {
        self.0.iter().any(|group| {
            let asks_for_prereleases = group.iter().any(|one| one.version.is_prerelease());
            (asks_for_prereleases || !version.is_prerelease())
                && group.iter().all(|one| one.admits(version))
        })
    }
}

/// Reads one alternative: comparisons parted by blanks or commas, and ranges `1.2 - 1.4`.
fn comparisons(group: &str) -> Option<Vec<Comparison>> {
    let mut rest = group.trim();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (operator, after) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((Some(*operator), rest.strip_prefix(sign)?)))
            .unwrap_or((None, rest));
        let (word, after) = word(after.trim_start());
        let (version, open) = open_version(word)?;
        match (operator, range_end(after)) {
            (None, Some((end, after))) => {
                all.push(Comparison { operator: Operator::GreaterOrEqual, version, open });
                let (version, open) = open_version(end)?;
                all.push(Comparison { operator: Operator::LessOrEqual, version, open });
                rest = next(after)?;
            }
            _ => {
                let operator = operator.unwrap_or(Operator::Equal);
                all.push(Comparison { operator, version, open });
                rest = next(after)?;
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(text.len());
    text.split_at(end)
}

/// The upper end of a range, and what follows it, when `after` begins with ` - `.
fn range_end(after: &str) -> Option<(&str, &str)> {
    let dash = after.trim_start().strip_prefix('-')?;
    let blanks = after.starts_with(char::is_whitespace) && dash.starts_with(char::is_whitespace);
    blanks.then(|| word(dash.trim_start()))
}

/// What follows a comparison: after blanks, or after one comma.
fn next(after: &str) -> Option<&str> {
    let after = after.trim_start();
    match after.strip_prefix(',') {
        Some(rest) => Some(rest.trim_start()).filter(|rest| !rest.is_empty()),
        None => Some(after),
    }
}

/// A version of a constraint, in which `x`, `X`, `*` and parts left out are open.
fn open_version(word: &str) -> Option<(Version, Open)> {
    let text = word.strip_prefix('v').unwrap_or(word);
    let (text, _build) = cut(text, '+');
    let (core, pre) = cut(text, '-');
    let parts: Vec<&str> = core.split('.').collect();
    let is_open = |part: &str| matches!(part, "x" | "X" | "*");
    let known = parts.iter().take_while(|part| !is_open(part)).count();
    let wrong = |part: &&str| !is_open(part) && digits(part).is_none();
    if 3 < parts.len() || parts.iter().any(wrong) {
        return None;
    }
    let open = match known {
        0 => Open::Everything,
        1 => Open::Minor,
        2 => Open::Patch,
        _ => Open::Nothing,
    };
    let numbers = parts.iter().take(known).copied().chain(iter::repeat("0")).take(3);
    let numbers = numbers.collect::<Vec<_>>().join(".");
    let version = pre.map_or_else(|| numbers.clone(), |pre| format!("{numbers}-{pre}"));
    Some((Version::parse(&version)?, open))
}

impl Comparison {
    fn admits(&self, version: &Version) -> bool {
        let (it, own, order) = (&version.0, &self.version.0, version.order(&self.version));
        match self.operator {
            Operator::Equal if self.open == Open::Nothing => order.is_eq(),
            Operator::Equal | Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
            Operator::NotEqual => self.differs(version),
            Operator::Less => order.is_lt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Greater => match self.open {
                Open::Nothing => order.is_gt(),
                Open::Patch => {
                    own.major < it.major || own.major == it.major && own.minor < it.minor
                }
                Open::Minor => own.major < it.major,
                Open::Everything => own.major < it.major || order.is_gt(),
            },
            Operator::LessOrEqual => match self.open {
                Open::Nothing => order.is_le(),
                Open::Minor => it.major <= own.major,
                Open::Patch | Open::Everything => {
                    it.major < own.major || it.major == own.major && it.minor <= own.minor
                }
            },
        }
    }

    /// `~1.2.3` and `~1.2` stay below 1.3, `~1` below 2; `~0.0.0` and `~*` take everything.
    fn tilde(&self, version: &Version) -> bool {
        let (it, own) = (&version.0, &self.version.0);
        let is_zero = own.major == 0 && own.minor == 0 && own.patch == 0;
        if version.order(&self.version).is_lt() {
            return false;
        }
        is_zero && matches!(self.open, Open::Nothing | Open::Everything)
            || it.major == own.major && (it.minor == own.minor || self.open == Open::Minor)
    }

    /// `^1.2.3` stays below 2, `^0.2.3` below 0.3; `^0.0.3` is itself, and so is `^*`: 0.0.0.
    fn caret(&self, version: &Version) -> bool {
        let (it, own) = (&version.0, &self.version.0);
        if version.order(&self.version).is_lt() {
            return false;
        }
        if 0 < own.major || self.open == Open::Minor {
            return it.major == own.major;
        }
        let stays_at_patch = own.minor == 0 && self.open != Open::Patch;
        it.major == 0 && it.minor == own.minor && (!stays_at_patch || it.patch == own.patch)
    }

    fn differs(&self, version: &Version) -> bool {
        let (it, own) = (&version.0, &self.version.0);
        match self.open {
            Open::Nothing => version.order(&self.version).is_ne(),
            Open::Everything | Open::Minor if it.major != own.major => true,
            Open::Minor => false,
            Open::Everything => version.order(&self.version).is_ne(),
            Open::Patch => it.major != own.major || it.minor != own.minor || it.pre != own.pre,
        }
    }
}

#[cfg(test)]
mod tests;
