use gapferry_proto::{
    BlobId,
    artifact::{DebFacts, Evidence, FileFacts, ImageFacts, ManifestRef, PypiFacts},
};

use super::*;

/// The golden file of that name; it changes only together with the form that it shows.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("testdata/", $name))
    };
}

fn blob(content: &str, len_bytes: u64) -> BlobRef {
    BlobRef { id: BlobId::of(content.as_bytes()), len_bytes }
}

fn artifact(name: &str, facts: Facts, blobs: Vec<BlobRef>, origin: &str) -> Artifact {
    let evidence = Evidence { method: Method::Unverified, by: String::new(), digest: None };
    Artifact {
        name: name.to_owned(),
        facts,
        blobs,
        origin: origin.to_owned(),
        evidence,
        wanted: vec![],
    }
}

fn with(artifact: Artifact, method: Method, by: &str, wanted: &[&str]) -> Artifact {
    let digest = artifact.blobs.first().map(|blob| blob.id.digest());
    let wanted = wanted.iter().map(|&why| why.to_owned()).collect();
    Artifact { evidence: Evidence { method, by: by.to_owned(), digest }, wanted, ..artifact }
}

fn kubelet(content: &str, by: &str) -> Artifact {
    let path = "dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubelet";
    let facts = Facts::File(FileFacts { path: path.parse().unwrap() });
    let kubelet =
        artifact(path, facts, vec![blob(content, 58_110_244)], &format!("https://{path}"));
    with(kubelet, Method::Waybill, by, &[&format!("{by}: https://{path}")])
}

fn image(tag: &str) -> Artifact {
    let root = blob(&format!("index {tag}"), 2405);
    let facts = ImageFacts {
        repository: "registry.k8s.io/pause".parse().unwrap(),
        tag: Some(tag.to_owned()),
        root: root.id,
        manifests: vec![ManifestRef { id: root.id, media_type: String::new() }],
    };
    let name = format!("registry.k8s.io/pause:{tag}");
    let origin = format!("https://registry.k8s.io/v2/pause/manifests/{tag}");
    let layer = blob("layer", 320_448);
    let image = artifact(&name, Facts::Image(facts), vec![root, layer, layer], &origin);
    with(image, Method::OciDigest, &origin, &[&format!("spec.images[0]: {name}")])
}

fn deb() -> Artifact {
    let facts = DebFacts {
        target: "bookworm".parse().unwrap(),
        suite: "bookworm-updates".to_owned(),
        component: "main".to_owned(),
        package: "g++".to_owned(),
        version: "4:12.2.0-3+b1".to_owned(),
        architecture: "amd64".to_owned(),
        filename: "pool/main/g/gcc/g++_12.2.0-3+b1_amd64.deb".parse().unwrap(),
        paragraph: String::new(),
    };
    let origin = "https://deb.example/debian/pool/main/g/gcc/g++_12.2.0-3+b1_amd64.deb";
    let name = "bookworm/g++_4:12.2.0-3+b1_amd64";
    let deb = artifact(name, Facts::Deb(facts), vec![blob("deb", 1356)], origin);
    let why =
        ["=cmd|' /C calc'!A0", "spec.apt[0]: \"g++\"", "x depends on g++", "y depends on g++", "z"];
    with(deb, Method::AptInRelease, "4D64FEC119C2029067D6E791F8D2585B8783D481", &why)
}

fn wheel() -> Artifact {
    let file = "netaddr-1.3.0-py3-none-any.whl";
    let facts = PypiFacts {
        project: "netaddr".to_owned(),
        version: "1.3.0".to_owned(),
        filename: file.parse().unwrap(),
        requires_python: Some(">=3.7".to_owned()),
        yanked: None,
    };
    let origin = format!("https://files.example/{file}");
    let wheel = artifact(file, Facts::Pypi(facts), vec![blob("wheel", 2_262_023)], &origin);
    with(
        wheel,
        Method::PypiIndex,
        "https://index.example/simple/",
        &["spec.pypi[0]: netaddr==1.3.0"],
    )
}

/// From a folder of the bastion, vouched for by nobody, with a name that turns around.
fn unverified() -> Artifact {
    let path = "h.example/tools/\u{202e}yq";
    let facts = Facts::File(FileFacts { path: path.parse().unwrap() });
    artifact(path, facts, vec![blob("yq", 9)], "dir:/srv/a b")
}

