//! Keysets: which keys may sign what, under which epoch; signed by the root keys.
//!
//! `FORMAT.md`, section 6.

use serde::{Deserialize, Serialize};
use ssh_key::SshSig;

use crate::{
    Digest, limits,
    signature::{Namespace, PublicKey, count_signers},
};

/// Why a keyset is not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeysetError {
    #[error("the keyset has more than {max} bytes", max = limits::KEYSET_LEN_BYTES_MAX)]
    TooLong,
    #[error("the keyset cannot be read")]
    Json(#[source] serde_json::Error),
    #[error("the keyset has format {0}; update this agent")]
    Format(u32),
    #[error("the keyset is critical in {0:?}, which this agent does not know; update it")]
    Critical(String),
    #[error("the {0} role of the keyset needs {1} of {2} keys")]
    Threshold(&'static str, u32, usize),
    #[error("keyset {version} is signed by {valid} of the {threshold} root keys it needs")]
    TooFewSigners { version: u64, valid: usize, threshold: u32 },
    #[error("keyset {found} follows keyset {trusted}; versions go up by one")]
    Version { trusted: u64, found: u64 },
    #[error("keyset {version} goes back from epoch {trusted} to {found}")]
    Epoch { version: u64, trusted: u64, found: u64 },
}

/// Some keys, and how many of them must sign.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Role {
    pub keys: Vec<PublicKey>,
    pub threshold: u32,
}

impl Role {
    /// A role of one key.
    pub fn one(key: PublicKey) -> Self {
        Self { keys: vec![key], threshold: 1 }
    }

    /// How many of the role's keys signed `message`; the second is how many must.
    pub fn signers(&self, sigs: &[SshSig], namespace: Namespace, message: &[u8]) -> (usize, u32) {
        (count_signers(sigs, namespace, message, &self.keys), self.threshold)
    }

    fn check(&self, name: &'static str) -> Result<(), KeysetError> {
        let possible = 1..=u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        if possible.contains(&self.threshold) {
            return Ok(());
        }
        Err(KeysetError::Threshold(name, self.threshold, self.keys.len()))
    }
}

/// A keyset as JSON. Unknown fields are passed over unless `critical` names them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Keyset {
    pub format: u32,
    /// From 1, up by one.
    pub version: u64,
    /// Exports of an earlier epoch are refused.
    pub epoch: u64,
    /// Who signs the next keyset.
    pub root: Role,
    /// Who signs exports.
    pub publisher: Role,
    #[serde(default)]
    pub critical: Vec<String>,
}

/// A keyset whose signatures were checked, with the bytes that were signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedKeyset {
    keyset: Keyset,
    hash: Digest,
}

impl Keyset {
    /// Reads a keyset; nothing is trusted yet.
    ///
    /// # Errors
    ///
    /// [`KeysetError`]: the keyset is not taken.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeysetError> {
        if limits::KEYSET_LEN_BYTES_MAX < bytes.len() as u64 {
            return Err(KeysetError::TooLong);
        }
        let keyset: Self = serde_json::from_slice(bytes).map_err(KeysetError::Json)?;
        if keyset.format != crate::FORMAT {
            return Err(KeysetError::Format(keyset.format));
        }
        if let Some(field) = keyset.critical.first() {
            return Err(KeysetError::Critical(field.clone()));
        }
        keyset.root.check("root")?;
        keyset.publisher.check("publisher")?;
        Ok(keyset)
    }

    /// The bytes to sign and store.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a keyset is plain JSON");
        bytes.push(b'\n');
        bytes
    }
}

impl TrustedKeyset {
    /// Takes the first keyset, which the pinned root must have signed.
    ///
    /// # Errors
    ///
    /// [`KeysetError`]: the keyset is not taken.
    pub fn first(bytes: &[u8], sigs: &[SshSig], pinned: &Role) -> Result<Self, KeysetError> {
        let keyset = Keyset::parse(bytes)?;
        if keyset.version != 1 {
            return Err(KeysetError::Version { trusted: 0, found: keyset.version });
        }
        check_signers(bytes, sigs, &[pinned, &keyset.root], keyset.version)?;
        Ok(Self { keyset, hash: Digest::of(bytes) })
    }

