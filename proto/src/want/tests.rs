use super::*;
use crate::{
    BlobId, BlobRef,
    artifact::{
        ChartFacts, DebFacts, Evidence, FileFacts, ManifestRef, Method, PypiFacts, RpmFacts,
    },
};

fn want(kind: Kind, name: &str, version: &str, target: &str) -> Want {
    Want::new(kind, name, Some(version), Some(target)).unwrap()
}

fn artifact(facts: Facts) -> Artifact {
    Artifact {
        name: "x".to_owned(),
        facts,
        blobs: vec![BlobRef { id: BlobId::of(b"x"), len_bytes: 1 }],
        origin: String::new(),
        evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
        wanted: vec![],
    }
}

fn path(text: &str) -> SafePath {
    text.parse().unwrap()
}

fn held() -> Vec<Artifact> {
    let manifest = ManifestRef { id: BlobId::of(b"m"), media_type: String::new() };
    let facts = [
        Facts::File(FileFacts { path: path("dl.k8s.io/v1/kubeadm") }),
        Facts::Image(ImageFacts {
            repository: path("registry.k8s.io/pause"),
            tag: Some("3.10".to_owned()),
            root: BlobId::of(b"i"),
            manifests: vec![manifest],
        }),
        Facts::Deb(DebFacts {
            target: "debian-13".parse().unwrap(),
            suite: "trixie".to_owned(),
            component: "main".to_owned(),
            package: "socat".to_owned(),
            version: "1.8-1".to_owned(),
            architecture: "amd64".to_owned(),
            filename: path("pool/socat.deb"),
            paragraph: "Package: socat\nProvides: netpipe (= 1), relay".to_owned(),
        }),
        Facts::Rpm(RpmFacts {
            target: "9".parse().unwrap(),
            repository: "base".to_owned(),
            package: "tcpdump".to_owned(),
            epoch: "14".to_owned(),
            version: "4.99".to_owned(),
            release: "7.el9".to_owned(),
            architecture: "x86_64".to_owned(),
            source: String::new(),
            location: path("t.rpm"),
            modular: false,
            element: "<rpm:provides><rpm:entry name=\"tcpdump(x86-64)\" flags=\"EQ\"/>\
                      </rpm:provides><rpm:requires><rpm:entry name=\"libpcap\"/></rpm:requires>"
                .to_owned(),
        }),
        Facts::Pypi(PypiFacts {
            project: "netaddr".to_owned(),
            version: "1.3.0".to_owned(),
            filename: path("netaddr-1.3.0-py3-none-any.whl"),
            requires_python: None,
            yanked: None,
        }),
        Facts::Chart(ChartFacts {
            repository: path("helm.cilium.io"),
            chart: "cilium".to_owned(),
            version: "1.19.3".to_owned(),
            app_version: None,
            filename: path("cilium-1.19.3.tgz"),
            metadata: None,
        }),
    ];
    facts.into_iter().map(artifact).collect()
}

#[test]
fn names_have_one_form_and_what_names_nothing_is_refused() {
    let long = "a".repeat(limits::NAME_LEN_BYTES_MAX + 1);
    for (kind, name, expected) in [
        (Kind::File, "dl.k8s.io/v1/kubeadm", Some("dl.k8s.io/v1/kubeadm")),
        (Kind::File, "none", None),
        (Kind::File, "robots/txt", None),
        (Kind::File, "h.example/../x", None),
        (Kind::Image, "registry.k8s.io/pause:3.11", Some("registry.k8s.io/pause:3.11")),
        (Kind::Image, "localhost:5000/pause", Some("localhost:5000/pause:latest")),
        (Kind::Image, "docker://a.example/b:1", Some("a.example/b:1")),
        (Kind::Image, "a.example/b@sha256:1", None),
        (Kind::Image, "a b", None),
        (Kind::Deb, "libssl3:arm64", Some("libssl3:arm64")),
        (Kind::Deb, "soc*", None),
        (Kind::Deb, "-o", None),
        (Kind::Rpm, "perl(Foo::Bar)", Some("perl(Foo::Bar)")),
        (Kind::Rpm, "--installroot=/", None),
        (Kind::Rpm, "a b", None),
        (Kind::Rpm, "@core", None),
        (Kind::Rpm, "lib*", None),
        (Kind::Pypi, "Ruamel_.yaml", Some("ruamel-yaml")),
        (Kind::Pypi, "-r", None),
        (Kind::Pypi, &long, None),
        (Kind::Chart, "helm.cilium.io/cilium", Some("helm.cilium.io/cilium")),
        (Kind::Chart, "a/../b", None),
    ] {
        let made = Want::new(kind, name, None, None).map(|want| want.name);
        assert_eq!(made.ok().as_deref(), expected, "{kind} {name}");
    }
    let version = |text| Want::new(Kind::Deb, "socat", Some(text), None);
    assert_eq!(version(" ").unwrap().version, None);
    assert_eq!(version("a\nb"), Err(WantError::Version("a\nb".to_owned())));
    let target = Want::new(Kind::Deb, "socat", None, Some("a/b"));
    assert_eq!(target, Err(WantError::Target("a/b".to_owned())));
    assert_eq!(kind("rpm"), Ok(Kind::Rpm));
    assert_eq!(kind("list"), Err(WantError::Kind("list".to_owned())));
}

#[test]
fn a_want_is_met_by_what_is_held_under_that_name_in_that_version_for_that_target() {
    let held = held();
    let digest = BlobId::of(b"m");
    for (wanted, is_met) in [
        (want(Kind::File, "dl.k8s.io/v1/kubeadm", "", ""), true),
        (want(Kind::File, "dl.k8s.io/v2/kubeadm", "", ""), false),
        (want(Kind::Image, "registry.k8s.io/pause:3.10", "", ""), true),
        (want(Kind::Image, "pause:3.10", "", ""), true),
        (want(Kind::Image, "pause:3.11", "", ""), false),
        (want(Kind::Image, &format!("pause@{digest}"), "", ""), true),
        (want(Kind::Deb, "socat", "", ""), true),
        (want(Kind::Deb, "socat:amd64", "1.8-1", "debian-13"), true),
        (want(Kind::Deb, "socat", "1.8-2", ""), false),
        (want(Kind::Deb, "socat", "", "debian-12"), false),
        (want(Kind::Deb, "relay", "", ""), true),
        (want(Kind::Rpm, "tcpdump", "14:4.99-7.el9", "9"), true),
        (want(Kind::Rpm, "tcpdump-4.99-7.el9.x86_64", "", ""), true),
        (want(Kind::Rpm, "tcpdump", ">= 4.100", ""), false),
        (want(Kind::Rpm, "tcpdump(x86-64)", "", ""), true),
        (want(Kind::Rpm, "libpcap", "", ""), false),
        (want(Kind::Pypi, "NetAddr", "1.3", ""), true),
        (want(Kind::Pypi, "netaddr", ">=1.3,<2", ""), true),
        (want(Kind::Pypi, "netaddr", "~=1.4", ""), false),
        (want(Kind::Pypi, "netaddr", "==1.*", ""), true),
        (want(Kind::Pypi, "netaddr", "not understood", ""), false),
        (want(Kind::Chart, "cilium", "v1.19.3", ""), true),
        (want(Kind::Chart, "helm.cilium.io/cilium", "", ""), true),
        (want(Kind::Chart, "other.example/cilium", "", ""), false),
        (want(Kind::Chart, "cilium", "^1.19", ""), false),
    ] {
        assert_eq!(!met([&wanted], &held).is_empty(), is_met, "{wanted:?}");
    }
}
