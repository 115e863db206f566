//! Carries a hop by the two real agents.
//!
//! In:   a hop.
//! Out:  the bytes of the second export, what exporting and importing it cost, and what the
//!       agents said. The inside holds every old artifact and the outside knows it; the import
//!       compares each rebuilt artifact with its published digest.

use std::fs;

use anyhow::{Context as _, anyhow};
use serde_json::Value;
use tests::{
    Site, Stick, Upstream,
    fixtures::sha256,
    site::{Failure, Outcome},
};

use crate::{
    artifact::{Artifact, Hop},
    measure::{Cost, user_seconds},
    peers::Figure,
};

/// What a hop needed, and the agents' own words.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Carried {
    pub figure: Figure,
    pub export: Value,
    pub import: Value,
}

impl Carried {
    /// How many blobs the dress rehearsal sent raw.
    pub fn fallbacks(&self) -> usize {
        self.export["fallback_raw"].as_array().map_or(0, Vec::len)
    }
}

/// Carries a hop: the old artifacts first, then the new ones in one export.
///
/// # Errors
///
/// An agent's.
pub fn carry(hop: &Hop, effort: &str) -> anyhow::Result<Carried> {
    let (upstream, site) = (Upstream::start(), Site::new());
    let old: Vec<&Artifact> = hop.pairs.iter().filter_map(|pair| pair.old.as_ref()).collect();
    let new: Vec<&Artifact> = hop.pairs.iter().map(|pair| &pair.new).collect();
    if !old.is_empty() {
        site.outside.write_waybill(&spec(&old, &upstream)?);
        sync(&site)?;
        // Nothing is measured here, so it may be quick.
        let (stick, _) = export(&site, "fastest")?;
        told("import", site.inside.import(&stick))?;
        site.inventory_home().map_err(|failure| anyhow!("inventory: {failure:?}"))?;
    }
    site.outside.write_waybill(&spec(&new, &upstream)?);
    sync(&site)?;
    let (exported, export_seconds) = user_seconds(|| export(&site, effort));
    let (stick, exported) = exported?;
    let (imported, import_seconds) = user_seconds(|| site.inside.import(&stick));
    let imported = told("import", imported)?;
    let bytes = exported.json["export_bytes"].as_u64().context("export tells no export_bytes")?;
    let figure = Figure {
        bytes,
        make: cost(&exported, export_seconds),
        apply: cost(&imported, import_seconds),
    };
    Ok(Carried { figure, export: exported.json, import: imported.json })
}

fn sync(site: &Site) -> anyhow::Result<()> {
    told("sync", site.outside.sync()).map(drop)
}

fn export(site: &Site, effort: &str) -> anyhow::Result<(Stick, Outcome)> {
    let outside = &site.outside;
    let to = outside.stick.display().to_string();
    let args = ["export", "--site", "prod", "--to", &to, "--effort", effort];
    let outcome = told("export", outside.agent.run(&args))?;
    Ok((Stick::new(&outside.stick, "prod", outcome.json.clone()), outcome))
}

fn told(step: &str, outcome: Result<Outcome, Failure>) -> anyhow::Result<Outcome> {
    outcome.map_err(|failure| anyhow!("{step}: {failure:?}"))
}

/// The agent's own word on memory where it gives one: it counts as the peers are counted.
fn cost(outcome: &Outcome, user_seconds: f64) -> Cost {
    let own = outcome.json["peak_memory_bytes"].as_u64().filter(|&bytes| bytes > 0);
    Cost {
        user_seconds,
        seconds: outcome.json["seconds"].as_f64().unwrap_or(outcome.seconds),
        peak_memory_bytes: own.unwrap_or(outcome.peak_memory_bytes),
    }
}

/// The lines of a waybill; files are put where `upstream` serves them.
fn spec(artifacts: &[&Artifact], upstream: &Upstream) -> anyhow::Result<String> {
    let (mut files, mut images) = (String::new(), String::new());
    for artifact in artifacts {
        let path = artifact.path();
        let release = path.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
        let release = release.to_string_lossy();
        match artifact {
            Artifact::File(_) => {
                let bytes = fs::read(path)?;
                let sha256 = sha256(&bytes);
                // No escapes: `+`, `~` and `%` in the names of packages would need some.
                let name = artifact.name().replace(['+', '~', '%'], "_");
                let place = format!("/files/{release}/{name}");
                files +=
                    &format!("    - {{url: \"{}{place}\", sha256: {sha256}}}\n", upstream.url());
                upstream.put(&place, bytes);
            }
            Artifact::Image(_) => {
                let (program, version) = release.split_once('-').context("a release is named")?;
                let dir = path.display();
                images += &format!(
                    "    - {{ref: \"oci:{dir}:bench\", as: \"corpus.test/{program}:{version}\"}}\n"
                );
            }
        }
    }
    let section = |name: &str, lines: String| {
        if lines.is_empty() { lines } else { format!("  {name}:\n{lines}") }
    };
    Ok(section("files", files) + &section("images", images))
}
