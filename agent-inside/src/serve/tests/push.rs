//! What users push, and what they had better not: one request through the router for each.

mod told;

use gapferry_common::config::Bytes;
use gapferry_common::hashing::Sha512;
use gapferry_common::store::Store;
use gapferry_proto::limits;

use super::*;
use crate::local::{Local, Prefix, Prefixes};
use crate::serve::oci::Push;
use crate::settings::{AccessRule, Readers};
use crate::users::UserName;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A site at which `ci` may push below `apps/`, and `eve` alone may read `r.example/secret`.
fn pushable(quota: u64) -> TestSite {
    let site = TestSite::empty();
    let prefix = Prefix {
        prefix: "apps/".to_owned(),
        quota: Bytes(quota),
        users: vec!["ci".to_owned()],
        allow_missing: false,
    };
    let prefixes = Prefixes::try_from(vec![prefix]).unwrap();
    let store = Store::open(site.root().to_owned()).unwrap();
    let local = Local::open(site.root(), store, prefixes).unwrap();
    let app = App::new(
        "prod".parse().unwrap(),
        KEY.public_armoured().unwrap(),
        BlobPaths::new(site.root().to_owned()),
        Box::new(NotedWants(Arc::clone(&site.wants))),
    );
    let readers = Readers::Users(vec!["eve".parse().unwrap()]);
    let rule = AccessRule { path: "/v2/r.example/secret/".to_owned(), readers };
    let auth = Auth::open(site.root().join("users"), Access::new(&[rule]), "prod").unwrap();
    let app = app.with_push(Push::new(Arc::new(local), Arc::new(auth)));
    TestSite { app: Arc::new(app), ..site }
}

impl TestSite {
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        // What stands before the routes says whose password was right; here the name is enough.
        let user = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        if let Some(user) = user.filter(|user| ["ci", "eve"].contains(user)) {
            let user: UserName = user.parse().unwrap();
            request.extensions_mut().insert(user);
        }
        let response = router(Arc::clone(&self.app)).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: to_bytes(body, 64 << 20).await.unwrap().into(),
        }
    }

    /// Sends as `ci`.
    async fn push(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.send(method, path, &[("authorization", "ci")], body).await
    }

    async fn push_blob(&self, repository: &str, content: &'static [u8]) -> Answer {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(content));
        self.push("POST", &path, content).await
    }

    /// Begins an upload in `apps/x`; where it goes on.
    async fn begin(&self) -> String {
        let begun = self.push("POST", "/v2/apps/x/blobs/uploads/", "").await;
        assert_eq!((begun.status, begun.header(header::RANGE)), (202, "0-0"));
        begun.header(header::LOCATION).to_owned()
    }

    async fn put_manifest(&self, path: &str, bytes: impl Into<Body>) -> Answer {
        let headers = [("authorization", "ci"), ("content-type", IMAGE)];
        self.send("PUT", path, &headers, bytes).await
    }

    /// All files below the site's folder.
    fn files(&self) -> Vec<String> {
        let mut open = vec![self.root().to_owned()];
        let mut files = vec![];
        while let Some(folder) = open.pop() {
            for entry in folder.read_dir_utf8().unwrap() {
                let path = entry.unwrap().path().to_owned();
                if path.is_dir() {
                    open.push(path);
                } else {
                    files.push(path.strip_prefix(self.root()).unwrap().to_string());
                }
            }
        }
        files.sort();
        files
    }
}

fn image(config: &[u8], layers: &[&[u8]], more: &str) -> String {
    let of = |content: &[u8]| {
        let (digest, size) = (digest(content), content.len());
        format!(r#"{{"mediaType":"m","digest":"{digest}","size":{size}}}"#)
    };
    let layers: Vec<_> = layers.iter().map(|layer| of(layer)).collect();
    let (config, layers) = (of(config), layers.join(","));
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{more}}}"#)
}

