//! What is carried for a line, beside what the client itself would install on an empty target.
//!
//! In:   apt, pip and dnf of this machine; apt and pip with the machine's own settings, dnf with a
//!       repository made here.
//! Out:  a row a wish: packages (of pip: files) that are equal, only carried, only the client's;
//!       how many times the client's bytes are carried.
//!
//! The promise: nothing is only the client's, and at most a fifth more bytes are carried.

mod apt;
mod dnf;
mod pip;
mod rpms;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use ::tests::site::{Environment, Outside};
use serde_json::Value;

use super::Row;

const PROMISE: &str = "contains all, at most 1.20 of the bytes";

/// Most packages that a row names of each side.
const NAMES_SHOWN_MAX: usize = 8;

pub fn measure() -> Vec<Row> {
    let mut rows = apt::measure();
    rows.extend(pip::measure());
    rows.extend(dnf::measure());
    rows
}

/// An outside that resolves one line after the other.
struct Bench {
    outside: Outside,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(environment: Environment) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let outside = Outside::new(folder.path(), "prod", environment);
        outside.init().expect("the outside could not be set up");
        Self { outside, folder }
    }

    /// The packages that `spec` leads to, as their client names them, with their lengths in bytes.
    fn carried(&self, spec: &str) -> Result<BTreeMap<String, u64>, String> {
        self.outside.write_waybill(spec);
        self.outside.agent.run(&["resolve", "-f", "waybill.yaml"]).map_err(|e| last(&e.stderr))?;
        let lock = self.outside.agent.folder.join("waybill.lock");
        let bytes = fs::read(lock).map_err(|e| e.to_string())?;
        let lock: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        let artifacts = lock["artifacts"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(artifacts.iter().filter_map(package).collect())
    }
}

/// A package as its client names it, and its length in bytes.
fn package(artifact: &Value) -> Option<(String, u64)> {
    let facts = &artifact["facts"];
    let text = |key: &str| facts[key].as_str().unwrap_or_default();
    let name = match text("kind") {
        "deb" => format!("{} {} {}", text("package"), text("version"), text("architecture")),
        "rpm" => {
            let epoch = match text("epoch") {
                "" | "0" => String::new(),
                epoch => format!("{epoch}:"),
            };
            let (version, release) = (text("version"), text("release"));
            format!("{} {epoch}{version}-{release} {}", text("package"), text("architecture"))
        }
        "pypi" => text("filename").to_owned(),
        _ => return None,
    };
    Some((name, artifact["blobs"][0]["len_bytes"].as_u64()?))
}

/// What is carried beside what the client takes.
#[derive(Clone, PartialEq, Debug)]
struct Compared {
    equal: usize,
    only_ours: Vec<String>,
    only_theirs: Vec<String>,
    /// Bytes carried for each byte that both take.
    ratio: f64,
}

impl Compared {
    fn new(ours: &BTreeMap<String, u64>, theirs: &BTreeSet<String>) -> Self {
        let equal: Vec<u64> =
            ours.iter().filter(|(name, _)| theirs.contains(*name)).map(|(_, len)| *len).collect();
        let only_ours = ours.keys().filter(|name| !theirs.contains(*name)).cloned().collect();
        let only_theirs = theirs.iter().filter(|name| !ours.contains_key(*name)).cloned().collect();
        let (all, both): (u64, u64) = (ours.values().sum(), equal.iter().sum());
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let ratio = if all == both { 1.0 } else { all as f64 / both as f64 };
        Self { equal: equal.len(), only_ours, only_theirs, ratio }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, only_ours, only_theirs, ratio } = self;
        write!(f, "{equal} equal, {} only ours{}", only_ours.len(), Names(only_ours))?;
        write!(f, ", {} only theirs{}; ", only_theirs.len(), Names(only_theirs))?;
        write!(f, "{ratio:.2} of the bytes")
    }
}

/// The first names in parentheses.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = self.0.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
        let more = if shown.len() < self.0.len() { ", …" } else { "" };
        write!(f, " ({}{more})", shown.join(", "))
    }
}

/// The row of a wish.
fn row(
    wish: &str,
    ours: Result<BTreeMap<String, u64>, String>,
    theirs: Result<BTreeSet<String>, String>,
) -> Row {
    let value = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => Compared::new(&ours, &theirs).to_string(),
        (Err(ours), Ok(theirs)) => format!("not resolved ({ours}), {} only theirs", theirs.len()),
        (Ok(ours), Err(theirs)) => format!("the client refuses ({theirs}), {} ours", ours.len()),
        (Err(ours), Err(theirs)) => format!("both refuse ({ours}) ({theirs})"),
    };
    Row::new(format!("closures: {wish}"), value, PROMISE)
}

/// The last line that says something.
fn last(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_sides_are_counted_and_named() {
        let ours = [("a 1", 100), ("b 1", 10), ("c 1", 12)];
        let ours = ours.map(|(name, len)| (name.to_owned(), len)).into();
        let theirs = ["a 1", "b 1", "d 2"].map(str::to_owned).into();
        let compared = Compared::new(&ours, &theirs);
        let expected = "2 equal, 1 only ours (c 1), 1 only theirs (d 2); 1.11 of the bytes";
        assert_eq!(compared.to_string(), expected);
        let same = Compared::new(&BTreeMap::new(), &BTreeSet::new());
        assert_eq!(same.to_string(), "0 equal, 0 only ours, 0 only theirs; 1.00 of the bytes");
    }

    #[test]
    fn a_package_is_named_as_its_client_does() {
        let artifact = |facts: Value| json!({"facts": facts, "blobs": [{"len_bytes": 7}]});
        let rpm = json!({"kind": "rpm", "package": "a", "epoch": "1", "version": "2",
            "release": "3", "architecture": "noarch"});
        assert_eq!(package(&artifact(rpm)), Some(("a 1:2-3 noarch".to_owned(), 7)));
        let wheel = json!({"kind": "pypi", "project": "a-b", "filename": "a_b-2.tar.gz"});
        assert_eq!(package(&artifact(wheel)), Some(("a_b-2.tar.gz".to_owned(), 7)));
        assert_eq!(package(&artifact(json!({"kind": "file"}))), None);
    }
}
