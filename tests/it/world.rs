//! An upstream and a site with a waybill of all four kinds, as most tests need them.

use std::collections::BTreeMap;

use tests::{
    Content, Site, Upstream,
    fixtures::{AptRepo, Deb, Image, PypiFile, Wheel, sha256},
};

/// An upstream, a site that is supplied from it, and what the site shall serve.
pub struct World {
    pub upstream: Upstream,
    pub site: Site,
    repo: AptRepo,
    /// SHA-256 in hex by path below the inside's root.
    pub expected: BTreeMap<String, String>,
}

/// What one round brings.
pub struct Goods {
    pub tool: Vec<u8>,
    pub wheels: Vec<PypiFile>,
    pub debs: Vec<Deb>,
    pub image: Image,
    /// `requirements` and apt packages of the waybill.
    pub requirement: &'static str,
}

impl Goods {
    /// The first round: version 1 of everything.
    pub fn first() -> Self {
        Self {
            tool: tool(1),
            wheels: vec![
                Wheel::new("alpha", "1.0").requires("beta>=2").payload(tool(11)).make(),
                Wheel::new("beta", "2.0").make(),
            ],
            debs: vec![
                Deb::new("socat", "1.7.4-4").depends("libwrap0 (>= 7.6)").payload(tool(21)),
                Deb::new("libwrap0", "7.6.q-32"),
            ],
            image: Image::new(&tool(31)),
            requirement: "alpha==1.0",
        }
    }

    /// The second: new versions, in which little is new.
    pub fn second() -> Self {
        let mut goods = Self::first();
        goods.tool[600_000..600_100].fill(7);
        goods.wheels.push(Wheel::new("alpha", "1.1").requires("beta>=2").make());
        goods.debs[0].version = "1.7.4-5".to_owned();
        goods.requirement = "alpha==1.1";
        goods
    }
}

fn tool(seed: u64) -> Vec<u8> {
    Content::new(seed, 1 << 20).bytes()
}

impl World {
    /// An upstream with the goods of the first round, and a site whose waybill asks for them.
    pub fn new() -> Self {
        let mut world = Self {
            upstream: Upstream::start(),
            site: Site::new(),
            repo: AptRepo::new("trixie"),
            expected: BTreeMap::new(),
        };
        world.offer(&Goods::first());
        world
    }

    /// Another site that asks the same upstream for the same.
    pub fn twin(&self, goods: &Goods) -> Site {
        let site = Site::new();
        self.write_waybill(&site, goods);
        site
    }

    /// Puts goods upstream, and asks for them.
    pub fn offer(&mut self, goods: &Goods) {
        self.upstream.put("/files/tool", goods.tool.clone());
        goods.wheels.iter().for_each(|wheel| self.upstream.put_pypi(wheel.clone()));
        self.repo.debs.clone_from(&goods.debs);
        self.upstream.put_apt(&self.repo);
        self.upstream.put_image("demo/app", "1.0", &goods.image);
        self.write_waybill(&self.site, goods);
        self.expected = self.paths(goods);
    }

    /// Writes a waybill for `goods`.
    pub fn write_waybill(&self, site: &Site, goods: &Goods) {
        site.outside.write("upstream.asc", self.repo.public_key());
        let (url, host) = (self.upstream.url(), self.upstream.host());
        let (sha256, requirement) = (sha256(&goods.tool), goods.requirement);
        site.outside.write_waybill(&format!(
            r#"  files: [{{url: "{url}/files/tool", sha256: {sha256}}}]
  pypi: [{{packages: ["{requirement}"], python: ["3.11"], index: "{url}/simple/"}}]
  apt:
    - {{uri: "{url}/apt", suite: trixie, components: [main], architectures: [amd64],
       packages: [socat], signedBy: upstream.asc, target: debian-13}}
  images: [{{ref: "{host}/demo/app:1.0", insecure: true}}]
"#
        ));
    }

    fn paths(&self, goods: &Goods) -> BTreeMap<String, String> {
        let host = self.upstream.host();
        let mut paths = BTreeMap::from([
            (format!("/files/{host}/files/tool"), sha256(&goods.tool)),
            ("/v2/demo/app/manifests/1.0".to_owned(), goods.image.root[7..].to_owned()),
        ]);
        for digest in goods.image.blobs.keys() {
            paths.insert(format!("/v2/demo/app/blobs/{digest}"), digest[7..].to_owned());
        }
        for digest in goods.image.manifests.keys() {
            paths.insert(format!("/v2/demo/app/manifests/{digest}"), digest[7..].to_owned());
        }
        paths
    }
}
