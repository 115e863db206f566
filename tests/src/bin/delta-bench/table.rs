//! The one table at the end, for people as markdown and for programs as JSON.

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::{
    artifact::{Artifact, Hop},
    ours::Carried,
    peers::{Figure, Outcome, Peer},
};

/// What is known of a hop.
#[derive(Debug)]
pub struct Row {
    pub hop: Hop,
    /// Bytes of the new artifacts as they are published.
    pub published_bytes: u64,
    /// The same, bare files compressed by gzip: what upstream would have published.
    pub gzip_bytes: u64,
    pub ours: Option<Result<Carried, String>>,
    pub peers: Vec<(Peer, Outcome)>,
}

/// All rows, and what is missing.
#[derive(Debug)]
pub struct Report {
    pub rows: Vec<Row>,
    pub peers: Vec<Peer>,
    /// Tools that this machine lacks.
    pub absent: Vec<String>,
    /// Hops of which an artifact cannot be had.
    pub left_out: Vec<String>,
}

impl Row {
    fn ours(&self) -> Option<Result<&Figure, &str>> {
        let outcome = self.ours.as_ref()?;
        Some(outcome.as_ref().map(|carried| &carried.figure).map_err(String::as_str))
    }

    fn peer(&self, peer: Peer) -> Option<Result<&Figure, &str>> {
        let (_, outcome) = self.peers.iter().find(|(other, _)| *other == peer)?;
        Some(outcome.as_ref().map_err(String::as_str))
    }
}

impl Report {
    /// The table, and below it what was absent, failed or left out.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let head = ["hop", "published", "as gzip", "ours", "of gzip"];
        table.set_header(head.into_iter().chain(self.peers.iter().map(|peer| peer.name())));
        for row in &self.rows {
            let share = row.ours().and_then(Result::ok);
            let mut cells = vec![
                row.hop.name.clone(),
                bytes(row.published_bytes),
                bytes(row.gzip_bytes),
                cell(row.ours()),
                share.map_or("-".to_owned(), |figure| percent(figure.bytes, row.gzip_bytes)),
            ];
            cells.extend(self.peers.iter().map(|&peer| cell(row.peer(peer))));
            table.add_row(cells);
        }
        table.add_row(self.totals());
        let legend = "Each cell: bytes carried; user seconds to make + to apply; peak memory of \
                      the hungrier of both.";
        let notes = self.notes().into_iter().map(|note| format!("\n- {note}"));
        format!("{table}\n\n{legend}\n{}", notes.collect::<String>())
    }

    fn totals(&self) -> Vec<String> {
        let published = self.rows.iter().map(|row| row.published_bytes).sum();
        let gzip = self.rows.iter().map(|row| row.gzip_bytes).sum();
        let ours = self.rows.iter().filter_map(|row| Some((row, row.ours()?.ok()?)));
        let (known_gzip, known) = ours.fold((0, 0), |(gzip, known), (row, figure)| {
            (gzip + row.gzip_bytes, known + figure.bytes)
        });
        let share = if known_gzip == 0 { "-".to_owned() } else { percent(known, known_gzip) };
        let mut cells = vec!["total".to_owned(), bytes(published), bytes(gzip)];
        cells.push(self.total(Row::ours));
        cells.push(share);
        cells.extend(self.peers.iter().map(|&peer| self.total(|row| row.peer(peer))));
        cells
    }

    /// The sum of a column; says of how many rows when it is not of all.
    fn total<'a>(&'a self, of: impl Fn(&'a Row) -> Option<Result<&'a Figure, &'a str>>) -> String {
        let figures: Vec<&Figure> = self.rows.iter().filter_map(|row| of(row)?.ok()).collect();
        let sum = figures.iter().fold(Figure::none(), |sum, figure| sum.and(figure));
        match (figures.len(), self.rows.len()) {
            (0, _) => "-".to_owned(),
            (all, rows) if all == rows => cell(Some(Ok(&sum))),
            (some, rows) => format!("{} ({some} of {rows} rows)", cell(Some(Ok(&sum)))),
        }
    }

    /// What the table cannot show.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.absent.iter().map(|sentence| format!("absent: {sentence}")).collect();
        notes.extend(self.left_out.iter().map(|line| format!("left out: {line}")));
        for row in &self.rows {
            let name = &row.hop.name;
            let peers = self.peers.iter().map(|&peer| (peer.name(), row.peer(peer)));
            let all = [("ours", row.ours())].into_iter().chain(peers);
            notes.extend(all.filter_map(|(tool, outcome)| {
                Some(format!("{tool} has no figure for {name}: {}", outcome?.err()?))
            }));
            if let Some(Ok(carried)) = &row.ours
                && carried.fallbacks() > 0
            {
                notes.push(format!("{name}: {} blobs fell back to raw", carried.fallbacks()));
            }
        }
        notes
    }

    /// The same for programs, with all that the agents said.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(row_json).collect();
        json!({"rows": rows, "absent": self.absent, "left_out": self.left_out})
    }
}

