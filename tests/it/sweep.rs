//! Old generations leave; what stays is served as before, and the next delta still applies.

use std::{
    collections::BTreeSet,
    fs::{self, File, FileTimes},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tests::{
    Content, Inside, Site,
    fixtures::{Image, sha256},
    process,
    site::Server,
};

use crate::{
    first_transfer::{assert_served, served},
    power_cut::cut_until_done,
    world::{Goods, World},
};

/// What round `n` brings: a tool and an image that no other round has, under the same names.
fn goods(n: u64) -> Goods {
    let mut goods = Goods::first();
    goods.tool = Content::new(100 + n, 300_000).bytes();
    goods.image = Image::new(&Content::new(200 + n, 200_000).bytes());
    goods
}

/// A site after so many rounds, the inventory brought home after each.
fn after(rounds: u64) -> World {
    let mut world = World::new();
    for n in 1..=rounds {
        world.offer(&goods(n));
        world.site.carry();
    }
    world
}

fn blob(inside: &Inside, digest: &str) -> PathBuf {
    let (first, second) = (&digest[..2], &digest[2..4]);
    inside.agent.home().join(format!("store/blobs/sha256/{first}/{second}/{digest}"))
}

/// The blobs that only round `n` brought: the tool, and what the image is made of.
fn digests(n: u64) -> BTreeSet<String> {
    let mine = all_digests(n);
    let others = (1..10).filter(|other| *other != n).flat_map(all_digests);
    let others: BTreeSet<String> = others.collect();
    mine.difference(&others).cloned().collect()
}

fn all_digests(n: u64) -> BTreeSet<String> {
    let Goods { tool, image, .. } = goods(n);
    let of_image = image.blobs.keys().chain(image.manifests.keys());
    of_image.map(|digest| digest[7..].to_owned()).chain([sha256(&tool)]).collect()
}

/// Which rounds' blobs are all on the disk, bit for bit, and of which none is.
fn held(inside: &Inside, rounds: u64) -> (Vec<u64>, Vec<u64>) {
    let is_held = |digest: &String| {
        fs::read(blob(inside, digest)).is_ok_and(|bytes| sha256(&bytes) == *digest)
    };
    let all: Vec<u64> = (1..=rounds).filter(|n| digests(*n).iter().all(is_held)).collect();
    let none = (1..=rounds).filter(|n| !digests(*n).iter().any(|d| blob(inside, d).exists()));
    (all, none.collect())
}

/// Every file below a folder, but for those that change without anybody's doing.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path);
        }
    }
    files
}

/// Makes all blobs as old as a day: younger ones are spared.
fn age(inside: &Inside) {
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    for path in files(&inside.agent.home().join("store/blobs/sha256")) {
        let times = FileTimes::new().set_modified(yesterday);
        File::open(path).unwrap().set_times(times).unwrap();
    }
}

fn sweep(inside: &Inside, args: &[&str]) -> Value {
    inside.agent.run(&[&["sweep"], args].concat()).expect("a sweep failed").json
}

/// Has a generation say that it was resolved for a release of Kubespray, as its export would.
fn resolved_for(inside: &Inside, sequence: u64, release: &str) {
    let path = inside.agent.home().join(format!("generations/{sequence:06}.json"));
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    document["kubespray"] =
        json!([{"version": release, "tree": format!("sha256:{}", sha256(b"tree"))}]);
    fs::write(&path, document.to_string()).unwrap();
}

fn sequences(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|row| row["sequence"].as_u64().unwrap()).collect()
}

/// Sends a request with a body as `ci`; the head of the answer.
fn send(server: &Server, line: &str, media_type: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.host()).unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y2k6c2VjcmV0\r\nConnection: close\r\n\
         Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Pushes an image of one layer to `apps/x:1`, and a blob that nothing needs and is deleted again.
