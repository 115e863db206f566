//! Everything but images: folders, buckets and servers that take files.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tests::{
    clients::{self, Apt, Client},
    fetch,
    fixtures::sha256,
    process,
    site::Outcome,
};

use super::servers::{Daemon, Dav, free_host, nginx, usable};
use super::{publish, pushed};
use crate::world::{Goods, World};

#[test]
fn a_folder_is_served_by_nginx_to_real_clients_and_switched_while_it_serves() {
    if !usable("nginx") {
        return;
    }
    let mut world = World::new();
    world.site.carry();
    let folder = world.site.path("www");
    let to = format!("dir:{}", folder.display());
    let dry = publish(&world.site.inside, &to, &["--dry-run"]).unwrap();
    assert!(!folder.exists());
    let first = publish(&world.site.inside, &to, &[]).unwrap();
    assert_eq!(pushed(&dry), pushed(&first));
    assert_eq!(first.json["images_left_out"], 1);
    let server = nginx(
        &world.site.path("nginx"),
        &format!("root {}/current;\nautoindex on;", folder.display()),
    );
    let tool = format!("/files/{}/files/tool", world.upstream.host());
    assert_eq!(sha256(&fetch::get(&server.url(&tool)).unwrap().body), world.expected[&tool]);
    take_with_pip(&server, &["alpha==1.0"], &Goods::first());
    take_with_apt(&server, &Goods::first());
    let again = publish(&world.site.inside, &to, &[]).unwrap();
    assert_eq!(pushed(&again), [""; 0]);

    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(server.url(&tool), Arc::clone(&stop));
    world.offer(&Goods::second());
    world.site.carry();
    publish(&world.site.inside, &to, &[]).unwrap();
    stop.store(true, Ordering::Relaxed);
    let seen = watcher.join().unwrap();
    assert!(seen.keys().all(|(status, _)| *status == 200), "{seen:?}");
    assert_eq!(sha256(&fetch::get(&server.url(&tool)).unwrap().body), world.expected[&tool]);
    take_with_pip(&server, &["alpha==1.1"], &Goods::second());
    take_with_apt(&server, &Goods::second());
    let old = &Goods::first().debs[0];
    let path = format!("/apt/debian-13/{}", pool_path(&server, &old.version));
    assert_eq!(fetch::get(&server.url(&path)).unwrap().status, 200, "{path}");
    world.site.inside.rollback(1).unwrap();
    publish(&world.site.inside, &to, &[]).unwrap();
    take_with_pip(&server, &["alpha==1.0"], &Goods::first());
    let generations = fs::read_dir(folder.join(".generations")).unwrap();
    let mut names: Vec<_> =
        generations.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    // Sequence and activation, and a mark of 12 digits.
    let numbers: Vec<_> =
        names.iter().map(|name| name.split_at(name.len().saturating_sub(13)).0).collect();
    assert_eq!((&*names[0], &numbers[1..]), (".lock", &["1-3", "2-2"][..]), "{names:?}");
}

/// Where the pool has the version of socat, by the listing that nginx makes.
fn pool_path(server: &Daemon, version: &str) -> String {
    let mut open = vec!["/apt/debian-13/pool/".to_owned()];
    while let Some(folder) = open.pop() {
        let page = String::from_utf8(fetch::get(&server.url(&folder)).unwrap().body).unwrap();
        for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            if link.starts_with("socat_") && link.contains(version) {
                return format!("{}{link}", folder.trim_start_matches("/apt/debian-13/"));
            }
            if link.ends_with('/') && !link.starts_with('.') {
                open.push(format!("{folder}{link}"));
            }
        }
    }
    panic!("no socat {version} in the pool");
}

/// Asks for a file over and over; how often each status and content came.
fn watch(url: String, stop: Arc<AtomicBool>) -> thread::JoinHandle<BTreeMap<(u16, String), usize>> {
    thread::spawn(move || {
        let mut seen = BTreeMap::new();
        while !stop.load(Ordering::Relaxed) {
            let answer = fetch::get(&url).unwrap();
            *seen.entry((answer.status, sha256(&answer.body))).or_default() += 1;
        }
        seen
    })
}

fn take_with_pip(server: &Daemon, requirements: &[&str], goods: &Goods) {
    if !Client::Pip.usable() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let finished = clients::pip_download(&server.url(""), requirements, folder.path());
    assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
    let mut taken = 0;
    for wheel in &goods.wheels {
        if let Ok(bytes) = fs::read(folder.path().join(&wheel.filename)) {
            assert_eq!(sha256(&bytes), wheel.sha256(), "{}", wheel.filename);
            taken += 1;
        }
    }
    assert_eq!(taken, 2);
}

fn take_with_apt(server: &Daemon, goods: &Goods) {
    if !Client::AptGet.usable() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = fetch::get(&server.url("/keys/site.asc")).unwrap().body;
    let key = String::from_utf8(key).unwrap();
    let apt = Apt::new(folder.path(), &server.url("/apt/debian-13"), "trixie", &key);
    for finished in [apt.update(), apt.download(&["socat"])] {
        assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
    }
    let taken: Vec<_> = apt.archives().iter().map(|p| sha256(&fs::read(p).unwrap())).collect();
    assert!(taken.contains(&sha256(&goods.debs[0].make())), "{taken:?}");
}

