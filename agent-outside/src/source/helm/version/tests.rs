use super::*;

/// What `Masterminds/semver` 3.5.0 admits: the versions, then a constraint a line with those of
/// them that meet it, or `!` where it is refused.
const TABLE: &str = include_str!("masterminds.tsv");

#[test]
fn constraints_admit_what_helm_admits() {
    let mut lines = TABLE.lines();
    let versions: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let mut wrong = Vec::new();
    for line in lines.filter(|line| !line.starts_with('\t')) {
        let (text, expected) = line.split_once('\t').unwrap();
        let actual = match Constraint::parse(text) {
            Ok(constraint) => {
                let admits = |v: &&&str| constraint.admits(&Version::parse(v).unwrap());
                versions.iter().filter(admits).copied().collect::<Vec<_>>().join(" ")
            }
            Err(_) => "!".to_owned(),
        };
        if actual != expected {
            wrong.push(format!("{text:?}: {actual:?}, and Helm {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_empty_constraint_is_met_by_every_release() {
    let any = Constraint::parse(" ").unwrap();
    assert!(any.admits(&Version::parse("12.0").unwrap()));
    assert!(!any.admits(&Version::parse("12.0-rc.1").unwrap()));
}

#[test]
fn versions_are_read_as_helm_reads_them() {
    for (text, expected) in [
        ("1.2.3", Some("1.2.3")),
        ("v1.2.3", Some("1.2.3")),
        ("1.2", Some("1.2.0")),
        ("v1", Some("1.0.0")),
        ("01.2.3", Some("1.2.3")),
        ("1.2.3-rc.1+b.2", Some("1.2.3-rc.1+b.2")),
        ("1.2.3--", Some("1.2.3--")),
        ("1-rc", Some("1.0.0-rc")),
        ("", None),
        ("1.2.3+", None),
        ("1.2.3-", None),
        ("1.2.3-rc.01", None),
        ("1.2.3.4", None),
        ("1.a", None),
        ("V1.2.3", None),
        ("1..2", None),
        ("1.2.3-a..b", None),
        ("1.2.3+a_b", None),
        ("99999999999999999999.1.1", None),
        ("vv1", None),
    ] {
        assert_eq!(Version::parse(text).map(|v| v.to_string()).as_deref(), expected, "{text}");
    }
    assert_eq!(Version::parse(&format!("1.2.{}", "3".repeat(300))), None);
}

#[test]
fn the_build_does_not_count_in_the_order_and_a_prerelease_stands_below() {
    let order = |a: &str, b: &str| Version::parse(a).unwrap().order(&Version::parse(b).unwrap());
    assert_eq!(order("1.2.3+a", "v1.2.3+b"), Ordering::Equal);
    assert_eq!(order("1.2.3-rc.2", "1.2.3-rc.10"), Ordering::Less);
    assert_eq!(order("1.2.3-rc.2", "1.2.3"), Ordering::Less);
}

#[test]
fn constraints_without_end_are_refused() {
    for text in [" ".repeat(513), "1||".repeat(40), "1 ".repeat(300), "\u{0}".to_owned()] {
        assert!(Constraint::parse(&text).is_err(), "{text:.20?}");
    }
}