fn push(server: &Server) -> [Vec<u8>; 2] {
    let [layer, deleted] = [7, 8].map(|seed| Content::new(seed, 50_000).bytes());
    let config = b"{}".to_vec();
    let upload = |bytes: &[u8]| {
        let line = format!("POST /v2/apps/x/blobs/uploads/?digest=sha256:{}", sha256(bytes));
        let answer = send(server, &line, "application/octet-stream", bytes);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    };
    [&layer, &deleted, &config].into_iter().for_each(|bytes| upload(bytes));
    let line = format!("DELETE /v2/apps/x/blobs/sha256:{}", sha256(&deleted));
    assert!(send(server, &line, "text/plain", b"").starts_with("HTTP/1.1 202"));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let descriptor = |bytes: &[u8], media_type: &str| json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(&layer, "application/vnd.oci.image.layer.v1.tar")],
    });
    let answer =
        send(server, "PUT /v2/apps/x/manifests/1", media_type, manifest.to_string().as_bytes());
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    [layer, deleted]
}

fn assert_pushed(server: &Server, layer: &[u8]) {
    let manifest: Value =
        serde_json::from_slice(&server.get("/v2/apps/x/manifests/1").body).unwrap();
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let answer = server.get(&format!("/v2/apps/x/blobs/{digest}"));
    assert_eq!((answer.status, sha256(&answer.body)), (200, sha256(layer)));
}

/// The image of each of these rounds can be pulled by digest, or none of it.
fn assert_images(server: &Server, rounds: &[u64], status: u16) {
    for round in rounds {
        let image = goods(*round).image;
        let digests = image.manifests.keys().map(|digest| format!("manifests/{digest}"));
        for path in digests {
            let answer = server.get(&format!("/v2/demo/app/{path}"));
            assert_eq!(answer.status, status, "{path} of round {round}: {}", server.log());
        }
    }
}

#[test]
fn what_stays_is_served_bit_for_bit_and_what_leaves_is_gone_from_the_disk() {
    let mut world = after(5);
    let inside = world.site.inside.clone();
    inside.allow_push("apps/", "100MB", false);
    let server = inside.serve();
    let [layer, deleted] = push(&server);
    inside.agent.run(&["pin", "1"]).unwrap();
    resolved_for(&inside, 2, "2.29.0");
    resolved_for(&inside, 3, "2.30.0");
    age(&inside);

    let said = process::run(&mut inside.agent.command(&["sweep", "--dry-run"])).stdout;
    let line = said.lines().find(|line| line.starts_with("leaves")).unwrap_or(&said);
    assert!(line.starts_with("leaves  generation 2: 2 artifacts, "), "{said}");
    assert!(line.ends_with("; ends Kubespray 2.29.0"), "{said}");
    let before = files(&inside.agent.home());
    let foretold = sweep(&inside, &["--dry-run"]);
    assert_eq!(files(&inside.agent.home()), before, "a dry run changed something");
    let swept = sweep(&inside, &[]);
    let expected = json!([
        {"sequence": 1, "why": ["pinned"]},
        {"sequence": 3, "why": ["newest"]},
        {"sequence": 4, "why": ["newest", "basis"]},
        {"sequence": 5, "why": ["served", "newest", "basis"]},
    ]);
    assert_eq!(swept["stays"], expected);
    assert_eq!(sequences(&swept["leaves"]), [2]);
    assert_eq!(swept["leaves"][0]["ends"], json!(["2.29.0"]), "{swept}");
    assert_eq!(swept["leaves"][0]["artifacts"], 2, "tool and image: {swept}");
    assert_eq!((&swept["shown"], &swept["young"]["blobs"]), (&json!([]), &json!(0)), "{swept}");
    for field in ["stays", "leaves", "removed"] {
        assert_eq!(foretold[field], swept[field], "{field}");
    }
    let gone = digests(2).len() as u64 + 1;
    assert_eq!(swept["removed"]["blobs"], gone, "and the blob that was pushed and deleted");

    assert_eq!(held(&inside, 5), (vec![1, 3, 4, 5], vec![2]));
    assert!(!blob(&inside, &sha256(&deleted)).exists());
    assert_images(&server, &[1, 3, 4, 5], 200);
    assert_images(&server, &[2], 404);
    assert_served(&world, &server);
    assert_pushed(&server, &layer);
    let refused = inside.rollback(2).expect_err("a swept generation was served again");
    assert_eq!(refused.exit_code, 1, "{refused:?}");
    assert!(refused.stderr.contains("generation 2 is not kept"), "{refused:?}");
    assert_eq!(inside.agent.run(&["scrub"]).unwrap().json["damaged"], json!([]));
    let again = sweep(&inside, &[]);
    assert_eq!((&again["leaves"], &again["removed"]["blobs"]), (&json!([]), &json!(0)), "{again}");

    drop(server);
    inside.rollback(1).unwrap();
    let path = format!("/files/{}/files/tool", world.upstream.host());
    assert_eq!(sha256(&inside.serve().get(&path).body), sha256(&goods(1).tool));
    inside.rollback(5).unwrap();
    world.offer(&goods(6));
    let sixth = world.site.carry();
    assert_eq!((&sixth.report["basis"], &sixth.report["sequence"]), (&json!(5), &json!(6)));
    let server = inside.serve();
    assert_served(&world, &server);
    assert_images(&server, &[1, 3, 4, 5, 6], 200);
    assert_pushed(&server, &layer);
}

