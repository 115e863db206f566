//! What the client makes of good, bad and lying servers.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use camino::Utf8PathBuf;
use gapferry_proto::{BlobId, BlobRef};

use super::{
    redirects::check_redirect,
    upstream::{Seen, Upstream, broken, chunked, client, ranged},
    *,
};
use crate::source::Verdict;

/// A folder for partial files that goes with the test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn partial(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.0.path().join("partial")).unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
}

async fn download(
    upstream: &Upstream,
    partial: &Utf8PathBuf,
    expected: &[u8],
) -> Result<(), HttpError> {
    let expected = BlobRef { id: BlobId::of(expected), len_bytes: expected.len() as u64 };
    let url = upstream.at("/blob");
    let download = Download {
        url: &url,
        space: Space::Web,
        accept: None,
        authorization: None,
        partial,
        expected,
        on_bytes: &|_| {},
    };
    client(Network::default()).download(&download).await
}

async fn get(upstream: &Upstream, path: &str) -> Result<String, HttpError> {
    let document = client(Network::default()).get(&upstream.at(path), None, 1000).await?;
    Ok(String::from_utf8(document.bytes.to_vec()).unwrap())
}

/// Busy at first, then `answer`.
fn second_time(seen: &Seen, status: u16, answer: &'static str) -> Response {
    if seen.nth == 0 {
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [(header::RETRY_AFTER, "0")]).into_response();
    }
    answer.into_response()
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/429" => second_time(seen, 429, "a"),
        "/503" => second_time(seen, 503, "b"),
        "/cut" if seen.nth == 0 => broken(b"c", 10),
        "/cut" => "c".into_response(),
        _ => StatusCode::BAD_GATEWAY.into_response(),
    })
    .await;
    for (path, body) in [("/429", "a"), ("/503", "b"), ("/cut", "c")] {
        assert_eq!(get(&upstream, path).await.unwrap(), body);
    }
    assert_eq!(upstream.seen().len(), 6);
    let error = get(&upstream, "/502").await.unwrap_err();
    assert!(matches!(error, HttpError::Busy { status: 502, tries: 5, .. }), "{error:?}");
}

#[tokio::test]
async fn what_will_not_pass_is_asked_once_and_has_its_verdict() {
    let upstream = Upstream::start(|seen| {
        let status: u16 = seen.path[1..].parse().unwrap_or(200);
        (StatusCode::from_u16(status).unwrap(), "0123456789".repeat(200)).into_response()
    })
    .await;
    for (path, verdict) in [
        ("/404", Verdict::Missing),
        ("/410", Verdict::Missing),
        ("/401", Verdict::Configuration),
        ("/403", Verdict::Configuration),
        ("/418", Verdict::Fault),
        ("/long", Verdict::Refused),
    ] {
        assert_eq!(get(&upstream, path).await.unwrap_err().verdict(), verdict, "{path}");
    }
    assert_eq!(upstream.seen().len(), 6);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let upstream = Upstream::start(|_| chunked(&[b'x'; 11])).await;
    let http = client(Network::default());
    let url = upstream.at("/");
    assert_eq!(http.get(&url, None, 11).await.unwrap().bytes.len(), 11);
    let error = http.get(&url, None, 10).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLong { max: 10, .. }), "{error:?}");
}

#[tokio::test]
async fn redirects_are_followed_and_never_for_ever() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/old" => Redirect::permanent("/new/page.html").into_response(),
        "/loop" => Redirect::permanent("/loop").into_response(),
        _ => "here".into_response(),
    })
    .await;
    let http = client(Network::default());
    let document = http.get(&upstream.at("/old"), None, 100).await.unwrap();
    assert_eq!(document.url, upstream.at("/new/page.html"));
    let error = get(&upstream, "/loop").await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }), "{error:?}");
    assert_eq!(error.verdict(), Verdict::Configuration);
}

