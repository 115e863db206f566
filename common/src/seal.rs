//! age encryption to a list of recipients, and back.

use std::{
    io::{self, Read, Write},
    iter,
};

use age::{DecryptError, Decryptor, Encryptor, stream::StreamReader, stream::StreamWriter};

use crate::keys::Identity;

/// Why something cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("{0:?} is no age recipient")]
    Recipient(String),
    #[error("there is nobody to encrypt to")]
    Nobody,
    #[error("cannot write the encrypted file")]
    Write(#[source] io::Error),
}

/// Who may open what is written.
#[derive(Clone)]
pub struct Recipients(Vec<age::x25519::Recipient>);

impl Recipients {
    /// Reads recipients as cards carry them, `age1…`.
    ///
    /// # Errors
    ///
    /// [`SealError::Recipient`], [`SealError::Nobody`]: the card is at fault.
    pub fn parse(texts: &[String]) -> Result<Self, SealError> {
        let parse = |text: &String| text.parse().map_err(|_| SealError::Recipient(text.clone()));
        let recipients: Vec<_> = texts.iter().map(parse).collect::<Result<_, _>>()?;
        if recipients.is_empty() {
            return Err(SealError::Nobody);
        }
        Ok(Self(recipients))
    }

    /// Starts encrypting into `to`; the caller calls `finish` on what it gets.
    ///
    /// # Errors
    ///
    /// [`SealError::Write`].
    pub fn encrypt<W: Write>(&self, to: W) -> Result<StreamWriter<W>, SealError> {
        let recipients = self.0.iter().map(|r| r as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(recipients).map_err(|_| SealError::Nobody)?;
        encryptor.wrap_output(to).map_err(SealError::Write)
    }
}

/// Opens an encrypted stream; seekable when `from` is.
///
/// # Errors
///
/// [`DecryptError`]: it is not for this identity, or damaged.
pub fn decrypt<R: Read>(from: R, identity: &Identity) -> Result<StreamReader<R>, DecryptError> {
    Decryptor::new(from)?.decrypt(iter::once(identity.as_age()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(to: &Identity) -> Vec<u8> {
        let mut bytes = Vec::new();
        let recipients = Recipients::parse(&[to.recipient()]).unwrap();
        let mut writer = recipients.encrypt(&mut bytes).unwrap();
        writer.write_all(b"cargo").unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn what_is_sealed_opens_for_its_recipient_alone() {
        let [site, other] = [Identity::generate(), Identity::generate()];
        let bytes = sealed(&site);
        let mut plain = String::new();
        decrypt(&bytes[..], &site).unwrap().read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "cargo");
        assert!(decrypt(&bytes[..], &other).is_err());
    }

    #[test]
    fn a_truncated_or_changed_file_does_not_open_to_its_end() {
        let site = Identity::generate();
        let bytes = sealed(&site);
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        for bad in [&bytes[..bytes.len() - 1], &changed] {
            let read = decrypt(bad, &site).map(|mut r| r.read_to_end(&mut Vec::new()));
            assert!(!matches!(read, Ok(Ok(_))), "a damaged file opened");
        }
    }

    #[test]
    fn nobody_is_no_recipient() {
        assert!(matches!(Recipients::parse(&[]), Err(SealError::Nobody)));
        assert!(matches!(Recipients::parse(&["age1no".into()]), Err(SealError::Recipient(_))));
    }
}
