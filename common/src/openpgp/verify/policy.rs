//! Which signature by which key counts.
//!
//! In:   keys that are trusted, signatures, the bytes they are said to be over.
//! Out:  the fingerprints of the primary keys that vouch, or a reason for each signature.
//! Pure: as all of `verify`.

use pgp::{
    composed::{SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, Signature, SignatureType, SignatureVersion, SubpacketData},
    ser::Serialize,
    types::{KeyDetails, PublicParams, Tag, VerifyingKey},
};

use super::VerifyError;

/// Shortest RSA modulus that counts, in bits (NIST SP 800-131A revision 2).
const RSA_BITS_MIN: u16 = 2048;

/// Why one signature by one key does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Unfit {
    #[error("the signature does not match the text")]
    Mismatch,
    #[error("the signature is of a kind that does not vouch for texts")]
    Kind,
    #[error("the signature's hash is too weak")]
    WeakHash,
    #[error("the key is too weak")]
    WeakKey,
    #[error("the signature does not say when it was made")]
    Undated,
    #[error("the signature demands an extension that is not known here")]
    Critical,
    #[error("the key was revoked")]
    Revoked,
    #[error("the key had expired when it signed")]
    Expired,
    #[error("the key may not sign")]
    MayNotSign,
    #[error("no valid self-signature binds the key")]
    Unbound,
}

/// The primary keys whose signature over `bytes` counts.
pub(super) fn vouchers(
    keys: &[SignedPublicKey],
    signatures: &[Signature],
    bytes: &[u8],
    kinds: &[SignatureType],
) -> Result<Vec<String>, VerifyError> {
    let mut good: Vec<String> = Vec::new();
    let mut reasons = Vec::new();
    for signature in signatures {
        match judge(keys, signature, bytes, kinds) {
            Ok(fingerprint) if !good.contains(&fingerprint) => good.push(fingerprint),
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    if good.is_empty() { Err(VerifyError::Untrusted(reasons)) } else { Ok(good) }
}

/// The fingerprint of the key that made `signature`, or why it does not count.
fn judge(
    keys: &[SignedPublicKey],
    signature: &Signature,
    bytes: &[u8],
    kinds: &[SignatureType],
) -> Result<String, String> {
    let issuers = issuers(signature);
    if issuers.is_empty() {
        return Err("a signature does not name its key".to_owned());
    }
    let mut reason = format!("key {} is not in the keyring", issuers[0]);
    let is_issuer = |key: &dyn KeyDetails| {
        issuers.contains(&fingerprint(key)) || issuers.contains(&key.legacy_key_id().to_string())
    };
    for key in keys {
        let verdict = if is_issuer(&key.primary_key) {
            check_primary(key, signature)
                .and_then(|()| check_text(&key.primary_key, signature, bytes, kinds))
        } else if let Some(sub) = key.public_subkeys.iter().find(|sub| is_issuer(*sub)) {
            check_subkey(key, sub, signature)
                .and_then(|()| check_text(&sub.key, signature, bytes, kinds))
        } else {
            continue;
        };
        match verdict {
            Ok(()) => return Ok(fingerprint(key)),
            Err(unfit) => reason = format!("key {}: {unfit}", issuers[0]),
        }
    }
    Err(reason)
}

/// Fingerprints and key ids that a signature names as its maker, lower-case hex.
fn issuers(signature: &Signature) -> Vec<String> {
    let fingerprints = signature.issuer_fingerprint().into_iter().map(|f| format!("{f:x}"));
    fingerprints.chain(signature.issuer_key_id().into_iter().map(ToString::to_string)).collect()
}

pub(in crate::openpgp) fn fingerprint(key: &(impl KeyDetails + ?Sized)) -> String {
    format!("{:x}", key.fingerprint())
}

/// Checks the signature itself, after the key was found fit.
fn check_text(
    key: &impl VerifyingKey,
    signature: &Signature,
    bytes: &[u8],
    kinds: &[SignatureType],
) -> Result<(), Unfit> {
    if !signature.typ().is_some_and(|kind| kinds.contains(&kind)) {
        return Err(Unfit::Kind);
    }
    if !is_strong(signature) {
        return Err(Unfit::WeakHash);
    }
    if has_unknown_demand(signature) {
        return Err(Unfit::Critical);
    }
    if !is_strong_key(key) {
        return Err(Unfit::WeakKey);
    }
    signature.verify(key, bytes).map_err(|_| Unfit::Mismatch)
}

/// Whether a signature is of a current version over a hash without known collisions.
fn is_strong(signature: &Signature) -> bool {
    let hash = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    hash && matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6)
}

/// Whether a signature has a critical subpacket that this program does not act on (RFC 9580,
/// section 5.2.3.7: it is then in error).
fn has_unknown_demand(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|subpacket| {
            subpacket.is_critical
                && matches!(
                    subpacket.data,
                    SubpacketData::Notation(_)
                        | SubpacketData::Experimental(..)
                        | SubpacketData::Other(..)
                )
        })
    })
}