#[tokio::test]
async fn a_range_comes_with_the_whole_length_or_not_at_all() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/whole" => "0123456789".into_response(),
        _ => ranged(seen, b"0123456789"),
    })
    .await;
    let http = client(Network::default());
    let range = http.get_range(&upstream.at("/"), 3..6).await.unwrap().unwrap();
    assert_eq!(range, (Bytes::from_static(b"345"), 10));
    let end = http.get_range(&upstream.at("/"), 8..99).await.unwrap().unwrap();
    assert_eq!(end, (Bytes::from_static(b"89"), 10));
    assert_eq!(http.get_range(&upstream.at("/whole"), 3..6).await.unwrap(), None);
}

#[tokio::test]
async fn a_mirror_answers_and_relative_links_stay_the_originals() {
    let mirror = Upstream::start(|seen| seen.path.clone().into_response()).await;
    let mirrors = vec![Mirror {
        from: "https://origin.invalid/pub".parse().unwrap(),
        to: mirror.at("/copy"),
    }];
    let http = client(Network { mirrors, ..Network::default() });
    let url: Url = "https://origin.invalid/pub/a/index.html".parse().unwrap();
    let document = http.get(&url, None, 100).await.unwrap();
    assert_eq!(document.bytes, "/copy/a/index.html");
    assert_eq!(document.url, url);
}

#[tokio::test]
async fn credentials_reach_the_server_and_no_error() {
    let upstream = Upstream::start(|seen| match seen.header("authorization") {
        Some("Basic dXNlcjpDQU5BUlk=") if seen.path == "/ok" => "in".into_response(),
        _ => StatusCode::FORBIDDEN.into_response(),
    })
    .await;
    let http = client(Network::default());
    let with_user = |path: &str| -> Url {
        upstream.at(path).as_str().replace("//", "//user:CANARY@").parse().unwrap()
    };
    assert_eq!(http.get(&with_user("/ok"), None, 10).await.unwrap().bytes, "in");
    let denied = http.get(&with_user("/no?token=CANARY"), None, 10).await.unwrap_err();
    let url: Url = "http://user:CANARY@127.0.0.1:1/?token=CANARY".parse().unwrap();
    let unreachable = http.get(&url, None, 10).await.unwrap_err();
    for error in [denied, unreachable] {
        let said = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
        assert!(!said.contains("CANARY"), "{said}");
    }
    let shown = format!("{http:?}");
    assert_eq!(shown, "Http { .. }");
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let upstream = Upstream::start(|seen| match seen.nth {
        0 => broken(b"01234", 10),
        _ => ranged(seen, b"0123456789"),
    })
    .await;
    let folder = Folder::new();
    download(&upstream, &folder.partial(), b"0123456789").await.unwrap();
    assert_eq!(std::fs::read(folder.partial()).unwrap(), b"0123456789");
    let ranges: Vec<_> =
        upstream.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=5-".to_owned())]);
}

#[tokio::test]
async fn an_earlier_runs_partial_file_is_gone_on_with_under_its_etag() {
    let upstream = Upstream::start(|seen| ranged(seen, b"0123456789")).await;
    for (held, etag, ranges) in [
        (&b"0123"[..], Some("\"one\""), 1),
        (b"0123", None, 1),
        (b"0123", Some("\"two\""), 1), // another file: the server sends the whole
        (b"0123456789", None, 0),
        (b"0123456789and more", None, 1),
        (b"xxxx", None, 2), // damaged: the digest says so, and it begins anew
        (b"xxxxxxxxxx", None, 1), // the same at full length
    ] {
        let folder = Folder::new();
        std::fs::write(folder.partial(), held).unwrap();
        if let Some(etag) = etag {
            std::fs::write(format!("{}.etag", folder.partial()), etag).unwrap();
        }
        let before = upstream.seen().len();
        download(&upstream, &folder.partial(), b"0123456789").await.unwrap();
        assert_eq!(std::fs::read(folder.partial()).unwrap(), b"0123456789");
        assert_eq!(folder.files(), 1, "the etag is left");
        assert_eq!(upstream.seen().len() - before, ranges, "{held:?} {etag:?}");
    }
}

