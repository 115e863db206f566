//! Opens a chart archive.
//!
//! In:   the bytes of a `.tgz`, and the [`Room`] that is left for what is in it.
//! Out:  its files by their path below the chart's own folder.
//! Never: a file on disk. Links, devices and other members that are no files are passed over.
//!
//! | attempt                                | stopped by                              |
//! |----------------------------------------|-----------------------------------------|
//! | a compression bomb                     | the bound on the plain stream           |
//! | a path out of the folder               | [`member_path`]                         |
//! | a sparse member of many gigabytes      | only plain files are read               |
//! | a file that two readers see in two ways| a path that comes twice is refused      |

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use flate2::read::MultiGzDecoder;
use gapferry_proto::limits;
use tar::EntryType;

use super::bounds;

/// Files by path, `templates/deployment.yaml`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What is left for a chart and all charts in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    pub plain_len_bytes: u64,
    pub charts: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { plain_len_bytes: bounds::CHART_PLAIN_LEN_BYTES_MAX, charts: bounds::CHARTS_MAX }
    }
}

/// Why bytes are no archive that we open.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the archive has {len_bytes} bytes, more than {max}")]
    TooLong { len_bytes: u64, max: u64 },
    #[error("the archive is no tar within gzip, or damaged")]
    Damaged(#[source] io::Error),
    #[error("the archive expands to more than {max} bytes; it is made to harm")]
    Bomb { max: u64 },
    #[error("{path:?} has {len_bytes} bytes, more than {max}")]
    Member { path: String, len_bytes: u64, max: u64 },
    #[error("the archive has more than {} members", bounds::MEMBERS_MAX)]
    Members,
    #[error("{0:?} does not stay in the chart's folder")]
    Path(String),
    #[error("{0:?} comes twice")]
    Twice(String),
}

/// Reads every file of an archive and takes its plain length from `room`.
///
/// The whole costs at most the room in memory, and 200 times the archive's length.
///
/// # Errors
///
/// [`ArchiveError`]: the archive is refused as a whole.
pub fn read(bytes: &[u8], room: &mut Room) -> Result<Files, ArchiveError> {
    let (len_bytes, max) = (bytes.len() as u64, bounds::CHART_LEN_BYTES_MAX);
    if max < len_bytes {
        return Err(ArchiveError::TooLong { len_bytes, max });
    }
    let expanded = len_bytes.saturating_mul(limits::PEEL_EXPANSION_MAX);
    let max = expanded.max(limits::PEEL_EXPANSION_FREE_BYTES).min(room.plain_len_bytes);
    let mut archive = tar::Archive::new(MultiGzDecoder::new(bytes).take(max.saturating_add(1)));
    let read = members(&mut archive);
    let left = archive.into_inner().limit();
    if left == 0 {
        return Err(ArchiveError::Bomb { max });
    }
    let plain_len_bytes = max.saturating_add(1).saturating_sub(left);
    room.plain_len_bytes = room.plain_len_bytes.saturating_sub(plain_len_bytes);
    read
}

