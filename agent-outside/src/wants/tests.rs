use gapferry_proto::{
    BlobId, BlobRef, Facts, Kind,
    artifact::{Evidence, FileFacts, ImageFacts, Method},
};

use super::*;
use crate::{
    expand::expand,
    source::http::{
        Network,
        upstream::{Upstream, client, ranged},
    },
    waybill::{ImageLine, Waybill, YumLine, file_path},
};

fn expanded(spec: &str) -> Expanded {
    let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n";
    let waybill = Waybill::parse(&format!("{head}{spec}")).unwrap();
    expand(&waybill, Utf8Path::new("/none"))
}

fn want(kind: Kind, name: &str, version: &str, target: &str) -> Want {
    Want::new(kind, name, Some(version), Some(target)).unwrap()
}

fn artifact(name: &str, content: &str, facts: Facts) -> Artifact {
    let id = BlobId::of(content.as_bytes());
    Artifact {
        name: name.to_owned(),
        facts,
        blobs: vec![BlobRef { id, len_bytes: content.len() as u64 }],
        origin: format!("https://{name}"),
        evidence: Evidence { method: Method::Transport, by: String::new(), digest: None },
        wanted: vec![],
    }
}

fn file(name: &str, content: &str) -> Artifact {
    artifact(name, content, Facts::File(FileFacts { path: name.parse().unwrap() }))
}

fn image(repository: &str) -> Artifact {
    let facts = ImageFacts {
        repository: repository.parse().unwrap(),
        tag: Some("1".to_owned()),
        root: BlobId::of(b"i"),
        manifests: vec![],
    };
    artifact(&format!("{repository}:1"), "i", Facts::Image(facts))
}

#[test]
fn an_image_is_asked_for_as_the_waybill_asks_for_its_like() {
    let spec = "  images:\n  - {ref: \"quay.io/a/b:1\", platforms: [linux/amd64], require: {cosignKey: k}}\n  \
                - {ref: \"plain.example:5000/c:1\", platforms: [linux/arm64], insecure: true}\n";
    let expanded = expanded(spec);
    let held = ["quay.io/a/b", "plain.example:5000/c", "docker.io/library/nginx"].map(image);
    let asked = |name: &str| lines::image(&want(Kind::Image, name, "", ""), &expanded, &held);
    let first = &expanded.images[0].1;
    let like = ImageLine { reference: "quay.io/a/b:2".to_owned(), ..first.clone() };
    assert_eq!(asked("quay.io/a/b:2"), Ok(like.clone()), "it needs the same signature");
    assert_eq!(asked("a/b:2"), Ok(like.clone()));
    assert_eq!(asked("admin.lan:5000/a/b:2"), Ok(like), "our own server's name says nothing");
    let both = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()];
    let other = ImageLine { platforms: both, ..ImageLine::of("quay.io/x:latest") };
    assert_eq!(asked("quay.io/x"), Ok(other.clone()));
    let plain = ImageLine {
        insecure: true,
        reference: "plain.example:5000/d:1".to_owned(),
        ..other.clone()
    };
    assert_eq!(asked("plain.example:5000/d:1"), Ok(plain));
    let redis = ImageLine { reference: "docker.io/library/redis:7".to_owned(), ..other };
    assert_eq!(asked("redis:7"), Ok(redis));
    let refused = asked("evil.example/x:1").unwrap_err();
    assert!(refused.contains("write `images: [{ref: \"evil.example/x:1\"}]`"), "{refused}");
}

#[test]
fn a_file_comes_only_from_a_host_that_the_waybill_names() {
    let held = [file("dl.k8s.io/v1/kubeadm", "1")];
    let asked = |name: &str| lines::file(&want(Kind::File, name, "", ""), &held, "l");
    let url = asked("dl.k8s.io/v2/kubeadm").unwrap().url;
    assert_eq!(url.as_str(), "https://dl.k8s.io/v2/kubeadm");
    let odd = asked("dl.k8s.io/v1+k 1/100%/a?b#c").unwrap().url;
    assert_eq!(odd.as_str(), "https://dl.k8s.io/v1%2Bk%201/100%25/a%3Fb%23c");
    assert_eq!(file_path(&odd).unwrap().as_str(), "dl.k8s.io/v1+k 1/100%/a?b#c");
    let refused = asked("169.254.169.254/latest").unwrap_err();
    assert!(refused.contains("no file of the waybill is from 169.254.169.254"), "{refused}");
}

#[test]
fn a_chart_is_asked_for_by_its_own_line_before_others_of_that_repository() {
    let expanded = expanded(
        "  charts:\n  - {repo: \"https://h.example/x\", name: other, images: true, values: [v.yaml]}\n  \
         - {repo: \"https://h.example/x\", name: app, version: 1.0.0, keyring: k}\n  - {repo: ./local}\n",
    );
    let asked = |name: &str| lines::charts(&want(Kind::Chart, name, "2.0.0", ""), &expanded);
    let lines = asked("h.example/x/app").unwrap();
    assert_eq!(lines[0].keyring, Some("k".into()));
    assert_eq!(
        (lines[0].version.as_deref(), lines[0].name.as_deref()),
        (Some("2.0.0"), Some("app"))
    );
    assert_eq!((lines.len(), lines[1].values.len()), (2, 0));
    assert_eq!(asked("app").unwrap(), lines);
    assert!(asked("elsewhere.example/app").unwrap_err().contains("write `charts:"));
}

