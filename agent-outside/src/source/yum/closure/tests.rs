use gapferry_proto::installed::List;

use super::{
    super::samples::{NO_ADVISORIES, NO_GROUPS, habits, universe, words},
    *,
};

fn order<'a>(asked: &'a [Asked]) -> Order<'a> {
    Order { asked, groups: &NO_GROUPS, advisories: &NO_ADVISORIES }
}

/// A line that names packages.
fn line(text: &str) -> Asked {
    Asked { label: "l".to_owned(), named: names(text), weak: true, ..Asked::default() }
}

fn closure_of(universe: &Universe, asked: Asked) -> Closure {
    close(universe, &habits(), &order(&[asked]), false)
}

fn names(text: &str) -> Vec<String> {
    text.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What is carried for `asked`, versions left out where they are `1-1`.
fn carried(packages: &[(&str, &str)], asked: &str) -> String {
    let universe = universe(packages);
    let closure = closure_of(&universe, line(asked));
    assert_eq!(closure.unmet, []);
    words(&universe, closure.carried.into_keys()).join(" ").replace("-1-1.x86_64", "")
}

#[test]
fn everything_is_carried_down_to_the_ground() {
    let packages = [
        ("socat-1-1.x86_64", "requires: libc.so.6, /bin/sh, rpmlib(X) <= 1, socat-libs = 1-1"),
        ("socat-libs-1-1.x86_64", ""),
        ("glibc-1-1.x86_64", "provides: libc.so.6\nrequires: basesystem"),
        ("basesystem-1-1.x86_64", "requires: setup, filesystem"),
        ("setup-1-1.x86_64", ""),
        ("filesystem-1-1.x86_64", "requires: setup"),
        ("bash-1-1.x86_64", "files: /bin/sh, /bin/bash\nrequires: libc.so.6"),
        ("zsh-1-1.x86_64", ""),
    ];
    assert_eq!(
        carried(&packages, "socat"),
        "basesystem bash filesystem glibc setup socat socat-libs"
    );
}

#[test]
fn the_highest_version_that_can_be_installed_is_taken() {
    let packages = [
        ("a-1-1.x86_64", ""),
        ("a-1:1-2.x86_64", "requires: b"),
        ("a-9-1.x86_64", ""),
        ("a-2:1-1.x86_64", "requires: missing"),
        ("b-1.0~rc1-1.x86_64", ""),
        ("b-1.0-1.x86_64", ""),
    ];
    assert_eq!(carried(&packages, "a"), "a-1:1-2.x86_64 b-1.0-1.x86_64");
}

#[test]
fn what_is_recommended_comes_along_where_it_can() {
    let packages = [
        ("a-1-1.x86_64", "recommends: b, (c if d), (e if b), gone"),
        ("b-1-1.x86_64", "requires: b-libs"),
        ("b-libs-1-1.x86_64", ""),
        ("c-1-1.x86_64", ""),
        ("d-1-1.x86_64", ""),
        ("e-1-1.x86_64", "requires: missing"),
        ("f-1-1.x86_64", "supplements: (a and b)"),
        ("g-1-1.x86_64", "supplements: (a and d)"),
    ];
    assert_eq!(carried(&packages, "a"), "a b b-libs f");
    assert_eq!(carried(&packages, "a, d"), "a b b-libs c d f g");
    let universe = universe(&packages);
    let closure = closure_of(&universe, Asked { weak: false, ..line("a") });
    assert_eq!(words(&universe, closure.carried.into_keys()), ["a-1-1.x86_64"]);
}

#[test]
fn the_provider_that_a_client_takes_is_taken() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: [Case<'_>; 6] = [
        (
            "one that is there",
            &[
                ("a-1-1.x86_64", "requires: mta, z"),
                ("p-1-1.x86_64", "provides: mta"),
                ("z-1-1.x86_64", "provides: mta"),
            ],
            "a z",
        ),
        (
            "one that something recommends",
            &[
                ("a-1-1.x86_64", "requires: mta\nrecommends: z"),
                ("p-1-1.x86_64", "provides: mta"),
                ("z-1-1.x86_64", "provides: mta"),
            ],
            "a z",
        ),
        (
            "one that something suggests",
            &[
                ("a-1-1.x86_64", "requires: langpack\nsuggests: z"),
                ("p-1-1.x86_64", "provides: langpack = 1"),
                ("z-1-1.x86_64", "provides: langpack = 1"),
            ],
            "a z",
        ),
        (
            "the higher version of the capability",
            &[
                ("a-1-1.x86_64", "requires: java"),
                ("j8-1-1.x86_64", "provides: java = 8"),
                ("j17-1-1.x86_64", "provides: java = 17"),
            ],
            "a j17",
        ),
        (
            "one that obsoletes the other",
            &[
                ("a-1-1.x86_64", "requires: cap"),
                ("old-1-1.x86_64", "provides: cap"),
                ("z-1-1.x86_64", "provides: cap\nobsoletes: old < 2"),
            ],
            "a z",
        ),
        (
            "one that does not conflict",
            &[
                ("a-1-1.x86_64", "requires: cap, b"),
                ("b-1-1.x86_64", "conflicts: p"),
                ("p-1-1.x86_64", "provides: cap = 9"),
                ("z-1-1.x86_64", "provides: cap = 1"),
            ],
            "a b z",
        ),
    ];
    for (what, packages, expected) in table {
        assert_eq!(carried(packages, "a"), expected, "{what}");
    }
}

