//! Every decoder of the delta engine, as a function that takes any bytes at all.
//!
//! In:   bytes from nowhere. Where a decoder takes more than bytes (an announced length, leaves,
//!       names of encoders), the first bytes say it, so that mutations reach that too.
//! Out:  nothing. What has to hold is asserted: no more comes out than was announced, ranges lie
//!       in order, apart and inside, and what was taken apart goes together again.
//! Never: files besides scratch and the one blob of [`World`], network, clock.
//!
//! Shared by `main.rs`, which runs seeds and mutations of them as ordinary tests, and by the
//! targets of `common/fuzz`, which let libFuzzer look for more.
//!
//! Replaying preflate's corrections is not among the targets, and recipes that name it are passed
//! over. preflate 0.7.6 is not robust: corrections that do not belong to their plain bytes send it
//! into making blocks without end, in memory, and nothing can stop it. They come from signed
//! recipes only, and a CRC-32 of both is checked before preflate sees them (`deflate/preflate.rs`);
//! a fuzzer that learns the CRC would find what is known.

use std::{
    env,
    io::{self, Write},
    sync::OnceLock,
};

use bytes::Bytes;
use camino::Utf8PathBuf;
use gapferry_common::{
    budget::Budget,
    pack::ReadError,
    patch,
    peel::{
        Opened,
        anatomy::{self, Coding, Item, ItemPart},
        ar,
        bases::OpenedBlobs,
        cpio,
        deflate::{self, puff},
        gzip,
        member::Member,
        opener,
        pool::{self, Fate, Layout},
        reseal, rpm, tar, xz,
        zip::{self, Facts},
    },
    rebuild::{Chunks, Rebuilder},
    scratch::Scratch,
    store::Store,
};
use gapferry_proto::{
    BlobId, ChunkId, Recipe, limits,
    recipe::{Codec, Node},
};

/// Memory that decoders are given, in bytes: 64 MiB.
pub const MEMORY_BYTES: u64 = 64 << 20;

/// Scratch space, in bytes: 64 MiB.
const SCRATCH_BYTES: u64 = 64 << 20;

/// Longest stream that is announced or allowed, in bytes: 1 MiB.
const LEN_BYTES_MAX: u64 = 1 << 20;

/// Most bytes that resealing a few KiB gives.
const RESEALED_LEN_BYTES_MAX: u64 = 16 << 20;

/// The encoders that [`reseal`] chooses from; the last one is unknown.
pub const ENCODERS: [&str; 8] = [
    "zlib-1.3/L6",
    "go-flate-1/L1",
    "go-flate-1/L6",
    "pigz-1/zlib-1.3/L1/i/b1024",
    "puff-1",
    "liblzma-5.8/st/p0/crc32",
    "liblzma-5.8/mt/p0/crc64",
    "liblzma-5.7/st/p0/crc64",
];

/// `suffix-lzma-1`: three bytes of announced length, then the payload.
pub fn suffix(bytes: &[u8]) {
    decode(Codec::SuffixLzma, base(), bytes);
}

/// `zstd-prefix-1`: three bytes of announced length, then the frame.
pub fn prefix(bytes: &[u8]) {
    decode(Codec::ZstdPrefix, base(), bytes);
}

/// `xz-1`: three bytes of announced length, then the xz file.
pub fn lzma(bytes: &[u8]) {
    decode(Codec::Xz, &[], bytes);
}

fn decode(codec: Codec, base: &[u8], bytes: &[u8]) {
    let Some((&[low, middle, high], payload)) = bytes.split_first_chunk() else { return };
    let len_bytes = u64::from(u32::from_le_bytes([low, middle, high, 0])) % LEN_BYTES_MAX;
    let mut out = Sink::at_most(len_bytes);
    if patch::decode(codec, base, payload, len_bytes, MEMORY_BYTES, &mut out).is_ok() {
        assert_eq!(out.len_bytes, len_bytes, "decoded is not as long as announced");
    }
}

