//! The pinned corpus: which artifacts of which versions, hop by hop, and getting them.
//!
//! In:   a folder, in which what is there already stays; pip, apt and Go as the machine has them.
//! Out:  hops, and a line for each that cannot be had: nothing is left out silently.

mod list;

use std::path::PathBuf;

use crate::{
    artifact::{Artifact, Hop, Pair},
    charts, debian,
    forms::Form,
    golang::{self, Program},
    gzip::Gzip,
    python,
};

pub use list::wanted;

/// A hop before it is fetched.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: String,
    /// Whether the small corpus has it.
    pub small: bool,
    pub sources: Vec<(Option<Source>, Source)>,
}

/// Where an artifact comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Wheel { project: &'static str, version: &'static str },
    Deb { package: &'static str, version: &'static str },
    Go { program: Program, form: Form },
    Tarball { module: &'static str, version: &'static str },
    Chart { version: &'static str },
    ChartByHelm { helm: Program, version: &'static str },
}

/// The folder in which the corpus lies.
#[derive(Debug)]
pub struct Corpus {
    folder: PathBuf,
    gzip: Gzip,
}

impl Corpus {
    pub fn new(folder: PathBuf) -> Self {
        let gzip = Gzip::new(&folder);
        Self { folder, gzip }
    }

    /// Gets all that a hop is made of.
    ///
    /// # Errors
    ///
    /// The first artifact that is not to be had.
    pub fn get(&self, wanted: &Wanted) -> anyhow::Result<Hop> {
        let pair = |(old, new): &(Option<Source>, Source)| {
            let old = old.as_ref().map(|source| self.artifact(source)).transpose()?;
            Ok(Pair { old, new: self.artifact(new)? })
        };
        let pairs: anyhow::Result<Vec<Pair>> = wanted.sources.iter().map(pair).collect();
        Ok(Hop { name: wanted.name.clone(), pairs: pairs? })
    }

    fn artifact(&self, source: &Source) -> anyhow::Result<Artifact> {
        let (folder, gzip) = (&self.folder, &self.gzip);
        let file = match *source {
            Source::Go { program, form } => return form.of(&program, folder, gzip),
            Source::Wheel { project, version } => {
                python::wheel(&folder.join("wheels"), project, version)
            }
            Source::Deb { package, version } => {
                debian::package(&folder.join("debs"), package, version)
            }
            Source::Tarball { module, version } => golang::source(folder, gzip, module, version),
            Source::Chart { version } => charts::by_go(folder, gzip, version),
            Source::ChartByHelm { helm, version } => charts::by_helm(folder, &helm, version),
        };
        file.map(Artifact::File)
    }
}

/// `go1.24.7` or, where the toolchain moves, `go1.24.7 -> go1.25.7`.
fn toolchains(old: &Program, new: &Program) -> String {
    if old.toolchain == new.toolchain {
        new.toolchain.to_owned()
    } else {
        format!("{} -> {}", old.toolchain, new.toolchain)
    }
}
