//! Credentials stay where the user put them: in no log, no state, no export.

use std::{fs, path::Path};

use tests::{Content, Fault, Site, Upstream, fixtures::Wheel, stick::walk};

const CANARIES: [&str; 3] = ["canary-in-url", "canary-in-netrc", "canary-in-query"];

/// A site whose waybill and netrc hold passwords, and an upstream that asks for them.
fn guarded() -> (Upstream, Site) {
    let (upstream, site) = (Upstream::start(), Site::new());
    let tool = Content::new(1, 100_000);
    upstream.put_content("/files/tool", tool);
    upstream.put_content("/private/tool", tool);
    upstream.put_content("/open/tool", tool);
    upstream.put_pypi(Wheel::new("alpha", "1.0").make());
    upstream.guard("/private/", "me:canary-in-netrc");
    upstream.guard("/simple/", "me:canary-in-url");
    upstream.guard("/files/", "me:canary-in-netrc");
    let sha256 = tool.sha256();
    let with_login = |path| upstream.url_with_login("me:canary-in-url", path);
    site.outside.write_waybill(&format!(
        "  files:\n    - {{url: \"{}/private/tool\", sha256: {sha256}}}\n    \
         - {{url: \"{}/files/tool\", sha256: {sha256}}}\n    \
         - {{url: \"{}/open/tool?token=canary-in-query\", sha256: {sha256}}}\n  \
         pypi: [{{packages: [alpha], python: [\"3.11\"], index: \"{}\"}}]\n",
        upstream.url(),
        upstream.url(),
        upstream.url(),
        with_login("/simple/"),
    ));
    let netrc = site.outside.agent.user_home().join(".netrc");
    fs::write(netrc, "machine 127.0.0.1 login me password canary-in-netrc\n").unwrap();
    (upstream, site)
}

fn assert_no_canary(what: &str, text: &[u8]) {
    for canary in CANARIES {
        let found = text.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{canary} in {what}: {}", String::from_utf8_lossy(text));
    }
}

fn assert_no_canary_below(folder: &Path) {
    walk(folder, &mut |path| {
        if !path.ends_with(".netrc") && !path.ends_with("waybill.yaml") {
            assert_no_canary(&path.display().to_string(), &fs::read(path).unwrap());
        }
    });
}

#[test]
fn credentials_reach_no_log_no_state_and_no_export() {
    let (_upstream, site) = guarded();
    for level in [&[][..], &["-v"], &["-v", "-v", "--log-format", "json"]] {
        let args = [&["sync", "-f", "waybill.yaml"], level].concat();
        let outcome = site.outside.agent.run(&args).unwrap();
        assert_no_canary("stderr", outcome.stderr.as_bytes());
        assert_no_canary("stdout", outcome.json.to_string().as_bytes());
    }
    let plan = site.outside.plan().unwrap();
    assert_no_canary("plan", plan.json.to_string().as_bytes());
    site.carry();
    let server = site.inside.serve();
    assert_no_canary("status page", &server.get("/").body);
    assert_no_canary("server log", server.log().as_bytes());
    for folder in [&site.outside.agent.folder, &site.inside.agent.folder, &site.outside.stick] {
        assert_no_canary_below(folder);
    }
}

#[test]
fn credentials_do_not_stand_in_failures() {
    for fault in [
        Fault::Status(403),
        Fault::Status(404),
        Fault::Status(500),
        Fault::FlipBit { at_byte: 10 },
        Fault::BreakOff { after_bytes: 10 },
    ] {
        let (upstream, site) = guarded();
        upstream.fault("/", fault);
        let args = ["sync", "-f", "waybill.yaml", "-v"];
        let failure = site.outside.agent.run(&args).expect_err("an upstream in ruins was enough");
        assert_no_canary("stderr", failure.stderr.as_bytes());
        assert_no_canary("stdout", failure.stdout.as_bytes());
        assert_no_canary_below(&site.outside.agent.home());
    }
}