/// A recipe, followed: two bytes say how long it is, the rest is what its packs bring.
///
/// The number of a pack stands for the length of the chunk, so that a recipe can name any part of
/// the rest.
pub fn recipe(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk() else { return };
    let (recipe, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    let Ok(recipe) = minicbor::decode::<Recipe>(recipe) else { return };
    let _ = recipe.bases().count();
    let Ok(nodes) = recipe.nodes() else { return };
    let names_preflate = |node: &Node| match node {
        Node::Reseal(reseal) => reseal.encoders.iter().any(|(id, _)| id.contains("preflate")),
        _ => false,
    };
    let is_long = |node: &Node| node.len_bytes().is_some_and(|len| RESEALED_LEN_BYTES_MAX < len);
    if nodes.iter().any(|node| names_preflate(node) || is_long(node)) {
        return;
    }
    assert_eq!(Recipe::new(recipe.blob, recipe.len_bytes, &nodes).nodes(), Ok(nodes));
    let world = world();
    let (store, opened, budget) = (&world.store, &world.opened, &world.budget);
    let mut out = Sink::at_most(RESEALED_LEN_BYTES_MAX);
    let node_memory_bytes = budget.total_bytes();
    let rebuilder = Rebuilder { store, opened, budget, node_memory_bytes };
    let _ = rebuilder.write(&recipe, &mut Rest(rest), &mut out);
}

/// What packs bring, in one piece.
struct Rest<'a>(&'a [u8]);

impl Chunks for Rest<'_> {
    fn chunk(&mut self, pack: u32, offset: u64, _: ChunkId) -> Result<Vec<u8>, ReadError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.0.get(start..).and_then(|rest| rest.get(..pack as usize));
        found
            .map(<[u8]>::to_vec)
            .ok_or_else(|| ReadError::Io(pack, io::ErrorKind::UnexpectedEof.into()))
    }
}

/// The layout of a pool: its texts lie one after the other, up to the end of the pool.
pub fn layout(bytes: &[u8]) {
    let Ok(layout) = Layout::read(bytes, usize::MAX) else { return };
    assert!(layout.streams.len() <= bytes.len() && layout.leaves.len() <= bytes.len());
    let mut end = layout.streams.first().map_or(0, |stream| stream.text.0);
    for stream in &layout.streams {
        assert_eq!(stream.text.0, end, "a text begins where the one before it ends");
        let gaps: u64 = stream.items.iter().map(|item| item.0).sum();
        assert_eq!(stream.text.1, gaps + stream.tail);
        end += stream.text.1;
    }
    assert_eq!(end, bytes.len() as u64);
}

/// A pool with its leaves, resealed.
///
/// In order: two numbers, of runs of encoders and of leaves; for each run an encoder and how many
/// streams it made; for each leaf its length in two bytes; the leaves; the pool.
pub fn reseal(bytes: &[u8]) {
    let Some((parts, pool)) = reseal_parts(bytes) else { return };
    let (encoders, leaves) = parts;
    let parts = reseal::Parts {
        pool: &pool,
        leaves: &leaves,
        encoders: &encoders,
        corrections: &[],
        len_bytes: RESEALED_LEN_BYTES_MAX,
        memory_bytes: 64 << 20,
    };
    let mut out = Sink::at_most(RESEALED_LEN_BYTES_MAX);
    let _ = reseal::reseal(&parts, &world().scratch, &mut out);
}

type Sealing = (Vec<(String, u64)>, Vec<Bytes>);

