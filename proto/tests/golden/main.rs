//! The bytes of format 1, kept as files in `testdata/v1`: what an agent of any later day must
//! read as it is read today, and write as it is written today.
//!
//! Each file is made of a value that stands whole in `values.rs`: the value encodes to the file, the file
//! decodes to the value, and what was decoded encodes to the file again. The `fail_*` files are
//! what another agent may hand us and we must refuse, each with its own error.
//!
//! `GAPFERRY_WRITE_GOLDEN=1 cargo test -p gapferry-proto --test golden` writes the files anew.
//! That is for a new file; a file that changes is another format (`FORMAT.md`, section 9).

#![allow(clippy::unwrap_used, reason = "helpers of tests stop where tests would")]

mod values;

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use gapferry_proto::{
    Digest, Envelope, Kind, Manifest, Snapshot, SnapshotId,
    card::{CardError, PublisherCard, SiteCard},
    envelope::EnvelopeError,
    inventory::{Inventory, InventoryError},
    keyset::{Keyset, KeysetError, Role, TrustedKeyset},
    limits,
    manifest::ManifestError,
    pack::{FRAME_HEAD_LEN_BYTES, FrameHead, PACK_HEAD, PackError},
    recipe::{Node, Place, RecipeError},
    signature::parse_signature,
    snapshot::SnapshotError,
};
use ssh_key::LineEnding;

use crate::values::{
    basis, blob, chart, deb, described_chart, envelope, file, frames, image, inventory, keyset,
    keyset_signature, manifest, public, publisher_card, rpm, site_card, snapshot, wheel,
    yum_document,
};

/// Every file of the folder; one that is not here, or here and not there, is a failure.
const FILES: [&str; 19] = [
    "envelope.json",
    "fail_card_torn.card",
    "fail_envelope_critical.json",
    "fail_frame_too_long.bin",
    "fail_inventory_format_2.json",
    "fail_keyset_threshold_zero.json",
    "fail_manifest_critical.cbor",
    "fail_manifest_kubespray_version.cbor",
    "fail_recipe_unknown_node.cbor",
    "fail_snapshot_name_twice.cbor",
    "inventory.json",
    "keyset.json",
    "keyset.sig",
    "manifest.cbor",
    "pack-head-and-frames.bin",
    "publisher.card",
    "site.card",
    "snapshot-described-chart.cbor",
    "snapshot.cbor",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/v1")
}

/// The bytes of a golden file, which must be `expected`.
fn golden(name: &str, expected: &[u8]) -> Vec<u8> {
    assert!(FILES.contains(&name), "{name} is not among FILES");
    let path = folder().join(name);
    if env::var("GAPFERRY_WRITE_GOLDEN").is_ok_and(|value| value == "1") {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        bytes == expected,
        "{name} is not what is written today; the format changed:\n file {}\ntoday {}",
        bytes.escape_ascii(),
        expected.escape_ascii()
    );
    bytes
}

/// `bytes` with the one place that reads `old` reading `new`.
fn spliced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
    let [at] = places[..] else { panic!("{} stands at {places:?}", old.escape_ascii()) };
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn the_folder_holds_these_files_and_no_other() {
    if env::var_os("GAPFERRY_WRITE_GOLDEN").is_some() {
        return; // the other tests are at it
    }
    let found: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, BTreeSet::from(FILES.map(str::to_owned)));
}

#[test]
fn the_envelope_stays_what_it_is() {
    let bytes = golden("envelope.json", &envelope().encode());
    let read = Envelope::parse(&bytes).unwrap();
    assert_eq!(read, envelope());
    assert_eq!(read.encode(), bytes);
}

#[test]
fn the_keyset_stays_what_it_is() {
    let bytes = golden("keyset.json", &keyset().encode());
    let read = Keyset::parse(&bytes).unwrap();
    assert_eq!(read, keyset());
    assert_eq!(read.encode(), bytes);
}

#[test]
fn the_signature_of_the_keyset_stays_good() {
    let text = golden("keyset.sig", &keyset_signature());
    let sig = parse_signature(&text).unwrap();
    assert_eq!(sig.to_pem(LineEnding::LF).unwrap().as_bytes(), text);
    let bytes = keyset().encode();
    let trusted = TrustedKeyset::first(&bytes, &[sig], &Role::one(public(1))).unwrap();
    assert_eq!((trusted.keyset(), trusted.hash()), (&keyset(), Digest::of(&bytes)));
}

