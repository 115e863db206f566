//! "We forgot to bring one package": what clients lack inside enters the next export by itself.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};
use tests::{
    Fault, Site, Upstream,
    clients::{self, Apt, Client},
    fetch,
    fixtures::{Deb, Image, Rpm, Wheel, YumRepo, sha256},
    process,
    site::Server,
};

use crate::{
    first_transfer::apt_key,
    world::{Goods, World},
};

/// A site that runs, and an upstream that has more than its waybill names.
fn world() -> World {
    let mut world = World::new();
    world.offer(&goods("4.99.3-1"));
    world.upstream.put_image("demo/extra", "2.0", &Image::new(b"extra"));
    world.site.carry();
    world
}

/// More than the waybill names, with a version of `tcpdump`.
fn goods(tcpdump: &str) -> Goods {
    let mut goods = Goods::first();
    goods.debs.push(Deb::new("tcpdump", tcpdump).depends("libpcap0.8 (>= 1.9)"));
    goods.debs.push(Deb::new("libpcap0.8", "1.10.3-1"));
    goods.wheels.push(Wheel::new("gamma", "2.0").requires("delta>=1").make());
    goods.wheels.push(Wheel::new("delta", "1.5").make());
    goods
}

/// Takes the inventory out, and gives what a sync made of the wants by kind and name.
fn synced(world: &World) -> Value {
    world.site.inventory_home().unwrap();
    world.site.outside.sync().unwrap().json["wants"].clone()
}

fn row<'a>(wants: &'a Value, name: &str) -> &'a Value {
    let rows = wants.as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {wants}"))
}

