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

/// Most Kubespray trees that one manifest names: 64. A site has one or two, and one more for each
/// hop of an upgrade whose content is kept.
pub const KUBESPRAY_TREES_MAX: usize = 64;

/// Longest version of a Kubespray tree, in bytes.
pub const KUBESPRAY_VERSION_LEN_BYTES_MAX: usize = 64;

/// Longest sealed manifest, in bytes: age adds a header and 16 bytes to each 64 KiB.
pub const MANIFEST_SEALED_LEN_BYTES_MAX: u64 = MANIFEST_LEN_BYTES_MAX + (1 << 20);

/// Longest keysets of one export with their signatures, in bytes altogether: 32 MiB. They are
/// read before anything is believed.
pub const KEYSETS_LEN_BYTES_MAX: u64 = 32 << 20;

/// Longest keyset, in bytes: 256 KiB, a thousand keys.
pub const KEYSET_LEN_BYTES_MAX: u64 = 256 << 10;

/// Most keysets in one export: a rotation every week for ten years.
pub const KEYSETS_MAX: usize = 520;

/// Longest signature file, in bytes: 16 KiB. One of Ed25519 has 300 bytes, of a FIDO key 400.
pub const SIGNATURE_LEN_BYTES_MAX: u64 = 16 << 10;

/// Most signature files beside one document.
pub const SIGNATURES_MAX: usize = 64;

/// Longest card, in bytes: 256 KiB; a publisher's holds its first keyset.
pub const CARD_LEN_BYTES_MAX: u64 = 256 << 10;

/// Longest inventory, in bytes: 64 MiB, some hundred thousand wants.
pub const INVENTORY_LEN_BYTES_MAX: u64 = 64 << 20;

/// Longest list of what nodes have installed, in bytes: 16 MiB, some 300,000 packages. A node has
/// some thousand, with 50 bytes each.
pub const INSTALLED_LEN_BYTES_MAX: u64 = 16 << 20;

/// Most targets of which an inventory says what their nodes have installed: 64. A site has one for
/// each distribution and release.
pub const INSTALLED_TARGETS_MAX: usize = 64;

/// Most bytes of all these lists together: 64 MiB, since the outside has them in memory at once.
pub const INSTALLED_SUM_BYTES_MAX: u64 = 64 << 20;

/// Most nodes in one recipe. A wheel of 20,000 members needs one each with its codec.
pub const RECIPE_NODES_MAX: usize = 1 << 20;

/// Most bases of one stream: an older version, and a sibling that the same toolchain made.
pub const RECIPE_BASES_MAX: usize = 2;

/// Most bytes that stand in a recipe itself: 1 KiB. A frame and its place cost some 100 bytes,
/// so what is shorter than that belongs there.
pub const RECIPE_BYTES_LEN_MAX: usize = 1024;

/// How many containers and codecs are opened inside each other: a deb is an ar of an xz of a tar,
/// an image saved by Docker a gzip of a tar of a gzip of a tar.
pub const PEEL_DEPTH_MAX: usize = 4;

/// Most plain bytes for one byte of a blob, over all its coded streams, also those that turn out
/// damaged. Real packages reach 30; a zip bomb has 1000.
pub const PEEL_EXPANSION_MAX: u64 = 200;

/// Plain bytes that a blob may have whatever its expansion: 1 MiB of zeros is no bomb.
pub const PEEL_EXPANSION_FREE_BYTES: u64 = 1 << 20;

/// Most plain bytes under all coded streams of one blob: 16 GiB. The largest layers of GPU images
/// have about 10; two of them fit the scratch space that agents use by default.
pub const PEEL_PLAIN_LEN_BYTES_MAX: u64 = 16 << 30;

/// Most members and coded streams of one blob: 2^20. The largest wheels have 25,000, a source
/// tree of Linux 90,000.
pub const PEEL_MEMBERS_MAX: usize = 1 << 20;

/// Least length of a member that is a leaf of its own, in bytes: 128 KiB. Shorter ones are pooled:
/// a leaf costs some 250 bytes of recipe and frames, and a search for its bases.
pub const LEAF_LEN_BYTES_MIN: u64 = 128 << 10;

/// Longest text of a zip whose computable fields are left out, in bytes: 64 MiB. It is held in
/// memory while they are computed; a zip of 2^18 entries has so much.
pub const BLANKED_LEN_BYTES_MAX: u64 = 64 << 20;

/// Memory that one rebuild may use besides mapped files, in bytes: 512 MiB, what the smallest
/// admin nodes can spare. Cards and inventories state it.
pub const DECODE_MEMORY_BYTES: u64 = 512 << 20;

/// Largest window of a zstd frame, as its logarithm: 2^28 bytes. The decoder reserves it, so one
/// such stream at a time stays within [`DECODE_MEMORY_BYTES`].
pub const ZSTD_WINDOW_LOG_MAX: u32 = 28;