    /// Takes the keyset after this one: signed by this one's root and by its own.
    ///
    /// # Errors
    ///
    /// [`KeysetError`]: the keyset is not taken.
    pub fn then(&self, bytes: &[u8], sigs: &[SshSig]) -> Result<Self, KeysetError> {
        let keyset = Keyset::parse(bytes)?;
        let (trusted, found) = (self.keyset.version, keyset.version);
        if found != trusted + 1 {
            return Err(KeysetError::Version { trusted, found });
        }
        if keyset.epoch < self.keyset.epoch {
            let (trusted, found) = (self.keyset.epoch, keyset.epoch);
            return Err(KeysetError::Epoch { version: keyset.version, trusted, found });
        }
        check_signers(bytes, sigs, &[&self.keyset.root, &keyset.root], found)?;
        Ok(Self { keyset, hash: Digest::of(bytes) })
    }

    pub const fn keyset(&self) -> &Keyset {
        &self.keyset
    }

    /// SHA-256 of the keyset's bytes.
    pub const fn hash(&self) -> Digest {
        self.hash
    }
}

fn check_signers(
    bytes: &[u8],
    sigs: &[SshSig],
    roles: &[&Role],
    version: u64,
) -> Result<(), KeysetError> {
    for role in roles {
        let (valid, threshold) = role.signers(sigs, Namespace::Keyset, bytes);
        if (valid as u64) < u64::from(threshold) {
            return Err(KeysetError::TooFewSigners { version, valid, threshold });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ssh_key::{HashAlg, PrivateKey, private::Ed25519Keypair};

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn role(seeds: &[u8], threshold: u32) -> Role {
        let keys = seeds.iter().map(|&s| PublicKey::of(key(s).public_key())).collect();
        Role { keys, threshold }
    }

    fn keyset(version: u64, epoch: u64, root: Role) -> Vec<u8> {
        let publisher = role(&[9], 1);
        Keyset { format: 1, version, epoch, root, publisher, critical: vec![] }.encode()
    }

    fn signed_by(seeds: &[u8], bytes: &[u8]) -> Vec<SshSig> {
        let sign = |&s| key(s).sign(Namespace::Keyset.as_str(), HashAlg::Sha512, bytes).unwrap();
        seeds.iter().map(sign).collect()
    }

    #[test]
    fn a_root_rotates_when_the_old_and_the_new_root_sign() {
        let one = keyset(1, 1, role(&[1], 1));
        let first = TrustedKeyset::first(&one, &signed_by(&[1], &one), &role(&[1], 1)).unwrap();
        let two = keyset(2, 1, role(&[2], 1));
        assert!(first.then(&two, &signed_by(&[1, 2], &two)).is_ok());
        for too_few in [vec![1], vec![2], vec![3, 4], vec![1, 1]] {
            let refused = first.then(&two, &signed_by(&too_few, &two)).unwrap_err();
            assert!(matches!(refused, KeysetError::TooFewSigners { .. }), "{too_few:?}: {refused}");
        }
    }

    #[test]
    fn the_first_keyset_is_signed_by_the_pinned_root() {
        let one = keyset(1, 1, role(&[1], 1));
        let refused =
            TrustedKeyset::first(&one, &signed_by(&[1], &one), &role(&[2], 1)).unwrap_err();
        assert!(matches!(refused, KeysetError::TooFewSigners { valid: 0, .. }), "{refused}");
    }

    #[test]
    fn two_of_two_means_two_keys() {
        let one = keyset(1, 1, role(&[1, 2], 2));
        let pinned = role(&[1, 2], 2);
        assert!(TrustedKeyset::first(&one, &signed_by(&[1, 1], &one), &pinned).is_err());
        assert!(TrustedKeyset::first(&one, &signed_by(&[1, 2], &one), &pinned).is_ok());
    }

    #[test]
    fn versions_go_up_by_one_and_epochs_never_back() {
        let root = || role(&[1], 1);
        let one = keyset(1, 5, root());
        let first = TrustedKeyset::first(&one, &signed_by(&[1], &one), &root()).unwrap();
        let then = |version, epoch| {
            let bytes = keyset(version, epoch, root());
            first.then(&bytes, &signed_by(&[1], &bytes))
        };
        assert!(matches!(then(3, 5), Err(KeysetError::Version { trusted: 1, found: 3 })));
        assert!(matches!(then(1, 5), Err(KeysetError::Version { .. })));
        assert!(matches!(then(2, 4), Err(KeysetError::Epoch { trusted: 5, found: 4, .. })));
        assert_eq!(then(2, 6).unwrap().keyset().epoch, 6);
    }

    #[test]
    fn a_threshold_nobody_or_anybody_meets_is_no_keyset() {
        for threshold in [0, 2] {
            let bytes = keyset(1, 1, role(&[1], threshold));
            assert!(matches!(Keyset::parse(&bytes), Err(KeysetError::Threshold("root", ..))));
        }
    }
}