/// The artifacts of a plan that travel: their names, and why.
fn planned(world: &World) -> Vec<(String, String)> {
    let plan = world.site.outside.plan().unwrap().json;
    let new = plan["new"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    new.map(|one| (text(&one["name"]), one["wanted"].to_string())).collect()
}

fn wait_for(server: &Server, path: &str) {
    for _ in 0..100 {
        if server.get(path).status == 200 {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{path} never came");
}

#[test]
fn what_clients_could_not_find_is_in_the_next_export() {
    let world = world();
    let (inside, host) = (&world.site.inside, world.upstream.host());
    let server = inside.serve();
    // The index lacks them, so the server never hears of these.
    for args in [["want", "deb", "tcpdump"], ["want", "deb", "nosuchpackage"]] {
        assert_eq!(inside.agent.run(&args).unwrap().json["new"], 1);
    }
    let held = inside.agent.run(&["want", "deb", "socat", "--target", "debian-13"]).unwrap().json;
    assert_eq!((&held["wants"][0]["state"], &held["new"]), (&json!("held"), &json!(0)));
    // Of these it does.
    assert_eq!(server.get("/pypi/simple/gamma/").status, 404);
    assert_eq!(server.get(&format!("/v2/demo/extra/manifests/2.0?ns={host}")).status, 404);
    assert_eq!(server.get("/files/elsewhere.example/tool").status, 404);
    assert_eq!(server.get("/files/none").status, 404, "a name without a host is nobody's file");
    let listed = inside.agent.run(&["wants"]).unwrap().json["wants"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 5, "{listed}");
    assert_eq!(row(&listed, "gamma")["client"], "127.0.0.1");
    assert!(row(&listed, "tcpdump")["time"].is_string(), "{listed}");

    let wants = synced(&world);
    for (name, state) in [
        ("tcpdump", "resolved"),
        ("gamma", "resolved"),
        (&format!("{host}/demo/extra:2.0"), "resolved"),
        ("nosuchpackage", "unresolved"),
        ("elsewhere.example/tool", "unresolved"),
    ] {
        assert_eq!(row(&wants, name)["state"], state, "{wants}");
    }
    let planned = planned(&world);
    let names: Vec<&str> = planned.iter().map(|(name, _)| name.as_str()).collect();
    let extra = format!("{host}/demo/extra:2.0");
    let expected = [
        extra.as_str(),
        "debian-13/libpcap0.8_1.10.3-1_amd64",
        "debian-13/tcpdump_4.99.3-1_amd64",
        "delta-1.5-py3-none-any.whl",
        "gamma-2.0-py3-none-any.whl",
    ];
    assert_eq!(names, expected);
    let (_, reason) = planned.iter().find(|(name, _)| name.contains("tcpdump")).unwrap();
    assert_eq!(reason, "[\"wanted inside: prod asked for tcpdump\"]");
    let unresolved = world.site.outside.plan().unwrap().json["wants"].clone();
    assert_eq!(unresolved.as_array().unwrap().len(), 2, "{unresolved}");
    let file = row(&unresolved, "elsewhere.example/tool")["reason"].as_str().unwrap();
    assert!(file.contains("write `files: [{url: \"https://elsewhere.example/tool\""), "{file}");

    let stick = world.site.outside.export().unwrap();
    inside.import(&stick).unwrap();
    wait_for(&server, "/pypi/simple/gamma/");
    let left = inside.agent.run(&["wants"]).unwrap().json["wants"].clone();
    let left: Vec<&str> =
        left.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(left, ["elsewhere.example/tool", "nosuchpackage"]);
    assert_eq!(inside.status()["wants"], 2);
}

#[test]
fn apt_installs_after_the_import_what_its_log_said_it_lacks() {
    if !Client::AptGet.usable() {
        return;
    }
    let world = world();
    let inside = &world.site.inside;
    let server = inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("{}/apt/debian-13", server.url);
    let apt = Apt::new(folder.path(), &uri, "trixie", &apt_key(&server));
    assert_eq!(apt.update().exit_code, 0);
    let failed = apt.download(&["tcpdump"]);
    assert_eq!(failed.exit_code, 100, "{}", failed.stdout);
    let log = inside.agent.folder.join("apt.log");
    fs::write(&log, failed.stdout + &failed.stderr).unwrap();
    let told = inside.agent.run(&["want", "--from-log", log.to_str().unwrap()]).unwrap().json;
    assert_eq!(told["wants"], json!([{"kind": "deb", "name": "tcpdump", "state": "new"}]));
    assert_eq!(row(&synced(&world), "tcpdump")["state"], "resolved");
    inside.import(&world.site.outside.export().unwrap()).unwrap();
    let deb = Deb::new("tcpdump", "4.99.3-1").depends("libpcap0.8 (>= 1.9)");
    for _ in 0..100 {
        if apt.update().exit_code == 0 && apt.download(&["tcpdump"]).exit_code == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let archives = apt.archives();
    assert_eq!(archives.len(), 2, "{archives:?}");
    assert_eq!(sha256(&fs::read(&archives[1]).unwrap()), sha256(&deb.make()));
}

#[test]
fn what_was_wanted_once_stays_carried_until_it_is_dismissed() {
    let world = world();
    let (inside, outside) = (&world.site.inside, &world.site.outside);
    inside.agent.run(&["want", "deb", "tcpdump", "--target", "debian-13"]).unwrap();
    inside.agent.run(&["want", "deb", "socat", "--target", "debian-12"]).unwrap();
    let wants = synced(&world);
    let reason = row(&wants, "socat")["reason"].as_str().unwrap();
    assert_eq!(reason, "no apt line of the waybill is for debian-12; write one");
    inside.import(&outside.export().unwrap()).unwrap();
    // The inside has it, so its inventory is silent about it: two syncs later it is still there.
    for _ in 0..3 {
        assert_eq!(row(&synced(&world), "tcpdump")["state"], "resolved");
        assert_eq!(planned(&world), []);
        let plan = outside.plan().unwrap().json;
        assert_eq!(plan["removed"], 0, "{plan}");
    }
    let sites = outside.agent.run(&["wants", "prod"]).unwrap().json["sites"].clone();
    assert_eq!(row(&sites[0]["wants"], "tcpdump")["state"], "resolved");
    let status = outside.agent.run(&["status"]).unwrap().json;
    assert_eq!(status["sites"][0]["wants_unresolved"].as_array().unwrap().len(), 1, "{status}");
    let gone = outside.agent.run(&["wants", "--dismiss", "tcpdump"]).unwrap().json;
    assert_eq!(row(&gone["sites"][0]["wants"], "tcpdump")["state"], "dismissed");
    assert_eq!(outside.agent.run(&["wants", "--dismiss", "nothing"]).unwrap_err().exit_code, 1);
    outside.write_waybill(
        &fs::read_to_string(outside.agent.folder.join("waybill.yaml"))
            .unwrap()
            .split_once("spec:\n")
            .map(|(_, spec)| format!("{spec}  keep: 0\n"))
            .unwrap(),
    );
    outside.sync().unwrap();
    assert_eq!(outside.plan().unwrap().json["removed"], 2);
}

#[test]
fn a_site_whose_wants_are_turned_off_is_heard_and_not_followed() {
    let world = world();
    let outside = &world.site.outside;
    let config = outside.agent.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + "\n[site.prod]\nwants = false\n").unwrap();
    world.site.inside.agent.run(&["want", "deb", "tcpdump"]).unwrap();
    assert_eq!(synced(&world), json!([]));
    assert_eq!(row(&outside.plan().unwrap().json["wants"], "tcpdump")["state"], "unresolved");
    assert_eq!(planned(&world), []);
}

#[test]
fn a_playbook_posts_what_its_failed_tasks_lacked() {
    if !Client::AnsiblePlaybook.usable() {
        return;
    }
    let world = world();
    let inside = &world.site.inside;
    let server = inside.serve();
    let plugin = process::run(&mut inside.agent.command(&["want", "--callback-plugin"]));
    assert_eq!(plugin.exit_code, 0, "{}", plugin.stderr);
    let playbook = format!(
        r#"- hosts: localhost
  gather_facts: false
  vars: {{ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  tasks:
    - get_url: {{url: "{upstream}/releases/none", dest: "{dest}"}}
      environment: {{no_proxy: "*"}}
      ignore_errors: true
    - ansible.builtin.shell: |
        echo "ctr: failed to resolve reference \"quay.io/{{{{ item }}}}\": quay.io/{{{{ item }}}}: not found" >&2; exit 1
      loop: ["a/b:1", "a/c:2"]
      ignore_errors: true
    - ansible.builtin.shell: |
        echo "E: Unable to locate package secret"; exit 1
      no_log: true
      ignore_errors: true
    - fail: {{msg: "E: Unable to locate package unrelated"}}
      ignore_errors: true
"#,
        upstream = world.upstream.url(),
        dest = inside.agent.folder.join("none").display(),
    );
    let folder = tempfile::tempdir().unwrap();
    let name_and_text = ("gapferry_wants", plugin.stdout.as_str());
    let played = clients::ansible_with(name_and_text, &playbook, &server.url, folder.path());
    assert_eq!(played.exit_code, 0, "{}{}", played.stdout, played.stderr);
    let listed = inside.agent.run(&["wants"]).unwrap().json["wants"].clone();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    let file = format!("{}/releases/none", world.upstream.host());
    assert_eq!(names, [file.as_str(), "quay.io/a/b:1", "quay.io/a/c:2"], "{}", played.stdout);
    assert_eq!(row(&listed, &file)["client"], "localhost (127.0.0.1)");
    assert!(!played.stderr.contains("gapferry_wants"), "{}", played.stderr);
    let page = String::from_utf8(fetch::get(&server.url).unwrap().body).unwrap();
    assert!(page.contains("quay.io/a/c:2"), "{page}");
}

#[test]
fn a_want_whose_bytes_nobody_gives_keeps_nothing_else_from_coming() {
    let world = world();
    let inside = &world.site.inside.agent;
    for args in [["want", "deb", "tcpdump"], ["want", "pypi", "gamma"]] {
        inside.run(&args).unwrap();
    }
    let pool = "/apt/pool/main/l/libpcap0.8/libpcap0.8_1.10.3-1_amd64.deb";
    for fault in [Fault::Status(404), Fault::FlipBit { at_byte: 90 }] {
        world.upstream.fault(pool, fault);
        let wants = synced(&world);
        assert_eq!(row(&wants, "gamma")["state"], "resolved", "{wants}");
        assert_eq!(row(&wants, "tcpdump")["state"], "unresolved", "{wants}");
        let reason = row(&wants, "tcpdump")["reason"].as_str().unwrap();
        let begin = "deb debian-13/libpcap0.8_1.10.3-1_amd64 cannot be fetched: ";
        assert!(reason.starts_with(begin), "{reason}");
        let names: Vec<String> = planned(&world).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["delta-1.5-py3-none-any.whl", "gamma-2.0-py3-none-any.whl"]);
        let check = world.site.outside.agent.run(&["check"]).unwrap().json;
        assert_eq!(check["missing"], json!([]), "{check}");
        world.upstream.mend();
    }
    let wants = synced(&world);
    assert_eq!(row(&wants, "tcpdump")["state"], "resolved", "{wants}");
    assert_eq!(planned(&world).len(), 4);
}

#[test]
fn a_want_that_is_carried_stays_carried_when_its_upstream_fails() {
    let mut world = world();
    world.site.inside.agent.run(&["want", "deb", "tcpdump"]).unwrap();
    let carried = |world: &World| -> Vec<String> {
        let path = world.site.outside.agent.folder.join("waybill.lock");
        let lock: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let names = lock["artifacts"].as_array().unwrap().iter();
        let names = names.map(|one| one["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.contains("tcpdump") || name.contains("libpcap")).collect()
    };
    let old = ["debian-13/libpcap0.8_1.10.3-1_amd64", "debian-13/tcpdump_4.99.3-1_amd64"];
    assert_eq!(row(&synced(&world), "tcpdump")["state"], "resolved");
    assert_eq!(carried(&world), old);

    world.offer(&goods("4.99.4-1"));
    let pool = "/apt/pool/main/t/tcpdump/tcpdump_4.99.4-1_amd64.deb";
    world.upstream.fault(pool, Fault::Status(404));
    assert_eq!(row(&synced(&world), "tcpdump")["state"], "resolved");
    assert_eq!(carried(&world), old, "nobody gives the new one, so the old one stays");
    world.upstream.mend();
    world.upstream.fault(pool, Fault::Status(503));
    world.site.inventory_home().unwrap();
    let failed = world.site.outside.sync().unwrap_err();
    assert_eq!(failed.exit_code, 4, "it may pass, so nothing is left out: {failed:?}");
    world.upstream.mend();
    assert_eq!(row(&synced(&world), "tcpdump")["state"], "resolved");
    let new = ["debian-13/libpcap0.8_1.10.3-1_amd64", "debian-13/tcpdump_4.99.4-1_amd64"];
    assert_eq!(carried(&world), new);
}

#[test]
fn an_rpm_package_is_wanted_that_needs_one_of_another_repository() {
    let (site, upstream) = (Site::new(), Upstream::start());
    let base = YumRepo::default().with(Rpm::new("bash", "5.1")).with(Rpm::new("libdw", "1.0"));
    let stream = YumRepo::default()
        .with(Rpm::new("vim", "9.0"))
        .with(Rpm::new("strace", "6.2").requires("libdw"));
    upstream.put_yum("base", &base);
    upstream.put_yum("stream", &stream);
    let mut lines = "  yum:\n".to_owned();
    for (name, package) in [("base", "bash"), ("stream", "vim")] {
        lines += &format!(
            "  - {{baseurl: \"{}/yum/{name}\", arch: x86_64, target: el9, insecure: true, \
             packages: [{package}]}}\n",
            upstream.url()
        );
    }
    site.outside.write_waybill(&lines);
    site.carry();
    site.inside.agent.run(&["want", "rpm", "strace", "--target", "el9"]).unwrap();
    site.inventory_home().unwrap();
    let synced = site.outside.sync().unwrap().json;
    assert_eq!(row(&synced["wants"], "strace")["state"], "resolved", "{synced}");
    let plan = site.outside.plan().unwrap().json;
    let new: Vec<_> = plan["new"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(new, ["el9/libdw-1.0-1.x86_64", "el9/strace-6.2-1.x86_64"]);
    assert_eq!(site.outside.agent.run(&["check"]).unwrap().json["missing"], json!([]));
}

#[test]
fn a_check_finds_what_a_want_would_miss() {
    let world = world();
    world.site.inside.agent.run(&["want", "deb", "tcpdump"]).unwrap();
    synced(&world);
    let agent = &world.site.outside.agent;
    assert_eq!(agent.run(&["check"]).unwrap().json["missing"], json!([]));
    let locks = fs::read_dir(agent.home().join("locks/test")).unwrap();
    let locks = locks.map(|entry| entry.unwrap().path());
    let newest = locks.filter(|path| path.extension().is_some_and(|end| end == "lock")).max();
    let path = newest.unwrap();
    let mut lock: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let artifacts = lock["artifacts"].as_array_mut().unwrap();
    artifacts.retain(|one| !one["name"].as_str().unwrap().contains("/libpcap0.8_"));
    fs::write(&path, lock.to_string()).unwrap();
    let failure = agent.run(&["check"]).unwrap_err();
    let missing = &failure.json()["missing"];
    assert_eq!(failure.exit_code, 2, "{failure:?}");
    assert_eq!((&missing[0]["name"], missing.as_array().unwrap().len()), (&json!("libpcap0.8"), 1));
    assert!(missing[0]["needed_by"].as_str().unwrap().starts_with("tcpdump"), "{missing}");
}
