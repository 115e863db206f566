//! The pinned publisher: whose root decides what this site believes.

use camino::Utf8PathBuf;
use gapferry_proto::{
    Digest,
    card::{CardError, PublisherCard},
    keyset::{KeysetError, Role, TrustedKeyset},
    signature::{SignatureError, parse_signature},
};

use crate::home::Home;

/// Why no publisher is trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("no publisher is trusted yet; run `gapferry-inside trust publisher.card`")]
    Nobody,
    #[error("the publisher's card cannot be used")]
    Card(#[from] CardError),
    #[error("the first keyset of the publisher's card is not signed by its root")]
    Keyset(#[from] KeysetError),
    #[error("the publisher's card holds a bad signature")]
    Signature(#[from] SignatureError),
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
}

/// The root keys of a card and the hash of its first keyset.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub root: Role,
    pub first_keyset: Digest,
}

impl Pinned {
    /// Reads a card and checks that its root signed its first keyset.
    ///
    /// # Errors
    ///
    /// [`TrustError`]: the card is not whole, or not of one piece.
    pub fn of_card(text: &[u8]) -> Result<Self, TrustError> {
        let card = PublisherCard::parse(text)?;
        let root = card.root()?;
        let keyset = card.keyset.as_ref().ok_or(CardError::Lacks("its first keyset"))?;
        let sigs = card.keyset_signatures.iter().flatten();
        let sigs = sigs.map(|sig| parse_signature(sig)).collect::<Result<Vec<_>, _>>()?;
        let first = TrustedKeyset::first(keyset, &sigs, &root)?;
        Ok(Self { root, first_keyset: first.hash() })
    }

    /// The publisher that this home trusts.
    ///
    /// # Errors
    ///
    /// [`TrustError::Nobody`] before `trust`.
    pub fn of_home(home: &Home) -> Result<Self, TrustError> {
        let path = home.publisher_card();
        match std::fs::read(&path) {
            Ok(text) => Self::of_card(&text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(TrustError::Nobody),
            Err(source) => Err(TrustError::Read { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use gapferry_common::keys::SigningKey;
    use gapferry_proto::{keyset::Keyset, signature::Namespace};

    use super::*;

    fn card(root: &SigningKey, signer: &SigningKey) -> String {
        let keyset = Keyset {
            format: 1,
            version: 1,
            epoch: 1,
            root: Role::one(root.public()),
            publisher: Role::one(root.public()),
            critical: vec![],
        };
        let bytes = keyset.encode();
        let sig = signer.sign(Namespace::Keyset, &bytes).into_bytes();
        PublisherCard {
            roots: Some(vec![root.public().into()]),
            keyset: Some(bytes.into()),
            keyset_signatures: Some(vec![sig.into()]),
            ..PublisherCard::default()
        }
        .encode()
    }

    #[test]
    fn a_card_is_of_one_piece_when_its_root_signed_its_keyset() {
        let [root, other] = [SigningKey::generate(), SigningKey::generate()];
        let pinned = Pinned::of_card(card(&root, &root).as_bytes()).unwrap();
        assert_eq!(pinned.root, Role::one(root.public()));
        let refused = Pinned::of_card(card(&root, &other).as_bytes()).unwrap_err();
        assert!(matches!(refused, TrustError::Keyset(_)), "{refused}");
        assert!(Pinned::of_card(PublisherCard::default().encode().as_bytes()).is_err());
    }
}
