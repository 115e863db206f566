use gapferry_proto::Digest;

use super::{
    super::{closure::Obstacle, repomd::Document, samples},
    *,
};
use crate::source::unpack::Packing;

fn document(name: &str, text: &str) -> (Document, Vec<u8>) {
    let bytes = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let document = Document {
        location: format!("repodata/{name}.zst").parse().unwrap(),
        checksum: Checksum::Sha256(Digest::of(&bytes)),
        packing: Packing::Zstd,
        len_bytes: Some(bytes.len() as u64),
        plain_len_bytes_max: text.len() as u64,
    };
    (document, bytes)
}

fn repository(id: &str, documents: &[(&str, &str)]) -> Repository {
    let line: crate::waybill::YumLine = serde_saphyr::from_str(&format!(
        "{{baseurl: \"https://m.example/{id}\", packages: [a], arch: x86_64}}"
    ))
    .unwrap();
    let mut source = settings::named_source(&line, "/w".into()).unwrap().unwrap();
    source.id = id.to_owned();
    let root: Url = format!("https://m.example/{id}/").parse().unwrap();
    let mut repository = Repository {
        source,
        vouched: Vouched::Tls(root.clone()),
        root,
        repomd: Repomd::default(),
        documents: BTreeMap::new(),
        keys: vec![],
    };
    for (kind, text) in documents {
        let (document, bytes) = document(kind, text);
        repository.repomd.documents.insert((*kind).to_owned(), document);
        repository.documents.insert((*kind).to_owned(), bytes);
    }
    repository
}

fn wish(named: &[&str]) -> Wish {
    wish_of(&[named])
}

/// The wish of lines, each of which has the repository of its own number.
fn wish_of(lines: &[&[&str]]) -> Wish {
    let asked = |(number, named): (usize, &&[&str])| Asked {
        label: if number == 0 { "l".to_owned() } else { format!("l{number}") },
        named: named.iter().map(|&n| n.to_owned()).collect(),
        from: (lines.len() != 1).then(|| BTreeSet::from([number])),
        weak: true,
        ..Asked::default()
    };
    let asked = lines.iter().enumerate().map(asked).collect();
    Wish { target: "el9".parse().unwrap(), arch: "x86_64".to_owned(), asked }
}

fn picked(wish: &Wish, repositories: &[Repository]) -> Picked {
    match pick(wish, repositories).unwrap() {
        Outcome::Picked(picked) => picked,
        Outcome::Files(lacking) => panic!("{lacking:?}"),
    }
}

fn names(picked: &Picked) -> Vec<&str> {
    picked.packages.iter().map(|p| p.name.as_str()).collect()
}

#[test]
fn a_package_is_recorded_with_its_place_its_bytes_and_its_element() {
    let primary = samples::primary(&[
        ("b-1-1.noarch", ""),
        ("a+b-1:2.0~rc1-3.el9.x86_64", "requires: b"),
        ("c-1-1.aarch64", ""),
    ]);
    let updateinfo = "<updates/>";
    let repository = repository("base", &[("primary", &primary), ("updateinfo", updateinfo)]);
    let picked = picked(&wish(&["a+b"]), std::slice::from_ref(&repository));
    let expected = Rpm {
        name: "el9/a+b-1:2.0~rc1-3.el9.x86_64".to_owned(),
        facts: RpmFacts {
            target: "el9".parse().unwrap(),
            repository: "base".to_owned(),
            package: "a+b".to_owned(),
            epoch: "1".to_owned(),
            version: "2.0~rc1".to_owned(),
            release: "3.el9".to_owned(),
            architecture: "x86_64".to_owned(),
            source: "a+b.src.rpm".to_owned(),
            location: "Packages/a+b-2.0~rc1-3.el9.x86_64.rpm".parse().unwrap(),
            modular: false,
            element: samples::element("a+b-1:2.0~rc1-3.el9.x86_64", "requires: b")
                .trim()
                .to_owned(),
        },
        checksum: Checksum::Sha256(Digest::of(b"a+b-1:2.0~rc1-3.el9.x86_64")),
        len_bytes: 10,
        url: "https://m.example/base/Packages/a+b-2.0~rc1-3.el9.x86_64.rpm".parse().unwrap(),
        repository: 0,
        wanted: vec!["l: a+b".to_owned()],
        files: vec![],
    };
    assert_eq!(picked.packages[0], expected);
    assert_eq!(names(&picked), ["el9/a+b-1:2.0~rc1-3.el9.x86_64", "el9/b-1-1.noarch"]);
    assert_eq!(picked.packages[1].wanted, ["a+b requires it"]);
    let passed = Passed {
        kind: "updateinfo".to_owned(),
        repository: 0,
        url: "https://m.example/base/repodata/updateinfo.zst".parse().unwrap(),
        checksum: repository.repomd.documents["updateinfo"].checksum.clone(),
        bytes: repository.documents["updateinfo"].clone(),
    };
    assert_eq!(picked.passed, [passed]);
}

