//! Rpm packages, from the lines that name them down to the headers of the packages.

use gapferry_proto::artifact::{RpmFacts, YumDocumentFacts};

use super::*;
use crate::source::yum::{header, samples};

impl World {
    /// A package, `name-version-release.arch`, with lines as `requires: a >= 1`; its header has
    /// `files`.
    fn rpm(&mut self, nevra: &str, lines: &str, files: &[&str]) {
        let (rest, architecture) = nevra.rsplit_once('.').unwrap();
        let (rest, release) = rest.rsplit_once('-').unwrap();
        let (package, version) = rest.rsplit_once('-').unwrap();
        let facts = RpmFacts {
            target: "el9".parse().unwrap(),
            repository: "m.example/el9".to_owned(),
            package: package.to_owned(),
            epoch: "0".to_owned(),
            version: version.to_owned(),
            release: release.to_owned(),
            architecture: architecture.to_owned(),
            source: String::new(),
            location: format!("{nevra}.rpm").parse().unwrap(),
            modular: false,
            element: samples::element(nevra, lines).trim().to_owned(),
        };
        let blob = self.put(&header::tests::package(files));
        self.add(&format!("el9/{nevra}"), Facts::Rpm(facts), vec![blob]);
    }

    /// A document of a yum repository that travels along.
    fn yum_document(&mut self, kind: &str, text: &str) {
        let facts = YumDocumentFacts {
            target: "el9".parse().unwrap(),
            repository: "m.example/el9".to_owned(),
            document: kind.to_owned(),
            architecture: "x86_64".to_owned(),
        };
        let blob = self.put(text.as_bytes());
        self.add(&format!("el9/{kind}.xml"), Facts::YumDocument(facts), vec![blob]);
    }

    /// Forgets an artifact.
    fn drop(&mut self, name: &str) {
        let count = self.artifacts.len();
        self.artifacts.retain(|artifact| artifact.name != name);
        assert!(self.artifacts.len() < count, "{name}");
    }

    /// What the yum lines of a waybill leave to what every system has.
    fn assumed(&self, spec: &str, files: &[(&str, &str)]) -> Vec<String> {
        let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n";
        let waybill = Waybill::parse(&format!("{head}{spec}")).unwrap();
        let lines = expand(&waybill, self.base()).yum;
        let of = |(name, path): &(&str, &str)| ((*name).to_owned(), vec![(*path).to_owned()]);
        let files = files.iter().map(of).collect();
        yum::assumed(&lines, self.base(), &self.artifacts, &files, &self.store)
    }
}

/// A line of rpm packages, and the one that would add a package to it.
fn yum(packages: &str, more: &str) -> String {
    format!(
        "yum: [{{baseurl: [\"https://m.example/el9\"], packages: [{packages}], arch: x86_64, \
         target: el9{more}}}]"
    )
}

#[test]
fn rpm_packages_of_a_closure_are_missing_each_by_what_is_required_of_it() {
    let line = format!("  {}\n", yum("socat", ""));
    let mut world = World::new();
    assert_eq!(world.missing(&line), ["rpm socat: sync"]);
    world.rpm(
        "socat-1-1.x86_64",
        "requires: libwrap.so.0()(64bit), /usr/share/words, (a-b or c), mta >= 2",
        &[],
    );
    world.rpm("socat-0-1.x86_64", "", &[]); // a client takes the highest version alone
    world.rpm("socat-9-1.aarch64", "", &[]);
    let expected = [
        ("/usr/share/words", "\"/usr/share/words\""),
        ("a-b", "a-b"),
        ("libwrap.so.0()(64bit)", "\"libwrap.so.0()(64bit)\""),
        ("mta", "mta"),
    ];
    let expected = expected.map(|(name, entry)| format!("rpm {name}: {}", yum(entry, "")));
    let report = world.checked(&line);
    assert_eq!(report.missing.iter().map(words).collect::<Vec<_>>(), expected);
    let reason = "socat-1-1.x86_64 requires mta >= 2, and el9 x86_64 would not have it";
    assert_eq!(report.missing[3].reason, reason);
    assert_eq!((&report.not_proven, &report.checked), (&vec![], &BTreeMap::from([("rpm", 1)])));

    world.rpm("tcp-1-1.x86_64", "provides: libwrap.so.0()(64bit)\nrequires: lib", &[]);
    world.rpm("words-1-1.noarch", "", &["/usr/share/words"]);
    world.rpm("c-1-1.noarch", "", &[]);
    world.rpm("mail-1-1.x86_64", "provides: mta = 2", &[]);
    assert_eq!(world.missing(&line), [format!("rpm lib: {}", yum("lib", ""))]);
    world.rpm("lib-1-1.x86_64", "", &[]);
    assert_eq!(world.missing(&line), Vec::<String>::new());
    // What nobody says a system has is never assumed.
    world.assumed = Some(BTreeSet::from(["el9 x86_64: lib".to_owned()]));
    world.drop("el9/lib-1-1.x86_64");
    assert_eq!(world.missing(&line).len(), 1);
}

