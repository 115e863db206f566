//! A stream without a base: an xz file, with branches made absolute in x86-64 programs.
//!
//! Anybody can open one: `xz -dc`. It has no check of its own; what comes out is checked by its
//! hash.

use std::io::Read;

use liblzma::{
    read::XzDecoder,
    stream::{Action, Check, Error, Filters, LzmaOptions, Status, Stream},
};

use super::Effort;

/// Largest dictionary, in bytes: decoding takes as much.
const DICTIONARY_LEN_BYTES_MAX: u64 = 64 << 20;

/// Memory that decoding takes for the longest dictionary besides it.
const DECODER_LEN_BYTES: u64 = 1 << 20;

/// Packs `bytes`. Takes some eleven times the dictionary, which covers them up to 64 MiB.
///
/// # Errors
///
/// [`Error`]: there is not enough memory.
pub fn pack(bytes: &[u8], effort: Effort) -> Result<Vec<u8>, Error> {
    let preset = if effort == Effort::Fastest { 3 } else { 9 };
    let mut options = LzmaOptions::new_preset(preset)?;
    options.dict_size(dictionary_len_bytes(bytes.len() as u64));
    options.nice_len(if effort == Effort::Fastest { 64 } else { 273 });
    let mut filters = Filters::new();
    if is_x86_64(bytes) {
        filters.x86();
    }
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, Check::None)?;
    let mut packed = Vec::with_capacity(1 << 12);
    loop {
        let read = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(read..).unwrap_or_default();
        if stream.process_vec(rest, &mut packed, Action::Finish)? == Status::StreamEnd {
            return Ok(packed);
        }
        packed.reserve(packed.len());
    }
}

/// Unpacks as it is read. Fails when more than `memory_bytes` would be needed.
///
/// # Errors
///
/// [`Error`]: there is not enough memory to begin.
pub fn reader(packed: &[u8], memory_bytes: u64) -> Result<impl Read, Error> {
    Ok(XzDecoder::new_stream(packed, Stream::new_stream_decoder(memory_bytes, 0)?))
}

/// Memory that unpacking so many bytes takes, in bytes.
pub fn decode_memory_bytes(len: u64) -> u64 {
    u64::from(dictionary_len_bytes(len)) + DECODER_LEN_BYTES
}

fn dictionary_len_bytes(len: u64) -> u32 {
    let len = len.clamp(4096, DICTIONARY_LEN_BYTES_MAX).next_power_of_two();
    u32::try_from(len).expect("it is at most 64 MiB")
}

/// ELF, little endian, `e_machine` 62.
fn is_x86_64(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF\x02\x01") && bytes.get(18..20) == Some(&[62, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8], memory_bytes: u64) -> std::io::Result<Vec<u8>> {
        let mut out = vec![];
        reader(packed, memory_bytes).unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn text_and_programs_come_back_from_an_xz_file() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for bytes in [&b""[..], b"text", &program[..200_000]] {
            for effort in [Effort::Fastest, Effort::Balanced] {
                let packed = pack(bytes, effort).unwrap();
                assert!(packed.starts_with(b"\xfd7zXZ\0"));
                let memory_bytes = decode_memory_bytes(bytes.len() as u64);
                assert_eq!(unpacked(&packed, memory_bytes).unwrap(), bytes);
            }
        }
        assert!(is_x86_64(&program) || !cfg!(target_arch = "x86_64"));
    }

    #[test]
    fn memory_is_bounded_and_damage_is_an_error() {
        let packed = pack(&[7; 3 << 20], Effort::Balanced).unwrap();
        assert!(unpacked(&packed, 1 << 20).is_err(), "its dictionary has 4 MiB");
        assert!(unpacked(&packed[..packed.len() / 2], 64 << 20).is_err());
    }
}