#[test]
fn a_choice_is_taken_back_when_its_alternative_comes_anyway() {
    let packages = [
        ("a-1-1.x86_64", "requires: cap\nrecommends: b"),
        ("p-1-1.x86_64", "provides: cap = 2"),
        ("z-1-1.x86_64", "provides: cap = 1"),
        ("b-1-1.x86_64", "requires: z"),
    ];
    assert_eq!(carried(&packages, "a"), "a b z");
}

#[test]
fn conflicts_are_solved_and_not_counted_against_oneself() {
    let packages = [
        ("a-1-1.x86_64", "requires: x, y\nconflicts: a < 2"),
        ("x1-1-1.x86_64", "provides: x = 2\nconflicts: y1"),
        ("x2-1-1.x86_64", "provides: x = 1"),
        ("y1-1-1.x86_64", "provides: y = 2"),
    ];
    assert_eq!(carried(&packages, "a"), "a x2 y1");
}

#[test]
fn a_rich_requirement_is_met_as_it_says() {
    let packages = [
        ("a-1-1.x86_64", "requires: (b if c else d), ((e and f) or missing), (g unless c)"),
        ("b-1-1.x86_64", ""),
        ("c-1-1.x86_64", ""),
        ("d-1-1.x86_64", ""),
        ("e-1-1.x86_64", ""),
        ("f-1-1.x86_64", ""),
        ("g-1-1.x86_64", ""),
        ("h-1-1.x86_64", "requires: (cap with cap < 2), (a2 >= 1 if c)"),
        ("h1-1-1.x86_64", "provides: cap = 1"),
        ("h2-1-1.x86_64", "provides: cap = 2"),
    ];
    assert_eq!(carried(&packages, "a"), "a d e f g");
    assert_eq!(carried(&packages, "h"), "h h1");
}

#[test]
fn a_name_leads_to_what_replaces_it() {
    let packages = [
        ("docker-1-1.x86_64", ""),
        ("podman-docker-1-1.x86_64", "obsoletes: docker < 2"),
        ("b-1-1.x86_64", "requires: docker"),
    ];
    // The old one too: without its name in the repository a client would not find the new one.
    assert_eq!(carried(&packages, "docker"), "docker podman-docker");
    assert_eq!(carried(&packages, "b"), "b docker");
}

