//! Deflates as stock zlib does.
//!
//! In: plain bytes and a level. Out: a raw deflate stream, window 15, memory level 8, default
//! strategy. At levels 1 to 9 zlib's output does not depend on how input and output are cut into
//! calls; level 0 does depend on it and is not offered. Input goes in by pieces, because a call
//! takes at most 4 GiB and would end the stream there.

use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::inflate::step;

const PIECE_LEN_BYTES: usize = 1024 * 1024;
const BUFFER_LEN_BYTES: usize = 32 * 1024;

/// Reads a level that zlib's output is defined for.
pub(super) fn level(text: &str) -> Option<u8> {
    text.parse().ok().filter(|level| (1..=9).contains(level))
}

/// A raw deflate encoder of stock zlib.
pub(super) fn encoder(level: u8) -> Compress {
    Compress::new(Compression::new(level.into()), false)
}

/// Deflates all of `plain` to `out`, which may stop it by an error; takes 300 KiB of memory.
pub(super) fn deflate(level: u8, plain: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = encoder(level);
    let mut rest = plain;
    while let Some((piece, after)) = rest.split_at_checked(PIECE_LEN_BYTES) {
        pump(&mut encoder, piece, FlushCompress::None, out)?;
        rest = after;
    }
    pump(&mut encoder, rest, FlushCompress::Finish, out)
}

/// Runs `input` through the encoder until it is taken and what `flush` demands has come out.
pub(super) fn pump(
    encoder: &mut Compress,
    input: &[u8],
    flush: FlushCompress,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER_LEN_BYTES];
    let mut rest = input;
    loop {
        let (taken, made) = (encoder.total_in(), encoder.total_out());
        let status = encoder.compress(rest, &mut buffer, flush)?;
        rest = &rest[step(taken, encoder.total_in())..];
        let deflated = &buffer[..step(made, encoder.total_out())];
        out.write_all(deflated)?;
        // Room left in the buffer: zlib has nothing more to hand out.
        let is_drained = rest.is_empty() && deflated.len() < buffer.len();
        if status == Status::StreamEnd || (is_drained && flush != FlushCompress::Finish) {
            return Ok(());
        }
        if encoder.total_in() == taken && encoder.total_out() == made {
            return Err(io::Error::other("zlib stands still"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::*;

    fn deflate_by(level: u8, plain: &[u8], input_len: usize, output_len: usize) -> Vec<u8> {
        let mut encoder = encoder(level);
        let mut deflated = Vec::new();
        let mut buffer = vec![0; output_len];
        let mut at = 0;
        loop {
            let end = plain.len().min(at + input_len);
            let flush =
                if end == plain.len() { FlushCompress::Finish } else { FlushCompress::None };
            let made = encoder.total_out();
            let status = encoder.compress(&plain[at..end], &mut buffer, flush).unwrap();
            at = usize::try_from(encoder.total_in()).unwrap();
            deflated.extend_from_slice(&buffer[..step(made, encoder.total_out())]);
            if status == Status::StreamEnd {
                return deflated;
            }
        }
    }

    #[test]
    fn the_stream_does_not_depend_on_how_calls_are_cut() {
        let plain = [sample::words(150_000), sample::noise(70_000), vec![0; 200_000]].concat();
        for level in [1, 4, 6, 9] {
            let mut whole = Vec::new();
            deflate(level, &plain, &mut whole).unwrap();
            for (input_len, output_len) in
                [(1, 70), (997, 13), (65_536, 1 << 20), (1 << 30, 1 << 30), (1 << 30, 1)]
            {
                let cut = deflate_by(level, &plain, input_len, output_len.min(1 << 22));
                assert!(cut == whole, "level {level}, {input_len} in, {output_len} out");
            }
        }
    }
}
