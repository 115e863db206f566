//! Images with what refers to them, from good and bad registries, and from a layout.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use camino::{Utf8Path, Utf8PathBuf};
use data_encoding::BASE64;
use gapferry_proto::{Artifact, BlobId, Digest, Facts};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::{EncodePublicKey as _, LineEnding},
};

use super::super::{Images, auth::Lookup, resolve_as};
use crate::{
    source::{
        Verdict,
        http::{
            Mirror, Network,
            upstream::{Seen, Upstream, client},
        },
    },
    waybill::{ImageLine, Require},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A repository `app` whose tag `1` is a manifest, and what stands beside it.
#[derive(Clone, Default)]
struct Stall {
    /// Documents and blobs by path below `/v2/app/`, with their types.
    held: BTreeMap<String, (String, &'static str)>,
    /// Whether there is a referrers API, and what it lists by subject.
    lists: Option<HashMap<BlobId, Vec<String>>>,
}

fn id(text: &str) -> BlobId {
    BlobId::of(text.as_bytes())
}

fn descriptor(media_type: &str, text: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, id(text), text.len())
}

/// A manifest with the config `config`, one layer `layer`, and a subject.
fn manifest(config: &str, layer: &str, subject: Option<&str>) -> String {
    let subject = subject.map(|text| format!(r#","subject":{}"#, descriptor(MANIFEST, text)));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]{}}}"#,
        descriptor(config, "{}"),
        descriptor("layer", layer),
        subject.unwrap_or_default()
    )
}

fn index(manifests: &[String]) -> String {
    let list: Vec<_> = manifests.iter().map(|text| descriptor(MANIFEST, text)).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, list.join(","))
}

fn image() -> String {
    manifest("image", "layer of the image", None)
}

fn tag(subject: &str, suffix: &str) -> String {
    format!("sha256-{}{suffix}", id(subject).hex())
}

impl Stall {
    fn new(has_api: bool) -> Self {
        let mut stall = Self { lists: has_api.then(HashMap::new), ..Self::default() };
        stall.put(&image());
        stall.tag("1", &image());
        stall
    }

    fn put(&mut self, text: &str) {
        let path = format!("manifests/{}", id(text));
        let media_type = if text.contains(r#""manifests""#) { INDEX } else { MANIFEST };
        self.held.insert(path, (text.to_owned(), media_type));
    }

    fn tag(&mut self, tag: &str, text: &str) {
        self.put(text);
        let given = self.held[&format!("manifests/{}", id(text))].clone();
        self.held.insert(format!("manifests/{tag}"), given);
    }

    fn blob(&mut self, text: &str) {
        self.held.insert(format!("blobs/{}", id(text)), (text.to_owned(), "blob"));
    }

    /// Lists `referrer` as one of `subject`, and holds it.
    fn list(&mut self, subject: &str, referrer: &str) {
        self.put(referrer);
        let lists = self.lists.get_or_insert_default();
        lists.entry(id(subject)).or_default().push(referrer.to_owned());
    }

    fn answer(&self, seen: &Seen) -> Response {
        let path = seen.path.strip_prefix("/v2/app/").unwrap_or_default();
        let listed = path.strip_prefix("referrers/").and_then(|subject| subject.parse().ok());
        if let (Some(lists), Some(subject)) = (&self.lists, listed) {
            let list = lists.get(&subject).map_or(&[][..], Vec::as_slice);
            return ([(header::CONTENT_TYPE, INDEX)], index(list)).into_response();
        }
        match self.held.get(path) {
            Some((text, media_type)) => {
                ([(header::CONTENT_TYPE, *media_type)], text.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    async fn open(self) -> Upstream {
        Upstream::start(move |seen| self.answer(seen)).await
    }
}

fn line(upstream: &Upstream) -> ImageLine {
    ImageLine::of(format!("{}/app:1", upstream.authority()))
}

async fn resolved(line: &ImageLine, base: &Utf8Path, network: Network) -> Images {
    let none: Lookup = |_| Ok(None);
    resolve_as(&client(network), line, base, "a", none).await
}

async fn of(stall: Stall) -> Images {
    let upstream = stall.open().await;
    resolved(&line(&upstream), "/nowhere".into(), Network::default()).await
}

fn refusal(images: &Images) -> (Verdict, String) {
    assert!(images.found.artifacts.is_empty() && images.manifests.is_empty());
    let [failure] = &images.found.failures[..] else { panic!("{images:?}") };
    (failure.verdict, failure.error.to_string())
}

/// Tag, reasons and manifests of an artifact.
fn told(artifact: &Artifact) -> (Option<&str>, &str, Vec<BlobId>) {
    let Facts::Image(facts) = &artifact.facts else { panic!("{artifact:?}") };
    let manifests = facts.manifests.iter().map(|manifest| manifest.id).collect();
    assert_eq!(facts.root, facts.manifests[0].id);
    (facts.tag.as_deref(), &artifact.wanted[0], manifests)
}

#[tokio::test]
async fn referrers_become_part_of_the_image_and_cosigns_tags_images_beside_it() {
    let image = image();
    let sbom = manifest("application/spdx+json", "sbom", Some(&image));
    let of_sbom = manifest("signature", "signature of the sbom", Some(&sbom));
    let too_deep = manifest("signature", "signature of a signature", Some(&of_sbom));
    let signature = manifest("config", "signature", None);
    let mut stall = Stall::new(true);
    stall.list(&image, &sbom);
    stall.list(&sbom, &of_sbom);
    stall.list(&of_sbom, &too_deep);
    stall.tag(&tag(&image, ".sig"), &signature);
    let upstream = stall.open().await;
    let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;

    let host = upstream.authority();
    let [main, beside] = &images.found.artifacts[..] else { panic!("{images:?}") };
    let (sig, why) = (tag(&image, ".sig"), format!("signature of {host}/app:1"));
    assert_eq!(told(main).2, [&image, &sbom, &of_sbom].map(|text| id(text)));
    assert_eq!(told(beside), (Some(&*sig), &*why, vec![id(&signature)]));
    assert_eq!(beside.name, format!("{host}/app:{sig}"));
    assert_eq!(beside.origin, format!("http://{host}/v2/app/manifests/{sig}"));
    assert_eq!(beside.evidence.digest, Some(id(&signature).digest()));
    let leaves = ["{}", "layer of the image", "sbom", "signature of the sbom"].map(id);
    assert_eq!(main.blobs[3..].iter().map(|blob| blob.id).collect::<Vec<_>>(), leaves);
    let kept: Vec<_> = images.manifests.iter().map(|(id, _)| *id).collect();
    assert_eq!(kept, [&image, &sbom, &of_sbom, &signature].map(|text| id(text)));

    let seen = upstream.seen();
    let fetched = seen.iter().filter(|seen| seen.method == "GET" && seen.path.contains("sha256-"));
    assert_eq!(fetched.count(), 1, "a tag that is not there is only looked for");
    let without = ImageLine { referrers: false, ..line(&upstream) };
    let images = resolved(&without, "/nowhere".into(), Network::default()).await;
    assert_eq!((images.found.artifacts.len(), images.manifests.len()), (1, 1));
}

#[tokio::test]
async fn a_registry_without_the_api_has_a_tag_in_its_place() {
    let image = image();
    let sbom = manifest("application/spdx+json", "sbom", Some(&image));
    let gone = manifest("application/spdx+json", "gone", Some(&image));
    let mut stall = Stall::new(false);
    stall.put(&sbom);
    let list = index(&[sbom.clone(), gone]);
    stall.tag(&tag(&image, ""), &list);
    let upstream = stall.open().await;
    let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;
    let [main, beside] = &images.found.artifacts[..] else { panic!("{images:?}") };
    assert_eq!(told(main).2, [id(&image)]);
    let why = format!("referrers of {}/app:1", upstream.authority());
    assert_eq!(told(beside), (Some(&*tag(&image, "")), &*why, vec![id(&list), id(&sbom)]));
    let asked = upstream.seen().into_iter().filter(|seen| seen.path.contains("/referrers/"));
    assert_eq!(asked.count(), 1, "a registry says once that it has no API");
}

#[tokio::test]
async fn what_is_no_list_of_referrers_is_none() {
    let image = image();
    let no_index = manifest("x", "x", None);
    for under_tag in [&image, &no_index, &index(&[])] {
        let mut stall = Stall::new(false);
        stall.tag(&tag(&image, ""), under_tag);
        assert_eq!(of(stall).await.found.artifacts.len(), 1, "{under_tag}");
    }
    for answer in [400, 403, 405, 501, 200] {
        let stall = Stall::new(false);
        let upstream = Upstream::start(move |seen| match seen.path.contains("/referrers/") {
            true => (StatusCode::from_u16(answer).unwrap(), "<html>").into_response(),
            false => stall.answer(seen),
        })
        .await;
        let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;
        assert_eq!(images.found.artifacts.len(), 1, "{answer}: {images:?}");
    }
    let stall = Stall::new(true);
    let upstream = Upstream::start(move |seen| match seen.path.contains("sha256-") {
        true => StatusCode::FORBIDDEN.into_response(),
        false => stall.answer(seen),
    })
    .await;
    let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;
    assert_eq!(images.found.artifacts.len(), 1, "{images:?}");
    let stall = Stall::new(false);
    let upstream = Upstream::start(move |seen| match seen.path.contains("/referrers/") {
        true => (StatusCode::SEE_OTHER, [(header::LOCATION, "/people")]).into_response(),
        false if seen.path == "/people" => StatusCode::TOO_MANY_REQUESTS.into_response(),
        false => stall.answer(seen),
    })
    .await;
    let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;
    assert_eq!(images.found.artifacts.len(), 1, "{images:?}");
}

#[tokio::test]
async fn a_registry_that_fails_is_a_fault_and_one_that_is_busy_is_waited_for() {
    let image = image();
    for part in ["/referrers/", ".att"] {
        for (status, times) in [(503, usize::MAX), (429, 1)] {
            let stall = Stall::new(true);
            let upstream = Upstream::start(move |seen| {
                if seen.path.contains(part) && seen.nth < times {
                    let status = StatusCode::from_u16(status).unwrap();
                    return (status, [(header::RETRY_AFTER, "0")]).into_response();
                }
                stall.answer(seen)
            })
            .await;
            let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;
            if times == 1 {
                assert_eq!(told(&images.found.artifacts[0]).2, [id(&image)]);
            } else {
                assert_eq!(refusal(&images).0, Verdict::Fault, "{part}");
            }
        }
    }
}

#[tokio::test]
async fn a_registry_that_lies_about_referrers_is_refused() {
    let image = image();
    let other = manifest("x", "of another", Some("another image"));
    let none = manifest("x", "of nothing", None);
    for (text, said) in [(&other, "does not name it"), (&none, "does not name it")] {
        let mut stall = Stall::new(true);
        stall.list(&image, text);
        let (verdict, error) = refusal(&of(stall).await);
        assert_eq!(verdict, Verdict::Refused);
        assert!(error.contains(said), "{error}");
        let mut stall = Stall::new(false);
        stall.tag(&tag(&image, ""), &index(std::slice::from_ref(text)));
        stall.put(text);
        assert_eq!(refusal(&of(stall).await).0, Verdict::Refused);
    }
    let good = manifest("x", "good", Some(&image));
    let mut stall = Stall::new(true);
    stall.list(&image, &good);
    stall.held.insert(format!("manifests/{}", id(&good)), (image.clone(), MANIFEST));
    assert_eq!(refusal(&of(stall).await).0, Verdict::Refused, "other bytes than listed");
    let mut stall = Stall::new(true);
    for n in 0..gapferry_proto::limits::IMAGE_MANIFESTS_MAX {
        stall.list(&image, &manifest("x", &n.to_string(), Some(&image)));
    }
    assert_eq!(refusal(&of(stall).await).1, "has more than 1024 manifests");
}

/// Gives `lists` one after the other, each with a link to the next; endlessly the last.
fn paged(stall: &Stall, seen: &Seen, lists: &[Vec<String>]) -> Response {
    let Some((_, query)) = seen.path.split_once("/referrers/") else { return stall.answer(seen) };
    let page: usize = query.split_once("?page=").map_or(0, |(_, page)| page.parse().unwrap());
    let list = lists.get(page).cloned().unwrap_or_default();
    let mut response = ([(header::CONTENT_TYPE, INDEX)], index(&list)).into_response();
    if page + 1 != lists.len() {
        let link = format!("<http://evil.invalid/x?page={}>; rel=\"next\"", page + 1);
        response.headers_mut().insert(header::LINK, link.parse().unwrap());
    }
    response
}

#[tokio::test]
async fn a_list_of_many_pages_is_read_through_the_mirror_and_one_without_end_is_refused() {
    let image = image();
    let [a, b] = ["a", "b"].map(|layer| manifest("x", layer, Some(&image)));
    let mut stall = Stall::new(true);
    [&a, &b].into_iter().for_each(|text| stall.put(text));
    let (lists, clerk) = (vec![vec![a.clone()], vec![b.clone()]], stall.clone());
    let of_image = format!("/referrers/{}", id(&image));
    let mirror = Upstream::start(move |seen| {
        let path = seen.path.replacen("/v2/copies/", "/v2/", 1);
        let seen = Seen { path, ..seen.clone() };
        if seen.path.contains(&of_image) {
            paged(&clerk, &seen, &lists)
        } else {
            clerk.answer(&seen)
        }
    })
    .await;
    let from = "https://registry.invalid".parse().unwrap();
    let mirrors = vec![Mirror { from, to: mirror.at("/copies") }];
    let network = Network { mirrors, ..Network::default() };
    let line_there = ImageLine::of("registry.invalid/app:1");
    let images = resolved(&line_there, "/nowhere".into(), network).await;
    let [artifact] = &images.found.artifacts[..] else { panic!("{images:?}") };
    assert_eq!(told(artifact).2, [&image, &a, &b].map(|text| id(text)));

    let upstream = Upstream::start(move |seen| paged(&stall, seen, &[])).await;
    let images = resolved(&line(&upstream), "/nowhere".into(), Network::default()).await;
    assert_eq!(refusal(&images).0, Verdict::Refused);
    assert!(refusal(&images).1.contains("without end"), "{images:?}");
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32].into()).unwrap()
}

fn payload(image: &str) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
        Digest::of(image.as_bytes())
    )
}

fn signature(payload: &str) -> String {
    let signature: Signature = signing_key().sign(payload.as_bytes());
    BASE64.encode(signature.to_der().as_bytes())
}

/// A signature's manifest: each payload with what stands for its signature.
fn signed(claims: &[(&str, &str)], subject: Option<&str>) -> String {
    let layer = |(payload, signature): &(&str, &str)| {
        let layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", payload);
        let annotation = format!(r#""dev.cosignproject.cosign/signature":"{signature}""#);
        format!(r#"{},"annotations":{{{annotation}}}}}"#, layer.strip_suffix('}').unwrap())
    };
    let layers: Vec<_> = claims.iter().map(layer).collect();
    let subject = subject.map(|text| format!(r#","subject":{}"#, descriptor(MANIFEST, text)));
    format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]{}}}"#,
        descriptor("application/vnd.dev.cosign.artifact.sig.v1+json", "{}"),
        layers.join(","),
        subject.unwrap_or_default()
    )
}

/// A folder with `cosign.pub`.
fn with_key() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let base = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    let pem = signing_key().verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    fs::write(base.join("cosign.pub"), pem).unwrap();
    (folder, base)
}

fn requiring(key: &str, upstream: &Upstream) -> ImageLine {
    ImageLine { require: Some(Require { cosign_key: key.into() }), ..line(upstream) }
}

#[tokio::test]
async fn an_image_that_the_required_key_signed_is_carried_and_says_so() {
    let image = image();
    let (_folder, base) = with_key();
    let payload = payload(&image);
    let good = signature(&payload);
    let claims = [("not the one", "AAAA"), (&*payload, &*good)];
    let mut by_tag = Stall::new(true);
    by_tag.tag(&tag(&image, ".sig"), &signed(&claims, None));
    let mut by_api = Stall::new(true);
    by_api.list(&image, &signed(&claims, Some(&image)));
    let mut by_list = Stall::new(false);
    let referrer = signed(&claims, Some(&image));
    by_list.put(&referrer);
    by_list.tag(&tag(&image, ""), &index(&[referrer]));
    for mut stall in [by_tag, by_api, by_list] {
        stall.blob("not the one");
        stall.blob(&payload);
        let upstream = stall.open().await;
        let line = requiring("cosign.pub", &upstream);
        let images = resolved(&line, &base, Network::default()).await;
        assert!(!images.found.artifacts.is_empty(), "{images:?}");
        let by = &images.found.artifacts[0].evidence.by;
        let host = upstream.authority();
        assert_eq!(*by, format!("http://{host}/v2/app/manifests/1, signed with cosign.pub"));
    }
}

#[tokio::test]
async fn an_image_that_the_required_key_did_not_sign_is_refused() {
    let image = image();
    let (_folder, base) = with_key();
    let (right, wrong) = (payload(&image), payload("another image"));
    let (good, of_wrong) = (signature(&right), signature(&wrong));
    let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|text| (text.as_str(), &*good)).collect();
    for (claims, said) in [
        (&[][..], "it has none"),
        (&[(&*wrong, &*of_wrong)], "a signature of another image"),
        (&[(&*right, &*of_wrong)], "that the key did not make"),
        (&[(&*right, "%%")], "no base64"),
        (&many, "that the key did not make"),
    ] {
        let mut stall = Stall::new(true);
        claims.iter().for_each(|(payload, _)| stall.blob(payload));
        stall.tag(&tag(&image, ".sig"), &signed(claims, None));
        let upstream = stall.open().await;
        let images = resolved(&requiring("cosign.pub", &upstream), &base, Network::default()).await;
        let (verdict, error) = refusal(&images);
        assert_eq!(verdict, Verdict::Refused);
        assert!(error.contains(said), "{error}");
        let payloads = upstream.seen().iter().filter(|s| s.path.contains("/blobs/")).count();
        assert!(payloads <= gapferry_proto::limits::SIGNATURES_MAX);
    }
    // what stands under the tag of another image, and what refers to another, counts for nothing
    let mut stall = Stall::new(true);
    stall.blob(&right);
    stall.tag(&tag("another image", ".sig"), &signed(&[(&right, &good)], None));
    let upstream = stall.open().await;
    let images = resolved(&requiring("cosign.pub", &upstream), &base, Network::default()).await;
    assert!(refusal(&images).1.contains("it has none"));
    fs::write(base.join("other.pub"), "no key").unwrap();
    for key in ["other.pub", "none.pub"] {
        let images = resolved(&requiring(key, &upstream), &base, Network::default()).await;
        assert_eq!(refusal(&images).0, Verdict::Configuration, "{key}");
    }
}

