//! A site with three generations in which something of every kind differs.

use std::collections::BTreeMap;

use serde_json::json;
use tests::{
    Content, Site, Upstream,
    fixtures::{
        AptRepo, Deb, Image, PypiFile, Rpm, Wheel, YumRepo,
        deb::{append, gzip},
        sha256,
    },
};

/// How many generations there are, numbered from 1.
pub const GENERATIONS: u64 = 3;

/// The site, and to which generation everything belongs that a client may get.
pub struct World {
    pub upstream: Upstream,
    pub site: Site,
    /// By SHA-256 in hex.
    generations: BTreeMap<String, u64>,
}

/// What one generation brings. An `app` needs the library of its own generation.
struct Goods {
    number: u64,
    tool: Vec<u8>,
    debs: Vec<Deb>,
    rpms: Vec<Rpm>,
    wheels: Vec<PypiFile>,
    chart: Vec<u8>,
    image: Image,
}

impl Goods {
    fn new(number: u64) -> Self {
        let version = format!("{number}.0");
        let content = |seed: u64| Content::new(100 * number + seed, 100_000).bytes();
        let lib = format!("lib (= {version})");
        let wheel = |name: &str| Wheel::new(name, &version).payload(content(3));
        Self {
            number,
            tool: content(1),
            debs: vec![
                Deb::new("app", &version).depends(&lib).payload(content(2)),
                Deb::new("lib", &version),
            ],
            rpms: vec![
                Rpm::new("app", &version).requires(&format!("lib-{number}")),
                Rpm::new("lib", &version).provides(&format!("lib-{number}")),
            ],
            wheels: vec![
                wheel("alpha").requires(&format!("beta=={version}")).make(),
                wheel("beta").make(),
            ],
            chart: chart(&version),
            image: Image::new(&content(4)),
        }
    }

    fn digests(&self) -> Vec<String> {
        let debs = self.debs.iter().map(Deb::make);
        let rpms = self.rpms.iter().map(Rpm::make);
        let files = debs.chain(rpms).chain([self.tool.clone(), self.chart.clone()]);
        let digests = files.map(|bytes| sha256(&bytes));
        let wheels = self.wheels.iter().map(PypiFile::sha256);
        digests.chain(wheels).chain([self.image.root["sha256:".len()..].to_owned()]).collect()
    }

    fn offer(&self, world: &World, apt: &mut AptRepo) {
        let upstream = &world.upstream;
        upstream.put("/files/tool", self.tool.clone());
        self.wheels.iter().for_each(|wheel| upstream.put_pypi(wheel.clone()));
        apt.debs.clone_from(&self.debs);
        upstream.put_apt(apt);
        upstream.put_yum("el9", &self.rpms.iter().cloned().fold(YumRepo::default(), YumRepo::with));
        upstream.put_image("demo/app", "latest", &self.image);
        let (name, digest) = (format!("web-{}.0.0.tgz", self.number), sha256(&self.chart));
        let entry = json!({
            "apiVersion": "v2", "name": "web", "version": format!("{}.0.0", self.number),
            "created": "2026-01-01T00:00:00Z", "digest": digest, "urls": [name],
        });
        let index = json!({"apiVersion": "v1", "entries": {"web": [entry]}});
        upstream.put("/stable/index.yaml", index.to_string());
        upstream.put(&format!("/stable/{name}"), self.chart.clone());
        world.site.outside.write("upstream.asc", apt.public_key());
        world.site.outside.write_waybill(&self.waybill(upstream));
    }

    fn waybill(&self, upstream: &Upstream) -> String {
        let (url, host, number) = (upstream.url(), upstream.host(), self.number);
        let tool = sha256(&self.tool);
        format!(
            r#"  files: [{{url: "{url}/files/tool", sha256: {tool}}}]
  pypi: [{{packages: ["alpha=={number}.0"], python: ["3.11"], index: "{url}/simple/"}}]
  apt:
    - {{uri: "{url}/apt", suite: trixie, components: [main], architectures: [amd64],
       packages: [app], signedBy: upstream.asc, target: debian-13}}
  yum:
    - {{baseurl: "{url}/yum/el9", arch: x86_64, releasever: "9", packages: [app],
       target: el9, insecure: true}}
  charts: [{{repo: "{url}/stable", name: web, version: "{number}.0.0"}}]
  images: [{{ref: "{host}/demo/app:latest", insecure: true}}]
"#
        )
    }
}

fn chart(version: &str) -> Vec<u8> {
    let text = format!("apiVersion: v2\nname: web\nversion: {version}.0\n");
    let mut tar = tar::Builder::new(vec![]);
    append(&mut tar, "web/Chart.yaml", text.as_bytes());
    gzip(&tar.into_inner().unwrap())
}

impl World {
    /// A site to which all generations were carried; the last is served.
    pub fn new() -> Self {
        let mut apt = AptRepo::new("trixie");
        let (upstream, site) = (Upstream::start(), Site::new());
        let mut world = Self { upstream, site, generations: BTreeMap::new() };
        for number in 1..=GENERATIONS {
            let goods = Goods::new(number);
            goods.offer(&world, &mut apt);
            world.site.carry();
            world.generations.extend(goods.digests().into_iter().map(|digest| (digest, number)));
        }
        assert_eq!(world.site.inside.generation(), GENERATIONS);
        world
    }

    /// The one generation that all these bytes are of, by their SHA-256 in hex.
    pub fn generation(&self, digests: &[String]) -> u64 {
        let numbers: Vec<_> = digests.iter().map(|digest| self.generations.get(digest)).collect();
        match numbers[..] {
            [Some(first), ..] if numbers.iter().all(|number| *number == Some(first)) => *first,
            _ => panic!("of several generations, or of none: {numbers:?}"),
        }
    }
}
