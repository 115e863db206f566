//! One project as all indexes together offer it.
//!
//! In:   the pages of one project, the strongest index first.
//! Out:  a [`Project`]: releases from the newest to the oldest, each with its files.
//! Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use gapferry_proto::Digest;
use pep440_rs::{Operator, Version, VersionSpecifiers};
use pep508_rs::PackageName;

use super::{
    index::{IndexFile, Page},
    tags::Environment,
    wheel::{self, Form},
};

/// What there is of one project.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Project {
    /// The newest first.
    pub releases: Vec<Release>,
    /// How many files had no SHA-256.
    pub without_digest: usize,
}

/// One version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    pub version: Version,
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct File {
    offered: IndexFile,
    form: Form,
    /// `None` also when it is not understood: then every Python is let in, as pip does.
    requires_python: Option<VersionSpecifiers>,
}

impl Project {
    /// Sorts the files of `pages` into releases; of two files with one name the first counts.
    pub fn new(name: &PackageName, pages: Vec<Page>) -> Self {
        let without_digest = pages.iter().map(|page| page.without_digest).sum();
        let mut releases: BTreeMap<Version, Vec<File>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for offered in pages.into_iter().flat_map(|page| page.files) {
            let Some(dist) = wheel::parse(offered.filename.as_str(), name) else { continue };
            if !seen.insert(offered.filename.clone()) {
                continue;
            }
            let requires_python = offered.requires_python.as_ref().and_then(|s| s.parse().ok());
            let file = File { offered, form: dist.form, requires_python };
            releases.entry(dist.version).or_default().push(file);
        }
        let releases = releases.into_iter().rev();
        let releases = releases.map(|(version, files)| Release { version, files }).collect();
        Self { releases, without_digest }
    }
}

impl Release {
    /// The file that pip would take in `environment`: the best wheel, else the source.
    ///
    /// A withdrawn file is only taken when its version is asked for by `==` (PEP 592).
    pub fn best(
        &self,
        environment: &Environment,
        pinned: bool,
        wanted: impl Fn(&Digest) -> bool,
    ) -> Option<(&IndexFile, &Form)> {
        let usable = self.files.iter().filter(|file| {
            (pinned || file.offered.yanked.is_none())
                && file.requires_python.as_ref().is_none_or(|spec| environment.satisfies(spec))
                && wanted(&file.offered.digest)
        });
        let ranked = usable.filter_map(|file| match &file.form {
            Form::Wheel { build, tags } => {
                Some(((environment.rank(tags)?, Reverse(build.clone())), file))
            }
            Form::Source(_) => Some(((usize::MAX, Reverse((0, String::new()))), file)),
        });
        let best = ranked.min_by(|(a, _), (b, _)| a.cmp(b));
        best.map(|(_, file)| (&file.offered, &file.form))
    }
}

/// Whether `version` is one of those that `specifiers` mean (PEP 440).
pub fn contains(specifiers: &VersionSpecifiers, version: &Version) -> bool {
    // `==2.1.*` compares release segments; a short version is padded with zeros for that, which
    // is all the same to every operator but `===`.
    let mut release = version.release().to_vec();
    release.resize(release.len().max(8), 0);
    let padded = version.clone().with_release(release);
    specifiers.iter().all(|specifier| match specifier.operator() {
        Operator::ExactEqual => specifier.contains(version),
        _ => specifier.contains(&padded),
    })
}

/// Whether one version is asked for by name.
pub fn pins(specifiers: &VersionSpecifiers) -> bool {
    let exact = |operator: &Operator| matches!(operator, Operator::Equal | Operator::ExactEqual);
    specifiers.iter().any(|specifier| exact(specifier.operator()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_versions_are_compared_as_if_padded_with_zeros() {
        for (specifiers, version, expected) in [
            ("==2.1.*", "2", false),
            ("==2.0.*", "2", true),
            ("!=2.1.*", "2", true),
            ("~=2.0.0", "2", true),
            ("==2.0", "2.0.0", true),
            ("===2.0", "2.0", true),
            ("===2.0", "2.0.0", false),
            ("==1.0", "1.0+local", true),
            ("<2", "2rc1", false),
            (">1", "1.post1", false),
        ] {
            let found = contains(&specifiers.parse().unwrap(), &version.parse().unwrap());
            assert_eq!(found, expected, "{version} in {specifiers}");
        }
    }
}
