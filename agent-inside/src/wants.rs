//! Wants: what clients asked for and this site did not hold, once each.
//!
//! `state/wants.log` has one JSON line a want. Losing the last lines in a power cut loses only
//! what a client will ask for again.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    sync::Mutex,
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{DurableError, at, create_folders};
use gapferry_proto::{Kind, inventory::Want, limits};

/// The log of one home.
#[derive(Debug)]
pub struct Wants {
    path: Utf8PathBuf,
    open: Mutex<(BTreeSet<Want>, File)>,
}

impl Wants {
    /// Opens the log and reads what stands there.
    ///
    /// # Errors
    ///
    /// [`DurableError`].
    pub fn open(home: &Utf8Path) -> Result<Self, DurableError> {
        let path = path(home);
        create_folders(path.parent().unwrap_or(home))?;
        let known = read(home)?;
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self { open: Mutex::new((known, file.map_err(at("open", &path))?)), path })
    }

    /// Records a want unless it is known, or so many are that no more would be read.
    pub fn add(&self, kind: Kind, name: &str) {
        let want = Want { kind, name: name.to_owned(), target: None };
        let Ok(mut open) = self.open.lock() else { return };
        let (known, file) = &mut *open;
        let full = limits::WANTS_MAX <= known.len();
        if full || limits::NAME_LEN_BYTES_MAX < name.len() || known.contains(&want) {
            return;
        }
        let mut line = serde_json::to_vec(&want).expect("a want is plain JSON");
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            tracing::warn!(path = %self.path, %error, "a want could not be written");
        }
        known.insert(want);
    }
}

/// Every want of a home; lines that a power cut tore are passed over.
///
/// # Errors
///
/// [`DurableError`].
pub fn read(home: &Utf8Path) -> Result<BTreeSet<Want>, DurableError> {
    let path = path(home);
    let file = match File::open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.map_err(at("open", &path))?,
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()).take(limits::WANTS_MAX).collect())
}

fn path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/wants.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_is_written_once_and_read_again() {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(temp.path()).unwrap();
        for _ in 0..2 {
            let wants = Wants::open(home).unwrap();
            wants.add(Kind::Image, "registry.k8s.io/pause:3.11");
            wants.add(Kind::Image, "registry.k8s.io/pause:3.11");
            wants.add(Kind::Pypi, &"x".repeat(limits::NAME_LEN_BYTES_MAX + 1));
        }
        let text = std::fs::read_to_string(path(home)).unwrap();
        assert_eq!(text, "{\"kind\":\"image\",\"name\":\"registry.k8s.io/pause:3.11\"}\n");
        assert_eq!(read(home).unwrap().len(), 1);
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(temp.path()).unwrap();
        Wants::open(home).unwrap().add(Kind::Deb, "socat");
        let mut file = OpenOptions::new().append(true).open(path(home)).unwrap();
        file.write_all(b"{\"kind\":\"de").unwrap();
        assert_eq!(read(home).unwrap().len(), 1);
    }
}
