//! The closure over an index in memory, and what is pure above it.

use std::collections::BTreeMap;

use gapferry_proto::Digest;

use super::{
    super::http::{
        Mirror, Network,
        upstream::{Upstream as Server, client, ranged},
    },
    closure::{Impossible, ROUNDS_MAX},
    index::{IndexFile, Offer, Page},
    requirements::stated,
    *,
};

/// What tests say of one file: its name, what it requires, and odd things about it.
#[derive(Clone)]
struct Upload {
    filename: String,
    requires: Result<Vec<String>, String>,
    requires_python: Option<String>,
    yanked: Option<String>,
}

#[derive(Default)]
struct Index(BTreeMap<String, Vec<Upload>>);

impl Index {
    /// An index of pure wheels, `("foo", "1.0", ["bar>=1"])`.
    fn of(wheels: &[(&str, &str, &[&str])]) -> Self {
        let mut index = Self::default();
        for (name, version, requires) in wheels {
            let filename = format!("{name}-{version}-py3-none-any.whl");
            index.add(name, Upload { requires: Ok(owned(requires)), ..upload(&filename) });
        }
        index
    }

    fn add(&mut self, name: &str, upload: Upload) {
        self.0.entry(name.to_owned()).or_default().push(upload);
    }

    fn with(mut self, name: &str, upload: Upload) -> Self {
        self.add(name, upload);
        self
    }

    fn answer(&self, known: &mut Known, need: Need) {
        match need {
            Need::Project(name) => {
                let uploads = self.0.get(name.to_string().as_str()).into_iter().flatten();
                let files = uploads.map(file).collect();
                let project = Project::new(&name, vec![Page { files, without_digest: 0 }]);
                assert!(known.projects.insert(name, project).is_none(), "asked for twice");
            }
            Need::Requirements(_, wanted) => {
                let digest = wanted.0.digest;
                let uploads = self.0.values().flatten();
                let mut found =
                    uploads.filter(|u| file(u).digest == digest).map(|u| u.requires.clone());
                let requires = found
                    .next()
                    .unwrap()
                    .map(|texts| texts.iter().map(|text| text.parse().unwrap()).collect());
                assert!(known.requirements.insert(digest, requires).is_none(), "asked for twice");
            }
        }
    }

    fn closure(&self, environment: &Environment, roots: &Roots) -> Step {
        let mut known = Known::default();
        let mut closure = Closure::new(environment, roots);
        for _ in 0..1000 {
            match closure.step(&known) {
                Step::Needs(needs) => {
                    for need in needs {
                        self.answer(&mut known, need);
                    }
                }
                end => return end,
            }
        }
        panic!("no end after 1000 steps");
    }

    /// The file names that `roots` lead to, or the sentences that say why not.
    fn files(&self, roots: &[&str]) -> Result<Vec<String>, Vec<String>> {
        self.files_on("3.11", &roots_of(roots))
    }

    fn files_on(&self, python: &str, roots: &Roots) -> Result<Vec<String>, Vec<String>> {
        let environment = Environment::new(python, "manylinux_2_17_x86_64").unwrap();
        match self.closure(&environment, roots) {
            Step::Done(choices) => {
                Ok(choices.into_iter().map(|choice| choice.file.filename.to_string()).collect())
            }
            Step::Impossible(why) => Err(why.into_iter().map(|i: Impossible| i.sentence).collect()),
            Step::Needs(_) => unreachable!(),
        }
    }

