//! One request through the router in process for each route and each bad input.

use std::fs;
use std::sync::{LazyLock, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use camino::Utf8Path;
use gapferry_common::openpgp::sign::SiteKey;
use gapferry_proto::{Artifact, Sequence, Snapshot};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::publish::{self, fixture};

mod connections;
mod front;
mod push;

static KEY: LazyLock<SiteKey> =
    LazyLock::new(|| SiteKey::generate("Site prod", Timestamp::UNIX_EPOCH).unwrap());

type Noted = Arc<Mutex<Vec<(Kind, String)>>>;

struct NotedWants(Noted);

impl WantSink for NotedWants {
    fn want(&self, want: Want, _: Option<String>) {
        self.0.lock().unwrap().push((want.kind, want.name));
    }

    fn all(&self) -> Vec<Want> {
        let noted = self.0.lock().unwrap();
        noted.iter().filter_map(|(kind, name)| Want::new(*kind, name, None, None).ok()).collect()
    }
}

/// The blobs of a test's site; those that no test puts there are empty.
struct OnDisk(BlobPaths);

impl publish::Held for OnDisk {
    fn open(&self, id: gapferry_proto::BlobId) -> std::io::Result<bytes::Bytes> {
        Ok(fs::read(self.0.path(&id.digest())).unwrap_or_default().into())
    }
}

/// A site in a folder of its own, with every blob that its artifacts name.
struct TestSite {
    folder: tempfile::TempDir,
    app: Arc<App>,
    wants: Noted,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of an error of `/v2/`.
    fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

impl TestSite {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let wants = Noted::default();
        let app = App::new(
            "prod".parse().unwrap(),
            KEY.public_armoured().unwrap(),
            BlobPaths::new(root),
            Box::new(NotedWants(Arc::clone(&wants))),
        );
        Self { folder, app: Arc::new(app), wants }
    }

    fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    fn put(&self, content: &[u8]) {
        let path = self.app.blobs.path(&gapferry_proto::Digest::of(content));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn render(&self, snapshot: &Snapshot) -> publish::Tree {
        publish::render(snapshot, &OnDisk(self.app.blobs.clone())).unwrap()
    }

    fn generation(&self, sequence: u64, artifacts: &[Artifact]) -> Generation {
        let snapshot = Snapshot::of(artifacts.iter().cloned()).unwrap();
        let documents = self.root().join(format!("trees/{sequence}"));
        for (path, bytes) in self.render(&snapshot).into_documents() {
            write(&documents.join(path.as_str()), &bytes);
        }
        Generation { sequence: Sequence(sequence), snapshot, documents }
    }

    /// Makes the last of `generations` current.
    fn switch(&self, generations: &[&[Artifact]]) {
        let number = generations.len() as u64;
        let heads = self.root().join(format!("heads/{number}"));
        let mut kept: Vec<_> =
            (1..).zip(generations).map(|(n, artifacts)| self.generation(n, artifacts)).collect();
        let current = kept.pop().unwrap();
        let documents = self.render(&current.snapshot);
        let date = Timestamp::from_second(1_700_000_000).unwrap();
        for (path, bytes) in publish::heads(documents.documents(), date, &KEY).unwrap() {
            write(&heads.join(path.as_str()), &bytes);
        }
        kept.reverse();
        self.app.switch(Site::new(Activation { number, heads, current, kept }).unwrap());
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Body::empty()).unwrap()).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = router(Arc::clone(&self.app)).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: to_bytes(body, 64 << 20).await.unwrap().into(),
        }
    }

    async fn post(&self, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method("POST").uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        self.answer(request.body(Body::from(form.to_owned())).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    fn wants(&self) -> Vec<(Kind, String)> {
        self.wants.lock().unwrap().clone()
    }
}

fn write(path: &Utf8Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn digest(content: &[u8]) -> String {
    gapferry_proto::Digest::of(content).to_string()
}

#[tokio::test]
async fn before_the_first_import_all_but_the_status_says_so() {
    let site = TestSite::empty();
    for path in ["/files/h/a", "/v2/", "/v2/a/tags/list", "/pypi/simple/", "/apt/t/x", "/nothing"] {
        let answer = site.get(path).await;
        assert_eq!(
            (answer.status, answer.text()),
            (503, "nothing has been imported yet; bring an export to this site\n"),
            "{path}"
        );
    }
    assert!(site.get("/").await.text().contains("Nothing has been imported yet"));
    let health = site.get("/healthz").await.json();
    assert_eq!(health, json!({"site": "prod", "sequence": null, "activation": null}));
}

#[tokio::test]
async fn a_file_is_served_whole_in_part_and_not_again() {
    let site = TestSite::empty();
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    site.put(&content);
    site.switch(&[&[fixture::file("dl.example:8443/v1/a.tar.gz", &content)]]);
    let path = "/files/dl.example:8443/v1/a.tar.gz";
    let whole = site.get(path).await;
    assert_eq!((whole.status, whole.body == content), (200, true));
    let etag = format!("\"{}\"", digest(&content));
    assert_eq!(whole.header(header::ETAG), etag);
    assert_eq!(whole.header(header::CONTENT_TYPE), "application/gzip");
    assert_eq!(whole.header(header::CONTENT_LENGTH), "700000");
    assert_eq!(whole.header(header::ACCEPT_RANGES), "bytes");

    let head = site.ask("HEAD", path, &[("range", "bytes=0-1")]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header(header::CONTENT_LENGTH), "700000");

    let part = site.ask("GET", path, &[("range", "bytes=299999-600000")]).await;
    assert_eq!((part.status, part.body == content[299_999..=600_000]), (206, true));
    assert_eq!(part.header(header::CONTENT_RANGE), "bytes 299999-600000/700000");

    let outside = site.ask("GET", path, &[("range", "bytes=700000-")]).await;
    assert_eq!(outside.status, 416);
    assert_eq!(outside.header(header::CONTENT_RANGE), "bytes */700000");

    let again = site.ask("GET", path, &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header(header::ETAG), etag);
}

#[tokio::test]
async fn a_folder_lists_what_lies_in_it() {
    let site = TestSite::empty();
    let files = ["h/a/x.txt", "h/a/y/1", "h/a/y/2", "h/a/y-z", "h/a b", "i/<b>"];
    site.switch(&[&files.map(|path| fixture::file(path, b"content"))]);
    let names = |answer: &Answer| {
        let text = answer.text().to_owned();
        let links = text.split("<a href=\"./").skip(1);
        links.map(|link| link.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&site.get("/files/").await), ["h/", "i/"]);
    assert_eq!(names(&site.get("/files/h/").await), ["a%20b", "a/"]);
    assert_eq!(names(&site.get("/files/h/a/").await), ["x.txt", "y-z", "y/"]);
    let escaped = site.get("/files/i/").await;
    assert!(!escaped.text().contains("<b>"), "{}", escaped.text());
    let to_folder = site.get("/files/h/a").await;
    assert_eq!((to_folder.status, to_folder.header(header::LOCATION)), (308, "/files/h/a/"));
}

#[tokio::test]
async fn a_file_whose_name_has_a_query_answers_to_it() {
    let site = TestSite::empty();
    site.put(b"with");
    site.put(b"without");
    let files = [fixture::file("h/get?v=1", b"with"), fixture::file("h/get", b"without")];
    site.switch(&[&files]);
    assert_eq!(site.get("/files/h/get?v=1").await.text(), "with");
    assert_eq!(site.get("/files/h/get?v=2").await.text(), "without");
}

#[tokio::test]
async fn no_spelling_of_a_path_leaves_the_store() {
    let site = TestSite::empty();
    site.switch(&[&[fixture::file("h/a", b"a"), fixture::deb("bookworm", "a", "1", "amd64", b"")]]);
    let spellings = [
        ("../a", 400),
        ("h/../../../etc/passwd", 400),
        ("%2e%2e/%2e%2e/etc/passwd", 400),
        ("h/%2e%2e%2fetc", 400),
        ("h%2f..%2f..%2fetc", 400),
        ("h/%252e%252e/etc", 404),
        ("h/%c0%ae%c0%ae/etc", 400),
        ("h/..%5c..%5cetc", 400),
        ("h/a%00.txt", 400),
        ("h/%0d%0aX-Evil:1", 400),
        ("/etc/passwd", 400),
        ("h//a", 400),
    ];
    for (path, status) in spellings {
        let file = site.get(&format!("/files/{path}")).await;
        assert_eq!(file.status, status, "/files/{path}: {file:?}");
        let deb = site.get(&format!("/apt/bookworm/{path}")).await;
        assert_eq!(deb.status, status, "/apt/bookworm/{path}: {deb:?}");
        let rpm = site.get(&format!("/yum/el9/a/{path}")).await;
        assert_eq!(rpm.status, status, "/yum/el9/a/{path}: {rpm:?}");
        let chart = site.get(&format!("/helm/c.example/{path}")).await;
        assert_eq!(chart.status, status, "/helm/c.example/{path}: {chart:?}");
        let image = site.get(&format!("/v2/{path}/manifests/v1")).await;
        assert_eq!(image.status, 400, "/v2/{path}: {image:?}");
    }
    let long = site.get(&format!("/files/h/{}", "a".repeat(5000))).await;
    assert_eq!(long.status, 400);
}

#[tokio::test]
async fn a_blob_that_the_disk_lost_or_cut_is_a_fault_and_no_wrong_bytes() {
    let site = TestSite::empty();
    site.put(b"content");
    site.switch(&[&[fixture::file("h/a", b"content"), fixture::file("h/lost", b"lost")]]);
    fs::write(site.app.blobs.path(&gapferry_proto::Digest::of(b"content")), b"cont").unwrap();
    for path in ["/files/h/a", "/files/h/lost"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(!answer.text().contains(site.root().as_str()), "the folder's name went out");
    }
}

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"x"}}"#;

