//! Blobs from every kind of source into a folder.

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use gapferry_proto::artifact::{ChartFacts, Evidence, FileFacts, ImageFacts, ManifestRef, Method};

use super::*;
use crate::source::http::{
    Network,
    upstream::{Upstream, client, ranged},
};

/// A folder in the place of a store.
struct Folder {
    dir: Utf8PathBuf,
    _temporary: tempfile::TempDir,
}

impl Folder {
    fn new() -> Arc<Self> {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
        Arc::new(Self { dir, _temporary: temporary })
    }

    fn files(&self) -> Vec<Vec<u8>> {
        let files = fs::read_dir(&self.dir).unwrap();
        let mut files: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        files.sort();
        files
    }
}

impl Sink for Folder {
    fn partial_path(&self, id: BlobId) -> Utf8PathBuf {
        self.dir.join(format!("{}.part", id.hex()))
    }

    fn adopt(&self, blob: BlobRef, partial: &Utf8Path) -> io::Result<()> {
        fs::rename(partial, self.dir.join(blob.id.hex()))
    }
}

fn blob(bytes: &[u8]) -> BlobRef {
    BlobRef { id: BlobId::of(bytes), len_bytes: bytes.len() as u64 }
}

fn item(name: &str, bytes: &[u8], source: Source) -> Item {
    Item { kind: Kind::File, name: name.to_owned(), blob: blob(bytes), source }
}

async fn run(wanted: Vec<Item>, into: &Arc<Folder>) -> Vec<Failure> {
    let into: Arc<dyn Sink> = Arc::clone(into) as Arc<dyn Sink>;
    fetch(&client(Network::default()), wanted, into, 2, &Progress::silent()).await
}

#[tokio::test]
async fn a_blob_is_fetched_once_and_every_failure_is_told() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/a" => ranged(seen, b"a"),
        "/lying" => ranged(seen, b"x"),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let at = |path: &str| Source::Url(upstream.at(path));
    let wanted = vec![
        item("gone-first", b"a", at("/gone")),
        item("one", b"a", at("/a")),
        item("two", b"a", at("/a")),
        item("lying", b"b", at("/lying")),
        item("missing", b"c", at("/c")),
        item("also-missing", b"c", at("/c")),
    ];
    let folder = Folder::new();
    let failures = run(wanted, &folder).await;
    let failures: Vec<_> = failures.iter().map(|f| (f.name.as_str(), f.verdict)).collect();
    let missing = Verdict::Missing;
    let expected = [("also-missing", missing), ("lying", Verdict::Refused), ("missing", missing)];
    assert_eq!(failures, expected);
    assert_eq!(folder.files(), [b"a"]);
    assert_eq!(upstream.seen().iter().filter(|seen| seen.path == "/a").count(), 1);
}

#[tokio::test]
async fn a_layouts_blob_is_copied_when_its_digest_is_right() {
    let from = Folder::new();
    let [good, bad] = ["good", "bad"].map(|name| from.dir.join(name));
    fs::write(&good, "good").unwrap();
    fs::write(&bad, "evil").unwrap();
    let wanted = vec![
        item("good", b"good", Source::Layout(good)),
        item("bad", b"bad!", Source::Layout(bad)),
        item("none", b"none", Source::Layout(from.dir.join("none"))),
    ];
    let folder = Folder::new();
    let failures = run(wanted, &folder).await;
    let failures: Vec<_> = failures.iter().map(|f| (f.name.as_str(), f.verdict)).collect();
    assert_eq!(failures, [("bad", Verdict::Refused), ("none", Verdict::Missing)]);
    assert_eq!(folder.files(), [b"good"]);
}

