//! All four kinds cross the gap, arrive bit for bit, and a second round carries less.

use std::fs;

use serde_json::{Value, json};
use tests::{
    Inside,
    clients::{self, Apt, Client, clean},
    fetch,
    fixtures::sha256,
    process,
    site::Server,
};

use crate::world::{Goods, World};

#[test]
fn all_kinds_cross_and_are_served_bit_for_bit() {
    let world = World::new();
    world.site.carry();
    let status = world.site.inside.status();
    assert_eq!(status["artifacts"]["file"], 1, "{status}");
    assert_eq!(status["artifacts"]["image"], 1, "{status}");
    assert_eq!(status["artifacts"]["deb"], 2, "{status}");
    assert_eq!(status["artifacts"]["pypi"], 2, "{status}");
    assert_eq!((&status["sequence"], &status["generation"]), (&json!(1), &json!(1)), "{status}");
    let server = world.site.inside.serve();
    assert_served(&world, &server);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/files/none").status, 404);
}

#[test]
fn an_index_leads_to_every_package() {
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let goods = Goods::first();
    for wheel in &goods.wheels {
        let bytes = pypi_file(&server, &wheel.project, &wheel.filename);
        assert_eq!(sha256(&bytes), wheel.sha256(), "{}", wheel.filename);
        let metadata = server.get(&format!("/pypi/packages/{}.metadata", wheel.filename));
        assert_eq!((metadata.status, &metadata.body[..]), (200, &wheel.metadata[..]));
        let page = server.get(&format!("/pypi/simple/{}/", wheel.project));
        let page = String::from_utf8(page.body).unwrap();
        let offered = format!("data-core-metadata=\"sha256={}\"", sha256(&metadata.body));
        assert!(page.contains(&offered), "{page}");
    }
    for deb in &goods.debs {
        let bytes = deb_file(&server, "debian-13", "trixie", &deb.package);
        assert_eq!(sha256(&bytes), sha256(&deb.make()), "{}", deb.package);
    }
}

#[test]
fn a_file_is_served_by_range_and_by_head() {
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let url = format!("{}/files/{}/files/tool", server.url, world.upstream.host());
    let tool = Goods::first().tool;
    let part = fetch::get_with(&url, &[("range", "bytes=1000-1999")]).unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &tool[1000..2000]));
    assert_eq!(part.header("content-range"), format!("bytes 1000-1999/{}", tool.len()));
    let head = fetch::head(&url).unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, &*tool.len().to_string()));
    assert!(head.header("etag").contains(&sha256(&tool)), "{:?}", head.headers);
}

#[test]
fn curl_goes_on_where_a_download_broke_off() {
    if !Client::Curl.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let url = format!("{}/files/{}/files/tool", server.url, world.upstream.host());
    let (tool, home) = (Goods::first().tool, world.site.path("resume"));
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("part"), &tool[..300_000]).unwrap();
    let args = ["--fail", "--silent", "--show-error", "--noproxy", "*", "-C", "-", "-o", "part"];
    let mut curl = clean("curl", &home);
    let finished =
        process::run(curl.args(args).args(["-w", "%{http_code} %{size_download}", &url]));
    assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
    assert_eq!(finished.stdout, format!("206 {}", tool.len() - 300_000));
    assert_eq!(sha256(&fs::read(home.join("part")).unwrap()), sha256(&tool));
}

#[test]
fn a_second_round_carries_less_and_an_unchanged_one_nothing() {
    let mut world = World::new();
    let first = world.site.carry();
    assert!((3 << 20) < first.len_bytes(), "{:?}", first.report);
    world.offer(&Goods::second());
    let second = world.site.carry();
    assert!(second.len_bytes() < first.len_bytes() * 3 / 4, "{:?}", second.report);
    assert_eq!(second.report["basis"], 1);
    assert_served(&world, &world.site.inside.serve());
    let third = world.site.carry();
    assert_eq!(third.packs(), Vec::<String>::new(), "{:?}", third.report);
    assert!(third.len_bytes() < 64 << 10, "{:?}", third.report);
    assert_eq!(world.site.inside.status()["sequence"], 3);
    assert_served(&world, &world.site.inside.serve());
}

#[test]
fn a_plan_foretells_the_export_and_writes_nothing() {
    let world = World::new();
    world.site.outside.sync().unwrap();
    let plan = world.site.outside.plan().unwrap().json;
    assert_eq!(plan["volumes"], json!([]), "{plan}");
    assert_eq!(fs::read_dir(&world.site.outside.stick).unwrap().count(), 0);
    let report = world.site.outside.export().unwrap().report;
    for field in ["site", "basis", "sequence", "artifacts_new", "published_bytes_new"] {
        assert_eq!(plan[field], report[field], "{field}");
    }
    assert_eq!(report["artifacts_new"], 6);
}

