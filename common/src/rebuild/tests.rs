use camino::Utf8PathBuf;
use gapferry_proto::{
    limits,
    recipe::{Codec, View},
};

use super::*;
use crate::{
    encode, keys::Identity, pack::PackReader, pack::PackWriter, patch::Effort, peel::opener,
    peel::pool, seal::Recipients,
};

struct World {
    _temp: tempfile::TempDir,
    store: Store,
    opened: OpenedBlobs,
    budget: Budget,
    site: Identity,
    root: Utf8PathBuf,
}

fn world() -> World {
    let temp = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(temp.path().into()).unwrap();
    let store = Store::open(root.join("store")).unwrap();
    let scratch = Scratch::new(&root.join("scratch"), 1 << 30).unwrap();
    let opened = OpenedBlobs::new(scratch, 1 << 29);
    let budget = Budget::new(limits::DECODE_MEMORY_BYTES);
    World { _temp: temp, store, opened, budget, site: Identity::generate(), root }
}

impl World {
    fn pack(&self, bytes: &[u8]) -> Place {
        let recipients = Recipients::parse(&[self.site.recipient()]).unwrap();
        let mut writer = PackWriter::new(&self.root, 1, &recipients, 1 << 20);
        let (head, stored) = encode::encode(ChunkId::of(bytes), bytes);
        let (pack, offset) = writer.append(&head, &stored).unwrap();
        writer.finish().unwrap();
        Place::Pack { pack, offset }
    }

    fn rebuild(&self, recipe: &Recipe) -> Result<(), RebuildError> {
        let mut packs = PackReader::new(self.root.join("volume-001"), &self.site);
        let Self { store, opened, budget, .. } = self;
        let node_memory_bytes = budget.total_bytes();
        Rebuilder { store, opened, budget, node_memory_bytes }.rebuild(recipe, &mut packs)
    }

    fn open(&self, blob: &[u8]) -> crate::peel::Opened {
        opener::open(&Bytes::copy_from_slice(blob), self.opened.scratch(), &self.budget).unwrap()
    }
}

fn part(bytes: &[u8], place: Place) -> Part {
    Part { chunk: ChunkId::of(bytes), len_bytes: u32::try_from(bytes.len()).unwrap(), place }
}

fn recipe(blob: &[u8], nodes: &[Node]) -> Recipe {
    Recipe::new(BlobId::of(blob), blob.len() as u64, nodes)
}

fn coded(codec: Codec, bases: Vec<u32>, payload: u32, len: usize) -> Node {
    let decode_memory_bytes = 300 << 20;
    Node::Coded(Coded { codec, bases, payload, len_bytes: len as u64, decode_memory_bytes })
}

/// Text of numbered lines that compresses well and has no long repeats.
fn text(lines: std::ops::Range<u32>) -> Vec<u8> {
    lines.map(|n| format!("{n:x} is line {}\n", n * 7919 % 10007)).collect::<String>().into_bytes()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::new(6));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_blob_is_made_of_a_base_and_a_pack() {
    let world = world();
    let base = world.store.put(b"old bytes").unwrap();
    let parts =
        vec![part(b"old ", Place::Node { node: 0, offset: 0 }), part(b"new", world.pack(b"new"))];
    let recipe = recipe(b"old new", &[Node::Blob(base), Node::Concat(parts)]);
    world.rebuild(&recipe).unwrap();
    assert_eq!(world.store.read(BlobId::of(b"old new"), 100).unwrap(), b"old new");
}

#[test]
fn a_gzip_is_made_of_the_plain_bytes_of_an_older_one() {
    let world = world();
    let (old, new) = (gzip(&text(0..20_000)), gzip(&text(9..20_000)));
    let base = world.store.put(&old).unwrap();
    let opened = world.open(&new);
    let pooled = pool::with_fates(&opened, |_| pool::Fate::Open, world.opened.scratch()).unwrap();
    assert_eq!(pooled.leaves, [View::Leaf(0)]);
    let old_leaf = world.open(&old).leaf(0);
    for codec in [Codec::SuffixLzma, Codec::ZstdPrefix] {
        let payload =
            crate::patch::encode(codec, &old_leaf, &opened.leaf(0), Effort::Balanced).unwrap();
        assert!(payload.len() < 400, "{} bytes by {codec:?}", payload.len());
        let nodes = [
            Node::Blob(base),
            Node::View { blob: 0, view: View::Leaf(0), len_bytes: old_leaf.len() as u64 },
            Node::Bytes(payload),
            coded(codec, vec![1], 2, opened.leaf(0).len()),
            Node::Bytes(pooled.pool.to_vec()),
            Node::Reseal(Reseal {
                pool: 4,
                leaves: vec![3],
                encoders: vec![("zlib-1.3/L6".to_owned(), 1)],
                corrections: None,
                len_bytes: new.len() as u64,
                decode_memory_bytes: 32 << 20,
            }),
        ];
        world.rebuild(&recipe(&new, &nodes)).unwrap();
        assert_eq!(world.store.read(BlobId::of(&new), 1 << 20).unwrap(), new);
        std::fs::remove_file(world.store.path(BlobId::of(&new))).unwrap();
    }
}

