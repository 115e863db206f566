//! Every bound on what comes from outside, each with its reason.
//!
//! A length is compared with its bound before anything is reserved for it.

/// Longest blob, in bytes: 256 GiB. The largest single files that Kubernetes sites carry are
/// GPU and model images of some tens of GiB.
pub const BLOB_LEN_BYTES_MAX: u64 = 256 << 30;

/// Longest chunk, in bytes: 256 KiB, the largest cut of `FastCDC` with our parameters.
pub const CHUNK_LEN_BYTES_MAX: u32 = 256 << 10;

/// Longest pack, in bytes: 4 GiB less one byte, the largest file on FAT32.
pub const PACK_LEN_BYTES_MAX: u64 = (4 << 30) - 1;

/// Length at which a pack is closed, in bytes of frames: 64 MiB. Small enough to copy again,
/// large enough that a full stick has few files.
pub const PACK_LEN_BYTES_TARGET: u64 = 64 << 20;

/// Longest envelope, in bytes: 16 MiB. A pack takes about 150 bytes of it, so this is 7 TB in
/// packs of 64 MiB.
pub const ENVELOPE_LEN_BYTES_MAX: u64 = 16 << 20;

/// Longest manifest in the clear, in bytes: 1 GiB, a million artifacts with room for their
/// recipes.
pub const MANIFEST_LEN_BYTES_MAX: u64 = 1 << 30;

/// Longest keyset, in bytes: 256 KiB, a thousand keys.
pub const KEYSET_LEN_BYTES_MAX: u64 = 256 << 10;

/// Most keysets in one export: a rotation every week for ten years.
pub const KEYSETS_MAX: usize = 520;

/// Longest signature file, in bytes: 16 KiB. An RSA-16384 SSHSIG has 6 KiB.
pub const SIGNATURE_LEN_BYTES_MAX: u64 = 16 << 10;

/// Most signature files beside one document.
pub const SIGNATURES_MAX: usize = 64;

/// Longest card, in bytes: 256 KiB; a publisher's holds its first keyset.
pub const CARD_LEN_BYTES_MAX: u64 = 256 << 10;

/// Longest inventory, in bytes: 64 MiB, some hundred thousand wants.
pub const INVENTORY_LEN_BYTES_MAX: u64 = 64 << 20;

/// Most nodes in one recipe. A wheel of 20,000 members needs one each with its codec.
pub const RECIPE_NODES_MAX: usize = 1 << 20;

/// Longest name of an artifact, in bytes; also the longest path below a server's root.
pub const NAME_LEN_BYTES_MAX: usize = 1024;

/// Longest name of a site, in bytes. It becomes a folder on the stick.
pub const SITE_NAME_LEN_BYTES_MAX: usize = 40;

/// Longest OCI manifest or index accepted, in bytes: 4 MiB. distribution-spec v1.1.1, "Pushing
/// Manifests", asks registries to take at least 4 megabytes; nothing we carry is larger.
pub const OCI_MANIFEST_LEN_BYTES_MAX: u64 = 4 << 20;

/// Longest package index taken from an upstream, in bytes, as published: 256 MiB. The index of
/// all of Debian main for one architecture has 9 MiB.
pub const INDEX_LEN_BYTES_MAX: u64 = 256 << 20;

/// Longest package index once unpacked, in bytes: 2 GiB.
pub const INDEX_PLAIN_LEN_BYTES_MAX: u64 = 2 << 30;

/// Longest METADATA of a wheel, in bytes: 8 MiB.
pub const WHEEL_METADATA_LEN_BYTES_MAX: u64 = 8 << 20;
