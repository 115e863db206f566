//! An upstream that says no, is busy, lies or breaks off: each has its exit code.

use tests::{
    Content, Fault, Site, Upstream,
    fixtures::{AptRepo, Deb, Image, Wheel, sha256},
    site::Failure,
    upstream::Switches,
};

const TOOL: Content = Content::new(5, 2 << 20);

/// An upstream with one file, and a site that asks for it.
fn tool() -> (Upstream, Site) {
    let (upstream, site) = (Upstream::start(), Site::new());
    upstream.put_content("/files/tool", TOOL);
    site.outside.write_waybill(&format!(
        "  files: [{{url: \"{}/files/tool\", sha256: {}}}]\n",
        upstream.url(),
        TOOL.sha256()
    ));
    (upstream, site)
}

/// `sync` fails with this code and one sentence; mended, the same command is done.
fn fails_then_mends(upstream: &Upstream, site: &Site, exit_code: i32) -> Failure {
    let failure = site.outside.sync().expect_err("sync took what it must not");
    assert_eq!(failure.exit_code, exit_code, "{failure:?}");
    assert!(!failure.json()["failures"].as_array().unwrap().is_empty(), "{failure:?}");
    upstream.mend();
    site.outside.sync().expect("the same command again failed");
    failure
}

#[test]
fn what_does_not_exist_is_missing() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::Status(404));
    fails_then_mends(&upstream, &site, 2);
}

#[test]
fn what_asks_for_credentials_is_a_matter_of_configuration() {
    for status in [401, 403] {
        let (upstream, site) = tool();
        upstream.fault("/files/", Fault::Status(status));
        fails_then_mends(&upstream, &site, 1);
    }
}

#[test]
fn who_is_busy_is_asked_again_after_a_while() {
    for status in [429, 500, 503] {
        let (upstream, site) = tool();
        upstream.fault_times("/files/", Fault::Status(status), 2);
        site.outside.sync().unwrap_or_else(|failure| panic!("{status}: {failure:?}"));
        let seen = upstream.take_seen();
        assert!(3 <= seen.iter().filter(|s| s.path == "/files/tool").count(), "{seen:?}");
    }
}

#[test]
fn who_stays_broken_is_a_fault() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::Status(500));
    fails_then_mends(&upstream, &site, 4);
}

#[test]
fn who_is_not_there_is_a_fault() {
    let (upstream, site) = tool();
    drop(upstream);
    let failure = site.outside.sync().expect_err("nobody answered");
    assert_eq!(failure.exit_code, 4, "{failure:?}");
}

#[test]
fn a_lie_about_the_digest_is_refused() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::FlipBit { at_byte: 1_000_000 });
    fails_then_mends(&upstream, &site, 3);
}

#[test]
fn a_short_answer_that_claims_to_be_whole_is_refused() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::TooShort { by_bytes: 7 });
    fails_then_mends(&upstream, &site, 3);
}

#[test]
fn an_answer_that_never_comes_to_its_length_is_a_fault() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::TooLong { by_bytes: 7 });
    let failure = site.outside.sync().expect_err("sync took what it must not");
    assert!([3, 4].contains(&failure.exit_code), "{failure:?}");
}

#[test]
fn what_breaks_off_is_resumed_where_it_broke() {
    let (upstream, site) = tool();
    site.outside.agent.run(&["resolve", "-f", "waybill.yaml"]).unwrap();
    upstream.fault_times("/files/", Fault::BreakOff { after_bytes: 1 << 20 }, 1);
    site.outside.agent.run(&["sync", "--locked", "-f", "waybill.yaml"]).unwrap();
    let seen = upstream.take_seen();
    let range = seen.iter().rev().find_map(|s| s.range.clone()).expect("no range was asked for");
    let from: u64 = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!((1..=1 << 20).contains(&from), "{range}");
}

#[test]
fn what_breaks_off_every_time_still_arrives_or_is_a_fault() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::BreakOff { after_bytes: 64 << 10 });
    if let Err(failure) = site.outside.sync() {
        assert_eq!(failure.exit_code, 4, "{failure:?}");
    }
    upstream.mend();
    site.outside.sync().unwrap();
}

#[test]
fn one_failure_does_not_hide_another() {
    let (upstream, site) = tool();
    let row = |name: &str| {
        format!("{{url: \"{}/files/{name}\", sha256: {}}}", upstream.url(), sha256(b"none"))
    };
    site.outside.write_waybill(&format!("  files: [{}, {}]\n", row("one"), row("two")));
    let failure = site.outside.sync().expect_err("neither exists");
    assert_eq!(failure.exit_code, 2, "{failure:?}");
    assert_eq!(failure.json()["failures"].as_array().unwrap().len(), 2, "{failure:?}");
}

