//! One round: sync, plan, export, import, serve, fetch back, and the inventory home.

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;
use tests::{Inside, Outside, Stick, Upstream, fixtures::sha256};

use crate::{
    back,
    show::{self, say, step, try_step},
    supply::{Apt, Supply, tool},
};

/// Both sides, and what is carried.
pub struct Crossing {
    pub upstream: Upstream,
    pub outside: Outside,
    pub inside: Inside,
    pub supply: Supply,
}

/// A line of the table at the end.
#[derive(Clone, Debug)]
pub struct Row {
    round: u8,
    artifacts: u64,
    new: u64,
    published_bytes: u64,
    pub carried_bytes: u64,
    seconds: f64,
    outside_memory_bytes: u64,
    inside_memory_bytes: u64,
}

impl Crossing {
    pub fn carry(&mut self, round: u8) -> anyhow::Result<Row> {
        say(&format!("Round {round}. What the site shall have:"));
        let fetched = self.sync(round)?;
        let stick_folder = self.outside.stick.display().to_string();
        step(&self.outside.agent, &["plan", "--site", "prod"])?;
        let export = ["export", "--site", "prod", "--to", &stick_folder];
        let exported = step(&self.outside.agent, &export)?;
        let stick = Stick::new(&self.outside.stick, "prod", exported.json.clone());
        say("The stick crosses the gap.");
        let path = stick.export.display().to_string();
        let imported = step(&self.inside.agent, &["import", &path])?;
        self.fetch_back(round)?;
        say("The stick goes back with what the site holds.");
        step(&self.inside.agent, &["inventory", "--to", &stick_folder])?;
        step(&self.outside.agent, &["inventory", &stick_folder])?;
        let own = |json: &Value| json["peak_memory_bytes"].as_u64();
        Ok(Row {
            round,
            artifacts: self.artifacts(),
            new: exported.json["artifacts_new"].as_u64().unwrap_or(0),
            published_bytes: exported.json["published_bytes_new"].as_u64().unwrap_or(0),
            carried_bytes: stick.len_bytes(),
            seconds: fetched + exported.seconds + imported.seconds,
            outside_memory_bytes: own(&exported.json).unwrap_or(exported.peak_memory_bytes),
            inside_memory_bytes: own(&imported.json).unwrap_or(imported.peak_memory_bytes),
        })
    }

    /// Writes the waybill and syncs; turns to made packages where an upstream cannot be reached.
    fn sync(&mut self, round: u8) -> anyhow::Result<f64> {
        loop {
            self.put_goods(round);
            let spec = self.supply.spec(round, &self.upstream);
            println!("$ cat waybill.yaml\n{spec}");
            let (outcome, line) = try_step(&self.outside.agent, &["sync", "-f", "waybill.yaml"])?;
            if outcome.exit_code == 0 {
                return Ok(outcome.seconds);
            }
            let failures = outcome.json["failures"].as_array().cloned().unwrap_or_default();
            let out_of_reach = |failure: &&Value| failure["verdict"] == "fault";
            let kinds: Vec<&str> =
                failures.iter().filter(out_of_reach).filter_map(|f| f["kind"].as_str()).collect();
            let supply = &mut self.supply;
            let turned = kinds.iter().filter(|kind| supply.fall_back(kind, &self.upstream)).count();
            if turned == 0 || outcome.exit_code != 4 {
                bail!("{line} ended with exit code {}: {:#}", outcome.exit_code, outcome.json);
            }
        }
    }

    fn put_goods(&self, round: u8) {
        self.upstream.put(&format!("/files/tool-1.{round}"), tool(round));
        let image = self.supply.image(round);
        self.upstream.put_image("demo/conntrack", &format!("1.{round}"), &image);
        if let Apt::Made(repo) = &self.supply.apt {
            self.outside.write("upstream.asc", repo.public_key());
        }
        self.outside.write("requirements.txt", Supply::requirements(round).join("\n") + "\n");
        self.outside.write_waybill(&self.supply.spec(round, &self.upstream));
    }

    fn fetch_back(&self, round: u8) -> anyhow::Result<()> {
        say("The site's clients fetch everything back.");
        println!("$ gapferry-inside serve");
        let server = self.inside.serve();
        let folder = tempfile::tempdir()?;
        let goods = back::Goods {
            tool_path: format!("/files/{}/files/tool-1.{round}", self.upstream.host()),
            tool_sha256: sha256(&tool(round)),
            image: format!("demo/conntrack:1.{round}"),
            image_root: self.supply.image(round).root,
            requirements: Supply::requirements(round),
            debs: Supply::debs(round),
            debs_need_base: matches!(self.supply.apt, Apt::Machine { .. }),
            architecture: self.supply.architecture.clone(),
        };
        goods.fetch(&server, folder.path()).context("what came back is not what went in")
    }

    fn artifacts(&self) -> u64 {
        let status = self.inside.status();
        let counts = status["artifacts"].as_object();
        counts.map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum())
    }
}

/// The table at the end.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "round",
        "artifacts",
        "new",
        "published",
        "carried",
        "ratio",
        "seconds",
        "peak memory outside",
        "inside",
    ]);
    for row in rows {
        table.add_row([
            row.round.to_string(),
            row.artifacts.to_string(),
            row.new.to_string(),
            show::bytes(row.published_bytes),
            show::bytes(row.carried_bytes),
            show::percent(row.carried_bytes, row.published_bytes),
            format!("{:.1}", row.seconds),
            show::bytes(row.outside_memory_bytes),
            show::bytes(row.inside_memory_bytes),
        ]);
    }
    table
}