#[test]
fn the_inventory_stays_what_it_is() {
    let bytes = golden("inventory.json", &inventory().encode());
    let read = Inventory::parse(&bytes).unwrap();
    assert_eq!(read, inventory());
    assert_eq!(read.encode(), bytes);
}

#[test]
fn the_snapshot_stays_what_it_is_and_keeps_its_name() {
    let bytes = golden("snapshot.cbor", &snapshot().encode());
    let read = Snapshot::decode(&bytes).unwrap();
    assert_eq!(read, snapshot());
    assert_eq!(read.encode(), bytes);
    assert_eq!(read.id(), SnapshotId::of(&bytes));
    let artifacts: Vec<_> = read.artifacts().cloned().collect();
    assert_eq!(
        artifacts,
        [file("runc 1.3"), image(), deb(), yum_document(), rpm(), wheel(), chart()]
    );
}

#[test]
fn a_chart_with_what_its_index_says_stays_what_it_is() {
    let snapshot = Snapshot::of([described_chart()]).unwrap();
    let bytes = golden("snapshot-described-chart.cbor", &snapshot.encode());
    let read = Snapshot::decode(&bytes).unwrap();
    assert_eq!(read, snapshot);
    assert_eq!(read.artifacts().cloned().collect::<Vec<_>>(), [described_chart()]);
}

#[test]
fn the_manifest_stays_what_it_is_and_leads_from_its_basis_to_the_snapshot() {
    let bytes = golden("manifest.cbor", &manifest().encode());
    let read = Manifest::decode(&bytes).unwrap();
    assert_eq!(read, manifest());
    assert_eq!(read.encode(), bytes);
    assert_eq!(basis().changed_by(read.difference().unwrap()).unwrap(), snapshot());
    let [recipe] = &read.recipes[..] else { panic!("{:?}", read.recipes) };
    let [Node::Blob(old), Node::Concat(parts)] = &recipe.nodes().unwrap()[..] else {
        panic!("{recipe:?}")
    };
    assert_eq!(*old, blob("runc 1.2").id);
    let places: Vec<_> = parts.iter().map(|part| part.place).collect();
    let expected = [
        Place::Node { node: 0, offset: 0 },
        Place::Node { node: 0, offset: 6 },
        Place::Pack { pack: 3, offset: 16 },
    ];
    assert_eq!(places, expected);
}

#[test]
fn a_pack_and_its_frames_stay_what_they_are() {
    let mut expected = PACK_HEAD.to_vec();
    for (head, stored) in frames() {
        expected.extend(head.encode());
        expected.extend(stored);
    }
    let bytes = golden("pack-head-and-frames.bin", &expected);
    let mut rest = bytes.strip_prefix(&PACK_HEAD).unwrap();
    for (head, stored) in frames() {
        let (read, after) = rest.split_first_chunk::<FRAME_HEAD_LEN_BYTES>().unwrap();
        assert_eq!(FrameHead::decode(read), Ok(head));
        rest = after.strip_prefix(&stored[..]).unwrap();
    }
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}

#[test]
fn the_publishers_card_stays_what_it_is() {
    let text = golden("publisher.card", publisher_card().encode().as_bytes());
    let read = PublisherCard::parse(&text).unwrap();
    assert_eq!(read, publisher_card());
    assert_eq!(read.encode().as_bytes(), text);
    assert_eq!(read.root().unwrap(), keyset().root);
}

#[test]
fn the_sites_card_stays_what_it_is() {
    let text = golden("site.card", site_card().encode().as_bytes());
    let read = SiteCard::parse(&text).unwrap();
    assert_eq!(read, site_card());
    assert_eq!(read.encode().as_bytes(), text);
    assert_eq!(read.identity().unwrap(), ("prod-1".parse().unwrap(), public(4)));
}