/// Longest name of an artifact, in bytes; also the longest path below a server's root.
pub const NAME_LEN_BYTES_MAX: usize = 1024;

/// Longest name of a site, in bytes. It becomes a folder on the stick.
pub const SITE_NAME_LEN_BYTES_MAX: usize = 40;

/// Longest OCI manifest or index accepted, in bytes: 4 MiB. distribution-spec v1.1.1, "Pushing
/// Manifests", asks registries to take at least 4 megabytes; nothing we carry is larger.
pub const OCI_MANIFEST_LEN_BYTES_MAX: u64 = 4 << 20;

/// Most manifests and indexes of one image: 1024. The widest index we know, of sixteen platforms
/// with an attestation each, has 33.
pub const IMAGE_MANIFESTS_MAX: usize = 1024;

/// Most pages of one list of a registry. Those that give the shortest have 50 entries in each, so
/// this is some fifty thousand.
pub const LIST_PAGES_MAX: usize = 1024;

/// Most tags of one repository: 100,000. Those with a tag for each nightly build have some ten
/// thousand.
pub const TAGS_MAX: usize = 100_000;

/// Longest page of a list of tags, in bytes: 32 MiB. Some registries give all tags in one, with
/// some 200 bytes on what each leads to.
pub const TAGS_LEN_BYTES_MAX: u64 = 32 << 20;

/// Longest public key file, in bytes: 64 KiB. One in PEM has 200.
pub const PUBLIC_KEY_LEN_BYTES_MAX: u64 = 64 << 10;

/// Longest payload that a signature of an image covers, in bytes: 64 KiB. It names an image and
/// has some 300.
pub const SIGNED_PAYLOAD_LEN_BYTES_MAX: u64 = 64 << 10;

/// Longest answer of a registry's token server, in bytes: 256 KiB. A token is a header's value,
/// and servers take headers of some 16 KiB.
pub const REGISTRY_TOKEN_LEN_BYTES_MAX: u64 = 256 << 10;

/// Longest package index taken from an upstream, in bytes, as published: 256 MiB. The index of
/// all of Debian main for one architecture has 9 MiB.
pub const INDEX_LEN_BYTES_MAX: u64 = 256 << 20;

/// Longest package index once unpacked, in bytes: 2 GiB.
pub const INDEX_PLAIN_LEN_BYTES_MAX: u64 = 2 << 30;

/// Longest METADATA of a wheel, in bytes: 8 MiB.
pub const WHEEL_METADATA_LEN_BYTES_MAX: u64 = 8 << 20;

/// Most wants that one site remembers. What nodes really miss is a few hundred; a scanner's
/// guesses end here and cannot fill the disk.
pub const WANTS_MAX: usize = 10_000;

/// Longest file of wants, in bytes: 32 MiB. [`WANTS_MAX`] of the longest names have some 14.
pub const WANTS_LEN_BYTES_MAX: u64 = 32 << 20;

/// Longest line of a client's log that is read, in bytes: 1 MiB. Ansible puts all that a task said
/// on one line.
pub const LOG_LINE_LEN_BYTES_MAX: u64 = 1 << 20;

/// Most lines of a client's log: 10 million, which is a journal of some GiB.
pub const LOG_LINES_MAX: u64 = 10_000_000;

/// Longest body of a want that is posted, in bytes: 64 KiB, the messages of one failed task.
pub const WANT_POST_LEN_BYTES_MAX: usize = 64 << 10;

/// Longest `Release` or `InRelease`, in bytes: 16 MiB. Debian's, with all its architectures and
/// translations, has 250 KiB.
pub const RELEASE_LEN_BYTES_MAX: u64 = 16 << 20;

/// Longest OpenPGP keyring, in bytes: 16 MiB. The keyring of the Debian archive has 60 KiB; a
/// key with many foreign certifications has some hundred.
pub const KEYRING_LEN_BYTES_MAX: u64 = 16 << 20;

/// Most keys taken from one OpenPGP keyring.
pub const KEYRING_KEYS_MAX: usize = 4096;

/// Memory that unpacking an index may take, in bytes: 128 MiB. `xz -9` needs 65 MiB.
pub const INDEX_UNPACK_MEMORY_BYTES_MAX: u64 = 128 << 20;

/// Most connections one server holds open. Each keeps at most a megabyte of a transfer in
/// memory, so this is a gigabyte at the very worst; a site of 1000 nodes pulls with 3 at once
/// each for a short time only, and the others wait.
pub const CONNECTIONS_MAX: usize = 1024;

/// Longest address of a request, in bytes: 8 KiB, as nginx has it. The longest of ours is a file's,
/// with [`NAME_LEN_BYTES_MAX`] bytes of which each may be written as three.
pub const URI_LEN_BYTES_MAX: usize = 8 << 10;

