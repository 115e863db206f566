use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder,
        SignedSecretKey, SubkeyParamsBuilder,
    },
    crypto::hash::HashAlgorithm,
    packet::{SignatureConfig, Subpacket, SubpacketData},
    ser::Serialize,
    types::{Password, SigningKey, Timestamp},
};

use super::*;

const TEXT: &str = "Suite: stable\n- dashed\n\nCodename: bookworm\n";
const MADE: u32 = 1_700_000_000;

/// A key as archives have them: the primary certifies, subkey 0 signs, subkey 1 does not.
fn archive_key() -> SignedSecretKey {
    let subkey = |sign| {
        SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .created_at(Timestamp::from_secs(MADE))
            .can_sign(sign)
            .can_authenticate(!sign)
            .can_encrypt(EncryptionCaps::None)
            .build()
            .unwrap()
    };
    key(KeyType::Ed25519Legacy, false, vec![subkey(true), subkey(false)])
}

/// A key whose primary signs.
fn plain_key() -> SignedSecretKey {
    key(KeyType::Ed25519Legacy, true, Vec::new())
}

fn key(kind: KeyType, sign: bool, subkeys: Vec<pgp::composed::SubkeyParams>) -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(kind)
        .created_at(Timestamp::from_secs(MADE))
        .can_certify(true)
        .can_sign(sign)
        .primary_user_id("Archive <archive@example.org>".into())
        .subkeys(subkeys)
        .build()
        .unwrap()
        .generate(rand::thread_rng())
        .unwrap()
}

fn public(key: &SignedSecretKey) -> SignedPublicKey {
    SignedPublicKey::from(key.clone())
}

fn keyring(keys: &[&SignedSecretKey]) -> Keyring {
    let bytes: Vec<u8> = keys.iter().flat_map(|key| public(key).to_bytes().unwrap()).collect();
    Keyring::parse(&bytes).unwrap()
}

fn config(kind: SignatureType, key: &impl SigningKey, made: u32) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(made)))
            .unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    config
}

fn signed(text: &str, key: &impl SigningKey) -> String {
    signed_with(text, config(SignatureType::Text, key, MADE + 60), key)
}

fn signed_with(text: &str, config: SignatureConfig, key: &impl SigningKey) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

fn why(keyring: &Keyring, message: &str) -> String {
    verify_cleartext(keyring, message.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_text_signed_by_a_bound_subkey_is_vouched_for_by_its_primary_key() {
    let key = archive_key();
    let message = signed(TEXT, &key.secret_subkeys[0].key);
    assert_eq!(
        verify_cleartext(&keyring(&[&plain_key(), &key]), message.as_bytes()).unwrap(),
        Verified { text: TEXT.to_owned(), fingerprints: vec![policy::fingerprint(&public(&key))] }
    );
}

#[test]
fn armoured_keys_one_after_another_are_one_keyring() {
    let keys = [plain_key(), archive_key(), plain_key()];
    let armour: String = keys
        .iter()
        .map(|k| public(k).to_armored_string(ArmorOptions::default()).unwrap())
        .collect();
    let mut ring = Keyring::parse(armour.as_bytes()).unwrap();
    for key in [&keys[0], &keys[2]] {
        verify_cleartext(&ring, signed(TEXT, &key.primary_key).as_bytes()).unwrap();
    }
    ring.retain(&[policy::fingerprint(&public(&keys[0])).to_uppercase()]);
    assert!(why(&ring, &signed(TEXT, &keys[2].primary_key)).contains("is not in the keyring"));
    assert!(matches!(Keyring::parse(b"no keys here"), Err(VerifyError::NoKeys)));
    assert!(matches!(Keyring::parse(b""), Err(VerifyError::NoKeys)));
}

#[test]
fn only_the_text_inside_counts_and_nothing_may_stand_around_it() {
    let key = plain_key();
    let ring = keyring(&[&key]);
    let good = signed(TEXT, &key.primary_key);
    for bad in [
        format!("Suite: evil\n{good}"),
        format!("\n{good}"),
        format!("{good}Suite: evil\n"),
        format!("{good}{good}"),
        good.replace("Hash: SHA256\n", "Suite: evil\nHash: SHA256\n"),
        good.replace("Suite: stable\n", "Suite: stable\r-evil\n"),
        good.replace("- - dashed", "- dashed\n-----BEGIN\n"),
        good[..good.len() / 2].to_owned(),
        String::new(),
    ] {
        let error = verify_cleartext(&ring, bad.as_bytes()).unwrap_err();
        assert!(
            matches!(error, VerifyError::Frame(_) | VerifyError::Malformed(_)),
            "{bad}: {error}"
        );
    }
}

#[test]
fn a_changed_text_and_a_strangers_signature_are_refused() {
    let key = plain_key();
    let ring = keyring(&[&key]);
    let good = signed(TEXT, &key.primary_key);
    assert!(why(&ring, &good.replace("stable", "evil")).contains("does not match the text"));
    assert!(why(&ring, &signed(TEXT, &plain_key().primary_key)).contains("not in the keyring"));
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    let key = archive_key();
    let ring = keyring(&[&key]);
    assert!(why(&ring, &signed(TEXT, &key.primary_key)).contains("the key may not sign"));
    let message = signed(TEXT, &key.secret_subkeys[1].key);
    assert!(why(&ring, &message).contains("the key may not sign"));
}

#[test]
fn a_subkey_that_its_owner_never_bound_is_refused() {
    let (mut key, thief) = (archive_key(), archive_key());
    let message = signed(TEXT, &thief.secret_subkeys[0].key);
    key.secret_subkeys = thief.secret_subkeys;
    assert!(why(&keyring(&[&key]), &message).contains("no valid self-signature binds the key"));
}

#[test]
fn a_revoked_key_is_refused() {
    let mut key = plain_key();
    let message = signed(TEXT, &key.primary_key);
    let revocation = config(SignatureType::KeyRevocation, &key.primary_key, MADE + 1)
        .sign_key(&key.primary_key, &Password::empty(), key.primary_key.public_key())
        .unwrap();
    key.details.revocation_signatures.push(revocation);
    assert!(why(&keyring(&[&key]), &message).contains("the key was revoked"));
}

#[test]
fn expiry_is_held_against_the_time_the_signature_states() {
    let mut key = plain_key();
    let id = key.details.users[0].id.clone();
    let lifetime = pgp::types::Duration::from_secs(100);
    let mut bounded = config(SignatureType::CertPositive, &key.primary_key, MADE + 50);
    bounded
        .hashed_subpackets
        .push(Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime)).unwrap());
    let certification = bounded
        .sign_certification(
            &key.primary_key,
            key.primary_key.public_key(),
            &Password::empty(),
            pgp::types::Tag::UserId,
            &id,
        )
        .unwrap();
    key.details.users[0].signatures = vec![certification];
    let ring = keyring(&[&key]);
    let at = |made| {
        let config = config(SignatureType::Text, &key.primary_key, made);
        signed_with(TEXT, config, &key.primary_key)
    };
    for good in [MADE, MADE + 99] {
        verify_cleartext(&ring, at(good).as_bytes()).unwrap();
    }
    for bad in [MADE - 1, MADE + 100, u32::MAX] {
        assert!(why(&ring, &at(bad)).contains("the key had expired when it signed"), "{bad}");
    }
}

