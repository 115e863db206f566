//! Users push images of their own, with the clients they have; no switch touches them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};
use tests::{
    Content, Inside, Site,
    clients::{self, Client},
    fetch,
    fixtures::sha256,
    process::{self, Finished},
    site::Server,
};

use crate::world::{Goods, World};

/// `ci:secret`, as a header's value.
const LOGIN: &str = "Basic Y2k6c2VjcmV0";

/// A site at its second generation where `ci` may push below `apps/`.
fn pushable() -> World {
    let mut world = World::new();
    world.site.carry();
    world.offer(&Goods::second());
    world.site.carry();
    world.site.inside.allow_push("apps/", "100MB", false);
    world
}

fn ok(finished: &Finished) {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
}

/// The digest that a tag leads to.
fn digest(server: &Server, repository: &str, tag: &str) -> String {
    let answer = server.get(&format!("/v2/{repository}/manifests/{tag}"));
    assert_eq!(answer.status, 200, "{repository}:{tag}: {}", server.log());
    assert_eq!(answer.header("docker-content-digest"), format!("sha256:{}", sha256(&answer.body)));
    answer.header("docker-content-digest").to_owned()
}

/// Everything that a tag leads to is there, bit for bit.
fn assert_whole(server: &Server, repository: &str, reference: &str) {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let manifest: Value = serde_json::from_slice(&server.get(&path).body).unwrap();
    let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
    for child in list("manifests") {
        assert_whole(server, repository, child["digest"].as_str().unwrap());
    }
    for blob in list("layers").iter().chain(manifest.get("config")) {
        let digest = blob["digest"].as_str().unwrap();
        let answer = server.get(&format!("/v2/{repository}/blobs/{digest}"));
        assert_eq!(
            (answer.status, sha256(&answer.body)),
            (200, digest[7..].to_owned()),
            "{digest}"
        );
    }
}

/// A client that writes where it pleases below `home`.
fn client(name: &str, home: &Path, args: &[&str]) -> Finished {
    let mut command: Command = clients::clean(name, home);
    process::run(command.args(args))
}

#[test]
fn what_real_clients_push_outlives_a_rollback_a_switch_and_a_restart() {
    let used = [Client::Skopeo, Client::Crane, Client::Oras, Client::Regctl];
    if !used.into_iter().all(Client::usable) {
        return;
    }
    let mut world = pushable();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let layout = world.site.path("layout");
    let image = Goods::first().image;
    image.write_layout(&layout, "1").unwrap();
    let source = format!("oci:{}:1", layout.display());
    let host = server.host();

    let target = format!("docker://{host}/apps/skopeo:1");
    ok(&client(
        "skopeo",
        home,
        &[
            "--insecure-policy",
            "copy",
            "--all",
            "--dest-tls-verify=false",
            "--dest-creds=ci:secret",
            &source,
            &target,
        ],
    ));
    let refused = client(
        "skopeo",
        home,
        &[
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds=ci:wrong",
            &source,
            &format!("docker://{host}/apps/wrong:1"),
        ],
    );
    assert_ne!(refused.exit_code, 0, "a wrong password was taken");

    ok(&client("crane", home, &["auth", "login", host, "-u", "ci", "-p", "secret"]));
    let layout_text = layout.display().to_string();
    ok(&client(
        "crane",
        home,
        &["push", "--insecure", "--index", &layout_text, &format!("{host}/apps/crane:1")],
    ));

    fs::write(home.join("note.txt"), "a note").unwrap();
    let login = ["--plain-http", "-u", "ci", "-p", "secret"];
    let oras = |args: &[&str]| client("oras", home, &[&args[..1], &login, &args[1..]].concat());
    ok(&oras(&["push", &format!("{host}/apps/oras:1"), "note.txt:text/plain"]));
    ok(&oras(&[
        "attach",
        "--artifact-type",
        "application/vnd.test.note",
        &format!("{host}/apps/oras:1"),
        "note.txt:text/plain",
    ]));

    ok(&client("regctl", home, &["registry", "set", host, "--tls", "disabled"]));
    ok(&client("regctl", home, &["registry", "login", host, "-u", "ci", "-p", "secret"]));
    ok(&client(
        "regctl",
        home,
        &["image", "copy", &format!("ocidir://{layout_text}:1"), &format!("{host}/apps/regctl:1")],
    ));

    let pushed = ["apps/skopeo", "apps/crane", "apps/oras", "apps/regctl"];
    let digests = pushed.map(|repository| digest(&server, repository, "1"));
    assert_eq!([&digests[0], &digests[3]], [&image.root, &image.root]);
    let note = format!("/v2/apps/oras/referrers/{}", digests[2]);
    let assert_all = |server: &Server| {
        for (repository, root) in pushed.iter().zip(&digests) {
            assert_eq!(digest(server, repository, "1"), *root);
            assert_whole(server, repository, "1");
            assert_whole(server, repository, root);
        }
        let listed = server.get(&note).body;
        assert!(String::from_utf8_lossy(&listed).contains("vnd.test.note"), "{}", server.log());
    };
    assert_all(&server);
    let mut usage = world.site.inside.status()["pushed"].clone();
    assert!(0 < usage[0]["bytes"].as_u64().unwrap());
    usage[0].as_object_mut().unwrap().retain(|field, _| !field.ends_with("bytes"));
    let counted = json!([{"prefix": "apps/", "repositories": 4, "manifests": 12, "tags": 4}]);
    // An index of two platforms each, around which crane puts another; an artifact and its note.
    assert_eq!(usage, counted);
    world.site.inside.rollback(1).unwrap();
    wait_for_generation(&server, 1);
    assert_all(&server);
    world.site.inside.rollback(2).unwrap();
    wait_for_generation(&server, 2);
    assert_all(&server);
    world.offer(&Goods::first());
    world.site.carry();
    wait_for_generation(&server, 3);
    assert_all(&server);
    drop(server);
    let server = world.site.inside.serve();
    assert_all(&server);
    let pulled = tempfile::tempdir().unwrap();
    ok(&clients::skopeo_copy(server.host(), "apps/skopeo:1", pulled.path()));
    ok(&clients::crane_digest(server.host(), "apps/crane:1", home));
    world.site.inside.agent.run(&["scrub", "--reindex"]).unwrap();
    assert_all(&server);
}