#[test]
fn a_rotten_base_gives_no_blob() {
    let world = world();
    let base = world.store.put(b"old bytes").unwrap();
    std::fs::write(world.store.path(base), b"odd bytes").unwrap();
    let parts = vec![part(b"old ", Place::Node { node: 0, offset: 0 })];
    let failed = world.rebuild(&recipe(b"old ", &[Node::Blob(base), Node::Concat(parts)]));
    assert!(matches!(failed, Err(RebuildError::Base { .. })), "{failed:?}");
}

#[test]
fn a_recipe_that_gives_another_blob_stores_nothing() {
    let world = world();
    let parts = vec![part(b"evil", world.pack(b"evil"))];
    let failed = world.rebuild(&recipe(b"good", &[Node::Concat(parts)]));
    assert!(matches!(failed, Err(RebuildError::OtherBlob { .. })), "{failed:?}");
    assert_eq!(world.store.blobs().count(), 0);
}

#[test]
fn an_empty_blob_is_rebuilt_of_nothing() {
    let world = world();
    world.rebuild(&recipe(b"", &[Node::Concat(vec![])])).unwrap();
    assert_eq!(world.store.read(BlobId::of(b""), 0).unwrap(), b"");
}

#[test]
fn a_view_that_the_base_does_not_have_is_refused() {
    let world = world();
    let base = world.store.put(&gzip(&text(0..20_000))).unwrap();
    let len_bytes = 7;
    for view in [View::Leaf(1), View::Puffed(9), View::Puffed(0), View::Sealed(2)] {
        let nodes = [Node::Blob(base), Node::View { blob: 0, view, len_bytes }];
        let failed = world.rebuild(&recipe(b"another", &nodes));
        assert!(matches!(failed, Err(RebuildError::View(_))), "{view:?}: {failed:?}");
    }
    let nodes = [Node::Blob(base), Node::View { blob: 0, view: View::Leaf(0), len_bytes }];
    let failed = world.rebuild(&recipe(b"another", &nodes));
    assert!(matches!(failed, Err(RebuildError::OtherView { expected: 7, .. })), "{failed:?}");
}

#[test]
fn a_damaged_payload_is_refused_and_its_codec_is_named() {
    let world = world();
    let (old, new) = (text(0..5000), text(3..5000));
    let base = world.store.put(&old).unwrap();
    for codec in [Codec::SuffixLzma, Codec::ZstdPrefix, Codec::Xz] {
        let payload = crate::patch::encode(codec, &old, &new, Effort::Balanced).unwrap();
        for at in (0..payload.len()).step_by(1 + payload.len() / 50) {
            let mut bad = payload.clone();
            bad[at] ^= 0x55;
            let parts = vec![part(&bad, world.pack(&bad))];
            let nodes =
                [Node::Blob(base), Node::Concat(parts), coded(codec, vec![0], 1, new.len())];
            let recipe = recipe(&new, &nodes);
            match world.rebuild(&recipe) {
                Ok(()) => assert_eq!(world.store.read(recipe.blob, 1 << 20).unwrap(), new),
                Err(failed) => {
                    assert!(!failed.is_fault(), "{failed}");
                    assert_eq!(failed.suspects(&recipe), [codec.id()], "byte {at}: {failed}");
                }
            }
        }
    }
}

#[test]
fn a_node_that_declares_more_memory_than_the_site_allows_is_refused() {
    let world = World { budget: Budget::new(1 << 20), ..world() };
    let nodes = [Node::Bytes(vec![1]), coded(Codec::Xz, vec![], 0, 4)];
    let failed = world.rebuild(&recipe(b"good", &nodes));
    assert!(matches!(failed, Err(RebuildError::Memory { .. })), "{failed:?}");
}
