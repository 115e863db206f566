//! What became of each blob, for people and scripts: of what it is made, what travels, and why.

use std::collections::BTreeMap;

use gapferry_proto::{Artifact, BlobId, BlobRef, recipe::View};
use serde::{Deserialize, Serialize};

use super::{Base, Carried, prepare::Prepared};
use crate::{bases::Catalogue, plan::Plan, rehearse::Raw};

/// One new blob.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BlobReport {
    pub blob: BlobId,
    pub published_bytes: u64,
    /// Frames with their heads, and payloads that stand in the recipe; an estimate where
    /// `estimated` says so.
    pub carried_bytes: u64,
    /// The encoders that make its coded streams again, and how many streams each; the rung of
    /// the ladder that each stands on is its name. None when it travels in chunks.
    pub encoders: BTreeMap<String, u64>,
    /// What travels of corrections.
    pub corrections_bytes: u64,
    /// The streams that travel: large leaves first, the pool last. None when it travels in chunks.
    pub streams: Vec<StreamReport>,
    /// What stayed closed when it was opened.
    pub notes: Vec<String>,
    /// Why it travels in chunks.
    pub raw: Option<String>,
    /// Whether that is a failure of the rehearsal or of an earlier import.
    pub is_fallback: bool,
}

/// One stream of a new blob.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StreamReport {
    /// `pool`, or the member's name.
    pub name: String,
    /// `leaf`, `puffed` or `sealed`; `pool`.
    pub view: String,
    pub len_bytes: u64,
    pub carried_bytes: u64,
    /// `same`, a codec's name, or `raw`.
    pub codec: String,
    pub bases: Vec<BaseReport>,
}

/// What a stream is made of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BaseReport {
    pub blob: BlobId,
    /// Kind and name of the artifact that the blob belongs to.
    pub artifact: String,
    /// `pool`, or the member's name; empty for all of the blob.
    pub name: String,
    pub len_bytes: u64,
}

impl BlobReport {
    /// What was made of `prepared`.
    pub fn new(
        prepared: &Prepared,
        plan: &Plan,
        catalogue: &Catalogue,
        carried: &BTreeMap<usize, Carried>,
        failed: Option<Raw>,
        carried_bytes: u64,
    ) -> Self {
        if let Some(failed) = failed {
            return Self {
                encoders: BTreeMap::new(),
                corrections_bytes: 0,
                is_fallback: matches!(failed, Raw::Asked | Raw::Failed(_)),
                raw: Some(why(&failed)),
                ..Self::estimated(prepared, carried_bytes)
            };
        }
        let streams = prepared.targets.iter().filter_map(|target| {
            let facts = &catalogue.entry(target.entry).facts;
            let carried = carried.get(&target.entry)?;
            let (codec, bases): (&str, &[Base]) = match carried {
                Carried::Same(base) => ("same", std::slice::from_ref(base)),
                Carried::Coded { codec, bases, .. } => (codec.id(), bases),
                Carried::Raw { .. } => ("raw", &[]),
            };
            Some(StreamReport {
                name: if target.view == View::Pool {
                    "pool".to_owned()
                } else {
                    facts.name.clone()
                },
                view: view_word(target.view).to_owned(),
                len_bytes: target.len_bytes,
                carried_bytes: carried.payload_len_bytes(),
                codec: codec.to_owned(),
                bases: bases.iter().map(|base| base_report(base, plan, catalogue)).collect(),
            })
        });
        let streams = streams.collect();
        Self { streams, ..Self::estimated(prepared, carried_bytes) }
    }

    /// What will about be made of `prepared`.
    pub fn estimated(prepared: &Prepared, carried_bytes: u64) -> Self {
        let mut notes: Vec<String> = prepared.notes.iter().map(|&note| note.to_owned()).collect();
        notes.dedup();
        let sealed = prepared.sealed_streams();
        if 0 < sealed {
            let streams = count(sealed, "compressed stream", "compressed streams");
            notes.push(format!("no encoder at hand gives {streams} again"));
        }
        let mut encoders = BTreeMap::new();
        for (id, count) in &prepared.encoders {
            *encoders.entry(id.clone()).or_insert(0) += count;
        }
        Self {
            blob: prepared.blob.id,
            published_bytes: prepared.blob.len_bytes,
            carried_bytes,
            encoders,
            corrections_bytes: prepared.corrections_len_bytes(),
            streams: vec![],
            notes,
            raw: None,
            is_fallback: false,
        }
    }

