//! Decides whether an OpenPGP signature counts.
//!
//! In:   a [`Keyring`] that somebody chose to trust, bytes that were fetched.
//! Out:  the text that was signed and the keys that signed it, or a [`VerifyError`].
//! Pure: no files, no network, no clock; a key's expiry is held against the time the signature
//!       itself states, since the clock of a bastion proves nothing.
//!
//! # What hostile bytes may try
//!
//! | attempt                                  | stopped by                                      |
//! |------------------------------------------|-------------------------------------------------|
//! | unsigned text around the signed one      | `split_cleartext`: nothing before, nothing after |
//! | a line that readers split, the hash not  | `split_cleartext`: no bare carriage return       |
//! | a subkey that the owner never bound      | `policy::check_subkey`, both directions                 |
//! | an encryption key that signs             | key flags                                       |
//! | a key that was revoked or had expired    | `policy::Standing`                                      |
//! | a forged hash                            | `policy::is_strong`: no MD5, SHA-1, RIPEMD-160          |
//! | input that makes the parser panic        | `guarded`                                       |

mod policy;

pub(super) use self::policy::fingerprint;

use std::panic::{AssertUnwindSafe, catch_unwind};

use gapferry_proto::limits;
use pgp::{
    composed::{Deserializable, DetachedSignature, SignedPublicKey},
    packet::{Signature, SignatureType},
    types::KeyDetails,
};

const ARMOUR_KEY: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
const ARMOUR_TEXT: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const ARMOUR_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const ARMOUR_SIGNATURE_END: &str = "-----END PGP SIGNATURE-----";