#[test]
fn rpm_packages_of_several_lines_complete_each_other() {
    let two = format!(
        "  yum:\n    - {{baseurl: 'https://n.example/third', packages: [engine], arch: x86_64, \
         target: el9}}\n    - {}\n",
        &yum("mail", "")[6..].trim_end_matches(']')
    );
    let mut world = World::new();
    world.rpm("engine-1-1.x86_64", "requires: lib", &[]);
    world.rpm("mail-1-1.x86_64", "conflicts: other", &[]);
    // Nothing here tells which of the two repositories has it.
    assert_eq!(world.missing(&two), ["rpm lib: sync"]);
    world.rpm("lib-1-1.x86_64", "", &[]);
    let report = world.checked(&two);
    assert_eq!((report.missing, report.checked["rpm"]), (vec![], 1));
    world.drop("el9/mail-1-1.x86_64");
    world.rpm("mail-1-1.x86_64", "requires: lib\nconflicts: lib", &[]);
    let report = world.checked(&two);
    assert_eq!(report.missing.iter().map(words).collect::<Vec<_>>(), ["rpm mail: nothing"]);
    assert!(report.missing[0].reason.ends_with("mail-1-1.x86_64 conflicts with lib"), "{report:?}");
}

#[test]
fn rpm_packages_that_a_site_wanted_are_installed_too() {
    let line = format!("  {}\n", yum("socat", ""));
    let mut world = World::new();
    world.rpm("socat-1-1.x86_64", "", &[]);
    world.rpm("strace-6-1.x86_64", "requires: libdw", &[]);
    assert_eq!(world.missing(&line), Vec::<String>::new(), "nobody asked for it");
    world.wants = vec![Want::new(Kind::Rpm, "strace", None, Some("el9")).unwrap()];
    assert_eq!(world.missing(&line), [format!("rpm libdw: {}", yum("libdw", ""))]);
    world.rpm("libdw-1-1.x86_64", "", &[]);
    assert_eq!(world.missing(&line), Vec::<String>::new());
    world.drop("el9/strace-6-1.x86_64");
    assert_eq!(world.missing(&line), ["rpm strace: sync"]);
}

#[test]
fn what_a_minimal_system_has_is_assumed_and_nothing_else() {
    let line = format!("  {}\n", yum("app, bash", ", minimal: core"));
    let mut world = World::new();
    world.rpm("app-1-1.x86_64", "requires: glibc >= 2, lib, /usr/share/a", &[]);
    world.rpm("lib-1-1.x86_64", "requires: glibc >= 2, (setup if app)", &["/usr/share/a"]);
    let files = [("el9/lib-1-1.x86_64", "/usr/share/a")];
    let assumed = world.assumed(&line, &files);
    let expected = ["el9 x86_64: (setup if app)", "el9 x86_64: bash", "el9 x86_64: glibc >= 2"];
    assert_eq!(assumed, expected);
    world.assumed = Some(assumed.iter().cloned().collect());
    let report = world.checked(&line);
    assert_eq!((report.missing, report.assumed), (vec![], assumed.into_iter().collect()));
    world.drop("el9/lib-1-1.x86_64");
    let more = ", minimal: core";
    let expected = [
        format!("rpm /usr/share/a: {}", yum("\"/usr/share/a\"", more)),
        format!("rpm lib: {}", yum("lib", more)),
    ];
    assert_eq!(world.missing(&line), expected);
    world.assumed = None;
    let report = world.checked(&line);
    let missing: Vec<_> = report.missing.iter().map(words).collect();
    assert_eq!((missing, report.not_proven.len()), (vec!["rpm bash: sync".to_owned()], 3));
}

#[test]
fn groups_and_security_updates_are_those_of_the_documents_that_travel_along() {
    let line = format!("  {}\n", yum("\"@tools\"", ", security: true"));
    let mut world = World::new();
    assert_eq!(world.missing(&line), ["rpm @tools: sync"]);
    let group = "<comps><group><id>tools</id><packagelist><packagereq type=\"default\">a\
         </packagereq></packagelist></group></comps>";
    world.yum_document("group", group);
    world.rpm("a-1-1.x86_64", "requires: b", &[]);
    let update = "<updates><update type=\"security\"><id>A-1</id><pkglist><collection>\
         <package name=\"c\" version=\"1\" release=\"1\" epoch=\"0\" arch=\"x86_64\"/></collection>\
         </pkglist></update></updates>";
    world.yum_document("updateinfo", update);
    world.rpm("c-1-1.x86_64", "requires: d", &[]);
    let expected = ["b", "d"].map(|name| format!("rpm {name}: {}", yum(name, "")));
    assert_eq!(world.missing(&line), expected);
    world.drop("el9/group.xml");
    world.yum_document("group", "<comps><group>");
    assert_eq!(world.missing(&line), ["rpm spec.yum[0]: nothing"]);
}