/// Longest headers of a request, in bytes, names and values together: 64 KiB.
pub const HEADERS_LEN_BYTES_MAX: usize = 64 << 10;

/// Longest page of one project in a simple index, in bytes: 64 MiB. The longest known ones,
/// of projects with a nightly build for each platform, have about 30 MiB.
pub const PYPI_PAGE_LEN_BYTES_MAX: u64 = 64 << 20;

/// Most of a wheel's end that is fetched to find its METADATA, in bytes: 64 MiB. The
/// directory of a wheel with 20,000 members has about 3 MiB.
pub const WHEEL_DIRECTORY_LEN_BYTES_MAX: u64 = 64 << 20;

/// Longest distribution that is fetched whole while resolving, in bytes: 256 MiB. Only source
/// distributions, and wheels of a server without ranges; one is held at a time.
pub const PYPI_WHOLE_LEN_BYTES_MAX: u64 = 256 << 20;

/// Most entries of an rpm package's header, as rpm has it: 2^16. Real ones have about a hundred.
pub const RPM_HEADER_ENTRIES_MAX: u64 = 1 << 16;

/// Longest store of an rpm package's header, in bytes: 64 MiB, twenty times that of a package of
/// 50,000 files.
pub const RPM_HEADER_STORE_LEN_BYTES_MAX: u64 = 64 << 20;

/// Longest plain form of groups, modules or advisories of a yum repository, in bytes: 256 MiB.
/// One at a time is in memory while they are joined; the advisories of Fedora have some 60 MiB.
pub const YUM_DOCUMENT_PLAIN_LEN_BYTES_MAX: u64 = 256 << 20;

/// Longest text that says what `Chart.yaml` says, in bytes: 256 KiB. Those with the longest
/// annotations have some 40 KiB.
pub const CHART_METADATA_LEN_BYTES_MAX: usize = 256 << 10;

/// Longest requirements file, in bytes: 4 MiB, some ten thousand lines with hashes.
pub const REQUIREMENTS_LEN_BYTES_MAX: u64 = 4 << 20;

/// Most names that are read from one folder of a foreign medium.
pub const FOLDER_NAMES_MAX: usize = 100_000;

/// Most addresses for which a server remembers which `repomd.xml` they read in the last seconds:
/// 4096, four nodes for each connection that it holds open.
pub const HEAD_READERS_MAX: usize = 4096;

/// Most documents of one connection that a server remembers to have sent, so that it sees when one
/// is asked for again: 1024, more than pip reads for a long list of requirements.
pub const DOCUMENTS_IN_TURN_MAX: usize = 1024;

/// Most uploads to the registry that are open at a time: 256. A client opens four or five, and
/// only those who may push open any.
pub const UPLOADS_MAX: usize = 256;

/// Longest name of a repository that is pushed to, in bytes: 255, what distribution-spec v1.1.1
/// says that clients take with the registry's host. Each part of it becomes a folder.
pub const PUSHED_NAME_LEN_BYTES_MAX: usize = 255;

/// Longest page of a list of referrers, in bytes: 4 MiB, as long as clients expect a manifest to be.
/// Every entry has a manifest's annotations, of which a few hundred bytes are usual.
pub const REFERRERS_PAGE_LEN_BYTES_MAX: usize = 4 << 20;

/// Most manifests that are read for one page of a list of referrers: 1000. An image has some ten.
pub const REFERRERS_READ_MAX: usize = 1000;

/// After how many bytes of manifests no more are read for one page of a list of referrers: 64 MiB,
/// sixteen of the longest.
pub const REFERRERS_READ_LEN_BYTES_MAX: usize = 64 << 20;

/// Most bytes of pages of lists of referrers that a server holds in memory for clients that have not
/// taken them yet: 64 MiB, sixteen long pages or tens of thousands of usual ones.
pub const REFERRERS_PAGES_LEN_BYTES_MAX: usize = 64 << 20;

/// Most bytes of small documents that a server keeps in memory for whoever asks next: 64 MiB.
pub const SHARED_LEN_BYTES_MAX: usize = 64 << 20;

/// Deepest nesting of a manifest that is pushed. Image-spec has no field deeper than 5.
pub const PUSHED_MANIFEST_DEPTH_MAX: usize = 64;

/// What a pushed blob, manifest or tag is counted for beside its bytes: 4 KiB, a block of the disk
/// for its document. So empty blobs without end fill no disk.
pub const PUSHED_DOCUMENT_LEN_BYTES: u64 = 4 << 10;

/// How long a blob that nothing needs is spared by a sweep after it was last written or put to
/// use, in seconds: 6 hours. A push may wait an hour between its bytes and its end, and an import
/// that was killed finds what it has made.
pub const SWEEP_SPARES_SECONDS: u64 = 6 * 60 * 60;
