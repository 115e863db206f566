//! Images from good and bad registries, and from layouts.

use std::{collections::HashMap, fs, sync::Arc};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use camino::Utf8PathBuf;
use docker_credential::DockerCredential;
use gapferry_proto::{BlobRef, artifact::ManifestRef};

use super::*;
use crate::source::http::{
    Mirror, Network,
    upstream::{Seen, Upstream, client},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of two platforms with an attestation, by digest.
#[derive(Clone)]
struct Shop {
    index: String,
    documents: Arc<HashMap<String, (String, &'static str)>>,
}

impl Shop {
    fn new() -> Self {
        let manifest = |arch: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}",
                "config":{{"mediaType":"c","digest":"{}","size":{}}},
                "layers":[{{"mediaType":"l","digest":"{}","size":6}}]}}"#,
                BlobId::of(arch.as_bytes()),
                arch.len(),
                BlobId::of(b"common"),
            )
        };
        let [amd, arm, att] = ["amd64", "arm64", "attest"].map(manifest);
        let entry = |json: &str, more: &str| {
            let (id, len) = (BlobId::of(json.as_bytes()), json.len());
            format!(r#"{{"mediaType":"{MANIFEST}","digest":"{id}","size":{len},{more}}}"#)
        };
        let platform = |arch| format!(r#""platform":{{"os":"linux","architecture":"{arch}"}}"#);
        let of_amd = format!(
            r#""annotations":{{"vnd.docker.reference.digest":"{}"}}"#,
            BlobId::of(amd.as_bytes())
        );
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[ {}, {}, {} ]}}"#,
            entry(&amd, &platform("amd64")),
            entry(&arm, &platform("arm64")),
            entry(&att, &of_amd),
        );
        let mut documents = HashMap::new();
        for (json, media_type) in
            [(&index, INDEX), (&amd, MANIFEST), (&arm, MANIFEST), (&att, MANIFEST)]
        {
            let reference = BlobId::of(json.as_bytes()).to_string();
            documents.insert(reference, (json.clone(), media_type));
        }
        documents.insert("1.0".to_owned(), (index.clone(), INDEX));
        Self { index, documents: Arc::new(documents) }
    }

    fn root(&self) -> BlobId {
        BlobId::of(self.index.as_bytes())
    }

    /// Answers for `/v2/team/app/manifests/<reference>`.
    fn answer(&self, seen: &Seen) -> Response {
        let reference = seen.path.strip_prefix("/v2/team/app/manifests/");
        match reference.and_then(|reference| self.documents.get(reference)) {
            Some((json, media_type)) => {
                ([(header::CONTENT_TYPE, *media_type)], json.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

fn line(reference: &str, platforms: &[&str]) -> ImageLine {
    ImageLine {
        platforms: platforms.iter().map(|&platform| platform.to_owned()).collect(),
        referrers: false,
        ..ImageLine::of(reference)
    }
}

async fn resolved(network: Network, line: &ImageLine) -> Images {
    let none: Lookup = |_| Ok(None);
    resolve_as(&client(network), line, "/nowhere".into(), "spec.images[0]", none).await
}

/// The verdict and the sentence of the only failure.
fn refusal(images: &Images) -> (Verdict, String) {
    assert!(images.found.artifacts.is_empty() && images.manifests.is_empty());
    let [failure] = &images.found.failures[..] else { panic!("{images:?}") };
    (failure.verdict, failure.error.to_string())
}

fn blob(bytes: &[u8]) -> BlobRef {
    BlobRef { id: BlobId::of(bytes), len_bytes: bytes.len() as u64 }
}

#[tokio::test]
async fn an_index_is_kept_whole_with_all_that_it_leads_to() {
    let shop = Shop::new();
    let clerk = shop.clone();
    let upstream = Upstream::start(move |seen| clerk.answer(seen)).await;
    let host = upstream.authority();
    let reference = format!("{host}/team/app:1.0");
    let images = resolved(Network::default(), &line(&reference, &[])).await;

    let [artifact] = &images.found.artifacts[..] else { panic!("{images:?}") };
    let Facts::Image(facts) = &artifact.facts else { panic!("{artifact:?}") };
    assert_eq!(artifact.name, reference);
    assert_eq!(artifact.origin, format!("http://{host}/v2/team/app/manifests/1.0"));
    assert_eq!(artifact.wanted, [format!("spec.images[0]: {reference}")]);
    assert_eq!(artifact.evidence.digest, Some(shop.root().digest()));
    assert_eq!((facts.root, facts.tag.as_deref()), (shop.root(), Some("1.0")));
    assert_eq!(facts.repository.as_str(), format!("{host}/team/app"));
    assert_eq!(facts.manifests[0], ManifestRef { id: shop.root(), media_type: INDEX.to_owned() });
    assert_eq!(facts.manifests.len(), 4);
    assert_eq!(artifact.blobs[0], blob(shop.index.as_bytes()));
    let leaves = [&b"amd64"[..], b"common", b"arm64", b"attest"].map(blob);
    assert_eq!(artifact.blobs[4..], leaves);
    assert_eq!(images.manifests[0].1, shop.index);
    assert_eq!(images.manifests.len(), 4);
}

#[tokio::test]
async fn a_platform_brings_its_attestation_and_a_lacking_one_is_missing() {
    let shop = Shop::new();
    let upstream = Upstream::start(move |seen| shop.answer(seen)).await;
    let reference = format!("{}/team/app:1.0", upstream.authority());
    let images = resolved(Network::default(), &line(&reference, &["linux/amd64"])).await;
    let [artifact] = &images.found.artifacts[..] else { panic!("{images:?}") };
    assert_eq!(artifact.blobs[3..], [&b"amd64"[..], b"common", b"attest"].map(blob));

    let images = resolved(Network::default(), &line(&reference, &["linux/s390x"])).await;
    let said = "has no linux/s390x; it has linux/amd64, linux/arm64".to_owned();
    assert_eq!(refusal(&images), (Verdict::Missing, said));
    let images = resolved(Network::default(), &line(&reference, &["linux"])).await;
    assert_eq!(refusal(&images).0, Verdict::Configuration);
}

#[tokio::test]
async fn a_registry_that_gives_other_bytes_than_it_says_is_refused() {
    let shop = Shop::new();
    let other = BlobId::of(b"other").to_string();
    let said = other.clone();
    let upstream = Upstream::start(move |seen| {
        let mut response = match seen.path.rsplit_once('/').unwrap().1 {
            reference if reference == said => shop.index.clone().into_response(),
            "nested" => nested(&shop),
            _ => shop.answer(seen),
        };
        if seen.path.ends_with("1.0") {
            let said = header::HeaderValue::from_str(&said).unwrap();
            response.headers_mut().insert("docker-content-digest", said);
        }
        response
    })
    .await;
    let host = upstream.authority();
    for (reference, verdict) in [
        (format!("{host}/team/app:1.0"), Verdict::Refused), // another digest in the header
        (format!("{host}/team/app@{other}"), Verdict::Refused), // another digest than asked for
        (format!("{host}/team/app:nested"), Verdict::Refused), // a child of another length
        (format!("{host}/team/app:2.0"), Verdict::Missing),
        (format!("{host}/team/APP:1.0"), Verdict::Configuration),
    ] {
        let images = resolved(Network::default(), &line(&reference, &[])).await;
        assert_eq!(refusal(&images).0, verdict, "{reference}");
    }
}

/// An index whose only child has another length than it says.
fn nested(shop: &Shop) -> Response {
    let json = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{INDEX}","digest":"{}","size":1}}]}}"#,
        shop.root()
    );
    json.into_response()
}

#[tokio::test]
async fn indexes_within_indexes_end_at_the_third() {
    let manifest = r#"{"schemaVersion":2,"layers":[],"config":{"mediaType":"c","size":0,
        "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;
    let mut documents = vec![manifest.to_owned()];
    for depth in 0..4 {
        let (child, media_type) = (&documents[depth], if depth == 0 { MANIFEST } else { INDEX });
        documents.push(format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","digest":"{}","size":{}}}]}}"#,
            BlobId::of(child.as_bytes()),
            child.len()
        ));
    }
    let by_reference = documents.iter().enumerate().flat_map(|(depth, json)| {
        [
            (format!("depth{depth}"), json.clone()),
            (BlobId::of(json.as_bytes()).to_string(), json.clone()),
        ]
    });
    let by_reference: HashMap<_, _> = by_reference.collect();
    let upstream = Upstream::start(move |seen| {
        by_reference[seen.path.rsplit_once('/').unwrap().1].clone().into_response()
    })
    .await;
    let at = |depth| line(&format!("{}/a:depth{depth}", upstream.authority()), &[]);
    let three = resolved(Network::default(), &at(3)).await;
    assert_eq!(three.manifests.len(), 4);
    let four = resolved(Network::default(), &at(4)).await;
    assert_eq!(refusal(&four).0, Verdict::Refused);
}

/// A registry and its token server in one: a token costs `user:CANARY`.
fn guarded(shop: &Shop, seen: &Seen) -> Response {
    if let Some(query) = seen.path.strip_prefix("/token?") {
        assert_eq!(query, "service=shop&scope=repository%3Ateam%2Fapp%3Apull");
        return match seen.header("authorization") {
            Some("Basic dXNlcjpDQU5BUlk=") => r#"{"token":"good"}"#.into_response(),
            None => r#"{"token":"anonymous"}"#.into_response(),
            Some(_) => StatusCode::UNAUTHORIZED.into_response(),
        };
    }
    if seen.header("authorization") == Some("Bearer good") {
        return shop.answer(seen);
    }
    let host = seen.header("host").unwrap();
    let challenge = format!(r#"Bearer realm="http://{host}/token",service="shop""#);
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
}

#[tokio::test]
async fn a_token_is_fetched_once_and_a_wrong_login_is_the_users_to_mend() {
    let shop = Shop::new();
    let upstream = Upstream::start(move |seen| guarded(&shop, seen)).await;
    let line = line(&format!("{}/team/app:1.0", upstream.authority()), &[]);
    let right: Lookup =
        |_| Ok(Some(DockerCredential::UsernamePassword("user".into(), "CANARY".into())));
    let wrong: Lookup = |_| Ok(Some(DockerCredential::UsernamePassword("user".into(), "x".into())));
    let http = client(Network::default());
    let base = Utf8Path::new("/nowhere");

    let images = resolve_as(&http, &line, base, "a", right).await;
    assert_eq!(images.manifests.len(), 4, "{images:?}");
    assert!(!format!("{images:?}").contains("CANARY"));
    let tokens = upstream.seen().iter().filter(|seen| seen.path.starts_with("/token")).count();
    assert_eq!(tokens, 1);

    let images = resolve_as(&http, &line, base, "a", wrong).await;
    assert_eq!(refusal(&images).0, Verdict::Configuration);
    let images = resolved(Network::default(), &line).await;
    assert_eq!(refusal(&images).0, Verdict::Configuration);
}

#[tokio::test]
async fn a_mirror_of_a_registry_answers_and_the_name_stays() {
    let shop = Shop::new();
    let mirror = Upstream::start(move |seen| {
        let path = seen.path.replacen("/v2/copies/", "/v2/team/", 1);
        shop.answer(&Seen { path, ..seen.clone() })
    })
    .await;
    let from = "https://registry.invalid/team".parse().unwrap();
    let mirrors = vec![Mirror { from, to: mirror.at("/copies") }];
    let network = Network { mirrors, ..Network::default() };
    let images = resolved(network, &line("registry.invalid/team/app:1.0", &[])).await;
    let [artifact] = &images.found.artifacts[..] else { panic!("{images:?}") };
    assert_eq!(artifact.name, "registry.invalid/team/app:1.0");
    assert_eq!(artifact.origin, "https://registry.invalid/v2/team/app/manifests/1.0");
}

/// Writes `shop` as a layout with one tag.
fn write_layout(shop: &Shop, dir: &Utf8Path) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let documents = shop.documents.values().map(|(json, _)| json.as_bytes());
    for bytes in documents.chain([&b"amd64"[..], b"arm64", b"attest", b"common"]) {
        fs::write(blobs.join(BlobId::of(bytes).hex()), bytes).unwrap();
    }
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{INDEX}","digest":"{}","size":{},
        "annotations":{{"org.opencontainers.image.ref.name":"1.0"}}}}]}}"#,
        shop.root(),
        shop.index.len()
    );
    fs::write(dir.join("index.json"), index).unwrap();
}