fn row_json(row: &Row) -> Value {
    let side = |artifact: &Artifact| json!(artifact.path());
    let pairs: Vec<Value> = row
        .hop
        .pairs
        .iter()
        .map(|pair| json!({"old": pair.old.as_ref().map(side), "new": side(&pair.new)}))
        .collect();
    let ours = row.ours.as_ref().map(|outcome| match outcome {
        Ok(carried) => {
            let mut json = carried.figure.json();
            json["export"] = carried.export.clone();
            json["import"] = carried.import.clone();
            json
        }
        Err(reason) => json!({"failed": reason}),
    });
    let peers: serde_json::Map<String, Value> = row
        .peers
        .iter()
        .map(|(peer, outcome)| {
            let json = match outcome {
                Ok(figure) => figure.json(),
                Err(reason) => json!({"failed": reason}),
            };
            (peer.name().to_owned(), json)
        })
        .collect();
    json!({
        "hop": row.hop.name,
        "pairs": pairs,
        "published_bytes": row.published_bytes,
        "gzip_bytes": row.gzip_bytes,
        "ours": ours,
        "peers": peers,
    })
}

fn cell(outcome: Option<Result<&Figure, &str>>) -> String {
    match outcome {
        None => "-".to_owned(),
        Some(Err(_)) => "failed".to_owned(),
        Some(Ok(Figure { bytes: carried, make, apply })) => {
            let memory = make.and(*apply).peak_memory_bytes;
            format!(
                "{}; {:.1} + {:.1} s; {} MiB",
                bytes(*carried),
                make.user_seconds,
                apply.user_seconds,
                memory.div_ceil(1 << 20)
            )
        }
    }
}

/// Bytes for people: three digits tell two tools apart.
fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let count_shown = count as f64;
    match count {
        0..10_000 => format!("{count} B"),
        10_000..1_000_000 => format!("{:.1} kB", count_shown / 1e3),
        1_000_000..10_000_000 => format!("{:.3} MB", count_shown / 1e6),
        _ => format!("{:.1} MB", count_shown / 1e6),
    }
}

fn percent(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    format!("{share:.2} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Cost;

    fn row(name: &str, bytes: u64) -> Row {
        let cost = Cost { user_seconds: 1.5, seconds: 2.0, peak_memory_bytes: 1 << 20 };
        Row {
            hop: Hop { name: name.to_owned(), pairs: vec![] },
            published_bytes: 100_000,
            gzip_bytes: 50_000,
            ours: None,
            peers: vec![
                (Peer::Zstd, Ok(Figure { bytes, make: cost, apply: cost })),
                (Peer::Rsync, Err("it broke".to_owned())),
            ],
        }
    }

    #[test]
    fn rows_add_up_and_what_is_missing_is_told_below() {
        let report = Report {
            rows: vec![row("a", 1_000), row("b", 20_000)],
            peers: vec![Peer::Zstd, Peer::Rsync],
            absent: vec!["no restic".to_owned()],
            left_out: vec![],
        };
        let text = report.text();
        let lines: Vec<String> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines[2],
            "| a | 100.0 kB | 50.0 kB | - | - | 1000 B; 1.5 + 1.5 s; 1 MiB | failed |"
        );
        assert_eq!(
            lines[4],
            "| total | 200.0 kB | 100.0 kB | - | - | 21.0 kB; 3.0 + 3.0 s; 1 MiB | - |"
        );
        assert_eq!(lines[8], "- absent: no restic");
        assert_eq!(lines[9], "- rsync literal has no figure for a: it broke");
    }
}
