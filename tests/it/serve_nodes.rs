//! Nodes pull images by the names that they have upstream: containerd by `hosts.toml`, podman by
//! `registries.conf`. What was carried once is pulled after every switch, forward and back.

use serde_json::Value;
use tests::{
    Site,
    clients::{Client, Containerd, Podman},
    fixtures::Image,
    process::Finished,
    site::Server,
};

use crate::push::wait_for_generation;

const REGISTRY: &str = "registry.k8s.io";
const OLD: &str = "v1.33.1";
const NEW: &str = "v1.34.2";
/// A version that was never carried.
const ABSENT: &str = "v1.35.0";

/// kube-proxy of one version, for two architectures.
fn kube_proxy(version: &str) -> Image {
    Image::new(format!("kube-proxy {version}").as_bytes())
}

/// Carries kube-proxy of one version and no other: `keep: 0`.
fn carry(site: &Site, version: &str) {
    let layout = site.path(version);
    kube_proxy(version).write_layout(&layout, version).unwrap();
    site.outside.write_waybill(&format!(
        "  keep: 0\n  images: [{{ref: \"oci:{}:{version}\", \
         as: \"{REGISTRY}/kube-proxy:{version}\"}}]\n",
        layout.display()
    ));
    site.carry();
}

/// Both versions by tag and by digest, and the digest that each has.
fn references() -> Vec<(String, String)> {
    let both = |version| {
        let root = kube_proxy(version).root;
        let name = format!("{REGISTRY}/kube-proxy");
        [(format!("{name}:{version}"), root.clone()), (format!("{name}@{root}"), root)]
    };
    [OLD, NEW].into_iter().flat_map(both).collect()
}

fn ok(finished: &Finished, context: &str) {
    let Finished { exit_code, stdout, stderr, .. } = finished;
    assert_eq!(*exit_code, 0, "{stdout}{stderr}\n{context}");
}

/// Runs `pull` after a switch to the second generation, after a rollback to the first, and after
/// going forward again; it is told what the state is called. Each time every image is fetched
/// from the server by tag and by digest, layers and all.
fn at_every_generation(pull: impl Fn(&Site, &Server) -> Box<dyn Fn(&str)>) {
    let site = Site::new();
    carry(&site, OLD);
    let server = site.inside.serve_with_access_log();
    let pull = pull(&site, &server);
    carry(&site, NEW);
    wait_for_generation(&server, 2);
    pull("switched");
    site.inside.rollback(1).unwrap();
    wait_for_generation(&server, 1);
    pull("rolled-back");
    site.inside.rollback(2).unwrap();
    wait_for_generation(&server, 2);
    pull("forward-again");
    let asked = server.asked();
    for version in [OLD, NEW] {
        let blobs = kube_proxy(version).blobs;
        let layer = blobs.iter().find(|(_, bytes)| bytes.starts_with(&[0x1f, 0x8b])).unwrap().0;
        let fetched = asked.iter().filter(|asked| {
            asked.starts_with("GET ") && asked.ends_with(&format!("/kube-proxy/blobs/{layer}"))
        });
        assert_eq!(fetched.count(), 2 * 3, "{version}: {asked:#?}");
    }
    // Or a client that gave up before it asked would pass for one that was told no.
    let refused = statuses(&server, &format!("/kube-proxy/manifests/{ABSENT}"));
    assert!(3 <= refused.len() && refused.iter().all(|status| *status == 404), "{refused:?}");
}

/// The statuses of all requests for addresses that end so.
fn statuses(server: &Server, end: &str) -> Vec<u64> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let meant = lines.filter(|line| {
        line["target"] == "access"
            && line["fields"]["path"].as_str().is_some_and(|path| path.ends_with(end))
    });
    meant.map(|line| line["fields"]["status"].as_u64().unwrap()).collect()
}

fn containerd_pulls_old_and_new(client: Client) {
    if !client.usable() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    at_every_generation(|_, server| {
        let node = Containerd::start(client, folder.path(), REGISTRY, &server.url);
        Box::new(move |state| {
            for (at, (reference, digest)) in references().iter().enumerate() {
                let namespace = format!("{state}-{at}");
                ok(&node.pull(&namespace, reference), &node.log());
                assert_eq!(node.images(&namespace), [format!("{reference} {digest}")]);
            }
            let absent = node.pull(state, &format!("{REGISTRY}/kube-proxy:{ABSENT}"));
            assert_ne!(absent.exit_code, 0, "what was never carried was found elsewhere");
        })
    });
}

#[test]
fn containerd_1_pulls_old_and_new_after_a_switch_and_after_a_rollback() {
    containerd_pulls_old_and_new(Client::Containerd);
}

#[test]
fn containerd_2_pulls_old_and_new_after_a_switch_and_after_a_rollback() {
    containerd_pulls_old_and_new(Client::Containerd2);
}

#[test]
fn podman_pulls_old_and_new_after_a_switch_and_after_a_rollback() {
    if !Client::Podman.usable() {
        return;
    }
    at_every_generation(|site, server| {
        // podman does not say which registry it means, so the mirror's name has it.
        let mirror = format!("{}/{REGISTRY}", server.host());
        let podman = Podman::new(&site.path("podman"), REGISTRY, &mirror);
        Box::new(move |_| {
            for (reference, digest) in references() {
                ok(&podman.pull(&reference), "");
                assert_eq!(podman.digest(&reference), digest, "{reference}");
                ok(&podman.clear(), "");
            }
            let absent = podman.pull(&format!("{REGISTRY}/kube-proxy:{ABSENT}"));
            assert_ne!(absent.exit_code, 0, "what was never carried was found elsewhere");
        })
    });
}
