//! Names made of hashes: SHA-256 for what people check, BLAKE3 for chunks.
//!
//! Each use has a type of its own, so that a chunk is never looked up as a blob.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not \"{1}:\" and 64 lower-case hex digits")]
pub struct ParseDigestError(String, &'static str);

macro_rules! hash_name {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, Encode, Decode,
        )]
        #[serde(into = "String", try_from = "String")]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

        impl $name {
            /// Takes the 32 bytes of a finished hash.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the hash.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 hex digits alone, for file names.
            pub fn hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", $prefix, HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.strip_prefix(concat!($prefix, ":"))
                    .and_then(lower_hex_32)
                    .map(Self)
                    .ok_or_else(|| ParseDigestError(s.to_owned(), $prefix))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseDigestError;

            fn try_from(s: String) -> Result<Self, Self::Error> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    };
}

hash_name!(
    /// The SHA-256 of some bytes, written `sha256:` and 64 lower-case hex digits.
    ///
    /// Made only by hashing ([`Digest::of`]) or parsing, so holding one means it is well formed.
    Digest,
    "sha256"
);
hash_name!(
    /// The name of a blob: the SHA-256 of its bytes.
    BlobId,
    "sha256"
);
hash_name!(
    /// The name of an artifact entry: the SHA-256 of its encoded bytes.
    ArtifactId,
    "sha256"
);
hash_name!(
    /// The name of a snapshot: the SHA-256 of its encoded bytes.
    SnapshotId,
    "sha256"
);
hash_name!(
    /// The name of a chunk: the BLAKE3 of its bytes.
    ChunkId,
    "blake3"
);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl BlobId {
    /// Hashes the whole of a small blob.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The blob's digest, for documents that speak of digests.
    pub const fn digest(&self) -> Digest {
        Digest(self.0)
    }
}

impl From<Digest> for BlobId {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

impl ArtifactId {
    /// Hashes the encoded bytes of an artifact.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl SnapshotId {
    /// Hashes the encoded bytes of a snapshot.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl ChunkId {
    /// Hashes one chunk.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Reads exactly 64 lower-case hex digits.
pub(crate) fn lower_hex_32(hex: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_prints_whole_and_parses_back() {
        assert_eq!(Digest::of(b"abc").to_string(), OF_ABC);
        assert_eq!(OF_ABC.parse(), Ok(Digest::of(b"abc")));
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_and_prefix_is_a_digest() {
        for bad in [&OF_ABC[..70], &OF_ABC.to_uppercase(), &OF_ABC[7..], "", "blake3:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(OF_ABC.parse::<ChunkId>().is_err(), "a SHA-256 was taken for a BLAKE3");
    }

    #[test]
    fn a_digest_travels_through_json_readers_and_values() {
        let json = serde_json::to_vec(&Digest::of(b"abc")).unwrap();
        assert_eq!(serde_json::from_reader::<_, Digest>(&json[..]).unwrap(), Digest::of(b"abc"));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(serde_json::from_value::<Digest>(value).unwrap(), Digest::of(b"abc"));
    }

    #[test]
    fn a_digest_is_a_byte_string_of_32_in_cbor() {
        let bytes = minicbor::to_vec(ChunkId::of(b"abc")).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes.len()), (0x58, 32, 34));
        assert_eq!(minicbor::decode::<ChunkId>(&bytes).unwrap(), ChunkId::of(b"abc"));
    }
}
