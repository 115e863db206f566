//! Encoding that cannot fail, and decoding that leaves nothing over.

use minicbor::{Decode, Encode};

/// Encodes into memory.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec does not fail")
}

/// Decodes a whole document; bytes after it are an error.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode()?;
    if decoder.position() != bytes.len() {
        return Err(minicbor::decode::Error::message("bytes follow the document"));
    }
    Ok(value)
}