#[test]
fn an_envelope_with_an_unknown_critical_field_is_refused() {
    let newer = Envelope { critical: vec!["basis".into(), "parity".into()], ..envelope() };
    let bytes =
        spliced(&newer.encode(), b"{\n  \"format\"", b"{\n  \"parity\": [1],\n  \"format\"");
    let bytes = golden("fail_envelope_critical.json", &bytes);
    let refused = Envelope::parse(&bytes).unwrap_err();
    assert!(matches!(&refused, EnvelopeError::Critical(f) if f == "parity"), "{refused:?}");
}

#[test]
fn a_manifest_with_an_unknown_critical_field_is_refused() {
    let mut newer = manifest();
    newer.critical = vec![9, 77];
    let mut bytes = newer.encode();
    bytes[0] += 1; // one more pair in the map
    bytes.extend([0x18, 77, 0xf5]);
    let refused = Manifest::decode(&golden("fail_manifest_critical.cbor", &bytes)).unwrap_err();
    assert!(matches!(refused, ManifestError::CriticalField(77)), "{refused:?}");
}

#[test]
fn a_manifest_whose_kubespray_version_is_not_plain_is_refused() {
    let mut odd = manifest();
    odd.kubespray[1].version = "2.31.0\u{1b}[2J".to_owned();
    let bytes = golden("fail_manifest_kubespray_version.cbor", &odd.encode());
    let refused = Manifest::decode(&bytes).unwrap_err();
    assert!(matches!(&refused, ManifestError::Version(v) if v.starts_with("2.31")), "{refused:?}");
}

#[test]
fn a_manifest_whose_recipe_has_an_unknown_node_is_refused() {
    let bytes = spliced(&manifest().encode(), b"\x66concat", b"\x72gzip/go-flate-1/L6");
    let bytes = golden("fail_recipe_unknown_node.cbor", &bytes);
    let read = Manifest::decode(&bytes).unwrap();
    assert_eq!(read.encode(), bytes);
    let name = "gzip/go-flate-1/L6".to_owned();
    let expected = RecipeError::UnknownNode { blob: blob("runc 1.3").id, name };
    assert_eq!(read.recipes[0].nodes(), Err(expected));
}

#[test]
fn a_snapshot_in_which_a_name_stands_twice_is_refused() {
    let of_one = |content| Snapshot::of([file(content)]).unwrap().encode();
    let [one, two] = ["runc 1.2", "runc 1.3"].map(of_one);
    let bytes = [b"\x82", &one[1..], &two[1..]].concat();
    let refused = Snapshot::decode(&golden("fail_snapshot_name_twice.cbor", &bytes)).unwrap_err();
    let named = matches!(&refused, SnapshotError::Twice(Kind::File, n) if *n == file("").name);
    assert!(named, "{refused:?}");
}

#[test]
fn a_keyset_that_nobody_has_to_sign_is_refused() {
    let publisher = Role { keys: vec![public(3)], threshold: 0 };
    let bytes = Keyset { publisher, ..keyset() }.encode();
    let refused = Keyset::parse(&golden("fail_keyset_threshold_zero.json", &bytes)).unwrap_err();
    assert!(matches!(refused, KeysetError::Threshold("publisher", 0, 1)), "{refused:?}");
}

#[test]
fn a_torn_card_is_refused() {
    let whole = site_card().encode();
    let text = golden("fail_card_torn.card", &whole.as_bytes()[..whole.len() / 2]);
    let refused = SiteCard::parse(&text).unwrap_err();
    assert!(matches!(refused, CardError::Armour("GAPFERRY SITE CARD")), "{refused:?}");
}

#[test]
fn a_frame_that_claims_more_than_a_chunk_may_have_is_refused() {
    let [_, (head, _)] = frames();
    let bytes = FrameHead { len_bytes: limits::CHUNK_LEN_BYTES_MAX + 1, ..head }.encode();
    let bytes = golden("fail_frame_too_long.bin", &bytes);
    let head = bytes.first_chunk::<FRAME_HEAD_LEN_BYTES>().unwrap();
    assert_eq!(FrameHead::decode(head), Err(PackError::TooLong(262_145)));
}

#[test]
fn an_inventory_of_format_2_is_refused() {
    let bytes = Inventory { format: 2, ..inventory() }.encode();
    let refused = Inventory::parse(&golden("fail_inventory_format_2.json", &bytes)).unwrap_err();
    assert!(matches!(refused, InventoryError::Format(2)), "{refused:?}");
}
