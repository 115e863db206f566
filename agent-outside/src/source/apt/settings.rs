//! Which repositories a line of the waybill means.
//!
//! In:   an [`AptLine`], or the folder `/etc/apt` of this machine.
//! Out:  [`Source`]s, one a repository and suite, with the keys that may sign it.
//! Pure: all but [`own_sources`] and [`read_keyring`], which read small files.
//!
//! Formats: sources.list(5), "One-Line-Style Format" and "DEB822-Style Format".

use std::io::Read;

use camino::{Utf8Path, Utf8PathBuf};
use deb822_fast::borrowed::{BorrowedParagraph, BorrowedParser};
use gapferry_common::openpgp::verify::{Keyring, VerifyError};
use gapferry_proto::limits;
use url::Url;

use crate::waybill::AptLine;

/// One suite of one repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub uri: Url,
    pub suite: String,
    pub components: Vec<String>,
    /// Empty is every architecture.
    pub architectures: Vec<String>,
    pub keys: Keys,
}

/// Whose signature counts for a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// `trusted.gpg` and `trusted.gpg.d`; only these fingerprints unless empty.
    Trusted { fingerprints: Vec<String> },
    /// Keyring files.
    Files(Vec<Utf8PathBuf>),
    /// An armoured key inside the settings.
    Inline(String),
    /// Nobody's: the waybill accepts any bytes.
    Anyone,
}

/// Why this machine's settings do not say where packages come from.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    #[error("{path} is not understood: {what}")]
    Malformed { path: Utf8PathBuf, what: String },
    #[error(
        "this machine's apt has no http or https source for suite {suite:?}; \
         name `uri` and `signedBy` in the waybill"
    )]
    NoSource { suite: String },
    #[error("cannot use the keys of {path}")]
    Keys { path: Utf8PathBuf, source: VerifyError },
    #[error("this machine's apt trusts no key for it; add `signed-by` to its source")]
    NoKeys,
}

/// The source that a line with `uri` names; a key file is relative to `base`.
pub fn named_source(line: &AptLine, uri: &Url, base: &Utf8Path) -> Source {
    let components =
        if line.components.is_empty() { vec!["main".to_owned()] } else { line.components.clone() };
    let trusted = Keys::Trusted { fingerprints: Vec::new() };
    let keys = line.signed_by.as_ref().map_or(trusted, |p| Keys::Files(vec![base.join(p)]));
    let (uri, suite) = (uri.clone(), line.suite.clone());
    Source { uri, suite, components, architectures: Vec::new(), keys }
}

/// The sources below `root` (`/etc/apt`) whose suite is that of `line`, or its `-updates` or
/// `-security`. Components and keys that the line names outrank the settings.
///
/// # Errors
///
/// [`SettingsError`]; every sentence names the file.
pub fn own_sources(
    root: &Utf8Path,
    line: &AptLine,
    base: &Utf8Path,
) -> Result<Vec<Source>, SettingsError> {
    let mut all = Vec::new();
    for path in settings_files(root)? {
        let text = read_text(&path)?;
        let parsed = if path.extension() == Some("sources") {
            parse_deb822(&text)
        } else {
            parse_one_line(&text)
        };
        all.extend(parsed.map_err(|what| SettingsError::Malformed { path, what })?);
    }
    let mut sources: Vec<Source> = Vec::new();
    for mut source in all.into_iter().filter(|source| is_meant(line, source)) {
        if !line.components.is_empty() {
            source.components.retain(|c| line.components.contains(c));
        }
        if let Some(path) = &line.signed_by {
            source.keys = Keys::Files(vec![base.join(path)]);
        }
        if !sources.contains(&source) && !source.components.is_empty() {
            sources.push(source);
        }
    }
    if sources.is_empty() {
        return Err(SettingsError::NoSource { suite: line.suite.clone() });
    }
    Ok(sources)
}

/// Reads the keyring of a source; `root` is `/etc/apt`. `None` when anybody may sign.
///
/// # Errors
///
/// [`SettingsError::Keys`], [`SettingsError::NoKeys`], [`SettingsError::Read`].
pub fn read_keyring(root: &Utf8Path, keys: &Keys) -> Result<Option<Keyring>, SettingsError> {
    match keys {
        Keys::Anyone => Ok(None),
        Keys::Inline(armour) => Keyring::parse(armour.as_bytes())
            .map(Some)
            .map_err(|source| SettingsError::Keys { path: root.into(), source }),
        Keys::Files(paths) => {
            let mut keyring = Keyring::default();
            for path in paths {
                keyring.join(read_keys(path)?);
            }
            Ok(Some(keyring))
        }
        Keys::Trusted { fingerprints } => {
            let mut keyring = Keyring::default();
            for path in trusted_files(root)? {
                // apt passes over a file of its trusted folder that holds no key, and so do we.
                if let Ok(keys) = read_keys(&path) {
                    keyring.join(keys);
                }
            }
            if !fingerprints.is_empty() {
                keyring.retain(fingerprints);
            }
            if keyring.is_empty() { Err(SettingsError::NoKeys) } else { Ok(Some(keyring)) }
        }
    }
}

