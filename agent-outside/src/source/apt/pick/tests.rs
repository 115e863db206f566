use gapferry_proto::Digest;

use super::*;
use crate::source::apt::{
    closure::Named,
    settings::{Keys, Source},
};

fn paragraph(name: &str, architecture: &str, rest: &str) -> String {
    format!(
        "Package: {name}\nVersion: 1:2-3\nArchitecture: {architecture}\n{rest}\
         Filename: ./pool/{name}_2-3.deb\nSize: 3\nSHA256: {}\nDescription: d\n more\n",
        Digest::of(b"abc").hex()
    )
}

fn text(architecture: &str, text: &str) -> Text {
    Text {
        source: Source {
            uri: "https://user:secret@m.example/debian/".parse().unwrap(),
            suite: "bookworm-updates".to_owned(),
            components: Vec::new(),
            architectures: Vec::new(),
            keys: Keys::Anyone,
        },
        component: "main".to_owned(),
        architecture: architecture.to_owned(),
        path: "bookworm-updates Packages".to_owned(),
        signer: "0123abcd".to_owned(),
        security: false,
        text: text.to_owned(),
    }
}

fn wish(architectures: &[&str], packages: &[&str]) -> Wish {
    Wish {
        target: "bookworm".parse().unwrap(),
        architectures: architectures.iter().map(|&a| a.to_owned()).collect(),
        request: Request {
            named: packages.iter().map(|entry| Named::parse(entry)).collect(),
            label: "spec.apt[0]".to_owned(),
            ..Request::default()
        },
    }
}

#[test]
fn a_package_becomes_an_artifact_with_its_paragraph_and_its_signer() {
    let a = paragraph("a", "amd64", "Depends: b\n");
    let found = pick(
        &wish(&["amd64"], &["a"]),
        &[text("amd64", &format!("{a}\n{}\n", paragraph("b", "all", "")))],
    );
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    let [first, second] = found.artifacts.as_slice() else { panic!("{:?}", found.artifacts) };
    let digest = Digest::of(b"abc");
    let expected = Artifact {
        name: "bookworm/a_1:2-3_amd64".to_owned(),
        facts: Facts::Deb(DebFacts {
            target: "bookworm".parse().unwrap(),
            suite: "bookworm-updates".to_owned(),
            component: "main".to_owned(),
            package: "a".to_owned(),
            version: "1:2-3".to_owned(),
            architecture: "amd64".to_owned(),
            filename: "pool/a_2-3.deb".parse().unwrap(),
            paragraph: a.trim_end().to_owned(),
        }),
        blobs: vec![BlobRef { id: digest.into(), len_bytes: 3 }],
        origin: "https://m.example/debian/pool/a_2-3.deb".to_owned(),
        evidence: Evidence {
            method: Method::AptInRelease,
            by: "0123abcd".to_owned(),
            digest: Some(digest),
        },
        wanted: vec!["spec.apt[0]: a".to_owned()],
    };
    assert_eq!(*first, expected);
    assert_eq!(second.name, "bookworm/b_1:2-3_all");
    assert_eq!(second.wanted, ["a depends on it"]);
}

#[test]
fn a_package_for_all_is_one_artifact_for_two_architectures() {
    let all = paragraph("a", "all", "");
    let found =
        pick(&wish(&["amd64", "arm64"], &["a"]), &[text("amd64", &all), text("arm64", &all)]);
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    let names: Vec<_> = found.artifacts.iter().map(|a| (&*a.name, a.wanted.len())).collect();
    assert_eq!(names, [("bookworm/a_1:2-3_all", 1)]);
}

