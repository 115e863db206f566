//! Names to which two things that are carried would answer with different bytes.
//!
//! In:   a snapshot.
//! Out:  a [`Collision`] for each such name: who answers to it, and what a client gets.
//! Pure, and the same for the same snapshot.
//!
//! The addresses are those of the inside (`agent-inside/src/publish`), which refuses an export in
//! which two artifacts would answer one of them differently: that is told here, before anything is
//! carried. What two artifacts give under one name without being in each other's way is only told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use gapferry_proto::{
    Artifact, Digest, Facts, Kind, Snapshot,
    artifact::{ChartFacts, DebFacts, ImageFacts, PypiFacts},
};
use serde::Serialize;

/// What a client gets that asks for a name with several contents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing: the inside would refuse the export.
    Refused,
    /// Nothing by this name; each by its name with the registry before it.
    WithRegistryOnly,
    /// The artifact of this name; the others by their names with the registry before them.
    One(String),
    /// All of them, and the client takes one by rules of its own.
    All,
}

/// A name with several contents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Collision {
    pub kind: Kind,
    /// As clients ask for it.
    pub name: String,
    pub answer: Answer,
    /// Sorted by artifact; at least two.
    pub contents: Vec<Content>,
}

/// What one artifact would answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Content {
    pub artifact: String,
    pub digest: Digest,
}

/// How a name is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// By a path below the server's root.
    Address,
    /// As an image without its registry.
    WithoutRegistry,
    /// As a version in an index that lists all.
    Listed,
}

type Names = BTreeMap<(Kind, Asked, String), BTreeSet<Content>>;

