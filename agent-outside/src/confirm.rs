//! Takes an inventory back: decides whether it is this site's word, and newer than the last.
//!
//! Pure: bytes and signatures in, an [`Inventory`] or an [`InventoryRefusal`] out.

use gapferry_proto::{
    Digest, SiteName,
    installed::{InstalledError, List},
    inventory::{InstalledList, Inventory, InventoryError},
    signature::{Namespace, PublicKey, SignatureError, count_signers, parse_signature},
};

/// Why an inventory is not taken. A decision; exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum InventoryRefusal {
    #[error(transparent)]
    Format(#[from] InventoryError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the inventory of site {0} is not signed with the key of its card; ask for it again")]
    NotSigned(SiteName),
    #[error("the inventory is of site {found}, not of {site}")]
    OtherSite { site: SiteName, found: SiteName },
    #[error("inventory {found} is older than inventory {known}, which was taken before")]
    Older { known: u64, found: u64 },
}

/// What the outside knows of the site whose inventory this claims to be.
#[derive(Debug)]
pub struct Known<'a> {
    pub site: &'a SiteName,
    pub identity: &'a PublicKey,
    /// The newest inventory taken so far.
    pub newest: Option<&'a Inventory>,
}

/// Checks signature, site and number, in this order.
///
/// The same inventory again is taken again: nothing changes by it.
///
/// # Errors
///
/// [`InventoryRefusal`]: nothing was changed.
pub fn check(known: &Known, bytes: &[u8], sig: &[u8]) -> Result<Inventory, InventoryRefusal> {
    let sig = parse_signature(sig)?;
    let key = std::slice::from_ref(known.identity);
    if count_signers(&[sig], Namespace::Inventory, bytes, key) == 0 {
        return Err(InventoryRefusal::NotSigned(known.site.clone()));
    }
    let inventory = Inventory::parse(bytes)?;
    if inventory.site != *known.site {
        let (site, found) = (known.site.clone(), inventory.site);
        return Err(InventoryRefusal::OtherSite { site, found });
    }
    match known.newest {
        Some(newest) if inventory.number < newest.number => {
            Err(InventoryRefusal::Older { known: newest.number, found: inventory.number })
        }
        _ => Ok(inventory),
    }
}

/// Why a list that an inventory names is not taken; the inventory is.
#[derive(Debug, thiserror::Error)]
pub enum ListRefusal {
    #[error("it hashes to {found}, and the inventory says {expected}")]
    Digest { expected: Digest, found: Digest },
    #[error(transparent)]
    Content(#[from] InstalledError),
}

/// Checks that the bytes beside an inventory are the list that it names.
///
/// # Errors
///
/// [`ListRefusal`].
pub fn check_list(named: &InstalledList, bytes: &[u8]) -> Result<List, ListRefusal> {
    let (expected, found) = (named.sha256, Digest::of(bytes));
    if expected != found {
        return Err(ListRefusal::Digest { expected, found });
    }
    Ok(List::parse(bytes)?)
}

#[cfg(test)]
mod tests {
    use gapferry_common::keys::SigningKey;
    use gapferry_proto::Sequence;

    use super::*;

    fn inventory(site: &str, number: u64) -> Inventory {
        Inventory {
            format: 1,
            site: site.parse().unwrap(),
            number,
            generation: None,
            snapshot: None,
            epoch: 1,
            sequence: Sequence(0),
            damaged: vec![],
            failed: vec![],
            wants: vec![],
            installed: vec![],
            codecs: vec![],
            decode_memory_bytes: 0,
            critical: vec![],
        }
    }

    fn checked(
        signer: &SigningKey,
        card_key: &SigningKey,
        inventory: &Inventory,
        newest: Option<&Inventory>,
    ) -> Result<Inventory, InventoryRefusal> {
        let bytes = inventory.encode();
        let sig = signer.sign(Namespace::Inventory, &bytes);
        let site = "prod".parse().unwrap();
        let identity = card_key.public();
        check(&Known { site: &site, identity: &identity, newest }, &bytes, sig.as_bytes())
    }

    #[test]
    fn an_inventory_is_taken_when_its_site_signed_it_and_it_is_not_older() {
        let key = SigningKey::generate();
        let newest = inventory("prod", 3);
        for number in [3, 4] {
            let new = inventory("prod", number);
            assert_eq!(checked(&key, &key, &new, Some(&newest)).unwrap(), new);
        }
        let older = checked(&key, &key, &inventory("prod", 2), Some(&newest)).unwrap_err();
        assert!(matches!(older, InventoryRefusal::Older { known: 3, found: 2 }), "{older}");
    }

    #[test]
    fn a_list_is_taken_when_the_inventory_names_its_bytes() {
        let bytes = b"libc6\t2.36-9\n";
        let target = "debian-13".parse().unwrap();
        let named = |bytes: &[u8]| InstalledList {
            target: Clone::clone(&target),
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        };
        let list = check_list(&named(bytes), bytes).unwrap();
        assert_eq!(list.to_string().as_bytes(), bytes);
        let other = check_list(&named(bytes), b"libc6\t2.36-8\n").unwrap_err();
        assert!(matches!(other, ListRefusal::Digest { .. }), "{other}");
        let page = check_list(&named(b"<html>"), b"<html>").unwrap_err();
        assert!(matches!(page, ListRefusal::Content(InstalledError::Line { .. })), "{page}");
    }

    #[test]
    fn another_key_and_another_site_are_refused() {
        let [key, other] = [SigningKey::generate(), SigningKey::generate()];
        let forged = checked(&other, &key, &inventory("prod", 1), None).unwrap_err();
        assert!(matches!(forged, InventoryRefusal::NotSigned(_)), "{forged}");
        let foreign = checked(&key, &key, &inventory("lab", 1), None).unwrap_err();
        assert!(matches!(foreign, InventoryRefusal::OtherSite { .. }), "{foreign}");
    }
}
