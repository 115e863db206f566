use super::*;

fn tree(release: &str, kube: &str) -> Tree {
    Tree {
        place: format!("./kubespray-{release}"),
        release: release.parse().unwrap(),
        cluster: "hosts.yaml".to_owned(),
        kube: kube.parse().ok(),
    }
}

fn route(text: &str) -> Route {
    text.parse().unwrap()
}

/// What breaks on the way when no tree is at hand.
fn bare(text: &str) -> Vec<Break> {
    breaks(&route(text).with_trees(&[]).unwrap())
}

/// What breaks on the way through trees of these releases, one a release.
fn found(trees: &[(&str, &str)]) -> Vec<String> {
    let text: Vec<_> = trees.iter().map(|(release, _)| *release).collect();
    let trees: Vec<_> = trees.iter().map(|(release, kube)| tree(release, kube)).collect();
    let route = route(&text.join(","));
    breaks(&route.with_trees(&trees).unwrap()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_route_is_written_with_arrows_or_commas() {
    let whole = [(2, 29, None), (2, 30, Some(0)), (2, 31, None)]
        .map(|(major, minor, patch)| Release { major, minor, patch });
    for text in [
        "2.29→2.30.0→2.31",
        "2.29->2.30.0->2.31",
        " 2.29, v2.30.0 ,2.31 ",
        "v2.29 -> v2.30.0 → 2.31",
    ] {
        assert_eq!(route(text).releases(), whole, "{text}");
    }
    assert_eq!(route("2.29->2.30").to_string(), "2.29 → 2.30");
}

#[test]
fn what_is_no_route_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "a route has two releases or more"),
        ("2.29", "a route has two releases or more"),
        ("2.29-", "a route has two releases or more"),
        ("2.29->2.30-", "a route has two releases or more"),
        ("2.29,", "the route cannot be read"),
        ("2.29,,2.30", "the route cannot be read"),
        ("2.29,2.30-rc1", "the route cannot be read"),
        ("2.29,2.30.0.1", "the route cannot be read"),
        ("2.29,2", "the route cannot be read"),
        ("2.29,2.70000", "the route cannot be read"),
        ("2.29,2.+30", "the route cannot be read"),
    ] {
        let error = text.parse::<Route>().unwrap_err().to_string();
        assert!(error.starts_with(reason), "{text}: {error}");
    }
}