/// All collisions of a snapshot, sorted by kind and name.
pub fn of(snapshot: &Snapshot) -> Vec<Collision> {
    let mut names = Names::new();
    for artifact in snapshot.artifacts() {
        for (asked, name, digest) in names_of(artifact) {
            let content = Content { artifact: artifact.name.clone(), digest };
            names.entry((artifact.kind(), asked, name)).or_default().insert(content);
        }
    }
    add_full_names(&mut names);
    let collide = |contents: &BTreeSet<Content>| {
        let digests: BTreeSet<Digest> = contents.iter().map(|content| content.digest).collect();
        1 < digests.len()
    };
    let collision =
        |((kind, asked, name), contents): (&(Kind, Asked, String), &BTreeSet<_>)| Collision {
            kind: *kind,
            answer: answer(*asked, name, &names),
            name: name.clone(),
            contents: contents.iter().cloned().collect(),
        };
    let found = names.iter().filter(|(_, contents)| collide(contents)).map(collision);
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

/// Whether the inside would refuse an export for one of these.
pub fn is_refused(collisions: &[Collision]) -> bool {
    collisions.iter().any(|collision| collision.answer == Answer::Refused)
}

/// `mirror.example/registry.k8s.io/pause` is called as an image of `registry.k8s.io` is in full, and
/// the full name is looked for first.
fn add_full_names(names: &mut Names) {
    let full = |(_, asked, name): &(Kind, Asked, String)| {
        let contents = names.get(&full_name(name)).filter(|_| *asked == Asked::WithoutRegistry)?;
        Some(((Kind::Image, *asked, name.clone()), contents.clone()))
    };
    let found: Vec<_> = names.keys().filter_map(full).collect();
    for (key, contents) in found {
        names.entry(key).or_default().extend(contents);
    }
}

/// The address of the image whose full name is `name`.
fn full_name(name: &str) -> (Kind, Asked, String) {
    let (repository, tag) = name.rsplit_once(':').unwrap_or((name, ""));
    (Kind::Image, Asked::Address, image_address(repository, tag))
}

fn answer(asked: Asked, name: &str, names: &Names) -> Answer {
    match asked {
        Asked::Address => Answer::Refused,
        Asked::Listed => Answer::All,
        Asked::WithoutRegistry => match names.get(&full_name(name)).and_then(BTreeSet::first) {
            Some(content) => Answer::One(content.artifact.clone()),
            None => Answer::WithRegistryOnly,
        },
    }
}

fn names_of(artifact: &Artifact) -> Vec<(Asked, String, Digest)> {
    let first = artifact.blobs[0].id.digest();
    let mut names: Vec<(Asked, String, Digest)> = vec![];
    let mut add = |asked, name: String, digest| names.push((asked, name, digest));
    match &artifact.facts {
        Facts::File(facts) => add(Asked::Address, format!("/files/{}", facts.path), first),
        Facts::Image(ImageFacts { repository, tag: Some(tag), root, .. }) => {
            add(Asked::Address, image_address(repository.as_str(), tag), root.digest());
            if let Some((_, name)) = repository.as_str().split_once('/') {
                add(Asked::WithoutRegistry, format!("{name}:{tag}"), root.digest());
            }
        }
        Facts::Deb(facts) => {
            add(Asked::Address, format!("/apt/{}/{}", facts.target, facts.filename), first);
            add(Asked::Listed, listed_deb(facts), first);
        }
        Facts::Rpm(facts) => {
            add(Asked::Address, format!("/yum/{}/{}", facts.target, facts.location), first);
        }
        Facts::Pypi(facts) => {
            add(Asked::Address, format!("/pypi/packages/{}", facts.filename), first);
            add(Asked::Listed, listed_distribution(facts), first);
        }
        Facts::Chart(ChartFacts { repository, filename, .. }) => {
            for (end, blob) in ["", ".prov"].iter().zip(&artifact.blobs) {
                add(
                    Asked::Address,
                    format!("/helm/{repository}/{filename}{end}"),
                    blob.id.digest(),
                );
            }
        }
        Facts::Image(_) | Facts::YumDocument(_) => {}
    }
    names
}

fn image_address(repository: &str, tag: &str) -> String {
    format!("/v2/{repository}/manifests/{tag}")
}

/// As apt compares versions: an epoch of 0 says nothing.
fn listed_deb(facts: &DebFacts) -> String {
    let DebFacts { target, package, version, architecture, .. } = facts;
    let version = version.strip_prefix("0:").unwrap_or(version);
    format!("{target}: {package}={version} ({architecture})")
}

/// As pip reads file names: what PEP 503 takes for one project is one, in either case.
fn listed_distribution(facts: &PypiFacts) -> String {
    let name = facts.filename.as_str().to_ascii_lowercase();
    let rest = name.get(facts.project.len()..).unwrap_or_default();
    let is_of_project = name.replace(['_', '.'], "-").starts_with(&facts.project);
    if is_of_project { format!("{}{rest}", facts.project.replace('-', "_")) } else { name }
}

/// The list as people read it; empty when there is none.
pub fn text(collisions: &[Collision]) -> String {
    if collisions.is_empty() {
        return String::new();
    }
    let mut text = "Names with more than one content:\n".to_owned();
    for Collision { kind, name, answer, contents } in collisions {
        let gets = match answer {
            Answer::Refused => {
                "the inside would refuse the export; take one out of the waybill, or, where an \
                 earlier lock has it, set `keep: 0`, or dismiss the want that brings it"
                    .to_owned()
            }
            Answer::WithRegistryOnly => {
                "answered to nobody by this name; pull each by its name with the registry"
                    .to_owned()
            }
            Answer::One(artifact) => format!("{artifact} is answered"),
            Answer::All => "all are listed, and the client takes one".to_owned(),
        };
        writeln!(text, "  {kind} {name}: {gets}").expect("writing to a String does not fail");
        for Content { artifact, digest } in contents {
            writeln!(text, "    {artifact} is {digest}")
                .expect("writing to a String does not fail");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{
        BlobId, BlobRef,
        artifact::{Evidence, Method, RpmFacts},
    };

    use super::*;

    fn artifact(name: &str, facts: Facts, content: &str) -> Artifact {
        let id = BlobId::of(content.as_bytes());
        Artifact {
            name: name.to_owned(),
            facts,
            blobs: vec![BlobRef { id, len_bytes: content.len() as u64 }],
            origin: String::new(),
            evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
            wanted: vec![],
        }
    }

    fn image(repository: &str, tag: &str, content: &str) -> Artifact {
        let facts = Facts::Image(ImageFacts {
            repository: repository.parse().unwrap(),
            tag: Some(tag.to_owned()),
            root: BlobId::of(content.as_bytes()),
            manifests: vec![],
        });
        artifact(&format!("{repository}:{tag}"), facts, content)
    }

    fn deb(version: &str, file: &str, content: &str) -> Artifact {
        let facts = Facts::Deb(DebFacts {
            target: "t".parse().unwrap(),
            suite: "s".to_owned(),
            component: "main".to_owned(),
            package: "a".to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            filename: file.parse().unwrap(),
            paragraph: String::new(),
        });
        artifact(&format!("t/a_{version}_amd64"), facts, content)
    }

    fn rpm(epoch: &str, content: &str) -> Artifact {
        let facts = Facts::Rpm(RpmFacts {
            target: "t".parse().unwrap(),
            repository: "r".to_owned(),
            package: "a".to_owned(),
            epoch: epoch.to_owned(),
            version: "1".to_owned(),
            release: "1".to_owned(),
            architecture: "noarch".to_owned(),
            source: String::new(),
            location: "Packages/a-1-1.noarch.rpm".parse().unwrap(),
            modular: false,
            element: String::new(),
        });
        artifact(&format!("t/a-{epoch}:1-1.noarch"), facts, content)
    }

    fn wheel(filename: &str, content: &str) -> Artifact {
        let facts = Facts::Pypi(PypiFacts {
            project: "foo-bar".to_owned(),
            version: "1".to_owned(),
            filename: filename.parse().unwrap(),
            requires_python: None,
            yanked: None,
        });
        artifact(filename, facts, content)
    }

    /// Kind, name, answer and the artifacts of each collision.
    fn told(artifacts: Vec<Artifact>) -> Vec<(String, Answer, Vec<String>)> {
        let of = |collision: Collision| {
            let artifacts = collision.contents.into_iter().map(|content| content.artifact);
            (
                format!("{} {}", collision.kind, collision.name),
                collision.answer,
                artifacts.collect(),
            )
        };
        self::of(&Snapshot::of(artifacts).unwrap()).into_iter().map(of).collect()
    }

    fn row(name: &str, answer: Answer, artifacts: &[&str]) -> (String, Answer, Vec<String>) {
        (name.to_owned(), answer, artifacts.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn images_of_two_registries_collide_without_their_registry() {
        let images = vec![
            image("a.example/app", "1", "one"),
            image("b.example/app", "1", "other"),
            image("a.example/app", "2", "same"),
            image("b.example/app", "2", "same"),
            image("a.example/x", "1", "alone"),
        ];
        let both = ["a.example/app:1", "b.example/app:1"];
        assert_eq!(told(images), [row("image app:1", Answer::WithRegistryOnly, &both)]);
    }

    #[test]
    fn a_name_that_is_another_image_in_full_is_that_image() {
        let images = vec![
            image("mirror.example/k.example/app", "1", "one"),
            image("k.example/app", "1", "other"),
        ];
        let both = ["k.example/app:1", "mirror.example/k.example/app:1"];
        let answer = Answer::One("k.example/app:1".to_owned());
        assert_eq!(told(images), [row("image k.example/app:1", answer, &both)]);
    }

    #[test]
    fn packages_at_one_address_are_refused_and_those_of_one_version_are_listed() {
        let debs = vec![deb("1.0", "pool/a.deb", "one"), deb("1:1.0", "pool/a.deb", "other")];
        let both = ["t/a_1.0_amd64", "t/a_1:1.0_amd64"];
        assert_eq!(told(debs), [row("deb /apt/t/pool/a.deb", Answer::Refused, &both)]);
        let debs = vec![deb("1.0", "pool/a.deb", "one"), deb("0:1.0", "pool/b.deb", "other")];
        let both = ["t/a_0:1.0_amd64", "t/a_1.0_amd64"];
        assert_eq!(told(debs), [row("deb t: a=1.0 (amd64)", Answer::All, &both)]);
        let rpms = vec![rpm("0", "one"), rpm("1", "other")];
        let both = ["t/a-0:1-1.noarch", "t/a-1:1-1.noarch"];
        let address = "rpm /yum/t/Packages/a-1-1.noarch.rpm";
        assert_eq!(told(rpms), [row(address, Answer::Refused, &both)]);
        assert_eq!(told(vec![rpm("0", "same"), rpm("1", "same")]), []);
        let names = ["Foo_Bar-1-py3-none-any.whl", "foo.bar-1-py3-none-any.whl"];
        let wheels = vec![
            wheel(names[0], "one"),
            wheel(names[1], "other"),
            wheel("foo_bar-1-py2-none-any.whl", "another tag"),
        ];
        let name = "pypi foo_bar-1-py3-none-any.whl";
        assert_eq!(told(wheels), [row(name, Answer::All, &names)]);
    }

    #[test]
    fn the_text_says_what_a_client_gets() {
        let images = [image("a.example/app", "1", "one"), image("b.example/app", "1", "other")];
        let collisions = of(&Snapshot::of(images).unwrap());
        let digest = |content: &str| Digest::of(content.as_bytes());
        let expected = format!(
            "Names with more than one content:\n  image app:1: answered to nobody by this name; \
             pull each by its name with the registry\n    a.example/app:1 is {}\n    \
             b.example/app:1 is {}\n",
            digest("one"),
            digest("other")
        );
        assert_eq!(text(&collisions), expected);
        assert_eq!(text(&[]), "");
        assert!(!is_refused(&collisions));
    }
}
