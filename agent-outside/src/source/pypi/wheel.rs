//! File names of distributions: what a wheel or a source archive says of itself.
//!
//! In:   a file name and the project whose page offers it.
//! Out:  a [`Dist`]: version, and for a wheel its build number and tags.
//! Pure. A name that is odd, or that belongs to another project, is no distribution: `None`.

use pep440_rs::Version;
use pep508_rs::PackageName;

use super::tags::Tag;

/// Most tags that one wheel may stand for: the widest real names expand to some dozens, so
/// this only stops names made to multiply.
const TAGS_MAX: usize = 1024;

/// What a file name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dist {
    pub version: Version,
    pub form: Form,
}

/// Built, or to be built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    Wheel {
        /// Breaks ties between wheels with the same tags: number first, then the text after it.
        build: (u64, String),
        tags: Vec<Tag>,
    },
    Source(Archive),
}

/// How a source distribution is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Archive {
    TarGz,
    Zip,
}

/// Reads the name of a file on the page of `project`.
///
/// Wheels: packaging.python.org, "Binary distribution format", file name convention. Source
/// distributions: "Source distribution format", and the older names with dashes in the project.
pub fn parse(filename: &str, project: &PackageName) -> Option<Dist> {
    if let Some(stem) = filename.strip_suffix(".whl") {
        return wheel(stem, project);
    }
    let (stem, archive) = [(".tar.gz", Archive::TarGz), (".zip", Archive::Zip)]
        .into_iter()
        .find_map(|(suffix, archive)| Some((filename.strip_suffix(suffix)?, archive)))?;
    let version = stem.match_indices('-').find_map(|(at, _)| {
        is_project(&stem[..at], project).then(|| stem[at + 1..].parse().ok()).flatten()
    })?;
    Some(Dist { version, form: Form::Source(archive) })
}

fn wheel(stem: &str, project: &PackageName) -> Option<Dist> {
    let parts: Vec<&str> = stem.split('-').collect();
    let (name, version, build, tags) = match parts[..] {
        [name, version, python, abi, platform] => (name, version, "", [python, abi, platform]),
        [name, version, build, python, abi, platform] => {
            (name, version, build, [python, abi, platform])
        }
        _ => return None,
    };
    if !is_project(name, project) {
        return None;
    }
    let form = Form::Wheel { build: build_number(build)?, tags: expand(tags)? };
    Some(Dist { version: version.parse().ok()?, form })
}

fn is_project(text: &str, project: &PackageName) -> bool {
    PackageName::new(text.to_owned()).is_ok_and(|name| name == *project)
}

fn build_number(text: &str) -> Option<(u64, String)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match (text.is_empty(), digits) {
        (true, _) => Some((0, String::new())),
        (false, 0) => None,
        (false, _) => Some((text[..digits].parse().ok()?, text[digits..].to_owned())),
    }
}

/// `py2.py3-none-any` stands for `py2-none-any` and `py3-none-any` (PEP 425).
fn expand([pythons, abis, platforms]: [&str; 3]) -> Option<Vec<Tag>> {
    let count = [pythons, abis, platforms].map(|set| set.split('.').count());
    if TAGS_MAX < count.iter().product() {
        return None;
    }
    let mut tags = Vec::new();
    for python in pythons.split('.') {
        for abi in abis.split('.') {
            for platform in platforms.split('.') {
                tags.push(Tag::new(python, abi, platform));
            }
        }
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filename: &str, project: &str) -> Option<Dist> {
        parse(filename, &project.parse().unwrap())
    }

    #[test]
    fn a_wheel_name_tells_version_build_and_every_tag() {
        let expected = Dist {
            version: "1.2.post3".parse().unwrap(),
            form: Form::Wheel {
                build: (7, "a".to_owned()),
                tags: vec![Tag::new("py2", "none", "any"), Tag::new("py3", "none", "any")],
            },
        };
        assert_eq!(read("Foo_Bar-1.2.post3-7a-py2.py3-none-any.whl", "foo-bar"), Some(expected));
    }

    #[test]
    fn a_source_name_may_hold_dashes_in_project_and_none_in_version() {
        let expected =
            |archive| Some(Dist { version: "2.0".parse().unwrap(), form: Form::Source(archive) });
        assert_eq!(read("foo-bar-2.0.tar.gz", "foo-bar"), expected(Archive::TarGz));
        assert_eq!(read("foo.bar-2.0.zip", "foo-bar"), expected(Archive::Zip));
    }

    #[test]
    fn odd_names_and_those_of_other_projects_are_no_distributions() {
        let many = format!("foo-1-{0}-{0}-{0}.whl", vec!["a"; 20].join("."));
        for bad in [
            "foo-1-py3-none.whl",
            "foo-1-x-py3-none-any.whl",
            "foo-not!a!version-py3-none-any.whl",
            "bar-1-py3-none-any.whl",
            "foo.tar.gz",
            "foo-bar-1.tar.gz",
            "foo-1.tar.bz2",
            "foo-1.exe",
            ".whl",
            "-----.whl",
            "ä-1-py3-none-any.whl",
            &many,
        ] {
            assert_eq!(read(bad, "foo"), None, "{bad}");
        }
    }
}
