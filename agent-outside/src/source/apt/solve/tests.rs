use super::*;
use crate::source::apt::packages::Universe;

/// A tiny index: paragraphs from `name version | field: value | …`.
fn index(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| {
            let mut parts = line.split(" | ");
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            let fields: String =
                parts.map(|field| format!("{}\n", field.replace('/', "|"))).collect();
            format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}\n")
        })
        .collect()
}

/// Solves for `names` and shows what is installed, or `root: asker: relation` of the dead end.
fn solved_with(lines: &[&str], names: &[&str], recommends: bool) -> Vec<String> {
    let text = index(lines);
    let universe = Universe::parse([(0, "Packages", text.as_str())], "amd64").unwrap();
    let offers = Offers::new(&universe, "amd64", recommends);
    let highest = |name: &&str| universe.highest(universe.named(name)).unwrap();
    let ids: Vec<Id> = names.iter().map(highest).collect();
    let roots: Vec<&[Id]> = ids.chunks(1).collect();
    let name = |id: Id| universe.packages[id].name.to_owned();
    match solve(&offers, &There::default(), &roots, &mut 1_000) {
        Outcome::Solved(set) => {
            let words = |id: &Id| {
                let package = &universe.packages[*id];
                format!("{} {}", package.name, package.version)
            };
            set.iter().map(words).collect()
        }
        Outcome::Stuck { root, asker, relation } => {
            vec![format!("{root}: {}: {relation}", asker.map(name).unwrap_or_default())]
        }
        Outcome::Unknown => vec!["?".to_owned()],
    }
}

fn solved(lines: &[&str], names: &[&str]) -> Vec<String> {
    solved_with(lines, names, false)
}

#[test]
fn an_alternative_that_conflicts_with_what_is_needed_elsewhere_gives_way() {
    let lines = ["a 1 | Depends: x / y, z", "x 1", "y 1", "z 1 | Conflicts: x"];
    assert_eq!(solved(&lines, &["a"]), ["a 1", "y 1", "z 1"]);
    let lines = ["a 1 | Depends: x / y, z", "x 1 | Breaks: z (<< 2)", "y 1", "z 1"];
    assert_eq!(solved(&lines, &["a"]), ["a 1", "y 1", "z 1"]);
    let lines = ["a 1 | Depends: x / y, z", "x 1 | Breaks: z (<< 1)", "y 1", "z 1"];
    assert_eq!(solved(&lines, &["a"]), ["a 1", "x 1", "z 1"]);
}

#[test]
fn the_choice_that_is_to_blame_is_revised_however_long_ago_it_was() {
    let lines = [
        "a 1 | Depends: m / n, p / q, r / s, b",
        "m 1",
        "n 1",
        "p 1",
        "q 1",
        "r 1",
        "s 1",
        "b 1 | Depends: c",
        "c 1 | Conflicts: m",
    ];
    assert_eq!(solved(&lines, &["a"]), ["a 1", "n 1", "p 1", "r 1", "b 1", "c 1"]);
}

#[test]
fn a_package_may_conflict_with_a_name_that_it_provides_itself() {
    let lines = [
        "a 1 | Depends: mta",
        "x 1 | Provides: mta | Conflicts: mta",
        "y 1 | Provides: mta | Conflicts: mta",
    ];
    assert_eq!(solved(&lines, &["a", "x"]), ["a 1", "x 1"]);
    assert_eq!(solved(&lines, &["x", "y"]), ["1: : "]);
}

#[test]
fn what_is_asked_for_is_taken_before_what_stands_first() {
    let lines = ["a 1 | Depends: x / y", "x 1", "y 1", "b 1 | Depends: y"];
    assert_eq!(solved(&lines, &["a", "y"]), ["a 1", "y 1"]);
    assert_eq!(solved(&lines, &["b", "a"]), ["a 1", "y 1", "b 1"]);
    assert_eq!(solved(&lines, &["a", "b"]), ["a 1", "x 1", "y 1", "b 1"]);
}

