//! The test `version`: orders versions as Ansible does.

use std::cmp::Ordering;

use super::super::value::Val;
use super::eval::Args;
use super::{Halt, fault};

/// Whether `value is version(other, operator)`.
pub(super) fn test(value: &Val, args: &Args) -> Result<bool, Halt> {
    let other = args.need(0, "version")?.text();
    let operator = args.text(1, "operator").unwrap_or_else(|| "eq".into());
    let strict = args.text(3, "version_type").unwrap_or_else(|| "loose".into());
    let value = value.text();
    if other.is_empty() || value.is_empty() {
        return fault("the test version compares with an empty text");
    }
    let order = if matches!(strict.as_str(), "semver" | "semantic") {
        semantic(&value, &other)
    } else {
        loose(&value, &other)
    };
    let Some(order) = order else {
        return fault(format!("the versions {value} and {other} cannot be compared"));
    };
    Ok(match operator.as_str() {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        other => return fault(format!("the test version knows no operator {other}")),
    })
}

#[derive(Debug, PartialEq)]
enum Part {
    Number(u64),
    Word(String),
}

/// Python's `LooseVersion`: runs of digits are numbers, runs of small letters are words.
fn parts(version: &str) -> Option<Vec<Part>> {
    let mut out = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| match first {
            '0'..='9' => c.is_ascii_digit(),
            'a'..='z' => c.is_ascii_lowercase(),
            '.' => false,
            _ => !c.is_ascii_digit() && !c.is_ascii_lowercase() && c != '.',
        };
        let end =
            rest.char_indices().skip(1).find(|(_, c)| !same(*c)).map_or(rest.len(), |(at, _)| at);
        let (run, more) = rest.split_at(end);
        match first {
            '0'..='9' => out.push(Part::Number(run.parse().ok()?)),
            '.' => {}
            _ => out.push(Part::Word(run.to_owned())),
        }
        rest = more;
    }
    Some(out)
}

fn loose(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parts(a)?, parts(b)?);
    for (x, y) in a.iter().zip(&b) {
        let order = match (x, y) {
            (Part::Number(x), Part::Number(y)) => x.cmp(y),
            (Part::Word(x), Part::Word(y)) => x.cmp(y),
            _ => return None,
        };
        if order.is_ne() {
            return Some(order);
        }
    }
    Some(a.len().cmp(&b.len()))
}

/// Semantic versions: a pre-release comes before its release.
fn semantic(a: &str, b: &str) -> Option<Ordering> {
    fn split(version: &str) -> (&str, Option<&str>) {
        let version = version.split('+').next().unwrap_or(version);
        version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)))
    }
    let ((a, a_pre), (b, b_pre)) = (split(a), split(b));
    Some(loose(a, b)?.then(match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(x), Some(y)) => loose(x, y)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_then_by_length() {
        assert_eq!(loose("1.10.0", "1.9"), Some(Ordering::Greater));
        assert_eq!(loose("3.5.26", "3.6"), Some(Ordering::Less));
        assert_eq!(loose("1.7", "1.7.0"), Some(Ordering::Less));
        assert_eq!(loose("1.34.0-rc.1", "1.34.0"), Some(Ordering::Greater));
        assert_eq!(semantic("1.34.0-rc.1", "1.34.0"), Some(Ordering::Less));
        assert_eq!(loose("v1", "1"), None);
    }
}