fn members<R: Read>(archive: &mut tar::Archive<R>) -> Result<Files, ArchiveError> {
    let mut files = Files::new();
    let entries = archive.entries().map_err(ArchiveError::Damaged)?;
    for (i, entry) in entries.enumerate() {
        if i == bounds::MEMBERS_MAX {
            return Err(ArchiveError::Members);
        }
        let mut entry = entry.map_err(ArchiveError::Damaged)?;
        let kind = entry.header().entry_type();
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let path = member_path(&entry.path_bytes())?;
        let (len_bytes, max) = (entry.size(), bounds::MEMBER_LEN_BYTES_MAX);
        if max < len_bytes {
            return Err(ArchiveError::Member { path, len_bytes, max });
        }
        let mut content = Vec::new();
        let held = entry.read_to_end(&mut content).map_err(ArchiveError::Damaged)?;
        if held as u64 != len_bytes {
            return Err(ArchiveError::Damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        if files.insert(path.clone(), content).is_some() {
            return Err(ArchiveError::Twice(path));
        }
    }
    Ok(files)
}

/// The path of a member below the chart's folder, whatever that is called.
///
/// Stricter than Helm (`loader.LoadArchiveFiles`), which lets the first part be anything.
fn member_path(bytes: &[u8]) -> Result<String, ArchiveError> {
    let wrong = || ArchiveError::Path(String::from_utf8_lossy(bytes).chars().take(200).collect());
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let text = text.replace('\\', "/");
    let is_drive = text.split('/').any(|part| part.len() == 2 && part.ends_with(':'));
    if text.starts_with('/') || text.contains('\0') || is_drive {
        return Err(wrong());
    }
    let parts: Vec<&str> =
        text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || parts.len() < 2 {
        return Err(wrong());
    }
    Ok(parts[1..].join("/"))
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    use super::*;

    fn tgz(build: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut tar);
        tar.into_inner().unwrap().finish().unwrap()
    }

    /// Puts a member with any name, which the library's own paths would refuse.
    fn put(tar: &mut Builder<GzEncoder<Vec<u8>>>, kind: EntryType, name: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }

    fn read_all(bytes: &[u8]) -> Result<Files, ArchiveError> {
        read(bytes, &mut Room::default())
    }

    #[test]
    fn files_are_held_by_their_path_below_the_charts_folder() {
        let bytes = tgz(|tar| {
            put(tar, EntryType::Directory, "a/templates/", b"");
            put(tar, EntryType::Regular, "a/Chart.yaml", b"name: a");
            put(tar, EntryType::Regular, "a\\templates\\x.yaml", b"x");
            put(tar, EntryType::Symlink, "a/link", b"");
            put(tar, EntryType::Link, "a/hard", b"");
            put(tar, EntryType::Fifo, "a/fifo", b"");
        });
        let expected = [("Chart.yaml", b"name: a".to_vec()), ("templates/x.yaml", b"x".to_vec())];
        let expected = expected.map(|(path, content)| (path.to_owned(), content)).into();
        let mut room = Room::default();
        assert_eq!(read(&bytes, &mut room).unwrap(), expected);
        assert!(room.plain_len_bytes < Room::default().plain_len_bytes);
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        for name in
            ["../a/b", "a/../../b", "/a/b", "a/../b", "Chart.yaml", "a/c:/b", "c:/a", "a\\..\\b"]
        {
            let bytes = tgz(|tar| put(tar, EntryType::Regular, name, b"x"));
            let error = read_all(&bytes).unwrap_err();
            assert!(matches!(error, ArchiveError::Path(_)), "{name}: {error}");
        }
    }

    #[test]
    fn what_harms_is_refused() {
        let zeros = |len: usize| tgz(|tar| put(tar, EntryType::Regular, "a/x", &vec![0; len]));
        let twice = tgz(|tar| {
            put(tar, EntryType::Regular, "a/x", b"1");
            put(tar, EntryType::Regular, "b/./x", b"2");
        });
        let many = tgz(|tar| {
            for i in 0..=bounds::MEMBERS_MAX {
                put(tar, EntryType::Regular, &format!("a/{i}"), i.to_string().as_bytes());
            }
        });
        let whole = tgz(|tar| {
            let noise: Vec<u8> = (0..9000_u32).flat_map(u32::to_le_bytes).collect();
            put(tar, EntryType::Regular, "a/x", &noise);
        });
        for (bytes, said) in [
            (zeros(4 << 20), "expands to more than"),
            (zeros(6 << 20), "more than"),
            (twice, "\"x\" comes twice"),
            (many, "more than 20000 members"),
            (b"not gzip".to_vec(), "no tar within gzip"),
            (whole[..whole.len() / 2].to_vec(), "no tar within gzip"),
            (vec![0; (64 << 20) + 1], "the archive has 67108865 bytes"),
        ] {
            let error = read_all(&bytes).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn the_room_of_all_archives_together_is_bounded() {
        let bytes = tgz(|tar| put(tar, EntryType::Regular, "a/x", &[0; 2000]));
        let mut room = Room { plain_len_bytes: 5000, charts: 1 };
        read(&bytes, &mut room).unwrap();
        assert!(matches!(read(&bytes, &mut room), Err(ArchiveError::Bomb { .. })));
    }
}