#[test]
fn a_want_goes_to_the_repositories_of_its_target_each_once() {
    let expanded = expanded(
        "  apt:\n  - {suite: bookworm, architectures: [amd64], packages: [a]}\n  \
         - {suite: bookworm, architectures: [amd64], packages: [b], security: true}\n  \
         - {suite: trixie, architectures: [amd64], packages: [a], target: debian-13}\n",
    );
    let bare = lines::apt(&expanded);
    let targets: Vec<_> = bare.iter().filter_map(lines::apt_target).collect();
    assert_eq!(targets, ["bookworm", "debian-13"]);
    let socat = want(Kind::Deb, "socat", "", "debian-13");
    let is_for: Vec<bool> =
        bare.iter().map(|line| lines::is_for(&socat, lines::apt_target(line))).collect();
    assert_eq!(is_for, [false, true]);
}

#[test]
fn a_want_of_an_rpm_package_goes_once_to_all_repositories_of_its_nodes() {
    let place =
        |name: &str| format!("arch: x86_64, packages: [a], baseurl: 'https://m.example/{name}'");
    let spec = format!(
        "  yum:\n  - {{target: el9, {}}}\n  - {{target: el9, {}}}\n  - {{target: el8, {}}}\n  \
         - {{target: el9, {}, minimal: core}}\n",
        place("base"),
        place("stream"),
        place("old"),
        place("base")
    );
    let told: Vec<Vec<String>> = lines::yum_sets(&expanded(&spec))
        .iter()
        .map(|set| {
            let told = |line: &YumLine| format!("{} {:?}", line.baseurl[0], line.minimal);
            assert!(set.iter().all(|line| line.packages.is_empty() && line.from_all));
            set.iter().map(told).collect()
        })
        .collect();
    let [base, stream, old] =
        ["base", "stream", "old"].map(|name| format!("https://m.example/{name}"));
    let expected = [
        vec![format!("{base} None"), format!("{stream} None"), format!("{base} None")],
        vec![format!("{old} None")],
        vec![format!("{base} Core"), format!("{base} Core"), format!("{stream} Core")],
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_want_asks_for_no_updates_that_its_line_does_not_ask_for() {
    let spec = "  apt:\n  - {suite: s, architectures: [amd64], security: true, installed: f}\n  \
        - {suite: s, architectures: [amd64], security: true}\n";
    let asked: Vec<_> = lines::apt(&expanded(spec))
        .into_iter()
        .map(|line| (line.security, line.installed.is_some()))
        .collect();
    assert_eq!(asked, [(true, true), (false, false)]);
}

#[test]
fn versions_become_part_of_what_is_asked_for() {
    assert_eq!(lines::deb_entry(&want(Kind::Deb, "socat", "1:1.8-1", "")), "socat=1:1.8-1");
    assert_eq!(lines::deb_entry(&want(Kind::Deb, "socat", ">= 2", "")), "socat");
    assert_eq!(lines::rpm_entry(&want(Kind::Rpm, "socat", "1.7-1.el9", "")), "socat-1.7-1.el9");
    for (version, expected) in
        [("", "netaddr"), ("1.3", "netaddr==1.3"), (">=1,<2", "netaddr>=1,<2")]
    {
        assert_eq!(lines::requirement(&want(Kind::Pypi, "netaddr", version, "")), expected);
    }
}

#[test]
fn what_a_line_has_under_that_name_stays_the_lines() {
    let lines = [file("h.example/a", "line"), file("h.example/b", "same")];
    let found = vec![
        file("h.example/a", "want"),
        file("h.example/b", "same"),
        file("h.example/c", "1"),
        file("h.example/c", "2"),
    ];
    let expected = [file("h.example/b", "same"), file("h.example/c", "1")];
    assert_eq!(joined(&lines, found), expected);
}

#[tokio::test]
async fn a_file_that_only_a_plain_mirror_gives_is_left_with_the_line_to_write() {
    let upstream = Upstream::start(|seen| ranged(seen, b"abc")).await;
    let mirror = crate::source::http::Mirror {
        from: "https://dl.example/".parse().unwrap(),
        to: upstream.url.clone(),
    };
    let http = client(Network { mirrors: vec![mirror], ..Network::default() });
    let folder = tempfile::tempdir().unwrap();
    let root = camino::Utf8PathBuf::from_path_buf(folder.path().into()).unwrap();
    let store = Store::open(root.clone()).unwrap();
    let wanted = want(Kind::File, "dl.example/tool", "", "");
    let sites: BTreeSet<SiteName> = ["prod".parse().unwrap()].into();
    let wishes = Wishes { asked: [(wanted.clone(), sites)].into(), ..Wishes::default() };
    let held = [file("dl.example/other", "1")];
    let none = expanded("  files: []\n");
    let granted = grant(&http, &store, &wishes, &none, &root, &held).await.unwrap();
    assert_eq!(granted.artifacts, []);
    let reason = granted.outcomes[0].reason.clone().unwrap();
    let line = "write `files: [{url: \"https://dl.example/tool\", sha256: …}]`";
    assert!(reason.contains("does not come over TLS") && reason.ends_with(line), "{reason}");
    let line_brings_it = [file("dl.example/tool", "1")];
    let granted = grant(&http, &store, &wishes, &none, &root, &line_brings_it).await.unwrap();
    assert_eq!((granted.outcomes[0].by_line, &granted.outcomes[0].reason), (true, &None));
}
