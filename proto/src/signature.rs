//! Signatures: SSHSIG over bytes as stored, and how many distinct keys made them.
//!
//! `FORMAT.md`, section 6; the format is OpenSSH's `PROTOCOL.sshsig`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, SshSig};

use crate::{Digest, limits};

/// What a signature is for; a signature for one use is none for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Namespace {
    Envelope,
    Keyset,
    Inventory,
}

impl Namespace {
    /// The namespace as SSHSIG carries it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "gapferry-envelope-v1",
            Self::Keyset => "gapferry-keyset-v1",
            Self::Inventory => "gapferry-inventory-v1",
        }
    }
}

/// A public key in OpenSSH's one-line form without a comment.
///
/// Equal when the key is equal, whatever comment it was read with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey(String);

/// Why a text is no public key.
#[derive(Debug, thiserror::Error)]
#[error("this is no OpenSSH public key of one line")]
pub struct ParseKeyError(#[source] ssh_key::Error);

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("a signature file has more than {max} bytes", max = limits::SIGNATURE_LEN_BYTES_MAX)]
    TooLong,
    #[error("a signature file is not SSHSIG")]
    NotSshSig,
    #[error("a signature file is not written as ssh-keygen writes it")]
    NotCanonical,
}

impl PublicKey {
    /// Takes the key out of `key`, leaving the comment.
    pub fn of(key: &ssh_key::PublicKey) -> Self {
        let bare = ssh_key::PublicKey::from(key.key_data().clone());
        Self(bare.to_openssh().expect("a parsed key can be written"))
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 64 hex digits of the SHA-256 of the key: the name of its signature files.
    pub fn fingerprint(&self) -> String {
        let key: ssh_key::PublicKey = self.0.parse().expect("checked when it was made");
        match key.fingerprint(HashAlg::Sha256) {
            ssh_key::Fingerprint::Sha256(hash) => Digest::from_bytes(hash).hex(),
            _ => unreachable!("SHA-256 was asked for"),
        }
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        ssh_key::PublicKey::from_openssh(text).map(|key| Self::of(&key)).map_err(ParseKeyError)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = ParseKeyError;

    fn try_from(text: String) -> Result<Self, ParseKeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a signature file, which must equal its own canonical re-encoding.
///
/// # Errors
///
/// [`SignatureError`]: the file is not what `ssh-keygen -Y sign` or an agent of ours writes.
pub fn parse_signature(text: &[u8]) -> Result<SshSig, SignatureError> {
    if limits::SIGNATURE_LEN_BYTES_MAX < text.len() as u64 {
        return Err(SignatureError::TooLong);
    }
    let sig = SshSig::from_pem(text).map_err(|_| SignatureError::NotSshSig)?;
    let canonical = sig.to_pem(LineEnding::LF).map_err(|_| SignatureError::NotSshSig)?;
    if canonical.trim_end().as_bytes() != text.trim_ascii_end() {
        return Err(SignatureError::NotCanonical);
    }
    Ok(sig)
}

/// The key that made `sig` over `message` in `namespace`, if the signature is good.
pub fn verified_signer(sig: &SshSig, namespace: Namespace, message: &[u8]) -> Option<PublicKey> {
    let key = ssh_key::PublicKey::from(sig.public_key().clone());
    key.verify(namespace.as_str(), message, sig).ok()?;
    Some(PublicKey::of(&key))
}

/// How many *distinct public keys* of `allowed` made a good signature over `message`.
///
/// The only place that counts: a doubled signature file, or one key listed twice, counts once.
pub fn count_signers(
    signatures: &[SshSig],
    namespace: Namespace,
    message: &[u8],
    allowed: &[PublicKey],
) -> usize {
    let signers: BTreeSet<_> = signatures
        .iter()
        .filter_map(|sig| verified_signer(sig, namespace, message))
        .filter(|key| allowed.contains(key))
        .collect();
    signers.len()
}

#[cfg(test)]
mod tests {
    use ssh_key::{PrivateKey, private::Ed25519Keypair};

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn sign(key: &PrivateKey, namespace: Namespace) -> SshSig {
        key.sign(namespace.as_str(), HashAlg::Sha512, b"message").unwrap()
    }

    #[test]
    fn a_doubled_signature_and_a_doubled_key_count_once() {
        let [a, b] = [key(1), key(2)];
        let [pub_a, pub_b] = [&a, &b].map(|k| PublicKey::of(k.public_key()));
        let doubled = [sign(&a, Namespace::Envelope), sign(&a, Namespace::Envelope)];
        let allowed = [pub_a.clone(), pub_a.clone(), pub_b.clone()];
        let count =
            |sigs: &[SshSig]| count_signers(sigs, Namespace::Envelope, b"message", &allowed);
        assert_eq!(count(&doubled), 1);
        assert_eq!(count(&[doubled[0].clone(), sign(&b, Namespace::Envelope)]), 2);
    }

    #[test]
    fn a_signature_counts_only_for_its_bytes_its_use_and_its_keys() {
        let a = key(1);
        let allowed = [PublicKey::of(a.public_key())];
        let sig = [sign(&a, Namespace::Envelope)];
        assert_eq!(count_signers(&sig, Namespace::Envelope, b"message", &allowed), 1);
        assert_eq!(count_signers(&sig, Namespace::Envelope, b"messagE", &allowed), 0);
        assert_eq!(count_signers(&sig, Namespace::Inventory, b"message", &allowed), 0);
        assert_eq!(
            count_signers(
                &[sign(&key(3), Namespace::Envelope)],
                Namespace::Envelope,
                b"message",
                &allowed
            ),
            0
        );
    }

    #[test]
    fn a_signature_file_equals_its_own_re_encoding() {
        let text = sign(&key(1), Namespace::Envelope).to_pem(LineEnding::LF).unwrap();
        assert!(parse_signature(text.as_bytes()).is_ok());
        let rewrapped = text.replacen('\n', "\n\n", 2);
        let padded = format!("hello\n{text}");
        for bad in [rewrapped, padded, text.replace("SSH", "SHS")] {
            assert!(parse_signature(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_equal_whatever_its_comment() {
        let mut commented = key(1).public_key().clone();
        commented.set_comment("me@bastion");
        let text = commented.to_openssh().unwrap();
        assert!(text.ends_with("me@bastion"));
        assert_eq!(text.parse::<PublicKey>().unwrap(), PublicKey::of(key(1).public_key()));
    }
}
