//! Small valid inputs for every target, made by code: the same in every run.
//!
//! In: nothing. Out: for each target some inputs of a few hundred bytes to a few KiB, in the form
//! that the target takes. Mutations start from these.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};
use gapferry_common::{
    patch::{self, Effort},
    peel::{
        Opened,
        deflate::{self, Replay, puff},
        opener,
        pool::{self, Fate},
        zip::Facts,
    },
};
use gapferry_proto::{
    BlobId, ChunkId, Recipe,
    recipe::{Codec, Coded, Node, Part, Place, Reseal, View},
};

use super::targets::{self, MEMORY_BYTES};

/// Inputs of one target.
pub type Seeds = Vec<Vec<u8>>;

/// Payloads of `suffix-lzma-1`, near their base and far from it.
pub fn suffix() -> Seeds {
    let base = targets::base();
    let near = [&base[40..900], b"something new", &base[700..5000]].concat();
    let news = [near, text(9, 1500), vec![0; 3000], vec![]];
    news.iter().map(|new| payload(Codec::SuffixLzma, base, new)).collect()
}

/// Frames of `zstd-prefix-1`.
pub fn prefix() -> Seeds {
    let base = targets::base();
    let near = [&base[40..900], b"something new", &base[700..5000]].concat();
    let news = [near, text(9, 1500), vec![0; 3000], vec![]];
    news.iter().map(|new| payload(Codec::ZstdPrefix, base, new)).collect()
}

/// Streams of `xz-1`.
pub fn lzma() -> Seeds {
    [text(3, 2000), vec![7; 5000], vec![]].iter().map(|new| payload(Codec::Xz, &[], new)).collect()
}

/// A payload behind the length that it gives.
fn payload(codec: Codec, base: &[u8], new: &[u8]) -> Vec<u8> {
    let payload = patch::encode(codec, base, new, Effort::Fastest).unwrap();
    let [low, middle, high, _] = u32::try_from(new.len()).unwrap().to_le_bytes();
    [&[low, middle, high][..], &payload].concat()
}

/// Recipes with every kind of node.
pub fn recipe() -> Seeds {
    let base = targets::base();
    let blob = Node::Blob(targets::world().blob);
    let brought = text(5, 700);
    let whole = Node::Concat(vec![part(&brought, 0), part(&brought[..300], 0)]);
    let leaf = Node::View { blob: 0, view: View::Leaf(0), len_bytes: base.len() as u64 };
    let copied = Node::Concat(vec![Part {
        chunk: ChunkId::of(&base[10..4000]),
        len_bytes: 3990,
        place: Place::Node { node: 1, offset: 10 },
    }]);
    let short = gzip(&text(4, 600), 6);
    let mut seeds = vec![
        followed(&[whole], 1000, &brought),
        followed(&[blob.clone(), leaf.clone(), copied], 3990, &[]),
        followed(
            &[Node::Bytes(pool_of(&short, Fate::Open)), resealed("zlib-1.3/L6", short.len())],
            short.len(),
            &[],
        ),
    ];
    let new = [&base[40..900], b"something new", &base[700..5000]].concat();
    for codec in Codec::ALL {
        let payload = patch::encode(codec, base, &new, Effort::Fastest).unwrap();
        let place = Node::Concat(vec![part(&payload, 0)]);
        let coded = Node::Coded(Coded {
            codec,
            bases: if codec == Codec::Xz { vec![] } else { vec![1] },
            payload: 2,
            len_bytes: new.len() as u64,
            decode_memory_bytes: MEMORY_BYTES,
        });
        seeds.push(followed(&[blob.clone(), leaf.clone(), place, coded], new.len(), &payload));
    }
    let opened = opened(&gzip(base, 6));
    for view in [View::Pool, View::Puffed(1), View::Sealed(1)] {
        let len = opened.view(view, &targets::world().scratch).unwrap().len();
        let view = Node::View { blob: 0, view, len_bytes: len as u64 };
        seeds.push(followed(&[blob.clone(), view], len, &[]));
    }
    seeds
}

