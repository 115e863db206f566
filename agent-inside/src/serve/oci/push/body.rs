//! The bodies of pushes: pieces of blobs, and manifests.
//!
//! In:   a body as it comes, and what its headers announce.
//! Out:  an upload with the bytes added, or the bytes of a manifest.
//! Never: more in memory than a piece or a manifest; a body that stands still for ever.

use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use gapferry_proto::limits;

use super::blocking;
use crate::local::{LocalError, Taken};
use crate::serve::oci::OciError;

/// How long a client may pause in the middle of a blob, and take for a whole manifest.
const PAUSE: Duration = Duration::from_secs(60);

/// How much of an upload is gathered before it is written, in bytes.
const GATHERED_LEN_BYTES: usize = 1 << 20;

/// How much of a refused body is read, in bytes, so that its sender reads the refusal.
const DRAINED_LEN_BYTES: usize = 1 << 20;

/// Writes a body to an upload, gathered into pieces, on threads that may block.
pub async fn receive(
    mut taken: Taken,
    body: &mut BodyDataStream,
    at_most: Option<u64>,
) -> Result<Taken, OciError> {
    let (mut gathered, mut gathered_len_bytes, mut came) = (Vec::<Bytes>::new(), 0, 0_u64);
    loop {
        let next = tokio::time::timeout(PAUSE, body.next()).await;
        let is_last = !matches!(next, Ok(Some(Ok(_))));
        if let Ok(Some(Ok(bytes))) = &next {
            came = came.saturating_add(bytes.len() as u64);
            if at_most.is_some_and(|at_most| at_most < came) {
                drop(taken.end());
                return Err(OciError::SizeInvalid("more came than was announced".to_owned()));
            }
            gathered_len_bytes += bytes.len();
            gathered.push(bytes.clone());
        }
        if GATHERED_LEN_BYTES <= gathered_len_bytes || (is_last && 0 < gathered_len_bytes) {
            taken = write(taken, std::mem::take(&mut gathered)).await?;
            gathered_len_bytes = 0;
        }
        match next {
            Ok(Some(Ok(_))) => {}
            Ok(None) if at_most.is_some_and(|at_most| came < at_most) => {
                return Err(OciError::SizeInvalid("less came than was announced".to_owned()));
            }
            Ok(None) => return Ok(taken),
            Ok(Some(Err(error))) => {
                return Err(OciError::UploadInvalid(format!("the body broke off: {error}")));
            }
            Err(_) => return Err(OciError::UploadInvalid("the body stood still".to_owned())),
        }
    }
}

/// What does not fit is given up at once, so that it takes no room from others.
async fn write(mut taken: Taken, pieces: Vec<Bytes>) -> Result<Taken, OciError> {
    let written = blocking(move || match pieces.iter().try_for_each(|piece| taken.add(piece)) {
        Ok(()) => Ok(taken),
        Err(error @ (LocalError::Full(_) | LocalError::TooLong)) => {
            drop(taken.end());
            Err(error)
        }
        Err(error) => Err(error),
    });
    Ok(written.await??)
}

/// The whole body of a manifest, which must not take longer than [`PAUSE`]: others wait for the
/// memory that it is read into.
pub async fn whole(headers: &HeaderMap, body: &mut BodyDataStream) -> Result<Vec<u8>, OciError> {
    let max = limits::OCI_MANIFEST_LEN_BYTES_MAX;
    let too_large = || OciError::TooLarge(format!("a manifest has at most {max} bytes"));
    if content_length(headers).is_some_and(|len_bytes| max < len_bytes) {
        return Err(too_large());
    }
    let broke_off = || OciError::ManifestInvalid("the body broke off".to_owned());
    let reading = async {
        let mut whole = Vec::new();
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|_| broke_off())?;
            if max < (whole.len() + bytes.len()) as u64 {
                return Err(too_large());
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    };
    tokio::time::timeout(PAUSE, reading).await.unwrap_or_else(|_| Err(broke_off()))
}

/// Reads some of what is not wanted.
pub async fn drain(body: &mut BodyDataStream) {
    let reading = async {
        let mut came = 0;
        while let Some(Ok(bytes)) = body.next().await {
            came += bytes.len();
            if DRAINED_LEN_BYTES < came {
                return;
            }
        }
    };
    let _ended = tokio::time::timeout(Duration::from_secs(1), reading).await;
}

pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// First and last byte of a piece of an upload (distribution-spec, "Pushing a blob in chunks":
/// `<start>-<end>`, no unit and no total).
pub fn content_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, OciError> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let digits = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let range = value.to_str().ok().and_then(|text| {
        let (first, last) = text.trim().split_once('-')?;
        Some((digits(first)?, digits(last)?))
    });
    let wrong = || OciError::UploadInvalid("Content-Range is no <first>-<last>".to_owned());
    range.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_two_numbers() {
        let read = |value: &str| {
            content_range(&HeaderMap::from_iter([(header::CONTENT_RANGE, value.parse().unwrap())]))
        };
        assert_eq!(content_range(&HeaderMap::new()), Ok(None));
        assert_eq!(read("0-1023"), Ok(Some((0, 1023))));
        assert_eq!(read("5-3"), Ok(Some((5, 3))));
        for wrong in ["", "-", "5-", "-5", "a-b", "+1-2", "bytes 0-1/2", "0-1-2", "1"] {
            assert!(matches!(read(wrong), Err(OciError::UploadInvalid(_))), "{wrong}");
        }
        let over = format!("0-{}0", u64::MAX);
        assert!(read(&over).is_err());
    }
}
