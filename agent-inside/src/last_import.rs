//! How the last import ended, for whoever asks later.
//!
//! In:   the export, and what became of it.
//! Out:  one small file that each import replaces twice: when it begins and when it ends. So
//!       what was killed, or found no room to say why it failed, is still told as not ended.
//! Never: a reason for a decision. It is read by `status` alone.

use camino::Utf8Path;
use gapferry_common::durable::{self, DurableError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const FILE: &str = "state/last-import.json";

/// One import.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct LastImport {
    /// The name of its folder.
    pub export: String,
    /// When it began, or when it ended.
    pub at: Timestamp,
    pub ended: Ended,
    /// What was in the way, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It runs, or was killed.
    Not,
    Applied,
    /// A decision: the export may not be applied.
    Refused,
    /// A fault of this machine: the same export may be applied later.
    Failed,
}

/// Remembers an import.
///
/// # Errors
///
/// [`DurableError`]: what was remembered before still is.
pub fn write(home: &Utf8Path, import: &LastImport) -> Result<(), DurableError> {
    let bytes = serde_json::to_vec_pretty(import).expect("it is plain JSON");
    durable::write(&home.join(FILE), &bytes)
}

/// The last import; none before the first, or when the file is damaged.
pub fn read(home: &Utf8Path) -> Option<LastImport> {
    serde_json::from_slice(&std::fs::read(home.join(FILE)).ok()?).ok()
}

impl LastImport {
    /// A line for people; none when there is nothing left to do.
    pub fn sentence(&self) -> Option<String> {
        let Self { export, at, .. } = self;
        let message = self.message.as_deref().unwrap_or("no reason is known");
        match self.ended {
            Ended::Applied => None,
            Ended::Not => Some(format!(
                "{export} began at {at} and did not end; unless it still runs, import it again"
            )),
            Ended::Refused => Some(format!("{export} was refused at {at}: {message}")),
            Ended::Failed => Some(format!("{export} failed at {at}, import it again: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_the_way_is_remembered_and_an_applied_import_needs_no_word() {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(temp.path()).unwrap();
        std::fs::create_dir(home.join("state")).unwrap();
        assert_eq!(read(home), None);
        let failed = LastImport {
            export: "000002-abc".to_owned(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            ended: Ended::Failed,
            message: Some("cannot write x: no space left".to_owned()),
        };
        write(home, &failed).unwrap();
        assert_eq!(read(home), Some(failed.clone()));
        assert_eq!(
            failed.sentence().unwrap(),
            "000002-abc failed at 2026-01-02T03:04:05Z, import it again: cannot write x: no space \
             left"
        );
        let applied = LastImport { ended: Ended::Applied, message: None, ..failed };
        assert_eq!(applied.sentence(), None);
    }
}