#[tokio::test]
async fn a_layout_gives_what_it_holds_under_the_name_it_is_given() {
    let shop = Shop::new();
    let folder = tempfile::tempdir().unwrap();
    let base = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    write_layout(&shop, &base.join("app"));
    let http = client(Network::default());
    let named =
        |reference: &str| ImageLine { named: Some("lan/app:1".to_owned()), ..line(reference, &[]) };
    for reference in ["oci:app", "oci:app:1.0"] {
        let images = resolve(&http, &named(reference), &base, "a").await;
        let [artifact] = &images.found.artifacts[..] else { panic!("{images:?}") };
        assert_eq!((&*artifact.origin, artifact.blobs.len()), ("oci:app", 8));
        assert!(artifact.name.ends_with("lan/app:1"));
    }
    for (reference, verdict) in [("oci:app:2.0", Verdict::Missing), ("oci:other", Verdict::Missing)]
    {
        let images = resolve(&http, &named(reference), &base, "a").await;
        assert_eq!(refusal(&images).0, verdict);
    }
    let unnamed = resolve(&http, &line("oci:app", &[]), &base, "a").await;
    assert_eq!(refusal(&unnamed).0, Verdict::Configuration);

    let blobs = base.join("app/blobs/sha256");
    fs::write(blobs.join(BlobId::of(b"common").hex()), "common and more").unwrap();
    let longer = resolve(&http, &named("oci:app"), &base, "a").await;
    assert_eq!(refusal(&longer).0, Verdict::Refused);
    fs::write(blobs.join(shop.root().hex()), "{}").unwrap();
    let damaged = resolve(&http, &named("oci:app"), &base, "a").await;
    assert_eq!(refusal(&damaged).0, Verdict::Refused);
}

