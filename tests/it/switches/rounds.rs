//! What each client does over and over: it looks for what is new, and fetches it.
//!
//! A round gives the SHA-256, in hex, of all that the client got.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tests::{
    clients::{self, Apt, Client, Dnf, Helm},
    fixtures::sha256,
    process::Finished,
};

use super::goods::World;

/// One round of one client; it may be called again and again.
pub type Round = Box<dyn FnMut() -> Vec<String> + Send>;

/// A server as clients reach it, and what they trust.
#[derive(Clone)]
pub struct Place {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The key that vouches for the repositories.
    pub key: String,
    /// Where clients find the chart repository, below the root.
    charts: String,
    /// The file, below the root.
    tool: String,
}

impl Place {
    pub fn new(world: &World, url: &str, key: &str) -> Self {
        let host = world.upstream.host();
        Self {
            url: url.to_owned(),
            key: key.to_owned(),
            charts: format!("/helm/{host}/stable"),
            tool: format!("/files/{host}/files/tool"),
        }
    }

    fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub fn apt(&self, home: &Path) -> Apt {
        Apt::new(home, &format!("{}/apt/debian-13", self.url), "trixie", &self.key)
    }

    pub fn dnf(&self, home: &Path) -> Dnf {
        Dnf::new(home, &format!("{}/yum/el9", self.url), &[&self.key])
    }

    /// The round of a client in a home of its own; none where this machine lacks it.
    pub fn round(&self, client: Client, home: PathBuf) -> Option<Round> {
        if !client.usable() {
            return None;
        }
        fs::create_dir_all(&home).unwrap();
        let place = self.clone();
        Some(match client {
            Client::AptGet => {
                let apt = self.apt(&home);
                Box::new(move || {
                    done(&apt.update());
                    apt_debs(&apt)
                })
            }
            Client::Dnf => {
                let dnf = self.dnf(&home);
                Box::new(move || {
                    done(&dnf.run(&["--refresh", "makecache"]));
                    dnf_rpms(&dnf)
                })
            }
            Client::Pip => Box::new(move || {
                let folder = emptied(&home.join("taken"));
                done(&clients::pip_download(&place.url, &["alpha"], &folder));
                digests(&folder, 2)
            }),
            Client::Helm => place.helm(&home),
            Client::Skopeo => Box::new(move || {
                let folder = emptied(&home.join("layout"));
                done(&clients::skopeo_copy(place.host(), "demo/app:latest", &folder));
                let index = fs::read(folder.join("index.json")).unwrap();
                let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
                let root = index["manifests"][0]["digest"].as_str().unwrap();
                vec![root["sha256:".len()..].to_owned()]
            }),
            Client::Crane => Box::new(move || {
                let finished = clients::crane_digest(place.host(), "demo/app:latest", &home);
                vec![done(&finished).stdout.trim()["sha256:".len()..].to_owned()]
            }),
            Client::Curl => Box::new(move || {
                let folder = emptied(&home.join("taken"));
                let url = format!("{}{}", place.url, place.tool);
                done(&clients::curl(&url, &folder.join("tool"), &home));
                digests(&folder, 1)
            }),
            other => panic!("{other:?} takes nothing here"),
        })
    }

    fn helm(&self, home: &Path) -> Round {
        let helm = Helm::new(home);
        done(&helm.run(&["repo", "add", "site", &format!("{}{}", self.url, self.charts)]));
        let folder = home.join("taken");
        Box::new(move || {
            emptied(&folder);
            done(&helm.run(&["repo", "update"]));
            done(&helm.run(&["pull", "site/web", "-d", "taken"]));
            digests(&folder, 1)
        })
    }
}

/// Downloads what the lists name that apt has, afresh.
pub fn apt_debs(apt: &Apt) -> Vec<String> {
    for deb in apt.archives() {
        fs::remove_file(deb).unwrap();
    }
    done(&apt.download(&["app"]));
    let debs = apt.archives();
    assert_eq!(debs.len(), 2, "{debs:?}");
    debs.iter().map(|deb| sha256(&fs::read(deb).unwrap())).collect()
}

/// Downloads what the metadata name that dnf has, afresh.
pub fn dnf_rpms(dnf: &Dnf) -> Vec<String> {
    let folder = emptied(&dnf.taken());
    done(&dnf.run(&["download", "--resolve", "--destdir", folder.to_str().unwrap(), "app"]));
    digests(&folder, 2)
}

pub fn done(finished: &Finished) -> &Finished {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
    finished
}

fn emptied(folder: &Path) -> PathBuf {
    let _absent = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    folder.to_owned()
}

/// The digests of the files of a folder, of which there must be so many.
fn digests(folder: &Path, count: usize) -> Vec<String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file());
    let digests: Vec<String> = files.map(|path| sha256(&fs::read(path).unwrap())).collect();
    assert_eq!(digests.len(), count, "{}", folder.display());
    digests
}
