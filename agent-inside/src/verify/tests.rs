//! What is accepted, and each way of being refused.

use gapferry_common::keys::SigningKey;
use gapferry_proto::{
    ExportId,
    envelope::{FileRef, Totals},
    keyset::Keyset,
    manifest::ManifestHead,
    snapshot::Difference,
};

use super::*;
use crate::generation::tests::current;

/// A publisher with one root and one signing key.
struct Publisher {
    root: SigningKey,
    signer: SigningKey,
}

impl Publisher {
    fn new() -> Self {
        Self { root: SigningKey::generate(), signer: SigningKey::generate() }
    }

    fn keyset(&self, version: u64, epoch: u64) -> PresentedKeyset {
        let keyset = Keyset {
            format: 1,
            version,
            epoch,
            root: Role::one(self.root.public()),
            publisher: Role::one(self.signer.public()),
            critical: vec![],
        };
        let bytes = keyset.encode();
        let sig = self.root.sign(Namespace::Keyset, &bytes).into_bytes();
        PresentedKeyset { bytes, signatures: vec![sig] }
    }

    fn present(&self, change: impl FnOnce(&mut Envelope)) -> Presented {
        let keysets = vec![self.keyset(1, 1)];
        let mut envelope = envelope(Digest::of(&keysets[0].bytes));
        change(&mut envelope);
        envelope.export = ExportId::new(envelope.sequence, &envelope.snapshot);
        let envelope = envelope.encode();
        let sig = self.signer.sign(Namespace::Envelope, &envelope).into_bytes();
        Presented { envelope, signatures: vec![sig], keysets }
    }

    fn judge(&self, presented: &Presented, current: Option<&Current>) -> Result<Standing, Refusal> {
        let (site, root) = ("prod".parse().unwrap(), Role::one(self.root.public()));
        let first_keyset = Digest::of(&self.keyset(1, 1).bytes);
        let trusted = Trusted { site: &site, root: &root, first_keyset, current, agent: "0.1.0" };
        verify_envelope(presented, &trusted)
    }

    /// What this publisher's exports leave behind when sequence 2 was applied.
    fn applied(&self) -> Current {
        Current { keyset_sha256: Digest::of(&self.keyset(1, 1).bytes), ..current(2) }
    }
}

fn envelope(keyset_sha256: Digest) -> Envelope {
    let snapshot = SnapshotId::of(b"new");
    Envelope {
        format: 1,
        export: ExportId::new(Sequence(3), &snapshot),
        site: "prod".parse().unwrap(),
        epoch: 1,
        sequence: Sequence(3),
        keyset_version: 1,
        keyset_sha256,
        basis: None,
        snapshot,
        manifest: FileRef { bytes: 1, sha256: Digest::of(b"m") },
        volumes: vec![],
        totals: Totals::default(),
        minimum_agent: "0.1.0".to_owned(),
        created: "2026-11-22T00:00:00Z".to_owned(),
        critical: vec![],
    }
}

fn refusal(result: Result<Standing, Refusal>) -> Refusal {
    result.expect_err("it was accepted")
}

#[test]
fn a_signed_newer_export_for_this_site_is_new() {
    let publisher = Publisher::new();
    let presented = publisher.present(|_| ());
    for current in [None, Some(publisher.applied())] {
        let standing = publisher.judge(&presented, current.as_ref()).unwrap();
        let Standing::New(verified) = standing else { panic!("{standing:?}") };
        assert_eq!(verified.hash(), Digest::of(&presented.envelope));
    }
}

#[test]
fn the_same_export_again_is_applied_and_an_older_one_refused() {
    let publisher = Publisher::new();
    let presented = publisher.present(|_| ());
    let mut current = publisher.applied();
    current.sequence = Sequence(3);
    current.envelope_sha256 = Digest::of(&presented.envelope);
    let standing = publisher.judge(&presented, Some(&current)).unwrap();
    assert!(matches!(standing, Standing::Applied(_)), "{standing:?}");

    current.envelope_sha256 = Digest::of(b"another export with this number");
    for applied in [3, 4] {
        current.sequence = Sequence(applied);
        let refused = refusal(publisher.judge(&presented, Some(&current)));
        assert_eq!(refused.code(), "not-newer", "{refused}");
    }
}

#[test]
fn a_newer_epoch_does_not_let_a_sequence_go_back() {
    let publisher = Publisher::new();
    let mut presented = publisher.present(|_| ());
    presented.keysets.push(publisher.keyset(2, 2));
    let two = Digest::of(&presented.keysets[1].bytes);
    let with = |sequence| {
        let mut envelope = envelope(two);
        (envelope.epoch, envelope.keyset_version, envelope.sequence) = (2, 2, Sequence(sequence));
        envelope.export = ExportId::new(envelope.sequence, &envelope.snapshot);
        let envelope = envelope.encode();
        let sig = publisher.signer.sign(Namespace::Envelope, &envelope).into_bytes();
        let presented = Presented { envelope, signatures: vec![sig], ..presented.clone() };
        publisher.judge(&presented, Some(&publisher.applied()))
    };
    assert_eq!(refusal(with(1)).code(), "not-newer");
    assert!(matches!(with(3), Ok(Standing::New(_))));
}