#[test]
fn entries_name_packages_in_the_ways_of_a_client() {
    let packages = [
        ("a-b-1.0-1.x86_64", "provides: cap = 3\nfiles: /usr/bin/a"),
        ("a-b-1:2.0-1.noarch", ""),
        ("a-c-1-1.x86_64", ""),
    ];
    let mut universe = universe(&packages);
    universe.names.intern("/usr/bin/a");
    universe.index();
    for (entry, expected) in [
        ("a-b", "a-b-1:2.0-1.noarch"),
        ("a-b.x86_64", "a-b-1.0-1.x86_64"),
        ("a-b-1.0", "a-b-1.0-1.x86_64"),
        ("a-b-1.0-1", "a-b-1.0-1.x86_64"),
        ("a-b-0:1.0-1.x86_64", "a-b-1.0-1.x86_64"),
        ("a-b-1:2.0-1", "a-b-1:2.0-1.noarch"),
        ("a-*", "a-b-1:2.0-1.noarch a-c-1-1.x86_64"),
        ("a-?", "a-b-1:2.0-1.noarch a-c-1-1.x86_64"),
        ("/usr/bin/a", "a-b-1.0-1.x86_64"),
        ("cap", "a-b-1.0-1.x86_64"),
        ("cap >= 3", "a-b-1.0-1.x86_64"),
        ("*", "a-b-1.0-1.x86_64 a-b-1:2.0-1.noarch a-c-1-1.x86_64"),
        ("cap > 3", ""),
        ("a-b-3", ""),
        ("a-b-2:2.0-1", ""),
        ("z", ""),
        ("@none", ""),
        ("", ""),
    ] {
        let named = vec![entry.to_owned()];
        let closure = closure_of(&universe, Asked { named, ..line("") });
        let found = words(&universe, closure.carried.into_keys()).join(" ");
        let obstacle = Obstacle::Unknown { entry: entry.to_owned() };
        let unknown: &[Unmet] = &[Unmet { line: 0, obstacle }];
        assert_eq!(found, expected, "{entry}");
        assert_eq!(closure.unmet, if expected.is_empty() { unknown } else { &[] }, "{entry}");
    }
}

#[test]
fn things_that_exclude_each_other_are_carried_side_by_side() {
    let packages = [
        ("a-1-1.x86_64", "conflicts: b\nrequires: c"),
        ("b-1-1.x86_64", "requires: c"),
        ("c-1-1.x86_64", ""),
    ];
    assert_eq!(carried(&packages, "a, b"), "a b c");
}

#[test]
fn what_cannot_be_met_is_said_with_its_reason() {
    let universe = universe(&[
        ("a-1-1.x86_64", "requires: b >= 2"),
        ("b-1-1.x86_64", ""),
        ("c-1-1.x86_64", "requires: d, e"),
        ("d-1-1.x86_64", "conflicts: e"),
        ("e-1-1.x86_64", ""),
        ("f-1-1.x86_64", "requires: (e and or)"),
        ("g-1-1.x86_64", "requires: a"),
    ]);
    let closure = closure_of(&universe, line("a, c, e, f, g"));
    assert_eq!(words(&universe, closure.carried.into_keys()), ["e-1-1.x86_64"]);
    let sentences: Vec<String> = closure.unmet.iter().map(ToString::to_string).collect();
    let missing = "a-1-1.x86_64 requires b >= 2, which no repository of its lines has";
    assert_eq!(
        sentences,
        [
            format!("a cannot be installed on an empty machine: {missing}"),
            "c cannot be installed on an empty machine: c-1-1.x86_64 requires d; \
             c-1-1.x86_64 requires e; d-1-1.x86_64 conflicts with e"
                .to_owned(),
            "f cannot be installed on an empty machine: f-1-1.x86_64 requires (e and or), \
             which is not understood: an operand or an operator is missing"
                .to_owned(),
            format!(
                "g cannot be installed on an empty machine: {missing}; g-1-1.x86_64 requires a"
            ),
        ]
    );
}

#[test]
fn every_package_tells_why_it_is_carried() {
    let universe = universe(&[
        ("a-1-1.x86_64", "requires: b\nrecommends: c"),
        ("b-1-1.x86_64", ""),
        ("c-1-1.x86_64", "requires: b"),
        ("d-1-1.x86_64", "supplements: c"),
    ]);
    let closure = closure_of(&universe, line("a, b"));
    let reasons: Vec<String> = closure
        .carried
        .iter()
        .map(|(id, why)| {
            let why: Vec<&str> = why.iter().map(String::as_str).collect();
            format!("{}: {}", universe.words(*id), why.join(", "))
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "a-1-1.x86_64: l: a",
            "b-1-1.x86_64: a requires it, c requires it, l: b",
            "c-1-1.x86_64: a recommends it",
            "d-1-1.x86_64: it supplements what is carried",
        ]
    );
}