#[tokio::test]
async fn an_image_without_index_has_the_platform_of_its_config() {
    let config = r#"{"os":"linux","architecture":"arm64","rootfs":{}}"#;
    let chart = r#"{"name":"chart"}"#;
    let manifest = |config: &str| {
        let (id, len) = (BlobId::of(config.as_bytes()), config.len());
        format!(
            r#"{{"schemaVersion":2,"layers":[],"config":{{"mediaType":"c","digest":"{id}","size":{len}}}}}"#
        )
    };
    let upstream = Upstream::start(move |seen| match seen.path.as_str() {
        "/v2/app/manifests/1" => manifest(config).into_response(),
        "/v2/chart/manifests/1" => manifest(chart).into_response(),
        path if path.ends_with(&BlobId::of(config.as_bytes()).to_string()) => {
            config.into_response()
        }
        _ => chart.into_response(),
    })
    .await;
    let at = |name, platforms| line(&format!("{}/{name}:1", upstream.authority()), platforms);
    let resolve = |line| async move { resolved(Network::default(), &line).await };
    assert_eq!(resolve(at("app", &["linux/arm64/v8"])).await.manifests.len(), 1);
    assert_eq!(resolve(at("chart", &["linux/amd64"])).await.manifests.len(), 1);
    let wrong = resolve(at("app", &["linux/amd64"])).await;
    let said = "has no linux/amd64; it has linux/arm64".to_owned();
    assert_eq!(refusal(&wrong), (Verdict::Missing, said));
}

