//! A generation goes into servers that the site has already, and real clients take it from there.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    Content, Inside,
    clients::{self, Apt, Client},
    fetch,
    fixtures::sha256,
    process,
    site::{Failure, Outcome},
};

use crate::world::{Goods, World};

/// A program that serves until it is dropped.
struct Daemon {
    child: Child,
    host: String,
}

impl Daemon {
    /// Starts a program, and waits until it takes connections at `host`.
    fn start(command: &mut Command, host: String) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let daemon = Self { child, host };
        for _ in 0..600 {
            if TcpStream::connect(&daemon.host).is_ok() {
                return daemon;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{command:?} does not listen on {}", daemon.host);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_host() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Whether a program is there; CI brings all but moto.
fn usable(program: &str) -> bool {
    let required = env::var("GAPFERRY_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    let found = clients::find(program).is_some();
    assert!(found || !required || program == "moto_server", "{program} is missing");
    if !found {
        let _closed = io::stderr().write_all(format!("skipped: no {program}\n").as_bytes());
    }
    found
}

/// Debian's registry: without the referrers API.
fn docker_registry(folder: &Path, htpasswd: Option<&str>) -> Daemon {
    fs::create_dir_all(folder).unwrap();
    let host = free_host();
    let auth = htpasswd.map_or_else(String::new, |lines| {
        let path = folder.join("htpasswd");
        fs::write(&path, lines).unwrap();
        format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display())
    });
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"{host}\"}}\n{auth}",
        folder.join("registry").display()
    );
    fs::write(folder.join("registry.yml"), config).unwrap();
    let mut command = clients::clean("docker-registry", folder);
    Daemon::start(command.args(["serve", "registry.yml"]), host)
}

/// A registry with the referrers API.
fn registry_with_referrers(folder: &Path) -> Daemon {
    let host = free_host();
    Daemon::start(clients::clean("registry-referrers", folder).arg(&host), host)
}

/// nginx with what `server` says beside its address.
fn nginx(folder: &Path, server: &str) -> Daemon {
    fs::create_dir_all(folder).unwrap();
    let host = free_host();
    let dir = folder.display();
    let user = if is_root() { "user root;\n" } else { "" };
    let config = format!(
        "{user}daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\n\
         events {{}}\nhttp {{\naccess_log {dir}/access.log;\nclient_body_temp_path {dir}/body;\n\
         proxy_temp_path {dir}/proxy;\nfastcgi_temp_path {dir}/fastcgi;\nuwsgi_temp_path {dir}/uwsgi;\n\
         scgi_temp_path {dir}/scgi;\nserver {{\nlisten {host};\n{server}\n}}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = clients::clean("nginx", folder);
    command.args(["-p", &text(folder), "-c", &text(&folder.join("nginx.conf"))]);
    Daemon::start(&mut command, host)
}

fn is_root() -> bool {
    env::var("USER").map_or(true, |user| user == "root")
}

fn publish(inside: &Inside, to: &str, more: &[&str]) -> Result<Outcome, Failure> {
    inside.agent.run(&[&["publish", "--to", to], more].concat())
}

fn to_registry(inside: &Inside, host: &str, more: &[&str]) -> Result<Outcome, Failure> {
    let to = format!("registry://{host}");
    publish(inside, &to, &[&["--plain-http"], more].concat())
}

fn pushed(outcome: &Outcome) -> Vec<&str> {
    let pushed = outcome.json["pushed"].as_array().unwrap();
    pushed.iter().map(|one| one["what"].as_str().unwrap()).collect()
}

/// Every blob and manifest of the first goods' image is in a repository, bit for bit.
fn assert_image(host: &str, repository: &str) {
    let image = Goods::first().image;
    let url = format!("http://{host}/v2/{repository}");
    for (digest, shelf) in image
        .blobs
        .keys()
        .map(|digest| (digest, "blobs"))
        .chain(image.manifests.keys().map(|digest| (digest, "manifests")))
    {
        let accept = [(
            "accept",
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
        )];
        let answer = fetch::get_with(&format!("{url}/{shelf}/{digest}"), &accept).unwrap();
        assert_eq!((answer.status, &*format!("sha256:{}", sha256(&answer.body))), (200, &**digest));
    }
}

fn upstream_name(world: &World) -> String {
    format!("{}/demo/app", world.upstream.host().replace(':', "_"))
}

#[test]
fn an_image_goes_into_a_registry_bit_for_bit_and_only_once() {
    if !usable("docker-registry") {
        return;
    }
    let world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    let registry = docker_registry(&world.site.path("registry"), None);
    let dry = to_registry(inside, &registry.host, &["--dry-run"]).unwrap();
    assert_eq!(fetch::get(&registry.url("/v2/_catalog")).unwrap().body, b"{\"repositories\":[]}\n");
    let first = to_registry(inside, &registry.host, &[]).unwrap();
    assert_eq!(pushed(&dry), pushed(&first));
    assert_eq!(pushed(&first).len(), 7, "{:?}", first.json);
    let name = upstream_name(&world);
    assert_image(&registry.host, &name);
    let again = to_registry(inside, &registry.host, &[]).unwrap();
    assert_eq!((pushed(&again).len(), &again.json["present"]), (0, &json!(7)));
    let to = format!("{}/site/a", registry.host);
    let prefixed = to_registry(inside, &to, &["--without-host"]).unwrap();
    assert_eq!(pushed(&prefixed).len(), 7);
    assert_image(&registry.host, "site/a/demo/app");
    if Client::Skopeo.usable() {
        let folder = tempfile::tempdir().unwrap();
        let finished = clients::skopeo_copy(&registry.host, &format!("{name}:1.0"), folder.path());
        assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
    }
}

#[test]
fn a_layer_that_two_images_share_is_mounted() {
    if !usable("docker-registry") {
        return;
    }
    let world = World::new();
    let (host, image) = (world.upstream.host(), Goods::first().image);
    world.upstream.put_image("other/app", "2", &image);
    world.site.outside.write_waybill(&format!(
        "  images: [{{ref: \"{host}/demo/app:1.0\", insecure: true}}, \
         {{ref: \"{host}/other/app:2\", insecure: true}}]\n"
    ));
    world.site.carry();
    let registry = docker_registry(&world.site.path("registry"), None);
    let proxy = Proxy::start(&registry.host);
    let outcome = to_registry(&world.site.inside, &proxy.host, &["--without-host"]).unwrap();
    assert_eq!(pushed(&outcome).len(), 14, "{:?}", outcome.json);
    assert_image(&registry.host, "other/app");
    let sent = proxy.sent.load(Ordering::Relaxed);
    let bytes: usize = image.blobs.values().map(Vec::len).sum();
    assert!(sent < bytes as u64 * 3 / 2, "{sent} bytes went for {bytes}: nothing was mounted");
}

#[test]
fn a_wrong_password_is_a_clear_error_and_a_right_one_is_taken_from_dockers_file() {
    if !usable("docker-registry") || !usable("htpasswd") {
        return;
    }
    let world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    let folder = world.site.path("registry");
    fs::create_dir_all(&folder).unwrap();
    let mut htpasswd = clients::clean("htpasswd", &folder);
    let lines = process::run(htpasswd.args(["-Bbn", "ferry", "right"])).stdout;
    let registry = docker_registry(&folder, Some(&lines));
    let none = to_registry(inside, &registry.host, &[]).unwrap_err();
    assert_eq!(none.exit_code, 1, "{none:?}");
    assert!(none.stderr.contains("asks for a login"), "{none:?}");
    log_in(inside, &registry.host, "ferry:CANARY");
    let wrong = to_registry(inside, &registry.host, &[]).unwrap_err();
    assert_eq!(wrong.exit_code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("refuses the login (HTTP 401)"), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("CANARY"), "{wrong:?}");
    log_in(inside, &registry.host, "ferry:right");
    assert_eq!(pushed(&to_registry(inside, &registry.host, &[]).unwrap()).len(), 7);
}

/// What `docker login` writes.
fn log_in(inside: &Inside, host: &str, login: &str) {
    let folder = inside.agent.user_home().join(".docker");
    fs::create_dir_all(&folder).unwrap();
    let auth = data_encoding::BASE64.encode(login.as_bytes());
    let config = json!({"auths": {host: {"auth": auth}}});
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn a_registry_that_loses_the_connection_gets_a_large_layer_in_the_end() {
    if !usable("docker-registry") {
        return;
    }
    let world = large_image();
    let registry = docker_registry(&world.site.path("registry"), None);
    let proxy = Proxy::start(&registry.host);
    proxy.cut_after(20 << 20, 2);
    let outcome = to_registry(&world.site.inside, &proxy.host, &["--without-host"]).unwrap();
    assert_eq!(outcome.json["failures"], json!([]));
    assert_large_image(&registry.host);
}

#[test]
fn a_proxy_that_finds_a_layer_too_large_gets_it_in_chunks() {
    if !usable("docker-registry") || !usable("nginx") {
        return;
    }
    let world = large_image();
    let registry = docker_registry(&world.site.path("registry"), None);
    let server = format!(
        "client_max_body_size 20m;\nproxy_http_version 1.1;\nproxy_request_buffering off;\n\
         location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }}",
        registry.host
    );
    let proxy = nginx(&world.site.path("nginx"), &server);
    to_registry(&world.site.inside, &proxy.host, &["--without-host"]).unwrap();
    assert_large_image(&registry.host);
}

#[test]
fn a_run_that_was_killed_goes_on() {
    if !usable("docker-registry") {
        return;
    }
    let world = large_image();
    let registry = docker_registry(&world.site.path("registry"), None);
    let proxy = Proxy::start(&registry.host);
    proxy.stall_after(4 << 20);
    let to = format!("registry://{}", proxy.host);
    let args = ["publish", "--plain-http", "--without-host", "--to", &to];
    let mut command = world.site.inside.agent.command(&args);
    let killed = process::start(&mut command).finish_within(Duration::from_secs(4));
    assert_eq!(killed.exit_code, -9, "{}", killed.stderr);
    proxy.behave();
    let again = to_registry(&world.site.inside, &proxy.host, &["--without-host"]).unwrap();
    assert!(again.json["present"].as_u64().unwrap() > 0, "{:?}", again.json);
    assert_large_image(&registry.host);
}

#[test]
fn a_registry_that_is_not_there_is_a_fault() {
    let world = World::new();
    world.site.carry();
    let failure = to_registry(&world.site.inside, &free_host(), &[]).unwrap_err();
    assert_eq!(failure.exit_code, 4, "{failure:?}");
    assert!(failure.stderr.contains("cannot reach"), "{failure:?}");
}

/// A layer larger than a chunk of an upload.
fn large() -> Content {
    Content::new(77, 40 << 20)
}

fn large_image() -> World {
    let world = World::new();
    world.upstream.put_image_of_content("demo/large", "1", large());
    let host = world.upstream.host();
    let line = format!("  images: [{{ref: \"{host}/demo/large:1\", insecure: true}}]\n");
    world.site.outside.write_waybill(&line);
    world.site.carry();
    world
}

fn assert_large_image(host: &str) {
    let layer = large();
    let url = format!("http://{host}/v2/demo/large/blobs/sha256:{}", layer.sha256());
    assert_eq!(fetch::sha256(&url).unwrap(), (layer.len_bytes, layer.sha256()));
    let accept = [("accept", "application/vnd.oci.image.index.v1+json")];
    let tag = fetch::get_with(&format!("http://{host}/v2/demo/large/manifests/1"), &accept);
    assert_eq!(tag.unwrap().status, 200);
}

#[test]
fn referrers_go_along_where_the_registry_lists_them_and_where_it_does_not() {
    if !usable("docker-registry") || !usable("registry-referrers") || !usable("oras") {
        return;
    }
    let world = World::new();
    let folder = world.site.path("oras");
    fs::create_dir_all(&folder).unwrap();
    let upstream = registry_with_referrers(&folder);
    let image = format!("{}/demo/signed:1.0", upstream.host);
    fs::write(folder.join("payload"), b"payload").unwrap();
    fs::write(folder.join("sbom.json"), b"{}").unwrap();
    oras(&folder, &["push", "--plain-http", &image, "payload"]);
    let attach = ["attach", "--plain-http", "--artifact-type", "example/sbom", &image, "sbom.json"];
    oras(&folder, &attach);
    let line = format!("  images: [{{ref: \"{image}\", insecure: true}}]\n");
    world.site.outside.write_waybill(&line);
    world.site.carry();
    let registries =
        [registry_with_referrers(&folder), docker_registry(&world.site.path("registry"), None)];
    for registry in registries {
        let first = to_registry(&world.site.inside, &registry.host, &["--without-host"]).unwrap();
        assert_ne!(pushed(&first).len(), 0);
        let image = format!("{}/demo/signed:1.0", registry.host);
        let found = oras(&folder, &["discover", "--plain-http", "--format", "json", &image]);
        let found: Value = serde_json::from_str(&found).unwrap();
        let kinds: Vec<_> = ["referrers", "manifests"]
            .iter()
            .filter_map(|key| found[key].as_array())
            .flatten()
            .map(|one| one["digest"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds.len(), 1, "{found}");
        let again = to_registry(&world.site.inside, &registry.host, &["--without-host"]).unwrap();
        assert_eq!(pushed(&again), [""; 0]);
    }
}

fn oras(folder: &Path, args: &[&str]) -> String {
    let finished = process::run(clients::clean("oras", folder).args(args));
    assert_eq!(finished.exit_code, 0, "{args:?}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}

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
    assert_eq!(names, [".lock", "1-3", "2-2"]);
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

/// A proxy that cuts or stalls what goes up.
struct Proxy {
    host: String,
    /// Bytes that went up.
    sent: Arc<AtomicU64>,
    rule: Arc<Rule>,
}

#[derive(Default)]
struct Rule {
    /// After so many bytes of one connection; 0 is never.
    after: AtomicU64,
    /// How many connections are cut; the others stall.
    cuts: AtomicU64,
    stalls: AtomicBool,
}

impl Proxy {
    fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (sent, rule) = (Arc::<AtomicU64>::default(), Arc::<Rule>::default());
        let (target, counter, rules) = (target.to_owned(), Arc::clone(&sent), Arc::clone(&rule));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (mut down, mut back) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut down, &mut back);
                    let _ = back.shutdown(std::net::Shutdown::Both);
                });
                let (counter, rules) = (Arc::clone(&counter), Arc::clone(&rules));
                thread::spawn(move || up(client, server, &counter, &rules));
            }
        });
        Self { host, sent, rule }
    }