#[test]
fn files_that_primary_does_not_list_are_asked_for() {
    let mut universe = universe(&[
        ("a-1-1.x86_64", "requires: /usr/share/b, (/usr/share/c if d), /usr/bin/e"),
        ("b-1-1.x86_64", ""),
        ("d-1-1.x86_64", ""),
        ("e-1-1.x86_64", "files: /usr/bin/e"),
    ]);
    let closure = close(&universe, &habits(), &order(&[line("a")]), true);
    let paths = BTreeSet::from(["/usr/share/b".to_owned(), "/usr/share/c".to_owned()]);
    assert_eq!(closure, Closure { paths, ..Closure::default() });
    universe.add_file(1, "/usr/share/b");
    universe.index();
    let closure = closure_of(&universe, line("a"));
    let expected = ["a-1-1.x86_64", "b-1-1.x86_64", "e-1-1.x86_64"];
    assert_eq!(words(&universe, closure.carried.into_keys()), expected);
}

#[test]
fn a_minimal_install_is_left_out_where_it_is_said_to_be_there() {
    let universe = universe(&[
        ("a-1-1.x86_64", "requires: b, glibc"),
        ("b-1-1.x86_64", "requires: glibc"),
        ("bash-1-1.x86_64", "requires: glibc, setup"),
        ("glibc-1-1.x86_64", ""),
        ("setup-1-1.x86_64", ""),
        ("vim-1-1.x86_64", ""),
    ]);
    let mut groups = Groups::default();
    let asked = [Asked { minimal: Minimal::Core, ..line("a, vim, setup") }];
    let carried = |groups: &Groups| {
        let order = Order { groups, ..order(&asked) };
        let closure = close(&universe, &habits(), &order, false);
        words(&universe, closure.carried.into_keys()).join(" ").replace("-1-1.x86_64", "")
    };
    assert_eq!(carried(&groups), "a b vim");
    groups.mandatory.insert("core".to_owned(), BTreeSet::from(["setup".to_owned()]));
    assert_eq!(carried(&groups), "a b glibc vim");
}

#[test]
fn groups_are_their_members_that_there_are() {
    let universe = universe(&[("a-1-1.x86_64", "requires: b"), ("b-1-1.x86_64", "")]);
    let members = BTreeSet::from(["a".to_owned(), "gone".to_owned()]);
    let groups = Groups { members: [("g".to_owned(), members)].into(), ..Groups::default() };
    let asked = [line("@g")];
    let closure = close(&universe, &habits(), &Order { groups: &groups, ..order(&asked) }, false);
    let expected = ["a-1-1.x86_64", "b-1-1.x86_64"];
    assert_eq!(words(&universe, closure.carried.into_keys()), expected);
    assert_eq!(closure.unmet, []);
}

#[test]
fn updates_are_what_is_newer_than_what_targets_have() {
    let universe = universe(&[
        ("a-1-1.x86_64", ""),
        ("a-2-1.x86_64", "requires: c"),
        ("b-1:1-1.x86_64", ""),
        ("b-1:1-2.x86_64", "requires: d = 1-1"),
        ("c-1-1.x86_64", ""),
        ("d-1-1.x86_64", ""),
        ("e-5-1.x86_64", ""),
    ]);
    // Two nodes, of which one has the newest `a`.
    let text = "a-1-1.x86_64\nb-1-1.x86_64\nd-1-1.x86_64\ngpg-pubkey-1-2.(none)\ne-6-1.x86_64\n\n\
                a-2-1.x86_64\nb-1:1-1.x86_64\n";
    let installed = installed_of(List::parse(text.as_bytes()).unwrap());
    assert_eq!(installed.len(), 4);
    let mut advisories = Advisories::default();
    let fix = ("2-1".to_owned(), "A-1".to_owned());
    advisories.fixes.insert(("a".to_owned(), "x86_64".to_owned()), [fix].into());
    let carried = |security, installed: Option<&[Installed]>| {
        let asked = [Asked { security, installed: installed.map(<[_]>::to_vec), ..line("") }];
        let order = Order { advisories: &advisories, ..order(&asked) };
        let closure = close(&universe, &habits(), &order, false);
        words(&universe, closure.carried.into_keys()).join(" ")
    };
    assert_eq!(carried(false, Some(&installed)), "a-2-1.x86_64 b-1:1-2.x86_64 c-1-1.x86_64");
    assert_eq!(carried(true, Some(&installed)), "a-2-1.x86_64 c-1-1.x86_64");
    assert_eq!(carried(true, None), "a-2-1.x86_64 c-1-1.x86_64");
}

