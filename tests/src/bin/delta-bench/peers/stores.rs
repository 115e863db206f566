//! Tools that keep a store of chunks: how much it grows by the new files after the old ones.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;
use tests::clients::clean;

use super::Figure;
use crate::{
    artifact::folder_len_bytes,
    measure::{Cost, run},
};

type Parts = [(Option<PathBuf>, PathBuf)];

/// New chunks and the new indexes.
///
/// # Errors
///
/// casync's.
pub fn casync(parts: &Parts, scratch: &Path) -> anyhow::Result<Figure> {
    let (store, indexes) = (scratch.join("store"), scratch.join("indexes"));
    for folder in [&store, &indexes] {
        fs::create_dir_all(folder)?;
    }
    let casync = |verb: &str, index: &str, file: &Path| {
        let mut casync = clean("casync", scratch);
        casync.args([verb, "--store=store", index]).arg(file);
        casync
    };
    let old: Vec<&PathBuf> = parts.iter().filter_map(|(old, _)| old.as_ref()).collect();
    for (at, old) in old.into_iter().enumerate() {
        run(&mut casync("make", &format!("old-{at}.caibx"), old))?;
    }
    let before = folder_len_bytes(&store);
    let (mut make, mut apply) = (Cost::default(), Cost::default());
    for (at, (_, new)) in parts.iter().enumerate() {
        let index = format!("indexes/{at}.caibx");
        make = make.and(run(&mut casync("make", &index, new))?.cost);
    }
    let bytes = folder_len_bytes(&store) - before + folder_len_bytes(&indexes);
    for (at, (_, new)) in parts.iter().enumerate() {
        // casync does not shorten a file that is there.
        let result = scratch.join(format!("result-{at}"));
        let index = format!("indexes/{at}.caibx");
        apply = apply.and(run(&mut casync("extract", &index, &result))?.cost);
        ensure!(fs::read(&result)? == fs::read(new)?, "casync did not bring the new file back");
    }
    Ok(Figure { bytes, make, apply })
}

/// Growth of a repository of the second format, packed as small as restic can.
///
/// # Errors
///
/// restic's.
pub fn restic(parts: &Parts, scratch: &Path) -> anyhow::Result<Figure> {
    lay_out(parts, scratch)?;
    let restic = |args: &[&str]| {
        let mut restic = clean("restic", scratch);
        restic.args(["--no-cache", "--quiet", "-r", "repository"]).args(args);
        restic.env("RESTIC_PASSWORD", "bench");
        restic
    };
    run(&mut restic(&["init", "--repository-version", "2"]))?;
    growth(
        scratch,
        &mut restic(&["backup", "--compression", "max", "old"]),
        &mut restic(&["backup", "--compression", "max", "new"]),
        &mut restic(&["restore", "latest", "--target", "result"]),
    )
}

/// Growth of a repository without encryption, packed by zstd 19.
///
/// # Errors
///
/// borg's.
pub fn borg(parts: &Parts, scratch: &Path) -> anyhow::Result<Figure> {
    lay_out(parts, scratch)?;
    let repository = scratch.join("repository").display().to_string();
    let borg = |folder: &Path, args: &[&str]| {
        let mut borg = clean("borg", scratch);
        borg.current_dir(folder).args(args).env("BORG_BASE_DIR", scratch.join("base"));
        borg.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        borg
    };
    let create = |name: &str| {
        let archive = format!("{repository}::{name}");
        borg(scratch, &["create", "-C", "zstd,19", &archive, name])
    };
    run(&mut borg(scratch, &["init", "-e", "none", &repository]))?;
    let result = scratch.join("result");
    fs::create_dir_all(&result)?;
    let archive = format!("{repository}::new");
    growth(
        scratch,
        &mut create("old"),
        &mut create("new"),
        &mut borg(&result, &["extract", &archive]),
    )
}

/// Copies old and new files into two folders, each content once.
fn lay_out(parts: &Parts, scratch: &Path) -> anyhow::Result<()> {
    for (folder, files) in [
        ("old", parts.iter().filter_map(|(old, _)| old.as_ref()).collect::<BTreeSet<_>>()),
        ("new", parts.iter().map(|(_, new)| new).collect()),
    ] {
        fs::create_dir_all(scratch.join(folder))?;
        for (at, file) in files.into_iter().enumerate() {
            fs::copy(file, scratch.join(folder).join(at.to_string()))?;
        }
    }
    Ok(())
}

fn growth(
    scratch: &Path,
    old: &mut Command,
    new: &mut Command,
    restore: &mut Command,
) -> anyhow::Result<Figure> {
    let repository = scratch.join("repository");
    run(old)?;
    let before = folder_len_bytes(&repository);
    let make = run(new)?.cost;
    let bytes = folder_len_bytes(&repository).saturating_sub(before);
    let apply = run(restore)?.cost;
    Ok(Figure { bytes, make, apply })
}