fn code_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn what_is_pushed_is_pulled_before_any_import_and_beside_what_is_carried() {
    let site = pushable(1 << 20);
    for content in [&b"config"[..], b"layer"] {
        let pushed = site.push_blob("apps/x", content).await;
        assert_eq!(
            (pushed.status, pushed.header("docker-content-digest")),
            (201, &*digest(content))
        );
    }
    let manifest = image(b"config", &[b"layer"], "");
    let put = site.put_manifest("/v2/apps/x/manifests/1", manifest.clone()).await;
    let named = digest(manifest.as_bytes());
    assert_eq!((put.status, put.header("docker-content-digest")), (201, &*named));
    assert_eq!(put.header(header::LOCATION), format!("/v2/apps/x/manifests/{named}"));
    site.switch(&[&[fixture::image("r.example/pause", "1", b"{}", &[])]]);
    for path in ["/v2/apps/x/manifests/1".to_owned(), format!("/v2/apps/x/manifests/{named}")] {
        let got = site.get(&path).await;
        assert_eq!((got.status, got.text()), (200, &*manifest));
        assert_eq!(got.header(header::CONTENT_TYPE), IMAGE);
        assert_eq!(got.header("docker-content-digest"), named);
    }
    let path = format!("/v2/apps/x/blobs/{}", digest(b"layer"));
    let part = site.send("GET", &path, &[("range", "bytes=1-2")], "").await;
    assert_eq!((part.status, part.text()), (206, "ay"));
    assert_eq!(site.send("HEAD", &path, &[], "").await.header(header::CONTENT_LENGTH), "5");
    let missing = site.get("/v2/apps/x/manifests/2").await;
    assert_eq!(code_of(&missing), (404, "MANIFEST_UNKNOWN".to_owned()));
    assert_eq!(site.wants(), []);
}

