//! Where blobs lie: `blobs/sha256/ab/cd/<64 hex digits>`.

use std::io;

use camino::{Utf8DirEntry, Utf8Path};
use gapferry_proto::{BlobId, BlobRef};

/// The path of a blob below the store's root.
pub fn blob_path(id: BlobId) -> String {
    let hex = id.hex();
    format!("blobs/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4])
}

/// Every well-named blob below `root`, sorted by folder.
pub fn walk(root: &Utf8Path) -> impl Iterator<Item = io::Result<BlobRef>> + use<> {
    let folders = sorted(root).and_then(|first| {
        let second = first.iter().map(|dir| sorted(dir.path()));
        Ok(second.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    });
    let (folders, failed) = match folders {
        Ok(folders) => (folders, None),
        Err(e) => (vec![], Some(Err(e))),
    };
    failed.into_iter().chain(folders.into_iter().flat_map(|dir| blobs_in(&dir)))
}

fn blobs_in(folder: &Utf8DirEntry) -> Vec<io::Result<BlobRef>> {
    match sorted(folder.path()) {
        Ok(files) => files.iter().filter_map(blob_ref).collect(),
        Err(e) => vec![Err(e)],
    }
}

fn blob_ref(file: &Utf8DirEntry) -> Option<io::Result<BlobRef>> {
    let id = format!("sha256:{}", file.file_name()).parse().ok()?;
    Some(file.metadata().map(|meta| BlobRef { id, len_bytes: meta.len() }))
}

fn sorted(folder: &Utf8Path) -> io::Result<Vec<Utf8DirEntry>> {
    let mut entries = match folder.read_dir_utf8() {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => vec![],
        Err(e) => return Err(e),
    };
    entries.sort_by(|a, b| a.file_name().cmp(b.file_name()));
    Ok(entries)
}
