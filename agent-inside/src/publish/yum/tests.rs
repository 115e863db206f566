//! What is rendered of packages and documents, and what is refused.

use gapferry_proto::BlobId;

use super::*;
use crate::publish::fixture::{self, HeldBytes};

fn snapshot() -> (Snapshot, HeldBytes) {
    let package = header::tests::package();
    let group = gzip(b"<comps><group><id>core</id></group></comps>");
    let other = b"<comps><group><id>base</id></group></comps>".to_vec();
    let artifacts = [
        fixture::rpm("el9", "words", "1.0", &package),
        fixture::rpm("el9", "a-b", "2.0", b"no rpm"),
        fixture::yum_document("el9", "baseos", "group", &group),
        fixture::yum_document("el9", "appstream", "group", &other),
        fixture::yum_document("el9", "appstream", "modules", b"---\ndocument: x\n"),
        fixture::yum_document("el9", "appstream", "productid", b"x"),
        fixture::rpm("el8", "words", "1.0", &package),
    ];
    let held = HeldBytes::of(&[&package, b"no rpm", &group, &other, b"---\ndocument: x\n"]);
    (Snapshot::of(artifacts).unwrap(), held)
}

fn documents() -> BTreeMap<SafePath, Vec<u8>> {
    let (snapshot, held) = snapshot();
    render(&snapshot, &held).unwrap().into_iter().collect()
}

/// The plain form of the document of that name, whatever its hash.
fn plain(target: &str, file: &str) -> String {
    let documents = documents();
    let of = |path: &&SafePath| {
        path.as_str().starts_with(&format!("yum/{target}/repodata/"))
            && path.as_str().ends_with(&format!("-{file}"))
    };
    let path = documents.keys().find(of).unwrap();
    String::from_utf8(unpacked(&documents[path], 1 << 20).unwrap()).unwrap()
}

#[test]
fn a_target_has_one_index_of_all_its_packages() {
    let package = header::tests::package();
    let element = |name: &str, version: &str, content: &[u8]| {
        let Facts::Rpm(facts) = fixture::rpm("el9", name, version, content).facts else {
            unreachable!()
        };
        facts.element
    };
    assert_eq!(
        plain("el9", "primary.xml.gz"),
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <metadata xmlns=\"{COMMON}\" xmlns:rpm=\"{RPM}\" packages=\"2\">\n{}\n{}\n</metadata>\n",
            element("a-b", "2.0", b"no rpm"),
            element("words", "1.0", &package),
        )
    );
    assert!(plain("el8", "primary.xml.gz").contains("packages=\"1\""));
}

#[test]
fn files_and_changes_come_out_of_the_packages_themselves() {
    let (unread, words) =
        (BlobId::of(b"no rpm").hex(), BlobId::of(&header::tests::package()).hex());
    let head = |root: &str, name: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{name}\" packages=\"2\">\n"
        )
    };
    let begin = |id: &str, name: &str, version: &str| {
        format!(
            "<package pkgid=\"{id}\" name=\"{name}\" arch=\"noarch\">\
             <version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\n"
        )
    };
    let (a_b, words) = (begin(&unread, "a-b", "2.0"), begin(&words, "words", "1.0"));
    assert_eq!(
        plain("el9", "filelists.xml.gz"),
        format!(
            "{}{a_b}</package>\n{words}<file>/usr/share/dict/words</file>\n\
             <file type=\"dir\">/usr/share/dict</file>\n\
             <file type=\"ghost\">/usr/share/&amp;log</file>\n</package>\n</filelists>\n",
            head("filelists", FILELISTS)
        )
    );
    assert_eq!(
        plain("el9", "other.xml.gz"),
        format!(
            "{}{a_b}</package>\n{words}<changelog author=\"A\" date=\"5\">- old</changelog>\n\
             <changelog author=\"B &lt;b@x&gt;\" date=\"9\">- new</changelog>\n\
             </package>\n</otherdata>\n",
            head("otherdata", OTHER)
        )
    );
}

#[test]
fn documents_of_several_repositories_are_one_and_unknown_ones_are_left_out() {
    let groups = plain("el9", "comps.xml");
    assert!(groups.contains("<id>core</id>") && groups.contains("<id>base</id>"), "{groups}");
    assert_eq!(plain("el9", "comps.xml.gz"), groups);
    assert_eq!(plain("el9", "modules.yaml.gz"), "---\ndocument: x\n");
    let names = documents().into_keys().filter(|p| p.as_str().starts_with("yum/el9/"));
    assert_eq!(names.count(), 7, "six documents and the head");
}

