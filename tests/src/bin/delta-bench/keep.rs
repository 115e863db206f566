//! Keeps what was measured, so that a run that ends early is gone on with.
//!
//! In:   a file with one JSON document a line: the hop, the tool, and what came of it.
//! Out:  the outcome of a tool on a hop, from the file or measured now and added to it.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
};

use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What is known already; without a file nothing is.
#[derive(Debug, Default)]
pub struct Kept {
    file: Option<File>,
    known: HashMap<(String, String), Value>,
}

impl Kept {
    /// Reads a file, or begins one. A line that was cut off counts for nothing.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or made.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.with_context(|| format!("cannot use {}", path.display()))?;
        let mut known = HashMap::new();
        for line in BufReader::new(&file).lines() {
            let Ok(Value::Object(mut entry)) = serde_json::from_str(&line?) else { continue };
            let word = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
            let key = word(entry.get("hop")).zip(word(entry.get("tool")));
            if let (Some(key), Some(outcome)) = (key, entry.remove("outcome")) {
                known.insert(key, outcome);
            }
        }
        Ok(Self { file: Some(file), known })
    }

    /// The outcome of `tool` on `hop`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn or_measure<T: Serialize + DeserializeOwned>(
        &mut self,
        hop: &str,
        tool: &str,
        measure: impl FnOnce() -> T,
    ) -> anyhow::Result<T> {
        let known = self.known.get(&(hop.to_owned(), tool.to_owned()));
        if let Some(outcome) = known.and_then(|known| T::deserialize(known).ok()) {
            return Ok(outcome);
        }
        let outcome = measure();
        if let Some(file) = &mut self.file {
            let line = json!({"hop": hop, "tool": tool, "outcome": outcome});
            writeln!(file, "{line}").context("cannot keep what was measured")?;
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_not_measured_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        let mut kept = Kept::open(&path).unwrap();
        assert_eq!(kept.or_measure("a", "zstd", || 1).unwrap(), 1);
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "{\"hop\": \"b\", ")
            .unwrap();
        let mut again = Kept::open(&path).unwrap();
        assert_eq!(again.or_measure("a", "zstd", || 2).unwrap(), 1);
        assert_eq!(again.or_measure("a", "borg", || 3).unwrap(), 3);
        assert_eq!(Kept::default().or_measure("a", "zstd", || 4).unwrap(), 4);
    }
}
