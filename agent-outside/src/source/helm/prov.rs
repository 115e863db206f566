//! What a provenance file says of an archive.
//!
//! In:   the bytes of a `.prov`, or its text after the signature was verified.
//! Out:  [`Provenance`]: the digests that it names.
//! Pure: bytes only. Whether the signature counts is decided by who holds the keys; without
//!       keys the file is only upstream's second word.

use std::collections::BTreeMap;

use gapferry_proto::Digest;

use super::{
    bounds,
    yaml::{self, Value, YamlError},
};

const HEAD: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// Why a provenance file vouches for nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    #[error("the provenance file has {len_bytes} bytes, more than {max}")]
    TooLong { len_bytes: u64, max: u64 },
    #[error("the provenance file is no clear-signed text: {0}")]
    Frame(&'static str),
    #[error("the provenance file {0}")]
    Yaml(#[from] YamlError),
    #[error("the provenance file names no digest for {0}")]
    NotNamed(String),
    #[error("{file} hashes to {actual}, and its provenance says {expected}")]
    Digest { file: String, expected: String, actual: Digest },
    #[error("the provenance file is of {actual}, and {expected} was asked for")]
    Other { expected: String, actual: String },
}

/// What is signed: a chart's name and version, and the digests of its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    pub name: String,
    pub version: String,
    /// By file name, as written.
    pub files: BTreeMap<String, String>,
}

impl Provenance {
    /// Reads the text of a provenance file without looking at its signature.
    ///
    /// # Errors
    ///
    /// [`ProvenanceError`].
    pub fn of_unverified(bytes: &[u8]) -> Result<Self, ProvenanceError> {
        let (len_bytes, max) = (bytes.len() as u64, bounds::PROVENANCE_LEN_BYTES_MAX);
        if max < len_bytes {
            return Err(ProvenanceError::TooLong { len_bytes, max });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProvenanceError::Frame("not UTF-8"))?;
        Self::of_text(&signed_text(text)?)
    }

    /// Reads the text that was signed.
    ///
    /// # Errors
    ///
    /// [`ProvenanceError`].
    pub fn of_text(text: &str) -> Result<Self, ProvenanceError> {
        let parts = text.split_once("\n...\n");
        let (chart, sums) = parts.ok_or(ProvenanceError::Frame("it has no two parts"))?;
        let chart = yaml::document(chart.as_bytes())?;
        let sums = sums.split_once("\n...\n").map_or(sums, |(sums, _)| sums);
        let sums = yaml::document(sums.as_bytes())?;
        let said = |field| chart.get(field).and_then(Value::printed).unwrap_or_default().to_owned();
        let files = sums.get("files").and_then(Value::map).into_iter().flatten();
        let files = files.filter_map(|(name, sum)| Some((name.clone(), sum.text()?.to_owned())));
        Ok(Self { name: said("name"), version: said("version"), files: files.collect() })
    }

    /// Checks that it speaks of this chart and names this digest for the archive, which upstream
    /// calls `file`.
    ///
    /// # Errors
    ///
    /// [`ProvenanceError`]: upstream's words disagree, and the chart is refused.
    pub fn check(
        &self,
        name: &str,
        version: &str,
        file: &str,
        actual: Digest,
    ) -> Result<(), ProvenanceError> {
        if self.name != name || self.version != version {
            let actual = format!("{} {}", self.name, self.version);
            return Err(ProvenanceError::Other { expected: format!("{name} {version}"), actual });
        }
        let named = self.files.get(file).or_else(|| {
            // A registry knows no file names; Helm packs under this one.
            self.files.get(&format!("{name}-{version}.tgz"))
        });
        let expected = named.ok_or_else(|| ProvenanceError::NotNamed(file.to_owned()))?;
        if expected.parse() == Ok(actual) {
            return Ok(());
        }
        let (file, expected) = (file.to_owned(), expected.chars().take(80).collect());
        Err(ProvenanceError::Digest { file, expected, actual })
    }
}

/// The text between the head and the signature, with dash escapes undone (RFC 9580, section 7).
fn signed_text(whole: &str) -> Result<String, ProvenanceError> {
    let whole = whole.replace("\r\n", "\n");
    let rest = whole.trim_start().strip_prefix(HEAD).ok_or(ProvenanceError::Frame("no head"))?;
    let (_headers, body) =
        rest.split_once("\n\n").ok_or(ProvenanceError::Frame("no end of its headers"))?;
    let mut text = String::new();
    for line in body.split('\n') {
        if line.trim_end() == SIGNATURE {
            return Ok(text);
        }
        text.push_str(line.strip_prefix("- ").unwrap_or(line));
        text.push('\n');
    }
    Err(ProvenanceError::Frame("no signature"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn file(sums: &str) -> String {
        format!(
            "{HEAD}\nHash: SHA512\n\napiVersion: v2\nkeywords:\n- - a\nname: a\nversion: 1.0.0\n\
             \n...\nfiles:\n  {sums}\n{SIGNATURE}\n\nwsB=\n-----END PGP SIGNATURE-----\n"
        )
    }

    fn check(text: &str, name: &str, file: &str) -> Result<(), ProvenanceError> {
        let read = Provenance::of_unverified(text.as_bytes())?;
        read.check(name, "1.0.0", file, Digest::of(b"abc"))
    }

    #[test]
    fn a_provenance_file_vouches_for_the_archive_it_names() {
        let text = file(&format!("a-1.0.0.tgz: {OF_ABC}"));
        assert!(check(&text, "a", "a-1.0.0.tgz").is_ok());
        assert!(check(&text.replace('\n', "\r\n"), "a", "a-1.0.0.tgz").is_ok());
        assert!(check(&text, "a", "download").is_ok());
    }

    #[test]
    fn other_bytes_another_chart_and_other_files_are_refused() {
        let short = file("a-1.0.0.tgz: sha256:00");
        let other = file(&format!("b-1.0.0.tgz: {OF_ABC}"));
        let right = file(&format!("a-1.0.0.tgz: {OF_ABC}"));
        let cut = right.split(SIGNATURE).next().unwrap();
        let long = " ".repeat(300 << 10);
        for (text, name, said) in [
            (&*short, "a", "and its provenance says sha256:00"),
            (&*other, "a", "names no digest for a-1.0.0.tgz"),
            (&*right, "b", "is of a 1.0.0, and b 1.0.0 was asked for"),
            (cut, "a", "no signature"),
            (&*long, "a", "more than"),
            ("files: {}", "a", "no head"),
        ] {
            let error = check(text, name, "a-1.0.0.tgz").unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
