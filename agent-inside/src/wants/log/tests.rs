//! Each line was said by the real client, but for those of zypper, which this kind of machine has
//! not, and what stands after an ellipsis.

use super::*;

/// Kind, name, version and target as one line each.
fn words(text: &str) -> Vec<String> {
    let line = |told: Told| format!("{} {}: {}", told.want.kind, told.want.words(), told.client);
    super::told(text).into_iter().map(line).collect()
}

#[test]
fn apt_says_what_its_lists_lack() {
    for (line, expected) in [
        ("E: Unable to locate package nosuchpackage", "deb nosuchpackage: apt"),
        ("E: Unable to locate package libc6:arm64", "deb libc6:arm64: apt"),
        ("E: Version '9.9' for 'socat' was not found", "deb socat 9.9: apt"),
        ("E: Package 'ebtables' has no installation candidate", "deb ebtables: apt"),
        (" socat : Depends: libwrap0 (>= 7.6) but it is not installable", "deb libwrap0: apt"),
        (
            "E: Failed to fetch http://admin:8080/apt/debian-13/pool/main/s/socat/socat_1%3a1.8-1_amd64.deb  404  Not Found [IP: 10.0.0.1 8080]",
            "deb socat 1:1.8-1 for debian-13: http",
        ),
    ] {
        assert_eq!(words(line), [expected], "{line}");
    }
    assert_eq!(words("E: Unable to locate package soc*"), [""; 0]);
    assert_eq!(words(" a : Depends: b (>= 2) but 1 is to be installed"), [""; 0]);
}

#[test]
fn dnf_and_zypper_say_which_argument_matches_nothing() {
    let log = "No match for argument: \u{1b}[1mnosuch\u{1b}[0m\nNo match for argument: other\n\
               Error: Unable to find a match: nosuch other\n";
    assert_eq!(words(log), ["rpm nosuch: dnf", "rpm other: dnf"]);
    for (line, expected) in [
        (
            "  - nothing provides libfoo.so.1()(64bit) needed by bar-1.0-1.x86_64 from site",
            "rpm libfoo.so.1()(64bit): dnf",
        ),
        ("  - nothing provides libfoo >= 2.0 needed by bar-1.0-1.x86_64", "rpm libfoo >= 2.0: dnf"),
        (
            "Problem: nothing provides 'libfoo >= 2' needed by the to be installed bar-1.x86_64",
            "rpm libfoo >= 2: dnf",
        ),
        ("No provider of 'tcpdump' found.", "rpm tcpdump: zypper"),
        ("No provider of 'tcpdump >= 4.99' found.", "rpm tcpdump >= 4.99: zypper"),
        ("Package 'tcpdump' not found.", "rpm tcpdump: zypper"),
        ("'tcpdump' not found in package names. Trying capabilities.", "rpm tcpdump: zypper"),
        (
            "[MIRROR] bar-1.0-1.el9.x86_64.rpm: Status code: 404 for http://admin:8080/yum/9/base/bar-1.0-1.el9.x86_64.rpm (IP: 10.0.0.1)",
            "rpm bar-1.0-1.el9.x86_64 for 9: http",
        ),
    ] {
        assert_eq!(words(line), [expected], "{line}");
    }
}

#[test]
fn helm_says_which_chart_an_index_lacks() {
    for (line, expected) in [
        (
            "Error: chart \"nosuch\" matching  not found in site index. (try 'helm repo update'): no chart name found",
            "chart nosuch: helm",
        ),
        (
            "Error: INSTALLATION FAILED: chart \"app\" matching 9.9.9 not found in site index. (try 'helm repo update'): no chart version found for app-9.9.9",
            "chart app 9.9.9: helm",
        ),
        (
            "Error: chart \"cilium\" version \"1.2.3\" not found in http://admin:8080/helm/helm.cilium.io repository",
            "chart helm.cilium.io/cilium 1.2.3: helm",
        ),
        (
            "Error: chart \"cilium\" not found in https://helm.cilium.io/ repository",
            "chart helm.cilium.io/cilium: helm",
        ),
        ("Error: failed to download \"site/app\" at version \"2.0\"", "chart app 2.0: helm"),
        (
            "Error: failed to fetch http://admin:8080/helm/h-1.example/x/cert-manager-v1.2-1.0.0.tgz : 404 Not Found",
            "chart h-1.example/x/cert-manager-v1.2 1.0.0: http",
        ),
    ] {
        assert_eq!(words(line), [expected], "{line}");
    }
}

