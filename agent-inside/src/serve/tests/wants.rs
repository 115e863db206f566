//! What clients asked for in vain.

use super::*;

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
