//! An export of which the site holds everything already.

use std::ops::Range;

use tests::{Content, Site, Upstream};

use super::Row;

pub fn measure(artifacts: u64) -> Vec<Row> {
    let (upstream, site) = (Upstream::start(), Site::new());
    site.outside.write_waybill(&waybill(&upstream, 0..artifacts));
    let first = site.carry();
    let args = ["export", "--site", "prod", "--to", &site.outside.stick.display().to_string()];
    let outcome = site.outside.agent.run(&args).expect("the unchanged export failed");
    let stick = tests::Stick::new(&site.outside.stick, "prod", outcome.json);
    let name = format!("unchanged export, {artifacts} artifacts");
    vec![
        Row::new(format!("{name}: first export"), format!("{} bytes", first.len_bytes()), ""),
        Row::new(format!("{name}: seconds"), format!("{:.2} s", outcome.seconds), "under 1 s"),
        Row::new(format!("{name}: packs"), stick.packs().len().to_string(), "0"),
        Row::new(format!("{name}: bytes"), stick.len_bytes().to_string(), "a few kB"),
    ]
}

/// Puts small files upstream and lists them all.
pub fn waybill(upstream: &Upstream, artifacts: Range<u64>) -> String {
    let url = upstream.url();
    let lines = artifacts.map(|seed| {
        let content = Content::new(seed, 1_000);
        upstream.put_content(&format!("/files/{seed}"), content);
        format!("    - {{url: \"{url}/files/{seed}\", sha256: {}}}\n", content.sha256())
    });
    "  files:\n".to_owned() + &lines.collect::<String>()
}
