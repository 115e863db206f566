//! The audit log: one JSON line for each decision and each change of state.

use std::{fs::OpenOptions, io::Write};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::durable::{DurableError, at, create_folders};

/// Appends to `state/audit.log` of one home.
#[derive(Clone, Debug)]
pub struct Audit {
    path: Utf8PathBuf,
}

#[derive(Serialize)]
struct Line<'a, T> {
    at: String,
    event: &'a str,
    #[serde(flatten)]
    facts: &'a T,
}

impl Audit {
    /// The log of `home`.
    pub fn of(home: &Utf8Path) -> Self {
        Self { path: home.join("state/audit.log") }
    }

    /// Appends one line and makes it durable. Where the disk is full nothing of it stays, so that
    /// the next line does not begin in the middle of one.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: the line may be lost; the caller stops before it acts.
    pub fn record(&self, event: &str, facts: &impl Serialize) -> Result<(), DurableError> {
        create_folders(self.path.parent().unwrap_or(Utf8Path::new(".")))?;
        let line = Line { at: jiff::Timestamp::now().to_string(), event, facts };
        let mut text = serde_json::to_vec(&line).expect("audit facts are plain JSON");
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(at("open", &self.path))?;
        let len_bytes = file.metadata().map_err(at("read", &self.path))?.len();
        if let Err(error) = file.write_all(&text) {
            let _cut = file.set_len(len_bytes);
            return Err(at("append to", &self.path)(error));
        }
        file.sync_data().map_err(at("sync", &self.path))
    }
}