    /// The report as a tree of lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{}: {} bytes published, {} carried",
            self.blob, self.published_bytes, self.carried_bytes
        )];
        lines.extend(self.notes.iter().map(|note| format!("  stayed closed in part: {note}")));
        if let Some(raw) = &self.raw {
            lines.push(format!("  travels in chunks: {raw}"));
            return lines;
        }
        for (encoder, count) in &self.encoders {
            lines.push(format!(
                "  resealed by {encoder}: {}",
                self::count(*count, "stream", "streams")
            ));
        }
        if self.corrections_bytes != 0 {
            lines.push(format!("  corrections: {} bytes", self.corrections_bytes));
        }
        for stream in &self.streams {
            let StreamReport { len_bytes, carried_bytes, codec, .. } = stream;
            let what = what(&stream.view, &stream.name);
            lines.push(format!("  {what}: {len_bytes} bytes, {carried_bytes} carried as {codec}"));
            lines.extend(stream.bases.iter().map(BaseReport::line));
        }
        lines
    }
}

impl BaseReport {
    fn line(&self) -> String {
        format!("    from {} ({} bytes in {})", self.place(), self.len_bytes, self.blob)
    }

    fn place(&self) -> String {
        match self.name.as_str() {
            "" => self.artifact.clone(),
            name => format!("{name} of {}", self.artifact),
        }
    }
}

/// A stream as people read it: the pool has no name, and a blob that is one leaf needs none.
fn what(view: &str, name: &str) -> String {
    match (view, name) {
        ("pool", _) => "pool (all that is small)".to_owned(),
        (view, "") => format!("{view} (all of it)"),
        (view, name) => format!("{view} {name}"),
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn base_report(base: &Base, plan: &Plan, catalogue: &Catalogue) -> BaseReport {
    let found = catalogue.find(base.leaf);
    BaseReport {
        blob: base.leaf.blob,
        artifact: plan.names.get(&base.leaf.blob).cloned().unwrap_or_default(),
        name: match (base.leaf.view, found) {
            (View::Pool, _) => "pool".to_owned(),
            (_, Some(entry)) => entry.facts.name.clone(),
            (_, None) => String::new(),
        },
        len_bytes: base.len_bytes,
    }
}

const fn view_word(view: View) -> &'static str {
    match view {
        View::Pool => "pool",
        View::Leaf(_) => "leaf",
        View::Puffed(_) => "puffed",
        View::Sealed(_) => "sealed",
    }
}

fn why(failed: &Raw) -> String {
    match failed {
        Raw::Asked => "it failed inside before".to_owned(),
        Raw::Unable => "the inside cannot put it together".to_owned(),
        Raw::NoGain => "opening it saves nothing".to_owned(),
        Raw::Failed(what) => format!("the rehearsal failed: {what}"),
    }
}

/// Sums over the blobs of one artifact.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ArtifactReport {
    pub kind: String,
    pub name: String,
    pub published_bytes: u64,
    pub carried_bytes: u64,
    /// Names of the encoders that make its coded streams again.
    pub rung: Vec<String>,
    /// Codecs of its streams.
    pub encoder: Vec<String>,
    pub bases: Vec<String>,
}

impl ArtifactReport {
    /// Of an artifact whose new blobs have these reports; a blob of two artifacts counts for
    /// the first.
    pub fn of(artifact: &Artifact, reports: &mut BTreeMap<BlobId, BlobReport>) -> Option<Self> {
        let blobs = artifact.blobs.iter().filter_map(|blob: &BlobRef| reports.remove(&blob.id));
        let (kind, name) = artifact.key();
        let mut sum: Option<Self> = None;
        for report in blobs {
            let sum = sum.get_or_insert_with(|| Self {
                kind: kind.to_string(),
                name: name.to_owned(),
                ..Self::default()
            });
            sum.published_bytes += report.published_bytes;
            sum.carried_bytes += report.carried_bytes;
            sum.rung.extend(report.encoders.into_keys());
            for stream in report.streams {
                sum.encoder.push(stream.codec);
                sum.bases.extend(stream.bases.iter().map(BaseReport::place));
            }
            if report.raw.is_some() {
                sum.encoder.push("chunks".to_owned());
            }
        }
        let mut sum = sum?;
        for list in [&mut sum.rung, &mut sum.encoder, &mut sum.bases] {
            list.sort();
            list.dedup();
        }
        Some(sum)
    }
}
