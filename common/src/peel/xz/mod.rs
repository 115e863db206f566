//! Decodes xz streams and makes them again bit for bit.
//!
//! In: slices. Out: the plain bytes; the settings of the encoder that made a stream
//! ([`identify`]); or the stream made again ([`replay`]). The encoder is liblzma, whose output has
//! been the same since 5.2, in its two framings: one block without sizes (`lzma_easy_encoder`,
//! `xz -T1`), or blocks with sizes (`lzma_stream_encoder_mt`, `xz -T2` and more, dpkg). One LZMA2
//! filter with a preset is all there is; [`identify`] answers only with what it has seen to give
//! back every byte.

mod framing;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};

use liblzma::stream::{
    Action, Check, Error, Filters, LzmaOptions, MtStreamBuilder, PRESET_EXTREME, Status, Stream,
};

use self::framing::Frame;
use super::comparing::Comparing;
use crate::budget::Budget;

const BUFFER_LEN_BYTES: usize = 64 * 1024;
/// A preset is likely once this many bytes of the first block agree: one LZMA2 chunk at least.
const LIKELY_BYTES: usize = 48 * 1024;
/// Pieces that a candidate is fed by, so that a wrong one stops soon.
const PIECE_LEN_BYTES: usize = 64 * 1024;
/// Longest block that a recipe may ask for; preset 9 has 192 MiB.
const BLOCK_LEN_BYTES_MAX: u64 = 4 << 30;

/// Why an xz stream was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum XzError {
    #[error("no xz stream begins here")]
    NotXz,

    #[error("the xz stream ends after {after_bytes} bytes, before its footer")]
    Truncated { after_bytes: u64 },

    #[error("the xz stream is damaged near byte {at_bytes}")]
    Damaged { at_bytes: u64 },

    #[error("the xz stream uses options unknown to liblzma 5.8")]
    Unsupported,

    #[error("decoding the xz stream takes more than {memory_bytes} bytes of memory")]
    Memory { memory_bytes: u64 },

    #[error("the xz stream holds more than {max_plain_bytes} bytes")]
    TooLong { max_plain_bytes: u64 },

    #[error("cannot write the decoded bytes")]
    Write(#[source] io::Error),
}

/// Why an xz stream could not be made again.
#[derive(Debug, thiserror::Error)]
pub enum XzReplayError {
    #[error("liblzma does not start with {id}")]
    Start { id: String, source: Error },

    #[error("cannot make the xz stream again")]
    Encode(#[source] io::Error),
}

/// The settings of an xz encoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XzReplay {
    pub framing: Framing,
    pub preset: Preset,
    pub check: XzCheck,
}

/// How liblzma divides a stream into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// One block, sizes not in its header.
    SingleThreaded,
    /// Blocks of `block_len_bytes`, sizes in their headers; 0 is three times the dictionary.
    MultiThreaded { block_len_bytes: u64 },
}

/// A preset of liblzma: 0 to 9, with or without `e`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preset {
    level: u8,
    is_extreme: bool,
}

/// The checksum over the plain bytes of each block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XzCheck {
    None,
    Crc32,
    Crc64,
    Sha256,
}

impl Preset {
    pub fn new(level: u8, is_extreme: bool) -> Option<Self> {
        (level <= 9).then_some(Self { level, is_extreme })
    }

    fn number(self) -> u32 {
        u32::from(self.level) | if self.is_extreme { PRESET_EXTREME } else { 0 }
    }

    /// The presets that use this dictionary, the likeliest first (`lzma_encoder_presets.c`).
    fn of_dictionary(dictionary_bytes: u64) -> impl Iterator<Item = Self> {
        [6, 9, 3, 2, 1, 0, 5, 4, 7, 8].into_iter().flat_map(move |level: u8| {
            [false, true]
                .map(|is_extreme| Self { level, is_extreme })
                .into_iter()
                .filter(move |preset| preset.dictionary_bytes() == dictionary_bytes)
        })
    }

    fn dictionary_bytes(self) -> u64 {
        const BITS: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];
        BITS.get(usize::from(self.level)).map_or(0, |bits| 1 << bits)
    }
}

impl XzCheck {
    fn parse(name: &str) -> Option<Self> {
        [Self::None, Self::Crc32, Self::Crc64, Self::Sha256]
            .into_iter()
            .find(|check| check.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crc32 => "crc32",
            Self::Crc64 => "crc64",
            Self::Sha256 => "sha256",
        }
    }