#[test]
fn entries_that_are_not_acceptable_are_refused_one_by_one() {
    let good = samples::primary(&[("a-1-1.x86_64", "requires: b"), ("b-1-1.x86_64", "")]);
    let href = "Packages/b-1-1.x86_64.rpm";
    let hex = Digest::of(b"b-1-1.x86_64").hex();
    for (field, from, to) in [
        ("location", href, "../../etc/cron.d/b.rpm"),
        ("location", href, "/etc/b.rpm"),
        ("location", href, "a//b.rpm"),
        ("location", href, ""),
        ("location", href, "a\\..\\b.rpm"),
        ("location", href, "a&#x1;b.rpm"),
        ("checksum", &*hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("checksum", &*hex, ""),
    ] {
        let repository = repository("r", &[("primary", &good.replace(from, to))]);
        let picked = picked(&wish(&["a"]), &[repository]);
        assert_eq!(names(&picked), ["el9/a-1-1.x86_64"], "{to}");
        let [PickError::Field { field: refused, .. }] = &picked.refused[..] else {
            panic!("{:?}", picked.refused)
        };
        assert_eq!(*refused, field, "{to}");
    }
    let huge = good.replace("package=\"10\"", "package=\"99999999999999\"");
    let picked = picked(&wish(&["a"]), &[repository("r", &[("primary", &huge)])]);
    assert_eq!((picked.packages.len(), picked.refused.len()), (0, 2));
}

#[test]
fn a_package_in_the_way_of_what_a_site_serves_is_refused_by_name() {
    let primary = samples::primary(&[("a-1-1.x86_64", "requires: b"), ("b-1-1.x86_64", "")]);
    let key = format!("keys/{}.asc", "0a".repeat(20));
    for (place, is_refused) in
        [("repodata/b.rpm", true), (&*key, true), ("keys/b.rpm", false), ("keys/b.asc", false)]
    {
        let primary = primary.replace("Packages/b-1-1.x86_64.rpm", place);
        let picked = picked(&wish(&["a"]), &[repository("r", &[("primary", &primary)])]);
        let refused: Vec<String> = picked.refused.iter().map(ToString::to_string).collect();
        assert_eq!(refused.len(), usize::from(is_refused), "{place}");
        assert!(refused.iter().all(|said| said.starts_with("b-1-1.x86_64 has the place")));
    }
}

#[test]
fn a_document_that_is_none_ends_the_line() {
    let good = samples::primary(&[("a-1-1.x86_64", "")]);
    for bad in [
        good.replace("</metadata>", ""),
        good.replace("ver=\"1\"", "ver=\"&lol;\""),
        good.replace("<metadata", "<!DOCTYPE m [<!ENTITY lol \"x\">]><metadata"),
        good.replace("package=\"10\"", "package=\"99999999999999999999999\""),
        good.replace("<name>a</name>", ""),
        good.replace("<arch>x86_64</arch>", "<arch></arch>"),
        "\0".to_owned(),
        String::new(),
    ] {
        assert!(pick(&wish(&["a"]), &[repository("r", &[("primary", &bad)])]).is_err(), "{bad}");
    }
    let mut longer = repository("r", &[("primary", &good)]);
    longer.repomd.documents.get_mut("primary").unwrap().plain_len_bytes_max -= 1;
    assert!(pick(&wish(&["a"]), &[longer]).is_err());
}

#[test]
fn a_second_architecture_is_carried_only_where_it_is_asked_for() {
    let primary = samples::primary(&[
        ("a-1-1.x86_64", "requires: lib"),
        ("lib-1-1.i686", ""),
        ("lib-1-1.x86_64", ""),
        ("a-1-1.i686", "requires: lib"),
    ]);
    let repository = [repository("r", &[("primary", &primary)])];
    assert_eq!(
        names(&picked(&wish(&["a"]), &repository)),
        ["el9/a-1-1.x86_64", "el9/lib-1-1.x86_64"]
    );
    let both = picked(&wish(&["a", "lib.i686"]), &repository);
    assert_eq!(names(&both), ["el9/a-1-1.x86_64", "el9/lib-1-1.i686", "el9/lib-1-1.x86_64"]);
}

#[test]
fn files_are_looked_up_where_something_requires_them() {
    let primary =
        samples::primary(&[("a-1-1.x86_64", "requires: /usr/share/b"), ("b-1-1.x86_64", "")]);
    let filelists = format!(
        "<filelists><package pkgid=\"{}\" name=\"b\" arch=\"x86_64\"><file>/usr/share/b</file>\
         </package></filelists>",
        Digest::of(b"b-1-1.x86_64").hex()
    );
    let mut repository = repository("r", &[("primary", &primary), ("filelists", &filelists)]);
    let held = repository.documents.remove("filelists").unwrap();
    let outcome = pick(&wish(&["a"]), std::slice::from_ref(&repository)).unwrap();
    assert!(matches!(outcome, Outcome::Files(lacking) if lacking == [0]));
    repository.documents.insert("filelists".to_owned(), held);
    let all = picked(&wish(&["a"]), std::slice::from_ref(&repository));
    assert_eq!(names(&all), ["el9/a-1-1.x86_64", "el9/b-1-1.x86_64"]);
    let files: Vec<_> = all.packages.iter().map(|rpm| rpm.files.join(" ")).collect();
    assert_eq!(files, ["", "/usr/share/b"]);
    let named = picked(&wish(&["/usr/share/b"]), std::slice::from_ref(&repository));
    assert_eq!(names(&named), ["el9/b-1-1.x86_64"]);
    for path in ["/usr/share/c", "/usr/bin/c"] {
        let none = picked(&wish(&[path]), std::slice::from_ref(&repository));
        let obstacle = Obstacle::Unknown { entry: path.to_owned() };
        assert_eq!(none.unmet, [Unmet { line: 0, obstacle }]);
    }
}

fn with_modules(modules: &[&str]) -> Wish {
    let mut wish = wish(&["a"]);
    wish.asked[0].modules = modules.iter().map(|&m| m.to_owned()).collect();
    wish
}

#[test]
fn lines_complete_each_other_and_what_they_name_is_their_own() {
    let system = samples::primary(&[
        ("lib-1-1.x86_64", "requires: /usr/share/words"),
        ("runc-1-1.x86_64", "requires: lib"),
        ("engine-1-1.x86_64", ""),
        ("mail-1-1.x86_64", "provides: mta"),
    ]);
    let third = samples::primary(&[
        ("engine-9-1.x86_64", "requires: runc, lib"),
        ("runc-0.9-1.x86_64", ""),
        ("words-1-1.noarch", ""),
        ("local-1-1.x86_64", "requires: mta\nconflicts: zmail"),
        ("zmail-1-1.x86_64", "provides: mta = 2"),
    ]);
    let filelists = format!(
        "<filelists><package pkgid=\"{}\" name=\"words\" arch=\"noarch\"><file>/usr/share/words\
         </file></package></filelists>",
        Digest::of(b"words-1-1.noarch").hex()
    );
    let repositories = [
        repository("system", &[("primary", &system)]),
        repository("third", &[("primary", &third), ("filelists", &filelists)]),
    ];
    let carried = |lines: &[&[&str]]| {
        let picked = picked(&wish_of(lines), &repositories);
        let unmet: Vec<_> = picked.unmet.iter().map(|one| (one.line, one.entry())).collect();
        let from = |rpm: &Rpm| format!("{} {}", rpm.facts.package, rpm.facts.repository);
        (picked.packages.iter().map(from).collect::<Vec<_>>().join(", "), format!("{unmet:?}"))
    };
    let none = "[]".to_owned();
    // The third party's engine with the system's runc, whose library needs a file of the third.
    let all = "engine third, lib system, runc system, words third".to_owned();
    assert_eq!(carried(&[&[], &["engine"]]), (all, none.clone()));
    assert_eq!(carried(&[&["engine"], &[]]), ("engine system".to_owned(), none.clone()));
    assert_eq!(carried(&[&["words"], &["w*"]]).1, "[(0, \"words\")]");
    // Together: local forbids the mail system that it would take alone, were it not for that.
    let together = "local third, mail system, runc third".to_owned();
    assert_eq!(carried(&[&["mail"], &["local", "runc"]]), (together, none));
}

#[test]
fn streams_exclusions_and_priorities_decide_what_is_seen() {
    let modules = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: m\n  stream: s\n  version: 1\n  \
        artifacts:\n    rpms: [a-0:2-1.x86_64]\n";
    let first =
        samples::primary(&[("a-2-1.x86_64", ""), ("a-1-1.x86_64", ""), ("x-1-1.noarch", "")]);
    let second = samples::primary(&[("a-9-1.x86_64", ""), ("a-1-1.x86_64", "")]);
    let mut repositories = [
        repository("one", &[("primary", &first), ("modules", modules)]),
        repository("two", &[("primary", &second)]),
    ];
    let seen = |repositories: &[Repository], modules: &[&str]| {
        let picked = picked(&with_modules(modules), repositories);
        let package = &picked.packages[0];
        format!("{} {} {}", package.name, package.facts.repository, package.facts.modular)
    };
    assert_eq!(seen(&repositories, &[]), "el9/a-9-1.x86_64 two false");
    assert_eq!(seen(&repositories, &["m:s"]), "el9/a-2-1.x86_64 one true");
    repositories[0].source.priority = 10;
    assert_eq!(seen(&repositories, &[]), "el9/a-1-1.x86_64 one false");
    repositories[0].source.priority = 99;
    repositories[1].source.exclude = vec!["a-9*".to_owned()];
    assert_eq!(seen(&repositories, &[]), "el9/a-1-1.x86_64 one false");
    let error = pick(&with_modules(&["m:t"]), &repositories);
    assert!(matches!(error, Err(PickError::Streams(_))));
}
