//! Signs what the site's own repositories show their clients.
//!
//! In:   the site's OpenPGP key, and a document with the moment it speaks of.
//! Out:  a cleartext-signed text (`InRelease`) or a detached signature (`Release.gpg`).
//! Never: verifies, reads a clock, or prints the secret.
//!
//! This key vouches for no export: whatever it signs has passed the export's own signatures
//! before. It is there because apt and dnf trust nothing else.

use std::fmt;

use jiff::Timestamp;
use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, Deserializable, DetachedSignature, KeyType,
        SecretKeyParamsBuilder, SignedSecretKey,
    },
    crypto::hash::HashAlgorithm,
    packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData},
    types::{KeyDetails, Password},
};
use zeroize::Zeroizing;

/// Bits of the site's RSA key. gpgv and the rpm of EL8 both know RSA; that rpm does not know
/// Ed25519. NIST SP 800-57 part 1 gives 3072 bits the strength of 128.
const RSA_BITS: u32 = 3072;

/// Why the site's key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("{0} is outside of what an OpenPGP key can say; use a moment between 1970 and 2106")]
    Moment(Timestamp),
    #[error("site key cannot be generated")]
    Generate(#[source] Box<pgp::errors::Error>),
    #[error("site key cannot be read: restore it from a backup of this agent's state")]
    Read(#[source] Box<pgp::errors::Error>),
    #[error("site key cannot be written as text")]
    Write(#[source] Box<pgp::errors::Error>),
    #[error("site key cannot sign")]
    Sign(#[source] Box<pgp::errors::Error>),
}

/// The secret key that signs this site's repositories: OpenPGP version 4, RSA-3072, signing by
/// the primary key, so that clients need no policy on subkeys.
///
/// `Debug` shows the fingerprint alone.
pub struct SiteKey(SignedSecretKey);

impl SiteKey {
    /// Generates a key for `user_id`, as made at `created`.
    ///
    /// Clients refuse a key from their future, so a moment that has long passed for all of a
    /// site's clocks is a good one. Takes about a second.
    ///
    /// # Errors
    ///
    /// [`SignError::Moment`], [`SignError::Generate`].
    pub fn generate(user_id: &str, created: Timestamp) -> Result<Self, SignError> {
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(KeyType::Rsa(RSA_BITS))
            .can_certify(true)
            .can_sign(true)
            .created_at(openpgp_time(created)?)
            .primary_user_id(user_id.to_owned())
            .preferred_hash_algorithms([HashAlgorithm::Sha256].into_iter().collect());
        let params = params.build().expect("every required field is set above");
        let key = params.generate(rand::thread_rng()).map_err(boxed(SignError::Generate))?;
        Ok(Self(key))
    }

    /// Reads what [`SiteKey::to_armoured`] wrote.
    ///
    /// # Errors
    ///
    /// [`SignError::Read`]: the text is no secret key, or its own signatures do not hold.
    pub fn from_armoured(text: &str) -> Result<Self, SignError> {
        let (key, _) = SignedSecretKey::from_string(text).map_err(boxed(SignError::Read))?;
        key.verify_bindings().map_err(boxed(SignError::Read))?;
        Ok(Self(key))
    }

    /// The secret key as text, for a file that only this agent reads.
    ///
    /// # Errors
    ///
    /// [`SignError::Write`]: a fault of the OpenPGP library.
    pub fn to_armoured(&self) -> Result<Zeroizing<String>, SignError> {
        let text = self.0.to_armored_string(ArmorOptions::default());
        text.map(Zeroizing::new).map_err(boxed(SignError::Write))
    }

    /// The public key as text: what `/keys/site.asc` shows and `Signed-By:` takes.
    ///
    /// # Errors
    ///
    /// [`SignError::Write`]: a fault of the OpenPGP library.
    pub fn public_armoured(&self) -> Result<String, SignError> {
        let text = self.0.to_public_key().to_armored_string(ArmorOptions::default());
        text.map_err(boxed(SignError::Write))
    }

    /// The fingerprint, 40 upper-case hex digits.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_uppercase()
    }

    /// Wraps `text` in a cleartext signature made at `moment` (RFC 9580, section 7), or at the
    /// key's creation when that is later: clients refuse signatures older than their key.
    ///
    /// # Errors
    ///
    /// [`SignError::Moment`], [`SignError::Sign`].
    pub fn cleartext_sign(&self, text: &str, moment: Timestamp) -> Result<String, SignError> {
        let config = self.config(SignatureType::Text, moment)?;
        let message =
            CleartextSignedMessage::new(text, config, &self.0.primary_key, &Password::empty())
                .map_err(boxed(SignError::Sign))?;
        message.to_armored_string(ArmorOptions::default()).map_err(boxed(SignError::Sign))
    }

    /// Makes an armoured detached signature of `bytes`; the moment as for
    /// [`SiteKey::cleartext_sign`].
    ///
    /// # Errors
    ///
    /// [`SignError::Moment`], [`SignError::Sign`].
    pub fn detached_sign(&self, bytes: &[u8], moment: Timestamp) -> Result<String, SignError> {
        let config = self.config(SignatureType::Binary, moment)?;
        let signature = config
            .sign(&self.0.primary_key, &Password::empty(), bytes)
            .map_err(boxed(SignError::Sign))?;
        DetachedSignature::new(signature)
            .to_armored_string(ArmorOptions::default())
            .map_err(boxed(SignError::Sign))
    }

    fn config(&self, kind: SignatureType, moment: Timestamp) -> Result<SignatureConfig, SignError> {
        let key = &self.0.primary_key;
        let moment = openpgp_time(moment)?.max(key.created_at());
        let subpacket = |data| Subpacket::regular(data).map_err(boxed(SignError::Sign));
        let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
        config.hashed_subpackets = vec![
            subpacket(SubpacketData::SignatureCreationTime(moment))?,
            subpacket(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        ];
        config.unhashed_subpackets =
            vec![subpacket(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
        Ok(config)
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey({})", self.fingerprint())
    }
}

fn openpgp_time(moment: Timestamp) -> Result<pgp::types::Timestamp, SignError> {
    let seconds = u32::try_from(moment.as_second()).map_err(|_| SignError::Moment(moment))?;
    Ok(pgp::types::Timestamp::from_secs(seconds))
}

fn boxed(
    variant: fn(Box<pgp::errors::Error>) -> SignError,
) -> impl Fn(pgp::errors::Error) -> SignError {
    move |error| variant(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static KEY: LazyLock<SiteKey> =
        LazyLock::new(|| SiteKey::generate("Site prod", second(1_000_000_000)).unwrap());

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_signed_text_verifies_with_the_public_key_and_with_no_other_text() {
        let (public, _) =
            pgp::composed::SignedPublicKey::from_string(&KEY.public_armoured().unwrap()).unwrap();
        let signed = KEY.cleartext_sign("Suite: a\n- dash\n", second(1_700_000_000)).unwrap();
        let (message, _) = CleartextSignedMessage::from_string(&signed).unwrap();
        message.verify(&public).unwrap();
        let forged = signed.replace("Suite: a", "Suite: b");
        let (message, _) = CleartextSignedMessage::from_string(&forged).unwrap();
        assert!(message.verify(&public).is_err(), "a changed text verified");
    }

    #[test]
    fn a_detached_signature_verifies_over_the_same_bytes_alone() {
        let (public, _) =
            pgp::composed::SignedPublicKey::from_string(&KEY.public_armoured().unwrap()).unwrap();
        let signed = KEY.detached_sign(b"bytes", second(1_700_000_000)).unwrap();
        let (signature, _) = DetachedSignature::from_string(&signed).unwrap();
        signature.verify(&public, &b"bytes"[..]).unwrap();
        assert!(signature.verify(&public, &b"Bytes"[..]).is_err(), "other bytes verified");
    }

    #[test]
    fn a_key_comes_back_from_its_text_and_signs_the_same() {
        let again = SiteKey::from_armoured(&KEY.to_armoured().unwrap()).unwrap();
        assert_eq!(again.fingerprint(), KEY.fingerprint());
        let moment = second(1_700_000_000);
        assert_eq!(
            again.cleartext_sign("a\n", moment).unwrap(),
            KEY.cleartext_sign("a\n", moment).unwrap()
        );
        for bad in ["", "nonsense", &KEY.public_armoured().unwrap()] {
            assert!(matches!(SiteKey::from_armoured(bad), Err(SignError::Read(_))), "{bad}");
        }
    }

    #[test]
    fn a_signature_is_never_older_than_its_key() {
        let signed = KEY.detached_sign(b"bytes", second(5)).unwrap();
        let (signature, _) = DetachedSignature::from_string(&signed).unwrap();
        assert_eq!(signature.signature.created().unwrap().as_secs(), 1_000_000_000);
        let ages_ago = KEY.detached_sign(b"bytes", second(-1));
        assert!(matches!(ages_ago, Err(SignError::Moment(_))), "{ages_ago:?}");
    }

    #[test]
    fn the_secret_does_not_print() {
        assert_eq!(format!("{:?}", *KEY), format!("SiteKey({})", KEY.fingerprint()));
    }
}
