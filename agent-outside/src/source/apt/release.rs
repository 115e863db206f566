//! `Release`: the signed list of a suite's indexes.
//!
//! In:   the text that a signature covers, the time now.
//! Out:  a [`Release`], and for a component and architecture the index to fetch.
//! Pure: no network, no clock.
//!
//! Only SHA256 counts; MD5Sum, SHA1 and SHA512 are not read. A digest is what makes the rest of
//! the repository trustworthy, so a path without one does not exist.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use deb822_fast::borrowed::BorrowedParser;
use gapferry_proto::{Digest, SafePath, limits};
use jiff::{Timestamp, fmt::rfc2822};

use crate::source::unpack::Packing;

/// What a `Release` file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    pub valid_until: Option<Timestamp>,
    pub by_hash: bool,
    /// Whether packages of architecture `all` stand in an index of their own.
    pub separate_all: bool,
    /// Whether it is for updates that mend vulnerabilities.
    pub security: bool,
    indexes: BTreeMap<String, Listed>,
}

/// A file that `Release` lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    pub digest: Digest,
    pub len_bytes: u64,
}

/// An index to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    pub path: SafePath,
    pub packing: Packing,
    pub listed: Listed,
    /// Length once unpacked, in bytes, at most.
    pub plain_len_bytes_max: u64,
}

/// Why a `Release` is not used.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("Release is not understood: {0}")]
    Malformed(String),
    #[error(
        "Release was valid until {until} only; if upstream is not at fault, the mirror is stale \
         or this machine's clock is wrong: use another mirror, or set the clock"
    )]
    Expired { until: Timestamp },
    #[error(
        "Release lists no SHA256 for a Packages index of {folder}; check the component and architecture"
    )]
    NoIndex { folder: String },
    #[error("{path} has {len_bytes} bytes, more than the {max} accepted")]
    TooLong { path: String, len_bytes: u64, max: u64 },
}

impl Release {
    /// Reads a `Release` that is valid at `now` (Debian wiki, "DebianRepository/Format").
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Malformed`], and [`ReleaseError::Expired`] when upstream no longer vouches
    /// for it: an old `Release` is what a mirror shows that hides security updates.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, ReleaseError> {
        let malformed = |what: String| ReleaseError::Malformed(what);
        let paragraphs =
            BorrowedParser::new(text).parse_all().map_err(|e| malformed(e.to_string()))?;
        let [paragraph] = paragraphs.as_slice() else {
            return Err(malformed(format!("{} paragraphs instead of one", paragraphs.len())));
        };
        let field = |name| paragraph.get_single(name).map(str::trim);
        let valid_until = field("Valid-Until").map(parse_date).transpose()?;
        if let Some(until) = valid_until.filter(|until| *until < now) {
            return Err(ReleaseError::Expired { until });
        }
        let lines = paragraph.get("SHA256").unwrap_or_default();
        let listed = lines.iter().filter(|line| !line.trim().is_empty());
        let has_all = field("Architectures").is_some_and(|a| a.split(' ').any(|a| a == "all"));
        let of_security = |value: &str| value.to_ascii_lowercase().contains("security");
        let names = [field("Label"), field("Suite"), field("Codename")];
        let in_each = field("No-Support-for-Architecture-all") == Some("Packages");
        Ok(Self {
            valid_until,
            by_hash: field("Acquire-By-Hash") == Some("yes"),
            separate_all: has_all && !in_each,
            security: names.into_iter().flatten().any(of_security),
            indexes: listed.map(|line| parse_listed(line)).collect::<Result<_, _>>()?,
        })
    }

    /// The index of a component and architecture: xz before gzip before plain.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::NoIndex`], [`ReleaseError::TooLong`].
    pub fn index(&self, component: &str, architecture: &str) -> Result<Index, ReleaseError> {
        let folder = format!("{component}/binary-{architecture}");
        let missing = || ReleaseError::NoIndex { folder: folder.clone() };
        let forms = [(".xz", Packing::Xz), (".gz", Packing::Gzip), ("", Packing::Plain)];
        let (name, packing, listed) = forms
            .into_iter()
            .find_map(|(ending, packing)| {
                let name = format!("{folder}/Packages{ending}");
                let listed = *self.indexes.get(&name)?;
                Some((name, packing, listed))
            })
            .ok_or_else(missing)?;
        let plain = self.indexes.get(&format!("{folder}/Packages")).map(|plain| plain.len_bytes);
        let index = Index {
            path: name.parse().map_err(|_| missing())?,
            packing,
            listed,
            plain_len_bytes_max: plain.unwrap_or(limits::INDEX_PLAIN_LEN_BYTES_MAX),
        };
        check_len(&name, listed.len_bytes, limits::INDEX_LEN_BYTES_MAX)?;
        check_len(&name, index.plain_len_bytes_max, limits::INDEX_PLAIN_LEN_BYTES_MAX)?;
        Ok(index)
    }
}

fn check_len(path: &str, len_bytes: u64, max: u64) -> Result<(), ReleaseError> {
    if len_bytes <= max {
        return Ok(());
    }
    Err(ReleaseError::TooLong { path: path.to_owned(), len_bytes, max })
}

