//! Finds, for every coded stream of a blob, the encoder that gives it again.
//!
//! In:   an opened blob, which encoders the inside follows and how much memory it has.
//! Out:  a [`Husk`]: what becomes of each stream. Proven on the spot: an encoder counts only when
//!       it gave the very bytes of the stream.

use std::time::{Duration, Instant};

use gapferry_proto::limits;
use minicbor::{Decode, Encode, bytes::ByteVec};

use super::{
    Opened,
    anatomy::{Coding, Stream},
    deflate,
    encoder::Encoder,
    pool::{Fate, Pooled},
    reseal, xz,
};
use crate::budget::Budget;

/// Shortest deflate stream that is puffed, in bytes: a shorter one is no gain.
const PUFFED_LEN_BYTES_MIN: u64 = 4096;

/// What an inside can follow.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// Names of recipe nodes and families of encoders, as its card or inventory lists them.
    pub codecs: std::collections::BTreeSet<String>,
    pub decode_memory_bytes: u64,
}

impl Abilities {
    /// All that this build can do.
    pub fn own() -> Self {
        let codecs = super::codecs().into_iter().collect();
        Self { codecs, decode_memory_bytes: limits::DECODE_MEMORY_BYTES }
    }

    fn allows(&self, encoder: &Encoder, content_len_bytes: u64) -> bool {
        self.codecs.contains(Encoder::family(&encoder.id()))
            && encoder.memory_bytes(content_len_bytes) <= self.decode_memory_bytes
    }
}

/// How every coded stream of a blob is made again.
#[derive(Clone, Debug, Default)]
pub struct Husk {
    /// By number of the stream; those that are not coded have none.
    pub streams: Vec<Option<Resealed>>,
}

/// How one coded stream is made again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resealed {
    pub fate: Fate,
    pub encoder: Option<Encoder>,
    pub corrections: Vec<u8>,
    /// How long it took to find out.
    pub elapsed: Duration,
}

/// A [`Resealed`] as the derived index keeps it.
#[derive(Encode, Decode)]
#[cbor(map)]
struct ResealedWire {
    /// Number of the coded stream.
    #[n(0)]
    stream: u32,
    /// Absent: it travels as it is.
    #[n(1)]
    encoder: Option<String>,
    #[n(2)]
    corrections: ByteVec,
    #[n(3)]
    elapsed_us: u64,
}

/// Finds the encoders of a blob. Costs about as much as compressing it once where the first
/// guesses are right; their memory is part of `budget`, of which the caller holds no share.
pub fn identify(opened: &Opened, abilities: &Abilities, budget: &Budget) -> Husk {
    let anatomy = opened.anatomy();
    let count = u32::try_from(anatomy.streams.len()).expect("streams are bounded");
    let streams = (0..count).map(|number| {
        let coding = anatomy.streams[number as usize].coding;
        (coding != Coding::Identity).then(|| identify_stream(opened, number, abilities, budget))
    });
    Husk { streams: streams.collect() }
}

fn identify_stream(
    opened: &Opened,
    number: u32,
    abilities: &Abilities,
    budget: &Budget,
) -> Resealed {
    let began = Instant::now();
    let stream = &opened.anatomy().streams[number as usize];
    let (plain, sealed) = (opened.content(number), opened.sealed(number));
    let found = match stream.coding {
        Coding::Deflate => deflate::identify(&plain, &sealed, stream.hint, budget)
            .map(|(replay, corrections)| (Encoder::Deflate(replay), corrections)),
        Coding::Xz => xz::identify(&plain, &sealed, abilities.decode_memory_bytes, budget)
            .map(|replay| (Encoder::Xz(replay), vec![])),
        Coding::Identity => None,
    };
    match found.filter(|(encoder, _)| abilities.allows(encoder, stream.len_bytes)) {
        Some((encoder, corrections)) => {
            let encoder = Some(encoder);
            Resealed { fate: Fate::Open, encoder, corrections, elapsed: began.elapsed() }
        }
        None => fallback(opened, number, abilities, began.elapsed()),
    }
}

/// For a stream that no encoder gives: puffed where that is a gain, else as it is.
fn fallback(opened: &Opened, number: u32, abilities: &Abilities, elapsed: Duration) -> Resealed {
    let stream = &opened.anatomy().streams[number as usize];
    let is_puffed = stream.coding == Coding::Deflate
        && PUFFED_LEN_BYTES_MIN <= stream.sealed_len_bytes
        && abilities.allows(&Encoder::Puff, stream.sealed_len_bytes)
        && opened.puffed_len_bytes(number).is_some();
    if !is_puffed {
        return Resealed::sealed(elapsed);
    }
    Resealed { fate: Fate::Puffed, encoder: Some(Encoder::Puff), corrections: vec![], elapsed }
}

