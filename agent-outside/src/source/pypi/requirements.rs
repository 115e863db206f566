//! Requirements files, and requirements written into the waybill.
//!
//! In:   the text of a file, or the path of one.
//! Out:  [`Stated`] requirements and constraints, and every line that cannot be followed.
//! Pure: [`parse`]; only [`Reading`] opens files, and goes into `-r` and `-c` of each.

use std::{collections::BTreeSet, fs, io, io::Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::{Digest, limits::REQUIREMENTS_LEN_BYTES_MAX};
use pep508_rs::VersionOrUrl;

use super::metadata::Requirement;

/// A requirement of the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stated {
    pub requirement: Requirement,
    /// What the file must hash to, one of these; empty is anything the index vouches for.
    pub hashes: Vec<Digest>,
    /// `spec.pypi[0]`, or `requirements.txt, line 3`.
    pub at: String,
    /// Only bounds versions, without asking for the project itself.
    pub constraint: bool,
}

/// Why a requirement of the user is not followed. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    #[error("{at}: {text:?} is no requirement: {reason}")]
    Syntax { at: String, text: String, reason: String },
    #[error(
        "{at}: {text:?} is an address or a path; name the project and its version, so that an index can vouch for it"
    )]
    Address { at: String, text: String },
    #[error("{at}: {option} is not followed; put the index into the waybill (`index:`)")]
    Index { at: String, option: String },
    #[error("{at}: option {option} is not known here; take it out")]
    Option { at: String, option: String },
    #[error("{at}: {text:?} is no `sha256:` hash; only SHA-256 is checked")]
    Hash { at: String, text: String },
    #[error("cannot read requirements file {path}; `requirements:` is relative to the waybill")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("requirements file {path} has more than {REQUIREMENTS_LEN_BYTES_MAX} bytes")]
    TooLong { path: Utf8PathBuf },
}

/// One line of a requirements file, continuations joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    Stated(Box<Stated>),
    /// `-r`: relative to the file it stands in.
    Requirements(String),
    /// `-c`: relative to the file it stands in.
    Constraints(String),
    /// `--pre`
    Prereleases,
}

/// Options that name indexes.
const INDEX_OPTIONS: [&str; 7] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--no-index",
    "--trusted-host",
];

/// Options that change nothing here: hashes are always checked, wheels always preferred.
const IDLE_OPTIONS: [&str; 2] = ["--require-hashes", "--prefer-binary"];

/// Reads the text of a requirements file; `file` is what its lines are called in sentences.
///
/// Format: pip user guide, "Requirements File Format".
pub fn parse(text: &str, file: &str) -> (Vec<Line>, Vec<RequirementError>) {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    let mut joined = String::new();
    let mut first = 1;
    let text = text.trim_start_matches('\u{feff}');
    for (number, line) in (1..).zip(text.lines()) {
        if joined.is_empty() {
            first = number;
        }
        let is_comment = line.trim_start().starts_with('#');
        if !is_comment && let Some(begun) = line.strip_suffix('\\') {
            joined.push_str(begun);
            continue;
        }
        if !is_comment {
            joined.push_str(line);
        }
        push(
            &std::mem::take(&mut joined),
            format!("{file}, line {first}"),
            &mut lines,
            &mut errors,
        );
    }
    push(&joined, format!("{file}, line {first}"), &mut lines, &mut errors);
    (lines, errors)
}

fn push(text: &str, at: String, lines: &mut Vec<Line>, errors: &mut Vec<RequirementError>) {
    match read_line(without_comment(text), at) {
        Ok(line) => lines.extend(line),
        Err(error) => errors.push(error),
    }
}

/// A comment begins at a `#` at the start or after white space.
fn without_comment(line: &str) -> &str {
    let starts = |at: usize| line[..at].chars().next_back().is_none_or(char::is_whitespace);
    let at = line.match_indices('#').find_map(|(at, _)| starts(at).then_some(at));
    line[..at.unwrap_or(line.len())].trim()
}

fn read_line(line: &str, at: String) -> Result<Option<Line>, RequirementError> {
    if line.is_empty() {
        return Ok(None);
    }
    if line.starts_with('-') {
        return option(line, at);
    }
    stated(line, at).map(|stated| Some(Line::Stated(Box::new(stated))))
}

fn option(line: &str, at: String) -> Result<Option<Line>, RequirementError> {
    let end = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
    let (mut option, mut value) = (&line[..end], line[end..].trim_start_matches('=').trim());
    // `-rfile` is `-r file`.
    if !option.starts_with("--") && option.len() > 2 && option.is_char_boundary(2) {
        (option, value) = (&line[..2], line[2..].trim());
    }
    match option {
        "-r" | "--requirement" if !value.is_empty() => Ok(Some(Line::Requirements(value.into()))),
        "-c" | "--constraint" if !value.is_empty() => Ok(Some(Line::Constraints(value.into()))),
        "-e" | "--editable" => Err(RequirementError::Address { at, text: shown(value) }),
        "--pre" => Ok(Some(Line::Prereleases)),
        option if IDLE_OPTIONS.contains(&option) => Ok(None),
        option if INDEX_OPTIONS.contains(&option) => {
            Err(RequirementError::Index { at, option: option.to_owned() })
        }
        option => Err(RequirementError::Option { at, option: option.to_owned() }),
    }
}

