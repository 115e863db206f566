//! The world outside: one server on 127.0.0.1 that is file server, package index, apt
//! repository and registry at once, counts what it is asked, and misbehaves when told to.
//!
//! In:   fixtures, put at any time; faults, switched at any time.
//! Out:  HTTP answers, and the list of requests seen.
//!
//! The server runs on a thread of its own and ends with the value.

mod answer;
mod fault;
mod pypi;
mod registry;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, extract::State, http::Request, response::Response};
use bytes::Bytes;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

pub use fault::Fault;
use fault::Rule;
pub use pypi::Switches;

use crate::fixtures::{AptRepo, Content, Image, PypiFile, YumRepo};

/// A running server.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    stop: Option<oneshot::Sender<()>>,
}

/// One request as it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    /// What it was answered, before the body.
    pub status: u16,
}

/// All that the server has and knows.
#[derive(Debug, Default)]
struct Shelf {
    resources: BTreeMap<String, Resource>,
    pypi: Vec<PypiFile>,
    switches: Switches,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// What a registry's token must be, when it wants one.
    token: Option<String>,
    /// Paths below which a user and password are asked for, as `user:password`.
    guarded: BTreeMap<String, String>,
}

/// What stands at one path.
#[derive(Clone, Debug)]
struct Resource {
    body: Body,
    media_type: &'static str,
    /// `Docker-Content-Digest`, for a registry.
    digest: Option<String>,
}

#[derive(Clone, Debug)]
enum Body {
    Bytes(Bytes),
    Seeded(Content),
}

impl Body {
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Seeded(content) => content.len_bytes,
        }
    }
}

impl Upstream {
    /// Starts an empty server on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When the machine has no port or no thread to give.
    pub fn start() -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can wait elsewhere");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback(answer_request).with_state(Arc::clone(&shelf));
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a bound socket");
                let serve = async { axum::serve(listener, router).await };
                tokio::select! { _ = serve => {}, _ = stopped => {} }
            });
        });
        Self { address, shelf, stop: Some(stop) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The URL of `path`, with a user and password in it.
    pub fn url_with_login(&self, login: &str, path: &str) -> String {
        format!("http://{login}@{}{path}", self.address)
    }

    /// Puts bytes at a path, `/files/tool`.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        self.put_resource(path, Body::Bytes(bytes.into()));
    }

    /// Puts content of any length at a path.
    pub fn put_content(&self, path: &str, content: Content) {
        self.put_resource(path, Body::Seeded(content));
    }

    fn put_resource(&self, path: &str, body: Body) {
        let resource = Resource { body, media_type: "application/octet-stream", digest: None };
        self.shelf().resources.insert(path.to_owned(), resource);
    }

    /// Offers a file on `/simple/`.
    pub fn put_pypi(&self, file: PypiFile) {
        self.put(&pypi::path(&file), file.bytes.clone());
        self.put(&format!("{}.metadata", pypi::path(&file)), file.metadata.clone());
        let mut shelf = self.shelf();
        shelf.pypi.retain(|old| old.filename != file.filename);
        shelf.pypi.push(file);
    }

    /// How `/simple/` shows itself.
    pub fn set_index(&self, switches: Switches) {
        self.shelf().switches = switches;
    }

    /// Offers a repository below `/apt`; what was there before stays reachable.
    pub fn put_apt(&self, repo: &AptRepo) {
        for (path, bytes) in repo.files() {
            self.put(&format!("/apt/{path}"), bytes);
        }
    }

    /// Offers a repository of rpm packages at `/yum/<name>`.
    pub fn put_yum(&self, name: &str, repo: &YumRepo) {
        for (path, bytes) in repo.files() {
            self.put(&format!("/yum/{name}/{path}"), bytes);
        }
    }

    /// Offers an image as `127.0.0.1:PORT/<repository>:<tag>`.
    pub fn put_image(&self, repository: &str, tag: &str, image: &Image) {
        self.shelf().resources.extend(registry::resources(repository, tag, image));
    }

    /// Offers an artifact that refers to `image`; the artifact.
    pub fn put_referrer(&self, repository: &str, image: &Image, artifact_type: &str) -> Image {
        let referrer = image.referrer(artifact_type, b"what it says");
        let mut shelf = self.shelf();
        shelf.resources.extend(registry::resources(repository, "", &referrer));
        shelf.resources.extend(registry::referrers(repository, image, artifact_type, &referrer));
        drop(shelf);
        referrer
    }

    /// Offers an image of [`Image::of_content`] with its layer.
    pub fn put_image_of_content(&self, repository: &str, tag: &str, content: Content) -> Image {
        let image = Image::of_content(content);
        self.put_image(repository, tag, &image);
        self.put_content(&format!("/v2/{repository}/blobs/sha256:{}", content.sha256()), content);
        image
    }

    /// Asks for a token, given out at `/token`, before anything of the registry.
    pub fn demand_token(&self, token: &str) {
        self.shelf().token = Some(token.to_owned());
    }

    /// Asks for `user:password` below `prefix`.
    pub fn guard(&self, prefix: &str, login: &str) {
        self.shelf().guarded.insert(prefix.to_owned(), login.to_owned());
    }

    /// Misbehaves on every request whose path starts with `prefix`.
    pub fn fault(&self, prefix: &str, fault: Fault) {
        self.fault_times(prefix, fault, u32::MAX);
    }

    /// Misbehaves on the next `times` requests whose path starts with `prefix`.
    pub fn fault_times(&self, prefix: &str, fault: Fault, times: u32) {
        self.shelf().rules.push(Rule { prefix: prefix.to_owned(), fault, times });
    }

    /// Behaves again.
    pub fn mend(&self) {
        self.shelf().rules.clear();
    }

    /// The requests since the start or the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shelf().seen)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn answer_request(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    request: Request<axum::body::Body>,
) -> Response {
    let answer = lock(&shelf).answer(&request.into_parts().0);
    answer.send()
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