fn is_strong_key(key: &impl KeyDetails) -> bool {
    match key.public_params() {
        PublicParams::RSA(modulus) => {
            // The wire form begins with the length of the modulus in bits (RFC 9580, section 3.2).
            let bytes = modulus.to_bytes().unwrap_or_default();
            bytes.first_chunk().is_some_and(|bits| RSA_BITS_MIN <= u16::from_be_bytes(*bits))
        }
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => true,
        _ => false,
    }
}

/// What the newest valid self-signature says of a key.
struct Standing<'a>(&'a Signature);

impl Standing<'_> {
    /// Whether the key was valid at the moment that `signature` states.
    fn check_time(&self, key: &impl KeyDetails, signature: &Signature) -> Result<(), Unfit> {
        let made = u64::from(signature.created().ok_or(Unfit::Undated)?.as_secs());
        let created = u64::from(key.created_at().as_secs());
        let lifetime = self.0.key_expiration_time().map_or(0, |d| u64::from(d.as_secs()));
        if made < created || (lifetime != 0 && created + lifetime <= made) {
            return Err(Unfit::Expired);
        }
        Ok(())
    }

    /// The key flags, when the self-signature has any.
    fn flags(&self) -> Option<&KeyFlags> {
        self.0.config()?.hashed_subpackets().find_map(|subpacket| match &subpacket.data {
            SubpacketData::KeyFlags(flags) => Some(flags),
            _ => None,
        })
    }
}

/// Checks a primary key as the maker of `signature`. A key without flags is of an age when
/// every primary key could sign.
fn check_primary(key: &SignedPublicKey, signature: &Signature) -> Result<(), Unfit> {
    let standing = primary_standing(key)?;
    standing.check_time(&key.primary_key, signature)?;
    if standing.flags().is_some_and(|flags| !flags.sign()) {
        return Err(Unfit::MayNotSign);
    }
    Ok(())
}

/// Checks a subkey as the maker of `signature`: its owner stands and binds it for signing, and
/// it agrees (RFC 9580, section 5.2.1.9: the back signature).
fn check_subkey(
    key: &SignedPublicKey,
    sub: &SignedPublicSubKey,
    signature: &Signature,
) -> Result<(), Unfit> {
    let owner = &key.primary_key;
    primary_standing(key)?.check_time(owner, signature)?;
    let binds = |s: &&Signature| s.verify_subkey_binding(owner, &sub.key).is_ok();
    let of_kind = |kind| sub.signatures.iter().filter(move |s| s.typ() == Some(kind));
    if of_kind(SignatureType::SubkeyRevocation).any(|s| binds(&s)) {
        return Err(Unfit::Revoked);
    }
    let strong = of_kind(SignatureType::SubkeyBinding).filter(|s| is_strong(s)).filter(binds);
    let standing = Standing(newest(strong).ok_or(Unfit::Unbound)?);
    standing.check_time(&sub.key, signature)?;
    if !standing.flags().is_some_and(KeyFlags::sign) {
        return Err(Unfit::MayNotSign);
    }
    match standing.0.embedded_signature() {
        Some(back)
            if is_strong(back) && back.verify_primary_key_binding(&sub.key, owner).is_ok() =>
        {
            Ok(())
        }
        _ => Err(Unfit::Unbound),
    }
}

/// What a primary key says of itself, unless it was revoked. A revocation counts whenever it was
/// made and whatever its hash: in doubt against the key.
fn primary_standing(key: &SignedPublicKey) -> Result<Standing<'_>, Unfit> {
    let owner = &key.primary_key;
    let details = &key.details;
    if details.revocation_signatures.iter().any(|s| s.verify_key(owner).is_ok()) {
        return Err(Unfit::Revoked);
    }
    let direct = details.direct_signatures.iter().filter(|s| {
        s.typ() == Some(SignatureType::Key) && is_strong(s) && s.verify_key(owner).is_ok()
    });
    let named = details.users.iter().filter_map(|user| {
        let valid = |s: &&Signature| s.verify_certification(owner, Tag::UserId, &user.id).is_ok();
        let (revocations, certifications): (Vec<_>, Vec<_>) = user
            .signatures
            .iter()
            .filter(valid)
            .partition(|s| s.typ() == Some(SignatureType::CertRevocation));
        let latest = newest(certifications.into_iter().filter(|s| is_strong(s)))?;
        let revoked = newest(revocations).is_some_and(|r| latest.created() <= r.created());
        (!revoked).then_some(latest)
    });
    newest(direct.chain(named)).map(Standing).ok_or(Unfit::Unbound)
}

fn newest<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.into_iter().max_by_key(|s| s.created())
}