#[tokio::test]
async fn a_server_without_ranges_sends_the_whole_again() {
    let upstream = Upstream::start(|seen| match seen.nth {
        0 => broken(b"01234", 10),
        _ => "0123456789".into_response(),
    })
    .await;
    let folder = Folder::new();
    download(&upstream, &folder.partial(), b"0123456789").await.unwrap();
    assert_eq!(std::fs::read(folder.partial()).unwrap(), b"0123456789");
}

#[tokio::test]
async fn a_server_that_lies_is_refused_and_leaves_nothing() {
    let upstream = Upstream::start(|seen| match seen.header("x-none") {
        None => ranged(seen, b"9876543210"),
        Some(_) => StatusCode::OK.into_response(),
    })
    .await;
    for (expected, held, is_digest) in [
        (&b"0123456789"[..], &b""[..], true),
        (b"0123456789", b"0123", true), // also after a second try from the beginning
        (b"01234", b"", false),
        (b"0123456789a", b"", false),
    ] {
        let folder = Folder::new();
        std::fs::write(folder.partial(), held).unwrap();
        let error = download(&upstream, &folder.partial(), expected).await.unwrap_err();
        assert_eq!(matches!(error, HttpError::Digest { .. }), is_digest, "{error:?}");
        assert_eq!(error.verdict(), Verdict::Refused);
        assert_eq!(folder.files(), 0);
    }
}

#[tokio::test]
async fn a_body_longer_than_it_may_be_stops_and_a_shorter_one_stays() {
    let upstream = Upstream::start(|_| chunked(b"0123456789")).await;
    let folder = Folder::new();
    let error = download(&upstream, &folder.partial(), b"012345678").await.unwrap_err();
    assert!(matches!(error, HttpError::Length { expected: 9, .. }), "{error:?}");
    assert_eq!(folder.files(), 0);
    let error = download(&upstream, &folder.partial(), b"0123456789a").await.unwrap_err();
    assert!(matches!(error, HttpError::Short { actual: 10, expected: 11, .. }), "{error:?}");
    assert_eq!(error.verdict(), Verdict::Fault);
    assert_eq!(std::fs::read(folder.partial()).unwrap(), b"0123456789");
}

#[test]
fn a_redirect_does_not_lead_out_of_tls_and_the_eleventh_is_not_followed() {
    let [tls, plain]: [Url; 2] = ["https://a.lan", "http://a.lan"].map(|u| u.parse().unwrap());
    assert_eq!(check_redirect(std::slice::from_ref(&plain), &tls), Ok(()));
    assert!(check_redirect(std::slice::from_ref(&tls), &plain).is_err());
    assert!(check_redirect(&[plain.clone(), tls.clone()], &plain).is_err());
    assert_eq!(check_redirect(&vec![tls.clone(); 10], &tls), Ok(()));
    assert!(check_redirect(&vec![tls.clone(); 11], &tls).is_err());
}

#[test]
fn a_list_of_referrers_is_not_followed_to_a_page_for_people() {
    let url = |path: &str| -> Url { format!("https://a.lan{path}").parse().unwrap() };
    let list = url("/v2/team/app/referrers/sha256:00");
    let list = std::slice::from_ref(&list);
    assert_eq!(check_redirect(list, &url("/v2/x/app/referrers/sha256:00?a")), Ok(()));
    assert!(check_redirect(list, &url("/-/v2/packages/app%2Freferrers%2Fsha256")).is_err());
    let other = url("/v2/team/referrers-blobs/blobs/sha256:00");
    assert_eq!(check_redirect(&[other], &url("/storage/00")), Ok(()));
}