/// Reads one requirement, with `--hash` options behind it.
///
/// # Errors
///
/// [`RequirementError`] names the place and the text.
pub fn stated(line: &str, at: String) -> Result<Stated, RequirementError> {
    let mut parts = line.split(" --").flat_map(|part| part.split("\t--"));
    let text = parts.next().unwrap_or_default().trim();
    let mut hashes = Vec::new();
    for option in parts.map(str::trim) {
        let Some(hash) = option.strip_prefix("hash").map(|v| v.trim_start_matches(['=', ' ']))
        else {
            let name = option.split(['=', ' ']).next().unwrap_or_default();
            return Err(RequirementError::Option { at, option: format!("--{name}") });
        };
        let digest = hash.to_ascii_lowercase().parse();
        hashes.push(
            digest.map_err(|_| RequirementError::Hash { at: at.clone(), text: hash.to_owned() })?,
        );
    }
    let is_path = text.starts_with(['.', '/', '~'])
        || [".whl", ".tar.gz", ".zip"].iter().any(|s| text.ends_with(s));
    if is_path || text.split(['@', ' ']).next().is_some_and(|start| start.contains("://")) {
        return Err(RequirementError::Address { at, text: shown(text) });
    }
    let requirement: Requirement = match text.parse() {
        Ok(requirement) => requirement,
        Err(error) => {
            let error: pep508_rs::Pep508Error<url::Url> = error;
            let reason = error.message.to_string();
            return Err(RequirementError::Syntax { at, text: shown(text), reason });
        }
    };
    if matches!(requirement.version_or_url, Some(VersionOrUrl::Url(_))) {
        return Err(RequirementError::Address { at, text: shown(text) });
    }
    Ok(Stated { requirement, hashes, at, constraint: false })
}

/// A text that may be an address, without what may be a password in it.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, host))) if rest.contains('@') => {
            format!("{scheme}://{host}")
        }
        _ => text.to_owned(),
    }
}

/// Requirements as they are gathered from the waybill and the files that it leads to.
#[derive(Debug, Default)]
pub struct Reading {
    pub stated: Vec<Stated>,
    /// `--pre` stands somewhere.
    pub prereleases: bool,
    pub errors: Vec<RequirementError>,
    seen: BTreeSet<(Utf8PathBuf, bool)>,
    files: BTreeSet<Utf8PathBuf>,
}

impl Reading {
    /// The files that were read, as they were reached.
    pub fn files(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        self.files.iter()
    }

    /// Takes a requirement of the waybill itself.
    pub fn line(&mut self, text: &str, at: &str) {
        match stated(without_comment(text), at.to_owned()) {
            Ok(stated) => self.stated.push(stated),
            Err(error) => self.errors.push(error),
        }
    }

    /// Reads a file and all that it includes, each once. Blocks.
    pub fn file(&mut self, path: &Utf8Path) {
        let mut open = vec![(path.to_owned(), false)];
        while let Some((path, constraint)) = open.pop() {
            // Two files may include each other by ever longer paths.
            let real = path.canonicalize_utf8().unwrap_or_else(|_| path.clone());
            if !self.seen.insert((real, constraint)) {
                continue;
            }
            match read(&path) {
                Ok(text) => {
                    self.take(&text, &path, constraint, &mut open);
                    self.files.insert(path);
                }
                Err(error) => self.errors.push(error),
            }
        }
    }

    fn take(
        &mut self,
        text: &str,
        path: &Utf8Path,
        constraint: bool,
        open: &mut Vec<(Utf8PathBuf, bool)>,
    ) {
        let folder = path.parent().unwrap_or(Utf8Path::new(""));
        let (lines, errors) = parse(text, path.file_name().unwrap_or(path.as_str()));
        self.errors.extend(errors);
        for line in lines {
            match line {
                Line::Stated(stated) => self.stated.push(Stated { constraint, ..*stated }),
                Line::Requirements(other) | Line::Constraints(other) if other.contains("://") => {
                    let at = path.to_string();
                    self.errors.push(RequirementError::Address { at, text: shown(&other) });
                }
                Line::Requirements(other) => open.push((folder.join(other), constraint)),
                Line::Constraints(other) => open.push((folder.join(other), true)),
                Line::Prereleases => self.prereleases = true,
            }
        }
    }
}