fn is_meant(line: &AptLine, source: &Source) -> bool {
    let asked = &line.suite;
    let meant = source.suite == *asked
        || source
            .suite
            .strip_prefix(asked.as_str())
            .is_some_and(|rest| matches!(rest, "-updates" | "-security" | "/updates"));
    meant && matches!(source.uri.scheme(), "http" | "https")
}

/// Reads `sources.list`: `deb [option=value …] uri suite component…`, one a line.
pub fn parse_one_line(text: &str) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|r| r.starts_with([' ', '\t', '[']))
        else {
            continue; // empty, a comment, deb-src
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(|| format!("no ']' in {line:?}"))?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            return Err(format!("{line:?} does not name a URI and a suite"));
        };
        let option = |name: &str| {
            options.split_whitespace().filter_map(|o| o.split_once('=')).find(|o| o.0 == name)
        };
        let list = |name| option(name).map(|o| words_of(o.1)).unwrap_or_default();
        let Ok(uri) = Url::parse(uri) else {
            continue; // cdrom:[…], mirror+file: …
        };
        sources.push(Source {
            uri,
            suite: suite.to_owned(),
            components: words.map(str::to_owned).collect(),
            architectures: list("arch"),
            keys: keys_of(&list("signed-by").join(" ")),
        });
    }
    Ok(sources)
}

/// Reads a `.sources` file: paragraphs that each stand for every pair of URI and suite.
pub fn parse_deb822(text: &str) -> Result<Vec<Source>, String> {
    let paragraphs = BorrowedParser::new(text).parse_all().map_err(|e| e.to_string())?;
    let mut sources = Vec::new();
    for paragraph in &paragraphs {
        let list = |name| field(paragraph, name).map(|v| words_of(&v)).unwrap_or_default();
        let off = field(paragraph, "Enabled").is_some_and(|v| is_no(v.trim()));
        if off || !list("Types").iter().any(|t| t == "deb") {
            continue;
        }
        let keys = keys_of(&field(paragraph, "Signed-By").unwrap_or_default());
        for uri in list("URIs").iter().filter_map(|uri| Url::parse(uri).ok()) {
            for suite in list("Suites") {
                sources.push(Source {
                    uri: uri.clone(),
                    suite,
                    components: list("Components"),
                    architectures: list("Architectures"),
                    keys: keys.clone(),
                });
            }
        }
    }
    Ok(sources)
}

fn field(paragraph: &BorrowedParagraph<'_>, name: &str) -> Option<String> {
    // The writers of some files leave comments between the lines of a value.
    paragraph.get_field(name).map(|field| field.lines().join("\n"))
}

fn is_no(word: &str) -> bool {
    ["no", "false", "without", "off", "disable", "0"].iter().any(|n| word.eq_ignore_ascii_case(n))
}

fn words_of(value: &str) -> Vec<String> {
    value
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `Signed-By`: files, fingerprints, or an armoured key whose empty lines are written ` .`.
fn keys_of(value: &str) -> Keys {
    if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        let lines = value.lines().map(|line| if line.trim() == "." { "" } else { line.trim() });
        let armour: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
        return Keys::Inline(armour.join("\n") + "\n");
    }
    let (files, fingerprints): (Vec<_>, Vec<_>) =
        words_of(value).into_iter().partition(|word| word.starts_with('/'));
    if files.is_empty() {
        let bare = |f: String| f.trim_end_matches('!').to_owned();
        return Keys::Trusted { fingerprints: fingerprints.into_iter().map(bare).collect() };
    }
    Keys::Files(files.into_iter().map(Into::into).collect())
}

fn settings_files(root: &Utf8Path) -> Result<Vec<Utf8PathBuf>, SettingsError> {
    let mut files = vec![root.join("sources.list")];
    files.retain(|path| path.exists());
    files.extend(files_of(&root.join("sources.list.d"), &["list", "sources"])?);
    Ok(files)
}

fn trusted_files(root: &Utf8Path) -> Result<Vec<Utf8PathBuf>, SettingsError> {
    let mut files = files_of(&root.join("trusted.gpg.d"), &["gpg", "asc"])?;
    files.extend([root.join("trusted.gpg")].into_iter().filter(|path| path.exists()));
    Ok(files)
}

/// The files of a folder with one of these endings, by name; none when there is no folder.
fn files_of(folder: &Utf8Path, endings: &[&str]) -> Result<Vec<Utf8PathBuf>, SettingsError> {
    let fail = |source| SettingsError::Read { path: folder.to_owned(), source };
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in folder.read_dir_utf8().map_err(fail)? {
        let path = entry.map_err(fail)?.into_path();
        if path.extension().is_some_and(|ending| endings.contains(&ending)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_keys(path: &Utf8Path) -> Result<Keyring, SettingsError> {
    let bytes = read_small(path)?;
    Keyring::parse(&bytes).map_err(|source| SettingsError::Keys { path: path.into(), source })
}

fn read_text(path: &Utf8Path) -> Result<String, SettingsError> {
    String::from_utf8(read_small(path)?).map_err(|_| SettingsError::Malformed {
        path: path.to_owned(),
        what: "it is not UTF-8".to_owned(),
    })
}

/// Reads at most one byte more than a keyring may have; `Keyring::parse` refuses that one.
fn read_small(path: &Utf8Path) -> Result<Vec<u8>, SettingsError> {
    let fail = |source| SettingsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(limits::KEYRING_LEN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
