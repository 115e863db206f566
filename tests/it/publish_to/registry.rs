//! Images in registries.

use std::{fs, path::Path, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use tests::{
    Content, Inside,
    clients::{self, Client},
    fetch,
    fixtures::sha256,
    process,
};

use super::servers::{
    Proxy, TokenGate, docker_registry, free_host, nginx, registry_with_referrers, usable,
};
use super::{pushed, to_registry};
use crate::world::{Goods, World};

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
fn a_registry_that_wants_tokens_gets_each_with_the_scope_that_it_takes() {
    if !usable("docker-registry") {
        return;
    }
    let world = World::new();
    world.site.carry();
    let inside = &world.site.inside;
    let registry = docker_registry(&world.site.path("registry"), None);
    let gate = TokenGate::start(&registry.host, "ferry:right");
    let none = to_registry(inside, &gate.host, &[]).unwrap_err();
    assert!(none.stderr.contains("asks for a login"), "{none:?}");
    log_in(inside, &gate.host, "ferry:CANARY");
    let wrong = to_registry(inside, &gate.host, &[]).unwrap_err();
    assert_eq!(wrong.exit_code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("refuses the login"), "{wrong:?}");
    log_in(inside, &gate.host, "ferry:right");
    to_registry(inside, &gate.host, &["--without-host", "--jobs", "1"]).unwrap();
    assert_image(&registry.host, "demo/app");
    let scopes = gate.scopes.lock().unwrap().clone();
    assert_eq!(scopes[0], "service=gate");
    let push = "service=gate&scope=repository%3Ademo%2Fapp%3Apull%2Cpush";
    assert!(1 < scopes[1..].len(), "no token was renewed: {scopes:?}");
    assert!(scopes[1..].iter().all(|scope| scope == push), "{scopes:?}");
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
