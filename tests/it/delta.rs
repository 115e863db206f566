//! The second export carries what changed, and the agents say of what it is made.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write as _},
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    Inside, Site, Stick, Upstream,
    fixtures::{
        AptRepo, Deb, Image, PypiFile, Wheel,
        deb::{append, gzip, xz},
        sha256,
    },
    process,
};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::first_transfer::{deb_file, pypi_file};

#[test]
fn a_changed_package_of_any_kind_carries_a_few_per_cent_of_its_bytes() {
    let harbour = Harbour::new();
    harbour.site.carry();
    let second = Goods::new("1.1");
    harbour.offer(&second);
    let stick = harbour.site.carry();
    let carried = artifacts(&stick.report);
    let mut kinds: Vec<&str> = carried.iter().map(|a| a["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["deb", "file", "image", "pypi"], "{:?}", stick.report);
    for artifact in carried {
        assert!(is_within(artifact, 5), "{artifact}");
        assert_ne!(artifact["bases"], json!([]), "{artifact}");
    }
    assert_eq!(stick.report["fallback_raw"], json!([]));
    harbour.assert_served(&second);
}

#[test]
fn the_layer_of_an_image_that_did_not_change_costs_nothing() {
    let (upstream, site) = (Upstream::start(), Site::new());
    let lasting = tar(&members("1.0", &text(1, 10_000)));
    let of = |version: &str, ledger: &[u8]| {
        Image::of_tars(&[lasting.clone(), tar(&members(version, ledger))])
    };
    let ledger = text(2, 10_000);
    let (old, new) = (of("1.0", &ledger), of("1.1", &changed(&ledger)));
    let carry = |tag: &str, image: &Image| {
        upstream.put_image("demo/app", tag, image);
        let host = upstream.host();
        site.outside.write_waybill(&format!(
            "  images: [{{ref: \"{host}/demo/app:{tag}\", insecure: true}}]\n"
        ));
        site.carry().report
    };
    carry("1.0", &old);
    let report = carry("1.1", &new);
    let before = blobs(&old);
    let fresh = blobs(&new).into_iter().filter(|(digest, _)| !before.contains_key(digest));
    let fresh: usize = fresh.map(|(_, bytes)| bytes.len()).sum();
    let image = &artifacts(&report)[0];
    assert_eq!(image["published_bytes"], fresh, "{report}");
    assert!(is_within(image, 5), "{image}");
    let server = site.inside.serve();
    for digest in new.blobs.keys() {
        let answer = server.get(&format!("/v2/demo/app/blobs/{digest}"));
        assert_eq!((answer.status, sha256(&answer.body)), (200, digest[7..].to_owned()));
    }
}

#[test]
fn what_was_only_compressed_anew_costs_next_to_nothing() {
    let (upstream, site) = (Upstream::start(), Site::new());
    let ledger = text(3, 10_000);
    ask_for_files(&upstream, &site, &[("ledger.xz", &xz(&ledger))]);
    site.carry();
    let anew = gzip(&ledger);
    ask_for_files(&upstream, &site, &[("ledger.gz", &anew)]);
    let report = site.carry().report;
    let artifact = named(&report, "ledger.gz");
    assert!(artifact["carried_bytes"].as_u64().unwrap() < 1000, "{artifact}");
    assert_files_served(&upstream, &site, &[("ledger.gz", &anew)]);
}

#[test]
fn an_exact_plan_foretells_the_export_of_each_artifact_and_a_quick_one_estimates() {
    let harbour = Harbour::new();
    harbour.site.carry();
    harbour.offer(&Goods::new("1.1"));
    let outside = &harbour.site.outside;
    outside.sync().unwrap();
    let quick = outside.plan().unwrap().json;
    let exact = outside.agent.run(&["plan", "--site", "prod", "--exact"]).unwrap().json;
    assert_eq!((&quick["estimated"], &exact["estimated"]), (&json!(true), &json!(false)));
    assert_ne!(quick["export_bytes"], 0, "{quick}");
    let report = outside.export().unwrap().report;
    assert_eq!(exact["artifacts"], report["artifacts"]);
    let carried = artifacts(&exact).iter().map(|a| a["carried_bytes"].as_u64().unwrap());
    assert_eq!(exact["export_bytes"], carried.sum::<u64>(), "{exact}");
}

#[test]
fn an_artifact_is_explained_by_its_base_its_encoder_and_its_codec() {
    let harbour = Harbour::new();
    harbour.site.carry();
    harbour.offer(&Goods::new("1.1"));
    let outside = &harbour.site.outside;
    outside.sync().unwrap();
    let report = outside.export().unwrap().report;
    let explain = process::run(&mut outside.agent.command(&["explain", "ledger.tar.gz"]));
    assert_eq!(explain.exit_code, 0, "{}", explain.stderr);
    let told = [
        "resealed by zlib-1.3/L6: 1 stream\n",
        "leaf app/ledger.txt: ",
        "from app/ledger.txt of file ",
    ];
    let encoders = named(&report, "ledger.tar.gz")["encoder"].as_array().unwrap();
    let encoders = encoders.iter().map(|encoder| format!("carried as {}", word(encoder)));
    for line in told.into_iter().map(str::to_owned).chain(encoders) {
        assert!(explain.stdout.contains(&line), "no {line} in {}", explain.stdout);
    }
}

#[test]
fn the_census_names_the_encoder_of_every_blob() {
    let harbour = Harbour::new();
    let goods = Goods::new("1.0");
    let outside = &harbour.site.outside;
    outside.sync().unwrap();
    let census = outside.agent.run(&["store", "census"]).unwrap().json;
    let rungs = |bytes: &[u8]| -> Vec<String> {
        let id = blob_id(bytes);
        let mut blobs = census["blobs"].as_array().unwrap().iter();
        let found =
            blobs.find(|one| one["blob"] == id).unwrap_or_else(|| panic!("no {id}: {census}"));
        found["streams"].as_array().unwrap().iter().map(|s| word(&s["rung"])).collect()
    };
    let (layer, index) = (goods.layer(), &goods.image.manifests[&goods.image.root].1);
    let deb = goods.deb.make();
    let found = [&goods.tarball, &goods.wheel.bytes, &deb, layer, index].map(|bytes| rungs(bytes));
    let expected: [&[&str]; 5] = [
        &["zlib-1.3/L6"],
        &["zlib-1.3/L6"],
        &["liblzma-5.8/st/p6/crc64", "zlib-1.3/L6"],
        &["zlib-1.3/L6"],
        &[],
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_second_of_two_programs_is_made_of_the_first_even_without_a_basis() {
    let (upstream, site) = (Upstream::start(), Site::new());
    let shared = program(4);
    let large = [&shared[..], &text(5, 1_000)].concat();
    let small = changed(&shared);
    let files: [(&str, &[u8]); 2] = [("ctr", &large), ("shim", &small)];
    ask_for_files(&upstream, &site, &files);
    let report = site.carry().report;
    assert_eq!((&report["basis"], &named(&report, "ctr")["bases"]), (&Value::Null, &json!([])));
    let second = named(&report, "shim");
    let bases: Vec<String> = second["bases"].as_array().unwrap().iter().map(word).collect();
    assert!(matches!(&bases[..], [only] if only.ends_with("/files/ctr")), "{second}");
    assert!(second["carried_bytes"].as_u64().unwrap() < 2_000, "{second}");
    assert_files_served(&upstream, &site, &files);
}

#[test]
fn an_import_that_was_killed_half_way_keeps_the_blobs_it_had_finished() {
    let (upstream, site) = (Upstream::start(), Site::new());
    let names = ["one.xz", "two.xz", "three.xz", "four.xz"];
    let ledgers: Vec<Vec<u8>> = (10..14).map(|seed| text(seed, 40_000)).collect();
    let old: Vec<Vec<u8>> = ledgers.iter().map(|ledger| xz(ledger)).collect();
    let new: Vec<Vec<u8>> = ledgers.iter().map(|ledger| xz(&changed(ledger))).collect();
    ask_for_files(&upstream, &site, &pairs(&names, &old));
    site.carry();
    ask_for_files(&upstream, &site, &pairs(&names, &new));
    site.outside.sync().unwrap();
    let stick = site.outside.export().unwrap();
    assert_eq!(stick.report["fallback_raw"], json!([]));

    kill_when_one_is_held(&site.inside, &stick, &new);
    let finished = held(&site.inside, &new);
    assert!((1..4).contains(&finished), "{finished} of 4 blobs were finished");
    let outcome = site.inside.import(&stick).unwrap();
    assert_eq!(outcome.json["rebuilt"], 4 - finished, "{}", outcome.json);
    assert_eq!(site.inside.generation(), 2);
    assert_files_served(&upstream, &site, &pairs(&names, &new));
}

/// Kills an import as soon as one of these blobs is in the store.
fn kill_when_one_is_held(inside: &Inside, stick: &Stick, blobs: &[Vec<u8>]) {
    let mut import = inside.agent.command(&["import", stick.export.to_str().unwrap()]);
    let mut import = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while held(inside, blobs) == 0 {
        assert_eq!(import.try_wait().unwrap(), None, "it ended before one blob was there");
        assert!(began.elapsed() < Duration::from_secs(120), "no blob in two minutes");
        thread::sleep(Duration::from_millis(2));
    }
    import.kill().unwrap();
    import.wait().unwrap();
}

/// How many of these blobs lie in the inside's store.
pub fn held(inside: &Inside, blobs: &[Vec<u8>]) -> usize {
    blobs.iter().filter(|bytes| blob_path(inside, bytes).exists()).count()
}

/// Where the inside keeps a blob.
fn blob_path(inside: &Inside, bytes: &[u8]) -> PathBuf {
    let digest = sha256(bytes);
    let folder = format!("store/blobs/sha256/{}/{}", &digest[..2], &digest[2..4]);
    inside.agent.home().join(folder).join(digest)
}

/// The name of a blob, as the agents print it.
pub fn blob_id(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// Puts files upstream and asks for them, and for nothing else.
pub fn ask_for_files(upstream: &Upstream, site: &Site, files: &[(&str, &[u8])]) {
    let mut spec = "  files:\n".to_owned();
    for (name, bytes) in files {
        upstream.put(&format!("/files/{name}"), bytes.to_vec());
        let (url, sha256) = (upstream.url(), sha256(bytes));
        spec += &format!("    - {{url: \"{url}/files/{name}\", sha256: {sha256}}}\n");
    }
    site.outside.write_waybill(&spec);
}

/// The inside serves these files.
pub fn assert_files_served(upstream: &Upstream, site: &Site, files: &[(&str, &[u8])]) {
    let server = site.inside.serve();
    for (name, bytes) in files {
        let answer = server.get(&format!("/files/{}/files/{name}", upstream.host()));
        assert_eq!((answer.status, sha256(&answer.body)), (200, sha256(bytes)), "{name}");
    }
}

/// Lines that compress to about a fifth and have no long repeats: 47 bytes each.
pub fn text(seed: u64, lines: u64) -> Vec<u8> {
    let number = |n: u64| {
        let mixed = ((seed << 32) | n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32
    };
    let line = |n| format!("{n:06} the ledger of the harbour says {:08x}\n", number(n));
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// What an executable begins with, and text after it.
pub fn program(seed: u64) -> Vec<u8> {
    [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"[..], &text(seed, 10_000)].concat()
}

/// The same with a longer word in one line near the middle.
pub fn changed(text: &[u8]) -> Vec<u8> {
    let middle = text.len() / 2;
    let line = middle + text[middle..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    [&text[..line + 7], b"every single", &text[line + 10..]].concat()
}

/// A large member, a few hundred small ones, and one that says the version.
fn members(version: &str, ledger: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut members = vec![
        ("app/ledger.txt".to_owned(), ledger.to_vec()),
        ("app/VERSION".to_owned(), version.as_bytes().to_vec()),
    ];
    members.extend((0..300).map(|n| (format!("app/notes/{n:03}.txt"), text(1_000 + n, 10))));
    members
}

fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    members.iter().for_each(|(name, bytes)| append(&mut tar, name, bytes));
    tar.into_inner().unwrap()
}

fn wheel(version: &str, members: &[(String, Vec<u8>)]) -> PypiFile {
    let mut wheel = Wheel::new("gamma", version).make();
    let mut zip = ZipWriter::new_append(Cursor::new(wheel.bytes)).unwrap();
    for (name, bytes) in members {
        zip.start_file(name.clone(), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    wheel.bytes = zip.finish().unwrap().into_inner();
    wheel
}

fn blobs(image: &Image) -> BTreeMap<&String, &Vec<u8>> {
    let manifests = image.manifests.iter().map(|(digest, (_, bytes))| (digest, bytes));
    image.blobs.iter().chain(manifests).collect()
}

fn pairs<'a>(names: &[&'a str], files: &'a [Vec<u8>]) -> Vec<(&'a str, &'a [u8])> {
    names.iter().zip(files).map(|(name, bytes)| (*name, &bytes[..])).collect()
}

fn artifacts(report: &Value) -> &Vec<Value> {
    report["artifacts"].as_array().unwrap()
}

/// The artifact whose name ends so.
fn named<'a>(report: &'a Value, end: &str) -> &'a Value {
    let found = artifacts(report).iter().find(|artifact| word(&artifact["name"]).ends_with(end));
    found.unwrap_or_else(|| panic!("no {end} in {report}"))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Whether so many per cent of what is published are carried, or less.
fn is_within(artifact: &Value, per_cent: u64) -> bool {
    let bytes = |field: &str| artifact[field].as_u64().unwrap();
    bytes("carried_bytes") * 100 <= bytes("published_bytes") * per_cent
}

/// One package of each kind, each with a ledger of its own.
struct Goods {
    version: &'static str,
    tarball: Vec<u8>,
    wheel: PypiFile,
    deb: Deb,
    image: Image,
}

impl Goods {
    /// Version 1.0, or another one in which little is new.
    fn new(version: &'static str) -> Self {
        let ledger = |seed: u64| match version {
            "1.0" => text(seed, 10_000),
            _ => changed(&text(seed, 10_000)),
        };
        Self {
            version,
            tarball: gzip(&tar(&members(version, &ledger(1)))),
            wheel: wheel(version, &members(version, &ledger(2))),
            deb: Deb::new("socat", version).payload(ledger(3)),
            image: Image::of_tars(&[tar(&members(version, &ledger(4)))]),
        }
    }

    /// The layer of the image: its longest blob.
    fn layer(&self) -> &Vec<u8> {
        self.image.blobs.values().max_by_key(|bytes| bytes.len()).unwrap()
    }
}

/// An upstream and a site that asks for one package of each kind.
struct Harbour {
    upstream: Upstream,
    site: Site,
    repo: AptRepo,
}

impl Harbour {
    /// Version 1.0 is offered and asked for.
    fn new() -> Self {
        let repo = AptRepo::new("trixie");
        let harbour = Self { upstream: Upstream::start(), site: Site::new(), repo };
        harbour.site.outside.write("upstream.asc", harbour.repo.public_key());
        harbour.offer(&Goods::new("1.0"));
        harbour
    }

    /// Puts goods upstream, and asks for them.
    fn offer(&self, goods: &Goods) {
        let (upstream, version) = (&self.upstream, goods.version);
        upstream.put("/files/ledger.tar.gz", goods.tarball.clone());
        upstream.put_pypi(goods.wheel.clone());
        upstream.put_apt(&self.repo.clone().with(goods.deb.clone()));
        upstream.put_image("demo/app", version, &goods.image);
        let (url, host, sha256) = (upstream.url(), upstream.host(), sha256(&goods.tarball));
        self.site.outside.write_waybill(&format!(
            r#"  files: [{{url: "{url}/files/ledger.tar.gz", sha256: {sha256}}}]
  pypi: [{{packages: ["gamma=={version}"], python: ["3.11"], index: "{url}/simple/"}}]
  apt:
    - {{uri: "{url}/apt", suite: trixie, components: [main], architectures: [amd64],
       packages: [socat], signedBy: upstream.asc, target: debian-13}}
  images: [{{ref: "{host}/demo/app:{version}", insecure: true}}]
"#
        ));
    }

    fn assert_served(&self, goods: &Goods) {
        let files: [(&str, &[u8]); 1] = [("ledger.tar.gz", &goods.tarball)];
        assert_files_served(&self.upstream, &self.site, &files);
        let server = self.site.inside.serve();
        let wheel = pypi_file(&server, "gamma", &goods.wheel.filename);
        assert_eq!(sha256(&wheel), goods.wheel.sha256());
        let deb = deb_file(&server, "debian-13", "trixie", "socat");
        assert_eq!(sha256(&deb), sha256(&goods.deb.make()));
        for (digest, bytes) in &goods.image.blobs {
            let answer = server.get(&format!("/v2/demo/app/blobs/{digest}"));
            assert_eq!((answer.status, sha256(&answer.body)), (200, sha256(bytes)), "{digest}");
        }
        let root = server.get(&format!("/v2/demo/app/manifests/{}", goods.version));
        assert_eq!(format!("sha256:{}", sha256(&root.body)), goods.image.root);
    }
}
