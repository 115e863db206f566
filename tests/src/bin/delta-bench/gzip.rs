//! The gzip encoders of the corpus.
//!
//! In:   a plain file.
//! Out:  the same, compressed by Go, by pgzip, as Helm does it, or by GNU gzip.
//!
//! All but the last are in a small Go program beside this file, which is built once.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use anyhow::{Context as _, anyhow, ensure};

use crate::{
    golang::{GO, go},
    measure::{command, run},
};

/// An encoder, and its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoder {
    /// Go's `compress/gzip` at its default level.
    Go,
    /// The same at level 1.
    GoFastest,
    /// The same as [`Encoder::Go`], with the header of a chart.
    Helm,
    Pgzip,
    /// `gzip -6`.
    Gnu,
}

impl Encoder {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::GoFastest => "go1",
            Self::Helm => "helm",
            Self::Pgzip => "pgzip",
            Self::Gnu => "gnu",
        }
    }
}

/// The encoders, made ready when first asked.
#[derive(Debug)]
pub struct Gzip {
    folder: PathBuf,
    built: OnceLock<Result<PathBuf, String>>,
}

impl Gzip {
    /// Keeps the Go program below `corpus`.
    pub fn new(corpus: &Path) -> Self {
        Self { folder: corpus.join("gz"), built: OnceLock::new() }
    }

    /// Compresses a file; `target` is there whole or not at all.
    ///
    /// # Errors
    ///
    /// The encoder's, or Go is not there to build it.
    pub fn compress(&self, encoder: Encoder, plain: &Path, target: &Path) -> anyhow::Result<()> {
        let part = target.with_extension("part");
        if encoder == Encoder::Gnu {
            let mut gzip = command("gzip", ["-n", "-6", "-c"]);
            gzip.arg(plain).stdin(Stdio::null()).stdout(File::create(&part)?);
            let status = gzip.status().context("cannot start gzip")?;
            ensure!(status.success(), "gzip ended with {status}");
        } else {
            let program = self.program()?.display().to_string();
            run(command(&program, [encoder.name()]).arg(plain).arg(&part))?;
        }
        fs::rename(&part, target)?;
        Ok(())
    }

    fn program(&self) -> anyhow::Result<&Path> {
        let built = self.built.get_or_init(|| self.build().map_err(|e| format!("{e:#}")));
        built.as_deref().map_err(|error| anyhow!("the Go encoders cannot be built: {error}"))
    }

    fn build(&self) -> anyhow::Result<PathBuf> {
        let program = self.folder.join("gz");
        if !program.exists() {
            fs::create_dir_all(&self.folder)?;
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/delta-bench/gz");
            let part = self.folder.join("part");
            let mut go = go(GO, &["build", "-o"]);
            // The program's own pins count, and nothing of them is to change.
            go.env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false");
            run(go.current_dir(source).arg(&part).arg("."))?;
            fs::rename(part, &program)?;
        }
        Ok(program)
    }
}