#[test]
fn a_folder_that_lacks_a_blob_is_not_switched_and_says_what_is_missing() {
    let world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    let digest = sha256(&Goods::first().tool);
    let blob = inside.agent.home().join(format!(
        "store/blobs/sha256/{}/{}/{digest}",
        &digest[..2],
        &digest[2..4]
    ));
    fs::remove_file(blob).unwrap();
    let folder = world.site.path("www");
    let failure = publish(inside, &format!("dir:{}", folder.display()), &[]).unwrap_err();
    assert_eq!(failure.exit_code, 2, "{failure:?}");
    let failures = failure.json()["failures"].as_array().unwrap().clone();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0]["what"].as_str().unwrap().ends_with("/files/tool"), "{failures:?}");
    assert!(!folder.join("current").exists());
}

#[test]
fn files_are_put_to_a_server_with_a_password_and_only_once() {
    if !usable("nginx") || !usable("htpasswd") {
        return;
    }
    let world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    let folder = world.site.path("dav");
    fs::create_dir_all(folder.join("www")).unwrap();
    let mut htpasswd = clients::clean("htpasswd", &folder);
    let lines = process::run(htpasswd.args(["-bn", "ferry", "right"])).stdout;
    fs::write(folder.join("htpasswd"), lines).unwrap();
    let dir = folder.display();
    let server = nginx(
        &folder,
        &format!(
            "root {dir}/www;\nclient_max_body_size 0;\nlocation /raw/ {{ dav_methods PUT DELETE MKCOL; \
             create_full_put_path on; \
             limit_except GET HEAD {{ auth_basic test; auth_basic_user_file {dir}/htpasswd; }} }}"
        ),
    );
    let to = |login: &str| format!("http://{login}{}/raw", server.host);
    let wrong = publish(inside, &to("ferry:CANARY@"), &["--plain-http"]).unwrap_err();
    assert_eq!(wrong.exit_code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("refuses the login"), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("CANARY"), "{wrong:?}");
    let netrc = format!("machine {} login ferry password right\n", "127.0.0.1");
    fs::write(inside.agent.user_home().join(".netrc"), netrc).unwrap();
    let dry = publish(inside, &to(""), &["--plain-http", "--dry-run"]).unwrap();
    let first = publish(inside, &to(""), &["--plain-http"]).unwrap();
    assert_eq!(pushed(&dry), pushed(&first));
    assert!(pushed(&first).contains(&"current.json"), "{:?}", first.json);
    let again = publish(inside, &to(""), &["--plain-http"]).unwrap();
    assert_eq!(pushed(&again), [""; 0]);
    let raw = Daemon {
        child: Command::new("true").spawn().unwrap(),
        host: format!("{}/raw", server.host),
    };
    take_with_pip(&raw, &["alpha==1.0"], &Goods::first());
    take_with_apt(&raw, &Goods::first());
    let only = publish(inside, &to(""), &["--plain-http", "--only", "image"]).unwrap_err();
    assert_eq!(only.exit_code, 1, "{only:?}");
}

#[test]
fn files_go_into_a_bucket_and_only_once() {
    if !usable("moto_server") {
        return;
    }
    let world = World::new();
    world.site.carry();
    let host = free_host();
    let port = host.rsplit(':').next().unwrap().to_owned();
    let folder = world.site.path("moto");
    fs::create_dir_all(&folder).unwrap();
    let mut moto = clients::clean("moto_server", &folder);
    let server = Daemon::start(moto.args(["-H", "127.0.0.1", "-p", &port]), host);
    let created = process::run(clients::clean("curl", &folder).args([
        "--fail",
        "--silent",
        "-X",
        "PUT",
        &server.url("/mirror"),
    ]));
    assert_eq!(created.exit_code, 0, "{created:?}");
    let run = |more: &[&str]| {
        let args = [&["publish", "--to", "s3://mirror/site", "-o", "json"], more].concat();
        let mut command = world.site.inside.agent.command(&args);
        command
            .env("AWS_ENDPOINT_URL", server.url(""))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        Outcome::of(process::run(&mut command)).unwrap()
    };
    let dry = run(&["--dry-run"]);
    let first = run(&[]);
    assert_eq!(pushed(&dry), pushed(&first));
    assert_eq!(pushed(&run(&[])), [""; 0]);
    let tool = format!("files/{}/files/tool", world.upstream.host());
    let object = |path: &str| signed_get(&server.url(&format!("/mirror/site/{path}")), &folder);
    assert_eq!(sha256(&object(&tool).1), world.expected[&format!("/{tool}")]);
    let current: Value = serde_json::from_slice(&object("current.json").1).unwrap();
    assert_eq!((&current["sequence"], &current["activation"]), (&json!(1), &json!(1)));
    assert_eq!(object("pypi/simple/alpha/index.html").0, "text/html");
}

/// Type and bytes of an object that only who signs may read.
fn signed_get(url: &str, folder: &Path) -> (String, Vec<u8>) {
    let mut curl = clients::clean("curl", folder);
    curl.args(["--fail", "--silent", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "test:test"]);
    let finished = process::run(curl.args(["-w", "%{content_type}", "-o", "object", url]));
    assert_eq!(finished.exit_code, 0, "{url}: {}", finished.stderr);
    (finished.stdout, fs::read(folder.join("object")).unwrap())
}

#[test]
fn a_server_that_wants_its_folders_made_gets_them() {
    let world = World::new();
    world.site.carry();
    let server = Dav::start();
    let to = format!("http://{}", server.host);
    publish(&world.site.inside, &to, &["--plain-http"]).unwrap();
    let tool = format!("/files/{}/files/tool", world.upstream.host());
    let bytes = fetch::get(&format!("{to}{tool}")).unwrap().body;
    assert_eq!(sha256(&bytes), world.expected[&tool]);
    assert_eq!(pushed(&publish(&world.site.inside, &to, &["--plain-http"]).unwrap()), [""; 0]);
}
