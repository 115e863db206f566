//! Go programs, built at pinned versions with pinned toolchains and the flags of upstream releases.
//!
//! In:   a package, its version, a toolchain; Go itself fetches the modules and the toolchain.
//! Out:  the bare binary, which of all forms is made first, and a module's source as a tar.gz.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    gzip::{Encoder, Gzip},
    measure::{command, run},
};

/// The toolchain of most of the corpus.
pub const GO: &str = "go1.24.7";
/// The next one, for hops in which the toolchain moves.
pub const NEXT_GO: &str = "go1.25.7";

/// A program in one version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    pub name: &'static str,
    pub package: &'static str,
    /// The module that the package is in.
    pub module: &'static str,
    pub version: &'static str,
    pub toolchain: &'static str,
}

impl Program {
    /// The folder of this build: each form of it lies in there.
    pub fn folder(&self, corpus: &Path) -> PathBuf {
        corpus.join("go").join(format!("{}-{}-{}", self.name, self.version, self.toolchain))
    }

    /// The bare binary; built when it is not there.
    ///
    /// # Errors
    ///
    /// Go's.
    pub fn binary(&self, corpus: &Path) -> anyhow::Result<PathBuf> {
        let folder = self.folder(corpus);
        let binary = folder.join(self.name);
        if binary.exists() {
            return Ok(binary);
        }
        eprintln!("building {} {} with {} …", self.name, self.version, self.toolchain);
        fs::create_dir_all(&folder)?;
        let part = tempfile::tempdir_in(&folder)?;
        let built = part.path().join(self.name);
        self.install(part.path())
            .or_else(|refused| self.build(part.path(), &built).context(refused))?;
        ensure!(built.exists(), "Go built no {}", self.name);
        fs::rename(built, &binary)?;
        Ok(binary)
    }

    /// `go install`, as upstream's own instructions say.
    fn install(&self, folder: &Path) -> anyhow::Result<()> {
        let mut go = go(self.toolchain, &["install", "-ldflags", "-s -w"]);
        go.current_dir(folder).env("GOBIN", folder);
        run(go.arg(format!("{}@v{}", self.package, self.version))).map(drop)
    }

    /// In a copy of the module, as its own main module: `go install` refuses modules with
    /// directives that would count only there (`replace`, `exclude`).
    fn build(&self, folder: &Path, target: &Path) -> anyhow::Result<()> {
        let module = folder.join("module");
        let copied = self.downloaded(folder)?;
        run(command("cp", ["-r", "--no-preserve=mode"]).arg(copied).arg(&module))?;
        let package = self.package.strip_prefix(self.module).context("a package of the module")?;
        let mut go = go(self.toolchain, &["build", "-ldflags", "-s -w", "-o"]);
        run(go.current_dir(&module).arg(target).arg(format!(".{package}"))).map(drop)
    }

    /// The folder of Go's module cache that this module is unpacked in.
    fn downloaded(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let mut download = go(self.toolchain, &["mod", "download", "-json"]);
        download.current_dir(folder).arg(format!("{}@v{}", self.module, self.version));
        let told: Value = serde_json::from_str(&run(&mut download)?.stdout)
            .context("go mod download prints JSON")?;
        let unpacked = told["Dir"].as_str().context("go mod download names a folder")?;
        Ok(unpacked.into())
    }
}

/// `go` with a toolchain, for Linux on amd64, without cgo.
pub fn go(toolchain: &str, args: &[&str]) -> Command {
    let mut go = command("go", args);
    go.env("GOTOOLCHAIN", toolchain).env("CGO_ENABLED", "0");
    go.env("GOOS", "linux").env("GOARCH", "amd64");
    go.env("GOFLAGS", "-mod=mod -trimpath -buildvcs=false");
    go
}

/// The source of a module as a tarball by GNU gzip; made from the zip of Go's module cache.
///
/// # Errors
///
/// Go's, or gzip's.
pub fn source(corpus: &Path, gzip: &Gzip, module: &str, version: &str) -> anyhow::Result<PathBuf> {
    let folder = corpus.join("source");
    fs::create_dir_all(&folder)?;
    let stem = format!("{}-{version}", module.replace('/', "_"));
    let target = folder.join(format!("{stem}.tar.gz"));
    if target.exists() {
        return Ok(target);
    }
    let part = tempfile::tempdir_in(&folder)?;
    let mut download = go(GO, &["mod", "download", "-json"]);
    download.current_dir(part.path());
    let told = run(download.arg(format!("{module}@v{version}")))?.stdout;
    let told: Value = serde_json::from_str(&told).context("go mod download prints JSON")?;
    let zip = told["Zip"].as_str().context("go mod download names a zip")?;
    let tar = part.path().join("source.tar");
    repack(Path::new(zip), &File::create(&tar)?)?;
    gzip.compress(Encoder::Gnu, &tar, &target)?;
    Ok(target)
}

/// A zip as a tar, sorted by name, every header alike.
fn repack(zip: &Path, target: &File) -> anyhow::Result<()> {
    let mut zip = zip::ZipArchive::new(File::open(zip)?)?;
    let mut names = zip
        .file_names()
        .map(|name| name.map(Cow::into_owned))
        .collect::<Result<Vec<String>, _>>()?;
    names.sort();
    let mut tar = tar::Builder::new(io::BufWriter::new(target));
    for name in names {
        let mut bytes = vec![];
        zip.by_name(&name)?.read_to_end(&mut bytes)?;
        append(&mut tar, &name, 0o644, &bytes)?;
    }
    io::Write::flush(&mut tar.into_inner()?)?;
    Ok(())
}

/// A file in a tar, with a header that tells nothing of this machine.
///
/// # Errors
///
/// The tar cannot be written.
pub fn append(
    tar: &mut tar::Builder<impl io::Write>,
    name: &str,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(1_700_000_000);
    tar.append_data(&mut header, name, bytes)
}