    fn number(self) -> Check {
        match self {
            Self::None => Check::None,
            Self::Crc32 => Check::Crc32,
            Self::Crc64 => Check::Crc64,
            Self::Sha256 => Check::Sha256,
        }
    }
}

impl fmt::Display for XzReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (framing, block_len_bytes) = match self.framing {
            Framing::SingleThreaded => ("st", 0),
            Framing::MultiThreaded { block_len_bytes } => ("mt", block_len_bytes),
        };
        let extreme = if self.preset.is_extreme { "e" } else { "" };
        let (level, check) = (self.preset.level, self.check.name());
        write!(f, "liblzma-5.8/{framing}/p{level}{extreme}/{check}")?;
        if block_len_bytes != 0 { write!(f, "/b{block_len_bytes}") } else { Ok(()) }
    }
}

impl XzReplay {
    /// The name that recipes carry, such as `liblzma-5.8/mt/p6/crc64`.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// Reads a name; none when this build does not know the encoder.
    pub fn parse(id: &str) -> Option<Self> {
        let parts: Vec<&str> = id.strip_prefix("liblzma-5.8/")?.splitn(5, '/').collect();
        let (&[framing, preset, check], block) = parts.split_first_chunk()?;
        let block_len_bytes = match block {
            [] => 0,
            [block] => block.strip_prefix('b')?.parse().ok()?,
            _ => return None,
        };
        if block_len_bytes > BLOCK_LEN_BYTES_MAX {
            return None;
        }
        let framing = match framing {
            "st" => Framing::SingleThreaded,
            "mt" => Framing::MultiThreaded { block_len_bytes },
            _ => return None,
        };
        let preset = preset.strip_prefix('p')?;
        let (level, is_extreme) =
            preset.strip_suffix('e').map_or((preset, false), |level| (level, true));
        let preset = Preset::new(level.parse().ok()?, is_extreme)?;
        let how = Self { framing, preset, check: XzCheck::parse(check)? };
        (how.id() == id).then_some(how)
    }

    /// The most memory that [`replay`] takes, in bytes, by liblzma's own account.
    pub fn memory_bytes(&self) -> u64 {
        // liblzma's safe interface accounts for the multi-threaded encoder only; with blocks of one
        // byte that is the single-threaded one.
        let block_len_bytes = match self.framing {
            Framing::SingleThreaded => 1,
            Framing::MultiThreaded { block_len_bytes } => block_len_bytes,
        };
        self.threaded(block_len_bytes).memusage()
    }

    /// The multi-threaded encoder with one worker: how many there are does not show in the output.
    fn threaded(&self, block_len_bytes: u64) -> MtStreamBuilder {
        let mut builder = MtStreamBuilder::new();
        builder
            .threads(1)
            .block_size(block_len_bytes)
            .preset(self.preset.number())
            .check(self.check.number());
        builder
    }

    fn encoder(&self) -> Result<Stream, Error> {
        match self.framing {
            Framing::SingleThreaded => {
                Stream::new_easy_encoder(self.preset.number(), self.check.number())
            }
            Framing::MultiThreaded { block_len_bytes } => self.threaded(block_len_bytes).encoder(),
        }
    }
}

/// Decodes the one xz stream at the start of `xz` to `out`; returns its length and the plain one.
///
/// Stream padding and further streams are the caller's. Ends in [`XzError::TooLong`] when more
/// than `max_plain_bytes` would come out, and in [`XzError::Memory`] before liblzma takes more
/// than `memory_bytes`, which is the dictionary and some KiB.
pub fn decode(
    xz: &[u8],
    max_plain_bytes: u64,
    memory_bytes: u64,
    out: &mut dyn Write,
) -> Result<(u64, u64), XzError> {
    let mut decoder = Stream::new_stream_decoder(memory_bytes, 0)
        .map_err(|_| XzError::Memory { memory_bytes })?;
    let mut buffer = vec![0; BUFFER_LEN_BYTES];
    let mut rest = xz;
    loop {
        let (taken, made) = (decoder.total_in(), decoder.total_out());
        let status = decoder
            .process(rest, &mut buffer, Action::Run)
            .map_err(|error| decode_error(error, decoder.total_in(), memory_bytes))?;
        rest = &rest[step(taken, decoder.total_in())..];
        if decoder.total_out() > max_plain_bytes {
            return Err(XzError::TooLong { max_plain_bytes });
        }
        let plain = &buffer[..step(made, decoder.total_out())];
        out.write_all(plain).map_err(XzError::Write)?;
        if status == Status::StreamEnd {
            return Ok((decoder.total_in(), decoder.total_out()));
        }
        if decoder.total_in() == taken && decoder.total_out() == made {
            return Err(XzError::Truncated { after_bytes: taken });
        }
    }
}