#[tokio::test]
async fn a_layout_has_referrers_and_signatures_in_its_index() {
    let image = image();
    let (_folder, base) = with_key();
    let payload = payload(&image);
    let sbom = manifest("application/spdx+json", "sbom", Some(&image));
    let signature = signed(&[(&payload, &signature(&payload))], None);
    let blobs = base.join("app/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for text in [&*image, &sbom, &signature, &payload, "{}", "layer of the image", "sbom"] {
        fs::write(blobs.join(id(text).hex()), text).unwrap();
    }
    let named = |text: &str, tag: &str| {
        let descriptor = descriptor(MANIFEST, text);
        let name = format!(r#""org.opencontainers.image.ref.name":"{tag}""#);
        format!(r#"{},"annotations":{{{name}}}}}"#, descriptor.strip_suffix('}').unwrap())
    };
    let sig = tag(&image, ".sig");
    let entries =
        [named(&image, "1"), descriptor(MANIFEST, &sbom), named(&signature, &sig)].join(",");
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    fs::write(base.join("app/index.json"), index).unwrap();
    let line = ImageLine {
        named: Some("lan.example/app:1".to_owned()),
        require: Some(Require { cosign_key: "cosign.pub".into() }),
        ..ImageLine::of("oci:app:1")
    };
    let images = resolved(&line, &base, Network::default()).await;
    let [main, beside] = &images.found.artifacts[..] else { panic!("{images:?}") };
    assert_eq!(told(main).2, [id(&image), id(&sbom)]);
    let why = "signature of lan.example/app:1";
    assert_eq!(told(beside), (Some(&*sig), why, vec![id(&signature)]));
    assert_eq!((&*main.origin, &*beside.origin), ("oci:app", "oci:app"));
    assert_eq!(main.evidence.by, "oci:app, signed with cosign.pub");
}
