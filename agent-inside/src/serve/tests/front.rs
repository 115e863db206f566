//! What stands before the routes: the login, old addresses, bounds.

use std::net::Ipv4Addr;

use data_encoding::BASE64;
use gapferry_proto::limits;

use super::*;
use crate::serve::front::{Front, Peer};
use crate::settings::{AccessRule, Aliases, Readers};

const PEER: Peer =
    Peer { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000), is_tls: true };

/// A site with one user, `a`, whose password is `one`, and with paths that only `a` may read.
fn front(site: &TestSite, paths: &[&str], aliases: Aliases) -> Front {
    let users = site.root().join("users");
    fs::write(&users, format!("a:{}\n", bcrypt::hash("one", 4).unwrap())).unwrap();
    let readers = Readers::Users(vec!["a".parse().unwrap()]);
    let rule = |path: &&str| AccessRule { path: (*path).to_owned(), readers: readers.clone() };
    let rules: Vec<_> = paths.iter().map(rule).collect();
    let auth = Auth::open(users, Access::new(&rules), "prod").unwrap();
    Front::new(Arc::clone(&site.app), Arc::new(auth), aliases)
}

async fn ask(front: &Front, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = front.answer(request.body(Body::empty()).unwrap(), PEER).await;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap().into();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn what_is_not_for_everybody_asks_for_a_login_in_the_words_of_its_protocol() {
    let site = TestSite::empty();
    site.put(b"content");
    site.put(MANIFEST);
    site.switch(&[&[
        fixture::file("h/a", b"content"),
        fixture::image("r.example/x", "1", MANIFEST, &[]),
    ]]);
    let front = front(&site, &["/files/", "/v2/r.example/x"], Aliases::default());
    let login = format!("Basic {}", BASE64.encode(b"a:one"));
    let login = [("authorization", login.as_str())];
    for path in ["/files/h/a", "/v2/x/manifests/1", "/v2/r.example/x/tags/list", "/v2/"] {
        let answer = ask(&front, path, &[]).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{path}");
        assert_eq!(ask(&front, path, &login).await.status, 200, "{path}");
        if path.starts_with("/v2/") {
            assert_eq!(answer.code(), "UNAUTHORIZED", "{path}");
        }
    }
    let wrong = format!("Basic {}", BASE64.encode(b"a:two"));
    let wrong = [("authorization", wrong.as_str())];
    assert_eq!(ask(&front, "/pypi/simple/", &wrong).await.status, 401);
    assert_eq!(ask(&front, "/healthz", &wrong).await.status, 200);
    assert_eq!(ask(&front, "/pypi/simple/", &[]).await.status, 200);
    assert_eq!(site.wants(), [], "who may not read wants nothing");
}

#[tokio::test]
async fn what_a_user_is_shown_stays_out_of_the_caches_of_others() {
    let site = TestSite::empty();
    [&b"content"[..], MANIFEST].iter().for_each(|content| site.put(content));
    site.switch(&[&[
        fixture::file("h/a", b"content"),
        fixture::image("r.example/x", "1", MANIFEST, &[]),
    ]]);
    let front = front(&site, &["/files/"], Aliases::default());
    let login = format!("Basic {}", BASE64.encode(b"a:one"));
    let login = [("authorization", login.as_str())];
    let by_digest = format!("/v2/x/manifests/{}", digest(MANIFEST));
    for (path, headers, expected) in [
        ("/files/h/a", &login[..], "private, no-cache"),
        (&by_digest, &login, "private, max-age=31536000, immutable"),
        (&by_digest, &[], "max-age=31536000, immutable"),
        ("/v2/x/tags/list", &login, "private"),
        ("/", &login, "no-store"),
        ("/files/h/a", &[], "no-store"),
    ] {
        let said = ask(&front, path, headers).await;
        assert_eq!(said.header(header::CACHE_CONTROL), expected, "{path}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_before_anything_looks_at_it() {
    let site = TestSite::empty();
    site.switch(&[&[]]);
    let front = front(&site, &[], Aliases::default());
    let path = |len: usize| format!("/files/h/{}", "a".repeat(len - "/files/h/".len()));
    assert_eq!(ask(&front, &path(limits::URI_LEN_BYTES_MAX), &[]).await.status, 400);
    assert_eq!(ask(&front, &path(limits::URI_LEN_BYTES_MAX + 1), &[]).await.status, 414);
    let value = "a".repeat(limits::HEADERS_LEN_BYTES_MAX - 1);
    assert_eq!(ask(&front, "/", &[("x", &value)]).await.status, 200);
    assert_eq!(ask(&front, "/", &[("xy", &value)]).await.status, 431);
    assert_eq!(site.wants(), []);
}

#[tokio::test]
async fn an_old_address_leads_to_what_it_means_when_aliases_are_on() {
    let site = TestSite::empty();
    [&b"runc"[..], b"deb", b"wheel"].iter().for_each(|content| site.put(content));
    site.switch(&[&[
        fixture::file("github.com/opencontainers/runc/releases/download/v1.3.4/runc", b"runc"),
        fixture::deb("bookworm", "socat", "1", "amd64", b"deb"),
        fixture::wheel("a", "1", "a-1.tar.gz", b"wheel"),
    ]]);
    let on = Aliases { on: true, ..Aliases::default() };
    let front = self::front(&site, &["/files/github.com/"], on);
    let login = format!("Basic {}", BASE64.encode(b"a:one"));
    let login = [("authorization", login.as_str())];
    let old = "/files/runc/v1.3.4/runc";
    assert_eq!(ask(&front, old, &[]).await.status, 401, "a rule is for what the address means");
    assert_eq!(ask(&front, old, &login).await.text(), "runc");
    assert_eq!(ask(&front, "/files/runc/v1.3.5/runc", &login).await.status, 404);
    let canonical = "/files/github.com/opencontainers/runc/releases/download/v1.3.4/runc?x=y";
    assert_eq!(ask(&front, canonical, &login).await.text(), "runc");

    let packages = ask(&front, "/debs/local/./Packages", &[]).await;
    assert!(packages.text().contains("Filename: pool/main/socat_1_amd64.deb"), "{packages:?}");
    assert_eq!(ask(&front, "/debs/local/./pool/main/socat_1_amd64.deb", &[]).await.text(), "deb");
    assert_eq!(ask(&front, "/debs/local/./Release", &[]).await.status, 404);
    assert_eq!(ask(&front, "/rpms/local/repodata/repomd.xml", &[]).await.status, 404, "no target");

    let index = ask(&front, "/pypi/A/", &[]).await;
    assert_eq!((index.status, index.header("location")), (308, "/pypi/simple/A/"));
    assert_eq!(ask(&front, "/pypi/", &[]).await.header("location"), "/pypi/simple/");
    assert_eq!(ask(&front, "/pypi/simple/a/", &[]).await.status, 200);
    let off = self::front(&site, &[], Aliases::default());
    for path in [old, "/debs/local/./Packages", "/pypi/a/"] {
        assert_eq!(ask(&off, path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_old_address_is_judged_as_it_was_asked_and_by_what_it_means() {
    let site = TestSite::empty();
    [&b"runc"[..], b"deb", b"rpm", b"wheel", MANIFEST].iter().for_each(|content| site.put(content));
    site.switch(&[&[
        fixture::file("github.com/opencontainers/runc/releases/download/v1.3.4/runc", b"runc"),
        fixture::deb("bookworm", "socat", "1", "amd64", b"deb"),
        fixture::rpm("el9", "socat", "1", b"rpm"),
        fixture::wheel("a", "1", "a-1.tar.gz", b"wheel"),
        fixture::image("r.example/x", "1", MANIFEST, &[]),
    ]]);
    let old = [
        ("/files/runc/v1.3.4/runc", "/files/github.com/", 200),
        ("/debs/local/./pool/main/socat_1_amd64.deb", "/apt/bookworm/pool/", 200),
        ("/debs/local/Packages", "/apt/", 200),
        ("/rpms/local/Packages/socat-1-1.noarch.rpm", "/yum/el9/Packages/", 200),
        ("/rpms/local/repodata/repomd.xml", "/yum/", 200),
        ("/pypi/a/", "/pypi/", 308),
        ("/v2/x/manifests/1", "/v2/r.example/", 200),
    ];
    let login = format!("Basic {}", BASE64.encode(b"a:one"));
    let login = [("authorization", login.as_str())];
    for (path, meant, status) in old {
        let (below, _) = path.rsplit_once('/').unwrap();
        for rule in [meant, below, "/"] {
            let on = Aliases { on: true, ..Aliases::default() };
            let front = front(&site, &[rule], on);
            assert_eq!(ask(&front, path, &[]).await.status, 401, "{path}, {rule}");
            assert_eq!(ask(&front, path, &login).await.status, status, "{path}, {rule}");
        }
    }
}

#[tokio::test]
async fn a_rule_covers_a_file_however_its_address_is_spelt() {
    let site = TestSite::empty();
    site.put(b"secret");
    let name = "h/v1+k1/a";
    site.switch(&[&[fixture::file(name, b"secret")]]);
    let login = format!("Basic {}", BASE64.encode(b"a:one"));
    let login = [("authorization", login.as_str())];
    for rule in ["/files/h/v1+k1/", "/files/h/v1%2Bk1/"] {
        let front = front(&site, &[rule], Aliases::default());
        for path in ["/files/h/v1+k1/a", "/files/h/v1%2Bk1/a", "/files/h/v1%2bk1/%61"] {
            assert_eq!(ask(&front, path, &[]).await.status, 401, "{path}, {rule}");
            assert_eq!(ask(&front, path, &login).await.text(), "secret", "{path}, {rule}");
        }
        assert_eq!(ask(&front, "/files/h/v1%252Bk1/a", &[]).await.status, 404, "{rule}");
    }
}

#[tokio::test]
async fn the_status_page_speaks_of_addresses_as_the_client_reached_it() {
    let mut site = TestSite::empty();
    let app = Arc::into_inner(site.app).unwrap().with_ca("the certificate".to_owned());
    site.app = Arc::new(app);
    let front = front(&site, &[], Aliases::default());
    assert_eq!(ask(&front, "/keys/ca.pem", &[]).await.text(), "the certificate");
    site.switch(&[&[]]);
    let page = ask(&front, "/", &[("host", "admin.lan")]).await;
    assert!(page.text().contains("--index-url https://admin.lan/pypi/simple/"), "{page:?}");
    assert!(page.text().contains("https://admin.lan/keys/ca.pem"), "{page:?}");
    let address = "https://admin.lan:8443/"; // as HTTP/2 says it, without a header `Host`
    let page = ask(&front, address, &[]).await;
    assert!(page.text().contains("--index-url https://admin.lan:8443/pypi/simple/"), "{page:?}");
    let page = ask(&front, address, &[("host", "other.lan")]).await;
    assert!(page.text().contains("--index-url https://other.lan/pypi/simple/"), "{page:?}");
    assert_eq!(TestSite::empty().get("/keys/ca.pem").await.status, 404);
}