#[test]
fn the_first_of_two_suites_wins_when_they_agree_and_none_when_they_do_not() {
    let good = paragraph("a", "amd64", "");
    let other = good.replace(&Digest::of(b"abc").hex(), &Digest::of(b"abd").hex());
    let mut second = text("amd64", &good);
    second.source.suite = "bookworm".to_owned();
    let found = pick(&wish(&["amd64"], &["a"]), &[text("amd64", &good), second]);
    let Facts::Deb(facts) = &found.artifacts[0].facts else { panic!("{:?}", found.artifacts) };
    assert_eq!((facts.suite.as_str(), found.artifacts.len()), ("bookworm-updates", 1));

    let found = pick(&wish(&["amd64"], &["a"]), &[text("amd64", &good), text("amd64", &other)]);
    assert_eq!(found.artifacts, []);
    let verdicts: Vec<_> = found.failures.iter().map(|f| (&*f.name, f.verdict)).collect();
    assert_eq!(verdicts, [("a 1:2-3 amd64", Verdict::Refused)]);
}

#[test]
fn hostile_fields_of_a_signed_index_are_refused() {
    let good = paragraph("a", "amd64", "");
    let hex = Digest::of(b"abc").hex();
    for (from, to, field) in [
        ("./pool/a_2-3.deb", "../../etc/passwd", "Filename"),
        ("./pool/a_2-3.deb", "/etc/passwd", "Filename"),
        ("Filename:", "X:", "Filename"),
        ("Size: 3", "Size: 18446744073709551615", "Size"),
        ("Size: 3", "Size: 274877906945", "Size"),
        ("Size: 3", "Size: -3", "Size"),
        ("SHA256:", "SHA1:", "SHA256"),
        (hex.as_str(), "abc", "SHA256"),
        ("Architecture: amd64", "Architecture: all\nMulti-Arch: foreign", ""),
    ] {
        let found = pick(&wish(&["amd64"], &["a"]), &[text("amd64", &good.replace(from, to))]);
        let errors: Vec<_> = found.failures.iter().map(|f| f.error.to_string()).collect();
        if field.is_empty() {
            assert_eq!(errors, Vec::<String>::new());
            continue;
        }
        assert_eq!(found.artifacts, [], "{to}");
        assert!(
            errors[0].starts_with(&format!("the {field} of a 1:2-3 amd64 is missing")),
            "{errors:?}"
        );
    }
}

#[test]
fn a_name_that_could_leave_its_folder_is_refused() {
    let text = [text("amd64", &paragraph("../a", "amd64", ""))];
    let found = pick(&wish(&["amd64"], &["../a"]), &text);
    assert_eq!(found.artifacts, []);
    assert_eq!(found.failures[0].verdict, Verdict::Refused);
}

#[test]
fn what_is_missing_is_reported_with_the_rest_carried() {
    let text = [text("amd64", &paragraph("a", "amd64", "Depends: none (>= 2)\n"))];
    let found = pick(&wish(&["amd64"], &["a", "z"]), &text);
    assert_eq!(found.artifacts.len(), 1);
    let failures: Vec<_> = found.failures.iter().map(|f| (&*f.name, f.verdict)).collect();
    assert_eq!(failures, [("z", Verdict::Missing), ("none (>= 2)", Verdict::Missing)]);
}

#[test]
fn security_is_refused_where_no_suite_calls_itself_so_and_found_where_one_does() {
    let mut secure = text("amd64", &paragraph("a", "amd64", "Depends: none\n"));
    let mut wish = wish(&["amd64"], &[]);
    wish.request.security = true;
    let found = pick(&wish, std::slice::from_ref(&secure));
    let failures: Vec<_> = found.failures.iter().map(|f| (&*f.name, f.verdict)).collect();
    assert_eq!(failures, [("spec.apt[0]", Verdict::Configuration)]);
    secure.security = true;
    let found = pick(&wish, &[secure]);
    let names: Vec<_> = found.artifacts.iter().map(|a| (&*a.name, &*a.wanted[0])).collect();
    assert_eq!(names, [("bookworm/a_1:2-3_amd64", "spec.apt[0]: security")]);
    assert!(found.failures.is_empty(), "{:?}", found.failures);
}
