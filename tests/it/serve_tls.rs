//! TLS, passwords and the old layout, as real clients see them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    clients::{self, Apt, Client, clean},
    fixtures::sha256,
    process::{self, Finished},
    site::{APT_KEY_PATH, Agent, Server},
    tls,
};

use crate::world::{Goods, World};

/// TLS by the site's own CA, and nothing for strangers but how to begin.
const TLS: &str = "[tls]\nmode = \"site-ca\"\nnames = [\"admin.lan\"]";
const LOGIN: &str = "[[access]]\npath = \"/\"\nusers = [\"node\", \"apt\"]\n\
                     [[access]]\npath = \"/keys/\"\nanonymous = true";

/// A site that was supplied once and serves as `config` says, with the user `node`.
fn world(config: &str) -> World {
    let world = World::new();
    world.site.carry();
    world.site.inside.configure(config);
    add_user(&world.site.inside.agent, "node", "pass word");
    world
}

fn add_user(agent: &Agent, name: &str, password: &str) {
    let mut command = agent.command(&["users", "add", name, "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The CA's certificate in a file, as `ca --to` writes it.
fn ca_file(world: &World) -> PathBuf {
    let path = world.site.path("site-ca.crt");
    world.site.inside.agent.run(&["ca", "--to", path.to_str().unwrap()]).unwrap();
    path
}

fn done(finished: &Finished) -> &Finished {
    assert_eq!(finished.exit_code, 0, "{}\n{}", finished.stdout, finished.stderr);
    finished
}

/// Status and version of HTTP that curl sees.
fn curl(home: &Path, args: &[&str], url: &str) -> (String, Finished) {
    let mut curl = clean("curl", home);
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
    curl.args(["--output", "body", "--write-out", "%{http_version} %{http_code}"]);
    let finished = process::run(curl.args(args).arg(url));
    (finished.stdout.clone(), finished)
}

#[test]
fn real_clients_fetch_over_tls_with_a_login_and_not_without() {
    let world = world(&format!("{TLS}\n{LOGIN}"));
    let server = world.site.inside.serve();
    let ca = ca_file(&world);
    let folder = |name: &str| {
        let folder = world.site.path(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    if Client::Curl.usable() {
        fetch_by_curl(&world, &server, &ca, &folder("curl"));
    }
    if Client::Pip.usable() {
        fetch_by_pip(&server, &ca, &folder("pip"), &folder("pip-stranger"));
    }
    if Client::AptGet.usable() {
        // apt's file of passwords knows no quotes, so this one is without a space.
        add_user(&world.site.inside.agent, "apt", "word");
        thread::sleep(Duration::from_secs(1));
        fetch_by_apt(&server, &ca, &folder("apt"), &folder("apt-stranger"));
    }
    if Client::Skopeo.usable() {
        fetch_by_skopeo(&server, &ca, &folder("skopeo"));
    }
}

fn fetch_by_curl(world: &World, server: &Server, ca: &Path, home: &Path) {
    let path = format!("/files/{}/files/tool", world.upstream.host());
    let url = format!("{}{path}", server.url);
    let ca = ca.to_str().unwrap();
    let login = ["--cacert", ca, "--user", "node:pass word"];
    assert_eq!(curl(home, &login, &url).0, "2 200");
    assert_eq!(sha256(&fs::read(home.join("body")).unwrap()), world.expected[&path]);
    assert_eq!(curl(home, &[&login[..], &["--http1.1"]].concat(), &url).0, "1.1 200");
    assert_eq!(
        curl(home, &[&login[..], &["--tlsv1.2", "--tls-max", "1.2"]].concat(), &url).0,
        "2 200"
    );
    assert_eq!(curl(home, &["--cacert", ca], &url).0, "2 401");
    assert_eq!(curl(home, &[], &url).1.exit_code, 60, "a stranger's CA is not believed");
    let port = server.host().rsplit_once(':').unwrap().1;
    let resolve = format!("admin.lan:{port}:127.0.0.1");
    let named = ["--cacert", ca, "--resolve", &resolve];
    assert_eq!(curl(home, &named, &format!("https://admin.lan:{port}/healthz")).0, "2 200");
    let other = resolve.replace("admin", "other");
    let unnamed = ["--cacert", ca, "--resolve", &other];
    let answer = curl(home, &unnamed, &format!("https://other.lan:{port}/healthz"));
    assert_eq!(answer.1.exit_code, 60, "a name that is not in the certificate is not believed");
    assert_eq!(curl(home, &login, &format!("{}/", server.url)).0, "2 200");
    let page = fs::read_to_string(home.join("body")).unwrap();
    let line = format!("--index-url {}/pypi/simple/", server.url);
    assert!(page.contains(&line), "over HTTP/2 the page knows its host\n{page}");
    let part = [&login[..], &["--range", "1000-1999"]].concat();
    assert_eq!(curl(home, &part, &url).0, "2 206");
    assert_eq!(fs::read(home.join("body")).unwrap(), Goods::first().tool[1000..2000]);
}

fn fetch_by_pip(server: &Server, ca: &Path, home: &Path, stranger: &Path) {
    let pip = |user: &str, folder: &Path| {
        let mut pip = clean("python3", folder);
        pip.args(["-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check"]);
        pip.args(["download", "--no-input", "--retries", "0", "--dest", "."]);
        let index = format!("https://{user}{}/pypi/simple/", server.host());
        process::run(pip.arg("--cert").arg(ca).args(["--index-url", &index, "alpha==1.0"]))
    };
    done(&pip("node:pass%20word@", home));
    let wheel = fs::read(home.join("alpha-1.0-py3-none-any.whl")).unwrap();
    assert_eq!(sha256(&wheel), Goods::first().wheels[0].sha256());
    assert_ne!(pip("", stranger).exit_code, 0);
}

fn fetch_by_apt(server: &Server, ca: &Path, home: &Path, stranger: &Path) {
    let key = process::run(
        clean("curl", home)
            .args(["-sk", "--noproxy", "*"])
            .arg(format!("{}{APT_KEY_PATH}", server.url)),
    );
    let apt = |folder: &Path, login: &str| {
        let uri = format!("{}/apt/debian-13", server.url);
        let apt = Apt::new(folder, &uri, "trixie", &done(&key).stdout);
        let netrc = folder.join("netrc");
        fs::write(&netrc, login).unwrap();
        let path = folder.join("apt.conf");
        let settings = format!(
            "Acquire::https::CaInfo \"{}\";\nAcquire::https::Proxy \"false\";\n\
             Dir::Etc::netrc \"{}\";\nDir::Etc::netrcparts \"/dev/null\";\n",
            ca.display(),
            netrc.display()
        );
        fs::write(&path, fs::read_to_string(&path).unwrap() + &settings).unwrap();
        apt
    };
    let ours = apt(home, "machine https://127.0.0.1 login apt password word\n");
    done(&ours.update());
    done(&ours.download(&["socat"]));
    assert_eq!(ours.archives().len(), 2);
    assert_ne!(apt(stranger, "").update().exit_code, 0);
}

fn fetch_by_skopeo(server: &Server, ca: &Path, home: &Path) {
    let certs = home.join("certs");
    fs::create_dir_all(&certs).unwrap();
    fs::copy(ca, certs.join("ca.crt")).unwrap();
    let copy = |creds: &[&str]| {
        let mut skopeo = clean("skopeo", home);
        skopeo.args(["--insecure-policy", "copy", "--all", "--src-cert-dir"]).arg(&certs);
        let from = format!("docker://{}/demo/app:1.0", server.host());
        process::run(skopeo.args(creds).args([&from, "oci:layout:copy"]))
    };
    assert!(
        copy(&[]).stderr.contains("unauthorized") || copy(&[]).stderr.contains("authentication")
    );
    assert_ne!(copy(&["--src-creds", "node:wrong"]).exit_code, 0);
    done(&copy(&["--src-creds", "node:pass word"]));
    let blobs = fs::read_dir(home.join("layout/blobs/sha256")).unwrap().count();
    let image = Goods::first().image;
    assert_eq!(blobs, image.blobs.len() + image.manifests.len());
}

#[test]
fn the_ca_is_printed_written_and_served_and_one_and_the_same() {
    let world = world(TLS);
    let agent = &world.site.inside.agent;
    let before = agent.run(&["ca"]).unwrap().json;
    assert_eq!(
        (&before["server"], &before["not_after"]),
        (&Value::Null, &json!("2099-12-31T00:00:00Z"))
    );
    let server = world.site.inside.serve();
    let after = agent.run(&["ca"]).unwrap().json;
    assert_eq!(before["pem"], after["pem"]);
    assert_eq!(after["names"], json!(["127.0.0.1", "::1", "admin.lan", "localhost"]));
    let printed = process::run(&mut agent.command(&["ca"]));
    assert_eq!(done(&printed).stdout, after["pem"].as_str().unwrap());
    let ca = ca_file(&world);
    assert_eq!(fs::read_to_string(&ca).unwrap(), printed.stdout);
    if Client::Curl.usable() {
        let url = format!("{}/keys/ca.pem", server.url);
        assert_eq!(curl(&agent.folder, &["--cacert", ca.to_str().unwrap()], &url).0, "2 200");
        assert_eq!(fs::read_to_string(agent.folder.join("body")).unwrap(), printed.stdout);
    }
    if Client::Openssl.usable() {
        let mut openssl = clean("openssl", &agent.folder);
        openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&ca);
        let shown = done(&process::run(&mut openssl)).stdout.to_lowercase().replace(':', "");
        let ours = after["fingerprint"].as_str().unwrap().trim_start_matches("sha256:");
        assert!(shown.contains(ours), "{shown} {ours}");
    }
}

#[test]
fn users_are_listed_changed_and_removed_under_a_running_server() {
    let world = world(LOGIN);
    let agent = &world.site.inside.agent;
    add_user(agent, "b", "x");
    assert_eq!(agent.run(&["users", "list"]).unwrap().json, json!({"users": ["b", "node"]}));
    assert_eq!(agent.run(&["users", "add", "c"]).unwrap_err().exit_code, 1, "no terminal");
    assert_eq!(agent.run(&["users", "add", "a:b"]).unwrap_err().exit_code, 1);
    assert_eq!(agent.run(&["users", "remove", "c"]).unwrap_err().exit_code, 1);
    if !Client::Curl.usable() {
        return;
    }
    let server = world.site.inside.serve();
    let url = format!("{}/pypi/simple/", server.url);
    let status = |login: &str| curl(&agent.folder, &["--user", login], &url).0;
    let becomes = |login: &str, expected: &str| {
        let began = Instant::now();
        while status(login) != expected {
            assert!(began.elapsed() < Duration::from_secs(20), "{login} is not {expected}");
            thread::sleep(Duration::from_millis(200));
        }
    };
    assert_eq!(status("node:pass word"), "1.1 200");
    assert_eq!(status("b:x"), "1.1 403");
    add_user(agent, "node", "another");
    becomes("node:another", "1.1 200");
    assert_eq!(status("node:pass word"), "1.1 401");
    agent.run(&["users", "remove", "node"]).unwrap();
    becomes("node:another", "1.1 401");
    assert!(server.log().contains("no TLS"), "{}", server.log());
    assert!(!server.log().contains("another") && !server.log().contains("$2"), "{}", server.log());
}

#[test]
fn whoever_guesses_passwords_has_to_wait_and_everybody_else_does_not() {
    if !Client::Curl.usable() {
        return;
    }
    let world = world("[[access]]\npath = \"/files/\"\nusers = [\"node\"]");
    let server = world.site.inside.serve();
    let home = &world.site.inside.agent.folder;
    let ask = |n: usize, path: &str| {
        let folder = home.join(n.to_string());
        fs::create_dir_all(&folder).unwrap();
        curl(&folder, &["--user", &format!("node:{n}")], &format!("{}{path}", server.url)).0
    };
    let began = Instant::now();
    let guesses = thread::scope(|scope| {
        let guesses: Vec<_> = (0..12).map(|n| scope.spawn(move || ask(n, "/files/"))).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect::<Vec<_>>()
    });
    let wrong = guesses.iter().filter(|status| *status == "1.1 401").count();
    let told_to_wait = guesses.iter().filter(|status| *status == "1.1 429").count();
    assert_eq!((wrong + told_to_wait, (10..=11).contains(&wrong)), (12, true), "{guesses:?}");
    assert!(Duration::from_secs(1) <= began.elapsed());
    let (right, login) = (format!("{}/files/", server.url), ["--user", "node:pass word"]);
    assert_eq!(curl(home, &[&login[..], &["--dump-header", "head"]].concat(), &right).0, "1.1 429");
    assert!(fs::read_to_string(home.join("head")).unwrap().contains("retry-after: "));
    let registry = curl(home, &login, &format!("{}/v2/", server.url));
    let body: Value = serde_json::from_slice(&fs::read(home.join("body")).unwrap()).unwrap();
    assert_eq!((&*registry.0, &body["errors"][0]["code"]), ("1.1 429", &json!("TOOMANYREQUESTS")));
    assert_eq!(curl(home, &[], &format!("{}/pypi/simple/", server.url)).0, "1.1 200");
    assert_eq!(curl(home, &login, &format!("{}/healthz", server.url)).0, "1.1 200");
}

#[test]
fn a_given_certificate_is_exchanged_under_a_running_server_and_a_broken_one_is_not() {
    if !Client::Curl.usable() || !Client::Openssl.usable() {
        return;
    }
    let world = world("[tls]\nmode = \"files\"\ncert = \"tls/cert.pem\"\nkey = \"tls/key.pem\"");
    let agent = &world.site.inside.agent;
    let refused = process::run(&mut agent.command(&["serve", "--listen", "127.0.0.1:0"]));
    assert_eq!(refused.exit_code, 1, "{}", refused.stderr);
    let folder = agent.home().join("tls");
    fs::create_dir_all(&folder).unwrap();
    let [first, second] = ["first", "second"].map(|name| tls::self_signed(&folder, name));
    let install = |[cert, key]: &[PathBuf; 2]| {
        fs::copy(cert, folder.join("cert.pem")).unwrap();
        fs::copy(key, folder.join("key.pem")).unwrap();
    };
    install(&first);
    let server = world.site.inside.serve();
    let url = format!("{}/healthz", server.url);
    let shows = |pair: &[PathBuf; 2]| {
        curl(&agent.folder, &["--cacert", pair[0].to_str().unwrap()], &url).0 == "2 200"
    };
    assert!(shows(&first) && !shows(&second));
    fs::write(folder.join("key.pem"), "nonsense").unwrap();
    let began = Instant::now();
    while !server.log().contains("the old one stays") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
    assert!(shows(&first));
    install(&second);
    let began = Instant::now();
    while !shows(&second) {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
    assert!(!shows(&first));
}

#[test]
fn slow_heads_end_and_long_addresses_are_refused_while_others_are_served() {
    if !Client::Curl.usable() {
        return;
    }
    let world = world(TLS);
    let server = world.site.inside.serve();
    let ca = ca_file(&world);
    let home = &world.site.inside.agent.folder;
    let answer = |args: &[&str], url: &str| {
        curl(home, &[&["--cacert", ca.to_str().unwrap()], args].concat(), url)
    };
    let healthz = format!("{}/healthz", server.url);
    let long = format!("{}/files/{}", server.url, "a".repeat(100_000));
    assert_eq!(answer(&["--http1.1"], &long).0, "1.1 414");
    assert_eq!(answer(&[], &long[..50_000]).0, "2 414");
    // What is over 64 KiB curl itself does not send over HTTP/2, as do most clients.
    assert!(["0 000", "2 414", "2 431"].contains(&&*answer(&[], &long).0));
    let header = format!("x: {}", "a".repeat(100_000));
    assert_eq!(answer(&["--http1.1", "--header", &header], &healthz).0, "1.1 431");
    assert_eq!(answer(&[], &healthz).0, "2 200");
    let plain = Server::of_command(
        &world.site.inside.agent,
        world.site.inside.agent.command(&["serve", "--listen", "127.0.0.1:0", "-o", "json"]),
    );
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut socket = TcpStream::connect(plain.host()).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").unwrap();
            socket
        })
        .collect();
    let began = Instant::now();
    while !slow.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(90), "{} are open", slow.len());
        assert_eq!(answer(&[], &format!("{}/healthz", plain.url)).0, "2 200"); // beside them
        thread::sleep(Duration::from_secs(2));
        slow.retain_mut(|socket| {
            socket.write_all(b"x: y\r\n").is_ok()
                && socket.read(&mut [0; 512]).is_err_and(|e| {
                    matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    )
                })
        });
    }
}