fn reseal_parts(bytes: &[u8]) -> Option<(Sealing, Bytes)> {
    let (&[runs, leaves], mut rest) = bytes.split_first_chunk()?;
    let mut encoders = vec![];
    for _ in 0..runs % 4 {
        let &[encoder, count] = take(&mut rest, 2)?.first_chunk()?;
        let id = ENCODERS[usize::from(encoder) % ENCODERS.len()];
        encoders.push((id.to_owned(), u64::from(count)));
    }
    let lens: &[[u8; 2]] = take(&mut rest, usize::from(leaves % 4) * 2)?.as_chunks().0;
    let leaf = |&len: &[u8; 2]| {
        Some(Bytes::copy_from_slice(take(&mut rest, usize::from(u16::from_le_bytes(len)))?))
    };
    let leaves = lens.iter().map(leaf).collect::<Option<_>>()?;
    Some(((encoders, leaves), Bytes::copy_from_slice(rest)))
}

/// A deflate stream: what is puffed comes back, and zlib takes it too.
pub fn puff(bytes: &[u8]) {
    let max_bytes = bytes.len() as u64 * 8 + 4096;
    let mut plain = vec![];
    let inflated = deflate::inflate(bytes, max_bytes, &mut plain);
    // What inflate refuses is walked as well, with as many plain bytes as came out.
    let Ok(puffed) = puff::puff(bytes, &plain, max_bytes) else { return };
    assert!(puffed.bytes.len() as u64 <= max_bytes && puffed.deflated_len <= bytes.len());
    let mut deflated = vec![];
    puff::unpuff(&puffed.bytes, &mut deflated).expect("puffed by us");
    assert_eq!(deflated, bytes[..puffed.deflated_len]);
    let inflated = inflated.expect("puffed by us");
    assert_eq!(inflated.deflated_len, puffed.deflated_len as u64);
}

/// A puffed stream: never more than two bytes of deflate for one of it, and a few.
pub fn unpuff(bytes: &[u8]) {
    let mut out = Sink::at_most(2 * bytes.len() as u64 + 64);
    if let Ok(len) = puff::unpuff(bytes, &mut out) {
        assert_eq!(len, out.len_bytes);
    }
}

/// A deflate stream: no more plain bytes than allowed, and it ends inside.
pub fn inflate(bytes: &[u8]) {
    let mut out = Sink::at_most(LEN_BYTES_MAX);
    if let Ok(inflated) = deflate::inflate(bytes, LEN_BYTES_MAX, &mut out) {
        assert!(inflated.deflated_len <= bytes.len() as u64);
        assert_eq!(inflated.plain_len, out.len_bytes);
    }
}

/// An xz stream: no more plain bytes than allowed, and it ends inside.
pub fn xz(bytes: &[u8]) {
    let mut out = Sink::at_most(LEN_BYTES_MAX);
    if let Ok((sealed, plain)) = xz::decode(bytes, LEN_BYTES_MAX, MEMORY_BYTES, &mut out) {
        assert!(sealed <= bytes.len() as u64);
        assert_eq!(plain, out.len_bytes);
    }
}

/// The header of a gzip member ends inside.
pub fn gzip(bytes: &[u8]) {
    if let Some(header) = gzip::header(bytes) {
        assert!(10 <= header.len_bytes && header.len_bytes <= bytes.len());
    }
}

/// The files of a tar.
pub fn tar(bytes: &[u8]) {
    assert_members_apart(bytes, tar::members(bytes));
}

/// The members of an ar.
pub fn ar(bytes: &[u8]) {
    assert_members_apart(bytes, ar::members(bytes));
}

/// The files of a cpio.
pub fn cpio(bytes: &[u8]) {
    assert_members_apart(bytes, cpio::members(bytes));
}

/// The payload of an rpm.
pub fn rpm(bytes: &[u8]) {
    assert!(rpm::payload_offset(bytes).unwrap_or(0) <= bytes.len());
}

/// The entries of a zip.
pub fn zip(bytes: &[u8]) {
    let entries = zip::entries(bytes).unwrap_or_default();
    assert_apart(bytes.len(), entries.iter().map(|entry| (entry.offset, entry.len_bytes)));
    assert!(entries.iter().all(|entry| entry.name.len() <= 1024 && 0 < entry.len_bytes));
}