impl Resealed {
    const fn sealed(elapsed: Duration) -> Self {
        Self { fate: Fate::Sealed, encoder: None, corrections: vec![], elapsed }
    }
}

impl Husk {
    /// The husk for the derived index.
    pub fn encode(&self) -> Vec<u8> {
        let streams = (0..).zip(&self.streams).filter_map(|(stream, resealed)| {
            let resealed = resealed.as_ref()?;
            Some(ResealedWire {
                stream,
                encoder: resealed.encoder.as_ref().map(Encoder::id),
                corrections: resealed.corrections.clone().into(),
                elapsed_us: u64::try_from(resealed.elapsed.as_micros()).unwrap_or(u64::MAX),
            })
        });
        minicbor::to_vec(streams.collect::<Vec<_>>()).expect("writing to a Vec does not fail")
    }

    /// A husk from the derived index; none when another build wrote it, or it is of another blob.
    pub fn decode(bytes: &[u8], opened: &Opened) -> Option<Self> {
        let wires: Vec<ResealedWire> = minicbor::decode(bytes).ok()?;
        let streams = &opened.anatomy().streams;
        let mut husk = Self { streams: vec![None; streams.len()] };
        for wire in wires {
            let elapsed = Duration::from_micros(wire.elapsed_us);
            let resealed = match wire.encoder {
                None => Resealed::sealed(elapsed),
                Some(id) => {
                    let encoder = Encoder::parse(&id)?;
                    let fate = if encoder == Encoder::Puff { Fate::Puffed } else { Fate::Open };
                    let corrections = wire.corrections.to_vec();
                    Resealed { fate, encoder: Some(encoder), corrections, elapsed }
                }
            };
            *husk.streams.get_mut(wire.stream as usize)? = Some(resealed);
        }
        let is_coded = |(stream, found): (&Stream, &Option<Resealed>)| {
            (stream.coding != Coding::Identity) == found.is_some()
        };
        streams.iter().zip(&husk.streams).all(is_coded).then_some(husk)
    }

    /// The husk for an inside that cannot follow every encoder: what it cannot is puffed, or
    /// stays as it is.
    pub fn restricted(mut self, opened: &Opened, abilities: &Abilities) -> Self {
        for (number, resealed) in (0..).zip(&mut self.streams) {
            let Some(found) = resealed else { continue };
            let len_bytes = opened.anatomy().streams[number as usize].len_bytes;
            let refused = |encoder: &Encoder| !abilities.allows(encoder, len_bytes);
            if found.encoder.as_ref().is_some_and(refused) {
                *found = fallback(opened, number, abilities, found.elapsed);
            }
        }
        self
    }

    /// What becomes of a stream.
    pub fn fate(&self, stream: u32) -> Fate {
        let found = self.streams.get(stream as usize).and_then(Option::as_ref);
        found.map_or(Fate::Open, |resealed| resealed.fate)
    }

    /// Names of the encoders of a pool's coded streams, how many in a row, and their corrections.
    pub fn encoders(&self, pooled: &Pooled) -> (Vec<(String, u64)>, Vec<u8>) {
        let mut runs: Vec<(String, u64)> = vec![];
        let used = || pooled.coded.iter().filter_map(|&n| self.streams[n as usize].as_ref());
        for id in used().filter_map(|resealed| resealed.encoder.as_ref()).map(Encoder::id) {
            match runs.last_mut() {
                Some((last, count)) if *last == id => *count += 1,
                _ => runs.push((id, 1)),
            }
        }
        let takes = |r: &&Resealed| r.encoder.as_ref().is_some_and(Encoder::takes_corrections);
        let corrections = used().filter(takes).map(|resealed| &resealed.corrections[..]);
        (runs, reseal::join_corrections(corrections))
    }

    /// Memory that making the streams again takes, besides mapped files.
    pub fn memory_bytes(&self, opened: &Opened) -> u64 {
        let streams = self.streams.iter().zip(&opened.anatomy().streams);
        let of_each = streams.filter_map(|(resealed, stream)| {
            Some(resealed.as_ref()?.encoder.as_ref()?.memory_bytes(stream.len_bytes))
        });
        let blanked = if opened.anatomy().streams.iter().any(|stream| stream.is_zip) {
            limits::BLANKED_LEN_BYTES_MAX.min(opened.blob().len() as u64)
        } else {
            0
        };
        of_each.max().unwrap_or(0) + reseal::own_memory_bytes(self.streams.len()) + blanked
    }
}
