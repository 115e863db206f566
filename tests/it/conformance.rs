//! The OCI conformance suite finds nothing to complain of: of what is carried, and of pushes.

use std::{collections::BTreeMap, fs, path::Path};

use tests::{
    Site, Upstream,
    clients::{self, Client},
    fixtures::Image,
    process,
    site::Server,
};

/// What the suite says of itself, and its whole report.
struct Report {
    counts: BTreeMap<String, u64>,
    text: String,
}

impl Report {
    /// Runs the suite. Its exit code says nothing: without pushes it fails after the report.
    fn of(server: &Server, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut suite = clients::clean("oci-conformance", folder);
        suite.env("OCI_REGISTRY", server.host()).env("OCI_TLS", "disabled");
        suite.env("OCI_LOG", "error").env("OCI_RESULTS_DIR", folder.join("results"));
        let text = process::run(suite.envs(settings.iter().copied())).stdout;
        let table = text.split("OCI Conformance Result").nth(1).expect("the suite has reported");
        let rows = table.lines().skip(1).take_while(|line| !line.trim().is_empty());
        let count = |line: &str| {
            let (name, count) = line.split_once(':')?;
            Some((name.trim().trim_end_matches('.').to_owned(), count.trim().parse().ok()?))
        };
        let counts = rows.filter_map(count).collect();
        Self { counts, text }
    }

    fn count(&self, name: &str) -> u64 {
        *self.counts.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.counts))
    }

    /// Nothing failed, and at least `pass` checks passed.
    fn assert_clean(&self, pass: u64) {
        let clean = self.count("FAIL") == 0 && self.count("Error") == 0;
        assert!(clean && pass <= self.count("Pass"), "{}", self.text);
        println!("{:?}", self.counts);
    }
}

/// As version 1.1: with the draft's, the suite demands a header of answers that it does not read
/// in this mode. That header is looked at here.
#[test]
fn what_is_carried_conforms() {
    if !Client::OciConformance.usable() {
        return;
    }
    let (upstream, site) = (Upstream::start(), Site::new());
    let images = [Image::new(b"one"), Image::new(b"two")];
    upstream.put_image("demo/app", "1.0", &images[0]);
    upstream.put_image("demo/app", "1.1", &images[1]);
    upstream.put_image("demo/app", "latest", &images[1]);
    upstream.put_referrer("demo/app", &images[0], "application/vnd.test.signature");
    let host = upstream.host();
    let line = |tag| format!("    - {{ref: \"{host}/demo/app:{tag}\", insecure: true}}\n");
    let lines = ["1.0", "1.1", "latest"].map(line).concat();
    site.outside.write_waybill(&format!("  images:\n{lines}"));
    site.carry();
    let server = site.inside.serve();
    let listed = server.get(&format!("/v2/demo/app/referrers/{}", images[0].root));
    assert!(String::from_utf8_lossy(&listed.body).contains("vnd.test.signature"), "{listed:?}");
    let all =
        |digests: Vec<&String>| digests.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(" ");
    let manifests = all(images.iter().flat_map(|image| image.manifests.keys()).collect());
    let blobs = all(images.iter().flat_map(|image| image.blobs.keys()).collect());
    for root in images.iter().map(|image| &image.root) {
        let answer = server.get(&format!("/v2/demo/app/manifests/{root}"));
        assert_eq!(answer.header("docker-content-digest"), root);
    }
    let folder = tempfile::tempdir().unwrap();
    let report = Report::of(
        &server,
        folder.path(),
        &[
            ("OCI_VERSION", "1.1"),
            ("OCI_API_PUSH", "false"),
            ("OCI_API_BLOBS_DELETE", "false"),
            ("OCI_API_MANIFESTS_DELETE", "false"),
            ("OCI_API_TAGS_DELETE", "false"),
            ("OCI_REPO1", "demo/app"),
            ("OCI_RO_DATA_TAGS", "1.0 1.1 latest"),
            ("OCI_RO_DATA_MANIFESTS", &manifests),
            ("OCI_RO_DATA_BLOBS", &blobs),
            ("OCI_RO_DATA_REFERRERS", &images[0].root),
        ],
    );
    report.assert_clean(30);
}

/// Every category is on, also those that the suite leaves off: what the specification's draft
/// adds, and manifests whose blobs are missing, which the prefix allows here.
#[test]
fn pushes_conform_in_every_category() {
    if !Client::OciConformance.usable() {
        return;
    }
    let site = Site::new();
    site.inside.allow_push("apps/", "1GB", true);
    let server = site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let report = Report::of(
        &server,
        folder.path(),
        &[
            ("OCI_VERSION", "dev"),
            ("OCI_DATA_SPARSE", "true"),
            ("OCI_REPO1", "apps/conformance/one"),
            ("OCI_REPO2", "apps/conformance/two"),
            ("OCI_USERNAME", "ci"),
            ("OCI_PASSWORD", "secret"),
        ],
    );
    report.assert_clean(1000);
    assert_eq!((report.count("Skip"), report.count("Disabled")), (0, 0), "{}", report.text);
    let local = site.inside.agent.home().join("state/local");
    let left: Vec<_> = fs::read_dir(local.join("apps/conformance/one/_tags")).unwrap().collect();
    assert!(left.is_empty(), "the suite deletes what it pushes: {left:?}");
}