/// A recipe and what its packs bring, as the target takes them.
fn followed(nodes: &[Node], len: usize, brought: &[u8]) -> Vec<u8> {
    let recipe = Recipe::new(BlobId::of(brought), len as u64, nodes);
    let recipe = minicbor::to_vec(&recipe).unwrap();
    let len = u16::try_from(recipe.len()).unwrap().to_le_bytes();
    [&len, &recipe[..], brought].concat()
}

/// A chunk of what packs bring; the pack stands for its length.
fn part(bytes: &[u8], offset: u64) -> Part {
    let len_bytes = u32::try_from(bytes.len()).unwrap();
    let place = Place::Pack { pack: len_bytes, offset };
    Part { chunk: ChunkId::of(bytes), len_bytes, place }
}

fn resealed(encoder: &str, len: usize) -> Node {
    Node::Reseal(Reseal {
        pool: 0,
        leaves: vec![],
        encoders: vec![(encoder.to_owned(), 1)],
        corrections: None,
        len_bytes: len as u64,
        decode_memory_bytes: 1 << 20,
    })
}

/// Pools of opened blobs.
pub fn layout() -> Seeds {
    let fates = [Fate::Open, Fate::Puffed, Fate::Sealed];
    open().iter().flat_map(|blob| fates.map(|fate| pool_of(blob, fate))).collect()
}

fn pool_of(blob: &[u8], fate: Fate) -> Vec<u8> {
    let opened = opened(blob);
    pool::with_fates(&opened, |_| fate, &targets::world().scratch).unwrap().pool.to_vec()
}

fn opened(blob: &[u8]) -> Opened {
    let world = targets::world();
    opener::open(&blob.to_vec().into(), &world.scratch, &world.budget).unwrap()
}

/// Pools with their encoders and leaves.
pub fn reseal() -> Seeds {
    let mut seeds = vec![];
    for encoder in 0..u8::try_from(targets::ENCODERS.len()).unwrap() {
        let pool = pool_of(&gzip(&text(4, 1200), 6), Fate::Open);
        seeds.push([&[1, 0, encoder, 1][..], &pool].concat());
    }
    let puffed = pool_of(&gzip(&text(5, 2500), 9), Fate::Puffed);
    seeds.push([&[1, 0, 4, 1][..], &puffed].concat());
    seeds.push([&[1, 0, 0, 2][..], &pool_of(&wheel(), Fate::Open)].concat());
    // The blob is a text of three bytes, a leaf of four, a coded stream of a leaf of two, a text.
    let (tags, numbers) = ([0, 1, 2, 1, 0, 0], [3, 4, 0, 0, 2, 0, 1]);
    let head = [&[1, 2, 5, 1, 4, 0, 2, 0][..], b"leafle"].concat();
    seeds.push([&head[..], &[6, 7], &tags, &numbers, b"texT"].concat());
    seeds
}

/// Deflate streams of stored, fixed and dynamic blocks, of zlib and Go.
pub fn deflated() -> Seeds {
    let levels = [0, 1, 6, 9].map(|level| deflate(&text(level, 2500), level));
    let more = [deflate(b"fixed", 6), deflate(&[0; 3000], 9), deflate(&[], 6)];
    levels.into_iter().chain(more).chain([go(&text(8, 2500))]).collect()
}

/// Puffed streams.
pub fn puffed() -> Seeds {
    let puffed = |deflated: &Vec<u8>| {
        let mut plain = vec![];
        deflate::inflate(deflated, 1 << 20, &mut plain).unwrap();
        puff::puff(deflated, &plain, 1 << 20).unwrap().bytes.to_vec()
    };
    deflated().iter().map(puffed).collect()
}

/// xz streams of several checks and framings, one of them in two blocks.
pub fn xz() -> Seeds {
    let ids = [
        "liblzma-5.8/st/p0/crc64",
        "liblzma-5.8/st/p1/none",
        "liblzma-5.8/mt/p0/sha256",
        "liblzma-5.8/mt/p0/crc32/b1500",
    ];
    let texts = ids.map(|id| xz_as(id, &text(2, 2500)));
    texts.into_iter().chain([xz_as(ids[0], &[]), xz_as(ids[0], &[0; 9000])]).collect()
}

