use gapferry_proto::installed::List;

use super::*;

/// A tiny index: paragraphs from `name version | field: value | …`.
fn index(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| {
            let mut parts = line.split(" | ");
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            let fields: String = parts.map(|field| format!("{field}\n")).collect();
            format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}\n")
        })
        .collect()
}

/// Closes over a request and shows `package version: reasons`, then what is unmet. Packages of the
/// second index are from a security suite.
fn asked(lines: &[&str], security: &[&str], request: &Request) -> Vec<String> {
    let (text, secure) = (index(lines), index(security));
    let texts = [(0, "Packages", text.as_str()), (1, "security", secure.as_str())];
    let universe = Universe::parse(texts, "amd64").unwrap();
    let closure = close(&universe, "amd64", request, &|package| package.text == 1);
    let carried = closure.carried.iter().map(|(&id, reasons)| {
        let package = &universe.packages[id];
        let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
        format!("{} {}: {}", package.name, package.version, reasons.join(", "))
    });
    carried.chain(closure.unmet.iter().map(ToString::to_string)).collect()
}

fn request(named: &[&str]) -> Request {
    let named = named.iter().map(|entry| Named::parse(entry)).collect();
    Request { named, label: "line".to_owned(), ..Request::default() }
}

fn closed(lines: &[&str], named: &[&str]) -> Vec<String> {
    asked(lines, &[], &request(named))
}

fn installed(text: &str) -> Option<Installed> {
    Some(Installed::of(&List::parse(text.as_bytes()).unwrap()).unwrap())
}

#[test]
fn dependencies_are_followed_through_cycles_and_pre_depends() {
    let lines = [
        "a 1 | Depends: b (>= 1), a",
        "b 1 | Pre-Depends: c",
        "c 1 | Depends: a (= 1)",
        "d 1 | Recommends: a",
    ];
    assert_eq!(
        closed(&lines, &["a"]),
        ["a 1: c depends on it, line: a", "b 1: a depends on it", "c 1: b depends on it"]
    );
    assert_eq!(closed(&lines, &["d"]), ["d 1: line: d"]);
}

#[test]
fn a_closure_goes_down_to_what_every_system_has_unless_the_line_says_required() {
    let lines = [
        "base 1 | Essential: yes | Depends: libc (>= 2)",
        "login 1 | Priority: required | Depends: virtual",
        "libc 2",
        "pam 1 | Provides: virtual",
        "a 1 | Depends: libc (>= 1), base, virtual",
        "b 1 | Depends: libc (<< 2)",
        "libc 1",
    ];
    let required = |named: &[&str]| {
        asked(&lines, &[], &Request { minimal: Minimal::Required, ..request(named) })
    };
    let all = ["base 1: a depends on it", "libc 2: a depends on it, base depends on it"];
    assert_eq!(closed(&lines, &["a"])[..2], all);
    assert_eq!(required(&["a"]), ["a 1: line: a"]);
    assert_eq!(required(&["base"]), ["base 1: line: base"]);
    assert_eq!(required(&["libc"]), ["libc 2: line: libc"]);
    assert_eq!(required(&["b"]), ["b 1: line: b", "libc 1: b depends on it"]);
}

#[test]
fn of_alternatives_the_first_that_exists_wins() {
    let with_a = |depends: &str| {
        format!("Package: a\nVersion: 1\nArchitecture: amd64\nDepends: {depends}\n\n")
            + &index(&["x 1", "y 1"])
    };
    for (depends, named, expected) in [
        ("x | y", vec!["a"], vec!["a", "x"]),
        ("x | y", vec!["a", "y"], vec!["a", "x", "y"]), // a by itself would bring x
        ("none | y", vec!["a"], vec!["a", "y"]),
        ("x [!amd64] | y [amd64]", vec!["a"], vec!["a", "y"]),
        ("x [arm64]", vec!["a"], vec!["a"]),
    ] {
        let text = with_a(depends);
        let universe = Universe::parse([(0, "P", text.as_str())], "amd64").unwrap();
        let closure = close(&universe, "amd64", &request(&named), &|_| false);
        let names: Vec<_> = closure.carried.keys().map(|&id| universe.packages[id].name).collect();
        assert_eq!(names, expected, "{depends}");
        assert_eq!(closure.unmet, [], "{depends}");
    }
}

