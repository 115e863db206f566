//! `Depends`, `Conflicts` and their like, taken apart.
//!
//! In:   the value of a field, the architecture that it is read for.
//! Out:  groups of alternatives; what is for other architectures is left out.
//! Pure: borrows from the index, so that only what a closure touches is ever taken apart.
//!
//! Debian policy, section 7.1: `name[:qualifier] [(bound version)] [[architectures]] [<profiles>]`.

use std::{cmp::Ordering, fmt};

use debversion::Version;

/// One alternative of a relation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation<'a> {
    pub name: &'a str,
    /// `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    pub bound: Option<(Bound, Version)>,
    /// As written.
    words: &'a str,
}

/// Alternatives, any of which will do.
pub type Group<'a> = Vec<Relation<'a>>;

/// How a version has to stand to the one named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)
    }
}

impl Bound {
    /// Whether `version` stands so to `wanted`.
    pub fn holds(self, version: &Version, wanted: &Version) -> bool {
        let order = version.cmp(wanted);
        match self {
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Greater => order == Ordering::Greater,
        }
    }

    /// The bound that a text begins with, and the rest. `<` and `>` are the old forms of `<=` and
    /// `>=`.
    fn split(text: &str) -> Option<(Self, &str)> {
        [
            ("<<", Self::Less),
            ("<=", Self::LessOrEqual),
            (">=", Self::GreaterOrEqual),
            (">>", Self::Greater),
            ("=", Self::Equal),
            ("<", Self::LessOrEqual),
            (">", Self::GreaterOrEqual),
        ]
        .into_iter()
        .find_map(|(sign, bound)| Some((bound, text.strip_prefix(sign)?)))
    }
}

impl<'a> Relation<'a> {
    /// Whether a version meets the bound; one without a version meets none.
    pub fn admits(&self, version: Option<&Version>) -> bool {
        let Some((bound, wanted)) = &self.bound else { return true };
        version.is_some_and(|version| bound.holds(version, wanted))
    }

    /// Reads one alternative; none when it is for other architectures.
    fn parse(words: &'a str, architecture: &str) -> Result<Option<Self>, String> {
        let bad = || format!("{words:?}");
        let end = words.find(|c: char| c.is_whitespace() || "([<".contains(c));
        let (name, mut rest) = words.split_at(end.unwrap_or(words.len()));
        let (name, qualifier) = match name.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (name, None),
        };
        if name.is_empty() || name.contains([')', ']', '>']) || qualifier == Some("") {
            return Err(bad());
        }
        let mut relation = Self { name, qualifier, bound: None, words };
        let mut counts = true;
        loop {
            rest = rest.trim_start();
            if let Some(inner) = rest.strip_prefix('(') {
                let (inner, after) = inner.split_once(')').ok_or_else(bad)?;
                let (bound, version) = Bound::split(inner.trim()).ok_or_else(bad)?;
                let version = Version::parse_lenient(version.trim()).map_err(|_| bad())?;
                relation.bound = Some((bound, version));
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (inner, after) = inner.split_once(']').ok_or_else(bad)?;
                counts &= is_for(inner, architecture);
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('<') {
                rest = inner.split_once('>').ok_or_else(bad)?.1; // for builds alone
            } else if rest.is_empty() {
                return Ok(counts.then_some(relation));
            } else {
                return Err(bad());
            }
        }
    }
}

/// Takes the value of a field apart.
///
/// # Errors
///
/// What is not understood, as written.
pub fn parse<'a>(text: &'a str, architecture: &str) -> Result<Vec<Group<'a>>, String> {
    let mut groups = Vec::new();
    for words in text.split(',').map(str::trim).filter(|words| !words.is_empty()) {
        let mut group = Group::new();
        for alternative in words.split('|') {
            group.extend(Relation::parse(alternative.trim(), architecture)?);
        }
        if !group.is_empty() {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// Whether a list of architectures is for one (Debian policy, section 7.1).
fn is_for(list: &str, architecture: &str) -> bool {
    let names = |word: &str| word == architecture || word == "any" || word == "linux-any";
    if list.contains('!') {
        return !list.split_whitespace().filter_map(|word| word.strip_prefix('!')).any(names);
    }
    list.split_whitespace().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<Vec<String>>, String> {
        let show = |relation: &Relation<'_>| {
            let bound = relation.bound.as_ref().map(|(bound, v)| format!("{bound:?} {v}"));
            format!("{} {:?} {}", relation.name, relation.qualifier, bound.unwrap_or_default())
        };
        let groups = parse(text, "amd64")?;
        Ok(groups.iter().map(|group| group.iter().map(show).collect()).collect())
    }

    #[test]
    fn a_field_is_groups_of_alternatives_with_bounds_and_qualifiers() {
        let text =
            "libc6 (>= 2.36), python3:any | python2:any (<<3~),\n x(= 1:2-3) , y (< 2) <!a>,";
        let expected: [&[&str]; 4] = [
            &["libc6 None GreaterOrEqual 2.36"],
            &["python3 Some(\"any\") ", "python2 Some(\"any\") Less 3~"],
            &["x None Equal 1:2-3"],
            &["y None LessOrEqual 2"],
        ];
        assert_eq!(shown(text).unwrap(), expected);
        let first = &parse(text, "amd64").unwrap()[0][0];
        assert_eq!(first.to_string(), "libc6 (>= 2.36)");
    }

    #[test]
    fn what_is_for_other_architectures_is_left_out() {
        let text = "a [arm64], b [!amd64 !i386] | c [linux-any], d [any] [arm64], e [!arm64]";
        assert_eq!(shown(text).unwrap(), [["c None "], ["e None "]]);
    }

    #[test]
    fn what_is_no_relation_is_shown_as_written() {
        for bad in ["((", "a (>= )b", "a (1)", "a (>= 1", "a [", "a b", "a:", "(>= 1)", "a | "] {
            assert!(parse(bad, "amd64").is_err(), "{bad}");
        }
        assert_eq!(parse("x, a (~ 1)", "amd64").unwrap_err(), "\"a (~ 1)\"");
    }

    #[test]
    fn bounds_compare_as_debian_does() {
        let fits = |text: &str, version: &str| {
            let version = Version::parse_lenient(version).unwrap();
            parse(text, "amd64").unwrap()[0][0].admits(Some(&version))
        };
        for (text, version, expected) in [
            ("a (<< 2)", "2~rc1", true),
            ("a (<< 2)", "2", false),
            ("a (<= 2)", "2", true),
            ("a (= 2)", "2-0", true),
            ("a (>= 1:0)", "9", false),
            ("a (>> 1.9)", "1.10", true),
            ("a", "0", true),
        ] {
            assert_eq!(fits(text, version), expected, "{text} {version}");
        }
        assert!(!parse("a (>= 0)", "amd64").unwrap()[0][0].admits(None));
    }
}
