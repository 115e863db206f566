//! Servers of a site: real ones, and such that misbehave.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    http::{Request, Response},
};
use tests::clients;
use tokio::runtime::Runtime;

/// A program that serves until it is dropped.
pub struct Daemon {
    pub child: Child,
    pub host: String,
}

impl Daemon {
    /// Starts a program, and waits until it takes connections at `host`.
    pub fn start(command: &mut Command, host: String) -> Self {
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

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_host() -> String {
    format!("127.0.0.1:{}", tests::process::free_port())
}

/// Whether a program is there; CI brings all.
pub fn usable(program: &str) -> bool {
    let required = env::var("GAPFERRY_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    let found = clients::find(program).is_some();
    assert!(found || !required, "{program} is missing");
    if !found {
        let _closed = io::stderr().write_all(format!("skipped: no {program}\n").as_bytes());
    }
    found
}

/// Debian's registry: without the referrers API.
pub fn docker_registry(folder: &Path, htpasswd: Option<&str>) -> Daemon {
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
pub fn registry_with_referrers(folder: &Path) -> Daemon {
    let host = free_host();
    Daemon::start(clients::clean("registry-referrers", folder).arg(&host), host)
}

/// nginx with what `server` says beside its address.
pub fn nginx(folder: &Path, server: &str) -> Daemon {
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

pub fn is_root() -> bool {
    env::var("USER").map_or(true, |user| user == "root")
}

/// A proxy that cuts or stalls what goes up.
pub struct Proxy {
    pub host: String,
    /// Bytes that went up.
    pub sent: Arc<AtomicU64>,
    rule: Arc<Rule>,
}

#[derive(Default)]
pub struct Rule {
    /// After so many bytes of one connection; 0 is never.
    after: AtomicU64,
    /// How many connections are cut; the others stall.
    cuts: AtomicU64,
    stalls: AtomicBool,
}

impl Proxy {
    pub fn start(target: &str) -> Self {
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

    pub fn cut_after(&self, bytes: u64, times: u64) {
        self.rule.cuts.store(times, Ordering::Relaxed);
        self.rule.after.store(bytes, Ordering::Relaxed);
    }

    pub fn stall_after(&self, bytes: u64) {
        self.rule.stalls.store(true, Ordering::Relaxed);
        self.rule.after.store(bytes, Ordering::Relaxed);
    }

    pub fn behave(&self) {
        self.rule.after.store(0, Ordering::Relaxed);
        self.rule.stalls.store(false, Ordering::Relaxed);
    }
}

pub fn up(mut client: TcpStream, mut server: TcpStream, counter: &AtomicU64, rule: &Rule) {
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
pub fn text(path: &Path) -> String {
    let path: PathBuf = path.to_owned();
    path.into_os_string().into_string().unwrap()
}

/// A registry behind a gate that wants a token, each of which is good for a few requests only.
///
/// Everything else goes on to the registry behind it, and to it alone.
pub struct TokenGate {
    pub host: String,
    /// The scopes that tokens were asked for with.
    pub scopes: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Gate {
    host: String,
    registry: String,
    login: &'static str,
    /// How many requests the last token is good for, and how many there were.
    tokens: Arc<Mutex<(u64, u64)>>,
    scopes: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

impl TokenGate {
    pub fn start(registry: &str, login: &'static str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let scopes = Arc::<Mutex<Vec<String>>>::default();
        let gate = Gate {
            host: host.clone(),
            registry: registry.to_owned(),
            login,
            tokens: Arc::default(),
            scopes: Arc::clone(&scopes),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let router = axum::Router::new().fallback(pass).with_state(gate);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { host, scopes, _runtime: runtime }
    }
}

async fn pass(State(gate): State<Gate>, request: Request<Body>) -> Response<Body> {
    let authorization = request.headers().get("authorization").cloned();
    let authorization = authorization.and_then(|value| value.to_str().ok().map(str::to_owned));
    let authorization = authorization.unwrap_or_default();
    if request.uri().path() == "/token" {
        return gate.token(request.uri().query().unwrap_or_default(), &authorization);
    }
    if !gate.opens(&authorization) {
        let way = format!("Bearer realm=\"http://{}/token\",service=\"gate\"", gate.host);
        let response = Response::builder().status(401).header("www-authenticate", way);
        return response.body(Body::empty()).unwrap();
    }
    gate.forward(request).await
}

impl Gate {
    fn token(&self, query: &str, authorization: &str) -> Response<Body> {
        let expected = data_encoding::BASE64.encode(self.login.as_bytes());
        if authorization != format!("Basic {expected}") {
            return Response::builder().status(401).body(Body::empty()).unwrap();
        }
        self.scopes.lock().unwrap().push(query.to_owned());
        let mut tokens = self.tokens.lock().unwrap();
        *tokens = (4, tokens.1 + 1);
        Response::new(Body::from(format!("{{\"token\":\"number-{}\"}}", tokens.1)))
    }

    fn opens(&self, authorization: &str) -> bool {
        let mut tokens = self.tokens.lock().unwrap();
        let is_last = authorization == format!("Bearer number-{}", tokens.1);
        let opens = is_last && 0 < tokens.0;
        tokens.0 -= u64::from(opens);
        opens
    }

    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let url = format!("http://{}{}", self.registry, parts.uri);
        let mut headers = parts.headers;
        headers.remove("authorization");
        let asked = self.client.request(parts.method, url).headers(headers).body(body);
        let answer = asked.send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
    }
}

/// A WebDAV server in memory: a file goes into a folder that somebody has made.
pub struct Dav {
    pub host: String,
    _runtime: Runtime,
}

type Tree = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

impl Dav {
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = axum::Router::new().fallback(dav).with_state(Tree::default());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { host, _runtime: runtime }
    }
}

async fn dav(State(tree): State<Tree>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let path = parts.uri.path().to_owned();
    let folder = path.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
    let mut tree = tree.lock().unwrap();
    let has_folder = folder.is_empty() || tree.contains_key(&format!("{folder}/"));
    let (status, body) = match (parts.method.as_str(), tree.get(&path)) {
        ("MKCOL", Some(_)) => (405, vec![]),
        ("PUT" | "MKCOL", _) if !has_folder => (409, vec![]),
        ("PUT" | "MKCOL", _) => {
            tree.insert(path, body);
            (201, vec![])
        }
        (_, Some(bytes)) => (200, bytes.clone()),
        (_, None) => (404, vec![]),
    };
    Response::builder().status(status).body(Body::from(body)).unwrap()
}