#[tokio::test]
async fn an_image_is_pulled_by_full_name_short_name_and_namespace() {
    let site = TestSite::empty();
    site.put(MANIFEST);
    site.put(b"layer");
    let image = fixture::image("registry.k8s.io/k/pause", "3.10", MANIFEST, &[b"layer"]);
    site.switch(&[&[image]]);
    let digest = digest(MANIFEST);
    for path in [
        "/v2/registry.k8s.io/k/pause/manifests/3.10".to_owned(),
        "/v2/k/pause/manifests/3.10".to_owned(),
        "/v2/k/pause/manifests/3.10?ns=registry.k8s.io".to_owned(),
        format!("/v2/k/pause/manifests/{digest}"),
    ] {
        let answer = site.get(&path).await;
        assert_eq!((answer.status, answer.body == MANIFEST), (200, true), "{path}: {answer:?}");
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(
            answer.header(header::CONTENT_TYPE),
            "application/vnd.oci.image.manifest.v1+json"
        );
        let head = site.ask("HEAD", &path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header(header::CONTENT_LENGTH), MANIFEST.len().to_string());
    }
    let path = format!("/v2/k/pause/blobs/{}?ns=registry.k8s.io", self::digest(b"layer"));
    let blob = site.ask("GET", &path, &[("range", "bytes=1-2")]).await;
    assert_eq!((blob.status, blob.text()), (206, "ay"));
    assert_eq!(blob.header("oci-namespace"), "registry.k8s.io");
    assert_eq!(site.get("/v2/").await.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(site.wants(), []);
}

#[tokio::test]
async fn what_an_image_server_does_not_hold_has_its_code_and_is_wanted_once() {
    let site = TestSite::empty();
    site.put(MANIFEST);
    site.put(b"layer");
    site.put(b"other");
    let a = fixture::image("r.example/a", "1", MANIFEST, &[b"layer"]);
    let b = fixture::image("r.example/b", "1", MANIFEST, &[b"other"]);
    site.switch(&[&[a, b]]);
    let other = digest(b"other");
    for (path, status, code) in [
        ("/v2/a/manifests/2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/1?ns=other.example".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/r.example/a/blobs/{other}"), 404, "BLOB_UNKNOWN"),
        (format!("/v2/a/blobs/sha512:{}", "0".repeat(128)), 404, "BLOB_UNKNOWN"),
        ("/v2/a/blobs/sha256:zz".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/referrers/zz".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/c/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        (format!("/v2/c/referrers/{other}"), 404, "NAME_UNKNOWN"),
        ("/v2/A/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a/tags/list?n=x".to_owned(), 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/a/manifests/1?ns=a&ns=b".to_owned(), 400, "UNSUPPORTED"),
        ("/v2/whatever".to_owned(), 404, "UNSUPPORTED"),
        ("/v2/a/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
    ] {
        let answer = site.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/1"),
        ("DELETE", "/v2/a/manifests/1"),
        ("PATCH", "/v2/"),
    ] {
        let answer = site.ask(method, path, &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{method}");
        assert_eq!(answer.header(header::ALLOW), "GET, HEAD");
    }
    let wanted = ["a:2", "other.example/a:1"].map(|name| (Kind::Image, name.to_owned()));
    assert_eq!(site.wants(), wanted);
}

#[tokio::test]
async fn a_short_name_in_two_registries_answers_only_where_both_agree() {
    let site = TestSite::empty();
    let other: &[u8] = b"{}";
    site.put(MANIFEST);
    site.put(other);
    site.switch(&[&[
        fixture::image("a.example/x", "same", MANIFEST, &[]),
        fixture::image("b.example/x", "same", MANIFEST, &[]),
        fixture::image("a.example/x", "1", MANIFEST, &[]),
        fixture::image("b.example/x", "1", other, &[]),
    ]]);
    assert_eq!(site.get("/v2/x/manifests/same").await.status, 200);
    let two = site.get("/v2/x/manifests/1").await;
    assert_eq!((two.status, two.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    assert_eq!(site.get("/v2/x/manifests/1?ns=b.example").await.body, other);
    assert_eq!(site.wants(), []);
}

#[tokio::test]
async fn tags_come_sorted_in_pages() {
    let site = TestSite::empty();
    let images = ["c", "a", "b"].map(|tag| fixture::image("r.example/x", tag, MANIFEST, &[]));
    site.switch(&[&images]);
    let all = site.get("/v2/x/tags/list").await;
    assert_eq!(all.json(), json!({"name": "x", "tags": ["a", "b", "c"]}));
    assert_eq!(all.header(header::LINK), "");
    let page = site.get("/v2/x/tags/list?n=2").await;
    assert_eq!(page.json()["tags"], json!(["a", "b"]));
    assert_eq!(page.header(header::LINK), "</v2/x/tags/list?n=2&last=b>; rel=\"next\"");
    let rest = site.get("/v2/x/tags/list?n=2&last=b").await;
    assert_eq!((rest.json()["tags"].clone(), rest.header(header::LINK)), (json!(["c"]), ""));
    let none = site.get("/v2/x/tags/list?n=0").await;
    assert_eq!((none.json()["tags"].clone(), none.header(header::LINK)), (json!([]), ""));
}

#[tokio::test]
async fn referrers_are_listed_by_subject_and_type() {
    let site = TestSite::empty();
    let subject = digest(MANIFEST);
    let signature = json!({
        "schemaVersion": 2, "artifactType": "app/sig",
        "subject": {"mediaType": "m", "digest": subject, "size": 1},
        "annotations": {"k": "v"},
    })
    .to_string();
    site.put(MANIFEST);
    site.put(signature.as_bytes());
    site.switch(&[&[
        fixture::image("r.example/x", "1", MANIFEST, &[]),
        fixture::image("r.example/x", "", signature.as_bytes(), &[]),
    ]]);
    let found = site.get(&format!("/v2/x/referrers/{subject}")).await;
    assert_eq!(found.header(header::CONTENT_TYPE), "application/vnd.oci.image.index.v1+json");
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(signature.as_bytes()),
        "size": signature.len(),
        "artifactType": "app/sig",
        "annotations": {"k": "v"},
    });
    assert_eq!(found.json()["manifests"], json!([descriptor]));
    let other = site.get(&format!("/v2/x/referrers/{subject}?artifactType=app/other")).await;
    assert_eq!(other.json()["manifests"], json!([]));
    assert_eq!(other.header("oci-filters-applied"), "artifactType");
    let nothing = site.get(&format!("/v2/x/referrers/{}", digest(b"nobody"))).await;
    assert_eq!((nothing.status, nothing.json()["manifests"].clone()), (200, json!([])));
}

#[tokio::test]
async fn a_python_project_is_found_under_every_spelling_of_its_name() {
    let site = TestSite::empty();
    site.put(b"wheel");
    let name = "ruamel.yaml-1+l-py3-none-any.whl";
    site.switch(&[&[fixture::wheel("ruamel-yaml", "1+l", name, b"wheel")]]);
    for path in
        ["/pypi/simple/Ruamel.YAML/", "/pypi/simple/ruamel_yaml", "/pypi/simple/ruamel-yaml"]
    {
        let answer = site.get(path).await;
        let to = answer.header(header::LOCATION);
        assert_eq!((answer.status, to), (308, "/pypi/simple/ruamel-yaml/"), "{path}");
    }
    let html = site.get("/pypi/simple/ruamel-yaml/").await;
    assert_eq!(html.header(header::CONTENT_TYPE), "text/html");
    assert!(html.text().contains("../../packages/ruamel.yaml-1%2Bl-py3-none-any.whl#sha256="));
    let accept = [("accept", "application/vnd.pypi.simple.v1+json")];
    let json = site.ask("GET", "/pypi/simple/ruamel-yaml/", &accept).await;
    assert_eq!(json.header(header::CONTENT_TYPE), "application/vnd.pypi.simple.v1+json");
    assert_eq!(json.json()["files"][0]["filename"], name);
    assert_eq!(json.header(header::VARY), "accept");
    let index = site.ask("GET", "/pypi/simple/", &accept).await;
    assert_eq!(index.json()["projects"], json!([{"name": "ruamel-yaml"}]));
    let refused = site.ask("GET", "/pypi/simple/", &[("accept", "image/png")]).await;
    assert_eq!(refused.status, 406);
    let file = site.get("/pypi/packages/ruamel.yaml-1%2Bl-py3-none-any.whl").await;
    assert_eq!((file.status, file.text()), (200, "wheel"));
    assert_eq!(file.header(header::CONTENT_TYPE), "application/zip");

    for (path, status) in [
        ("/pypi/simple/netaddr/", 404),
        ("/pypi/simple/..%2f..%2fx/", 400),
        ("/pypi/simple/%2e%2e/", 400),
        ("/pypi/packages/..%2f..%2fcurrent", 404),
    ] {
        assert_eq!(site.get(path).await.status, status, "{path}");
    }
    assert_eq!(site.wants(), [(Kind::Pypi, "netaddr".to_owned())]);
}

#[tokio::test]
async fn an_apt_client_finds_every_index_that_a_head_of_the_last_generations_lists() {
    let site = TestSite::empty();
    let debs: Vec<_> = (0..6)
        .map(|n| {
            fixture::deb("bookworm", "socat", &n.to_string(), "amd64", format!("{n}").as_bytes())
        })
        .collect();
    (0..6).for_each(|n| site.put(format!("{n}").as_bytes()));
    let generations: Vec<_> = debs.iter().map(std::slice::from_ref).collect();
    site.switch(&generations);
    let folder = "/apt/bookworm/dists/bookworm";
    let release = site.get(&format!("{folder}/Release")).await;
    assert!(release.text().contains("Acquire-By-Hash: yes"), "{}", release.text());
    assert!(site.get(&format!("{folder}/InRelease")).await.text().contains(release.text()));
    let signature = site.get(&format!("{folder}/Release.gpg")).await;
    assert!(signature.text().starts_with("-----BEGIN PGP SIGNATURE-----"));
    for listed in publish::apt::listed(release.text()).unwrap() {
        let plain = site.get(&format!("{folder}/{}", listed.path)).await;
        let (parent, _) = listed.path.as_str().rsplit_once('/').unwrap();
        let by_hash = format!("{folder}/{parent}/by-hash/SHA256/{}", listed.digest.hex());
        assert_eq!(site.get(&by_hash).await.body, plain.body, "{}", listed.path);
        assert_eq!(digest(&plain.body), listed.digest.to_string());
    }
    for n in 0..6_usize {
        let undated = site.root().join(format!("trees/{}{folder}/Release.undated", n + 1));
        let listed = publish::apt::listed(&fs::read_to_string(undated).unwrap()).unwrap();
        let hex = listed[0].digest.hex();
        let by_hash = format!("{folder}/main/binary-amd64/by-hash/SHA256/{hex}");
        let expected = if n < 2 { 404 } else { 200 };
        assert_eq!(site.get(&by_hash).await.status, expected, "generation {}", n + 1);
        let deb = site.get(&format!("/apt/bookworm/pool/main/socat_{n}_amd64.deb")).await;
        assert_eq!((deb.status, deb.text()), (200, n.to_string().as_str()));
    }
    for unknown in [
        format!("{folder}/Release.undated"),
        format!("{folder}/main/binary-amd64/by-hash/SHA256/00"),
        format!("{folder}/main/by-hash/SHA256/{}", digest(b"")),
        "/apt/trixie/dists/bookworm/Release".to_owned(),
    ] {
        assert_eq!(site.get(&unknown).await.status, 404, "{unknown}");
    }
    let flat = site.get("/apt/bookworm/./pool/main/socat_5_amd64.deb").await;
    assert_eq!(flat.text(), "5");
}

#[tokio::test]
async fn a_yum_client_finds_every_document_that_a_head_of_the_last_generations_lists() {
    let site = TestSite::empty();
    let name = |n: u8| format!("{n}");
    let rpms: Vec<_> =
        (0..6).map(|n| fixture::rpm("el9", "socat", &name(n), name(n).as_bytes())).collect();
    (0..6).for_each(|n| site.put(name(n).as_bytes()));
    let generations: Vec<_> = rpms.iter().map(std::slice::from_ref).collect();
    site.switch(&generations);
    let head = site.get("/yum/el9/repodata/repomd.xml").await;
    assert_eq!(head.header(header::CONTENT_TYPE), "application/xml");
    assert_eq!(head.header(header::CACHE_CONTROL), "no-cache");
    let signature = site.get("/yum/el9//repodata/repomd.xml.asc").await;
    assert!(signature.text().starts_with("-----BEGIN PGP SIGNATURE-----"));
    let key = site.get("/yum/el9/repodata/repomd.xml.key").await;
    assert_eq!(key.text(), site.get("/keys/site.asc").await.text());
    for listed in publish::yum::listed(head.text()).unwrap() {
        let document = site.get(&format!("/yum/el9/{}", listed.path)).await;
        assert_eq!(document.status, 200, "{}", listed.path);
        assert_eq!(digest(&document.body), listed.digest.to_string());
    }
    for n in 0..6_u8 {
        let undated = site.root().join(format!("trees/{}/yum/el9/repodata/repomd.undated", n + 1));
        let listed = publish::yum::listed(&fs::read_to_string(undated).unwrap()).unwrap();
        let document = site.get(&format!("/yum/el9/{}", listed[0].path)).await;
        assert_eq!(document.status, if n < 2 { 404 } else { 200 }, "generation {}", n + 1);
        let rpm = site.get(&format!("/yum/el9/Packages/socat-{n}-1.noarch.rpm")).await;
        assert_eq!((rpm.status, rpm.text()), (200, name(n).as_str()));
        assert_eq!(rpm.header(header::CONTENT_TYPE), "application/x-rpm");
    }
    for unknown in [
        "/yum/el9/repodata/repomd.undated",
        "/yum/el8/repodata/repomd.xml",
        "/yum/el9/Packages/strace-1-1.noarch.rpm",
        "/yum/el9/Packages/strace-1-1.noarch.rpm",
    ] {
        assert_eq!(site.get(unknown).await.status, 404, "{unknown}");
    }
    assert_eq!(site.wants(), [(Kind::Rpm, "el9/strace-1-1.noarch".to_owned())]);
}

#[tokio::test]
async fn a_generation_of_an_agent_that_served_no_rpm_packages_is_served_without_them() {
    let site = TestSite::empty();
    site.switch(&[&[fixture::rpm("el9", "socat", "1", b"1"), fixture::file("h/a", b"a")]]);
    let before = site.generation(1, &[fixture::rpm("el9", "socat", "1", b"1")]);
    fs::remove_dir_all(before.documents.join("yum")).unwrap();
    let heads = site.root().join("heads/none");
    site.app
        .switch(Site::new(Activation { number: 2, heads, current: before, kept: vec![] }).unwrap());
    assert_eq!(site.get("/yum/el9/repodata/repomd.xml").await.status, 404);
}

#[tokio::test]
async fn a_chart_repository_keeps_its_address_and_its_charts() {
    let site = TestSite::empty();
    [&b"old"[..], b"new", b"signed"].iter().for_each(|content| site.put(content));
    let mut old = fixture::chart("c.example/stable", "web", "1", b"old");
    old.blobs.push(fixture::blob(b"signed"));
    let new = fixture::chart("c.example/stable", "web", "2", b"new");
    site.switch(&[&[old], &[new]]);
    let index = site.get("/helm/c.example/stable/index.yaml").await;
    assert_eq!(index.header(header::CONTENT_TYPE), "application/yaml");
    assert!(index.text().contains("web-2.tgz") && !index.text().contains("web-1.tgz"));
    for (file, body) in [("web-2.tgz", "new"), ("web-1.tgz", "old"), ("web-1.tgz.prov", "signed")] {
        assert_eq!(
            site.get(&format!("/helm/c.example/stable/{file}")).await.text(),
            body,
            "{file}"
        );
    }
    for unknown in [
        "/helm/index.yaml",
        "/helm/c.example/index.yaml",
        "/helm/c.example/stable/index.yaml/index.yaml",
        "/helm/c.example/stable/web-3.tgz",
        "/helm/c.example/stable/web-2.tgz.prov",
    ] {
        assert_eq!(site.get(unknown).await.status, 404, "{unknown}");
    }
    assert_eq!(site.wants(), [(Kind::Chart, "c.example/stable/web-3".to_owned())]);
}

#[tokio::test]
async fn what_a_wheel_says_of_itself_is_served_beside_it() {
    let wheel = publish::wheel::tests::zip(&[("a-1.dist-info/METADATA", b"Name: a")]);
    let site = TestSite::empty();
    site.put(&wheel);
    site.put(b"no wheel");
    let held = fixture::wheel("a", "1", "a-1-py3-none-any.whl", &wheel);
    let odd = fixture::wheel("b", "1", "b-1-py3-none-any.whl", b"no wheel");
    site.switch(&[&[held, odd], &[]]);
    let metadata = site.get("/pypi/packages/a-1-py3-none-any.whl.metadata").await;
    assert_eq!((metadata.status, metadata.text()), (200, "Name: a"));
    for unknown in ["b-1-py3-none-any.whl.metadata", "c.whl.metadata", ".metadata"] {
        assert_eq!(site.get(&format!("/pypi/packages/{unknown}")).await.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn what_is_addressed_by_version_stays_after_a_switch_and_the_current_content_wins() {
    let site = TestSite::empty();
    [&b"old"[..], b"new", MANIFEST, b"{}"].iter().for_each(|content| site.put(content));
    let before = [
        fixture::file("h/old", b"old"),
        fixture::file("h/changed", b"old"),
        fixture::image("r.example/x", "1", MANIFEST, &[]),
        fixture::wheel("a", "1", "a-1.tar.gz", b"old"),
    ];
    let after = [
        fixture::file("h/changed", b"new"),
        fixture::image("r.example/x", "2", b"{}", &[]),
        fixture::wheel("a", "2", "a-2.tar.gz", b"new"),
    ];
    site.switch(&[&before]);
    let held = site.app.site.load_full().unwrap();
    site.switch(&[&before, &after]);
    for (path, body) in [
        ("/files/h/old", "old"),
        ("/files/h/changed", "new"),
        ("/pypi/packages/a-1.tar.gz", "old"),
        ("/v2/x/manifests/1", std::str::from_utf8(MANIFEST).unwrap()),
        ("/v2/x/manifests/2", "{}"),
    ] {
        assert_eq!(site.get(path).await.text(), body, "{path}");
    }
    assert!(!site.get("/pypi/simple/a/").await.text().contains("a-1"));
    let before_switch = held.file("h/changed").unwrap();
    assert_eq!(before_switch.id.digest(), gapferry_proto::Digest::of(b"old"));
}

#[tokio::test]
async fn the_status_page_names_what_is_held_and_never_repeats_a_strange_host() {
    let site = TestSite::empty();
    site.switch(&[&[fixture::deb("bookworm-updates", "a", "1", "amd64", b"")]]);
    let page = site.ask("GET", "/", &[("host", "admin.lan:8080")]).await;
    for line in [
        "deb [signed-by=/etc/apt/keyrings/gapferry.asc] \
         http://admin.lan:8080/apt/bookworm merged main",
        "pip install --index-url http://admin.lan:8080/pypi/simple/ PROJECT",
        "Generation 1, activation 1",
    ] {
        assert!(page.text().contains(line), "{line}\n{}", page.text());
    }
    let strange = site.ask("GET", "/", &[("host", "x$(id)\"><script>")]).await;
    assert!(!strange.text().contains("id)") && strange.text().contains("ADMIN-NODE:8080"));
    let key = site.get("/keys/site.asc").await;
    assert!(key.text().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    assert_eq!(site.get("/healthz").await.json()["sequence"], 1);
    assert_eq!(site.get("/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn wants_end_at_their_bound_and_begin_again_with_the_next_switch() {
    let site = TestSite::empty();
    site.switch(&[&[]]);
    let current = site.app.site.load_full().unwrap();
    let asked = |name: &str| {
        let want = Want { kind: Kind::File, name: name.to_owned(), version: None, target: None };
        current.asked(&want)
    };
    for n in 0..gapferry_proto::limits::WANTS_MAX {
        assert_eq!(asked(&n.to_string()), site::Asked::First);
    }
    assert_eq!(asked("one more"), site::Asked::TooMany);
    assert_eq!(asked("1"), site::Asked::Again);
    let full = site.post("/wants", "kind=deb&name=socat", &[]).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    site.switch(&[&[]]);
    assert_eq!(site.get("/files/h/a").await.status, 404);
    assert_eq!(site.get("/files/h/a").await.status, 404);
    assert_eq!(site.wants(), [(Kind::File, "h/a".to_owned())]);
}

#[tokio::test]
async fn a_form_notes_a_want_and_another_servers_page_cannot() {
    let site = TestSite::empty();
    assert_eq!(site.post("/wants", "kind=deb&name=socat", &[]).await.status, 503);
    site.switch(&[&[]]);
    let noted = site.post("/wants", "kind=deb&name=socat&version=&target=debian-13", &[]).await;
    assert_eq!((noted.status, noted.header(header::LOCATION)), (303, "/#wants"));
    let said = "message=E%3A+Unable+to+locate+package+tcpdump%0A&client=node1";
    assert_eq!(site.post("/wants", said, &[]).await.status, 303);
    let wanted = ["socat", "tcpdump"].map(|name| (Kind::Deb, name.to_owned()));
    assert_eq!(site.wants(), wanted);
    let page = site.get("/").await;
    assert!(page.text().contains("<td>tcpdump</td>") && page.text().contains("2 wanted"));
    assert!(page.header(header::CONTENT_SECURITY_POLICY).contains("form-action 'self'"));
    let long = format!("message={}", "x".repeat(gapferry_proto::limits::WANT_POST_LEN_BYTES_MAX));
    for (form, headers, status) in [
        ("kind=deb&name=a<b>", &[][..], 400),
        ("kind=deb", &[], 400),
        ("kind=nothing&name=socat", &[], 400),
        ("kind=deb&name=%ff", &[], 400),
        (&long, &[], 413),
        ("kind=deb&name=evil", &[("content-type", "text/plain")], 415),
        ("kind=deb&name=evil", &[("sec-fetch-site", "cross-site")], 403),
        ("kind=deb&name=evil", &[("host", "a"), ("origin", "http://evil.example")], 403),
    ] {
        assert_eq!(site.post("/wants", form, headers).await.status, status, "{headers:?}");
    }
    assert_eq!(site.wants(), wanted);
    assert_eq!(site.get("/wants").await.status, 405);
}
