//! Which wheels an interpreter on a platform takes, and which it likes best.
//!
//! In:   a Python version (`3.11` or `3.11.7`) and a platform (`manylinux_2_17_x86_64`).
//! Out:  an [`Environment`]: the tags in pip's order of preference and the marker values.
//! Pure: nothing is asked of the machine this runs on; the nodes are others.

use std::collections::HashMap;

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};

/// A number that no patch release of Python reaches.
const PATCH_LAST: u64 = 99;

/// A tag of a wheel (PEP 425).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    python: String,
    abi: String,
    platform: String,
}

impl Tag {
    /// Puts a tag together.
    pub fn new(
        python: impl Into<String>,
        abi: impl Into<String>,
        platform: impl Into<String>,
    ) -> Self {
        Self { python: python.into(), abi: abi.into(), platform: platform.into() }
    }
}

/// Why a version or a platform of the waybill is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{0:?} is no Python version; write \"3.11\" or \"3.11.7\"")]
    Python(String),
    #[error(
        "{0:?} is no platform of Linux wheels; write manylinux_2_17_x86_64, musllinux_1_2_aarch64 or linux_x86_64"
    )]
    Platform(String),
}

/// One Python version on one platform.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `Python 3.11 on manylinux_2_17_x86_64`, for sentences.
    pub label: String,
    ranks: HashMap<Tag, usize>,
    /// The first and the last patch release when the waybill names none: what either needs is
    /// carried, since the node's patch release is not known.
    points: Vec<(Version, MarkerEnvironment)>,
}

impl Environment {
    /// Works out what `python` on `platform` takes.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] names the word of the waybill that is not understood.
    pub fn new(python: &str, platform: &str) -> Result<Self, EnvironmentError> {
        let not_python = || EnvironmentError::Python(python.to_owned());
        let version: Version = python.parse().map_err(|_| not_python())?;
        let &[3, minor, ref patch @ ..] = version.release() else { return Err(not_python()) };
        let patches = match (patch, version.is_stable() && 99 >= minor) {
            ([], true) => vec![0, PATCH_LAST],
            ([patch], true) => vec![*patch],
            _ => return Err(not_python()),
        };
        let (platforms, machine) =
            platforms(platform).ok_or_else(|| EnvironmentError::Platform(platform.to_owned()))?;
        let points = patches
            .into_iter()
            .map(|patch| point(minor, patch, machine).ok_or_else(not_python))
            .collect::<Result<_, _>>()?;
        let ranks = tags(minor, &platforms).into_iter().enumerate().rev();
        Ok(Self {
            label: format!("Python {python} on {platform}"),
            ranks: ranks.map(|(rank, tag)| (tag, rank)).collect(),
            points,
        })
    }

    /// The place of the best of `tags` in the order of preference; `None` when none is taken.
    pub fn rank(&self, tags: &[Tag]) -> Option<usize> {
        tags.iter().filter_map(|tag| self.ranks.get(tag)).min().copied()
    }

    /// Whether any patch release that is meant satisfies `requires_python`.
    pub fn satisfies(&self, requires_python: &pep440_rs::VersionSpecifiers) -> bool {
        self.points.iter().any(|(version, _)| requires_python.contains(version))
    }

    /// The marker values of each patch release that is meant.
    pub fn markers(&self) -> impl Iterator<Item = &MarkerEnvironment> {
        self.points.iter().map(|(_, markers)| markers)
    }
}

fn point(minor: u64, patch: u64, machine: &str) -> Option<(Version, MarkerEnvironment)> {
    let full = format!("3.{minor}.{patch}");
    let markers = MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: &full,
        python_version: &format!("3.{minor}"),
        sys_platform: "linux",
    };
    Some((full.parse().ok()?, markers.try_into().ok()?))
}

