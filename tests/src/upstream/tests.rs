use super::*;
use crate::{
    fetch,
    fixtures::{Deb, Wheel, sha256},
};

#[test]
fn a_file_is_served_whole_and_by_range_and_counted() {
    let upstream = Upstream::start();
    let content = Content::new(3, 300_000);
    upstream.put_content("/files/tool", content);
    upstream.put("/files/note", "text");
    let url = format!("{}/files/tool", upstream.url());
    assert_eq!(fetch::get(&url).unwrap().body, content.bytes());
    let part = fetch::get_with(&url, &[("range", "bytes=70000-")]).unwrap();
    assert_eq!((part.status, sha256(&part.body)), (206, sha256(&content.bytes()[70_000..])));
    let seen = upstream.take_seen();
    assert_eq!(seen[1].range.as_deref(), Some("bytes=70000-"));
    assert_eq!(seen.len(), 2);
    assert_eq!(fetch::get(&format!("{}/files/none", upstream.url())).unwrap().status, 404);
}

#[test]
fn the_index_comes_as_json_and_as_html() {
    let upstream = Upstream::start();
    upstream.put_pypi(Wheel::new("Alpha_Beta", "1.0").requires_python(">=3.8").make());
    let url = format!("{}/simple/alpha-beta/", upstream.url());
    let html = fetch::get(&url).unwrap();
    let text = String::from_utf8(html.body).unwrap();
    assert!(text.contains("data-requires-python=\"&gt;=3.8\""), "{text}");
    let accept = [("accept", "application/vnd.pypi.simple.v1+json")];
    let json = fetch::get_with(&url, &accept).unwrap();
    let page: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    let file = &page["files"][0];
    assert_eq!(file["url"], "../../packages/Alpha_Beta-1.0-py3-none-any.whl");
    let bytes =
        fetch::get(&format!("{}/packages/{}", upstream.url(), file["filename"].as_str().unwrap()));
    assert_eq!(file["hashes"]["sha256"], sha256(&bytes.unwrap().body));
    upstream.set_index(Switches { json: false, ..Switches::default() });
    let html = fetch::get_with(&url, &accept).unwrap();
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
}

#[test]
fn a_repository_and_an_image_are_served() {
    let upstream = Upstream::start();
    upstream.put_apt(&AptRepo::new("trixie").with(Deb::new("socat", "1.8")));
    let image = Image::new(b"payload");
    upstream.put_image("demo/app", "1.0", &image);
    let get = |path: &str| fetch::get(&format!("{}{path}", upstream.url())).unwrap();
    assert_eq!(get("/apt/dists/trixie/InRelease").status, 200);
    let manifest = get("/v2/demo/app/manifests/1.0");
    assert_eq!(manifest.header("docker-content-digest"), image.root.as_str());
    assert_eq!(format!("sha256:{}", sha256(&manifest.body)), image.root);
}

#[test]
fn a_token_and_a_login_are_asked_for() {
    let upstream = Upstream::start();
    upstream.put_image("demo/app", "1.0", &Image::new(b"payload"));
    upstream.put("/private/file", "secret");
    upstream.demand_token("open");
    upstream.guard("/private/", "me:word");
    let url = |path: &str| format!("{}{path}", upstream.url());
    let refused = fetch::get(&url("/v2/demo/app/manifests/1.0")).unwrap();
    let challenge = format!("Bearer realm=\"{}/token\",service=\"harness\"", upstream.url());
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, &*challenge));
    let token = fetch::get(&url("/token?service=harness")).unwrap();
    assert_eq!(token.body, br#"{"token": "open"}"#);
    let shown = [("authorization", "Bearer open")];
    assert_eq!(fetch::get_with(&url("/v2/demo/app/manifests/1.0"), &shown).unwrap().status, 200);
    assert_eq!(fetch::get(&url("/private/file")).unwrap().status, 401);
    let shown = fetch::get(&upstream.url_with_login("me:word", "/private/file")).unwrap();
    assert_eq!(shown.status, 200);
}

#[test]
fn each_fault_shows_on_the_wire() {
    let upstream = Upstream::start();
    let bytes = Content::new(1, 100_000).bytes();
    upstream.put("/f", bytes.clone());
    let url = format!("{}/f", upstream.url());
    upstream.fault_times("/f", Fault::Status(429), 1);
    let busy = fetch::get(&url).unwrap();
    assert_eq!((busy.status, busy.header("retry-after")), (429, "1"));
    for broken in [Fault::BreakOff { after_bytes: 50_000 }, Fault::TooLong { by_bytes: 5 }] {
        upstream.fault_times("/f", broken, 1);
        fetch::get(&url).expect_err("the answer was whole");
    }
    upstream.fault_times("/f", Fault::TooShort { by_bytes: 5 }, 1);
    assert_eq!(fetch::get(&url).unwrap().body, bytes[..99_995]);
    upstream.fault_times("/f", Fault::FlipBit { at_byte: 70_000 }, 1);
    let flipped = fetch::get(&url).unwrap().body;
    assert_eq!(flipped.iter().zip(&bytes).filter(|(a, b)| a != b).count(), 1);
    upstream.fault_times("/f", Fault::Slow { bytes_per_second: 1_000_000 }, 1);
    let began = std::time::Instant::now();
    assert_eq!(fetch::get(&url).unwrap().body, bytes);
    assert!(90 < began.elapsed().as_millis());
}