fn read(path: &Utf8Path) -> Result<String, RequirementError> {
    let failed = |source| RequirementError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(REQUIREMENTS_LEN_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if REQUIREMENTS_LEN_BYTES_MAX < text.len() as u64 {
        return Err(RequirementError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn shape(line: &Line) -> String {
        match line {
            Line::Stated(s) => format!("{} #{} @ {}", s.requirement, s.hashes.len(), s.at),
            Line::Requirements(path) => format!("-r {path}"),
            Line::Constraints(path) => format!("-c {path}"),
            Line::Prereleases => "--pre".to_owned(),
        }
    }

    #[test]
    fn a_file_is_read_as_pip_reads_it() {
        let text = format!(
            "\u{feff}# comment \\\nansible==9.13.0 # why\n\nfoo[x] >= 1,\\\n  <2 ; python_version < '3.12' \\\n  \
             --hash={HASH} \\\n --hash={HASH}\n-r other.txt\n-cconstraints.txt\n--requirement=a b.txt\n\
             --pre\n--require-hashes\nbar#1\nlast \\"
        );
        let (lines, errors) = parse(&text, "r.txt");
        let expected = [
            "ansible==9.13.0 #0 @ r.txt, line 2",
            "foo[x]>=1,<2 ; python_full_version < '3.12' #2 @ r.txt, line 4",
            "-r other.txt",
            "-c constraints.txt",
            "-r a b.txt",
            "--pre",
            "last #0 @ r.txt, line 14",
        ];
        assert_eq!(lines.iter().map(shape).collect::<Vec<_>>(), expected);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            errors.len() == 1 && errors[0].starts_with("r.txt, line 13: \"bar#1\""),
            "{errors:?}"
        );
    }

    #[test]
    fn a_hash_must_be_met_and_is_kept() {
        let stated = stated(&format!("foo==1 --hash {HASH}"), "x".to_owned()).unwrap();
        assert_eq!(stated.hashes, [Digest::of(b"abc")]);
    }

    #[test]
    fn what_cannot_be_followed_is_named_with_its_line_and_without_passwords() {
        for (line, expected) in [
            (
                "--index-url https://u:canary@x.example/",
                "r.txt, line 1: --index-url is not followed; put the index into the waybill (`index:`)",
            ),
            (
                "-ihttps://u:canary@x.example/",
                "r.txt, line 1: -i is not followed; put the index into the waybill (`index:`)",
            ),
            ("--frob=1", "r.txt, line 1: option --frob is not known here; take it out"),
            (
                "foo --global-option=x",
                "r.txt, line 1: option --global-option is not known here; take it out",
            ),
            (
                "foo==1 --hash=md5:00",
                "r.txt, line 1: \"md5:00\" is no `sha256:` hash; only SHA-256 is checked",
            ),
            (
                "foo @ https://u:canary@x.example/foo.whl",
                "r.txt, line 1: \"foo @ https://x.example/foo.whl\" is an address or a path; \
                 name the project and its version, so that an index can vouch for it",
            ),
            (
                "-e git+https://x.example/foo",
                "r.txt, line 1: \"git+https://x.example/foo\" is an address or a path; \
                 name the project and its version, so that an index can vouch for it",
            ),
            (
                "./foo",
                "r.txt, line 1: \"./foo\" is an address or a path; \
                 name the project and its version, so that an index can vouch for it",
            ),
            ("-r", "r.txt, line 1: option -r is not known here; take it out"),
        ] {
            let (lines, errors) = parse(line, "r.txt");
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(
                (lines.as_slice(), errors.as_slice()),
                (&[][..], &[expected.to_owned()][..])
            );
        }
        for bad in ["foo==", "==1", "foo bar", "foo>=1.0.*", "-é", "é", "--", "-"] {
            let (lines, errors) = parse(bad, "r.txt");
            assert_eq!((lines.len(), errors.len()), (0, 1), "{bad}");
        }
    }

    #[test]
    fn files_include_others_beside_them_once_and_constraints_stay_constraints() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        for (name, text) in [
            ("r.txt", "a\n-r sub/s.txt\n-c c.txt\n-r none.txt\n-r https://x.example/r.txt"),
            ("sub/s.txt", "b\n-r ../r.txt\n"),
            ("c.txt", "c<2\n"),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        let mut reading = Reading::default();
        reading.line("d==1", "spec.pypi[0]");
        reading.file(&root.join("r.txt"));
        let mut read: Vec<_> =
            reading.stated.iter().map(|s| (s.requirement.to_string(), s.constraint)).collect();
        read.sort();
        let expected = [("a", false), ("b", false), ("c<2", true), ("d==1", false)];
        assert_eq!(read, expected.map(|(text, constraint)| (text.to_owned(), constraint)));
        assert_eq!(reading.errors.len(), 2, "{:?}", reading.errors);
    }
}