#[test]
fn every_form_of_an_index_gives_the_same_wheels() {
    let all = [true, false];
    for (json, metadata) in all.into_iter().flat_map(|json| all.map(|meta| (json, meta))) {
        let (upstream, site) = wheels();
        upstream.set_index(Switches { json, metadata, hashes: true });
        let outcome = site.outside.sync().unwrap();
        assert_eq!(outcome.json["resolved"], 2, "{json} {metadata}: {}", outcome.json);
    }
}

#[test]
fn a_wheel_without_a_digest_over_plain_http_is_refused() {
    let (upstream, site) = wheels();
    upstream.set_index(Switches { hashes: false, ..Switches::default() });
    let failure = site.outside.sync().expect_err("nobody vouched for the bytes");
    assert_ne!(failure.exit_code, 0, "{failure:?}");
}

#[test]
fn a_wheel_that_is_not_what_the_index_says_is_refused() {
    let (upstream, site) = wheels();
    upstream.fault("/packages/beta-2.0-py3-none-any.whl", Fault::FlipBit { at_byte: 100 });
    upstream.set_index(Switches::default());
    fails_then_mends(&upstream, &site, 3);
}

fn wheels() -> (Upstream, Site) {
    let (upstream, site) = (Upstream::start(), Site::new());
    upstream.put_pypi(Wheel::new("alpha", "1.0").requires("beta>=2").make());
    upstream.put_pypi(Wheel::new("beta", "2.0").make());
    let url = upstream.url();
    site.outside.write_waybill(&format!(
        "  pypi: [{{packages: [alpha], python: [\"3.11\"], index: \"{url}/simple/\"}}]\n"
    ));
    (upstream, site)
}

#[test]
fn a_repository_signed_by_another_key_or_lying_is_refused() {
    let mut repo = AptRepo::new("trixie").with(Deb::new("socat", "1.8"));
    let foreign = AptRepo::new("trixie").public_key();
    let own = repo.public_key();
    for (lies, key) in [(false, &foreign), (true, &own)] {
        let (upstream, site) = (Upstream::start(), Site::new());
        repo.lies = lies;
        upstream.put_apt(&repo);
        site.outside.write("upstream.asc", key);
        site.outside.write_waybill(&format!(
            "  apt: [{{uri: \"{}/apt\", suite: trixie, components: [main], \
             architectures: [amd64], packages: [socat], signedBy: upstream.asc}}]\n",
            upstream.url()
        ));
        let failure = site.outside.sync().expect_err("a lie was believed");
        assert_eq!(failure.exit_code, 3, "{failure:?}");
    }
}

#[test]
fn an_index_that_was_changed_under_its_signature_is_refused() {
    let repo = AptRepo::new("trixie").with(Deb::new("socat", "1.8"));
    let (upstream, site) = (Upstream::start(), Site::new());
    upstream.put_apt(&repo);
    site.outside.write("upstream.asc", repo.public_key());
    site.outside.write_waybill(&format!(
        "  apt: [{{uri: \"{}/apt\", suite: trixie, components: [main], \
         architectures: [amd64], packages: [socat], signedBy: upstream.asc}}]\n",
        upstream.url()
    ));
    upstream.fault("/apt/dists/trixie/main/", Fault::FlipBit { at_byte: 40 });
    fails_then_mends(&upstream, &site, 3);
    upstream.fault("/apt/dists/trixie/InRelease", Fault::FlipBit { at_byte: 60 });
    let failure = site.outside.sync().expect_err("a changed InRelease was believed");
    assert_eq!(failure.exit_code, 3, "{failure:?}");
}

#[test]
fn a_layer_or_a_manifest_that_is_not_its_digest_is_refused() {
    let (upstream, site) = (Upstream::start(), Site::new());
    upstream.put_image("demo/app", "1.0", &Image::new(&TOOL.bytes()));
    site.outside.write_waybill(&format!(
        "  images: [{{ref: \"{}/demo/app:1.0\", insecure: true}}]\n",
        upstream.host()
    ));
    upstream.fault("/v2/demo/app/blobs/", Fault::FlipBit { at_byte: 20 });
    fails_then_mends(&upstream, &site, 3);
    upstream.fault("/v2/demo/app/manifests/sha256:", Fault::FlipBit { at_byte: 20 });
    let site = Site::new();
    site.outside.write_waybill(&format!(
        "  images: [{{ref: \"{}/demo/app:1.0\", insecure: true}}]\n",
        upstream.host()
    ));
    fails_then_mends(&upstream, &site, 3);
}

#[test]
fn a_slow_upstream_is_waited_for() {
    let (upstream, site) = tool();
    upstream.fault("/files/", Fault::Slow { bytes_per_second: 1 << 20 });
    site.outside.sync().unwrap();
}