/// The tags of `CPython` 3.`minor`, best first, in the order of `packaging.tags.sys_tags`.
fn tags(minor: u64, platforms: &[String]) -> Vec<Tag> {
    let cp = format!("cp3{minor}");
    let own_abi = if minor < 8 { format!("{cp}m") } else { cp.clone() };
    let pys = std::iter::once(format!("py3{minor}"))
        .chain(std::iter::once("py3".to_owned()))
        .chain((0..minor).rev().map(|older| format!("py3{older}")));
    let pys: Vec<String> = pys.collect();
    let own = [own_abi.as_str(), "abi3", "none"].map(|abi| (cp.clone(), abi.to_owned()));
    let older = (2..minor).rev().map(|older| (format!("cp3{older}"), "abi3".to_owned()));
    let pure = pys.iter().map(|py| (py.clone(), "none".to_owned()));

    let mut tags: Vec<Tag> = own
        .into_iter()
        .chain(older)
        .chain(pure)
        .flat_map(|(python, abi)| {
            platforms.iter().map(move |platform| Tag::new(&python, &abi, platform))
        })
        .collect();
    tags.push(Tag::new(cp, "none", "any"));
    tags.extend(pys.into_iter().map(|py| Tag::new(py, "none", "any")));
    tags
}

/// The platform tags that `platform` runs, newest first, and its machine.
///
/// PEP 600 (manylinux, with the aliases of PEP 513, 571 and 599) and PEP 656 (musllinux).
fn platforms(platform: &str) -> Option<(Vec<String>, &str)> {
    if let Some(machine) = platform.strip_prefix("linux_") {
        return is_machine(machine).then(|| (vec![platform.to_owned()], machine));
    }
    let (mut tags, machine) = if let Some(rest) = platform.strip_prefix("musllinux_") {
        let (major, minor, machine) = numbers(rest)?;
        let tags = (0..=minor).rev().map(|m| format!("musllinux_{major}_{m}_{machine}"));
        (tags.collect(), machine)
    } else {
        let (minor, machine) = glibc(platform)?;
        (manylinux(minor, machine), machine)
    };
    tags.push(format!("linux_{machine}"));
    (is_machine(machine) && 1 < tags.len()).then_some((tags, machine))
}

/// The minor of glibc 2 that a manylinux name promises.
fn glibc(platform: &str) -> Option<(u32, &str)> {
    if let Some(rest) = platform.strip_prefix("manylinux_") {
        let (major, minor, machine) = numbers(rest)?;
        return (major == 2).then_some((minor, machine));
    }
    let (alias, machine) = platform.split_once('_')?;
    let minor = ALIASES.iter().find_map(|&(minor, name)| (name == alias).then_some(minor))?;
    Some((minor, machine))
}

/// Older names of manylinux platforms, by the minor of glibc 2.
const ALIASES: [(u32, &str); 3] = [(17, "manylinux2014"), (12, "manylinux2010"), (5, "manylinux1")];

fn manylinux(newest: u32, machine: &str) -> Vec<String> {
    // Only the two Intel architectures were there before glibc 2.17's alias.
    let oldest = if matches!(machine, "x86_64" | "i686") { 5 } else { 17 };
    let mut tags = Vec::new();
    for minor in (oldest..=newest).rev() {
        tags.push(format!("manylinux_2_{minor}_{machine}"));
        let alias = ALIASES.iter().find(|(m, _)| *m == minor);
        tags.extend(alias.map(|(_, name)| format!("{name}_{machine}")));
    }
    tags
}

/// Reads `2_17_x86_64`; the minor stays below 100, so that the list of older ones is short.
fn numbers(text: &str) -> Option<(u32, u32, &str)> {
    let mut parts = text.splitn(3, '_');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok().filter(|minor| *minor < 100)?;
    Some((major, minor, parts.next()?))
}