#[test]
fn of_providers_the_essential_then_the_one_of_higher_priority_is_taken() {
    let lines = [
        "a 1 | Depends: v",
        "x 1 | Priority: required | Provides: v",
        "y 1 | Priority: optional | Essential: yes | Provides: v",
        "z 1 | Priority: optional | Important: yes | Provides: v",
    ];
    assert_eq!(solved(&lines, &["a"]), ["a 1", "y 1"]);
    let rest = [lines[0], lines[1], lines[3]];
    assert_eq!(solved(&rest, &["a"]), ["a 1", "z 1"]);
}

#[test]
fn a_lower_version_is_taken_only_where_the_highest_does_not_do() {
    let lines = ["a 1 | Depends: b", "b 2 | Conflicts: c", "b 1", "c 1", "d 1 | Depends: b (<< 2)"];
    assert_eq!(solved(&lines, &["a"]), ["a 1", "b 2"]);
    assert_eq!(solved(&lines, &["a", "c"]), ["a 1", "b 1", "c 1"]);
    assert_eq!(solved(&lines, &["d", "a"]), ["a 1", "b 1", "d 1"]);
}

#[test]
fn what_is_recommended_comes_along_where_it_can() {
    let lines = [
        "a 1 | Recommends: x, none, y / z | Depends: b",
        "b 1 | Conflicts: x",
        "x 1",
        "y 1 | Depends: none",
        "z 1",
    ];
    assert_eq!(solved_with(&lines, &["a"], true), ["a 1", "b 1", "z 1"]);
    assert_eq!(solved(&lines, &["a"]), ["a 1", "b 1"]);
}

#[test]
fn something_recommended_gives_way_to_what_is_needed_later() {
    let lines = [
        "a 1 | Recommends: x",
        "b 1 | Depends: c",
        "c 1 | Conflicts: x",
        "x 1 | Depends: w",
        "w 1",
    ];
    assert_eq!(solved_with(&lines, &["a", "b"], true), ["a 1", "b 1", "c 1"]);
}

#[test]
fn a_dead_end_names_who_needs_what_and_one_root_that_has_a_part_in_it() {
    let lines = [
        "a 1 | Depends: x",
        "x 1",
        "b 1 | Depends: c",
        "c 1 | Conflicts: x",
        "d 1",
        "e 1 | Depends: n (>= 2) / m",
        "n 1",
    ];
    assert_eq!(solved(&lines, &["a", "d", "b"]), ["2: b: c"]);
    assert_eq!(solved(&lines, &["a", "e"]), ["1: e: n (>= 2) | m"]);
}

#[test]
fn a_search_ends_when_its_steps_are_used_up() {
    // Pigeons: seven that each need one of six holes, and no hole takes two.
    let mut lines: Vec<String> = Vec::new();
    for pigeon in 0..7 {
        let holes: Vec<String> = (0..6).map(|hole| format!("p{pigeon}h{hole}")).collect();
        lines.push(format!("p{pigeon} 1 | Depends: {}", holes.join(" / ")));
        for hole in holes {
            let place = &hole[2..];
            lines.push(format!("{hole} 1 | Provides: {place} | Conflicts: {place}"));
        }
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let names: Vec<String> = (0..7).map(|pigeon| format!("p{pigeon}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(solved(&lines, &names), ["?"]);
    assert_eq!(solved(&lines, &names[..6]).len(), 12);
}

#[test]
fn a_chain_of_dependencies_may_be_as_long_as_an_index() {
    let lines: Vec<String> =
        (0..30_000).map(|i| format!("a{i} 1 | Depends: a{}", (i + 1) % 30_000)).collect();
    let text = index(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let universe = Universe::parse([(0, "Packages", text.as_str())], "amd64").unwrap();
    let offers = Offers::new(&universe, "amd64", false);
    let Outcome::Solved(set) = solve(&offers, &There::default(), &[&[0]], &mut 30_000) else {
        panic!("it can be solved");
    };
    assert_eq!(set.len(), 30_000);
}
