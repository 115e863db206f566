//! Secret keys: made, kept in files that only their owner reads, used, never printed.

use std::{fmt, io};

use age::secrecy::{ExposeSecret, SecretString};
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_proto::signature::{Namespace, PublicKey};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::durable::{self, DurableError};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read key {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{path} holds no usable key")]
    Parse { path: Utf8PathBuf, source: ssh_key::Error },
    #[error("{path} holds no age identity")]
    Age { path: Utf8PathBuf },
    #[error("the passphrase does not open {path}")]
    Passphrase { path: Utf8PathBuf },
    #[error("the key cannot be protected with the passphrase")]
    Protect(#[source] ssh_key::Error),
    #[error(transparent)]
    Write(#[from] DurableError),
}

/// An Ed25519 key that signs in OpenSSH's format.
pub struct SigningKey(PrivateKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl SigningKey {
    /// Makes a new key from the system's randomness.
    pub fn generate() -> Self {
        let key = PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519);
        Self(key.expect("the system has randomness"))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(self.0.public_key())
    }

    /// Signs `message`; the text of a `.sig` file, as `ssh-keygen -Y sign` writes it.
    pub fn sign(&self, namespace: Namespace, message: &[u8]) -> String {
        let sig = self.0.sign(namespace.as_str(), HashAlg::Sha512, message);
        let pem = sig.and_then(|sig| sig.to_pem(LineEnding::LF));
        pem.expect("an Ed25519 key in memory can sign")
    }

    /// Writes the key for its owner's eyes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Write`].
    pub fn save(&self, path: &Utf8Path) -> Result<(), KeyError> {
        let text = self.0.to_openssh(LineEnding::LF).expect("an Ed25519 key can be written");
        Ok(durable::write_secret(path, text.as_bytes())?)
    }

    /// Writes the key so that only the passphrase opens it (bcrypt-pbkdf, AES-256).
    ///
    /// # Errors
    ///
    /// [`KeyError::Protect`], [`KeyError::Write`].
    pub fn save_protected(&self, path: &Utf8Path, passphrase: &str) -> Result<(), KeyError> {
        let locked =
            self.0.encrypt(&mut rand_core::OsRng, passphrase).map_err(KeyError::Protect)?;
        let text = locked.to_openssh(LineEnding::LF).map_err(KeyError::Protect)?;
        Ok(durable::write_secret(path, text.as_bytes())?)
    }

    /// Reads a key that has no passphrase.
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`], [`KeyError::Parse`].
    pub fn load(path: &Utf8Path) -> Result<Self, KeyError> {
        let read = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = read.map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        let parsed = PrivateKey::from_openssh(text.as_bytes());
        parsed.map(Self).map_err(|source| KeyError::Parse { path: path.to_owned(), source })
    }

    /// Reads a key that a passphrase protects.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::load`], and [`KeyError::Passphrase`].
    pub fn load_protected(path: &Utf8Path, passphrase: &str) -> Result<Self, KeyError> {
        let locked = Self::load(path)?;
        let opened = locked.0.decrypt(passphrase);
        opened.map(Self).map_err(|_| KeyError::Passphrase { path: path.to_owned() })
    }
}

/// An age X25519 identity: what packs to this site are opened with.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.recipient()).finish()
    }
}

impl Identity {
    /// Makes a new identity from the system's randomness.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// The recipient that packs are encrypted to, `age1…`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    pub(crate) fn as_age(&self) -> &dyn age::Identity {
        &self.0
    }

    /// Writes the identity as `age-keygen` does, for its owner's eyes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Write`].
    pub fn save(&self, path: &Utf8Path) -> Result<(), KeyError> {
        let secret: SecretString = self.0.to_string();
        let text = format!("# public key: {}\n{}\n", self.recipient(), secret.expose_secret());
        Ok(durable::write_secret(path, Zeroizing::new(text).as_bytes())?)
    }

    /// Reads an identity file.
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`], [`KeyError::Age`].
    pub fn load(path: &Utf8Path) -> Result<Self, KeyError> {
        let read = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = read.map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-"));
        let identity = line.and_then(|line| line.trim().parse().ok());
        identity.map(Self).ok_or_else(|| KeyError::Age { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use gapferry_proto::signature::{count_signers, parse_signature};

    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        (temp, path)
    }

    #[test]
    fn a_key_signs_the_same_after_it_was_saved() {
        let (_temp, folder) = folder();
        let key = SigningKey::generate();
        key.save(&folder.join("k")).unwrap();
        let sig = SigningKey::load(&folder.join("k")).unwrap().sign(Namespace::Envelope, b"m");
        let sig = parse_signature(sig.as_bytes()).unwrap();
        assert_eq!(count_signers(&[sig], Namespace::Envelope, b"m", &[key.public()]), 1);
    }

    #[test]
    fn a_protected_key_opens_with_its_passphrase_alone() {
        let (_temp, folder) = folder();
        let (key, path) = (SigningKey::generate(), folder.join("k"));
        key.save_protected(&path, "correct horse").unwrap();
        let opened = SigningKey::load_protected(&path, "correct horse").unwrap();
        assert_eq!(opened.public(), key.public());
        let wrong = SigningKey::load_protected(&path, "wrong").unwrap_err();
        assert!(matches!(wrong, KeyError::Passphrase { .. }), "{wrong}");
    }

    #[test]
    fn secrets_do_not_print() {
        let (_temp, folder) = folder();
        let identity = Identity::generate();
        identity.save(&folder.join("age")).unwrap();
        let secret = std::fs::read_to_string(folder.join("age")).unwrap();
        let secret = secret.lines().last().unwrap();
        assert!(!format!("{identity:?}").contains(secret));
        assert_eq!(Identity::load(&folder.join("age")).unwrap().recipient(), identity.recipient());
    }
}
