//! Charts of a registry that are asked for by constraint.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::*;
use crate::source::{
    helm::{
        archive::Files,
        oci::{ARCHIVE, CONFIG},
    },
    http::{
        Mirror, Network,
        upstream::{Seen, Upstream, client},
    },
};

/// An archive of the chart `a`.
fn archive(version: &str) -> Vec<u8> {
    let meta = format!("apiVersion: v2\nname: a\nversion: {version}\n");
    pack("a", &Files::from([("Chart.yaml".to_owned(), meta.into_bytes())])).unwrap()
}

fn manifest(archive: &[u8]) -> String {
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let (id, len) = (BlobId::of(bytes), bytes.len());
        format!(r#"{{"mediaType":"{media_type}","digest":"{id}","size":{len}}}"#)
    };
    let (config, layer) = (descriptor(CONFIG, b"{}"), descriptor(ARCHIVE, archive));
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
}

/// A registry with charts of two versions, and a tag that is none.
fn answer(seen: &Seen) -> Response {
    let charts = [("1.9.0", "1.9.0"), ("1.10.0_b", "1.10.0+b")];
    let found = charts.iter().find_map(|(tag, version)| {
        let archive = archive(version);
        if seen.path == format!("/v2/charts/a/manifests/{tag}") {
            return Some(manifest(&archive).into_response());
        }
        (seen.path == format!("/v2/charts/a/blobs/{}", BlobId::of(&archive)))
            .then(|| archive.into_response())
    });
    match (&*seen.path, found) {
        (_, Some(found)) => found,
        ("/v2/charts/a/tags/list?n=1000", _) => {
            r#"{"name":"charts/a","tags":["1.10.0_b","1.9.0","sha256-00.sig"]}"#.into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test]
async fn of_a_registrys_versions_the_newest_that_the_line_admits_is_taken() {
    let upstream = Upstream::start(answer).await;
    let http = client(Network::default());
    let resolved = async |version: &str| {
        let repo = format!("oci://{}/charts", upstream.authority());
        let version = if version.is_empty() { "null" } else { version };
        let text = format!("{{repo: '{repo}', name: a, version: {version}}}");
        let line: ChartLine = serde_saphyr::from_str(&text).unwrap();
        let mut charts = resolve(&http, &line, "/nowhere".into(), "a").await;
        let failure = charts.found.failures.pop();
        let failure = failure.map(|failure| (failure.verdict, failure.error.to_string()));
        charts.found.artifacts.pop().map(|artifact| artifact.name).ok_or(failure)
    };
    let name = |tag: &str| Ok(format!("{}/charts/a:{tag}", upstream.authority()));
    for (version, tag) in
        [("", "1.10.0_b"), ("~1.9.0", "1.9.0"), ("1.10.0+b", "1.10.0_b"), ("'<2'", "1.10.0_b")]
    {
        assert_eq!(resolved(version).await, name(tag), "{version}");
    }
    let said = "a has no version ^2; its newest are 1.10.0+b, 1.9.0".to_owned();
    assert_eq!(resolved("^2").await, Err(Some((Verdict::Missing, said))));
    let asked = upstream.seen().into_iter().filter(|seen| seen.path.contains("/tags/list"));
    assert_eq!(asked.count(), 4, "a whole version needs no list");
}

#[test]
fn an_index_without_tls_vouches_for_no_digest() {
    let url = |text: &str| -> Url { text.parse().unwrap() };
    let http = client(Network {
        mirrors: vec![Mirror { from: url("https://m.example"), to: url("http://mirror.lan") }],
        ..Network::default()
    });
    let (own, index) = ("https://c.example/a.tgz", "https://c.example/index.yaml");
    let digest = Some(Digest::of(b"a"));
    let signer = Some("fingerprint".to_owned());
    for (signer, index, archive, digest, method, by) in [
        (None, index, own, digest, Method::HelmIndex, index),
        (None, index, "http://d.example/a.tgz", digest, Method::HelmIndex, index),
        (None, index, own, None, Method::Transport, own),
        (None, "http://c.example/i", own, digest, Method::Unverified, "http://c.example/i"),
        (None, "http://127.0.0.1/i", own, None, Method::Unverified, own),
        (None, "https://m.example/i", own, digest, Method::Unverified, "https://m.example/i"),
        (None, index, "https://m.example/a", None, Method::Unverified, "https://m.example/a"),
        (signer, "http://c.example/i", own, None, Method::HelmProvenance, "fingerprint"),
    ] {
        let expected = Evidence { method, by: by.to_owned(), digest };
        assert_eq!(evidence(&http, signer, &url(index), &url(archive), digest), expected);
    }
}