/// Headers of gzip members with all fields and with none.
pub fn gzip_headers() -> Seeds {
    let fields =
        flate2::GzBuilder::new().filename("name").comment("comment").extra(b"extra".to_vec());
    let mut encoder = fields.write(vec![], Compression::new(6));
    encoder.write_all(b"plain").unwrap();
    vec![encoder.finish().unwrap(), gzip(b"plain", 9), b"\x1f\x8b\x08\x02\0\0\0\0\0\xffcc".to_vec()]
}

/// tars with short and long names, sparse maps left out.
pub fn tar() -> Seeds {
    let mut builder = tar::Builder::new(vec![]);
    let records = [("path", &b"from/pax"[..]), ("size", b"7")];
    builder.append_pax_extensions(records).unwrap();
    for (name, content) in [("short", text(1, 700)), (&"long/".repeat(40), text(2, 20))] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    let mut ustar = tar::Header::new_ustar();
    ustar.set_entry_type(tar::EntryType::Directory);
    ustar.set_size(0);
    builder.append_data(&mut ustar, "folder", &[][..]).unwrap();
    vec![builder.into_inner().unwrap(), tar_of(&[("a", b"a"), ("b", b"bb")])]
}

/// ars of both kinds of long names.
pub fn ar() -> Seeds {
    let names = ["a.o", "a_very_long_name_of_an_object.o"].map(|name| name.as_bytes().to_vec());
    let mut gnu = ar::GnuBuilder::new(vec![], names.to_vec());
    for name in names {
        gnu.append(&ar::Header::new(name, 3), &b"obj"[..]).unwrap();
    }
    let bsd = [&b"!<arch>\n"[..], &ar_header("#1/8", 11), b"long.o\0\0abc\n"].concat();
    vec![gnu.into_inner().unwrap(), bsd, deb()]
}