/// The text of a zip without its contents, filled; and blanked, which must come back.
///
/// A number of entries, for each the place of its cut in two bytes, a CRC and two lengths in two
/// bytes each; then the text.
pub fn zip_fill(bytes: &[u8]) {
    let Some((cuts, facts, text)) = zip_parts(bytes) else { return };
    let mut filled = text.to_vec();
    if zip::fill(&mut filled, &cuts, &facts).is_err() {
        assert_eq!(filled, text, "a text that cannot be filled is left as it was");
    }
    let mut blanked = text.to_vec();
    if zip::blank(&mut blanked, &cuts, &facts) {
        zip::fill(&mut blanked, &cuts, &facts).expect("blanked by us");
    }
    assert_eq!(blanked, text, "a text that was blanked comes back");
}

fn zip_parts(bytes: &[u8]) -> Option<(Vec<u64>, Vec<Facts>, &[u8])> {
    let (&count, mut rest) = bytes.split_first()?;
    let (records, _) = take(&mut rest, usize::from(count % 32) * 10)?.as_chunks::<10>();
    let short = |low: u8, high: u8| u64::from(u16::from_le_bytes([low, high]));
    let entry = |&[c, d, e, f, g, h, i, j, k, l]: &[u8; 10]| {
        let crc32 = u32::from_le_bytes([e, f, g, h]);
        (short(c, d), Facts { crc32, plain_len_bytes: short(i, j), stored_len_bytes: short(k, l) })
    };
    let (cuts, facts) = records.iter().map(entry).unzip();
    Some((cuts, facts, rest))
}

/// A whole blob: its items lie in order and inside, nothing expands too far, and with every coded
/// stream puffed or as it is the blob comes back.
pub fn open(bytes: &[u8]) {
    let blob = Bytes::copy_from_slice(bytes);
    let Ok(opened) = opener::open(&blob, &world().scratch, &world().budget) else { return };
    assert_well_opened(&opened);
    for puffs in [false, true] {
        assert_comes_back(&opened, puffs);
    }
}

/// Asserts what holds for every opened blob.
pub fn assert_well_opened(opened: &Opened) {
    let anatomy = opened.anatomy();
    assert!(anatomy.streams.len() + anatomy.leaves.len() <= limits::PEEL_MEMBERS_MAX + 1);
    assert!(anatomy.notes.len() <= anatomy::NOTES_MAX);
    for (number, stream) in (0..).zip(&anatomy.streams) {
        let content = opened.content(number);
        assert_eq!(content.len() as u64, stream.len_bytes);
        let allowed = stream.sealed_len_bytes.saturating_mul(limits::PEEL_EXPANSION_MAX);
        assert!(stream.len_bytes <= allowed + limits::PEEL_EXPANSION_FREE_BYTES);
        assert!(stream.parent < number || number == 0);
        assert_apart(content.len(), stream.items.iter().map(|item| (item.offset, item.len_bytes)));
        stream.items.iter().for_each(|item| assert_item(opened, number, item));
    }
}

fn assert_item(opened: &Opened, number: u32, item: &Item) {
    let anatomy = opened.anatomy();
    let stands = match item.part {
        ItemPart::Leaf(leaf) => {
            let leaf = &anatomy.leaves[leaf as usize];
            assert!(limits::LEAF_LEN_BYTES_MIN <= leaf.len_bytes && leaf.name.len() <= 1024);
            (leaf.stream, leaf.offset, leaf.len_bytes)
        }
        ItemPart::Stream(child) => {
            let child = &anatomy.streams[child as usize];
            let is_plain = child.coding == Coding::Identity;
            assert!(!is_plain || child.len_bytes == child.sealed_len_bytes);
            (child.parent, child.offset, child.sealed_len_bytes)
        }
    };
    assert_eq!(stands, (number, item.offset, item.len_bytes));
}

