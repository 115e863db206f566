//! Wants: what clients asked for and this site did not hold, once each.
//!
//! In:   404s and forms of `serve`, what a person types, the messages of clients (`log`).
//! Out:  `state/wants.log`, one JSON line a want with who asked first and when; the inventory has
//!       those that the newest snapshot does not meet.
//!
//! Losing the last lines in a power cut loses only what a client will ask for again. The server
//! appends, and nothing else; whoever writes the file anew holds the lock of the home.

pub mod log;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::MetadataExt,
    sync::{Mutex, PoisonError},
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::durable::{self, DurableError, at, create_folders};
use gapferry_proto::{
    Snapshot, limits,
    want::{self, Want},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest name of who asked, in bytes: a node's name and its address.
const CLIENT_LEN_BYTES_MAX: usize = 128;

/// A want as the log has it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Noted {
    #[serde(flatten)]
    pub want: Want,
    /// Who asked first: an address, a node's name, or the program that said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// The log of one home, as the server keeps it.
#[derive(Debug)]
pub struct Wants {
    path: Utf8PathBuf,
    known: Mutex<Known>,
}

/// What stands in the log, and in which file that was read.
#[derive(Debug, Default)]
struct Known {
    wants: BTreeMap<Want, Noted>,
    len_bytes: u64,
    inode: Option<u64>,
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
        let known = Mutex::new(Known::read(&path)?);
        Ok(Self { path, known })
    }

    /// Records a want; false when it is known, or so many are that no more would be read.
    ///
    /// # Errors
    ///
    /// [`DurableError`]: it could not be written.
    pub fn add(
        &self,
        want: Want,
        client: Option<String>,
        now: Timestamp,
    ) -> Result<bool, DurableError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.inode != inode(&self.path) {
            *known = Known::read(&self.path)?; // it was written anew
        }
        let client = client.map(|text| short(&text)).filter(|text| !text.is_empty());
        let noted = Noted { want, client, time: Some(now) };
        let mut line = serde_json::to_vec(&noted).expect("a want is plain JSON");
        line.push(b'\n');
        let len_bytes = known.len_bytes.saturating_add(line.len() as u64);
        let is_full =
            limits::WANTS_MAX <= known.wants.len() || limits::WANTS_LEN_BYTES_MAX < len_bytes;
        if is_full || known.wants.contains_key(&noted.want) {
            return Ok(false);
        }
        let open = OpenOptions::new().create(true).append(true).open(&self.path);
        let mut file = open.map_err(at("open", &self.path))?;
        file.write_all(&line).map_err(at("write", &self.path))?;
        known.inode = inode(&self.path);
        known.len_bytes = len_bytes;
        known.wants.insert(noted.want.clone(), noted);
        Ok(true)
    }

    /// What stands in the log.
    pub fn all(&self) -> Vec<Want> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.inode != inode(&self.path) {
            *known = Known::read(&self.path).unwrap_or_default();
        }
        known.wants.keys().cloned().collect()
    }
}

impl Known {
    /// Lines that a power cut tore are passed over; of two for one want the first counts.
    fn read(path: &Utf8Path) -> Result<Self, DurableError> {
        let file = match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(at("open", path))?,
        };
        let mut known = Self { inode: inode(path), ..Self::default() };
        let mut bytes = vec![];
        let mut bounded = file.take(limits::WANTS_LEN_BYTES_MAX);
        bounded.read_to_end(&mut bytes).map_err(at("read", path))?;
        known.len_bytes = bytes.len() as u64;
        let lines = bytes.split(|byte| *byte == b'\n');
        for noted in lines.filter_map(|line| serde_json::from_slice::<Noted>(line).ok()) {
            if limits::WANTS_MAX <= known.wants.len() {
                break;
            }
            known.wants.entry(noted.want.clone()).or_insert(noted);
        }
        Ok(known)
    }
}

/// Every want of a home.
///
/// # Errors
///
/// [`DurableError`].
pub fn read(home: &Utf8Path) -> Result<Vec<Noted>, DurableError> {
    Ok(Known::read(&path(home))?.wants.into_values().collect())
}

/// The wants that `snapshot` does not meet.
pub fn unmet(noted: Vec<Noted>, snapshot: &Snapshot) -> Vec<Noted> {
    let met = want::met(noted.iter().map(|noted| &noted.want), snapshot.artifacts());
    let is_met: Vec<bool> = noted.iter().map(|noted| met.contains(&noted.want)).collect();
    noted.into_iter().zip(is_met).filter_map(|(noted, is_met)| (!is_met).then_some(noted)).collect()
}

/// Drops what `snapshot` meets from the log, so that it never fills with what was carried.
/// The caller holds the lock of the home.
///
/// # Errors
///
/// [`DurableError`]: the log is as it was.
pub fn settle(home: &Utf8Path, snapshot: &Snapshot) -> Result<(), DurableError> {
    let noted = read(home)?;
    let count = noted.len();
    let left = unmet(noted, snapshot);
    if left.len() == count { Ok(()) } else { write(home, &left) }
}

