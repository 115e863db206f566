//! How variables behave, shown on a small tree: precedence, text and values, what is refused.

use std::path::Path;
use std::sync::Arc;

use super::{Cluster, Inventory, Nodes, Tree, resolve};

/// One host `x` in all groups, with these group_vars/all.yml and `-e` arguments.
fn cluster(group_vars: &str, extra: &[&str]) -> Cluster {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kubespray/tree");
    let tree = Arc::new(Tree::open(&folder).unwrap());
    let mut beside = Tree::default();
    beside.add("group_vars/all.yml".to_owned(), group_vars.as_bytes()).unwrap();
    let ini = b"x\n[kube_control_plane]\nx\n[etcd]\nx\n[kube_node]\nx\n[more]\nw2 rack=1\n";
    let inventory = Inventory::parse("hosts.ini", ini, beside).unwrap();
    let nodes = Nodes::parse("nodes", b"- {os: ubuntu-24.04, arch: amd64}").unwrap();
    let extra: Vec<String> = extra.iter().map(|e| (*e).to_owned()).collect();
    Cluster::new(tree, inventory, &extra, Path::new("."), nodes).unwrap()
}

/// What a template prints on that host, with its type; or the problem.
fn show(group_vars: &str, expression: &str) -> String {
    let cluster = cluster(group_vars, &[]);
    let host = cluster.host("x").unwrap();
    match host.value(expression) {
        Ok(value) => value.to_string(),
        Err(problem) => problem.to_string(),
    }
}

/// The problems of a whole resolution.
fn problems(group_vars: &str) -> Vec<String> {
    let resolved = resolve(&cluster(group_vars, &[]));
    resolved.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn text_becomes_a_value_only_where_it_is_the_literal_of_one() {
    for (template, value) in [
        ("'{{ [1, \"a\"] }}'", "[1,\"a\"]"),
        ("'{{ 1 + 1 }}'", "\"2\""),
        ("'{{ 1 == 1 }}'", "true"),
        ("'{{ n }}'", "5"),
        ("'{{ n }}.'", "\"5.\""),
        ("'{{ nothing }}'", "null"),
        ("'{{ nothing }}-'", "\"-\""),
        ("'{{ \"[1, true]\" }}'", "[1,true]"),
        ("'[{{ n }}, x]'", "\"[5, x]\""),
        ("'{{ [1] | to_json }}'", "\"[1]\""),
        ("'{{ (1, 2) }}'", "\"(1, 2)\""),
        ("'yes{{ \"\" }}'", "\"yes\""),
        ("'{{ \"True\" }}'", "true"),
        ("'{{ \"true\" }}'", "\"true\""),
        ("!unsafe '{{ n }}'", "\"{{ n }}\""),
        (
            "\"{% for i in [1, 2] %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}\\n\"",
            "\"1,2\\n\"",
        ),
        ("'{{ \"a\" if false }}b'", "\"b\""),
        ("'{{ (\"x\" | regex_replace(\"^(.*)$\", \"<\\1>\")) }}'", "\"<x>\""),
    ] {
        let vars = format!("n: 5\nnothing:\nt: {template}\n");
        assert_eq!(show(&vars, "t"), value, "{template}");
    }
}

#[test]
fn filters_and_tests_of_ansible_do_what_they_do_there() {
    for (expression, value) in [
        ("{'a': 1} | combine({'b': 2}, {'a': 3})", "{\"a\":3,\"b\":2}"),
        ("{'a': {'x': 1}} | combine({'a': {'y': 2}}, recursive=True)", "{\"a\":{\"x\":1,\"y\":2}}"),
        ("[3, 1, 3] | unique | sort", "[1,3]"),
        ("[1, 2] | union([2, 3]) | difference([1])", "[2,3]"),
        ("[[1, [2]], 3] | flatten(levels=1)", "[1,[2],3]"),
        (
            "[{'n': 'a', 'v': 1}, {'n': 'b'}] | selectattr('v', 'defined') | map(attribute='n')",
            "[\"a\"]",
        ),
        ("['1.9', '1.10'] | select('version', '1.10', '>=') | list", "[\"1.10\"]"),
        ("'yes' | bool", "true"),
        ("'abc' | bool", "false"),
        ("('x' is defined) | ternary('p', 'q')", "\"p\""),
        ("missing.deep['er'] | default('d')", "\"d\""),
        ("missing.deep is defined", "false"),
        ("'' | default('e', true)", "\"e\""),
        (
            "'10.233.0.0/18' | ansible.utils.ipaddr('net') | ansible.utils.ipaddr(3) | ansible.utils.ipaddr('address')",
            "\"10.233.0.3\"",
        ),
        ("'fd00::1' | ansible.utils.ipwrap", "\"[fd00::1]\""),
        ("[{'key': 'k', 'value': 1}] | items2dict", "{\"k\":1}"),
        ("'a,b'.split(',')[-1]", "\"b\""),
        ("['w2'] | map('extract', hostvars, 'rack') | list", "[1]"),
        ("lookup('vars', 'no_' + 'where', default=7)", "7"),
        ("'v1.2' is match('v[0-9]')", "true"),
        ("[1, 2, 3][1:] + [4]", "[2,3,4]"),
        ("7 // 2 ~ '/' ~ -7 % 3", "\"3/2\""),
        ("group_names", "[\"etcd\",\"k8s_cluster\",\"kube_control_plane\",\"kube_node\"]"),
        ("'%s:%02d' % ('a', 7)", "\"a:07\""),
    ] {
        assert_eq!(show("{}", expression), value, "{expression}");
    }
}

#[test]
fn role_vars_outrank_the_inventory_and_extra_variables_outrank_all() {
    let vars = "kube_major_version: '9'\nkube_proxy_mode: nftables\n";
    let cluster =
        cluster(vars, &["{kubelet_checksums: {amd64: {9.9.9: z}}}", "etcd_version=3.6.11"]);
    let host = cluster.host("x").unwrap();
    let value = |name: &str| host.text(&format!("{{{{ {name} }}}}")).unwrap();
    let names = ["kube_version", "kube_major_version", "kube_proxy_mode", "etcd_version"];
    assert_eq!(names.map(value), ["9.9.9", "9.9", "nftables", "3.6.11"]);
    assert!(host.truth("'kube_node' in group_names and kube_proxy_mode is defined").unwrap());
    let packages = host.with_role("system_packages");
    assert!(packages.truth("pkgs.curl is defined").unwrap());
    assert!(!host.truth("pkgs is defined").unwrap());
}

#[test]
fn variables_in_a_circle_are_reported_with_the_chain() {
    assert_eq!(
        problems("files_url: '{{ a }}'\na: '{{ b }}'\nb: 'x{{ a }}'\n"),
        ["./group_vars/all.yml:2: a → b → a (host x): variables define each other in a circle"]
    );
}

#[test]
fn an_undefined_variable_is_reported_once_where_it_is_used() {
    assert_eq!(
        problems("files_url: '{{ mirror }}/files'\n"),
        ["./group_vars/all.yml:1: files_url (host x): 'mirror' is undefined"]
    );
}

#[test]
fn all_problems_of_one_run_are_collected() {
    let vars = "kube_version: 1.20.0\nfiles_url: \"{{ lookup('env', 'MIRROR') }}\"\nregistry_enabled: !vault |\n  $ANSIBLE_VAULT;1.1\n  61\nkube_image_repo: \"{{ 'x' | b32encode }}\"\n";
    let found = problems(vars).join("\n");
    for part in [
        "./group_vars/all.yml:2: files_url (host x) needs the environment variable MIRROR, which is only known where Ansible runs: give its value with -e files_url=…",
        "./group_vars/all.yml:3: registry_enabled is encrypted with ansible-vault: give its value with -e registry_enabled=…",
        "./group_vars/all.yml:6: kube_image_repo (host x): the filter b32encode is not supported",
        "etcd_version (host x): a mapping has no '1.20'",
    ] {
        assert!(found.contains(part), "{part} is not in\n{found}");
    }
}

#[test]
fn what_nobody_asks_for_is_no_problem() {
    let vars = "token: !vault |\n  $ANSIBLE_VAULT;1.1\n  61\nhome: \"{{ lookup('env', 'HOME') }}\"\nloop_a: '{{ loop_a }}'\n";
    assert_eq!(problems(vars), [""; 0]);
}

#[test]
fn a_host_whose_machine_is_not_told_is_left_out_with_one_problem() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kubespray/tree");
    let tree = Arc::new(Tree::open(&folder).unwrap());
    let ini = b"[kube_control_plane]\nx\n[etcd]\nx\n[kube_node]\nx\n[more]\nw2\n";
    let inventory = Inventory::parse("hosts.ini", ini, Tree::default()).unwrap();
    let nodes = Nodes::parse("nodes", b"{x: {os: debian-12, arch: amd64}}").unwrap();
    let resolved = resolve(&Cluster::new(tree, inventory, &[], Path::new("."), nodes).unwrap());
    let problems: Vec<String> = resolved.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["host w2: its OS and architecture are not told (nodes)"]);
    assert!(resolved.rows.iter().any(|row| row.name == "etcd" && row.hosts == ["x"]));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_line() {
    let found = problems("a: 1\nb: [\n");
    assert!(found.iter().any(|p| p.starts_with("./group_vars/all.yml:")), "{found:?}");
}