/// One line of the SHA256 list: digest, length, path.
fn parse_listed(line: &str) -> Result<(String, Listed), ReleaseError> {
    let malformed = || ReleaseError::Malformed(format!("SHA256 line {line:?}"));
    let mut words = line.split_whitespace();
    let (Some(hex), Some(len), Some(path), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed());
    };
    let digest = parse_sha256(hex).ok_or_else(malformed)?;
    let len_bytes = len.parse().map_err(|_| malformed())?;
    Ok((path.to_owned(), Listed { digest, len_bytes }))
}

/// Reads 64 hex digits of either case.
pub fn parse_sha256(hex: &str) -> Option<Digest> {
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

/// Reads a date as `date -R -u` writes it, with `UTC` for the zone.
fn parse_date(text: &str) -> Result<Timestamp, ReleaseError> {
    let numeric = ["UTC", "GMT", "Z"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .map_or_else(|| text.to_owned(), |rest| format!("{} +0000", rest.trim_end()));
    rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(&numeric)
        .map_err(|_| ReleaseError::Malformed(format!("Valid-Until {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn release(extra: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable\nArchitectures: all amd64\n{extra}MD5Sum:\n 0 1 main/binary-amd64/Packages.zst\n\
             SHA256:\n {HEX} 70 main/binary-amd64/Packages\n {HEX} 30 main/binary-amd64/Packages.gz\n \
             {HEX} 20 main/binary-amd64/Packages.xz\n {HEX}\t31   contrib/binary-amd64/Packages.gz\n"
        )
    }

    #[test]
    fn the_smallest_index_with_a_sha256_is_taken() {
        let release = Release::parse(&release("Acquire-By-Hash: yes\n"), now()).unwrap();
        assert!(release.by_hash && release.separate_all);
        let listed = |len_bytes| Listed { digest: Digest::of(b"abc"), len_bytes };
        assert_eq!(
            release.index("main", "amd64").unwrap(),
            Index {
                path: "main/binary-amd64/Packages.xz".parse().unwrap(),
                packing: Packing::Xz,
                listed: listed(20),
                plain_len_bytes_max: 70,
            }
        );
        assert_eq!(
            release.index("contrib", "amd64").unwrap(),
            Index {
                path: "contrib/binary-amd64/Packages.gz".parse().unwrap(),
                packing: Packing::Gzip,
                listed: listed(31),
                plain_len_bytes_max: limits::INDEX_PLAIN_LEN_BYTES_MAX,
            }
        );
        let error = release.index("main", "arm64").unwrap_err();
        assert!(matches!(error, ReleaseError::NoIndex { .. }), "{error}");
    }

    #[test]
    fn a_release_is_refused_after_its_last_day_and_not_before() {
        for (date, good) in [
            ("Sun, 22 Nov 2026 12:00:00 UTC", true),
            ("Sun, 22 Nov 2026 11:59:59 UTC", false),
            ("Sun, 22 Nov 2026 13:59:59 +0200", false),
        ] {
            let read = Release::parse(&release(&format!("Valid-Until: {date}\n")), now());
            assert_eq!(read.is_ok(), good, "{date}");
        }
        let error = Release::parse(&release("Valid-Until: never\n"), now()).unwrap_err();
        assert!(matches!(error, ReleaseError::Malformed(_)), "{error}");
    }

    #[test]
    fn packages_for_all_may_stand_in_each_index() {
        let text = release("No-Support-for-Architecture-all: Packages\n");
        assert!(!Release::parse(&text, now()).unwrap().separate_all);
    }

    #[test]
    fn a_security_suite_says_so_in_its_label_suite_or_codename() {
        for (field, expected) in [
            ("Label: Debian-Security", true),
            ("Codename: bookworm-security", true),
            ("Label: Ubuntu\nCodename: noble", false),
            ("Description: without security", false),
        ] {
            let release = Release::parse(&release(&format!("{field}\n")), now()).unwrap();
            assert_eq!(release.security, expected, "{field}");
        }
        let text = "Suite: noble-security\nSHA256:\n";
        assert!(Release::parse(text, now()).unwrap().security);
    }

    #[test]
    fn odd_lines_and_lengths_beyond_the_bound_are_refused() {
        for bad in [
            "Suite: a\n\nSuite: b\n".to_owned(),
            "no colon\n".to_owned(),
            String::new(),
            format!("SHA256:\n {HEX} -1 main/binary-amd64/Packages\n"),
            format!("SHA256:\n {} 1 main/binary-amd64/Packages\n", &HEX[1..]),
            format!("SHA256:\n {HEX} 1\n"),
        ] {
            assert!(Release::parse(&bad, now()).is_err(), "{bad}");
        }
        let over = limits::INDEX_LEN_BYTES_MAX + 1;
        let text = format!("SHA256:\n {HEX} {over} main/binary-amd64/Packages.xz\n");
        let error = Release::parse(&text, now()).unwrap().index("main", "amd64").unwrap_err();
        assert!(matches!(error, ReleaseError::TooLong { .. }), "{error}");
        let text = format!("SHA256:\n {HEX} 1 ../binary-amd64/Packages.xz\n");
        assert!(Release::parse(&text, now()).unwrap().index("..", "amd64").is_err());
    }
}