/// Drops the wants called `name`, of whatever kind; how many that were. The caller holds the lock
/// of the home.
///
/// # Errors
///
/// [`DurableError`]: the log is as it was.
pub fn forget(home: &Utf8Path, name: &str) -> Result<usize, DurableError> {
    let noted = read(home)?;
    let count = noted.len();
    let left: Vec<Noted> = noted.into_iter().filter(|noted| noted.want.name != name).collect();
    let gone = count - left.len();
    if 0 < gone {
        write(home, &left)?;
    }
    Ok(gone)
}

fn write(home: &Utf8Path, noted: &[Noted]) -> Result<(), DurableError> {
    let mut bytes = vec![];
    for noted in noted {
        bytes.extend(serde_json::to_vec(noted).expect("a want is plain JSON"));
        bytes.push(b'\n');
    }
    durable::write(&path(home), &bytes)
}

fn path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/wants.log")
}

fn inode(path: &Utf8Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// What a client calls itself, without what could disturb a terminal.
fn short(client: &str) -> String {
    let mut text = String::new();
    for c in client.chars().filter(|c| !c.is_control()) {
        if CLIENT_LEN_BYTES_MAX < text.len() + c.len_utf8() {
            break;
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use gapferry_proto::Kind;

    use super::*;
    use crate::publish::fixture;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn want(kind: Kind, name: &str) -> Want {
        Want::new(kind, name, None, None).unwrap()
    }

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
        (temp, home)
    }

    #[test]
    fn a_want_is_written_once_with_who_asked_first_and_read_again() {
        let (_temp, home) = home();
        for client in ["10.0.0.7", "10.0.0.8"] {
            let wants = Wants::open(&home).unwrap();
            let add = || {
                let pause = want(Kind::Image, "registry.k8s.io/pause:3.11");
                wants.add(pause, Some(client.to_owned()), NOW).unwrap()
            };
            assert_eq!((add(), add()), (client == "10.0.0.7", false));
        }
        let text = std::fs::read_to_string(path(&home)).unwrap();
        let expected = "{\"kind\":\"image\",\"name\":\"registry.k8s.io/pause:3.11\",\
                        \"client\":\"10.0.0.7\",\"time\":\"1970-01-01T00:00:00Z\"}\n";
        assert_eq!(text, expected);
        assert_eq!(read(&home).unwrap().len(), 1);
    }

    #[test]
    fn a_torn_line_and_one_of_an_earlier_agent_are_read_as_far_as_they_go() {
        let (_temp, home) = home();
        create_folders(&home.join("state")).unwrap();
        let old = "{\"kind\":\"deb\",\"name\":\"socat\"}\n{\"kind\":\"de";
        std::fs::write(path(&home), old).unwrap();
        let noted = Noted { want: want(Kind::Deb, "socat"), client: None, time: None };
        assert_eq!(read(&home).unwrap(), [noted]);
    }

    #[test]
    fn what_an_import_brings_leaves_the_log_and_may_be_wanted_anew() {
        let (_temp, home) = home();
        let wants = Wants::open(&home).unwrap();
        let (tool, other) = (want(Kind::File, "h.example/a"), want(Kind::File, "h.example/b"));
        for want in [&tool, &other] {
            wants.add(want.clone(), None, NOW).unwrap();
        }
        let snapshot = Snapshot::of([fixture::file("h.example/a", b"a")]).unwrap();
        let left: Vec<Want> =
            unmet(read(&home).unwrap(), &snapshot).into_iter().map(|noted| noted.want).collect();
        assert_eq!(left, std::slice::from_ref(&other));
        settle(&home, &snapshot).unwrap();
        assert_eq!(wants.all(), [other]);
        assert!(wants.add(tool, None, NOW).unwrap(), "a server that runs sees the new file");
        assert_eq!(forget(&home, "h.example/a").unwrap(), 1);
        assert_eq!(forget(&home, "h.example/a").unwrap(), 0);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let (_temp, home) = home();
        let noted = |number: usize| Noted {
            want: want(Kind::Deb, &format!("p{number}")),
            client: None,
            time: None,
        };
        let all: Vec<Noted> = (0..limits::WANTS_MAX).map(noted).collect();
        create_folders(&home.join("state")).unwrap();
        write(&home, &all[1..]).unwrap();
        let wants = Wants::open(&home).unwrap();
        assert!(wants.add(want(Kind::Deb, "last"), None, NOW).unwrap());
        assert!(!wants.add(want(Kind::Deb, "beyond"), None, NOW).unwrap());
        assert_eq!(read(&home).unwrap().len(), limits::WANTS_MAX);
    }

    #[test]
    fn who_asked_is_one_short_line() {
        assert_eq!(short("node1\n\u{1b}[31m"), "node1[31m");
        assert_eq!(short(&"é".repeat(200)).len(), CLIENT_LEN_BYTES_MAX);
    }
}
