//! Pulls of carried images.

use super::*;

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
    let others = ["1", "2"].map(|tag| fixture::image("r.example:5000/y", tag, MANIFEST, &[]));
    site.switch(&[&[&images[..], &others].concat()]);
    let all = site.get("/v2/x/tags/list").await;
    assert_eq!(all.json(), json!({"name": "x", "tags": ["a", "b", "c"]}));
    assert_eq!(all.header(header::LINK), "");
    let page = site.get("/v2/x/tags/list?n=2").await;
    assert_eq!(page.json()["tags"], json!(["a", "b"]));
    assert_eq!(page.header(header::LINK), "</v2/x/tags/list?n=2&last=b>; rel=\"next\"");
    let rest = site.get("/v2/x/tags/list?n=2&last=b").await;
    assert_eq!((rest.json()["tags"].clone(), rest.header(header::LINK)), (json!(["c"]), ""));
    let named = site.get("/v2/y/tags/list?n=1&ns=r.example:5000").await;
    let link = "</v2/y/tags/list?n=1&last=1&ns=r.example%3A5000>; rel=\"next\"";
    assert_eq!(named.header(header::LINK), link);
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
    let unfiltered = site.get(&format!("/v2/x/referrers/{subject}?artifactType=")).await;
    assert_eq!((unfiltered.json(), unfiltered.header("oci-filters-applied")), (found.json(), ""));
    let nothing = site.get(&format!("/v2/x/referrers/{}", digest(b"nobody"))).await;
    assert_eq!((nothing.status, nothing.json()["manifests"].clone()), (200, json!([])));
}
