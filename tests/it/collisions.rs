//! Two things of one name are told outside, before anything is carried.

use serde_json::{Value, json};
use tests::{
    Site, Upstream,
    fixtures::{AptRepo, Deb, Image},
    site::{Failure, Outcome},
};

/// What `plan`, `check`, an export and a try of one say of collisions, and how each ended.
fn told(site: &Site) -> Vec<(Value, i32)> {
    let stick = site.outside.stick.to_str().unwrap().to_owned();
    let export = ["export", "--site", "prod", "--to", &stick];
    let dry_run = [&export[..], &["--dry-run"]].concat();
    let commands: [&[&str]; 4] = [&["plan"], &["check"], &dry_run, &export];
    let ended = |outcome: Result<Outcome, Failure>| match outcome {
        Ok(outcome) => (outcome.json["collisions"].clone(), 0),
        Err(failure) => (failure.json()["collisions"].clone(), failure.exit_code),
    };
    commands.map(|command| ended(site.outside.agent.run(command))).into()
}

#[test]
fn images_that_are_called_the_same_without_their_registry_are_told_and_served_with_it() {
    let site = Site::new();
    let images = [Image::new(b"one"), Image::new(b"other")];
    let mut upstreams = [Upstream::start(), Upstream::start()];
    upstreams.sort_by_key(Upstream::host);
    let mut lines = String::new();
    for (upstream, image) in upstreams.iter().zip(&images) {
        upstream.put_image("demo/app", "1.0", image);
        lines += &format!("    - {{ref: \"{}/demo/app:1.0\", insecure: true}}\n", upstream.host());
    }
    site.outside.write_waybill(&format!("  images:\n{lines}"));
    site.outside.sync().unwrap();
    let contents = upstreams.iter().zip(&images).map(|(upstream, image)| {
        json!({"artifact": format!("{}/demo/app:1.0", upstream.host()), "digest": image.root})
    });
    let collision = json!([{
        "kind": "image", "name": "demo/app:1.0", "answer": "with-registry-only",
        "contents": contents.collect::<Vec<_>>(),
    }]);
    for (collisions, exit_code) in told(&site) {
        assert_eq!((&collisions, exit_code), (&collision, 0));
    }

    site.carry();
    let server = site.inside.serve();
    assert_eq!(server.get("/v2/demo/app/manifests/1.0").status, 404);
    for (upstream, image) in upstreams.iter().zip(&images) {
        let host = upstream.host();
        for path in [
            format!("/v2/{host}/demo/app/manifests/1.0"),
            format!("/v2/demo/app/manifests/1.0?ns={host}"),
        ] {
            assert_eq!(server.get(&path).body, image.manifests[&image.root].1, "{path}");
        }
    }
}

#[test]
fn packages_of_one_address_keep_an_export_from_being_made() {
    let site = Site::new();
    let upstreams = [Upstream::start(), Upstream::start()];
    let mut lines = String::new();
    for (upstream, version) in upstreams.iter().zip(["1.0", "1:1.0"]) {
        let repo = AptRepo::new("trixie").with(Deb::new("socat", version));
        upstream.put_apt(&repo);
        let key = format!("{}.asc", upstream.host());
        site.outside.write(&key, repo.public_key());
        lines += &format!(
            "    - {{uri: \"{}/apt\", suite: trixie, components: [main], architectures: [amd64], \
             packages: [socat], signedBy: \"{key}\", target: debian-13}}\n",
            upstream.url()
        );
    }
    site.outside.write_waybill(&format!("  apt:\n{lines}"));
    site.outside.sync().unwrap();
    let told = told(&site);
    let codes: Vec<_> = told.iter().map(|(_, exit_code)| *exit_code).collect();
    assert_eq!(codes, [0, 3, 3, 3], "{told:?}");
    for (collisions, _) in told {
        let [collision] = &collisions.as_array().unwrap()[..] else { panic!("{collisions}") };
        assert_eq!(collision["name"], "/apt/debian-13/pool/main/s/socat/socat_1.0_amd64.deb");
        assert_eq!(collision["answer"], "refused");
        let artifacts = [0, 1].map(|at| collision["contents"][at]["artifact"].clone());
        assert_eq!(artifacts, ["debian-13/socat_1.0_amd64", "debian-13/socat_1:1.0_amd64"]);
    }
    assert!(!site.outside.stick.join("gapferry").exists(), "nothing was carried");
}