/// Waits until a server shows a generation.
pub fn wait_for_generation(server: &Server, sequence: u64) {
    for _ in 0..100 {
        let health: Value = serde_json::from_slice(&server.get("/healthz").body).unwrap();
        if health["sequence"] == sequence {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the server did not switch\n{}", server.log());
}

/// Sends the head of a request and the beginning of its body, and leaves the connection open.
fn begin_body(server: &Server, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.host()).unwrap();
    let head = format!("{head}\r\nHost: x\r\nAuthorization: {LOGIN}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_kill_in_the_middle_of_an_upload_leaves_no_half_blob() {
    let site = Site::new();
    site.inside.allow_push("apps/", "1GB", false);
    let server = site.inside.serve();
    let whole = Content::new(7, 8 << 20).bytes();
    let half = &whole[..4 << 20];
    let (digest, half_digest) = (sha256(&whole), sha256(half));
    let head = format!(
        "POST /v2/apps/x/blobs/uploads/?digest=sha256:{digest} HTTP/1.1\r\nContent-Length: {}",
        whole.len()
    );
    let _open = begin_body(&server, &head, half);
    let store = site.inside.agent.home().join("store/blobs");
    let grown = || files_below(&store).iter().any(|file| 1 << 20 < file.metadata().unwrap().len());
    for _ in 0..100 {
        if grown() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(grown(), "nothing of the upload came to the disk\n{}", server.log());
    drop(server); // kill -9
    let server = site.inside.serve();
    for digest in [&digest, &half_digest] {
        let answer = server.get(&format!("/v2/apps/x/blobs/sha256:{digest}"));
        assert_eq!(answer.status, 404, "{}", server.log());
    }
    assert_eq!(files_below(&store), Vec::<std::path::PathBuf>::new());
    let mut stream = begin_body(&server, &format!("{head}\r\nConnection: close"), &whole);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let pulled = fetch::sha256(&format!("{}/v2/apps/x/blobs/sha256:{digest}", server.url));
    assert_eq!(pulled.unwrap(), (whole.len() as u64, digest));
}

#[test]
fn nothing_is_pushed_where_no_prefix_is_configured() {
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    for (method, path) in [
        ("POST", "/v2/apps/x/blobs/uploads/".to_owned()),
        ("PUT", "/v2/demo/app/manifests/1.0".to_owned()),
        ("DELETE", "/v2/demo/app/manifests/1.0".to_owned()),
        ("DELETE", format!("/v2/demo/app/blobs/{}", Goods::first().image.root)),
    ] {
        let head = format!("{method} {path} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close");
        let mut answer = String::new();
        begin_body(&server, &head, b"").read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("UNSUPPORTED"), "{answer}");
    }
    assert_eq!(server.get("/v2/demo/app/manifests/1.0").status, 200);
    assert!(!world.site.inside.agent.home().join("state/local").exists());
}

#[test]
fn a_carried_name_below_a_prefix_is_refused_at_import_and_at_the_start_of_a_server() {
    let mut world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    inside.allow_push("demo/", "1GB", false);
    let failure = inside.agent.run(&["serve", "--listen", "127.0.0.1:0"]).unwrap_err();
    assert_eq!(failure.exit_code, 1, "{failure:?}");
    assert!(failure.stderr.contains("demo/") && failure.stderr.contains("demo/app"), "{failure:?}");
    inside.allow_push("apps/", "1GB", false);
    drop(inside.serve());

    world.offer(&Goods::second());
    world.site.outside.sync().unwrap();
    let stick = world.site.outside.export().unwrap();
    let before = world.site.inside.generation();
    let inside: &Inside = &world.site.inside;
    inside.allow_push("demo/", "1GB", false);
    let failure = inside.import(&stick).unwrap_err();
    assert_eq!(failure.exit_code, 3, "{failure:?}");
    let refusal = &failure.json()["refusal"];
    assert_eq!(refusal["code"], "push-prefix", "{refusal}");
    assert!(refusal["message"].as_str().unwrap().contains("below demo/"), "{refusal}");
    assert_eq!(inside.generation(), before);
    inside.allow_push("apps/", "1GB", false);
    inside.import(&stick).unwrap();
}