pub fn ar_header(name: &str, len: usize) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{len:<10}`\n", 0, 0, 0, 644).into_bytes()
}

/// cpios of all three kinds.
pub fn cpio() -> Seeds {
    let newc = |magic: &str, name: &str, content: &str| {
        let numbers = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        let fields = numbers.map(|number| format!("{number:08x}")).concat();
        let mut record = format!("{magic}{fields}{name}\0").into_bytes();
        record.resize(record.len().next_multiple_of(4), 0);
        record.extend(content.bytes());
        record.resize(record.len().next_multiple_of(4), 0);
        record
    };
    let odc = |name: &str, content: &str| {
        let (name_len, len) = (name.len() + 1, content.len());
        let head = format!("070707{:06o}{:06o}{:06o}{:018o}{:017o}", 0, 0, 0o100_644, 0, 0);
        format!("{head}{name_len:06o}{len:011o}{name}\0{content}").into_bytes()
    };
    let end = "TRAILER!!!";
    ["070701", "070702"]
        .map(|magic| {
            [newc(magic, "a", "content"), newc(magic, "bcd", "x"), newc(magic, end, "")].concat()
        })
        .into_iter()
        .chain([[odc("a", "content"), odc("bcd", "x"), odc(end, "")].concat()])
        .collect()
}

/// Packages of a lead, two headers and a payload.
pub fn rpm() -> Seeds {
    let header = |entries: u8, len: u8| {
        let intro = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, entries, 0, 0, 0, len];
        [&intro[..], &vec![7; usize::from(entries) * 16 + usize::from(len)]].concat()
    };
    let package = |payload: &[u8]| {
        let mut bytes = b"\xed\xab\xee\xdb".to_vec();
        bytes.resize(96, 0);
        bytes.extend(header(1, 5));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        [&bytes[..], &header(2, 3), payload].concat()
    };
    vec![package(b"payload"), package(&gzip(&cpio()[0], 9))]
}

/// zips: stored and deflated entries, bytes before, an empty one.
pub fn zip() -> Seeds {
    let before = [b"#!/bin/sh\n".to_vec(), wheel()].concat();
    vec![wheel(), zip_of(&[("a.stored", b"stored")]), zip_of(&[]), before]
}

/// Texts of zips with their cuts.
pub fn zip_fill() -> Seeds {
    zip().iter().filter_map(|zip| zip_fill_of(zip)).collect()
}

fn zip_fill_of(zip: &[u8]) -> Option<Vec<u8>> {
    let entries = gapferry_common::peel::zip::entries(zip)?;
    let (mut records, mut text, mut at) = (vec![], vec![], 0);
    for entry in &entries {
        let start = usize::try_from(entry.offset).ok()?;
        text.extend(&zip[at..start]);
        at = start + usize::try_from(entry.len_bytes).ok()?;
        let facts = Facts {
            crc32: entry.crc32,
            plain_len_bytes: entry.plain_len_bytes,
            stored_len_bytes: entry.len_bytes,
        };
        records.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
        records.extend(facts.crc32.to_le_bytes());
        records.extend(u16::try_from(facts.plain_len_bytes).ok()?.to_le_bytes());
        records.extend(u16::try_from(facts.stored_len_bytes).ok()?.to_le_bytes());
    }
    text.extend(&zip[at..]);
    Some([&[u8::try_from(entries.len()).ok()?][..], &records, &text].concat())
}

/// Blobs of every container, in each other.
pub fn open() -> Seeds {
    let layers = tar_of(&[
        ("layer.tar.gz", &gzip(&tar_of(&[("a", &text(1, 900))]), 9)),
        ("pkg.whl", &wheel()),
    ]);
    let members = [gzip(&text(1, 900), 6), gzip(&text(2, 900), 9)].concat();
    let streams = [xz().remove(0), vec![0; 8], xz().remove(1), b"garbage".to_vec()].concat();
    let mut deep = text(7, 300);
    for _ in 0..6 {
        deep = gzip(&deep, 1);
    }
    vec![
        gzip(&layers, 6),
        layers,
        members,
        streams,
        deep,
        deb(),
        wheel(),
        gzip(&[0; 200_000], 9), // a leaf
        rpm().remove(1),
        zip_of(&[("inner.whl", &wheel()), ("inner.stored", &wheel())]),
    ]
}

pub fn deb() -> Vec<u8> {
    let control = gzip(&tar_of(&[("./control", b"Package: x\n")]), 9);
    let data = xz_as("liblzma-5.8/st/p0/crc64", &tar_of(&[("usr/bin/x", &text(2, 1500))]));
    let members: [(&str, &[u8]); 3] =
        [("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.xz", &data)];
    let mut builder = ar::Builder::new(vec![]);
    for (name, bytes) in members {
        let header = ar::Header::new(name.into(), bytes.len() as u64);
        builder.append(&header, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn wheel() -> Vec<u8> {
    zip_of(&[("a.py", &text(5, 1000)), ("b.stored", &text(6, 300)), ("c.py", &text(7, 800))])
}

pub fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, bytes) in members {
        let method = match name.ends_with(".stored") {
            true => zip::CompressionMethod::Stored,
            false => zip::CompressionMethod::Deflated,
        };
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(plain: &[u8], level: u32) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(level), false);
    let mut deflated = Vec::with_capacity(plain.len() + 1000);
    compress.compress_vec(plain, &mut deflated, FlushCompress::Finish).unwrap();
    deflated
}

fn go(plain: &[u8]) -> Vec<u8> {
    let mut deflated = vec![];
    let how = Replay::parse("go-flate-1/L6").unwrap();
    deflate::replay(&how, plain, &[], &mut deflated).unwrap();
    deflated
}

/// Plain bytes as the encoder of that name has them.
pub fn xz_as(id: &str, plain: &[u8]) -> Vec<u8> {
    use gapferry_common::peel::xz;
    let mut sealed = vec![];
    xz::replay(&xz::XzReplay::parse(id).unwrap(), plain, &mut sealed).unwrap();
    sealed
}

/// Numbered lines.
pub fn text(seed: u32, len: usize) -> Vec<u8> {
    let lines = (seed..).map(|n| format!("{n:x} is line {} of {seed}\n", n * 7919 % 10007));
    lines.flat_map(String::into_bytes).take(len).collect()
}