fn assert_comes_back(opened: &Opened, puffs: bool) {
    let scratch = &world().scratch;
    let is_puffed = |stream: u32| {
        let is_deflate = opened.anatomy().streams[stream as usize].coding == Coding::Deflate;
        puffs && is_deflate && opened.puffed_len_bytes(stream).is_some()
    };
    let fate = |stream| if is_puffed(stream) { Fate::Puffed } else { Fate::Sealed };
    let pooled = pool::with_fates(opened, fate, scratch).expect("scratch space");
    layout(&pooled.pool);
    let leaves = pooled.leaves.iter().map(|&view| opened.view(view, scratch).expect("it is ours"));
    let leaves: Vec<Bytes> = leaves.collect();
    let encoders = match pooled.coded.len() {
        0 => vec![],
        count => vec![("puff-1".to_owned(), count as u64)],
    };
    let parts = reseal::Parts {
        pool: &pooled.pool,
        leaves: &leaves,
        encoders: &encoders,
        corrections: &[],
        len_bytes: opened.blob().len() as u64,
        memory_bytes: 64 << 20,
    };
    let mut out = vec![];
    reseal::reseal(&parts, scratch, &mut out).expect("pooled by us");
    assert!(out == *opened.blob(), "the blob does not come back");
}

fn assert_members_apart(bytes: &[u8], members: Option<Vec<Member>>) {
    let members = members.unwrap_or_default();
    assert_apart(bytes.len(), members.iter().map(|member| (member.offset, member.len_bytes)));
    assert!(members.iter().all(|member| member.name.len() <= 1024 && 0 < member.len_bytes));
}

/// Asserts that ranges lie in order, apart, and inside `len` bytes.
fn assert_apart(len: usize, ranges: impl Iterator<Item = (u64, u64)>) {
    let mut end = 0_u64;
    for (offset, len_bytes) in ranges {
        assert!(end <= offset, "a range begins at {offset}, before {end}");
        end = offset.checked_add(len_bytes).expect("a range ends");
    }
    assert!(end <= len as u64, "a range ends at {end} of {len}");
}

/// Takes bytes and keeps none; more than it may get is a failure of the decoder.
struct Sink {
    len_bytes: u64,
    max_bytes: u64,
}

impl Sink {
    fn at_most(max_bytes: u64) -> Self {
        Self { len_bytes: 0, max_bytes }
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.len_bytes += buf.len() as u64;
        assert!(self.len_bytes <= self.max_bytes, "more than {} bytes come out", self.max_bytes);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a site has: a store with one blob, and scratch space.
pub struct World {
    pub scratch: Scratch,
    store: Store,
    opened: OpenedBlobs,
    pub budget: Budget,
    /// A gzip member of [`base`].
    pub blob: BlobId,
}

/// The one world, made at first use; its folder holds a few hundred KiB and is used again.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let folder = option_env!("CARGO_TARGET_TMPDIR").map_or_else(env::temp_dir, Into::into);
        let folder = Utf8PathBuf::from_path_buf(folder).expect("a path in text");
        let folder = folder.join("gapferry-hostile");
        let scratch = Scratch::new(&folder.join("scratch"), SCRATCH_BYTES).expect("a folder");
        let store = Store::open(folder.join("store")).expect("a store");
        let blob = store.put(&gzip_of(base())).expect("a blob");
        let opened = OpenedBlobs::new(scratch.clone(), SCRATCH_BYTES / 2);
        World { scratch, store, opened, budget: Budget::new(MEMORY_BYTES), blob }
    })
}

/// A text of numbered lines, long enough for a leaf.
pub fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let lines = (0..8000_u32).map(|n| format!("{n:x} is line {}\n", n * 7919 % 10007));
        lines.flat_map(String::into_bytes).collect()
    })
}

/// A gzip member as zlib makes it at level 6.
fn gzip_of(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::new(6));
    encoder.write_all(plain).expect("writing to a Vec does not fail");
    encoder.finish().expect("writing to a Vec does not fail")
}

/// The first `len` bytes of `from`, which then begins behind them.
fn take<'a>(from: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(taken)
}
