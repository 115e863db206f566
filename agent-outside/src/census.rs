//! The census: which encoders give the compressed streams of what lies in the store.
//!
//! What is found is kept in the index, where exports use it.

use std::collections::BTreeMap;

use gapferry_common::{
    budget::Budget,
    peel::{
        Opened,
        bases::OpenedBlobs,
        encoder::Encoder,
        identify::{self, Abilities, Husk},
    },
    scratch::Scratch,
    store::{Index, Store},
};
use gapferry_proto::{BlobId, BlobRef};
use rayon::prelude::*;
use serde::Serialize;

use crate::delta::{DeltaError, ENCODE_MEMORY_BYTES, Places};

/// What was found out about one blob.
#[derive(Clone, Debug, Serialize)]
pub struct Census {
    pub blob: BlobId,
    pub len_bytes: u64,
    /// By encoder; none for a blob without compressed streams.
    pub streams: Vec<Rung>,
    /// What stayed closed and why.
    pub notes: Vec<&'static str>,
}

/// The rung of what stays as it is.
pub const RAW: &str = "raw";

/// The streams of one blob that one encoder gives.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rung {
    /// The encoder's name, or [`RAW`].
    pub rung: String,
    pub count: u64,
    pub sealed_bytes: u64,
    pub plain_bytes: u64,
    pub corrections_bytes: u64,
    /// To find the encoder.
    pub seconds: f64,
}

/// Opens every blob and finds its encoders, those in the index without looking again.
///
/// # Errors
///
/// [`DeltaError`].
pub fn of(
    store: &Store,
    index: &mut Index,
    places: &Places,
    blobs: &[BlobRef],
    each: &(dyn Fn(&BlobRef) + Sync),
) -> Result<Vec<Census>, DeltaError> {
    let scratch = Scratch::new(&places.scratch, places.scratch_bytes)?;
    let opened = OpenedBlobs::new(scratch, places.scratch_bytes / 2);
    let budget = Budget::new(ENCODE_MEMORY_BYTES);
    let mut all = vec![];
    for batch in blobs.chunks(64) {
        let husks: Vec<_> =
            batch.iter().map(|blob| index.husk(blob.id)).collect::<Result<_, _>>()?;
        let found: Vec<_> = batch
            .par_iter()
            .zip(&husks)
            .with_max_len(1)
            .map(|(blob, husk)| {
                let open = || Ok(opened.get(store, blob.id, &budget)?);
                let opened = opened.with_room(DeltaError::is_scratch_full, open)?;
                let known = husk.as_ref().and_then(|bytes| Husk::decode(bytes, &opened));
                let husk = known
                    .unwrap_or_else(|| identify::identify(&opened, &Abilities::own(), &budget));
                each(blob);
                Ok((husk.encode(), census(blob.id, &opened, &husk)))
            })
            .collect::<Result<_, DeltaError>>()?;
        for (husk, census) in found {
            index.record_husk(census.blob, &husk)?;
            all.push(census);
        }
    }
    Ok(all)
}

fn census(blob: BlobId, opened: &Opened, husk: &Husk) -> Census {
    let anatomy = opened.anatomy();
    let mut rungs = BTreeMap::<String, Rung>::new();
    for (stream, resealed) in anatomy.streams.iter().zip(&husk.streams) {
        let Some(resealed) = resealed else { continue };
        let id = resealed.encoder.as_ref().map_or_else(|| RAW.to_owned(), Encoder::id);
        let rung = rungs.entry(id).or_default();
        rung.count += 1;
        rung.sealed_bytes += stream.sealed_len_bytes;
        rung.plain_bytes += stream.len_bytes;
        rung.corrections_bytes += resealed.corrections.len() as u64;
        rung.seconds += resealed.elapsed.as_secs_f64();
    }
    let named = |(id, rung)| Rung { rung: id, ..rung };
    Census {
        blob,
        len_bytes: opened.blob().len() as u64,
        streams: rungs.into_iter().map(named).collect(),
        notes: anatomy.notes.iter().map(|note| note.what).collect(),
    }
}