#[test]
fn the_highest_version_is_taken_and_versions_are_compared_as_debian_does() {
    let lines = ["a 1.9 | Depends: b (<< 2~)", "a 1.10", "a 1.10~rc1", "b 2", "b 1:0", "b 2~~a"];
    assert_eq!(closed(&lines, &["a"]), ["a 1.10: line: a"]);
    assert_eq!(closed(&lines, &["a=1.9"]), ["a 1.9: line: a=1.9", "b 2~~a: a depends on it"]);
    assert_eq!(
        closed(&lines, &["a=1.9", "b"]),
        ["a 1.9: line: a=1.9", "b 1:0: line: b", "b 2~~a: a depends on it"]
    );
}

#[test]
fn a_virtual_package_is_met_by_a_provider_of_the_right_version() {
    let lines = [
        "a 1 | Depends: mta",
        "b 1 | Depends: mta (>= 2)",
        "exim 1 | Priority: optional | Provides: mta",
        "postfix 1 | Priority: standard | Provides: mta (= 1)",
        "zmail 9 | Provides: x, mta (= 3)",
    ];
    assert_eq!(closed(&lines, &["a"]), ["a 1: line: a", "postfix 1: a depends on it"]);
    assert_eq!(closed(&lines, &["b"]), ["b 1: line: b", "zmail 9: b depends on it"]);
    assert_eq!(
        closed(&lines, &["a", "exim"]),
        ["a 1: line: a", "exim 1: a depends on it, line: exim", "postfix 1: a depends on it"]
    );
}

#[test]
fn any_architecture_asks_for_a_package_that_allows_it() {
    let lines =
        ["a 1 | Depends: py:any", "b 1 | Depends: sh:any", "py 1 | Multi-Arch: allowed", "sh 1"];
    assert_eq!(closed(&lines, &["a"]), ["a 1: line: a", "py 1: a depends on it"]);
    assert_eq!(
        closed(&lines, &["b"]),
        [
            "b 1: line: b",
            "b 1 amd64 depends on sh:any, which no suite of this line has; \
             add the suite or component that does"
        ]
    );
}

#[test]
fn what_cannot_be_met_names_the_package_the_relation_and_who_asks() {
    let lines = ["a 1 | Depends: b (>= 2), c", "b 1", "c 1 | Depends: (("];
    let unmet = closed(&lines, &["a", "z", "b=7"]);
    assert_eq!(
        unmet[..5],
        [
            "a 1: line: a",
            "c 1: a depends on it",
            "no suite of this line has b=7 for amd64; check the name and version",
            "no suite of this line has z for amd64; check the name and version",
            "a 1 amd64 depends on b (>= 2), which no suite of this line has; \
             add the suite or component that does",
        ]
    );
    assert!(unmet[5].starts_with("the Depends of c 1 amd64 is not understood"), "{}", unmet[5]);
}

#[test]
fn an_entry_may_name_its_architecture_and_version() {
    let named = |entry: &str, name: &str, architecture: Option<&str>, version: Option<&str>| {
        let expected = Named {
            entry: entry.to_owned(),
            name: name.to_owned(),
            architecture: architecture.map(str::to_owned),
            version: version.map(str::to_owned),
        };
        assert_eq!(Named::parse(entry), expected);
    };
    named("a", "a", None, None);
    named("a=1:2-3", "a", None, Some("1:2-3"));
    named("a:arm64", "a", Some("arm64"), None);
    named("a:arm64=1:2", "a", Some("arm64"), Some("1:2"));
    assert_eq!(closed(&["a 1"], &["a:arm64"]), Vec::<String>::new());
}

#[test]
fn packages_that_exclude_each_other_are_each_carried_with_what_they_need() {
    let lines = [
        "a 1 | Depends: x",
        "x 1 | Conflicts: y",
        "b 1 | Depends: y | Conflicts: a",
        "y 1",
        "c 1 | Depends: y",
    ];
    let expected = [
        "a 1: line: a",
        "x 1: a depends on it",
        "b 1: line: b",
        "y 1: b depends on it, c depends on it",
        "c 1: line: c",
    ];
    assert_eq!(closed(&lines, &["a", "b", "c"]), expected);
}

