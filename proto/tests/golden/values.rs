//! The values behind the golden files: one site, its twelfth export, and what belongs to it.
//!
//! Fixed for good: whoever changes one changes a file that agents of other days must read.

use gapferry_proto::{
    Artifact, BlobId, BlobRef, ChunkId, Digest, Envelope, ExportId, Facts, Kind, KubesprayTree,
    Manifest, Recipe, Sequence, Snapshot,
    artifact::{
        ChartFacts, DebFacts, Evidence, FileFacts, ImageFacts, ManifestRef, Method, PypiFacts,
        RpmFacts, YumDocumentFacts,
    },
    card::{PublisherCard, SiteCard},
    envelope::{FileRef, PackRef, Totals, Volume},
    inventory::{InstalledList, Inventory, Want},
    keyset::{Keyset, Role},
    limits,
    manifest::ManifestHead,
    pack::{Encoding, FrameHead},
    recipe::{Node, Part, Place},
    signature::{Namespace, PublicKey},
};
use ssh_key::{HashAlg, LineEnding, PrivateKey, private::Ed25519Keypair};

pub fn blob(content: &str) -> BlobRef {
    BlobRef { id: BlobId::of(content.as_bytes()), len_bytes: content.len() as u64 }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub fn public(seed: u8) -> PublicKey {
    PublicKey::of(key(seed).public_key())
}

pub fn file(content: &str) -> Artifact {
    Artifact {
        name: "dl.example.org/runc.amd64".to_owned(),
        facts: Facts::File(FileFacts { path: "dl.example.org/runc.amd64".parse().unwrap() }),
        blobs: vec![blob(content)],
        origin: "https://dl.example.org/runc.amd64".to_owned(),
        evidence: Evidence {
            method: Method::Waybill,
            by: String::new(),
            digest: Some(blob(content).id.digest()),
        },
        wanted: vec!["waybill line 3".to_owned()],
    }
}

pub fn image() -> Artifact {
    let index = blob("index");
    let manifest = blob("manifest");
    let manifest_ref = |blob: BlobRef, media_type: &str| ManifestRef {
        id: blob.id,
        media_type: media_type.to_owned(),
    };
    Artifact {
        name: "registry.example.org/pause:3.10".to_owned(),
        facts: Facts::Image(ImageFacts {
            repository: "registry.example.org/pause".parse().unwrap(),
            tag: Some("3.10".to_owned()),
            root: index.id,
            manifests: vec![
                manifest_ref(index, "application/vnd.oci.image.index.v1+json"),
                manifest_ref(manifest, "application/vnd.oci.image.manifest.v1+json"),
            ],
        }),
        blobs: vec![index, manifest, blob("config"), blob("layer")],
        origin: "https://registry.example.org/v2/pause".to_owned(),
        evidence: Evidence {
            method: Method::OciDigest,
            by: "registry.example.org".to_owned(),
            digest: Some(index.id.digest()),
        },
        wanted: vec![],
    }
}

pub fn deb() -> Artifact {
    Artifact {
        name: "bookworm/socat_1.7.4.4-2_amd64".to_owned(),
        facts: Facts::Deb(DebFacts {
            target: "bookworm".parse().unwrap(),
            suite: "bookworm".to_owned(),
            component: "main".to_owned(),
            package: "socat".to_owned(),
            version: "1.7.4.4-2".to_owned(),
            architecture: "amd64".to_owned(),
            filename: "pool/main/s/socat/socat_1.7.4.4-2_amd64.deb".parse().unwrap(),
            paragraph: "Package: socat\nVersion: 1.7.4.4-2\nDescription: rel\u{e9}\n".to_owned(),
        }),
        blobs: vec![blob("deb")],
        origin: "https://apt.example.org/pool/main/s/socat/socat_1.7.4.4-2_amd64.deb".to_owned(),
        evidence: Evidence {
            method: Method::AptInRelease,
            by: "0123456789ABCDEF0123456789ABCDEF01234567".to_owned(),
            digest: Some(blob("deb").id.digest()),
        },
        wanted: vec!["waybill line 9".to_owned(), "bookworm/other_1_all".to_owned()],
    }
}

pub fn wheel() -> Artifact {
    Artifact {
        name: "alpha-1.0-py3-none-any.whl".to_owned(),
        facts: Facts::Pypi(PypiFacts {
            project: "alpha".to_owned(),
            version: "1.0".to_owned(),
            filename: "alpha-1.0-py3-none-any.whl".parse().unwrap(),
            requires_python: Some(">=3.9".to_owned()),
            yanked: None,
        }),
        blobs: vec![blob("wheel")],
        origin: "https://pypi.example.org/alpha-1.0-py3-none-any.whl".to_owned(),
        evidence: Evidence {
            method: Method::PypiIndex,
            by: "https://pypi.example.org/simple/".to_owned(),
            digest: None,
        },
        wanted: vec![],
    }
}

pub fn rpm() -> Artifact {
    Artifact {
        name: "rocky-9/socat-1.7.4.1-5.el9.x86_64".to_owned(),
        facts: Facts::Rpm(RpmFacts {
            target: "rocky-9".parse().unwrap(),
            repository: "appstream".to_owned(),
            package: "socat".to_owned(),
            epoch: "0".to_owned(),
            version: "1.7.4.1".to_owned(),
            release: "5.el9".to_owned(),
            architecture: "x86_64".to_owned(),
            source: "socat-1.7.4.1-5.el9.src.rpm".to_owned(),
            location: "Packages/s/socat-1.7.4.1-5.el9.x86_64.rpm".parse().unwrap(),
            modular: false,
            element: "<package type=\"rpm\"><name>socat</name></package>".to_owned(),
        }),
        blobs: vec![blob("rpm")],
        origin: "https://yum.example.org/Packages/s/socat-1.7.4.1-5.el9.x86_64.rpm".to_owned(),
        evidence: Evidence {
            method: Method::YumRepomd,
            by: "0123456789ABCDEF0123456789ABCDEF01234567".to_owned(),
            digest: Some(blob("rpm").id.digest()),
        },
        wanted: vec!["spec.yum[0]: socat".to_owned()],
    }
}

pub fn yum_document() -> Artifact {
    Artifact {
        name: "rocky-9/appstream/x86_64/modules".to_owned(),
        facts: Facts::YumDocument(YumDocumentFacts {
            target: "rocky-9".parse().unwrap(),
            repository: "appstream".to_owned(),
            document: "modules".to_owned(),
            architecture: "x86_64".to_owned(),
        }),
        blobs: vec![blob("modules")],
        origin: "https://yum.example.org/repodata/modules.yaml.gz".to_owned(),
        evidence: Evidence { digest: None, ..rpm().evidence },
        wanted: vec![],
    }
}

pub fn chart() -> Artifact {
    Artifact {
        name: "charts.example.org/stable/cilium-1.18.6".to_owned(),
        facts: Facts::Chart(ChartFacts {
            repository: "charts.example.org/stable".parse().unwrap(),
            chart: "cilium".to_owned(),
            version: "1.18.6".to_owned(),
            app_version: Some("1.18.6".to_owned()),
            filename: "cilium-1.18.6.tgz".parse().unwrap(),
            metadata: None,
        }),
        blobs: vec![blob("chart"), blob("provenance")],
        origin: "https://charts.example.org/stable/cilium-1.18.6.tgz".to_owned(),
        evidence: Evidence {
            method: Method::HelmIndex,
            by: "https://charts.example.org/stable/index.yaml".to_owned(),
            digest: Some(blob("chart").id.digest()),
        },
        wanted: vec![],
    }
}

/// A chart with what its repository's index says of it.
pub fn described_chart() -> Artifact {
    let mut chart = chart();
    let Facts::Chart(facts) = &mut chart.facts else { panic!("{chart:?}") };
    facts.metadata = Some(r#"{"apiVersion":"v2","name":"cilium","version":"1.18.6"}"#.to_owned());
    chart
}

pub fn snapshot() -> Snapshot {
    let all = [chart(), wheel(), yum_document(), rpm(), deb(), image(), file("runc 1.3")];
    Snapshot::of(all).unwrap()
}

/// What the site held before: the same file in an earlier version.
pub fn basis() -> Snapshot {
    Snapshot::of([file("runc 1.2"), deb()]).unwrap()
}

pub fn keyset() -> Keyset {
    Keyset {
        format: 1,
        version: 1,
        epoch: 1,
        root: Role { keys: vec![public(1), public(2)], threshold: 1 },
        publisher: Role::one(public(3)),
        critical: vec![],
    }
}

pub fn keyset_signature() -> Vec<u8> {
    let sig = key(1)
        .sign(Namespace::Keyset.as_str(), HashAlg::Sha512, &keyset().encode())
        .expect("an Ed25519 key signs");
    sig.to_pem(LineEnding::LF).unwrap().into_bytes()
}

/// Two volumes, though today's writer makes one.
pub fn envelope() -> Envelope {
    let file = |bytes, content: &str| FileRef { bytes, sha256: Digest::of(content.as_bytes()) };
    let pack = |index, bytes| PackRef { index, file: file(bytes, "pack as stored") };
    Envelope {
        format: 1,
        export: ExportId::new(Sequence(12), &snapshot().id()),
        site: "prod-1".parse().unwrap(),
        epoch: 1,
        sequence: Sequence(12),
        keyset_version: 1,
        keyset_sha256: Digest::of(&keyset().encode()),
        basis: Some(basis().id()),
        snapshot: snapshot().id(),
        manifest: file(1234, "manifest as stored"),
        volumes: vec![
            Volume {
                index: 1,
                packs: vec![pack(1, 67_109_000), pack(2, limits::PACK_LEN_BYTES_MAX)],
            },
            Volume { index: 2, packs: vec![pack(3, 300)] },
        ],
        totals: Totals {
            artifacts: 4,
            artifacts_new: 3,
            published_bytes_new: 40,
            export_bytes: 4_362_077_829,
        },
        minimum_agent: "0.1.0".to_owned(),
        created: "2026-11-22T00:00:00Z".to_owned(),
        critical: vec!["basis".to_owned()],
    }
}

/// One recipe: the new `runc` of two pieces of the old one and the first frame of pack 3.
pub fn manifest() -> Manifest {
    let part = |content: &str, place| Part {
        chunk: ChunkId::of(content.as_bytes()),
        len_bytes: u32::try_from(content.len()).unwrap(),
        place,
    };
    let old = blob("runc 1.2");
    let new = blob("runc 1.3");
    let nodes = [
        Node::Blob(old.id),
        Node::Concat(vec![
            part("runc 1", Place::Node { node: 0, offset: 0 }),
            part(".", Place::Node { node: 0, offset: 6 }),
            part("3", Place::Pack { pack: 3, offset: 16 }),
        ]),
    ];
    let head = ManifestHead {
        export: envelope().export,
        site: envelope().site,
        epoch: 1,
        sequence: Sequence(12),
        basis: Some(basis().id()),
        snapshot: snapshot().id(),
    };
    let difference = snapshot().difference_from(&basis());
    let recipes = vec![Recipe::new(new.id, new.len_bytes, &nodes)];
    let mut manifest = Manifest::new(head, &difference, recipes, vec![old]);
    manifest.critical = vec![9, 10];
    manifest.accepted_gaps = vec!["image registry.example.org/gone:1".to_owned()];
    manifest.approval = Some(Digest::of(b"what people approved"));
    let tree = |version: &str| KubesprayTree {
        version: version.to_owned(),
        tree: Digest::of(version.as_bytes()),
    };
    manifest.kubespray = vec![tree("2.30.0"), tree("2.31.0")];
    manifest
}

pub fn inventory() -> Inventory {
    let want = |kind, name: &str, version: Option<&str>, target: Option<&str>| Want {
        kind,
        name: name.to_owned(),
        version: version.map(str::to_owned),
        target: target.map(str::to_owned),
    };
    Inventory {
        format: 1,
        site: "prod-1".parse().unwrap(),
        number: 4,
        generation: Some(Sequence(11)),
        snapshot: Some(snapshot().id()),
        epoch: 1,
        sequence: Sequence(12),
        damaged: vec![blob("layer").id],
        failed: vec![],
        wants: vec![
            want(Kind::Deb, "tcpdump", None, Some("bookworm")),
            want(Kind::Image, "registry.example.org/etcd:3.5", None, None),
            want(Kind::Pypi, "netaddr", Some(">=1,<2"), None),
        ],
        installed: vec![InstalledList {
            target: "bookworm".parse().unwrap(),
            bytes: 19,
            sha256: Digest::of(b"libc6\t2.36-9\tamd64\n"),
        }],
        codecs: vec!["blob".to_owned(), "concat".to_owned()],
        decode_memory_bytes: 512 << 20,
        critical: vec![],
    }
}

pub fn publisher_card() -> PublisherCard {
    PublisherCard {
        roots: Some(vec![public(1).to_string(), public(2).to_string()]),
        root_threshold: Some(1),
        keyset: Some(keyset().encode().into()),
        keyset_signatures: Some(vec![keyset_signature().into()]),
        link_key: Some(vec![5; 32].into()),
        diode_key: Some(vec![6; 32].into()),
    }
}

pub fn site_card() -> SiteCard {
    SiteCard {
        site: Some("prod-1".parse().unwrap()),
        identity: Some(public(4).to_string()),
        recipients: Some(vec![
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".to_owned(),
        ]),
        link_key: Some(vec![7; 32].into()),
        diode_key: Some(vec![8; 32].into()),
        codecs: Some(vec!["blob".to_owned(), "concat".to_owned()]),
        decode_memory_bytes: Some(512 << 20),
        formats: Some(vec![1]),
    }
}

/// The frames of pack 3: one as it is, and one of zstd made by hand: a hundred times `a` as one RLE block, so
/// that no version of an encoder stands behind it.
pub fn frames() -> [(FrameHead, Vec<u8>); 2] {
    let head = |encoding, chunk: &[u8], stored: &[u8]| FrameHead {
        encoding,
        len_bytes: u32::try_from(chunk.len()).unwrap(),
        stored_len_bytes: u32::try_from(stored.len()).unwrap(),
        chunk: ChunkId::of(chunk),
    };
    let zstd = *b"\x28\xb5\x2f\xfd\x20\x64\x23\x03\x00a";
    [
        (head(Encoding::Raw, b"3", b"3"), b"3".to_vec()),
        (head(Encoding::Zstd, &[b'a'; 100], &zstd), zstd.to_vec()),
    ]
}
