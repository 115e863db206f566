//! Files and their folders, one request through the router for each.

use super::*;

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
async fn a_file_whose_name_has_a_question_mark_answers_to_it() {
    let site = TestSite::empty();
    site.put(b"with");
    site.put(b"without");
    let files = [fixture::file("h/get?v=1", b"with"), fixture::file("h/get", b"without")];
    site.switch(&[&files]);
    assert_eq!(site.get("/files/h/get?v=1").await.text(), "with");
    assert_eq!(site.get("/files/h/get%3Fv=1").await.text(), "with");
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