#[test]
fn a_target_is_packed_by_zstd_where_upstream_packs_by_nothing_else() {
    let (comps, modules) = (&b"<comps/>"[..], &b"---\ndocument: x\n"[..]);
    let names = |documents: [Vec<u8>; 2]| {
        let [groups, streams] = &documents;
        let artifacts = [
            fixture::yum_document("el10", "baseos", "group", groups),
            fixture::yum_document("el10", "appstream", "modules", streams),
        ];
        let held = HeldBytes::of(&[groups, streams]);
        let rendered = render(&Snapshot::of(artifacts).unwrap(), &held).unwrap();
        let name = |(path, bytes): (SafePath, Vec<u8>)| {
            let (_, name) = path.as_str().rsplit_once('-')?;
            assert_eq!(
                Packing::of(&bytes).is_some(),
                name.ends_with(".gz") || name.ends_with(".zst")
            );
            Some(name.to_owned())
        };
        let mut names: Vec<_> = rendered.into_iter().filter_map(name).collect();
        names.sort();
        names
    };
    let by_zstd =
        ["comps.xml", "filelists.xml.zst", "modules.yaml.zst", "other.xml.zst", "primary.xml.zst"];
    assert_eq!(names([zstd(comps), zstd(modules)]), by_zstd);
    assert_eq!(names([comps.to_vec(), zstd(modules)]), by_zstd);
    let by_gzip = [
        "comps.xml",
        "comps.xml.gz",
        "filelists.xml.gz",
        "modules.yaml.gz",
        "other.xml.gz",
        "primary.xml.gz",
    ];
    assert_eq!(names([gzip(comps), zstd(modules)]), by_gzip);
    assert_eq!(names([comps.to_vec(), modules.to_vec()]), by_gzip);
}

#[test]
fn the_head_lists_every_document_with_the_date_it_is_given() {
    let documents = documents();
    let date = Timestamp::from_second(1_795_000_000).unwrap();
    let heads = repomd(&documents, date).unwrap();
    let names: Vec<_> = heads.keys().map(SafePath::as_str).collect();
    assert_eq!(names, ["yum/el8/repodata/repomd.xml", "yum/el9/repodata/repomd.xml"]);
    let head = &heads[&"yum/el8/repodata/repomd.xml".parse().unwrap()];
    let listed = listed(head).unwrap();
    let [primary, filelists, other] = &listed[..] else { panic!("{listed:?}") };
    for one in [primary, filelists, other] {
        let bytes = &documents[&format!("yum/el8/{}", one.path).parse().unwrap()];
        assert_eq!((Digest::of(bytes), bytes.len() as u64), (one.digest, one.len_bytes));
    }
    let plain = plain("el8", "primary.xml.gz");
    let (hex, open) = (primary.digest.hex(), Digest::of(plain.as_bytes()).hex());
    let begin = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"{REPO}\" xmlns:rpm=\"{RPM}\">\n  \
         <revision>1795000000</revision>\n  <data type=\"primary\">\n    \
         <checksum type=\"sha256\">{hex}</checksum>\n    \
         <open-checksum type=\"sha256\">{open}</open-checksum>\n    \
         <location href=\"repodata/{hex}-primary.xml.gz\"/>\n    \
         <timestamp>1795000000</timestamp>\n    <size>{}</size>\n    \
         <open-size>{}</open-size>\n  </data>\n  <data type=\"filelists\">\n",
        primary.len_bytes,
        plain.len()
    );
    assert!(head.starts_with(&begin), "{head}");
}

#[test]
fn a_document_that_cannot_be_merged_is_refused_by_name() {
    let two = [
        fixture::yum_document("el9", "a", "group", b"<comps/>"),
        fixture::yum_document("el9", "b", "group", b"<html/>"),
    ];
    let held = HeldBytes::of(&[b"<comps/>", b"<html/>"]);
    let failure = render(&Snapshot::of(two).unwrap(), &held).unwrap_err();
    assert_eq!(failure.to_string(), "el9/b/x86_64/group cannot be served: its root is another");
    let torn = [fixture::yum_document("el9", "a", "group", b"\x1f\x8bx")];
    let failure = render(&Snapshot::of(torn).unwrap(), &HeldBytes::of(&[b"\x1f\x8bx"]));
    assert!(matches!(failure, Err(PublishError::Merge { .. })), "{failure:?}");
}

#[test]
fn a_package_that_is_not_held_is_a_fault_and_one_among_the_metadata_is_refused() {
    let package = fixture::rpm("el9", "a", "1", b"a");
    let lost = Snapshot::of([package.clone()]).unwrap();
    assert!(matches!(render(&lost, &HeldBytes::default()), Err(PublishError::Read { .. })));
    let Facts::Rpm(facts) = &package.facts else { unreachable!() };
    let key = format!("keys/{}.asc", "a".repeat(40));
    for location in ["repodata/repomd.xml", &key] {
        let facts = RpmFacts { location: location.parse().unwrap(), ..facts.clone() };
        let refused = check(&package, &facts);
        assert!(matches!(refused, Err(PublishError::Element { .. })), "{location}");
    }
}

#[test]
fn a_head_of_foreign_make_is_not_taken() {
    for bad in ["", "<data type=\"x\">", "<repomd ><data type=\"primary\"><size>1</size>"] {
        assert_eq!(listed(bad), None, "{bad}");
    }
    let documents = [("yum/t/repodata/repomd.undated".parse().unwrap(), b"\xff".to_vec())];
    let failure = repomd(&documents.into(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(matches!(failure, PublishError::Document(_)), "{failure}");
}