#[test]
fn a_package_that_cannot_be_installed_is_told_of_with_the_relation() {
    let lines = ["a 1 | Depends: x, y", "x 1 | Conflicts: y", "y 1", "b 1"];
    let expected = [
        "a 1: line: a",
        "x 1: a depends on it",
        "y 1: a depends on it",
        "b 1: line: b",
        "a 1 amd64 cannot be installed: a 1 amd64 depends on y, and all that meet it conflict \
         with other packages that it needs; leave it out or name another version",
    ];
    assert_eq!(closed(&lines, &["a", "b"]), expected);
}

#[test]
fn what_is_recommended_comes_along_when_the_line_says_so() {
    let lines = ["a 1 | Recommends: b, none", "b 1 | Depends: c", "c 1"];
    assert_eq!(closed(&lines, &["a"]), ["a 1: line: a"]);
    assert_eq!(
        asked(&lines, &[], &Request { recommends: true, ..request(&["a"]) }),
        ["a 1: line: a", "b 1: a recommends it", "c 1: b depends on it"]
    );
}

#[test]
fn a_star_is_the_highest_version_of_every_name() {
    let lines = ["a 1 | Depends: none", "a 2", "b 1", "b 1"];
    let whole = Request { all: true, ..request(&["a=1"]) };
    assert_eq!(
        asked(&lines, &["a 1.5"], &whole),
        [
            "a 1: line: a=1",
            "a 2: line: *",
            "b 1: line: *",
            "a 1 amd64 depends on none, which no suite of this line has; \
             add the suite or component that does",
        ]
    );
}

#[test]
fn security_alone_is_the_highest_version_of_what_its_suites_have() {
    let lines = ["a 3", "b 1", "c 1"];
    let security = ["a 1", "a 2 | Depends: none", "c 1"];
    let request = Request { security: true, ..request(&["b"]) };
    assert_eq!(
        asked(&lines, &security, &request),
        ["b 1: line: b", "a 2: line: security", "c 1: line: security"]
    );
}

#[test]
fn of_what_is_installed_newer_versions_are_carried_and_what_their_bounds_force() {
    let lines =
        ["a 2 | Depends: b (>= 2), c (>= 1), d, e", "b 2", "c 2", "d 1", "e 1", "f 1", "g 3"];
    let installed = installed("a 1\nb 1\nc 2\nd 1\nf 2\nzz 1\n");
    let newer = Request { installed, ..request(&["c", "g"]) };
    assert_eq!(
        asked(&lines, &[], &newer),
        [
            "a 2: line: newer than 1, which is installed",
            "b 2: a depends on it, line: newer than 1, which is installed",
            "e 1: a depends on it",
            "g 3: line: g",
        ]
    );
}

#[test]
fn what_only_some_nodes_have_is_carried_for_the_others_and_is_still_updated() {
    let lines = ["a 2 | Depends: b", "b 1", "c 1", "d 2 | Breaks: e (<< 2)", "e 2", "f 1"];
    let installed = installed("a 1\nb 0\nb 1\nc 0\nc 1\nd 1\ne 0\ne 1\nf 1\n");
    let newer = Request { installed, ..request(&["c", "f"]) };
    let expected = [
        "a 2: line: newer than 1, which is installed",
        "b 1: a depends on it",
        "c 1: line: c",
        "d 2: line: newer than 1, which is installed",
        "e 2: d breaks the one that is installed, line: newer than 1, which is installed",
    ];
    assert_eq!(asked(&lines, &[], &newer), expected);
}

#[test]
fn security_updates_bring_newer_packages_of_other_suites_only_where_they_must() {
    let lines = ["a 3", "b 2", "c 2", "d 2", "d 3 | Depends: c (>= 2)"];
    let security = ["a 2 | Depends: b (>= 2), c, v | Breaks: d (<< 2)", "e 1"];
    let request = Request {
        security: true,
        installed: installed("a 1\nb 1\nc 1\nd 1\nv 9\n"),
        ..request(&[])
    };
    assert_eq!(
        asked(&lines, &security, &request),
        [
            "b 2: a depends on it",
            "c 2: a depends on it, d depends on it",
            "d 3: a breaks the one that is installed",
            "a 2: line: newer than 1, which is installed",
        ]
    );
}