#[test]
fn what_only_some_nodes_have_is_carried_for_the_others_and_is_still_updated() {
    let universe = universe(&[
        ("a-2-1.x86_64", "requires: b, c, d"),
        ("b-1-1.x86_64", ""),
        ("c-1-1.x86_64", ""),
        ("d-2-1.x86_64", ""),
    ]);
    let text =
        "a-1-1.x86_64\nb-0-0.x86_64\nb-1-1.x86_64\nc-1-1.x86_64\nd-0-0.x86_64\nd-2-1.x86_64\n";
    let installed = installed_of(List::parse(text.as_bytes()).unwrap());
    let told: Vec<_> = installed.iter().map(|one| (one.evr.as_str(), one.is_absent)).collect();
    assert_eq!(told, [("1-1", false), ("1-1", true), ("1-1", false), ("2-1", true)]);
    let asked = Asked { installed: Some(installed), ..line("") };
    let carried = closure_of(&universe, asked).carried.into_keys();
    assert_eq!(words(&universe, carried).join(" "), "a-2-1.x86_64 b-1-1.x86_64 d-2-1.x86_64");
}

#[test]
fn lines_that_say_different_things_of_their_targets_are_closed_in_turn() {
    let universe = universe(&[
        ("a-1-1.x86_64", "requires: bash\nrecommends: b"),
        ("b-1-1.x86_64", ""),
        ("bash-1-1.x86_64", "requires: glibc"),
        ("glibc-1-1.x86_64", ""),
        ("c-1-1.x86_64", "requires: cap"),
        ("p-1-1.x86_64", "provides: cap"),
        ("z-1-1.x86_64", "provides: cap = 2"),
        ("d-1-1.x86_64", "conflicts: z"),
    ]);
    let carried = |lines: &[Asked]| {
        let closure = close(&universe, &habits(), &order(lines), false);
        words(&universe, closure.carried.into_keys()).join(" ").replace("-1-1.x86_64", "")
    };
    let core = |text: &str| Asked { minimal: Minimal::Core, ..line(text) };
    let lean = |text: &str| Asked { weak: false, ..line(text) };
    assert_eq!(carried(&[core("a")]), "a b");
    assert_eq!(carried(&[lean("a"), core("b")]), "a b bash glibc");
    assert_eq!(carried(&[lean("a"), core("p")]), "a bash glibc p");
    // Alone c takes z; with d of another line it needs p.
    assert_eq!(carried(&[line("c"), line("d")]), "c d p z");
    assert_eq!(carried(&[line("c"), lean("d")]), "c d z");
}

#[test]
fn what_is_not_met_is_told_where_it_is_excused() {
    let universe = universe(&[
        ("a-1-1.x86_64", "requires: b >= 2, (c if d), (e or f), d, g"),
        ("a-0-1.x86_64", ""),
        ("b-1-1.x86_64", ""),
        ("d-1-1.x86_64", ""),
        ("g-1-1.x86_64", "requires: h"),
    ]);
    let lacks = |excused: Excused| {
        let habits = Habits { best: true, excused, ..habits() };
        let closure = close(&universe, &habits, &order(&[line("a")]), false);
        let words = |(id, relation): (Id, Relation)| {
            format!("{}: {}", universe.words(id), universe.relation_words(relation))
        };
        let mut lacks: Vec<String> = closure.lacks.into_iter().map(words).collect();
        lacks.sort();
        (lacks, closure.unmet.len())
    };
    let all = ["b >= 2", "(c if d)", "(e or f)", "h"];
    let expected = vec![
        "a-1-1.x86_64: (c if d)".to_owned(),
        "a-1-1.x86_64: (e or f)".to_owned(),
        "a-1-1.x86_64: b >= 2".to_owned(),
        "g-1-1.x86_64: h".to_owned(),
    ];
    assert_eq!(lacks(Excused::Unmeetable), (expected.clone(), 0));
    let these = |all: &[&str]| Excused::These(all.iter().map(|&text| text.to_owned()).collect());
    assert_eq!(lacks(these(&all)), (expected, 0));
    assert_eq!(lacks(these(&all[1..])).1, 1);
    assert_eq!(lacks(Excused::Nothing), (vec![], 1));
    let closure = closure_of(&universe, line("a"));
    assert_eq!(words(&universe, closure.carried.into_keys()), ["a-0-1.x86_64"]);
}