#[test]
fn templates_that_run_away_are_stopped() {
    let mut chain: String = (0..3000).map(|n| format!("v{n}: '{{{{ v{} }}}}'\n", n + 1)).collect();
    chain += "v3000: x\nfiles_url: '{{ v0 }}'\n";
    let mut laughs = "l0: [x, x]\n".to_owned();
    for n in 1..40 {
        laughs += &format!("l{n}: ['{{{{ l{p} }}}}', '{{{{ l{p} }}}}']\n", p = n - 1);
    }
    laughs += "files_url: '{{ l39 }}'\n";
    let mut aliases = "a0: &a0 [x, x]\n".to_owned();
    for n in 1..40 {
        aliases += &format!("a{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1);
    }
    aliases += "files_url: '{{ a39 }}'\n";
    let nested = format!("files_url: '{{{{ {}1{} }}}}'\n", "(".repeat(5000), ")".repeat(5000));
    for (vars, part) in [
        (chain.as_str(), "too deeply"),
        (&laughs, "too m"),
        (&aliases, "too many steps"),
        ("files_url: \"{{ 'a' * 100000000000 }}\"\n", "too many steps"),
        ("files_url: '{{ range(100000000000) | list }}'\n", "too many steps"),
        (
            "files_url: '{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}'\n",
            "too m",
        ),
        (&nested, "cannot be read"),
        ("files_url: \"{{ 9223372036854775807 + 1 }}\"\n", "cannot be computed"),
        ("files_url: \"{{ 1 / 0 }}\"\n", "cannot be computed"),
        ("files_url: \"{{ 'x' | regex_replace('(', '') }}\"\n", "not supported"),
    ] {
        let found = problems(vars).join("\n");
        assert!(found.contains(part), "{part} is not in\n{found}");
    }
}