#[test]
fn what_the_outside_may_still_build_on_stays_until_it_knows_better() {
    let mut world = after(2);
    for n in [3, 4] {
        world.offer(&goods(n));
        world.site.outside.sync().unwrap();
        let stick = world.site.outside.export().unwrap();
        assert_eq!(stick.report["basis"], 2, "its inventory is the last that came home");
        world.site.inside.import(&stick).unwrap();
    }
    let inside = world.site.inside.clone();
    age(&inside);
    let swept = sweep(&inside, &["--keep", "1"]);
    assert_eq!(sequences(&swept["leaves"]), [1], "{swept}");
    assert_eq!(held(&inside, 4), (vec![2, 3, 4], vec![1]));

    world.offer(&goods(5));
    world.site.outside.sync().unwrap();
    let stick = world.site.outside.export().unwrap();
    assert_eq!(stick.report["basis"], 2);
    inside.import(&stick).expect("the basis was swept");
    world.site.inventory_home().unwrap();
    world.offer(&goods(6));
    let sixth = world.site.carry();
    assert_eq!(sixth.report["basis"], 5);
    age(&inside);
    assert_eq!(sequences(&sweep(&inside, &["--keep", "1"])["leaves"]), [2, 3, 4]);
    assert_eq!(held(&inside, 6), (vec![5, 6], vec![1, 2, 3, 4]));
    assert_served(&world, &inside.serve());
}

#[test]
fn a_sweep_that_was_killed_is_finished_by_the_next_one() {
    let world = after(4);
    let inside = &world.site.inside;
    let calm = world.site.copy_of_inside("calm");
    [inside, &calm].into_iter().for_each(age);
    sweep(&calm, &["--keep", "1"]);
    let cuts = cut_until_done(&inside.agent, &["sweep", "--keep", "1"]);
    assert!(0 < cuts);
    let [ours, theirs] = [inside, &calm].map(|inside| {
        let home = inside.agent.home();
        let files = ["store/blobs", "generations", "snapshots", "trees", "heads"]
            .map(|folder| files(&home.join(folder)));
        let below = |path: &PathBuf| path.strip_prefix(&home).unwrap().to_owned();
        files.iter().flatten().map(below).collect::<BTreeSet<PathBuf>>()
    });
    assert_eq!(ours, theirs);
    assert_eq!(held(inside, 4), (vec![3, 4], vec![1, 2]));
    assert_eq!(served(inside, &world), served(&calm, &world));
}

