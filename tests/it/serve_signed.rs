//! Signatures that cosign makes cross the gap, and cosign finds and believes them inside.

use std::path::{Path, PathBuf};

use tests::{
    Site,
    clients::{self, Client},
    fixtures::Image,
    process::{self, Finished},
};

use crate::publish_to::servers::{Daemon, registry_with_referrers};

/// cosign with two pairs of keys, in a folder of its own.
struct Cosign {
    folder: PathBuf,
}

impl Cosign {
    fn new(folder: &Path) -> Self {
        let cosign = Self { folder: folder.to_owned() };
        for name in ["team", "foreign"] {
            let prefix = format!("--output-key-prefix={name}");
            ok(&cosign.run(&["generate-key-pair", &prefix]));
        }
        cosign
    }

    /// Signs `image` by its digest, into a bundle that refers to it or below a tag beside it.
    fn sign(&self, image: &str, bundle: bool) {
        let bundle = format!("--new-bundle-format={bundle}");
        let settings = ["--use-signing-config=false", "--tlog-upload=false", "--yes", &bundle];
        let sign = ["sign", "--key=team.key", "--allow-http-registry", image];
        ok(&self.run(&[&sign[..], &settings].concat()));
    }

    /// The log of signatures is on a network that a site has not.
    fn verify(&self, key: &str, image: &str) -> Finished {
        let key = format!("--key={key}.pub");
        let settings = ["--allow-http-registry", "--insecure-ignore-tlog=true"];
        self.run(&[&["verify", &key, image][..], &settings].concat())
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut cosign = clients::clean("cosign", &self.folder);
        process::run(cosign.env("COSIGN_PASSWORD", "").args(arguments))
    }
}

fn ok(finished: &Finished) {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
}

/// Puts an image into a registry, and gives its name by digest.
fn push(registry: &Daemon, image: &Image, repository: &str, folder: &Path) -> String {
    let layout = folder.join(repository.replace('/', "-"));
    image.write_layout(&layout, "1").unwrap();
    let name = format!("{}/{repository}", registry.host);
    let mut skopeo = clients::clean("skopeo", folder);
    skopeo.args(["--insecure-policy", "copy", "--all", "--dest-tls-verify=false"]);
    skopeo.args([format!("oci:{}:1", layout.display()), format!("docker://{name}:1")]);
    ok(&process::run(&mut skopeo));
    format!("{name}@{}", image.root)
}

#[test]
fn cosign_verifies_inside_what_it_signed_outside() {
    let used = [Client::Cosign, Client::Skopeo, Client::RegistryReferrers];
    if !used.into_iter().all(Client::usable) {
        return;
    }
    let site = Site::new();
    let folder = tempfile::tempdir().unwrap();
    let cosign = Cosign::new(folder.path());
    let upstream = registry_with_referrers(folder.path());
    let images = [("demo/bundle", true), ("demo/tag", false)];
    for (repository, bundle) in images {
        let image = Image::new(repository.as_bytes());
        cosign.sign(&push(&upstream, &image, repository, folder.path()), bundle);
    }
    let unsigned = Image::new(b"unsigned");
    push(&upstream, &unsigned, "demo/unsigned", folder.path());

    let key = folder.path().join("team.pub");
    site.outside.write("team.pub", std::fs::read(key).unwrap());
    let host = &upstream.host;
    site.outside.write_waybill(&format!(
        "  images:\n    - {{ref: \"{host}/demo/bundle:1\", insecure: true}}\n    \
         - {{ref: \"{host}/demo/tag:1\", insecure: true, require: {{cosignKey: team.pub}}}}\n    \
         - {{ref: \"{host}/demo/unsigned:1\", insecure: true}}\n"
    ));
    site.carry();
    drop(upstream);
    let server = site.inside.serve();
    for (repository, _) in images {
        for reference in [":1", &format!("@{}", Image::new(repository.as_bytes()).root)] {
            let image = format!("{}/{repository}{reference}", server.host());
            ok(&cosign.verify("team", &image));
            let refused = cosign.verify("foreign", &image);
            assert_ne!(refused.exit_code, 0, "{image}: another key was believed");
        }
    }
    let refused = cosign.verify("team", &format!("{}/demo/unsigned:1", server.host()));
    assert_ne!(refused.exit_code, 0, "an image without signature was believed");
}
