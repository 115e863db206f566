//! Names that come from outside and become folders, paths or URLs.
//!
//! Each type can only be made by parsing, and none of them can hold a way out of the folder it
//! is joined to.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a text is no name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, text: text.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                d.str()?.parse().map_err(minicbor::decode::Error::custom)
            }
        }
    };
}

text_name!(
    /// The name of a site, which is also its folder on the medium.
    SiteName,
    "site name",
    "use 1 to 40 of a-z 0-9 and '-', not first or last",
    is_label
);
text_name!(
    /// The name of a set of nodes that share package repositories, as `bookworm` or
    /// `ubuntu-24.04`; one segment of a URL.
    Target,
    "target",
    "use a-z A-Z 0-9 '.' '_' '+' '~' '-', and start with a letter or digit",
    is_segment
);
text_name!(
    /// The name of one export: six digits of its sequence, a dash, and eight hex digits of what
    /// it carries.
    ExportId,
    "export id",
    "it looks like 000012-9f86d081",
    is_export_id
);
text_name!(
    /// A relative path with `/` between its segments that cannot leave the folder it is joined
    /// to: no empty, `.` or `..` segment, no control character, no backslash.
    SafePath,
    "safe relative path",
    "use plain segments between single slashes, without '.', '..', '\\' and control characters",
    is_safe_path
);

impl ExportId {
    /// The id of export `sequence` that leads to snapshot `snapshot`.
    pub fn new(sequence: Sequence, snapshot: &crate::SnapshotId) -> Self {
        Self(format!("{:06}-{}", sequence.0, &snapshot.hex()[..8]))
    }
}

/// The number of an export of one site, from 1; zero is "nothing yet". Never goes back.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Deserialize,
    Serialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Sequence(#[n(0)] pub u64);

impl Sequence {
    /// The sequence after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn is_label(text: &str) -> bool {
    (1..=limits::SITE_NAME_LEN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_segment(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b))
}

fn is_export_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(sequence, short)| {
        (6..=20).contains(&sequence.len())
            && sequence.bytes().all(|b| b.is_ascii_digit())
            && short.len() == 8
            && short.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_safe_path(text: &str) -> bool {
    text.len() <= limits::NAME_LEN_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c == '\\')
        && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_path_cannot_leave_its_folder() {
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\0b", "a\nb"] {
            assert!(bad.parse::<SafePath>().is_err(), "{bad:?}");
        }
        for good in ["a", "a/b.c", "...", "a/..b/c", "host:5000/pool/c++_1%3a2~1.deb"] {
            assert_eq!(good.parse::<SafePath>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_path_is_accepted_up_to_its_bound_and_not_beyond() {
        let longest = "a".repeat(limits::NAME_LEN_BYTES_MAX);
        assert!(longest.parse::<SafePath>().is_ok());
        assert!(format!("{longest}a").parse::<SafePath>().is_err());
    }

    #[test]
    fn a_site_name_is_a_short_lower_case_label() {
        for bad in ["", "Prod", "-a", "a-", "a.b", "a/b", "..", &"a".repeat(41)] {
            assert!(bad.parse::<SiteName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(40).parse::<SiteName>().is_ok());
        assert!("prod-1".parse::<SiteName>().is_ok());
    }

    #[test]
    fn an_export_id_names_its_sequence_and_snapshot() {
        let id = ExportId::new(Sequence(12), &crate::SnapshotId::of(b"test"));
        assert_eq!(id.as_str(), "000012-9f86d081");
        assert_eq!(id.as_str().parse(), Ok(id));
        for bad in ["12-9f86d081", "000012-9F86D081", "000012/9f86d081", "../../../etc"] {
            assert!(bad.parse::<ExportId>().is_err(), "{bad:?}");
        }
    }
}
