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
mod files;
mod front;
mod images;
mod packages;
mod push;
mod wants;

static KEY: LazyLock<SiteKey> =
    LazyLock::new(|| SiteKey::generate("Site prod", Timestamp::UNIX_EPOCH).unwrap());

/// A manifest of an image, as short as one can be.
const MANIFEST: &[u8] = br#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"x"}}"#;

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
        let activation = self.activation(generations.len() as u64, generations);
        self.app.switch(Site::new(activation).unwrap());
    }

    /// The activation `number`, which shows the last of `generations`.
    fn activation(&self, number: u64, generations: &[&[Artifact]]) -> Activation {
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
        Activation { number, heads, current, kept, holds: vec![] }
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
async fn what_a_sweep_retires_is_let_go_at_once_and_what_a_switch_replaces_is_not() {
    let site = TestSite::empty();
    let current = || Arc::downgrade(&site.app.site.load_full().unwrap());
    site.switch(&[&[], &[]]);
    let before_sweep = current();
    let activation = site.activation(2, &[&[]]);
    site.app.switch(Site::new(activation).unwrap());
    assert_eq!(before_sweep.strong_count(), 0);
    let before_switch = current();
    site.switch(&[&[], &[], &[]]);
    assert_eq!(before_switch.strong_count(), 1);
}

#[tokio::test]
async fn a_cache_asks_again_for_what_has_a_name_and_keeps_what_has_a_digest() {
    let site = TestSite::empty();
    [&b"content"[..], b"deb", b"rpm", b"chart", b"wheel", MANIFEST]
        .iter()
        .for_each(|content| site.put(content));
    site.switch(&[&[
        fixture::file("h/a", b"content"),
        fixture::image("r.example/x", "1", MANIFEST, &[]),
        fixture::deb("bookworm", "socat", "1", "amd64", b"deb"),
        fixture::rpm("el9", "socat", "1", b"rpm"),
        fixture::chart("c.example/stable", "web", "1", b"chart"),
        fixture::wheel("a", "1", "a-1.tar.gz", b"wheel"),
    ]]);
    let plain = "/apt/bookworm/dists/bookworm/main/binary-amd64/Packages";
    let index = site.get(plain).await;
    let folder = plain.trim_end_matches("/Packages");
    let by_hash = format!("{folder}/by-hash/SHA256/{}", &digest(&index.body)[7..]);
    let listed = publish::yum::listed(site.get("/yum/el9/repodata/repomd.xml").await.text());
    let repodata = format!("/yum/el9/{}", listed.unwrap()[0].path);
    let by_digest = format!("/v2/x/manifests/{}", digest(MANIFEST));
    let blob = format!("/v2/x/blobs/{}", digest(MANIFEST));
    for path in [&by_hash, &repodata, &by_digest, &blob] {
        let said = site.get(path).await;
        let expected = "max-age=31536000, immutable";
        assert_eq!((said.status, said.header(header::CACHE_CONTROL)), (200, expected), "{path}");
    }
    for path in [
        plain,
        "/files/h/a",
        "/v2/x/manifests/1",
        "/apt/bookworm/dists/bookworm/InRelease",
        "/apt/bookworm/pool/main/socat_1_amd64.deb",
        "/yum/el9/Packages/socat-1-1.noarch.rpm",
        "/helm/c.example/stable/index.yaml",
        "/helm/c.example/stable/web-1.tgz",
        "/pypi/simple/a/",
        "/pypi/packages/a-1.tar.gz",
    ] {
        let said = site.get(path).await;
        assert_eq!((said.status, said.header(header::CACHE_CONTROL)), (200, "no-cache"), "{path}");
        let again = [("if-none-match", said.header(header::ETAG))];
        let again = site.ask("GET", path, &again).await;
        assert_eq!((again.status, again.header(header::CACHE_CONTROL)), (304, "no-cache"));
    }
}

#[tokio::test]
async fn the_status_page_names_what_is_held_and_never_repeats_a_strange_host() {
    let site = TestSite::empty();
    let key = format!("key-{}", "ab".repeat(20));
    site.switch(&[&[
        fixture::deb("bookworm-updates", "a", "1", "amd64", b""),
        fixture::rpm("el9", "a", "1", b""),
        fixture::yum_document("el9", "baseos", &key, b""),
        fixture::chart("charts.example/stable", "a", "1", b""),
    ]]);
    let page = site.ask("GET", "/", &[("host", "admin.lan:8080")]).await;
    for line in [
        "deb [signed-by=/etc/apt/keyrings/gapferry.asc] \
         http://admin.lan:8080/apt/bookworm merged main",
        "pip install --index-url http://admin.lan:8080/pypi/simple/ PROJECT",
        "Generation 1, activation 1",
        "baseurl=http://admin.lan:8080/yum/el9\nrepo_gpgcheck=1\ngpgcheck=1\n\
         gpgkey=http://admin.lan:8080/keys/site.asc \
         http://admin.lan:8080/yum/el9/keys/abababababababababababababababababababab.asc<",
        "helm repo add stable http://admin.lan:8080/helm/charts.example/stable",
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