#[test]
fn an_unknown_critical_demand_is_refused() {
    let key = plain_key();
    let ring = keyring(&[&key]);
    let mut demanding = config(SignatureType::Text, &key.primary_key, MADE);
    let unknown = SubpacketData::Experimental(101, vec![1].into());
    demanding.hashed_subpackets.push(Subpacket::critical(unknown).unwrap());
    let message = signed_with(TEXT, demanding, &key.primary_key);
    assert!(why(&ring, &message).contains("an extension that is not known"));
}

#[test]
fn a_signature_over_sha1_is_refused_and_the_same_over_sha256_is_not() {
    let key = key(KeyType::Rsa(2048), true, Vec::new());
    let ring = keyring(&[&key]);
    let mut weak = config(SignatureType::Text, &key.primary_key, MADE);
    weak.hash_alg = HashAlgorithm::Sha1;
    let message = signed_with(TEXT, weak, &key.primary_key);
    assert!(why(&ring, &message).contains("hash is too weak"));
    verify_cleartext(&ring, signed(TEXT, &key.primary_key).as_bytes()).unwrap();
}

#[test]
fn a_detached_signature_counts_for_its_bytes_alone() {
    let key = plain_key();
    let ring = keyring(&[&key]);
    let signature = config(SignatureType::Binary, &key.primary_key, MADE)
        .sign(&key.primary_key, &Password::empty(), TEXT.as_bytes())
        .unwrap();
    let signature = DetachedSignature::new(signature);
    let armoured = signature.to_armored_bytes(ArmorOptions::default()).unwrap();
    for form in [&armoured, &signature.to_bytes().unwrap()] {
        assert_eq!(
            verify_detached(&ring, TEXT.as_bytes(), form).unwrap(),
            [policy::fingerprint(&public(&key))]
        );
        let refused = verify_detached(&ring, b"other", form).unwrap_err();
        assert!(matches!(refused, VerifyError::Untrusted(_)), "{refused}");
    }
    assert!(matches!(verify_detached(&ring, b"", b""), Err(VerifyError::Unsigned)));
}

#[test]
fn damaged_bytes_are_errors_and_never_panics() {
    let key = archive_key();
    let ring_bytes = public(&key).to_bytes().unwrap();
    let message = signed(TEXT, &key.secret_subkeys[0].key);
    for at in (0..ring_bytes.len()).step_by(3) {
        let mut damaged = ring_bytes.clone();
        damaged[at] ^= 0x55;
        if let Ok(ring) = Keyring::parse(&damaged) {
            let _ = verify_cleartext(&ring, message.as_bytes());
        }
    }
    let ring = keyring(&[&key]);
    for at in 0..message.len() {
        let mut damaged = message.clone().into_bytes();
        damaged[at] ^= 0x11;
        if let Ok(verified) = verify_cleartext(&ring, &damaged) {
            assert_eq!(verified.text, TEXT, "byte {at}");
        }
    }
}