#[test]
fn an_import_under_a_running_server_switches_it() {
    let mut world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    assert_served(&world, &server);
    world.offer(&Goods::second());
    world.site.carry();
    let path = format!("/files/{}/files/tool", world.upstream.host());
    let wanted = &world.expected[&path];
    for _ in 0..100 {
        if sha256(&server.get(&path).body) == *wanted {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_served(&world, &server);
}

#[test]
fn an_image_behind_a_token_and_one_on_disk_cross_too() {
    let world = World::new();
    world.upstream.demand_token("open");
    let image = &Goods::first().image;
    let layout = world.site.path("layout");
    image.write_layout(&layout, "2.0").unwrap();
    world.site.outside.write_waybill(&format!(
        "  images:\n    - {{ref: \"{}/demo/app:1.0\", insecure: true}}\n    \
         - {{ref: \"oci:{}:2.0\", as: \"registry.test/disk/app:2.0\"}}\n",
        world.upstream.host(),
        layout.display()
    ));
    world.site.carry();
    let server = world.site.inside.serve();
    for path in ["/v2/demo/app/manifests/1.0", "/v2/disk/app/manifests/2.0"] {
        assert_eq!(format!("sha256:{}", sha256(&server.get(path).body)), image.root, "{path}");
    }
}

#[test]
fn pip_takes_the_closure_from_the_inside() {
    if !Client::Pip.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let finished = clients::pip_download(&server.url, &["alpha==1.0"], folder.path());
    assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
    for wheel in Goods::first().wheels {
        let bytes = fs::read(folder.path().join(&wheel.filename)).unwrap();
        assert_eq!(sha256(&bytes), wheel.sha256(), "{}", wheel.filename);
    }
}

#[test]
fn apt_takes_the_closure_from_the_inside() {
    if !Client::AptGet.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let key = apt_key(&server);
    let uri = format!("{}/apt/debian-13", server.url);
    let apt = Apt::new(folder.path(), &uri, "trixie", &key);
    for finished in [apt.update(), apt.download(&["socat"])] {
        assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
    }
    let mut fetched: Vec<String> =
        apt.archives().iter().map(|path| sha256(&fs::read(path).unwrap())).collect();
    let mut expected: Vec<String> =
        Goods::first().debs.iter().map(|deb| sha256(&deb.make())).collect();
    fetched.sort();
    expected.sort();
    assert_eq!(fetched, expected);
}

#[test]
fn skopeo_takes_the_image_from_the_inside() {
    if !Client::Skopeo.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let finished = clients::skopeo_copy(server.host(), "demo/app:1.0", folder.path());
    assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
    let root = &Goods::first().image.root[7..];
    let index = fs::read(folder.path().join("blobs/sha256").join(root)).unwrap();
    assert_eq!(sha256(&index), root);
}

/// Every path that the world expects gives the bytes it expects.
pub fn assert_served(world: &World, server: &Server) {
    for (path, digest) in &world.expected {
        let answer = server.get(path);
        assert_eq!((answer.status, &sha256(&answer.body)), (200, digest), "{path}");
    }
}

/// The armoured key of the site's own repositories.
pub fn apt_key(server: &Server) -> String {
    let answer = server.get(tests::site::APT_KEY_PATH);
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

/// Fetches a file as a client does: by the link of its project's page.
pub fn pypi_file(server: &Server, project: &str, filename: &str) -> Vec<u8> {
    let page = format!("{}/pypi/simple/{project}/", server.url);
    let accept = [("accept", "application/vnd.pypi.simple.v1+json")];
    let answer = fetch::get_with(&page, &accept).unwrap();
    let page_json: Value = serde_json::from_slice(&answer.body).unwrap();
    let files = page_json["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["filename"] == filename).unwrap();
    let link = file["url"].as_str().unwrap();
    let url = reqwest::Url::parse(&page).unwrap().join(link).unwrap();
    fetch::get(url.as_str()).unwrap().body
}

/// Fetches a package as a client does: by its paragraph in `Packages`.
pub fn deb_file(server: &Server, target: &str, suite: &str, package: &str) -> Vec<u8> {
    let root = format!("/apt/{target}");
    let packages = server.get(&format!("{root}/dists/{suite}/main/binary-amd64/Packages"));
    let text = String::from_utf8(packages.body).unwrap();
    let paragraph = text
        .split("\n\n")
        .filter(|p| p.lines().any(|line| line == format!("Package: {package}")))
        .last() // older versions stay listed before it
        .unwrap_or_else(|| panic!("no {package} in {text}"));
    let path = paragraph.lines().find_map(|line| line.strip_prefix("Filename: ")).unwrap();
    server.get(&format!("{root}/{path}")).body
}

/// What the inside serves now, by path.
pub fn served(inside: &Inside, world: &World) -> Vec<(String, u16, String)> {
    let server = inside.serve();
    let row = |path: &String| {
        let answer = server.get(path);
        (path.clone(), answer.status, sha256(&answer.body))
    };
    world.expected.keys().map(row).collect()
}