#[test]
fn the_runtime_of_a_node_says_which_image_is_not_there() {
    for (line, expected) in [
        (
            "ctr: failed to resolve reference \"quay.io/a/b:1\": quay.io/a/b:1: not found",
            "image quay.io/a/b:1: containerd",
        ),
        (
            "  Warning  Failed  Failed to pull image \"registry.k8s.io/pause:3.99\": rpc error: code = NotFound desc = failed to pull and unpack image \"registry.k8s.io/pause:3.99\": failed to resolve reference \"registry.k8s.io/pause:3.99\": registry.k8s.io/pause:3.99: not found",
            "image registry.k8s.io/pause:3.99: containerd",
        ),
        (
            "E1124 log.go:32] \"PullImage from image service failed\" err=\"rpc error: code = NotFound desc = failed to pull and unpack image \\\"admin:5000/quay.io/a/b:1\\\": not found\" image=\"x\"",
            "image quay.io/a/b:1: containerd",
        ),
        (
            "level=fatal msg=\"Error parsing image name \\\"docker://h.example/a/b:1\\\": reading manifest 1 in h.example/a/b: name unknown: Unknown name\"",
            "image h.example/a/b:1: containerd",
        ),
        (
            "Error: GET http://admin:8080/v2/a/b/manifests/1?ns=quay.io: MANIFEST_UNKNOWN: Unknown",
            "image quay.io/a/b:1: http",
        ),
    ] {
        assert_eq!(words(line), [expected], "{line}");
    }
    let unreachable = "ctr: failed to resolve reference \"quay.io/a:1\": failed to do request: \
                       dial tcp 10.0.0.1:443: connect: connection refused";
    assert_eq!(words(unreachable), [""; 0], "it may well be there");
}

#[test]
fn pip_and_uv_say_which_requirement_no_index_meets() {
    let log = "ERROR: Could not find a version that satisfies the requirement nosuchproject==1.0 \
               (from versions: none)\n\
               ERROR: No matching distribution found for nosuchproject==1.0\n";
    assert_eq!(words(log), ["pypi nosuchproject 1.0: pip"]);
    for (line, expected) in [
        (
            "ERROR: Could not find a version that satisfies the requirement Beta[x]>=3,<4 (from alpha) (from versions: 1.0)",
            "pypi beta >=3,<4: pip",
        ),
        (
            "  cause: Because nosuch was not found in the package registry and you require nosuch, we can conclude that your requirements are unsatisfiable.",
            "pypi nosuch: uv",
        ),
        (
            "  cause: Because there is no version of alpha==9.9 and you require alpha==9.9, we can conclude that your requirements are unsatisfiable.",
            "pypi alpha 9.9: uv",
        ),
        (
            "  cause: Because only alpha<=1.0 is available and you require alpha>=2, we can conclude that your requirements are unsatisfiable.",
            "pypi alpha >=2: uv",
        ),
    ] {
        assert_eq!(words(line), [expected], "{line}");
    }
}

#[test]
fn a_failed_task_of_ansible_names_the_node() {
    for (line, expected) in [
        (
            r#"fatal: [node1]: FAILED! => {"changed": false, "msg": "No package matching 'nosuchpackage' is available"}"#,
            "deb nosuchpackage: node1",
        ),
        (
            r#"fatal: [node1]: FAILED! => {"cache_updated": false, "msg": "no available installation candidate for socat=9.9"}"#,
            "deb socat 9.9: node1",
        ),
        (
            r#"failed: [node2] (item=x) => {"ansible_loop_var": "item", "failures": ["No package nosuch available."], "msg": "Failed to install some of the specified packages"}"#,
            "rpm nosuch: node2",
        ),
        (
            r#"fatal: [node1 -> admin]: FAILED! => {"dest": "/tmp/x", "msg": "Request failed", "response": "HTTP Error 404: File not found", "status_code": 404, "url": "http://admin:8080/files/dl.k8s.io/x"}"#,
            "file dl.k8s.io/x: node1",
        ),
        (
            r#"fatal: [node1]: FAILED! => {"msg": "Status code was 404 and not [200]: HTTP Error 404: File not found", "status": 404, "url": "https://dl.k8s.io/x"}"#,
            "file dl.k8s.io/x: node1",
        ),
        (
            r#"fatal: [node1]: FAILED! => {"msg": "Failure downloading http://admin:8080/files/dl.k8s.io/x.tgz, HTTP Error 404: File not found"}"#,
            "file dl.k8s.io/x.tgz: node1",
        ),
        (
            r#"fatal: [node1]: FAILED! => {"msg": "All items completed", "results": [{"stderr": "time=\"x\" level=fatal\nctr: failed to resolve reference \"quay.io/a/b:1\": not found"}]}"#,
            "image quay.io/a/b:1: node1",
        ),
    ] {
        assert_eq!(words(line), [expected], "{line}");
    }
    let refused = r#"fatal: [node1]: FAILED! => {"msg": "Request failed: <urlopen error [Errno 111] Connection refused>", "status_code": -1, "url": "https://dl.k8s.io/x"}"#;
    assert_eq!(words(refused), [""; 0]);
}

#[test]
fn a_log_is_bounded_and_whatever_stands_in_it_is_passed_over() {
    let long = "x".repeat(usize::try_from(limits::LOG_LINE_LEN_BYTES_MAX).unwrap());
    let log = format!("{long}E: Unable to locate package hidden\nE: Unable to locate package seen");
    let read = super::read(log.as_bytes()).unwrap();
    assert_eq!(read.iter().map(|told| told.want.name.as_str()).collect::<Vec<_>>(), ["seen"]);
    let noise =
        b"\xff\xfe\0 E: Unable to locate package \n=> {\nfatal: [x]: FAILED! => {\"msg\": 1}\n\
        nothing provides  needed by \nhttp://u:p@h.example/x 404 Not Found\nhttp:// : 404";
    assert_eq!(super::read(noise.as_slice()).unwrap(), []);
    let many: String = (0..=limits::WANTS_MAX)
        .map(|number| format!("E: Unable to locate package p{number}\n"))
        .collect();
    assert_eq!(super::told(&many).len(), limits::WANTS_MAX);
}
