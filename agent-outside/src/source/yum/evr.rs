//! Versions of rpm packages, and whether a version is within what a relation asks for.
//!
//! In:   texts `[epoch:]version[-release]`.
//! Out:  their order, and whether two ranges have a version in common.
//! Pure.
//!
//! The order is rpm's own (rpmvercmp: `~` sorts before the end, `^` after it).

use std::cmp::Ordering;

use rpm_version::Evr;

/// How a relation bounds a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Op {
    /// Any version.
    #[default]
    Any,
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
}

impl Op {
    /// Reads the attribute `flags` of an entry; an unknown word bounds nothing, as in libsolv.
    pub fn from_flags(flags: &str) -> Self {
        match flags {
            "LT" => Self::Less,
            "LE" => Self::LessEqual,
            "EQ" => Self::Equal,
            "GE" => Self::GreaterEqual,
            "GT" => Self::Greater,
            _ => Self::Any,
        }
    }

    /// Reads `<`, `<=`, `=`, `>=` or `>`.
    pub fn from_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "<" => Self::Less,
            "<=" | "=<" => Self::LessEqual,
            "=" | "==" => Self::Equal,
            ">=" | "=>" => Self::GreaterEqual,
            ">" => Self::Greater,
            _ => return None,
        })
    }

    /// The sign of this bound.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Equal => "=",
            Self::GreaterEqual => ">=",
            Self::Greater => ">",
        }
    }

    const fn takes(self, order: Ordering) -> bool {
        match self {
            Self::Any => true,
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::GreaterEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }
}

/// Joins the three parts as this module reads them; an epoch of zero is left out.
pub fn join(epoch: &str, version: &str, release: &str) -> String {
    let mut text = String::with_capacity(epoch.len() + version.len() + release.len() + 2);
    if !matches!(epoch, "" | "0") {
        text.push_str(epoch);
        text.push(':');
    }
    text.push_str(version);
    if !release.is_empty() {
        text.push('-');
        text.push_str(release);
    }
    text
}

/// Takes a text apart into epoch (`0` when there is none), version and release.
pub fn split(evr: &str) -> (&str, &str, &str) {
    let (epoch, rest) = match evr.split_once(':') {
        Some((epoch, rest)) if !epoch.is_empty() => (epoch, rest),
        Some((_, rest)) => ("0", rest),
        None => ("0", evr),
    };
    let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, version, release)
}

/// A version as [`join`] writes it.
pub fn plain(evr: &str) -> String {
    let (epoch, version, release) = split(evr);
    join(epoch, version, release)
}

/// The order of two versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let ((ae, av, ar), (be, bv, br)) = (split(a), split(b));
    Evr::new(ae, av, ar).cmp(&Evr::new(be, bv, br))
}

/// The order of two versions as relations see it: the release counts where both have one.
pub fn compare_loosely(a: &str, b: &str) -> Ordering {
    let ((ae, av, mut ar), (be, bv, mut br)) = (split(a), split(b));
    if ar.is_empty() || br.is_empty() {
        (ar, br) = ("", "");
    }
    Evr::new(ae, av, ar).cmp(&Evr::new(be, bv, br))
}

/// Whether some version is within both ranges (rpm's `rpmdsCompare`).
pub fn overlap(a: (Op, &str), b: (Op, &str)) -> bool {
    if a.0 == Op::Any || b.0 == Op::Any {
        return true;
    }
    let order = compare_loosely(a.1, b.1);
    match order {
        // At one point: both must take it, or both reach away from it to the same side.
        Ordering::Equal => {
            let (low, high) = (
                |op| matches!(op, Op::Less | Op::LessEqual),
                |op| matches!(op, Op::Greater | Op::GreaterEqual),
            );
            (a.0.takes(order) && b.0.takes(order))
                || (low(a.0) && low(b.0))
                || (high(a.0) && high(b.0))
        }
        order => reaches(a.0, order) || reaches(b.0, order.reverse()),
    }
}

/// Whether a range reaches from its own point to one on the other side: `order` is that of its
/// own point to the other.
fn reaches(op: Op, order: Ordering) -> bool {
    match op {
        Op::Less | Op::LessEqual => order.is_gt(),
        Op::Greater | Op::GreaterEqual => order.is_lt(),
        Op::Any => true,
        Op::Equal => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_rpm_sorts_them() {
        for (a, order, b) in [
            ("1.0", "=", "1.0"),
            ("1.0", "<", "2.0"),
            ("2.0.1", ">", "2.0"),
            ("2.0.1a", ">", "2.0.1"),
            ("5.5p1", "<", "5.5p10"),
            ("10xyz", "<", "10.1xyz"),
            ("xyz10", "<", "xyz10.1"),
            ("xyz.4", "<", "8"),
            ("1.0010", ">", "1.9"),
            ("1.05", "=", "1.5"),
            ("2_0", "=", "2.0"),
            ("a+", "=", "a_"),
            ("1.0~rc1", "<", "1.0"),
            ("1.0~rc1~git123", "<", "1.0~rc1"),
            ("1.0^", ">", "1.0"),
            ("1.0^git1", "<", "1.01"),
            ("1.0^20160101^git1", ">", "1.0^20160101"),
            ("1.0~rc1^git1", ">", "1.0~rc1"),
            ("1.0^git1~pre", "<", "1.0^git1"),
            ("1:1", ">", "2"),
            ("0:1-1", "=", "1-1"),
            ("1-2", "<", "1-10"),
            ("1-1.el9", "<", "1-1.el9_1.2"),
            ("", "<", "1"),
            ("00000000000000000000000000000001", "=", "1"),
            ("99999999999999999999999999", ">", "9999999999"),
        ] {
            let sign = match compare(a, b) {
                Ordering::Less => "<",
                Ordering::Equal => "=",
                Ordering::Greater => ">",
            };
            assert_eq!(sign, order, "{a} {b}");
            assert_eq!(compare(a, b), compare(b, a).reverse(), "{a} {b}");
        }
    }

    #[test]
    fn ranges_overlap_where_a_version_is_in_both() {
        for (a, b, expected) in [
            ("= 1-1", "= 1", true),
            ("= 1-1", "= 1-2", false),
            ("= 1-1", ">= 1-1", true),
            ("= 1-1", "> 1", false),
            ("= 1-1", ">= 1-2", false),
            ("= 2", ">= 1-2", true),
            ("= 1:1", ">= 2", true),
            ("< 2", "> 3", false),
            ("< 3", "> 2", true),
            ("> 3", "> 2", true),
            ("< 2", "< 3", true),
            ("<= 2", ">= 2", true),
            ("< 2", ">= 2", false),
            ("< 2", "<= 2", true),
            ("> 2", "= 2", false),
            ("", "= 2", true),
        ] {
            let read = |text: &'static str| match text.split_once(' ') {
                Some((sign, evr)) => (Op::from_sign(sign).unwrap(), evr),
                None => (Op::Any, ""),
            };
            assert_eq!(overlap(read(a), read(b)), expected, "{a} and {b}");
            assert_eq!(overlap(read(b), read(a)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn a_version_comes_apart_and_together_again() {
        for (text, parts) in [
            ("1:2-3", ("1", "2", "3")),
            ("2-3", ("0", "2", "3")),
            ("2", ("0", "2", "")),
            (":2-3", ("0", "2", "3")),
            ("", ("0", "", "")),
        ] {
            assert_eq!(split(text), parts);
        }
        assert_eq!(join("0", "2", "3"), "2-3");
        assert_eq!(join("1", "2", ""), "1:2");
    }
}