    fn cut_after(&self, bytes: u64, times: u64) {
        self.rule.cuts.store(times, Ordering::Relaxed);
        self.rule.after.store(bytes, Ordering::Relaxed);
    }

    fn stall_after(&self, bytes: u64) {
        self.rule.stalls.store(true, Ordering::Relaxed);
        self.rule.after.store(bytes, Ordering::Relaxed);
    }

    fn behave(&self) {
        self.rule.after.store(0, Ordering::Relaxed);
        self.rule.stalls.store(false, Ordering::Relaxed);
    }
}

fn up(mut client: TcpStream, mut server: TcpStream, counter: &AtomicU64, rule: &Rule) {
    let (mut buffer, mut passed) = (vec![0; 64 << 10], 0);
    while let Ok(n) = client.read(&mut buffer) {
        if n == 0 || server.write_all(&buffer[..n]).is_err() {
            break;
        }
        passed += n as u64;
        counter.fetch_add(n as u64, Ordering::Relaxed);
        let after = rule.after.load(Ordering::Relaxed);
        if after == 0 || passed < after {
            continue;
        }
        while rule.stalls.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        let take = |left: u64| left.checked_sub(1);
        if rule.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
    let _ = client.shutdown(std::net::Shutdown::Both);
}

/// A path as text.
fn text(path: &Path) -> String {
    let path: PathBuf = path.to_owned();
    path.into_os_string().into_string().unwrap()
}