#[test]
fn another_epoch_than_the_keysets_is_refused_whatever_its_sequence() {
    let publisher = Publisher::new();
    let presented = publisher.present(|e| e.sequence = Sequence(99));
    let current = Current { epoch: 2, ..publisher.applied() };
    assert_eq!(refusal(publisher.judge(&presented, Some(&current))).code(), "epoch");
    for epoch in [0, 2, u64::MAX] {
        let presented = publisher.present(|e| e.epoch = epoch);
        assert_eq!(refusal(publisher.judge(&presented, None)).code(), "epoch", "{epoch}");
    }
}

#[test]
fn an_export_for_another_site_is_refused() {
    let publisher = Publisher::new();
    let presented = publisher.present(|e| e.site = "lab".parse().unwrap());
    assert_eq!(refusal(publisher.judge(&presented, None)).code(), "other-site");
}

#[test]
fn an_envelope_changed_by_one_bit_or_signed_by_another_is_refused() {
    let publisher = Publisher::new();
    let mut changed = publisher.present(|_| ());
    let at = changed.envelope.iter().position(|&b| b == b'3').unwrap();
    changed.envelope[at] ^= 1;
    assert!(publisher.judge(&changed, None).is_err());

    let mut forged = publisher.present(|_| ());
    let sig = SigningKey::generate().sign(Namespace::Envelope, &forged.envelope);
    forged.signatures = vec![sig.into_bytes()];
    assert_eq!(refusal(publisher.judge(&forged, None)).code(), "signers");
    forged.signatures.clear();
    assert_eq!(refusal(publisher.judge(&forged, None)).code(), "signers");
}

#[test]
fn another_publisher_is_refused_at_its_first_keyset() {
    let presented = Publisher::new().present(|_| ());
    assert_eq!(refusal(Publisher::new().judge(&presented, None)).code(), "keyset");
    let nothing = Presented { keysets: vec![], ..presented };
    assert_eq!(refusal(Publisher::new().judge(&nothing, None)).code(), "keyset");
}

#[test]
fn a_forked_or_older_keyset_is_refused() {
    let publisher = Publisher::new();
    let mut presented = publisher.present(|_| ());
    let two = publisher.keyset(2, 1);
    let trusts_two = |hash| Current { keyset_version: 2, keyset_sha256: hash, ..current(2) };

    let refused = publisher.judge(&presented, Some(&trusts_two(Digest::of(&two.bytes))));
    assert!(matches!(refusal(refused), Refusal::OldKeyset { trusted: 2, found: 1 }));

    presented.keysets.push(two);
    let refused = publisher.judge(&presented, Some(&trusts_two(Digest::of(b"the other two"))));
    assert!(matches!(refusal(refused), Refusal::ForkedKeyset { version: 2 }));

    let refused = publisher.judge(&presented, Some(&publisher.applied()));
    assert!(matches!(refusal(refused), Refusal::OtherKeyset { named: 1, found: 2 }));
}

#[test]
fn what_this_agent_does_not_know_is_refused_when_it_is_critical() {
    let publisher = Publisher::new();
    let critical = publisher.present(|e| e.critical = vec!["parity".to_owned()]);
    assert_eq!(refusal(publisher.judge(&critical, None)).code(), "envelope");
    for created in ["yesterday", "9999-12-30T22:00:00Z"] {
        let strange = publisher.present(|e| e.created = created.to_owned());
        assert_eq!(refusal(publisher.judge(&strange, None)).code(), "envelope", "{created}");
    }
    let later = publisher.present(|e| e.minimum_agent = "9.0.0".to_owned());
    assert_eq!(refusal(publisher.judge(&later, None)).code(), "envelope");
}

#[test]
fn a_manifest_of_another_export_is_refused_by_the_field_that_differs() {
    let publisher = Publisher::new();
    let standing = publisher.judge(&publisher.present(|_| ()), None).unwrap();
    let Standing::New(verified) = standing else { panic!("{standing:?}") };
    let plain = verified.envelope();
    let head = ManifestHead {
        export: plain.export.clone(),
        site: plain.site.clone(),
        epoch: plain.epoch,
        sequence: plain.sequence,
        basis: Some(SnapshotId::of(b"elsewhere")),
        snapshot: plain.snapshot,
    };
    let manifest = Manifest::new(head, &Difference::default(), vec![], vec![]);
    let refused = verify_manifest(*verified, manifest).unwrap_err();
    assert!(matches!(refused, Refusal::OtherManifest("the basis")), "{refused}");
}
