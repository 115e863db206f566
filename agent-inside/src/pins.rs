//! The generations that were pinned: `sweep` takes none of them, however old they are.
//!
//! Primary: `state/pins`, by the durable write.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{FORMAT, Sequence};
use serde::{Deserialize, Serialize};

use crate::generation::{StateError, read_json, write_json};

#[derive(Debug, Deserialize, Serialize)]
struct Pins {
    format: u32,
    generations: BTreeSet<Sequence>,
}

/// The pinned generations of a home.
///
/// # Errors
///
/// [`StateError`]: the document is damaged, or of a newer agent.
pub fn read(home: &Utf8Path) -> Result<BTreeSet<Sequence>, StateError> {
    let path = path(home);
    match read_json::<Pins>(&path)? {
        None => Ok(BTreeSet::new()),
        Some(Pins { format: FORMAT, generations }) => Ok(generations),
        Some(Pins { format, .. }) => Err(StateError::Format { path, format }),
    }
}

/// Replaces the pins of a home. The caller holds its lock.
///
/// # Errors
///
/// [`StateError::Durable`]: the pins are as before.
pub fn write(home: &Utf8Path, generations: BTreeSet<Sequence>) -> Result<(), StateError> {
    write_json(&path(home), &Pins { format: FORMAT, generations })
}

fn path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/pins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_there_until_they_are_taken_off() {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(temp.path()).unwrap();
        assert_eq!(read(home).unwrap(), BTreeSet::new());
        let pins = BTreeSet::from([Sequence(2), Sequence(7)]);
        write(home, pins.clone()).unwrap();
        assert_eq!(read(home).unwrap(), pins);
    }

    #[test]
    fn damaged_pins_and_those_of_a_newer_agent_are_a_fault_and_not_none() {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(temp.path()).unwrap();
        write(home, BTreeSet::new()).unwrap();
        std::fs::write(path(home), b"{\"format\": 2, \"generations\": []}").unwrap();
        assert!(matches!(read(home), Err(StateError::Format { format: 2, .. })));
        std::fs::write(path(home), b"{").unwrap();
        assert!(matches!(read(home), Err(StateError::Json { .. })));
    }
}
