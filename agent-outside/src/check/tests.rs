use std::io::Write as _;

use camino::Utf8PathBuf;
use gapferry_proto::{
    BlobRef, Digest,
    artifact::{ChartFacts, DebFacts, Evidence, FileFacts, ManifestRef, Method, PypiFacts},
};
use serde_json::json;

use super::*;

mod rpm;

/// A store and what a site shall hold of it.
struct World {
    folder: tempfile::TempDir,
    store: Store,
    artifacts: Vec<Artifact>,
    before: Vec<Artifact>,
    assumed: Option<BTreeSet<String>>,
    wants: Vec<Want>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
        let store = Store::open(root).unwrap();
        let assumed = Some(BTreeSet::new());
        Self { folder, store, artifacts: vec![], before: vec![], assumed, wants: vec![] }
    }

    fn base(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    fn put(&self, bytes: &[u8]) -> BlobRef {
        let id = self.store.put(bytes).unwrap();
        BlobRef { id, len_bytes: bytes.len() as u64 }
    }

    fn add(&mut self, name: &str, facts: Facts, blobs: Vec<BlobRef>) {
        let origin = format!("https://up.example/{name}");
        let evidence = Evidence { method: Method::Waybill, by: String::new(), digest: None };
        let wanted = vec!["a line".to_owned()];
        let name = name.to_owned();
        self.artifacts.push(Artifact { name, facts, blobs, origin, evidence, wanted });
    }

    fn file(&mut self, path: &str, bytes: &[u8]) {
        let blob = self.put(bytes);
        self.add(path, Facts::File(FileFacts { path: path.parse().unwrap() }), vec![blob]);
        self.artifacts.last_mut().unwrap().evidence.digest = Some(blob.id.digest());
    }

    fn deb(&mut self, package: &str, version: &str, fields: &str) {
        let paragraph =
            format!("Package: {package}\nVersion: {version}\nArchitecture: amd64\n{fields}");
        let facts = DebFacts {
            target: "debian-13".parse().unwrap(),
            suite: "trixie".to_owned(),
            component: "main".to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            filename: format!("pool/{package}_{version}.deb").parse().unwrap(),
            paragraph: paragraph.trim_end().to_owned(),
        };
        let blob = self.put(package.as_bytes());
        self.add(&format!("debian-13/{package}_{version}_amd64"), Facts::Deb(facts), vec![blob]);
    }

    fn wheel(&mut self, project: &str, version: &str, requires: &[&str]) {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("{project}-{version}.dist-info/METADATA"), options).unwrap();
        write!(zip, "Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n").unwrap();
        requires.iter().for_each(|one| writeln!(zip, "Requires-Dist: {one}").unwrap());
        let blob = self.put(&zip.finish().unwrap().into_inner());
        let filename = format!("{project}-{version}-py3-none-any.whl");
        let facts = PypiFacts {
            project: project.to_owned(),
            version: version.to_owned(),
            filename: filename.parse().unwrap(),
            requires_python: None,
            yanked: None,
        };
        self.add(&filename, Facts::Pypi(facts), vec![blob]);
    }

    /// An image of an index whose platforms stand in `carried` or are only named.
    fn image(&mut self, repository: &str, tag: &str, carried: &[&str], named: &[&str]) {
        let mut blobs = vec![];
        let mut manifests = vec![];
        let mut children = vec![];
        for architecture in carried.iter().chain(named) {
            let config = self.put(
                format!("{{\"architecture\":\"{architecture}\",\"os\":\"linux\"}}").as_bytes(),
            );
            let layer = self.put(format!("{repository} {architecture}").as_bytes());
            let manifest = json!({
                "schemaVersion": 2,
                "config": descriptor(&config, "application/vnd.oci.image.config.v1+json"),
                "layers": [descriptor(&layer, "application/vnd.oci.image.layer.v1.tar+gzip")],
            });
            let manifest = self.put(manifest.to_string().as_bytes());
            let mut child = descriptor(&manifest, MANIFEST);
            child["platform"] = json!({"os": "linux", "architecture": architecture});
            children.push(child);
            if carried.contains(architecture) {
                manifests.push(ManifestRef { id: manifest.id, media_type: MANIFEST.to_owned() });
                blobs.extend([manifest, config, layer]);
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        let index = self.put(index.to_string().as_bytes());
        manifests.insert(0, ManifestRef { id: index.id, media_type: INDEX.to_owned() });
        blobs.insert(0, index);
        let facts = ImageFacts {
            repository: repository.parse().unwrap(),
            tag: Some(tag.to_owned()),
            root: index.id,
            manifests,
        };
        self.add(&format!("{repository}:{tag}"), Facts::Image(facts), blobs);
    }

    fn chart(&mut self, values: &str) {
        let files = [
            ("app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n"),
            ("app/values.yaml", values),
        ];
        let gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        for (path, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let blob = self.put(&tar.into_inner().unwrap().finish().unwrap());
        let facts = ChartFacts {
            repository: "c.example/stable".parse().unwrap(),
            chart: "app".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: None,
            filename: "app-1.0.0.tgz".parse().unwrap(),
            metadata: None,
        };
        self.add("c.example/stable/app-1.0.0", Facts::Chart(facts), vec![blob]);
    }

    fn checked(&self, spec: &str) -> Report {
        let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n";
        let waybill = Waybill::parse(&format!("{head}{spec}")).unwrap();
        let snapshot = Snapshot::of(self.artifacts.clone()).unwrap();
        let before = Snapshot::of(self.before.clone()).unwrap();
        let ground = Ground {
            held: Held::new(&snapshot, &before),
            store: &self.store,
            inside: BTreeMap::new(),
            assumed: self.assumed.clone(),
            wanted: Wanted { label: "wanted inside: prod".to_owned(), wants: self.wants.clone() },
        };
        check(&ground, &[Order { waybill: &waybill, base: self.base() }])
    }

    /// What is missing, in words: kind, name, and the line that would add it.
    fn missing(&self, spec: &str) -> Vec<String> {
        self.checked(spec).missing.iter().map(words).collect()
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn descriptor(blob: &BlobRef, media_type: &str) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": blob.id.to_string(), "size": blob.len_bytes})
}

fn words(missing: &Missing) -> String {
    let line = match &missing.line {
        _ if missing.in_waybill => "sync".to_owned(),
        Some(line) => line.to_string(),
        None => "nothing".to_owned(),
    };
    format!("{}: {line}", missing.gap())
}

#[test]
fn a_file_is_missing_when_its_path_or_its_bytes_are() {
    let mut world = World::new();
    world.file("h.example/a", b"a");
    let line = |path: &str, bytes: &[u8]| {
        let sha256 = Digest::of(bytes).hex();
        format!("  files: [{{url: 'https://h.example/{path}', sha256: {sha256}}}]\n")
    };
    assert_eq!(world.missing(&line("a", b"a")), Vec::<String>::new());
    assert_eq!(world.missing(&line("a", b"b")), ["file h.example/a: sync"]);
    assert_eq!(world.missing(&line("b", b"a")), ["file h.example/b: sync"]);
    world.before = std::mem::take(&mut world.artifacts);
    let report = world.checked(&line("a", b"a"));
    assert!(report.missing[0].reason.starts_with("the inside has it now"), "{report:?}");
}

#[test]
fn an_artifact_whose_bytes_are_nowhere_is_missing() {
    let mut world = World::new();
    let blob = BlobRef { id: BlobId::of(b"gone"), len_bytes: 4 };
    world.add("h/x", Facts::File(FileFacts { path: "h/x".parse().unwrap() }), vec![blob]);
    assert_eq!(world.missing("  keep: 1\n"), ["file h/x: sync"]);
}

#[test]
fn a_closure_is_unmet_unless_every_system_has_it() {
    const LINE: &str = "  apt: [{suite: trixie, target: debian-13, architectures: [amd64], \
        packages: [socat]}]\n";
    let mut world = World::new();
    assert_eq!(world.missing(LINE), ["deb socat: sync"]);
    world.deb("socat", "1", "Depends: libwrap0 (>= 7), libc6 (>= 2.36)\n");
    let line = |package: &str| {
        format!(
            "deb {package}: apt: [{{suite: trixie, architectures: [amd64], packages: [{package}], \
             target: debian-13}}]"
        )
    };
    assert_eq!(world.missing(LINE), [line("libc6"), line("libwrap0")]);

    // Right after a resolver found everything, what is unmet is what every system has.
    world.deb("libwrap0", "7", "");
    let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n";
    let waybill = Waybill::parse(&format!("{head}{LINE}")).unwrap();
    let lines = expand(&waybill, world.base()).apt;
    let assumed = apt::assumed(&lines, world.base(), &world.artifacts);
    assert_eq!(assumed, ["debian-13 amd64: libc6 (>= 2.36)"]);
    world.assumed = Some(assumed.into_iter().collect());
    let report = world.checked(LINE);
    assert_eq!((report.missing, report.assumed.len()), (vec![], 1));
    world.artifacts.pop();
    assert_eq!(world.missing(LINE), [line("libwrap0")]);

    world.assumed = None;
    let report = world.checked(LINE);
    assert_eq!((report.missing.len(), report.not_proven.len()), (0, 2), "{report:?}");
}

#[test]
fn what_a_site_wanted_and_got_is_installed_like_what_a_line_names() {
    const SPEC: &str = "  apt:\n  - {suite: trixie, target: debian-13, architectures: [amd64, arm64], \
        packages: [socat]}\n  - {suite: bookworm, architectures: [amd64], packages: ['*']}\n  \
        pypi: [{packages: [alpha], python: ['3.11', '3.12']}]\n";
    let mut world = World::new();
    world.deb("socat", "1", "");
    world.artifacts.extend(arm64(&world.artifacts[0]));
    world.deb("tcpdump", "4", "Depends: libpcap0.8\n");
    world.deb("libpcap0.8", "1", "");
    world.wheel("alpha", "1.0", &[]);
    world.wheel("gamma", "2.0", &["delta>=1", "later; python_version < '3.12'"]);
    world.wheel("delta", "1.5", &[]);
    let want = |kind, name| Want::new(kind, name, None, None).unwrap();
    world.wants = vec![
        want(Kind::Deb, "tcpdump"),
        want(Kind::Pypi, "gamma"),
        want(Kind::File, "h.example/a"),
    ];
    world.file("h.example/a", b"a");
    // No node of arm64 or of bookworm was promised anything; Python 3.12 has it.
    let report = world.checked(SPEC);
    let missing: Vec<_> = report.missing.iter().map(words).collect();
    assert_eq!(missing, Vec::<String>::new(), "{report:?}");
    let not_proven: Vec<_> = report.not_proven.iter().map(|row| &*row.name).collect();
    assert_eq!(not_proven, ["later"], "{report:?}");
    let all = world.artifacts.clone();
    for (forgotten, expected) in [
        ("debian-13/tcpdump_", "deb tcpdump: sync"),
        ("h.example/a", "file h.example/a: sync"),
        ("gamma-", "pypi gamma: sync"),
        (
            "debian-13/libpcap",
            "deb libpcap0.8: apt: [{suite: trixie, architectures: [amd64], packages: \
             [libpcap0.8], target: debian-13}]",
        ),
        ("delta-", "pypi delta: pypi: [{packages: [delta], python: [\"3.12\"]"),
    ] {
        world.artifacts.retain(|artifact| !artifact.name.starts_with(forgotten));
        let missing = world.missing(SPEC);
        assert!(missing.iter().any(|one| one.starts_with(expected)), "{forgotten}: {missing:?}");
        world.artifacts.clone_from(&all);
    }
}

/// The same package for another architecture.
fn arm64(deb: &Artifact) -> Option<Artifact> {
    let Facts::Deb(facts) = &deb.facts else { return None };
    let paragraph = facts.paragraph.replace("amd64", "arm64");
    let facts = DebFacts { architecture: "arm64".to_owned(), paragraph, ..facts.clone() };
    let name = deb.name.replace("amd64", "arm64");
    Some(Artifact { name, facts: Facts::Deb(facts), ..deb.clone() })
}

#[test]
fn a_file_without_its_checksum_is_missing_or_not_proven() {
    let mut world = World::new();
    world.file("h.example/a", b"a");
    let line =
        format!("  files: [{{url: 'https://h.example/a', sha256: {}}}]\n", Digest::of(b"a").hex());
    world.artifacts[0].evidence.digest = None;
    let report = world.checked(&line);
    assert_eq!(report.missing.iter().map(words).collect::<Vec<_>>(), ["file h.example/a: sync"]);
    assert!(report.missing[0].reason.contains("has lost its checksum"), "{report:?}");
    std::fs::write(world.base().join("files.list"), "https://h.example/a\n").unwrap();
    let report = world.checked("  lists: {files: files.list}\n");
    let not_proven: Vec<_> = report.not_proven.iter().map(|row| &*row.name).collect();
    assert_eq!((report.missing, not_proven), (vec![], vec!["https://h.example/a"]));
}

#[test]
fn a_wheel_that_another_depends_on_is_missing_for_every_python() {
    const LINE: &str = "  pypi: [{packages: [alpha==1.0], python: ['3.11', '3.12'], \
        index: 'https://p.example/simple/'}]\n";
    let mut world = World::new();
    assert_eq!(world.missing(LINE), ["pypi alpha: sync"]);
    world.wheel("alpha", "1.0", &["beta>=2", "gamma; python_version < '3'"]);
    world.wheel("beta", "1.0", &[]);
    let report = world.checked(LINE);
    let expected = "pypi beta: pypi: [{packages: [beta], python: [\"3.11\", \"3.12\"], \
        platforms: [manylinux_2_17_x86_64], index: \"https://p.example/simple/\"}]";
    assert_eq!(report.missing.iter().map(words).collect::<Vec<_>>(), [expected]);
    assert!(report.missing[0].reason.contains("alpha 1.0 depends on beta>=2"), "{report:?}");
    assert_eq!(report.checked, BTreeMap::from([("pypi", 2)]));
    world.wheel("beta", "2.0", &[]);
    assert_eq!(world.missing(LINE), Vec::<String>::new());
}

#[test]
fn an_image_is_missing_as_a_whole_or_for_a_platform() {
    let mut world = World::new();
    world.image("r.example/a", "1", &["amd64"], &["arm64"]);
    let line = |reference: &str, platforms: &str| {
        format!("  images: [{{ref: '{reference}', platforms: [{platforms}]}}]\n")
    };
    let root = world.artifacts[0].blobs[0].id;
    for reference in ["r.example/a:1".to_owned(), format!("r.example/a@{root}")] {
        let report = world.checked(&line(&reference, "linux/amd64"));
        assert_eq!(report.missing, [], "{reference}");
    }
    let absent = ["image r.example/a:1: sync"];
    for platforms in ["linux/arm64", "linux/amd64, linux/s390x", ""] {
        assert_eq!(world.missing(&line("r.example/a:1", platforms)), absent, "{platforms}");
    }
    assert_eq!(world.missing(&line("r.example/a:2", "")), ["image r.example/a:2: sync"]);
}

#[test]
fn a_layer_that_is_not_carried_with_its_manifest_is_missing() {
    let mut world = World::new();
    world.image("r.example/a", "1", &["amd64"], &[]);
    world.artifacts[0].blobs.pop();
    let report = world.checked("  keep: 1\n");
    assert_eq!(report.missing.iter().map(words).collect::<Vec<_>>(), ["image r.example/a:1: sync"]);
    assert!(report.missing[0].reason.ends_with("is not carried"), "{report:?}");
}

#[test]
fn images_of_manifests_are_missing_and_what_nobody_proves_is_told() {
    let mut world = World::new();
    world.image("r.example/a", "1", &["amd64"], &["arm64"]);
    world.file(
        "h.example/m.yaml",
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  \
          - {image: r.example/a:1, args: ['--helper-image=r.example/helper:1']}\n  \
          - {image: r.example/b:1}\n",
    );
    world.file("h.example/compose.yml", b"services: {x: {image: r.example/c:1}}\n");
    let report = world.checked("  keep: 1\n");
    // Which platforms the nodes have, a manifest does not say.
    let missing: Vec<_> = report.missing.iter().map(words).collect();
    assert_eq!(missing, ["image r.example/b:1: images: [{ref: \"r.example/b:1\"}]"]);
    let not_proven: Vec<_> = report.not_proven.iter().map(|row| &*row.name).collect();
    assert_eq!(not_proven, ["r.example/c:1", "r.example/helper:1"]);
}

#[test]
fn a_chart_is_missing_or_its_images_are_told() {
    const LINE: &str =
        "  charts: [{repo: 'https://c.example/stable', name: app, version: ~1.0, images: true}]\n";
    let mut world = World::new();
    assert_eq!(world.missing(LINE), ["chart app: sync"]);
    world.chart("image: r.example/web:1.0\n");
    let report = world.checked(LINE);
    assert_eq!((&report.missing, report.checked["chart"]), (&vec![], 1));
    // Without a helm all images are guesses; with one this chart renders to nothing.
    let told = report.not_proven.iter().any(|row| row.name == "r.example/web:1.0");
    let path = std::env::var_os("PATH");
    let helm = crate::source::helm::render::find_helm(path.as_deref());
    assert_eq!(told, helm.is_none(), "{report:?}");
}

#[test]
fn a_part_of_a_waybill_that_cannot_be_read_is_missing() {
    let world = World::new();
    let spec =
        "  lists: {files: none.list}\n  pypi: [{requirements: none.txt, python: ['3.11']}]\n";
    assert_eq!(world.missing(spec), ["file none.list: nothing", "pypi spec.pypi[0]: nothing"]);
}

#[test]
fn a_gap_is_accepted_by_its_name_with_or_without_its_kind() {
    let world = World::new();
    let report = world.checked("  images: [{ref: 'r.example/a:1'}, {ref: 'r.example/b:1'}]\n");
    for name in ["r.example/a:1", "image r.example/a:1"] {
        let (gaps, left) = report.accept(&[name.to_owned()]);
        assert_eq!(gaps, BTreeSet::from(["image r.example/a:1".to_owned()]));
        assert_eq!(left.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["r.example/b:1"]);
    }
    assert_eq!(report.accept(&["a:1".to_owned()]).1.len(), 2);
}
