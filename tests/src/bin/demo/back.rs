//! Fetches everything back from the inside, by real clients where there are any, and compares.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use tests::{
    clients::{self, Apt, Client},
    fetch,
    fixtures::sha256,
    process::Finished,
    site::{APT_KEY_PATH, Server},
};

/// What the site was promised.
#[derive(Debug)]
pub struct Goods {
    pub tool_path: String,
    pub tool_sha256: String,
    pub image: String,
    pub image_root: String,
    pub requirements: Vec<String>,
    pub debs: &'static [&'static str],
    /// Whether the packages are a distribution's, which expect its base system below them.
    pub debs_need_base: bool,
    pub architecture: String,
}

impl Goods {
    pub fn fetch(&self, server: &Server, folder: &Path) -> anyhow::Result<()> {
        let sub = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path).map(|()| path)
        };
        self.fetch_tool(server, &sub("files")?)?;
        self.fetch_image(server, &sub("image")?)?;
        self.fetch_wheels(server, &sub("wheels")?)?;
        self.fetch_debs(server, &sub("debs")?)
    }

    fn fetch_tool(&self, server: &Server, folder: &Path) -> anyhow::Result<()> {
        let url = format!("{}{}", server.url, self.tool_path);
        let fetched = if Client::Curl.present() {
            println!("$ curl -O {url}");
            let file = folder.join("tool");
            done(&clients::curl(&url, &file, folder))?;
            sha256(&fs::read(&file)?)
        } else {
            fetch::sha256(&url)?.1
        };
        same("the file", &fetched, &self.tool_sha256)
    }

    fn fetch_image(&self, server: &Server, folder: &Path) -> anyhow::Result<()> {
        let (host, image) = (server.host(), &self.image);
        let root = if Client::Skopeo.present() {
            println!("$ skopeo copy --all docker://{host}/{image} oci:copy");
            done(&clients::skopeo_copy(host, image, folder))?;
            let index: serde_json::Value =
                serde_json::from_slice(&fs::read(folder.join("index.json"))?)?;
            index["manifests"][0]["digest"].as_str().unwrap_or_default().to_owned()
        } else if Client::Crane.present() {
            println!("$ crane digest {host}/{image}");
            let finished = clients::crane_digest(host, image, folder);
            done(&finished)?;
            finished.stdout.trim().to_owned()
        } else {
            let (repository, tag) = image.split_once(':').context("an image has a tag")?;
            let answer = server.get(&format!("/v2/{repository}/manifests/{tag}"));
            format!("sha256:{}", sha256(&answer.body))
        };
        same("the image", &root, &self.image_root)
    }

    /// pip itself compares each file with the digest that the index gives; the index's digests
    /// are those that upstream gave.
    fn fetch_wheels(&self, server: &Server, folder: &Path) -> anyhow::Result<()> {
        if Client::Pip.present() {
            let requirements = self.requirements.iter().map(String::as_str).collect::<Vec<_>>();
            println!(
                "$ pip download --index-url {}/pypi/simple/ {}",
                server.url,
                requirements.join(" ")
            );
            done(&clients::pip_download(&server.url, &requirements, folder))?;
            println!("{} wheels, dependencies included", fs::read_dir(folder)?.count());
            return Ok(());
        }
        for requirement in &self.requirements {
            let project = requirement.split('=').next().unwrap_or_default();
            let page = format!("{}/pypi/simple/{project}/", server.url);
            ensure!(fetch::get(&page)?.status == 200, "{page} is not there");
        }
        Ok(())
    }

    fn fetch_debs(&self, server: &Server, folder: &Path) -> anyhow::Result<()> {
        let root = format!("{}/apt/nodes", server.url);
        let folder_of_suite = format!("{root}/dists/merged");
        let index = format!("{folder_of_suite}/main/binary-{}/Packages", self.architecture);
        let listed = digests(&String::from_utf8(fetch::get(&index)?.body)?);
        for package in self.debs {
            ensure!(listed.contains_key(*package), "{index} lacks {package}");
        }
        if Client::AptGet.present() {
            let key = String::from_utf8(server.get(APT_KEY_PATH).body)?;
            println!("$ apt-get update && apt-get install --download-only {}", self.debs.join(" "));
            let mut apt = Apt::new(folder, &root, "merged", &key);
            if self.debs_need_base {
                apt = apt.on_base_system();
            }
            done(&apt.update())?;
            done(&apt.download(self.debs))?;
            let archives = apt.archives();
            for archive in &archives {
                let digest = sha256(&fs::read(archive)?);
                ensure!(listed.values().any(|known| *known == digest), "{}", archive.display());
            }
            println!("{} packages, dependencies included", archives.len());
        }
        Ok(())
    }
}

/// SHA-256 by package of a `Packages` file.
fn digests(packages: &str) -> BTreeMap<String, String> {
    let field = |paragraph: &str, name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let row = |p: &str| Some((field(p, "Package:")?, field(p, "SHA256:")?));
    packages.split("\n\n").filter_map(row).collect()
}

fn done(finished: &Finished) -> anyhow::Result<()> {
    if finished.exit_code != 0 {
        bail!("{}{}", finished.stdout, finished.stderr);
    }
    Ok(())
}

fn same(what: &str, fetched: &str, expected: &str) -> anyhow::Result<()> {
    ensure!(fetched == expected, "{what} came back as {fetched}, it went in as {expected}");
    println!("{what}: {expected}, as it went in");
    Ok(())
}