#[tokio::test]
async fn a_token_that_ends_on_the_way_is_renewed_and_the_blob_goes_on() {
    let upstream = Upstream::start(|seen| {
        if seen.path.starts_with("/token") {
            return format!(r#"{{"token":"t{}"}}"#, seen.nth).into_response();
        }
        match (seen.header("authorization"), seen.header("range")) {
            (Some("Bearer t0"), None) => crate::source::http::upstream::broken(b"01234", 10),
            (Some("Bearer t1"), Some("bytes=5-")) => ranged(seen, b"0123456789"),
            _ => {
                let realm = format!("http://{}/token", seen.header("host").unwrap());
                let challenge = format!(r#"Bearer realm="{realm}""#);
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
            }
        }
    })
    .await;
    let source = Source::Oci { repository: upstream.at("/v2/a/b"), shelf: Shelf::Blobs };
    let folder = Folder::new();
    let failures = run(vec![item("a", b"0123456789", source)], &folder).await;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(folder.files(), [b"0123456789"]);
}

fn artifact(facts: Facts, blobs: &[&[u8]], origin: &str) -> Artifact {
    Artifact {
        name: "a".to_owned(),
        facts,
        blobs: blobs.iter().map(|bytes| blob(bytes)).collect(),
        origin: origin.to_owned(),
        evidence: Evidence { method: Method::Waybill, by: String::new(), digest: None },
        wanted: Vec::new(),
    }
}

#[test]
fn an_artifacts_origin_says_where_each_of_its_blobs_is() {
    let file = Facts::File(FileFacts { path: "h/a".parse().unwrap() });
    let image = Facts::Image(ImageFacts {
        repository: "h/r".parse().unwrap(),
        tag: None,
        root: BlobId::of(b"m"),
        manifests: vec![ManifestRef { id: BlobId::of(b"m"), media_type: "x".to_owned() }],
    });
    let base = Utf8Path::new("/base");

    let url: Url = "https://h/a?x=1".parse().unwrap();
    let of_file = artifact(file.clone(), &[b"f"], url.as_str());
    assert_eq!(sources(&of_file, base).unwrap(), [(blob(b"f"), Source::Url(url))]);

    let of_image = artifact(image.clone(), &[b"m", b"l"], "https://h/v2/r/manifests/1.0");
    let oci = |shelf| Source::Oci { repository: "https://h/v2/r".parse().unwrap(), shelf };
    let expected = [(blob(b"m"), oci(Shelf::Manifests)), (blob(b"l"), oci(Shelf::Blobs))];
    assert_eq!(sources(&of_image, base).unwrap(), expected);

    let of_layout = artifact(image.clone(), &[b"m"], "oci:dir");
    let path = Utf8PathBuf::from(format!("/base/dir/blobs/sha256/{}", BlobId::of(b"m").hex()));
    assert_eq!(sources(&of_layout, base).unwrap(), [(blob(b"m"), Source::Layout(path))]);

    for bad in [artifact(file, &[b"f"], "no url"), artifact(image, &[b"m"], "https://h/v2/r")] {
        assert!(matches!(sources(&bad, base), Err(FetchError::Origin(_))));
    }
}

fn chart_facts() -> Facts {
    Facts::Chart(ChartFacts {
        repository: "c.example".parse().unwrap(),
        chart: "a".to_owned(),
        version: "1.0.0".to_owned(),
        app_version: None,
        filename: "a-1.0.0.tgz".parse().unwrap(),
        metadata: None,
    })
}

#[test]
fn a_chart_has_its_provenance_beside_it_or_lies_on_disk() {
    let base = Utf8Path::new("/base");
    let origin = "https://c.example/a-1.0.0.tgz?t=1";
    let signed = artifact(chart_facts(), &[b"a", b"p"], origin);
    let url = |text: &str| Source::Url(text.parse().unwrap());
    let prov = url("https://c.example/a-1.0.0.tgz.prov?t=1");
    let expected = [(blob(b"a"), url(origin)), (blob(b"p"), prov)];
    assert_eq!(sources(&signed, base).unwrap(), expected);
    let local = artifact(chart_facts(), &[b"a"], "file:charts/a");
    let expected = [(blob(b"a"), Source::Chart("/base/charts/a".into()))];
    assert_eq!(sources(&local, base).unwrap(), expected);
    for bad in [
        artifact(chart_facts(), &[b"a"], "no url"),
        artifact(chart_facts(), &[b"a", b"p"], "file:charts/a"),
    ] {
        assert!(matches!(sources(&bad, base), Err(FetchError::Origin(_))), "{bad:?}");
    }
}

#[tokio::test]
async fn a_chart_on_disk_is_packed_again_and_must_be_the_same() {
    let disk = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(disk.path()).unwrap();
    fs::create_dir(base.join("a")).unwrap();
    fs::write(base.join("a/Chart.yaml"), "name: a\nversion: 1.0.0\n").unwrap();
    let (bytes, _) = helm::archive_on_disk(&base.join("a")).unwrap();
    fs::write(base.join("a.tgz"), &bytes).unwrap();
    for path in ["a", "a.tgz"] {
        let folder = Folder::new();
        let item = item("a", &bytes, Source::Chart(base.join(path)));
        assert!(run(vec![item], &folder).await.is_empty());
        assert_eq!(folder.files(), [bytes.to_vec()]);
    }
    let folder = Folder::new();
    let other = item("other", b"other", Source::Chart(base.join("a")));
    let gone = item("gone", b"gone", Source::Chart(base.join("none")));
    let verdicts: Vec<_> =
        run(vec![other, gone], &folder).await.iter().map(|failure| failure.verdict).collect();
    assert_eq!(verdicts, [Verdict::Configuration, Verdict::Refused]);
    assert!(folder.files().is_empty());
}