#[test]
fn a_server_that_does_not_let_go_keeps_what_it_shows_also_after_a_kill() {
    let world = after(4);
    let inside = &world.site.inside;
    age(inside);
    let server = inside.serve();
    assert_served(&world, &server);
    signal(&server, "STOP");
    let mut waiting = inside.agent.command(&["sweep", "--keep", "1"]);
    let killed = process::start(&mut waiting).finish_within(Duration::from_secs(2));
    assert_eq!(killed.exit_code, -9, "it did not wait: {}{}", killed.stdout, killed.stderr);
    assert_eq!(held(inside, 4), (vec![1, 2, 3, 4], vec![]));
    let listed = inside.agent.run(&["generations"]).unwrap().json;
    assert_eq!(sequences(&listed["generations"]), [4, 3], "they are in no list any more");
    signal(&server, "CONT");
    let swept = sweep(inside, &["--keep", "1"]);
    assert_eq!((sequences(&swept["leaves"]), &swept["shown"]), (vec![1, 2], &json!([])));
    assert_eq!(held(inside, 4), (vec![3, 4], vec![1, 2]));
    assert_images(&server, &[3, 4], 200);
    assert_images(&server, &[1, 2], 404);
}

fn signal(server: &Server, name: &str) {
    let sent = process::run(Command::new("kill").args(["-s", name, &server.pid().to_string()]));
    assert_eq!(sent.exit_code, 0, "{}", sent.stderr);
}

#[test]
fn young_blobs_are_spared_until_they_are_old() {
    let world = after(4);
    let inside = &world.site.inside;
    let swept = sweep(inside, &["--keep", "1"]);
    assert_eq!(sequences(&swept["leaves"]), [1, 2]);
    assert_eq!(swept["removed"], json!({"blobs": 0, "bytes": 0}));
    let young = (digests(1).len() + digests(2).len()) as u64;
    assert_eq!(swept["young"]["blobs"], young, "{swept}");
    assert_eq!(held(inside, 4), (vec![1, 2, 3, 4], vec![]));
    age(inside);
    assert_eq!(sweep(inside, &[])["removed"]["blobs"], young);
    let empty = Site::new();
    assert_eq!(sweep(&empty.inside, &[])["stays"], json!([]));
}

#[test]
fn pins_are_listed_and_can_be_taken_off_and_a_diff_names_two_contents() {
    let world = after(2);
    let inside = &world.site.inside;
    let missing = inside.agent.run(&["pin", "7"]).expect_err("there is no generation 7");
    assert_eq!(missing.exit_code, 1, "{missing:?}");
    let pinned = inside.agent.run(&["pin", "1"]).unwrap().json;
    assert_eq!(pinned, json!({"generation": 1, "changed": true, "pinned": [1]}));
    assert_eq!(inside.agent.run(&["generations"]).unwrap().json["pinned"], json!([1]));
    let status = inside.status();
    assert_eq!((&status["pinned"], &status["generations"]), (&json!([1]), &json!([1, 2])));
    let off = inside.agent.run(&["pin", "1", "--off"]).unwrap().json;
    assert_eq!(off, json!({"generation": 1, "changed": true, "pinned": []}));

    let diff = inside.agent.run(&["diff", "1", "2"]).unwrap().json;
    let sums = json!({"added": 0, "changed": 2, "removed": 0, "kept": 4, "two_contents": 2});
    assert_eq!((&diff["from"], &diff["to"], &diff["sums"]), (&json!(1), &json!(2), &sums));
    let [was, is] = [1, 2].map(|n| format!("sha256:{}", sha256(&goods(n).tool)));
    let tool = json!({
        "change": "changed",
        "kind": "file",
        "name": format!("{}/files/tool", world.upstream.host()),
        "digest": is,
        "was": was,
        "differs": diff["rows"][0]["differs"],
        "two_contents": true,
        "bytes": 300_000,
    });
    assert_eq!(diff["rows"][0], tool);
    assert_eq!(inside.agent.run(&["diff", "1", "7"]).unwrap_err().exit_code, 1);
}