fn decode_error(error: Error, at_bytes: u64, memory_bytes: u64) -> XzError {
    match error {
        Error::Format => XzError::NotXz,
        Error::MemLimit | Error::Mem => XzError::Memory { memory_bytes },
        Error::Options | Error::NoCheck | Error::UnsupportedCheck => XzError::Unsupported,
        Error::Data | Error::Program => XzError::Damaged { at_bytes },
    }
}

/// Finds out how the whole of `xz`, one stream of `plain`, can be made again.
///
/// Reads framing, check and dictionary off the headers, tries the presets with this dictionary on
/// the first bytes, and proves the answer on all of them: about one run of the encoder over
/// `plain`, at 1 to 3 MB/s. Presets whose encoder needs more than `memory_bytes` are left out; what
/// the others take is part of `budget`.
pub fn identify(plain: &[u8], xz: &[u8], memory_bytes: u64, budget: &Budget) -> Option<XzReplay> {
    let frame = Frame::read(xz)?;
    frame.candidates(plain.len()).find(|how| {
        if memory_bytes < how.memory_bytes() {
            return false;
        }
        let _share = budget.take(how.memory_bytes());
        is_likely(how, &frame, plain) && remakes(how, plain, xz)
    })
}

/// Makes the xz stream of `plain` again and writes it to `out`.
///
/// Takes [`XzReplay::memory_bytes`] of memory, and one thread of liblzma's with the multi-threaded
/// framing. The caller checks the digest of the result.
pub fn replay(how: &XzReplay, plain: &[u8], out: &mut dyn Write) -> Result<(), XzReplayError> {
    let mut encoder =
        how.encoder().map_err(|source| XzReplayError::Start { id: how.id(), source })?;
    pump(&mut encoder, plain, Action::Finish, out).map_err(XzReplayError::Encode)
}

fn remakes(how: &XzReplay, plain: &[u8], xz: &[u8]) -> bool {
    let mut comparing = Comparing::new(xz);
    replay(how, plain, &mut comparing).is_ok() && comparing.is_complete()
}

/// Whether the preset's first LZMA2 chunk is that of the first block.
///
/// The multi-threaded encoder hands out nothing before a whole block is done, which takes 16
/// seconds at preset 6; the bare LZMA2 encoder shows a wrong preset in a fraction of one.
fn is_likely(how: &XzReplay, frame: &Frame<'_>, plain: &[u8]) -> bool {
    if how.framing == Framing::SingleThreaded {
        return true; // the proof itself stops as early
    }
    let Some(mut encoder) = raw_encoder(how.preset) else {
        return false;
    };
    let mut comparing = Comparing::new(frame.first_block);
    for piece in frame.first_plain(plain).chunks(PIECE_LEN_BYTES) {
        if pump(&mut encoder, piece, Action::Run, &mut comparing).is_err() {
            return false;
        }
        if comparing.equal_bytes() >= LIKELY_BYTES {
            break;
        }
    }
    true // what the encoder still holds back is left to the proof
}

fn raw_encoder(preset: Preset) -> Option<Stream> {
    let options = LzmaOptions::new_preset(preset.number()).ok()?;
    let mut filters = Filters::new();
    filters.lzma2(&options);
    Stream::new_raw_encoder(&filters).ok()
}

/// Runs `input` through the encoder until it is taken and, with `Finish`, the stream is ended.
fn pump(encoder: &mut Stream, input: &[u8], action: Action, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN_BYTES];
    let mut rest = input;
    loop {
        let (taken, made) = (encoder.total_in(), encoder.total_out());
        let status = encoder.process(rest, &mut buffer, action)?;
        rest = &rest[step(taken, encoder.total_in())..];
        let encoded = &buffer[..step(made, encoder.total_out())];
        out.write_all(encoded)?;
        let is_drained = rest.is_empty() && encoded.len() < buffer.len();
        if status == Status::StreamEnd || (is_drained && matches!(action, Action::Run)) {
            return Ok(());
        }
        if status == Status::MemNeeded {
            return Err(io::Error::other("liblzma stands still"));
        }
    }
}

/// How far a counter of liblzma moved in one call: never past the slice that the call was given.
fn step(before: u64, now: u64) -> usize {
    usize::try_from(now - before).expect("a call moves by at most the length of its slice")
}
