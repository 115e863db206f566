//! Cards: what two agents show each other once, before anything crosses.
//!
//! A card is CBOR with numbered optional fields in PEM armour. Both screens show eight words
//! that hash both cards whole. `FORMAT.md`, section 7.

use minicbor::{Decode, Encode, bytes::ByteVec};
use pem_rfc7468::LineEnding;

use crate::{SiteName, cbor, limits, signature::PublicKey};

/// Why bytes are no card.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    #[error("the card has more than {max} bytes", max = limits::CARD_LEN_BYTES_MAX)]
    TooLong,
    #[error("this is no card: expected a line -----BEGIN {0}-----")]
    Armour(&'static str),
    #[error("the card cannot be decoded")]
    Decode(#[source] minicbor::decode::Error),
    #[error("the card lacks {0}")]
    Lacks(&'static str),
    #[error("the card holds a bad key")]
    Key(#[from] crate::signature::ParseKeyError),
}

/// What the outside shows: `publisher.card`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct PublisherCard {
    /// Root public keys, OpenSSH lines.
    #[n(1)]
    pub roots: Option<Vec<String>>,
    /// How many roots must sign a keyset.
    #[n(2)]
    pub root_threshold: Option<u32>,
    /// The first keyset.
    #[n(3)]
    pub keyset: Option<ByteVec>,
    /// Signature files of the first keyset.
    #[n(4)]
    pub keyset_signatures: Option<Vec<ByteVec>>,
    /// Raw public key of the two-way link.
    #[n(5)]
    pub link_key: Option<ByteVec>,
    /// X25519 key of the diode.
    #[n(6)]
    pub diode_key: Option<ByteVec>,
}

/// What the inside shows: `NAME.card`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct SiteCard {
    #[n(1)]
    pub site: Option<SiteName>,
    /// Public key that signs inventories, an OpenSSH line.
    #[n(2)]
    pub identity: Option<String>,
    /// age recipients that packs are encrypted to.
    #[n(3)]
    pub recipients: Option<Vec<String>>,
    #[n(4)]
    pub link_key: Option<ByteVec>,
    #[n(5)]
    pub diode_key: Option<ByteVec>,
    /// Codecs that the inside can follow, by id.
    #[n(6)]
    pub codecs: Option<Vec<String>>,
    /// Memory that one rebuild may use, in bytes.
    #[n(7)]
    pub decode_memory_bytes: Option<u64>,
    /// Export formats that the inside reads.
    #[n(8)]
    pub formats: Option<Vec<u32>>,
}

const PUBLISHER: &str = "GAPFERRY PUBLISHER CARD";
const SITE: &str = "GAPFERRY SITE CARD";

macro_rules! armour {
    ($name:ident, $label:expr) => {
        impl $name {
            /// Reads a card from its file.
            ///
            /// # Errors
            ///
            /// [`CardError`]: ask for the card again.
            pub fn parse(text: &[u8]) -> Result<Self, CardError> {
                cbor::decode(&unarmour(text, $label)?).map_err(CardError::Decode)
            }

            /// The card as a file.
            pub fn encode(&self) -> String {
                let body = cbor::encode(self);
                pem_rfc7468::encode_string($label, LineEnding::LF, &body)
                    .expect("the label is plain text")
            }
        }
    };
}

armour!(PublisherCard, PUBLISHER);
armour!(SiteCard, SITE);

impl PublisherCard {
    /// The pinned root role.
    ///
    /// # Errors
    ///
    /// [`CardError::Lacks`], [`CardError::Key`]: the card is not whole.
    pub fn root(&self) -> Result<crate::keyset::Role, CardError> {
        let roots = self.roots.as_ref().ok_or(CardError::Lacks("root keys"))?;
        let keys = roots.iter().map(|key| key.parse::<PublicKey>()).collect::<Result<_, _>>()?;
        Ok(crate::keyset::Role { keys, threshold: self.root_threshold.unwrap_or(1) })
    }
}

impl SiteCard {
    /// The site's name and the key that signs its inventories.
    ///
    /// # Errors
    ///
    /// [`CardError::Lacks`], [`CardError::Key`]: the card is not whole.
    pub fn identity(&self) -> Result<(SiteName, PublicKey), CardError> {
        let site = self.site.clone().ok_or(CardError::Lacks("the site's name"))?;
        let key = self.identity.as_ref().ok_or(CardError::Lacks("the site's key"))?;
        Ok((site, key.parse()?))
    }

    /// The age recipients of the site, at least one.
    ///
    /// # Errors
    ///
    /// [`CardError::Lacks`]: nothing could be encrypted to this site.
    pub fn recipients(&self) -> Result<&[String], CardError> {
        match self.recipients.as_deref() {
            None | Some([]) => Err(CardError::Lacks("an age recipient")),
            Some(recipients) => Ok(recipients),
        }
    }
}

fn unarmour(text: &[u8], label: &'static str) -> Result<Vec<u8>, CardError> {
    if limits::CARD_LEN_BYTES_MAX < text.len() as u64 {
        return Err(CardError::TooLong);
    }
    match pem_rfc7468::decode_vec(text) {
        Ok((found, body)) if found == label => Ok(body),
        _ => Err(CardError::Armour(label)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> SiteCard {
        SiteCard {
            site: Some("prod".parse().unwrap()),
            recipients: Some(vec!["age1x".to_owned()]),
            formats: Some(vec![1]),
            ..SiteCard::default()
        }
    }

    #[test]
    fn a_card_reads_back_from_its_armour() {
        let text = site().encode();
        assert!(text.starts_with("-----BEGIN GAPFERRY SITE CARD-----\n"), "{text}");
        assert_eq!(SiteCard::parse(text.as_bytes()).unwrap(), site());
    }

    #[test]
    fn one_card_is_not_the_other_and_a_torn_card_is_none() {
        let text = site().encode();
        assert!(matches!(PublisherCard::parse(text.as_bytes()), Err(CardError::Armour(_))));
        assert!(SiteCard::parse(&text.as_bytes()[..text.len() / 2]).is_err());
        assert!(
            SiteCard::parse(&vec![b'-'; usize::try_from(limits::CARD_LEN_BYTES_MAX).unwrap() + 1])
                .is_err()
        );
    }

    #[test]
    fn a_card_without_its_keys_is_named_as_such() {
        assert_eq!(site().identity().unwrap_err().to_string(), "the card lacks the site's key");
        assert!(SiteCard::default().recipients().is_err());
    }
}