fn licence(artifact: &Artifact) -> Option<String> {
    match artifact.kind() {
        Kind::File => Some("Apache-2.0".to_owned()),
        Kind::Pypi => Some("BSD License".to_owned()),
        _ => None,
    }
}

/// A changed file and one added, an image added and one removed, a deb kept, a wheel added.
fn approval() -> Approval {
    let old = [image("3.10"), kubelet("before", "spec.files[0]"), deb()];
    let new = [wheel(), deb(), image("3.10.1"), unverified(), kubelet("after", "spec.files[1]")];
    Approval::new(&old, &new, licence)
}

fn about() -> spdx::About<'static> {
    spdx::About {
        name: "prod",
        snapshot: gapferry_proto::SnapshotId::of(b"snapshot"),
        created: "2026-11-24T12:30:00.5+01:00".parse().unwrap(),
        tool: "gapferry-outside-0.1.0",
    }
}

#[test]
fn the_text_names_what_changes_and_counts_what_stays() {
    assert_eq!(text::text(&approval(), false), golden!("approval.txt"));
}

#[test]
fn the_json_has_every_row_whole() {
    let json = serde_json::to_string_pretty(&approval()).unwrap();
    assert_eq!(format!("{json}\n"), golden!("approval.json"));
}

#[test]
fn the_csv_has_every_row_and_no_formula() {
    assert_eq!(csv::csv(&approval()), golden!("approval.csv"));
}

#[test]
fn the_bill_of_materials_has_what_the_inside_shall_hold() {
    let bytes = spdx::document(&approval(), &about()).encode();
    assert_eq!(String::from_utf8(bytes).unwrap(), golden!("approval.spdx.json"));
}

#[test]
fn the_order_of_the_artifacts_does_not_matter() {
    let mut new =
        [wheel(), deb(), image("3.10.1"), unverified(), kubelet("after", "spec.files[1]")];
    new.reverse();
    let old = [deb(), kubelet("before", "spec.files[0]"), image("3.10")];
    assert_eq!(Approval::new(&old, &new, licence), approval());
}

#[test]
fn a_moved_line_of_the_waybill_changes_nothing_but_another_key_does() {
    let none = |_: &Artifact| None;
    let change = |old: &Artifact, new: &Artifact| {
        let row = Approval::new([old], [new], none).rows.remove(0);
        (row.change, row.differs)
    };
    let [one, other] = ["spec.files[0]", "spec.files[1]"].map(|by| kubelet("same", by));
    assert_eq!(change(&one, &other), (Change::Kept, vec![]));
    let rekeyed = with(deb(), Method::AptInRelease, "another key", &[]);
    assert_eq!(change(&deb(), &rekeyed), (Change::Changed, vec!["evidence"]));
    let moved = Artifact { origin: "https://mirror.example/a".to_owned(), ..deb() };
    assert_eq!(change(&deb(), &moved), (Change::Changed, vec!["origin"]));
}

#[test]
fn a_blob_that_is_held_or_shared_does_not_enter_twice() {
    let sums = Approval::new(&[image("3.10")], &[image("3.10"), image("3.10.1")], |_| None).sums;
    let expected = Sums { added: 1, kept: 1, bytes_entering: 2405, ..Sums::default() };
    assert_eq!(sums, expected);
}

#[test]
fn an_artifact_without_blobs_is_listed_and_does_no_harm() {
    let empty = Artifact { blobs: vec![], ..wheel() };
    let approval = Approval::new(&[], &[empty], |_| None);
    assert_eq!((approval.rows[0].digest, approval.rows[0].bytes), (None, 0));
    assert!(!spdx::document(&approval, &about()).encode().is_empty());
}

#[test]
fn a_licence_is_an_expression_only_when_the_list_knows_it() {
    let declared = |licence: &str| {
        let approval = Approval::new(&[], &[wheel()], |_| Some(licence.to_owned()));
        let document = serde_json::to_value(spdx::document(&approval, &about())).unwrap();
        document["packages"][0]["licenseDeclared"].as_str().unwrap().to_owned()
    };
    assert_eq!(declared("MIT OR Apache-2.0"), "MIT OR Apache-2.0");
    assert_eq!(declared(" "), "NOASSERTION");
    for words in ["BSD", "MIT OR", "MIT MIT", "OR", "GPL (see file)", "MIT  OR ISC"] {
        assert!(declared(words).starts_with("LicenseRef-"), "{words}");
    }
}