    /// Name and version of the pure wheels that `roots` lead to.
    fn versions(&self, roots: &[&str]) -> Vec<String> {
        let files = self.files(roots).unwrap();
        files.iter().map(|file| file.replace("-py3-none-any.whl", "")).collect()
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn upload(filename: &str) -> Upload {
    let filename = filename.to_owned();
    Upload { filename, requires: Ok(Vec::new()), requires_python: None, yanked: None }
}

fn file(upload: &Upload) -> IndexFile {
    IndexFile {
        filename: upload.filename.parse().unwrap(),
        url: format!("https://u:p@x.example/{}", upload.filename).parse().unwrap(),
        index: "https://x.example/simple/".to_owned(),
        digest: Digest::of(upload.filename.as_bytes()),
        requires_python: upload.requires_python.clone(),
        yanked: upload.yanked.clone(),
        metadata: Offer::No,
        len_bytes: None,
    }
}

fn roots_of(texts: &[&str]) -> Roots {
    let stated = texts.iter().map(|text| match text.strip_prefix("-c ") {
        Some(text) => requirements::Stated {
            constraint: true,
            ..stated(text, "c.txt, line 1".to_owned()).unwrap()
        },
        None => stated(text, "spec.pypi[0]".to_owned()).unwrap(),
    });
    Roots { stated: stated.collect(), prereleases: false }
}

#[test]
fn the_newest_version_of_everything_that_is_needed_is_taken() {
    let index = Index::of(&[
        ("a", "1.9", &[]),
        ("a", "1.10", &["b", "c[x]>=1"]),
        ("b", "2", &["C"]),
        ("c", "1", &["d; extra == 'x'", "e; extra == 'y'", "f; python_version < '3.9'"]),
        ("d", "1", &["a"]),
    ]);
    assert_eq!(index.versions(&["a"]), ["a-1.10", "b-2", "c-1", "d-1"]);
    assert_eq!(index.versions(&["c"]), ["c-1"]);
}

#[test]
fn an_extra_that_is_asked_for_late_still_counts() {
    let index = Index::of(&[
        ("a", "1", &["b"]),
        ("b", "1", &["c[x]"]),
        ("c", "1", &["d; extra == 'x'"]),
        ("d", "1", &[]),
    ]);
    assert_eq!(index.versions(&["c", "a"]), ["a-1", "b-1", "c-1", "d-1"]);
}

#[test]
fn a_conflict_leads_to_another_choice() {
    let index = Index::of(&[
        ("a", "2", &[]),
        ("a", "1", &["z"]),
        ("b", "1", &["c"]),
        ("c", "1", &["a<2"]),
        ("z", "1", &[]),
    ]);
    assert_eq!(index.versions(&["a", "b"]), ["a-1", "b-1", "c-1", "z-1"]);
}

#[test]
fn an_asker_steps_back_when_what_it_asks_for_cannot_be_had() {
    let index = Index::of(&[
        ("a", "2", &[]),
        ("a", "1", &[]),
        ("b", "3", &["c>1"]),
        ("b", "2", &["c>1"]),
        ("b", "1", &["c"]),
        ("c", "2", &["a<2"]),
        ("c", "1", &[]),
    ]);
    assert_eq!(index.versions(&["a==2", "b"]), ["a-2", "b-1", "c-1"]);
    assert_eq!(index.versions(&["a", "b"]), ["a-1", "b-3", "c-2"]);
}

#[test]
fn the_order_of_requirements_does_not_decide_whether_there_is_a_way() {
    let index = Index::of(&[
        ("a", "2", &["c>=2"]),
        ("a", "1", &["c"]),
        ("b", "2", &["c<2"]),
        ("b", "1", &["c"]),
        ("c", "2", &[]),
        ("c", "1", &[]),
    ]);
    index.files(&["a", "b"]).unwrap();
    index.files(&["b", "a"]).unwrap();
    assert_eq!(index.versions(&["b", "a==2"]), ["a-2", "b-1", "c-2"]);
    assert_eq!(index.versions(&["a", "b==2"]), ["a-1", "b-2", "c-1"]);
}

#[test]
fn a_requirement_that_cannot_be_met_is_named_with_its_askers_and_what_there_is() {
    let index = Index::of(&[
        ("a", "1", &["b>=9"]),
        ("b", "2", &[]),
        ("b", "1", &[]),
        ("c", "1", &["none"]),
    ]);
    let expected = [
        "a 1 depends on b>=9, which cannot be had for Python 3.11 on manylinux_2_17_x86_64: \
         there are 2, 1",
        "spec.pypi[0] asks for d==1, which cannot be had for Python 3.11 on \
         manylinux_2_17_x86_64: no index has a file of this project",
        "c 1 depends on none, which cannot be had for Python 3.11 on manylinux_2_17_x86_64: \
         no index has a file of this project",
    ];
    assert_eq!(index.files(&["d==1", "c", "a"]), Err(owned(&expected)));
}

#[test]
fn a_conflict_without_a_way_out_names_both_sides() {
    let index =
        Index::of(&[("a", "1", &["c<2"]), ("b", "1", &["c>=2"]), ("c", "2", &[]), ("c", "1", &[])]);
    let expected = "a 1 depends on c<2; b 1 depends on c>=2, which cannot be had for Python 3.11 \
                    on manylinux_2_17_x86_64: there are 2, 1";
    assert_eq!(index.files(&["a", "b"]), Err(owned(&[expected])));
}

#[test]
fn endless_conflicts_are_given_up() {
    let mut index = Index::default();
    for n in 0..2 * ROUNDS_MAX {
        for (name, other) in [("a", "b"), ("b", "a")] {
            let requires = Ok(vec![format!("{other}!={n}"), format!("{other}<{n}")]);
            index.add(name, Upload { requires, ..upload(&format!("{name}-{n}-py3-none-any.whl")) });
        }
    }
    let why = index.files(&["a>0", "b>0"]).unwrap_err();
    assert!(why[0].contains("no way out was found in 200 attempts"), "{why:?}");
}

#[test]
fn a_withdrawn_version_is_only_taken_by_name() {
    let yanked = Upload { yanked: Some(String::new()), ..upload("a-2-py3-none-any.whl") };
    let index = Index::of(&[("a", "1", &[])]).with("a", yanked);
    assert_eq!(index.versions(&["a"]), ["a-1"]);
    assert_eq!(index.versions(&["a==2"]), ["a-2"]);
    assert_eq!(
        index.files(&["a>=2"]),
        Err(owned(&["spec.pypi[0] asks for a>=2, which cannot be had for Python 3.11 on \
                     manylinux_2_17_x86_64: 2 has no file for it"]))
    );
}

#[test]
fn a_prerelease_is_taken_when_asked_for_or_when_there_is_nothing_else() {
    let index = Index::of(&[("a", "2rc1", &[]), ("a", "1", &[]), ("b", "1.dev1", &[])]);
    assert_eq!(index.versions(&["a", "b"]), ["a-1", "b-1.dev1"]);
    assert_eq!(index.versions(&["a>=2rc0"]), ["a-2rc1"]);
    let roots = Roots { prereleases: true, ..roots_of(&["a"]) };
    assert_eq!(index.files_on("3.11", &roots), Ok(owned(&["a-2rc1-py3-none-any.whl"])));
}

#[test]
fn a_version_for_another_python_is_passed_over() {
    let newer =
        Upload { requires_python: Some(">=3.12".to_owned()), ..upload("a-2-py3-none-any.whl") };
    let index = Index::of(&[("a", "1", &[])]).with("a", newer);
    for (python, expected) in [("3.11", "a-1"), ("3.12", "a-2")] {
        let files = index.files_on(python, &roots_of(&["a"]));
        assert_eq!(files, Ok(vec![format!("{expected}-py3-none-any.whl")]));
    }
}

#[test]
fn the_best_wheel_is_taken_and_the_source_only_without_one() {
    let mut index = Index::default();
    for filename in [
        "a-1.tar.gz",
        "a-1-py3-none-any.whl",
        "a-1-cp39-abi3-manylinux_2_5_x86_64.manylinux1_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a-1-cp311-cp311-win_amd64.whl",
        "a-2-cp312-cp312-manylinux_2_17_x86_64.whl",
    ] {
        index.add("a", upload(filename));
    }
    for filename in ["b-1-py3-none-any.whl", "b-1-2-py3-none-any.whl", "b-1-10-py3-none-any.whl"] {
        index.add("b", upload(filename));
    }
    index.add("c", upload("c-1-cp312-cp312-manylinux_2_17_x86_64.whl"));
    index.add("c", upload("c-1.tar.gz"));
    let expected = [
        "a-1-cp39-abi3-manylinux_2_5_x86_64.manylinux1_x86_64.whl",
        "b-1-10-py3-none-any.whl",
        "c-1.tar.gz",
    ];
    assert_eq!(index.files(&["a", "b", "c"]), Ok(owned(&expected)));
}

#[test]
fn constraints_bound_versions_and_ask_for_nothing() {
    let index = Index::of(&[("a", "1", &["b"]), ("b", "2", &[]), ("b", "1", &[]), ("c", "1", &[])]);
    assert_eq!(index.versions(&["a", "-c b<2", "-c c"]), ["a-1", "b-1"]);
}

#[test]
fn a_hash_in_a_requirement_chooses_the_file() {
    let mut index = Index::default();
    index.add("a", upload("a-1.tar.gz"));
    index.add("a", upload("a-1-py3-none-any.whl"));
    let with = |bytes: &[u8]| format!("a==1 --hash={}", Digest::of(bytes));
    assert_eq!(index.files(&[&with(b"a-1.tar.gz")]), Ok(owned(&["a-1.tar.gz"])));
    let why = index.files(&[&with(b"another")]).unwrap_err();
    assert_eq!(
        why,
        ["spec.pypi[0] asks for a==1, which cannot be had for Python 3.11 on \
                      manylinux_2_17_x86_64: 1 has no file for it"]
    );
}

#[test]
fn a_damaged_distribution_leads_to_an_older_one_or_a_reason() {
    let damaged = |filename| Upload {
        requires: Err("its archive has no METADATA".to_owned()),
        ..upload(filename)
    };
    let index = Index::of(&[("a", "1", &[]), ("c", "1", &["d @ https://x.example/d.whl"])])
        .with("a", damaged("a-2-py3-none-any.whl"))
        .with("b", damaged("b-1-py3-none-any.whl"));
    assert_eq!(index.versions(&["a"]), ["a-1"]);
    let why = index.files(&["b", "c"]).unwrap_err();
    assert_eq!(
        why,
        [
            "spec.pypi[0] asks for b, which cannot be had for Python 3.11 on \
          manylinux_2_17_x86_64: 1: its archive has no METADATA",
            "spec.pypi[0] asks for c, which cannot be had for Python 3.11 on \
          manylinux_2_17_x86_64: 1: it requires \"d @ https://x.example/d.whl\", which no index \
          can serve"
        ]
    );
}

#[test]
fn a_choice_says_who_asks_for_it() {
    let index = Index::of(&[("a", "1", &["b"]), ("b", "2", &[])]);
    let environment = Environment::new("3.11", "linux_x86_64").unwrap();
    let Step::Done(choices) = index.closure(&environment, &roots_of(&["a==1", "b", "-c b<3"]))
    else {
        panic!("no closure");
    };
    let unvouched = artifact(choices[1].clone(), 7, false).evidence.method;
    assert_eq!(unvouched, Method::Unverified);
    let artifact = artifact(choices[1].clone(), 7, true);
    let digest = Digest::of(b"b-2-py3-none-any.whl");
    let expected = Artifact {
        name: "b-2-py3-none-any.whl".to_owned(),
        facts: Facts::Pypi(PypiFacts {
            project: "b".to_owned(),
            version: "2".to_owned(),
            filename: "b-2-py3-none-any.whl".parse().unwrap(),
            requires_python: None,
            yanked: None,
        }),
        blobs: vec![BlobRef { id: digest.into(), len_bytes: 7 }],
        origin: "https://x.example/b-2-py3-none-any.whl".to_owned(),
        evidence: Evidence {
            method: Method::PypiIndex,
            by: "https://x.example/simple/".to_owned(),
            digest: Some(digest),
        },
        wanted: owned(&["a 1 depends on it", "spec.pypi[0]: b"]),
    };
    assert_eq!(artifact, expected);
}

#[test]
fn only_this_machine_may_be_asked_over_plain_http() {
    for (url, expected) in [
        ("https://x.example/simple/", false),
        ("http://localhost:3141/", false),
        ("http://127.0.0.2/", false),
        ("http://[::1]:80/", false),
        ("http://x.example/", true),
        ("http://10.0.0.1/", true),
        ("http://localhost.example/", true),
        ("http://127.0.0.1.example/", true),
    ] {
        assert_eq!(is_plain_http(&url.parse().unwrap()), expected, "{url}");
    }
}

#[test]
fn a_url_is_shown_without_credentials() {
    let url = "https://user:canary@x.example/a?b#sha256=c".parse().unwrap();
    assert_eq!(plain(&url), "https://x.example/a?b");
}

#[test]
fn a_hash_in_a_requirement_vouches_where_the_index_does_not() {
    let index = Index::of(&[("a", "1", &["b"]), ("b", "2", &[])]);
    let environment = Environment::new("3.11", "linux_x86_64").unwrap();
    let hash = Digest::of(b"a-1-py3-none-any.whl");
    let roots = roots_of(&[&format!("a==1 --hash={hash}")]);
    let Step::Done(choices) = index.closure(&environment, &roots) else { panic!("no closure") };
    let method = |number: usize, is_vouched| {
        let mut artifact = artifact(choices[number].clone(), 7, is_vouched);
        vouch(&mut artifact, &roots);
        artifact.evidence.method
    };
    assert_eq!((method(0, false), method(1, false)), (Method::Waybill, Method::Unverified));
    assert_eq!((method(0, true), method(1, true)), (Method::PypiIndex, Method::PypiIndex));
}

#[tokio::test]
async fn an_index_without_tls_vouches_for_nothing_wherever_it_is() {
    let sha256 = "ab".repeat(32);
    let page = format!("<a href=\"a-1-py3-none-any.whl#sha256={sha256}\">a-1-py3-none-any.whl</a>");
    let server = Server::start(move |seen| {
        let mut answer = ranged(seen, page.as_bytes());
        answer.headers_mut().insert("content-type", "text/html".parse().unwrap());
        answer
    })
    .await;
    let index: Url = "https://pypi.example/simple/".parse().unwrap();
    let mirror = Mirror { from: index.clone(), to: server.url.clone() };
    let http = client(Network { mirrors: vec![mirror], ..Network::default() });
    for index in [server.url.clone(), index] {
        let shown = index.to_string();
        let upstream = Upstream::new(&http, vec![index], true);
        assert!(upstream.is_vouching(&shown), "nothing came yet");
        upstream.project(&"a".parse().unwrap()).await.unwrap();
        assert!(!upstream.is_vouching(&shown), "{shown}");
    }
}