fn is_machine(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(env: &Environment, python: &str, abi: &str, platform: &str) -> Option<usize> {
        env.rank(&[Tag::new(python, abi, platform)])
    }

    #[test]
    fn a_platform_stands_for_itself_and_its_older_names() {
        let (tags, machine) = platforms("manylinux_2_17_x86_64").unwrap();
        let expected = [
            "manylinux_2_17_x86_64",
            "manylinux2014_x86_64",
            "manylinux_2_16_x86_64",
            "manylinux_2_15_x86_64",
            "manylinux_2_14_x86_64",
            "manylinux_2_13_x86_64",
            "manylinux_2_12_x86_64",
            "manylinux2010_x86_64",
            "manylinux_2_11_x86_64",
            "manylinux_2_10_x86_64",
            "manylinux_2_9_x86_64",
            "manylinux_2_8_x86_64",
            "manylinux_2_7_x86_64",
            "manylinux_2_6_x86_64",
            "manylinux_2_5_x86_64",
            "manylinux1_x86_64",
            "linux_x86_64",
        ];
        assert_eq!((tags, machine), (expected.map(str::to_owned).to_vec(), "x86_64"));
        assert_eq!(platforms("manylinux2014_x86_64"), platforms("manylinux_2_17_x86_64"));
        assert_eq!(
            platforms("manylinux_2_18_aarch64").unwrap().0,
            [
                "manylinux_2_18_aarch64",
                "manylinux_2_17_aarch64",
                "manylinux2014_aarch64",
                "linux_aarch64"
            ]
        );
        assert_eq!(
            platforms("musllinux_1_1_x86_64").unwrap().0,
            ["musllinux_1_1_x86_64", "musllinux_1_0_x86_64", "linux_x86_64"]
        );
    }

    #[test]
    fn tags_are_ranked_as_pip_ranks_them() {
        let env = Environment::new("3.11", "manylinux_2_17_x86_64").unwrap();
        let order = [
            ("cp311", "cp311", "manylinux_2_17_x86_64"),
            ("cp311", "cp311", "manylinux2014_x86_64"),
            ("cp311", "cp311", "manylinux1_x86_64"),
            ("cp311", "cp311", "linux_x86_64"),
            ("cp311", "abi3", "manylinux_2_17_x86_64"),
            ("cp311", "none", "manylinux_2_17_x86_64"),
            ("cp310", "abi3", "manylinux_2_17_x86_64"),
            ("cp32", "abi3", "linux_x86_64"),
            ("py311", "none", "manylinux_2_17_x86_64"),
            ("py3", "none", "manylinux_2_17_x86_64"),
            ("py310", "none", "manylinux_2_17_x86_64"),
            ("cp311", "none", "any"),
            ("py311", "none", "any"),
            ("py3", "none", "any"),
            ("py310", "none", "any"),
            ("py30", "none", "any"),
        ];
        let ranks: Vec<usize> = order
            .iter()
            .map(|(py, abi, platform)| rank(&env, py, abi, platform).unwrap())
            .collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }

    #[test]
    fn wheels_for_others_are_not_taken() {
        let env = Environment::new("3.11", "manylinux_2_17_x86_64").unwrap();
        for (python, abi, platform) in [
            ("cp312", "cp312", "manylinux_2_17_x86_64"),
            ("cp312", "abi3", "manylinux_2_17_x86_64"),
            ("cp310", "cp310", "manylinux_2_17_x86_64"),
            ("cp311", "cp311", "manylinux_2_18_x86_64"),
            ("cp311", "cp311", "manylinux_2_17_aarch64"),
            ("cp311", "cp311", "musllinux_1_1_x86_64"),
            ("cp311", "cp311", "win_amd64"),
            ("py2", "none", "any"),
            ("pp311", "pypy311_pp73", "manylinux_2_17_x86_64"),
        ] {
            assert_eq!(rank(&env, python, abi, platform), None, "{python}-{abi}-{platform}");
        }
    }

    #[test]
    fn a_version_without_patch_stands_for_its_first_and_last_one() {
        let env = Environment::new("3.9", "manylinux_2_17_x86_64").unwrap();
        for (spec, expected) in
            [(">=3.7,!=3.9.0,!=3.9.1", true), ("<3.9.1", true), ("<3.9", false), (">=3.10", false)]
        {
            assert_eq!(env.satisfies(&spec.parse().unwrap()), expected, "{spec}");
        }
        let exact = Environment::new("3.9.1", "manylinux_2_17_x86_64").unwrap();
        assert!(!exact.satisfies(&">=3.7,!=3.9.1".parse().unwrap()));
    }

    #[test]
    fn words_that_are_no_python_or_platform_are_named() {
        for bad in ["", "3", "2.7", "three", "3.11.1.1", "3.12rc1", "3.11.x", "3.4000000000"] {
            let error = Environment::new(bad, "linux_x86_64").unwrap_err();
            assert_eq!(error, EnvironmentError::Python(bad.to_owned()));
        }
        for bad in [
            "",
            "any",
            "win_amd64",
            "manylinux_2_17",
            "manylinux_3_1_x86_64",
            "linux_",
            "manylinux_2_4000000000_x86_64",
            "musllinux_1_1_X",
            "manylinux_2_4_x86_64",
        ] {
            let error = Environment::new("3.11", bad).unwrap_err();
            assert_eq!(error, EnvironmentError::Platform(bad.to_owned()));
        }
    }
}