#[tokio::test]
async fn tags_are_read_page_by_page_and_never_for_ever() {
    let upstream = Upstream::start(|seen| {
        let (tags, next) = match seen.path.as_str() {
            "/v2/app/tags/list?n=1000" => (r#"["1.0","1.1"]"#, "/v2/app/tags/list?n=2&last=1.1"),
            "/v2/app/tags/list?n=2&last=1.1" => (r#"["2.0"]"#, ""),
            "/v2/none/tags/list?n=1000" => ("null", ""),
            path if path.starts_with("/v2/round/") => (r#"["1.0"]"#, "?n=1000"),
            path if path.starts_with("/v2/endless/") => {
                let next = format!("<?{}>; rel=\"next\"", path.len());
                return ([(header::LINK, next)], r#"{"tags":[]}"#).into_response();
            }
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        let mut response = format!(r#"{{"tags":{tags}}}"#).into_response();
        if !next.is_empty() {
            let link = format!("<{next}>; rel=\"next\"").parse().unwrap();
            response.headers_mut().insert(header::LINK, link);
        }
        response
    })
    .await;
    let http = client(Network::default());
    let tags =
        async |name| tags(&http, &ImageLine::of(format!("{}/{name}", upstream.authority()))).await;
    assert_eq!(tags("app").await.unwrap(), ["1.0", "1.1", "2.0"]);
    assert_eq!(tags("none").await.unwrap(), [""; 0]);
    for (name, verdict) in
        [("round", Verdict::Refused), ("endless", Verdict::Refused), ("other", Verdict::Missing)]
    {
        assert_eq!(tags(name).await.unwrap_err().verdict(), verdict, "{name}");
    }
}

#[tokio::test]
async fn a_tag_without_tls_vouches_for_nothing_and_a_digest_for_itself() {
    let shop = Shop::new();
    let root = shop.root();
    let upstream = Upstream::start(move |seen| shop.answer(seen)).await;
    let host = upstream.authority().to_owned();
    let method = async |network, reference: String| {
        let images = resolved(network, &line(&reference, &["linux/amd64"])).await;
        images.found.artifacts[0].evidence.method
    };
    let by_tag = method(Network::default(), format!("{host}/team/app:1.0")).await;
    assert_eq!(by_tag, Method::Unverified);
    let by_digest = method(Network::default(), format!("{host}/team/app@{root}")).await;
    assert_eq!(by_digest, Method::OciDigest);
    let mirror =
        Mirror { from: "https://registry.example".parse().unwrap(), to: upstream.url.clone() };
    let network = Network { mirrors: vec![mirror], ..Network::default() };
    let mirrored = method(network.clone(), "registry.example/team/app:1.0".to_owned()).await;
    assert_eq!(mirrored, Method::Unverified);
    let both = method(network, format!("registry.example/team/app:1.0@{root}")).await;
    assert_eq!(both, Method::OciDigest);
}