/// Keys that somebody chose to trust.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A text whose signature holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The signed text alone: dash escapes undone, lines ended by `\n`, blanks at line ends gone.
    pub text: String,
    /// Fingerprints of the primary keys that signed it, lower-case hex, in the order of their
    /// signatures; never empty.
    pub fingerprints: Vec<String>,
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{what} has more than {max} bytes")]
    TooLong { what: &'static str, max: u64 },
    #[error("the key file holds no OpenPGP public key")]
    NoKeys,
    #[error("not a cleartext signature: {0}")]
    Frame(&'static str),
    #[error("the OpenPGP signature is not understood")]
    Malformed(#[source] Box<pgp::errors::Error>),
    #[error("the OpenPGP bytes make the parser fail; they are damaged or made to harm")]
    Panicked,
    #[error("there is no signature")]
    Unsigned,
    #[error("more than {} signatures", limits::SIGNATURES_MAX)]
    TooMany,
    /// Each reason names the key.
    #[error("no trusted key vouches for it: {}", .0.join("; "))]
    Untrusted(Vec<String>),
}

impl Keyring {
    /// Reads a keyring: binary, or any number of armoured blocks one after another.
    ///
    /// A key that is not understood is left out, as it cannot vouch for anything.
    ///
    /// # Errors
    ///
    /// [`VerifyError::NoKeys`] when nothing is left, [`VerifyError::TooLong`] beyond
    /// [`limits::KEYRING_LEN_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        bound("the key file", bytes, limits::KEYRING_LEN_BYTES_MAX)?;
        let mut keys = Vec::new();
        for block in armoured_blocks(bytes) {
            let room = limits::KEYRING_KEYS_MAX - keys.len();
            let read = guarded(|| Ok(read_keys(block, room)));
            keys.extend(read.unwrap_or_default());
        }
        if keys.is_empty() { Err(VerifyError::NoKeys) } else { Ok(Self { keys }) }
    }

    /// Trusts the keys of `other` as well.
    pub fn join(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// Keeps only the keys, or owners of subkeys, with one of these fingerprints (hex digits of
    /// either case).
    pub fn retain(&mut self, fingerprints: &[String]) {
        let named = |key: &dyn KeyDetails| {
            let hex = policy::fingerprint(key);
            fingerprints.iter().any(|wanted| wanted.eq_ignore_ascii_case(&hex))
        };
        self.keys.retain(|key| named(key) || key.public_subkeys.iter().any(|sub| named(sub)));
    }

    pub(super) fn keys(&self) -> &[SignedPublicKey] {
        &self.keys
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Verifies a text with its signature around it (RFC 9580, section 7), such as `InRelease`.
///
/// One good signature by a key of `keyring` suffices; signatures by others are passed over.
/// Only what [`Verified::text`] holds was signed: bytes before or after it are an error.
///
/// # Errors
///
/// [`VerifyError`]; none of them may be ignored.
pub fn verify_cleartext(keyring: &Keyring, bytes: &[u8]) -> Result<Verified, VerifyError> {
    bound("the signed text", bytes, limits::RELEASE_LEN_BYTES_MAX)?;
    let whole = std::str::from_utf8(bytes).map_err(|_| VerifyError::Frame("it is not UTF-8"))?;
    let (text, armour) = split_cleartext(whole)?;
    let signatures = guarded(|| read_signatures(armour.as_bytes()))?;
    // RFC 9580, section 7.1: the line ending before the signature is not part of the text.
    let signed = text.strip_suffix('\n').unwrap_or(&text);
    let fingerprints = guarded(|| {
        policy::vouchers(&keyring.keys, &signatures, signed.as_bytes(), &[SignatureType::Text])
    })?;
    Ok(Verified { text, fingerprints })
}

/// Verifies bytes with a signature beside them, armoured or binary, such as `Release.gpg`, and
/// returns the fingerprints as in [`Verified`].
///
/// # Errors
///
/// [`VerifyError`]; none of them may be ignored.
pub fn verify_detached(
    keyring: &Keyring,
    bytes: &[u8],
    signature: &[u8],
) -> Result<Vec<String>, VerifyError> {
    bound("the signature", signature, limits::SIGNATURE_LEN_BYTES_MAX)?;
    let signatures = guarded(|| read_signatures(signature))?;
    let kinds = [SignatureType::Binary, SignatureType::Text];
    guarded(|| policy::vouchers(&keyring.keys, &signatures, bytes, &kinds))
}

fn bound(what: &'static str, bytes: &[u8], max: u64) -> Result<(), VerifyError> {
    if bytes.len() as u64 <= max { Ok(()) } else { Err(VerifyError::TooLong { what, max }) }
}

/// Runs `parse` and turns its panic into an error: `pgp` had panics on malformed input before
/// 0.14.1, and nothing proves that there are none left.
fn guarded<T>(parse: impl FnOnce() -> Result<T, VerifyError>) -> Result<T, VerifyError> {
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or(Err(VerifyError::Panicked))
}

/// The armoured blocks of a keyring, or the whole when it is binary.
pub(super) fn armoured_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    if bytes.first().is_none_or(|first| first & 0x80 != 0) {
        return vec![bytes];
    }
    let starts: Vec<usize> = bytes
        .windows(ARMOUR_KEY.len())
        .enumerate()
        .filter_map(|(at, window)| (window == ARMOUR_KEY).then_some(at))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]).collect()
}

fn read_keys(block: &[u8], keys_max: usize) -> Vec<SignedPublicKey> {
    let Ok((keys, _)) = SignedPublicKey::from_reader_many_buf(block) else {
        return Vec::new();
    };
    keys.take(keys_max).filter_map(Result::ok).collect()
}

fn read_signatures(bytes: &[u8]) -> Result<Vec<Signature>, VerifyError> {
    let malformed = |e| VerifyError::Malformed(Box::new(e));
    if bytes.is_empty() {
        return Err(VerifyError::Unsigned);
    }
    let (packets, _) = DetachedSignature::from_reader_many_buf(bytes).map_err(malformed)?;
    let mut signatures = Vec::new();
    for packet in packets {
        if signatures.len() == limits::SIGNATURES_MAX {
            return Err(VerifyError::TooMany);
        }
        signatures.push(packet.map_err(malformed)?.signature);
    }
    if signatures.is_empty() { Err(VerifyError::Unsigned) } else { Ok(signatures) }
}

/// Takes a cleartext message apart: the text as it was hashed, and the armoured signature.
fn split_cleartext(whole: &str) -> Result<(String, &str), VerifyError> {
    let frame = |what| Err(VerifyError::Frame(what));
    let mut lines = whole.split_inclusive('\n');
    if lines.next().map(str::trim_end) != Some(ARMOUR_TEXT) {
        return frame("it does not begin with the line BEGIN PGP SIGNED MESSAGE");
    }
    for header in lines.by_ref() {
        match header.trim_end() {
            "" => break,
            header if header.starts_with("Hash: ") => {}
            _ => return frame("it has a header other than Hash"),
        }
    }
    let mut text = String::with_capacity(whole.len());
    let mut rest = lines;
    loop {
        let before = rest.clone();
        let Some(line) = rest.next() else {
            return frame("its signature is missing");
        };
        let line = line.trim_end_matches(['\n', '\r', '\t', ' ']);
        if line == ARMOUR_SIGNATURE {
            let armour: &str = &whole[whole.len() - before.map(str::len).sum::<usize>()..];
            return check_tail(armour).map(|()| (text, armour));
        }
        if line.contains(['\r', '\0']) {
            return frame("a line holds a carriage return or a null byte");
        }
        match line.strip_prefix("- ") {
            Some(escaped) => text.push_str(escaped),
            None if line.starts_with('-') => return frame("a line begins with a bare dash"),
            None => text.push_str(line),
        }
        text.push('\n');
    }
}

/// Checks that one signature block, and nothing after it, ends the message.
fn check_tail(armour: &str) -> Result<(), VerifyError> {
    let Some((block, after)) = armour.split_once(ARMOUR_SIGNATURE_END) else {
        return Err(VerifyError::Frame("its signature does not end"));
    };
    if block.matches("-----").count() != 2 || !after.trim().is_empty() {
        return Err(VerifyError::Frame("bytes follow its signature"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