#[test]
fn nodes_of_kubespray_offline_find_what_they_know() {
    let world = world(&format!(
        "aliases = true\n[listen]\nmain = \"127.0.0.1:0\"\nregistry = []\n\
         kubespray_offline = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n{TLS}"
    ));
    let agent = &world.site.inside.agent;
    let server = Server::of_command(agent, agent.command(&["serve", "-o", "json"]));
    let [main, web, registry] = &server.urls[..] else { panic!("{:?}", server.urls) };
    assert!(main.starts_with("https://") && web.starts_with("http://"), "{:?}", server.urls);
    let folder = |name: &str| {
        let folder = world.site.path(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    if Client::Curl.usable() {
        let file = folder("curl").join("tool");
        done(&clients::curl(&format!("{web}/files/tool"), &file, &folder("curl")));
        assert_eq!(sha256(&fs::read(file).unwrap()), sha256(&Goods::first().tool));
    }
    if Client::Pip.usable() {
        let home = folder("pip");
        let mut pip = clean("python3", &home);
        pip.args([
            "-m",
            "pip",
            "--isolated",
            "--no-cache-dir",
            "download",
            "--no-input",
            "--dest",
            ".",
        ]);
        done(&process::run(pip.args(["--index-url", &format!("{web}/pypi/"), "alpha==1.0"])));
        assert!(home.join("beta-2.0-py3-none-any.whl").exists());
    }
    if Client::AptGet.usable() {
        let home = folder("apt");
        let apt = Apt::new(&home, "http://unused.example", "trixie", "");
        let source = format!("Types: deb\nURIs: {web}/debs/local/\nSuites: ./\nTrusted: yes\n");
        fs::write(home.join("sources/site.sources"), source).unwrap();
        let settings = "Acquire::AllowInsecureRepositories \"true\";\n\
                        APT::Get::AllowUnauthenticated \"true\";\n";
        let path = home.join("apt.conf");
        fs::write(&path, fs::read_to_string(&path).unwrap() + settings).unwrap();
        apt.update();
        done(&apt.download(&["socat"]));
        assert_eq!(apt.archives().len(), 2);
    }
    if Client::Skopeo.usable() {
        let host = registry.trim_start_matches("http://");
        done(&clients::skopeo_copy(host, "demo/app:1.0", &folder("skopeo")));
    }
}

#[test]
fn each_request_is_one_line_of_the_log_when_it_is_asked_for() {
    if !Client::Curl.usable() {
        return;
    }
    let world = world("");
    let agent = &world.site.inside.agent;
    let start = |filter: Option<&str>| {
        let args = ["serve", "--listen", "127.0.0.1:0", "-o", "json", "--log-format", "json"];
        let mut command: Command = agent.command(&args);
        if let Some(filter) = filter {
            command.env("GAPFERRY_LOG", filter);
        }
        Server::of_command(agent, command)
    };
    let lines = |server: &Server| -> Vec<Value> {
        let url = format!("{}/pypi/simple/?token=hush", server.url);
        assert_eq!(curl(&agent.folder, &["--user", "node:pass word"], &url).0, "1.1 200");
        thread::sleep(Duration::from_millis(300));
        let log = server.log();
        assert!(!log.contains("hush") && !log.contains("pass word"), "{log}");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "access").collect()
    };
    assert_eq!(lines(&start(None)), Vec::<Value>::new());
    let logged = lines(&start(Some("warn,access=info")));
    let [line] = &logged[..] else { panic!("{logged:?}") };
    let fields = &line["fields"];
    let shown = ["client", "user", "method", "path", "status"].map(|field| fields[field].clone());
    let expected =
        ["127.0.0.1".into(), "node".into(), "GET".into(), "/pypi/simple/".into(), json!(200)];
    assert_eq!(shown, expected, "{line}");
    assert_ne!(fields["bytes"], 0);
}