#[tokio::test]
async fn only_users_of_the_prefix_push_and_only_below_it() {
    let site = pushable(1 << 20);
    site.switch(&[&[fixture::image("r.example/pause", "1", b"{}", &[])]]);
    let begin = "/v2/apps/x/blobs/uploads/";
    for (path, user, status, code) in [
        (begin, None, 401, "UNAUTHORIZED"),
        (begin, Some("nobody"), 401, "UNAUTHORIZED"),
        (begin, Some("eve"), 403, "DENIED"),
        ("/v2/pause/blobs/uploads/", Some("ci"), 405, "UNSUPPORTED"),
        ("/v2/apps/blobs/uploads/", Some("ci"), 405, "UNSUPPORTED"),
        ("/v2/application/x/blobs/uploads/", None, 405, "UNSUPPORTED"),
        ("/v2/apps/x/blobs/uploads/?ns=r.example", Some("ci"), 405, "UNSUPPORTED"),
    ] {
        let user: Vec<_> = user.map(|user| ("authorization", user)).into_iter().collect();
        let answer = site.send("POST", path, &user, "").await;
        assert_eq!(code_of(&answer), (status, code.to_owned()), "{path}");
        assert_eq!(answer.header(header::WWW_AUTHENTICATE).is_empty(), status != 401, "{path}");
    }
    assert_eq!(site.get("/v2/").await.status, 401);
    assert_eq!(site.push("GET", "/v2/", "").await.status, 200);
    assert_eq!(site.get("/v2/pause/manifests/1").await.status, 500, "the store has no blob of it");
    let digest = digest(b"x");
    for (method, path) in [
        ("PUT", "/v2/apps/x/manifests/1".to_owned()),
        ("DELETE", "/v2/apps/x/manifests/1".to_owned()),
        ("DELETE", format!("/v2/apps/x/blobs/{digest}")),
        ("GET", "/v2/apps/x/blobs/uploads/1".to_owned()),
        ("PATCH", "/v2/apps/x/blobs/uploads/1".to_owned()),
    ] {
        assert_eq!(site.send(method, &path, &[], "").await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_blob_comes_in_pieces_each_after_the_one_before() {
    let site = pushable(1 << 20);
    let path = site.begin().await;
    let patch = async |range: &str, piece: &'static str| {
        let headers = [("authorization", "ci"), ("content-range", range)];
        site.send("PATCH", &path, &headers, piece).await
    };
    let first = patch("0-2", "abc").await;
    assert_eq!((first.status, first.header(header::RANGE)), (202, "0-2"));
    for range in ["0-2", "2-4", "4-6", "5-3"] {
        let refused = patch(range, "def").await;
        assert_eq!(code_of(&refused), (416, "BLOB_UPLOAD_INVALID".to_owned()), "{range}");
        assert_eq!(refused.header(header::LOCATION), path);
        assert_eq!(refused.header(header::RANGE), "0-2");
    }
    for range in ["", "3", "3-", "bytes 3-5/6", "-3-5"] {
        let refused = patch(range, "def").await;
        assert_eq!(code_of(&refused), (400, "BLOB_UPLOAD_INVALID".to_owned()), "{range}");
    }
    let status = site.push("GET", &path, "").await;
    assert_eq!((status.status, status.header(header::RANGE)), (204, "0-2"));
    assert_eq!(patch("3-5", "def").await.status, 202);
    let digest = digest(b"abcdefg");
    let last = site.push("PUT", &format!("{path}?digest={digest}"), "g").await;
    assert_eq!(last.status, 201);
    assert_eq!(last.header(header::LOCATION), format!("/v2/apps/x/blobs/{digest}"));
    assert_eq!(site.get(last.header(header::LOCATION)).await.text(), "abcdefg");
    let gone = site.push("GET", &path, "").await;
    assert_eq!(code_of(&gone), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn a_piece_of_another_length_than_it_says_is_refused() {
    let site = pushable(1 << 20);
    for (range, length) in [("0-1", None), ("0-9", None), ("0-9", Some("3")), ("0-0", Some("3"))] {
        let path = site.begin().await;
        let mut headers = vec![("authorization", "ci"), ("content-range", range)];
        headers.extend(length.map(|length| ("content-length", length)));
        let refused = site.send("PATCH", &path, &headers, "abc").await;
        assert_eq!(code_of(&refused), (400, "SIZE_INVALID".to_owned()), "{range} {length:?}");
    }
}

#[tokio::test]
async fn an_upload_is_cancelled_and_belongs_to_its_user_and_repository() {
    let site = pushable(1 << 20);
    let path = site.begin().await;
    let elsewhere = path.replace("apps/x", "apps/y");
    let unknown = (404, "BLOB_UPLOAD_UNKNOWN".to_owned());
    assert_eq!(code_of(&site.push("PATCH", &elsewhere, "abc").await), unknown);
    assert_eq!(site.push("DELETE", &path, "").await.status, 204);
    assert_eq!(code_of(&site.push("DELETE", &path, "").await), unknown);
    assert_eq!(code_of(&site.push("PATCH", &path, "abc").await), unknown);
    let no_digest = site.begin().await;
    let refused = site.push("PUT", &no_digest, "abc").await;
    assert_eq!(code_of(&refused), (400, "DIGEST_INVALID".to_owned()));
    assert!(!site.files().iter().any(|file| file.contains("blobs/sha256")), "{:?}", site.files());
}

#[tokio::test]
async fn bad_names_digests_and_tags_are_refused_and_nothing_is_written() {
    let site = pushable(1 << 20);
    let before = site.files();
    let sha512 = Sha512::of(b"x");
    for (method, path, status, code) in [
        ("POST", "/v2/apps/../x/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        ("POST", "/v2/apps/%2e%2e/x/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        ("POST", "/v2/apps%2f..%2f..%2fx/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        ("POST", "/v2/apps/_tags/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        ("POST", "/v2/apps/%ff/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        ("POST", format!("/v2/apps/{}/blobs/uploads/", "a".repeat(300)), 400, "NAME_INVALID"),
        ("PUT", format!("/v2/apps/{}/manifests/1", "a".repeat(300)), 400, "NAME_INVALID"),
        ("PUT", "/v2/apps/x/manifests/..".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/apps/x/manifests/.part-1".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/apps/x/manifests/..%2f..%2f1".to_owned(), 404, "UNSUPPORTED"),
        ("PUT", format!("/v2/apps/x/manifests/{}", "a".repeat(129)), 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/apps/x/manifests/sha256:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("PUT", "/v2/apps/x/manifests/md5:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("PUT", format!("/v2/apps/x/manifests/{sha512}?tag=../1"), 400, "UNSUPPORTED"),
        ("PUT", format!("/v2/apps/x/manifests/{}?tag=1", digest(b"other")), 400, "DIGEST_INVALID"),
        ("POST", "/v2/apps/x/blobs/uploads/?digest=sha256:00".to_owned(), 400, "DIGEST_INVALID"),
        ("POST", "/v2/apps/x/blobs/uploads/?digest=".to_owned(), 400, "DIGEST_INVALID"),
        ("POST", "/v2/apps/x/blobs/uploads/?mount=x&from=apps/y".to_owned(), 400, "DIGEST_INVALID"),
        (
            "POST",
            format!("/v2/apps/x/blobs/uploads/?mount={sha512}&from=../y"),
            400,
            "NAME_INVALID",
        ),
        ("POST", format!("/v2/apps/x/blobs/uploads/?digest={sha512}"), 400, "DIGEST_INVALID"),
        ("PATCH", "/v2/apps/x/blobs/uploads/..".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/apps/x/blobs/uploads/%2e%2e".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", "/v2/apps/x/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
        ("PATCH", "/v2/apps/x/manifests/1".to_owned(), 405, "UNSUPPORTED"),
        ("POST", format!("/v2/apps/x/blobs/{}", digest(b"x")), 405, "UNSUPPORTED"),
        ("PUT", "/v2/apps/x/tags/list".to_owned(), 405, "UNSUPPORTED"),
        ("DELETE", "/v2/apps/x/manifests/1".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", format!("/v2/apps/x/manifests/{sha512}"), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", format!("/v2/apps/x/blobs/{}", digest(b"x")), 404, "BLOB_UNKNOWN"),
    ] {
        site.switch(&[&[fixture::file("h/a", b"a")]]);
        let answer = site.push(method, &path, "body").await;
        assert_eq!(code_of(&answer), (status, code.to_owned()), "{method} {path}");
    }
    let outside = |file: &String| !file.starts_with("trees/") && !file.starts_with("heads/");
    let after: Vec<_> = site.files().into_iter().filter(outside).collect();
    assert_eq!(after, before);
    assert!(site.folder.path().parent().unwrap().join("x").metadata().is_err());
}

#[tokio::test]
async fn a_manifest_is_refused_with_its_reason_and_leaves_nothing() {
    let site = pushable(64 << 20);
    site.push_blob("apps/x", b"config").await;
    site.push_blob("apps/y", b"layer").await;
    let before = site.files();
    let deep = format!(r#","x":{}{}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    let long = format!(r#","x":"{}""#, "a".repeat(4 << 20));
    for (manifest, status, code) in [
        (String::new(), 400, "MANIFEST_INVALID"),
        ("{}".to_owned(), 400, "MANIFEST_INVALID"),
        ("[".repeat(4 << 20), 400, "MANIFEST_INVALID"),
        (image(b"config", &[], &deep), 400, "MANIFEST_INVALID"),
        (image(b"config", &[], &long), 413, "SIZE_INVALID"),
        (image(b"config", &[], r#","mediaType":"text/plain""#), 400, "MANIFEST_INVALID"),
        (image(b"config", &[b"layer"], ""), 400, "MANIFEST_BLOB_UNKNOWN"),
        (image(b"other", &[], ""), 400, "MANIFEST_BLOB_UNKNOWN"),
        (image(b"config", &[], "").replace(":6}", ":7}"), 400, "MANIFEST_INVALID"),
    ] {
        let answer = site.put_manifest("/v2/apps/x/manifests/1", manifest.clone()).await;
        let shown = manifest.get(..100).unwrap_or(&manifest);
        assert_eq!(code_of(&answer), (status, code.to_owned()), "{shown}");
    }
    assert_eq!(site.files(), before);
    let fits = 4 * (1 << 20) - image(b"config", &[], r#","x":"""#).len();
    let largest = image(b"config", &[], &format!(r#","x":"{}""#, "a".repeat(fits)));
    assert_eq!(largest.len() as u64, limits::OCI_MANIFEST_LEN_BYTES_MAX);
    assert_eq!(site.put_manifest("/v2/apps/x/manifests/1", largest).await.status, 201);
}

#[tokio::test]
async fn a_full_quota_is_said_and_room_that_is_given_back_is_used() {
    let site = pushable(2 * limits::PUSHED_DOCUMENT_LEN_BYTES + 11);
    assert_eq!(site.push_blob("apps/x", b"config").await.status, 201);
    let full = site.push_blob("apps/x", b"a longer layer").await;
    assert_eq!(code_of(&full), (403, "DENIED".to_owned()));
    assert_eq!(site.push_blob("apps/x", b"layer").await.status, 201);
    let full = site.push_blob("apps/x", b"").await;
    assert_eq!(code_of(&full), (403, "DENIED".to_owned()));
    let path = format!("/v2/apps/x/blobs/{}", digest(b"layer"));
    assert_eq!(site.push("DELETE", &path, "").await.status, 202);
    assert_eq!(site.get(&path).await.status, 404);
    assert_eq!(site.push_blob("apps/x", b"").await.status, 201);
    let empty = site.get(&format!("/v2/apps/x/blobs/{}", digest(b""))).await;
    assert_eq!((empty.status, empty.body.len()), (200, 0));
}

#[tokio::test]
async fn one_blob_is_uploaded_many_times_at_once() {
    let site = pushable(64 << 20);
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let path = format!("/v2/apps/x/blobs/uploads/?digest={}", digest(&content));
    let uploads = (0..8).map(|_| site.push("POST", &path, content.clone()));
    for pushed in futures_util::future::join_all(uploads).await {
        assert_eq!(pushed.status, 201);
    }
    let got = site.get(&format!("/v2/apps/x/blobs/{}", digest(&content))).await;
    assert!(got.body == content);
    let blobs = site.files().into_iter().filter(|file| file.starts_with("blobs/"));
    assert_eq!(blobs.count(), 1);
}

#[tokio::test]
async fn a_blob_is_mounted_from_what_its_user_may_push_to_or_from_what_is_carried_and_readable() {
    let site = pushable(1 << 20);
    site.put(b"layer");
    site.put(b"{}");
    site.put(b"hidden");
    site.switch(&[&[
        fixture::image("r.example/base", "1", b"{}", &[b"layer"]),
        fixture::image("r.example/secret", "1", b"{}", &[b"hidden"]),
    ]]);
    site.push_blob("apps/y", b"own").await;
    let mount = |content: &[u8], from: &str| {
        format!("/v2/apps/x/blobs/uploads/?mount={}{from}", digest(content))
    };
    for (content, from, status) in [
        (&b"own"[..], "&from=apps/z", 202),
        (b"own", "&from=apps/y", 201),
        (b"layer", "", 202),
        (b"layer", "&from=r.example%2Fbase", 201),
        (b"layer", "", 201),
        (b"none", "&from=base", 202),
        (b"hidden", "&from=r.example%2Fsecret", 202),
        (b"hidden", "&from=secret", 202),
    ] {
        let answer = site.push("POST", &mount(content, from), "").await;
        assert_eq!(answer.status, status, "{from}");
        if status == 201 {
            assert_eq!(site.get(answer.header(header::LOCATION)).await.body, content);
        }
    }
}

#[tokio::test]
async fn tags_are_listed_in_pages_and_referrers_by_their_type() {
    let site = pushable(1 << 20);
    site.push_blob("apps/x", b"config").await;
    let subject = image(b"config", &[], "");
    for tag in ["b", "a", "c"] {
        let path = format!("/v2/apps/x/manifests/{tag}");
        assert_eq!(site.put_manifest(&path, subject.clone()).await.status, 201);
    }
    let page = site.get("/v2/apps/x/tags/list?n=2").await;
    assert_eq!(page.json(), json!({"name": "apps/x", "tags": ["a", "b"]}));
    assert_eq!(page.header(header::LINK), "</v2/apps/x/tags/list?n=2&last=b>; rel=\"next\"");
    let page = site.get("/v2/apps/x/tags/list?n=2&last=b").await;
    assert_eq!((page.json()["tags"].clone(), page.header(header::LINK)), (json!(["c"]), ""));
    let unknown = site.get("/v2/apps/none/tags/list").await;
    assert_eq!(code_of(&unknown), (404, "NAME_UNKNOWN".to_owned()));

    let named = digest(subject.as_bytes());
    let size = subject.len();
    let pointer = format!(
        r#","artifactType":"sig","subject":{{"mediaType":"m","digest":"{named}","size":{size}}}"#
    );
    let signature = image(b"config", &[], &pointer);
    let by_digest = format!("/v2/apps/x/manifests/{}?tag=s&tag=t", digest(signature.as_bytes()));
    let put = site.put_manifest(&by_digest, signature.clone()).await;
    assert_eq!((put.status, put.header("oci-subject")), (201, &*named));
    assert_eq!(put.headers.get_all("oci-tag").iter().count(), 2);
    assert_eq!(site.get("/v2/apps/x/manifests/t").await.text(), signature);
    let count = async |more: &str| {
        let list = site.get(&format!("/v2/apps/x/referrers/{named}{more}")).await;
        (
            list.json()["manifests"].as_array().unwrap().len(),
            !list.header("oci-filters-applied").is_empty(),
        )
    };
    assert_eq!(count("").await, (1, false));
    assert_eq!(count("?artifactType=sig").await, (1, true));
    assert_eq!(count("?artifactType=other").await, (0, true));
    let empty = site.get(&format!("/v2/apps/none/referrers/{named}")).await;
    assert_eq!((empty.status, empty.json()["manifests"].clone()), (200, json!([])));
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_what_came_for_the_client_to_go_on_from() {
    let site = pushable(1 << 20);
    let path = site.begin().await;
    let pieces = [Ok("abc"), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let broken = site.push("PATCH", &path, body).await;
    assert_eq!(code_of(&broken), (400, "BLOB_UPLOAD_INVALID".to_owned()));
    let status = site.push("GET", &path, "").await;
    assert_eq!((status.status, status.header(header::RANGE)), (204, "0-2"));
    let last = site.push("PUT", &format!("{path}?digest={}", digest(b"abcdef")), "def").await;
    assert_eq!(last.status, 201);
}

#[tokio::test]
async fn no_namespace_leads_out_of_the_local_space_or_into_another_name() {
    let site = pushable(1 << 20);
    let content = b"stray";
    for ns in ["apps/../../generations", "apps/..", "apps/.", "apps/_tags", "apps/team"] {
        let ns = ns.replace('/', "%2F");
        let path = format!("/v2/x/blobs/uploads/?ns={ns}&digest={}", digest(content));
        let answer = site.push("POST", &path, &content[..]).await;
        assert_eq!(answer.status, 400, "{ns}: {answer:?}");
    }
    for ns in ["..", ".", "apps%00"] {
        let path = format!("/v2/x/blobs/uploads/?ns={ns}&digest={}", digest(content));
        let answer = site.push("POST", &path, &content[..]).await;
        assert!(400 <= answer.status, "{ns}: {answer:?}");
    }
    assert!(!site.root().join("state/generations").exists());
    assert!(!site.root().join("generations").exists());
}
