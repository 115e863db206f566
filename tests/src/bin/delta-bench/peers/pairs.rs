//! Tools that take one old and one new file.
//!
//! Each patch is applied again and the result compared: a figure stands only for a patch that
//! works.

use std::{fs, path::Path, process::Command};

use ::tests::clients::clean;
use anyhow::{Context as _, bail, ensure};

use super::{Figure, Outcome, Peer};
use crate::{
    artifact::len_bytes,
    measure::{Done, run},
};

/// bsdiff takes 17 bytes of memory for each of the old file.
const BSDIFF_OLD_BYTES_MAX: usize = 200_000_000;

const HDIFF: &str = "import hdiffpatch, sys; a = sys.argv; r = lambda p: open(p, 'rb').read(); \
    open(a[3], 'wb').write(hdiffpatch.diff(r(a[1]), r(a[2]), \
    compression=hdiffpatch.Lzma2Config(level=9, window=26), validate=False))";
const HPATCH: &str = "import hdiffpatch, sys; a = sys.argv; r = lambda p: open(p, 'rb').read(); \
    open(a[2], 'wb').write(hdiffpatch.apply(r(a[1]), r(a[3])))";

/// What a tool needs to bring `new` where `old` is; an empty `old` is none.
///
/// # Errors
///
/// The tool fails, or its patch does not give `new`.
pub fn measure(peer: Peer, old: &[u8], new: &[u8], scratch: &Path) -> anyhow::Result<Outcome> {
    for (name, bytes) in [("old", old), ("new", new), ("basis", old)] {
        fs::write(scratch.join(name), bytes)?;
    }
    let figure = match peer {
        Peer::Zstd | Peer::ZstdPeeled => zstd(scratch, !old.is_empty())?,
        Peer::HdiffPatch | Peer::HdiffPatchPeeled => hdiff(scratch)?,
        Peer::Bsdiff | Peer::BsdiffPeeled if old.len() > BSDIFF_OLD_BYTES_MAX => {
            return Ok(Err("more than 200 MB, too much for bsdiff's memory".to_owned()));
        }
        Peer::Bsdiff | Peer::BsdiffPeeled => bsdiff(scratch)?,
        Peer::Rsync => rsync(scratch)?,
        Peer::Casync | Peer::Restic | Peer::Borg => bail!("{} keeps a store", peer.name()),
    };
    let result = if peer == Peer::Rsync { "basis" } else { "result" };
    let back = fs::read(scratch.join(result)).context("no result")?;
    ensure!(back == new, "{} did not bring the new file back", peer.name());
    for name in ["patch", "result"] {
        let _none = fs::remove_file(scratch.join(name));
    }
    Ok(Ok(figure))
}

fn zstd(scratch: &Path, has_old: bool) -> anyhow::Result<Figure> {
    let tool = |args: &[&str]| {
        let mut zstd = clean("zstd", scratch);
        zstd.args(["-q", "-f", "--long=31"]).args(args);
        if has_old {
            zstd.arg("--patch-from=old");
        }
        zstd
    };
    figure(
        scratch,
        &mut tool(&["-19", "new", "-o", "patch"]),
        &mut tool(&["-d", "patch", "-o", "result"]),
    )
}

fn hdiff(scratch: &Path) -> anyhow::Result<Figure> {
    let python = |script: &str, files: [&str; 3]| {
        let mut python = clean("python3", scratch);
        python.args(["-c", script]).args(files);
        python
    };
    figure(
        scratch,
        &mut python(HDIFF, ["old", "new", "patch"]),
        &mut python(HPATCH, ["old", "result", "patch"]),
    )
}

fn bsdiff(scratch: &Path) -> anyhow::Result<Figure> {
    figure(
        scratch,
        clean("bsdiff", scratch).args(["old", "new", "patch"]),
        clean("bspatch", scratch).args(["old", "result", "patch"]),
    )
}

fn figure(scratch: &Path, make: &mut Command, apply: &mut Command) -> anyhow::Result<Figure> {
    let make = run(make)?.cost;
    let apply = run(apply)?.cost;
    Ok(Figure { bytes: len_bytes(&scratch.join("patch"))?, make, apply })
}

/// Only the literal data counts: the rest of a batch is as small as a delta's own instructions.
fn rsync(scratch: &Path) -> anyhow::Result<Figure> {
    let mut write = clean("rsync", scratch);
    write.args(["--stats", "--ignore-times", "--no-whole-file", "--only-write-batch=patch"]);
    let Done { stdout, cost } = run(write.args(["new", "basis"]))?;
    let bytes = literal_bytes(&stdout).context("rsync told of no literal data")?;
    let mut read = clean("rsync", scratch);
    let apply = run(read.args(["--ignore-times", "--read-batch=patch", "basis"]))?.cost;
    Ok(Figure { bytes, make: cost, apply })
}

fn literal_bytes(stats: &str) -> Option<u64> {
    let line = stats.lines().find_map(|line| line.strip_prefix("Literal data:"))?;
    let digits = |word: &str| word.replace([',', '.'], "");
    digits(line.split_whitespace().next()?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_data_is_read_from_the_statistics() {
        let stats =
            "Total file size: 9 bytes\nLiteral data: 1,234,567 bytes\nMatched data: 0 bytes\n";
        assert_eq!(literal_bytes(stats), Some(1_234_567));
        assert_eq!(literal_bytes(""), None);
    }
}