#[test]
fn a_route_is_read_up_to_its_bounds_and_not_beyond() {
    let stops = |count: u16| (1..=count).map(|n| format!("2.{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(route(&stops(32)).releases().len(), ROUTE_STOPS_MAX);
    assert_eq!(stops(33).parse::<Route>(), Err(RouteError::TooManyStops));
    let padded = |len: usize| format!("{:len$}", "2.29,2.30");
    assert!(padded(ROUTE_LEN_BYTES_MAX).parse::<Route>().is_ok());
    assert_eq!(padded(ROUTE_LEN_BYTES_MAX + 1).parse::<Route>(), Err(RouteError::TooLong));
}

#[test]
fn a_skipped_repeated_or_descending_release_is_named_with_its_hop() {
    for (text, expected) in [
        ("2.29→2.30→2.31", vec![]),
        ("2.28.0→2.28.1→2.29.1", vec![]),
        (
            "2.29→2.31",
            vec![
                "2.29 → 2.31: skips 2.30; \
                  Kubespray upgrades one minor release at a time",
            ],
        ),
        (
            "2.28→2.31.0",
            vec![
                "2.28 → 2.31.0: skips 2.29, 2.30; \
                 Kubespray upgrades one minor release at a time",
            ],
        ),
        (
            "2.30→2.30",
            vec![
                "2.30 → 2.30: the route stays where it is; \
                 leave one out, or write patch releases",
            ],
        ),
        (
            "2.30→2.30.1",
            vec![
                "2.30 → 2.30.1: the route stays where it is; \
                 leave one out, or write patch releases",
            ],
        ),
        (
            "2.30.1→2.30.0",
            vec![
                "2.30.1 → 2.30.0: the route goes back, \
             which Kubespray does not",
            ],
        ),
        ("2.31→2.30", vec!["2.31 → 2.30: the route goes back, which Kubespray does not"]),
        ("3.0→2.31", vec!["3.0 → 2.31: the route goes back, which Kubespray does not"]),
        ("2.31→3.0", vec!["2.31 → 3.0: the major release changes, and no rule says how"]),
    ] {
        let found: Vec<_> = bare(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{text}");
    }
    let hops: Vec<_> = bare("2.29,2.30,2.29,2.31").iter().map(|b| b.hop).collect();
    assert_eq!(hops, [2, 3]);
    let far =
        Rule::Skipped((2..10).map(|minor| Release { major: 2, minor, patch: None }).collect());
    assert_eq!(bare("2.1,2.65535")[0].rule, far);
}

#[test]
fn kubernetes_rises_by_one_minor_release_a_hop_at_most() {
    for (trees, expected) in [
        (vec![("2.29.1", "1.33.7"), ("2.30.0", "1.34.3"), ("2.31.0", "1.35.4")], vec![]),
        (vec![("2.29.1", "1.33.7"), ("2.30.0", "1.33.7")], vec![]),
        (vec![("2.29.0", "1.33.5"), ("2.29.1", "1.33.7")], vec![]),
        (
            vec![("2.29.1", "1.32.9"), ("2.30.0", "1.34.3"), ("2.31.0", "1.34.3")],
            vec![
                "2.29.1 → 2.30.0: Kubernetes goes from 1.32.9 to 1.34.3, which skips 1.33; \
                 set kube_version to a 1.33 release",
            ],
        ),
        (
            vec![("2.30.0", "1.34.3"), ("2.31.0", "1.34.2")],
            vec![
                "2.30.0 → 2.31.0: Kubernetes goes from 1.34.3 back to 1.34.2; \
                 set kube_version to 1.34.3 or newer",
            ],
        ),
        (
            vec![("2.29.1", "1.32.9"), ("2.31.0", "1.35.4")],
            vec![
                "2.29.1 → 2.31.0: skips 2.30; \
                 Kubespray upgrades one minor release at a time",
                "2.29.1 → 2.31.0: Kubernetes goes from 1.32.9 to 1.35.4, which skips 1.33; \
                 set kube_version to a 1.33 release",
            ],
        ),
    ] {
        assert_eq!(found(&trees), expected, "{trees:?}");
    }
}

#[test]
fn a_kubernetes_that_cannot_be_told_is_named() {
    let unknown = found(&[("2.30.0", "devel"), ("2.31.0", "1.35.4")]);
    let expected = "2.30.0 → 2.31.0: which Kubernetes 2.30.0 sets up is not known; \
                    say it with --tree 2.30.0=KUBERNETES";
    assert_eq!(unknown, [expected]);
}

#[test]
fn each_cluster_is_held_to_the_rules_on_its_own() {
    let of = |cluster: &str, release, kube| {
        let cluster = cluster.to_owned();
        Tree { cluster, ..tree(release, kube) }
    };
    let trees = [
        of("a", "2.30.0", "1.33.7"),
        of("b", "2.30.0", "1.34.3"),
        of("a", "2.31.0", "1.34.3"),
        of("b", "2.31.0", "1.35.4"),
    ];
    let rules = |trees: &[Tree]| {
        let route = route("2.30→2.31");
        let found = breaks(&route.with_trees(trees).unwrap());
        found.into_iter().map(|one| one.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules(&trees), []);
    let mut moved = trees;
    moved[3].cluster = "c".to_owned();
    let [from, to] = ["1.33.7", "1.35.4"].map(|kube| kube.parse().unwrap());
    assert_eq!(rules(&moved), [Rule::KubeSkips { from, to }]);
}

#[test]
fn each_release_has_its_own_trees_and_may_go_without() {
    let trees = [tree("2.31.0", "1.35.4"), tree("2.30.0", "1.34.3"), tree("2.27.0", "1.31.4")];
    let whole = route("2.29→2.30→2.31");
    let stops = whole.with_trees(&trees).unwrap();
    let [first, second, third] = [0, 1, 2].map(|n| whole.releases()[n]);
    let expected = [
        Stop { release: first, trees: vec![] },
        Stop { release: second, trees: vec![&trees[1]] },
        Stop { release: third, trees: vec![&trees[0]] },
    ];
    assert_eq!(stops, expected);
    assert_eq!(breaks(&stops), []);
}

#[test]
fn a_release_that_two_trees_may_be_meant_by_is_told() {
    let trees = [tree("2.29.0", "1.33.5"), tree("2.29.1", "1.33.7"), tree("2.27.0", "1.31.4")];
    let errors = route("2.28→2.29→2.30").with_trees(&trees).unwrap_err();
    let release = Release { major: 2, minor: 29, patch: None };
    let [one, other] = [0, 1].map(|n: usize| trees[n].place.clone());
    assert_eq!(errors, [RouteError::TwoTrees { release, one, other }]);
    let same = [trees[0].clone(), trees[0].clone()];
    assert!(route("2.28→2.29").with_trees(&same).is_ok());
    let exact = route("2.28.1→2.29.0→2.29.1").with_trees(&trees[..2]).unwrap();
    assert_eq!(exact.iter().map(|stop| stop.trees.len()).collect::<Vec<_>>(), [0, 1, 1]);
}
