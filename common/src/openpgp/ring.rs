//! A keyring as single keys, each as text under its fingerprint.
//!
//! In:   a key file as vendors publish it, armoured or binary.
//! Out:  [`PublicKey`]s: what clients import to check packages with.
//! Pure. That a key is here says nothing of whether it may be trusted.

use pgp::composed::ArmorOptions;

use super::verify::{Keyring, VerifyError, armoured_blocks, fingerprint};

const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// A public key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PublicKey {
    /// Of the primary key, lower-case hex.
    pub fingerprint: String,
    /// One armoured block; as the file has it where it stands there by itself.
    pub armoured: String,
}

/// The keys of a file, each fingerprint once, in the order in which they stand there.
///
/// # Errors
///
/// As [`Keyring::parse`].
pub fn keys(bytes: &[u8]) -> Result<Vec<PublicKey>, VerifyError> {
    let mut found: Vec<PublicKey> = Vec::new();
    let all = Keyring::parse(bytes)?;
    let blocks = armoured_blocks(bytes).into_iter().filter_map(alone);
    for key in blocks.chain(all.keys().iter().filter_map(written)) {
        if !found.iter().any(|known| known.fingerprint == key.fingerprint) {
            found.push(key);
        }
    }
    Ok(found)
}

/// An armoured block with one key and nothing else, word for word.
fn alone(block: &[u8]) -> Option<PublicKey> {
    let text = std::str::from_utf8(block).ok()?;
    let (body, _) = text.split_once(END)?;
    let armoured = format!("{body}{END}\n");
    match Keyring::parse(armoured.as_bytes()).ok()?.keys() {
        [key] => Some(PublicKey { fingerprint: fingerprint(key), armoured }),
        _ => None,
    }
}

fn written(key: &pgp::composed::SignedPublicKey) -> Option<PublicKey> {
    let armoured = key.to_armored_string(ArmorOptions::default()).ok()?;
    Some(PublicKey { fingerprint: fingerprint(key), armoured })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pgp::{
        composed::{Deserializable, SignedPublicKey},
        ser::Serialize,
    };

    use super::*;
    use crate::openpgp::sign::SiteKey;

    fn key(name: &str) -> (String, String) {
        let key = SiteKey::generate(name, Timestamp::UNIX_EPOCH).unwrap();
        (key.fingerprint().to_lowercase(), key.public_armoured().unwrap())
    }

    #[test]
    fn each_key_of_a_file_stands_under_its_fingerprint() {
        let (one, other) = (key("One"), key("Other"));
        let expected: Vec<_> = [&one, &other]
            .map(|(fingerprint, armoured)| PublicKey {
                fingerprint: fingerprint.clone(),
                armoured: armoured.clone(),
            })
            .into();
        let file = format!("Of a vendor\n{}\n{}trailing\n{}", one.1, other.1, one.1);
        assert_eq!(keys(file.as_bytes()).unwrap(), expected);
        let binary = |text: &str| SignedPublicKey::from_string(text).unwrap().0.to_bytes().unwrap();
        let file = [binary(&one.1), binary(&other.1)].concat();
        assert_eq!(keys(&file).unwrap(), expected);
        assert!(matches!(keys(b"no key"), Err(VerifyError::NoKeys)));
    }
}
